/* SPDX-License-Identifier: BSD-3-Clause */
/* Graphs: what is refused and how it is said, fusion, policies that move up, capacities, files two nodes would share, live parameters, size. */
#include <math.h>
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

#include "core/graph.h"

/* ---- endpoints and operators of the tests ---- */

static int describe(const void *conf, struct iog_schema *s, struct iog_err *err)
{
	(void)conf;
	return iog_schema_parse(s, "position: f32[atom<=1000, xyz] A; type: i32[atom]; energy: f64", err);
}
static int describe_open(const void *conf, struct iog_schema *s, struct iog_err *err)
{
	(void)conf;
	return iog_schema_parse(s, "position: f32[atom, xyz] A", err);
}
static int accept_image(const void *conf, const struct iog_schema *in, struct iog_err *err)
{
	(void)conf;
	return iog_schema_var(in, "image") < 0 ? iog_fail(err, -22, "wants a variable \"image\"") : 0;
}
static int accept_never(const void *conf, struct iog_err *err)
{
	(void)conf;
	return iog_fail(err, -22, "forgets what it stored");
}
static const struct iog_gnode_end SOURCE = { .name = "md", .describe = describe }, OPEN = { .name = "md", .describe = describe_open },
				  SINK = { .name = "file", .safe = true }, PICTURE = { .name = "picture", .accept = accept_image },
				  ANEW = { .name = "anew", .safe = true, .accept_safe = accept_never };

struct files_conf {
	char path[IOG_TEXT], second[IOG_TEXT];
};
static const struct iog_param read_params[] = {
	IOG_PARAM(struct files_conf, path, IOG_P_STRING, .flags = IOG_PF_READS, .doc = "The file."),
	{ .name = NULL },
}, write_params[] = {
	IOG_PARAM(struct files_conf, path, IOG_P_STRING, .flags = IOG_PF_WRITES, .doc = "The file."),
	IOG_PARAM(struct files_conf, second, IOG_P_STRING, .flags = IOG_PF_WRITES, .doc = "Another one."),
	{ .name = NULL },
}, number_params[] = {
	IOG_PARAM(struct files_conf, path, IOG_P_STRING, .flags = IOG_PF_WRITES | IOG_PF_NUMBERED, .doc = "The files."),
	{ .name = NULL },
};
static const struct iog_gnode_end READER = { .name = "reader",
	.params = read_params,
	.conf_size = sizeof(struct files_conf),
	.describe = describe },
				  WRITER = { .name = "writer", .params = write_params, .conf_size = sizeof(struct files_conf) },
				  PICTURES = { .name = "pictures", .params = number_params, .conf_size = sizeof(struct files_conf) };

struct conf {
	double factor;
};
static const struct iog_param scale_params[] = {
	IOG_PARAM(struct conf, factor, IOG_P_NUMBER, .flags = IOG_PF_REQUIRED | IOG_PF_FIRST | IOG_PF_LIVE, .min = 0, .max = 10,
		.doc = "By how much."),
	{ .name = NULL },
};
static int same_plan(void *conf, struct iog_plan *p, struct iog_err *err)
{
	(void)conf, (void)err;
	*p->out[0] = *p->in[0];
	return 0;
}
static enum iog_step no_run(const struct iog_call *c)
{
	(void)c;
	return IOG_ELIDE;
}
static const struct iog_op scale = { .name = "scale",
	.params = scale_params,
	.flags = IOG_STATELESS | IOG_FREESTANDING | IOG_DETERMINISTIC,
	.conf_size = sizeof(struct conf),
	.in_min = 1,
	.in_max = 1,
	.outs = 1,
	.plan = same_plan,
	.run = no_run };
static const struct iog_op chance = {
	.name = "chance", .flags = IOG_STATELESS, .in_min = 1, .in_max = 1, .outs = 1, .plan = same_plan, .run = no_run
};
static uint32_t window = 20;
static int window_plan(void *conf, struct iog_plan *p, struct iog_err *err)
{
	p->need.window = window;
	return same_plan(conf, p, err);
}
static const struct iog_op trigger = {
	.name = "trigger", .flags = IOG_DETERMINISTIC, .in_min = 1, .in_max = 1, .outs = 1, .plan = window_plan, .run = no_run
};
static const struct iog_op join = {
	.name = "join", .flags = IOG_ZIP | IOG_DETERMINISTIC, .in_min = 2, .in_max = 4, .outs = 1, .plan = same_plan, .run = no_run
};

