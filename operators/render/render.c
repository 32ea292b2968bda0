/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * render: particles become a picture, `image: u8[y,x,rgb]`. Every particle is a shaded ball, hidden where something is nearer; the edges
 * of the box are drawn into the same depth. The camera is orthographic and fits the box.
 *
 * The picture is a function of the record and the parameters alone: particles are placed on a grid of 1/8 pixel, depth has 16 bits, light
 * 7 bits, and a pixel belongs to the nearest surface, then to the ball with the nearest front, then to the lowest particle index, in
 * whatever order things are drawn. Balls are drawn front to back, tile by tile, so that most of a dense system is never touched. No
 * memory of its own, no state; runs on the worker's thread.
 */
#include <errno.h>
#include <immintrin.h>

#include "splat.h"

enum { VIEW_ISO, VIEW_X, VIEW_Y, VIEW_Z, VIEW_NX, VIEW_NY, VIEW_NZ, VIEWS };
enum { MAP_AUTO, MAP_VIRIDIS, MAP_CIVIDIS, MAP_OKABE_ITO };
/* Colours: 0 background, 1 box edges, 2 values that are not numbers, then the map. */
enum { COLOR_EDGE = 1, COLOR_NAN = 2, COLOR_MAP = 3, MAP_SIZE = 256 - COLOR_MAP, TYPES = 8 };
enum { DEPTH_MAX = 65000, EDGES = 12 };

struct conf {
	char color[2 * IOG_NAME];
	uint32_t map, view;
	struct iog_numbers range, radius;
	double zoom, fade;
	int64_t width, height;
	uint32_t box, smooth;
	char background[IOG_NAME], position[IOG_NAME];
	/* derived */
	int32_t pos_var, color_var, color_comp, type_var;
	uint32_t atoms, has_box, categories;
	int64_t max_n;
	uint8_t pass[IOG_VARS]; /* output variable 1 + i is input variable pass[i] */
	uint32_t n_pass;
	uint32_t palette[256];
};

static const struct iog_param params[] = {
	IOG_PARAM(struct conf, color, IOG_P_STRING, .flags = IOG_PF_FIRST | IOG_PF_LIVE, .def = "",
		.doc = "What colours a particle: a variable or a component (type, vz, position.z); by type when there is one, else all the "
		       "same."),
	IOG_PARAM(struct conf, map, IOG_P_CHOICE, .flags = IOG_PF_LIVE, .def = "auto", .choices = "auto|viridis|cividis|okabe-ito",
		.doc = "Colours; auto takes okabe-ito (8 categories) for integers and viridis for other numbers."),
	IOG_PARAM(struct conf, range, IOG_P_NUMBERS, .flags = IOG_PF_LIVE,
		.doc = "Values of the first and the last colour; without it, the least and the greatest of each record."),
	IOG_PARAM(struct conf, radius, IOG_P_NUMBERS, .flags = IOG_PF_LIVE,
		.doc = "Radius in the unit of positions, or a list of radii for types 1, 2, ...; without it, half the mean distance."),
	IOG_PARAM(struct conf, view, IOG_P_CHOICE, .flags = IOG_PF_LIVE, .def = "iso", .choices = "iso|x|y|z|-x|-y|-z",
		.doc = "Where the viewer stands: on that axis, looking back along it, or obliquely above."),
	IOG_PARAM(struct conf, zoom, IOG_P_NUMBER, .flags = IOG_PF_LIVE, .def = "1", .min = 0.01, .max = 1000,
		.doc = "1 fits the box into the picture, 2 shows its middle twice as large."),
	IOG_PARAM(struct conf, width, IOG_P_INT, .def = "1920", .min = 16, .max = 8192, .unit = "pixel", .doc = "Width of the picture."),
	IOG_PARAM(struct conf, height, IOG_P_INT, .def = "1080", .min = 16, .max = 8192, .unit = "pixel", .doc = "Height of the picture."),
	IOG_PARAM(struct conf, fade, IOG_P_NUMBER, .flags = IOG_PF_LIVE, .def = "0.4", .min = 0, .max = 1,
		.doc = "How far the far end of the box fades into the background, so that depth shows."),
	IOG_PARAM(struct conf, box, IOG_P_BOOL, .flags = IOG_PF_LIVE, .def = "true", .doc = "Draw the edges of the box."),
	IOG_PARAM(struct conf, smooth, IOG_P_BOOL, .flags = IOG_PF_LIVE, .def = "true", .doc = "Smooth edges: four samples for a pixel."),
	IOG_PARAM(struct conf, background, IOG_P_STRING, .flags = IOG_PF_LIVE, .def = "white", .doc = "white, black or #rrggbb."),
	IOG_PARAM(struct conf, position, IOG_P_STRING, .def = "position", .doc = "The variable that holds positions."),
	{ .name = NULL },
};

/*
 * Points of the maps, equally spaced, linear in between (within 7 of 255 of the published 256 for viridis, 10 for cividis).
 * viridis: van der Walt, Smith, "A better default colormap for matplotlib", SciPy 2015, as published in matplotlib (CC0).
 * cividis: Nunez, Anderton, Renslow, "Optimizing colormaps with consideration for color vision deficiency", PLoS ONE 13 (2018) e0199239.
 */
static const uint32_t viridis[16] = {
	0x440154,
	0x481a6c,
	0x472f7d,
	0x414487,
	0x39568c,
	0x31688e,
	0x2a788e,
	0x23888e,
	0x1f988b,
	0x22a884,
	0x35b779,
	0x54c568,
	0x7ad151,
	0xa5db36,
	0xd2e21b,
	0xfde725,
};
static const uint32_t cividis[16] = {
	0x00224e,
	0x002e6c,
	0x1e3a6f,
	0x35456c,
	0x47516c,
	0x575d6d,
	0x666970,
	0x757575,
	0x848279,
	0x948e77,
	0xa59c74,
	0xb7a96e,
	0xc8b866,
	0xdbc75a,
	0xeed649,
	0xfee838,
};
/* Okabe, Ito, "Color Universal Design" (2008), from type 1 on; their black, which is no colour for a shaded ball, is a grey for type 0. */
static const uint32_t okabe_ito[TYPES] = { 0x9a9a9a, 0x56b4e9, 0xe69f00, 0x009e73, 0xd55e00, 0xf0e442, 0xcc79a7, 0x0072b2 };

