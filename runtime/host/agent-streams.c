/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The agent's streams: who writes them, who reads them, and the edges between. Messages about them are handled here; what a client says is
 * checked where it is used. The agent's thread.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent-private.h"
#include "collect.h"

enum { BLOCK_CREDIT = 64 }; /* of a blocking edge, at most */
_Static_assert(BLOCK_CREDIT <= (int)IOG_COLLECT_KEPT, "a graph that waits for as many steps as it has credit gets them");
static const uint64_t ARENA_MAX = 1ull << 42;

/* ---- streams ---- */

static struct stream *stream_find(const struct iog_agent *a, const char *name)
{
	for (uint32_t i = 0; i < a->n_streams; i++)
		if (!strcmp(a->stream[i]->name, name))
			return a->stream[i];
	return NULL;
}

/* Makes room: forgets one that nobody writes, reads, or takes into a graph. */
static void stream_forget(struct iog_agent *a)
{
	for (uint32_t i = 0; i < a->n_streams; i++) {
		struct stream *s = a->stream[i];
		uint32_t life[IOG_TAKERS];
		bool used = iog_feed_lives(s->feed, life);
		for (uint32_t k = 0; k < IOG_WRITERS; k++)
			used |= s->writer[k] != NULL;
		for (uint32_t k = 0; k < a->n_readers; k++)
			used |= a->reader[k]->stream == s;
		for (uint32_t k = 0; k < a->n_edges; k++)
			used |= a->edge[k]->stream == s;
		used |= iog_agent_hubs_of(a, s);
		if (used)
			continue;
		iog_feed_put(s->feed);
		free(s);
		a->stream[i] = a->stream[--a->n_streams];
		return;
	}
}

static struct stream *stream_new(const char *name, struct stream *hub_of)
{
	struct stream *s = calloc(1, sizeof *s);
	if (!s)
		return NULL;
	iog_strset(s->name, sizeof s->name, name);
	s->hub_of = hub_of;
	/* No graph takes what a hub gives: a name that no source can have. */
	s->feed = iog_feed_get(hub_of ? "" : name);
	if (!s->feed) {
		free(s);
		return NULL;
	}
	return s;
}

/* NULL with a message. */
static struct stream *stream_get(struct iog_agent *a, const char *name, struct iog_err *err)
{
	struct stream *s = stream_find(a, name);
	if (s)
		return s;
	if (!iog_agent_plain(name)) {
		iog_fail(err, -EINVAL, "the name of a stream may not have control characters");
		return NULL;
	}
	if (a->n_streams == IOG_AGENT_STREAMS)
		stream_forget(a);
	if (a->n_streams == IOG_AGENT_STREAMS || !(s = stream_new(name, NULL))) {
		iog_fail(err, -ENOMEM, "the agent has no room for another stream (\"%s\")", name);
		return NULL;
	}
	return a->stream[a->n_streams++] = s;
}

/* Quarters of a second since 2025; up to 2042. */
static uint32_t epoch_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	const int64_t now = 4 * ((int64_t)t.tv_sec - 1735689600) + t.tv_nsec / 250000000;
	return now > 0 && now < INT32_MAX ? (uint32_t)now : 0;
}

/*
 * First epoch of a new run: the time, so that sinks which have the steps of a run before, of this agent or another, take these for later ones. A program
 * that begins epochs faster than that for all its time should not be run again at once.
 */
static uint32_t epoch_new(const struct stream *s)
{
	const uint32_t now = epoch_now();
	return IOG_MAX(now, s->epoch + 1);
}

uint32_t iog_agent_stream_ranks(const struct stream *s)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < IOG_WRITERS; i++)
		n += s->writer[i] != NULL;
	return n;
}

uint32_t iog_agent_stream_audience(const struct iog_agent *a, const struct stream *s)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < a->n_readers; i++)
		n += a->reader[i]->stream == s || a->reader[i]->stream->hub_of == s;
	return n;
}

