#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# An unmodified LAMMPS is captured: what a graph stores is what LAMMPS dumps itself, LAMMPS computes what it computes without, and it ends well
# whatever becomes of the agent.
# timeout: 200
# shellcheck source=tests/helpers/agent.sh
. tests/helpers/agent.sh
python=$PYTHON
cd "$TMPDIR" || exit 1

# ---- the command ----

explains() { # exit code, message, command...
	local want=$1 message=$2
	shift 2
	code "$want" timeout -k 5 20 "$@" 2>&1 | says "$message"
}
point "what it can capture" eval '"$iog" capture --list | says "^lammps .*lmp"'
point "a command it does not know" explains 2 'cannot tell from "true" how to capture it; --as KIND' "$iog" capture -- true
point "no command" explains 2 'wants a command' "$iog" capture --every 10
point "a kind that there is not" explains 2 'there is no kind "lamps"' "$iog" capture --as lamps -- true
point "an agent for each rank is refused" explains 2 'put .iog capture --graph. before the launcher' env PMI_RANK=0 "$iog" capture --as lammps --graph x.lua -- true
if [ ! -e "$IOG_BUILD/capture/lammps.so" ]; then
	skip "capturing" "this build has no libraries to preload: under a sanitizer there are none"
	plan
	exit
fi
point "a program that there is not" explains 127 'no-such-lmp: No such file' "$iog" capture --as lammps -- ./no-such-lmp
same() { # its output and exit code are those of the command
	[ "$("$iog" capture --as lammps -- sh -c 'echo a b; exit 7' 2>err)" = "a b" ] && [ ! "$(grep -v '^iog capture: as lammps' err)" ] &&
		code 7 "$iog" capture --as lammps -- sh -c 'exit 7' && code 143 "$iog" capture --as lammps -- sh -c 'kill -TERM $$'
}
point "a program it does not concern goes by" same

# What arrives at ranks, behind launchers that only say what they were given, and one that is real.
mkdir fake other
printf '#!/bin/sh\n[ "$1" = --version ] && { echo "mpirun (Open MPI) 4.1"; exit; }\necho "$LD_PRELOAD $*"\n' >fake/mpirun
printf '#!/bin/sh\n[ "$1" = --version ] && { echo "HYDRA build details"; exit; }\necho "$LD_PRELOAD $*"\n' >fake/mpiexec
printf '#!/bin/sh\necho "$LD_PRELOAD $IOG_CAPTURE $IOG_CAPTURE_EVERY $*"\n' >fake/srun
chmod +x fake/*
capture() { "$iog" capture --every 3 --socket "$S" -- "$@" 2>/dev/null; }
open_mpi() { capture fake/mpirun -np 2 lmp -in x | says "^ -x IOG_CAPTURE=lammps -x IOG_SOCKET=$S -x IOG_CAPTURE_EVERY=3 -x LD_PRELOAD=/.*/lammps\.so -np 2 lmp -in x\$"; }
hydra() { capture fake/mpiexec -n 2 lmp | says "^ -genv IOG_CAPTURE lammps -genv IOG_SOCKET $S -genv IOG_CAPTURE_EVERY 3 -genv LD_PRELOAD /.*/lammps\.so -n 2 lmp\$"; }
slurm() { capture fake/srun -n 2 lmp -in x | says '^/.*/lammps\.so lammps 3 -n 2 lmp -in x$'; }
point "settings reach ranks of Open MPI" open_mpi
point "settings reach ranks of Hydra" hydra
point "settings reach ranks of srun" slurm
if command -v mpirun.mpich >/dev/null; then
	printf '#!/bin/sh\necho "rank $PMI_RANK $IOG_CAPTURE ${LD_PRELOAD##*/}"\n' >lmp
	chmod +x lmp
	mpich() { "$iog" capture -- mpirun.mpich -np 2 ./lmp 2>/dev/null | sort | says '^rank 0 lammps lammps.so' '^rank 1 lammps lammps.so'; }
	point "settings reach the ranks of a real MPICH" mpich
else
	skip "settings reach the ranks of a real MPICH" "mpirun.mpich is not installed (Debian package mpich)"
fi
for program in lmp mpirun; do
	command -v $program >/dev/null && continue
	skip "capturing LAMMPS" "$program is not installed (Debian packages lammps, openmpi-bin)"
	plan
	exit
done

# ---- what is captured ----

