/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Parameters: every kind as value and as text, every refusal with its message, and back to text.
 */
#include "core/param.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct conf {
	uint32_t wrap, how;
	int64_t quality;
	double scale, timeout;
	char path[16], when[16];
	uint64_t bytes;
	struct iog_numbers range;
	struct iog_names vars;
	struct iog_intervals box;
};

static const struct iog_param table[] = {
	IOG_PARAM(struct conf, wrap, IOG_P_BOOL, .def = "true", .doc = "Wrap."),
	IOG_PARAM(struct conf, how, IOG_P_CHOICE, .def = "mean", .choices = "min|mean|max", .doc = "How."),
	IOG_PARAM(struct conf, quality, IOG_P_INT, .def = "85", .min = 1, .max = 100, .doc = "Quality."),
	IOG_PARAM(struct conf, scale, IOG_P_NUMBER, .def = "1", .min = 0, .max = INFINITY, .unit = "Angstrom", .doc = "Scale."),
	IOG_PARAM(struct conf, timeout, IOG_P_SECONDS, .def = "5s", .doc = "Timeout."),
	IOG_PARAM(struct conf, path, IOG_P_STRING, .def = "a b", .doc = "Path."),
	IOG_PARAM(struct conf, when, IOG_P_EXPR, .flags = IOG_PF_FIRST | IOG_PF_REQUIRED, .doc = "When."),
	IOG_PARAM(struct conf, bytes, IOG_P_SIZE, .def = "64 MiB", .doc = "Bytes."),
	IOG_PARAM(struct conf, range, IOG_P_NUMBERS, .def = "0, 2.5", .min = -10, .max = 10, .doc = "Range."),
	IOG_PARAM(struct conf, vars, IOG_P_NAMES, .def = "T, position.x", .doc = "Variables."),
	IOG_PARAM(struct conf, box, IOG_P_INTERVALS, .def = "0:1, -inf:2", .doc = "Box."),
	{ .name = NULL },
};

static struct conf conf;
static struct iog_err err;

static int reset(void **st)
{
	(void)st;
	memset(&conf, 0, sizeof conf);
	err.text[0] = 0;
	if (iog_param_defaults(table, &conf, &err))
		fail_msg("%s", err.text);
	return 0;
}

static struct iog_value number(double n) { return (struct iog_value){ .kind = IOG_V_NUMBER, .n = n, .integer = n == floor(n) }; }

static struct iog_value string(const char *s) { return (struct iog_value){ .kind = IOG_V_STRING, .s = s }; }

static struct iog_value boolean(bool b) { return (struct iog_value){ .kind = IOG_V_BOOL, .b = b }; }

static struct iog_value list(const struct iog_value *item, uint32_t n, const char *const *key)
{
	return (struct iog_value){ .kind = IOG_V_LIST, .item = item, .n_items = n, .key = key };
}

static void set(const char *name, struct iog_value v)
{
	if (iog_param_set(table, &conf, name, &v, &err))
		fail_msg("%s: %s", name, err.text);
}

/* Refused with this message, and nothing changed. */
static void refuses(const char *name, struct iog_value v, const char *message)
{
	struct conf before = conf;

	err.text[0] = 0;
	assert_int_equal(iog_param_set(table, &conf, name, &v, &err), -EINVAL);
	if (strcmp(err.text, message))
		fail_msg("%s instead of %s", err.text, message);
	assert_memory_equal(&before, &conf, sizeof conf);
	assert_int_equal(iog_param_set(table, &conf, name, &v, NULL), -EINVAL);
}

static void defaults_are_parsed(void **st)
{
	(void)st;
	assert_int_equal(conf.wrap, 1);
	assert_int_equal(conf.how, 1);
	assert_int_equal(conf.quality, 85);
	assert_true(conf.scale == 1 && conf.timeout == 5);
	assert_string_equal(conf.path, "a b");
	assert_string_equal(conf.when, "");
	assert_int_equal(conf.bytes, 64 << 20);
	assert_int_equal(conf.range.n, 2);
	assert_true(conf.range.v[1] == 2.5);
	assert_int_equal(conf.vars.n, 2);
	assert_string_equal(conf.vars.v[1], "position.x");
	assert_int_equal(conf.box.n, 2);
	assert_true(conf.box.v[1].lo == -INFINITY && conf.box.v[1].hi == 2);
}

static void a_bad_default_is_reported(void **st)
{
	static const struct iog_param bad[] = { IOG_PARAM(struct conf, quality, IOG_P_INT, .def = "many"), { .name = NULL } };

	(void)st;
	assert_int_equal(iog_param_defaults(bad, &conf, &err), -EINVAL);
	assert_string_equal(err.text, "\"quality\" must be a whole number, got \"many\"");
}

