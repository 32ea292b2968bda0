/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading a stream: one ring for each of its writers, read in place and paired by runtime/host/collect.c. What a reader holds is memory of the
 * writers, mapped read-only; only a variable of several pieces is put together in memory of our own.
 *
 * Waiting: spinning for 50 us, then sleeping on the writers' rings. The agent's socket cannot be slept on together with them; it is looked at
 * between sleeps, which end by themselves after 5 ms.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "client-private.h"
#include "core/param.h"
#include "runtime/host/collect.h"
#include "runtime/host/wait.h"

enum {
	REGION_SLACK = 2 << 20,
	COMEBACKS = 4 * IOG_WRITERS, /* rings of one reader: a writer that came again, or has other memory, has a new one */
	SPINS = 256,                 /* looks at the rings for one at the clock */
};
static const uint64_t SPIN_NS = 50000, SLEEP_NS = 5000000, LOOK_NS = 5000000, ANSWER_NS = 2000000000u, GATHER_NS = 1000000000;
static const double TIMEOUT_DEFAULT_S = 10;

/* A writer's ring. Mapped as long as it is read or something of it is held: rings_sweep. */
struct ring {
	struct ring *next;
	uint32_t edge;   /* the agent's number */
	uint32_t writer; /* whose it is */
	uint32_t capacity;
	uint8_t policy;
	bool made, gone;
	struct iog_region_map up, arena, down, box;
};

/* A part of a variable. */
struct select {
	char var[IOG_NAME]; /* "": everything */
	int rank;           /* -1: the whole variable */
	struct {
		int64_t lo, hi;
		bool index;
	} dim[IOG_RANK];
};

struct iog_rec {
	struct iog_reader *r;
	struct iog_record *rec; /* NULL: not in use */
	uint64_t done;          /* variables that were put together */
	uint8_t *memory[IOG_VARS];
	uint64_t room[IOG_VARS];
};

struct iog_reader {
	struct iog *io;
	struct iog_reader *next;
	uint32_t id;
	int rc;   /* the first failure */
	int dead; /* why it cannot be used */
	bool subscribed, ended, apart;
	uint8_t policy;
	char name[IOG_STREAM_NAME];
	struct select select;
	int selected; /* variable; -1: all */
	uint32_t n_writers, blocks, n_rings;
	struct iog_schema schema;
	struct iog_collect *collect;
	struct ring *rings;
	struct iog_block *block; /* of a variable, cropped */
	struct iog_rec rec[IOG_COLLECT_HELD];
	uint64_t blocked_ns;
};

uint32_t iog_reader_id(const struct iog_reader *r) { return r->id; }
struct iog_reader *iog_reader_next(const struct iog_reader *r) { return r->next; }

#define FAIL(r, code, ...) fail(r, iog_client_fail((r)->io, code, __VA_ARGS__))
static int fail(struct iog_reader *r, int code)
{
	if (!r->rc)
		r->rc = code;
	return code;
}

/* ---- select ---- */

/* What stands at `at` in a selection is not what should. */
static int bad(struct iog_reader *r, const char *text, const char *at, const char *what)
{
	return FAIL(r, -EINVAL, "select \"%.80s\": column %d: %s", text, (int)(at - text) + 1, what);
}

/* Digits; false when there are none or too many. */
static bool number(const char **p, int64_t *n)
{
	const char *at = *p;
	*n = 0;
	for (; **p >= '0' && **p <= '9'; ++*p)
		if (__builtin_mul_overflow(*n, 10, n) || __builtin_add_overflow(*n, **p - '0', n))
			return false;
	return *p != at;
}

