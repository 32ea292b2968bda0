/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The edge: outlets and inlets. Every function runs on the one thread that owns the object; the other side is reached only through the
 * shared parts, with the orderings argued at each store and load. Freestanding.
 */
#include "edge.h"

#define STORE(p, v) atomic_store_explicit(p, v, memory_order_release)
#define LOAD(p)     atomic_load_explicit(p, memory_order_acquire)
#define PEEK(p)     atomic_load_explicit(p, memory_order_relaxed)

/* Two words of a descriptor in a register: written field by field and read as a whole it would wait for its own stores. */
typedef uint64_t word2 __attribute__((vector_size(16)));
_Static_assert(offsetof(struct iog_desc, epoch) == 16 && offsetof(struct iog_desc, slot) == 24 && offsetof(struct iog_desc, length) == 32 &&
		       offsetof(struct iog_desc, param_version) == 48 && offsetof(struct iog_desc, edges) == 56 &&
		       __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	"layout of a descriptor");

/* What is sent for r, into the private table. */
static inline void desc_store(struct iog_desc *to, const struct iog_record *r, uint64_t slot_gen, uint64_t length, uint64_t edges)
{
	uint64_t seq = r->id.seq, born_ns = r->born_ns, epoch_writer;
	/* Kept from being loaded together with their neighbours: they were stored alone, a moment ago. */
	__asm__("" : "+r"(seq), "+r"(born_ns));
	_Static_assert(offsetof(struct iog_id, writer) == offsetof(struct iog_id, epoch) + 4, "read as one");
	memcpy(&epoch_writer, &r->id.epoch, 8);
	const word2 a = { r->id.stream, seq }, b = { epoch_writer, slot_gen }, c = { length, born_ns }, d = { r->param_version, edges };
	memcpy((uint8_t *)to, &a, 16);
	memcpy((uint8_t *)to + 16, &b, 16);
	memcpy((uint8_t *)to + 32, &c, 16);
	memcpy((uint8_t *)to + 48, &d, 16);
}

/* ---- outlet ---- */

uint64_t iog_outlet_memory(uint32_t n_slots)
{
	return IOG_ROUND_UP((uint64_t)n_slots * sizeof(struct iog_desc), IOG_ALIGN) + 3 * IOG_ROUND_UP((uint64_t)n_slots * 4, IOG_ALIGN);
}

void iog_outlet_init(struct iog_outlet *o, const struct iog_arena *arena, void *memory)
{
	memset(o, 0, sizeof *o);
	o->arena = *arena;
	o->hold_mask = UINT64_MAX;
	o->slot = memory;
	o->free = (uint32_t *)((uint8_t *)memory + IOG_ROUND_UP((uint64_t)arena->n_slots * sizeof(struct iog_desc), IOG_ALIGN));
	o->late = (uint32_t *)((uint8_t *)o->free + IOG_ROUND_UP((uint64_t)arena->n_slots * 4, IOG_ALIGN));
	/* The lowest slots on top of the stack: few slots in use means little memory touched. */
	for (uint32_t i = 0; i < arena->n_slots; i++)
		o->free[o->n_free++] = arena->n_slots - 1 - i;
}

static void edge_attach(struct iog_outlet *o, uint32_t k, const struct iog_edge *e)
{
	struct iog_out_edge *x = &o->edge[k];
	uint64_t dropped = x->dropped, forged = x->forged;
	*x = (struct iog_out_edge){ .e = *e, .used = true, .dropped = dropped, .forged = forged };
	o->room = 0;
	for (unsigned i = 0; i < IOG_LATEST_ENTRIES; i++)
		x->entry_slot[i] = IOG_NO_SLOT;
	o->live_mask |= 1ull << k;
	if (e->policy == IOG_BLOCK)
		o->block_mask |= 1ull << k;
}

int iog_outlet_add(struct iog_outlet *o, const struct iog_edge *e)
{
	if (o->n_edges == IOG_OUTLET_EDGES)
		return -28; /* ENOSPC, the same number on every system we run on */
	edge_attach(o, o->n_edges, e);
	return (int)o->n_edges++;
}

