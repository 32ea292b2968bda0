/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Setting a worker up: the stage image is checked, everything the loop needs is laid out in one piece of memory, and the state comes back
 * from the base snapshot. Runs once, on the worker's thread, before the loop. Freestanding.
 */
#include "worker-parts.h"

/* Of one part, so that sums of all parts cannot overflow. */
static const uint64_t LARGEST = 1ull << 48;

/* A schema at this offset whose indices can be followed; its id says that it is as it was sealed. */
static bool schema_valid(const struct iog_stage *st, uint64_t off)
{
	struct iog_schema s;
	if (off % IOG_ALIGN || off < sizeof *st || off > st->bytes - sizeof s)
		return false;
	s = *iog_stage_schema(st, off);
	return !iog_schema_seal(&s, NULL) && s.id == iog_stage_schema(st, off)->id;
}

static bool ref_valid(const struct iog_stage *st, struct iog_ref r, uint32_t before)
{
	return r.node == IOG_FROM_INPUT ? r.port < st->n_in : r.node < before && r.port < st->node[r.node].n_out;
}

/* Checks what will be followed without further looks. The image comes from our own graph compiler, but through shared memory. */
static bool stage_valid(const struct iog_stage *st, uint64_t bytes)
{
	if (bytes < sizeof *st || st->magic != IOG_STAGE_MAGIC || st->bytes > bytes || st->n_nodes > IOG_STAGE_NODES ||
		st->n_in > IOG_PORTS || st->n_out > IOG_PORTS || !st->n_in || st->bytes < sizeof(struct iog_schema))
		return false;
	if (st->state_bytes > LARGEST || st->window > IOG_WINDOW_MAX ||
		(st->window && (st->n_in != 1 || !st->n_nodes || st->node[0].n_in != 1)) || (st->window && st->safe && !st->state_bytes))
		return false;
	for (uint32_t i = 0; i < st->n_in; i++)
		if (!schema_valid(st, st->in[i].schema) || st->in[i].max_blocks > IOG_BLOCKS_MAX || !st->in[i].max_blocks)
			return false;
	for (uint32_t j = 0; j < st->n_nodes; j++) {
		const struct iog_stage_node *n = &st->node[j];
		uint64_t conf = (uint64_t)n->conf_bytes * IOG_CONF_VERSIONS;
		if (n->n_in > IOG_PORTS || !n->n_in || n->n_out > IOG_PORTS || conf > st->bytes || n->conf > st->bytes - conf ||
			n->conf % IOG_ALIGN || n->conf_bytes % IOG_ALIGN || n->state % IOG_ALIGN || n->state_bytes > st->state_bytes ||
			n->state > st->state_bytes - n->state_bytes || n->scratch_bytes > LARGEST || n->out_blocks > IOG_BLOCKS_MAX)
			return false;
		for (uint32_t i = 0; i < n->n_in; i++)
			if (!ref_valid(st, n->in[i], j) || (st->window && (n->in[i].node == IOG_FROM_INPUT) != !j))
				return false;
		for (uint32_t o = 0; o < n->n_out; o++)
			if (!schema_valid(st, n->out_schema[o]) || n->out_slot[o] >= (int)st->n_out || n->out_max[o] > LARGEST)
				return false;
	}
	for (uint32_t q = 0; q < st->n_out; q++) {
		const struct iog_stage_out *o = &st->out[q];
		if (st->window && (o->views || o->from.node == IOG_FROM_INPUT))
			return false;
		if (o->head_max % IOG_ALIGN || !ref_valid(st, o->from, st->n_nodes) ||
			o->schema != (o->from.node == IOG_FROM_INPUT ? st->in[o->from.port].schema
								     : st->node[o->from.node].out_schema[o->from.port]))
			return false;
	}
	return true;
}

