/* SPDX-License-Identifier: BSD-3-Clause */
/* Consumers of a stream that is written: making the edges the agent asks for, letting go of them, and what they want together. */

#include <stdlib.h>

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

/* Who had the edge of this name when its agent died; name NULL: anyone. */
static struct iog_consumer *former(struct iog_consumer *list, const char *name)
{
	for (unsigned i = 0; i < IOG_FANOUT && (!name || name[0]); i++)
		if (list[i].orphan && (!name || !strcmp(list[i].name, name)))
			return &list[i];
	return NULL;
}

/* Joins e to the outlet; *resumed: in the place of one before. */
static int edge_join(struct iog_stream *s, struct iog_consumer *e, bool *resumed, struct iog_err *err)
{
	struct iog_consumer *f = former(s->edge, e->name);
	const uint32_t had = f ? iog_consumer_slots(f) : 0;
	if (f && !iog_consumer_resume(e, f, &s->o, s->name, &s->schema, s->policy == IOG_BLOCK, err)) {
		s->lossy -= had - iog_consumer_slots(e);
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

static void edge_say(struct iog_stream *s, struct iog_consumer *e, bool resumed)
{
	struct iog_msg m = {
		.kind = IOG_MSG_EDGE_MADE, .id = s->id, .edge = e->number, .capacity = e->capacity, .policy = e->policy, .a = resumed
	};
	int fds[2];
	uint32_t n = 0;
	fds[n++] = e->down.fd;
	if (e->box_map)
		fds[n++] = e->box.fd;
	iog_client_say(s->io, &m, fds, n);
	iog_client_drop_fd(&e->up);
	iog_client_drop_fd(&e->down);
	iog_client_drop_fd(&e->box);
}

static int edge_make(struct iog_stream *s, struct iog_consumer *e, struct iog_err *err)
{
	bool resumed = false;
	int rc = edge_join(s, e, &resumed, err);
	if (rc)
		return rc;
	if (s->closing)
		iog_stream_wake(s, iog_outlet_close(&s->o, IOG_EDGE_CLOSED));
	s->rewant = true;
	if (s->o.edge[e->k].e.policy == IOG_BLOCK && e->capacity > s->credit)
		s->wide |= 1u << e->k;
	edge_say(s, e, resumed);
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

/* ---- the past ---- */

static bool past_used(const struct past *p)
{
	for (unsigned i = 0; i < IOG_FANOUT; i++)
		if (p->edge[i].state == IOG_CONSUMER_LIVE)
			return true;
	return false;
}

static void past_cut(struct past *p, struct iog_consumer *e)
{
	iog_outlet_cut(&p->o, e->k);
	iog_consumer_close(e);
}

bool iog_stream_pass_on(struct iog_stream *s)
{
	struct past *p = calloc(1, sizeof *p), **at = &s->past;
	if (!p)
		return false;
	*p = (struct past){ .o = s->o, .memory = s->memory, .arena = s->arena };
	for (unsigned i = 0; i < IOG_FANOUT; i++) {
		struct iog_consumer *e = &s->edge[i];
		p->edge[i] = IOG_NO_CONSUMER;
		if (e->state != IOG_CONSUMER_LIVE)
			continue;
		p->edge[i] = *e;
		*e = IOG_NO_CONSUMER;
		/* Who may miss steps reads what it has without us. */
		if (p->edge[i].policy != IOG_BLOCK)
			past_cut(p, &p->edge[i]);
	}
	while (*at)
		at = &(*at)->next;
	*at = p;
	s->n_past++;
	return true;
}

void iog_stream_past_reap(struct iog_stream *s)
{
	uint32_t let_go[64];
	for (struct past **at = &s->past; *at;) {
		struct past *p = *at;
		while (iog_outlet_reap(&p->o, let_go, 64) == 64)
			;
		for (unsigned i = 0; i < IOG_FANOUT; i++)
			if (p->edge[i].state == IOG_CONSUMER_LIVE && !iog_edge_outstanding(&p->o.edge[p->edge[i].k]))
				past_cut(p, &p->edge[i]);
		if (past_used(p) || p == s->telling) {
			at = &p->next;
			continue;
		}
		*at = p->next;
		s->n_past--;
		iog_region_close(&p->arena);
		free(p->memory);
		free(p);
	}
}

void iog_stream_past_free(struct iog_stream *s)
{
	s->telling = NULL;
	for (struct past *p = s->past; p; p = p->next)
		for (unsigned i = 0; i < IOG_FANOUT; i++)
			if (p->edge[i].state == IOG_CONSUMER_LIVE)
				past_cut(p, &p->edge[i]);
	iog_stream_past_reap(s);
}

/* What a new agent asks for while it is told of the past: what was not given back there comes first. */
static void past_try(struct iog_stream *s, struct iog_consumer *e)
{
	struct past *p = s->telling;
	struct iog_err err = { "" };
	struct iog_consumer *f = former(p->edge, e->name), *to = iog_consumer_find(p->edge, IOG_FANOUT, 0);
	const uint32_t number = e->number;
	int rc = to ? 0 : iog_fail(&err, -ENOSPC, "stream %s: too many consumers", s->name);
	if (!rc) {
		*to = *e;
		*e = IOG_NO_CONSUMER;
		rc = f ? iog_consumer_resume(to, f, &p->o, s->name, &s->schema, true, &err)
		       : iog_consumer_make(to, &p->o, s->name, &s->schema, UINT32_MAX, true, &err);
	}
	if (!rc) {
		edge_say(s, to, f);
		return;
	}
	iog_consumer_close(to ? to : e);
	iog_client_refuse(s->io, s->id, number, err.text);
	if (f)
		past_cut(p, f);
}

/* Goes on to what is younger, when all that waited for somebody has been claimed or cut. */
static void past_told(struct iog_stream *s)
{
	if (!s->telling || former(s->telling->edge, NULL))
		return;
	do
		s->telling = s->telling->next;
	while (s->telling && !former(s->telling->edge, NULL));
	iog_stream_say_arena(s, s->telling, true);
}

/* Not while a step is open: who comes then may want of it what was left out. Nor, without a name, while the agent is told of the past. */
void iog_stream_edges_try(struct iog_stream *s)
{
	s->asked = false;
	for (unsigned i = 0; i < IOG_FANOUT; i++) {
		struct iog_consumer *e = &s->edge[i];
		if (e->state != IOG_CONSUMER_ASKED)
			continue;
		if (!s->telling)
			edge_try(s, e);
		else if (e->name[0])
			past_try(s, e);
		else
			s->asked = true;
	}
	past_told(s);
}

bool iog_stream_unclaimed(struct iog_stream *s)
{
	bool any = s->telling || former(s->edge, NULL);
	for (struct past *p = s->past; p; p = p->next)
		any |= former(p->edge, NULL) != NULL;
	return any;
}

static bool past_find_cut(struct iog_stream *s, uint32_t number)
{
	for (struct past *p = s->past; p; p = p->next) {
		struct iog_consumer *e = number ? iog_consumer_find(p->edge, IOG_FANOUT, number) : NULL;
		if (!e)
			continue;
		past_cut(p, e);
		past_told(s);
		return true;
	}
	return false;
}

/* ---- what the agent says ---- */

static void edge_asked(struct iog_stream *s, const struct iog_msg *m, int *fds, uint32_t n)
{
	struct iog_consumer *e = iog_consumer_find(s->edge, IOG_FANOUT, 0);
	if (n != 1 || !m->edge || iog_consumer_find(s->edge, IOG_FANOUT, m->edge) || !e || !s->opened) {
		iog_client_refuse(
			s->io, s->id, m->edge, "an edge comes with one descriptor, once, for a stream that is open and has place for it");
		return;
	}
	e->number = m->edge, e->capacity = m->capacity, e->policy = m->policy, e->safe = m->safe, e->want = m->want, e->inside = m->a == 1;
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
	case IOG_MSG_READY: s->ready |= m->b == s->told; return;
	case IOG_MSG_EDGE: edge_asked(s, m, fds, n); return;
	case IOG_MSG_CUT:
		if (past_find_cut(s, m->edge))
			return;
		e = m->edge ? iog_consumer_find(s->edge, IOG_FANOUT, m->edge) : NULL;
		if (e)
			iog_stream_edge_cut(s, e);
		return;
	case IOG_MSG_WANT:
		e = iog_consumer_find(s->edge, IOG_FANOUT, m->edge);
		if (m->edge && e && iog_want_valid(&m->want, &s->schema))
			e->want = m->want, e->told = s->rewant = true;
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
		else if (e->state == IOG_CONSUMER_LIVE && e->inside)
			iog_stream_edge_cut(s, e); /* a hub, whose readers come to another one */
	}
	s->telling = NULL;
	for (struct past *p = s->past; p; p = p->next)
		for (unsigned i = 0; i < IOG_FANOUT; i++) {
			struct iog_consumer *e = &p->edge[i];
			if (e->state == IOG_CONSUMER_LIVE && e->name[0] && killed)
				e->orphan = true;
			else if (e->state == IOG_CONSUMER_LIVE && e->inside)
				past_cut(p, e);
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
	if (!s->made)
		return;
	s->telling = s->past;
	while (s->telling && !former(s->telling->edge, NULL))
		s->telling = s->telling->next;
	iog_stream_say_arena(s, s->telling, false);
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
	for (unsigned i = 0; i < IOG_FANOUT; i++)
		if (s->edge[i].told) {
			struct iog_msg m = { .kind = IOG_MSG_WANT, .id = s->id, .edge = s->edge[i].number };
			s->edge[i].told = false;
			iog_client_say(s->io, &m, NULL, 0);
		}
}
