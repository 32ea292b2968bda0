#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# iog run and signals: the first ends it in order, the second at once, and kill -9 leaves no process behind; what was stored stays readable.
. tests/helpers/tap.sh
g=tests/graphs

begin() { # arguments of iog run: starts it, sets $pid, waits until it runs
	rm -f "$TMPDIR/o.iogr"
	env --default-signal=INT,HUP "$IOG" run $g/endless.lua --set out="$TMPDIR/o.iogr" "$@" >"$TMPDIR/out" 2>"$TMPDIR/err" &
	pid=$!
	for _ in $(seq 200); do
		[ "$(stat -c %s "$TMPDIR/o.iogr" 2>/dev/null || echo 0)" -gt 100000 ] && return 0
		sleep 0.05
	done
	echo "it did not begin"
	cat "$TMPDIR/err"
	kill -KILL $pid
	return 1
}
ends() { # code: within 20 seconds
	local got=0
	for _ in $(seq 400); do
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.05
	done
	kill -KILL "$pid" 2>/dev/null
	wait "$pid" || got=$?
	[ $got = "$1" ] || { echo "exit code $got, not $1"; cat "$TMPDIR/err"; false; }
}
children() { cat /proc/"$1"/task/*/children 2>/dev/null; }
gone() { # process ids: none of them alive within 5 seconds
	local p state
	for p; do
		for _ in $(seq 100); do
			state=$(sed 's/.*) //' /proc/"$p"/stat 2>/dev/null | cut -c1)
			[ -z "$state" ] || [ "$state" = Z ] && continue 2
			sleep 0.05
		done
		echo "process $p is still there"
		return 1
	done
}
drained() {
	says '^interrupted: [0-9 ]+ records delivered' <"$TMPDIR/out" && "$IOG" dump "$TMPDIR/o.iogr" >"$TMPDIR/dump" && ! grep -q 'not a whole record' "$TMPDIR/dump" &&
		says "^sink +record .* $(grep -c '^record ' "$TMPDIR/dump") " <"$TMPDIR/out"
}
interrupt() { # signal code arguments
	local s=$1 c=$2
	shift 2
	begin "$@" && kill "-$s" $pid && ends "$c" && says 'ending in order' <"$TMPDIR/err" && drained
}
twice() {
	begin && kill -INT $pid && kill -INT $pid
	for _ in 1 2 3; do kill -INT $pid 2>/dev/null || break; sleep 0.05; done
	ends 130 && "$IOG" dump "$TMPDIR/o.iogr" >/dev/null
}
killed() {
	begin --on "$1" || return 1
	local workers
	workers=$(children $pid)
	[ "$1" != sidecore ] || [ "$(wc -w <<<"$workers")" -ge 2 ] || { echo "no workers"; return 1; }
	kill -KILL $pid
	# shellcheck disable=SC2086  # words
	ends 137 && gone $pid $workers && "$IOG" dump "$TMPDIR/o.iogr" | says '^[0-9 ]+ records in'
}
group() { # as Ctrl-C on a terminal does: everybody gets the signal, and the end is in order all the same
	begin --on sidecore || return 1
	local workers
	workers=$(children $pid)
	# shellcheck disable=SC2086
	kill -INT $workers $pid
	ends 130 && drained && ! grep -q restarts "$TMPDIR/out"
}
replaced() { # a worker that dies is replaced, and the summary says so
	begin --on sidecore || return 1
	kill -KILL "$(children $pid | cut -d' ' -f1)" && sleep 0.5 && kill -INT $pid && ends 130 && says 'restarts' <"$TMPDIR/out"
}
closed_pipe() { # no message, no signal but SIGPIPE
	local s
	"$IOG" ops --json 2>"$TMPDIR/err" | head -c 10 >/dev/null
	s=${PIPESTATUS[0]}
	[ ! -s "$TMPDIR/err" ] && { [ "$s" -le 1 ] || [ "$s" = 141 ]; }
}

point "SIGINT ends it in order, exit 130" interrupt INT 130
point "SIGTERM ends it in order, exit 143" interrupt TERM 143
point "in order with stages in processes" interrupt INT 130 --on sidecore
point "again and again: at once" twice
point "kill -9 leaves nothing behind" killed host
point "kill -9 takes sidecore processes with it" killed sidecore
point "Ctrl-C to the whole group" group
point "a killed worker is replaced" replaced
point "a closed pipe" closed_pipe
plan
