#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Programs that bring their agent: iog_attach("heat.lua"). One agent for all ranks, files complete when the program has ended, whoever is killed.
# timeout: 180
# shellcheck source=tests/helpers/tap.sh
. tests/helpers/tap.sh
iog=$IOG pump=$IOG_HELPERS/attach-pump
export XDG_RUNTIME_DIR=$TMPDIR/run
mkdir -m 700 "$XDG_RUNTIME_DIR"
unset IOG_SOCKET
export IOG_PROGRAM=$iog
for v in $(env | grep -oE '^(SLURM|PMIX?|OMPI|PBS|LSB|MPI)_[A-Za-z_]*'); do unset "$v"; done
D=$XDG_RUNTIME_DIR/iograph G=$TMPDIR/heat.lua
cat >"$G" <<END
local iog = require "iog"
iog.source.stream "heat":stats { "T" }:to(iog.sink.table { "$TMPDIR/heat.csv", on_restart = "truncate" })
END
fresh() {
	rm -rf "$D" "$TMPDIR/heat.csv" "$TMPDIR"/w*
}
rows() { # steps 0 to that, and T is step + mean of ranks
	awk -F, -v n="$1" -v plus="$2" 'NR > 1 { if ($1 != NR - 2 || $7 != $1 + plus) bad = 1 } END { exit bad || NR - 1 != n }' "$TMPDIR/heat.csv" || { tail -n 2 "$TMPDIR/heat.csv"; cat "$D"/*.log; return 1; }
}
gone() { # the agent: it has ended when the program had
	[ -z "$(find "$D" -type s)" ] && ! grep -q Sanitizer "$D"/*.log || { ls -l "$D"; cat "$D"/*.log; return 1; }
}
gone_soon() {
	for _ in $(seq 200); do [ -n "$(find "$D" -type s)" ] || break; sleep 0.05; done
	gone
}
agents() { # how many were started
	cat "$D"/*.log | grep -c ': listens at'
}
agent_pid() {
	for _ in $(seq 100); do
		local s
		s=$(find "$D" -type s 2>/dev/null)
		[ -n "$s" ] && "$iog" top --socket "$s" --json --interval 0.1 2>/dev/null | "$PYTHON" -c 'import json, sys; print(json.load(sys.stdin)["agent"]["pid"])' 2>/dev/null && return 0
		sleep 0.05
	done
	return 1
}
one() {
	fresh
	"$pump" write "$G" heat 0 1 200 0 >"$TMPDIR/w" && gone && grep -q '^wrote 200 skipped 0 code 0: $' "$TMPDIR/w" && rows 200 0 && [ "$(agents)" = 1 ] && [ "$(find "$D" | wc -l)" = 2 ]
}
again() { # and once more, at once
	for _ in 1 2 3; do one || return 1; done
}
together() { # ranks that come at the same time start one agent
	fresh
	local w=() r
	for r in 0 1 2 3; do
		"$pump" write "$G" heat $r 4 200 1000 >"$TMPDIR/w$r" &
		w+=($!)
	done
	wait "${w[@]}" && gone && [ "$(cat "$TMPDIR"/w? | grep -c '^wrote 200 skipped 0 code 0: $')" = 4 ] && rows 200 1.5 && [ "$(agents)" = 1 ]
}
mpi() {
	fresh
	local lib
	lib=$(cd "$(dirname "$iog")" && pwd)
	# shellcheck disable=SC2046
	PKG_CONFIG_PATH=$lib mpicc -O2 -o "$TMPDIR/heat" examples/heat/heat.c $(PKG_CONFIG_PATH=$lib pkg-config --cflags --libs iograph) -Wl,-rpath,"$lib" || return 1
	export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl_vader_single_copy_mechanism=none
	[ "$(id -u)" != 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
	cp examples/heat/heat.lua "$TMPDIR/mpi.lua"
	(cd "$TMPDIR" && env -u IOG_PROGRAM mpirun -np 2 "$TMPDIR/heat" 100 mpi.lua </dev/null) || return 1
	gone && [ "$(agents)" = 1 ] && [ "$(wc -l <"$TMPDIR/heat.csv")" = 101 ] && [ "$(tail -n 1 "$TMPDIR/heat.csv" | cut -d , -f 1)" = 99 ] && grep -q 'stream heat is there: 2 ranks of pmix' "$D"/*.log &&
		grep -Eq '(took|shares) cores' "$D"/*.log && "$iog" dump --records 1 "$TMPDIR/middle.iogr" | grep -q 'T\['
}
apart() { # an agent for each run of the same graph on a node
	fresh
	PMIX_NAMESPACE=a "$pump" write "$G" heat 0 1 300 2000 >"$TMPDIR/w0" &
	local w=$!
	agent_pid >/dev/null
	sed "s/heat.csv/other.csv/" "$G" >"$TMPDIR/other.lua"
	PMIX_NAMESPACE=b "$pump" write "$TMPDIR/other.lua" heat 0 1 100 0 >"$TMPDIR/w1" && PMIX_NAMESPACE=b timeout 20 "$pump" write "$G" heat 0 1 1 0 >"$TMPDIR/w2"
	wait $w && gone_soon && grep -q '^wrote 300 skipped 0' "$TMPDIR/w0" && grep -q '^wrote 100 skipped 0' "$TMPDIR/w1" && [ "$(find "$D" -name '*.log' | wc -l)" = 3 ]
}
first_killed() { # who started the agent is killed: the other one goes on, and its steps are all there
	fresh
	"$pump" write "$G" heat 1 2 100000000 500 >/dev/null &
	local w=$!
	agent_pid >/dev/null || return 1
	"$pump" write "$G" heat 0 2 1000 2000 >"$TMPDIR/w" &
	local other=$!
	for _ in $(seq 200); do [ "$(wc -l 2>/dev/null <"$TMPDIR/heat.csv")" -gt 50 ] 2>/dev/null && break; sleep 0.02; done
	kill -9 $w
	wait $w 2>/dev/null
	wait $other && gone && grep -q '^wrote 1000 skipped 0 code 0: $' "$TMPDIR/w" && [ "$(tail -n 1 "$TMPDIR/heat.csv" | cut -d , -f 1)" = 999 ]
}
all_killed() { # the agent ends its graph in order and goes
	fresh
	"$pump" write "$G" heat 0 1 100000000 500 >/dev/null &
	local w=$!
	for _ in $(seq 400); do [ "$(wc -l 2>/dev/null <"$TMPDIR/heat.csv")" -gt 50 ] 2>/dev/null && break; sleep 0.02; done
	kill -9 $w
	wait $w 2>/dev/null
	gone_soon && rows "$(($(wc -l <"$TMPDIR/heat.csv") - 1))" 0
}
agent_killed() { # the program runs on
	fresh
	"$pump" write "$G" heat 0 1 2000 1000 >"$TMPDIR/w" &
	local w=$! a
	a=$(agent_pid) && sleep 0.3 && kill -9 "$a" && wait $w && grep -q '^wrote [1-9][0-9]* skipped [1-9][0-9]* code -[0-9]*: .*agent' "$TMPDIR/w" || { cat "$TMPDIR/w"; return 1; }
}
alone() { # nothing of the program is left in the agent: signals, descriptors, session, preloaded libraries
	fresh
	exec 9<"$G"
	"$PYTHON" - "$pump" "$G" <<'END' &
import ctypes, os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])
signal.signal(signal.SIGUSR2, signal.SIG_IGN)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
if not os.environ.get("IOG_SANITIZER"): os.environ["LD_PRELOAD"] = "libm.so.6" # a sanitizer wants to be first
os.execv(sys.argv[1], [sys.argv[1], "write", sys.argv[2], "heat", "0", "1", "100000000", "1000"])
END
	local w=$! a rc=1
	if a=$(agent_pid); then
		"$PYTHON" - "$a" $w <<'END' && rc=0
import os, sys
a, w = map(int, sys.argv[1:])
s = dict(l.rstrip("\n").split(":\t", 1) for l in open(f"/proc/{a}/status") if ":\t" in l)
assert int(s["SigBlk"], 16) == 0 and int(s["SigIgn"], 16) & ~(3 << 31) == 1 << 12, s # but for those of libc itself
assert os.getsid(a) != os.getsid(w) and int(s["PPid"]) != w
fd = {int(n): os.readlink(f"/proc/{a}/fd/{n}") for n in os.listdir(f"/proc/{a}/fd")}
assert fd[0] == "/dev/null" and fd[1] == fd[2] and fd[1].endswith(".log"), fd
assert not any(p.endswith("heat.lua") or p.startswith("pipe:") for p in fd.values()), fd
assert b"LD_PRELOAD" not in open(f"/proc/{a}/environ", "rb").read()
children = open(f"/proc/{w}/task/{w}/children").read().split()
assert not children, children
END
	fi
	exec 9<&-
	kill -9 $w
	wait $w 2>/dev/null
	gone_soon && return $rc
}
cores() { # those the program leaves
	fresh
	local c
	c=$("$PYTHON" -c 'import os; print(min(os.sched_getaffinity(0)))')
	taskset -c "$c" "$pump" write "$G" heat 0 1 100 0 >"$TMPDIR/w" && gone && rows 100 0 && grep -q ": took cores .*, its programs have $c\$" "$D"/*.log || { cat "$D"/*.log; return 1; }
	fresh
	"$pump" write "$G" heat 0 1 100 0 >"$TMPDIR/w" && gone && grep -Eq ': (shares cores .* with its programs|took cores)' "$D"/*.log
}
mistakes() { # the program runs on and says what is wrong, and where to look
	fresh
	echo 'local iog = require "iog"; iog.source.stream { "heat", nonsense = 1 }:to(iog.sink.null {})' >"$TMPDIR/bad.lua"
	"$pump" write "$TMPDIR/bad.lua" heat 0 1 10 0 >"$TMPDIR/w" && grep -q "^wrote 0 skipped 10 code -.*: the agent for $TMPDIR/bad.lua could not start: .*bad.lua:1: .*nonsense.*; see $D/graph-.*.log\$" "$TMPDIR/w" &&
		"$pump" write "$TMPDIR/none.lua" heat 0 1 10 0 >"$TMPDIR/w" && grep -q "^wrote 0 .*the graph $TMPDIR/none.lua: No such file" "$TMPDIR/w" &&
		IOG_PROGRAM=$TMPDIR/nothing "$pump" write "$G" heat 0 1 10 0 >"$TMPDIR/w" && grep -q "^wrote 0 .*IOG_PROGRAM is $TMPDIR/nothing, which is no program" "$TMPDIR/w" &&
		cp "$pump" "$TMPDIR/alone" && env -u IOG_PROGRAM PATH=/nowhere "$TMPDIR/alone" write "$G" heat 0 1 10 0 >"$TMPDIR/w" && grep -q '^wrote 0 .*neither beside libiograph nor in PATH' "$TMPDIR/w" &&
		printf '#!/bin/sh\nexec sleep 100\n' >"$TMPDIR/hangs" && chmod +x "$TMPDIR/hangs" && IOG_PROGRAM=$TMPDIR/hangs "$pump" write "$G" heat 0 1 10 0 >"$TMPDIR/w" &&
		grep -q 'hangs did not start an agent within 5 s' "$TMPDIR/w" || { cat "$TMPDIR/w"; return 1; }
}
sink_fails() { # what cannot be stored is an error of the last who leaves, and in the log
	fresh
	sed 's|"[^"]*heat.csv"|"/proc/nowhere/x.csv"|' "$G" >"$TMPDIR/full.lua"
	"$pump" write "$TMPDIR/full.lua" heat 0 1 10 0 >"$TMPDIR/w" && gone && grep -q '/proc/nowhere' "$D"/*.log
}
point "one program" one
point "again and again" again
point "four processes that come together" together
if [ "${IOG_SANITIZER:-}" ]; then skip "two MPI ranks" "a program of MPI ranks is not built with the sanitizer"; elif command -v mpirun >/dev/null && command -v mpicc >/dev/null && command -v pkg-config >/dev/null; then point "two MPI ranks; files are complete when mpirun returns" mpi; else skip "two MPI ranks" "no mpirun, mpicc or pkg-config"; fi
point "two runs have an agent each" apart
point "kill -9 of who started it" first_killed
point "kill -9 of all" all_killed
point "kill -9 of the agent" agent_killed
point "nothing of the program in the agent" alone
if [ "$("$PYTHON" -c 'import os; print(len(os.sched_getaffinity(0)))')" -gt 1 ] && command -v taskset >/dev/null; then point "cores" cores; else skip cores "one core, or no taskset"; fi
point "what is wrong is said" mistakes
point "a sink that fails" sink_fails
plan
