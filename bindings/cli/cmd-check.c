/* SPDX-License-Identifier: BSD-3-Clause */
/* `iog check`: what every node gives, where it will run, and the memory the graph declares. One thread. */
#include <jansson.h>
#include <stdlib.h>

#include "bindings/lua/lua-graph.h"
#include "cli.h"

extern const struct iog_cli_cmd iog_cmd_check;

static const struct iog_cli_opt options[] = {
	{ "set", 0, "NAME=VALUE", "value of a parameter the graph declares (repeatable)" },
	{ "on", 0, "TARGET", "where stages without a wish of their own run: host, sidecore, vm (default host)" },
	{ "json", 0, NULL, "the mistakes and the memory as JSON" },
	{ .name = NULL },
};
enum { SET, ON, JSON };

static void node_text(const struct iog_graph *g, const struct iog_cut *cut, int id)
{
	struct iog_gnode *nodes;
	iog_graph_nodes(g, &nodes);
	const struct iog_gnode *n = &nodes[id];
	static const char *const kind[] = { "source", "operator", "sink" };
	const char *what = n->kind == IOG_G_OP ? n->op->name : n->end.name;
	const struct iog_unit *u = &cut->unit[n->unit];
	char title[400], figure[IOG_FIGURE];
	int at = snprintf(title, sizeof title, "%s", n->name);
	if (strcmp(n->name, what))
		at += snprintf(title + at, sizeof title - (size_t)at, " (%s)", what);
	at += snprintf(title + at, sizeof title - (size_t)at, ": %s, line %d", kind[n->kind], n->line);
	if (n->kind == IOG_G_OP)
		at += snprintf(title + at, sizeof title - (size_t)at, ", on %s%s%s", iog_target_name(u->target),
			u->n_nodes > 1 ? " in stage " : "", u->n_nodes > 1 ? u->name : "");
	if (n->n_in) {
		at += snprintf(title + at, sizeof title - (size_t)at, ", from");
		for (uint32_t k = 0; k < n->n_in && (size_t)at < sizeof title; k++)
			at += snprintf(title + at, sizeof title - (size_t)at, "%s %s", k ? "," : "", nodes[n->in[k].node].name);
	}
	iog_cli_head(title);
	for (uint32_t o = 0; o < n->n_out; o++) {
		const struct iog_schema *s = &n->out[o];
		char text[8192];
		size_t len = iog_schema_text(s, true, text, sizeof text);
		if (n->n_out > 1)
			printf("    output %u\n", o + 1);
		bool same = n->n_in && s->id == nodes[n->in[0].node].out[n->in[0].port].id;
		for (uint32_t d = 0; same && d < s->n_dims; d++)
			same = s->dim[d].max == nodes[n->in[0].node].out[n->in[0].port].dim[d].max;
		if (same) {
			printf("    variables and maxima like those of its input\n");
		} else {
			for (char *p = text, *line; len < sizeof text && (line = strsep(&p, "\n"));)
				if (*line)
					printf("    %s\n", line);
		}
		printf("    at most %s a record\n", iog_show_bytes(figure, (double)n->bound[o]));
	}
}

static void memory(const struct iog_cut *cut)
{
	static const struct iog_cli_col col[] = { { "edge", false, false }, { "records", true, false }, { "bytes each", true, false },
		{ "when full", false, false }, { "release", false, false } };
	static const struct iog_cli_col arena[] = { { "memory of", false, false }, { "slots", true, false },
		{ "bytes a slot", true, false }, { "static", true, true }, { "together", true, false } };
	char f[IOG_FIGURE], name[2 * IOG_TEXT + 8];
	struct iog_cli_table *t = iog_cli_table_new(col, IOG_COUNT(col));
	for (uint32_t k = 0; k < cut->n_edges; k++) {
		const struct iog_uedge *e = &cut->edge[k];
		snprintf(name, sizeof name, "%s -> %s", cut->unit[e->from].name, cut->unit[e->to].name);
		iog_cli_table_cell(t, name);
		iog_cli_table_cell(t, iog_cli_count(f, e->capacity));
		iog_cli_table_cell(t, iog_show_bytes(f, (double)cut->unit[e->from].slot_bytes[e->from_port]));
		iog_cli_table_cell(t, iog_uedge_policy(e));
		iog_cli_table_cell(t, e->safe ? "safe" : "fast");
	}
	printf("\n");
	iog_cli_table_print(t, stdout, "");
	t = iog_cli_table_new(arena, IOG_COUNT(arena));
	for (uint32_t i = 0; i < cut->n_units; i++)
		for (uint32_t q = 0; q < cut->unit[i].n_out; q++) {
			const struct iog_unit *u = &cut->unit[i];
			snprintf(name, sizeof name, u->n_out > 1 ? "%s, output %u" : "%s", u->name, q + 1);
			iog_cli_table_cell(t, name);
			iog_cli_table_cell(t, iog_cli_count(f, u->n_slots[q]));
			iog_cli_table_cell(t, iog_show_bytes(f, (double)u->slot_bytes[q]));
			iog_cli_table_cell(t, u->static_bytes[q] ? iog_show_bytes(f, (double)u->static_bytes[q]) : "-");
			iog_cli_table_cell(t, iog_show_bytes(f, (double)u->static_bytes[q] + (double)u->slot_bytes[q] * u->n_slots[q]));
		}
	printf("\n");
	iog_cli_table_print(t, stdout, "");
	printf("\ntotal memory %s\n", iog_show_bytes(f, (double)iog_cut_bytes(cut)));
}

