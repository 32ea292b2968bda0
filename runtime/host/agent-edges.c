/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The edges between who writes the agent's streams and who takes them: who is to have one, what memory it is made of, and what its consumer wants of the
 * writer. Messages about them are handled here; what a client says is checked where it is used. The agent's thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent-private.h"

/* ---- making them ---- */

struct edge *iog_agent_edge_find(const struct iog_agent *a, uint32_t id)
{
	for (uint32_t k = 0; k < a->n_edges; k++)
		if (a->edge[k]->id == id)
			return a->edge[k];
	return NULL;
}

void iog_agent_edge_drop(struct iog_agent *a, uint32_t k)
{
	struct edge *e = a->edge[k];
	iog_region_close(&e->up);
	iog_region_close(&e->down);
	iog_region_close(&e->box);
	iog_region_close(&e->arena);
	free(e);
	a->edge[k] = a->edge[--a->n_edges];
}

static void ask_writer(struct iog_agent *a, struct edge *e)
{
	if (e->writer->offer) {
		iog_agent_offer_ask(a, e);
		return;
	}
	struct iog_msg *m = iog_agent_fresh(a, IOG_MSG_EDGE, e->writer->id);
	m->edge = e->id, m->capacity = e->capacity, m->policy = e->policy, m->want = e->want;
	m->a = !e->reader;
	if (!e->reader)
		iog_agent_graphs_label(a, iog_feed_owner(e->stream->feed, e->feed_life), m->name, sizeof m->name);
	iog_agent_send(a, e->writer->client, m, &e->up.fd, 1);
	e->asked = true;
}

uint32_t iog_agent_edge_capacity(const struct writer *w, uint8_t policy)
{
	if (policy != IOG_BLOCK)
		return IOG_READER_CREDIT;
	/* A stream that never waits has its blocking readers among those that drop: they must not take all its slots. */
	const uint32_t most = w->stream->policy == IOG_BLOCK ? w->credit : w->arena.n_slots / 2;
	uint32_t n = 2;
	while (n * 2 <= IOG_MIN(most, (uint32_t)IOG_AGENT_CREDIT))
		n *= 2;
	return n;
}

/* One that nobody uses: edges from an agent before have numbers that their ends say. */
static uint32_t number_new(struct iog_agent *a)
{
	do
		a->next_edge++;
	while (!a->next_edge || iog_agent_edge_find(a, a->next_edge));
	return a->next_edge;
}

struct edge *iog_agent_edge_add(struct iog_agent *a, uint32_t number, struct writer *w, struct reader *r)
{
	struct edge *e = calloc(1, sizeof *e);
	if (!e || !iog_agent_push(&a->edge, &a->n_edges, e)) {
		free(e);
		return NULL;
	}
	*e = (struct edge){ .id = number,
		.writer = w,
		.stream = w->stream,
		.reader = r,
		.rank = w->rank,
		.policy = r ? r->policy : IOG_BLOCK,
		.up = IOG_REGION_NONE,
		.down = IOG_REGION_NONE,
		.box = IOG_REGION_NONE,
		.arena = IOG_REGION_NONE };
	return e;
}

static void edge_new(struct iog_agent *a, struct writer *w, struct reader *r, uint32_t feed_life)
{
	struct edge *e = iog_agent_edge_add(a, number_new(a), w, r);
	struct iog_err err = { "" };
	if (!e)
		return;
	e->feed_life = feed_life;
	const bool hub = !r && iog_agent_is_hub(a, iog_feed_owner(w->stream->feed, feed_life), &e->policy, &e->want);
	if (!r && w->stream->policy != IOG_BLOCK)
		e->policy = IOG_DROP_NEW;
	e->capacity = iog_agent_edge_capacity(w, e->policy);
	if (r) {
		struct iog_msg *m = iog_agent_fresh(a, IOG_MSG_EDGE_WANTED, r->id);
		m->edge = e->id, m->capacity = e->capacity, m->policy = e->policy, m->a = w->rank;
		iog_agent_send(a, r->client, m, NULL, 0);
	} else if (iog_region_create(&e->up, "iog-up", iog_up_bytes(e->capacity), 0, &err)) {
		iog_agent_say(a, "stream %s: %s", w->stream->name, err.text);
		iog_agent_edge_drop(a, a->n_edges - 1);
	} else {
		if (!hub && !w->offer)
			iog_agent_graphs_want(a, w->stream, &e->want);
		/* What its taker has been promised for a graph that comes next. */
		for (uint32_t k = 0; k < a->n_edges && e->want.vars; k++)
			if (a->edge[k]->old && a->edge[k]->writer == w && a->edge[k]->feed_life == feed_life && !a->edge[k]->reader)
				e->want.vars = a->edge[k]->want.vars ? e->want.vars | a->edge[k]->want.vars : 0;
		ask_writer(a, e);
	}
}