static struct iog_value num(double n) { return (struct iog_value){ .kind = IOG_V_NUMBER, .n = n }; }
static struct iog_value str(const char *s) { return (struct iog_value){ .kind = IOG_V_STRING, .s = s }; }

static int add(struct iog_graph *g, int from, const struct iog_op *op)
{
	int n = iog_graph_op(g, op);
	struct iog_value one = num(1);
	if (op == &scale)
		iog_graph_set(g, n, "factor", &one, NULL);
	if (from >= 0)
		iog_graph_link(g, from, 0, n);
	return n;
}
static int sink(struct iog_graph *g, int from, const struct iog_gnode_end *end, const char *option, const char *value)
{
	int n = iog_graph_end(g, IOG_G_SINK, end);
	struct iog_value v = str(value);
	if (option)
		assert_true(iog_graph_option(g, n, option, &v));
	if (from >= 0)
		iog_graph_link(g, from, 0, n);
	return n;
}
static void expect(struct iog_graph *g, const char *const *texts, unsigned n)
{
	const struct iog_diag *d;
	uint32_t have = iog_graph_diags(g, &d);
	for (unsigned i = 0; i < n; i++) {
		bool found = false;
		for (uint32_t k = 0; k < have; k++)
			found |= strstr(d[k].text, texts[i]) != NULL;
		if (!found)
			fail_msg("no message says \"%s\"; the first of %u is \"%s\"", texts[i], have, have ? d[0].text : "");
	}
	assert_int_equal(have, n);
	iog_graph_free(g);
}
#define EXPECT(g, ...) expect(g, (const char *const[]){ __VA_ARGS__ }, sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *))

/* ---- mistakes ---- */

static void mistakes_are_named(void **state)
{
	(void)state;
	struct iog_graph *g = iog_graph_new();
	assert_int_equal(iog_graph_check(g), -22);
	EXPECT(g, "the graph is empty");

	g = iog_graph_new();
	int md = iog_graph_end(g, IOG_G_SOURCE, &SOURCE);
	int s = iog_graph_op(g, &scale); /* not given its factor */
	iog_graph_link(g, md, 0, s);
	sink(g, s, &PICTURE, NULL, NULL);
	int b = add(g, md, &scale);
	(void)b; /* not used */
	sink(g, md, &SINK, "policy", "newest");
	assert_int_equal(iog_graph_check(g), -22);
	EXPECT(g, "scale needs \"factor\"", "nothing uses what scale.2 gives",
		"\"policy\" must be one of \"block\", \"latest\", \"drop-new\", \"spill\", got \"newest\"");

	g = iog_graph_new();
	md = iog_graph_end(g, IOG_G_SOURCE, &SOURCE);
	s = iog_graph_op(g, &scale);
	struct iog_value v = num(11), w = num(1);
	iog_graph_at(g, "f.lua", 12);
	iog_graph_set(g, s, "factor", &v, NULL);
	iog_graph_set(g, s, "facter", &w, NULL);
	iog_graph_link(g, md, 0, s);
	sink(g, s, &SINK, NULL, NULL);
	iog_graph_check(g);
	const struct iog_diag *d;
	assert_int_equal(iog_graph_diags(g, &d), 2);
	assert_string_equal(d[0].file, "f.lua");
	assert_int_equal(d[0].line, 12);
	EXPECT(g, "factor", "did you mean");
}

static void circles_and_wrong_ends(void **state)
{
	(void)state;
	struct iog_graph *g = iog_graph_new();
	int a = add(g, -1, &scale), b = add(g, a, &scale), c = add(g, b, &scale);
	iog_graph_link(g, c, 0, a);
	assert_int_equal(iog_graph_check(g), -22);
	EXPECT(g, "goes round in a circle: ");

	g = iog_graph_new();
	int md = iog_graph_end(g, IOG_G_SOURCE, &SOURCE), two = iog_graph_end(g, IOG_G_SOURCE, &SOURCE);
	int j = add(g, md, &join);
	iog_graph_link(g, md, 0, two);
	int k = sink(g, j, &SINK, NULL, NULL);
	iog_graph_link(g, md, 0, k);
	iog_graph_check(g);
	EXPECT(g, "md.2 is a source: nothing can flow into it", "file takes at most 1 input", "join has 1 of at least 2 inputs");

	g = iog_graph_new();
	md = iog_graph_end(g, IOG_G_SOURCE, &OPEN);
	sink(g, md, &SINK, NULL, NULL);
	iog_graph_check(g);
	EXPECT(g, "how large dimension \"atom\" can get is not known");

	g = iog_graph_new();
	md = iog_graph_end(g, IOG_G_SOURCE, &SOURCE);
	sink(g, md, &PICTURE, NULL, NULL);
	iog_graph_check(g);
	EXPECT(g, "picture: wants a variable \"image\"");
}

