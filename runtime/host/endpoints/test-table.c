/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of the table sink: the text it writes, what it refuses, and what is left of a file that was torn or whose disk was full. */
#include "runtime/host/endpoints/endpoint-test.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <cmocka.h>

static const char text[] = "n: i64; mean: f32[xyz=3] Angstrom; ok: bool; c: c64; big: u64; maybe: f64[k<=2]";

struct row {
	int64_t n;
	float mean[3], c[2];
	uint64_t big;
	double maybe[2];
	uint8_t ok;
	struct iog_block b[6];
	struct iog_record r;
};

static void make_row(struct row *w, const struct iog_schema *s, int64_t step, int64_t maybe)
{
	*w = (struct row){
		.n = INT64_MIN + step, .mean = { 0.1f, -2.5f, NAN }, .c = { 1, -1 }, .big = UINT64_MAX, .maybe = { 0.1, 1e300 }, .ok = 1
	};
	const void *data[6] = { &w->n, w->mean, &w->ok, w->c, &w->big, w->maybe };
	w->r = (struct iog_record){
		.schema = s, .step = step, .time = (double)step * 0.1, .id = { .seq = iog_seq_of_step(step), .epoch = 3 }
	};
	w->r.axis[0] = (struct iog_axis){ 3, 0, 1 }, w->r.axis[1] = (struct iog_axis){ maybe, 0, 1 };
	for (unsigned i = 0; i < 6; i++) {
		w->b[i] = (struct iog_block){ .data = data[i], .count = { i == 1 ? 3 : maybe } };
		iog_block_set_dense(&w->b[i], s->var[i].rank, iog_dtype_size(s->var[i].dtype));
		w->r.var[i] = (struct iog_var){ .block = &w->b[i], .n_blocks = 1 };
	}
}

static const struct iog_sink *sink;
static struct iog_schema schema;

static int setup(void **state)
{
	(void)state;
	struct iog_err err;
	sink = test_sink("table");
	return iog_schema_parse(&schema, text, &err);
}