/* NAME or NAME[item,...]; an item is :, N, N:, :N, N:N. */
static int parse_select(struct iog_reader *r, const char *text)
{
	struct select *s = &r->select;
	const char *p = text, *from;
	*s = (struct select){ .rank = -1 };
	if (!text || !text[0])
		return 0;
	size_t n = strcspn(text, "[");
	if (n < IOG_NAME)
		memcpy(s->var, text, n);
	if (n >= IOG_NAME || !iog_name_valid(s->var, true))
		return bad(r, text, text, "expected the name of a variable, as in T or T[:,128,2:8]");
	p += n;
	if (!*p)
		return 0;
	p++;
	for (s->rank = 0;;) {
		if (s->rank == IOG_RANK)
			return bad(r, text, p, "a variable has at most 8 dimensions");
		int64_t *lo = &s->dim[s->rank].lo, *hi = &s->dim[s->rank].hi;
		from = p;
		const bool first = number(&p, lo), colon = *p == ':';
		*hi = INT64_MAX;
		if (p != from && !first)
			return bad(r, text, from, "the number is too large");
		if (colon) {
			from = ++p;
			if (!number(&p, hi)) {
				if (p != from)
					return bad(r, text, from, "the number is too large");
				*hi = INT64_MAX;
			}
		} else if (first) {
			s->dim[s->rank].index = true;
			*hi = *lo < INT64_MAX ? *lo + 1 : INT64_MAX;
		} else {
			return bad(r, text, p, "expected an index such as 128, or a range such as 2:8 or :");
		}
		if (*lo >= *hi)
			return bad(r, text, from, "the range is empty: its end is not in it");
		s->rank++;
		if (*p == ']' && !p[1])
			return 0;
		if (*p != ',')
			return bad(r, text, p, *p == ']' ? "nothing may stand behind the ]" : "expected , or ]");
		p++;
	}
}

/* Against the schema, when that is known. */
static int check_select(struct iog_reader *r)
{
	const struct select *s = &r->select;
	r->selected = -1;
	if (!s->var[0])
		return 0;
	r->selected = iog_schema_var(&r->schema, s->var);
	if (r->selected < 0)
		return FAIL(r, -ENOENT, "stream %s has no variable \"%s\"", r->name, s->var);
	const struct iog_vardef *v = &r->schema.var[r->selected];
	if (s->rank >= 0 && s->rank != v->rank)
		return FAIL(r, -EINVAL, "select: %s of stream %s has %u dimensions, not %d", s->var, r->name, v->rank, s->rank);
	for (int d = 0; d < s->rank; d++) {
		const struct iog_dim *dim = &r->schema.dim[v->dim[d]];
		if (s->dim[d].lo > 0 && dim->max && s->dim[d].lo >= dim->max)
			return FAIL(r, -ERANGE, "select: index %lld of dimension %s, which has %lld; they begin at 0",
				(long long)s->dim[d].lo, dim->name, (long long)dim->max);
	}
	return 0;
}

/* The selection as the writers hear it. A static variable comes whole, once. */
static struct iog_want want(const struct iog_reader *r)
{
	struct iog_want w = { 0 };
	if (r->selected < 0)
		return w;
	const struct iog_vardef *v = &r->schema.var[r->selected];
	w.vars = 1ull << r->selected;
	if (r->select.rank <= 0 || v->n_codecs || (v->flags & IOG_VAR_STATIC))
		return w;
	w.part = (uint32_t)r->selected + 1;
	for (unsigned d = 0; d < v->rank; d++)
		w.box.lo[d] = r->select.dim[d].lo, w.box.hi[d] = r->select.dim[d].hi;
	return w;
}

/* ---- rings ---- */

static void ring_free(struct ring *g)
{
	iog_region_close(&g->up);
	iog_region_close(&g->arena);
	iog_region_close(&g->down);
	iog_region_close(&g->box);
	free(g);
}

static struct ring *ring_find(const struct iog_reader *r, uint32_t edge)
{
	for (struct ring *g = r->rings; g; g = g->next)
		if (g->edge == edge)
			return g;
	return NULL;
}

/* The newest ring of a writer. */
static struct ring *ring_of(const struct iog_reader *r, uint32_t writer)
{
	for (struct ring *g = r->rings; g; g = g->next)
		if (g->writer == writer)
			return g;
	return NULL;
}

/* Rings that were read to their end, and of which nothing is held; and those that were never made, when another one is. */
static void rings_sweep(struct iog_reader *r)
{
	for (struct ring **at = &r->rings; *at;) {
		struct ring *g = *at;
		if (g->made ? iog_collect_reads(r->collect, g->writer, g->down.map) : !g->gone || g == ring_of(r, g->writer)) {
			at = &g->next;
			continue;
		}
		*at = g->next;
		r->n_rings--;
		ring_free(g);
	}
}

