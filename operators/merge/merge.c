/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * merge: the records of several writers for one step become one record. Blocks are referred to, not copied. Without `along`, blocks stay
 * where their writers placed them in the global shape; with it, the inputs are laid end to end along that dimension, in port order.
 * Runs on the worker's thread.
 */
#include <errno.h>

#include "core/iog_op.h"

enum { MERGE_ANY, MERGE_ALL };

struct merge_conf {
	char along[IOG_NAME];
	uint32_t require;
	/* derived */
	int32_t dim; /* of the output schema; -1: none */
	uint32_t n_in;
	uint8_t var_of[IOG_PORTS][IOG_VARS]; /* input variable of output variable */
	uint8_t dim_of[IOG_PORTS][IOG_DIMS]; /* input dimension of output dimension */
	uint8_t at[IOG_VARS];                /* position of `dim` in the variable, IOG_RANK: it does not have it */
	uint32_t equal;                      /* bit d: variables with `dim` also have dimension d, which must be equally long everywhere */
};

static const struct iog_param merge_params[] = {
	IOG_PARAM(struct merge_conf, along, IOG_P_STRING, .flags = IOG_PF_FIRST, .def = "",
		.doc = "Dimension along which the inputs are laid end to end; empty: blocks stay where they are in the global shape."),
	IOG_PARAM(struct merge_conf, require, IOG_P_CHOICE, .choices = "any|all", .def = "any",
		.doc = "any: a step that some writers left out is merged from the others; all: it is left out."),
	{ 0 },
};

/* What the bytes of a variable are, as a schema says it: "f32", or "i16 | delta(f32) | zstd". */
static void stored_as(const struct iog_vardef *v, char *text, size_t size)
{
	size_t at = (size_t)iog_format(text, size, "%s", iog_dtype_name(v->dtype));
	for (unsigned k = 0; k < v->n_codecs && at < size; k++) {
		bool delta = v->codec[k] == IOG_CODEC_DELTA;
		at += (size_t)iog_format(text + at, size - at, " | %s%s%s%s", iog_codec_name(v->codec[k]), delta ? "(" : "",
			delta ? iog_dtype_name(v->orig) : "", delta ? ")" : "");
	}
}

static bool same_codecs(const struct iog_vardef *v, const struct iog_vardef *w)
{
	for (unsigned k = 0; k < v->n_codecs && v->n_codecs == w->n_codecs; k++)
		if (v->codec[k] != w->codec[k])
			return false;
	return v->n_codecs == w->n_codecs;
}

/* v of input 1 and w of the other input are the same thing, or the message says what differs. */
static int same_kind(const struct iog_vardef *v, const struct iog_vardef *w, unsigned port, struct iog_err *err)
{
	char here[80], there[80];
	if (v->rank != w->rank)
		return iog_fail(err, -EINVAL, "variable \"%s\" has %u dimension%s in input %u, but %u in input 1", v->name, w->rank,
			w->rank == 1 ? "" : "s", port + 1, v->rank);
	if (v->dtype != w->dtype || v->orig != w->orig || !same_codecs(v, w)) {
		stored_as(v, here, sizeof here);
		stored_as(w, there, sizeof there);
		return iog_fail(err, -EINVAL, "variable \"%s\" is %s in input %u, but %s in input 1", v->name, there, port + 1, here);
	}
	if (v->flags != w->flags)
		return iog_fail(err, -EINVAL,
			"variable \"%s\" is static in input %u (the same for all records), but not in input %u; let both inputs pass the "
			"same operators before merge",
			v->name, v->flags & IOG_VAR_STATIC ? 1 : port + 1, v->flags & IOG_VAR_STATIC ? port + 1 : 1);
	if (!iog_streq(v->unit, w->unit))
		return iog_fail(err, -EINVAL, "variable \"%s\" is in \"%s\" in input %u, but in \"%s\" in input 1", v->name, w->unit,
			port + 1, v->unit);
	return 0;
}

