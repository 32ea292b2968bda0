/* SPDX-License-Identifier: BSD-3-Clause */
/* The math functions against long double libm (errors in units of the last place) and their special values against libm. */
#include "core/math.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

static uint64_t seed = 88172645463325252u;
static uint64_t next(void)
{
	seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
	return seed;
}
static double uniform(double lo, double hi) { return lo + (hi - lo) * ((double)(next() >> 11) * 0x1p-53); }
static double any_bits(void)
{
	uint64_t u = next();
	double d;
	memcpy(&d, &u, 8);
	return d;
}

static double ulps(double got, long double want)
{
	double w = (double)want;
	if (isnan(w) || isinf(w) || isnan(got) || isinf(got))
		return (isnan(w) && isnan(got)) || w == got ? 0 : 1e9;
	double a = fabs(w), u = a < DBL_MIN ? 0x1p-1074 : nextafter(a, INFINITY) - a;
	if (isinf(u))
		u = 0x1p971;
	return (double)(fabsl((long double)got - want) / (long double)u);
}

typedef double f1(double);
typedef long double l1(long double);
static const struct one {
	const char *name;
	f1 *f;
	l1 *l;
	double lo, hi, bound;
} ones[] = {
	{ "sqrt", iog_sqrt, sqrtl, 0, 1e6, 0.501 },
	{ "cbrt", iog_cbrt, cbrtl, -1e6, 1e6, 1 },
	{ "exp", iog_exp, expl, -745, 710, 1 },
	{ "exp", iog_exp, expl, -1, 1, 1 },
	{ "log", iog_log, logl, 0, 1e3, 1 },
	{ "log", iog_log, logl, 0.6, 1.6, 1 },
	{ "log2", iog_log2, log2l, 0, 1e3, 1 },
	{ "log2", iog_log2, log2l, 0.9, 1.1, 1 },
	{ "log10", iog_log10, log10l, 0, 1e3, 1 },
	{ "log10", iog_log10, log10l, 0.9, 1.1, 1 },
	{ "sin", iog_sin, sinl, -10, 10, 1 },
	{ "sin", iog_sin, sinl, -1e6, 1e6, 1 },
	{ "sin", iog_sin, sinl, 1e5, 1e18, 1 },
	{ "cos", iog_cos, cosl, -10, 10, 1 },
	{ "cos", iog_cos, cosl, -1e7, 1e7, 1 },
	{ "tan", iog_tan, tanl, -10, 10, 2 },
	{ "tan", iog_tan, tanl, -1e9, 1e9, 2 },
	{ "asin", iog_asin, asinl, -1, 1, 2 },
	{ "acos", iog_acos, acosl, -1, 1, 2 },
	{ "atan", iog_atan, atanl, -10, 10, 2 },
	{ "sinh", iog_sinh, sinhl, -3, 3, 2 },
	{ "sinh", iog_sinh, sinhl, -720, 720, 2 },
	{ "cosh", iog_cosh, coshl, -720, 720, 2 },
	{ "cosh", iog_cosh, coshl, -3, 3, 2 },
	{ "tanh", iog_tanh, tanhl, -3, 3, 2 },
	{ "tanh", iog_tanh, tanhl, -30, 30, 2 },
	{ "floor", iog_floor, floorl, -1e6, 1e6, 0 },
	{ "ceil", iog_ceil, ceill, -1e6, 1e6, 0 },
	{ "round", iog_round, roundl, -1e3, 1e3, 0 },
	{ "trunc", iog_trunc, truncl, -1e3, 1e3, 0 },
};

static void accuracy(void **state)
{
	(void)state;
	for (size_t k = 0; k < sizeof ones / sizeof ones[0]; k++) {
		const struct one *o = &ones[k];
		double worst = 0, at = 0;
		for (int i = 0; i < 40000; i++) {
			/* half uniform, half over all magnitudes (within the domain) */
			double x = i & 1 ? uniform(o->lo, o->hi) : any_bits();
			if (!(i & 1) && (x < 0 && o->lo >= 0))
				x = -x;
			double e = ulps(o->f(x), o->l((long double)x));
			if (e > worst)
				worst = e, at = x;
		}
		if (worst > o->bound)
			fail_msg("%s(%a) = %a, not %La: %.3f ulp, bound %g", o->name, at, o->f(at), o->l((long double)at), worst, o->bound);
		printf("# %-6s %8g .. %-8g %.3f ulp\n", o->name, o->lo, o->hi, worst);
	}
}

