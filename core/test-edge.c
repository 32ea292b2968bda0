/* SPDX-License-Identifier: BSD-3-Clause */
/* The edge by its rules: credit, order, release checks, elision, mailbox, drop-new, epochs, replacement, static areas; and under two threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
/* last: it wants the ones above */
#include <cmocka.h>

#include "core/edge.h"

enum { SLOT_BYTES = 256 };

struct pipe {
	struct iog_edge e;
	struct iog_outlet o;
	struct iog_inlet in;
	struct iog_arena a;
	void *memory;
};

static void edge_new(struct iog_edge *e, uint32_t capacity, enum iog_policy policy)
{
	*e = (struct iog_edge){ .capacity = capacity, .policy = (uint8_t)policy };
	e->down = aligned_alloc(IOG_LINE, IOG_ROUND_UP(iog_down_bytes(capacity), IOG_LINE));
	e->up = aligned_alloc(IOG_LINE, IOG_ROUND_UP(iog_up_bytes(capacity), IOG_LINE));
	e->box = aligned_alloc(IOG_LINE, sizeof *e->box);
	assert_true(e->down && e->up && e->box);
	memset(e->down, 0, iog_down_bytes(capacity));
	memset(e->up, 0, iog_up_bytes(capacity));
	memset(e->box, 0, sizeof *e->box);
}
static void edge_free(struct iog_edge *e)
{
	free(e->down);
	free(e->up);
	free(e->box);
}

static void pipe_new(struct pipe *p, uint32_t capacity, enum iog_policy policy, uint32_t slots, uint64_t statics)
{
	memset(p, 0, sizeof *p);
	p->a = (struct iog_arena){ .static_bytes = statics, .slot_bytes = SLOT_BYTES, .n_slots = slots, .id = 7 };
	p->a.base = calloc(1, iog_arena_bytes(&p->a));
	p->memory = calloc(1, iog_outlet_memory(slots));
	assert_true(p->a.base && p->memory);
	edge_new(&p->e, capacity, policy);
	iog_outlet_init(&p->o, &p->a, p->memory);
	assert_int_equal(iog_outlet_add(&p->o, &p->e), 0);
	iog_inlet_init(&p->in, &p->e, slots, SLOT_BYTES);
}
static void pipe_free(struct pipe *p)
{
	edge_free(&p->e);
	free(p->a.base);
	free(p->memory);
}

static uint32_t reap(struct iog_outlet *o)
{
	uint32_t freed[64];
	return iog_outlet_reap(o, freed, 64);
}
static bool push(struct iog_outlet *o, uint32_t epoch, uint64_t seq)
{
	struct iog_record r = { .id = { .stream = 1, .seq = seq, .epoch = epoch } };
	if (!iog_outlet_ready(o) && !(reap(o) && iog_outlet_ready(o)))
		return false;
	uint32_t s = iog_outlet_take(o);
	assert_int_not_equal(s, IOG_NO_SLOT);
	iog_outlet_push(o, s, &r, 200);
	iog_outlet_publish(o);
	return true;
}
static struct iog_desc take(struct iog_inlet *in, enum iog_front want)
{
	assert_int_equal(iog_inlet_peek(in), want);
	struct iog_desc d = in->front;
	iog_inlet_take(in);
	return d;
}
static void release(struct iog_inlet *in, struct iog_desc d)
{
	iog_inlet_release(in, d.slot, d.gen);
	iog_inlet_publish(in);
}

static void credit_and_order(void **state)
{
	(void)state;
	struct pipe p;
	pipe_new(&p, 4, IOG_BLOCK, 5, 0);
	for (uint64_t i = 0; i < 4; i++)
		assert_true(push(&p.o, 1, 10 + i));
	assert_false(push(&p.o, 1, 14)); /* no credit */
	struct iog_desc d[4];
	for (uint64_t i = 0; i < 4; i++) {
		d[i] = take(&p.in, IOG_FRONT_RECORD);
		assert_int_equal(d[i].seq, 10 + i);
	}
	assert_int_equal(iog_inlet_peek(&p.in), IOG_FRONT_NONE);
	release(&p.in, d[2]); /* out of order is fine */
	assert_int_equal(reap(&p.o), 1);
	assert_true(push(&p.o, 1, 14));
	assert_false(push(&p.o, 1, 15));
	assert_int_equal(take(&p.in, IOG_FRONT_RECORD).seq, 14);
	assert_int_equal(iog_outlet_busy(&p.o), 4);
	pipe_free(&p);
}

