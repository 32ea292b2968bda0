/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Module _iograph, below the package iograph (bindings/python/iograph), which says what users see. Stable interface of Python 3.11 and later.
 *
 * Memory. What a view shows never changes. As long as one is there, its step is not given back, whatever was released; but a variable that somebody forgot
 * must not keep the writer waiting, and when the reader is closed the library unmaps the writer's arena. So views point into a second mapping of
 * the arena, made once for each arena (mremap of shared memory from size 0) and owned by the reader. When a reader closes, needs a place, or has
 * waited for PATIENCE_S, the pages of views whose step was released are replaced by private copies in place, and the step goes back. That twin
 * is retired then: it no longer shows what the arena has. What is not in shared memory of a writer (put together from several ranks) is copied
 * right away, and such a view holds nothing.
 *
 * Threads. The library wants one thread at a time for what came from one attachment: every reader and stream has its own, and a lock. Who waits for a
 * step lets go of Python and, every SLICE_S, of the lock, and looks for Ctrl-C.
 */
#define Py_LIMITED_API 0x030b0000
#include <Python.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "bindings/typed/typed.h"
#include "core/record.h"

enum { HELD = 2 };
static const double SLICE_S = 0.02, APPEAR_S = 0.25, PATIENCE_S = 0.5;

PyMODINIT_FUNC PyInit__iograph(void);

static PyObject *error_class, *timeout_class; /* iograph.Error, iograph.TimeoutError */
static PyTypeObject *attachment_type, *reader_type, *record_type, *view_type, *stream_type;

/* A second mapping of memory that the library maps. */
struct twin {
	struct twin *next;
	uint8_t *lo, *hi; /* as the library has it */
	uint8_t *base;    /* as we do */
	bool retired;     /* some of its pages are copies: no new view points here */
};

struct guard {
	pthread_mutex_t lock;
	_Atomic int waiting;
	pid_t pid;  /* where the lock is in order */
	pid_t home; /* whose memory is mapped; 0: not known yet */
};

struct attachment {
	PyObject head;
	iog *io;
};
struct record {
	PyObject head;
	struct reader *reader; /* owned */
	iog_rec *rec;          /* NULL: given back */
	bool released;         /* by the user */
	int views;             /* that point into it */
	int64_t step;
	double time;
	PyObject *names;
};
struct reader {
	PyObject head;
	struct guard guard;
	iog *io;
	iog_reader *r; /* NULL: closed */
	struct twin *twins;
	struct view *views;          /* that point into twins */
	struct record *record[HELD]; /* that hold a step; borrowed */
	iog_stats stats;             /* when it was closed */
	char name[IOG_NAME];
};
struct stream {
	PyObject head;
	struct guard guard;
	iog *io;
	struct iog_typed *t; /* NULL: closed */
	struct twin *twins;
	iog_stats stats;
	char said[512];  /* the first failure, when it was closed */
	char shown[512]; /* by the last exception */
};
struct view {
	PyObject head;
	PyObject *owner;          /* the record it holds, or the stream it writes to; NULL: memory of its own */
	struct view *prev, *next; /* of the reader */
	uint8_t *data, *memory;
	bool readonly, copied; /* copied: its pages are its own, and it holds no step */
	uint8_t dtype;
	int rank;
	uint32_t elem;
	Py_ssize_t shape[IOG_RANK], stride[IOG_RANK];
	int64_t start[IOG_RANK];
	char dim[IOG_RANK][IOG_NAME], unit[IOG_NAME];
};

/* ---- small things ---- */

static PyObject *raise_as(PyObject *class, int code, const char *fmt, ...)
{
	char text[700];
	va_list ap;
	va_start(ap, fmt);
	iog_vformat(text, sizeof text, fmt, ap);
	va_end(ap);
	PyObject *e = PyObject_CallFunction(class, "si", text, code);
	if (e)
		PyErr_SetObject(class, e);
	Py_XDECREF(e);
	return NULL;
}

/* Recursive: whatever makes an object or an exception of Python may collect garbage, views of the same reader among it, or run a signal handler. */
static void guard_init(struct guard *g)
{
	pthread_mutexattr_t a;
	pthread_mutexattr_init(&a);
	pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&g->lock, &a);
	pthread_mutexattr_destroy(&a);
	atomic_store(&g->waiting, 0);
	g->pid = getpid();
	g->home = g->home ? g->home : g->pid;
}
/* In a child of fork() mappings of the library, and twins, are not there, and something else may be at their addresses. */
static bool away(const struct guard *g) { return g->home != getpid(); }
/* With Python held. Who holds the lock may be without it, and want it back. */
static void enter(struct guard *g)
{
	/* In a child of fork() the thread that had it is not there. */
	if (g->pid != getpid())
		guard_init(g);
	if (!pthread_mutex_trylock(&g->lock))
		return;
	atomic_fetch_add(&g->waiting, 1);
	Py_BEGIN_ALLOW_THREADS pthread_mutex_lock(&g->lock);
	Py_END_ALLOW_THREADS atomic_fetch_sub(&g->waiting, 1);
}
static void leave(struct guard *g) { pthread_mutex_unlock(&g->lock); }
/* Between two slices: others first, for some milliseconds. */
static void give_way(struct guard *g)
{
	const struct timespec nap = { .tv_nsec = 100000 };
	Py_BEGIN_ALLOW_THREADS for (int i = 0; i < 50 && atomic_load(&g->waiting); i++) nanosleep(&nap, NULL);
	Py_END_ALLOW_THREADS
}

static double now_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static PyObject *ints(const int64_t *n, int count)
{
	PyObject *t = PyTuple_New(count);
	for (int i = 0; t && i < count; i++) {
		PyObject *x = PyLong_FromLongLong(n[i]);
		if (!x) {
			Py_CLEAR(t);
			break;
		}
		PyTuple_SetItem(t, i, x);
	}
	return t;
}

static PyObject *stats_tuple(const iog_stats *s)
{
	return Py_BuildValue("(KKKKdi)", (unsigned long long)s->records, (unsigned long long)s->bytes, (unsigned long long)s->dropped,
		(unsigned long long)s->skipped, s->blocked_s, s->readers);
}

static void *alloc(PyTypeObject *type)
{
	allocfunc f = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
	return f(type, 0);
}
static void release_object(void *self)
{
	PyTypeObject *type = Py_TYPE(self);
	freefunc f = (freefunc)PyType_GetSlot(type, Py_tp_free);
	f(self);
	Py_DECREF(type);
}

/* ---- twins ---- */

/* The mapping that p is in, when it is shared memory. */
static bool shared_mapping(const uint8_t *p, uint8_t **lo, uint8_t **hi)
{
	unsigned long from, to;
	char mode[8], line[512];
	bool found = false;
	FILE *f = fopen("/proc/self/maps", "re");
	while (f && !found && fgets(line, sizeof line, f))
		if (sscanf(line, "%lx-%lx %7s", &from, &to, mode) == 3 && (uintptr_t)p >= from && (uintptr_t)p < to) {
			*lo = (uint8_t *)from;
			*hi = (uint8_t *)to;
			found = true;
		}
	if (f)
		fclose(f);
	return found && mode[3] == 's';
}

