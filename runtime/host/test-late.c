/* SPDX-License-Identifier: BSD-3-Clause */
/* Times in buckets: each lies in its own, and percentiles are right to a fifth. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* last: it wants the ones above */
#include <cmocka.h>

#include "late.h"

static void buckets(void **state)
{
	(void)state;
	uint32_t last = 0;
	for (uint64_t ns = 0; ns < 1ull << 39; ns = ns + 1 + ns / 37) {
		const uint32_t b = iog_late_bucket(ns);
		assert_true(b < IOG_LATE_BUCKETS);
		assert_true(b >= last && b <= last + 1);
		last = b;
		if (b == IOG_LATE_BUCKETS - 1)
			continue;
		assert_true(ns < iog_late_bound(b));
		assert_true(!b || ns >= iog_late_bound(b - 1));
	}
	assert_int_equal(iog_late_bucket(INT64_MAX), IOG_LATE_BUCKETS - 1);
	assert_int_equal(iog_late_bucket(UINT64_MAX), 0); /* sent a little after it came, by clocks that differ */
	for (uint32_t b = 1; b < IOG_LATE_BUCKETS; b++)
		assert_true((double)iog_late_bound(b) <= 1.25 * (double)iog_late_bound(b - 1));
}

static void percentiles(void **state)
{
	uint64_t n[IOG_LATE_BUCKETS] = { 0 };
	(void)state;
	assert_int_equal(iog_late_percentile(n, 0.5), 0);
	for (uint64_t us = 1; us <= 1000; us++)
		n[iog_late_bucket(us * 1000)]++;
	const uint64_t half = iog_late_percentile(n, 0.5), most = iog_late_percentile(n, 0.99);
	assert_in_range(half, 500000, 625000);
	assert_in_range(most, 990000, 1237500);
	assert_true(iog_late_percentile(n, 0) <= 2048 && iog_late_percentile(n, 1) >= 1000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(buckets), cmocka_unit_test(percentiles) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
