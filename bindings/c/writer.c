/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writing a stream: an arena of this process, made when the first step begins and the blocks are known, and an outlet with an edge for each
 * consumer the agent asks for. A step is written where its consumers read it; iog_commit adds the head.
 *
 * Slots: one in hand, IOG_READER_CREDIT for each lossy reader that may come, and what is left of `bytes` is credit of blocking edges, two at
 * least. So whoever may drop steps never makes the writer wait, and the arena is not larger than was declared.
 *
 * The agent is looked at once per step by one word of memory. Without an agent nobody can say that a consumer died, so one that lets a step
 * run into its time limit then is cut off.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client-private.h"
#include "core/param.h"
#include "runtime/host/wait.h"

enum {
	CREDIT_MAX = 64,
	STEPS_DEFAULT = 8,
	FORGED_MAX = 8,         /* releases that could not be, before who sends them is cut off */
	REGION_SLACK = 2 << 20, /* a region may be that much larger than asked for: pages */
	LOSSY_SLOTS = IOG_READERS * IOG_READER_CREDIT,
};
static const uint64_t BYTES_DEFAULT = 64 << 20, OPEN_NS = 2000000000u, SPIN_NS = 20000, SLEEP_NS = 20000000, LOOK_NS = 100000000;
static const double TIMEOUT_DEFAULT_S = 5;

/* A consumer. */
struct edge {
	enum { EDGE_FREE, EDGE_ASKED /* before the arena was there */, EDGE_LIVE } state;
	uint32_t number; /* the agent's */
	uint32_t k;      /* in the outlet */
	uint32_t capacity;
	uint8_t policy, safe;
	struct iog_want want;
	struct iog_region_map up, down, box;
	void *box_map;
};
#define NO_EDGE ((struct edge){ .up = IOG_REGION_NONE, .down = IOG_REGION_NONE, .box = IOG_REGION_NONE })
struct variable {
	bool placed;
	bool given; /* static: has a value, in own memory */
	uint32_t elem;
	uint64_t at;     /* in the payload; static: not used */
	uint64_t room;   /* bytes of the largest part before the first step, which no later one may exceed */
	uint64_t bytes;  /* of the part now */
	uint8_t *memory; /* static: the value, for this epoch and those that follow */
	int64_t global[IOG_RANK];
};

struct iog_stream {
	struct iog *io;
	struct iog_stream *next;
	uint32_t id;
	int rc;                                  /* the first failure, which iog_close returns */
	int dead;                                /* why it cannot be used; 0: it can */
	bool opened, made, any, in_step, shaped; /* shaped: a shape changed */
	uint8_t policy;
	bool apart;
	uint64_t timeout_ns, bytes;
	uint64_t patience, late; /* steps in a row that may run into the time limit, 0: all; that did */
	uint32_t epoch;
	int64_t step;
	char name[IOG_STREAM_NAME];
	uint32_t credit_max;    /* the agent's wish */
	bool ready;             /* the agent has asked for the edges of those who wait */
	uint32_t lossy;         /* slots promised to lossy edges */
	bool asked;             /* edges came that are still to be made */
	bool rewant;            /* consumers came or went since wants was made */
	struct iog_wants wants; /* what those of the open step want: fixed while it is filled */
	uint64_t cut;           /* variables of which the open step has only a part, in part */
	struct iog_block part[IOG_VARS];
	uint32_t wide; /* blocking edges, by bit, that could hold more than credit allows */
	uint32_t credit, slot;
	uint64_t head_max, payload;
	uint64_t touched, statics, statics_sent; /* by variable */
	uint64_t new_statics;                    /* those of the epoch are not sent yet */
	struct iog_schema schema;
	struct variable var[IOG_VARS];
	struct iog_block block[IOG_VARS];
	struct iog_record rec;
	struct iog_region_map arena;
	struct iog_region view; /* the static part of the arena */
	struct iog_outlet o;
	void *memory; /* of the outlet */
	struct edge edge[IOG_FANOUT];
	uint64_t records, sent_bytes, dropped, skipped, blocked_ns;
};

