/* SPDX-License-Identifier: BSD-3-Clause */
/* stats against plain loops: values, NaN and infinities, empty records, the same bits in blocks, pieces and at every vector width. */
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

extern const struct iog_op iog_op_stats;

#define SCHEMA                                                                                                                             \
	"position: f32[atom<=5000,xyz] Angstrom; type: i32[atom]; energy: f64[atom] eV; static mass: f32[kind=3]; T: "                     \
	"f32[row<=40,column=30];"                                                                                                          \
	"flag: bool[atom]; box: f64[cell]; temperature: f64 K"
enum { POSITION, TYPE, ENERGY, MASS, FIELD, FLAG, BOX, TEMPERATURE, VARS, N = 4321 };

static struct iog_schema schema, out_schema;
static struct iog_plan plan;
static uint8_t conf[1 << 14] __attribute__((aligned(64))), space[1 << 14] __attribute__((aligned(64)));
static struct iog_block out_blocks[64], block[VARS];
static struct iog_out out;
static void *state, *scratch;
static struct iog_record rec;
static uint8_t *data[VARS];

static uint32_t isa_max(void)
{
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
		__builtin_cpu_supports("avx512vl"))
		return IOG_ISA_AVX512;
	return __builtin_cpu_supports("avx2") ? IOG_ISA_AVX2 : IOG_ISA_BASE;
}

static int make_plan(const char *names, struct iog_err *err)
{
	struct iog_names *v = (struct iog_names *)(void *)conf;
	memset(conf, 0, sizeof conf), memset(&plan, 0, sizeof plan), memset(&out_schema, 0, sizeof out_schema);
	char copy[200];
	snprintf(copy, sizeof copy, "%s", names);
	for (char *w = strtok(copy, " "); w; w = strtok(NULL, " "))
		snprintf(v->v[v->n++], IOG_NAME, "%s", w);
	plan.n_in = plan.n_out = 1, plan.in[0] = &schema, plan.out[0] = &out_schema;
	int rc = iog_op_stats.plan(conf, &plan, err);
	if (rc)
		return rc;
	assert_int_equal(iog_schema_seal(&out_schema, err), 0);
	assert_true(iog_op_stats.conf_size <= sizeof conf && plan.need.out_max[0] <= sizeof space);
	free(state), free(scratch);
	state = calloc(1, plan.need.state);
	scratch = aligned_alloc(64, IOG_ROUND_UP(plan.need.scratch, 64));
	return 0;
}

static void make_record(int64_t atoms, int64_t rows)
{
	memset(&rec, 0, sizeof rec);
	rec.schema = &schema;
	for (unsigned d = 0; d < schema.n_dims; d++)
		rec.axis[d] = (struct iog_axis){ schema.dim[d].fixed            ? schema.dim[d].max
						 : schema.dim[d].name[0] == 'a' ? atoms
										: rows,
			0, 1 };
	for (unsigned v = 0; v < VARS; v++) {
		const struct iog_vardef *def = &schema.var[v];
		const uint32_t size = iog_dtype_size(def->dtype);
		struct iog_block *b = &block[v];
		memset(b, 0, sizeof *b);
		for (unsigned d = 0; d < def->rank; d++)
			b->count[d] = rec.axis[def->dim[d]].extent;
		uint64_t bytes = iog_block_set_dense(b, def->rank, size);
		free(data[v]);
		b->data = data[v] = malloc(bytes + 1);
		for (uint64_t i = 0; i < bytes / size; i++)
			iog_store(data[v] + i * size, def->dtype, (double)((i * 2654435761u + v * 40503u) % 100003) / 1009 - 40);
		rec.var[v] = (struct iog_var){ .block = b, .n_blocks = 1 };
	}
}

static enum iog_step run_seg(const struct iog_record *r, const struct iog_seg *seg, uint32_t isa)
{
	memset(&out, 0, sizeof out);
	out.rec.schema = &out_schema;
	out.space = space, out.size = plan.need.out_max[0], out.block = out_blocks, out.max_blocks = plan.need.out_blocks;
	struct iog_call c = {
		.conf = conf, .state = state, .scratch = scratch, .n_in = 1, .n_out = 1, .isa = isa, .out = &out, .in = { r }
	};
	return seg ? iog_op_stats.segment(&c, seg) : iog_op_stats.run(&c);
}

