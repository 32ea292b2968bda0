/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The threads endpoints live on, io-source.c and io-sink.c: what both need. Libraries may block there; every wait has a limit, after which the thread
 * looks at its commands.
 */
#ifndef IOG_RUNTIME_HOST_IO_PRIVATE_H
#define IOG_RUNTIME_HOST_IO_PRIVATE_H

#include "engine-parts.h"

enum { LIMIT_NS = 50000000, SPIN_NS = 20000 };

/* A counter that one thread writes. */
#define COUNT(x, n) atomic_store_explicit(&(x), atomic_load_explicit(&(x), memory_order_relaxed) + (n), memory_order_relaxed)

/* The thread of rt has come there; what it wrote before is seen by who sees that. */
void iog_io_phase(struct iog_rt *rt, enum iog_phase p);

#endif
