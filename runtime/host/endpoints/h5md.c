/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The H5MD sink (version 1.1 of the format): particles, box, observables and bonds in an HDF5 file that h5dump, h5py and, by the name
 * NAME.h5md, MDAnalysis open without options. Every array variable is one dataset that grows by a record, big ones chunk by chunk without
 * a copy, small ones together at each commit. h5-store.h keeps the file readable up to the last commit whatever happens. Runs on its I/O
 * thread; the HDF5 library is used under one lock.
 */
#include "runtime/host/endpoints/h5-store.h"
#include "runtime/host/endpoint.h"
#include "runtime/host/endpoints/endpoint-util.h"

#include <errno.h>
#include <hdf5.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { APPEND, TRUNCATE, NEW };
enum { NONE, GZIP };
enum { SMALL = 4096, CHUNK_MIN = 3 << 10, CHUNK_MIN_GZIP = 64 << 10, CHUNK_MAX = 16 << 20, GENERATED = -1, PATH = 160 };

struct conf {
	char path[IOG_TEXT], group[IOG_NAME], length_unit[IOG_NAME], time_unit[IOG_NAME];
	int64_t flush, level;
	uint32_t on_restart, compression;
};

static const struct iog_param params[] = {
	IOG_PARAM(struct conf, path, IOG_P_STRING, .flags = IOG_PF_FIRST | IOG_PF_REQUIRED | IOG_PF_WRITES,
		.doc = "The file; folders are made. Called NAME.h5md, MDAnalysis opens it without options; as NAME.h5 it wants "
		       "format=\"H5MD\"."),
	IOG_PARAM(struct conf, flush, IOG_P_INT, .def = "10", .min = 1, .max = 1e6, .unit = "records",
		.doc = "Who opens the file sees new records, and a crash loses none before them, at least this often. Beside a running "
		       "writer opening "
		       "may fail for a moment: open again."),
	IOG_PARAM(struct conf, on_restart, IOG_P_CHOICE, .def = "append", .choices = "append|truncate|new",
		.doc = "When the file exists: go on after its last record (release = \"safe\" needs that), start it anew, or refuse."),
	IOG_PARAM(struct conf, compression, IOG_P_CHOICE, .def = "none", .choices = "none|gzip", .doc = "Of the big arrays."),
	IOG_PARAM(struct conf, level, IOG_P_INT, .def = "1", .min = 1, .max = 9, .doc = "Of gzip: 1 is fastest, 9 smallest."),
	IOG_PARAM(struct conf, group, IOG_P_STRING, .def = "trajectory", .doc = "Name of the particle group."),
	IOG_PARAM(struct conf, length_unit, IOG_P_STRING, .def = "Angstrom",
		.doc = "Unit of lengths where the stream names none; MDAnalysis wants one."),
	IOG_PARAM(struct conf, time_unit, IOG_P_STRING, .def = "ps", .doc = "Unit of the records' time."),
	{ .name = NULL },
};

/* One lock for the library, which is one state machine whether or not it was built to be called from several threads. */
static pthread_mutex_t library = PTHREAD_MUTEX_INITIALIZER;

static void enter(void)
{
	pthread_mutex_lock(&library);
	H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}
static void leave(void) { pthread_mutex_unlock(&library); }

/* A dataset: a variable of the stream, or step, time, epoch, made-up ids. */
struct dset {
	int var;         /* in the schema; GENERATED: fed by the sink itself */
	char path[PATH]; /* of the dataset */
	char unit[IOG_NAME * 2];
	bool is_static, written; /* static ones are written once */
	bool triangle;           /* box given as three edge lengths: stored as 3x3 */
	unsigned dtype, rank;    /* without the time axis */
	hsize_t dim[IOG_RANK];   /* without the time axis; declared maxima */
	hsize_t rows;            /* rows of dim[0] a chunk of a big dataset has */
	uint64_t bytes;          /* of a whole record */
	bool small;              /* kept here until the commit */
	bool filtered;           /* its chunks are compressed by the library */
	bool follow;             /* step and time stand beside it, as links */
	uint8_t *kept;           /* [flush] records of a small dataset */
	hid_t id, type;
};

struct h5md {
	struct conf conf;
	struct iog_schema schema;
	struct iog_h5_store *store;
	hid_t file;
	struct dset *set;
	uint32_t n_sets;
	uint64_t n, committed; /* records in the datasets; at the last commit */
	uint32_t n_kept;       /* of the small ones: not yet in the file */
	bool failed, any;
	bool safe, durable; /* every commit is to be durable; what is committed is */
	struct iog_id last;
	uint8_t *scratch;
	uint64_t scratch_size;
};

/* ---- from schema to datasets ---- */

static bool plain_name(const char *s) { return iog_name_valid(s, false); }

/* "kJ/mol/Angstrom", "kJ/(mol*Angstrom)" -> "kJ mol-1 Angstrom-1", which is how H5MD writes units. */
static void unit_text(const char *from, char *to, size_t size)
{
	size_t n = 0;
	bool below = false, inside = false, word = false;
	for (const char *p = from;; p++) {
		bool stop = !*p || *p == '/' || *p == '*' || *p == '(' || *p == ')' || *p == ' ';
		if (!stop && n + 4 < size) {
			to[n++] = *p, word = true;
			continue;
		}
		if (stop && word) {
			if (below && n + 4 < size)
				to[n++] = '-', to[n++] = '1';
			word = false;
			if (n + 4 < size)
				to[n++] = ' ';
			if (below && !inside)
				below = false;
		}
		if (*p == '/')
			below = true;
		inside = *p == '(' ? below : *p == ')' ? false : inside;
		if (*p == ')')
			below = false;
		if (!*p)
			break;
	}
	while (n && to[n - 1] == ' ')
		n--;
	to[n] = 0;
}

