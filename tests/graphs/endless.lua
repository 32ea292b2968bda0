-- SPDX-License-Identifier: BSD-3-Clause
local iog = require "iog"
local out = iog.param.string { "out", "endless.iogr" }
local md = iog.source.synthetic { atoms = 1000, rate = 200 }
md:filter "zs < 0.5":to(iog.sink.record { out })
md:stats {}:to(iog.sink.null {})
