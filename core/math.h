/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Elementary functions of f64 without libm: the same bits on every target and at every instruction set level, which libm does not
 * promise. Within 2 ulp (most within 1); special values as in ISO C annex F. core/math-kernels.inc states the methods. These are the
 * scalar entries; expressions run the same code on vectors. Pure, any thread, no errno, no floating-point environment.
 */
#ifndef IOG_CORE_MATH_H
#define IOG_CORE_MATH_H

#include "base.h"

IOG_C_BEGIN

double iog_sqrt(double x);
double iog_cbrt(double x);
double iog_exp(double x);
double iog_log(double x);
double iog_log2(double x);
double iog_log10(double x);
double iog_sin(double x);
double iog_cos(double x);
double iog_tan(double x);
double iog_asin(double x);
double iog_acos(double x);
double iog_atan(double x);
double iog_atan2(double y, double x);
double iog_sinh(double x);
double iog_cosh(double x);
double iog_tanh(double x);
double iog_pow(double x, double y);
double iog_hypot(double x, double y);
double iog_floor(double x);
double iog_ceil(double x);
double iog_trunc(double x);
double iog_round(double x); /* half away from zero */
/* Lua's a % b: the remainder with the sign of b, exact before that. */
double iog_mod(double a, double b);

IOG_C_END

#endif
