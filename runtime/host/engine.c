/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The engine: memory of a cut graph, start, supervision, end. One controlling thread calls all of it; units run on threads, in processes or
 * in VMs of their own and are reached through shared memory and posted commands.
 */
#include "engine.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cores.h"
#include "engine-parts.h"
#include "wait.h"

enum { STATE_PATH = 512, RESTARTS_DEFAULT = 5, STUCK_S = 10, OPEN_S = 300, JOIN_S = 60 };
static const uint64_t LIVELY_NS = 1000000000, HEALTHY_NS = 60000000000;

uint32_t iog_host_isa(void)
{
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
		__builtin_cpu_supports("avx512vl"))
		return IOG_ISA_AVX512;
	return __builtin_cpu_supports("avx2") ? IOG_ISA_AVX2 : IOG_ISA_BASE;
}

void iog_engine_fail(struct iog_engine *e, int rc, const char *who, const char *text)
{
	/* The first one to come wins; the message belongs to it, and is there when rc is. */
	if (atomic_exchange(&e->failed, true))
		return;
	iog_fail(&e->err, rc, "%s: %s", who, text);
	atomic_store_explicit(&e->rc, rc, memory_order_release);
}

static struct iog_gnode *node_at(const struct iog_engine *e, int i)
{
	struct iog_gnode *n;
	iog_graph_nodes(e->g, &n);
	return &n[i];
}

/* ---- memory ---- */

static bool elsewhere(const struct iog_rt *rt) { return rt->launch && rt->launch->writes_elsewhere; }

/* A region that `writer` writes, seen from here. */
static int region_for(struct iog_region_map *r, const struct iog_rt *writer, const char *name, uint64_t bytes, struct iog_err *err)
{
	return elsewhere(writer) ? iog_region_create_for(r, name, bytes, 0, err) : iog_region_create(r, name, bytes, 0, err);
}

static void edge_close(struct iog_edge_mem *m)
{
	if (m->box_map)
		munmap(m->box_map, m->box.bytes);
	iog_region_close(&m->down);
	iog_region_close(&m->up);
	iog_region_close(&m->box);
	*m = (struct iog_edge_mem){ .down = IOG_REGION_NONE, .up = IOG_REGION_NONE, .box = IOG_REGION_NONE };
}

static int edge_make(struct iog_engine *e, uint32_t k, struct iog_err *err)
{
	const struct iog_uedge *u = &e->cut->edge[k];
	struct iog_edge_mem *m = &e->edge[k];
	uint32_t out_index = m->out_index;
	*m = (struct iog_edge_mem){ .down = IOG_REGION_NONE, .up = IOG_REGION_NONE, .box = IOG_REGION_NONE, .out_index = out_index };
	int rc = region_for(&m->down, &e->rt[u->from], "iog-down", iog_down_bytes(u->capacity), err);
	if (!rc)
		rc = region_for(&m->up, &e->rt[u->to], "iog-up", iog_up_bytes(u->capacity), err);
	if (!rc && u->policy == IOG_LATEST) {
		/* The one page both sides write. */
		rc = iog_region_create_for(&m->box, "iog-mailbox", sizeof(struct iog_mailbox), 0, err);
		if (!rc) {
			m->box_map = mmap(NULL, m->box.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, m->box.fd, 0);
			if (m->box_map == MAP_FAILED) {
				m->box_map = NULL;
				rc = iog_fail(err, -errno, "mailbox: %s", strerror(errno));
			}
		}
	}
	if (rc) {
		edge_close(m);
		return rc;
	}
	m->e = (struct iog_edge){
		.down = m->down.map, .up = m->up.map, .box = m->box_map, .capacity = u->capacity, .policy = u->policy, .safe = u->safe
	};
	return 0;
}

static int arena_make(struct iog_engine *e, struct iog_rt *rt, uint32_t q, struct iog_err *err)
{
	static _Atomic uint32_t next_id = 1;
	struct iog_arena_mem *m = &rt->arena[q];
	m->a = (struct iog_arena){ .static_bytes = rt->u->static_bytes[q],
		.slot_bytes = rt->u->slot_bytes[q],
		.n_slots = rt->u->n_slots[q],
		.id = atomic_fetch_add(&next_id, 1) };
	int rc = region_for(&m->map, rt, "iog-arena", iog_arena_bytes(&m->a), err);
	(void)e;
	m->a.base = m->map.map;
	return rc;
}

