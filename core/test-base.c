/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Formatting and parsing against the C library, hashing, names and suggestions.
 */
#include "core/base.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static uint64_t state = 88172645463325252u;

static uint64_t draw(void)
{
	state ^= state << 13, state ^= state >> 7, state ^= state << 17;
	return state;
}

/* Both directions of a format: same text, same length, same behaviour when the room ends. */
#define SAME(...)                                                                                                                          \
	do {                                                                                                                               \
		char want_[400], got_[400], cut_[12], cut_want_[12];                                                                       \
		int n_ = snprintf(want_, sizeof want_, __VA_ARGS__);                                                                       \
		assert_int_equal(iog_format(got_, sizeof got_, __VA_ARGS__), n_);                                                          \
		assert_string_equal(got_, want_);                                                                                          \
		assert_int_equal(iog_format(cut_, sizeof cut_, __VA_ARGS__), n_);                                                          \
		memcpy(cut_want_, want_, sizeof cut_want_ - 1), cut_want_[sizeof cut_want_ - 1] = 0;                                       \
		assert_string_equal(cut_, cut_want_);                                                                                      \
		assert_int_equal(iog_format(NULL, 0, __VA_ARGS__), n_);                                                                    \
	} while (0)

static void format_agrees_with_the_c_library(void **s)
{
	(void)s;
	SAME("plain");
	SAME("%%|%c|%c", 'x', '%');
	SAME("%s|%10s|%-10s|%.3s|%.*s|%*s", "abc", "abc", "abc", "abcdef", 2, "abcdef", -6, "ab");
	SAME("%s", "");
	SAME("%d %i %d %d %d", 0, -1, 42, INT_MAX, INT_MIN);
	SAME("%5d|%-5d|%05d|%05d|%2d", 42, 42, 42, -42, 12345);
	SAME("%u %u", 0u, UINT_MAX);
	SAME("%ld %lu %ld", LONG_MIN, ULONG_MAX, LONG_MAX);
	SAME("%lld %llu", LLONG_MIN, ULLONG_MAX);
	SAME("%zu %20zu", (size_t)0, SIZE_MAX);
	SAME("%x %lx %llx %08x %-8x|", 0xabcu, 0xdeadbeefcafeul, 0x1ull, 0x12u, 0x12u);
	SAME("%p", (void *)0x1234abcd);
	SAME("%.9g %.9g %.9g %.9g", 0.0, 1.0, -1.5, 100000.0);
	SAME("%.9g %.9g %.9g %.9g", 1e9, 123456789.0, 1234567890.0, 1e-5);
	SAME("%.9g %.9g %.9g", 0.0001, 0.00012345, 1e300);
	SAME("%10.9g|%-10.9g|%010.9g|%010.9g|", 1.5, 1.5, 1.5, -1.5);
	SAME("%.9g %.9g %.9g %8.9g", INFINITY, -INFINITY, NAN, INFINITY);
	SAME("%.9g", -0.0);
	SAME("%.1g %.1g %.1g %.1g", 9.5, 0.95, 2.5, 3.5); /* ties go to even */
	SAME("%.17g %.17g %.17g", 0.1, 1.0 / 3, 5e-324);
	SAME("%.17g %.17g", 1.7976931348623157e308, 2.2250738585072014e-308);
	SAME("%.3g|%.2g", 999.5, 99.5);
}

static void plain_g_has_nine_digits(void **s)
{
	char t[40];

	(void)s;
	iog_format(t, sizeof t, "%g %g %g", 0.1, 1.0 / 3, 2.0);
	assert_string_equal(t, "0.1 0.333333333 2");
}