/* Every variable of a must be in b with the same type and dimensions; fills the maps. */
static int match(struct merge_conf *c, const struct iog_schema *a, const struct iog_schema *b, unsigned port, struct iog_err *err)
{
	if (a->n_vars != b->n_vars)
		return iog_fail(err, -EINVAL, "input %u has %u variables, but input 1 has %u; all inputs must have the same", port + 1,
			b->n_vars, a->n_vars);
	for (unsigned d = 0; d < a->n_dims; d++) {
		int e = iog_schema_dim(b, a->dim[d].name);
		if (e < 0)
			return iog_fail(err, -EINVAL, "input %u has no dimension \"%s\", but input 1 has", port + 1, a->dim[d].name);
		c->dim_of[port][d] = (uint8_t)e;
	}
	for (unsigned i = 0; i < a->n_vars; i++) {
		const struct iog_vardef *v = &a->var[i];
		int k = iog_schema_var(b, v->name);
		if (k < 0)
			return iog_fail(err, -EINVAL, "input %u has no variable \"%s\", but input 1 has", port + 1, v->name);
		const struct iog_vardef *w = &b->var[k];
		int rc = same_kind(v, w, port, err);
		if (rc)
			return rc;
		for (unsigned d = 0; d < v->rank; d++)
			if (w->dim[d] != c->dim_of[port][v->dim[d]])
				return iog_fail(err, -EINVAL,
					"dimension %u of variable \"%s\" is \"%s\" in input %u, but \"%s\" in input 1", d + 1, v->name,
					b->dim[w->dim[d]].name, port + 1, a->dim[v->dim[d]].name);
		c->var_of[port][i] = (uint8_t)k;
	}
	return 0;
}

static int find_along(struct merge_conf *c, const struct iog_schema *s, struct iog_err *err)
{
	c->dim = -1;
	c->equal = 0;
	if (!c->along[0])
		return 0;
	c->dim = iog_schema_dim(s, c->along);
	if (c->dim >= 0)
		return 0;
	const char *names[IOG_DIMS];
	for (unsigned d = 0; d < s->n_dims; d++)
		names[d] = s->dim[d].name;
	const char *near = iog_nearest(c->along, names, s->n_dims);
	return iog_fail(err, -EINVAL, "\"along\" names the unknown dimension \"%s\"%s%s%s", c->along, near ? "; did you mean \"" : "",
		near ? near : "", near ? "\"?" : "");
}

static int merge_plan(void *conf, struct iog_plan *p, struct iog_err *err)
{
	struct merge_conf *c = conf;
	const struct iog_schema *s = p->in[0];
	struct iog_schema *out = p->out[0];
	c->n_in = p->n_in;
	int rc = find_along(c, s, err);
	for (unsigned port = 0; !rc && port < p->n_in; port++)
		rc = match(c, s, p->in[port], port, err);
	if (rc)
		return rc;

	*out = *s;
	for (unsigned d = 0; d < s->n_dims; d++) {
		struct iog_dim *to = &out->dim[d];
		bool sum = (int)d == c->dim, known = true, fixed = true;
		uint64_t total = 0;
		for (unsigned port = 0; port < p->n_in; port++) {
			const struct iog_dim *from = &p->in[port]->dim[c->dim_of[port][d]];
			known &= from->max > 0 || from->fixed;
			fixed &= from->fixed && (sum || from->max == s->dim[d].max);
			if (!sum)
				total = IOG_MAX(total, (uint64_t)from->max);
			else if (!iog_add(total, (uint64_t)from->max, &total) || total > INT64_MAX)
				return iog_fail(err, -EINVAL, "the sizes of dimension \"%s\" add up to more than 63 bits", s->dim[d].name);
		}
		to->max = known ? (int64_t)total : 0;
		/* A writer that leaves a step out makes the sum shorter. */
		to->fixed = known && fixed && (!sum || p->n_in == 1 || c->require == MERGE_ALL);
	}
	for (unsigned i = 0; i < s->n_vars; i++) {
		const struct iog_vardef *v = &s->var[i];
		uint32_t dims = 0;
		c->at[i] = IOG_RANK;
		for (unsigned d = 0; d < v->rank; d++) {
			if (v->dim[d] != c->dim)
				dims |= 1u << v->dim[d];
			else if (c->at[i] != IOG_RANK)
				return iog_fail(err, -EINVAL,
					"variable \"%s\" has dimension \"%s\" twice and cannot be laid end to end along it", v->name,
					c->along);
			else
				c->at[i] = (uint8_t)d;
		}
		if (c->at[i] < IOG_RANK)
			c->equal |= dims;
		for (unsigned k = 0; p->n_in > 1 && k < v->n_codecs; k++)
			if (v->codec[k] == IOG_CODEC_DELTA)
				return iog_fail(err, -EINVAL,
					"variable \"%s\" holds differences in time, which cannot be merged; put undelta before "
					"merge, or "
					"delta behind it",
					v->name);
	}
	/* From step to step it may come from other inputs: then it is not the same for a whole epoch. */
	for (unsigned i = 0; p->n_in > 1 && c->require != MERGE_ALL && i < s->n_vars; i++)
		out->var[i].flags &= (uint8_t)~IOG_VAR_STATIC;
	p->need.out_blocks = s->n_vars * p->n_in;
	p->cost = (struct iog_cost){ .cycles_record = 200 + 30.0 * s->n_vars * p->n_in, .cycles_kib = 0, .out_ratio = 1 };
	return 0;
}

