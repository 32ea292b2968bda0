/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The contract, proven where it is stretched: the same operators on the same records as threads, as sandboxed processes, as processes that
 * are killed and replaced at every step of the protocol, and in the guest of a VM give byte-identical outputs, with nothing lost,
 * duplicated, reordered or changed. (Records in 1400-byte segments: test-operators.)
 */
/* timeout: 600 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* last: it wants the ones above */
#include <cmocka.h>

#include "runtime/host/endpoint.h"
#include "runtime/host/engine.h"
#include "tests/support/op-cases.h"
#include "tests/support/op-driver.h"

enum { ROUNDS = 12 }; /* a case's records are sent so often, with rising steps: more than any edge has credit */

/* ---- what arrived ---- */

struct arrived {
	int64_t step;
	uint64_t digest;
};
static struct {
	struct arrived *a;
	size_t n, cap;
} got;

/* Of everything a record says: identity, time, axes, and every variable's elements in the order of its global shape. */
static uint64_t digest(const struct iog_record *r)
{
	uint64_t h = iog_hash(&r->time, sizeof r->time, 1);
	h = iog_hash(&r->step, sizeof r->step, h);
	h = iog_hash(&r->id.seq, sizeof r->id.seq, h);
	h = iog_hash(&r->id.epoch, sizeof r->id.epoch, h);
	h = iog_hash(&r->id.writer, sizeof r->id.writer, h);
	h = iog_hash(r->axis, r->schema->n_dims * sizeof r->axis[0], h);
	for (uint32_t v = 0; v < r->schema->n_vars; v++) {
		h = iog_hash(&r->var[v].n_blocks, 4, h);
		for (uint32_t b = 0; b < r->var[v].n_blocks; b++) {
			const struct iog_block *k = &r->var[v].block[b];
			unsigned rank = r->schema->var[v].rank;
			uint32_t size = iog_dtype_size(r->schema->var[v].dtype);
			h = iog_hash(k->start, rank * 8, h);
			h = iog_hash(k->count, rank * 8, h);
			uint64_t n = iog_var_opaque(&r->schema->var[v]) ? k->bytes : (uint64_t)iog_block_elems(k, rank) * size;
			uint8_t *d = op_alloc(n + 1);
			if (iog_var_opaque(&r->schema->var[v]))
				memcpy(d, k->data, n);
			else
				iog_block_gather(d, k, rank, size);
			h = iog_hash(d, n, h);
			free(d);
		}
	}
	return h;
}

static int sink_open(const void *conf, const struct iog_schema *in, void **self, struct iog_err *err)
{
	(void)conf, (void)in, (void)err;
	*self = &got;
	return 0;
}
static enum iog_step sink_write(void *self, const struct iog_record *r, struct iog_err *err)
{
	(void)self, (void)err;
	if (got.n == got.cap) {
		got.cap = got.cap ? 2 * got.cap : 64;
		got.a = realloc(got.a, got.cap * sizeof *got.a);
		assert_non_null(got.a);
	}
	got.a[got.n++] = (struct arrived){ r->step, digest(r) };
	return IOG_OK;
}
static enum iog_step sink_flush(void *self, struct iog_err *err)
{
	(void)self, (void)err;
	return IOG_OK;
}
static int sink_recover(void *self, struct iog_id *last, bool *any, struct iog_err *err)
{
	(void)self, (void)last, (void)err;
	*any = false;
	return 0;
}
static int sink_close(void *self, struct iog_err *err)
{
	(void)self, (void)err;
	return 0;
}
static uint32_t sink_every(const void *conf)
{
	(void)conf;
	return 3;
}
static const struct iog_sink test_sink = { .name = "collect",
	.summary = "",
	.flags = IOG_SINK_SAFE,
	.open = sink_open,
	.write = sink_write,
	.flush = sink_flush,
	.recover = sink_recover,
	.close = sink_close,
	.flush_every = sink_every };

/* ---- what is sent: the inputs of a case, one source per port ---- */

static struct op_setup setup;
static struct op_record *inputs;
struct feed {
	uint32_t port, next;
};
static struct feed feeds[IOG_PORTS];