static void format_prints_random_doubles_exactly(void **st)
{
	(void)st;
	for (int i = 0; i < 60000; i++) {
		uint64_t bits = draw();
		char want[64], got[64];
		int precision = 1 + i % 17;
		double v;

		if (i & 1) /* half of them of ordinary size */
			bits = (bits & 0x800fffffffffffffu) | (1003 + (bits >> 52) % 40) << 52;
		memcpy(&v, &bits, sizeof v);
		if (isnan(v)) /* the sign of a NaN is printed by both, its bits by none */
			continue;
		snprintf(want, sizeof want, "%.*g", precision, v);
		iog_format(got, sizeof got, "%.*g", precision, v);
		assert_string_equal(got, want);
	}
}

static void unknown_conversions_stay_visible(void **s)
{
	const char *odd = "a %k b %"; /* through a pointer: the compiler would refuse it */
	char t[40];

	(void)s;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
	iog_format(t, sizeof t, odd);
#pragma GCC diagnostic pop
	assert_string_equal(t, "a %k b %");
}

static void fail_fills_the_message_and_returns_the_code(void **s)
{
	struct iog_err err = { "" };
	char wide[1000];

	(void)s;
	assert_int_equal(iog_fail(&err, -EINVAL, "%s is %d", "x", 3), -EINVAL);
	assert_string_equal(err.text, "x is 3");
	assert_int_equal(iog_fail(NULL, -ENOMEM, "%s", "nobody reads this"), -ENOMEM);
	memset(wide, 'w', sizeof wide);
	wide[sizeof wide - 1] = 0;
	iog_fail(&err, -1, "%s", wide);
	assert_int_equal(strlen(err.text), sizeof err.text - 1);
}

static void parses_like_strtod(void **s)
{
	static const char *const table[] = { "0", "-0", "1", "+1", "1.", ".5", "-.5e1", "1e5", "1E-5", "1e+22", "123456789012345678",
		"1234567890123456789", "12345678901234567890123", "0.1", "3.14159265358979323846", "4.9e-324", "2.4703282292062327e-324",
		"2.4703282292062328e-324", "2.2250738585072011e-308", "2.2250738585072014e-308", "1.7976931348623157e308",
		"1.7976931348623159e308", "1e309", "-1e400", "1e-400", "0e99999999999", "1e23", "8.5e22", "9007199254740993",
		"9007199254740992.99999", "0.000000000000000000000000000000000000001", "1e2147483648", "1e-99999999999999999999",
		"0000000000000000000000000000000000012.5", "100000000000000000000000000000000" };

	(void)s;
	for (size_t i = 0; i < IOG_COUNT(table); i++) {
		double got = 77, want = strtod(table[i], NULL);

		assert_int_equal(iog_parse_number(table[i], strlen(table[i]), &got), strlen(table[i]));
		if (memcmp(&got, &want, sizeof got))
			fail_msg("%s: %.17g instead of %.17g", table[i], got, want);
	}
}

static void parses_random_numbers_correctly_rounded(void **st)
{
	(void)st;
	for (int i = 0; i < 60000; i++) {
		uint64_t bits = draw();
		char t[64];
		double v, got, want;
		size_t n;

		memcpy(&v, &bits, sizeof v);
		if (!isfinite(v))
			continue;
		n = (size_t)snprintf(t, sizeof t, "%.*g", 1 + i % 19, v);
		want = strtod(t, NULL);
		assert_int_equal(iog_parse_number(t, n, &got), n);
		if (memcmp(&got, &want, sizeof got))
			fail_msg("%s: %.17g instead of %.17g", t, got, want);
	}
}

