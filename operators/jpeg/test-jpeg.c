/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * jpeg: what it writes decodes to the picture, views are encoded like copies, and what must be refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <turbojpeg.h>

#include "core/iog_op.h"

extern const struct iog_op iog_op_jpeg;

enum { W = 100, H = 60 };

struct rig {
	struct iog_schema in, out;
	void *conf, *lib;
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
	g->conf = calloc(1, iog_op_jpeg.conf_size);
	assert_int_equal(iog_param_defaults(iog_op_jpeg.params, g->conf, err), 0);
	for (; set && set->name; set++)
		if (iog_param_set(iog_op_jpeg.params, g->conf, set->name, &set->v, err))
			return -1;
	g->plan = (struct iog_plan){ .n_in = 1, .n_out = 1, .in = { &g->in }, .out = { &g->out } };
	int e = iog_op_jpeg.plan(g->conf, &g->plan, err);
	if (e)
		return e;
	assert_int_equal(iog_schema_seal(&g->out, err), 0);
	assert_int_equal(iog_op_jpeg.open(g->conf, &g->lib, err), 0);
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
	struct iog_call call = {
		.conf = g->conf, .scratch = g->scratch, .lib = g->lib, .in = { &g->r }, .n_in = 1, .n_out = 1, .out = &g->o
	};
	g->o.used = 0, g->o.block = g->out_block, g->o.max_blocks = g->plan.need.out_blocks, g->o.n_blocks = 0;
	memset(g->o.space, 0xee, g->o.size);
	memset(g->scratch, 0xdd, g->plan.need.scratch);
	iog_record_head(&g->o.rec, &g->r, g->in.n_dims);
	g->o.rec.schema = &g->out;
	return iog_op_jpeg.run(&call);
}

static const struct iog_block *rig_image(const struct rig *g) { return g->o.rec.var[iog_schema_var(&g->out, "image")].block; }

static void rig_free(struct rig *g)
{
	iog_op_jpeg.close(g->lib);
	free(g->conf);
	free(g->scratch);
	free(g->o.space);
}

/* A smooth picture: what survives JPEG. */
static void paint(uint8_t *p, int64_t h, int64_t w, int64_t channels)
{
	for (int64_t y = 0; y < h; y++)
		for (int64_t x = 0; x < w; x++)
			for (int64_t c = 0; c < channels; c++)
				*p++ = (uint8_t)(c == 0 ? 255 * x / w : c == 1 ? 255 * y / h : 255 - 127 * (x + y) / (w + h));
}

static void decode(const struct iog_block *b, uint8_t *to, int64_t h, int64_t w, int format, int sampling)
{
	tjhandle t = tjInitDecompress();
	int dw = 0, dh = 0, ds = 0, dc = 0;
	assert_int_equal(tjDecompressHeader3(t, b->data, b->bytes, &dw, &dh, &ds, &dc), 0);
	assert_int_equal(dw, w);
	assert_int_equal(dh, h);
	assert_int_equal(ds, sampling);
	assert_int_equal(tjDecompress2(t, b->data, b->bytes, to, (int)w, 0, (int)h, format, 0), 0);
	tjDestroy(t);
}

static const char *const rgb = "mark: f64; image: u8[y<=60,x<=100,rgb]";

static void test_round_trip(void **state)
{
	(void)state;
	static uint8_t p[H * W * 3], q[H * W * 3];
	static const struct {
		const char *name;
		int sampling;
		int worst;
	} kinds[] = {
		{ "420", TJSAMP_420, 12 },
		{ "422", TJSAMP_422, 12 },
		{ "444", TJSAMP_444, 8 },
		{ "gray", TJSAMP_GRAY, 255 },
	};
	uint64_t last = 0;
	paint(p, H, W, 3);
	for (size_t k = 0; k < IOG_COUNT(kinds); k++) {
		struct rig g;
		struct iog_err err = { 0 };
		const struct set set[] = { { "subsampling", STR(kinds[k].name) }, { "quality", NUM(95) }, { NULL, { 0 } } };
		assert_int_equal(rig_plan(&g, rgb, set, &err), 0);
		rig_fill(&g, p, H, W, W * 3, 3, 1);
		assert_int_equal(rig_run(&g), IOG_OK);
		const struct iog_block *b = rig_image(&g);
		assert_true(b->bytes > 100 && b->bytes < sizeof p);
		assert_int_equal(g.o.used, (uint64_t)(b->data - g.o.space) + b->bytes);
		assert_true(b->count[0] == H && b->count[1] == W && b->count[2] == 3);
		decode(b, q, H, W, TJPF_RGB, kinds[k].sampling);
		for (size_t i = 0; i < sizeof p; i++)
			assert_true(abs(p[i] - q[i]) <= kinds[k].worst);
		/* 444 keeps more than 420, gray least. */
		assert_true(k == 0 || (k < 3) == (b->bytes > last));
		last = b->bytes;

		const struct iog_vardef *v = &g.out.var[iog_schema_var(&g.out, "image")];
		assert_true(v->n_codecs == 1 && v->codec[0] == IOG_CODEC_JPEG && v->dtype == IOG_U8 && v->rank == 3);
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
	decode(rig_image(&g), q, H, W, TJPF_GRAY, TJSAMP_GRAY);
	for (size_t i = 0; i < sizeof p; i++)
		assert_true(abs(p[i] - q[i]) <= 8);
	rig_free(&g);
}

/* Noise at best quality is the largest a picture gets: it fits the bound for every size. */
static void test_bound(void **state)
{
	(void)state;
	static uint8_t p[H * W * 3];
	struct rig g;
	struct iog_err err = { 0 };
	const struct set set[] = { { "quality", NUM(100) }, { "subsampling", STR("444") }, { NULL, { 0 } } };
	uint32_t s = 1;
	for (size_t i = 0; i < sizeof p; i++)
		p[i] = (uint8_t)((s = s * 1664525 + 1013904223) >> 24 & 0x80 ? 255 : 0);
	assert_int_equal(rig_plan(&g, rgb, set, &err), 0);
	for (int64_t h = 1; h <= H; h += 7)
		for (int64_t w = 1; w <= W; w += 9) {
			rig_fill(&g, p, h, w, W * 3, 3, 1);
			assert_int_equal(rig_run(&g), IOG_OK);
		}
	g.o.size = 600;
	rig_fill(&g, p, H, W, W * 3, 3, 1);
	assert_int_equal(rig_run(&g), IOG_NO_SPACE);
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
		{ "image: u8[y<=8,x<=70000,rgb]; mark: f64", NULL, "65500" },
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
		cmocka_unit_test(test_not_there),
		cmocka_unit_test(test_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
