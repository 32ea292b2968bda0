/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * png: what it writes decodes to the picture byte by byte, views are encoded like copies, and what must be refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <png.h>

#include "core/iog_op.h"

extern const struct iog_op iog_op_png;

enum { W = 100, H = 60 };

struct rig {
	struct iog_schema in, out;
	void *conf;
	struct iog_plan plan;
	struct iog_record r;
	struct iog_out o;
	struct iog_block block[8], out_block[4];
	uint8_t *scratch;
	double mark;
};

struct set {
	const char *name;
	struct iog_value v;
};
#define NUM(x)                                                                                                                             \
	{                                                                                                                                  \
		.kind = IOG_V_NUMBER, .n = (x), .integer = true                                                                            \
	}
#define STR(x)                                                                                                                             \
	{                                                                                                                                  \
		.kind = IOG_V_STRING, .s = (x)                                                                                             \
	}

static int rig_plan(struct rig *g, const char *schema, const struct set *set, struct iog_err *err)
{
	memset(g, 0, sizeof *g);
	assert_int_equal(iog_schema_parse(&g->in, schema, err), 0);
	g->conf = calloc(1, iog_op_png.conf_size);
	assert_int_equal(iog_param_defaults(iog_op_png.params, g->conf, err), 0);
	for (; set && set->name; set++)
		if (iog_param_set(iog_op_png.params, g->conf, set->name, &set->v, err))
			return -1;
	g->plan = (struct iog_plan){ .n_in = 1, .n_out = 1, .in = { &g->in }, .out = { &g->out } };
	int e = iog_op_png.plan(g->conf, &g->plan, err);
	if (e)
		return e;
	assert_int_equal(iog_schema_seal(&g->out, err), 0);
	g->scratch = malloc(g->plan.need.scratch);
	g->o.size = g->plan.need.out_max[0];
	g->o.space = aligned_alloc(IOG_ALIGN, g->o.size);
	return 0;
}

/* The image h x w at data, with strides, and a scalar beside it. */
static void rig_fill(struct rig *g, const uint8_t *data, int64_t h, int64_t w, int64_t sy, int64_t sx, int64_t sc)
{
	g->r.schema = &g->in;
	const int image = iog_schema_var(&g->in, "image"), mark = iog_schema_var(&g->in, "mark");
	for (uint32_t d = 0; d < g->in.n_dims; d++)
		g->r.axis[d].extent = iog_streq(g->in.dim[d].name, "y") ? h : iog_streq(g->in.dim[d].name, "x") ? w : 3;
	g->block[0] = (struct iog_block){ .data = data, .count = { h, w, 3 }, .stride = { sy, sx, sc } };
	g->block[1] = (struct iog_block){ .data = (void *)&g->mark };
	g->r.var[image] = (struct iog_var){ .block = g->block, .n_blocks = 1 };
	g->r.var[mark] = (struct iog_var){ .block = g->block + 1, .n_blocks = 1 };
	g->mark = 2.5;
}

static enum iog_step rig_run(struct rig *g)
{
	struct iog_call call = { .conf = g->conf, .scratch = g->scratch, .in = { &g->r }, .n_in = 1, .n_out = 1, .out = &g->o };
	g->o.used = 0, g->o.block = g->out_block, g->o.max_blocks = g->plan.need.out_blocks, g->o.n_blocks = 0;
	memset(g->o.space, 0xee, g->o.size);
	memset(g->scratch, 0xdd, g->plan.need.scratch);
	iog_record_head(&g->o.rec, &g->r, g->in.n_dims);
	g->o.rec.schema = &g->out;
	return iog_op_png.run(&call);
}

static const struct iog_block *rig_image(const struct rig *g) { return g->o.rec.var[iog_schema_var(&g->out, "image")].block; }

static void rig_free(struct rig *g)
{
	free(g->conf);
	free(g->scratch);
	free(g->o.space);
}