static double get(const char *name)
{
	int v = iog_schema_var(&out_schema, name);
	double d = 0;
	if (v < 0 || !iog_record_scalar(&out.rec, (unsigned)v, &d))
		fail_msg("no %s", name);
	return d;
}

/* The rule of the page, element by element. */
static void expect(const char *name, const uint8_t *p, int64_t stride, unsigned dtype, int64_t n)
{
	double sum = 0, lo = NAN, hi = NAN;
	int64_t nan = 0;
	for (int64_t at = 0; at < n; at += 256) {
		double lane[8] = { 0 };
		for (int64_t i = at; i < n && i < at + 256; i++) {
			double v = iog_load(p + i * stride, dtype);
			nan += isnan(v);
			lane[i % 8] += isnan(v) ? 0 : v;
			lo = fmin(lo, v), hi = fmax(hi, v);
		}
		sum += ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
	}
	const struct {
		const char *what;
		double v;
	} all[] = { { "count", (double)n }, { "min", lo }, { "max", hi }, { "mean", n > nan ? sum / (double)(n - nan) : NAN },
		{ "nan", (double)nan } };
	for (unsigned k = 0; k < (dtype == IOG_F32 || dtype == IOG_F64 ? 5u : 4u); k++) {
		char full[64];
		snprintf(full, sizeof full, "%s_%s", name, all[k].what);
		double g = get(full);
		if (!(g == all[k].v || (isnan(g) && isnan(all[k].v))))
			fail_msg("%s is %.17g, not %.17g", full, g, all[k].v);
	}
}

static void expect_all(int64_t atoms, int64_t rows)
{
	expect("position_x", data[POSITION], 12, IOG_F32, atoms);
	expect("position_y", data[POSITION] + 4, 12, IOG_F32, atoms);
	expect("position_z", data[POSITION] + 8, 12, IOG_F32, atoms);
	expect("type", data[TYPE], 4, IOG_I32, atoms);
	expect("energy", data[ENERGY], 8, IOG_F64, atoms);
	expect("mass", data[MASS], 4, IOG_F32, 3);
	expect("T", data[FIELD], 4, IOG_F32, rows * 30);
}

static void values(void **unused)
{
	(void)unused;
	struct iog_err err = { "" };
	if (make_plan("", &err))
		fail_msg("%s", err.text);
	assert_int_equal(out_schema.n_vars, 6 * 5 + 4);
	assert_string_equal(out_schema.var[iog_schema_var(&out_schema, "position_x_mean")].unit, "Angstrom");
	static const int64_t sizes[][2] = { { 0, 0 }, { 1, 1 }, { 255, 3 }, { 256, 8 }, { 257, 9 }, { N, 40 } };
	for (size_t s = 0; s < IOG_COUNT(sizes); s++)
		for (uint32_t isa = 0; isa <= isa_max(); isa++) {
			make_record(sizes[s][0], sizes[s][1]);
			assert_int_equal(run_seg(&rec, NULL, isa), IOG_OK);
			expect_all(sizes[s][0], sizes[s][1]);
		}
}

static void not_a_number(void **unused)
{
	(void)unused;
	struct iog_err err;
	assert_int_equal(make_plan("energy", &err), 0);
	for (uint32_t isa = 0; isa <= isa_max(); isa++) {
		make_record(600, 1);
		double v[] = { NAN, -INFINITY, INFINITY };
		memcpy(data[ENERGY], v, 8), memcpy(data[ENERGY] + 8 * 300, v, 8);
		assert_int_equal(run_seg(&rec, NULL, isa), IOG_OK);
		expect("energy", data[ENERGY], 8, IOG_F64, 600);
		assert_true(get("energy_nan") == 2);
		memcpy(data[ENERGY] + 8 * 10, v + 1, 8);
		assert_int_equal(run_seg(&rec, NULL, isa), IOG_OK);
		assert_true(get("energy_min") == -INFINITY && get("energy_mean") == -INFINITY);
		memcpy(data[ENERGY] + 8 * 11, v + 2, 8);
		assert_int_equal(run_seg(&rec, NULL, isa), IOG_OK);
		assert_true(get("energy_max") == INFINITY && isnan(get("energy_mean")));
		for (int i = 0; i < 600; i++)
			memcpy(data[ENERGY] + 8 * i, v, 8);
		assert_int_equal(run_seg(&rec, NULL, isa), IOG_OK);
		assert_true(isnan(get("energy_min")) && isnan(get("energy_max")) && isnan(get("energy_mean")) && get("energy_nan") == 600);
	}
}

