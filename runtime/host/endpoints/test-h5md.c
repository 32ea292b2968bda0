/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tests of the H5MD sink, read back with the plain HDF5 library: contents, varying counts, going on, refusals, a full disk, and a process
 * that dies before or in the middle of every single write it makes. timeout: 300
 */
#include "runtime/host/endpoints/endpoint-test.h"

#include <errno.h>
#include <fcntl.h>
#include <hdf5.h>
#include <linux/capability.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <cmocka.h>

/*
 * Every write of the sink comes through here: the process dies at number `die_at`. When `torn`, the part of it up to the end of its first
 * page is written: the kernel looks for a fatal signal between pages, never inside one.
 */
static long writes, die_at = -1;
static bool torn;

/* What was done to the file, when somebody wants to know. */
struct op {
	enum { WRITE, LENGTH, SYNC, ACK } kind;
	uint64_t at, n;
	uint8_t *data;
};
static struct op *ops;
static size_t n_ops;
static bool noting;
static void note(int kind, uint64_t at, uint64_t n, const void *data)
{
	if (!noting)
		return;
	ops = realloc(ops, (n_ops + 1) * sizeof *ops);
	ops[n_ops] = (struct op){ .kind = (unsigned)kind, .at = at, .n = n, .data = data ? malloc(n) : NULL };
	if (data)
		memcpy(ops[n_ops].data, data, n);
	n_ops++;
}

ssize_t pwrite(int fd, const void *buf, size_t n, off_t at)
{
	note(WRITE, (uint64_t)at, n, buf);
	if (writes++ == die_at) {
		size_t page = 4096 - (size_t)at % 4096;
		if (torn && n > page)
			syscall(SYS_pwrite64, fd, buf, page, at);
		_exit(9);
	}
	return syscall(SYS_pwrite64, fd, buf, n, at);
}

/* A kill leaves the page cache as it is, so hundreds of runs need not wait for a disk. */
int fdatasync(int fd)
{
	(void)fd;
	note(SYNC, 0, 0, NULL);
	return 0;
}
int ftruncate(int fd, off_t n)
{
	note(LENGTH, 0, (uint64_t)n, NULL);
	return (int)syscall(SYS_ftruncate, fd, n);
}
int fsync(int fd)
{
	(void)fd;
	return 0;
}

static const struct iog_sink *sink;
static const struct iog_source *maker;

static int setup(void **state)
{
	(void)state;
	sink = test_sink("h5md");
	maker = test_source("synthetic");
	H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
	return 0;
}

/* A file that load() reads many times. */
static hid_t open_file = -1;

/* The first n values of row k (or of all of it, k < 0) of a dataset as doubles; returns how many rows there are, -1: no such dataset. */
static int64_t load(const char *path, const char *name, int64_t k, double *to, hsize_t n)
{
	hid_t f = open_file >= 0 ? open_file : H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT), d = f >= 0 ? H5Dopen2(f, name, H5P_DEFAULT) : -1;
	int64_t rows = -1;
	if (d >= 0) {
		hsize_t dim[8] = { 0 }, from[8] = { 0 };
		hid_t s = H5Dget_space(d);
		int rank = H5Sget_simple_extent_dims(s, dim, NULL);
		rows = (int64_t)dim[0];
		if (to && k >= 0 && rank > 0)
			from[0] = (hsize_t)k, dim[0] = 1;
		hsize_t total = 1;
		for (int i = 0; i < rank; i++)
			total *= dim[i];
		if (to && k < rows) {
			hid_t m = H5Screate_simple(1, &total, NULL);
			double *all = malloc((size_t)(total + 1) * 8);
			if (rank > 0)
				H5Sselect_hyperslab(s, H5S_SELECT_SET, from, NULL, dim, NULL);
			if (H5Dread(d, H5T_NATIVE_DOUBLE, m, s, H5P_DEFAULT, all) < 0 || total < n)
				rows = -2;
			else
				memcpy(to, all, (size_t)n * 8);
			free(all);
			H5Sclose(m);
		}
		H5Sclose(s);
		H5Dclose(d);
	}
	if (f >= 0 && f != open_file)
		H5Fclose(f);
	return rows;
}

struct run {
	const char *path, *atoms, *varying, *compression, *flush;
	unsigned from, to, flush_at; /* records; after how many to flush durably, 0: at the end only */
	int ack;                     /* descriptor to tell of every flush, or 0 */
};

