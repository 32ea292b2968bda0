#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Every example graph passes `iog check`; the synthetic ones are run, and what they leave is read by programs that are not ours: Python for
# tables, h5py for trajectories. The tutorial's graphs and commands work as they stand there.
# timeout: 240
set -u
root=$PWD examples=$PWD/examples python=${PYTHON:-python3}
n=0
point() { # description command...
	local what=$1
	shift
	n=$((n + 1))
	if "$@" >"$TMPDIR/log" 2>&1; then echo "ok $n - $what"; else sed 's/^/# /' "$TMPDIR/log"; echo "not ok $n - $what"; fi
}
skip() { n=$((n + 1)); echo "ok $n - $1 # SKIP $2"; }
have() { "$python" -W ignore -c "import $1" >/dev/null 2>&1; }
# Reads with h5py, or says why not.
reads() { # description function
	if have h5py && have numpy; then point "$@"; else skip "$1" "the Python modules h5py and numpy are not installed"; fi
}
lacks() { ! "$IOG" ops "$1" >/dev/null 2>&1; }
for part in h5md jpeg png compress; do
	if lacks $part; then echo "1..0 # SKIP built without a library that $part needs"; exit 0; fi
done
mkdir "$TMPDIR/w" && cd "$TMPDIR/w" || exit 1
run() { timeout -k 5 60 "$IOG" run "$@"; }
py() { "$python" -W ignore - "$@"; }

# ---- check ----

# record/read.lua: what write.lua leaves.
point "record/write.lua runs" run "$examples/record/write.lua"
for graph in "$examples"/*/*.lua; do
	point "iog check ${graph#"$examples"/}" "$IOG" check "$graph"
done
readmes() {
	local d missing=
	for d in "$examples"/*/; do [ -s "$d/README.md" ] || missing+=" $d"; done
	[ -z "$missing" ] || { echo "no README.md in$missing"; false; }
}
point "every example has a README" readmes

# The README's graph is the first block of Lua in it.
readme() {
	awk '/^```lua$/ && !n { n = 1; next } /^```/ { n += n == 1 } n == 1' "$root/README.md" >readme.lua
	# What the stream holds is known once the program runs.
	sed -i 's/stream "md"/stream { "md", schema = "position: f64[atom<=100,xyz]; type: i32[atom]; box: f64[cell,xyz]" }/' readme.lua
	grep -q schema readme.lua && "$IOG" check readme.lua
}
point "iog check the graph of the README" readme

# ---- first ----

point "first runs" run "$examples/first/first.lua"
cat >whole.lua <<'G'
local iog = require "iog"
iog.source.synthetic { atoms = 1000, steps = 100 }:to(iog.sink.h5md "whole.h5md")
G
# The same particles without our filter and our statistics.
first() {
	run whole.lua && py <<'P'
import csv, h5py, numpy
with h5py.File("whole.h5md") as f:
    g = f["particles/trajectory"]
    x, v, step, edge = g["position/value"][:], g["velocity/value"][:], g["position/step"][:], g["box/edges/value"][:]
rows = list(csv.DictReader(open("slab.csv")))
assert len(rows) == len(x) == 100, (len(rows), len(x))
for k, r in enumerate(rows):
    assert int(r["step"]) == step[k] == k
    s = x[k][:, 2].astype("f8") / edge[k][2, 2]
    kept = (s > 0.4) & (s < 0.6)
    for name, a in [("position_" + "xyz"[d], x[k][kept, d]) for d in range(3)] + [("velocity_x", v[k][kept, 0])]:
        assert int(r[name + "_count"]) == kept.sum() > 100, (k, name)
        assert float(r[name + "_min"]) == a.min() and float(r[name + "_max"]) == a.max(), (k, name)
        assert abs(float(r[name + "_mean"]) - a.astype("f8").mean()) < 1e-12, (k, name)
        assert int(r[name + "_nan"]) == 0
P
}
reads "slab.csv holds what numpy computes" first
elsewhere() { # target
	cp slab.csv host.csv && run "$examples/first/first.lua" --on "$1" && cmp slab.csv host.csv
}
for target in sidecore vm; do point "the same bytes with --on $target" elsewhere $target; done

# ---- fork ----