static int add(struct dset *set, uint32_t *n, struct dset d, const char *fmt, const char *a, const char *b)
{
	d.id = d.type = H5I_INVALID_HID;
	iog_format(d.path, sizeof d.path, fmt, a, b);
	set[(*n)++] = d;
	return 0;
}

/* Dataset of variable i; 0 or -EINVAL with a message. */
static int place(const struct conf *c, const struct iog_schema *s, uint32_t i, struct dset *set, uint32_t *n, struct iog_err *err)
{
	const struct iog_vardef *v = &s->var[i];
	int atom = s->var[iog_schema_var(s, "position")].dim[0];
	struct dset d = { .var = (int)i,
		.dtype = v->dtype,
		.rank = v->rank,
		.is_static = v->flags & IOG_VAR_STATIC,
		.follow = !(v->flags & IOG_VAR_STATIC) };
	if (v->n_codecs)
		return iog_fail(
			err, -EINVAL, "variable %s is encoded (%s); decode it first", v->name, iog_codec_name(v->codec[v->n_codecs - 1]));
	uint64_t bytes = iog_dtype_size(v->dtype);
	for (unsigned k = 0; k < v->rank; k++) {
		const struct iog_dim *dim = &s->dim[v->dim[k]];
		if (dim->max <= 0 && !dim->fixed)
			return iog_fail(err, -EINVAL,
				"variable %s: how long dimension %s may get is not known; declare its maximum at the source", v->name,
				dim->name);
		d.dim[k] = (hsize_t)IOG_MAX(dim->max, 1);
		if (!iog_mul(bytes, d.dim[k], &bytes) || bytes > 1ull << 40)
			return iog_fail(err, -EINVAL, "variable %s has more than 2^40 bytes a record", v->name);
	}
	d.bytes = bytes;
	unit_text(v->unit, d.unit, sizeof d.unit);
	bool particle = v->rank >= 1 && v->dim[0] == atom;
	if (iog_streq(v->name, "box")) {
		if (!(v->dtype == IOG_F32 || v->dtype == IOG_F64) || d.dim[0] != 3 || v->rank < 1 || v->rank > 2 ||
			(v->rank == 2 && d.dim[1] != 3))
			return iog_fail(err, -EINVAL, "variable box must be f32 or f64 [3] or [3,3]");
		if (v->rank == 1)
			d.triangle = true, d.rank = 2, d.dim[1] = 3, d.bytes *= 3;
		if (!d.unit[0])
			unit_text(c->length_unit, d.unit, sizeof d.unit);
		d.is_static = false, d.follow = true; /* readers look for it at every step */
		return add(set, n, d, "/particles/%s/box/edges/value%s", c->group, "");
	}
	if (iog_streq(v->name, "box_origin"))
		return add(set, n, d, d.is_static ? "/particles/%s/box/origin%s" : "/particles/%s/box/origin/value%s", c->group, "");
	if (particle) {
		bool length = iog_streq(v->name, "position");
		if (!d.unit[0] && length)
			unit_text(c->length_unit, d.unit, sizeof d.unit);
		if (!d.unit[0] && iog_streq(v->name, "velocity"))
			iog_format(d.unit, sizeof d.unit, "%s %s-1", c->length_unit, c->time_unit);
		if (!d.unit[0] && iog_streq(v->name, "force"))
			iog_format(d.unit, sizeof d.unit, "kJ mol-1 %s-1", c->length_unit);
		return add(set, n, d, d.is_static ? "/particles/%s/%s" : "/particles/%s/%s/value", c->group,
			iog_streq(v->name, "type") ? "species" : v->name);
	}
	if (d.is_static && iog_streq(v->name, "bond"))
		return add(set, n, d, "/connectivity/%s%s", "bonds", "");
	return add(set, n, d, d.is_static ? "/parameters/%s%s" : "/observables/%s/value%s", v->name, "");
}

/*
 * Rows of a chunk of a big dataset. A record is one chunk unless it is huge. One that may be shorter than declared is cut into many, and only
 * those that hold something are stored. That wastes the unused end of the last one and eight bytes of index for each that could be there,
 * which together are least near 4 sqrt(bytes of a record) bytes a chunk; 8 halves the time, which is 5 us a chunk. Never below CHUNK_MIN
 * (3250 of 16384 atoms, 40 bytes each: 0.72, 0.17, 0.15, 0.27 ms a record with 1, 3, 6, 64 KiB; file over data 1.07, 1.08, 1.19, 2.5). Chunks
 * are placed at multiples of IOG_H5_ALIGNMENT, so their size is one too. Those of gzip are larger: it makes nothing of fill values.
 */
static uint64_t chunk_rows(const struct dset *d, bool varies, bool gzip)
{
	uint64_t row = d->rank ? IOG_MAX(d->bytes / d->dim[0], 1u) : d->bytes, rows = d->rank ? d->dim[0] : 1;
	if (varies) {
		uint64_t want = IOG_MAX((uint64_t)(8 * sqrt((double)d->bytes)), (uint64_t)(gzip ? CHUNK_MIN_GZIP : CHUNK_MIN)) / row,
			 even = IOG_H5_ALIGNMENT;
		for (uint64_t r = row; r % 2 == 0 && even > 1; r /= 2)
			even /= 2;
		want = want >= even ? want / even * even : want;
		rows = IOG_MIN(rows, want);
	}
	return IOG_MAX(IOG_MIN(rows, CHUNK_MAX / row), 1u);
}

enum { STEP, TIME, EPOCH }; /* the first datasets, in this order */

