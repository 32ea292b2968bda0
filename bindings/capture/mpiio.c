/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Captures what a program writes through MPI-IO: the profiling interface sees each MPI_File call, and where its bytes go in the file follows from
 * the file's view. One library for each MPI (build/capture/mpiio-openmpi.so, mpiio-mpich.so), preloaded; what is published is in files.h.
 *
 * Data is taken when a write is called, also a collective or non-blocking one: MPI forbids to change it until it is complete. Nothing collective is
 * added, no rank waits for another. Writes through the shared file pointer, and views of other representations than "native" or with a distributed
 * array, cannot be followed; the closing line says that the copy is not whole then.
 *
 * With IOG_CAPTURE_FILE=drop a write that was published does not reach the file. Then nothing collective is called: each rank that could not
 * publish writes its part independently.
 *
 * On the threads of the program that call MPI.
 */
#include <mpi.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bindings/capture/capture.h"
#include "bindings/capture/files.h"

/* Programs without MPI, a shell say, inherit the library too. */
#pragma weak PMPI_Comm_rank
#pragma weak PMPI_File_close
#pragma weak PMPI_File_get_position
#pragma weak PMPI_File_get_size
#pragma weak PMPI_File_iwrite
#pragma weak PMPI_File_iwrite_all
#pragma weak PMPI_File_iwrite_at
#pragma weak PMPI_File_iwrite_at_all
#pragma weak PMPI_File_iwrite_shared
#pragma weak PMPI_File_open
#pragma weak PMPI_File_preallocate
#pragma weak PMPI_File_seek
#pragma weak PMPI_File_set_size
#pragma weak PMPI_File_set_view
#pragma weak PMPI_File_write
#pragma weak PMPI_File_write_all
#pragma weak PMPI_File_write_all_begin
#pragma weak PMPI_File_write_at
#pragma weak PMPI_File_write_at_all
#pragma weak PMPI_File_write_at_all_begin
#pragma weak PMPI_File_write_ordered
#pragma weak PMPI_File_write_ordered_begin
#pragma weak PMPI_File_write_shared
#pragma weak PMPI_Grequest_complete
#pragma weak PMPI_Grequest_start
#pragma weak PMPI_Status_set_cancelled
#pragma weak PMPI_Status_set_elements_x
#pragma weak PMPI_Type_free
#pragma weak PMPI_Type_get_contents
#pragma weak PMPI_Type_get_envelope
#pragma weak PMPI_Type_get_extent
#pragma weak PMPI_Type_size_x
#ifdef OPEN_MPI
#pragma weak PMPI_Comm_f2c
#pragma weak PMPI_File_f2c
#pragma weak PMPI_Type_f2c
#pragma weak ompi_mpi_byte
#pragma weak ompi_mpi_short_int
#endif

enum { PIECES = IOG_CFILE_PIECES, WINDOW = 1 << 20, SEGMENTS_MAX = 1 << 24 };

/* ---- datatypes ---- */

/* The bytes of a datatype: runs in the order of its type map. */
struct run {
	int64_t at, length;
	int64_t before; /* bytes of the runs before this one */
};
struct flat {
	struct run *run;
	int64_t n, room, size, extent;
};

static void flat_free(struct flat *f)
{
	free(f->run);
	*f = (struct flat){ 0 };
}

static bool add(struct flat *f, int64_t at, int64_t length)
{
	struct run *last = f->n ? &f->run[f->n - 1] : NULL;
	if (!length)
		return true;
	if (last && last->at + last->length == at) {
		last->length += length;
		f->size += length;
		return true;
	}
	if (f->n == f->room) {
		const int64_t room = f->room ? 2 * f->room : 4;
		struct run *bigger = room > SEGMENTS_MAX ? NULL : realloc(f->run, (size_t)room * sizeof *bigger);
		if (!bigger)
			return false;
		f->run = bigger;
		f->room = room;
	}
	f->run[f->n++] = (struct run){ at, length, f->size };
	f->size += length;
	return true;
}

/* `count` of c one after the other, from byte `at` on. */
static bool add_block(struct flat *f, const struct flat *c, int64_t at, int64_t count)
{
	if (c->n == 1 && c->run[0].length == c->extent)
		return add(f, at + c->run[0].at, count * c->extent);
	for (int64_t k = 0; k < count; k++)
		for (int64_t i = 0; i < c->n; i++)
			if (!add(f, at + k * c->extent + c->run[i].at, c->run[i].length))
				return false;
	return true;
}

