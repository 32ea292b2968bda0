/* SPDX-License-Identifier: BSD-3-Clause */
/* What happened between two snapshots of an agent: rates, queues, times; as tables and as JSON. See top.h. */
#include <stdlib.h>
#include <string.h>

#include "runtime/host/late.h"
#include "top.h"

typedef const char *const *line;

/* ---- snapshots ---- */

bool iog_top_parse(struct iog_top *t, char *text)
{
	uint32_t lines = 0;
	for (const char *p = text; *p; p++)
		lines += *p == '\n';
	*t = (struct iog_top){ .text = text, .line = calloc(lines + 1, sizeof *t->line) };
	if (!t->line) {
		fprintf(stderr, "iog: out of memory\n");
		iog_top_free(t);
		return false;
	}
	for (char *p = text, *end; (end = strchr(p, '\n')); p = end + 1) {
		const char **f = t->line[t->n++];
		*end = 0;
		for (unsigned i = 0; i < IOG_TOP_FIELDS; i++) {
			f[i] = p;
			p += strcspn(p, "\t");
			if (*p)
				*p++ = 0;
		}
	}
	if (t->n && !strcmp(t->line[0][0], "top") && !strcmp(t->line[0][1], "1"))
		return true;
	fprintf(stderr, "iog: the agent does not say what top shows in a way this program knows; use programs of one release\n");
	iog_top_free(t);
	return false;
}

void iog_top_free(struct iog_top *t)
{
	free(t->text);
	free(t->line);
	*t = (struct iog_top){ .n = 0 };
}

/* The line of the same kind with the same `keys` fields behind that; NULL. */
static line same(const struct iog_top *t, line l, unsigned keys)
{
	for (uint32_t i = 0; i < t->n; i++) {
		unsigned k = 0;
		while (k <= keys && !strcmp(t->line[i][k], l[k]))
			k++;
		if (k > keys)
			return t->line[i];
	}
	return NULL;
}

static double number(const char *text) { return strtod(text, NULL); }
static double interval(const struct iog_top *before, const struct iog_top *now)
{
	const double s = (number(now->line[0][2]) - number(before->line[0][2])) * 1e-9;
	return s > 0 ? s : 1;
}
/* By how much field f grew, a second. A counter that began anew counts from there. */
static double rate(const struct iog_top *before, const struct iog_top *now, line l, unsigned keys, unsigned f)
{
	line old = same(before, l, keys);
	const double x = number(l[f]), was = old ? number(old[f]) : 0;
	return (x >= was ? x - was : x) / interval(before, now);
}

/* ---- units ---- */

struct unit {
	line l;
	double records, bytes, cpu; /* a second */
	double dropped, bad;        /* all together */
	double queued, capacity;    /* of the edges into it, together */
	double p50, p99;            /* s; 0: nothing was stored */
};

static void counts(const char *text, uint64_t *n, bool minus)
{
	char *end;
	for (; *text; text = *end == ',' ? end + 1 : end) {
		const unsigned long i = strtoul(text, &end, 10);
		if (*end != ':' || i >= IOG_LATE_BUCKETS)
			return;
		const uint64_t x = strtoull(end + 1, &end, 10);
		n[i] = minus ? n[i] - IOG_MIN(n[i], x) : x;
	}
}

static void percentiles(struct unit *u, const struct iog_top *before, const struct iog_top *now)
{
	const char *const key[] = { "late", u->l[1], u->l[2] };
	line l = same(now, key, 2), old = same(before, key, 2);
	uint64_t n[IOG_LATE_BUCKETS] = { 0 };
	if (!l)
		return;
	counts(l[3], n, false);
	if (old)
		counts(old[3], n, true);
	u->p50 = (double)iog_late_percentile(n, 0.5) * 1e-9;
	u->p99 = (double)iog_late_percentile(n, 0.99) * 1e-9;
}

/* Is e an edge into the unit l? */
static bool edge_into(line e, line l) { return !strcmp(e[0], "edge") && !strcmp(e[1], l[1]) && !strcmp(e[3], l[2]); }

