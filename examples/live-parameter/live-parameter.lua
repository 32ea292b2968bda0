-- SPDX-License-Identifier: BSD-3-Clause
-- What can be set without touching the file: a text, a number with limits, a region.
local iog = require "iog"

local out   = iog.param.string { "out", "hot" }
local limit = iog.param.number { "limit", 1.5, min = 0, max = 10 }
local roi   = iog.param.region { "roi", x = { 160, 480 }, y = { 120, 360 } }

local md  = iog.source.synthetic { atoms = 5000, steps = 20, every = 10 }
local hot = md:filter "sqrt(vx^2 + vy^2 + vz^2) > limit"

hot:stats { "velocity" }:to(iog.sink.table { out .. ".csv", on_restart = "truncate" })

hot:render { color = "vx", range = { -3, 3 }, width = 640, height = 480 }
    :crop { roi }
    :jpeg {}
    :to(iog.sink.image(out .. "-%03d.jpg"))