/* Stores records; returns the last step recover named, -1 for none, -2 when the sink failed. */
static int64_t run(const struct run *r)
{
	struct test_feed f;
	struct iog_err err = { "" };
	struct iog_id last = { 0 };
	bool any;
	int64_t result = -2;
	void *conf = TEST_SINK_CONF(
		sink, "path", r->path, "compression", r->compression ? r->compression : "none", "flush", r->flush ? r->flush : "10");
	void *self;
	if (test_feed_open(
		    &f, maker, TEST_SOURCE_CONF(maker, "atoms", r->atoms, "varying", r->varying ? r->varying : "false", "every", "10")) < 0)
		abort();
	if (sink->open(conf, &f.schema, &self, &err) < 0) {
		fprintf(stderr, "# %s\n", err.text);
		goto out;
	}
	if (sink->recover(self, &last, &any, &err) < 0)
		abort();
	result = any ? (int64_t)(last.seq ^ 1ull << 63) : -1;
	for (unsigned k = 0; k < r->to; k++) {
		if (test_feed_next(&f, 0) != IOG_OK)
			abort();
		if (k < r->from)
			continue;
		if (sink->write(self, &f.out.rec, &err) != IOG_OK)
			result = -2;
		if (r->flush_at && k % r->flush_at == r->flush_at - 1) {
			uint8_t b = (uint8_t)(k + 1);
			if (sink->flush(self, &err) != IOG_OK || (r->ack && write(r->ack, &b, 1) != 1))
				result = -2;
		}
	}
	if (sink->close(self, &err) < 0)
		result = -2;
out:
	free(conf);
	test_feed_close(&f);
	return result;
}

/* Every record of the file is the one the source makes; returns how many there are. */
static int64_t verify(const char *path, const char *atoms, const char *varying)
{
	static double got[3 * 4096], box[9], step, time, ids[4096];
	struct test_feed f;
	int64_t n = load(path, "/particles/trajectory/position/step", -1, NULL, 0);
	unsigned max = (unsigned)strtoul(atoms, NULL, 10);
	bool varies = varying[0] == 't';
	if (n < 0)
		return n;
	if (test_feed_open(&f, maker, TEST_SOURCE_CONF(maker, "atoms", atoms, "varying", varying, "every", "10")) < 0)
		abort();
	open_file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
	assert_true(open_file >= 0);
	for (int64_t k = 0; k < n; k++) {
		const uint8_t *p, *id = NULL;
		if (test_feed_next(&f, 0) != IOG_OK || !iog_record_whole(&f.out.rec, (unsigned)iog_schema_var(&f.schema, "position"), &p))
			abort();
		if (varies)
			iog_record_whole(&f.out.rec, (unsigned)iog_schema_var(&f.schema, "id"), &id);
		int64_t have = f.out.rec.axis[iog_schema_dim(&f.schema, "atom")].extent;
		assert_true(load(path, "/particles/trajectory/position/value", k, got, 3 * max) >= n);
		assert_true(load(path, "/particles/trajectory/position/step", k, &step, 1) == n);
		assert_true(load(path, "/particles/trajectory/box/edges/value", k, box, 9) >= n);
		assert_true(load(path, "/observables/temperature/time", k, &time, 1) >= n);
		assert_true(step == (double)f.out.rec.step && time == f.out.rec.time && box[0] > 0 && box[1] == 0);
		if (varies)
			assert_true(load(path, "/particles/trajectory/id/value", k, ids, max) >= n);
		for (unsigned i = 0; i < max; i++)
			if (i < have) {
				float x[3];
				int64_t v;
				memcpy(x, p + 12 * i, 12);
				assert_true(got[3 * i] == (double)x[0] && got[3 * i + 1] == (double)x[1] && got[3 * i + 2] == (double)x[2]);
				if (id) {
					memcpy(&v, id + 8 * i, 8);
					assert_true(ids[i] == (double)v);
				}
			} else {
				assert_true(isnan(got[3 * i]) && (!varies || ids[i] == -1));
			}
	}
	H5Fclose(open_file);
	open_file = -1;
	test_feed_close(&f);
	return n;
}

static void contents(void **state)
{
	(void)state;
	/* small and big records, plain, varying and compressed */
	const struct run r[] = { { .atoms = "7", .to = 25 }, { .atoms = "1000", .to = 12 }, { .atoms = "4000", .varying = "true", .to = 5 },
		{ .atoms = "9", .varying = "true", .to = 23, .flush = "3" }, { .atoms = "1000", .compression = "gzip", .to = 4 },
		{ .atoms = "1", .to = 1 }, { .atoms = "10", .to = 0 } };
	for (unsigned i = 0; i < IOG_COUNT(r); i++) {
		struct run x = r[i];
		x.path = test_path("contents.h5md");
		unlink(x.path);
		assert_int_equal(run(&x), -1);
		assert_int_equal(verify(x.path, x.atoms, x.varying ? x.varying : "false"), x.to);
	}
}

