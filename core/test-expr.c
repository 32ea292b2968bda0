/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Expressions: thousands of random ones against the real Lua, over elements and constants, at every vector width; comparisons in every type
 * against exact arithmetic; reductions, boxes, blocks, messages; compaction. timeout: 120
 */
#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/expr.h"

#define SCHEMA                                                                                                                             \
	"a: f64[i<=2000]; b: f32[i]; n: i32[i]; k: u8[i]; position: f64[i,xyz]; flag: bool[i]; big: i64[i]; huge: u64[i]; h: f16[i];"      \
	"grid: f32[row=5,i]; q: f64; on: bool; box: f64[cell,xyz]; box_origin: f64[xyz]; dipole: f32[xyz]"
enum { A, B, COUNT_N, SMALL, POSITION, FLAG, BIG, HUGE_U, HALF, GRID, Q, ON, BOX, ORIGIN, DIPOLE, VARS, N = 700 };

static struct iog_schema schema;
static struct iog_record rec;
static struct iog_block block[VARS];
static uint8_t *data[VARS];
static struct iog_expr_run *run;
static const struct iog_live live[] = { { "limit", 2.5 }, { "viewer.lo", -1 } };

static uint64_t seed = 88172645463325252u;
static uint32_t rnd(uint32_t n)
{
	seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
	return (uint32_t)((seed >> 33) % n);
}
static uint32_t isa_max(void)
{
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
		__builtin_cpu_supports("avx512vl"))
		return IOG_ISA_AVX512;
	return __builtin_cpu_supports("avx2") ? IOG_ISA_AVX2 : IOG_ISA_BASE;
}

static int setup(void **unused)
{
	(void)unused;
	static const double odd[] = { 0, -0.0, NAN, INFINITY, -INFINITY, 1, -1, 0.5, 1e300, 3, 2, 0.1 };
	struct iog_err err;
	if (iog_schema_parse(&schema, SCHEMA, &err)) {
		fprintf(stderr, "%s\n", err.text);
		return -1;
	}
	run = aligned_alloc(64, iog_expr_run_size());
	rec.schema = &schema, rec.step = 12, rec.time = 0.25;
	for (unsigned d = 0; d < schema.n_dims; d++)
		rec.axis[d] = (struct iog_axis){ schema.dim[d].fixed ? schema.dim[d].max : N, 0, 1 };
	for (unsigned v = 0; v < VARS; v++) {
		const struct iog_vardef *def = &schema.var[v];
		const uint32_t size = iog_dtype_size(def->dtype);
		for (unsigned d = 0; d < def->rank; d++)
			block[v].count[d] = rec.axis[def->dim[d]].extent;
		uint64_t bytes = iog_block_set_dense(&block[v], def->rank, size);
		block[v].data = data[v] = malloc(bytes);
		for (uint64_t i = 0; i < bytes / size; i++) {
			double x = rnd(4) ? (double)((int)rnd(2001) - 1000) / 64 : odd[rnd(IOG_COUNT(odd))];
			iog_store(data[v] + i * size, def->dtype,
				v == BIG || v == HUGE_U ? (double)rnd(1000)
				: v == FLAG || v == ON  ? rnd(2)
							: x);
		}
		rec.var[v] = (struct iog_var){ .block = &block[v], .n_blocks = 1 };
	}
	static const double box[9] = { 10, 0, 0, 3, 20, 0, -1, 2, 5 }, origin[3] = { -5, 1, 2 }, q = 1.5;
	memcpy(data[BOX], box, sizeof box), memcpy(data[ORIGIN], origin, sizeof origin), memcpy(data[Q], &q, 8);
	data[ON][0] = 1;
	return 0;
}
static int teardown(void **unused)
{
	(void)unused;
	for (unsigned v = 0; v < VARS; v++)
		free(data[v]);
	free(run);
	return 0;
}

static void compile(struct iog_expr *e, const char *text)
{
	struct iog_err err = { "" };
	if (iog_expr_compile(e, text, &schema, live, IOG_COUNT(live), IOG_WANT_ANY, &err))
		fail_msg("%s: %s", text, err.text);
	assert_true(iog_expr_valid(e, &schema));
}
static void bind(const struct iog_expr *e, uint32_t isa) { assert_int_equal(iog_expr_bind(run, e, &rec, 0, isa), IOG_OK); }
/* All elements of a bound program. */
static void all_values(double *out)
{
	for (int64_t at = 0; at < iog_expr_elems(run); at += IOG_EXPR_BLOCK)
		iog_expr_values(run, at, (uint32_t)IOG_MIN(iog_expr_elems(run) - at, IOG_EXPR_BLOCK), out + at);
}
static double record_value(const char *text)
{
	struct iog_expr e;
	compile(&e, text);
	assert_int_equal(e.scope, IOG_SCOPE_RECORD);
	double v = 0;
	for (uint32_t isa = 0; isa <= isa_max(); isa++) {
		bind(&e, isa);
		double w = iog_expr_value(run);
		if (isa && memcmp(&v, &w, 8))
			fail_msg("%s: %.17g at level %u, %.17g below", text, w, isa, v);
		v = w;
	}
	return v;
}
static double element(unsigned v, int64_t i, int64_t j)
{
	return iog_load(data[v] + i * block[v].stride[0] + (schema.var[v].rank > 1 ? j * block[v].stride[1] : 0), schema.var[v].dtype);
}
static bool same(double a, double b) { return a == b || (isnan(a) && isnan(b)); }