static enum iog_step source_next(void *self, struct iog_out *out, uint64_t limit_ns, struct iog_err *err)
{
	struct feed *f = self;
	(void)limit_ns, (void)err;
	for (; f->next < setup.records * ROUNDS; f->next++) {
		const struct op_record *r = &inputs[(f->next % setup.records) * setup.plan.n_in + f->port];
		if (!r->payload)
			continue;
		const struct iog_schema *s = out->rec.schema;
		struct iog_id id = out->rec.id;
		iog_record_head(&out->rec, &r->rec, s->n_dims);
		out->rec.id = id;
		out->rec.param_version = 0;
		memcpy(out->rec.var, r->rec.var, s->n_vars * sizeof out->rec.var[0]);
		out->rec.step = r->rec.step + (int64_t)(f->next / setup.records) * 1000;
		f->next++;
		return IOG_OK;
	}
	return IOG_FATAL;
}
#define OPEN(k)                                                                                                                            \
	static int open_##k(const void *c, const struct iog_schema *s, void **self, struct iog_err *e)                                     \
	{                                                                                                                                  \
		(void)c, (void)s, (void)e;                                                                                                 \
		feeds[k] = (struct feed){ .port = k };                                                                                     \
		*self = &feeds[k];                                                                                                         \
		return 0;                                                                                                                  \
	}                                                                                                                                  \
	static int describe_##k(const void *c, struct iog_schema *s, struct iog_err *e)                                                    \
	{                                                                                                                                  \
		(void)c, (void)e;                                                                                                          \
		*s = setup.in[k];                                                                                                          \
		return 0;                                                                                                                  \
	}
OPEN(0) OPEN(1) OPEN(2) static void source_close(void *self) { (void)self; }
static const struct iog_source sources[3] = {
	{ .name = "feed0", .summary = "", .describe = describe_0, .open = open_0, .next = source_next, .close = source_close },
	{ .name = "feed1", .summary = "", .describe = describe_1, .open = open_1, .next = source_next, .close = source_close },
	{ .name = "feed2", .summary = "", .describe = describe_2, .open = open_2, .next = source_next, .close = source_close },
};

/* ---- one run ---- */

struct mode {
	enum iog_target target;
	bool safe;
	uint32_t point, count;
	const struct op_case *then; /* a second operator, in a stage of its own */
	enum iog_target then_target;
};
struct outcome {
	struct arrived *a;
	size_t n;
	uint64_t restarts, duplicates;
	char target[16], note[160];
};

static void stands_still(const struct op_case *c, struct mode m, const struct iog_engine *e)
{
	struct iog_unit_stats us[8];
	uint32_t n = iog_engine_unit_stats(e, us, 8);
	for (uint32_t i = 0; i < n && i < 8; i++)
		print_message("# %s: in %llu out %llu elided %llu duplicates %llu restarts %llu\n", us[i].name,
			(unsigned long long)us[i].in_records, (unsigned long long)us[i].out_records, (unsigned long long)us[i].elided,
			(unsigned long long)us[i].duplicates, (unsigned long long)us[i].restarts);
	fail_msg("%s: stands still (point %u, count %u) after %zu records", c->name, m.point, m.count, got.n);
}

static const struct iog_op *op_case_op(const struct op_case *c)
{
	for (const struct iog_op *const *o = iog_ops; *o; o++)
		if (!strcmp((*o)->name, c->op))
			return *o;
	fail_msg("no operator %s", c->op);
	return NULL;
}

