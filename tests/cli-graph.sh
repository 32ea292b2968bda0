#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# iog graph: text and SVG, from a few nodes to a thousand. SVG is well-formed, shows every node and edge, boxes do not overlap, text fits.
. tests/helpers/tap.sh
g=tests/graphs

text() {
	"$IOG" graph $g/demo-shape.lua | says '^synthetic +source$' '─ filter +host +≤ 32000 atoms, 1.34 MiB +zs > 0.4 and zs < 0.6  safe$' '│ +crop +host' 'stats.2 +vm' \
		'^stage on host: render crop jpeg$' '^12 nodes, [0-9.]+ MiB of memory$'
}
join() { "$IOG" graph $g/fork-join.lua | says 'merge .*with crop$' 'merge +\(shown above\)'; }
picture() { # graph nodes edges
	"$IOG" graph "$1" -o "$TMPDIR/g.svg" && [ "$(grep -c '<g><title>' "$TMPDIR/g.svg")" = "$2" ] && "$PYTHON" - "$TMPDIR/g.svg" "$3" <<-'END'
		import sys, xml.etree.ElementTree as E
		ns = "{http://www.w3.org/2000/svg}"
		root = E.parse(sys.argv[1]).getroot()
		w, h = (float(root.get(k)) for k in ("width", "height"))
		boxes, frames = [], []
		for r in root.iter(ns + "rect"):
		    c = r.get("class")
		    if c in ("source", "op", "sink", "frame"):
		        b = [float(r.get(k)) for k in ("x", "y", "width", "height")]
		        assert b[0] >= 0 and b[1] >= 0 and b[0] + b[2] <= w and b[1] + b[3] <= h, ("outside", b)
		        (frames if c == "frame" else boxes).append((b, c))
		def apart(a, b):
		    return a[0] + a[2] <= b[0] or b[0] + b[2] <= a[0] or a[1] + a[3] <= b[1] or b[1] + b[3] <= a[1]
		def within(a, b):
		    return a[0] >= b[0] and a[1] >= b[1] and a[0] + a[2] <= b[0] + b[2] and a[1] + a[3] <= b[1] + b[3]
		for kind in (boxes, frames):
		    s = sorted(kind, key=lambda x: x[0][0])
		    for i, (a, _) in enumerate(s):
		        for b, _ in s[i + 1:]:
		            if b[0] >= a[0] + a[2]:
		                break
		            assert apart(a, b), ("overlap", a, b)
		for b, c in boxes:
		    inside = [f for f, _ in frames if not apart(b, f)]
		    assert all(within(b, f) for f in inside), ("crosses a frame", b)
		    if c == "op" and b[3] > 20: # not of the legend
		        assert len(inside) == 1, ("no frame", b)
		tips = sum(1 for p in root.iter(ns + "path") if p.get("class") == "tip")
		assert tips == int(sys.argv[2]), tips
		for g in root.iter(ns + "g"): # text in its box, as wide letters
		    r = g.find(ns + "rect")
		    for t in g.iter(ns + "text"):
		        assert 0.5 * (13 if t.get("class") == "name" else 11) * len(t.text) <= float(r.get("width")) + 6, t.text
	END
}
colours() { says 'prefers-color-scheme:dark' '#0072b2' '<title>' 'stage on sidecore' 'latest, fast' 'block, safe' 'may drop records' '≤ 32000 atoms, 2.69 MiB' <"$TMPDIR/demo.svg"; }
escapes() {
	printf 'local iog = require "iog"\niog.source.synthetic { steps = 5 }:filter "x < 3 and y > \\"":to(iog.sink.null {})\n' >"$TMPDIR/e.lua"
	"$IOG" check "$TMPDIR/e.lua" 2>&1 | says 'e.lua:2: '
	printf 'local iog = require "iog"\niog.source.synthetic { steps = 5 }:filter "x < 3 and y > 1":to(iog.sink.record "a&b<c>\\"d\\255.iogr")\n' >"$TMPDIR/e.lua"
	"$IOG" graph "$TMPDIR/e.lua" -o "$TMPDIR/e.svg" && "$PYTHON" -c 'import sys, xml.etree.ElementTree as E; E.parse(sys.argv[1])' "$TMPDIR/e.svg" && says 'x &lt; 3' <"$TMPDIR/e.svg"
}
cannot_write() { code 1 "$IOG" graph $g/slab.lua -o "$TMPDIR/no/g.svg" 2>&1 | says 'cannot write .*/no/g.svg'; }
wrong() { code 1 "$IOG" graph $g/wrong.lua 2>&1 | says 'wrong.lua:3: '; }
quick() { # a thousand nodes, both forms: far below what anybody notices as waiting, even on a busy machine
	timeout 20 "$IOG" graph $g/thousand.lua | says '^1000 nodes'
}

point "text" text
point "text of a join" join
point "a picture of five nodes" picture $g/slab.lua 5 4
point "a picture of a fork and join" picture $g/fork-join.lua 5 5
point "a picture of twelve nodes" picture $g/demo-shape.lua 12 11
cp "$TMPDIR/g.svg" "$TMPDIR/demo.svg"
point "colours, legend, labels" colours
point "odd characters are escaped" escapes
point "a picture of 1,000 nodes" picture $g/thousand.lua 1000 998
point "text of 1,000 nodes" quick
point "a place that cannot be written" cannot_write
point "a wrong graph" wrong
plan