/* A writer is there: the side of the ring that we write. */
static int ring_wanted(struct iog_reader *r, const struct iog_msg *m, struct iog_err *err)
{
	if (!r->subscribed || m->a >= r->n_writers || ring_find(r, m->edge))
		return iog_fail(err, -EPROTO, "stream %s: an edge for writer %u of %u is not expected", r->name, m->a, r->n_writers);
	if (m->capacity < 2 || m->capacity > IOG_CREDIT_MAX || m->capacity & (m->capacity - 1) ||
		(m->policy == IOG_LATEST && m->capacity != IOG_LATEST_ENTRIES))
		return iog_fail(err, -EPROTO, "stream %s: no edge has credit for %u steps", r->name, m->capacity);
	rings_sweep(r);
	struct ring *g = r->n_rings < COMEBACKS ? calloc(1, sizeof *g) : NULL;
	if (!g)
		return iog_fail(err, -ENOMEM, "stream %s: no memory for one more writer", r->name);
	g->arena = g->down = g->box = IOG_REGION_NONE;
	g->edge = m->edge, g->writer = m->a, g->capacity = m->capacity, g->policy = m->policy;
	int rc = iog_region_create(&g->up, "iog-up", iog_up_bytes(g->capacity), 0, err);
	if (rc) {
		free(g);
		return rc;
	}
	g->next = r->rings;
	r->rings = g;
	r->n_rings++;
	struct iog_msg answer = {
		.kind = IOG_MSG_EDGE, .id = r->id, .edge = g->edge, .capacity = g->capacity, .policy = g->policy, .want = want(r)
	};
	iog_client_say(r->io, &answer, &g->up.fd, 1);
	iog_client_drop_fd(&g->up);
	return 0;
}

/* Bytes of an arena; false when no arena is like that. */
static bool arena_bytes(const struct iog_arena *a, uint64_t *bytes)
{
	return a->n_slots && a->n_slots < 1 << 20 && a->slot_bytes >= sizeof(struct iog_wire) &&
	       iog_mul(a->slot_bytes, a->n_slots, bytes) && iog_add(*bytes, a->static_bytes, bytes) && *bytes < INT64_MAX - REGION_SLACK;
}

static int ring_map(struct ring *g, const struct iog_msg *m, int *fds, uint32_t n, struct iog_err *err)
{
	const bool latest = g->policy == IOG_LATEST;
	uint64_t bytes, down = iog_down_bytes(g->capacity);
	if (n != (latest ? 3u : 2u) || m->capacity != g->capacity || m->policy != g->policy || !arena_bytes(&m->arena, &bytes))
		return iog_fail(err, -EPROTO, "an edge is not as it was asked for");
	struct iog_region_map *const to[] = { &g->arena, &g->down };
	const uint64_t min[] = { bytes, down };
	for (unsigned i = 0; i < 2; i++) {
		const int fd = fds[i];
		fds[i] = -1; /* given */
		int rc = iog_region_open(to[i], fd, min[i], min[i] + REGION_SLACK, err);
		if (rc)
			return rc;
	}
	if (latest) {
		const uint64_t box = sizeof(struct iog_mailbox);
		const int fd = fds[2];
		fds[2] = -1;
		int rc = iog_region_open_writer(&g->box, fd, box, box + REGION_SLACK, err);
		if (rc)
			return rc;
	}
	return 0;
}

static int ring_made(struct iog_reader *r, const struct iog_msg *m, int *fds, uint32_t n, struct iog_err *err)
{
	struct ring *g = ring_find(r, m->edge);
	if (!g || g->made || g->gone)
		return iog_fail(err, -EPROTO, "stream %s: an edge that was not wanted", r->name);
	int rc = ring_map(g, m, fds, n, err);
	if (rc) {
		g->gone = true; /* what it has already is not asked for again */
		return rc;
	}
	const struct iog_arena *a = &m->arena;
	struct iog_worker_in in = { .n_slots = a->n_slots, .slot_bytes = a->slot_bytes, .n_regions = 1 };
	in.edge =
		(struct iog_edge){ .down = g->down.map, .up = g->up.map, .box = g->box.map, .capacity = g->capacity, .policy = g->policy };
	in.region[0] = (struct iog_region){ .base = g->arena.map, .size = iog_arena_bytes(a), .arena = a->id };
	rc = iog_collect_attach(r->collect, g->writer, &in, false, err);
	g->made = !rc, g->gone |= !!rc;
	iog_client_drop_fd(&g->arena);
	iog_client_drop_fd(&g->down);
	iog_client_drop_fd(&g->box);
	return rc;
}

