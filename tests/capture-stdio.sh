#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What programs write with stdio, with streams of C++, by descriptors and into a FIFO flows through a graph and is put together again, byte for byte, while the
# program writes what it would write without.
# timeout: 200
# shellcheck source=tests/helpers/agent.sh
. tests/helpers/agent.sh
tree=$PWD
cd "$TMPDIR" || exit 1
cat >copy.lua <<END
local iog = require "iog"
iog.source.stream "files":to(iog.sink.files "$TMPDIR/copy")
END
# ---- a FIFO ----

fifo() { # options -- command...
	timeout -k 5 60 "$iog" capture --fifo "$TMPDIR/pipe" "$@" >out 2>err </dev/null || { cat out err; return 1; }
}
lines() { seq 1 "$1" | sed 's/$/ a line/'; }
whole_fifo() {
	rm -rf copy
	fifo --graph copy.lua -- sh -c 'seq 1 200000 | sed "s/$/ a line/" >pipe' && lines 200000 | cmp - "copy$TMPDIR/pipe" && [ ! -e pipe ] &&
		says 'pipe: [0-9]+ bytes are published as stream files$' <err
}
point "what is written into a FIFO" whole_fifo
twice_fifo() { # it is opened again and again, and is ours already
	rm -rf copy pipe
	mkfifo pipe
	fifo --graph copy.lua -- sh -c 'for i in 1 2 3; do echo $i >pipe; sleep 0.1; done' && printf '1\n2\n3\n' | cmp - "copy$TMPDIR/pipe" && [ -p pipe ] && rm pipe
}
point "one that is there, opened more than once" twice_fifo
no_fifo() {
	rm -f pipe
	echo mine >pipe
	code 1 "$iog" capture --fifo "$TMPDIR/pipe" -- true 2>&1 | says 'pipe is there, and is no FIFO' && [ "$(cat pipe)" = mine ] && rm pipe
}
point "a file in its place is left alone" no_fifo
alone_fifo() {
	fifo --socket "$TMPDIR/nobody" -- sh -c 'seq 1 100000 >pipe; echo done' && [ "$(cat out)" = done ] || return 1
	for _ in $(seq 100); do grep -q 'pipe: 0 bytes' err && break; sleep 0.05; done
	says 'pipe: 0 bytes are published as stream files, 588895 are lost: no agent' <err
}
point "a FIFO without an agent" alone_fifo
dead_reader() { # SIGPIPE would end the program
	fifo --socket "$TMPDIR/nobody" -- sh -c 'for i in $(seq 100); do seq 1 2000; sleep 0.01; done >pipe; echo done' &
	local run=$! p reader=
	for _ in $(seq 200); do
		for p in $(pgrep -f "capture --fifo $TMPDIR/pipe"); do
			pgrep -f "capture --fifo $TMPDIR/pipe" | grep -qx "$(ps -o ppid= -p "$p" | tr -d ' ')" && ps -o comm= -p "$p" | grep -q iog && reader=$p
		done
		[ -n "$reader" ] && [ "$(cat "/proc/$reader/wchan" 2>/dev/null)" ] && break
		sleep 0.02
	done
	sleep 0.2
	kill -9 "$reader" && wait "$run" && [ "$(cat out)" = done ] && says 'pipe: its reader has died' <err
}
point "kill -9 of the reader of a FIFO" dead_reader

# ---- files ----

point "which files it is, has to be said" eval 'code 2 "$iog" capture --as stdio -- true 2>&1 | says "stdio wants --files"'
if [ ! -e "$IOG_BUILD/capture/stdio.so" ]; then
	skip "capturing" "this build has no libraries to preload"
	plan
	exit