/* n dimensions; rows of the fastest one are blocks. */
static bool add_subarray(struct flat *f, const struct flat *c, const int *v)
{
	const int n = v[0], *sizes = v + 1, *sub = sizes + n, *start = sub + n, order = start[n];
	int64_t at[64] = { 0 }, stride[64], total = 1;
	int dim[64]; /* slowest first */
	if (n > 64)
		return false;
	for (int d = 0; d < n; d++)
		dim[d] = order == MPI_ORDER_C ? d : n - 1 - d;
	for (int d = n; d-- > 0; total *= sizes[dim[d]]) {
		stride[d] = total * c->extent;
		if (!sub[dim[d]])
			return true;
	}
	for (;;) {
		int64_t where = 0;
		for (int d = 0; d < n; d++)
			where += (start[dim[d]] + at[d]) * stride[d];
		if (!add_block(f, c, where, sub[dim[n - 1]]))
			return false;
		int d = n - 1;
		while (d-- > 0 && ++at[d] == sub[dim[d]])
			at[d] = 0;
		if (d < 0)
			return true;
	}
}

static bool is_named(MPI_Datatype t)
{
	int i, a, d, how;
	if (PMPI_Type_get_envelope(t, &i, &a, &d, &how))
		return true;
	return how == MPI_COMBINER_NAMED || how == MPI_COMBINER_F90_REAL || how == MPI_COMBINER_F90_COMPLEX ||
	       how == MPI_COMBINER_F90_INTEGER;
}

static bool flatten(MPI_Datatype t, struct flat *f);

/* v, a: the integers and addresses that made the type; c: what it is made of. */
static bool add_derived(struct flat *f, int how, const int *v, const MPI_Aint *a, const MPI_Datatype *type, const struct flat *c)
{
	const int n = v[0];
	bool ok = true;
	switch (how) {
	case MPI_COMBINER_DUP:
	case MPI_COMBINER_RESIZED: return add_block(f, c, 0, 1);
	case MPI_COMBINER_CONTIGUOUS: return add_block(f, c, 0, n);
	case MPI_COMBINER_VECTOR:
	case MPI_COMBINER_HVECTOR:
		for (int i = 0; i < n && ok; i++)
			ok = add_block(f, c, i * (how == MPI_COMBINER_VECTOR ? v[2] * c->extent : (int64_t)a[0]), v[1]);
		return ok;
	case MPI_COMBINER_INDEXED:
	case MPI_COMBINER_HINDEXED:
		for (int i = 0; i < n && ok; i++)
			ok = add_block(f, c, how == MPI_COMBINER_INDEXED ? v[1 + n + i] * c->extent : (int64_t)a[i], v[1 + i]);
		return ok;
	case MPI_COMBINER_INDEXED_BLOCK:
	case MPI_COMBINER_HINDEXED_BLOCK:
		for (int i = 0; i < n && ok; i++)
			ok = add_block(f, c, how == MPI_COMBINER_INDEXED_BLOCK ? v[2 + i] * c->extent : (int64_t)a[i], v[1]);
		return ok;
	case MPI_COMBINER_STRUCT:
		for (int i = 0; i < n && ok; i++) {
			struct flat part = { 0 };
			ok = flatten(type[i], &part) && add_block(f, &part, a[i], v[1 + i]);
			flat_free(&part);
		}
		return ok;
	case MPI_COMBINER_SUBARRAY: return add_subarray(f, c, v);
	default: return false;
	}
}

/* False: a type that cannot be followed. flat_free frees it either way. */
static bool flatten(MPI_Datatype t, struct flat *f)
{
	int n_v, n_a, n_t, how;
	MPI_Count size;
	MPI_Aint lb, extent;
	*f = (struct flat){ 0 };
	if (PMPI_Type_get_envelope(t, &n_v, &n_a, &n_t, &how) || PMPI_Type_get_extent(t, &lb, &extent) || PMPI_Type_size_x(t, &size))
		return false;
	f->extent = extent;
	if (is_named(t)) /* of two numbers in one there is one with a gap */
		return t == MPI_SHORT_INT && extent == 8 ? add(f, 0, 2) && add(f, 4, 4) : add(f, 0, size);
	int *v = calloc((size_t)n_v + 1, sizeof *v);
	MPI_Aint *a = calloc((size_t)n_a + 1, sizeof *a);
	MPI_Datatype *type = calloc((size_t)n_t + 1, sizeof *type);
	struct flat c = { 0 };
	bool ok = v && a && type && !PMPI_Type_get_contents(t, n_v, n_a, n_t, v, a, type);
	if (ok) {
		ok = (how == MPI_COMBINER_STRUCT || flatten(type[0], &c)) && add_derived(f, how, v, a, type, &c);
		for (int i = 0; i < n_t; i++)
			if (!is_named(type[i]))
				PMPI_Type_free(&type[i]);
	}
	flat_free(&c);
	free(v);
	free(a);
	free(type);
	return ok;
}

