/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What delta and undelta share: the state that both keep equal, namely the quantized values of the last record. Element i of a record is
 * coded against element i of the record before it, or against 0 when that had fewer: so a count that changes needs no decision before
 * the whole record was seen, and pieces of a record give the same bytes as the whole. Own to this folder; one thread per state.
 */
#ifndef IOG_DELTA_DIFFERENCE_H
#define IOG_DELTA_DIFFERENCE_H

#include "core/iog_op.h"

/* gcc turns comparisons into vectors only where they need not trap; that changes no result. */
#ifdef __clang__
#define NO_TRAPS
#else
#define NO_TRAPS __attribute__((optimize("no-trapping-math")))
#endif

enum {
	CHUNK = 256,              /* elements the kernels handle at once */
	NOT_A_NUMBER = INT32_MIN, /* quantized NaN; numbers saturate at +-INT32_MAX */
};

struct difference {
	uint32_t started, open;   /* a record was finished; pieces of one are being handled */
	uint32_t epoch, key;      /* of the last record; the current one is coded absolutely */
	uint64_t seq;             /* of the last finished record */
	uint64_t elems;           /* in it; last[elems...] is 0 */
	int64_t extent[IOG_RANK]; /* of the variable's dimensions but the slowest */
	int64_t since_key;        /* delta: records since the last key */
	double quantum;           /* undelta: of the current record */
	int32_t last[] __attribute__((aligned(IOG_ALIGN)));
};

/* Where the elements of a piece lie in the state. */
struct span {
	uint64_t first, n;
};

static inline uint64_t difference_size(uint64_t elems) { return sizeof(struct difference) + IOG_ROUND_UP(elems * 4, IOG_ALIGN); }

/* False when the variable is absent or has more elements than was declared. */
static inline bool difference_span(const struct iog_record *r, unsigned var, const struct iog_seg *s, uint64_t max, struct span *span)
{
	const struct iog_vardef *v = &r->schema->var[var];
	uint64_t row = 1, first = s ? (uint64_t)s->first : 0, n = (uint64_t)r->axis[v->dim[0]].extent;
	for (unsigned d = 1; d < v->rank; d++)
		if (!iog_mul(row, (uint64_t)r->axis[v->dim[d]].extent, &row))
			return false;
	return r->var[var].n_blocks && iog_mul(first, row, &span->first) && iog_mul(n, row, &span->n) && span->first <= max &&
	       span->n <= max - span->first;
}

/* Do rows have the same shape as in the last record? Only then is element i of both the same place. */
static inline bool difference_same_rows(const struct difference *st, const struct iog_record *r, unsigned var)
{
	const struct iog_vardef *v = &r->schema->var[var];
	for (unsigned d = 1; d < v->rank; d++)
		if (st->extent[d] != r->axis[v->dim[d]].extent)
			return false;
	return true;
}

/* First piece: from here on the record is open, and if it is never finished the next one cannot refer to it. */
static inline void difference_begin(struct difference *st, const struct iog_record *r, unsigned var, bool key)
{
	const struct iog_vardef *v = &r->schema->var[var];
	st->open = 1;
	st->key = key;
	for (unsigned d = 1; d < v->rank; d++)
		st->extent[d] = r->axis[v->dim[d]].extent;
}

/* Last piece, which ends at element `end`. */
static inline void difference_end(struct difference *st, const struct iog_record *r, uint64_t end)
{
	if (st->elems > end)
		memset(st->last + end, 0, (st->elems - end) * sizeof st->last[0]);
	st->elems = end;
	st->epoch = r->id.epoch;
	st->seq = r->id.seq;
	st->started = 1;
	st->open = 0;
}

#endif
