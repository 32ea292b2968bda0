/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Records at rest: writing one into a slot, packing one for a file or a wire, and opening one that somebody else wrote.
 * Any thread, nothing is allocated.
 *
 * iog_wire_open is the border of trust: it looks at a private copy of the head only, and what it returns stays inside the memory it was
 * told of, whatever the bytes are and whoever changes them meanwhile. The payload itself is not copied and may change.
 *
 * Freestanding: yes
 */
#include "core/wire.h"

#include <errno.h>

enum { WORD = 8, TRIPLE = 3 * WORD };

_Static_assert(sizeof(struct iog_wire_axis) == 24 && sizeof(struct iog_axis) == 24, "axes are copied as they are");
_Static_assert(offsetof(struct iog_axis, extent) == offsetof(struct iog_wire_axis, extent), "axes are copied as they are");
_Static_assert(offsetof(struct iog_axis, spacing) == offsetof(struct iog_wire_axis, spacing), "axes are copied as they are");
_Static_assert(sizeof(struct iog_wire_seg) == 24 && sizeof(struct iog_wire_var) == 8 && sizeof(struct iog_wire_block) == 24, "wire layout");
_Static_assert((int)IOG_BLOCKS_MAX *(24 + TRIPLE * IOG_RANK) + (1 << 16) < (int)IOG_HEAD_MAX, "every legal head is below IOG_HEAD_MAX");

static inline uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof v);
	return v;
}

static inline uint32_t load32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof v);
	return v;
}

static inline void store64(uint8_t *p, uint64_t v) { memcpy(p, &v, sizeof v); }

/* The sum of a head whose field head_sum is 0. */
static uint32_t head_sum(const uint8_t *head, uint64_t bytes)
{
	uint64_t h = iog_hash(head, bytes, IOG_WIRE_MAGIC);
	uint32_t sum = (uint32_t)(h ^ h >> 32);

	return sum ? sum : 1; /* 0 means: not computed */
}

static uint64_t payload_sum(const uint8_t *p, uint64_t bytes)
{
	uint64_t h = iog_hash(p, bytes, IOG_WIRE_VERSION);

	return h ? h : 1; /* 0 means: not computed */
}

static inline uint64_t block_bytes(unsigned rank) { return sizeof(struct iog_wire_block) + TRIPLE * (uint64_t)rank; }

uint64_t iog_wire_head_max(const struct iog_schema *s, uint32_t n_blocks, uint32_t n_segs)
{
	unsigned rank = 0;

	for (uint32_t i = 0; i < s->n_vars; i++)
		rank = IOG_MAX(rank, s->var[i].rank);
	return IOG_ROUND_UP(sizeof(struct iog_wire) + s->n_dims * sizeof(struct iog_wire_axis) +
				    (1 + (uint64_t)n_segs) * sizeof(struct iog_wire_seg) + s->n_vars * sizeof(struct iog_wire_var) +
				    n_blocks * block_bytes(rank),
		IOG_ALIGN);
}

/* ---- writing ---- */

/* rank words, three times: start, count, stride. Constant sizes, because a call of memcpy would cost more than the copy. */
static inline uint8_t *put_triples(uint8_t *p, const struct iog_block *b, unsigned rank)
{
#define RANK(r)                                                                                                                            \
	case r:                                                                                                                            \
		memcpy(p, b->start, r *WORD);                                                                                              \
		memcpy(p + r * WORD, b->count, r * WORD);                                                                                  \
		memcpy(p + 2 * r * WORD, b->stride, r * WORD);                                                                             \
		return p + r * TRIPLE
	switch (rank) {
		RANK(1);
		RANK(2);
		RANK(3);
		RANK(4);
		RANK(5);
		RANK(6);
		RANK(7);
		RANK(8);
	default: return p;
	}
#undef RANK
}

/* Bytes [*lo, *hi) around data that the elements of a block touch; false for a block without elements. */
static inline bool block_span(const struct iog_block *b, unsigned rank, uint32_t elem_size, int64_t *lo, int64_t *hi)
{
	/* Unsigned, because nobody promised anything about the strides of a block without elements. */
	uint64_t low = 0, high = elem_size;
	bool any = true;

	for (unsigned d = 0; d < rank; d++) {
		uint64_t last = (uint64_t)b->count[d] - 1, span = last * (uint64_t)b->stride[d];

		any &= b->count[d] > 0;
		low += (int64_t)span < 0 ? span : 0;
		high += (int64_t)span > 0 ? span : 0;
	}
	*lo = (int64_t)low, *hi = (int64_t)high;
	return any;
}

