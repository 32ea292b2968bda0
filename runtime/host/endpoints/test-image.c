/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of the image sink: names, contents, the link to the newest file, and what it refuses. */
#include "runtime/host/endpoints/endpoint-test.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <cmocka.h>

static const struct iog_sink *sink;

static int setup(void **state)
{
	(void)state;
	sink = test_sink("image");
	return 0;
}

static void encoded(struct iog_schema *s, uint8_t codec)
{
	struct iog_err err;
	if (iog_schema_parse(s, "count: i64; image: u8[y<=9, x<=9, rgb]", &err) < 0)
		abort();
	s->var[1].codec[0] = codec, s->var[1].n_codecs = 1;
	if (iog_schema_seal(s, &err) < 0)
		abort();
}

static void bytes_as_they_are(void **state)
{
	(void)state;
	struct iog_schema s;
	struct iog_err err = { "" };
	encoded(&s, IOG_CODEC_JPEG);
	char path[256], name[256], latest[256], target[256];
	iog_strset(path, sizeof path, test_path("deep/er/frame-%04d.jpg"));
	iog_strset(latest, sizeof latest, test_path("deep/er/latest.jpg"));
	void *conf = TEST_SINK_CONF(sink, "path", path, "latest", latest), *self;
	assert_int_equal(sink->accept(conf, &s, &err), 0);
	assert_int_equal(sink->open(conf, &s, &self, &err), 0);
	int64_t count = 1;
	for (int k = 0; k < 3; k++) {
		uint8_t data[10] = "\xff\xd8 bytes ";
		data[8] = (uint8_t)k;
		struct iog_block b[2] = { { .data = (const uint8_t *)&count }, { .data = data, .bytes = 9, .count = { 9, 9, 3 } } };
		struct iog_record r = { .schema = &s,
			.step = 100 * k,
			.axis = { { 9, 0, 1 }, { 9, 0, 1 }, { 3, 0, 1 } },
			.var = { { b, 1, 0 }, { b + 1, 1, 0 } } };
		assert_int_equal(sink->write(self, &r, &err), IOG_OK);
		snprintf(name, sizeof name, "%.*s%04d.jpg", (int)(strchr(path, '%') - path), path, k);
		size_t n;
		char *got = test_read(name, &n);
		assert_int_equal(n, 9);
		assert_memory_equal(got, data, 9);
		free(got);
		got = test_read(latest, &n);
		assert_memory_equal(got, data, 9);
		free(got);
	}
	ssize_t n = readlink(latest, target, sizeof target - 1);
	assert_true(n > 0);
	target[n] = 0;
	assert_string_equal(target, "frame-0002.jpg");
	strcat(name, ".part");
	assert_int_equal(access(name, F_OK), -1);
	assert_int_equal(sink->flush(self, &err), IOG_OK);
	sink->close(self, &err);
	free(conf);
}

static void raw_as_ppm(void **state)
{
	(void)state;
	struct iog_schema s;
	struct iog_err err = { "" };
	assert_int_equal(iog_schema_parse(&s, "image: u8[y<=4, x<=4, rgb]", &err), 0);
	uint8_t pixel[4][4][3];
	for (unsigned i = 0; i < 48; i++)
		(&pixel[0][0][0])[i] = (uint8_t)(i + 60);
	/* A crop of 2 rows by 3 columns: a view with a gap. */
	struct iog_block b = { .data = &pixel[1][1][0], .count = { 2, 3, 3 }, .stride = { 12, 3, 1 } };
	struct iog_record r = { .schema = &s, .step = -7, .axis = { { 2, 0, 1 }, { 3, 0, 1 }, { 3, 0, 1 } }, .var = { { &b, 1, 0 } } };
	char path[256];
	iog_strset(path, sizeof path, test_path("f%03d.ppm"));
	void *conf = TEST_SINK_CONF(sink, "path", path, "number", "step"), *self;
	assert_int_equal(sink->open(conf, &s, &self, &err), 0);
	assert_int_equal(sink->write(self, &r, &err), IOG_OK);
	sink->close(self, &err);
	free(conf);
	size_t n;
	char *got = test_read(test_path("f-07.ppm"), &n);
	assert_int_equal(n, 11 + 18);
	assert_memory_equal(got, "P6\n3 2\n255\n", 11);
	assert_memory_equal(got + 11, pixel[1][1], 9);
	assert_memory_equal(got + 20, pixel[2][1], 9);
	free(got);
}

static void refusals(void **state)
{
	(void)state;
	static const char *const pattern[] = { "frame.jpg", "%d-%d.jpg", "%s.jpg", "%6d.jpg", "%099d.jpg", "%", "%n%d.jpg", "%d%%.jpg",
		"%05d.png", "%05d" };
	struct iog_schema s;
	struct iog_err err = { "" };
	encoded(&s, IOG_CODEC_JPEG);
	for (unsigned i = 0; i < IOG_COUNT(pattern); i++) {
		void *conf = TEST_SINK_CONF(sink, "path", pattern[i]);
		err.text[0] = 0;
		assert_int_equal(sink->accept(conf, &s, &err), -EINVAL);
		assert_non_null(strstr(err.text, "\"path\""));
		free(conf);
	}
	const struct {
		const char *schema, *variable, *word;
	} bad[] = { { "a: f32[atom]", "", "no image" }, { "a: f32[atom]", "b", "no variable b" }, { "a: f32[atom]", "a", "variable a" },
		{ "a: u8[y, x, rgb]; b: u8[y, x, rgb]", "", "several images (a, b)" } };
	for (unsigned i = 0; i < IOG_COUNT(bad); i++) {
		void *conf = TEST_SINK_CONF(sink, "path", "%d.ppm", "variable", bad[i].variable);
		assert_int_equal(iog_schema_parse(&s, bad[i].schema, &err), 0);
		assert_int_equal(sink->accept(conf, &s, &err), -EINVAL);
		assert_non_null(strstr(err.text, bad[i].word));
		free(conf);
	}
}

static void full_disk(void **state)
{
	(void)state;
	struct iog_schema s;
	struct iog_err err = { "" };
	static uint8_t data[5000];
	encoded(&s, IOG_CODEC_PNG);
	struct iog_block b = { .data = data, .bytes = sizeof data, .count = { 9, 9, 3 } };
	struct iog_record r = { .schema = &s, .axis = { { 9, 0, 1 }, { 9, 0, 1 }, { 3, 0, 1 } }, .var = { { NULL, 0, 0 }, { &b, 1, 0 } } };
	char path[256];
	iog_strset(path, sizeof path, test_path("full%d.png"));
	void *conf = TEST_SINK_CONF(sink, "path", path), *self;
	struct rlimit old, small;
	getrlimit(RLIMIT_FSIZE, &old);
	small = old;
	small.rlim_cur = 3000;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(sink->open(conf, &s, &self, &err), 0);
	setrlimit(RLIMIT_FSIZE, &small);
	enum iog_step step = sink->write(self, &r, &err);
	setrlimit(RLIMIT_FSIZE, &old);
	assert_int_equal(step, IOG_FATAL);
	assert_non_null(strstr(err.text, "full"));
	assert_int_equal(access(test_path("full0.png"), F_OK), -1);
	assert_int_equal(access(test_path("full0.png.part"), F_OK), -1);
	sink->close(self, &err);
	free(conf);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(bytes_as_they_are), cmocka_unit_test(raw_as_ppm), cmocka_unit_test(refusals),
		cmocka_unit_test(full_disk) };
	return cmocka_run_group_tests_name("image", tests, setup, NULL);
}