void iog_engine_input(struct iog_engine *e, uint32_t k, struct iog_worker_in *in)
{
	const struct iog_uedge *u = &e->cut->edge[k];
	struct iog_rt *from = &e->rt[u->from];
	const struct iog_arena *a = &from->arena[u->from_port].a;
	*in = (struct iog_worker_in){ .edge = e->edge[k].e, .n_slots = a->n_slots, .slot_bytes = a->slot_bytes, .n_regions = 1 };
	in->region[0] = (struct iog_region){ .base = a->base, .size = iog_arena_bytes(a), .arena = a->id };
	/* Views: what the producer's outputs may refer to is mapped here too. */
	if (from->u->kind != IOG_G_OP || !from->u->views[u->from_port])
		return;
	for (uint32_t i = 0; i < e->cut->n_edges; i++) {
		if (e->cut->edge[i].to != u->from)
			continue;
		struct iog_worker_in up;
		iog_engine_input(e, i, &up);
		for (uint32_t r = 0; r < up.n_regions && in->n_regions < IOG_PORTS; r++)
			in->region[in->n_regions++] = up.region[r];
	}
}

static void stage_args(struct iog_engine *e, struct iog_rt *rt)
{
	struct iog_worker_args *a = &rt->args;
	memset(a, 0, sizeof *a);
	a->stage = rt->image.map;
	a->stage_bytes = a->stage->bytes;
	a->status = rt->status.map;
	a->snapshots = rt->snapshots.map;
	a->snapshots_bytes = rt->snapshots.map ? rt->snapshots.bytes : 0;
	a->isa = iog_host_isa();
	a->env = (struct iog_env){ .wait = iog_env_wait,
		.wake = iog_env_wake,
		.now_ns = iog_env_now,
		.sleep_ns = 50000000,
		.spin_ns = e->o.spin ? UINT64_MAX / 2 : 20000 };
	for (uint32_t q = 0; q < rt->u->n_out; q++)
		a->out[q].arena = rt->arena[q].a;
	for (uint32_t k = 0; k < e->cut->n_edges; k++) {
		const struct iog_uedge *u = &e->cut->edge[k];
		if (&e->rt[u->from] == rt) {
			struct iog_worker_out *o = &a->out[u->from_port];
			e->edge[k].out_index = o->n_edges;
			o->edge[o->n_edges++] = e->edge[k].e;
		}
		if (&e->rt[u->to] == rt)
			iog_engine_input(e, k, &a->in[u->to_port]);
	}
}

/* What the state of a stage depends on: every stage of the graph, with its configuration, and what the caller says. */
static uint64_t state_key(const struct iog_engine *e)
{
	uint64_t key = e->o.state_key, bytes;
	for (uint32_t i = 0; i < e->cut->n_units; i++) {
		struct iog_stage *st = e->cut->unit[i].kind == IOG_G_OP ? iog_stage_build(e->g, e->cut, i, &bytes) : NULL;
		key = st ? iog_hash(st, bytes, key) : key + 1;
		free(st);
	}
	return key;
}

static int snapshots_make(struct iog_engine *e, struct iog_rt *rt, uint64_t bytes, struct iog_err *err)
{
	char path[STATE_PATH];
	struct iog_err why = { "" };
	bool kept; /* the worker looks for itself */
	if (!e->o.state)
		return region_for(&rt->snapshots, rt, "iog-snapshots", bytes, err);
	if (iog_format(path, sizeof path, "%s%u", e->o.state, (uint32_t)(rt - e->rt)) >= (int)sizeof path)
		iog_fail(&why, -ENAMETOOLONG, "the path is too long");
	else
		rt->snapshots_file = !iog_snapshots_open(&rt->snapshots, path, bytes, e->state_key, &kept, &why);
	if (rt->snapshots_file)
		return 0;
	snprintf(rt->note, sizeof rt->note, "its state would be lost with this process: %.100s", why.text);
	return region_for(&rt->snapshots, rt, "iog-snapshots", bytes, err);
}

static int stage_memory(struct iog_engine *e, struct iog_rt *rt, struct iog_err *err)
{
	uint64_t bytes;
	struct iog_stage *st = iog_stage_build(e->g, e->cut, (uint32_t)(rt - e->rt), &bytes);
	if (!st)
		return iog_fail(err, -ENOMEM, "%s: out of memory for the stage", rt->u->name);
	int rc = iog_region_create(&rt->image, "iog-stage", bytes, 0, err);
	if (!rc)
		memcpy(rt->image.map, st, bytes);
	if (!rc)
		rc = region_for(&rt->status, rt, "iog-status", sizeof(struct iog_status), err);
	if (!rc && st->safe && st->state_bytes)
		rc = snapshots_make(e, rt, iog_snapshots_bytes(st->state_bytes), err);
	free(st);
	return rc;
}

static const struct iog_launcher *launcher_for(struct iog_rt *rt)
{
	static const struct iog_launcher *const by_target[IOG_TARGETS] = { &iog_launch_thread, &iog_launch_thread, &iog_launch_process,
		&iog_launch_vm };
	/* What does not work here goes to the next best place, and says so. */
	for (uint8_t t = rt->u->target; t >= IOG_T_HOST; t--) {
		const char *why = iog_target_reason((enum iog_target)t);
		if (!why[0]) {
			rt->target = t;
			return by_target[t];
		}
		snprintf(rt->note, sizeof rt->note, "%s is not available (%.100s)", iog_target_name(t), why);
	}
	rt->target = IOG_T_HOST;
	return &iog_launch_thread;
}

