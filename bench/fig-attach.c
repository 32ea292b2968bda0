/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a step costs the program that publishes it, by wall time, step by step, medians: attach.blocked.* (begin, fill and commit; the reader spins),
 * attach.blocked.parked (the reader sleeps; against waking a process that sleeps on a word), attach.put.* (begin, put and commit; against
 * memcpy of the same bytes to a fixed place).
 */
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench/bench-attach.h"

enum { SLEEP = BENCH_OWN, SLEEPS };
enum { FAST = 1000, LARGE = 1 << 23, SLOW = 30, PARKED = 100 };
static const double GAP_S = 1e-6, PARK_S = 150e-6, BLOCKED_S = 1e-6, PUT_S = 1e-6, PUT_COPIES = 1.15;

/* ---- the reader ---- */

static uint64_t sleeps(void)
{
	struct rusage u;
	getrusage(RUSAGE_THREAD, &u);
	return (uint64_t)u.ru_nvcsw;
}

/* Sleeps on the word of the writer n times. */
static void sleep_on_word(struct bench_shared *sh, uint32_t n)
{
	const struct timespec limit = { .tv_sec = 1 };
	static uint32_t seen; /* of all pieces of work: the first change may come before this is here */
	for (uint32_t i = 0; i < n; i++) {
		while (atomic_load(&sh->word) == seen)
			syscall(SYS_futex, &sh->word, FUTEX_WAIT, seen, &limit, NULL, 0);
		seen++;
		atomic_store_explicit(&sh->taken, i + 1, memory_order_release);
	}
}

static bool serve(struct bench_attach *a, uint32_t what, uint32_t n)
{
	if (what == SLEEP)
		sleep_on_word(a->sh, n);
	else
		a->sh->slept = sleeps();
	return true;
}

/* ---- the writer ---- */

struct blocked {
	struct bench_attach *a;
	uint32_t n;
	double gap; /* from a step that was taken to the next one */
	uint64_t slept, steps;
	struct bench_turns turns;
};

/* How often the reader has slept. */
static uint64_t slept(struct bench_attach *a)
{
	bench_attach_ask(a, SLEEPS, 0);
	return bench_attach_done(a) ? a->sh->slept : 0;
}

static double steps(void *ctx)
{
	struct blocked *b = ctx;
	struct bench_attach *a = b->a;
	double t[BENCH_ATTACH_STEPS];
	const uint64_t before = slept(a);
	bench_attach_ask(a, BENCH_TAKE, b->n);
	for (uint32_t i = 0; i < b->n; i++) {
		bench_attach_pause(b->gap);
		const double from = bench_ticks();
		if (!bench_attach_begin(a) || !bench_attach_commit(a))
			return -1;
		t[i] = bench_ticks() - from;
		if (!bench_attach_taken(a, i + 1))
			return -1;
	}
	if (!bench_attach_done(a))
		return -1;
	b->slept += slept(a) - before, b->steps += b->n;
	bench_sort(t, b->n);
	return bench_quantile(t, b->n, 0.5) * bench_tick();
}

static double allowance(void *ctx)
{
	(void)ctx;
	return BLOCKED_S;
}

static double wakes(void *ctx)
{
	struct blocked *b = ctx;
	struct bench_attach *a = b->a;
	double t[BENCH_ATTACH_STEPS];
	uint32_t n = 0;
	bench_attach_ask(a, SLEEP, b->n);
	for (uint32_t i = 0; i < b->n; i++) {
		bench_attach_pause(b->gap);
		const double from = bench_ticks();
		atomic_fetch_add(&a->sh->word, 1);
		const long woken = syscall(SYS_futex, &a->sh->word, FUTEX_WAKE, 1, NULL, NULL, 0);
		t[n] = bench_ticks() - from;
		n += woken == 1;
		if (!bench_attach_taken(a, i + 1))
			return -1;
	}
	if (!bench_attach_done(a) || !n)
		return -1;
	bench_sort(t, n);
	return bench_quantile(t, n, 0.5) * bench_tick();
}

