#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A simulation that is not there, dies, stalls or lies: iog run ends in bounded time with the right code and one sentence; what came before
# is stored.
# timeout: 60
. tests/helpers/tap.sh
cat >"$TMPDIR/peer.py" <<'END'
# An IMD v2 server of 4 atoms that sends frames and then does what it is told.
import socket, struct, sys, time
how, where = sys.argv[1], sys.argv[2]
s = socket.socket()
s.bind(("127.0.0.1", 0))
s.listen(1)
open(where + ".tmp", "w").write(str(s.getsockname()[1]))
import os
os.rename(where + ".tmp", where)
s.settimeout(20)
c, _ = s.accept()
head = lambda kind, n: struct.pack(">ii", kind, n)
if how == "greets":
    c.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    time.sleep(8)
    sys.exit()
c.sendall(struct.pack(">i", 4) + struct.pack("<i", 2))
c.recv(8)
def frame(k, n=4):
    c.sendall(head(2, n) + struct.pack("<%df" % (3 * n), *[k + 0.5] * (3 * n)))
for k in range(5):
    frame(k)
if how == "dies":
    c.sendall(head(2, 4) + b"half")
    c.close()
elif how == "ends":
    c.sendall(head(0, 0))
    c.close()
elif how == "stalls":
    c.sendall(head(2, 4) + b"half")
    time.sleep(8)
elif how == "pauses":
    time.sleep(1.5)
    frame(5)
    c.close()
elif how == "lies":
    c.sendall(head(2, 0x7fffffff) + b"x" * 100)
    time.sleep(8)
elif how == "grows":
    frame(9, 5)
    time.sleep(8)
END
with_peer() { # how exit-code pattern records
	local got=0 port start
	rm -f "$TMPDIR/port"
	"$PYTHON" "$TMPDIR/peer.py" "$1" "$TMPDIR/port" &
	local peer=$!
	for _ in $(seq 100); do [ -f "$TMPDIR/port" ] && break; sleep 0.1; done
	port=$(cat "$TMPDIR/port")
	cat >"$TMPDIR/g.lua" <<-END
		local md = iog.source.imd { "127.0.0.1:$port", atoms = 4, timeout = "1s" }
		md:to(iog.sink.record { "$TMPDIR/$1.iogr", on_restart = "truncate" })
	END
	start=$SECONDS
	timeout 30 "$IOG" run "$TMPDIR/g.lua" >/dev/null 2>"$TMPDIR/err" || got=$?
	kill $peer 2>/dev/null
	wait $peer 2>/dev/null
	cat "$TMPDIR/err"
	[ $((SECONDS - start)) -lt 8 ] && [ $got = "$2" ] || { echo "exit code $got after $((SECONDS - start)) s"; return 1; }
	[ "$2" = 0 ] || says "127.0.0.1:$port|g.lua" "$3" <"$TMPDIR/err" || return 1
	[ "$4" = 0 ] || "$IOG" dump "$TMPDIR/$1.iogr" | says "^$4 records"
}
nobody() {
	echo 'iog.source.imd { "127.0.0.1:1", atoms = 4, timeout = "1s" }:to(iog.sink.null {})' >"$TMPDIR/g.lua"
	code 1 timeout 20 "$IOG" run "$TMPDIR/g.lua" 2>&1 | says 'nobody listens on 127.0.0.1:1 after 1 s'
}
point "nobody listens" nobody
point "the simulation ends: so does the run, without an error" with_peer ends 0 '' 5
point "it dies in the middle of a frame" with_peer dies 1 'imd' 5
point "it stalls in the middle of a frame" with_peer stalls 1 'imd' 5
point "a pause between frames is no error" with_peer pauses 0 '' 6
point "it announces more atoms than it can have" with_peer lies 1 'imd' 5
point "its number of atoms grows" with_peer grows 1 'imd' 5
point "it is no simulation" with_peer greets 1 'imd' 0
plan
