#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Programs publish and read streams through an agent: one rank, several, readers beside graphs, without an agent, and with everybody killed.
# timeout: 300
# shellcheck source=tests/helpers/agent.sh
. tests/helpers/agent.sh
pump=$IOG_HELPERS/attach-pump
cat >"$TMPDIR/heat.lua" <<END
local iog = require "iog"
local heat = iog.source.stream "heat"
heat:stats { "T" }:to(iog.sink.table { "$TMPDIR/heat.csv", on_restart = "truncate" })
END
flows() { # steps go through the graph, whose file it is
	for _ in $(seq 200); do "$iog" ps --socket "$S" 2>/dev/null | awk '$1 == "heat" && $2 == "runs" && $3 > 20 { n = 1 } END { exit !n }' && return 0; sleep 0.05; done
	return 1
}
rows() { # from to of the first column, nothing missing, T is step + mean of ranks
	awk -F, -v n="$1" -v plus="$2" 'NR > 1 { if ($1 != NR - 2 || $7 != $1 + plus) bad = 1 } END { exit bad || NR - 1 != n }' "$TMPDIR/heat.csv"
}
one_rank() {
	agent --load "$TMPDIR/heat.lua" --once || return 1
	"$pump" write "$S" heat 0 1 500 0 >"$TMPDIR/w" && grep -q '^wrote 500 skipped 0 code 0: $' "$TMPDIR/w" && ended 0 && rows 500 0
}
second_run() { # what the first one left in the file is not taken for what the second one sends
	sed 's/on_restart = "truncate"/on_restart = "append", release = "safe"/; s/heat.csv/both.csv/' "$TMPDIR/heat.lua" >"$TMPDIR/both.lua"
	for _ in 1 2; do
		agent --load "$TMPDIR/both.lua" --once || return 1
		"$pump" write "$S" heat 0 1 20 0 >"$TMPDIR/w" && grep -q '^wrote 20 skipped 0 code 0: $' "$TMPDIR/w" && ended 0 || return 1
	done
	[ "$(awk -F, '$1 == "19"' "$TMPDIR/both.csv" | wc -l)" = 2 ] && [ "$(wc -l <"$TMPDIR/both.csv")" = 41 ]
}
declared() { # a graph that says itself what the stream holds waits for it like any other
	sed 's/"heat"/{ "heat", schema = "T: f64[z<=99,y<=99,x<=99]" }/' "$TMPDIR/heat.lua" >"$TMPDIR/declared.lua"
	"$iog" check "$TMPDIR/declared.lua" && agent --load "$TMPDIR/declared.lua" --once && "$iog" ps --socket "$S" | grep -q '^declared *waits' || return 1
	"$pump" write "$S" heat 0 1 100 0 >"$TMPDIR/w"
	ended 0 && rows 100 0
}
four_ranks() {
	agent --load "$TMPDIR/heat.lua" --once || return 1
	local w=()
	for r in 0 1 2 3; do
		"$pump" write "$S" heat $r 4 300 0 >"$TMPDIR/w$r" &
		w+=($!)
	done
	wait "${w[@]}"
	ended 0 && [ "$(cat "$TMPDIR"/w? | grep -c '^wrote 300 skipped 0 code 0: $')" = 4 ] && rows 300 1.5
}
no_agent() {
	local t=$SECONDS
	"$pump" write "$TMPDIR/nobody" heat 0 1 1000 0 >"$TMPDIR/w" && grep -q '^wrote 0 skipped 1000 code -' "$TMPDIR/w" && grep -q 'no agent answers' "$TMPDIR/w" &&
		[ $((SECONDS - t)) -le 3 ]
}
readers() { # a reader that blocks sees every step from its first one on, one that wants the latest some
	agent --load "$TMPDIR/heat.lua" --once || return 1
	"$pump" read "$S" heat 1000000 policy=block >"$TMPDIR/r1" &
	local r1=$!
	"$pump" read "$S" heat 1000000 policy=latest >"$TMPDIR/r2" &
	local r2=$!
	sleep 0.3
	"$pump" write "$S" heat 0 1 1000 500 >"$TMPDIR/w"
	wait $r1 $r2
	local n first last code
	ended 0 && rows 1000 0 && read -r _ n _ first _ last _ code _ <"$TMPDIR/r1" && [ "$code" = 3: ] && [ $((first + n)) = 1000 ] && [ "$last" = 999 ] &&
		grep -q '^read [1-9][0-9]* .* last 999 code 3' "$TMPDIR/r2"
}
writer_killed() { # what it committed arrives, and the graph ends
	agent --load "$TMPDIR/heat.lua" --once || return 1
	"$pump" write "$S" heat 0 1 100000000 200 >/dev/null &
	local w=$!
	flows || return 1
	kill -9 $w
	wait $w 2>/dev/null
	ended 0 && local n && n=$(($(wc -l <"$TMPDIR/heat.csv") - 1)) && [ "$n" -gt 10 ] && rows "$n" 0
}
rank_killed() { # the others go on, and what it had is not a number from then on
	agent --load "$TMPDIR/heat.lua" --once || return 1
	"$pump" write "$S" heat 1 2 100000000 500 >/dev/null &
	local w=$!
	"$pump" write "$S" heat 0 2 2000 500 >"$TMPDIR/w" &
	local other=$!
	flows || return 1
	kill -9 $w
	wait $w 2>/dev/null
	wait $other && ended 0 && grep -q '^wrote 2000 skipped 0 code 0: $' "$TMPDIR/w" && grep -q 'rank 1 of 2 is gone' "$TMPDIR/agent.log" &&
		awk -F, '{ sub(/\r$/, "") } NR == 2 { first = $8 } { last = $8; step = $1 } END { exit !(first == 0 && last == 1024 && step == 1999) }' "$TMPDIR/heat.csv"
}
lossy_ranks() { # only steps that all ranks sent, as long as all are there
	agent --load "$TMPDIR/heat.lua" --once || return 1
	"$pump" write "$S" heat 1 2 1500 200 policy=latest >"$TMPDIR/w1" &
	local w=$!
	"$pump" write "$S" heat 0 2 1500 200 policy=latest >"$TMPDIR/w0"
	wait $w && ended 0 && awk -F, '{ sub(/\r$/, "") } NR > 1 && $8 == 0 { n++; if (gone || $7 != $1 + 0.5) bad = 1 } NR > 1 && $8 != 0 { gone = 1 } END { print n; exit bad || n < 10 }' \
		"$TMPDIR/heat.csv"
}
apart() { # a rank that writes hardly anything holds up nobody, and every record of every rank comes
	agent --load "$TMPDIR/heat.lua" --once || return 1
	"$pump" write "$S" heat 1 2 3 700000 ranks=apart >"$TMPDIR/w1" &
	local w=$!
	"$pump" write "$S" heat 0 2 800 0 "ranks=apart timeout=0.4s bytes=256KiB" >"$TMPDIR/w0"
	wait $w && ended 0 && grep -q '^wrote 800 skipped 0 code 0: $' "$TMPDIR/w0" && grep -q '^wrote 3 skipped 0 code 0: $' "$TMPDIR/w1" &&
		awk -F, 'NR > 1 && $1 != NR - 2 { bad = 1 } END { exit bad || NR - 1 != 803 }' "$TMPDIR/heat.csv"
}
turns() { # what a rank committed before another began comes before what that one commits
	sed 's/"heat"/"turns"/; s/heat:.*/heat:to(iog.sink.null {})/' "$TMPDIR/heat.lua" >"$TMPDIR/turns.lua"
	agent --load "$TMPDIR/turns.lua" --once || return 1
	"$IOG_HELPERS/attach-turns" "$S" turns 40000 >"$TMPDIR/t" && ended 0 && { grep -q '^turns 40000 wrong 0 code 3: $' "$TMPDIR/t" || { cat "$TMPDIR/t"; return 1; }; }
}
agent_killed() { # the program runs on to its end, and one line says what happened
	agent --load "$TMPDIR/heat.lua" || return 1
	"$pump" write "$S" heat 0 1 3000 500 >"$TMPDIR/w" &
	local w=$!
	flows || return 1
	agent_dies
	wait $w && grep -q '^wrote [1-9][0-9]* skipped [1-9][0-9]* code -[0-9]*: .*agent' "$TMPDIR/w" || { cat "$TMPDIR/w"; return 1; }
	rm -f "$S"
}
agent_stopped() { # a writer waits no longer than its timeout for each step, and goes on
	agent --load "$TMPDIR/heat.lua" || return 1
	"$pump" write "$S" heat 0 1 600 1000 "policy=block timeout=0.01s bytes=64KiB" >"$TMPDIR/w" &
	local w=$!
	flows || return 1
	kill -STOP "$agent"
	wait $w
	local rc=$?
	kill -CONT "$agent"
	agent_end
	[ $rc = 0 ] && grep -q '^wrote [1-9][0-9]* skipped [1-9]' "$TMPDIR/w"
}
stale() { # the socket of an agent that was killed is in nobody's way
	agent || return 1
	agent_dies
	[ -S "$S" ] && agent && "$iog" ps --socket "$S" >/dev/null && ! "$iog" agent --socket "$S" 2>"$TMPDIR/err" && grep -q 'answers' "$TMPDIR/err"
	local rc=$?
	agent_end
	return $rc
}
commands() {
	agent || return 1
	"$iog" load --socket "$S" "$TMPDIR/heat.lua" hot && "$iog" ps --socket "$S" >"$TMPDIR/ps" && grep -q '^hot *waits' "$TMPDIR/ps" &&
		! "$iog" load --socket "$S" "$TMPDIR/heat.lua" hot 2>"$TMPDIR/err" && grep -q 'named "hot" is loaded' "$TMPDIR/err" &&
		"$iog" ps --socket "$S" --json | "$PYTHON" -c 'import json, sys; j = json.load(sys.stdin); assert j["graphs"][0]["name"] == "hot", j' &&
		! "$iog" set --socket "$S" x=1 2>"$TMPDIR/err" && "$iog" unload --socket "$S" hot && ! "$iog" unload --socket "$S" cold 2>"$TMPDIR/err" &&
		grep -q 'no graph "cold"' "$TMPDIR/err"
	local rc=$?
	agent_end
	return $rc
}
hostile() { # who sends nonsense is cut off, and nobody else notices
	agent --load "$TMPDIR/heat.lua" --once || return 1
	"$PYTHON" - "$S" <<'END' &
import os, random, socket, sys
random.seed(7)
for round in range(300):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.connect(sys.argv[1])
    try:
        for k in range(3):
            m = bytearray(random.randbytes(random.choice([1, 8, 64, 5000, 12000])))
            if random.random() < 0.7:
                m[:8] = b"IOGA" + random.randint(0, 30).to_bytes(4, "little")
            fd = [os.open("/dev/null", os.O_RDONLY)] if random.random() < 0.3 else []
            socket.send_fds(s, [bytes(m)], fd)
            for f in fd: os.close(f)
    except OSError:
        pass
    s.close()
END
	local p=$!
	"$pump" write "$S" heat 0 1 1000 300 >"$TMPDIR/w"
	wait $p && ended 0 && grep -q '^wrote 1000 skipped 0 code 0: $' "$TMPDIR/w" && rows 1000 0
}
point "every step of one rank reaches the graph" one_rank
point "a second run is appended" second_run
point "a graph that declares what the stream holds" declared
point "steps of four ranks are put together" four_ranks
point "a program without an agent runs, and says so" no_agent
point "readers beside the graph" readers
point "kill -9 of the program" writer_killed
point "kill -9 of one rank of two" rank_killed
point "ranks that drop steps, each for itself" lossy_ranks
point "ranks apart" apart
point "ranks apart that wait for each other" turns
point "kill -9 of the agent" agent_killed
point "an agent that is stopped" agent_stopped
point "the socket of a dead agent is taken over, that of a living one is not" stale
point "ps, load, unload, set" commands
point "hostile clients" hostile
plan