/* What is wrong, for other programs: the exit code is the same, and nothing is said elsewhere. */
static int check_json(const char *file, struct iog_lua_set *set, uint32_t n_set, enum iog_target target)
{
	struct iog_cli_graph cg;
	int rc = iog_cli_open(&cg, file, set, n_set, target);
	uint32_t n = 0;
	const struct iog_diag **d = cg.g ? iog_cli_diags(cg.g, &n) : NULL;
	json_t *list = json_array();
	for (uint32_t i = 0; i < n; i++)
		json_array_append_new(list, json_pack("{s:o, s:o, s:o, s:b}", "file", iog_cli_text(d[i]->file), "line",
						    d[i]->line ? json_integer(d[i]->line) : json_null(), "text", iog_cli_text(d[i]->text),
						    "warning", d[i]->warning));
	if (rc && !n)
		json_array_append_new(
			list, json_pack("{s:o, s:n, s:s, s:b}", "file", iog_cli_text(file), "line", "text", strerror(-rc), "warning", 0));
	free(d);
	int code = iog_cli_json(json_pack("{s:o, s:b, s:o, s:o}", "graph", iog_cli_text(file), "right", !rc, "mistakes", list,
		"memory_bytes", rc ? json_null() : json_integer((json_int_t)iog_cut_bytes(&cg.cut))));
	iog_cli_unload(&cg);
	return rc ? IOG_EXIT_FAILED : code;
}

static int check_run(int argc, char **argv)
{
	struct iog_cli_args a = { .cmd = &iog_cmd_check, .argc = argc, .argv = argv };
	struct iog_lua_set set[IOG_CLI_SETS];
	const char *file = NULL;
	uint32_t n_set = 0;
	enum iog_target target = IOG_T_ANY;
	bool json = false;
	for (int o; (o = iog_cli_next(&a)) != IOG_ARG_END;) {
		if (o == SET)
			iog_cli_set(&a, set, &n_set);
		else if (o == ON)
			iog_cli_target(&a, &target);
		else if (o == JSON)
			json = true;
		else if (file)
			return iog_cli_usage(a.cmd, "wants one graph, got \"%s\" too", a.value);
		else
			file = a.value;
	}
	if (a.done)
		return a.code;
	if (!file)
		return iog_cli_usage(a.cmd, "wants a graph file");
	if (json)
		return check_json(file, set, n_set, target);
	struct iog_cli_graph cg;
	if (iog_cli_load(&cg, file, set, n_set, target))
		return IOG_EXIT_FAILED;
	struct iog_gnode *nodes;
	for (uint32_t i = 0; i < iog_graph_nodes(cg.g, &nodes); i++)
		node_text(cg.g, &cg.cut, (int)i);
	memory(&cg.cut);
	iog_cli_unload(&cg);
	return iog_cli_flush() ? IOG_EXIT_OK : IOG_EXIT_FAILED;
}

const struct iog_cli_cmd iog_cmd_check = {
	.name = "check",
	.args = "FILE",
	.summary = "checks a graph: mistakes, schemas, memory",
	.about = "Loads a graph and checks everything that can be known before a record flows. For each node it prints the variables of "
		 "its records with "
		 "their types, dimensions and largest extents, then how many records each edge holds and the memory the graph reserves.\n\n"
		 "Mistakes are printed as file:line: text, all of them, and the exit code is 1.",
	.examples = "iog check melt.lua\niog check melt.lua --set cutoff=0.3 --on sidecore\niog check melt.lua --json\n",
	.opt = options,
	.run = check_run,
};
