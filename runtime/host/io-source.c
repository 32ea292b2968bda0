/* SPDX-License-Identifier: BSD-3-Clause */
/* The thread of a source: it turns what its endpoint gives into records on an outlet, and gives back to it what is stored. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "consumer.h"
#include "io-private.h"
#include "wait.h"

enum { BLOCKS_SPARE = 64 };

struct source {
	struct iog_rt *rt;
	const struct iog_source *end;
	const struct iog_schema *schema;
	struct iog_outlet o;
	struct iog_out out;
	uint64_t head_max;
	int64_t last_step;
	uint32_t epoch, seen_epoch; /* ours; the endpoint's last */
	bool any, statics;
	uint64_t sent;
	struct iog_region view;
	/* What was given out and is not stored yet, oldest first; by slot, what is stored but for older ones. Only when rt->keeps. */
	uint32_t *order, first, n_order, max_order;
	bool *stored;
};

static void no_in(void *ctx, uint32_t port, const struct iog_worker_in *in) { (void)ctx, (void)port, (void)in; }

static void source_out(void *ctx, uint32_t port, uint32_t edge, const struct iog_edge *e)
{
	struct source *s = ctx;
	(void)port;
	iog_outlet_replace(&s->o, edge, e);
	iog_consumers_wake(&s->o, iog_outlet_publish(&s->o)); /* what was sent again, though nothing new may come for a while */
}

/* The endpoint made a record that is in this slot, or, IOG_NO_SLOT, in none. */
static void source_gave(struct source *s, uint32_t slot)
{
	if (s->order)
		s->order[(s->first + s->n_order++) % s->max_order] = slot;
}

static void source_reap(struct source *s)
{
	uint32_t freed[64], n, stored = 0;
	while ((n = iog_outlet_reap(&s->o, freed, IOG_COUNT(freed))))
		for (uint32_t i = 0; s->order && i < n; i++)
			s->stored[freed[i]] = true;
	for (; s->n_order; s->n_order--, s->first = (s->first + 1) % s->max_order, stored++) {
		const uint32_t slot = s->order[s->first];
		if (slot != IOG_NO_SLOT && !s->stored[slot])
			break;
		if (slot != IOG_NO_SLOT)
			s->stored[slot] = false;
	}
	if (stored)
		s->end->release(s->rt->self, stored);
}

/* There is room for a record, and for its place in the order. */
static bool source_ready(struct source *s) { return iog_outlet_ready(&s->o) && (!s->order || s->n_order < s->max_order); }

/* Waits for releases, at most LIMIT_NS. */
static void outlet_wait(struct source *s)
{
	struct iog_rt *rt = s->rt;
	struct iog_outlet *o = &s->o;
	uint64_t t0 = iog_now_ns();
	while (iog_now_ns() - t0 < SPIN_NS) {
		source_reap(s);
		if (source_ready(s))
			return;
		__builtin_ia32_pause();
	}
	struct iog_waitword w[IOG_FANOUT];
	uint32_t n = 0;
	for (uint32_t k = 0; k < o->n_edges; k++)
		if (o->edge[k].used) {
			atomic_store(&o->edge[k].e.down->sleeping, 1);
			w[n++] = (struct iog_waitword){ &o->edge[k].e.up->head, o->edge[k].reaped };
		}
	source_reap(s);
	atomic_store_explicit(&rt->forged, iog_outlet_forged(o), memory_order_relaxed);
	if (!source_ready(s)) {
		COUNT(rt->sleeps, 1);
		iog_wait_words(w, n, LIMIT_NS);
	}
	for (uint32_t k = 0; k < o->n_edges; k++)
		if (o->edge[k].used)
			atomic_store(&o->edge[k].e.down->sleeping, 0);
	source_reap(s);
}

static bool source_goes_on(struct source *s)
{
	return iog_commands_run(s->rt, s, no_in, source_out) && !atomic_load_explicit(&s->rt->cmd.drain, memory_order_relaxed);
}

/* Identity: steps rise within an epoch; a step that does not, or a restarted peer, opens the next one. */
static void identify(struct source *s, struct iog_record *r)
{
	if (s->order) /* the same whoever makes the record, before a death of this process and after it */
		s->epoch = r->id.epoch;
	bool restarted = s->any && r->id.epoch != s->seen_epoch;
	s->seen_epoch = r->id.epoch;
	if (!s->order && (!s->any || restarted || r->step <= s->last_step))
		s->epoch++;
	s->any = true;
	s->last_step = r->step;
	r->id = (struct iog_id){ .stream = s->schema->id, .seq = iog_seq_of_step(r->step), .epoch = s->epoch };
	r->writers = 1;
	r->born_ns = iog_now_ns();
}

