#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# As many as there can be: 64 ranks of one stream, some of which are killed at once; 64 readers that want every step, four of each of 16 streams, half of which
# are killed.
# timeout: 200
# slow: 64 processes at a time
# shellcheck source=tests/helpers/agent.sh
. tests/helpers/agent.sh
pump=$IOG_HELPERS/attach-pump
printf 'local iog = require "iog"\niog.source.stream "heat":stats { "T" }:to(iog.sink.table { "%s", on_restart = "truncate" })\n' "$TMPDIR/heat.csv" >"$TMPDIR/heat.lua"
begun() { for _ in $(seq 2000); do [ "$(wc -l 2>/dev/null <"$TMPDIR/heat.csv")" -gt 10 ] 2>/dev/null && return 0; sleep 0.02; done; return 1; }
ranks() { # how many of 64 write so many steps
	w=()
	for ((r = 0; r < 64; r++)); do
		"$pump" write "$S" heat $r 64 "$1" 1000 "policy=block timeout=60s bytes=512KiB" >"$TMPDIR/w$r" &
		w+=($!)
	done
}
sixty_four() {
	agent --load "$TMPDIR/heat.lua" --once && ranks 100 && wait "${w[@]}" && wait "$agent" && [ "$(cat "$TMPDIR"/w* | grep -c '^wrote 100 skipped 0 code 0: $')" = 64 ] &&
		awk -F, '{ sub(/\r$/, "") } NR > 1 && ($1 != NR - 2 || $7 != $1 + 31.5 || $8) { bad = 1 } END { exit bad || NR != 101 }' "$TMPDIR/heat.csv"
}
sixteen_killed() { # the table has every step of the others, and what the 16 had is not a number from then on
	rm "$TMPDIR/heat.csv" && agent --load "$TMPDIR/heat.lua" --once && ranks 2000 && begun && kill -9 "${w[@]:48}" || return 1
	wait "${w[@]:48}" 2>/dev/null
	wait "${w[@]:0:48}" && wait "$agent" && { cat "$TMPDIR"/w* | sort | uniq -c && cat "$TMPDIR/agent.log" && tail -n 2 "$TMPDIR/heat.csv"; } && [ "$(cat "$TMPDIR"/w* | grep -c '^wrote 2000 skipped 0 code 0: $')" = 48 ] && [ "$(grep -c 'rank [0-9]* of 64 is gone' "$TMPDIR/agent.log")" = 16 ] &&
		awk -F, '{ sub(/\r$/, "") } NR > 1 { if ($1 != NR - 2 || $8 < nan || $8 % 1024) bad = 1; nan = $8 } END { exit bad || NR != 2001 || nan != 16 * 1024 }' "$TMPDIR/heat.csv"
}
many_readers() {
	agent || return 1
	local w=() r=() n first last k
	for k in $(seq 64); do
		"$pump" read "$S" s$((k % 16)) 1000000 "policy=block timeout=60s" >"$TMPDIR/r$k" &
		r+=($!)
	done
	# A writer that begins before its readers have subscribed begins without them.
	for _ in $(seq 2000); do [ "$("$iog" ps --socket "$S" | grep -c '^s[0-9]* .* 4$')" = 16 ] && break; sleep 0.02; done
	for k in $(seq 0 15); do
		"$pump" write "$S" "s$k" 0 1 600 1000 "policy=block timeout=60s bytes=512KiB" >"$TMPDIR/w$k" &
		w+=($!)
	done
	sleep 0.3
	kill -9 "${r[@]:0:32}"
	wait "${r[@]:0:32}" 2>/dev/null
	wait "${w[@]}" && wait "${r[@]:32}" || return 1
	cat "$TMPDIR"/w? "$TMPDIR"/w1?
	[ "$(cat "$TMPDIR"/w? "$TMPDIR"/w1? | grep -c '^wrote [0-9]* skipped [0-9]* code 0: $')" = 16 ] || return 1
	for k in $(seq 33 64); do
		cat "$TMPDIR/r$k"
		read -r _ n _ first _ last _ code _ <"$TMPDIR/r$k" && [ "$code" = 3: ] && [ "$last" = 599 ] && [ $((first + n)) = 600 ] || return 1
	done
	agent_end
}
point "64 ranks" sixty_four
point "16 of 64 ranks are killed at once" sixteen_killed
rm -f "$TMPDIR"/w*
point "64 readers that want every step, 32 of which are killed" many_readers
plan