uint32_t iog_stream_id(const struct iog_stream *s) { return s->id; }
struct iog_stream *iog_stream_next(const struct iog_stream *s) { return s->next; }

/* Keeps the first failure of the stream, and of the attachment, in words. */
#define FAIL(s, code, ...) fail(s, iog_client_fail((s)->io, code, __VA_ARGS__))
static int fail(struct iog_stream *s, int code)
{
	if (!s->rc)
		s->rc = code;
	return code;
}

/* ---- consumers ---- */

static void wake(struct iog_stream *s, uint32_t sleepers)
{
	for (; iog_unlikely(sleepers); sleepers &= sleepers - 1)
		iog_wake_word(&s->o.edge[__builtin_ctz(sleepers)].e.down->head);
}

static void edge_close(struct edge *e)
{
	if (e->box_map)
		munmap(e->box_map, e->box.bytes);
	iog_region_close(&e->up);
	iog_region_close(&e->down);
	iog_region_close(&e->box);
	*e = NO_EDGE;
}

/* Slots a lossy consumer may keep: of a mailbox's four one is the newest, which is the same for all. */
static uint32_t lossy_slots(const struct edge *e)
{
	return e->policy == IOG_BLOCK ? 0 : e->policy == IOG_LATEST ? IOG_LATEST_ENTRIES - 1 : e->capacity;
}

/* A stream that never waits has its graph on such an edge, too. */
static uint32_t lossy_max(const struct iog_stream *s) { return LOSSY_SLOTS + (s->policy == IOG_BLOCK ? 0 : IOG_READER_CREDIT); }

static void edge_cut(struct iog_stream *s, struct edge *e)
{
	if (e->state == EDGE_LIVE) {
		iog_outlet_cut(&s->o, e->k);
		s->wide &= ~(1u << e->k);
		s->lossy -= lossy_slots(e);
		s->rewant = true;
	}
	edge_close(e);
}

/* Checks what was asked for and makes our side of it. */
static int edge_check(const struct iog_stream *s, const struct edge *e, struct iog_err *err)
{
	if (e->capacity < 2 || e->capacity & (e->capacity - 1) || (e->policy == IOG_LATEST && e->capacity != IOG_LATEST_ENTRIES))
		return iog_fail(err, -EPROTO, "stream %s: no edge has credit for %u steps", s->name, e->capacity);
	if (!iog_want_valid(&e->want, &s->schema))
		return iog_fail(err, -EPROTO, "stream %s: a reader wants what the stream cannot have", s->name);
	if (s->lossy + lossy_slots(e) > lossy_max(s))
		return iog_fail(
			err, -ENOSPC, "stream %s: %d readers take it directly, which is as many as there can be", s->name, IOG_READERS);
	return 0;
}