int iog_outlet_join(struct iog_outlet *o, const struct iog_edge *e)
{
	uint32_t k = 0;
	while (k < o->n_edges && !o->edge[k].muted)
		k++;
	if (k == IOG_OUTLET_EDGES)
		return -28; /* ENOSPC */
	/* Cutting took its bit from every slot: nothing of the old consumer's is left to be released. */
	o->edge[k].forged = 0;
	edge_attach(o, k, e);
	o->n_edges = IOG_MAX(o->n_edges, k + 1);
	/* What was sent before is past for this consumer; the next publish says so, whatever the epoch is. */
	o->edge[k].published_epoch = o->epoch + 1;
	return (int)k;
}

bool iog_outlet_count_room(struct iog_outlet *o)
{
	uint32_t room = o->n_free;
	for (uint64_t m = o->block_mask; m; m &= m - 1) {
		const struct iog_out_edge *x = &o->edge[__builtin_ctzll(m)];
		room = IOG_MIN(room, x->e.capacity - iog_edge_outstanding(x));
	}
	o->room = o->live_mask == 1 && o->block_mask == 1 ? room : 0;
	return room != 0;
}

enum { LET_GO = 1, FREE = 2, LATE_SHIFT = 30 };

/* Edge k holds slot s no more. LET_GO: it was the last one the owner waits for; FREE: nobody holds it. */
static unsigned slot_drop(struct iog_outlet *o, uint32_t k, uint32_t s)
{
	uint64_t before = o->slot[s].edges, after = before & ~(1ull << k);
	o->slot[s].edges = after;
	o->edge[k].back++;
	return ((before & o->hold_mask) && !(after & o->hold_mask) ? LET_GO : 0u) | (after ? 0u : (unsigned)FREE);
}

/* Dropped where the owner cannot be told: remembered for the next reap, and not free before. */
static void drop_late(struct iog_outlet *o, uint32_t k, uint32_t s)
{
	unsigned bits = slot_drop(o, k, s);
	if (bits)
		o->late[o->n_late++] = s | bits << LATE_SHIFT;
}

static void entry_free(struct iog_out_edge *x, uint32_t s)
{
	for (unsigned i = 0; i < IOG_LATEST_ENTRIES; i++)
		if (x->entry_slot[i] == s)
			x->entry_slot[i] = IOG_NO_SLOT;
}

/* One release of edge k, whatever it says. A slot that is let go goes to out[*n]; out NULL: it is remembered for the next reap. */
static __attribute__((noinline)) void release_any(struct iog_outlet *o, uint32_t k, uint64_t rel, uint32_t *out, uint32_t *n)
{
	struct iog_out_edge *x = &o->edge[k];
	uint32_t s = (uint32_t)rel, gen = (uint32_t)(rel >> 32);
	if (s >= o->arena.n_slots || o->slot[s].gen != gen || !(o->slot[s].edges >> k & 1)) {
		x->forged++;
		return;
	}
	if (x->e.policy == IOG_LATEST)
		entry_free(x, s);
	if (!out) {
		drop_late(o, k, s);
		return;
	}
	unsigned bits = slot_drop(o, k, s);
	if (bits & LET_GO)
		out[(*n)++] = s;
	if (bits & FREE)
		iog_outlet_put_back(o, s);
}

/*
 * Releases [at, end) of edge k, as far as each gives back a slot that only this edge holds and the owner waits for. Where it stopped. What
 * changes is kept in registers.
 */
static uint32_t read_fast(struct iog_outlet *o, uint32_t k, uint32_t at, uint32_t end, uint32_t *out, uint32_t *n)
{
	struct iog_out_edge *x = &o->edge[k];
	const uint64_t *ring = x->e.up->ring;
	const uint32_t mask = x->e.capacity - 1, n_slots = o->arena.n_slots, first = at;
	const uint64_t alone = 1ull << k;
	struct iog_desc *slot = o->slot;
	uint32_t *free = o->free + o->n_free;
	out += *n;
	for (; at != end; at++) {
		const uint64_t rel = ring[at & mask];
		const uint32_t s = (uint32_t)rel;
		if (iog_unlikely(s >= n_slots))
			break;
		struct iog_desc *t = &slot[s];
		uint64_t slot_gen;
		memcpy(&slot_gen, &t->slot, 8);
		if (iog_unlikely(slot_gen != rel || t->edges != alone))
			break;
		t->edges = 0;
		*free++ = s;
		*out++ = s;
	}
	x->back += at - first;
	o->n_free += at - first;
	*n += at - first;
	return at;
}

