/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The operator driver. The reference is a run with generous space at the baseline instruction set; every other way of running must give
 * the same bytes. Test support; one thread, and a second one that changes payload in the check `scribble`.
 */
#include "op-driver.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__)
#define RACES_REPORTED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RACES_REPORTED 1
#endif
#endif

enum { CANARY = 0xc5, GENEROUS = 1 << 16, PIECE = 1400, SCRIBBLE_MS = 40 };

/* ---- guarded memory ---- */

void op_area_init(struct op_area *a, uint64_t bytes)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), used = IOG_ROUND_UP(bytes, IOG_ALIGN), inside = IOG_ROUND_UP(used, page);
	a->bytes = bytes;
	a->map_bytes = inside + 2 * page;
	a->map = mmap(NULL, a->map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (a->map == MAP_FAILED || (inside && mprotect(a->map + page, inside, PROT_READ | PROT_WRITE))) {
		perror("op-driver: mmap");
		exit(2);
	}
	a->p = a->map + page + inside - used;
	memset(a->map + page, CANARY, inside);
	op_area_fill(a, 0);
}

void op_area_fill(struct op_area *a, int byte) { memset(a->p, byte, a->bytes); }

bool op_area_intact(const struct op_area *a)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	if (!a->map)
		return true;
	for (const uint8_t *p = a->map + page; p < a->p; p++)
		if (*p != CANARY)
			return false;
	for (const uint8_t *p = a->p + a->bytes; p < a->map + a->map_bytes - page; p++)
		if (*p != CANARY)
			return false;
	return true;
}

void op_area_free(struct op_area *a)
{
	if (a->map)
		munmap(a->map, a->map_bytes);
	*a = (struct op_area){ 0 };
}

/* ---- instances ---- */

int op_instance_init(struct op_instance *x, const struct op_setup *s, uint32_t isa, uint64_t extra, struct iog_err *err)
{
	*x = (struct op_instance){ .s = s, .isa = isa, .extra = extra };
	op_area_init(&x->state, s->plan.need.state);
	op_area_init(&x->scratch, s->plan.need.scratch);
	for (unsigned k = 0; k < s->plan.n_out; k++)
		op_area_init(&x->space[k], s->plan.need.out_max[k] + extra);
	int rc = s->op->open ? s->op->open(s->conf, &x->lib, err) : 0;
	if (rc)
		op_instance_finish(x);
	return rc;
}

void op_instance_finish(struct op_instance *x)
{
	if (x->s->op->close)
		x->s->op->close(x->lib);
	op_area_free(&x->state);
	op_area_free(&x->scratch);
	for (unsigned k = 0; k < IOG_PORTS; k++) {
		op_area_free(&x->space[k]);
		op_area_free(&x->block[k]);
	}
}

/* Exactly the blocks the contract promises: what the operator asked for and those of the inputs. */
static void give_blocks(struct op_instance *x, const struct iog_record *const *in)
{
	uint32_t n = x->s->plan.need.out_blocks;
	for (unsigned port = 0; port < x->s->plan.n_in; port++)
		for (unsigned v = 0; in[port] && v < x->s->in[port].n_vars; v++)
			n += in[port]->var[v].n_blocks;
	for (unsigned k = 0; k < x->s->plan.n_out; k++) {
		if (x->block[k].bytes != n * sizeof(struct iog_block)) {
			op_area_free(&x->block[k]);
			op_area_init(&x->block[k], n * sizeof(struct iog_block));
		}
		op_area_fill(&x->block[k], x->fill);
		x->out[k] = (struct iog_out){ .space = x->space[k].p,
			.size = x->space[k].bytes,
			.block = (struct iog_block *)(void *)x->block[k].p,
			.max_blocks = n };
	}
}

enum iog_step op_instance_call(struct op_instance *x, const struct iog_record *const *in, const struct iog_seg *seg)
{
	const struct op_setup *s = x->s;
	struct iog_call c = { .conf = s->conf,
		.state = x->state.p,
		.scratch = x->scratch.p,
		.lib = x->lib,
		.n_in = s->plan.n_in,
		.n_out = s->plan.n_out,
		.isa = x->isa,
		.out = x->out,
		.split = s->plan.split[0] };
	const struct iog_record *first = NULL;
	op_area_fill(&x->scratch, x->fill);
	give_blocks(x, in);
	for (unsigned port = 0; port < s->plan.n_in; port++) {
		c.in[port] = in[port];
		if (!first)
			first = in[port];
	}
	for (unsigned k = 0; k < s->plan.n_out; k++) {
		op_area_fill(&x->space[k], x->fill);
		struct iog_record *r = &x->out[k].rec;
		r->schema = &s->out[k];
		iog_record_head(r, first, 0);
		for (unsigned d = 0; d < s->out[k].n_dims && d < first->schema->n_dims; d++)
			r->axis[d] = first->axis[d];
	}
	return seg ? s->op->segment(&c, seg) : iog_op_run(s->op, &c);
}

static bool inside(const uint8_t *p, uint64_t n, const uint8_t *base, uint64_t size)
{
	uint64_t at = (uint64_t)(uintptr_t)p - (uint64_t)(uintptr_t)base;
	return at <= size && n <= size - at;
}

/* Are the block's bytes in the output's used space or in an input? */
static bool data_inside(const struct op_instance *x, unsigned port, const struct iog_vardef *v, const struct iog_block *b)
{
	const uint8_t *from = b->data;
	uint64_t n = b->bytes;
	if (!iog_var_opaque(v)) {
		int64_t lo = 0, hi = iog_dtype_size(v->dtype);
		for (unsigned d = 0; d < v->rank; d++) {
			int64_t span;
			if (b->count[d] == 0)
				return true;
			if (__builtin_mul_overflow(b->count[d] - 1, b->stride[d], &span))
				return false;
			lo += IOG_MIN(span, 0);
			hi += IOG_MAX(span, 0);
		}
		from = (const uint8_t *)((uintptr_t)b->data + (uintptr_t)lo);
		n = (uint64_t)(hi - lo);
	}
	if (inside(from, n, x->out[port].space, x->out[port].used))
		return true;
	for (unsigned k = 0; k < x->n_regions; k++)
		if (inside(from, n, x->region[k].base, x->region[k].size))
			return true;
	return false;
}