/* ---- files ---- */

struct file {
	struct file *next;
	MPI_File fh;
	struct iog_cfile *to;
	bool followed;       /* the view is one that can be */
	bool first;          /* of the ranks that have it open */
	int64_t disp, etype; /* bytes */
	struct flat view;
};
static struct file *files;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct file *find(MPI_File fh)
{
	if (!__atomic_load_n(&files, __ATOMIC_RELAXED))
		return NULL;
	pthread_mutex_lock(&lock);
	struct file *f = files;
	while (f && f->fh != fh)
		f = f->next;
	pthread_mutex_unlock(&lock);
	return f;
}

static void view(struct file *f, MPI_Offset disp, MPI_Datatype etype, MPI_Datatype type, const char *representation)
{
	MPI_Count size = 0;
	flat_free(&f->view);
	f->disp = disp;
	f->followed = disp >= 0 && !strcmp(representation, "native") && !PMPI_Type_size_x(etype, &size) && flatten(type, &f->view) &&
		      f->view.size;
	f->etype = size;
}

/* Names of files may begin with that of a file system. */
static const char *bare(const char *name)
{
	const size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789");
	return n > 1 && name[n] == ':' ? name + n + 1 : name;
}

/* The first rank speaks for all, before the open, which no other one leaves before it has come: what is written then comes later. */
static struct iog_cfile *opening(MPI_Comm comm, const char *name, int mode, bool *first)
{
	struct stat st;
	int rank = 0;
	if (!iog_capture_wanted() || mode & MPI_MODE_RDONLY)
		return NULL;
	PMPI_Comm_rank(comm, &rank);
	*first = !rank;
	return iog_cfile_open(bare(name), !rank && (stat(bare(name), &st) || !st.st_size));
}

/* `to` is given. */
static void opened(MPI_File fh, struct iog_cfile *to, bool first)
{
	struct file *f = to ? calloc(1, sizeof *f) : NULL;
	if (!f) {
		iog_cfile_close(to);
		return;
	}
	f->fh = fh;
	f->to = to;
	f->first = first;
	view(f, 0, MPI_BYTE, MPI_BYTE, "native");
	pthread_mutex_lock(&lock);
	f->next = files;
	files = f;
	pthread_mutex_unlock(&lock);
}

static void closing(MPI_File fh)
{
	pthread_mutex_lock(&lock);
	struct file **at = &files;
	while (*at && (*at)->fh != fh)
		at = &(*at)->next;
	struct file *f = *at;
	if (f)
		*at = f->next;
	pthread_mutex_unlock(&lock);
	if (f) {
		iog_cfile_close(f->to);
		flat_free(&f->view);
		free(f);
	}
}

/* As the open: it is behind what came before a barrier, and before what any rank writes when it has returned there. */
static void sizing(MPI_File fh, MPI_Offset size, bool only_larger)
{
	struct file *f = find(fh);
	MPI_Offset is = 0;
	if (f && f->first && (!only_larger || (!PMPI_File_get_size(fh, &is) && is < size)))
		iog_cfile_resize(f->to, size);
}

int MPI_File_open(MPI_Comm comm, const char *name, int mode, MPI_Info info, MPI_File *fh)
{
	bool first = false;
	struct iog_cfile *to = opening(comm, name, mode, &first);
	const int rc = PMPI_File_open(comm, name, mode, info, fh);
	if (rc)
		iog_cfile_close(to);
	else
		opened(*fh, to, first);
	return rc;
}

int MPI_File_close(MPI_File *fh)
{
	closing(*fh);
	return PMPI_File_close(fh);
}

