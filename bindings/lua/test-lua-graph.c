/* SPDX-License-Identifier: BSD-3-Clause */
/* Graph files: every kind of mistake with its line, what was expected and the nearest right name; the sandbox; what correct files build. */
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

#include "bindings/lua/lua-graph.h"

#define MD  "local md = iog.source.synthetic { atoms = 100, steps = 10 }\n" /* line 1 of most texts */
#define END "md:to(iog.sink.null {})\n"

static struct iog_graph *load(const char *text, struct iog_lua_set *set, uint32_t n_set)
{
	struct iog_graph *g = iog_lua_load_text("g.lua", text, strlen(text), set, n_set);
	assert_non_null(g);
	iog_graph_check(g);
	return g;
}

/* Exactly these mistakes: "LINE: part of the text", or "LINE: part|another part". */
static void expect(const char *text, struct iog_lua_set *set, uint32_t n_set, const char *const *want, size_t n)
{
	struct iog_graph *g = load(text, set, n_set);
	const struct iog_diag *d;
	uint32_t have = iog_graph_diags(g, &d);
	for (size_t i = 0; i < n; i++) {
		char *rest;
		long line = strtol(want[i], &rest, 10);
		bool found = false;
		for (uint32_t k = 0; k < have && !found; k++) {
			char parts[300], *save, *part;
			snprintf(parts, sizeof parts, "%s", rest + 2);
			found = d[k].line == line && !strcmp(d[k].file, "g.lua");
			for (part = strtok_r(parts, "|", &save); part; part = strtok_r(NULL, "|", &save))
				found = found && strstr(d[k].text, part);
		}
		if (!found) {
			for (uint32_t k = 0; k < have; k++)
				print_message("# %s:%d: %s\n", d[k].file, d[k].line, d[k].text);
			fail_msg("no mistake \"%s\" in:\n%s", want[i], text);
		}
	}
	for (uint32_t k = 0; have != n && k < have; k++)
		print_message("# %s:%d: %s\n", d[k].file, d[k].line, d[k].text);
	if (have != n)
		fail_msg("%u mistakes instead of %zu in:\n%s", have, n, text);
	iog_graph_free(g);
}
#define EXPECT(text, ...)                                                                                                                  \
	expect(text, NULL, 0, (const char *const[]){ __VA_ARGS__ }, sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *))
#define EXPECT_SET(text, name, value, ...)                                                                                                 \
	expect(text, &(struct iog_lua_set){ name, value, false }, 1, (const char *const[]){ __VA_ARGS__ },                                 \
		sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *))

static struct iog_graph *correct(const char *text, struct iog_lua_set *set, uint32_t n_set)
{
	struct iog_graph *g = load(text, set, n_set);
	const struct iog_diag *d;
	if (iog_graph_diags(g, &d))
		fail_msg("line %d: %s", d[0].line, d[0].text);
	return g;
}
static struct iog_gnode *node(struct iog_graph *g, const char *name)
{
	struct iog_gnode *n;
	for (uint32_t left = iog_graph_nodes(g, &n); left; left--, n++)
		if (!strcmp(n->name, name))
			return n;
	fail_msg("no node %s", name);
	return NULL;
}
/* A parameter of a node as text. */
static const char *value(struct iog_graph *g, const char *name, const char *param)
{
	static char text[400];
	struct iog_gnode *n = node(g, name);
	const struct iog_param *p = iog_param_find(n->kind == IOG_G_OP ? n->op->params : n->end.params, param);
	assert_non_null(p);
	iog_param_text(p, n->conf, text, sizeof text);
	return text;
}

/* ---- mistakes ---- */

