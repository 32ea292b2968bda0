/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the agent's own process publishes: streams that graphs end in (offer.h), and hubs. A hub takes a stream as a graph does and gives it to readers from
 * memory of its own, so that the program's commit does not cost more with every reader; one for readers that want every step, whose back-pressure
 * reaches the program, and one for the others. The agent's thread, and one thread for each hub.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent-private.h"

static const uint64_t GO_NS = 1000000000u, NEXT_NS = 50000000, BYTES = 64 << 20;

struct hub {
	struct stream *of, *stream; /* where from; where its readers find it */
	struct iog_taker *taker;
	struct iog_offer *offer;
	bool blocks;          /* for readers that want every step */
	struct iog_want want; /* what it gets of the stream */
	bool widens;          /* it was told to get more, and does not yet */
	uint64_t began_ns;    /* it waits a moment for those it was made for */
	pthread_t thread;
	_Atomic bool go, stop, done;
	_Atomic uint64_t failed;
	struct iog_err err; /* of the first that failed; written before failed is */
};

/* ---- a hub's thread ---- */

static void *run(void *arg)
{
	struct hub *h = arg;
	bool ended = false;
	while (!ended && !atomic_load(&h->stop)) {
		struct iog_err err = { "" };
		if (!atomic_load(&h->go)) {
			iog_wait_words(NULL, 0, 500000);
			continue;
		}
		struct iog_record *r = iog_taker_next(h->taker, NEXT_NS, &ended);
		if (!r)
			continue;
		const enum iog_step step = iog_offer_write(h->offer, r, &err);
		/* One for readers that drop steps drops them as a matter of course. */
		if (step != IOG_OK && (h->blocks || step != IOG_NO_SPACE)) {
			if (step == IOG_NO_SPACE)
				iog_offer_dropped(r, &err);
			if (!atomic_load(&h->failed))
				h->err = err;
			atomic_fetch_add(&h->failed, 1);
		}
		iog_taker_release(h->taker, r);
	}
	iog_offer_close(h->offer);
	iog_taker_close(h->taker);
	atomic_store(&h->done, true);
	return NULL;
}

/* ---- hubs ---- */

bool iog_agent_is_hub(const struct iog_agent *a, const void *owner, uint8_t *policy, struct iog_want *want)
{
	for (uint32_t i = 0; i < a->n_hubs; i++)
		if (a->hub[i] == owner) {
			*policy = a->hub[i]->blocks ? IOG_BLOCK : IOG_DROP_NEW;
			*want = a->hub[i]->want;
			return true;
		}
	return false;
}

uint32_t iog_agent_hubs_of(const struct iog_agent *a, const struct stream *s)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < a->n_hubs; i++)
		n += a->hub[i]->of == s;
	return n;
}

static int hub_start(struct iog_agent *a, struct hub *h, struct iog_err *err)
{
	struct stream *s = h->of;
	const struct iog_offer_opts o = { .blocks = IOG_MIN(s->n_writers * s->blocks, (uint32_t)IOG_BLOCKS_MAX),
		.bytes = BYTES,
		.waits = h->blocks,
		.timeout_ns = UINT64_MAX,
		.stop = &h->stop };
	iog_target_reason(IOG_T_HOST); /* probes by a fork, which is better done before there is one more thread */
	int rc = iog_offer_open(&h->offer, "", &s->schema, &o, err);
	if (rc)
		return rc;
	iog_offer_own(h->offer);
	h->stream = iog_agent_stream_offered(a, h->offer, s->name, s, err);
	if (!h->stream) {
		iog_offer_close(h->offer);
		iog_offer_put(h->offer);
		return -ENOMEM;
	}
	if (!(h->taker = iog_taker_open(s->feed, h, !h->blocks, err)))
		rc = -ENOMEM;
	else if ((rc = pthread_create(&h->thread, NULL, run, h))) {
		iog_taker_close(h->taker);
		rc = iog_fail(err, -rc, "no thread for readers of stream \"%s\": %s", s->name, strerror(rc));
	}
	if (rc) {
		iog_offer_close(h->offer);
		iog_agent_stream_free(a, h->stream);
		return rc;
	}
	pthread_setname_np(h->thread, "iog-hub");
	return 0;
}

struct stream *iog_agent_hub_for(struct iog_agent *a, struct stream *s, uint8_t policy, struct iog_err *err)
{
	const bool blocks = policy == IOG_BLOCK && s->policy == IOG_BLOCK;
	for (uint32_t i = 0; i < a->n_hubs; i++) {
		struct hub *h = a->hub[i];
		if (h->of == s && h->blocks == blocks && !atomic_load(&h->stop) && !atomic_load(&h->done))
			return h->stream;
	}
	struct hub *h = a->n_hubs < IOG_AGENT_HUBS ? calloc(1, sizeof *h) : NULL;
	if (!h) {
		iog_fail(err, -ENOMEM, "the agent has no room for one more reader of stream \"%s\"", s->name);
		return NULL;
	}
	h->of = s;
	h->blocks = blocks;
	h->began_ns = iog_now_ns();
	if (hub_start(a, h, err)) {
		free(h);
		return NULL;
	}
	a->hub[a->n_hubs++] = h;
	return h->stream;
}

/* ---- what a hub's readers want of the stream ---- */

