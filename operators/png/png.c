/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * png: encodes an 8-bit image variable with libpng, without loss. The image may be a view: rows whose pixels lie side by side are
 * encoded where they are, anything else is gathered first. All other variables pass. libpng and zlib get their memory from the scratch
 * of the call, so nothing is allocated. The same pixels and parameters give the same bytes. Hosted; runs on the worker's thread.
 */
#include <errno.h>
#include <png.h>
#include <setjmp.h>

#include "core/iog_op.h"

enum {
	PNG_SIDE = 1 << 20,  /* pixels along a side */
	LIBRARY = 640 << 10, /* bytes libpng and zlib take, rows apart; zlib's largest state is 268 KiB */
	ROWS = 6,            /* row buffers libpng takes, at most */
};
static const int filters[] = { PNG_FILTER_SUB, PNG_FILTER_NONE, PNG_FILTER_UP, PNG_FILTER_AVG, PNG_FILTER_PAETH, PNG_ALL_FILTERS };

struct png_conf {
	int64_t level;
	uint32_t filter, pad;
	char variable[IOG_NAME];
	/* derived */
	uint32_t var, gray;
	uint64_t library; /* bytes of scratch for libpng; the gathered image is behind */
};

static const struct iog_param png_params[] = {
	IOG_PARAM(struct png_conf, level, IOG_P_INT, .flags = IOG_PF_FIRST | IOG_PF_LIVE, .def = "1", .min = 0, .max = 9,
		.doc = "Effort: 0 stores, 1 is fast, 9 is smallest."),
	IOG_PARAM(struct png_conf, filter, IOG_P_CHOICE, .flags = IOG_PF_LIVE, .def = "sub", .choices = "sub|none|up|average|paeth|all",
		.doc = "How a pixel is predicted from its neighbours; all tries each row with every one, slowly."),
	IOG_PARAM(struct png_conf, variable, IOG_P_STRING, .def = "",
		.doc = "The image, u8[y,x,rgb] or u8[y,x]; without it, the only one the stream has."),
	{ .name = NULL },
};

static bool is_image(const struct iog_schema *s, uint32_t i)
{
	const struct iog_vardef *v = &s->var[i];
	return !v->n_codecs && (iog_var_is_rgb(s, i) || (v->dtype == IOG_U8 && v->rank == 2));
}

/* The image named by the configuration, or the only one; pictures in colour come before u8 matrices. */
static int find_image(const struct iog_schema *s, const char *name, struct iog_err *err)
{
	int found[2] = { -1, -1 }, count[2] = { 0 };
	if (name[0]) {
		const int i = iog_schema_var(s, name);
		if (i >= 0 && is_image(s, (uint32_t)i))
			return i;
		return i < 0 ? iog_fail(err, -EINVAL, "the stream has no variable \"%s\"", name)
			     : iog_fail(err, -EINVAL, "variable \"%s\" is not an image: it must be u8[y,x,rgb] or u8[y,x], not encoded",
				       name);
	}
	for (uint32_t i = 0; i < s->n_vars; i++)
		if (is_image(s, i)) {
			const int gray = s->var[i].rank == 2;
			found[gray] = (int)i, count[gray]++;
		}
	const int kind = count[0] ? 0 : 1;
	if (count[kind] == 1)
		return found[kind];
	return count[kind] ? iog_fail(err, -EINVAL, "the stream has %d images; name one: png { variable = \"%s\" }", count[kind],
				     s->var[found[kind]].name)
			   : iog_fail(err, -EINVAL, "the stream has no image, u8[y,x,rgb] or u8[y,x]; does a render come before?");
}

/*
 * What the encoding of h rows of `row` bytes takes at most: deflate's bound for any window and memory level (stored blocks and fixed
 * codes: 1/8 + 1/64), 12 bytes around every chunk of 8 KiB, and the chunks before and after the image.
 */
static uint64_t png_bound(uint64_t h, uint64_t row)
{
	const uint64_t raw = h * (row + 1), deflated = raw + (raw >> 3) + (raw >> 6) + 64;
	return deflated + 12 * (deflated / 8192 + 1) + 256;
}

static int png_plan(void *conf, struct iog_plan *p, struct iog_err *err)
{
	struct png_conf *c = conf;
	const struct iog_schema *s = p->in[0];
	const int i = find_image(s, c->variable, err);
	if (i < 0)
		return i;
	const struct iog_vardef *v = &s->var[i];
	const struct iog_dim *y = &s->dim[v->dim[0]], *x = &s->dim[v->dim[1]];
	uint64_t bytes;
	if (y->max > PNG_SIDE || x->max > PNG_SIDE || !iog_schema_var_max(s, (unsigned)i, &bytes))
		return iog_fail(err, -EINVAL, "image \"%s\" needs a declared maximum of at most %d along each side", v->name, PNG_SIDE);
	c->var = (uint32_t)i;
	c->gray = v->rank == 2;
	const uint64_t row = (uint64_t)x->max * (c->gray ? 1 : 3);
	c->library = IOG_ROUND_UP(LIBRARY + ROWS * (row + 64), IOG_ALIGN);
	struct iog_schema *out = p->out[0];
	*out = *s;
	out->id = 0;
	out->var[i].flags &= (uint8_t)~IOG_VAR_STATIC;
	out->var[i].codec[out->var[i].n_codecs++] = IOG_CODEC_PNG;
	p->need.scratch = c->library + bytes;
	p->need.out_max[0] = IOG_ROUND_UP(png_bound((uint64_t)y->max, row), IOG_ALIGN);
	p->need.out_blocks = 1;
	p->cost = (struct iog_cost){ .cycles_record = 200e3, .cycles_kib = c->level > 1 ? 100e3 : 22e3, .out_ratio = 0.3 };
	return 0;
}