/* Reads the releases of edge k. Slots that are let go go to out[*n...max); out NULL: they are remembered for the next reap. */
static void read_releases(struct iog_outlet *o, uint32_t k, uint32_t *out, uint32_t *n, uint32_t max)
{
	struct iog_out_edge *x = &o->edge[k];
	/* Acquire: the consumer's last read of a slot before the release that gives it back. */
	const uint32_t head = LOAD(&x->e.up->head), mask = x->e.capacity - 1;
	if (iog_unlikely(head - x->reaped > x->e.capacity)) {
		x->forged++; /* more releases than the ring holds */
		return;
	}
	uint32_t at = x->reaped;
	if (out && x->e.policy != IOG_LATEST && (o->hold_mask >> k & 1)) {
		const uint32_t end = head - at > max - *n ? at + (max - *n) : head;
		at = read_fast(o, k, at, end, out, n);
	}
	for (; at != head && (!out || *n < max); at++)
		release_any(o, k, x->e.up->ring[at & mask], out, n);
	x->reaped = at;
}

static uint32_t unused_entry(const struct iog_out_edge *x)
{
	uint32_t i = 0;
	while (i < IOG_LATEST_ENTRIES && x->entry_slot[i] != IOG_NO_SLOT)
		i++;
	return i;
}

/* What came back unread from the mailbox: replaced by a newer record. Its slot is free once the owner knows. */
static void replaced(struct iog_outlet *o, uint32_t k, uint64_t word)
{
	struct iog_out_edge *x = &o->edge[k];
	uint32_t i = (uint32_t)word - 1;
	if (!(uint32_t)word)
		return;
	if (i >= IOG_LATEST_ENTRIES || x->entry_slot[i] == IOG_NO_SLOT) {
		x->forged++;
		return;
	}
	uint32_t s = x->entry_slot[i];
	x->entry_slot[i] = IOG_NO_SLOT;
	x->dropped++;
	drop_late(o, k, s);
}

/*
 * A mailbox edge: the descriptor goes into an unused entry and its index into the mailbox; what was there unread comes back and its slot
 * is released. The exchange is the only read-modify-write of the data path and happens only here: release, so that the consumer who
 * takes the index sees the descriptor; acquire pairs with the consumer's exchange, so that an entry it gave up may be written.
 * A consumer that keeps the rules holds three entries at most, counted by the releases it has published: when all four are in use and the
 * mailbox is empty, a release is there that was not read yet. Only one that breaks the rules loses the newest record.
 */
static void push_latest(struct iog_outlet *o, uint32_t k, const struct iog_desc *d)
{
	struct iog_out_edge *x = &o->edge[k];
	uint32_t i = unused_entry(x);
	if (i == IOG_LATEST_ENTRIES) {
		replaced(o, k, atomic_exchange_explicit(&x->e.box->word, (uint64_t)++x->boxed << 32, memory_order_acq_rel));
		read_releases(o, k, NULL, NULL, 0);
		if ((i = unused_entry(x)) == IOG_LATEST_ENTRIES) {
			x->dropped++;
			return;
		}
	}
	x->e.down->ring[i] = *d;
	/* Ours only when the word is out: a consumer that wrote this entry's number there beforehand gets nothing for it. */
	replaced(o, k, atomic_exchange_explicit(&x->e.box->word, (uint64_t)(i + 1) | (uint64_t)++x->boxed << 32, memory_order_acq_rel));
	x->entry_slot[i] = d->slot;
	x->head++;
	o->slot[d->slot].edges |= 1ull << k;
}

/*
 * Writes descriptors into the ring, many at a time: each line has to be taken from the consumer's core first, and only stores that are
 * close together in the instruction stream wait for their lines at the same time.
 */
static inline void ring_write(struct iog_outlet *o, struct iog_out_edge *x)
{
	const uint32_t mask = x->e.capacity - 1, head = x->head;
	struct iog_desc *ring = x->e.down->ring;
	for (uint32_t i = x->written; i != head; i++)
		memcpy(&ring[i & mask], &o->slot[x->late[i % IOG_BURST]], sizeof *ring);
	x->written = head;
}