/* ---- Lua ---- */

struct text {
	char ours[2000], lua[2000];
};
__attribute__((format(printf, 2, 3))) static void put(struct text *t, const char *fmt, ...)
{
	va_list ap;
	size_t n = strlen(t->ours), m = strlen(t->lua);
	va_start(ap, fmt);
	vsnprintf(t->ours + n, sizeof t->ours - n, fmt, ap);
	va_end(ap);
	va_start(ap, fmt);
	vsnprintf(t->lua + m, sizeof t->lua - m, fmt, ap);
	va_end(ap);
}
static void put_if(struct text *t) { strcat(t->ours, "if"), strcat(t->lua, "choose"); }

static void number(struct text *t, int depth, bool constant);
static void condition(struct text *t, int depth, bool constant)
{
	static const char *const cmp[] = { "<", ">", "<=", ">=", "==", "~=" };
	switch (rnd(depth > 0 ? 7 : 2)) {
	case 0:
	case 1: number(t, depth - 2, constant), put(t, " %s ", cmp[rnd(6)]), number(t, depth - 2, constant); break;
	case 2:
		put(t, "("), condition(t, depth - 1, constant), put(t, rnd(2) ? ") and " : ") or "), condition(t, depth - 1, constant);
		break;
	case 3: put(t, "not ("), condition(t, depth - 1, constant), put(t, ")"); break;
	case 4: condition(t, depth - 1, constant), put(t, rnd(2) ? " and " : " or "), condition(t, depth - 1, constant); break;
	case 5: put(t, "("), condition(t, depth - 1, constant), put(t, ") == ("), condition(t, depth - 1, constant), put(t, ")"); break;
	default: put(t, constant ? "true" : "flag"); break;
	}
}
static void number(struct text *t, int depth, bool constant)
{
	static const char *const vars[] = { "a", "b", "n", "k", "x", "y", "z", "h", "q" }, *const ops[] = { "+", "-", "*", "/", "//", "%" };
	static const char *const calls[] = { "sqrt", "abs", "floor", "ceil" }, *const pairs[] = { "min", "max" };
	static const char *const numbers[] = { "0.5", "2.0", "3.0", "0.1", "1e3", ".25", "1e300", "7.0", "0.0" };
	if (depth <= 0 || !rnd(5)) {
		if (constant || !rnd(3))
			put(t, "%s", numbers[rnd(IOG_COUNT(numbers))]);
		else
			put(t, "%s", vars[rnd(IOG_COUNT(vars))]);
		return;
	}
	switch (rnd(8)) {
	case 0: put(t, "-"), number(t, depth - 1, constant); break;
	case 1: put(t, "%s(", calls[rnd(4)]), number(t, depth - 1, constant), put(t, ")"); break;
	case 2:
		put(t, "%s(", pairs[rnd(2)]), number(t, depth - 1, constant), put(t, ", "), number(t, depth - 1, constant), put(t, ")");
		break;
	case 3:
		put_if(t), put(t, "("), condition(t, depth - 1, constant), put(t, ", "), number(t, depth - 1, constant), put(t, ", "),
			number(t, depth - 1, constant);
		put(t, ")");
		break;
	case 4:
		put(t, "("), number(t, depth - 1, constant), put(t, ")"), put(t, " %s ", ops[rnd(6)]), put(t, "("),
			number(t, depth - 1, constant), put(t, ")");
		break;
	case 5: number(t, 0, constant), put(t, "^2.0"); break;
	default: number(t, depth - 1, constant), put(t, " %s ", ops[rnd(6)]), number(t, depth - 1, constant); break;
	}
}

/* The page's rule, which also says which of two zeros it is. */
static double smaller(double a, double b) { return a < b || isnan(b) ? a : b; }
static double larger(double a, double b) { return a > b || isnan(b) ? a : b; }
#define LIBM1(name)                                                                                                                        \
	static int of_##name(lua_State *L)                                                                                                 \
	{                                                                                                                                  \
		lua_pushnumber(L, name(luaL_checknumber(L, 1)));                                                                           \
		return 1;                                                                                                                  \
	}
#define LIBM2(name)                                                                                                                        \
	static int of_##name(lua_State *L)                                                                                                 \
	{                                                                                                                                  \
		lua_pushnumber(L, name(luaL_checknumber(L, 1), luaL_checknumber(L, 2)));                                                   \
		return 1;                                                                                                                  \
	}