/* Every dataset of a schema, position last. 0 or -EINVAL. */
static int layout(const struct conf *c, const struct iog_schema *s, struct dset *set, uint32_t *n, struct iog_err *err)
{
	int position = iog_schema_var(s, "position");
	*n = 0;
	if (position < 0)
		return iog_fail(err, -EINVAL, "the stream has no variable position; H5MD is a format for particles");
	const struct iog_vardef *p = &s->var[position];
	if (p->rank != 2 || s->dim[p->dim[1]].max != 3 || (p->dtype != IOG_F32 && p->dtype != IOG_F64) || p->flags & IOG_VAR_STATIC)
		return iog_fail(err, -EINVAL, "variable position must be f32 or f64 [atom, xyz] and not static");
	if (!plain_name(c->group))
		return iog_fail(err, -EINVAL, "\"group\" must be a plain name, got \"%s\"", c->group);
	struct dset step = { .var = GENERATED, .dtype = IOG_I64, .bytes = 8, .small = true }, time = step, epoch = step;
	time.dtype = IOG_F64;
	epoch.dtype = IOG_U32, epoch.bytes = 4;
	unit_text(c->time_unit, time.unit, sizeof time.unit);
	add(set, n, step, "/particles/%s/position/step%s", c->group, "");
	add(set, n, time, "/particles/%s/position/time%s", c->group, "");
	add(set, n, epoch, "/iograph/%s%s", "epoch", "");
	if (!s->dim[p->dim[0]].fixed && iog_schema_var(s, "id") < 0) {
		/* Which rows of a record are there is told by ids; a stream without them has its rows numbered. */
		struct dset id = { .var = GENERATED, .dtype = IOG_I32, .rank = 1, .follow = true };
		id.dim[0] = (hsize_t)IOG_MAX(s->dim[p->dim[0]].max, 1);
		id.bytes = 4 * id.dim[0];
		add(set, n, id, "/particles/%s/id/value%s", c->group, "");
	}
	for (uint32_t i = 0; i < s->n_vars; i++)
		if ((int)i != position) {
			int r = place(c, s, i, set, n, err);
			if (r < 0)
				return r;
		}
	int r = place(c, s, (uint32_t)position, set, n, err);
	for (uint32_t k = 0; r == 0 && k < *n; k++) {
		struct dset *d = &set[k];
		d->small = !d->is_static && d->bytes <= SMALL;
		bool varies = d->rank && (d->var == GENERATED || !s->dim[s->var[d->var].dim[0]].fixed);
		uint64_t row = d->rank ? d->bytes / d->dim[0] : d->bytes;
		d->filtered = !d->is_static && !d->small && c->compression == GZIP;
		d->rows = chunk_rows(d, varies, d->filtered);
		if (row > UINT32_MAX / 2)
			r = iog_fail(err, -EINVAL, "%s has rows of %llu bytes; HDF5 stores chunks of less than 4 GiB", d->path,
				(unsigned long long)row);
	}
	return r;
}

enum { SETS = IOG_VARS + 4 };

static int accept_schema(const void *conf, const struct iog_schema *in, struct iog_err *err)
{
	struct dset *set = calloc(SETS, sizeof *set);
	uint32_t n;
	if (!set)
		return iog_fail(err, -ENOMEM, "no memory");
	int r = layout(conf, in, set, &n, err);
	free(set);
	return r;
}

/* A run that starts the file anew could not find what it acknowledged before a crash. */
static int accept_safe(const void *conf, struct iog_err *err)
{
	const struct conf *c = conf;
	if (c->on_restart == APPEND)
		return 0;
	return iog_fail(err, -EINVAL,
		"release = \"safe\" goes on after the last record of %s, on_restart = \"%s\" does not; use \"append\", or leave out "
		"release",
		c->path, c->on_restart == TRUNCATE ? "truncate" : "new");
}

/* ---- HDF5 objects ---- */

static hid_t make_type(unsigned dtype)
{
	hid_t t, part;
	switch (dtype) {
	case IOG_I8: return H5Tcopy(H5T_STD_I8LE);
	case IOG_I16: return H5Tcopy(H5T_STD_I16LE);
	case IOG_I32: return H5Tcopy(H5T_STD_I32LE);
	case IOG_I64: return H5Tcopy(H5T_STD_I64LE);
	case IOG_U8:
	case IOG_BYTE: return H5Tcopy(H5T_STD_U8LE);
	case IOG_U16: return H5Tcopy(H5T_STD_U16LE);
	case IOG_U32: return H5Tcopy(H5T_STD_U32LE);
	case IOG_U64: return H5Tcopy(H5T_STD_U64LE);
	case IOG_F32: return H5Tcopy(H5T_IEEE_F32LE);
	case IOG_F64: return H5Tcopy(H5T_IEEE_F64LE);
	case IOG_F16:
		t = H5Tcopy(H5T_IEEE_F32LE);
		if (H5Tset_fields(t, 15, 10, 5, 0, 10) < 0 || H5Tset_size(t, 2) < 0 || H5Tset_ebias(t, 15) < 0)
			return H5I_INVALID_HID;
		return t;
	case IOG_BOOL: /* as h5py has them */
		t = H5Tenum_create(H5T_STD_I8LE);
		H5Tenum_insert(t, "FALSE", &(int8_t){ 0 });
		H5Tenum_insert(t, "TRUE", &(int8_t){ 1 });
		return t;
	case IOG_C64:
	case IOG_C128:
		part = dtype == IOG_C64 ? H5T_IEEE_F32LE : H5T_IEEE_F64LE;
		t = H5Tcreate(H5T_COMPOUND, iog_dtype_size(dtype));
		H5Tinsert(t, "r", 0, part);
		H5Tinsert(t, "i", iog_dtype_size(dtype) / 2, part);
		return t;
	}
	return H5I_INVALID_HID;
}