/* Opens, writes steps [from, to), closes; returns the last step that recover named, -1 for none. */
static int64_t run(const char *path, int64_t from, int64_t to)
{
	struct iog_err err = { "" };
	struct iog_id last;
	bool any;
	void *conf = TEST_SINK_CONF(sink, "path", path), *self;
	struct row w;
	if (sink->open(conf, &schema, &self, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		abort();
	}
	assert_int_equal(sink->recover(self, &last, &any, &err), 0);
	for (int64_t k = from; k < to; k++) {
		make_row(&w, &schema, k, 1 + k % 2);
		assert_int_equal(sink->write(self, &w.r, &err), IOG_OK);
	}
	assert_int_equal(sink->flush(self, &err), IOG_OK);
	assert_int_equal(sink->close(self, &err), 0);
	free(conf);
	if (any)
		assert_int_equal(last.epoch, 3);
	return any ? (int64_t)(last.seq ^ 1ull << 63) : -1;
}

static void csv_text(void **state)
{
	(void)state;
	size_t n;
	const char *p = test_path("a.csv");
	assert_int_equal(run(p, 0, 2), -1);
	char *got = test_read(p, &n);
	assert_string_equal(got, "step,time,epoch,n,mean.x,mean.y,mean.z,ok,c.re,c.im,big,maybe.0,maybe.1\r\n"
				 "0,0,3,-9223372036854775808,0.1,-2.5,nan,true,1,-1,18446744073709551615,0.1,\r\n"
				 "1,0.1,3,-9223372036854775807,0.1,-2.5,nan,true,1,-1,18446744073709551615,0.1,1e+300\r\n");
	free(got);
}

static void json_text(void **state)
{
	(void)state;
	size_t n;
	const char *p = test_path("a.jsonl");
	assert_int_equal(run(p, 1, 3), -1);
	char *got = test_read(p, &n);
	assert_string_equal(got,
		"{\"step\":1,\"time\":0.1,\"epoch\":3,\"n\":-9223372036854775807,\"mean.x\":0.1,\"mean.y\":-2.5,\"mean.z\":null,"
		"\"ok\":true,\"c.re\":1,\"c.im\":-1,\"big\":18446744073709551615,\"maybe.0\":0.1,\"maybe.1\":1e+300}\n"
		"{\"step\":2,\"time\":0.2,\"epoch\":3,\"n\":-9223372036854775806,\"mean.x\":0.1,\"mean.y\":-2.5,\"mean.z\":null,"
		"\"ok\":true,\"c.re\":1,\"c.im\":-1,\"big\":18446744073709551615,\"maybe.0\":0.1,\"maybe.1\":null}\n");
	free(got);
	assert_int_equal(run(p, 3, 4), 2);
}

/* A crash may leave any prefix: from each one the next run goes on after the last whole row, and the file ends up as if nothing had been. */
static void torn_anywhere(void **state)
{
	(void)state;
	static const char *const name[] = { "torn.csv", "torn.json" };
	for (unsigned i = 0; i < 2; i++) {
		const char *p = test_path(name[i]);
		size_t n, m;
		run(p, 0, 3);
		char *whole = test_read(p, &n);
		for (size_t cut = 0; cut <= n; cut++) {
			test_write(p, whole, cut);
			int64_t last = run(p, 0, 0);
			assert_true(last >= -1 && last <= 2);
			int64_t rows = 0;
			for (size_t k = 0; k < cut; k++)
				rows += whole[k] == '\n';
			assert_int_equal(last, rows - 1 - !i < -1 ? -1 : rows - 1 - !i);
			assert_int_equal(run(p, last + 1, 3), last);
			char *again = test_read(p, &m);
			assert_int_equal(m, n);
			assert_memory_equal(again, whole, n);
			free(again);
		}
		free(whole);
	}
}

/* Blocks that a crashed machine never wrote read as zeros. */
static void zeros_behind(void **state)
{
	(void)state;
	const char *p = test_path("zeros.csv");
	run(p, 0, 5);
	size_t n;
	char *whole = test_read(p, &n), *padded = calloc(1, n + 3000000);
	memcpy(padded, whole, n);
	memset(padded + n - 1, 0, 1); /* the last row's line end is lost, too */
	test_write(p, padded, n + 3000000);
	assert_int_equal(run(p, 4, 5), 3);
	free(padded);
	char *again = test_read(p, &n);
	assert_string_equal(again, whole);
	free(again);
	free(whole);
}

static void foreign_files(void **state)
{
	(void)state;
	static const char *const name[] = { "foreign.csv", "foreign.json" };
	for (unsigned i = 0; i < 2; i++) {
		const char *p = test_path(name[i]), *content = "my precious notes\n";
		struct iog_err err = { "" };
		void *conf = TEST_SINK_CONF(sink, "path", p), *self;
		test_write(p, content, strlen(content));
		assert_int_equal(sink->open(conf, &schema, &self, &err), -EEXIST);
		assert_non_null(strstr(err.text, name[i]));
		size_t n;
		char *got = test_read(p, &n);
		assert_string_equal(got, content);
		free(got);
		free(conf);
	}
	struct iog_err err = { "" };
	const char *p = test_path("there.csv");
	void *conf = TEST_SINK_CONF(sink, "path", p, "on_restart", "new"), *self;
	run(p, 0, 1);
	assert_int_equal(sink->open(conf, &schema, &self, &err), -EEXIST);
	free(conf);
	conf = TEST_SINK_CONF(sink, "path", p, "on_restart", "truncate");
	assert_int_equal(sink->open(conf, &schema, &self, &err), 0);
	sink->close(self, &err);
	free(conf);
	assert_int_equal(run(p, 0, 0), -1);
}

static void refusals(void **state)
{
	(void)state;
	const struct {
		const char *schema, *word, *second;
	} bad[] = { { "position: f32[atom<=1000, xyz]", "position", "3000" }, { "position: f32[atom, xyz]", "position", "atom" } };
	for (unsigned i = 0; i < IOG_COUNT(bad); i++) {
		struct iog_schema s;
		struct iog_err err = { "" };
		void *conf = TEST_SINK_CONF(sink, "path", "x.csv");
		assert_int_equal(iog_schema_parse(&s, bad[i].schema, &err), 0);
		assert_int_equal(sink->accept(conf, &s, &err), -EINVAL);
		assert_non_null(strstr(err.text, bad[i].word));
		assert_non_null(strstr(err.text, bad[i].second));
		free(conf);
	}
	struct iog_err err = { "" };
	void *conf = TEST_SINK_CONF(sink, "path", "x.csv", "variables", "{maen}");
	assert_int_equal(sink->accept(conf, &schema, &err), -EINVAL);
	assert_non_null(strstr(err.text, "did you mean \"mean\"?"));
	free(conf);
	conf = TEST_SINK_CONF(sink, "path", "x.csv");
	assert_int_equal(sink->accept(conf, &schema, &err), 0);
	free(conf);
}

static void full_disk(void **state)
{
	(void)state;
	const char *p = test_path("full.csv");
	struct iog_err err = { "" };
	void *conf = TEST_SINK_CONF(sink, "path", p), *self;
	struct row w;
	struct rlimit old, small;
	getrlimit(RLIMIT_FSIZE, &old);
	small = old;
	small.rlim_cur = 1000;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(sink->open(conf, &schema, &self, &err), 0);
	setrlimit(RLIMIT_FSIZE, &small);
	int64_t k = 0;
	enum iog_step r;
	do {
		make_row(&w, &schema, k++, 2);
		r = sink->write(self, &w.r, &err);
	} while (r == IOG_OK && k < 100);
	setrlimit(RLIMIT_FSIZE, &old);
	assert_int_equal(r, IOG_FATAL);
	assert_non_null(strstr(err.text, "full"));
	sink->close(self, &err);
	free(conf);
	size_t n;
	char *got = test_read(p, &n);
	assert_true(n > 500 && n <= 1000);
	assert_int_equal(got[n - 1], '\n');
	free(got);
	assert_int_equal(run(p, 0, 0), k - 2);
}

static void folders_are_made(void **state)
{
	(void)state;
	char path[512];
	iog_format(path, sizeof path, "%s/deep/er/t.csv", test_path("new-folder"));
	assert_int_equal(run(path, 0, 3), -1);
	assert_int_equal(run(path, 3, 3), 2);
	/* Where none can be made, it is said which and for what. */
	test_write(test_path("file"), "x", 1);
	iog_format(path, sizeof path, "%s/er/t.csv", test_path("file"));
	struct iog_err err = { "" };
	void *conf = TEST_SINK_CONF(sink, "path", path), *self;
	assert_int_equal(sink->open(conf, &schema, &self, &err), -ENOTDIR);
	assert_non_null(strstr(err.text, "cannot make folder"));
	assert_non_null(strstr(err.text, path));
	free(conf);
}

/* Two sinks on one file: the second is refused before it touches anything, and gets the file when the first is done. */
static void one_sink_for_a_file(void **state)
{
	(void)state;
	const char *p = test_path("alone.csv");
	run(p, 0, 3);
	size_t n, m;
	char *before = test_read(p, &n);
	static const char *const how[] = { "append", "truncate" };
	void *conf = TEST_SINK_CONF(sink, "path", p), *self, *self2;
	struct iog_err err = { "" };
	assert_int_equal(sink->open(conf, &schema, &self, &err), 0);
	for (unsigned i = 0; i < 2; i++) {
		void *second = TEST_SINK_CONF(sink, "path", p, "on_restart", how[i]);
		assert_int_equal(sink->open(second, &schema, &self2, &err), -EBUSY);
		assert_non_null(strstr(err.text, "another sink or program is writing "));
		assert_non_null(strstr(err.text, "alone.csv; give each its own"));
		free(second);
	}
	char *after = test_read(p, &m);
	assert_int_equal(n, m);
	assert_memory_equal(before, after, n);
	assert_int_equal(sink->close(self, &err), 0);
	assert_int_equal(run(p, 3, 4), 2);
	free(before);
	free(after);
	free(conf);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(csv_text), cmocka_unit_test(json_text), cmocka_unit_test(torn_anywhere),
		cmocka_unit_test(zeros_behind), cmocka_unit_test(foreign_files), cmocka_unit_test(refusals), cmocka_unit_test(full_disk),
		cmocka_unit_test(folders_are_made), cmocka_unit_test(one_sink_for_a_file) };
	return cmocka_run_group_tests_name("table", tests, setup, NULL);
}