enum { GATHER = 255, EMPTY = 254 }; /* where a block goes; smaller values are numbers of segments */

struct put {
	const uint8_t *own;
	uint64_t used; /* payload bytes that are there */
	const struct iog_region *view;
	uint32_t n_view, last; /* last: the view that held the block before */
	uint8_t seg_of[32];    /* number of the segment for a view, 0: none yet */
	uint32_t n_segs;
	struct {
		uint32_t view;
		uint64_t lo, hi;
	} seg[33];
};

/* The segment a block lies in. */
static inline unsigned place(struct put *t, const uint8_t *data, int64_t lo, int64_t hi)
{
	const uint64_t from = (uint64_t)(uintptr_t)data + (uint64_t)lo, length = (uint64_t)hi - (uint64_t)lo;
	uint64_t at = from - (uint64_t)(uintptr_t)t->own;
	uint32_t k = t->last;

	if (at < t->used && length <= t->used - at)
		return 0;
	for (uint32_t tries = 0; tries < t->n_view; tries++, k = k + 1 < t->n_view ? k + 1 : 0) {
		unsigned s;

		at = from - (uint64_t)(uintptr_t)t->view[k].base;
		if (at >= t->view[k].size || length > t->view[k].size - at)
			continue;
		t->last = k;
		s = t->seg_of[k];
		if (!s) {
			s = t->n_segs++;
			t->seg_of[k] = (uint8_t)s;
			t->seg[s].view = k, t->seg[s].lo = at, t->seg[s].hi = at + length;
		} else {
			t->seg[s].lo = IOG_MIN(t->seg[s].lo, at);
			t->seg[s].hi = IOG_MAX(t->seg[s].hi, at + length);
		}
		return s;
	}
	return GATHER;
}

/* Appends a block to the own payload, dense and aligned. Returns its offset there, or UINT64_MAX when it does not fit. */
static uint64_t gather(
	uint8_t *own, uint64_t room, uint64_t *used, const struct iog_block *b, unsigned rank, uint32_t elem_size, bool opaque)
{
	const uint64_t at = IOG_ROUND_UP(*used, IOG_ALIGN);
	uint64_t bytes = opaque ? b->bytes : elem_size;

	for (unsigned d = 0; d < rank && !opaque; d++)
		if (!iog_mul(bytes, (uint64_t)b->count[d], &bytes))
			return UINT64_MAX;
	if (at > room || bytes > room - at)
		return UINT64_MAX;
	memset(own + *used, 0, at - *used);
	if (opaque)
		memcpy(own + at, b->data, bytes);
	else
		iog_block_gather(own + at, b, rank, elem_size);
	*used = at + bytes;
	return at;
}

/*
 * Measured with IOG_COST=1 build/tests/core/test-wire on an EPYC core at 2.6 GHz: 42 ns for 3 variables of rank 2 in the slot and two
 * arenas (head of 576 bytes).
 */