/* One element that stands for "not there": NaN, -1, and the largest value of an unsigned id; else zero. */
static void fill_value(const struct dset *d, uint8_t e[16])
{
	static const uint8_t nan16[2] = { 0x00, 0x7e };
	const float f = NAN;
	const double g = (double)NAN;
	size_t n = iog_strlen(d->path);
	bool id = n > 9 && iog_streq(d->path + n - 9, "/id/value");
	memset(e, 0, 16);
	switch (d->dtype) {
	case IOG_F16: memcpy(e, nan16, 2); break;
	case IOG_F32: memcpy(e, &f, 4); break;
	case IOG_C64: memcpy(e, &f, 4), memcpy(e + 4, &f, 4); break;
	case IOG_F64: memcpy(e, &g, 8); break;
	case IOG_C128: memcpy(e, &g, 8), memcpy(e + 8, &g, 8); break;
	case IOG_I8:
	case IOG_I16:
	case IOG_I32:
	case IOG_I64: memset(e, 0xff, 16); break;
	case IOG_U8:
	case IOG_U16:
	case IOG_U32:
	case IOG_U64:
		if (id)
			memset(e, 0xff, 16);
		break;
	}
}

static void fill(const struct dset *d, uint8_t *p, uint64_t bytes)
{
	uint8_t e[16];
	uint32_t size = iog_dtype_size(d->dtype);
	fill_value(d, e);
	for (uint64_t i = 0; i + size <= bytes; i += size)
		memcpy(p + i, e, size);
}

static bool text_attribute(hid_t object, const char *name, const char *value)
{
	hid_t t = H5Tcopy(H5T_C_S1), s = H5Screate(H5S_SCALAR), a;
	H5Tset_size(t, H5T_VARIABLE);
	H5Tset_cset(t, H5T_CSET_UTF8);
	a = H5Acreate2(object, name, t, s, H5P_DEFAULT, H5P_DEFAULT);
	bool ok = a >= 0 && H5Awrite(a, t, &value) >= 0;
	if (a >= 0)
		H5Aclose(a);
	H5Sclose(s);
	H5Tclose(t);
	return ok;
}

static bool int_attribute(hid_t object, const char *name, const int *value, hsize_t n)
{
	hid_t s = n ? H5Screate_simple(1, &n, NULL) : H5Screate(H5S_SCALAR);
	hid_t a = H5Acreate2(object, name, H5T_STD_I32LE, s, H5P_DEFAULT, H5P_DEFAULT);
	bool ok = a >= 0 && H5Awrite(a, H5T_NATIVE_INT, value) >= 0;
	if (a >= 0)
		H5Aclose(a);
	H5Sclose(s);
	return ok;
}

/* The group at path, made with all above it. */
static hid_t group(hid_t file, const char *path)
{
	hid_t l = H5Pcreate(H5P_LINK_CREATE), g = H5Gopen2(file, path, H5P_DEFAULT);
	H5Pset_create_intermediate_group(l, 1);
	if (g < 0)
		g = H5Gcreate2(file, path, l, H5P_DEFAULT, H5P_DEFAULT);
	H5Pclose(l);
	return g;
}

static bool make_dset(struct h5md *h, struct dset *d)
{
	hsize_t dim[IOG_RANK + 1], max[IOG_RANK + 1], chunk[IOG_RANK + 1];
	unsigned lead = d->is_static ? 0 : 1, rank = d->rank + lead;
	uint8_t e[16];
	dim[0] = 0, max[0] = H5S_UNLIMITED;
	chunk[0] = d->small ? IOG_MIN(IOG_MAX(SMALL / d->bytes, 1u), 1024u) : 1;
	for (unsigned k = 0; k < d->rank; k++) {
		dim[lead + k] = max[lead + k] = chunk[lead + k] = d->dim[k];
		if (k == 0 && !d->small && !d->is_static)
			chunk[lead] = d->rows;
	}
	hid_t space = rank ? H5Screate_simple((int)rank, dim, max) : H5Screate(H5S_SCALAR), p = H5Pcreate(H5P_DATASET_CREATE);
	hid_t l = H5Pcreate(H5P_LINK_CREATE);
	H5Pset_create_intermediate_group(l, 1);
	H5Pset_obj_track_times(p, 0); /* the same records, the same file */
	fill_value(d, e);
	H5Pset_fill_value(p, d->type, e);
	bool ok = d->is_static || H5Pset_chunk(p, (int)rank, chunk) >= 0;
	if (ok && d->filtered)
		ok = H5Pset_deflate(p, (unsigned)h->conf.level) >= 0;
	if (ok)
		d->id = H5Dcreate2(h->file, d->path, d->type, space, l, p, H5P_DEFAULT);
	ok = ok && d->id >= 0 && (!d->unit[0] || text_attribute(d->id, "unit", d->unit));
	H5Pclose(l);
	H5Pclose(p);
	H5Sclose(space);
	return ok;
}

/* Step and time of position stand beside every other dataset that grows with it. */
static bool link_steps(struct h5md *h, const struct dset *d)
{
	char to[PATH];
	static const char *const name[2] = { "step", "time" };
	bool ok = true;
	for (unsigned k = 0; k < 2; k++) {
		size_t n = iog_strlen(d->path) - 5; /* "value" */
		iog_format(to, sizeof to, "%.*s%s", (int)n, d->path, name[k]);
		if (H5Lexists(h->file, to, H5P_DEFAULT) <= 0)
			ok = ok && H5Lcreate_hard(h->file, h->set[k].path, h->file, to, H5P_DEFAULT, H5P_DEFAULT) >= 0;
	}
	return ok;
}

