/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checking a graph: order and cycles, schema inference through every operator, what endpoints accept, unused nodes, safe paths; and the
 * planning that repeats when a live parameter changes. Hosted, control path, one thread.
 */
#include <errno.h>
#include <stdlib.h>

#include "graph-parts.h"

#define ERROR_AT(g, n, ...)                                                                                                                \
	do {                                                                                                                               \
		(n)->bad = true;                                                                                                           \
		iog_graph_diag(g, (n)->file, (n)->line, false, __VA_ARGS__);                                                               \
	} while (0)

/* Kahn's algorithm; what is left over lies on or behind a cycle. */
static bool sort(struct iog_graph *g)
{
	uint32_t n = g->n_nodes, done = 0;
	free(g->order);
	g->order = malloc((n + 1) * sizeof *g->order);
	uint8_t *placed = calloc(n + 1, 1);
	if (!g->order || !placed) {
		free(placed);
		iog_graph_error(g, "out of memory for %u nodes", n);
		return false;
	}
	for (bool moved = true; moved;) {
		moved = false;
		for (uint32_t i = 0; i < n; i++) {
			bool ready = !placed[i];
			for (uint32_t k = 0; ready && k < g->node[i].n_in; k++)
				ready = placed[g->node[i].in[k].node];
			if (!ready)
				continue;
			placed[i] = 1;
			g->order[done++] = (int)i;
			moved = true;
		}
	}
	if (done < n) {
		/* Walk backwards from any node left over until one comes twice: that is on the cycle. */
		int at = 0;
		while (placed[at])
			at++;
		for (uint32_t s = 0; s < n; s++)
			for (uint32_t k = 0; k < g->node[at].n_in; k++)
				if (!placed[g->node[at].in[k].node]) {
					at = g->node[at].in[k].node;
					break;
				}
		char path[300];
		int len = iog_format(path, sizeof path, "%s", g->node[at].name), start = at;
		for (uint32_t s = 0; s < n; s++) {
			for (uint32_t k = 0; k < g->node[at].n_in; k++)
				if (!placed[g->node[at].in[k].node]) {
					at = g->node[at].in[k].node;
					break;
				}
			if ((size_t)len < sizeof path)
				len += iog_format(path + len, sizeof path - (size_t)len, " <- %s", g->node[at].name);
			if (at == start)
				break;
		}
		ERROR_AT(g, &g->node[start], "the graph goes round in a circle: %s", path);
	}
	free(placed);
	return done == n;
}

/* conf from defaults and what was given, live parameters at their current values. */
static int conf_make(struct iog_graph *g, struct iog_gnode *n, struct iog_err *err)
{
	memset(n->conf, 0, n->conf_size);
	if (!iog_gnode_params(n))
		return 0;
	int rc = iog_param_defaults(iog_gnode_params(n), n->conf, err);
	for (uint32_t b = 0; !rc && b < n->n_bind; b++) {
		struct iog_gbind *x = &n->bind[b];
		for (uint32_t l = 0; x->live[0] && x->value->kind == IOG_V_NUMBER && l < g->n_lives; l++)
			if (iog_streq(g->live[l].live.name, x->live))
				x->value->n = g->live[l].live.value;
		rc = iog_param_set(iog_gnode_params(n), n->conf, x->name, x->value, err);
	}
	return rc;
}

static void live_table(const struct iog_graph *g, struct iog_live *out, uint32_t *n)
{
	*n = g->n_lives;
	for (uint32_t i = 0; i < *n; i++)
		out[i] = g->live[i].live;
}