int64_t iog_wire_put(uint8_t *slot, uint64_t size, uint64_t payload, uint64_t used, const struct iog_record *r,
	const struct iog_region *view, uint32_t n_view, uint32_t *viewed)
{
	const struct iog_schema *s = r->schema;
	struct put t; /* not initialised as a whole: that would cost more than its use */
	const uint32_t n_dims = s->n_dims, n_vars = s->n_vars;
	uint8_t where[IOG_BLOCKS_MAX];
	uint32_t n_blocks = 0, mask = 0;
	uint64_t head = sizeof(struct iog_wire), at = used;
	uint8_t *p, *vars, *blocks, *w = where;
	struct iog_wire h;

	if (payload > size || used > size - payload)
		return -ENOSPC;
	t.own = slot + payload, t.used = used;
	t.view = view, t.n_view = IOG_MIN(n_view, 32u), t.last = 0;
	t.n_segs = 1;
	memset(t.seg_of, 0, sizeof t.seg_of);
	/* First where everything goes: the number of segments decides where the blocks stand. */
	for (uint32_t i = 0; i < n_vars; i++) {
		const struct iog_vardef *v = &s->var[i];
		const unsigned rank = v->rank;
		const bool opaque = iog_var_opaque(v);
		const uint32_t elem_size = iog_dtype_size(v->dtype), n = r->var[i].n_blocks;

		if (n > IOG_BLOCKS_MAX - n_blocks)
			return -ENOSPC;
		n_blocks += n;
		head += n * block_bytes(rank);
		for (const struct iog_block *b = r->var[i].block, *end = b + n; b < end; b++) {
			int64_t lo = 0, hi = (int64_t)b->bytes;
			bool any = opaque ? hi > 0 : block_span(b, rank, elem_size, &lo, &hi);

			*w++ = (uint8_t)(any ? place(&t, b->data, lo, hi) : EMPTY);
		}
	}
	head += n_dims * sizeof(struct iog_wire_axis) + t.n_segs * sizeof(struct iog_wire_seg) + n_vars * sizeof(struct iog_wire_var);
	if (IOG_ROUND_UP(head, IOG_ALIGN) > payload)
		return -ENOSPC;

	p = slot + sizeof h;
	memcpy(p, r->axis, n_dims * sizeof(struct iog_axis));
	p += n_dims * sizeof(struct iog_wire_axis) + sizeof(struct iog_wire_seg); /* segment 0 is known at the end */
	for (uint32_t k = 1; k < t.n_segs; k++, p += sizeof(struct iog_wire_seg)) {
		store64(p, view[t.seg[k].view].arena);
		store64(p + 8, t.seg[k].lo);
		store64(p + 16, t.seg[k].hi - t.seg[k].lo);
		mask |= 1u << t.seg[k].view;
	}
	vars = p;
	blocks = p + n_vars * sizeof(struct iog_wire_var);
	w = where;
	for (uint32_t i = 0; i < n_vars; i++) {
		const struct iog_vardef *v = &s->var[i];
		const unsigned rank = v->rank;
		const bool opaque = iog_var_opaque(v);
		const uint32_t elem_size = iog_dtype_size(v->dtype);

		store64(vars + i * sizeof(struct iog_wire_var), r->var[i].n_blocks);
		for (const struct iog_block *b = r->var[i].block, *end = b + r->var[i].n_blocks; b < end; b++) {
			unsigned seg = *w++;
			uint64_t offset;

			if (seg == GATHER) {
				offset = gather(slot + payload, size - payload, &at, b, rank, elem_size, opaque);
				if (offset == UINT64_MAX)
					return -ENOSPC;
			} else if (seg == 0) {
				offset = (uint64_t)(b->data - (slot + payload));
			} else if (seg == EMPTY) {
				offset = 0;
			} else {
				offset = (uint64_t)(uintptr_t)b->data - (uint64_t)(uintptr_t)view[t.seg[seg].view].base - t.seg[seg].lo;
			}
			store64(blocks, seg < EMPTY ? seg : 0);
			store64(blocks + 8, offset);
			store64(blocks + 16, opaque ? b->bytes : 0);
			p = put_triples(blocks + sizeof(struct iog_wire_block), b, rank);
			if (opaque) {
				for (uint8_t *q = p - rank * WORD; q < p; q += WORD)
					store64(q, 0);
			} else if (seg >= EMPTY) { /* an empty block too, so that equal records have equal bytes */
				uint64_t stride = elem_size;

				for (unsigned d = rank; d-- > 0; stride *= (uint64_t)b->count[d])
					store64(p - (rank - d) * WORD, stride);
			}
			blocks = p;
		}
	}
	p = slot + sizeof h + n_dims * sizeof(struct iog_wire_axis);
	store64(p, IOG_SELF);
	store64(p + 8, payload);
	store64(p + 16, at);
	p = slot + head;
	head = IOG_ROUND_UP(head, IOG_ALIGN);
	for (uint8_t *end = slot + head; p < end; p += WORD) /* every part of a head is a multiple of a word */
		store64(p, 0);

	h = (struct iog_wire){
		.magic = IOG_WIRE_MAGIC,
		.version = IOG_WIRE_VERSION,
		.flags = r->flags,
		.head_bytes = (uint32_t)head,
		.total_bytes = payload + at,
		.schema = s->id,
		.stream = r->id.stream,
		.seq = r->id.seq,
		.born_ns = r->born_ns,
		.step = r->step,
		.time = r->time,
		.epoch = r->id.epoch,
		.writer = r->id.writer,
		.writers = r->writers,
		.param_version = r->param_version,
		.n_dims = (uint16_t)n_dims,
		.n_vars = (uint16_t)n_vars,
		.n_segs = (uint16_t)t.n_segs,
		.n_blocks = n_blocks,
		.qos = r->qos,
		.clock = r->clock,
	};
	memcpy(slot, &h, sizeof h);
	if (viewed)
		*viewed = mask;
	return (int64_t)(payload + at);
}

