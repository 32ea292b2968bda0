/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Cutting a checked graph into units, sizing their arenas and edges, and making the flat image of a stage. Hosted, control path.
 *
 * Operators are fused while they stand on the same target, share the release rule, and no lossy edge lies between them: only the first
 * operator of a stage has inputs from outside, so stages cannot form a circle. A lossy policy moves up to the nearest fork: what is not
 * wanted is then not computed either, and a slow viewer never holds up the file beside it.
 */
#include <errno.h>
#include <stdlib.h>

#include "graph-parts.h"

enum { FUSE_MAX = 8, CREDIT_DEFAULT_MAX = 64, CREDIT_MIN = 2 };
static const uint64_t EDGE_BYTES_DEFAULT = 32ull << 20;

/* ---- which node goes where ---- */

/* Policy of the edge into each node after lossy ones moved up; IOG_BLOCK where nothing is lost. */
static void move_policies(struct iog_graph *g, uint8_t *policy, uint64_t *bytes)
{
	for (uint32_t i = 0; i < g->n_nodes; i++) {
		const struct iog_gnode *n = &g->node[i];
		bytes[i] = n->opt.bytes;
		if (n->kind != IOG_G_SINK && n->opt.policy_set)
			policy[i] = n->opt.policy;
	}
	for (uint32_t i = 0; i < g->n_nodes; i++) {
		const struct iog_gnode *n = &g->node[i];
		if (n->kind != IOG_G_SINK || !n->opt.policy_set || n->opt.policy == IOG_BLOCK)
			continue;
		int at = (int)i;
		while (g->node[at].n_in == 1) {
			int up = g->node[at].in[0].node;
			if (g->node[up].kind != IOG_G_OP || g->node[up].n_users != 1 || g->node[up].need.window)
				break; /* a window is of what came, not of what was not dropped */
			at = up;
		}
		policy[at] = n->opt.policy;
	}
}

static uint8_t target_of(const struct iog_gnode *n, enum iog_target target)
{
	if (n->kind != IOG_G_OP)
		return IOG_T_HOST;
	uint8_t t = n->target != IOG_T_ANY ? n->target : target == IOG_T_ANY ? (uint8_t)IOG_T_HOST : (uint8_t)target;
	/* The guest has no libraries: what needs them goes to a process instead. */
	if (t == IOG_T_VM && n->target == IOG_T_ANY && !(n->op->flags & IOG_FREESTANDING))
		t = IOG_T_SIDECORE;
	if (n->never >> t & 1)
		t = !(n->never >> IOG_T_HOST & 1) ? IOG_T_HOST : IOG_T_SIDECORE;
	return t;
}

/* The unit node may join: that of all its inputs; -1: it starts its own. */
static int joins(const struct iog_graph *g, const struct iog_cut *cut, const struct iog_gnode *n, uint8_t policy, uint8_t target)
{
	if (n->kind != IOG_G_OP || policy != IOG_BLOCK || !n->n_in || n->need.window) /* only what a stage is fed with can be held */
		return -1;
	int u = g->node[n->in[0].node].unit;
	for (uint32_t k = 0; k < n->n_in; k++)
		if (g->node[n->in[k].node].unit != u || g->node[n->in[k].node].kind != IOG_G_OP)
			return -1;
	const struct iog_unit *x = &cut->unit[u];
	return x->kind == IOG_G_OP && x->target == target && x->safe == n->safe && x->n_nodes < FUSE_MAX ? u : -1;
}

static void unit_name(const struct iog_graph *g, struct iog_unit *u)
{
	int at = 0;
	for (uint32_t k = 0; k < u->n_nodes && (size_t)at < sizeof u->name; k++)
		at += iog_format(u->name + at, sizeof u->name - (size_t)at, "%s%s", k ? "+" : "", g->node[u->node[k]].name);
}