/* clang-format off */
LIBM1(sqrt) LIBM1(fabs) LIBM1(floor) LIBM1(ceil) LIBM1(exp) LIBM1(log) LIBM1(sin) LIBM1(cos) LIBM1(tan) LIBM1(atan) LIBM1(tanh) LIBM1(cbrt) LIBM1(log2)
LIBM1(log10) LIBM1(asin) LIBM1(acos) LIBM1(sinh) LIBM1(cosh) LIBM1(round)
LIBM2(smaller) LIBM2(larger) LIBM2(pow) LIBM2(atan2) LIBM2(hypot)
	/* clang-format on */
	static int of_choose(lua_State *L)
{
	lua_pushvalue(L, lua_toboolean(L, 1) ? 2 : 3);
	return 1;
}

static lua_State *lua_open(void)
{
	static const luaL_Reg f[] = { { "sqrt", of_sqrt }, { "abs", of_fabs }, { "floor", of_floor }, { "ceil", of_ceil },
		{ "exp", of_exp }, { "log", of_log }, { "sin", of_sin }, { "cos", of_cos }, { "tan", of_tan }, { "atan", of_atan },
		{ "tanh", of_tanh }, { "cbrt", of_cbrt }, { "log2", of_log2 }, { "log10", of_log10 }, { "asin", of_asin },
		{ "acos", of_acos }, { "sinh", of_sinh }, { "cosh", of_cosh }, { "round", of_round }, { "min", of_smaller },
		{ "max", of_larger }, { "pow", of_pow }, { "atan2", of_atan2 }, { "hypot", of_hypot }, { "choose", of_choose } };
	lua_State *L = luaL_newstate();
	for (size_t i = 0; i < IOG_COUNT(f); i++)
		lua_register(L, f[i].name, f[i].func);
	lua_pushnumber(L, 1.5);
	lua_setglobal(L, "q");
	return L;
}
static void set_element(lua_State *L, int64_t i)
{
	static const struct {
		const char *name;
		uint8_t var, component;
	} all[] = { { "a", A, 0 }, { "b", B, 0 }, { "n", COUNT_N, 0 }, { "k", SMALL, 0 }, { "x", POSITION, 0 }, { "y", POSITION, 1 },
		{ "z", POSITION, 2 }, { "h", HALF, 0 } };
	for (size_t v = 0; v < IOG_COUNT(all); v++) {
		lua_pushnumber(L, element(all[v].var, i, all[v].component));
		lua_setglobal(L, all[v].name);
	}
	lua_pushboolean(L, element(FLAG, i, 0) != 0);
	lua_setglobal(L, "flag");
}
/* The chunk on top of the stack, which stays. */
static double lua_value(lua_State *L, const char *text)
{
	lua_pushvalue(L, -1);
	if (lua_pcall(L, 0, 1, 0))
		fail_msg("lua: %s: %s", text, lua_tostring(L, -1));
	double v = lua_isboolean(L, -1) ? lua_toboolean(L, -1) : lua_tonumber(L, -1);
	lua_pop(L, 1);
	return v;
}

static void against_lua(void **unused)
{
	(void)unused;
	static double values[3][N];
	lua_State *L = lua_open();
	int made = 0, elements = 0;
	for (int round = 0; round < 12000; round++) {
		struct text t = { "", "return " };
		const bool constant = round % 5 == 0;
		if (round % 2)
			number(&t, 4, constant);
		else
			condition(&t, 4, constant);
		if (strlen(t.ours) >= IOG_TEXT || strstr(t.ours, "--"))
			continue;
		struct iog_expr e;
		struct iog_err err;
		int rc = iog_expr_compile(&e, t.ours, &schema, NULL, 0, IOG_WANT_ANY, &err);
		if (rc && strstr(err.text, "do not chain"))
			continue;
		if (rc)
			fail_msg("%s: %s", t.ours, err.text);
		assert_true(iog_expr_valid(&e, &schema));
		if (luaL_loadstring(L, t.lua))
			fail_msg("lua: %s", lua_tostring(L, -1));
		made++;
		for (uint32_t isa = 0; isa <= isa_max(); isa++) {
			bind(&e, isa);
			if (e.scope == IOG_SCOPE_RECORD)
				values[isa][0] = iog_expr_value(run);
			else
				all_values(values[isa]);
		}
		const bool per_element = e.scope == IOG_SCOPE_ELEMENT;
		for (int k = 0; k < (per_element ? 12 : 1); k++) {
			const int64_t i = per_element ? rnd(N) : 0;
			set_element(L, i);
			double want = lua_value(L, t.lua);
			for (uint32_t isa = 0; isa <= isa_max(); isa++)
				if (!same(values[isa][i], want))
					fail_msg("%s: element %ld, level %u: %.17g, Lua says %.17g", t.ours, (long)i, isa, values[isa][i],
						want);
		}
		elements += per_element;
		/* every lane the same bits at every level */
		for (uint32_t isa = 1; isa <= isa_max() && per_element; isa++)
			for (int i = 0; i < N; i++)
				if (memcmp(&values[0][i], &values[isa][i], 8) && !isnan(values[0][i]))
					fail_msg("%s: element %d differs at level %u", t.ours, i, isa);
		lua_pop(L, 1);
	}
	printf("# %d expressions, %d of them over elements\n", made, elements);
	assert_true(made > 8000 && elements > 4000);
	lua_close(L);
}