static inline void push_ring(struct iog_outlet *o, struct iog_out_edge *x, uint32_t slot)
{
	const uint32_t head = x->head;
	x->late[head % IOG_BURST] = slot;
	x->head = head + 1;
	if (iog_unlikely(head + 1 - x->written == IOG_BURST))
		ring_write(o, x);
}

/* The general case: several edges, a lossy one, or no credit. */
static __attribute__((noinline)) bool push_all(struct iog_outlet *o, uint32_t slot)
{
	struct iog_desc *t = &o->slot[slot];
	const bool scarce = o->block_mask && o->n_free < o->reserve;
	t->edges = 0;
	for (uint64_t m = o->live_mask; m; m &= m - 1) {
		const uint32_t k = (uint32_t)__builtin_ctzll(m);
		struct iog_out_edge *x = &o->edge[k];
		if (iog_unlikely(scarce) && x->e.policy != IOG_BLOCK) {
			x->dropped++;
		} else if (x->e.policy == IOG_LATEST) {
			push_latest(o, k, t);
		} else if (iog_edge_outstanding(x) < x->e.capacity) {
			push_ring(o, x, slot);
			t->edges |= 1ull << k;
		} else {
			x->dropped++;
		}
	}
	if (!t->edges) {
		iog_outlet_put_back(o, slot);
		return false;
	}
	return true;
}

/* In bursts of 32 on one edge: 73 instructions for a record, 23 more to read its release (callgrind); in time: build/iog bench edge. */
bool iog_outlet_push(struct iog_outlet *o, uint32_t slot, const struct iog_record *r, uint64_t length)
{
	const uint32_t gen = o->slot[slot].gen + 1, room = o->room;
	desc_store(&o->slot[slot], r, slot | (uint64_t)gen << 32, length, 1);
	iog_outlet_pass(o, r->id.epoch, r->id.seq);
	if (iog_unlikely(!room))
		return push_all(o, slot);
	o->room = room - 1;
	push_ring(o, &o->edge[0], slot);
	return true;
}

void iog_outlet_pass(struct iog_outlet *o, uint32_t epoch, uint64_t seq)
{
	if (iog_unlikely(o->epoch != epoch))
		o->epoch = epoch;
	o->passed = seq + 1; /* seq UINT64_MAX would be step INT64_MAX: sources refuse that step */
}

static __attribute__((noinline)) void publish_epoch(struct iog_outlet *o, struct iog_out_edge *x)
{
	/* Reset before the new epoch is named: who reads the new epoch reads a `passed` that belongs to it. */
	STORE(&x->e.down->passed, 0);
	STORE(&x->e.down->epoch, o->epoch);
	x->published_epoch = o->epoch;
}

/* True when the consumer sleeps. */
static inline bool publish_edge(struct iog_outlet *o, struct iog_out_edge *x)
{
	struct iog_down *d = x->e.down;
	if (x->e.policy != IOG_LATEST)
		ring_write(o, x);
	/* Release: descriptors and payload before the head that shows them. Also when it is not new: the next store needs the line anyway. */
	STORE(&d->head, x->head);
	if (iog_unlikely(x->published_epoch != o->epoch))
		publish_epoch(o, x);
	/* Release: the head before what claims that everything below is in the ring. */
	STORE(&d->passed, o->passed);
	/* No fence between the stores and this load: a flag that is not seen yet costs the sleeper its time limit, not a hang. */
	return PEEK(&x->e.up->sleeping);
}

static __attribute__((noinline)) uint64_t publish_all(struct iog_outlet *o)
{
	uint64_t sleepers = 0;
	for (uint64_t m = o->live_mask; m; m &= m - 1) {
		const uint32_t k = (uint32_t)__builtin_ctzll(m);
		if (publish_edge(o, &o->edge[k]))
			sleepers |= 1ull << k;
	}
	return sleepers;
}

uint64_t iog_outlet_publish(struct iog_outlet *o) { return iog_likely(o->live_mask == 1) ? publish_edge(o, &o->edge[0]) : publish_all(o); }

uint32_t iog_outlet_reap(struct iog_outlet *o, uint32_t *let_go, uint32_t max)
{
	uint32_t n = 0;
	while (o->n_late && n < max) {
		uint32_t l = o->late[--o->n_late], s = l & ((1u << LATE_SHIFT) - 1);
		if (l >> LATE_SHIFT & LET_GO)
			let_go[n++] = s;
		if (l >> LATE_SHIFT & FREE)
			iog_outlet_put_back(o, s);
	}
	for (uint64_t m = o->live_mask; m; m &= m - 1)
		read_releases(o, (uint32_t)__builtin_ctzll(m), let_go, &n, max);
	return n;
}

