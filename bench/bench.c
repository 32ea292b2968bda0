/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The harness behind `iog bench`: which figures there are, how pairs are measured and judged, and how results are written. The program
 * itself measures nothing: each figure is measured by a child it forks, watched against a time limit, and reported through a pipe.
 * Hosted; one thread.
 */
#include "bench/bench.h"

#include <errno.h>
#include <fnmatch.h>
#include <math.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/base.h"

enum { PAIRS = 15, PAIRS_MAX = 999, LIMIT_S = 60 };

/* bench/targets.tsv as it was built, so that the command works anywhere. */
__asm__(".pushsection .rodata\n"
	"bench_targets:\n"
	".incbin \"bench/targets.tsv\"\n"
	".byte 0\n"
	".popsection");
extern const char bench_targets[] __attribute__((visibility("hidden")));

static const struct {
	const char *name;
	bench_run *run;
	const char *missing; /* why run may be NULL */
	double seconds;      /* how long it runs when --seconds does not say; 0: as long as its pairs take */
} figures[] = {
	{ "edge.hop1", bench_edge_hop1, NULL, 0 },
	{ "edge.hop32", bench_edge_hop32, NULL, 0 },
	{ "call.fused", bench_call_fused, NULL, 0 },
	{ "path.quiet", bench_path_quiet, NULL, 0 },
	{ "view.crop", bench_view_crop, NULL, 0 },
	{ "op.filter", bench_op_filter, NULL, 0 },
	{ "op.stats", bench_op_stats, NULL, 0 },
	{ "op.jpeg", bench_op_jpeg, "libturbojpeg0-dev", 0 },
	{ "op.png", bench_op_png, "libpng-dev", 0 },
	{ "op.render", bench_op_render, NULL, 0 },
	{ "pipe.cropjpeg", bench_pipe_cropjpeg, NULL, 0 },
	{ "sink.h5md", bench_sink_h5md, "libhdf5-dev", 0 },
	{ "vm.filter", bench_vm_filter, NULL, 0 },
	{ "proc.filter", bench_proc_filter, NULL, 0 },
	{ "idle.cpu", bench_idle_cpu, NULL, 10 },
	{ "capture.lammps", bench_capture_lammps, NULL, 900 },
	{ "mem.bound", bench_mem_bound, NULL, 600 },
	{ "attach.blocked.64k", bench_attach_blocked_64k, NULL, 0 },
	{ "attach.blocked.1m", bench_attach_blocked_1m, NULL, 0 },
	{ "attach.blocked.16m", bench_attach_blocked_16m, NULL, 0 },
	{ "attach.blocked.parked", bench_attach_parked, NULL, 0 },
	{ "attach.put.64k", bench_attach_put_64k, NULL, 0 },
	{ "attach.put.1m", bench_attach_put_1m, NULL, 0 },
	{ "attach.put.16m", bench_attach_put_16m, NULL, 0 },
	{ "attach.latency.64k", bench_attach_latency_64k, NULL, 0 },
	{ "attach.latency.1m", bench_attach_latency_1m, NULL, 0 },
	{ "attach.latency.16m", bench_attach_latency_16m, NULL, 0 },
	{ "attach.latency.touch.64k", bench_attach_touch_64k, NULL, 0 },
	{ "attach.latency.touch.1m", bench_attach_touch_1m, NULL, 0 },
	{ "attach.rate.64k", bench_attach_rate_64k, NULL, 0 },
	{ "attach.rate.1m", bench_attach_rate_1m, NULL, 0 },
	{ "attach.rate.16m", bench_attach_rate_16m, NULL, 0 },
	{ "attach.zmq.rate", bench_attach_zmq_rate, NULL, 0 },
	{ "attach.zmq.latency", bench_attach_zmq_latency, NULL, 0 },
	{ "attach.nng.rate", bench_attach_nng_rate, NULL, 0 },
	{ "attach.nng.latency", bench_attach_nng_latency, NULL, 0 },
	{ "attach.cpu", bench_attach_cpu, NULL, 10 },
	{ "attach.open", bench_attach_open, NULL, 0 },
	{ "attach.mem", bench_attach_mem, NULL, 0 },
};