static void forged_releases_are_counted(void **state)
{
	(void)state;
	struct pipe p;
	pipe_new(&p, 4, IOG_BLOCK, 5, 0);
	push(&p.o, 1, 1);
	struct iog_desc d = take(&p.in, IOG_FRONT_RECORD), other = d, old = d;
	other.slot = 99;
	old.gen--;
	release(&p.in, other); /* no such slot */
	release(&p.in, old);   /* a generation that is gone */
	assert_int_equal(reap(&p.o), 0);
	assert_int_equal(p.o.edge[0].forged, 2);
	release(&p.in, d);
	release(&p.in, d); /* twice */
	assert_int_equal(reap(&p.o), 1);
	assert_int_equal(p.o.edge[0].forged, 3);
	/* A release head that runs ahead of the ring. */
	atomic_store(&p.e.up->head, 1000);
	assert_int_equal(reap(&p.o), 0);
	assert_int_equal(p.o.edge[0].forged, 4);
	pipe_free(&p);
}

static void forged_descriptors_are_refused(void **state)
{
	(void)state;
	struct pipe p;
	pipe_new(&p, 4, IOG_BLOCK, 5, 0);
	push(&p.o, 1, 1);
	push(&p.o, 1, 2);
	push(&p.o, 1, 3);
	p.e.down->ring[0].slot = 5;
	p.e.down->ring[1].length = SLOT_BYTES + 1;
	p.e.down->ring[2].length = 3;
	for (int i = 0; i < 3; i++)
		take(&p.in, IOG_FRONT_FORGED);
	assert_int_equal(p.in.forged, 3);
	pipe_free(&p);
}

static void elision_is_passed_on(void **state)
{
	(void)state;
	struct pipe p;
	uint32_t epoch;
	uint64_t passed;
	pipe_new(&p, 4, IOG_BLOCK, 5, 0);
	iog_inlet_passed(&p.in, &epoch, &passed);
	assert_int_equal(passed, 0);
	push(&p.o, 1, 5);
	iog_inlet_passed(&p.in, &epoch, &passed);
	assert_int_equal(epoch, 1);
	assert_int_equal(passed, 6);
	iog_outlet_pass(&p.o, 1, 8); /* 6, 7, 8 will never come */
	iog_inlet_passed(&p.in, &epoch, &passed);
	assert_int_equal(passed, 6); /* not visible before publish */
	iog_outlet_publish(&p.o);
	iog_inlet_passed(&p.in, &epoch, &passed);
	assert_int_equal(passed, 9);
	push(&p.o, 2, 3); /* a new epoch starts lower */
	iog_inlet_passed(&p.in, &epoch, &passed);
	assert_int_equal(epoch, 2);
	assert_int_equal(passed, 4);
	assert_int_equal(take(&p.in, IOG_FRONT_RECORD).seq, 5);
	assert_int_equal(take(&p.in, IOG_FRONT_RECORD).epoch, 2);
	pipe_free(&p);
}

static void mailbox_keeps_the_newest(void **state)
{
	(void)state;
	struct pipe p;
	pipe_new(&p, IOG_LATEST_ENTRIES, IOG_LATEST, 5, 0);
	for (uint64_t i = 1; i <= 1000; i++)
		assert_true(push(&p.o, 1, i)); /* never waits */
	assert_int_equal(p.o.edge[0].dropped, 999);
	reap(&p.o);
	assert_int_equal(iog_outlet_busy(&p.o), 1);
	struct iog_desc a = take(&p.in, IOG_FRONT_RECORD);
	assert_int_equal(a.seq, 1000);
	struct iog_desc held[3] = { a };
	for (uint64_t i = 1; i < 3; i++) {
		assert_true(push(&p.o, 1, 1000 + i));
		held[i] = take(&p.in, IOG_FRONT_RECORD);
	}
	assert_true(iog_inlet_full(&p.in)); /* holds all it may: one entry stays for the newest */
	for (uint64_t i = 1; i <= 50; i++)
		assert_true(push(&p.o, 1, 2000 + i));
	assert_int_equal(iog_inlet_peek(&p.in), IOG_FRONT_NONE);
	release(&p.in, held[1]); /* and even when nobody reads releases before the next push, that one gets through */
	assert_true(push(&p.o, 1, 3000));
	assert_int_equal(take(&p.in, IOG_FRONT_RECORD).seq, 3000);
	release(&p.in, held[0]);
	release(&p.in, held[2]);
	while (reap(&p.o))
		;
	assert_int_equal(iog_outlet_busy(&p.o), 1);
	assert_int_equal(p.o.edge[0].forged, 0);
	pipe_free(&p);
}

