/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Baseline of op.stats: count, extremes and mean of f32, the sum in blocks of 256 with eight lanes in f64, NaN counted and left out. Plain
 * loops over the lanes that a compiler can vectorize. Caller's thread.
 */
#include "base.h"

enum { LANES = 8, BLOCK = 256 };

void base_stats(struct base_stats *s, const float *restrict v, size_t n)
{
	float lo[LANES], hi[LANES];
	size_t nan[LANES] = { 0 };
	double sum = 0;
	for (int j = 0; j < LANES; j++)
		lo[j] = __builtin_inff(), hi[j] = -__builtin_inff();
	for (size_t at = 0; at < n; at += BLOCK) {
		const size_t end = n - at < BLOCK ? n : at + BLOCK;
		double lane[LANES] = { 0 };
		size_t i = at;
		for (; i + LANES <= end; i += LANES)
			for (int j = 0; j < LANES; j++) {
				const float x = v[i + (size_t)j];
				lane[j] += x == x ? (double)x : 0;
				lo[j] = x < lo[j] ? x : lo[j];
				hi[j] = x > hi[j] ? x : hi[j];
				nan[j] += x != x;
			}
		for (int j = 0; i < end; i++, j++) {
			lane[j] += v[i] == v[i] ? (double)v[i] : 0;
			lo[j] = v[i] < lo[j] ? v[i] : lo[j];
			hi[j] = v[i] > hi[j] ? v[i] : hi[j];
			nan[j] += v[i] != v[i];
		}
		sum += ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
	}
	s->nan = 0, s->min = (double)lo[0], s->max = (double)hi[0];
	for (int j = 0; j < LANES; j++) {
		s->nan += nan[j];
		s->min = (double)lo[j] < s->min ? (double)lo[j] : s->min;
		s->max = (double)hi[j] > s->max ? (double)hi[j] : s->max;
	}
	s->count = n;
	s->mean = sum / (double)(n - s->nan);
}