static void misspelt_names(void **state)
{
	(void)state;
	EXPECT(MD "md:fliter('x > 1'):to(iog.sink.null {})\n", "2: no operator \"fliter\"|did you mean \"filter\"?");
	EXPECT(MD "md:zzzzzzzz('x > 1'):to(iog.sink.null {})\n", "2: no operator \"zzzzzzzz\"|`iog ops` lists them");
	EXPECT("local md = iog.source.sinthetic {}\nmd:filter('x > 1'):to(iog.sink.null {})\n",
		"1: no source \"sinthetic\"|did you mean \"synthetic\"?");
	EXPECT(MD "md:to(iog.sink.nul {})\n", "2: no sink \"nul\"|did you mean \"null\"?");
	EXPECT("local md = iog.sorce.synthetic {}\nmd:filter('x > 1'):to(iog.sink.null {})\n",
		"1: no word of iog \"sorce\"|did you mean \"source\"?");
	EXPECT("local q = iog.param.nubmer { 'q', 50 }\n" MD
	       "md:render { width = 64, height = 64 }:jpeg { quality = q }:to(iog.sink.null {})\n",
		"1: no kind of parameter \"nubmer\"|did you mean \"number\"?");
	EXPECT(MD "md:filter { wher = 'x > 1' }:to(iog.sink.null {})\n", "2: filter: unknown parameter \"wher\"; did you mean \"where\"?");
	EXPECT(MD "md:to(iog.sink.null { polcy = 'latest' })\n", "2: null: unknown option \"polcy\"; did you mean \"policy\"?");
	EXPECT(MD "md:to(iog.sink.null { policy = 'latets' })\n",
		"2: \"policy\" must be one of|\"block\"|got \"latets\"; did you mean \"latest\"?");
	EXPECT(MD "md:queue { policy = 'spill' }:stats():to(iog.sink.null {})\n", "2: stats: policy = \"spill\" belongs to a sink");
	EXPECT(MD "md:to(iog.sink.null { spill_bytes = '1GiB' })\n", "2: null: spill_bytes and spill_dir go with policy = \"spill\"");
	EXPECT(MD "md:to(iog.sink.record { 'a', policy = 'spill', release = 'safe' })\n",
		"2: record: release = \"safe\" keeps a record until it is stored, policy = \"spill\" gives it back before; choose one");
	EXPECT("local md = iog.source.synthetic { policy = 'latest' }\n" END,
		"1: synthetic: \"policy\" belongs to what follows the source");
	EXPECT(MD "md:queue { polcy = 'latest' }:to(iog.sink.null {})\n", "2: no option of queue \"polcy\"; did you mean \"policy\"?");
	EXPECT(MD "md:filter('x > 1'):on('sidecor'):to(iog.sink.null {})\n", "2: \"on\" must be one of|did you mean \"sidecore\"?");
	EXPECT("local q = iog.param.number { 'q', 50, mni = 1 }\n" MD END, "1: no setting of param \"q\" \"mni\"; did you mean \"min\"?");
}

static void wrong_values(void **state)
{
	(void)state;
	EXPECT("local md = iog.source.synthetic { atoms = 'many' }\n" END, "1: synthetic: \"atoms\" must be a whole number, got \"many\"");
	EXPECT("local md = iog.source.synthetic { atoms = 1.5 }\n" END, "1: \"atoms\" must be a whole number, got 1.5");
	EXPECT("local md = iog.source.synthetic { atoms = {} }\n" END, "1: \"atoms\" must be a whole number, got a list of 0");
	EXPECT("local md = iog.source.synthetic { atoms = print }\n" END, "1: synthetic: \"atoms\" is a function where a value is wanted");
	EXPECT(MD "md:crop { position = md }:to(iog.sink.null {})\n", "2: crop: \"position\" is a stream or sink where a value is wanted");
	EXPECT(MD "local nope\nmd:filter(nope):to(iog.sink.null {})\n",
		"3: filter: \"where\" must be an expression in quotes, got nothing");
	EXPECT(MD "md:filter('x > \\0 1'):to(iog.sink.null {})\n", "2: a text with a zero byte");
	EXPECT(MD "md:render { width = 8 }:jpeg {}:to(iog.sink.null {})\n",
		"2: render: \"width\" must be between 16 and 8192 pixel, got 8");
	EXPECT(MD "md:render { map = 'rainbow' }:jpeg {}:to(iog.sink.null {})\n",
		"2: render: \"map\" must be one of|viridis|got \"rainbow\"");
	EXPECT(MD "md:to(iog.sink.null { bytes = 'lots' })\n", "2: null: \"bytes\" must be a size like \"64MiB\"");
	EXPECT(MD "md:stats { 'position', [7] = 'type' }:to(iog.sink.null {})\n",
		"2: stats: a value that has neither a name nor a place in the list");
	EXPECT(MD "md:to(iog.sink.null { release = 'safe' })\n",
		"2: release = \"safe\" needs a sink that can find its last stored record again");
	EXPECT("local q = iog.param.number { 'q', 200, min = 1, max = 100 }\n" MD END, "1: parameter \"q\": 200 is outside 1..100");
	EXPECT("local q = iog.param.number { 'q', 0/0 }\n" MD END, "1: parameter \"q\"");
	EXPECT("local q = iog.param.number { 'q', 'x', min = 1, max = 3 }\n" MD END, "1: param \"q\": its value must be a number");
	EXPECT("local q = iog.param.number 'q'\n" MD END, "1: param.number: wants a name and a value");
	EXPECT("local q = iog.param.region { 'roi', x = { 1 } }\n" MD END, "1: param \"roi\": x must be two numbers");
	EXPECT("local q = iog.param.region { 'roi', { 1, 2 } }\n" MD END, "1: intervals are given by the name",
		"1: param \"roi\": wants intervals by dimension");
	EXPECT("local q = iog.param.string { 'who', 3 }\n" MD END, "1: param \"who\": its value must be a string");
}

