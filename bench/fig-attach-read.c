/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From one process to another. attach.latency.*: from iog_commit to where iog_next returns, the reader spins; against half the round trip of a word
 * through bare rings. attach.latency.touch.*: how long the reader reads what has just been written; against the same in the bare ring.
 * attach.rate.*: one copy in, none out, the reader adds all words up; against the bare ring with as many slots. Wall time.
 */
#include <stdio.h>
#include <string.h>

#include "bench/bench-attach.h"

enum { RING_ECHO = BENCH_OWN, RING_TAKE, RING_SUM };
enum { STEPS = 1000, TRIPS = 50, ROUNDS = 40, TOUCHES = 20, TURNS = 9 };
static const double GAP_S = 1e-6;

/* ---- the reader ---- */

static void ring_echo(struct bench_attach *a)
{
	uint64_t word;
	memcpy(&word, base_shm_next(a->ring), sizeof word);
	memcpy(base_shm_begin(a->back), &word, sizeof word);
	base_shm_commit(a->back);
	base_shm_release(a->ring);
}

static bool serve(struct bench_attach *a, uint32_t what, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		if (what == RING_ECHO) {
			ring_echo(a);
			continue;
		}
		const uint8_t *data = base_shm_next(a->ring);
		bench_attach_seen(a, i, what == RING_SUM ? data : NULL);
		base_shm_release(a->ring);
		bench_attach_mark(a, i);
	}
	return true;
}

/* ---- the writer ---- */

struct pair {
	struct bench_attach *a;
	uint32_t n;     /* steps of a round */
	double one_way; /* of the bare ring, measured as ours is */
	struct bench_rounds rounds;
	struct bench_turns turns;
};

static double latency(void *ctx)
{
	struct bench_attach *a = ((struct pair *)ctx)->a;
	bench_attach_ask(a, BENCH_TAKE, STEPS);
	for (uint32_t i = 0; i < STEPS; i++) {
		bench_attach_pause(GAP_S);
		if (!bench_attach_begin(a))
			return -1;
		a->sh->sent[i] = bench_ticks();
		if (!bench_attach_commit(a) || !bench_attach_taken(a, i + 1))
			return -1;
	}
	return bench_attach_done(a) ? bench_attach_one_way(a, STEPS) : -1;
}

static bool ring_one_way(struct pair *p)
{
	struct bench_attach *a = p->a;
	bench_attach_ask(a, RING_TAKE, STEPS);
	for (uint32_t i = 0; i < STEPS; i++) {
		bench_attach_pause(GAP_S);
		memcpy(base_shm_begin(a->ring), &i, sizeof i);
		a->sh->sent[i] = bench_ticks();
		base_shm_commit(a->ring);
		if (!bench_attach_taken(a, i + 1))
			return false;
	}
	if (!bench_attach_done(a))
		return false;
	p->one_way = bench_attach_one_way(a, STEPS);
	return true;
}

static double half_trip(void *ctx)
{
	struct pair *p = ctx;
	struct bench_attach *a = p->a;
	double t[ROUNDS];
	uint32_t good;
	bench_attach_ask(a, RING_ECHO, ROUNDS * TRIPS);
	for (uint32_t i = 0; i < ROUNDS; i++) {
		const double from = bench_ticks();
		for (uint64_t k = 0; k < TRIPS; k++) {
			memcpy(base_shm_begin(a->ring), &k, sizeof k);
			base_shm_commit(a->ring);
			base_shm_next(a->back);
			base_shm_release(a->back);
		}
		t[i] = (bench_ticks() - from) / TRIPS;
	}
	if (!bench_attach_done(a) || !ring_one_way(p))
		return -1;
	return bench_undisturbed(t, ROUNDS, &good) * bench_tick() / 2;
}

static bool touch(struct bench_attach *a, const struct bench_lane *lane, double *t)
{
	bench_attach_ask(a, lane->what, TOUCHES);
	for (uint32_t i = 0; i < TOUCHES; i++) {
		bench_attach_pause(GAP_S);
		if (!lane->send(a) || !bench_attach_taken(a, i + 1))
			return false;
	}
	if (!bench_attach_read(a, TOUCHES))
		return false;
	*t = bench_attach_middle(a, TOUCHES);
	return true;
}

