#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What programs write through MPI-IO flows through a graph and is put together again, byte for byte, while the program writes what it would write
# without.
# timeout: 200
# slow: most of the time is mpirun, and no sanitizer can be preloaded into what it starts
# shellcheck source=tests/helpers/agent.sh
. tests/helpers/agent.sh
tree=$PWD
cd "$TMPDIR" || exit 1
library=$IOG_BUILD/capture/mpiio
[ "${library#/}" != "$library" ] || library=$tree/$library
cat >copy.lua <<END
local iog = require "iog"
iog.source.stream "files":to(iog.sink.files "$TMPDIR/copy")
END
captured() { # options -- command...
	timeout -k 5 60 "$iog" capture --as mpiio "$@" >out 2>err </dev/null || { cat out err; return 1; }
}
copied() { # file: the copy is like it
	cmp "$1" "copy/$1" && [ "$(stat -c %s "$1")" -gt 0 ]
}

# ---- all kinds of views ----

views() { # ranks launcher program
	local n=$1 run=$2 program=$3
	rm -rf copy data want
	timeout 30 "$run" -np "$n" "./$program" want && captured --graph copy.lua -- "$run" -np "$n" "./$program" data && cmp want data && copied data &&
		says '^iograph capture: [0-9]+ steps of stream files published$' <err
}
if [ -e "$library-openmpi.so" ] && command -v mpirun.openmpi >/dev/null; then
	mpicc.openmpi -o open_mpi "$tree/tests/programs/mpiio-writes.c" || exit 1
	point "views, non-blocking and collective writes of Open MPI, 2 ranks" views 2 mpirun.openmpi open_mpi
	point "3 ranks" views 3 mpirun.openmpi open_mpi
	singleton() { # no launcher says which MPI it is
		rm -rf copy data
		timeout 30 ./open_mpi want && captured --graph copy.lua -- ./open_mpi data && cmp want data && copied data
	}
	point "without a launcher" singleton
	shared() { # what cannot be followed is said
		rm -rf copy data
		captured --graph copy.lua -- mpirun.openmpi -np 2 ./open_mpi data shared && [ -s data ] && says 'stream files is not whole: it is written through the shared file pointer' <err
	}
	point "the shared file pointer cannot be followed, and that is said" shared
	alone() {
		rm -f data
		captured --socket "$TMPDIR/nobody" -- mpirun.openmpi -np 2 ./open_mpi data && timeout 30 mpirun.openmpi -np 2 ./open_mpi want && cmp want data &&
			says 'no agent' <err
	}
	point "without an agent the program writes its file" alone
else
	skip "files of Open MPI" "Open MPI is not installed (Debian packages libopenmpi-dev, openmpi-bin)"
fi
if [ -e "$library-mpich.so" ] && command -v mpirun.mpich >/dev/null; then
	mpicc.mpich -o mpich "$tree/tests/programs/mpiio-writes.c" || exit 1
	point "views, non-blocking and collective writes of MPICH" views 2 mpirun.mpich mpich
else
	skip "files of MPICH" "MPICH is not installed (Debian packages libmpich-dev, mpich)"
fi

if [ -e "$library-openmpi.so" ] && command -v mpifort.openmpi >/dev/null && command -v gfortran >/dev/null; then
	mpifort.openmpi -cpp -o fortran "$tree/tests/programs/mpiio-fortran.f90" || exit 1
	point "Fortran with Open MPI" views 2 mpirun.openmpi fortran
	mpifort.openmpi -cpp -DF08 -o fortran "$tree/tests/programs/mpiio-fortran.f90" || exit 1
	point "its module mpi_f08" views 2 mpirun.openmpi fortran
else
	skip "Fortran with Open MPI" "there is no mpifort (Debian packages gfortran, libopenmpi-dev)"
fi

# ---- real programs ----