static void values_of_every_kind_are_set(void **st)
{
	static const char *const keys[] = { "x", "zs" };
	struct iog_value numbers[] = { number(-1), number(0.5), number(10) }, names[] = { string("a"), string("b.c") };
	struct iog_value one[] = { number(0.25), number(0.75) }, two[] = { number(-INFINITY), number(3) };
	struct iog_value intervals[] = { list(one, 2, NULL), list(two, 2, NULL) };

	(void)st;
	set("wrap", boolean(false));
	assert_int_equal(conf.wrap, 0);
	set("wrap", string("yes"));
	assert_int_equal(conf.wrap, 1);
	set("wrap", string("off"));
	assert_int_equal(conf.wrap, 0);
	set("how", string("max"));
	assert_int_equal(conf.how, 2);
	set("quality", number(100));
	assert_int_equal(conf.quality, 100);
	set("quality", string("7"));
	assert_int_equal(conf.quality, 7);
	set("scale", string("2.5e3"));
	assert_true(conf.scale == 2500);
	set("timeout", number(0.5));
	assert_true(conf.timeout == 0.5);
	set("timeout", string("250ms"));
	assert_true(conf.timeout == 0.25);
	set("path", string("123456789012345"));
	assert_string_equal(conf.path, "123456789012345");
	set("path", string("x"));
	assert_int_equal(conf.path[5], 0); /* nothing is left of the longer one: conf is compared as bytes */
	set("when", string("x > 1"));
	set("when", boolean(true));
	assert_string_equal(conf.when, "true");
	set("when", number(0.5));
	assert_string_equal(conf.when, "0.5");
	set("bytes", string("1.5 GiB"));
	assert_int_equal(conf.bytes, 3ull << 29);
	set("bytes", number(4096));
	assert_int_equal(conf.bytes, 4096);
	set("range", list(numbers, 3, NULL));
	assert_true(conf.range.n == 3 && conf.range.v[2] == 10);
	set("range", number(4));
	assert_true(conf.range.n == 1 && conf.range.v[0] == 4);
	set("range", string("{ 1,2 , 3 }"));
	assert_true(conf.range.n == 3 && conf.range.v[2] == 3);
	set("range", string(""));
	assert_int_equal(conf.range.n, 0);
	set("vars", list(names, 2, NULL));
	assert_string_equal(conf.vars.v[1], "b.c");
	set("vars", string("one"));
	assert_int_equal(conf.vars.n, 1);
	set("box", list(intervals, 2, NULL));
	assert_true(conf.box.v[0].lo == 0.25 && conf.box.v[1].lo == -INFINITY && !conf.box.v[0].name[0]);
	set("box", list(intervals, 2, keys));
	assert_string_equal(conf.box.v[1].name, "zs");
	set("box", string("x = 1:2, y=-1:inf"));
	assert_true(conf.box.n == 2 && conf.box.v[0].hi == 2 && conf.box.v[1].hi == INFINITY);
	assert_string_equal(conf.box.v[0].name, "x");
}

