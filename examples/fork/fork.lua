-- SPDX-License-Identifier: BSD-3-Clause
-- One stream, two branches: a file that gets every record, and a picture that may miss some.
local iog = require "iog"

local md = iog.source.synthetic { atoms = 5000, steps = 200, every = 10, types = 3 }

md:to(iog.sink.h5md { "all.h5md", release = "safe" })

md:render { color = "type", width = 1280, height = 720 }
    :png {}
    :to(iog.sink.image { "view-%05d.png", number = "step", latest = "view.png", policy = "latest" })