static int edge_make(struct iog_stream *s, struct edge *e, struct iog_err *err)
{
	int fds[2], rc = edge_check(s, e, err);
	uint32_t n = 0;
	if (!rc) {
		const uint64_t up = iog_up_bytes(e->capacity);
		const int fd = e->up.fd; /* given to open, which closes it when it fails */
		e->up = IOG_REGION_NONE;
		rc = iog_region_open(&e->up, fd, up, up + REGION_SLACK, err);
	}
	if (!rc)
		rc = iog_region_create(&e->down, "iog-down", iog_down_bytes(e->capacity), 0, err);
	if (!rc && e->policy == IOG_LATEST) {
		/* The one page both sides write. */
		rc = iog_region_create_for(&e->box, "iog-mailbox", sizeof(struct iog_mailbox), 0, err);
		if (!rc && !(e->box_map = iog_client_map_box(&e->box, err)))
			rc = -ENOMEM;
	}
	struct iog_edge shared = {
		.down = e->down.map, .up = e->up.map, .box = e->box_map, .capacity = e->capacity, .policy = e->policy, .safe = e->safe
	};
	/* A consumer that wants every step does not make a stream wait that was opened not to; what it has no credit for passes it by. */
	if (e->policy == IOG_BLOCK && s->policy != IOG_BLOCK)
		shared.policy = IOG_DROP_NEW;
	int k = rc ? rc : iog_outlet_join(&s->o, &shared);
	if (k < 0)
		return rc ? rc : iog_fail(err, k, "stream %s: %d consumers take it, which is as many as there can be", s->name, IOG_FANOUT);
	e->k = (uint32_t)k;
	e->state = EDGE_LIVE;
	s->lossy += lossy_slots(e);
	s->rewant = true;
	if (shared.policy == IOG_BLOCK && e->capacity > s->credit)
		s->wide |= 1u << e->k;
	wake(s, iog_outlet_publish(&s->o)); /* what is past already */
	struct iog_msg m = { .kind = IOG_MSG_EDGE_MADE, .id = s->id, .edge = e->number, .capacity = e->capacity, .policy = e->policy };
	fds[n++] = e->down.fd;
	if (e->box_map)
		fds[n++] = e->box.fd;
	iog_client_say(s->io, &m, fds, n);
	iog_client_drop_fd(&e->up);
	iog_client_drop_fd(&e->down);
	iog_client_drop_fd(&e->box);
	return 0;
}

static void edge_try(struct iog_stream *s, struct edge *e)
{
	struct iog_err err = { "" };
	const uint32_t number = e->number;
	if (!edge_make(s, e, &err))
		return;
	edge_close(e);
	iog_client_refuse(s->io, s->id, number, err.text);
}

/* Not while a step is open: who comes then may want of it what was left out. */
static void edges_try(struct iog_stream *s)
{
	s->asked = false;
	for (unsigned i = 0; i < IOG_FANOUT; i++)
		if (s->edge[i].state == EDGE_ASKED)
			edge_try(s, &s->edge[i]);
}

static struct edge *edge_find(struct iog_stream *s, uint32_t number)
{
	for (unsigned i = 0; i < IOG_FANOUT; i++)
		if (s->edge[i].state != EDGE_FREE && s->edge[i].number == number)
			return &s->edge[i];
	return NULL;
}

static void edge_asked(struct iog_stream *s, const struct iog_msg *m, int *fds, uint32_t n)
{
	struct edge *e = NULL;
	for (unsigned i = 0; i < IOG_FANOUT && !e; i++)
		if (s->edge[i].state == EDGE_FREE)
			e = &s->edge[i];
	if (n != 1 || edge_find(s, m->edge) || !e || !s->opened) {
		iog_client_refuse(
			s->io, s->id, m->edge, "an edge comes with one descriptor, once, for a stream that is open and has place for it");
		return;
	}
	e->number = m->edge, e->capacity = m->capacity, e->policy = m->policy, e->safe = m->safe, e->want = m->want;
	e->state = EDGE_ASKED;
	e->up.fd = fds[0];
	fds[0] = -1;
	s->asked = true;
	if (s->made && !s->in_step)
		edges_try(s);
}

void iog_stream_hear(struct iog_stream *s, const struct iog_msg *m, int *fds, uint32_t n)
{
	struct edge *e;
	if (s->dead)
		return;
	switch (m->kind) {
	case IOG_MSG_OPENED:
		if (s->opened)
			return;
		s->opened = true;
		s->epoch = m->epoch;
		s->credit_max = m->a;
		return;
	case IOG_MSG_READY: s->ready = true; return;
	case IOG_MSG_EDGE: edge_asked(s, m, fds, n); return;
	case IOG_MSG_CUT:
		e = edge_find(s, m->edge);
		if (e)
			edge_cut(s, e);
		return;
	case IOG_MSG_ERROR:
		if (!s->opened)
			s->dead = -EINVAL;
		FAIL(s, -EINVAL, "stream %s: %s", s->name, m->text);
		return;
	default: return; /* of a later version */
	}
}

