/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A graph as a picture: units from left to right, a frame around each stage with its target, beside each edge what it carries. Colours are
 * those of Okabe and Ito, which colour-blind readers tell apart; kinds also differ in shape. Hosted: allocates; any thread, the graph is only read.
 */
#include <stdio.h>
#include <stdlib.h>

#include "graph-parts.h"
#include "layout.h"
#include "show.h"

enum {
	NAME_PX = 13,
	SMALL_PX = 11,
	LABEL_PX = 10,
	BOX_H = 46,
	PORT_STEP = 30,
	TEXT_PAD = 13,
	BOX_W_MIN = 84,
	TEXT_W_MAX = 190,
	FRAME_PAD = 14,
	FRAME_HEAD = 24,
	MARGIN = 24,
	ARROW = 8,
	LEGEND_H = 56,
};

static const char STYLE[] =
	".bg{fill:#ffffff}"
	"text{font-family:\"Helvetica Neue\",Helvetica,Arial,\"Liberation Sans\",\"DejaVu Sans\",sans-serif;fill:#1c2024}"
	".name{font-size:13px;font-weight:600}.small{font-size:11px;fill:#4a535c}.label{font-size:10px;fill:#4a535c}"
	".head{font-size:11px;font-weight:600;fill:#4a535c}"
	".frame{fill:#f3f5f7;stroke:#9aa4ad;stroke-width:1}.line{fill:none;stroke:#67717b;stroke-width:1.4}.tip{fill:#67717b}"
	".lossy{stroke-dasharray:5 4}.safe{stroke-width:2.6}"
	".source{fill:#d9ebf7;stroke:#0072b2;stroke-width:1.5}.op{fill:#fbefcf;stroke:#b27d00;stroke-width:1.5}.sink{fill:#d5f0e6;stroke:#"
	"008a64;stroke-width:1.5}"
	".sinkbar{fill:#008a64}"
	"@media (prefers-color-scheme:dark){"
	".bg{fill:#15181c}text{fill:#e8ebee}.small,.label,.head{fill:#b3bcc5}.frame{fill:#1e2329;stroke:#5d6872}.line{stroke:#98a3ad}.tip{"
	"fill:#98a3ad}"
	".source{fill:#0d3a57;stroke:#56b4e9}.op{fill:#483706;stroke:#e69f00}.sink{fill:#0a4433;stroke:#2cc795}.sinkbar{fill:#2cc795}}";
static const char *const KIND[] = { "source", "op", "sink" };

/* ---- text ---- */