/* The edge from w of the feed's taker of that life. */
static const struct edge *feed_edge_of(const struct iog_agent *a, const struct writer *w, uint32_t life)
{
	for (uint32_t k = 0; k < a->n_edges; k++)
		if (a->edge[k]->writer == w && !a->edge[k]->reader && a->edge[k]->feed_life == life && !a->edge[k]->old)
			return a->edge[k];
	return NULL;
}

bool iog_agent_edge_fed(const struct iog_agent *a, const struct writer *w, uint32_t life)
{
	const struct edge *e = feed_edge_of(a, w, life);
	return e && (e->made || !w->stream->apart);
}

void iog_agent_edges_connect(struct iog_agent *a)
{
	/* A rank that went before a consumer was there has no edge to it, and is not waited for. */
	for (uint32_t i = 0; i < a->n_streams; i++) {
		struct stream *s = a->stream[i];
		for (uint32_t r = 0; s->known && r < s->n_writers; r++)
			if (!s->writer[r])
				iog_feed_ended(s->feed, 0, r);
	}
	for (uint32_t i = 0; i < a->n_readers; i++) {
		struct reader *r = a->reader[i];
		for (uint32_t w = 0; r->told && w < r->stream->n_writers; w++) {
			if (r->stream->writer[w]) {
				r->gone &= ~(1ull << w);
				continue;
			}
			if (r->gone >> w & 1)
				continue;
			r->gone |= 1ull << w;
			struct iog_msg *m = iog_agent_fresh(a, IOG_MSG_EDGE_WANTED, r->id);
			const uint32_t number = number_new(a);
			m->edge = number, m->capacity = IOG_READER_CREDIT, m->policy = r->policy, m->a = w;
			iog_agent_send(a, r->client, m, NULL, 0);
			m = iog_agent_fresh(a, IOG_MSG_WRITER_GONE, r->id);
			m->edge = number, m->a = w;
			iog_agent_send(a, r->client, m, NULL, 0);
		}
	}
	for (uint32_t i = 0; i < a->n_writers; i++) {
		struct writer *w = a->writer[i];
		uint32_t life[IOG_TAKERS];
		if (!w->stream->known || w->closed || w->map.fd < 0)
			continue;
		for (uint32_t k = iog_feed_lives(w->stream->feed, life); k-- > 0;)
			if (!feed_edge_of(a, w, life[k]))
				edge_new(a, w, NULL, life[k]);
		for (uint32_t r = 0; r < a->n_readers; r++) {
			bool have = a->reader[r]->stream != w->stream || !a->reader[r]->told;
			for (uint32_t k = 0; k < a->n_edges && !have; k++)
				have = a->edge[k]->writer == w && a->edge[k]->reader == a->reader[r] && !a->edge[k]->old;
			if (!have && !iog_agent_adopt(a, w, a->reader[r]))
				edge_new(a, w, a->reader[r], 0);
		}
	}
}

void iog_agent_edge_cut(struct iog_agent *a, struct edge *e)
{
	if (!e->writer || !e->asked)
		return;
	if (e->writer->offer) {
		iog_offer_cut(e->writer->offer, e->id);
		return;
	}
	struct iog_msg *m = iog_agent_fresh(a, IOG_MSG_CUT, e->writer->id);
	m->edge = e->id;
	iog_agent_send(a, e->writer->client, m, NULL, 0);
}

void iog_agent_edges_cut(struct iog_agent *a)
{
	for (uint32_t k = a->n_edges; k-- > 0;) {
		struct edge *e = a->edge[k];
		uint32_t life[IOG_TAKERS];
		bool there = e->reader;
		if (!e->reader && e->old && !iog_feed_reads(e->stream->feed, e->feed_life, e->rank, e->down.map)) {
			iog_agent_edge_drop(a, k);
			continue;
		}
		for (uint32_t i = there ? 0 : iog_feed_lives(e->stream->feed, life); i-- > 0 && !there;)
			there = life[i] == e->feed_life;
		if (there)
			continue;
		iog_agent_edge_cut(a, e);
		iog_agent_edge_drop(a, k);
	}
}

bool iog_agent_edges_due(const struct iog_agent *a, const struct writer *w)
{
	for (uint32_t k = 0; k < a->n_edges; k++)
		if (a->edge[k]->writer == w && a->edge[k]->reader && a->edge[k]->policy == IOG_BLOCK && !a->edge[k]->asked &&
			!a->edge[k]->old)
			return true;
	return false;
}

