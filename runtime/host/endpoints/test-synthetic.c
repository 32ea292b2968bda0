/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of the synthetic source: same records in every run, promises of its parameters, pacing and waking; and of the null sink behind it. */
#include "runtime/host/endpoints/endpoint-test.h"
#include "runtime/host/endpoints/endpoint-util.h"
#include "runtime/host/endpoints/null.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static uint64_t hash_record(const struct iog_record *r)
{
	const struct iog_sink *null = test_sink("null");
	struct iog_err err;
	void *conf = TEST_SINK_CONF(null, "touch", "true"), *self;
	assert_int_equal(null->open(conf, r->schema, &self, &err), 0);
	assert_int_equal(null->write(self, r, &err), IOG_OK);
	uint64_t sum = iog_null_seen(self)->sum;
	null->close(self, &err);
	free(conf);
	return sum;
}

static void same_again(void **state)
{
	(void)state;
	static const char *const modes[] = { "particles", "field", "image" };
	const struct iog_source *s = test_source("synthetic");
	for (unsigned m = 0; m < 3; m++) {
		uint64_t sum[2][4];
		for (unsigned run = 0; run < 2; run++) {
			struct test_feed f;
			assert_int_equal(
				test_feed_open(&f, s,
					TEST_SOURCE_CONF(s, "mode", modes[m], "atoms", "100", "nan", "0.1", "steps", "4", "every", "5")),
				0);
			for (int k = 0; k < 4; k++) {
				assert_int_equal(test_feed_next(&f, 0), IOG_OK);
				assert_int_equal(f.out.rec.step, 5 * k);
				assert_true(f.out.rec.id.seq == iog_seq_of_step(5 * k));
				sum[run][k] = hash_record(&f.out.rec);
			}
			assert_int_equal(test_feed_next(&f, 0), IOG_FATAL);
			assert_string_equal(f.err.text, "");
			test_feed_close(&f);
		}
		assert_memory_equal(sum[0], sum[1], sizeof sum[0]);
		assert_true(sum[0][0] != sum[0][1]);
	}
}

static void particles_in_the_box(void **state)
{
	(void)state;
	const struct iog_source *s = test_source("synthetic");
	struct test_feed f;
	assert_int_equal(test_feed_open(&f, s, TEST_SOURCE_CONF(s, "atoms", "500", "box", "{3,4,5}", "types", "3", "motion", "7.5")), 0);
	assert_int_equal(f.schema.dim[iog_schema_dim(&f.schema, "atom")].max, 500);
	for (int k = 0; k < 20; k++) {
		const uint8_t *p, *t;
		struct iog_box box;
		assert_int_equal(test_feed_next(&f, 0), IOG_OK);
		assert_true(iog_record_whole(&f.out.rec, (unsigned)iog_schema_var(&f.schema, "position"), &p));
		assert_true(iog_record_whole(&f.out.rec, (unsigned)iog_schema_var(&f.schema, "type"), &t));
		assert_true(iog_record_box(&f.out.rec, &box));
		assert_true(box.edge[2][2] == 5);
		unsigned types = 0;
		for (int i = 0; i < 500; i++) {
			float x[3];
			int32_t type;
			memcpy(x, p + 12 * i, 12);
			memcpy(&type, t + 4 * i, 4);
			assert_true(x[0] >= 0 && x[0] < 3 && x[1] >= 0 && x[1] < 4 && x[2] >= 0 && x[2] < 5);
			assert_in_range(type, 1, 3);
			types |= 1u << type;
		}
		assert_int_equal(types, 14);
	}
	test_feed_close(&f);
}

static void varying_counts(void **state)
{
	(void)state;
	const struct iog_source *s = test_source("synthetic");
	struct test_feed f;
	assert_int_equal(test_feed_open(&f, s, TEST_SOURCE_CONF(s, "atoms", "400", "varying", "true")), 0);
	int atom = iog_schema_dim(&f.schema, "atom");
	int64_t least = 400, most = 0;
	for (int k = 0; k < 50; k++) {
		const uint8_t *p;
		assert_int_equal(test_feed_next(&f, 0), IOG_OK);
		int64_t n = f.out.rec.axis[atom].extent, id = 0, last = 0;
		assert_in_range(n, 200, 400);
		least = IOG_MIN(least, n), most = IOG_MAX(most, n);
		assert_true(iog_record_whole(&f.out.rec, (unsigned)iog_schema_var(&f.schema, "id"), &p));
		for (int64_t i = 0; i < n; i++, last = id) {
			memcpy(&id, p + 8 * i, 8);
			assert_true(id > last && id <= 400);
		}
	}
	assert_true(least < most);
	test_feed_close(&f);
}

static void none_and_one(void **state)
{
	(void)state;
	const struct iog_source *s = test_source("synthetic");
	static const char *const counts[] = { "0", "1" };
	for (unsigned i = 0; i < 2; i++) {
		struct test_feed f;
		assert_int_equal(test_feed_open(&f, s, TEST_SOURCE_CONF(s, "atoms", counts[i], "varying", "true", "nan", "1")), 0);
		assert_int_equal(test_feed_next(&f, 0), IOG_OK);
		test_feed_close(&f);
	}
}