/* ---- what the agent says ---- */

/* As long as nothing came it is as if it had not subscribed: another agent may have other ranks for it, or a hub. False: something came. */
static bool forget(struct iog_reader *r)
{
	for (const struct ring *g = r->rings; g; g = g->next)
		if (g->made)
			return false;
	for (struct ring *g; (g = r->rings); ring_free(g))
		r->rings = g->next;
	r->n_rings = 0;
	return !(r->subscribed = false);
}

static void subscribed(struct iog_reader *r, const struct iog_msg *m)
{
	const bool same = m->schema.id == r->schema.id && m->b == r->n_writers && m->blocks <= r->blocks && !!m->apart == r->apart &&
			  !memcmp(m->schema.dim, r->schema.dim, sizeof r->schema.dim);
	if (r->subscribed && same)
		return;
	if (r->subscribed && !forget(r)) {
		r->dead = FAIL(r, -ESTALE, "stream %s: it is another one since the agent was started again; subscribe anew", r->name);
		return;
	}
	if (!m->schema.n_vars || !m->b || m->b > IOG_WRITERS || !m->blocks || m->blocks > IOG_BLOCKS_MAX) {
		r->dead = FAIL(r, -EPROTO, "stream %s: the agent describes a stream of %u variables, %u writers and %u pieces", r->name,
			m->schema.n_vars, m->b, m->blocks);
		return;
	}
	r->schema = m->schema;
	r->n_writers = m->b;
	r->apart = m->apart;
	r->blocks = m->blocks;
	if ((r->dead = check_select(r)))
		return;
	struct iog_collect *collect = iog_collect_new(&r->schema, r->n_writers, r->blocks,
		m->apart                 ? IOG_PAIR_NONE
		: r->policy == IOG_BLOCK ? IOG_PAIR_ALL
					 : IOG_PAIR_LOSSY);
	struct iog_block *block = calloc((size_t)r->n_writers * r->blocks, sizeof *block);
	if (!collect || !block) {
		iog_collect_free(collect);
		free(block);
		r->dead = FAIL(r, -ENOMEM, "stream %s: out of memory", r->name);
		return;
	}
	iog_collect_free(r->collect);
	free(r->block);
	r->collect = collect, r->block = block;
	r->subscribed = true;
}

/* The writer of an edge is gone; when it came again by another one, that one goes on. */
static void writer_gone(struct iog_reader *r, uint32_t edge)
{
	struct ring *g = ring_find(r, edge);
	if (!g)
		return;
	g->gone = true;
	if (g == ring_of(r, g->writer))
		iog_collect_ended(r->collect, g->writer);
}

void iog_reader_hear(struct iog_reader *r, const struct iog_msg *m, int *fds, uint32_t n)
{
	struct iog_err err = { "" };
	if (r->dead)
		return;
	switch (m->kind) {
	case IOG_MSG_SUBSCRIBED: subscribed(r, m); return;
	case IOG_MSG_EDGE_WANTED:
		if (ring_wanted(r, m, &err))
			break;
		return;
	case IOG_MSG_EDGE_MADE:
		if (ring_made(r, m, fds, n, &err))
			break;
		return;
	case IOG_MSG_WRITER_GONE: writer_gone(r, m->edge); return;
	case IOG_MSG_ERROR:
		if (!r->subscribed)
			r->dead = -ENOENT;
		FAIL(r, -ENOENT, "stream %s: %s", r->name, m->text);
		return;
	default: return; /* of a later version */
	}
	FAIL(r, -EPROTO, "%s", err.text);
	iog_client_refuse(r->io, r->id, m->edge, err.text);
}