/* Functions that libm does not round exactly: within 4 units, and the same bits at every level. */
static void functions(void **unused)
{
	(void)unused;
	static const char *const texts[] = { "exp(b)", "log(abs(b))", "sin(b)", "cos(b)", "tan(b)", "atan(b)", "tanh(b)", "cbrt(b)",
		"log2(abs(b))", "log10(abs(b))", "asin(b / 16)", "acos(b / 16)", "sinh(b)", "cosh(b)", "abs(b)^a", "pow(b, n)",
		"atan2(b, y)", "hypot(b, y)", "b ^ 3.0", "round(b)", "2.0 ^ b", "-b ^ 2.0" };
	static double values[3][N];
	lua_State *L = lua_open();
	for (size_t k = 0; k < IOG_COUNT(texts); k++) {
		char chunk[100];
		struct iog_expr e;
		compile(&e, texts[k]);
		for (uint32_t isa = 0; isa <= isa_max(); isa++) {
			bind(&e, isa);
			all_values(values[isa]);
		}
		snprintf(chunk, sizeof chunk, "return %s", texts[k]);
		assert_int_equal(luaL_loadstring(L, chunk), 0);
		for (int i = 0; i < N; i++) {
			set_element(L, i);
			double want = lua_value(L, chunk), got = values[0][i];
			if (!same(want, got) && !(fabs(want - got) <= 4 * (nextafter(fabs(want), INFINITY) - fabs(want))))
				fail_msg("%s: element %d (b = %.17g): %.17g, Lua says %.17g", texts[k], i, element(B, i, 0), got, want);
			for (uint32_t isa = 1; isa <= isa_max(); isa++)
				if (memcmp(&values[0][i], &values[isa][i], 8) && !isnan(got))
					fail_msg("%s: element %d differs at level %u", texts[k], i, isa);
		}
		lua_pop(L, 1);
	}
	lua_close(L);
}

/* ---- exact comparisons ---- */

static void comparisons_in_every_type(void **unused)
{
	(void)unused;
	static const char *const ops[] = { "<", ">", "<=", ">=", "==", "~=" };
	static const struct {
		const char *text;
		double d;
		bool exact;
		__int128 i;
	} consts[] = { { "0", 0, true, 0 }, { "-1", -1, true, -1 }, { "0.1", 0.1, false, 0 }, { "-0.5", -0.5, false, 0 },
		{ "127", 127, true, 127 }, { "255.5", 255.5, false, 0 }, { "1e30", 1e30, false, 0 }, { "-1e300", -1e300, false, 0 },
		{ "9007199254740993", 9007199254740992.0, true, 9007199254740993 },
		{ "-9007199254740993", -9007199254740992.0, true, -9007199254740993 },
		{ "18446744073709551615", 0x1p64, true, (__int128)UINT64_MAX },
		{ "9223372036854775807", 0x1p63, true, (__int128)INT64_MAX },
		{ "-9223372036854775807 - 1", -0x1p63, true, (__int128)INT64_MIN }, { "3.4028235e38", 3.4028235e38, false, 0 },
		{ "1e-45", 1e-45, false, 0 }, { "16777217", 16777217, true, 16777217 },
		{ "0x7fffffffffffffff + 1", 0x1p63, true, (__int128)INT64_MAX + 1 }, { "1e999", INFINITY, false, 0 },
		{ "0/0", NAN, false, 0 }, { "-1e999", -INFINITY, false, 0 } };
	static const struct {
		const char *name;
		uint8_t var;
	} vars[] = { { "a", A }, { "b", B }, { "n", COUNT_N }, { "k", SMALL }, { "big", BIG }, { "huge", HUGE_U }, { "h", HALF } };
	static const uint64_t ints[] = { 0, 1, 2, 126, 127, 128, 255, (uint64_t)-1, (uint64_t)-127, 9007199254740992, 9007199254740993,
		9007199254740994, (uint64_t)INT64_MAX, (uint64_t)INT64_MIN, (uint64_t)-9007199254740993, UINT64_MAX - 1, 16777217 };
	static const double reals[] = { 0, -0.0, 0.1, -0.5, 255.5, INFINITY, -INFINITY, NAN, 1e30, 16777216, 16777218, 1e-45,
		3.4028234663852886e38, 127, -1 };
	for (size_t v = 0; v < IOG_COUNT(vars); v++) {
		const unsigned dt = schema.var[vars[v].var].dtype, size = iog_dtype_size(dt);
		uint8_t keep[sizeof ints * 4];
		const bool integer = dt >= IOG_I8 && dt <= IOG_U64;
		const size_t n = integer ? IOG_COUNT(ints) : IOG_COUNT(reals) + 2;
		memcpy(keep, data[vars[v].var], n * size);
		for (size_t i = 0; i < n; i++) {
			uint8_t *p = data[vars[v].var] + i * size;
			if (integer)
				memcpy(p, &ints[i], size);
			else
				iog_store(p, dt, i < IOG_COUNT(reals) ? reals[i] : 0.1);
			float next = nextafterf(0.1f, i == IOG_COUNT(reals) ? 0 : 1);
			if (dt == IOG_F32 && i >= IOG_COUNT(reals))
				memcpy(p, &next, 4);
		}
		for (size_t c = 0; c < IOG_COUNT(consts); c++)
			for (int turned = 0; turned < 2; turned++)
				for (int op = 0; op < 6; op++) {
					char text[100];
					struct iog_expr e;
					uint8_t mask[IOG_EXPR_BLOCK];
					snprintf(text, sizeof text, turned ? "(%s) %s %s" : "%s %s %s",
						turned ? consts[c].text : vars[v].name, ops[op], turned ? vars[v].name : consts[c].text);
					compile(&e, text);
					for (uint32_t isa = 0; isa <= isa_max(); isa++) {
						bind(&e, isa);
						iog_expr_mask(run, 0, IOG_EXPR_BLOCK, mask);
						for (size_t i = 0; i < n; i++) {
							int order; /* of variable and constant; 2: none */
							const uint8_t *p = data[vars[v].var] + i * size;
							if (integer) {
								int64_t s = 0;
								uint64_t u = 0;
								memcpy(&s, p, size), memcpy(&u, p, size);
								__int128 x = dt == IOG_I32 ? (int32_t)s : dt == IOG_I64 ? s : (__int128)u;
								long double y = consts[c].exact ? (long double)consts[c].i
												: (long double)consts[c].d;
								order = isnan(y) ? 2 : (long double)x < y ? -1 : (long double)x > y;
							} else {
								double x = iog_load(p, dt), y = consts[c].d;
								order = isnan(x) || isnan(y) ? 2 : x < y ? -1 : x > y;
							}
							if (turned && order != 2)
								order = -order;
							const bool want[] = { order == -1, order == 1, order == -1 || order == 0,
								order == 1 || order == 0, order == 0, order != 0 };
							if (mask[i] != want[op])
								fail_msg("%s: element %zu at level %u is %d", text, i, isa, mask[i]);
						}
					}
				}
		memcpy(data[vars[v].var], keep, n * size);
	}
}