cat >sim.in <<'END'
units real
atom_style bond
region box block 0 30 0 30 0 30
boundary p p f
create_box 2 box bond/types 1 extra/bond/per/atom 3 extra/special/per/atom 5
lattice sc 5
region in block 0 5 0 5 0.5 4.5
create_atoms 1 region in
region left block INF 1.5 INF INF INF INF
set region left type 2
mass * 12
displace_atoms all random 0.6 0.6 0.6 4711
pair_style lj/cut 8
pair_coeff * * 0.3 3.4
bond_style harmonic
bond_coeff 1 100 4.0
special_bonds lj 0 1 1
create_bonds many all all 1 3.0 4.5
fix w all wall/reflect zlo EDGE zhi EDGE
comm_modify cutoff 14
dump d all custom 5 dump1.txt id type x y z vx vy vz ix iy iz
dump_modify d sort id format float %.17g
compute b all property/local btype batom1 batom2
dump b all local 1000 bonds.txt c_b[1] c_b[2] c_b[3]
thermo 5
thermo_style custom step time temp epair emol etotal press pxx pyz
minimize 0 0 40 200
undump b
velocity all create 900 1234
timestep 1
fix 1 all nve
run 25
run 10
run 12 every 6 "print between"
undump d
clear
units metal
atom_style bond
lattice sc 4
region box prism 0 5 0 4 0 3 1 0.5 0.2
create_box 1 box
create_atoms 1 box
mass 1 30
pair_style lj/cut 5
pair_coeff * * 0.1 2.9
velocity all create 300 1234
fix 1 all nve
fix 2 all deform 1 x erate 0.01 remap v
dump d all custom 5 dump2.txt id type x y z vx vy vz ix iy iz
dump_modify d sort id format float %.17g
thermo 5
run 20
min_style fire
unfix 2
minimize 0 0 20 200
END
# The same with as many bonds in the second system as in the first: none.
sed -e '/^create_bonds/d; /^bond_coeff/d; /^bond_style/d; /^undump b/d; /^dump b/d; /^compute b/d' sim.in >free.in
# A gas that leaves the half of one rank for that of the other, which has nothing at first.
cat >uneven.in <<'END'
units lj
processors 2 1 1
boundary f p p
lattice fcc 0.5
region box block 0 20 0 5 0 5
create_box 1 box
region l block 0.1 3 0 5 0 5
create_atoms 1 region l
mass * 1.0
velocity all create 9.0 87287
pair_style lj/cut 2.5
pair_coeff * * 1.0 1.0 2.5
fix w all wall/reflect xlo EDGE xhi EDGE
timestep 0.003
fix 1 all nve
dump d all custom 50 dump1.txt id x y z
dump_modify d sort id format float %.17g
run 1000
END
# One atom more every 50 steps.
sed '/^run/d; /^dump/d; s/^region l /region dp block 10 19 0 5 0 5\n&/' uneven.in >grows.in
printf '%s\n' 'fix dep all deposit 50 1 10 777 region dp near 0.5' 'run 100' >>grows.in
cat >store.lua <<END
local iog = require "iog"
iog.source.stream "md":to(iog.sink.h5md { "$TMPDIR/md.h5" })
END
cat >compare.py <<'END'
import sys, numpy, h5py
def frames(name):
    lines, at, got = open(name).read().split("\n"), 0, {}
    while at < len(lines) and lines[at].startswith("ITEM: TIMESTEP"):
        step, n = int(lines[at + 1]), int(lines[at + 3])
        bounds = numpy.array([l.split() for l in lines[at + 5:at + 8]], dtype="f8")
        got[step] = bounds, numpy.array([l.split() for l in lines[at + 9:at + 9 + n]], dtype="f8")
        at += 9 + n
    return got
refs = [frames("dump1.txt"), frames("dump2.txt")]
systems = int(sys.argv[1])
with h5py.File("md.h5") as f:
    g, epochs = f["particles/trajectory"], f["iograph/epoch"][:]
    steps, times = g["position/step"][:].tolist(), g["position/time"][:]
    first = list(range(0, 90, 5)) # of 87
    second = list(range(0, 45, 5))
    assert steps == first + second * (systems - 1), steps
    for k, s in enumerate(steps):
        which = k >= len(first)
        assert epochs[k] == epochs[0] + which
        bounds, a = refs[which][s]
        n = len(a)
        there = g["id/value"][k] > 0
        assert there.sum() == n, (s, n, there.sum())
        o = numpy.argsort(g["id/value"][k][there])
        def col(name): return g[name + "/value"][k][there][o]
        assert (col("id") == a[:, 0]).all() and (col("species") == a[:, 1]).all(), s
        assert (col("position") == a[:, 2:5]).all() and (col("velocity") == a[:, 5:8]).all() and (col("image") == a[:, 8:11]).all(), s
        box, origin = g["box/edges/value"][k], g["box/origin/value"][k]
        if not which:
            assert numpy.allclose(box, numpy.diag(bounds[:, 1] - bounds[:, 0])) and numpy.allclose(origin, bounds[:, 0]), s
            assert times[k] == max(0, s - 40), (s, times[k])
        else:
            xy, xz, yz = bounds[:, 2]
            lx = bounds[0, 1] - max(0, xy, xz, xy + xz) - (bounds[0, 0] - min(0, xy, xz, xy + xz))
            ly = bounds[1, 1] - max(0, yz) - (bounds[1, 0] - min(0, yz))
            assert numpy.allclose(box, [[lx, 0, 0], [xy, ly, 0], [xz, yz, bounds[2, 1] - bounds[2, 0]]]), (s, box, bounds)
            assert abs(times[k] - 0.001 * min(s, 20)) < 1e-12, (s, times[k])
    if systems == 1:
        assert (f["parameters/periodic"][:] == [1, 1, 0]).all()
        lines = open("bonds.txt").read().split("\n")
        want = sorted(tuple(sorted(map(int, l.split()[1:]))) for l in lines[9:9 + int(lines[3])])
        assert len(want) > 50 and sorted(tuple(sorted(b)) for b in f["connectivity/bonds"][:].tolist()) == want
