/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Times counted by size, for percentiles: four buckets to an octave, from a microsecond to minutes, so that a percentile is right to a fifth of its
 * value. A counter is raised by one thread and read by others. Inline, no state.
 */
#ifndef IOG_RUNTIME_HOST_LATE_H
#define IOG_RUNTIME_HOST_LATE_H

#include "core/base.h"

enum { IOG_LATE_LOW = 10 /* bits of the first bucket */, IOG_LATE_BUCKETS = 1 + 28 * 4 };

static inline uint32_t iog_late_bucket(uint64_t ns)
{
	if ((int64_t)ns < 1 << IOG_LATE_LOW) /* below 0 when the clock of who sent it is a little ahead */
		return 0;
	const uint32_t bits = 63 - (uint32_t)__builtin_clzll(ns);
	const uint32_t i = 1 + (bits - IOG_LATE_LOW) * 4 + (uint32_t)(ns >> (bits - 2) & 3);
	return i < IOG_LATE_BUCKETS ? i : IOG_LATE_BUCKETS - 1;
}
/* No time in that bucket is longer, but for the last one. */
static inline uint64_t iog_late_bound(uint32_t bucket)
{
	return bucket ? (uint64_t)(5 + (bucket - 1) % 4) << (IOG_LATE_LOW - 2 + (bucket - 1) / 4) : 1u << IOG_LATE_LOW;
}
/* A time that `part` of all that were counted do not exceed, ns; 0: none was counted. */
static inline uint64_t iog_late_percentile(const uint64_t *count, double part)
{
	uint64_t all = 0, n = 0;
	for (uint32_t i = 0; i < IOG_LATE_BUCKETS; i++)
		all += count[i];
	for (uint32_t i = 0; all && i < IOG_LATE_BUCKETS; i++)
		if ((double)(n += count[i]) >= part * (double)all)
			return iog_late_bound(i);
	return 0;
}

#endif
