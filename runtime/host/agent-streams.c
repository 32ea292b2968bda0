/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The agent's streams: who writes them, and who reads them; the edges between are in agent-edges.c. Messages about them are handled here; what a client
 * says is checked where it is used. The agent's thread.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent-private.h"

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

/* ---- readers ---- */

/* What a reader waits for: one that has ended may come again. */
static bool appeared(const struct stream *s) { return s->known && iog_agent_stream_ranks(s); }

/* One that had an agent before reads as it did: it has edges that writers have, too, or was to have them, or what it had was a hub's, which is gone. */
static bool was_direct(const struct stream *s, const struct reader *r)
{
	for (uint32_t i = 0; i < IOG_WRITERS; i++)
		if (s->writer[i] && (iog_agent_holds(&s->writer[i]->held, &r->held) || iog_agent_holds(&s->writer[i]->held, &r->lost)))
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
	uint32_t credit = IOG_AGENT_CREDIT;
	for (uint32_t i = 0; i < s->n_writers; i++)
		if (s->writer[i] && s->writer[i]->map.fd >= 0)
			credit = IOG_MIN(credit, iog_agent_edge_capacity(s->writer[i], s->policy == IOG_BLOCK ? IOG_BLOCK : IOG_DROP_NEW));
	if (iog_feed_describe(s->feed, &s->schema, s->n_writers, s->blocks, credit, how, &err))
		iog_agent_say(a, "%s", err.text);
	s->known = true;
	s->known_ns = iog_now_ns();
	const char *job = iog_agent_stream_job(s);
	iog_agent_say(a, "stream %s is %s: %u rank%s%s%s", s->name, s->back_ns ? "back" : "there", s->n_writers,
		s->n_writers == 1 ? "" : "s", job[0] ? " of " : "", job);
	a->look = true;
}

/* A part has outgrown the memory of its writer: whoever has an edge gets a new one. */
static void outgrown(struct iog_agent *a, struct writer *w, bool stay)
{
	iog_agent_edges_outgrown(a, w, stay);
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
	if (!m->arena.n_slots || m->arena.n_slots > IOG_CREDIT_MAX || m->arena.slot_bytes > IOG_AGENT_ARENA_MAX ||
		m->arena.static_bytes > IOG_AGENT_ARENA_MAX || !iog_mul(m->arena.slot_bytes, m->arena.n_slots, &slots) ||
		!iog_add(slots, m->arena.static_bytes, &bytes) || bytes > IOG_AGENT_ARENA_MAX)
		return "gave memory of a size that cannot be";
	for (uint32_t i = 0; i < m->schema.n_dims; i++)
		if (m->schema.dim[i].max <= 0)
			return "did not say how large a dimension is";
	const int fd = fds[0];
	const bool again = w->map.fd >= 0, stay = m->a;
	fds[0] = -1; /* given */
	if (again)
		outgrown(a, w, stay);
	if (iog_region_open(&w->map, fd, bytes, IOG_AGENT_ARENA_MAX, &err)) {
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
		iog_agent_hold(&w->held, m, 0, m->n_held);
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
	if (!m->name[0] || m->policy > IOG_DROP_NEW || m->blocks > m->n_held || reader_find(a, c, m->id))
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
	const uint32_t got = m->n_held - m->blocks;
	iog_agent_hold(&r->held, m, 0, got);
	iog_agent_hold(&r->lost, m, got, m->n_held);
	a->look = true;
	return NULL;
}

/* ---- who ends ---- */

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
			iog_agent_edge_drop(a, k);
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
			iog_agent_edge_cut(a, a->edge[k]);
			iog_agent_edge_drop(a, k);
		}
	free(r);
	a->reader[i] = a->reader[--a->n_readers];
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
		rc = iog_region_open(&w->map, dup(fd), iog_arena_bytes(&w->arena), IOG_AGENT_ARENA_MAX, err);
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

/* Writers whose consumers have been seen to. */
static void tell_writers(struct iog_agent *a)
{
	for (uint32_t i = 0; i < a->n_writers; i++) {
		struct writer *w = a->writer[i];
		if (w->ready || !w->stream->known || w->map.fd < 0 || iog_agent_graphs_opening(a, w->stream))
			continue;
		/* A source that opened since edges were made gets its own in the next turn, and the writer may begin then. */
		uint32_t life[IOG_TAKERS], k = iog_feed_lives(w->stream->feed, life);
		while (k && iog_agent_edge_fed(a, w, life[k - 1]))
			k--;
		if (k || (w->renewed && iog_agent_edges_due(a, w)))
			continue;
		w->ready = true;
		struct iog_msg *m = iog_agent_fresh(a, IOG_MSG_READY, w->id);
		m->b = w->told;
		iog_agent_send(a, w->client, m, NULL, 0);
	}
}

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
	iog_agent_edges_cut(a);
	iog_agent_edges_connect(a);
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
		iog_agent_edge_drop(a, a->n_edges - 1);
	for (uint32_t i = 0; i < a->n_streams; i++) {
		iog_feed_put(a->stream[i]->feed);
		free(a->stream[i]);
	}
	free(a->writer);
	free(a->reader);
	free(a->edge);
}