static bool check_out(const struct op_instance *x, unsigned port, struct iog_err *err)
{
	const struct iog_out *o = &x->out[port];
	const struct iog_schema *s = &x->s->out[port];
	if (o->rec.schema != s || o->used > o->size || o->n_blocks > o->max_blocks)
		return iog_fail(
			err, 0, "output %u: uses %lu of %lu bytes, %u of %u blocks", port, o->used, o->size, o->n_blocks, o->max_blocks);
	for (unsigned d = 0; d < s->n_dims; d++) {
		int64_t n = o->rec.axis[d].extent;
		if (n < 0 || (s->dim[d].max > 0 && n > s->dim[d].max))
			return iog_fail(
				err, 0, "output %u: extent %ld of dimension %s, declared are %ld", port, n, s->dim[d].name, s->dim[d].max);
	}
	for (unsigned v = 0; v < s->n_vars; v++)
		for (uint32_t k = 0; k < o->rec.var[v].n_blocks; k++) {
			const struct iog_block *b = &o->rec.var[v].block[k];
			for (unsigned d = 0; d < s->var[v].rank; d++)
				if (b->start[d] < 0 || b->count[d] < 0 || b->start[d] > o->rec.axis[s->var[v].dim[d]].extent ||
					b->count[d] > o->rec.axis[s->var[v].dim[d]].extent - b->start[d])
					return iog_fail(err, 0,
						"output %u: block %u of %s has start %ld, count %ld in dimension %u of extent %ld", port, k,
						s->var[v].name, b->start[d], b->count[d], d, o->rec.axis[s->var[v].dim[d]].extent);
			if (!data_inside(x, port, &s->var[v], b))
				return iog_fail(err, 0, "output %u: block %u of %s lies neither in the output nor in an input", port, k,
					s->var[v].name);
		}
	return true;
}

bool op_instance_check(const struct op_instance *x, struct iog_err *err)
{
	if (!op_area_intact(&x->state) || !op_area_intact(&x->scratch))
		return iog_fail(err, 0, "the operator wrote outside its %s", op_area_intact(&x->state) ? "scratch" : "state");
	for (unsigned k = 0; k < x->s->plan.n_out; k++)
		if (!op_area_intact(&x->space[k]) || !op_area_intact(&x->block[k]))
			return iog_fail(err, 0, "the operator wrote outside the %s of output %u",
				op_area_intact(&x->block[k]) ? "space" : "blocks", k);
	return true;
}

/* ---- results ---- */

static void add(struct op_result *r, const void *p, uint64_t n)
{
	r->plain = realloc(r->plain, r->plain_bytes + n + 1);
	if (!r->plain)
		exit(2);
	if (n)
		memcpy(r->plain + r->plain_bytes, p, n);
	r->plain_bytes += n;
}

/* Head, axes, and each variable as a dense array, whatever its blocks were. */
static void make_plain(struct op_result *r, const struct iog_record *rec)
{
	const struct iog_schema *s = rec->schema;
	add(r, &rec->id, sizeof rec->id);
	add(r, &rec->step, sizeof rec->step);
	add(r, &rec->time, sizeof rec->time);
	add(r, rec->axis, s->n_dims * sizeof rec->axis[0]);
	r->single = true;
	for (unsigned v = 0; v < s->n_vars; v++) {
		const struct iog_vardef *def = &s->var[v];
		uint64_t bytes = iog_dtype_size(def->dtype);
		uint8_t present = rec->var[v].n_blocks > 0;
		r->single &= rec->var[v].n_blocks <= 1;
		add(r, &present, 1);
		if (iog_var_opaque(def)) {
			for (uint32_t k = 0; k < rec->var[v].n_blocks; k++) {
				const struct iog_block *b = &rec->var[v].block[k];
				add(r, b->start, def->rank * sizeof b->start[0]);
				add(r, b->count, def->rank * sizeof b->count[0]);
				add(r, b->data, b->bytes);
			}
			continue;
		}
		for (unsigned d = 0; d < def->rank; d++)
			bytes *= (uint64_t)rec->axis[def->dim[d]].extent;
		uint8_t *dense = op_alloc(bytes);
		iog_record_assemble(rec, v, dense);
		add(r, dense, bytes);
		free(dense);
	}
}

/* Checks an output record as its reader would, and keeps its bytes. */
static int make_result(struct op_result *r, const struct iog_record *rec, struct iog_err *err)
{
	struct op_record seen;
	r->packed_bytes = iog_wire_size(rec);
	r->packed = op_alloc(r->packed_bytes);
	int64_t n = iog_wire_pack(r->packed, r->packed_bytes, rec);
	if (n < 0 || (uint64_t)n != r->packed_bytes)
		return iog_fail(err, -EINVAL, "the output cannot be packed: %ld instead of %lu bytes", n, r->packed_bytes);
	uint8_t *copy = op_alloc(r->packed_bytes);
	memcpy(copy, r->packed, r->packed_bytes);
	int rc = op_record_open(&seen, copy, r->packed_bytes, rec->schema, err);
	op_record_free(&seen);
	if (!rc)
		make_plain(r, rec);
	return rc;
}

void op_results_free(struct op_result *r, size_t n)
{
	for (size_t i = 0; r && i < n; i++) {
		free(r[i].packed);
		free(r[i].plain);
	}
	free(r);
}

