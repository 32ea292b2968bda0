/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * call.fused: what one more operator costs a record in a running stage: the difference between a stage of many pass-through operators and
 * one of a single, over the number of operators between, against a call through a pointer. path.quiet: allocations, locks and system calls
 * of a running stage, counted from outside by ptrace (bench/count.c). Thread CPU time.
 */
#include <stdio.h>

#include "bench/bench-stage.h"
#include "bench/count.h"

/* ---- call.fused ---- */

enum { MANY = 8, RECORDS = 20000 };

static int pass_plan(void *conf, struct iog_plan *p, struct iog_err *err)
{
	(void)conf, (void)err;
	*p->out[0] = *p->in[0];
	return 0;
}
static enum iog_step pass_run(const struct iog_call *c)
{
	for (unsigned v = 0; v < c->in[0]->schema->n_vars; v++)
		iog_out_pass(c->out, v, c->in[0], v);
	return IOG_OK;
}
static const struct iog_param no_params[] = { { 0 } };
static const struct iog_op pass = { .name = "pass",
	.summary = "Passes everything",
	.params = no_params,
	.conf_size = 8,
	.in_min = 1,
	.in_max = 1,
	.outs = 1,
	.flags = IOG_STATELESS | IOG_FREESTANDING | IOG_DETERMINISTIC,
	.plan = pass_plan,
	.run = pass_run };

struct fused {
	struct bench_stage one, many;
};

static double pump_cost(struct bench_stage *s)
{
	double t = bench_cpu();
	if (!bench_stage_pump(s, RECORDS, 32))
		return -1;
	return (bench_cpu() - t) / RECORDS;
}
static double fused_ours(void *ctx)
{
	struct fused *c = ctx;
	double best[2] = { 1, 1 };
	for (int i = 0; i < 4; i++) { /* turns, so that both meet the same machine */
		double one = pump_cost(&c->one), many = pump_cost(&c->many);
		if (one < 0 || many < 0)
			return -1;
		best[0] = IOG_MIN(best[0], one), best[1] = IOG_MIN(best[1], many);
	}
	return IOG_MAX((best[1] - best[0]) / (MANY - 1), 1e-12);
}

static enum iog_step empty(const struct iog_call *c)
{
	__asm__ volatile("" ::"r"(c));
	return IOG_OK;
}
static double fused_base(void *ctx)
{
	enum iog_step (*volatile call)(const struct iog_call *) = empty;
	const struct iog_call c = { .n_in = 1 };
	double best = 1;
	(void)ctx;
	for (int i = 0; i < 4; i++) {
		double t = bench_cpu();
		for (int k = 0; k < 1000000; k++)
			if (call(&c) != IOG_OK)
				return -1;
		t = (bench_cpu() - t) / 1000000;
		best = IOG_MIN(best, t);
	}
	return best;
}

void bench_call_fused(struct bench_figure *f)
{
	static const char schema[] = "a: f32[n<=16,m<=4]; b: f64[n,m]; c: i32[n,m]";
	struct bench_stage_op one[] = { { &pass, NULL }, { 0 } }, many[MANY + 1] = { { 0 } };
	struct fused *c = bench_alloc(sizeof *c);
	for (int i = 0; i < MANY; i++)
		many[i].op = &pass;
	if (!bench_stage_init(&c->one, f, schema, one) || !bench_stage_init(&c->many, f, schema, many))
		return;
	bench_pairs(f, fused_ours, fused_base, c);
	if (f->ok == BENCH_NULL)
		return;
	double stage = pump_cost(&c->one);
	f->value = f->ours * 1e9;
	snprintf(f->unit, sizeof f->unit, "ns/operator");
	bench_note(f, "%.2f ns for the empty call; a record through a stage of one operator, made, validated and taken included: %.0f ns",
		f->base * 1e9, stage * 1e9);
}

/* ---- path.quiet ---- */

static void quiet_fill(void *data, uint64_t bytes)
{
	for (uint64_t i = 0; i < bytes / 4; i++) {
		float v = bench_unit(i);
		memcpy((uint8_t *)data + 4 * i, &v, 4);
	}
}
static bool quiet_pump(void *ctx) { return bench_stage_pump(ctx, 2000, 32); }

void bench_path_quiet(struct bench_figure *f)
{
	static const struct iog_value pair[2] = { BENCH_NUMBER(10), BENCH_NUMBER(900) };
	static const struct iog_value list[1] = { { .kind = IOG_V_LIST, .item = pair, .n_items = 2 } };
	static const struct bench_param where[] = { { "where", BENCH_STRING("x > 0.25 and x < 0.75") }, { 0 } };
	static const struct bench_param box[] = { { "box", { .kind = IOG_V_LIST, .item = list, .n_items = 1 } }, { 0 } };
	const struct bench_stage_op op[] = { { bench_find_op("crop"), box }, { bench_find_op("filter"), where },
		{ bench_find_op("stats"), NULL }, { 0 } };
	struct bench_stage *s = bench_alloc(sizeof *s);
	struct bench_counts c;
	char why[200] = "";
	if (!op[0].op || !op[1].op || !op[2].op) {
		bench_skip(f, "crop, filter or stats is not built in");
		return;
	}
	if (!bench_stage_init(s, f, "x: f32[atom<=1000]; y: f32[atom]", op))
		return;
	bench_stage_fill(s, "x", quiet_fill);
	bench_stage_fill(s, "y", quiet_fill);
	if (!bench_stage_pump(s, 2000, 32)) { /* the steady state */
		bench_skip(f, "the stage does not go on");
		return;
	}
	if (!bench_count(&c, quiet_pump, s, why, sizeof why)) {
		bench_skip(f, "%s", why);
		return;
	}
	f->value = (double)(c.allocations + c.locks + c.syscalls) / 2000;
	snprintf(f->unit, sizeof f->unit, "per record");
	bench_single(f, f->value);
	bench_note(f,
		"crop, filter and stats fused, 2000 records after as many; allocations %llu, locks %llu, system calls %llu%s%s; system "
		"calls are counted by "
		"ptrace, the others by breakpoints on the functions of libc; a process that does known numbers of each was counted right "
		"before",
		(unsigned long long)c.allocations, (unsigned long long)c.locks, (unsigned long long)c.syscalls,
		c.first[0] ? ", the first " : "", c.first);
}
