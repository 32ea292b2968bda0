/* SPDX-License-Identifier: BSD-3-Clause */
/* merge: schemas that fit and that do not, blocks in place and end to end, missing inputs, and that nothing is copied. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/support/op-driver.h"

#define STR(x)                                                                                                                             \
	{                                                                                                                                  \
		.kind = IOG_V_STRING, .s = (x)                                                                                             \
	}

static const char *const atoms = "position: f32[atom<=300,xyz] nm; id: i32[atom]; box: f32[cell]; T: f64 K";

struct rig {
	struct op_setup s;
	struct op_instance x;
	struct op_record in[IOG_PORTS];
	const struct iog_record *rec[IOG_PORTS], *out;
	enum iog_step step;
};

static int plan(struct op_setup *s, const struct op_case *c, const char *const *schema, uint32_t n, struct iog_err *err)
{
	static struct iog_schema in[IOG_PORTS];
	const struct iog_schema *all[IOG_PORTS];
	for (uint32_t k = 0; k < n; k++) {
		if (iog_schema_parse(&in[k], schema[k], err))
			fail_msg("%s", err->text);
		all[k] = &in[k];
	}
	return op_setup_plan(s, c, all, n, err);
}

/* Merges record i of each port but those in `missing`. */
static struct rig *rig(const struct op_case *c, const char *const *schema, uint32_t n, unsigned i, unsigned missing)
{
	static struct rig r;
	struct iog_err err = { 0 };
	memset(&r, 0, sizeof r);
	if (plan(&r.s, c, schema, n, &err) || op_instance_init(&r.x, &r.s, IOG_ISA_BASE, 0, &err))
		fail_msg("%s", err.text);
	for (uint32_t k = 0; k < n; k++)
		if (!(missing >> k & 1)) {
			op_record_make(&r.in[k], &r.s.in[k], k, i);
			r.rec[k] = &r.in[k].rec;
		}
	r.step = op_instance_call(&r.x, r.rec, NULL);
	r.out = &r.x.out[0].rec;
	return &r;
}

static void rig_finish(struct rig *r)
{
	for (unsigned k = 0; k < IOG_PORTS; k++)
		op_record_free(&r->in[k]);
	op_instance_finish(&r->x);
	op_setup_finish(&r->s);
}

static void end_to_end(void **state)
{
	(void)state;
	struct rig *r = rig(&(struct op_case){ .op = "merge", .conf = { { "along", STR("atom") } } },
		(const char *const[]){ atoms, atoms, atoms }, 3, 0, 0);
	int64_t n0 = r->rec[0]->axis[0].extent, n1 = r->rec[1]->axis[0].extent, n2 = r->rec[2]->axis[0].extent;
	assert_int_equal(r->step, IOG_OK);
	assert_int_equal(r->s.out[0].dim[0].max, 900);
	assert_int_equal(r->out->axis[0].extent, n0 + n1 + n2);
	assert_int_equal(r->out->var[0].n_blocks, 3);
	assert_int_equal(r->out->var[0].block[1].start[0], n0);
	assert_int_equal(r->out->var[1].block[2].start[0], n0 + n1);
	for (unsigned k = 0; k < 3; k++)
		assert_ptr_equal(r->out->var[0].block[k].data, r->rec[k]->var[0].block->data);
	assert_int_equal(r->x.out[0].used, 0);
	/* Replicated arrays and attributes: from the first. */
	assert_ptr_equal(r->out->var[2].block, r->rec[0]->var[2].block);
	assert_ptr_equal(r->out->var[3].block, r->rec[0]->var[3].block);
	rig_finish(r);
}

static void a_missing_input_counts_nothing(void **state)
{
	(void)state;
	const char *const two[] = { atoms, atoms };
	struct rig *r = rig(&(struct op_case){ .op = "merge", .conf = { { "along", STR("atom") } } }, two, 2, 0, 1);
	assert_int_equal(r->step, IOG_OK);
	assert_int_equal(r->out->axis[0].extent, r->rec[1]->axis[0].extent);
	assert_int_equal(r->out->var[0].n_blocks, 1);
	assert_int_equal(r->out->var[0].block[0].start[0], 0);
	assert_ptr_equal(r->out->var[3].block, r->rec[1]->var[3].block);
	rig_finish(r);
	r = rig(&(struct op_case){ .op = "merge", .conf = { { "require", STR("all") } } }, two, 2, 0, 2);
	assert_int_equal(r->step, IOG_ELIDE);
	rig_finish(r);
}