/* Whether it can: its peer has to bear what the graph holds, and records on their way. */
static void source_keeps(struct iog_engine *e, struct iog_rt *rt)
{
	const struct iog_gnode *n = node_at(e, rt->u->node[0]);
	const struct iog_source *end = n->end.what;
	uint32_t hold = 0;
	for (uint32_t k = 0; k < e->cut->n_edges; k++)
		if (&e->rt[e->cut->edge[k].from] == rt)
			hold = IOG_MAX(hold, e->cut->edge[k].hold);
	const uint32_t credit = end->keep ? end->credit(n->conf) : 0;
	rt->keeps = credit >= hold + 2;
	if (rt->keeps)
		rt->credit = credit;
	else if (credit)
		snprintf(rt->note, sizeof rt->note,
			"holds %u steps, and the program has room for %u: what is not stored when this process dies is lost", hold, credit);
}

static uint32_t credit_behind(const struct iog_engine *e, const struct iog_uedge *u)
{
	const struct iog_rt *from = &e->rt[u->from];
	return from->keeps ? IOG_MIN(u->capacity, from->credit) - u->hold : IOG_MIN(u->capacity - u->hold, from->credit);
}

int iog_engine_new(
	struct iog_engine **out, struct iog_graph *g, const struct iog_cut *cut, const struct iog_engine_opts *o, struct iog_err *err)
{
	struct iog_engine *e = calloc(1, sizeof *e);
	*out = NULL;
	if (!e)
		return iog_fail(err, -ENOMEM, "out of memory");
	e->g = g, e->cut = cut;
	e->o = *o;
	if (!e->o.restarts)
		e->o.restarts = RESTARTS_DEFAULT;
	if (e->o.state)
		e->state_key = state_key(e);
	e->rt = aligned_alloc(64, IOG_ROUND_UP(cut->n_units * sizeof *e->rt, 64));
	e->edge = calloc(cut->n_edges + 1, sizeof *e->edge);
	int rc = e->rt && e->edge ? 0 : iog_fail(err, -ENOMEM, "out of memory for %u units", cut->n_units);
	for (uint32_t i = 0; e->rt && i < cut->n_units; i++) {
		struct iog_rt *rt = &e->rt[i];
		memset(rt, 0, sizeof *rt);
		rt->engine = e;
		pthread_mutex_init(&rt->self_lock, NULL);
		rt->u = &cut->unit[i];
		rt->image = rt->status = rt->snapshots = IOG_REGION_NONE;
		rt->target = IOG_T_HOST;
		for (uint32_t q = 0; q < IOG_PORTS; q++)
			rt->arena[q].map = IOG_REGION_NONE;
		if (rt->u->kind == IOG_G_OP)
			rt->launch = launcher_for(rt);
		/* Units come in topological order: what is above is known. */
		rt->credit = IOG_CREDIT_MAX;
		if (rt->u->kind == IOG_G_SOURCE && rt->u->safe)
			source_keeps(e, rt);
		for (uint32_t k = 0; k < cut->n_edges; k++)
			if (cut->edge[k].to == (int)i)
				rt->credit = IOG_MIN(rt->credit, credit_behind(e, &cut->edge[k]));
	}
	for (uint32_t k = 0; e->edge && k < cut->n_edges; k++)
		e->edge[k].down = e->edge[k].up = e->edge[k].box = IOG_REGION_NONE;
	uint64_t want = iog_cut_bytes(cut), have = iog_region_available();
	if (!rc && want > have)
		rc = iog_fail(err, -ENOMEM,
			"the graph reserves %llu MiB for records and %llu MiB are free; give its edges smaller `bytes`, or its source a "
			"smaller maximum",
			(unsigned long long)(want >> 20), (unsigned long long)(have >> 20));
	for (uint32_t i = 0; !rc && i < cut->n_units; i++)
		for (uint32_t q = 0; !rc && q < cut->unit[i].n_out; q++)
			rc = arena_make(e, &e->rt[i], q, err);
	for (uint32_t k = 0; !rc && k < cut->n_edges; k++)
		rc = edge_make(e, k, err);
	for (uint32_t i = 0; !rc && i < cut->n_units; i++)
		if (cut->unit[i].kind == IOG_G_OP)
			rc = stage_memory(e, &e->rt[i], err);
	/* Edge indices at source outlets follow the order of the cut, as stage_args gives them to stages. */
	for (uint32_t i = 0; !rc && i < cut->n_units; i++) {
		if (cut->unit[i].kind == IOG_G_OP) {
			stage_args(e, &e->rt[i]);
			continue;
		}
		uint32_t n = 0;
		for (uint32_t k = 0; k < cut->n_edges; k++)
			if (cut->edge[k].from == (int)i)
				e->edge[k].out_index = n++;
	}
	if (rc) {
		iog_engine_free(e);
		return rc;
	}
	*out = e;
	return 0;
}