/* Does the block fill variable v's part of the output? */
static bool covers(const struct iog_block *b, const struct iog_vardef *v, const struct iog_record *out)
{
	for (unsigned d = 0; d < v->rank; d++)
		if (b->start[d] != 0 || b->count[d] != out->axis[v->dim[d]].extent)
			return false;
	return true;
}

/*
 * Output variable i: what one port carries whole (an attribute, a replicated array) is taken from the first port that does; anything else
 * is the blocks of all ports.
 */
static bool merge_var(const struct merge_conf *c, const struct iog_call *call, unsigned i, const int64_t *offset)
{
	struct iog_out *o = call->out;
	const struct iog_vardef *v = &o->rec.schema->var[i];
	unsigned at = c->at[i];
	struct iog_block *first = o->block + o->n_blocks;
	uint32_t n = 0;
	for (unsigned port = 0; port < call->n_in; port++) {
		if (!call->in[port])
			continue;
		const struct iog_var *in = &call->in[port]->var[c->var_of[port][i]];
		if (at == IOG_RANK && in->n_blocks == 1 && covers(in->block, v, &o->rec)) {
			o->n_blocks -= n;
			o->rec.var[i] = *in;
			return true;
		}
		if (in->n_blocks > o->max_blocks - o->n_blocks)
			return false;
		for (uint32_t k = 0; k < in->n_blocks; k++) {
			first[n + k] = in->block[k];
			if (at < IOG_RANK)
				first[n + k].start[at] += offset[port];
		}
		n += in->n_blocks;
		o->n_blocks += in->n_blocks;
	}
	o->rec.var[i] = (struct iog_var){ .block = first, .n_blocks = n };
	return true;
}

/* ~30 cycles per variable and port. */
static enum iog_step merge_run(const struct iog_call *call)
{
	const struct merge_conf *c = call->conf;
	struct iog_out *o = call->out;
	const struct iog_schema *s = o->rec.schema;
	int64_t offset[IOG_PORTS];
	unsigned present = 0;
	uint64_t sum = 0;
	for (unsigned port = 0; port < call->n_in; port++) {
		const struct iog_record *r = call->in[port];
		if (!r)
			continue;
		for (unsigned d = 0; d < s->n_dims; d++) {
			const struct iog_axis *a = &r->axis[c->dim_of[port][d]];
			if (!present)
				o->rec.axis[d] = *a;
			else if ((int)d != c->dim && a->extent != o->rec.axis[d].extent) {
				if (c->equal >> d & 1)
					return IOG_BAD_INPUT;
				o->rec.axis[d].extent = IOG_MAX(o->rec.axis[d].extent, a->extent);
			}
		}
		offset[port] = (int64_t)sum;
		if (c->dim >= 0 && (!iog_add(sum, (uint64_t)r->axis[c->dim_of[port][c->dim]].extent, &sum) || sum > INT64_MAX))
			return IOG_BAD_INPUT;
		present++;
	}
	if (!present || (c->require == MERGE_ALL && present < c->n_in))
		return IOG_ELIDE;
	if (c->dim >= 0)
		o->rec.axis[c->dim].extent = (int64_t)sum;
	for (unsigned i = 0; i < s->n_vars; i++)
		if (!merge_var(c, call, i, offset))
			return IOG_NO_SPACE;
	return IOG_OK;
}

const struct iog_op iog_op_merge = {
	.name = "merge",
	.summary = "Joins the records of several writers into one per step, without copying",
	.params = merge_params,
	.flags = IOG_ZIP | IOG_STATELESS | IOG_FREESTANDING | IOG_DETERMINISTIC,
	.conf_size = sizeof(struct merge_conf),
	.in_min = 1,
	.in_max = IOG_PORTS,
	.outs = 1,
	.plan = merge_plan,
	.run = merge_run,
};