static void missing_things(void **state)
{
	(void)state;
	EXPECT(MD "md:filter {}:to(iog.sink.null {})\n", "2: filter needs \"where\" (expression)");
	EXPECT(MD "md:to(iog.sink.h5md {})\n", "2: h5md needs \"path\"");
	EXPECT(MD END "iog.sink.null {}\n", "3: null.2 has 0 of at least 1 input");
	EXPECT(MD END "local f = md:filter 'x > 1'\n", "3: nothing uses what filter gives; end it with :to(iog.sink...) or remove it");
	EXPECT(MD END "local two = iog.source.synthetic {}\n", "3: nothing uses what synthetic.2 gives");
	EXPECT("", "0: the graph is empty; start with iog.source");
	EXPECT(MD "md:to()\n", "2: to: wants a sink, as in stream:to(iog.sink.null {}), got nothing");
	EXPECT(MD "md:to(md:filter 'x > 1')\n", "2: to: wants a sink|got a stream", "2: nothing uses what filter gives");
	EXPECT(MD END "md:filter('x > 1'):to(iog.sink.null {}):to(nil)\n", "3: to: wants a sink|got nothing");
}

static void schema_does_not_fit(void **state)
{
	(void)state;
	EXPECT(MD "md:filter 'charge > 1':to(iog.sink.null {})\n", "2: filter: |charge");
	EXPECT(MD "md:filter 'vxx > 1':to(iog.sink.null {})\n", "2: filter: |vxx");
	EXPECT(MD "md:crop { row = { 0, 4 } }:to(iog.sink.null {})\n", "2: crop: |row");
	EXPECT(MD "md:jpeg {}:to(iog.sink.null {})\n", "2: jpeg: ");
	EXPECT(MD "md:to(iog.sink.image 'a-%d.jpg')\n", "2: image: ");
	EXPECT(MD "md:undelta {}:to(iog.sink.null {})\n", "2: undelta: ");
	EXPECT("local a = iog.source.synthetic { 'field' }\n" MD "md:merge(a):to(iog.sink.null {})\n", "3: merge: ");
	/* What hangs below a mistake is not reported again; what stands beside it is. */
	EXPECT(MD "local f = md:filter 'charge > 1'\nf:render {}:jpeg {}:to(iog.sink.image 'a-%d.jpg')\nmd:filter 'mass > "
		  "':to(iog.sink.null {})\n",
		"2: charge", "4: filter.2: ");
}

static void syntax_and_calls(void **state)
{
	(void)state;
	EXPECT(MD "md:filter('x > 1'\n:to(iog.sink.null {})\n" END, "3: ')' expected (to close '(' at line 2)");
	EXPECT(MD "local = 3\n", "2: <name> expected near '='");
	EXPECT(MD "local slab\nslab:to(iog.sink.null {})\n", "3: attempt to index a nil value (local 'slab')");
	/* The stream was meant to be used: that it is not is no second mistake. */
	EXPECT(MD "md.filter('x > 1'):to(iog.sink.null {})\n", "2: call operators with a colon: stream:filter(...)");
	EXPECT(MD "md.to(iog.sink.null {})\n", "2: call to with a colon: stream:to(iog.sink.null {})");
	EXPECT(MD "md:filter('x > 1').on('vm'):to(iog.sink.null {})\n", "2: call on with a colon: stream:on \"vm\"");
	EXPECT(MD "md.queue({ policy = 'latest' }):to(iog.sink.null {})\n", "2: call queue with a colon");
	EXPECT(MD "local s = iog.sink.null {}\nmd:to(s)\nmd:filter('x > 1'):to(s)\n", "4: null takes at most 1 input");
	iog_graph_free(correct(MD "md.filter(md, 'x > 1'):to(iog.sink.null {})\n", NULL, 0));
}