/* ---- start ---- */

/* One core per stage while there are enough; otherwise the scheduler knows better. */
static void assign_cores(struct iog_engine *e)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < e->cut->n_units; i++)
		n += e->rt[i].u->kind == IOG_G_OP;
	int *cpu = malloc((n + 1) * sizeof *cpu);
	uint32_t have = cpu ? iog_cores_pick(cpu, n) : 0, at = 0;
	for (uint32_t i = 0; i < e->cut->n_units; i++)
		e->rt[i].core = have && e->rt[i].u->kind == IOG_G_OP ? cpu[at++] : -1;
	free(cpu);
}

static int thread_start(struct iog_rt *rt, void *(*body)(void *), struct iog_err *err)
{
	int rc = pthread_create(&rt->thread, NULL, body, rt);
	if (rc)
		return iog_fail(err, -rc, "%s: no thread: %s", rt->u->name, strerror(rc));
	rt->threaded = true;
	iog_thread_name(rt->thread, rt->u);
	return 0;
}

static int source_start(struct iog_engine *e, struct iog_rt *rt, struct iog_err *err)
{
	for (uint32_t k = 0; k < e->cut->n_edges; k++)
		if (&e->rt[e->cut->edge[k].from] == rt)
			rt->first[rt->n_first++] = e->edge[k].e;
	return thread_start(rt, iog_source_thread, err);
}

/* Starts the chosen stages together, step by step; *who is the one that could not be. */
static int start_chosen(struct iog_engine *e, struct iog_rt **who, struct iog_err *err)
{
	int rc = 0;
	for (int step = 0; step < 3; step++)
		for (uint32_t i = 0; !rc && i < e->cut->n_units; i++) {
			struct iog_rt *rt = &e->rt[i];
			const struct iog_launcher *l = rt->launch;
			int (*const make)(struct iog_rt *, struct iog_err *) = !rt->chosen ? NULL
									       : step == 0 ? l->begin
									       : step == 1 ? l->seal
											   : l->start;
			if (make && (rc = make(rt, err)))
				*who = rt;
		}
	return rc;
}

/* Waits until the sinks are open: one that cannot be is a reason not to begin at all. */
static int sinks_opened(struct iog_engine *e, struct iog_err *err)
{
	uint64_t until = iog_now_ns() + OPEN_S * 1000000000ull;
	for (uint32_t i = 0; i < e->cut->n_units; i++) {
		struct iog_rt *rt = &e->rt[i];
		if (rt->u->kind != IOG_G_SINK)
			continue;
		while (atomic_load(&rt->phase) == IOG_PHASE_NEW) {
			if (iog_now_ns() > until)
				return iog_fail(err, -ETIMEDOUT, "%s: it did not open for %d s; does the disk or the network hang?",
					rt->u->name, OPEN_S);
			usleep(500);
		}
		if (atomic_load(&rt->phase) == IOG_PHASE_FAILED)
			return iog_fail(err, -EIO, "%s: %s", rt->u->name, rt->err.text);
	}
	return 0;
}

static void choose_group(struct iog_engine *e, struct iog_rt *rt);
static void replace_soon(struct iog_engine *e, struct iog_rt *rt);

/* Starts rt and the stages that start with it. A process or VM that dies meanwhile is no failure: it is replaced like one that dies later. */
static int start_group(struct iog_engine *e, struct iog_rt *rt, struct iog_err *err)
{
	struct iog_err why = { "" };
	struct iog_rt *who = rt;
	choose_group(e, rt);
	int rc = start_chosen(e, &who, &why);
	if (!rc)
		return 0;
	if (who->launch == &iog_launch_thread)
		return iog_fail(err, rc, "%s: %s", who->u->name, why.text);
	iog_strset(who->death, sizeof who->death, why.text);
	replace_soon(e, who);
	return 0;
}

int iog_engine_start(struct iog_engine *e, struct iog_err *err)
{
	e->started_ns = iog_now_ns();
	e->stop_ns = e->o.seconds > 0 ? e->started_ns + (uint64_t)(e->o.seconds * 1e9) : 0;
	e->running = true;
	assign_cores(e);
	int rc = 0;
	for (uint32_t i = 0; !rc && i < e->cut->n_units; i++)
		if (e->rt[i].u->kind == IOG_G_SINK)
			rc = thread_start(&e->rt[i], iog_sink_thread, err);
	if (!rc)
		rc = sinks_opened(e, err);
	for (uint32_t i = 0; !rc && i < e->cut->n_units && !e->stopping; i++) {
		struct iog_rt *rt = &e->rt[i];
		if (rt->u->kind == IOG_G_OP && !rt->launched && !rt->restart_at_ns && !rt->with_other)
			rc = start_group(e, rt, err);
	}
	for (uint32_t i = 0; !rc && i < e->cut->n_units && !e->stopping; i++)
		if (e->rt[i].u->kind == IOG_G_SOURCE)
			rc = source_start(e, &e->rt[i], err);
	if (rc)
		iog_engine_stop(e);
	return rc;
}

