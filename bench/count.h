/* SPDX-License-Identifier: BSD-3-Clause */
/* Counts what a piece of code asks of libc and the kernel, from outside. */
#ifndef IOG_BENCH_COUNT_H
#define IOG_BENCH_COUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bench_counts {
	uint64_t allocations, locks, syscalls;
	char first[48]; /* what was counted first, "" */
};
/*
 * Runs work(ctx) in a forked child and counts its calls. Checks itself on a child that does a known number of each. False: why says what is
 * missing. The caller has one thread; what work changes is lost.
 */
bool bench_count(struct bench_counts *c, bool (*work)(void *ctx), void *ctx, char *why, size_t size);

#endif
