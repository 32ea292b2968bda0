/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * op.filter, op.stats, op.render, view.crop: operators against checked-in loops, and views of little against views of much. Results are
 * compared before anything is measured. Thread CPU time.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench/base.h"
#include "bench/bench-op.h"

enum { MILLION = 1000000, BALLS = 32000, WIDTH = 1920, HEIGHT = 1080 };

/* ---- op.filter ---- */

struct filter {
	struct bench_op b;
	float *x, *kept_x;
	int32_t *type, *kept_type;
	uint8_t *copy;
	double copied; /* seconds of a memcpy of the input, summed */
	unsigned copies;
};

static double filter_ours(void *ctx)
{
	struct filter *c = ctx;
	double t = bench_cpu();
	for (int i = 0; i < 5; i++)
		if (bench_op_run(&c->b) != IOG_OK)
			return -1;
	return (bench_cpu() - t) / 5;
}
static double filter_base(void *ctx)
{
	struct filter *c = ctx;
	double t = bench_cpu();
	for (int i = 0; i < 5; i++)
		base_filter(c->kept_x, c->kept_type, c->x, c->type, MILLION, 0.25f, 0.75f, 3);
	t = (bench_cpu() - t) / 5;
	double m = bench_cpu();
	memcpy(c->copy, c->x, MILLION * 4);
	memcpy(c->copy + MILLION * 4, c->type, MILLION * 4);
	__asm__ volatile("" ::: "memory");
	c->copied += bench_cpu() - m;
	c->copies++;
	return t;
}

void bench_op_filter(struct bench_figure *f)
{
	static const struct bench_param param[] = { { "where", BENCH_STRING("x > 0.25 and x < 0.75 and type == 3") }, { 0 } };
	struct filter *c = bench_alloc(sizeof *c);
	if (!bench_op_init(&c->b, f, "filter", "x: f32[atom<=1000000]; type: i32[atom]", param))
		return;
	c->x = bench_op_data(&c->b, "x");
	c->type = bench_op_data(&c->b, "type");
	c->kept_x = bench_alloc(MILLION * 4 + 64);
	c->kept_type = bench_alloc(MILLION * 4 + 64);
	c->copy = bench_alloc(MILLION * 8);
	for (uint64_t i = 0; i < MILLION; i++) {
		c->x[i] = bench_unit(2 * i);
		c->type[i] = (int32_t)(1 + bench_hash(2 * i + 1) % 4);
	}
	size_t n = base_filter(c->kept_x, c->kept_type, c->x, c->type, MILLION, 0.25f, 0.75f, 3);
	const struct iog_block *x, *type;
	if (bench_op_run(&c->b) != IOG_OK || !(x = bench_op_result(&c->b, "x")) || !(type = bench_op_result(&c->b, "type")) ||
		(size_t)x->count[0] != n || memcmp(x->data, c->kept_x, n * 4) || memcmp(type->data, c->kept_type, n * 4)) {
		bench_skip(f, "the operator and the loop do not keep the same particles");
		return;
	}
	bench_pairs(f, filter_ours, filter_base, c);
	f->value = f->ours * 1e9 / MILLION;
	snprintf(f->unit, sizeof f->unit, "ns/particle");
	bench_note(f, "%.3g of the particles kept; memcpy of the input takes %.2f of the operator's time", (double)n / MILLION,
		c->copied / c->copies / f->ours);
}

/* ---- op.stats ---- */

struct stats {
	struct bench_op b;
	float *v;
	struct base_stats want;
};

static double stats_ours(void *ctx)
{
	struct stats *c = ctx;
	double t = bench_cpu();
	for (int i = 0; i < 10; i++)
		if (bench_op_run(&c->b) != IOG_OK)
			return -1;
	return (bench_cpu() - t) / 10;
}
static double stats_base(void *ctx)
{
	struct stats *c = ctx;
	double t = bench_cpu();
	for (int i = 0; i < 10; i++) {
		base_stats(&c->want, c->v, MILLION);
		__asm__ volatile("" ::: "memory");
	}
	return (bench_cpu() - t) / 10;
}

void bench_op_stats(struct bench_figure *f)
{
	struct stats *c = bench_alloc(sizeof *c);
	if (!bench_op_init(&c->b, f, "stats", "v: f32[i<=1000000]", NULL))
		return;
	c->v = bench_op_data(&c->b, "v");
	for (uint64_t i = 0; i < MILLION; i++)
		c->v[i] = bench_unit(i) - 0.25f;
	base_stats(&c->want, c->v, MILLION);
	double min = 0, max = 0, mean = 0;
	int vmin = iog_schema_var(&c->b.out, "v_min"), vmax = iog_schema_var(&c->b.out, "v_max"),
	    vmean = iog_schema_var(&c->b.out, "v_mean");
	if (bench_op_run(&c->b) != IOG_OK || vmin < 0 || vmax < 0 || vmean < 0 || !iog_record_scalar(&c->b.o.rec, (unsigned)vmin, &min) ||
		!iog_record_scalar(&c->b.o.rec, (unsigned)vmax, &max) || !iog_record_scalar(&c->b.o.rec, (unsigned)vmean, &mean) ||
		min != c->want.min || max != c->want.max || !(fabs(mean - c->want.mean) < 1e-12)) {
		bench_skip(f, "the operator says %.17g %.17g %.17g, the loop %.17g %.17g %.17g", min, max, mean, c->want.min, c->want.max,
			c->want.mean);
		return;
	}
	bench_pairs(f, stats_ours, stats_base, c);
	f->value = f->ours * 1e9 / MILLION;
	snprintf(f->unit, sizeof f->unit, "ns/value");
}

/* ---- op.render ---- */

