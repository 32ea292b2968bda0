/* SPDX-License-Identifier: BSD-3-Clause */
/* One operator with its memory; see bench-op.h. */
#include "bench/bench-op.h"

#include <stdlib.h>

const struct iog_op *bench_find_op(const char *name)
{
	for (const struct iog_op *const *o = iog_ops; *o; o++)
		if (iog_streq((*o)->name, name))
			return *o;
	return NULL;
}

uint32_t bench_isa(void)
{
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
		__builtin_cpu_supports("avx512vl"))
		return IOG_ISA_AVX512;
	return __builtin_cpu_supports("avx2") ? IOG_ISA_AVX2 : IOG_ISA_BASE;
}

static bool plan(struct bench_op *b, const char *schema, const struct bench_param *param, struct iog_err *err)
{
	if (iog_schema_parse(&b->in, schema, err) || iog_param_defaults(b->op->params, b->conf, err))
		return false;
	for (; param && param->name; param++)
		if (iog_param_set(b->op->params, b->conf, param->name, &param->v, err))
			return false;
	b->plan = (struct iog_plan){ .n_in = 1, .n_out = 1, .in = { &b->in }, .out = { &b->out }, .split = { IOG_DIMS } };
	if (b->op->plan(b->conf, &b->plan, err) || iog_schema_seal(&b->out, err))
		return false;
	return !b->op->open || !b->op->open(b->conf, &b->lib, err);
}

bool bench_op_init(struct bench_op *b, struct bench_figure *f, const char *op, const char *schema, const struct bench_param *param)
{
	struct iog_err err = { "" };
	memset(b, 0, sizeof *b);
	b->op = bench_find_op(op);
	if (!b->op) {
		bench_skip(f, "operator %s is not built in", op);
		return false;
	}
	b->conf = bench_alloc(b->op->conf_size + 1);
	if (!plan(b, schema, param, &err)) {
		bench_skip(f, "%s", err.text);
		return false;
	}
	b->rec.schema = &b->in;
	b->rec.id = (struct iog_id){ .stream = 1, .epoch = 1, .seq = 1 };
	b->rec.writers = 1;
	for (uint32_t d = 0; d < b->in.n_dims; d++)
		b->rec.axis[d] = (struct iog_axis){ .extent = b->in.dim[d].max, .spacing = 1 };
	for (uint32_t v = 0; v < b->in.n_vars; v++) {
		const struct iog_vardef *def = &b->in.var[v];
		for (unsigned k = 0; k < def->rank; k++)
			b->block[v].count[k] = b->in.dim[def->dim[k]].max;
		b->block[v].data = bench_alloc(iog_block_set_dense(&b->block[v], def->rank, iog_dtype_size(def->dtype)) + 64);
		b->rec.var[v] = (struct iog_var){ .block = &b->block[v], .n_blocks = 1 };
	}
	b->o.size = b->plan.need.out_max[0];
	b->o.space = bench_alloc(b->o.size + 64);
	b->o.max_blocks = b->plan.need.out_blocks + IOG_VARS;
	b->o.block = bench_alloc(b->o.max_blocks * sizeof *b->o.block);
	b->call = (struct iog_call){ .conf = b->conf,
		.state = bench_alloc(b->plan.need.state + 64),
		.scratch = bench_alloc(b->plan.need.scratch + 64),
		.lib = b->lib,
		.in = { &b->rec },
		.n_in = 1,
		.n_out = 1,
		.isa = bench_isa(),
		.out = &b->o,
		.split = b->plan.split[0] };
	return true;
}

void *bench_op_data(struct bench_op *b, const char *var) { return (void *)(uintptr_t)b->block[iog_schema_var(&b->in, var)].data; }

enum iog_step bench_op_run(struct bench_op *b)
{
	b->o.rec.schema = &b->out;
	iog_record_head(&b->o.rec, &b->rec, IOG_MIN(b->in.n_dims, b->out.n_dims));
	memset(b->o.rec.var, 0, b->out.n_vars * sizeof b->o.rec.var[0]);
	b->o.used = 0, b->o.n_blocks = 0;
	return iog_op_run(b->op, &b->call);
}

const struct iog_block *bench_op_result(const struct bench_op *b, const char *var)
{
	int v = iog_schema_var(&b->out, var);
	return v >= 0 && b->o.rec.var[v].n_blocks == 1 ? b->o.rec.var[v].block : NULL;
}
