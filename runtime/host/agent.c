/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The agent; see agent.h, and attach.h for what is said over its socket. Everything here is control path, on one thread: clients are polled, messages
 * handled one by one, consumers of streams connected with their writers. What a client says is checked where it is used; who breaks a rule
 * is let go. Sending never waits: who does not read has its socket closed.
 */
#include "agent.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "feed.h"
#include "region.h"
#include "wait.h"

enum { CLIENTS = 1024, STREAMS = 256, GRAPHS = 64, BURST = 32 };
static const uint64_t SEND_NS = 20000000, ARENA_MAX = 1ull << 42;

struct client {
	int sock, pid;
	uint32_t uid;
	char name[IOG_STREAM_NAME];
	struct iog_region_map page;
	bool hello, dead;
};
/* What a stream is, and who writes it. */
struct stream {
	char name[IOG_STREAM_NAME];
	struct iog_feed *feed;
	struct iog_schema schema;
	uint32_t n_writers, blocks, epoch, runs;
	uint8_t policy;
	bool known; /* all ranks have their memory */
	struct writer *writer[IOG_WRITERS];
	uint32_t missed[IOG_WRITERS]; /* life of the feed that was told that this rank has gone */
};
struct writer {
	struct client *client;
	struct stream *stream;
	uint32_t id, rank, blocks;
	struct iog_region_map map;
	struct iog_arena arena;
	bool closed, ready; /* ready: it was told that it may begin */
};
struct reader {
	struct client *client;
	struct stream *stream;
	uint32_t id;
	uint8_t policy;
	uint64_t until_ns; /* for the stream to appear */
	uint64_t gone;     /* ranks, by bit, that it was told to expect nothing of */
	bool told;
};
/* A writer's edge to a reader, or to the graph's feed (reader NULL). */
struct edge {
	uint32_t id;
	struct writer *writer; /* NULL: gone; kept while the feed may read what it left */
	struct stream *stream;
	struct reader *reader;
	uint32_t feed_life; /* the feed's collector that has it */
	uint32_t capacity;
	uint8_t policy;
	bool asked, made; /* the writer was asked, and has answered */
	struct iog_region_map up, down, box, arena;
};
enum run_state { WAITS, RUNS, ENDED, FAILED };
struct run {
	char name[IOG_STREAM_NAME], path[4096];
	enum run_state state;
	struct iog_graph *g;
	struct iog_cut cut;
	struct iog_engine *e;
	char text[512];
};

struct iog_agent {
	struct iog_agent_opts o;
	char path[128];
	int sock;
	struct client *client[CLIENTS];
	struct stream *stream[STREAMS];
	struct writer **writer;
	struct reader **reader;
	struct edge **edge;
	struct run *run[GRAPHS];
	uint32_t n_clients, n_streams, n_writers, n_readers, n_edges, n_runs, next_edge;
	bool look; /* a stream became known, a feed opened: connect */
	int rc;
	struct iog_err err;
	struct iog_msg msg; /* the one being handled, and the one being made: large */
	struct iog_msg out;
};

__attribute__((format(printf, 2, 3))) static void say(struct iog_agent *a, const char *fmt, ...)
{
	char line[640];
	va_list ap;
	if (!a->o.log)
		return;
	va_start(ap, fmt);
	iog_vformat(line, sizeof line, fmt, ap);
	va_end(ap);
	a->o.log(a->o.ctx, line);
}

/* ---- tables of pointers ---- */

static bool push(void *list, uint32_t *n, void *x)
{
	void ***l = list;
	void **bigger = realloc(*l, (*n + 1) * sizeof *bigger);
	if (!bigger)
		return false;
	*l = bigger;
	bigger[(*n)++] = x;
	return true;
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

/* ---- sending ---- */

static void let_go(struct iog_agent *a, struct client *c, const char *why)
{
	if (!c->dead)
		say(a, "client %s (process %d) %s", c->name[0] ? c->name : "?", c->pid, why);
	c->dead = true;
}

static void send_to(struct iog_agent *a, struct client *c, struct iog_msg *m, const int *fds, uint32_t n)
{
	struct iog_err err = { "" };
	if (c->dead)
		return;
	int rc = iog_msg_send(c->sock, m, fds, n, SEND_NS, &err);
	if (rc)
		let_go(a, c, rc == -EAGAIN ? "does not read what it is told" : "is gone");
	struct iog_attach_page *page = c->page.map;
	if (page) {
		atomic_fetch_add(&page->bell, 1);
		iog_wake_word(&page->bell); /* it may wait for credit */
	}
}

static struct iog_msg *fresh(struct iog_agent *a, uint32_t kind, uint32_t id)
{
	memset(&a->out, 0, sizeof a->out);
	a->out.kind = kind;
	a->out.id = id;
	return &a->out;
}

__attribute__((format(printf, 4, 5))) static void refuse(struct iog_agent *a, struct client *c, uint32_t id, const char *fmt, ...)
{
	struct iog_msg *m = fresh(a, IOG_MSG_ERROR, id);
	va_list ap;
	va_start(ap, fmt);
	iog_vformat(m->text, sizeof m->text, fmt, ap);
	va_end(ap);
	send_to(a, c, m, NULL, 0);
}

/* ---- streams ---- */

static struct stream *stream_find(struct iog_agent *a, const char *name)
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
		bool used = iog_feed_life(s->feed);
		for (uint32_t k = 0; k < IOG_WRITERS; k++)
			used |= s->writer[k] != NULL;
		for (uint32_t k = 0; k < a->n_readers; k++)
			used |= a->reader[k]->stream == s;
		for (uint32_t k = 0; k < a->n_edges; k++)
			used |= a->edge[k]->stream == s;
		if (used)
			continue;
		iog_feed_put(s->feed);
		free(s);
		a->stream[i] = a->stream[--a->n_streams];
		return;
	}
}

