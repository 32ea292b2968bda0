/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Streams of languages with typed arrays: see typed.h. A layer over iograph.h in the thread of the caller; it allocates when a stream is opened, and in
 * the first step.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/record.h"
#include "typed.h"

/* What is known of the part of a variable. */
struct part {
	bool placed; /* given to iog_block */
	bool has_global, has_offset;
	int64_t global[IOG_RANK], offset[IOG_RANK], count[IOG_RANK];
	uint8_t *kept; /* the first step, as long as it is aside: dense */
};

struct iog_typed {
	iog *io;
	iog_stream *s;
	int nranks, rc;
	/* ASIDE: begun here, and not yet in the library. UNWANTED: begun, and not to be filled. */
	enum { NO_STEP, ASIDE, OPEN, UNWANTED } state;
	int verdict; /* why it is unwanted */
	int64_t step;
	double time;
	uint64_t unknown; /* variables without a part, by bit */
	struct iog_schema schema;
	struct part part[IOG_VARS];
	struct iog_err err;  /* the first failure, when it was none of the library */
	struct iog_err last; /* what this layer had against the last call */
	char name[IOG_NAME];
};

/* Keeps the first failure, unless the library has one already. */
__attribute__((format(printf, 3, 4))) static int fail(struct iog_typed *t, int code, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	iog_vformat(t->last.text, sizeof t->last.text, fmt, ap);
	va_end(ap);
	if (!t->rc && !iog_error(t->io)[0])
		t->err = t->last;
	t->rc = t->rc ? t->rc : code;
	return code;
}

struct iog_typed *iog_typed_open(iog *io, const char *name, const char *schema, const char *options, int rank, int nranks)
{
	static struct iog_typed no_memory = { .rc = -ENOMEM, .err = { "out of memory" } };
	struct iog_typed *t = calloc(1, sizeof *t);
	if (!t)
		return &no_memory;
	t->io = io;
	t->nranks = nranks;
	iog_strset(t->name, sizeof t->name, name);
	t->s = iog_open(io, name, schema, options, rank, nranks);
	if (iog_schema_parse(&t->schema, schema, NULL))
		t->schema.n_vars = 0; /* the stream says why */
	for (uint32_t v = 0; v < t->schema.n_vars; v++)
		if (t->schema.var[v].rank)
			t->unknown |= 1ull << v;
	return t;
}

/* Why the stream takes nothing; 0: it does. */
static int dead(struct iog_typed *t)
{
	iog_stats st;
	t->last.text[0] = 0;
	return t->s ? iog_stream_stats(t->s, &st) : t->rc;
}

static int find(struct iog_typed *t, const char *var)
{
	const int v = iog_schema_var(&t->schema, var);
	return v >= 0 ? v : fail(t, -ENOENT, "stream %s has no variable \"%.80s\"", t->name, var);
}

/* "32 x 64", in the order of C. */
static const char *extents(char *dst, size_t size, unsigned rank, const int64_t *n)
{
	size_t at = 0;
	dst[0] = 0;
	for (unsigned i = 0; i < rank && at < size; i++)
		at += (size_t)iog_format(dst + at, size - at, "%s%lld", i ? " x " : "", (long long)n[i]);
	return rank ? dst : "one number";
}

/* Gives the library a part that is known. */
static int place(struct iog_typed *t, uint32_t v, const int64_t *count)
{
	static const int64_t zero[IOG_RANK];
	struct part *p = &t->part[v];
	if (!p->has_global && t->nranks > 1)
		return fail(t, -EINVAL, "stream %s: %s: with %d ranks, say the shape of the whole and where this part starts", t->name,
			t->schema.var[v].name, t->nranks);
	int rc = iog_block(t->s, t->schema.var[v].name, p->has_global ? p->global : count, p->has_offset ? p->offset : zero, count);
	if (rc)
		return rc;
	memmove(p->count, count, sizeof *count * t->schema.var[v].rank);
	p->placed = true;
	t->unknown &= ~(1ull << v);
	return IOG_OK;
}

int iog_typed_block(struct iog_typed *t, const char *var, unsigned n, const int64_t *global, const int64_t *offset, const int64_t *count)
{
	int rc = dead(t);
	if (rc)
		return rc;
	const int v = find(t, var);
	if (v < 0)
		return v;
	struct part *p = &t->part[v];
	const unsigned rank = t->schema.var[v].rank;
	if (!rank || n != rank)
		return fail(t, -EINVAL, "stream %s: %s has %u dimensions, and its part is given with %u numbers", t->name, var, rank, n);
	if (t->state != NO_STEP)
		return fail(t, -EBUSY, "stream %s: the part of %s is said before a step begins or after its commit", t->name, var);
	p->has_global = global;
	p->has_offset = offset;
	if (global)
		memcpy(p->global, global, n * sizeof *global);
	if (offset)
		memcpy(p->offset, offset, n * sizeof *offset);
	if (!count && !offset && t->nranks == 1)
		count = global;
	if (count)
		return place(t, (uint32_t)v, count);
	return p->placed ? place(t, (uint32_t)v, p->count) : IOG_OK;
}