/* Bytes of the exact head when everything is gathered; *payload: of what follows. */
static uint64_t packed_head(const struct iog_record *r, uint64_t *payload)
{
	const struct iog_schema *s = r->schema;
	uint64_t head = sizeof(struct iog_wire) + s->n_dims * sizeof(struct iog_wire_axis) + sizeof(struct iog_wire_seg) +
			s->n_vars * sizeof(struct iog_wire_var);

	*payload = 0;
	for (uint32_t i = 0; i < s->n_vars; i++) {
		const struct iog_vardef *v = &s->var[i];

		head += r->var[i].n_blocks * block_bytes(v->rank);
		for (uint32_t k = 0; k < r->var[i].n_blocks; k++) {
			const struct iog_block *b = &r->var[i].block[k];

			uint64_t bytes = iog_var_opaque(v) ? b->bytes : (uint64_t)iog_block_elems(b, v->rank) * iog_dtype_size(v->dtype);

			/* A view may repeat its elements (stride 0) until no memory could hold them. */
			*payload += IOG_ROUND_UP(IOG_MIN(bytes, (uint64_t)INT64_MAX / 2), IOG_ALIGN);
			*payload = IOG_MIN(*payload, (uint64_t)INT64_MAX / 2);
		}
	}
	return IOG_ROUND_UP(head, IOG_ALIGN);
}

uint64_t iog_wire_size(const struct iog_record *r)
{
	uint64_t payload, head = packed_head(r, &payload);

	return head + payload;
}

int64_t iog_wire_pack(uint8_t *dst, uint64_t size, const struct iog_record *r)
{
	uint64_t payload, head = packed_head(r, &payload), sum;
	int64_t total;
	uint32_t hs;

	if (head > size || payload > size - head)
		return -ENOSPC;
	/* Records in a row in a file stay aligned: the padding of the last block belongs to the payload. */
	total = iog_wire_put(dst, size, head, 0, r, NULL, 0, NULL);
	if (total < 0)
		return total;
	memset(dst + total, 0, head + payload - (uint64_t)total);
	sum = payload_sum(dst + head, payload);
	total = (int64_t)(head + payload);
	memcpy(dst + offsetof(struct iog_wire, total_bytes), &total, sizeof total);
	memcpy(dst + offsetof(struct iog_wire, payload_sum), &sum, sizeof sum);
	memcpy(dst + sizeof(struct iog_wire) + r->schema->n_dims * sizeof(struct iog_wire_axis) + 16, &payload, sizeof payload);
	hs = head_sum(dst, head);
	memcpy(dst + offsetof(struct iog_wire, head_sum), &hs, sizeof hs);
	return total;
}

/* ---- opening ---- */

#define BAD(...) iog_fail(err, -EBADMSG, "record: " __VA_ARGS__)

struct open_seg {
	const uint8_t *base;
	uint64_t length;
};

/* Why a block was refused. Found again here, slowly, so that the checks themselves stay short. */
static int __attribute__((cold, noinline)) bad_block(struct iog_err *err, const struct iog_schema *s, uint32_t var, uint32_t k,
	const uint8_t *p, const struct iog_wire_axis *axis, uint64_t seg_length)
{
	const struct iog_vardef *v = &s->var[var];

	for (unsigned d = 0; d < v->rank; d++) {
		int64_t start = (int64_t)load64(p + 24 + d * WORD), count = (int64_t)load64(p + 24 + (v->rank + d) * WORD);
		int64_t extent = axis[v->dim[d]].extent;

		if (start < 0 || count < 0 || start > extent || count > extent - start)
			return BAD("block %u of \"%s\" covers %lld+%lld of dimension \"%s\", which is %lld long", k, v->name,
				(long long)start, (long long)count, s->dim[v->dim[d]].name, (long long)extent);
	}
	return BAD("block %u of \"%s\" at offset %llu reaches outside its segment of %llu bytes", k, v->name,
		(unsigned long long)load64(p + 8), (unsigned long long)seg_length);
}

