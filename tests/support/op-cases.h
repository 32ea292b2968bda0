/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Cases for operators: a configuration, input schemas and a generator of deterministic input records. One plain table for every way of
 * running operators (in place, in segments, in processes, in VMs). Test support: allocates, and exits when memory is out. One thread.
 */
#ifndef IOG_TESTS_OP_CASES_H
#define IOG_TESTS_OP_CASES_H

#include "core/iog_op.h"

struct op_param {
	const char *name; /* NULL ends the list */
	struct iog_value v;
};

/* A record that owns its bytes. */
struct op_record {
	struct iog_record rec;
	struct iog_block *block;
	uint8_t *payload; /* NULL: the step was left out at this port */
	uint64_t bytes;
};

enum {
	OP_ORDER = 1, /* the result depends on how the input is cut into blocks (documented by the operator) */
	OP_GAPS = 4,  /* blocks leave places uncovered, which joining pieces fills with anything */
	OP_NOISE = 2, /* values that are neither finite nor sane are bad input for this operator's library; nothing is compared then */
};

struct op_case {
	const char *name; /* of the golden file; unique */
	const char *op;
	const char *schema; /* of every input; NULL: the output of case `after` */
	const char *after;
	uint32_t n_in, records; /* 0: 1 input, 8 records */
	uint32_t flags;
	struct op_param conf[6];
	/* Optional: changes a generated record; false leaves the step out. */
	bool (*edit)(struct op_record *r, unsigned port, unsigned i);
	const char *(*library)(void); /* the golden bytes depend on this version; NULL: on nothing */
};

extern const struct op_case op_cases[]; /* name NULL ends the table */
const struct op_case *op_case_find(const char *name);

/* A case's operator, planned: schemas sealed, conf complete. Kept while records or instances of it are in use. */
struct op_setup {
	const struct op_case *c;
	const struct iog_op *op;
	void *conf;
	struct iog_plan plan;
	struct iog_schema in[IOG_PORTS], out[IOG_PORTS];
	uint32_t records;
};
/* 0, or -errno with a message. */
int op_setup_init(struct op_setup *s, const struct op_case *c, struct iog_err *err);
void op_setup_finish(struct op_setup *s);
/* Plans another operator or other parameters on given input schemas; c may be a case on the stack. */
int op_setup_plan(struct op_setup *s, const struct op_case *c, const struct iog_schema *const *in, uint32_t n_in, struct iog_err *err);

/* The case's input: records * n_in, record by record; index it by i * n_in + port. Free with op_records_free. */
struct op_record *op_setup_inputs(const struct op_setup *s);
void op_records_free(struct op_record *r, size_t n);

/* One generated record of a schema. Dimensions that are not fixed have varying extents, among them 0 and 1. */
void op_record_make(struct op_record *r, const struct iog_schema *s, unsigned port, unsigned i);
/* A copy with every variable dense and in one block per block of `from`. */
void op_record_copy(struct op_record *r, const struct iog_record *from);
/* A record owning what was packed in bytes (given). */
int op_record_open(struct op_record *r, uint8_t *bytes, uint64_t len, const struct iog_schema *s, struct iog_err *err);
void op_record_free(struct op_record *r);

void *op_alloc(size_t n); /* zeroed; exits when memory is out */

#endif
