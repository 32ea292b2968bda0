-- SPDX-License-Identifier: BSD-3-Clause
local iog = require "iog"
local chain = iog.source.synthetic { atoms = 10, steps = 20 }
local level, made = { iog.source.synthetic { atoms = 10, steps = 20 } }, 2
for _ = 1, 499 do chain, made = chain:filter "x > -1e9", made + 1 end
chain:to(iog.sink.null { name = "last" })
made = made + 1
while made + 3 * #level < 990 do
	local below = {}
	for _, s in ipairs(level) do
		below[#below + 1] = s:filter "x > -1e9"
		below[#below + 1] = s:filter "x > -2e9"
		made = made + 2
	end
	level = below
end
for i, s in ipairs(level) do s:to(iog.sink.null { name = "leaf" .. i }) made = made + 1 end
-- The rest hangs on the last one, in a row.
local row = level[1]
while made < 999 do row, made = row:filter "x > -3e9", made + 1 end
row:to(iog.sink.null { name = "row" })