bool iog_engine_opening(const struct iog_engine *e)
{
	for (uint32_t i = 0; i < e->cut->n_units; i++)
		if (e->rt[i].u->kind == IOG_G_SOURCE && e->rt[i].threaded && atomic_load(&e->rt[i].phase) == IOG_PHASE_NEW)
			return true;
	return false;
}

/* ---- supervision ---- */

static void post(struct iog_rt *rt, const struct iog_command *c)
{
	struct iog_commands *q = &rt->cmd;
	uint32_t posted = atomic_load_explicit(&q->posted, memory_order_relaxed);
	/* The queue is far longer than a unit has edges; who does not take from it within a second has ended. */
	for (int i = 0; posted - atomic_load_explicit(&q->taken, memory_order_acquire) >= IOG_COMMANDS && i < 1000; i++)
		usleep(1000);
	if (posted - atomic_load_explicit(&q->taken, memory_order_acquire) >= IOG_COMMANDS)
		return;
	q->queue[posted % IOG_COMMANDS] = *c;
	atomic_store_explicit(&q->posted, posted + 1, memory_order_release);
}

/*
 * What a dead stage had in hand: at the second death with the same record that record is given up. Never one that an incarnation completed:
 * its outputs may have been seen, and the state of those that follow contains it.
 */
static void poison(struct iog_rt *rt, struct iog_poison *list, uint32_t *n)
{
	const struct iog_status *s = rt->status.map;
	struct iog_id done = { .epoch = atomic_load(&s->done_epoch), .seq = atomic_load(&s->done_seq) };
	if (done.epoch && (!rt->done_id.epoch || iog_id_order(&done, &rt->done_id) > 0))
		rt->done_id = done;
	if (!atomic_load(&s->busy)) {
		rt->last_death_known = false;
		return;
	}
	struct iog_poison now = { .seq = atomic_load(&s->busy_seq), .epoch = atomic_load(&s->busy_epoch) };
	struct iog_id id = { .epoch = now.epoch, .seq = now.seq };
	bool completed = rt->done_id.epoch && iog_id_order(&id, &rt->done_id) <= 0;
	if (rt->last_death_known && rt->last_death.seq == now.seq && rt->last_death.epoch == now.epoch && !completed && *n < IOG_POISON)
		list[(*n)++] = now;
	rt->last_death = now;
	rt->last_death_known = true;
}

static int keep_old(struct iog_engine *e, const struct iog_edge_mem *m, const struct iog_arena_mem *a)
{
	if (m) {
		struct iog_edge_mem *o = realloc(e->old, (e->n_old + 1) * sizeof *o);
		if (!o)
			return -ENOMEM;
		e->old = o;
		e->old[e->n_old++] = *m;
	} else {
		struct iog_arena_mem *o = realloc(e->old_arena, (e->n_old_arenas + 1) * sizeof *o);
		if (!o)
			return -ENOMEM;
		e->old_arena = o;
		e->old_arena[e->n_old_arenas++] = *a;
	}
	return 0;
}

/* New memory for what a dead stage wrote; snapshots move to memory its successor can write. What was there stays until that is certain. */
static int successor_memory(struct iog_engine *e, struct iog_rt *rt, struct iog_err *err)
{
	int rc = 0;
	for (uint32_t q = 0; !rc && q < rt->u->n_out; q++) {
		rc = keep_old(e, NULL, &rt->arena[q]); /* consumers still read it */
		rt->arena[q].map = IOG_REGION_NONE;
		if (!rc)
			rc = arena_make(e, rt, q, err);
	}
	struct iog_region_map status = IOG_REGION_NONE, snaps = IOG_REGION_NONE;
	if (!rc)
		rc = region_for(&status, rt, "iog-status", sizeof(struct iog_status), err);
	const bool move = rt->snapshots.map && !rt->snapshots_file;
	if (!rc && move) {
		rc = region_for(&snaps, rt, "iog-snapshots", rt->snapshots.bytes, err);
		if (!rc && snaps.writable)
			memcpy(snaps.map, rt->snapshots.map, rt->snapshots.bytes);
		else if (!rc && pwrite(snaps.fd, rt->snapshots.map, rt->snapshots.bytes, 0) != (ssize_t)rt->snapshots.bytes)
			rc = iog_fail(err, -EIO, "its snapshots cannot be copied");
	}
	if (rc) {
		iog_region_close(&status);
		iog_region_close(&snaps);
		return rc;
	}
	iog_region_close(&rt->status);
	rt->status = status;
	if (move) {
		iog_region_close(&rt->snapshots);
		rt->snapshots = snaps;
	}
	return 0;
}

