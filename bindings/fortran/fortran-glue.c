/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Below module iograph (iograph.f90, where every call is explained): descriptors of Fortran become arrays of C with their dimensions turned around, and handles,
 * which are numbers in Fortran, lead to streams and readers. One thread at a time.
 */
#include <ISO_Fortran_binding.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bindings/typed/typed.h"

enum { SAID = 512, HELD = 2 };

/* As in the module. */
struct stream_handle {
	int64_t id;
	char said[SAID];
};
struct reader_handle {
	int64_t id;
	char said[SAID];
};
struct rec_handle {
	int64_t reader, number;
};

/* An attachment, shared by all that were opened with the same `where`. */
struct place {
	struct place *next;
	iog *io;
	pid_t pid; /* a child of fork() has none of its parent's */
	int users;
	char where[];
};
struct item {
	struct item *next;
	int64_t id;
	struct place *place;
	/* One of the two. */
	struct iog_typed *stream;
	iog_reader *reader;
	struct {
		iog_rec *rec;
		int64_t number;
	} held[HELD];
};
static struct place *places;
static struct item *items;
static int64_t last_id;

/* ---- text ---- */

/* NUL-terminated and without trailing blanks; NULL when absent or out of memory. Given. */
static char *text_of(const CFI_cdesc_t *d)
{
	size_t n = d && d->base_addr ? d->elem_len : 0;
	const char *from = d ? d->base_addr : NULL;
	char *to = d ? calloc(1, n + 1) : NULL;
	while (n && from[n - 1] == ' ')
		n--;
	if (to && n)
		memcpy(to, from, n);
	return to;
}

static void text_to(const CFI_cdesc_t *d, const char *text)
{
	const size_t n = IOG_MIN(strlen(text), d->elem_len);
	memset(d->base_addr, ' ', d->elem_len);
	memcpy(d->base_addr, text, n);
}

static void swap_words(char *from, char *to)
{
	while (from < --to) {
		const char c = *from;
		*from++ = *to;
		*to = c;
	}
}

/* "a,bc" becomes "bc,a": the whole letter by letter, then each word again. */
static void turn_list(char *at, char *end)
{
	swap_words(at, end);
	while (at < end) {
		char *to = memchr(at, ',', (size_t)(end - at));
		to = to ? to : end;
		swap_words(at, to);
		at = to + 1;
	}
}

/* Dimensions between the first brackets of each declaration: the order of Fortran becomes that of C. Units may have brackets behind. */
static char *turn(char *text)
{
	for (char *at = text, *next; at && *at; at = next) {
		next = strpbrk(at, ";\n");
		char *open = strchr(at, '['), *close = open ? strchr(open, ']') : NULL;
		if (close && (!next || close < next))
			turn_list(open + 1, close);
		next = next ? next + 1 : NULL;
	}
	return text;
}

/* ---- handles ---- */

static struct place *place_of(const char *where)
{
	const size_t n = strlen(where) + 1;
	for (struct place *p = places; p; p = p->next)
		if (p->pid == getpid() && !strcmp(p->where, where)) {
			p->users++;
			return p;
		}
	struct place *p = malloc(sizeof *p + n);
	if (!p)
		return NULL;
	*p = (struct place){ .next = places, .io = iog_attach(where[0] ? where : NULL), .pid = getpid(), .users = 1 };
	memcpy(p->where, where, n);
	return places = p;
}

static void leave(struct place *gone)
{
	if (--gone->users)
		return;
	for (struct place **at = &places; *at; at = &(*at)->next)
		if (*at == gone) {
			*at = gone->next;
			break;
		}
	iog_detach(gone->io);
	free(gone);
}

static struct item *item_new(const char *where)
{
	struct item *x = calloc(1, sizeof *x);
	if (x && !(x->place = place_of(where))) {
		free(x);
		x = NULL;
	}
	if (!x)
		return NULL;
	x->id = ++last_id;
	x->next = items;
	return items = x;
}

static void item_free(struct item *gone)
{
	for (struct item **at = &items; *at; at = &(*at)->next)
		if (*at == gone) {
			*at = gone->next;
			break;
		}
	leave(gone->place);
	free(gone);
}

static struct item *item_of(int64_t id)
{
	for (struct item *x = items; x; x = x->next)
		if (x->id == id)
			return x;
	return NULL;
}
static struct iog_typed *stream_of(const struct stream_handle *s)
{
	const struct item *x = item_of(s->id);
	return x ? x->stream : NULL;
}
static iog_rec *rec_of(const struct rec_handle *r)
{
	const struct item *x = item_of(r->reader);
	for (int i = 0; x && i < HELD; i++)
		if (x->held[i].rec && x->held[i].number == r->number)
			return x->held[i].rec;
	return NULL;
}

