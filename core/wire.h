/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A record at rest: in an arena slot, in a file, on a wire. Little-endian, 64-byte aligned, offsets instead of pointers:
 *
 *     struct iog_wire | axis[n_dims] | segment[n_segs] | var[n_vars] | blocks, each sized by its variable's rank | pad | payload
 *
 * A block names a segment and an offset in it. Segment 0 is the record's own payload (arena IOG_SELF, offset from the start of the
 * record); further ones lie in arenas the reader has mapped. docs/record-format.md shows every byte.
 *
 * iog_wire_open is the one function that validates; every trust border calls it, and it is fuzzed.
 */
#ifndef IOG_CORE_WIRE_H
#define IOG_CORE_WIRE_H

#include "record.h"

IOG_C_BEGIN

#define IOG_WIRE_MAGIC 0x52474f49u /* "IOGR" */
#define IOG_SELF       0xffffffffu
enum { IOG_WIRE_VERSION = 1, IOG_SEGMENTS_MAX = 64, IOG_BLOCKS_MAX = 4096, IOG_HEAD_MAX = 1 << 20 };

struct iog_wire {
	uint32_t magic;
	uint16_t version, flags; /* IOG_REC_* */
	uint32_t head_bytes;     /* this struct and its tables, multiple of IOG_ALIGN */
	uint32_t head_sum;       /* of the head with this field 0; 0: not computed (inside a node) */
	uint64_t total_bytes;    /* head, padding and own payload */
	uint64_t payload_sum;    /* of the own payload; 0: not computed (inside a node) */
	uint64_t schema, stream, seq, born_ns;
	int64_t step;
	double time;
	uint32_t epoch, writer, writers, param_version;
	uint16_t n_dims, n_vars, n_segs, pad;
	uint32_t n_blocks;
	uint8_t qos, clock, pad2[2];
};
_Static_assert(sizeof(struct iog_wire) == 112, "wire header layout");

struct iog_wire_axis {
	int64_t extent;
	double origin, spacing;
};
struct iog_wire_seg {
	uint32_t arena, pad;
	uint64_t offset, length;
};
struct iog_wire_var {
	uint32_t n_blocks, pad;
};
struct iog_wire_block {
	uint32_t seg, pad;
	uint64_t offset, bytes; /* then int64 start[rank], count[rank], stride[rank] */
};

/* Memory a record may refer to, as the reader has it mapped. */
struct iog_region {
	const uint8_t *base;
	uint64_t size;
	uint32_t arena;
	uint32_t pad;
};

/* Bytes of the head for a schema and a number of blocks and foreign segments: what to keep free before the payload. */
uint64_t iog_wire_head_max(const struct iog_schema *s, uint32_t n_blocks, uint32_t n_segs);

/*
 * Writes r into slot[0, size): the head at 0 and, from `payload` (IOG_ALIGN-aligned, >= the head's bytes) on, what is not there yet. The
 * first `used` payload bytes were written by the operator; blocks that point into them stay where they are, blocks that point into one
 * of the `view` regions are referred to (bit k of *viewed is set for view[k]), all others are gathered behind `used`.
 * Returns the record's total bytes, or -ENOSPC (the slot, the segment table or the block table is too small). Allocates nothing.
 * Computes no checksums: what stays in memory is not damaged, and who wants to lie can compute one.
 */
int64_t iog_wire_put(uint8_t *slot, uint64_t size, uint64_t payload, uint64_t used, const struct iog_record *r,
	const struct iog_region *view, uint32_t n_view, uint32_t *viewed);
/*
 * Instead of iog_wire_put, where the slot has the head of a record already that r differs from only in seq, epoch, step, time, born_ns and
 * param_version: writes these. A reader that has seen the rest needs no line of it again. 1 ns.
 */
static inline void iog_wire_restamp(uint8_t *slot, const struct iog_record *r)
{
	struct iog_wire *h = (struct iog_wire *)slot;
	h->seq = r->id.seq, h->born_ns = r->born_ns, h->step = r->step, h->time = r->time;
	h->epoch = r->id.epoch, h->param_version = r->param_version;
}
/* The same with everything gathered and the checksums computed: for files and wires. Size it with iog_wire_size. */
int64_t iog_wire_pack(uint8_t *dst, uint64_t size, const struct iog_record *r);
uint64_t iog_wire_size(const struct iog_record *r);

enum { IOG_OPEN_SUM = 1 /* of a file or a wire: verify the checksums */ };

/*
 * Validates the record at `at` (len bytes readable, not trusted, may change meanwhile: the head is copied to `head` first and each field
 * read once) and makes r from it. Checks: magic, version, sizes, schema id and counts, extents against the schema's
 * maxima, every block against its axis and, with its strides, against its segment, every segment against `len` or a region, with
 * overflow-checked arithmetic. Blocks are stored in block[0..max_blocks). r borrows `schema`, `block` and the payload.
 * Returns 0, or -EBADMSG (malformed), -EPROTO (other schema), -E2BIG (more blocks than room, head larger than head_size), with a message.
 */
int iog_wire_open(struct iog_record *r, const uint8_t *at, uint64_t len, const struct iog_schema *schema, const struct iog_region *region,
	uint32_t n_regions, struct iog_block *block, uint32_t max_blocks, uint8_t *head, uint64_t head_size, unsigned flags,
	struct iog_err *err);
/*
 * The same for records that come one after the other with the same tables, as those of most streams do: r, block and head are as the last call left
 * them for the record at `last`, which need not be there any more, with the same schema and regions. When the head at `at` differs from that one only
 * as iog_wire_restamp makes it, what was checked is not checked again. False: it differs otherwise, r is as it was, and iog_wire_open is needed.
 */
bool iog_wire_reopen(
	struct iog_record *r, struct iog_block *block, const uint8_t *at, uint64_t len, const uint8_t *last, const uint8_t *head);
/* One of both, for who opens one record after the other: *last is where the one before lay, NULL when there is none or schema or regions are new. */
static inline int iog_wire_open_next(struct iog_record *r, const uint8_t **last, const uint8_t *at, uint64_t len,
	const struct iog_schema *schema, const struct iog_region *region, uint32_t n_regions, struct iog_block *block, uint32_t max_blocks,
	uint8_t *head, uint64_t head_size, struct iog_err *err)
{
	int rc = 0;
	if (!*last || !iog_wire_reopen(r, block, at, len, *last, head))
		rc = iog_wire_open(r, at, len, schema, region, n_regions, block, max_blocks, head, head_size, 0, err);
	*last = rc ? NULL : at;
	return rc;
}

IOG_C_END

#endif