/* The unit's output for a graph output, added when it is new; -1: too many. */
static int unit_output(struct iog_unit *u, struct iog_gref r)
{
	for (uint32_t q = 0; q < u->n_out; q++)
		if (u->out_from[q].node == r.node && u->out_from[q].port == r.port)
			return (int)q;
	if (u->n_out == IOG_PORTS)
		return -1;
	u->out_from[u->n_out] = r;
	return (int)u->n_out++;
}

/* ---- sizes ---- */

static uint64_t power_of_two_from(uint64_t n)
{
	uint64_t p = 1;
	while (p < n)
		p *= 2;
	return p;
}

static uint32_t power_of_two_below(uint64_t n)
{
	uint32_t p = 1;
	while (2ull * p <= n && 2ull * p <= IOG_CREDIT_MAX)
		p *= 2;
	return p;
}

/* The node whose output q's slot is written directly: the last one that writes payload on the way to q; *port of it. NULL: none. */
static const struct iog_gnode *slot_writer(const struct iog_graph *g, const struct iog_unit *u, uint32_t q, struct iog_gref *ref)
{
	struct iog_gref r = u->out_from[q];
	for (;;) {
		const struct iog_gnode *n = &g->node[r.node];
		if (n->kind != IOG_G_OP)
			return NULL;
		*ref = r;
		if (n->need.out_max[r.port])
			return n;
		if (n->n_in != 1 || g->node[n->in[0].node].unit != n->unit)
			return NULL;
		r = n->in[0];
		for (uint32_t k = 0; k < u->n_out; k++)
			if (u->out_from[k].node == r.node && u->out_from[k].port == r.port)
				return NULL; /* that output has a slot of its own */
	}
}

static void size_outputs(struct iog_graph *g, struct iog_cut *cut, uint32_t i)
{
	struct iog_unit *u = &cut->unit[i];
	for (uint32_t q = 0; q < u->n_out; q++) {
		const struct iog_gnode *n = &g->node[u->out_from[q].node];
		const struct iog_schema *s = &n->out[u->out_from[q].port];
		struct iog_gref w;
		const struct iog_gnode *writer = slot_writer(g, u, q, &w);
		uint64_t payload = n->bound[u->out_from[q].port], statics = 0;
		if (writer)
			payload = IOG_MAX(payload, writer->bound[w.port]);
		iog_schema_payload_max(s, true, &statics);
		u->static_bytes[q] = statics ? 2 * IOG_ROUND_UP(statics, 4096) : 0;
		u->head_max[q] = iog_wire_head_max(s, n->blocks[u->out_from[q].port], IOG_PORTS + 2);
		u->slot_bytes[q] = IOG_ROUND_UP(u->head_max[q] + payload + IOG_ALIGN, IOG_LINE);
	}
}

/*
 * Records that may have to wait on each edge until others come, or the graph would stand still: those a window holds; at a join, those that
 * came early because another branch has a window; and where outputs pin the inputs they were made from (safe release, views), what may
 * have to wait further down. Units are in topological order. *via: for each unit the one with the window that it lags behind for most.
 */
static int count_holds(struct iog_cut *cut, int **via)
{
	uint32_t *lag = calloc(2 * (size_t)cut->n_units + 1, sizeof *lag), *pinned = lag + cut->n_units;
	*via = calloc(cut->n_units + 1, sizeof **via);
	if (!lag || !*via) {
		free(lag);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < cut->n_units; i++) {
		(*via)[i] = (int)i;
		for (uint32_t k = 0; k < cut->n_edges; k++)
			if (cut->edge[k].to == (int)i && lag[cut->edge[k].from] > lag[i])
				lag[i] = lag[cut->edge[k].from], (*via)[i] = (*via)[cut->edge[k].from];
		for (uint32_t k = 0; k < cut->n_edges; k++)
			if (cut->edge[k].to == (int)i)
				cut->edge[k].hold = cut->unit[i].window + lag[i] - lag[cut->edge[k].from];
		lag[i] += cut->unit[i].window;
		if (cut->unit[i].window)
			(*via)[i] = (int)i;
	}
	for (uint32_t i = cut->n_units; i-- > 0;) {
		struct iog_unit *u = &cut->unit[i];
		for (uint32_t k = 0; k < cut->n_edges; k++)
			if (cut->edge[k].from == (int)i && (u->safe || u->views[cut->edge[k].from_port]))
				pinned[i] = IOG_MAX(pinned[i], cut->edge[k].hold);
		for (uint32_t k = 0; k < cut->n_edges && u->kind == IOG_G_OP; k++)
			if (cut->edge[k].to == (int)i)
				cut->edge[k].hold += pinned[i];
	}
	free(lag);
	return 0;
}

