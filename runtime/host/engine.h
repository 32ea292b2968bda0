/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The engine runs a cut graph on this host: it makes arenas and edges, starts every unit (sources and sinks on I/O threads, stages on
 * worker threads, in sidecore processes or sidecore VMs), watches them, replaces those that die, and ends them in order.
 * All functions are called from one controlling thread.
 */
#ifndef IOG_RUNTIME_HOST_ENGINE_H
#define IOG_RUNTIME_HOST_ENGINE_H

#include "core/graph.h"

IOG_C_BEGIN

struct iog_engine;

struct iog_engine_opts {
	uint64_t steps;    /* stop each source after so many records; 0: until it ends */
	double seconds;    /* stop after so long; 0: no limit */
	bool spin;         /* never sleep: for benches */
	uint8_t target;    /* where stages without a wish of their own run; IOG_T_ANY: host */
	uint32_t restarts; /* how often a dead process or VM is replaced before the engine gives up; default 5 */
	/* Where snapshots are kept for a process that does the same after this one was killed: the path their names begin with, and what tells the graph from
	 * others. NULL: in memory. Who ends in order removes the files. */
	const char *state;
	uint64_t state_key;
	/* Tests: a sidecore process kills itself with SIGKILL at this point of the protocol, the n-th time it comes there. */
	uint32_t kill_point, kill_count;
};

/* What one unit or node did. Strings are borrowed from the graph. */
struct iog_unit_stats {
	const char *name, *target; /* target: where it really runs */
	const char *note;          /* why not where it was asked to; of one that has ended, what there is to say; "" */
	uint64_t in_records, in_bytes, out_records, out_bytes, elided, bad, failed, dropped, duplicates, restarts, poisoned, sleeps;
	double cpu_s;                 /* of its thread or of all its processes, their start included */
	uint8_t kind;                 /* enum iog_gkind */
	const _Atomic uint64_t *late; /* sinks: IOG_LATE_BUCKETS counts of the times from the source to stored; else NULL */
};
struct iog_node_stats {
	const char *name, *op, *unit;
	uint64_t records, out, elided, bad, failed;
	double bytes_in, bytes_out, seconds; /* extrapolated from sampled calls */
};

/* An edge between units: how full it is now. */
struct iog_edge_stats {
	const char *from, *to; /* units */
	uint32_t queued, capacity;
	const char *policy;
};

/* Builds everything, nothing runs yet. The graph and the cut are kept. 0 or -errno with a message. */
int iog_engine_new(
	struct iog_engine **e, struct iog_graph *g, const struct iog_cut *cut, const struct iog_engine_opts *o, struct iog_err *err);
/* Opens the endpoints and starts all units; sinks first, sources last. 0 or -errno with a message. A process or VM that dies while it is set
 * up is no failure: iog_engine_poll replaces it, as it does later. */
int iog_engine_start(struct iog_engine *e, struct iog_err *err);
/* Some source has not opened what it reads yet, and may. */
bool iog_engine_opening(const struct iog_engine *e);
/* Looks after the units for at most timeout_s; true: everything has ended. Call again and again. */
bool iog_engine_poll(struct iog_engine *e, double timeout_s);
/* Ends the sources; what is on its way still arrives (poll until it returns true). */
void iog_engine_drain(struct iog_engine *e);
/* Ends everything now; sinks are flushed and closed, what was not stored is counted. */
void iog_engine_stop(struct iog_engine *e);
/* Sets a live parameter from the next record on; when changes come faster than records leave, from the first poll on that finds room, the
 * last values together. */
int iog_engine_param(struct iog_engine *e, const char *name, double value, struct iog_err *err);
/* 0, or the first failure with its message, while it runs too. */
int iog_engine_result(const struct iog_engine *e, struct iog_err *err);
/* At any time; counts of stages are exact when everything has ended, and somewhat behind before. */
uint32_t iog_engine_unit_stats(const struct iog_engine *e, struct iog_unit_stats *s, uint32_t max);
uint32_t iog_engine_node_stats(const struct iog_engine *e, struct iog_node_stats *s, uint32_t max);
uint32_t iog_engine_edge_stats(const struct iog_engine *e, struct iog_edge_stats *s, uint32_t max);
/* Records that reached the sinks, for a progress line. */
uint64_t iog_engine_delivered(const struct iog_engine *e);
/* Stops what still runs and frees everything. NULL is fine. 0; -ETIMEDOUT when an endpoint or an operator did not return for a minute: then
 * nothing is freed, and graph and cut must stay too. */
int iog_engine_free(struct iog_engine *e);

/* Which targets work here: for each, "" or the reason why not. Probes once. */
const char *iog_target_reason(enum iog_target t);
/* Entry of the re-executed worker process: `iog --worker FD`. Does not return before the worker ended. */
int iog_worker_main(int fd);

IOG_C_END

#endif
