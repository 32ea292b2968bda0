/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Cutting records into pieces along one dimension and joining pieces. One thread per object; the caller gives the memory.
 *
 * Freestanding: yes
 */
#include "core/segment.h"

#include <errno.h>

/* Position of dimension dim in variable v, or -1. */
static int position(const struct iog_vardef *v, unsigned dim)
{
	for (unsigned d = 0; d < v->rank; d++)
		if (v->dim[d] == dim)
			return (int)d;
	return -1;
}

int64_t iog_segment_elems(const struct iog_schema *s, unsigned dim, uint64_t bytes)
{
	uint64_t each = 0, n;

	for (uint32_t i = 0; i < s->n_vars; i++) {
		const struct iog_vardef *v = &s->var[i];
		uint64_t row = iog_dtype_size(v->dtype);

		if (v->flags & IOG_VAR_STATIC || iog_var_opaque(v) || position(v, dim) < 0)
			continue;
		for (unsigned d = 0; d < v->rank; d++)
			if (v->dim[d] != dim && !iog_mul(row, (uint64_t)IOG_MAX(s->dim[v->dim[d]].max, (int64_t)1), &row))
				return 1;
		if (!iog_add(each, row, &each))
			return 1;
	}
	n = each ? bytes / each : INT64_MAX;
	if (s->dim[dim].max)
		n = IOG_MIN(n, (uint64_t)s->dim[dim].max);
	return (int64_t)IOG_MIN(IOG_MAX(n, (uint64_t)1), (uint64_t)INT64_MAX);
}

int iog_segment_cut(struct iog_record *piece, const struct iog_record *r, unsigned dim, int64_t first, int64_t count,
	struct iog_block *block, uint32_t max_blocks)
{
	const struct iog_schema *s = r->schema;
	int64_t extent, stop;
	uint32_t used = 0;

	if (dim >= s->n_dims || first < 0 || count < 0)
		return -EINVAL;
	extent = r->axis[dim].extent;
	first = IOG_MIN(first, extent);
	stop = first + IOG_MIN(count, extent - first);
	piece->schema = s;
	iog_record_head(piece, r, s->n_dims);
	piece->axis[dim].extent = stop - first;
	if (first) /* index 0 of the piece is index `first` of the record */
		piece->axis[dim].origin += piece->axis[dim].spacing * (double)first;

	for (uint32_t i = 0; i < s->n_vars; i++) {
		const struct iog_vardef *v = &s->var[i];
		int d = position(v, dim);
		uint32_t n = 0;

		if (d < 0) {
			piece->var[i] = first ? (struct iog_var){ 0 } : r->var[i];
			continue;
		}
		if (iog_var_opaque(v) && r->var[i].n_blocks)
			return -EINVAL; /* encoded bytes cannot be cut */
		for (uint32_t k = 0; k < r->var[i].n_blocks; k++) {
			if (used + n >= max_blocks)
				return -ENOSPC;
			/* An empty block is kept only when there would be none: the variable is there, and has no elements here. */
			if (iog_block_crop(&block[used + n], &r->var[i].block[k], v->rank, (unsigned)d, first, stop) ||
				(!n && k + 1 == r->var[i].n_blocks))
				n++;
		}
		piece->var[i] = (struct iog_var){ .block = block + used, .n_blocks = n };
		used += n;
	}
	return 0;
}

/* ---- joining ---- */

/* Bytes laid out for variable i; false when they are not known. */
static bool room(const struct iog_schema *s, unsigned i, unsigned dim, int64_t max, uint64_t *bytes)
{
	const struct iog_vardef *v = &s->var[i];
	uint64_t n = iog_dtype_size(v->dtype);

	for (unsigned d = 0; d < v->rank; d++) {
		int64_t m = v->dim[d] == dim ? max : s->dim[v->dim[d]].max;

		if ((m <= 0 && v->dim[d] != dim) || !iog_mul(n, (uint64_t)m, &n))
			return false;
	}
	/* What does not compress grows a little: every encoder here stays below this. */
	if (iog_var_opaque(v) && !iog_add(n, n / 8 + 4096, &n))
		return false;
	*bytes = n;
	return n <= INT64_MAX / 2;
}

uint64_t iog_join_space(const struct iog_schema *s, unsigned dim, int64_t max)
{
	uint64_t sum = 0, n;

	for (unsigned i = 0; i < s->n_vars; i++) {
		if (!room(s, i, dim, max, &n) || !iog_add(sum, IOG_ROUND_UP(n, IOG_ALIGN), &sum))
			return UINT64_MAX;
	}
	return sum;
}

int iog_join_init(struct iog_join *j, const struct iog_schema *s, unsigned dim, int64_t max, uint8_t *space, uint64_t size)
{
	uint64_t at = 0, n;

	if (max < 0 || iog_join_space(s, dim, max) > size)
		return -ENOSPC;
	j->space = space;
	j->size = size;
	j->dim = dim;
	j->have = 0;
	j->max = max;
	memset(&j->rec, 0, offsetof(struct iog_record, var));
	j->rec.schema = s;
	for (unsigned i = 0; i < s->n_vars; i++) {
		j->rec.var[i] = (struct iog_var){ 0 };
		j->offset[i] = at;
		if (!room(s, i, dim, max, &n))
			return -ENOSPC;
		at += IOG_ROUND_UP(n, IOG_ALIGN);
	}
	return 0;
}