/* Bytes of the UTF-8 character at s, 0 when there is none. */
static unsigned utf8(const char *s)
{
	const unsigned char *u = (const unsigned char *)s;
	unsigned n = u[0] < 0x80                   ? 1
		     : u[0] >= 0xc2 && u[0] < 0xe0 ? 2
		     : u[0] >= 0xe0 && u[0] < 0xf0 ? 3
		     : u[0] >= 0xf0 && u[0] < 0xf5 ? 4
						   : 0;
	for (unsigned i = 1; i < n; i++)
		if ((u[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

/* Width of a character in em, as wide as in the widest of the usual fonts. */
static double char_em(const char *s)
{
	if (*s & 0x80)
		return 0.85;
	if (strchr("ijl|'.,:;!I ()[]{}ft", *s))
		return 0.38;
	if (strchr("mwMW%@", *s))
		return 0.96;
	return *s >= 'A' && *s <= 'Z' ? 0.71 : 0.62;
}

static double text_width(const char *s, double px)
{
	double w = 0;
	for (; *s; s++)
		if ((*s & 0xc0) != 0x80)
			w += char_em(s);
	return w * px;
}

static void escaped(struct iog_textbuf *b, const char *s)
{
	while (*s) {
		unsigned n = utf8(s);
		if (!n || (n == 1 && (unsigned char)*s < 0x20))
			iog_textbuf_add(b, "?");
		else if (*s == '&')
			iog_textbuf_add(b, "&amp;");
		else if (*s == '<')
			iog_textbuf_add(b, "&lt;");
		else if (*s == '>')
			iog_textbuf_add(b, "&gt;");
		else if (*s == '"')
			iog_textbuf_add(b, "&quot;");
		else
			iog_textbuf_add(b, "%.*s", (int)n, s);
		s += n ? n : 1;
	}
}

/* Cut to a width, with an ellipsis. dst has IOG_TEXT + 8 bytes. */
static char *fit(char *dst, const char *s, double px, double room)
{
	double w = 0;
	size_t at = 0, keep = 0;
	for (; s[at] && at < IOG_TEXT - 8; at++) {
		if ((s[at] & 0xc0) != 0x80) {
			if (w <= room - 0.9 * px)
				keep = at;
			w += char_em(s + at) * px;
		}
	}
	bool whole = !s[at] && w <= room;
	snprintf(dst, IOG_TEXT + 8, "%.*s%s", (int)(whole ? at : keep), s, whole ? "" : "\u2026");
	return dst;
}

static void text(struct iog_textbuf *b, double x, double y, const char *class, const char *anchor, const char *s)
{
	iog_textbuf_add(b, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\"%s%s%s>", x, y, class, anchor ? " text-anchor=\"" : "",
		anchor ? anchor : "", anchor ? "\"" : "");
	escaped(b, s);
	iog_textbuf_add(b, "</text>");
}

/* ---- what is drawn ---- */

struct shape {
	double x, y, w, h; /* left, centre */
	char second[IOG_TEXT + 8];
};
/* A unit: one box, or a frame with the boxes of a stage. */
struct part {
	struct iog_net net; /* of a stage */
	uint32_t box[IOG_STAGE_NODES], exit[IOG_PORTS];
	double w, h, in[IOG_PORTS], out[IOG_PORTS]; /* size; where ports are, below the centre */
	uint32_t layer;
};
struct picture {
	const struct iog_graph *g;
	const struct iog_cut *cut;
	struct shape *node;
	struct part *part;
	struct iog_net net;
	double *label; /* room before each layer */
	struct iog_textbuf out;
	bool failed;
};

static double port_offset(uint32_t k, uint32_t n) { return ((double)k - ((double)n - 1) / 2) * PORT_STEP; }

static void size_node(const struct iog_gnode *n, struct shape *s)
{
	char value[IOG_TEXT], second[2 * IOG_TEXT];
	iog_show_main_param(value, sizeof value, n);
	const char *what = iog_streq(n->name, iog_show_what(n)) ? "" : iog_show_what(n);
	snprintf(second, sizeof second, "%s%s%s", what, what[0] && value[0] ? ": " : "", value);
	if (!second[0])
		snprintf(second, sizeof second, "%s", n->kind == IOG_G_SOURCE ? "source" : n->kind == IOG_G_SINK ? "sink" : "operator");
	fit(s->second, second, SMALL_PX, TEXT_W_MAX);
	double w = IOG_MAX(text_width(n->name, NAME_PX) * 1.06, text_width(s->second, SMALL_PX)) + 2 * TEXT_PAD;
	uint32_t ports = IOG_MAX(n->n_in, n->n_out);
	s->w = IOG_MAX(w, (double)BOX_W_MIN);
	s->h = ports > 1 ? IOG_MAX((double)BOX_H, (double)ports * PORT_STEP + 6) : BOX_H;
}

/* What flows on an edge, above and below its line. */
static void edge_label(const struct iog_graph *g, struct iog_gref r, const struct iog_uedge *e, char *above, char *below)
{
	const struct iog_gnode *f = &g->node[r.node];
	char a[IOG_SHORT], b[IOG_SHORT];
	iog_show_shape(a, &f->out[r.port]);
	iog_show_bytes(b, (double)f->bound[r.port]);
	if (e) {
		snprintf(above, IOG_TEXT, "%s, %s", a, b);
		snprintf(below, IOG_TEXT, "%s, %s", iog_uedge_policy(e), e->safe ? "safe" : "fast");
	} else {
		snprintf(above, IOG_TEXT, "%s", a);
		snprintf(below, IOG_TEXT, "%s", b);
	}
}

static double label_width(const struct iog_graph *g, struct iog_gref r, const struct iog_uedge *e)
{
	char a[IOG_TEXT], b[IOG_TEXT];
	edge_label(g, r, e, a, b);
	return IOG_MAX(text_width(a, LABEL_PX), text_width(b, LABEL_PX)) + ARROW + 8;
}

/* ---- the inside of a unit ---- */

static int inside(const struct iog_unit *u, int node)
{
	for (uint32_t j = 0; j < u->n_nodes; j++)
		if (u->node[j] == node)
			return (int)j;
	return -1;
}

static void stage_title(char *dst, size_t size, const struct iog_unit *u)
{
	snprintf(dst, size, "stage on %s", iog_target_name(u->target));
}

static void stage_layout(struct picture *p, const struct iog_unit *u, struct part *s)
{
	double label[IOG_STAGE_NODES + 2] = { 0 };
	uint32_t layers = 0;
	for (uint32_t j = 0; j < u->n_nodes; j++) {
		const struct iog_gnode *n = &p->g->node[u->node[j]];
		uint32_t layer = 0;
		for (uint32_t k = 0; k < n->n_in; k++) {
			int from = inside(u, n->in[k].node);
			if (from >= 0)
				layer = IOG_MAX(layer, s->net.box[s->box[from]].layer + 1);
		}
		s->box[j] = iog_net_add(&s->net, p->node[u->node[j]].w, p->node[u->node[j]].h, layer);
		layers = IOG_MAX(layers, layer + 1);
		if (s->net.failed)
			return;
	}
	for (uint32_t j = 0; j < u->n_nodes; j++) {
		const struct iog_gnode *n = &p->g->node[u->node[j]];
		for (uint32_t k = 0; k < n->n_in; k++) {
			int from = inside(u, n->in[k].node);
			if (from < 0)
				continue;
			const struct iog_gnode *f = &p->g->node[n->in[k].node];
			uint32_t layer = s->net.box[s->box[j]].layer;
			iog_net_edge(
				&s->net, s->box[from], s->box[j], port_offset((uint32_t)n->in[k].port, f->n_out), port_offset(k, n->n_in));
			label[layer] = IOG_MAX(label[layer], label_width(p->g, n->in[k], NULL));
		}
	}
	for (uint32_t q = 0; q < u->n_out; q++) {
		int from = inside(u, u->out_from[q].node);
		s->exit[q] = iog_net_add(&s->net, 0, 8, layers);
		if (from >= 0)
			iog_net_edge(&s->net, s->box[from], s->exit[q],
				port_offset((uint32_t)u->out_from[q].port, p->g->node[u->out_from[q].node].n_out), 0);
	}
	iog_net_place(&s->net, 22, label, 22, 40);
	if (s->net.failed)
		return;
	/* The lines that leave the stage need no room of their own. */
	double right = 0, bottom = 0;
	for (uint32_t j = 0; j < u->n_nodes; j++)
		right = IOG_MAX(right, s->net.box[s->box[j]].x + s->net.box[s->box[j]].w);
	for (uint32_t i = 0; i < s->net.n_boxes; i++)
		bottom = IOG_MAX(bottom, s->net.box[i].y + s->net.box[i].h / 2);
	char title[64];
	stage_title(title, sizeof title, u);
	s->w = IOG_MAX(right + 2 * FRAME_PAD, text_width(title, SMALL_PX) * 1.06 + 20);
	for (uint32_t i = 0; i < s->net.n_boxes; i++)
		s->net.box[i].x += (s->w - right) / 2 - FRAME_PAD;
	for (uint32_t l = 0; l < s->net.n_layers; l++)
		s->net.left[l] += (s->w - right) / 2 - FRAME_PAD;
	s->h = bottom + FRAME_PAD + FRAME_HEAD;
	double top = FRAME_HEAD - s->h / 2;
	for (uint32_t q = 0; q < u->n_out; q++)
		s->out[q] = s->net.box[s->exit[q]].y + top;
	const struct iog_gnode *first = &p->g->node[u->node[0]];
	for (uint32_t i = 0; i < u->n_in; i++)
		for (uint32_t k = 0; k < first->n_in; k++)
			if (first->in[k].node == u->in_from[i].node && first->in[k].port == u->in_from[i].port)
				s->in[i] = s->net.box[s->box[0]].y + port_offset(k, first->n_in) + top;
}

static void unit_layout(struct picture *p, uint32_t i)
{
	const struct iog_unit *u = &p->cut->unit[i];
	struct part *s = &p->part[i];
	if (u->kind == IOG_G_OP) {
		stage_layout(p, u, s);
		p->failed |= s->net.failed;
		return;
	}
	s->w = p->node[u->node[0]].w;
	s->h = p->node[u->node[0]].h;
	for (uint32_t q = 0; q < u->n_out; q++)
		s->out[q] = port_offset(q, u->n_out);
	for (uint32_t k = 0; k < u->n_in; k++)
		s->in[k] = port_offset(k, u->n_in);
}

/* ---- the whole ---- */

static void layers(struct picture *p)
{
	const struct iog_cut *c = p->cut;
	/* Units come in topological order, edges in that of their consumers. */
	for (uint32_t k = 0; k < c->n_edges; k++) {
		struct part *to = &p->part[c->edge[k].to];
		to->layer = IOG_MAX(to->layer, p->part[c->edge[k].from].layer + 1);
	}
	/* A source stands beside its first consumer. */
	for (uint32_t i = 0; i < c->n_units; i++) {
		uint32_t least = UINT32_MAX;
		if (c->unit[i].n_in)
			continue;
		for (uint32_t k = 0; k < c->n_edges; k++)
			if (c->edge[k].from == (int)i)
				least = IOG_MIN(least, p->part[c->edge[k].to].layer);
		if (least != UINT32_MAX)
			p->part[i].layer = least - 1;
	}
}

static bool layout(struct picture *p)
{
	const struct iog_cut *c = p->cut;
	for (uint32_t i = 0; i < p->g->n_nodes; i++)
		size_node(&p->g->node[i], &p->node[i]);
	for (uint32_t i = 0; i < c->n_units && !p->failed; i++)
		unit_layout(p, i);
	layers(p);
	for (uint32_t i = 0; i < c->n_units && !p->net.failed; i++)
		iog_net_add(&p->net, p->part[i].w, p->part[i].h, p->part[i].layer);
	for (uint32_t k = 0; k < c->n_edges && !p->net.failed; k++) {
		const struct iog_uedge *e = &c->edge[k];
		iog_net_edge(
			&p->net, (uint32_t)e->from, (uint32_t)e->to, p->part[e->from].out[e->from_port], p->part[e->to].in[e->to_port]);
	}
	p->label = calloc(p->net.n_layers + 1, sizeof *p->label);
	if (p->failed || p->net.failed || !p->label)
		return false;
	for (uint32_t k = 0; k < c->n_edges; k++) {
		const struct iog_uedge *e = &c->edge[k];
		double *l = &p->label[p->part[e->to].layer];
		*l = IOG_MAX(*l, label_width(p->g, c->unit[e->from].out_from[e->from_port], e));
	}
	iog_net_place(&p->net, 30, p->label, 30, 150);
	if (p->net.failed)
		return false;
	for (uint32_t i = 0; i < c->n_units; i++) {
		const struct iog_unit *u = &c->unit[i];
		const struct iog_net_item *b = &p->net.box[i];
		for (uint32_t j = 0; j < u->n_nodes; j++) {
			struct shape *s = &p->node[u->node[j]];
			const struct iog_net_item *in = u->kind == IOG_G_OP ? &p->part[i].net.box[p->part[i].box[j]] : NULL;
			s->x = b->x + (in ? in->x + FRAME_PAD : 0) + MARGIN;
			s->y = (in ? b->y - b->h / 2 + FRAME_HEAD + in->y : b->y) + MARGIN;
		}
	}
	return true;
}

/* ---- drawing ---- */

static void tip(struct iog_textbuf *o, double x, double y)
{
	iog_textbuf_add(o, "<path class=\"tip\" d=\"M%.1f %.1fl-%d -4v8z\"/>", x, y, ARROW);
}

/* The line of a route within a net that lies at (dx, dy); from x1 on its first box to x2 at its last. */
static void route_line(struct iog_textbuf *o, const struct iog_net *n, const struct iog_route *r, double x1, double x2, double dx,
	double dy, const char *class)
{
	const struct iog_net_item *a = &n->box[r->a], *b = &n->box[r->b];
	double y = a->y + r->da + dy;
	iog_textbuf_add(o, "<path class=\"line%s\" d=\"M%.1f %.1f", class, x1, y);
	uint32_t layer = a->layer;
	for (uint32_t k = 0; k <= r->n_way; k++) {
		const struct iog_net_item *t = k < r->n_way ? &n->box[r->way + k] : b;
		double to = k < r->n_way ? t->y + dy : t->y + r->db + dy, from = n->left[layer] + n->width[layer] + dx;
		double bend = n->left[t->layer] - n->gap[t->layer] + n->curve[t->layer] + dx;
		if (to - y < 0.05 && y - to < 0.05)
			iog_textbuf_add(o, "H%.1f", bend);
		else
			iog_textbuf_add(
				o, "H%.1fC%.1f %.1f %.1f %.1f %.1f %.1f", from, (from + bend) / 2, y, (from + bend) / 2, to, bend, to);
		y = to;
		layer = t->layer;
	}
	iog_textbuf_add(o, "H%.1f\"/>", x2);
}

static void label_at(struct iog_textbuf *o, const struct iog_graph *g, struct iog_gref r, const struct iog_uedge *e, double x, double y)
{
	char above[IOG_TEXT], below[IOG_TEXT];
	edge_label(g, r, e, above, below);
	text(o, x - ARROW - 3, y - 4, "label", "end", above);
	text(o, x - ARROW - 3, y + 12, "label", "end", below);
}

static void draw_stage(struct picture *p, uint32_t i)
{
	const struct iog_unit *u = &p->cut->unit[i];
	const struct iog_net_item *b = &p->net.box[i];
	const struct iog_net *n = &p->part[i].net;
	struct iog_textbuf *o = &p->out;
	double x = b->x + MARGIN, top = b->y - b->h / 2 + MARGIN;
	char head[64];
	stage_title(head, sizeof head, u);
	iog_textbuf_add(o, "<rect class=\"frame\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"8\"/>\n", x, top, b->w, b->h);
	text(o, x + 10, top + 16, "head", NULL, head);
	for (uint32_t k = 0; k < n->n_routes; k++) {
		const struct iog_route *r = &n->route[k];
		uint32_t to = 0;
		while (to < u->n_nodes && p->part[i].box[to] != r->b)
			to++;
		double x1 = n->box[r->a].x + n->box[r->a].w + x + FRAME_PAD;
		if (to == u->n_nodes) {
			/* Leaves the stage: up to the frame, where the edge goes on. Bends at most where the last column begins. */
			const struct iog_net_item *a = &n->box[r->a];
			double y1 = a->y + r->da + top + FRAME_HEAD;
			if (r->n_way) {
				struct iog_route inner = *r;
				inner.b = r->way + r->n_way - 1, inner.n_way--, inner.db = 0;
				route_line(o, n, &inner, x1, x + b->w, x + FRAME_PAD, top + FRAME_HEAD, "");
			} else {
				iog_textbuf_add(o, "<path class=\"line\" d=\"M%.1f %.1fH%.1f\"/>", x1, y1, x + b->w);
			}
			continue;
		}
		double x2 = n->box[r->b].x + x + FRAME_PAD, y2 = n->box[r->b].y + r->db + top + FRAME_HEAD;
		route_line(o, n, r, x1, x2 - ARROW + 1, x + FRAME_PAD, top + FRAME_HEAD, "");
		tip(o, x2, y2);
	}
	/* Labels of inner edges; the same order of edges as the layout made them in. */
	uint32_t k = 0;
	for (uint32_t j = 0; j < u->n_nodes; j++) {
		const struct iog_gnode *g = &p->g->node[u->node[j]];
		for (uint32_t q = 0; q < g->n_in; q++) {
			if (inside(u, g->in[q].node) < 0)
				continue;
			const struct iog_route *r = &n->route[k++];
			label_at(o, p->g, g->in[q], NULL, n->box[r->b].x + x + FRAME_PAD, n->box[r->b].y + r->db + top + FRAME_HEAD);
		}
	}
	iog_textbuf_add(o, "\n");
}

static void draw_edge(struct picture *p, uint32_t k)
{
	const struct iog_uedge *e = &p->cut->edge[k];
	const struct iog_route *r = &p->net.route[k];
	const struct iog_net_item *a = &p->net.box[r->a], *b = &p->net.box[r->b];
	const struct iog_unit *to = &p->cut->unit[e->to];
	/* Into a stage it goes on to the first operator. */
	double x2 = p->node[to->node[0]].x, y2 = b->y + r->db + MARGIN;
	char class[32];
	snprintf(class, sizeof class, "%s%s", e->policy == IOG_BLOCK ? "" : " lossy", e->safe ? " safe" : "");
	route_line(&p->out, &p->net, r, a->x + a->w + MARGIN, x2 - ARROW + 1, MARGIN, MARGIN, class);
	tip(&p->out, x2, y2);
	label_at(&p->out, p->g, p->cut->unit[e->from].out_from[e->from_port], e, b->x + MARGIN, y2);
	iog_textbuf_add(&p->out, "\n");
}

static void box(struct iog_textbuf *o, unsigned kind, double x, double y, double w, double h)
{
	iog_textbuf_add(o, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"%.1f\"/>", KIND[kind], x, y, w, h,
		kind == IOG_G_SOURCE ? IOG_MIN(h, 46) / 2
		: kind == IOG_G_SINK ? 2.0
				     : 6.0);
	if (kind == IOG_G_SINK)
		iog_textbuf_add(o, "<rect class=\"sinkbar\" x=\"%.1f\" y=\"%.1f\" width=\"5\" height=\"%.1f\"/>", x + w - 5, y, h);
}

static void draw_node(struct picture *p, uint32_t i)
{
	const struct iog_gnode *n = &p->g->node[i];
	const struct shape *s = &p->node[i];
	struct iog_textbuf *o = &p->out;
	char value[IOG_TEXT];
	iog_textbuf_add(o, "<g><title>");
	escaped(o, n->name);
	iog_show_main_param(value, sizeof value, n);
	iog_textbuf_add(o, " (%s), line %d%s", iog_show_what(n), n->line, value[0] ? ": " : "");
	escaped(o, value);
	iog_textbuf_add(o, "</title>");
	box(o, n->kind, s->x, s->y - s->h / 2, s->w, s->h);
	text(o, s->x + s->w / 2, s->y - 3, "name", "middle", n->name);
	text(o, s->x + s->w / 2, s->y + 13, "small", "middle", s->second);
	iog_textbuf_add(o, "</g>\n");
}

static void legend(struct picture *p, double y)
{
	static const char *const what[] = { "source", "operator", "sink" };
	struct iog_textbuf *o = &p->out;
	bool lossy = false, safe = false;
	double x = MARGIN;
	char note[IOG_TEXT], b[IOG_SHORT];
	for (uint32_t k = 0; k < p->cut->n_edges; k++) {
		lossy |= p->cut->edge[k].policy != IOG_BLOCK;
		safe |= p->cut->edge[k].safe;
	}
	for (unsigned k = 0; k < IOG_COUNT(what); k++) {
		box(o, k, x, y, 24, 14);
		text(o, x + 31, y + 11, "small", NULL, what[k]);
		x += 31 + text_width(what[k], SMALL_PX) + 20;
	}
	iog_textbuf_add(o, "<rect class=\"frame\" x=\"%.1f\" y=\"%.1f\" width=\"24\" height=\"14\" rx=\"4\"/>", x, y);
	text(o, x + 31, y + 11, "small", NULL, "stage: operators in one worker");
	const struct {
		bool on;
		const char *class, *what;
	} lines[] = { { lossy, " lossy", "may drop records" }, { safe, " safe", "release = safe" } };
	double x2 = MARGIN;
	for (unsigned k = 0; k < IOG_COUNT(lines); k++) {
		if (!lines[k].on)
			continue;
		iog_textbuf_add(o, "<path class=\"line%s\" d=\"M%.1f %.1fh24\"/>", lines[k].class, x2, y + 29);
		text(o, x2 + 31, y + 33, "small", NULL, lines[k].what);
		x2 += 31 + text_width(lines[k].what, SMALL_PX) + 20;
	}
	snprintf(note, sizeof note, "%u nodes, %s of memory", p->g->n_nodes, iog_show_bytes(b, (double)iog_cut_bytes(p->cut)));
	text(o, x2, y + 33, "small", NULL, note);
	iog_textbuf_add(o, "\n");
}

static void draw(struct picture *p)
{
	double right = 0, bottom = 0, least = MARGIN * 2 + 520;
	for (uint32_t i = 0; i < p->net.n_boxes; i++) {
		right = IOG_MAX(right, p->net.box[i].x + p->net.box[i].w);
		bottom = IOG_MAX(bottom, p->net.box[i].y + p->net.box[i].h / 2);
	}
	double w = IOG_MAX(right + 2 * MARGIN, least), h = bottom + 2 * MARGIN + LEGEND_H;
	iog_textbuf_add(&p->out,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\" role=\"img\">\n"
		"<title>graph of %u nodes</title><style>%s</style>\n<rect class=\"bg\" width=\"100%%\" height=\"100%%\"/>\n",
		w, h, w, h, p->g->n_nodes, STYLE);
	for (uint32_t i = 0; i < p->cut->n_units; i++)
		if (p->cut->unit[i].kind == IOG_G_OP)
			draw_stage(p, i);
	for (uint32_t k = 0; k < p->cut->n_edges; k++)
		draw_edge(p, k);
	for (uint32_t i = 0; i < p->g->n_nodes; i++)
		draw_node(p, i);
	legend(p, bottom + 2 * MARGIN);
	iog_textbuf_add(&p->out, "</svg>\n");
}

char *iog_graph_svg(const struct iog_graph *g, const struct iog_cut *cut)
{
	struct picture p = { .g = g, .cut = cut };
	p.node = calloc(g->n_nodes + 1, sizeof *p.node);
	p.part = calloc(cut->n_units + 1, sizeof *p.part);
	p.failed = !p.node || !p.part || !layout(&p);
	if (!p.failed)
		draw(&p);
	for (uint32_t i = 0; p.part && i < cut->n_units; i++)
		iog_net_free(&p.part[i].net);
	iog_net_free(&p.net);
	free(p.node);
	free(p.part);
	free(p.label);
	if (p.failed || p.out.failed) {
		free(p.out.s);
		return NULL;
	}
	return p.out.s;
}
