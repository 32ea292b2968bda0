/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * edge.hop1, edge.hop32: records through one edge, outlet to inlet and their release back, between two pinned threads, against
 * bench/base-rings.c with the same batch and credit. Only the edge: no record is encoded. The rings look at their credit for every batch; the
 * edge reads releases when half of its credit is out, as a worker does once per turn. The consumer is a thread that lives as long as
 * the figure and spins between measurements.
 */
#include "bench/bench.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/base.h"
#include "core/edge.h"

enum { CREDIT = BASE_RING, SLOT = 4096, LENGTH = 512, ROUNDS = 100 };

struct hop {
	uint32_t batch;
	uint64_t n;
	struct base_rings *rings;
	_Alignas(128) struct iog_outlet o; /* each side on lines of its own */
	_Alignas(128) struct iog_inlet in;
	_Alignas(128) struct iog_record rec;
	_Alignas(128) uint64_t rounds, good;
	bool bad;
	cpu_set_t cores;
	/* for the consumer: which side to receive, raised for each measurement */
	_Alignas(128) _Atomic uint32_t ask;
	_Atomic uint32_t edge, quit;
};

static void edge_send(struct hop *h)
{
	struct iog_outlet *o = &h->o;
	uint32_t freed[CREDIT];
	for (uint64_t left = h->n; left;) {
		uint32_t k = 0;
		if (iog_outlet_busy(o) > CREDIT / 2) /* as a worker does: not for every record */
			iog_outlet_reap(o, freed, CREDIT);
		for (; k < h->batch && k < left && iog_outlet_ready(o); k++) {
			h->rec.id.seq++;
			iog_outlet_push(o, iog_outlet_take(o), &h->rec, LENGTH);
		}
		if (k)
			iog_outlet_publish(o);
		else
			__builtin_ia32_pause();
		left -= k;
	}
	while (iog_outlet_busy(o)) {
		__builtin_ia32_pause();
		iog_outlet_reap(o, freed, CREDIT);
	}
}

static void edge_receive(struct hop *h)
{
	struct iog_inlet *in = &h->in;
	for (uint64_t left = h->n; left;) {
		uint32_t k = 0;
		for (; k < h->batch && iog_inlet_peek(in) == IOG_FRONT_RECORD; k++) {
			uint32_t slot = in->front.slot, gen = in->front.gen;
			iog_inlet_take(in);
			iog_inlet_release(in, slot, gen);
		}
		if (k)
			iog_inlet_publish(in);
		else if (in->kind != IOG_FRONT_NONE)
			h->bad = true, iog_inlet_take(in);
		else
			__builtin_ia32_pause();
		left -= k;
	}
}

static void *consumer(void *arg)
{
	struct hop *h = arg;
	bench_pin(&h->cores, 1);
	for (uint32_t seen = 0; !atomic_load_explicit(&h->quit, memory_order_relaxed);) {
		uint32_t ask = atomic_load_explicit(&h->ask, memory_order_acquire);
		if (ask == seen) {
			__builtin_ia32_pause();
			continue;
		}
		seen = ask;
		if (atomic_load_explicit(&h->edge, memory_order_relaxed))
			edge_receive(h);
		else
			base_rings_receive(h->rings, h->n, h->batch);
	}
	return NULL;
}

static double round_trip(struct hop *h, bool edge)
{
	atomic_store_explicit(&h->edge, edge, memory_order_relaxed);
	atomic_fetch_add_explicit(&h->ask, 1, memory_order_release);
	double t = bench_wall();
	if (edge)
		edge_send(h);
	else
		base_rings_send(h->rings, h->n, h->batch);
	return (bench_wall() - t) / (double)h->n;
}

static double measure(struct hop *h, bool edge)
{
	double t[ROUNDS], end = bench_wall() + 0.4;
	uint32_t n = 0, good;
	while (n < ROUNDS && bench_wall() < end)
		t[n++] = round_trip(h, edge);
	const double median = bench_undisturbed(t, n, &good);
	h->rounds += n, h->good += good;
	return h->bad ? -1 : median;
}
static double ours(void *ctx) { return measure(ctx, true); }
static double base(void *ctx) { return measure(ctx, false); }

static void hop(struct bench_figure *f, uint32_t batch)
{
	cpu_set_t all;
	if (!sched_getaffinity(0, sizeof all, &all) && CPU_COUNT(&all) < 2) {
		bench_skip(f, "it needs two cores, and there is one");
		return;
	}
	struct hop *h = bench_alloc(sizeof *h);
	struct iog_edge e = { .down = bench_alloc(iog_down_bytes(CREDIT)), .up = bench_alloc(iog_up_bytes(CREDIT)), .capacity = CREDIT };
	struct iog_arena a = { .base = bench_alloc((CREDIT + 1) * SLOT), .slot_bytes = SLOT, .n_slots = CREDIT + 1, .id = 1 };
	h->batch = batch;
	h->n = batch == 1 ? 2000 : 10000;
	h->rings = bench_alloc(base_rings_size());
	h->rec.id = (struct iog_id){ .stream = 1, .seq = 1, .epoch = 1 };
	iog_outlet_init(&h->o, &a, bench_alloc(iog_outlet_memory(a.n_slots)));
	iog_outlet_add(&h->o, &e);
	iog_inlet_init(&h->in, &e, a.n_slots, a.slot_bytes);
	pthread_t thread;
	h->cores = all;
	bench_pin(&all, 0);
	if (pthread_create(&thread, NULL, consumer, h)) {
		bench_skip(f, "no thread for the consumer");
		return;
	}
	bench_pairs(f, ours, base, h);
	atomic_store(&h->quit, 1);
	pthread_join(thread, NULL);
	if (f->ok == BENCH_NULL)
		return;
	f->value = f->ours * 1e9;
	snprintf(f->unit, sizeof f->unit, "ns/record");
	bench_note(f, "%.1f M records/s, the rings %.1f M; %.0f %% of the rounds were not interrupted", 1e-6 / f->ours, 1e-6 / f->base,
		100.0 * (double)h->good / (double)h->rounds);
}

void bench_edge_hop1(struct bench_figure *f) { hop(f, 1); }
void bench_edge_hop32(struct bench_figure *f) { hop(f, 32); }