/* A consumer writes what it likes into the one word that both sides write: no slot is free twice. */
static void mailbox_of_a_liar(void **state)
{
	(void)state;
	struct pipe p;
	uint32_t x = 1;
	pipe_new(&p, IOG_LATEST_ENTRIES, IOG_LATEST, 5, 0);
	for (uint64_t i = 1; i <= 1000; i++) {
		x = x * 1664525u + 1013904223u;
		uint32_t next = 0; /* the entry that the next record will have */
		while (next < 4 && p.o.edge[0].entry_slot[next] != IOG_NO_SLOT)
			next++;
		atomic_store(&p.e.box->word, i % 3 == 0 ? ~0ull : i % 3 == 1 ? next + 1 : (x >> 16) % 7 | (uint64_t)x << 32);
		push(&p.o, 1, i);
		if (x >> 31)
			iog_inlet_release(&p.in, (x >> 8) % 5, (x >> 12) % 8), iog_inlet_publish(&p.in);
		reap(&p.o);
		uint32_t taken[8], n = 0, seen = 0;
		assert_true(p.o.n_free <= 5);
		while (p.o.n_free)
			taken[n++] = iog_outlet_take(&p.o);
		while (n) {
			const uint32_t s = taken[--n];
			assert_true(s < 5 && !(seen >> s & 1));
			seen |= 1u << s;
			iog_outlet_put_back(&p.o, s);
		}
	}
	assert_true(p.o.edge[0].forged > 300);
	pipe_free(&p);
}

static void drop_new_drops_there_only(void **state)
{
	(void)state;
	struct pipe p;
	struct iog_edge second;
	struct iog_inlet in2;
	pipe_new(&p, 8, IOG_BLOCK, 11, 0);
	edge_new(&second, 2, IOG_DROP_NEW);
	assert_int_equal(iog_outlet_add(&p.o, &second), 1);
	iog_inlet_init(&in2, &second, 11, SLOT_BYTES);
	for (uint64_t i = 1; i <= 6; i++)
		assert_true(push(&p.o, 1, i));
	assert_int_equal(p.o.edge[0].dropped, 0);
	assert_int_equal(p.o.edge[1].dropped, 4);
	struct iog_desc a = take(&in2, IOG_FRONT_RECORD), b = take(&in2, IOG_FRONT_RECORD);
	assert_int_equal(b.seq, 2);
	release(&in2, a);
	assert_int_equal(reap(&p.o), 0); /* the other edge still holds it */
	release(&p.in, take(&p.in, IOG_FRONT_RECORD));
	assert_int_equal(reap(&p.o), 1);
	uint32_t epoch;
	uint64_t passed;
	iog_inlet_passed(&in2, &epoch, &passed);
	assert_int_equal(passed, 7); /* what was dropped counts as elided */
	edge_free(&second);
	pipe_free(&p);
}

static void stopped_lossy_edges_leave_a_reserve(void **state)
{
	(void)state;
	struct pipe p;
	struct iog_edge lossy[3];
	pipe_new(&p, 4, IOG_BLOCK, 12, 0);
	p.o.reserve = 4;
	/* Each comes when the one before is full, so that together they could hold all slots, and gives nothing back. */
	for (uint64_t i = 0; i < 100; i++) {
		if (i % 10 == 0 && i < 30) {
			edge_new(&lossy[i / 10], 4, IOG_DROP_NEW);
			assert_int_equal(iog_outlet_join(&p.o, &lossy[i / 10]), 1 + (int)i / 10);
		}
		if (!push(&p.o, 1, i))
			fail_msg("record %d found no room", (int)i);
		release(&p.in, take(&p.in, IOG_FRONT_RECORD));
		reap(&p.o);
	}
	for (int k = 0; k < 3; k++)
		assert_true(p.o.edge[1 + k].dropped);
	/* Nobody is harmed by them: all the blocking consumer may hold can be sent. */
	for (uint64_t i = 100; i < 104; i++)
		assert_true(push(&p.o, 1, i));
	assert_false(push(&p.o, 1, 104));
	for (int k = 0; k < 3; k++)
		edge_free(&lossy[k]);
	pipe_free(&p);
}

