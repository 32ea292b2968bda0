/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Record files: the input is laid over a good file from a place it names, so that the fuzzer starts behind the checksums it cannot
 * guess; the source must read or refuse whatever that gives, and the sink must go on with it or refuse it.
 */
#include "runtime/host/endpoints/endpoint-test.h"

#include <sys/mman.h>

static char path[64];
static int fd;
static uint8_t good[1 << 16];
static size_t n_good;
static struct iog_schema schema;

/* A small file with three records, made once. */
static void make_good(void)
{
	const struct iog_source *maker = test_source("synthetic");
	const struct iog_sink *sink = test_sink("record");
	struct test_feed f;
	struct iog_err err;
	fd = memfd_create("fuzz", 0);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	void *conf = TEST_SINK_CONF(sink, "path", path), *self;
	if (test_feed_open(&f, maker, TEST_SOURCE_CONF(maker, "atoms", "4", "steps", "3")) < 0 ||
		sink->open(conf, &f.schema, &self, &err) < 0)
		abort();
	schema = f.schema;
	while (test_feed_next(&f, 0) == IOG_OK)
		if (sink->write(self, &f.out.rec, &err) != IOG_OK)
			abort();
	sink->close(self, &err);
	free(conf);
	test_feed_close(&f);
	ssize_t n = pread(fd, good, sizeof good, 0);
	if (n <= 0 || (size_t)n == sizeof good)
		abort();
	n_good = (size_t)n;
}

/* Reads all records that can be read. */
static void read_all(void)
{
	const struct iog_source *source = test_source("record");
	struct test_feed f;
	if (test_feed_open(&f, source, TEST_SOURCE_CONF(source, "path", path)) == 0)
		for (int k = 0; k < 100; k++) {
			enum iog_step r = test_feed_next(&f, 0);
			if (r == IOG_FATAL)
				break;
			uint64_t sum = 0;
			for (uint32_t i = 0; r == IOG_OK && i < f.schema.n_vars; i++)
				sum += iog_record_var_bytes(&f.out.rec, i);
			if (sum > n_good * 64)
				abort();
		}
	test_feed_close(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!n_good)
		make_good();
	if (size < 3 || size > 1 << 14)
		return 0;
	size_t at = (size_t)(data[0] | data[1] << 8) % (n_good + 1), cut = data[2] & 1 ? at + size - 3 : n_good;
	if (ftruncate(fd, 0) < 0 || pwrite(fd, good, n_good, 0) < 0 || pwrite(fd, data + 3, size - 3, (off_t)at) < 0 ||
		ftruncate(fd, (off_t)cut) < 0)
		abort();
	read_all();
	const struct iog_sink *sink = test_sink("record");
	struct iog_err err;
	struct iog_id last;
	bool any;
	void *conf = TEST_SINK_CONF(sink, "path", path), *self;
	if (sink->open(conf, &schema, &self, &err) == 0) {
		if (sink->recover(self, &last, &any, &err) < 0)
			abort();
		sink->close(self, &err);
	}
	free(conf);
	return 0;
}
