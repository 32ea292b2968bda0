/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writing a stream: opening it, steps, the end. The arena of this process is made when the first step begins and the blocks are known
 * (writer-arena.c), and an outlet has an edge for each consumer the agent asks for (writer-edges.c). A step is written where its consumers read
 * it; iog_commit adds the head.
 *
 * The agent is looked at once per step by one word of memory. Without an agent nobody can say that a consumer died, so one that lets a step
 * run into its time limit then is passed by, and keeps what it has, until it takes steps again.
 */
#include <stdlib.h>

#include "core/param.h"
#include "writer-private.h"

static const uint64_t SPIN_NS = 20000, LOOK_NS = 100000000;
static const double TIMEOUT_DEFAULT_S = 5;

uint32_t iog_stream_id(const struct iog_stream *s) { return s->id; }
struct iog_stream *iog_stream_next(const struct iog_stream *s) { return s->next; }

/* ---- opening ---- */

static bool whole(const char *text, uint64_t *n)
{
	char *rest;
	*n = strtoull(text, &rest, 10);
	return text[0] >= '0' && text[0] <= '9' && !*rest;
}

static int options(struct iog_stream *s, const char *text)
{
	char word[64], *value;
	double seconds = TIMEOUT_DEFAULT_S;
	s->policy = IOG_BLOCK;
	while (text && iog_client_option(&text, word, sizeof word, &value)) {
		if (iog_streq(word, "policy") && iog_client_policy(value) >= 0)
			s->policy = (uint8_t)iog_client_policy(value);
		else if (iog_streq(word, "ranks") && value && (iog_streq(value, "together") || iog_streq(value, "apart")))
			s->apart = iog_streq(value, "apart");
		else if (iog_streq(word, "timeout") && value && iog_parse_seconds(value, &seconds) && seconds >= 0)
			continue;
		else if (iog_streq(word, "patience") && value && whole(value, &s->patience))
			continue;
		else if (iog_streq(word, "bytes") && value && iog_parse_bytes(value, &s->bytes) && s->bytes)
			continue;
		else
			return FAIL(s, -EINVAL,
				"stream %s: option \"%s%s%s\": known are policy=block|latest|drop-new, timeout=SECONDS, patience=STEPS, "
				"bytes=SIZE, ranks=together|apart",
				s->name, word, value ? "=" : "", value ? value : "");
	}
	s->timeout_ns = s->policy == IOG_BLOCK ? iog_client_span(seconds) : 0;
	return 0;
}

static int parse(struct iog_stream *s, const char *schema, int rank, int nranks)
{
	struct iog_err err = { "" };
	if (nranks < 1 || nranks > IOG_WRITERS || rank < 0 || rank >= nranks)
		return FAIL(s, -EINVAL, "stream %s: rank %d of %d; a stream has 1 to %d writers on a node, counted from 0", s->name, rank,
			nranks, IOG_WRITERS);
	if (!schema || iog_schema_parse(&s->schema, schema, &err) || !s->schema.n_vars)
		return FAIL(s, -EINVAL, "stream %s: %s", s->name, err.text[0] ? err.text : "a schema declares one variable or more");
	for (uint32_t v = 0; v < s->schema.n_vars; v++) {
		const struct iog_vardef *d = &s->schema.var[v];
		if (d->n_codecs)
			return FAIL(s, -EINVAL, "stream %s: %s: a program writes plain arrays, encodings are for graphs", s->name, d->name);
		s->var[v].elem = iog_dtype_size(d->dtype);
		if (d->flags & IOG_VAR_STATIC)
			s->statics |= 1ull << v;
		if (!d->rank)
			s->var[v].placed = true, s->var[v].bytes = s->var[v].room = s->var[v].elem;
	}
	return 0;
}

/* What every step has in common. */
static void record_init(struct iog_stream *s, int rank, int nranks)
{
	s->rec = (struct iog_record){ .schema = &s->schema, .writers = (uint32_t)nranks };
	s->rec.id = (struct iog_id){ .stream = s->schema.id, .writer = (uint32_t)rank };
	for (unsigned v = 0; v < IOG_VARS; v++)
		s->rec.var[v].block = &s->block[v];
	for (unsigned d = 0; d < IOG_DIMS; d++)
		s->rec.axis[d].spacing = 1;
}

