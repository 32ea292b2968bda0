/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Schemas: text in both directions, every refusal with its message, components, sizes.
 */
#include "core/schema.h"

#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct iog_schema s, t;
static struct iog_err err;

static void parse(const char *text)
{
	err.text[0] = 0;
	if (iog_schema_parse(&s, text, &err))
		fail_msg("\"%s\": %s", text, err.text);
}

static void parses_what_the_header_promises(void **st)
{
	(void)st;
	parse("position: f32[atom<=32000, xyz] Angstrom; static type: i32[atom]\n  energy: f64 kcal/mol per atom ;;\n T: f64[z=4,y,x]K");
	assert_int_equal(s.n_vars, 4);
	assert_int_equal(s.n_dims, 5);
	assert_string_equal(s.var[0].name, "position");
	assert_string_equal(s.var[0].unit, "Angstrom");
	assert_int_equal(s.var[0].dtype, IOG_F32);
	assert_int_equal(s.var[0].rank, 2);
	assert_int_equal(s.dim[0].max, 32000);
	assert_int_equal(s.dim[0].fixed, 0);
	assert_string_equal(s.dim[1].labels, "x,y,z");
	assert_int_equal(s.dim[1].max, 3);
	assert_int_equal(s.dim[1].fixed, 1);
	assert_int_equal(s.var[1].flags, IOG_VAR_STATIC);
	assert_int_equal(s.var[2].rank, 0);
	assert_string_equal(s.var[2].unit, "kcal/mol per atom");
	assert_int_equal(s.dim[2].max, 4);
	assert_int_equal(s.dim[2].fixed, 1);
	assert_int_equal(s.dim[3].max, 0);
	assert_string_equal(s.var[3].unit, "K");
	assert_true(s.id != 0);
	parse("");
	assert_int_equal(s.n_vars, 0);
	assert_true(s.id != 0);
	parse("static: f32; dims: i8"); /* the keywords are names as well */
	assert_string_equal(s.var[0].name, "static");
	assert_string_equal(s.var[1].name, "dims");
}

/* Text of s, parsed again, is the same schema, byte for byte, and prints the same. */
static void assert_round_trip(void)
{
	static char a[1 << 16], b[1 << 16];
	size_t n = iog_schema_text(&s, true, a, sizeof a);

	assert_int_equal(n, strlen(a));
	if (iog_schema_parse(&t, a, &err))
		fail_msg("%s\n%s", a, err.text);
	if (memcmp(&s, &t, sizeof s))
		fail_msg("not the same after a round trip:\n%s", a);
	assert_int_equal(iog_schema_text(&t, true, b, sizeof b), n);
	assert_string_equal(a, b);
}

static void text_round_trips(void **st)
{
	static const char *const table[] = {
		"a: f32",
		"position: f32[atom<=100,xyz] A\nvelocity: f32[atom,xyz]\nbox: f64[cell,xyz]",
		"image: u8[y<=1080,x<=1920,rgb]",
		"image: u8[y<=1080,x<=1920,rgb=4(r,g,b,a)] | zstd",
		"crop: f32[atom,xyz<=2(x,y)]",
		"odd: f32[xyz<=?]; other: i8[rgb=3()]",
		"q: f64[particle,quat=4(w,i,j,k)]",
		"d: i16[atom<=9,xyz] nm | delta(f32) | zstd",
		"dims y<=4, x, unused=7\nf: f32[x,y]",
		"v: c128[a,b,c,d,e,f,g,h] m s^-1",
		"static m: bool[n]; static k: byte[n]; h: f16; u: u64[n]",
	};

	(void)st;
	for (size_t i = 0; i < IOG_COUNT(table); i++) {
		parse(table[i]);
		assert_round_trip();
	}
}

static unsigned draw(unsigned below)
{
	static uint64_t seed = 1;

	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(seed >> 33) % below;
}

