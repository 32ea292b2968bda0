/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The engine on threads: a fork with a safe branch and a lossy one of different speed, live parameters, limits, draining, stopping, sinks that
 * fail. Runs under the thread sanitizer too.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* last: it wants the ones above */
#include <cmocka.h>

#include "runtime/host/endpoint.h"
#include "runtime/host/engine.h"

/* ---- two sinks: one that keeps what it sees, one that is slow ---- */

struct seen {
	_Atomic uint32_t n;
	uint32_t flushes;
	int64_t step[4096], atoms[4096];
	uint32_t delay_us, fail_at;
	bool open_fails;
};
static struct seen quick, slow;

static int open_seen(struct seen *s, void **self, struct iog_err *err)
{
	*self = s;
	return s->open_fails ? iog_fail(err, -13, "the disk is locked") : 0;
}
static int open_quick(const void *c, const struct iog_schema *in, void **self, struct iog_err *err)
{
	(void)c, (void)in;
	return open_seen(&quick, self, err);
}
static int open_slow(const void *c, const struct iog_schema *in, void **self, struct iog_err *err)
{
	(void)c, (void)in;
	return open_seen(&slow, self, err);
}
static enum iog_step write_seen(void *self, const struct iog_record *r, struct iog_err *err)
{
	struct seen *s = self;
	if (s->fail_at && s->n + 1 == s->fail_at) {
		iog_fail(err, -28, "the disk is full");
		return IOG_FATAL;
	}
	if (s->n < 4096) {
		s->step[s->n] = r->step;
		int d = iog_schema_dim(r->schema, "atom");
		s->atoms[s->n] = d < 0 ? -1 : r->axis[d].extent;
	}
	s->n++;
	if (s->delay_us)
		usleep(s->delay_us);
	return IOG_OK;
}
static enum iog_step flush_seen(void *self, struct iog_err *err)
{
	(void)err;
	((struct seen *)self)->flushes++;
	return IOG_OK;
}
static int recover_none(void *self, struct iog_id *last, bool *any, struct iog_err *err)
{
	(void)self, (void)last, (void)err;
	*any = false;
	return 0;
}
static int close_seen(void *self, struct iog_err *err)
{
	(void)self, (void)err;
	return 0;
}
static const struct iog_sink quick_sink = { .name = "quick",
	.summary = "",
	.flags = IOG_SINK_SAFE,
	.open = open_quick,
	.write = write_seen,
	.flush = flush_seen,
	.recover = recover_none,
	.close = close_seen };
static const struct iog_sink slow_sink = {
	.name = "slow", .summary = "", .open = open_slow, .write = write_seen, .flush = flush_seen, .close = close_seen
};

/* ---- graphs ---- */

struct run {
	struct iog_graph *g;
	struct iog_cut cut;
	struct iog_engine *e;
	int source;
};

static const struct iog_source *synthetic(void)
{
	for (const struct iog_source *const *s = iog_sources; *s; s++)
		if (!strcmp((*s)->name, "synthetic"))
			return *s;
	fail_msg("no synthetic source");
	return NULL;
}
static const struct iog_op *op_named(const char *name)
{
	for (const struct iog_op *const *o = iog_ops; *o; o++)
		if (!strcmp((*o)->name, name))
			return *o;
	fail_msg("no operator %s", name);
	return NULL;
}
static void set_number(struct run *r, int node, const char *name, double v)
{
	iog_graph_set(r->g, node, name, &(struct iog_value){ .kind = IOG_V_NUMBER, .n = v, .integer = true }, NULL);
}
static void set_text(struct run *r, int node, const char *name, const char *v)
{
	iog_graph_set(r->g, node, name, &(struct iog_value){ .kind = IOG_V_STRING, .s = v }, NULL);
}

static void begin(struct run *r, double steps)
{
	memset(r, 0, sizeof *r);
	memset(&quick, 0, sizeof quick);
	memset(&slow, 0, sizeof slow);
	r->g = iog_graph_new();
	const struct iog_source *s = synthetic();
	struct iog_gnode_end end = { .what = s, .name = s->name, .params = s->params, .conf_size = s->conf_size, .describe = s->describe };
	r->source = iog_graph_end(r->g, IOG_G_SOURCE, &end);
	set_number(r, r->source, "atoms", 500);
	if (steps > 0)
		set_number(r, r->source, "steps", steps);
}
static int sink_of(struct run *r, int from, const struct iog_sink *s, const char *option, const char *value)
{
	struct iog_gnode_end end = { .what = s, .name = s->name, .safe = s->flags & IOG_SINK_SAFE };
	int n = iog_graph_end(r->g, IOG_G_SINK, &end);
	if (option)
		iog_graph_option(r->g, n, option, &(struct iog_value){ .kind = IOG_V_STRING, .s = value });
	iog_graph_link(r->g, from, 0, n);
	return n;
}
static int filter_of(struct run *r, const char *where)
{
	int n = iog_graph_op(r->g, op_named("filter"));
	iog_graph_link(r->g, r->source, 0, n);
	set_text(r, n, "where", where);
	return n;
}
static void start(struct run *r, const struct iog_engine_opts *o)
{
	struct iog_err err = { "" };
	if (iog_graph_check(r->g) || iog_graph_cut(r->g, true, IOG_T_HOST, &r->cut)) {
		const struct iog_diag *d;
		iog_graph_diags(r->g, &d);
		fail_msg("%s", d->text);
	}
	if (iog_engine_new(&r->e, r->g, &r->cut, o, &err) || iog_engine_start(r->e, &err))
		fail_msg("%s", err.text);
}
static void wait_end(struct run *r)
{
	for (int i = 0; !iog_engine_poll(r->e, 0.1); i++)
		if (i > 600)
			fail_msg("stands still after %u and %u records", quick.n, slow.n);
}
static void end(struct run *r)
{
	iog_engine_free(r->e);
	iog_cut_free(&r->cut);
	iog_graph_free(r->g);
}

