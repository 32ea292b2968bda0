-- SPDX-License-Identifier: BSD-3-Clause
local iog = require "iog"
-- A picture takes long; the other sink gets every record all the same, and is not held up.
local md = iog.source.synthetic { atoms = 2000, steps = 2000 }
md:to(iog.sink.null { name = "every" })
md:render { width = 1920, height = 1080 }:png { level = 6 }:to(iog.sink.null { name = "some", policy = "latest" })