/* The same figures when the ranks of a job bring the variable in blocks, in any order. */
static void blocks(void **unused)
{
	(void)unused;
	struct iog_err err;
	static struct iog_block part[VARS][3];
	static const int64_t from[] = { 1700, 0, 333 }, to[] = { N, 333, 1700 };
	assert_int_equal(make_plan("", &err), 0);
	make_record(N, 40);
	for (unsigned v = POSITION; v <= ENERGY; v++) {
		for (unsigned k = 0; k < 3; k++) {
			part[v][k] = block[v];
			part[v][k].start[0] = from[k], part[v][k].count[0] = to[k] - from[k],
			part[v][k].data += from[k] * block[v].stride[0];
		}
		rec.var[v] = (struct iog_var){ .block = part[v], .n_blocks = 3 };
	}
	for (uint32_t isa = 0; isa <= isa_max(); isa++) {
		assert_int_equal(run_seg(&rec, NULL, isa), IOG_OK);
		expect_all(N, 40);
	}
}

static void pieces(void **unused)
{
	(void)unused;
	struct iog_err err;
	static struct iog_block cut[64];
	static const int64_t each[] = { 1, 100, 256, 3000 };
	assert_int_equal(make_plan("", &err), 0);
	assert_string_equal(schema.dim[plan.split[0]].name, "atom");
	make_record(N, 40);
	for (size_t e = 0; e < IOG_COUNT(each); e++) {
		for (int64_t first = 0; first < N; first += each[e]) {
			const int64_t n = IOG_MIN(each[e], N - first);
			struct iog_seg seg = { .dim = plan.split[0],
				.is_first = first == 0,
				.is_last = first + n == N,
				.first = first,
				.count = n,
				.total = N };
			struct iog_record piece;
			assert_int_equal(iog_segment_cut(&piece, &rec, plan.split[0], first, n, cut, 64), 0);
			assert_int_equal(run_seg(&piece, &seg, (uint32_t)(first / each[e]) % (isa_max() + 1)), IOG_OK);
			assert_int_equal(out.rec.var[0].n_blocks, seg.is_last);
		}
		expect_all(N, 40);
	}
}

static void messages(void **unused)
{
	(void)unused;
	static const struct {
		const char *names, *part;
	} cases[] = { { "poistion", "did you mean \"position\"" }, { "temperature", "one value per record" }, { "flag", "bool" },
		{ "x position", "there twice" }, { "xs", "no variable \"xs\"" } };
	for (size_t i = 0; i < IOG_COUNT(cases); i++) {
		struct iog_err err = { "" };
		assert_int_not_equal(make_plan(cases[i].names, &err), 0);
		if (!strstr(err.text, cases[i].part))
			fail_msg("\"%s\" does not say %s", err.text, cases[i].part);
	}
}

static int setup(void **unused)
{
	(void)unused;
	struct iog_err err;
	int rc = iog_schema_parse(&schema, SCHEMA, &err);
	if (rc)
		fprintf(stderr, "%s\n", err.text);
	return rc;
}
static int teardown(void **unused)
{
	(void)unused;
	free(state), free(scratch);
	for (unsigned v = 0; v < VARS; v++)
		free(data[v]);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(values), cmocka_unit_test(not_a_number), cmocka_unit_test(blocks),
		cmocka_unit_test(pieces), cmocka_unit_test(messages) };
	return cmocka_run_group_tests(tests, setup, teardown);
}