static struct unit unit_of(const struct iog_top *before, const struct iog_top *now, line l)
{
	/* A sink's records are those it took, of others those they gave. */
	const bool sink = !strcmp(l[3], "sink");
	struct unit u = { .l = l,
		.records = rate(before, now, l, 2, sink ? 6 : 8),
		.bytes = rate(before, now, l, 2, sink ? 7 : 9),
		.cpu = rate(before, now, l, 2, 5) * 1e-9,
		.dropped = number(l[10]),
		.bad = number(l[11]) };
	for (uint32_t i = 0; i < now->n; i++) {
		line e = now->line[i];
		if (!edge_into(e, l))
			continue;
		u.queued += number(e[4]);
		u.capacity += number(e[5]);
	}
	percentiles(&u, before, now);
	return u;
}

/* ---- tables ---- */

__attribute__((format(printf, 2, 3))) static void cell(struct iog_cli_table *t, const char *fmt, ...)
{
	char text[200];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	iog_cli_table_cell(t, text);
}

static void cell_count(struct iog_cli_table *t, double n)
{
	char text[IOG_FIGURE];
	iog_cli_table_cell(t, n > 0 ? iog_cli_count(text, n) : "0");
}

/* "" when there are none, or it is not known. */
static void cell_some(struct iog_cli_table *t, double n)
{
	if (n > 0)
		cell_count(t, n);
	else
		iog_cli_table_cell(t, "");
}

static void cell_bytes(struct iog_cli_table *t, double n)
{
	static const char *const unit[] = { "B", "KiB", "MiB", "GiB" };
	unsigned k = 0;
	for (; n >= 1024 && k < 3; k++)
		n /= 1024;
	cell(t, "%.*f %s", n < 10 && k ? 1 : 0, n, unit[k]);
}

static void cell_time(struct iog_cli_table *t, double s)
{
	char text[IOG_FIGURE];
	iog_cli_table_cell(t, s > 0 ? iog_cli_seconds(text, s) : "-");
}

static void nodes(struct iog_cli_table *t, const struct iog_top *before, const struct iog_top *now, line u)
{
	for (uint32_t i = 0; i < now->n; i++) {
		line l = now->line[i];
		if (strcmp(l[0], "node") || strcmp(l[1], u[1]) || strcmp(l[2], u[2]))
			continue;
		cell(t, "  %s", l[3]);
		iog_cli_table_cell(t, "");
		cell_count(t, rate(before, now, l, 3, 6));
		cell_bytes(t, rate(before, now, l, 3, 8));
		for (int k = 0; k < 5; k++)
			iog_cli_table_cell(t, "");
		cell(t, "%.1f %%", rate(before, now, l, 3, 9) * 1e-7);
	}
}

static void graph(FILE *f, const struct iog_top *before, const struct iog_top *now, line g)
{
	static const struct iog_cli_col col[] = { { "node", false, false }, { "runs on", false, false }, { "records/s", true, false },
		{ "bytes/s", true, false }, { "queue", true, false }, { "dropped", true, true }, { "bad", true, true },
		{ "p50", true, true }, { "p99", true, true }, { "cpu", true, false } };
	struct iog_cli_table *t = iog_cli_table_new(col, IOG_COUNT(col));
	char delivered[IOG_FIGURE];
	bool any = false;
	iog_cli_print(
		f, "\ngraph %s: %s, %s delivered%s%s\n", g[1], g[2], iog_cli_count(delivered, number(g[3])), g[4][0] ? ", " : "", g[4]);
	for (uint32_t i = 0; t && i < now->n; i++) {
		line l = now->line[i];
		if (strcmp(l[0], "unit") || strcmp(l[1], g[1]))
			continue;
		const struct unit u = unit_of(before, now, l);
		any = true;
		iog_cli_table_cell(t, l[2]);
		iog_cli_table_cell(t, strcmp(l[3], "stage") ? l[3] : l[4]);
		cell_count(t, u.records);
		cell_bytes(t, u.bytes);
		u.capacity > 0 ? cell(t, "%.0f/%.0f", u.queued, u.capacity) : iog_cli_table_cell(t, "-");
		cell_some(t, u.dropped);
		cell_some(t, u.bad);
		cell_time(t, u.p50);
		cell_time(t, u.p99);
		cell(t, "%.1f %%", u.cpu * 100);
		nodes(t, before, now, l);
	}
	iog_cli_table_print(t, any ? f : NULL, "  ");
}