void iog_reader_alone(struct iog_reader *r)
{
	if (!r->subscribed) {
		if (!r->dead)
			r->dead = r->rc = r->io->rc;
		return;
	}
	/* Who is connected says by itself when it ends; nobody else comes, unless another agent does. */
	for (struct ring *g = r->rings; g; g = g->next)
		g->gone |= !g->made;
	for (uint32_t w = 0; w < r->n_writers && !r->io->again; w++) {
		const struct ring *g = ring_of(r, w);
		if (!g || !g->made)
			iog_collect_ended(r->collect, w);
	}
}

static void say_subscribe(struct iog_reader *r, uint64_t limit_ns)
{
	struct iog_msg m = { .kind = IOG_MSG_SUBSCRIBE,
		.id = r->id,
		.policy = r->policy,
		.a = r->subscribed,
		.b = (uint32_t)IOG_MIN(limit_ns / 1000000, (uint64_t)UINT32_MAX) };
	iog_strset(m.name, sizeof m.name, r->name);
	/* The newest ring of each writer; then those that its writer may have made, and we never got. */
	for (uint32_t w = 0; r->subscribed && w < r->n_writers; w++) {
		const struct ring *g = ring_of(r, w);
		if (g && g->made && !g->gone)
			m.held[m.n_held++] = g->edge;
	}
	for (const struct ring *g = r->rings; g && m.n_held < IOG_WRITERS; g = g->next)
		if (!g->made)
			m.held[m.n_held++] = g->edge, m.blocks++;
	iog_client_say(r->io, &m, NULL, 0);
}

void iog_reader_join(struct iog_reader *r)
{
	if (!r->dead && r->subscribed)
		say_subscribe(r, 0);
}

/* ---- subscribing ---- */

static int options(struct iog_reader *r, const char *text, double *seconds)
{
	char word[64], *value;
	r->policy = IOG_LATEST;
	*seconds = TIMEOUT_DEFAULT_S;
	while (text && iog_client_option(&text, word, sizeof word, &value)) {
		if (iog_streq(word, "policy") && iog_client_policy(value) >= 0)
			r->policy = (uint8_t)iog_client_policy(value);
		else if (!iog_streq(word, "timeout") || !value || !iog_parse_seconds(value, seconds) || *seconds < 0)
			return FAIL(r, -EINVAL, "stream %s: option \"%s%s%s\": known are policy=latest|block|drop-new, timeout=SECONDS",
				r->name, word, value ? "=" : "", value ? value : "");
	}
	return 0;
}

/*
 * Ranks apart: what one committed before another began comes first, also of the first records, so the rings of all are there before any is read. A rank that
 * computes for longer joins later.
 */
static void gather(struct iog_reader *r)
{
	const uint64_t until = iog_now_ns() + GATHER_NS;
	uint32_t w = 0;
	for (uint64_t now; !r->dead && w < r->n_writers && (now = iog_now_ns()) < until;) {
		const struct ring *g = ring_of(r, w);
		if (g && (g->made || g->gone))
			w++;
		else
			iog_client_hear(r->io, until - now);
	}
}

iog_reader *iog_subscribe(iog *io, const char *stream, const char *select, const char *opts)
{
	static struct iog no_handle = { .sock = -1, .rc = -EBADF, .page = { .fd = -1 } };
	static struct iog_reader no_memory = { .io = &no_handle, .dead = -ENOMEM, .rc = -ENOMEM };
	struct iog_reader *r = io && !iog_client_forked(io) ? calloc(1, sizeof *r) : NULL;
	double seconds = 0;
	if (!r) {
		if (io && !iog_client_forked(io))
			iog_client_fail(io, -ENOMEM, "out of memory");
		return &no_memory;
	}
	r->io = io;
	r->id = io->next_id++;
	r->next = io->readers;
	io->readers = r;
	r->selected = -1;
	if (!stream || !iog_name_valid(stream, true) || !iog_strset(r->name, sizeof r->name, stream))
		r->dead = FAIL(r, -EINVAL, "stream \"%.80s\": a name has letters, digits and _, and fewer than %d bytes",
			stream ? stream : "", IOG_NAME);
	if (!r->dead)
		r->dead = options(r, opts, &seconds);
	if (!r->dead)
		r->dead = parse_select(r, select);
	if (!r->dead)
		iog_client_join(io, ANSWER_NS);
	if (!r->dead && (r->dead = io->rc))
		r->rc = r->dead;
	if (r->dead)
		return r;
	const uint64_t limit = iog_client_span(seconds);
	say_subscribe(r, limit);
	/* The agent says when the time is over; it is given a little more for saying so. */
	const uint64_t until = iog_now_ns() + limit + ANSWER_NS;
	for (uint64_t now; !r->subscribed && !r->dead && (now = iog_now_ns()) < until;)
		iog_client_hear(io, until - now);
	if (!r->subscribed && !r->dead)
		r->dead = FAIL(r, -ETIMEDOUT, "stream %s: the agent does not answer", stream);
	if (r->apart && !r->dead)
		gather(r);
	return r;
}

