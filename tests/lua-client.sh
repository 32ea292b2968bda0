#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The Lua client: what one program publishes from tables, numbers and strings, another reads value by value, in part, and as bytes; a graph takes it
# and a parameter of the graph is set; records that were released, wrong indices and a missing agent are told in words.
# timeout: 120
# shellcheck source=tests/helpers/agent.sh
. tests/helpers/agent.sh
command -v lua5.4 >/dev/null || { echo "1..0 # SKIP lua5.4 is not installed"; exit 0; }
if [ "$IOG_SANITIZER" ]; then echo "1..0 # SKIP lua5.4 is not built with the sanitizer"; exit 0; fi
export LUA_CPATH="$IOG_BUILD/lua/?.so" IOG_SOCKET=$S
cat >"$TMPDIR/write.lua" <<'END'
local io <close> = assert(require "iograph".attach())
local s <close> = assert(io:open("plate", "T: f64[y,x] K; n: i64[i=3]; image: u8[y,x]; energy: f32 J", { policy = "block", timeout = 20, rank = 0, ranks = 1 }))
assert(s:block("image", { 2, 3 }, { 0, 0 }, { 2, 3 }))
local wrote = 0
for step = 0, tonumber(arg[1]) - 1 do
	local good, why = s:begin(step, step / 2)
	if good then
		-- The first step has T and n to go by.
		assert(s:put("T", { { step, 1, 2 }, { 10, 11, 12.5 } }))
		local there, reason = s:put("n", { 1, math.maxinteger, -step })
		if there and step == 20 and arg[3] then assert(io:set("limit", 0)) end
		if there then
			assert(s:put("image", string.char(0, 1, 2, 10, 11, 255)))
			assert(s:put("energy", step * 0.25))
			local ok, message = pcall(s.put, s, "image", "short")
			assert(not ok and message:find("6 bytes, the string 5", 1, true), message)
			ok, message = pcall(s.put, s, "T", { { 1, 2 }, { 3 } })
			assert(not ok and message:find("rows of different length", 1, true), message)
			assert(s:commit())
			wrote = wrote + 1
		else
			assert(reason == "skip" and step == 0, reason)
			assert(select(2, s:commit()) == "skip")
		end
	else
		assert(why == "skip", why)
	end
	if arg[2] == "slowly" then os.execute("sleep 0.02") end
end
assert(s:stats().records == wrote, wrote)
assert(s:close(20))
print(wrote)
END
cat >"$TMPDIR/short.lua" <<'END'
local io <close> = assert(require "iograph".attach())

local s = assert(io:open("short", "b: u8[x]; n: i32"))
assert(s:block("b", { 6 }, { 0 }, { 6 }))
assert(select(2, s:begin(0)) == "skip") -- but now it is known
local r <close> = assert(io:subscribe("short"))
for step = 1, 1000 do
	if s:begin(step) then
		local ok, message = pcall(s.put, s, "b", "short")
		assert(not ok and message:find("6 bytes, the string 5", 1, true), message)
		assert(s:put("n", 7))
		assert(s:commit())
		local rec = assert(r:next(20))
		assert(rec:view "n":get() == 7 and not rec:view "b")
		print "short"
		return
	end
	r:next(0.02)
end
END
cat >"$TMPDIR/read.lua" <<'END'
local io <close> = assert(require "iograph".attach())
local r <close> = assert(io:subscribe("plate", { policy = "block", timeout = 20 }))
local part <close> = assert(io:subscribe("plate", { policy = "latest", select = "T[1,1:]" }))
local n, last, kept, parts = 0, nil, nil, 0
for rec in r:steps(20) do
	local T, step = rec:view "T", rec:step()
	assert(rec:time() == step / 2 and table.concat(rec:names(), " ") == "T n image energy")
	assert(table.concat(T:shape(), " ") == "2 3" and table.concat(T:dims(), " ") == "y x" and T:unit() == "K" and T:dtype() == "f64")
	assert(T:get(0, 0) == step and T:get(0, 1) == 1 and T:get(1, 2) == 12.5)
	assert(rec:view "n":get(1) == math.maxinteger and rec:view "n":get(2) == -step)
	assert(rec:view "energy":get() == step * 0.25 and #rec:view "energy":shape() == 0)
	assert(rec:view "image":tostring() == string.char(0, 1, 2, 10, 11, 255))
	assert(string.unpack("d", T:tostring()) == step and #T:tostring() == 48)
	local ok, message = pcall(T.get, T, 2, 0)
	assert(not ok and message:find("index 2 of dimension y is outside 0..1", 1, true), message)
	assert(not rec:view "nothing")
	if kept then
		ok, message = pcall(kept.get, kept, 0, 0)
		assert(not ok and message:find("the record was released", 1, true), message)
	end
	kept, n, last = T, n + 1, step
	local other = part:next(0)
	if other then
		local v = other:view "T"
		assert(#v:shape() == 1 and v:shape()[1] == 2 and v:start()[1] == 1 and v:get(0) == 11 and v:get(1) == 12.5)
		other:release()
		parts = parts + 1
	end
end
assert(n > 0 and parts > 0 and r:stats().records >= n)
print(n, last)
END
pair() {
	agent || return 1
	timeout 60 lua5.4 "$TMPDIR/read.lua" >"$TMPDIR/read" 2>&1 &
	local reader=$! rc=0
	timeout 60 lua5.4 "$TMPDIR/write.lua" 60 slowly || rc=1
	wait $reader || rc=1
	cat "$TMPDIR/read"
	agent_end
	[ $rc = 0 ] && grep -qE '^[1-9][0-9]*	59$' "$TMPDIR/read"
}
cat >"$TMPDIR/plate.lua" <<END
local iog = require "iog"
local limit = iog.param.number { "limit", 100, min = 0, max = 100 }
iog.source.stream { "plate", schema = "T: f64[y<=2,x<=3] K; n: i64[i=3]; image: u8[y,x]; energy: f32 J" }:filter "n > limit":stats { "T", "n" }:to(
	iog.sink.table { "$TMPDIR/plate.csv", on_restart = "truncate" })
END
graph() {
	agent --load "$TMPDIR/plate.lua" --once && [ "$(timeout 60 lua5.4 "$TMPDIR/write.lua" 40 fast set)" = 40 ] && wait "$agent" &&
		"$PYTHON" - "$TMPDIR/plate.csv" <<'END'
import csv, sys
rows = list(csv.DictReader(open(sys.argv[1])))
assert [int(r["step"]) for r in rows] == list(range(40)) and all(int(r["T_count"]) == 6 for r in rows), rows
# Of 1, a large number and -step, the parameter lets one pass at first.
assert int(rows[-1]["n_count"]) == 2, rows[-1]
END
}
short() { agent || return 1; local said; said=$(timeout 60 lua5.4 "$TMPDIR/short.lua"); kill "$agent"; wait "$agent"; [ "$said" = short ]; }
lone() {
	lua5.4 - <<'END'
local iograph = require "iograph"
local io, why = iograph.attach("/no/such/agent")
assert(io == nil and why:find("no agent answers at /no/such/agent", 1, true), why)
END
}
point "one program writes, another reads" pair
point "a graph takes it, and its parameter is set" graph
point "a string that is too short leaves its variable without a value" short
point "without an agent" lone
plan