static void run(const struct op_case *c, struct mode m, struct outcome *o)
{
	struct iog_err err = { "" };
	memset(o, 0, sizeof *o);
	if (op_setup_init(&setup, c, &err))
		fail_msg("%s: %s", c->name, err.text);
	assert_true(setup.plan.n_in <= 3);
	inputs = op_setup_inputs(&setup);
	got.a = NULL;
	got.n = got.cap = 0;
	struct iog_graph *g = iog_graph_new();
	int op = iog_graph_op(g, setup.op);
	for (uint32_t p = 0; p < setup.plan.n_in; p++) {
		const struct iog_source *s = &sources[p];
		struct iog_gnode_end end = { .what = s, .name = s->name, .describe = s->describe };
		iog_graph_link(g, iog_graph_end(g, IOG_G_SOURCE, &end), 0, op);
	}
	for (const struct op_param *p = c->conf; p->name; p++)
		iog_graph_set(g, op, p->name, &p->v, NULL);
	int last = op;
	if (m.then) {
		last = iog_graph_op(g, op_case_op(m.then));
		for (const struct op_param *p = m.then->conf; p->name; p++)
			iog_graph_set(g, last, p->name, &p->v, NULL);
		iog_graph_link(g, op, 0, last);
		iog_graph_option(g, last, "on", &(struct iog_value){ .kind = IOG_V_STRING, .s = iog_target_name(m.then_target) });
	}
	struct iog_gnode_end end = { .what = &test_sink, .name = "collect", .safe = true };
	int sink = iog_graph_end(g, IOG_G_SINK, &end);
	if (m.safe)
		iog_graph_option(g, sink, "release", &(struct iog_value){ .kind = IOG_V_STRING, .s = "safe" });
	iog_graph_link(g, last, 0, sink);
	struct iog_cut cut;
	struct iog_engine *e;
	if (iog_graph_check(g) || iog_graph_cut(g, !m.then, m.target, &cut)) {
		const struct iog_diag *d;
		iog_graph_diags(g, &d);
		fail_msg("%s: %s", c->name, d->text);
	}
	struct iog_engine_opts opts = { .kill_point = m.point, .kill_count = m.count };
	if (iog_engine_new(&e, g, &cut, &opts, &err) || iog_engine_start(e, &err))
		fail_msg("%s: %s", c->name, err.text);
	for (int i = 0; !iog_engine_poll(e, 0.1); i++)
		if (i > 300)
			stands_still(c, m, e);
	if (iog_engine_result(e, &err))
		fail_msg("%s: %s", c->name, err.text);
	struct iog_unit_stats us[8];
	uint32_t n = iog_engine_unit_stats(e, us, 8);
	for (uint32_t i = 0; i < n; i++) {
		o->restarts += us[i].restarts;
		o->duplicates += us[i].duplicates;
		assert_int_equal(us[i].poisoned, 0);
		if (!strcmp(us[i].name, c->op)) {
			snprintf(o->target, sizeof o->target, "%s", us[i].target);
			snprintf(o->note, sizeof o->note, "%s", us[i].note);
		}
	}
	iog_engine_free(e);
	iog_cut_free(&cut);
	iog_graph_free(g);
	op_records_free(inputs, (size_t)setup.records * setup.plan.n_in);
	op_setup_finish(&setup);
	o->a = got.a;
	o->n = got.n;
}

static void same(const struct op_case *c, const char *how, const struct outcome *want, const struct outcome *have)
{
	for (size_t i = 0; i < want->n || i < have->n; i++) {
		if (i >= have->n)
			fail_msg("%s %s: %zu of %zu records arrived", c->name, how, have->n, want->n);
		if (i >= want->n || want->a[i].step != have->a[i].step)
			fail_msg("%s %s: record %zu has step %lld instead of %lld", c->name, how, i, (long long)have->a[i].step,
				i < want->n ? (long long)want->a[i].step : -1LL);
		if (want->a[i].digest != have->a[i].digest)
			fail_msg("%s %s: step %lld differs", c->name, how, (long long)have->a[i].step);
	}
}

/* ---- the gate ---- */

static bool at_the_gate(const struct op_case *c, bool vm)
{
	static const char *const ops[] = { "filter", "crop", "delta", "merge", "jpeg" };
	for (unsigned i = 0; i < (vm ? 3 : IOG_COUNT(ops)); i++)
		if (!strcmp(c->op, ops[i]) && !c->after)
			return true;
	return false;
}

/* The first case of an operator, to keep the many runs of the kill test short. */
static bool first_of_op(const struct op_case *c)
{
	for (const struct op_case *x = op_cases; x < c; x++)
		if (!strcmp(x->op, c->op) && !x->after)
			return false;
	return true;
}

static void as_threads_and_processes(void **state)
{
	(void)state;
	unsigned cases = 0;
	for (const struct op_case *c = op_cases; c->name; c++) {
		if (!at_the_gate(c, false))
			continue;
		struct outcome a, b, s;
		run(c, (struct mode){ .target = IOG_T_HOST, .safe = false }, &a);
		assert_true(a.n > 0);
		run(c, (struct mode){ .target = IOG_T_SIDECORE, .safe = false }, &b);
		assert_string_equal(b.target, "sidecore");
		same(c, "in a process", &a, &b);
		run(c, (struct mode){ .target = IOG_T_SIDECORE, .safe = true }, &s);
		same(c, "in a process, safe", &a, &s);
		free(a.a), free(b.a), free(s.a);
		cases++;
	}
	assert_true(cases >= 5);
}

