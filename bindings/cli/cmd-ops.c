/* SPDX-License-Identifier: BSD-3-Clause */
/* `iog ops`: what graphs are made of, written from the tables of operators and endpoints. One thread. */
#include <jansson.h>
#include <math.h>

#include "cli.h"
#include "runtime/host/endpoint.h"

extern const struct iog_cli_cmd iog_cmd_ops;

/* An operator or an endpoint as this page sees it. */
struct item {
	uint8_t kind; /* enum iog_gkind */
	const char *name, *summary;
	const struct iog_param *params;
	const struct iog_op *op;
	bool safe;
};
enum { ITEMS = 256 };
static const char *const KIND[] = { "source", "operator", "sink" };
static const char *const MANY[] = { "sources", "operators", "sinks" };

static unsigned items(struct item *it)
{
	unsigned n = 0;
	for (const struct iog_source *const *s = iog_sources; *s && n < ITEMS; s++)
		it[n++] = (struct item){ .kind = IOG_G_SOURCE, .name = (*s)->name, .summary = (*s)->summary, .params = (*s)->params };
	for (const struct iog_op *const *o = iog_ops; *o && n < ITEMS; o++)
		it[n++] = (struct item){ .kind = IOG_G_OP, .name = (*o)->name, .summary = (*o)->summary, .params = (*o)->params, .op = *o };
	for (const struct iog_sink *const *s = iog_sinks; *s && n < ITEMS; s++)
		it[n++] = (struct item){ .kind = IOG_G_SINK,
			.name = (*s)->name,
			.summary = (*s)->summary,
			.params = (*s)->params,
			.safe = (*s)->flags & IOG_SINK_SAFE };
	return n;
}

/* ---- an example line, made from the table ---- */

/* A value somebody could write for p. */
static void value_text(const struct iog_param *p, char *dst, size_t size)
{
	const char *def = p->def ? p->def : "";
	bool worded = p->type == IOG_P_STRING || p->type == IOG_P_SIZE || p->type == IOG_P_SECONDS || p->type == IOG_P_EXPR ||
		      p->type == IOG_P_CHOICE;
	double d = 1;
	if (def[0]) {
		snprintf(dst, size, worded ? "\"%s\"" : "%s", def);
		return;
	}
	switch (p->type) {
	case IOG_P_BOOL: snprintf(dst, size, "true"); break;
	case IOG_P_INT:
	case IOG_P_NUMBER:
		if (p->max > p->min)
			d = p->min > 1 ? p->min : p->max < 1 ? p->max : 1;
		snprintf(dst, size, "%g", d);
		break;
	case IOG_P_STRING: snprintf(dst, size, "\"%s\"", p->name); break;
	case IOG_P_CHOICE: snprintf(dst, size, "\"%.*s\"", (int)strcspn(p->choices, "|"), p->choices); break;
	case IOG_P_EXPR: snprintf(dst, size, "\"x > 0.5\""); break;
	case IOG_P_SIZE: snprintf(dst, size, "\"1MiB\""); break;
	case IOG_P_SECONDS: snprintf(dst, size, "\"5s\""); break;
	case IOG_P_NUMBERS: snprintf(dst, size, "{ 1, 2 }"); break;
	case IOG_P_NAMES: snprintf(dst, size, "{ \"position\" }"); break;
	case IOG_P_INTERVALS: snprintf(dst, size, "{ x = {0, 10}, y = {0, 10} }"); break;
	default: dst[0] = 0;
	}
}

/* Required parameters, and one more that can be chosen. */
static void example(const struct item *it, char *dst, size_t size)
{
	char args[512] = "", v[200];
	const struct iog_param *first = it->params ? iog_param_first(it->params) : NULL, *shown = NULL;
	size_t at = 0;
	unsigned named = 0;
	bool required = first && (first->flags & IOG_PF_REQUIRED);
	for (const struct iog_param *p = it->params; p && p->name; p++) {
		bool other = !shown && p != first && p->def && p->def[0] && p->type != IOG_P_STRING;
		if (p == first || (!(p->flags & IOG_PF_REQUIRED) && !other))
			continue;
		shown = other ? p : shown;
		value_text(p, v, sizeof v);
		at += (size_t)snprintf(args + at, sizeof args - at, "%s%s = %s", named++ ? ", " : "", p->name, v);
		if (at >= sizeof args)
			break;
	}
	bool lead = first && (required || !named);
	if (lead)
		value_text(first, v, sizeof v);
	const char *head = it->kind == IOG_G_SOURCE ? "local md = iog.source."
			   : it->kind == IOG_G_SINK ? "md:to(iog.sink."
						    : "local out = md:";
	const char *tail = it->kind == IOG_G_SINK ? ")" : "";
	bool braces = lead && v[0] == '{';
	if (lead && !named)
		snprintf(dst, size, braces ? "%s%s%s%s%s" : "%s%s(%s%s)%s", head, it->name, v, "", tail);
	else
		snprintf(dst, size, "%s%s { %s%s%s }%s", head, it->name, lead ? v : "", lead && named ? ", " : "", args, tail);
	if (it->op && it->op->in_min > 1)
		snprintf(dst, size, "local out = a:%s(b)", it->name);
	else if (!lead && !named)
		snprintf(dst, size, "%s%s {}%s", head, it->name, tail);
}