/* Intervals on one variable are merged; the result must not show it. */
static void intervals(void **unused)
{
	(void)unused;
	static const char *const texts[] = { "b > -3 and b < 4 and n == 2", "n >= -5 and k < 9 and n < 7 and n ~= 0", "b > 1 and b < -1",
		"not (b > 1 and b < 3)", "(a > 0 or a < -5) and a < 3", "a >= 0.5 and not (a >= 2)", "if(b > 1, b < 5, b > -5)",
		"flag and b > 0", "flag == (b > 0)", "on and b > 0" };
	lua_State *L = lua_open();
	lua_pushboolean(L, 1);
	lua_setglobal(L, "on");
	for (size_t k = 0; k < IOG_COUNT(texts); k++) {
		struct iog_expr e;
		char chunk[200];
		compile(&e, texts[k]);
		bind(&e, isa_max());
		static double values[N];
		all_values(values);
		snprintf(chunk, sizeof chunk, "return %s%s", strncmp(texts[k], "if", 2) ? "" : "choose",
			texts[k] + (strncmp(texts[k], "if", 2) ? 0 : 2));
		assert_int_equal(luaL_loadstring(L, chunk), 0);
		for (int i = 0; i < N; i++) {
			set_element(L, i);
			if (values[i] != lua_value(L, chunk))
				fail_msg("%s: element %d is %g", texts[k], i, values[i]);
		}
		lua_pop(L, 1);
	}
	struct iog_expr e;
	compile(&e, "b > -3 and n == 2 and b < 4");
	assert_int_equal(e.n_ranges, 2);
	lua_close(L);
}

/* ---- record scope ---- */

static double blocked_sum(const uint8_t *p, int64_t stride, unsigned dt, int64_t n)
{
	double sum = 0;
	for (int64_t at = 0; at < n; at += 256) {
		double l[8] = { 0 };
		for (int64_t i = at; i < n && i < at + 256; i++)
			l[i % 8] += iog_load(p + i * stride, dt);
		sum += ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]));
	}
	return sum;
}