static void random_schemas_round_trip(void **st)
{
	(void)st;
	for (int n = 0; n < 400; n++) {
		unsigned dims, vars;

		memset(&s, 0, sizeof s);
		dims = draw(IOG_DIMS + 1), vars = draw(n % 8 ? 8 : IOG_VARS + 1);
		for (unsigned i = 0; i < dims; i++) {
			static const char *const known[] = { "xyz", "cell", "rgb" };
			char name[IOG_NAME];

			snprintf(name, sizeof name, "dim%u", i);
			iog_schema_add_dim(&s, i < 3 && draw(2) ? known[i] : name, (int64_t)draw(5), draw(2));
			if (!draw(4))
				iog_strset(s.dim[i].labels, IOG_NAME, "a,b");
		}
		for (unsigned i = 0; i < vars; i++) {
			uint8_t of[IOG_RANK], k, rank = 0;
			char name[IOG_NAME];
			int v;

			for (k = 0; k < dims && rank < IOG_RANK; k++)
				if (!draw(3))
					of[rank++] = k;
			for (k = 0; k + 1 < rank; k++)
				if (draw(2)) {
					uint8_t swap = of[k];
					of[k] = of[k + 1], of[k + 1] = swap;
				}
			snprintf(name, sizeof name, "var.%u", i);
			v = iog_schema_add_var(&s, name, (enum iog_dtype)(1 + draw(IOG_DTYPES - 1)), rank, of, draw(2) ? "m/s" : NULL);
			assert_int_equal(v, i);
			s.var[v].flags = draw(2) ? IOG_VAR_STATIC : 0;
			if (draw(3) == 0)
				s.var[v].codec[s.var[v].n_codecs++] = IOG_CODEC_DELTA, s.var[v].orig = IOG_F32;
			if (draw(3) == 0)
				s.var[v].codec[s.var[v].n_codecs++] = IOG_CODEC_ZSTD;
		}
		if (iog_schema_seal(&s, &err))
			fail_msg("%s", err.text);
		assert_round_trip();
	}
}

static void id_ignores_maxima_and_nothing_else(void **st)
{
	static const char *const differ[] = { "T: f64[y,x] K", "T: f32[x,y] K", "T: f32[y,x] C", "U: f32[y,x] K", "static T: f32[y,x] K",
		"T: f32[y,x=4] K", "T: f32[y] K", "T: f32[y,x] K; a: i8", "T: f32[y,x] K | zstd", "dims x,y\nT: f32[y,x] K",
		"T: f32[y,x(a,b)] K" };
	uint64_t id;

	(void)st;
	parse("T: f32[y,x] K");
	id = s.id;
	parse("T: f32[y<=5, x<=7]K");
	assert_true(s.id == id);
	for (size_t i = 0; i < IOG_COUNT(differ); i++) {
		parse(differ[i]);
		assert_true(s.id != id);
	}
}

static void text_counts_like_snprintf(void **st)
{
	char text[200], cut[10];
	size_t n;

	(void)st;
	parse("position: f32[atom<=100,xyz] A");
	n = iog_schema_text(&s, true, text, sizeof text);
	assert_string_equal(text, "position: f32[atom<=100,xyz] A\n");
	assert_int_equal(iog_schema_text(&s, true, NULL, 0), n);
	assert_int_equal(iog_schema_text(&s, true, cut, sizeof cut), n);
	assert_string_equal(cut, "position:");
	iog_schema_text(&s, false, text, sizeof text);
	assert_string_equal(text, "position: f32[atom,xyz] A\n");
}

