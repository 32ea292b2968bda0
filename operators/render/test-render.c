/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * render: pictures against golden files, depth, independence of order, layout and vector width, and what must be refused.
 * IOG_GOLDEN=write renews tests/golden/render-*.png; look at them before they are committed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <png.h>

#include "core/iog_op.h"

extern const struct iog_op iog_op_render;

static const char *const layout_f32 =
	"box: f64[cell,xyz]; position: f32[atom<=%d,xyz]; velocity: f32[atom,xyz]; type: i32[atom]; energy: f64; steps: i64";
static const char *const layout_f64 =
	"box: f64[cell,xyz]; position: f64[atom<=%d,xyz]; velocity: f32[atom,xyz]; type: i32[atom]; energy: f64; steps: i64";
enum { BOX, POSITION, VELOCITY, TYPE, ENERGY, STEPS };

/* An operator, planned, with room for one record in and one out. */
struct rig {
	struct iog_schema in, out;
	void *conf, *scratch;
	struct iog_plan plan;
	struct iog_record r;
	struct iog_out o;
	struct iog_block block[64], out_block[4];
	uint32_t n_blocks;
	double box[9], energy;
	int64_t steps;
};

struct set {
	const char *name;
	struct iog_value v;
};
#define NUM(x)                                                                                                                             \
	{                                                                                                                                  \
		.kind = IOG_V_NUMBER, .n = (x), .integer = (double)(int64_t)(x) == (x)                                                     \
	}
#define STR(x)                                                                                                                             \
	{                                                                                                                                  \
		.kind = IOG_V_STRING, .s = (x)                                                                                             \
	}
#define BOOL(x)                                                                                                                            \
	{                                                                                                                                  \
		.kind = IOG_V_BOOL, .b = (x)                                                                                               \
	}
#define LIST(...)                                                                                                                          \
	{                                                                                                                                  \
		.kind = IOG_V_LIST, .item = (const struct iog_value[]){ __VA_ARGS__ },                                                     \
		.n_items = sizeof((struct iog_value[]){ __VA_ARGS__ }) / sizeof(struct iog_value)                                          \
	}

static int rig_plan(struct rig *g, const char *layout, int max, const struct set *set, struct iog_err *err)
{
	char text[512];
	memset(g, 0, sizeof *g);
	iog_format(text, sizeof text, layout, max);
	assert_int_equal(iog_schema_parse(&g->in, text, err), 0);
	g->conf = calloc(1, iog_op_render.conf_size);
	assert_int_equal(iog_param_defaults(iog_op_render.params, g->conf, err), 0);
	for (; set && set->name; set++)
		if (iog_param_set(iog_op_render.params, g->conf, set->name, &set->v, err))
			return -1;
	g->plan = (struct iog_plan){ .n_in = 1, .n_out = 1, .in = { &g->in }, .out = { &g->out } };
	int e = iog_op_render.plan(g->conf, &g->plan, err);
	if (e)
		return e;
	assert_int_equal(iog_schema_seal(&g->out, err), 0);
	/* Whatever was in memory before must not show. */
	g->scratch = aligned_alloc(IOG_ALIGN, IOG_ROUND_UP(g->plan.need.scratch, IOG_ALIGN));
	memset(g->scratch, 0xa5, g->plan.need.scratch);
	g->o.size = g->plan.need.out_max[0];
	g->o.space = aligned_alloc(IOG_ALIGN, IOG_ROUND_UP(g->o.size, IOG_ALIGN));
	memset(g->o.space, 0x5a, g->o.size);
	return 0;
}

static struct iog_block *rig_blocks(struct rig *g, unsigned var, uint32_t n)
{
	struct iog_block *b = g->block + g->n_blocks;
	g->n_blocks += n;
	assert_true(g->n_blocks <= IOG_COUNT(g->block));
	g->r.var[var] = (struct iog_var){ .block = b, .n_blocks = n };
	return b;
}