/* ---- measuring ---- */

static double clock_s(clockid_t c)
{
	struct timespec t;
	clock_gettime(c, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}
double bench_cpu(void) { return clock_s(CLOCK_THREAD_CPUTIME_ID); }
double bench_wall(void) { return clock_s(CLOCK_MONOTONIC); }

void *bench_alloc(uint64_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) {
		fprintf(stderr, "bench: no memory for %llu bytes: %s\n", (unsigned long long)bytes, strerror(errno));
		_exit(3);
	}
	return p;
}

void bench_picture(uint8_t *rgb, int width, int height, int shift)
{
	for (int y = 0; y < height; y++)
		for (int x = 0; x < width; x++, rgb += 3) {
			uint64_t tile = bench_hash((uint64_t)(y / 16) << 32 | (uint64_t)((x + shift) / 16)) & 63;
			rgb[0] = (uint8_t)(x + shift);
			rgb[1] = (uint8_t)(y + 2 * shift);
			rgb[2] = (uint8_t)(tile + (uint64_t)(((x + y) >> 2) & 127));
		}
}

void bench_note(struct bench_figure *f, const char *fmt, ...)
{
	va_list ap;
	size_t n = strlen(f->note);
	if (n && n + 2 < sizeof f->note)
		n += (size_t)snprintf(f->note + n, sizeof f->note - n, "; ");
	va_start(ap, fmt);
	vsnprintf(f->note + n, sizeof f->note - n, fmt, ap);
	va_end(ap);
}