/* Nothing more comes from a unit that has ended; an edge made or remade after that says so too. */
static void close_edges_of(struct iog_engine *e, const struct iog_rt *rt)
{
	for (uint32_t k = 0; k < e->cut->n_edges; k++)
		if (&e->rt[e->cut->edge[k].from] == rt && e->edge[k].down.writable &&
			atomic_load(&e->edge[k].e.down->state) == IOG_EDGE_OPEN)
			atomic_store(&e->edge[k].e.down->state, IOG_EDGE_CLOSED);
}

/* Replaces the chosen stages, all of them dead, and tells their peers. Each edge and arena is made once. *who: it failed because this one could
 * not be started, before anyone was told, and may be tried again. */
static int successors(struct iog_engine *e, struct iog_rt **who, struct iog_err *err)
{
	int rc = 0;
	*who = NULL;
	for (uint32_t i = 0; !rc && i < e->cut->n_units; i++)
		if (e->rt[i].chosen) {
			iog_status_add(&e->rt[i].total, e->rt[i].status.map);
			if (e->rt[i].launched)
				e->rt[i].launch->finish(&e->rt[i]);
			rc = successor_memory(e, &e->rt[i], err);
		}
	for (uint32_t k = 0; !rc && k < e->cut->n_edges; k++) {
		const struct iog_uedge *u = &e->cut->edge[k];
		if (!e->rt[u->from].chosen && !e->rt[u->to].chosen)
			continue;
		rc = keep_old(e, &e->edge[k], NULL);
		if (!rc)
			rc = edge_make(e, k, err);
		if (!rc && e->rt[u->from].done)
			close_edges_of(e, &e->rt[u->from]);
	}
	for (uint32_t i = 0; !rc && i < e->cut->n_units; i++)
		if (e->rt[i].chosen) {
			struct iog_worker_args old = e->rt[i].args;
			stage_args(e, &e->rt[i]);
			memcpy(e->rt[i].args.poison, old.poison, sizeof old.poison);
			e->rt[i].args.n_poison = old.n_poison;
		}
	if (!rc)
		rc = start_chosen(e, who, err);
	for (uint32_t k = 0; !rc && k < e->cut->n_edges; k++) {
		const struct iog_uedge *u = &e->cut->edge[k];
		struct iog_rt *from = &e->rt[u->from], *to = &e->rt[u->to];
		if (to->chosen && !from->chosen && !from->done)
			post(from, &(struct iog_command){ .kind = IOG_CMD_REPLACE_OUT,
					   .port = u->from_port,
					   .edge = e->edge[k].out_index,
					   .e = e->edge[k].e });
		if (from->chosen && !to->chosen && !to->done) {
			struct iog_command c = { .kind = IOG_CMD_REPLACE_IN, .port = u->to_port };
			iog_engine_input(e, k, &c.in);
			post(to, &c);
		}
	}
	return rc;
}

/*
 * Chooses rt and every stage in a process or VM that is connected with it through such stages: while one of them runs, it cannot be given
 * new rings, so they are replaced together. On `safe` that loses nothing.
 */
static void choose_group(struct iog_engine *e, struct iog_rt *rt)
{
	for (uint32_t i = 0; i < e->cut->n_units; i++)
		e->rt[i].chosen = &e->rt[i] == rt;
	for (bool more = true; more;) {
		more = false;
		for (uint32_t k = 0; k < e->cut->n_edges; k++) {
			struct iog_rt *x = &e->rt[e->cut->edge[k].from], *y = &e->rt[e->cut->edge[k].to];
			bool both = x->launch && y->launch && x->launch != &iog_launch_thread && y->launch != &iog_launch_thread &&
				    !x->done && !y->done;
			if (both && x->chosen != y->chosen)
				x->chosen = y->chosen = more = true;
		}
	}
}

/* A stage that cannot go on: its consumers learn that nothing more comes, its producers stop waiting for it. */
static void give_up(struct iog_engine *e, struct iog_rt *rt, const char *text)
{
	iog_engine_fail(e, -EIO, rt->u->name, text);
	rt->done = true;
	iog_engine_stop(e);
}

/*
 * rt is dead, as rt->death tells. It and its group are replaced soon, at once the first time, then with a growing pause; or the run ends,
 * when it died too often without a healthy time in between.
 */
static void replace_soon(struct iog_engine *e, struct iog_rt *rt)
{
	uint64_t now = iog_now_ns();
	if (rt->restarts && now - rt->died_ns > HEALTHY_NS)
		rt->deaths = 0;
	if (rt->deaths >= e->o.restarts) {
		char text[400];
		snprintf(text, sizeof text, "%s; given up after %u restart%s", rt->death, rt->restarts, rt->restarts == 1 ? "" : "s");
		give_up(e, rt, text);
		return;
	}
	choose_group(e, rt);
	rt->deaths++;
	rt->restarts++;
	rt->died_ns = now;
	rt->turns_at_ns = 0;
	rt->restart_at_ns = now + (rt->deaths > 1 ? (1000000ull << IOG_MIN(rt->deaths, 10u)) : 0);
	for (uint32_t i = 0; i < e->cut->n_units; i++)
		if (e->rt[i].chosen && &e->rt[i] != rt) {
			e->rt[i].with_other = true;
			e->rt[i].last_death_known = false;
			e->rt[i].launch->kill(&e->rt[i]);
		}
}

