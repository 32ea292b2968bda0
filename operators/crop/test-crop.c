/* SPDX-License-Identifier: BSD-3-Clause */
/* crop: which dimension an interval means, bounds, origins, refusals, and that nothing is copied. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "tests/support/op-driver.h"

#define NUM(x)                                                                                                                             \
	{                                                                                                                                  \
		.kind = IOG_V_NUMBER, .n = (x)                                                                                             \
	}
#define PAIR(lo, hi)                                                                                                                       \
	{                                                                                                                                  \
		.kind = IOG_V_LIST, .item = (const struct iog_value[]){ NUM(lo), NUM(hi) }, .n_items = 2                                   \
	}
#define BOX(...)                                                                                                                           \
	{                                                                                                                                  \
		"box",                                                                                                                     \
		{                                                                                                                          \
			.kind = IOG_V_LIST, .item = (const struct iog_value[]){ __VA_ARGS__ },                                             \
			.n_items = sizeof((struct iog_value[]){ __VA_ARGS__ }) / sizeof(struct iog_value)                                  \
		}                                                                                                                          \
	}
#define NAMED(name, ...)                                                                                                                   \
	{                                                                                                                                  \
		"box",                                                                                                                     \
		{                                                                                                                          \
			.kind = IOG_V_LIST, .key = (const char *const[]){ name }, .item = (const struct iog_value[]){ __VA_ARGS__ },       \
			.n_items = 1                                                                                                       \
		}                                                                                                                          \
	}

static const double inf = __builtin_inf();

struct rig {
	struct op_setup s;
	struct op_instance x;
	struct op_record in;
	const struct iog_record *out;
};

/* Crops generated record 0 of a schema. */
static void rig_init(struct rig *r, const char *schema, const struct op_case *c)
{
	struct iog_err err = { 0 };
	struct op_case one = *c;
	one.schema = schema;
	if (op_setup_init(&r->s, &one, &err) || op_instance_init(&r->x, &r->s, IOG_ISA_BASE, 0, &err))
		fail_msg("%s", err.text);
	op_record_make(&r->in, &r->s.in[0], 0, 0);
	const struct iog_record *in = &r->in.rec;
	assert_int_equal(op_instance_call(&r->x, &in, NULL), IOG_OK);
	r->out = &r->x.out[0].rec;
}

static void rig_finish(struct rig *r)
{
	op_record_free(&r->in);
	op_instance_finish(&r->x);
	op_setup_finish(&r->s);
}

static struct rig *rig(const char *schema, const struct op_case *c)
{
	static struct rig r;
	rig_init(&r, schema, c);
	return &r;
}

static int64_t extent(const struct rig *r, const char *dim) { return r->out->axis[iog_schema_dim(r->out->schema, dim)].extent; }

static void refused(const char *schema, const struct op_case *c, const char *says)
{
	struct op_setup s;
	struct iog_err err = { 0 };
	struct op_case one = *c;
	one.schema = schema;
	assert_true(op_setup_init(&s, &one, &err) < 0);
	if (!strstr(err.text, says))
		fail_msg("\"%s\" does not say \"%s\"", err.text, says);
}

static const char *const image = "image: u8[y=48,x=64,rgb]", *const atoms = "position: f32[atom<=300,xyz]; id: i32[atom]; box: f32[cell]";

static void position_is_x_y_z(void **state)
{
	(void)state;
	struct rig *r = rig(image, &(struct op_case){ .op = "crop", .conf = { BOX(PAIR(8, 40), PAIR(4, 30)) } });
	assert_int_equal(extent(r, "x"), 32);
	assert_int_equal(extent(r, "y"), 26);
	assert_int_equal(extent(r, "rgb"), 3);
	rig_finish(r);
}

static void position_without_xyz_is_slowest_first(void **state)
{
	(void)state;
	struct rig *r = rig(atoms, &(struct op_case){ .op = "crop", .conf = { BOX(PAIR(10, 30)) } });
	assert_int_equal(extent(r, "atom"), 20);
	assert_int_equal(extent(r, "xyz"), 3);
	rig_finish(r);
}

static void nothing_is_copied(void **state)
{
	(void)state;
	struct rig *r = rig(atoms, &(struct op_case){ .op = "crop", .conf = { NAMED("atom", PAIR(10, 30)) } });
	assert_int_equal(r->s.plan.need.out_max[0], 0);
	assert_ptr_equal(r->out->var[0].block->data, r->in.rec.var[0].block->data + 10 * 12);
	assert_ptr_equal(r->out->var[1].block->data, r->in.rec.var[1].block->data + 10 * 4);
	assert_ptr_equal(r->out->var[2].block, r->in.rec.var[2].block);
	rig_finish(r);
}