/* Start, count and stride from p into b; checks the first two against the extents. */
static inline bool open_counts(
	struct iog_block *b, const uint8_t *p, const struct iog_vardef *v, const struct iog_wire_axis *axis, bool *any)
{
	const unsigned rank = v->rank;
	bool ok = true, some = true;

	for (unsigned d = 0; d < rank; d++) {
		int64_t start = (int64_t)load64(p + d * WORD), count = (int64_t)load64(p + (rank + d) * WORD);
		int64_t extent = axis[v->dim[d]].extent;

		/* extent >= 0; once start is in [0, extent], extent - start cannot overflow. As unsigned, negative ones are too large. */
		ok &= (uint64_t)start <= (uint64_t)extent && (uint64_t)count <= (uint64_t)extent - (uint64_t)start;
		some &= count != 0;
		b->start[d] = start;
		b->count[d] = count;
		b->stride[d] = (int64_t)load64(p + (2 * rank + d) * WORD);
	}
	*any = some;
	return ok;
}

/*
 * Whether all elements of b (none of its counts 0) lie in a segment of `length` bytes when element [start] is at `offset`. The stride of a
 * single element means nothing; one that could overflow in the hands of an operator becomes 0.
 */
static inline bool open_inside(struct iog_block *b, unsigned rank, uint32_t elem_size, uint64_t offset, uint64_t length)
{
	uint64_t low = 0, high = elem_size; /* how far the block reaches down and up from offset */
	bool bad = false;

	for (unsigned d = 0; d < rank; d++) {
		uint64_t step = b->stride[d] < 0 ? -(uint64_t)b->stride[d] : (uint64_t)b->stride[d], span;

		if (iog_unlikely(b->count[d] == 1 && step > length))
			b->stride[d] = 0;
		bad |= __builtin_mul_overflow(step, (uint64_t)b->count[d] - 1, &span);
		if (b->stride[d] < 0)
			bad |= __builtin_add_overflow(low, span, &low);
		else
			bad |= __builtin_add_overflow(high, span, &high);
	}
	return !bad && low <= offset && offset <= length && high <= length - offset;
}

/*
 * Measured with IOG_COST=1 build/tests/core/test-wire on an EPYC core at 2.6 GHz: 56 ns for 3 variables of rank 2 in the slot and two
 * arenas (head of 576 bytes).
 */
int iog_wire_open(struct iog_record *r, const uint8_t *at, uint64_t len, const struct iog_schema *schema, const struct iog_region *region,
	uint32_t n_regions, struct iog_block *block, uint32_t max_blocks, uint8_t *head, uint64_t head_size, unsigned flags,
	struct iog_err *err)
{
	const uint32_t n_dims = schema->n_dims, n_vars = schema->n_vars;
	struct iog_wire h;
	struct iog_wire_axis axis[IOG_DIMS];
	struct open_seg seg[IOG_SEGMENTS_MAX];
	uint64_t need, self_offset;
	const uint8_t *p, *vars;
	uint32_t used = 0, zero = 0;

	if (len < sizeof h)
		return BAD("%llu bytes are shorter than a head (%zu)", (unsigned long long)len, sizeof h);
	memcpy(&h, at, sizeof h);
	/* h is what counts from here on: the compiler may not read `at` a second time. */
	__asm__ volatile("" ::: "memory");
	if (h.magic != IOG_WIRE_MAGIC)
		return BAD("it does not begin with IOGR (0x%x instead of 0x%x)", h.magic, IOG_WIRE_MAGIC);
	if (h.version != IOG_WIRE_VERSION)
		return BAD("version %u; this program reads version %d", h.version, IOG_WIRE_VERSION);
	if (h.head_bytes < sizeof h || h.head_bytes % IOG_ALIGN || h.head_bytes > IOG_HEAD_MAX)
		return BAD("its head of %u bytes is not a multiple of %d up to %d", h.head_bytes, IOG_ALIGN, IOG_HEAD_MAX);
	if (h.total_bytes < h.head_bytes || h.total_bytes > len)
		return BAD("it says it is %llu bytes long, of which %llu are here", (unsigned long long)h.total_bytes,
			(unsigned long long)len);
	if (h.schema != schema->id)
		return iog_fail(err, -EPROTO, "record: it follows another schema (0x%llx instead of 0x%llx)", (unsigned long long)h.schema,
			(unsigned long long)schema->id);
	if (h.n_dims != n_dims || h.n_vars != n_vars)
		return BAD("%u dimensions and %u variables; the schema has %u and %u", h.n_dims, h.n_vars, n_dims, n_vars);
	if (h.n_segs < 1 || h.n_segs > IOG_SEGMENTS_MAX || h.n_blocks > IOG_BLOCKS_MAX || h.flags & ~IOG_REC_OPEN)
		return BAD("%u segments, %u blocks, flags 0x%x: at most %d, %d and flag 1 are possible", h.n_segs, h.n_blocks, h.flags,
			IOG_SEGMENTS_MAX, IOG_BLOCKS_MAX);
	if (h.head_bytes > head_size || h.n_blocks > max_blocks)
		return iog_fail(err, -E2BIG, "record: its head of %u bytes with %u blocks is larger than the room for it (%llu, %u)",
			h.head_bytes, h.n_blocks, (unsigned long long)head_size, max_blocks);