/* Largest payload of output o: what the operator writes, and what it passes on unchanged. */
static void bound(struct iog_graph *g, struct iog_gnode *n, uint32_t o)
{
	const struct iog_schema *s = &n->out[o];
	uint64_t sum = IOG_ROUND_UP(n->need.out_max[o], IOG_ALIGN);
	uint32_t blocks = n->need.out_blocks + 1;
	for (uint32_t k = 0; k < n->n_in; k++) {
		const struct iog_gnode *f = &g->node[n->in[k].node];
		const struct iog_schema *in = &f->out[n->in[k].port];
		blocks += f->blocks[n->in[k].port];
		for (uint32_t v = 0; v < s->n_vars; v++) {
			int i = iog_schema_var(in, s->var[v].name);
			if (i < 0 || (s->var[v].flags & IOG_VAR_STATIC))
				continue;
			bool same = in->var[i].dtype == s->var[v].dtype && in->var[i].rank == s->var[v].rank &&
				    in->var[i].n_codecs == s->var[v].n_codecs;
			uint64_t bytes, shown;
			if (same && iog_var_opaque(&s->var[v]))
				sum += IOG_ROUND_UP(f->opaque_max[i], IOG_ALIGN);
			else if (same && iog_schema_var_max(in, (unsigned)i, &bytes)) /* a view may show less of it */
				sum += IOG_ROUND_UP(iog_schema_var_max(s, v, &shown) ? IOG_MIN(bytes, shown) : bytes, IOG_ALIGN);
		}
	}
	for (uint32_t v = 0; o == 0 && v < s->n_vars; v++) {
		n->opaque_max[v] = 0;
		if (!iog_var_opaque(&s->var[v]))
			continue;
		int i = n->n_in ? iog_schema_var(&g->node[n->in[0].node].out[n->in[0].port], s->var[v].name) : -1;
		const struct iog_gnode *f = i < 0 ? NULL : &g->node[n->in[0].node];
		bool same = f && f->out[n->in[0].port].var[i].n_codecs == s->var[v].n_codecs;
		n->opaque_max[v] = same ? f->opaque_max[i] : n->need.out_max[o];
	}
	n->bound[o] = sum;
	n->blocks[o] = IOG_MIN(blocks, (uint32_t)IOG_BLOCKS_MAX);
}

static void check_required(struct iog_graph *g, struct iog_gnode *n)
{
	for (const struct iog_param *p = iog_gnode_params(n); p && p->name; p++) {
		if (!(p->flags & IOG_PF_REQUIRED))
			continue;
		bool given = false;
		for (uint32_t b = 0; b < n->n_bind; b++)
			given |= iog_streq(n->bind[b].name, p->name);
		if (!given && !n->bad)
			ERROR_AT(g, n, "%s needs \"%s\" (%s): %s", n->name, p->name, iog_ptype_name(p->type), p->doc);
	}
}

static void check_source(struct iog_graph *g, struct iog_gnode *n)
{
	struct iog_err err = { "" };
	struct iog_schema *s = n->out;
	memset(s, 0, sizeof *s);
	const int rc = n->end.describe(n->conf, s, &err);
	if (rc || iog_schema_seal(s, &err)) {
		ERROR_AT(g, n, "%s: %s", n->name, err.text);
		if (rc == -EAGAIN && g->n_diags)
			g->diag[g->n_diags - 1].later = true;
		return;
	}
	for (uint32_t d = 0; d < s->n_dims; d++)
		if (!s->dim[d].max)
			ERROR_AT(g, n,
				"%s: how large dimension \"%s\" can get is not known; give its maximum so that memory can be reserved",
				n->name, s->dim[d].name);
	uint64_t bytes;
	if (!n->bad && !iog_schema_payload_max(s, false, &bytes))
		ERROR_AT(g, n, "%s: a record with these maxima does not fit the address space", n->name);
	if (n->bad)
		return;
	n->bound[0] = bytes;
	n->blocks[0] = s->n_vars + 1;
}