static bool bytes_equal(const uint8_t *a, uint64_t na, const uint8_t *b, uint64_t nb, uint64_t *at)
{
	uint64_t n = IOG_MIN(na, nb);
	for (*at = 0; *at < n && a[*at] == b[*at];)
		++*at;
	return na == nb && *at == n;
}

bool op_results_equal(const struct op_setup *s, const struct op_result *a, const struct op_result *b, struct iog_err *err)
{
	for (unsigned i = 0; i < s->records * s->plan.n_out; i++) {
		uint64_t at;
		if (a[i].step != b[i].step)
			return iog_fail(err, 0, "record %u: %s instead of %s", i / s->plan.n_out, iog_step_name(b[i].step),
				iog_step_name(a[i].step));
		if (!bytes_equal(a[i].plain, a[i].plain_bytes, b[i].plain, b[i].plain_bytes, &at))
			return iog_fail(err, 0, "record %u: values differ at byte %lu of %lu (%lu)", i / s->plan.n_out, at,
				a[i].plain_bytes, b[i].plain_bytes);
		if (a[i].single && b[i].single && !bytes_equal(a[i].packed, a[i].packed_bytes, b[i].packed, b[i].packed_bytes, &at))
			return iog_fail(err, 0, "record %u: packed records differ at byte %lu of %lu (%lu)", i / s->plan.n_out, at,
				a[i].packed_bytes, b[i].packed_bytes);
	}
	return true;
}

/* ---- ways to run ---- */

static const struct iog_record *const *inputs(struct op_instance *x, const struct op_record *in, unsigned i, const struct iog_record **out)
{
	bool any = false;
	x->n_regions = 0;
	for (unsigned port = 0; port < x->s->plan.n_in; port++) {
		const struct op_record *r = &in[i * x->s->plan.n_in + port];
		out[port] = r->rec.schema ? &r->rec : NULL;
		any |= out[port] != NULL;
		if (out[port])
			x->region[x->n_regions++] = (struct iog_region){ .base = r->payload, .size = r->bytes };
	}
	return any ? out : NULL;
}

static bool step_allowed(enum iog_step step) { return step == IOG_OK || step == IOG_ELIDE || step == IOG_BAD_INPUT || step == IOG_FAILED; }

/* One whole record. */
static int run_whole(
	struct op_instance *x, const struct op_record *in, unsigned i, struct op_result *results, bool keep, struct iog_err *err)
{
	const struct iog_record *rec[IOG_PORTS];
	enum iog_step step = IOG_ELIDE;
	if (inputs(x, in, i, rec))
		step = op_instance_call(x, rec, NULL);
	if (!step_allowed(step))
		return iog_fail(err, -EIO, "record %u: the operator answered %s", i, iog_step_name(step));
	if (!op_instance_check(x, err))
		return -EFAULT;
	for (unsigned k = 0; k < x->s->plan.n_out; k++) {
		if (step == IOG_OK && !check_out(x, k, err))
			return -EFAULT;
		if (!keep)
			continue;
		results[i * x->s->plan.n_out + k].step = step;
		if (step == IOG_OK && make_result(&results[i * x->s->plan.n_out + k], &x->out[k].rec, err))
			return -EINVAL;
	}
	return 0;
}

int op_instance_run(struct op_instance *x, const struct op_record *in, struct op_result *results, struct iog_err *err)
{
	for (unsigned i = 0; i < x->s->records; i++) {
		int rc = run_whole(x, in, i, results, true, err);
		if (rc)
			return rc;
	}
	return 0;
}

/* How records are cut. */
struct cut {
	uint64_t bytes;  /* of a piece; 0: one element */
	bool open;       /* the total is not told */
	bool join_first; /* pieces are joined before the operator sees them */
};

struct pieces {
	struct iog_join join;
	struct op_area space;
	struct iog_block *block;
	uint32_t n_blocks;
	unsigned in_dim, out_dim;
};

/* The split dimension in another schema. */
static unsigned dim_in(const struct iog_schema *to, const struct iog_schema *from, unsigned dim)
{
	int d = dim < from->n_dims ? iog_schema_dim(to, from->dim[dim].name) : -1;
	return d < 0 ? IOG_DIMS : (unsigned)d;
}

static int pieces_init(struct pieces *p, const struct op_setup *s, const struct cut *cut, const struct op_record *in, struct iog_err *err)
{
	const struct iog_schema *js = cut->join_first ? &s->in[0] : &s->out[0];
	unsigned dim = s->plan.split[0];
	for (unsigned v = 0; !s->op->segment && v < s->in[0].n_vars; v++)
		if (s->in[0].var[v].rank && !iog_var_opaque(&s->in[0].var[v]))
			dim = s->in[0].var[v].dim[0];
	p->in_dim = dim;
	p->out_dim = cut->join_first ? dim : dim_in(js, &s->in[0], dim);
	int64_t max = p->out_dim < js->n_dims ? js->dim[p->out_dim].max : 0;
	uint64_t room = iog_join_space(js, p->out_dim, max);
	if (room == UINT64_MAX)
		return iog_fail(err, -EINVAL, "the joined record has no bound");
	op_area_init(&p->space, room);
	p->n_blocks = 0;
	for (unsigned i = 0; i < s->records; i++) {
		uint32_t n = 0;
		for (unsigned v = 0; in[i].rec.schema && v < s->in[0].n_vars; v++)
			n += in[i].rec.var[v].n_blocks;
		p->n_blocks = IOG_MAX(p->n_blocks, n);
	}
	p->block = op_alloc(p->n_blocks * sizeof p->block[0]);
	return 0;
}

static void pieces_finish(struct pieces *p)
{
	op_area_free(&p->space);
	free(p->block);
}