static void say(int *stat, int code)
{
	if (stat)
		*stat = code;
}

/* ---- arrays ---- */

static uint8_t dtype_of(const CFI_cdesc_t *d)
{
	switch (d->type) {
	case CFI_type_int8_t: return IOG_I8;
	case CFI_type_int16_t: return IOG_I16;
	case CFI_type_int32_t: return IOG_I32;
	case CFI_type_int64_t: return IOG_I64;
	case CFI_type_float: return IOG_F32;
	case CFI_type_double: return IOG_F64;
	case CFI_type_float_Complex: return IOG_C64;
	case CFI_type_double_Complex: return IOG_C128;
	case CFI_type_Bool: return IOG_BOOL;
	case CFI_type_struct: return IOG_NONE;
	default: return IOG_DTYPES; /* no variable has it */
	}
}

/* Fortran has no unsigned integers; those of the same size stand for them. */
static uint8_t dtype_for(uint8_t is, const struct iog_vardef *v)
{
	return v && v->dtype >= IOG_U8 && v->dtype <= IOG_U64 && is == v->dtype - IOG_U8 + IOG_I8 ? v->dtype : is;
}

/* An array that is not there yet. */
static struct iog_array kind_of(const CFI_cdesc_t *d, const struct iog_vardef *v)
{
	return (struct iog_array){ .dtype = dtype_for(dtype_of(d), v), .elem_size = (uint32_t)d->elem_len, .rank = (uint8_t)d->rank };
}

/* With more dimensions than a variable has, where none is looked at, it is refused for that. */
static struct iog_array array_of(const CFI_cdesc_t *d, const struct iog_vardef *v)
{
	struct iog_array a = kind_of(d, v);
	a.data = d->base_addr;
	for (int i = 0; i < d->rank && d->rank <= IOG_RANK; i++) {
		a.count[d->rank - 1 - i] = d->dim[i].extent;
		a.stride[d->rank - 1 - i] = d->dim[i].sm;
	}
	return a;
}

/* Points p at an array; false when it is of another type or rank, or its strides are none that Fortran has. */
static bool point(CFI_cdesc_t *p, const struct iog_array *a, const struct iog_vardef *v)
{
	p->base_addr = NULL;
	if (dtype_for(dtype_of(p), v) != a->dtype || p->rank != a->rank)
		return false;
	for (unsigned i = 0; i < a->rank; i++)
		if (a->stride[i] % (int64_t)p->elem_len)
			return false;
	for (unsigned i = 0; i < a->rank; i++)
		p->dim[i] = (CFI_dim_t){ .lower_bound = 1, .extent = a->count[a->rank - 1 - i], .sm = a->stride[a->rank - 1 - i] };
	p->base_addr = (void *)(uintptr_t)a->data;
	return true;
}

/* Numbers of either kind, turned around; NULL when absent. */
static const int64_t *numbers(int64_t *to, const CFI_cdesc_t *d)
{
	if (!d || !d->base_addr)
		return NULL;
	const char *from = d->base_addr;
	for (int64_t i = 0, n = d->dim[0].extent; i < n && n <= IOG_RANK; i++, from += d->dim[0].sm) {
		int32_t small;
		if (d->elem_len == sizeof small) {
			memcpy(&small, from, sizeof small);
			to[n - 1 - i] = small;
		} else {
			memcpy(&to[n - 1 - i], from, sizeof *to);
		}
	}
	return to;
}

/* ---- writing ---- */

struct stream_handle iog_fortran_open(const CFI_cdesc_t *where, const CFI_cdesc_t *name, const CFI_cdesc_t *schema,
	const CFI_cdesc_t *options, const int *rank, const int *n);
void iog_fortran_block4(const struct stream_handle *s, const CFI_cdesc_t *var, const CFI_cdesc_t *global, const CFI_cdesc_t *offset,
	const CFI_cdesc_t *count, int *stat);
void iog_fortran_block8(const struct stream_handle *s, const CFI_cdesc_t *var, const CFI_cdesc_t *global, const CFI_cdesc_t *offset,
	const CFI_cdesc_t *count, int *stat);