/* Right, up, towards the viewer: right-handed. The oblique view is no true isometric one, where a near and a far corner would coincide:
 * 30 degrees to the left of the -y axis, 24 degrees up. */
static const double views[VIEWS][3][3] = {
	[VIEW_ISO] = { { 0.86602540378443865, -0.5, 0 }, { 0.20336832153790019, 0.35224426506091405, 0.91354545764260090 },
		{ -0.45677272882130045, -0.79115357472941187, 0.40673664307580020 } },
	[VIEW_X] = { { 0, 1, 0 }, { 0, 0, 1 }, { 1, 0, 0 } },
	[VIEW_Y] = { { -1, 0, 0 }, { 0, 0, 1 }, { 0, 1, 0 } },
	[VIEW_Z] = { { 1, 0, 0 }, { 0, 1, 0 }, { 0, 0, 1 } },
	[VIEW_NX] = { { 0, -1, 0 }, { 0, 0, 1 }, { -1, 0, 0 } },
	[VIEW_NY] = { { 1, 0, 0 }, { 0, 0, 1 }, { 0, -1, 0 } },
	[VIEW_NZ] = { { -1, 0, 0 }, { 0, 1, 0 }, { 0, 0, -1 } },
};

/* ---- control path ---- */

/* 0xrrggbb of "white", "black" or "#rrggbb"; -1: none of them. */
static int32_t color_parse(const char *s)
{
	if (iog_streq(s, "white"))
		return 0xffffff;
	if (iog_streq(s, "black"))
		return 0;
	if (*s++ != '#' || iog_strlen(s) != 6)
		return -1;
	int32_t v = 0;
	for (int i = 0; i < 6; i++) {
		int c = s[i] | 0x20, d = s[i] >= '0' && s[i] <= '9' ? s[i] - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
		if (d < 0)
			return -1;
		v = v << 4 | d;
	}
	return v;
}

static uint32_t swap_rgb(uint32_t v) { return (v & 0xff) << 16 | (v & 0xff00) | v >> 16; }

static void palette_make(struct conf *c, uint32_t background)
{
	const uint32_t *point = c->map == MAP_CIVIDIS ? cividis : viridis;
	const int luma = (int)(background >> 16) * 3 + (int)(background >> 8 & 0xff) * 6 + (int)(background & 0xff);
	c->palette[0] = swap_rgb(background);
	c->palette[COLOR_EDGE] = luma > 1275 ? 0x30281c : 0xd8d0c4;
	c->palette[COLOR_NAN] = 0x8a8a8a;
	for (int i = 0; i < MAP_SIZE; i++) {
		uint32_t v = 0;
		int at = i * 15, k = IOG_MIN(at / (MAP_SIZE - 1), 14), f = at - k * (MAP_SIZE - 1);
		for (int s = 0; s < 24; s += 8) {
			int a = point[k] >> s & 0xff, b = point[k + 1] >> s & 0xff;
			v |= (uint32_t)((a * (MAP_SIZE - 1 - f) + b * f + (MAP_SIZE - 1) / 2) / (MAP_SIZE - 1)) << s;
		}
		c->palette[COLOR_MAP + i] = swap_rgb(v);
	}
	if (c->categories)
		for (int i = 0; i < TYPES; i++)
			c->palette[COLOR_MAP + i] = swap_rgb(okabe_ito[i]);
}

static bool is_number(unsigned dtype) { return (dtype >= IOG_I8 && dtype <= IOG_F64) || dtype == IOG_BOOL; }

static int unknown(const struct iog_schema *s, const char *param, const char *name, struct iog_err *err)
{
	const char *names[IOG_VARS];
	for (uint32_t i = 0; i < s->n_vars; i++)
		names[i] = s->var[i].name;
	const char *near = iog_nearest(name, names, s->n_vars);
	if (near)
		return iog_fail(err, -EINVAL, "%s names \"%s\", which the stream does not have; did you mean \"%s\"?", param, name, near);
	char have[240] = "";
	int at = 0;
	for (uint32_t i = 0; i < s->n_vars && at < (int)sizeof have - IOG_NAME - 4; i++)
		at += iog_format(have + at, sizeof have - (size_t)at, "%s%s", i ? ", " : "", s->var[i].name);
	return iog_fail(err, -EINVAL, "%s names \"%s\", which the stream does not have; %sthe stream has %s", param, name,
		iog_streq(param, "position") ? "it draws particles, and " : "", at ? have : "no variables");
}

/* Bytes of scratch for n particles. The first 16 n serve twice: coordinates and values, then the order, then the lists of tiles. */
struct layout {
	uint64_t work, ball, sorted, class, inks, sprite, z, tiles, size;
	uint32_t n_tiles, tiles_x;
};

static struct layout layout_of(const struct conf *c)
{
	const uint64_t n = (uint64_t)c->max_n, s = c->smooth ? 2 : 1;
	struct layout l = { 0 };
	l.tiles_x = (uint32_t)(((uint64_t)c->width * s + IOG_TILE_W - 1) / IOG_TILE_W);
	l.n_tiles = l.tiles_x * (uint32_t)(((uint64_t)c->height * s + IOG_TILE_H - 1) / IOG_TILE_H);
	uint64_t at = 0;
	l.work = at, at += IOG_ROUND_UP(n * 16, IOG_ALIGN);
	l.ball = at, at += IOG_ROUND_UP(n * sizeof(struct iog_ball), IOG_ALIGN);
	l.sorted = at, at += IOG_ROUND_UP(n * sizeof(struct iog_ball), IOG_ALIGN);
	l.class = at, at += IOG_ROUND_UP(n, IOG_ALIGN);
	l.inks = at, at += IOG_INKS * sizeof(uint32_t);
	l.sprite = at, at += (uint64_t)IOG_SPRITE_BYTES * IOG_MAX(c->radius.n, 1u);
	l.z = at, at += 2 * IOG_TILE_SAMPLES * sizeof(uint16_t);
	l.tiles = at, at += IOG_ROUND_UP((l.n_tiles + 1) * sizeof(uint64_t), IOG_ALIGN);
	l.size = at;
	return l;
}