static void stream(FILE *f, const struct iog_top *before, const struct iog_top *now, line s)
{
	static const struct iog_cli_col col[] = { { "program", false, false }, { "as", false, false }, { "steps/s", true, false },
		{ "bytes/s", true, true }, { "dropped", true, true }, { "skipped", true, true }, { "blocked", true, true } };
	struct iog_cli_table *t = iog_cli_table_new(col, IOG_COUNT(col));
	bool any = false;
	iog_cli_print(f, "\nstream %s: %s, %s of %s ranks%s%s\n", s[1], s[2], s[3], s[4], s[6][0] ? ", " : "", s[6]);
	for (uint32_t i = 0; t && i < now->n; i++) {
		line l = now->line[i];
		const bool writes = !strcmp(l[0], "writer"), reads = !strcmp(l[0], "reader");
		if ((!writes && !reads) || strcmp(l[1], s[1]))
			continue;
		any = true;
		if (reads) {
			cell(t, "%s (%s)", l[2], l[3]);
			cell(t, "reader, %s", l[4]);
			cell_count(t, rate(before, now, l, 3, 5));
			for (int k = 0; k < 4; k++)
				iog_cli_table_cell(t, "");
			continue;
		}
		const bool known = strcmp(l[5], "-");
		cell(t, "%s (%s)", l[3], l[4]);
		cell(t, "rank %s", l[2]);
		known ? cell_count(t, rate(before, now, l, 4, 5)) : iog_cli_table_cell(t, "-");
		known ? cell_bytes(t, rate(before, now, l, 4, 6)) : iog_cli_table_cell(t, "-");
		cell_some(t, number(l[7]));
		cell_some(t, number(l[8]));
		known ? cell(t, "%.1f %%", IOG_MIN(rate(before, now, l, 4, 9) * 1e-7, 100.0)) : iog_cli_table_cell(t, "-");
	}
	iog_cli_table_print(t, any ? f : NULL, "  ");
}

void iog_top_print(FILE *f, const struct iog_top *before, const struct iog_top *now)
{
	line a = now->line[0];
	iog_cli_print(
		f, "agent %s, process %s: %.1f %% cpu%s%s\n", a[6], a[4], rate(before, now, a, 1, 3) * 1e-7, a[5][0] ? ", " : "", a[5]);
	for (uint32_t i = 0; i < now->n; i++)
		if (!strcmp(now->line[i][0], "graph"))
			graph(f, before, now, now->line[i]);
	for (uint32_t i = 0; i < now->n; i++)
		if (!strcmp(now->line[i][0], "stream"))
			stream(f, before, now, now->line[i]);
}

/* ---- JSON ---- */

static json_t *whole(const char *text) { return strcmp(text, "-") ? json_integer((json_int_t)strtoull(text, NULL, 10)) : json_null(); }

