#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The H5MD sink as its real readers see it: h5dump, h5py and MDAnalysis open its files without options: of plain, varying and compressed
# streams, while they are written, and after kill -9 at random moments.
# timeout: 240
set -u
pump=$IOG_HELPERS/endpoint-pump
python=${PYTHON:-python3}
dir=$(mktemp -d "${TMPDIR:-/tmp}/h5md-XXXXXX")
trap 'rm -rf "$dir"' EXIT
n=0
point() { # STATUS NAME
	n=$((n + 1))
	if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; fi
}
skip() { n=$((n + 1)); echo "ok $n - $1 # SKIP $2"; }

if ! "$pump" synthetic steps=1 atoms=1 -- h5md "path=$dir/probe.h5md" >"$dir/log" 2>&1; then
	if grep -q 'no sink h5md' "$dir/log"; then echo "1..0 # SKIP built without the HDF5 library"; exit 0; fi
	sed 's/^/# /' "$dir/log"
	echo "1..1"; echo "not ok 1 - a file is written"; exit 1
fi

"$pump" synthetic steps=23 every=10 atoms=700 -- h5md "path=$dir/plain.h5md" >/dev/null
"$pump" synthetic steps=23 every=10 atoms=700 varying=true -- h5md "path=$dir/varying.h5md" >/dev/null
"$pump" synthetic steps=23 every=10 atoms=700 -- h5md "path=$dir/gzip.h5md" compression=gzip >/dev/null

if command -v h5dump >/dev/null 2>&1; then
	for f in plain varying gzip; do
		h5dump -d /particles/trajectory/position/step "$dir/$f.h5md" >"$dir/log" 2>&1 && grep -q '220' "$dir/log" &&
			h5dump "$dir/$f.h5md" >/dev/null 2>"$dir/log" && ! [ -s "$dir/log" ]
		point $? "h5dump reads the $f file"
	done
else
	skip "h5dump reads the files" "h5dump is not installed (hdf5-tools)"
fi

cat >"$dir/check.py" <<'PY'
import sys, warnings
warnings.simplefilter("ignore")
import numpy
def h5(path, least):
    import h5py
    with h5py.File(path, "r") as f:
        g = f["particles/trajectory"]
        n = len(g["position/step"])  # written last: what is behind it is of a record that was not committed
        assert n >= least and len(g["position/value"]) >= n, (n, least)
        assert list(f["h5md"].attrs["version"]) == [1, 1]
        steps = g["position/step"][:n]
        assert (steps == 10 * numpy.arange(n)).all(), steps
        assert numpy.allclose(g["position/time"][:n], steps * 0.005)
        assert g["position/value"].attrs["unit"] == "Angstrom"
        edges = g["box/edges/value"][:n]
        assert (edges[:, 0, 0] > 0).all() and (edges[:, 0, 1] == 0).all()
        x = g["position/value"][:n]
        if "id" in g:
            there = g["id/value"][:n] != -1
            assert g["id/value"].fillvalue == -1
            assert (numpy.isfinite(x).all(axis=2) == there).all()
            assert len(set(there.sum(axis=1))) > 1 or n < 3
        else:
            assert numpy.isfinite(x).all() and g["species"].shape == (x.shape[1],) and (g["mass"][:] == g["species"][:]).all()
        assert (numpy.nanmax(x, axis=(1, 2)) < edges[:, 0, 0]).all() and numpy.nanmin(x, initial=0) >= 0
        assert numpy.isfinite(f["observables/temperature/value"][:n]).all()
        return n
def mda(path, least):
    import MDAnalysis
    u = MDAnalysis.Universe(path)
    n = len(u.trajectory)
    assert n >= least, (n, least)
    for k, ts in enumerate(u.trajectory):
        assert ts.dimensions is not None and ts.dimensions[0] > 0 and list(ts.dimensions[3:]) == [90, 90, 90]
        assert ts.data["step"] == 10 * k and abs(ts.time - 0.05 * k) < 1e-9 and ts.data["temperature"] > 0
        assert numpy.nanmax(ts.positions) <= ts.dimensions[0]
        if k == 0: first = ts.velocities.copy()
        assert ts.has_velocities and (numpy.isnan(first).any() or numpy.allclose(ts.velocities, first))
    return n
for path in sys.argv[3:]:
    print((h5 if sys.argv[1] == "h5py" else mda)(path, int(sys.argv[2])))
PY
have() { "$python" -W ignore -c "import $1" >/dev/null 2>&1; }
for m in h5py MDAnalysis; do
	if ! have $m; then skip "$m reads the files" "the Python module $m is not installed"; continue; fi
	for f in plain varying gzip; do
		"$python" -W ignore "$dir/check.py" $m 23 "$dir/$f.h5md" >"$dir/log" 2>&1
		s=$?
		[ $s = 0 ] || sed 's/^/# /' "$dir/log"
		point $s "$m reads the $f file"
	done
done

# The name NAME.h5md alone tells MDAnalysis what it is, with a topology from elsewhere and without; NAME.h5 wants format="H5MD".
if ! have MDAnalysis; then
	skip "MDAnalysis opens NAME.h5md without options" "the Python module MDAnalysis is not installed"
