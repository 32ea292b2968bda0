/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The worker loop; see worker.h for the rules it keeps. One thread, freestanding. No allocation, lock or system call while there is work;
 * the callbacks of the target are used only for sleeping, waking a sleeper, and control requests.
 */
#include "segment.h"
#include "worker-parts.h"

enum { SAMPLE = 64, TURN = 32, CONTROL_TURNS = 64, TURN_CYCLES = 100000, NONE = IOG_PEND_NONE };

#define STORE(p, v) atomic_store_explicit(p, v, memory_order_release)
#define POINT(w, p)                                                                                                                        \
	do {                                                                                                                               \
		if (iog_unlikely((w)->env.point != NULL))                                                                                  \
			(w)->env.point((w)->env.ctx, p);                                                                                   \
	} while (0)

static inline uint64_t cycles(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#else
	return 0;
#endif
}

/* ---- giving inputs back ---- */

void iog_give_back(struct port_in *in, uint16_t i)
{
	while (i != NONE) {
		struct pend *p = &in->pend[i];
		if (p->life == in->life) /* else its producer is gone, and with it whoever would read the release */
			iog_inlet_release(&in->in, p->slot, p->gen);
		p->slot = IOG_NO_SLOT;
		in->free[in->n_free++] = i;
		i = p->next_dup;
	}
}

static uint16_t pend_new(struct port_in *in)
{
	uint16_t i = in->free[--in->n_free];
	const struct iog_desc *d = &in->in.front;
	in->pend[i] = (struct pend){ .seq = d->seq, .epoch = d->epoch, .slot = d->slot, .gen = d->gen, .life = in->life, .next_dup = NONE };
	return i;
}

/* A record that was seen before: given back when the first one is, so that its producer keeps it as long as we may need it. */
static void take_duplicate(struct port_in *in)
{
	uint16_t i = pend_new(in);
	iog_inlet_take(&in->in);
	for (uint32_t k = 0; k < in->n_pend; k++) {
		struct pend *p = &in->pend[k];
		if (k == i || p->slot == IOG_NO_SLOT || p->seq != in->pend[i].seq || p->epoch != in->pend[i].epoch)
			continue;
		in->pend[i].next_dup = p->next_dup;
		p->next_dup = i;
		return;
	}
	iog_give_back(in, i);
}

static bool key_below(const struct pend *p, uint32_t epoch, uint64_t seq)
{
	return p->epoch < epoch || (p->epoch == epoch && p->seq < seq);
}

/* Gives back, in order and on port p, what is finished and before (epoch, seq). */
static uint32_t give_back_below(struct port_in *in, uint32_t epoch, uint64_t seq)
{
	uint32_t n = 0;
	for (; in->fifo_head != in->fifo_tail; in->fifo_head++, n++) {
		uint16_t i = in->fifo[in->fifo_head % in->n_pend];
		if (!in->pend[i].done || in->pend[i].users || !key_below(&in->pend[i], epoch, seq))
			break;
		iog_give_back(in, i);
	}
	return n;
}

/* True when everything before (epoch, seq) on every port is processed and its outputs are released. */
static bool acked_below(const struct iog_worker *w, uint32_t epoch, uint64_t seq)
{
	for (uint32_t p = 0; p < w->st->n_in; p++) {
		const struct port_in *in = &w->in[p];
		for (uint32_t f = in->fifo_head; f != in->fifo_tail; f++) {
			const struct pend *x = &in->pend[in->fifo[f % in->n_pend]];
			if (!key_below(x, epoch, seq))
				break;
			if (!x->done || x->users)
				return false;
		}
	}
	return true;
}