/* n bytes at p in our own mapping of the same memory; NULL when there can be none. */
static uint8_t *twin_of(struct twin **all, const uint8_t *p, size_t n)
{
	for (struct twin *t = *all; t; t = t->next)
		if (!t->retired && p >= t->lo && p < t->hi)
			return n <= (size_t)(t->hi - p) ? t->base + (p - t->lo) : NULL;
	struct twin *t = malloc(sizeof *t);
	if (!t || !shared_mapping(p, &t->lo, &t->hi) || n > (size_t)(t->hi - p)) {
		free(t);
		return NULL;
	}
	t->base = mremap(t->lo, 0, (size_t)(t->hi - t->lo), MREMAP_MAYMOVE);
	if (t->base == MAP_FAILED) {
		free(t);
		return NULL;
	}
	t->retired = false;
	t->next = *all;
	*all = t;
	return t->base + (p - t->lo);
}

static void twins_free(struct twin **all, bool mapped)
{
	for (struct twin *t = *all, *next; t; t = next) {
		next = t->next;
		if (mapped)
			munmap(t->base, (size_t)(t->hi - t->lo));
		free(t);
	}
	*all = NULL;
}

/* ---- views ---- */

static const char *format_of(unsigned dtype)
{
	static const char *const format[IOG_DTYPES] = { "", "b", "h", "i", "q", "B", "H", "I", "Q", "e", "f", "d", "Zf", "Zd", "?", "B" };
	return format[dtype < IOG_DTYPES ? dtype : 0];
}

/* The bytes that a view spans: from its lowest to behind its highest. */
static void span(const struct view *v, uint8_t **lo, uint8_t **hi)
{
	*lo = v->data;
	*hi = v->data + v->elem;
	for (int d = 0; d < v->rank; d++) {
		if (!v->shape[d]) {
			*hi = *lo = v->data;
			return;
		}
		const ptrdiff_t reach = (v->shape[d] - 1) * v->stride[d];
		*(reach < 0 ? lo : hi) += reach;
	}
}

static size_t view_bytes(const struct view *v)
{
	size_t n = v->elem;
	for (int d = 0; d < v->rank; d++)
		n *= (size_t)v->shape[d];
	return n;
}

/* Its elements, dense, in new memory. */
static uint8_t *gathered(const struct view *v)
{
	struct iog_block b = { .data = v->data };
	uint8_t *to = malloc(IOG_MAX(view_bytes(v), (size_t)1));
	for (int d = 0; d < v->rank; d++)
		b.count[d] = v->shape[d], b.stride[d] = v->stride[d];
	if (to && view_bytes(v))
		iog_block_gather(to, &b, (unsigned)v->rank, v->elem);
	return to;
}

/* Makes v one of memory of its own. */
static bool own(struct view *v)
{
	v->memory = gathered(v);
	if (!v->memory) {
		PyErr_NoMemory();
		return false;
	}
	v->data = v->memory;
	Py_ssize_t stride = v->elem;
	for (int d = v->rank - 1; d >= 0; d--) {
		v->stride[d] = stride;
		stride *= v->shape[d];
	}
	return true;
}

static void hold(struct view *v, struct record *rec)
{
	struct reader *r = rec->reader;
	v->owner = Py_NewRef((PyObject *)rec);
	rec->views++;
	v->next = r->views;
	if (v->next)
		v->next->prev = v;
	r->views = v;
}

/* With the reader's lock held: the step goes back when nobody needs it. */
static void give_back(struct record *rec)
{
	struct reader *r = rec->reader;
	if (!rec->rec || !rec->released || rec->views)
		return;
	if (r->r)
		iog_release(rec->rec);
	rec->rec = NULL;
	for (int i = 0; i < HELD; i++)
		if (r->record[i] == rec)
			r->record[i] = NULL;
}

static void view_dealloc(PyObject *self)
{
	struct view *v = (struct view *)self;
	if (v->owner && Py_TYPE(v->owner) == record_type) {
		struct record *rec = (struct record *)v->owner;
		struct reader *r = rec->reader;
		enter(&r->guard);
		if (v->prev)
			v->prev->next = v->next;
		else
			r->views = v->next;
		if (v->next)
			v->next->prev = v->prev;
		rec->views -= !v->copied;
		give_back(rec);
		leave(&r->guard);
	}
	free(v->memory);
	Py_XDECREF(v->owner);
	release_object(self);
}

static PyObject *view_copy(PyObject *self, PyObject *unused)
{
	(void)unused;
	const struct view *from = (struct view *)self;
	struct view *v = alloc(view_type);
	if (!v)
		return NULL;
	v->data = from->data, v->dtype = from->dtype, v->rank = from->rank, v->elem = from->elem;
	memcpy(v->shape, from->shape, sizeof v->shape);
	memcpy(v->stride, from->stride, sizeof v->stride);
	memcpy(v->start, from->start, sizeof v->start);
	memcpy(v->dim, from->dim, sizeof v->dim);
	memcpy(v->unit, from->unit, sizeof v->unit);
	if (!own(v))
		Py_CLEAR(v);
	return (PyObject *)v;
}

static int view_getbuffer(PyObject *self, Py_buffer *b, int flags)
{
	struct view *v = (struct view *)self;
	*b = (Py_buffer){ .buf = v->data, .len = (Py_ssize_t)view_bytes(v), .itemsize = v->elem, .readonly = v->readonly, .ndim = v->rank };
	b->format = (char *)(uintptr_t)format_of(v->dtype);
	b->shape = v->shape;
	b->strides = v->stride;
	const char *why =
		(flags & PyBUF_WRITABLE) == PyBUF_WRITABLE && v->readonly ? "this is memory of another program, and cannot be written to"
		: (flags & PyBUF_C_CONTIGUOUS) == PyBUF_C_CONTIGUOUS && !PyBuffer_IsContiguous(b, 'C')
			? "the view is not contiguous in C order"
		: (flags & PyBUF_F_CONTIGUOUS) == PyBUF_F_CONTIGUOUS && !PyBuffer_IsContiguous(b, 'F')
			? "the view is not contiguous in the order of Fortran"
		: (flags & PyBUF_ANY_CONTIGUOUS) == PyBUF_ANY_CONTIGUOUS && !PyBuffer_IsContiguous(b, 'A') ? "the view is not contiguous"
		: (flags & PyBUF_STRIDES) != PyBUF_STRIDES && !PyBuffer_IsContiguous(b, 'C')
			? "the view has strides; make a copy, or ask for them"
			: NULL;
	if (why) {
		b->obj = NULL;
		PyErr_SetString(PyExc_BufferError, why);
		return -1;
	}
	if (!(flags & PyBUF_FORMAT))
		b->format = NULL;
	if ((flags & PyBUF_STRIDES) != PyBUF_STRIDES)
		b->strides = NULL;
	if ((flags & PyBUF_ND) != PyBUF_ND)
		b->shape = NULL;
	b->obj = Py_NewRef(self);
	return 0;
}

