/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Complete steps from several writers; see collect.h. It is the pairing of core/worker.c for any number of inlets and without operators: the
 * smallest (epoch, seq) that no writer without a record can still undercut is complete.
 */
#include "collect.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wait.h"

struct key {
	uint32_t epoch;
	uint64_t seq;
};
static const struct key KEY_END = { UINT32_MAX, UINT64_MAX };
static bool less(struct key a, struct key b) { return a.epoch != b.epoch ? a.epoch < b.epoch : a.seq < b.seq; }

/* RINGS: of one writer; a reader holds records of two beside the one that is read, a graph may keep some of more. */
enum { SUCCESSORS = 4, RINGS = 8 };

struct ring {
	struct iog_inlet in;
	struct iog_worker_in at;
	uint32_t out; /* taken, and not given back */
};
/* A writer, and the rings it is read from: the one that is read, and those before of which something is held. */
struct writer {
	struct ring ring[RINGS];
	struct iog_worker_in next[SUCCESSORS];
	uint32_t now;  /* the one that is read */
	uint32_t life; /* how many rings were read */
	uint32_t n_next;
	bool attached;
	bool gone;  /* nobody adds to its ring any more */
	bool over;  /* and nobody will to the last of those that come next */
	bool ended; /* and it is empty */
	uint32_t seen_head;
	uint32_t next_slot; /* where the next record probably lies */
	struct key low;     /* of its front, or the smallest that may still come */
	struct key last;    /* ended: what it did not send before this it had dropped */
	bool front;
};
/* A record that is to be given back. */
struct loan {
	uint32_t slot, gen, ring;
	bool held;
};
/* What one writer contributed to a step. */
struct part {
	struct iog_record *rec; /* with one writer these are the step's */
	struct iog_block *block;
	uint8_t *head;
	struct loan loan;
	bool good;
	/* Where the record lay that rec, block and head are of, and in which ring of its writer; NULL: they are of none. */
	const uint8_t *last;
	uint32_t life;
};
struct step {
	struct iog_record rec; /* first: a step is found by it */
	struct iog_block *block;
	struct part *part;
	bool used;
};
struct iog_collect {
	const struct iog_schema *schema;
	uint32_t n_writers, blocks;
	uint64_t head_size;
	enum iog_pairing how;
	bool started, resumed;
	uint32_t epoch; /* not paired: of the last step, and how many of it there were */
	int64_t next_step;
	struct writer *writer;
	struct step step[IOG_COLLECT_HELD];
	struct loan *kept; /* IOG_COLLECT_KEPT steps of n_writers, a ring: oldest first; NULL: none are kept */
	uint32_t first_kept, n_kept;
	struct iog_collect_stats stats;
};
static inline struct iog_inlet *ring(struct writer *w) { return &w->ring[w->now].in; }

static void step_free(struct step *s, uint32_t n)
{
	for (uint32_t w = 0; s->part && w < n; w++) {
		if (n > 1) {
			free(s->part[w].rec);
			free(s->part[w].block);
		}
		free(s->part[w].head);
	}
	free(s->part);
	free(s->block);
}

void iog_collect_free(struct iog_collect *c)
{
	if (!c)
		return;
	for (uint32_t i = 0; i < IOG_COLLECT_HELD; i++)
		step_free(&c->step[i], c->n_writers);
	free(c->kept);
	free(c->writer);
	free(c);
}

static bool step_make(const struct iog_collect *c, struct step *s)
{
	s->part = calloc(c->n_writers, sizeof *s->part);
	s->block = calloc((size_t)c->n_writers * c->blocks, sizeof *s->block);
	for (uint32_t w = 0; s->part && w < c->n_writers; w++) {
		struct part *p = &s->part[w];
		p->rec = c->n_writers > 1 ? calloc(1, sizeof *p->rec) : &s->rec;
		p->block = c->n_writers > 1 ? calloc(c->blocks, sizeof *p->block) : s->block;
		p->head = aligned_alloc(IOG_ALIGN, IOG_ROUND_UP(c->head_size, IOG_ALIGN));
		if (!p->rec || !p->block || !p->head)
			return false;
	}
	return s->part && s->block;
}