/* Safe release: in order, as far as consumers and snapshots allow. Returns how much happened. */
static uint32_t advance_safe(struct iog_worker *w, bool idle)
{
	uint32_t n = 0;
	if (!w->snap) { /* no state: nothing to come back to but the inputs themselves */
		for (uint32_t p = 0; p < w->st->n_in; p++)
			n += give_back_below(&w->in[p], UINT32_MAX, UINT64_MAX);
		if (n)
			POINT(w, IOG_AT_RELEASED);
		return n;
	}
	if (w->pending >= 0) {
		uint32_t epoch = w->snap->name[w->pending].epoch;
		uint64_t from = w->snap->name[w->pending].from;
		if (!acked_below(w, epoch, w->snap->name[w->pending].seq + 1))
			return 0;
		/* Release: the snapshot is complete before it is named. Named before anything is given back. */
		STORE(&w->snap->base, (uint32_t)w->pending + 1);
		POINT(w, IOG_AT_BASE);
		w->pending = -1;
		for (uint32_t p = 0; p < w->st->n_in; p++)
			give_back_below(&w->in[p], epoch, from);
		n++;
		POINT(w, IOG_AT_RELEASED);
	}
	uint64_t fresh = w->count - w->snapped;
	if (fresh && !w->win.again && (idle || fresh >= w->snap_every)) {
		int i = atomic_load_explicit(&w->snap->base, memory_order_relaxed) == 1 ? 1 : 0;
		memcpy(iog_snap_buffer(w, i), w->state, w->st->state_bytes);
		w->snap->name[i].epoch = w->done.epoch;
		w->snap->name[i].seq = w->done.seq;
		w->snap->name[i].from = iog_window_from(w);
		w->snap->name[i].open = iog_window_open(w);
		w->pending = i;
		w->snapped = w->count;
		n++;
		POINT(w, IOG_AT_SNAPSHOT);
	}
	return n;
}

/* The record in hand on port p is processed. */
static void input_done(struct iog_worker *w, uint32_t p)
{
	struct port_in *in = &w->in[p];
	if (in->now == NONE)
		return;
	struct pend *x = &in->pend[in->now];
	x->done = true;
	if (!w->st->safe && !x->users && !x->held)
		iog_give_back(in, in->now);
	in->now = NONE;
}

static void unpin(struct iog_worker *w, struct port_out *out, uint32_t slot)
{
	for (uint32_t p = 0; p < w->st->n_in; p++) {
		uint16_t *pin = &out->pin[slot * w->st->n_in + p];
		if (*pin == NONE)
			continue;
		struct pend *x = &w->in[p].pend[*pin];
		if (--x->users == 0 && x->done && !w->st->safe)
			iog_give_back(&w->in[p], *pin);
		*pin = NONE;
	}
}

static uint32_t reap(struct iog_worker *w)
{
	uint32_t freed[64], total = 0;
	for (uint32_t q = 0; q < w->st->n_out; q++)
		for (uint32_t n; (n = iog_outlet_reap(&w->out[q].o, freed, IOG_COUNT(freed))) > 0; total += n)
			for (uint32_t k = 0; k < n; k++)
				unpin(w, &w->out[q], freed[k]);
	if (total)
		POINT(w, IOG_AT_REAPED);
	return total;
}

/* ---- finding the next step ---- */

struct key {
	uint32_t epoch;
	uint64_t seq;
};
static inline bool key_less(struct key a, struct key b) { return a.epoch != b.epoch ? a.epoch < b.epoch : a.seq < b.seq; }
static const struct key KEY_END = { UINT32_MAX, UINT64_MAX };

static bool poisoned(const struct iog_worker *w, const struct pend *d)
{
	for (uint32_t i = 0; i < w->n_poison; i++)
		if (w->poison[i].epoch == d->epoch && w->poison[i].seq == d->seq)
			return true;
	return false;
}

static void switch_next(struct iog_worker *w, struct port_in *in)
{
	struct iog_inlet old = in->in;
	in->life++;
	in->at = in->next[0];
	in->last = NULL;
	in->ended = false;
	in->n_next--;
	memmove(&in->next[0], &in->next[1], in->n_next * sizeof in->next[0]);
	iog_inlet_init(&in->in, &in->at.edge, in->at.n_slots, in->at.slot_bytes);
	in->in.epoch = old.epoch, in->in.next_seq = old.next_seq, in->in.taken = old.taken;
	in->in.duplicates = old.duplicates, in->in.forged = old.forged;
	iog_worker_views(w);
}