int MPI_File_set_view(MPI_File fh, MPI_Offset disp, MPI_Datatype etype, MPI_Datatype type, const char *representation, MPI_Info info)
{
	struct file *f = find(fh);
	const int rc = PMPI_File_set_view(fh, disp, etype, type, representation, info);
	if (f && !rc)
		view(f, disp, etype, type, representation);
	return rc;
}

int MPI_File_set_size(MPI_File fh, MPI_Offset size)
{
	sizing(fh, size, false);
	return PMPI_File_set_size(fh, size);
}

int MPI_File_preallocate(MPI_File fh, MPI_Offset size)
{
	sizing(fh, size, true);
	return PMPI_File_preallocate(fh, size);
}

/* ---- what is written ---- */

/* Pieces of the file under bytes [from, from + bytes) of the view's data; publishes them. */
static bool publish(const struct file *f, int64_t from, const uint8_t *data, int64_t bytes)
{
	struct iog_piece piece[PIECES];
	const struct flat *v = &f->view;
	int64_t tile = from / v->size, in = from % v->size, lo = 0, hi = v->n - 1, taken = 0;
	size_t n = 0;
	while (lo < hi) {
		const int64_t mid = (lo + hi + 1) / 2;
		if (v->run[mid].before <= in)
			lo = mid;
		else
			hi = mid - 1;
	}
	in -= v->run[lo].before;
	for (int64_t done = 0; done < bytes;) {
		const int64_t left = v->run[lo].length - in, k = left < bytes - done ? left : bytes - done;
		const int64_t at = f->disp + tile * v->extent + v->run[lo].at + in;
		if (n && piece[n - 1].offset + piece[n - 1].length == at) {
			piece[n - 1].length += k;
		} else {
			if (n == PIECES) {
				if (!iog_cfile_write(f->to, piece, n, data + taken))
					return false;
				n = 0;
				taken = done;
			}
			piece[n++] = (struct iog_piece){ at, k };
		}
		done += k;
		in = 0;
		if (k == left && ++lo == v->n)
			lo = 0, tile++;
	}
	return iog_cfile_write(f->to, piece, n, data + taken);
}

/* Copies of what is not dense in memory, a window at a time. */
static bool gather(const struct file *f, int64_t from, const uint8_t *base, const struct flat *t, int64_t count)
{
	uint8_t *window = malloc(WINDOW);
	int64_t n = 0;
	bool ok = window;
	for (int64_t e = 0; e < count && ok; e++)
		for (int64_t i = 0; i < t->n && ok; i++)
			for (int64_t done = 0; done < t->run[i].length && ok;) {
				const int64_t left = t->run[i].length - done, k = left < WINDOW - n ? left : WINDOW - n;
				memcpy(window + n, base + e * t->extent + t->run[i].at + done, (size_t)k);
				done += k;
				n += k;
				if (n == WINDOW) {
					ok = publish(f, from, window, n);
					from += n;
					n = 0;
				}
			}
	ok = ok && (!n || publish(f, from, window, n));
	free(window);
	return ok;
}

/* Publishes what a write at `offset` (in etypes, of the view) would write. False: it was not, or not all. */
static bool take(struct file *f, MPI_Offset offset, const void *data, int count, MPI_Datatype type)
{
	struct flat t = { 0 };
	bool ok;
	if (iog_cfile_inside() || iog_cfile_given_up(f->to))
		return false;
	if (!f->followed || !flatten(type, &t)) {
		iog_cfile_missed(f->to, f->followed ? "it is written from memory of a kind that cannot be followed"
						    : "it has a view that cannot be followed");
		flat_free(&t);
		return false;
	}
	const int64_t from = offset * f->etype;
	if (!t.size || count <= 0)
		ok = true;
	else if (t.n == 1 && (count == 1 || t.run[0].length == t.extent))
		ok = publish(f, from, (const uint8_t *)data + t.run[0].at, count * t.size);
	else
		ok = gather(f, from, data, &t, count);
	flat_free(&t);
	return ok;
}

/* The same at the individual file pointer. */
static bool take_here(struct file *f, const void *data, int count, MPI_Datatype type)
{
	MPI_Offset at;
	return !PMPI_File_get_position(f->fh, &at) && take(f, at, data, count, type);
}

static void missed(MPI_File fh)
{
	struct file *f = find(fh);
	if (f)
		iog_cfile_missed(f->to, "it is written through the shared file pointer, which cannot be followed");
}

