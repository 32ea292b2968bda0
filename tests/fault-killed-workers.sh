#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Sidecore processes that are killed or stopped at random moments of a safe run: what the record files hold is what they hold undisturbed,
# record by record. 50 processes die: of a stage with state and of one without.
# timeout: 120
. tests/helpers/tap.sh

cat >"$TMPDIR/g.lua" <<'END'
local dir, rate = iog.param.string { "dir", "." }, iog.param.string { "rate", "0" }
local md = iog.source.synthetic { atoms = 2000, steps = 700, varying = true, restart = 300, rate = rate }

local function file(name) return iog.sink.record { dir .. "/" .. name, release = "safe", on_restart = "truncate", flush = 7 } end
md:filter "zs > 0.3":delta { quantum = 0.001, key_every = 40 }:to(file "state.iogr")
md:queue { bytes = "2MiB" }:stats { "position", "velocity" }:to(file "stats.iogr")
END

cat >"$TMPDIR/kill.py" <<'END'
import json, os, random, signal, subprocess, sys, time
iog, graph, out, wanted = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
rng = random.Random(20)
run = subprocess.Popen([iog, "run", graph, "--on", "sidecore", "--json", "--restarts", "1000", "--set", "rate=60", "--set", "dir=" + out],
                       stdout=subprocess.PIPE, text=True)
def workers():
    found = []
    try:
        tasks = os.listdir("/proc/%d/task" % run.pid)
    except OSError:
        return found
    for t in tasks:
        try:
            for pid in map(int, open("/proc/%d/task/%s/children" % (run.pid, t)).read().split()):
                if b"--worker" in open("/proc/%d/cmdline" % pid, "rb").read() and open("/proc/%d/stat" % pid).read().split(")")[1].split()[0] in "RS":
                    found.append(pid)
        except OSError:
            pass
    return found
kills, end = 0, time.time() + 100
# A death before the run has begun is a run that does not begin. Records come when all stages have.
file = out + "/state.iogr"
while run.poll() is None and time.time() < end and (not os.path.exists(file) or os.path.getsize(file) < 20000):
    time.sleep(0.01)
while kills < wanted and run.poll() is None and time.time() < end:
    time.sleep(rng.uniform(0.02, 0.2))
    w = workers()
    if w:
        os.kill(rng.choice(w), signal.SIGSTOP if rng.random() < 0.3 else signal.SIGKILL)
        kills += 1
if time.time() > end:
    run.kill()
text, _ = run.communicate()
j = json.loads(text)
restarts = sum(u["restarts"] for u in j["units"])
print("killed", kills, "restarts", restarts, "repeated", sum(u["repeated"] for u in j["units"]), "in", round(j["elapsed_seconds"], 1), "s:", j["result"], j["error"])
for u in j["units"]:
    assert u["poisoned"] == 0 and u["dropped"] == 0, u
# Two signals may meet the same process before it is gone.
assert run.returncode == 0 and kills == wanted and restarts >= wanted * 0.8, (run.returncode, kills, restarts)
END

undisturbed() { mkdir "$TMPDIR/a" "$TMPDIR/b" && "$IOG" run "$TMPDIR/g.lua" --set dir="$TMPDIR/a"; }
killed() { "$PYTHON" "$TMPDIR/kill.py" "$IOG" "$TMPDIR/g.lua" "$TMPDIR/b" 50; }
# Every value of every record; where a record lies in the file is no part of it.
text() { "$IOG" dump "$1" --values 100000 | sed 's/ at byte .*//; s/^[^ ]*iogr.*//'; }
same() {
	for d in a b; do text "$TMPDIR/$d/$1.iogr" >"$TMPDIR/$d.txt" || return 1; done
	[ "$(grep -c '^record ' "$TMPDIR/a.txt")" = 700 ] && grep -q 'epoch 3' "$TMPDIR/a.txt" && cmp "$TMPDIR/a.txt" "$TMPDIR/b.txt"
}
point "an undisturbed run" undisturbed
point "50 processes are killed or stopped, and replaced" killed
sed 's/^/# /' "$TMPDIR/log"
point "the file behind the stage with state holds the same records" same state
point "the file behind the stage without state holds the same records" same stats
plan
