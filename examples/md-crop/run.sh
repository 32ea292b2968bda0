#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The demonstration: LAMMPS, as it is, melts a crystal on two ranks, IOgraphs captures it and watches its middle slab while it runs. Leaves frame-*.jpg, slab.h5(md),
# stats.csv, graph.svg and lammps.log in out/ of the directory it is started in.
# STEPS=3000 and CELLS=16 (atoms = 4*CELLS^3) may be set, and IOG, the program.
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
steps=${STEPS:-3000} cells=${CELLS:-16} out=out
say() { echo "md-crop: $*" >&2; }
whole() { case $2 in '' | *[!0-9]* | ???????*) say "$1 must be a whole number, got \"$2\""; exit 2 ;; esac; }
whole STEPS "$steps"
whole CELLS "$cells"

iog=${IOG:-$here/../../build/iog}
[ -n "${IOG:-}" ] || [ -x "$iog" ] || iog=$(command -v iog) || { say "no iog: build it with 'make', or set IOG to its path"; exit 1; }
for program in lmp mpirun; do
	command -v $program >/dev/null && continue
	say "$program is not installed; 'make demo' installs what it needs (Debian packages lammps, openmpi-bin)"
	exit 1
done

mkdir -p $out
rm -f $out/frame-*.jpg $out/slab.h5 $out/slab.h5md $out/stats.csv $out/graph.svg $out/lammps.*

# As root in a container, more ranks than cores, ranks that leave the cores to others while they wait: Open MPI must be told.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1
export OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_btl_vader_single_copy_mechanism=none
graph=$here/md-crop.lua
echo "LAMMPS on 2 ranks: $((4 * cells * cells * cells)) atoms, $steps steps; IOgraphs captures every 20th for this graph:"
echo
"$iog" graph "$graph"
"$iog" graph "$graph" -o $out/graph.svg
echo
# On a busy machine LAMMPS rather waits than that a frame is missing.
"$iog" capture --every 20 --timeout 60s --graph "$graph" -- \
	mpirun -np 2 lmp -in "$here/in.melt" -var cells "$cells" -var steps "$steps" -log $out/lammps.log -screen none </dev/null >$out/lammps.out 2>&1 &
run=$!
trap 'kill $run 2>/dev/null || :; wait $run 2>/dev/null || :' EXIT
trap 'exit 143' TERM HUP
wait $run || {
	say "LAMMPS failed; the end of $out/lammps.log and $out/lammps.out:"
	tail -q -n 5 $out/lammps.log $out/lammps.out >&2 || :
	exit 1
}
trap - EXIT
grep '^iog' $out/lammps.out || :
rm -f $out/lammps.out
[ -s $out/slab.h5 ] || { say "the graph stored nothing"; exit 1; }
ln -s slab.h5 $out/slab.h5md # the name by which MDAnalysis knows what it is

size() { du -h "$out/$1" | cut -f 1; }
echo
echo "in $PWD/$out:"
echo "  frame-0000.jpg ...  $(find $out -name 'frame-*.jpg' | wc -l) pictures of the slab"
echo "  slab.h5             its atoms as an H5MD trajectory, $(size slab.h5); h5dump and h5py read it"
echo "  slab.h5md           the same file (a link), by the name that MDAnalysis opens without options"
echo "  stats.csv           count, minimum, maximum and mean of their positions, one row a frame"
echo "  graph.svg           the graph as a picture"
echo "  lammps.log          what the simulation said"
