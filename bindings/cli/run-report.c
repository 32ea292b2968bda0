/* SPDX-License-Identifier: BSD-3-Clause */
/* The summary of a run: what each source, stage and sink did and where, what was lost and why, the time of each operator. One thread. */
#include <jansson.h>
#include <stdlib.h>

#include "cmd-run.h"

static const char *const KIND[] = { "source", "stage", "sink" };

struct stats {
	struct iog_unit_stats *unit;
	struct iog_node_stats *node;
	uint32_t n_units, n_nodes;
};

static bool stats_get(const struct iog_run_report *r, struct stats *s)
{
	struct iog_gnode *nodes;
	uint32_t n = iog_graph_nodes(r->g, &nodes);
	s->unit = calloc(r->cut->n_units + 1, sizeof *s->unit);
	s->node = calloc(n + 1, sizeof *s->node);
	if (!s->unit || !s->node) {
		free(s->unit);
		free(s->node);
		fprintf(stderr, "iog: out of memory for the summary\n");
		return false;
	}
	s->n_units = IOG_MIN(iog_engine_unit_stats(r->e, s->unit, r->cut->n_units), r->cut->n_units);
	s->n_nodes = iog_engine_node_stats(r->e, s->node, n);
	return true;
}

static void stats_free(struct stats *s)
{
	free(s->unit);
	free(s->node);
}

/* ---- for people ---- */

static void count(struct iog_cli_table *t, uint64_t n)
{
	char f[IOG_FIGURE];
	iog_cli_table_cell(t, n ? iog_cli_count(f, (double)n) : "-");
}

/* Records in or out: nought is said where records could have been. */
static void flow(struct iog_cli_table *t, bool has, uint64_t records, uint64_t bytes)
{
	char f[IOG_FIGURE];
	iog_cli_table_cell(t, has ? iog_cli_count(f, (double)records) : "");
	iog_cli_table_cell(t, has ? iog_show_bytes(f, (double)bytes) : "");
}

static void unit_table(const struct iog_run_report *r, const struct stats *s)
{
	static const struct iog_cli_col col[] = {
		{ "", false, false },
		{ "name", false, false },
		{ "where", false, false },
		{ "records in", true, false },
		{ "bytes in", true, false },
		{ "records out", true, false },
		{ "bytes out", true, false },
		{ "dropped", true, true },
		{ "elided", true, true },
		{ "bad", true, true },
		{ "failed", true, true },
		{ "repeated", true, true },
		{ "poisoned", true, true },
		{ "restarts", true, true },
		{ "CPU time", true, false },
	};
	struct iog_cli_table *t = iog_cli_table_new(col, IOG_COUNT(col));
	char f[IOG_FIGURE];
	for (uint32_t i = 0; i < s->n_units; i++) {
		const struct iog_unit_stats *u = &s->unit[i];
		uint8_t kind = r->cut->unit[i].kind;
		iog_cli_table_cell(t, KIND[kind]);
		iog_cli_table_cell(t, u->name);
		iog_cli_table_cell(t, u->target);
		flow(t, kind != IOG_G_SOURCE, u->in_records, u->in_bytes);
		flow(t, kind != IOG_G_SINK, u->out_records, u->out_bytes);
		count(t, u->dropped);
		count(t, u->elided);
		count(t, u->bad);
		count(t, u->failed);
		count(t, u->duplicates);
		count(t, u->poisoned);
		count(t, u->restarts);
		iog_cli_table_cell(t, u->cpu_s > 0 ? iog_cli_seconds(f, u->cpu_s) : "-");
	}
	iog_cli_table_print(t, stdout, "");
	for (uint32_t i = 0; i < s->n_units; i++)
		if (s->unit[i].note[0])
			printf("%s%s%s: %s\n", s->unit[i].name, r->cut->unit[i].kind == IOG_G_OP ? " ran on " : "",
				r->cut->unit[i].kind == IOG_G_OP ? s->unit[i].target : "", s->unit[i].note);
}

