#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# iog check: schemas and memory of a right graph; of a wrong one every mistake, with its line, what was expected and the nearest name.
. tests/helpers/tap.sh
g=tests/graphs

right() {
	"$IOG" check $g/slab.lua | says '^synthetic: source, line 4' '^ +position: f32\[atom=1000,xyz\]' '^ +static type: i32\[atom\]' \
		'^filter: operator, line 5, on host, from synthetic' 'at most [0-9.]+ KiB a record' '^synthetic -> filter +64 ' 'block +fast' \
		'^total memory [0-9.]+ MiB$'
}
placed() { "$IOG" check $g/slab.lua --on sidecore | says '^filter: operator, line 5, on sidecore'; }
stage() { "$IOG" check $g/demo-shape.lua | says 'on host in stage render\+crop\+jpeg' '^filter -> h5md .* block +safe' 'latest +fast'; }
cropped() { "$IOG" check $g/demo-shape.lua | says '^    image: u8\[y=360,x=640,rgb\]$' '^    image: u8\[y=360,x=640,rgb\] \| jpeg'; }
wrong() {
	code 1 "$IOG" check $g/wrong.lua 2>"$TMPDIR/err" >"$TMPDIR/out" || return 1
	[ ! -s "$TMPDIR/out" ] && says <"$TMPDIR/err" \
		'^tests/graphs/wrong.lua:3: synthetic: unknown parameter "stesp".*"steps"' \
		'^tests/graphs/wrong.lua:4: synthetic.2: "atoms" must be a whole number.*"many"' \
		'^tests/graphs/wrong.lua:6: no operator "fliter".*"filter"' \
		'^tests/graphs/wrong.lua:7: filter: unknown parameter "wehre".*"where"' \
		'^tests/graphs/wrong.lua:8: no sink "nul".*"null"' \
		'^tests/graphs/wrong.lua:9: .*unknown name "charge".*the stream has position, velocity' \
		'^tests/graphs/wrong.lua:10: .*unknown name "positoin.x"' \
		'^tests/graphs/wrong.lua:11: jpeg: .*no image.*render' \
		'^tests/graphs/wrong.lua:12: nothing uses what filter' \
		'^tests/graphs/wrong.lua:13: null.* has 0 of at least 1 input' \
		'^tests/graphs/wrong.lua:14: .*"policy" must be one of.*"lastest".*latest' \
		'^tests/graphs/wrong.lua:15: filter.* needs "where"' \
		'^tests/graphs/wrong.lua:16: crop.*"atmo".*atom' \
		'^tests/graphs/wrong.lua:17: .*release = "safe" needs a sink' \
		'^tests/graphs/wrong.lua:18: .*"on" must be one of.*"sidcore".*sidecore' \
		'^tests/graphs/wrong.lua:19: no word of iog "sorce".*"source"'
}
sorted() { sed -E 's/^[^:]*:([0-9]+):.*/\1/' "$TMPDIR/err" | sort -n -C; }
once() { [ "$(sort "$TMPDIR/err" | uniq -d | wc -l)" = 0 ] && [ "$(wc -l <"$TMPDIR/err")" -le 20 ]; }
one_mistake() { # text pattern: nothing else is said
	printf 'local iog = require "iog"\nlocal md = iog.source.synthetic { steps = 5 }\n%s\n' "$1" >"$TMPDIR/one.lua"
	code 1 "$IOG" check "$TMPDIR/one.lua" 2>"$TMPDIR/err" || return 1
	[ "$(wc -l <"$TMPDIR/err")" = 1 ] && says "$2" <"$TMPDIR/err"
}
unused() {
	printf 'local iog = require "iog"\niog.source.synthetic {}:to(iog.sink.null {})\nlocal limit = iog.param.number { "limit", 1 }\n' >"$TMPDIR/unused.lua"
	"$IOG" check "$TMPDIR/unused.lua" --set limit=2 2>"$TMPDIR/err" | says '^total memory' && says ':3: warning: parameter "limit" is not used' <"$TMPDIR/err"
}
json() { # code, python condition on j, then arguments of iog check
	local want=$1 check=$2
	shift 2
	code "$want" "$IOG" check --json "$@" >"$TMPDIR/json" 2>"$TMPDIR/err" || return 1
	[ ! -s "$TMPDIR/err" ] && "$PYTHON" - "$check" "$TMPDIR/json" <<-'END'
		import json, sys
		j = json.load(open(sys.argv[2]))
		m = j["mistakes"]
		if not eval(sys.argv[1]):
		    sys.exit("not true: %s\n%s" % (sys.argv[1], json.dumps(j, indent=1)))
	END
}
as_text() { # what --json says is what is printed
	"$IOG" check $g/wrong.lua 2>"$TMPDIR/text"
	{ "$IOG" check $g/wrong.lua --json || true; } | "$PYTHON" -c 'import json, sys
for m in json.load(sys.stdin)["mistakes"]: print("%s:%d: %s%s" % (m["file"], m["line"], "warning: " if m["warning"] else "", m["text"]))' | cmp - "$TMPDIR/text"
}
not_there() { code 1 "$IOG" check "$TMPDIR/none.lua" 2>&1 | says 'none.lua: .*No such file'; }
setting() {
	"$IOG" check $g/slab.lua --set cutoff=0.3 >/dev/null &&
		code 1 "$IOG" check $g/slab.lua --set cutof=0.3 2>&1 | says '--set cutof: .*"cutoff"' &&
		code 1 "$IOG" check $g/slab.lua --set cutoff=high 2>&1 | says 'not a number' &&
		code 1 "$IOG" check $g/slab.lua --set cutoff=3 2>&1 | says 'outside 0..1'
}
thousand() { "$IOG" check $g/thousand.lua | says '^total memory'; }

