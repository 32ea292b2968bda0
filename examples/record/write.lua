-- SPDX-License-Identifier: BSD-3-Clause
-- A small file: positions quantized, coded as differences in time, compressed. read.lua turns it back.
local iog = require "iog"

local md = iog.source.synthetic { atoms = 5000, steps = 50, every = 10 }
md:delta { quantum = 0.001, key_every = 20 }
    :compress {}
    :to(iog.sink.record { "small.iogr", on_restart = "truncate" })