typedef double f2(double, double);
typedef long double l2(long double, long double);
static void accuracy_of_two(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		f2 *f;
		l2 *l;
		double bound;
	} twos[] = { { "pow", iog_pow, powl, 1 }, { "hypot", iog_hypot, hypotl, 1 }, { "atan2", iog_atan2, atan2l, 2 } };
	for (size_t k = 0; k < 3; k++) {
		double worst = 0, ax = 0, ay = 0;
		for (int i = 0; i < 200000; i++) {
			double x, y;
			if (k == 0 && i % 3 == 0)
				x = exp(uniform(-300, 300)), y = uniform(-700, 700) / log(x);
			else if (k == 0 && i % 3 == 1)
				x = uniform(0.5, 2), y = uniform(-1000, 1000);
			else if (i % 3 == 2)
				x = any_bits(), y = any_bits();
			else
				x = uniform(-2, 2), y = uniform(-2, 2);
			double e = ulps(twos[k].f(x, y), twos[k].l((long double)x, (long double)y));
			if (e > worst)
				worst = e, ax = x, ay = y;
		}
		if (worst > twos[k].bound)
			fail_msg("%s(%a, %a) = %a, not %La: %.3f ulp", twos[k].name, ax, ay, twos[k].f(ax, ay),
				twos[k].l((long double)ax, (long double)ay), worst);
		printf("# %-6s %.3f ulp\n", twos[k].name, worst);
	}
}

static void same(const char *name, double x, double y, double got, double want)
{
	if (!((isnan(got) && isnan(want)) || (got == want && signbit(got) == signbit(want))))
		fail_msg("%s(%a, %a) = %a, not %a", name, x, y, got, want);
}

static void special_values(void **state)
{
	(void)state;
	static const double v[] = { 0.0, -0.0, 1, -1, 2, -2, 3, -3, 0.5, -0.5, 1.5, -1.5, 4, 8, 1e300, -1e300, 1e-300, 0x1p53, -0x1p53,
		0x1p53 + 2, 0x1p-1074, -0x1p-1074, DBL_MAX, -DBL_MAX, DBL_MIN, INFINITY, -INFINITY, NAN, 1000, 0.49999999999999994 };
	enum { N = sizeof v / sizeof v[0] };
	static f1 *const libm[] = { sqrt, floor, ceil, round, trunc }, *const ours[] = { iog_sqrt, iog_floor, iog_ceil, iog_round,
		iog_trunc };
	for (int i = 0; i < N; i++) {
		for (int k = 0; k < 5; k++)
			same("rounding", v[i], k, ours[k](v[i]), libm[k](v[i]));
		for (size_t k = 0; k < sizeof ones / sizeof ones[0]; k++) {
			double e = ulps(ones[k].f(v[i]), ones[k].l((long double)v[i]));
			if (e > 2 || (v[i] == 0 && signbit(ones[k].f(v[i])) != signbit((double)ones[k].l((long double)v[i]))))
				fail_msg("%s(%a) = %a", ones[k].name, v[i], ones[k].f(v[i]));
		}
		for (int j = 0; j < N; j++) {
			double p = pow(v[i], v[j]);
			if (ulps(iog_pow(v[i], v[j]), powl((long double)v[i], (long double)v[j])) > 1 ||
				(p == 0 && signbit(p) != signbit(iog_pow(v[i], v[j]))))
				fail_msg("pow(%a, %a) = %a, not %a", v[i], v[j], iog_pow(v[i], v[j]), p);
			if (ulps(iog_atan2(v[i], v[j]), atan2l((long double)v[i], (long double)v[j])) > 2)
				fail_msg("atan2(%a, %a) = %a, not %a", v[i], v[j], iog_atan2(v[i], v[j]), atan2(v[i], v[j]));
			if (ulps(iog_hypot(v[i], v[j]), hypotl((long double)v[i], (long double)v[j])) > 1)
				fail_msg("hypot(%a, %a) = %a, not %a", v[i], v[j], iog_hypot(v[i], v[j]), hypot(v[i], v[j]));
		}
	}
	same("log2", 8, 0, iog_log2(8), 3);
	same("log10", 1000, 0, iog_log10(1000), 3);
	same("cbrt", 27, 0, iog_cbrt(27), 3);
	same("pow", 10, 22, iog_pow(10, 22), 1e22);
}

/* a % b as Lua defines it on floats. */
static double lua_mod(double a, double b)
{
	double m = fmod(a, b);
	if (m > 0 ? b < 0 : (m < 0 && b != m && b > 0))
		m += b;
	return m;
}

static void remainder_is_exact(void **state)
{
	(void)state;
	for (int i = 0; i < 200000; i++) {
		double a = i % 2 ? uniform(-1e3, 1e3) : any_bits(), b = i % 2 ? uniform(-10, 10) : any_bits();
		if (i % 3 == 0)
			a = floor(a), b = floor(b);
		double want = lua_mod(a, b), got = iog_mod(a, b);
		if (!((isnan(got) && isnan(want)) || got == want))
			fail_msg("%a %% %a = %a, not %a", a, b, got, want);
	}
	same("mod", -1, INFINITY, iog_mod(-1, INFINITY), INFINITY);
	same("mod", 5, 0, iog_mod(5, 0), NAN);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(accuracy), cmocka_unit_test(accuracy_of_two), cmocka_unit_test(special_values),
		cmocka_unit_test(remainder_is_exact) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