/* The version of the live parameters this record is computed with. Announced first, then read again: who replaces an old version either
 * sees the announcement or has already made the new version visible to the second look (both sequentially consistent). */
static void stamp(struct iog_rt *rt, struct iog_record *r)
{
	do {
		r->param_version = atomic_load(&rt->engine->param_version);
		atomic_store(&rt->stamping, 1 + (uint64_t)r->param_version);
	} while (atomic_load(&rt->engine->param_version) != r->param_version);
}

/* Puts the record the endpoint made into its slot and sends it. False: the thread was told to end while it waited. */
static bool source_send(struct source *s, uint32_t slot)
{
	struct iog_record *r = &s->out.rec;
	struct iog_rt *rt = s->rt;
	/* An endpoint may have a copy of its own. */
	if (r->step == INT64_MAX || r->schema->id != s->schema->id) {
		COUNT(rt->bad, 1);
		iog_outlet_put_back(&s->o, slot);
		source_gave(s, IOG_NO_SLOT);
		return true;
	}
	r->schema = s->schema;
	identify(s, r);
	while (s->statics && iog_outlet_static(&s->o, r) == -EAGAIN) {
		iog_consumers_wake(&s->o, iog_outlet_publish(&s->o));
		source_reap(s);
		iog_wait_words(NULL, 0, 1000000); /* once per epoch, while the one before the last is still looked at */
		/* Draining is no reason: this record was taken, and nobody else has it. */
		if (!iog_commands_run(rt, s, no_in, source_out)) {
			iog_outlet_put_back(&s->o, slot);
			return false;
		}
	}
	stamp(rt, r);
	uint32_t viewed;
	int64_t len =
		iog_wire_put(iog_arena_slot(&s->o.arena, slot), s->o.arena.slot_bytes, s->head_max, s->out.used, r, &s->view, 1, &viewed);
	if (len < 0) {
		COUNT(rt->bad, 1);
		iog_outlet_put_back(&s->o, slot);
		source_gave(s, IOG_NO_SLOT);
	} else {
		source_gave(s, iog_outlet_push(&s->o, slot, r, (uint64_t)len) ? slot : IOG_NO_SLOT);
		iog_consumers_wake(&s->o, iog_outlet_publish(&s->o));
	}
	atomic_store_explicit(&rt->stamping, 0, memory_order_release); /* in a ring now, where it is seen */
	if (len < 0)
		return true;
	COUNT(rt->records, 1);
	COUNT(rt->bytes, (uint64_t)len);
	atomic_store_explicit(&rt->dropped, iog_outlet_dropped(&s->o), memory_order_relaxed);
	s->sent++;
	return true;
}

static void source_loop(struct source *s)
{
	struct iog_rt *rt = s->rt;
	uint64_t steps = rt->engine->o.steps;
	while (source_goes_on(s) && (!steps || s->sent < steps)) {
		source_reap(s);
		if (!source_ready(s)) {
			outlet_wait(s);
			continue;
		}
		uint32_t slot = iog_outlet_take(&s->o);
		struct iog_record *r = &s->out.rec;
		uint32_t epoch = s->seen_epoch;
		memset(r, 0, offsetof(struct iog_record, var));
		memset(r->var, 0, s->schema->n_vars * sizeof r->var[0]);
		r->schema = s->schema;
		r->id.epoch = epoch;
		s->out.space = iog_arena_slot(&s->o.arena, slot) + s->head_max;
		s->out.used = 0;
		s->out.n_blocks = 0;
		struct iog_err err = { "" };
		enum iog_step step = s->end->next(rt->self, &s->out, LIMIT_NS, &err);
		if (step == IOG_OK) {
			if (!source_send(s, slot))
				return;
			continue;
		}
		iog_outlet_put_back(&s->o, slot);
		if (step == IOG_FATAL) {
			rt->err = err;
			return;
		}
		if (step != IOG_HOLD)
			COUNT(rt->bad, 1);
	}
}

static int source_open(struct source *s, const struct iog_gnode *n)
{
	void *self = NULL;
	int rc = s->end->open(n->conf, s->schema, &self, &s->rt->err);
	s->rt->keeps = !rc && s->rt->keeps && s->end->keep(self);
	pthread_mutex_lock(&s->rt->self_lock);
	s->rt->self = rc ? NULL : self;
	pthread_mutex_unlock(&s->rt->self_lock);
	return rc;
}

