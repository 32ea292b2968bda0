/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vm.filter, proc.filter: records through a filter stage in a VM, in a process and on a thread, by the engine that `iog run` uses, from a
 * source whose records lie ready in its slots to a sink that looks at the clock. idle.cpu: processor time of a graph nothing comes into.
 * mem.bound: what is resident of a graph at full rate. The engine's threads; wall time for throughput.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bench/bench-op.h"
#include "runtime/host/endpoint.h"
#include "runtime/host/engine.h"

enum { ATOMS = 1000000, WARM = 24, RECORDS = 120, SPACES = 512 };

/* ---- a source whose records lie ready: a slot is filled the first time it is seen ---- */

static struct {
	int64_t atoms, next;
	uint8_t *filled[SPACES];
	uint32_t n_filled;
	bool silent; /* never has a record */
} from;

static int source_describe(const void *conf, struct iog_schema *s, struct iog_err *err)
{
	char text[80];
	(void)conf;
	snprintf(text, sizeof text, "x: f32[atom<=%lld]; type: i32[atom]", (long long)from.atoms);
	return iog_schema_parse(s, text, err);
}
static int source_open(const void *conf, const struct iog_schema *schema, void **self, struct iog_err *err)
{
	(void)conf, (void)schema, (void)err;
	from.next = 0;
	from.n_filled = 0;
	*self = &from;
	return 0;
}
static void source_close(void *self) { (void)self; }

static enum iog_step source_next(void *self, struct iog_out *out, uint64_t limit_ns, struct iog_err *err)
{
	(void)self, (void)err;
	if (from.silent) {
		usleep((useconds_t)(limit_ns / 1000));
		return IOG_HOLD;
	}
	for (uint32_t d = 0; d < out->rec.schema->n_dims; d++)
		out->rec.axis[d] = (struct iog_axis){ .extent = from.atoms, .spacing = 1 };
	float *x = iog_out_dense(out, 0, 1, 4, &from.atoms);
	int32_t *type = iog_out_dense(out, 1, 1, 4, &from.atoms);
	if (!x || !type)
		return IOG_NO_SPACE;
	uint32_t i = 0;
	while (i < from.n_filled && from.filled[i] != out->space)
		i++;
	if (i == from.n_filled) {
		if (i == SPACES)
			return IOG_FATAL;
		from.filled[from.n_filled++] = out->space;
		for (uint64_t k = 0; k < (uint64_t)from.atoms; k++) {
			x[k] = bench_unit(2 * k);
			type[k] = (int32_t)(1 + bench_hash(2 * k + 1) % 4);
		}
	}
	out->rec.step = from.next++;
	return IOG_OK;
}
static const struct iog_source source = {
	.name = "memory", .summary = "", .describe = source_describe, .open = source_open, .next = source_next, .close = source_close
};

/* ---- a sink that looks at the clock ---- */

static struct {
	uint64_t n, warm;
	double first, last, bytes;
} to;

static int sink_open(const void *conf, const struct iog_schema *in, void **self, struct iog_err *err)
{
	(void)conf, (void)in, (void)err;
	to.n = 0;
	*self = &to;
	return 0;
}
static enum iog_step sink_write(void *self, const struct iog_record *r, struct iog_err *err)
{
	(void)self, (void)r, (void)err;
	to.n++;
	to.last = bench_wall();
	if (to.n == to.warm)
		to.first = to.last;
	return IOG_OK;
}
static enum iog_step sink_flush(void *self, struct iog_err *err)
{
	(void)self, (void)err;
	return IOG_OK;
}
static int sink_close(void *self, struct iog_err *err)
{
	(void)self, (void)err;
	return 0;
}
static const struct iog_sink sink = {
	.name = "clock", .summary = "", .open = sink_open, .write = sink_write, .flush = sink_flush, .close = sink_close
};

/* ---- a graph and its engine ---- */

struct running {
	struct iog_graph *g;
	struct iog_cut cut;
	struct iog_engine *e;
};

static bool running_start(struct running *r, enum iog_target target, uint64_t steps, struct iog_err *err)
{
	const struct iog_gnode_end in = { .what = &source, .name = "memory", .describe = source_describe },
				   out = { .what = &sink, .name = "clock" };
	const struct iog_value where = BENCH_STRING("x > 0.25 and x < 0.75 and type == 3");
	const struct iog_engine_opts opts = { .steps = steps };
	const struct iog_op *filter = bench_find_op("filter");
	const struct iog_diag *d;
	memset(r, 0, sizeof *r);
	if (!filter)
		return iog_fail(err, 0, "filter is not built in");
	r->g = iog_graph_new();
	int op = iog_graph_op(r->g, filter);
	iog_graph_set(r->g, op, "where", &where, NULL);
	iog_graph_link(r->g, iog_graph_end(r->g, IOG_G_SOURCE, &in), 0, op);
	iog_graph_link(r->g, op, 0, iog_graph_end(r->g, IOG_G_SINK, &out));
	if (iog_graph_check(r->g) || iog_graph_cut(r->g, true, target, &r->cut))
		return iog_fail(err, 0, "%s", iog_graph_diags(r->g, &d) ? d->text : "the graph does not pass its check");
	if (iog_engine_new(&r->e, r->g, &r->cut, &opts, err))
		return false;
	return !iog_engine_start(r->e, err);
}
static void running_end(struct running *r)
{
	iog_engine_free(r->e);
	iog_cut_free(&r->cut);
	iog_graph_free(r->g);
}
/* Where the stage really runs, and why not elsewhere. */
static void running_where(const struct running *r, char *target, size_t size, char *note, size_t note_size)
{
	struct iog_unit_stats u[8];
	uint32_t n = IOG_MIN(iog_engine_unit_stats(r->e, u, 8), 8u);
	for (uint32_t i = 0; i < n; i++)
		if (!strcmp(u[i].name, "filter")) {
			snprintf(target, size, "%s", u[i].target);
			snprintf(note, note_size, "%s", u[i].note);
		}
}

