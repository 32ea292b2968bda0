-- SPDX-License-Identifier: BSD-3-Clause
local iog = require "iog"
local md = iog.source.synthetic { atoms = 32000, steps = 20, varying = true }
local slab = md:filter "zs > 0.4 and zs < 0.6"
slab:render { color = "type" }:crop { x = { 0, 640 }, y = { 0, 360 } }:jpeg { quality = 85 }:to(iog.sink.image "frame-%06d.jpg")
slab:to(iog.sink.h5md { "slab.h5", release = "safe" })
slab:stats {}:to(iog.sink.table "stats.csv")
local fast = md:filter "sqrt(vx^2 + vy^2 + vz^2) > 2.5":on "sidecore"
fast:stats { "velocity" }:on "vm":to(iog.sink.null { policy = "latest" })