point "a right graph: schemas, edges, memory" right
point "stages go where --on says" placed
point "stages, policies and release are shown" stage
point "a constant crop says what is left" cropped
point "a wrong graph: every mistake with line, expectation and nearest name" wrong
point "mistakes come sorted by line" sorted
point "no mistake twice" once
point "a misspelt operator is one mistake" one_mistake 'md:fliter "x > 1":to(iog.sink.null {})' ':3: no operator "fliter"'
point "a misspelt sink is one mistake" one_mistake 'md:filter "x > 1":to(iog.sink.nul {})' ':3: no sink "nul"'
point "an unused source is one mistake" one_mistake '' ':2: nothing uses what synthetic gives'
point "an option without effect is refused: timeout of a sink" one_mistake 'md:to(iog.sink.null { timeout = "2s" })' ':3: null: "timeout" applies to streams that applications publish; not available for this source'
point "timeout of a queue" one_mistake 'md:queue { timeout = "2s" }:to(iog.sink.null {})' ':3: queue: "timeout" applies to streams that applications publish; not available for this source'
point "qos" one_mistake 'md:queue { policy = "latest", qos = "bulk" }:to(iog.sink.null {})' ':3: queue: "qos" orders streams that leave this host; not available'
point "syntax" one_mistake 'md:filter = = 3' ":3: .*near '='"
point "a run-time error of Lua" one_mistake 'md:to(iog.sink.null {}) local x = nil + 1' ':3: .*arithmetic on a nil'
point "a variable the source does not have" one_mistake 'md:stats { "charge" }:to(iog.sink.null {})' ':3: stats: .*charge'
point "an image where particles flow" one_mistake 'md:png {}:to(iog.sink.null {})' ':3: png: .*image'
for how in truncate new; do
	point "a safe file that each run starts anew, $how" one_mistake "md:to(iog.sink.h5md { 'a.h5md', release = 'safe', on_restart = '$how' })" \
		":3: h5md: release = \"safe\" goes on after the last record of a.h5md, on_restart = \"$how\" does not; use \"append\""
done
point "pictures of what are no particles" one_mistake 'md:stats {}:render {}:to(iog.sink.null {})' \
	':3: render: position names "position".*draws particles, and the stream has position_x_count'
point "a simulation whose atoms nobody counted" one_mistake 'md:to(iog.sink.null {}) iog.source.imd {}:to(iog.sink.null {})' \
	':3: imd: how many atoms are there.*topology = "melt.data".*atoms = N'
point "a misspelt variable is one mistake" one_mistake 'local slab = md:filter "x > 1" slap:to(iog.sink.null {})' ':3: no variable "slap"; did you mean "slab"'
point "a circle" one_mistake 'local a = md:merge(b, { along = "atom" }) a:to(iog.sink.null {}) local b' ':3: no variable "b"'
point "a parameter nobody uses is a warning" unused
two() { # from sink sink message
	one_mistake "local s = $1 s:to($2)
s:to($3)" "$4"
}
printf 'local iog = require "iog"\niog.source.synthetic { steps = 5 }:to(iog.sink.record { "%s" })\n' "$TMPDIR/r.iogr" >"$TMPDIR/r.lua"
"$IOG" run "$TMPDIR/r.lua" >/dev/null 2>&1
for s in table record h5md; do
	[ $s = table ] && small=":stats { 'x' }" || small=
	point "two sinks on one file: $s" two "md$small" "iog.sink.$s { 'same' }" "iog.sink.$s { './same', on_restart = 'truncate' }" \
		":4: $s.2: \"./same\" is already written by $s of line 3; give each a file of its own"
done
point "two kinds of sinks on one file" two md "iog.sink.record { 'a' }" "iog.sink.h5md { 'a' }" ':4: h5md: "a" is already written by record of line 3'
point "two sinks on the same numbers" one_mistake "local p = md:render {}:png {}
p:to(iog.sink.image { 'f-%06d.png' })
p:to(iog.sink.image { 'f-%d.png' })" ':5: image.2: "f-%d.png" is already written by image of line 4'
point "a record file that is played is not written" one_mistake "md:to(iog.sink.null {})
iog.source.record { '$TMPDIR/r.iogr' }:to(iog.sink.record { '$TMPDIR/r.iogr' })" ':4: record.2: ".*" is what record of line 4 reads; write another file'
point "--json of a right graph" json 0 'j["right"] and m == [] and j["memory_bytes"] > 1e5 and j["graph"].endswith("slab.lua")' $g/slab.lua
point "--json of a wrong graph" json 1 'not j["right"] and j["memory_bytes"] is None and m[0]["line"] == '"$(grep -n stesp $g/wrong.lua | cut -d : -f 1)"' and "stesp" in m[0]["text"] and not m[0]["warning"]' $g/wrong.lua
point "--json says what is printed" as_text
point "--json of a file that is not there" json 1 'len(m) == 1 and m[0]["line"] is None and "No such file" in m[0]["text"]' "$TMPDIR/none.lua"
point "a file that is not there" not_there
point "--set" setting
point "1,000 nodes" thousand
plan
