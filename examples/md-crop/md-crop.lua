-- SPDX-License-Identifier: BSD-3-Clause
-- The middle slab of a running simulation: as pictures, as numbers, and as a trajectory that survives a crash.
local iog = require "iog"

local low     = iog.param.number { "low", 0.4, min = 0, max = 1 }
local high    = iog.param.number { "high", 0.6, min = 0, max = 1 }

-- What `iog capture` publishes of LAMMPS. It says itself what it holds; the schema is for looking at the graph before.
local md   = iog.source.stream { "md", schema = "position: f64[atom<=16384,xyz]; velocity: f64[atom,xyz]; id: i32[atom]; " ..
    "type: i32[atom]; image: i32[atom,xyz]; box: f64[cell,xyz]; box_origin: f64[xyz]; static periodic: bool[xyz]" }
local slab = md:filter "zs > low and zs < high"

-- The box is nearly as wide as high: crop takes the empty margins away.
slab:render { color = "type", width = 1280, height = 960 }
    :crop { x = { 200, 1080 }, y = { 40, 920 } }
    :jpeg { quality = 85 }
    :to(iog.sink.image "out/frame-%04d.jpg")

slab:stats { "position" }:to(iog.sink.table "out/stats.csv")

slab:to(iog.sink.h5md { "out/slab.h5", release = "safe", flush = 10 })