/* ---- steps ---- */

/* Sleeps until a writer may have sent something; with nobody to wait for yet, until the agent says something. */
static void rest(struct iog_reader *r, uint64_t limit_ns)
{
	struct iog_waitword w[IOG_WRITERS];
	uint32_t n = iog_collect_sleep(r->collect, w, IOG_COUNT(w));
	if (n)
		iog_wait_words(w, n, limit_ns);
	else if (r->io->sock >= 0)
		iog_client_hear(r->io, limit_ns);
	else
		iog_wait_words(NULL, 0, limit_ns);
	iog_collect_awake(r->collect);
}

/* The next step, or NULL: r->ended, or nothing came before `until`. t0: now. */
static struct iog_record *wait_step(struct iog_reader *r, uint64_t t0, uint64_t until)
{
	for (uint64_t now = t0;; now = iog_now_ns()) {
		struct iog_record *rec = iog_collect_next(r->collect, &r->ended);
		for (unsigned i = 0; i < SPINS && !rec && !r->ended; i++) {
			if (i % 4 == 3) /* a neighbour on the same core is let through, and a pause delays what comes by half its length */
				__builtin_ia32_pause();
			if (iog_collect_stirs(r->collect))
				rec = iog_collect_next(r->collect, &r->ended);
		}
		if (rec || r->ended) {
			r->blocked_ns += now - t0; /* not to the last spin: the clock would cost a tenth of the way */
			return rec;
		}
		iog_client_look(r->io, now, LOOK_NS);
		if (now >= until) {
			r->blocked_ns += now - t0;
			return NULL;
		}
		if (now - t0 > SPIN_NS) {
			rest(r, IOG_MIN(until - now, SLEEP_NS));
			iog_client_look(r->io, iog_now_ns(), LOOK_NS);
		}
	}
}

int iog_next(iog_reader *r, double timeout, iog_rec **rec)
{
	struct iog_rec *to = NULL;
	*rec = NULL;
	if (iog_unlikely(iog_client_forked(r->io)))
		return -EBADF;
	if (r->dead)
		return r->dead;
	for (unsigned i = 0; i < IOG_COLLECT_HELD && !to; i++)
		if (!r->rec[i].rec)
			to = &r->rec[i];
	if (!to)
		return -ENOBUFS;
	struct iog_record *got = iog_collect_next(r->collect, &r->ended);
	if (!got && !r->ended) {
		const uint64_t now = iog_now_ns();
		iog_client_look(r->io, now, LOOK_NS);
		got = wait_step(r, now, now + iog_client_span(timeout));
	} else if (iog_unlikely(iog_client_news(r->io) || !got || (int64_t)(got->born_ns - r->io->looked_ns) > (int64_t)LOOK_NS)) {
		/* Who finds a step looks at the clock only when its writer has: that costs half as much as the rest of the call. */
		iog_client_look(r->io, iog_now_ns(), iog_client_news(r->io) ? 0 : LOOK_NS);
	}
	if (!got)
		return r->ended ? IOG_END : IOG_TIMEOUT;
	to->r = r;
	to->rec = got;
	to->done = 0;
	*rec = to;
	return IOG_OK;
}

int64_t iog_rec_step(const iog_rec *rec) { return rec && rec->rec && !iog_client_forked(rec->r->io) ? rec->rec->step : 0; }
double iog_rec_time(const iog_rec *rec) { return rec && rec->rec && !iog_client_forked(rec->r->io) ? rec->rec->time : 0; }