point "fork runs" run "$examples/fork/fork.lua"
fork() {
	py <<'P'
import h5py, numpy
with h5py.File("all.h5md") as f:
    assert (f["particles/trajectory/position/step"][:] == 10 * numpy.arange(200)).all()
P
}
reads "every record is in the file" fork
pictures() {
	local p=(view-*.png)
	[ "$(head -c 8 "${p[0]}" | od -An -tx1 | tr -d ' ')" = 89504e470d0a1a0a ] &&
		[ "$(readlink view.png)" = "${p[-1]}" ] && [ "${p[-1]}" = view-01990.png ]
}
point "the newest record has its picture" pictures
again() {
	cp all.h5md before && run "$examples/fork/fork.lua" --json >again.json && cmp all.h5md before &&
		py <<'P'
import json
u = [u for u in json.load(open("again.json"))["units"] if u["name"] == "h5md"][0]
assert u["repeated"] == 200, u
P
}
point "a second run adds nothing to the file" again

# ---- live-parameter ----

size() { py "$1" <<'P'
import sys
d = open(sys.argv[1], "rb").read()
assert d[:2] == b"\xff\xd8" and d[-2:] == b"\xff\xd9"
i = 2
while d[i + 1] not in (0xc0, 0xc2):
    i += 2 + int.from_bytes(d[i + 2:i + 4], "big")
print(int.from_bytes(d[i + 7:i + 9], "big"), "x", int.from_bytes(d[i + 5:i + 7], "big"))
P
}
live() {
	run "$examples/live-parameter/live-parameter.lua" && run "$examples/live-parameter/live-parameter.lua" --set limit=1 --set out=cold &&
		[ "$(size hot-019.jpg)" = "320 x 240" ] && py <<'P'
import csv
def counts(f): return [int(r["velocity_x_count"]) for r in csv.DictReader(open(f))]
hot, cold = counts("hot.csv"), counts("cold.csv")
assert len(hot) == len(cold) == 20 and all(0 < h < c for h, c in zip(hot, cold)), (hot, cold)
P
}
point "--set changes what is kept" live
region() { run "$examples/live-parameter/live-parameter.lua" --set roi.1.lo=0 --set roi.1.hi=640 && [ "$(size hot-000.jpg)" = "640 x 240" ]; }
point "--set changes a region" region
refused() { # message argument
	! "$IOG" check "$examples/live-parameter/live-parameter.lua" --set "$2" >/dev/null 2>err && grep -qF "$1" err || { cat err; false; }
}
point "a value outside its limits is refused" refused 'parameter "limit": 20 is outside 0..10' limit=20
point "a name that is not declared is refused" refused 'did you mean "limit"?' limt=2

# ---- record ----

point "record/read.lua runs" run "$examples/record/read.lua"
restored() {
	cat >original.lua <<'G'
local iog = require "iog"
iog.source.synthetic { atoms = 5000, steps = 50, every = 10 }:to(iog.sink.h5md "original.h5md")
G
	run original.lua && py <<'P'
import h5py, numpy
a, b = (h5py.File(n)["particles/trajectory"] for n in ("original.h5md", "restored.h5md"))
assert (a["position/step"][:] == b["position/step"][:]).all() and len(a["position/step"]) == 50
d = abs(a["position/value"][:].astype("f8") - b["position/value"][:])
assert 0 < d.max() < 0.0005 + 1e-6, d.max()
assert (a["velocity/value"][:] == b["velocity/value"][:]).all()
P
}
reads "positions come back within half a quantum" restored
dumped() { "$IOG" dump small.iogr --records 1 | grep -q 'position: i32\[atom=5000,xyz\].*delta(f32) | zstd'; }
point "iog dump shows what is inside" dumped

# ---- heat ----