/* ---- what writers and consumers answer ---- */

/* A reader has made the region it releases by: on to the writer, which checks it again. */
const char *iog_agent_on_edge(struct iog_agent *a, struct client *c, const struct iog_msg *m, int *fds, uint32_t n)
{
	struct edge *e = iog_agent_edge_find(a, m->edge);
	struct iog_err err = { "" };
	if (!e || !e->reader || e->reader->client != c)
		return e ? "answered for an edge of somebody else" : NULL; /* it may have been cut meanwhile */
	if (n != 1 || e->asked || e->up.map)
		return "answered twice, or without memory";
	if (!iog_want_valid(&m->want, &e->stream->schema))
		return "wants what the stream cannot have";
	const int fd = fds[0];
	fds[0] = -1;
	if (iog_region_open(&e->up, fd, iog_up_bytes(e->capacity), IOG_AGENT_ARENA_MAX, &err)) {
		e->up = IOG_REGION_NONE;
		return "gave memory that could be taken away again";
	}
	e->want = m->want;
	if (e->writer)
		ask_writer(a, e);
	return NULL;
}

static int feed_edge(struct edge *e, int *fds, bool resumed, struct iog_err *err)
{
	const struct writer *w = e->writer;
	const int down = fds[0];
	fds[0] = -1;
	int rc = iog_region_open(&e->down, down, iog_down_bytes(e->capacity), IOG_AGENT_ARENA_MAX, err);
	if (rc) {
		e->down = IOG_REGION_NONE;
		return rc;
	}
	/* A mapping of the edge's own: the writer's may go before this one is drained. */
	rc = iog_region_open(&e->arena, dup(w->map.fd), iog_arena_bytes(&w->arena), IOG_AGENT_ARENA_MAX, err);
	if (rc) {
		e->arena = IOG_REGION_NONE;
		return rc;
	}
	struct iog_worker_in in = { .edge = { .down = e->down.map, .up = e->up.map, .capacity = e->capacity, .policy = e->policy },
		.n_slots = w->arena.n_slots,
		.slot_bytes = w->arena.slot_bytes,
		.n_regions = 1 };
	/* The slots end where the arena ends, whatever the region is rounded up to. */
	in.region[0] = (struct iog_region){ .base = e->arena.map, .size = iog_arena_bytes(&w->arena), .arena = w->arena.id };
	return iog_feed_attach(e->stream->feed, e->feed_life, w->rank, &in, resumed, err);
}

const char *iog_agent_on_edge_made(struct iog_agent *a, struct client *c, const struct iog_msg *m, int *fds, uint32_t n)
{
	struct edge *e = iog_agent_edge_find(a, m->edge);
	if (!e)
		return NULL; /* cut meanwhile */
	if (!e->writer || e->writer->client != c || !e->asked || e->made)
		return "answered for an edge of somebody else, or twice";
	if (n != (e->policy == IOG_LATEST ? 2u : 1u))
		return "made an edge without its memory";
	e->resumed = m->a;
	iog_agent_edge_made(a, e, fds, n);
	return NULL;
}

void iog_agent_edge_made(struct iog_agent *a, struct edge *e, int *fds, uint32_t n)
{
	struct iog_err err = { "" };
	e->made = true;
	if (!e->reader) {
		if (feed_edge(e, fds, e->resumed, &err)) {
			iog_agent_edge_refused(a, e, err.text);
			iog_agent_edge_cut(a, e); /* or it would go on sending, and wait for it */
		}
		return;
	}
	struct iog_msg *o = iog_agent_fresh(a, IOG_MSG_EDGE_MADE, e->reader->id);
	int all[3] = { e->writer->map.fd, fds[0], n > 1 ? fds[1] : -1 };
	o->edge = e->id, o->capacity = e->capacity, o->policy = e->policy, o->arena = e->writer->arena, o->a = e->writer->rank;
	o->arena.base = NULL;
	iog_agent_send(a, e->reader->client, o, all, n + 1);
}

const char *iog_agent_on_refused(struct iog_agent *a, struct client *c, const struct iog_msg *m)
{
	struct edge *e = iog_agent_edge_find(a, m->edge);
	if (!e || !e->writer || e->writer->client != c || !e->asked || e->made)
		return NULL; /* what was made and is given up is cut by whoever notices */
	iog_agent_edge_refused(a, e, m->text);
	return NULL;
}