iog_stream *iog_open(iog *io, const char *name, const char *schema, const char *opts, int rank, int nranks)
{
	static struct iog no_handle = { .sock = -1, .rc = -EBADF, .page = { .fd = -1 } };
	static struct iog_stream no_memory = { .io = &no_handle, .dead = -ENOMEM, .rc = -ENOMEM };
	struct iog_stream *s = io && !iog_client_forked(io) ? calloc(1, sizeof *s) : NULL;
	if (!s) {
		if (io && !iog_client_forked(io))
			iog_client_fail(io, -ENOMEM, "out of memory");
		return &no_memory;
	}
	s->io = io;
	s->arena = IOG_REGION_NONE;
	for (unsigned i = 0; i < IOG_FANOUT; i++)
		s->edge[i] = IOG_NO_CONSUMER;
	s->id = io->next_id++;
	s->next = io->streams;
	io->streams = s;
	if (!name || !iog_name_valid(name, true) || !iog_strset(s->name, sizeof s->name, name))
		s->dead = FAIL(s, -EINVAL, "stream \"%.80s\": a name has letters, digits and _, and fewer than %d bytes", name ? name : "",
			IOG_NAME);
	if (!s->dead)
		s->dead = options(s, opts);
	if (!s->dead)
		s->dead = parse(s, schema, rank, nranks);
	if (!s->dead)
		iog_client_join(io, OPEN_NS);
	if (!s->dead && (s->dead = io->rc))
		s->rc = s->dead, s->early = true;
	if (s->dead && !s->early)
		return s;
	record_init(s, rank, nranks);
	if (s->early)
		return s;
	iog_stream_say_open(s);
	const uint64_t until = iog_now_ns() + OPEN_NS;
	for (uint64_t now; !s->opened && !s->dead && (now = iog_now_ns()) < until;)
		iog_client_hear(io, until - now);
	if (!s->opened && !s->dead)
		s->dead = FAIL(s, -ETIMEDOUT, "stream %s: the agent does not answer", name);
	return s;
}

/* ---- steps ---- */

static void reap(struct iog_stream *s)
{
	uint32_t let_go[64];
	while (iog_outlet_reap(&s->o, let_go, 64) == 64)
		;
	if (iog_unlikely(s->past != NULL))
		iog_stream_past_reap(s);
}

static bool ready(struct iog_stream *s)
{
	if (!iog_outlet_ready(&s->o))
		return false;
	for (uint32_t m = s->wide; iog_unlikely(m); m &= m - 1)
		if (iog_edge_outstanding(&s->o.edge[__builtin_ctzll(m)]) >= s->credit)
			return false;
	return iog_likely(!s->new_statics) || !iog_outlet_static_busy(&s->o, s->rec.id.epoch);
}

/* Waits for room, until `until`. What the agent says is heard: that a reader is gone makes room as well. */
static bool wait_room(struct iog_stream *s, uint64_t until)
{
	uint64_t now = iog_now_ns(), spin = now + SPIN_NS;
	for (;; now = iog_now_ns()) {
		if (iog_client_news(s->io))
			iog_client_hear(s->io, 0);
		iog_client_look(s->io, now, LOOK_NS);
		reap(s);
		if (ready(s) || !s->o.live_mask)
			return true;
		if (now >= until)
			return false;
		if (now < spin) {
			__builtin_ia32_pause();
			continue;
		}
		struct iog_waitword w[IOG_OUTLET_EDGES + 1];
		iog_stream_cut_offenders(s);
		uint32_t n = iog_consumers_sleep(&s->o, w);
		reap(s);
		const struct iog_attach_page *page = s->io->page.map; /* another one when another agent was joined */
		if (page)
			w[n++] = (struct iog_waitword){ &page->bell, s->io->bell };
		if (!ready(s))
			iog_wait_words(w, n, IOG_MIN(until - now, SLEEP_NS));
		iog_consumers_awake(&s->o);
	}
}

/* The step will not come: those who pair it with that of other ranks are told. */
static void pass(struct iog_stream *s)
{
	iog_outlet_pass(&s->o, s->rec.id.epoch, s->rec.id.seq);
	iog_stream_wake(s, iog_outlet_publish(&s->o));
}

/* Steps that nobody got, and those that an edge dropped for its consumer. */
static uint64_t dropped(const struct iog_stream *s) { return s->dropped + iog_outlet_dropped(&s->o); }