uint32_t iog_agent_stream_readers(const struct iog_agent *a, const struct stream *s)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < a->n_readers; i++)
		n += a->reader[i]->stream == s && a->reader[i]->told;
	return n;
}

/* Edges of its writers that readers have, themselves or by a hub. */
static uint32_t direct(const struct iog_agent *a, const struct stream *s)
{
	return iog_agent_stream_readers(a, s) + iog_agent_hubs_of(a, s);
}

/*
 * How many may read it directly: beyond, a hub does. A writer that waits may get two of them, one that never waits one, and graphs beside the first take
 * the places of readers there. What this process publishes needs no hub, and ranks apart cannot have one: it would put their steps in one row.
 */
static uint32_t direct_max(struct stream *s)
{
	uint32_t life[IOG_TAKERS];
	if (s->hub_of)
		return IOG_OUTLET_EDGES;
	if (s->writer[0] && s->writer[0]->offer)
		return IOG_OUTLET_EDGES - IOG_READERS;
	if (s->policy == IOG_BLOCK)
		return s->apart ? IOG_READERS : IOG_READERS - 2;
	const uint32_t takers = iog_feed_lives(s->feed, life), more = takers ? takers - 1 : 0, most = IOG_READERS - !s->apart;
	return most > more ? most - more : 0;
}

/*
 * A writer has place for IOG_FANOUT edges. Where it never waits it has promised slots to IOG_READERS readers and one graph; more graphs take
 * the place of readers then.
 */
int iog_agent_stream_room(struct iog_agent *a, const char *name, uint32_t takers, struct iog_err *err)
{
	const struct stream *s = stream_find(a, name);
	if (!s || !takers)
		return 0;
	if (s->policy == IOG_BLOCK && takers + IOG_READERS >= IOG_FANOUT)
		return iog_fail(err, -ENOSPC,
			"%u graphs take stream \"%s\", which is as many as there can be; unload one, or fork inside a graph", takers, name);
	if (s->policy != IOG_BLOCK && takers + direct(a, s) >= 1 + IOG_READERS)
		return iog_fail(err, -ENOSPC,
			"stream \"%s\" does not wait, and has memory for %d graphs and readers together, which it has; end one, or open it "
			"with "
			"policy=block",
			name, 1 + IOG_READERS);
	return 0;
}

bool iog_agent_stream_there(const struct iog_agent *a, const char *name)
{
	const struct stream *s = stream_find(a, name);
	return s && s->known && iog_agent_stream_ranks(s);
}

static struct writer *writer_find(struct iog_agent *a, const struct client *c, uint32_t id)
{
	for (uint32_t i = 0; i < a->n_writers; i++)
		if (a->writer[i]->client == c && a->writer[i]->id == id)
			return a->writer[i];
	return NULL;
}

static struct reader *reader_find(struct iog_agent *a, const struct client *c, uint32_t id)
{
	for (uint32_t i = 0; i < a->n_readers; i++)
		if (a->reader[i]->client == c && a->reader[i]->id == id)
			return a->reader[i];
	return NULL;
}

/* ---- edges ---- */

struct edge *iog_agent_edge_find(const struct iog_agent *a, uint32_t id)
{
	for (uint32_t k = 0; k < a->n_edges; k++)
		if (a->edge[k]->id == id)
			return a->edge[k];
	return NULL;
}

static void drop_edge(struct iog_agent *a, uint32_t k)
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

