/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * filter: keeps the elements for which a condition is true, along the dimension the condition ranges over, with every variable that has
 * this dimension. The condition makes one bit per element and each variable is compacted by those bits, so what is kept is decided once
 * even when payload changes meanwhile. Variables that lie plainly are compacted while their elements are still in the cache. A condition on the record as a whole keeps or elides it. Runs on the worker's thread.
 */
#include <errno.h>

#include "core/expr.h"
#include "core/iog_op.h"

struct filter_conf {
	char where[IOG_TEXT];
	/* derived */
	uint32_t dim; /* IOG_DIMS: the condition is about the whole record */
	uint32_t pad;
	uint64_t carried; /* bit per variable: it has the dimension */
	struct iog_expr expr;
};

/* Between the pieces of one record. */
struct filter_state {
	struct iog_expr_kept kept;
};

static const struct iog_param filter_params[] = {
	IOG_PARAM(struct filter_conf, where, IOG_P_EXPR, .flags = IOG_PF_REQUIRED | IOG_PF_FIRST | IOG_PF_LIVE,
		.doc = "Condition on each element (\"type == 2 and x > 0.4\"), or on the record (\"step % 10 == 0\", \"max(T) > 1500\")."),
	{ 0 },
};

/* Position of the dimension in a variable, -1: the variable does not have it. */
static int position(const struct iog_vardef *v, unsigned dim)
{
	for (unsigned d = 0; d < v->rank; d++)
		if (v->dim[d] == dim)
			return (int)d;
	return -1;
}

static int filter_plan(void *conf, struct iog_plan *p, struct iog_err *err)
{
	struct filter_conf *c = conf;
	const struct iog_schema *s = p->in[0];
	int rc = iog_expr_compile(&c->expr, c->where, s, p->live, p->n_live, IOG_WANT_BOOL, err);
	if (rc)
		return rc;
	*p->out[0] = *s;
	c->dim = IOG_DIMS, c->carried = 0;
	p->need.scratch = iog_expr_run_size();
	p->split[0] = IOG_DIMS;
	p->carried[0] = ~iog_expr_reads(&c->expr);
	if (c->expr.scope == IOG_SCOPE_RECORD) {
		if (!c->expr.uses && !iog_expr_reads(&c->expr))
			return iog_fail(err, -EINVAL, "\"%s\" does not depend on the record; name a variable", c->where);
		p->cost = (struct iog_cost){
			.cycles_record = 1500, .cycles_kib = c->expr.uses & IOG_EXPR_USES_REDUCE ? 300 : 0, .out_ratio = 1
		};
		return 0;
	}
	if (c->expr.n_dims != 1)
		return iog_fail(err, -EINVAL,
			"\"%s\" ranges over %u dimensions (%s, %s, ...); filter needs a condition over one: use components "
			"(position.x), or reduce (max(...))",
			c->where, c->expr.n_dims, s->dim[c->expr.dim[0]].name, s->dim[c->expr.dim[1]].name);
	c->dim = c->expr.dim[0];
	const char *name = s->dim[c->dim].name;
	if (!s->dim[c->dim].max)
		return iog_fail(err, -EINVAL, "the largest extent of dimension \"%s\" is not known; declare it (%s<=N)", name, name);
	for (unsigned i = 0; i < s->n_vars; i++) {
		const struct iog_vardef *v = &s->var[i];
		const int d = position(v, c->dim);
		uint64_t bytes;
		if (d < 0)
			continue;
		if (v->n_codecs)
			return iog_fail(err, -EINVAL, "variable \"%s\" is encoded (%s); filter before encoding, or decode first", v->name,
				iog_codec_name(v->codec[v->n_codecs - 1]));
		for (unsigned k = (unsigned)d + 1; k < v->rank; k++)
			if (v->dim[k] == c->dim)
				return iog_fail(err, -EINVAL, "variable \"%s\" has dimension \"%s\" twice", v->name, name);
		if (!iog_schema_var_max(s, i, &bytes))
			return iog_fail(err, -EINVAL, "the largest size of variable \"%s\" is not known; declare its dimensions", v->name);
		p->need.out_max[0] += IOG_ROUND_UP(bytes, IOG_ALIGN);
		p->need.out_blocks++;
		c->carried |= 1ull << i;
		p->out[0]->var[i].flags &= (uint8_t)~IOG_VAR_STATIC;
	}
	p->out[0]->dim[c->dim].fixed = 0;
	p->out[0]->dim[c->dim].labels[0] = 0;
	p->need.scratch += IOG_ROUND_UP((uint64_t)s->dim[c->dim].max / 8 + 16, IOG_ALIGN);
	p->need.state = sizeof(struct filter_state);
	if (!(c->expr.uses & IOG_EXPR_USES_REDUCE))
		p->split[0] = c->dim;
	p->cost = (struct iog_cost){ .cycles_record = 2000, .cycles_kib = 150, .out_ratio = 0.25 };
	return 0;
}

