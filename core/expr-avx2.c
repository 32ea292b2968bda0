/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernels of expressions for AVX2. Pure, any thread.
 * Freestanding: yes
 */
#include "expr-private.h"

#include <immintrin.h>

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC target("avx2")
#endif

#define LANES   4
#define KERNELS iog_expr_avx2
#include "expr-kernels.inc"

#ifdef __clang__
#pragma clang attribute pop
#endif