/* What is written straight into a slot must fit there. */
static bool slots_valid(const struct iog_worker_args *a)
{
	const struct iog_stage *st = a->stage;
	/* A mailbox lets its consumer hold all entries but one. */
	if (st->window && st->window + 1 >= a->in[0].edge.capacity)
		return false;
	for (uint32_t q = 0; q < st->n_out; q++)
		if (st->out[q].head_max > a->out[q].arena.slot_bytes || a->out[q].n_edges > IOG_FANOUT)
			return false;
	for (uint32_t j = 0; j < st->n_nodes; j++)
		for (uint32_t o = 0; o < st->node[j].n_out; o++) {
			int q = st->node[j].out_slot[o];
			if (q >= 0 && st->node[j].out_max[o] > a->out[q].arena.slot_bytes - st->out[q].head_max)
				return false;
		}
	return true;
}

/* Two passes with the same code: base NULL only counts. */
struct bump {
	uint8_t *base;
	uint64_t at;
};
static void *bump(struct bump *b, uint64_t bytes)
{
	void *p = b->base ? b->base + b->at : NULL;
	b->at += IOG_ROUND_UP(bytes, IOG_ALIGN);
	return p;
}

static void layout_in(struct iog_worker *w, const struct iog_worker_args *a, struct bump *b, uint32_t p)
{
	const struct iog_stage *st = a->stage;
	uint32_t cap = 2 * IOG_MAX(a->in[p].edge.capacity, (uint32_t)IOG_LATEST_ENTRIES); /* an old incarnation's and its successor's */
	uint64_t head_size = iog_wire_head_max(iog_stage_schema(st, st->in[p].schema), st->in[p].max_blocks, IOG_SEGMENTS_MAX);
	struct iog_block *block = bump(b, st->in[p].max_blocks * sizeof *block);
	uint8_t *head = bump(b, head_size);
	struct pend *pend = bump(b, cap * sizeof *pend);
	uint16_t *free_list = bump(b, cap * 2), *fifo = bump(b, cap * 2);
	if (!w)
		return;
	struct port_in *in = &w->in[p];
	in->block = block, in->head = head, in->head_size = head_size;
	in->pend = pend, in->free = free_list, in->fifo = fifo, in->n_pend = cap;
	for (uint32_t i = 0; i < cap; i++) {
		in->pend[i].slot = IOG_NO_SLOT;
		in->free[in->n_free++] = (uint16_t)(cap - 1 - i);
	}
}

static void layout_window(struct iog_worker *w, const struct iog_worker_args *a, struct bump *b)
{
	const struct iog_stage *st = a->stage;
	const uint32_t max = st->window, blocks = st->in[0].max_blocks;
	if (!max)
		return;
	const uint64_t head_size = iog_wire_head_max(iog_stage_schema(st, st->in[0].schema), blocks, IOG_SEGMENTS_MAX);
	struct kept *entry = bump(b, max * sizeof *entry);
	const struct iog_record **held = bump(b, 2 * (uint64_t)max * sizeof *held);
	for (uint32_t i = 0; i < max; i++) {
		struct iog_block *block = bump(b, blocks * sizeof *block);
		uint8_t *head = bump(b, head_size);
		if (!w)
			continue;
		entry[i].block = block, entry[i].head = head;
		held[i] = held[max + i] = &entry[i].rec;
	}
	if (w)
		w->win = (struct window){ .entry = entry, .held = held, .max = max };
}