/* Why records have to wait on an edge, for a message. */
static void say_hold(const struct iog_cut *cut, const struct iog_uedge *e, const int *via, char *text, size_t size)
{
	const struct iog_unit *to = &cut->unit[e->to], *w = &cut->unit[via[e->to]];
	text[0] = 0;
	if (!e->hold)
		return;
	if (to->window)
		iog_format(text, size, " (%s holds %u)", to->name, to->window);
	else if (w->window)
		iog_format(text, size, " (%s also waits for %s, which holds %u)", to->name, w->name, w->window);
	else
		iog_format(text, size, " (what %s sends waits further down for %u)", to->name, e->hold);
}

static int size_edge(struct iog_graph *g, const struct iog_cut *cut, struct iog_uedge *e, uint64_t bytes, int node, const int *via)
{
	const struct iog_gnode *n = &g->node[node];
	const uint64_t slot = cut->unit[e->from].slot_bytes[e->from_port], least = (uint64_t)e->hold + CREDIT_MIN;
	char why[IOG_TEXT + 128];
	say_hold(cut, e, via, why, sizeof why);
	if (e->policy == IOG_LATEST) {
		e->capacity = IOG_LATEST_ENTRIES;
		if (cut->unit[e->to].window + 1 >= IOG_LATEST_ENTRIES) {
			iog_graph_diag(g, n->file, n->line, false,
				"%s holds %u records, and an edge with policy \"latest\" gives at most %u; use \"drop-new\" or \"block\"",
				n->name, cut->unit[e->to].window, IOG_LATEST_ENTRIES - 2);
			return -EINVAL;
		}
		e->hold = IOG_MIN(e->hold, 1u);
	} else {
		const uint64_t room = (bytes ? bytes : EDGE_BYTES_DEFAULT) / slot;
		if (least > IOG_CREDIT_MAX || (bytes && room < power_of_two_from(least))) {
			if (least > IOG_CREDIT_MAX)
				iog_graph_diag(g, n->file, n->line, false,
					"%s: %llu records may have to wait here%s; %u is the most an edge can have", n->name,
					(unsigned long long)least, why, IOG_CREDIT_MAX);
			else
				iog_graph_diag(g, n->file, n->line, false,
					"%s: bytes = %llu holds %llu records of up to %llu bytes, and with fewer than %llu%s the graph "
					"would stand still; give at least %llu",
					n->name, (unsigned long long)bytes, (unsigned long long)room, (unsigned long long)slot,
					(unsigned long long)least, why, (unsigned long long)(slot * power_of_two_from(least)));
			return -EINVAL;
		}
		const uint64_t usual = power_of_two_below(IOG_MIN(IOG_MAX(room, (uint64_t)CREDIT_MIN), (uint64_t)CREDIT_DEFAULT_MAX));
		e->capacity = (uint32_t)IOG_MAX(usual, power_of_two_from(least));
	}
	cut->unit[e->from].n_slots[e->from_port] += e->capacity;
	return 0;
}

uint64_t iog_cut_bytes(const struct iog_cut *cut)
{
	uint64_t sum = 0;
	for (uint32_t i = 0; i < cut->n_units; i++)
		for (uint32_t q = 0; q < cut->unit[i].n_out; q++)
			sum += cut->unit[i].static_bytes[q] + cut->unit[i].slot_bytes[q] * cut->unit[i].n_slots[q];
	for (uint32_t k = 0; k < cut->n_edges; k++)
		sum += iog_down_bytes(cut->edge[k].capacity) + iog_up_bytes(cut->edge[k].capacity);
	return sum;
}