/* Fractions of what is no number, in both modes; NaN and infinities do not share values. */
static void not_numbers(void **state)
{
	(void)state;
	const struct iog_source *s = test_source("synthetic");
	for (unsigned mode = 0; mode < 2; mode++) {
		struct test_feed f;
		assert_int_equal(test_feed_open(&f, s,
					 mode ? TEST_SOURCE_CONF(s, "mode", "field", "nan", "0.25", "inf", "0.5")
					      : TEST_SOURCE_CONF(s, "atoms", "20000", "nan", "0.25", "inf", "0.5")),
			0);
		assert_int_equal(test_feed_next(&f, 0), IOG_OK);
		int v = iog_schema_var(&f.schema, mode ? "field" : "position");
		const struct iog_block *b = f.out.rec.var[v].block;
		unsigned n[4] = { 0 }, all = 0;
		for (int64_t i = 0; i < b->count[0] * (mode ? b->count[1] * b->count[2] : 1); i++, all++) {
			double x = iog_load(b->data + i * (mode ? 8 : b->stride[0]), f.schema.var[v].dtype);
			n[isnan(x) ? 0 : isinf(x) ? x > 0 ? 1 : 2 : 3]++;
		}
		for (unsigned k = 0; k < 4; k++)
			assert_true(n[k] > all / 5 && n[k] < all / 3);
		test_feed_close(&f);
	}
}

static void restarts(void **state)
{
	(void)state;
	const struct iog_source *s = test_source("synthetic");
	struct test_feed f;
	assert_int_equal(test_feed_open(&f, s, TEST_SOURCE_CONF(s, "atoms", "3", "restart", "2", "steps", "5")), 0);
	f.out.rec.id.epoch = 7;
	const int step[] = { 0, 1, 0, 1, 0 };
	for (unsigned k = 0; k < 5; k++) {
		assert_int_equal(test_feed_next(&f, 0), IOG_OK);
		assert_int_equal(f.out.rec.step, step[k]);
		assert_int_equal(f.out.rec.id.epoch, 7 + k / 2);
	}
	test_feed_close(&f);
}

static void bad_parameters(void **state)
{
	(void)state;
	const struct iog_source *s = test_source("synthetic");
	const char *const bad[][4] = { { "box", "{1,2}", NULL }, { "box", "{0}", NULL }, { "mode", "field", "shape", "{1}" },
		{ "mode", "image", "shape", "{1,2,3}" } };
	const char *const word[] = { "box", "box", "shape", "shape" };
	for (unsigned i = 0; i < IOG_COUNT(bad); i++) {
		struct iog_schema schema;
		struct iog_err err = { "" };
		const char *const pairs[] = { bad[i][0], bad[i][1], bad[i][2], bad[i][3], NULL };
		void *conf = test_conf(s->params, s->conf_size, pairs);
		assert_int_equal(s->describe(conf, &schema, &err), -EINVAL);
		assert_non_null(strstr(err.text, word[i]));
		free(conf);
	}
}

static void *wake_soon(void *p)
{
	struct test_feed *f = p;
	usleep(30000);
	f->source->wake(f->self);
	return NULL;
}

static void pace_and_wake(void **state)
{
	(void)state;
	const struct iog_source *s = test_source("synthetic");
	struct test_feed f;
	pthread_t t;
	assert_int_equal(test_feed_open(&f, s, TEST_SOURCE_CONF(s, "atoms", "3", "rate", "100")), 0);
	uint64_t from = iog_endpoint_clock();
	for (int k = 0; k < 11; k++)
		assert_int_equal(test_feed_next(&f, TEST_SECOND), IOG_OK);
	assert_true(iog_endpoint_clock() - from >= 99000000);
	assert_int_equal(test_feed_next(&f, 1000), IOG_HOLD);
	test_feed_close(&f);

	assert_int_equal(test_feed_open(&f, s, TEST_SOURCE_CONF(s, "atoms", "3", "rate", "0.01")), 0);
	assert_int_equal(test_feed_next(&f, TEST_SECOND), IOG_OK);
	assert_int_equal(pthread_create(&t, NULL, wake_soon, &f), 0);
	from = iog_endpoint_clock();
	assert_int_equal(test_feed_next(&f, 60 * TEST_SECOND), IOG_HOLD);
	assert_true(iog_endpoint_clock() - from < 20 * TEST_SECOND);
	pthread_join(t, NULL);
	test_feed_close(&f);
}

static void null_reads_everything(void **state)
{
	(void)state;
	/* A view with a gap and a negative stride: the hash must see exactly its elements. */
	struct iog_schema schema;
	struct iog_err err;
	assert_int_equal(iog_schema_parse(&schema, "a: u8[row<=4, col<=4]", &err), 0);
	uint8_t full[16], other[16];
	for (uint8_t i = 0; i < 16; i++)
		full[i] = i, other[i] = i;
	struct iog_block b = { .data = full + 12, .count = { 2, 3 }, .stride = { -8, 1 } };
	struct iog_record r = { .schema = &schema, .axis = { { 2, 0, 1 }, { 3, 0, 1 } }, .var = { { &b, 1, 0 } } };
	uint64_t sum = hash_record(&r);
	other[15] = 99; /* not an element of the view */
	b.data = other + 12;
	assert_true(hash_record(&r) == sum);
	other[6] = 99; /* one of them */
	assert_true(hash_record(&r) != sum);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(same_again), cmocka_unit_test(particles_in_the_box),
		cmocka_unit_test(varying_counts), cmocka_unit_test(none_and_one), cmocka_unit_test(not_numbers), cmocka_unit_test(restarts),
		cmocka_unit_test(bad_parameters), cmocka_unit_test(pace_and_wake), cmocka_unit_test(null_reads_everything) };
	return cmocka_run_group_tests_name("synthetic", tests, NULL, NULL);
}
