/* SPDX-License-Identifier: BSD-3-Clause */
/* A clock for every step keeps to CLOCK_MONOTONIC, whatever becomes of the processor's counter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
/* last: it wants the ones above */
#include <cmocka.h>

#include "runtime/host/ticker.h"
#include "runtime/host/wait.h"

static const uint64_t RUN_NS = 20000000, OFF_NS = 5000;

/* Reads both for a while; how often the counter was what gave the time. */
static unsigned keeps_to_the_clock(struct iog_ticker *t)
{
	unsigned carried = 0;
	const uint64_t until = iog_now_ns() + RUN_NS;
	for (uint64_t from = 0; from < until;) {
		from = iog_now_ns();
		const uint64_t base = t->ns, got = iog_ticker_ns(t), to = iog_now_ns();
		if (got + OFF_NS < from || got > to + OFF_NS)
			fail_msg("%lld ns before, %lld ns behind the clock", (long long)(from - got), (long long)(got - to));
		carried += t->span && base == t->ns;
	}
	return carried;
}

static void carried_by_the_counter(void **state)
{
	struct iog_ticker t;
	(void)state;
	iog_ticker_init(&t);
	if (!t.ticks)
		print_message("the kernel's clock here is not the processor's counter: nothing is carried\n");
	assert_true((keeps_to_the_clock(&t) > 0) == t.ticks);
}

static void only_the_clock(void **state)
{
	struct iog_ticker t = { 0 };
	(void)state;
	assert_int_equal(keeps_to_the_clock(&t), 0);
}

/* As after a machine that was moved: the counter is another one, or as much faster as it likes. */
static void counter_that_jumps(void **state)
{
	struct iog_ticker t;
	(void)state;
	iog_ticker_init(&t);
	if (!t.ticks)
		return;
	keeps_to_the_clock(&t);
	t.tick += 1ull << 40; /* it went back */
	assert_true(keeps_to_the_clock(&t) > 0);
	t.tick -= 1ull << 50; /* far ahead */
	assert_true(keeps_to_the_clock(&t) > 0);
	t.rate *= 2, t.span /= 2; /* a rate that is not true any more lasts for one span */
	iog_wait_words(NULL, 0, 2000000);
	assert_true(keeps_to_the_clock(&t) > 0);
}

static void cost(void **state)
{
	enum { N = 5000000 };
	struct iog_ticker t;
	uint64_t sum = 0, from, middle, to;
	(void)state;
	if (!getenv("IOG_COST")) {
		print_message("IOG_COST is not set: costs are not measured\n");
		return;
	}
	iog_ticker_init(&t);
	from = iog_now_ns();
	for (int i = 0; i < N; i++)
		sum += iog_ticker_ns(&t);
	middle = iog_now_ns();
	for (int i = 0; i < N; i++)
		sum += iog_now_ns();
	to = iog_now_ns();
	assert_true(sum);
	print_message("iog_ticker_ns %.1f ns, iog_now_ns %.1f ns\n", (double)(middle - from) / N, (double)(to - middle) / N);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(carried_by_the_counter),
		cmocka_unit_test(only_the_clock),
		cmocka_unit_test(counter_that_jumps),
		cmocka_unit_test(cost),
	};
	return cmocka_run_group_tests_name("ticker", tests, NULL, NULL);
}