/* A smooth picture. */
static void paint(uint8_t *p, int64_t h, int64_t w, int64_t channels)
{
	for (int64_t y = 0; y < h; y++)
		for (int64_t x = 0; x < w; x++)
			for (int64_t c = 0; c < channels; c++)
				*p++ = (uint8_t)(c == 0 ? 255 * x / w : c == 1 ? 255 * y / h : 255 - 127 * (x + y) / (w + h));
}

static void decode(const struct iog_block *b, uint8_t *to, int64_t h, int64_t w, uint32_t format)
{
	png_image image = { .version = PNG_IMAGE_VERSION };
	assert_true(png_image_begin_read_from_memory(&image, b->data, b->bytes));
	assert_int_equal(image.width, w);
	assert_int_equal(image.height, h);
	assert_int_equal(image.format, format);
	assert_true(png_image_finish_read(&image, NULL, to, 0, NULL));
}

static const char *const rgb = "mark: f64; image: u8[y<=60,x<=100,rgb]";

static void test_round_trip(void **state)
{
	(void)state;
	static uint8_t p[H * W * 3], q[H * W * 3];
	static const char *const filters[] = { "sub", "none", "up", "average", "paeth", "all" };
	uint64_t stored = 0;
	paint(p, H, W, 3);
	for (int level = 0; level <= 9; level++)
		for (size_t k = 0; k < IOG_COUNT(filters); k++) {
			struct rig g;
			struct iog_err err = { 0 };
			const struct set set[] = { { "filter", STR(filters[k]) }, { "level", NUM(level) }, { NULL, { 0 } } };
			assert_int_equal(rig_plan(&g, rgb, set, &err), 0);
			rig_fill(&g, p, H, W, W * 3, 3, 1);
			assert_int_equal(rig_run(&g), IOG_OK);
			const struct iog_block *b = rig_image(&g);
			assert_int_equal(g.o.used, (uint64_t)(b->data - g.o.space) + b->bytes);
			assert_true(b->count[0] == H && b->count[1] == W && b->count[2] == 3);
			decode(b, q, H, W, PNG_FORMAT_RGB);
			assert_memory_equal(p, q, sizeof p);
			if (level == 0)
				stored = b->bytes;
			assert_true((level == 0) == (b->bytes >= sizeof p) && (level == 0 || b->bytes < stored));

			const struct iog_vardef *v = &g.out.var[iog_schema_var(&g.out, "image")];
			assert_true(v->n_codecs == 1 && v->codec[0] == IOG_CODEC_PNG && v->dtype == IOG_U8 && v->rank == 3);
			double mark = 0;
			assert_true(iog_record_scalar(&g.o.rec, (unsigned)iog_schema_var(&g.out, "mark"), &mark) && mark == 2.5);
			rig_free(&g);
		}
}

