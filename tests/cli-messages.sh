#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Messages about a node begin with its name, once: whoever reports them puts it there, and operators and endpoints do not say it as well.
# One mistake for every operator and endpoint, found when the graph is checked or when it runs.
. tests/helpers/tap.sh
printf 'junk' >"$TMPDIR/junk"
covered=" "

once() { # graph pattern: the one message that names the node
	printf 'local iog = require "iog"\nlocal junk, dir = "%s/junk", "%s"\n' "$TMPDIR" "$TMPDIR" >"$TMPDIR/g.lua"
	[[ $1 != md:* ]] || echo 'local md = iog.source.synthetic { steps = 2 }' >>"$TMPDIR/g.lua"
	echo "$1" >>"$TMPDIR/g.lua"
	code 1 "$IOG" run "$TMPDIR/g.lua" >"$TMPDIR/out" 2>"$TMPDIR/err" || return 1
	# What stands before the message: the program, file and line.
	sed -E 's/^iog: //; s/^[^ ]*g\.lua:([0-9]+:)? //' "$TMPDIR/err" >"$TMPDIR/text"
	[ "$(wc -l <"$TMPDIR/text")" = 1 ] && says "^$2" <"$TMPDIR/text" && ! grep -Eq '^([a-z0-9.+]*[+])?([a-z0-9]+)[a-z0-9.+]*: (stage |the )?\2\b.*: ' "$TMPDIR/text" || { cat "$TMPDIR/err"; false; }
}
says_once() { # name graph pattern
	covered="$covered$1 "
	point "$1" once "$2" "$3"
}
without() { # name
	covered="$covered$1 "
	skip "$1" "built without"
}
all_covered() { # names of a table in C: each has a message above
	local name
	for name in $(sed -nE 's/.*iog_(op|source|sink)_([a-z0-9]+),.*/\2/p; s/^.*&iog_(op|source|sink)_([a-z0-9]+)\b.*/\2/p' "$@" | sort -u); do
		[[ $covered == *" $name "* ]] || { echo "no mistake is tried for $name"; return 1; }
	done
}

says_once synthetic 'iog.source.synthetic { box = { 0 } }:to(iog.sink.null {})' 'synthetic: "box" must hold lengths'
says_once imd 'iog.source.imd { "127.0.0.1:1", atoms = 5, timeout = "0.1s" }:to(iog.sink.null {})' 'imd: nobody listens on 127.0.0.1:1'
says_once imd 'iog.source.imd { "nowhere" }:to(iog.sink.null {})' 'imd: "address" must be host:port'
says_once imd 'iog.source.imd { "127.0.0.1:1", atoms = 5, timeout = "0.1s", name = "melt" }:to(iog.sink.null {})' 'melt: nobody listens on'
says_once record 'iog.source.record "/none":to(iog.sink.null {})' 'record: cannot open /none'
says_once record 'md:to(iog.sink.record(junk))' 'record: .*junk exists and is not a record file'
says_once stream 'iog.source.stream "heat":to(iog.sink.null {})' 'stream: nobody has opened stream "heat" yet: run this graph in an agent'
says_once stream 'iog.source.stream { "heat", schema = "T: f64[z" }:to(iog.sink.null {})' 'stream: schema: expected'
says_once stream 'iog.source.stream { "heat", schema = "T: f64[z<=9] K" }:to(iog.sink.null {})' 'stream: nobody has opened stream "heat" yet: run this graph in an agent'
says_once null 'md:to(iog.sink.null { "x" })' 'null takes no value without a name'
says_once table 'md:stats { "position" }:to(iog.sink.table(dir))' 'table: cannot open'
says_once table 'md:to(iog.sink.table "x.csv")' 'table: variable position would take'
says_once image 'md:to(iog.sink.image "x-%d.png")' 'image: the stream has no image'
says_once image 'md:render {}:to(iog.sink.image "/proc/none/x-%d.ppm")' 'image: cannot make folder'
says_once files 'md:to(iog.sink.files "copies")' 'files: wants records of captured files'
says_once filter 'md:filter "nope > 1":to(iog.sink.null {})' 'filter: .*unknown name "nope"'
says_once crop 'md:crop { box = { x = { 0, 1 } } }:to(iog.sink.null {})' 'crop: "box" names the unknown dimension'
says_once delta 'md:delta { quantum = 0.1, variable = "none" }:to(iog.sink.null {})' 'delta: the stream has no variable'
says_once undelta 'md:undelta {}:to(iog.sink.null {})' 'undelta: "position" does not hold differences'
says_once merge 'md:merge { along = "none" }:to(iog.sink.null {})' 'merge: "along" names the unknown dimension'
says_once stats 'md:stats { "none" }:to(iog.sink.null {})' 'stats: no variable "none"'
says_once render 'md:render { color = "none" }:to(iog.sink.null {})' 'render: color names "none"'
if "$IOG" ops jpeg >/dev/null 2>&1; then says_once jpeg 'md:jpeg {}:to(iog.sink.null {})' 'jpeg: the stream has no image'; else without jpeg; fi
if "$IOG" ops png >/dev/null 2>&1; then says_once png 'md:render {}:png {}:png {}:to(iog.sink.null {})' 'png.2: the stream has no image'; else without png; fi
if "$IOG" ops compress >/dev/null 2>&1; then
	says_once compress 'md:compress {}:compress {}:to(iog.sink.null {})' 'compress.2: the stream has no variable to encode'
	says_once decompress 'md:decompress {}:to(iog.sink.null {})' 'decompress: the stream has no variable that zstd encoded'
else
	without compress
	without decompress
fi
if "$IOG" ops h5md >/dev/null 2>&1; then
	says_once h5md 'md:to(iog.sink.h5md(dir))' 'h5md: cannot open'
	says_once h5md 'md:render {}:to(iog.sink.h5md(dir .. "/x.h5"))' 'h5md: the stream has no variable position'
else
	without h5md
fi
point "every operator and endpoint was tried" all_covered operators/all.c runtime/host/endpoints/all.c
# The many messages that no graph above provokes.
sources() {
	local file name bad=0
	for file in operators/*/*.[ch] runtime/host/endpoints/*.[ch]; do
		case $file in */test-*) continue ;; esac
		for name in $covered; do
			grep -HnE "\"$name: " "$file" && bad=1
		done
	done
	[ $bad = 0 ]
}
point "no message in the code of an operator or endpoint begins with its name" sources
plan
