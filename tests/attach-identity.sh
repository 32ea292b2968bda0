#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Which run a program belongs to: from the environment of launchers and batch systems to `iog ps`, log lines and refusals.
# timeout: 60
# shellcheck source=tests/helpers/agent.sh
. tests/helpers/agent.sh
pump=$IOG_HELPERS/attach-pump
for v in $(env | grep -oE '^(SLURM|PMIX?|OMPI|PBS|LSB|MPI)_[A-Za-z_]*'); do unset "$v"; done
job() { # environment...: what ps shows of a stream that is written in it
	env "$@" "$pump" write "$S" heat 0 1 100000 1000 >"$TMPDIR/w" &
	local w=$! got=
	for _ in $(seq 200); do
		got=$("$iog" ps --socket "$S" --json | "$PYTHON" -c 'import json, sys; print(*[s["job"] for s in json.load(sys.stdin)["streams"] if s["state"] == "known" and s["ranks"] == "1 of 1"])')
		[ -z "$got" ] || break
		sleep 0.02
	done
	kill -9 $w
	wait $w 2>/dev/null
	for _ in $(seq 200); do "$iog" ps --socket "$S" | grep -q '^heat .* 0 of 1' && break; sleep 0.02; done
	echo "$got"
}
is() { # what it must be, what it is
	[ "$1" = "$2" ] || { echo "\"$2\" and not \"$1\""; return 1; }
}
environments() {
	is 'slurm 77.3' "$(job SLURM_JOB_ID=77 SLURM_STEP_ID=3 SLURM_PROCID=5)" && is 'slurm 77 pmix 4711' "$(job SLURM_JOB_ID=77 PMIX_NAMESPACE=4711 PMIX_RANK=0)" &&
		is 'pbs 12.host' "$(job PBS_JOBID=12.host)" && is 'run 99' "$(job OMPI_MCA_ess_base_jobid=99 OMPI_COMM_WORLD_RANK=1)" && is 'pmix a b' "$(job PMIX_NAMESPACE=$'a\tb')" || return 1
	local long
	long=$(job PMIX_NAMESPACE="$(printf 'x%.0s' $(seq 500))")
	[ ${#long} -gt 40 ] && [ ${#long} -lt 64 ] && case $long in 'pmix xxxx'*' ~'*) ;; *) echo "$long"; return 1 ;; esac
}
log_lines() { grep -q "rank 0 of 1 is gone without closing it: attach-pump (process [0-9]*, rank 5 of slurm 77.3)" "$TMPDIR/agent.log" && grep -q 'stream heat is there: 1 rank of slurm 77.3$' "$TMPDIR/agent.log"; }
two_runs() { # of one name at once: the second is refused, and told who has it
	PMIX_NAMESPACE=one PMIX_RANK=0 "$pump" write "$S" heat 0 2 100000 1000 >"$TMPDIR/w" &
	local w=$! rc=1
	for _ in $(seq 200); do "$iog" ps --socket "$S" | grep -q '^heat .* 1 of 2' && break; sleep 0.02; done
	PMIX_NAMESPACE=two PMIX_RANK=1 "$pump" write "$S" heat 1 2 10 0 >"$TMPDIR/w2"
	grep -q '^wrote 0 skipped 10 .*stream "heat" is being written by another run, attach-pump (process [0-9]*, rank 0 of pmix one), and this is attach-pump (process [0-9]*, rank 1 of pmix two)' "$TMPDIR/w2" &&
		PMIX_NAMESPACE=one PMIX_RANK=0 "$pump" write "$S" heat 0 2 10 0 >"$TMPDIR/w2" && grep -q 'rank 0 of stream "heat" is open already, by attach-pump (process' "$TMPDIR/w2" && rc=0
	kill -9 $w
	wait $w 2>/dev/null
	[ $rc = 0 ] || cat "$TMPDIR/w2"
	return $rc
}
hostile() { # what is no text is not shown as it came
	"$PYTHON" - "$S" <<'END'
import socket, struct, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.connect(sys.argv[1])
s.send(b"IOGA" + struct.pack("<I", 1) + b"\xff" * 20000)
END
	"$iog" ps --socket "$S" >/dev/null
}
agent || { echo "Bail out! no agent"; exit 1; }
point "what launchers and batch systems say" environments
point "log lines name the run" log_lines
point "two runs that write one stream" two_runs
point "nonsense" hostile
agent_end
plan