static bool make_box(struct h5md *h)
{
	char path[PATH];
	const int three = 3;
	bool periodic = iog_schema_var(&h->schema, "box") >= 0, ok;
	iog_format(path, sizeof path, "/particles/%s/box", h->conf.group);
	hid_t g = group(h->file, path), t = H5Tcopy(H5T_C_S1);
	hsize_t n = 3;
	hid_t s = H5Screate_simple(1, &n, NULL);
	char text[3][9];
	for (unsigned d = 0; d < 3; d++)
		memcpy(text[d], periodic ? "periodic" : "none\0\0\0\0", 9);
	H5Tset_size(t, 9);
	hid_t a = g >= 0 ? H5Acreate2(g, "boundary", t, s, H5P_DEFAULT, H5P_DEFAULT) : -1;
	ok = a >= 0 && H5Awrite(a, t, text) >= 0 && int_attribute(g, "dimension", &three, 0);
	if (a >= 0)
		H5Aclose(a);
	H5Sclose(s);
	H5Tclose(t);
	if (g >= 0)
		H5Gclose(g);
	return ok;
}

/* /h5md with version, author and creator. */
static bool make_about(struct h5md *h)
{
	const int version[2] = { 1, 1 };
	const char *user = getenv("USER");
	hid_t g = group(h->file, "/h5md"), a = group(h->file, "/h5md/author"), c = group(h->file, "/h5md/creator");
	bool ok = g >= 0 && a >= 0 && c >= 0 && int_attribute(g, "version", version, 2) &&
		  text_attribute(a, "name", user && *user ? user : "unknown") && text_attribute(c, "name", "IOgraphs") &&
		  text_attribute(c, "version", IOG_VERSION);
	if (g >= 0)
		H5Gclose(g);
	if (a >= 0)
		H5Gclose(a);
	if (c >= 0)
		H5Gclose(c);
	return ok;
}

/* Bonds say which particles they are between. */
static bool refer(struct h5md *h, const struct dset *d)
{
	char path[PATH];
	hobj_ref_t ref;
	iog_format(path, sizeof path, "/particles/%s", h->conf.group);
	if (H5Rcreate(&ref, h->file, path, H5R_OBJECT, -1) < 0)
		return false;
	hid_t s = H5Screate(H5S_SCALAR), a = H5Acreate2(d->id, "particles_group", H5T_STD_REF_OBJ, s, H5P_DEFAULT, H5P_DEFAULT);
	bool ok = a >= 0 && H5Awrite(a, H5T_STD_REF_OBJ, &ref) >= 0;
	if (a >= 0)
		H5Aclose(a);
	H5Sclose(s);
	return ok;
}

static int make_file(struct h5md *h, struct iog_err *err)
{
	bool ok = make_about(h) && make_box(h);
	for (uint32_t k = 0; ok && k < h->n_sets; k++) {
		struct dset *d = &h->set[k];
		ok = make_dset(h, d) && (!d->follow || link_steps(h, d)) && (!iog_streq(d->path, "/connectivity/bonds") || refer(h, d));
	}
	if (ok)
		return 0;
	int e = iog_h5_error(h->store);
	return e < 0 ? iog_fail_write(err, e, h->conf.path)
		     : iog_fail(err, -EIO, "the HDF5 library could not make the datasets of %s", h->conf.path);
}

/* Takes over how the chunks of a big dataset of an existing file are: another version or other options may have made it. */
static bool find_chunks(struct dset *d)
{
	hsize_t chunk[IOG_RANK + 1] = { 0 };
	hid_t p = H5Dget_create_plist(d->id);
	int rank = (int)d->rank + 1, filters = p >= 0 ? H5Pget_nfilters(p) : -1;
	bool same = filters >= 0 && H5Pget_chunk(p, rank, chunk) == rank && chunk[0] == 1 &&
		    (!d->rank || (chunk[1] >= 1 && chunk[1] <= d->dim[0]));
	for (unsigned k = 1; same && k < d->rank; k++)
		same = chunk[1 + k] == d->dim[k];
	d->filtered = filters > 0;
	d->rows = d->rank ? chunk[1] : 1;
	if (p >= 0)
		H5Pclose(p);
	return same;
}

/* Opens the datasets of an existing file and goes back to the records that its steps name. */
static int find_file(struct h5md *h, struct iog_err *err)
{
	for (uint32_t k = 0; k < h->n_sets; k++) {
		struct dset *d = &h->set[k];
		hsize_t dim[IOG_RANK + 2] = { 0 };
		unsigned lead = d->is_static ? 0 : 1;
		bool same = (d->id = H5Dopen2(h->file, d->path, H5P_DEFAULT)) >= 0;
		if (same) {
			hid_t s = H5Dget_space(d->id), t = H5Dget_type(d->id);
			int rank = H5Sget_simple_extent_ndims(s);
			same = rank == (int)(d->rank + lead) && H5Tequal(t, d->type) > 0 && H5Sget_simple_extent_dims(s, dim, NULL) == rank;
			H5Sclose(s);
			H5Tclose(t);
		}
		for (unsigned i = 0; same && i < d->rank; i++)
			same = dim[lead + i] == d->dim[i];
		if (same && !d->is_static && !d->small)
			same = find_chunks(d);
		if (!same)
			return iog_fail(err, -EEXIST,
				"%s exists and does not hold this stream (%s is missing or of another type or shape); use another "
				"path, or on_restart = \"truncate\" to replace it",
				h->conf.path, d->path);
		if (k == STEP)
			h->n = dim[0];
		d->written = d->is_static;
		if (d->is_static)
			continue;
		if (dim[0] < h->n)
			return iog_fail(err, -EBADMSG, "%s is damaged: %s has %llu records, and there are %llu steps", h->conf.path,
				d->path, (unsigned long long)dim[0], (unsigned long long)h->n);
		dim[0] = h->n;
		if (H5Dset_extent(d->id, dim) < 0)
			return iog_fail(err, -EIO, "cannot go back to the last record of %s", h->conf.path);
	}
	if (!h->n) { /* static ones came with the first record */
		for (uint32_t k = 0; k < h->n_sets; k++)
			h->set[k].written = false;
		return 0;
	}
	const hsize_t from = h->n - 1, one = 1;
	uint32_t epoch = 0;
	int64_t step = 0;
	bool ok = true;
	for (uint32_t k = STEP; k <= EPOCH; k += EPOCH - STEP) {
		hid_t fs = H5Dget_space(h->set[k].id), ms = H5Screate_simple(1, &one, NULL);
		H5Sselect_hyperslab(fs, H5S_SELECT_SET, &from, NULL, &one, NULL);
		void *to = k == EPOCH ? (void *)&epoch : (void *)&step;
		ok = ok && H5Dread(h->set[k].id, h->set[k].type, ms, fs, H5P_DEFAULT, to) >= 0;
		H5Sclose(fs);
		H5Sclose(ms);
	}
	if (!ok)
		return iog_fail(err, -EIO, "cannot read the last record of %s", h->conf.path);
	h->any = true;
	h->last = (struct iog_id){ .seq = iog_seq_of_step(step), .epoch = epoch };
	return 0;
}