static void a_refused_input_is_one_mistake(void **state)
{
	(void)state;
	struct iog_graph *g = iog_graph_new();
	int md = iog_graph_end(g, IOG_G_SOURCE, &SOURCE), s = add(g, md, &scale), k = sink(g, md, &SINK, NULL, NULL);
	iog_graph_link(g, s, 0, k);
	iog_graph_check(g);
	EXPECT(g, "file takes at most 1 input");
}

static void places_may_not_contradict(void **state)
{
	(void)state;
	struct iog_value host = str("host"), side = str("sidecore"), vm = str("vm");
	struct iog_graph *g = iog_graph_new();
	int md = iog_graph_end(g, IOG_G_SOURCE, &SOURCE), a = add(g, md, &scale), b = add(g, md, &scale), c = add(g, md, &scale);
	sink(g, a, &SINK, NULL, NULL), sink(g, b, &SINK, NULL, NULL), sink(g, c, &SINK, NULL, NULL);
	iog_graph_option(g, a, "never", &host), iog_graph_option(g, a, "never", &side), iog_graph_option(g, a, "never", &vm);
	iog_graph_option(g, b, "never", &vm), iog_graph_option(g, b, "on", &vm);
	iog_graph_option(g, c, "never", &host), iog_graph_option(g, c, "never", &side);
	iog_graph_check(g);
	struct iog_gnode *n;
	iog_graph_nodes(g, &n);
	assert_int_equal(n[c].target, IOG_T_VM); /* what is left */
	EXPECT(g, "scale: never names \"host\", \"sidecore\" and \"vm\"", "scale.2: on \"vm\" and never \"vm\" contradict each other");
}

static void a_live_value_nobody_reads_is_said(void **state)
{
	(void)state;
	struct iog_graph *g = iog_graph_new();
	const struct iog_diag *d;
	iog_graph_at(g, "f.lua", 3);
	iog_graph_live(g, "gain", 2, 0, 100);
	iog_graph_live(g, "roi.1.lo", 0, 0, 0);
	iog_graph_live(g, "roi.1.hi", 0, 0, 0);
	iog_graph_at(g, "f.lua", 4);
	sink(g, iog_graph_end(g, IOG_G_SOURCE, &SOURCE), &SINK, NULL, NULL);
	assert_int_equal(iog_graph_check(g), 0);
	assert_int_equal(iog_graph_diags(g, &d), 2);
	assert_true(d[0].warning && d[0].line == 3);
	EXPECT(g, "parameter \"gain\" is not used", "parameter \"roi\" is not used");
}

static void safe_needs_what_can_repeat(void **state)
{
	(void)state;
	struct iog_graph *g = iog_graph_new();
	int md = iog_graph_end(g, IOG_G_SOURCE, &SOURCE), c = add(g, md, &chance);
	sink(g, c, &SINK, "release", "safe");
	iog_graph_check(g);
	EXPECT(g, "chance cannot repeat a record exactly");

	g = iog_graph_new();
	md = iog_graph_end(g, IOG_G_SOURCE, &SOURCE);
	sink(g, md, &PICTURE, "release", "safe");
	iog_graph_check(g);
	EXPECT(g, "needs a sink that can find its last stored record again");

	g = iog_graph_new();
	md = iog_graph_end(g, IOG_G_SOURCE, &SOURCE);
	sink(g, md, &ANEW, "release", "safe");
	iog_graph_check(g);
	EXPECT(g, "anew: forgets what it stored");

	g = iog_graph_new();
	md = iog_graph_end(g, IOG_G_SOURCE, &SOURCE);
	sink(g, md, &ANEW, NULL, NULL);
	assert_int_equal(iog_graph_check(g), 0);
	iog_graph_free(g);
}

