/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vector kernels of render (part of an IOG_FREESTANDING operator), at three widths from one source. See splat.h for what they
 * promise.
 *
 * The light falls from the upper left behind the viewer: Lambert's law with an ambient part, darkened towards the rim by the slope of the
 * surface (nz (2 - nz), a soft form of the contours of Tarini, Cignoni, Montani, "Ambient occlusion and edge cueing to enhance real
 * time molecular visualization", IEEE TVCG 12 (2006) 1237): neighbours of one colour stay apart without any line being drawn.
 */
#include <immintrin.h>

#include "splat.h"

#define LIGHT_X   (-0.36f)
#define LIGHT_Y   (-0.48f)
#define LIGHT_Z   0.80f
#define AMBIENT   0.46f
#define RIM       0.36f
#define V_ROOT(x) _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x)))
enum { CELLS_EVERY = 16 };

/* ---- 128 bits: what every x86-64-v2 has ---- */
#define VB   16
#define N(n) n##_base
#define TARGET
#define V_SQRT(a)      ((vf_base)_mm_sqrt_ps((__m128)(a)))
#define V_SUBS(a, b)   ((vh_base)_mm_subs_epu16((__m128i)(a), (__m128i)(b)))
#define V_MAX(a, b)    ((vh_base)_mm_max_epu16((__m128i)(a), (__m128i)(b)))
#define V_MIN(a, b)    ((vh_base)_mm_min_epu16((__m128i)(a), (__m128i)(b)))
#define V_AVG(a, b)    ((vu_base)_mm_avg_epu8((__m128i)(a), (__m128i)(b)))
#define V_ANY(a)       (!_mm_testz_si128((__m128i)(a), (__m128i)(a)))
#define V_ANY_GT(a, b) (!_mm_testz_si128(_mm_subs_epu16((__m128i)(a), (__m128i)(b)), _mm_set1_epi16(-1)))
#define V_WIDEN(l)     ((vh_base)_mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)(const void *)&(l))))
#define V_KEEP_NEARER(z, i, zb, ib)                                                                                                        \
	do {                                                                                                                               \
		__m128i m_ = _mm_max_epu16((__m128i)(z), (__m128i)(zb)), keep_ = _mm_cmpeq_epi16(m_, (__m128i)(zb));                       \
		(z) = (vh_base)m_;                                                                                                         \
		(i) = (vh_base)_mm_blendv_epi8((__m128i)(i), (__m128i)(ib), keep_);                                                        \
	} while (0)
#define V_GATHER(t, i) gather_base(t, i)
typedef uint32_t vu4 __attribute__((vector_size(16)));
static inline vu4 gather_base(const uint32_t *t, vu4 i) { return (vu4){ t[i[0]], t[i[1]], t[i[2]], t[i[3]] }; }
#include "splat-isa.inc"

/* ---- 256 bits ---- */
#define VB             32
#define N(n)           n##_avx2
#define TARGET         __attribute__((target("avx2")))
#define V_SQRT(a)      ((vf_avx2)_mm256_sqrt_ps((__m256)(a)))
#define V_SUBS(a, b)   ((vh_avx2)_mm256_subs_epu16((__m256i)(a), (__m256i)(b)))
#define V_MAX(a, b)    ((vh_avx2)_mm256_max_epu16((__m256i)(a), (__m256i)(b)))
#define V_MIN(a, b)    ((vh_avx2)_mm256_min_epu16((__m256i)(a), (__m256i)(b)))
#define V_AVG(a, b)    ((vu_avx2)_mm256_avg_epu8((__m256i)(a), (__m256i)(b)))
#define V_ANY(a)       (!_mm256_testz_si256((__m256i)(a), (__m256i)(a)))
#define V_ANY_GT(a, b) (!_mm256_testz_si256(_mm256_subs_epu16((__m256i)(a), (__m256i)(b)), _mm256_set1_epi16(-1)))
#define V_WIDEN(l)     ((vh_avx2)_mm256_cvtepu8_epi16((__m128i)(l)))
#define V_KEEP_NEARER(z, i, zb, ib)                                                                                                        \
	do {                                                                                                                               \
		__m256i m_ = _mm256_max_epu16((__m256i)(z), (__m256i)(zb)), keep_ = _mm256_cmpeq_epi16(m_, (__m256i)(zb));                 \
		(z) = (vh_avx2)m_;                                                                                                         \
		(i) = (vh_avx2)_mm256_blendv_epi8((__m256i)(i), (__m256i)(ib), keep_);                                                     \
	} while (0)
#define V_GATHER(t, i) ((vu_avx2)_mm256_i32gather_epi32((const int *)(const void *)(t), (__m256i)(i), 4))
#include "splat-isa.inc"

/* ---- 512 bits ---- */
#define VB             64
#define N(n)           n##_avx512
#define TARGET         __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#define V_SQRT(a)      ((vf_avx512)_mm512_sqrt_ps((__m512)(a)))
#define V_SUBS(a, b)   ((vh_avx512)_mm512_subs_epu16((__m512i)(a), (__m512i)(b)))
#define V_MAX(a, b)    ((vh_avx512)_mm512_max_epu16((__m512i)(a), (__m512i)(b)))
#define V_MIN(a, b)    ((vh_avx512)_mm512_min_epu16((__m512i)(a), (__m512i)(b)))
#define V_AVG(a, b)    ((vu_avx512)_mm512_avg_epu8((__m512i)(a), (__m512i)(b)))
#define V_ANY(a)       (_mm512_test_epi32_mask((__m512i)(a), (__m512i)(a)) != 0)
#define V_ANY_GT(a, b) (_mm512_cmpgt_epu16_mask((__m512i)(a), (__m512i)(b)) != 0)
#define V_WIDEN(l)     ((vh_avx512)_mm512_cvtepu8_epi16((__m256i)(l)))
#define V_KEEP_NEARER(z, i, zb, ib)                                                                                                        \
	do {                                                                                                                               \
		__mmask32 nearer_ = _mm512_cmpgt_epu16_mask((__m512i)(z), (__m512i)(zb));                                                  \
		(z) = (vh_avx512)_mm512_max_epu16((__m512i)(z), (__m512i)(zb));                                                            \
		(i) = (vh_avx512)_mm512_mask_mov_epi16((__m512i)(ib), nearer_, (__m512i)(i));                                              \
	} while (0)
#define V_GATHER(t, i) ((vu_avx512)_mm512_i32gather_epi32((__m512i)(i), (const void *)(t), 4))
#include "splat-isa.inc"

void iog_ball_sprites(const struct iog_ball_class *c, uint32_t shift, uint32_t isa)
{
	if (isa >= IOG_ISA_AVX512)
		sprites_avx512(c, shift);
	else if (isa >= IOG_ISA_AVX2)
		sprites_avx2(c, shift);
	else
		sprites_base(c, shift);
}

void iog_tile_clear(struct iog_tile *t)
{
	memset(t->z, 0, IOG_TILE_SAMPLES * sizeof *t->z);
	memset(t->ink, 0, IOG_TILE_SAMPLES * sizeof *t->ink);
	memset(t->far, 0, sizeof t->far);
	t->least = 0;
}

void iog_tile_balls(struct iog_tile *t, const struct iog_ball *ball, const uint32_t *list, size_t n, uint32_t isa)
{
	if (isa >= IOG_ISA_AVX512)
		balls_avx512(t, ball, list, n);
	else if (isa >= IOG_ISA_AVX2)
		balls_avx2(t, ball, list, n);
	else
		balls_base(t, ball, list, n);
}

void iog_tile_resolve(
	const struct iog_tile *t, const struct iog_resolve *how, uint8_t *rgb, size_t stride, uint32_t cols, uint32_t rows, uint32_t isa)
{
	if (isa >= IOG_ISA_AVX512)
		resolve_avx512(t, how, rgb, stride, cols, rows);
	else if (isa >= IOG_ISA_AVX2)
		resolve_avx2(t, how, rgb, stride, cols, rows);
	else
		resolve_base(t, how, rgb, stride, cols, rows);
}