static void variables_are_matched_by_name(void **state)
{
	(void)state;
	const char *const two[] = { "a: f32[atom<=300]; b: i32[atom,xyz]", "b: i32[atom<=300,xyz]; a: f32[atom]" };
	struct rig *r = rig(&(struct op_case){ .op = "merge", .conf = { { "along", STR("atom") } } }, two, 2, 0, 0);
	assert_int_equal(r->step, IOG_OK);
	assert_ptr_equal(r->out->var[0].block[1].data, r->rec[1]->var[1].block->data);
	assert_ptr_equal(r->out->var[1].block[1].data, r->rec[1]->var[0].block->data);
	rig_finish(r);
}

static void pieces_of_other_width_are_bad_input(void **state)
{
	(void)state;
	const char *const two[] = { "a: f32[row<=300,col<=300]", "a: f32[row<=300,col<=300]" };
	struct rig *r = rig(&(struct op_case){ .op = "merge", .conf = { { "along", STR("row") } } }, two, 2, 0, 0);
	assert_int_equal(r->step, IOG_BAD_INPUT);
	rig_finish(r);
}

static void extents_without_along_are_the_largest(void **state)
{
	(void)state;
	const char *const two[] = { "a: f32[row<=300]", "a: f32[row<=200]" };
	struct rig *r = rig(&(struct op_case){ .op = "merge" }, two, 2, 0, 0);
	assert_int_equal(r->step, IOG_OK);
	assert_int_equal(r->s.out[0].dim[0].max, 300);
	assert_int_equal(r->out->axis[0].extent, IOG_MAX(r->rec[0]->axis[0].extent, r->rec[1]->axis[0].extent));
	rig_finish(r);
}

static void mismatches_are_named(void **state)
{
	static const struct {
		const char *a, *b, *along, *says;
	} t[] = {
		{ "a: f32[n<=9]", "a: f64[n<=9]", "", "variable \"a\" is f64 in input 2, but f32 in input 1" },
		{ "a: f32[n<=9]", "a: f32[n<=9,m<=9]; b: i8[m]", "", "variables" },
		{ "a: f32[n<=9]; b: i8[m<=9]", "a: f32[n<=9,m<=9]; b: i8[m]", "",
			"variable \"a\" has 2 dimensions in input 2, but 1 in input 1" },
		{ "a: f32[n<=9]; static m: f32[n]", "a: f32[n<=9]; m: f32[n]", "",
			"variable \"m\" is static in input 1 (the same for all records), but not in input 2" },
		{ "a: f32[n<=9]", "static a: f32[n<=9]", "",
			"variable \"a\" is static in input 2 (the same for all records), but not in input 1" },
		{ "a: u8[y<=9,x<=9,rgb] | jpeg", "a: u8[y<=9,x<=9,rgb]", "", "variable \"a\" is u8 in input 2, but u8 | jpeg in input 1" },
		{ "a: f32[n<=9]", "b: f32[n<=9]", "", "no variable \"a\"" },
		{ "a: f32[n<=9]", "a: f32[m<=9]", "", "no dimension \"n\"" },
		{ "a: f32[n<=9,m<=9]", "a: f32[m<=9,n<=9]", "", "dimension 1 of variable \"a\" is \"m\" in input 2" },
		{ "a: f32[n<=9] K", "a: f32[n<=9] eV", "", "\"eV\"" },
		{ "a: f32[n<=9]", "a: f32[n<=9]; b: i8", "", "2 variables" },
		{ "a: f32[atom<=9]", "a: f32[atom<=9]", "atmo", "did you mean \"atom\"" },
	};
	(void)state;
	for (unsigned i = 0; i < IOG_COUNT(t); i++) {
		struct op_setup s;
		struct iog_err err = { 0 };
		const char *const two[] = { t[i].a, t[i].b };
		struct op_case c = { .op = "merge", .conf = { { "along", STR(t[i].along) } } };
		assert_true(plan(&s, &c, two, 2, &err) < 0);
		if (!strstr(err.text, t[i].says))
			fail_msg("\"%s\" does not say \"%s\"", err.text, t[i].says);
	}
}

static void differences_are_refused(void **state)
{
	struct op_setup delta, s;
	struct iog_err err = { 0 };
	(void)state;
	assert_int_equal(op_setup_init(&delta, op_case_find("delta-f32"), &err), 0);
	const struct iog_schema *all[] = { &delta.out[0], &delta.out[0] };
	assert_true(op_setup_plan(&s, &(struct op_case){ .op = "merge" }, all, 2, &err) < 0);
	assert_non_null(strstr(err.text, "undelta"));
	op_setup_finish(&delta);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(end_to_end),
		cmocka_unit_test(a_missing_input_counts_nothing),
		cmocka_unit_test(variables_are_matched_by_name),
		cmocka_unit_test(pieces_of_other_width_are_bad_input),
		cmocka_unit_test(extents_without_along_are_the_largest),
		cmocka_unit_test(mismatches_are_named),
		cmocka_unit_test(differences_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