static void joins_while_records_flow(void **state)
{
	(void)state;
	struct pipe p;
	struct iog_edge second, third;
	struct iog_inlet in2, in3;
	uint32_t epoch;
	uint64_t passed;
	pipe_new(&p, 8, IOG_BLOCK, 11, 0);
	edge_new(&second, 2, IOG_DROP_NEW);
	edge_new(&third, IOG_LATEST_ENTRIES, IOG_LATEST);
	assert_true(push(&p.o, 3, 5));
	assert_int_equal(iog_outlet_join(&p.o, &second), 1);
	iog_inlet_init(&in2, &second, 11, SLOT_BYTES);
	iog_outlet_publish(&p.o);
	iog_inlet_passed(&in2, &epoch, &passed);
	assert_int_equal(epoch, 3); /* what was before will not come */
	assert_int_equal(passed, 6);
	assert_int_equal(iog_inlet_peek(&in2), IOG_FRONT_NONE);
	for (uint64_t i = 6; i <= 8; i++)
		assert_true(push(&p.o, 3, i));
	assert_int_equal(take(&in2, IOG_FRONT_RECORD).seq, 6);
	assert_int_equal(p.o.edge[1].dropped, 1);

	/* Its place is taken by the next one, who sees nothing of the past, and whose releases are its own. */
	iog_outlet_cut(&p.o, 1);
	assert_int_equal(iog_outlet_join(&p.o, &third), 1);
	assert_int_equal(p.o.n_edges, 2);
	iog_inlet_init(&in3, &third, 11, SLOT_BYTES);
	assert_int_equal(iog_inlet_peek(&in3), IOG_FRONT_NONE);
	assert_true(push(&p.o, 3, 9));
	struct iog_desc d = take(&in3, IOG_FRONT_RECORD);
	assert_int_equal(d.seq, 9);
	release(&in3, d);
	for (uint64_t i = 5; i <= 9; i++)
		release(&p.in, take(&p.in, IOG_FRONT_RECORD));
	while (reap(&p.o))
		;
	assert_int_equal(iog_outlet_busy(&p.o), 0);
	assert_int_equal(iog_outlet_forged(&p.o), 0);
	for (int k = 2; k < IOG_OUTLET_EDGES; k++)
		assert_int_equal(iog_outlet_join(&p.o, &second), k);
	assert_int_equal(iog_outlet_join(&p.o, &second), -28); /* ENOSPC */
	edge_free(&third);
	edge_free(&second);
	pipe_free(&p);
}

static void successor_gets_what_is_unreleased(void **state)
{
	(void)state;
	struct pipe p;
	struct iog_edge next;
	struct iog_inlet in2;
	pipe_new(&p, 4, IOG_BLOCK, 5, 0);
	for (uint64_t i = 1; i <= 4; i++)
		push(&p.o, 1, i);
	release(&p.in, take(&p.in, IOG_FRONT_RECORD));
	take(&p.in, IOG_FRONT_RECORD);
	reap(&p.o);
	push(&p.o, 1, 5);
	edge_new(&next, 4, IOG_BLOCK);
	iog_outlet_replace(&p.o, 0, &next);
	iog_outlet_publish(&p.o);
	iog_inlet_init(&in2, &next, 5, SLOT_BYTES);
	uint32_t epoch;
	uint64_t passed;
	iog_inlet_passed(&in2, &epoch, &passed);
	assert_int_equal(epoch, 1);
	assert_int_equal(passed, 6);
	for (uint64_t i = 2; i <= 5; i++)
		release(&in2, take(&in2, IOG_FRONT_RECORD));
	assert_int_equal(in2.next_seq, 6);
	assert_int_equal(iog_inlet_peek(&in2), IOG_FRONT_NONE);
	assert_int_equal(reap(&p.o), 4);
	assert_int_equal(iog_outlet_busy(&p.o), 0);
	edge_free(&next);
	pipe_free(&p);
}