/* Asks the operator, with the graph's current live values; schemas go to out, nothing else changes. 0 or a message. */
static int ask(struct iog_graph *g, struct iog_gnode *n, struct iog_schema *out, struct iog_plan *p, struct iog_err *err)
{
	struct iog_live live[IOG_LIVES];
	*p = (struct iog_plan){ .n_in = n->n_in, .n_out = n->n_out, .live = live };
	live_table(g, live, &p->n_live);
	for (uint32_t b = 0; b < n->n_bind; b++)
		for (uint32_t i = 0; n->bind[b].live[0] && i < 64 && n->op->params[i].name; i++)
			p->live_params |= (uint64_t)iog_streq(n->op->params[i].name, n->bind[b].name) << i;
	memset(out, 0, n->n_out * sizeof *out);
	for (uint32_t k = 0; k < n->n_in; k++)
		p->in[k] = &g->node[n->in[k].node].out[n->in[k].port];
	for (uint32_t o = 0; o < n->n_out; o++)
		p->out[o] = &out[o];
	int rc = n->op->plan(n->conf, p, err);
	p->live = NULL;
	for (uint32_t o = 0; !rc && o < n->n_out; o++)
		rc = iog_schema_seal(&out[o], err);
	if (!rc && p->need.window > IOG_WINDOW_MAX)
		rc = iog_fail(err, -EINVAL, "wants to hold %u records; %u is the most", p->need.window, IOG_WINDOW_MAX);
	if (!rc && p->need.window && (n->op->in_max != 1 || !n->op->run))
		rc = iog_fail(err, -EINVAL, "operator \"%s\" holds records, which only one with a single input and .run may", n->op->name);
	return rc;
}

static int plan(struct iog_graph *g, struct iog_gnode *n, struct iog_err *err)
{
	struct iog_plan p;
	int rc = ask(g, n, n->out, &p, err);
	if (rc)
		return rc;
	n->need = p.need;
	n->cost = p.cost;
	n->split = p.split[0];
	memcpy(n->carried, p.carried, sizeof n->carried);
	for (uint32_t o = 0; o < n->n_out; o++)
		bound(g, n, o);
	return 0;
}

/* Where a node may run, when only one place is left, is where it was asked to run. */
static void settle_place(struct iog_gnode *n)
{
	const unsigned left = (1u << IOG_T_HOST | 1u << IOG_T_SIDECORE | 1u << IOG_T_VM) & ~(unsigned)n->never;
	if (n->target == IOG_T_ANY && left && !(left & (left - 1)))
		n->target = (uint8_t)__builtin_ctz(left);
}

static void check_node(struct iog_graph *g, struct iog_gnode *n)
{
	settle_place(n);
	if (n->n_out && !n->out && !(n->out = calloc(n->n_out, sizeof *n->out))) {
		ERROR_AT(g, n, "%s: out of memory", n->name);
		return;
	}
	uint32_t least = n->kind == IOG_G_SINK ? 1 : n->kind == IOG_G_OP ? n->op->in_min : 0;
	if (n->n_in < least && !n->bad)
		ERROR_AT(g, n, "%s has %u of at least %u input%s; write it after what it works on, as in stream:%s(...)", n->name, n->n_in,
			least, least == 1 ? "" : "s", n->kind == IOG_G_SINK ? "to" : n->op->name);
	check_required(g, n);
	for (uint32_t k = 0; k < n->n_in; k++)
		if (g->node[n->in[k].node].bad)
			n->bad = true; /* said there */
	struct iog_err err = { "" };
	if (n->bad)
		return;
	if (conf_make(g, n, &err)) {
		ERROR_AT(g, n, "%s: %s", n->name, err.text);
	} else if (n->kind == IOG_G_SOURCE) {
		check_source(g, n);
	} else if (n->kind == IOG_G_OP) {
		if (plan(g, n, &err))
			ERROR_AT(g, n, "%s: %s", n->name, err.text);
	} else if (n->end.accept && n->end.accept(n->conf, &g->node[n->in[0].node].out[n->in[0].port], &err)) {
		ERROR_AT(g, n, "%s: %s", n->name, err.text);
	}
	if (!n->bad && !n->n_users && n->kind != IOG_G_SINK)
		ERROR_AT(g, n, "nothing uses what %s gives; end it with :to(iog.sink...) or remove it", n->name);
}