/* One record in pieces; *step and, when IOG_OK, the joined output in p->join. */
static int run_pieces(struct op_instance *x, struct pieces *p, const struct cut *cut, const struct op_record *in, enum iog_step *step,
	struct iog_err *err)
{
	const struct op_setup *s = x->s;
	const struct iog_record *r = &in->rec, *rec[IOG_PORTS] = { 0 };
	bool whole = p->in_dim >= s->in[0].n_dims;
	int64_t total = whole ? 0 : r->axis[p->in_dim].extent,
		each = whole || !cut->bytes ? 1 : iog_segment_elems(&s->in[0], p->in_dim, cut->bytes);
	const struct iog_schema *js = cut->join_first ? &s->in[0] : &s->out[0];
	int rc = iog_join_init(&p->join, js, p->out_dim, p->out_dim < js->n_dims ? js->dim[p->out_dim].max : 0, p->space.p, p->space.bytes);
	*step = IOG_OK;
	x->n_regions = 1;
	x->region[0] = (struct iog_region){ .base = in->payload, .size = in->bytes };
	for (int64_t first = 0; !rc && (first == 0 || first < total); first += each) {
		struct iog_record piece;
		struct iog_seg seg = { .dim = p->in_dim,
			.is_first = first == 0,
			.is_last = first + each >= total,
			.first = first,
			.count = IOG_MIN(each, total - first),
			.total = cut->open ? -1 : total };
		rec[0] = r;
		if (!whole) {
			rc = iog_segment_cut(&piece, r, p->in_dim, first, seg.count, p->block, p->n_blocks);
			if (rc)
				return iog_fail(err, rc, "cannot cut [%ld, %ld)", first, first + seg.count);
			rec[0] = &piece;
		}
		if (!cut->join_first) {
			*step = op_instance_call(x, rec, &seg);
			if (!step_allowed(*step))
				return iog_fail(err, -EIO, "piece at %ld: the operator answered %s", first, iog_step_name(*step));
			if (!op_instance_check(x, err) || (*step == IOG_OK && !check_out(x, 0, err)))
				return -EFAULT;
			if (*step != IOG_OK)
				return 0;
			rec[0] = &x->out[0].rec;
		}
		rc = iog_join_add(&p->join, rec[0]);
	}
	if (rc)
		return iog_fail(err, rc, "the pieces do not join");
	return 0;
}

/* All records of a case in pieces. */
static int run_cut(const struct op_setup *s, const struct op_record *in, const struct cut *cut, uint32_t isa, struct op_result *results,
	bool keep, struct iog_err *err)
{
	struct op_instance x;
	struct pieces *p = op_alloc(sizeof *p);
	int rc = op_instance_init(&x, s, isa, 0, err);
	if (rc) {
		free(p);
		return rc;
	}
	rc = pieces_init(p, s, cut, in, err);
	x.fill = 0x3c;
	for (unsigned i = 0; !rc && i < s->records; i++) {
		enum iog_step step = IOG_ELIDE;
		if (in[i].rec.schema)
			rc = run_pieces(&x, p, cut, &in[i], &step, err);
		const struct iog_record *out = rc || step != IOG_OK || !in[i].rec.schema ? NULL : iog_join_finish(&p->join);
		if (out && cut->join_first) {
			x.region[0] = (struct iog_region){ .base = p->space.p, .size = p->space.bytes };
			step = op_instance_call(&x, &out, NULL);
			if (!step_allowed(step))
				rc = iog_fail(err, -EIO, "record %u: the operator answered %s", i, iog_step_name(step));
			else if (!op_instance_check(&x, err) || (step == IOG_OK && !check_out(&x, 0, err)))
				rc = -EFAULT;
			out = step == IOG_OK ? &x.out[0].rec : NULL;
		}
		if (keep && !rc) {
			results[i].step = step;
			rc = out ? make_result(&results[i], out, err) : 0;
		}
	}
	pieces_finish(p);
	free(p);
	op_instance_finish(&x);
	return rc;
}

static int run_all(const struct op_setup *s, const struct op_record *in, uint32_t isa, uint64_t extra, int fill, struct op_result *results,
	struct iog_err *err)
{
	struct op_instance x;
	int rc = op_instance_init(&x, s, isa, extra, err);
	if (rc)
		return rc;
	x.fill = fill;
	rc = op_instance_run(&x, in, results, err);
	op_instance_finish(&x);
	return rc;
}

/* ---- what every check has: inputs, a reference, results ---- */

struct trial {
	const struct op_setup *s;
	struct op_record *in;
	struct op_result *ref, *got;
};

static size_t n_results(const struct op_setup *s) { return (size_t)s->records * s->plan.n_out; }

static int trial_init(struct trial *t, const struct op_setup *s, struct iog_err *err)
{
	t->s = s;
	t->in = op_setup_inputs(s);
	t->ref = op_alloc(n_results(s) * sizeof *t->ref);
	t->got = op_alloc(n_results(s) * sizeof *t->got);
	return run_all(s, t->in, IOG_ISA_BASE, GENEROUS, 0, t->ref, err);
}

static void trial_clear(struct trial *t)
{
	op_results_free(t->got, n_results(t->s));
	t->got = op_alloc(n_results(t->s) * sizeof *t->got);
}

static void trial_finish(struct trial *t)
{
	op_results_free(t->ref, n_results(t->s));
	op_results_free(t->got, n_results(t->s));
	op_records_free(t->in, (size_t)t->s->records * t->s->plan.n_in);
}

/* Puts where it happened in front of the message. */
static int at(struct iog_err *err, const char *where, int rc)
{
	struct iog_err text = *err;
	return iog_fail(err, rc, "%s: %s", where, text.text);
}

static int compare(struct trial *t, const char *where, int rc, struct iog_err *err)
{
	if (!rc && !op_results_equal(t->s, t->ref, t->got, err))
		rc = -EINVAL;
	trial_clear(t);
	return rc ? at(err, where, rc) : 0;
}

/* ---- the checks ---- */

uint32_t op_isa(void)
{
	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
		__builtin_cpu_supports("avx512vl"))
		return IOG_ISA_AVX512;
	return __builtin_cpu_supports("avx2") ? IOG_ISA_AVX2 : IOG_ISA_BASE;
}