static const struct bench_lane lane[2] = { { BENCH_SUM, bench_attach_put }, { RING_SUM, bench_attach_ring_put } };

static bool touches(void *ctx, double t[2])
{
	struct pair *p = ctx;
	double all[2][TURNS];
	for (uint32_t i = 0; i < TURNS; i++)
		for (unsigned side = 0; side < 2; side++)
			if (!touch(p->a, &lane[side], &all[side][i]))
				return false;
	for (unsigned side = 0; side < 2; side++) {
		bench_sort(all[side], TURNS);
		t[side] = bench_quantile(all[side], TURNS, 0.5);
	}
	return true;
}
static bool rates(void *ctx, double t[2])
{
	struct pair *p = ctx;
	return bench_attach_rates(p->a, lane, p->n, &p->rounds, t);
}

static double turn_ours(void *ctx) { return bench_turn(&((struct pair *)ctx)->turns, 0); }
static double turn_ring(void *ctx) { return bench_turn(&((struct pair *)ctx)->turns, 1); }

/* ---- figures ---- */

static bool measure(struct bench_figure *f, struct pair *p, uint64_t bytes, bench_side *mine, bench_side *other)
{
	p->a = bench_attach_new(f, bytes, serve);
	const bool ok = bench_attach_start(p->a);
	if (ok)
		bench_pairs(f, mine, other, p);
	bench_attach_end(p->a);
	return ok && f->ok != BENCH_NULL;
}

static void latency_of(struct bench_figure *f, uint64_t bytes)
{
	struct pair p = { 0 };
	if (!measure(f, &p, bytes, latency, half_trip))
		return;
	f->value = f->ours * 1e9;
	snprintf(f->unit, sizeof f->unit, "ns");
	bench_note(f, "half a round trip takes %.0f ns; one way through the bare ring, measured as ours is, %.0f ns", f->base * 1e9,
		p.one_way * 1e9);
}
void bench_attach_latency_64k(struct bench_figure *f) { latency_of(f, 64 << 10); }
void bench_attach_latency_1m(struct bench_figure *f) { latency_of(f, 1 << 20); }
void bench_attach_latency_16m(struct bench_figure *f) { latency_of(f, 16 << 20); }

static void touch_of(struct bench_figure *f, uint64_t bytes)
{
	struct pair p = { .turns = { .measure = touches, .ctx = &p } };
	if (!measure(f, &p, bytes, turn_ours, turn_ring))
		return;
	f->value = f->ours * 1e6;
	snprintf(f->unit, sizeof f->unit, "us/step");
	bench_note(f, "%.1f GB/s, the bare ring %.1f", 1e-9 * (double)bytes / f->ours, 1e-9 * (double)bytes / f->base);
}
void bench_attach_touch_64k(struct bench_figure *f) { touch_of(f, 64 << 10); }
void bench_attach_touch_1m(struct bench_figure *f) { touch_of(f, 1 << 20); }

static void rate_of(struct bench_figure *f, uint64_t bytes, uint32_t n)
{
	struct pair p = { .n = n, .turns = { .measure = rates, .ctx = &p } };
	if (!measure(f, &p, bytes, turn_ours, turn_ring))
		return;
	f->value = 1 / f->ours;
	snprintf(f->unit, sizeof f->unit, "steps/s");
	bench_note(f, "%.1f GB/s, the bare ring %.1f; %u slots; %.0f %% of the rounds were not interrupted", 1e-9 * (double)bytes / f->ours,
		1e-9 * (double)bytes / f->base, p.a->slots, 100.0 * (double)p.rounds.good / (double)p.rounds.all);
}
void bench_attach_rate_64k(struct bench_figure *f) { rate_of(f, 64 << 10, 256); }
void bench_attach_rate_1m(struct bench_figure *f) { rate_of(f, 1 << 20, 64); }
void bench_attach_rate_16m(struct bench_figure *f) { rate_of(f, 16 << 20, 16); }
