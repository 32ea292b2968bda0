/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Blocks and records in memory: views, the one strided copy, scalars, the periodic cell. Pure functions of validated
 * records, any thread; nothing here allocates.
 *
 * Freestanding: yes
 */
#include "core/record.h"

bool iog_block_dense(const struct iog_block *b, unsigned rank, uint32_t elem_size)
{
	int64_t s = elem_size;
	bool dense = true;

	for (unsigned d = rank; d-- > 0;) {
		if (!b->count[d])
			return true;
		dense &= b->count[d] == 1 || b->stride[d] == s;
		s = (int64_t)((uint64_t)s * (uint64_t)b->count[d]);
	}
	return dense;
}

uint64_t iog_block_set_dense(struct iog_block *b, unsigned rank, uint32_t elem_size)
{
	uint64_t s = elem_size;

	for (unsigned d = rank; d-- > 0;) {
		b->stride[d] = (int64_t)s;
		s *= (uint64_t)b->count[d];
	}
	return s;
}

uint64_t iog_record_var_bytes(const struct iog_record *r, unsigned i)
{
	const struct iog_vardef *v = &r->schema->var[i];
	uint64_t sum = 0;

	/* Blocks may overlap, so their sum is not bounded by the extents: it sticks at the largest number. */
	for (uint32_t k = 0; k < r->var[i].n_blocks; k++)
		if (!iog_add(sum, (uint64_t)iog_block_elems(&r->var[i].block[k], v->rank) * iog_dtype_size(v->dtype), &sum))
			return UINT64_MAX;
	return sum;
}

/* ---- the strided copy ---- */

/* n in 1..64 bytes, by two overlapping moves of a fixed size: a call of memcpy costs more than rows this short. */
static inline void copy_short(uint8_t *dst, const uint8_t *src, size_t n)
{
	uint8_t head[32], tail[32];

#define ENDS(w)                                                                                                                            \
	do {                                                                                                                               \
		memcpy(head, src, w), memcpy(tail, src + n - (w), w);                                                                      \
		memcpy(dst, head, w), memcpy(dst + n - (w), tail, w);                                                                      \
	} while (0)
	if (n >= 32)
		ENDS(32);
	else if (n >= 16)
		ENDS(16);
	else if (n >= 8)
		ENDS(8);
	else if (n >= 4)
		ENDS(4);
	else if (n >= 2)
		ENDS(2);
	else
		*dst = *src;
#undef ENDS
}

/* The two innermost loops, for one element size: strides, counts [0] outer, [1] inner. */
#define COPY_2D(name, bytes)                                                                                                               \
	static void name(uint8_t *dst, const int64_t *ds, const uint8_t *src, const int64_t *ss, const int64_t *n)                         \
	{                                                                                                                                  \
		const int64_t d1 = ds[1], s1 = ss[1], n1 = n[1];                                                                           \
		for (int64_t i = 0; i < n[0]; i++, dst += ds[0], src += ss[0]) {                                                           \
			uint8_t *d = dst;                                                                                                  \
			const uint8_t *s = src;                                                                                            \
			for (int64_t j = 0; j < n1; j++, d += d1, s += s1)                                                                 \
				memcpy(d, s, bytes);                                                                                       \
		}                                                                                                                          \
	}
COPY_2D(copy_1, 1)
COPY_2D(copy_2, 2)
COPY_2D(copy_4, 4)
COPY_2D(copy_8, 8)
COPY_2D(copy_16, 16)

/* Rows that are contiguous on both sides, n[1] bytes long. */
static void copy_rows(uint8_t *dst, const int64_t *ds, const uint8_t *src, const int64_t *ss, const int64_t *n)
{
	const size_t bytes = (size_t)n[1];

	if (bytes <= 64) {
		for (int64_t i = 0; i < n[0]; i++, dst += ds[0], src += ss[0])
			copy_short(dst, src, bytes);
	} else {
		for (int64_t i = 0; i < n[0]; i++, dst += ds[0], src += ss[0])
			memcpy(dst, src, bytes);
	}
}

/*
 * Copies count[] elements between two strided places. Dimensions that continue each other on both sides become one; the two innermost
 * of what is left run in a typed loop or by rows, the others as an odometer.
 */
