/* SPDX-License-Identifier: BSD-3-Clause */
/* Consumers of a stream that is written: making the edges the agent asks for, letting go of them, and what they want together. */

#include "writer-private.h"

enum {
	LOSSY_SLOTS = IOG_READERS * IOG_READER_CREDIT,
};

/* A stream that never waits has its graph on such an edge, too. */
uint32_t iog_stream_lossy_max(const struct iog_stream *s) { return LOSSY_SLOTS + (s->policy == IOG_BLOCK ? 0 : IOG_READER_CREDIT); }

void iog_stream_edge_cut(struct iog_stream *s, struct iog_consumer *e)
{
	if (e->state == IOG_CONSUMER_LIVE) {
		iog_outlet_cut(&s->o, e->k);
		s->wide &= ~(1u << e->k);
		s->lossy -= iog_consumer_slots(e);
		s->spared &= ~(1u << (e - s->edge));
		s->rewant = true;
	}
	iog_consumer_close(e);
}

/* Who had the edge of this name when its agent died. */
static struct iog_consumer *former(struct iog_stream *s, const struct iog_consumer *e)
{
	for (unsigned i = 0; i < IOG_FANOUT && e->name[0]; i++)
		if (s->edge[i].orphan && !strcmp(s->edge[i].name, e->name))
			return &s->edge[i];
	return NULL;
}

/* Joins e to the outlet; *resumed: in the place of one before. */
static int edge_join(struct iog_stream *s, struct iog_consumer *e, bool *resumed, struct iog_err *err)
{
	struct iog_consumer *f = former(s, e);
	if (f && !iog_consumer_resume(e, f, &s->o, s->name, &s->schema, s->policy == IOG_BLOCK, err)) {
		s->spared &= ~(1u << (f - s->edge));
		s->wide &= ~(1u << e->k);
		*resumed = true;
		return 0;
	}
	if (f) {
		FAIL(s, -ENOSPC, "%s", err->text);
		iog_stream_edge_cut(s, f);
	}
	int rc = iog_consumer_make(e, &s->o, s->name, &s->schema, iog_stream_lossy_max(s) - s->lossy, s->policy == IOG_BLOCK, err);
	if (!rc)
		s->lossy += iog_consumer_slots(e);
	return rc;
}

static int edge_make(struct iog_stream *s, struct iog_consumer *e, struct iog_err *err)
{
	bool resumed = false;
	int fds[2], rc = edge_join(s, e, &resumed, err);
	uint32_t n = 0;
	if (rc)
		return rc;
	if (s->closing)
		iog_stream_wake(s, iog_outlet_close(&s->o, IOG_EDGE_CLOSED));
	s->rewant = true;
	if (s->o.edge[e->k].e.policy == IOG_BLOCK && e->capacity > s->credit)
		s->wide |= 1u << e->k;
	struct iog_msg m = { .kind = IOG_MSG_EDGE_MADE, .id = s->id, .edge = e->number, .capacity = e->capacity, .policy = e->policy, .a = resumed };
	fds[n++] = e->down.fd;
	if (e->box_map)
		fds[n++] = e->box.fd;
	iog_client_say(s->io, &m, fds, n);
	iog_client_drop_fd(&e->up);
	iog_client_drop_fd(&e->down);
	iog_client_drop_fd(&e->box);
	return 0;
}

static void edge_try(struct iog_stream *s, struct iog_consumer *e)
{
	struct iog_err err = { "" };
	const uint32_t number = e->number;
	if (!edge_make(s, e, &err))
		return;
	iog_consumer_close(e);
	iog_client_refuse(s->io, s->id, number, err.text);
}

/* Not while a step is open: who comes then may want of it what was left out. */
void iog_stream_edges_try(struct iog_stream *s)
{
	s->asked = false;
	for (unsigned i = 0; i < IOG_FANOUT; i++)
		if (s->edge[i].state == IOG_CONSUMER_ASKED)
			edge_try(s, &s->edge[i]);
}

static void edge_asked(struct iog_stream *s, const struct iog_msg *m, int *fds, uint32_t n)
{
	struct iog_consumer *e = iog_consumer_find(s->edge, IOG_FANOUT, 0);
	if (n != 1 || !m->edge || iog_consumer_find(s->edge, IOG_FANOUT, m->edge) || !e || !s->opened) {
		iog_client_refuse(
			s->io, s->id, m->edge, "an edge comes with one descriptor, once, for a stream that is open and has place for it");
		return;
	}
	e->number = m->edge, e->capacity = m->capacity, e->policy = m->policy, e->safe = m->safe, e->want = m->want;
	iog_strset(e->name, sizeof e->name, m->name);
	e->state = IOG_CONSUMER_ASKED;
	e->up.fd = fds[0];
	fds[0] = -1;
	s->asked = true;
	if (s->made && !s->in_step)
		iog_stream_edges_try(s);
}