int iog_fortran_begin4(const struct stream_handle *s, const int32_t *step, const double *time);
int iog_fortran_begin8(const struct stream_handle *s, const int64_t *step, const double *time);
void iog_fortran_put(const struct stream_handle *s, const CFI_cdesc_t *var, const CFI_cdesc_t *array, int *stat);
void iog_fortran_attr(const struct stream_handle *s, const CFI_cdesc_t *var, const double *value, int *stat);
bool iog_fortran_wanted(const struct stream_handle *s, const CFI_cdesc_t *var);
void iog_fortran_commit(const struct stream_handle *s, int *stat);
int iog_fortran_close(struct stream_handle *s, const double *timeout);
int iog_fortran_param(const struct stream_handle *s, const CFI_cdesc_t *name, const double *value);
void iog_fortran_stream_error(const struct stream_handle *s, const CFI_cdesc_t *text);
void iog_fortran_stream_stats(const struct stream_handle *s, iog_stats *stats);

struct stream_handle iog_fortran_open(const CFI_cdesc_t *where, const CFI_cdesc_t *name, const CFI_cdesc_t *schema,
	const CFI_cdesc_t *options, const int *rank, const int *n)
{
	struct stream_handle s = { 0 };
	char *at = text_of(where), *called = text_of(name), *declared = text_of(schema), *opts = text_of(options);
	struct item *x = at && called && declared ? item_new(at) : NULL;
	if (x) {
		x->stream = iog_typed_open(x->place->io, called, turn(declared), opts, rank ? *rank : 0, n ? *n : 1);
		s.id = x->id;
	} else {
		iog_strset(s.said, sizeof s.said, "out of memory");
	}
	free(at);
	free(called);
	free(declared);
	free(opts);
	return s;
}

void iog_fortran_block8(const struct stream_handle *s, const CFI_cdesc_t *var, const CFI_cdesc_t *global, const CFI_cdesc_t *offset,
	const CFI_cdesc_t *count, int *stat)
{
	int64_t g[IOG_RANK], o[IOG_RANK], c[IOG_RANK];
	struct iog_typed *t = stream_of(s);
	const CFI_index_t n = global->dim[0].extent;
	char *name = text_of(var);
	int code = t ? -EINVAL : -EBADF;
	if (t && name) {
		/* Of another length than global: a length that no variable has, for the sentence. */
		const bool same = (!offset || offset->dim[0].extent == n) && (!count || count->dim[0].extent == n);
		code = iog_typed_block(
			t, name, same && n <= IOG_RANK ? (unsigned)n : 0, numbers(g, global), numbers(o, offset), numbers(c, count));
	}
	free(name);
	say(stat, code);
}
void iog_fortran_block4(const struct stream_handle *s, const CFI_cdesc_t *var, const CFI_cdesc_t *global, const CFI_cdesc_t *offset,
	const CFI_cdesc_t *count, int *stat)
{
	iog_fortran_block8(s, var, global, offset, count, stat);
}

int iog_fortran_begin8(const struct stream_handle *s, const int64_t *step, const double *time)
{
	struct iog_typed *t = stream_of(s);
	return t ? iog_typed_begin(t, *step, *time) : -EBADF;
}
int iog_fortran_begin4(const struct stream_handle *s, const int32_t *step, const double *time)
{
	return iog_fortran_begin8(s, &(int64_t){ *step }, time);
}

void iog_fortran_put(const struct stream_handle *s, const CFI_cdesc_t *var, const CFI_cdesc_t *array, int *stat)
{
	struct iog_typed *t = stream_of(s);
	char *name = text_of(var);
	int code = t ? -ENOMEM : -EBADF;
	if (t && name) {
		const struct iog_array a = array_of(array, iog_typed_var(t, name));
		code = iog_typed_put(t, name, &a);
	}
	free(name);
	say(stat, code);
}

void iog_fortran_attr(const struct stream_handle *s, const CFI_cdesc_t *var, const double *value, int *stat)
{
	struct iog_typed *t = stream_of(s);
	char *name = text_of(var);
	say(stat, !t ? -EBADF : name ? iog_typed_attr(t, name, *value) : -ENOMEM);
	free(name);
}

