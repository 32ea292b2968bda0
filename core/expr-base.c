/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernels of expressions for the baseline, x86-64-v2. Pure, any thread.
 * Freestanding: yes
 */
#include "expr-private.h"

#include <immintrin.h>

#define LANES   2
#define KERNELS iog_expr_base
#include "expr-kernels.inc"
