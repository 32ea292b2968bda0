/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Building and checking graphs. Hosted: allocates, control path only, one thread. Mistakes are collected with their file and line.
 */
#include <errno.h>
#include <stdlib.h>

#include "graph-parts.h"

static const char *const TARGET[] = { "any", "host", "sidecore", "vm" };
enum { SPILL = IOG_DROP_NEW + 1, POLICIES };
static const char *const POLICY[POLICIES] = { "block", "latest", "drop-new", "spill" };
static const char *const OPTION[] = { "policy", "bytes", "release", "on", "never", "name", "spill_bytes", "spill_dir", NULL };

const char *iog_target_name(unsigned t) { return t < IOG_TARGETS ? TARGET[t] : "?"; }
const char *iog_policy_name(unsigned p) { return p <= IOG_DROP_NEW ? POLICY[p] : "?"; }

const char *iog_uedge_policy(const struct iog_uedge *e) { return e->spill ? POLICY[SPILL] : iog_policy_name(e->policy); }

/* ---- mistakes ---- */

void iog_graph_diag(struct iog_graph *g, const char *file, int line, bool warning, const char *fmt, ...)
{
	if (g->n_diags == g->cap_diags) {
		uint32_t cap = g->cap_diags ? 2 * g->cap_diags : 16;
		struct iog_diag *d = realloc(g->diag, cap * sizeof *d);
		if (!d) {
			g->n_errors += !warning;
			return;
		}
		g->diag = d, g->cap_diags = cap;
	}
	struct iog_diag *d = &g->diag[g->n_diags++];
	iog_strset(d->file, sizeof d->file, file);
	d->line = line;
	d->warning = warning;
	d->later = false;
	va_list ap;
	va_start(ap, fmt);
	iog_vformat(d->text, sizeof d->text, fmt, ap);
	va_end(ap);
	g->n_errors += !warning;
}

#define ERROR_AT(g, n, ...)                                                                                                                \
	do {                                                                                                                               \
		(n)->bad = true;                                                                                                           \
		iog_graph_diag(g, (n)->file, (n)->line, false, __VA_ARGS__);                                                               \
	} while (0)

void iog_graph_error(struct iog_graph *g, const char *fmt, ...)
{
	struct iog_err e;
	va_list ap;
	va_start(ap, fmt);
	iog_vformat(e.text, sizeof e.text, fmt, ap);
	va_end(ap);
	iog_graph_diag(g, g->file, g->line, false, "%s", e.text);
}

void iog_graph_warning(struct iog_graph *g, const char *fmt, ...)
{
	struct iog_err e;
	va_list ap;
	va_start(ap, fmt);
	iog_vformat(e.text, sizeof e.text, fmt, ap);
	va_end(ap);
	iog_graph_diag(g, g->file, g->line, true, "%s", e.text);
}

uint32_t iog_graph_diags(const struct iog_graph *g, const struct iog_diag **d)
{
	*d = g->diag;
	return g->n_diags;
}

/* ---- life ---- */

struct iog_graph *iog_graph_new(void) { return calloc(1, sizeof(struct iog_graph)); }

static void value_clear(struct iog_value *v)
{
	free((char *)(uintptr_t)v->s);
	for (uint32_t i = 0; i < v->n_items; i++) {
		value_clear((struct iog_value *)(uintptr_t)&v->item[i]);
		if (v->key)
			free((char *)(uintptr_t)v->key[i]);
	}
	free((void *)(uintptr_t)v->item);
	free((void *)(uintptr_t)v->key);
}

static void value_free(struct iog_value *v)
{
	if (v)
		value_clear(v);
	free(v);
}

void iog_graph_free(struct iog_graph *g)
{
	if (!g)
		return;
	for (uint32_t i = 0; i < g->n_nodes; i++) {
		struct iog_gnode *n = &g->node[i];
		for (uint32_t b = 0; b < n->n_bind; b++)
			value_free(n->bind[b].value);
		free(n->bind);
		free(n->conf);
		free(n->out);
	}
	free(g->node);
	free(g->diag);
	free(g->live);
	free(g->order);
	free(g);
}