/* One that does not answer makes nobody wait and keeps what it has; a successor gets that, and is waited for again. */
static void spared_until_it_comes_again(void **state)
{
	(void)state;
	struct pipe p;
	struct iog_edge next;
	struct iog_inlet in2;
	pipe_new(&p, 2, IOG_BLOCK, 6, 0);
	push(&p.o, 1, 1);
	push(&p.o, 1, 2);
	assert_false(iog_outlet_ready(&p.o));
	iog_outlet_spare(&p.o, 0, true);
	for (uint64_t i = 3; i < 20; i++) {
		assert_true(iog_outlet_ready(&p.o));
		push(&p.o, 1, i);
	}
	assert_int_equal(p.o.edge[0].dropped, 17);
	edge_new(&next, 2, IOG_BLOCK);
	iog_outlet_replace(&p.o, 0, &next);
	iog_outlet_publish(&p.o);
	assert_false(iog_outlet_ready(&p.o));
	iog_inlet_init(&in2, &next, 6, SLOT_BYTES);
	for (uint64_t i = 1; i <= 2; i++) {
		assert_int_equal(iog_inlet_peek(&in2), IOG_FRONT_RECORD);
		assert_int_equal(in2.front.seq, i);
		release(&in2, take(&in2, IOG_FRONT_RECORD));
	}
	reap(&p.o);
	assert_true(iog_outlet_ready(&p.o));
	iog_outlet_spare(&p.o, 0, true);
	iog_outlet_spare(&p.o, 0, false); /* it has room again */
	push(&p.o, 1, 20);
	push(&p.o, 1, 21);
	assert_false(iog_outlet_ready(&p.o));
	edge_free(&next);
	pipe_free(&p);
}

static void seen_before_is_a_duplicate(void **state)
{
	(void)state;
	struct pipe p;
	pipe_new(&p, 8, IOG_BLOCK, 9, 0);
	p.in.epoch = 2, p.in.next_seq = 11, p.in.taken = 1;
	push(&p.o, 1, 500);
	push(&p.o, 2, 10);
	push(&p.o, 2, 11);
	push(&p.o, 3, 0);
	take(&p.in, IOG_FRONT_DUPLICATE);
	take(&p.in, IOG_FRONT_DUPLICATE);
	take(&p.in, IOG_FRONT_RECORD);
	take(&p.in, IOG_FRONT_RECORD);
	assert_int_equal(p.in.duplicates, 2);
	pipe_free(&p);
}

static void static_areas_take_turns(void **state)
{
	(void)state;
	struct pipe p;
	struct iog_schema s;
	struct iog_err err = { "" };
	pipe_new(&p, 8, IOG_BLOCK, 9, 2 * 4096);
	assert_int_equal(iog_schema_parse(&s, "static type: i32[atom<=100]; x: f32[atom]", &err), 0);
	int32_t type[3] = { 1, 2, 3 };
	struct iog_block b = { .data = (uint8_t *)type, .count = { 3 }, .stride = { 4 } };
	for (uint32_t epoch = 1; epoch <= 2; epoch++) {
		struct iog_record r = { .schema = &s, .id = { .seq = 1, .epoch = epoch } };
		r.axis[0].extent = 3;
		int v = iog_schema_var(&s, "type");
		r.var[v] = (struct iog_var){ .block = &b, .n_blocks = 1 };
		type[0] = (int32_t)epoch * 100;
		assert_int_equal(iog_outlet_static(&p.o, &r), 0);
		const uint8_t *at = r.var[v].block->data;
		assert_true(at >= p.a.base && at < p.a.base + p.a.static_bytes);
		type[0] = -1; /* the copy does not follow */
		assert_int_equal(((const int32_t *)(const void *)at)[0], (int32_t)epoch * 100);
		iog_outlet_push(&p.o, iog_outlet_take(&p.o), &r, 200);
		iog_outlet_publish(&p.o);
	}
	struct iog_record r = { .schema = &s, .id = { .seq = 1, .epoch = 3 } };
	r.var[iog_schema_var(&s, "type")] = (struct iog_var){ .block = &b, .n_blocks = 1 };
	assert_int_equal(iog_outlet_static(&p.o, &r), -11); /* epoch 1's records still point there */
	release(&p.in, take(&p.in, IOG_FRONT_RECORD));
	assert_int_equal(reap(&p.o), 1);
	assert_int_equal(iog_outlet_static(&p.o, &r), 0);
	pipe_free(&p);
}