uint64_t iog_outlet_forged(const struct iog_outlet *o)
{
	uint64_t n = 0;
	for (uint32_t k = 0; k < o->n_edges; k++)
		n += o->edge[k].forged;
	return n;
}

uint64_t iog_outlet_dropped(const struct iog_outlet *o)
{
	uint64_t n = 0;
	for (uint32_t k = 0; k < o->n_edges; k++)
		n += o->edge[k].dropped;
	return n;
}

bool iog_outlet_static_busy(const struct iog_outlet *o, uint32_t epoch)
{
	for (uint32_t s = 0; s < o->arena.n_slots; s++)
		if (o->slot[s].edges && !((o->slot[s].epoch ^ epoch) & 1))
			return true;
	return false;
}

void iog_outlet_cut(struct iog_outlet *o, uint32_t k)
{
	struct iog_out_edge *x = &o->edge[k];
	x->muted = true;
	o->block_mask &= ~(1ull << k);
	o->live_mask &= ~(1ull << k);
	o->room = 0;
	for (uint32_t s = 0; s < o->arena.n_slots; s++)
		if ((o->slot[s].edges >> k & 1) && (slot_drop(o, k, s) & FREE))
			iog_outlet_put_back(o, s);
}

void iog_outlet_spare(struct iog_outlet *o, uint32_t k, bool spare)
{
	o->edge[k].e.policy = spare ? IOG_DROP_NEW : IOG_BLOCK;
	o->block_mask = spare ? o->block_mask & ~(1ull << k) : o->block_mask | 1ull << k;
	o->room = 0;
}

void iog_outlet_replace(struct iog_outlet *o, uint32_t k, const struct iog_edge *e)
{
	struct iog_out_edge *x = &o->edge[k];
	edge_attach(o, k, e);
	/* In the order of (epoch, seq): repeated selection of the next one, as this is rare and tables are short. */
	struct iog_id last = { 0 };
	for (bool first = true;; first = false) {
		uint32_t next = IOG_NO_SLOT;
		struct iog_id best = { 0 };
		for (uint32_t s = 0; s < o->arena.n_slots; s++) {
			const struct iog_desc *d = &o->slot[s];
			struct iog_id id = { .epoch = d->epoch, .seq = d->seq };
			if (!(o->slot[s].edges >> k & 1) || (!first && iog_id_order(&id, &last) <= 0))
				continue;
			if (next == IOG_NO_SLOT || iog_id_order(&id, &best) < 0)
				next = s, best = id;
		}
		if (next == IOG_NO_SLOT)
			break;
		last = best;
		if (e->policy == IOG_LATEST) {
			o->slot[next].edges &= ~(1ull << k);
			push_latest(o, k, &o->slot[next]);
		} else {
			push_ring(o, x, next);
		}
	}
	x->published_epoch = o->epoch + 1; /* whatever it is, the next publish states it */
}

uint64_t iog_outlet_close(struct iog_outlet *o, enum iog_edge_state state)
{
	uint64_t sleepers = iog_outlet_publish(o);
	for (uint32_t k = 0; k < o->n_edges; k++)
		if (o->edge[k].used && !o->edge[k].muted)
			STORE(&o->edge[k].e.down->state, (uint32_t)state);
	return sleepers;
}