static void goes_on(void **state)
{
	(void)state;
	static const char *const varying[] = { "false", "true" };
	for (unsigned i = 0; i < 2; i++) {
		struct run x = { .path = test_path(i ? "varying.h5md" : "on.h5md"), .atoms = "500", .varying = varying[i], .to = 7 };
		assert_int_equal(run(&x), -1);
		x.from = 7, x.to = 30;
		assert_int_equal(run(&x), 60);
		assert_int_equal(verify(x.path, "500", varying[i]), 30);
		x.from = x.to = 30;
		assert_int_equal(run(&x), 290);
		x.atoms = "501";
		assert_int_equal(run(&x), -2);
		assert_int_equal(verify(x.path, "500", varying[i]), 30);
	}
	const char *p = test_path("foreign.h5md"), *content = "my precious notes";
	test_write(p, content, strlen(content));
	struct run x = { .path = p, .atoms = "3", .to = 1 };
	assert_int_equal(run(&x), -2);
	size_t n;
	char *got = test_read(p, &n);
	assert_string_equal(got, content);
	free(got);
}

/* Blocks in pieces, with negative strides; rows that are not there; a box of three lengths; other variables. */
static void views(void **state)
{
	(void)state;
	struct iog_schema s;
	struct iog_err err = { "" };
	assert_int_equal(iog_schema_parse(&s,
				 "position: f32[atom<=6, xyz] nm; box: f64[xyz]; flag: bool[atom]; hist: u32[bin=4]; c: c64; "
				 "static kind: i16[level=2]; field: f64[y<=3, x<=2]",
				 &err),
		0);
	float x[12];
	for (int i = 0; i < 12; i++)
		x[i] = (float)i;
	double box[3] = { 1, 2, 3 }, c2[3] = { 5, 6, 7 };
	uint8_t flag[4] = { 1, 0, 1, 1 };
	uint32_t hist[4] = { 1, 2, 3, 4 };
	float c[2] = { 1, 2 };
	int16_t kind[2] = { 11, 12 };
	struct iog_block b[] = { { .data = (const uint8_t *)(x + 9), .start = { 0, 0 }, .count = { 2, 3 }, .stride = { -12, 4 } },
		{ .data = (const uint8_t *)x, .start = { 2, 0 }, .count = { 2, 3 }, .stride = { 12, 4 } },
		{ .data = (const uint8_t *)box, .count = { 3 }, .stride = { 8 } }, { .data = flag, .count = { 4 }, .stride = { 1 } },
		{ .data = (const uint8_t *)hist, .count = { 4 }, .stride = { 4 } }, { .data = (const uint8_t *)c },
		{ .data = (const uint8_t *)kind, .count = { 2 }, .stride = { 2 } },
		{ .data = (const uint8_t *)c2, .count = { 3, 1 }, .stride = { 8, 8 } } };
	struct iog_record r = { .schema = &s, .step = 4, .time = 0.5 };
	const struct {
		const char *name;
		int64_t extent;
	} axis[] = { { "atom", 4 }, { "xyz", 3 }, { "bin", 4 }, { "level", 2 }, { "y", 3 }, { "x", 1 } };
	for (unsigned i = 0; i < 6; i++)
		r.axis[iog_schema_dim(&s, axis[i].name)] = (struct iog_axis){ axis[i].extent, 0, 1 };
	r.var[0] = (struct iog_var){ b, 2, 0 };
	for (unsigned i = 1; i < 7; i++)
		r.var[i] = (struct iog_var){ b + i + 1, 1, 0 };
	const char *p = test_path("views.h5md");
	void *conf = TEST_SINK_CONF(sink, "path", p), *self;
	assert_int_equal(sink->accept(conf, &s, &err), 0);
	assert_int_equal(sink->open(conf, &s, &self, &err), 0);
	assert_int_equal(sink->write(self, &r, &err), IOG_OK);
	r.step = 5;
	r.var[3].n_blocks = 0;
	assert_int_equal(sink->write(self, &r, &err), IOG_OK);
	assert_int_equal(sink->close(self, &err), 0);
	free(conf);
	double v[18];
	assert_int_equal(load(p, "/particles/trajectory/position/value", 0, v, 18), 2);
	const double want[12] = { 9, 10, 11, 6, 7, 8, 0, 1, 2, 3, 4, 5 };
	assert_memory_equal(v, want, sizeof want);
	assert_true(isnan(v[12]) && isnan(v[17]));
	assert_int_equal(load(p, "/particles/trajectory/id/value", 0, v, 6), 2);
	assert_true(v[0] == 0 && v[3] == 3 && v[4] == -1);
	assert_int_equal(load(p, "/particles/trajectory/box/edges/value", 1, v, 9), 2);
	assert_true(v[0] == 1 && v[1] == 0 && v[4] == 2 && v[8] == 3);
	assert_int_equal(load(p, "/observables/hist/value", 0, v, 4), 2);
	assert_true(v[3] == 4);
	assert_int_equal(load(p, "/observables/hist/value", 1, v, 4), 2);
	assert_true(v[3] == 0);
	assert_int_equal(load(p, "/observables/field/value", 0, v, 6), 2);
	assert_true(v[0] == 5 && isnan(v[1]) && v[2] == 6 && v[4] == 7);
	assert_int_equal(load(p, "/parameters/kind", -1, v, 2), 2);
	assert_true(v[1] == 12);
}