/* ---- building ---- */

void iog_graph_at(struct iog_graph *g, const char *file, int line)
{
	iog_strset(g->file, sizeof g->file, file);
	g->line = line;
}

static bool name_taken(const struct iog_graph *g, const char *name, int but)
{
	for (uint32_t i = 0; i < g->n_nodes; i++)
		if ((int)i != but && iog_streq(g->node[i].name, name))
			return true;
	return false;
}

/* Names the node base, base.2, base.3 ...: the number after the largest there is. */
static void name_new(struct iog_graph *g, int id, const char *base)
{
	char stem[IOG_NAME];
	unsigned last = 0;
	size_t len = (size_t)iog_format(stem, sizeof stem, "%.20s", base);
	for (int i = 0; i < id; i++) {
		const char *s = g->node[i].name;
		double k;
		if (iog_streq(s, base))
			last = IOG_MAX(last, 1u);
		else if (!strncmp(s, stem, len) && s[len] == '.' && iog_parse_number(s + len + 1, iog_strlen(s + len + 1), &k) && k < 1e9)
			last = IOG_MAX(last, (unsigned)k);
	}
	if (last)
		iog_format(g->node[id].name, IOG_NAME, "%s.%u", stem, last + 1);
	else
		iog_strset(g->node[id].name, IOG_NAME, base);
}

static int node_new(struct iog_graph *g, enum iog_gkind kind, const char *base, const struct iog_param *params, uint32_t conf_size)
{
	if (g->n_nodes == g->cap_nodes) {
		uint32_t cap = g->cap_nodes ? 2 * g->cap_nodes : 16;
		struct iog_gnode *n = realloc(g->node, cap * sizeof *n);
		if (!n) {
			iog_graph_error(g, "out of memory after %u nodes", g->n_nodes);
			return IOG_NO_NODE;
		}
		g->node = n, g->cap_nodes = cap;
	}
	int id = (int)g->n_nodes++;
	struct iog_gnode *n = &g->node[id];
	memset(n, 0, sizeof *n);
	n->kind = (uint8_t)kind;
	n->line = g->line;
	n->unit = -1;
	iog_strset(n->file, sizeof n->file, g->file);
	name_new(g, id, base);
	n->conf_size = conf_size;
	n->conf = calloc(1, conf_size ? conf_size : 1);
	struct iog_err err = { "" };
	if (!n->conf)
		ERROR_AT(g, n, "%s: out of memory for %u bytes of configuration", n->name, conf_size);
	else if (params && iog_param_defaults(params, n->conf, &err))
		ERROR_AT(g, n, "%s: %s", n->name, err.text);
	return id;
}

int iog_graph_op(struct iog_graph *g, const struct iog_op *op)
{
	int id = node_new(g, IOG_G_OP, op->name, op->params, op->conf_size);
	if (id >= 0) {
		g->node[id].op = op;
		g->node[id].n_out = op->outs;
	}
	return id;
}

int iog_graph_end(struct iog_graph *g, enum iog_gkind kind, const struct iog_gnode_end *end)
{
	int id = node_new(g, kind, end->name, end->params, end->conf_size);
	if (id >= 0) {
		g->node[id].end = *end;
		g->node[id].n_out = kind == IOG_G_SOURCE;
	}
	return id;
}

static const char *nearest_param(const struct iog_gnode *n, const char *name)
{
	const char *names[64];
	size_t count = 0;
	for (const struct iog_param *p = iog_gnode_params(n); p && p->name && count < IOG_COUNT(names); p++)
		names[count++] = p->name;
	return iog_nearest(name, names, count);
}