/* ---- DLPack (https://dmlc.github.io/dlpack): its structures, as far as they are fixed ---- */

struct dl_tensor {
	void *data;
	int32_t device_type, device_id, ndim;
	uint8_t code, bits;
	uint16_t lanes;
	int64_t *shape, *strides;
	uint64_t byte_offset;
};
struct dl_managed {
	struct dl_tensor tensor;
	void *context;
	void (*deleter)(struct dl_managed *);
};
struct dl_versioned {
	uint32_t major, minor;
	void *context;
	void (*deleter)(struct dl_versioned *);
	uint64_t flags;
	struct dl_tensor tensor;
};
enum { DL_CPU = 1, DL_READ_ONLY = 1, DL_INT = 0, DL_UINT = 1, DL_FLOAT = 2, DL_COMPLEX = 5, DL_BOOL = 6 };
struct exported {
	union {
		struct dl_managed old;
		struct dl_versioned now;
	};
	int64_t shape[IOG_RANK], stride[IOG_RANK];
	PyObject *view;
};

static void exported_free(struct exported *e)
{
	PyGILState_STATE state = PyGILState_Ensure();
	Py_DECREF(e->view);
	PyGILState_Release(state);
	free(e);
}
static void old_deleter(struct dl_managed *m) { exported_free(m->context); }
static void now_deleter(struct dl_versioned *m) { exported_free(m->context); }
/* Whoever takes a capsule renames it, and calls the deleter itself. */
static void capsule_free(PyObject *capsule)
{
	static const char *const names[] = { "dltensor", "dltensor_versioned" };
	for (int i = 0; i < 2; i++)
		if (PyCapsule_IsValid(capsule, names[i])) {
			void *p = PyCapsule_GetPointer(capsule, names[i]);
			exported_free(i ? ((struct dl_versioned *)p)->context : ((struct dl_managed *)p)->context);
			return;
		}
}

static bool dl_fill(struct dl_tensor *t, struct exported *e, const struct view *v)
{
	static const uint8_t codes[IOG_DTYPES] = { [IOG_I8] = DL_INT,
		[IOG_U8] = DL_UINT,
		[IOG_U16] = DL_UINT,
		[IOG_U32] = DL_UINT,
		[IOG_U64] = DL_UINT,
		[IOG_F16] = DL_FLOAT,
		[IOG_F32] = DL_FLOAT,
		[IOG_F64] = DL_FLOAT,
		[IOG_C64] = DL_COMPLEX,
		[IOG_C128] = DL_COMPLEX,
		[IOG_BOOL] = DL_BOOL,
		[IOG_BYTE] = DL_UINT };
	*t = (struct dl_tensor){ .data = v->data,
		.device_type = DL_CPU,
		.ndim = v->rank,
		.code = codes[v->dtype],
		.bits = (uint8_t)(8 * v->elem),
		.lanes = 1,
		.shape = e->shape,
		.strides = e->stride };
	for (int d = 0; d < v->rank; d++) {
		if (v->stride[d] % (Py_ssize_t)v->elem) {
			PyErr_SetString(
				PyExc_BufferError, "the strides of the view are no whole elements, which DLPack wants; make a copy");
			return false;
		}
		e->shape[d] = v->shape[d];
		e->stride[d] = v->stride[d] / (Py_ssize_t)v->elem;
	}
	return true;
}

static PyObject *view_dlpack(PyObject *self, PyObject *args, PyObject *kw)
{
	static char *words[] = { "stream", "max_version", "dl_device", "copy", NULL };
	PyObject *stream = Py_None, *version = Py_None, *device = Py_None, *copy = Py_None, *source = Py_NewRef(self);
	long major = 0;
	if (!PyArg_ParseTupleAndKeywords(args, kw, "|$OOOO", words, &stream, &version, &device, &copy))
		goto fail;
	if (stream != Py_None) {
		PyErr_SetString(PyExc_BufferError, "memory of the host has no stream");
		goto fail;
	}
	if (PyTuple_Check(version) && PyTuple_Size(version) > 0)
		major = PyLong_AsLong(PyTuple_GetItem(version, 0));
	const int copied = copy == Py_None ? 0 : PyObject_IsTrue(copy);
	if (PyErr_Occurred() || copied < 0)
		goto fail;
	if (copied) {
		Py_DECREF(source);
		source = view_copy(self, NULL);
	}
	struct exported *e = source ? calloc(1, sizeof *e) : NULL;
	if (!e) {
		PyErr_NoMemory();
		goto fail;
	}
	struct view *v = (struct view *)source;
	e->view = source;
	if (!dl_fill(major ? &e->now.tensor : &e->old.tensor, e, v)) {
		free(e);
		goto fail;
	}
	if (major) {
		e->now.major = 1;
		e->now.context = e;
		e->now.deleter = now_deleter;
		e->now.flags = v->readonly ? DL_READ_ONLY : 0;
	} else {
		e->old.context = e;
		e->old.deleter = old_deleter;
	}
	PyObject *capsule = PyCapsule_New(e, major ? "dltensor_versioned" : "dltensor", capsule_free);
	if (!capsule)
		exported_free(e);
	return capsule;
fail:
	Py_XDECREF(source);
	return NULL;
}

static PyObject *view_dlpack_device(PyObject *self, PyObject *unused)
{
	(void)self, (void)unused;
	return Py_BuildValue("(ii)", DL_CPU, 0);
}

enum { SHAPE, STRIDES, START };
static PyObject *view_numbers(PyObject *self, void *which)
{
	const struct view *v = (struct view *)self;
	int64_t n[IOG_RANK];
	for (int d = 0; d < v->rank; d++)
		n[d] = (intptr_t)which == SHAPE ? v->shape[d] : (intptr_t)which == STRIDES ? v->stride[d] : v->start[d];
	return ints(n, v->rank);
}
static PyObject *view_dims(PyObject *self, void *unused)
{
	(void)unused;
	const struct view *v = (struct view *)self;
	PyObject *t = PyTuple_New(v->rank);
	for (int d = 0; t && d < v->rank; d++) {
		PyObject *name = PyUnicode_FromString(v->dim[d]);
		if (!name)
			Py_CLEAR(t);
		else
			PyTuple_SetItem(t, d, name);
	}
	return t;
}
static PyObject *view_unit(PyObject *self, void *unused) { return (void)unused, PyUnicode_FromString(((struct view *)self)->unit); }
static PyObject *view_dtype(PyObject *self, void *unused)
{
	return (void)unused, PyUnicode_FromString(iog_dtype_name(((struct view *)self)->dtype));
}
static PyObject *view_readonly(PyObject *self, void *unused) { return (void)unused, PyBool_FromLong(((struct view *)self)->readonly); }
static PyObject *view_holds(PyObject *self, void *unused) { return (void)unused, PyBool_FromLong(((struct view *)self)->owner != NULL); }

