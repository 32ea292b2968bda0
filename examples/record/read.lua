-- SPDX-License-Identifier: BSD-3-Clause
-- Plays what write.lua wrote: every value is back within half a quantum.
local iog = require "iog"

iog.source.record "small.iogr"
    :decompress {}
    :undelta {}
    :to(iog.sink.h5md { "restored.h5md", on_restart = "truncate" })