static void copy_strided(uint8_t *dst, const int64_t *dst_stride, const uint8_t *src, const int64_t *src_stride, const int64_t *count,
	unsigned rank, uint32_t elem_size)
{
	/* Innermost last; filled from the end. Two more than the rank, so that there always is a pair of innermost loops. */
	int64_t n[IOG_RANK + 2], ds[IOG_RANK + 2], ss[IOG_RANK + 2], at[IOG_RANK + 2] = { 0 };
	void (*copy)(uint8_t *, const int64_t *, const uint8_t *, const int64_t *, const int64_t *);
	unsigned first = IOG_RANK + 2, last = IOG_RANK + 1;

	for (unsigned d = 0; d < rank; d++)
		if (count[d] <= 0) /* its strides may be anything */
			return;
	for (unsigned d = rank; d-- > 0;) {
		if (count[d] == 1)
			continue;
		if (first <= last && dst_stride[d] == ds[first] * n[first] && src_stride[d] == ss[first] * n[first]) {
			n[first] *= count[d];
			continue;
		}
		first--;
		n[first] = count[d], ds[first] = dst_stride[d], ss[first] = src_stride[d];
	}
	if (first > last || ds[last] != elem_size || ss[last] != elem_size) {
		if (first > last)
			first = last, n[last] = 1, ds[last] = ss[last] = elem_size;
		copy = elem_size == 1 ? copy_1 : elem_size == 2 ? copy_2 : elem_size == 4 ? copy_4 : elem_size == 8 ? copy_8 : copy_16;
	} else {
		n[last] *= elem_size;
		copy = copy_rows;
	}
	if (first == last)
		first--, n[first] = 1, ds[first] = ss[first] = 0;
	for (;;) {
		unsigned d = last - 1;

		copy(dst, ds + d, src, ss + d, n + d);
		for (;; dst -= ds[d] * n[d], src -= ss[d] * n[d], at[d] = 0) {
			if (d-- == first)
				return;
			dst += ds[d], src += ss[d];
			if (++at[d] < n[d])
				break;
		}
	}
}

/*
 * Measured with IOG_COST=1 build/tests/core/test-wire on an EPYC core at 2.6 GHz: rows of 1920 bytes out of an image 0.012 ns per byte
 * (memcpy: 0.009); one component of f32[atom,3] 0.28 to 0.5 ns per element; rows of 12 bytes 0.9 ns each.
 */
void iog_block_gather(uint8_t *dst, const struct iog_block *b, unsigned rank, uint32_t elem_size)
{
	int64_t dense[IOG_RANK], s = elem_size;

	for (unsigned d = rank; d-- > 0;) {
		dense[d] = s;
		s = (int64_t)((uint64_t)s * (uint64_t)b->count[d]);
	}
	copy_strided(dst, dense, b->data, b->stride, b->count, rank, elem_size);
}

int64_t iog_record_assemble(const struct iog_record *r, unsigned i, uint8_t *dst)
{
	const struct iog_vardef *v = &r->schema->var[i];
	const uint32_t size = iog_dtype_size(v->dtype);
	int64_t stride[IOG_RANK], s = size, copied = 0;

	if (iog_var_opaque(v))
		return 0;
	for (unsigned d = v->rank; d-- > 0;) {
		stride[d] = s;
		s = (int64_t)((uint64_t)s * (uint64_t)r->axis[v->dim[d]].extent);
	}
	for (uint32_t k = 0; k < r->var[i].n_blocks; k++) {
		const struct iog_block *b = &r->var[i].block[k];
		int64_t at = 0;
		bool inside = true;

		for (unsigned d = 0; d < v->rank; d++) {
			int64_t extent = r->axis[v->dim[d]].extent;

			inside &= b->start[d] >= 0 && b->count[d] > 0 && b->start[d] <= extent && b->count[d] <= extent - b->start[d];
			at += (int64_t)((uint64_t)b->start[d] * (uint64_t)stride[d]);
		}
		if (!inside)
			continue;
		copy_strided(dst + at, stride, b->data, b->stride, b->count, v->rank, size);
		copied += iog_block_elems(b, v->rank);
	}
	return copied;
}