static void refusals_name_parameter_and_expectation(void **st)
{
	struct iog_value many[17], pair[] = { number(2), number(1) }, mixed[] = { number(1), string("x") }, nan[] = { number(NAN) };
	struct iog_value bad[] = { list(pair, 2, NULL) }, ok_pair[] = { number(1), number(2) },
			 twice[] = { list(ok_pair, 2, NULL), list(ok_pair, 2, NULL) };
	struct iog_value nine[9], flat[] = { number(1), number(2) };
	const char *same[] = { "x", "x" }, *half[] = { "x", NULL }, *odd[] = { "9", NULL };
	static const char form[] = "\"box\" must be a list of intervals, { {lo, hi}, ... } or { x = {lo, hi}, ... }";
	char text[200];

	(void)st;
	for (int i = 0; i < 17; i++)
		many[i] = number(1);
	for (int i = 0; i < 9; i++)
		nine[i] = list(ok_pair, 2, NULL);
	refuses("qualty", number(1), "unknown parameter \"qualty\"; did you mean \"quality\"?");
	refuses("temperature", number(1),
		"unknown parameter \"temperature\"; there are wrap, how, quality, scale, timeout, path, when, bytes, range, vars, box");
	refuses("wrap", number(1), "\"wrap\" must be true or false, got 1");
	refuses("wrap", string("maybe"), "\"wrap\" must be true or false, got \"maybe\"");
	refuses("wrap", (struct iog_value){ 0 }, "\"wrap\" must be true or false, got nothing");
	refuses("how", string("maen"), "\"how\" must be one of \"min\", \"mean\", \"max\", got \"maen\"; did you mean \"mean\"?");
	refuses("how", string("median-ish"), "\"how\" must be one of \"min\", \"mean\", \"max\", got \"median-ish\"");
	refuses("how", string(""), "\"how\" must be one of \"min\", \"mean\", \"max\", got \"\"");
	refuses("how", number(1), "\"how\" must be one of the words in its documentation, in quotes, got 1");
	refuses("quality", number(1.5), "\"quality\" must be a whole number, got 1.5");
	refuses("quality", number(NAN), "\"quality\" must be a whole number, got nan");
	refuses("quality", number(1e19), "\"quality\" must be a whole number, got 1e+19");
	refuses("quality", string("9223372036854775808"), "\"quality\" must be a whole number, got \"9223372036854775808\"");
	refuses("quality", string("12x"), "\"quality\" must be a whole number, got \"12x\"");
	refuses("quality", boolean(true), "\"quality\" must be a whole number, got true");
	refuses("quality", number(300), "\"quality\" must be between 1 and 100, got 300");
	refuses("scale", number(-1), "\"scale\" must be at least 0 Angstrom, got -1");
	refuses("scale", string("1 m"), "\"scale\" must be a number, got \"1 m\"");
	refuses("scale", number(INFINITY), "\"scale\" must be a number, got inf");
	refuses("timeout", string("5 parsecs"), "\"timeout\" must be a time such as 2, \"250ms\", \"5s\" or \"1min\", got \"5 parsecs\"");
	refuses("timeout", number(-1), "\"timeout\" must be a time such as 2, \"250ms\", \"5s\" or \"1min\", got -1");
	refuses("path", string("1234567890123456"), "\"path\" must be shorter than 16 bytes, got 16");
	refuses("path", number(3), "\"path\" must be a string, got 3");
	refuses("when", list(pair, 2, NULL), "\"when\" must be an expression in quotes, got a list of 2");
	refuses("bytes", string("12 MB/s"), "\"bytes\" must be a size in bytes such as 4096, \"64KiB\" or \"1.5 GiB\", got \"12 MB/s\"");
	refuses("bytes", number(0.5), "\"bytes\" must be a size in bytes such as 4096, \"64KiB\" or \"1.5 GiB\", got 0.5");
	refuses("bytes", number(-4), "\"bytes\" must be a size in bytes such as 4096, \"64KiB\" or \"1.5 GiB\", got -4");
	refuses("range", list(many, 17, NULL), "\"range\" can hold at most 16 values, got 17");
	refuses("range", list(mixed, 2, NULL), "\"range\" must be a list of numbers, but item 2 is \"x\"");
	refuses("range", list(nan, 1, NULL), "\"range\" must be a list of numbers, but item 1 is nan");
	refuses("range", list(pair, 2, same), "\"range\" must be a list of numbers, but item 1 is named");
	refuses("range", number(11), "\"range\" must be between -10 and 10, got 11");
	refuses("range", string("1, two"), "\"range\" must be a list of numbers, but item 2 is \"two\"");
	refuses("range", boolean(true), "\"range\" must be a list of numbers, { 1, 2 }, got true");
	refuses("vars", list(mixed, 2, NULL), "\"vars\" must be a list of names, but item 1 is 1");
	refuses("vars", string("a b"), "\"vars\": item 1 (\"a b\") must be one name without blanks and commas");
	refuses("vars", string("abcdefghijklmnopqrstuvwxyz012345"),
		"\"vars\": item 1 (\"abcdefghijklmnopqrstuvwxyz012345\") must be a name shorter than 32 bytes");
	refuses("vars", number(1), "\"vars\" must be a list of names, { \"a\", \"b\" }, got 1");
	refuses("box", list(bad, 1, NULL), "\"box\": interval {2, 1} must have its lower end first");
	refuses("box", list(twice, 2, same), "\"box\" has two intervals for \"x\"");
	refuses("box", list(twice, 2, half), "\"box\" must give all intervals by position or all by name");
	refuses("box", list(twice, 2, odd), "\"box\": \"9\" is not the name of a dimension or component");
	refuses("box", list(nine, 9, NULL), "\"box\" can hold at most 8 values, got 9");
	snprintf(text, sizeof text, "%s, but item 1 is 1", form);
	refuses("box", list(flat, 2, NULL), text);
	snprintf(text, sizeof text, "%s, got 3", form);
	refuses("box", number(3), text);
	snprintf(text, sizeof text, "%s, but item 2 is \"y=3\" (as text: lo:hi or x=lo:hi)", form);
	refuses("box", string("x=1:2, y=3"), text);
}