/* ---- tests ---- */

static void a_slow_viewer_stalls_nobody(void **state)
{
	(void)state;
	struct run r;
	begin(&r, 400);
	int f = filter_of(&r, "zs > 0.25");
	sink_of(&r, f, &quick_sink, "release", "safe");
	sink_of(&r, f, &slow_sink, "policy", "latest");
	slow.delay_us = 20000;
	start(&r, &(struct iog_engine_opts){ 0 });
	wait_end(&r);
	assert_int_equal(iog_engine_result(r.e, NULL), 0);
	assert_int_equal(quick.n, 400);
	for (uint32_t i = 1; i < 400; i++)
		assert_true(quick.step[i] > quick.step[i - 1]);
	assert_in_range(slow.n, 1, 399);
	assert_int_equal(slow.step[slow.n - 1], quick.step[399]); /* the newest always arrives */
	assert_true(quick.flushes > 0);
	end(&r);
}

static void live_values_take_effect(void **state)
{
	(void)state;
	struct run r;
	struct iog_err err = { "" };
	begin(&r, 0);
	set_number(&r, r.source, "rate", 500);
	iog_graph_live(r.g, "cut", 2, -1, 3);
	int f = filter_of(&r, "zs < cut");
	sink_of(&r, f, &quick_sink, NULL, NULL);
	start(&r, &(struct iog_engine_opts){ 0 });
	for (int i = 0; quick.n < 20 && i < 100; i++)
		iog_engine_poll(r.e, 0.02);
	for (int v = 1; v <= 20; v++) /* more versions than are in force at once */
		assert_int_equal(iog_engine_param(r.e, "cut", 2.0 - 0.05 * v, &err), 0);
	assert_int_equal(iog_engine_param(r.e, "cut", -1, &err), 0);
	assert_int_not_equal(iog_engine_param(r.e, "cut", 9, &err), 0);
	iog_engine_poll(r.e, 0.3);
	iog_engine_drain(r.e);
	wait_end(&r);
	assert_int_equal(quick.atoms[0], 500);
	assert_int_equal(quick.atoms[quick.n - 1], 0);
	end(&r);
}

static void limits_and_stop(void **state)
{
	(void)state;
	struct run r;
	begin(&r, 0);
	sink_of(&r, r.source, &quick_sink, NULL, NULL); /* no stage at all */
	start(&r, &(struct iog_engine_opts){ .steps = 37 });
	wait_end(&r);
	assert_int_equal(quick.n, 37);
	end(&r);

	begin(&r, 0);
	sink_of(&r, filter_of(&r, "zs < 0.5"), &quick_sink, NULL, NULL);
	start(&r, &(struct iog_engine_opts){ .seconds = 2 });
	wait_end(&r);
	assert_true(quick.n > 0);
	struct iog_unit_stats u[4];
	assert_int_equal(iog_engine_unit_stats(r.e, u, 4), 3);
	assert_int_equal(u[0].out_records, quick.n); /* orderly: what was sent arrived */
	end(&r);

	begin(&r, 0);
	sink_of(&r, filter_of(&r, "zs < 0.5"), &slow_sink, NULL, NULL);
	slow.delay_us = 1000;
	start(&r, &(struct iog_engine_opts){ 0 });
	iog_engine_poll(r.e, 0.1);
	iog_engine_stop(r.e);
	wait_end(&r);
	end(&r);
}

static void failing_sinks_are_reported(void **state)
{
	(void)state;
	struct run r;
	struct iog_err err = { "" };
	begin(&r, 50);
	sink_of(&r, r.source, &quick_sink, NULL, NULL);
	sink_of(&r, r.source, &slow_sink, NULL, NULL);
	slow.fail_at = 5;
	start(&r, &(struct iog_engine_opts){ 0 });
	wait_end(&r);
	assert_int_not_equal(iog_engine_result(r.e, &err), 0);
	assert_non_null(strstr(err.text, "slow: the disk is full"));
	assert_int_equal(quick.n, 50); /* it harms only itself */
	assert_int_equal(slow.n, 4);
	end(&r);

	begin(&r, 50);
	sink_of(&r, r.source, &quick_sink, NULL, NULL);
	quick.open_fails = true;
	assert_int_equal(iog_graph_check(r.g), 0);
	assert_int_equal(iog_graph_cut(r.g, true, IOG_T_HOST, &r.cut), 0);
	assert_int_equal(iog_engine_new(&r.e, r.g, &r.cut, &(struct iog_engine_opts){ 0 }, &err), 0);
	assert_int_not_equal(iog_engine_start(r.e, &err), 0);
	assert_non_null(strstr(err.text, "the disk is locked"));
	end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_slow_viewer_stalls_nobody),
		cmocka_unit_test(live_values_take_effect),
		cmocka_unit_test(limits_and_stop),
		cmocka_unit_test(failing_sinks_are_reported),
	};
	return cmocka_run_group_tests_name("engine on threads", tests, NULL, NULL);
}