END
cat >positions.py <<'END'
import numpy, h5py
lines, at = open("dump1.txt").read().split("\n"), 0
with h5py.File("md.h5") as f:
    g = f["particles/trajectory"]
    assert g["position/step"][:].tolist() == list(range(0, 1001, 50))
    for k, s in enumerate(g["position/step"][:]):
        assert int(lines[at + 1]) == s
        n = int(lines[at + 3])
        a = numpy.array([l.split() for l in lines[at + 9:at + 9 + n]], dtype="f8")
        at += 9 + n
        o = numpy.argsort(g["id/value"][k])
        assert (g["id/value"][k][o] == a[:, 0]).all() and (g["position/value"][k][o] == a[:, 1:]).all(), s
END
mpi() { [ "$1" = 1 ] || echo "mpirun -np $1"; } # ranks
stored() { # ranks input systems
	local ranks=$1 input=$2 systems=$3
	rm -f md.h5 dump?.txt bonds.txt
	# shellcheck disable=SC2046  # words
	timeout -k 5 60 "$iog" capture --every 5 --timeout 30s --graph store.lua -- $(mpi "$ranks") lmp -in "$input" -log none -screen none >out 2>err </dev/null ||
		{ cat err; return 1; }
	[ ! -s out ] && "$python" -W ignore compare.py "$systems" || { cat err; return 1; }
}
if ! "$iog" ops h5md >/dev/null 2>&1; then
	skip "what is stored" "built without h5md"
elif ! "$python" -c 'import h5py, numpy' 2>/dev/null; then
	skip "what is stored" "the Python modules h5py and numpy are not installed"
else
	one() { stored 1 free.in 2 && says '^iograph capture: 27 steps of stream md published$' <err; }
	two() { stored 2 free.in 2 && says '^iograph capture: 27 steps of stream md published$' <err; }
	bonds() { # the second system has none, so it is not stored
		stored 2 sim.in 1 && says '^iograph capture: 18 steps of stream md published, 9 dropped; step 0 is of a system with more or fewer bonds' <err
	}
	uneven() {
		rm -f md.h5
		"$iog" capture --every 50 --timeout 30s --graph store.lua -- mpirun -np 2 lmp -in uneven.in -log uneven.log -screen none 2>err </dev/null && "$python" -W ignore positions.py &&
			grep -q '^Nlocal: *150.000 ave' uneven.log || { cat err; return 1; }
	}
	grows() { # what does not fit is told
		rm -f md.h5
		"$iog" capture --every 50 --timeout 30s --graph store.lua -- mpirun -np 2 lmp -in grows.in -log none -screen none 2>err </dev/null &&
			says '^iograph capture: 1 steps of stream md published, 2 dropped; step 50 has 30[0-9] atoms; room was made for 300 when' <err && [ "$(grep -c '^iograph' err)" = 1 ]
	}
	point "runs, minimizers and another system, as LAMMPS dumps them" one
	point "the same on two ranks" two
	point "bonds, and a system that has others" bonds
	point "a rank that has no atoms at first" uneven
	point "a system that grows" grows
fi