static void too_few_bytes_are_refused_with_the_number(void **state)
{
	(void)state;
	struct iog_graph *g = iog_graph_new();
	struct iog_cut cut;
	int md = iog_graph_end(g, IOG_G_SOURCE, &SOURCE);
	sink(g, md, &SINK, "bytes", "4KiB");
	assert_int_equal(iog_graph_check(g), 0);
	assert_int_equal(iog_graph_cut(g, true, IOG_T_HOST, &cut), -22);
	EXPECT(g, "bytes = 4096 holds 0 records");
}

static void sizes_are_sizes(void **state)
{
	static const double no[] = { 0, 0.5, -1, 0x1p63, INFINITY, NAN };
	(void)state;
	for (unsigned i = 0; i < IOG_COUNT(no); i++) {
		struct iog_graph *g = iog_graph_new();
		int k = sink(g, iog_graph_end(g, IOG_G_SOURCE, &SOURCE), &SINK, "policy", "spill");
		struct iog_value v = num(no[i]);
		assert_true(iog_graph_option(g, k, "bytes", &v));
		assert_true(iog_graph_option(g, k, "spill_bytes", &v));
		assert_int_equal(iog_graph_check(g), -22);
		EXPECT(g, "\"bytes\" must be a size like \"64MiB\"", "\"spill_bytes\" must be a size like \"10GiB\"");
	}
}

/* source -> trigger -> join, and source -> join beside it. */
static struct iog_graph *fork_and_join(const char *bytes, const char *policy, const char *release)
{
	struct iog_graph *g = iog_graph_new();
	int md = iog_graph_end(g, IOG_G_SOURCE, &SOURCE), t = add(g, md, &trigger), b = add(g, md, &scale), j = add(g, t, &join);
	struct iog_value v = str(bytes ? bytes : policy);
	iog_graph_link(g, b, 0, j);
	if (bytes)
		assert_true(iog_graph_option(g, j, "bytes", &v));
	if (policy)
		assert_true(iog_graph_option(g, t, "policy", &v));
	sink(g, j, &SINK, release ? "release" : NULL, release);
	assert_int_equal(iog_graph_check(g), 0);
	return g;
}
static uint32_t hold_of(const struct iog_graph *g, const struct iog_cut *cut, const char *from, const char *to)
{
	for (uint32_t k = 0; k < cut->n_edges; k++)
		if (!strcmp(cut->unit[cut->edge[k].from].name, from) && !strcmp(cut->unit[cut->edge[k].to].name, to)) {
			assert_true(cut->edge[k].capacity >= cut->edge[k].hold + 2);
			return cut->edge[k].hold;
		}
	(void)g;
	fail_msg("no edge from %s to %s", from, to);
	return 0;
}

static void windows_and_those_who_wait_for_them_get_credit(void **state)
{
	(void)state;
	struct iog_cut cut;
	window = 100;
	struct iog_graph *g = fork_and_join(NULL, NULL, NULL);
	assert_int_equal(iog_graph_cut(g, true, IOG_T_SIDECORE, &cut), 0); /* no views between processes */
	assert_int_equal(hold_of(g, &cut, "md", "trigger"), 100);
	assert_int_equal(hold_of(g, &cut, "scale", "join"), 100);
	assert_int_equal(hold_of(g, &cut, "md", "scale"), 0);
	assert_int_equal(hold_of(g, &cut, "trigger", "join"), 0);
	assert_int_equal(cut.edge[0].capacity, 128);
	for (uint32_t i = 0; i < cut.n_units; i++)
		assert_int_equal(cut.unit[i].window, strcmp(cut.unit[i].name, "trigger") ? 0 : 100);
	iog_cut_free(&cut);
	/* Views pin what they were made from: what waits behind a view waits above it too. So does what a safe sink has not acknowledged. */
	assert_int_equal(iog_graph_cut(g, true, IOG_T_HOST, &cut), 0);
	assert_int_equal(hold_of(g, &cut, "md", "scale"), 100);
	iog_cut_free(&cut);
	iog_graph_free(g);
	g = fork_and_join(NULL, NULL, "safe");
	assert_int_equal(iog_graph_cut(g, true, IOG_T_SIDECORE, &cut), 0);
	assert_int_equal(hold_of(g, &cut, "md", "scale"), 100);
	uint64_t bytes;
	for (uint32_t i = 0; i < cut.n_units; i++)
		if (cut.unit[i].window) { /* a successor needs to know what is in it */
			struct iog_stage *st = iog_stage_build(g, &cut, i, &bytes);
			assert_true(st->window == 100 && st->state_bytes && !st->out[0].views);
			free(st);
		}
	iog_cut_free(&cut);
	iog_graph_free(g);
	/* A window starts its own stage, whatever stands before it. */
	g = iog_graph_new();
	int n = add(g, iog_graph_end(g, IOG_G_SOURCE, &SOURCE), &scale);
	sink(g, add(g, add(g, n, &trigger), &scale), &SINK, NULL, NULL);
	assert_int_equal(iog_graph_check(g), 0);
	assert_int_equal(iog_graph_cut(g, true, IOG_T_HOST, &cut), 0);
	assert_int_equal(hold_of(g, &cut, "scale", "trigger+scale.2"), 100);
	iog_cut_free(&cut);
	iog_graph_free(g);
}