static int plan_variables(struct conf *c, const struct iog_schema *s, struct iog_err *err)
{
	c->pos_var = iog_schema_var(s, c->position);
	if (c->pos_var < 0)
		return unknown(s, "position", c->position, err);
	const struct iog_vardef *p = &s->var[c->pos_var];
	if (p->rank != 2 || !s->dim[p->dim[1]].fixed || s->dim[p->dim[1]].max != 3 || !is_number(p->dtype) || p->n_codecs)
		return iog_fail(err, -EINVAL, "\"%s\" must be numbers over [atom, xyz=3], not encoded; it is %s of rank %u%s", c->position,
			iog_dtype_name(p->dtype), p->rank, p->n_codecs ? ", encoded: decode it first" : "");
	c->atoms = p->dim[0];
	c->max_n = s->dim[c->atoms].max;
	if (c->max_n <= 0 || c->max_n > INT32_MAX)
		return iog_fail(err, -EINVAL, "dimension \"%s\" needs a maximum between 1 and 2147483647 (write \"%s<=N\" at the source)",
			s->dim[c->atoms].name, s->dim[c->atoms].name);

	c->type_var = iog_schema_var(s, "type");
	if (c->type_var >= 0) {
		const struct iog_vardef *t = &s->var[c->type_var];
		if (t->rank != 1 || t->dim[0] != c->atoms || !is_number(t->dtype) || t->n_codecs)
			c->type_var = -1;
	}
	if (c->radius.n > 1 && c->type_var < 0)
		return iog_fail(err, -EINVAL, "radius has %u values, for types 1 to %u, but the stream has no variable type[%s]",
			c->radius.n, c->radius.n, s->dim[c->atoms].name);
	for (uint32_t i = 0; i < c->radius.n; i++)
		if (!(c->radius.v[i] > 0) || c->radius.v[i] > 1e30)
			return iog_fail(err, -EINVAL, "radius %g is not a positive length", c->radius.v[i]);

	c->color_var = c->type_var;
	c->color_comp = -1;
	if (c->color[0]) {
		struct iog_component k = iog_schema_component(s, c->color, iog_strlen(c->color));
		if (k.var < 0)
			return unknown(s, "color", c->color, err);
		const struct iog_vardef *v = &s->var[k.var];
		if (k.scaled)
			return iog_fail(err, -EINVAL, "color \"%s\" is a scaled coordinate; colour by \"position.%c\" instead", c->color,
				c->color[0]);
		if (v->rank != (k.index < 0 ? 1 : 2) || v->dim[0] != c->atoms || !is_number(v->dtype) || v->n_codecs)
			return iog_fail(err, -EINVAL, "color \"%s\" must be one number for each %s%s", c->color, s->dim[c->atoms].name,
				v->n_codecs                  ? ", not encoded"
				: v->rank > 1 && k.index < 0 ? "; name a component, as in velocity.z"
							     : "");
		c->color_var = k.var;
		c->color_comp = k.index;
	}
	const unsigned dtype = c->color_var < 0 ? IOG_U8 : s->var[c->color_var].dtype;
	c->categories = c->map == MAP_OKABE_ITO || (c->map == MAP_AUTO && dtype != IOG_F16 && dtype != IOG_F32 && dtype != IOG_F64);
	if (c->range.n != 0 && (c->range.n != 2 || !(c->range.v[0] < c->range.v[1])))
		return iog_fail(err, -EINVAL, "range must be two numbers, the lower one first, got %u", c->range.n);
	return 0;
}

static int render_plan(void *conf, struct iog_plan *p, struct iog_err *err)
{
	struct conf *c = conf;
	const struct iog_schema *s = p->in[0];
	struct iog_schema *out = p->out[0];
	int e = plan_variables(c, s, err);
	if (e)
		return e;
	const int32_t background = color_parse(c->background);
	if (background < 0)
		return iog_fail(err, -EINVAL, "background \"%s\" is neither white nor black nor #rrggbb", c->background);
	c->has_box = iog_schema_var(s, "box") >= 0;
	palette_make(c, (uint32_t)background);

	const int y = iog_schema_add_dim(out, "y", c->height, true), x = iog_schema_add_dim(out, "x", c->width, true);
	const int rgb = iog_schema_add_dim(out, "rgb", 3, true);
	iog_strset(out->dim[rgb].labels, IOG_NAME, "r,g,b");
	const uint8_t dims[3] = { (uint8_t)y, (uint8_t)x, (uint8_t)rgb };
	iog_schema_add_var(out, "image", IOG_U8, 3, dims, "");
	c->n_pass = 0;
	for (uint32_t i = 0; i < s->n_vars; i++) {
		const struct iog_vardef *v = &s->var[i];
		if (v->rank)
			continue;
		if (iog_streq(v->name, "image"))
			return iog_fail(err, -EINVAL, "the stream has a variable \"image\" already; drop it or rename it before");
		const uint32_t k = out->n_vars;
		if (k == IOG_VARS)
			return iog_fail(err, -ENOSPC, "a record has at most %d variables", IOG_VARS);
		out->var[k] = *v;
		out->n_vars = k + 1;
		c->pass[c->n_pass++] = (uint8_t)i;
	}
	/* What is drawn matters to the image, and numbers of the record are handed on. */
	const int drawn[] = { c->pos_var, c->type_var, c->color_var, iog_schema_var(s, "box"), iog_schema_var(s, "box_origin") };
	p->carried[0] = UINT64_MAX;
	for (uint32_t i = 0; i < IOG_COUNT(drawn); i++)
		p->carried[0] &= drawn[i] < 0 ? UINT64_MAX : ~(1ull << drawn[i]);
	p->need.scratch = layout_of(c).size;
	p->need.out_max[0] = IOG_ROUND_UP((uint64_t)c->width * (uint64_t)c->height * 3, IOG_ALIGN);
	p->need.out_blocks = 1;
	const double pixels = (double)c->width * (double)c->height;
	p->cost.cycles_record = pixels * (c->smooth ? 8 : 3);
	p->cost.cycles_kib = 8000;
	uint64_t bytes = 0;
	p->cost.out_ratio = iog_schema_payload_max(s, false, &bytes) && bytes ? pixels * 3 / (double)bytes : 1;
	return 0;
}

