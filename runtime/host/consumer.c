/* SPDX-License-Identifier: BSD-3-Clause */
/* A consumer as the writer has it; see consumer.h. */
#include "consumer.h"

#include <errno.h>
#include <sys/mman.h>

#include "wait.h"

enum {
	FORGED_MAX = 8,         /* releases that could not be, before who sends them is cut off */
	REGION_SLACK = 2 << 20, /* a region may be that much larger than asked for: pages */
};

struct iog_consumer *iog_consumer_find(struct iog_consumer *list, uint32_t n, uint32_t number)
{
	for (uint32_t i = 0; i < n; i++)
		if (number ? list[i].state != IOG_CONSUMER_NONE && list[i].number == number : list[i].state == IOG_CONSUMER_NONE)
			return &list[i];
	return NULL;
}

void iog_consumer_close(struct iog_consumer *c)
{
	if (c->box_map)
		munmap(c->box_map, c->box.bytes);
	iog_region_close(&c->up);
	iog_region_close(&c->down);
	iog_region_close(&c->box);
	*c = IOG_NO_CONSUMER;
}

/* Of a mailbox's four one is the newest, which is the same for all. */
uint32_t iog_consumer_slots(const struct iog_consumer *c)
{
	return c->policy == IOG_BLOCK ? 0 : c->policy == IOG_LATEST ? IOG_LATEST_ENTRIES - 1 : c->capacity;
}

bool iog_consumer_offends(const struct iog_consumer *c, const struct iog_outlet *o)
{
	return c->state == IOG_CONSUMER_LIVE && o->edge[c->k].forged >= FORGED_MAX;
}

static int check(const struct iog_consumer *c, const char *stream, const struct iog_schema *schema, uint32_t room, struct iog_err *err)
{
	if (c->capacity < 2 || c->capacity > IOG_CREDIT_MAX || c->capacity & (c->capacity - 1) ||
		(c->policy == IOG_LATEST && c->capacity != IOG_LATEST_ENTRIES))
		return iog_fail(err, -EPROTO, "stream %s: no edge has credit for %u steps", stream, c->capacity);
	if (!iog_want_valid(&c->want, schema))
		return iog_fail(err, -EPROTO, "stream %s: a reader wants what the stream cannot have", stream);
	if (iog_consumer_slots(c) > room)
		return iog_fail(err, -ENOSPC, "stream %s: as many readers take it directly as there can be", stream);
	return 0;
}

/* The one page both sides write. */
static int box_make(struct iog_consumer *c, struct iog_err *err)
{
	int rc = iog_region_create_for(&c->box, "iog-mailbox", sizeof(struct iog_mailbox), 0, err);
	if (rc)
		return rc;
	void *map = mmap(NULL, c->box.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, c->box.fd, 0);
	if (map == MAP_FAILED)
		return iog_fail(err, -ENOMEM, "mapping a mailbox: %s", strerror(errno));
	c->box_map = map;
	return madvise(map, c->box.bytes, MADV_DONTFORK) ? iog_fail(err, -ENOMEM, "mapping a mailbox: %s", strerror(errno)) : 0;
}

/* Maps what the consumer writes, and makes what we write. */
static int parts(struct iog_consumer *c, bool waits, struct iog_edge *shared, struct iog_err *err)
{
	const uint64_t up = iog_up_bytes(c->capacity);
	const int fd = c->up.fd; /* given to open, which closes it when it fails */
	c->up = IOG_REGION_NONE;
	int rc = iog_region_open(&c->up, fd, up, up + REGION_SLACK, err);
	if (!rc)
		rc = iog_region_create(&c->down, "iog-down", iog_down_bytes(c->capacity), 0, err);
	if (!rc && c->policy == IOG_LATEST)
		rc = box_make(c, err);
	if (rc)
		return rc;
	*shared = (struct iog_edge){ .down = c->down.map,
		.up = c->up.map,
		.box = c->box_map,
		.capacity = c->capacity,
		.policy = c->policy == IOG_BLOCK && !waits ? IOG_DROP_NEW : c->policy,
		.safe = c->safe };
	return 0;
}

int iog_consumer_make(struct iog_consumer *c, struct iog_outlet *o, const char *stream, const struct iog_schema *schema, uint32_t room,
	bool waits, struct iog_err *err)
{
	struct iog_edge shared;
	int rc = check(c, stream, schema, room, err);
	if (!rc)
		rc = parts(c, waits, &shared, err);
	if (rc)
		return rc;
	const int k = iog_outlet_join(o, &shared);
	if (k < 0)
		return iog_fail(err, k, "stream %s: %d consumers take it, which is as many as there can be", stream, IOG_OUTLET_EDGES);
	c->k = (uint32_t)k;
	c->state = IOG_CONSUMER_LIVE;
	iog_consumers_wake(o, iog_outlet_publish(o)); /* what is past already */
	return 0;
}

int iog_consumer_resume(struct iog_consumer *c, struct iog_consumer *former, struct iog_outlet *o, const char *stream,
	const struct iog_schema *schema, bool waits, struct iog_err *err)
{
	struct iog_edge shared;
	const uint32_t k = former->k;
	int rc = check(c, stream, schema, iog_consumer_slots(former), err);
	if (!rc && (iog_edge_outstanding(&o->edge[k]) > c->capacity || c->policy == IOG_LATEST || former->policy == IOG_LATEST))
		rc = iog_fail(err, -ENOSPC, "stream %s: %s has no room for what was kept for it", stream, former->name);
	if (!rc)
		rc = parts(c, waits, &shared, err);
	if (rc)
		return rc;
	iog_outlet_replace(o, k, &shared);
	iog_consumer_close(former);
	c->k = k;
	c->state = IOG_CONSUMER_LIVE;
	iog_consumers_wake(o, iog_outlet_publish(o));
	return 0;
}

void iog_consumers_want(const struct iog_consumer *list, uint32_t n, const struct iog_schema *schema, struct iog_wants *wants)
{
	*wants = (struct iog_wants){ 0 };
	for (uint32_t i = 0; i < n; i++)
		if (list[i].state == IOG_CONSUMER_LIVE)
			iog_wants_add(wants, &list[i].want, schema);
}

void iog_consumers_wake(struct iog_outlet *o, uint64_t sleepers)
{
	for (; iog_unlikely(sleepers); sleepers &= sleepers - 1)
		iog_wake_word(&o->edge[__builtin_ctzll(sleepers)].e.down->head);
}

uint32_t iog_consumers_sleep(struct iog_outlet *o, struct iog_waitword *word)
{
	uint32_t n = 0;
	for (uint64_t m = o->live_mask; m; m &= m - 1) {
		const struct iog_out_edge *x = &o->edge[__builtin_ctzll(m)];
		/* Sequentially consistent, so that the look that follows is not done before the flag is on its way out. */
		atomic_store(&x->e.down->sleeping, 1);
		word[n++] = (struct iog_waitword){ &x->e.up->head, x->reaped };
	}
	return n;
}

void iog_consumers_awake(struct iog_outlet *o)
{
	for (uint64_t m = o->live_mask; m; m &= m - 1)
		atomic_store_explicit(&o->edge[__builtin_ctzll(m)].e.down->sleeping, 0, memory_order_relaxed);
}
