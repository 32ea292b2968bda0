-- SPDX-License-Identifier: BSD-3-Clause
local iog = require "iog"
local bad = iog.source.synthetic { atoms = 1000, stesp = 10 }
local worse = iog.source.synthetic { atoms = "many" }
local md = iog.source.synthetic { steps = 10 }
md:fliter "x > 1":to(iog.sink.null {})
md:filter { wehre = "x > 1" }:to(iog.sink.null {})
md:to(iog.sink.nul {})
md:filter "charge > 1":to(iog.sink.null {})
md:filter "positoin.x > 1":to(iog.sink.null {})
md:jpeg { quality = 85 }:to(iog.sink.null {})
md:filter "x > 1"
iog.sink.null {}
md:to(iog.sink.null { policy = "lastest" })
md:filter():to(iog.sink.null {})
md:crop { atmo = { 0, 10 } }:to(iog.sink.null {})
md:to(iog.sink.null { release = "safe" })
md:filter "x > 1":on "sidcore":to(iog.sink.null {})
iog.sorce.imd {}