static void variables_there_are_not(void **state)
{
	(void)state;
	const char *slab = "local slab = md:filter 'x > 1'\n";
	char text[1000];
	/* The nearest name; the rest of the file is looked at, and what was meant counts as used. */
	snprintf(text, sizeof text, MD "%sslap:stats { 'positoin' }:to(iog.sink.nul {})\nmd:fliter('x')\n", slab);
	EXPECT(text, "3: no variable \"slap\"; did you mean \"slab\"?", "3: no sink \"nul\"", "4: no operator \"fliter\"");
	snprintf(text, sizeof text, MD "%sslap:render { width = 1 }\n  :jpeg { qality = 3 }:to(iog.sink.null {})\n", slab);
	EXPECT(text, "3: no variable \"slap\"; did you mean \"slab\"?", "3: render: \"width\" must be between",
		"4: jpeg: unknown parameter \"qality\"");
	EXPECT(MD "local function save(stream)\n  steam:to(iog.sink.null {})\nend\nsave(md)\n",
		"3: no variable \"steam\"; did you mean \"stream\"?");
	EXPECT(MD "slab = md:filter 'x > 1'\nslbb:to(iog.sink.null {})\n", "3: no variable \"slbb\"; did you mean \"slab\"?");
	EXPECT("local md = igo.source.synthetic {}\n" END, "1: no variable \"igo\"; did you mean \"iog\"?");
	/* As an argument, in a list, in a sum, as a sink. */
	EXPECT("local limit = iog.param.number { 'limit', 1 }\n" MD "md:filter(limti):to(iog.sink.null {})\n",
		"3: no variable \"limti\"; did you mean \"limit\"?");
	EXPECT(MD "local wide = 40\nmd:render { width = 64, height = 64 }:crop { x = { 0, wied } }:png {}:to(iog.sink.null {})\n",
		"3: no variable \"wied\"");
	EXPECT(MD "local wide = 40\nmd:render { width = 2 * wied + 1 }:png {}:to(iog.sink.image('a' .. wied .. '-%d.png'))\nmd:fliter()\n",
		"3: no variable \"wied\"", "3: no variable \"wied\"", "4: no operator \"fliter\"");
	EXPECT(MD "local file = iog.sink.null {}\nmd:to(fiel)\n", "3: no variable \"fiel\"; did you mean \"file\"?");
	/* What cannot go on without it ends the file, without a second message. */
	EXPECT(MD "local n = 3\nfor i = 1, nn do md:to(iog.sink.null {}) end\n", "3: no variable \"nn\"; did you mean \"n\"?");
	/* No telling what was meant. */
	EXPECT(MD "whatever:to(iog.sink.null {})\n", "2: no variable \"whatever\"; a variable must be declared above");
	EXPECT(MD END "os.exit(1)\nlocal f = io.open('x')\n", "3: graph files have no \"os\"; iog-graph(5)",
		"4: graph files have no \"io\"");
	EXPECT(MD END "local ok = pcall(print)\n", "3: graph files have no \"pcall\"");
}

static void circles(void **state)
{
	(void)state;
	EXPECT(MD "local a\na = md:merge(a)\na:to(iog.sink.null {})\n", "3: merge: input 2 is nothing; a stream must be declared above the "
									"line that uses it (a graph cannot go round in a circle)");
	EXPECT(MD "local a = md:merge(b, { along = 'atom' })\nlocal b = a:filter 'x > 1'\nb:to(iog.sink.null {})\n",
		"2: no variable \"b\" yet, line 3 sets it; a stream must be declared above|circle");
	EXPECT(MD "local a = md:merge(nil, nil, { along = 'atom' })\na:to(iog.sink.null {})\n", "2: merge: input 2 is nothing",
		"2: merge: input 2 is nothing");
}

static void intervals_that_are_none(void **state)
{
	(void)state;
	EXPECT(MD "md:crop { atom = 10 }:to(iog.sink.null {})\n", "2: crop: \"atom\" must be an interval {lo, hi} of two numbers, got 10");
	EXPECT(MD "md:crop { atom = { 1, 2, 3 } }:to(iog.sink.null {})\n",
		"2: crop: \"atom\" must be an interval {lo, hi} of two numbers, got a list of 3");
	EXPECT(MD "md:crop { x = '1:2' }:to(iog.sink.null {})\n",
		"2: crop: \"x\" must be an interval {lo, hi} of two numbers, got \"1:2\"");
	EXPECT(MD "md:crop { box = { atom = true } }:to(iog.sink.null {})\n",
		"2: crop: \"atom\" must be an interval {lo, hi} of two numbers, got true");
	EXPECT(MD "md:crop { { 1, 2, 3 } }:to(iog.sink.null {})\n", "2: crop: \"box\" must be a list of intervals|item 1 is a list of 3");
	EXPECT(MD "md:crop { atom = { 0, 9 }, nmae = 'c' }:to(iog.sink.null {})\n",
		"2: crop: unknown option \"nmae\"; did you mean \"name\"?");
	EXPECT(MD "md:crop { bos = 9 }:to(iog.sink.null {})\n", "2: crop: unknown parameter \"bos\"; did you mean \"box\"?");
}

static void places_that_contradict(void **state)
{
	(void)state;
	EXPECT(MD "md:stats():never 'host':never 'sidecore':never 'vm':to(iog.sink.null {})\n",
		"2: stats: never names \"host\", \"sidecore\" and \"vm\"");
	EXPECT(MD "md:stats():on 'vm'\n :never 'vm':to(iog.sink.null {})\n", "3: stats: on \"vm\" and never \"vm\" contradict each other");
	EXPECT(MD "md:stats { never = 'vm', on = 'vm' }:to(iog.sink.null {})\n",
		"2: stats: on \"vm\" and never \"vm\" contradict each other");
	struct iog_graph *g =
		correct(MD "md:stats():never 'host':never 'vm':to(iog.sink.null {})\n"
			   "md:stats():never 'host':never 'sidecore':to(iog.sink.null {})\nmd:stats():never 'host':to(iog.sink.null {})\n",
			NULL, 0);
	assert_int_equal(node(g, "stats")->never, 1 << IOG_T_HOST | 1 << IOG_T_VM);
	assert_int_equal(node(g, "stats")->target, IOG_T_SIDECORE);
	assert_int_equal(node(g, "stats.2")->target, IOG_T_VM);
	assert_int_equal(node(g, "stats.3")->target, IOG_T_ANY);
	iog_graph_free(g);
}