/* ---- records ---- */

/* What iog_get gave, as a view; it holds rec when it points into shared memory. With the lock held. */
static PyObject *view_of(struct record *rec, const iog_view *from)
{
	struct view *v = alloc(view_type);
	uint8_t *lo, *hi;
	if (!v)
		return NULL;
	v->data = (uint8_t *)(uintptr_t)from->data;
	v->readonly = true;
	v->dtype = (uint8_t)iog_dtype_find(from->dtype, strlen(from->dtype));
	v->elem = iog_dtype_size(v->dtype);
	v->rank = from->rank;
	iog_strset(v->unit, sizeof v->unit, from->unit);
	for (int d = 0; d < v->rank; d++) {
		v->shape[d] = from->shape[d], v->stride[d] = from->stride[d], v->start[d] = from->start[d];
		iog_strset(v->dim[d], sizeof v->dim[d], from->dim[d]);
	}
	span(v, &lo, &hi);
	uint8_t *twin = hi > lo ? twin_of(&rec->reader->twins, lo, (size_t)(hi - lo)) : NULL;
	if (twin) {
		v->data = twin + (v->data - lo);
		hold(v, rec);
		return (PyObject *)v;
	}
	if (!own(v))
		Py_CLEAR(v);
	return (PyObject *)v;
}

static PyObject *record_view(PyObject *self, PyObject *name)
{
	struct record *rec = (struct record *)self;
	struct reader *r = rec->reader;
	const char *var = PyUnicode_Check(name) ? PyUnicode_AsUTF8AndSize(name, NULL) : NULL;
	PyObject *v = NULL;
	iog_view from;
	if (!var)
		return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_TypeError, "the name of a variable is a str");
	enter(&r->guard);
	if (!rec->rec || rec->released || !r->r) {
		raise_as(error_class, -EBADF,
			"stream %s: step %lld was released; what is to outlive its turn is taken by copy() before, or by a view", r->name,
			(long long)rec->step);
	} else {
		int rc = iog_get(rec->rec, var, &from);
		if (rc == -ENOENT)
			PyErr_SetObject(PyExc_KeyError, name);
		else if (rc)
			raise_as(error_class, rc, "stream %s: %s: %s", r->name, var, rc == -EBADF ? iog_error(r->io) : strerror(-rc));
		else
			v = view_of(rec, &from);
	}
	leave(&r->guard);
	return v;
}

static PyObject *record_release(PyObject *self, PyObject *unused)
{
	(void)unused;
	struct record *rec = (struct record *)self;
	enter(&rec->reader->guard);
	rec->released = true;
	give_back(rec);
	leave(&rec->reader->guard);
	Py_RETURN_NONE;
}

static void record_dealloc(PyObject *self)
{
	struct record *rec = (struct record *)self;
	if (rec->reader) {
		enter(&rec->reader->guard);
		rec->released = true;
		give_back(rec);
		leave(&rec->reader->guard);
	}
	Py_XDECREF(rec->names);
	Py_XDECREF((PyObject *)rec->reader);
	release_object(self);
}

static PyObject *record_step(PyObject *self, void *unused) { return (void)unused, PyLong_FromLongLong(((struct record *)self)->step); }
static PyObject *record_time(PyObject *self, void *unused) { return (void)unused, PyFloat_FromDouble(((struct record *)self)->time); }
static PyObject *record_names(PyObject *self, void *unused) { return (void)unused, Py_NewRef(((struct record *)self)->names); }
static PyObject *record_released(PyObject *self, void *unused) { return (void)unused, PyBool_FromLong(((struct record *)self)->released); }

static PyObject *names_of(const iog_rec *rec)
{
	PyObject *list = PyList_New(0), *tuple = NULL;
	const char *name;
	for (int i = 0; list && (name = iog_rec_var(rec, i)); i++) {
		PyObject *text = PyUnicode_FromString(name);
		if (!text || PyList_Append(list, text))
			Py_CLEAR(list);
		Py_XDECREF(text);
	}
	if (list)
		tuple = PyList_AsTuple(list);
	Py_XDECREF(list);
	return tuple;
}

/* ---- readers ---- */

/* Reader(where, stream, select, policy, seconds): waits for the stream to appear. */
static int reader_init(PyObject *self, PyObject *args, PyObject *kw)
{
	struct reader *r = (struct reader *)self;
	const char *where, *stream, *select, *policy;
	double seconds, until;
	if (kw || !PyArg_ParseTuple(args, "zszsd", &where, &stream, &select, &policy, &seconds))
		return -1;
	if (r->io) {
		PyErr_SetString(PyExc_RuntimeError, "a reader is made once");
		return -1;
	}
	iog_strset(r->name, sizeof r->name, stream);
	until = now_s() + seconds;
	/* In slices, for Ctrl-C; each by an attachment of its own, as that keeps its first failure. */
	for (;;) {
		const double t0 = now_s(), slice = IOG_MAX(IOG_MIN(until - t0, APPEAR_S), 0.0);
		char opts[128];
		iog_stats st;
		int code;
		snprintf(opts, sizeof opts, "policy=%.40s timeout=%.3f", policy, slice);
		Py_BEGIN_ALLOW_THREADS r->io = iog_attach(where);
		r->r = iog_subscribe(r->io, stream, select, opts);
		code = iog_reader_stats(r->r, &st);
		Py_END_ALLOW_THREADS if (!code) return 0;
		const bool nothing =
			code == -ENOENT && now_s() - t0 >= slice - 0.001; /* no answer before the time was over: it is not there */
		const bool again = nothing && now_s() < until && !PyErr_CheckSignals();
		if (!again && !PyErr_Occurred())
			raise_as(nothing ? timeout_class : error_class, nothing ? -ETIMEDOUT : code, "%s", iog_error(r->io));
		iog_unsubscribe(r->r);
		iog_detach(r->io);
		r->r = NULL;
		r->io = NULL;
		if (!again)
			return -1;
	}
}

/* The pages of v become copies. */
static bool detach(struct reader *r, struct view *v)
{
	const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE) - 1;
	struct record *rec = (struct record *)v->owner;
	uint8_t *lo, *hi;
	span(v, &lo, &hi);
	lo = (uint8_t *)((uintptr_t)lo & ~page);
	const size_t n = ((size_t)(hi - lo) + page) & ~page;
	uint8_t *copy = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (copy == MAP_FAILED)
		return false;
	memcpy(copy, lo, n);
	if (mprotect(copy, n, PROT_READ) || mremap(copy, n, n, MREMAP_MAYMOVE | MREMAP_FIXED, lo) == MAP_FAILED) {
		munmap(copy, n);
		return false;
	}
	for (struct twin *t = r->twins; t; t = t->next)
		if (lo >= t->base && lo < t->base + (t->hi - t->lo))
			t->retired = true;
	v->copied = true;
	rec->views--;
	give_back(rec);
	return true;
}

