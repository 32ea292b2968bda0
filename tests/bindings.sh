#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The programs of docs/bindings.md and of the README work as they stand there: what one language publishes, another one reads, and a graph takes; MPI programs
# in C and Fortran, with a reader in Python.
# timeout: 200
# shellcheck source=tests/helpers/agent.sh
. tests/helpers/agent.sh
if [ "$IOG_SANITIZER" ]; then echo "1..0 # SKIP interpreters are not built with the sanitizer"; exit 0; fi
export IOG_SOCKET=$S PYTHONPATH=$IOG_BUILD/python PYTHONDONTWRITEBYTECODE=1 LUA_CPATH="$IOG_BUILD/lua/?.so" PKG_CONFIG_PATH=$IOG_BUILD
# A block that starts with ```LANGUAGE NAME is the file NAME.
blocks() { awk -v dir="$1" '/^```[a-z]+ [^ ]+$/ { f = dir "/" $2; next } /^```/ { f = "" } f { print >f }'; }
mkdir "$TMPDIR/readme"
blocks "$TMPDIR" <docs/bindings.md
blocks "$TMPDIR/readme" <README.md
# Where they would compute they wait a little, so that readers see some of it.
sed -i "s/^    t = 300 + step$/&\n    call execute_command_line('sleep 0.02')/" "$TMPDIR/publish.f90"
sed -i 's/^        T\[\.\.\.\] = 300 + step$/&; __import__("time").sleep(0.02)/' "$TMPDIR/publish.py"
sed -i 's/^  local T = {}$/&; os.execute("sleep 0.02")/' "$TMPDIR/publish.lua"
sed -i 's/^#include <mpi.h>$/&\n#include <unistd.h>/; s,/\* here it would compute \*/,usleep(2000);,' "$TMPDIR/readme/heat.c"
sed -i "s/^\( *t(.*) = 2 \* step\) *! here it would compute$/\1\n    if (mod(step, 20) == 0) call execute_command_line('sleep 0.04')/" "$TMPDIR/readme/heat.f90"
cat >"$TMPDIR/plate.lua" <<END
local iog = require "iog"
iog.source.stream { "plate", schema = "T: f64[y<=32,x<=64] K; energy: f64 J" }:stats { "T" }:to(iog.sink.table { "$TMPDIR/plate.csv", on_restart = "truncate" })
END
publish() { # language
	case $1 in
	fortran) "$TMPDIR/publish" ;;
	python) "$PYTHON" "$TMPDIR/publish.py" ;;
	lua) lua5.4 "$TMPDIR/publish.lua" ;;
	esac
}
# Starts a program that reads, and waits until it is attached.
watch() { # command...
	"$@" >"$TMPDIR/watched" 2>&1 &
	reader=$!
	for _ in $(seq 400); do
		[ -z "$(find /proc/$reader/fd -lname 'socket:*' 2>/dev/null)" ] || return 0
		sleep 0.05
	done
	cat "$TMPDIR/watched"
	return 1
}
watcher() { # language
	case $1 in
	fortran) watch "$TMPDIR/watch" ;;
	python) watch "$PYTHON" "$TMPDIR/watch.py" ;;
	lua) watch lua5.4 "$TMPDIR/watch.lua" ;;
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
	agent --load "$TMPDIR/plate.lua" --once && watcher "$2" || return 1
	local rc=0
	publish "$1" || rc=1
	wait "$reader" || rc=1
	wait "$agent" || rc=1
	cat "$TMPDIR/watched" "$TMPDIR/agent.log"
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
# heat.c or heat.f90 of the README on two ranks, with its reader, which ends with the stream or as T is above 1500.
readme_compiles() { # compiler source package
	# shellcheck disable=SC2046
	"$1" -O2 -Wall -Werror -o "$TMPDIR/heat" "$TMPDIR/readme/$2" $(pkg-config --cflags --libs "$3") -Wl,-rpath,"$IOG_BUILD"
}
readme() {
	agent && watch "$PYTHON" "$TMPDIR/readme/reader.py" || return 1
	local rc=0
	mpirun -np 2 "$TMPDIR/heat" || rc=1
	wait "$reader" || rc=1
	agent_end
	tail -n 5 "$TMPDIR/watched"
	[ $rc = 0 ] && grep -qE "^[0-9]+ [0-9.e-]+ \(64, 64\) \('z', 'x'\) K [0-9]" "$TMPDIR/watched" && grep -q '^Stats(records=[1-9]' "$TMPDIR/watched"
}
if [ "$(missing fortran)" ]; then skip "Fortran compiles" "$(missing fortran)"; else point "Fortran compiles" compiles; fi
for languages in "fortran python" "python lua" "lua fortran"; do
	read -r one other <<<"$languages"
	why=$(missing "$one")$(missing "$other")
	if [ "$why" ]; then skip "$one publishes, $other watches" "$why"; else point "$one publishes, $other watches" pair "$one" "$other"; fi
done
for program in "mpicc heat.c iograph" "mpif90 heat.f90 iograph-fortran"; do
	read -r compiler source package <<<"$program"
	if ! command -v "$compiler" >/dev/null || ! command -v mpirun >/dev/null; then skip "README: $source" "$compiler or mpirun is not installed"
	elif ! pkg-config --exists "$package"; then skip "README: $source" "that part was not built"
	else
		point "README: $source compiles" readme_compiles "$compiler" "$source" "$package"
		why=$(missing python)
		if [ "$why" ]; then skip "README: $source and reader.py" "$why"
		else point "README: $source and reader.py" readme; fi
	fi
done
plan