struct iog_collect *iog_collect_new(const struct iog_schema *schema, uint32_t n_writers, uint32_t blocks, enum iog_pairing how)
{
	struct iog_collect *c = calloc(1, sizeof *c);
	if (!c || !n_writers || n_writers > IOG_WRITERS || !blocks || blocks > IOG_BLOCKS_MAX) {
		free(c);
		return NULL;
	}
	c->schema = schema, c->n_writers = n_writers, c->blocks = blocks, c->how = how;
	c->head_size = iog_wire_head_max(schema, blocks, IOG_SEGMENTS_MAX);
	c->writer = calloc(n_writers, sizeof *c->writer);
	bool ok = c->writer;
	for (uint32_t i = 0; ok && i < IOG_COLLECT_HELD; i++)
		ok = step_make(c, &c->step[i]);
	if (!ok) {
		iog_collect_free(c);
		return NULL;
	}
	return c;
}

/* ---- writers ---- */

static void read_ring(struct writer *w, uint32_t at, const struct iog_worker_in *in)
{
	const struct iog_inlet old = *ring(w);
	w->now = at;
	w->life++;
	w->ring[at].at = *in;
	iog_inlet_init(ring(w), &in->edge, in->n_slots, in->slot_bytes);
	/* What was seen of the writer's former life is not taken again. */
	ring(w)->epoch = old.epoch, ring(w)->next_seq = old.next_seq, ring(w)->taken = old.taken;
	w->attached = true;
	w->ended = false;
}

/* The next ring can be read: there is place for it beside those of which something is held. */
static bool successor(struct writer *w)
{
	uint32_t at = 0;
	while (at < RINGS && (w->ring[at].out || (w->attached && at == w->now)))
		at++;
	if (!w->n_next || at == RINGS)
		return false;
	const struct iog_worker_in in = w->next[0];
	memmove(&w->next[0], &w->next[1], --w->n_next * sizeof w->next[0]);
	read_ring(w, at, &in);
	w->gone = w->n_next || w->over;
	return true;
}

int iog_collect_attach(struct iog_collect *c, uint32_t w, const struct iog_worker_in *in, bool resumed, struct iog_err *err)
{
	if (w >= c->n_writers)
		return iog_fail(err, -EINVAL, "writer %u of %u", w, c->n_writers);
	const uint64_t need = (uint64_t)in->n_slots * in->slot_bytes;
	if (!in->n_regions || !in->n_slots || in->region[0].size < need || (in->slot_bytes && need / in->slot_bytes != in->n_slots))
		return iog_fail(err, -EINVAL, "the memory of writer %u does not have the slots it says", w);
	struct writer *x = &c->writer[w];
	if (x->n_next == SUCCESSORS)
		return iog_fail(err, -EBUSY, "writer %u came again %d times, and what it sent first is not read yet", w, SUCCESSORS);
	x->next[x->n_next++] = *in;
	x->over = false;
	if (!x->attached)
		successor(x);
	else
		x->gone = true;
	c->resumed |= resumed;
	return 0;
}

bool iog_collect_ended(struct iog_collect *c, uint32_t w)
{
	struct writer *x = w < c->n_writers ? &c->writer[w] : NULL;
	if (!x || x->over)
		return false;
	x->gone = x->over = true;
	if (!x->attached)
		x->ended = true;
	return true;
}

bool iog_collect_reads(const struct iog_collect *c, uint32_t w, const struct iog_down *down)
{
	const struct writer *x = &c->writer[w];
	bool reads = x->attached && x->ring[x->now].at.edge.down == down;
	for (uint32_t i = 0; i < RINGS; i++)
		reads |= x->ring[i].out && x->ring[i].at.edge.down == down;
	for (uint32_t i = 0; i < x->n_next; i++)
		reads |= x->next[i].edge.down == down;
	return reads;
}

static void publish(struct iog_inlet *in)
{
	if (iog_inlet_publish(in))
		iog_wake_word(&in->e.up->head);
}

static void give_back(struct writer *w, struct loan *l)
{
	if (!l->held)
		return;
	l->held = false;
	struct ring *r = &w->ring[l->ring];
	iog_inlet_release(&r->in, l->slot, l->gen);
	r->out--;
	if (l->ring == w->now)
		w->next_slot = l->slot; /* a writer takes the slot that came back last */
	publish(&r->in);
}

/*
 * Asks for the first lines of a slot before somebody has to wait for them. Each line comes from the writer's core: head of the ring, descriptor and
 * head of the record one after the other are three such ways, with this two, or, when more is in the ring already, none.
 */
