#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The programs on docs/bindings.md work as they stand there: what one language publishes, each language reads, and a graph takes.
# timeout: 200
# shellcheck source=tests/helpers/tap.sh
. tests/helpers/tap.sh
if [ "$IOG_SANITIZER" ]; then echo "1..0 # SKIP interpreters are not built with the sanitizer"; exit 0; fi
export IOG_SOCKET=$TMPDIR/agent PYTHONPATH=$IOG_BUILD/python PYTHONDONTWRITEBYTECODE=1 LUA_CPATH="$IOG_BUILD/lua/?.so" PKG_CONFIG_PATH=$IOG_BUILD
# A block that starts with ```LANGUAGE NAME is the file NAME.
(cd "$TMPDIR" && awk '/^```[a-z]+ [^ ]+$/ { f = $2; next } /^```/ { f = "" } f { print >f }') <docs/bindings.md
cat >"$TMPDIR/plate.lua" <<END
local iog = require "iog"
iog.source.stream { "plate", schema = "T: f64[y<=32,x<=64] K; energy: f64 J" }:stats { "T" }:to(iog.sink.table { "$TMPDIR/plate.csv", on_restart = "truncate" })
END
agent() {
	: >"$TMPDIR/agent.log"
	"$IOG" agent "$@" >"$TMPDIR/agent.log" 2>&1 &
	agent=$!
	for _ in $(seq 100); do grep -q ': listens at' "$TMPDIR/agent.log" && return 0; sleep 0.05; done
	return 1
}
publish() { # language
	case $1 in
	fortran) "$TMPDIR/publish" ;;
	python) "$PYTHON" "$TMPDIR/publish.py" ;;
	lua) lua5.4 "$TMPDIR/publish.lua" ;;
	esac
}
watch() { # language
	case $1 in
	fortran) "$TMPDIR/watch" ;;
	python) "$PYTHON" "$TMPDIR/watch.py" ;;
	lua) lua5.4 "$TMPDIR/watch.lua" ;;
	esac
}
missing() { # language: why it cannot be tried
	case $1 in
	fortran) command -v gfortran >/dev/null && [ -e "$IOG_BUILD/libiograph_fortran.a" ] || echo "gfortran is not installed, or the module was not built" ;;
	python) "$PYTHON" -c 'import iograph, numpy' 2>/dev/null || echo "numpy is not installed, or the package was not built" ;;
	lua) command -v lua5.4 >/dev/null || echo "lua5.4 is not installed" ;;
	esac
}
# Every step reaches the graph, as the page says it is.
rows() {
	"$PYTHON" - "$TMPDIR/plate.csv" <<'END'
import csv, sys
rows = list(csv.DictReader(open(sys.argv[1])))
assert len(rows) == 100, len(rows)
for step, r in enumerate(rows):
    assert (int(r["step"]), int(r["T_count"]), float(r["T_min"]), float(r["T_max"])) == (step, 2048, 300 + step, 300 + step), r
    assert abs(float(r["time"]) - 0.1 * step) < 1e-9, r
END
}
# Publisher, watcher and graph at once.
pair() { # publisher watcher
	agent --load "$TMPDIR/plate.lua" --once || return 1
	timeout 60 bash -c "$(declare -f watch); watch $2" >"$TMPDIR/watched" 2>&1 &
	local reader=$! rc=0
	sleep 0.3
	timeout 60 bash -c "$(declare -f publish); publish $1" || rc=1
	wait $reader || rc=1
	wait "$agent" || rc=1
	cat "$TMPDIR/watched"
	[ $rc = 0 ] && grep -qE '[0-9].* K( |$|	)|	K$' "$TMPDIR/watched" && rows
}
compiles() {
	local f
	for f in publish watch; do
		# The flags of pkg-config are words.
		# shellcheck disable=SC2046
		gfortran -std=f2018 -Wall -Werror -o "$TMPDIR/$f" "$TMPDIR/$f.f90" $(pkg-config --cflags --libs iograph-fortran) -Wl,-rpath,"$IOG_BUILD" || return 1
	done
}
export TMPDIR PYTHON
if [ "$(missing fortran)" ]; then skip "Fortran compiles" "$(missing fortran)"; else point "Fortran compiles" compiles; fi
for languages in "fortran python" "python lua" "lua fortran"; do
	read -r one other <<<"$languages"
	why=$(missing "$one")$(missing "$other")
	if [ "$why" ]; then skip "$one publishes, $other watches" "$why"; else point "$one publishes, $other watches" pair "$one" "$other"; fi
done
plan
