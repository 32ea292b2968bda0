/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An edge is two rings: records go down, releases come back. A producer keeps a slot until every consumer has released it; that one rule
 * is memory management, flow control, fault tolerance and migration, the same between threads, processes and VMs.
 *
 * Shared memory, one writing side per page:
 *     struct iog_down   written by the producer: head, what has passed, descriptors      mapped read-only by the consumer
 *     struct iog_up     written by the consumer: releases, the sleeping flag             mapped read-only by the producer
 *     arena             written by the producer: static area, then equal slots           mapped read-only by the consumer
 *     mailbox           one word both swap; only on `latest` edges
 *
 * An outlet is the producing end: one arena, its slot table, up to IOG_OUTLET_EDGES edges. An inlet is the consuming end of one edge. Both are
 * private to the thread that runs them. Nothing here allocates, locks, or makes a system call; who finds a sleeper is told so.
 *
 * What the other side wrote is not trusted: capacities are what set-up said, descriptors are copied and then checked, a release must
 * match (slot, generation) in the outstanding table. What does not is counted in `forged`, and the owner cuts the peer off.
 */
#ifndef IOG_CORE_EDGE_H
#define IOG_CORE_EDGE_H

#ifndef __cplusplus
#include <stdatomic.h>
#endif

#include "record.h"
#include "wire.h"

IOG_C_BEGIN

/* Edges of an outlet; of one that graphs and stages have, IOG_FANOUT. */
enum { IOG_OUTLET_EDGES = 64, IOG_FANOUT = 16, IOG_BURST = 32, IOG_CREDIT_MAX = 4096, IOG_LINE = 128, IOG_NO_SLOT = 0xffffffffu };

enum iog_policy {
	IOG_BLOCK,    /* the producer waits for credit */
	IOG_LATEST,   /* the newest record replaces one that was not taken yet */
	IOG_DROP_NEW, /* without credit the record is elided on this edge */
};
enum iog_edge_state { IOG_EDGE_OPEN, IOG_EDGE_CLOSED /* nothing more will come */, IOG_EDGE_FAILED /* the producer gave up */ };

struct iog_desc {
	uint64_t stream, seq;
	uint32_t epoch, writer;
	uint32_t slot, gen;
	uint64_t length; /* bytes of the record in its slot */
	uint64_t born_ns;
	uint32_t param_version, flags;
	uint64_t edges; /* the producer's own: in its table, a bit per edge that has not released the slot. In a ring it means nothing */
};
_Static_assert(sizeof(struct iog_desc) == 64, "a descriptor is one cache line");

struct iog_down {
	/* Records pushed, modulo 2^32; the futex word of a sleeping consumer. */
	_Alignas(IOG_LINE) _Atomic uint32_t head;
	/* Of `passed`. Written after passed was reset, read before passed: an old epoch with a new passed claims only what is true, because
	 * every record of the old epoch is then in the ring. */
	_Atomic uint32_t epoch;
	/* Every seq of `epoch` below this was pushed or will never come. Read `epoch`, `passed`, then the ring. */
	_Atomic uint64_t passed;
	_Atomic uint32_t state;
	/* The producer sleeps and wants to be woken by a release. */
	_Alignas(IOG_LINE) _Atomic uint32_t sleeping;
	_Alignas(IOG_LINE) struct iog_desc ring[];
};
struct iog_up {
	/* Releases pushed; the futex word of a producer without credit. */
	_Alignas(IOG_LINE) _Atomic uint32_t head;
	/* The consumer sleeps; on a line of its own, so that looking at it costs the producer nothing while nobody sleeps. */
	_Alignas(IOG_LINE) _Atomic uint32_t sleeping;
	_Alignas(IOG_LINE) uint64_t ring[]; /* slot | generation << 32 */
};
/* 0: empty; else ring index + 1 in the low, a count in the high half, so that no value comes twice in a row. */
struct iog_mailbox {
	_Alignas(IOG_LINE) _Atomic uint64_t word;
};

