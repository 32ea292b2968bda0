/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The window of a worker: inputs that were processed and are still there for the first operator of the stage, which may send something for them
 * later (a trigger that keeps what came before it) or only look at them (a mean over time). They are held by not being released, so nothing
 * is copied but the head of a record, ~0.1 us. The worker's thread. Freestanding.
 *
 * Outputs come in the order of inputs, so what is decided is always a prefix of the window: entries before `open`. What is not decided holds
 * `passed` back, and a join downstream waits for it: that is why edges beside a window need as much credit (graph-cut.c).
 */
#include "worker-parts.h"

void iog_window_show(const struct iog_worker *w, struct node *n)
{
	const struct window *x = &w->win;
	n->call.held = x->held + x->first;
	n->call.n_held = x->n;
	n->call.open = x->open;
	for (uint32_t o = 0; o < n->d->n_out; o++)
		n->out[o].of = x->n;
}

static const struct pend *pend_of(const struct iog_worker *w, uint32_t i)
{
	const struct window *x = &w->win;
	return &w->in[0].pend[x->entry[(x->first + i) % x->max].pend];
}

/* Everything before entry i is decided; what nothing was sent for is elided. */
static void decide(struct iog_worker *w, uint32_t i)
{
	iog_count(&w->status->node[0].elided, i - w->win.open);
	w->win.open = i;
}

bool iog_window_answer(struct iog_worker *w, struct node *n, struct iog_id *id)
{
	struct window *x = &w->win;
	const uint32_t of = n->call.n_out ? n->out[0].of : x->n;
	x->again = false;
	if (n->step != IOG_OK)
		return false;
	if (of == x->n) {
		decide(w, x->n);
		return false;
	}
	if (of < x->open || of > x->n) {
		w->status->fail_node = 0;
		w->status->fail_step = IOG_HOLD;
		w->status->fail_seq = w->now.seq;
		atomic_store_explicit(&w->status->state, IOG_W_FAILED, memory_order_release);
		return false;
	}
	const struct pend *p = pend_of(w, of);
	*id = (struct iog_id){ .epoch = p->epoch, .seq = p->seq };
	decide(w, of);
	x->open++;
	x->again = true;
	return true;
}

static void leave(struct iog_worker *w)
{
	struct window *x = &w->win;
	struct port_in *in = &w->in[0];
	const uint16_t i = x->entry[x->first].pend;
	if (!x->open)
		decide(w, 1);
	x->open--;
	x->n--;
	x->first = (x->first + 1) % x->max;
	in->pend[i].held = false;
	if (!w->st->safe) /* else in order, when a snapshot allows it */
		iog_give_back(in, i);
}

void iog_window_add(struct iog_worker *w, bool decided)
{
	struct window *x = &w->win;
	struct port_in *in = &w->in[0];
	if (x->n == x->max)
		leave(w);
	struct kept *k = &x->entry[(x->first + x->n) % x->max];
	const struct iog_schema *s = in->rec.schema;
	/* The record's blocks and head stay where they are: the entry's place for them is free, and becomes that of the next record. */
	memcpy(&k->rec, &in->rec, offsetof(struct iog_record, var) + s->n_vars * sizeof in->rec.var[0]);
	struct iog_block *block = k->block;
	uint8_t *head = k->head;
	k->block = in->block, k->head = in->head;
	in->block = block, in->head = head, in->last = NULL;
	k->pend = in->now;
	in->pend[in->now].held = true;
	x->n++;
	if (decided)
		x->open = x->n;
}

void iog_window_clear(struct iog_worker *w)
{
	if (w->win.n)
		w->snapped = w->count - 1; /* so that a snapshot without it is taken, and lets those inputs go */
	while (w->win.n)
		leave(w);
}

uint64_t iog_window_open(const struct iog_worker *w) { return w->win.open < w->win.n ? pend_of(w, w->win.open)->seq : w->done.seq + 1; }

uint64_t iog_window_from(const struct iog_worker *w) { return w->win.n ? pend_of(w, 0)->seq : w->done.seq + 1; }
