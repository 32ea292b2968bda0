/* SPDX-License-Identifier: BSD-3-Clause */
/* compress and decompress: exact round trips, the transposition against a plain loop, damaged frames, refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "frame.h"
#include "tests/support/op-driver.h"

#define INT(x)                                                                                                                             \
	{                                                                                                                                  \
		.kind = IOG_V_NUMBER, .integer = true, .n = (x)                                                                            \
	}
#define STR(x)                                                                                                                             \
	{                                                                                                                                  \
		.kind = IOG_V_STRING, .s = (x)                                                                                             \
	}
#define BOOL(x)                                                                                                                            \
	{                                                                                                                                  \
		.kind = IOG_V_BOOL, .b = (x)                                                                                               \
	}
#define NAMES(...)                                                                                                                         \
	{                                                                                                                                  \
		.kind = IOG_V_LIST, .item = (const struct iog_value[]){ __VA_ARGS__ },                                                     \
		.n_items = sizeof((struct iog_value[]){ __VA_ARGS__ }) / sizeof(struct iog_value)                                          \
	}

static const char *const all_types =
	"i8: i8[n<=300]; i16: i16[n]; i32: i32[n]; i64: i64[n]; f16: f16[n]; f32: f32[n,xyz]; f64: f64[n]; b: bool[n];"
	"c: c64[n]; T: f64 K; static m: f32[kind=3]";

/* compress, and decompress behind it. */
struct chain {
	struct op_setup c, d;
	struct op_instance cx, dx;
};

static void chain_init(struct chain *k, const struct op_case *compress)
{
	struct iog_err err = { 0 };
	struct op_case d = { .name = "d", .op = "decompress" };
	if (op_setup_init(&k->c, compress, &err) || op_instance_init(&k->cx, &k->c, IOG_ISA_BASE, 0, &err))
		fail_msg("%s", err.text);
	const struct iog_schema *all = &k->c.out[0];
	if (op_setup_plan(&k->d, &d, &all, 1, &err) || op_instance_init(&k->dx, &k->d, IOG_ISA_BASE, 0, &err))
		fail_msg("%s", err.text);
}

static void chain_finish(struct chain *k)
{
	op_instance_finish(&k->dx);
	op_instance_finish(&k->cx);
	op_setup_finish(&k->d);
	op_setup_finish(&k->c);
}

static const struct iog_record *run(struct op_instance *x, const struct iog_record *r)
{
	assert_int_equal(op_instance_call(x, &r, NULL), IOG_OK);
	return &x->out[0].rec;
}

static void every_type_comes_back(void **state)
{
	(void)state;
	for (int shuffle = 0; shuffle < 2; shuffle++) {
		struct chain k;
		struct op_case c = { .name = "c", .op = "compress", .schema = all_types, .conf = { { "shuffle", BOOL(shuffle) } } };
		chain_init(&k, &c);
		assert_int_equal(k.d.out[0].id, k.c.in[0].id);
		for (unsigned i = 0; i < 8; i++) {
			struct op_record r;
			op_record_make(&r, &k.c.in[0], 0, i);
			const struct iog_record *e = run(&k.cx, &r.rec), *out;
			for (unsigned v = 0; v < 9; v++)
				assert_int_equal(k.c.out[0].var[v].codec[0], IOG_CODEC_ZSTD);
			assert_ptr_equal(e->var[9].block, r.rec.var[9].block);
			assert_ptr_equal(e->var[10].block, r.rec.var[10].block);
			out = run(&k.dx, e);
			for (unsigned v = 0; v < 9; v++) {
				const uint8_t *data;
				assert_true(iog_record_whole(out, v, &data));
				assert_memory_equal(data, r.rec.var[v].block->data, iog_record_var_bytes(&r.rec, v));
			}
			op_record_free(&r);
		}
		chain_finish(&k);
	}
}

static uint64_t encoded(const char *schema, bool shuffle, int level)
{
	struct op_setup s;
	struct op_instance x;
	struct op_record r;
	struct iog_err err = { 0 };
	struct op_case c = {
		.name = "c", .op = "compress", .schema = schema, .conf = { { "shuffle", BOOL(shuffle) }, { "level", INT(level) } }
	};
	assert_int_equal(op_setup_init(&s, &c, &err), 0);
	assert_int_equal(op_instance_init(&x, &s, IOG_ISA_BASE, 0, &err), 0);
	op_record_make(&r, &s.in[0], 0, 5);
	uint64_t n = run(&x, &r.rec)->var[0].block->bytes;
	op_record_free(&r);
	op_instance_finish(&x);
	op_setup_finish(&s);
	return n;
}

static void transposition_pays_for_numbers(void **state)
{
	(void)state;
	assert_true(encoded("id: i64[atom<=300]", true, 1) < encoded("id: i64[atom<=300]", false, 1));
	assert_true(encoded("position: f32[atom<=300,xyz]", true, 1) < encoded("position: f32[atom<=300,xyz]", false, 1));
	assert_true(encoded("position: f32[atom<=300,xyz]", true, 1) < 300 * 12);
}

static void only_the_chosen_are_encoded(void **state)
{
	struct chain k;
	struct op_case c = {
		.name = "c", .op = "compress", .schema = all_types, .conf = { { "variables", NAMES(STR("i32"), STR("f64")) } }
	};
	(void)state;
	chain_init(&k, &c);
	for (unsigned v = 0; v < k.c.out[0].n_vars; v++)
		assert_int_equal(k.c.out[0].var[v].n_codecs, v == 2 || v == 6);
	chain_finish(&k);
}