/* Exactly the space that was asked for, with other contents, at every vector width; at least one record must come through. */
static int check_run(const struct op_setup *s, struct iog_err *err)
{
	struct trial t;
	int rc = trial_init(&t, s, err);
	unsigned n_ok = 0;
	for (unsigned i = 0; i < n_results(s); i++)
		n_ok += t.ref[i].step == IOG_OK;
	if (!rc && !n_ok)
		rc = iog_fail(err, -EINVAL, "no record came through; the first was answered with %s", iog_step_name(t.ref[0].step));
	for (uint32_t isa = IOG_ISA_BASE; !rc && isa <= op_isa(); isa++) {
		static const char *const name[] = { "exact space", "avx2", "avx512" };
		rc = compare(&t, name[isa], run_all(s, t.in, isa, 0, 0xa7, t.got, err), err);
	}
	trial_finish(&t);
	return rc;
}

static int check_segments(const struct op_setup *s, struct iog_err *err)
{
	static const struct {
		const char *name;
		struct cut cut;
	} way[] = {
		{ "1400-byte segments", { .bytes = PIECE } },
		{ "1400-byte segments, total open", { .bytes = PIECE, .open = true } },
		{ "segments of one element", { .bytes = 0 } },
		{ "segments of one element, total open", { .bytes = 0, .open = true } },
	};
	struct trial t;
	int rc = trial_init(&t, s, err);
	for (unsigned k = 0; !rc && k < IOG_COUNT(way); k++)
		rc = compare(&t, way[k].name, run_cut(s, t.in, &way[k].cut, op_isa(), t.got, true, err), err);
	trial_finish(&t);
	return rc;
}

static int check_joined(const struct op_setup *s, struct iog_err *err)
{
	struct trial t;
	int rc = trial_init(&t, s, err);
	if (!rc)
		rc = compare(&t, "input joined from segments",
			run_cut(s, t.in, &(struct cut){ .bytes = PIECE, .join_first = true }, op_isa(), t.got, true, err), err);
	trial_finish(&t);
	return rc;
}

/* Other places for the same values. */
enum layout { UNALIGNED, REVERSED, PADDED, BLOCKS, LAYOUTS };
static const char *const layout_name[] = { "unaligned data", "negative strides", "padded rows", "several blocks" };

/* Stores block b at p in the given layout and returns the bytes it takes; with p NULL only these. */
static uint64_t lay_out(struct iog_block *to, uint8_t *p, const struct iog_block *b, unsigned rank, uint32_t size, enum layout how)
{
	uint64_t s = size, first = 0, elems = 1;
	*to = *b;
	for (unsigned d = rank; d-- > 0;) {
		elems *= (uint64_t)b->count[d];
		to->stride[d] = (int64_t)s;
		if (how == REVERSED && b->count[d] > 0) {
			first += (uint64_t)(b->count[d] - 1) * s;
			to->stride[d] = -to->stride[d];
		}
		s = s * (uint64_t)b->count[d] + (how == PADDED ? 5 : 0);
	}
	if (!p)
		return s + 1;
	if (!elems) {
		iog_block_set_dense(to, rank, size);
		return s + 1;
	}
	uint8_t *dense = op_alloc(elems * size), *base = p + (how == UNALIGNED) + first;
	iog_block_gather(dense, b, rank, size);
	to->data = base;
	for (uint64_t e = 0; e < elems; e++) {
		uint64_t rest = e, offset = 0;
		for (unsigned d = rank; d-- > 0;) {
			offset += rest % (uint64_t)b->count[d] * (uint64_t)to->stride[d];
			rest /= (uint64_t)b->count[d];
		}
		memcpy((uint8_t *)((uintptr_t)base + (uintptr_t)offset), dense + e * size, size);
	}
	free(dense);
	return s + 1;
}

static void relayout(struct op_record *r, const struct iog_record *from, enum layout how)
{
	const struct iog_schema *s = from->schema;
	*r = (struct op_record){ .rec = *from };
	uint32_t max = 0;
	for (unsigned v = 0; v < s->n_vars; v++)
		max += 3 * from->var[v].n_blocks;
	r->block = op_alloc(max * sizeof r->block[0]);
	for (int pass = 0; pass < 2; pass++) {
		uint64_t used = 0;
		uint32_t n = 0;
		for (unsigned v = 0; v < s->n_vars; v++) {
			const struct iog_vardef *def = &s->var[v];
			const struct iog_var *var = &from->var[v];
			struct iog_block *to = r->block + n;
			for (uint32_t k = 0; k < var->n_blocks; k++) {
				const struct iog_block *b = &var->block[k];
				bool opaque = iog_var_opaque(def);
				int64_t parts = how == BLOCKS && !opaque && def->rank && b->count[0] > 3 ? 3 : 1; /* not vectors */
				for (int64_t part = 0; part < parts; part++, n++) {
					struct iog_block piece = *b;
					if (parts > 1) {
						int64_t lo = b->start[0] + b->count[0] * part / parts,
							hi = b->start[0] + b->count[0] * (part + 1) / parts;
						iog_block_crop(&piece, b, def->rank, 0, lo, hi);
						piece.start[0] = lo;
					}
					uint8_t *p = pass ? r->payload + used : NULL;
					if (opaque) {
						r->block[n] = piece;
						r->block[n].data = p + 1;
						if (p)
							memcpy(p + 1, b->data, b->bytes);
						used += b->bytes + 1;
					} else {
						used += lay_out(&r->block[n], p, &piece, def->rank, iog_dtype_size(def->dtype), how);
					}
					used = IOG_ROUND_UP(used, IOG_ALIGN);
				}
			}
			r->rec.var[v] = (struct iog_var){ .block = to, .n_blocks = (uint32_t)(r->block + n - to) };
		}
		if (!pass) {
			r->bytes = used;
			r->payload = op_alloc(used);
		}
	}
}

