/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The worker: the one loop that every target runs, in a thread, a sidecore process or the guest of a VM. It takes records from its inlets
 * in the order of (epoch, seq), pairs those of several inlets, calls the operators of its stage one after the other, and sends what comes
 * out. Freestanding: waiting, waking and the clock are callbacks of the target.
 *
 * A stage (struct iog_stage) is a flat image without pointers, made by the graph compiler and read-only for the worker. What the worker
 * owns lies in memory it is given. What others see of it while it runs, and all that survives it, lies in two shared parts: its status
 * (struct iog_status: what it does, counters) and, when it has state on a safe path, its snapshots (struct iog_snapshots).
 *
 * Safe release: an input is given back once everything made from it and from all before it was released by every consumer, and a stored
 * snapshot covers it. Two snapshots take turns; `base` names the one that releases have reached, and a successor starts from it. `base` is
 * stored before the first release it allows, so whatever instant the worker dies at, what is not released can be computed again.
 *
 * Windows: the first operator of a stage may hold earlier inputs (iog_need.window). They stay unreleased, so holding them costs no copy, and
 * a successor gets them again: a snapshot also names the oldest input that was held when it was taken, and releases stop before that one.
 */
#ifndef IOG_CORE_WORKER_H
#define IOG_CORE_WORKER_H

#include "edge.h"
#include "iog_op.h"

IOG_C_BEGIN

enum {
	IOG_STAGE_NODES = 24,
	IOG_CONF_VERSIONS = 8, /* of live parameters, in force at once */
	IOG_FROM_INPUT = 255,  /* as iog_ref.node: the stage's input number .port */
	IOG_POISON = 8,
	IOG_STAGE_MAGIC = 0x53474f49, /* "IOGS" */
};

struct iog_ref {
	uint8_t node, port;
};

struct iog_stage_node {
	char op[IOG_NAME], name[IOG_NAME]; /* operator; name in the graph */
	uint64_t conf;                     /* offset in the image: IOG_CONF_VERSIONS times conf_bytes */
	uint64_t state, state_bytes;       /* place in the stage's state */
	uint64_t scratch_bytes;
	uint64_t out_schema[IOG_PORTS]; /* offsets in the image */
	uint64_t out_max[IOG_PORTS];
	int8_t out_slot[IOG_PORTS]; /* stage output whose slot this output is written to directly; -1: to scratch */
	struct iog_ref in[IOG_PORTS];
	uint32_t conf_bytes, out_blocks;
	uint32_t split; /* dimension along which an operator that only knows pieces is cut */
	uint8_t n_in, n_out, pad[2];
};
struct iog_stage_in {
	uint64_t schema;
	uint32_t max_blocks; /* of a record */
	uint32_t pad;
};
struct iog_stage_out {
	uint64_t schema;
	uint64_t head_max; /* where payload starts in a slot */
	struct iog_ref from;
	uint8_t views; /* outputs may refer to input slots (consumers in the same trust domain, all edges blocking) */
	uint8_t pad[5];
};
struct iog_stage {
	uint32_t magic, n_nodes, n_in, n_out;
	uint64_t bytes; /* of the image */
	uint64_t state_bytes;
	uint8_t safe; /* release rule */
	uint8_t pad[3];
	uint32_t window; /* inputs the first node holds; then there is one input, and only that node reads it */
	char name[IOG_NAME];
	struct iog_stage_in in[IOG_PORTS];
	struct iog_stage_out out[IOG_PORTS];
	struct iog_stage_node node[IOG_STAGE_NODES];
	/* schemas and configurations follow */
};

/*
 * What happened, per operator. Counters are written by the worker only, by plain loads and stores (iog_count), and read by anyone at any time.
 */
struct iog_node_count {
	_Atomic uint64_t records, out, elided, bad, failed;
	_Atomic uint64_t bytes_in, bytes_out;
	_Atomic uint64_t cycles, timed;   /* of `timed` sampled calls, which stand for the others */
	_Atomic uint64_t odd_cycles, odd; /* of sampled ones that do not: the first, and those that were interrupted */
};
enum iog_worker_state { IOG_W_STARTING, IOG_W_RUNNING, IOG_W_DRAINED /* all done */, IOG_W_STOPPED, IOG_W_FAILED };
struct iog_status {
	_Atomic uint32_t state;
	uint32_t pad;
	_Atomic uint64_t turns;                 /* rises with every record and every turn of the loop */
	_Alignas(64) _Atomic uint64_t busy_seq; /* record in hand, valid while busy is 1: a death then is that record's */
	_Atomic uint32_t busy, busy_epoch, busy_node;
	_Atomic uint32_t done_epoch; /* of the last record that was completed; 0: none */
	_Atomic uint64_t done_seq;
	uint32_t fail_node, fail_step;
	uint64_t fail_seq;
	_Alignas(64) _Atomic uint64_t in_records[IOG_PORTS], in_bytes[IOG_PORTS],
		in_duplicates[IOG_PORTS], in_forged[IOG_PORTS], in_bad[IOG_PORTS];
	_Atomic uint64_t out_records[IOG_PORTS], out_bytes[IOG_PORTS], out_elided[IOG_PORTS], out_failed[IOG_PORTS], poisoned;
	_Atomic uint64_t out_forged[IOG_PORTS], out_dropped[IOG_PORTS];
	_Atomic uint64_t sleeps, wakes;
	struct iog_node_count node[IOG_STAGE_NODES];
};

#ifndef __cplusplus
static inline void iog_count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

