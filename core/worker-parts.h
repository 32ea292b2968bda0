/* SPDX-License-Identifier: BSD-3-Clause */
/* What a worker consists of; shared by worker.c (the loop) and worker-init.c (layout), nobody else's business. */
#ifndef IOG_CORE_WORKER_PARTS_H
#define IOG_CORE_WORKER_PARTS_H

#include "worker.h"

enum { IOG_PEND_NONE = 0xffff, IOG_SUCCESSORS = 4 };

/* An input that was taken and not given back. */
struct pend {
	uint64_t seq;
	uint32_t epoch, slot, gen; /* slot IOG_NO_SLOT: the entry is not in use */
	uint32_t users;            /* outlet slots that need it */
	uint32_t life;             /* incarnation of the producer it came from */
	uint16_t next_dup;         /* the same record, sent again by a successor: given back together with it */
	bool done, held;           /* processed; in the window */
};

struct port_in {
	struct iog_inlet in;
	struct iog_record rec;
	struct iog_block *block;
	uint8_t *head;
	const uint8_t *last; /* where the record lay that rec, block and head are of; NULL: they are of none */
	uint64_t head_size, payload_max;
	struct pend *pend;
	uint16_t *free, *fifo; /* fifo: in order of taking, safe release only */
	uint32_t n_pend, n_free, fifo_head, fifo_tail;
	uint32_t life, seen_head;
	uint16_t now; /* the one in hand, IOG_PEND_NONE: elided at this step */
	bool ended;
	uint32_t n_next;
	struct iog_worker_in at, next[IOG_SUCCESSORS]; /* whose ring is read; those that follow when it is drained */
};
struct port_out {
	struct iog_outlet o;
	uint16_t *pin;                  /* [slot][port]: pend held by that output, IOG_PEND_NONE */
	uint32_t taken;                 /* slot for the record in hand */
	const struct iog_out *slot_out; /* the node output that is written straight into the slot, NULL: none is */
	struct iog_region view[1 + IOG_PORTS * IOG_PORTS];
	uint8_t view_port[1 + IOG_PORTS * IOG_PORTS];
	uint32_t n_view, n_statics;
};
/*
 * Inputs of port 0 that were processed and are kept for the first operator. entry[] is a ring that starts at `first`; held[] points to
 * its records, twice over, so that the window is always held[first .. first + n).
 */
struct kept {
	struct iog_record rec;
	struct iog_block *block;
	uint8_t *head;
	uint16_t pend;
};
struct window {
	struct kept *entry;
	const struct iog_record **held;
	uint32_t max, first, n;
	uint32_t open;        /* entries before it are decided */
	bool again;           /* a record was sent for one of them: the operator is called again for the input in hand */
	uint64_t refill_open; /* after a restart: records up to `done` come again, and those below it are decided */
};
struct node {
	const struct iog_op *op;
	const struct iog_stage_node *d;
	const uint8_t *conf;
	struct iog_call call;
	struct iog_out *out;
	enum iog_step step;
};
struct iog_worker {
	const struct iog_stage *st;
	struct iog_env env;
	struct iog_status *status;
	struct iog_snapshots *snap;
	uint8_t *state;
	struct iog_poison poison[IOG_POISON];
	uint32_t n_poison;
	struct iog_id done; /* the last (epoch, seq) processed or passed */
	struct iog_id now;  /* the one in hand */
	bool any, closed;
	uint64_t turns;
	uint64_t count;   /* records processed */
	uint64_t snapped; /* count at the newest snapshot */
	uint32_t snap_every;
	int pending; /* buffer of a stored snapshot that is not base yet, -1: none */
	struct window win;
	struct node node[IOG_STAGE_NODES];
	struct port_in in[IOG_PORTS];
	struct port_out out[IOG_PORTS];
};

static inline const struct iog_schema *iog_stage_schema(const struct iog_stage *st, uint64_t off)
{
	return (const struct iog_schema *)((const uint8_t *)st + off);
}
static inline uint8_t *iog_snap_buffer(const struct iog_worker *w, int i)
{
	return (uint8_t *)w->snap + IOG_ROUND_UP(sizeof(struct iog_snapshots), IOG_ALIGN) +
	       (uint64_t)i * IOG_ROUND_UP(w->st->state_bytes, IOG_ALIGN);
}
/* Gives back an input, with its duplicates. */
void iog_give_back(struct port_in *in, uint16_t pend);

/* ---- the window; worker-window.c ---- */

/* Shows the operator the window, before it is called. */
void iog_window_show(const struct iog_worker *w, struct node *n);
/* After the first operator ran: what its answer decides. True: it sent something for a held input, whose identity goes to *id, and is called
 * again. Sets the worker's state to failed when the answer is none it may give. */
bool iog_window_answer(struct iog_worker *w, struct node *n, struct iog_id *id);
/* The input in hand goes into the window; the oldest one leaves it when it is full. */
void iog_window_add(struct iog_worker *w, bool decided);
/* A new epoch, or the end: nothing is held any more. */
void iog_window_clear(struct iog_worker *w);
/* The first seq of the current epoch that is not decided; of what the window holds; at most done + 1. */
uint64_t iog_window_open(const struct iog_worker *w);
uint64_t iog_window_from(const struct iog_worker *w);

/* What outputs may refer to instead of copying: the own static area always, inputs when the plan allows it. */
void iog_worker_views(struct iog_worker *w);

#endif