static struct stream *stream_get(struct iog_agent *a, const char *name)
{
	struct stream *s = stream_find(a, name);
	if (!s && a->n_streams == STREAMS)
		stream_forget(a);
	if (s || a->n_streams == STREAMS || !(s = calloc(1, sizeof *s)))
		return s;
	iog_strset(s->name, sizeof s->name, name);
	s->feed = iog_feed_get(name);
	if (!s->feed) {
		free(s);
		return NULL;
	}
	return a->stream[a->n_streams++] = s;
}

static uint32_t live_writers(const struct stream *s)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < IOG_WRITERS; i++)
		n += s->writer[i] != NULL;
	return n;
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

static void ask_writer(struct iog_agent *a, struct edge *e)
{
	struct iog_msg *m = fresh(a, IOG_MSG_EDGE, e->writer->id);
	m->edge = e->id, m->capacity = e->capacity, m->policy = e->policy;
	send_to(a, e->writer->client, m, &e->up.fd, 1);
	e->asked = true;
}

static void edge_new(struct iog_agent *a, struct writer *w, struct reader *r, uint32_t feed_life)
{
	struct edge *e = calloc(1, sizeof *e);
	struct iog_err err = { "" };
	if (!e || !push(&a->edge, &a->n_edges, e)) {
		free(e);
		return;
	}
	*e = (struct edge){ .id = ++a->next_edge,
		.writer = w,
		.stream = w->stream,
		.reader = r,
		.feed_life = feed_life,
		.up = IOG_REGION_NONE,
		.down = IOG_REGION_NONE,
		.box = IOG_REGION_NONE,
		.arena = IOG_REGION_NONE };
	e->policy = r ? r->policy : w->stream->policy == IOG_BLOCK ? IOG_BLOCK : IOG_DROP_NEW;
	e->capacity = IOG_READER_CREDIT;
	if (e->policy == IOG_BLOCK)
		while (e->capacity * 4 <= w->arena.n_slots && e->capacity < 64)
			e->capacity *= 2;
	if (r) {
		struct iog_msg *m = fresh(a, IOG_MSG_EDGE_WANTED, r->id);
		m->edge = e->id, m->capacity = e->capacity, m->policy = e->policy, m->a = w->rank;
		send_to(a, r->client, m, NULL, 0);
	} else if (iog_region_create(&e->up, "iog-up", iog_up_bytes(e->capacity), 0, &err)) {
		say(a, "stream %s: %s", w->stream->name, err.text);
		drop_edge(a, a->n_edges - 1);
	} else {
		ask_writer(a, e);
	}
}

/* Every consumer of a known stream has an edge from every writer. */
static void connect_all(struct iog_agent *a)
{
	/* A rank that went before a consumer was there has no edge to it, and is not waited for. */
	for (uint32_t i = 0; i < a->n_streams; i++) {
		struct stream *s = a->stream[i];
		const uint32_t life = s->known ? iog_feed_life(s->feed) : 0;
		for (uint32_t r = 0; life && r < s->n_writers; r++)
			if (!s->writer[r] && s->missed[r] != life) {
				iog_feed_ended(s->feed, r);
				s->missed[r] = life;
			}
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
			struct iog_msg *m = fresh(a, IOG_MSG_EDGE_WANTED, r->id);
			m->edge = ++a->next_edge, m->capacity = IOG_READER_CREDIT, m->policy = r->policy, m->a = w;
			send_to(a, r->client, m, NULL, 0);
			m = fresh(a, IOG_MSG_WRITER_GONE, r->id);
			m->edge = a->next_edge, m->a = w;
			send_to(a, r->client, m, NULL, 0);
		}
	}
	for (uint32_t i = 0; i < a->n_writers; i++) {
		struct writer *w = a->writer[i];
		if (!w->stream->known || w->closed || w->map.fd < 0)
			continue;
		const uint32_t life = iog_feed_life(w->stream->feed);
		bool fed = false;
		for (uint32_t k = 0; k < a->n_edges; k++)
			fed |= a->edge[k]->writer == w && !a->edge[k]->reader && a->edge[k]->feed_life == life;
		if (life && !fed)
			edge_new(a, w, NULL, life);
		for (uint32_t r = 0; r < a->n_readers; r++) {
			bool have = a->reader[r]->stream != w->stream || !a->reader[r]->told;
			for (uint32_t k = 0; k < a->n_edges && !have; k++)
				have = a->edge[k]->writer == w && a->edge[k]->reader == a->reader[r];
			if (!have)
				edge_new(a, w, a->reader[r], 0);
		}
	}
}

