#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A full disk: the run fails with one sentence that names the file, and what was stored before stays readable.
# timeout: 240
. tests/helpers/tap.sh
export TMPDIR IOG
mkdir "$TMPDIR/disk" "$TMPDIR/out"
if ! unshare -m sh -c 'mount -t tmpfs -o size=64k tmpfs "$TMPDIR/disk"' 2>"$TMPDIR/why"; then
	echo "1..0 # SKIP a small file system cannot be mounted here: $(head -c 200 "$TMPDIR/why")"
	exit 0
fi
full() { # sink file operator
	cat >"$TMPDIR/g.lua" <<-END
		local md = iog.source.synthetic { atoms = 500, steps = 20000 }
		md$3:to(iog.sink.$1 { "$TMPDIR/disk/$2", flush = 3 })
	END
	local got=0
	unshare -m bash -c 'mount -t tmpfs -o size=2m tmpfs "$TMPDIR/disk" || exit 99
		timeout 75 "$IOG" run "$TMPDIR/g.lua" >/dev/null 2>"$TMPDIR/err"; got=$?
		cp "$TMPDIR/disk/'$2'" "$TMPDIR/out/" || exit 98
		exit $got' || got=$?
	cat "$TMPDIR/err"
	[ $got = 1 ] && [ "$(grep -c . "$TMPDIR/err")" = 1 ] && says "$2" 'No space left|full' <"$TMPDIR/err"
}
h5() { "$PYTHON" -c 'import h5py, sys
f = h5py.File(sys.argv[1], "r")
x = f["particles/trajectory/position/value"]
n = len(x)
assert n >= 20 and abs(x[:]).max(axis=(1, 2)).min() > 0 and list(f["particles/trajectory/position/step"][:n]) == list(range(n)), n' "$TMPDIR/out/t.h5"; }
records() { "$IOG" dump "$TMPDIR/out/t.iogr" >"$TMPDIR/txt" && [ "$(grep -c '^record ' "$TMPDIR/txt")" -ge 20 ]; }
table() { [ "$(head -n -1 "$TMPDIR/out/t.csv" | awk -F, '{ print NF }' | sort -u | wc -l)" = 1 ] && [ "$(wc -l <"$TMPDIR/out/t.csv")" -ge 20 ]; }
point "h5md: a full disk fails the run with a clear error" full h5md t.h5
point "h5md: what was flushed is readable" h5
point "record: a full disk fails the run with a clear error" full record t.iogr
point "record: what was written is readable" records
point "table: a full disk fails the run with a clear error" full table t.csv ":stats()"
point "table: whole lines" table
plan