static void record_scope(void **unused)
{
	(void)unused;
	double lo = INFINITY, hi = -INFINITY, count = 0, flags = 0;
	for (int i = 0; i < N; i++) {
		lo = fmin(lo, element(B, i, 0)), hi = fmax(hi, element(B, i, 0));
		count += element(B, i, 0) > 1, flags += element(FLAG, i, 0);
	}
	assert_true(record_value("min(b)") == lo && record_value("max(b)") == hi);
	assert_true(record_value("count(b > 1)") == count && record_value("count(b)") == N && record_value("sum(flag)") == flags);
	assert_true(record_value("mean(b > 1)") == count / N);
	assert_true(record_value("any(b > 1)") == 1 && record_value("all(b > 1)") == 0 && record_value("all(n == n)") == 1 &&
		    record_value("any(big < 0)") == 0);
	assert_true(record_value("sum(n)") == blocked_sum(data[COUNT_N], 4, IOG_I32, N));
	assert_true(record_value("mean(k)") == blocked_sum(data[SMALL], 1, IOG_U8, N) / N);
	assert_true(isnan(record_value("sum(b)"))); /* it has NaN */
	assert_true(record_value("count(b > mean(k) - 5)") > 0);
	assert_true(record_value("max(min(k, 3)) // 2 + 0.5") == 1.5);
	assert_true(
		record_value("q") == 1.5 && record_value("q * 2 == 3") == 1 && record_value("step") == 12 && record_value("time") == 0.25);
	assert_true(record_value("limit + viewer.lo") == 1.5 && record_value("pi") == 3.141592653589793 && record_value("not on") == 0);
	assert_true(record_value("dipole.y") == element(DIPOLE, 1, 0) || isnan(record_value("dipole.y")));
	assert_true(record_value("box.lx") == 10 && record_value("box.ly") == 20 && record_value("box.lz") == 5 &&
		    record_value("box.xlo") == -5);
	assert_true(
		record_value("box.zhi") == 7 && record_value("box.xy") == 3 && record_value("box.xz") == -1 && record_value("box.yz") == 2);
	assert_true(record_value("box.volume") == 1000 && record_value("count(grid > 1e9)") >= 0);
	assert_true(
		record_value("2 + 3 * 2 ^ 3 ^ 0 - -1") == 9 && record_value("-2 ^ 2") == -4 && record_value("7 // 2 + 7 % -4 + 1e1") == 12);
	assert_true(record_value("clamp(7, 1, 3)") == 3 && record_value("if(1 < 2, 5, 6)") == 5 && record_value("sign(-3)") == -1 &&
		    record_value("min(4, 2, 3)") == 2);
}

/* Reductions and elements do not depend on how ranks cut the variables, nor on strides. */
static void blocks_and_strides(void **unused)
{
	(void)unused;
	static struct iog_block cut[2][3], wide;
	static const int64_t from[] = { 500, 0, 77 }, to[] = { N, 77, 500 };
	struct iog_record whole = rec;
	const double sum = record_value("sum(n + k)"), scaled = record_value("count(xs > 0.1 and b < 2)");
	static double straight[N], parts[N];
	struct iog_expr e;
	compile(&e, "x + n * 2");
	bind(&e, isa_max());
	all_values(straight);
	for (unsigned v = 0; v < 2; v++) {
		const unsigned var = v ? POSITION : COUNT_N;
		for (unsigned k = 0; k < 3; k++) {
			cut[v][k] = block[var];
			cut[v][k].start[0] = from[k], cut[v][k].count[0] = to[k] - from[k],
			cut[v][k].data += from[k] * block[var].stride[0];
		}
		rec.var[var] = (struct iog_var){ .block = cut[v], .n_blocks = 3 };
	}
	assert_true(record_value("sum(n + k)") == sum && record_value("count(xs > 0.1 and b < 2)") == scaled);
	assert_int_equal(iog_expr_blocks(&e, &rec), 3);
	bind(&e, 0);
	for (uint32_t k = 0; k < 3; k++) {
		assert_int_equal(iog_expr_rebind(run, k), IOG_OK);
		assert_int_equal(iog_expr_start(run, 0), from[k]);
		all_values(parts + from[k]);
	}
	assert_memory_equal(straight, parts, sizeof parts);
	assert_int_equal(iog_expr_rebind(run, 3), IOG_BAD_INPUT);
	rec.var[COUNT_N].n_blocks = 0;
	assert_int_equal(iog_expr_bind(run, &e, &rec, 0, 0), IOG_BAD_INPUT);
	rec = whole;

	/* a grid seen backwards along its fast dimension, every element at its place */
	wide = block[GRID];
	wide.data += (N - 1) * wide.stride[1], wide.stride[1] = -wide.stride[1];
	rec.var[GRID].block = &wide;
	compile(&e, "grid * 1");
	static double turned[5 * N];
	for (uint32_t isa = 0; isa <= isa_max(); isa++) {
		bind(&e, isa);
		assert_int_equal(iog_expr_elems(run), 5 * N);
		all_values(turned);
		for (int64_t i = 0; i < 5; i++)
			for (int64_t j = 0; j < N; j++)
				assert_true(same(turned[i * N + j], element(GRID, i, N - 1 - j)));
	}
	rec = whole;
}