void iog_stream_hear(struct iog_stream *s, const struct iog_msg *m, int *fds, uint32_t n)
{
	struct iog_consumer *e;
	if (s->dead && !s->early)
		return;
	switch (m->kind) {
	case IOG_MSG_OPENED:
		if (s->opened)
			return;
		s->opened = true;
		if (s->early)
			s->early = false, s->dead = 0, s->rc = 0;
		s->epoch = s->run = m->epoch;
		s->credit_max = m->a;
		return;
	case IOG_MSG_READY: s->ready = true; return;
	case IOG_MSG_EDGE: edge_asked(s, m, fds, n); return;
	case IOG_MSG_CUT:
		e = iog_consumer_find(s->edge, IOG_FANOUT, m->edge);
		if (e)
			iog_stream_edge_cut(s, e);
		return;
	case IOG_MSG_ERROR:
		if (!s->opened)
			s->dead = -EINVAL, s->early = false;
		FAIL(s, -EINVAL, "stream %s: %s", s->name, m->text);
		return;
	default: return; /* of a later version */
	}
}

void iog_stream_alone(struct iog_stream *s, bool killed)
{
	for (unsigned i = 0; i < IOG_FANOUT; i++) {
		struct iog_consumer *e = &s->edge[i];
		if (e->state == IOG_CONSUMER_ASKED)
			iog_consumer_close(e);
		else if (e->state == IOG_CONSUMER_LIVE && e->name[0] && killed)
			e->orphan = true;
		else if (e->state == IOG_CONSUMER_LIVE && e->name[0])
			iog_stream_edge_cut(s, e);
	}
	s->skip_mask = 0;
	if (!s->io->again && !s->dead && !s->o.live_mask)
		s->dead = s->io->rc;
}

void iog_stream_join(struct iog_stream *s)
{
	if (s->dead && !s->early)
		return;
	iog_stream_say_open(s);
	if (s->made)
		iog_stream_say_arena(s);
}

void iog_stream_cut_offenders(struct iog_stream *s)
{
	for (unsigned i = 0; i < IOG_FANOUT; i++) {
		struct iog_consumer *e = &s->edge[i];
		if (!iog_consumer_offends(e, &s->o))
			continue;
		iog_client_refuse(s->io, s->id, e->number, "this consumer gives back what it does not have");
		FAIL(s, -EPROTO, "stream %s: a reader gave back what it did not have, and was cut off", s->name);
		iog_stream_edge_cut(s, e);
	}
}

/* Steps it may have outstanding. */
static uint32_t most(const struct iog_stream *s, const struct iog_consumer *e) { return IOG_MIN(e->capacity, s->credit); }

void iog_stream_spare(struct iog_stream *s)
{
	for (unsigned i = 0; i < IOG_FANOUT; i++) {
		struct iog_consumer *e = &s->edge[i];
		if (e->state != IOG_CONSUMER_LIVE || s->o.edge[e->k].e.policy != IOG_BLOCK ||
			iog_edge_outstanding(&s->o.edge[e->k]) < most(s, e))
			continue;
		iog_outlet_spare(&s->o, e->k, true);
		s->wide &= ~(1u << e->k);
		s->spared |= 1u << i;
	}
}

bool iog_stream_unspare(struct iog_stream *s)
{
	uint64_t can = s->o.live_mask;
	for (uint32_t m = s->spared; m; m &= m - 1) {
		const int i = __builtin_ctz(m);
		struct iog_consumer *e = &s->edge[i];
		if (iog_edge_outstanding(&s->o.edge[e->k]) >= most(s, e)) {
			can &= ~(1ull << e->k);
			continue;
		}
		iog_outlet_spare(&s->o, e->k, false);
		s->wide |= (uint32_t)(e->capacity > s->credit) << e->k;
		s->spared &= ~(1u << i);
	}
	return can;
}

/* What all consumers want together. */
void iog_stream_wants(struct iog_stream *s)
{
	s->rewant = false;
	iog_consumers_want(s->edge, IOG_FANOUT, &s->schema, &s->wants);
}
