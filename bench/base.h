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
void base_render(uint8_t *rgb, int width, int height, int smooth, const float *position, const float *value, int64_t n, const double edge[3][3],
	const double origin[3], void *work);

#endif
