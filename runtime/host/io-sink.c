/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The thread of a sink: it gives records from an inlet to its endpoint and releases them when they are stored (safe: durable). With policy "spill" it
 * reads the edge, and the endpoint has another thread; see spill.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "io-private.h"
#include "spill.h"
#include "wait.h"

enum { FLUSH_DEFAULT = 32, SUCCESSORS = 4 };
static const uint64_t IDLE_FLUSH_NS = 100000000;

struct held {
	uint32_t slot, gen, life, epoch;
	uint64_t seq;
};
struct sink {
	struct iog_rt *rt;
	const struct iog_sink *end;
	const struct iog_schema *schema;
	struct iog_inlet in;
	struct iog_worker_in at, next[SUCCESSORS]; /* whose ring is read; those that follow when it is drained */
	uint32_t n_next;
	bool safe, failed, dirty;
	uint32_t life, flush_every, n_held, max_held;
	struct held *held; /* written, not acknowledged; with duplicates of them */
	struct iog_record rec;
	struct iog_block *block;
	uint32_t max_blocks;
	uint8_t *head;
	const uint8_t *last; /* where the record lay that rec, block and head are of; NULL: they are of none */
	uint64_t head_size, last_ns;
	struct iog_spill *spill; /* policy "spill": stores on a thread of its own; NULL: stored here */
	bool stuck;              /* it has no room for what is at the front */
	uint32_t bell;           /* as it was before the last look at what it gave back */
};

static void sink_in(void *ctx, uint32_t port, const struct iog_worker_in *in)
{
	struct sink *s = ctx;
	(void)port;
	if (s->n_next == SUCCESSORS)
		s->n_next--; /* the newest sends again what those in the middle sent */
	s->next[s->n_next++] = *in;
}
static void no_out(void *ctx, uint32_t port, uint32_t edge, const struct iog_edge *e) { (void)ctx, (void)port, (void)edge, (void)e; }

static void sink_fail(struct sink *s, const struct iog_err *err)
{
	s->failed = true; /* the stream goes on for others: what comes here is counted as not stored */
	s->rt->err = *err;
	iog_engine_fail(s->rt->engine, -EIO, s->rt->u->name, err->text);
}

/* Either thread of one that spills. */
static void sink_bad(struct sink *s) { atomic_fetch_add_explicit(&s->rt->bad, 1, memory_order_relaxed); }

static void sink_publish(struct sink *s)
{
	if (iog_inlet_publish(&s->in))
		iog_wake_word(&s->in.e.up->head);
}

/* Makes what was written durable, then acknowledges it. */
static void sink_flush(struct sink *s)
{
	struct iog_err err = { "" };
	if (s->dirty && !s->failed && s->end->flush && s->end->flush(s->rt->self, &err) != IOG_OK)
		sink_fail(s, &err);
	s->dirty = false;
	for (uint32_t i = 0; i < s->n_held; i++)
		if (s->held[i].life == s->life)
			iog_inlet_release(&s->in, s->held[i].slot, s->held[i].gen);
	s->n_held = 0;
	sink_publish(s);
}

static void sink_hold(struct sink *s, const struct iog_desc *d)
{
	s->held[s->n_held++] = (struct held){ .slot = d->slot, .gen = d->gen, .life = s->life, .epoch = d->epoch, .seq = d->seq };
}

/* Gives a record to the endpoint. */
static void sink_write(struct sink *s, const struct iog_record *r, uint64_t bytes)
{
	struct iog_rt *rt = s->rt;
	struct iog_err err = { "" };
	if (s->failed) {
		COUNT(rt->failed, 1);
		return;
	}
	const enum iog_step step = s->end->write(rt->self, r, &err);
	if (step == IOG_OK) {
		COUNT(rt->records, 1);
		COUNT(rt->bytes, bytes);
		COUNT(rt->late[iog_late_bucket(iog_now_ns() - r->born_ns)], 1); /* ~50 ns, most of it the clock */
		s->dirty = true;
		return;
	}
	COUNT(rt->failed, 1);
	if (step == IOG_FATAL)
		sink_fail(s, &err);
	else if (!rt->err.text[0])
		rt->err = err;
}

static void sink_store(struct sink *s, const struct iog_desc *d)
{
	struct iog_err err = { "" };
	const struct iog_region *r = &s->at.region[0];
	const uint8_t *at = r->base + (r->size - (uint64_t)s->at.n_slots * s->at.slot_bytes) + (uint64_t)d->slot * s->at.slot_bytes;
	if (iog_wire_open_next(&s->rec, &s->last, at, d->length, s->schema, s->at.region, s->at.n_regions, s->block, s->max_blocks, s->head,
		    s->head_size, &err) ||
		s->rec.id.seq != d->seq || s->rec.id.epoch != d->epoch) {
		sink_bad(s);
	} else {
		sink_write(s, &s->rec, d->length);
	}
	if (s->safe)
		sink_hold(s, d);
	else
		iog_inlet_release(&s->in, d->slot, d->gen);
}

