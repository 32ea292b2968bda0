#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# docs/record-format.md is right: a reader in Python, written from that page alone, shows the same as `iog dump`, and finds the end of a file
# that a crash left where the sink finds it.
# timeout: 120
. tests/helpers/tap.sh
f=$TMPDIR/f.iogr
if ! "$PYTHON" -c 'import numpy' 2>/dev/null; then
	skip "an independent reader" "python3-numpy is not installed"
	plan
	exit 0
fi
read_file() { "$PYTHON" tests/helpers/read-record-file.py "$1"; }
write() { # options of the source, chain, what becomes of a file that is there (truncate)
	cat >"$TMPDIR/g.lua" <<-END
		local iog = require "iog"
		iog.source.synthetic { $1 }$2:to(iog.sink.record { "$f", on_restart = "${3:-truncate}" })
	END
	"$IOG" run "$TMPDIR/g.lua" >"$TMPDIR/run" 2>&1 || { cat "$TMPDIR/run"; return 1; }
}
# Static variables are "as before" in the dump and repeated by the reader, so both are filled in; sizes and places are not in the reader's lines.
same() {
	read_file "$f" >"$TMPDIR/reader" || return 1
	"$IOG" dump --values 10000000 "$f" | awk '
		/^record / { sub(/, [0-9.]+ [KMG]?i?B at byte.*/, "") }
		/^    / { name = $1; sub(/\[.*/, "", name); sub(/:$/, "", name); if (/ as before$/) $0 = kept[name]; else kept[name] = $0 }
		/ records? in / { exit }
		{ sub(/ +$/, ""); print }' >"$TMPDIR/dump"
	sed '$d' "$TMPDIR/reader" | diff - "$TMPDIR/dump" >"$TMPDIR/diff" && [ "$(grep -c '^record' "$TMPDIR/dump")" = "$1" ] && return
	cut -c 1-200 "$TMPDIR/diff" | head -20
	return 1
}
written() { # records, then arguments of write
	local n=$1
	shift
	write "$@" && same "$n"
}
encoded() {
	write 'steps = 3, atoms = 40' ':compress {}' && read_file "$f" | says 'position: f32\[atom=40,xyz\] Angstrom \| zstd' \
		'position\[40,3\] Angstrom: zstd, [0-9]+ bytes' '^3 records'
}
appended() {
	write 'steps = 3, atoms = 20' '' && write 'steps = 2, every = 10, atoms = 20' '' append && same 5
}
# At every place the file may be cut at, and with a byte damaged anywhere, both find the same end: what the sink appends comes there.
torn() {
	write 'steps = 6, atoms = 20' '' && cp "$f" "$TMPDIR/whole" || return 1
	local size at how end records
	size=$(stat -c %s "$f")
	for at in 7250 7300 7400 8000 9000 10000 "$((size - 1))" "$((size - 700))" "$size"; do
		for how in cut zero; do
			cp "$TMPDIR/whole" "$f"
			if [ $how = cut ]; then truncate -s "$at" "$f"; else printf '\0\0\0\0\0\0\0\0' | dd of="$f" bs=1 seek="$((at - 8))" conv=notrunc 2>/dev/null; fi
			read_file "$f" >"$TMPDIR/reader" || return 1
			end=$(sed -n '$s/.*whole to byte \([0-9]*\) .*/\1/p' "$TMPDIR/reader")
			records=$(grep -c '^record' "$TMPDIR/reader")
			write 'steps = 1, every = 7, seed = 9, atoms = 20' '' append || return 1
			size=$(stat -c %s "$f")
			if ! cmp -n "$end" "$f" "$TMPDIR/whole" || ! read_file "$f" | says "^$((records + 1)) records, whole to byte $size of $size"; then
				echo "$how at $at: the reader says $end after $records records"
				return 1
			fi
		done
	done
}
durable() {
	cat >"$TMPDIR/g.lua" <<-END
		local iog = require "iog"
		iog.source.synthetic { steps = 20, atoms = 20, rate = 200 }:to(iog.sink.record { "$f", flush = 2, release = "safe" })
	END
	rm -f "$f"
	"$IOG" run "$TMPDIR/g.lua" >/dev/null 2>&1 && read_file "$f" | says '^20 records, .*, durable to [1-9][0-9]{3,}'
}

point "static and other variables, box, attributes" written 4 'steps = 4, atoms = 37, every = 10' ''
point "changing numbers of particles" written 9 'steps = 9, atoms = 50, varying = true' ''
point "static variables again in a new epoch" written 7 'steps = 7, atoms = 12, restart = 3' ''
point "no particle" written 2 'steps = 2, atoms = 0' ''
point "NaN" written 2 'steps = 2, atoms = 9, nan = 0.5' ''
point "a field, strided" written 3 'mode = "field", steps = 3, shape = { 3, 5, 7 }' ':crop { x = { 1, 5 }, y = { 2, 5 } }'
point "bytes of an image" written 2 'mode = "image", steps = 2, shape = { 8, 9 }' ''
point "integers of delta" written 4 'steps = 4, atoms = 21' ':delta { quantum = 0.01 }'
point "results of stats" written 3 'steps = 3' ':stats {}'
point "an opaque encoding" encoded
point "a file gone on with" appended
point "what a crash can leave" torn
point "the durable offset" durable
plan