int iog_outlet_static(struct iog_outlet *o, struct iog_record *r)
{
	const struct iog_schema *s = r->schema;
	if (!o->have_static || o->static_epoch != r->id.epoch) {
		uint32_t area = r->id.epoch & 1;
		if (iog_outlet_static_busy(o, r->id.epoch))
			return -11; /* EAGAIN */
		uint8_t *at = o->arena.base + o->arena.static_bytes / 2 * area;
		uint64_t room = o->arena.static_bytes / 2, used = 0;
		for (uint32_t v = 0; v < s->n_vars; v++) {
			const struct iog_vardef *def = &s->var[v];
			if (!(def->flags & IOG_VAR_STATIC) || !r->var[v].n_blocks)
				continue;
			struct iog_block *to = &o->static_block[v];
			*to = r->var[v].block[0];
			uint32_t size = iog_dtype_size(def->dtype);
			bool opaque = iog_var_opaque(def);
			if (r->var[v].n_blocks > 1 && !opaque)
				for (unsigned d = 0; d < def->rank; d++)
					to->start[d] = 0, to->count[d] = r->axis[def->dim[d]].extent;
			uint64_t bytes = opaque ? to->bytes : iog_block_set_dense(to, def->rank, size);
			used = IOG_ROUND_UP(used, IOG_ALIGN);
			if (used > room || bytes > room - used)
				return -28; /* ENOSPC */
			to->data = at + used;
			if (opaque)
				memcpy(at + used, r->var[v].block[0].data, bytes);
			else if (r->var[v].n_blocks > 1)
				memset(at + used, 0, bytes), iog_record_assemble(r, v, at + used);
			else
				iog_block_gather(at + used, r->var[v].block, def->rank, size);
			used += bytes;
		}
		o->static_epoch = r->id.epoch;
		o->have_static = true;
	}
	for (uint32_t v = 0; v < s->n_vars; v++)
		if ((s->var[v].flags & IOG_VAR_STATIC) && r->var[v].n_blocks)
			r->var[v] = (struct iog_var){ .block = &o->static_block[v], .n_blocks = 1 };
	return 0;
}

/* ---- inlet ---- */

void iog_inlet_init(struct iog_inlet *in, const struct iog_edge *e, uint32_t n_slots, uint64_t slot_bytes)
{
	memset(in, 0, sizeof *in);
	in->e = *e;
	in->n_slots = n_slots;
	in->slot_bytes = slot_bytes;
}

void iog_inlet_passed(const struct iog_inlet *in, uint32_t *epoch, uint64_t *passed)
{
	*epoch = LOAD(&in->e.down->epoch);
	*passed = LOAD(&in->e.down->passed);
}

enum iog_edge_state iog_inlet_state(const struct iog_inlet *in) { return (enum iog_edge_state)LOAD(&in->e.down->state); }

/* Where the next descriptor of a mailbox lies; NULL: there is none, or it may not be taken yet. */
static __attribute__((noinline)) const struct iog_desc *front_latest(const struct iog_inlet *in)
{
	if (iog_inlet_full(in) || !(uint32_t)PEEK(&in->e.box->word))
		return NULL;
	/* Acquire: the descriptor behind the index. Release: our last read of an entry before the producer reuses it. */
	uint64_t word = PEEK(&in->e.box->word);
	word = atomic_exchange_explicit(&in->e.box->word, word & ~0xffffffffull, memory_order_acq_rel);
	uint32_t i = (uint32_t)word - 1;
	return i < IOG_LATEST_ENTRIES ? &in->e.down->ring[i] : NULL;
}

/* What the head showed before is used up. Its line is the producer's, so it is only looked at then; the lines it shows are asked for at once. */
enum iog_front iog_inlet_more(struct iog_inlet *in)
{
	if (in->e.policy == IOG_LATEST) {
		const struct iog_desc *d = front_latest(in);
		if (!d)
			return IOG_FRONT_NONE;
		in->seen = in->tail + 1;
		return iog_inlet_judge(in, d);
	}
	/* Acquire: the descriptors the head shows. */
	const uint32_t head = LOAD(&in->e.down->head), n = head - in->tail, mask = in->e.capacity - 1;
	if (!n)
		return IOG_FRONT_NONE;
	if (iog_unlikely(n > in->e.capacity)) { /* more than the ring holds: not believed */
		in->forged++;
		return IOG_FRONT_NONE;
	}
	in->seen = head;
	for (uint32_t i = 1; i < IOG_MIN(n, (uint32_t)IOG_BURST); i++)
		__builtin_prefetch(&in->e.down->ring[(in->tail + i) & mask]);
	return iog_inlet_judge(in, &in->e.down->ring[in->tail & mask]);
}

bool iog_inlet_publish(struct iog_inlet *in)
{
	if (in->rel_published == in->rel)
		return false;
	/* Release: our reads of the slots before the word that gives them back. */
	STORE(&in->e.up->head, in->rel);
	in->rel_published = in->rel;
	return iog_unlikely(PEEK(&in->e.down->sleeping));
}
