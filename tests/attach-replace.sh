#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Several graphs on one stream, and graphs that are replaced while it flows: every step is in exactly one of the files, in order.
# timeout: 120
# shellcheck source=tests/helpers/agent.sh
. tests/helpers/agent.sh
pump=$IOG_HELPERS/attach-pump
fresh() { # arguments of an agent
	rm -f "$TMPDIR"/*.csv
	agent "$@"
}
graph() { # name [options of the source] [file]: writes NAME.lua, whose table is NAME.csv
	cat >"$TMPDIR/$1.lua" <<END
local iog = require "iog"
iog.source.stream { "heat" ${2:-} }:stats { "T" }:to(iog.sink.table { "${3:-$TMPDIR/$1.csv}", on_restart = "append" })
END
}
steps() { # first and last, of which file, every one between them once, in order
	awk -F, -v from="$1" -v to="$2" 'FNR > 1 && $1 + 0 == $1 { if ($1 != from + n) { print "step " $1 " follows " from + n - 1; exit bad = 1 } n++ } END { exit bad || from + n - 1 != to }' "$3"
}
write() { # ranks steps microseconds [options]
	local w=() r
	for ((r = 0; r < $1; r++)); do
		"$pump" write "$S" heat $r "$1" "$2" "$3" ${4:+"$4"} >"$TMPDIR/w$r" &
		w+=($!)
	done
	wait "${w[@]}"
}
wrote_all() { # ranks steps: nothing was skipped
	[ "$(cat "$TMPDIR"/w[0-9]* | grep -c "^wrote $2 skipped 0 code 0: $")" = "$1" ] || { cat "$TMPDIR"/w[0-9]*; return 1; }
}
state() { # name: what ps says of it
	"$iog" ps --socket "$S" | awk -v n="$1" '$1 == n { print $2 }'
}
until_delivers() { # name n: has that many records in its file
	for _ in $(seq 400); do [ "$("$iog" ps --socket "$S" | awk -v n="$1" '$1 == n && $2 == "runs" { print $3 }')" -ge "$2" ] 2>/dev/null && return 0; sleep 0.02; done
	"$iog" ps --socket "$S"
	return 1
}
several() { # each has all of it, at its own pace
	graph a; graph b
	cat >"$TMPDIR/two.lua" <<END
local iog = require "iog"
iog.source.stream "heat":stats { "T" }:to(iog.sink.table { "$TMPDIR/two-1.csv", on_restart = "truncate" })
iog.source.stream "heat":stats { "T" }:to(iog.sink.table { "$TMPDIR/two-2.csv", on_restart = "truncate" })
END
	fresh --load "$TMPDIR/a.lua" --load "$TMPDIR/b.lua" --load "$TMPDIR/two.lua" --once && write 2 300 0 && ended 0 && wrote_all 2 300 || return 1
	for f in a b two-1 two-2; do steps 0 299 "$TMPDIR/$f.csv" || return 1; done
}
unloaded() { # one graph ends, the others do not notice; one that comes later begins with some later step
	graph a; graph b; graph c
	fresh --load "$TMPDIR/a.lua" --load "$TMPDIR/b.lua" --once || return 1
	write 2 200 10000 &
	local w=$!
	until_delivers b 20 && "$iog" unload --socket "$S" b && "$iog" load --socket "$S" "$TMPDIR/c.lua" && wait $w && ended 0 && wrote_all 2 200 || return 1
	local last first
	last=$(tail -n 1 "$TMPDIR/b.csv" | cut -d , -f 1) first=$(sed -n 2p "$TMPDIR/c.csv" | cut -d , -f 1)
	steps 0 199 "$TMPDIR/a.csv" && steps 0 "$last" "$TMPDIR/b.csv" && [ "$last" -lt 199 ] && [ "$first" -gt 0 ] && steps "$first" 199 "$TMPDIR/c.csv"
}
limits() { # policy, how many graphs there is room for: the next is refused in words
	local i loads=()
	for ((i = 0; i <= $2; i++)); do
		graph "g$i"
		loads+=(--load "$TMPDIR/g$i.lua")
	done
	fresh "${loads[@]}" --once || return 1
	write 1 50 1000 "policy=$1"
	ended 1 && grep -q "graph g$2 cannot start: .*$3" "$TMPDIR/agent.log" || { cat "$TMPDIR/agent.log"; return 1; }
	[ -s "$TMPDIR/g0.csv" ] && [ -s "$TMPDIR/g$(($2 - 1)).csv" ] && [ ! -e "$TMPDIR/g$2.csv" ]
}
replaced() { # twice, while 2 ranks write 200 steps
	graph a; graph b; graph c
	fresh --load "$TMPDIR/a.lua" --once || return 1
	write 2 200 10000 &
	local w=$!
	until_delivers a 20 && "$iog" load --socket "$S" --replace a "$TMPDIR/b.lua" && "$iog" ps --socket "$S" | grep -q "^a *runs .*in the place of .*a.lua" &&
		until_delivers a 20 && "$iog" load --socket "$S" --replace a "$TMPDIR/c.lua" && wait $w && ended 0 && wrote_all 2 200 || { cat "$TMPDIR/agent.log"; return 1; }
	(tail -n +1 "$TMPDIR/a.csv" && tail -n +2 "$TMPDIR/b.csv" && tail -n +2 "$TMPDIR/c.csv") >"$TMPDIR/all.csv"
	steps 0 199 "$TMPDIR/all.csv" && for f in a b c; do [ "$(wc -l <"$TMPDIR/$f.csv")" -gt 20 ] || return 1; done
}
needs_more() { # a variable that was not sent, because nobody wanted it, is there from the first step on
	graph a
	rm -f "$TMPDIR/b.iogr"
	echo "local iog = require \"iog\"; iog.source.stream \"heat\":to(iog.sink.record { \"$TMPDIR/b.iogr\" })" >"$TMPDIR/b.lua"
	fresh --load "$TMPDIR/a.lua" --once || return 1
	write 2 200 10000 &
	local w=$!
	until_delivers a 20 && "$iog" load --socket "$S" --replace a "$TMPDIR/b.lua" && wait $w && ended 0 && wrote_all 2 200 || { cat "$TMPDIR/agent.log"; return 1; }
	"$iog" dump --records 1000 --values 1 "$TMPDIR/b.iogr" | awk '$1 == "record" { sub(/,/, "", $4); step = $4 } $1 == "energy" && $2 == "J:" { print step "," $3 }' >"$TMPDIR/b.txt"
	(cut -d , -f 1 "$TMPDIR/a.csv"; cut -d , -f 1 "$TMPDIR/b.txt") >"$TMPDIR/all.csv"
	steps 0 199 "$TMPDIR/all.csv" && awk -F, '$1 != $2 { print; bad = 1 } END { exit bad || NR < 20 }' "$TMPDIR/b.txt"
}
at_full_speed() { # the same with nobody waiting in between
	graph a; graph b
	fresh --load "$TMPDIR/a.lua" --once || return 1
	write 2 60000 0 &
	local w=$!
	until_delivers a 100 && "$iog" load --socket "$S" --replace a "$TMPDIR/b.lua" && wait $w && ended 0 && wrote_all 2 60000 || return 1
	(cat "$TMPDIR/a.csv" && tail -n +2 "$TMPDIR/b.csv") >"$TMPDIR/all.csv"
	steps 0 59999 "$TMPDIR/all.csv" && [ "$(wc -l <"$TMPDIR/b.csv")" -gt 1 ]
}
cannot_start() { # the former graph runs again and has every step
	graph a; graph bad "" /proc/nowhere/x.csv
	fresh --load "$TMPDIR/a.lua" --once || return 1
	write 2 200 10000 &
	local w=$!
	until_delivers a 20 && code 1 "$iog" load --socket "$S" --replace a "$TMPDIR/bad.lua" 2>"$TMPDIR/err" && grep -q 'runs again' "$TMPDIR/err" && [ "$(state a)" = runs ] &&
		wait $w && ended 0 && wrote_all 2 200 && steps 0 199 "$TMPDIR/a.csv"
}
refused() { # what is wrong is seen before anything ends
	graph a; graph b ', schema = "T: f64[z=8,y=16,x=16] K"'
	echo 'local iog = require "iog"; iog.source.stream "heat":stats { "nothing" }:to(iog.sink.null {})' >"$TMPDIR/bad.lua"
	echo 'local iog = require "iog"; iog.source.stream "cold":stats { "T" }:to(iog.sink.null {})' >"$TMPDIR/cold.lua"
	fresh --load "$TMPDIR/a.lua" --once || return 1
	write 2 200 5000 &
	local w=$!
	until_delivers a 10 && code 1 "$iog" load --socket "$S" --replace a "$TMPDIR/bad.lua" 2>"$TMPDIR/err" && grep -q 'bad.lua:1: .*nothing' "$TMPDIR/err" &&
		code 1 "$iog" load --socket "$S" --replace a "$TMPDIR/cold.lua" 2>"$TMPDIR/err" && grep -q 'that no program has opened; graph "a" goes on' "$TMPDIR/err" &&
		code 1 "$iog" load --socket "$S" --replace z "$TMPDIR/b.lua" 2>"$TMPDIR/err" && grep -q 'no graph "z" is loaded' "$TMPDIR/err" &&
		wait $w && ended 0 && wrote_all 2 200 && steps 0 199 "$TMPDIR/a.csv"
}
waiting() { # a graph that waits is replaced at once
	graph a; graph b
	fresh --load "$TMPDIR/a.lua" --once && "$iog" load --socket "$S" --replace a "$TMPDIR/b.lua" && write 1 50 0 && ended 0 && [ ! -e "$TMPDIR/a.csv" ] && steps 0 49 "$TMPDIR/b.csv"
}
point "several graphs and sources take one stream" several
point "a graph that ends is in nobody's way" unloaded
point "more graphs than a stream that waits has place for" limits block 12 'as many as there can be'
point "more graphs than a stream that does not wait has memory for" limits latest 5 'has memory for 5 graphs'
point "replaced twice while two ranks write" replaced
point "replaced by one that needs more of each step" needs_more
point "replaced at full speed" at_full_speed
point "a graph that cannot start: the former one runs again" cannot_start
point "a graph with a mistake is refused, and nothing ends" refused
point "a graph that waits is replaced" waiting
plan
