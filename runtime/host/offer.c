/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Offers; see offer.h. The lock of an offer is held while a record is copied: a consumer that comes meanwhile waits for that. Consumers that drop
 * records may together keep more slots than there are: then records are dropped for them all, and nobody waits for one of them.
 */
#include "offer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "attach.h"
#include "consumer.h"
#include "wait.h"

enum { SLOTS_MIN = 12, SLOTS_MAX = 256, CREDIT_MAX = 64 };
static const uint64_t SPIN_NS = 20000, NAP_NS = 20000000;

struct iog_offer {
	struct iog_offer *next; /* of the list, as long as it is open */
	char name[IOG_STREAM_NAME];
	struct iog_offer_opts opts;
	struct iog_schema schema;
	uint64_t statics; /* variables */
	pthread_mutex_t lock;
	uint32_t refs;
	bool owned, closed;
	char refused[256];
	uint32_t epoch, credit;
	uint64_t head_max;
	struct iog_region_map arena;
	struct iog_region view; /* the static part of the arena */
	struct iog_outlet o;
	void *memory;
	bool rewant;
	struct iog_wants wants;
	struct iog_consumer edge[IOG_OUTLET_EDGES];
};

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct iog_offer *list;
static int agents;

void iog_offers_wanted(int change)
{
	pthread_mutex_lock(&list_lock);
	agents += change;
	pthread_mutex_unlock(&list_lock);
}

/* ---- life ---- */

static int memory(struct iog_offer *o, struct iog_err *err)
{
	uint64_t payload, statics = 0;
	struct iog_arena a = { .id = 0 };
	if (!iog_schema_payload_max(&o->schema, false, &payload) || !iog_schema_payload_max(&o->schema, true, &statics) ||
		payload > INT64_MAX / 256 / 2)
		return iog_fail(err, -EFBIG, "a record with the declared maxima does not fit memory");
	o->head_max = iog_wire_head_max(&o->schema, o->opts.blocks, 2);
	a.static_bytes = statics ? 2 * IOG_ROUND_UP(statics, IOG_LINE) : 0;
	a.slot_bytes = IOG_ROUND_UP(o->head_max + payload + (uint64_t)o->opts.blocks * IOG_ALIGN, IOG_LINE);
	a.n_slots = (uint32_t)IOG_MIN(IOG_MAX(o->opts.bytes / a.slot_bytes, (uint64_t)SLOTS_MIN), (uint64_t)SLOTS_MAX);
	for (o->credit = 2; o->credit * 4 <= a.n_slots && o->credit < CREDIT_MAX; o->credit *= 2)
		;
	o->memory = calloc(1, iog_outlet_memory(a.n_slots));
	if (!o->memory)
		return iog_fail(err, -ENOMEM, "out of memory");
	int rc = iog_region_create(&o->arena, "iog-arena", iog_arena_bytes(&a), 0, err);
	if (rc)
		return rc;
	a.base = o->arena.map;
	iog_outlet_init(&o->o, &a, o->memory);
	o->o.reserve = o->credit;
	o->view = (struct iog_region){ .base = a.base, .size = a.static_bytes, .arena = a.id };
	return 0;
}

static void release(struct iog_offer *o)
{
	for (uint32_t i = 0; i < IOG_OUTLET_EDGES; i++)
		iog_consumer_close(&o->edge[i]);
	iog_region_close(&o->arena);
	free(o->memory);
	pthread_mutex_destroy(&o->lock);
	free(o);
}

int iog_offer_open(
	struct iog_offer **out, const char *name, const struct iog_schema *schema, const struct iog_offer_opts *opts, struct iog_err *err)
{
	struct iog_offer *o = calloc(1, sizeof *o);
	*out = NULL;
	if (!o)
		return iog_fail(err, -ENOMEM, "out of memory");
	iog_strset(o->name, sizeof o->name, name);
	o->opts = *opts;
	o->schema = *schema;
	o->arena = IOG_REGION_NONE;
	o->refs = 1;
	pthread_mutex_init(&o->lock, NULL);
	for (uint32_t i = 0; i < IOG_OUTLET_EDGES; i++)
		o->edge[i] = IOG_NO_CONSUMER;
	for (uint32_t v = 0; v < schema->n_vars; v++)
		o->statics |= schema->var[v].flags & IOG_VAR_STATIC ? 1ull << v : 0;
	int rc = memory(o, err);
	pthread_mutex_lock(&list_lock);
	if (!rc && name[0] && !agents)
		rc = iog_fail(
			err, -ENOENT, "only an agent brings readers to stream \"%s\": run this graph in one, by iog agent --load", name);
	for (struct iog_offer *x = list; x && name[0] && !rc; x = x->next)
		if (iog_streq(x->name, name))
			rc = iog_fail(err, -EEXIST, "stream \"%s\" is published by another sink of this agent already", name);
	if (!rc && name[0]) {
		o->next = list;
		list = o;
	}
	pthread_mutex_unlock(&list_lock);
	if (rc)
		release(o);
	else
		*out = o;
	return rc;
}

