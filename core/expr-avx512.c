/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernels of expressions for AVX-512 (F, BW, DQ, VL). Pure, any thread.
 * Freestanding: yes
 */
#include "expr-private.h"

#include <immintrin.h>

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl")
#endif

#define LANES   8
#define KERNELS iog_expr_avx512
#include "expr-kernels.inc"

#ifdef __clang__
#pragma clang attribute pop
#endif
