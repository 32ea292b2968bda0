/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A source that keeps what it gave out until that is stored: it hears of it in order and not before, however many records came to nothing meanwhile.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* last: it wants the ones above */
#include <cmocka.h>

#include "runtime/host/endpoint.h"
#include "runtime/host/engine.h"

enum { BAD = 10000, LIMIT_S = 60, CREDIT = 64 };

static _Atomic uint32_t given, released, stored;
static _Atomic bool early;

/* ---- a source: a good record, many that are none, a good one ---- */

static int describe(const void *c, struct iog_schema *s, struct iog_err *err)
{
	(void)c;
	return iog_schema_parse(s, "x: f64", err);
}
static int open_source(const void *c, const struct iog_schema *s, void **self, struct iog_err *err)
{
	(void)c, (void)s, (void)err;
	*self = &given;
	return 0;
}
static enum iog_step next(void *self, struct iog_out *out, uint64_t limit_ns, struct iog_err *err)
{
	(void)self, (void)limit_ns, (void)err;
	const uint32_t n = given;
	if (n == BAD + 2)
		return IOG_FATAL;
	double *x = iog_out_dense(out, 0, 0, sizeof *x, NULL);
	assert_non_null(x);
	*x = n;
	out->rec.step = n == 0 ? 1 : n == BAD + 1 ? 2 : INT64_MAX;
	out->rec.id.epoch = 1;
	atomic_store(&given, n + 1);
	return IOG_OK;
}
static bool keep(void *self) { return self; }
static void release(void *self, uint32_t n)
{
	(void)self;
	if (!stored || (released + n > BAD + 1 && stored < 2))
		early = true;
	released += n;
}
static uint32_t credit(const void *c)
{
	(void)c;
	return CREDIT;
}
static void close_source(void *self) { (void)self; }
static const struct iog_source source = { .name = "keeper",
	.summary = "",
	.describe = describe,
	.open = open_source,
	.next = next,
	.close = close_source,
	.keep = keep,
	.release = release,
	.credit = credit };

/* ---- a sink: it has not stored the first record while the source can go on ---- */

static uint32_t written;
static int open_sink(const void *c, const struct iog_schema *s, void **self, struct iog_err *err)
{
	(void)c, (void)s, (void)err;
	*self = &written;
	return 0;
}
static enum iog_step put(void *self, const struct iog_record *r, struct iog_err *err)
{
	(void)self, (void)r, (void)err;
	for (int i = 0; i < 500 && given <= BAD; i++)
		usleep(1000);
	written++;
	return IOG_OK;
}
static enum iog_step flush(void *self, struct iog_err *err)
{
	(void)self, (void)err;
	stored = written;
	return IOG_OK;
}
static int recover(void *self, struct iog_id *last, bool *any, struct iog_err *err)
{
	(void)self, (void)last, (void)err;
	*any = false;
	return 0;
}
static int close_sink(void *self, struct iog_err *err)
{
	(void)self, (void)err;
	return 0;
}
static const struct iog_sink sink = { .name = "late",
	.summary = "",
	.flags = IOG_SINK_SAFE,
	.open = open_sink,
	.write = put,
	.flush = flush,
	.recover = recover,
	.close = close_sink };

static void nothing_is_released_before_it_is_stored(void **state)
{
	struct iog_graph *g = iog_graph_new();
	struct iog_cut cut;
	struct iog_engine *e;
	struct iog_engine_opts o = { 0 };
	struct iog_err err = { "" };
	bool ended = false;
	(void)state;
	const struct iog_gnode_end from = { .what = &source, .name = source.name, .describe = describe };
	const struct iog_gnode_end to = { .what = &sink, .name = sink.name, .safe = true };
	const int a = iog_graph_end(g, IOG_G_SOURCE, &from), b = iog_graph_end(g, IOG_G_SINK, &to);
	assert_true(iog_graph_option(g, b, "release", &(struct iog_value){ .kind = IOG_V_STRING, .s = "safe" }));
	iog_graph_link(g, a, 0, b);
	assert_int_equal(iog_graph_check(g), 0);
	assert_int_equal(iog_graph_cut(g, true, IOG_T_HOST, &cut), 0);
	assert_int_equal(iog_engine_new(&e, g, &cut, &o, &err), 0);
	if (iog_engine_start(e, &err))
		fail_msg("%s", err.text);
	for (int i = 0; i < LIMIT_S * 100 && !ended; i++)
		ended = iog_engine_poll(e, 0.01);
	assert_true(ended);
	assert_int_equal(iog_engine_result(e, &err), 0);
	assert_false(early);
	assert_int_equal(stored, 2);
	assert_int_equal(released, BAD + 2);
	assert_int_equal(iog_engine_free(e), 0);
	iog_cut_free(&cut);
	iog_graph_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(nothing_is_released_before_it_is_stored) };
	return cmocka_run_group_tests_name("keep", tests, NULL, NULL);
}