/* Five stores to a line that nobody else writes. */
static void count(struct iog_stream *s)
{
	struct iog_attach_counts *c = s->counts;
	atomic_store_explicit(&c->records, s->records, memory_order_relaxed);
	atomic_store_explicit(&c->bytes, s->sent_bytes, memory_order_relaxed);
	atomic_store_explicit(&c->dropped, dropped(s), memory_order_relaxed);
	atomic_store_explicit(&c->skipped, s->skipped, memory_order_relaxed);
	atomic_store_explicit(&c->blocked_ns, s->blocked_ns, memory_order_relaxed);
}

static int drop(struct iog_stream *s, int rc)
{
	s->dropped++;
	count(s);
	pass(s);
	return rc;
}

static void abandon(struct iog_stream *s)
{
	iog_outlet_put_back(&s->o, s->slot);
	s->in_step = false;
	drop(s, IOG_SKIP);
	if (s->asked)
		iog_stream_edges_try(s);
}

/* No room when the step began. */
static int no_room(struct iog_stream *s)
{
	int rc = IOG_SKIP;
	if (s->timeout_ns && !(s->patience && s->late >= s->patience)) {
		const uint64_t t0 = iog_now_ns();
		const bool room = wait_room(s, t0 + s->timeout_ns);
		s->blocked_ns += iog_now_ns() - t0;
		if (room)
			return IOG_OK;
		s->late++;
		rc = IOG_TIMEOUT;
	}
	if (s->io->rc)
		iog_stream_spare(s);
	return drop(s, rc);
}

/* Without one nobody brings us together with our consumers again: one is waited for once. */
static bool agent_there(struct iog_stream *s, uint64_t until)
{
	for (uint64_t now = iog_now_ns();; now = iog_now_ns()) {
		if (s->io->rc)
			iog_client_look(s->io, now, SLEEP_NS);
		if (!s->io->rc)
			return !(s->gave_up = false);
		if (s->gave_up || !s->io->again || now >= until)
			return !(s->gave_up = true);
		iog_wait_words(NULL, 0, IOG_MIN(until - now, SLEEP_NS));
	}
}

/* Somebody has had all the sizes before this one for long; or a new agent does not know yet what is kept for its graphs. */
static bool full(struct iog_stream *s) { return s->n_past == IOG_PASTS || iog_stream_unclaimed(s); }

/* A part is larger than its place. */
static int larger(struct iog_stream *s)
{
	const uint64_t t0 = iog_now_ns(), until = t0 + s->timeout_ns;
	int rc = 0;
	while (iog_stream_grown(s)) {
		if (!agent_there(s, until)) {
			rc = IOG_SKIP;
			break;
		}
		if (s->grown && !full(s) && (rc = iog_stream_grow(s)))
			break;
		if (!s->grown && (s->ready || !s->timeout_ns)) {
			s->renewed = false;
			break;
		}
		const uint64_t now = iog_now_ns();
		if (now >= until) {
			rc = s->timeout_ns ? IOG_TIMEOUT : IOG_SKIP;
			break;
		}
		iog_client_hear(s->io, IOG_MIN(until - now, SLEEP_NS));
		reap(s);
	}
	s->blocked_ns += iog_now_ns() - t0;
	return rc ? drop(s, rc) : 0;
}

/* The rare part of iog_begin: something changed, or is there for the first time. */
static __attribute__((noinline)) int prepare(struct iog_stream *s)
{
	if (iog_client_forked(s->io))
		return -EBADF;
	if (s->early)
		iog_client_look(s->io, iog_now_ns(), LOOK_NS);
	if (s->dead)
		return s->dead;
	if (iog_client_news(s->io))
		iog_client_hear(s->io, 0);
	if (s->in_step) {
		FAIL(s, -EINVAL, "stream %s: iog_begin of a step while another one is open; it was dropped", s->name);
		abandon(s);
	}
	int rc = !s->made ? iog_stream_make(s) : s->shaped ? iog_stream_shape(s) : 0;
	return rc ? rc : s->dead;
}

/* Nobody wants the step. That the agent has ended is to be noticed all the same, and steps may be far apart: the clock is looked at several times in the
 * time that may pass. */
static int skip(struct iog_stream *s)
{
	s->skipped++;
	count(s);
	if (iog_likely(s->skipped & s->skip_mask))
		return IOG_SKIP;
	const uint64_t now = iog_now_ns(), since = now - s->skipped_ns;
	s->skipped_ns = now;
	s->skip_mask = since > LOOK_NS / 2                          ? s->skip_mask >> 1
		       : since < LOOK_NS / 8 && s->skip_mask < 1023 ? s->skip_mask << 1 | 1
								    : s->skip_mask;
	iog_client_look(s->io, now, LOOK_NS);
	return IOG_SKIP;
}

