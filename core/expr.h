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
 * Types: a number (f64) or a condition; mixing them is an error, if(c, a, b) converts. Integers convert to f64 (exact up to 2^53); a comparison
 * of a stored variable with a constant is exact for every type, i64 and u64 included. `//` is floor division, `%` has the sign of its right
 * side, `^` is the power, as in Lua; comparisons do not chain. Comparisons with NaN are false, but for ~=. min, max and the reductions min
 * and max pass over NaN (NaN when there is nothing else); sum and mean do not. Reductions of nothing: sum and count 0, any false, all
 * true, the others NaN. sum and mean of a condition count it as 0 or 1.
 *
 * An expression is compiled once (control path, no allocation) into a flat program without pointers: constants folded, typed, its cost
 * bounded by its length. It is evaluated in blocks of IOG_EXPR_BLOCK elements by vector kernels (core/expr-kernels.inc), one set per
 * instruction set level. Math functions are our own, so results are the same bits on every target; reductions run over fixed blocks of
 * 256 elements in index order, however the record is cut into blocks.
 */
#ifndef IOG_CORE_EXPR_H
#define IOG_CORE_EXPR_H

#include "iog_op.h"

IOG_C_BEGIN

enum { IOG_EXPR_OPS = 128, IOG_EXPR_INPUTS = 16, IOG_EXPR_BLOCK = 256, IOG_EXPR_REGS = 12, IOG_EXPR_SLOTS = 48, IOG_EXPR_RANGES = 24 };

enum iog_expr_want { IOG_WANT_ANY, IOG_WANT_BOOL, IOG_WANT_NUMBER };
enum iog_expr_scope { IOG_SCOPE_RECORD, IOG_SCOPE_ELEMENT };

enum {
	IOG_EXPR_USES_BOX = 1,
	IOG_EXPR_USES_HEAD = 2, /* step or time */
	IOG_EXPR_USES_LIVE = 4,
	IOG_EXPR_USES_REDUCE = 8, /* needs whole records: not for pieces */
};

/* Where a program reads: one component of one variable, per element or once per record. */
struct iog_expr_input {
	uint8_t element; /* 1: per element, 0: once per record */
	uint8_t dtype;
	uint8_t var;
	uint8_t scaled;    /* 1..3: axis of a scaled coordinate + 1 */
	int32_t component; /* index along the last dimension, -1: none */
};

/* Operands: below 16 a block register, above a record-scope slot + 16. core/expr-private.h has the operations. */
struct iog_expr_code {
	uint8_t op, dst, a, b, c, pad[3];
	double k;
};

/* A closed interval in the type of the variable it tests, so that `f32 variable < 0.1` means the comparison in f64. */
struct iog_expr_range {
	uint64_t lo, hi; /* bits of an f32, f64, i64 (signed types) or u64 */
};