void iog_stream_alone(struct iog_stream *s)
{
	for (unsigned i = 0; i < IOG_FANOUT; i++)
		if (s->edge[i].state == EDGE_ASKED)
			edge_close(&s->edge[i]);
	if (!s->dead && !s->o.live_mask)
		s->dead = s->io->rc;
	if (!s->rc)
		s->rc = s->io->rc;
}

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
		s->edge[i] = NO_EDGE;
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
	if (!s->dead && (s->dead = io->rc))
		s->rc = s->dead;
	if (s->dead)
		return s;
	record_init(s, rank, nranks);
	struct iog_msg m = { .kind = IOG_MSG_OPEN,
		.id = s->id,
		.a = (uint32_t)rank,
		.b = (uint32_t)nranks,
		.policy = s->policy,
		.apart = s->apart,
		.schema = s->schema };
	iog_strset(m.name, sizeof m.name, name);
	iog_client_say(io, &m, NULL, 0);
	const uint64_t until = iog_now_ns() + OPEN_NS;
	for (uint64_t now; !s->opened && !s->dead && (now = iog_now_ns()) < until;)
		iog_client_hear(io, until - now);
	if (!s->opened && !s->dead)
		s->dead = FAIL(s, -ETIMEDOUT, "stream %s: the agent does not answer", name);
	return s;
}

/* The variable called name; NULL: there is none. */
static struct variable *variable(struct iog_stream *s, const char *name, uint32_t *v)
{
	int i = name ? iog_schema_var(&s->schema, name) : -1;
	*v = (uint32_t)i;
	if (iog_unlikely(i < 0)) {
		FAIL(s, -ENOENT, "stream %s has no variable \"%.80s\"", s->name, name ? name : "");
		return NULL;
	}
	return &s->var[i];
}

int iog_block(iog_stream *s, const char *var, const int64_t *global, const int64_t *offset, const int64_t *count)
{
	struct iog_block b = { 0 };
	struct variable *x;
	uint32_t v;
	uint64_t bytes;
	if (iog_client_forked(s->io))
		return -EBADF;
	if (s->dead)
		return s->dead;
	if (!(x = variable(s, var, &v)))
		return -ENOENT;
	const struct iog_vardef *def = &s->schema.var[v];
	if (!def->rank || !global || !offset || !count)
		return FAIL(s, -EINVAL,
			"stream %s: iog_block wants a variable with dimensions, and three arrays as long as it has; %s has %u", s->name,
			var, def->rank);
	if (s->made && (s->statics >> v & 1))
		return FAIL(s, -EINVAL, "stream %s: %s is static: its part stays what it was at the first step", s->name, var);
	if (s->in_step)
		return FAIL(s, -EBUSY, "stream %s: iog_block between iog_begin and iog_commit; call it before", s->name);
	bytes = x->elem;
	for (unsigned i = 0; i < def->rank; i++) {
		const struct iog_dim *d = &s->schema.dim[def->dim[i]];
		if (global[i] < 0 || offset[i] < 0 || count[i] < 0 || offset[i] > global[i] - count[i])
			return FAIL(s, -EINVAL, "stream %s: %s: %lld elements from %lld on do not lie in the %lld of dimension %s", s->name,
				var, (long long)count[i], (long long)offset[i], (long long)global[i], d->name);
		if ((d->fixed && global[i] != d->max) || (d->max && global[i] > d->max))
			return FAIL(s, d->fixed ? -EINVAL : -EFBIG, "stream %s: %s: dimension %s has %s%lld elements, not %lld", s->name,
				var, d->name, d->fixed ? "" : "at most ", (long long)d->max, (long long)global[i]);
		if (!iog_mul(bytes, (uint64_t)count[i], &bytes) || bytes > INT64_MAX)
			return FAIL(s, -EFBIG, "stream %s: %s is larger than memory", s->name, var);
	}
	if (s->made && bytes > x->room)
		return FAIL(s, -EFBIG,
			"stream %s: %s: %llu bytes do not fit where room was made for %llu at the first step; open another stream", s->name,
			var, (unsigned long long)bytes, (unsigned long long)x->room);
	memcpy(b.start, offset, def->rank * sizeof *offset);
	memcpy(b.count, count, def->rank * sizeof *count);
	iog_block_set_dense(&b, def->rank, x->elem);
	s->block[v] = b;
	memcpy(x->global, global, def->rank * sizeof *global);
	x->bytes = bytes;
	if (!s->made)
		x->room = IOG_MAX(x->room, bytes);
	x->placed = true;
	s->shaped = true;
	return IOG_OK;
}