const char *iog_rec_var(const iog_rec *rec, int index)
{
	if (!rec || !rec->rec || index < 0 || iog_client_forked(rec->r->io))
		return NULL;
	const struct iog_record *x = rec->rec;
	for (uint32_t v = 0; v < x->schema->n_vars; v++)
		if (x->var[v].n_blocks && (rec->r->selected < 0 || rec->r->selected == (int)v) && !index--)
			return x->schema->var[v].name;
	return NULL;
}

/* The blocks of variable v within the selection, in r->block; how many have elements. Axes of what is left go to axis, its place to lo. */
static uint32_t pieces(const struct iog_rec *rec, uint32_t v, int64_t *lo, struct iog_axis *axis)
{
	const struct iog_reader *r = rec->r;
	const struct iog_record *x = rec->rec;
	const struct iog_vardef *def = &x->schema->var[v];
	const bool part = r->select.var[0] && r->select.rank >= 0;
	uint32_t n = 0;
	for (unsigned d = 0; d < def->rank; d++) {
		const int64_t extent = x->axis[def->dim[d]].extent;
		lo[d] = part ? IOG_MIN(r->select.dim[d].lo, extent) : 0;
		axis[def->dim[d]].extent = (part ? IOG_MIN(r->select.dim[d].hi, extent) : extent) - lo[d];
	}
	for (uint32_t i = 0; i < x->var[v].n_blocks && n < r->n_writers * r->blocks; i++) {
		struct iog_block *b = &r->block[n];
		bool any = true;
		*b = x->var[v].block[i];
		for (unsigned d = 0; d < def->rank; d++) {
			if (!part) {
				any &= b->count[d] > 0;
				continue;
			}
			const struct iog_block from = *b;
			any &= iog_block_crop(b, &from, def->rank, d, lo[d], lo[d] + axis[def->dim[d]].extent);
		}
		n += any;
	}
	return n;
}

/* Elements of variable def in a record with these axes; of what was selected when the axes are. */
static uint64_t elements(const struct iog_vardef *def, const struct iog_axis *axis)
{
	uint64_t n = 1;
	for (unsigned d = 0; d < def->rank; d++)
		if (!iog_mul(n, (uint64_t)axis[def->dim[d]].extent, &n))
			return UINT64_MAX;
	return n;
}

/* Puts several blocks together, in memory that is kept for the next step. */
static int assemble(struct iog_rec *rec, uint32_t v, const struct iog_record *of, struct iog_block *whole)
{
	const struct iog_vardef *def = &of->schema->var[v];
	const uint32_t elem = iog_dtype_size(def->dtype);
	uint64_t bytes = elem;
	for (unsigned d = 0; d < def->rank; d++) {
		whole->start[d] = 0;
		whole->count[d] = of->axis[def->dim[d]].extent;
		if (!iog_mul(bytes, (uint64_t)whole->count[d], &bytes))
			return -EFBIG;
	}
	if (bytes > rec->room[v]) {
		free(rec->memory[v]);
		rec->memory[v] = malloc(bytes);
		rec->room[v] = rec->memory[v] ? bytes : 0;
		if (!rec->memory[v])
			return -ENOMEM;
	}
	if (!(rec->done >> v & 1))
		iog_record_assemble_whole(of, v, rec->memory[v]);
	rec->done |= 1ull << v;
	whole->data = rec->memory[v];
	iog_block_set_dense(whole, def->rank, elem);
	return 0;
}