/* A record of n particles in a cube [0, side); rows of positions and velocities dense. */
static void rig_fill(struct rig *g, double side, const void *position, const float *velocity, const int32_t *type, int64_t n)
{
	g->r.schema = &g->in;
	g->r.step = 42;
	g->r.time = 1.5;
	g->n_blocks = 0;
	for (int i = 0; i < 3; i++)
		g->box[4 * i] = side;
	g->energy = -3.25;
	g->steps = 7;
	for (uint32_t d = 0; d < g->in.n_dims; d++)
		g->r.axis[d] = (struct iog_axis){ .extent = iog_streq(g->in.dim[d].name, "atom") ? n : 3, .spacing = 1 };
	const int64_t s = (int64_t)iog_dtype_size(g->in.var[POSITION].dtype);
	*rig_blocks(g, BOX, 1) = (struct iog_block){ .data = (void *)g->box, .count = { 3, 3 }, .stride = { 24, 8 } };
	*rig_blocks(g, POSITION, 1) = (struct iog_block){ .data = position, .count = { n, 3 }, .stride = { 3 * s, s } };
	*rig_blocks(g, VELOCITY, 1) = (struct iog_block){ .data = (const void *)velocity, .count = { n, 3 }, .stride = { 12, 4 } };
	*rig_blocks(g, TYPE, 1) = (struct iog_block){ .data = (const void *)type, .count = { n }, .stride = { 4 } };
	*rig_blocks(g, ENERGY, 1) = (struct iog_block){ .data = (void *)&g->energy };
	*rig_blocks(g, STEPS, 1) = (struct iog_block){ .data = (void *)&g->steps };
}

static enum iog_step rig_run(struct rig *g, uint32_t isa)
{
	struct iog_call call = { .conf = g->conf, .scratch = g->scratch, .in = { &g->r }, .n_in = 1, .n_out = 1, .isa = isa, .out = &g->o };
	g->o.used = 0;
	g->o.block = g->out_block;
	g->o.max_blocks = g->plan.need.out_blocks;
	g->o.n_blocks = 0;
	memset(&g->o.rec, 0, sizeof g->o.rec);
	iog_record_head(&g->o.rec, &g->r, g->in.n_dims);
	g->o.rec.schema = &g->out;
	return iog_op_render.run(&call);
}

static void rig_free(struct rig *g)
{
	free(g->conf);
	free(g->scratch);
	free(g->o.space);
}

static uint32_t widest(void)
{
	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
		__builtin_cpu_supports("avx512vl"))
		return IOG_ISA_AVX512;
	return __builtin_cpu_supports("avx2") ? IOG_ISA_AVX2 : IOG_ISA_BASE;
}

/* Particles that look like a fluid: a jittered lattice, so that neighbours touch and overlap. The same on every machine. */
static void particles(int64_t n, double side, float *position, float *velocity, int32_t *type)
{
	uint64_t s = 12345;
	int64_t k = 1;
	while (k * k * k < n)
		k++;
	for (int64_t i = 0; i < n; i++) {
		const int64_t at[3] = { i % k, i / k % k, i / k / k };
		for (int d = 0; d < 3; d++) {
			s = s * 6364136223846793005ull + 1442695040888963407ull;
			position[3 * i + d] = (float)(side * ((double)at[d] + 0.25 + 0.5 * (double)(s >> 40) / (1 << 24)) / (double)k);
			s = s * 6364136223846793005ull + 1442695040888963407ull;
			velocity[3 * i + d] = (float)((double)(s >> 40) / (1 << 23) - 1);
		}
		type[i] = (int32_t)(1 + i % 4);
	}
}

/* ---- golden files ---- */