static bool value_fill(struct iog_value *to, const struct iog_value *v)
{
	*to = *v;
	to->s = NULL, to->item = NULL, to->key = NULL, to->n_items = 0;
	if (v->s && !(to->s = strdup(v->s)))
		return false;
	if (!v->n_items)
		return true;
	struct iog_value *item = calloc(v->n_items, sizeof *item);
	const char **key = v->key ? calloc(v->n_items, sizeof *key) : NULL;
	to->item = item;
	to->key = key;
	if (!item || (v->key && !key))
		return false;
	to->n_items = v->n_items;
	for (uint32_t i = 0; i < v->n_items; i++) {
		if (!value_fill(&item[i], &v->item[i]) || (v->key && v->key[i] && !(key[i] = strdup(v->key[i]))))
			return false;
	}
	return true;
}
static struct iog_value *value_copy(const struct iog_value *v)
{
	struct iog_value *to = calloc(1, sizeof *to);
	if (to && !value_fill(to, v)) {
		value_free(to);
		return NULL;
	}
	return to;
}

void iog_graph_set(struct iog_graph *g, int node, const char *name, const struct iog_value *v, const char *live)
{
	if (node < 0 || !g->node[node].conf)
		return;
	struct iog_gnode *n = &g->node[node];
	struct iog_err err = { "" };
	const struct iog_param *p = iog_gnode_params(n) ? iog_param_find(iog_gnode_params(n), name) : NULL;
	if (p && live && !(p->flags & IOG_PF_LIVE)) {
		n->bad = true;
		iog_graph_error(g, "%s: \"%s\" cannot change while records flow; give a constant instead of the live parameter \"%s\"",
			n->name, name, live);
		return;
	}
	for (uint32_t i = 0; i < n->n_bind; i++)
		if (iog_streq(n->bind[i].name, name)) {
			n->bad = true;
			iog_graph_error(g, "%s: \"%s\" is given twice", n->name, name);
			return;
		}
	const char *near = p ? NULL : iog_nearest(name, OPTION, IOG_COUNT(OPTION) - 1);
	if (near && !nearest_param(n, name)) {
		n->bad = true;
		iog_graph_error(g, "%s: unknown option \"%s\"; did you mean \"%s\"?", n->name, name, near);
		return;
	}
	static const struct iog_param none[1];
	/* crop { x = 10 }: intervals may be given by the name of their dimension, so that is what a name nobody knows stands for. */
	const struct iog_param *first = p ? NULL : iog_param_first(iog_gnode_params(n));
	const bool dimension = first && first->type == IOG_P_INTERVALS && v->kind != IOG_V_LIST && !nearest_param(n, name);
	const struct iog_value box = { .kind = IOG_V_LIST, .item = v, .key = &name, .n_items = 1 };
	if (iog_param_set(iog_gnode_params(n) ? iog_gnode_params(n) : none, n->conf, dimension ? first->name : name, dimension ? &box : v,
		    &err)) {
		n->bad = true;
		iog_graph_error(g, "%s: %s", n->name, err.text);
		return;
	}
	struct iog_gbind *b = realloc(n->bind, (n->n_bind + 1) * sizeof *b);
	if (!b) {
		iog_graph_error(g, "%s: out of memory", n->name);
		return;
	}
	n->bind = b;
	b = &n->bind[n->n_bind];
	memset(b, 0, sizeof *b);
	iog_strset(b->name, sizeof b->name, name);
	iog_strset(b->live, sizeof b->live, live ? live : "");
	iog_strset(b->file, sizeof b->file, g->file);
	b->line = g->line;
	b->value = value_copy(v);
	n->n_bind++;
}

static int word_of(const char *s, const char *const *words, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (iog_streq(s, words[i]))
			return (int)i;
	return -1;
}