/* How many of bits [from, to) are set. */
static int64_t ones(const uint64_t *bits, int64_t from, int64_t to)
{
	int64_t n = 0;
	for (int64_t i = from; i < to; i = (i / 64 + 1) * 64) {
		uint64_t w = bits[i / 64] >> i % 64;
		if (to - i < 64 - i % 64)
			w &= (1ull << (to - i)) - 1;
		n += __builtin_popcountll(w);
	}
	return n;
}

enum { CHUNK = 1 << 13 }; /* elements decided and compacted at a time: about 100 KiB, in the second-level cache */

/* A variable that is compacted along the way: one block, rows without gaps in themselves. `to` is where it would lie if all were kept. */
struct stream {
	uint8_t *to;
	const uint8_t *from;
	int64_t stride;
	uint64_t row;
};
struct streams {
	uint64_t which; /* bit per variable */
	int64_t extent, kept;
	uint32_t n, isa;
	struct stream s[IOG_VARS];
};

static void find_streams(struct streams *t, const struct filter_conf *c, const struct iog_record *r, const struct iog_out *o)
{
	uint64_t at = IOG_ROUND_UP(o->used, IOG_ALIGN);
	for (unsigned i = 0; i < r->schema->n_vars; i++) {
		const struct iog_vardef *v = &r->schema->var[i];
		if (!(c->carried >> i & 1) || !r->var[i].n_blocks)
			continue;
		const struct iog_block *b = r->var[i].block;
		int64_t row = iog_dtype_size(v->dtype), all = row;
		bool plain = v->dim[0] == c->dim && r->var[i].n_blocks == 1;
		for (unsigned d = v->rank; d-- > 0; all *= r->axis[v->dim[d]].extent) {
			plain &= b->start[d] == 0 && b->count[d] == r->axis[v->dim[d]].extent && (d == 0 || b->stride[d] == row);
			row *= d ? b->count[d] : 1;
		}
		if (at > o->size || (uint64_t)all > o->size - at)
			return;
		if (plain && all) {
			t->which |= 1ull << i;
			t->s[t->n++] = (struct stream){ o->space + at, b->data, b->stride[0], (uint64_t)row };
		}
		at += IOG_ROUND_UP((uint64_t)all, IOG_ALIGN);
	}
}

/* Elements [from, to), whose bits are final. */
static void stream(struct streams *t, const uint64_t *bits, int64_t from, int64_t to)
{
	for (uint32_t i = 0; i < t->n; i++) {
		const struct stream *s = &t->s[i];
		iog_compact(s->to + (uint64_t)t->kept * s->row, (uint64_t)(t->extent - t->kept) * s->row, s->from + from * s->stride,
			s->stride, s->row, bits, (uint64_t)from, (uint64_t)(to - from), t->isa);
	}
	t->kept += ones(bits, from, to);
}

