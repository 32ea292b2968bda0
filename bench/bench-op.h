/* SPDX-License-Identifier: BSD-3-Clause */
/* One operator with its memory, called as a worker calls it, on a record made here. For figures; the caller's thread. */
#ifndef IOG_BENCH_BENCH_OP_H
#define IOG_BENCH_BENCH_OP_H

#include "bench/bench.h"
#include "core/segment.h"

struct bench_param {
	const char *name; /* NULL ends the list */
	struct iog_value v;
};

struct bench_op {
	const struct iog_op *op;
	void *conf, *lib;
	struct iog_schema in, out;
	struct iog_plan plan;
	struct iog_record rec; /* the input: extents are the schema's maxima, variables dense; its bytes are for the figure to fill */
	struct iog_block block[IOG_VARS];
	struct iog_out o;
	struct iog_call call;
};

const struct iog_op *bench_find_op(const char *name);
uint32_t bench_isa(void);
/* False: the note says why. param may be NULL. */
bool bench_op_init(struct bench_op *b, struct bench_figure *f, const char *op, const char *schema, const struct bench_param *param);
/* Where the bytes of the input's variable lie. */
void *bench_op_data(struct bench_op *b, const char *var);
enum iog_step bench_op_run(struct bench_op *b);
/* The output's variable, of the last call. */
const struct iog_block *bench_op_result(const struct bench_op *b, const char *var);

#define BENCH_STRING(text)                                                                                                                 \
	{                                                                                                                                  \
		.kind = IOG_V_STRING, .s = (text)                                                                                          \
	}
#define BENCH_NUMBER(number)                                                                                                               \
	{                                                                                                                                  \
		.kind = IOG_V_NUMBER, .n = (double)(number), .integer = true                                                               \
	}

#endif