/* ---- left out of the file ---- */

static int64_t bytes_of(int count, MPI_Datatype type)
{
	MPI_Count size = 0;
	PMPI_Type_size_x(type, &size);
	return count * size;
}

static int done(MPI_Status *status, int64_t bytes)
{
	if (status != MPI_STATUS_IGNORE) {
		PMPI_Status_set_elements_x(status, MPI_BYTE, bytes);
		PMPI_Status_set_cancelled(status, 0);
	}
	return MPI_SUCCESS;
}

/* The individual file pointer is where it would be. */
static int done_here(struct file *f, MPI_Status *status, int64_t bytes)
{
	if (f->etype)
		PMPI_File_seek(f->fh, bytes / f->etype, MPI_SEEK_CUR);
	return done(status, bytes);
}

static int request_query(void *bytes, MPI_Status *status)
{
	PMPI_Status_set_cancelled(status, 0);
	status->MPI_SOURCE = MPI_UNDEFINED;
	status->MPI_TAG = MPI_UNDEFINED;
	return PMPI_Status_set_elements_x(status, MPI_BYTE, (MPI_Count)(intptr_t)bytes);
}
static int request_free(void *bytes)
{
	(void)bytes;
	return MPI_SUCCESS;
}
static int request_cancel(void *bytes, int complete)
{
	(void)bytes, (void)complete;
	return MPI_SUCCESS;
}
/* A request that is complete. */
static int requested(MPI_Request *request, int64_t bytes)
{
	const int rc = PMPI_Grequest_start(request_query, request_free, request_cancel, (void *)(intptr_t)bytes, request);
	return rc ? rc : PMPI_Grequest_complete(*request);
}

/* ---- the writes ---- */

int MPI_File_write_at(MPI_File fh, MPI_Offset at, const void *data, int count, MPI_Datatype type, MPI_Status *status)
{
	struct file *f = find(fh);
	if (f && take(f, at, data, count, type) && iog_cfile_drops())
		return done(status, bytes_of(count, type));
	return PMPI_File_write_at(fh, at, data, count, type, status);
}

int MPI_File_write_at_all(MPI_File fh, MPI_Offset at, const void *data, int count, MPI_Datatype type, MPI_Status *status)
{
	struct file *f = find(fh);
	if (f && iog_cfile_drops())
		return MPI_File_write_at(fh, at, data, count, type, status);
	if (f)
		take(f, at, data, count, type);
	return PMPI_File_write_at_all(fh, at, data, count, type, status);
}

int MPI_File_write(MPI_File fh, const void *data, int count, MPI_Datatype type, MPI_Status *status)
{
	struct file *f = find(fh);
	if (f && take_here(f, data, count, type) && iog_cfile_drops())
		return done_here(f, status, bytes_of(count, type));
	return PMPI_File_write(fh, data, count, type, status);
}

int MPI_File_write_all(MPI_File fh, const void *data, int count, MPI_Datatype type, MPI_Status *status)
{
	struct file *f = find(fh);
	if (f && iog_cfile_drops())
		return MPI_File_write(fh, data, count, type, status);
	if (f)
		take_here(f, data, count, type);
	return PMPI_File_write_all(fh, data, count, type, status);
}

int MPI_File_iwrite_at(MPI_File fh, MPI_Offset at, const void *data, int count, MPI_Datatype type, MPI_Request *request)
{
	struct file *f = find(fh);
	if (f && take(f, at, data, count, type) && iog_cfile_drops())
		return requested(request, bytes_of(count, type));
	return PMPI_File_iwrite_at(fh, at, data, count, type, request);
}

int MPI_File_iwrite_at_all(MPI_File fh, MPI_Offset at, const void *data, int count, MPI_Datatype type, MPI_Request *request)
{
	struct file *f = find(fh);
	if (f && iog_cfile_drops())
		return MPI_File_iwrite_at(fh, at, data, count, type, request);
	if (f)
		take(f, at, data, count, type);
	return PMPI_File_iwrite_at_all(fh, at, data, count, type, request);
}

int MPI_File_iwrite(MPI_File fh, const void *data, int count, MPI_Datatype type, MPI_Request *request)
{
	struct file *f = find(fh);
	if (f && take_here(f, data, count, type) && iog_cfile_drops()) {
		done_here(f, MPI_STATUS_IGNORE, bytes_of(count, type));
		return requested(request, bytes_of(count, type));
	}
	return PMPI_File_iwrite(fh, data, count, type, request);
}

