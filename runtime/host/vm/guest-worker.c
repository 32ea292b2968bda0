/* SPDX-License-Identifier: BSD-3-Clause */
/* The worker loop in the guest: the same loop as everywhere, with hypercalls for sleeping and waking. None is made while there is work. */
#include "guest-worker.h"

#include "guest.h"

static void park(void *ctx, const struct iog_waitword *w, uint32_t n, uint64_t limit_ns)
{
	struct iog_guest_arg *g = ctx;
	g->n_words = IOG_MIN(n, (uint32_t)IOG_GUEST_WORDS);
	g->limit_ns = limit_ns;
	for (uint32_t i = 0; i < g->n_words; i++) {
		g->word[i].gpa = (uint64_t)(uintptr_t)w[i].word;
		g->word[i].seen = w[i].seen;
	}
	guest_park();
}

static void wake(void *ctx, const _Atomic uint32_t *word)
{
	(void)ctx, (void)word; /* the host looks who sleeps */
	guest_wake();
}

static uint64_t now(void *ctx)
{
	(void)ctx;
	return guest_now_ns();
}

static bool control(void *ctx) { return !atomic_load_explicit(&((struct iog_guest_arg *)ctx)->stop, memory_order_relaxed); }

void iog_guest_main(uint64_t arg_gpa)
{
	struct iog_guest_arg *g = (struct iog_guest_arg *)(uintptr_t)arg_gpa;
	struct iog_env *e = &g->args.env;
	*e = (struct iog_env){
		.ctx = g, .wait = park, .wake = wake, .now_ns = now, .control = control, .spin_ns = e->spin_ns, .sleep_ns = e->sleep_ns
	};
	struct iog_worker *w = iog_worker_init(&g->args, g->memory, &g->err);
	if (!w)
		guest_done(1);
	enum iog_worker_state s = iog_worker_run(w);
	guest_done(s == IOG_W_DRAINED || s == IOG_W_STOPPED ? 0 : 2);
}
