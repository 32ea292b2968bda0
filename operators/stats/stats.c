/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stats: what a record's variables amount to: count, minimum, maximum and mean of each, of each component where components have names, as
 * attributes of a record without arrays. The sum goes over fixed blocks of 256 elements in index order, so it has the same bits
 * whole or in pieces, on every target. Runs on the worker's thread.
 */
#include <errno.h>

#include "core/expr.h"
#include "core/iog_op.h"

enum { COLUMNS = IOG_VARS / 4 };

struct stats_conf {
	struct iog_names variables;
	/* derived */
	uint32_t n, dim; /* dim: pieces are cut along it, IOG_DIMS: whole records only */
	struct {
		uint8_t var, out, floats, pad; /* out: first output variable; floats: it has a count of NaN, too */
		int32_t component;
	} column[COLUMNS];
};

/* Between the pieces of a record. */
struct stats_state {
	struct iog_fold fold[COLUMNS];
};

static const struct iog_param stats_params[] = {
	IOG_PARAM(struct stats_conf, variables, IOG_P_NAMES, .flags = IOG_PF_FIRST,
		.doc = "Variables or components (\"x\", \"velocity\"); by default all numeric ones with dimensions, but for the box."),
	{ 0 },
};

static bool numeric(const struct iog_vardef *v)
{
	return !v->n_codecs && v->dtype > IOG_NONE && v->dtype < IOG_DTYPES && v->dtype != IOG_C64 && v->dtype != IOG_C128 &&
	       v->dtype != IOG_BOOL && v->dtype != IOG_BYTE;
}

/* Label number k of "x,y,z" into dst; false when there is none. */
static bool label(const char *labels, unsigned k, char *dst)
{
	while (k && *labels)
		k -= *labels++ == ',';
	size_t n = 0;
	while (labels[n] && labels[n] != ',')
		dst[n] = labels[n], n++;
	dst[n] = 0;
	return n > 0;
}

static int add_column(struct stats_conf *c, struct iog_plan *p, unsigned var, int component, struct iog_err *err)
{
	static const char *const what[] = { "count", "min", "max", "mean", "nan" };
	const struct iog_schema *s = p->in[0];
	const struct iog_vardef *v = &s->var[var];
	const bool floats = v->dtype == IOG_F16 || v->dtype == IOG_F32 || v->dtype == IOG_F64;
	char base[IOG_NAME], column[IOG_NAME];
	if (c->n == COLUMNS || p->out[0]->n_vars + 4u + floats > IOG_VARS)
		return iog_fail(err, -EINVAL, "more figures than a record can hold (%d); choose with \"variables\", for example { \"%s\" }",
			IOG_VARS, v->name);
	iog_strset(base, sizeof base, v->name);
	if (component >= 0) {
		label(s->dim[v->dim[v->rank - 1]].labels, (unsigned)component, column);
		iog_format(base, sizeof base, "%s_%s", v->name, column);
	}
	c->column[c->n].var = (uint8_t)var, c->column[c->n].component = component, c->column[c->n].floats = floats;
	c->column[c->n].out = (uint8_t)p->out[0]->n_vars;
	for (unsigned k = 0; k < 4u + floats; k++) {
		char name[2 * IOG_NAME];
		const bool counts = k == 0 || k == 4;
		iog_format(name, sizeof name, "%s_%s", base, what[k]);
		if (iog_strlen(name) >= IOG_NAME)
			return iog_fail(
				err, -EINVAL, "\"%s\" is longer than %d characters; rename variable \"%s\"", name, IOG_NAME - 1, v->name);
		int rc = iog_schema_add_var(p->out[0], name, counts ? IOG_I64 : IOG_F64, 0, NULL, counts ? "" : v->unit);
		if (rc < 0)
			return iog_fail(err, rc, "\"%s\" would be there twice; choose with \"variables\"", name);
	}
	c->n++;
	return 0;
}

/* A whole variable: one column, or one per named component. */
static int add_variable(struct stats_conf *c, struct iog_plan *p, unsigned var, struct iog_err *err)
{
	const struct iog_schema *s = p->in[0];
	const struct iog_vardef *v = &s->var[var];
	const struct iog_dim *last = &s->dim[v->dim[v->rank - 1]];
	char name[IOG_NAME];
	int rc = 0;
	if (!last->labels[0] || !last->fixed)
		return add_column(c, p, var, -1, err);
	for (unsigned k = 0; !rc && (int64_t)k < last->max && label(last->labels, k, name); k++)
		rc = add_column(c, p, var, (int)k, err);
	return rc;
}