h5pcc=$(command -v h5pcc.openmpi || command -v h5pcc)
if [ -e "$library-openmpi.so" ] && [ -n "$h5pcc" ]; then
	"$h5pcc" -o hdf5 "$tree/tests/programs/hdf5-parallel.c" || exit 1
	hdf5() {
		rm -rf copy data.h5
		captured --graph copy.lua -- mpirun.openmpi -np 2 ./hdf5 data.h5 && copied data.h5 && h5dump -d /chunks copy/data.h5 | says 'DATASPACE *SIMPLE { \( 128, 300 \)'
	}
	point "parallel HDF5" hdf5
	hdf5_no_file() {
		rm -rf copy data.h5
		captured --no-file --graph copy.lua -- mpirun.openmpi -np 2 ./hdf5 data.h5 && [ "$(stat -c %b data.h5)" -le 8 ] && h5dump -d /slabs copy/data.h5 >dump &&
			timeout 30 mpirun.openmpi -np 2 ./hdf5 want.h5 && h5dump -d /slabs want.h5 | sed 1d | cmp - <(sed 1d dump)
	}
	point "parallel HDF5 that goes through the graph only" hdf5_no_file
else
	skip "parallel HDF5" "it is not installed (Debian package libhdf5-openmpi-dev)"
fi

if [ ! -e "$library-openmpi.so" ] || ! command -v lmp >/dev/null || ! lmp -h | grep -q 'custom/mpiio'; then
	skip "LAMMPS" "it is not installed with dump custom/mpiio (Debian package lammps)"
	plan
	exit
fi
cat >in.melt <<'END'
variable every index 10
variable steps index 40
units lj
lattice fcc 0.8442
region box block 0 8 0 8 0 8
create_box 1 box
create_atoms 1 box
mass 1 1.0
velocity all create 3.0 87287
pair_style lj/cut 2.5
pair_coeff 1 1 1.0 1.0 2.5
fix 1 all nve
dump 1 all custom/mpiio ${every} dump.txt id type x y z
dump 2 all custom/mpiio 20 each.*.bin id type x y z
run ${steps}
END
reference() {
	rm -f dump.txt each.*.bin
	timeout 60 mpirun.openmpi -np 2 lmp -in in.melt -log none -screen none "$@" && mkdir -p ref && mv dump.txt each.*.bin ref
}
dumps() {
	rm -rf copy
	reference && captured --graph copy.lua -- mpirun.openmpi -np 2 lmp -in in.melt -log none && cmp ref/dump.txt dump.txt && copied dump.txt && copied each.0.bin && copied each.40.bin
}
point "LAMMPS dump custom/mpiio, one file and one for each step" dumps
chosen() {
	rm -rf copy
	sed 's/"files"/"dumps"/' copy.lua >dumps.lua
	captured --files 'dump.*=dumps:each.*=other' --graph dumps.lua -- mpirun.openmpi -np 2 lmp -in in.melt -log none && copied dump.txt && [ ! -e copy/each.0.bin ]
}
point "patterns say which files go to which stream" chosen
no_file() {
	rm -rf copy dump.txt each.*.bin
	captured --no-file --graph copy.lua -- mpirun.openmpi -np 2 lmp -in in.melt -log none && cmp ref/dump.txt copy/dump.txt && cmp ref/each.20.bin copy/each.20.bin &&
		[ "$(stat -c %b dump.txt)" = 0 ]
}
point "the graph has the files instead of the disk" no_file
agent_killed() { # the file is whole all the same, and the copy is said not to be
	rm -rf copy dump.txt each.*.bin
	agent --load copy.lua || return 1
	captured --socket "$S" --timeout 0.5s -- mpirun.openmpi -np 2 lmp -in in.melt -log none -var every 1 -var steps 400 &
	local run=$!
	for _ in $(seq 400); do [ -s copy/dump.txt ] && break; sleep 0.02; done
	agent_dies
	wait "$run" && says 'stream files is not whole' <err && mv dump.txt got.txt && reference -var every 1 -var steps 400 && cmp got.txt ref/dump.txt
}
point "kill -9 of the agent" agent_killed
plan