	/* Only what was copied is read below. */
	memcpy(head, &h, sizeof h);
	memcpy(head + sizeof h, at + sizeof h, h.head_bytes - sizeof h);
	if (flags & IOG_OPEN_SUM) {
		memcpy(head + offsetof(struct iog_wire, head_sum), &zero, sizeof zero);
		if (head_sum(head, h.head_bytes) != h.head_sum)
			return BAD("the checksum of its head is wrong: it was damaged or cut");
	}

	need = sizeof h + n_dims * sizeof axis[0] + h.n_segs * sizeof(struct iog_wire_seg) + n_vars * sizeof(struct iog_wire_var);
	if (need > h.head_bytes)
		return BAD("its head of %u bytes is too short for its tables", h.head_bytes);
	p = head + sizeof h;
	memcpy(axis, p, n_dims * sizeof axis[0]);
	p += n_dims * sizeof axis[0];
	for (uint32_t d = 0; d < n_dims; d++) {
		const struct iog_dim *dim = &schema->dim[d];

		if (axis[d].extent < 0 || (dim->max && axis[d].extent > dim->max) || (dim->fixed && axis[d].extent != dim->max))
			return BAD("dimension \"%s\" is %lld long; the schema allows %s%lld", dim->name, (long long)axis[d].extent,
				dim->fixed ? "exactly " : "at most ", (long long)dim->max);
	}

	self_offset = load64(p + 8);
	for (uint32_t k = 0; k < h.n_segs; k++, p += sizeof(struct iog_wire_seg)) {
		const uint32_t arena = load32(p);
		const uint64_t offset = load64(p + 8), length = load64(p + 16);
		uint32_t i = 0;

		if ((arena == IOG_SELF) != (k == 0))
			return BAD("segment %u of %u has the wrong arena (0x%x)", k, h.n_segs, arena);
		if (!k) {
			if (offset < h.head_bytes || offset % IOG_ALIGN || offset > h.total_bytes || length > h.total_bytes - offset)
				return BAD("its own payload (offset %llu, %llu bytes) is outside of it", (unsigned long long)offset,
					(unsigned long long)length);
			seg[k] = (struct open_seg){ at + offset, length };
			continue;
		}
		while (i < n_regions && (region[i].arena != arena || offset > region[i].size || length > region[i].size - offset))
			i++;
		if (i == n_regions)
			return BAD("segment %u (offset %llu, %llu bytes) is outside of what is mapped here of arena %u", k,
				(unsigned long long)offset, (unsigned long long)length, arena);
		seg[k] = (struct open_seg){ region[i].base + offset, length };
	}