static void golden(struct rig *g, const char *name, int64_t n)
{
	char path[128];
	const uint32_t w = (uint32_t)g->o.rec.axis[1].extent, h = (uint32_t)g->o.rec.axis[0].extent;
	iog_format(path, sizeof path, "tests/golden/render-%s.png", name);
	for (uint32_t isa = IOG_ISA_BASE; isa <= widest(); isa++) {
		memset(g->o.space, 0x5a, g->o.size);
		assert_int_equal(rig_run(g, isa), IOG_OK);
		png_image image = { .version = PNG_IMAGE_VERSION, .width = w, .height = h, .format = PNG_FORMAT_RGB };
		const char *mode = getenv("IOG_GOLDEN");
		if (mode && !strcmp(mode, "write"))
			assert_true(png_image_write_to_file(&image, path, 0, g->o.space, 0, NULL));
		assert_true(png_image_begin_read_from_file(&image, path));
		assert_int_equal(image.width, w);
		assert_int_equal(image.height, h);
		image.format = PNG_FORMAT_RGB;
		uint8_t *want = malloc(PNG_IMAGE_SIZE(image));
		assert_true(png_image_finish_read(&image, NULL, want, 0, NULL));
		for (size_t i = 0; i < (size_t)w * h * 3; i++)
			if (want[i] != g->o.space[i]) {
				print_error("%s: pixel (%zu, %zu) differs at vector width %u\n", path, i / 3 % w, i / 3 / w, isa);
				fail();
			}
		free(want);
	}
	assert_int_equal(g->r.axis[iog_schema_dim(&g->in, "atom")].extent, n);
}

static void test_golden(void **state)
{
	(void)state;
	float p[64 * 3], v[64 * 3];
	int32_t t[64];
	const struct {
		const char *name;
		int64_t n;
		struct set set[8];
	} cases[] = {
		{ "fluid", 64, { { "color", STR("vz") } } },
		{ "types", 64,
			{ { "view", STR("x") }, { "background", STR("black") }, { "radius", LIST(NUM(0.3), NUM(0.6), NUM(0.45)) },
				{ "smooth", BOOL(false) } } },
		{ "cividis", 64,
			{ { "color", STR("position.z") }, { "map", STR("cividis") }, { "range", LIST(NUM(1), NUM(3)) },
				{ "view", STR("-y") }, { "zoom", NUM(1.5) }, { "background", STR("#203040") } } },
		{ "large", 8, { { "radius", NUM(1.4) }, { "smooth", BOOL(false) }, { "fade", NUM(0) } } },
		{ "empty", 0, { { NULL, { 0 } } } },
	};
	particles(64, 4, p, v, t);
	for (size_t i = 0; i < IOG_COUNT(cases); i++) {
		struct rig g;
		struct iog_err err = { 0 };
		struct set set[10] = { { "width", NUM(160) }, { "height", NUM(120) } };
		memcpy(set + 2, cases[i].set, sizeof cases[i].set);
		assert_int_equal(rig_plan(&g, layout_f32, 64, set, &err), 0);
		rig_fill(&g, 4, p, v, t, cases[i].n);
		assert_int_equal(rig_run(&g, IOG_ISA_BASE), IOG_OK);
		golden(&g, cases[i].name, cases[i].n);
		rig_free(&g);
	}
}

/* ---- properties ---- */

/* The picture of a scene; the caller frees it. */
static uint8_t *picture(const char *layout, int max, const struct set *set, double side, const void *p, const float *v, const int32_t *t,
	int64_t n, uint32_t isa)
{
	struct rig g;
	struct iog_err err = { 0 };
	if (rig_plan(&g, layout, max, set, &err))
		print_error("%s\n", err.text);
	rig_fill(&g, side, p, v, t, n);
	assert_int_equal(rig_run(&g, isa), IOG_OK);
	uint8_t *image = g.o.space;
	g.o.space = NULL;
	rig_free(&g);
	return image;
}