/* Bytes of each part, zeroed when the edge is made, for a capacity that is a power of two <= IOG_CREDIT_MAX. */
static inline uint64_t iog_down_bytes(uint32_t capacity) { return sizeof(struct iog_down) + (uint64_t)capacity * sizeof(struct iog_desc); }
static inline uint64_t iog_up_bytes(uint32_t capacity) { return sizeof(struct iog_up) + (uint64_t)capacity * sizeof(uint64_t); }

/* The mapped parts of one edge: what set-up said, never what a peer wrote. Kept by inlets and outlets as long as they are attached. */
struct iog_edge {
	struct iog_down *down;
	struct iog_up *up;
	struct iog_mailbox *box; /* NULL unless policy is IOG_LATEST */
	uint32_t capacity;
	uint8_t policy; /* enum iog_policy */
	uint8_t safe;   /* a safe sink is below: the producer's inputs wait for its releases */
	uint8_t pad[2];
};
/* An arena as one side has it mapped. The first slot starts at static_bytes; two areas of static_bytes/2 take turns by epoch. */
struct iog_arena {
	uint8_t *base;
	uint64_t static_bytes, slot_bytes;
	uint32_t n_slots, id;
};
static inline uint64_t iog_arena_bytes(const struct iog_arena *a) { return a->static_bytes + a->slot_bytes * a->n_slots; }
static inline uint8_t *iog_arena_slot(const struct iog_arena *a, uint32_t slot) { return a->base + a->static_bytes + a->slot_bytes * slot; }

/* ---- the producing end ---- */

struct iog_out_edge {
	struct iog_edge e;
	uint32_t head;          /* records pushed: ring positions up to the next publish */
	uint32_t reaped;        /* releases read */
	uint32_t back;          /* releases that were right: head - back records are outstanding */
	uint32_t boxed;         /* IOG_LATEST: count for the mailbox word */
	uint32_t entry_slot[4]; /* IOG_LATEST: slot a descriptor entry stands for, IOG_NO_SLOT: not in use */
	uint32_t published_epoch;
	uint32_t written; /* descriptors in the ring; those of the records up to head are written together */
	bool used, muted; /* muted: cut off, nothing is sent any more */
	uint64_t dropped, forged;
	uint32_t late[IOG_BURST]; /* slots of those not written, by position */
};
/* Records that were not released. */
static inline uint32_t iog_edge_outstanding(const struct iog_out_edge *x) { return x->head - x->back; }

struct iog_outlet {
	struct iog_arena arena;
	struct iog_desc *slot;  /* private table of n_slots: what was pushed, to check releases and to send again */
	uint32_t *free, n_free; /* stack of slots */
	uint32_t reserve;       /* set by the owner: of so many free slots, beside blocking edges, lossy ones take none */
	uint32_t room;          /* records that can go the short way: one blocking edge, with credit and a slot for as many at least */
	uint32_t *late, n_late; /* let go by a push; LATE_FREE: the slot is free once reap has told the owner */
	uint64_t hold_mask;     /* edges whose releases the owner waits for; the others only keep the slot */
	uint64_t block_mask, live_mask; /* live: edges in use and not muted */
	uint32_t n_edges, epoch;        /* epoch: of passed */
	uint64_t passed;
	struct iog_out_edge edge[IOG_OUTLET_EDGES];
	/* static variables of the current epoch, as they lie in the arena */
	uint32_t static_epoch;
	bool have_static;
	struct iog_block static_block[IOG_VARS];
};
enum { IOG_LATEST_ENTRIES = 4 }; /* capacity of a mailbox edge: one waiting, up to three with the consumer */

/* Bytes of private memory an outlet needs for n_slots. */
uint64_t iog_outlet_memory(uint32_t n_slots);
/* `memory` is zeroed and kept. */
void iog_outlet_init(struct iog_outlet *o, const struct iog_arena *arena, void *memory);
/* Attaches an edge; its index, or -ENOSPC. Edges are added before records flow or, with resend, by iog_outlet_replace. */
int iog_outlet_add(struct iog_outlet *o, const struct iog_edge *e);
/* The same while records flow: the consumer gets what is pushed from now on. In the place of an edge that was cut, when there is one; that edge's
 * count of drops goes on, the one of forged releases begins anew. */
