#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# iog ops, targets, version, bench, help: what they say, their JSON, and how mistakes in the command line are answered.
. tests/helpers/tap.sh

list() { "$IOG" ops | says '^sources$' '^operators$' '^sinks$' '^  filter +[A-Z]' '^  synthetic +[A-Z]' '^  null +[A-Z]'; }
explain() {
	"$IOG" ops filter | says '^filter \(operator\)' 'where: expression, required, live' 'example: ' 'runs on: host, sidecore, vm' &&
		"$IOG" ops synthetic | says 'atoms: whole number, 0 to .*, default 1000' 'rate: number in 1/s' 'mode: choice, particles, field, image' &&
		"$IOG" ops record | says '^record \(source\)' '^record \(sink\)'
}
unknown() { code 2 "$IOG" ops filtre 2>&1 | says '"filtre"; did you mean "filter"'; }
json() { "$IOG" "$@" --json | "$PYTHON" -m json.tool >/dev/null; }
documented() {
	"$IOG" ops --json | "$PYTHON" -c 'import json, sys
for i in json.load(sys.stdin):
    assert i["summary"] and i["example"], i
    for p in i["parameters"]:
        assert p["name"] and p["type"] and p["doc"].endswith((".", ")")), (i["name"], p)'
}
# Every example is Lua that the graph language takes: no syntax error, no unknown word, operator, parameter or option.
examples() {
	"$IOG" ops --json | "$PYTHON" -c 'import json, sys
for i in json.load(sys.stdin): print(i["kind"], i["name"], i["example"], sep="\t")' >"$TMPDIR/examples" && [ -s "$TMPDIR/examples" ] || return 1
	local kind name line bad=0
	while IFS=$'\t' read -r kind name line; do
		{
			echo 'local iog = require "iog"'
			[ "$kind" = source ] || printf 'local md = iog.source.synthetic { steps = 5 }\nlocal a, b = md, md\n'
			echo "$line"
		} >"$TMPDIR/example.lua"
		"$IOG" check "$TMPDIR/example.lua" 2>&1 | grep -E 'unknown (parameter|option)|no (operator|source|sink|word)|near |must be|takes' && { echo "$kind $name: $line"; bad=1; }
	done <"$TMPDIR/examples"
	return $bad
}
targets() { "$IOG" targets | says '^host .* works$' '^sidecore .* (works|does not work: .)' '^vm .* (works|does not work: .)'; }
version() { "$IOG" version | says '^iog [0-9]+\.[0-9]+\.[0-9]+$' && [ "$("$IOG" --version)" = "$("$IOG" version)" ]; }
help() {
	"$IOG" --help | says 'usage: iog COMMAND' && "$IOG" help run | says 'usage: iog run' || return 1
	local c
	for c in $("$IOG" --help | sed -n '/^usage/,/^A first/s/^  \([a-z]*\) .*/\1/p'); do
		"$IOG" "$c" --help | says "usage: iog $c" '^options:' '^examples:' "^  iog $c" || return 1
	done
}
first_graph() { # the graph in the help works
	"$IOG" --help | sed -n '/^  local iog/,/^$/s/^  //p' >"$TMPDIR/first.lua" && (cd "$TMPDIR" && "$IOG" run first.lua) && [ -s "$TMPDIR/slab.csv" ]
}
usage() {
	code 2 "$IOG" 2>&1 | says 'usage: iog' && code 2 "$IOG" chekc 2>&1 | says 'did you mean "check"' && code 2 "$IOG" help rnu 2>&1 | says '"run"' &&
		code 2 "$IOG" ops --jsn 2>&1 | says '"--json"' && code 2 "$IOG" version now 2>&1 | says 'takes no argument' && code 2 "$IOG" targets x 2>&1 | says '"x"' &&
		code 2 "$IOG" bench --jso 2>&1 | says '"--json"' && code 2 "$IOG" check 2>&1 | says 'wants a graph' && code 2 "$IOG" dump a b 2>&1 | says '"b"' &&
		code 2 "$IOG" graph --svgg x 2>&1 | says '"--svg"'
}
colourless() { ! "$IOG" ops filter | grep -q $'\033'; }
worker() { [ -z "$(code 1 timeout 20 "$IOG" --worker 99 </dev/null 2>&1)" ]; }
full() { [ ! -w /dev/full ] || code 1 "$IOG" ops >/dev/full; }

point "ops lists" list
point "ops NAME explains" explain
point "ops of what is not there" unknown
point "ops --json" json ops
point "ops NAME --json" json ops render
point "everything is documented" documented
point "examples can be written into a graph" examples
point "targets" targets
point "targets --json" json targets
point "version" version
point "help of every command, with an example" help
point "the graph in the help runs" first_graph
point "usage, with the nearest right word" usage
point "no colour in a pipe" colourless
point "--worker without its socket ends" worker
point "a full disk is reported" full
plan