static bool is_reader(const struct hub *h, const struct edge *e) { return e->reader && e->writer && e->writer->offer == h->offer; }

/* What all of them want together who have said it. */
static void together(const struct iog_agent *a, const struct hub *h, struct iog_want *want)
{
	struct iog_wants u = { 0 };
	for (uint32_t k = 0; k < a->n_edges; k++)
		if (is_reader(h, a->edge[k]) && a->edge[k]->up.map)
			iog_wants_add(&u, &a->edge[k]->want, &h->of->schema);
	iog_wants_as_one(&u, &h->of->schema, want);
}

/* Less than it gets, when readers have said what they want or left; more, when one that waits wants it. */
static void hub_want(struct iog_agent *a, struct hub *h)
{
	struct iog_want want;
	if (!atomic_load(&h->go) || (h->widens && !iog_agent_edges_wide(a, h)))
		return;
	h->widens = false;
	for (uint32_t k = 0; k < a->n_edges; k++) {
		struct edge *e = a->edge[k];
		if (is_reader(h, e) && e->up.map && !e->asked && iog_want_covers(&h->want, &e->want))
			iog_agent_offer_ask(a, e);
	}
	together(a, h, &want);
	const bool wider = !iog_want_covers(&h->want, &want);
	if ((wider || !iog_want_covers(&want, &h->want)) && iog_agent_edges_want(a, h, &want, wider))
		h->want = want, h->widens = wider;
}

/* Its thread has ended. */
static void hub_free(struct iog_agent *a, uint32_t i)
{
	struct hub *h = a->hub[i];
	pthread_join(h->thread, NULL);
	if (atomic_load(&h->failed))
		iog_agent_say(a, "stream %s: %llu steps did not reach readers behind a hub: %s", h->of->name,
			(unsigned long long)atomic_load(&h->failed), h->err.text);
	iog_agent_stream_free(a, h->stream);
	free(h);
	a->hub[i] = a->hub[--a->n_hubs];
}

static void hub_look(struct iog_agent *a, uint32_t i)
{
	struct hub *h = a->hub[i];
	const uint32_t n = iog_agent_stream_readers(a, h->stream);
	if (atomic_load(&h->done))
		h->offer = NULL; /* freed with its writer */
	else
		hub_want(a, h);
	if (!atomic_load(&h->go) && (iog_agent_stream_joined(a, h->stream) || iog_now_ns() - h->began_ns > GO_NS))
		atomic_store(&h->go, true);
	/* The last one has left. */
	if (!n && !atomic_load(&h->stop)) {
		atomic_store(&h->stop, true);
		if (!atomic_load(&h->done))
			iog_taker_wake(h->taker);
	}
	/* Its writers have: what it still has for readers is theirs, as long as they stay. */
	if (atomic_load(&h->done) && !n)
		hub_free(a, i);
}

/* ---- what graphs publish ---- */

static void offers_in(struct iog_agent *a)
{
	for (struct iog_offer *o; (o = iog_offer_next());) {
		struct iog_err err = { "" };
		if (iog_agent_stream_offered(a, o, iog_offer_name(o), NULL, &err))
			continue;
		iog_agent_say(a, "%s", err.text);
		iog_offer_refuse(o, err.text);
		iog_offer_put(o);
	}
}

static void writers_look(struct iog_agent *a)
{
	for (uint32_t i = a->n_writers; i-- > 0;) {
		struct writer *w = a->writer[i];
		uint32_t number;
		if (!w->offer)
			continue;
		while ((number = iog_offer_offender(w->offer)))
			iog_agent_say(a, "stream %s: a reader gave back what it did not have, and was cut off", w->stream->name);
		if (iog_offer_closed(w->offer))
			iog_agent_writer_free(a, w);
	}
}

void iog_agent_offer_ask(struct iog_agent *a, struct edge *e)
{
	for (uint32_t i = 0; i < a->n_hubs; i++)
		if (a->hub[i]->offer == e->writer->offer && (a->hub[i]->widens || !iog_want_covers(&a->hub[i]->want, &e->want)))
			return; /* hub_want asks */
	const struct iog_offer_edge ask = {
		.number = e->id, .capacity = e->capacity, .policy = e->policy, .want = e->want, .up = e->up.fd
	};
	struct iog_err err = { "" };
	int fds[2];
	const int n = iog_offer_join(e->writer->offer, &ask, fds, &err);
	e->asked = true;
	if (n < 0)
		iog_agent_edge_refused(a, e, err.text);
	else
		iog_agent_edge_made(a, e, fds, (uint32_t)n);
	for (int i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

void iog_agent_hubs_poll(struct iog_agent *a)
{
	writers_look(a); /* who has ended makes room for another one of that name */
	offers_in(a);
	for (uint32_t i = a->n_hubs; i-- > 0;)
		hub_look(a, i);
}

void iog_agent_hubs_free(struct iog_agent *a)
{
	for (uint32_t i = 0; i < a->n_hubs; i++)
		atomic_store(&a->hub[i]->stop, true);
	while (a->n_hubs)
		hub_free(a, a->n_hubs - 1);
	for (uint32_t i = a->n_writers; i-- > 0;)
		if (a->writer[i]->offer)
			iog_agent_writer_free(a, a->writer[i]);
}
