/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A stage in the guest of a VM: target `vm`. The guest runs the same loop on the same memory, mapped under guest addresses, its inputs
 * read-only. What it does wrong ends its run; a successor gets a new VM.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine-parts.h"
#include "runtime/host/vm/guest-worker.h"
#include "runtime/host/vm/guest.h"
#include "vm.h"
#include "wait.h"

enum { MAPS = 4 + IOG_PORTS * 5 + IOG_PORTS * IOG_FANOUT * 3, PEERS = IOG_PORTS + IOG_PORTS * IOG_FANOUT };
static const uint64_t STEP = 2ull << 20, STOP_NS = 2000000000ull, PARK_MAX_NS = 50000000ull;

struct guest {
	struct iog_vm *vm;
	struct iog_guest_arg *arg; /* also mapped in the guest */
	uint64_t arg_bytes, memory_bytes;
	void *memory;
	struct {
		uint8_t *host;
		uint64_t bytes, gpa;
	} map[MAPS];
	uint32_t n_maps, n_peers;
	struct {
		const _Atomic uint32_t *sleeping, *word;
	} peer[PEERS]; /* of every edge: stays while the VM lives */
	uint64_t next_gpa;
};

/* ---- addresses ---- */

static int give(struct guest *g, void *host, uint64_t bytes, bool writable, struct iog_err *err)
{
	bytes = IOG_ROUND_UP(bytes, 4096);
	if (g->n_maps == MAPS)
		return iog_fail(err, -ENOSPC, "more memory than a VM has places for");
	int rc = iog_vm_map(g->vm, host, bytes, g->next_gpa, writable, err);
	if (rc)
		return rc;
	g->map[g->n_maps].host = host;
	g->map[g->n_maps].bytes = bytes;
	g->map[g->n_maps++].gpa = g->next_gpa;
	g->next_gpa += IOG_ROUND_UP(bytes, STEP) + STEP; /* a hole between any two */
	return 0;
}

/* The guest's address of something we gave it; NULL stays NULL. */
static void *to_guest(const struct guest *g, const void *host)
{
	for (uint32_t i = 0; i < g->n_maps; i++) {
		uint64_t off = (uint64_t)((const uint8_t *)host - g->map[i].host);
		if ((const uint8_t *)host >= g->map[i].host && off < g->map[i].bytes)
			return (void *)(uintptr_t)(g->map[i].gpa + off);
	}
	return NULL;
}

/* Our address of a 32-bit word the guest names; NULL when it lies nowhere we gave it. */
static const _Atomic uint32_t *to_host(const struct guest *g, uint64_t gpa)
{
	for (uint32_t i = 0; i < g->n_maps; i++)
		if (gpa % 4 == 0 && gpa >= g->map[i].gpa && gpa - g->map[i].gpa <= g->map[i].bytes - 4)
			return (const _Atomic uint32_t *)(const void *)(g->map[i].host + (gpa - g->map[i].gpa));
	return NULL;
}

/* ---- what the guest asks for; on the VM's thread ---- */

static void park(void *ctx)
{
	const struct guest *g = ctx;
	struct iog_waitword w[IOG_GUEST_WORDS];
	uint32_t n = 0, said = *(volatile uint32_t *)&g->arg->n_words;
	uint64_t limit = *(volatile uint64_t *)&g->arg->limit_ns;
	for (uint32_t i = 0; i < said && i < IOG_GUEST_WORDS; i++) {
		const _Atomic uint32_t *word = to_host(g, *(volatile uint64_t *)&g->arg->word[i].gpa);
		if (word)
			w[n++] = (struct iog_waitword){ word, *(volatile uint32_t *)&g->arg->word[i].seen };
	}
	iog_wait_words(w, n, IOG_MIN(limit, PARK_MAX_NS));
}

/* Whoever sleeps at the other end of an edge; on the thread of the bell. */
static void wake(void *ctx)
{
	const struct guest *g = ctx;
	for (uint32_t i = 0; i < g->n_peers; i++)
		if (atomic_load_explicit(g->peer[i].sleeping, memory_order_relaxed))
			iog_wake_word(g->peer[i].word);
}

