/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The inside of the engine: what a running unit consists of, shared by engine.c (memory, life, supervision), io-*.c (sources and sinks) and
 * the launchers stage-thread.c, stage-process.c, stage-vm.c. One launcher shape for all kinds of stages: struct iog_launcher.
 */
#ifndef IOG_RUNTIME_HOST_ENGINE_PARTS_H
#define IOG_RUNTIME_HOST_ENGINE_PARTS_H

#include <pthread.h>
#include <sys/types.h>

#include "endpoint.h"
#include "engine.h"
#include "late.h"
#include "region.h"

enum { IOG_COMMANDS = 32 };

/* What the controlling thread asks of a unit that runs on a thread of this process. */
struct iog_command {
	enum { IOG_CMD_REPLACE_IN, IOG_CMD_REPLACE_OUT } kind;
	uint32_t port, edge;
	struct iog_worker_in in;
	struct iog_edge e;
};
struct iog_commands {
	_Atomic uint32_t posted, taken; /* one thread posts, one takes */
	_Atomic bool stop, drain;
	struct iog_command queue[IOG_COMMANDS];
};

/* One edge as this process has it mapped; a new incarnation of either end gets a new one. */
struct iog_edge_mem {
	struct iog_region_map down, up, box;
	void *box_map; /* writable, unlike box.map */
	struct iog_edge e;
	uint32_t out_index; /* of the edge at its outlet */
};
struct iog_arena_mem {
	struct iog_region_map map;
	struct iog_arena a;
};

struct iog_rt;
struct iog_launcher {
	const char *name;
	bool writes_elsewhere; /* the stage writes its memory in another process */
	/* A start has three steps, each made by all stages that start together before the next: begin makes the place and lets it map what it
	 * writes (optional), seal ends the time in which that memory can be mapped for writing (optional), start sets it to work with what
	 * rt->args says. 0 or -errno with a message, which the engine puts the unit's name in front of; after a failure nothing of it is
	 * left. */
	int (*begin)(struct iog_rt *rt, struct iog_err *err);
	int (*seal)(struct iog_rt *rt, struct iog_err *err);
	int (*start)(struct iog_rt *rt, struct iog_err *err);
	/* Looks after it, without waiting: 0 running, 1 ended in order, -errno dead with rt->death set. */
	int (*watch)(struct iog_rt *rt);
	/* CPU time of what was launched, until finish adds it to rt->cpu_ns. */
	uint64_t (*cpu)(const struct iog_rt *rt);
	/* Ends it at once: on return nothing of it runs any more (a thread: soon). */
	void (*kill)(struct iog_rt *rt);
	/* Frees what start made. */
	void (*finish)(struct iog_rt *rt);
};

/* A running unit. */
struct iog_rt {
	struct iog_engine *engine;
	const struct iog_unit *u;
	const struct iog_launcher *launch; /* stages */
	uint8_t target;                    /* where it really runs */
	uint32_t credit;                   /* the least on any way from a source to here */
	bool keeps;                        /* a source that gives back what it took when that is stored */
	int core;                          /* stages: the CPU to run on, -1: any */
	char note[160], death[256];
	char end_note[160]; /* an endpoint's: written by its thread, valid when phase is IOG_PHASE_DONE or IOG_PHASE_FAILED */
	struct iog_arena_mem arena[IOG_PORTS];
	struct iog_commands cmd;
	struct iog_edge first[IOG_FANOUT]; /* sources: the edges as they were when its thread was made; it is told of later ones */
	uint32_t n_first;
	/* stages */
	struct iog_region_map image, status, snapshots;
	bool snapshots_file; /* they lie in a file: no seal, and a successor goes on in it */
	struct iog_worker_args args;
	struct iog_status total; /* of earlier incarnations */
	uint32_t restarts, deaths;
	uint64_t restart_at_ns, died_ns, last_turns, turns_at_ns;
	struct iog_poison last_death;
	bool last_death_known;
	struct iog_id done_id; /* the furthest record any incarnation completed; epoch 0: none */
	void *launched;        /* the launcher's own */
	/* endpoints, and stages on threads */
	pthread_t thread;
	bool threaded;
	_Atomic uint32_t phase; /* enum iog_phase */
	void *self;
	pthread_mutex_t self_lock; /* a source's: it may be woken from the controlling thread while it closes */
	struct iog_err err;        /* valid when phase is IOG_PHASE_FAILED, or for a warning */
	_Atomic uint64_t records, bytes, elided, bad, failed, duplicates, dropped, sleeps;
	_Atomic uint64_t cpu_ns;
	_Atomic uint64_t late[IOG_LATE_BUCKETS]; /* sinks: from a source to stored */
	uint64_t helper_cpu_ns;                  /* of a thread that worked for this one, and has ended */
	_Atomic uint64_t stamping;               /* sources: 1 + the version being stamped on a record that is not in a ring yet; 0: none */
	_Atomic uint64_t forged;                 /* sources: releases that could not be */
	uint64_t forged_seen;
	bool chosen, with_other; /* for what is being started or replaced; dead, waiting for the one it is replaced with */
	bool done, reported;
};
enum iog_phase { IOG_PHASE_NEW, IOG_PHASE_OPEN, IOG_PHASE_DONE, IOG_PHASE_FAILED };