static void bounds_are_half_open_and_clamped(void **state)
{
	static const struct {
		double lo, hi;
		int64_t n;
	} t[] = {
		{ 0, 64, 64 },
		{ -5, 10, 10 },
		{ 60, 100, 4 },
		{ 0.5, 2.5, 2 },
		{ 0.5, 3, 2 },
		{ 10, 10, 0 },
		{ 64, 70, 0 },
		{ -9, -3, 0 },
		{ 1e300, inf, 0 },
		{ -inf, inf, 64 },
		{ 63, 64, 1 },
	};
	(void)state;
	for (unsigned i = 0; i < IOG_COUNT(t); i++) {
		struct rig *r = rig(image, &(struct op_case){ .op = "crop", .conf = { NAMED("x", PAIR(t[i].lo, t[i].hi)) } });
		assert_int_equal(extent(r, "x"), t[i].n);
		assert_int_equal(r->out->var[0].n_blocks, 1);
		assert_int_equal(r->out->var[0].block->count[1], t[i].n);
		rig_finish(r);
	}
}

static void origin_moves(void **state)
{
	(void)state;
	struct rig *r = rig(image, &(struct op_case){ .op = "crop", .conf = { NAMED("x", PAIR(8, 40)) } });
	const struct iog_axis *a = &r->in.rec.axis[1], *b = &r->out->axis[1];
	assert_true(b->origin == a->origin + 8 * a->spacing && b->spacing == a->spacing);
	rig_finish(r);
}

/* What the output declares of a dimension: extents, and whether they are exact. */
static void declares(const char *schema, const char *dim, double lo, double hi, int64_t max, uint32_t fixed, const char *labels)
{
	struct rig *r = rig(schema, &(struct op_case){ .op = "crop", .conf = { NAMED(dim, PAIR(lo, hi)) } });
	const struct iog_dim *d = &r->s.out[0].dim[iog_schema_dim(&r->s.out[0], dim)];
	assert_int_equal(d->max, max);
	assert_int_equal(d->fixed, fixed);
	assert_string_equal(d->labels, labels);
	assert_true((!max || extent(r, dim) <= max) && (!fixed || extent(r, dim) == max));
	rig_finish(r);
}

static void declares_what_is_left(void **state)
{
	(void)state;
	declares(image, "x", 8, 40, 32, 1, "");
	declares(image, "x", 0.5, inf, 63, 1, "");
	declares(image, "y", -inf, 1000, 48, 1, "");
	declares(atoms, "atom", 10, 30, 20, 0, "");
	declares(atoms, "atom", 290, inf, 10, 0, "");
	/* Nothing is left: 0 would say that the extent is not known. */
	declares(image, "x", 64, 70, 1, 0, "");
	declares(image, "x", 5, 5, 1, 0, "");
	/* Not bounded so far. */
	declares("a: f32[row]", "row", 10, 30, 20, 0, "");
	declares("a: f32[row]", "row", 10, inf, 0, 0, "");
	/* Components keep their names. */
	declares(atoms, "xyz", 1, 3, 2, 1, "y,z");
	declares(atoms, "xyz", 0, 2, 2, 1, "x,y");
	declares(atoms, "xyz", 2, inf, 1, 1, "z");
	declares(atoms, "xyz", 1, 1, 1, 0, "");
}

static void a_live_box_keeps_the_maximum(void **state)
{
	(void)state;
	struct rig *r = rig(image, &(struct op_case){ .op = "crop", .conf = { NAMED("x", PAIR(8, 40)) } });
	const struct iog_schema in = *r->s.plan.in[0];
	struct iog_schema out = { 0 };
	struct iog_plan p = { .n_in = 1, .n_out = 1, .in = { &in }, .out = { &out }, .live_params = 1 };
	struct iog_err err = { 0 };
	assert_int_equal(r->s.op->plan(r->s.conf, &p, &err), 0);
	assert_int_equal(out.dim[1].max, 64);
	assert_int_equal(out.dim[1].fixed, 0);
	assert_int_equal(out.dim[0].fixed, 1);
	rig_finish(r);
}