static void a_graph_that_would_stand_still_is_refused(void **state)
{
	(void)state;
	struct iog_cut cut;
	window = 100;
	struct iog_graph *g = fork_and_join("64KiB", NULL, NULL);
	assert_int_equal(iog_graph_cut(g, true, IOG_T_HOST, &cut), -22);
	EXPECT(g, "with fewer than 102 (join also waits for trigger, which holds 100) the graph would stand still");
	g = fork_and_join(NULL, "latest", NULL);
	assert_int_equal(iog_graph_cut(g, true, IOG_T_HOST, &cut), -22);
	EXPECT(g, "trigger holds 100 records, and an edge with policy \"latest\" gives at most 2");
	/* A lossy sink below does not make the window one of what was not dropped. */
	g = iog_graph_new();
	sink(g, add(g, add(g, iog_graph_end(g, IOG_G_SOURCE, &SOURCE), &trigger), &scale), &SINK, "policy", "latest");
	assert_int_equal(iog_graph_check(g), 0);
	assert_int_equal(iog_graph_cut(g, true, IOG_T_HOST, &cut), 0);
	assert_int_equal(cut.edge[0].policy, IOG_BLOCK);
	iog_cut_free(&cut);
	iog_graph_free(g);
	window = IOG_WINDOW_MAX + 1;
	g = iog_graph_new();
	sink(g, add(g, iog_graph_end(g, IOG_G_SOURCE, &SOURCE), &trigger), &SINK, NULL, NULL);
	iog_graph_check(g);
	EXPECT(g, "trigger: wants to hold 1025 records; 1024 is the most");
}

/* ---- cutting ---- */

static void chains_are_fused(void **state)
{
	(void)state;
	struct iog_graph *g = iog_graph_new();
	struct iog_cut cut;
	int n = iog_graph_end(g, IOG_G_SOURCE, &SOURCE);
	for (int i = 0; i < 3; i++)
		n = add(g, n, &scale);
	sink(g, n, &SINK, NULL, NULL);
	assert_int_equal(iog_graph_check(g), 0);
	assert_int_equal(iog_graph_cut(g, true, IOG_T_HOST, &cut), 0);
	assert_int_equal(cut.n_units, 3);
	assert_int_equal(cut.n_edges, 2);
	assert_string_equal(cut.unit[1].name, "scale+scale.2+scale.3");
	/* One slot more than all credit. */
	assert_int_equal(cut.unit[0].n_slots[0], cut.edge[0].capacity + 1);
	uint64_t bytes;
	struct iog_stage *st = iog_stage_build(g, &cut, 1, &bytes);
	assert_non_null(st);
	assert_int_equal(st->bytes, bytes);
	assert_int_equal(st->n_nodes, 3);
	assert_int_equal(st->node[1].in[0].node, 0);
	free(st);
	iog_cut_free(&cut);
	assert_int_equal(iog_graph_cut(g, false, IOG_T_HOST, &cut), 0);
	assert_int_equal(cut.n_units, 5);
	iog_cut_free(&cut);
	iog_graph_free(g);
}

