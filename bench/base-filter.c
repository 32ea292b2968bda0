/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Baselines of op.filter: the loop a careful C programmer writes for `x > a and x < b and type == t`. Every element is stored and the
 * place only advances when it is kept, so that random data costs no mispredicted branches. Caller's thread.
 */
#include "base.h"

#include <string.h>

size_t base_filter(float *restrict kept_x, int32_t *restrict kept_type, const float *restrict x, const int32_t *restrict type, size_t n,
	float a, float b, int32_t t)
{
	size_t k = 0;
	for (size_t i = 0; i < n; i++) {
		kept_x[k] = x[i];
		kept_type[k] = type[i];
		k += (size_t)((x[i] > a) & (x[i] < b) & (type[i] == t));
	}
	return k;
}

size_t base_filter_rows(float *restrict kept, int32_t *restrict kept_type, const float *restrict position, const int32_t *restrict type,
	size_t n, float a, float b, int32_t t)
{
	size_t k = 0;
	for (size_t i = 0; i < n; i++) {
		const float x = position[3 * i];
		memcpy(kept + 3 * k, position + 3 * i, 12);
		kept_type[k] = type[i];
		k += (size_t)((x > a) & (x < b) & (type[i] == t));
	}
	return k;
}
