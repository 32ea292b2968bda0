/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An operator that always crashes on one record, and one that never comes back from it, in sidecore processes on a safe path: after the second
 * death that record is given up, counted, and every other one arrives. The processes find this program's own operators.
 */
/* timeout: 120 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
/* last: it wants the ones above */
#include <cmocka.h>

#include "runtime/host/endpoint.h"
#include "runtime/host/engine.h"

enum { RECORDS = 60, BAD = 23 };

static int plan(void *conf, struct iog_plan *p, struct iog_err *err)
{
	(void)conf, (void)err;
	*p->out[0] = *p->in[0];
	p->need.state = 8;
	return 0;
}
static enum iog_step pass(const struct iog_call *c)
{
	++*(uint64_t *)c->state;
	iog_out_pass(&c->out[0], 0, c->in[0], 0);
	return IOG_OK;
}
static enum iog_step crash(const struct iog_call *c)
{
	if (c->in[0]->step == BAD)
		__builtin_trap(); /* a crash that no sanitizer takes for a finding */
	return pass(c);
}
static enum iog_step spin(const struct iog_call *c)
{
	static volatile int for_ever = 1;
	while (c->in[0]->step == BAD && for_ever)
		;
	return pass(c);
}
#define OP(f)                                                                                                                              \
	{                                                                                                                                  \
		.name = #f, .summary = "", .flags = IOG_DETERMINISTIC, .in_min = 1, .in_max = 1, .outs = 1, .plan = plan, .run = f         \
	}
static const struct iog_op crash_op = OP(crash), spin_op = OP(spin);
const struct iog_op *const iog_ops[] = { &crash_op, &spin_op, NULL };

/* ---- ends ---- */

static int64_t next_step, arrived[RECORDS + 1];
static uint32_t n_arrived;

static int describe(const void *conf, struct iog_schema *s, struct iog_err *err)
{
	(void)conf;
	return iog_schema_parse(s, "k: i64", err);
}
static int src_open(const void *conf, const struct iog_schema *s, void **self, struct iog_err *err)
{
	(void)conf, (void)s, (void)err;
	next_step = 0;
	*self = &next_step;
	return 0;
}
static enum iog_step src_next(void *self, struct iog_out *out, uint64_t limit, struct iog_err *err)
{
	(void)self, (void)limit, (void)err;
	if (next_step == RECORDS)
		return IOG_FATAL;
	int64_t *k = iog_out_dense(out, 0, 0, 8, NULL);
	*k = out->rec.step = next_step++;
	return IOG_OK;
}
static void src_close(void *self) { (void)self; }
static const struct iog_source source = {
	.name = "count", .summary = "", .describe = describe, .open = src_open, .next = src_next, .close = src_close
};

static int dst_open(const void *conf, const struct iog_schema *s, void **self, struct iog_err *err)
{
	(void)conf, (void)s, (void)err;
	n_arrived = 0;
	*self = arrived;
	return 0;
}
static enum iog_step dst_write(void *self, const struct iog_record *r, struct iog_err *err)
{
	(void)self, (void)err;
	assert_true(n_arrived <= RECORDS);
	arrived[n_arrived++] = r->step;
	return IOG_OK;
}
static enum iog_step dst_flush(void *self, struct iog_err *err)
{
	(void)self, (void)err;
	return IOG_OK;
}
static int dst_recover(void *self, struct iog_id *last, bool *any, struct iog_err *err)
{
	(void)self, (void)last, (void)err;
	*any = false;
	return 0;
}
static int dst_close(void *self, struct iog_err *err)
{
	(void)self, (void)err;
	return 0;
}
static const struct iog_sink sink = { .name = "collect",
	.summary = "",
	.flags = IOG_SINK_SAFE,
	.open = dst_open,
	.write = dst_write,
	.flush = dst_flush,
	.recover = dst_recover,
	.close = dst_close };

static void one_record_is_given_up(const struct iog_op *op, int seconds)
{
	struct iog_err err = { "" };
	struct iog_graph *g = iog_graph_new();
	struct iog_gnode_end src = { .what = &source, .name = source.name, .describe = describe },
			     dst = { .what = &sink, .name = sink.name, .safe = true };
	int o = iog_graph_op(g, op), k = iog_graph_end(g, IOG_G_SINK, &dst);
	iog_graph_link(g, iog_graph_end(g, IOG_G_SOURCE, &src), 0, o);
	iog_graph_option(g, k, "release", &(struct iog_value){ .kind = IOG_V_STRING, .s = "safe" });
	iog_graph_link(g, o, 0, k);
	struct iog_cut cut;
	struct iog_engine *e;
	assert_int_equal(iog_graph_check(g), 0);
	assert_int_equal(iog_graph_cut(g, true, IOG_T_SIDECORE, &cut), 0);
	if (iog_engine_new(&e, g, &cut, &(struct iog_engine_opts){ 0 }, &err) || iog_engine_start(e, &err))
		fail_msg("%s", err.text);
	for (int i = 0; !iog_engine_poll(e, 0.1); i++)
		if (i > 10 * seconds)
			fail_msg("stands still after %u records", n_arrived);
	if (iog_engine_result(e, &err))
		fail_msg("%s", err.text);
	struct iog_unit_stats us[3];
	uint32_t n = iog_engine_unit_stats(e, us, 3);
	for (uint32_t i = 0; i < n; i++)
		if (!strcmp(us[i].name, op->name)) {
			assert_string_equal(us[i].target, "sidecore");
			assert_int_equal(us[i].poisoned, 1);
			assert_int_equal(us[i].restarts, 2);
		}
	iog_engine_free(e);
	iog_cut_free(&cut);
	iog_graph_free(g);
	assert_int_equal(n_arrived, RECORDS - 1);
	for (int64_t i = 0; i < RECORDS - 1; i++)
		assert_int_equal(arrived[i], i < BAD ? i : i + 1);
}

static void a_record_that_crashes_its_operator(void **state)
{
	(void)state;
	one_record_is_given_up(&crash_op, 30);
}
static void a_record_its_operator_never_finishes(void **state)
{
	(void)state;
	one_record_is_given_up(&spin_op, 60);
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "--worker"))
		return iog_worker_main(atoi(argv[2]));
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_record_that_crashes_its_operator),
		cmocka_unit_test(a_record_its_operator_never_finishes),
	};
	return cmocka_run_group_tests_name("poison", tests, NULL, NULL);
}
