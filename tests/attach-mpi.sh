#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Ranks of MPI publish, with Open MPI and with MPICH: the example whole, and with a rank that is killed. The library knows neither.
# timeout: 240
# no-asan: a program of MPI ranks is not built with the sanitizer
# no-tsan: likewise
# no-ubsan: likewise
# shellcheck source=tests/helpers/agent.sh
. tests/helpers/agent.sh
pump=$IOG_HELPERS/attach-pump tree=$PWD

no_mpi() { # neither needed nor offered
	! nm -D "$IOG_BUILD/libiograph.so" | grep -i ' \(MPI_\|PMPI_\|ompi_\|MPIR_\)' && nm "$IOG_BUILD/libiograph.a" 2>/dev/null >"$TMPDIR/nm" &&
		! grep ' \(MPI_\|PMPI_\|ompi_\|MPIR_\)' "$TMPDIR/nm" && grep -q ' T iog_attach$' "$TMPDIR/nm" && ! ldd "$IOG_BUILD/libiograph.so" | grep -i mpi
}
example() { # every step, and no heat is made or lost: cells that no rank gave would not be numbers
	mkdir "$TMPDIR/$1" && cd "$TMPDIR/$1" || return 1
	STEPS=60 MPICC=mpicc.$1 MPIRUN=mpirun.$1 timeout -k 5 100 "$tree/examples/heat/run.sh" >log 2>&1
	local rc=$?
	cat log
	awk -F, 'NR == 2 { first = $4 * $7 } NR > 1 { if ($4 != 64 * 64 * 64 || ($4 * $7 - first) ^ 2 > (1e-9 * first) ^ 2) bad = 1 } END { exit bad || NR != 61 }' heat.csv && [ $rc = 0 ]
}
# mpirun ends the others when one of its ranks dies: the graph has what was committed, says who is gone, and ends in order.
rank_dies() {
	local S=$TMPDIR/agent-$1 csv=$TMPDIR/$1.csv w=() rank
	printf 'local iog = require "iog"\niog.source.stream "heat":stats { "T" }:to(iog.sink.table { "%s" })\n' "$csv" >"$TMPDIR/$1.lua"
	agent --load "$TMPDIR/$1.lua" --once || return 1
	# Rank numbers as each MPI gives them to its processes.
	timeout -k 5 60 mpirun."$1" -np 3 sh -c 'exec "$0" write "$1" heat ${OMPI_COMM_WORLD_RANK-$PMI_RANK} 3 100000000 500 "policy=block timeout=20s"' "$pump" "$S" \
		>"$TMPDIR/mpi.log" 2>&1 </dev/null &
	local mpi=$!
	for _ in $(seq 1000); do [ "$(wc -l 2>/dev/null <"$csv")" -gt 20 ] 2>/dev/null && break; sleep 0.02; done
	rank=$(grep -lz "^$S\$" /proc/[0-9]*/cmdline 2>/dev/null | cut -d / -f 3 | while read -r p; do
		tr '\0' '\n' <"/proc/$p/cmdline" | grep -A 4 '^write$' | sed -n 4p | grep -qx 1 && [ "$(readlink "/proc/$p/exe")" = "$(readlink -f "$pump")" ] && echo "$p"
	done)
	[ -n "$rank" ] && kill -9 $rank || { cat "$TMPDIR/mpi.log" "$TMPDIR/agent.log"; return 1; }
	wait $mpi
	local rc=$?
	wait "$agent"
	local agent_rc=$?
	cat "$TMPDIR/agent.log"
	# Until the first is gone all parts are there; none is twice, none is missing.
	[ $rc != 0 ] && [ $agent_rc = 0 ] && grep -q 'rank 1 of 3 is gone' "$TMPDIR/agent.log" &&
		awk -F, 'NR > 1 { sub(/\r$/, ""); if ($1 != NR - 2 || (!$8 && $7 != $1 + 1)) bad = 1; gone = gone || $8; if (gone && !$8) bad = 1 } END { exit bad || NR < 20 }' "$csv"
}
point "no MPI in the library" no_mpi
for mpi in openmpi mpich; do
	if command -v mpicc.$mpi >/dev/null && command -v mpirun.$mpi >/dev/null; then
		point "the example with $mpi" example $mpi
		point "a rank of $mpi is killed" rank_dies $mpi
	else
		for what in "the example with $mpi" "a rank of $mpi is killed"; do skip "$what" "mpicc.$mpi or mpirun.$mpi is not installed"; done
	fi
done
plan