void bench_skip(struct bench_figure *f, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(f->note, sizeof f->note, fmt, ap);
	va_end(ap);
	f->ok = BENCH_NULL;
	f->value = f->ratio = f->low = f->high = f->spread = NAN;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

void bench_sort(double *t, uint32_t n) { qsort(t, n, sizeof *t, ascending); }

double bench_quantile(const double *sorted, uint32_t n, double q)
{
	double at = q * (n - 1);
	uint32_t i = (uint32_t)at;
	return i + 1 < n ? sorted[i] + (at - i) * (sorted[i + 1] - sorted[i]) : sorted[n - 1];
}

double bench_undisturbed(double *t, uint32_t n, uint32_t *good)
{
	enum { INTERRUPTED = 3 };
	bench_sort(t, n);
	for (*good = 0; *good < n && t[*good] < INTERRUPTED * t[0];)
		++*good;
	return t[*good / 2];
}

void bench_pin(const void *cores, unsigned core)
{
	cpu_set_t all, one;
	memcpy(&all, cores, sizeof all);
	for (size_t c = 0; c < CPU_SETSIZE; c++)
		if (CPU_ISSET(c, &all) && !core--) {
			CPU_ZERO(&one);
			CPU_SET(c, &one);
			sched_setaffinity(0, sizeof one, &one);
			return;
		}
}

/*
 * How many order statistics to go in from either end: the largest k with P(B < k) <= 0.05 for B binomial(n, 1/2), so that sorted[k - 1]
 * is a lower and sorted[n - k] an upper bound of the median, each with at least 95 % confidence, whatever the distribution (Conover,
 * Practical Nonparametric Statistics, 3rd ed., 3.2; David and Nagaraja, Order Statistics, 7.1). 0: n is too small (below 5).
 */
static uint32_t order_bound(uint32_t n)
{
	double term = pow(0.5, n), sum = 0;
	for (uint32_t k = 0; k < n; k++) {
		sum += term;
		if (sum > 0.05)
			return k;
		term *= (double)(n - k) / (double)(k + 1);
	}
	return 0;
}

static void judge(struct bench_figure *f)
{
	bool ok = f->direction == BENCH_AT_LEAST  ? f->low >= f->target
		  : f->direction == BENCH_AT_MOST ? f->high <= f->target
						  : f->high <= f->target && f->low >= 1 / f->target;
	f->ok = ok ? BENCH_OK : BENCH_MISSED;
}

void bench_pairs(struct bench_figure *f, bench_side *ours, bench_side *base, void *ctx)
{
	double ratio[PAIRS_MAX], a[PAIRS_MAX], b[PAIRS_MAX];
	uint32_t n = IOG_MIN(f->pairs, (uint32_t)PAIRS_MAX);
	uint64_t seed = (uint64_t)getpid() ^ (uint64_t)(bench_wall() * 1e9);
	for (int64_t i = -1; i < (int64_t)n; i++) { /* -1: warms caches and is forgotten */
		double t[2] = { 0, 0 };
		unsigned first = bench_hash(seed + (uint64_t)i) & 1;
		for (unsigned k = 0; k < 2; k++) {
			unsigned side = k ^ first;
			t[side] = side ? base(ctx) : ours(ctx);
			if (!(t[side] > 0)) {
				if (!f->note[0])
					bench_note(f, "it failed");
				f->ok = BENCH_NULL;
				return;
			}
		}
		if (i < 0)
			continue;
		a[i] = t[0], b[i] = t[1];
		ratio[i] = f->direction == BENCH_AT_LEAST ? t[1] / t[0] : t[0] / t[1];
	}
	bench_sort(ratio, n);
	bench_sort(a, n);
	bench_sort(b, n);
	uint32_t k = order_bound(n);
	f->measured = n;
	f->ratio = bench_quantile(ratio, n, 0.5);
	f->low = k ? ratio[k - 1] : NAN;
	f->high = k ? ratio[n - k] : NAN;
	f->spread = (bench_quantile(ratio, n, 0.75) - bench_quantile(ratio, n, 0.25)) / f->ratio;
	f->ours = bench_quantile(a, n, 0.5), f->base = bench_quantile(b, n, 0.5);
	judge(f);
}

void bench_single(struct bench_figure *f, double ratio)
{
	f->ratio = f->low = f->high = ratio;
	judge(f);
}

/* ---- one figure ---- */

/* Name, direction and target from the table; false: not there. */
static bool figure_init(struct bench_figure *f, const char *name, uint32_t pairs, double seconds)
{
	char direction[8];
	*f = (struct bench_figure){
		.pairs = pairs, .seconds = seconds, .ok = BENCH_NULL, .value = NAN, .ratio = NAN, .low = NAN, .high = NAN, .spread = NAN
	};
	snprintf(f->name, sizeof f->name, "%s", name);
	for (const char *p = bench_targets; *p; p += strcspn(p, "\n"), p += *p == '\n') {
		size_t n = strcspn(p, "\t\n");
		if (n != strlen(name) || memcmp(p, name, n))
			continue;
		if (sscanf(p + n, "\t%7s\t%lf\t%119[^\t\n]\t%159[^\n]", direction, &f->target, f->what, f->against) != 4)
			return false;
		f->direction = !strcmp(direction, ">=") ? BENCH_AT_LEAST : !strcmp(direction, "<=") ? BENCH_AT_MOST : BENCH_WITHIN;
		return true;
	}
	return false;
}

/* Runs figure i in a child and waits for what it says, at most LIMIT_S longer than it is meant to run. */
static void figure_run(uint32_t i, struct bench_figure *f)
{
	int fd[2], status;
	if (!figures[i].run) {
		bench_skip(f, "%s was not there when this program was built", figures[i].missing ? figures[i].missing : "its source");
		return;
	}
	fflush(NULL);
	pid_t pid = pipe(fd) ? -1 : fork();
	if (pid < 0) {
		bench_skip(f, "no child process: %s", strerror(errno));
		return;
	}
	if (!pid) {
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(fd[0]);
		figures[i].run(f);
		bool sent = write(fd[1], f, sizeof *f) == (ssize_t)sizeof *f;
		_exit(sent ? 0 : 3);
	}
	setpgid(pid, pid);
	close(fd[1]);
	double limit = LIMIT_S + f->seconds, end = bench_wall() + limit;
	struct bench_figure got;
	size_t have = 0;
	bool late = false;
	while (have < sizeof got) {
		struct pollfd p = { .fd = fd[0], .events = POLLIN };
		double left = end - bench_wall();
		late = left <= 0;
		if (late)
			break;
		if (poll(&p, 1, (int)(left * 1000) + 1) <= 0)
			continue;
		ssize_t n = read(fd[0], (uint8_t *)&got + have, sizeof got - have);
		if (n <= 0)
			break;
		have += (size_t)n;
	}
	close(fd[0]);
	if (have != sizeof got)
		kill(-pid, SIGKILL);
	waitpid(pid, &status, 0);
	if (have == sizeof got)
		*f = got;
	else if (late)
		bench_skip(f, "did not end within %.0f s", limit);
	else if (WIFSIGNALED(status))
		bench_skip(f, "it was killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		bench_skip(f, "it ended early with status %d", WEXITSTATUS(status));
}

/* ---- output ---- */

/* Every key but the first has a comma before it. */
static void json_key(FILE *o, const char *key) { fprintf(o, "%s\"%s\":", strcmp(key, "name") ? "," : "", key); }
static void json_text(FILE *o, const char *key, const char *s)
{
	json_key(o, key);
	fputc('"', o);
	for (; *s; s++)
		if (*s == '"' || *s == '\\')
			fprintf(o, "\\%c", *s);
		else if ((unsigned char)*s < 0x20)
			fprintf(o, "\\u%04x", (unsigned)*s);
		else
			fputc(*s, o);
	fputc('"', o);
}
static void json_number(FILE *o, const char *key, double v)
{
	json_key(o, key);
	if (isfinite(v))
		fprintf(o, "%.6g", v);
	else
		fputs("null", o);
}
static const char *json_ok(const struct bench_figure *f) { return f->ok == BENCH_OK ? "true" : f->ok == BENCH_MISSED ? "false" : "null"; }
static const char *direction_text(const struct bench_figure *f)
{
	return f->direction == BENCH_AT_LEAST ? ">=" : f->direction == BENCH_AT_MOST ? "<=" : "within";
}

static void print_json(FILE *o, const struct bench_figure *f)
{
	fputc('{', o);
	json_text(o, "name", f->name);
	json_number(o, "value", f->value);
	json_text(o, "unit", f->unit);
	json_text(o, "against", f->against);
	json_number(o, "ratio", f->ratio);
	json_text(o, "direction", direction_text(f));
	json_number(o, "target", f->target);
	json_key(o, "ok");
	fputs(json_ok(f), o);
	json_number(o, "spread", f->spread);
	json_number(o, "low", f->low);
	json_number(o, "high", f->high);
	json_number(o, "pairs", f->measured);
	json_text(o, "what", f->what);
	json_text(o, "note", f->note);
	fprintf(o, "}\n");
}

static void target_text(const struct bench_figure *f, char *to, size_t size)
{
	if (f->direction == BENCH_WITHIN)
		snprintf(to, size, "%.3g to %.4g", 1 / f->target, f->target);
	else
		snprintf(to, size, "%s %.4g", direction_text(f), f->target);
}
/* The bound that decides. */
static double bound(const struct bench_figure *f)
{
	if (f->direction == BENCH_WITHIN)
		return f->high - 1 > 1 - f->low ? f->high : f->low;
	return f->direction == BENCH_AT_LEAST ? f->low : f->high;
}
static const char *ok_text(const struct bench_figure *f)
{
	return f->ok == BENCH_OK ? "ok" : f->ok == BENCH_MISSED ? "MISSED" : "not measured";
}

static void print_text(FILE *o, const struct bench_figure *f)
{
	char target[32];
	target_text(f, target, sizeof target);
	if (f->ok == BENCH_NULL)
		fprintf(o, "%-24s %-12s %s\n", f->name, "not measured", f->note);
	else
		fprintf(o, "%-24s %10.4g %-12s ratio %8.3g (95 %% bound %.3g, target %s) %s%s%s\n", f->name, f->value, f->unit, f->ratio,
			bound(f), target, ok_text(f), f->note[0] ? "; " : "", f->note);
}

static void machine_text(char *to, size_t size)
{
	char line[256], cpu[128] = "unknown processor";
	struct utsname u;
	FILE *in = fopen("/proc/cpuinfo", "r");
	while (in && fgets(line, sizeof line, in))
		if (sscanf(line, "model name : %127[^\n]", cpu) == 1)
			break;
	if (in)
		fclose(in);
	uname(&u);
	snprintf(to, size, "%s, %ld cores, %lld GiB, %s %s", cpu, sysconf(_SC_NPROCESSORS_ONLN),
		llround((double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) * 0x1p-30), u.sysname, u.release);
}

static int write_markdown(
	const char *path, const struct bench_figure *f, const bool *chosen, uint32_t pairs, const char *command, const double load[2])
{
	char date[32], machine[512], target[32];
	time_t now = time(NULL);
	struct tm tm;
	FILE *o = fopen(path, "w");
	if (!o) {
		fprintf(stderr, "bench: %s: %s\n", path, strerror(errno));
		return 1;
	}
	strftime(date, sizeof date, "%Y-%m-%d %H:%M UTC", gmtime_r(&now, &tm));
	machine_text(machine, sizeof machine);
	fprintf(o, "<!-- SPDX-License-Identifier: BSD-3-Clause -->\n");
	fprintf(o,
		"# Results\n\nWritten by `%s` on %s.\n\n- Machine: %s; load average %.1f at the start, %.1f at the end\n"
		"- Compiler: %s; version %s\n- One figure again: `build/iog bench NAME`; as JSON: `build/iog bench NAME --json`\n\n",
		command, date, machine, load[0], load[1], __VERSION__, IOG_VERSION);
	fprintf(o,
		"Each ratio is the median over %u interleaved pairs in random order within a pair, unless the note says otherwise. The "
		"bound is that of\n"
		"the median at 95 %% confidence, by order statistics; it decides. The spread is the distance of the quartiles over the "
		"median. Absolute\n"
		"values depend on the machine and on what else runs there.\n\n",
		pairs);
	fprintf(o, "| figure | what | value | against | ratio | bound | target | | spread |\n|---|---|---|---|---|---|---|---|---|\n");
	for (size_t i = 0; i < IOG_COUNT(figures); i++) {
		const struct bench_figure *x = &f[i];
		if (!chosen[i])
			continue;
		target_text(x, target, sizeof target);
		if (x->ok == BENCH_NULL)
			fprintf(o, "| %s | %s | | %s | | | %s | not measured | |\n", x->name, x->what, x->against, target);
		else
			fprintf(o, "| %s | %s | %.4g %s | %s | %.3g | %.3g | %s | %s | %.2g |\n", x->name, x->what, x->value, x->unit,
				x->against, x->ratio, bound(x), target, ok_text(x), isfinite(x->spread) ? x->spread : 0.0);
	}
	fprintf(o, "\n## Notes\n\n");
	for (size_t i = 0; i < IOG_COUNT(figures); i++)
		if (chosen[i] && f[i].note[0])
			fprintf(o, "- %s: %s\n", f[i].name, f[i].note);
	return fclose(o) ? 1 : 0;
}

/* ---- the command ---- */

static const char usage[] = "usage: iog bench [PATTERN...] [--json] [--markdown FILE] [--pairs N] [--seconds S] [--list]\n"
			    "\n"
			    "Measures figures, each as a ratio against a baseline in the same run. PATTERN is a name, a part of one, or a "
			    "pattern such as 'op.*'.\n"
			    "  --json           one JSON object a line\n"
			    "  --markdown FILE  also write a table\n"
			    "  --pairs N        pairs to measure (15)\n"
			    "  --seconds S      how long idle.cpu, attach.cpu and mem.bound run (10, 10 and 600)\n"
			    "  --list           names, targets, and what they are\n";

static bool matches(const char *name, char **pattern, int n)
{
	for (int i = 0; i < n; i++)
		if (!fnmatch(pattern[i], name, 0) || strstr(name, pattern[i]))
			return true;
	return !n;
}

static void print_figure(const struct bench_figure *f, bool json)
{
	if (json)
		print_json(stdout, f);
	else
		print_text(stdout, f);
	fflush(stdout);
}

int iog_bench_main(int argc, char **argv)
{
	bool json = false, list = false, chosen[IOG_COUNT(figures)] = { false };
	const char *markdown = NULL;
	double seconds = 0, load[2] = { 0, 0 };
	uint32_t pairs = PAIRS, n_chosen = 0;
	char *pattern[64], command[512] = "iog bench", *end;
	int n = 0;
	for (int i = 1; i < argc; i++) {
		const char *a = argv[i];
		size_t len = strlen(command);
		snprintf(command + len, sizeof command - len, " %s", a);
		bool value = !strcmp(a, "--markdown") || !strcmp(a, "--pairs") || !strcmp(a, "--seconds");
		if (value && i + 1 == argc) {
			fprintf(stderr, "iog bench: %s needs a value\n%s", a, usage);
			return 2;
		}
		if (value) {
			len = strlen(command);
			snprintf(command + len, sizeof command - len, " %s", argv[i + 1]);
		}
		if (!strcmp(a, "--json")) {
			json = true;
		} else if (!strcmp(a, "--list")) {
			list = true;
		} else if (!strcmp(a, "--help") || !strcmp(a, "-h")) {
			fputs(usage, stdout);
			return 0;
		} else if (!strcmp(a, "--markdown")) {
			markdown = argv[++i];
		} else if (!strcmp(a, "--pairs")) {
			unsigned long v = strtoul(argv[++i], &end, 10);
			if (*end || v < 5 || v > PAIRS_MAX) {
				fprintf(stderr, "iog bench: --pairs must be a number from 5 to %d, got \"%s\"\n", PAIRS_MAX, argv[i]);
				return 2;
			}
			pairs = (uint32_t)v;
		} else if (!strcmp(a, "--seconds")) {
			seconds = strtod(argv[++i], &end);
			if (*end || !(seconds > 0 && seconds < 86400)) {
				fprintf(stderr, "iog bench: --seconds must be a number greater than 0, got \"%s\"\n", argv[i]);
				return 2;
			}
		} else if (a[0] == '-' || n == (int)IOG_COUNT(pattern)) {
			fprintf(stderr, "iog bench: unknown option \"%s\"\n%s", a, usage);
			return 2;
		} else {
			pattern[n++] = argv[i];
		}
	}
	for (size_t i = 0; i < IOG_COUNT(figures); i++)
		n_chosen += chosen[i] = matches(figures[i].name, pattern, n);
	if (!n_chosen) {
		fprintf(stderr, "iog bench: no figure is called \"%s\"; `iog bench --list` shows them\n", pattern[0]);
		return 2;
	}
	static struct bench_figure f[IOG_COUNT(figures)];
	int rc = 0;
	getloadavg(&load[0], 1);
	for (size_t i = 0; i < IOG_COUNT(figures); i++) {
		if (!chosen[i])
			continue;
		if (!figure_init(&f[i], figures[i].name, pairs, seconds > 0 ? seconds : figures[i].seconds)) {
			fprintf(stderr, "iog bench: bench/targets.tsv has no complete line for %s\n", figures[i].name);
			return 1;
		}
		if (list) {
			char target[32];
			target_text(&f[i], target, sizeof target);
			printf("%-24s %-12s %s, against %s\n", f[i].name, target, f[i].what, f[i].against);
			continue;
		}
		if (!json && isatty(1)) {
			printf("%-24s ...\r", f[i].name);
			fflush(stdout);
		}
		figure_run((uint32_t)i, &f[i]);
		print_figure(&f[i], json);
	}
	getloadavg(&load[1], 1);
	if (markdown && !list)
		rc = write_markdown(markdown, f, chosen, pairs, command, load);
	return rc;
}
