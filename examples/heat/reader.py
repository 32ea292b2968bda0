#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Watches the simulation while it runs: one layer of T, each time the newest step. Ends with the stream, and then shows how far the heat has come.

usage: reader.py [STREAM]    IOG_SOCKET, or the usual place, is where the agent is
"""

import sys

import iograph
import numpy as np

name = sys.argv[1] if len(sys.argv) > 1 else "heat"
hottest = None

with iograph.attach() as io:
    with io.subscribe(name, select="T[:, 32, :]", policy="latest", timeout=60, idle=60) as heat:
        for rec in heat:
            T = rec["T"]  # memory of the simulation, or put together from several ranks; read-only
            print(f"step {rec.step}, {rec.time:.1f} s: {'x'.join(map(str, T.shape))} over {', '.join(T.dims)}, {T.min():.1f} to {T.max():.1f} {T.unit}")
            if hottest is None or T.max() > hottest["T"].max():
                hottest = rec.copy()  # outlives the turn
    print(f"{heat.stats.records} steps taken, {heat.stats.dropped} passed us by, {heat.stats.bytes} bytes")

if hottest is not None:
    z, x = np.unravel_index(np.argmax(hottest["T"]), hottest["T"].shape)
    print(f"the hottest cell was at z {z}, y 32, x {x} in step {hottest.step}")