/* Of the views whose step was released, or of all. False: there is no memory for that. */
static bool detach_views(struct reader *r, bool all)
{
	if (away(&r->guard))
		return true;
	for (struct view *v = r->views; v; v = v->next)
		if (!v->copied && (all || ((struct record *)v->owner)->released) && !detach(r, v))
			return false;
	return true;
}

/* The first range of pages of t, from `at` on, that a view shows; false: there is none. */
static bool shown(const struct reader *r, const struct twin *t, uint8_t *at, uint8_t **from, uint8_t **to)
{
	const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE) - 1;
	uint8_t *const end = t->base + (t->hi - t->lo);
	*from = *to = end;
	for (const struct view *v = r->views; v; v = v->next) {
		uint8_t *lo, *hi;
		span(v, &lo, &hi);
		lo = (uint8_t *)((uintptr_t)lo & ~page);
		hi = (uint8_t *)(((uintptr_t)hi + page) & ~page);
		if (lo >= t->base && lo < end && hi > at && lo < *from)
			*from = IOG_MAX(lo, at), *to = hi;
	}
	return *from < end;
}

/* Unmaps what no view shows of retired twins, which would keep the writer's arena in memory. What is left of one becomes twins of its own. */
static void trim(struct reader *r)
{
	struct twin *kept = NULL, *t;
	if (away(&r->guard))
		return;
	while ((t = r->twins)) {
		if (!t->retired) {
			r->twins = t->next;
			t->next = kept;
			kept = t;
			continue;
		}
		uint8_t *at = t->base, *const end = t->base + (t->hi - t->lo), *from, *to;
		while (shown(r, t, at, &from, &to)) {
			struct twin *part = malloc(sizeof *part);
			if (!part)
				break; /* so little memory: the rest stays */
			*part = (struct twin){ .next = kept, .lo = from, .hi = to, .base = from, .retired = true };
			kept = part;
			if (from > at)
				munmap(at, (size_t)(from - at));
			at = to;
		}
		if (!shown(r, t, at, &from, &to) && end > at)
			munmap(at, (size_t)(end - at));
		r->twins = t->next;
		free(t);
	}
	r->twins = kept;
}

static bool reader_end(struct reader *r)
{
	if (!r->r)
		return true;
	if (!detach_views(r, true)) {
		PyErr_NoMemory();
		return false;
	}
	for (struct twin *t = r->twins; t; t = t->next)
		t->retired = true;
	for (int i = 0; i < HELD; i++)
		if (r->record[i]) {
			r->record[i]->rec = NULL;
			r->record[i]->released = true;
			r->record[i] = NULL;
		}
	trim(r);
	iog_reader_stats(r->r, &r->stats);
	r->stats.readers = 0;
	iog_reader *end = r->r;
	iog *io = r->io;
	r->r = NULL;
	r->io = NULL;
	iog_unsubscribe(end);
	iog_detach(io);
	return true;
}

static PyObject *reader_close(PyObject *self, PyObject *unused)
{
	(void)unused;
	struct reader *r = (struct reader *)self;
	enter(&r->guard);
	const bool good = reader_end(r);
	leave(&r->guard);
	if (!good)
		return NULL;
	Py_RETURN_NONE;
}

static void reader_dealloc(PyObject *self)
{
	struct reader *r = (struct reader *)self;
	reader_end(r); /* nobody else has it, and no view is left */
	/* What views of a closed reader showed lay in there as well: now nobody looks any more. */
	twins_free(&r->twins, !away(&r->guard));
	pthread_mutex_destroy(&r->guard.lock);
	release_object(self);
}

static PyObject *record_new(struct reader *r, iog_rec *got)
{
	struct record *rec = alloc(record_type);
	if (!rec)
		return NULL;
	rec->reader = (struct reader *)Py_NewRef((PyObject *)r);
	rec->rec = got;
	rec->step = iog_rec_step(got);
	rec->time = iog_rec_time(got);
	for (int i = 0; i < HELD; i++)
		if (!r->record[i]) {
			r->record[i] = rec;
			break;
		}
	rec->names = names_of(got);
	return (PyObject *)rec;
}

static PyObject *too_many(const struct reader *r)
{
	long long step[HELD] = { 0 };
	for (int i = 0; i < HELD; i++)
		step[i] = r->record[i] ? r->record[i]->step : 0;
	return raise_as(error_class, -ENOBUFS,
		"stream %s: steps %lld and %lld are still held, which is as many as can be: release them, drop their views (del), or keep "
		"copies",
		r->name, step[0], step[1]);
}

/* What was released goes back to the writer, whoever still looks at it. */
static void let_go(struct reader *r)
{
	detach_views(r, false);
	trim(r);
}

/* next(seconds or None): a record; None at the end. TimeoutError. */
static PyObject *reader_next(PyObject *self, PyObject *arg)
{
	struct reader *r = (struct reader *)self;
	const bool limited = arg != Py_None;
	const double seconds = limited ? PyFloat_AsDouble(arg) : 0, t0 = now_s(), until = t0 + seconds;
	bool patient = true;
	if (PyErr_Occurred())
		return NULL;
	for (bool first = true;; first = false) {
		iog_rec *got = NULL;
		PyObject *rec = NULL;
		int code = -EBADF;
		const double left = limited ? until - now_s() : SLICE_S;
		enter(&r->guard);
		if (r->r) {
			/* Mostly there is one: then Python is not let go of. */
			code = first ? iog_next(r->r, 0, &got) : IOG_TIMEOUT;
			if (code == -ENOBUFS || (patient && now_s() - t0 > PATIENCE_S)) {
				patient = false;
				let_go(r);
				if (code == -ENOBUFS)
					code = iog_next(r->r, 0, &got);
			}
			if (code == IOG_TIMEOUT) {
				Py_BEGIN_ALLOW_THREADS code = iog_next(r->r, IOG_MAX(IOG_MIN(left, SLICE_S), 0.0), &got);
				Py_END_ALLOW_THREADS
			}
			if (code == IOG_OK && !(rec = record_new(r, got)))
				iog_release(got);
			else if (code == IOG_END)
				let_go(r);
			else if (code == -ENOBUFS)
				too_many(r);
			else if (code < 0)
				raise_as(error_class, code, "%s", iog_error(r->io)[0] ? iog_error(r->io) : strerror(-code));
		} else {
			raise_as(error_class, code, "stream %s: the reader was closed", r->name);
		}
		leave(&r->guard);
		if (rec && !((struct record *)rec)->names)
			Py_CLEAR(rec);
		if (rec || PyErr_Occurred())
			return rec;
		if (code == IOG_END)
			Py_RETURN_NONE;
		if (PyErr_CheckSignals())
			return NULL;
		if (limited && now_s() >= until)
			return raise_as(timeout_class, IOG_TIMEOUT, "stream %s: no step came within %g s", r->name, seconds);
		give_way(&r->guard);
	}
}