void iog_agent_edge_refused(struct iog_agent *a, struct edge *e, const char *why)
{
	iog_agent_say(a, "stream %s, rank %u: %.200s", e->stream->name, e->writer->rank, why);
	e->made = true;
	if (!e->reader) {
		iog_feed_ended(e->stream->feed, e->feed_life, e->writer->rank);
		return;
	}
	struct iog_msg *o = iog_agent_fresh(a, IOG_MSG_WRITER_GONE, e->reader->id);
	o->edge = e->id, o->a = e->writer->rank;
	iog_agent_send(a, e->reader->client, o, NULL, 0);
}

/* ---- wants that grow ---- */

/* What the writer pushes from now on has what is wanted, or nothing comes any more; what it pushed before is still to be taken. */
static void widened(struct edge *e)
{
	const struct iog_down *down = e->down.map;
	e->widens = false;
	e->flushes = down;
	e->flush = down ? atomic_load(&down->head) : 0;
}

/* From now on the consumer of e wants this; `wider`: it may be more than before. */
static void tell_want(struct iog_agent *a, struct edge *e, const struct iog_want *want, bool wider)
{
	e->want = *want;
	if (e->writer->offer)
		iog_offer_want(e->writer->offer, e->id, want);
	if (e->writer->offer || e->old) {
		if (wider)
			widened(e);
		return;
	}
	struct iog_msg *m = iog_agent_fresh(a, IOG_MSG_WANT, e->writer->id);
	e->widens = wider;
	m->edge = e->id, m->want = *want;
	iog_agent_send(a, e->writer->client, m, NULL, 0);
}

static bool is_owners(const struct edge *e, const void *owner)
{
	return !e->reader && iog_feed_owner(e->stream->feed, e->feed_life) == owner;
}

void iog_agent_edges_widen(struct iog_agent *a, const void *owner, uint64_t vars)
{
	for (uint32_t k = 0; k < a->n_edges; k++) {
		struct edge *e = a->edge[k];
		struct iog_want want = e->want;
		if (!is_owners(e, owner) || !e->writer || !e->asked || !want.vars || !(vars & ~want.vars))
			continue;
		want.vars |= vars;
		tell_want(a, e, &want, true);
	}
}

const char *iog_agent_on_want(struct iog_agent *a, struct client *c, const struct iog_msg *m)
{
	struct edge *e = iog_agent_edge_find(a, m->edge);
	if (!e || !e->widens)
		return NULL; /* cut meanwhile */
	if (!e->writer || e->writer->client != c)
		return "answered for an edge of somebody else";
	widened(e);
	return NULL;
}

static bool edge_wide(struct edge *e)
{
	const struct iog_up *up = e->up.map;
	if (e->flushes && (int32_t)(atomic_load(&up->head) - e->flush) >= 0)
		e->flushes = false;
	/* Who has gone sends nothing more, and what it left had to do. */
	return !e->writer || !(e->widens || e->flushes);
}

bool iog_agent_edges_want(struct iog_agent *a, const void *owner, const struct iog_want *want, bool wider)
{
	for (uint32_t k = 0; k < a->n_edges; k++)
		if (is_owners(a->edge[k], owner) && a->edge[k]->writer && a->edge[k]->writer->client->minor < 1)
			return false;
	for (uint32_t k = 0; k < a->n_edges; k++)
		if (is_owners(a->edge[k], owner) && a->edge[k]->writer)
			tell_want(a, a->edge[k], want, wider);
	return true;
}

bool iog_agent_edges_wide(struct iog_agent *a, const void *owner)
{
	for (uint32_t k = 0; k < a->n_edges; k++)
		if (is_owners(a->edge[k], owner) && !edge_wide(a->edge[k]))
			return false;
	return true;
}

/* ---- memory that is outgrown ---- */

/* Steps of old memory that a reader has not given back are known to the writer by the edge's number: of the youngest, as many as it keeps. */
static void prune(struct iog_agent *a, const struct writer *w, const struct reader *r)
{
	uint32_t n = 0, oldest = 0;
	for (uint32_t k = 0; k < a->n_edges; k++) {
		if (!a->edge[k]->old || a->edge[k]->writer != w || a->edge[k]->reader != r)
			continue;
		if (!n++ || a->edge[k]->id < a->edge[oldest]->id)
			oldest = k;
	}
	if (n > IOG_PASTS)
		iog_agent_edge_drop(a, oldest);
}

void iog_agent_edges_outgrown(struct iog_agent *a, const struct writer *w, bool stay)
{
	for (uint32_t k = 0; k < a->n_edges; k++) {
		struct edge *e = a->edge[k];
		if (e->writer != w || !e->made || (e->reader && stay))
			continue;
		e->old = true;
		if (e->widens)
			widened(e);
	}
	for (uint32_t k = 0; k < a->n_readers; k++)
		if (a->reader[k]->stream == w->stream)
			prune(a, w, a->reader[k]);
}