static void lossy_policy_moves_up_to_the_fork(void **state)
{
	(void)state;
	struct iog_graph *g = iog_graph_new();
	struct iog_cut cut;
	int md = iog_graph_end(g, IOG_G_SOURCE, &SOURCE), f = add(g, md, &scale), a = add(g, f, &scale), b = add(g, a, &scale);
	sink(g, b, &SINK, "policy", "latest");
	sink(g, f, &SINK, "release", "safe");
	assert_int_equal(iog_graph_check(g), 0);
	assert_int_equal(iog_graph_cut(g, true, IOG_T_HOST, &cut), 0);
	struct iog_gnode *n;
	iog_graph_nodes(g, &n);
	assert_int_not_equal(n[f].unit, n[a].unit); /* nothing is computed only to be dropped */
	assert_int_equal(n[a].unit, n[b].unit);
	for (uint32_t k = 0; k < cut.n_edges; k++)
		assert_int_equal(cut.edge[k].policy, cut.edge[k].to == n[a].unit ? IOG_LATEST : IOG_BLOCK);
	assert_true(cut.unit[n[f].unit].safe);
	assert_false(cut.unit[n[a].unit].safe);
	iog_cut_free(&cut);
	iog_graph_free(g);
}

static void a_thousand_nodes(void **state)
{
	(void)state;
	struct iog_graph *g = iog_graph_new();
	struct iog_cut cut;
	int n = iog_graph_end(g, IOG_G_SOURCE, &SOURCE);
	for (int i = 0; i < 1000; i++)
		n = add(g, n, &scale);
	sink(g, n, &SINK, NULL, NULL);
	assert_int_equal(iog_graph_check(g), 0);
	assert_int_equal(iog_graph_cut(g, true, IOG_T_HOST, &cut), 0);
	assert_int_equal(cut.n_units, 2 + 1000 / 8);
	iog_cut_free(&cut);
	iog_graph_free(g);
}

/* ---- live parameters ---- */

static void live_values_change_or_nothing_does(void **state)
{
	(void)state;
	struct iog_graph *g = iog_graph_new();
	struct iog_err err = { "" };
	int md = iog_graph_end(g, IOG_G_SOURCE, &SOURCE), s = iog_graph_op(g, &scale);
	struct iog_value v = num(2);
	iog_graph_live(g, "gain", 2, 0, 100);
	iog_graph_set(g, s, "factor", &v, "gain");
	iog_graph_link(g, md, 0, s);
	sink(g, s, &SINK, NULL, NULL);
	assert_int_equal(iog_graph_check(g), 0);
	struct iog_gnode *n;
	iog_graph_nodes(g, &n);
	assert_int_equal(iog_graph_live_set(g, "gain", 5, &err), 0);
	assert_true(((struct conf *)n[s].conf)->factor == 5);
	assert_int_equal(iog_graph_live_set(g, "gain", 50, &err), -22); /* the operator's own bound */
	assert_true(((struct conf *)n[s].conf)->factor == 5);
	assert_int_equal(iog_graph_live_set(g, "gain", 101, &err), -22);
	assert_int_equal(iog_graph_live_set(g, "gian", 1, &err), -22);
	assert_non_null(strstr(err.text, "did you mean \"gain\""));
	iog_graph_free(g);
}

/* ---- files ---- */

/* A graph in which `kind` a has one path, on line 1, and b another, on line 2; both are fed by (or, for READER, are) a source of line 3. */
static struct iog_graph *two_files(const struct iog_gnode_end *a, const char *path_a, const struct iog_gnode_end *b, const char *path_b)
{
	struct iog_graph *g = iog_graph_new();
	const struct iog_gnode_end *end[2] = { a, b };
	const char *path[2] = { path_a, path_b };
	iog_graph_at(g, "two.lua", 3);
	int md = iog_graph_end(g, IOG_G_SOURCE, &SOURCE);
	sink(g, md, &SINK, NULL, NULL);
	for (int i = 0; i < 2; i++) {
		bool reads = end[i] == &READER;
		iog_graph_at(g, "two.lua", 1 + i);
		int n = iog_graph_end(g, reads ? IOG_G_SOURCE : IOG_G_SINK, end[i]);
		struct iog_value v = str(path[i]);
		iog_graph_set(g, n, "path", &v, NULL);
		if (reads)
			sink(g, n, &SINK, NULL, NULL);
		else
			iog_graph_link(g, md, 0, n);
	}
	iog_graph_check(g);
	return g;
}