/* Every view gives the bytes of a dense copy of what it shows. */
static void test_views(void **state)
{
	(void)state;
	static uint8_t p[H * W * 3], copy[H * W * 3], apart[H * W * 4];
	struct rig g;
	struct iog_err err = { 0 };
	paint(p, H, W, 3);
	for (size_t i = 0; i < H * W; i++)
		memcpy(apart + 4 * i, p + 3 * i, 3);
	static const struct {
		int64_t at, h, w, sy, sx, sc;
	} views[] = {
		{ 0, H, W, W * 3, 3, 1 }, { 10 * W * 3 + 15 * 3, 40, 33, W * 3, 3, 1 }, /* crop: an odd width, rows apart */
		{ 0, H / 2, W, 2 * W * 3, 3, 1 },                                       /* every second row */
		{ (H - 1) * W * 3, H, W, -W * 3, 3, 1 },                                /* upside down */
		{ (W - 1) * 3, H, W, W * 3, -3, 1 },                                    /* mirrored: gathered */
		{ 2, H, W, W * 3, 3, -1 },                                              /* bgr: gathered */
		{ 0, H, W / 3, W * 3, 9, 1 },                                           /* every third column: gathered */
		{ 5 * 3, 1, 1, W * 3, 3, 1 },                                           /* one pixel */
		{ 0, 1, W, -7, 3, 1 },                                                  /* one row: its stride means nothing */
		{ 0, H, W, 0, 3, 1 },                                                   /* the same row again and again */
	};
	assert_int_equal(rig_plan(&g, rgb, NULL, &err), 0);
	for (size_t k = 0; k < IOG_COUNT(views); k++) {
		const int64_t h = views[k].h, w = views[k].w;
		uint8_t *to = copy;
		for (int64_t y = 0; y < h; y++)
			for (int64_t x = 0; x < w; x++)
				for (int64_t c = 0; c < 3; c++)
					*to++ = p[views[k].at + (h > 1 ? y * views[k].sy : 0) + x * views[k].sx + c * views[k].sc];
		rig_fill(&g, copy, h, w, w * 3, 3, 1);
		assert_int_equal(rig_run(&g), IOG_OK);
		const uint64_t n = rig_image(&g)->bytes;
		uint8_t *want = malloc(n);
		memcpy(want, rig_image(&g)->data, n);
		rig_fill(&g, p + views[k].at, h, w, views[k].sy, views[k].sx, views[k].sc);
		assert_int_equal(rig_run(&g), IOG_OK);
		assert_int_equal(rig_image(&g)->bytes, n);
		assert_memory_equal(rig_image(&g)->data, want, n);
		free(want);
	}
	/* Pixels four bytes apart, and the picture in two blocks. */
	rig_fill(&g, p, H, W, W * 3, 3, 1);
	assert_int_equal(rig_run(&g), IOG_OK);
	const uint64_t n = rig_image(&g)->bytes;
	uint8_t *want = malloc(n);
	memcpy(want, rig_image(&g)->data, n);
	rig_fill(&g, apart, H, W, W * 4, 4, 1);
	assert_int_equal(rig_run(&g), IOG_OK);
	assert_true(rig_image(&g)->bytes == n && !memcmp(rig_image(&g)->data, want, n));
	rig_fill(&g, p, H, W, W * 3, 3, 1);
	struct iog_block two[2] = { g.block[0], g.block[0] };
	two[0].count[1] = 41;
	two[1].start[1] = 41, two[1].count[1] = W - 41, two[1].data += 41 * 3;
	g.r.var[iog_schema_var(&g.in, "image")] = (struct iog_var){ .block = two, .n_blocks = 2 };
	assert_int_equal(rig_run(&g), IOG_OK);
	assert_true(rig_image(&g)->bytes == n && !memcmp(rig_image(&g)->data, want, n));
	free(want);
	rig_free(&g);
}

static void test_gray(void **state)
{
	(void)state;
	static uint8_t p[H * W], q[H * W];
	struct rig g;
	struct iog_err err = { 0 };
	paint(p, H, W, 1);
	assert_int_equal(rig_plan(&g, "mark: f64; image: u8[y<=60,x<=100]", NULL, &err), 0);
	rig_fill(&g, p, H, W, W, 1, 0);
	assert_int_equal(rig_run(&g), IOG_OK);
	decode(rig_image(&g), q, H, W, PNG_FORMAT_GRAY);
	assert_memory_equal(p, q, sizeof p);
	rig_free(&g);
}

/* Noise, stored or compressed, fits the bound for every size; with less room that is said. */
static void test_bound(void **state)
{
	(void)state;
	static uint8_t p[H * W * 3];
	uint32_t s = 1;
	for (size_t i = 0; i < sizeof p; i++)
		p[i] = (uint8_t)((s = s * 1664525 + 1013904223) >> 24);
	for (int level = 0; level <= 9; level += 3)
		for (int64_t h = 1; h <= H; h += 7)
			for (int64_t w = 1; w <= W; w += 11) {
				struct rig g;
				struct iog_err err = { 0 };
				char schema[96];
				iog_format(schema, sizeof schema, "mark: f64; image: u8[y<=%d,x<=%d,rgb]", (int)h, (int)w);
				const struct set set[] = { { "level", NUM(level) }, { NULL, { 0 } } };
				assert_int_equal(rig_plan(&g, schema, set, &err), 0);
				rig_fill(&g, p, h, w, W * 3, 3, 1);
				assert_int_equal(rig_run(&g), IOG_OK);
				g.o.size = g.o.used - 1;
				assert_int_equal(rig_run(&g), IOG_NO_SPACE);
				rig_free(&g);
			}
}