int iog_outlet_join(struct iog_outlet *o, const struct iog_edge *e);
/*
 * A successor took over the consuming end of edge k: everything outstanding there is sent again on the new edge, in order, and then what
 * follows. The old consumer must be dead. No record is copied.
 */
void iog_outlet_replace(struct iog_outlet *o, uint32_t k, const struct iog_edge *e);
/* Edge k makes nobody wait, until it is replaced or asked for again: what it has no credit for passes it by. Of a blocking edge only. */
void iog_outlet_spare(struct iog_outlet *o, uint32_t k, bool spare);
/* Edge k has no consumer any more: what it holds is released, nothing is sent there. */
void iog_outlet_cut(struct iog_outlet *o, uint32_t k);
/* Looks at each edge; see iog_outlet_ready. */
bool iog_outlet_count_room(struct iog_outlet *o);
/* Every blocking edge has credit; then a free slot exists too (n_slots >= sum of capacities + 1). */
static inline bool iog_outlet_ready(struct iog_outlet *o) { return iog_likely(o->room != 0) || iog_outlet_count_room(o); }
/* A free slot for the next record, or IOG_NO_SLOT. It stays the caller's until pushed or put back. */
static inline uint32_t iog_outlet_take(struct iog_outlet *o)
{
	if (iog_unlikely(!o->n_free))
		return IOG_NO_SLOT;
	return o->free[--o->n_free]; /* its edges are 0: that is what made it free */
}
static inline void iog_outlet_put_back(struct iog_outlet *o, uint32_t slot) { o->free[o->n_free++] = slot; }
/*
 * Sends the record in `slot` on every edge (lossy ones may drop it there) and counts everything below its seq as passed. Visible after
 * iog_outlet_publish. Returns false when no edge took it: the slot is free again.
 */
bool iog_outlet_push(struct iog_outlet *o, uint32_t slot, const struct iog_record *r, uint64_t length);
/* Everything up to and including (epoch, seq) was pushed or will never come. */
void iog_outlet_pass(struct iog_outlet *o, uint32_t epoch, uint64_t seq);
/* Makes pushes and passes visible. Returns a bit per edge whose consumer sleeps: the caller wakes &edge[k].e.down->head. */
uint64_t iog_outlet_publish(struct iog_outlet *o);
/* Reads releases. Slots that no edge of hold_mask holds any more go to `let_go` (at most max), once each; they are free when no other edge
 * holds them either. Those a newer record replaced in a mailbox are among them. Returns how many. Call until 0. */
uint32_t iog_outlet_reap(struct iog_outlet *o, uint32_t *let_go, uint32_t max);
/* Releases that could not be, over all edges: a consumer that is wrong or hostile. */
uint64_t iog_outlet_forged(const struct iog_outlet *o);
/* Records that an edge did not take, by its policy, over all edges. */
uint64_t iog_outlet_dropped(const struct iog_outlet *o);
/* Slots that are not free: outstanding, or in the caller's hands. */
static inline uint32_t iog_outlet_busy(const struct iog_outlet *o) { return o->arena.n_slots - o->n_free; }
/* A record of an epoch that uses the same static area as `epoch` is outstanding. Looks at every slot. */
bool iog_outlet_static_busy(const struct iog_outlet *o, uint32_t epoch);
/* Ends the stream for all consumers. Returns the sleepers like publish. */
uint64_t iog_outlet_close(struct iog_outlet *o, enum iog_edge_state state);
/*
 * Static variables: copies them into the arena once per epoch and points r's at that copy. -EAGAIN while records of the epoch before the
 * last still use the area; -ENOSPC when they do not fit.
 */
int iog_outlet_static(struct iog_outlet *o, struct iog_record *r);

/* ---- the consuming end ---- */