struct iog_expr {
	uint8_t scope; /* enum iog_expr_scope */
	uint8_t is_bool;
	uint8_t uses;   /* IOG_EXPR_USES_* */
	uint8_t n_dims; /* element scope: dimensions the result ranges over (the variables' common ones without the component) */
	uint8_t dim[IOG_RANK];
	uint8_t n_inputs, n_ops, n_slots, n_ranges;
	uint8_t main_at; /* operations before it run once per record */
	uint8_t result;  /* operand */
	uint8_t pad[6];
	uint64_t box_vars; /* variables the box comes from, when it is used */
	struct iog_expr_input input[IOG_EXPR_INPUTS];
	struct iog_expr_range range[IOG_EXPR_RANGES];
	struct iog_expr_code code[IOG_EXPR_OPS];
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

/* Program bound to one record: pointers resolved, box inverted, record-scope parts (attributes, reductions) evaluated. Program and
 * record are kept until the run is not used any more. */
struct iog_expr_run;
uint64_t iog_expr_run_size(void); /* bytes, for need.scratch; IOG_ALIGN-aligned */
/* IOG_OK; IOG_BAD_INPUT when the record lacks a variable that is read, or its box. Element-scope variables in several blocks are fine:
 * block `k` of the variable with most blocks is bound, and a block of every other must contain it, else IOG_BAD_INPUT. */
enum iog_step iog_expr_bind(struct iog_expr_run *run, const struct iog_expr *e, const struct iog_record *r, uint32_t k, uint32_t isa);
/* How many blocks there are to bind: 1 in record scope, 0 when a variable is missing. */
uint32_t iog_expr_blocks(const struct iog_expr *e, const struct iog_record *r);
/* Binds block k of the same record; record-scope parts stay. */
enum iog_step iog_expr_rebind(struct iog_expr_run *run, uint32_t k);
/* Place of the bound block in the global shape, along position d of iog_expr.dim. */
int64_t iog_expr_start(const struct iog_expr_run *run, unsigned d);
/* Elements of the bound block. */
int64_t iog_expr_elems(const struct iog_expr_run *run);
/* Values of elements [first, first+n), n <= IOG_EXPR_BLOCK, in C order. bool results are 0.0 or 1.0. */
void iog_expr_values(struct iog_expr_run *run, int64_t first, uint32_t n, double *out);
/* Truth of elements [first, first+n): mask[i] is 0 or 1. NaN is false. */
void iog_expr_mask(struct iog_expr_run *run, int64_t first, uint32_t n, uint8_t *mask);
/* The same as bits: bit i of bits[i / 64], the rest of the last word 0. Conditions only. About 90 cycles a block and comparison. */
void iog_expr_bits(struct iog_expr_run *run, int64_t first, uint32_t n, uint64_t *bits);
/* Record scope: the value. */
double iog_expr_value(const struct iog_expr_run *run);

/*
 * For records in pieces, whose later pieces lack the variables without the split dimension: what the first piece's bind computed once
 * per record, kept in an operator's state, and a bind that takes it from there.
 */
struct iog_expr_kept {
	double slot[IOG_EXPR_SLOTS];
	uint64_t truth; /* bit per slot */
	struct iog_box box;
};
void iog_expr_keep(const struct iog_expr_run *run, struct iog_expr_kept *kept);
enum iog_step iog_expr_resume(struct iog_expr_run *run, const struct iog_expr *e, const struct iog_record *r,
	const struct iog_expr_kept *kept, uint32_t k, uint32_t isa);

/* ---- what expressions are made of, for operators with loops of their own ---- */

/* One variable, or one component of it, in one block: a sequence of elements in C order. */
struct iog_column {
	const uint8_t *base;
	int64_t n;           /* elements */
	uint8_t dtype, rank; /* of the loop nest, after merging */
	uint8_t pad[6];
	int64_t count[IOG_RANK], stride[IOG_RANK];
};
/* Block k of variable var, component c of its last dimension (-1: all of it). IOG_BAD_INPUT when there is no such block, or it does
 * not hold all components. */
enum iog_step iog_column_bind(struct iog_column *col, const struct iog_record *r, unsigned var, int component, uint32_t k);
/* Elements [first, first+n), n <= IOG_EXPR_BLOCK, as f64. out is IOG_ALIGN-aligned and IOG_EXPR_BLOCK long: the rest becomes 0. */
void iog_column_load(const struct iog_column *col, int64_t first, uint32_t n, double *out, uint32_t isa);

/*
 * The blocks of a variable in index order, when they follow each other along the slowest dimension (the ranks of a job, in any order);
 * otherwise as the record lists them. The variable is kept until the walk ends.
 */
struct iog_walk {
	const struct iog_var *var;
	int64_t next;
	uint32_t at, left;
	bool chained;
};
void iog_walk_start(struct iog_walk *w, const struct iog_var *var);
bool iog_walk_next(struct iog_walk *w, uint32_t *k);

/*
 * Sum, extremes and counts of a sequence. The sum is taken in blocks of 256 in index order: element i goes into lane i mod 8, a full block
 * folds its lanes pairwise into the sum. The result does not depend on how the sequence was cut. Starts zeroed with iog_fold_start.
 */
struct iog_fold {
	double lane[8], min[8], max[8], sum;
	int64_t n, nan; /* elements seen, and how many of them were NaN; NaN is in neither sum nor extremes */
};
void iog_fold_start(struct iog_fold *f);
/* Adds n <= IOG_EXPR_BLOCK values (IOG_ALIGN-aligned). Fast when f->n and n are multiples of 256. */
void iog_fold_add(struct iog_fold *f, const double *v, uint32_t n, uint32_t isa);
/* Sum; extremes (NaN when there was no number). */
double iog_fold_sum(const struct iog_fold *f);
void iog_fold_range(const struct iog_fold *f, double *min, double *max);

/*
 * Copies rows of `row` bytes, `stride` apart at src, whose bit is set: row i is asked by bit at + i of bits. dst takes them without gaps;
 * `room` bytes may be written there. Returns the number of rows, which must fit. Kernels for 1, 2, 4, 8 and 12 bytes.
 */
uint64_t iog_compact(uint8_t *dst, uint64_t room, const uint8_t *src, int64_t stride, uint64_t row, const uint64_t *bits, uint64_t at,
	uint64_t n, uint32_t isa);

IOG_C_END

#endif
