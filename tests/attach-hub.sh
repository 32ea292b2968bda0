#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# More readers than a writer has places for: a hub feeds them, and they notice nothing. The writer has four consumers at most, whatever the number of readers.
# timeout: 120
# shellcheck source=tests/helpers/agent.sh
. tests/helpers/agent.sh
pump=$IOG_HELPERS/attach-select
readers_at() { "$iog" ps --socket "$S" --json | "$PYTHON" -c 'import json, sys; print(sum(s["readers"] for s in json.load(sys.stdin)["streams"]))'; }
wait_readers() { # until the agent has so many
	for _ in $(seq 200); do [ "$(readers_at)" = "$1" ] && return 0; sleep 0.05; done
	echo "$(readers_at) readers, not $1"
	return 1
}
start_readers() { # from, to, selection, variable, options
	for ((r = $1; r < $2; r++)); do
		"$pump" read "$S" flow "$3" "$4" "${steps:-100}" "$5" >"$TMPDIR/r$r" &
		readers+=($!)
	done
}
write() { # ranks, consumers to wait for
	writers=()
	for ((w = 0; w < $1; w++)); do
		"$pump" write "$S" flow $w "$1" 100 "$2" >"$TMPDIR/w$w" &
		writers+=($!)
	done
	wait "${writers[@]}"
}
threads() { cat "/proc/$agent/task/"*/comm | grep -c "^iog-hub$"; } # of hubs
few_consumers() { # most that a writer had
	local n
	for f in "$TMPDIR"/w[0-9]; do
		n=$(sed 's/.* consumers \([0-9]*\) .*/\1/' "$f") && [ "$n" -le "$1" ] && grep -q '^wrote 100 .* code 0: $' "$f" || { cat "$f"; return 1; }
	done
}
all_read() { # from, to, what each says
	for ((r = $1; r < $2; r++)); do grep -q "^$3" "$TMPDIR/r$r" || { echo "reader $r:"; cat "$TMPDIR/r$r" "$TMPDIR/agent.log"; return 1; }; done
}
twenty() { # that want every step: they get every step from the first one on
	readers=()
	agent || return 1
	start_readers 0 20 T T policy=block
	wait_readers 20 && write 1 3
	wait "${readers[@]}"
	local rc=$?
	agent_end
	[ $rc = 0 ] && few_consumers 4 && all_read 0 20 "read 100 elements $((100 * 512)) rank 3 code 0"
}
ranks() { # the same of two ranks, with selections
	readers=()
	agent || return 1
	start_readers 0 8 "T[2:6,:,3]" T policy=block
	start_readers 8 10 U U policy=block
	wait_readers 10 && write 2 3
	wait "${readers[@]}"
	local rc=$?
	agent_end
	[ $rc = 0 ] && few_consumers 4 && all_read 8 10 "read 100 elements $((100 * 1024)) rank 3 code 0"
}
mixed() { # readers that drop steps do not hold up those that want all, and see what they see unharmed
	readers=()
	agent || return 1
	start_readers 0 8 "" T policy=block
	steps=1 start_readers 8 20 "" U policy=latest
	wait_readers 20 && write 1 4
	wait "${readers[@]}"
	local rc=$?
	agent_end
	[ $rc = 0 ] && few_consumers 4 && all_read 0 8 "read 100 elements $((100 * 512)) rank 3 code 0" && all_read 8 20 "read 1 elements 512 rank 3 code 0"
}
stopped() { # readers that are stopped hold up nobody who only drops steps; a hub ends when they leave
	readers=()
	agent || return 1
	steps=1000000 start_readers 0 12 "" T policy=latest
	wait_readers 12 || return 1
	kill -STOP "${readers[@]:4:4}"
	write 1 1
	local hubs
	hubs=$(threads)
	kill -9 "${readers[@]}"
	wait "${readers[@]}" 2>/dev/null
	wait_readers 0 && few_consumers 4
	local rc=$?
	[ "$hubs" = 1 ] || { echo "$hubs hubs"; rc=1; }
	for _ in $(seq 100); do [ "$(threads)" = 0 ] && break; sleep 0.05; done
	[ "$(threads)" = 0 ] || { echo "a hub stays"; rc=1; }
	agent_end
	return $rc
}
killed() { # kill -9 of the writer ends readers behind a hub as it ends others
	readers=()
	agent || return 1
	steps=1000000 start_readers 0 10 "" T policy=block
	wait_readers 10 || return 1
	"$pump" write "$S" flow 0 1 100000000 3 >"$TMPDIR/w0" &
	local w=$!
	sleep 1
	kill -9 $w
	wait $w "${readers[@]}" 2>/dev/null
	agent_end
	all_read 0 10 "read [1-9][0-9]* elements [0-9]* rank 3 code 3"
}
again() { # a second run of the program, for which the next readers wait
	agent || return 1
	for _ in 1 2; do
		readers=()
		start_readers 0 6 "" T policy=block
		wait_readers 6 && write 1 3
		wait "${readers[@]}" && few_consumers 4 && all_read 0 6 "read 100 elements $((100 * 512)) rank 3 code 0" || { agent_end; return 1; }
		wait_readers 0 || return 1
	done
	agent_end
	return 0
}
wanted() { # a hub wants what its readers want, and more when one comes that wants more, before that one gets a step
	cat >"$TMPDIR/t.lua" <<-END
		local iog = require "iog"
		iog.source.stream "flow":stats { "T" }:to(iog.sink.table { "$TMPDIR/t.csv", on_restart = "truncate" })
	END
	agent || return 1
	for more in "" U; do
		readers=()
		"$pump" write "$S" flow 0 1 100 4 >"$TMPDIR/w0" &
		local w=$!
		steps=1000000 start_readers 0 6 T T policy=block
		wait_readers 6 || return 1
		sleep 0.5
		[ -z "$more" ] || { steps=1000000 start_readers 6 7 "U[:,5,:]" U policy=block; wait_readers 7; sleep 0.5; }
		"$iog" load --socket "$S" "$TMPDIR/t.lua" "t$more" # the fourth consumer: steps count from here on
		wait $w "${readers[@]}"
		grep -q "^wrote 100 bytes $((100 * (4 * 1024 + ${#more} * 512))) wanted T${more:--} consumers 4 code 0" "$TMPDIR/w0" || { cat "$TMPDIR/w0"; return 1; }
		all_read 0 6 "read 100 elements $((100 * 512)) rank 3 code 3" || return 1
		[ -z "$more" ] || all_read 6 7 "read 100 elements $((100 * 64)) rank 2 code 3" || return 1
	done
	agent_end
	return 0
}
agent_killed() { # readers of two ranks, behind a hub or not, go on with the next agent
	agent || return 1
	readers=() writers=()
	for w in 0 1; do
		"$pump" write "$S" flow $w 2 100 4 >"$TMPDIR/w$w" &
		writers+=($!)
	done
	start_readers 0 6 "" T policy=block
	wait_readers 6 || return 1
	sleep 0.5
	agent_dies
	agent && wait_readers 6 || return 1
	sleep 1
	steps=1 start_readers 6 7 "" U policy=latest # the fourth consumer: steps count from here on
	wait "${writers[@]}" "${readers[@]}"
	local rc=$?
	agent_end
	[ $rc = 0 ] && all_read 0 6 "read 100 elements $((100 * 1024)) rank 3 code 0"
}
point "twenty readers get every step" twenty
point "of two ranks, with selections" ranks
point "those who want every step beside those who do not" mixed
point "stopped readers, and the end of a hub" stopped
point "kill -9 of the writer" killed
point "a second run" again
point "what readers behind a hub want" wanted
point "kill -9 of the agent" agent_killed
plan
