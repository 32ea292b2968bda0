/* SPDX-License-Identifier: BSD-3-Clause */
/* Layered layout: waypoints, order by barycentres, heights by isotonic regression. Hosted: allocates; any thread. */
#include <stdlib.h>

#include "layout.h"

enum { WAYPOINTS_MAX = 20000, SWEEPS = 12, CROSSINGS_MAX = 800 };

static bool grow(void **p, uint32_t *cap, uint32_t n, size_t size)
{
	if (n < *cap)
		return true;
	uint32_t want = *cap ? 2 * *cap : 64;
	void *q = realloc(*p, want * size);
	if (!q)
		return false;
	*p = q;
	*cap = want;
	return true;
}

uint32_t iog_net_add(struct iog_net *n, double w, double h, uint32_t layer)
{
	void *p = n->box;
	if (n->failed || !grow(&p, &n->cap_boxes, n->n_boxes, sizeof *n->box)) {
		n->failed = true;
		return 0;
	}
	n->box = p;
	n->box[n->n_boxes] = (struct iog_net_item){ .w = w, .h = h, .layer = layer, .weight = 1 };
	n->n_layers = IOG_MAX(n->n_layers, layer + 1);
	return n->n_boxes++;
}

static void arc(struct iog_net *n, uint32_t a, uint32_t b, double da, double db)
{
	void *p = n->arc;
	if (n->failed || !grow(&p, &n->cap_arcs, n->n_arcs, sizeof *n->arc)) {
		n->failed = true;
		return;
	}
	n->arc = p;
	n->arc[n->n_arcs++] = (struct iog_arc){ a, b, da, db };
}

void iog_net_edge(struct iog_net *n, uint32_t a, uint32_t b, double da, double db)
{
	void *p = n->route;
	if (n->failed || !grow(&p, &n->cap_routes, n->n_routes, sizeof *n->route)) {
		n->failed = true;
		return;
	}
	n->route = p;
	struct iog_route *r = &n->route[n->n_routes++];
	*r = (struct iog_route){ .a = a, .b = b, .way = n->n_boxes, .da = da, .db = db };
	uint32_t from = n->box[a].layer, to = n->box[b].layer, last = a;
	double d = da;
	for (uint32_t l = from + 1; l < to && n->n_boxes < WAYPOINTS_MAX; l++) {
		uint32_t w = iog_net_add(n, 0, 8, l);
		if (n->failed)
			return;
		n->box[w].weight = 4;
		arc(n, last, w, d, 0);
		last = w, d = 0;
		n->route[n->n_routes - 1].n_way++;
	}
	arc(n, last, b, d, db);
}

/* ---- order ---- */

struct work {
	struct iog_net *n;
	uint32_t *start;                     /* boxes of layer l: order[start[l]] ... order[start[l + 1]] */
	uint32_t *order, *place;             /* place: of a box within its layer */
	uint32_t *in, *out, *in_at, *out_at; /* arcs by box */
	double *key, *d, *wt, *z;
	uint32_t *best;
	uint32_t *run;
};

static void index_arcs(const struct iog_net *n, uint32_t *list, uint32_t *at, bool in)
{
	memset(at, 0, (n->n_boxes + 2) * sizeof *at);
	for (uint32_t i = 0; i < n->n_arcs; i++)
		at[(in ? n->arc[i].b : n->arc[i].a) + 2]++;
	for (uint32_t i = 2; i < n->n_boxes + 2; i++)
		at[i] += at[i - 1];
	for (uint32_t i = 0; i < n->n_arcs; i++)
		list[at[(in ? n->arc[i].b : n->arc[i].a) + 1]++] = i;
}

static uint64_t crossings(const struct work *w)
{
	const struct iog_net *n = w->n;
	uint64_t sum = 0;
	for (uint32_t i = 0; i < n->n_arcs; i++)
		for (uint32_t k = i + 1; k < n->n_arcs; k++) {
			const struct iog_arc *a = &n->arc[i], *b = &n->arc[k];
			if (n->box[a->a].layer != n->box[b->a].layer || n->box[a->b].layer != n->box[b->b].layer)
				continue;
			double from = a->a == b->a ? a->da - b->da : (double)w->place[a->a] - (double)w->place[b->a];
			double to = a->b == b->b ? a->db - b->db : (double)w->place[a->b] - (double)w->place[b->b];
			sum += (from < 0 && to > 0) || (from > 0 && to < 0);
		}
	return sum;
}