/* ---- text ---- */

static void list(const struct item *it, unsigned n)
{
	static const uint8_t order[] = { IOG_G_SOURCE, IOG_G_OP, IOG_G_SINK };
	for (unsigned k = 0; k < IOG_COUNT(order); k++) {
		if (k)
			printf("\n");
		iog_cli_head(MANY[order[k]]);
		for (unsigned i = 0; i < n; i++)
			if (it[i].kind == order[k])
				printf("  %-12s %s\n", it[i].name, it[i].summary);
	}
	printf("\n`iog ops NAME` explains one: parameters, defaults, an example.\n");
}

static void range_text(const struct iog_param *p, char *dst, size_t size)
{
	dst[0] = 0;
	if (p->type == IOG_P_CHOICE) {
		size_t at = 0;
		for (const char *c = p->choices; *c && at < size;) {
			size_t n = strcspn(c, "|");
			at += (size_t)snprintf(dst + at, size - at, "%s%.*s", at ? ", " : "", (int)n, c);
			c += n + (c[n] == '|');
		}
	} else if (p->max > p->min) {
		snprintf(dst, size, "%g to %g", p->min, p->max);
	}
}

static void explain(const struct item *it)
{
	char text[1024];
	snprintf(text, sizeof text, "%s (%s)", it->name, KIND[it->kind]);
	iog_cli_head(text);
	iog_cli_wrap(stdout, "  ", it->summary);
	printf("\n");
	if (!it->params || !it->params[0].name)
		printf("  It has no parameters.\n\n");
	for (const struct iog_param *p = it->params; p && p->name; p++) {
		char range[300];
		range_text(p, range, sizeof range);
		printf("  %s: %s%s%s", p->name, iog_ptype_name(p->type), p->unit ? " in " : "", p->unit ? p->unit : "");
		if (range[0])
			printf(", %s", range);
		if (p->flags & IOG_PF_REQUIRED)
			printf(", required");
		else if (p->def && p->def[0])
			printf(", default %s", p->def);
		if (p->flags & IOG_PF_LIVE)
			printf(", live");
		if (p->flags & IOG_PF_FIRST)
			printf(", may be given without its name");
		printf("\n");
		iog_cli_wrap(stdout, "      ", p->doc);
	}
	if (it->params && it->params[0].name)
		printf("\n");
	if (it->op) {
		const struct iog_op *o = it->op;
		printf("  inputs: %u%s", o->in_min, "");
		if (o->in_max > o->in_min)
			printf(" to %u", o->in_max);
		printf("; outputs: %u\n", o->outs);
		printf("  runs on: host, sidecore%s; %s; %s\n", o->flags & IOG_FREESTANDING ? ", vm" : "",
			o->flags & IOG_STATELESS ? "keeps nothing between records" : "keeps state between records",
			o->flags & IOG_DETERMINISTIC ? "may stand above a sink with release = \"safe\""
						     : "not above a sink with release = \"safe\"");
		printf("  options: name, on, never; of the edge into it: policy, bytes (by :queue {})\n\n");
	} else {
		printf("  options: name%s\n\n",
			it->kind == IOG_G_SOURCE ? ""
			: it->safe               ? ", policy, bytes, release (fast or safe); with policy = \"spill\" spill_bytes, spill_dir"
						 : ", policy, bytes; with policy = \"spill\" spill_bytes, spill_dir");
	}
	example(it, text, sizeof text);
	printf("  example: %s\n", text);
}

/* ---- JSON ---- */

