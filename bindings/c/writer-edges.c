/* SPDX-License-Identifier: BSD-3-Clause */
/* Consumers of a stream that is written: making the edges the agent asks for, letting go of them, and what they want together. */
#include <stdlib.h>
#include <sys/mman.h>

#include "writer-private.h"

enum {
	FORGED_MAX = 8,         /* releases that could not be, before who sends them is cut off */
	REGION_SLACK = 2 << 20, /* a region may be that much larger than asked for: pages */
	LOSSY_SLOTS = IOG_READERS * IOG_READER_CREDIT,
};

void iog_stream_edge_close(struct edge *e)
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
uint32_t iog_stream_lossy_max(const struct iog_stream *s) { return LOSSY_SLOTS + (s->policy == IOG_BLOCK ? 0 : IOG_READER_CREDIT); }

void iog_stream_edge_cut(struct iog_stream *s, struct edge *e)
{
	if (e->state == EDGE_LIVE) {
		iog_outlet_cut(&s->o, e->k);
		s->wide &= ~(1u << e->k);
		s->lossy -= lossy_slots(e);
		s->rewant = true;
	}
	iog_stream_edge_close(e);
}

/* Checks what was asked for and makes our side of it. */
static int edge_check(const struct iog_stream *s, const struct edge *e, struct iog_err *err)
{
	if (e->capacity < 2 || e->capacity & (e->capacity - 1) || (e->policy == IOG_LATEST && e->capacity != IOG_LATEST_ENTRIES))
		return iog_fail(err, -EPROTO, "stream %s: no edge has credit for %u steps", s->name, e->capacity);
	if (!iog_want_valid(&e->want, &s->schema))
		return iog_fail(err, -EPROTO, "stream %s: a reader wants what the stream cannot have", s->name);
	if (s->lossy + lossy_slots(e) > iog_stream_lossy_max(s))
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
	iog_stream_wake(s, iog_outlet_publish(&s->o)); /* what is past already */
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
	iog_stream_edge_close(e);
	iog_client_refuse(s->io, s->id, number, err.text);
}

/* Not while a step is open: who comes then may want of it what was left out. */
void iog_stream_edges_try(struct iog_stream *s)
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
		iog_stream_edges_try(s);
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
			iog_stream_edge_cut(s, e);
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
			iog_stream_edge_close(&s->edge[i]);
	if (!s->dead && !s->o.live_mask)
		s->dead = s->io->rc;
	if (!s->rc)
		s->rc = s->io->rc;
}

void iog_stream_cut_offenders(struct iog_stream *s)
{
	for (unsigned i = 0; i < IOG_FANOUT; i++) {
		struct edge *e = &s->edge[i];
		if (e->state != EDGE_LIVE || s->o.edge[e->k].forged < FORGED_MAX)
			continue;
		iog_client_refuse(s->io, s->id, e->number, "this consumer gives back what it does not have");
		FAIL(s, -EPROTO, "stream %s: a reader gave back what it did not have, and was cut off", s->name);
		iog_stream_edge_cut(s, e);
	}
}

/* With nobody left to tell us who died: whoever made us wait for the whole time is not there. */
void iog_stream_cut_silent(struct iog_stream *s)
{
	for (unsigned i = 0; i < IOG_FANOUT; i++) {
		struct edge *e = &s->edge[i];
		if (e->state == EDGE_LIVE && e->policy == IOG_BLOCK &&
			iog_edge_outstanding(&s->o.edge[e->k]) >= IOG_MIN(e->capacity, s->credit))
			iog_stream_edge_cut(s, e);
	}
}

/* What all consumers want together. */
void iog_stream_wants(struct iog_stream *s)
{
	s->rewant = false;
	s->wants = (struct iog_wants){ 0 };
	for (unsigned i = 0; i < IOG_FANOUT; i++)
		if (s->edge[i].state == EDGE_LIVE)
			iog_wants_add(&s->wants, &s->edge[i].want, &s->schema);
}