/* Steps that a consumer of w may have outstanding. */
static uint32_t capacity(const struct writer *w, uint8_t policy)
{
	if (policy != IOG_BLOCK)
		return IOG_READER_CREDIT;
	/* A stream that never waits has its blocking readers among those that drop: they must not take all its slots. */
	const uint32_t most = w->stream->policy == IOG_BLOCK ? w->credit : w->arena.n_slots / 2;
	uint32_t n = 2;
	while (n * 2 <= IOG_MIN(most, (uint32_t)BLOCK_CREDIT))
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
	e->capacity = capacity(w, e->policy);
	if (r) {
		struct iog_msg *m = iog_agent_fresh(a, IOG_MSG_EDGE_WANTED, r->id);
		m->edge = e->id, m->capacity = e->capacity, m->policy = e->policy, m->a = w->rank;
		iog_agent_send(a, r->client, m, NULL, 0);
	} else if (iog_region_create(&e->up, "iog-up", iog_up_bytes(e->capacity), 0, &err)) {
		iog_agent_say(a, "stream %s: %s", w->stream->name, err.text);
		drop_edge(a, a->n_edges - 1);
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

/* Every consumer of a known stream has an edge from every writer. */
static void connect_all(struct iog_agent *a)
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

/* The consumer of an edge is gone: its writer frees what it held. */
static void cut(struct iog_agent *a, struct edge *e)
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

/* Edges to takers that have gone, by nobody's fault. */
static void cut_feeds(struct iog_agent *a)
{
	for (uint32_t k = a->n_edges; k-- > 0;) {
		struct edge *e = a->edge[k];
		uint32_t life[IOG_TAKERS];
		bool there = e->reader;
		if (!e->reader && e->old && !iog_feed_reads(e->stream->feed, e->feed_life, e->rank, e->down.map)) {
			drop_edge(a, k);
			continue;
		}
		for (uint32_t i = there ? 0 : iog_feed_lives(e->stream->feed, life); i-- > 0 && !there;)
			there = life[i] == e->feed_life;
		if (there)
			continue;
		cut(a, e);
		drop_edge(a, k);
	}
}

/* What a reader waits for: one that has ended may come again. */
static bool appeared(const struct stream *s) { return s->known && iog_agent_stream_ranks(s); }

/* One that had an agent before reads as it did: it has edges that writers have, too, or what it had was a hub's, which is gone. */
static bool was_direct(const struct stream *s, const struct reader *r)
{
	for (uint32_t i = 0; i < IOG_WRITERS; i++)
		for (uint32_t k = 0; s->writer[i] && k < s->writer[i]->held.n; k++)
			for (uint32_t n = 0; n < r->held.n; n++)
				if (s->writer[i]->held.number[k] == r->held.number[n])
					return true;
	return false;
}

/* The stream is there: r reads it directly, or behind a hub. False: it cannot. */
static bool place_reader(struct iog_agent *a, struct reader *r)
{
	struct iog_err err = { "" };
	struct stream *s = r->stream;
	const bool direct = r->back && was_direct(s, r), hubs = r->back && s->n_writers > 1 && direct_max(s) < IOG_READERS;
	if (direct || (!hubs && iog_agent_stream_readers(a, s) < direct_max(s)))
		return true;
	const bool can = !s->apart && !(s->writer[0] && s->writer[0]->offer);
	struct stream *hub = can ? iog_agent_hub_for(a, s, r->policy, &err) : NULL;
	if (hub && iog_agent_stream_readers(a, hub) < direct_max(hub)) {
		r->stream = hub;
		return true;
	}
	iog_agent_refuse(a, r->client, r->id, "%s", err.text[0] ? err.text : "as many read the stream as can at once");
	return false;
}

static void reader_free(struct iog_agent *a, uint32_t i);

static void tell_reader(struct iog_agent *a, uint32_t i)
{
	struct reader *r = a->reader[i];
	if (!place_reader(a, r)) {
		reader_free(a, i);
		return;
	}
	const struct stream *s = r->stream;
	struct iog_msg *m = iog_agent_fresh(a, IOG_MSG_SUBSCRIBED, r->id);
	m->schema = s->schema;
	m->b = s->n_writers, m->epoch = s->epoch, m->blocks = s->blocks, m->apart = s->apart;
	r->told = true;
	iog_agent_send(a, r->client, m, NULL, 0);
}

/* ---- what clients say ---- */

const char *iog_agent_stream_job(const struct stream *s)
{
	for (uint32_t i = 0; i < IOG_WRITERS; i++)
		if (s->writer[i] && s->writer[i]->client->job[0])
			return s->writer[i]->client->job;
	return "";
}

/* Somebody who writes s in another run than that of c, as far as both know theirs. */
static const struct client *other_job(const struct stream *s, const struct client *c)
{
	for (uint32_t i = 0; c->job[0] && i < IOG_WRITERS; i++)
		if (s->writer[i] && s->writer[i]->client->job[0] && strcmp(s->writer[i]->client->job, c->job))
			return s->writer[i]->client;
	return NULL;
}

const char *iog_agent_on_open(struct iog_agent *a, struct client *c, const struct iog_msg *m)
{
	if (!m->name[0] || !m->b || m->b > IOG_WRITERS || m->a >= m->b || m->policy > IOG_DROP_NEW || !m->schema.id || m->epoch > INT32_MAX)
		return "opened a stream in a way that makes no sense";
	if (writer_find(a, c, m->id))
		return "opened a stream twice";
	struct iog_err err = { "the agent is out of memory" };
	struct stream *s = stream_get(a, m->name, &err);
	struct writer *w = s ? calloc(1, sizeof *w) : NULL;
	if (!w) {
		iog_agent_refuse(a, c, m->id, "%s", err.text);
		return NULL;
	}
	if (!iog_agent_stream_ranks(s)) {
		s->n_writers = m->b, s->schema = m->schema, s->known = false, s->policy = m->policy, s->blocks = 0;
		s->apart = m->apart;
		s->back_ns = m->epoch ? iog_now_ns() : 0;
		s->epoch = m->epoch ? m->epoch : epoch_new(s);
	}
	const struct client *other = other_job(s, c);
	if (m->epoch && m->epoch != s->epoch)
		iog_agent_refuse(a, c, m->id, "stream \"%s\" has been opened by another run of the program meanwhile", s->name);
	else if (other)
		iog_agent_refuse(a, c, m->id,
			"stream \"%s\" is being written by another run, %s, and this is %s; two runs at once need two names, or an agent "
			"each",
			s->name, iog_agent_client_name(other), iog_agent_client_name(c));
	else if (s->n_writers != m->b || s->schema.id != m->schema.id || s->policy != m->policy || s->apart != !!m->apart)
		iog_agent_refuse(a, c, m->id,
			"stream \"%s\" is open with %u ranks and another schema, policy or pairing; all ranks must open it alike", s->name,
			s->n_writers);
	else if (s->writer[m->a])
		iog_agent_refuse(a, c, m->id, "rank %u of stream \"%s\" is open already, by %s", m->a, s->name,
			iog_agent_client_name(s->writer[m->a]->client));
	else if (iog_agent_push(&a->writer, &a->n_writers, w)) {
		*w = (struct writer){ .client = c, .stream = s, .id = m->id, .rank = m->a, .map = IOG_REGION_NONE };
		s->writer[m->a] = w;
		struct iog_msg *o = iog_agent_fresh(a, IOG_MSG_OPENED, m->id);
		o->epoch = s->epoch;
		iog_agent_send(a, c, o, NULL, 0);
		return NULL;
	}
	free(w);
	return NULL;
}

/* True when every rank whose steps are waited for has told its shape; *blocks: of the largest. */
static bool all_there(const struct stream *s, uint32_t *blocks)
{
	*blocks = 0;
	for (uint32_t i = 0; i < s->n_writers; i++) {
		if (!s->writer[i] || s->writer[i]->map.fd < 0) {
			if (s->apart || iog_agent_given_up(s))
				continue;
			return false;
		}
		*blocks = IOG_MAX(*blocks, s->writer[i]->blocks);
	}
	return *blocks; /* one has, at least */
}

/* Is the stream known now? */
static void stream_look(struct iog_agent *a, struct stream *s)
{
	struct iog_err err = { "" };
	if (s->known || !iog_agent_stream_ranks(s) || !all_there(s, &s->blocks))
		return;
	const enum iog_pairing how = s->apart ? IOG_PAIR_NONE : s->policy == IOG_BLOCK ? IOG_PAIR_ALL : IOG_PAIR_LOSSY;
	uint32_t credit = BLOCK_CREDIT;
	for (uint32_t i = 0; i < s->n_writers; i++)
		if (s->writer[i] && s->writer[i]->map.fd >= 0)
			credit = IOG_MIN(credit, capacity(s->writer[i], s->policy == IOG_BLOCK ? IOG_BLOCK : IOG_DROP_NEW));
	if (iog_feed_describe(s->feed, &s->schema, s->n_writers, s->blocks, credit, how, &err))
		iog_agent_say(a, "%s", err.text);
	s->known = true;
	s->known_ns = iog_now_ns();
	const char *job = iog_agent_stream_job(s);
	iog_agent_say(a, "stream %s is %s: %u rank%s%s%s", s->name, s->back_ns ? "back" : "there", s->n_writers,
		s->n_writers == 1 ? "" : "s", job[0] ? " of " : "", job);
	a->look = true;
}

/* What the writer pushes from now on has what is wanted, or nothing comes any more; what it pushed before is still to be taken. */
static void widened(struct edge *e)
{
	const struct iog_down *down = e->down.map;
	e->widens = false;
	e->flushes = down;
	e->flush = down ? atomic_load(&down->head) : 0;
}

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
		drop_edge(a, oldest);
}

/* A part has outgrown the memory of its writer: whoever has an edge gets a new one. */
static void outgrown(struct iog_agent *a, struct writer *w, bool stay)
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
	w->counts = NULL;
	iog_region_close(&w->map);
	w->ready = false;
	w->renewed |= !stay;
}