/* ---- data path ---- */

/* What one call works with. Lengths are in samples unless they say otherwise. */
struct frame {
	const struct conf *c;
	const struct iog_record *r;
	struct layout at;
	uint8_t *scratch;
	uint32_t isa, shift;
	int64_t n;                /* particles, with those that are missing or not finite */
	float *x, *y, *z, *value; /* by particle: position relative to the centre; what colours it */
	uint8_t *class;
	uint32_t n_class;
	double radius[IOG_BALL_CLASSES]; /* in the unit of positions */
	bool box;
	double corner[8][3], centre[3]; /* of the box, or of what encloses the particles; corners relative to the centre */
	double diagonal;
	float m[3][3]; /* position to samples: right, down, towards the viewer */
	float mid[2], width, height;
	float near, far, kz; /* of what can be seen; depth units per sample */
	uint32_t n_balls;
};

static double root(double v) { return _mm_cvtsd_f64(_mm_sqrt_sd(_mm_setzero_pd(), _mm_set_sd(v))); }

/* Newton's method from a power of two; v > 0 and normal. */
static double cube_root(double v)
{
	uint64_t u;
	memcpy(&u, &v, sizeof u);
	u = u / 3 + 0x2a9f7893782da1ceull;
	double r;
	memcpy(&r, &u, sizeof r);
	for (int i = 0; i < 4; i++)
		r = r - (r - v / (r * r)) / 3;
	return r;
}

/* Component `comp` (-1: the variable has rank 1) of a variable by particle, minus `origin`. False: a block lies outside. */
static bool column(const struct frame *f, int32_t var, int32_t comp, double origin, float *to)
{
	const struct iog_var *v = &f->r->var[var];
	const unsigned dtype = f->r->schema->var[var].dtype;
	const bool whole = v->n_blocks == 1 && v->block[0].count[0] == f->n && (comp < 0 || v->block[0].count[1] > comp);
	for (int64_t i = 0; i < f->n && !whole; i++)
		to[i] = __builtin_nanf("");
	for (uint32_t k = 0; k < v->n_blocks; k++) {
		const struct iog_block *b = &v->block[k];
		const int64_t s = b->stride[0], n = b->count[0];
		if (b->start[0] < 0 || n < 0 || b->start[0] > f->n - n)
			return false;
		if (comp >= 0 && (comp < b->start[1] || comp >= b->start[1] + b->count[1]))
			continue;
		const uint8_t *p = b->data + (comp < 0 ? 0 : (comp - b->start[1]) * b->stride[1]);
		float *t = to + b->start[0];
		if (dtype == IOG_F32) {
			for (int64_t i = 0; i < n; i++, p += s) {
				float e;
				memcpy(&e, p, sizeof e);
				t[i] = (float)((double)e - origin);
			}
		} else if (dtype == IOG_F64) {
			for (int64_t i = 0; i < n; i++, p += s) {
				double e;
				memcpy(&e, p, sizeof e);
				t[i] = (float)(e - origin);
			}
		} else {
			for (int64_t i = 0; i < n; i++, p += s)
				t[i] = (float)(iog_load(p, dtype) - origin);
		}
	}
	return true;
}

/* Least and greatest finite value; false when there is none. */
static bool bounds(const float *v, int64_t n, float *lo, float *hi)
{
	float a = __builtin_inff(), b = -__builtin_inff();
	for (int64_t i = 0; i < n; i++) {
		const float e = v[i] - v[i] == 0 ? v[i] : __builtin_nanf("");
		a = e < a ? e : a;
		b = e > b ? e : b;
	}
	*lo = a, *hi = b;
	return a <= b;
}

