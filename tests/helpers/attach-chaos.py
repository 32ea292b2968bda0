#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Rounds of accidents: an agent with a graph, one to three ranks that write, one to three readers; one or two of them are killed or stopped at a random moment,
some that were stopped go on, some are killed, and an agent that was killed may have a successor. Then what docs/attach.md says must be so:

  - whoever was not killed ends in order, at most LIMIT seconds after it could (LIMIT: 10, IOG_CHAOS_LIMIT);
  - every step that a reader took is right, and newer than the one before; one that wants every step has every step that was committed while it read, of every rank;
  - the table holds every step that was committed, once, in order, from the ranks that committed it; when the agent was killed and had no successor: those up to some step;
  - an agent that lives has the descriptors, mappings and threads it had before anybody came, ends in order when told to, and leaves no socket; the socket of one that was killed
    is taken by the next; no process is left behind.

usage: attach-chaos.py [--rounds N] [--seed N] [--jobs N] [--keep]
A round is made from its seed alone: --seed S --rounds 1 repeats it (as far as the machine lets it). --keep leaves its files. Needs $IOG, $IOG_HELPERS."""
import argparse, csv, ctypes, math, os, random, shutil, signal, subprocess, sys, tempfile, time

IOG, PUMP = os.environ["IOG"], os.environ["IOG_HELPERS"] + "/attach-pump"
LIMIT = float(os.environ.get("IOG_CHAOS_LIMIT", 10))
STEPS, PAUSE_US, ROWS, CELLS = 300, 500, 4, 4 * 16 * 16
os.environ["PUMP_CLOSE"] = "2"  # a writer without an agent waits that long for the next one to take what is left
OPTIONS = "policy=block timeout=2s bytes=256KiB"  # eight steps, and what every stream keeps for readers that drop


class Wrong(Exception):
    pass


def need(ok, *what):
    if not ok:
        raise Wrong(" ".join(map(str, what)))


class Actor:
    """A process of the round. log: what it did, in a file that outlives it."""

    def __init__(self, d, name, *command):
        self.name, self.d, self.out, self.log = name, d, f"{d}/{name}.out", f"{d}/{name}.log"
        self.killed = self.stopped = False
        self.options = ""
        with open(self.out, "wb") as out:
            self.p = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    def signal(self, sig):
        if self.p.poll() is None:
            self.p.send_signal(sig)
            self.killed |= sig == signal.SIGKILL
            self.stopped |= sig == signal.SIGSTOP

    def end(self, until):
        try:
            return self.p.wait(max(0.01, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise Wrong(self.name, "has not ended", LIMIT, "s after it could")

    def said(self):
        return open(self.out, errors="replace").read()

    def has(self):
        """Descriptors, mappings of shared memory, threads."""
        proc = f"/proc/{self.p.pid}"
        maps = [m for m in open(proc + "/maps") if "/memfd:" in m]
        # The sanitizer of threads has one of its own from the first one on.
        return len(os.listdir(proc + "/fd")), len(maps), 1 if "thread" in os.environ.get("IOG_SANITIZER", "") else len(os.listdir(proc + "/task"))


class Writer(Actor):
    def did(self):
        """By step: c committed, b begun (it may be committed), s t e."""
        try:
            return open(self.log, "rb").read().decode().replace("\0", "-").ljust(STEPS, "-")
        except FileNotFoundError:
            return "-" * STEPS


class Reader(Actor):
    def took(self):
        """[step, ranks by bit]"""
        try:
            raw = memoryview(open(self.log, "rb").read()).cast("q")
        except FileNotFoundError:
            return []
        n = next((i for i in range(0, len(raw), 2) if not raw[i]), len(raw)) // 2
        return [(raw[2 * i] - 1, raw[2 * i + 1]) for i in range(n)]


class Round:
    def __init__(self, seed):
        self.rng = r = random.Random(seed)
        self.d = tempfile.mkdtemp(prefix=f"round-{seed}-")
        self.sock = self.d + "/agent"
        self.ranks = r.choice((1, 1, 2, 3))
        self.policies = [r.choice(("block", "latest", "drop-new")) for _ in range(r.randint(1, 3))]
        self.on = r.choice(("host", "host", "sidecore"))
        self.early = r.random() < 0.5  # readers before writers
        self.agents = []
        self.writers, self.readers = [], []
        names = ["agent"] + [f"writer{k}" for k in range(self.ranks)] + [f"reader{k}" for k in range(len(self.policies))]
        weights = [3] + [4 / self.ranks] * self.ranks + [3 / len(self.policies)] * len(self.policies)
        self.events = []  # (when, what, whom)
        for _ in range(r.choice((1, 1, 2))):
            whom, when = r.choices(names, weights)[0], r.uniform(0, 0.35)
            what = r.choice(("kill", "pause", "stop and kill"))
            self.events.append((when, "kill" if what == "kill" else "stop", whom))
            if what != "kill":
                self.events.append((when + r.uniform(0.02, 0.25), "cont" if what == "pause" else "kill", whom))
        # The next agent comes while the programs still run. Who died meanwhile would be waited for longer than a round may take.
        dies = max((when for when, what, whom in self.events if what == "kill" and whom == "agent"), default=None)
        self.again = dies is not None and r.random() < 0.6 and not any(what == "kill" and whom != "agent" for _, what, whom in self.events)
        if self.again:
            self.events.append((dies + r.uniform(0.01, 0.3), "start", "agent"))
        self.events.sort()

    def describe(self):
        what = ", ".join(f"{what} {whom} at {when:.3f}" for when, what, whom in self.events)
        return f"{self.ranks} ranks, readers {' '.join(self.policies)}, on {self.on}: {what}"

    def agent_start(self):
        self.agents.append(Actor(self.d, f"agent{len(self.agents)}", IOG, "agent", "--socket", self.sock, "--on", self.on, "--load", self.d + "/g.lua"))
        until = time.monotonic() + LIMIT
        while "graph g waits" not in self.agents[-1].said():
            need(time.monotonic() < until and self.agents[-1].p.poll() is None, "the agent does not start:", self.agents[-1].said())
            time.sleep(0.002)
        return self.agents[-1]

    def start(self):
        with open(self.d + "/g.lua", "w") as f:
            f.write('local iog = require "iog"\niog.source.stream "heat":stats { "T" }'
                    f':to(iog.sink.table {{ "{self.d}/out.csv", release = "safe", flush = 4, on_restart = "append" }})\n')
        self.before = self.agent_start().has()

        def writers():
            for k in range(self.ranks):
                self.writers.append(Writer(self.d, f"writer{k}", PUMP, "write", self.sock, "heat", str(k), str(self.ranks), str(STEPS), str(PAUSE_US), OPTIONS,
                                           f"{self.d}/writer{k}.log"))

        def readers():
            for k, policy in enumerate(self.policies):
                self.readers.append(Reader(self.d, f"reader{k}", PUMP, "read", self.sock, "heat", str(STEPS + 1), f"policy={policy} timeout=3s", f"{self.d}/reader{k}.log"))

        for start in (readers, writers) if self.early else (writers, readers):
            start()

    def accidents(self):
        t0 = time.monotonic()
        act = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "cont": signal.SIGCONT}
        for when, what, whom in self.events:
            time.sleep(max(0, t0 + when - time.monotonic()))
            if what == "start":
                self.agents[-1].end(time.monotonic() + LIMIT)
                self.agent_start()
                continue
            (self.agents[-1] if whom == "agent" else next(a for a in self.writers + self.readers if a.name == whom)).signal(act[what])

    # ---- what must be so afterwards ----

    def ends(self):
        """Everybody who lives ends by itself: writers with their steps, readers with the stream, the agent when it is told to."""
        agent = self.agents[-1]
        self.alone = agent.killed
        for a in self.writers + self.readers:  # a step may wait for its whole timeout once, a reader 3 s for the stream and 3 s for a step
            code = a.end(time.monotonic() + LIMIT)
            need(code == (-9 if a.killed else 0), a.name, "ended with", code, a.said())
        if agent.killed:
            need(agent.end(time.monotonic() + LIMIT) == -9, "agent")
            agent = self.agent_next()
        self.agent_is_clean(agent)
        agent.signal(signal.SIGTERM)
        code = agent.end(time.monotonic() + LIMIT)
        need(code == 128 + signal.SIGTERM, "the agent ended with", code, agent.said())
        need(not os.path.exists(self.sock), "the agent left its socket")
        left = open(f"/proc/self/task/{os.getpid()}/children").read().split()
        until = time.monotonic() + LIMIT
        while left and time.monotonic() < until:
            time.sleep(0.005)
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                pass
            left = open(f"/proc/self/task/{os.getpid()}/children").read().split()
        need(not left, "processes are left:", left)

    def agent_next(self):
        """The next agent at the same place."""
        with open(self.d + "/g.lua", "w") as f:
            f.write('local iog = require "iog"\niog.source.stream "none":to(iog.sink.null {})\n')
        agent = self.agent_start()
        self.before = agent.has()
        return agent

    def agent_is_clean(self, agent):
        until = time.monotonic() + LIMIT
        # It may have been at its list of graphs when it was looked at before.
        while any(now > before for now, before in zip(agent.has(), self.before)):
            need(time.monotonic() < until, "the agent has (descriptors, mappings, threads)", agent.has(), "and had", self.before)
            time.sleep(0.005)

    def rank_said(self):
        for w in self.writers:
            if w.killed:
                continue
            did, said = w.did(), w.said().strip()
            need(set(did) <= set("cste") and f"wrote {did.count('c')} skipped {STEPS - did.count('c')} code " in said, w.name, "did", did, said)
            if self.again:  # it is never away for as long as a step waits; before there is one, nothing can be sent
                need(set(did.lstrip("e")) <= set("cs"), w.name, "dropped steps though there was a next agent:", did, said)
            elif not self.alone:
                need(set(did.lstrip("s")) <= set("ct"), w.name, "left out steps though the agent lives:", did, said)
                need("code 0:" in said, w.name, said)
            elif "code 0:" not in said:
                need("agent" in said, w.name, "does not say why:", said)

    def common(self):
        """The first step that no rank began later, or None."""
        firsts = [min((did + "c").index("c"), (did + "b").index("b")) for did in self.did]
        return max((f for f in firsts if f < STEPS), default=None)

    def may(self, step):
        return sum(1 << k for k, did in enumerate(self.did) if did[step] in "bc")

    def must(self, step):
        return sum(1 << k for k, did in enumerate(self.did) if did[step] == "c")

    def reader_took(self):
        for k, r in enumerate(self.readers):
            took, said = r.took(), r.said().strip()
            for (a, _), (b, _) in zip(took, took[1:]):
                need(a < b, r.name, "took", b, "after", a)
            for step, ranks in took:
                need(ranks, r.name, "has nothing of step", step)
                if self.policies[k] != "block":  # who dropped the step keeps it from everybody, as long as it was there
                    seen = sum(1 << i for i in range(self.ranks) if any(ranks >> i & 1 for _, ranks in took))
                    there = seen & sum(1 << i for i, did in enumerate(self.did) if "c" in did[step:])
                    need(there & ~ranks == 0, r.name, "was given step", step, "without", bin(there & ~ranks))
                need(ranks & ~self.may(step) == 0, r.name, "has parts of step", step, "that nobody wrote:", bin(ranks))
            if not r.killed:
                # With neither an agent nor a writer there is nobody left who could say that it ended.
                end = "code 3:" in said or "stream" in said or "agent" in said
                # Nor does it hear of a stream whose writers had ended when the next agent came.
                before = self.again and not took and all(did[-1] in "se" for did in self.did)
                need(end or ("code 2:" in said and (before or (self.alone and any(w.killed for w in self.writers)))), r.name, said, self.did)
            # The third reader has its steps from the agent.
            if self.policies[k] != "block" or not took or (len(self.readers) > 2 and any(a.killed for a in self.agents)):
                continue
            # With neither, it waits for the part of a rank that nobody says is gone.
            last = took[-1][0] if r.killed or (self.alone and any(w.killed for w in self.writers)) else STEPS - 1
            have = dict(took)
            # A rank that was killed before it had made a ring for this reader.
            never = sum(1 << i for i, w in enumerate(self.writers) if w.killed and not any(ranks >> i & 1 for _, ranks in took))
            for step in range(took[0][0], last + 1):
                lost = self.must(step) & ~have.get(step, 0) & ~never
                need(not lost, r.name, "has not all of step", step, "lost", bin(lost), "took", took[:1], "to", took[-1:], said)

    def table_holds(self):
        try:
            rows = list(csv.DictReader(open(self.d + "/out.csv", newline="")))
        except FileNotFoundError:
            rows = []
        if self.alone and rows and None in rows[-1].values():
            rows.pop()  # torn
        first, n = self.common(), 0
        for at, row in enumerate(rows):
            step = int(row["step"])
            need(not at or step > n, "row", at, "of the table is step", step, "after", n)
            n = step
            fits = [live for live in range(1, 1 << self.ranks) if live & ~self.may(step) == 0 and (self.alone or self.must(step) & ~live == 0) and self.row_is(row, step, live)]
            need(fits, "step", step, "is not what ranks", bin(self.must(step)), "to", bin(self.may(step)), "wrote:", dict(row))
        if first is None:
            need(not rows, "the table has rows, and nobody wrote")
            return
        have = {int(row["step"]) for row in rows}
        # A rank that waited its two seconds in vain for the others and the graph began without them; the machine has more to do than us.
        # The first agent may have died before its graph had its edges.
        if rows and (self.again or any(did[0] == "s" for did in self.did)):
            first = max(first, min(have))
        last = max(have, default=-1) if self.alone else STEPS - 1
        lost = [step for step in range(first, last + 1) if self.must(step) and step not in have]
        need(not lost, "the table does not have steps", lost, "of", first, "to", last)

    def row_is(self, row, step, live):
        ranks = [k for k in range(self.ranks) if live >> k & 1]
        mean = step + sum(ranks) / len(ranks)
        cell = {name.split("_")[-1].split(".")[-1]: value for name, value in row.items()}
        return math.isclose(float(cell["mean"]), mean) and float(cell["min"]) == step + ranks[0] and float(cell["max"]) == step + ranks[-1]

    def check(self):
        self.did = [w.did() for w in self.writers]
        self.rank_said()
        self.reader_took()
        self.table_holds()

    def stop(self):
        for a in self.agents + self.writers + self.readers:
            a.signal(signal.SIGKILL)
            a.p.wait()


def run(seed, keep):
    r = Round(seed)
    try:
        r.start()
        r.accidents()
        r.ends()
        r.check()
        return True
    except Wrong as e:
        print(f"round {seed}: {r.describe()}\n  {e}", flush=True)
        for a in r.agents:
            print("  " + a.said().strip().replace("\n", "\n  "), flush=True)
        return False
    finally:
        r.stop()
        if not keep:
            shutil.rmtree(r.d)


def job(seeds, keep):
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: who is left behind is ours
    return sum(not run(seed, keep) for seed in seeds)


def main():
    o = argparse.ArgumentParser()
    o.add_argument("--rounds", type=int, default=50)
    o.add_argument("--seed", type=int, default=int(time.time()))
    o.add_argument("--jobs", type=int, default=2)
    o.add_argument("--keep", action="store_true")
    o = o.parse_args()
    print(f"{o.rounds} rounds from seed {o.seed}", flush=True)
    t0, pids = time.monotonic(), []
    for k in range(o.jobs):
        pid = os.fork()
        if not pid:
            os._exit(min(job(range(o.seed + k, o.seed + o.rounds, o.jobs), o.keep), 99))
        pids.append(pid)
    bad = sum(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids)
    print(f"{bad} of {o.rounds} rounds went wrong, {time.monotonic() - t0:.0f} s")
    sys.exit(bad != 0)


if __name__ == "__main__":
    main()
