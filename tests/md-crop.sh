#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The demonstration, small: a real LAMMPS on two ranks through the graph. What comes out is read by h5py, MDAnalysis and numpy, and compared
# with what LAMMPS itself wrote of the same run.
# timeout: 280
# slow: nearly all of the time is LAMMPS, and the programs it meets are tested by themselves
set -u
demo=$PWD/examples/md-crop python=${PYTHON:-python3}
n=0
point() { # description command...
	local what=$1
	shift
	n=$((n + 1))
	if "$@" >"$TMPDIR/log" 2>&1; then echo "ok $n - $what"; else sed 's/^/# /' "$TMPDIR/log"; echo "not ok $n - $what"; fi
}
skip() { n=$((n + 1)); echo "ok $n - $1 # SKIP $2"; }
have() { "$python" -W ignore -c "import $1" >/dev/null 2>&1; }
py() { "$python" -W ignore - "$@"; }

cd "$TMPDIR" || exit 1

# ---- what does not need LAMMPS ----

explains() { # message, then environment and command
	local want=$1
	shift
	! timeout -k 5 20 env "$@" >out.txt 2>err.txt && grep -q "$want" err.txt || { cat err.txt; false; }
}
mkdir bare && for tool in bash dirname env; do ln -s "$(command -v $tool)" bare/; done
point "without lmp it says what to install" explains 'lmp is not installed' PATH="$PWD/bare" IOG="$IOG" "$demo/run.sh"
point "an odd size is refused" explains 'CELLS must be a whole number, got "ten"' CELLS=ten IOG="$IOG" "$demo/run.sh"

for program in lmp mpirun; do
	command -v $program >/dev/null && continue
	skip "the demonstration" "$program is not installed (Debian packages lammps, openmpi-bin)"
	echo "1..$n"
	exit 0
done
[ -e "$IOG_BUILD/capture/lammps.so" ] || { skip "the demonstration" "this build has no libraries to preload"; echo "1..$n"; exit 0; }
for part in h5md jpeg; do
	"$IOG" ops $part >/dev/null 2>&1 || { skip "the demonstration" "built without $part"; echo "1..$n"; exit 0; }
done

# ---- the run ----

export IOG CELLS=8 STEPS=200
demonstrate() { timeout -k 10 200 "$demo/run.sh" >summary.txt 2>&1 || { cat summary.txt; false; }; }
point "the demonstration runs, started in another directory" demonstrate
quiet() {
	local left
	left=$(ls out | grep -vE '^(frame-[0-9]{4}\.jpg|slab\.h5(md)?|stats\.csv|graph\.svg|lammps\.log)$')
	[ -z "$left" ] || { echo "left over: $left"; false; }
}
point "nothing is left but what it promises" quiet
point "the summary names the results" grep -q '11 pictures' summary.txt
pictures() {
	[ "$(ls out/frame-*.jpg | wc -l)" = 11 ] && py out/frame-*.jpg <<'P'
import sys
for name in sys.argv[1:]:
    d = open(name, "rb").read()
    assert d[:2] == b"\xff\xd8" and d[-2:] == b"\xff\xd9" and len(d) > 10000, name
    i = 2
    while d[i + 1] not in (0xc0, 0xc2):
        i += 2 + int.from_bytes(d[i + 2:i + 4], "big")
    assert (int.from_bytes(d[i + 7:i + 9], "big"), int.from_bytes(d[i + 5:i + 7], "big")) == (880, 880), name
P
}
point "eleven JPEG pictures of 880 by 880" pictures
svg() { py <<'P'
import xml.etree.ElementTree as tree
words = " ".join(tree.parse("out/graph.svg").getroot().itertext())
for w in ("stream", "filter", "render", "crop", "jpeg", "stats", "h5md", "table", "image"):
    assert w in words, w
P
}
point "graph.svg is well-formed and names every node" svg

# ---- the same run as LAMMPS writes it ----

reference() {
	sed "s|^thermo .*|&\\ndump d all custom 20 dump.txt id type x y z\\ndump_modify d sort id format float %.17g|" \
		"$demo/in.melt" >reference.in &&
		grep -q '^dump d' reference.in && mkdir ref &&
		OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1 \
		OMPI_MCA_btl_vader_single_copy_mechanism=none timeout -k 5 120 mpirun -np 2 lmp -in reference.in -var cells $CELLS -var steps $STEPS \
			-log ref/log -screen none </dev/null
}
cat >common.py <<'P'
import csv, numpy, warnings
warnings.simplefilter("ignore")
def frames():
    """Step -> (edge, type, positions) of LAMMPS's own dump, the atoms in the order of their ids."""
    lines, at, got = open("dump.txt").read().split("\n"), 0, {}
    while at < len(lines) and lines[at].startswith("ITEM: TIMESTEP"):
        step, n = int(lines[at + 1]), int(lines[at + 3])
        edge = float(lines[at + 5].split()[1])
        a = numpy.array([line.split() for line in lines[at + 9:at + 9 + n]], dtype="f8")
        assert (a[:, 0] == numpy.arange(1, n + 1)).all()
        got[step] = edge, a[:, 1].astype(int), a[:, 2:5]
        at += 9 + n
    return got
