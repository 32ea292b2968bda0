#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# For shell tests, which source it: points of TAP. A point that fails shows what its command printed.
n=0
set -o pipefail
point() { # description command...
	local what=$1
	shift
	n=$((n + 1))
	if "$@" >"$TMPDIR/log" 2>&1; then echo "ok $n - $what"; else sed 's/^/# /' "$TMPDIR/log" | head -n 60; echo "not ok $n - $what"; fi
}
skip() { # description reason
	n=$((n + 1))
	echo "ok $n - $1 # SKIP $2"
}
plan() { echo "1..$n"; }
# Succeeds when the command ends with that code; its output goes on.
code() { # code command...
	local want=$1 got=0
	shift
	"$@" || got=$?
	[ "$got" = "$want" ] || { echo "exit code $got, not $want: $*"; return 1; }
}
# Every pattern (extended regular expression) is found in standard input, or it is shown.
says() {
	local text p
	text=$(cat)
	for p; do grep -Eq -e "$p" <<<"$text" || { echo "does not say: $p"; echo "$text"; return 1; }; done
}