void iog_offer_put(struct iog_offer *o)
{
	pthread_mutex_lock(&list_lock);
	const bool last = !--o->refs;
	pthread_mutex_unlock(&list_lock);
	if (last)
		release(o);
}

void iog_offer_close(struct iog_offer *o)
{
	if (!o)
		return;
	pthread_mutex_lock(&o->lock);
	iog_consumers_wake(&o->o, iog_outlet_close(&o->o, IOG_EDGE_CLOSED));
	o->closed = true;
	pthread_mutex_unlock(&o->lock);
	pthread_mutex_lock(&list_lock);
	for (struct iog_offer **at = &list; *at; at = &(*at)->next)
		if (*at == o) {
			*at = o->next;
			break;
		}
	pthread_mutex_unlock(&list_lock);
	iog_offer_put(o);
}

/* ---- records ---- */

static void reap(struct iog_offer *o)
{
	uint32_t let_go[64];
	while (iog_outlet_reap(&o->o, let_go, 64) == 64)
		;
}

/* A slot is free and every blocking consumer has credit; the static area of the epoch may be written, if it is a new one. */
static bool ready(struct iog_offer *o, uint32_t epoch)
{
	return iog_outlet_ready(&o->o) &&
	       (!o->statics || (o->o.have_static && o->o.static_epoch == epoch) || !iog_outlet_static_busy(&o->o, epoch));
}

/* Waits for room, without the lock while asleep; false: there is none in time. Who only drops records is not waited for. */
static bool wait_room(struct iog_offer *o, uint32_t epoch)
{
	const uint64_t t0 = iog_now_ns();
	for (uint64_t now = t0;; now = iog_now_ns()) {
		struct iog_waitword w[IOG_OUTLET_EDGES];
		uint32_t n = 0;
		reap(o);
		if (ready(o, epoch) || !o->o.live_mask)
			return true;
		if (!o->opts.waits || !o->o.block_mask || now - t0 >= o->opts.timeout_ns ||
			(o->opts.stop && atomic_load_explicit(o->opts.stop, memory_order_relaxed)))
			return false;
		if (now - t0 > SPIN_NS) {
			n = iog_consumers_sleep(&o->o, w);
			reap(o);
		}
		const bool room = ready(o, epoch);
		pthread_mutex_unlock(&o->lock);
		if (n && !room)
			iog_wait_words(w, n, IOG_MIN(o->opts.timeout_ns - (now - t0), NAP_NS));
		pthread_mutex_lock(&o->lock);
		if (n)
			iog_consumers_awake(&o->o);
	}
}

/* The record as it is sent: of this stream, and without what nobody wants. */
static void copy_head(struct iog_offer *o, const struct iog_record *r, struct iog_record *to)
{
	*to = *r;
	to->schema = &o->schema;
	to->id.stream = o->schema.id;
	to->id.epoch += o->epoch;
	to->id.writer = 0;
	if (o->rewant) {
		iog_consumers_want(o->edge, IOG_OUTLET_EDGES, &o->schema, &o->wants);
		o->rewant = false;
	}
	for (uint32_t v = 0; v < o->schema.n_vars; v++)
		if (!((o->wants.vars | o->statics) >> v & 1))
			to->var[v].n_blocks = 0;
}

void iog_offer_dropped(const struct iog_record *r, struct iog_err *err)
{
	iog_fail(err, -ETIMEDOUT, "step %lld was dropped: readers held what there is", (long long)r->step);
}

/* The lock is held. */
static enum iog_step push(struct iog_offer *o, const struct iog_record *r, struct iog_err *err)
{
	const uint32_t epoch = r->id.epoch + o->epoch;
	struct iog_record rec;
	uint32_t viewed;
	if (!ready(o, epoch) && !wait_room(o, epoch)) {
		iog_outlet_pass(&o->o, epoch, r->id.seq);
		iog_consumers_wake(&o->o, iog_outlet_publish(&o->o));
		return IOG_NO_SPACE;
	}
	if (!o->o.live_mask)
		return IOG_OK;
	copy_head(o, r, &rec);
	const uint32_t slot = iog_outlet_take(&o->o);
	int64_t len = o->statics ? iog_outlet_static(&o->o, &rec) : 0;
	if (!len)
		len = iog_wire_put(iog_arena_slot(&o->o.arena, slot), o->o.arena.slot_bytes, o->head_max, 0, &rec, &o->view, 1, &viewed);
	if (len < 0) {
		iog_outlet_put_back(&o->o, slot);
		iog_fail(err, (int)len, "step %lld is larger than the schema says, or in more than %u parts", (long long)r->step,
			o->opts.blocks);
		return IOG_FAILED;
	}
	iog_outlet_push(&o->o, slot, &rec, (uint64_t)len);
	iog_consumers_wake(&o->o, iog_outlet_publish(&o->o));
	return IOG_OK;
}