	vars = p;
	p += n_vars * sizeof(struct iog_wire_var);
	for (uint32_t i = 0; i < n_vars; i++) {
		const struct iog_vardef *v = &schema->var[i];
		const uint32_t n = load32(vars + i * sizeof(struct iog_wire_var)), elem_size = iog_dtype_size(v->dtype);
		const unsigned rank = v->rank;
		const uint64_t each = block_bytes(rank);
		const bool opaque = iog_var_opaque(v);
		uint64_t bytes = elem_size;
		bool huge = false;

		if (n > h.n_blocks - used || n * each > h.head_bytes - need)
			return BAD("variable \"%s\" has %u blocks, for which its head has no room", v->name, n);
		need += n * each;
		r->var[i] = (struct iog_var){ .block = block + used, .n_blocks = n };
		/* The counts are bounded by the extents, so the size of every block is bounded by that of the whole. */
		for (unsigned d = 0; d < rank; d++)
			huge |= __builtin_mul_overflow(bytes, (uint64_t)axis[v->dim[d]].extent, &bytes) || bytes > INT64_MAX;
		for (uint32_t k = 0; k < n; k++, p += each) {
			struct iog_block *b = &block[used++];
			const uint32_t sn = load32(p);
			const uint64_t offset = load64(p + 8), encoded = load64(p + 16);
			bool any;

			if (sn >= h.n_segs)
				return BAD("block %u of \"%s\" names segment %u of %u", k, v->name, sn, h.n_segs);
			if (!open_counts(b, p + sizeof(struct iog_wire_block), v, axis, &any))
				return bad_block(err, schema, i, k, p, axis, seg[sn].length);
			if (opaque ? offset > seg[sn].length || encoded > seg[sn].length - offset
				   : any && !open_inside(b, rank, elem_size, offset, seg[sn].length))
				return bad_block(err, schema, i, k, p, axis, seg[sn].length);
			if (!opaque && encoded)
				return BAD("block %u of \"%s\" has an encoded length, but the variable is not encoded", k, v->name);
			if (iog_unlikely(opaque || !any)) /* strides nobody checked */
				for (unsigned d = 0; d < rank; d++)
					b->stride[d] = 0;
			if (any && huge)
				return BAD("variable \"%s\" has more than 2^63 bytes", v->name);
			/* No element: no address that could be wrong. */
			b->data = seg[sn].base + (any || opaque ? offset : 0);
			b->bytes = encoded;
		}
	}
	if (used != h.n_blocks || IOG_ROUND_UP(need, IOG_ALIGN) != h.head_bytes)
		return BAD("its tables take %llu bytes with %u blocks; the head says %u with %u", (unsigned long long)need, used,
			h.head_bytes, h.n_blocks);
	if (flags & IOG_OPEN_SUM && payload_sum(at + self_offset, seg[0].length) != h.payload_sum)
		return BAD("the checksum of its payload (%llu bytes) is wrong: it was damaged", (unsigned long long)seg[0].length);

	r->schema = schema;
	r->id = (struct iog_id){ .stream = h.stream, .seq = h.seq, .epoch = h.epoch, .writer = h.writer };
	r->step = h.step;
	r->time = h.time;
	r->writers = h.writers;
	r->param_version = h.param_version;
	r->flags = h.flags;
	r->qos = h.qos;
	r->clock = h.clock;
	r->pad = 0;
	r->born_ns = h.born_ns;
	memcpy(r->axis, axis, n_dims * sizeof axis[0]);
	return 0;
}

/*
 * What is compared is what lies in shared memory; what is used is the private copy, but for the fields of the header, which are copied once. So it does
 * not matter what a writer does meanwhile.
 * Measured as above: 16 ns for the record that takes iog_wire_open 56.
 */
bool iog_wire_reopen(struct iog_record *r, struct iog_block *b, const uint8_t *at, uint64_t len, const uint8_t *last, const uint8_t *head)
{
	const struct iog_schema *s = r->schema;
	struct iog_wire h, was;
	const uint8_t *vars, *p;

	memcpy(&was, head, sizeof was);
	if (len < was.total_bytes)
		return false;
	memcpy(&h, at, sizeof h);
	/* As in iog_wire_open: h is what counts from here on. */
	__asm__ volatile("" ::: "memory");
	was.seq = h.seq, was.born_ns = h.born_ns, was.step = h.step, was.time = h.time;
	was.epoch = h.epoch, was.param_version = h.param_version;
	if (memcmp(&was, &h, sizeof h) || memcmp(head + sizeof h, at + sizeof h, was.head_bytes - sizeof h))
		return false;
	vars = head + sizeof h + s->n_dims * sizeof(struct iog_wire_axis) + was.n_segs * sizeof(struct iog_wire_seg);
	p = vars + s->n_vars * sizeof(struct iog_wire_var);
	for (uint32_t i = 0; i < s->n_vars; i++) {
		const uint64_t each = block_bytes(s->var[i].rank);

		for (uint32_t k = 0; k < r->var[i].n_blocks; k++, p += each, b++)
			if (load32(p) == 0) /* in its own payload, which lies elsewhere now */
				b->data = at + (b->data - last);
	}
	r->id.seq = h.seq, r->id.epoch = h.epoch;
	r->born_ns = h.born_ns, r->step = h.step, r->time = h.time, r->param_version = h.param_version;
	return true;
}