static void killed_at_every_step(void **state)
{
	(void)state;
	unsigned kills = 0;
	for (const struct op_case *c = op_cases; c->name; c++) {
		if (!at_the_gate(c, false) || !first_of_op(c))
			continue;
		struct outcome a;
		run(c, (struct mode){ .target = IOG_T_HOST, .safe = true }, &a);
		bool stateful = !strcmp(c->op, "delta");
		for (uint32_t point = 1; point < IOG_POINTS; point++)
			for (uint32_t count = 1; count <= 7; count += 3) {
				struct outcome k;
				char how[64];
				run(c, (struct mode){ .target = IOG_T_SIDECORE, .safe = true, .point = point, .count = count }, &k);
				snprintf(how, sizeof how, "killed at point %u, time %u", point, count);
				same(c, how, &a, &k);
				kills += (unsigned)k.restarts;
				/* Every step of the protocol happens at least once; snapshots only where there is state. */
				bool snapshots = point == IOG_AT_SNAPSHOT || point == IOG_AT_BASE;
				/* After the end of the stream was sent there may be nobody left to replace it for. */
				if (count == 1 && !k.restarts && (stateful || !snapshots) && point != IOG_AT_CLOSED)
					fail_msg("%s: point %u was never reached", c->name, point);
				free(k.a);
			}
		free(a.a);
	}
	print_message("# %u processes were killed and replaced\n", kills);
	assert_true(kills >= 5 * 9);
}

static void in_the_guest(void **state)
{
	(void)state;
	const char *why = iog_target_reason(IOG_T_VM);
	if (why[0]) {
		print_message("# SKIP: no VM here: %s\n", why);
		skip();
	}
	unsigned cases = 0;
	for (const struct op_case *c = op_cases; c->name; c++) {
		if (!at_the_gate(c, true))
			continue;
		struct outcome a, b, s;
		run(c, (struct mode){ .target = IOG_T_HOST, .safe = false }, &a);
		run(c, (struct mode){ .target = IOG_T_VM, .safe = false }, &b);
		assert_string_equal(b.target, "vm");
		same(c, "in a VM", &a, &b);
		run(c, (struct mode){ .target = IOG_T_VM, .safe = true }, &s);
		same(c, "in a VM, safe", &a, &s);
		free(a.a), free(b.a), free(s.a);
		cases++;
	}
	assert_true(cases >= 3);
}

/* Two stages side by side outside this process: they start together, and die and are replaced together. */
static void neighbours(void **state)
{
	(void)state;
	static const enum iog_target pair[][2] = { { IOG_T_SIDECORE, IOG_T_SIDECORE }, { IOG_T_SIDECORE, IOG_T_VM },
		{ IOG_T_VM, IOG_T_SIDECORE }, { IOG_T_VM, IOG_T_VM } };
	const struct op_case *first = op_case_find("delta-f32"), *then = op_case_find("undelta-f32");
	bool vm = !iog_target_reason(IOG_T_VM)[0];
	struct outcome a;
	assert_true(first && then);
	run(first, (struct mode){ .target = IOG_T_HOST, .safe = true, .then = then, .then_target = IOG_T_HOST }, &a);
	for (unsigned k = 0; k < IOG_COUNT(pair); k++) {
		if (!vm && (pair[k][0] == IOG_T_VM || pair[k][1] == IOG_T_VM))
			continue;
		for (uint32_t point = 0; point < IOG_POINTS; point += k ? 3 : 1) {
			struct outcome b;
			char how[64];
			run(first,
				(struct mode){ .target = pair[k][0],
					.safe = true,
					.point = point,
					.count = 2,
					.then = then,
					.then_target = pair[k][1] },
				&b);
			snprintf(how, sizeof how, "on %s and %s, killed at point %u", iog_target_name(pair[k][0]),
				iog_target_name(pair[k][1]), point);
			same(first, how, &a, &b);
			free(b.a);
		}
	}
	free(a.a);
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "--worker"))
		return iog_worker_main(atoi(argv[2]));
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_threads_and_processes),
		cmocka_unit_test(killed_at_every_step),
		cmocka_unit_test(in_the_guest),
		cmocka_unit_test(neighbours),
	};
	return cmocka_run_group_tests_name("the gate", tests, NULL, NULL);
}