/* ---- lifecycle ---- */

static void close_all(struct h5md *h)
{
	for (uint32_t k = 0; k < h->n_sets; k++) {
		if (h->set[k].id >= 0)
			H5Dclose(h->set[k].id);
		if (h->set[k].type >= 0)
			H5Tclose(h->set[k].type);
		free(h->set[k].kept);
	}
	free(h->set);
	free(h->scratch);
	free(h);
}

/* True when there is nothing worth keeping: no file, an empty one, or one that was killed before its first commit. */
static int nothing_there(const char *path, bool *nothing, struct iog_err *err)
{
	struct stat st;
	char b[8] = { 0 };
	*nothing = true;
	if (stat(path, &st) < 0)
		return errno == ENOENT ? 0 : iog_fail_open(err, -errno, path);
	if (S_ISDIR(st.st_mode))
		return iog_fail_open(err, -EISDIR, path);
	if (!S_ISREG(st.st_mode)) /* a pipe would keep us waiting */
		return iog_fail(err, -EINVAL, "%s is not a regular file; use another path", path);
	FILE *f = fopen(path, "rb");
	if (!f)
		return iog_fail_open(err, -errno, path);
	if (fread(b, 1, sizeof b, f) > 0)
		for (size_t i = 0; i < sizeof b; i++)
			*nothing &= !b[i];
	fclose(f);
	return 0;
}

static int begin(const void *conf, const struct iog_schema *in, void **self, struct iog_err *err)
{
	struct h5md *h = calloc(1, sizeof *h);
	struct dset *set = calloc(SETS, sizeof *set);
	if (!h || !set) {
		free(h);
		free(set);
		return iog_fail(err, -ENOMEM, "no memory");
	}
	h->conf = *(const struct conf *)conf;
	h->schema = *in;
	h->set = set;
	bool fresh = true;
	int r = layout(&h->conf, in, h->set, &h->n_sets, err);
	if (r == 0)
		r = iog_make_folders(h->conf.path, err);
	if (r == 0)
		r = nothing_there(h->conf.path, &fresh, err);
	if (r == 0 && !fresh && h->conf.on_restart == NEW)
		r = iog_fail_open(err, -EEXIST, h->conf.path);
	if (r < 0) {
		h->n_sets = 0;
		close_all(h);
		return r;
	}
	fresh |= h->conf.on_restart == TRUNCATE;
	enter();
	r = iog_h5_open(h->conf.path, fresh, &h->store, &h->file, err);
	bool is_open = r == 0;
	for (uint32_t k = 0; r == 0 && k < h->n_sets; k++) {
		struct dset *d = &h->set[k];
		d->type = make_type(d->dtype);
		if (d->small && !(d->kept = calloc((size_t)h->conf.flush, d->bytes)))
			r = iog_fail(err, -ENOMEM, "no memory");
		h->scratch_size = IOG_MAX(h->scratch_size, d->bytes);
	}
	/* A record and a chunk that reaches beyond it. */
	h->scratch_size = IOG_ROUND_UP(2 * h->scratch_size, IOG_ALIGN);
	if (r == 0 && !(h->scratch = aligned_alloc(IOG_ALIGN, h->scratch_size)))
		r = iog_fail(err, -ENOMEM, "no memory");
	if (r == 0)
		r = fresh ? make_file(h, err) : find_file(h, err);
	if (r == 0) {
		H5O_info_t info;
		/* Readers count records by the steps, or stop where those end (MDAnalysis): a step is there when all else of its record is. */
		if (H5Oget_info2(h->set[STEP].id, &info, H5O_INFO_BASIC) >= 0)
			iog_h5_last(h->store, info.addr);
		int e = iog_h5_commit(h->store, h->file, false);
		if (e < 0)
			r = iog_fail_write(err, e, h->conf.path);
	}
	if (r < 0) {
		if (is_open) {
			iog_h5_freeze(h->store);
			iog_h5_close(h->store, h->file);
		}
		for (uint32_t k = 0; k < h->n_sets; k++)
			h->set[k].id = H5I_INVALID_HID; /* closed with the file */
		close_all(h);
		leave();
		return r;
	}
	leave();
	h->committed = h->n;
	iog_sync_parent(h->conf.path);
	*self = h;
	return 0;
}

/* Grows or shrinks a dataset to n records. */
static bool extend(const struct dset *d, uint64_t n)
{
	hsize_t dim[IOG_RANK + 1];
	dim[0] = n;
	for (unsigned k = 0; k < d->rank; k++)
		dim[1 + k] = d->dim[k];
	return H5Dset_extent(d->id, dim) >= 0;
}

