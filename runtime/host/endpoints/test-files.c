/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of the files sink: pieces at their places, sizes, many files, and records that want to write where they may not. */
#include "runtime/host/endpoints/endpoint-test.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

static const char text[] = "path: u8[char<=1024]; size: i64; offset: i64[piece<=4096]; length: i64[piece<=4096]; data: u8[byte<=262144]";

static const struct iog_sink *sink;
static struct iog_schema schema;
static char folder[64], copies[96];
static void *conf, *self;

static int setup(void **state)
{
	struct iog_err err = { "" };
	(void)state;
	sink = test_sink("files");
	strcpy(folder, "/tmp/iog-files-XXXXXX");
	if (iog_schema_parse(&schema, text, &err) || !mkdtemp(folder))
		return -1;
	snprintf(copies, sizeof copies, "%s/a/copies", folder);
	conf = TEST_SINK_CONF(sink, "folder", copies);
	return sink->open(conf, &schema, &self, &err);
}

static int teardown(void **state)
{
	char command[96];
	(void)state;
	if (sink->close(self, NULL))
		return -1;
	free(conf);
	snprintf(command, sizeof command, "rm -r %s", folder);
	return system(command);
}

/* One record. Lengths may be wrong on purpose. */
static enum iog_step put(const char *path, int64_t size, int n, const int64_t *offset, const int64_t *length, const char *data)
{
	struct iog_err err = { "" };
	struct iog_block b[5];
	struct iog_record r = { .schema = &schema, .step = 7 };
	const void *at[5] = { path, &size, offset, length, data };
	const int64_t count[5] = { (int64_t)strlen(path), 1, n, n, data ? (int64_t)strlen(data) : 0 };
	for (unsigned i = 0; i < 5; i++) {
		b[i] = (struct iog_block){ .data = at[i], .count = { count[i] } };
		iog_block_set_dense(&b[i], schema.var[i].rank, iog_dtype_size(schema.var[i].dtype));
		r.var[i] = (struct iog_var){ .block = &b[i], .n_blocks = 1 };
	}
	enum iog_step rc = sink->write(self, &r, &err);
	assert_true((rc == IOG_OK) == !err.text[0]);
	return rc;
}
static enum iog_step put_one(const char *path, int64_t offset, const char *data)
{
	const int64_t length = (int64_t)strlen(data);
	return put(path, -1, 1, &offset, &length, data);
}

static void holds(const char *path, const char *want, size_t n)
{
	char name[256], got[256];
	snprintf(name, sizeof name, "%s/%s", copies, path);
	int fd = open(name, O_RDONLY);
	assert_true(fd >= 0);
	assert_int_equal(read(fd, got, sizeof got), n);
	assert_memory_equal(got, want, n);
	close(fd);
}

static void places(void **state)
{
	(void)state;
	assert_int_equal(put_one("sub/deep/x.bin", 4, "efgh"), IOG_OK);
	assert_int_equal(put_one("/sub//deep/./x.bin", 0, "abcd"), IOG_OK); /* an absolute path is one below the folder */
	holds("sub/deep/x.bin", "abcdefgh", 8);
	const int64_t offset[] = { 9, 0, 6 }, length[] = { 1, 2, 0 };
	assert_int_equal(put("sub/deep/x.bin", -1, 3, offset, length, "ZAB"), IOG_OK);
	holds("sub/deep/x.bin", "ABcdefgh\0Z", 10);
	assert_int_equal(put("sub/deep/x.bin", 3, 0, NULL, NULL, NULL), IOG_OK);
	holds("sub/deep/x.bin", "ABc", 3);
	assert_int_equal(put("sub/deep/x.bin", 5, 0, NULL, NULL, NULL), IOG_OK);
	holds("sub/deep/x.bin", "ABc\0\0", 5);
}

static void many(void **state) /* more than are open at once */
{
	char name[32];
	(void)state;
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < 200; i++) {
			snprintf(name, sizeof name, "f%d", i);
			assert_int_equal(put_one(name, round, round ? "b" : "a"), IOG_OK);
		}
	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof name, "f%d", i);
		holds(name, "ab", 2);
	}
}

static void outside(void **state)
{
	char link[128], target[128];
	(void)state;
	static const char *const bad[] = { "../x", "a/../../x", "..", ".", "a/", "/" };
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(put_one(bad[i], 0, "x"), IOG_FAILED);
	snprintf(target, sizeof target, "%s/target", folder);
	close(open(target, O_CREAT | O_WRONLY, 0600));
	snprintf(link, sizeof link, "%s/link", copies);
	assert_int_equal(symlink(target, link), 0);
	assert_int_equal(put_one("link", 0, "x"), IOG_FAILED);
	snprintf(link, sizeof link, "%s/away", copies);
	assert_int_equal(symlink(folder, link), 0);
	assert_int_equal(put_one("away/target", 0, "x"), IOG_FAILED);
	struct stat st;
	assert_int_equal(stat(target, &st), 0);
	assert_int_equal(st.st_size, 0);
}

static void nonsense(void **state)
{
	(void)state;
	int64_t offset = 0, length = 5;
	assert_int_equal(put("x", -1, 1, &offset, &length, "abcd"), IOG_FAILED); /* more than came */
	length = -1;
	assert_int_equal(put("x", -1, 1, &offset, &length, "abcd"), IOG_FAILED);
	length = 4, offset = -4;
	assert_int_equal(put("x", -1, 1, &offset, &length, "abcd"), IOG_FAILED);
	offset = INT64_MAX - 2;
	assert_int_equal(put("x", -1, 1, &offset, &length, "abcd"), IOG_FAILED);
	assert_int_equal(put("", -1, 0, NULL, NULL, NULL), IOG_FAILED);
	char name[1025];
	memset(name, 'n', 1024);
	name[1024] = 0;
	assert_int_equal(put_one(name, 0, "x"), IOG_FAILED);
	struct iog_err err = { "" };
	struct iog_schema other;
	assert_int_equal(iog_schema_parse(&other, "T: f64[x<=4]", &err), 0);
	assert_int_equal(sink->accept(conf, &other, &err), -EINVAL);
	assert_non_null(strstr(err.text, "\"path\""));
}

int main(void)
{
	const struct CMUnitTest t[] = {
		cmocka_unit_test_setup_teardown(places, setup, teardown),
		cmocka_unit_test_setup_teardown(many, setup, teardown),
		cmocka_unit_test_setup_teardown(outside, setup, teardown),
		cmocka_unit_test_setup_teardown(nonsense, setup, teardown),
	};
	return cmocka_run_group_tests_name("files sink", t, NULL, NULL);
}