static void node_table(const struct stats *s)
{
	static const struct iog_cli_col col[] = {
		{ "operator", false, false },
		{ "records", true, false },
		{ "bytes in", true, false },
		{ "bytes out", true, false },
		{ "elided", true, true },
		{ "bad", true, true },
		{ "failed", true, true },
		{ "time", true, false },
		{ "a record", true, false },
		{ "of it", true, false },
	};
	double sum = 0;
	char f[IOG_FIGURE];
	for (uint32_t i = 0; i < s->n_nodes; i++)
		sum += s->node[i].seconds;
	struct iog_cli_table *t = iog_cli_table_new(col, IOG_COUNT(col));
	for (uint32_t i = 0; i < s->n_nodes; i++) {
		const struct iog_node_stats *n = &s->node[i];
		iog_cli_table_cell(t, n->name);
		iog_cli_table_cell(t, iog_cli_count(f, (double)n->records));
		iog_cli_table_cell(t, iog_show_bytes(f, n->bytes_in));
		iog_cli_table_cell(t, iog_show_bytes(f, n->bytes_out));
		count(t, n->elided);
		count(t, n->bad);
		count(t, n->failed);
		iog_cli_table_cell(t, n->records ? iog_cli_seconds(f, n->seconds) : "-");
		iog_cli_table_cell(t, n->records ? iog_cli_seconds(f, n->seconds / (double)n->records) : "-");
		snprintf(f, sizeof f, "%.0f %%", 100 * n->seconds / sum);
		iog_cli_table_cell(t, sum > 0 ? f : "-");
	}
	iog_cli_table_print(t, stdout, "");
}

bool iog_run_summary(const struct iog_run_report *r)
{
	struct stats s;
	char n[IOG_FIGURE], el[IOG_FIGURE], rate[IOG_FIGURE], mem[IOG_FIGURE];
	if (!stats_get(r, &s))
		return false;
	unit_table(r, &s);
	if (s.n_nodes) {
		printf("\n");
		node_table(&s);
	}
	double delivered = (double)iog_engine_delivered(r->e);
	iog_cli_rate(rate, delivered, r->elapsed_s, "records");
	bool known = strcmp(rate, "-");
	printf("\n%s: %s records delivered in %s%s%s%s, %s of memory reserved\n",
		r->failed   ? "failed"
		: r->signal ? "interrupted"
			    : "done",
		iog_cli_count(n, delivered), iog_cli_seconds(el, r->elapsed_s), known ? " (" : "", known ? rate : "", known ? ")" : "",
		iog_show_bytes(mem, (double)iog_cut_bytes(r->cut)));
	stats_free(&s);
	return iog_cli_flush();
}

/* ---- for programs ---- */

static json_t *unit_json(const struct iog_unit_stats *u, uint8_t kind)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f}", "name", u->name, "kind",
		KIND[kind], "target", u->target, "note", u->note, "records_in", (json_int_t)u->in_records, "bytes_in",
		(json_int_t)u->in_bytes, "records_out", (json_int_t)u->out_records, "bytes_out", (json_int_t)u->out_bytes, "dropped",
		(json_int_t)u->dropped, "elided", (json_int_t)u->elided, "bad", (json_int_t)u->bad, "failed", (json_int_t)u->failed,
		"repeated", (json_int_t)u->duplicates, "poisoned", (json_int_t)u->poisoned, "restarts", (json_int_t)u->restarts,
		"cpu_seconds", u->cpu_s);
}

static json_t *node_json(const struct iog_node_stats *n)
{
	return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f}", "name", n->name, "operator", n->op, "records",
		(json_int_t)n->records, "records_out", (json_int_t)n->out, "elided", (json_int_t)n->elided, "bad", (json_int_t)n->bad,
		"failed", (json_int_t)n->failed, "bytes_in", n->bytes_in, "bytes_out", n->bytes_out, "seconds", n->seconds);
}

bool iog_run_json(const struct iog_run_report *r)
{
	struct stats s;
	if (!stats_get(r, &s))
		return false;
	json_t *units = json_array(), *nodes = json_array();
	for (uint32_t i = 0; i < s.n_units; i++)
		json_array_append_new(units, unit_json(&s.unit[i], r->cut->unit[i].kind));
	for (uint32_t i = 0; i < s.n_nodes; i++)
		json_array_append_new(nodes, node_json(&s.node[i]));
	json_t *j = json_pack("{s:o, s:s, s:o, s:i, s:f, s:I, s:I, s:o, s:o}", "graph", iog_cli_text(r->file), "result",
		r->failed   ? "failed"
		: r->signal ? "interrupted"
			    : "done",
		"error", iog_cli_text(r->failed ? r->error : ""), "signal", r->signal, "elapsed_seconds", r->elapsed_s, "records_delivered",
		(json_int_t)iog_engine_delivered(r->e), "memory_bytes", (json_int_t)iog_cut_bytes(r->cut), "units", units, "operators",
		nodes);
	stats_free(&s);
	return iog_cli_json(j) == IOG_EXIT_OK;
}
