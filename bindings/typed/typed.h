/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writing a stream from languages whose arrays know their type and shape (Fortran, Python, Lua): what is put is checked against the schema, and where
 * the part of a variable need not be said, it is that of the first array. Above iograph.h and with its rules: never NULL, one thread at a time, nothing
 * ends the program.
 *
 * The arena is made when the first step begins, so every part must be known by then. As long as one is not, a step is kept aside: its arrays are
 * copied, and when the last part is known, the step begins and takes them. This is so in the first step only. It cannot be known then whether anybody
 * wants that step, so iog_typed_begin says IOG_OK, and iog_typed_commit what became of it.
 */
#ifndef IOG_BINDINGS_TYPED_TYPED_H
#define IOG_BINDINGS_TYPED_TYPED_H

#include "core/schema.h"
/* after core/base.h, whose constants it would declare again */
#include "bindings/c/iograph.h"

/* An array of the caller, in C order. */
struct iog_array {
	const void *data;
	uint8_t dtype; /* enum iog_dtype; IOG_NONE: not known, then only elem_size is checked */
	uint32_t elem_size;
	uint8_t rank;
	int64_t count[IOG_RANK], stride[IOG_RANK]; /* elements; bytes */
};

struct iog_typed;

struct iog_typed *iog_typed_open(iog *io, const char *name, const char *schema, const char *options, int rank, int nranks);
/*
 * As iog_block, for arrays of n numbers each. count NULL: that of the first array that is put, or the whole when there is one rank and it begins nowhere
 * else. offset NULL: 0. global NULL: the count, when there is one rank. A variable that is not named here at all has all three NULL.
 */
int iog_typed_block(struct iog_typed *t, const char *var, unsigned n, const int64_t *global, const int64_t *offset, const int64_t *count);
int iog_typed_begin(struct iog_typed *t, int64_t step, double time);
/* -EINVAL with a sentence when type or shape are not those of the variable. IOG_SKIP: the step turned out not to be wanted. */
int iog_typed_put(struct iog_typed *t, const char *var, const struct iog_array *a);
/* A variable of rank 0, from a number. */
int iog_typed_attr(struct iog_typed *t, const char *var, double value);
/* As iog_wanted; 1 while that is not known. */
int iog_typed_wanted(const struct iog_typed *t, const char *var);
/* The variable's part as a dense array, without data. It must have been said. IOG_SKIP: the step turned out not to be wanted. */
int iog_typed_part(struct iog_typed *t, const char *var, struct iog_array *a);
/* The same with data: where to write until the commit. kind: type, elem_size and rank it must have, -EINVAL with a sentence otherwise; NULL: any. */
int iog_typed_fill(struct iog_typed *t, const char *var, const struct iog_array *kind, struct iog_array *a);
/* IOG_SKIP, IOG_TIMEOUT: the step turned out not to be wanted, or found no room. */
int iog_typed_commit(struct iog_typed *t);
/* Frees t. The first failure. */
int iog_typed_close(struct iog_typed *t, double timeout);
/* Frees t when its attachment was detached before, which closed the stream. */
void iog_typed_orphan(struct iog_typed *t);

/* The first failure, one sentence. Borrowed until close. */
const char *iog_typed_error(const struct iog_typed *t);
/* Why the last call failed. Borrowed until the next one. */
const char *iog_typed_why(const struct iog_typed *t);
int iog_typed_stats(const struct iog_typed *t, iog_stats *stats);
/* The declaration of a variable, NULL when there is none. */
const struct iog_vardef *iog_typed_var(const struct iog_typed *t, const char *var);

#endif