/* Brings port p to a record that is new, or to none; *low is the smallest key that may still come on it. */
static bool front(struct iog_worker *w, uint32_t p, struct key *low)
{
	struct port_in *in = &w->in[p];
	/* Bounded: a producer that floods us with what we must skip gets its turns, not ours. */
	for (uint32_t i = 0; i < 2 * in->n_pend + 2; i++) {
		/* State and passed before the ring: what they say then covers an empty ring. */
		enum iog_edge_state state = iog_inlet_state(&in->in);
		iog_inlet_passed(&in->in, &low->epoch, &low->seq);
		in->seen_head = atomic_load_explicit(&in->in.e.down->head, memory_order_relaxed);
		if (!in->n_free || iog_inlet_full(&in->in)) {
			*low = (struct key){ 0, 0 }; /* there may be a record we must not take yet */
			return false;
		}
		switch (iog_inlet_peek(&in->in)) {
		case IOG_FRONT_RECORD: *low = (struct key){ in->in.front.epoch, in->in.front.seq }; return true;
		case IOG_FRONT_DUPLICATE: take_duplicate(in); continue;
		case IOG_FRONT_FORGED:
			iog_count(&w->status->in_forged[p], 1);
			iog_inlet_take(&in->in);
			continue;
		case IOG_FRONT_NONE: break;
		}
		if (in->n_next) {
			switch_next(w, in); /* its producer is dead and the old ring is drained */
			continue;
		}
		in->ended = state != IOG_EDGE_OPEN;
		if (in->ended)
			*low = KEY_END;
		return false;
	}
	*low = (struct key){ 0, 0 };
	return false;
}

/* ---- one step ---- */

/* Takes and validates the front of port p; a malformed or poisoned record is counted and treated as elided. */
static void take(struct iog_worker *w, uint32_t p)
{
	struct port_in *in = &w->in[p];
	uint16_t i = in->now = pend_new(in);
	uint64_t length = in->in.front.length;
	iog_inlet_take(&in->in);
	if (w->st->safe)
		in->fifo[in->fifo_tail++ % in->n_pend] = i;
	iog_count(&w->status->in_records[p], 1);
	iog_count(&w->status->in_bytes[p], length);
	if (iog_unlikely(w->n_poison) && poisoned(w, &in->pend[i])) {
		iog_count(&w->status->poisoned, 1);
		in->rec.schema = NULL;
		in->last = NULL;
		return;
	}
	const struct iog_region *r = &in->at.region[0];
	const uint8_t *at =
		r->base + (r->size - (uint64_t)in->at.n_slots * in->at.slot_bytes) + (uint64_t)in->pend[i].slot * in->at.slot_bytes;
	if (iog_wire_open_next(&in->rec, &in->last, at, length, iog_stage_schema(w->st, w->st->in[p].schema), in->at.region,
		    in->at.n_regions, in->block, w->st->in[p].max_blocks, in->head, in->head_size, NULL) ||
		in->rec.id.seq != in->pend[i].seq || in->rec.id.epoch != in->pend[i].epoch) {
		iog_count(&w->status->in_bad[p], 1);
		in->rec.schema = NULL;
		in->last = NULL;
	}
}

static const struct iog_record *input_of(const struct iog_worker *w, struct iog_ref r)
{
	if (r.node != IOG_FROM_INPUT)
		return w->node[r.node].step == IOG_OK ? &w->node[r.node].out[r.port].rec : NULL;
	return w->in[r.port].now != NONE && w->in[r.port].rec.schema ? &w->in[r.port].rec : NULL;
}

/* Bytes a record's variables take as they are, encoded ones by their encoding; but for those with one of these flags. */
static uint64_t record_bytes(const struct iog_record *r, unsigned without)
{
	uint64_t n = 0;
	for (uint32_t v = 0; v < r->schema->n_vars; v++) {
		if (r->schema->var[v].flags & without)
			continue;
		if (!iog_var_opaque(&r->schema->var[v])) {
			n += iog_record_var_bytes(r, v);
			continue;
		}
		for (uint32_t b = 0; b < r->var[v].n_blocks; b++)
			n += r->var[v].block[b].bytes;
	}
	return n;
}

static void count_bytes(struct iog_node_count *c, const struct node *n, bool ok)
{
	for (uint32_t i = 0; i < n->d->n_in; i++)
		if (n->call.in[i])
			iog_count(&c->bytes_in, record_bytes(n->call.in[i], 0));
	for (uint32_t o = 0; ok && o < n->d->n_out; o++)
		iog_count(&c->bytes_out, record_bytes(&n->out[o].rec, 0));
}

