/* SPDX-License-Identifier: BSD-3-Clause */
/* filter against a plain loop: types and strides, blocks, pieces, every instruction set level, and the cases at the edge. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/iog_op.h"
#include "core/segment.h"

extern const struct iog_op iog_op_filter;

enum { MAX = 3000, SPACE = 1 << 20 };
#define SCHEMA                                                                                                                             \
	"id: i64[atom<=3000]; type: i32[atom]; position: f32[atom,xyz]; charge: i8[atom]; bond: u16[atom,pair=2]; wide: f64[atom];"        \
	"rgb: u8[atom,rgb]; static mass: f32[atom]; field: f64[row=4,atom]; box: f64[cell]; temperature: f64; cutoff: f32"

static struct iog_schema schema, out_schema;
static struct iog_plan plan;
static uint8_t conf[1 << 14] __attribute__((aligned(64))), space[SPACE] __attribute__((aligned(64)));
static struct iog_block out_blocks[64];
static struct iog_out out;
static void *state, *scratch;
static struct iog_record rec;
static struct iog_block block[IOG_VARS];
static uint8_t *data[IOG_VARS];

static uint32_t isa_max(void)
{
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
		__builtin_cpu_supports("avx512vl"))
		return IOG_ISA_AVX512;
	return __builtin_cpu_supports("avx2") ? IOG_ISA_AVX2 : IOG_ISA_BASE;
}

static int make_plan(const char *where, struct iog_err *err)
{
	memset(conf, 0, sizeof conf);
	assert_true(iog_op_filter.conf_size <= sizeof conf);
	memcpy(conf, where, strlen(where) + 1);
	memset(&plan, 0, sizeof plan);
	memset(&out_schema, 0, sizeof out_schema);
	static const struct iog_live live[] = { { "limit", 2 } };
	plan.n_in = plan.n_out = 1, plan.in[0] = &schema, plan.out[0] = &out_schema, plan.live = live, plan.n_live = 1;
	int rc = iog_op_filter.plan(conf, &plan, err);
	if (rc)
		return rc;
	assert_int_equal(iog_schema_seal(&out_schema, err), 0);
	assert_true(plan.need.out_max[0] <= SPACE);
	free(state), free(scratch);
	state = calloc(1, plan.need.state + 1);
	scratch = aligned_alloc(64, IOG_ROUND_UP(plan.need.scratch, 64));
	return 0;
}

/* A record of n atoms; every variable one dense block. */
static void make_record(int64_t n)
{
	memset(&rec, 0, sizeof rec);
	rec.schema = &schema, rec.step = 7, rec.time = 0.5;
	for (unsigned d = 0; d < schema.n_dims; d++)
		rec.axis[d] = (struct iog_axis){ schema.dim[d].fixed ? schema.dim[d].max : n, 0, 1 };
	for (unsigned v = 0; v < schema.n_vars; v++) {
		const struct iog_vardef *def = &schema.var[v];
		struct iog_block *b = &block[v];
		memset(b, 0, sizeof *b);
		for (unsigned d = 0; d < def->rank; d++)
			b->count[d] = rec.axis[def->dim[d]].extent;
		uint64_t bytes = iog_block_set_dense(b, def->rank, iog_dtype_size(def->dtype)), elems = bytes / iog_dtype_size(def->dtype);
		free(data[v]);
		data[v] = malloc(bytes + 1);
		for (uint64_t i = 0; i < elems; i++)
			iog_store(data[v] + i * iog_dtype_size(def->dtype), def->dtype,
				(double)((i * 2654435761u + v * 40503u) % 1009) / 100 - 3);
		b->data = data[v];
		rec.var[v] = (struct iog_var){ .block = b, .n_blocks = 1 };
	}
	for (unsigned i = 0; i < 3; i++) {
		double ten = 10;
		memcpy(data[9] + 8 * i, &ten, 8);
	}
}

static enum iog_step run_seg(const struct iog_record *r, const struct iog_seg *seg, uint32_t isa)
{
	memset(&out, 0, sizeof out);
	iog_record_head(&out.rec, r, schema.n_dims);
	out.rec.schema = &out_schema;
	out.space = space, out.size = plan.need.out_max[0], out.block = out_blocks, out.max_blocks = plan.need.out_blocks;
	struct iog_call c = {
		.conf = conf, .state = state, .scratch = scratch, .n_in = 1, .n_out = 1, .isa = isa, .out = &out, .in = { r }
	};
	return seg ? iog_op_filter.segment(&c, seg) : iog_op_filter.run(&c);
}