static PyObject *reader_stats(PyObject *self, PyObject *unused)
{
	(void)unused;
	struct reader *r = (struct reader *)self;
	enter(&r->guard);
	iog_stats s = r->stats;
	if (r->r)
		iog_reader_stats(r->r, &s);
	leave(&r->guard);
	return stats_tuple(&s);
}
static PyObject *reader_closed(PyObject *self, void *unused) { return (void)unused, PyBool_FromLong(!((struct reader *)self)->r); }

/* ---- attachments ---- */

/* Attachment(where) */
static int attachment_init(PyObject *self, PyObject *args, PyObject *kw)
{
	struct attachment *a = (struct attachment *)self;
	const char *where;
	if (kw || !PyArg_ParseTuple(args, "z", &where))
		return -1;
	iog *old = a->io;
	Py_BEGIN_ALLOW_THREADS iog_detach(old);
	a->io = iog_attach(where);
	Py_END_ALLOW_THREADS return 0;
}
static PyObject *attachment_error(PyObject *self, void *unused)
{
	const struct attachment *a = (struct attachment *)self;
	return (void)unused, PyUnicode_FromString(a->io ? iog_error(a->io) : "");
}
/* With Python held throughout: two threads are never in there at once. The agent answers within two seconds. */
static PyObject *attachment_set(PyObject *self, PyObject *args)
{
	const struct attachment *a = (struct attachment *)self;
	const char *name;
	double value;
	if (!PyArg_ParseTuple(args, "sd", &name, &value))
		return NULL;
	int code = a->io ? iog_param(a->io, name, value) : -EBADF;
	if (code)
		return raise_as(error_class, code, "%s", a->io ? iog_error(a->io) : "the attachment was closed");
	Py_RETURN_NONE;
}
static PyObject *attachment_close(PyObject *self, PyObject *unused)
{
	struct attachment *a = (struct attachment *)self;
	(void)unused;
	iog_detach(a->io);
	a->io = NULL;
	Py_RETURN_NONE;
}
static void attachment_dealloc(PyObject *self)
{
	iog_detach(((struct attachment *)self)->io);
	release_object(self);
}

/* ---- streams ---- */

/* Stream(where, name, schema, options, rank, nranks) */
static int stream_init(PyObject *self, PyObject *args, PyObject *kw)
{
	struct stream *s = (struct stream *)self;
	const char *where, *name, *schema, *options;
	int rank, nranks;
	if (kw || !PyArg_ParseTuple(args, "zsssii", &where, &name, &schema, &options, &rank, &nranks))
		return -1;
	if (s->io) {
		PyErr_SetString(PyExc_RuntimeError, "a stream is opened once");
		return -1;
	}
	Py_BEGIN_ALLOW_THREADS s->io = iog_attach(where);
	s->t = iog_typed_open(s->io, name, schema, options, rank, nranks);
	Py_END_ALLOW_THREADS return 0;
}

/* The call's code, or an exception when it is a failure. With the lock held. */
static PyObject *result(struct stream *s, int code)
{
	if (code >= 0)
		return PyLong_FromLong(code);
	const char *why = s->t ? iog_typed_why(s->t) : "the stream was closed";
	/* The library keeps its first sentence. */
	if (!why[0] || iog_streq(why, s->shown))
		return raise_as(error_class, code, "%s%s%.500s", strerror(-code), why[0] ? "; what went wrong first: " : "", why);
	iog_strset(s->shown, sizeof s->shown, why);
	return raise_as(error_class, code, "%s", why);
}

/* A sequence of numbers, or None. */
static int numbers(PyObject *from, int64_t *to, int *n)
{
	if (from == Py_None)
		return 0;
	const Py_ssize_t count = PySequence_Size(from);
	if (count < 0)
		return -1;
	if (count > IOG_RANK || (*n >= 0 && count != *n)) {
		PyErr_SetString(PyExc_ValueError, "global_, offset and count have one number for each dimension of the variable");
		return -1;
	}
	*n = (int)count;
	for (int i = 0; i < *n; i++) {
		PyObject *x = PySequence_GetItem(from, i), *whole = x ? PyNumber_Index(x) : NULL;
		to[i] = whole ? PyLong_AsLongLong(whole) : -1;
		Py_XDECREF(whole);
		Py_XDECREF(x);
		if (PyErr_Occurred())
			return -1;
	}
	return 0;
}

static PyObject *stream_block(PyObject *self, PyObject *args)
{
	struct stream *s = (struct stream *)self;
	int64_t g[IOG_RANK], o[IOG_RANK], c[IOG_RANK];
	PyObject *global, *offset, *count;
	const char *var;
	int n = -1;
	if (!PyArg_ParseTuple(args, "sOOO", &var, &global, &offset, &count) || numbers(global, g, &n) || numbers(offset, o, &n) ||
		numbers(count, c, &n))
		return NULL;
	enter(&s->guard);
	int code = s->t ? iog_typed_block(s->t, var, (unsigned)IOG_MAX(n, 0), global == Py_None ? NULL : g, offset == Py_None ? NULL : o,
				  count == Py_None ? NULL : c)
			: -EBADF;
	PyObject *out = result(s, code);
	leave(&s->guard);
	return out;
}

/* begin(step, time): the code. What the world does is no exception; the rest says why. */
static PyObject *stream_begin(PyObject *self, PyObject *args)
{
	struct stream *s = (struct stream *)self;
	long long step;
	double time;
	int code = -EBADF;
	if (!PyArg_ParseTuple(args, "Ld", &step, &time))
		return NULL;
	enter(&s->guard);
	Py_BEGIN_ALLOW_THREADS if (s->t) code = iog_typed_begin(s->t, step, time);
	Py_END_ALLOW_THREADS PyObject *out = code == -EINVAL || !s->t ? result(s, code) : PyLong_FromLong(code);
	leave(&s->guard);
	return PyErr_CheckSignals() ? Py_XDECREF(out), NULL : out;
}

/* The element type that a format of the struct module means; IOG_DTYPES: none of ours. */
static uint8_t dtype_of(const char *format, Py_ssize_t size)
{
	static const char kinds[] = "bhilqnBHILQN";
	if (!format)
		return IOG_U8;
	if (*format == '@' || *format == '=' || *format == '<' || *format == '|')
		format++;
	const char *kind = *format && !format[1] ? strchr(kinds, *format) : NULL;
	if (kind) {
		const uint8_t first = kind - kinds < 6 ? IOG_I8 : IOG_U8;
		return size == 1 ? first : size == 2 ? first + 1 : size == 4 ? first + 2 : size == 8 ? first + 3 : IOG_DTYPES;
	}
	static const struct {
		const char *format;
		uint8_t dtype;
	} others[] = { { "e", IOG_F16 }, { "f", IOG_F32 }, { "d", IOG_F64 }, { "Zf", IOG_C64 }, { "Zd", IOG_C128 }, { "F", IOG_C64 },
		{ "D", IOG_C128 }, { "?", IOG_BOOL }, { "c", IOG_BYTE } };
	for (size_t i = 0; i < IOG_COUNT(others); i++)
		if (iog_streq(others[i].format, format))
			return others[i].dtype;
	return IOG_DTYPES;
}