fi
captured() { # options -- command...
	timeout -k 5 60 "$iog" capture --as stdio "$@" >out 2>err </dev/null || { cat out err; return 1; }
}
alike() { # files: copies are like them, and there are no others
	local f
	for f; do cmp "$f" "copy/$f" || return 1; done
	[ "$(find copy -type f | wc -l)" = $# ]
}

g++ -O1 -D_FORTIFY_SOURCE=2 -pthread -o writes "$tree/tests/programs/stdio-writes.cc" || exit 1
ways() {
	rm -rf copy plain data
	mkdir plain data
	./writes plain && captured --files 'out.*' --graph copy.lua -- ./writes data && diff -r -x out.threads plain data && alike data/out.* &&
		says '^iograph capture: [0-9]+ steps of stream files published$' <err
}
point "stdio, C++, descriptors and their copies, threads, beside a fork" ways
others() { # programs of others, with a path in the pattern and another stream that nobody takes
	local what
	rm -rf copy data
	mkdir data
	cat >all.sh <<-'END'
		dd if=/dev/zero of=data/out.dd bs=1000 count=70 2>/dev/null
		seq 100000 | tee data/out.tee >/dev/null
		sort -r -o data/out.sort data/out.tee
		seq 10 >data/other.seq
	END
	sed 's/"files"/"mine"/' copy.lua >mine.lua
	for what in dd tee sort; do
		captured --files "$TMPDIR/data/out.$what=mine:other.*=other" --graph mine.lua -- sh all.sh && cmp data/out.$what copy/data/out.$what || return 1
	done
	[ ! -e copy/data/other.seq ]
}
point "dd, tee, sort" others
batch() { # its script has the variables of a rank, and is one program
	rm -rf copy data
	mkdir data
	(export SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NTASKS=128 SLURM_TASKS_PER_NODE=128 &&
		captured --files 'out.*' --graph copy.lua -- dd if=/dev/zero of=data/out.dd bs=1000 count=70) && alike data/out.dd
}
point "in a batch script of Slurm" batch
python() {
	rm -rf copy data
	mkdir data
	captured --files 'out.*' --graph copy.lua -- "$PYTHON" -c '
import os
with open("data/out.text", "w") as f:
    for i in range(50000): print("line", i, file=f)
with open("data/out.bytes", "wb", buffering=0) as f:
    f.write(bytes(range(256)) * 3000)
    f.seek(70); f.write(b"over it"); f.truncate(500000)
os.makedirs("data/sub")
d = os.open("data/sub", os.O_RDONLY)
f = os.open("out.at", os.O_CREAT | os.O_WRONLY, dir_fd=d)
os.write(f, b"below a folder")
os.pwrite(f, b"later", 70000)
import subprocess # which closes descriptors in a child that shares the memory
with open("data/out.beside", "w") as f:
    print("before", file=f, flush=True)
    subprocess.run(["true"], check=True, stdout=open("data/other", "w"))
    print("behind", file=f)
' && alike data/out.* data/sub/out.at
}
point "Python" python
no_file() {
	rm -rf copy data
	mkdir data
	captured --no-file --files 'out.*' --graph copy.lua -- "$PYTHON" -c '
with open("data/out.text", "w") as f:
    for i in range(50000): print("line", i, file=f)' && "$PYTHON" -c 'for i in range(50000): print("line", i)' | cmp - copy/data/out.text && [ ! -s data/out.text ]
}
point "the graph has the file instead of the disk" no_file
alone() {
	rm -rf plain data
	mkdir plain data
	captured --files 'out.*' --socket "$TMPDIR/nobody" -- ./writes data && ./writes plain && diff -r -x out.threads plain data && says 'no agent' <err
}
point "without an agent the program writes its files" alone

# ---- LAMMPS, and what becomes of the agent ----

for program in lmp mpirun; do
	command -v $program >/dev/null && continue
	skip "LAMMPS" "$program is not installed (Debian packages lammps, openmpi-bin)"
	plan
	exit
done
cat >in.melt <<'END'
variable every index 5
variable steps index 40
units lj
lattice fcc 0.8442
region box block 0 8 0 8 0 8
create_box 1 box
create_atoms 1 box
mass 1 1.0
velocity all create 3.0 87287
pair_style lj/cut 2.5
pair_coeff 1 1 1.0 1.0 2.5
fix 1 all nve
dump 1 all custom ${every} md.lammpstrj id type x y z
dump 2 all custom 20 each.*.lammpstrj id type x y z
run ${steps}
END
lammps() { # ranks
	local launch=
	rm -rf copy plain
	mkdir plain
	[ "$1" = 1 ] || launch="mpirun -np $1"
	# shellcheck disable=SC2086  # the launcher is words
	timeout 60 $launch lmp -in in.melt -log none -screen none && mv ./*.lammpstrj plain &&
		captured --files '*.lammpstrj' --graph copy.lua -- $launch lmp -in in.melt -log none && for f in plain/*; do cmp "$f" "${f#plain/}" || return 1; done && alike ./*.lammpstrj
}
point "LAMMPS dumps" lammps 1
point "LAMMPS dumps of two ranks" lammps 2
long=(lmp -in in.melt -log none -screen none -var every 1 -var steps 300)
long_reference() {
	timeout 60 "${long[@]}" && mv md.lammpstrj long.lammpstrj
}
point "a longer run, to compare with" long_reference
agent_gets() { # signal: in the middle of the run; the file is whole all the same, and the copy is said not to be
	rm -rf copy ./md.lammpstrj
	agent --load copy.lua || return 1
	captured --files '*.lammpstrj' --socket "$S" --timeout 0.5s -- "${long[@]}" &
	local run=$!
	for _ in $(seq 400); do [ -s copy/md.lammpstrj ] && break; sleep 0.02; done
	kill "-$1" "$agent"
	wait "$run"
	local rc=$?
	agent_dies
	[ $rc = 0 ] && says 'stream files is not whole' <err && cmp long.lammpstrj md.lammpstrj && [ "$(stat -c %s copy/md.lammpstrj)" -lt "$(stat -c %s md.lammpstrj)" ]
}
point "kill -9 of the agent" agent_gets KILL
point "an agent that is stopped" agent_gets STOP
plan