static double element(const struct iog_record *r, unsigned v, int64_t i, int64_t j)
{
	const struct iog_block *b = r->var[v].block;
	return iog_load(b->data + i * b->stride[0] + (r->schema->var[v].rank > 1 ? j * b->stride[1] : 0), r->schema->var[v].dtype);
}

/* Out holds exactly the atoms of rec that are kept, of every variable. */
static void check(const bool *keep, int64_t n)
{
	int64_t k = 0;
	for (int64_t i = 0; i < n; i++) {
		if (!keep[i])
			continue;
		for (unsigned v = 0; v < 9; v++) {
			const struct iog_vardef *def = &schema.var[v];
			const bool field = v == 8;
			int64_t width = field ? 4 : def->rank > 1 ? rec.axis[def->dim[1]].extent : 1;
			for (int64_t j = 0; j < width; j++) {
				double a = field ? element(&rec, v, j, i) : element(&rec, v, i, j),
				       b = field ? element(&out.rec, v, j, k) : element(&out.rec, v, k, j);
				if (memcmp(&a, &b, 8))
					fail_msg("%s of atom %ld, component %ld: %g, not %g", def->name, (long)i, (long)j, b, a);
			}
		}
		k++;
	}
	assert_int_equal(out.rec.axis[plan.split[0] < IOG_DIMS ? plan.split[0] : 0].extent, k);
	for (unsigned v = 9; v < 12; v++)
		assert_ptr_equal(out.rec.var[v].block, rec.var[v].block);
}

static double num(unsigned v, int64_t i, int64_t j) { return element(&rec, v, i, j); }
static bool c_type(int64_t i) { return num(1, i, 0) == 2; }
static bool c_slab(int64_t i) { return num(2, i, 0) > -1 && num(2, i, 0) < 2.5 && num(1, i, 0) == 1; }
static bool c_scaled(int64_t i) { return num(2, i, 2) / 10 > 0.25; }
static bool c_attr(int64_t i) { return num(2, i, 1) > num(11, 0, 0) || num(3, i, 0) < 0; }
static bool c_none(int64_t i) { return i < 0; }
static bool c_all(int64_t i) { return i >= 0; }
static bool c_live(int64_t i) { return num(0, i, 0) * 2 > 2; }
static bool c_speed(int64_t i) { return sqrt(num(2, i, 0) * num(2, i, 0) + num(2, i, 1) * num(2, i, 1)) < 3; }
static bool c_bytes(int64_t i) { return num(6, i, 1) != 0 && num(5, i, 0) >= 0.5; }

static const struct {
	const char *where;
	bool (*keep)(int64_t);
} conditions[] = {
	{ "type == 2", c_type },
	{ "x > -1 and x < 2.5 and type == 1", c_slab },
	{ "zs > 0.25", c_scaled },
	{ "y > cutoff or charge < 0", c_attr },
	{ "id > 1e30", c_none },
	{ "wide < 1e30", c_all },
	{ "id * limit > 2", c_live },
	{ "sqrt(x^2 + y^2) < 3", c_speed },
	{ "rgb.g ~= 0 and wide >= 0.5", c_bytes },
};

static void plain_loop(void **unused)
{
	(void)unused;
	static const int64_t sizes[] = { 0, 1, 2, 63, 64, 65, 255, 256, 257, 1000, MAX };
	bool keep[MAX];
	for (size_t c = 0; c < IOG_COUNT(conditions); c++) {
		struct iog_err err = { "" };
		if (make_plan(conditions[c].where, &err))
			fail_msg("%s", err.text);
		for (size_t s = 0; s < IOG_COUNT(sizes); s++) {
			make_record(sizes[s]);
			for (int64_t i = 0; i < sizes[s]; i++)
				keep[i] = conditions[c].keep(i);
			for (uint32_t isa = 0; isa <= isa_max(); isa++) {
				assert_int_equal(run_seg(&rec, NULL, isa), IOG_OK);
				check(keep, sizes[s]);
				for (unsigned v = 0; v < 9; v++) {
					const uint8_t *whole;
					assert_true(iog_record_whole(&out.rec, v, &whole));
				}
				assert_true(out.used <= plan.need.out_max[0]);
			}
		}
	}
}