static void scaled_coordinates(void **unused)
{
	(void)unused;
	static double s[3][N];
	static const char *const names[] = { "xs", "ys", "zs" };
	for (int d = 0; d < 3; d++) {
		struct iog_expr e;
		compile(&e, names[d]);
		bind(&e, isa_max());
		all_values(s[d]);
		assert_true(iog_expr_reads(&e) == (1u << POSITION | 1u << BOX | 1u << ORIGIN));
	}
	/* position = origin + xs a + ys b + zs c */
	static const double box[3][3] = { { 10, 0, 0 }, { 3, 20, 0 }, { -1, 2, 5 } }, origin[] = { -5, 1, 2 };
	int checked = 0;
	for (int i = 0; i < N; i++)
		for (int d = 0; d < 3; d++) {
			double p = origin[d] + s[0][i] * box[0][d] + s[1][i] * box[1][d] + s[2][i] * box[2][d],
			       want = element(POSITION, i, d);
			if (!(fabs(element(POSITION, i, 0)) < 100 && fabs(element(POSITION, i, 1)) < 100 &&
				    fabs(element(POSITION, i, 2)) < 100))
				continue; /* the odd values */
			if (fabs(p - want) > 1e-10)
				fail_msg("atom %d, axis %d: %.17g, not %.17g", i, d, p, want);
			checked++;
		}
	assert_true(checked > N);
}

/* What the first piece knew serves the later ones. */
static void kept_for_pieces(void **unused)
{
	(void)unused;
	struct iog_expr e;
	struct iog_expr_kept kept;
	static double first[N], later[N];
	compile(&e, "if(on, xs + q * sin(q), 0)");
	bind(&e, 0);
	all_values(first);
	iog_expr_keep(run, &kept);
	struct iog_record whole = rec;
	rec.var[Q].n_blocks = rec.var[ON].n_blocks = rec.var[BOX].n_blocks = rec.var[ORIGIN].n_blocks = 0;
	assert_int_equal(iog_expr_bind(run, &e, &rec, 0, 0), IOG_BAD_INPUT);
	assert_int_equal(iog_expr_resume(run, &e, &rec, &kept, 0, isa_max()), IOG_OK);
	all_values(later);
	for (int i = 0; i < N; i++)
		assert_true(same(first[i], later[i]));
	rec = whole;
}

/* ---- messages ---- */

static void messages(void **unused)
{
	(void)unused;
	static const struct {
		const char *text, *says;
	} cases[] = {
		{ "", "it is empty" },
		{ "tpye == 2", "unknown name \"tpye\" at column 1" },
		{ "a > 0 and flagg", "unknown name \"flagg\" at column 11; did you mean \"flag\"?" },
		{ "sqr(a) > 1", "unknown function \"sqr\" at column 1; did you mean \"sqrt\"?" },
		{ "sqrt > 1", "\"sqrt\" is a function at column 1; write sqrt(...)" },
		{ "0 < a < 1", "comparisons do not chain at column 7; write a < b and b < c" },
		{ "a == \"x\"", "there are no strings here" },
		{ "a != 1", "unexpected != at column 3; \"not equal\" is written ~=" },
		{ "a && b", "write \"and\"" },
		{ "a = 1", "\"equal\" is written ==" },
		{ "a +", "ends where a value is expected at column 4" },
		{ "(a + 1", "expected ) for the ( at column 1 at column 7" },
		{ "a 1", "expected an operator or the end, got \"1\" at column 3" },
		{ "a and b > 1", "and needs a condition, this is a number at column 1; write a comparison such as ... > 0" },
		{ "flag + 1", "+ needs a number, this is a condition at column 1; if(condition, 1, 0)" },
		{ "a + grid", "the two sides range over different dimensions, [i] and [row,i] at column 3; reduce one of them" },
		{ "max(q)", "max of one argument needs a value per element" },
		{ "atan2(a)", "atan2 takes 2 arguments, got 1" },
		{ "sqrt(a, b)", "too many arguments of sqrt, it takes 1" },
		{ "1..2", "malformed number \"1..2\"" },
		{ "3x > 1", "malformed number \"3x\"" },
		{ "any(a)", "any needs a condition" },
		{ "a > 1 $", "unexpected character \"$\" at column 7" },
		{ "a > 1;", "unexpected character \";\" at column 6" },
		{ "a > 1; a < 2", "unexpected character \";\" at column 6" },
		{ "if(a, 1, 2)", "the first argument of if needs a condition" },
		{ "box.lq", "did you mean \"box.l" },
		{ "a[1]", "a component is written position.x" },
	};
	for (size_t i = 0; i < IOG_COUNT(cases); i++) {
		struct iog_expr e;
		struct iog_err err = { "" };
		if (iog_expr_compile(&e, cases[i].text, &schema, live, IOG_COUNT(live), IOG_WANT_ANY, &err) != -EINVAL ||
			!strstr(err.text, cases[i].says))
			fail_msg("%s: \"%s\" does not say \"%s\"", cases[i].text, err.text, cases[i].says);
		assert_non_null(strstr(err.text, "expression: "));
	}
	char deep[IOG_TEXT];
	struct iog_expr e;
	struct iog_err err;
	memset(deep, '(', sizeof deep - 1), deep[sizeof deep - 1] = 0;
	assert_int_equal(iog_expr_compile(&e, deep, &schema, NULL, 0, IOG_WANT_ANY, &err), -EINVAL);
	assert_non_null(strstr(err.text, "nested too deeply"));
	assert_int_equal(iog_expr_compile(&e, "a + 1", &schema, NULL, 0, IOG_WANT_BOOL, &err), -EINVAL);
	assert_int_equal(iog_expr_compile(&e, "a > 1", &schema, NULL, 0, IOG_WANT_NUMBER, &err), -EINVAL);
	struct iog_schema bare;
	assert_int_equal(iog_schema_parse(&bare, "position: f32[i<=5,xyz]", &err), 0);
	assert_int_equal(iog_expr_compile(&e, "xs > 0", &bare, NULL, 0, IOG_WANT_ANY, &err), -EINVAL);
	assert_non_null(strstr(err.text, "needs the box"));
}

