/* SPDX-License-Identifier: BSD-3-Clause */
/* delta and undelta: the error bound, numbers that are none, when keys come, and readers that start late or miss a record. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/support/op-driver.h"

#define NUM(x)                                                                                                                             \
	{                                                                                                                                  \
		.kind = IOG_V_NUMBER, .n = (x)                                                                                             \
	}
#define INT(x)                                                                                                                             \
	{                                                                                                                                  \
		.kind = IOG_V_NUMBER, .integer = true, .n = (x)                                                                            \
	}
#define STR(x)                                                                                                                             \
	{                                                                                                                                  \
		.kind = IOG_V_STRING, .s = (x)                                                                                             \
	}

/* delta, and undelta behind it. */
struct chain {
	struct op_setup d, u;
	struct op_instance dx, ux;
};

static void chain_init(struct chain *c, const char *schema, const char *variable, double quantum, int key_every)
{
	struct iog_err err = { 0 };
	struct op_case d = { .name = "d",
		.op = "delta",
		.schema = schema,
		.conf = { { "variable", STR(variable) }, { "quantum", NUM(quantum) }, { "key_every", INT(key_every) } } };
	struct op_case u = { .name = "u", .op = "undelta", .conf = { { "variable", STR(variable) } } };
	if (op_setup_init(&c->d, &d, &err) || op_instance_init(&c->dx, &c->d, IOG_ISA_BASE, 0, &err))
		fail_msg("%s", err.text);
	const struct iog_schema *all = &c->d.out[0];
	if (op_setup_plan(&c->u, &u, &all, 1, &err) || op_instance_init(&c->ux, &c->u, op_isa(), 0, &err))
		fail_msg("%s", err.text);
}

static void chain_finish(struct chain *c)
{
	op_instance_finish(&c->ux);
	op_instance_finish(&c->dx);
	op_setup_finish(&c->u);
	op_setup_finish(&c->d);
}

static const struct iog_record *difference(struct chain *c, const struct iog_record *r)
{
	assert_int_equal(op_instance_call(&c->dx, &r, NULL), IOG_OK);
	return &c->dx.out[0].rec;
}

static const struct iog_record *restored(struct chain *c, const struct iog_record *r)
{
	assert_int_equal(op_instance_call(&c->ux, &r, NULL), IOG_OK);
	return &c->ux.out[0].rec;
}

static double scalar(const struct iog_record *r, const char *name)
{
	double v;
	assert_true(iog_record_scalar(r, (unsigned)iog_schema_var(r->schema, name), &v));
	return v;
}

static double magnitude(double v) { return v < 0 ? -v : v; }

static const char *const atoms = "id: i32[atom<=300]; position: f32[atom,xyz] nm; T: f64 K";

static void values_come_back_within_half_a_quantum(void **state)
{
	static const struct {
		const char *schema;
		double quantum, ulp;
	} t[] = {
		{ "position: f32[atom<=300,xyz]", 0.001, 1e-6 },
		{ "position: f64[atom<=300,xyz]", 1e-6, 1e-14 },
		{ "position: i16[atom<=300]", 4, 0 },
		{ "position: u8[atom<=300,xyz]", 3, 0.5 },
		{ "position: i64[atom<=300,xyz]", 1, 0 },
		{ "position: f16[atom<=300,xyz]", 0.25, 0.05 },
	};
	(void)state;
	for (unsigned k = 0; k < IOG_COUNT(t); k++) {
		struct chain c;
		chain_init(&c, t[k].schema, "position", t[k].quantum, 4);
		assert_int_equal(c.d.out[0].var[0].dtype, IOG_I32);
		assert_int_equal(c.u.out[0].var[0].dtype, c.d.in[0].var[0].dtype);
		assert_int_equal(c.u.out[0].n_vars, c.d.in[0].n_vars);
		assert_int_equal(c.u.out[0].id, c.d.in[0].id);
		for (unsigned i = 0; i < 8; i++) {
			struct op_record r;
			op_record_make(&r, &c.d.in[0], 0, i);
			const struct iog_record *out = restored(&c, difference(&c, &r.rec));
			unsigned dtype = c.d.in[0].var[0].dtype, size = iog_dtype_size(dtype), rank = c.d.in[0].var[0].rank;
			for (int64_t e = 0; e < iog_block_elems(r.rec.var[0].block, rank); e++) {
				double a = iog_load(r.rec.var[0].block->data + e * size, dtype),
				       b = iog_load(out->var[0].block->data + e * size, dtype);
				if (!(magnitude(a - b) <= t[k].quantum / 2 * (1 + 1e-9) + t[k].ulp))
					fail_msg("%s, record %u, element %d: %d/1000000 became %d/1000000", t[k].schema, i, (int)e,
						(int)(a * 1e6), (int)(b * 1e6));
			}
			op_record_free(&r);
		}
		chain_finish(&c);
	}
}