/* ---- the step that is aside ---- */

static void forget(struct iog_typed *t)
{
	for (uint32_t v = 0; v < t->schema.n_vars; v++) {
		free(t->part[v].kept);
		t->part[v].kept = NULL;
	}
}

static uint64_t bytes_of(const struct iog_array *a)
{
	uint64_t n = a->elem_size;
	for (unsigned i = 0; i < a->rank; i++)
		if (!iog_mul(n, (uint64_t)a->count[i], &n))
			return UINT64_MAX;
	return n;
}

static int keep(struct iog_typed *t, uint32_t v, const struct iog_array *a)
{
	struct iog_block b = { .data = a->data };
	const uint64_t n = bytes_of(a);
	free(t->part[v].kept);
	t->part[v].kept = n < INT64_MAX ? malloc(IOG_MAX(n, 1ull)) : NULL;
	if (!t->part[v].kept)
		return fail(t, -ENOMEM, "stream %s: out of memory", t->name);
	memcpy(b.count, a->count, a->rank * sizeof *a->count);
	memcpy(b.stride, a->stride, a->rank * sizeof *a->stride);
	if (n)
		iog_block_gather(t->part[v].kept, &b, a->rank, a->elem_size);
	return IOG_OK;
}

/* Every part is known: the step begins, and has what was kept. */
static int begin_now(struct iog_typed *t)
{
	int rc = iog_begin(t->s, t->step, t->time);
	t->state = rc ? UNWANTED : OPEN;
	t->verdict = rc;
	for (uint32_t v = 0; !rc && v < t->schema.n_vars; v++)
		if (t->part[v].kept)
			rc = iog_put(t->s, t->schema.var[v].name, t->part[v].kept, NULL);
	forget(t);
	return rc;
}

/* ---- steps ---- */

int iog_typed_begin(struct iog_typed *t, int64_t step, double time)
{
	int rc = dead(t);
	if (rc)
		return rc;
	if (t->state == ASIDE) {
		fail(t, -EINVAL, "stream %s: a step begins while another one is open; that was dropped", t->name);
		forget(t);
	}
	t->state = NO_STEP;
	if (t->unknown) {
		t->step = step;
		t->time = time;
		t->state = ASIDE;
		return IOG_OK;
	}
	rc = iog_begin(t->s, step, time);
	t->state = rc ? NO_STEP : OPEN;
	return rc;
}

/* Why a value cannot be taken now; 0: it can. */
static int closed(struct iog_typed *t)
{
	int rc = dead(t);
	if (rc)
		return rc;
	if (t->state == UNWANTED)
		return t->verdict;
	return t->state ? 0 : fail(t, -EINVAL, "stream %s: no step is open; values go between its begin and its commit", t->name);
}

/* The array is of the variable's type and rank. */
static int check_kind(struct iog_typed *t, uint32_t v, const struct iog_array *a)
{
	const struct iog_vardef *d = &t->schema.var[v];
	const uint32_t size = iog_dtype_size(d->dtype);
	const bool bytes = d->dtype == IOG_BYTE && a->elem_size == 1, bits = d->dtype == IOG_F16 && a->dtype == IOG_U16;
	if (a->dtype ? a->dtype != d->dtype && !bytes && !bits : a->elem_size != size)
		return fail(t, -EINVAL, "stream %s: %s is %s, and the array is %s (%u bytes each)", t->name, d->name,
			iog_dtype_name(d->dtype), a->dtype && a->dtype < IOG_DTYPES ? iog_dtype_name(a->dtype) : "of another type",
			a->elem_size);
	if (a->rank != d->rank)
		return fail(t, -EINVAL, "stream %s: %s has %u dimensions, and the array %u", t->name, d->name, d->rank, a->rank);
	return 0;
}

static int check(struct iog_typed *t, uint32_t v, const struct iog_array *a)
{
	const struct iog_vardef *d = &t->schema.var[v];
	const struct part *p = &t->part[v];
	char is[256], want[256];
	int rc = check_kind(t, v, a);
	if (rc)
		return rc;
	if (p->placed && memcmp(p->count, a->count, a->rank * sizeof *a->count))
		return fail(t, -EINVAL,
			"stream %s: the array for %s is %s, and its part %s (slowest dimension first); say a new one before the step",
			t->name, d->name, extents(is, sizeof is, a->rank, a->count), extents(want, sizeof want, d->rank, p->count));
	if (!a->data && bytes_of(a))
		return fail(t, -EINVAL, "stream %s: the array for %s is not there", t->name, d->name);
	return 0;
}