const char *iog_agent_on_arena(struct iog_agent *a, struct client *c, struct iog_msg *m, int *fds, uint32_t n)
{
	struct writer *w = writer_find(a, c, m->id);
	struct iog_err err = { "" };
	uint64_t bytes, slots;
	if (!w)
		return NULL; /* it may have been refused */
	if (n != 1 || w->closed || m->schema.id != w->stream->schema.id || !m->blocks || m->blocks > IOG_BLOCKS_MAX)
		return "gave memory in a way that makes no sense";
	if (!m->arena.n_slots || m->arena.n_slots > IOG_CREDIT_MAX || m->arena.slot_bytes > ARENA_MAX ||
		m->arena.static_bytes > ARENA_MAX || !iog_mul(m->arena.slot_bytes, m->arena.n_slots, &slots) ||
		!iog_add(slots, m->arena.static_bytes, &bytes) || bytes > ARENA_MAX)
		return "gave memory of a size that cannot be";
	for (uint32_t i = 0; i < m->schema.n_dims; i++)
		if (m->schema.dim[i].max <= 0)
			return "did not say how large a dimension is";
	const int fd = fds[0];
	const bool again = w->map.fd >= 0, stay = m->a;
	fds[0] = -1; /* given */
	if (again)
		outgrown(a, w, stay);
	if (iog_region_open(&w->map, fd, bytes, ARENA_MAX, &err)) {
		w->map = IOG_REGION_NONE;
		return "gave memory that could be taken away again";
	}
	w->arena = m->arena;
	w->arena.base = w->map.map;
	w->blocks = m->blocks;
	if (c->minor && w->map.bytes >= iog_attach_counts(bytes) + sizeof *w->counts)
		w->counts = (const struct iog_attach_counts *)((const uint8_t *)w->map.map + iog_attach_counts(bytes));
	w->credit = m->capacity;
	w->told = m->b;
	if (!again)
		iog_agent_hold(&w->held, m);
	struct stream *s = w->stream;
	uint32_t others = 0;
	for (uint32_t i = 0; i < s->n_writers; i++)
		others += s->writer[i] && s->writer[i] != w && s->writer[i]->map.fd >= 0;
	if (!others && !s->known) {
		s->schema = m->schema;
	} else if (memcmp(s->schema.dim, m->schema.dim, sizeof s->schema.dim)) {
		iog_agent_refuse(a, c, m->id, "rank %u of stream \"%s\" says that the whole has another shape than other ranks do", w->rank,
			s->name);
		w->counts = NULL;
		iog_region_close(&w->map);
		return NULL;
	}
	stream_look(a, s);
	a->look = true;
	return NULL;
}