/* A call that took this many times the mean was interrupted. */
enum { INTERRUPTED = 16 };

static void count_time(struct iog_node_count *c, uint64_t spent)
{
	const bool odd = !c->records || (c->timed >= 8 && spent / INTERRUPTED > c->cycles / c->timed);
	iog_count(odd ? &c->odd_cycles : &c->cycles, spent);
	iog_count(odd ? &c->odd : &c->timed, 1);
}

static void node_run(struct iog_worker *w, uint32_t j, bool sample)
{
	struct node *n = &w->node[j];
	const struct iog_record *head = NULL;
	bool all = true;
	for (uint32_t i = 0; i < n->d->n_in; i++) {
		const struct iog_record *x = n->call.in[i] = input_of(w, n->d->in[i]);
		if (!x)
			all = false;
		else if (!head)
			head = x;
	}
	n->step = IOG_ELIDE;
	if (!head || (!all && !(n->op->flags & IOG_ZIP)))
		return;
	struct iog_node_count *c = &w->status->node[j];
	for (uint32_t o = 0; o < n->d->n_out; o++) {
		struct iog_out *out = &n->out[o];
		const struct iog_schema *s = out->rec.schema;
		iog_record_head(&out->rec, head, IOG_MIN(s->n_dims, head->schema->n_dims));
		memset(out->rec.var, 0, s->n_vars * sizeof out->rec.var[0]);
		out->used = 0;
		out->n_blocks = 0;
	}
	n->call.conf = n->conf + (head->param_version % IOG_CONF_VERSIONS) * (uint64_t)n->d->conf_bytes;
	uint64_t t = sample ? cycles() : 0;
	const bool window = w->win.max && !j;
	if (window)
		iog_window_show(w, n);
	const enum iog_step step = n->step = iog_op_run(n->op, &n->call);
	if (sample) {
		count_time(c, cycles() - t);
		count_bytes(c, n, step == IOG_OK);
	}
	iog_count(&c->records, !(window && w->win.again));
	switch (step) {
	case IOG_OK: iog_count(&c->out, 1); break;
	case IOG_ELIDE:
		iog_count(&c->elided, !window); /* there it is counted when it is decided */
		break;
	case IOG_BAD_INPUT: iog_count(&c->bad, 1); break;
	case IOG_HOLD:
		if (window)
			break;
		__attribute__((fallthrough));
	case IOG_FATAL:
	case IOG_NO_SPACE:
		/* NO_SPACE within out_max and HOLD without a window break the contract: the operator cannot be trusted further. */
		w->status->fail_node = j;
		w->status->fail_step = step;
		w->status->fail_seq = head->id.seq;
		STORE(&w->status->state, IOG_W_FAILED);
		break;
	default: iog_count(&c->failed, 1);
	}
}

/*
 * How many of the output's regions its record may refer to. A view keeps whole slots of the producers above, for as long as the slowest
 * consumer keeps the view: one that is much smaller than what it would pin, and quickly copied, is copied.
 */
static uint32_t views_of(const struct iog_worker *w, const struct port_out *out, const struct iog_record *r)
{
	enum { SMALL = 64 << 10, MUCH = 8 };
	uint64_t pinned = 0;
	for (uint32_t p = 0; p < w->st->n_in; p++)
		pinned += w->in[p].now != NONE ? w->in[p].payload_max : 0;
	const uint64_t bytes = record_bytes(r, IOG_VAR_STATIC);
	return bytes <= SMALL && bytes <= pinned / MUCH ? 1 : out->n_view;
}