void iog_record_assemble_whole(const struct iog_record *r, unsigned i, uint8_t *dst)
{
	const struct iog_vardef *v = &r->schema->var[i];
	const bool real = v->dtype >= IOG_F16 && v->dtype <= IOG_C128; /* of ones alone: not a number */
	int64_t whole = 1, have = 0;
	for (unsigned d = 0; d < v->rank; d++)
		whole *= r->axis[v->dim[d]].extent; /* validated: within the declared maximum, which fits */
	for (uint32_t k = 0; k < r->var[i].n_blocks; k++)
		have += iog_block_elems(&r->var[i].block[k], v->rank);
	if (have < whole)
		memset(dst, real ? 0xff : 0, (size_t)whole * iog_dtype_size(v->dtype));
	iog_record_assemble(r, i, dst);
}

bool iog_record_whole(const struct iog_record *r, unsigned i, const uint8_t **data)
{
	const struct iog_vardef *v = &r->schema->var[i];
	const struct iog_block *b = r->var[i].block;

	if (r->var[i].n_blocks != 1 || iog_var_opaque(v) || !iog_block_dense(b, v->rank, iog_dtype_size(v->dtype)))
		return false;
	for (unsigned d = 0; d < v->rank; d++)
		if (b->start[d] != 0 || b->count[d] != r->axis[v->dim[d]].extent)
			return false;
	*data = b->data;
	return true;
}

/* ---- views ---- */

/* Copies what a block of this rank uses: a whole struct iog_block is four cache lines. */
static inline void copy_block(struct iog_block *to, const struct iog_block *from, unsigned rank)
{
	if (to == from)
		return;
	to->data = from->data;
	to->bytes = from->bytes;
	for (unsigned d = 0; d < rank; d++) {
		to->start[d] = from->start[d];
		to->count[d] = from->count[d];
		to->stride[d] = from->stride[d];
	}
}

/* Strides of validated blocks stay within their segment as long as they are multiplied by less than a count. */
static inline const uint8_t *moved(const uint8_t *p, int64_t n, int64_t stride)
{
	return (const uint8_t *)((uintptr_t)p + (uintptr_t)n * (uintptr_t)stride);
}

static bool empty(struct iog_block *to, unsigned d)
{
	to->start[d] = to->count[d] = 0;
	return false;
}

bool iog_block_crop(struct iog_block *to, const struct iog_block *from, unsigned rank, unsigned d, int64_t lo, int64_t hi)
{
	const int64_t start = from->start[d], end = start + from->count[d];
	int64_t first, stop;

	lo = IOG_MAX(lo, (int64_t)0);
	first = IOG_MAX(start, lo);
	stop = IOG_MIN(end, hi);
	copy_block(to, from, rank);
	if (first >= stop)
		return empty(to, d);
	to->data = moved(from->data, first - start, from->stride[d]);
	to->start[d] = first - lo;
	to->count[d] = stop - first;
	return iog_block_elems(to, rank) != 0;
}

bool iog_block_decimate(struct iog_block *to, const struct iog_block *from, unsigned rank, unsigned d, int64_t n)
{
	const int64_t start = from->start[d], count = from->count[d], stride = from->stride[d];
	int64_t first, skip, kept;

	copy_block(to, from, rank);
	n = IOG_MAX(n, (int64_t)1);
	first = start / n + (start % n != 0); /* new index of the first one kept */
	skip = start % n ? n - start % n : 0;
	if (skip >= count)
		return empty(to, d);
	kept = (count - skip - 1) / n + 1;
	to->data = moved(from->data, skip, stride);
	to->start[d] = first;
	to->count[d] = kept;
	/* With one element left the stride is never used, and n times it might not fit. */
	to->stride[d] = kept > 1 ? stride * n : stride;
	return iog_block_elems(to, rank) != 0;
}

bool iog_block_flip(struct iog_block *to, const struct iog_block *from, unsigned rank, unsigned d, int64_t extent)
{
	const int64_t start = from->start[d], count = from->count[d], stride = from->stride[d];

	copy_block(to, from, rank);
	if (!count)
		return empty(to, d);
	to->data = moved(from->data, count - 1, stride);
	to->start[d] = extent - start - count;
	/* The stride of a single element may be anything, also what has no opposite. */
	to->stride[d] = count > 1 ? -stride : stride;
	return iog_block_elems(to, rank) != 0;
}