/* Whether a variable that was stored before has dimension d. */
static bool fixed_by_pieces(const struct iog_join *j, unsigned d)
{
	for (unsigned i = 0; i < j->rec.schema->n_vars; i++)
		if (j->rec.var[i].n_blocks && position(&j->rec.schema->var[i], d) >= 0)
			return true;
	return false;
}

/* Variable i of the piece, whole or the next elements of it, into its place. */
static int join_var(struct iog_join *j, const struct iog_record *piece, unsigned i)
{
	const struct iog_schema *s = j->rec.schema;
	const struct iog_vardef *v = &s->var[i];
	const int d = position(v, j->dim);
	struct iog_block *to = &j->block[i], b;
	struct iog_record part; /* the variable alone, with room for all its elements as its extent */
	uint64_t limit = (i + 1 < s->n_vars ? j->offset[i + 1] : j->size) - j->offset[i];

	to->data = j->space + j->offset[i];
	to->bytes = 0;
	if (iog_var_opaque(v)) {
		const struct iog_block *from = piece->var[i].block;

		if (d >= 0 || piece->var[i].n_blocks != 1)
			return -EINVAL;
		if (from->bytes > limit)
			return -ENOSPC;
		*to = *from;
		to->data = j->space + j->offset[i];
		memcpy(j->space + j->offset[i], from->data, from->bytes);
		j->rec.var[i] = (struct iog_var){ .block = to, .n_blocks = 1 };
		return 0;
	}
	for (unsigned k = 0; k < v->rank; k++) {
		const struct iog_dim *dim = &s->dim[v->dim[k]];
		int64_t extent = piece->axis[v->dim[k]].extent;

		if ((int)k != d && (extent < 0 || extent > dim->max))
			return -EINVAL;
		to->start[k] = 0;
		to->count[k] = (int)k == d ? j->max : extent;
		part.axis[v->dim[k]].extent = to->count[k];
	}
	iog_block_set_dense(to, v->rank, iog_dtype_size(v->dtype));
	part.schema = s;
	part.var[i] = (struct iog_var){ .block = &b, .n_blocks = 1 };
	for (uint32_t k = 0; k < piece->var[i].n_blocks; k++) {
		b = piece->var[i].block[k];
		if (d >= 0)
			b.start[d] += j->have;
		iog_record_assemble(&part, i, j->space + j->offset[i]);
	}
	j->rec.var[i] = (struct iog_var){ .block = to, .n_blocks = 1 };
	return 0;
}

int iog_join_add(struct iog_join *j, const struct iog_record *piece)
{
	const struct iog_schema *s = j->rec.schema;
	int64_t more = 0;
	int rc;

	if (piece->schema->id != s->id)
		return -EINVAL;
	if (j->dim < s->n_dims) {
		more = piece->axis[j->dim].extent;
		if (more < 0)
			return -EINVAL;
		if (more > j->max - j->have)
			return -ENOSPC;
	}
	for (uint32_t d = 0; d < s->n_dims; d++) {
		if (d == j->dim) {
			/* Of the first piece, also when it is empty: origins computed from later ones are rounded differently. Until finish,
			 * an extent of 1 says that there was one. */
			if (!j->rec.axis[d].extent)
				j->rec.axis[d] = piece->axis[d], j->rec.axis[d].extent = 1;
		} else if (!fixed_by_pieces(j, d)) {
			j->rec.axis[d] = piece->axis[d];
		} else if (j->rec.axis[d].extent != piece->axis[d].extent) {
			return -EINVAL;
		}
	}
	memcpy(&j->rec.id, &piece->id, offsetof(struct iog_record, axis) - offsetof(struct iog_record, id));
	for (unsigned i = 0; i < s->n_vars; i++) {
		rc = piece->var[i].n_blocks ? join_var(j, piece, i) : 0;
		if (rc)
			return rc;
	}
	j->have += more;
	return 0;
}

const struct iog_record *iog_join_finish(struct iog_join *j)
{
	const struct iog_schema *s = j->rec.schema;

	j->rec.flags &= (uint16_t)~IOG_REC_OPEN;
	if (j->dim >= s->n_dims)
		return &j->rec;
	j->rec.axis[j->dim].extent = j->have;
	for (unsigned i = 0; i < s->n_vars; i++) {
		int d = position(&s->var[i], j->dim);

		if (d >= 0)
			j->block[i].count[d] = j->have;
	}
	return &j->rec;
}

enum iog_step iog_op_run(const struct iog_op *op, const struct iog_call *c)
{
	struct iog_seg all = { .dim = c->split, .is_first = true, .is_last = true };

	if (op->run)
		return op->run(c);
	if (!op->segment)
		return IOG_FATAL;
	if (!c->in[0])
		return IOG_ELIDE;
	if (all.dim < c->in[0]->schema->n_dims)
		all.count = all.total = c->in[0]->axis[all.dim].extent;
	return op->segment(c, &all);
}