const char *iog_agent_on_subscribe(struct iog_agent *a, struct client *c, const struct iog_msg *m)
{
	if (!m->name[0] || m->policy > IOG_DROP_NEW || reader_find(a, c, m->id))
		return "subscribed in a way that makes no sense";
	struct iog_err err = { "the agent is out of memory" };
	struct stream *s = stream_get(a, m->name, &err);
	struct reader *r = s ? calloc(1, sizeof *r) : NULL;
	if (!r || !iog_agent_push(&a->reader, &a->n_readers, r)) {
		free(r);
		iog_agent_refuse(a, c, m->id, "%s", err.text);
		return NULL;
	}
	*r = (struct reader){ .client = c, .stream = s, .id = m->id, .policy = m->policy };
	r->until_ns = m->a ? UINT64_MAX : iog_now_ns() + m->b * 1000000ull;
	r->back = m->a;
	iog_agent_hold(&r->held, m);
	a->look = true;
	return NULL;
}

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
	if (iog_region_open(&e->up, fd, iog_up_bytes(e->capacity), ARENA_MAX, &err)) {
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
	int rc = iog_region_open(&e->down, down, iog_down_bytes(e->capacity), ARENA_MAX, err);
	if (rc) {
		e->down = IOG_REGION_NONE;
		return rc;
	}
	/* A mapping of the edge's own: the writer's may go before this one is drained. */
	rc = iog_region_open(&e->arena, dup(w->map.fd), iog_arena_bytes(&w->arena), ARENA_MAX, err);
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
			cut(a, e); /* or it would go on sending, and wait for it */
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

/* Nothing more comes from w. */
static void writer_ends(struct iog_agent *a, struct writer *w)
{
	if (!w->closed)
		iog_feed_ended(w->stream->feed, 0, w->rank);
	for (uint32_t k = 0; k < a->n_edges && !w->closed; k++) {
		struct edge *e = a->edge[k];
		if (e->writer != w || !e->reader)
			continue;
		struct iog_msg *o = iog_agent_fresh(a, IOG_MSG_WRITER_GONE, e->reader->id);
		e->reader->gone |= 1ull << w->rank;
		o->edge = e->id, o->a = w->rank;
		iog_agent_send(a, e->reader->client, o, NULL, 0);
	}
	w->closed = true;
}

static void writer_free(struct iog_agent *a, uint32_t i)
{
	struct writer *w = a->writer[i];
	writer_ends(a, w);
	w->stream->writer[w->rank] = NULL;
	for (uint32_t k = a->n_edges; k-- > 0;) {
		if (a->edge[k]->writer != w)
			continue;
		a->edge[k]->writer = NULL;
		if (a->edge[k]->reader) /* it has its own mappings */
			drop_edge(a, k);
	}
	iog_region_close(&w->map);
	if (w->offer)
		iog_offer_put(w->offer);
	free(w);
	a->writer[i] = a->writer[--a->n_writers];
}

void iog_agent_writer_free(struct iog_agent *a, struct writer *w)
{
	for (uint32_t i = 0; i < a->n_writers; i++)
		if (a->writer[i] == w) {
			writer_free(a, i);
			return;
		}
}

static void reader_free(struct iog_agent *a, uint32_t i)
{
	struct reader *r = a->reader[i];
	for (uint32_t k = a->n_edges; k-- > 0;)
		if (a->edge[k]->reader == r) {
			cut(a, a->edge[k]);
			drop_edge(a, k);
		}
	free(r);
	a->reader[i] = a->reader[--a->n_readers];
}

/* A reader of w that wants every step has not answered yet. */
static bool readers_due(const struct iog_agent *a, const struct writer *w)
{
	for (uint32_t k = 0; k < a->n_edges; k++)
		if (a->edge[k]->writer == w && a->edge[k]->reader && a->edge[k]->policy == IOG_BLOCK && !a->edge[k]->asked &&
			!a->edge[k]->old)
			return true;
	return false;
}

/*
 * What w commits reaches the feed's taker of that life. With ranks apart its ring is read already: what another rank commits after w is not to be seen
 * before what w did.
 */
static bool is_fed(const struct iog_agent *a, const struct writer *w, uint32_t life)
{
	const struct edge *e = feed_edge_of(a, w, life);
	return e && (e->made || !w->stream->apart);
}

/* Writers whose consumers have been seen to. */
static void tell_writers(struct iog_agent *a)
{
	for (uint32_t i = 0; i < a->n_writers; i++) {
		struct writer *w = a->writer[i];
		if (w->ready || !w->stream->known || w->map.fd < 0 || iog_agent_graphs_opening(a, w->stream))
			continue;
		/* A source that opened since edges were made gets its own in the next turn, and the writer may begin then. */
		uint32_t life[IOG_TAKERS], k = iog_feed_lives(w->stream->feed, life);
		while (k && is_fed(a, w, life[k - 1]))
			k--;
		if (k || (w->renewed && readers_due(a, w)))
			continue;
		w->ready = true;
		struct iog_msg *m = iog_agent_fresh(a, IOG_MSG_READY, w->id);
		m->b = w->told;
		iog_agent_send(a, w->client, m, NULL, 0);
	}
}

/* ---- what this process publishes ---- */

static void hidden_free(struct stream *s)
{
	iog_feed_put(s->feed);
	free(s);
}

struct stream *iog_agent_stream_offered(
	struct iog_agent *a, struct iog_offer *o, const char *name, struct stream *hub_of, struct iog_err *err)
{
	struct stream *s = hub_of ? stream_new(name, hub_of) : stream_get(a, name, err);
	struct writer *w = s ? calloc(1, sizeof *w) : NULL;
	int fd, rc = w ? 0 : err->text[0] ? -ENOMEM : iog_fail(err, -ENOMEM, "no memory for stream \"%s\"", name);
	if (w)
		*w = (struct writer){ .client = &a->self, .stream = s, .offer = o, .map = IOG_REGION_NONE };
	if (!rc && iog_agent_stream_ranks(s))
		rc = iog_fail(err, -EEXIST, "stream \"%s\" is open already, by %s", name,
			iog_agent_client_name(s->writer[0] ? s->writer[0]->client : &a->self));
	if (!rc) {
		iog_offer_memory(o, &w->arena, &fd, &w->blocks, &w->credit);
		rc = iog_region_open(&w->map, dup(fd), iog_arena_bytes(&w->arena), ARENA_MAX, err);
		if (rc)
			w->map = IOG_REGION_NONE;
	}
	if (!rc && !iog_agent_push(&a->writer, &a->n_writers, w))
		rc = iog_fail(err, -ENOMEM, "no memory for stream \"%s\"", name);
	if (rc) {
		if (w)
			iog_region_close(&w->map);
		free(w);
		if (hub_of && s)
			hidden_free(s);
		return NULL;
	}
	w->arena.base = w->map.map;
	s->writer[0] = w;
	s->schema = *iog_offer_schema(o);
	s->n_writers = 1, s->blocks = w->blocks, s->policy = IOG_BLOCK, s->apart = false, s->known = true;
	/* A hub's records have the epochs of the stream it is of. */
	s->epoch = hub_of ? hub_of->epoch : epoch_new(s);
	if (!hub_of) {
		iog_offer_epoch(o, s->epoch);
		if (iog_feed_describe(s->feed, &s->schema, 1, s->blocks, 0, IOG_PAIR_ALL, err))
			iog_agent_say(a, "%s", err->text);
		iog_agent_say(a, "stream %s is there, from a graph", name);
	}
	a->look = true;
	return s;
}

void iog_agent_stream_free(struct iog_agent *a, struct stream *s)
{
	for (uint32_t i = a->n_writers; i-- > 0;)
		if (a->writer[i]->stream == s)
			writer_free(a, i);
	hidden_free(s);
}

bool iog_agent_stream_joined(const struct iog_agent *a, const struct stream *s)
{
	for (uint32_t i = 0; i < a->n_readers; i++) {
		bool made = a->reader[i]->stream != s;
		for (uint32_t k = 0; k < a->n_edges && !made; k++)
			made = a->edge[k]->reader == a->reader[i] && a->edge[k]->made;
		if (!made)
			return false;
	}
	return true;
}

/* ---- the stream's part of a turn ---- */

void iog_agent_streams_poll(struct iog_agent *a)
{
	const uint64_t now = iog_now_ns();
	for (uint32_t i = a->n_readers; i-- > 0;) {
		struct reader *r = a->reader[i];
		if (r->told)
			continue;
		if (appeared(r->stream))
			tell_reader(a, i);
		else if (now > r->until_ns) {
			iog_agent_refuse(a, r->client, r->id, "stream \"%s\" did not appear", r->stream->name);
			reader_free(a, i);
		}
	}
	for (uint32_t i = 0; i < a->n_streams; i++)
		stream_look(a, a->stream[i]);
	iog_agent_hubs_poll(a);
	cut_feeds(a);
	connect_all(a);
	tell_writers(a);
	iog_agent_disown(a);
}

bool iog_agent_streams_opening(const struct iog_agent *a)
{
	for (uint32_t i = 0; i < a->n_writers; i++)
		if (!a->writer[i]->ready && a->writer[i]->stream->known)
			return true;
	return false;
}

const char *iog_agent_on_close(struct iog_agent *a, struct client *c, const struct iog_msg *m)
{
	struct writer *w = writer_find(a, c, m->id);
	if (w)
		iog_agent_writer_free(a, w);
	return NULL;
}

const char *iog_agent_on_unsubscribe(struct iog_agent *a, struct client *c, const struct iog_msg *m)
{
	for (uint32_t i = 0; i < a->n_readers; i++)
		if (a->reader[i]->client == c && a->reader[i]->id == m->id) {
			reader_free(a, i);
			break;
		}
	return NULL;
}

void iog_agent_streams_leave(struct iog_agent *a, struct client *c)
{
	for (uint32_t k = a->n_writers; k-- > 0;)
		if (a->writer[k]->client == c) {
			iog_agent_say(a, "stream %s: rank %u of %u is gone without closing it: %s", a->writer[k]->stream->name,
				a->writer[k]->rank, a->writer[k]->stream->n_writers, iog_agent_client_name(c));
			writer_free(a, k);
		}
	for (uint32_t k = a->n_readers; k-- > 0;)
		if (a->reader[k]->client == c)
			reader_free(a, k);
}

void iog_agent_stream_text(const struct iog_agent *a, const struct stream *s, char *text, size_t size)
{
	snprintf(text, size, "stream\t%s\t%s\t%u of %u\t%u\t%s", s->name, s->known ? "known" : "waits", iog_agent_stream_ranks(s),
		s->n_writers, iog_agent_stream_audience(a, s), iog_agent_stream_job(s));
}

uint32_t iog_agent_writing(const struct iog_agent *a)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < a->n_writers; i++)
		n += !a->writer[i]->offer;
	return n;
}

void iog_agent_streams_age(const struct iog_agent *a)
{
	for (uint32_t i = 0; i < a->n_streams; i++)
		for (int k = 0; k < 30 && a->stream[i]->epoch == epoch_now(); k++)
			iog_wait_words(NULL, 0, 10000000);
}

void iog_agent_streams_free(struct iog_agent *a)
{
	while (a->n_edges)
		drop_edge(a, a->n_edges - 1);
	for (uint32_t i = 0; i < a->n_streams; i++) {
		iog_feed_put(a->stream[i]->feed);
		free(a->stream[i]);
	}
	free(a->writer);
	free(a->reader);
	free(a->edge);
}
