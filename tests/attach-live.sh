#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The sink "stream": a point of a graph that readers attach to, and other graphs take.
# timeout: 120
# shellcheck source=tests/helpers/agent.sh
. tests/helpers/agent.sh
pump=$IOG_HELPERS/attach-select
graph() { # name, text
	printf 'local iog = require "iog"\n%s\n' "$2" >"$TMPDIR/$1.lua"
}
started() { for _ in $(seq 200); do grep -q "$1" "$TMPDIR/agent.log" && return 0; sleep 0.05; done; cat "$TMPDIR/agent.log"; return 1; }
csv() { awk -F, 'NR > 1 { sub(/\r$/, ""); $1 = $1; print }' OFS=, "$1"; }

readers() { # those who want every step get every step of what the graph makes, whole or in part
	graph crop 'iog.source.stream "flow":crop { z = { 0, 2 } }:to(iog.sink.stream "live")'
	agent --load "$TMPDIR/crop.lua" --once || return 1
	local r=() k
	for k in 0 1 2 3 4 5; do
		"$pump" read "$S" live "$([ $k -lt 3 ] && echo T || echo 'T[1,:,2:4]')" T 100 policy=block >"$TMPDIR/r$k" &
		r+=($!)
	done
	for k in 6 7; do
		"$pump" read "$S" live "" U 1 policy=latest >"$TMPDIR/r$k" &
		r+=($!)
	done
	"$pump" write "$S" flow 0 1 100 2 >"$TMPDIR/w" &
	local w=$!
	for _ in $(seq 200); do "$iog" ps --socket "$S" | grep -q '^live .* 8$' && break; sleep 0.05; done
	sleep 0.3
	"$pump" read "$S" flow "" U 1 policy=latest >"$TMPDIR/r8" & # the second consumer: its steps count from here on
	r+=($!)
	wait "${r[@]}" && wait $w && wait "$agent" || return 1
	for k in 0 1 2; do grep -q "^read 100 elements $((100 * 256)) rank 3 code 0" "$TMPDIR/r$k" || { cat "$TMPDIR/r$k"; return 1; }; done
	for k in 6 7; do grep -q "^read 1 elements 256 rank 3 code 0" "$TMPDIR/r$k" || { cat "$TMPDIR/r$k"; return 1; }; done
}
other_graph() { # shapes that change from record to record, and static variables; restarts as well
	graph atoms "local md = iog.source.synthetic { atoms = 300, steps = 400, rate = 400, restart = 150 }:filter 'zs > 0.5'
		md:stats {}:to(iog.sink.table { '$TMPDIR/direct.csv', on_restart = 'append' })
		md:to(iog.sink.stream 'atoms')"
	graph taker "iog.source.stream 'atoms':stats {}:to(iog.sink.table { '$TMPDIR/taken.csv', on_restart = 'append' })"
	rm -f "$TMPDIR"/*.csv
	agent --load "$TMPDIR/taker.lua" --load "$TMPDIR/atoms.lua" --once || return 1
	wait "$agent" || { cat "$TMPDIR/agent.log"; return 1; }
	# What was taken is the end of what there was, but for the epoch, which begins where the agent says.
	local n
	n=$(($(wc -l <"$TMPDIR/taken.csv") - 1))
	echo "$n of $(wc -l <"$TMPDIR/direct.csv")"
	[ "$n" -ge 200 ] && diff <(csv "$TMPDIR/direct.csv" | tail -n "$n" | cut -d, -f1,2,4-) <(csv "$TMPDIR/taken.csv" | cut -d, -f1,2,4-)
}
stopped() { # a reader that is stopped does not hold up a graph whose edge drops; it does hold up one that waits, for the time limit
	graph drops "local md = iog.source.synthetic { atoms = 300, steps = 3000 }
		md:to(iog.sink.stream { 'atoms', policy = 'latest', timeout = '60s' })
		md:to(iog.sink.table { '$TMPDIR/all.csv', on_restart = 'truncate' })"
	sed -i 's/md:to(iog.sink.table/md:stats {}:to(iog.sink.table/; s/steps = 3000/steps = 3000, rate = 2000/' "$TMPDIR/drops.lua"
	agent || return 1
	"$pump" read "$S" atoms "" position 1000000 policy=block >"$TMPDIR/r" &
	local r=$!
	"$iog" load --socket "$S" "$TMPDIR/drops.lua" || return 1
	sleep 0.4
	kill -STOP $r 2>/dev/null
	for _ in $(seq 400); do [ "$(wc -l <"$TMPDIR/all.csv")" = 3001 ] && break; sleep 0.05; done
	local n
	n=$(wc -l <"$TMPDIR/all.csv")
	kill -9 $r
	wait $r 2>/dev/null
	started 'drops has ended' || return 1
	agent_end
	[ "$n" = 3001 ]
}
taken_name() {
	graph a 'iog.source.synthetic { rate = 100 }:to(iog.sink.stream "x")'
	graph b 'iog.source.synthetic { rate = 100 }:to(iog.sink.stream "x")'
	agent --load "$TMPDIR/a.lua" || return 1
	started 'stream x is there, from a graph' && ! "$iog" load --socket "$S" "$TMPDIR/b.lua" 2>"$TMPDIR/err"
	"$iog" ps --socket "$S" >"$TMPDIR/ps"
	cat "$TMPDIR/ps" "$TMPDIR/err"
	"$pump" write "$S" x 0 1 1 1 >"$TMPDIR/w"
	cat "$TMPDIR/w"
	agent_end
	grep -q '^b *failed .*published by another sink' "$TMPDIR/ps" && grep -q 'wrote 0 .*open with\|open already' "$TMPDIR/w"
}
refuses() { for _ in $(seq 30); do "$iog" top --once --json --socket "$S" | grep -q '"bad": [1-9]' && return 0; done; return 1; } # a sink has had a record
by_a_program() { # a program has the name already: the graph fails, and says why
	graph c 'iog.source.synthetic { rate = 100 }:to(iog.sink.stream "flow")'
	agent || return 1
	"$pump" write "$S" flow 0 1 1 99 >"$TMPDIR/w" &
	local w=$!
	for _ in $(seq 100); do "$iog" ps --socket "$S" | grep -q '1 of 1' && break; sleep 0.05; done
	"$iog" load --socket "$S" "$TMPDIR/c.lua"
	started 'stream "flow" is open already, by attach-select' && refuses && "$iog" unload --socket "$S" c && started 'graph c has ended: .*open already'
	local rc=$?
	kill $w
	wait $w 2>/dev/null
	agent_end
	return $rc
}
no_agent() { ! "$iog" run "$TMPDIR/a.lua" 2>"$TMPDIR/err" && says 'run this graph in one, by iog agent' <"$TMPDIR/err"; }
wrong() { graph w 'iog.source.synthetic {}:to(iog.sink.stream "not-a-name")'; ! "$iog" check "$TMPDIR/w.lua" >"$TMPDIR/err" 2>&1 && says 'letters, digits and _' <"$TMPDIR/err"; }
point "readers of a graph, whole and in part" readers
point "another graph takes it, with every shape" other_graph
point "a stopped reader" stopped
point "a name that is taken" taken_name
point "a name that a program has" by_a_program
point "without an agent" no_agent
point "a name that cannot be" wrong
plan
