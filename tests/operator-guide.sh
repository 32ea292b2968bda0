#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# docs/operator-guide.md keeps its word: the sources it shows are built as they stand there, need nothing they may not need, pass their
# own test, and appear in the table of operators (and in `iog ops`) after the two lines the page asks for.
page=docs/operator-guide.md
tree=$TMPDIR/tree
read -r compile <"$IOG_BUILD/flags"
read -r libs <"$IOG_BUILD/link-flags"
n=0
point() { # description command...
	local what=$1
	shift
	n=$((n + 1))
	if "$@" >"$TMPDIR/log" 2>&1; then echo "ok $n - $what"; else sed 's/^/# /' "$TMPDIR/log"; echo "not ok $n - $what"; fi
}

# A block that starts with ```c PATH is the file PATH.
extract() {
	awk -v tree="$tree" '
		/^```/ && out { close(out); out = ""; next }
		/^```c [^ ]+$/ { out = tree "/" $2; dir = out; sub("/[^/]*$", "", dir); system("mkdir -p \"" dir "\""); next }
		out { print >out }' "$page"
	[ -s "$tree/operators/after/after.c" ] && [ -s "$tree/operators/clamp/clamp.c" ] && [ -s "$tree/operators/clamp/test-clamp.c" ]
}
# shellcheck disable=SC2086  # flags are words
cc() { $compile -Werror "$@"; }
build() { cc -c -o "$tree/$1.o" "$tree/operators/$1/$1.c"; }
needs_nothing() {
	local bad
	[ -s "$tree/$1.o" ] || { echo "$1.o was not built"; return 1; }
	# What a sanitizer adds is not the operator's.
	bad=$(nm -u "$tree/$1.o" | awk '{ print $NF }' | grep -vE '^(iog_[a-z_]*|mem(cpy|move|set|cmp)|_GLOBAL_OFFSET_TABLE_|__(asan|ubsan|tsan|sanitizer)_.*)$')
	[ -z "$bad" ] || { echo "needs: $bad"; false; }
}
unit_test() {
	cc -o "$tree/test-clamp" "$tree/operators/clamp/test-clamp.c" "$tree/clamp.o" "$IOG_BUILD/libiograph.a" $libs -lcmocka && "$tree/test-clamp"
}
# The two lines of step 2, for both operators.
table() {
	awk '/^const struct iog_op \*const iog_ops/ { print "extern const struct iog_op iog_op_after, iog_op_clamp;" } { print }
		/^const struct iog_op \*const iog_ops/ { print "\t&iog_op_after, &iog_op_clamp," }' operators/all.c >"$tree/all.c"
	cc -c -o "$tree/all.o" "$tree/all.c"
}
listed() {
	cat >"$tree/list.c" <<-'EOF'
		#include <stdio.h>
		#include "core/iog_op.h"
		int main(void)
		{
			for (unsigned i = 0; iog_ops[i]; i++)
				puts(iog_ops[i]->name);
			return 0;
		}
	EOF
	cc -o "$tree/list" "$tree/list.c" "$tree/all.o" "$tree/after.o" "$tree/clamp.o" "$IOG_BUILD/libiograph.a" $libs &&
		"$tree/list" >"$tree/list.txt" && grep -qx after "$tree/list.txt" && grep -qx clamp "$tree/list.txt"
}

point "the page holds the sources" extract
for op in after clamp; do
	point "$op builds without a warning" build $op
	point "$op needs nothing it may not need" needs_nothing $op
done
point "the test of the page passes" unit_test
point "operators/all.c with the two lines builds" table
point "both are in the table" listed
echo "1..$n"