/* A record that was stored before. While the first copy is not acknowledged, neither is this one. */
static void sink_duplicate(struct sink *s, const struct iog_desc *d)
{
	COUNT(s->rt->duplicates, 1);
	for (uint32_t i = 0; s->safe && i < s->n_held; i++)
		if (s->held[i].epoch == d->epoch && s->held[i].seq == d->seq) {
			sink_hold(s, d);
			return;
		}
	iog_inlet_release(&s->in, d->slot, d->gen);
}

/* ---- policy "spill": the endpoint has a thread of its own, and this one reads the edge ---- */

static void spill_store(void *ctx, const struct iog_record *r, uint64_t bytes) { sink_write(ctx, r, bytes); }

static void spill_lost(void *ctx, const struct iog_err *err)
{
	struct sink *s = ctx;
	if (err)
		sink_fail(s, err);
	else
		sink_bad(s);
}

static int spill_open(struct sink *s, const struct iog_gnode *n)
{
	static const uint64_t BYTES_DEFAULT = 1ull << 30;
	const struct iog_spill_opts o = { .dir = n->opt.spill_dir,
		.bytes = n->opt.spill_bytes ? n->opt.spill_bytes : BYTES_DEFAULT,
		.slots = s->rt->credit / 2,
		.schema = s->schema,
		.max_blocks = s->max_blocks,
		.store = spill_store,
		.lost = spill_lost,
		.ctx = s };
	return n->opt.spill ? iog_spill_new(&s->spill, &o, &s->rt->err) : 0;
}

static void spill_give_back(struct sink *s)
{
	uint32_t slot, gen, life;
	s->bell = atomic_load(iog_spill_bell(s->spill));
	while (iog_spill_done(s->spill, &slot, &gen, &life))
		if (life == s->life)
			iog_inlet_release(&s->in, slot, gen);
	sink_publish(s);
}

/* The record at the front, which is d. False: it stays there. */
static bool spill_take(struct sink *s, const struct iog_desc *d)
{
	const enum iog_spilled how = iog_spill_put(s->spill, &s->at, d, s->life);
	s->stuck = how == IOG_SPILL_FULL;
	if (s->stuck)
		return false;
	if (how == IOG_SPILL_BAD)
		sink_bad(s);
	else if (how == IOG_SPILL_LOST)
		COUNT(s->rt->failed, 1); /* the other thread stores nothing any more */
	iog_inlet_take(&s->in);
	if (how != IOG_SPILL_HELD)
		iog_inlet_release(&s->in, d->slot, d->gen);
	return true;
}

/* Nothing more comes: what is behind is stored, or given up when the run is stopped. */
static void spill_close(struct sink *s)
{
	struct iog_rt *rt = s->rt;
	struct iog_spill_stats x;
	struct iog_err err;
	const uint64_t left = iog_spill_end(s->spill, &rt->cmd.stop, &x, &rt->helper_cpu_ns);
	if (left) {
		COUNT(rt->failed, left);
		iog_fail(&err, -ECANCELED, "%llu records that were behind were given up", (unsigned long long)left);
		if (!s->failed)
			sink_fail(s, &err);
	}
	if (x.records)
		iog_format(rt->end_note, sizeof rt->end_note, "%llu records went through a file of at most %llu KiB%s%s",
			(unsigned long long)x.records, (unsigned long long)(x.most >> 10), x.full ? ", and others had to wait: " : "",
			x.full ? x.why : "");
	spill_give_back(s);
	iog_spill_free(s->spill);
	s->spill = NULL;
}

/* Works on what is there; how much. *ended: nothing more will come. */
static uint32_t sink_turn(struct sink *s, bool *ended)
{
	uint32_t n = 0;
	if (s->spill)
		spill_give_back(s);
	for (; n < 32; n++) {
		enum iog_edge_state state = iog_inlet_state(&s->in);
		enum iog_front f = iog_inlet_peek(&s->in);
		if (f == IOG_FRONT_NONE) {
			if (s->n_next && !iog_inlet_full(&s->in)) {
				struct iog_inlet old = s->in;
				s->at = s->next[0];
				memmove(&s->next[0], &s->next[1], --s->n_next * sizeof s->next[0]);
				s->life++;
				s->last = NULL;
				iog_inlet_init(&s->in, &s->at.edge, s->at.n_slots, s->at.slot_bytes);
				s->in.epoch = old.epoch, s->in.next_seq = old.next_seq, s->in.taken = old.taken;
				continue;
			}
			*ended = state != IOG_EDGE_OPEN && !s->n_next;
			break;
		}
		struct iog_desc d = s->in.front;
		if (s->spill && f == IOG_FRONT_RECORD) {
			if (!spill_take(s, &d))
				break;
			sink_publish(s);
			continue;
		}
		iog_inlet_take(&s->in);
		if (f == IOG_FRONT_RECORD)
			sink_store(s, &d);
		else if (f == IOG_FRONT_DUPLICATE)
			sink_duplicate(s, &d);
		else
			sink_bad(s);
		if (s->safe && s->n_held >= s->flush_every)
			sink_flush(s);
		sink_publish(s); /* a write may have taken long */
		if (atomic_load_explicit(&s->rt->cmd.stop, memory_order_relaxed))
			break;
	}
	return n;
}