/* Extents of the axes from the shapes, which must agree. */
static int shape(struct iog_stream *s)
{
	int64_t extent[IOG_DIMS];
	for (unsigned d = 0; d < IOG_DIMS; d++)
		extent[d] = -1;
	for (uint32_t v = 0; v < s->schema.n_vars; v++) {
		const struct iog_vardef *def = &s->schema.var[v];
		if (!s->var[v].placed)
			return FAIL(s, -EINVAL, "stream %s: where is %s? Call iog_block for it before the first step", s->name, def->name);
		for (unsigned i = 0; i < def->rank; i++) {
			int64_t *e = &extent[def->dim[i]];
			if (*e >= 0 && *e != s->var[v].global[i])
				return FAIL(s, -EINVAL, "stream %s: dimension %s has %lld elements in %s and %lld in another variable",
					s->name, s->schema.dim[def->dim[i]].name, (long long)s->var[v].global[i], def->name, (long long)*e);
			*e = s->var[v].global[i];
		}
	}
	for (unsigned d = 0; d < s->schema.n_dims; d++)
		s->rec.axis[d].extent = extent[d] < 0 ? 0 : extent[d];
	s->shaped = false;
	return 0;
}

/* ---- the arena ---- */

/* Places of the variables, bytes of a slot, and how many. */
static int layout(struct iog_stream *s, struct iog_arena *a)
{
	uint64_t at = 0, statics = 0, bytes = s->bytes;
	bool fits = true;
	for (uint32_t v = 0; v < s->schema.n_vars; v++) {
		struct variable *x = &s->var[v];
		uint64_t *where = s->statics >> v & 1 ? &statics : &at;
		x->at = *where;
		fits &= iog_add(*where, x->room + IOG_ALIGN, where) && *where < UINT64_MAX / 256;
		*where = IOG_ROUND_UP(*where - IOG_ALIGN, IOG_ALIGN);
		if (fits && (s->statics >> v & 1) && !(x->memory = calloc(1, IOG_MAX(x->room, 1ull))))
			return FAIL(s, -ENOMEM, "stream %s: out of memory", s->name);
	}
	if (!fits)
		return FAIL(s, -EFBIG, "stream %s: a step is larger than memory", s->name);
	s->payload = at;
	s->head_max = iog_wire_head_max(&s->schema, s->schema.n_vars, 1);
	a->static_bytes = 2 * IOG_ROUND_UP(statics, IOG_LINE);
	a->slot_bytes = IOG_ROUND_UP(s->head_max + s->payload, IOG_LINE);
	const uint64_t kept = lossy_max(s) + 1;
	if (!bytes)
		bytes = IOG_MAX(BYTES_DEFAULT, (STEPS_DEFAULT + kept) * a->slot_bytes);
	if (bytes / a->slot_bytes < 2)
		return FAIL(s, -EINVAL, "stream %s: bytes=%llu hold %llu steps of %llu bytes; at least 2 are needed", s->name,
			(unsigned long long)bytes, (unsigned long long)(bytes / a->slot_bytes), (unsigned long long)a->slot_bytes);
	const uint64_t most = s->credit_max >= 2 ? IOG_MIN(s->credit_max, (uint32_t)CREDIT_MAX) : CREDIT_MAX;
	for (s->credit = 2; s->credit * 2 <= most && s->credit * 2 + kept <= bytes / a->slot_bytes; s->credit *= 2)
		;
	a->n_slots = s->credit + (uint32_t)kept;
	a->id = s->rec.id.writer;
	return 0;
}

