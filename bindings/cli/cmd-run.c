/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `iog run`: runs a graph to its end. The first signal ends it in order (sinks are flushed), the second at once. The controlling thread of the
 * engine.
 */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "bindings/lua/lua-graph.h"
#include "cmd-run.h"
#include "signals.h"

static const struct iog_cli_opt options[] = {
	{ "set", 0, "NAME=VALUE", "value of a parameter the graph declares (repeatable)" },
	{ "steps", 0, "N", "end each source after N records" },
	{ "time", 0, "SECONDS", "end after so long, like 90, 500ms or 5min" },
	{ "on", 0, "TARGET", "where stages without a wish of their own run: host, sidecore, vm (default host)" },
	{ "restarts", 0, "N", "how often a dead process or VM is replaced before the run fails (default 5)" },
	{ "json", 0, NULL, "the summary as JSON" },
	{ .name = NULL },
};
enum { SET, STEPS, TIME, ON, RESTARTS, JSON };

extern const struct iog_cli_cmd iog_cmd_run;

/* ---- while it runs ---- */

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

struct progress {
	bool on, drawn;
	double start, last;
	uint64_t last_records;
	double rate;
};

static void progress_clear(struct progress *p)
{
	if (p->drawn)
		fputs("\r\033[K", stderr);
	p->drawn = false;
}

static void progress_line(struct progress *p, const struct iog_engine *e, const char *what)
{
	char records[IOG_FIGURE], rate[IOG_FIGURE], elapsed[IOG_FIGURE];
	double t = now();
	if (!p->on || t - p->last < 0.25)
		return;
	uint64_t n = iog_engine_delivered(e);
	double r = (double)(n - p->last_records) / (t - p->last);
	p->rate = p->last > p->start ? 0.7 * p->rate + 0.3 * r : r;
	p->last = t, p->last_records = n;
	fprintf(stderr, "\r\033[K%s delivered, %s, %s%s", iog_cli_count(records, (double)n), iog_cli_rate(rate, p->rate, 1, "records"),
		iog_cli_seconds(elapsed, t - p->start), what);
	fflush(stderr);
	p->drawn = true;
}

/* Returns what ended it: 0 or a signal. */
static int attend(struct iog_engine *e, struct progress *p)
{
	int seen = 0, cause = 0;
	while (!iog_engine_poll(e, 0.1)) {
		int s = iog_cli_signals_seen();
		if (s > seen && !seen) {
			cause = iog_cli_signals_last();
			iog_engine_drain(e);
			progress_clear(p);
			fprintf(stderr, "iog: ending in order; what is on its way still arrives (again to stop at once)\n");
		}
		if (s > 1 && seen < 2) {
			iog_engine_stop(e);
			progress_clear(p);
			fprintf(stderr, "iog: stopped at once\n");
		}
		seen = IOG_MAX(seen, IOG_MIN(s, 2));
		progress_line(p, e, seen ? ", ending" : "");
	}
	progress_clear(p);
	if (!cause)
		cause = iog_cli_signals_last();
	return cause;
}

/* ---- the command ---- */

struct request {
	struct iog_engine_opts opts;
	struct iog_lua_set set[IOG_CLI_SETS];
	uint32_t n_set;
	const char *file;
	bool json;
};

static bool parse(struct iog_cli_args *a, struct request *r)
{
	enum iog_target target;
	uint64_t n;
	for (int o; (o = iog_cli_next(a)) != IOG_ARG_END;) {
		switch (o) {
		case SET: iog_cli_set(a, r->set, &r->n_set); break;
		case STEPS: iog_cli_number(a, "steps", 1, &r->opts.steps); break;
		case TIME:
			if (!iog_parse_seconds(a->value, &r->opts.seconds) || !(r->opts.seconds > 0 && r->opts.seconds < 1e9)) {
				a->code = iog_cli_usage(a->cmd, "--time wants a time like 90, 500ms or 5min, got \"%s\"", a->value);
				a->done = true;
			}
			break;
		case ON:
			if (iog_cli_target(a, &target))
				r->opts.target = (uint8_t)target;
			break;
		case RESTARTS:
			if (iog_cli_number(a, "restarts", 1, &n))
				r->opts.restarts = n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
			break;
		case JSON: r->json = true; break;
		default:
			if (r->file) {
				a->code = iog_cli_usage(a->cmd, "wants one graph, got \"%s\" too", a->value);
				a->done = true;
			}
			r->file = a->value;
		}
	}
	if (!a->done && !r->file) {
		a->code = iog_cli_usage(a->cmd, "wants a graph file");
		a->done = true;
	}
	return !a->done;
}

static int run_run(int argc, char **argv)
{
	struct iog_cli_args a = { .cmd = &iog_cmd_run, .argc = argc, .argv = argv };
	static struct request r;
	struct iog_cli_graph cg;
	struct iog_err err = { "" };
	struct iog_engine *e;
	if (!parse(&a, &r))
		return a.code;
	if (iog_cli_load(&cg, r.file, r.set, r.n_set, (enum iog_target)r.opts.target))
		return IOG_EXIT_FAILED;
	iog_cli_signals_watch();
	iog_cli_allow_files();
	struct progress p = { .on = isatty(STDERR_FILENO) && !r.json, .start = now() };
	p.last = p.start;
	struct iog_run_report rep = { .file = r.file, .g = cg.g, .cut = &cg.cut };
	if (iog_engine_new(&e, cg.g, &cg.cut, &r.opts, &err)) {
		fprintf(stderr, "iog: %s: %s\n", r.file, err.text);
		iog_cli_unload(&cg);
		return IOG_EXIT_FAILED;
	}
	rep.e = e;
	if (iog_engine_start(e, &err))
		rep.failed = true;
	rep.signal = attend(e, &p);
	rep.elapsed_s = now() - p.start;
	if (!rep.failed && iog_engine_result(e, &err))
		rep.failed = true;
	rep.error = err.text;
	bool written = r.json ? iog_run_json(&rep) : iog_run_summary(&rep);
	if (rep.failed)
		fprintf(stderr, "iog: %s: %s\n", r.file, err.text);
	if (!iog_engine_free(e))
		iog_cli_unload(&cg);
	return rep.failed || !written ? IOG_EXIT_FAILED : rep.signal ? 128 + rep.signal : IOG_EXIT_OK;
}

const struct iog_cli_cmd iog_cmd_run = {
	.name = "run",
	.args = "FILE",
	.summary = "runs a graph",
	.about = "Runs a graph until its sources end. On a terminal a line shows the progress; at the end a table shows what each source, "
		 "stage and sink did, "
		 "and the time of each operator.\n\n"
		 "The first Ctrl-C (or SIGTERM) ends the run in order: sources stop, what is on its way arrives, sinks are flushed. The "
		 "second one stops at once.",
	.examples = "iog run melt.lua\niog run melt.lua --time 5min --set cutoff=0.3\niog run melt.lua --on sidecore --steps 1000 --json\n",
	.opt = options,
	.run = run_run,
};