/* Not wrong, but said. */
static void parameters_nobody_uses(void **state)
{
	(void)state;
	const struct iog_diag *d;
	EXPECT("local limit = iog.param.number { 'limit', 1 }\n" MD END, "1: parameter \"limit\" is not used");
	EXPECT(MD "local roi = iog.param.region { 'roi', x = { 0, 1 }, y = { 0, 1 } }\n" END, "2: parameter \"roi\" is not used");
	EXPECT("local out = iog.param.string { 'out', 'a' }\n" MD END,
		"1: parameter \"out\" is not used: the file does not name \"out\" again");
	EXPECT("local limit = iog.param.number { 'limit', 1 }\n" MD "md:filter 'x > limits_x or x > 1':to(iog.sink.null {})\n",
		"3: filter: |limits_x");
	struct iog_graph *g = load("local limit = iog.param.number { 'limit', 1 }\n" MD END, NULL, 0);
	assert_int_equal(iog_graph_diags(g, &d), 1);
	assert_true(d->warning);
	iog_graph_free(g);
	iog_graph_free(correct("iog.param.number { 'limit', 1 }\n" MD "md:filter 'x > 2*limit':to(iog.sink.null {})\n", NULL, 0));
	iog_graph_free(correct("local limit = iog.param.number { 'q', 1 }\n" MD
			       "md:render { width = 64 }:jpeg { quality = limit }:to(iog.sink.null {})\n",
		NULL, 0));
	iog_graph_free(correct(
		"local out <const> = iog.param.string { 'o', 'a' }\n" MD "md:stats():to(iog.sink.table(out .. '.csv'))\n", NULL, 0));
	iog_graph_free(correct(MD "md:stats():to(iog.sink.table(iog.param.string { 'o', 'a.csv' }))\n", NULL, 0));
}

static void two_values_for_one_parameter(void **state)
{
	(void)state;
	EXPECT(MD "md:filter('x > 1', 'y > 1'):to(iog.sink.null {})\n", "2: filter: \"where\" is given twice");
	EXPECT(MD "md:filter { 'x > 1', 'y > 1' }:to(iog.sink.null {})\n", "2: filter takes one value without a name (\"where\"), got 2");
	EXPECT(MD "md:filter('x > 1', { where = 'y > 1' }):to(iog.sink.null {})\n", "2: filter: \"where\" is given twice");
	EXPECT(MD "md:to(iog.sink.null(3))\n", "2: null takes no value without a name; write null { name = value }");
	EXPECT(MD "local k = iog.sink.null {}\nmd:to(k)\nmd:to(k)\n", "4: null takes at most 1 input");
	EXPECT("local q = iog.param.number { 'q', 1 }\nlocal r = iog.param.number { 'q', 2 }\n" MD END,
		"2: parameter \"q\" is declared twice");
	EXPECT(MD "md:filter { 'x > 1', name = 'f' }:to(iog.sink.null { name = 'f' })\n", "2: the name \"f\" is already used");
}

static void several_at_once_with_their_lines(void **state)
{
	(void)state;
	EXPECT("local iog = require 'iog'\n"
	       "local md = iog.source.synthetic { atmos = 7 }\n"
	       "md:fliter('x > 1')\n"
	       "  :render { width = 1 }\n"
	       "  :jpeg { quality = 'best' }\n"
	       "  :to(iog.sink.image {})\n"
	       "local q = iog.param.number { 'q', 7, max = {} }\n"
	       "md:crop { { 0, 1 } }:to(iog.sink.nul {})\n",
		"2: synthetic: unknown parameter \"atmos\"; did you mean \"atoms\"?", "3: no operator \"fliter\"",
		"4: render: \"width\" must be between", "5: jpeg: \"quality\" must be a whole number",
		"7: param \"q\": \"max\" must be a number", "6: image needs \"path\"", "8: no sink \"nul\"");
	/* An operator below an unknown source still gets its own parameters checked. */
	EXPECT("local md = iog.source.nope {}\nmd:render { width = 1 }\n  :jpeg { qality = 9 }:to(iog.sink.null {})\n",
		"1: no source \"nope\"", "2: render: \"width\" must be between",
		"3: jpeg: unknown parameter \"qality\"; did you mean \"quality\"?");
}

