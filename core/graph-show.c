/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A graph as text: a tree of what flows where, and the short texts it shares with the picture. Hosted: allocates; any thread, the graph is
 * only read.
 */
#include <stdio.h>
#include <stdlib.h>

#include "graph-parts.h"
#include "show.h"

void iog_textbuf_add(struct iog_textbuf *b, const char *fmt, ...)
{
	va_list ap;
	for (int pass = 0; pass < 2 && !b->failed; pass++) {
		va_start(ap, fmt);
		int n = vsnprintf(b->s ? b->s + b->n : NULL, b->cap - b->n, fmt, ap);
		va_end(ap);
		if (n < 0) {
			b->failed = true;
		} else if ((size_t)n < b->cap - b->n) {
			b->n += (size_t)n;
			return;
		} else {
			size_t cap = 2 * b->cap + (size_t)n + 1024;
			char *s = realloc(b->s, cap);
			if (s)
				b->s = s, b->cap = cap;
			b->failed = !s;
		}
	}
}

char *iog_show_bytes(char *dst, double bytes)
{
	static const char *const unit[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	if (bytes < 1024) {
		snprintf(dst, IOG_SHORT, "%.0f B", bytes);
		return dst;
	}
	unsigned u = 0;
	for (bytes /= 1024; bytes >= 1023.5 && u + 1 < IOG_COUNT(unit); u++)
		bytes /= 1024;
	bool whole = (double)(uint64_t)bytes == bytes;
	snprintf(dst, IOG_SHORT, "%.*f %s", whole || bytes >= 99.95 ? 0 : bytes >= 9.995 ? 1 : 2, bytes, unit[u]);
	return dst;
}

/* Elements of variable v at its largest, static ones and unknown ones last. */
static double weight(const struct iog_schema *s, uint32_t v)
{
	double n = s->var[v].flags & IOG_VAR_STATIC ? 1e-9 : 1;
	for (uint32_t d = 0; d < s->var[v].rank; d++)
		n *= (double)s->dim[s->var[v].dim[d]].max;
	return n;
}

char *iog_show_shape(char *dst, const struct iog_schema *s)
{
	uint32_t v = 0;
	for (uint32_t i = 1; i < s->n_vars; i++)
		if (weight(s, i) > weight(s, v))
			v = i;
	const struct iog_vardef *x = &s->var[v];
	if (!s->n_vars || !x->rank) {
		snprintf(dst, IOG_SHORT, "%u value%s", s->n_vars, s->n_vars == 1 ? "" : "s");
		return dst;
	}
	const struct iog_dim *d = &s->dim[x->dim[0]], *last = &s->dim[x->dim[x->rank - 1]];
	if (iog_var_is_rgb(s, v)) {
		snprintf(dst, IOG_SHORT, "%lld x %lld %s", (long long)s->dim[x->dim[1]].max, (long long)d->max,
			x->n_codecs ? iog_codec_name(x->codec[x->n_codecs - 1]) : "image");
	} else if (x->rank == 1 || (x->rank == 2 && last->labels[0])) {
		const char *plural = d->name[iog_strlen(d->name) - 1] == 's' || d->max == 1 ? "" : "s";
		snprintf(dst, IOG_SHORT, "%s%lld %.24s%s", d->fixed ? "" : "\u2264 ", (long long)d->max, d->name, plural);
	} else {
		int at = snprintf(dst, IOG_SHORT, "%.20s", x->name);
		for (uint32_t k = 0; k < x->rank && at < IOG_SHORT; k++)
			at += snprintf(dst + at, IOG_SHORT - (size_t)at, "%s%lld", k ? " x " : " ", (long long)s->dim[x->dim[k]].max);
	}
	return dst;
}

const char *iog_show_what(const struct iog_gnode *n) { return n->kind == IOG_G_OP ? n->op->name : n->end.name; }

void iog_show_main_param(char *dst, size_t size, const struct iog_gnode *n)
{
	const struct iog_param *table = iog_gnode_params(n), *p = table ? iog_param_first(table) : NULL;
	dst[0] = 0;
	for (uint32_t i = 0; p && i < n->n_bind; i++) {
		if (iog_streq(n->bind[i].name, p->name)) {
			if (p->type == IOG_P_STRING || p->type == IOG_P_EXPR)
				iog_strset(dst, size, (const char *)n->conf + p->offset);
			else if (p->type == IOG_P_INTERVALS || p->type == IOG_P_NAMES || p->type == IOG_P_NUMBERS)
				iog_param_text(p, n->conf, dst, size);
			else if (snprintf(dst, size, "%s=", p->name) > 0 && iog_strlen(p->name) + 1 < size)
				iog_param_text(p, n->conf, dst + iog_strlen(p->name) + 1, size - iog_strlen(p->name) - 1);
		}
	}
}

/* ---- the tree ---- */

struct tree {
	const struct iog_graph *g;
	const struct iog_cut *cut;
	struct iog_textbuf *out;
	uint8_t *done;
	uint32_t *first, *user; /* nodes fed by node i: user[first[i]] ... */
	/* A line for each node; one string of marks that the depth of the tree lengthens and shortens. */
	struct iog_textbuf marks;
	int widest;
	bool measure;
};

static int columns(const char *s)
{
	int n = 0;
	for (; *s; s++)
		n += (*s & 0xc0) != 0x80;
	return n;
}

static void line(struct tree *t, int id, int from, const char *branch, bool again)
{
	const struct iog_gnode *n = &t->g->node[id];
	const struct iog_unit *u = &t->cut->unit[n->unit];
	int width = columns(t->marks.s ? t->marks.s : "") + columns(branch) + columns(n->name);
	if (t->measure) {
		t->widest = IOG_MAX(t->widest, IOG_MIN(width, 48));
		return;
	}
	iog_textbuf_add(t->out, "%s%s%s%*s", t->marks.s ? t->marks.s : "", branch, n->name, IOG_MAX(t->widest - width, 0), "");
	if (again) {
		iog_textbuf_add(t->out, "  (shown above)\n");
		return;
	}
	char what[IOG_TEXT + 64], value[IOG_TEXT], a[IOG_SHORT], b[IOG_SHORT];
	snprintf(what, sizeof what, "%s", n->kind == IOG_G_SOURCE ? "source" : n->kind == IOG_G_SINK ? "sink" : iog_target_name(u->target));
	iog_textbuf_add(t->out, "  %-9s", what);
	if (from >= 0) {
		struct iog_gref r = n->in[0];
		for (uint32_t k = 0; k < n->n_in; k++)
			if (n->in[k].node == from) {
				r = n->in[k];
				break;
			}
		const struct iog_gnode *f = &t->g->node[r.node];
		snprintf(what, sizeof what, "%s, %s", iog_show_shape(a, &f->out[r.port]), iog_show_bytes(b, (double)f->bound[r.port]));
	} else {
		what[0] = 0;
	}
	iog_textbuf_add(t->out, "  %s%*s", what, IOG_MAX(28 - columns(what), 0), "");
	iog_show_main_param(value, sizeof value, n);
	if (!iog_streq(n->name, iog_show_what(n)))
		iog_textbuf_add(t->out, "  %s", iog_show_what(n));
	if (value[0])
		iog_textbuf_add(t->out, "  %s", value);
	for (uint32_t k = 0; k < n->n_in; k++)
		if (n->in[k].node != from)
			iog_textbuf_add(t->out, "%s%s", k == 0 || (k == 1 && n->in[0].node == from) ? "  with " : ", ",
				t->g->node[n->in[k].node].name);
	for (uint32_t k = 0; k < t->cut->n_edges; k++)
		if (t->cut->edge[k].to == n->unit && u->node[0] == id &&
			(t->cut->edge[k].policy != IOG_BLOCK || t->cut->edge[k].spill || t->cut->edge[k].safe)) {
			iog_textbuf_add(t->out, "  %s%s", t->cut->edge[k].safe ? "safe" : iog_uedge_policy(&t->cut->edge[k]),
				t->cut->edge[k].safe ? "" : " when full");
			break;
		}
	while (t->out->n && t->out->s[t->out->n - 1] == ' ')
		t->out->n--;
	iog_textbuf_add(t->out, "\n");
}

static size_t push_mark(struct tree *t, const char *mark)
{
	size_t n = t->marks.n;
	iog_textbuf_add(&t->marks, "%s", mark);
	return n;
}

static void pop_mark(struct tree *t, size_t n)
{
	t->marks.n = n;
	if (t->marks.s)
		t->marks.s[n] = 0;
}

/* One node and all below it. A chain goes straight down; only forks indent, so the recursion is as deep as forks are nested. */
static void walk(struct tree *t, int id, int from, const char *branch, const char *below)
{
	size_t outer = t->marks.n;
	bool moved = false;
	for (;;) {
		bool again = t->done[id];
		line(t, id, from, moved ? "" : branch, again);
		if (!moved)
			outer = push_mark(t, below), moved = true;
		if (again)
			break;
		t->done[id] = 1;
		uint32_t a = t->first[id], n = t->first[id + 1] - a;
		for (uint32_t i = 0; n > 1 && i < n; i++)
			walk(t, (int)t->user[a + i], id, i + 1 < n ? "\u251c\u2500 " : "\u2514\u2500 ", i + 1 < n ? "\u2502  " : "   ");
		if (n != 1)
			break;
		from = id;
		id = (int)t->user[a];
	}
	pop_mark(t, outer);
}

static bool users(struct tree *t)
{
	uint32_t n = t->g->n_nodes, links = 0;
	for (uint32_t i = 0; i < n; i++)
		links += t->g->node[i].n_in;
	t->done = calloc(n + 1, 1);
	t->first = calloc(n + 2, sizeof *t->first);
	t->user = calloc(links + 1, sizeof *t->user);
	if (!t->done || !t->first || !t->user)
		return false;
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t k = 0; k < t->g->node[i].n_in; k++)
			t->first[t->g->node[i].in[k].node + 2]++;
	for (uint32_t i = 2; i < n + 2; i++)
		t->first[i] += t->first[i - 1];
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t k = 0; k < t->g->node[i].n_in; k++)
			t->user[t->first[t->g->node[i].in[k].node + 1]++] = i;
	return true;
}