static void test_widths_agree(void **state)
{
	(void)state;
	enum { N = 3000 };
	float *p = malloc(N * 12), *v = malloc(N * 12);
	int32_t *t = malloc(N * 4);
	particles(N, 10, p, v, t);
	static const double radii[] = { 0.001, 0.2, 0.5, 0.8, 3 };
	for (size_t r = 0; r < IOG_COUNT(radii); r++)
		for (int smooth = 0; smooth < 2; smooth++) {
			const struct set set[] = { { "width", NUM(333) }, { "height", NUM(217) }, { "radius", NUM(radii[r]) },
				{ "smooth", BOOL(smooth) }, { "color", STR("vx") }, { NULL, { 0 } } };
			uint8_t *base = picture(layout_f32, N, set, 10, p, v, t, N, IOG_ISA_BASE);
			for (uint32_t isa = IOG_ISA_AVX2; isa <= widest(); isa++) {
				uint8_t *other = picture(layout_f32, N, set, 10, p, v, t, N, isa);
				assert_memory_equal(base, other, 333 * 217 * 3);
				free(other);
			}
			free(base);
		}
	free(p), free(v), free(t);
}

static void test_layouts_agree(void **state)
{
	(void)state;
	enum { N = 500 };
	static float p[N * 3], v[N * 3], back[N * 3], vback[N * 3], part[3][N];
	static double wide[N * 5];
	static int32_t t[N], tback[N];
	const struct set set[] = { { "width", NUM(200) }, { "height", NUM(150) }, { "color", STR("velocity.y") }, { NULL, { 0 } } };
	particles(N, 8, p, v, t);
	uint8_t *want = picture(layout_f32, N, set, 8, p, v, t, N, widest());

	/* f64, 40 bytes apart. */
	struct rig g;
	struct iog_err err = { 0 };
	for (int i = 0; i < N; i++)
		for (int d = 0; d < 3; d++)
			wide[5 * i + d] = (double)p[3 * i + d];
	assert_int_equal(rig_plan(&g, layout_f64, N, set, &err), 0);
	rig_fill(&g, 8, wide, v, t, N);
	g.block[g.r.var[POSITION].block - g.block].stride[0] = 40;
	assert_int_equal(rig_run(&g, widest()), IOG_OK);
	assert_memory_equal(g.o.space, want, 200 * 150 * 3);
	rig_free(&g);

	/* Last particle first, read by negative strides. */
	for (int i = 0; i < N; i++) {
		memcpy(back + 3 * i, p + 3 * (N - 1 - i), 12);
		memcpy(vback + 3 * i, v + 3 * (N - 1 - i), 12);
		tback[i] = t[N - 1 - i];
	}
	assert_int_equal(rig_plan(&g, layout_f32, N, set, &err), 0);
	rig_fill(&g, 8, back, vback, tback, N);
	for (unsigned k = POSITION; k <= TYPE; k++) {
		struct iog_block *b = &g.block[g.r.var[k].block - g.block];
		b->data += (N - 1) * b->stride[0];
		b->stride[0] = -b->stride[0];
	}
	assert_int_equal(rig_run(&g, widest()), IOG_OK);
	assert_memory_equal(g.o.space, want, 200 * 150 * 3);

	/* Positions in three blocks of a few particles each, out of order, velocities whole. */
	rig_fill(&g, 8, p, v, t, N);
	struct iog_block *b = rig_blocks(&g, POSITION, 3);
	static const int64_t from[4] = { 0, 17, 400, N };
	for (int i = 0; i < 3; i++)
		b[2 - i] = (struct iog_block){
			.data = (void *)(p + 3 * from[i]), .start = { from[i] }, .count = { from[i + 1] - from[i], 3 }, .stride = { 12, 4 }
		};
	assert_int_equal(rig_run(&g, widest()), IOG_OK);
	assert_memory_equal(g.o.space, want, 200 * 150 * 3);

	/* One block for each component. */
	rig_fill(&g, 8, p, v, t, N);
	b = rig_blocks(&g, POSITION, 3);
	for (int d = 0; d < 3; d++) {
		for (int i = 0; i < N; i++)
			part[d][i] = p[3 * i + d];
		b[d] = (struct iog_block){ .data = (void *)part[d], .start = { 0, d }, .count = { N, 1 }, .stride = { 4, 4 } };
	}
	assert_int_equal(rig_run(&g, widest()), IOG_OK);
	assert_memory_equal(g.o.space, want, 200 * 150 * 3);
	rig_free(&g);

	/* Another order of particles is the same picture: nothing here is equally near at the same sample. */
	for (int i = 0; i < N; i++) {
		const int k = i * 7 % N; /* 7 and N have no common factor */
		memcpy(back + 3 * i, p + 3 * k, 12);
		memcpy(vback + 3 * i, v + 3 * k, 12);
	}
	uint8_t *mixed = picture(layout_f32, N, set, 8, back, vback, t, N, widest());
	assert_memory_equal(mixed, want, 200 * 150 * 3);
	free(mixed);
	free(want);
}

