#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Sidecore processes that are killed or stopped while they are set up, from the first instant on, before they have become the worker program:
# all records arrive, once each. One that dies every time is given up, with the reason.
# timeout: 200
# no-tsan: processes share memory with this one, which the tool cannot see
. tests/helpers/tap.sh

# Two stages that are set up together, a thread before them, and one process beside.
cat >"$TMPDIR/g.lua" <<'END_LUA'
local out = iog.param.string { "out", "x" }
local md = iog.source.synthetic { atoms = 200, steps = 40, varying = true }
md:filter "zs > 0.3":on "sidecore":delta { quantum = 0.001 }:on "sidecore":never "vm":to(iog.sink.record { out .. "-a.iogr", release = "safe" })
md:filter "zs < 2":on "host":stats { "position" }:on "sidecore":to(iog.sink.record { out .. "-b.iogr", release = "safe" })
END_LUA

cat >"$TMPDIR/start.py" <<'END_PY'
import glob, json, os, random, signal, subprocess, sys, time
iog, graph, out, runs, budget = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5])
restarts = sys.argv[6] if len(sys.argv) > 6 else "1000"
always = restarts != "1000"
rng = random.Random(4)
# A sanitizer looks for leaks in a child of its own at the end, and waits for ever for one that was killed.
os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"

def children(pid):
    found = set()
    for f in glob.glob("/proc/%d/task/*/children" % pid):
        try:
            found.update(map(int, open(f).read().split()))
        except OSError:
            pass
    return found

def worker(pid):
    try:
        return b"--worker" in open("/proc/%d/cmdline" % pid, "rb").read()
    except OSError:
        return False

def undisturbed(out):
    subprocess.run([iog, "run", graph, "--set", "out=" + out], check=True, stdout=subprocess.DEVNULL)
    return [subprocess.run([iog, "dump", out + s, "--values", "100000"], check=True, stdout=subprocess.PIPE).stdout.replace(out.encode(), b"") for s in ("-a.iogr", "-b.iogr")]

want = undisturbed(out + "0")
end, killed, stopped, early, replaced, done = time.time() + budget, 0, 0, 0, 0, 0
for n in range(runs):
    if time.time() > end:
        break
    name = "%s-%d" % (out, n)
    run = subprocess.Popen([iog, "run", graph, "--json", "--restarts", restarts, "--set", "out=" + name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    left, seen, limit = (10 ** 6 if always else 1 + n % 4), set(), time.time() + 30
    while left and run.poll() is None and time.time() < limit:
        for pid in children(run.pid) - seen:
            seen.add(pid)
            # From the instant it exists to a little after it has begun to work.
            pause = 0 if always else rng.choice((0, rng.uniform(0, 0.003), rng.uniform(0, 0.02), rng.uniform(0, 0.06)))
            if pause:
                time.sleep(pause)
            if always and not worker(pid):
                seen.discard(pid)
                continue
            is_worker = worker(pid)
            try:
                # The first child looks whether VMs work here; stopped, it would be waited for until its 2 s are over.
                stop = len(seen) > 1 and not always and rng.random() < 0.3
                os.kill(pid, signal.SIGSTOP if stop else signal.SIGKILL)
            except OSError:
                continue
            stopped, killed, early = stopped + stop, killed + (not stop), early + (not is_worker and len(seen) > 1)
            left -= 1
            if not left:
                break
    try:
        text, err = run.communicate(timeout=40)
    except subprocess.TimeoutExpired:
        run.kill()
        sys.exit("run %d stands still" % n)
    j = json.loads(text)
    done += 1
    if always:
        print(err.strip())
        assert run.returncode == 1 and "of signal 9" in j["error"] and "given up after %s restart" % restarts in j["error"], (run.returncode, j["error"])
        assert j["error"].count("filter") == 1 or j["error"].startswith("stats: "), j["error"]
        # The CPU time of those that died counts.
        assert any(u["kind"] == "stage" and u["target"] == "sidecore" and u["cpu_seconds"] > 0.001 for u in j["units"]), j["units"]
        continue
    replaced += sum(u["restarts"] for u in j["units"])
    assert run.returncode == 0, (n, run.returncode, j["error"], err)
    for u in j["units"]:
        assert u["poisoned"] == 0 and u["dropped"] == 0, (n, u)
    for s, w in zip(("-a.iogr", "-b.iogr"), want):
        got = subprocess.run([iog, "dump", name + s, "--values", "100000"], check=True, stdout=subprocess.PIPE).stdout.replace(name.encode(), b"")
        same = [[l.split(b" at byte ")[0] for l in x.splitlines() if b"iogr" not in l] for x in (got, w)]
        assert same[0] == same[1], (n, s, len(got), len(w))
        os.unlink(name + s)
print(done, "runs,", killed, "killed,", early, "of them before they were workers,", stopped, "stopped,", replaced, "replaced")
assert always or (done >= 10 and replaced >= 10 and stopped and early), "too little happened"
END_PY

startup() { "$PYTHON" "$TMPDIR/start.py" "$IOG" "$TMPDIR/g.lua" "$TMPDIR/k" 60 60; }
always() { "$PYTHON" "$TMPDIR/start.py" "$IOG" "$TMPDIR/g.lua" "$TMPDIR/a" 1 60 3; }

point "killed and stopped at any instant of the set-up: all records arrive, once each" startup
sed 's/^/# /' "$TMPDIR/log"
point "killed every time: given up, with the reason" always
sed 's/^/# /' "$TMPDIR/log"
plan