struct render {
	struct bench_op b;
	float *position, *value;
	double *box;
	uint8_t *rgb;
	void *work;
	uint64_t frame;
	unsigned different;
	bool moved, drawn[2];
};

/* A new frame for each pair: every ball elsewhere. */
static void render_move(struct render *c, unsigned side)
{
	if (c->drawn[side]) { /* this side had the frame: the next one */
		c->drawn[0] = c->drawn[1] = false;
		c->frame++;
		for (uint64_t i = 0; i < 3 * BALLS; i++)
			c->position[i] = bench_unit(c->frame << 32 | i) * (float)c->box[0];
		for (uint64_t i = 0; i < BALLS; i++)
			c->value[i] = bench_unit(c->frame << 32 | (i + 3 * BALLS));
	}
	c->drawn[side] = true;
}
static void render_compare(struct render *c)
{
	const struct iog_block *image = bench_op_result(&c->b, "image");
	if (c->drawn[0] && c->drawn[1])
		c->different += !image || memcmp(image->data, c->rgb, (size_t)WIDTH * HEIGHT * 3) != 0;
}
static double render_ours(void *ctx)
{
	struct render *c = ctx;
	render_move(c, 0);
	double t = bench_cpu();
	if (bench_op_run(&c->b) != IOG_OK)
		return -1;
	t = bench_cpu() - t;
	render_compare(c);
	return t;
}
static double render_base(void *ctx)
{
	struct render *c = ctx;
	const double edge[3][3] = { { c->box[0], 0, 0 }, { 0, c->box[4], 0 }, { 0, 0, c->box[8] } }, origin[3] = { 0, 0, 0 };
	render_move(c, 1);
	double t = bench_cpu();
	base_render(c->rgb, WIDTH, HEIGHT, 1, c->position, c->value, BALLS, edge, origin, c->work);
	t = bench_cpu() - t;
	render_compare(c);
	return t;
}

void bench_op_render(struct bench_figure *f)
{
	static const struct bench_param param[] = { { "color", BENCH_STRING("value") }, { 0 } };
	struct render *c = bench_alloc(sizeof *c);
	if (!bench_op_init(&c->b, f, "render", "position: f32[atom<=32000,xyz]; value: f32[atom]; box: f64[cell,xyz]", param))
		return;
	c->position = bench_op_data(&c->b, "position");
	c->value = bench_op_data(&c->b, "value");
	c->box = bench_op_data(&c->b, "box");
	c->box[0] = c->box[4] = c->box[8] = cbrt(BALLS / 0.8);
	c->rgb = bench_alloc((uint64_t)WIDTH * HEIGHT * 3);
	c->work = bench_alloc(base_render_work(WIDTH, HEIGHT, 1));
	c->drawn[0] = c->drawn[1] = true;
	bench_pairs(f, render_ours, render_base, c);
	if (f->ok == BENCH_NULL)
		return;
	if (c->different) {
		bench_skip(f, "%u of the pictures differ from those of the baseline", c->different);
		return;
	}
	f->value = f->ours * 1e3;
	snprintf(f->unit, sizeof f->unit, "ms/frame");
	bench_note(f, "every picture is the same as the baseline's, byte by byte");
}

/* ---- view.crop ---- */

struct view {
	struct bench_op big, small; /* crop */
};
enum { VIEWS = 20000 };

/* A crop by the operator, and thinning and a slice of what it made: what a crop, slice or decimate costs. */
static double view_cost(struct bench_op *b)
{
	double t = bench_cpu();
	for (int i = 0; i < VIEWS; i++) {
		struct iog_block thin, slice;
		if (bench_op_run(b) != IOG_OK)
			return -1;
		const struct iog_block *crop = b->o.rec.var[0].block;
		if (!iog_block_decimate(&thin, crop, 2, 0, 2) ||
			!iog_block_crop(&slice, crop, 2, 0, crop->count[0] / 2, crop->count[0] / 2 + 1))
			return -1;
		__asm__ volatile("" ::"r"(&thin), "r"(&slice) : "memory");
	}
	return (bench_cpu() - t) / VIEWS;
}
static double view_big(void *ctx) { return view_cost(&((struct view *)ctx)->big); }
static double view_small(void *ctx) { return view_cost(&((struct view *)ctx)->small); }

void bench_view_crop(struct bench_figure *f)
{
	static const struct iog_value pair_small[2] = { BENCH_NUMBER(2), BENCH_NUMBER(14) },
				      pair_big[2] = { BENCH_NUMBER(1000), BENCH_NUMBER(4000) };
	static const struct iog_value list_small[2] = { { .kind = IOG_V_LIST, .item = pair_small, .n_items = 2 },
		{ .kind = IOG_V_LIST, .item = pair_small, .n_items = 2 } };
	static const struct iog_value list_big[2] = { { .kind = IOG_V_LIST, .item = pair_big, .n_items = 2 },
		{ .kind = IOG_V_LIST, .item = pair_big, .n_items = 2 } };
	static const struct bench_param small[] = { { "box", { .kind = IOG_V_LIST, .item = list_small, .n_items = 2 } }, { 0 } };
	static const struct bench_param big[] = { { "box", { .kind = IOG_V_LIST, .item = list_big, .n_items = 2 } }, { 0 } };
	struct view *c = bench_alloc(sizeof *c);
	if (!bench_op_init(&c->small, f, "crop", "T: f32[y<=16,x<=16]", small) ||
		!bench_op_init(&c->big, f, "crop", "T: f32[y<=5000,x<=5000]", big))
		return;
	bench_pairs(f, view_big, view_small, c);
	f->value = f->ours * 1e9;
	snprintf(f->unit, sizeof f->unit, "ns/record");
	bench_note(f, "an operator call that crops and two further views of its result, a thinned one and a slice");
}