heat() { cat heat.log && grep -q '^  heat.csv *120 rows' heat.log; }
# Heat is neither made nor lost, the spot cools, and the middle layer is there for every step, within half a quantum of the table.
conserved() {
	cat >middle.lua <<'G'
local iog = require "iog"
iog.source.record "middle.iogr":decompress {}:undelta { "T" }:stats { "T" }:to(iog.sink.table { "middle.csv", on_restart = "truncate" })
G
	run middle.lua && py <<'P'
import csv
rows, middle = (list(csv.DictReader(open(f))) for f in ("heat.csv", "middle.csv"))
assert len(rows) == len(middle) == 120, (len(rows), len(middle))
heat = [int(r["T_count"]) * float(r["T_mean"]) for r in rows]
hot = [float(r["T_max"]) for r in rows]
for k, r in enumerate(rows):
    assert int(r["step"]) == k and abs(float(r["time"]) - k * 0.1) < 1e-9 and int(r["T_count"]) == 64**3 and int(r["T_nan"]) == 0, r
    assert abs(heat[k] / heat[0] - 1) < 1e-9, (k, heat[k], heat[0])
    assert float(r["T_min"]) >= 300 - 1e-9, r
    assert k == 0 or hot[k] <= hot[k - 1], (k, hot[k])
    # The hottest cell is in the middle layer, all the time.
    assert abs(float(middle[k]["T_max"]) - hot[k]) <= 0.005 + 1e-9, (k, middle[k], hot[k])
assert hot[0] == 1300 and 350 < hot[-1] < 800, hot[-1]
P
}
if grep -q -- -fsanitize "$IOG_BUILD/flags"; then
	skip "heat runs" "a program of two MPI ranks is not built with the sanitizer"
elif STEPS=120 timeout -k 5 120 "$examples/heat/run.sh" >heat.log 2>&1 && grep -q '^heat: skipped' heat.log; then
	skip "heat runs" "$(sed -n 's/^heat: skipped, //p' heat.log)"
else
	point "heat runs" heat
	point "heat is conserved, in a row for each step" conserved
	# The same simulation in Fortran, with a reader in Python beside it: the same bytes.
	fortran() {
		mkdir fortran && (cd fortran && LANGUAGE=fortran WATCH=$1 STEPS=120 PYTHON=$python timeout -k 5 120 "$examples/heat/run.sh") >fortran.log 2>&1 &&
			cmp fortran/heat.csv heat.csv
	}
	watched() { cat fortran.log && grep -q '^[1-9][0-9]* steps taken' fortran.log && grep -q '^step [0-9]*, .* 64x64 over z, x, .* K$' fortran.log; }
	if [ ! -e "$IOG_BUILD/libiograph_fortran.a" ] || ! command -v mpif90 >/dev/null; then
		skip "heat runs in Fortran" "the Fortran module was not built, or mpif90 is not installed"
	elif [ -e "$IOG_BUILD/python/iograph/_iograph.abi3.so" ] && have numpy; then
		point "heat runs in Fortran, to the same table" fortran 1
		point "reader.py watched it" watched
	else
		point "heat runs in Fortran, to the same table" fortran ""
		skip "reader.py" "the Python package was not built, or numpy is not installed"
	fi
fi

# ---- the tutorial ----

# A block that starts with ```lua NAME is the file NAME; lines of ```sh blocks are commands, run in order. mistakes.lua must be refused.
mkdir tutorial && cd tutorial || exit 1
tutorial() {
	awk '
		/^```/ && inside { inside = ""; next }
		/^```lua [^ ]+$/ { inside = $2; next }
		/^```sh$/ { inside = "commands"; next }
		/^```$/ && mistakes == 1 { inside = "expected"; mistakes = 2; next }
		inside == "commands" { print >"commands"; if (/mistakes/) mistakes = 1; next }
		inside { print >inside }' "$root/docs/tutorial.md"
	[ "$(grep -c '^iog ' commands)" -ge 8 ]
}
point "the tutorial holds graphs and commands" tutorial
ln -s "$IOG" iog
PATH=$PWD:$PATH
while IFS= read -r line; do
	line=${line%%  #*}
	case $line in
	*mistakes.lua*) refuses() { ! timeout -k 5 60 bash -c "$line"; } ;;
	iog\ * | head\ * | ls\ * | h5dump\ *) refuses() { timeout -k 5 60 bash -c "$line"; } ;;
	*) continue ;;
	esac
	if [[ $line == h5dump* ]] && ! command -v h5dump >/dev/null; then skip "tutorial: $line" "h5dump is not installed (hdf5-tools)"; continue; fi
	point "tutorial: $line" refuses
done <commands
said() { "$IOG" check mistakes.lua 2>&1 | diff expected -; }
point "the tutorial shows the mistakes as they are reported" said
echo "1..$n"