static bool has_segments(const struct op_setup *s) { return s->op->segment && !(s->c->flags & OP_GAPS); }

static int check_layout(const struct op_setup *s, struct iog_err *err)
{
	struct trial t;
	size_t n_in = (size_t)s->records * s->plan.n_in;
	int rc = trial_init(&t, s, err);
	for (unsigned how = 0; !rc && how < LAYOUTS; how++) {
		if (how == BLOCKS && s->c->flags & OP_ORDER)
			continue;
		struct op_record *in = op_alloc(n_in * sizeof *in);
		for (size_t i = 0; i < n_in; i++)
			if (t.in[i].rec.schema)
				relayout(&in[i], &t.in[i].rec, how);
		rc = compare(&t, layout_name[how], run_all(s, in, op_isa(), 0, 0x99, t.got, err), err);
		if (!rc && has_segments(s))
			rc = compare(
				&t, layout_name[how], run_cut(s, in, &(struct cut){ .bytes = PIECE }, op_isa(), t.got, true, err), err);
		op_records_free(in, n_in);
	}
	trial_finish(&t);
	return rc;
}

/* Inputs that keep the rules of records but make no sense. */
enum { ZERO_EXTENT = IOG_VARS, ODD_NUMBERS, RANDOM_BYTES, BADS };

static void spoil(struct op_record *r, unsigned how, unsigned i)
{
	const struct iog_schema *s = r->rec.schema;
	uint64_t seed = 88172645463325252u + i;
	if (how < s->n_vars) {
		r->rec.var[how] = (struct iog_var){ 0 };
	} else if (how == ZERO_EXTENT) {
		for (unsigned d = 0; d < s->n_dims; d++)
			if (!s->dim[d].fixed)
				r->rec.axis[d].extent = 0;
		for (unsigned v = 0; v < s->n_vars; v++)
			for (uint32_t k = 0; k < r->rec.var[v].n_blocks; k++) {
				struct iog_block *b = r->block + (r->rec.var[v].block - r->block) + k;
				for (unsigned d = 0; d < s->var[v].rank; d++)
					if (!s->dim[s->var[v].dim[d]].fixed)
						b->start[d] = b->count[d] = 0;
			}
	} else if (how == RANDOM_BYTES) {
		for (uint64_t k = 0; k < r->bytes; k++) {
			seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17; /* xorshift64 (Marsaglia 2003) */
			r->payload[k] = (uint8_t)(seed >> 32);
		}
	} else {
		static const double odd[] = { __builtin_nan(""), __builtin_inf(), -__builtin_inf(), 1e300, -1e38, -0.0, 1e-310 };
		for (unsigned v = 0; v < s->n_vars; v++)
			for (uint32_t k = 0; k < r->rec.var[v].n_blocks && !iog_var_opaque(&s->var[v]); k++) {
				const struct iog_block *b = &r->rec.var[v].block[k];
				uint32_t size = iog_dtype_size(s->var[v].dtype);
				uint8_t *p = r->payload + (b->data - r->payload);
				int64_t n = iog_block_elems(b, s->var[v].rank);
				for (int64_t e = i % 3; e < n; e += 1 + e % 5)
					iog_store(p + e * size, s->var[v].dtype, odd[(size_t)e % IOG_COUNT(odd)]);
			}
	}
}

static int check_bad_input(const struct op_setup *s, struct iog_err *err)
{
	struct trial t;
	size_t n_in = (size_t)s->records * s->plan.n_in;
	int rc = trial_init(&t, s, err);
	for (unsigned how = 0; !rc && how < BADS; how++) {
		if (how >= s->in[0].n_vars && how < ZERO_EXTENT)
			continue;
		char where[96];
		if (how < ZERO_EXTENT)
			iog_format(where, sizeof where, "without variable %s", s->in[0].var[how].name);
		else
			iog_format(where, sizeof where, "%s",
				how == ZERO_EXTENT   ? "zero extents"
				: how == ODD_NUMBERS ? "NaN and infinities"
						     : "random bytes");
		/* Every second record is bad, so that the next good one meets the state it left; then all. */
		for (unsigned every = 2; !rc && every > 0; every--) {
			struct op_record *in = op_alloc(n_in * sizeof *in);
			struct trial u = { .s = s,
				.in = in,
				.ref = op_alloc(n_results(s) * sizeof *u.ref),
				.got = op_alloc(n_results(s) * sizeof *u.got) };
			for (size_t i = 0; i < n_in; i++) {
				if (!t.in[i].rec.schema)
					continue;
				op_record_copy(&in[i], &t.in[i].rec);
				if (i / s->plan.n_in % every == 0)
					spoil(&in[i], how, (unsigned)i);
			}
			rc = run_all(s, in, IOG_ISA_BASE, 0, 0, u.ref, err);
			if (!rc)
				rc = run_all(s, in, op_isa(), 0, 0xff, u.got, err);
			bool same = s->op->flags & IOG_DETERMINISTIC && !(s->c->flags & OP_NOISE);
			if (rc)
				rc = at(err, where, rc);
			else if (same)
				rc = compare(&u, where, 0, err);
			if (!rc && s->op->segment)
				rc = run_cut(s, in, &(struct cut){ .bytes = PIECE }, op_isa(), NULL, false, err) ? at(err, where, -EINVAL)
														 : 0;
			trial_finish(&u);
		}
	}
	trial_finish(&t);
	return rc;
}

/* ---- variables that an operator says it only carries ---- */

static bool carries(const struct op_setup *s) { return s->plan.n_in == 1 && s->plan.carried[0]; }