static void refusals(void **state)
{
	(void)state;
	const struct {
		const char *schema, *word;
	} bad[] = { { "T: f64[z<=3]", "position" }, { "position: f32[atom, xyz]", "atom" }, { "position: f64[atom<=3, k=2]", "position" },
		{ "position: f32[atom<=3, xyz]; box: f32[k=2]", "box" }, { "position: f32[atom<=3, xyz]; rho: f32[z]", "rho" },
		{ "position: i32[atom<=3, xyz]", "position" } };
	void *conf = TEST_SINK_CONF(sink, "path", "x.h5md");
	for (unsigned i = 0; i < IOG_COUNT(bad); i++) {
		struct iog_schema s;
		struct iog_err err = { "" };
		assert_int_equal(iog_schema_parse(&s, bad[i].schema, &err), 0);
		assert_int_equal(sink->accept(conf, &s, &err), -EINVAL);
		assert_non_null(strstr(err.text, bad[i].word));
	}
	free(conf);
}

static void refused(const char *path, const char *how, int code, const char *cause, const char *advice)
{
	struct test_feed f;
	struct iog_err err = { "" };
	void *conf = TEST_SINK_CONF(sink, "path", path, "on_restart", how), *self;
	assert_int_equal(test_feed_open(&f, maker, TEST_SOURCE_CONF(maker, "atoms", "7")), 0);
	int r = sink->open(conf, &f.schema, &self, &err);
	print_message("# %s\n", err.text);
	assert_int_equal(r, code);
	assert_non_null(strstr(err.text, path));
	assert_non_null(strstr(err.text, cause));
	assert_non_null(strstr(err.text, advice));
	free(conf);
	test_feed_close(&f);
}

/* Every reason not to begin is one sentence with the file, the cause and what to do; what is there stays. */
static void does_not_begin(void **state)
{
	(void)state;
	static const char notes[] = "my precious notes",
			  garbled[] = "\x89HDF\r\n\x1a\n\x03 and then nothing that the library knows, for more than its head";
	char folder[300], path[320];
	char there[300];
	iog_strset(there, sizeof there, test_path("there.h5md"));
	struct run x = { .path = there, .atoms = "7", .to = 3 };
	assert_int_equal(run(&x), -1);
	iog_strset(folder, sizeof folder, test_path("folder"));
	assert_int_equal(mkdir(folder, 0700), 0);
	refused(folder, "append", -EISDIR, "cannot open", "name a file in that folder");

	test_write(test_path("notes"), notes, sizeof notes);
	refused(test_path("notes"), "append", -EEXIST, "is no file of this sink", "use another path, or on_restart");
	iog_format(path, sizeof path, "%s/t.h5md", test_path("notes"));
	refused(path, "append", -ENOTDIR, "a part of the path is a file", "use another path");
	size_t n;
	char *got = test_read(test_path("notes"), &n);
	assert_true(n == sizeof notes && !memcmp(got, notes, n));
	free(got);

	H5Fclose(H5Fcreate(test_path("other.h5"), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT));
	refused(test_path("other.h5"), "append", -EEXIST, "is no file of this sink", "use another path, or on_restart");
	test_write(test_path("torn.h5"), garbled, sizeof garbled);
	refused(test_path("torn.h5"), "append", -EBADMSG, "damaged", "use another path, or on_restart");
	assert_int_equal(mkfifo(test_path("pipe"), 0600), 0);
	refused(test_path("pipe"), "append", -EINVAL, "not a regular file", "use another path");
	refused(x.path, "new", -EEXIST, "on_restart = \"new\"", "use another path or on_restart");

	/* Root without the capabilities that make it more than others. */
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct all[2], few[2];
	assert_int_equal(syscall(SYS_capget, &head, all), 0);
	memcpy(few, all, sizeof few);
	few[0].effective &= ~(1u << CAP_DAC_OVERRIDE | 1u << CAP_DAC_READ_SEARCH);
	assert_int_equal(syscall(SYS_capset, &head, few), 0);
	chmod(folder, 0500), chmod(x.path, 0400);
	refused(x.path, "append", -EACCES, "Permission denied", "let this user write it");
	iog_format(path, sizeof path, "%s/t.h5md", folder);
	refused(path, "append", -EACCES, "Permission denied", "let this user write it and its folder");
	iog_format(path, sizeof path, "%s/new/t.h5md", folder);
	refused(path, "append", -EACCES, "cannot make folder", "make it, or use another path");
	chmod(folder, 0700), chmod(x.path, 0600);
	assert_int_equal(syscall(SYS_capset, &head, all), 0);
	assert_int_equal(verify(x.path, "7", "false"), 3);

	/* A folder that is not there is made. */
	iog_format(path, sizeof path, "%s/deep/er/t.h5md", folder);
	x.path = path;
	assert_int_equal(run(&x), -1);
	assert_int_equal(verify(path, "7", "false"), 3);
}