void iog_cut_free(struct iog_cut *cut)
{
	free(cut->unit);
	free(cut->edge);
	*cut = (struct iog_cut){ 0 };
}

/* ---- the cut ---- */

static int add_edges(struct iog_graph *g, struct iog_cut *cut, int node, const uint8_t *policy)
{
	struct iog_gnode *n = &g->node[node];
	struct iog_unit *u = &cut->unit[n->unit];
	for (uint32_t k = 0; k < n->n_in; k++) {
		int from = g->node[n->in[k].node].unit;
		if (from == n->unit && n->kind == IOG_G_OP)
			continue;
		int q = unit_output(&cut->unit[from], n->in[k]);
		bool have = false;
		for (uint32_t p = 0; p < u->n_in; p++)
			have |= u->in_from[p].node == n->in[k].node && u->in_from[p].port == n->in[k].port;
		if (have)
			continue;
		uint32_t fan = 0;
		for (uint32_t e = 0; e < cut->n_edges; e++)
			fan += cut->edge[e].from == from && cut->edge[e].from_port == q;
		if (q < 0 || u->n_in == IOG_PORTS || fan == IOG_FANOUT) {
			iog_graph_diag(g, n->file, n->line, false,
				"%s: %s feeds more than %u consumers; put an operator between to share one", n->name,
				g->node[n->in[k].node].name, q < 0 ? (unsigned)IOG_PORTS : (unsigned)IOG_FANOUT);
			return -EINVAL;
		}
		u->in_from[u->n_in] = n->in[k];
		cut->edge[cut->n_edges++] = (struct iog_uedge){ .from = from,
			.to = n->unit,
			.from_port = (uint8_t)q,
			.to_port = (uint8_t)u->n_in++,
			.policy = policy[node],
			.safe = n->safe,
			.spill = n->opt.spill };
	}
	return 0;
}

static int set_views(struct iog_cut *cut)
{
	uint32_t *regions = calloc(cut->n_units + 1, sizeof *regions); /* that a view of the unit may refer to, its own included */
	if (!regions)
		return -ENOMEM;
	for (uint32_t i = 0; i < cut->n_units; i++)
		for (uint32_t q = 0; q < cut->unit[i].n_out; q++)
			cut->unit[i].views[q] = cut->unit[i].kind == IOG_G_OP && cut->unit[i].target == IOG_T_HOST && !cut->unit[i].window;
	for (uint32_t k = 0; k < cut->n_edges; k++)
		if (cut->edge[k].policy != IOG_BLOCK || cut->unit[cut->edge[k].to].target != IOG_T_HOST)
			cut->unit[cut->edge[k].from].views[cut->edge[k].from_port] = false;
	/* A view pins a slot of the producer above, which a successor process of that producer could not take over. */
	for (uint32_t k = 0; k < cut->n_edges; k++)
		if (cut->unit[cut->edge[k].from].target != IOG_T_HOST)
			for (uint32_t q = 0; q < cut->unit[cut->edge[k].to].n_out; q++)
				cut->unit[cut->edge[k].to].views[q] = false;
	/* Whoever reads an output maps all that its views may refer to, up to the sources: no more than an input has room for. Units come in
	 * topological order. */
	for (uint32_t i = 0; i < cut->n_units; i++) {
		regions[i] = 1;
		for (uint32_t k = 0; k < cut->n_edges; k++) {
			const struct iog_uedge *e = &cut->edge[k];
			if (e->to == (int)i)
				regions[i] += cut->unit[e->from].views[e->from_port] ? regions[e->from] : 1;
		}
		for (uint32_t q = 0; q < cut->unit[i].n_out; q++)
			cut->unit[i].views[q] &= regions[i] <= IOG_PORTS;
	}
	free(regions);
	return 0;
}