int MPI_File_iwrite_all(MPI_File fh, const void *data, int count, MPI_Datatype type, MPI_Request *request)
{
	struct file *f = find(fh);
	if (f && iog_cfile_drops())
		return MPI_File_iwrite(fh, data, count, type, request);
	if (f)
		take_here(f, data, count, type);
	return PMPI_File_iwrite_all(fh, data, count, type, request);
}

/* Split collectives have no request that could stand for them: they are written in any case. */
int MPI_File_write_at_all_begin(MPI_File fh, MPI_Offset at, const void *data, int count, MPI_Datatype type)
{
	struct file *f = find(fh);
	if (f)
		take(f, at, data, count, type);
	return PMPI_File_write_at_all_begin(fh, at, data, count, type);
}

int MPI_File_write_all_begin(MPI_File fh, const void *data, int count, MPI_Datatype type)
{
	struct file *f = find(fh);
	if (f)
		take_here(f, data, count, type);
	return PMPI_File_write_all_begin(fh, data, count, type);
}

int MPI_File_write_shared(MPI_File fh, const void *data, int count, MPI_Datatype type, MPI_Status *status)
{
	missed(fh);
	return PMPI_File_write_shared(fh, data, count, type, status);
}

int MPI_File_iwrite_shared(MPI_File fh, const void *data, int count, MPI_Datatype type, MPI_Request *request)
{
	missed(fh);
	return PMPI_File_iwrite_shared(fh, data, count, type, request);
}

int MPI_File_write_ordered(MPI_File fh, const void *data, int count, MPI_Datatype type, MPI_Status *status)
{
	missed(fh);
	return PMPI_File_write_ordered(fh, data, count, type, status);
}

int MPI_File_write_ordered_begin(MPI_File fh, const void *data, int count, MPI_Datatype type)
{
	missed(fh);
	return PMPI_File_write_ordered_begin(fh, data, count, type);
}

/* ---- Fortran ---- */

#ifdef OPEN_MPI
/*
 * Open MPI's Fortran calls the profiling interface itself, so it is interposed as well: the names that mpif.h and the module mpi lead to, and those
 * behind the module mpi_f08. It is looked at what is written; IOG_CAPTURE_FILE=drop leaves nothing out here.
 */
extern int mpi_fortran_bottom_ __attribute__((weak));

/* Both names of a function, with the same arguments; `before` has the first word, `after` the last. */
#define FORTRAN_NAME(symbol, parameters, arguments, before, after)                                                                         \
	void symbol parameters;                                                                                                            \
	void symbol parameters                                                                                                             \
	{                                                                                                                                  \
		void(*const real) parameters = IOG_CAPTURE_NEXT(symbol);                                                                   \
		before;                                                                                                                    \
		real arguments;                                                                                                            \
		after;                                                                                                                     \
	}