/* put(name, object with the buffer protocol) */
static PyObject *stream_put(PyObject *self, PyObject *args)
{
	struct stream *s = (struct stream *)self;
	const char *var;
	PyObject *from, *out;
	Py_buffer b;
	if (!PyArg_ParseTuple(args, "sO", &var, &from) || PyObject_GetBuffer(from, &b, PyBUF_FULL_RO))
		return NULL;
	struct iog_array a = {
		.data = b.buf, .dtype = dtype_of(b.format, b.itemsize), .elem_size = (uint32_t)b.itemsize, .rank = (uint8_t)b.ndim
	};
	enter(&s->guard);
	if (b.ndim > IOG_RANK || b.suboffsets) {
		out = PyErr_Format(PyExc_ValueError, "%s: an array has at most 8 dimensions, and no pointers in it", var);
	} else {
		for (int d = 0; d < b.ndim; d++)
			a.count[d] = b.shape[d], a.stride[d] = b.strides[d];
		out = result(s, s->t ? iog_typed_put(s->t, var, &a) : -EBADF);
	}
	leave(&s->guard);
	PyBuffer_Release(&b);
	return out;
}

/* fill(name): a view to write to; None when the step is not wanted. */
static PyObject *stream_fill(PyObject *self, PyObject *name)
{
	struct stream *s = (struct stream *)self;
	const char *var = PyUnicode_AsUTF8AndSize(name, NULL);
	struct iog_array a;
	PyObject *out = NULL;
	if (!var)
		return NULL;
	enter(&s->guard);
	int code = s->t ? iog_typed_fill(s->t, var, NULL, &a) : -EBADF;
	const struct iog_vardef *def = code ? NULL : iog_typed_var(s->t, var);
	struct view *v = def ? alloc(view_type) : NULL;
	if (v) {
		v->dtype = a.dtype, v->elem = a.elem_size, v->rank = a.rank;
		iog_strset(v->unit, sizeof v->unit, def->unit);
		for (int d = 0; d < a.rank; d++)
			v->shape[d] = a.count[d], v->stride[d] = a.stride[d];
		/* It may be kept longer than the stream. A static variable is kept in memory that has no twin. */
		const size_t n = view_bytes(v);
		v->data = twin_of(&s->twins, a.data, IOG_MAX(n, (size_t)1));
		if (v->data) {
			v->owner = Py_NewRef(self);
			out = (PyObject *)v;
		} else {
			Py_DECREF(v);
			raise_as(error_class, -ENOTSUP, "%s cannot be filled in place; assign an array to it", var);
		}
	} else if (code >= 0 && !PyErr_Occurred()) {
		out = Py_NewRef(Py_None);
	} else if (code < 0) {
		result(s, code);
	}
	leave(&s->guard);
	return out;
}

static PyObject *stream_wanted(PyObject *self, PyObject *name)
{
	struct stream *s = (struct stream *)self;
	const char *var = PyUnicode_AsUTF8AndSize(name, NULL);
	if (!var)
		return NULL;
	enter(&s->guard);
	const bool wanted = s->t && iog_typed_wanted(s->t, var);
	leave(&s->guard);
	return PyBool_FromLong(wanted);
}

static PyObject *stream_commit(PyObject *self, PyObject *unused)
{
	struct stream *s = (struct stream *)self;
	(void)unused;
	int code = -EBADF;
	enter(&s->guard);
	Py_BEGIN_ALLOW_THREADS if (s->t) code = iog_typed_commit(s->t);
	Py_END_ALLOW_THREADS PyObject *out = code == -EINVAL || !s->t ? result(s, code) : PyLong_FromLong(code);
	leave(&s->guard);
	return out;
}

/* With the lock held or nobody else there. */
static int stream_end(struct stream *s, double seconds)
{
	int code = 0;
	if (!s->t)
		return 0;
	struct iog_typed *t = s->t;
	s->t = NULL;
	iog_typed_stats(t, &s->stats);
	iog_strset(s->said, sizeof s->said, iog_typed_error(t));
	Py_BEGIN_ALLOW_THREADS code = iog_typed_close(t, seconds);
	Py_END_ALLOW_THREADS if (code && !s->said[0]) iog_strset(s->said, sizeof s->said, iog_error(s->io));
	iog_detach(s->io);
	s->io = NULL;
	return code;
}

/* close(seconds): the first failure of the stream as a code; said is its sentence. */
static PyObject *stream_close(PyObject *self, PyObject *arg)
{
	struct stream *s = (struct stream *)self;
	const double seconds = PyFloat_AsDouble(arg);
	if (PyErr_Occurred())
		return NULL;
	enter(&s->guard);
	int code = stream_end(s, seconds);
	leave(&s->guard);
	return PyErr_CheckSignals() ? NULL : PyLong_FromLong(code);
}

static void stream_dealloc(PyObject *self)
{
	struct stream *s = (struct stream *)self;
	stream_end(s, 1);
	twins_free(&s->twins, !away(&s->guard));
	pthread_mutex_destroy(&s->guard.lock);
	release_object(self);
}

static PyObject *stream_stats(PyObject *self, PyObject *unused)
{
	(void)unused;
	struct stream *s = (struct stream *)self;
	enter(&s->guard);
	iog_stats st = s->stats;
	if (s->t)
		iog_typed_stats(s->t, &st);
	leave(&s->guard);
	return stats_tuple(&st);
}

/* var(name): its type and dimensions; None when there is no such variable. */
static PyObject *stream_var(PyObject *self, PyObject *name)
{
	const struct stream *s = (struct stream *)self;
	const char *var = PyUnicode_AsUTF8AndSize(name, NULL);
	const struct iog_vardef *def = var && s->t ? iog_typed_var(s->t, var) : NULL;
	if (!var)
		return NULL;
	if (!def)
		Py_RETURN_NONE;
	return Py_BuildValue("(si)", iog_dtype_name(def->dtype), def->rank);
}
static PyObject *stream_error(PyObject *self, void *unused)
{
	struct stream *s = (struct stream *)self;
	(void)unused;
	enter(&s->guard);
	PyObject *text = PyUnicode_FromString(s->t ? iog_typed_error(s->t) : s->said);
	leave(&s->guard);
	return text;
}
static PyObject *stream_closed(PyObject *self, void *unused) { return (void)unused, PyBool_FromLong(!((struct stream *)self)->t); }

/* ---- the module ---- */