int iog_graph_cut(struct iog_graph *g, bool fuse, enum iog_target target, struct iog_cut *cut)
{
	uint32_t n = g->n_nodes, links = 0;
	*cut = (struct iog_cut){ 0 };
	for (uint32_t i = 0; i < n; i++)
		links += g->node[i].n_in;
	uint8_t *policy = calloc(n + 1, 1);
	uint64_t *bytes = calloc(n + 1, sizeof *bytes);
	cut->unit = calloc(n + 1, sizeof *cut->unit);
	cut->edge = calloc(links + 1, sizeof *cut->edge);
	int rc = policy && bytes && cut->unit && cut->edge ? 0 : -ENOMEM;
	if (!rc)
		move_policies(g, policy, bytes);
	for (uint32_t i = 0; !rc && i < n; i++) {
		int id = g->order[i];
		struct iog_gnode *x = &g->node[id];
		uint8_t t = target_of(x, target);
		int u = fuse ? joins(g, cut, x, policy[id], t) : -1;
		if (u < 0) {
			u = (int)cut->n_units++;
			cut->unit[u].kind = x->kind;
			cut->unit[u].target = t;
			cut->unit[u].safe = x->safe;
			cut->unit[u].window = x->need.window;
		}
		if (t == IOG_T_VM && x->kind == IOG_G_OP && !(x->op->flags & IOG_FREESTANDING)) {
			iog_graph_diag(g, x->file, x->line, false,
				"%s cannot run in a VM: it needs libraries of the host; use on = \"sidecore\"", x->name);
			rc = -EINVAL;
		}
		x->unit = u;
		cut->unit[u].node[cut->unit[u].n_nodes++] = id;
	}
	for (uint32_t i = 0; !rc && i < n; i++)
		rc = add_edges(g, cut, g->order[i], policy);
	if (!rc)
		rc = set_views(cut);
	for (uint32_t i = 0; !rc && i < cut->n_units; i++) {
		unit_name(g, &cut->unit[i]);
		size_outputs(g, cut, i);
	}
	int *via = NULL;
	if (!rc)
		rc = count_holds(cut, &via);
	for (uint32_t k = 0; !rc && k < cut->n_edges; k++) {
		int to = cut->unit[cut->edge[k].to].node[0];
		rc = size_edge(g, cut, &cut->edge[k], bytes[to], to, via);
	}
	free(via);
	/* One slot more than all credits together: who has credit on every edge then always has a slot to write to. */
	for (uint32_t i = 0; i < cut->n_units; i++)
		for (uint32_t q = 0; q < cut->unit[i].n_out; q++)
			cut->unit[i].n_slots[q]++;
	free(policy);
	free(bytes);
	if (rc)
		iog_cut_free(cut);
	return rc;
}

/* ---- the image of a stage ---- */

static struct iog_ref ref_in(const struct iog_graph *g, const struct iog_unit *u, struct iog_gref r)
{
	for (uint32_t j = 0; j < u->n_nodes; j++)
		if (u->node[j] == r.node)
			return (struct iog_ref){ (uint8_t)j, (uint8_t)r.port };
	(void)g;
	for (uint32_t p = 0; p < u->n_in; p++)
		if (u->in_from[p].node == r.node && u->in_from[p].port == r.port)
			return (struct iog_ref){ IOG_FROM_INPUT, (uint8_t)p };
	return (struct iog_ref){ IOG_FROM_INPUT, 0 };
}

void iog_stage_conf(const struct iog_graph *g, const struct iog_unit *u, struct iog_stage *image, uint32_t version)
{
	for (uint32_t j = 0; j < u->n_nodes; j++) {
		const struct iog_stage_node *d = &image->node[j];
		memcpy((uint8_t *)image + d->conf + (uint64_t)(version % IOG_CONF_VERSIONS) * d->conf_bytes, g->node[u->node[j]].conf,
			g->node[u->node[j]].conf_size);
	}
}