static int stats_plan(void *conf, struct iog_plan *p, struct iog_err *err)
{
	struct stats_conf *c = conf;
	const struct iog_schema *s = p->in[0];
	const char *names[IOG_VARS];
	int rc = 0;
	c->n = 0;
	for (unsigned i = 0; i < s->n_vars; i++)
		names[i] = s->var[i].name;
	for (unsigned i = 0; !rc && !c->variables.n && i < s->n_vars; i++)
		if (numeric(&s->var[i]) && s->var[i].rank && !iog_streq(names[i], "box") && !iog_streq(names[i], "box_origin"))
			rc = add_variable(c, p, i, err);
	for (unsigned i = 0; !rc && i < c->variables.n; i++) {
		const char *name = c->variables.v[i], *near;
		struct iog_component x = iog_schema_component(s, name, iog_strlen(name));
		if (x.var < 0 || x.scaled) {
			near = iog_nearest(name, names, s->n_vars);
			return iog_fail(err, -EINVAL, "no variable \"%s\" in the stream%s%s%s", name, near ? "; did you mean \"" : "",
				near ? near : "", near ? "\"?" : "");
		}
		if (!numeric(&s->var[x.var]) || !s->var[x.var].rank)
			return iog_fail(err, -EINVAL, "\"%s\" (%s%s) has no numbers to sum up; it takes decoded real arrays", name,
				iog_dtype_name(s->var[x.var].dtype),
				s->var[x.var].n_codecs ? ", encoded"
				: s->var[x.var].rank   ? ""
						       : ", one value per record");
		rc = x.index < 0 ? add_variable(c, p, (unsigned)x.var, err) : add_column(c, p, (unsigned)x.var, x.index, err);
	}
	if (rc)
		return rc;
	if (!c->n)
		return iog_fail(err, -EINVAL, "the stream has no numeric variable with dimensions");
	/* Pieces come in index order when what is cut is every variable's slowest dimension, or not a dimension of it. */
	c->dim = s->var[c->column[0].var].dim[0];
	for (unsigned k = 0; k < c->n; k++) {
		const struct iog_vardef *v = &s->var[c->column[k].var];
		const unsigned loops = v->rank - (c->column[k].component >= 0 ? 1u : 0u);
		for (unsigned d = 0; d < v->rank; d++)
			if (v->dim[d] == c->dim && (d > 0 || !loops))
				c->dim = IOG_DIMS;
	}
	p->split[0] = c->dim;
	p->carried[0] = UINT64_MAX;
	for (unsigned k = 0; k < c->n; k++)
		p->carried[0] &= ~(1ull << c->column[k].var);
	p->need.out_max[0] = p->out[0]->n_vars * (uint64_t)IOG_ALIGN;
	p->need.out_blocks = p->out[0]->n_vars;
	p->need.state = sizeof(struct stats_state);
	p->need.scratch = sizeof(struct stats_state) + IOG_EXPR_BLOCK * sizeof(double);
	p->cost = (struct iog_cost){ .cycles_record = 200 + 150.0 * c->n, .cycles_kib = 250, .out_ratio = 0.001 };
	return 0;
}

static enum iog_step fold_column(struct iog_fold *f, const struct iog_record *r, unsigned var, int component, double *buffer, uint32_t isa)
{
	struct iog_walk walk;
	uint32_t k;
	iog_walk_start(&walk, &r->var[var]);
	while (iog_walk_next(&walk, &k)) {
		struct iog_column col;
		if (iog_column_bind(&col, r, var, component, k) != IOG_OK)
			return IOG_BAD_INPUT;
		for (int64_t at = 0; at < col.n;) {
			/* up to the end of the block of 256 that a piece or a rank began */
			const uint32_t n = (uint32_t)IOG_MIN(col.n - at, IOG_EXPR_BLOCK - f->n % IOG_EXPR_BLOCK);
			iog_column_load(&col, at, n, buffer, isa);
			iog_fold_add(f, buffer, n, isa);
			at += n;
		}
	}
	return IOG_OK;
}

static bool put(struct iog_out *o, unsigned v, const void *value)
{
	void *p = iog_out_dense(o, v, 0, 8, NULL);
	if (p)
		memcpy(p, value, 8);
	return p;
}

/* Measured by build/iog bench op.stats: 0.6 cycles per f32 element with AVX-512. */
static enum iog_step stats_segment(const struct iog_call *call, const struct iog_seg *seg)
{
	const struct stats_conf *c = call->conf;
	const struct iog_record *r = call->in[0];
	struct iog_out *o = call->out;
	const bool first = !seg || seg->is_first, last = !seg || seg->is_last;
	double *buffer = call->scratch;
	struct stats_state *state = first && last ? (struct stats_state *)(void *)(buffer + IOG_EXPR_BLOCK) : call->state;
	if (!r)
		return IOG_ELIDE;
	if (!(first && last) && c->dim >= IOG_DIMS)
		return IOG_FAILED;
	for (unsigned k = 0; k < c->n; k++) {
		const unsigned var = c->column[k].var;
		struct iog_fold *f = &state->fold[k];
		if (first)
			iog_fold_start(f);
		if (fold_column(f, r, var, c->column[k].component, buffer, call->isa) != IOG_OK)
			return IOG_BAD_INPUT;
		if (!last)
			continue;
		double min, max, mean = iog_fold_sum(f) / (double)(f->n - f->nan);
		iog_fold_range(f, &min, &max);
		if (f->n == f->nan)
			mean = min;
		const unsigned out = c->column[k].out;
		if (!put(o, out, &f->n) || !put(o, out + 1, &min) || !put(o, out + 2, &max) || !put(o, out + 3, &mean) ||
			(c->column[k].floats && !put(o, out + 4, &f->nan)))
			return IOG_NO_SPACE;
	}
	return IOG_OK;
}

static enum iog_step stats_run(const struct iog_call *call) { return stats_segment(call, NULL); }

const struct iog_op iog_op_stats = {
	.name = "stats",
	.summary = "Count, minimum, maximum and mean of variables",
	.params = stats_params,
	.flags = IOG_STATELESS | IOG_FREESTANDING | IOG_DETERMINISTIC,
	.conf_size = sizeof(struct stats_conf),
	.in_min = 1,
	.in_max = 1,
	.outs = 1,
	.plan = stats_plan,
	.run = stats_run,
	.segment = stats_segment,
};
