/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Byte transposition of arrays, 16 elements at a time: a 16 x size matrix of bytes is transposed in registers by interleaving, as in the
 * literature on data layout for compression (Alted, "Why modern CPUs are starving", 2010). Pure functions, any thread.
 */
#include "frame.h"

/* The vectors stay in registers only when the loops over them are gone. */
#define UNROLL _Pragma("GCC unroll 8")

typedef uint8_t v16 __attribute__((vector_size(16)));

static inline v16 load(const uint8_t *p)
{
	v16 v;
	memcpy(&v, p, sizeof v);
	return v;
}
static inline void store(uint8_t *p, v16 v) { memcpy(p, &v, sizeof v); }

/* Interleave the low or high halves of a and b, byte by byte. */
static inline v16 low(v16 a, v16 b) { return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23); }
static inline v16 high(v16 a, v16 b) { return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31); }

/*
 * One step of a perfect shuffle of the `size` vectors v: seen as one string of bytes, byte i of the first half goes to 2i, byte i of the
 * second half to 2i + 1. The address of a byte has 4 + log2(size) bits; a step rotates them left by one. log2(size) steps turn
 * (byte, element) into (element, byte); 4 steps turn (element, byte) into (byte, element).
 */
static inline __attribute__((always_inline)) void riffle(v16 *v, unsigned size)
{
	v16 t[8];
	UNROLL
	for (unsigned i = 0; i < size / 2; i++) {
		t[2 * i] = low(v[i], v[i + size / 2]);
		t[2 * i + 1] = high(v[i], v[i + size / 2]);
	}
	UNROLL
	for (unsigned i = 0; i < size; i++)
		v[i] = t[i];
}

static inline __attribute__((always_inline)) void shuffle(uint8_t *restrict dst, const uint8_t *restrict src, size_t n, unsigned size)
{
	size_t i = 0;
	for (; i + 16 <= n; i += 16) {
		v16 v[8];
		UNROLL
		for (unsigned k = 0; k < size; k++)
			v[k] = load(src + i * size + 16 * k);
		UNROLL
		for (unsigned step = 0; step < 4; step++)
			riffle(v, size);
		UNROLL
		for (unsigned k = 0; k < size; k++)
			store(dst + k * n + i, v[k]);
	}
	for (; i < n; i++)
		for (unsigned k = 0; k < size; k++)
			dst[k * n + i] = src[i * size + k];
}

static inline __attribute__((always_inline)) void unshuffle(uint8_t *restrict dst, const uint8_t *restrict src, size_t n, unsigned size)
{
	size_t i = 0;
	for (; i + 16 <= n; i += 16) {
		v16 v[8];
		UNROLL
		for (unsigned k = 0; k < size; k++)
			v[k] = load(src + k * n + i);
		UNROLL
		for (unsigned step = size; step > 1; step /= 2)
			riffle(v, size);
		UNROLL
		for (unsigned k = 0; k < size; k++)
			store(dst + i * size + 16 * k, v[k]);
	}
	for (; i < n; i++)
		for (unsigned k = 0; k < size; k++)
			dst[i * size + k] = src[k * n + i];
}

void iog_bytes_shuffle(uint8_t *dst, const uint8_t *src, size_t n, unsigned elem_size)
{
	switch (elem_size) {
	case 2: shuffle(dst, src, n, 2); break;
	case 4: shuffle(dst, src, n, 4); break;
	case 8: shuffle(dst, src, n, 8); break;
	}
}

void iog_bytes_unshuffle(uint8_t *dst, const uint8_t *src, size_t n, unsigned elem_size)
{
	switch (elem_size) {
	case 2: unshuffle(dst, src, n, 2); break;
	case 4: unshuffle(dst, src, n, 4); break;
	case 8: unshuffle(dst, src, n, 8); break;
	}
}