/* The consumer of an edge is gone: its writer frees what it held. */
static void cut(struct iog_agent *a, struct edge *e)
{
	if (!e->writer || !e->asked)
		return;
	struct iog_msg *m = fresh(a, IOG_MSG_CUT, e->writer->id);
	m->edge = e->id;
	send_to(a, e->writer->client, m, NULL, 0);
}

/* Edges to feeds that are closed, and were closed by nobody's fault. */
static void cut_feeds(struct iog_agent *a)
{
	for (uint32_t k = a->n_edges; k-- > 0;) {
		struct edge *e = a->edge[k];
		if (e->reader || e->feed_life == iog_feed_life(e->stream->feed))
			continue;
		cut(a, e);
		drop_edge(a, k);
	}
}

static void tell_reader(struct iog_agent *a, struct reader *r)
{
	const struct stream *s = r->stream;
	if (r->told || !s->known)
		return;
	struct iog_msg *m = fresh(a, IOG_MSG_SUBSCRIBED, r->id);
	m->schema = s->schema;
	m->b = s->n_writers, m->epoch = s->epoch, m->blocks = s->blocks;
	r->told = true;
	send_to(a, r->client, m, NULL, 0);
}

/* ---- what clients say ---- */

static const char *on_open(struct iog_agent *a, struct client *c, const struct iog_msg *m)
{
	if (!m->name[0] || !m->b || m->b > IOG_WRITERS || m->a >= m->b || m->policy > IOG_DROP_NEW || !m->schema.id)
		return "opened a stream in a way that makes no sense";
	if (writer_find(a, c, m->id))
		return "opened a stream twice";
	struct stream *s = stream_get(a, m->name);
	struct writer *w = s ? calloc(1, sizeof *w) : NULL;
	if (!w) {
		refuse(a, c, m->id, "the agent has no room for another stream (\"%s\")", m->name);
		return NULL;
	}
	if (!live_writers(s)) {
		s->n_writers = m->b, s->schema = m->schema, s->known = false, s->policy = m->policy, s->blocks = 0;
		s->epoch = ++s->runs << 16;
	}
	if (s->n_writers != m->b || s->schema.id != m->schema.id || s->policy != m->policy)
		refuse(a, c, m->id, "stream \"%s\" is open with %u ranks and another schema or policy; all ranks must open it alike",
			s->name, s->n_writers);
	else if (s->writer[m->a])
		refuse(a, c, m->id, "rank %u of stream \"%s\" is open already, by process %d", m->a, s->name, s->writer[m->a]->client->pid);
	else if (push(&a->writer, &a->n_writers, w)) {
		*w = (struct writer){ .client = c, .stream = s, .id = m->id, .rank = m->a, .map = IOG_REGION_NONE };
		s->writer[m->a] = w;
		struct iog_msg *o = fresh(a, IOG_MSG_OPENED, m->id);
		o->epoch = s->epoch;
		send_to(a, c, o, NULL, 0);
		return NULL;
	}
	free(w);
	return NULL;
}

/* True when every rank has told its shape; *blocks: of the largest. */
static bool all_there(const struct stream *s, uint32_t *blocks)
{
	*blocks = 0;
	for (uint32_t i = 0; i < s->n_writers; i++) {
		if (!s->writer[i] || s->writer[i]->map.fd < 0)
			return false;
		*blocks = IOG_MAX(*blocks, s->writer[i]->blocks);
	}
	return true;
}

