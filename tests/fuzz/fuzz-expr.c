/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Arbitrary text as an expression over a fixed schema; what compiles is checked, evaluated over a small record at every instruction set
 * level of this machine, and must give the same bits. Input whose first byte is 255 is a damaged program instead: refused or harmless.
 */
#include <stdlib.h>
#include <string.h>

#include "core/expr.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

#define SCHEMA                                                                                                                             \
	"a: f64[i<=300]; b: f32[i]; n: i32[i]; k: u8[i]; position: f32[i,xyz]; flag: bool[i]; big: i64[i]; huge: u64[i]; h: f16[i];"       \
	"grid: f32[row=3,i]; q: f64; on: bool; box: f64[cell,xyz]; dipole: f32[xyz]"
enum { N = 300, VARS = 14 };

static struct iog_schema schema;
static struct iog_record rec;
static struct iog_block block[VARS];
static struct iog_expr_run *run;
static uint32_t levels = 1;

static void start(void)
{
	static const double odd[] = { 0, -0.0, 1, -1, 0.5, 1e300, 2, 3 };
	struct iog_err err;
	if (iog_schema_parse(&schema, SCHEMA, &err))
		abort();
	run = aligned_alloc(IOG_ALIGN, iog_expr_run_size());
	rec.schema = &schema;
	for (unsigned d = 0; d < schema.n_dims; d++)
		rec.axis[d] = (struct iog_axis){ schema.dim[d].fixed ? schema.dim[d].max : N, 0, 1 };
	for (unsigned v = 0; v < VARS; v++) {
		const uint32_t size = iog_dtype_size(schema.var[v].dtype);
		for (unsigned d = 0; d < schema.var[v].rank; d++)
			block[v].count[d] = rec.axis[schema.var[v].dim[d]].extent;
		uint64_t total = iog_block_set_dense(&block[v], schema.var[v].rank, size);
		uint8_t *p = malloc(total);
		for (uint64_t i = 0; i < total / size; i++)
			iog_store(p + i * size, schema.var[v].dtype,
				v == 12  ? (double)(i % 4 == 0) * 9
				: i % 11 ? (double)(i % 100) / 8 - 3
					 : odd[i / 11 % IOG_COUNT(odd)]);
		block[v].data = p;
		rec.var[v] = (struct iog_var){ .block = &block[v], .n_blocks = 1 };
	}
	if (__builtin_cpu_supports("avx2"))
		levels = 2;
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
		__builtin_cpu_supports("avx512vl"))
		levels = 3;
}

static void evaluate(const struct iog_expr *e, bool compare)
{
	static double values[3][3 * N + IOG_EXPR_BLOCK];
	for (uint32_t isa = 0; isa < levels; isa++) {
		if (iog_expr_bind(run, e, &rec, 0, isa) != IOG_OK) {
			if (compare)
				abort();
			return;
		}
		const int64_t total = iog_expr_elems(run);
		for (int64_t at = 0; at < total; at += IOG_EXPR_BLOCK) {
			const uint32_t part = (uint32_t)IOG_MIN(total - at, IOG_EXPR_BLOCK);
			uint8_t mask[IOG_EXPR_BLOCK];
			iog_expr_values(run, at, part, values[isa] + at);
			if (!e->is_bool)
				continue;
			iog_expr_mask(run, at, part, mask);
			for (uint32_t i = 0; i < part; i++)
				if (mask[i] > 1 || (compare && values[isa][at + i] != mask[i]))
					abort();
		}
		for (int64_t i = 0; compare && isa && i < total; i++)
			if (memcmp(&values[0][i], &values[isa][i], 8) &&
				!(values[0][i] != values[0][i] && values[isa][i] != values[isa][i]))
				abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	static const struct iog_live live[] = { { "limit", 2.5 } };
	static struct iog_expr e;
	char text[2 * IOG_TEXT];
	struct iog_err err = { "" };
	if (!run)
		start();
	if (n > 1 && bytes[0] == 255) {
		if (iog_expr_compile(&e, "xs + max(b) * sin(a) > if(flag, q, limit) and n == 2 and box.lx > k", &schema, live, 1,
			    IOG_WANT_ANY, &err))
			abort();
		for (size_t i = 1; i + 2 < n; i += 3)
			((uint8_t *)&e)[(bytes[i] | (size_t)bytes[i + 1] << 8) % sizeof e] = bytes[i + 2];
		if (iog_expr_valid(&e, &schema))
			evaluate(&e, false);
		return 0;
	}
	n = IOG_MIN(n, sizeof text - 1);
	memcpy(text, bytes, n);
	text[n] = 0;
	if (iog_expr_compile(&e, text, &schema, live, 1, IOG_WANT_ANY, &err)) {
		if (!err.text[0])
			abort();
		return 0;
	}
	if (!iog_expr_valid(&e, &schema))
		abort();
	evaluate(&e, true);
	return 0;
}
