/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Expressions over records: "type == 2 and zs > 0.4", "max(T) > 1500", "sqrt(vx*vx+vy*vy+vz*vz)".
 *
 * Lua's expression syntax (or and < > <= >= ~= == + - * / // % ^ not unary-minus, parentheses, true false, numbers) over variables,
 * components (x, position.y), scaled coordinates (xs), attributes (rank-0 variables), the box (box.lx box.ly box.lz box.xlo ... box.volume),
 * `step`, `time`, `pi`, live parameters (by name, constants of one version), and functions: sqrt cbrt exp log log2 log10 sin cos tan asin
 * acos atan atan2 sinh cosh tanh abs floor ceil round sign min max (two or more arguments) pow hypot isnan isfinite clamp(x,lo,hi) if(c,a,b).
 * Of one argument with dimensions, min max sum mean count any all reduce to a record-scope value; count(cond) and mean(expr) work on any
 * element expression.
 *
 * An expression is compiled once (control path, no allocation) into a flat program without pointers: constants folded, typed, its cost
 * bounded by its length. It is evaluated in blocks of IOG_EXPR_BLOCK elements that the compiler vectorizes. Math functions are our own, so
 * results are the same bits on every target; reductions run over fixed blocks of 256 elements in index order.
 */
#ifndef IOG_CORE_EXPR_H
#define IOG_CORE_EXPR_H

#include "iog_op.h"

enum { IOG_EXPR_OPS = 96, IOG_EXPR_INPUTS = 16, IOG_EXPR_BLOCK = 256, IOG_EXPR_REGS = 12, IOG_EXPR_REDUCE = 8 };

enum iog_expr_want { IOG_WANT_ANY, IOG_WANT_BOOL, IOG_WANT_NUMBER };
enum iog_expr_scope { IOG_SCOPE_RECORD, IOG_SCOPE_ELEMENT };

/* Where a program reads: one component of one variable, per element or once per record. */
struct iog_expr_input {
	uint8_t kind, dtype;
	uint8_t var;
	uint8_t scaled;      /* 1..3: axis of a scaled coordinate + 1 */
	int32_t component;   /* index along the last dimension, -1: none */
};

struct iog_expr {
	uint8_t scope;       /* enum iog_expr_scope */
	uint8_t is_bool;
	uint8_t n_inputs, n_ops;
	uint8_t n_dims;      /* element scope: dimensions the result ranges over (the variables' common ones without the component) */
	uint8_t dim[IOG_RANK];
	struct iog_expr_input input[IOG_EXPR_INPUTS];
	struct { uint8_t op, dst, a, b; uint32_t pad; double k; } code[IOG_EXPR_OPS];
	/* further derived fields may follow; the struct stays flat */
	uint64_t opaque[64];
};

/*
 * Compiles text against schema s. Live parameters are constants. The message of a failure quotes the place and names the nearest right
 * word: `expression: unknown name "tpye" at column 1; did you mean "type"?`. 0 or -EINVAL.
 */
int iog_expr_compile(struct iog_expr *e, const char *text, const struct iog_schema *s, const struct iog_live *live, uint32_t n_live,
		     enum iog_expr_want want, struct iog_err *err);
/* Bit mask of the variables the expression reads. */
uint64_t iog_expr_reads(const struct iog_expr *e);
/* Checks a program that came from elsewhere: every register, input and op in range for schema s. */
bool iog_expr_valid(const struct iog_expr *e, const struct iog_schema *s);

/* Program bound to one record: pointers resolved, box inverted, record-scope parts (attributes, reductions) evaluated. */
struct iog_expr_run;
uint64_t iog_expr_run_size(void); /* bytes, for need.scratch; IOG_ALIGN-aligned */
/* IOG_OK; IOG_BAD_INPUT when the record lacks a variable that is read, or its box. Element-scope variables in several blocks are fine:
 * block `k` of the variables is bound (all variables an element expression reads must have equal blocking, else IOG_BAD_INPUT). */
enum iog_step iog_expr_bind(struct iog_expr_run *run, const struct iog_expr *e, const struct iog_record *r, uint32_t k, uint32_t isa);
/* Elements of the bound block. */
int64_t iog_expr_elems(const struct iog_expr_run *run);
/* Values of elements [first, first+n), n <= IOG_EXPR_BLOCK, in C order. bool results are 0.0 or 1.0. */
void iog_expr_values(struct iog_expr_run *run, int64_t first, uint32_t n, double *out);
/* Truth of elements [first, first+n): mask[i] is 0 or 1. NaN is false. */
void iog_expr_mask(struct iog_expr_run *run, int64_t first, uint32_t n, uint8_t *mask);
/* Record scope: the value. */
double iog_expr_value(const struct iog_expr_run *run);

#endif