static void parameters_from_outside(void **state)
{
	(void)state;
	const char *text = "local q = iog.param.number { 'quality', 50, min = 1, max = 100 }\n"
			   "local out = iog.param.string { 'out', 'a-%d.jpg' }\n" MD
			   "md:render { width = 64, height = 64 }:jpeg { quality = q }:to(iog.sink.image(out))\n";
	EXPECT_SET(text, "qualty", "4", "0: --set qualty: the graph declares no such parameter; did you mean \"quality\"?");
	EXPECT_SET(text, "oot", "4", "0: --set oot: |did you mean \"out\"?");
	EXPECT_SET(text, "quality", "high", "1: --set quality=high: not a number");
	EXPECT_SET(text, "quality", "", "1: --set quality=: not a number");
	EXPECT_SET(text, "quality", "101", "1: parameter \"quality\": 101 is outside 1..100", "4: between 1 and 100, got 101");
	EXPECT("local a = iog.param.number { 'a', 64 }\n" MD "md:render { width = a }:jpeg {}:to(iog.sink.null {})\n",
		"3: render: \"width\" cannot change while records flow|\"a\"");
	EXPECT("local a = iog.param.number { 'a', 64 }\n" MD "md:crop { { 0, a } }:to(iog.sink.null {})\n",
		"3: a live parameter inside a list");
	struct iog_lua_set set[2] = { { "quality", "77", false }, { "out", "b-%d.jpg", false } };
	struct iog_graph *g = correct(text, set, 2);
	assert_string_equal(value(g, "jpeg", "quality"), "77");
	assert_string_equal(value(g, "image", "path"), "b-%d.jpg");
	assert_true(set[0].used && set[1].used);
	struct iog_err err;
	assert_int_equal(iog_graph_live_set(g, "quality", 30, &err), 0);
	assert_string_equal(value(g, "jpeg", "quality"), "30");
	assert_int_equal(iog_graph_live_set(g, "quality", 101, &err), -22);
	iog_graph_free(g);
	g = correct(text, NULL, 0);
	assert_string_equal(value(g, "jpeg", "quality"), "50");
	iog_graph_free(g);
	const char *region = "local roi = iog.param.region { 'roi', y = { 2, 20 }, x = { 4, 40 }, per = 'viewer' }\n" MD
			     "md:render { width = 64, height = 64 }:crop { roi }:png {}:to(iog.sink.null {})\n";
	g = correct(region, &(struct iog_lua_set){ "roi.1.hi", "44", false }, 1); /* x: parts are counted in the order of their names */
	const char *box = value(g, "crop", "box");
	assert_non_null(strstr(box, "44"));
	assert_int_equal(iog_graph_live_set(g, "roi.2.lo", 3, &err), 0);
	iog_graph_free(g);
}

/* ---- the sandbox ---- */

static void nothing_of_the_machine_is_reachable(void **state)
{
	(void)state;
	static const char *const gone[] = { "string.dump", "string.gsub", "string.find", "string.pack", "('').gsub", "('').dump",
		"table.move" };
	static const char *const gone_too[] = { "io", "os", "debug", "package", "coroutine", "load", "loadfile", "dofile", "loadstring",
		"collectgarbage", "rawset", "setmetatable", "getmetatable", "pcall", "xpcall", "utf8", "_G.io", "_G._G.os" };
	for (size_t i = 0; i < sizeof gone_too / sizeof *gone_too; i++) {
		char text[300];
		/* Not even a name in the table of globals. */
		snprintf(text, sizeof text, MD END "for k, v in pairs(_G) do if k == '%s' then error('reachable') end end\nlocal x = %s\n",
			strrchr(gone_too[i], '.') ? strrchr(gone_too[i], '.') + 1 : gone_too[i], gone_too[i]);
		EXPECT(text, "4: graph files have no \"");
	}
	for (size_t i = 0; i < sizeof gone / sizeof *gone; i++) {
		char text[300];
		snprintf(text, sizeof text, MD END "if %s ~= nil then error('reachable') end\n", gone[i]);
		iog_graph_free(correct(text, NULL, 0));
	}
	EXPECT(MD END "require 'os'\n", "3: require: graph files can only require \"iog\"");
	EXPECT("\x1bLua binary\n", "0: attempt to load a binary chunk");
	/* What a graph file needs is there, and does what it should. */
	iog_graph_free(correct(MD
		"for i, w in ipairs { 64, 128 } do\n md:render { width = w, height = math.floor(w / 2) }\n"
		" :png {}:to(iog.sink.image(string.format('%d-%%d.png', i)))\nend\n"
		"local t = {}\nfor k, v in pairs { a = 1 } do t[#t + 1] = k:upper() .. ('-'):rep(3, '+') end\n"
		"assert(table.concat(t) == 'A-+-+-' and (''):rep(5) == '' and ('ab'):rep(2) == 'abab' and ('x'):rep(-1) == '')\n",
		NULL, 0));
}