/* Places a block of bytes in the image; the first pass (base NULL) only counts. */
static uint64_t place(uint8_t *base, uint64_t *at, const void *from, uint64_t bytes)
{
	uint64_t here = *at;
	if (base && from)
		memcpy(base + here, from, bytes);
	*at += IOG_ROUND_UP(bytes, IOG_ALIGN);
	return here;
}

static void fill_node(const struct iog_graph *g, const struct iog_unit *u, struct iog_stage *st, uint8_t *base, uint64_t *at, uint32_t j)
{
	const struct iog_gnode *n = &g->node[u->node[j]];
	struct iog_stage_node d = { .conf_bytes = (uint32_t)IOG_ROUND_UP(n->conf_size, IOG_ALIGN),
		.n_in = (uint8_t)n->n_in,
		.n_out = (uint8_t)n->n_out,
		.out_blocks = n->need.out_blocks,
		.scratch_bytes = n->need.scratch,
		.state_bytes = n->need.state,
		.split = n->split };
	iog_strset(d.op, sizeof d.op, n->op->name);
	iog_strset(d.name, sizeof d.name, n->name);
	d.state = st->state_bytes;
	st->state_bytes += IOG_ROUND_UP(n->need.state, IOG_ALIGN);
	d.conf = place(base, at, NULL, (uint64_t)d.conf_bytes * IOG_CONF_VERSIONS);
	for (uint32_t k = 0; k < n->n_in; k++)
		d.in[k] = ref_in(g, u, n->in[k]);
	for (uint32_t o = 0; o < n->n_out; o++) {
		d.out_schema[o] = place(base, at, &n->out[o], sizeof n->out[o]);
		d.out_max[o] = n->need.out_max[o];
		d.out_slot[o] = -1;
		for (uint32_t q = 0; q < u->n_out; q++) {
			struct iog_gref w;
			if (slot_writer(g, u, q, &w) == n && w.port == (int)o)
				d.out_slot[o] = (int8_t)q;
		}
	}
	st->node[j] = d;
}

static uint64_t fill(const struct iog_graph *g, const struct iog_unit *u, struct iog_stage *st, uint8_t *base)
{
	uint64_t at = IOG_ROUND_UP(sizeof *st, IOG_ALIGN);
	st->magic = IOG_STAGE_MAGIC;
	st->n_nodes = u->n_nodes, st->n_in = u->n_in, st->n_out = u->n_out;
	st->safe = u->safe;
	st->window = u->window;
	st->state_bytes = u->safe && u->window ? IOG_ALIGN : 0; /* so that there are snapshots: they name what is in the window */
	iog_strset(st->name, sizeof st->name, u->name);
	for (uint32_t p = 0; p < u->n_in; p++) {
		const struct iog_gnode *f = &g->node[u->in_from[p].node];
		st->in[p].schema = place(base, &at, &f->out[u->in_from[p].port], sizeof(struct iog_schema));
		st->in[p].max_blocks = f->blocks[u->in_from[p].port];
	}
	for (uint32_t j = 0; j < u->n_nodes; j++)
		fill_node(g, u, st, base, &at, j);
	for (uint32_t q = 0; q < u->n_out; q++) {
		struct iog_ref r = ref_in(g, u, u->out_from[q]);
		st->out[q] = (struct iog_stage_out){
			.schema = st->node[r.node].out_schema[r.port], .head_max = u->head_max[q], .from = r, .views = u->views[q]
		};
	}
	return at;
}

struct iog_stage *iog_stage_build(const struct iog_graph *g, const struct iog_cut *cut, uint32_t unit, uint64_t *bytes)
{
	const struct iog_unit *u = &cut->unit[unit];
	struct iog_stage *probe = calloc(1, sizeof *probe);
	if (!probe)
		return NULL;
	*bytes = fill(g, u, probe, NULL);
	free(probe);
	struct iog_stage *st = calloc(1, *bytes);
	if (!st)
		return NULL;
	fill(g, u, st, (uint8_t *)st);
	st->bytes = *bytes;
	for (uint32_t v = 0; v < IOG_CONF_VERSIONS; v++)
		iog_stage_conf(g, u, st, v);
	return st;
}
