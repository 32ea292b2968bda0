#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Peers of another version, hostile clients that speak the protocol and give what they should not, and programs that begin again, while
# others go on.
# timeout: 120
# shellcheck source=tests/helpers/agent.sh
. tests/helpers/agent.sh
pump=$IOG_HELPERS/attach-pump hostile=$IOG_HELPERS/attach-hostile
cat >"$TMPDIR/heat.lua" <<END
local iog = require "iog"
iog.source.stream "heat":stats { "T" }:to(iog.sink.table { "$TMPDIR/heat.csv" })
END
version() { # another major one is refused in words, another minor one is not
	agent || return 1
	"$hostile" version "$S" 2 | tee "$TMPDIR/w"
	grep -q '^kind 3 .*version 1 .*version 2' "$TMPDIR/w" && grep -q 'speaks another version' "$TMPDIR/agent.log" && "$hostile" version "$S" 1 | grep -q '^kind 2 version 1: $' && agent_end
}
another_agent() { # a program meets an agent of another version
	"$hostile" agent "$TMPDIR/other" 3 &
	local p=$!
	for _ in $(seq 100); do [ -S "$TMPDIR/other" ] && break; sleep 0.05; done
	"$pump" write "$TMPDIR/other" heat 0 1 10 0 | tee "$TMPDIR/w"
	wait $p && grep -q '^wrote 0 skipped 10 code -93: .*the agent speaks version 3, this program 1' "$TMPDIR/w"
}
clients() { # the good pair loses nothing
	agent --load "$TMPDIR/heat.lua" --once || return 1
	"$pump" read "$S" heat 1000000 policy=block >"$TMPDIR/r" &
	local r=$!
	local lives=200 steps=2000
	[ -z "$IOG_SANITIZER" ] || lives=20 steps=6000
	"$hostile" clients "$S" heat $lives >"$TMPDIR/h" &
	local h=$!
	"$pump" write "$S" heat 0 1 $steps 1000 "policy=block timeout=30s" >"$TMPDIR/w"
	wait $h
	local rc=$?
	wait $r
	wait "$agent" && cat "$TMPDIR/w" "$TMPDIR/r" "$TMPDIR/h" && [ $rc = 0 ] && grep -q "^wrote $steps skipped 0 code 0: \$" "$TMPDIR/w" && grep -q "last $((steps - 1)) code 3: \$" "$TMPDIR/r" &&
		grep -Eq '^opened [1-9][0-9]* lives' "$TMPDIR/h" && [ "$(wc -l <"$TMPDIR/heat.csv")" = $((steps + 1)) ]
}
again() { # a graph that is loaded again waits for the program that begins again
	rm -f "$TMPDIR/heat.csv"
	agent || return 1
	for run in 1 2; do
		"$iog" load --socket "$S" "$TMPDIR/heat.lua" heat && "$pump" write "$S" heat 0 1 100 0 | tee "$TMPDIR/w" && grep -q '^wrote 100 skipped 0 code 0: $' "$TMPDIR/w" || return 1
		for _ in $(seq 500); do "$iog" ps --socket "$S" | grep -q "^heat *\(runs\|waits\)" || break; sleep 0.02; done
	done
	agent_end && awk -F, 'NR > 1 && $1 != (NR - 2) % 100 { bad = 1 } END { exit bad || NR != 201 }' "$TMPDIR/heat.csv"
}
point "a client of another version" version
point "an agent of another version" another_agent
point "clients that give what they should not" clients
point "a program that begins again" again
plan