enum { LINE = 64, HEAD_LINES = 4, MORE_LINES = 16 /* and where its payload begins */ };
static inline void expect(const struct writer *w, uint32_t slot, unsigned lines)
{
	const struct iog_worker_in *in = &w->ring[w->now].at;
	const struct iog_region *r = &in->region[0];
	if (slot >= in->n_slots)
		return;
	const uint8_t *at = r->base + (r->size - (uint64_t)(in->n_slots - slot) * in->slot_bytes);
	for (unsigned i = 0; i < lines; i++)
		__builtin_prefetch(at + i * LINE);
}

/* Skips what is at the front of w: dropped, and released at once. */
static void skip(struct writer *w)
{
	const uint32_t slot = ring(w)->front.slot, gen = ring(w)->front.gen;
	iog_inlet_take(ring(w));
	iog_inlet_release(ring(w), slot, gen);
	publish(ring(w));
	w->front = false;
}

/* Brings w to a new record, or to none with what may still come. */
static void look(struct iog_collect *c, struct writer *w)
{
	if (w->front)
		return;
	if (!w->attached) {
		w->low = w->ended ? KEY_END : (struct key){ 0, 0 };
		return;
	}
	for (uint32_t i = 0; i < 2 * ring(w)->e.capacity + 2; i++) {
		bool closed = false;
		if (ring(w)->seen == ring(w)->tail) { /* else more is known to be there, and the writer's line stays with the writer */
			/* State and passed before the ring: what they say then covers an empty ring. */
			closed = iog_inlet_state(ring(w)) != IOG_EDGE_OPEN || w->gone;
			iog_inlet_passed(ring(w), &w->low.epoch, &w->low.seq);
			w->seen_head = atomic_load_explicit(&ring(w)->e.down->head, memory_order_relaxed);
			if (w->seen_head != ring(w)->seen)
				expect(w, w->next_slot, HEAD_LINES);
		}
		switch (iog_inlet_peek(ring(w))) {
		case IOG_FRONT_RECORD:
			w->low = (struct key){ ring(w)->front.epoch, ring(w)->front.seq };
			w->front = true;
			return;
		case IOG_FRONT_DUPLICATE: skip(w); continue;
		case IOG_FRONT_FORGED:
			c->stats.forged++;
			iog_inlet_take(ring(w));
			continue;
		case IOG_FRONT_NONE: break;
		}
		if (closed && w->n_next) {
			if (successor(w))
				continue;
			return;
		}
		if (closed && !iog_inlet_full(ring(w))) {
			w->ended = true;
			w->last = w->low;
			w->low = KEY_END;
		}
		return;
	}
	w->low = (struct key){ 0, 0 }; /* one that floods us with what must be skipped gets its turns, not ours */
}

/* ---- steps ---- */

static void take(struct iog_collect *c, struct step *s, uint32_t i)
{
	struct writer *w = &c->writer[i];
	struct part *p = &s->part[i];
	const struct iog_desc d = ring(w)->front;
	iog_inlet_take(ring(w));
	w->front = false;
	p->loan = (struct loan){ .held = true, .slot = d.slot, .gen = d.gen, .ring = w->now };
	if (ring(w)->seen != ring(w)->tail && ring(w)->e.box == NULL) /* more is there already */
		expect(w, ring(w)->e.down->ring[ring(w)->tail & (ring(w)->e.capacity - 1)].slot, MORE_LINES);
	const struct iog_worker_in *in = &w->ring[w->now].at;
	w->ring[w->now].out++;
	const struct iog_region *r = &in->region[0];
	const uint8_t *at = r->base + (r->size - (uint64_t)in->n_slots * in->slot_bytes) + (uint64_t)d.slot * in->slot_bytes;
	if (p->life != w->life)
		p->last = NULL, p->life = w->life;
	p->good = !iog_wire_open_next(p->rec, &p->last, at, d.length, c->schema, in->region, in->n_regions, p->block, c->blocks, p->head,
			  c->head_size, NULL) &&
		  p->rec->id.seq == d.seq && p->rec->id.epoch == d.epoch;
	c->stats.records++;
	c->stats.bytes += d.length;
	c->stats.bad += !p->good;
}