static void peers(const struct iog_rt *rt, struct guest *g)
{
	const struct iog_engine *e = rt->engine;
	for (uint32_t k = 0; k < e->cut->n_edges; k++) {
		const struct iog_edge *x = &e->edge[k].e;
		if (&e->rt[e->cut->edge[k].from] == rt && g->n_peers < PEERS)
			g->peer[g->n_peers].sleeping = &x->up->sleeping, g->peer[g->n_peers++].word = &x->down->head;
		if (&e->rt[e->cut->edge[k].to] == rt && g->n_peers < PEERS)
			g->peer[g->n_peers].sleeping = &x->down->sleeping, g->peer[g->n_peers++].word = &x->up->head;
	}
}

/* ---- the launcher ---- */

static int give_edge(struct guest *g, const struct iog_edge_mem *m, bool in, struct iog_err *err)
{
	int rc = give(g, m->down.map, m->down.bytes, !in, err);
	if (!rc)
		rc = give(g, m->up.map, m->up.bytes, in, err);
	if (!rc && m->e.box)
		rc = give(g, m->box_map, m->box.bytes, true, err);
	return rc;
}

static int give_all(struct iog_rt *rt, struct guest *g, struct iog_err *err)
{
	struct iog_engine *e = rt->engine;
	int rc = give(g, g->arg, g->arg_bytes, true, err);
	if (!rc)
		rc = give(g, g->memory, g->memory_bytes, true, err);
	if (!rc)
		rc = give(g, rt->image.map, rt->image.bytes, false, err);
	if (!rc)
		rc = give(g, rt->status.map, rt->status.bytes, true, err);
	if (!rc && rt->snapshots.map)
		rc = give(g, rt->snapshots.map, rt->snapshots.bytes, true, err);
	for (uint32_t q = 0; !rc && q < rt->u->n_out; q++)
		rc = give(g, rt->arena[q].map.map, rt->arena[q].map.bytes, true, err);
	for (uint32_t k = 0; !rc && k < e->cut->n_edges; k++) {
		const struct iog_uedge *u = &e->cut->edge[k];
		if (&e->rt[u->from] == rt)
			rc = give_edge(g, &e->edge[k], false, err);
		if (rc || &e->rt[u->to] != rt)
			continue;
		rc = give_edge(g, &e->edge[k], true, err);
		const struct iog_arena_mem *a = &e->rt[u->from].arena[u->from_port];
		if (!rc && !to_guest(g, a->map.map)) /* two inputs may share an arena */
			rc = give(g, a->map.map, a->map.bytes, false, err);
	}
	return rc;
}

static void edge_to_guest(const struct guest *g, struct iog_edge *e)
{
	e->down = to_guest(g, e->down);
	e->up = to_guest(g, e->up);
	e->box = e->box ? to_guest(g, e->box) : NULL;
}

/* The worker's arguments with every address as the guest has it. */
static void args_to_guest(const struct iog_rt *rt, struct guest *g)
{
	struct iog_worker_args *a = &g->arg->args;
	*a = rt->args;
	a->stage = to_guest(g, a->stage);
	a->status = to_guest(g, a->status);
	a->snapshots = a->snapshots ? to_guest(g, a->snapshots) : NULL;
	a->ops = NULL;
	a->isa = IOG_MIN(rt->args.isa, iog_vm_isa(g->vm));
	memset(a->lib, 0, sizeof a->lib);
	for (uint32_t p = 0; p < rt->u->n_in; p++) {
		edge_to_guest(g, &a->in[p].edge);
		for (uint32_t r = 0; r < a->in[p].n_regions; r++)
			a->in[p].region[r].base = to_guest(g, a->in[p].region[r].base);
	}
	for (uint32_t q = 0; q < rt->u->n_out; q++) {
		a->out[q].arena.base = to_guest(g, a->out[q].arena.base);
		for (uint32_t k = 0; k < a->out[q].n_edges; k++)
			edge_to_guest(g, &a->out[q].edge[k]);
	}
	g->arg->memory = to_guest(g, g->memory);
}