/* Can the neighbours of the chosen stages be told? One that is busy for long has not yet taken what it was told before. */
static bool peers_listen(const struct iog_engine *e)
{
	for (uint32_t k = 0; k < e->cut->n_edges; k++) {
		const struct iog_rt *peer[2] = { &e->rt[e->cut->edge[k].from], &e->rt[e->cut->edge[k].to] };
		for (int i = 0; i < 2; i++) {
			const struct iog_commands *c = &peer[i]->cmd;
			if (peer[1 - i]->chosen && !peer[i]->chosen && !peer[i]->done &&
				atomic_load(&c->posted) - atomic_load(&c->taken) > IOG_COMMANDS / 2)
				return false;
		}
	}
	return true;
}

static void restart(struct iog_engine *e, struct iog_rt *rt)
{
	struct iog_err err = { "" };
	struct iog_rt *who;
	choose_group(e, rt);
	if (!peers_listen(e))
		return; /* the next look */
	rt->restart_at_ns = 0;
	for (uint32_t i = 0; i < e->cut->n_units; i++)
		e->rt[i].with_other = e->rt[i].with_other && !e->rt[i].chosen;
	if (!successors(e, &who, &err))
		return;
	if (!who) {
		give_up(e, rt, err.text);
		return;
	}
	iog_strset(who->death, sizeof who->death, err.text); /* a successor may die while it is set up, like any other time */
	replace_soon(e, who);
}

static void stage_watch(struct iog_engine *e, struct iog_rt *rt)
{
	uint64_t now = iog_now_ns();
	if (rt->with_other) /* dead, and replaced together with the one that died first */
		return;
	if (rt->restart_at_ns) {
		if (now >= rt->restart_at_ns && !e->stopping)
			restart(e, rt);
		return;
	}
	int rc = rt->launch->watch(rt);
	if (!rc) {
		/* Alive but not moving: its loop turns at least every sleep, unless one record takes for ever. */
		const struct iog_status *s = rt->status.map;
		uint64_t turns = atomic_load_explicit(&s->turns, memory_order_relaxed);
		if (turns != rt->last_turns || !rt->turns_at_ns)
			rt->last_turns = turns, rt->turns_at_ns = now;
		else if (rt->launch != &iog_launch_thread && now - rt->turns_at_ns > STUCK_S * 1000000000ull) {
			rt->turns_at_ns = 0;
			rt->launch->kill(rt);
		}
		return;
	}
	if (rc > 0) {
		rt->done = true;
		close_edges_of(e, rt);
		return;
	}
	const struct iog_status *s = rt->status.map;
	if (atomic_load(&s->state) == IOG_W_FAILED) {
		char text[300];
		snprintf(text, sizeof text, "operator %s answered \"%s\" at step %lld, which it must not; the stage ends",
			rt->args.stage->node[s->fail_node % IOG_STAGE_NODES].name, iog_step_name(s->fail_step),
			(long long)(s->fail_seq ^ (1ull << 63)));
		give_up(e, rt, text);
		return;
	}
	if (e->stopping) {
		rt->done = true;
		return;
	}
	poison(rt, rt->args.poison, &rt->args.n_poison);
	replace_soon(e, rt);
}

static void endpoint_watch(struct iog_engine *e, struct iog_rt *rt)
{
	uint32_t p = atomic_load_explicit(&rt->phase, memory_order_acquire);
	if (p == IOG_PHASE_FAILED && !rt->reported) {
		rt->reported = true;
		iog_engine_fail(e, -EIO, rt->u->name, rt->err.text);
	}
	/* A start that failed leaves some without a thread. */
	rt->done = p == IOG_PHASE_DONE || p == IOG_PHASE_FAILED || (e->stopping && !rt->threaded);
	if (rt->done)
		close_edges_of(e, rt);
}

/* A consumer that gives back what it does not have is wrong or hostile. In a process or VM it is killed, and has a successor. */
static void check_forged(struct iog_engine *e, struct iog_rt *rt)
{
	uint64_t forged = atomic_load_explicit(&rt->forged, memory_order_relaxed);
	const struct iog_status *s = rt->status.map;
	for (uint32_t q = 0; s && !elsewhere(rt) && q < rt->u->n_out; q++)
		forged += atomic_load_explicit(&s->out_forged[q], memory_order_relaxed);
	if (forged <= rt->forged_seen)
		return;
	rt->forged_seen = forged;
	for (uint32_t k = 0; k < e->cut->n_edges; k++) {
		struct iog_rt *to = &e->rt[e->cut->edge[k].to];
		if (&e->rt[e->cut->edge[k].from] == rt && to->launch && to->launch != &iog_launch_thread && to->launched && !to->done)
			to->launch->kill(to);
	}
}

