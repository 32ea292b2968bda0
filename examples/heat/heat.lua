-- SPDX-License-Identifier: BSD-3-Clause
-- What becomes of the steps of heat.c: a table with a row a step, and the middle layer in a small file.
local iog = require "iog"

local heat = iog.source.stream { "heat", schema = "T: f64[z=64,y=64,x=64] K" }

heat:stats { "T" }:to(iog.sink.table { "heat.csv", on_restart = "truncate" })

-- To 0.01 K, as differences from step to step, compressed.
heat:crop { box = { z = { 32, 33 } } }
    :delta { "T", quantum = 0.01 }
    :compress {}
    :to(iog.sink.record { "middle.iogr", on_restart = "truncate" })