/* ---- elements as double ---- */

#define LOAD(type, p)                                                                                                                      \
	({                                                                                                                                 \
		type value_;                                                                                                               \
		memcpy(&value_, p, sizeof value_);                                                                                         \
		value_;                                                                                                                    \
	})

static double from_half(uint16_t h)
{
	uint64_t sign = (uint64_t)(h >> 15) << 63, bits;
	unsigned e = h >> 10 & 31, m = h & 1023;
	double v;

	if (!e) { /* a multiple of 2^-24 */
		v = (double)m * 0x1p-24;
		return sign ? -v : v;
	}
	bits = sign | (uint64_t)(e == 31 ? 2047 : e + 1008) << 52 | (uint64_t)m << 42;
	memcpy(&v, &bits, sizeof v);
	return v;
}

/* Nearest, ties to even, straight from the double: going through float would round twice. */
static uint16_t to_half(double v)
{
	uint64_t bits = LOAD(uint64_t, &v), m, rest, half, r;
	uint16_t sign = (uint16_t)(bits >> 48 & 0x8000);
	int e = (int)(bits >> 52 & 2047) - 1023;
	unsigned shift = 42;

	if (v != v)
		return sign | 0x7e00;
	if (e > 15)
		return sign | 0x7c00;
	if (e < -25)
		return sign;
	m = (bits & ((1ull << 52) - 1)) | 1ull << 52;
	if (e < -14)
		shift += (unsigned)(-14 - e);
	rest = m & ((1ull << shift) - 1);
	half = 1ull << (shift - 1);
	r = m >> shift;
	r += rest > half || (rest == half && (r & 1));
	/* The hidden bit adds one to the exponent, so it starts one lower; a carry runs on into it, up to infinity. */
	return (uint16_t)(sign | (r + (e < -14 ? 0u : (uint64_t)(e + 14) << 10)));
}

double iog_load(const uint8_t *p, unsigned dtype)
{
	switch (dtype) {
	case IOG_I8: return LOAD(int8_t, p);
	case IOG_I16: return LOAD(int16_t, p);
	case IOG_I32: return LOAD(int32_t, p);
	case IOG_I64: return (double)LOAD(int64_t, p);
	case IOG_U8:
	case IOG_BYTE: return *p;
	case IOG_U16: return LOAD(uint16_t, p);
	case IOG_U32: return LOAD(uint32_t, p);
	case IOG_U64: return (double)LOAD(uint64_t, p);
	case IOG_F16: return from_half(LOAD(uint16_t, p));
	case IOG_F32:
	case IOG_C64: return (double)LOAD(float, p);
	case IOG_F64:
	case IOG_C128: return LOAD(double, p);
	case IOG_BOOL: return *p != 0;
	default: return 0;
	}
}

/* Towards zero like a C conversion, but defined for every value. */
static int64_t to_signed(double v, int64_t min, int64_t max)
{
	if (v != v)
		return 0;
	if (v >= (double)max) /* for 64 bits (double)max is max + 1, which must saturate too */
		return max;
	return v <= (double)min ? min : (int64_t)v;
}

static uint64_t to_unsigned(double v, uint64_t max)
{
	if (!(v > 0))
		return 0;
	return v >= (double)max ? max : (uint64_t)v;
}

#define STORE(type, p, v)                                                                                                                  \
	do {                                                                                                                               \
		type value_ = (type)(v);                                                                                                   \
		memcpy(p, &value_, sizeof value_);                                                                                         \
	} while (0)