static int make(struct iog_stream *s)
{
	struct iog_arena a = { 0 };
	struct iog_err err = { "" };
	int rc = shape(s);
	if (rc)
		return rc;
	if ((rc = layout(s, &a)))
		return s->dead = rc; /* another step would not be smaller */
	/* From here on dimensions are known. */
	for (unsigned d = 0; d < s->schema.n_dims; d++)
		if (!s->schema.dim[d].max)
			s->schema.dim[d].max = IOG_MAX(s->rec.axis[d].extent, (int64_t)1);
	s->memory = calloc(1, iog_outlet_memory(a.n_slots));
	rc = s->memory ? iog_region_create(&s->arena, "iog-arena", iog_arena_bytes(&a), 0, &err) : -ENOMEM;
	if (rc) {
		free(s->memory);
		s->memory = NULL;
		s->dead = rc; /* another step would not find more */
		return FAIL(s, rc, "stream %s: %s", s->name, err.text[0] ? err.text : "out of memory");
	}
	a.base = s->arena.map;
	iog_outlet_init(&s->o, &a, s->memory);
	s->view = (struct iog_region){ .base = a.base, .size = a.static_bytes, .arena = a.id };
	s->made = true;
	struct iog_msg m = { .kind = IOG_MSG_ARENA,
		.id = s->id,
		.epoch = s->epoch,
		.blocks = s->schema.n_vars,
		.capacity = s->credit,
		.arena = a,
		.schema = s->schema };
	m.arena.base = NULL;
	iog_client_say(s->io, &m, &s->arena.fd, 1);
	iog_client_drop_fd(&s->arena);
	edges_try(s);
	/* Who waits for this stream already shall have its first step. */
	const uint64_t until = iog_now_ns() + IOG_MIN(IOG_MAX(s->timeout_ns, SLEEP_NS), OPEN_NS);
	for (uint64_t now; !s->ready && s->io->sock >= 0 && (now = iog_now_ns()) < until;)
		iog_client_hear(s->io, until - now);
	return 0;
}

/* ---- steps ---- */

static void reap(struct iog_stream *s)
{
	uint32_t let_go[64];
	while (iog_outlet_reap(&s->o, let_go, 64) == 64)
		;
}

static void cut_offenders(struct iog_stream *s)
{
	for (unsigned i = 0; i < IOG_FANOUT; i++) {
		struct edge *e = &s->edge[i];
		if (e->state != EDGE_LIVE || s->o.edge[e->k].forged < FORGED_MAX)
			continue;
		iog_client_refuse(s->io, s->id, e->number, "this consumer gives back what it does not have");
		FAIL(s, -EPROTO, "stream %s: a reader gave back what it did not have, and was cut off", s->name);
		edge_cut(s, e);
	}
}

/* With nobody left to tell us who died: whoever made us wait for the whole time is not there. */
static void cut_silent(struct iog_stream *s)
{
	for (unsigned i = 0; i < IOG_FANOUT; i++) {
		struct edge *e = &s->edge[i];
		if (e->state == EDGE_LIVE && e->policy == IOG_BLOCK &&
			iog_edge_outstanding(&s->o.edge[e->k]) >= IOG_MIN(e->capacity, s->credit))
			edge_cut(s, e);
	}
}

static bool ready(struct iog_stream *s)
{
	if (!iog_outlet_ready(&s->o))
		return false;
	for (uint32_t m = s->wide; iog_unlikely(m); m &= m - 1)
		if (iog_edge_outstanding(&s->o.edge[__builtin_ctz(m)]) >= s->credit)
			return false;
	return iog_likely(!s->new_statics) || !iog_outlet_static_busy(&s->o, s->rec.id.epoch);
}

