#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The script of docs/batch.md as it stands there, in a real Slurm of one node on the loopback, with a captured LAMMPS: once as a whole, once with `iog
# capture` before srun, on two ranks, and once in the shell of an allocation.
# timeout: 200
# slow: nearly all of the time is Slurm and LAMMPS
# shellcheck source=tests/helpers/agent.sh
. tests/helpers/agent.sh
root=$PWD
cd "$TMPDIR" || exit 1
block() { # language number: that block of the page
	awk -v fence="^\`\`\`$1\$" -v want="$2" '/^```/ { if (inside) inside = 0; else inside = $0 ~ fence && ++n == want; next } inside' "$root/docs/batch.md"
}
block sh 1 >job.sh
block sh 2 >captured.sh
block lua 1 >slab.lua
whole() { grep -q '^#SBATCH' job.sh && grep -q 'simulation' job.sh && grep -q 'iog capture' captured.sh && bash -n job.sh && bash -n captured.sh; }
point "the page holds a script" whole
for program in slurmctld slurmd munged lmp; do
	command -v $program >/dev/null && continue
	skip "the script in Slurm" "$program is not installed (Debian packages slurm-wlm, munge, lammps)"
	plan
	exit
done
if [ "$(nproc)" -lt 2 ] || [ ! -e "$IOG_BUILD/capture/lammps.so" ] || [ "$(id -u)" != 0 ]; then
	skip "the script in Slurm" "it needs two cores, a build with libraries to preload, and root"
	plan
	exit
fi

# ---- a Slurm of our own ----

export SLURM_CONF=$TMPDIR/slurm.conf
port=$((20000 + RANDOM % 12000)) node=$(hostname -s)
mkdir state spool
cat >slurm.conf <<END
ClusterName=test
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
AuthType=auth/munge
AuthInfo=socket=$TMPDIR/munge.sock
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$TMPDIR/state
SlurmdSpoolDir=$TMPDIR/spool
SlurmctldPidFile=$TMPDIR/slurmctld.pid
SlurmdPidFile=$TMPDIR/slurmd.pid
SlurmctldLogFile=$TMPDIR/slurmctld.log
SlurmdLogFile=$TMPDIR/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
LaunchParameters=use_interactive_step
InteractiveStepOptions="--interactive --preserve-env \$SHELL"
SlurmdParameters=config_overrides
NodeName=$node NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
END
head -c 1024 /dev/urandom >munge.key
chmod 400 munge.key
chmod 711 . # clients of munge look at its socket
munged --force --foreground --key-file="$PWD/munge.key" --socket="$PWD/munge.sock" --pid-file="$PWD/munge.pid" --log-file="$PWD/munge.log" --seed-file="$PWD/munge.seed" >munged.out 2>&1 &
daemons=($!)
for _ in $(seq 100); do [ -S munge.sock ] && break; sleep 0.05; done
slurmctld -D >/dev/null 2>&1 &
daemons+=($!)
slurmd -D >/dev/null 2>&1 &
daemons+=($!)
end() {
	kill "${daemons[@]}" 2>/dev/null
	wait "${daemons[@]}"
}
trap end EXIT
for _ in $(seq 300); do sinfo -h -o %t 2>/dev/null | grep -q '^idle' && break; sleep 0.1; done
if ! sinfo -h -o %t 2>/dev/null | grep -q '^idle'; then
	skip "the script in Slurm" "Slurm does not come up here: $(cat munged.out slurmctld.log slurmd.log 2>/dev/null | grep -iE 'error|fatal' | tail -n 1)"
	plan
	exit
fi

# ---- the script ----

cat >in.melt <<'END'
units lj
lattice fcc 0.8442
region box block 0 8 0 8 0 8
create_box 1 box
create_atoms 1 box
mass 1 1
velocity all create 1.5 87287
pair_style lj/cut 2.5
pair_coeff * * 1.0 1.0 2.5
fix 1 all nve
run 500
END
ln -s "$iog" iog
export PATH=$PWD:$PATH
mpi=$(srun --mpi=list 2>&1 | grep -qw pmix && echo --mpi=pmix)
stored() { # file: six steps of 2048 atoms
	"$iog" capture --list >/dev/null && [ -s "$1" ] && { ! command -v h5ls >/dev/null || h5ls "$1/particles/trajectory/position" | says '^value *Dataset \{6/Inf, 2048, 3\}'; }
}
job() { # of one node; its simulation is the captured one
	awk -v captured="$(sed 's/--cpu-bind=cores/& '"$mpi"'/; s/lmp -in in.melt/& -log none -screen none/' captured.sh | sed 's/\\$/\\\\/')" \
		'/ntasks=\$\(\(SLURM_NNODES \* ranks\)\)/ { print captured; getline; next } { print }' job.sh | sed 's/--nodes=2/--nodes=1/' >one.sh
	timeout -k 5 100 sbatch --wait -o job.out one.sh || { cat one.sh job.out; return 1; }
	says 'iograph capture: 6 steps of stream md published' 'graph slab has ended' <job.out && stored slab-0.h5 && [ ! "$(ls /tmp/iog-0-*/agent 2>/dev/null)" ]
}
around() { # two ranks that srun starts
	agent --load slab.lua --set file=around.h5 --once || return 1
	timeout -k 5 60 iog capture --socket "$S" --timeout 30s --every 100 -- srun -n 2 $mpi lmp -in in.melt -log none -screen none 2>err || { cat err; return 1; }
	wait "$agent" && says '^iograph capture: 6 steps of stream md published' <err && says 'stream md is there: 2 ranks' <agent.log && stored around.h5
}
# The shell of an allocation is a step of its own, of one task; those that srun starts are ranks.
cat >shell <<END
#!/bin/bash
env >shell.env
export OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_mpi_yield_when_idle=1
iog capture --graph slab.lua --every 100 --timeout 30s -- srun -n 2 $mpi lmp -in in.melt -log none -screen none >shell.out 2>&1
echo "code \$?" >>shell.out
srun -n 2 $mpi iog capture --graph slab.lua -- lmp >ranks.out 2>&1
END
chmod +x shell
allocation() {
	SHELL=$PWD/shell file=shell.h5 timeout -k 5 80 salloc -n 2 </dev/null >salloc.out 2>&1
	grep -q '^SLURM_STEP_ID=' shell.env && says '^iograph capture: 6 steps of stream md published' '^code 0' <shell.out && says 'would run an agent for each rank' <ranks.out ||
		{ cat salloc.out shell.out ranks.out; return 1; }
}
if [ -n "$mpi" ]; then
	point "the script of docs/batch.md, with a captured LAMMPS" job
	point "iog capture before srun, two ranks" around
	point "iog capture --graph in the shell of an allocation" allocation
else
	skip "the script in Slurm" "this srun has no PMIx, which Debian's Open MPI wants"
fi
plan