/* Everything but the variable of that name, which b must not have. */
static int same_without(
	const struct op_result *a, const struct op_result *b, const struct iog_schema *s, const char *name, struct iog_err *err)
{
	struct op_record x, y;
	uint8_t *p = op_alloc(a->packed_bytes), *q = op_alloc(b->packed_bytes);
	memcpy(p, a->packed, a->packed_bytes);
	memcpy(q, b->packed, b->packed_bytes);
	int rc = op_record_open(&x, p, a->packed_bytes, s, err);
	rc = op_record_open(&y, q, b->packed_bytes, s, err) ? -EINVAL : rc;
	if (!rc && memcmp(x.rec.axis, y.rec.axis, s->n_dims * sizeof x.rec.axis[0]))
		rc = iog_fail(err, -EINVAL, "extents differ");
	for (unsigned v = 0; v < s->n_vars && !rc; v++) {
		const bool left_out = iog_streq(s->var[v].name, name);
		struct op_result one = { 0 }, two = { 0 };
		struct iog_record alone[2] = { x.rec, y.rec };
		uint64_t where;
		for (unsigned o = 0; o < s->n_vars; o++)
			if (o != v)
				alone[0].var[o].n_blocks = alone[1].var[o].n_blocks = 0;
		make_plain(&one, &alone[0]);
		make_plain(&two, &alone[1]);
		if (left_out ? alone[1].var[v].n_blocks != 0 : !bytes_equal(one.plain, one.plain_bytes, two.plain, two.plain_bytes, &where))
			rc = iog_fail(err, -EINVAL, "%s %s", s->var[v].name, left_out ? "is there all the same" : "is another one");
		free(one.plain);
		free(two.plain);
	}
	op_record_free(&x);
	op_record_free(&y);
	return rc;
}

/* One that is only carried may be missing: the same steps, and everything else is as it was. */
static int check_carried(const struct op_setup *s, struct iog_err *err)
{
	struct trial t;
	int rc = trial_init(&t, s, err);
	for (unsigned v = 0; v < s->in[0].n_vars && !rc; v++) {
		if (!(s->plan.carried[0] >> v & 1))
			continue;
		struct op_record *in = op_alloc(s->records * sizeof *in);
		for (size_t i = 0; i < s->records; i++)
			if (t.in[i].rec.schema) {
				op_record_copy(&in[i], &t.in[i].rec);
				in[i].rec.var[v] = (struct iog_var){ 0 };
			}
		rc = run_all(s, in, op_isa(), 0, 0x5a, t.got, err);
		for (size_t i = 0; i < n_results(s) && !rc; i++) {
			if (t.got[i].step != t.ref[i].step)
				rc = iog_fail(err, -EINVAL, "record %zu: %s instead of %s", i / s->plan.n_out, iog_step_name(t.got[i].step),
					iog_step_name(t.ref[i].step));
			else if (t.got[i].packed)
				rc = same_without(&t.ref[i], &t.got[i], s->plan.out[i % s->plan.n_out], s->in[0].var[v].name, err);
		}
		if (rc)
			at(err, s->in[0].var[v].name, rc);
		trial_clear(&t);
		op_records_free(in, s->records);
	}
	trial_finish(&t);
	return rc;
}

/* ---- payload that changes while it is read ---- */

struct scribbler {
	struct op_record *r;
	size_t n;
	_Atomic bool stop;
};

__attribute__((no_sanitize("thread"))) static void *scribble(void *arg)
{
	struct scribbler *sc = arg;
	uint64_t seed = 0x2545f4914f6cdd1du;
	while (!atomic_load_explicit(&sc->stop, memory_order_relaxed))
		for (int k = 0; k < 64; k++) {
			seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
			struct op_record *r = &sc->r[seed % sc->n];
			if (r->bytes)
				*(volatile uint8_t *)(r->payload + (seed >> 16) % r->bytes) = (uint8_t)(seed >> 8);
		}
	return NULL;
}

static int64_t now_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Nothing is compared: the operator stays in its bounds, that is all. */
static int check_scribble(const struct op_setup *s, struct iog_err *err)
{
#ifdef RACES_REPORTED
	return iog_fail(err, 1, "%s: races are wanted here, and ThreadSanitizer reports them", s->op->name);
#endif
	struct trial t;
	struct op_instance x;
	pthread_t thread;
	struct scribbler sc = { .n = (size_t)s->records * s->plan.n_in };
	int rc = trial_init(&t, s, err);
	if (!rc)
		rc = op_instance_init(&x, s, op_isa(), 0, err);
	if (rc) {
		trial_finish(&t);
		return rc;
	}
	sc.r = op_alloc(sc.n * sizeof sc.r[0]);
	for (size_t i = 0; i < sc.n; i++)
		if (t.in[i].rec.schema)
			op_record_copy(&sc.r[i], &t.in[i].rec);
	if (pthread_create(&thread, NULL, scribble, &sc))
		exit(2);
	for (int64_t end = now_ms() + SCRIBBLE_MS; !rc && now_ms() < end;) {
		for (unsigned i = 0; !rc && i < s->records; i++)
			rc = run_whole(&x, sc.r, i, NULL, false, err);
		if (!rc && s->op->segment)
			rc = run_cut(s, sc.r, &(struct cut){ .bytes = PIECE }, op_isa(), NULL, false, err);
	}
	atomic_store(&sc.stop, true);
	pthread_join(thread, NULL);
	op_instance_finish(&x);
	op_records_free(sc.r, sc.n);
	trial_finish(&t);
	return rc;
}

/* ---- moving: the state is copied to a new instance with its own library handles ---- */