static void odd_numbers(void **state)
{
	static const struct {
		double in, out;
	} t[] = {
		{ 0.0, 0 },
		{ -0.0, 0 },
		{ 0.5, 0 },
		{ 1.5, 2 },
		{ 2.5, 2 },
		{ -0.5, 0 },
		{ -1.5, -2 },
		{ 1e300, INT32_MAX },
		{ -1e300, -INT32_MAX },
		{ __builtin_inf(), INT32_MAX },
		{ -__builtin_inf(), -INT32_MAX },
		{ 2147483646.6, INT32_MAX },
		{ 1e-310, 0 },
	};
	struct chain c;
	struct op_record r;
	(void)state;
	chain_init(&c, "position: f64[atom<=300]", "position", 1, 100);
	op_record_make(&r, &c.d.in[0], 0, 0);
	for (unsigned pass = 0; pass < 3; pass++) {
		for (unsigned k = 0; k < IOG_COUNT(t); k++)
			iog_store(r.payload + 8 * ((k + pass) % IOG_COUNT(t)), IOG_F64, t[k].in);
		iog_store(r.payload + 8 * (20 + pass), IOG_F64, __builtin_nan(""));
		r.rec.id.seq += pass;
		const struct iog_record *out = restored(&c, difference(&c, &r.rec));
		for (unsigned k = 0; k < IOG_COUNT(t); k++)
			assert_true(iog_load(out->var[0].block->data + 8 * ((k + pass) % IOG_COUNT(t)), IOG_F64) == t[k].out);
		double nan = iog_load(out->var[0].block->data + 8 * (20 + pass), IOG_F64);
		assert_true(nan != nan);
	}
	op_record_free(&r);
	chain_finish(&c);
}

/* First, every third, after a new epoch (record 6), and when rows change; not when the count does. */
static void keys_come_when_they_should(void **state)
{
	static const int key[8] = { 1, 0, 0, 1, 0, 0, 1, 0 };
	struct chain c;
	(void)state;
	chain_init(&c, atoms, "position", 0.01, 3);
	for (unsigned i = 0; i < 8; i++) {
		struct op_record r;
		op_record_make(&r, &c.d.in[0], 0, i);
		const struct iog_record *d = difference(&c, &r.rec);
		assert_int_equal(scalar(d, "position_key"), key[i]);
		assert_true(scalar(d, "position_quantum") == 0.01);
		op_record_free(&r);
	}
	chain_finish(&c);

	chain_init(&c, "position: f32[row<=300,col<=300]", "position", 0.01, 100);
	for (unsigned i = 0; i < 2; i++) {
		struct op_record r;
		op_record_make(&r, &c.d.in[0], 0, i);
		assert_int_equal(scalar(difference(&c, &r.rec), "position_key"), 1);
		op_record_free(&r);
	}
	chain_finish(&c);
}

static void a_reader_waits_for_a_key(void **state)
{
	struct chain c;
	(void)state;
	chain_init(&c, atoms, "position", 0.01, 4);
	for (unsigned i = 0; i < 6; i++) {
		struct op_record r;
		op_record_make(&r, &c.d.in[0], 0, i);
		const struct iog_record *d = difference(&c, &r.rec);
		/* It starts at record 1; the key is record 4. */
		if (i)
			assert_int_equal(op_instance_call(&c.ux, &d, NULL), i < 4 ? IOG_BAD_INPUT : IOG_OK);
		op_record_free(&r);
	}
	chain_finish(&c);
}