/* With iog_fill and iog_commit 0.08 us, whatever the size, with a reader that does not sleep: IOG_COST=1 build/tests/bindings/c/test-iograph. */
int iog_begin(iog_stream *s, int64_t step, double time)
{
	if (iog_unlikely(iog_client_forked(s->io) || s->dead || s->in_step || !s->made || s->shaped || iog_client_news(s->io))) {
		int rc = prepare(s);
		if (rc)
			return rc;
	}
	if (iog_unlikely(step == INT64_MAX))
		return FAIL(s, -EINVAL, "stream %s: no step has the number %lld", s->name, (long long)step);
	if (iog_unlikely(!s->any || step <= s->step)) {
		s->epoch += s->any;
		s->any = true;
		s->rec.id.epoch = s->epoch;
		s->new_statics = s->statics;
	}
	s->step = s->rec.step = step;
	s->rec.time = time;
	s->rec.id.seq = iog_seq_of_step(step);
	if (iog_unlikely(s->grown || s->renewed)) {
		int rc = larger(s);
		if (rc)
			return rc;
	}
	if (!s->o.live_mask)
		return skip(s);
	reap(s);
	if (iog_unlikely(s->spared) && !iog_stream_unspare(s)) {
		iog_client_look(s->io, iog_now_ns(), LOOK_NS);
		return drop(s, IOG_SKIP);
	}
	if (iog_unlikely(!ready(s))) {
		int rc = no_room(s);
		if (rc)
			return rc;
		if (!s->o.live_mask)
			return skip(s);
	}
	if (iog_unlikely(s->rewant))
		iog_stream_wants(s);
	s->slot = iog_outlet_take(&s->o);
	s->late = 0;
	s->touched = s->cut = 0;
	s->in_step = true;
	return IOG_OK;
}

/* Where the value of a variable of the open step goes; NULL: no step is open, or there is no such variable. */
static uint8_t *place(struct iog_stream *s, const char *name, uint32_t *v)
{
	struct variable *x;
	if (iog_unlikely(iog_client_forked(s->io) || s->dead))
		return NULL;
	if (iog_unlikely(!s->in_step)) {
		FAIL(s, -EINVAL, "stream %s: no step is open; values go between an iog_begin that gave IOG_OK and iog_commit", s->name);
		return NULL;
	}
	if (iog_unlikely(!(x = iog_stream_variable(s, name, v))))
		return NULL;
	s->touched |= 1ull << *v;
	s->cut &= ~(1ull << *v);
	if (s->statics >> *v & 1) {
		x->given = true;
		return x->memory;
	}
	return iog_arena_slot(&s->o.arena, s->slot) + s->head_max + x->at;
}

/* Why place gave NULL. */
static int why_not(const struct iog_stream *s)
{
	return iog_client_forked(s->io) ? -EBADF : s->dead ? s->dead : s->in_step ? -ENOENT : -EINVAL;
}

void *iog_fill(iog_stream *s, const char *var)
{
	uint32_t v;
	return place(s, var, &v);
}

/* Copies what lies in the box that somebody wants. Nothing of it may: then the step says so by a part without elements. */
static void put_part(struct iog_stream *s, uint32_t v, uint8_t *to, const void *data, const int64_t *strides)
{
	const unsigned rank = s->schema.var[v].rank;
	struct iog_block from = s->block[v], *part = &s->part[v];
	if (strides)
		memcpy(from.stride, strides, rank * sizeof *strides);
	const bool any = iog_range_of(&s->wants.box[v], &from, rank, part);
	part->data = data;
	for (unsigned d = 0; d < rank; d++)
		part->data += (part->start[d] - from.start[d]) * from.stride[d];
	if (any)
		iog_block_gather(to, part, rank, s->var[v].elem);
	part->data = to;
	iog_block_set_dense(part, rank, s->var[v].elem);
	s->cut |= 1ull << v;
}

int iog_put(iog_stream *s, const char *var, const void *data, const int64_t *strides)
{
	uint32_t v;
	if (!data && !iog_client_forked(s->io))
		return FAIL(s, -EINVAL, "stream %s: iog_put of nothing", s->name);
	uint8_t *to = place(s, var, &v);
	if (!to)
		return why_not(s);
	const unsigned rank = s->schema.var[v].rank;
	if (iog_unlikely(!((s->wants.vars & ~s->wants.parts) >> v & 1)) && !(s->statics >> v & 1)) {
		if (s->wants.vars >> v & 1)
			put_part(s, v, to, data, strides);
	} else if (!strides || !rank) {
		memcpy(to, data, s->var[v].bytes);
	} else if (s->var[v].bytes) {
		struct iog_block b = s->block[v];
		b.data = data;
		memcpy(b.stride, strides, rank * sizeof *strides);
		iog_block_gather(to, &b, rank, s->var[v].elem);
	}
	return IOG_OK;
}