static void release(struct guest *g)
{
	if (g->vm && iog_vm_destroy(g->vm))
		return; /* its thread did not come back: what it uses must stay */
	if (g->arg)
		munmap(g->arg, g->arg_bytes);
	if (g->memory)
		munmap(g->memory, g->memory_bytes);
	free(g);
}

static void *pages(uint64_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

static int start(struct iog_rt *rt, struct iog_err *err)
{
	struct guest *g = calloc(1, sizeof *g);
	uint64_t need = iog_worker_memory(&rt->args);
	if (!g || !need) {
		free(g);
		return iog_fail(err, -ENOMEM, "out of memory");
	}
	g->next_gpa = IOG_GUEST_LOW;
	peers(rt, g);
	g->arg_bytes = IOG_ROUND_UP(sizeof *g->arg, 4096);
	g->memory_bytes = IOG_ROUND_UP(need, 4096);
	g->arg = pages(g->arg_bytes);
	g->memory = pages(g->memory_bytes);
	struct iog_vm_opts o = { .ctx = g, .park = park, .wake = wake, .name = rt->u->name };
	int rc = g->arg && g->memory ? 0 : iog_fail(err, -ENOMEM, "out of memory");
	if (!rc)
		rc = iog_vm_create(&g->vm, &o, err);
	if (!rc)
		rc = iog_vm_load(g->vm, iog_vm_image, iog_vm_image_bytes(), err);
	if (!rc)
		rc = give_all(rt, g, err);
	if (!rc) {
		args_to_guest(rt, g);
		rc = iog_vm_start(g->vm, rt->core, (uint64_t)(uintptr_t)to_guest(g, g->arg), err);
	}
	if (!rc) {
		rt->launched = g;
		return 0;
	}
	release(g);
	struct iog_err why = *err;
	return iog_fail(err, rc, "the VM cannot start: %.400s", why.text);
}

static int watch(struct iog_rt *rt)
{
	struct guest *g = rt->launched;
	struct iog_vm_status s;
	iog_vm_status(g->vm, &s);
	const struct iog_status *w = rt->status.map;
	const char *op = rt->args.stage->node[atomic_load(&w->busy_node) % IOG_STAGE_NODES].name;
	switch (s.state) {
	case IOG_VM_IDLE:
	case IOG_VM_RUNNING: return 0;
	case IOG_VM_DONE:
		if (!s.rc)
			return 1;
		iog_format(rt->death, sizeof rt->death, "the guest gave up: %.200s", s.rc == 1 ? g->arg->err.text : "its stage failed");
		return -EIO;
	case IOG_VM_STOPPED:
		iog_format(rt->death, sizeof rt->death, "the VM did not go on in operator %s and was stopped", op);
		return -EIO;
	case IOG_VM_FAILED:
		iog_format(rt->death, sizeof rt->death, "operator %s failed at step %lld: %s", op,
			(long long)(atomic_load(&w->busy_seq) ^ (1ull << 63)), s.text);
		return -EIO;
	}
	return -EIO;
}

static void kill_vm(struct iog_rt *rt)
{
	struct guest *g = rt->launched;
	if (g)
		iog_vm_stop(g->vm, STOP_NS);
}

static uint64_t cpu(const struct iog_rt *rt)
{
	const struct guest *g = rt->launched;
	struct iog_vm_status s;
	iog_vm_status(g->vm, &s);
	return s.cpu_ns;
}

static void finish(struct iog_rt *rt)
{
	atomic_fetch_add(&rt->cpu_ns, cpu(rt));
	release(rt->launched);
	rt->launched = NULL;
}

const struct iog_launcher iog_launch_vm = { .name = "vm", .start = start, .watch = watch, .cpu = cpu, .kill = kill_vm, .finish = finish };