static void stages(struct tree *t)
{
	char b[IOG_SHORT];
	bool any = false;
	for (uint32_t i = 0; i < t->cut->n_units; i++) {
		const struct iog_unit *u = &t->cut->unit[i];
		if (u->kind != IOG_G_OP)
			continue;
		iog_textbuf_add(t->out, "%sstage on %s:", any ? "" : "\n", iog_target_name(u->target));
		for (uint32_t k = 0; k < u->n_nodes; k++)
			iog_textbuf_add(t->out, " %s", t->g->node[u->node[k]].name);
		iog_textbuf_add(t->out, "\n");
		any = true;
	}
	iog_textbuf_add(
		t->out, "%s%u nodes, %s of memory\n", any ? "" : "\n", t->g->n_nodes, iog_show_bytes(b, (double)iog_cut_bytes(t->cut)));
}

char *iog_graph_text(const struct iog_graph *g, const struct iog_cut *cut)
{
	struct iog_textbuf out = { 0 };
	struct tree t = { .g = g, .cut = cut, .out = &out };
	if (users(&t)) {
		for (int pass = 0; pass < 2; pass++) {
			t.measure = !pass;
			memset(t.done, 0, g->n_nodes);
			for (uint32_t i = 0; i < g->n_nodes; i++)
				if (!g->node[i].n_in)
					walk(&t, (int)i, -1, "", "");
		}
		stages(&t);
		out.failed |= t.marks.failed;
	} else {
		out.failed = true;
	}
	free(t.marks.s);
	free(t.done);
	free(t.first);
	free(t.user);
	if (out.failed) {
		free(out.s);
		return NULL;
	}
	return out.s;
}
