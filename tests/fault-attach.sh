#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Rounds of accidents: agents, ranks and readers that are killed or stopped at random moments, alone and in pairs. What must be so afterwards is in
# tests/helpers/attach-chaos.py; `make faults` runs a thousand rounds.
# timeout: 300
# shellcheck source=tests/helpers/tap.sh
. tests/helpers/tap.sh
rounds=50
[ -z "$IOG_SANITIZER" ] || rounds=15 IOG_CHAOS_LIMIT=40
export IOG_CHAOS_LIMIT=${IOG_CHAOS_LIMIT:-10}
point "$rounds rounds" "$PYTHON" tests/helpers/attach-chaos.py --rounds $rounds
sed 's/^/# /' "$TMPDIR/log"
plan