/* The record of the whole: the head of the first writer, the blocks of all. False: nobody's record was good. */
static bool merge(struct iog_collect *c, struct step *s)
{
	const struct part *first = NULL;
	uint32_t n = 0;
	for (uint32_t i = 0; i < c->n_writers && !first; i++)
		if (s->part[i].loan.held && s->part[i].good)
			first = &s->part[i];
	if (!first)
		return false;
	/* Of how many: one that was put together before still is of several. */
	const uint32_t writers = c->how == IOG_PAIR_NONE ? 1 : IOG_MAX(c->n_writers, first->rec->writers);
	if (c->n_writers > 1)
		iog_record_head(&s->rec, first->rec, c->schema->n_dims);
	s->rec.writers = writers;
	s->rec.id.writer = 0;
	if (c->n_writers == 1)
		return true;
	s->rec.schema = c->schema;
	for (uint32_t v = 0; v < c->schema->n_vars; v++) {
		struct iog_block *at = &s->block[n];
		for (uint32_t i = 0; i < c->n_writers; i++) {
			struct part *p = &s->part[i];
			if (!p->loan.held || !p->good || (!c->schema->var[v].rank && &s->block[n] != at))
				continue; /* a value of the record is that of the first who has it */
			if (memcmp(p->rec->axis, first->rec->axis, c->schema->n_dims * sizeof p->rec->axis[0])) {
				p->good = false; /* of another shape */
				c->stats.bad++;
				continue;
			}
			memcpy(&s->block[n], p->rec->var[v].block, p->rec->var[v].n_blocks * sizeof *at);
			n += p->rec->var[v].n_blocks;
		}
		s->rec.var[v] = (struct iog_var){ .block = at, .n_blocks = (uint32_t)(&s->block[n] - at) };
	}
	return true;
}

/* Edges want numbers that rise, and those of different writers need not. */
static void renumber(struct iog_collect *c, struct step *s)
{
	if (s->rec.id.epoch > c->epoch)
		c->epoch = s->rec.id.epoch, c->next_step = 0;
	s->rec.id.epoch = c->epoch;
	s->rec.step = c->next_step++;
	s->rec.id.seq = iog_seq_of_step(s->rec.step);
}

/* The first step: no writer's edge began after it. False: some have nothing yet. */
static bool start(struct iog_collect *c)
{
	struct key first = { 0, 0 };
	for (uint32_t i = 0; i < c->n_writers; i++) {
		const struct writer *w = &c->writer[i];
		if (!w->front && !w->ended)
			return false;
		if (w->front && less(first, w->low))
			first = w->low;
	}
	for (uint32_t i = 0; i < c->n_writers; i++) {
		struct writer *w = &c->writer[i];
		while (w->front && less(w->low, first)) {
			skip(w);
			look(c, w);
		}
		/* More from before the first step may be on its way. */
		if (!w->front && !w->ended)
			return false;
	}
	c->started = true;
	return true;
}

struct iog_record *iog_collect_next(struct iog_collect *c, bool *ended)
{
	struct step *s = NULL;
	*ended = false;
	for (uint32_t i = 0; i < IOG_COLLECT_HELD && !s && c->n_kept + IOG_COLLECT_HELD <= IOG_COLLECT_KEPT; i++)
		if (!c->step[i].used)
			s = &c->step[i];
	if (!s)
		return NULL;
	for (uint32_t round = 0; round < 64; round++) {
		struct key best = KEY_END, gate = KEY_END;
		uint32_t n_best = 0, n_live = 0, n_had = 0, who = 0;
		/* What was committed before a record that was just seen is seen by a look behind that, if not by the one before. */
		for (bool more = true; more;) {
			more = false;
			for (uint32_t i = 0; i < c->n_writers; i++) {
				const bool had = c->writer[i].front;
				look(c, &c->writer[i]);
				more |= c->how == IOG_PAIR_NONE && !had && c->writer[i].front;
			}
		}
		/* What is sent again and is kept begins where all was given back by each writer's count: where one begins earlier, others' parts were
		 * stored. */
		c->started |= c->resumed && c->kept;
		if (c->how != IOG_PAIR_NONE && !c->started && c->n_writers > 1 && !start(c))
			return NULL;
		for (uint32_t i = 0; i < c->n_writers; i++) {
			const struct writer *w = &c->writer[i];
			n_live += !w->ended;
			if (!w->front) {
				if (c->how != IOG_PAIR_NONE && less(w->low, gate))
					gate = w->low;
			} else if (less(w->low, best)) {
				best = w->low, n_best = 1, who = i;
			} else {
				n_best += !less(best, w->low);
			}
		}
		if (!n_live && best.epoch == UINT32_MAX) {
			*ended = true;
			return NULL;
		}
		if (!less(best, gate))
			return NULL;
		for (uint32_t i = 0; i < c->n_writers; i++)
			n_had += c->writer[i].ended && less(best, c->writer[i].last);
		const bool all = c->how != IOG_PAIR_LOSSY || n_best == n_live + n_had;
		for (uint32_t i = 0; i < c->n_writers; i++) {
			struct writer *w = &c->writer[i];
			s->part[i].loan.held = false;
			if (!w->front || less(best, w->low) || (c->how == IOG_PAIR_NONE && i != who))
				continue;
			if (all) {
				take(c, s, i);
			} else {
				skip(w);
			}
		}
		if (!all) {
			c->stats.passed_by++;
			continue;
		}
		s->used = true;
		if (merge(c, s)) {
			if (c->how == IOG_PAIR_NONE)
				renumber(c, s);
			c->stats.steps++;
			return &s->rec;
		}
		iog_collect_release(c, &s->rec);
	}
	return NULL;
}