/* Puts output q's record into its slot; its bytes, or -1 when there is none or it does not fit. */
static int64_t encode(struct iog_worker *w, uint32_t q, const struct iog_record **rec, struct iog_record *tmp, uint32_t *viewed)
{
	struct port_out *out = &w->out[q];
	const struct iog_record *r = *rec = input_of(w, w->st->out[q].from);
	if (!r)
		return -1;
	if (out->n_statics) {
		iog_record_head(tmp, r, r->schema->n_dims);
		tmp->schema = r->schema;
		memcpy(tmp->var, r->var, r->schema->n_vars * sizeof tmp->var[0]);
		if (iog_outlet_static(&out->o, tmp))
			return -1;
		r = *rec = tmp;
	}
	return iog_wire_put(iog_arena_slot(&out->o.arena, out->taken), out->o.arena.slot_bytes, w->st->out[q].head_max,
		out->slot_out ? out->slot_out->used : 0, r, out->view, out->n_view > 1 ? views_of(w, out, r) : 1, viewed);
}

/* Sends what output q has for this step; nothing: it is elided there. */
static void emit(struct iog_worker *w, uint32_t q, const struct iog_id *id)
{
	struct port_out *out = &w->out[q];
	const struct iog_record *rec;
	struct iog_record tmp;
	uint32_t viewed = 0, s = out->taken;
	int64_t len = encode(w, q, &rec, &tmp, &viewed);
	if (len < 0) {
		iog_count(&w->status->out_elided[q], 1);
		if (rec)
			iog_count(&w->status->out_failed[q], 1);
		iog_outlet_put_back(&out->o, s);
		if (!w->win.max)
			iog_outlet_pass(&out->o, id->epoch, id->seq);
		return;
	}
	POINT(w, IOG_AT_ENCODED);
	if (!iog_outlet_push(&out->o, s, rec, (uint64_t)len))
		return;
	POINT(w, IOG_AT_PUSHED);
	iog_count(&w->status->out_records[q], 1);
	iog_count(&w->status->out_bytes[q], (uint64_t)len);
	if (!w->st->safe && !(viewed & ~1u))
		return;
	if (!(out->o.slot[s].edges & out->o.hold_mask))
		return;
	for (uint32_t p = 0; p < w->st->n_in; p++) {
		bool pins = w->st->safe;
		for (uint32_t v = 1; v < out->n_view && !pins; v++)
			pins = (viewed >> v & 1) && out->view_port[v] == p;
		if (!pins || w->in[p].now == NONE)
			continue;
		w->in[p].pend[w->in[p].now].users++;
		out->pin[s * w->st->n_in + p] = w->in[p].now;
	}
}

static bool outputs_ready(struct iog_worker *w, uint32_t epoch)
{
	for (uint32_t q = 0; q < w->st->n_out; q++) {
		struct iog_outlet *o = &w->out[q].o;
		if (!iog_outlet_ready(o))
			return false;
		if (iog_unlikely(w->out[q].n_statics && (!o->have_static || o->static_epoch != epoch)) && iog_outlet_static_busy(o, epoch))
			return false; /* records of the epoch before the last still use the static area */
	}
	return true;
}

/* What is decided is passed on; later records of a window are not. */
static void pass_decided(struct iog_worker *w)
{
	const uint64_t open = iog_window_open(w);
	for (uint32_t q = 0; q < w->st->n_out; q++)
		iog_outlet_pass(&w->out[q].o, w->done.epoch, open - 1);
}

static void new_epoch(struct iog_worker *w)
{
	if (w->st->state_bytes)
		memset(w->state, 0, w->st->state_bytes);
	if (w->win.max)
		iog_window_clear(w);
}

/* The record in hand is finished. */
static void finish(struct iog_worker *w, struct iog_id id)
{
	if (w->win.max && w->in[0].rec.schema) {
		const enum iog_step step = w->node[0].step;
		const bool sent = step == IOG_OK, decided = sent || (step != IOG_HOLD && w->win.open == w->win.n);
		iog_count(&w->status->node[0].elided, decided && step == IOG_ELIDE);
		iog_window_add(w, decided);
	}
	w->done = id;
	w->any = true;
	w->count++;
	for (uint32_t p = 0; p < w->st->n_in; p++)
		input_done(w, p);
	if (w->win.max)
		pass_decided(w);
}