/* Pieces of every size, joined, are what run gives, box and attributes being in the first piece only. */
static void pieces(void **unused)
{
	(void)unused;
	static uint8_t joined[SPACE] __attribute__((aligned(64)));
	static const int64_t each[] = { 1, 7, 64, 300, 1000 };
	static struct iog_block cut[64];
	struct iog_err err;
	bool keep[MAX];
	assert_int_equal(make_plan("zs > 0.25 and y > cutoff", &err), 0);
	make_record(1000);
	for (int64_t i = 0; i < 1000; i++)
		keep[i] = c_scaled(i) && num(2, i, 1) > num(11, 0, 0);
	for (size_t e = 0; e < IOG_COUNT(each); e++) {
		static struct iog_join join;
		assert_int_equal(iog_join_init(&join, &out_schema, plan.split[0], MAX, joined, SPACE), 0);
		for (int64_t first = 0; first < 1000; first += each[e]) {
			int64_t n = IOG_MIN(each[e], 1000 - first);
			struct iog_seg seg = { .dim = plan.split[0],
				.is_first = first == 0,
				.is_last = first + n == 1000,
				.first = first,
				.count = n,
				.total = 1000 };
			struct iog_record piece;
			assert_int_equal(iog_segment_cut(&piece, &rec, plan.split[0], first, n, cut, 64), 0);
			assert_int_equal(run_seg(&piece, &seg, isa_max()), IOG_OK);
			assert_int_equal(iog_join_add(&join, &out.rec), 0);
		}
		const struct iog_record *j = iog_join_finish(&join);
		struct iog_block passed[3] = { block[9], block[10], block[11] };
		out.rec = *j;
		for (unsigned v = 9; v < 12; v++) {
			assert_int_equal(memcmp(j->var[v].block->data, passed[v - 9].data, iog_record_var_bytes(j, v)), 0);
			out.rec.var[v] = rec.var[v];
		}
		check(keep, 1000);
	}
}

/* The ranks of a job: blocks in any order, cut differently from variable to variable where one contains the other. */
static void merged_blocks(void **unused)
{
	(void)unused;
	static struct iog_block parts[IOG_VARS][3];
	static const int64_t from[] = { 300, 0, 117, 500 }, to[] = { 500, 117, 300 };
	struct iog_err err;
	bool keep[MAX];
	assert_int_equal(make_plan("x > 0 and mass < 5 and type ~= 3", &err), 0);
	make_record(500);
	for (int64_t i = 0; i < 500; i++)
		keep[i] = num(2, i, 0) > 0 && num(7, i, 0) < 5 && num(1, i, 0) != 3;
	struct iog_record whole = rec;
	for (unsigned v = 0; v < 9; v++) {
		if (v == 7)
			continue;
		const unsigned d = v == 8;
		for (unsigned k = 0; k < 3; k++) {
			parts[v][k] = block[v];
			parts[v][k].start[d] = from[k], parts[v][k].count[d] = to[k] - from[k];
			parts[v][k].data += from[k] * block[v].stride[d];
		}
		rec.var[v] = (struct iog_var){ .block = parts[v], .n_blocks = 3 };
	}
	struct iog_record merged = rec;
	for (uint32_t isa = 0; isa <= isa_max(); isa++) {
		assert_int_equal(run_seg(&merged, NULL, isa), IOG_OK);
		rec = whole;
		check(keep, 500);
	}
	/* a rank is missing */
	merged.var[2].n_blocks = 2;
	assert_int_equal(run_seg(&merged, NULL, 0), IOG_BAD_INPUT);
}

static void not_a_number(void **unused)
{
	(void)unused;
	struct iog_err err;
	make_record(4);
	static const double v[] = { NAN, INFINITY, -INFINITY, 1 };
	memcpy(data[5], v, sizeof v);
	static const struct {
		const char *where;
		bool keep[4];
	} cases[] = {
		{ "wide > 0", { 0, 1, 0, 1 } },
		{ "wide <= 0", { 0, 0, 1, 0 } },
		{ "wide == wide", { 0, 1, 1, 1 } },
		{ "not (wide > 0)", { 1, 0, 1, 0 } },
		{ "wide ~= 1", { 1, 1, 1, 0 } },
		{ "wide >= 1e308", { 0, 1, 0, 0 } },
		{ "isfinite(wide)", { 0, 0, 0, 1 } },
		{ "isnan(wide)", { 1, 0, 0, 0 } },
		{ "wide + 1 > 0", { 0, 1, 0, 1 } },
		{ "wide < 2 and wide > -2", { 0, 0, 0, 1 } },
	};
	for (size_t i = 0; i < IOG_COUNT(cases); i++)
		for (uint32_t isa = 0; isa <= isa_max(); isa++) {
			assert_int_equal(make_plan(cases[i].where, &err), 0);
			assert_int_equal(run_seg(&rec, NULL, isa), IOG_OK);
			check(cases[i].keep, 4);
		}
}