static void every_file_comes_to_an_end(void **state)
{
	(void)state;
	EXPECT(MD END "while true do end\n", "3: does not come to an end");
	EXPECT(MD END "local function f()\n return f()\nend\nf()\n", "4: does not come to an end");
	EXPECT(MD END "local function f()\n return 1 + f()\nend\nf()\n", "4: ");
	EXPECT(MD END "local t = {}\nwhile true do\n t[#t + 1] = ('x'):rep(1000) .. #t\nend\n", "5: needs more than 64 MiB of memory");
	EXPECT(MD END "local s = 'x'\nwhile true do s = s .. s end\n", "4: needs more than 64 MiB of memory");
	EXPECT(MD END "local s = ('x'):rep(1e10)\n", "3: string.rep: the result would be longer");
	EXPECT(MD END "local s = ('x'):rep(2^62)\n", "3: string.rep: the result would be longer");
	EXPECT(MD END "local s = ('x'):rep(3, ('y'):rep(3e7))\n", "3: string.rep: the result would be longer");
	iog_graph_free(correct(MD END "local s = (''):rep(math.maxinteger)\n", NULL, 0));
	/* Much work for few steps: the clock ends it. */
	EXPECT(MD END "while true do table.unpack({}, 1, 900000) end\n", "3: does not come to an end");
	EXPECT(MD "local t = {}\nfor i = 1, 300 do t[i] = 'position' end\nmd:stats(t):to(iog.sink.null {})\n",
		"4: stats: more than 256 values");
	EXPECT(MD END "for i = 1, 1e6 do iog.source.synthetic {} end\n", "3: the graph has more than 4096 nodes");
	struct iog_graph *g = load("for i = 1, 1e6 do local x = iog.sorce end\n", NULL, 0);
	const struct iog_diag *d;
	uint32_t n = iog_graph_diags(g, &d);
	assert_int_equal(n, 101);
	assert_string_equal(d[100].text, "too many mistakes; the rest is not looked at");
	iog_graph_free(g);
}

static void error_objects_of_all_kinds(void **state)
{
	(void)state;
	EXPECT(MD END "error {}\n", "3: error(...) was called with something that is not a text");
	EXPECT(MD END "error()\n", "3: error(...) was called with something that is not a text");
	EXPECT(MD END "error('mine')\n", "3: mine");
	EXPECT(MD END "error('mine', 0)\n", "3: mine");
	EXPECT(MD END "local function must(x)\n if not x then error('x is missing', 2) end\nend\nmust(false)\n", "6: x is missing");
	EXPECT(MD END "assert(false, {})\n", "3: error(...) was called");
	EXPECT(MD END "error('%s%n%d')\n", "3: %s%n%d");
}

/* ---- correct graphs ---- */

static void forks_merges_and_queues(void **state)
{
	(void)state;
	struct iog_graph *g = correct("local iog = require 'iog'\n" MD "local a = md:filter { 'type == 1', name = 'ones' }\n"
				      "local b = md:filter 'type == 2'\n"
				      "a:merge(b, { along = 'atom' }):to(iog.sink.null {}, iog.sink.null { bytes = '1MiB' })\n"
				      "md:queue { policy = 'drop-new', bytes = 1048576 }\n"
				      "  :stats { 'position', 'mass' }:on 'sidecore':to(iog.sink.table 'a.csv')\n"
				      "md:stats():never 'vm':to(iog.sink.null { policy = 'latest' })\n",
		NULL, 0);
	struct iog_gnode *m = node(g, "merge"), *n;
	iog_graph_nodes(g, &n);
	assert_int_equal(m->n_in, 2);
	assert_string_equal(n[m->in[0].node].name, "ones");
	assert_string_equal(n[m->in[1].node].name, "filter");
	assert_string_equal(value(g, "merge", "along"), "atom");
	assert_int_equal(m->n_users, 2);
	assert_int_equal(node(g, "null.2")->opt.bytes, 1 << 20);
	assert_int_equal(node(g, "stats")->opt.policy, IOG_DROP_NEW);
	assert_int_equal(node(g, "stats")->opt.bytes, 1 << 20);
	assert_int_equal(node(g, "stats")->target, IOG_T_SIDECORE);
	assert_int_equal(node(g, "stats.2")->never, 1 << IOG_T_VM);
	/* Options of one branch are not those of the others. */
	assert_false(node(g, "stats.2")->opt.policy_set);
	assert_false(node(g, "ones")->opt.policy_set);
	assert_int_equal(node(g, "null.3")->opt.policy, IOG_LATEST);
	assert_int_equal(node(g, "stats.2")->line, 8);
	struct iog_cut cut;
	assert_int_equal(iog_graph_cut(g, true, IOG_T_HOST, &cut), 0);
	iog_cut_free(&cut);
	iog_graph_free(g);
}