bool iog_engine_poll(struct iog_engine *e, double timeout_s)
{
	uint64_t until = iog_now_ns() + (uint64_t)(timeout_s * 1e9);
	for (;;) {
		bool all = true, sinks = false, pending = false;
		for (uint32_t i = 0; i < e->cut->n_units; i++) {
			struct iog_rt *rt = &e->rt[i];
			if (!rt->done && rt->u->kind == IOG_G_OP)
				stage_watch(e, rt);
			else if (!rt->done)
				endpoint_watch(e, rt);
			if (!rt->done && !e->stopping)
				check_forged(e, rt);
			all &= rt->done;
			pending |= rt->restart_at_ns || (rt->restarts && iog_now_ns() - rt->died_ns < LIVELY_NS);
			sinks |= rt->u->kind == IOG_G_SINK && !rt->done;
		}
		iog_engine_params(e);
		uint64_t now = iog_now_ns();
		if (all || !e->running)
			return true;
		if (e->stop_ns && now >= e->stop_ns && !e->draining)
			iog_engine_drain(e);
		if (!sinks && !e->stopping)
			iog_engine_stop(e); /* every sink has ended: nobody needs the rest */
		if (now >= until)
			return false;
		/* Lively at the start and around a restart; else a look every 10 ms is enough and costs nothing. */
		uint64_t nap = now - e->started_ns < LIVELY_NS || pending ? 1000 : 10000;
		usleep((useconds_t)IOG_MIN((until - now) / 1000 + 1, nap));
	}
}

/* ---- end ---- */

void iog_engine_drain(struct iog_engine *e)
{
	e->draining = true;
	for (uint32_t i = 0; i < e->cut->n_units; i++)
		if (e->rt[i].u->kind == IOG_G_SOURCE) {
			atomic_store(&e->rt[i].cmd.drain, true);
			struct iog_gnode *n = node_at(e, e->rt[i].u->node[0]);
			const struct iog_source *s = n->end.what;
			pthread_mutex_lock(&e->rt[i].self_lock);
			if (s->wake && e->rt[i].self)
				s->wake(e->rt[i].self);
			pthread_mutex_unlock(&e->rt[i].self_lock);
		}
}

void iog_engine_stop(struct iog_engine *e)
{
	e->stopping = e->draining = true;
	iog_engine_drain(e);
	for (uint32_t i = 0; i < e->cut->n_units; i++) {
		struct iog_rt *rt = &e->rt[i];
		atomic_store(&rt->cmd.stop, true);
		if (rt->launch && rt->launched && !rt->done)
			rt->launch->kill(rt);
		/* A thread ends when it sees that: until then it counts, and poll waits for it. */
		if (rt->u->kind == IOG_G_OP && !(rt->threaded && rt->launched))
			rt->done = true;
	}
}

/* All threads of units; false: one does not come back. */
static bool join(struct iog_engine *e)
{
	uint64_t until = iog_now_ns() + JOIN_S * 1000000000ull;
	for (uint32_t i = 0; e->rt && i < e->cut->n_units; i++)
		for (; e->rt[i].threaded; usleep(200)) {
			if (iog_now_ns() > until)
				return false;
			e->rt[i].threaded = pthread_tryjoin_np(e->rt[i].thread, NULL) == EBUSY;
		}
	return true;
}

int iog_engine_free(struct iog_engine *e)
{
	if (!e)
		return 0;
	if (e->running)
		iog_engine_stop(e);
	if (!join(e))
		return -ETIMEDOUT; /* what its thread uses must stay */
	for (uint32_t i = 0; e->rt && i < e->cut->n_units; i++)
		if (e->rt[i].launched)
			e->rt[i].launch->finish(&e->rt[i]);
	for (uint32_t i = 0; e->rt && i < e->cut->n_units; i++) {
		struct iog_rt *rt = &e->rt[i];
		pthread_mutex_destroy(&rt->self_lock);
		iog_region_close(&rt->image);
		iog_region_close(&rt->status);
		iog_region_close(&rt->snapshots);
		for (uint32_t q = 0; q < IOG_PORTS; q++)
			iog_region_close(&rt->arena[q].map);
	}
	for (uint32_t k = 0; e->edge && k < e->cut->n_edges; k++)
		edge_close(&e->edge[k]);
	for (uint32_t k = 0; k < e->n_old; k++)
		edge_close(&e->old[k]);
	for (uint32_t k = 0; k < e->n_old_arenas; k++)
		iog_region_close(&e->old_arena[k].map);
	free(e->old);
	free(e->old_arena);
	free(e->rt);
	free(e->edge);
	free(e);
	return 0;
}

int iog_engine_result(const struct iog_engine *e, struct iog_err *err)
{
	const int rc = atomic_load_explicit(&e->rc, memory_order_acquire);
	if (rc && err)
		*err = e->err;
	return rc;
}