/* Reads positions; finds the box, or what encloses the particles when there is none; chooses the automatic radius. */
static bool scene(struct frame *f)
{
	struct iog_box box;
	const struct conf *c = f->c;
	float lo[3] = { 0 }, hi[3] = { 0 };
	float *to[3] = { f->x, f->y, f->z };
	f->box = c->has_box && iog_record_box(f->r, &box);
	for (int d = 0; d < 3; d++)
		f->centre[d] = f->box ? box.origin[d] + (box.edge[0][d] + box.edge[1][d] + box.edge[2][d]) / 2 : 0;
	for (int d = 0; d < 3; d++) {
		if (!column(f, c->pos_var, d, f->centre[d], to[d]))
			return false;
		if (!bounds(to[d], f->n, &lo[d], &hi[d]))
			lo[d] = hi[d] = 0;
	}
	double size[3], volume = 1, longest = 0;
	for (int i = 0; i < 8; i++)
		for (int d = 0; d < 3; d++) {
			double v = 0;
			if (f->box)
				for (int e = 0; e < 3; e++)
					v += (i >> e & 1 ? 0.5 : -0.5) * box.edge[e][d];
			else
				v = i >> d & 1 ? (double)hi[d] : (double)lo[d];
			f->corner[i][d] = v;
		}
	for (int d = 0; d < 3; d++) {
		double a = f->corner[0][d], b = a;
		for (int i = 1; i < 8; i++)
			a = IOG_MIN(a, f->corner[i][d]), b = IOG_MAX(b, f->corner[i][d]);
		size[d] = b - a;
		if (!f->box) {
			/* Coordinates move to the middle; their values stay as they are up to rounding. */
			const double m = (a + b) / 2;
			for (int i = 0; i < 8; i++)
				f->corner[i][d] -= m;
			for (int64_t i = 0; i < f->n; i++)
				to[d][i] -= (float)m;
		}
		longest = IOG_MAX(longest, size[d]);
	}
	if (!(longest > 0))
		longest = 1;
	/* Half the mean distance. The volume is that of the part of the box which holds particles, in steps of 1/20 of the box, so that a slab
	 * gets its own density and the radius does not tremble from record to record. */
	int64_t count = 0;
	for (int64_t i = 0; i < f->n; i++)
		count += f->x[i] - f->x[i] == 0 && f->y[i] - f->y[i] == 0 && f->z[i] - f->z[i] == 0;
	for (int d = 0; d < 3; d++) {
		double part = size[d] > 0 ? ((double)hi[d] - (double)lo[d]) / size[d] : 1,
		       steps = (double)(int64_t)(IOG_MIN(part, 1.0) * 20 + 0.999);
		volume *= (size[d] > 0 ? size[d] : longest / 20) * IOG_MAX(steps, 1.0) / 20;
	}
	if (f->box) {
		/* Of an oblique cell only a part of the enclosing brick is filled. */
		const double(*e)[3] = (const double(*)[3])box.edge;
		double det = e[0][0] * (e[1][1] * e[2][2] - e[1][2] * e[2][1]) - e[0][1] * (e[1][0] * e[2][2] - e[1][2] * e[2][0]) +
			     e[0][2] * (e[1][0] * e[2][1] - e[1][1] * e[2][0]);
		volume *= (det < 0 ? -det : det) / (size[0] * size[1] * size[2]);
	}
	f->n_class = IOG_MAX(c->radius.n, 1u);
	const double mean = count && volume > 1e-280 && volume < 1e280 ? 0.5 * cube_root(volume / (double)count) : longest / 20;
	for (uint32_t i = 0; i < f->n_class; i++)
		f->radius[i] = c->radius.n ? c->radius.v[i] : IOG_MIN(mean, longest / 8);
	f->diagonal = root(size[0] * size[0] + size[1] * size[1] + size[2] * size[2]);
	return true;
}

/* Fits the picture and turns positions into samples. */
static void camera(struct frame *f)
{
	const struct conf *c = f->c;
	const double(*v)[3] = views[c->view];
	const double s = c->smooth ? 2 : 1;
	double reach[3] = { 0 }, margin = 0;
	for (int i = 0; i < 8; i++)
		for (int d = 0; d < 3; d++) {
			double e = v[d][0] * f->corner[i][0] + v[d][1] * f->corner[i][1] + v[d][2] * f->corner[i][2];
			reach[d] = IOG_MAX(reach[d], e < 0 ? -e : e);
		}
	for (uint32_t i = 0; i < f->n_class; i++)
		margin = IOG_MAX(margin, f->radius[i]);
	/* 4 % of the picture stay free on each side; a radius that is out of all proportion does not shrink the rest to nothing. */
	if (f->diagonal > 0)
		margin = IOG_MIN(margin, f->diagonal / 4);
	const double sx = 0.92 * (double)c->width / (2 * (reach[0] + margin)), sy = 0.92 * (double)c->height / (2 * (reach[1] + margin));
	const double scale = IOG_MIN(sx, sy) * c->zoom * s;
	for (int d = 0; d < 3; d++)
		for (int e = 0; e < 3; e++)
			f->m[d][e] = (float)((d == 1 ? -scale : scale) * v[d][e]);
	f->width = (float)((double)c->width * s);
	f->height = (float)((double)c->height * s);
	f->mid[0] = f->width / 2;
	f->mid[1] = f->height / 2;
	f->shift = c->smooth ? 2 : 3;
	/* The box and a tenth around it; what is drawn may widen this. */
	f->near = (float)(1.1 * reach[2] * scale);
	f->far = -f->near;
	for (uint32_t i = 0; i < f->n_class; i++) {
		/* Below half a pixel a particle would come and go with the grid. */
		const double r = f->radius[i] * scale;
		f->radius[i] = IOG_MIN(IOG_MAX(r, 0.75 * s), 1e6);
	}
}

static int32_t floor_of(float v)
{
	const int32_t i = (int32_t)v;
	return i - ((float)i > v);
}

/* Depth units of a depth in samples; 1..65535. */
static uint16_t depth_of(const struct frame *f, float z, float add)
{
	const float v = (z - f->far) * f->kz + add;
	return (uint16_t)(v < 1 ? 1 : v > 65535 ? 65535 : (int32_t)v);
}

/* Projects, colours, and keeps what the picture shows. */
static void project(struct frame *f, struct iog_ball *ball)
{
	const struct conf *c = f->c;
	const float phases = (float)(1u << f->shift);
	float lo = 0, hi = 0, gain = 0, rmax = 0;
	for (uint32_t i = 0; i < f->n_class; i++)
		rmax = IOG_MAX(rmax, (float)f->radius[i]);
	if (c->color_var >= 0 && !c->categories) {
		if (c->range.n)
			lo = (float)c->range.v[0], hi = (float)c->range.v[1];
		else if (!bounds(f->value, f->n, &lo, &hi))
			lo = hi = 0;
		gain = hi > lo ? (float)(MAP_SIZE - 1) / (hi - lo) : 0;
	}
	/* A depth that is far beyond the box is drawn at the end of a range of 16 boxes: 16 bits must suffice. */
	const float deepest = 16 * f->near + 4 * rmax;
	float near = f->near, far = f->far;
	uint32_t k = 0;
	for (int64_t i = 0; i < f->n; i++) {
		const float x = f->x[i], y = f->y[i], z = f->z[i];
		const float sx = f->mid[0] + f->m[0][0] * x + f->m[0][1] * y + f->m[0][2] * z;
		const float sy = f->mid[1] + f->m[1][0] * x + f->m[1][1] * y + f->m[1][2] * z;
		float sz = f->m[2][0] * x + f->m[2][1] * y + f->m[2][2] * z;
		const uint8_t class = f->n_class > 1 ? f->class[i] : 0;
		const float r = (float)f->radius[class] + 1;
		/* Comparisons with a NaN are false, and an infinity lies outside or gives one. */
		if (!(sx > -r && sx < f->width + r && sy > -r && sy < f->height + r && z - z == 0))
			continue;
		sz = sz < -deepest ? -deepest : sz > deepest ? deepest : sz;
		struct iog_ball *b = ball + k++;
		uint8_t color = COLOR_MAP;
		if (c->color_var >= 0) {
			const float v = f->value[i];
			if (v - v != 0) {
				color = COLOR_NAN;
			} else if (c->categories) {
				color = (uint8_t)(COLOR_MAP + (v > -1e9f && v < 1e9f ? (int32_t)v & (TYPES - 1) : 0));
			} else {
				const float t = gain > 0 ? (v - lo) * gain + 0.5f : (float)(MAP_SIZE / 2);
				color = (uint8_t)(COLOR_MAP + (t < 0 ? 0 : t > (float)(MAP_SIZE - 1) ? MAP_SIZE - 1 : (int32_t)t));
			}
		}
		b->x = floor_of(sx * phases + 0.5f);
		b->y = floor_of(sy * phases + 0.5f);
		b->z = sz;
		b->color = color;
		b->class = class;
		near = sz > near ? sz : near;
		far = sz < far ? sz : far;
	}
	f->n_balls = k;
	f->near = near + rmax;
	f->far = far - rmax;
	f->kz = (float)DEPTH_MAX / (f->near - f->far);
}

