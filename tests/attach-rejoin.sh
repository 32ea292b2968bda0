#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# An agent is killed and started again while programs publish and read: nothing is lost or twice where that is promised, and nobody is held up.
# timeout: 300
# shellcheck source=tests/helpers/agent.sh
. tests/helpers/agent.sh
pump=$IOG_HELPERS/attach-pump atoms=$IOG_HELPERS/attach-atoms
cat >"$TMPDIR/atoms.lua" <<END
local iog = require "iog"
local atoms = iog.source.stream "atoms"
atoms:to(iog.sink.h5md { "$TMPDIR/atoms.h5", release = "safe" })
atoms:delta { "position", quantum = 0.001 }:to(iog.sink.record { "$TMPDIR/atoms.iogr", release = "safe" })
END
cat >"$TMPDIR/heat.lua" <<END
local iog = require "iog"
iog.source.stream "heat":stats { "T" }:to(iog.sink.table { "$TMPDIR/heat.csv", release = "safe" })
END
sed 's/heat.csv/other.csv/' "$TMPDIR/heat.lua" >"$TMPDIR/other.lua"
begins() { # without what a point that failed has left
	local left
	left=$(jobs -p)
	[ -z "$left" ] || { kill -9 $left 2>/dev/null; wait 2>/dev/null; }
	rm -rf "$S.d" "$TMPDIR"/heat.csv "$TMPDIR"/other.csv "$TMPDIR"/atoms.h5 "$TMPDIR"/atoms.iogr
}
said() { # times what: the agents have said it that often, in time
	for _ in $(seq 400); do [ "$(grep -c "$2" "$TMPDIR/agent.log")" -ge "$1" ] && return 0; sleep 0.05; done
	echo "not said $1 times: $2"
	cat "$TMPDIR/agent.log"
	return 1
}
stored() { # file bytes: it is larger than that, in time
	for _ in $(seq 400); do [ "$(stat -c %s "$1" 2>/dev/null || echo 0)" -gt "$2" ] && return 0; sleep 0.05; done
	echo "nothing more comes into $1"
	return 1
}
rows() { # file: its steps rise; prints how many, the first and the last
	awk -F, 'NR > 1 { if (n++ && $1 <= last) { print "step", $1, "after", last; bad = 1 } else if (n == 1) first = $1; last = $1 } END { print n, first, last; exit bad }' "$1"
}
two_ranks() { # steps microseconds
	w=()
	for r in 0 1; do
		"$atoms" "$S" $r 2 "$1" "$2" "timeout=30s" >"$TMPDIR/w$r" &
		w+=($!)
	done
}
records() { # of the file, whatever its epoch, which is that of a run and so one
	"$iog" dump "$TMPDIR/atoms.iogr" --values 3000 >"$TMPDIR/dump" && [ "$(grep -o ', epoch [0-9]*,' "$TMPDIR/dump" | sort -u | wc -l)" = 1 ] && sed 's/, epoch [0-9]*,/,/' "$TMPDIR/dump"
}
undisturbed() { # what the following are to be like
	begins
	agent --load "$TMPDIR/atoms.lua" --once || return 1
	two_ranks 600 0
	wait "${w[@]}"
	ended 0 && [ "$(cat "$TMPDIR"/w? | grep -c '^wrote 600 skipped 0 code 0: $')" = 2 ] || { cat "$TMPDIR"/w? "$TMPDIR/agent.log"; return 1; }
	mv "$TMPDIR/atoms.h5" "$TMPDIR/ref.h5" && records >"$TMPDIR/ref.txt" && [ "$(grep -c '^record' "$TMPDIR/ref.txt")" = 600 ]
}
exactly_once() { # where stages run: every step once in both files, though parts grow, operators have state and three agents are killed
	begins
	agent --load "$TMPDIR/atoms.lua" --on "$1" --once || return 1
	two_ranks 600 2000
	local size
	for k in 1 2 3; do
		size=$(stat -c %s "$TMPDIR/atoms.iogr" 2>/dev/null || echo 0)
		said $k 'graph atoms runs' && stored "$TMPDIR/atoms.iogr" "$size" || return 1
		agent_dies
		next_agent --on "$1" --once || return 1
	done
	wait "${w[@]}"
	ended 0 && [ "$(cat "$TMPDIR"/w? | grep -c '^wrote 600 skipped 0 code 0: $')" = 2 ] || { cat "$TMPDIR"/w? "$TMPDIR/agent.log"; return 1; }
	said 4 'graph atoms runs' && h5diff --exclude-path /iograph/epoch "$TMPDIR/ref.h5" "$TMPDIR/atoms.h5" && records | cmp - "$TMPDIR/ref.txt"
}
readers() { # who reads directly notices nothing, whether it came before an agent was killed or after
	begins
	agent --load "$TMPDIR/heat.lua" --once || return 1
	"$pump" read "$S" heat 1000000 policy=block >"$TMPDIR/r1" &
	local r=$! r2
	"$pump" write "$S" heat 0 1 2500 1000 "timeout=30s" >"$TMPDIR/w" &
	w=$!
	said 1 'graph heat runs' && sleep 0.2 && agent_dies && next_agent --once && said 2 'graph heat runs' || return 1
	"$pump" read "$S" heat 1000000 policy=block >"$TMPDIR/r2" &
	r2=$!
	sleep 0.3
	agent_dies
	next_agent --once || return 1
	wait $w $r $r2
	ended 0 && grep -q '^wrote 2500 skipped 0 code 0: $' "$TMPDIR/w" && [ "$(rows "$TMPDIR/heat.csv")" = "2500 0 2499" ] || { cat "$TMPDIR"/[wr] "$TMPDIR"/r? "$TMPDIR/agent.log"; rows "$TMPDIR/heat.csv"; return 1; }
	local n first last code
	for k in 1 2; do
		read -r _ n _ first _ last _ code _ <"$TMPDIR/r$k" && [ "$code" = 3: ] && [ $((first + n)) = 2500 ] && [ "$last" = 2499 ] || { cat "$TMPDIR/r$k"; return 1; }
	done
	grep -q 'first 0 last' "$TMPDIR/r1" || cat "$TMPDIR/r1"
}
away() { # no agent for longer than the program waits: it goes on, its reader too; what was kept and what follows is stored, each step once
	begins
	agent --load "$TMPDIR/heat.lua" --once || return 1
	"$pump" read "$S" heat 1000000 policy=block >"$TMPDIR/r" &
	local r=$!
	"$pump" write "$S" heat 0 1 3500 1000 "timeout=0.5s" >"$TMPDIR/w" &
	w=$!
	said 1 'graph heat runs' && sleep 0.2 && agent_dies
	sleep 2
	next_agent --once || return 1
	wait $w $r
	ended 0 && grep -Eq '^wrote [0-9]+ skipped [1-9][0-9]? code 0' "$TMPDIR/w" || { cat "$TMPDIR/w" "$TMPDIR/agent.log"; return 1; }
	local n first last
	read -r n first last <<<"$(rows "$TMPDIR/heat.csv")"
	[ "$last" = 3499 ] && [ "$n" -lt 3300 ] && [ "$n" -gt 700 ] || { echo "$n rows from $first to $last"; cat "$TMPDIR/w"; return 1; }
	awk -F, 'NR > 1 { if (!gap && $1 != NR - 2) gap = $1 - NR + 2; else if (gap && $1 != NR - 2 + gap) bad = 1 } END { exit bad }' "$TMPDIR/heat.csv" || { echo more than one gap; return 1; }
	read -r _ n _ first _ last _ code _ <"$TMPDIR/r" && [ "$code" = 3: ] && [ "$last" = 3499 ] && [ "$n" -gt 3400 ] || { cat "$TMPDIR/r"; return 1; }
}
another_graph() { # who had steps kept for it does not come again: they are let go, and the program is held up for a moment at most
	begins
	agent --load "$TMPDIR/heat.lua" --once || return 1
	"$pump" write "$S" heat 0 1 8000 1000 "timeout=0.2s" >"$TMPDIR/w" &
	w=$!
	said 1 'graph heat runs' && sleep 0.2 && agent_dies && next_agent --fresh --load "$TMPDIR/other.lua" --once && said 1 'graph other runs' || return 1
	wait $w
	ended 0 && ! grep -q 'heat runs' <(sed '1,/other runs/d' "$TMPDIR/agent.log") && grep -Eq '^wrote [0-9]+ skipped [0-9]+ code 0' "$TMPDIR/w" || { cat "$TMPDIR/w" "$TMPDIR/agent.log"; return 1; }
	local n last
	read -r n _ last <<<"$(rows "$TMPDIR/other.csv")" && [ "$last" = 7999 ] && [ "$n" -gt 4000 ] || { echo "$n rows to $last"; cat "$TMPDIR/w"; return 1; }
}
in_order() { # an agent that ends in order leaves nothing, and the next one has its graphs from its own command line
	begins
	agent --load "$TMPDIR/heat.lua" || return 1
	"$pump" write "$S" heat 0 1 2000 1000 "timeout=30s" >"$TMPDIR/w" &
	w=$!
	said 1 'graph heat runs' && sleep 0.2 && agent_end || { echo "no end in order"; ls "$TMPDIR"; return 1; }
	next_agent && ! "$iog" ps --socket "$S" | grep -q '^heat *runs' && "$iog" load --socket "$S" "$TMPDIR/heat.lua" && said 2 'graph heat runs' || { cat "$TMPDIR/agent.log"; return 1; }
	wait $w
	said 2 'graph heat has ended' && agent_end && grep -q '^wrote [0-9]* skipped [0-9]* code 0' "$TMPDIR/w" && rows "$TMPDIR/heat.csv" | grep -q ' 1999$' || { cat "$TMPDIR/w" "$TMPDIR/agent.log"; return 1; }
}
too_early() { # a program that began before its agent
	begins
	"$pump" write "$S" heat 0 1 2500 1000 "timeout=30s" >"$TMPDIR/w" &
	w=$!
	sleep 0.3
	agent --load "$TMPDIR/heat.lua" --once || return 1
	wait $w
	ended 0 && grep -Eq '^wrote [0-9]+ skipped [0-9]+ code 0' "$TMPDIR/w" && rows "$TMPDIR/heat.csv" | grep -q ' 2499$' || { cat "$TMPDIR/w" "$TMPDIR/agent.log"; return 1; }
}
point "two ranks whose parts grow, undisturbed" undisturbed
point "the same with three agents killed" exactly_once host
point "and with stages in processes of their own" exactly_once sidecore
point "readers in other programs" readers
point "an agent that is away for long" away
point "another graph after a kill" another_graph
point "an agent that ends in order" in_order
point "a program that began before the agent" too_early
plan