/* libpng gives up, for want of memory: said, and nothing is written behind the record. */
static void test_failure(void **state)
{
	(void)state;
	static uint8_t p[H * W * 3];
	struct rig g;
	struct iog_err err = { 0 };
	assert_int_equal(rig_plan(&g, rgb, NULL, &err), 0);
	/* A picture wider than what was planned for wants row buffers that are not there. */
	rig_fill(&g, p, 1, 1 << 20, 0, 0, 1);
	g.block[0].stride[1] = 3;
	static uint8_t wide[(1 << 20) * 3];
	g.block[0].data = wide;
	assert_int_equal(rig_run(&g), IOG_FAILED);
	/* And the next record is as good as ever. */
	rig_fill(&g, p, H, W, W * 3, 3, 1);
	assert_int_equal(rig_run(&g), IOG_OK);
	rig_free(&g);
}

static void test_not_there(void **state)
{
	(void)state;
	static uint8_t p[H * W * 3];
	struct rig g;
	struct iog_err err = { 0 };
	assert_int_equal(rig_plan(&g, rgb, NULL, &err), 0);
	rig_fill(&g, p, 0, W, W * 3, 3, 1);
	assert_int_equal(rig_run(&g), IOG_ELIDE);
	rig_fill(&g, p, H, 0, W * 3, 3, 1);
	assert_int_equal(rig_run(&g), IOG_ELIDE);
	rig_fill(&g, p, H, W, W * 3, 3, 1);
	g.r.var[iog_schema_var(&g.in, "image")].n_blocks = 0;
	assert_int_equal(rig_run(&g), IOG_BAD_INPUT);
	rig_free(&g);
}

static void test_refused(void **state)
{
	(void)state;
	static const struct {
		const char *schema, *variable, *says;
	} cases[] = {
		{ "a: f32[y<=8,x<=8,rgb]; mark: f64", NULL, "has no image" },
		{ "a: u8[y<=8,x<=8,rgb]; b: u8[y,x,rgb]; mark: f64", NULL, "2 images" },
		{ "image: u8[y,x,rgb]; mark: f64", NULL, "maximum" },
		{ "image: u8[y<=8,x<=2000000,rgb]; mark: f64", NULL, "1048576" },
		{ "image: u8[y<=8,x<=8,rgb]; mark: f64", "mark", "not an image" },
		{ "image: u8[y<=8,x<=8,rgb]; mark: f64", "imag", "no variable" },
	};
	for (size_t i = 0; i < IOG_COUNT(cases); i++) {
		struct rig g;
		struct iog_err err = { 0 };
		const struct set set[] = { { "variable", STR(cases[i].variable) }, { NULL, { 0 } } };
		assert_int_not_equal(rig_plan(&g, cases[i].schema, cases[i].variable ? set : NULL, &err), 0);
		if (!strstr(err.text, cases[i].says))
			print_error("\"%s\" should say \"%s\"\n", err.text, cases[i].says);
		assert_non_null(strstr(err.text, cases[i].says));
		rig_free(&g);
	}
	/* A picture in colour comes before a matrix of bytes. */
	struct rig g;
	struct iog_err err = { 0 };
	assert_int_equal(rig_plan(&g, "mask: u8[y<=8,x<=8]; image: u8[y,x,rgb]; mark: f64", NULL, &err), 0);
	assert_int_equal(g.out.var[iog_schema_var(&g.out, "image")].n_codecs, 1);
	assert_int_equal(g.out.var[iog_schema_var(&g.out, "mask")].n_codecs, 0);
	rig_free(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_views),
		cmocka_unit_test(test_gray),
		cmocka_unit_test(test_bound),
		cmocka_unit_test(test_failure),
		cmocka_unit_test(test_not_there),
		cmocka_unit_test(test_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
