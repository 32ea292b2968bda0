#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Compiles heat.c, runs it on two MPI ranks beside an agent with heat.lua. Leaves heat.csv and middle.iogr where it is started.
# STEPS=200 may be set, LANGUAGE=fortran to compile heat.f90 instead, WATCH=1 to run reader.py beside it, IOG, the program, and MPICC, MPIF90 and MPIRUN, of one
# MPI.
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
steps=${STEPS:-200}
say() { echo "heat: $*" >&2; }
case $steps in '' | *[!0-9]* | ???????*) say "STEPS must be a whole number, got \"$steps\""; exit 2 ;; esac

iog=${IOG:-$here/../../build/iog}
[ -n "${IOG:-}" ] || [ -x "$iog" ] || iog=$(command -v iog) || { say "no iog: build it with 'make', or set IOG to its path"; exit 1; }
mpirun=${MPIRUN:-mpirun}
case ${LANGUAGE:-c} in
c) compile=${MPICC:-mpicc} source=heat.c package=iograph ;;
fortran) compile=${MPIF90:-mpif90} source=heat.f90 package=iograph-fortran ;;
*) say "LANGUAGE is c or fortran"; exit 2 ;;
esac
for program in "$compile" "$mpirun" pkg-config; do
	command -v "$program" >/dev/null && continue
	echo "heat: skipped, $program is not installed (Debian packages libopenmpi-dev, openmpi-bin or libmpich-dev, mpich, gfortran, and pkg-config)"
	exit 0
done

# Beside the program when it was only built, in lib/ when it was installed.
lib=$(cd "$(dirname "$iog")" && pwd)
[ -e "$lib/iograph-uninstalled.pc" ] || lib=$(cd "$lib/../lib" && pwd)
export PKG_CONFIG_PATH=$lib:$lib/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}

tmp=$(mktemp -d)
agent= reader=
trap 'kill $agent $reader 2>/dev/null || :; rm -rf "$tmp"' EXIT
trap 'exit 143' TERM HUP
pkg-config --exists $package || { echo "heat: skipped, the library was built without the Fortran module"; exit 0; }
# The flags of pkg-config are words.
# shellcheck disable=SC2046
"$compile" -O2 -o "$tmp/heat" "$here/$source" $(pkg-config --cflags --libs $package) -Wl,-rpath,"$lib"

# The agent first: it ends when its graph has, and that when the program has closed its stream.
export IOG_SOCKET=$tmp/agent
"$iog" agent --load "$here/heat.lua" --once &
agent=$!
for ((i = 0; i < 200; i++)); do
	[ -S "$IOG_SOCKET" ] && break
	kill -0 $agent 2>/dev/null || exit 1
	sleep 0.05
done

# As root in a container, more ranks than cores, ranks that leave the cores to others while they wait: Open MPI must be told.
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1
export OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_btl_vader_single_copy_mechanism=none
[ "$(id -u)" != 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
if [ -n "${WATCH:-}" ]; then
	[ ! -d "$lib/python" ] || export PYTHONPATH=$lib/python${PYTHONPATH:+:$PYTHONPATH}
	"${PYTHON:-python3}" "$here/reader.py" &
	reader=$!
fi
"$mpirun" -np 2 "$tmp/heat" "$steps" </dev/null
if [ -n "$reader" ]; then
	wait $reader || { reader=; say "reader.py failed"; exit 1; }
	reader=
fi
wait $agent || { agent=; say "the agent failed"; exit 1; }
agent=

echo
head -n 4 heat.csv
echo ...
tail -n 1 heat.csv
echo
echo "in $PWD:"
echo "  heat.csv      $(($(wc -l <heat.csv) - 1)) rows, one a step"
echo "  middle.iogr   the middle layer, $(du -h middle.iogr | cut -f 1) for $((steps * 64 * 64 * 8 / 1024)) KiB; iog dump shows it"