/* Sorts by descending top, equal ones by index: two passes of a radix sort, 8 bits each, the second moves the balls. */
static void sort(const struct frame *f, struct iog_ball *ball, struct iog_ball *sorted, uint32_t *order)
{
	uint32_t count[2][256] = { 0 };
	for (uint32_t i = 0; i < f->n_balls; i++) {
		const uint32_t key = 65535u - (ball[i].top = depth_of(f, ball[i].z + (float)f->radius[ball[i].class], 2.5f));
		count[0][key & 255]++;
		count[1][key >> 8]++;
	}
	for (int p = 0; p < 2; p++)
		for (uint32_t i = 0, sum = 0, n; i < 256; i++, sum += n)
			n = count[p][i], count[p][i] = sum;
	for (uint32_t i = 0; i < f->n_balls; i++)
		order[count[0][(65535u - ball[i].top) & 255]++] = i;
	for (uint32_t i = 0; i < f->n_balls; i++) {
		const struct iog_ball *b = ball + order[i];
		sorted[count[1][(65535u - b->top) >> 8]++] = *b;
	}
}

/* The tiles a ball touches: [x0, x1] x [y0, y1]; false when it touches none. */
struct span {
	int32_t x0, x1, y0, y1;
};
static inline bool touches(const struct frame *f, const struct iog_tile *t, const struct iog_ball *b, struct span *s)
{
	const int32_t j = t->class[b->class].j, x = b->x >> t->shift, y = b->y >> t->shift;
	const int32_t w = (int32_t)f->width - 1, h = (int32_t)f->height - 1;
	s->x0 = IOG_MAX(x - j, 0) / IOG_TILE_W, s->x1 = IOG_MIN(x + j, w) / IOG_TILE_W;
	s->y0 = IOG_MAX(y - j, 0) / IOG_TILE_H, s->y1 = IOG_MIN(y + j, h) / IOG_TILE_H;
	return x + j >= 0 && y + j >= 0 && x - j <= w && y - j <= h;
}

struct edge {
	float a[3], b[3];
};

static void edges_of(const struct frame *f, struct edge *edge)
{
	for (int i = 0, k = 0; i < 8; i++)
		for (int d = 0; d < 3; d++) {
			if (i >> d & 1)
				continue;
			struct edge *e = edge + k++;
			for (int end = 0; end < 2; end++) {
				const double *p = f->corner[end ? i | 1 << d : i];
				float *to = end ? e->b : e->a;
				for (int r = 0; r < 3; r++)
					to[r] = f->m[r][0] * (float)p[0] + f->m[r][1] * (float)p[1] + f->m[r][2] * (float)p[2] +
						(r < 2 ? f->mid[r] : 0);
			}
		}
}

/*
 * Draws a line into the tile, in depth: along its longer axis one span of samples across for each sample. `half` is half its thickness. True when it
 * touches the tile.
 */
static bool edge_draw(const struct frame *f, struct iog_tile *t, const struct edge *e, float half)
{
	const float dx = e->b[0] - e->a[0], dy = e->b[1] - e->a[1];
	const bool steep = (dy < 0 ? -dy : dy) > (dx < 0 ? -dx : dx);
	const int u = steep, v = !steep;
	const float du = e->b[u] - e->a[u], dv = e->b[v] - e->a[v], dz = e->b[2] - e->a[2];
	if ((du < 0 ? -du : du) < 0.5f)
		return false; /* seen end on */
	const float slope = dv / du, across = half * (float)root((double)(1 + slope * slope));
	const int32_t u_at = steep ? t->y : t->x, v_at = steep ? t->x : t->y;
	const int32_t u_size = steep ? IOG_TILE_H : IOG_TILE_W, v_size = steep ? IOG_TILE_W : IOG_TILE_H;
	const float lo = IOG_MIN(e->a[u], e->b[u]) - half - (float)u_at, hi = IOG_MAX(e->a[u], e->b[u]) + half - (float)u_at;
	int32_t i0 = lo < 0 ? 0 : lo > (float)u_size ? u_size : (int32_t)(lo + 0.5f);
	int32_t i1 = hi < 0 ? 0 : hi > (float)u_size ? u_size : (int32_t)(hi + 0.5f);
	/* Where it crosses the tile, and two samples more for what rounding may do. */
	if ((slope < 0 ? -slope : slope) > 1e-4f) {
		const float c0 = ((float)v_at - across - e->a[v]) / slope, c1 = ((float)(v_at + v_size) + across - e->a[v]) / slope;
		const float from = e->a[u] - (float)u_at + IOG_MIN(c0, c1) - 2, to = e->a[u] - (float)u_at + IOG_MAX(c0, c1) + 2;
		i0 = from > (float)i1 ? i1 : from > (float)i0 ? (int32_t)from : i0;
		i1 = to < (float)i0 ? i0 : to < (float)i1 ? (int32_t)to : i1;
	}
	bool any = false;
	for (int32_t i = i0; i < i1; i++) {
		float s = ((float)(u_at + i) + 0.5f - e->a[u]) / du;
		s = s < 0 ? 0 : s > 1 ? 1 : s;
		const float m = e->a[v] + s * dv;
		if (!(m > -1e6f && m < 1e6f))
			continue;
		const int32_t j0 = IOG_MAX(floor_of(m - across + 0.5f) - v_at, 0), j1 = IOG_MIN(floor_of(m + across + 0.5f) - v_at, v_size);
		const uint16_t z = depth_of(f, e->a[2] + s * dz, 2.5f);
		for (int32_t j = j0; j < j1; j++) {
			const size_t at = (size_t)(steep ? i : j) * IOG_TILE_STRIDE + (size_t)(IOG_TILE_PAD + (steep ? j : i));
			any = true;
			if (z > t->z[at])
				t->z[at] = z, t->ink[at] = COLOR_EDGE * IOG_LIGHT;
		}
	}
	return any;
}

