/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Baselines: the code each figure is measured against, as somebody would write it by hand for that one purpose. Frozen: they change only
 * when the task they share with the operator does. Caller's thread, caller's memory.
 */
#ifndef IOG_BENCH_BASE_H
#define IOG_BENCH_BASE_H

#include <stddef.h>
#include <stdint.h>

/* op.render: particles to a picture, naive-splat.c. position[n][3], value[n], rgb[height][width][3]. */
size_t base_render_work(int width, int height, int smooth);
void base_render(uint8_t *rgb, int width, int height, int smooth, const float *position, const float *value, int64_t n,
	const double edge[3][3], const double origin[3], void *work);

/* op.filter: `x > a and x < b and type == t`; x and type apart, or x the first of three columns. Room for n elements. Returns how many were kept. */
size_t base_filter(float *restrict kept_x, int32_t *restrict kept_type, const float *restrict x, const int32_t *restrict type, size_t n,
	float a, float b, int32_t t);
size_t base_filter_rows(float *restrict kept, int32_t *restrict kept_type, const float *restrict position, const int32_t *restrict type,
	size_t n, float a, float b, int32_t t);

/* op.stats: of n values; NaN is counted and in none of the others. */
struct base_stats {
	size_t count, nan;
	double min, max, mean;
};
void base_stats(struct base_stats *s, const float *restrict v, size_t n);

/* edge.hop1, edge.hop32: n messages of 64 bytes from one thread to another, and their buffers' numbers back. */
enum { BASE_RING = 64 }; /* messages on their way, at most */
struct base_rings;
size_t base_rings_size(void);
void base_rings_send(struct base_rings *r, uint64_t n, uint32_t batch);    /* in one thread; returns when all are back */
void base_rings_receive(struct base_rings *r, uint64_t n, uint32_t batch); /* in the other */

/*
 * attach.*: slots of `bytes` in shared memory, from one process to another. The producer fills a slot where the consumer reads it; the consumer
 * gives slots back in order, by one word. Nothing is checked, nobody sleeps; who has to wait spins. Memory is zeroed at the start, begins on a
 * page, and is mapped at both sides.
 */
struct base_shm;
size_t base_shm_size(uint32_t slots, uint64_t bytes);
void base_shm_init(struct base_shm *r, uint32_t slots, uint64_t bytes);
uint8_t *base_shm_begin(struct base_shm *r); /* the next slot, when it is free */
void base_shm_commit(struct base_shm *r);
const uint8_t *base_shm_next(struct base_shm *r); /* the next slot, when it is filled */
void base_shm_release(struct base_shm *r);

#endif
