#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What runs out, or is taken away, under programs and their agent: descriptors, memory of the control group, the folder of the socket, room on its disk. Each
# time in words, and whoever has enough goes on.
# timeout: 120
# shellcheck source=tests/helpers/agent.sh
. tests/helpers/agent.sh
pump=$IOG_HELPERS/attach-pump hostile=$IOG_HELPERS/attach-hostile
cat >"$TMPDIR/heat.lua" <<END
local iog = require "iog"
iog.source.stream "heat":stats { "T" }:to(iog.sink.table { "$TMPDIR/heat.csv", on_restart = "truncate" })
END
with_few() { ulimit -n 24 && exec "$IOG" "$@"; }
ticks() { awk '{ print $14 + $15 }' "/proc/$agent/stat"; }

program_with_few() { # descriptors of its edges are passed on, not kept
	agent --load "$TMPDIR/heat.lua" --once || return 1
	"$pump" read "$S" heat 1000000 policy=latest >"$TMPDIR/r" &
	local r=$!
	(ulimit -n 20 && exec "$pump" write "$S" heat 0 1 300 500) | tee "$TMPDIR/w"
	wait $r "$agent" && grep -q '^wrote 300 skipped 0 code 0: $' "$TMPDIR/w" && grep -q 'last 299 code 3' "$TMPDIR/r"
}
program_with_none() { # but for the socket
	agent || return 1
	"$PYTHON" -c 'import os, resource as r, sys; os.closerange(3, 256); r.setrlimit(r.RLIMIT_NOFILE, (4, 4)); os.execv(sys.argv[1], sys.argv[1:])' \
		"$pump" write "$S" heat 0 1 10 0 | tee "$TMPDIR/w"
	agent_end && grep -q '^wrote 0 skipped 10 code -24: .*no descriptor left' "$TMPDIR/w"
}
agent_with_few() { # those who find no place are told so at once, the others go on; it does not spin, and serves again when there is place
	iog=with_few agent || return 1
	"$hostile" idle "$S" 60 4 >"$TMPDIR/h" &
	local p=$! before after t=$SECONDS
	sleep 1.5
	before=$(ticks)
	"$pump" write "$S" heat 0 1 10 0 >"$TMPDIR/w" && cat "$TMPDIR/w" && grep -q 'code -111: .*no descriptor left' "$TMPDIR/w" && [ $((SECONDS - t)) -le 3 ] || return 1
	sleep 1
	after=$(ticks)
	echo "$((after - before)) ticks in a second"
	wait $p && cat "$TMPDIR/h" && grep -Eq "refused [34]" "$TMPDIR/h" && [ $((after - before)) -lt 40 ] && "$pump" write "$S" heat 0 1 10 0 >"$TMPDIR/w" && grep -q 'code 0: $' "$TMPDIR/w" && agent_end
}
folder_gone() { # who is attached goes on; who comes later is told that no agent answers there
	rm -f "$TMPDIR/heat.csv" && mkdir "$TMPDIR/place"
	local S=$TMPDIR/place/agent
	agent --load "$TMPDIR/heat.lua" --once || return 1
	"$pump" write "$S" heat 0 1 400 1000 >"$TMPDIR/w" &
	local w=$!
	for _ in $(seq 200); do [ -s "$TMPDIR/heat.csv" ] && break; sleep 0.02; done
	rm -r "$TMPDIR/place"
	"$pump" write "$S" heat 0 1 1 0 >"$TMPDIR/late"
	wait $w "$agent" && cat "$TMPDIR/w" "$TMPDIR/late" && grep -q '^wrote 400 skipped 0 code 0: $' "$TMPDIR/w" && grep -q 'no agent answers' "$TMPDIR/late"
}
disk_full() { # neither for a folder nor for a socket
	mkdir "$TMPDIR/full" && mount -t tmpfs -o nr_inodes=1,mode=700 tmpfs "$TMPDIR/full" || return 1
	local rc=0
	timeout 20 "$iog" agent --socket "$TMPDIR/full/agent" 2>"$TMPDIR/err" && rc=1
	cat "$TMPDIR/err"
	grep -q 'No space left on device' "$TMPDIR/err" || rc=1
	XDG_RUNTIME_DIR=$TMPDIR/full IOG_SOCKET='' timeout 20 "$iog" agent 2>"$TMPDIR/err" && rc=1
	cat "$TMPDIR/err"
	grep -q 'No space left on device' "$TMPDIR/err" || rc=1
	umount "$TMPDIR/full"
	return $rc
}
# A control group with so many bytes, in v2 or v1; prints its folder, or why there is none.
group() {
	local at name=iog-test-$$
	[ "$(id -u)" = 0 ] || { echo "root is needed to limit memory"; return 1; }
	at=$(awk -F: '$2 ~ /(^|,)memory(,|$)/ { print "/sys/fs/cgroup/memory" $3 }' /proc/self/cgroup)
	if [ -n "$at" ] && mkdir "$at/$name" 2>/dev/null; then
		echo "$at/$name"
		echo "$1" >"$at/$name/memory.limit_in_bytes" && return 0
	fi
	for at in /sys/fs/cgroup /sys/fs/cgroup/unified; do
		grep -qw memory $at/cgroup.subtree_control 2>/dev/null && mkdir "$at/$name" 2>/dev/null || continue
		echo "$at/$name"
		echo "$1" >"$at/$name/memory.max" && return 0
	done
	echo "no control group of memory can be made here"
	return 1
}
memory() { # the writer's memory does not fit its group: refused before it is taken, so nobody is killed for it
	agent --load "$TMPDIR/heat.lua" || return 1
	sh -c 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"' - "$group" env PUMP_PAD=16 "$pump" write "$S" heat 0 1 100 0 >"$TMPDIR/w"
	local rc=$?
	cat "$TMPDIR/w"
	"$pump" write "$S" heat 0 1 100 0 >"$TMPDIR/other" # the agent goes on for others
	cat "$TMPDIR/other"
	agent_end && [ $rc = 0 ] && grep -q '^wrote 0 skipped 100 code -12: .*available' "$TMPDIR/w" && grep -q '^wrote 100 skipped 0 code 0: $' "$TMPDIR/other"
}

point "a program with 20 descriptors" program_with_few
point "a program with one for the socket only" program_with_none
point "an agent without descriptors" agent_with_few
point "the folder of the socket is removed" folder_gone
if [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null && mkdir "$TMPDIR/t" && mount -t tmpfs tmpfs "$TMPDIR/t" 2>/dev/null && umount "$TMPDIR/t"; then
	point "no room for the socket" disk_full
else
	skip "no room for the socket" "a file system may not be mounted here"
fi
if [ -n "$IOG_SANITIZER" ]; then
	skip "memory of the control group" "the sanitizer takes as much by itself"
elif group=$(group 64M); then
	point "memory of the control group" memory
	rmdir "$group"
else
	skip "memory of the control group" "$(tail -n 1 <<<"$group")"
fi
plan