static void sink_rest(struct sink *s)
{
	uint64_t now = iog_now_ns();
	if (now - s->last_ns < SPIN_NS) {
		__builtin_ia32_pause();
		return;
	}
	if (s->n_held && now - s->last_ns > IDLE_FLUSH_NS)
		sink_flush(s);
	atomic_store(&s->in.e.up->sleeping, 1);
	struct iog_waitword w[2] = { { &s->in.e.down->head, atomic_load(&s->in.e.down->head) } };
	uint32_t n = 1;
	if (s->spill) {
		iog_spill_sleeps(s->spill, true);
		w[n++] = (struct iog_waitword){ iog_spill_bell(s->spill), s->bell };
	}
	if (s->stuck || (iog_inlet_peek(&s->in) == IOG_FRONT_NONE && iog_inlet_state(&s->in) == IOG_EDGE_OPEN)) {
		COUNT(s->rt->sleeps, 1);
		iog_wait_words(w, n, LIMIT_NS);
	}
	if (s->spill)
		iog_spill_sleeps(s->spill, false);
	atomic_store(&s->in.e.up->sleeping, 0);
}

static void sink_loop(struct sink *s)
{
	bool ended = false;
	s->last_ns = iog_now_ns();
	while (!ended && iog_commands_run(s->rt, s, sink_in, no_out)) {
		if (sink_turn(s, &ended))
			s->last_ns = iog_now_ns();
		else if (!ended)
			sink_rest(s);
	}
	if (s->spill)
		spill_close(s);
	sink_flush(s);
}

static bool sink_open(struct sink *s, const struct iog_gnode *n)
{
	struct iog_rt *rt = s->rt;
	if (s->end->open(n->conf, s->schema, &rt->self, &rt->err))
		return false;
	struct iog_id last;
	bool any = false;
	if (s->safe && s->end->recover && s->end->recover(rt->self, &last, &any, &rt->err)) {
		s->end->close(rt->self, NULL);
		return false;
	}
	if (any)
		s->in.epoch = last.epoch, s->in.next_seq = last.seq + 1, s->in.taken = 1;
	uint32_t every = s->end->flush_every ? s->end->flush_every(n->conf) : 0;
	/* Held records are credit, here and all the way up: half of the least at most, or the stream would stand still. */
	s->flush_every = IOG_MIN(every ? every : FLUSH_DEFAULT, IOG_MAX(1u, rt->credit / 2));
	if (spill_open(s, n)) {
		s->end->close(rt->self, NULL);
		return false;
	}
	return true;
}

void *iog_sink_thread(void *arg)
{
	struct iog_rt *rt = arg;
	struct iog_engine *e = rt->engine;
	struct iog_gnode *nodes;
	iog_graph_nodes(e->g, &nodes);
	const struct iog_gnode *n = &nodes[rt->u->node[0]], *from = &nodes[n->in[0].node];
	struct sink s = { .rt = rt, .end = n->end.what, .schema = &from->out[n->in[0].port], .safe = n->opt.safe };
	for (uint32_t k = 0; k < e->cut->n_edges; k++)
		if (&e->rt[e->cut->edge[k].to] == rt)
			iog_engine_input(e, k, &s.at);
	iog_inlet_init(&s.in, &s.at.edge, s.at.n_slots, s.at.slot_bytes);
	s.max_blocks = from->blocks[n->in[0].port];
	s.head_size = iog_wire_head_max(s.schema, s.max_blocks, IOG_SEGMENTS_MAX);
	s.max_held = 2 * s.at.edge.capacity + 4;
	s.block = calloc(s.max_blocks, sizeof *s.block);
	s.held = calloc(s.max_held, sizeof *s.held);
	s.head = malloc(s.head_size);
	if (!s.block || !s.held || !s.head) {
		iog_fail(&rt->err, -ENOMEM, "out of memory");
		s.failed = true;
	} else if (sink_open(&s, n)) {
		iog_io_phase(rt, IOG_PHASE_OPEN);
		sink_loop(&s);
		struct iog_err err = { "" };
		if (s.end->close(rt->self, &err) && !s.failed)
			sink_fail(&s, &err);
	} else {
		s.failed = true;
	}
	free(s.block);
	free(s.held);
	free(s.head);
	iog_io_phase(rt, s.failed ? IOG_PHASE_FAILED : IOG_PHASE_DONE);
	return NULL;
}