static void stops_where_the_number_ends(void **s)
{
	static const struct {
		const char *text;
		size_t read;
		double value;
	} table[] = { { "1.5kB", 3, 1.5 }, { "2e", 1, 2 }, { "2e+", 1, 2 }, { "1.2.3", 3, 1.2 }, { "0x1F", 4, 31 }, { "-0xff;", 5, -255 },
		{ "0x", 1, 0 }, { "0xg", 1, 0 }, { "0xffffffffffffffff", 18, 18446744073709551615.0 },
		{ "0x10000000000000000", 19, 0x1p64 }, { "", 0, 77 }, { "-", 0, 77 }, { ".", 0, 77 }, { "e5", 0, 77 }, { "abc", 0, 77 },
		{ " 1", 0, 77 }, { "+-1", 0, 77 }, { "1,2", 1, 1 } };
	double v;

	(void)s;
	for (size_t i = 0; i < IOG_COUNT(table); i++) {
		v = 77;
		assert_int_equal(iog_parse_number(table[i].text, strlen(table[i].text), &v), table[i].read);
		assert_true(v == table[i].value);
	}
	/* The length is the end, also in the middle of a number. */
	assert_int_equal(iog_parse_number("12345", 2, &v), 2);
	assert_true(v == 12);
	assert_int_equal(iog_parse_number("12e45", 3, &v), 2);
	assert_int_equal(iog_parse_number("0x45", 2, &v), 1);
}