static void transposition_is_what_a_plain_loop_does(void **state)
{
	static const unsigned sizes[] = { 2, 4, 8 };
	uint8_t src[8 * 70], dst[8 * 70 + 1], back[8 * 70 + 1];
	(void)state;
	for (unsigned i = 0; i < sizeof src; i++)
		src[i] = (uint8_t)(i * 37 + i / 256 * 11);
	for (unsigned k = 0; k < IOG_COUNT(sizes); k++)
		for (size_t n = 0; n <= 70; n++) {
			unsigned size = sizes[k];
			dst[n * size] = back[n * size] = 0xee;
			iog_bytes_shuffle(dst, src, n, size);
			for (size_t i = 0; i < n; i++)
				for (unsigned b = 0; b < size; b++)
					assert_int_equal(dst[b * n + i], src[i * size + b]);
			iog_bytes_unshuffle(back, dst, n, size);
			assert_memory_equal(back, src, n * size);
			assert_int_equal(dst[n * size], 0xee);
			assert_int_equal(back[n * size], 0xee);
		}
}

/* Any changed byte, any length: bad input or a value of the right size, never more, and the next good record is restored. */
static void damaged_frames_are_bad_input(void **state)
{
	struct chain k;
	struct op_record r, e;
	struct iog_err err = { 0 };
	struct op_case c = { .name = "c", .op = "compress", .schema = "position: f32[atom<=300,xyz]" };
	unsigned bad = 0;
	(void)state;
	chain_init(&k, &c);
	op_record_make(&r, &k.c.in[0], 0, 0);
	op_record_copy(&e, run(&k.cx, &r.rec));
	const struct iog_record *in = &e.rec;
	uint64_t n = e.block[0].bytes;
	for (uint64_t i = 0; i < n; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			e.payload[i] ^= (uint8_t)(1 << bit);
			enum iog_step step = op_instance_call(&k.dx, &in, NULL);
			assert_true(step == IOG_BAD_INPUT || step == IOG_OK);
			assert_true(op_instance_check(&k.dx, &err));
			bad += step == IOG_BAD_INPUT;
			/* The header carries nothing that may change unnoticed. */
			if (i < sizeof(struct frame) && i != offsetof(struct frame, flags))
				assert_int_equal(step, IOG_BAD_INPUT);
			e.payload[i] ^= (uint8_t)(1 << bit);
		}
	assert_true(bad > 200);
	for (uint64_t len = 0; len < n; len++) {
		e.block[0].bytes = len;
		assert_int_equal(op_instance_call(&k.dx, &in, NULL), IOG_BAD_INPUT);
	}
	e.block[0].bytes = n;
	assert_memory_equal(run(&k.dx, in)->var[0].block->data, r.payload, 1200);
	op_record_free(&e);
	op_record_free(&r);
	chain_finish(&k);
}

/* A frame that is fine in itself, but larger than the record says. */
static void what_a_frame_claims_is_not_believed(void **state)
{
	struct chain k;
	struct op_record r, e;
	struct op_case c = { .name = "c", .op = "compress", .schema = "position: f32[atom<=300,xyz]" };
	(void)state;
	chain_init(&k, &c);
	op_record_make(&r, &k.c.in[0], 0, 4);
	op_record_copy(&e, run(&k.cx, &r.rec));
	const struct iog_record *in = &e.rec;
	e.rec.axis[0].extent = e.block[0].count[0] = 10;
	assert_int_equal(op_instance_call(&k.dx, &in, NULL), IOG_BAD_INPUT);
	uint64_t lie = 10 * 12;
	memcpy(e.payload + offsetof(struct frame, bytes), &lie, sizeof lie);
	assert_int_equal(op_instance_call(&k.dx, &in, NULL), IOG_BAD_INPUT);
	op_record_free(&e);
	op_record_free(&r);
	chain_finish(&k);
}

static void refused(const struct op_case *c, const char *says)
{
	struct op_setup s;
	struct iog_err err = { 0 };
	assert_true(op_setup_init(&s, c, &err) < 0);
	if (!strstr(err.text, says))
		fail_msg("\"%s\" does not say \"%s\"", err.text, says);
}

static void mistakes_are_named(void **state)
{
	const char *const schema = "position: f32[atom<=300,xyz]; T: f64; static mass: f32[kind=3]";
	(void)state;
	refused(&(struct op_case){ .op = "compress", .schema = schema, .conf = { { "variables", NAMES(STR("positon")) } } },
		"did you mean \"position\"");
	refused(&(struct op_case){ .op = "compress", .schema = schema, .conf = { { "variables", NAMES(STR("T")) } } }, "single value");
	refused(&(struct op_case){ .op = "compress", .schema = schema, .conf = { { "variables", NAMES(STR("mass")) } } }, "static");
	refused(&(struct op_case){ .op = "compress", .schema = schema, .conf = { { "level", INT(99) } } }, "level");
	refused(&(struct op_case){ .op = "compress", .schema = "T: f64" }, "no variable to encode");
	refused(&(struct op_case){ .op = "compress", .schema = "position: f32[atom]" }, "atom<=32000");
	refused(&(struct op_case){ .op = "decompress", .schema = schema }, "put compress before it");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type_comes_back),
		cmocka_unit_test(transposition_pays_for_numbers),
		cmocka_unit_test(only_the_chosen_are_encoded),
		cmocka_unit_test(transposition_is_what_a_plain_loop_does),
		cmocka_unit_test(damaged_frames_are_bad_input),
		cmocka_unit_test(what_a_frame_claims_is_not_believed),
		cmocka_unit_test(mistakes_are_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