bool iog_collect_stirs(const struct iog_collect *c)
{
	for (const struct writer *w = c->writer; w < c->writer + c->n_writers; w++) {
		if (!w->attached || w->ended || w->front)
			continue;
		const struct iog_inlet *in = &w->ring[w->now].in;
		if (atomic_load_explicit(&in->e.down->head, memory_order_relaxed) == w->seen_head)
			continue;
		/* At once: each of the lines is a way to the writer's core. */
		__builtin_prefetch(&in->e.down->ring[in->tail & (in->e.capacity - 1)]);
		expect(w, w->next_slot, HEAD_LINES);
		return true;
	}
	return false;
}

void iog_collect_release(struct iog_collect *c, struct iog_record *r)
{
	struct step *s = (struct step *)r;
	for (uint32_t i = 0; i < c->n_writers; i++)
		give_back(&c->writer[i], &s->part[i].loan);
	s->used = false;
}

bool iog_collect_keeps(struct iog_collect *c)
{
	if (!c->kept && c->how != IOG_PAIR_NONE)
		c->kept = calloc((size_t)IOG_COLLECT_KEPT * c->n_writers, sizeof *c->kept);
	return c->kept;
}

static struct loan *kept(struct iog_collect *c, uint32_t i)
{
	return &c->kept[(size_t)((c->first_kept + i) % IOG_COLLECT_KEPT) * c->n_writers];
}

void iog_collect_keep(struct iog_collect *c, struct iog_record *r)
{
	struct step *s = (struct step *)r;
	struct loan *to = kept(c, c->n_kept++);
	for (uint32_t i = 0; i < c->n_writers; i++)
		to[i] = s->part[i].loan, s->part[i].loan.held = false;
	s->used = false;
}

void iog_collect_let_go(struct iog_collect *c, uint32_t n)
{
	for (n = IOG_MIN(n, c->n_kept); n; n--, c->n_kept--, c->first_kept++)
		for (uint32_t i = 0; i < c->n_writers; i++)
			give_back(&c->writer[i], &kept(c, 0)[i]);
}

/* ---- waiting ---- */

uint32_t iog_collect_sleep(struct iog_collect *c, struct iog_waitword *word, uint32_t max)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < c->n_writers; i++) {
		struct writer *w = &c->writer[i];
		if (!w->attached || w->ended || w->front)
			continue;
		/* Sequentially consistent, so that the look that follows is not done before the flag is on its way out. */
		atomic_store(&ring(w)->e.up->sleeping, 1);
		if (n < max)
			word[n++] = (struct iog_waitword){ &ring(w)->e.down->head, w->seen_head };
	}
	return n;
}

void iog_collect_awake(struct iog_collect *c)
{
	for (uint32_t i = 0; i < c->n_writers; i++)
		if (c->writer[i].attached)
			atomic_store_explicit(&ring(&c->writer[i])->e.up->sleeping, 0, memory_order_relaxed);
}

void iog_collect_stats(const struct iog_collect *c, struct iog_collect_stats *s) { *s = c->stats; }