static int check_moved(const struct op_setup *s, struct iog_err *err)
{
	struct trial t;
	int rc = trial_init(&t, s, err);
	for (unsigned move = 1; !rc && move < s->records; move++) {
		struct op_instance a, b;
		char where[48];
		iog_format(where, sizeof where, "moved before record %u", move);
		rc = op_instance_init(&a, s, IOG_ISA_BASE, 0, err);
		if (rc)
			break;
		for (unsigned i = 0; !rc && i < move; i++)
			rc = run_whole(&a, t.in, i, t.got, true, err);
		int opened = op_instance_init(&b, s, op_isa(), 0, err);
		if (!opened) {
			memcpy(b.state.p, a.state.p, a.state.bytes);
			b.fill = 0x42;
		}
		op_area_fill(&a.state, 0xee);
		op_instance_finish(&a);
		rc = rc ? rc : opened;
		for (unsigned i = move; !rc && i < s->records; i++)
			rc = run_whole(&b, t.in, i, t.got, true, err);
		if (!opened)
			op_instance_finish(&b);
		rc = compare(&t, where, rc, err);
	}
	trial_finish(&t);
	return rc;
}

/* ---- golden files ---- */

enum { GOLDEN_MAX = 16384 }; /* larger outputs are kept as a hash */

/* tests/golden/README.md describes the file. */
static uint8_t *golden_bytes(const struct trial *t, uint64_t *n)
{
	uint64_t sum = 0, count = 0, hash = 0;
	for (size_t i = 0; i < n_results(t->s); i++)
		if (t->ref[i].step == IOG_OK)
			sum += t->ref[i].packed_bytes, count++;
	uint8_t *p = op_alloc(IOG_MAX(sum, 256)), *to = p;
	for (size_t i = 0; i < n_results(t->s); i++) {
		if (t->ref[i].step != IOG_OK)
			continue;
		hash = iog_hash(t->ref[i].packed, t->ref[i].packed_bytes, hash);
		if (sum <= GOLDEN_MAX)
			memcpy(to, t->ref[i].packed, t->ref[i].packed_bytes), to += t->ref[i].packed_bytes;
	}
	*n = sum <= GOLDEN_MAX ? sum
			       : (uint64_t)iog_format((char *)p, 256, "hash of %llu records, %llu bytes: %016llx\n",
					 (unsigned long long)count, (unsigned long long)sum, (unsigned long long)hash);
	return p;
}

static uint8_t *file_read(const char *path, uint64_t *n)
{
	FILE *f = fopen(path, "rb");
	uint8_t *p = NULL;
	*n = 0;
	if (!f)
		return NULL;
	p = op_alloc(2 * GOLDEN_MAX);
	*n = fread(p, 1, 2 * GOLDEN_MAX, f);
	fclose(f);
	return p;
}

static int file_write(const char *path, const void *p, uint64_t n, struct iog_err *err)
{
	FILE *f = fopen(path, "wb");
	bool ok = f && fwrite(p, 1, n, f) == n;
	if (f)
		ok &= fclose(f) == 0;
	return ok ? 0 : iog_fail(err, -EIO, "cannot write %s; run from the root of the tree", path);
}

static int check_golden(const struct op_setup *s, struct iog_err *err)
{
	char path[128], version_path[128];
	struct trial t;
	uint64_t n, n_file, n_version, where;
	const char *version = s->c->library ? s->c->library() : "", *write = getenv("IOG_GOLDEN");
	iog_format(path, sizeof path, "tests/golden/%s.iogr", s->c->name);
	iog_format(version_path, sizeof version_path, "tests/golden/%s.version", s->c->name);
	int rc = trial_init(&t, s, err);
	uint8_t *p = rc ? NULL : golden_bytes(&t, &n), *file = NULL, *file_version = NULL;
	if (!rc && write && iog_streq(write, "write")) {
		rc = file_write(path, p, n, err);
		if (!rc && s->c->library)
			rc = file_write(version_path, version, strlen(version), err);
	} else if (!rc) {
		file = file_read(path, &n_file);
		file_version = file_read(version_path, &n_version);
		if (!file || (s->c->library && !file_version))
			rc = iog_fail(err, -ENOENT, "%s is missing; IOG_GOLDEN=write makes it", file ? version_path : path);
		else if (s->c->library && !bytes_equal(file_version, n_version, (const uint8_t *)version, strlen(version), &where))
			rc = iog_fail(err, 1, "the golden bytes were made by version %s of the library, this is %s",
				(const char *)file_version, version);
		else if (!bytes_equal(file, n_file, p, n, &where))
			rc = iog_fail(err, -EINVAL, "%s differs at byte %lu of %lu; if that is meant, write it anew with IOG_GOLDEN=write",
				path, where, n_file);
	}
	free(p);
	free(file);
	free(file_version);
	trial_finish(&t);
	return rc;
}

/* Records of one input, nothing of which is encoded (encoded variables are not cut). */
static bool can_be_cut(const struct op_setup *s)
{
	for (unsigned v = 0; v < s->in[0].n_vars; v++)
		if (iog_var_opaque(&s->in[0].var[v]))
			return false;
	return s->plan.n_in == 1 && !(s->c->flags & OP_GAPS);
}

const struct op_check op_checks[] = {
	{ "run", check_run, NULL },
	{ "segments", check_segments, has_segments },
	{ "joined", check_joined, can_be_cut },
	{ "layout", check_layout, NULL },
	{ "bad input", check_bad_input, NULL },
	{ "carried", check_carried, carries },
	{ "scribble", check_scribble, NULL },
	{ "moved", check_moved, NULL },
	{ "golden", check_golden, NULL },
	{ 0 },
};

int op_driver_run(const struct op_case *c)
{
	struct op_setup *s = op_alloc(sizeof *s);
	struct iog_err err = { 0 };
	int failed = 0;
	if (op_setup_init(s, c, &err)) {
		printf("# %s: plan: %s\n", c->name, err.text);
		free(s);
		return 1;
	}
	for (const struct op_check *k = op_checks; k->name; k++) {
		err.text[0] = 0;
		if (k->applies && !k->applies(s))
			continue;
		if (k->run(s, &err) < 0) {
			printf("# %s: %s: %s\n", c->name, k->name, err.text);
			failed++;
		}
	}
	op_setup_finish(s);
	free(s);
	return failed;
}