/* Calls the operators for the records in hand, and sends what comes of it. With a window it may be called again (win.again) for the same. */
static void proceed(struct iog_worker *w)
{
	struct iog_status *st = w->status;
	for (uint32_t q = 0; q < w->st->n_out; q++)
		w->out[q].taken = iog_outlet_take(&w->out[q].o);
	const bool sample = !w->win.again && (w->count < SAMPLE || w->count % SAMPLE == 0);
	struct iog_id id = w->now;
	for (uint32_t j = 0; j < w->st->n_nodes; j++) {
		const struct iog_stage_node *d = &w->st->node[j];
		for (uint32_t o = 0; o < d->n_out; o++)
			if (d->out_slot[o] >= 0) {
				const struct port_out *out = &w->out[d->out_slot[o]];
				w->node[j].out[o].space = iog_arena_slot(&out->o.arena, out->taken) + w->st->out[d->out_slot[o]].head_max;
			}
		atomic_store_explicit(&st->busy_node, j, memory_order_relaxed);
		node_run(w, j, sample);
		if (w->win.max && !j)
			iog_window_answer(w, &w->node[0], &id);
		if (iog_unlikely(atomic_load_explicit(&st->state, memory_order_relaxed) == IOG_W_FAILED))
			return;
	}
	POINT(w, IOG_AT_RUN);
	for (uint32_t q = 0; q < w->st->n_out; q++)
		emit(w, q, &id);
	if (w->win.again) {
		pass_decided(w);
	} else {
		finish(w, id);
		atomic_store_explicit(&st->done_seq, id.seq, memory_order_relaxed);
		atomic_store_explicit(&st->done_epoch, id.epoch, memory_order_relaxed);
	}
	STORE(&st->busy, 0);
	atomic_store_explicit(&st->turns, ++w->turns, memory_order_relaxed);
}

/* Takes the record k from every port that has it. */
static void take_all(struct iog_worker *w, struct key k)
{
	for (uint32_t p = 0; p < w->st->n_in; p++) {
		const struct iog_inlet *in = &w->in[p].in;
		if (in->kind == IOG_FRONT_RECORD && in->front.epoch == k.epoch && in->front.seq == k.seq)
			take(w, p);
	}
}

static void process(struct iog_worker *w, struct key k)
{
	struct iog_status *st = w->status;
	w->now = (struct iog_id){ .epoch = k.epoch, .seq = k.seq };
	atomic_store_explicit(&st->busy_seq, k.seq, memory_order_relaxed);
	atomic_store_explicit(&st->busy_epoch, k.epoch, memory_order_relaxed);
	STORE(&st->busy, 1);
	if (w->any && k.epoch != w->done.epoch)
		new_epoch(w);
	take_all(w, k);
	POINT(w, IOG_AT_TAKEN);
	proceed(w);
}

/* A successor's window: what its predecessor held comes again, and was processed. */
static void refill(struct iog_worker *w, struct key k)
{
	take_all(w, k);
	if (w->in[0].rec.schema)
		iog_window_add(w, k.seq < w->win.refill_open);
	input_done(w, 0);
}

static void wake_edges(struct iog_worker *w, struct iog_outlet *o, uint64_t sleepers)
{
	for (uint32_t k = 0; sleepers; k++, sleepers >>= 1)
		if (sleepers & 1) {
			w->env.wake(w->env.ctx, &o->edge[k].e.down->head);
			iog_count(&w->status->wakes, 1);
		}
}

static void publish(struct iog_worker *w)
{
	for (uint32_t q = 0; q < w->st->n_out; q++)
		wake_edges(w, &w->out[q].o, iog_outlet_publish(&w->out[q].o));
	POINT(w, IOG_AT_PUBLISHED);
	if (w->st->safe)
		advance_safe(w, false);
	for (uint32_t p = 0; p < w->st->n_in; p++)
		if (iog_inlet_publish(&w->in[p].in)) {
			w->env.wake(w->env.ctx, &w->in[p].in.e.up->head);
			iog_count(&w->status->wakes, 1);
		}
	POINT(w, IOG_AT_RETURNED);
}

/* Tells downstream that nothing below `low` will come any more, when that is news. */
static bool pass_below(struct iog_worker *w, struct key low)
{
	if (low.epoch == UINT32_MAX || !low.seq)
		return false;
	struct key done = { w->done.epoch, w->done.seq }, last = { low.epoch, low.seq - 1 };
	if (w->any && !key_less(done, last))
		return false;
	if (w->any && last.epoch != done.epoch)
		new_epoch(w);
	w->done = (struct iog_id){ .epoch = last.epoch, .seq = last.seq };
	w->any = true;
	pass_decided(w);
	return true;
}

