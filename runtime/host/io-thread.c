/* SPDX-License-Identifier: BSD-3-Clause */
/* What all threads of units have: their CPU time, their phase, the commands they take; see io-private.h and engine-parts.h. */
#include <time.h>

#include "io-private.h"

uint64_t iog_cpu_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void iog_io_phase(struct iog_rt *rt, enum iog_phase p)
{
	atomic_store_explicit(&rt->cpu_ns, iog_cpu_ns() + rt->helper_cpu_ns, memory_order_relaxed);
	atomic_store_explicit(&rt->phase, p, memory_order_release);
}

bool iog_commands_run(struct iog_rt *rt, void *ctx, void (*in)(void *, uint32_t, const struct iog_worker_in *),
	void (*out)(void *, uint32_t, uint32_t, const struct iog_edge *))
{
	struct iog_commands *c = &rt->cmd;
	uint32_t posted = atomic_load_explicit(&c->posted, memory_order_acquire),
		 taken = atomic_load_explicit(&c->taken, memory_order_relaxed);
	for (; taken != posted; taken++) {
		const struct iog_command *x = &c->queue[taken % IOG_COMMANDS];
		if (x->kind == IOG_CMD_REPLACE_IN)
			in(ctx, x->port, &x->in);
		else
			out(ctx, x->port, x->edge, &x->e);
		atomic_store_explicit(&c->taken, taken + 1, memory_order_release);
	}
	return !atomic_load_explicit(&c->stop, memory_order_relaxed);
}