static void a_lost_record_is_noticed(void **state)
{
	struct chain c;
	(void)state;
	chain_init(&c, atoms, "position", 0.01, 4);
	for (unsigned i = 0; i < 6; i++) {
		struct op_record r;
		op_record_make(&r, &c.d.in[0], 0, i);
		const struct iog_record *d = difference(&c, &r.rec);
		if (i != 1)
			assert_int_equal(op_instance_call(&c.ux, &d, NULL), i == 2 || i == 3 ? IOG_BAD_INPUT : IOG_OK);
		op_record_free(&r);
	}
	chain_finish(&c);
}

/* A record whose pieces stop coming leaves nothing that the next one could refer to. */
static void an_unfinished_record_is_followed_by_a_key(void **state)
{
	struct chain c;
	struct op_record r;
	struct iog_block block[8];
	struct iog_record piece;
	const struct iog_record *in = &piece;
	struct iog_seg seg = { .is_first = true, .count = 10, .total = 100 };
	(void)state;
	chain_init(&c, atoms, "position", 0.01, 100);
	op_record_make(&r, &c.d.in[0], 0, 0);
	difference(&c, &r.rec);
	assert_int_equal(iog_segment_cut(&piece, &r.rec, 0, 0, 10, block, 8), 0);
	piece.id.seq++;
	assert_int_equal(op_instance_call(&c.dx, &in, &seg), IOG_OK);
	assert_int_equal(scalar(&c.dx.out[0].rec, "position_key"), 0);
	r.rec.id.seq += 2;
	assert_int_equal(scalar(difference(&c, &r.rec), "position_key"), 1);
	seg.is_first = false;
	assert_int_equal(op_instance_call(&c.dx, &in, &seg), IOG_BAD_INPUT);
	op_record_free(&r);
	chain_finish(&c);
}

/* What arrives is not trusted: a quantum that is none, more elements than declared. */
static void damaged_attributes_are_bad_input(void **state)
{
	static const double bad[] = { 0, -1, __builtin_inf(), __builtin_nan("") };
	struct chain c;
	struct op_record r, d;
	(void)state;
	chain_init(&c, atoms, "position", 0.01, 100);
	op_record_make(&r, &c.d.in[0], 0, 0);
	op_record_copy(&d, difference(&c, &r.rec));
	int q = iog_schema_var(&c.d.out[0], "position_quantum");
	const struct iog_record *in = &d.rec;
	for (unsigned k = 0; k < IOG_COUNT(bad); k++) {
		iog_store(d.payload + (d.rec.var[q].block->data - d.payload), IOG_F64, bad[k]);
		assert_int_equal(op_instance_call(&c.ux, &in, NULL), IOG_BAD_INPUT);
	}
	iog_store(d.payload + (d.rec.var[q].block->data - d.payload), IOG_F64, 0.01);
	assert_int_equal(op_instance_call(&c.ux, &in, NULL), IOG_OK);
	op_record_free(&d);
	op_record_free(&r);
	chain_finish(&c);
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
	(void)state;
	refused(&(struct op_case){ .op = "delta", .schema = atoms, .conf = { { "variable", STR("positon") }, { "quantum", NUM(1) } } },
		"did you mean \"position\"");
	refused(&(struct op_case){ .op = "delta", .schema = atoms, .conf = { { "quantum", NUM(0) } } }, "quantum");
	refused(&(struct op_case){ .op = "delta", .schema = atoms, .conf = { { "variable", STR("T") }, { "quantum", NUM(1) } } },
		"array of real numbers");
	refused(&(struct op_case){ .op = "delta", .schema = "static position: f32[atom<=9]", .conf = { { "quantum", NUM(1) } } }, "static");
	refused(&(struct op_case){ .op = "delta", .schema = "position: f32[atom]", .conf = { { "quantum", NUM(1) } } }, "atom<=32000");
	refused(&(struct op_case){ .op = "delta", .schema = "position: f32[atom<=9]; position_key: u8", .conf = { { "quantum", NUM(1) } } },
		"position_key");
	refused(&(struct op_case){ .op = "undelta", .schema = atoms }, "does not hold differences");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_come_back_within_half_a_quantum),
		cmocka_unit_test(odd_numbers),
		cmocka_unit_test(keys_come_when_they_should),
		cmocka_unit_test(a_reader_waits_for_a_key),
		cmocka_unit_test(a_lost_record_is_noticed),
		cmocka_unit_test(an_unfinished_record_is_followed_by_a_key),
		cmocka_unit_test(damaged_attributes_are_bad_input),
		cmocka_unit_test(mistakes_are_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