/* One bit per element of the dimension: all blocks of the bound expression, each at its place. */
static enum iog_step decide(
	struct iog_expr_run *run, const struct filter_conf *c, const struct iog_record *r, uint64_t *bits, struct streams *t)
{
	const uint32_t blocks = iog_expr_blocks(&c->expr, r);
	memset(bits, 0, (size_t)(t->extent / 64 + 1) * 8);
	for (uint32_t k = 0; k < blocks; k++) {
		if (k && iog_expr_rebind(run, k) != IOG_OK)
			return IOG_BAD_INPUT;
		const int64_t n = iog_expr_elems(run), start = iog_expr_start(run, 0);
		if (start < 0 || start > t->extent || n > t->extent - start)
			return IOG_BAD_INPUT;
		for (int64_t at = 0; at < n; at += IOG_EXPR_BLOCK) {
			uint64_t part[IOG_EXPR_BLOCK / 64] = { 0 }, *to = bits + (start + at) / 64;
			const unsigned shift = (unsigned)((start + at) % 64);
			iog_expr_bits(run, at, (uint32_t)IOG_MIN(n - at, IOG_EXPR_BLOCK), part);
			for (unsigned i = 0; i < IOG_EXPR_BLOCK / 64; i++) {
				if (!part[i])
					continue;
				to[i] |= part[i] << shift;
				if (shift && part[i] >> (64 - shift))
					to[i + 1] |= part[i] >> (64 - shift);
			}
			if (blocks == 1 && (at + IOG_EXPR_BLOCK) % CHUNK == 0)
				stream(t, bits, start + at + IOG_EXPR_BLOCK - CHUNK, start + IOG_MIN(at + IOG_EXPR_BLOCK, n));
		}
		if (blocks == 1)
			stream(t, bits, start + n / CHUNK * CHUNK, start + n);
	}
	if (blocks != 1)
		stream(t, bits, 0, t->extent);
	return IOG_OK;
}

/* The kept elements of block b into the output block: rows of `row` bytes where the dimensions behind d lie together, else elements. */
static void compact_block(const struct iog_block *out, const struct iog_block *b, unsigned rank, unsigned d, uint32_t elem,
	const uint64_t *bits, uint32_t isa)
{
	uint8_t *dst = (uint8_t *)(uintptr_t)out->data;
	const uint64_t end = (uint64_t)out->count[0] * (uint64_t)out->stride[0];
	int64_t row = elem, at[IOG_RANK] = { 0 };
	unsigned rest = rank;
	while (rest > d + 1 && b->count[rest - 1] == out->count[rest - 1] && b->stride[rest - 1] == row)
		row *= b->count[--rest];
	if (iog_block_elems(b, rank) == 0)
		return;
	const int64_t before = ones(bits, 0, b->start[d]);
	for (;;) {
		int64_t to = before * out->stride[d];
		const uint8_t *from = b->data;
		for (unsigned k = 0; k < rest; k++) {
			to += k == d ? 0 : (b->start[k] + at[k]) * out->stride[k];
			from += at[k] * b->stride[k];
		}
		if (row == out->stride[d]) {
			iog_compact(dst + to, end - (uint64_t)to, from, b->stride[d], (uint64_t)row, bits, (uint64_t)b->start[d],
				(uint64_t)b->count[d], isa);
		} else {
			for (int64_t i = 0; i < b->count[d]; i++)
				if (bits[(b->start[d] + i) / 64] >> (b->start[d] + i) % 64 & 1) {
					memcpy(dst + to, from + i * b->stride[d], (size_t)row);
					to += out->stride[d];
				}
		}
		unsigned k = rest;
		while (k-- > 0) {
			if (k == d)
				continue;
			if (++at[k] < b->count[k])
				break;
			at[k] = 0;
		}
		if (k >= rest)
			return;
	}
}