static void hash_depends_on_every_bit_and_on_the_length(void **s)
{
	uint8_t data[300], zeros[300] = { 0 };
	uint64_t plain, seen[301];

	(void)s;
	for (size_t i = 0; i < sizeof data; i++)
		data[i] = (uint8_t)draw();
	for (size_t n = 0; n <= sizeof data; n++) {
		plain = iog_hash(data, n, 7);
		assert_true(plain == iog_hash(data, n, 7));
		assert_true(plain != iog_hash(data, n, 8));
		for (size_t bit = 0; bit < n * 8; bit += 1 + bit / 64) {
			data[bit / 8] ^= (uint8_t)(1 << bit % 8);
			assert_true(plain != iog_hash(data, n, 7));
			data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		seen[n] = iog_hash(zeros, n, 7);
		for (size_t i = 0; i < n; i++)
			assert_true(seen[i] != seen[n]);
	}
}

static void hash_does_not_read_past_the_end(void **s)
{
	(void)s;
	for (size_t n = 0; n < 200; n++) { /* from a block of exactly that size: a sanitizer sees more */
		uint8_t *p = malloc(n + 1), *q = malloc(n);
		uint64_t a, b;

		memset(p, 5, n), p[n] = 1;
		if (n)
			memset(q, 5, n);
		a = iog_hash(p, n, 0), b = iog_hash(n ? q : p, n, 0);
		free(p);
		free(q);
		assert_true(a == b);
	}
}

static void hash_is_the_same_for_ever(void **s)
{
	(void)s;
	/* Schema ids and checksums in files depend on these values. */
	assert_int_equal(iog_hash("", 0, 0), 0x2f02ee5869c0f94au);
	assert_int_equal(iog_hash("IOGraphs", 8, 0), 0x873038b53618a786u);
	assert_int_equal(iog_hash("0123456789012345678901234567890123456789012345678901234567890123456789", 70, 1), 0x2f69ff2b806bade6u);
}

static void dtypes_have_names_and_sizes(void **s)
{
	static const struct {
		const char *name;
		uint32_t size;
	} table[IOG_DTYPES] = { { "?", 0 }, { "i8", 1 }, { "i16", 2 }, { "i32", 4 }, { "i64", 8 }, { "u8", 1 }, { "u16", 2 }, { "u32", 4 },
		{ "u64", 8 }, { "f16", 2 }, { "f32", 4 }, { "f64", 8 }, { "c64", 8 }, { "c128", 16 }, { "bool", 1 }, { "byte", 1 } };

	(void)s;
	for (unsigned i = 0; i < IOG_DTYPES; i++) {
		assert_string_equal(iog_dtype_name(i), table[i].name);
		assert_int_equal(iog_dtype_size(i), table[i].size);
		assert_int_equal(iog_dtype_find(table[i].name, strlen(table[i].name)), i);
	}
	assert_int_equal(iog_dtype_find("f32x", 3), IOG_F32);
	assert_int_equal(iog_dtype_find("f32x", 4), IOG_NONE);
	assert_int_equal(iog_dtype_find("none", 4), IOG_NONE);
	assert_int_equal(iog_dtype_size(IOG_DTYPES), 0);
	assert_string_equal(iog_dtype_name(1000), "?");
	assert_string_equal(iog_step_name(IOG_BAD_INPUT), "bad-input");
	assert_string_equal(iog_step_name(IOG_STEPS), "?");
	assert_string_equal(iog_codec_name(IOG_CODEC_DELTA), "delta");
	assert_string_equal(iog_codec_name(99), "?");
}

static void names_are_checked(void **s)
{
	(void)s;
	assert_true(iog_name_valid("T", false));
	assert_true(iog_name_valid("_x9", false));
	assert_true(iog_name_valid("T.min", true));
	assert_true(iog_name_valid("abcdefghijklmnopqrstuvwxyz01234", false)); /* 31 */
	assert_false(iog_name_valid("abcdefghijklmnopqrstuvwxyz012345", false));
	assert_false(iog_name_valid("T.min", false));
	assert_false(iog_name_valid("T.", true));
	assert_false(iog_name_valid(".T", true));
	assert_false(iog_name_valid("", true));
	assert_false(iog_name_valid("9x", false));
	assert_false(iog_name_valid("a b", false));
	assert_false(iog_name_valid("a-b", false));
}

static void strings_are_cut_and_terminated(void **s)
{
	char t[4] = "zzz";

	(void)s;
	assert_true(iog_strset(t, sizeof t, "abc"));
	assert_string_equal(t, "abc");
	assert_false(iog_strset(t, sizeof t, "abcd"));
	assert_string_equal(t, "abc");
	assert_false(iog_strset(t, 0, "abc"));
	assert_true(iog_streq("", "") && iog_streq("ab", "ab") && !iog_streq("ab", "abc") && !iog_streq("abc", "ab"));
	assert_int_equal(iog_strlen("four"), 4);
}

static void suggests_what_is_near_and_nothing_else(void **s)
{
	static const char *const words[] = { "type", "position", "quality", "x", "vx", NULL, "seconds" };

	(void)s;
	assert_string_equal(iog_nearest("tpye", words, IOG_COUNT(words)), "type"); /* a transposition counts once */
	assert_string_equal(iog_nearest("qualty", words, IOG_COUNT(words)), "quality");
	assert_string_equal(iog_nearest("POSITION", words, IOG_COUNT(words)), "position");
	assert_string_equal(iog_nearest("vy", words, IOG_COUNT(words)), "vx");
	assert_string_equal(iog_nearest("second", words, IOG_COUNT(words)), "seconds");
	assert_null(iog_nearest("q", words, IOG_COUNT(words)));
	assert_null(iog_nearest("temperature", words, IOG_COUNT(words)));
	assert_null(iog_nearest("", words, IOG_COUNT(words)));
	assert_null(iog_nearest("type", words, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(format_agrees_with_the_c_library),
		cmocka_unit_test(plain_g_has_nine_digits),
		cmocka_unit_test(format_prints_random_doubles_exactly),
		cmocka_unit_test(unknown_conversions_stay_visible),
		cmocka_unit_test(fail_fills_the_message_and_returns_the_code),
		cmocka_unit_test(parses_like_strtod),
		cmocka_unit_test(parses_random_numbers_correctly_rounded),
		cmocka_unit_test(stops_where_the_number_ends),
		cmocka_unit_test(hash_depends_on_every_bit_and_on_the_length),
		cmocka_unit_test(hash_does_not_read_past_the_end),
		cmocka_unit_test(hash_is_the_same_for_ever),
		cmocka_unit_test(dtypes_have_names_and_sizes),
		cmocka_unit_test(names_are_checked),
		cmocka_unit_test(strings_are_cut_and_terminated),
		cmocka_unit_test(suggests_what_is_near_and_nothing_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
