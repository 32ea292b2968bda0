#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Data at the edges of what can be: NaN, infinities, no particle, one particle, changing numbers of them, crops that are empty, a source that starts again,
# through filter, stats, render, jpeg and h5md; and a record that is larger than its edge.
# timeout: 60
. tests/helpers/tap.sh
graph() { # source options
	cat >"$TMPDIR/g.lua" <<-END
		local md = iog.source.synthetic { steps = 12, $1 }
		local d = "$TMPDIR/"
		local some = md:filter "x > 0.1 and vx*vx < 1e30"
		some:stats():to(iog.sink.table { d .. "t.csv", on_restart = "truncate" })
		some:render { "type", width = 96, height = 64 }:jpeg():to(iog.sink.null { name = "pictures" })
		md:crop { atom = { 1000000, 2000000 } }:to(iog.sink.record { d .. "outside.iogr", on_restart = "truncate" })
		md:crop { atom = { 7, 7 } }:filter "x > 0":delta { quantum = 0.01 }:undelta():to(iog.sink.record { d .. "empty.iogr", on_restart = "truncate" })
		md:to(iog.sink.h5md { d .. "t.h5", on_restart = "truncate" })
		md:delta { quantum = 0.01 }:undelta():to(iog.sink.record { d .. "t.iogr", on_restart = "truncate" })
	END
}
through() { # source options, python condition on h (group of the H5MD file), u (units), then arguments of iog run
	graph "$1"
	local check=$2
	shift 2
	"$IOG" run "$TMPDIR/g.lua" --json "$@" >"$TMPDIR/json" || return 1
	local f
	for f in outside empty; do
		"$IOG" dump "$TMPDIR/$f.iogr" >"$TMPDIR/dump" && says '^12 records' 'position\[0,3\]' <"$TMPDIR/dump" &&
			[ "$(grep -c 'position\[0,3\]' "$TMPDIR/dump")" = 12 ] || return 1
	done
	"$PYTHON" - "$TMPDIR" "$check" <<-'END'
		import csv, h5py, json, numpy, sys
		d = sys.argv[1]
		u = {x["name"]: x for x in json.load(open(d + "/json"))["units"]}
		h = h5py.File(d + "/t.h5", "r")["particles/trajectory"]
		x = h["position/value"][:]
		rows = list(csv.DictReader(open(d + "/t.csv")))
		assert u["pictures"]["records_in"] == 12 and len(x) == 12 and len(rows) == 12, (u["pictures"], x.shape, len(rows))
		assert all(n["failed"] == 0 for n in u.values())
		assert eval(sys.argv[2]), (x.shape, rows[0])
	END
}
restarts() {
	graph 'atoms = 50, restart = 5'
	"$IOG" run "$TMPDIR/g.lua" >/dev/null && "$IOG" dump "$TMPDIR/t.iogr" | grep '^record ' | sed 's/^record [0-9]*: //; s/, time.*, epoch/ epoch/; s/ at byte.*//; s/,.*//' >"$TMPDIR/ids"
	cat "$TMPDIR/ids"
	[ "$(tr '\n' ';' <"$TMPDIR/ids")" = "$(for e in 1 2 3; do for s in 0 1 2 3 4; do [ $e$s -lt 32 ] && printf 'step %d epoch %d;' $s $e; done; done)" ]
}
too_large() {
	echo 'iog.source.synthetic { atoms = 100000 }:to(iog.sink.null { bytes = "100KiB" })' >"$TMPDIR/g.lua"
	code 1 "$IOG" check "$TMPDIR/g.lua" 2>&1 | says 'g.lua:1: .*bytes = 102400 holds 0 records' 'give at least [0-9]+' && code 1 "$IOG" run "$TMPDIR/g.lua" 2>/dev/null
}
point "NaN among the positions" through 'atoms = 400, nan = 0.3' 'numpy.isnan(x).any() and numpy.isfinite(x).any() and 0 < float(rows[3]["position_x_count"]) < 400'
point "only NaN" through 'atoms = 64, nan = 1' 'numpy.isnan(x).any(axis=2).all() and all(float(r["position_x_count"]) == 0 for r in rows)'
inf='all(r["position_x_max"] == r["position_x_mean"] == "inf" and float(r["position_x_min"]) > 0 and numpy.isfinite(float(r["position_y_mean"])) for r in rows)'
point "infinities among the positions" through 'atoms = 400, inf = 0.3' "(x == numpy.inf).any() and (x == -numpy.inf).any() and not numpy.isnan(x).any() and $inf"
point "infinities and NaN, in processes" through 'atoms = 400, inf = 0.3, nan = 0.3' "(x == numpy.inf).any() and numpy.isnan(x).any() and $inf" --on sidecore
point "only infinities" through 'atoms = 64, inf = 1' "numpy.isinf(x).any(axis=2).all() and $inf"
point "no particle" through 'atoms = 0' 'numpy.isnan(x).all() and all(float(r["position_x_count"]) == 0 for r in rows)'
point "one particle" through 'atoms = 1' 'x.shape[1] == 1 and numpy.isfinite(x).all()'
point "changing numbers of particles" through 'atoms = 400, varying = true' 'len(set(numpy.isfinite(x[:, :, 0]).sum(axis=1))) > 3'
point "changing numbers of particles, in processes" through 'atoms = 400, varying = true' 'len(set(numpy.isfinite(x[:, :, 0]).sum(axis=1))) > 3' --on sidecore
point "a source that starts again gives a new epoch" restarts
point "a record larger than its edge is refused" too_large
plan
