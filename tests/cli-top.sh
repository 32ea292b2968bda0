#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# `iog top`: one interval as text and as JSON, the live view on a terminal, and what no terminal gets.
# timeout: 90
# shellcheck source=tests/helpers/agent.sh
. tests/helpers/agent.sh
pump=$IOG_HELPERS/attach-pump
cat >"$TMPDIR/heat.lua" <<END
local iog = require "iog"
local heat = iog.source.stream "heat"
heat:stats { "T" }:to(iog.sink.table { "$TMPDIR/heat.csv", on_restart = "truncate" })
heat:crop { box = { z = { 2, 3 } } }:compress {}:to(iog.sink.null { policy = "spill" })
END
running() { # an agent, two ranks that write for long, a reader
	agent --load "$TMPDIR/heat.lua" || return 1
	for r in 0 1; do
		PMIX_NAMESPACE=run PMIX_RANK=$r "$pump" write "$S" heat $r 2 100000000 2000 >/dev/null &
		w[r]=$!
	done
	"$pump" read "$S" heat 100000000 policy=latest >/dev/null &
	w[2]=$!
	for _ in $(seq 200); do [ "$("$iog" ps --socket "$S" | awk '$1 == "heat" && $2 == "runs" { print $3 }')" -gt 100 ] 2>/dev/null && return 0; sleep 0.05; done
	return 1
}
once() {
	"$iog" top --socket "$S" --once --interval 0.5 >"$TMPDIR/out" && ! grep -q $'\033' "$TMPDIR/out" && says "^agent $S, process $agent: [0-9.]+ % cpu" '^graph heat: runs, [0-9 ]+ delivered' \
		'^  stream +source +[1-9][0-9 ]* +[0-9.]+ [KM]iB +[0-9]+/[0-9]+ ' '^  table +sink +[1-9].* (us|ms) .* %$' '^    compress +[1-9]' '^stream heat: known, 2 of 2 ranks, pmix run' \
		'^  attach-pump \([0-9]+\) +rank 1 +[1-9]' '^  attach-pump \([0-9]+\) +reader, latest +[1-9]' <"$TMPDIR/out"
}
json() {
	"$iog" top --socket "$S" --json --interval 0.5 --count 2 >"$TMPDIR/out" && "$PYTHON" - "$TMPDIR/out" "$agent" "${w[@]}" <<'END'
import json, sys
text, at, docs = open(sys.argv[1]).read(), 0, []
while text[at:].strip():
    d, n = json.JSONDecoder().raw_decode(text[at:].lstrip())
    at += len(text[at:]) - len(text[at:].lstrip()) + n
    docs.append(d)
assert len(docs) == 2, len(docs)
for d in docs:
    assert 0.4 < d["interval_s"] < 30 and d["agent"]["pid"] == int(sys.argv[2]) and 0 < d["agent"]["cpu"] < 3, d["agent"]
    g, = d["graphs"]
    u = {x["name"]: x for x in g["units"]}
    assert g["state"] == "runs" and {x["kind"] for x in u.values()} == {"source", "stage", "sink"}, g
    assert all(x["records_per_s"] > 5 and x["capacity"] > 0 and 0 <= x["queued"] <= x["capacity"] and 0 < x["cpu"] < 2 for x in u.values()), u
    t = u["table"]
    assert 0 < t["latency_p50_s"] <= t["latency_p99_s"] < 60 and t["target"] == "host", t
    assert u["stream"]["latency_p50_s"] is None
    assert [(i["from"], i["policy"]) for i in u["null"]["inputs"]] == [("crop+compress", "spill")] and u["null"]["inputs"][0]["capacity"] == u["null"]["capacity"], u["null"]
    assert sorted((i["from"], i["policy"]) for i in u["stream"]["inputs"]) == [("heat.0", "block"), ("heat.1", "block")], u["stream"]
    assert [n["operator"] for x in g["units"] for n in x["nodes"]] == ["stats", "crop", "compress"], g
    s, = d["streams"]
    assert s["there"] == s["ranks"] == 2 and s["job"] == "pmix run", s
    assert sorted(x["pid"] for x in s["writers"]) == sorted(map(int, sys.argv[3:5])) and all(x["records_per_s"] > 5 and 0 <= x["blocked"] <= 1.5 for x in s["writers"]), s
    r, = s["readers"]
    assert r["pid"] == int(sys.argv[5]) and r["policy"] == "latest" and r["records_per_s"] > 1, r
assert docs[1]["graphs"][0]["delivered"] > docs[0]["graphs"][0]["delivered"]
END
}
live() { # how it is ended
	"$PYTHON" - "$iog" "$S" "$1" <<'END'
import fcntl, os, pty, re, select, struct, subprocess, sys, termios, time
main, sub = pty.openpty()
def size(rows, columns): fcntl.ioctl(sub, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
size(40, 200)
before = termios.tcgetattr(sub)
p = subprocess.Popen([sys.argv[1], "top", "--socket", sys.argv[2], "--interval", "0.2"], stdin=sub, stdout=sub, stderr=sub, start_new_session=True,
    preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
def read(until, limit=20):
    got, end = b"", time.time() + limit
    while not until(got) and time.time() < end:
        if select.select([main], [], [], 0.1)[0]: got += os.read(main, 65536)
    assert until(got), got[-3000:]
    return got
def frames(got): return got.split(b"\033[H")[1:]
got = read(lambda g: len(frames(g)) > 3)
assert got.startswith(b"\033[?1049h\033[?25l"), got[:50]
frame = frames(got)[2].decode()
assert re.search(r"graph heat: runs", frame) and re.search(r"rank 1 .* %", frame), frame
size(6, 40)
got = read(lambda g: len(frames(g)) > 4)
small = frames(got)[3].decode()
lines = re.sub(r"\033\[[?0-9;]*[A-Za-z]", "", small).split("\r\n")
assert len(lines) == 6 and max(map(len, lines)) <= 40 and "more than the window shows" in lines[-1], lines
if sys.argv[3] == "q": os.write(main, b"q")
elif sys.argv[3] == "ctrl-c": os.write(main, b"\003")
else: os.kill(int(sys.argv[3]), 9)
end = read(lambda g: b"\033[?25h\033[?1049l" in g)
code = p.wait(20)
assert code == (0 if sys.argv[3] in ("q", "ctrl-c") else 1), code
assert termios.tcgetattr(sub) == before
if code: read(lambda g: b"the agent has ended" in g or b"the agent has ended" in end)
END
}
mistakes() {
	code 2 "$iog" top --interval 0 2>/dev/null && code 2 "$iog" top extra 2>/dev/null && code 1 "$iog" top --socket "$TMPDIR/nobody" --once 2>"$TMPDIR/err" && grep -q 'no agent answers' "$TMPDIR/err"
}
escapes() { # in the name of a file reach no terminal
	local S=$TMPDIR/odd rc=0 other text='/dev/null/?[31mred?.iogr'
	printf 'local iog = require "iog"\niog.source.synthetic { steps = 1 }:to(iog.sink.record { "/dev/null/\\27[31mred\\u{9b}.iogr" })\n' >"$TMPDIR/odd.lua"
	"$iog" agent --socket "$S" --load "$TMPDIR/odd.lua" >"$TMPDIR/odd.log" 2>&1 &
	other=$!
	for _ in $(seq 200); do "$iog" ps --socket "$S" 2>/dev/null | grep -q failed && break; kill -0 "$other" || return 1; sleep 0.05; done
	"$iog" ps --socket "$S" >"$TMPDIR/odd.ps" && "$iog" top --socket "$S" --once --interval 0.1 >"$TMPDIR/odd.top" || rc=1
	"$iog" ps --socket "$S" --json | grep -qF 'u001B[31mred' || rc=1
	"$iog" unload --socket "$S" $'no\033such' 2>"$TMPDIR/odd.err" && rc=1
	kill "$other"
	wait "$other"
	for f in ps top log; do grep -qF "$text" "$TMPDIR/odd.$f" || rc=1; done
	grep -l -e $'\033' -e $'\302\233' "$TMPDIR"/odd.{ps,top,log,err} && rc=1
	return $rc
}
w=()
running || { echo "Bail out! nothing runs"; exit 1; }
point "one interval as text" once
point "two intervals as JSON" json
point "the live view, its window changed, ended by q" live q
point "ended by Ctrl-C" live ctrl-c
point "the agent is killed meanwhile" live "$agent"
point "what cannot be" mistakes
point "control characters do not reach a terminal" escapes
kill -9 "${w[@]}" "$agent" 2>/dev/null
wait "${w[@]}" "$agent" 2>/dev/null
plan