int iog_wanted(const iog_stream *s, const char *var)
{
	struct iog_block part;
	const int v = !iog_client_forked(s->io) && !s->dead && var ? iog_schema_var(&s->schema, var) : -1;
	if (v < 0)
		return 0;
	if (!s->made || s->rewant || s->statics >> v & 1) /* nobody has said yet; or for those who come later */
		return 1;
	if (!(s->wants.parts >> v & 1))
		return s->wants.vars >> v & 1;
	return iog_range_of(&s->wants.box[v], &s->block[v], s->schema.var[v].rank, &part);
}

int iog_attr(iog_stream *s, const char *name, double value)
{
	uint32_t v;
	uint8_t *to = place(s, name, &v);
	if (!to)
		return why_not(s);
	if (s->schema.var[v].rank) {
		s->touched &= ~(1ull << v);
		return FAIL(s, -EINVAL, "stream %s: %s has dimensions; iog_put is for it", s->name, name);
	}
	iog_store(to, s->schema.var[v].dtype, value);
	return IOG_OK;
}

/* The blocks of the step: what was filled, in the slot; static values where they are kept. */
static int blocks(struct iog_stream *s, uint64_t have)
{
	const uint8_t *payload = iog_arena_slot(&s->o.arena, s->slot) + s->head_max;
	for (uint32_t v = 0; v < s->schema.n_vars; v++) {
		s->rec.var[v] = (struct iog_var){ .block = s->cut >> v & 1 ? &s->part[v] : &s->block[v], .n_blocks = have >> v & 1 };
		s->block[v].data = payload + s->var[v].at;
	}
	if (iog_likely(!s->statics))
		return 0;
	/* The first step of an epoch says which there are. */
	if (s->new_statics) {
		s->statics_sent = 0;
		for (uint32_t v = 0; v < s->schema.n_vars; v++)
			if (s->var[v].given && (s->statics >> v & 1))
				s->statics_sent |= 1ull << v;
	}
	for (uint64_t m = s->statics_sent; m; m &= m - 1) {
		const int v = __builtin_ctzll(m);
		s->rec.var[v].n_blocks = 1;
		s->block[v].data = s->var[v].memory;
	}
	int rc = iog_outlet_static(&s->o, &s->rec);
	if (!rc)
		s->new_statics = 0;
	return rc;
}

/* Bytes of values in the step that is sent. */
static uint64_t sent(const struct iog_stream *s)
{
	uint64_t bytes = 0;
	for (uint32_t v = 0; v < s->schema.n_vars; v++)
		if (s->rec.var[v].n_blocks && !(s->statics >> v & 1))
			bytes += (uint64_t)iog_block_elems(s->rec.var[v].block, s->schema.var[v].rank) * s->var[v].elem;
	return bytes;
}

/* The head of the open step, all of it. */
static int lay(struct iog_stream *s, uint64_t have)
{
	uint32_t viewed;
	int64_t len = blocks(s, have);
	s->layout += have != s->have;
	s->have = have;
	s->laid[s->slot] = 0;
	if (!len)
		len = iog_wire_put(iog_arena_slot(&s->o.arena, s->slot), s->o.arena.slot_bytes, s->head_max, s->payload, &s->rec, &s->view,
			1, &viewed);
	if (len < 0) {
		abandon(s);
		return FAIL(s, (int)len, "stream %s: step %lld does not fit its slot", s->name, (long long)s->step);
	}
	s->laid[s->slot] = s->layout;
	s->length = (uint64_t)len;
	s->values = sent(s);
	s->layout += s->cut || s->statics; /* parts that are cut differ from step to step, and static values move from epoch to epoch */
	return 0;
}

