#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What readers and graphs want of a stream is what its writers copy and send: variables, a box of one, several readers, several ranks.
# timeout: 120
# shellcheck source=tests/helpers/agent.sh
. tests/helpers/agent.sh
pump=$IOG_HELPERS/attach-select
PLANE=$((8 * 16 * 8)) # bytes
writers() { # how many, readers: 100 steps each
	local w=()
	for ((r = 0; r < $1; r++)); do
		"$pump" write "$S" flow $r "$1" 100 "$2" >"$TMPDIR/w$r" &
		w+=($!)
	done
	wait "${w[@]}"
}
reader() { # number, selection, variable
	"$pump" read "$S" flow "$2" "$3" 100 >"$TMPDIR/r$1" &
	readers+=($!)
}
is() { grep -q "^$2" "$TMPDIR/$1" || { cat "$TMPDIR/$1"; return 1; }; } # file, how its line begins
run() { # ranks, then a reader for each pair of selection and variable
	local ranks=$1 n=0 rc=0
	shift
	readers=()
	agent || return 1
	while [ $# -gt 0 ]; do
		n=$((n + 1))
		reader $n "$1" "$2"
		shift 2
	done
	writers "$ranks" $n
	wait "${readers[@]}" || rc=1
	agent_end
	return $rc
}
everything() { run 1 "" T && is w0 "wrote 100 bytes $((100 * (8 * PLANE + 8))) wanted TU" && is r1 "read 100 elements $((100 * 512)) rank 3"; }
variable() { run 1 T T && is w0 "wrote 100 bytes $((100 * 4 * PLANE)) wanted T-" && is r1 "read 100 elements $((100 * 512)) rank 3"; }
box() { run 1 "T[1:3,5,2:4]" T && is w0 "wrote 100 bytes $((100 * 2 * 2 * 8)) wanted T-" && is r1 "read 100 elements 400 rank 2"; }
two_boxes() { # the box around both
	run 1 "T[1:2,:,2:4]" T "T[2:3,:,5:9]" T && is w0 "wrote 100 bytes $((100 * 2 * 8 * 7 * 8)) wanted T-" &&
		is r1 "read 100 elements $((100 * 16)) rank 3" && is r2 "read 100 elements $((100 * 32)) rank 3"
}
two_variables() { # a box of one, the other whole
	run 1 "T[0:1,:,:]" T U U && is w0 "wrote 100 bytes $((100 * 5 * PLANE)) wanted TU" && is r1 "read 100 elements $((100 * 128)) rank 3" &&
		is r2 "read 100 elements $((100 * 512)) rank 3"
}
box_and_whole() { run 1 "T[0:1,:,:]" T T T && is w0 "wrote 100 bytes $((100 * 4 * PLANE)) wanted T-" && is r1 "read 100 elements $((100 * 128))" && is r2 "read 100 elements $((100 * 512))"; }
two_ranks() { # one of them has nothing of the box, and the step is complete nevertheless
	run 2 "T[5,:,:]" T && is w0 "wrote 100 bytes 0 wanted --" && is w1 "wrote 100 bytes $((100 * PLANE)) wanted T-" &&
		is r1 "read 100 elements $((100 * 128)) rank 2"
}
across_ranks() {
	run 2 "T[3:5,:,:]" T && is w0 "wrote 100 bytes $((100 * PLANE)) wanted T-" && is w1 "wrote 100 bytes $((100 * PLANE)) wanted T-" &&
		is r1 "read 100 elements $((100 * 256)) rank 3"
}
graph() { # takes what its operators need
	cat >"$TMPDIR/t.lua" <<-END
		local iog = require "iog"
		local flow = iog.source.stream "flow"
		flow:stats { "T" }:to(iog.sink.table { "$TMPDIR/t.csv", on_restart = "truncate" })
	END
	agent --load "$TMPDIR/t.lua" --once || return 1
	writers 1 1
	wait "$agent" && is w0 "wrote 100 bytes $((100 * 4 * PLANE)) wanted T-" &&
		awk -F, 'NR > 1 { n++; bad = bad || $4 != 512; last = $1 } END { exit !(n >= 100 && last == 1099 && !bad) }' "$TMPDIR/t.csv" || { head -3 "$TMPDIR/t.csv"; return 1; }
}
point "without a selection everything is sent" everything
point "one variable" variable
point "a box of one variable" box
point "two boxes" two_boxes
point "a box of one, all of the other" two_variables
point "a box, and the whole of the same" box_and_whole
point "a rank that has nothing of the box" two_ranks
point "a box across two ranks" across_ranks
point "a graph wants what its operators need" graph
plan
