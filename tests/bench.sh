#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# iog bench: a figure as JSON has every key with the right type and its target from the table; a name that is none is refused. No number is
# judged: that is what make bench is for.
# shellcheck source=tests/helpers/tap.sh
. tests/helpers/tap.sh
iog=$IOG

json() {
	"$iog" bench --json --pairs 5 view.crop >"$TMPDIR/json" && "$PYTHON" - "$TMPDIR/json" <<'E2'
import json, sys
lines = open(sys.argv[1]).read().splitlines()
assert len(lines) == 1, lines
f = json.loads(lines[0])
kinds = {"name": str, "value": float, "unit": str, "against": str, "ratio": float, "target": float, "spread": float,
         "low": float, "high": float, "pairs": int, "note": str}
for key, kind in kinds.items():
    assert key in f, key
    v = f[key]
    assert isinstance(v, kind) or (kind is float and isinstance(v, int)), (key, v)
assert f["name"] == "view.crop" and f["pairs"] == 5 and f["value"] > 0 and f["low"] <= f["ratio"] <= f["high"], f
assert f["ok"] in (True, False), f
row = [r.split("\t") for r in open("bench/targets.tsv") if r.startswith("view.crop\t")][0]
assert f["target"] == float(row[2]) and f["direction"] == row[1], f
E2
}
# Every line of the table is a figure, and every figure is in the table.
table() {
	diff <(grep -v '^#' bench/targets.tsv | cut -f 1) <("$iog" bench --list | cut -d ' ' -f 1)
}

point "a figure as JSON" json
point "bench/targets.tsv and the figures are the same list" table
point "a pattern that matches nothing is refused" code 2 "$iog" bench no.such.figure
plan