static void a_file_that_is_written_is_nobody_elses(void **state)
{
	(void)state;
	static const char *const same[][2] = { { "a.csv", "a.csv" }, { "a.csv", "./a.csv" }, { "out//a.csv", "out/./a.csv" },
		{ "out/../a.csv", "a.csv" }, { "/tmp/../tmp/a", "/tmp/a" }, { "/../a", "/a" }, { "a%d", "a%d" } };
	for (unsigned i = 0; i < IOG_COUNT(same); i++) {
		struct iog_graph *g = two_files(&WRITER, same[i][0], &WRITER, same[i][1]);
		const struct iog_diag *d;
		assert_int_equal(iog_graph_diags(g, &d), 1);
		assert_int_equal(d->line, 2);
		EXPECT(g, "\" is already written by writer of line 1; give each a file of its own");
	}
	static const char *const other[][2] = { { "a.csv", "b.csv" }, { "a.csv", "out/a.csv" }, { "../a.csv", "a.csv" },
		{ "a.csv", "/a.csv" }, { "a%d", "a%06d" }, { "", "" } };
	for (unsigned i = 0; i < IOG_COUNT(other); i++)
		expect(two_files(&WRITER, other[i][0], &WRITER, other[i][1]), NULL, 0);

	/* Relative and absolute. */
	char here[2048], path[IOG_TEXT];
	assert_non_null(getcwd(here, sizeof here));
	if (strlen(here) < 200) {
		iog_format(path, sizeof path, "%s/out/a.csv", here);
		EXPECT(two_files(&WRITER, "out/a.csv", &WRITER, path), "is already written by writer of line 1");
	}
	/* Numbered ones meet whatever their width. */
	EXPECT(two_files(&PICTURES, "a-%06d.png", &PICTURES, "a-%d.png"),
		"pictures.2: \"a-%d.png\" is already written by pictures of line 1");
	expect(two_files(&PICTURES, "a-%06d.png", &PICTURES, "b-%06d.png"), NULL, 0);
	/* What is read is not written, wherever it stands; and may be read twice. */
	EXPECT(two_files(&READER, "a", &WRITER, "a"), "writer: \"a\" is what reader of line 1 reads; write another file");
	EXPECT(two_files(&WRITER, "a", &READER, "a"), "writer: \"a\" is what reader of line 2 reads; write another file");
	expect(two_files(&READER, "a", &READER, "a"), NULL, 0);

	/* A link is the file it points to. */
	char dir[] = "/tmp/iog-graph-XXXXXX", link[64];
	assert_non_null(mkdtemp(dir));
	iog_format(path, sizeof path, "%s/a", dir);
	iog_format(link, sizeof link, "%s/b", dir);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fclose(f);
	assert_int_equal(symlink("a", link), 0);
	EXPECT(two_files(&WRITER, path, &WRITER, link), "is already written by writer of line 1");
	unlink(link);
	unlink(path);
	rmdir(dir);

	/* One node may have several, and every one is compared. */
	struct iog_graph *g = iog_graph_new();
	int md = iog_graph_end(g, IOG_G_SOURCE, &SOURCE);
	struct iog_value a = str("a"), b = str("b");
	for (int i = 0; i < 3; i++) {
		int n = iog_graph_end(g, IOG_G_SINK, &WRITER);
		iog_graph_set(g, n, i ? "path" : "second", &a, NULL);
		if (i < 2)
			iog_graph_set(g, n, i ? "second" : "path", &b, NULL);
		iog_graph_link(g, md, 0, n);
	}
	iog_graph_check(g);
	EXPECT(g, "writer.2: \"a\"", "writer.2: \"b\"", "writer.3: \"a\"");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_that_is_written_is_nobody_elses),
		cmocka_unit_test(mistakes_are_named),
		cmocka_unit_test(circles_and_wrong_ends),
		cmocka_unit_test(a_refused_input_is_one_mistake),
		cmocka_unit_test(places_may_not_contradict),
		cmocka_unit_test(a_live_value_nobody_reads_is_said),
		cmocka_unit_test(safe_needs_what_can_repeat),
		cmocka_unit_test(too_few_bytes_are_refused_with_the_number),
		cmocka_unit_test(sizes_are_sizes),
		cmocka_unit_test(windows_and_those_who_wait_for_them_get_credit),
		cmocka_unit_test(a_graph_that_would_stand_still_is_refused),
		cmocka_unit_test(chains_are_fused),
		cmocka_unit_test(lossy_policy_moves_up_to_the_fork),
		cmocka_unit_test(a_thousand_nodes),
		cmocka_unit_test(live_values_change_or_nothing_does),
	};
	return cmocka_run_group_tests_name("graph", tests, NULL, NULL);
}
