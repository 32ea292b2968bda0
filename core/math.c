/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Scalar entries of the math functions: the vector code on two lanes, so that a constant folded on the host equals the value an
 * expression computes anywhere. Pure, any thread.
 * Freestanding: yes
 */
#include "math.h"

#include <stdbool.h>

#define LANES 2
#include "math-kernels.inc"

#define ONE(name)                                                                                                                          \
	double iog_##name(double x) { return v_##name(K(x))[0]; }
#define TWO(name, first, second)                                                                                                           \
	double iog_##name(double first, double second) { return v_##name(K(first), K(second))[0]; }

ONE(sqrt)
ONE(cbrt)
ONE(exp)
ONE(log)
ONE(log2)
ONE(log10)
ONE(sin)
ONE(cos)
ONE(tan)
ONE(asin)
ONE(acos)
ONE(atan)
ONE(sinh)
ONE(cosh)
ONE(tanh)
ONE(floor)
ONE(ceil)
ONE(trunc)
ONE(round)
TWO(atan2, y, x)
TWO(pow, x, y)
TWO(hypot, x, y)
TWO(mod, a, b)