/* "expected one of ..." with the nearest word. */
static void bad_word(
	struct iog_graph *g, struct iog_gnode *n, const char *option, const struct iog_value *v, const char *const *words, unsigned count)
{
	char list[200] = "";
	int at = 0;
	for (unsigned i = 0; i < count; i++)
		at += iog_format(list + at, sizeof list - (size_t)at, "%s\"%s\"", i ? ", " : "", words[i]);
	const char *near = v->kind == IOG_V_STRING ? iog_nearest(v->s, words, count) : NULL;
	n->bad = true;
	iog_graph_error(g, "%s: \"%s\" must be one of %s%s%s%s%s%s%s", n->name, option, list, v->kind == IOG_V_STRING ? ", got \"" : "",
		v->kind == IOG_V_STRING ? v->s : "", v->kind == IOG_V_STRING ? "\"" : "", near ? "; did you mean \"" : "", near ? near : "",
		near ? "\"?" : "");
}

static void set_size(
	struct iog_graph *g, struct iog_gnode *n, const char *option, const struct iog_value *v, uint64_t *to, const char *example)
{
	if (v->kind == IOG_V_NUMBER && v->n >= 1 && v->n < 0x1p63)
		*to = (uint64_t)v->n;
	else if (v->kind != IOG_V_STRING || !iog_parse_bytes(v->s, to) || !*to)
		n->bad = true, iog_graph_error(g, "%s: \"%s\" must be a size like \"%s\"", n->name, option, example);
}

/* After on and never: is there a target left, and is it the one asked for? */
static void check_place(struct iog_graph *g, struct iog_gnode *n)
{
	if (n->never >> n->target & 1 && n->target != IOG_T_ANY) {
		n->bad = true;
		iog_graph_error(g, "%s: on \"%s\" and never \"%s\" contradict each other; choose one", n->name, TARGET[n->target],
			TARGET[n->target]);
	} else if (n->target == IOG_T_ANY && n->never == (1 << IOG_T_HOST | 1 << IOG_T_SIDECORE | 1 << IOG_T_VM)) {
		n->bad = true;
		iog_graph_error(g, "%s: never names \"host\", \"sidecore\" and \"vm\", so it has nowhere to run; leave one out", n->name);
	}
}

bool iog_graph_is_option(const char *name)
{
	for (int i = 0; OPTION[i]; i++)
		if (iog_streq(name, OPTION[i]))
			return true;
	return false;
}

bool iog_graph_option(struct iog_graph *g, int node, const char *name, const struct iog_value *v)
{
	int o = -1;
	for (int i = 0; OPTION[i]; i++)
		if (iog_streq(name, OPTION[i]))
			o = i;
	if (o < 0)
		return false;
	if (node < 0)
		return true;
	struct iog_gnode *n = &g->node[node];
	const char *s = v->kind == IOG_V_STRING ? v->s : "";
	static const char *const release[] = { "fast", "safe" };
	int k;
	switch (o) {
	case 0:
		if ((k = word_of(s, POLICY, POLICIES)) < 0)
			bad_word(g, n, name, v, POLICY, POLICIES);
		else if (k == SPILL && n->kind != IOG_G_SINK)
			n->bad = true, iog_graph_error(g, "%s: policy = \"spill\" belongs to a sink", n->name);
		else
			n->opt.spill = k == SPILL, n->opt.policy = (uint8_t)(k == SPILL ? IOG_BLOCK : k), n->opt.policy_set = true;
		break;
	case 1: set_size(g, n, name, v, &n->opt.bytes, "64MiB"); break;
	case 2:
		if ((k = word_of(s, release, 2)) < 0)
			bad_word(g, n, name, v, release, 2);
		else if (k == 1 && (n->kind != IOG_G_SINK || !n->end.safe))
			n->bad = true,
			iog_graph_error(g, "%s: release = \"safe\" needs a sink that can find its last stored record again; %s cannot",
				n->name, n->kind == IOG_G_SINK ? n->end.name : "an operator");
		else
			n->opt.safe = k == 1;
		break;
	case 3:
		if ((k = word_of(s, TARGET, IOG_TARGETS)) < 0)
			bad_word(g, n, name, v, TARGET, IOG_TARGETS);
		else
			n->target = (uint8_t)k, check_place(g, n);
		break;
	case 4:
		if ((k = word_of(s, TARGET, IOG_TARGETS)) < 1)
			bad_word(g, n, name, v, TARGET + 1, IOG_TARGETS - 1);
		else
			n->never |= (uint8_t)(1 << k), check_place(g, n);
		break;
	case 5:
		if (!iog_name_valid(s, false))
			n->bad = true, iog_graph_error(g, "%s: \"name\" must be a word of letters, digits and _", n->name);
		else if (name_taken(g, s, node))
			n->bad = true, iog_graph_error(g, "%s: the name \"%s\" is already used in this graph", n->name, s);
		else
			iog_strset(n->name, sizeof n->name, s);
		break;
	case 6: set_size(g, n, name, v, &n->opt.spill_bytes, "10GiB"); break;
	case 7:
		if (!s[0] || !iog_strset(n->opt.spill_dir, sizeof n->opt.spill_dir, s))
			n->bad = true, iog_graph_error(g, "%s: \"spill_dir\" must be a folder, of fewer than %d bytes", n->name, IOG_TEXT);
		break;
	}
	return true;
}