static void mistakes_are_named(void **state)
{
	(void)state;
	refused(atoms, &(struct op_case){ .op = "crop", .conf = { NAMED("atmo", PAIR(0, 1)) } }, "did you mean \"atom\"");
	refused(image, &(struct op_case){ .op = "crop", .conf = { BOX(PAIR(0, 1), PAIR(0, 1), PAIR(0, 1)) } }, "position 3");
	refused(image, &(struct op_case){ .op = "crop", .conf = { NAMED("x", PAIR(20, 10)) } }, "lower end first");
	refused(image, &(struct op_case){ .op = "crop", .conf = { { "box", { .kind = IOG_V_LIST } } } }, "interval");
	struct op_case twice = { .op = "crop",
		.conf = { { "box", { .kind = IOG_V_LIST,
					   .key = (const char *const[]){ "x", "x" },
					   .item = (const struct iog_value[]){ PAIR(0, 1), PAIR(0, 2) },
					   .n_items = 2 } } } };
	refused(image, &twice, "two intervals");
}

static void encoded_variables_are_refused(void **state)
{
	struct op_setup s;
	struct iog_err err = { 0 };
	struct iog_schema in;
	const struct iog_schema *all = &in;
	(void)state;
	assert_int_equal(iog_schema_parse(&in, image, &err), 0);
	in.var[0].codec[in.var[0].n_codecs++] = IOG_CODEC_JPEG;
	assert_int_equal(iog_schema_seal(&in, &err), 0);
	assert_true(op_setup_plan(&s, &(struct op_case){ .op = "crop", .conf = { NAMED("x", PAIR(0, 1)) } }, &all, 1, &err) < 0);
	assert_non_null(strstr(err.text, "jpeg"));
}

/* Rows lie gigabytes apart, forwards and backwards: a view of them is made of 64-bit offsets, and is read and packed where they are. */
static void strides_beyond_4_GiB(void **state)
{
	(void)state;
	enum { ROWS = 4, COLUMNS = 6 };
	const int64_t far = (1ll << 32) + 4096;
	const uint64_t size = (uint64_t)far * ROWS;
	uint8_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) {
		print_message("# needs %llu GiB of address space\n", (unsigned long long)(size >> 30));
		skip();
	}
	for (int64_t y = 0; y < ROWS; y++)
		for (int64_t x = 0; x < COLUMNS; x++)
			p[y * far + x] = (uint8_t)(16 * y + x);
	for (int backwards = 0; backwards < 2; backwards++) {
		struct rig r;
		struct iog_err err = { 0 };
		const struct op_case c = { .op = "crop", .schema = "v: u8[y=4,x=6]", .conf = { BOX(PAIR(2, 5), PAIR(1, 3)) } };
		if (op_setup_init(&r.s, &c, &err) || op_instance_init(&r.x, &r.s, IOG_ISA_BASE, 0, &err))
			fail_msg("%s", err.text);
		op_record_make(&r.in, &r.s.in[0], 0, 0);
		struct iog_block *b = r.in.block;
		b->stride[0] = backwards ? -far : far;
		b->data = backwards ? p + (ROWS - 1) * far : p;
		const struct iog_record *in = &r.in.rec;
		assert_int_equal(op_instance_call(&r.x, &in, NULL), IOG_OK);
		const struct iog_block *out = r.x.out[0].rec.var[0].block;
		assert_ptr_equal(out->data, backwards ? p + 2 * far + 2 : p + far + 2);
		assert_int_equal(out->stride[0], b->stride[0]);
		uint8_t dense[6], packed[1024];
		const uint8_t forth[6] = { 18, 19, 20, 34, 35, 36 }, back[6] = { 34, 35, 36, 18, 19, 20 };
		iog_block_gather(dense, out, 2, 1);
		assert_memory_equal(dense, backwards ? back : forth, sizeof dense);
		int64_t n = iog_wire_pack(packed, sizeof packed, &r.x.out[0].rec);
		assert_true(n > 64);
		assert_memory_equal(packed + n - 64, dense, sizeof dense);
		rig_finish(&r);
	}
	munmap(p, size);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(position_is_x_y_z),
		cmocka_unit_test(position_without_xyz_is_slowest_first),
		cmocka_unit_test(nothing_is_copied),
		cmocka_unit_test(bounds_are_half_open_and_clamped),
		cmocka_unit_test(origin_moves),
		cmocka_unit_test(declares_what_is_left),
		cmocka_unit_test(a_live_box_keeps_the_maximum),
		cmocka_unit_test(mistakes_are_named),
		cmocka_unit_test(encoded_variables_are_refused),
		cmocka_unit_test(strides_beyond_4_GiB),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