#define GETTER(name, function, ...)                                                                                                        \
	{                                                                                                                                  \
		name, function, NULL, NULL, (void *)(intptr_t)(0 __VA_OPT__(+) __VA_ARGS__)                                                \
	}

static PyObject *reader_new(PyTypeObject *type, PyObject *args, PyObject *kw)
{
	(void)args, (void)kw;
	struct reader *r = alloc(type);
	if (r)
		guard_init(&r->guard);
	return (PyObject *)r;
}
static PyObject *stream_new(PyTypeObject *type, PyObject *args, PyObject *kw)
{
	(void)args, (void)kw;
	struct stream *s = alloc(type);
	if (s)
		guard_init(&s->guard);
	return (PyObject *)s;
}

static PyObject *set_errors(PyObject *module, PyObject *args)
{
	(void)module;
	PyObject *error, *timeout;
	if (!PyArg_ParseTuple(args, "OO", &error, &timeout))
		return NULL;
	Py_XDECREF(error_class);
	Py_XDECREF(timeout_class);
	error_class = Py_NewRef(error);
	timeout_class = Py_NewRef(timeout);
	Py_RETURN_NONE;
}

static PyTypeObject *type_make(PyObject *module, const char *name, size_t size, unsigned flags, PyType_Slot *slots)
{
	PyType_Spec spec = { .name = name, .basicsize = (int)size, .flags = Py_TPFLAGS_DEFAULT | flags, .slots = slots };
	PyTypeObject *type = (PyTypeObject *)PyType_FromSpec(&spec);
	if (type && PyModule_AddType(module, type))
		Py_CLEAR(type);
	return type;
}

static bool types_make(PyObject *m)
{
	static PyMethodDef attachment_methods[] = { { "set", attachment_set, METH_VARARGS, NULL },
		{ "close", attachment_close, METH_NOARGS, NULL }, { 0 } };
	static PyGetSetDef attachment_fields[] = { GETTER("error", attachment_error), { 0 } };
	static PyMethodDef reader_methods[] = { { "next", reader_next, METH_O, NULL }, { "stats", reader_stats, METH_NOARGS, NULL },
		{ "close", reader_close, METH_NOARGS, NULL }, { 0 } };
	static PyGetSetDef reader_fields[] = { GETTER("closed", reader_closed), { 0 } };
	static PyMethodDef record_methods[] = { { "view", record_view, METH_O, NULL }, { "release", record_release, METH_NOARGS, NULL },
		{ 0 } };
	static PyGetSetDef record_fields[] = { GETTER("step", record_step), GETTER("time", record_time), GETTER("names", record_names),
		GETTER("released", record_released), { 0 } };
	static PyMethodDef view_methods[] = { { "copy", view_copy, METH_NOARGS, NULL },
		{ "__dlpack__", (PyCFunction)(void *)view_dlpack, METH_VARARGS | METH_KEYWORDS, NULL },
		{ "__dlpack_device__", view_dlpack_device, METH_NOARGS, NULL }, { 0 } };
	static PyGetSetDef view_fields[] = { GETTER("shape", view_numbers, SHAPE), GETTER("strides", view_numbers, STRIDES),
		GETTER("start", view_numbers, START), GETTER("dims", view_dims), GETTER("unit", view_unit), GETTER("dtype", view_dtype),
		GETTER("readonly", view_readonly), GETTER("holds", view_holds), { 0 } };
	static PyMethodDef stream_methods[] = { { "block", stream_block, METH_VARARGS, NULL },
		{ "begin", stream_begin, METH_VARARGS, NULL }, { "put", stream_put, METH_VARARGS, NULL },
		{ "fill", stream_fill, METH_O, NULL }, { "wanted", stream_wanted, METH_O, NULL },
		{ "commit", stream_commit, METH_NOARGS, NULL }, { "close", stream_close, METH_O, NULL },
		{ "stats", stream_stats, METH_NOARGS, NULL }, { "var", stream_var, METH_O, NULL }, { 0 } };
	static PyGetSetDef stream_fields[] = { GETTER("error", stream_error), GETTER("closed", stream_closed), { 0 } };
#define SLOT(what, function)                                                                                                               \
	{                                                                                                                                  \
		what, (void *)(function)                                                                                                   \
	}
	static PyType_Slot attachment_slots[] = { SLOT(Py_tp_init, attachment_init), SLOT(Py_tp_dealloc, attachment_dealloc),
		SLOT(Py_tp_methods, attachment_methods), SLOT(Py_tp_getset, attachment_fields), { 0 } };
	static PyType_Slot reader_slots[] = { SLOT(Py_tp_new, reader_new), SLOT(Py_tp_init, reader_init),
		SLOT(Py_tp_dealloc, reader_dealloc), SLOT(Py_tp_methods, reader_methods), SLOT(Py_tp_getset, reader_fields), { 0 } };
	static PyType_Slot record_slots[] = { SLOT(Py_tp_dealloc, record_dealloc), SLOT(Py_tp_methods, record_methods),
		SLOT(Py_tp_getset, record_fields), { 0 } };
	static PyType_Slot view_slots[] = { SLOT(Py_tp_dealloc, view_dealloc), SLOT(Py_tp_methods, view_methods),
		SLOT(Py_tp_getset, view_fields), SLOT(Py_bf_getbuffer, view_getbuffer), { 0 } };
	static PyType_Slot stream_slots[] = { SLOT(Py_tp_new, stream_new), SLOT(Py_tp_init, stream_init),
		SLOT(Py_tp_dealloc, stream_dealloc), SLOT(Py_tp_methods, stream_methods), SLOT(Py_tp_getset, stream_fields), { 0 } };
	const unsigned closed = Py_TPFLAGS_DISALLOW_INSTANTIATION;
	return (attachment_type = type_make(m, "_iograph.Attachment", sizeof(struct attachment), 0, attachment_slots)) &&
	       (reader_type = type_make(m, "_iograph.Reader", sizeof(struct reader), 0, reader_slots)) &&
	       (record_type = type_make(m, "_iograph.Record", sizeof(struct record), closed, record_slots)) &&
	       (view_type = type_make(m, "_iograph.View", sizeof(struct view), closed, view_slots)) &&
	       (stream_type = type_make(m, "_iograph.Stream", sizeof(struct stream), 0, stream_slots));
}

PyMODINIT_FUNC PyInit__iograph(void)
{
	static PyMethodDef functions[] = { { "set_errors", set_errors, METH_VARARGS, NULL }, { 0 } };
	static struct PyModuleDef def = { PyModuleDef_HEAD_INIT, .m_name = "_iograph", .m_size = -1, .m_methods = functions };
	PyObject *m = PyModule_Create(&def);
	if (m && (!types_make(m) || PyModule_AddIntConstant(m, "SKIP", IOG_SKIP) || PyModule_AddIntConstant(m, "TIMEOUT", IOG_TIMEOUT)))
		Py_CLEAR(m);
	return m;
}
