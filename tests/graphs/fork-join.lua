-- SPDX-License-Identifier: BSD-3-Clause
local iog = require "iog"
local out = iog.param.string { "out", "fork-join.iogr" }
-- One branch drops every second record: the join must not wait for those.
local md = iog.source.synthetic { atoms = 500, steps = 200 }
local some = md:filter "step % 2 == 0"
local all = md:crop { atom = { 0, 100 } }
some:merge(all, { require = "any" }):to(iog.sink.record { out })
