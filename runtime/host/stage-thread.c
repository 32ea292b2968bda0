/* SPDX-License-Identifier: BSD-3-Clause */
/* A stage on a thread of this process: target `host`. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cores.h"
#include "engine-parts.h"
#include "wait.h"

struct thread {
	struct iog_worker *w;
	void *memory;
	void *lib[IOG_STAGE_NODES];
	_Atomic bool ended;
	uint64_t cpu_ns; /* once it has ended */
};

int iog_libs_open(const struct iog_stage *st, void **lib, struct iog_err *err)
{
	for (uint32_t j = 0; j < st->n_nodes; j++) {
		const struct iog_op *op = NULL;
		for (const struct iog_op *const *o = iog_ops; *o && !op; o++)
			if (iog_streq((*o)->name, st->node[j].op))
				op = *o;
		lib[j] = NULL;
		if (op && op->open && op->open((const uint8_t *)st + st->node[j].conf, &lib[j], err)) {
			iog_libs_close(st, lib);
			return -EIO;
		}
	}
	return 0;
}

void iog_libs_close(const struct iog_stage *st, void **lib)
{
	for (uint32_t j = 0; j < st->n_nodes; j++)
		for (const struct iog_op *const *o = iog_ops; *o; o++)
			if (lib[j] && (*o)->close && iog_streq((*o)->name, st->node[j].op)) {
				(*o)->close(lib[j]);
				lib[j] = NULL;
			}
}

static void cmd_in(void *ctx, uint32_t port, const struct iog_worker_in *in) { iog_worker_replace_in(ctx, port, in); }
static void cmd_out(void *ctx, uint32_t port, uint32_t edge, const struct iog_edge *e) { iog_worker_replace_out(ctx, port, edge, e); }

static bool control(void *ctx)
{
	struct iog_rt *rt = ctx;
	struct thread *t = rt->launched;
	return iog_commands_run(rt, t->w, cmd_in, cmd_out);
}

static void *body(void *arg)
{
	struct iog_rt *rt = arg;
	struct thread *t = rt->launched;
	if (rt->core >= 0)
		iog_cores_bind(rt->core);
	iog_worker_run(t->w);
	t->cpu_ns = iog_cpu_ns();
	atomic_store(&t->ended, true);
	return NULL;
}

static int start(struct iog_rt *rt, struct iog_err *err)
{
	struct thread *t = calloc(1, sizeof *t);
	uint64_t bytes = iog_worker_memory(&rt->args);
	if (!t || !bytes || !(t->memory = aligned_alloc(IOG_ALIGN, IOG_ROUND_UP(bytes, IOG_ALIGN)))) {
		free(t);
		return iog_fail(err, -ENOMEM, "out of memory for the worker");
	}
	memset(t->memory, 0, bytes);
	if (iog_libs_open(rt->args.stage, t->lib, err)) {
		free(t->memory);
		free(t);
		return -EIO;
	}
	rt->launched = t;
	memcpy(rt->args.lib, t->lib, sizeof t->lib);
	rt->args.env.ctx = rt;
	rt->args.env.control = control;
	t->w = iog_worker_init(&rt->args, t->memory, err);
	int rc = t->w ? pthread_create(&rt->thread, NULL, body, rt) : EINVAL;
	if (rc) {
		iog_libs_close(rt->args.stage, t->lib);
		free(t->memory);
		free(t);
		rt->launched = NULL;
		return err->text[0] ? -rc : iog_fail(err, -rc, "no thread: %s", strerror(rc));
	}
	rt->threaded = true;
	iog_thread_name(rt->thread, rt->u);
	return 0;
}

static int watch(struct iog_rt *rt)
{
	struct thread *t = rt->launched;
	if (!atomic_load(&t->ended))
		return 0;
	const struct iog_status *s = rt->status.map;
	return atomic_load(&s->state) == IOG_W_FAILED ? -EIO : 1;
}

static void kill_thread(struct iog_rt *rt) { atomic_store(&rt->cmd.stop, true); }

static uint64_t cpu(const struct iog_rt *rt)
{
	const struct thread *t = rt->launched;
	clockid_t clock;
	struct timespec now;
	if (atomic_load(&t->ended))
		return t->cpu_ns;
	if (pthread_getcpuclockid(rt->thread, &clock) || clock_gettime(clock, &now))
		return 0;
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Its thread was joined by the engine. */
static void finish(struct iog_rt *rt)
{
	struct thread *t = rt->launched;
	atomic_fetch_add(&rt->cpu_ns, t->cpu_ns);
	iog_libs_close(rt->args.stage, t->lib);
	free(t->memory);
	free(t);
	rt->launched = NULL;
}

const struct iog_launcher iog_launch_thread = {
	.name = "host", .start = start, .watch = watch, .cpu = cpu, .kill = kill_thread, .finish = finish
};