/* A box that cannot change says what is left; one that follows a region may grow. */
static void crops_declare_what_is_left(void **state)
{
	(void)state;
	const char *live = "local roi = iog.param.region { 'roi', x = { 8, 40 }, y = { 4, 30 } }\n" MD
			   "md:render { width = 64, height = 48 }:crop { roi }:png {}:to(iog.sink.null {})\n";
	struct iog_graph *g = correct(
		MD "md:render { width = 64, height = 48 }:crop { x = { 8, 40 }, y = { 4, 30 } }:png {}:to(iog.sink.null {})\n", NULL, 0);
	const struct iog_gnode *n = node(g, "crop");
	assert_true(n->out[0].dim[0].max == 26 && n->out[0].dim[0].fixed && n->out[0].dim[1].max == 32 && n->out[0].dim[1].fixed);
	const uint64_t bytes = n->bound[0];
	assert_true(bytes >= 26 * 32 * 3 && bytes < 26 * 32 * 3 + 4096);
	iog_graph_free(g);
	g = correct(live, NULL, 0);
	n = node(g, "crop");
	assert_true(n->out[0].dim[0].max == 48 && !n->out[0].dim[0].fixed && n->out[0].dim[1].max == 64 && n->bound[0] > bytes);
	struct iog_err err = { "" };
	assert_int_equal(iog_graph_live_set(g, "roi.1.hi", 60, &err), 0);
	iog_graph_free(g);
}

static void a_queue_does_not_leak_into_other_branches(void **state)
{
	(void)state;
	struct iog_graph *g = correct(MD "local s = md:filter 'x > 1'\n"
					 "s:queue { policy = 'latest' }:to(iog.sink.null {})\ns:to(iog.sink.null {})\n",
		NULL, 0);
	assert_int_equal(node(g, "null")->opt.policy, IOG_LATEST);
	assert_false(node(g, "null.2")->opt.policy_set);
	iog_graph_free(g);
}

/* imd has a parameter that is called like an option of edges. */
static void parameters_come_before_options(void **state)
{
	(void)state;
	struct iog_graph *g = correct("iog.source.imd { '127.0.0.1:1', atoms = 4, timeout = '3s' }:to(iog.sink.null {})\n", NULL, 0);
	assert_string_equal(value(g, "imd", "timeout"), "3");
	iog_graph_free(g);
}

static void files_and_long_paths(void **state)
{
	(void)state;
	char path[200] = "/tmp/";
	struct iog_graph *g = iog_lua_load("/nonexistent/g.lua", NULL, 0);
	const struct iog_diag *d;
	assert_int_equal(iog_graph_diags(g, &d), 1);
	assert_non_null(strstr(d->text, "cannot read the graph: No such file"));
	iog_graph_free(g);
	/* Lua shortens paths of 60 bytes and more in its own messages. */
	memset(path + 5, 'p', 100);
	snprintf(path + 105, sizeof path - 105, "-%d.lua", (int)getpid());
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(MD END "local = 1\n", f);
	fclose(f);
	g = iog_lua_load(path, NULL, 0);
	unlink(path);
	assert_int_equal(iog_graph_diags(g, &d), 1);
	assert_string_equal(d->file, path);
	assert_int_equal(d->line, 3);
	assert_string_equal(d->text, "<name> expected near '='");
	iog_graph_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(misspelt_names),
		cmocka_unit_test(wrong_values),
		cmocka_unit_test(missing_things),
		cmocka_unit_test(schema_does_not_fit),
		cmocka_unit_test(syntax_and_calls),
		cmocka_unit_test(variables_there_are_not),
		cmocka_unit_test(circles),
		cmocka_unit_test(intervals_that_are_none),
		cmocka_unit_test(places_that_contradict),
		cmocka_unit_test(parameters_nobody_uses),
		cmocka_unit_test(two_values_for_one_parameter),
		cmocka_unit_test(several_at_once_with_their_lines),
		cmocka_unit_test(parameters_from_outside),
		cmocka_unit_test(nothing_of_the_machine_is_reachable),
		cmocka_unit_test(every_file_comes_to_an_end),
		cmocka_unit_test(error_objects_of_all_kinds),
		cmocka_unit_test(forks_merges_and_queues),
		cmocka_unit_test(crops_declare_what_is_left),
		cmocka_unit_test(a_queue_does_not_leak_into_other_branches),
		cmocka_unit_test(parameters_come_before_options),
		cmocka_unit_test(files_and_long_paths),
	};
	return cmocka_run_group_tests_name("graph files", tests, NULL, NULL);
}