enum iog_front { IOG_FRONT_NONE, IOG_FRONT_RECORD, IOG_FRONT_DUPLICATE, IOG_FRONT_FORGED };
struct iog_inlet {
	struct iog_edge e;
	uint32_t n_slots; /* of the producer's arena: bounds for descriptors */
	uint64_t slot_bytes;
	uint32_t tail, rel; /* records read; releases written */
	uint32_t seen;      /* the producer's head when it was last looked at; a mailbox: tail, or tail + 1 when front came from it */
	uint32_t rel_published;
	uint32_t epoch;        /* of the last record taken */
	uint64_t next_seq;     /* smaller ones of that epoch were seen */
	enum iog_front kind;   /* of front */
	struct iog_desc front; /* private copy of the next descriptor */
	uint64_t taken, duplicates, forged;
};
void iog_inlet_init(struct iog_inlet *in, const struct iog_edge *e, uint32_t n_slots, uint64_t slot_bytes);
/* Copies a descriptor to in->front and checks it; see iog_inlet_peek. */
static inline enum iog_front iog_inlet_judge(struct iog_inlet *in, const struct iog_desc *shared)
{
	memcpy(&in->front, shared, sizeof in->front);
	const struct iog_desc *d = &in->front;
	if (iog_unlikely(d->slot >= in->n_slots || d->length > in->slot_bytes || d->length < sizeof(struct iog_wire)))
		return in->kind = IOG_FRONT_FORGED;
	const bool seen = (d->epoch < in->epoch || (d->epoch == in->epoch && d->seq < in->next_seq)) && in->taken;
	return in->kind = iog_unlikely(seen) ? IOG_FRONT_DUPLICATE : IOG_FRONT_RECORD;
}
/* Looks at what the producer has sent since; see iog_inlet_peek. */
enum iog_front iog_inlet_more(struct iog_inlet *in);
/* Copies the next descriptor to in->front and checks it, without taking it. A duplicate is one whose (epoch, seq) was taken before; a forged one names
 * a slot or length that cannot be. */
static inline enum iog_front iog_inlet_peek(struct iog_inlet *in)
{
	if (iog_unlikely(in->kind != IOG_FRONT_NONE))
		return in->kind;
	if (iog_unlikely(in->seen == in->tail))
		return iog_inlet_more(in);
	return iog_inlet_judge(in, &in->e.down->ring[in->tail & (in->e.capacity - 1)]);
}
/* Takes in->front. */
static inline void iog_inlet_take(struct iog_inlet *in)
{
	if (iog_likely(in->kind == IOG_FRONT_RECORD)) {
		in->epoch = in->front.epoch;
		in->next_seq = in->front.seq + 1;
		in->taken++;
	} else if (in->kind == IOG_FRONT_DUPLICATE) {
		in->duplicates++;
	} else {
		in->forged++;
	}
	in->kind = IOG_FRONT_NONE;
	in->tail++;
}
/* A mailbox whose consumer holds all it may: one entry stays for the newest record. Nothing can be said about what is in it. */
static inline bool iog_inlet_full(const struct iog_inlet *in)
{
	return in->e.policy == IOG_LATEST && in->tail - in->rel_published >= IOG_LATEST_ENTRIES - 1;
}
/* What the producer says has passed. Call before peek, so that an empty ring means it. */
void iog_inlet_passed(const struct iog_inlet *in, uint32_t *epoch, uint64_t *passed);
enum iog_edge_state iog_inlet_state(const struct iog_inlet *in);
/* Gives a slot back. Never blocks: the ring has room for every credit. Visible after iog_inlet_publish. */
static inline void iog_inlet_release(struct iog_inlet *in, uint32_t slot, uint32_t gen)
{
	in->e.up->ring[in->rel & (in->e.capacity - 1)] = slot | (uint64_t)gen << 32;
	in->rel++;
}
/* Makes releases visible; true when the producer sleeps: the caller wakes &e.up->head. */
bool iog_inlet_publish(struct iog_inlet *in);

IOG_C_END

#endif