/* The small ones' kept records go into the file. */
static bool write_small(struct h5md *h)
{
	bool ok = true;
	for (uint32_t k = 0; ok && h->n_kept && k < h->n_sets; k++) {
		struct dset *d = &h->set[k];
		hsize_t from[IOG_RANK + 1] = { h->n - h->n_kept }, count[IOG_RANK + 1] = { h->n_kept };
		if (!d->small)
			continue;
		for (unsigned i = 0; i < d->rank; i++)
			count[1 + i] = d->dim[i];
		ok = extend(d, h->n);
		hid_t fs = H5Dget_space(d->id), ms = H5Screate_simple((int)d->rank + 1, count, NULL);
		ok = ok && H5Sselect_hyperslab(fs, H5S_SELECT_SET, from, NULL, count, NULL) >= 0 &&
		     H5Dwrite(d->id, d->type, ms, fs, H5P_DEFAULT, d->kept) >= 0;
		H5Sclose(fs);
		H5Sclose(ms);
	}
	return ok;
}

static int commit(struct h5md *h, bool sync)
{
	if (h->n == h->committed && (!sync || h->durable))
		return 0;
	if (!write_small(h)) {
		int e = iog_h5_error(h->store);
		return e < 0 ? e : -EIO;
	}
	int e = iog_h5_commit(h->store, h->file, sync);
	if (e < 0)
		return e;
	h->n_kept = 0;
	h->committed = h->n;
	h->durable = sync;
	return 0;
}

/*
 * A write failed while record h->n was stored. What came before it is made visible once more if that is possible (the space it needs is
 * often there already); then nothing is written any more.
 */
static enum iog_step give_up(struct h5md *h, int e, struct iog_err *err)
{
	iog_h5_error(h->store);
	bool ok = h->n > h->committed;
	for (uint32_t k = 0; ok && k < h->n_sets; k++)
		if (!h->set[k].is_static && !h->set[k].small)
			ok = extend(&h->set[k], h->n);
	if (ok)
		commit(h, h->safe);
	iog_h5_error(h->store);
	iog_h5_freeze(h->store);
	h->failed = true;
	iog_fail_write(err, e, h->conf.path);
	size_t n = iog_strlen(err->text);
	iog_format(err->text + n, sizeof err->text - n, " (%llu records are there)", (unsigned long long)h->committed);
	return IOG_FATAL;
}

/* Dense bytes of the variable in this record, its rows in *rows; from the record itself where it can be. */
static const uint8_t *dense(struct h5md *h, const struct dset *d, const struct iog_record *r, hsize_t *rows)
{
	const uint8_t *p;
	const struct iog_vardef *v = &h->schema.var[d->var];
	bool full = true;
	for (unsigned k = 1; k < v->rank; k++)
		full &= (hsize_t)r->axis[v->dim[k]].extent == d->dim[k];
	*rows = v->rank ? (hsize_t)r->axis[v->dim[0]].extent : 1;
	if (!r->var[d->var].n_blocks) {
		*rows = 0;
		return h->scratch;
	}
	if (full && iog_record_whole(r, (unsigned)d->var, &p))
		return p;
	/* In the file's shape, with what is not there filled. */
	fill(d, h->scratch, d->bytes);
	if (full) {
		iog_record_assemble(r, (unsigned)d->var, h->scratch);
		return h->scratch;
	}
	for (uint32_t b = 0; b < r->var[d->var].n_blocks; b++) {
		const struct iog_block *from = &r->var[d->var].block[b];
		int64_t n = iog_block_elems(from, v->rank), at[IOG_RANK] = { 0 };
		uint32_t size = iog_dtype_size(v->dtype);
		while (n-- > 0) {
			const uint8_t *s = from->data;
			uint64_t to = 0;
			for (unsigned k = 0; k < v->rank; k++)
				s += at[k] * from->stride[k], to = to * d->dim[k] + (uint64_t)(from->start[k] + at[k]);
			memcpy(h->scratch + to * size, s, size);
			for (unsigned k = v->rank; k-- > 0 && ++at[k] == from->count[k];)
				at[k] = 0;
		}
	}
	return h->scratch;
}

static void keep_small(struct h5md *h, struct dset *d, const struct iog_record *r)
{
	uint8_t *to = d->kept + h->n_kept * d->bytes;
	hsize_t rows;
	if (d->var == GENERATED) {
		if (d == &h->set[0])
			memcpy(to, &r->step, 8);
		else if (d == &h->set[1])
			memcpy(to, &r->time, 8);
		else if (d == &h->set[2])
			memcpy(to, &r->id.epoch, 4);
		else {
			int64_t n = r->axis[h->schema.var[h->set[h->n_sets - 1].var].dim[0]].extent;
			for (int32_t i = 0; i < (int32_t)d->dim[0]; i++) {
				int32_t v = i < n ? i : -1;
				memcpy(to + 4 * i, &v, 4);
			}
		}
		return;
	}
	fill(d, to, d->bytes);
	const uint8_t *p = dense(h, d, r, &rows);
	if (d->triangle) {
		uint32_t size = iog_dtype_size(d->dtype);
		if (rows)
			memset(to, 0, d->bytes);
		for (unsigned k = 0; k < 3 && rows; k++)
			memcpy(to + 4 * k * size, p + k * size, size);
		return;
	}
	memcpy(to, p, d->rank ? rows * (d->bytes / d->dim[0]) : rows * d->bytes);
}

