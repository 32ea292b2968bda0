-- SPDX-License-Identifier: BSD-3-Clause
local iog = require "iog"
local cutoff = iog.param.number { "cutoff", 0.4, min = 0, max = 1 }
local md = iog.source.synthetic { atoms = 1000, steps = 100 }
md:filter("zs > cutoff and zs < 0.6"):to(iog.sink.null {})
md:stats { "velocity" }:to(iog.sink.null {})