/* Lists of tiles are made in groups when balls are large; a larger declared maximum makes room for all at once. */
static void test_many_tiles(void **state)
{
	(void)state;
	enum { N = 30 };
	float p[N * 3], v[N * 3];
	int32_t t[N];
	const struct set set[] = { { "width", NUM(640) }, { "height", NUM(480) }, { "radius", NUM(1.5) }, { "color", STR("vx") },
		{ NULL, { 0 } } };
	particles(N, 6, p, v, t);
	uint8_t *few = picture(layout_f32, N, set, 6, p, v, t, N, widest()),
		*room = picture(layout_f32, 100000, set, 6, p, v, t, N, widest());
	assert_memory_equal(few, room, 640 * 480 * 3);
	free(few), free(room);
}

static const uint8_t *pixel(const uint8_t *image, int w, int x, int y) { return image + 3 * (y * w + x); }

static void test_depth(void **state)
{
	(void)state;
	/* Seen along -z: type 1 (sky blue) lies behind type 4 (vermilion) in the middle; type 2 stands alone at the left. */
	const float p[] = { 5, 5, 2, 5, 5, 8, 2, 5, 5 }, v[9] = { 0 };
	const int32_t t[] = { 1, 4, 2 };
	const struct set set[] = { { "width", NUM(200) }, { "height", NUM(200) }, { "view", STR("z") }, { "radius", NUM(1) },
		{ "fade", NUM(0) }, { NULL, { 0 } } };
	uint8_t *front = picture(layout_f32, 3, set, 10, p, v, t, 3, widest());
	const uint8_t *c = pixel(front, 200, 100, 100);
	assert_true(c[0] > 150 && c[2] < c[0] / 2); /* red before blue */
	c = pixel(front, 200, 100 - 3 * 200 * 92 / 100 / 12, 100);
	assert_true(c[0] > 150 && c[1] > 100 && c[2] < 90); /* orange */

	const struct set from_below[] = { { "width", NUM(200) }, { "height", NUM(200) }, { "view", STR("-z") }, { "radius", NUM(1) },
		{ "fade", NUM(0) }, { NULL, { 0 } } };
	uint8_t *behind = picture(layout_f32, 3, from_below, 10, p, v, t, 3, widest());
	c = pixel(behind, 200, 100, 100);
	assert_true(c[2] > 150 && c[0] < c[2]);
	c = pixel(behind, 200, 100 + 3 * 200 * 92 / 100 / 12, 100); /* mirrored */
	assert_true(c[0] > 150 && c[1] > 100 && c[2] < 90);
	free(front), free(behind);

	/* Far outside the box, towards the viewer and away from him, depth still counts. */
	for (int side = -1; side <= 1; side += 2) {
		const float far[] = { 5, 5, (float)(5 + 30 * side), 5, 5, (float)(8 + 30 * side) };
		uint8_t *image = picture(layout_f32, 2, set, 10, far, v, t, 2, widest());
		c = pixel(image, 200, 100, 100);
		assert_true(c[0] > 150 && c[2] < c[0] / 2);
		free(image);
	}
}

static int differing(const uint8_t *a, const uint8_t *b, size_t pixels)
{
	int n = 0;
	for (size_t i = 0; i < pixels; i++)
		n += memcmp(a + 3 * i, b + 3 * i, 3) != 0;
	return n;
}