/* ---- vm.filter, proc.filter ---- */

struct throughput {
	struct bench_figure *f;
	enum iog_target target;
};

static double records(struct bench_figure *f, enum iog_target target)
{
	struct running r;
	struct iog_err err = { "" };
	char where[16] = "", note[160] = "";
	from.atoms = ATOMS, from.silent = false;
	to.warm = WARM;
	if (!running_start(&r, target, WARM + RECORDS, &err)) {
		bench_note(f, "%s", err.text);
		return -1;
	}
	double limit = bench_wall() + 20;
	bool ended;
	while (!(ended = iog_engine_poll(r.e, 0.05)) && bench_wall() < limit)
		;
	running_where(&r, where, sizeof where, note, sizeof note);
	int rc = iog_engine_result(r.e, &err);
	running_end(&r);
	if (strcmp(where, iog_target_name(target)))
		bench_note(f, "the stage ran on %s: %s", where, note);
	else if (!ended || rc || to.n != WARM + RECORDS)
		bench_note(f, "%llu of %d records arrived: %s", (unsigned long long)to.n, WARM + RECORDS, err.text);
	else
		return (to.last - to.first) / RECORDS;
	return -1;
}
static double elsewhere(void *ctx)
{
	struct throughput *t = ctx;
	return records(t->f, t->target);
}
static double on_thread(void *ctx)
{
	struct throughput *t = ctx;
	return records(t->f, IOG_T_HOST);
}

static void target_figure(struct bench_figure *f, enum iog_target target)
{
	struct throughput t = { f, target };
	const char *why = iog_target_reason(target);
	if (why[0]) {
		bench_skip(f, "%s does not work here: %s", iog_target_name(target), why);
		return;
	}
	bench_pairs(f, elsewhere, on_thread, &t);
	if (f->ok == BENCH_NULL)
		return;
	f->value = 1 / f->ours;
	snprintf(f->unit, sizeof f->unit, "records/s");
	bench_note(f, "1 M particles in a record of 8 MB; a thread: %.0f records/s; %d records after %d, first to last at the sink",
		1 / f->base, RECORDS, WARM);
}
void bench_vm_filter(struct bench_figure *f) { target_figure(f, IOG_T_VM); }
void bench_proc_filter(struct bench_figure *f) { target_figure(f, IOG_T_SIDECORE); }

/* ---- idle.cpu ---- */

static double process_cpu(void)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return (double)u.ru_utime.tv_sec + (double)u.ru_stime.tv_sec + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

void bench_idle_cpu(struct bench_figure *f)
{
	struct running r;
	struct iog_err err = { "" };
	double length = f->seconds;
	from.atoms = 1000, from.silent = true;
	if (!running_start(&r, IOG_T_HOST, 0, &err)) {
		bench_skip(f, "%s", err.text);
		return;
	}
	for (double end = bench_wall() + 0.5; bench_wall() < end;)
		iog_engine_poll(r.e, 0.1);
	double cpu = process_cpu(), t = bench_wall();
	while (bench_wall() - t < length)
		iog_engine_poll(r.e, 0.1);
	cpu = process_cpu() - cpu, t = bench_wall() - t;
	iog_engine_stop(r.e);
	running_end(&r);
	f->value = 100 * cpu / t;
	snprintf(f->unit, sizeof f->unit, "%% of a core");
	bench_single(f, cpu / t);
	bench_note(f,
		"%.1f ms of processor time in %.1f s, one run; source, stage and sink on a thread each, and the thread that watches them",
		cpu * 1e3, t);
}

/* ---- mem.bound ---- */

static double resident(void)
{
	long pages = 0;
	FILE *in = fopen("/proc/self/statm", "r");
	if (in && fscanf(in, "%*d %ld", &pages) != 1)
		pages = 0;
	if (in)
		fclose(in);
	return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

void bench_mem_bound(struct bench_figure *f)
{
	struct running r;
	struct iog_err err = { "" };
	double length = f->seconds, peak = 0;
	from.atoms = 30000, from.silent = false;
	to.warm = 1;
	if (!running_start(&r, IOG_T_HOST, 0, &err)) {
		bench_skip(f, "%s", err.text);
		return;
	}
	double t = bench_wall(), early = 0;
	while (bench_wall() - t < length && !iog_engine_poll(r.e, 0.1)) {
		double now = resident();
		peak = IOG_MAX(peak, now);
		if (early <= 0 && bench_wall() - t > length / 10)
			early = now;
	}
	double now = resident(), declared = (double)iog_cut_bytes(&r.cut) + 16.0 * 1048576;
	peak = IOG_MAX(peak, now);
	iog_engine_stop(r.e);
	for (int i = 0; i < 100 && !iog_engine_poll(r.e, 0.1); i++)
		;
	int rc = iog_engine_result(r.e, &err);
	uint64_t n = to.n;
	running_end(&r);
	if (rc || n < 100) {
		bench_skip(f, "%llu records arrived: %s", (unsigned long long)n, err.text);
		return;
	}
	f->value = peak / 1048576;
	snprintf(f->unit, sizeof f->unit, "MiB");
	bench_single(f, peak / declared);
	bench_note(f,
		"%.0f s at full rate, one run, %llu records; %.1f MiB after a tenth of it, %.1f MiB at the end; "
		"%.1f MiB declared",
		length, (unsigned long long)n, early / 1048576, now / 1048576, declared / 1048576 - 16);
}