static void parse_errors_say_what_where_and_what_instead(void **st)
{
	static const struct {
		const char *text, *message;
	} table[] = {
		{ "T: f23[x]", "schema: unknown type \"f23\"; did you mean \"f32\"? at column 4 of \"T: f23[x]\"" },
		{ "T: quaternion", "unknown type \"quaternion\" (there are i8-i64" },
		{ "T:", "expected a type such as f32" },
		{ "T f32", "expected a : behind the variable \"T\"" },
		{ ": f32", "expected the name of a variable at column 1" },
		{ "9T: f32", "\"9T\" is not a name for a variable" },
		{ "a: i8; abcdefghijklmnopqrstuvwxyz0123456789: f32", "is not a name for a variable" },
		{ "T: f32[x", "expected , or ] in the dimensions of \"T\"" },
		{ "T: f32[", "expected the name of a dimension" },
		{ "T: f32[x.y]", "\"x.y\" is not a name for a dimension" },
		{ "T: f32[x<4]", "expected <= behind the dimension \"x\"" },
		{ "T: f32[x=0]", "expected a positive whole number as the extent of \"x\"" },
		{ "T: f32[x=-1]", "expected a positive whole number as the extent of \"x\"" },
		{ "T: f32[x<=1e6]", "expected a positive whole number as the extent of \"x\"" },
		{ "T: f32[x<=9223372036854775808]", "expected a positive whole number as the extent of \"x\"" },
		{ "T: f32[x=?]", "expected a positive whole number as the extent of \"x\"" },
		{ "T: f32[x=2(a,b]", "expected a ) behind the labels of \"x\"" },
		{ "T: f32[x=2(a,,b)]", "the labels of \"x\" must be names" },
		{ "T: f32[x=2(a,9)]", "the labels of \"x\" must be names" },
		{ "T: f32[x,x]", "has dimension \"x\" twice; give one of them its own name" },
		{ "T: f32[x=4]; U: f32[x=5]", "dimension \"x\" was declared with another extent" },
		{ "T: f32[x=4]; U: f32[x<=4]", "dimension \"x\" was declared with another extent" },
		{ "T: f32[a,b,c,d,e,f,g,h,i]", "variable \"T\" has more than 8 dimensions" },
		{ "T: f32; T: f64", "variable \"T\" is declared twice at column 7 of \"T: f64\"" },
		{ "T: f32 | ztsd", "unknown encoding \"ztsd\"; did you mean \"zstd\"?" },
		{ "T: f32 | mp3000", "unknown encoding \"mp3000\" (there are zstd, jpeg, png, delta)" },
		{ "T: f32 | delta", "delta(f32)" },
		{ "T: f32 | delta(f33)", "unknown type \"f33\"; did you mean" },
		{ "T: f32 | zstd | delta(f32)", "delta needs elements, but the encoding before it made bytes" },
		{ "T: f32 | zstd zstd", "cannot read \"zstd\"" },
		{ "T: f32 | zstd|zstd|zstd|zstd|zstd", "more than 4 encodings" },
		{ "T: f32 abcdefghijklmnopqrstuvwxyz0123456789", "the unit of \"T\" must be shorter than 32 bytes" },
		{ "T: f32 a\001b", "the unit of \"T\" has a character that is not plain text" },
		{ "T: f32; dims x", "the order of the dimensions must come first" },
		{ "dims x y\nT: f32[x]", "expected a comma" },
	};

	(void)st;
	for (size_t i = 0; i < IOG_COUNT(table); i++) {
		err.text[0] = 0;
		assert_int_equal(iog_schema_parse(&s, table[i].text, &err), -EINVAL);
		if (!strstr(err.text, table[i].message))
			fail_msg("\"%s\" gives: %s", table[i].text, err.text);
		assert_int_equal(iog_schema_parse(&s, table[i].text, NULL), -EINVAL);
	}
}

static void tables_have_ends(void **st)
{
	char text[4000] = "";

	(void)st;
	for (int i = 0; i <= IOG_VARS; i++)
		snprintf(text + strlen(text), sizeof text - strlen(text), "v%d: f32\n", i);
	assert_int_equal(iog_schema_parse(&s, text, &err), -EINVAL);
	assert_non_null(strstr(err.text, "no room for variable \"v64\": a schema has at most 64"));
	strcpy(text, "dims ");
	for (int i = 0; i <= IOG_DIMS; i++)
		snprintf(text + strlen(text), sizeof text - strlen(text), "%sd%d", i ? "," : "", i);
	assert_int_equal(iog_schema_parse(&s, text, &err), -EINVAL);
	assert_non_null(strstr(err.text, "no room for dimension \"d16\": a schema has at most 16"));
}