static const char *on_arena(struct iog_agent *a, struct client *c, struct iog_msg *m, int *fds, uint32_t n)
{
	struct writer *w = writer_find(a, c, m->id);
	struct iog_err err = { "" };
	uint64_t bytes, slots;
	if (!w || n != 1 || w->map.fd >= 0 || m->schema.id != w->stream->schema.id || !m->blocks || m->blocks > IOG_BLOCKS_MAX)
		return "gave memory in a way that makes no sense";
	if (!m->arena.n_slots || m->arena.n_slots > IOG_CREDIT_MAX || m->arena.slot_bytes > ARENA_MAX ||
		m->arena.static_bytes > ARENA_MAX || !iog_mul(m->arena.slot_bytes, m->arena.n_slots, &slots) ||
		!iog_add(slots, m->arena.static_bytes, &bytes) || bytes > ARENA_MAX)
		return "gave memory of a size that cannot be";
	for (uint32_t i = 0; i < m->schema.n_dims; i++)
		if (m->schema.dim[i].max <= 0)
			return "did not say how large a dimension is";
	const int fd = fds[0];
	fds[0] = -1; /* given */
	if (iog_region_open(&w->map, fd, bytes, ARENA_MAX, &err)) {
		w->map = IOG_REGION_NONE;
		return "gave memory that could be taken away again";
	}
	w->arena = m->arena;
	w->arena.base = w->map.map;
	w->blocks = m->blocks;
	struct stream *s = w->stream;
	uint32_t others = 0;
	for (uint32_t i = 0; i < s->n_writers; i++)
		others += s->writer[i] && s->writer[i] != w && s->writer[i]->map.fd >= 0;
	if (!others) {
		s->schema = m->schema;
	} else if (memcmp(s->schema.dim, m->schema.dim, sizeof s->schema.dim)) {
		refuse(a, c, m->id, "rank %u of stream \"%s\" says that the whole has another shape than other ranks do", w->rank, s->name);
		iog_region_close(&w->map);
		return NULL;
	}
	if (all_there(s, &s->blocks)) {
		if (iog_feed_describe(s->feed, &s->schema, s->n_writers, s->blocks, s->policy != IOG_BLOCK, &err))
			say(a, "%s", err.text);
		s->known = true;
		say(a, "stream %s is there: %u rank%s", s->name, s->n_writers, s->n_writers == 1 ? "" : "s");
	}
	a->look = true;
	return NULL;
}

static const char *on_subscribe(struct iog_agent *a, struct client *c, const struct iog_msg *m)
{
	if (!m->name[0] || m->policy > IOG_DROP_NEW || reader_find(a, c, m->id))
		return "subscribed in a way that makes no sense";
	struct stream *s = stream_get(a, m->name);
	uint32_t n = 0;
	for (uint32_t i = 0; i < a->n_readers; i++)
		n += a->reader[i]->stream == s;
	if (!s || n >= IOG_READERS) {
		refuse(a, c, m->id, "stream \"%s\" has %u readers, and no more can read it at once", m->name, n);
		return NULL;
	}
	struct reader *r = calloc(1, sizeof *r);
	if (!r || !push(&a->reader, &a->n_readers, r)) {
		free(r);
		refuse(a, c, m->id, "the agent is out of memory");
		return NULL;
	}
	*r = (struct reader){ .client = c, .stream = s, .id = m->id, .policy = m->policy, .until_ns = iog_now_ns() + m->b * 1000000ull };
	a->look = true;
	return NULL;
}

static struct edge *edge_find(struct iog_agent *a, uint32_t id)
{
	for (uint32_t k = 0; k < a->n_edges; k++)
		if (a->edge[k]->id == id)
			return a->edge[k];
	return NULL;
}

/* A reader has made the region it releases by: on to the writer, which checks it again. */
static const char *on_edge(struct iog_agent *a, struct client *c, const struct iog_msg *m, int *fds, uint32_t n)
{
	struct edge *e = edge_find(a, m->edge);
	struct iog_err err = { "" };
	if (!e || !e->reader || e->reader->client != c)
		return e ? "answered for an edge of somebody else" : NULL; /* it may have been cut meanwhile */
	if (n != 1 || e->asked)
		return "answered twice, or without memory";
	const int fd = fds[0];
	fds[0] = -1;
	if (iog_region_open(&e->up, fd, iog_up_bytes(e->capacity), ARENA_MAX, &err)) {
		e->up = IOG_REGION_NONE;
		return "gave memory that could be taken away again";
	}
	if (e->writer)
		ask_writer(a, e);
	return NULL;
}

static int feed_edge(struct edge *e, int *fds, struct iog_err *err)
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
	return iog_feed_attach(e->stream->feed, w->rank, &in, err);
}

static const char *on_edge_made(struct iog_agent *a, struct client *c, const struct iog_msg *m, int *fds, uint32_t n)
{
	struct edge *e = edge_find(a, m->edge);
	struct iog_err err = { "" };
	if (!e)
		return NULL; /* cut meanwhile */
	if (!e->writer || e->writer->client != c || !e->asked || e->made)
		return "answered for an edge of somebody else, or twice";
	if (n != (e->policy == IOG_LATEST ? 2u : 1u))
		return "made an edge without its memory";
	e->made = true;
	if (!e->reader) {
		if (feed_edge(e, fds, &err))
			say(a, "stream %s, rank %u: %s", e->stream->name, e->writer->rank, err.text);
		return NULL;
	}
	struct iog_msg *o = fresh(a, IOG_MSG_EDGE_MADE, e->reader->id);
	int all[3] = { e->writer->map.fd, fds[0], n > 1 ? fds[1] : -1 };
	o->edge = e->id, o->capacity = e->capacity, o->policy = e->policy, o->arena = e->writer->arena, o->a = e->writer->rank;
	o->arena.base = NULL;
	send_to(a, e->reader->client, o, all, n + 1);
	return NULL;
}