#define FORTRAN(name, parameters, arguments, before, after)                                                                                \
	FORTRAN_NAME(mpi_##name##_, parameters, arguments, before, after)                                                                  \
	FORTRAN_NAME(ompi_##name##_f, parameters, arguments, before, after)

/* Text of Fortran ends in spaces. */
static const char *text(char *to, size_t size, const char *from, int n)
{
	while (n > 0 && from[n - 1] == ' ')
		n--;
	if ((size_t)n >= size)
		n = 0;
	memcpy(to, from, (size_t)n);
	to[n] = 0;
	return to;
}

static void take_fortran(MPI_Fint file, const MPI_Offset *at, const void *data, int count, MPI_Fint type)
{
	struct file *f = __atomic_load_n(&files, __ATOMIC_RELAXED) ? find(PMPI_File_f2c(file)) : NULL;
	if (!f)
		return;
	if (data == &mpi_fortran_bottom_)
		iog_cfile_missed(f->to, "it is written from MPI_BOTTOM, which cannot be followed");
	else if (at)
		take(f, *at, data, count, PMPI_Type_f2c(type));
	else
		take_here(f, data, count, PMPI_Type_f2c(type));
}

static void view_fortran(MPI_Fint file, MPI_Offset disp, MPI_Fint etype, MPI_Fint type, const char *representation, int n)
{
	char name[MPI_MAX_DATAREP_STRING];
	struct file *f = find(PMPI_File_f2c(file));
	if (f)
		view(f, disp, PMPI_Type_f2c(etype), PMPI_Type_f2c(type), text(name, sizeof name, representation, n));
}

FORTRAN(file_open, (MPI_Fint * comm, char *name, MPI_Fint *mode, MPI_Fint *info, MPI_Fint *fh, MPI_Fint *rc, int n),
	(comm, name, mode, info, fh, rc, n), char path[4096];
	bool first = false;
	struct iog_cfile *to = opening(PMPI_Comm_f2c(*comm), text(path, sizeof path, name, n), *mode, &first), if (*rc) iog_cfile_close(to);
	else opened(PMPI_File_f2c(*fh), to, first))
FORTRAN(file_close, (MPI_Fint * fh, MPI_Fint *rc), (fh, rc), closing(PMPI_File_f2c(*fh)), )
FORTRAN(file_set_view,
	(MPI_Fint * fh, MPI_Offset *disp, MPI_Fint *etype, MPI_Fint *type, char *representation, MPI_Fint *info, MPI_Fint *rc, int n),
	(fh, disp, etype, type, representation, info, rc, n), , if (!*rc) view_fortran(*fh, *disp, *etype, *type, representation, n))
FORTRAN(file_set_size, (MPI_Fint * fh, MPI_Offset *size, MPI_Fint *rc), (fh, size, rc), sizing(PMPI_File_f2c(*fh), *size, false), )
FORTRAN(file_preallocate, (MPI_Fint * fh, MPI_Offset *size, MPI_Fint *rc), (fh, size, rc), sizing(PMPI_File_f2c(*fh), *size, true), )

/* `last`: a status or a request. */
#define FORTRAN_AT(name)                                                                                                                   \
	FORTRAN(name, (MPI_Fint * fh, MPI_Offset * at, char *data, MPI_Fint *n, MPI_Fint *type, MPI_Fint *last, MPI_Fint *rc),             \
		(fh, at, data, n, type, last, rc), take_fortran(*fh, at, data, *n, *type), )
#define FORTRAN_HERE(name, what)                                                                                                           \
	FORTRAN(name, (MPI_Fint * fh, char *data, MPI_Fint *n, MPI_Fint *type, MPI_Fint *last, MPI_Fint *rc),                              \
		(fh, data, n, type, last, rc), what, )
#define FORTRAN_BEGIN(name, what)                                                                                                          \
	FORTRAN(name, (MPI_Fint * fh, char *data, MPI_Fint *n, MPI_Fint *type, MPI_Fint *rc), (fh, data, n, type, rc), what, )
FORTRAN_AT(file_write_at)
FORTRAN_AT(file_write_at_all)
FORTRAN_AT(file_iwrite_at)
FORTRAN_AT(file_iwrite_at_all)
FORTRAN_HERE(file_write, take_fortran(*fh, NULL, data, *n, *type))
FORTRAN_HERE(file_write_all, take_fortran(*fh, NULL, data, *n, *type))
FORTRAN_HERE(file_iwrite, take_fortran(*fh, NULL, data, *n, *type))
FORTRAN_HERE(file_iwrite_all, take_fortran(*fh, NULL, data, *n, *type))
FORTRAN_HERE(file_write_shared, missed(PMPI_File_f2c(*fh)))
FORTRAN_HERE(file_iwrite_shared, missed(PMPI_File_f2c(*fh)))
FORTRAN_HERE(file_write_ordered, missed(PMPI_File_f2c(*fh)))
FORTRAN_BEGIN(file_write_all_begin, take_fortran(*fh, NULL, data, *n, *type))
FORTRAN_BEGIN(file_write_ordered_begin, missed(PMPI_File_f2c(*fh)))
FORTRAN(file_write_at_all_begin, (MPI_Fint * fh, MPI_Offset *at, char *data, MPI_Fint *n, MPI_Fint *type, MPI_Fint *rc),
	(fh, at, data, n, type, rc), take_fortran(*fh, at, data, *n, *type), )
#endif

/* ---- the library ---- */

__attribute__((constructor)) static void begin(void)
{
	if (iog_capture_wanted())
		iog_cfile_begin("*");
}

const struct iog_capture_library iog_capture_library = { .kind = "mpiio", .finish = iog_cfile_finish };