static void full_disk(void **state)
{
	(void)state;
	struct test_feed f;
	struct iog_err err = { "" };
	const char *p = test_path("full.h5md");
	void *conf = TEST_SINK_CONF(sink, "path", p, "flush", "5"), *self;
	struct rlimit old, small;
	getrlimit(RLIMIT_FSIZE, &old);
	small = old;
	small.rlim_cur = 300000;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(test_feed_open(&f, maker, TEST_SOURCE_CONF(maker, "atoms", "500", "every", "10")), 0);
	assert_int_equal(sink->open(conf, &f.schema, &self, &err), 0);
	setrlimit(RLIMIT_FSIZE, &small);
	int64_t n = 0;
	enum iog_step r;
	do {
		assert_int_equal(test_feed_next(&f, 0), IOG_OK);
		r = sink->write(self, &f.out.rec, &err);
	} while (r == IOG_OK && ++n < 100);
	assert_int_equal(r, IOG_FATAL);
	assert_non_null(strstr(err.text, "full"));
	assert_int_equal(sink->write(self, &f.out.rec, &err), IOG_FATAL);
	sink->close(self, &err);
	setrlimit(RLIMIT_FSIZE, &old);
	free(conf);
	test_feed_close(&f);
	assert_true(n > 5 && n < 100);
	int64_t have = verify(p, "500", "false");
	assert_true(have <= n && have > n - 5);
	/* With space again, it goes on. */
	struct run x = { .path = p, .atoms = "500", .from = (unsigned)have, .to = 40 };
	assert_int_equal(run(&x), 10 * (have - 1));
	assert_int_equal(verify(p, "500", "false"), 40);
}

/* A file of records that are much shorter than declared is about as large as what they hold, on the disk and by its length. */
static void no_padding(void **state)
{
	(void)state;
	enum { MOST = 16384, RECORDS = 60, DATASETS = 3 };
	static float x[3 * MOST];
	static int32_t kind[MOST];
	struct iog_schema s;
	struct iog_err err = { "" };
	assert_int_equal(iog_schema_parse(&s, "position: f32[atom<=16384, xyz] nm; type: i32[atom]", &err), 0);
	const int atom = iog_schema_dim(&s, "atom"), xyz = iog_schema_dim(&s, "xyz");
	for (int i = 0; i < 3 * MOST; i++)
		x[i] = (float)i, kind[i / 3] = i / 3;
	struct iog_block b[2] = { { .data = (const uint8_t *)x, .count = { 0, 3 }, .stride = { 12, 4 } },
		{ .data = (const uint8_t *)kind, .count = { 0 }, .stride = { 4 } } };
	struct iog_record r = { .schema = &s };
	r.axis[xyz] = (struct iog_axis){ 3, 0, 1 };
	r.var[0] = (struct iog_var){ &b[0], 1, 0 }, r.var[1] = (struct iog_var){ &b[1], 1, 0 };
	const char *p = test_path("no-padding.h5md");
	void *conf = TEST_SINK_CONF(sink, "path", p), *self;
	assert_int_equal(sink->open(conf, &s, &self, &err), 0);
	uint64_t data = 0;
	int64_t atoms[RECORDS];
	for (int k = 0; k < RECORDS; k++) {
		/* None, all, and what a slab of a fifth of a box holds. */
		atoms[k] = k == 3 ? 0 : k == 5 ? MOST : 3000 + 37 * (k % 17);
		r.step = k, r.id.seq = iog_seq_of_step(k);
		r.axis[atom] = (struct iog_axis){ atoms[k], 0, 1 };
		b[0].count[0] = b[1].count[0] = atoms[k];
		data += 20 * (uint64_t)atoms[k]; /* with the ids that the sink makes */
		assert_int_equal(sink->write(self, &r, &err), IOG_OK);
	}
	assert_int_equal(sink->close(self, &err), 0);
	free(conf);
	struct stat st;
	assert_int_equal(stat(p, &st), 0);
	const uint64_t most = data + data / 20 + (uint64_t)RECORDS * DATASETS * 3072 + 65536;
	print_message("# %llu bytes of data, %lld in the file, %lld on the disk\n", (unsigned long long)data, (long long)st.st_size,
		(long long)st.st_blocks * 512);
	assert_true((uint64_t)st.st_size <= most && (uint64_t)st.st_blocks * 512 <= most);
	static double got[3 * MOST], ids[MOST];
	for (int k = 0; k < RECORDS; k++) {
		assert_int_equal(load(p, "/particles/trajectory/position/value", k, got, 3 * MOST), RECORDS);
		assert_int_equal(load(p, "/particles/trajectory/id/value", k, ids, MOST), RECORDS);
		for (int64_t i = 0; i < MOST; i++)
			if (i < atoms[k])
				assert_true(got[3 * i + 2] == (double)x[3 * i + 2] && ids[i] == (double)i);
			else
				assert_true(isnan(got[3 * i]) && isnan(got[3 * i + 2]) && ids[i] == -1);
	}
}