/* What libpng is given: memory to take from, and where the file goes. */
struct pool {
	uint8_t *at, *end;
};
struct sink {
	uint8_t *at, *end;
	bool full;
};

static png_voidp pool_take(png_structp png, png_alloc_size_t bytes)
{
	struct pool *p = png_get_mem_ptr(png);
	const uint64_t n = IOG_ROUND_UP(bytes, 16);
	if (n < bytes || n > (uint64_t)(p->end - p->at))
		return NULL;
	uint8_t *t = p->at;
	p->at += n;
	return t;
}

static void pool_give(png_structp png, png_voidp p) { (void)png, (void)p; }

static void sink_write(png_structp png, png_bytep data, png_size_t n)
{
	struct sink *s = png_get_io_ptr(png);
	if (n > (size_t)(s->end - s->at)) {
		s->full = true;
		png_error(png, "full");
	}
	memcpy(s->at, data, n);
	s->at += n;
}

static void sink_flush(png_structp png) { (void)png; }
static void on_error(png_structp png, png_const_charp text)
{
	(void)text;
	png_longjmp(png, 1);
}
static void on_warning(png_structp png, png_const_charp text) { (void)png, (void)text; }

static enum iog_step encode(
	const struct png_conf *c, struct pool *pool, struct sink *sink, const uint8_t *pixel, int64_t pitch, uint32_t w, uint32_t h)
{
	png_structp png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, NULL, on_error, on_warning, pool, pool_take, pool_give);
	if (!png)
		return IOG_FAILED;
	/* Nothing to clean up: all of libpng's memory is scratch. */
	if (setjmp(png_jmpbuf(png)))
		return sink->full ? IOG_NO_SPACE : IOG_FAILED;
	png_infop info = png_create_info_struct(png);
	if (!info)
		return IOG_FAILED;
	png_set_write_fn(png, sink, sink_write, sink_flush);
	png_set_user_limits(png, PNG_SIDE, PNG_SIDE);
	png_set_IHDR(png, info, w, h, 8, c->gray ? PNG_COLOR_TYPE_GRAY : PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
		PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
	png_set_compression_level(png, (int)c->level);
	png_set_filter(png, PNG_FILTER_TYPE_BASE, filters[c->filter]);
	png_write_info(png, info);
	for (int64_t y = 0; y < h; y++)
		png_write_row(png, pixel + y * pitch);
	png_write_end(png, info);
	png_destroy_write_struct(&png, &info);
	return IOG_OK;
}

static enum iog_step png_run(const struct iog_call *call)
{
	const struct png_conf *c = call->conf;
	const struct iog_record *r = call->in[0];
	struct iog_out *o = call->out;
	const struct iog_vardef *v = &r->schema->var[c->var];
	const struct iog_var *image = &r->var[c->var];
	const int64_t h = r->axis[v->dim[0]].extent, w = r->axis[v->dim[1]].extent, channels = c->gray ? 1 : 3;
	if (!image->n_blocks || h < 0 || w < 0 || h > PNG_SIDE || w > PNG_SIDE || (!c->gray && r->axis[v->dim[2]].extent != 3))
		return IOG_BAD_INPUT;
	if (!h || !w)
		return IOG_ELIDE;

	const struct iog_block *b = image->block;
	const uint8_t *pixel = b->data;
	int64_t pitch = b->stride[0];
	if (image->n_blocks != 1 || b->count[0] != h || b->count[1] != w || (b->stride[1] != channels && w != 1) ||
		(!c->gray && (b->count[2] != 3 || b->stride[2] != 1))) {
		/* Pixels that no block covers are black. */
		uint8_t *to = (uint8_t *)call->scratch + c->library;
		memset(to, 0, (size_t)(h * w * channels));
		iog_record_assemble(r, c->var, to);
		pixel = to;
		pitch = w * channels;
	}
	struct iog_block *out = iog_out_blocks(o, c->var, 1);
	uint8_t *to = iog_out_alloc(o, 0);
	if (!to || !out)
		return IOG_NO_SPACE;
	struct pool pool = { call->scratch, (uint8_t *)call->scratch + c->library };
	struct sink sink = { to, o->space + o->size, false };
	const enum iog_step step = encode(c, &pool, &sink, pixel, pitch, (uint32_t)w, (uint32_t)h);
	if (step != IOG_OK)
		return step;
	o->used = (uint64_t)(sink.at - o->space);
	*out = (struct iog_block){ .data = to, .bytes = (uint64_t)(sink.at - to), .count = { h, w, c->gray ? 0 : 3 } };
	for (uint32_t i = 0; i < r->schema->n_vars; i++)
		if (i != c->var)
			iog_out_pass(o, i, r, i);
	return IOG_OK;
}

const struct iog_op iog_op_png = {
	.name = "png",
	.summary = "Compresses an image as PNG, without loss",
	.params = png_params,
	.flags = IOG_STATELESS | IOG_DETERMINISTIC,
	.conf_size = sizeof(struct png_conf),
	.in_min = 1,
	.in_max = 1,
	.outs = 1,
	.plan = png_plan,
	.run = png_run,
};