static void test_box(void **state)
{
	(void)state;
	const float p[] = { 10, 5, 10 }, v[3] = { 0 };
	const int32_t t[] = { 1 };
	const struct set with[] = { { "width", NUM(200) }, { "height", NUM(200) }, { "view", STR("-y") }, { "radius", NUM(1) },
		{ NULL, { 0 } } };
	const struct set without[] = { { "width", NUM(200) }, { "height", NUM(200) }, { "view", STR("-y") }, { "radius", NUM(1) },
		{ "box", BOOL(false) }, { NULL, { 0 } } };
	uint8_t *edges = picture(layout_f32, 1, with, 10, p, v, t, 0, widest()),
		*nothing = picture(layout_f32, 1, without, 10, p, v, t, 0, widest());
	uint8_t *both = picture(layout_f32, 1, with, 10, p, v, t, 1, widest()),
		*ball = picture(layout_f32, 1, without, 10, p, v, t, 1, widest());
	for (size_t i = 0; i < 200 * 200 * 3; i++)
		assert_int_equal(nothing[i], 255);
	/* A frame as wide as high, 92 % of the picture without the margin for the radius. */
	const int frame = differing(edges, nothing, 200 * 200);
	assert_in_range(frame, 4 * 150, 4 * 200 * 3);
	/* The ball sits on the corner of the frame, halfway between its near and far edges: near edges cross it, so that it hides some of the
	 * frame but not all. */
	assert_true(differing(both, edges, 200 * 200) > 100);
	assert_true(differing(both, ball, 200 * 200) > 400);
	/* Far behind the ball nothing of an edge shows: seen from behind, with the ball at the near corner. */
	const float near[] = { 10, -1.5f, 10 };
	uint8_t *hides = picture(layout_f32, 1, with, 10, near, v, t, 1, widest()),
		*alone = picture(layout_f32, 1, without, 10, near, v, t, 1, widest());
	int inside = 0, same = 0;
	for (size_t i = 0; i < 200 * 200; i++)
		if (memcmp(alone + 3 * i, nothing + 3 * i, 3)) {
			inside++;
			same += !memcmp(alone + 3 * i, hides + 3 * i, 3);
		}
	assert_true(inside > 150);
	assert_true(same > inside * 9 / 10); /* all but the blended rim */
	free(edges), free(nothing), free(both), free(ball), free(hides), free(alone);
}

static void test_strange_positions(void **state)
{
	(void)state;
	const float nan = __builtin_nanf(""), inf = __builtin_inff();
	float p[] = { 3, 3, 3, 7, 6, 5, nan, 5, 5, 5, inf, 5, 5, 5, -inf, 1e30f, 5, 5, -3e38f, 3e38f, 3e38f, 12, 5, 5 },
	      v[24] = { 0, 0, 0, 1 };
	const int32_t t[] = { 1, 2, 3, 4, 5, 6, 7, 2 };
	const struct set set[] = { { "width", NUM(200) }, { "height", NUM(150) }, { "radius", NUM(0.8) }, { "range", LIST(NUM(0), NUM(1)) },
		{ "color", STR("vx") }, { NULL, { 0 } } };
	uint8_t *two = picture(layout_f32, 8, set, 10, p, v, t, 2, widest()),
		*seven = picture(layout_f32, 8, set, 10, p, v, t, 7, widest());
	uint8_t *eight = picture(layout_f32, 8, set, 10, p, v, t, 8, widest());
	assert_memory_equal(two, seven, 200 * 150 * 3);
	/* Outside the box, but in the picture: drawn where it is. */
	assert_true(differing(seven, eight, 200 * 150) > 50);
	free(two), free(seven), free(eight);

	/* Values that are no numbers, with automatic range: grey, and the others unchanged. */
	const struct set automatic[] = { { "width", NUM(200) }, { "height", NUM(150) }, { "view", STR("z") }, { "radius", NUM(0.8) },
		{ "color", STR("vx") }, { "fade", NUM(0) }, { NULL, { 0 } } };
	const float q[] = { 2, 5, 5, 8, 5, 5, 5, 5, 5 };
	float w[] = { 0, 0, 0, 1, 0, 0, nan, 0, 0 };
	uint8_t *grey = picture(layout_f32, 8, automatic, 10, q, w, t, 3, widest());
	const uint8_t *c = pixel(grey, 200, 100, 75);
	assert_true(c[0] == c[1] && c[1] == c[2] && c[0] > 90 && c[0] < 200);
	free(grey);

	/* Nothing but nonsense, without a box. */
	struct rig g;
	struct iog_err err = { 0 };
	const struct set small[] = { { "width", NUM(64) }, { "height", NUM(64) }, { NULL, { 0 } } };
	assert_int_equal(rig_plan(&g, layout_f32, 8, small, &err), 0);
	rig_fill(&g, 0, p + 6, v, t, 3);
	g.r.var[BOX] = (struct iog_var){ 0 };
	assert_int_equal(rig_run(&g, widest()), IOG_OK);
	for (size_t i = 0; i < 64 * 64 * 3; i++)
		assert_int_equal(g.o.space[i], 255);
	/* One particle without a box, and many at one place. */
	rig_fill(&g, 0, p, v, t, 1);
	g.r.var[BOX] = (struct iog_var){ 0 };
	assert_int_equal(rig_run(&g, widest()), IOG_OK);
	assert_int_not_equal(*pixel(g.o.space, 64, 32, 32), 255);
	const float same[] = { 1, 1, 1, 1, 1, 1, 1, 1, 1 };
	rig_fill(&g, 0, same, v, t, 3);
	g.r.var[BOX] = (struct iog_var){ 0 };
	assert_int_equal(rig_run(&g, widest()), IOG_OK);
	assert_int_not_equal(*pixel(g.o.space, 64, 32, 32), 255);
	rig_free(&g);
}

