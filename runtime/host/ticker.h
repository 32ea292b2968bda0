/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A clock for every step: CLOCK_MONOTONIC, carried on by the processor's counter for a millisecond at most. 10 ns where the clock takes 23
 * (IOG_COST=1 build/tests/runtime/host/test-ticker on an EPYC core at 2.6 GHz), which is a tenth of the way of a record to a reader that spins. Off by
 * less than a microsecond, and may go back by as much: compare differences as signed numbers. Only where the kernel keeps its own time by that counter;
 * elsewhere it is the clock. One thread each.
 */
#ifndef IOG_RUNTIME_HOST_TICKER_H
#define IOG_RUNTIME_HOST_TICKER_H

#include "core/base.h"

IOG_C_BEGIN

struct iog_ticker {
	uint64_t tick, ns;   /* the last look at both */
	uint64_t rate, span; /* ns per tick, 32 bits behind the point; ticks until the next look, 0: at once */
	bool ticks;          /* the counter may be used */
};

void iog_ticker_init(struct iog_ticker *t);
uint64_t iog_ticker_look(struct iog_ticker *t);
static inline uint64_t iog_ticker_ns(struct iog_ticker *t)
{
	const uint64_t n = __builtin_ia32_rdtsc() - t->tick;
	return iog_likely(n < t->span) ? t->ns + (n * t->rate >> 32) : iog_ticker_look(t);
}

IOG_C_END

#endif