/* A condition on the record keeps it as it is, or elides it. */
static void record_scope(void **unused)
{
	(void)unused;
	struct iog_err err;
	make_record(10);
	static const struct {
		const char *where;
		enum iog_step step;
	} cases[] = {
		{ "step == 7", IOG_OK },
		{ "step % 2 == 0", IOG_ELIDE },
		{ "max(x) > 1e9", IOG_ELIDE },
		{ "count(type == type) == 10", IOG_OK },
		{ "limit > 1 and time < 1", IOG_OK },
		{ "box.lx == 10", IOG_OK },
	};
	for (size_t i = 0; i < IOG_COUNT(cases); i++) {
		assert_int_equal(make_plan(cases[i].where, &err), 0);
		assert_int_equal(plan.split[0], IOG_DIMS);
		assert_int_equal(run_seg(&rec, NULL, 0), cases[i].step);
		for (unsigned v = 0; cases[i].step == IOG_OK && v < schema.n_vars; v++)
			assert_ptr_equal(out.rec.var[v].block, rec.var[v].block);
	}
	/* elements against a reduction: whole records only */
	bool keep[10];
	double sum = 0;
	for (int64_t i = 0; i < 10; i++)
		sum += num(5, i, 0);
	for (int64_t i = 0; i < 10; i++)
		keep[i] = num(5, i, 0) > sum / 10;
	assert_int_equal(make_plan("wide > mean(wide)", &err), 0);
	assert_int_equal(plan.split[0], IOG_DIMS);
	assert_int_equal(run_seg(&rec, NULL, isa_max()), IOG_OK);
	check(keep, 10);
}

static void output_schema(void **unused)
{
	(void)unused;
	struct iog_err err;
	assert_int_equal(make_plan("type == 2", &err), 0);
	assert_int_equal(out_schema.n_vars, schema.n_vars);
	assert_int_equal(out_schema.var[7].flags & IOG_VAR_STATIC, 0);
	assert_int_equal(out_schema.dim[plan.split[0]].max, 3000);
	assert_int_equal(out_schema.dim[plan.split[0]].fixed, 0);
}

static void messages(void **unused)
{
	(void)unused;
	static const struct {
		const char *where, *part;
	} cases[] = {
		{ "tpye == 2", "did you mean \"type\"" },
		{ "field > 1", "ranges over 2 dimensions (row, atom" },
		{ "position > 1", "ranges over 2 dimensions (atom, xyz" },
		{ "1 < 2", "does not depend on the record" },
		{ "x + 1", "a condition is expected" },
		{ "x >", "ends where a value is expected" },
	};
	for (size_t i = 0; i < IOG_COUNT(cases); i++) {
		struct iog_err err = { "" };
		assert_int_not_equal(make_plan(cases[i].where, &err), 0);
		if (!strstr(err.text, cases[i].part))
			fail_msg("\"%s\" does not say %s", err.text, cases[i].part);
	}
	struct iog_schema open;
	struct iog_err err = { "" };
	assert_int_equal(iog_schema_parse(&open, "id: i64[atom]", &err), 0);
	memcpy(conf, "id > 1", 7);
	plan.in[0] = &open;
	assert_int_not_equal(iog_op_filter.plan(conf, &plan, &err), 0);
	assert_non_null(strstr(err.text, "largest extent of dimension \"atom\""));
}

static int setup(void **unused)
{
	(void)unused;
	struct iog_err err;
	if (iog_schema_parse(&schema, SCHEMA, &err)) {
		fprintf(stderr, "%s\n", err.text);
		return -1;
	}
	return 0;
}
static int teardown(void **unused)
{
	(void)unused;
	free(state), free(scratch);
	for (unsigned v = 0; v < IOG_VARS; v++)
		free(data[v]);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(plain_loop), cmocka_unit_test(pieces), cmocka_unit_test(merged_blocks),
		cmocka_unit_test(not_a_number), cmocka_unit_test(record_scope), cmocka_unit_test(output_schema),
		cmocka_unit_test(messages) };
	return cmocka_run_group_tests(tests, setup, teardown);
}