void iog_store(uint8_t *p, unsigned dtype, double v)
{
	switch (dtype) {
	case IOG_I8: STORE(int8_t, p, to_signed(v, INT8_MIN, INT8_MAX)); break;
	case IOG_I16: STORE(int16_t, p, to_signed(v, INT16_MIN, INT16_MAX)); break;
	case IOG_I32: STORE(int32_t, p, to_signed(v, INT32_MIN, INT32_MAX)); break;
	case IOG_I64: STORE(int64_t, p, to_signed(v, INT64_MIN, INT64_MAX)); break;
	case IOG_U8:
	case IOG_BYTE: STORE(uint8_t, p, to_unsigned(v, UINT8_MAX)); break;
	case IOG_U16: STORE(uint16_t, p, to_unsigned(v, UINT16_MAX)); break;
	case IOG_U32: STORE(uint32_t, p, to_unsigned(v, UINT32_MAX)); break;
	case IOG_U64: STORE(uint64_t, p, to_unsigned(v, UINT64_MAX)); break;
	case IOG_F16: STORE(uint16_t, p, to_half(v)); break;
	case IOG_F32: STORE(float, p, v); break;
	case IOG_F64: STORE(double, p, v); break;
	case IOG_C64:
		STORE(float, p, v);
		STORE(float, p + 4, 0);
		break;
	case IOG_C128:
		STORE(double, p, v);
		STORE(double, p + 8, 0);
		break;
	case IOG_BOOL: STORE(uint8_t, p, v < 0 || v > 0); break;
	default: break;
	}
}

bool iog_record_scalar(const struct iog_record *r, unsigned i, double *value)
{
	const struct iog_vardef *v = &r->schema->var[i];

	if (i >= r->schema->n_vars || v->rank || !r->var[i].n_blocks || iog_var_opaque(v) || v->dtype == IOG_BYTE)
		return false;
	*value = iog_load(r->var[i].block->data, v->dtype);
	return true;
}

/* ---- the periodic cell ---- */

/* n numbers of variable `name` (f32 or f64) into v; false when it is absent or not n long. */
static bool numbers(const struct iog_record *r, const char *name, unsigned rank, unsigned n, double *v)
{
	int i = iog_schema_var(r->schema, name);
	const struct iog_vardef *d = i < 0 ? NULL : &r->schema->var[i];
	uint8_t raw[9 * sizeof(double)];

	if (!d || d->rank != rank || (d->dtype != IOG_F32 && d->dtype != IOG_F64) || !r->var[i].n_blocks)
		return false;
	for (unsigned k = 0; k < rank; k++)
		if (r->axis[d->dim[k]].extent != 3)
			return false;
	/* Exactly one block, so that a count of n elements means that each was there. */
	if (r->var[i].n_blocks != 1 || iog_record_assemble(r, (unsigned)i, raw) != n)
		return false;
	for (unsigned k = 0; k < n; k++)
		v[k] = iog_load(raw + k * iog_dtype_size(d->dtype), d->dtype);
	return true;
}

bool iog_record_box(const struct iog_record *r, struct iog_box *box)
{
	double e[3][3] = { { 0 } }, length[3], det, sizes = 1;

	if (!numbers(r, "box", 2, 9, &e[0][0])) {
		if (!numbers(r, "box", 1, 3, length))
			return false;
		for (unsigned i = 0; i < 3; i++)
			e[i][i] = length[i];
	}
	if (!numbers(r, "box_origin", 1, 3, box->origin))
		memset(box->origin, 0, sizeof box->origin);
	memcpy(box->edge, e, sizeof e);
	det = e[0][0] * (e[1][1] * e[2][2] - e[1][2] * e[2][1]) - e[0][1] * (e[1][0] * e[2][2] - e[1][2] * e[2][0]) +
	      e[0][2] * (e[1][0] * e[2][1] - e[1][1] * e[2][0]);
	for (unsigned i = 0; i < 3; i++)
		sizes *= e[i][0] * e[i][0] + e[i][1] * e[i][1] + e[i][2] * e[i][2];
	/* Flat when the volume is nothing against the product of the edges; also catches NaN and infinity. */
	if (!(det * det > 1e-24 * sizes) || __builtin_isinf(det))
		return false;
	/* scaled = (position - origin) * inv, as a row vector: inv is the inverse of the matrix with rows a, b, c. */
	for (unsigned i = 0; i < 3; i++) {
		for (unsigned j = 0; j < 3; j++) {
			unsigned a = (j + 1) % 3, b = (j + 2) % 3, c = (i + 1) % 3, d = (i + 2) % 3;

			box->inv[i][j] = (e[a][c] * e[b][d] - e[a][d] * e[b][c]) / det;
		}
	}
	return true;
}