static void sleeping(struct iog_stream *s, uint32_t value)
{
	/* Sequentially consistent, so that the look that follows is not done before the flag is on its way out. */
	for (uint32_t m = s->o.live_mask; m; m &= m - 1)
		atomic_store(&s->o.edge[__builtin_ctz(m)].e.down->sleeping, value);
}

/* Waits for room, until `until`. What the agent says is heard: that a reader is gone makes room as well. */
static bool wait_room(struct iog_stream *s, uint64_t until)
{
	const struct iog_attach_page *page = s->io->page.map;
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
		struct iog_waitword w[IOG_FANOUT + 1];
		uint32_t n = 0;
		cut_offenders(s);
		sleeping(s, 1);
		reap(s);
		for (uint32_t m = s->o.live_mask; m; m &= m - 1) {
			const struct iog_out_edge *x = &s->o.edge[__builtin_ctz(m)];
			w[n++] = (struct iog_waitword){ &x->e.up->head, x->reaped };
		}
		if (page)
			w[n++] = (struct iog_waitword){ &page->bell, s->io->bell };
		if (!ready(s))
			iog_wait_words(w, n, IOG_MIN(until - now, SLEEP_NS));
		sleeping(s, 0);
	}
}

/* The step will not come: those who pair it with that of other ranks are told. */
static void pass(struct iog_stream *s)
{
	iog_outlet_pass(&s->o, s->rec.id.epoch, s->rec.id.seq);
	wake(s, iog_outlet_publish(&s->o));
}

static void abandon(struct iog_stream *s)
{
	iog_outlet_put_back(&s->o, s->slot);
	s->in_step = false;
	s->dropped++;
	pass(s);
	if (s->asked)
		edges_try(s);
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
	if (s->io->sock < 0)
		cut_silent(s);
	s->dropped++;
	pass(s);
	return rc;
}

/* What all consumers want together. */
static void wants(struct iog_stream *s)
{
	s->rewant = false;
	s->wants = (struct iog_wants){ 0 };
	for (unsigned i = 0; i < IOG_FANOUT; i++)
		if (s->edge[i].state == EDGE_LIVE)
			iog_wants_add(&s->wants, &s->edge[i].want, &s->schema);
}

/* The rare part of iog_begin: something changed, or is there for the first time. */
static __attribute__((noinline)) int prepare(struct iog_stream *s)
{
	if (iog_client_forked(s->io))
		return -EBADF;
	if (s->dead)
		return s->dead;
	if (iog_client_news(s->io))
		iog_client_hear(s->io, 0);
	if (s->in_step) {
		FAIL(s, -EINVAL, "stream %s: iog_begin of a step while another one is open; it was dropped", s->name);
		abandon(s);
	}
	int rc = !s->made ? make(s) : s->shaped ? shape(s) : 0;
	return rc ? rc : s->dead;
}

