/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs one operator in every way the contract allows and compares: with generous and with exact space, at every vector width, in
 * segments, on inputs laid out otherwise, on bad and changing input, moved in the middle. Space around everything an operator may
 * touch is guarded. Test support; one thread but for the check that changes payload.
 */
#ifndef IOG_TESTS_OP_DRIVER_H
#define IOG_TESTS_OP_DRIVER_H

#include "core/segment.h"
#include "core/wire.h"
#include "op-cases.h"

/* Memory between two guard pages, ending at the second one; what alignment leaves free is filled and checked. */
struct op_area {
	uint8_t *map, *p;
	uint64_t map_bytes, bytes;
};
void op_area_init(struct op_area *a, uint64_t bytes);
void op_area_fill(struct op_area *a, int byte);
bool op_area_intact(const struct op_area *a);
void op_area_free(struct op_area *a);

/* An operator with its memory. */
struct op_instance {
	const struct op_setup *s;
	struct op_area state, scratch, space[IOG_PORTS], block[IOG_PORTS];
	struct iog_out out[IOG_PORTS];
	struct iog_region region[IOG_PORTS]; /* where the inputs' bytes lie; outputs may point there */
	uint32_t n_regions;
	void *lib;
	uint32_t isa;
	int fill;       /* what scratch and space hold before a call */
	uint64_t extra; /* bytes of space beyond the bound */
};
int op_instance_init(struct op_instance *x, const struct op_setup *s, uint32_t isa, uint64_t extra, struct iog_err *err);
void op_instance_finish(struct op_instance *x);
/* One call; in[port] NULL: left out. seg NULL: a whole record. Outputs are in x->out until the next call. */
enum iog_step op_instance_call(struct op_instance *x, const struct iog_record *const *in, const struct iog_seg *seg);
/* Is everything in its bounds: canaries, blocks against axes, axes against the schema, data in space or in the inputs? */
bool op_instance_check(const struct op_instance *x, struct iog_err *err);

/* What came of the records of a case: outputs packed, and in a form that does not depend on how they were cut into blocks. */
struct op_result {
	enum iog_step step;
	uint8_t *packed, *plain;
	uint64_t packed_bytes, plain_bytes;
	bool single; /* no variable is in several blocks */
};
/* Runs all inputs through x; results[i * n_out + port]. */
int op_instance_run(struct op_instance *x, const struct op_record *in, struct op_result *results, struct iog_err *err);
void op_results_free(struct op_result *r, size_t n);
/* Equal steps and equal bytes; the message names the first difference. */
bool op_results_equal(const struct op_setup *s, const struct op_result *a, const struct op_result *b, struct iog_err *err);

/* Widest vector instructions of this machine. */
uint32_t op_isa(void);

/* The checks. 0; 1: cannot be made here, err says why; negative: failed, err says how. */
struct op_check {
	const char *name;
	int (*run)(const struct op_setup *s, struct iog_err *err);
	bool (*applies)(const struct op_setup *s); /* NULL: to every operator */
};
extern const struct op_check op_checks[]; /* name NULL ends the table */
/* All of them on one case; 0 or the number that failed, each printed. */
int op_driver_run(const struct op_case *c);

#endif