static inline void iog_counts_add(_Atomic uint64_t *to, const _Atomic uint64_t *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		iog_count(&to[i], atomic_load_explicit(&from[i], memory_order_relaxed));
}
static inline void iog_node_count_add(struct iog_node_count *to, const struct iog_node_count *from)
{
	iog_counts_add(&to->records, &from->records, sizeof *to / sizeof to->records);
}
/* Every counter; the rest of a status is about now. */
static inline void iog_status_add(struct iog_status *to, const struct iog_status *from)
{
	iog_counts_add(to->in_records, from->in_records,
		(offsetof(struct iog_status, node) - offsetof(struct iog_status, in_records)) / sizeof to->sleeps);
	for (unsigned j = 0; j < IOG_STAGE_NODES; j++)
		iog_node_count_add(&to->node[j], &from->node[j]);
}
#endif

/* Two buffers of state behind this header, each IOG_ALIGN-aligned. Written by the worker only. */
struct iog_snapshots {
	_Atomic uint32_t base; /* index + 1 of the snapshot that releases have reached; 0: none */
	uint32_t pad;
	/* State after (epoch, seq). The window began at `from`, and what came of all below `open` was decided. Both seq + 1 without a window. */
	struct {
		uint64_t seq, from, open;
		uint32_t epoch, pad;
	} name[2];
};
static inline uint64_t iog_snapshots_bytes(uint64_t state_bytes)
{
	return IOG_ROUND_UP(sizeof(struct iog_snapshots), IOG_ALIGN) + 2 * IOG_ROUND_UP(state_bytes, IOG_ALIGN);
}

/* What the target does for the loop. All called on the worker's thread. */
struct iog_waitword {
	const _Atomic uint32_t *word;
	uint32_t seen; /* sleep only while it has this value */
};
struct iog_env {
	void *ctx;
	/* Sleeps until one of the words differs, a wake-up, or limit_ns. */
	void (*wait)(void *ctx, const struct iog_waitword *w, uint32_t n, uint64_t limit_ns);
	void (*wake)(void *ctx, const _Atomic uint32_t *word);
	uint64_t (*now_ns)(void *ctx);
	/* Looks at requests from outside (replaced edges, stop); called when idle and every few turns. false: stop now. */
	bool (*control)(void *ctx);
	/* Tests: called at every numbered step of the protocol. NULL in real life. */
	void (*point)(void *ctx, uint32_t point);
	uint64_t spin_ns;  /* how long to spin before sleeping */
	uint64_t sleep_ns; /* how long one sleep lasts at most */
};

/* Steps of the protocol, in the order one record meets them. */
enum iog_point {
	IOG_AT_TAKEN = 1, /* descriptor read, nothing done */
	IOG_AT_RUN,       /* operators ran, nothing sent */
	IOG_AT_ENCODED,   /* record in its slot */
	IOG_AT_PUSHED,    /* descriptor in the ring, not visible */
	IOG_AT_PUBLISHED, /* visible */
	IOG_AT_REAPED,    /* consumers' releases read */
	IOG_AT_SNAPSHOT,  /* snapshot stored, not base */
	IOG_AT_BASE,      /* base moved, inputs not given back */
	IOG_AT_RELEASED,  /* releases written, not visible */
	IOG_AT_RETURNED,  /* visible */
	IOG_AT_CLOSED,    /* end of stream sent */
	IOG_POINTS
};

/* The ends, as mapped in the worker's address space. */
struct iog_worker_in {
	struct iog_edge edge;
	uint32_t n_slots;
	uint64_t slot_bytes;
	/* The producer's arena first, then arenas its records may refer to. Kept. */
	struct iog_region region[IOG_PORTS];
	uint32_t n_regions;
};
struct iog_worker_out {
	struct iog_arena arena;
	struct iog_edge edge[IOG_FANOUT];
	uint32_t n_edges;
};
struct iog_poison {
	uint64_t seq;
	uint32_t epoch, pad;
};

struct iog_worker_args {
	const struct iog_stage *stage; /* kept; bytes long, checked by init */
	uint64_t stage_bytes;
	struct iog_worker_in in[IOG_PORTS];
	struct iog_worker_out out[IOG_PORTS];
	struct iog_status *status;            /* kept */
	struct iog_snapshots *snapshots;      /* kept; NULL unless stage->safe and it has state */
	uint64_t snapshots_bytes;             /* what is mapped there; checked by init */
	void *lib[IOG_STAGE_NODES];           /* from iog_op.open; kept */
	const struct iog_op *const *ops;      /* where names are looked up; NULL: iog_ops */
	struct iog_poison poison[IOG_POISON]; /* records to elide */
	uint32_t n_poison;
	uint32_t isa;
	struct iog_env env;
};

struct iog_worker;
/* Bytes of private memory iog_worker_init wants, 0 when the arguments are not valid. */
uint64_t iog_worker_memory(const struct iog_worker_args *a);
/* Checks the stage image, lays everything out in `memory` (zeroed, IOG_ALIGN-aligned, kept), restores the base snapshot. The worker, or
 * NULL with a message. */
struct iog_worker *iog_worker_init(const struct iog_worker_args *a, void *memory, struct iog_err *err);
/* One turn: at most `budget` records. Returns how much was done: 0 means there is nothing to do until somebody else does something. */
uint32_t iog_worker_turn(struct iog_worker *w, uint32_t budget);
/* Turns until the streams ended and everything is released, or control says stop, or a fatal failure. The final state. */
enum iog_worker_state iog_worker_run(struct iog_worker *w);
/* From env.control, on the worker's thread: the peer of an inlet / an output edge was replaced by a successor. The old producer's ring is
 * drained before the new one is read. */
void iog_worker_replace_in(struct iog_worker *w, uint32_t port, const struct iog_worker_in *in);
void iog_worker_replace_out(struct iog_worker *w, uint32_t port, uint32_t edge, const struct iog_edge *e);

IOG_C_END

#endif
