#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# For shell tests that need an agent, which source it instead of tap.sh: it listens at $S, its process is $agent, what it says is in agent.log.
# shellcheck source=tests/helpers/tap.sh
. tests/helpers/tap.sh
iog=$IOG S=$TMPDIR/agent
agent() { # arguments: starts one, waits until it listens
	: >"$TMPDIR/agent.log"
	next_agent "$@"
}
next_agent() { # the same; its log goes on behind that of the one before
	local before
	before=$(grep -cs ': listens at' "$TMPDIR/agent.log")
	"$iog" agent --socket "$S" "$@" >>"$TMPDIR/agent.log" 2>&1 &
	agent=$!
	# A socket may be there already, of a dead one.
	for _ in $(seq 200); do
		[ "$(grep -c ': listens at' "$TMPDIR/agent.log")" -gt "${before:-0}" ] && return 0
		kill -0 "$agent" 2>/dev/null || break
		sleep 0.05
	done
	cat "$TMPDIR/agent.log"
	return 1
}
ended() { # by itself, in order, with this code
	wait "$agent"
	local rc=$?
	[ $rc = "$1" ] && [ ! -e "$S" ] && [ ! -e "$S.d" ] || { echo "the agent ended with $rc and left: $(echo "$S"*)"; cat "$TMPDIR/agent.log"; return 1; }
}
agent_end() { kill "$agent" && ended 143; }
agent_dies() {
	kill -9 "$agent"
	wait "$agent" 2>/dev/null
	return 0
}