enum iog_step iog_offer_write(struct iog_offer *o, const struct iog_record *r, struct iog_err *err)
{
	enum iog_step step = IOG_OK;
	pthread_mutex_lock(&o->lock);
	if (o->refused[0]) {
		iog_fail(err, -EEXIST, "%s", o->refused);
		step = IOG_FATAL;
	} else if (o->o.live_mask) {
		reap(o);
		step = push(o, r, err);
	}
	pthread_mutex_unlock(&o->lock);
	return step;
}

/* ---- the agent ---- */

void iog_offer_own(struct iog_offer *o)
{
	pthread_mutex_lock(&list_lock);
	o->owned = true;
	o->refs++;
	pthread_mutex_unlock(&list_lock);
}

struct iog_offer *iog_offer_next(void)
{
	pthread_mutex_lock(&list_lock);
	struct iog_offer *o = list;
	while (o && o->owned)
		o = o->next;
	if (o)
		o->owned = true, o->refs++;
	pthread_mutex_unlock(&list_lock);
	return o;
}

const char *iog_offer_name(const struct iog_offer *o) { return o->name; }
const struct iog_schema *iog_offer_schema(const struct iog_offer *o) { return &o->schema; }

void iog_offer_memory(const struct iog_offer *o, struct iog_arena *arena, int *fd, uint32_t *blocks, uint32_t *credit)
{
	*arena = o->o.arena;
	arena->base = NULL;
	*fd = o->arena.fd;
	*blocks = o->opts.blocks;
	*credit = o->credit;
}

void iog_offer_epoch(struct iog_offer *o, uint32_t epoch)
{
	pthread_mutex_lock(&o->lock);
	o->epoch = epoch;
	pthread_mutex_unlock(&o->lock);
}

bool iog_offer_closed(struct iog_offer *o)
{
	pthread_mutex_lock(&o->lock);
	const bool closed = o->closed;
	pthread_mutex_unlock(&o->lock);
	return closed;
}

void iog_offer_refuse(struct iog_offer *o, const char *why)
{
	pthread_mutex_lock(&o->lock);
	iog_strset(o->refused, sizeof o->refused, why);
	pthread_mutex_unlock(&o->lock);
}

/* The descriptors the consumer needs: mapped, they have done their duty here, and a process has only so many. */
static int hand_over(struct iog_consumer *c, int fds[2])
{
	fds[0] = c->down.fd, fds[1] = c->box.fd;
	close(c->up.fd);
	c->up.fd = c->down.fd = c->box.fd = -1;
	return fds[1] < 0 ? 1 : 2;
}

int iog_offer_join(struct iog_offer *o, const struct iog_offer_edge *e, int fds[2], struct iog_err *err)
{
	pthread_mutex_lock(&o->lock);
	fds[0] = fds[1] = -1;
	struct iog_consumer *c = o->closed || iog_consumer_find(o->edge, IOG_OUTLET_EDGES, e->number)
					 ? NULL
					 : iog_consumer_find(o->edge, IOG_OUTLET_EDGES, 0);
	int rc = c ? 0 : iog_fail(err, -ENOSPC, "stream %s has ended, or as many readers as there can be", o->name);
	if (c) {
		c->number = e->number, c->capacity = e->capacity, c->policy = e->policy, c->want = e->want;
		c->up.fd = fcntl(e->up, F_DUPFD_CLOEXEC, 3);
		rc = iog_consumer_make(c, &o->o, o->name, &o->schema, UINT32_MAX, o->opts.waits, err);
		o->rewant = true;
		if (rc)
			iog_consumer_close(c);
		else
			rc = hand_over(c, fds);
	}
	pthread_mutex_unlock(&o->lock);
	return rc;
}

/* The lock is held. */
static void cut(struct iog_offer *o, struct iog_consumer *c)
{
	iog_outlet_cut(&o->o, c->k);
	iog_consumer_close(c);
	o->rewant = true;
}

void iog_offer_want(struct iog_offer *o, uint32_t number, const struct iog_want *want)
{
	pthread_mutex_lock(&o->lock);
	struct iog_consumer *c = iog_consumer_find(o->edge, IOG_OUTLET_EDGES, number);
	if (c)
		c->want = *want;
	o->rewant = true;
	pthread_mutex_unlock(&o->lock);
}

void iog_offer_cut(struct iog_offer *o, uint32_t number)
{
	pthread_mutex_lock(&o->lock);
	struct iog_consumer *c = iog_consumer_find(o->edge, IOG_OUTLET_EDGES, number);
	if (c)
		cut(o, c);
	pthread_mutex_unlock(&o->lock);
}

uint32_t iog_offer_offender(struct iog_offer *o)
{
	uint32_t number = 0;
	pthread_mutex_lock(&o->lock);
	for (uint32_t i = 0; i < IOG_OUTLET_EDGES && !number; i++)
		if (iog_consumer_offends(&o->edge[i], &o->o)) {
			number = o->edge[i].number;
			cut(o, &o->edge[i]);
		}
	pthread_mutex_unlock(&o->lock);
	return number;
}