static json_t *param_json(const struct iog_param *p)
{
	char range[300];
	range_text(p, range, sizeof range);
	json_t *j = json_pack("{s:s, s:s, s:s, s:b, s:b, s:b}", "name", p->name, "type", iog_ptype_name(p->type), "doc", p->doc, "required",
		!!(p->flags & IOG_PF_REQUIRED), "live", !!(p->flags & IOG_PF_LIVE), "first", !!(p->flags & IOG_PF_FIRST));
	if (p->def)
		json_object_set_new(j, "default", json_string(p->def));
	if (p->unit)
		json_object_set_new(j, "unit", json_string(p->unit));
	if (p->type == IOG_P_CHOICE) {
		json_t *c = json_array();
		for (const char *s = p->choices; *s;) {
			size_t n = strcspn(s, "|");
			json_array_append_new(c, json_stringn(s, n));
			s += n + (s[n] == '|');
		}
		json_object_set_new(j, "choices", c);
	} else if (p->max > p->min) {
		json_object_set_new(j, "min", json_real(p->min));
		json_object_set_new(j, "max", json_real(p->max));
	}
	return j;
}

static json_t *item_json(const struct item *it)
{
	char text[1024];
	json_t *params = json_array();
	for (const struct iog_param *p = it->params; p && p->name; p++)
		json_array_append_new(params, param_json(p));
	example(it, text, sizeof text);
	json_t *j = json_pack("{s:s, s:s, s:s, s:o, s:s}", "name", it->name, "kind", KIND[it->kind], "summary", it->summary, "parameters",
		params, "example", text);
	if (it->op) {
		json_object_set_new(j, "inputs_min", json_integer(it->op->in_min));
		json_object_set_new(j, "inputs_max", json_integer(it->op->in_max));
		json_object_set_new(j, "outputs", json_integer(it->op->outs));
		json_object_set_new(j, "vm", json_boolean(it->op->flags & IOG_FREESTANDING));
		json_object_set_new(j, "stateless", json_boolean(it->op->flags & IOG_STATELESS));
		json_object_set_new(j, "deterministic", json_boolean(it->op->flags & IOG_DETERMINISTIC));
	}
	if (it->kind == IOG_G_SINK)
		json_object_set_new(j, "safe", json_boolean(it->safe));
	return j;
}

/* ---- the command ---- */

static const struct iog_cli_opt options[] = { { "json", 0, NULL, "the documentation as JSON" }, { .name = NULL } };

static int ops_run(int argc, char **argv)
{
	struct iog_cli_args a = { .cmd = &iog_cmd_ops, .argc = argc, .argv = argv };
	static struct item it[ITEMS];
	const char *name = NULL, *names[ITEMS];
	bool json = false;
	for (int o; (o = iog_cli_next(&a)) != IOG_ARG_END;) {
		if (o == 0)
			json = true;
		else if (name)
			return iog_cli_usage(a.cmd, "wants one name, got \"%s\" too", a.value);
		else
			name = a.value;
	}
	if (a.done)
		return a.code;
	unsigned n = items(it), found = 0;
	json_t *all = json_array();
	for (unsigned i = 0; i < n; i++) {
		names[i] = it[i].name;
		if (name && strcmp(it[i].name, name))
			continue;
		if (json) {
			json_array_append_new(all, item_json(&it[i]));
		} else if (name) {
			if (found)
				printf("\n");
			explain(&it[i]);
		}
		found++;
	}
	if (!found) {
		const char *near = iog_nearest(name, names, n);
		json_decref(all);
		fprintf(stderr, "iog ops: no operator, source or sink \"%s\"; %s%s%s\n", name, near ? "did you mean \"" : "",
			near ? near : "", near ? "\"?" : "`iog ops` lists them");
		return IOG_EXIT_USAGE;
	}
	if (json)
		return iog_cli_json(all);
	json_decref(all);
	if (!name)
		list(it, n);
	return iog_cli_flush() ? IOG_EXIT_OK : IOG_EXIT_FAILED;
}

const struct iog_cli_cmd iog_cmd_ops = {
	.name = "ops",
	.args = "[NAME]",
	.summary = "operators, sources and sinks, and their parameters",
	.about = "Lists what graphs are made of. With a name it explains that operator, source or sink: each parameter with type, range "
		 "and default, what can be "
		 "changed while records flow (live), where it can run, and an example.",
	.examples = "iog ops\niog ops filter\niog ops --json\n",
	.opt = options,
	.run = ops_run,
};