/* Colour and light to RGB: light scales the colour, and the strongest light adds white. */
static void inks_make(const struct conf *c, uint32_t *ink)
{
	const uint32_t used = c->color_var < 0 ? COLOR_MAP + 1 : c->categories ? COLOR_MAP + TYPES : 256;
	for (uint32_t i = 0; i < used; i++)
		for (uint32_t l = 0; l < IOG_LIGHT; l++) {
			uint32_t v = c->palette[i], to = 0;
			const uint32_t shine = l > 112 ? (l - 112) * 7 : 0;
			for (unsigned s = 0; s < 24 && i > COLOR_EDGE; s += 8) {
				const uint32_t e = (v >> s & 0xff) * l / (IOG_LIGHT - 1);
				to |= (e + (255 - e) * shine / 256) << s;
			}
			ink[i * IOG_LIGHT + l] = i > COLOR_EDGE ? to : v;
		}
}

/* The classes of the tile, with sprites for those small enough. */
static void classes_make(const struct frame *f, struct iog_tile *t)
{
	for (uint32_t i = 0; i < f->n_class; i++) {
		struct iog_ball_class *k = &t->class[i];
		k->r = (float)f->radius[i];
		k->inv_r = 1.0f / k->r;
		k->kz = f->kz;
		k->j = (int32_t)(k->r + 0.5f);
		const int32_t widest = f->shift == 3 ? 32 : 64;
		k->w = 2 * k->j + 1 <= 32 ? 32 : 64;
		k->sprite = 2 * k->j + 1 < widest ? f->scratch + f->at.sprite + (uint64_t)i * IOG_SPRITE_BYTES : NULL;
		if (k->sprite)
			iog_ball_sprites(k, f->shift, f->isa);
	}
}

/* What drawing a tile takes. */
struct canvas {
	struct iog_tile t;
	struct iog_resolve how;
	const struct iog_ball *ball;
	struct edge edge[EDGES];
	uint32_t n_edges;
	float half; /* of an edge's thickness */
	uint8_t *image, blank[IOG_TILE_W * 3];
	bool clean; /* nothing was drawn since the tile was cleared */
};

static void tile_begin(const struct frame *f, struct canvas *v, uint32_t k)
{
	v->t.x = (int32_t)(k % f->at.tiles_x * IOG_TILE_W);
	v->t.y = (int32_t)(k / f->at.tiles_x * IOG_TILE_H);
	if (!v->clean)
		iog_tile_clear(&v->t);
	v->clean = true;
}

static void tile_balls(const struct frame *f, struct canvas *v, const uint32_t *list, size_t n)
{
	v->clean &= n == 0;
	iog_tile_balls(&v->t, v->ball, list, n, f->isa);
}

static void tile_end(const struct frame *f, struct canvas *v)
{
	const uint32_t s = f->c->smooth ? 2 : 1, width = (uint32_t)f->c->width, x = (uint32_t)v->t.x / s, y = (uint32_t)v->t.y / s;
	const uint32_t cols = IOG_MIN(IOG_TILE_W / s, width - x), rows = IOG_MIN(IOG_TILE_H / s, (uint32_t)f->c->height - y);
	const size_t stride = (size_t)width * 3;
	uint8_t *to = v->image + y * stride + (size_t)x * 3;
	for (uint32_t i = 0; i < v->n_edges; i++)
		v->clean &= !edge_draw(f, &v->t, v->edge + i, v->half);
	if (!v->clean)
		iog_tile_resolve(&v->t, &v->how, to, stride, cols, rows, f->isa);
	else
		for (uint32_t i = 0; i < rows; i++, to += stride)
			memcpy(to, v->blank, cols * 3);
}

/* Small balls: a list for each tile. start is zeroed and has one element more than there are tiles. */
static void draw_lists(const struct frame *f, struct canvas *v, uint64_t *start, uint32_t *list)
{
	struct span p;
	for (uint32_t i = 0; i < f->n_balls; i++)
		if (touches(f, &v->t, v->ball + i, &p))
			for (int32_t y = p.y0; y <= p.y1; y++)
				for (int32_t x = p.x0; x <= p.x1; x++)
					start[(uint32_t)y * f->at.tiles_x + (uint32_t)x + 1]++;
	for (uint32_t k = 0; k < f->at.n_tiles; k++)
		start[k + 1] += start[k];
	for (uint32_t i = 0; i < f->n_balls; i++)
		if (touches(f, &v->t, v->ball + i, &p))
			for (int32_t y = p.y0; y <= p.y1; y++)
				for (int32_t x = p.x0; x <= p.x1; x++)
					list[start[(uint32_t)y * f->at.tiles_x + (uint32_t)x]++] = i;
	/* start[k] is now where the list of tile k ends. */
	uint64_t from = 0;
	for (uint32_t k = 0; k < f->at.n_tiles; from = start[k++]) {
		tile_begin(f, v, k);
		tile_balls(f, v, list + from, start[k] - from);
		tile_end(f, v);
	}
}