else
	cp "$dir/plain.h5md" "$dir/plain.h5"
	cat >"$dir/open.py" <<'PY'
import sys, warnings
warnings.simplefilter("ignore")
import numpy, MDAnalysis
d = sys.argv[1]
a = MDAnalysis.Universe(d + "/plain.h5md")
assert len(a.trajectory) == 23 and len(a.atoms) == 700 and numpy.isfinite(a.atoms.positions).all()
with open(d + "/top.xyz", "w") as f:
    f.write("700\n\n" + "".join("C %d 0 0\n" % i for i in range(700)))
b = MDAnalysis.Universe(d + "/top.xyz", d + "/plain.h5md")
c = MDAnalysis.Universe(d + "/top.xyz", d + "/plain.h5", format="H5MD")
for u in b, c:
    assert len(u.trajectory) == 23 and len(u.select_atoms("name C")) == 700 and (u.atoms.positions == a.atoms.positions).all()
PY
	"$python" -W ignore "$dir/open.py" "$dir" >"$dir/log" 2>&1
	s=$?
	[ $s = 0 ] || sed 's/^/# /' "$dir/log"
	point $s "MDAnalysis opens NAME.h5md without options"
fi

if ! have h5py; then
	skip "killed at random moments" "the Python module h5py is not installed"
else
	# Each round kills the writer at another moment; the next one goes on with the same file.
	bad=0 deaths=0
	for mode in false true; do
		f=$dir/killed-$mode.h5md
		for round in $(seq 12); do
			"$pump" synthetic every=10 atoms=700 "varying=$mode" steps=100000000 -- h5md "path=$f" flush=3 >"$dir/acks" 2>"$dir/err" &
			pid=$!
			sleep "0.$(awk -v r="$round" -v s=$$ 'BEGIN { srand(s + r); printf "%03d", 100 + 300 * rand() }')"
			kill -9 $pid 2>/dev/null && deaths=$((deaths + 1))
			wait $pid 2>/dev/null
			acked=$(awk '/^(ack|resume)/ { s = $2 } END { print s == "" ? 0 : s / 10 + 1 }' "$dir/acks")
			[ -s "$dir/err" ] && { sed 's/^/# /' "$dir/err"; bad=1; }
			"$python" -W ignore "$dir/check.py" h5py "$acked" "$f" >"$dir/log" 2>&1 || { sed 's/^/# /' "$dir/log"; bad=1; }
		done
		if have MDAnalysis; then
			"$python" -W ignore "$dir/check.py" MDAnalysis 1 "$f" >"$dir/log" 2>&1 || { sed 's/^/# /' "$dir/log"; bad=1; }
		fi
	done
	[ $bad = 0 ] && [ $deaths = 24 ]
	point $? "$deaths writers killed at random moments, nothing acknowledged is lost"

	# A reader beside the writer. What is in the file at any one moment is whole, as after a kill: with the writer stopped at random
	# moments every reading succeeds.
	"$pump" synthetic every=10 atoms=700 steps=100000000 rate=200 -- h5md "path=$dir/live.h5md" flush=3 >/dev/null 2>"$dir/err" &
	pid=$!
	for i in $(seq 400); do [ -s "$dir/live.h5md" ] && break; sleep 0.05; done
	sleep 0.5
	bad=0
	for i in 1 2 3 4; do
		kill -STOP $pid
		for k in $(seq 400); do grep -q '^State:.T' /proc/$pid/status && break; sleep 0.01; done
		"$python" -W ignore "$dir/check.py" h5py 1 "$dir/live.h5md" >"$dir/log" 2>&1 || { sed 's/^/# /' "$dir/log"; bad=1; }
		kill -CONT $pid
		sleep "0.$(awk -v r="$i" -v s=$$ 'BEGIN { srand(s + r); printf "%03d", 50 + 100 * rand() }')"
	done
	point $bad "h5py reads the file at any moment of the writer"

	# With the writer running, the library combines parts it reads at different moments (it asks for the length of the file once, when it
	# opens it, and says "truncated" when the superblock is newer): it may say so and has to open the file again, but what it
	# gives is right.
	cat >"$dir/again.py" <<'PY'
import os, sys, time
sys.argv[1:] = ["h5py", "1"]
exec(open(os.environ["CHECK"]).read())
path, end, last = os.environ["FILE"], time.monotonic() + 60, 0
for reading in range(5):
    while True:
        try:
            n = h5(path, last)
            break
        except (OSError, RuntimeError, KeyError) as e:
            if time.monotonic() > end: raise
            time.sleep(0.01)
    last = n
    time.sleep(0.1)
assert last > 1, last
PY
	CHECK=$dir/check.py FILE=$dir/live.h5md "$python" -W ignore "$dir/again.py" >"$dir/log" 2>&1
	bad=$?
	[ $bad = 0 ] || sed 's/^/# /' "$dir/log"
	kill -0 $pid || { sed 's/^/# /' "$dir/err"; bad=1; }
	kill -9 $pid
	wait $pid 2>/dev/null
	point $bad "h5py beside the running writer sees it grow"
fi
echo "1..$n"