static json_t *unit_json(const struct iog_top *before, const struct iog_top *now, line l)
{
	const struct unit u = unit_of(before, now, l);
	json_t *nodes = json_array(), *inputs = json_array();
	for (uint32_t i = 0; i < now->n; i++) {
		line n = now->line[i];
		if (edge_into(n, l))
			json_array_append_new(inputs, json_pack("{s:o,s:o,s:o,s:o}", "from", iog_cli_text(n[2]), "queued", whole(n[4]),
							      "capacity", whole(n[5]), "policy", iog_cli_text(n[6])));
		if (strcmp(n[0], "node") || strcmp(n[1], l[1]) || strcmp(n[2], l[2]))
			continue;
		json_array_append_new(
			nodes, json_pack("{s:o,s:o,s:o,s:f,s:f,s:f}", "name", iog_cli_text(n[3]), "operator", iog_cli_text(n[4]), "records",
				       whole(n[6]), "records_per_s", rate(before, now, n, 3, 6), "bytes_per_s", rate(before, now, n, 3, 8),
				       "cpu", rate(before, now, n, 3, 9) * 1e-9));
	}
	return json_pack("{s:o,s:o,s:o,s:o,s:f,s:f,s:f,s:f,s:f,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "name", iog_cli_text(l[2]), "kind",
		iog_cli_text(l[3]), "target", iog_cli_text(l[4]), "records", whole(!strcmp(l[3], "sink") ? l[6] : l[8]), "records_per_s",
		u.records, "bytes_per_s", u.bytes, "cpu", u.cpu, "queued", u.queued, "capacity", u.capacity, "dropped", whole(l[10]), "bad",
		whole(l[11]), "elided", whole(l[12]), "restarts", whole(l[13]), "latency_p50_s", u.p50 > 0 ? json_real(u.p50) : json_null(),
		"latency_p99_s", u.p99 > 0 ? json_real(u.p99) : json_null(), "inputs", inputs, "nodes", nodes);
}

static json_t *graph_json(const struct iog_top *before, const struct iog_top *now, line g)
{
	json_t *all = json_array();
	for (uint32_t i = 0; i < now->n; i++)
		if (!strcmp(now->line[i][0], "unit") && !strcmp(now->line[i][1], g[1]))
			json_array_append_new(all, unit_json(before, now, now->line[i]));
	return json_pack("{s:o,s:o,s:o,s:o,s:o}", "name", iog_cli_text(g[1]), "state", iog_cli_text(g[2]), "delivered", whole(g[3]), "text",
		iog_cli_text(g[4]), "units", all);
}

static json_t *stream_json(const struct iog_top *before, const struct iog_top *now, line s)
{
	json_t *writers = json_array(), *readers = json_array();
	for (uint32_t i = 0; i < now->n; i++) {
		line l = now->line[i];
		if (strcmp(l[1], s[1]))
			continue;
		if (!strcmp(l[0], "writer")) {
			const bool known = strcmp(l[5], "-");
			json_array_append_new(writers,
				json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "rank", whole(l[2]), "program", iog_cli_text(l[3]),
					"pid", whole(l[4]), "records", whole(l[5]), "bytes", whole(l[6]), "dropped", whole(l[7]), "skipped",
					whole(l[8]), "records_per_s", known ? json_real(rate(before, now, l, 4, 5)) : json_null(),
					"bytes_per_s", known ? json_real(rate(before, now, l, 4, 6)) : json_null(), "blocked",
					known ? json_real(rate(before, now, l, 4, 9) * 1e-9) : json_null()));
		} else if (!strcmp(l[0], "reader")) {
			json_array_append_new(readers, json_pack("{s:o,s:o,s:o,s:f}", "program", iog_cli_text(l[2]), "pid", whole(l[3]),
							       "policy", iog_cli_text(l[4]), "records_per_s", rate(before, now, l, 3, 5)));
		}
	}
	return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "name", iog_cli_text(s[1]), "state", iog_cli_text(s[2]), "there", whole(s[3]),
		"ranks", whole(s[4]), "job", iog_cli_text(s[6]), "writers", writers, "readers", readers);
}

json_t *iog_top_json(const struct iog_top *before, const struct iog_top *now)
{
	line a = now->line[0];
	json_t *graphs = json_array(), *streams = json_array();
	for (uint32_t i = 0; i < now->n; i++) {
		if (!strcmp(now->line[i][0], "graph"))
			json_array_append_new(graphs, graph_json(before, now, now->line[i]));
		else if (!strcmp(now->line[i][0], "stream"))
			json_array_append_new(streams, stream_json(before, now, now->line[i]));
	}
	return json_pack("{s:f,s:{s:o,s:o,s:f,s:o},s:o,s:o}", "interval_s", interval(before, now), "agent", "socket", iog_cli_text(a[6]),
		"pid", whole(a[4]), "cpu", rate(before, now, a, 1, 3) * 1e-9, "cores", iog_cli_text(a[5]), "graphs", graphs, "streams",
		streams);
}