/* With iog_fill and iog_commit 0.15 us, whatever the size, with a reader that does not sleep: IOG_COST=1 build/tests/bindings/c/test-iograph. */
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
	if (!s->o.live_mask) {
		s->skipped++;
		if (iog_unlikely(s->skipped % 1024 == 0))
			iog_client_look(s->io, iog_now_ns(), LOOK_NS);
		return IOG_SKIP;
	}
	reap(s);
	if (iog_unlikely(!ready(s))) {
		int rc = no_room(s);
		if (rc)
			return rc;
		if (!s->o.live_mask) {
			s->skipped++;
			return IOG_SKIP;
		}
	}
	if (iog_unlikely(s->rewant))
		wants(s);
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
	if (iog_unlikely(!(x = variable(s, name, v))))
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
static int blocks(struct iog_stream *s)
{
	const uint8_t *payload = iog_arena_slot(&s->o.arena, s->slot) + s->head_max;
	uint64_t have = s->touched & s->wants.vars & ~s->statics;
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

int iog_commit(iog_stream *s)
{
	if (iog_unlikely(iog_client_forked(s->io) || s->dead || !s->in_step))
		return iog_client_forked(s->io) ? -EBADF
		       : s->dead                ? s->dead
						: FAIL(s, -EINVAL, "stream %s: iog_commit without a step", s->name);
	const uint64_t now = iog_now_ns();
	uint32_t viewed;
	int64_t len = blocks(s);
	s->rec.born_ns = now;
	if (!len)
		len = iog_wire_put(iog_arena_slot(&s->o.arena, s->slot), s->o.arena.slot_bytes, s->head_max, s->payload, &s->rec, &s->view,
			1, &viewed);
	if (iog_unlikely(len < 0)) {
		abandon(s);
		return FAIL(s, (int)len, "stream %s: step %lld does not fit its slot", s->name, (long long)s->step);
	}
	s->in_step = false;
	s->records += iog_outlet_push(&s->o, s->slot, &s->rec, (uint64_t)len);
	s->sent_bytes += sent(s);
	wake(s, iog_outlet_publish(&s->o));
	if (iog_unlikely(s->asked))
		edges_try(s);
	iog_client_look(s->io, now, LOOK_NS);
	return IOG_OK;
}

/* ---- the end ---- */

/* Blocking consumers have what was sent. Others have what they want of it. */
static bool all_back(const struct iog_stream *s)
{
	for (uint32_t m = s->o.live_mask; m; m &= m - 1) {
		const struct iog_out_edge *x = &s->o.edge[__builtin_ctz(m)];
		if (x->e.policy == IOG_BLOCK && iog_edge_outstanding(x))
			return false;
	}
	return true;
}

static int drain(struct iog_stream *s, double timeout)
{
	const uint64_t until = iog_now_ns() + iog_client_span(timeout);
	uint64_t nap = 20000, now;
	for (;; nap = IOG_MIN(2 * nap, (uint64_t)2000000)) {
		reap(s);
		if (all_back(s))
			return IOG_OK;
		now = iog_now_ns();
		if (now >= until)
			return FAIL(s, -ETIMEDOUT, "stream %s: readers did not take everything in time", s->name);
		if (iog_client_news(s->io))
			iog_client_hear(s->io, 0);
		iog_client_look(s->io, now, LOOK_NS);
		/* Without an agent nobody says who died; what was committed stays readable without us. */
		iog_wait_words(NULL, 0, IOG_MIN(nap, until - now));
	}
}

int iog_close(iog_stream *s, double timeout)
{
	if (iog_client_forked(s->io))
		return -EBADF;
	if (!s->id)
		return s->dead; /* the one that stands for all there was no memory for */
	if (s->made) {
		if (s->in_step)
			abandon(s);
		if (iog_client_news(s->io))
			iog_client_hear(s->io, 0);
		wake(s, iog_outlet_close(&s->o, IOG_EDGE_CLOSED));
		drain(s, timeout);
	}
	if (s->opened) {
		struct iog_msg m = { .kind = IOG_MSG_CLOSE, .id = s->id };
		iog_client_say(s->io, &m, NULL, 0);
	}
	int rc = s->rc;
	for (struct iog_stream **at = &s->io->streams; *at; at = &(*at)->next)
		if (*at == s) {
			*at = s->next;
			break;
		}
	for (unsigned i = 0; i < IOG_FANOUT; i++)
		edge_close(&s->edge[i]);
	for (unsigned v = 0; v < IOG_VARS; v++)
		free(s->var[v].memory);
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
		.dropped = s->dropped,
		.skipped = s->skipped,
		.blocked_s = (double)s->blocked_ns * 1e-9,
		.readers = __builtin_popcount(s->o.live_mask) };
	for (uint32_t k = 0; k < s->o.n_edges; k++)
		stats->dropped += s->o.edge[k].dropped;
	return s->dead;
}