/* Programs that were tampered with: refused, or harmless. */
static void damaged_programs(void **unused)
{
	(void)unused;
	static const char *const texts[] = { "xs + max(b) * sin(a) > if(flag, q, limit)", "a > 1 and n == 2 and box.lx > k",
		"sum(grid) / count(b > 1)" };
	static double values[5 * N + IOG_EXPR_BLOCK];
	int refused = 0, ran = 0;
	for (size_t k = 0; k < IOG_COUNT(texts); k++) {
		struct iog_expr good, e;
		compile(&good, texts[k]);
		for (int round = 0; round < 6000; round++) {
			e = good;
			for (uint32_t j = rnd(3); j < 3; j++)
				((uint8_t *)&e)[rnd(rnd(2) ? sizeof e : 64 + good.n_ops * 16u)] ^= (uint8_t)(1u << rnd(8));
			if (round % 2)
				((uint8_t *)&e.code[rnd(good.n_ops)])[rnd(5)] = (uint8_t)rnd(80);
			if (!iog_expr_valid(&e, &schema)) {
				refused++;
				continue;
			}
			if (iog_expr_bind(run, &e, &rec, 0, isa_max()) == IOG_OK) {
				all_values(values);
				ran++;
			}
		}
	}
	assert_true(refused > 1000 && ran > 1000);
}

/* ---- compaction ---- */

static void compaction(void **unused)
{
	(void)unused;
	static const uint64_t rows[] = { 1, 2, 3, 4, 6, 8, 12, 16, 24 };
	enum { ROWS = 1000 };
	uint64_t bits[ROWS / 64 + 3];
	for (int round = 0; round < 400; round++) {
		const uint64_t row = rows[rnd(IOG_COUNT(rows))], at = rnd(130), n = rnd(ROWS - 130);
		const int64_t stride = (int64_t)(row + (rnd(3) ? 0 : rnd(9)));
		const uint32_t density = rnd(5);
		for (size_t i = 0; i < IOG_COUNT(bits); i++) {
			uint64_t w = 0;
			for (int b = 0; b < 64; b++)
				w |= (uint64_t)(density == 0 ? 0 : density == 1 ? 1 : density == 2 ? rnd(8) == 0 : rnd(2)) << b;
			bits[i] = w;
		}
		uint64_t kept = 0;
		for (uint64_t i = 0; i < n; i++)
			kept += bits[(at + i) / 64] >> (at + i) % 64 & 1;
		const size_t source = n ? (size_t)((int64_t)(n - 1) * stride) + row : 1;
		uint8_t *src = malloc(source), *want = malloc(kept * row + 1), *got = malloc(kept * row + 1);
		for (size_t i = 0; i < source; i++)
			src[i] = (uint8_t)rnd(256);
		uint64_t k = 0;
		for (uint64_t i = 0; i < n; i++)
			if (bits[(at + i) / 64] >> (at + i) % 64 & 1)
				memcpy(want + k++ * row, src + (int64_t)i * stride, row);
		for (uint32_t isa = 0; isa <= isa_max(); isa++) {
			got[kept * row] = 0x5a;
			assert_int_equal(iog_compact(got, kept * row, src, stride, row, bits, at, n, isa), kept);
			assert_memory_equal(got, want, kept * row);
			assert_int_equal(got[kept * row], 0x5a);
		}
		free(src), free(want), free(got);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(against_lua), cmocka_unit_test(functions),
		cmocka_unit_test(comparisons_in_every_type), cmocka_unit_test(intervals), cmocka_unit_test(record_scope),
		cmocka_unit_test(blocks_and_strides), cmocka_unit_test(scaled_coordinates), cmocka_unit_test(kept_for_pieces),
		cmocka_unit_test(messages), cmocka_unit_test(damaged_programs), cmocka_unit_test(compaction) };
	return cmocka_run_group_tests(tests, setup, teardown);
}