static void integers_keep_64_bits(void **st)
{
	static const struct iog_param wide[] = { IOG_PARAM(struct conf, quality, IOG_P_INT), { .name = NULL } };
	static const char *const texts[] = { "9223372036854775807", "-9223372036854775808", "0", "-1", "+5", "1e3", "0x10" };
	static const int64_t values[] = { INT64_MAX, INT64_MIN, 0, -1, 5, 1000, 16 };

	(void)st;
	for (unsigned i = 0; i < IOG_COUNT(texts); i++) {
		struct iog_value v = string(texts[i]);

		assert_int_equal(iog_param_set(wide, &conf, "quality", &v, &err), 0);
		assert_true(conf.quality == values[i]);
	}
}

static void text_is_accepted_again(void **st)
{
	struct conf copy;
	char text[512], cut[4];

	(void)st;
	set("scale", number(0.1));
	set("timeout", number(1.0 / 3));
	set("when", string("x > 1"));
	set("range", string("0.1, -3, 1e-9"));
	set("box", string("x=-inf:0.3, y=1:inf"));
	set("bytes", number(1025));
	copy = conf;
	for (const struct iog_param *p = table; p->name; p++) {
		size_t n = iog_param_text(p, &copy, text, sizeof text);

		assert_int_equal(n, strlen(text));
		assert_int_equal(iog_param_text(p, &copy, cut, sizeof cut), n);
		assert_int_equal(strlen(cut), IOG_MIN(n, 3));
		memset((char *)&conf + p->offset, 0, p->size);
		set(p->name, string(text));
	}
	assert_memory_equal(&conf, &copy, sizeof conf);
	iog_param_text(iog_param_find(table, "scale"), &conf, text, sizeof text);
	assert_string_equal(text, "0.1");
	iog_param_text(iog_param_find(table, "box"), &conf, text, sizeof text);
	assert_string_equal(text, "x=-inf:0.3, y=1:inf");
	set("bytes", string("64MiB"));
	iog_param_text(iog_param_find(table, "bytes"), &conf, text, sizeof text);
	assert_string_equal(text, "64MiB");
}

static void units_are_known_or_refused(void **st)
{
	uint64_t b = 0;
	double s = 0;

	(void)st;
	assert_true(iog_parse_bytes("4096", &b) && b == 4096);
	assert_true(iog_parse_bytes(" 64 KiB ", &b) && b == 65536);
	assert_true(iog_parse_bytes("2kB", &b) && b == 2000);
	assert_true(iog_parse_bytes("1.5GiB", &b) && b == 3ull << 29);
	assert_true(iog_parse_bytes("0.1KiB", &b) && b == 102);
	assert_true(iog_parse_bytes("1TiB", &b) && b == 1ull << 40);
	assert_true(iog_parse_bytes("0", &b) && b == 0);
	assert_false(iog_parse_bytes("", &b));
	assert_false(iog_parse_bytes("-1", &b));
	assert_false(iog_parse_bytes("KiB", &b));
	assert_false(iog_parse_bytes("1kib", &b));
	assert_false(iog_parse_bytes("1e30 PiB", &b));
	assert_true(iog_parse_seconds("250ms", &s) && s == 0.25);
	assert_true(iog_parse_seconds("1min", &s) && s == 60);
	assert_true(iog_parse_seconds("2 h", &s) && s == 7200);
	assert_true(iog_parse_seconds("5", &s) && s == 5);
	assert_true(iog_parse_seconds("100us", &s) && s == 100 * 1e-6);
	assert_false(iog_parse_seconds("-5s", &s));
	assert_false(iog_parse_seconds("5 m", &s));
	assert_false(iog_parse_seconds("soon", &s));
}

static void tables_are_searched(void **st)
{
	struct iog_value v = number(1);

	(void)st;
	assert_ptr_equal(iog_param_find(table, "how"), &table[1]);
	assert_null(iog_param_find(table, "nope"));
	assert_ptr_equal(iog_param_first(table), &table[6]);
	assert_null(iog_param_first(table + 7));
	assert_null(iog_param_find(NULL, "x"));
	assert_string_equal(iog_ptype_name(IOG_P_INTERVALS), "list of intervals");
	assert_string_equal(iog_ptype_name(99), "?");
	assert_int_equal(iog_param_set(NULL, &conf, "x", &v, &err), -EINVAL);
	assert_string_equal(err.text, "unknown parameter \"x\": there are none here");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(defaults_are_parsed, reset),
		cmocka_unit_test_setup(a_bad_default_is_reported, reset),
		cmocka_unit_test_setup(values_of_every_kind_are_set, reset),
		cmocka_unit_test_setup(refusals_name_parameter_and_expectation, reset),
		cmocka_unit_test_setup(integers_keep_64_bits, reset),
		cmocka_unit_test_setup(text_is_accepted_again, reset),
		cmocka_unit_test_setup(units_are_known_or_refused, reset),
		cmocka_unit_test_setup(tables_are_searched, reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