/* A schema from another process: every field is out of range once. */
static void seal_checks_every_field(void **st)
{
	struct iog_schema good;

	(void)st;
	parse("p: f32[atom<=9,xyz] m; d: i16[atom] | delta(f32)");
	good = s;
#define REFUSES(change, part)                                                                                                              \
	do {                                                                                                                               \
		s = good;                                                                                                                  \
		change;                                                                                                                    \
		assert_int_equal(iog_schema_seal(&s, &err), -EINVAL);                                                                      \
		assert_int_equal(s.id, 0);                                                                                                 \
		if (!strstr(err.text, part))                                                                                               \
			fail_msg(#change " gives: %s", err.text);                                                                          \
	} while (0)
	REFUSES(s.n_dims = IOG_DIMS + 1, "17 dimensions; at most 16");
	REFUSES(s.n_vars = 1u << 31, "2147483648 variables; at most 64");
	REFUSES(memset(s.dim[0].name, 'a', IOG_NAME), "dimension number 0 has no valid name");
	REFUSES(s.dim[1].name[0] = 0, "dimension number 1 has no valid name");
	REFUSES(iog_strset(s.dim[1].name, IOG_NAME, "atom"), "two dimensions are called \"atom\"");
	REFUSES(memset(s.dim[0].labels, 'a', IOG_NAME), "labels of dimension \"atom\"");
	REFUSES(iog_strset(s.dim[0].labels, IOG_NAME, "a;b"), "labels of dimension \"atom\"");
	REFUSES(s.dim[0].max = -1, "dimension \"atom\" has no possible extent (-1)");
	REFUSES(s.dim[0].fixed = 2, "no possible extent");
	REFUSES(s.dim[1].max = 0, "no possible extent (0, exact)");
	REFUSES(memset(s.var[1].name, 'a', IOG_NAME), "variable number 1 has no valid name");
	REFUSES(iog_strset(s.var[1].name, IOG_NAME, "p"), "two variables are called \"p\"");
	REFUSES(memset(s.var[0].unit, 'a', IOG_NAME), "the unit of variable \"p\"");
	REFUSES(iog_strset(s.var[0].unit, IOG_NAME, "a\nb"), "the unit of variable \"p\"");
	REFUSES(iog_strset(s.var[0].unit, IOG_NAME, "a|b"), "the unit of variable \"p\"");
	REFUSES(s.var[0].dtype = IOG_NONE, "has no element type");
	REFUSES(s.var[0].dtype = 200, "type number 200");
	REFUSES(s.var[0].rank = 9, "9 dimensions; at most 8");
	REFUSES(s.var[0].flags = 2, "unknown flags 0x2");
	REFUSES(s.var[0].dim[1] = 2, "uses dimension number 2 of 2");
	REFUSES(s.var[0].dim[1] = 0, "twice");
	REFUSES(s.var[0].n_codecs = 5, "5 encodings; at most 4");
	REFUSES(s.var[1].codec[0] = 77, "unknown encoding (number 77)");
	REFUSES((s.var[0].n_codecs = 1, s.var[0].codec[0] = IOG_CODEC_NONE), "unknown encoding (number 0)");
	REFUSES(s.var[1].orig = IOG_NONE, "name its type before delta");
	REFUSES(s.var[0].orig = IOG_F32, "name its type before delta");
	/* What cannot be said in text does not count either: equal schemas are equal bytes. */
	s = good;
	s.var[0].dim[7] = 9, s.var[0].pad[3] = 1, s.dim[0].pad = 5, s.var[0].name[5] = 'x', s.dim[0].labels[9] = 'y';
	assert_int_equal(iog_schema_seal(&s, &err), 0);
	assert_memory_equal(&s, &good, sizeof s);
}

static void builds_and_refuses(void **st)
{
	uint8_t of[2] = { 0, 1 };

	(void)st;
	memset(&s, 0, sizeof s);
	assert_int_equal(iog_schema_add_dim(&s, "atom", 0, false), 0);
	assert_int_equal(iog_schema_add_dim(&s, "xyz", 3, true), 1);
	assert_string_equal(s.dim[1].labels, "x,y,z");
	assert_int_equal(iog_schema_add_dim(&s, "atom", 5, false), 0);
	assert_int_equal(iog_schema_add_dim(&s, "no good", 5, false), -EINVAL);
	assert_int_equal(iog_schema_add_dim(&s, "neg", -5, false), -EINVAL);
	assert_int_equal(iog_schema_add_var(&s, "p", IOG_F32, 2, of, "m"), 0);
	assert_int_equal(iog_schema_add_var(&s, "p", IOG_F32, 2, of, "m"), -EEXIST);
	assert_int_equal(iog_schema_add_var(&s, "q", IOG_NONE, 2, of, "m"), -EINVAL);
	assert_int_equal(iog_schema_add_var(&s, "q", IOG_F32, 9, of, "m"), -EINVAL);
	assert_int_equal(iog_schema_add_var(&s, "q", IOG_F32, 1, (uint8_t[]){ 2 }, "m"), -EINVAL);
	assert_int_equal(iog_schema_add_var(&s, "9", IOG_F32, 0, NULL, NULL), -EINVAL);
	assert_int_equal(iog_schema_add_var(&s, "e", IOG_F64, 0, NULL, NULL), 1);
	assert_int_equal(iog_schema_dim(&s, "xyz"), 1);
	assert_int_equal(iog_schema_dim(&s, "xy"), -1);
	assert_int_equal(iog_schema_var(&s, "e"), 1);
	assert_int_equal(iog_schema_var(&s, "E"), -1);
}

static void dropping_a_variable_drops_its_own_dimensions(void **st)
{
	char text[200];

	(void)st;
	parse("a: f32[m,n]; b: f32[n,k]; c: f32[k,m]");
	iog_schema_drop_var(&s, 0);
	assert_int_equal(s.id, 0);
	assert_int_equal(iog_schema_seal(&s, &err), 0);
	assert_int_equal(s.n_dims, 3);
	iog_schema_drop_var(&s, 1); /* c: m goes, and the others close up */
	assert_int_equal(iog_schema_seal(&s, &err), 0);
	iog_schema_text(&s, true, text, sizeof text);
	assert_string_equal(text, "b: f32[n,k]\n");
	assert_int_equal(s.n_dims, 2);
	iog_schema_drop_var(&s, 5); /* not there: nothing happens */
	iog_schema_drop_var(&s, 0);
	assert_int_equal(s.n_vars, 0);
	assert_int_equal(s.n_dims, 0);
}

static void assert_component(const char *name, int var, int index, bool scaled)
{
	struct iog_component c = iog_schema_component(&s, name, strlen(name));

	if (c.var != var || c.index != index || c.scaled != scaled)
		fail_msg("%s: var %d index %d scaled %d", name, c.var, c.index, c.scaled);
}

static void components_are_found(void **st)
{
	(void)st;
	parse("position: f32[atom,xyz]; velocity: f32[atom,xyz]; force: f32[atom,xyz]; image: i32[atom,xyz]; T.hot: f32[y]; q: "
	      "f32[atom,k=12]; "
	      "x2: f32[pair=2(lo,hi)]");
	assert_component("position", 0, -1, false);
	assert_component("position.y", 0, 1, false);
	assert_component("position.2", 0, 2, false);
	assert_component("x", 0, 0, false);
	assert_component("z", 0, 2, false);
	assert_component("xs", 0, 0, true);
	assert_component("zs", 0, 2, true);
	assert_component("vx", 1, 0, false);
	assert_component("vz", 1, 2, false);
	assert_component("fy", 2, 1, false);
	assert_component("ix", 3, 0, false);
	assert_component("T.hot", 4, -1, false);
	assert_component("q.11", 5, 11, false);
	assert_component("x2.hi", 6, 1, false);
	assert_component("q.12", -1, -1, false);
	assert_component("q.1x", -1, -1, false);
	assert_component("position.w", -1, -1, false);
	assert_component("position.3", -1, -1, false);
	assert_component("position.", -1, -1, false);
	assert_component(".x", -1, -1, false);
	assert_component("w", -1, -1, false);
	assert_component("vw", -1, -1, false);
	assert_component("vxs", -1, -1, false);
	assert_component("", -1, -1, false);
	assert_component("T.hot.0", -1, -1, false); /* y has no exact extent */
	/* A variable of that name comes before the alias; without position there is none. */
	parse("x: f32[n]; position: f32[atom,xyz]");
	assert_component("x", 0, -1, false);
	assert_component("y", 1, 1, false);
	parse("velocity: f32[atom,xyz]; T: f32");
	assert_component("x", -1, -1, false);
	assert_component("T.0", -1, -1, false);
	/* After a crop to x and y there is no z. */
	parse("position: f32[atom,xyz<=2(x,y,z)]");
	assert_component("y", 0, 1, false);
	assert_component("z", -1, -1, false);
}

static void sizes_are_bounded_or_unknown(void **st)
{
	uint64_t n;

	(void)st;
	parse("p: f32[atom<=1000,xyz]; static t: u8[atom]; e: f64; u: f32[n]; h: f64[a<=4000000000,b<=4000000000]");
	assert_true(iog_schema_var_max(&s, 0, &n));
	assert_int_equal(n, 12000);
	assert_true(iog_schema_var_max(&s, 2, &n));
	assert_int_equal(n, 8);
	assert_false(iog_schema_var_max(&s, 3, &n)); /* n is not known */
	assert_int_equal(n, 0);
	assert_false(iog_schema_var_max(&s, 4, &n)); /* 2^67 bytes */
	assert_false(iog_schema_var_max(&s, 99, &n));
	assert_false(iog_schema_payload_max(&s, false, &n));
	assert_true(iog_schema_payload_max(&s, true, &n));
	assert_int_equal(n, 1024);
	parse("p: f32[atom<=1000,xyz]; static t: u8[atom]; e: f64");
	assert_true(iog_schema_payload_max(&s, false, &n));
	assert_int_equal(n, 12032 + 64);
	parse("a: u8[n<=9223372036854775807]; b: u8[n]");
	assert_true(iog_schema_var_max(&s, 0, &n));
	assert_int_equal(n, INT64_MAX);
	assert_false(iog_schema_payload_max(&s, false, &n));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses_what_the_header_promises),
		cmocka_unit_test(text_round_trips),
		cmocka_unit_test(random_schemas_round_trip),
		cmocka_unit_test(id_ignores_maxima_and_nothing_else),
		cmocka_unit_test(text_counts_like_snprintf),
		cmocka_unit_test(parse_errors_say_what_where_and_what_instead),
		cmocka_unit_test(tables_have_ends),
		cmocka_unit_test(seal_checks_every_field),
		cmocka_unit_test(builds_and_refuses),
		cmocka_unit_test(dropping_a_variable_drops_its_own_dimensions),
		cmocka_unit_test(components_are_found),
		cmocka_unit_test(sizes_are_bounded_or_unknown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