/* Nothing more comes from w. */
static void writer_ends(struct iog_agent *a, struct writer *w)
{
	if (!w->closed)
		iog_feed_ended(w->stream->feed, w->rank);
	for (uint32_t k = 0; k < a->n_edges && !w->closed; k++) {
		struct edge *e = a->edge[k];
		if (e->writer != w || !e->reader)
			continue;
		struct iog_msg *o = fresh(a, IOG_MSG_WRITER_GONE, e->reader->id);
		e->reader->gone |= 1ull << w->rank;
		o->edge = e->id, o->a = w->rank;
		send_to(a, e->reader->client, o, NULL, 0);
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
	free(w);
	a->writer[i] = a->writer[--a->n_writers];
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

static void on_ps(struct iog_agent *a, struct client *c)
{
	char text[sizeof a->out.text];
	for (uint32_t at = 0; iog_agent_describe(a, &at, text, sizeof text);) {
		struct iog_msg *o = fresh(a, IOG_MSG_RESULT, 0);
		iog_strset(o->text, sizeof o->text, text);
		o->a = 1;
		send_to(a, c, o, NULL, 0);
	}
	send_to(a, c, fresh(a, IOG_MSG_RESULT, 0), NULL, 0);
}

static void on_set(struct iog_agent *a, struct client *c, const struct iog_msg *m)
{
	struct iog_err err = { "" };
	uint32_t n = 0;
	for (uint32_t i = 0; i < a->n_runs; i++)
		if (a->run[i]->state == RUNS && !iog_engine_param(a->run[i]->e, m->name, m->number, &err))
			n++;
	if (!n)
		refuse(a, c, m->id, "%s", err.text[0] ? err.text : "no graph runs that has parameters");
	else
		send_to(a, c, fresh(a, IOG_MSG_RESULT, m->id), NULL, 0);
}

/* The reason to let the client go, or NULL. Descriptors that were taken are set to -1. */
static const char *handle(struct iog_agent *a, struct client *c, struct iog_msg *m, int *fds, uint32_t n)
{
	struct iog_err err = { "" };
	struct writer *w;
	struct reader *r;
	if (!c->hello) {
		if (m->kind != IOG_MSG_HELLO)
			return "did not say hello";
		iog_strset(c->name, sizeof c->name, m->text);
		if (m->a >> 16 != IOG_ATTACH_MAJOR) {
			refuse(a, c, 0,
				"the agent speaks version %d of the protocol, this program version %u: use libraries of the same release",
				IOG_ATTACH_MAJOR, m->a >> 16);
			return "speaks another version";
		}
		if (iog_region_create(&c->page, "iog-attach", sizeof(struct iog_attach_page), 0, &err))
			return err.text[0] ? "cannot be given a page of memory" : "?";
		c->hello = true;
		struct iog_msg *o = fresh(a, IOG_MSG_WELCOME, 0);
		o->a = IOG_ATTACH_MAJOR << 16 | IOG_ATTACH_MINOR;
		o->b = (uint32_t)getpid();
		send_to(a, c, o, &c->page.fd, 1);
		return NULL;
	}
	switch (m->kind) {
	case IOG_MSG_OPEN: return on_open(a, c, m);
	case IOG_MSG_ARENA: return on_arena(a, c, m, fds, n);
	case IOG_MSG_EDGE: return on_edge(a, c, m, fds, n);
	case IOG_MSG_EDGE_MADE: return on_edge_made(a, c, m, fds, n);
	case IOG_MSG_CLOSE:
		if ((w = writer_find(a, c, m->id)))
			for (uint32_t i = 0; i < a->n_writers; i++)
				if (a->writer[i] == w) {
					writer_free(a, i);
					break;
				}
		return NULL;
	case IOG_MSG_SUBSCRIBE: return on_subscribe(a, c, m);
	case IOG_MSG_UNSUBSCRIBE:
		if ((r = reader_find(a, c, m->id)))
			for (uint32_t i = 0; i < a->n_readers; i++)
				if (a->reader[i] == r) {
					reader_free(a, i);
					break;
				}
		return NULL;
	case IOG_MSG_PS: on_ps(a, c); return NULL;
	case IOG_MSG_SET: on_set(a, c, m); return NULL;
	case IOG_MSG_LOAD:
		if (iog_agent_load(a, m->name[0] ? m->name : m->text, m->text, NULL, &err))
			refuse(a, c, m->id, "%s", err.text);
		else
			send_to(a, c, fresh(a, IOG_MSG_RESULT, m->id), NULL, 0);
		return NULL;
	case IOG_MSG_UNLOAD:
		if (iog_agent_unload(a, m->name, &err))
			refuse(a, c, m->id, "%s", err.text);
		else
			send_to(a, c, fresh(a, IOG_MSG_RESULT, m->id), NULL, 0);
		return NULL;
	default: return NULL; /* of a later minor version */
	}
}

/* ---- clients ---- */

static void client_read(struct iog_agent *a, struct client *c)
{
	for (int i = 0; i < BURST && !c->dead; i++) {
		int fds[IOG_FDS];
		uint32_t n = IOG_FDS;
		struct iog_err err = { "" };
		int rc = iog_msg_recv(c->sock, &a->msg, fds, &n, 0, &err);
		if (rc == -EAGAIN)
			return;
		if (rc <= 0) {
			c->dead = true;
			if (rc < 0 && rc != -ECONNRESET) /* it closed without reading our last words: as good as closing */
				say(a, "client %s (process %d) is let go: %s", c->name[0] ? c->name : "?", c->pid, err.text);
			return;
		}
		const char *why = handle(a, c, &a->msg, fds, n);
		for (uint32_t k = 0; k < n; k++)
			if (fds[k] >= 0)
				close(fds[k]);
		if (why)
			let_go(a, c, why);
	}
}

static void client_free(struct iog_agent *a, uint32_t i)
{
	struct client *c = a->client[i];
	for (uint32_t k = a->n_writers; k-- > 0;)
		if (a->writer[k]->client == c) {
			say(a, "stream %s: rank %u of %u is gone without closing it", a->writer[k]->stream->name, a->writer[k]->rank,
				a->writer[k]->stream->n_writers);
			writer_free(a, k);
		}
	for (uint32_t k = a->n_readers; k-- > 0;)
		if (a->reader[k]->client == c)
			reader_free(a, k);
	if (c->page.map)
		atomic_store(&((struct iog_attach_page *)c->page.map)->gone, 1);
	iog_region_close(&c->page);
	close(c->sock);
	free(c);
	a->client[i] = a->client[--a->n_clients];
}

static void client_accept(struct iog_agent *a)
{
	int sock = accept4(a->sock, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (sock < 0)
		return;
	struct client *c = a->n_clients < CLIENTS ? calloc(1, sizeof *c) : NULL;
	if (!c || iog_attach_peer(sock, &c->uid, &c->pid) || (c->uid != getuid() && c->uid != 0)) {
		say(a, "a client was refused: %s", !c ? "there are too many" : "it belongs to another user");
		free(c);
		close(sock);
		return;
	}
	c->sock = sock;
	c->page = IOG_REGION_NONE;
	a->client[a->n_clients++] = c;
}

/* ---- graphs ---- */

static void run_free(struct run *r)
{
	if (!iog_engine_free(r->e)) {
		iog_cut_free(&r->cut);
		iog_graph_free(r->g);
	}
	r->e = NULL, r->g = NULL;
}

/* False: a stream it takes is known only from the graph's own `schema`. */
static bool streams_there(const struct iog_graph *g)
{
	struct iog_gnode *n;
	struct iog_schema schema;
	bool all = true;
	for (uint32_t k = iog_graph_nodes(g, &n); k-- > 0;) {
		if (n[k].kind != IOG_G_SOURCE || strcmp(n[k].end.name, "stream"))
			continue;
		struct iog_feed *f = iog_feed_get(n[k].conf); /* its first parameter */
		all &= f && iog_feed_schema(f, &schema);
		iog_feed_put(f);
	}
	return all;
}

/* Loads and checks; 0: it can start, -EAGAIN: it waits for a stream, else what is wrong with it. */
static int run_check(struct iog_agent *a, struct run *r, void (*diags)(void *, const struct iog_graph *), struct iog_err *err)
{
	const struct iog_diag *d;
	r->g = a->o.load(a->o.ctx, r->path);
	if (!r->g)
		return iog_fail(err, -ENOMEM, "%s: out of memory", r->path);
	int rc = iog_graph_check(r->g);
	if (!rc)
		rc = iog_graph_cut(r->g, true, (enum iog_target)a->o.engine.target, &r->cut);
	if (!rc && streams_there(r->g))
		return 0;
	uint32_t n = iog_graph_diags(r->g, &d), later = !rc, wrong = 0;
	for (uint32_t i = 0; i < n; i++) {
		later += d[i].later;
		if (!d[i].later && !d[i].warning && !wrong++)
			iog_fail(err, rc, "%s:%d: %s", d[i].file, d[i].line, d[i].text);
	}
	if (later && !wrong) {
		iog_strset(r->text, sizeof r->text, "waits for a stream that no program has opened");
		rc = -EAGAIN;
	} else if (diags) {
		diags(a->o.ctx, r->g);
	}
	iog_cut_free(&r->cut);
	iog_graph_free(r->g);
	r->g = NULL;
	return rc;
}

static void run_start(struct iog_agent *a, struct run *r)
{
	struct iog_err err = { "" };
	int rc = iog_engine_new(&r->e, r->g, &r->cut, &a->o.engine, &err);
	if (!rc)
		rc = iog_engine_start(r->e, &err);
	r->state = rc ? FAILED : RUNS;
	iog_strset(r->text, sizeof r->text, err.text);
	say(a, "graph %s %s%s%s", r->name, rc ? "cannot start" : "runs", rc ? ": " : "", err.text);
	if (rc && !a->rc)
		a->rc = rc, a->err = err;
	a->look = true;
}

static void runs_poll(struct iog_agent *a)
{
	for (uint32_t i = 0; i < a->n_runs; i++) {
		struct run *r = a->run[i];
		struct iog_err err = { "" };
		if (r->state == WAITS && a->look) {
			int rc = run_check(a, r, NULL, &err);
			if (!rc)
				run_start(a, r);
			else if (rc != -EAGAIN) {
				r->state = FAILED;
				iog_strset(r->text, sizeof r->text, err.text);
				say(a, "graph %s cannot start: %s", r->name, err.text);
				if (!a->rc)
					a->rc = rc, a->err = err;
			}
		}
		if (r->state != RUNS || !iog_engine_poll(r->e, 0))
			continue;
		int rc = iog_engine_result(r->e, &err);
		r->state = rc ? FAILED : ENDED;
		iog_strset(r->text, sizeof r->text, err.text);
		say(a, "graph %s has ended%s%s", r->name, rc ? ": " : "", err.text);
		if (rc && !a->rc)
			a->rc = rc, a->err = err;
	}
}

int iog_agent_load(
	struct iog_agent *a, const char *name, const char *path, void (*diags)(void *, const struct iog_graph *), struct iog_err *err)
{
	for (uint32_t i = 0; i < a->n_runs; i++)
		if (!strcmp(a->run[i]->name, name) && (a->run[i]->state == WAITS || a->run[i]->state == RUNS))
			return iog_fail(
				err, -EEXIST, "a graph named \"%s\" is loaded; unload it first, or give this one another name", name);
	/* Room: the first that has ended is forgotten. */
	for (uint32_t i = 0; a->n_runs == GRAPHS && i < a->n_runs; i++)
		if (a->run[i]->state == ENDED || a->run[i]->state == FAILED) {
			run_free(a->run[i]);
			free(a->run[i]);
			memmove(&a->run[i], &a->run[i + 1], (--a->n_runs - i) * sizeof a->run[0]);
		}
	struct run *r = a->n_runs < GRAPHS ? calloc(1, sizeof *r) : NULL;
	if (!r)
		return iog_fail(err, -ENOSPC, "the agent has no room for another graph");
	iog_strset(r->name, sizeof r->name, name);
	iog_strset(r->path, sizeof r->path, path);
	int rc = run_check(a, r, diags, err);
	if (rc && rc != -EAGAIN) {
		free(r);
		return rc;
	}
	a->run[a->n_runs++] = r;
	if (rc)
		say(a, "graph %s %s", name, r->text);
	else
		run_start(a, r);
	return 0;
}

int iog_agent_unload(struct iog_agent *a, const char *name, struct iog_err *err)
{
	for (uint32_t i = 0; i < a->n_runs; i++) {
		struct run *r = a->run[i];
		if (strcmp(r->name, name) || (r->state != WAITS && r->state != RUNS))
			continue;
		if (r->state == RUNS)
			iog_engine_drain(r->e);
		else
			r->state = ENDED;
		return 0;
	}
	return iog_fail(err, -ENOENT, "no graph \"%s\" is loaded", name);
}

void iog_agent_end(struct iog_agent *a, bool at_once)
{
	for (uint32_t i = 0; i < a->n_runs; i++) {
		if (a->run[i]->state == WAITS)
			a->run[i]->state = ENDED;
		else if (a->run[i]->state == RUNS)
			at_once ? iog_engine_stop(a->run[i]->e) : iog_engine_drain(a->run[i]->e);
	}
}

/* A graph has started that takes the stream, and its source is not open yet. */
static bool source_opens(const struct iog_agent *a, const struct stream *s)
{
	for (uint32_t i = 0; i < a->n_runs && !iog_feed_life(s->feed); i++) {
		struct iog_gnode *n;
		for (uint32_t k = a->run[i]->state == RUNS ? iog_graph_nodes(a->run[i]->g, &n) : 0; k-- > 0;)
			if (n[k].kind == IOG_G_SOURCE && !strcmp(n[k].end.name, "stream") &&
				!strcmp(n[k].conf, s->name)) /* its first parameter */
				return true;
	}
	return false;
}

/* Writers whose consumers have been seen to. */
static void tell_writers(struct iog_agent *a)
{
	for (uint32_t i = 0; i < a->n_writers; i++) {
		struct writer *w = a->writer[i];
		if (w->ready || !w->stream->known || w->map.fd < 0 || source_opens(a, w->stream))
			continue;
		w->ready = true;
		send_to(a, w->client, fresh(a, IOG_MSG_READY, w->id), NULL, 0);
	}
}

/* ---- the agent ---- */

uint32_t iog_agent_poll(struct iog_agent *a, double timeout_s)
{
	struct pollfd p[1 + CLIENTS] = { { .fd = a->sock, .events = POLLIN } };
	const uint32_t n = a->n_clients;
	for (uint32_t i = 0; i < n; i++)
		p[1 + i] = (struct pollfd){ .fd = a->client[i]->sock, .events = POLLIN };
	/* Graphs are looked after as well, and their feeds open on threads of theirs. */
	bool runs = false;
	for (uint32_t i = 0; i < a->n_runs; i++)
		runs |= a->run[i]->state == RUNS;
	bool opens = false;
	for (uint32_t i = 0; i < a->n_writers; i++)
		opens |= !a->writer[i]->ready && a->writer[i]->stream->known;
	const double most = opens ? 0.001 : runs ? 0.01 : 0.1;
	if (poll(p, 1 + n, (int)(1000 * IOG_MIN(timeout_s, most) + 0.5)) > 0) {
		for (uint32_t i = 0; i < n; i++)
			if (p[1 + i].revents)
				client_read(a, a->client[i]);
		if (p[0].revents)
			client_accept(a);
	}
	runs_poll(a);
	a->look = false;
	const uint64_t now = iog_now_ns();
	for (uint32_t i = a->n_readers; i-- > 0;) {
		struct reader *r = a->reader[i];
		tell_reader(a, r);
		if (!r->told && now > r->until_ns) {
			refuse(a, r->client, r->id, "stream \"%s\" did not appear", r->stream->name);
			reader_free(a, i);
		}
	}
	cut_feeds(a);
	connect_all(a);
	tell_writers(a);
	for (uint32_t i = a->n_clients; i-- > 0;)
		if (a->client[i]->dead)
			client_free(a, i);
	uint32_t busy = 0;
	for (uint32_t i = 0; i < a->n_runs; i++)
		busy += a->run[i]->state == WAITS || a->run[i]->state == RUNS;
	return busy;
}

int iog_agent_new(struct iog_agent **out, const struct iog_agent_opts *o, struct iog_err *err)
{
	struct iog_agent *a = calloc(1, sizeof *a);
	*out = NULL;
	if (!a)
		return iog_fail(err, -ENOMEM, "out of memory");
	a->o = *o;
	int rc = iog_attach_path(o->path, true, a->path, sizeof a->path, err);
	if (!rc)
		rc = a->sock = iog_attach_listen(a->path, err);
	if (rc < 0) {
		free(a);
		return rc;
	}
	*out = a;
	return 0;
}

const char *iog_agent_path(const struct iog_agent *a) { return a->path; }

int iog_agent_result(const struct iog_agent *a, struct iog_err *err)
{
	*err = a->err;
	return a->rc;
}

bool iog_agent_describe(const struct iog_agent *a, uint32_t *at, char *text, size_t size)
{
	static const char *const state[] = { "waits", "runs", "ended", "failed" };
	const uint32_t i = (*at)++;
	if (i < a->n_runs) {
		const struct run *r = a->run[i];
		snprintf(text, size, "graph\t%s\t%s\t%llu\t%s", r->name, state[r->state],
			r->e ? (unsigned long long)iog_engine_delivered(r->e) : 0ull, r->text);
		return true;
	}
	if (i - a->n_runs >= a->n_streams)
		return false;
	const struct stream *s = a->stream[i - a->n_runs];
	uint32_t readers = 0;
	for (uint32_t k = 0; k < a->n_readers; k++)
		readers += a->reader[k]->stream == s;
	snprintf(text, size, "stream\t%s\t%s\t%u of %u\t%u", s->name, s->known ? "known" : "waits", live_writers(s), s->n_writers, readers);
	return true;
}

void iog_agent_free(struct iog_agent *a)
{
	if (!a)
		return;
	for (uint32_t i = 0; i < a->n_runs; i++) {
		run_free(a->run[i]);
		free(a->run[i]);
	}
	while (a->n_clients)
		client_free(a, a->n_clients - 1);
	while (a->n_edges)
		drop_edge(a, a->n_edges - 1);
	for (uint32_t i = 0; i < a->n_streams; i++) {
		iog_feed_put(a->stream[i]->feed);
		free(a->stream[i]);
	}
	free(a->writer);
	free(a->reader);
	free(a->edge);
	unlink(a->path);
	close(a->sock);
	free(a);
}