/* Extreme, but legal: nothing overflows (UBSan looks on). */
static void test_extremes(void **state)
{
	(void)state;
	enum { N = 64 };
	float p[N * 3], v[N * 3];
	int32_t t[N];
	particles(N, 4, p, v, t);
	for (int i = 0; i < N; i++)
		t[i] = i & 1 ? INT32_MAX : INT32_MIN;
	const struct set sets[][6] = {
		{ { "width", NUM(16) }, { "height", NUM(16) }, { "zoom", NUM(1000) } },
		{ { "width", NUM(64) }, { "height", NUM(16) }, { "zoom", NUM(0.01) } },
		{ { "width", NUM(64) }, { "height", NUM(64) }, { "radius", NUM(1e30) }, { "zoom", NUM(1000) } },
		{ { "width", NUM(64) }, { "height", NUM(64) }, { "radius", LIST(NUM(1e-300), NUM(1e20)) },
			{ "range", LIST(NUM(-1e300), NUM(1e300)) }, { "color", STR("vx") } },
	};
	for (size_t i = 0; i < IOG_COUNT(sets); i++)
		for (int s = 0; s < 3; s++) {
			static const double sides[] = { 4, 1e-30, 1e30 };
			uint8_t *image = picture(layout_f32, N, sets[i], sides[s], p, v, t, N, widest());
			free(image);
		}
}

