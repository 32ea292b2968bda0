/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * crop: keeps a box of indices. Every variable that has a cropped dimension becomes a view of the input; nothing is copied, so the cost
 * does not depend on the size of the record. Extents and origins of the cropped dimensions follow. Runs on the worker's thread.
 */
#include <errno.h>

#include "core/iog_op.h"

struct crop_conf {
	struct iog_intervals box;
	/* derived */
	int64_t lo[IOG_DIMS], hi[IOG_DIMS]; /* by dimension of the schema */
	uint32_t cropped;                   /* bit d: dimension d is cropped */
	uint32_t split;
};

static const struct iog_param crop_params[] = {
	IOG_PARAM(struct crop_conf, box, IOG_P_INTERVALS, .flags = IOG_PF_REQUIRED | IOG_PF_FIRST | IOG_PF_LIVE,
		.doc = "Index ranges {lo, hi} that are kept, lo included, hi not: by dimension name, or in the order x, y, z."),
	{ 0 },
};

#define OPEN (INT64_C(1) << 52) /* an upper end no dimension reaches */

/* The smallest index >= v, for index ranges: i is in [lo, hi) exactly when up(lo) <= i < up(hi). */
static int64_t up(double v)
{
	if (!(v > 0))
		return 0;
	if (v >= 0x1p52)
		return OPEN;
	int64_t i = (int64_t)v;
	return (double)i < v ? i + 1 : i;
}

/*
 * The dimension that interval k without a name means. Streams with dimensions called x, y or z: the k-th of those present, in that
 * order (so that {{0, 640}, {0, 480}} fits an image[y, x, rgb]). Others: the k-th dimension of the schema, which is slowest first.
 */
static int by_position(const struct iog_schema *s, unsigned k)
{
	static const char xyz[3][2] = { "x", "y", "z" };
	unsigned found = 0;
	for (unsigned i = 0; i < 3; i++) {
		int d = iog_schema_dim(s, xyz[i]);
		if (d >= 0 && found++ == k)
			return d;
	}
	return found ? -1 : k < s->n_dims ? (int)k : -1;
}

static int no_such_dim(const struct iog_schema *s, const struct iog_interval *v, unsigned k, struct iog_err *err)
{
	const char *names[IOG_DIMS], *near;
	char list[200] = "";
	size_t at = 0;
	for (unsigned d = 0; d < s->n_dims; d++) {
		names[d] = s->dim[d].name;
		if (at < sizeof list)
			at += (size_t)iog_format(list + at, sizeof list - at, "%s%s", d ? ", " : "", s->dim[d].name);
	}
	if (!v->name[0])
		return iog_fail(err, -EINVAL, "\"box\" has an interval at position %u, but the stream has no dimension for it; it has %s",
			k + 1, s->n_dims ? list : "none");
	near = iog_nearest(v->name, names, s->n_dims);
	if (near)
		return iog_fail(err, -EINVAL, "\"box\" names the unknown dimension \"%s\"; did you mean \"%s\"?", v->name, near);
	return iog_fail(err, -EINVAL, "\"box\" names the unknown dimension \"%s\"; the stream has %s", v->name, s->n_dims ? list : "none");
}

/*
 * What dimension d can be once the box is cut out, when the box cannot change: its largest extent, and the labels of what is left. An
 * extent of 0 has no maximum of its own (0 says "not known"), so an empty box declares 1 and is not exact.
 */
static void narrow(struct iog_dim *d, int64_t lo, int64_t hi)
{
	const char *from = d->labels, *to;
	const int64_t n = d->max ? IOG_MIN(hi, d->max) - IOG_MIN(lo, d->max) : hi < OPEN ? hi - lo : -1;
	for (int64_t i = 0; i < lo && *from; from += *from != 0, i++)
		while (*from && *from != ',')
			from++;
	to = from;
	for (int64_t i = 0; i < hi - lo && *to; i++)
		for (to += i > 0; *to && *to != ',';)
			to++;
	const size_t len = (size_t)(to - from);
	memmove(d->labels, from, len);
	memset(d->labels + len, 0, sizeof d->labels - len);
	d->fixed = d->fixed && n > 0;
	d->max = n < 0 ? 0 : IOG_MAX(n, 1);
}

/* The slowest dimension of the variable with the most bytes. IOG_DIMS when no variable has dimensions. */
static uint32_t split_dim(const struct iog_schema *s)
{
	uint32_t dim = IOG_DIMS;
	uint64_t most = 0;
	for (unsigned i = 0; i < s->n_vars; i++) {
		uint64_t bytes;
		iog_schema_var_max(s, i, &bytes);
		if (s->var[i].rank && !(s->var[i].flags & IOG_VAR_STATIC) && (dim == IOG_DIMS || bytes > most))
			dim = s->var[i].dim[0], most = bytes;
	}
	return dim;
}