int iog_commit(iog_stream *s)
{
	if (iog_unlikely(iog_client_forked(s->io) || s->dead || !s->in_step))
		return iog_client_forked(s->io) ? -EBADF
		       : s->dead                ? s->dead
						: FAIL(s, -EINVAL, "stream %s: iog_commit without a step", s->name);
	const uint64_t have = s->touched & s->wants.vars & ~s->statics, now = iog_ticker_ns(&s->io->ticker);
	s->rec.born_ns = now;
	if (iog_likely(s->laid[s->slot] == s->layout && have == s->have && !s->cut)) {
		iog_wire_restamp(iog_arena_slot(&s->o.arena, s->slot), &s->rec);
	} else {
		int rc = lay(s, have);
		if (rc)
			return rc;
	}
	s->in_step = false;
	const bool taken = iog_outlet_push(&s->o, s->slot, &s->rec, s->length);
	iog_stream_wake(s, iog_outlet_publish(&s->o));
	s->records += taken;
	s->sent_bytes += s->values;
	count(s);
	if (iog_unlikely(s->asked))
		iog_stream_edges_try(s);
	iog_client_look(s->io, now, LOOK_NS);
	return IOG_OK;
}

/* ---- the end ---- */

/* Consumers that want every step have given back what they had; those whose agent has died count when somebody may come in their place. */
static bool all_back(const struct iog_stream *s, bool orphans)
{
	for (unsigned i = 0; i < IOG_FANOUT; i++) {
		const struct iog_consumer *e = &s->edge[i];
		const bool waits = e->orphan ? orphans : e->state == IOG_CONSUMER_LIVE && s->o.edge[e->k].e.policy == IOG_BLOCK;
		if (waits && iog_edge_outstanding(&s->o.edge[e->k]))
			return false;
	}
	for (const struct past *p = s->past; p; p = p->next)
		for (unsigned i = 0; i < IOG_FANOUT; i++)
			if (p->edge[i].state == IOG_CONSUMER_LIVE && (orphans || !p->edge[i].orphan))
				return false;
	return true;
}

/* Waits for that; for another agent as long as for room in a step. */
static bool back(struct iog_stream *s, uint64_t until)
{
	uint64_t nap = 20000, now = iog_now_ns();
	const uint64_t alone_until = now + s->timeout_ns;
	for (;; nap = IOG_MIN(2 * nap, (uint64_t)2000000)) {
		reap(s);
		if (all_back(s, !s->io->rc || (s->io->again && now < alone_until)))
			return all_back(s, true);
		now = iog_now_ns();
		if (now >= until)
			return false;
		if (iog_client_news(s->io))
			iog_client_hear(s->io, 0);
		iog_client_look(s->io, now, LOOK_NS);
		iog_wait_words(NULL, 0, IOG_MIN(nap, until - now));
	}
}

int iog_close(iog_stream *s, double timeout)
{
	if (iog_client_forked(s->io))
		return -EBADF;
	if (!s->id)
		return s->dead; /* the one that stands for all there was no memory for */
	bool taken = false;
	if (s->made) {
		if (s->in_step)
			abandon(s);
		if (iog_client_news(s->io))
			iog_client_hear(s->io, 0);
		s->closing = true;
		iog_stream_wake(s, iog_outlet_close(&s->o, IOG_EDGE_CLOSED));
		taken = back(s, iog_now_ns() + iog_client_span(timeout));
		if (!taken)
			FAIL(s, -ETIMEDOUT, "stream %s: readers did not take everything in time", s->name);
	}
	if (s->opened) {
		struct iog_msg m = { .kind = IOG_MSG_CLOSE, .id = s->id };
		iog_client_say(s->io, &m, NULL, 0);
	}
	/* That the agent has ended does not matter when it had all before. */
	int rc = s->rc || taken ? s->rc : s->io->rc;
	for (struct iog_stream **at = &s->io->streams; *at; at = &(*at)->next)
		if (*at == s) {
			*at = s->next;
			break;
		}
	for (unsigned i = 0; i < IOG_FANOUT; i++)
		iog_consumer_close(&s->edge[i]);
	for (unsigned v = 0; v < IOG_VARS; v++)
		free(s->var[v].memory);
	iog_stream_past_free(s);
	iog_region_close(&s->arena);
	free(s->memory);
	free(s);
	return rc;
}

int iog_stream_stats(const iog_stream *s, iog_stats *stats)
{
	*stats = (iog_stats){ 0 };
	if (iog_client_forked(s->io))
		return -EBADF;
	*stats = (iog_stats){ .records = s->records,
		.bytes = s->sent_bytes,
		.dropped = dropped(s),
		.skipped = s->skipped,
		.blocked_s = (double)s->blocked_ns * 1e-9,
		.readers = __builtin_popcountll(s->o.live_mask) };
	return s->dead;
}