int iog_typed_put(struct iog_typed *t, const char *var, const struct iog_array *a)
{
	int rc = closed(t);
	if (rc)
		return rc;
	const int at = find(t, var);
	if (at < 0)
		return at;
	const uint32_t v = (uint32_t)at;
	if ((rc = check(t, v, a)))
		return rc;
	if (t->state == ASIDE) {
		if (!t->part[v].placed && a->rank && (rc = place(t, v, a->count)))
			return rc;
		if (t->unknown)
			return keep(t, v, a);
		if ((rc = begin_now(t)))
			return rc;
	}
	return iog_put(t->s, var, a->data ? a->data : "", a->stride);
}

int iog_typed_attr(struct iog_typed *t, const char *var, double value)
{
	int rc = closed(t);
	if (rc)
		return rc;
	if (t->state == OPEN)
		return iog_attr(t->s, var, value);
	const int v = find(t, var);
	if (v < 0)
		return v;
	const struct iog_vardef *d = &t->schema.var[v];
	_Alignas(16) uint8_t number[16] = { 0 };
	if (d->rank)
		return fail(t, -EINVAL, "stream %s: %s has dimensions, and is given one number", t->name, var);
	iog_store(number, d->dtype, value);
	return keep(t, (uint32_t)v, &(struct iog_array){ .data = number, .elem_size = iog_dtype_size(d->dtype) });
}

int iog_typed_part(struct iog_typed *t, const char *var, struct iog_array *a)
{
	*a = (struct iog_array){ 0 };
	int rc = closed(t);
	if (rc)
		return rc;
	const int v = find(t, var);
	if (v < 0)
		return v;
	const struct iog_vardef *d = &t->schema.var[v];
	struct iog_block b = { 0 };
	if (d->rank && !t->part[v].placed)
		return fail(t, -EINVAL, "stream %s: say the part of %s, with its count, before the first step", t->name, var);
	memcpy(b.count, t->part[v].count, sizeof b.count);
	iog_block_set_dense(&b, d->rank, iog_dtype_size(d->dtype));
	*a = (struct iog_array){ .dtype = d->dtype, .elem_size = iog_dtype_size(d->dtype), .rank = d->rank };
	memcpy(a->count, b.count, sizeof a->count);
	memcpy(a->stride, b.stride, sizeof a->stride);
	return IOG_OK;
}

int iog_typed_fill(struct iog_typed *t, const char *var, const struct iog_array *kind, struct iog_array *a)
{
	int rc = iog_typed_part(t, var, a);
	if (!rc && kind)
		rc = check_kind(t, (uint32_t)find(t, var), kind);
	if (rc)
		return rc;
	if (t->state == ASIDE)
		return fail(t, -EINVAL,
			"stream %s: to fill %s in place, say the parts of all variables, with their counts, before the first step", t->name,
			var);
	a->data = iog_fill(t->s, var);
	return a->data ? IOG_OK : -EINVAL;
}

int iog_typed_wanted(const struct iog_typed *t, const char *var)
{
	return t->state == ASIDE || (t->state != UNWANTED && t->s && iog_wanted(t->s, var));
}

int iog_typed_commit(struct iog_typed *t)
{
	int rc = closed(t);
	if (t->state == OPEN)
		rc = iog_commit(t->s);
	else if (t->state == ASIDE && !rc)
		rc = fail(t, -EINVAL, "stream %s: where is %s? Put it in the first step, or say its part with its count before", t->name,
			t->schema.var[__builtin_ctzll(t->unknown)].name);
	forget(t);
	t->state = NO_STEP;
	return rc;
}

/* ---- the end ---- */

int iog_typed_close(struct iog_typed *t, double timeout)
{
	if (!t->s)
		return t->rc;
	int rc = t->rc, one = iog_close(t->s, timeout);
	iog_typed_orphan(t);
	return rc ? rc : one;
}

void iog_typed_orphan(struct iog_typed *t)
{
	if (!t->s)
		return;
	forget(t);
	free(t);
}

const char *iog_typed_error(const struct iog_typed *t) { return t->err.text[0] || !t->io ? t->err.text : iog_error(t->io); }

const char *iog_typed_why(const struct iog_typed *t) { return t->last.text[0] ? t->last.text : iog_typed_error(t); }

int iog_typed_stats(const struct iog_typed *t, iog_stats *stats)
{
	*stats = (iog_stats){ 0 };
	return t->s ? iog_stream_stats(t->s, stats) : t->rc;
}

const struct iog_vardef *iog_typed_var(const struct iog_typed *t, const char *var)
{
	const int v = iog_schema_var(&t->schema, var);
	return v < 0 ? NULL : &t->schema.var[v];
}
