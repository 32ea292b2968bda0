#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# iog run: summary, JSON, parameters, limits, targets, fork and join, sinks of different speed, a thousand nodes; iog dump of what it wrote.
. tests/helpers/tap.sh
g=tests/graphs

summary() {
	"$IOG" run $g/slab.lua 2>"$TMPDIR/err" | says '^source +synthetic +host +100 ' '^stage +filter +host +100 +' '^sink +null +host +100 ' \
		'^operator +records' '^stats +100 .* (ns|us|ms)' '^done: 200 records delivered in .* of memory reserved$' && [ ! -s "$TMPDIR/err" ]
}
json() { # python condition on j (the summary) and u (units by name), then arguments of iog run
	local check=$1
	shift
	"$IOG" run --json "$@" >"$TMPDIR/run.json" || return 1
	"$PYTHON" -m json.tool <"$TMPDIR/run.json" >/dev/null || return 1
	"$PYTHON" - "$check" "$TMPDIR/run.json" <<-'END'
		import json, sys
		j = json.load(open(sys.argv[2]))
		u = {x["name"]: x for x in j["units"]}
		o = {x["name"]: x for x in j["operators"]}
		if not eval(sys.argv[1]):
		    sys.exit("not true: %s\n%s" % (sys.argv[1], json.dumps(j, indent=1)))
	END
}
limit() { json 'j["units"][0]["records_out"] == 7 and j["records_delivered"] == 14' $g/slab.lua --steps 7; }
time_limit() { json '0.4 < j["elapsed_seconds"] < 30 and j["result"] == "done"' $g/endless.lua --time 500ms --set out="$TMPDIR/t.iogr"; }
set_values() {
	json 'o["filter"]["records_out"] == 100' $g/slab.lua --set cutoff=0.59 && cp "$TMPDIR/run.json" "$TMPDIR/few.json" && json 'True' $g/slab.lua --set cutoff=0 || return 1
	"$PYTHON" -c 'import json, sys
a, b = (next(u for u in json.load(open(f))["units"] if u["name"] == "filter")["bytes_out"] for f in sys.argv[1:])
sys.exit(a * 3 > b)' "$TMPDIR/few.json" "$TMPDIR/run.json"
}
target() { # name: there, or elsewhere with the reason
	json "u['filter']['records_in'] == 100 and (u['filter']['target'] == '$1' or u['filter']['note'])" $g/slab.lua --on "$1"
}
cpu_time() { # target: what the stage used is shown, in both forms, and the time of its operators
	json "u['filter']['cpu_seconds'] > 0 and u['filter']['cpu_seconds'] < j['elapsed_seconds'] + 1 and o['filter']['seconds'] > 0" $g/slab.lua --on "$1" &&
		"$IOG" run $g/slab.lua --on "$1" | says '^stage +filter .*[0-9] (ns|us|ms|s)$' '^filter +100 .*[0-9] (ns|us|ms|s) .*%$'
}
named() { # target: the thread or process of a stage carries its name, 15 characters of it
	echo 'iog.source.synthetic {}:filter { "x > 1", name = "warm_ones" }:stats {}:to(iog.sink.null {})' >"$TMPDIR/named.lua"
	"$IOG" run "$TMPDIR/named.lua" --time 20s --on "$1" >"$TMPDIR/named" 2>&1 &
	local pid=$! found=1
	for _ in $(seq 100); do
		{
			cat /proc/$pid/task/*/comm
			cat /proc/$pid/task/*/children | tr ' ' '\n' | while read -r i; do cat "/proc/$i/comm"; done
		} >"$TMPDIR/comm" 2>/dev/null
		grep -qx warm_ones+stats "$TMPDIR/comm" && grep -qx synthetic "$TMPDIR/comm" && grep -qx null "$TMPDIR/comm" && found=0 && break
		sleep 0.1
	done
	kill -TERM $pid
	wait $pid
	[ $found = 0 ] || { cat "$TMPDIR/comm" "$TMPDIR/named"; return 1; }
}
same_everywhere() {
	for t in host sidecore vm; do
		"$IOG" run $g/fork-join.lua --on $t --set out="$TMPDIR/$t.iogr" >/dev/null || return 1
		"$IOG" dump "$TMPDIR/$t.iogr" --values 100 | sed 's/^schema.*//; s/ at byte .*//' >"$TMPDIR/$t.txt" || return 1
	done
	[ "$(grep -c '^record ' "$TMPDIR/host.txt")" = 200 ] && cmp "$TMPDIR/host.txt" "$TMPDIR/sidecore.txt" && cmp "$TMPDIR/host.txt" "$TMPDIR/vm.txt"
}
fork_join() {
	json 'u["filter"]["elided"] == 100 and o["merge"]["records"] == 200 and u["record"]["records_in"] == 200 and u["record"]["bad"] == 0' $g/fork-join.lua --set out="$TMPDIR/fj.iogr" &&
		"$IOG" dump "$TMPDIR/fj.iogr" >"$TMPDIR/fj" && says '^200 records in' <"$TMPDIR/fj" &&
		[ "$(grep -c '^ *position\[500,3\]' "$TMPDIR/fj")" = 100 ] && [ "$(grep -c '^ *position\[100,3\]' "$TMPDIR/fj")" = 100 ]
}
two_speeds() {
	json 'u["every"]["records_in"] == 2000 and 0 < u["some"]["records_in"] < 2000 and u["synthetic"]["dropped"] + u["some"]["records_in"] == 2000' $g/two-speeds.lua
}
dump_some() {
	"$IOG" dump "$TMPDIR/fj.iogr" --records 2 | says '^schema$' '^ +position: f32' '^record 0: step 0, time 0, epoch 1' '^record 1: step 1' '^2 records in .*, more follow' \
		'^ +temperature K: [0-9.]+$' && ! "$IOG" dump "$TMPDIR/fj.iogr" --records 2 | grep -q '^record 2'
}
dump_cut() {
	head -c -5 "$TMPDIR/fj.iogr" >"$TMPDIR/cut.iogr" && "$IOG" dump "$TMPDIR/cut.iogr" | says '^199 records' 'not a whole record'
}
dump_damaged() {
	cp "$TMPDIR/fj.iogr" "$TMPDIR/bad.iogr" && printf 'XXXX' | dd of="$TMPDIR/bad.iogr" bs=1 seek=$(($(stat -c %s "$TMPDIR/bad.iogr") / 2)) conv=notrunc 2>/dev/null &&
		code 1 "$IOG" dump "$TMPDIR/bad.iogr" 2>&1 | says 'damaged|not those that were written'
}
dump_other() {
	code 1 "$IOG" dump $g/slab.lua 2>&1 | says 'slab.lua' && code 1 "$IOG" dump "$TMPDIR/none" 2>&1 | says 'none: cannot open' &&
		code 1 "$IOG" dump "$TMPDIR" 2>&1 | says 'not a file'
}
thousand() { json 'j["result"] == "done" and len(j["operators"]) > 600 and u["last"]["records_in"] == 20 and u["row"]["records_in"] == 20' $g/thousand.lua; }
two_programs() { # one file: the second one is refused, the first one's records are all there
	local pid i
	"$IOG" run $g/endless.lua --time 20s --set out="$TMPDIR/two.iogr" >"$TMPDIR/first" 2>&1 &
	pid=$!
	for i in $(seq 100); do [ "$(stat -c %s "$TMPDIR/two.iogr" 2>/dev/null || echo 0)" -gt 20000 ] && break; sleep 0.1; done
	code 1 "$IOG" run $g/endless.lua --steps 3 --set out="$TMPDIR/two.iogr" 2>&1 | says 'record: another sink or program is writing .*two.iogr; give each its own file'
	i=$?
	kill -TERM $pid
	wait $pid
	[ $i = 0 ] && "$IOG" dump "$TMPDIR/two.iogr" --values 0 >"$TMPDIR/two" && ! grep -q 'not a whole' "$TMPDIR/two"
}
cannot_open() {
	printf 'local iog = require "iog"\niog.source.synthetic { steps = 5 }:to(iog.sink.record "/proc/none/x.iogr")\n' >"$TMPDIR/n.lua"
	code 1 "$IOG" run "$TMPDIR/n.lua" 2>&1 | says '/proc/none/x.iogr' && ! "$IOG" run "$TMPDIR/n.lua" --json 2>/dev/null | grep -q '"result": "done"'
}
too_large() {
	printf 'local iog = require "iog"\niog.source.synthetic { atoms = 1000000000, steps = 5 }:to(iog.sink.null {})\n' >"$TMPDIR/l.lua"
	code 1 "$IOG" run "$TMPDIR/l.lua" 2>&1 | says 'MiB'
}
empty() {
	printf 'local iog = require "iog"\niog.source.synthetic { steps = 100 }:filter "step < 0":to(iog.sink.null {})\n' >"$TMPDIR/e.lua"
	"$IOG" run "$TMPDIR/e.lua" | says '^done: 0 records delivered' && ! "$IOG" run "$TMPDIR/e.lua" | grep -Ei 'nan|inf'
}
terminal() {
	"$PYTHON" - "$IOG" $g/endless.lua "$TMPDIR/p.iogr" <<-'END'
		import os, pty, sys
		pid, fd = pty.fork()
		if not pid:
		    os.environ["TERM"] = "xterm"
		    os.execl(sys.argv[1], "iog", "run", sys.argv[2], "--time", "1", "--set", "out=" + sys.argv[3])
		text = b""
		while True:
		    try:
		        b = os.read(fd, 4096)
		    except OSError:
		        break
		    if not b:
		        break
		    text += b
		_, status = os.waitpid(pid, 0)
		print(text)
		sys.exit(status != 0 or b" delivered, " not in text or b"records/s" not in text or b"done: " not in text)
	END
}
usage() {
	code 2 "$IOG" run 2>&1 | says 'wants a graph' && code 2 "$IOG" run a b 2>&1 | says '"b"' && code 2 "$IOG" run a --stpes 3 2>&1 | says '"--steps"' &&
		code 2 "$IOG" run a --steps three 2>&1 | says 'whole number' && code 2 "$IOG" run a --time soon 2>&1 | says 'wants a time' &&
		code 2 "$IOG" run a --on wm 2>&1 | says '"vm"' && code 2 "$IOG" run a --set x 2>&1 | says 'name=value' && code 2 "$IOG" run a --steps 2>&1 | says 'wants a value' &&
		code 2 "$IOG" run a --json=1 2>&1 | says 'no value' && code 1 "$IOG" run "$TMPDIR/none.lua" 2>&1 | says 'No such file'
}

point "the summary; quiet but for it where there is no terminal" summary
point "--json --steps" limit
point "--time" time_limit
point "--set" set_values
for t in host sidecore vm; do point "--on $t" target $t; done
for t in host sidecore vm; do point "CPU time and time of operators on $t" cpu_time $t; done
for t in host sidecore; do point "threads and processes are named by what they run: $t" named $t; done
if [ -w /dev/kvm ]; then point "threads are named by what they run: vm" named vm; else skip "threads are named by what they run: vm" "needs /dev/kvm"; fi
point "the same records from host, sidecore and vm" same_everywhere
point "fork and join with a filter on one branch" fork_join
point "a slow sink with policy latest does not hold up the other" two_speeds
point "dump" dump_some
point "dump of a file that was cut off" dump_cut
point "dump of a damaged file" dump_damaged
point "dump of something else" dump_other
point "1,000 nodes run" thousand
point "two programs and one file" two_programs
point "a sink that cannot open" cannot_open
point "more memory than there is" too_large
point "nothing delivered" empty
point "a line of progress on a terminal" terminal
point "usage" usage
plan