uint32_t iog_worker_turn(struct iog_worker *w, uint32_t budget)
{
	uint32_t other = reap(w), taken = 0;
	uint64_t begun = cycles();
	bool idle = false;
	/* What took long is sent before the next is begun. */
	while (taken < budget && !idle && (!taken || cycles() - begun < TURN_CYCLES)) {
		if (iog_unlikely(w->win.again)) {
			idle = !outputs_ready(w, w->now.epoch) && !(reap(w) && outputs_ready(w, w->now.epoch));
			if (!idle) {
				STORE(&w->status->busy, 1);
				proceed(w);
				taken++;
			}
			if (iog_unlikely(atomic_load_explicit(&w->status->state, memory_order_relaxed) == IOG_W_FAILED))
				return 1;
			continue;
		}
		struct key best = KEY_END, gate = KEY_END; /* the smallest record there; what may still come on ports without one */
		for (uint32_t p = 0; p < w->st->n_in; p++) {
			struct key low;
			struct key *at = front(w, p, &low) ? &best : &gate;
			if (key_less(low, *at))
				*at = low;
		}
		if (!key_less(best, gate)) {
			other += pass_below(w, gate);
			idle = true;
		} else if (iog_unlikely(w->win.max && w->any && !key_less((struct key){ w->done.epoch, w->done.seq }, best))) {
			refill(w, best);
			taken++;
		} else if (!outputs_ready(w, best.epoch) && !(reap(w) && outputs_ready(w, best.epoch))) {
			idle = true; /* a snapshot may be what lets inputs go */
		} else {
			process(w, best);
			if (iog_unlikely(atomic_load_explicit(&w->status->state, memory_order_relaxed) == IOG_W_FAILED))
				return 1;
			taken++;
		}
	}
	for (uint32_t p = 0; p < w->st->n_in; p++)
		other += w->in[p].in.rel != w->in[p].in.rel_published; /* duplicates given back */
	if (taken || other)
		publish(w);
	if (idle && w->st->safe && advance_safe(w, true)) {
		other++;
		publish(w);
	}
	return taken + other;
}

static bool all_ended(const struct iog_worker *w)
{
	if (w->win.again)
		return false;
	for (uint32_t p = 0; p < w->st->n_in; p++)
		if (!w->in[p].ended)
			return false;
	return true;
}

static bool all_returned(const struct iog_worker *w)
{
	for (uint32_t q = 0; q < w->st->n_out; q++)
		if (iog_outlet_busy(&w->out[q].o))
			return false;
	for (uint32_t p = 0; p < w->st->n_in; p++)
		if (w->in[p].n_free != w->in[p].n_pend)
			return false;
	return true;
}

static void close_outputs(struct iog_worker *w, enum iog_edge_state state)
{
	for (uint32_t q = 0; q < w->st->n_out; q++)
		wake_edges(w, &w->out[q].o, iog_outlet_close(&w->out[q].o, state));
	w->closed = true;
	POINT(w, IOG_AT_CLOSED);
}

static void flags(struct iog_worker *w, uint32_t v)
{
	/* Sequentially consistent, so that the poll that follows is not done before the flag is on its way out. */
	for (uint32_t p = 0; p < w->st->n_in; p++)
		atomic_store(&w->in[p].in.e.up->sleeping, v);
	for (uint32_t q = 0; q < w->st->n_out; q++)
		for (uint32_t k = 0; k < w->out[q].o.n_edges; k++)
			if (w->out[q].o.edge[k].used)
				atomic_store(&w->out[q].o.edge[k].e.down->sleeping, v);
}