static enum iog_step carry(struct iog_out *o, const struct iog_record *r, unsigned i, unsigned dim, int64_t kept, const uint64_t *bits,
	const struct stream *streamed, uint32_t isa)
{
	const struct iog_vardef *v = &r->schema->var[i];
	const unsigned d = (unsigned)position(v, dim);
	const uint32_t elem = iog_dtype_size(v->dtype);
	int64_t count[IOG_RANK], all = 1, have = 0;
	for (unsigned k = 0; k < v->rank; k++) {
		count[k] = k == d ? kept : r->axis[v->dim[k]].extent;
		all *= r->axis[v->dim[k]].extent;
	}
	for (uint32_t k = 0; k < r->var[i].n_blocks; k++)
		have += iog_block_elems(&r->var[i].block[k], v->rank);
	if (have != all)
		return IOG_BAD_INPUT;
	void *dst = iog_out_dense(o, i, v->rank, elem, count);
	if (!dst)
		return IOG_NO_SPACE;
	if (streamed) {
		/* the variables before it turned out smaller: down to its place, which overlaps nothing that is still to move */
		memmove(dst, streamed->to, (size_t)kept * streamed->row);
		return IOG_OK;
	}
	for (uint32_t k = 0; k < r->var[i].n_blocks && kept; k++)
		compact_block(o->rec.var[i].block, &r->var[i].block[k], v->rank, d, elem, bits, isa);
	return IOG_OK;
}

/* Measured by build/iog bench op.filter: two comparisons and an f32 and an i32 to carry, 1/8 kept: 1.4 cycles per element. */
static enum iog_step filter_segment(const struct iog_call *call, const struct iog_seg *seg)
{
	const struct filter_conf *c = call->conf;
	const struct iog_record *r = call->in[0];
	struct iog_expr_run *run = call->scratch;
	struct filter_state *state = call->state;
	struct iog_out *o = call->out;
	enum iog_step step;
	if (!r)
		return IOG_ELIDE;
	if (seg && !(seg->is_first && seg->is_last) && (c->dim >= IOG_DIMS || c->expr.uses & IOG_EXPR_USES_REDUCE))
		return IOG_FAILED;
	/* what holds for the whole record comes with its first piece */
	if (seg && !seg->is_first)
		step = iog_expr_resume(run, &c->expr, r, &state->kept, 0, call->isa);
	else
		step = iog_expr_bind(run, &c->expr, r, 0, call->isa);
	if (step != IOG_OK)
		return step;
	if (seg && seg->is_first && !seg->is_last)
		iog_expr_keep(run, &state->kept);

	uint64_t *bits = NULL;
	struct streams t = { .isa = call->isa };
	if (c->dim < IOG_DIMS) {
		bits = (uint64_t *)(void *)((uint8_t *)call->scratch + iog_expr_run_size());
		t.extent = r->axis[c->dim].extent;
		find_streams(&t, c, r, o);
		if ((step = decide(run, c, r, bits, &t)) != IOG_OK)
			return step;
		o->rec.axis[c->dim] = (struct iog_axis){ .extent = t.kept, .origin = 0, .spacing = 1 };
	} else if (iog_expr_value(run) == 0) {
		return IOG_ELIDE;
	}
	const struct stream *next = t.s;
	for (unsigned i = 0; i < r->schema->n_vars; i++) {
		if (!(c->carried >> i & 1) || !r->var[i].n_blocks)
			iog_out_pass(o, i, r, i);
		else if ((step = carry(o, r, i, c->dim, t.kept, bits, t.which >> i & 1 ? next++ : NULL, call->isa)) != IOG_OK)
			return step;
	}
	return IOG_OK;
}

static enum iog_step filter_run(const struct iog_call *call) { return filter_segment(call, NULL); }

const struct iog_op iog_op_filter = {
	.name = "filter",
	.summary = "Keeps the elements for which a condition is true",
	.params = filter_params,
	.flags = IOG_STATELESS | IOG_FREESTANDING | IOG_DETERMINISTIC,
	.conf_size = sizeof(struct filter_conf),
	.in_min = 1,
	.in_max = 1,
	.outs = 1,
	.plan = filter_plan,
	.run = filter_run,
	.segment = filter_segment,
};