/* Sorts a layer by key, stable. */
static void sort_layer(struct work *w, uint32_t *tmp, uint32_t lo, uint32_t hi)
{
	if (hi - lo < 2)
		return;
	uint32_t mid = lo + (hi - lo) / 2, i = lo, k = mid, at = lo;
	sort_layer(w, tmp, lo, mid);
	sort_layer(w, tmp, mid, hi);
	while (i < mid || k < hi)
		tmp[at++] = k == hi || (i < mid && w->key[w->order[i]] <= w->key[w->order[k]]) ? w->order[i++] : w->order[k++];
	memcpy(w->order + lo, tmp + lo, (hi - lo) * sizeof *tmp);
}

static void number(struct work *w)
{
	for (uint32_t l = 0; l < w->n->n_layers; l++)
		for (uint32_t i = w->start[l]; i < w->start[l + 1]; i++)
			w->place[w->order[i]] = i - w->start[l];
}

static void order_layer(struct work *w, uint32_t l, bool down)
{
	const struct iog_net *n = w->n;
	for (uint32_t i = w->start[l]; i < w->start[l + 1]; i++) {
		uint32_t b = w->order[i], *at = down ? w->in_at : w->out_at, *list = down ? w->in : w->out;
		double sum = 0;
		for (uint32_t k = at[b]; k < at[b + 1]; k++) {
			const struct iog_arc *a = &n->arc[list[k]];
			/* Where it leaves a box counts less than which box. */
			sum += down ? w->place[a->a] + a->da / 1e4 : w->place[a->b] + a->db / 1e4;
		}
		w->key[b] = at[b + 1] > at[b] ? sum / (at[b + 1] - at[b]) : (double)w->place[b];
	}
	sort_layer(w, w->run, w->start[l], w->start[l + 1]);
	for (uint32_t i = w->start[l]; i < w->start[l + 1]; i++)
		w->place[w->order[i]] = i - w->start[l];
}

static void find_order(struct work *w)
{
	const struct iog_net *n = w->n;
	bool count = n->n_arcs <= CROSSINGS_MAX;
	uint64_t least = UINT64_MAX;
	for (uint32_t s = 0; s < SWEEPS; s++) {
		for (uint32_t l = 1; s % 2 == 0 && l < n->n_layers; l++)
			order_layer(w, l, true);
		for (uint32_t l = n->n_layers; s % 2 && l-- > 1;)
			order_layer(w, l - 1, false);
		uint64_t c = count ? crossings(w) : UINT64_MAX - s - 1;
		if (c < least) {
			least = c;
			memcpy(w->best, w->order, n->n_boxes * sizeof *w->best);
		}
	}
	memcpy(w->order, w->best, n->n_boxes * sizeof *w->best);
	number(w);
}

/* ---- heights ---- */

/*
 * Centres of a layer nearest to where its lines want it (weighted least squares) that keep order and distance: with the distances taken off
 * that is isotonic regression, solved by pooling adjacent violators (Ayer et al. 1955).
 */
static void heights(struct work *w, uint32_t l, bool down, bool up, double space)
{
	const struct iog_net *n = w->n;
	uint32_t lo = w->start[l], m = w->start[l + 1] - lo, blocks = 0;
	double off = 0;
	for (uint32_t i = 0; i < m; i++) {
		uint32_t b = w->order[lo + i];
		double sum = 0, weight = 0;
		for (uint32_t k = w->in_at[b]; down && k < w->in_at[b + 1]; k++) {
			const struct iog_arc *a = &n->arc[w->in[k]];
			sum += n->box[a->a].y + a->da - a->db, weight += 1;
		}
		for (uint32_t k = w->out_at[b]; up && k < w->out_at[b + 1]; k++) {
			const struct iog_arc *a = &n->arc[w->out[k]];
			sum += n->box[a->b].y + a->db - a->da, weight += 1;
		}
		if (i) {
			const struct iog_net_item *p = &n->box[w->order[lo + i - 1]], *q = &n->box[b];
			off += (p->h + q->h) / 2 + (p->w > 0 || q->w > 0 ? space : space / 2);
		}
		w->key[lo + i] = off;
		double want = (weight > 0 ? sum / weight : n->box[b].y) - off;
		/* A new block; joined with those above it while they would lie lower. */
		w->d[blocks] = want, w->wt[blocks] = (weight > 0 ? weight : 0.1) * n->box[b].weight, w->run[blocks] = 1;
		blocks++;
		while (blocks > 1 && w->d[blocks - 2] > w->d[blocks - 1]) {
			double t = w->wt[blocks - 2] + w->wt[blocks - 1];
			w->d[blocks - 2] = (w->d[blocks - 2] * w->wt[blocks - 2] + w->d[blocks - 1] * w->wt[blocks - 1]) / t;
			w->wt[blocks - 2] = t;
			w->run[blocks - 2] += w->run[blocks - 1];
			blocks--;
		}
	}
	for (uint32_t k = 0, i = 0; k < blocks; k++)
		for (uint32_t r = 0; r < w->run[k]; r++, i++)
			n->box[w->order[lo + i]].y = w->d[k] + w->key[lo + i];
}