/* The pointers of iog_fill and iog_get, one function for each type they may have. */
static void fill(const struct stream_handle *s, const CFI_cdesc_t *var, CFI_cdesc_t *p, int *stat)
{
	struct iog_typed *t = stream_of(s);
	struct iog_array a;
	char *name = text_of(var);
	int code = t ? -ENOMEM : -EBADF;
	p->base_addr = NULL;
	if (t && name) {
		const struct iog_vardef *v = iog_typed_var(t, name);
		const struct iog_array kind = kind_of(p, v);
		code = iog_typed_fill(t, name, &kind, &a);
		if (!code)
			point(p, &a, v);
	}
	free(name);
	say(stat, code);
}
#define FILL(kind)                                                                                                                         \
	void iog_fortran_fill_##kind(const struct stream_handle *s, const CFI_cdesc_t *var, CFI_cdesc_t *p, int *stat);                    \
	void iog_fortran_fill_##kind(const struct stream_handle *s, const CFI_cdesc_t *var, CFI_cdesc_t *p, int *stat)                     \
	{                                                                                                                                  \
		fill(s, var, p, stat);                                                                                                     \
	}
FILL(r4)
FILL(r8)
FILL(i4)
FILL(i8)
FILL(c8)

bool iog_fortran_wanted(const struct stream_handle *s, const CFI_cdesc_t *var)
{
	const struct iog_typed *t = stream_of(s);
	char *name = text_of(var);
	const bool wanted = t && name && iog_typed_wanted(t, name);
	free(name);
	return wanted;
}

void iog_fortran_commit(const struct stream_handle *s, int *stat)
{
	struct iog_typed *t = stream_of(s);
	say(stat, t ? iog_typed_commit(t) : -EBADF);
}

int iog_fortran_close(struct stream_handle *s, const double *timeout)
{
	struct item *x = item_of(s->id);
	if (!x || !x->stream)
		return -EBADF;
	/* What closing itself has to say is known to the attachment only, which may go with it. */
	char before[SAID];
	iog_strset(before, sizeof before, iog_typed_error(x->stream));
	int code = iog_typed_close(x->stream, *timeout);
	iog_strset(s->said, sizeof s->said, before[0] || !code ? before : iog_error(x->place->io));
	item_free(x);
	s->id = 0;
	return code;
}

int iog_fortran_param(const struct stream_handle *s, const CFI_cdesc_t *name, const double *value)
{
	struct item *x = item_of(s->id);
	char *called = text_of(name);
	int code = !x ? -EBADF : called ? iog_param(x->place->io, called, *value) : -ENOMEM;
	free(called);
	return code;
}

void iog_fortran_stream_error(const struct stream_handle *s, const CFI_cdesc_t *text)
{
	struct iog_typed *t = stream_of(s);
	text_to(text, t ? iog_typed_error(t) : s->said[0] ? s->said : s->id ? "the stream was closed by another name" : "");
}

void iog_fortran_stream_stats(const struct stream_handle *s, iog_stats *stats)
{
	struct iog_typed *t = stream_of(s);
	*stats = (iog_stats){ 0 };
	if (t)
		iog_typed_stats(t, stats);
}

/* ---- reading ---- */

struct reader_handle iog_fortran_subscribe(
	const CFI_cdesc_t *where, const CFI_cdesc_t *stream, const CFI_cdesc_t *select, const CFI_cdesc_t *options);
int iog_fortran_next(const struct reader_handle *r, const double *timeout, struct rec_handle *rec);
int64_t iog_fortran_rec_step(const struct rec_handle *rec);
double iog_fortran_rec_time(const struct rec_handle *rec);
void iog_fortran_rec_var(const struct rec_handle *rec, const int *index, const CFI_cdesc_t *text);
void iog_fortran_rec_unit(const struct rec_handle *rec, const CFI_cdesc_t *var, const CFI_cdesc_t *text);
void iog_fortran_release(struct rec_handle *rec);
int iog_fortran_unsubscribe(struct reader_handle *r);
void iog_fortran_reader_error(const struct reader_handle *r, const CFI_cdesc_t *text);
void iog_fortran_reader_stats(const struct reader_handle *r, iog_stats *stats);

struct reader_handle iog_fortran_subscribe(
	const CFI_cdesc_t *where, const CFI_cdesc_t *stream, const CFI_cdesc_t *select, const CFI_cdesc_t *options)
{
	struct reader_handle r = { 0 };
	char *at = text_of(where), *called = text_of(stream), *part = text_of(select), *opts = text_of(options);
	struct item *x = at && called ? item_new(at) : NULL;
	if (x) {
		x->reader = iog_subscribe(x->place->io, called, part ? turn(part) : NULL, opts);
		r.id = x->id;
	} else {
		iog_strset(r.said, sizeof r.said, "out of memory");
	}
	free(at);
	free(called);
	free(part);
	free(opts);
	return r;
}

