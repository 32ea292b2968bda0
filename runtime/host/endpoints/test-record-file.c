/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of the native record file, sink and source: what goes in comes out, whatever tore the file, and nothing damaged comes out at all. */
#include "runtime/host/endpoints/endpoint-test.h"
#include "runtime/host/endpoints/null.h"
#include "runtime/host/endpoints/record-file.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>

static const struct iog_sink *sink;
static const struct iog_source *source, *maker;

static int setup(void **state)
{
	(void)state;
	sink = test_sink("record");
	source = test_source("record");
	maker = test_source("synthetic");
	return 0;
}

static uint64_t hash_record(const struct iog_record *r)
{
	const struct iog_sink *null = test_sink("null");
	struct iog_err err;
	void *conf = TEST_SINK_CONF(null, "touch", "true"), *self;
	if (null->open(conf, r->schema, &self, &err) < 0 || null->write(self, r, &err) != IOG_OK)
		abort();
	uint64_t sum = iog_null_seen(self)->sum;
	null->close(self, &err);
	free(conf);
	return sum;
}

struct written {
	uint64_t sum[64];
	int64_t step[64];
	unsigned n;
};

/* Stores `skip`..`n` of a synthetic stream; returns the seq recover named, 0 for none. */
static uint64_t store(const char *path, unsigned skip, unsigned n, const char *varying, unsigned flush, struct written *w)
{
	struct test_feed f;
	struct iog_err err = { "" };
	struct iog_id last;
	bool any;
	void *conf = TEST_SINK_CONF(sink, "path", path), *self;
	assert_int_equal(test_feed_open(&f, maker, TEST_SOURCE_CONF(maker, "atoms", "37", "every", "10", "varying", varying)), 0);
	if (sink->open(conf, &f.schema, &self, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		abort();
	}
	assert_int_equal(sink->recover(self, &last, &any, &err), 0);
	w->n = n;
	for (unsigned k = 0; k < n; k++) {
		assert_int_equal(test_feed_next(&f, 0), IOG_OK);
		w->sum[k] = hash_record(&f.out.rec);
		w->step[k] = f.out.rec.step;
		if (k < skip)
			continue;
		assert_int_equal(sink->write(self, &f.out.rec, &err), IOG_OK);
		if (flush && k % flush == flush - 1)
			assert_int_equal(sink->flush(self, &err), IOG_OK);
	}
	assert_int_equal(sink->close(self, &err), 0);
	test_feed_close(&f);
	free(conf);
	return any ? last.seq : 0;
}

/* Reads a file and compares with what was written; returns how many records came. */
static unsigned compare(const char *path, const struct written *w)
{
	struct test_feed f;
	unsigned k = 0;
	enum iog_step r;
	if (test_feed_open(&f, source, TEST_SOURCE_CONF(source, "path", path)) < 0) {
		fprintf(stderr, "%s\n", f.err.text);
		abort();
	}
	while ((r = test_feed_next(&f, 0)) == IOG_OK) {
		assert_true(k < w->n);
		assert_int_equal(f.out.rec.step, w->step[k]);
		assert_true(hash_record(&f.out.rec) == w->sum[k]);
		k++;
	}
	assert_int_equal(r, IOG_FATAL);
	assert_string_equal(f.err.text, "");
	test_feed_close(&f);
	return k;
}

static void round_trip(void **state)
{
	(void)state;
	static const char *const varying[] = { "false", "true" };
	for (unsigned i = 0; i < 2; i++) {
		struct written w;
		const char *p = test_path(i ? "varying.iogr" : "plain.iogr");
		assert_true(store(p, 0, 9, varying[i], 0, &w) == 0);
		assert_int_equal(compare(p, &w), 9);
		/* Another run goes on where the first one ended. */
		assert_true(store(p, 9, 12, varying[i], 3, &w) == iog_seq_of_step(80));
		assert_int_equal(compare(p, &w), 12);
	}
}

/* Statics are stored once: the second record is smaller by their size. */
static void statics_once(void **state)
{
	(void)state;
	struct written w;
	size_t n[4];
	for (unsigned k = 1; k < 4; k++) {
		const char *p = test_path("statics.iogr");
		unlink(p);
		store(p, 0, k, "false", 0, &w);
		free(test_read(p, &n[k]));
	}
	assert_true(n[3] - n[2] + 37 * 12 <= n[2] - n[1] + 37 * 12);
	struct written v;
	const char *p = test_path("statics.iogr");
	size_t m;
	unlink(p);
	store(p, 0, 0, "false", 0, &v);
	free(test_read(p, &m));
	assert_true(n[1] - m >= n[2] - n[1] + 37 * 12);
}

static void torn_anywhere(void **state)
{
	(void)state;
	struct written w, again;
	size_t n, head;
	const char *p = test_path("torn.iogr");
	store(p, 0, 0, "true", 0, &w);
	free(test_read(p, &head));
	store(p, 0, 5, "true", 2, &w);
	char *whole = test_read(p, &n);
	unsigned before = 0;
	for (size_t cut = head; cut <= n; cut += cut + 300 < n ? 97 : 1) {
		test_write(p, whole, cut);
		unsigned have = compare(p, &w);
		assert_true(have >= before && have <= 5);
		before = have;
		uint64_t last = store(p, have, 5, "true", 2, &again);
		assert_true(last == (have ? iog_seq_of_step(10 * (have - 1)) : 0));
		assert_int_equal(compare(p, &w), 5);
	}
	assert_int_equal(before, 5);
	/* The tail of a file whose last blocks never reached the disk reads as zeros. */
	for (size_t k = n - 500; k < n; k++)
		whole[k] = 0;
	test_write(p, whole, n);
	unsigned have = (unsigned)((store(p, 5, 5, "true", 2, &again) ^ 1ull << 63) / 10 + 1);
	assert_in_range(have, 3, 4);
	assert_int_equal(compare(p, &w), have);
	free(whole);
}

/* One flipped byte anywhere: no record that differs comes out. */
static void damage(void **state)
{
	(void)state;
	struct written w;
	size_t n;
	const char *p = test_path("damage.iogr");
	store(p, 0, 3, "false", 0, &w);
	char *whole = test_read(p, &n);
	for (size_t at = 0; at < n; at += 41) {
		struct test_feed f;
		whole[at] = (char)(whole[at] ^ 0x10);
		test_write(p, whole, n);
		whole[at] = (char)(whole[at] ^ 0x10);
		int r = test_feed_open(&f, source, TEST_SOURCE_CONF(source, "path", p));
		for (unsigned k = 0; r == 0 && k < 10; k++) {
			enum iog_step step = test_feed_next(&f, 0);
			if (step == IOG_FATAL)
				break;
			if (step == IOG_OK) {
				unsigned which = (unsigned)(f.out.rec.step / 10);
				assert_true(which < 3 && hash_record(&f.out.rec) == w.sum[which]);
			} else {
				assert_int_equal(step, IOG_ELIDE);
				assert_true(f.err.text[0] != 0);
			}
		}
		if (r < 0)
			assert_non_null(strstr(f.err.text, "damage.iogr"));
		test_feed_close(&f);
	}
	free(whole);
}

static void epochs_rise(void **state)
{
	(void)state;
	struct test_feed f;
	struct iog_err err = { "" };
	const char *p = test_path("epochs.iogr");
	void *conf = TEST_SINK_CONF(sink, "path", p), *self;
	assert_int_equal(test_feed_open(&f, maker, TEST_SOURCE_CONF(maker, "atoms", "3", "restart", "2", "steps", "5")), 0);
	assert_int_equal(sink->open(conf, &f.schema, &self, &err), 0);
	while (test_feed_next(&f, 0) == IOG_OK)
		assert_int_equal(sink->write(self, &f.out.rec, &err), IOG_OK);
	sink->close(self, &err);
	free(conf);
	test_feed_close(&f);
	assert_int_equal(test_feed_open(&f, source, TEST_SOURCE_CONF(source, "path", p)), 0);
	for (unsigned k = 0; k < 5; k++) {
		assert_int_equal(test_feed_next(&f, 0), IOG_OK);
		assert_int_equal(f.out.rec.id.epoch, k / 2);
		assert_int_equal(f.out.rec.step, k % 2);
	}
	assert_int_equal(test_feed_next(&f, 0), IOG_FATAL);
	test_feed_close(&f);
}

static void foreign_and_other(void **state)
{
	(void)state;
	static const char *const content[] = { "x",
		"my precious notes, which are longer than the head of a record file would be, I think" };
	struct iog_schema schema;
	struct iog_err err = { "" };
	void *self;
	assert_int_equal(iog_schema_parse(&schema, "a: f64", &err), 0);
	for (unsigned i = 0; i < 2; i++) {
		const char *p = test_path("foreign.iogr");
		test_write(p, content[i], strlen(content[i]));
		void *conf = TEST_SINK_CONF(sink, "path", p);
		assert_true(sink->open(conf, &schema, &self, &err) < 0);
		free(conf);
		size_t n;
		char *got = test_read(p, &n);
		assert_string_equal(got, content[i]);
		free(got);
	}
	struct written w;
	const char *p = test_path("other.iogr");
	store(p, 0, 2, "false", 0, &w);
	void *conf = TEST_SINK_CONF(sink, "path", p);
	assert_int_equal(sink->open(conf, &schema, &self, &err), -EEXIST);
	assert_non_null(strstr(err.text, "schema"));
	free(conf);
	assert_int_equal(compare(p, &w), 2);
}

static void full_disk(void **state)
{
	(void)state;
	struct test_feed f;
	struct written w = { .n = 0 };
	struct iog_err err = { "" };
	const char *p = test_path("full.iogr");
	void *conf = TEST_SINK_CONF(sink, "path", p), *self;
	struct rlimit old, small;
	getrlimit(RLIMIT_FSIZE, &old);
	small = old;
	small.rlim_cur = 40000;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(test_feed_open(&f, maker, TEST_SOURCE_CONF(maker, "atoms", "100")), 0);
	assert_int_equal(sink->open(conf, &f.schema, &self, &err), 0);
	setrlimit(RLIMIT_FSIZE, &small);
	enum iog_step r;
	do {
		assert_int_equal(test_feed_next(&f, 0), IOG_OK);
		w.sum[w.n] = hash_record(&f.out.rec);
		w.step[w.n] = f.out.rec.step;
		r = sink->write(self, &f.out.rec, &err);
	} while (r == IOG_OK && ++w.n < 64);
	setrlimit(RLIMIT_FSIZE, &old);
	assert_int_equal(r, IOG_FATAL);
	assert_non_null(strstr(err.text, "full"));
	sink->close(self, &err);
	free(conf);
	test_feed_close(&f);
	assert_true(w.n > 2);
	assert_int_equal(compare(p, &w), w.n);
}

/* kill -9 at a random moment: the records that were acknowledged are there, in order, and the next run goes on. */
static void killed(void **state)
{
	(void)state;
	static struct written w;
	unsigned seen = 0;
	const char *all = test_path("all.iogr");
	store(all, 0, 60, "true", 0, &w);
	for (unsigned round = 0; round < 15; round++) {
		const char *p = test_path("killed.iogr");
		int ack[2];
		unlink(p);
		assert_int_equal(pipe(ack), 0);
		fflush(NULL);
		pid_t pid = fork();
		if (pid == 0) {
			struct test_feed f;
			struct iog_err err;
			void *conf = TEST_SINK_CONF(sink, "path", p), *self;
			if (test_feed_open(&f, maker, TEST_SOURCE_CONF(maker, "atoms", "37", "every", "10", "varying", "true")) < 0 ||
				sink->open(conf, &f.schema, &self, &err) < 0)
				_exit(1);
			for (unsigned k = 0; k < 60; k++) {
				uint8_t b = (uint8_t)(k + 1);
				if (test_feed_next(&f, 0) != IOG_OK || sink->write(self, &f.out.rec, &err) != IOG_OK)
					_exit(1);
				if (k % 3 == 2 && (sink->flush(self, &err) != IOG_OK || write(ack[1], &b, 1) != 1))
					_exit(1);
			}
			for (;;)
				pause();
		}
		close(ack[1]);
		/* The kill comes while it writes on: after a number of acknowledgements, plus a little. */
		uint8_t b = 0;
		for (unsigned k = 0; k <= round; k++)
			assert_int_equal(read(ack[0], &b, 1), 1);
		usleep(37 * round);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		while (read(ack[0], &seen, 1) == 1)
			b = (uint8_t)seen;
		close(ack[0]);
		unsigned have = compare(p, &w);
		assert_true(have >= b);
		struct written again;
		assert_true(store(p, have, 60, "true", 0, &again) == iog_seq_of_step(10 * (have - 1)));
		assert_int_equal(compare(p, &w), 60);
	}
}

/* Two sinks on one file: the second is refused before it touches anything. A source may read what is being written. */
static void one_sink_for_a_file(void **state)
{
	(void)state;
	struct written w;
	struct test_feed f;
	struct iog_err err = { "" };
	const char *p = test_path("alone.iogr");
	store(p, 0, 5, "true", 0, &w);
	assert_int_equal(test_feed_open(&f, source, TEST_SOURCE_CONF(source, "path", p)), 0);
	void *conf = TEST_SINK_CONF(sink, "path", p), *anew = TEST_SINK_CONF(sink, "path", p, "on_restart", "truncate"), *self, *self2;
	assert_int_equal(sink->open(conf, &f.schema, &self, &err), 0);
	assert_int_equal(sink->open(conf, &f.schema, &self2, &err), -EBUSY);
	assert_int_equal(sink->open(anew, &f.schema, &self2, &err), -EBUSY);
	assert_non_null(strstr(err.text, "another sink or program is writing "));
	assert_non_null(strstr(err.text, "alone.iogr; give each its own"));
	assert_int_equal(compare(p, &w), 5);
	assert_int_equal(sink->close(self, &err), 0);
	assert_int_equal(sink->open(anew, &f.schema, &self, &err), 0);
	assert_int_equal(compare(p, &w), 0);
	assert_int_equal(sink->close(self, &err), 0);
	free(conf);
	free(anew);
	test_feed_close(&f);
}

/*
 * Offsets beyond 4 GiB: frames of 64 MiB zeros, of which only the heads take space, and behind them a sink goes on, is opened again, and a source
 * reads all of it. The file is in memory, where reading what is not there costs least.
 */
static void beyond_4_GiB(void **state)
{
	(void)state;
	enum { BIG = 64 << 20, SMALL = 10, HEAD = 4096 };
	struct iog_err err = { "" };
	struct iog_schema schema;
	struct stat st;
	struct iog_id last;
	bool any;
	void *self;
	assert_int_equal(iog_schema_parse(&schema, "v: u8[n<=67108864]; k: i64", &err), 0);
	char p[64];
	int fd = memfd_create("large.iogr", MFD_CLOEXEC);
	assert_true(fd >= 0);
	snprintf(p, sizeof p, "/proc/self/fd/%d", fd);
	void *conf = TEST_SINK_CONF(sink, "path", p);
	assert_int_equal(sink->open(conf, &schema, &self, &err), 0);
	assert_int_equal(sink->close(self, &err), 0);
	assert_int_equal(stat(p, &st), 0);

	int64_t k = -7;
	uint8_t *zeros = calloc(1, BIG), *packed = aligned_alloc(IOG_ALIGN, BIG + HEAD);
	assert_true(zeros && packed);
	struct iog_block b[2] = { { .data = zeros, .count = { BIG }, .stride = { 1 } }, { .data = (uint8_t *)&k } };
	struct iog_record r = { .schema = &schema,
		.id = { .epoch = 1, .seq = iog_seq_of_step(7) },
		.step = 7,
		.writers = 1,
		.axis = { { BIG, 0, 1 } },
		.var = { { &b[0], 1, 0 }, { &b[1], 1, 0 } } };
	int64_t n = iog_wire_pack(packed, BIG + HEAD, &r);
	assert_true(n > BIG);
	struct iog_rf_frame f = { .magic = "RECD", .epoch = 1, .length = (uint64_t)n, .seq = r.id.seq, .flags = 1 };
	f.data_sum = iog_hash(packed, f.length, 0);
	off_t at = st.st_size;
	unsigned frames = 0;
	for (; at <= 1ll << 32; at += (off_t)sizeof f + n, frames++) {
		f.durable = (uint64_t)at;
		f.sum = 0;
		f.sum = iog_hash(&f, sizeof f, 0);
		/* The end of the record holds k. */
		assert_int_equal(pwrite(fd, &f, sizeof f, at), sizeof f);
		assert_int_equal(pwrite(fd, packed, HEAD, at + (off_t)sizeof f), HEAD);
		assert_int_equal(pwrite(fd, packed + n - 64, 64, at + (off_t)sizeof f + n - 64), 64);
	}
	free(packed);

	/* Twice a sink finds the end and goes on. */
	r.axis[0].extent = b[0].count[0] = SMALL;
	for (unsigned part = 0; part < 2; part++) {
		if (sink->open(conf, &schema, &self, &err) < 0)
			fail_msg("%s", err.text);
		assert_int_equal(sink->recover(self, &last, &any, &err), 0);
		assert_true(any && last.seq == iog_seq_of_step(part ? 11 : 7));
		for (unsigned i = 0; i < 2; i++) {
			r.step = 10 + 2 * part + i;
			r.id.seq = iog_seq_of_step(r.step);
			k = 100 * r.step;
			assert_int_equal(sink->write(self, &r, &err), IOG_OK);
		}
		assert_int_equal(sink->flush(self, &err), IOG_OK);
		assert_int_equal(sink->close(self, &err), 0);
	}
	assert_int_equal(stat(p, &st), 0);
	assert_true(st.st_size > at && st.st_size < at + 4096 && at > 1ll << 32);

	struct test_feed feed;
	assert_int_equal(test_feed_open(&feed, source, TEST_SOURCE_CONF(source, "path", p)), 0);
	for (unsigned i = 0; i < frames + 4; i++) {
		if (test_feed_next(&feed, 0) != IOG_OK)
			fail_msg("record %u: %s", i, feed.err.text);
		const struct iog_record *got = &feed.out.rec;
		int64_t value;
		memcpy(&value, got->var[1].block->data, sizeof value);
		assert_int_equal(got->step, i < frames ? 7 : 10 + i - frames);
		assert_int_equal(got->axis[0].extent, i < frames ? BIG : SMALL);
		assert_int_equal(value, i < frames ? -7 : 100 * got->step);
	}
	assert_int_equal(test_feed_next(&feed, 0), IOG_FATAL);
	test_feed_close(&feed);
	close(fd);
	free(zeros);
	free(conf);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(round_trip), cmocka_unit_test(statics_once), cmocka_unit_test(torn_anywhere),
		cmocka_unit_test(damage), cmocka_unit_test(epochs_rise), cmocka_unit_test(foreign_and_other), cmocka_unit_test(full_disk),
		cmocka_unit_test(killed), cmocka_unit_test(one_sink_for_a_file), cmocka_unit_test(beyond_4_GiB) };
	return cmocka_run_group_tests_name("record file", tests, setup, NULL);
}
