-- SPDX-License-Identifier: BSD-3-Clause
-- A slab of particles, once per record as a row of a table.
local iog = require "iog"

local md   = iog.source.synthetic { atoms = 1000, steps = 100 }
local slab = md:filter "zs > 0.4 and zs < 0.6"
slab:stats { "position", "velocity.x" }:to(iog.sink.table { "slab.csv", on_restart = "truncate" })