/* A safe sink makes everything above it safe, and what stands there must be able to repeat itself exactly. */
static void check_safe(struct iog_graph *g)
{
	for (uint32_t i = 0; i < g->n_nodes; i++)
		g->node[i].safe = g->node[i].opt.safe;
	for (uint32_t i = g->n_nodes; i-- > 0;) {
		struct iog_gnode *n = &g->node[g->order[i]];
		for (uint32_t k = 0; n->safe && k < n->n_in; k++)
			g->node[n->in[k].node].safe = true;
		if (n->safe && n->kind == IOG_G_OP && !(n->op->flags & IOG_DETERMINISTIC))
			ERROR_AT(g, n, "%s cannot repeat a record exactly, so no sink below it can have release = \"safe\"", n->name);
		if (n->opt.safe && n->opt.spill)
			ERROR_AT(g, n,
				"%s: release = \"safe\" keeps a record until it is stored, policy = \"spill\" gives it back before; choose "
				"one",
				n->name);
		if (!n->opt.spill && (n->opt.spill_bytes || n->opt.spill_dir[0]))
			ERROR_AT(g, n, "%s: spill_bytes and spill_dir go with policy = \"spill\"", n->name);
		if (n->opt.safe && n->opt.policy_set && n->opt.policy != IOG_BLOCK)
			ERROR_AT(g, n, "%s: release = \"safe\" keeps every record, policy = \"%s\" drops some; choose one", n->name,
				iog_policy_name(n->opt.policy));
		struct iog_err err = { "" };
		if (n->opt.safe && !n->bad && n->end.accept_safe && n->end.accept_safe(n->conf, &err))
			ERROR_AT(g, n, "%s: %s", n->name, err.text);
	}
}

/* What is needed of input k of n, as far as is known what is needed of what n gives. */
static uint64_t needs_of(const struct iog_gnode *n, uint32_t k, const struct iog_schema *in)
{
	uint64_t needs = 0;
	for (uint32_t v = 0; v < in->n_vars; v++) {
		bool need = n->kind == IOG_G_SINK || !(n->carried[k] >> v & 1);
		for (uint32_t o = 0; o < n->n_out && !need; o++) {
			const int same = iog_schema_var(&n->out[o], in->var[v].name);
			need = same >= 0 && (n->needs[o] >> same & 1);
		}
		needs |= (uint64_t)need << v;
	}
	return needs;
}

/* From the sinks up: which variables matter to anyone. What nobody needs, a source may leave out. */
static void find_needs(struct iog_graph *g)
{
	for (uint32_t i = 0; i < g->n_nodes; i++)
		memset(g->node[i].needs, 0, sizeof g->node[i].needs);
	for (uint32_t i = g->n_nodes; i-- > 0;) {
		const struct iog_gnode *n = &g->node[g->order[i]];
		for (uint32_t k = 0; k < n->n_in; k++) {
			struct iog_gnode *from = &g->node[n->in[k].node];
			from->needs[n->in[k].port] |= needs_of(n, k, &from->out[n->in[k].port]);
		}
	}
}

static bool is_word(char c) { return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '_'; }

/* Whether the name stands in the text as a word of its own, as in an expression. */
static bool names(const char *text, const char *name)
{
	const size_t n = iog_strlen(name);
	for (const char *t = text; *t; t++) {
		if ((t > text && is_word(t[-1])) || strncmp(t, name, n) || is_word(t[n]))
			continue;
		return true;
	}
	return false;
}

/* A live parameter nobody reads: setting it would do nothing, silently. Parts of a region, "roi.1.lo", stand for the whole and are said once. */
static void check_lives(struct iog_graph *g)
{
	char last[IOG_NAME] = "";
	for (uint32_t l = 0; l < g->n_lives; l++) {
		char name[IOG_NAME];
		iog_strset(name, sizeof name, g->live[l].live.name);
		size_t len = 0;
		while (name[len] && name[len] != '.')
			len++;
		name[len] = 0;
		bool used = iog_streq(name, last);
		iog_strset(last, sizeof last, name);
		for (uint32_t i = 0; i < g->n_nodes && !used; i++)
			for (uint32_t b = 0; b < g->node[i].n_bind && !used; b++) {
				const struct iog_gbind *x = &g->node[i].bind[b];
				used = iog_streq(x->live, name) || (x->value && x->value->kind == IOG_V_STRING && names(x->value->s, name));
			}
		if (!used)
			iog_graph_diag(g, g->live[l].file, g->live[l].line, true,
				"parameter \"%s\" is not used: nothing takes it and no expression names it, so setting it has no effect",
				name);
	}
}