def slab():
    """Rows of slab.h5: step, time, edge, ids, types, positions of the places that are filled."""
    import h5py
    with h5py.File("out/slab.h5") as f:
        g = f["particles/trajectory"]
        for k, step in enumerate(g["position/step"][:]):
            there = g["id/value"][k] >= 0
            x = g["position/value"][k]
            assert (numpy.isfinite(x).all(axis=1) == there).all()
            yield int(step), float(g["position/time"][k]), g["box/edges/value"][k], g["id/value"][k][there], g["species/value"][k][there], x[there]
P
export PYTHONPATH=$PWD
if ! have h5py || ! have numpy; then
	skip "slab.h5 and stats.csv" "the Python modules h5py and numpy are not installed"
else
	point "LAMMPS repeats the run with a dump" reference
	steps() { py <<'P'
from common import *
got = [(s, t) for s, t, *_ in slab()]
assert [s for s, _ in got] == list(range(0, 201, 20)), got
assert all(abs(t - 0.005 * s) < 1e-12 for s, t in got), got
P
	}
	point "steps and times are right" steps
	atoms() { py <<'P'
from common import *
ref = frames()
for step, time, edges, ids, types, x in slab():
    edge, all_types, all_x = ref[step]
    assert numpy.allclose(edges, numpy.eye(3) * edge)
    inside = (all_x[:, 2] / edge > 0.4) & (all_x[:, 2] / edge < 0.6)
    assert inside.sum() > 100 and abs(len(x) - inside.sum()) <= 2, (step, len(x), inside.sum()) # divided otherwise, right at the border
    assert len(set(ids)) == len(ids) and (x == all_x[ids - 1]).all() and (types == all_types[ids - 1]).all(), step
    assert (x[:, 2] / edge > 0.4 - 1e-9).all() and (x[:, 2] / edge < 0.6 + 1e-9).all()
P
	}
point "slab.h5 has the atoms of the slab, where LAMMPS has them, with their types" atoms
	table() { py <<'P'
from common import *
rows = list(csv.DictReader(open("out/stats.csv")))
frames = list(slab())
assert len(rows) == len(frames) == 11
for r, (step, time, edges, ids, types, x) in zip(rows, frames):
    assert int(r["step"]) == step
    for d in range(3):
        p = "position_" + "xyz"[d] + "_"
        assert int(r[p + "count"]) == len(x) and int(r[p + "nan"]) == 0
        assert float(r[p + "min"]) == x[:, d].min() and float(r[p + "max"]) == x[:, d].max(), (step, d)
        assert abs(float(r[p + "mean"]) - x[:, d].mean()) < 1e-9, (step, d)
P
	}
	point "stats.csv holds what numpy computes from slab.h5" table
fi
if ! have MDAnalysis; then
	skip "MDAnalysis opens slab.h5md without options" "the Python module MDAnalysis is not installed"
else
	mda() { py <<'P'
from common import *
import MDAnalysis
frames = list(slab())
u = MDAnalysis.Universe("out/slab.h5md")
assert len(u.trajectory) == 11 and len(u.atoms) == 4 * 8 ** 3
for ts, (step, time, edges, ids, types, x) in zip(u.trajectory, frames):
    assert ts.data["step"] == step and abs(ts.dimensions[0] - edges[0, 0]) < 1e-4 and list(ts.dimensions[3:]) == [90, 90, 90]
    p = ts.positions[numpy.isfinite(ts.positions).all(axis=1)]
    assert (p == x.astype("f4")).all()
P
	}
	point "MDAnalysis opens slab.h5md without options" mda
fi

# ---- and when it goes wrong ----

# LAMMPS must not survive its viewer.
interrupted() {
	mkdir cut && cd cut || return
	STEPS=100000 CELLS=12 "$demo/run.sh" >../cut.txt 2>&1 &
	local pid=$! i
	for ((i = 0; i < 600; i++)); do [ -e out/frame-0000.jpg ] && break; sleep 0.1; done
	# What a terminal or a batch system does: a signal for the script and for what it waits for. LAMMPS gets none from us.
	kill "$pid" $(ps -o pid=,comm= --ppid "$pid" | awk '$2 == "iog" { print $1 }')
	wait "$pid"
	local rc=$?
	cd ..
	cat cut.txt
	echo "exit code $rc; still running:"
	! ps -eo pid,args | grep "[-]var steps 100000 -log out/lammps.log" && [ $rc = 143 ] && [ -e cut/out/frame-0000.jpg ]
}
if command -v ps >/dev/null; then
	point "interrupted, it leaves no LAMMPS running" interrupted
else
	skip "interrupted" "ps is not installed (procps)"
fi
broken() {
	mkdir bad && cp "$demo"/* bad/ && echo nonsense >>bad/in.melt && mkdir w && cd w &&
		explains 'LAMMPS failed' timeout 100 "$TMPDIR/bad/run.sh"
	local rc=$?
	cd "$TMPDIR" || return
	return $rc
}
point "a simulation that fails is reported" broken
echo "1..$n"
