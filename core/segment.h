/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Records in pieces, as a NIC or a wire handles them: cutting along one dimension, and joining pieces back. An operator that has only
 * `run` gets the joined record, one that has only `segment` gets a whole record as one piece, so both kinds run everywhere.
 * No allocation: the caller gives the memory. One thread per object.
 */
#ifndef IOG_CORE_SEGMENT_H
#define IOG_CORE_SEGMENT_H

#include "iog_op.h"

IOG_C_BEGIN

/*
 * How many elements of dimension dim go into a piece of at most `bytes` payload bytes (at least 1), counting the non-static variables
 * that have the dimension; variables without it travel with the first piece.
 */
int64_t iog_segment_elems(const struct iog_schema *s, unsigned dim, uint64_t bytes);

/*
 * Piece [first, first+count) of r along dim, as a record: variables with the dimension cropped (views), others present in the first piece
 * only and without blocks in later ones. Blocks are taken from block[0..max). -ENOSPC when they do not fit.
 */
int iog_segment_cut(struct iog_record *piece, const struct iog_record *r, unsigned dim, int64_t first, int64_t count,
	struct iog_block *block, uint32_t max_blocks);

/* Joins output pieces into one record in `space`. Init, then add every piece in order, then finish. */
struct iog_join {
	struct iog_record rec;
	uint8_t *space;
	uint64_t size;
	unsigned dim; /* split dimension in this schema; IOG_DIMS: the pieces carry nothing that is split */
	int64_t have; /* elements so far */
	int64_t max;  /* elements there is room for */
	uint64_t offset[IOG_VARS];
	struct iog_block block[IOG_VARS];
};
/* Room for `max` elements along dim is laid out in space[0, size). -ENOSPC when the declared maxima do not fit. */
int iog_join_init(struct iog_join *j, const struct iog_schema *s, unsigned dim, int64_t max, uint8_t *space, uint64_t size);
uint64_t iog_join_space(const struct iog_schema *s, unsigned dim, int64_t max);
int iog_join_add(struct iog_join *j, const struct iog_record *piece);
/* The joined record; borrowed until the next init. */
const struct iog_record *iog_join_finish(struct iog_join *j);

/* Calls op on a whole record whichever of run and segment it has. */
enum iog_step iog_op_run(const struct iog_op *op, const struct iog_call *c);

IOG_C_END

#endif