int iog_graph_check(struct iog_graph *g)
{
	if (!g->n_nodes && !g->n_errors)
		iog_graph_diag(g, g->file, g->line, false, "the graph is empty; start with iog.source...");
	if (sort(g)) {
		for (uint32_t i = 0; i < g->n_nodes; i++)
			check_node(g, &g->node[g->order[i]]);
		check_safe(g);
		iog_graph_check_files(g);
	}
	if (!g->n_errors) { /* else what takes it may be what is wrong */
		check_lives(g);
		find_needs(g);
	}
	return g->n_errors ? -EINVAL : 0;
}

/* ---- live parameters ---- */

/* "roi.2.lo" names a number inside a list bound to live parameter "roi": the lower end of its second interval. */
static void live_into_lists(struct iog_graph *g, const char *name, double value)
{
	size_t dot = 0;
	while (name[dot] && name[dot] != '.')
		dot++;
	if (!name[dot] || name[dot + 1] < '1' || name[dot + 1] > '9' || name[dot + 2] != '.')
		return;
	uint32_t item = (uint32_t)(name[dot + 1] - '1');
	bool high = iog_streq(name + dot + 3, "hi");
	for (uint32_t i = 0; i < g->n_nodes; i++)
		for (uint32_t b = 0; b < g->node[i].n_bind; b++) {
			struct iog_gbind *x = &g->node[i].bind[b];
			if (iog_strlen(x->live) != dot || memcmp(x->live, name, dot) || x->value->kind != IOG_V_LIST ||
				item >= x->value->n_items || x->value->item[item].n_items < 2)
				continue;
			((struct iog_value *)(uintptr_t)x->value->item[item].item)[high].n = value;
		}
}

/* Makes every operator's configuration anew. What is running reads schemas and sizes meanwhile: they are compared, never written. */
static int replan(struct iog_graph *g, struct iog_schema *out, struct iog_err *err)
{
	for (uint32_t i = 0; i < g->n_nodes; i++) {
		struct iog_gnode *n = &g->node[g->order[i]];
		struct iog_err e = { "" };
		struct iog_plan p;
		if (n->kind != IOG_G_OP)
			continue;
		if (conf_make(g, n, &e) || ask(g, n, out, &p, &e))
			return iog_fail(err, -EINVAL, "%s: %s", n->name, e.text);
		bool same = p.need.state == n->need.state && p.need.scratch <= n->need.scratch && p.need.out_blocks <= n->need.out_blocks;
		for (uint32_t o = 0; o < n->n_out; o++) {
			same = same && p.need.out_max[o] <= n->need.out_max[o];
			if (memcmp(&out[o], &n->out[o], sizeof out[o]))
				return iog_fail(err, -EINVAL, "%s: the new value would change what its records look like", n->name);
		}
		if (!same)
			return iog_fail(err, -EINVAL, "%s: the new value needs more memory than was reserved", n->name);
	}
	return 0;
}

int iog_graph_live_set(struct iog_graph *g, const char *name, double value, struct iog_err *err)
{
	struct iog_glive *l = NULL;
	const char *names[IOG_LIVES];
	uint32_t n = 0;
	for (uint32_t i = 0; i < g->n_lives; i++) {
		names[n++] = g->live[i].live.name;
		if (iog_streq(g->live[i].live.name, name))
			l = &g->live[i];
	}
	if (!l) {
		const char *near = iog_nearest(name, names, n);
		return iog_fail(err, -EINVAL, "no live parameter \"%s\"%s%s%s", name, near ? "; did you mean \"" : "", near ? near : "",
			near ? "\"?" : "");
	}
	if (value != value || (l->bounded && (value < l->min || value > l->max)))
		return iog_fail(err, -EINVAL, "parameter \"%s\": %g is outside %g..%g", name, value, l->min, l->max);
	struct iog_schema *out = malloc(IOG_PORTS * sizeof *out);
	if (!out)
		return iog_fail(err, -ENOMEM, "out of memory");
	double old = l->live.value;
	l->live.value = value;
	live_into_lists(g, name, value);
	int rc = replan(g, out, err);
	if (rc) {
		l->live.value = old;
		live_into_lists(g, name, old);
		replan(g, out, NULL);
	}
	free(out);
	return rc;
}