static void sleep_until(struct iog_worker *w)
{
	struct iog_waitword word[IOG_PORTS + IOG_PORTS * IOG_FANOUT];
	uint32_t n = 0;
	for (uint32_t p = 0; p < w->st->n_in; p++)
		if (w->in[p].in.kind != IOG_FRONT_RECORD && !w->in[p].ended)
			word[n++] = (struct iog_waitword){ &w->in[p].in.e.down->head, w->in[p].seen_head };
	for (uint32_t q = 0; q < w->st->n_out; q++)
		for (uint32_t k = 0; k < w->out[q].o.n_edges; k++) {
			const struct iog_out_edge *e = &w->out[q].o.edge[k];
			if (e->used && iog_edge_outstanding(e))
				word[n++] = (struct iog_waitword){ &e->e.up->head, e->reaped };
		}
	iog_count(&w->status->sleeps, 1);
	w->env.wait(w->env.ctx, word, n, w->env.sleep_ns);
}

/* Nothing to do: spin a bounded time, then sleep a bounded time. */
static void rest(struct iog_worker *w, uint64_t *idle_since)
{
	uint64_t now = w->env.now_ns(w->env.ctx);
	if (!*idle_since)
		*idle_since = now | 1;
	if (now - *idle_since < w->env.spin_ns) {
#if defined(__x86_64__)
		__builtin_ia32_pause();
#endif
		return;
	}
	flags(w, 1);
	/* A little longer: a push that missed the flag becomes visible here. */
	bool again = false;
	for (int i = 0; i < 64 && !again; i++)
		again = iog_worker_turn(w, TURN) > 0;
	if (!again)
		sleep_until(w);
	flags(w, 0);
}

/* What outlets count for themselves. */
static void count_outlets(struct iog_worker *w)
{
	for (uint32_t q = 0; q < w->st->n_out; q++) {
		atomic_store_explicit(&w->status->out_forged[q], iog_outlet_forged(&w->out[q].o), memory_order_relaxed);
		atomic_store_explicit(&w->status->out_dropped[q], iog_outlet_dropped(&w->out[q].o), memory_order_relaxed);
	}
}

enum iog_worker_state iog_worker_run(struct iog_worker *w)
{
	uint64_t idle_since = 0;
	for (uint32_t turn = 0;; turn++) {
		atomic_store_explicit(&w->status->turns, ++w->turns, memory_order_relaxed);
		if (turn % CONTROL_TURNS == 0 || idle_since)
			count_outlets(w);
		if ((turn % CONTROL_TURNS == 0 || idle_since) && w->env.control && !w->env.control(w->env.ctx)) {
			STORE(&w->status->state, IOG_W_STOPPED);
			break;
		}
		uint32_t n = iog_worker_turn(w, TURN);
		if (atomic_load_explicit(&w->status->state, memory_order_relaxed) == IOG_W_FAILED) {
			close_outputs(w, IOG_EDGE_FAILED);
			break;
		}
		if (n) {
			idle_since = 0;
			continue;
		}
		if (all_ended(w)) {
			if (!w->closed) {
				if (w->win.max)
					iog_window_clear(w), pass_decided(w);
				close_outputs(w, IOG_EDGE_CLOSED);
			}
			if (all_returned(w)) {
				publish(w);
				STORE(&w->status->state, IOG_W_DRAINED);
				break;
			}
		}
		rest(w, &idle_since);
	}
	count_outlets(w);
	for (uint32_t p = 0; p < w->st->n_in; p++)
		atomic_store_explicit(&w->status->in_duplicates[p], w->in[p].in.duplicates, memory_order_relaxed);
	return (enum iog_worker_state)atomic_load_explicit(&w->status->state, memory_order_relaxed);
}

void iog_worker_replace_in(struct iog_worker *w, uint32_t port, const struct iog_worker_in *in)
{
	struct port_in *x = &w->in[port];
	/* More deaths than that before a ring is drained: those in the middle sent nothing that the newest one does not send again. */
	if (x->n_next == IOG_SUCCESSORS)
		x->n_next--;
	x->next[x->n_next++] = *in;
	x->ended = false;
}

void iog_worker_replace_out(struct iog_worker *w, uint32_t port, uint32_t edge, const struct iog_edge *e)
{
	struct iog_outlet *o = &w->out[port].o;
	iog_outlet_replace(o, edge, e);
	if (w->closed)
		iog_outlet_close(o, IOG_EDGE_CLOSED);
	wake_edges(w, o, iog_outlet_publish(o)); /* what was sent again, though nothing new may come for a while */
}