# Everything LAMMPS says, but for how long it took.
numbers() { grep -vE 'Loop time|^Performance|CPU use|^(Pair|Bond|Neigh|Comm|Output|Modify|Other) |Total wall|CPU = |MPI task timing|^Section|^[-]+$' "$1"; }
# shellcheck disable=SC2046  # words
thermo() { # ranks
	timeout -k 5 60 $(mpi "$1") lmp -in sim.in -log plain.log -screen none </dev/null || return 1
	agent --load table.lua || return 1
	timeout -k 5 60 "$iog" capture --socket "$S" -- $(mpi "$1") lmp -in sim.in -log captured.log -screen none 2>err </dev/null || return 1
	agent_end
	says '^iograph capture: [0-9]+ steps of stream md published' <err && [ "$(numbers plain.log | wc -l)" -gt 150 ] && diff <(numbers plain.log) <(numbers captured.log)
}
cat >table.lua <<END
local iog = require "iog"
iog.source.stream "md":stats { "position" }:to(iog.sink.table { "$TMPDIR/md.csv", on_restart = "truncate" })
END
point "LAMMPS says the same as without, on one rank" thermo 1
point "LAMMPS says the same as without, on two ranks" thermo 2

# ---- when something is not as it should be ----

cat >long.in <<'END'
units lj
lattice fcc 0.8442
region box block 0 6 0 6 0 6
create_box 1 box
create_atoms 1 box
mass 1 1
velocity all create 1.5 87287
pair_style lj/cut 2.5
pair_coeff * * 1.0 1.0 2.5
fix 1 all nve
thermo 500
run ${steps}
END
long() { # steps options... : in the background, as $sim
	local steps=$1
	shift
	timeout -k 5 60 "$iog" capture --socket "$S" "$@" -- mpirun -np 2 lmp -in long.in -var steps "$steps" -log long.log -screen none 2>err </dev/null &
	sim=$!
}
finished() { wait "$sim" && grep -q 'Total wall time' long.log || { cat err; tail -n 3 long.log; return 1; }; }
flows() { # until the graph has this many rows
	for _ in $(seq 400); do [ -e md.csv ] && [ "$(wc -l <md.csv)" -gt "$1" ] && return 0; sleep 0.05; done
	echo "nothing flows"
	return 1
}
no_agent() {
	long 300
	finished && says '^iograph capture: 0 steps of stream md published; .*no agent answers' <err && [ "$(grep -c '^iograph' err)" = 1 ]
}
agent_killed() {
	rm -f md.csv
	agent --load table.lua || return 1
	long 2500 && flows 20 || return 1
	agent_dies
	finished && says '^iograph capture: [1-9][0-9]* steps of stream md published.*; the agent has ended' <err
}
agent_stopped() { # costs what it may cost, and no more
	rm -f md.csv
	agent --load table.lua || return 1
	long 2500 --timeout 0.2s && flows 20 || return 1
	kill -STOP "$agent"
	finished
	local rc=$?
	kill -CONT "$agent"
	agent_end
	[ $rc = 0 ] && says '^iograph capture: .* dropped.* s waited for readers' <err && awk '/waited/ { sub(/.*dropped, /, ""); if ($1 > 1.5) bad = 1 } END { exit bad }' err
}
comes_late() { # one that was not there when the run began does no harm; ranks wrapped one by one
	agent --load table.lua || return 1
	timeout -k 5 60 mpirun -np 2 "$iog" capture --socket "$S" --timeout 30s --every 100 -- lmp -in long.in -var steps 500 -log long.log -screen none >out 2>err </dev/null &
	sim=$!
	finished
	local rc=$?
	agent_end
	[ $rc = 0 ] && [ "$(grep -c '^iog capture: as lammps' err)" = 1 ] && says '^iograph capture: 6 steps of stream md published$' <err && [ "$(wc -l <md.csv)" = 7 ]
}
no_stream() { # a graph that nothing came for does not hold up the end
	mkdir -p run && chmod 700 run
	code 3 timeout -k 5 20 env -u IOG_SOCKET XDG_RUNTIME_DIR="$TMPDIR/run" "$iog" capture --as lammps --graph table.lua -- sh -c '[ -S run/iograph/capture-*[0-9] ] && exit 3' 2>err && says 'the graph got nothing' <err &&
		[ -d run/iograph ] && [ ! "$(ls run/iograph)" ]
}
fails() { # LAMMPS's own failures stay what they are
	echo nonsense >bad.in
	code 1 "$iog" capture --graph table.lua -- lmp -in bad.in -log none >out 2>err </dev/null && says 'Unknown command: nonsense' <out && says 'no run and no minimize came by' <err
}
unheard() { # nobody reads stderr when the program ends
	mkfifo pipe
	exec 9<>pipe
	timeout -k 5 60 "$iog" capture --socket "$S" -- lmp -in long.in -var steps 100 -log long.log -screen none </dev/null 2>pipe 9<&- &
	sim=$!
	exec 9<&-
	finished
}
point "no agent" no_agent
point "no reader of what it says" unheard
point "kill -9 of the agent" agent_killed
point "an agent that is stopped" agent_stopped
point "a wrapper for each rank" comes_late
point "a graph that gets nothing" no_stream
point "LAMMPS that fails" fails
plan