static int crop_plan(void *conf, struct iog_plan *p, struct iog_err *err)
{
	struct crop_conf *c = conf;
	const struct iog_schema *s = p->in[0];
	c->cropped = 0;
	for (unsigned k = 0, positional = 0; k < c->box.n; k++) {
		const struct iog_interval *v = &c->box.v[k];
		int d = v->name[0] ? iog_schema_dim(s, v->name) : by_position(s, positional++);
		if (d < 0)
			return no_such_dim(s, v, k, err);
		c->cropped |= 1u << d;
		c->lo[d] = up(v->lo);
		c->hi[d] = IOG_MAX(up(v->hi), c->lo[d]);
	}
	if (!c->cropped)
		return iog_fail(err, -EINVAL, "\"box\" must have at least one interval, got none");
	for (unsigned i = 0; i < s->n_vars; i++)
		for (unsigned k = 0; s->var[i].n_codecs && k < s->var[i].rank; k++)
			if (c->cropped >> s->var[i].dim[k] & 1)
				return iog_fail(err, -EINVAL, "variable \"%s\" is encoded (%s); crop before encoding, or decode first",
					s->var[i].name, iog_codec_name(s->var[i].codec[s->var[i].n_codecs - 1]));

	*p->out[0] = *s;
	p->carried[0] = UINT64_MAX;
	for (unsigned d = 0; d < s->n_dims; d++) {
		if (!(c->cropped >> d & 1))
			continue;
		if (p->live_params) /* box is the only parameter: it may grow */
			p->out[0]->dim[d].fixed = 0;
		else
			narrow(&p->out[0]->dim[d], c->lo[d], c->hi[d]);
	}
	c->split = split_dim(s);
	p->split[0] = c->split;
	p->need.out_blocks = s->n_vars;
	p->cost = (struct iog_cost){ .cycles_record = 200 + 40.0 * s->n_vars, .cycles_kib = 0, .out_ratio = 1 };
	return 0;
}

/* A block without elements: as large as the box where that has none, else (the input has a gap there) with a count of 0. */
static void set_empty(struct iog_block *b, const struct iog_vardef *def, const struct iog_axis *axis)
{
	bool gap = true;
	for (unsigned d = 0; d < def->rank; d++) {
		b->start[d] = 0;
		b->count[d] = axis[def->dim[d]].extent;
		gap &= b->count[d] != 0;
	}
	if (gap)
		b->count[0] = 0;
	iog_block_set_dense(b, def->rank, iog_dtype_size(def->dtype));
}

/* Crops the blocks of variable i; blocks that become empty are left out unless none would remain. */
static bool crop_var(struct iog_out *o, const struct iog_record *r, unsigned i, uint32_t cropped, const int64_t *lo, const int64_t *hi)
{
	const struct iog_vardef *def = &r->schema->var[i];
	const struct iog_var *in = &r->var[i];
	struct iog_block *out = iog_out_blocks(o, i, in->n_blocks);
	uint32_t kept = 0;
	if (!out)
		return false;
	for (uint32_t k = 0; k < in->n_blocks; k++) {
		struct iog_block *b = &out[kept];
		bool any = true;
		*b = in->block[k];
		for (unsigned d = 0; d < def->rank; d++)
			if (cropped >> def->dim[d] & 1)
				any &= iog_block_crop(b, b, def->rank, d, lo[def->dim[d]], hi[def->dim[d]]);
		if (!any && (kept || k + 1 < in->n_blocks))
			continue;
		/* Nothing lies in an empty block: it looks the same however the input lay, and was cut into blocks. */
		if (!any)
			set_empty(b, def, o->rec.axis);
		kept++;
	}
	o->rec.var[i].n_blocks = kept;
	o->n_blocks -= in->n_blocks - kept;
	return true;
}

/* ~40 cycles per cropped variable, whatever its size (build/iog bench view.crop). */
static enum iog_step crop_segment(const struct iog_call *call, const struct iog_seg *s)
{
	const struct crop_conf *c = call->conf;
	const struct iog_record *r = call->in[0];
	struct iog_out *o = call->out;
	int64_t lo[IOG_DIMS], hi[IOG_DIMS];
	for (unsigned d = 0; d < r->schema->n_dims; d++) {
		if (!(c->cropped >> d & 1))
			continue;
		const struct iog_axis *a = &r->axis[d];
		int64_t first = s && s->dim == d ? s->first : 0;
		lo[d] = IOG_MIN(IOG_MAX(c->lo[d] - first, 0), a->extent);
		hi[d] = IOG_MIN(IOG_MAX(c->hi[d] - first, lo[d]), a->extent);
		/* The origin is that of the box, also when the box lies outside: it must not depend on an extent that may still be open. */
		o->rec.axis[d] = (struct iog_axis){ .extent = hi[d] - lo[d],
			.origin = a->origin + a->spacing * (double)IOG_MAX(c->lo[d] - first, 0),
			.spacing = a->spacing };
	}
	for (unsigned i = 0; i < r->schema->n_vars; i++) {
		const struct iog_vardef *def = &r->schema->var[i];
		bool has = false;
		for (unsigned d = 0; d < def->rank; d++)
			has |= c->cropped >> def->dim[d] & 1;
		if (!has || !r->var[i].n_blocks)
			iog_out_pass(o, i, r, i);
		else if (!crop_var(o, r, i, c->cropped, lo, hi))
			return IOG_NO_SPACE;
	}
	return IOG_OK;
}

static enum iog_step crop_run(const struct iog_call *call) { return crop_segment(call, NULL); }

const struct iog_op iog_op_crop = {
	.name = "crop",
	.summary = "Keeps a box of indices, without copying",
	.params = crop_params,
	.flags = IOG_STATELESS | IOG_FREESTANDING | IOG_DETERMINISTIC,
	.conf_size = sizeof(struct crop_conf),
	.in_min = 1,
	.in_max = 1,
	.outs = 1,
	.plan = crop_plan,
	.run = crop_run,
	.segment = crop_segment,
};