struct iog_engine {
	struct iog_graph *g;
	const struct iog_cut *cut;
	struct iog_engine_opts o;
	struct iog_rt *rt;         /* one per unit */
	struct iog_edge_mem *edge; /* one per edge: the current incarnation */
	struct iog_edge_mem *old;  /* of dead incarnations, freed at the end */
	uint32_t n_old;
	struct iog_arena_mem *old_arena;
	uint32_t n_old_arenas;
	uint64_t state_key; /* with o.state: of this graph as it is configured */
	_Atomic uint32_t param_version;
	bool params_wait; /* configurations changed and not in the stages yet */
	uint64_t started_ns, stop_ns;
	bool running, draining, stopping;
	_Atomic bool failed;
	_Atomic int rc;
	struct iog_err err; /* with rc */
};

extern const struct iog_launcher iog_launch_thread, iog_launch_process, iog_launch_vm;

/* Runs the commands posted to rt with these handlers; the unit's thread. False: stop. */
bool iog_commands_run(struct iog_rt *rt, void *ctx, void (*in)(void *, uint32_t, const struct iog_worker_in *),
	void (*out)(void *, uint32_t, uint32_t, const struct iog_edge *));
/* Snapshots of at least `bytes` in the file at path, which is made when there is none. *kept: it has those of the same key; else they are empty.
 * 0 or -errno with a message. */
int iog_snapshots_open(struct iog_region_map *r, const char *path, uint64_t bytes, uint64_t key, bool *kept, struct iog_err *err);
/* The first failure of the run is kept and decides its result. */
void iog_engine_fail(struct iog_engine *e, int rc, const char *who, const char *text);
/* I/O threads. */
void *iog_source_thread(void *rt);
void *iog_sink_thread(void *rt);
/* What a consumer maps of what `edge` brings. */
void iog_engine_input(struct iog_engine *e, uint32_t edge, struct iog_worker_in *in);
/* Puts changed configurations into the stages when no record in flight needs the place they take. */
void iog_engine_params(struct iog_engine *e);
/* Names a thread by its unit, as far as 15 characters go: what top and debuggers show. */
static inline void iog_thread_name(pthread_t thread, const struct iog_unit *u)
{
	char name[16];
	iog_format(name, sizeof name, "%.15s", u->name);
	pthread_setname_np(thread, name);
}
/* CPU time of the calling thread. */
uint64_t iog_cpu_ns(void);
/* Widest vector level of this CPU. */
uint32_t iog_host_isa(void);
/* Stage operators' library handles: opened where they run. */
int iog_libs_open(const struct iog_stage *st, void **lib, struct iog_err *err);
void iog_libs_close(const struct iog_stage *st, void **lib);

#endif
