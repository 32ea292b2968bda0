/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * jpeg: encodes an 8-bit image variable with libjpeg-turbo. The image may be a view (a crop, every n-th row, upside down): rows whose
 * pixels lie side by side are encoded where they are, anything else is gathered first. All other variables pass. The same pixels and
 * parameters give the same bytes. Hosted; runs on the worker's thread.
 */
#include <errno.h>
#include <limits.h>
#include <turbojpeg.h>

#include "core/iog_op.h"

enum { JPEG_MAX = 65500 }; /* pixels along a side, by the format's own implementation limit */
static const int samplings[] = { TJSAMP_420, TJSAMP_422, TJSAMP_444, TJSAMP_GRAY };

struct jpeg_conf {
	int64_t quality;
	uint32_t subsampling, pad;
	char variable[IOG_NAME];
	/* derived */
	uint32_t var, gray;
};

static const struct iog_param jpeg_params[] = {
	IOG_PARAM(struct jpeg_conf, quality, IOG_P_INT, .flags = IOG_PF_FIRST | IOG_PF_LIVE, .def = "85", .min = 1, .max = 100,
		.doc = "1 is smallest, 100 best; 85 shows no loss at a glance."),
	IOG_PARAM(struct jpeg_conf, subsampling, IOG_P_CHOICE, .flags = IOG_PF_LIVE, .def = "420", .choices = "420|422|444|gray",
		.doc = "Resolution of colour: a quarter, half, full, or no colour at all."),
	IOG_PARAM(struct jpeg_conf, variable, IOG_P_STRING, .def = "",
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
	return count[kind] ? iog_fail(err, -EINVAL, "the stream has %d images; name one: jpeg { variable = \"%s\" }", count[kind],
				     s->var[found[kind]].name)
			   : iog_fail(err, -EINVAL, "the stream has no image, u8[y,x,rgb] or u8[y,x]; does a render come before?");
}

static int jpeg_plan(void *conf, struct iog_plan *p, struct iog_err *err)
{
	struct jpeg_conf *c = conf;
	const struct iog_schema *s = p->in[0];
	const int i = find_image(s, c->variable, err);
	if (i < 0)
		return i;
	const struct iog_vardef *v = &s->var[i];
	const struct iog_dim *y = &s->dim[v->dim[0]], *x = &s->dim[v->dim[1]];
	uint64_t bytes;
	if (y->max > JPEG_MAX || x->max > JPEG_MAX || !iog_schema_var_max(s, (unsigned)i, &bytes))
		return iog_fail(err, -EINVAL, "image \"%s\" needs a declared maximum of at most %d along each side", v->name, JPEG_MAX);
	c->var = (uint32_t)i;
	c->gray = v->rank == 2;
	struct iog_schema *out = p->out[0];
	*out = *s;
	out->id = 0;
	out->var[i].flags &= (uint8_t)~IOG_VAR_STATIC;
	out->var[i].codec[out->var[i].n_codecs++] = IOG_CODEC_JPEG;
	p->need.scratch = bytes;
	p->need.out_max[0] =
		IOG_ROUND_UP(tjBufSize((int)IOG_MAX(x->max, 1), (int)IOG_MAX(y->max, 1), c->gray ? TJSAMP_GRAY : TJSAMP_444), IOG_ALIGN);
	p->need.out_blocks = 1;
	p->cost = (struct iog_cost){ .cycles_record = 50e3, .cycles_kib = 2400, .out_ratio = 0.1 };
	return 0;
}

static int jpeg_open(const void *conf, void **lib, struct iog_err *err)
{
	(void)conf;
	*lib = tjInitCompress();
	return *lib ? 0 : iog_fail(err, -ENOMEM, "libjpeg-turbo gives no handle: %s", tjGetErrorStr2(NULL));
}

static void jpeg_close(void *lib)
{
	if (lib)
		tjDestroy(lib);
}

static enum iog_step jpeg_run(const struct iog_call *call)
{
	const struct jpeg_conf *c = call->conf;
	const struct iog_record *r = call->in[0];
	struct iog_out *o = call->out;
	const struct iog_vardef *v = &r->schema->var[c->var];
	const struct iog_var *image = &r->var[c->var];
	const int64_t h = r->axis[v->dim[0]].extent, w = r->axis[v->dim[1]].extent, channels = c->gray ? 1 : 3;
	if (!image->n_blocks || h < 0 || w < 0 || h > JPEG_MAX || w > JPEG_MAX || (!c->gray && r->axis[v->dim[2]].extent != 3))
		return IOG_BAD_INPUT;
	if (!h || !w)
		return IOG_ELIDE;

	const struct iog_block *b = image->block;
	const uint8_t *pixel = b->data;
	int64_t pitch = b->stride[0];
	int flags = TJFLAG_NOREALLOC;
	bool rows = image->n_blocks == 1 && b->count[0] == h && b->count[1] == w && (b->stride[1] == channels || w == 1) &&
		    (c->gray || (b->count[2] == 3 && b->stride[2] == 1));
	if (h == 1)
		pitch = w * channels;
	if (rows && pitch < 0) {
		pixel += (h - 1) * pitch;
		pitch = -pitch;
		flags |= TJFLAG_BOTTOMUP;
	}
	if (!rows || pitch < w * channels || pitch > INT_MAX) {
		/* Pixels that no block covers are black. */
		memset(call->scratch, 0, (size_t)(h * w * channels));
		iog_record_assemble(r, c->var, call->scratch);
		pixel = call->scratch;
		pitch = w * channels;
		flags = TJFLAG_NOREALLOC;
	}
	const int sampling = c->gray ? TJSAMP_GRAY : samplings[c->subsampling];
	unsigned long bytes = tjBufSize((int)w, (int)h, sampling);
	unsigned char *to = iog_out_alloc(o, bytes);
	struct iog_block *out = iog_out_blocks(o, c->var, 1);
	if (!to || !out)
		return IOG_NO_SPACE;
	if (tjCompress2(call->lib, pixel, (int)w, (int)pitch, (int)h, c->gray ? TJPF_GRAY : TJPF_RGB, &to, &bytes, sampling,
		    (int)c->quality, flags))
		return IOG_FAILED;
	o->used = (uint64_t)(to - o->space) + bytes;
	*out = (struct iog_block){ .data = to, .bytes = bytes, .count = { h, w, channels } };
	if (c->gray)
		out->count[2] = 0;
	for (uint32_t i = 0; i < r->schema->n_vars; i++)
		if (i != c->var)
			iog_out_pass(o, i, r, i);
	return IOG_OK;
}

const struct iog_op iog_op_jpeg = {
	.name = "jpeg",
	.summary = "Compresses an image as JPEG",
	.params = jpeg_params,
	.flags = IOG_STATELESS | IOG_DETERMINISTIC,
	.conf_size = sizeof(struct jpeg_conf),
	.in_min = 1,
	.in_max = 1,
	.outs = 1,
	.plan = jpeg_plan,
	.run = jpeg_run,
	.open = jpeg_open,
	.close = jpeg_close,
};