/* A file that other options made is gone on with as it is: with its chunks, compressed or not. */
static void goes_on_as_it_is(void **state)
{
	(void)state;
	static const char *const how[] = { "none", "gzip" };
	for (unsigned i = 0; i < 2; i++) {
		struct run x = { .path = test_path(how[i]), .atoms = "4000", .varying = "true", .compression = how[i], .to = 4 };
		assert_int_equal(run(&x), -1);
		x.compression = how[!i], x.from = 4, x.to = 9;
		assert_int_equal(run(&x), 30);
		assert_int_equal(verify(x.path, x.atoms, x.varying), 9);
	}
}

/* The process dies at each of its writes in turn: what it acknowledged is there and right, for a plain reader and for the next run. */
static void dies_at_every_write(void **state)
{
	(void)state;
	/* Only the records of the second kind are big enough for a write of more than one page. */
	const struct run kinds[] = { { .atoms = "5", .flush = "3", .to = 13, .flush_at = 6 },
		{ .atoms = "400", .flush = "3", .to = 13, .flush_at = 6, .varying = "true" } };
	long *total = mmap(NULL, sizeof *total, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(total != MAP_FAILED);
	for (unsigned kind = 0; kind < IOG_COUNT(kinds); kind++)
		for (long at = -1, end = 0; at < end; at++)
			for (unsigned half = 0; half <= kind; half++) {
				struct run x = kinds[kind];
				int ack[2];
				const char *varying = x.varying ? x.varying : "false";
				x.path = test_path("dies.h5md");
				unlink(x.path);
				assert_int_equal(pipe(ack), 0);
				fflush(NULL);
				pid_t pid = fork();
				if (pid == 0) {
					writes = 0, die_at = at, torn = half;
					x.ack = ack[1];
					int64_t r = run(&x);
					*total = writes;
					_exit(r == -1 ? 0 : 1);
				}
				close(ack[1]);
				uint8_t b, acked = 0;
				while (read(ack[0], &b, 1) == 1)
					acked = b;
				close(ack[0]);
				int status;
				waitpid(pid, &status, 0);
				assert_true(WIFEXITED(status) && WEXITSTATUS(status) == (at < 0 ? 0 : 9));
				if (at < 0)
					end = *total;
				int64_t have = verify(x.path, x.atoms, varying);
				/* Before its first commit there is no file to read. */
				if (have < acked && (have != -1 || acked))
					fprintf(stderr, "# kind %u, write %ld of %ld%s: %lld records, %u acknowledged\n", kind, at, end,
						half ? ", torn" : "", (long long)have, acked);
				assert_true(have >= acked || (have == -1 && !acked));
				x.from = have > 0 ? (unsigned)have : 0, x.to = 16;
				assert_int_equal(run(&x), have > 0 ? 10 * (have - 1) : -1);
				assert_int_equal(verify(x.path, x.atoms, varying), 16);
			}
	munmap(total, sizeof *total);
}

/*
 * A file with long blocks in its indices (from 42 records on): 700 of at most 100000 atoms in a record. A crash can tear such a block,
 * then its records cannot be read until the sink opens the file again; nothing is lost.
 */
enum { LONG_MOST = 100000, LONG_HAVE = 700, LONG_BASE = 45 };

/* Stores records [from, to), from < 0: what is missing. Returns how many there were, or -2. */
static int64_t long_run(const char *path, int64_t from, int64_t to, int ack)
{
	static float x[3 * LONG_HAVE];
	struct iog_schema s;
	struct iog_err err = { "" };
	struct iog_id last = { 0 };
	bool any;
	void *conf = TEST_SINK_CONF(sink, "path", path, "flush", "3"), *self;
	if (iog_schema_parse(&s, "position: f32[atom<=100000, xyz] nm; box: f32[xyz]", &err) < 0)
		abort();
	float box[3] = { 1, 2, 3 };
	struct iog_block b[2] = { { .data = (const uint8_t *)x, .count = { LONG_HAVE, 3 }, .stride = { 12, 4 } },
		{ .data = (const uint8_t *)box, .count = { 3 }, .stride = { 4 } } };
	struct iog_record r = { .schema = &s };
	r.axis[iog_schema_dim(&s, "atom")] = (struct iog_axis){ LONG_HAVE, 0, 1 };
	r.axis[iog_schema_dim(&s, "xyz")] = (struct iog_axis){ 3, 0, 1 };
	r.var[0] = (struct iog_var){ &b[0], 1, 0 }, r.var[1] = (struct iog_var){ &b[1], 1, 0 };
	if (sink->open(conf, &s, &self, &err) < 0 || sink->recover(self, &last, &any, &err) < 0) {
		fprintf(stderr, "# %s\n", err.text);
		free(conf);
		return -2;
	}
	int64_t had = any ? (int64_t)(last.seq ^ 1ull << 63) + 1 : 0;
	bool ok = true;
	for (int64_t k = from < 0 ? had : from; k < to; k++) {
		for (int i = 0; i < 3 * LONG_HAVE; i++)
			x[i] = (float)(1000 * k + i);
		r.step = k, r.id.seq = iog_seq_of_step(k);
		ok = ok && sink->write(self, &r, &err) == IOG_OK;
		if (k % 6 == 5) {
			uint8_t n = (uint8_t)(k + 1);
			ok = ok && sink->flush(self, &err) == IOG_OK && (!ack || write(ack, &n, 1) == 1);
			note(ACK, n, 0, NULL);
		}
	}
	ok = sink->close(self, &err) == 0 && ok;
	if (!ok)
		fprintf(stderr, "# %lld records, then: %s\n", (long long)had, err.text);
	free(conf);
	return ok ? had : -2;
}

/* How many records there are, all of them right; -1: the file does not open; -3: some cannot be read. */
static int64_t long_look(const char *path)
{
	hid_t f = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT),
	      d = f < 0 ? -1 : H5Dopen2(f, "/particles/trajectory/position/value", H5P_DEFAULT);
	if (d < 0)
		return -1;
	hsize_t dim[3], from[3] = { 0 };
	hid_t s = H5Dget_space(d);
	H5Sget_simple_extent_dims(s, dim, NULL);
	const hsize_t there = dim[0];
	hid_t t = H5Dopen2(f, "/particles/trajectory/position/step", H5P_DEFAULT), ts = H5Dget_space(t);
	H5Sget_simple_extent_dims(ts, dim, NULL); /* as many records as there are steps */
	assert_true(dim[0] <= there);
	int64_t n = (int64_t)dim[0];
	dim[1] = LONG_HAVE;
	float *x = malloc((dim[0] + 1) * 3 * LONG_HAVE * sizeof *x);
	int64_t *steps = calloc(dim[0] + 1, sizeof *steps);
	hid_t m = H5Screate_simple(3, dim, NULL);
	if (n) {
		H5Sselect_hyperslab(s, H5S_SELECT_SET, from, NULL, dim, NULL);
		if (H5Dread(d, H5T_NATIVE_FLOAT, m, s, H5P_DEFAULT, x) < 0 ||
			H5Dread(t, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, steps) < 0)
			n = -3;
	}
	for (int64_t k = 0; k < n; k++) {
		assert_int_equal(steps[k], k);
		for (int i = 0; i < 3 * LONG_HAVE; i++)
			assert_true(x[3 * LONG_HAVE * k + i] == (float)(1000 * k + i));
	}
	free(x);
	free(steps);
	H5Sclose(ts), H5Dclose(t), H5Sclose(m), H5Sclose(s), H5Dclose(d), H5Fclose(f);
	return n;
}

