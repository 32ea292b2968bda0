#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Ctrl-C and kill -9 in the middle of iog run: files are readable up to the last flush by their real readers, no process is left behind.
# timeout: 60
. tests/helpers/tap.sh

cat >"$TMPDIR/g.lua" <<'END'
local dir = iog.param.string { "dir", "." }
local md = iog.source.synthetic { atoms = 300, every = 10, rate = 400 }
local some = md:filter "zs > 0.5"
md:to(iog.sink.h5md { dir .. "/t.h5", release = "safe", flush = 5 })
some:to(iog.sink.record { dir .. "/t.iogr", flush = 5 })
some:stats():to(iog.sink.table { dir .. "/t.csv", flush = 5 })
END
cat >"$TMPDIR/read.py" <<'END'
import sys, numpy, h5py
with h5py.File(sys.argv[1], "r") as f:
    g = f["particles/trajectory/position"]
    n = len(g["value"])
    assert n >= int(sys.argv[2]), n
    assert (g["step"][:n] == 10 * numpy.arange(n)).all()
    assert numpy.isfinite(g["value"][:]).all() and (numpy.abs(g["value"][:]).max(axis=(1, 2)) > 0).all()
    print(n, "records")
END
pid=
begin() { # directory: runs until 40 records are in the table
	dir=$TMPDIR/$1
	mkdir "$dir"
	# A shell's background jobs ignore SIGINT; a terminal's do not.
	"$PYTHON" -c 'import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])' \
		"$IOG" run "$TMPDIR/g.lua" --on sidecore --json --set dir="$dir" >"$dir/json" 2>"$dir/err" &
	pid=$!
	for _ in $(seq 150); do
		[ "$(cat "$dir/t.csv" 2>/dev/null | wc -l)" -gt 40 ] && break
		sleep 0.1
	done
	kids=$(cat /proc/$pid/task/*/children)
	[ -n "$kids" ]
}
gone() { # every process of the list, within 5 s
	for _ in $(seq 50); do
		local left=
		for k in $kids; do [ -d /proc/$k ] && [ "$(sed 's/.*) //; s/ .*//' /proc/$k/stat 2>/dev/null)" != Z ] && left="$left $k"; done
		[ -z "$left" ] && return 0
		sleep 0.1
	done
	echo "left behind: $left"
	return 1
}
ended() { local got=0; wait $pid || got=$?; [ $got = "$1" ] || { echo "exit code $got, not $1"; cat "$dir/err"; return 1; }; }
readable() { # least
	"$PYTHON" "$TMPDIR/read.py" "$dir/t.h5" "$1" || return 1
	! command -v h5dump >/dev/null || h5dump "$dir/t.h5" >/dev/null || return 1
	"$IOG" dump "$dir/t.iogr" >"$dir/txt" && [ "$(grep -c '^record ' "$dir/txt")" -ge "$1" ] || return 1
	# Whole lines, all with the same number of fields.
	[ "$(awk -F, '{ print NF }' "$dir/t.csv" | sort -u | wc -l)" = 1 ] && [ "$(wc -l <"$dir/t.csv")" -ge "$1" ]
}
all_of_it() { # what was delivered is what the file holds, after an orderly end
	"$PYTHON" - "$dir" <<-'END'
		import h5py, json, sys
		j = json.load(open(sys.argv[1] + "/json"))
		n = next(u["records_in"] for u in j["units"] if u["name"] == "h5md")
		assert j["signal"] == 2 and n == len(h5py.File(sys.argv[1] + "/t.h5", "r")["particles/trajectory/position/value"]), (j["signal"], n)
	END
}
interrupt() { kill -INT $pid && ended 130 && grep -q 'ending in order' "$dir/err"; }
twice() { kill -INT $pid && sleep 0.3 && { kill -INT $pid 2>/dev/null || :; } && ended 130; }
shot() { kill -KILL $pid && ended 137; }

begin int
point "Ctrl-C ends a run in order, with 128 + the signal" interrupt
point "nothing runs any more after it" gone
point "h5md, record and table are readable after it" readable 40
point "every record that was delivered is in the file" all_of_it
begin twice
point "Ctrl-C twice ends it too" twice
point "and its files are readable" readable 40
begin kill
point "kill -9 in the middle" shot
point "no worker process outlives it" gone
point "files are readable up to their last flush" readable 35
plan