static bool puts_and_copies(void *ctx, double t[2])
{
	struct blocked *b = ctx;
	struct bench_attach *a = b->a;
	double all[2][BENCH_ATTACH_STEPS];
	uint8_t *to = base_shm_begin(a->ring);
	bench_attach_ask(a, BENCH_TAKE, b->n);
	for (uint32_t i = 0; i < b->n; i++) {
		bench_attach_pause(GAP_S);
		double from = bench_ticks();
		if (!bench_attach_put(a))
			return false;
		all[0][i] = bench_ticks() - from;
		if (!bench_attach_taken(a, i + 1))
			return false;
		bench_attach_pause(GAP_S);
		from = bench_ticks();
		memcpy(to, a->data, a->bytes);
		__asm__ volatile("" ::"r"(to) : "memory");
		all[1][i] = bench_ticks() - from;
	}
	for (unsigned side = 0; side < 2; side++) {
		bench_sort(all[side], b->n);
		t[side] = bench_quantile(all[side], b->n, 0.5) * bench_tick();
	}
	t[1] = PUT_COPIES * t[1] + PUT_S;
	return bench_attach_done(a);
}
static double puts_in(void *ctx) { return bench_turn(&((struct blocked *)ctx)->turns, 0); }
static double copies(void *ctx) { return bench_turn(&((struct blocked *)ctx)->turns, 1); }

/* ---- figures ---- */

static void figure(struct bench_figure *f, struct blocked *b, uint64_t bytes, bench_side *ours, bench_side *base)
{
	b->a = bench_attach_new(f, bytes, serve);
	if (bench_attach_start(b->a)) {
		bench_pairs(f, ours, base, b);
		f->value = f->ours * 1e6;
		snprintf(f->unit, sizeof f->unit, "us/step");
	}
	bench_attach_end(b->a);
}

static void blocked(struct bench_figure *f, uint64_t bytes)
{
	struct blocked b = { .n = FAST, .gap = GAP_S };
	figure(f, &b, bytes, steps, allowance);
	if (f->ok == BENCH_NULL)
		return;
	/* What the machine is like. */
	double t[FAST];
	for (uint32_t i = 0; i < FAST; i++) {
		const double from = bench_ticks();
		syscall(SYS_getpid);
		t[i] = bench_ticks() - from;
	}
	bench_sort(t, FAST);
	bench_note(f, "getpid takes %.2f us right after", bench_quantile(t, FAST, 0.5) * bench_tick() * 1e6);
}
void bench_attach_blocked_64k(struct bench_figure *f) { blocked(f, 64 << 10); }
void bench_attach_blocked_1m(struct bench_figure *f) { blocked(f, 1 << 20); }
void bench_attach_blocked_16m(struct bench_figure *f) { blocked(f, 16 << 20); }

void bench_attach_parked(struct bench_figure *f)
{
	struct blocked b = { .n = PARKED, .gap = PARK_S };
	figure(f, &b, 64 << 10, steps, wakes);
	if (f->ok != BENCH_NULL)
		bench_note(f, "waking alone takes %.2f us; steps of 64 KiB, %.0f us between them; the reader slept %.2f times a step",
			f->base * 1e6, PARK_S * 1e6, (double)b.slept / (double)b.steps);
}

static void put(struct bench_figure *f, uint64_t bytes)
{
	struct blocked b = { .n = bytes < LARGE ? FAST / 4 : SLOW, .turns = { .measure = puts_and_copies, .ctx = &b } };
	figure(f, &b, bytes, puts_in, copies);
	if (f->ok != BENCH_NULL)
		bench_note(f, "memcpy takes %.4g us", (f->base - PUT_S) / PUT_COPIES * 1e6);
}
void bench_attach_put_64k(struct bench_figure *f) { put(f, 64 << 10); }
void bench_attach_put_1m(struct bench_figure *f) { put(f, 1 << 20); }
void bench_attach_put_16m(struct bench_figure *f) { put(f, 16 << 20); }