/* ---- two threads ---- */

enum { MANY = 300000 };
struct check {
	struct pipe *p;
	uint64_t seen, last;
	bool wrong;
};

static void *consumer(void *arg)
{
	struct check *c = arg;
	struct iog_inlet *in = &c->p->in;
	for (;;) {
		enum iog_edge_state st = iog_inlet_state(in);
		uint32_t epoch;
		uint64_t passed;
		iog_inlet_passed(in, &epoch, &passed);
		if (iog_inlet_peek(in) == IOG_FRONT_NONE) {
			/* Everything below passed must have been seen by now or never come. */
			if (st == IOG_EDGE_CLOSED && !iog_inlet_full(in))
				return NULL;
			continue;
		}
		struct iog_desc d = in->front;
		const uint8_t *slot = iog_arena_slot(&c->p->a, d.slot);
		uint64_t payload;
		memcpy(&payload, slot, sizeof payload);
		iog_inlet_take(in);
		c->wrong |= d.seq <= c->last || payload != d.seq * 3 || in->forged || in->duplicates;
		c->last = d.seq;
		c->seen++;
		release(in, d);
	}
}

static void under_threads(enum iog_policy policy)
{
	struct pipe p;
	pipe_new(&p, policy == IOG_LATEST ? IOG_LATEST_ENTRIES : 16, policy, 17, 0);
	struct check c = { .p = &p };
	pthread_t t;
	assert_int_equal(pthread_create(&t, NULL, consumer, &c), 0);
	for (uint64_t i = 1; i <= MANY;) {
		reap(&p.o);
		if (!iog_outlet_ready(&p.o))
			continue;
		uint32_t s = iog_outlet_take(&p.o);
		uint64_t payload = i * 3;
		memcpy(iog_arena_slot(&p.a, s), &payload, sizeof payload);
		struct iog_record r = { .id = { .seq = i, .epoch = 1 } };
		iog_outlet_push(&p.o, s, &r, 200);
		iog_outlet_publish(&p.o);
		i++;
	}
	iog_outlet_close(&p.o, IOG_EDGE_CLOSED);
	pthread_join(t, NULL);
	assert_false(c.wrong);
	assert_int_equal(c.last, MANY); /* the newest always arrives */
	if (policy == IOG_BLOCK)
		assert_int_equal(c.seen, MANY);
	while (reap(&p.o))
		;
	assert_int_equal(iog_outlet_busy(&p.o), 0);
	assert_int_equal(p.o.edge[0].forged, 0);
	assert_int_equal(c.seen + p.o.edge[0].dropped, MANY);
	pipe_free(&p);
}
static void threads_block(void **state)
{
	(void)state;
	under_threads(IOG_BLOCK);
}
static void threads_latest(void **state)
{
	(void)state;
	under_threads(IOG_LATEST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(credit_and_order),
		cmocka_unit_test(forged_releases_are_counted),
		cmocka_unit_test(forged_descriptors_are_refused),
		cmocka_unit_test(elision_is_passed_on),
		cmocka_unit_test(mailbox_keeps_the_newest),
		cmocka_unit_test(mailbox_of_a_liar),
		cmocka_unit_test(drop_new_drops_there_only),
		cmocka_unit_test(stopped_lossy_edges_leave_a_reserve),
		cmocka_unit_test(joins_while_records_flow),
		cmocka_unit_test(successor_gets_what_is_unreleased),
		cmocka_unit_test(spared_until_it_comes_again),
		cmocka_unit_test(seen_before_is_a_duplicate),
		cmocka_unit_test(static_areas_take_turns),
		cmocka_unit_test(threads_block),
		cmocka_unit_test(threads_latest),
	};
	return cmocka_run_group_tests_name("edge", tests, NULL, NULL);
}
