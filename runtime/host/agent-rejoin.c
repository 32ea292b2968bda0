/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What programs bring along that had an agent before, which has died: edges between writers and readers go on when both ends name them, and those that
 * nobody names are cut when there was time enough. Writers come when they begin or commit a step, so ranks of a program that goes step by step are
 * back together. The agent's thread.
 */
#include <string.h>

#include "agent-private.h"

/* After the stream is known again; and for a rank, a graph or a stream to come back at all. */
static const uint64_t CLAIM_NS = 5000000000u, BACK_NS = 30000000000u;

void iog_agent_hold(struct held *h, const struct iog_msg *m, uint32_t from, uint32_t to)
{
	h->n = to - from;
	memcpy(h->number, m->held + from, h->n * sizeof *h->number);
	h->since_ns = iog_now_ns();
}

bool iog_agent_holds(const struct held *x, const struct held *y)
{
	for (uint32_t i = 0; i < x->n; i++)
		for (uint32_t k = 0; k < y->n; k++)
			if (x->number[i] == y->number[k])
				return true;
	return false;
}

/* Takes a number out; false: it is not there. */
static bool take(struct held *h, uint32_t number)
{
	for (uint32_t i = 0; i < h->n; i++)
		if (h->number[i] == number) {
			h->number[i] = h->number[--h->n];
			return true;
		}
	return false;
}

static void cut(struct iog_agent *a, const struct writer *w, uint32_t number)
{
	struct iog_msg *m = iog_agent_fresh(a, IOG_MSG_CUT, w->id);
	m->edge = number;
	iog_agent_send(a, w->client, m, NULL, 0);
}

bool iog_agent_adopt(struct iog_agent *a, struct writer *w, struct reader *r)
{
	/* The writer made them, and would wait for their reader. */
	for (uint32_t i = 0; i < r->lost.n; i++)
		if (!iog_agent_edge_find(a, r->lost.number[i]) && take(&w->held, r->lost.number[i]))
			cut(a, w, r->lost.number[i]);
	for (uint32_t i = 0; i < r->held.n; i++) {
		const uint32_t number = r->held.number[i];
		/* A number of the new agent is none of theirs. */
		if (iog_agent_edge_find(a, number) || !take(&w->held, number))
			continue;
		take(&r->held, number);
		struct edge *e = iog_agent_edge_add(a, number, w, r);
		if (!e)
			return false;
		e->asked = e->made = true;
		return true;
	}
	return false;
}

bool iog_agent_given_up(const struct stream *s) { return s->back_ns && iog_now_ns() - s->back_ns > BACK_NS; }

/* What is held is not claimed any more. */
static bool late(const struct held *h, const struct stream *s, bool soon)
{
	const uint64_t since = IOG_MAX(h->since_ns, s->known ? s->known_ns : 0);
	return h->n && iog_now_ns() - since > (soon ? CLAIM_NS : BACK_NS);
}

void iog_agent_disown(struct iog_agent *a)
{
	const bool wait = iog_agent_graphs_wait(a);
	for (uint32_t i = 0; i < a->n_writers; i++) {
		struct writer *w = a->writer[i];
		if (!w->stream->known || !late(&w->held, w->stream, !wait && !iog_agent_graphs_opening(a, w->stream)))
			continue;
		for (; w->held.n; w->held.n--)
			cut(a, w, w->held.number[w->held.n - 1]);
	}
	for (uint32_t i = 0; i < a->n_readers; i++) {
		struct reader *r = a->reader[i];
		/* When it was told of the stream, all its ranks were there, and have said what they hold; or they have come and gone. */
		const bool all = (r->told && !r->stream->apart) || (r->stream->known && !iog_agent_stream_ranks(r->stream));
		if (!all && !late(&r->held, r->stream, r->told))
			continue;
		for (; r->held.n; r->held.n--) {
			struct iog_msg *m = iog_agent_fresh(a, IOG_MSG_WRITER_GONE, r->id);
			m->edge = r->held.number[r->held.n - 1];
			iog_agent_send(a, r->client, m, NULL, 0);
		}
	}
}