int iog_fortran_next(const struct reader_handle *r, const double *timeout, struct rec_handle *rec)
{
	struct item *x = item_of(r->id);
	iog_rec *got;
	*rec = (struct rec_handle){ 0 };
	if (!x || !x->reader)
		return -EBADF;
	int code = iog_next(x->reader, *timeout, &got);
	for (int i = 0; code == IOG_OK && i < HELD; i++)
		if (!x->held[i].rec) {
			x->held[i].rec = got;
			x->held[i].number = ++last_id;
			*rec = (struct rec_handle){ x->id, x->held[i].number };
			break;
		}
	return code;
}

int64_t iog_fortran_rec_step(const struct rec_handle *rec) { return iog_rec_step(rec_of(rec)); }
double iog_fortran_rec_time(const struct rec_handle *rec) { return iog_rec_time(rec_of(rec)); }

void iog_fortran_rec_var(const struct rec_handle *rec, const int *index, const CFI_cdesc_t *text)
{
	const char *name = iog_rec_var(rec_of(rec), *index - 1);
	text_to(text, name ? name : "");
}

void iog_fortran_rec_unit(const struct rec_handle *rec, const CFI_cdesc_t *var, const CFI_cdesc_t *text)
{
	iog_view v;
	char *name = text_of(var);
	text_to(text, name && !iog_get(rec_of(rec), name, &v) ? v.unit : "");
	free(name);
}

static int view(const struct rec_handle *rec, const CFI_cdesc_t *var, CFI_cdesc_t *p, const CFI_cdesc_t *start)
{
	iog_view v;
	char *name = text_of(var);
	int code = iog_get(rec_of(rec), name, &v);
	free(name);
	if (code)
		return code;
	struct iog_array a = { .data = v.data, .dtype = (uint8_t)iog_dtype_find(v.dtype, strlen(v.dtype)), .rank = (uint8_t)v.rank };
	const struct iog_vardef def = { .dtype = a.dtype };
	memcpy(a.count, v.shape, sizeof a.count);
	memcpy(a.stride, v.stride, sizeof a.stride);
	if (!point(p, &a, &def))
		return -EINVAL;
	for (int i = 0; start && i < v.rank && i < start->dim[0].extent; i++)
		memcpy((char *)start->base_addr + i * start->dim[0].sm, &v.start[v.rank - 1 - i], sizeof v.start[0]);
	return IOG_OK;
}
static void get(const struct rec_handle *rec, const CFI_cdesc_t *var, CFI_cdesc_t *p, const CFI_cdesc_t *start, int *stat)
{
	p->base_addr = NULL;
	say(stat, view(rec, var, p, start));
}
#define GET(kind)                                                                                                                          \
	void iog_fortran_get_##kind(                                                                                                       \
		const struct rec_handle *rec, const CFI_cdesc_t *var, CFI_cdesc_t *p, const CFI_cdesc_t *start, int *stat);                \
	void iog_fortran_get_##kind(                                                                                                       \
		const struct rec_handle *rec, const CFI_cdesc_t *var, CFI_cdesc_t *p, const CFI_cdesc_t *start, int *stat)                 \
	{                                                                                                                                  \
		get(rec, var, p, start, stat);                                                                                             \
	}
GET(r4)
GET(r8)
GET(i4)
GET(i8)
GET(c8)

void iog_fortran_release(struct rec_handle *rec)
{
	struct item *x = item_of(rec->reader);
	for (int i = 0; x && i < HELD; i++)
		if (x->held[i].rec && x->held[i].number == rec->number) {
			iog_release(x->held[i].rec);
			x->held[i].rec = NULL;
		}
	*rec = (struct rec_handle){ 0 };
}

int iog_fortran_unsubscribe(struct reader_handle *r)
{
	struct item *x = item_of(r->id);
	if (!x || !x->reader)
		return -EBADF;
	int code = iog_unsubscribe(x->reader);
	iog_strset(r->said, sizeof r->said, code ? iog_error(x->place->io) : "");
	item_free(x);
	r->id = 0;
	return code;
}

void iog_fortran_reader_error(const struct reader_handle *r, const CFI_cdesc_t *text)
{
	const struct item *x = item_of(r->id);
	text_to(text, x ? iog_error(x->place->io) : r->said);
}

void iog_fortran_reader_stats(const struct reader_handle *r, iog_stats *stats)
{
	const struct item *x = item_of(r->id);
	*stats = (iog_stats){ 0 };
	if (x && x->reader)
		iog_reader_stats(x->reader, stats);
}