static void test_record(void **state)
{
	(void)state;
	const float p[] = { 1, 1, 1 }, v[] = { 0, 0, 0 };
	const int32_t t[] = { 1 };
	const struct set set[] = { { "width", NUM(64) }, { "height", NUM(48) }, { NULL, { 0 } } };
	struct rig g;
	struct iog_err err = { 0 };
	assert_int_equal(rig_plan(&g, layout_f32, 4, set, &err), 0);
	rig_fill(&g, 4, p, v, t, 1);
	assert_int_equal(rig_run(&g, IOG_ISA_BASE), IOG_OK);
	char text[512];
	iog_schema_text(&g.out, true, text, sizeof text);
	assert_non_null(strstr(text, "image: u8[y=48,"));
	assert_int_equal(g.out.n_vars, 3);
	assert_int_equal(g.o.rec.step, 42);
	assert_int_equal(g.o.rec.axis[0].extent, 48);
	assert_int_equal(g.o.rec.axis[1].extent, 64);
	assert_int_equal(g.o.rec.axis[2].extent, 3);
	double e = 0;
	assert_true(iog_record_scalar(&g.o.rec, (unsigned)iog_schema_var(&g.out, "energy"), &e) && e == -3.25);
	assert_true(iog_record_scalar(&g.o.rec, (unsigned)iog_schema_var(&g.out, "steps"), &e) && e == 7);

	/* Too little space is said, not overrun. */
	g.o.size = 64 * 48 * 3 - 1;
	assert_int_equal(rig_run(&g, IOG_ISA_BASE), IOG_NO_SPACE);
	g.o.size = g.plan.need.out_max[0];

	/* Positions missing; more particles than declared; a block outside. */
	rig_fill(&g, 4, p, v, t, 1);
	g.r.var[POSITION].n_blocks = 0;
	assert_int_equal(rig_run(&g, IOG_ISA_BASE), IOG_BAD_INPUT);
	rig_fill(&g, 4, p, v, t, 5);
	assert_int_equal(rig_run(&g, IOG_ISA_BASE), IOG_BAD_INPUT);
	rig_fill(&g, 4, p, v, t, 1);
	g.block[g.r.var[POSITION].block - g.block].start[0] = 1;
	assert_int_equal(rig_run(&g, IOG_ISA_BASE), IOG_BAD_INPUT);
	rig_free(&g);
}

static void test_refused(void **state)
{
	(void)state;
	const struct {
		const char *layout;
		struct set set[3];
		const char *says;
	} cases[] = {
		{ NULL, { { "color", STR("tpye") } }, "did you mean \"type\"" },
		{ NULL, { { "color", STR("velocity") } }, "name a component" },
		{ NULL, { { "color", STR("zs") } }, "position.z" },
		{ NULL, { { "color", STR("energy") } }, "one number for each atom" },
		{ NULL, { { "range", LIST(NUM(2), NUM(1)) } }, "lower one first" },
		{ NULL, { { "radius", NUM(-1) } }, "not a positive length" },
		{ NULL, { { "background", STR("#12345g") } }, "#rrggbb" },
		{ NULL, { { "position", STR("positoin") } }, "did you mean \"position\"" },
		{ NULL, { { "position", STR("type") } }, "[atom, xyz=3]" },
		{ NULL, { { "view", STR("top") } }, "view" },
		{ NULL, { { "width", NUM(100000) } }, "width" },
		{ "position: f32[atom,xyz]; n: i64; m: f32[k<=%d]", { { NULL, { 0 } } }, "needs a maximum" },
		{ "mean: f64; count: i64; n: f32[k<=%d]", { { NULL, { 0 } } },
			"does not have; it draws particles, and the stream has mean, count, n" },
		{ NULL, { { "color", STR("charge") } }, "which the stream does not have; the stream has box, position, " },
		{ "position: f32[atom<=%d,xyz]", { { "radius", LIST(NUM(1), NUM(2)) } }, "no variable type" },
		{ "position: f32[atom<=%d,xyz]; image: i64", { { NULL, { 0 } } }, "\"image\" already" },
	};
	for (size_t i = 0; i < IOG_COUNT(cases); i++) {
		struct rig g;
		struct iog_err err = { 0 };
		assert_int_not_equal(rig_plan(&g, cases[i].layout ? cases[i].layout : layout_f32, 4, cases[i].set, &err), 0);
		if (!strstr(err.text, cases[i].says))
			print_error("\"%s\" should say \"%s\"\n", err.text, cases[i].says);
		assert_non_null(strstr(err.text, cases[i].says));
		rig_free(&g);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_widths_agree),
		cmocka_unit_test(test_layouts_agree),
		cmocka_unit_test(test_many_tiles),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_box),
		cmocka_unit_test(test_strange_positions),
		cmocka_unit_test(test_extremes),
		cmocka_unit_test(test_record),
		cmocka_unit_test(test_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