int iog_get(iog_rec *rec, const char *var, iog_view *view)
{
	if (view)
		*view = (iog_view){ 0 };
	if (!rec || !rec->rec || !var || !view)
		return -EINVAL;
	if (iog_client_forked(rec->r->io))
		return -EBADF;
	struct iog_reader *r = rec->r;
	const struct iog_schema *s = rec->rec->schema;
	const int at = iog_schema_var(s, var);
	if (at < 0 || !rec->rec->var[at].n_blocks || (r->selected >= 0 && r->selected != at))
		return -ENOENT;
	const uint32_t v = (uint32_t)at;
	const struct iog_vardef *def = &s->var[v];
	const bool part = r->selected >= 0 && r->select.rank >= 0;
	struct iog_block whole;
	const struct iog_block *b = &r->block[0];
	int64_t lo[IOG_RANK];
	if (iog_var_opaque(def)) { /* encoded: as its bytes */
		b = rec->rec->var[v].block;
		*view = (iog_view){ .data = b->data,
			.dtype = "byte",
			.unit = "",
			.dim = { "byte" },
			.rank = 1,
			.shape = { (int64_t)b->bytes },
			.stride = { 1 } };
		return IOG_OK;
	}
	struct iog_record of; /* what is not set is not read; it is large */
	of.schema = s;
	const uint32_t n = pieces(rec, v, lo, of.axis);
	const uint64_t want = elements(def, of.axis);
	/* One writer's part is what it says. Of several writers one is gone when there is a part missing. */
	const bool all = rec->rec->writers == 1 || (n == 1 && (uint64_t)iog_block_elems(&r->block[0], def->rank) == want);
	if (want && (n > 1 || !all)) {
		of.var[v] = (struct iog_var){ .block = r->block, .n_blocks = n };
		b = &whole;
		int rc = assemble(rec, v, &of, &whole);
		if (rc)
			return FAIL(r, rc, "stream %s: %s cannot be put together in memory", r->name, var);
	} else if (!n) {
		whole = (struct iog_block){ .data = (const uint8_t *)"" }; /* no elements: nobody reads it */
		b = &whole;
		iog_block_set_dense(&whole, def->rank, iog_dtype_size(def->dtype));
	}
	view->data = b->data;
	view->dtype = iog_dtype_name(def->dtype);
	view->unit = def->unit;
	for (unsigned d = 0; d < def->rank; d++) {
		if (part && r->select.dim[d].index && want)
			continue;
		const int i = view->rank++;
		view->dim[i] = s->dim[def->dim[d]].name;
		view->shape[i] = b->count[d];
		view->stride[i] = b->stride[d];
		view->start[i] = lo[d] + b->start[d];
	}
	return IOG_OK;
}

void iog_release(iog_rec *rec)
{
	if (!rec || !rec->rec || iog_client_forked(rec->r->io))
		return;
	iog_collect_release(rec->r->collect, rec->rec);
	rec->rec = NULL;
	if (iog_unlikely(rec->r->n_rings > rec->r->n_writers))
		rings_sweep(rec->r);
}

/* ---- the end ---- */

int iog_unsubscribe(iog_reader *r)
{
	if (!r)
		return IOG_OK;
	if (iog_client_forked(r->io))
		return -EBADF;
	if (!r->id)
		return r->dead; /* the one that stands for all there was no memory for */
	for (unsigned i = 0; i < IOG_COLLECT_HELD; i++) {
		iog_release(&r->rec[i]);
		for (unsigned v = 0; v < IOG_VARS; v++)
			free(r->rec[i].memory[v]);
	}
	if (r->subscribed) {
		struct iog_msg m = { .kind = IOG_MSG_UNSUBSCRIBE, .id = r->id };
		iog_client_say(r->io, &m, NULL, 0);
	}
	int rc = r->rc;
	for (struct iog_reader **at = &r->io->readers; *at; at = &(*at)->next)
		if (*at == r) {
			*at = r->next;
			break;
		}
	iog_collect_free(r->collect);
	for (struct ring *g = r->rings, *next; g; g = next) {
		next = g->next;
		ring_free(g);
	}
	free(r->block);
	free(r);
	return rc;
}

int iog_reader_stats(const iog_reader *r, iog_stats *stats)
{
	struct iog_collect_stats c = { 0 };
	*stats = (iog_stats){ 0 };
	if (iog_client_forked(r->io))
		return -EBADF;
	if (r->collect)
		iog_collect_stats(r->collect, &c);
	*stats = (iog_stats){ .records = c.steps,
		.bytes = c.bytes,
		.dropped = c.passed_by + c.bad,
		.blocked_s = (double)r->blocked_ns * 1e-9,
		.readers = r->subscribed && !r->ended };
	return r->dead;
}