static void layout_node(struct iog_worker *w, const struct iog_worker_args *a, struct bump *b, uint32_t j)
{
	const struct iog_stage_node *d = &a->stage->node[j];
	uint8_t *scratch = bump(b, d->scratch_bytes);
	struct iog_out *out = bump(b, d->n_out * sizeof *out);
	for (uint32_t o = 0; o < d->n_out; o++) {
		uint8_t *space = d->out_slot[o] < 0 ? bump(b, d->out_max[o]) : NULL;
		struct iog_block *block = bump(b, d->out_blocks * sizeof *block);
		if (!w)
			continue;
		out[o].block = block, out[o].max_blocks = d->out_blocks;
		out[o].size = d->out_max[o], out[o].space = space;
		out[o].rec.schema = iog_stage_schema(a->stage, d->out_schema[o]);
		if (d->out_slot[o] >= 0)
			w->out[d->out_slot[o]].slot_out = &out[o];
	}
	if (!w)
		return;
	struct node *n = &w->node[j];
	n->d = d;
	n->out = out;
	n->conf = (const uint8_t *)a->stage + d->conf;
	n->call = (struct iog_call){ .state = w->state + d->state,
		.scratch = scratch,
		.lib = a->lib[j],
		.n_in = d->n_in,
		.n_out = d->n_out,
		.isa = a->isa,
		.out = out,
		.split = d->split };
}

static struct iog_worker *layout(const struct iog_worker_args *a, struct bump *b)
{
	const struct iog_stage *st = a->stage;
	struct iog_worker *w = bump(b, sizeof *w);
	uint8_t *state = bump(b, st->state_bytes);
	if (w)
		w->state = state;
	for (uint32_t p = 0; p < st->n_in; p++)
		layout_in(w, a, b, p);
	layout_window(w, a, b);
	for (uint32_t q = 0; q < st->n_out; q++) {
		const struct iog_arena *ar = &a->out[q].arena;
		void *mem = bump(b, iog_outlet_memory(ar->n_slots));
		uint16_t *pin = bump(b, (uint64_t)ar->n_slots * st->n_in * 2);
		if (!w)
			continue;
		iog_outlet_init(&w->out[q].o, ar, mem);
		w->out[q].pin = pin;
		memset(pin, 0xff, (size_t)ar->n_slots * st->n_in * 2);
	}
	for (uint32_t j = 0; j < st->n_nodes; j++)
		layout_node(w, a, b, j);
	return w;
}

uint64_t iog_worker_memory(const struct iog_worker_args *a)
{
	if (!stage_valid(a->stage, a->stage_bytes) || !slots_valid(a))
		return 0;
	struct bump b = { NULL, 0 };
	layout(a, &b);
	return b.at;
}

void iog_worker_views(struct iog_worker *w)
{
	for (uint32_t q = 0; q < w->st->n_out; q++) {
		struct port_out *out = &w->out[q];
		const struct iog_arena *ar = &out->o.arena;
		out->view[0] = (struct iog_region){ .base = ar->base, .size = ar->static_bytes, .arena = ar->id };
		out->view_port[0] = IOG_FROM_INPUT;
		out->n_view = 1;
		for (uint32_t p = 0; w->st->out[q].views && p < w->st->n_in; p++)
			for (uint32_t k = 0; k < w->in[p].at.n_regions && out->n_view < 32; k++) {
				out->view[out->n_view] = w->in[p].at.region[k];
				out->view_port[out->n_view++] = (uint8_t)p;
			}
	}
}

/* Goes on from the snapshot that releases had reached when the predecessor died. */
static void restore(struct iog_worker *w)
{
	uint32_t base = atomic_load_explicit(&w->snap->base, memory_order_acquire);
	if (base != 1 && base != 2)
		return;
	memcpy(w->state, iog_snap_buffer(w, (int)base - 1), w->st->state_bytes);
	const uint64_t from = w->snap->name[base - 1].from, open = w->snap->name[base - 1].open;
	w->done = (struct iog_id){ .epoch = w->snap->name[base - 1].epoch, .seq = w->snap->name[base - 1].seq };
	w->any = true;
	w->win.refill_open = open;
	for (uint32_t p = 0; p < w->st->n_in; p++) {
		struct iog_inlet *in = &w->in[p].in;
		in->epoch = w->done.epoch, in->next_seq = from, in->taken = 1;
	}
	for (uint32_t q = 0; q < w->st->n_out; q++)
		iog_outlet_pass(&w->out[q].o, w->done.epoch, open - 1);
}