/* Large balls, which would make lists of any length: one list for a row of tiles, read as far as it takes to cover each tile. */
static void draw_rows(const struct frame *f, struct canvas *v, uint32_t *list)
{
	struct span p;
	for (uint32_t k = 0; k < f->at.n_tiles;) {
		const int32_t row = (int32_t)(k / f->at.tiles_x);
		uint32_t n = 0;
		for (uint32_t i = 0; i < f->n_balls; i++)
			if (touches(f, &v->t, v->ball + i, &p) && p.y0 <= row && p.y1 >= row)
				list[n++] = i;
		for (uint32_t x = 0; x < f->at.tiles_x; x++, k++) {
			uint32_t part[64], m = 0;
			tile_begin(f, v, k);
			for (uint32_t i = 0; i < n && v->t.least < v->ball[list[i]].top; i++) {
				if (touches(f, &v->t, v->ball + list[i], &p) && p.x0 <= (int32_t)x && p.x1 >= (int32_t)x)
					part[m++] = list[i];
				if (m == IOG_COUNT(part)) {
					tile_balls(f, v, part, m);
					m = 0;
				}
			}
			tile_balls(f, v, part, m);
			tile_end(f, v);
		}
	}
}

static void draw(const struct frame *f, const struct iog_ball *sorted, uint8_t *image)
{
	const struct conf *c = f->c;
	uint32_t *inks = (uint32_t *)(void *)(f->scratch + f->at.inks), *list = (uint32_t *)(void *)(f->scratch + f->at.work);
	uint64_t *start = (uint64_t *)(void *)(f->scratch + f->at.tiles);
	struct canvas v = { .ball = sorted, .image = image };
	v.t.z = (uint16_t *)(void *)(f->scratch + f->at.z);
	v.t.ink = v.t.z + IOG_TILE_SAMPLES;
	v.t.shift = f->shift;
	v.how = (struct iog_resolve){ .rgb = inks, .fade = (uint32_t)(c->fade * 256), .smooth = c->smooth };
	v.n_edges = f->box && c->box ? EDGES : 0;
	v.half = (c->smooth ? 1.0f : 0.5f) * IOG_MAX(1.0f, (float)c->height / 600.0f);
	for (size_t i = 0; i < IOG_TILE_W; i++)
		memcpy(v.blank + 3 * i, &c->palette[0], 3);
	classes_make(f, &v.t);
	inks_make(c, inks);
	edges_of(f, v.edge);

	uint64_t entries = 0;
	for (uint32_t i = 0; i < f->n_balls; i++) {
		struct span p;
		if (touches(f, &v.t, sorted + i, &p))
			entries += (uint64_t)(p.x1 - p.x0 + 1) * (uint64_t)(p.y1 - p.y0 + 1);
	}
	if (entries <= (uint64_t)c->max_n * 4) {
		memset(start, 0, (f->at.n_tiles + 1) * sizeof *start);
		draw_lists(f, &v, start, list);
	} else {
		draw_rows(f, &v, list);
	}
}

static enum iog_step render_run(const struct iog_call *call)
{
	const struct conf *c = call->conf;
	struct iog_out *o = call->out;
	struct frame f = { .c = c, .r = call->in[0], .at = layout_of(c), .scratch = call->scratch, .isa = call->isa };
	f.n = f.r->axis[c->atoms].extent;
	if (f.n < 0 || f.n > c->max_n || !f.r->var[c->pos_var].n_blocks)
		return IOG_BAD_INPUT;
	f.x = (float *)(void *)(f.scratch + f.at.work);
	f.y = f.x + f.n, f.z = f.y + f.n, f.value = f.z + f.n;
	f.class = f.scratch + f.at.class;
	struct iog_ball *ball = (struct iog_ball *)(void *)(f.scratch + f.at.ball),
			*sorted = (struct iog_ball *)(void *)(f.scratch + f.at.sorted);

	if (!scene(&f))
		return IOG_BAD_INPUT;
	if (f.n_class > 1) {
		if (!f.r->var[c->type_var].n_blocks || !column(&f, c->type_var, -1, 0, f.value))
			return IOG_BAD_INPUT;
		for (int64_t i = 0; i < f.n; i++) {
			const float v = f.value[i] - 1;
			f.class[i] = (uint8_t)(v > 0 ? v < (float)f.n_class ? (uint32_t)v : f.n_class - 1 : 0);
		}
	}
	if (c->color_var >= 0 && (!f.r->var[c->color_var].n_blocks || !column(&f, c->color_var, c->color_comp, 0, f.value)))
		return IOG_BAD_INPUT;

	uint8_t *image = iog_out_dense(o, 0, 3, 1, (const int64_t[]){ c->height, c->width, 3 });
	if (!image)
		return IOG_NO_SPACE;
	camera(&f);
	project(&f, ball);
	sort(&f, ball, sorted, (uint32_t *)(void *)f.x);
	draw(&f, sorted, image);

	const int64_t extent[3] = { c->height, c->width, 3 };
	for (int d = 0; d < 3; d++)
		o->rec.axis[d] = (struct iog_axis){ .extent = extent[d], .spacing = 1 };
	for (uint32_t i = 0; i < c->n_pass; i++)
		iog_out_pass(o, 1 + i, f.r, c->pass[i]);
	return IOG_OK;
}

const struct iog_op iog_op_render = {
	.name = "render",
	.summary = "Draws particles as shaded balls in their box: a picture for people",
	.params = params,
	.flags = IOG_STATELESS | IOG_FREESTANDING | IOG_DETERMINISTIC,
	.conf_size = sizeof(struct conf),
	.in_min = 1,
	.in_max = 1,
	.outs = 1,
	.plan = render_plan,
	.run = render_run,
};
