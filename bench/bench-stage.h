/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A running stage on the caller's thread: operators fused by the graph compiler into a stage image, a worker in memory of its own, an edge
 * on either side, and the ends of those edges driven by hand. What the engine does on several threads, here in one, so that what a record
 * costs can be measured alone.
 */
#ifndef IOG_BENCH_BENCH_STAGE_H
#define IOG_BENCH_BENCH_STAGE_H

#include "bench/bench-op.h"
#include "core/graph.h"
#include "core/worker.h"

struct bench_stage_op {
	const struct iog_op *op; /* NULL ends the list */
	const struct bench_param *param;
};
struct bench_stage {
	struct iog_graph *g;
	struct iog_cut cut;
	struct iog_stage *image;
	struct iog_status *status;
	struct iog_worker *w;
	struct iog_worker_args args;
	struct iog_schema in_schema;
	struct iog_outlet o;   /* of the source */
	struct iog_inlet in;   /* of the sink */
	struct iog_record rec; /* what is sent: dense variables in every slot's own payload */
	struct iog_block block[IOG_VARS];
	uint64_t offset[IOG_VARS], payload, head_max;
	uint64_t sent, received, bytes;
	uint32_t last_slot; /* of the stage's arena: what came out last, until the next call */
};
/* False: the note says why. */
bool bench_stage_init(struct bench_stage *s, struct bench_figure *f, const char *schema, const struct bench_stage_op *op);
/* Calls fill for each slot's variables; otherwise they are zero. */
void bench_stage_fill(struct bench_stage *s, const char *var, void (*fill)(void *data, uint64_t bytes));
/* n records through the stage, in turns of at most `batch`; returns when all came out. False: it does not go on. */
bool bench_stage_pump(struct bench_stage *s, uint64_t n, uint32_t batch);

#endif