static bool find_ops(struct iog_worker *w, const struct iog_op *const *ops, struct iog_err *err)
{
	for (uint32_t j = 0; j < w->st->n_nodes; j++) {
		struct node *n = &w->node[j];
		for (const struct iog_op *const *o = ops; *o && !n->op; o++)
			if (iog_streq((*o)->name, n->d->op))
				n->op = *o;
		if (!n->op) {
			iog_fail(err, -1, "stage %.*s: operator \"%.*s\" is not built into this target", IOG_NAME, w->st->name, IOG_NAME,
				n->d->op);
			return false;
		}
		if (n->d->n_in < n->op->in_min || n->d->n_in > n->op->in_max || n->d->n_out != n->op->outs ||
			n->d->conf_bytes < n->op->conf_size) {
			iog_fail(err, -1, "stage %.*s: the image is damaged (inputs, outputs or configuration of operator \"%s\")",
				IOG_NAME, w->st->name, n->op->name);
			return false;
		}
	}
	return true;
}

struct iog_worker *iog_worker_init(const struct iog_worker_args *a, void *memory, struct iog_err *err)
{
	if (!stage_valid(a->stage, a->stage_bytes) || !slots_valid(a)) {
		iog_fail(err, -1, "stage: the image is damaged (%llu bytes)", (unsigned long long)a->stage_bytes);
		return NULL;
	}
	if (a->snapshots && a->snapshots_bytes < iog_snapshots_bytes(a->stage->state_bytes)) {
		iog_fail(err, -1, "stage %.*s: %llu bytes for snapshots, its state needs %llu", IOG_NAME, a->stage->name,
			(unsigned long long)a->snapshots_bytes, (unsigned long long)iog_snapshots_bytes(a->stage->state_bytes));
		return NULL;
	}
	struct bump b = { memory, 0 };
	struct iog_worker *w = layout(a, &b);
	const struct iog_stage *st = w->st = a->stage;
	w->env = a->env;
	w->status = a->status;
	w->pending = -1;
	w->n_poison = IOG_MIN(a->n_poison, (uint32_t)IOG_POISON);
	memcpy(w->poison, a->poison, sizeof w->poison);
	if (!find_ops(w, a->ops ? a->ops : iog_ops, err))
		return NULL;
	w->snap_every = IOG_CREDIT_MAX;
	for (uint32_t p = 0; p < st->n_in; p++) {
		w->in[p].at = a->in[p];
		w->in[p].now = IOG_PEND_NONE;
		iog_schema_payload_max(iog_stage_schema(st, st->in[p].schema), false, &w->in[p].payload_max);
		iog_inlet_init(&w->in[p].in, &a->in[p].edge, a->in[p].n_slots, a->in[p].slot_bytes);
		w->snap_every = IOG_MIN(w->snap_every, IOG_MAX(1u, a->in[p].edge.capacity / 4));
	}
	for (uint32_t q = 0; q < st->n_out; q++) {
		const struct iog_schema *s = iog_stage_schema(st, st->out[q].schema);
		for (uint32_t v = 0; v < s->n_vars; v++)
			w->out[q].n_statics += s->var[v].flags & IOG_VAR_STATIC;
		for (uint32_t k = 0; k < a->out[q].n_edges; k++)
			iog_outlet_add(&w->out[q].o, &a->out[q].edge[k]);
		/* What goes to a safe sink lets inputs go, whoever else looks at the same record; what views an input needs it to the end. */
		for (uint32_t k = 0, safe = 0; st->safe && !st->out[q].views && k < a->out[q].n_edges; k++) {
			safe |= (uint32_t)(a->out[q].edge[k].safe != 0) << k;
			w->out[q].o.hold_mask = safe;
		}
	}
	iog_worker_views(w);
	if (st->safe && st->state_bytes && a->snapshots) {
		w->snap = a->snapshots;
		restore(w);
	}
	atomic_store_explicit(&w->status->state, IOG_W_RUNNING, memory_order_release);
	return w;
}