/* Room for the order of what is given out, when it is kept: with an edge to each consumer, of which the safe ones decide. */
static bool source_order(struct source *s)
{
	const uint32_t slots = s->o.arena.n_slots;
	uint64_t safe = 0;
	for (uint32_t k = 0; k < s->o.n_edges; k++)
		safe |= (uint64_t)(s->o.edge[k].e.safe != 0) << k;
	if (!s->rt->keeps || !safe)
		return true;
	s->max_order = s->rt->credit; /* as many as it says it can keep, those without a slot among them */
	s->order = calloc(s->max_order, sizeof *s->order);
	s->stored = calloc(slots, sizeof *s->stored);
	s->o.hold_mask = safe;
	return (s->order && s->stored) || iog_fail(&s->rt->err, -ENOMEM, "out of memory") == 0;
}

static void source_close(struct source *s)
{
	void *self = s->rt->self;
	pthread_mutex_lock(&s->rt->self_lock);
	s->rt->self = NULL;
	pthread_mutex_unlock(&s->rt->self_lock);
	s->end->close(self);
}

void *iog_source_thread(void *arg)
{
	struct iog_rt *rt = arg;
	const struct iog_gnode *n;
	{
		struct iog_gnode *nodes;
		iog_graph_nodes(rt->engine->g, &nodes);
		n = &nodes[rt->u->node[0]];
	}
	struct source s = { .rt = rt, .end = n->end.what, .schema = &n->out[0], .head_max = rt->u->head_max[0] };
	const struct iog_arena *a = &rt->arena[0].a;
	void *memory = calloc(1, iog_outlet_memory(a->n_slots));
	uint32_t max_blocks = n->blocks[0] + BLOCKS_SPARE;
	struct iog_block *blocks = calloc(max_blocks, sizeof *blocks);
	if (!memory || !blocks) {
		iog_fail(&rt->err, -ENOMEM, "out of memory");
	} else if (!source_open(&s, n)) {
		iog_outlet_init(&s.o, a, memory);
		for (uint32_t k = 0; k < rt->n_first; k++)
			iog_outlet_add(&s.o, &rt->first[k]);
		const bool ready = source_order(&s);
		s.out.block = blocks, s.out.max_blocks = max_blocks;
		s.out.size = a->slot_bytes - s.head_max;
		s.view = (struct iog_region){ .base = a->base, .size = a->static_bytes, .arena = a->id };
		for (uint32_t v = 0; v < s.schema->n_vars; v++)
			s.statics |= s.schema->var[v].flags & IOG_VAR_STATIC;
		iog_io_phase(rt, IOG_PHASE_OPEN);
		if (ready)
			source_loop(&s);
		iog_consumers_wake(&s.o, iog_outlet_close(&s.o, rt->err.text[0] ? IOG_EDGE_FAILED : IOG_EDGE_CLOSED));
		if (!s.order)
			source_close(&s);
		/* What is on its way needs this outlet: a successor stage may ask for it again. */
		while (iog_outlet_busy(&s.o) && iog_commands_run(rt, &s, no_in, source_out)) {
			uint32_t before = iog_outlet_busy(&s.o);
			source_reap(&s);
			iog_consumers_wake(&s.o, iog_outlet_close(&s.o, rt->err.text[0] ? IOG_EDGE_FAILED : IOG_EDGE_CLOSED));
			if (iog_outlet_busy(&s.o) == before)
				iog_wait_words(NULL, 0, 1000000);
		}
		if (s.order) {
			source_reap(&s); /* a stop may come right behind the last release */
			source_close(&s);
		}
	} else {
		iog_outlet_init(&s.o, a, memory);
		for (uint32_t k = 0; k < rt->n_first; k++)
			iog_outlet_add(&s.o, &rt->first[k]);
		iog_consumers_wake(&s.o, iog_outlet_close(&s.o, IOG_EDGE_FAILED));
	}
	free(s.order);
	free(s.stored);
	atomic_store_explicit(&rt->dropped, iog_outlet_dropped(&s.o), memory_order_relaxed);
	free(memory);
	free(blocks);
	iog_io_phase(rt, rt->err.text[0] ? IOG_PHASE_FAILED : IOG_PHASE_DONE);
	return NULL;
}
