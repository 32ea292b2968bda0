/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A record as operators see it: validated, with pointers. Its other form, in a slot or on a wire, is in wire.h; turning that into this
 * is where every check happens, so whoever holds a struct iog_record may follow its pointers.
 *
 * Ownership: a record borrows everything (schema, block tables, payload) from the slot, the input or the scratch it was made from, and
 * is valid as long as that is. Copying the struct copies the view, never the payload.
 */
#ifndef IOG_CORE_RECORD_H
#define IOG_CORE_RECORD_H

#include "schema.h"

IOG_C_BEGIN

/* One piece of a variable, placed at start in its global shape. Rank and dimensions are the variable's. */
struct iog_block {
	const uint8_t *data; /* element [start]; may be unaligned and strides may be negative: load elements by memcpy */
	uint64_t bytes;      /* opaque encodings: encoded length at data; else 0 */
	int64_t start[IOG_RANK], count[IOG_RANK];
	int64_t stride[IOG_RANK]; /* bytes; unused for opaque encodings */
};

struct iog_var {
	const struct iog_block *block;
	uint32_t n_blocks; /* 0: the variable is not in this record (an empty one has a block with a count of 0) */
	uint32_t pad;
};

/* What a dimension is in this record. Coordinate of index i: origin + spacing * i. */
struct iog_axis {
	int64_t extent;
	double origin, spacing;
};

enum {
	IOG_REC_OPEN = 1, /* on a wire: the extent along the split dimension is not known before the last segment */
};

/*
 * Identity: (stream, epoch, writer, seq). seq rises strictly within an epoch and is the order-preserving image of the step, so records
 * of different writers and branches that belong together have equal (epoch, seq). A step that does not rise starts a new epoch.
 */
struct iog_id {
	uint64_t stream, seq;
	uint32_t epoch, writer;
};

struct iog_record {
	const struct iog_schema *schema;
	struct iog_id id;
	int64_t step;
	double time;            /* in the source's unit */
	uint32_t writers;       /* how many writers the stream has */
	uint32_t param_version; /* of the live parameters, stamped where the record entered the graph */
	uint16_t flags;         /* IOG_REC_* */
	uint8_t qos, clock;     /* class; clock id (0: simulation time) */
	uint32_t pad;
	uint64_t born_ns;               /* CLOCK_MONOTONIC when it entered the graph; 0: not stamped. Never influences an output */
	struct iog_axis axis[IOG_DIMS]; /* by dimension of the schema */
	struct iog_var var[IOG_VARS];   /* by variable of the schema; entries at and after n_vars are not valid */
};

static inline uint64_t iog_seq_of_step(int64_t step) { return (uint64_t)step ^ (1ull << 63); }

/* Order of records in a stream: by epoch, then seq. Negative, 0, positive. */
static inline int iog_id_order(const struct iog_id *a, const struct iog_id *b)
{
	if (a->epoch != b->epoch)
		return a->epoch < b->epoch ? -1 : 1;
	return a->seq < b->seq ? -1 : a->seq > b->seq;
}

/* Copies identity, time, flags and axes (of n_dims dimensions), not the schema and not the variables. ~5 ns. */
static inline void iog_record_head(struct iog_record *to, const struct iog_record *from, uint32_t n_dims)
{
	memcpy(&to->id, &from->id, offsetof(struct iog_record, axis) - offsetof(struct iog_record, id));
	memcpy(to->axis, from->axis, n_dims * sizeof to->axis[0]);
}

/* Elements of a block: the product of its counts. In validated records it fits when no count is 0, and is 0 when one is. */
static inline int64_t iog_block_elems(const struct iog_block *b, unsigned rank)
{
	uint64_t n = 1;
	for (unsigned i = 0; i < rank; i++)
		n *= (uint64_t)b->count[i];
	return (int64_t)n;
}
/* True when the elements lie in C order without gaps. */
bool iog_block_dense(const struct iog_block *b, unsigned rank, uint32_t elem_size);
/* Sets C-order strides for counts and returns the bytes of the whole block. */
uint64_t iog_block_set_dense(struct iog_block *b, unsigned rank, uint32_t elem_size);
/* Decoded bytes of variable i over all its blocks. */
uint64_t iog_record_var_bytes(const struct iog_record *r, unsigned i);

/*
 * Copies the elements of b, in C order and without gaps, to dst (elem_size * elems bytes). The one strided copy of the project; rows
 * that are contiguous go by memcpy. dst and b must not overlap.
 */
void iog_block_gather(uint8_t *dst, const struct iog_block *b, unsigned rank, uint32_t elem_size);
/*
 * Copies all blocks of variable i of r into dst, a dense C-order array of the variable's global shape (axis extents). Elements no block
 * covers are left as they are. Returns the number of elements copied.
 */
int64_t iog_record_assemble(const struct iog_record *r, unsigned i, uint8_t *dst);
/* The same, and elements no block covers are not numbers, or 0 where the type has none: the part of a rank that is gone. */
void iog_record_assemble_whole(const struct iog_record *r, unsigned i, uint8_t *dst);
/* True when the variable is one dense block that covers its whole global shape; *data is then its first element. */
bool iog_record_whole(const struct iog_record *r, unsigned i, const uint8_t **data);

/*
 * Views. Each makes `to` from `from` in O(rank), copying nothing; false when the result is empty (counts are then 0).
 * crop keeps the global indices [lo, hi) of dimension position d (0 = slowest), renumbered so that lo becomes 0;
 * decimate keeps every n-th global index; select keeps one index (the dimension stays, 1 long).
 */
bool iog_block_crop(struct iog_block *to, const struct iog_block *from, unsigned rank, unsigned d, int64_t lo, int64_t hi);
bool iog_block_decimate(struct iog_block *to, const struct iog_block *from, unsigned rank, unsigned d, int64_t n);
bool iog_block_flip(struct iog_block *to, const struct iog_block *from, unsigned rank, unsigned d, int64_t extent);

/* Scalars of the record, by variable index, converted to double; false when the variable is absent, not rank 0, or not a number. */
bool iog_record_scalar(const struct iog_record *r, unsigned i, double *value);
/* One element of type dtype at p as double (memcpy load; bool and integers convert, complex gives the real part). */
double iog_load(const uint8_t *p, unsigned dtype);
/* Stores v converted to dtype (integers saturate, NaN becomes 0). */
void iog_store(uint8_t *p, unsigned dtype, double v);

/*
 * The periodic cell. Three edge vectors and an origin, from variable `box` (f32 or f64, [3,3] rows a, b, c, or [3] edge lengths) and,
 * when present, `box_origin` ([3]). inv maps a position minus origin to scaled coordinates (0..1 inside).
 */
struct iog_box {
	double edge[3][3], origin[3], inv[3][3];
};
/* False when the record has no box or it is singular. */
bool iog_record_box(const struct iog_record *r, struct iog_box *box);

IOG_C_END

#endif