void iog_graph_link(struct iog_graph *g, int from, int port, int to)
{
	if (to < 0) {
		if (from >= 0)
			g->node[from].n_users++; /* what stands here was already reported */
		return;
	}
	struct iog_gnode *t = &g->node[to];
	if (from < 0) {
		t->bad = true;
		return;
	}
	struct iog_gnode *f = &g->node[from];
	f->n_users++; /* also where it cannot go: one mistake stays one */
	if (port < 0 || (uint32_t)port >= f->n_out) {
		t->bad = true;
		iog_graph_error(g, "%s: %s has no output %d", t->name, f->name, port);
		return;
	}
	uint32_t max = t->kind == IOG_G_SINK ? 1 : t->kind == IOG_G_OP ? t->op->in_max : 0;
	if (t->n_in >= max) {
		t->bad = true;
		if (max)
			iog_graph_error(g, "%s takes at most %u input%s", t->name, max, max == 1 ? "" : "s; join streams with merge");
		else
			iog_graph_error(g, "%s is a source: nothing can flow into it", t->name);
		return;
	}
	t->in[t->n_in++] = (struct iog_gref){ from, port };
}

void iog_graph_live(struct iog_graph *g, const char *name, double value, double min, double max)
{
	if (!iog_name_valid(name, true)) {
		iog_graph_error(g, "parameter: \"%s\" is not a name; use letters, digits and _", name);
		return;
	}
	for (uint32_t i = 0; i < g->n_lives; i++)
		if (iog_streq(g->live[i].live.name, name)) {
			iog_graph_error(g, "parameter \"%s\" is declared twice", name);
			return;
		}
	if (g->n_lives == IOG_LIVES) {
		iog_graph_error(g, "parameter \"%s\": a graph has at most %d live parameters", name, IOG_LIVES);
		return;
	}
	struct iog_glive *l = realloc(g->live, (g->n_lives + 1) * sizeof *l);
	if (!l) {
		iog_graph_error(g, "parameter \"%s\": out of memory", name);
		return;
	}
	g->live = l;
	l = &g->live[g->n_lives++];
	memset(l, 0, sizeof *l);
	iog_strset(l->live.name, sizeof l->live.name, name);
	iog_strset(l->file, sizeof l->file, g->file);
	l->line = g->line;
	l->live.value = value, l->min = min, l->max = max, l->bounded = max > min;
	if (value != value || (l->bounded && (value < min || value > max)))
		iog_graph_error(g, "parameter \"%s\": %g is outside %g..%g", name, value, min, max);
}

uint32_t iog_graph_nodes(const struct iog_graph *g, struct iog_gnode **nodes)
{
	*nodes = g->node;
	return g->n_nodes;
}
uint32_t iog_graph_lives(const struct iog_graph *g, const struct iog_glive **lives)
{
	*lives = g->live;
	return g->n_lives;
}