static void place_y(struct work *w, double space)
{
	const struct iog_net *n = w->n;
	for (uint32_t l = 0; l < n->n_layers; l++) {
		double y = 0;
		for (uint32_t i = w->start[l]; i < w->start[l + 1]; i++) {
			struct iog_net_item *b = &n->box[w->order[i]];
			b->y = y + b->h / 2;
			y += b->h + space;
		}
	}
	for (unsigned s = 0; s < 8; s++) {
		for (uint32_t l = 1; l < n->n_layers; l++)
			heights(w, l, true, s >= 4, space);
		for (uint32_t l = n->n_layers; l-- > 1;)
			heights(w, l - 1, s >= 4, true, space);
	}
	double top = 1e300;
	for (uint32_t i = 0; i < n->n_boxes; i++)
		top = IOG_MIN(top, n->box[i].y - n->box[i].h / 2);
	for (uint32_t i = 0; i < n->n_boxes; i++)
		n->box[i].y -= top;
}

static void place_x(struct iog_net *n, const double *label, double least_curve, double most_curve)
{
	for (uint32_t i = 0; i < n->n_boxes; i++)
		n->width[n->box[i].layer] = IOG_MAX(n->width[n->box[i].layer], n->box[i].w);
	for (uint32_t l = 0; l < n->n_layers; l++)
		n->curve[l] = least_curve;
	/* Steep lines need more room to bend. */
	for (uint32_t i = 0; i < n->n_arcs; i++) {
		const struct iog_arc *a = &n->arc[i];
		double dy = n->box[a->b].y + a->db - n->box[a->a].y - a->da;
		double want = IOG_MIN(least_curve + 0.3 * (dy < 0 ? -dy : dy), most_curve), *c = &n->curve[n->box[a->b].layer];
		*c = IOG_MAX(*c, want);
	}
	double x = 0;
	for (uint32_t l = 0; l < n->n_layers; l++) {
		n->gap[l] = l ? n->curve[l] + (label ? label[l] : 0) : 0;
		n->left[l] = x += n->gap[l];
		x += n->width[l];
	}
	for (uint32_t i = 0; i < n->n_boxes; i++)
		n->box[i].x = n->left[n->box[i].layer];
}

void iog_net_place(struct iog_net *n, double space, const double *label, double least_curve, double most_curve)
{
	struct work w = { .n = n };
	size_t boxes = n->n_boxes + 2, arcs = n->n_arcs + 1;
	w.start = calloc(n->n_layers + 2, sizeof *w.start);
	uint32_t *words = calloc(6 * boxes + 2 * arcs, sizeof *words);
	double *numbers = calloc(3 * boxes, sizeof *numbers);
	n->left = calloc(4 * (n->n_layers + 1), sizeof *n->left);
	if (n->failed || !w.start || !words || !numbers || !n->left) {
		n->failed = true;
	} else {
		n->width = n->left + n->n_layers + 1, n->gap = n->width + n->n_layers + 1, n->curve = n->gap + n->n_layers + 1;
		w.order = words, w.place = w.order + boxes, w.best = w.place + boxes, w.run = w.best + boxes;
		w.in_at = w.run + boxes, w.out_at = w.in_at + boxes, w.in = w.out_at + boxes, w.out = w.in + arcs;
		w.key = numbers, w.d = w.key + boxes, w.wt = w.d + boxes;
		for (uint32_t i = 0; i < n->n_boxes; i++)
			w.start[n->box[i].layer + 1]++;
		for (uint32_t l = 0; l < n->n_layers; l++)
			w.start[l + 1] += w.start[l];
		uint32_t *at = w.run;
		memcpy(at, w.start, n->n_layers * sizeof *at);
		for (uint32_t i = 0; i < n->n_boxes; i++)
			w.order[at[n->box[i].layer]++] = i;
		number(&w);
		index_arcs(n, w.in, w.in_at, true);
		index_arcs(n, w.out, w.out_at, false);
		find_order(&w);
		place_y(&w, space);
		place_x(n, label, least_curve, most_curve);
	}
	free(w.start);
	free(words);
	free(numbers);
}

void iog_net_free(struct iog_net *n)
{
	free(n->box);
	free(n->arc);
	free(n->route);
	free(n->left);
	*n = (struct iog_net){ 0 };
}