/* One record of a big dataset, chunk by chunk; a chunk that is whole in memory is written from there. */
static bool write_big(struct h5md *h, struct dset *d, const struct iog_record *r)
{
	hsize_t rows, at[IOG_RANK + 1] = { h->n };
	const uint8_t *p;
	uint64_t row = d->bytes / d->dim[0];
	if (d->var == GENERATED) {
		rows = (hsize_t)r->axis[h->schema.var[h->set[h->n_sets - 1].var].dim[0]].extent;
		for (uint64_t i = 0; i < rows; i++) {
			int32_t v = (int32_t)i;
			memcpy(h->scratch + 4 * i, &v, 4);
		}
		p = h->scratch;
	} else {
		p = dense(h, d, r, &rows);
	}
	if (!extend(d, h->n + 1))
		return false;
	for (hsize_t from = 0; from < rows; from += d->rows) {
		const uint8_t *c = p + from * row;
		hsize_t n = IOG_MIN(d->rows, rows - from);
		at[1] = from;
		if (d->filtered) {
			hsize_t count[IOG_RANK + 1] = { 1, n };
			for (unsigned k = 1; k < d->rank; k++)
				count[1 + k] = d->dim[k];
			hid_t fs = H5Dget_space(d->id), ms = H5Screate_simple((int)d->rank + 1, count, NULL);
			bool ok = H5Sselect_hyperslab(fs, H5S_SELECT_SET, at, NULL, count, NULL) >= 0 &&
				  H5Dwrite(d->id, d->type, ms, fs, H5P_DEFAULT, c) >= 0;
			H5Sclose(fs);
			H5Sclose(ms);
			if (!ok)
				return false;
			continue;
		}
		if (n < d->rows) {
			/* The tail of the last chunk is not there. Scratch has room for a record and a chunk: no overlap with p. */
			uint8_t *tail = h->scratch + h->scratch_size / 2;
			memcpy(tail, c, n * row);
			fill(d, tail + n * row, (d->rows - n) * row);
			c = tail;
		}
		if (H5Dwrite_chunk(d->id, H5P_DEFAULT, 0, at, d->rows * row, c) < 0)
			return false;
	}
	return true;
}

static bool write_static(struct h5md *h, struct dset *d, const struct iog_record *r)
{
	hsize_t rows;
	const uint8_t *p = dense(h, d, r, &rows);
	uint64_t have = d->rank ? rows * (d->bytes / d->dim[0]) : d->bytes;
	if (!r->var[d->var].n_blocks)
		return true;
	if (have < d->bytes) {
		if (p != h->scratch)
			memcpy(h->scratch, p, have);
		fill(d, h->scratch + have, d->bytes - have);
		p = h->scratch;
	}
	d->written = true;
	return H5Dwrite(d->id, d->type, H5S_ALL, H5S_ALL, H5P_DEFAULT, p) >= 0;
}

static enum iog_step put(void *self, const struct iog_record *r, struct iog_err *err)
{
	struct h5md *h = self;
	bool ok = true;
	enum iog_step result = IOG_OK;
	if (h->failed) {
		iog_fail(err, -EIO, "%s could not be written before", h->conf.path);
		return IOG_FATAL;
	}
	for (uint32_t d = 0; d < h->schema.n_dims; d++)
		if (r->axis[d].extent > IOG_MAX(h->schema.dim[d].max, 1)) {
			iog_fail(err, -E2BIG, "dimension %s has extent %lld in step %lld, the file has room for %lld",
				h->schema.dim[d].name, (long long)r->axis[d].extent, (long long)r->step, (long long)h->schema.dim[d].max);
			return IOG_FAILED;
		}
	enter();
	for (uint32_t k = 0; ok && k < h->n_sets; k++) {
		struct dset *d = &h->set[k];
		if (d->small)
			keep_small(h, d, r);
		else if (!d->is_static)
			ok = write_big(h, d, r);
		else if (!d->written)
			ok = write_static(h, d, r);
	}
	if (ok) {
		h->n++;
		h->n_kept++;
	}
	int e = 0;
	if (ok && h->n_kept == (uint64_t)h->conf.flush)
		e = commit(h, h->safe);
	if (!ok || e < 0) {
		if (!ok)
			e = iog_h5_error(h->store);
		result = give_up(h, e < 0 ? e : -EIO, err);
	}
	leave();
	return result;
}

static enum iog_step flush(void *self, struct iog_err *err)
{
	struct h5md *h = self;
	enum iog_step r = IOG_OK;
	if (h->failed) {
		iog_fail(err, -EIO, "%s could not be written before", h->conf.path);
		return IOG_FATAL;
	}
	enter();
	int e = commit(h, true);
	if (e < 0)
		r = give_up(h, e, err);
	leave();
	return r;
}

static int recover(void *self, struct iog_id *last, bool *any, struct iog_err *err)
{
	struct h5md *h = self;
	h->safe = true; /* a commit that the disk does not see in order would void what was acknowledged */
	*any = h->any;
	*last = h->last;
	/* What was found may still be only in the page cache of a machine that did not crash. */
	return flush(h, err) == IOG_OK ? 0 : -EIO;
}

static int finish(void *self, struct iog_err *err)
{
	struct h5md *h = self;
	if (!h)
		return 0;
	int e = 0;
	enter();
	if (!h->failed && (e = commit(h, h->safe)) < 0) {
		struct iog_err unused;
		give_up(h, e, &unused);
	}
	for (uint32_t k = 0; k < h->n_sets; k++) {
		H5Dclose(h->set[k].id);
		h->set[k].id = H5I_INVALID_HID;
	}
	int c = iog_h5_close(h->store, h->file);
	if (!h->failed && !e)
		e = c;
	if (e < 0)
		iog_fail_write(err, e, h->conf.path);
	close_all(h);
	leave();
	return e;
}

static uint32_t flush_every(const void *conf) { return (uint32_t)((const struct conf *)conf)->flush; }

extern const struct iog_sink iog_sink_h5md;
const struct iog_sink iog_sink_h5md = {
	.name = "h5md",
	.summary = "Particles in an H5MD file, readable while it is written and after any crash",
	.params = params,
	.conf_size = sizeof(struct conf),
	.flags = IOG_SINK_SAFE,
	.accept = accept_schema,
	.accept_safe = accept_safe,
	.open = begin,
	.write = put,
	.flush = flush,
	.recover = recover,
	.flush_every = flush_every,
	.close = finish,
};
