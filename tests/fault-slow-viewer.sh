#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A lossy viewer behind an expensive branch never slows the safe file beside it: the file has every record, the viewer dropped most.
# timeout: 60
. tests/helpers/tap.sh
cat >"$TMPDIR/g.lua" <<END
local md = iog.source.synthetic { atoms = 3000, steps = 1500 }
md:filter { "zs > 0.2", name = "all" }:to(iog.sink.record { "$TMPDIR/t.iogr", release = "safe", name = "file", on_restart = "truncate" })
md:render { width = 1920, height = 1080, name = "picture" }:png { level = 6 }:to(iog.sink.null { policy = "latest", name = "viewer" })
END
run() {
	"$IOG" run "$TMPDIR/g.lua" --json "$@" >"$TMPDIR/json" && "$PYTHON" - "$TMPDIR/json" <<-'END'
		import json, sys
		j = json.load(open(sys.argv[1]))
		u = {x["name"]: x for x in j["units"]}
		o = {x["name"]: x for x in j["operators"]}
		shown = u["viewer"]["records_in"]
		print(shown, "of 1500 shown")
		assert u["file"]["records_in"] == 1500 and j["result"] == "done"
		# Dropped before the picture was made, not after; and the newest one is shown at the end.
		assert 0 < shown < 500 and o["picture"]["records"] == shown and u["synthetic"]["dropped"] == 1500 - shown
	END
}
stored() { [ "$("$IOG" dump "$TMPDIR/t.iogr" | grep -c '^record ')" = 1500 ]; }
point "on threads" run
point "every record is in the file" stored
point "in processes" run --on sidecore
point "every record is in the file again" stored
plan
