#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The Fortran module: slabs of two MPI ranks come out in C order with every value in its place, sections go without a temporary, steps are filled
# in place and read in the order of Fortran, and mistakes are refused in words.
# timeout: 200
# shellcheck source=tests/helpers/agent.sh
. tests/helpers/agent.sh
for program in gfortran mpif90 mpirun; do
	command -v $program >/dev/null || { echo "1..0 # SKIP $program is not installed"; exit 0; }
done
[ -e "$IOG_BUILD/libiograph_fortran.a" ] || { echo "1..0 # SKIP the Fortran module was not built; make config says why"; exit 0; }
if [ "$IOG_SANITIZER" ]; then echo "1..0 # SKIP programs of MPI and gfortran are not built with the sanitizer"; exit 0; fi
export PKG_CONFIG_PATH=$IOG_BUILD IOG_SOCKET=$S
flags() { pkg-config "$@" iograph-fortran; }
cat >"$TMPDIR/keep.lua" <<END
local iog = require "iog"
iog.source.stream "heat":to(iog.sink.record { "$TMPDIR/heat.iogr", on_restart = "truncate" })
END
# Records where the arrays lie that the library is given.
cat >"$TMPDIR/watch.c" <<'END'
#include <stdint.h>
#include <string.h>
#include <iograph.h>
static const void *data;
static int64_t stride;
int __real_iog_put(iog_stream *s, const char *var, const void *from, const int64_t *strides);
int __wrap_iog_put(iog_stream *s, const char *var, const void *from, const int64_t *strides)
{
	if (!strcmp(var, "T"))
		data = from, stride = strides ? strides[1] : -1;
	return __real_iog_put(s, var, from, strides);
}
const void *last_put(void) { return data; }
int64_t last_stride(void) { return stride; }
END
# The flags of pkg-config are words.
# shellcheck disable=SC2046
builds() {
	cc -c -o "$TMPDIR/watch.o" "$TMPDIR/watch.c" $(flags --cflags) &&
		mpif90 -std=f2018 -O2 -fcheck=bounds,pointer -o "$TMPDIR/test" bindings/fortran/test-fortran.f90 "$TMPDIR/watch.o" -Wl,--wrap=iog_put $(flags --cflags --libs) \
			-Wl,-rpath,"$IOG_BUILD"
}
# What a graph kept, by a reader that shares no code with the library.
check() {
	"$PYTHON" tests/helpers/read-record-file.py "$TMPDIR/heat.iogr" >"$TMPDIR/records" && "$PYTHON" - "$TMPDIR/records" "$@"
}
# T[z,y,x] of both ranks, 2 and 3 thick.
slabs() {
	agent --load "$TMPDIR/keep.lua" --once && mpirun -np 2 "$TMPDIR/test" write 20 0 && ended 0 && check <<'END'
import re, sys
text = open(sys.argv[1]).read()
assert re.search(r"^    T: f64\[z<=5,y<=4,x<=5\] K$", text, re.M), text[:300]
T = [[float(n) for n in line.split()] for line in re.findall(r"^    T\[5,4,5\] K: (.*)$", text, re.M)]
assert len(T) == 20, len(T)
for step, t in enumerate(T):
    assert t == [x + 10 * y + 100 * z + 10000 * step for z in range(5) for y in range(4) for x in range(5)], (step, t)
assert text.count("    kind[5]: 10 20 30 40 50\n") == 20 and text.count("    energy J: 28.5\n") == 1, text[-3000:]
END
}
fill() {
	agent --load "$TMPDIR/keep.lua" --once && "$TMPDIR/test" fill && ended 0 && check <<'END'
import re, sys
T = [[float(n) for n in line.split()] for line in re.findall(r"^    T\[3,6\] K: (.*)$", open(sys.argv[1]).read(), re.M)]
assert T == [[x + 10 * y + 100 * step for y in range(3) for x in range(6)] for step in range(10)], T
END
}
# With policy=block every step from the first one seen on.
read_back() {
	agent || return 1
	timeout 60 "$TMPDIR/test" read "policy=block timeout=20s" >"$TMPDIR/read" 2>&1 &
	local reader=$!
	mpirun -np 2 "$TMPDIR/test" write 60 2
	local rc=$?
	wait $reader && [ $rc = 0 ] && grep -q '^read [1-9][0-9]$' "$TMPDIR/read" || rc=1
	agent_end
	cat "$TMPDIR/read"
	return $rc
}
kept() {
	agent --load "$TMPDIR/keep.lua" --once && "$TMPDIR/test" "$1" && ended 0 && "$IOG" dump "$TMPDIR/heat.iogr" >"$TMPDIR/dump" || return 1
	[ "$(grep ' T\[' "$TMPDIR/dump")" = $'    T[3,6] K: 1 1 1 1 1 1 ...\n    T[3,6] K: not in this record' ] || { cat "$TMPDIR/dump"; false; }
}
lone() { [ "$("$TMPDIR/test" lone)" = lone ]; }
point "builds by pkg-config" builds
point "slabs of two ranks: every value in its place, and no temporary" slabs
point "steps filled in place" fill
point "a pointer of another type: the failure is kept" kept type
point "a pointer of another rank" kept rank
point "an array of nine dimensions" kept many
point "a part is read in the order of Fortran" read_back
point "no agent, mistakes, handles that lead nowhere" lone
plan