static void dies_in_long_blocks(void **state)
{
	(void)state;
	char base[300], path[300];
	size_t n;
	iog_strset(base, sizeof base, test_path("long-base.h5md"));
	iog_strset(path, sizeof path, test_path("long.h5md"));
	assert_int_equal(long_run(base, 0, LONG_BASE, 0), 0);
	char *content = test_read(base, &n);
	unsigned torn_files = 0;
	long *total = mmap(NULL, sizeof *total, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(total != MAP_FAILED);
	for (long at = -1, end = 0; at < end; at++)
		for (unsigned half = 0; half < 2; half++) {
			int ack[2], status;
			uint8_t b, acked = LONG_BASE;
			unlink(path);
			test_write(path, content, n);
			assert_int_equal(pipe(ack), 0);
			fflush(NULL);
			pid_t pid = fork();
			if (pid == 0) {
				writes = 0, die_at = at, torn = half;
				int64_t r = long_run(path, LONG_BASE, LONG_BASE + 10, ack[1]);
				*total = writes;
				_exit(r == LONG_BASE ? 0 : 1);
			}
			close(ack[1]);
			while (read(ack[0], &b, 1) == 1)
				acked = b;
			close(ack[0]);
			waitpid(pid, &status, 0);
			assert_true(WIFEXITED(status) && WEXITSTATUS(status) == (at < 0 ? 0 : 9));
			if (at < 0)
				end = *total;
			int64_t have = long_look(path);
			torn_files += have == -3;
			assert_true(have >= acked || (have == -3 && half));
			have = long_run(path, -1, LONG_BASE + 12, 0);
			assert_true(have >= acked);
			assert_int_equal(long_look(path), LONG_BASE + 12);
		}
	print_message("# %ld writes, %u files with a torn block, all of them mended\n", *total, torn_files);
	assert_true(torn_files > 0);
	munmap(total, sizeof *total);
	free(content);
}

/*
 * A power failure: what was written since the last fdatasync is there or not, page by page, and so is the length. What was acknowledged is
 * there, at once or (where a long block was torn) when the sink has gone on.
 */
static void power_fails(void **state)
{
	(void)state;
	enum { ROUNDS = 400, PAGE = 4096 };
	char path[300];
	size_t size, most = 0;
	uint32_t seed = 1;
	unsigned torn_files = 0, cuts_behind_ack = 0;
	iog_strset(path, sizeof path, test_path("power.h5md"));
	assert_int_equal(long_run(path, 0, LONG_BASE, 0), 0);
	char *base = test_read(path, &size);
	noting = true;
	assert_int_equal(long_run(path, LONG_BASE, LONG_BASE + 20, 0), LONG_BASE);
	noting = false;
	for (size_t i = 0; i < n_ops; i++)
		most = IOG_MAX(most, (size_t)(ops[i].at + ops[i].n));
	most = IOG_ROUND_UP(IOG_MAX(most, size), (size_t)PAGE);
	char *disk = malloc(most);
#define RANDOM(n) ((seed = seed * 1664525 + 1013904223, seed >> 8) % (uint32_t)(n))
	for (unsigned round = 0; round < ROUNDS; round++) {
		size_t cut = RANDOM(n_ops + 1), synced = 0;
		int64_t acked = LONG_BASE;
		for (size_t i = 0; i < cut; i++) {
			if (ops[i].kind == SYNC)
				synced = i;
			if (ops[i].kind == ACK)
				acked = (int64_t)ops[i].at;
		}
		cuts_behind_ack += acked > LONG_BASE;
		memset(disk, 0, most);
		memcpy(disk, base, size);
		for (size_t page = 0; page < most; page += PAGE) {
			size_t until = synced + RANDOM(cut - synced + 1);
			for (size_t i = 0; i < until; i++) {
				size_t from = IOG_MAX(page, ops[i].at), to = IOG_MIN(page + PAGE, ops[i].at + ops[i].n);
				if (ops[i].kind == WRITE && from < to)
					memcpy(disk + from, ops[i].data + (from - ops[i].at), to - from);
			}
		}
		size_t length = size, until = synced + RANDOM(cut - synced + 1);
		for (size_t i = 0; i < until; i++)
			length = ops[i].kind == LENGTH ? ops[i].n : ops[i].kind == WRITE ? IOG_MAX(length, ops[i].at + ops[i].n) : length;
		unlink(path);
		test_write(path, disk, length);
		int64_t have = long_look(path);
		if (have < acked && have != -3)
			fprintf(stderr, "# round %u, cut at %zu of %zu: %lld records, %lld acknowledged\n", round, cut, n_ops,
				(long long)have, (long long)acked);
		assert_true(have >= acked || have == -3);
		torn_files += have == -3;
		have = long_run(path, -1, LONG_BASE + 22, 0);
		assert_true(have >= acked);
		assert_int_equal(long_look(path), LONG_BASE + 22);
	}
	print_message("# %u power failures, %u behind an acknowledgement, %u files with a torn block, all of them mended\n", ROUNDS,
		cuts_behind_ack, torn_files);
	assert_true(cuts_behind_ack > ROUNDS / 4);
	for (size_t i = 0; i < n_ops; i++)
		free(ops[i].data);
	free(ops);
	free(disk);
	free(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(contents), cmocka_unit_test(goes_on), cmocka_unit_test(goes_on_as_it_is),
		cmocka_unit_test(no_padding), cmocka_unit_test(views), cmocka_unit_test(refusals), cmocka_unit_test(does_not_begin),
		cmocka_unit_test(full_disk), cmocka_unit_test(dies_at_every_write), cmocka_unit_test(dies_in_long_blocks),
		cmocka_unit_test(power_fails) };
	return cmocka_run_group_tests_name("h5md", tests, setup, NULL);
}
