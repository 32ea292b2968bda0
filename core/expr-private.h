/* SPDX-License-Identifier: BSD-3-Clause */
/* What the compiler, the evaluator and the kernels of expressions share. Not for others. */
#ifndef IOG_CORE_EXPR_PRIVATE_H
#define IOG_CORE_EXPR_PRIVATE_H

#include "expr.h"

enum { EXPR_SLOT = 16 }; /* operands from here on are slots */

enum expr_op {
	/* once per record, into a slot */
	X_CONST,  /* k */
	X_TRUTH,  /* k ~= 0 */
	X_SCALAR, /* input a */
	X_BOX,    /* quantity a, enum expr_box */
	X_STEP,
	X_TIME,
	X_REDUCE, /* kind a over operand c of the next b operations */
	/* per element, into a register */
	X_LOAD,  /* input a */
	X_RANGE, /* input a in range b; c: negated */
	/* both: number -> number */
	X_NEG,
	X_ABS,
	X_SQRT,
	X_CBRT,
	X_EXP,
	X_LOG,
	X_LOG2,
	X_LOG10,
	X_SIN,
	X_COS,
	X_TAN,
	X_ASIN,
	X_ACOS,
	X_ATAN,
	X_SINH,
	X_COSH,
	X_TANH,
	X_FLOOR,
	X_CEIL,
	X_ROUND,
	X_SIGN,
	X_ADD,
	X_SUB,
	X_MUL,
	X_DIV,
	X_IDIV,
	X_MOD,
	X_POW,
	X_ATAN2,
	X_HYPOT,
	X_MIN,
	X_MAX,
	X_SELECT, /* c ? a : b */
	/* number -> condition */
	X_LT,
	X_LE,
	X_EQ,
	X_ISNAN,
	X_ISFINITE,
	/* condition -> condition */
	X_NOT,
	X_AND,
	X_OR,
	X_SAME,
	X_CHOOSE,
	X_OPS
};
static inline bool expr_is_unary(unsigned op) { return (op >= X_NEG && op <= X_SIGN) || op == X_ISNAN || op == X_ISFINITE || op == X_NOT; }
static inline bool expr_gives_truth(unsigned op) { return op == X_TRUTH || op == X_RANGE || op >= X_LT; }

enum expr_box { B_LX, B_LY, B_LZ, B_XLO, B_YLO, B_ZLO, B_XHI, B_YHI, B_ZHI, B_XY, B_XZ, B_YZ, B_VOLUME, B_COUNT };
enum expr_reduce { R_MIN, R_MAX, R_SUM, R_MEAN, R_COUNT, R_FRACTION, R_ANY, R_ALL, R_ELEMS, R_KINDS };

enum { EXPR_WORDS = IOG_EXPR_BLOCK / 64 };

/* Kernels of one instruction set level. Blocks are IOG_ALIGN-aligned; n is a multiple of 8. A mask am of 7 makes operand a a slot (8
 * equal values), of ~0 a block. All levels give the same bits. */
struct expr_kernels {
	void (*number)(unsigned op, double *d, const double *a, size_t am, const double *b, size_t bm, const uint64_t *m, size_t n);
	void (*compare)(unsigned op, uint64_t *d, const double *a, size_t am, const double *b, size_t bm, size_t n);
	/* IOG_EXPR_BLOCK elements without gaps, src may be unaligned */
	void (*load)(double *d, const void *src, unsigned dtype);
	/* n elements of `size` bytes, 3 * size apart, as far as vectors do that; how many */
	uint32_t (*column3)(uint8_t *dst, const uint8_t *p, uint32_t size, uint32_t n);
	void (*range)(uint64_t *d, const void *src, unsigned dtype, struct iog_expr_range r);
	void (*fold)(struct iog_fold *f, const double *v);
	/* rows of 1, 2, 4, 8 or 12 bytes without gaps, whose bits are in w; may write 64 bytes beyond the last one. Returns how many. */
	uint64_t (*compact)(uint8_t *dst, const uint8_t *src, uint64_t row, uint64_t w);
};
extern const struct expr_kernels iog_expr_base, iog_expr_avx2, iog_expr_avx512;
static inline const struct expr_kernels *expr_kernels(uint32_t isa)
{
	return isa >= IOG_ISA_AVX512 ? &iog_expr_avx512 : isa == IOG_ISA_AVX2 ? &iog_expr_avx2 : &iog_expr_base;
}

#endif
