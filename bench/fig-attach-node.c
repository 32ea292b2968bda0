/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What attaching costs a node. attach.cpu: processor time of the agent and of a reader that sleeps between steps, by their processes' clocks.
 * attach.open: wall time from nothing to a stream that is open. attach.mem: what is resident of a program and the agent while their readers
 * are stopped.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "bench/bench-attach.h"

enum { BOTH = BENCH_OWN };
enum { STEP = 1 << 20, PERIOD_NS = 10000000, FLOOD = 3000 };
static const double MIB = 1048576, OPEN_S = 5e-3, SLACK_MIB = 16, DECLARED_MIB = 64;

/* ---- attach.cpu ---- */

static double cpu_of(pid_t pid)
{
	clockid_t c;
	struct timespec t = { 0 };
	if (clock_getcpuclockid(pid, &c) || clock_gettime(c, &t))
		return 0;
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void bench_attach_cpu(struct bench_figure *f)
{
	struct bench_attach *a = bench_attach_new(f, STEP, NULL);
	const uint32_t n = (uint32_t)(f->seconds * 1e9 / PERIOD_NS);
	if (!bench_attach_start(a)) {
		bench_attach_end(a);
		return;
	}
	const double agent = cpu_of(a->agent), reader = cpu_of(a->reader), t = bench_wall();
	struct timespec next;
	bool ok = true;
	bench_attach_ask(a, BENCH_SUM, n);
	clock_gettime(CLOCK_MONOTONIC, &next);
	for (uint32_t i = 0; i < n && ok; i++) {
		next.tv_nsec += PERIOD_NS;
		if (next.tv_nsec >= 1000000000)
			next.tv_sec++, next.tv_nsec -= 1000000000;
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
		ok = bench_attach_put(a);
	}
	if (ok && bench_attach_read(a, n)) {
		const double length = bench_wall() - t, by_agent = cpu_of(a->agent) - agent, by_reader = cpu_of(a->reader) - reader;
		f->value = 100 * (by_agent + by_reader) / length;
		snprintf(f->unit, sizeof f->unit, "%% of a core");
		bench_single(f, (by_agent + by_reader) / length);
		bench_note(f, "%u steps in %.1f s, one run; the agent %.2f %%, the reader, which adds all words up, %.2f %%", n, length,
			100 * by_agent / length, 100 * by_reader / length);
	}
	bench_attach_end(a);
}

/* ---- attach.open ---- */

struct opening {
	struct bench_attach *a;
	double first; /* longest from there to the end of the first iog_begin */
};

static double opens(void *ctx)
{
	struct opening *o = ctx;
	const int64_t n = STEP / 8, zero = 0;
	iog_detach(iog_attach(o->a->path)); /* the agent is done with what was before */
	const double from = bench_wall();
	iog *io = iog_attach(o->a->path);
	iog_stream *s = iog_open(io, "bench", "T: u64[i]", NULL, 0, 1);
	const double t = bench_wall() - from;
	iog_block(s, "T", &n, &zero, &n);
	const int code = iog_begin(s, 0, 0);
	o->first = IOG_MAX(o->first, bench_wall() - from - t);
	const bool ok = code == IOG_SKIP && !iog_close(s, 1);
	if (!ok)
		bench_note(o->a->f, "code %d: %s", code, iog_error(io));
	iog_detach(io);
	return ok ? t : -1;
}
static double allowance(void *ctx)
{
	(void)ctx;
	return OPEN_S;
}

void bench_attach_open(struct bench_figure *f)
{
	struct opening o = { bench_attach_new(f, STEP, NULL), 0 };
	if (bench_attach_agent(o.a))
		bench_pairs(f, opens, allowance, &o);
	bench_attach_end(o.a);
	if (f->ok == BENCH_NULL)
		return;
	f->value = f->ours * 1e3;
	snprintf(f->unit, sizeof f->unit, "ms");
	bench_note(f, "the first iog_begin takes the memory, 49 MiB for steps of 1 MiB: %.1f ms at most", o.first * 1e3);
}

/* ---- attach.mem ---- */

/* Reads the stream twice: as before, and the latest steps. Holds one of each. */
static bool hold_both(struct bench_attach *a, uint32_t what, uint32_t n)
{
	(void)what, (void)n;
	iog_rec *rec;
	iog_reader *second = iog_subscribe(a->io, "bench", NULL, "policy=latest");
	if (iog_next(second, 10, &rec) || iog_next(a->r, 10, &rec))
		return false;
	bench_attach_mark(a, 0);
	return true;
}

/* Regions that were counted, by inode. */
struct counted {
	uint64_t inode[64];
	uint32_t n;
};

static bool count(struct counted *c, uint64_t inode)
{
	for (uint32_t i = 0; i < c->n; i++)
		if (c->inode[i] == inode)
			return false;
	if (c->n < IOG_COUNT(c->inode))
		c->inode[c->n++] = inode;
	return true;
}

/* Bytes of a process: what it alone has, its part of what it shares with others, and regions as a whole, each once. */
static double resident(pid_t pid, struct counted *c)
{
	enum { ALONE, REGION, AGAIN } kind = ALONE;
	char path[64], line[512];
	unsigned long kib, rss = 0, sum = 0, inode;
	snprintf(path, sizeof path, "/proc/%d/smaps", (int)pid);
	FILE *in = fopen(path, "r");
	while (in && fgets(line, sizeof line, in))
		if (sscanf(line, "Rss: %lu kB", &kib) == 1)
			rss = kib;
		else if (sscanf(line, "Pss: %lu kB", &kib) == 1)
			sum += kind == ALONE ? kib : kind == REGION ? rss : 0;
		else if (sscanf(line, "%*x-%*x %*s %*x %*x:%*x %lu", &inode) == 1)
			kind = !strstr(line, "/memfd:iog-") ? ALONE : count(c, inode) ? REGION : AGAIN;
	if (in)
		fclose(in);
	return (double)sum * 1024;
}

/* A step, or none because the readers hold it up. */
static bool step(struct bench_attach *a, uint64_t *sent, uint64_t *dropped)
{
	int code = iog_begin(a->s, a->step++, 0);
	if (code == IOG_TIMEOUT || code == IOG_SKIP) {
		++*dropped;
		return true;
	}
	if (code || (code = iog_put(a->s, "T", a->data, NULL)) || (code = iog_commit(a->s)))
		return bench_attach_failed(a, "a step", code);
	++*sent;
	return true;
}

void bench_attach_mem(struct bench_figure *f)
{
	struct bench_attach *a = bench_attach_new(f, STEP, hold_both);
	uint64_t sent = 0, dropped = 0;
	struct counted c = { .n = 0 };
	double early = 0, now = 0;
	a->writing = "policy=block timeout=1ms bytes=64MiB";
	bool ok = bench_attach_start(a);
	bench_attach_ask(a, BOTH, 1);
	while (ok && !atomic_load(&a->sh->taken) && !atomic_load(&a->sh->failed))
		ok = step(a, &sent, &dropped);
	ok = ok && bench_attach_done(a) && !kill(a->reader, SIGSTOP);
	munmap(a->ring, base_shm_size(a->slots, a->bytes)); /* it is not part of what is measured */
	for (uint32_t i = 0; ok && i < FLOOD; i++) {
		ok = step(a, &sent, &dropped);
		if (i != FLOOD / 10)
			continue;
		early = resident(getpid(), &c) + resident(a->agent, &c);
		c.n = 0;
	}
	if (ok) {
		const double writer = resident(getpid(), &c), agent = resident(a->agent, &c);
		now = IOG_MAX(early, writer + agent) / MIB;
		f->value = now;
		snprintf(f->unit, sizeof f->unit, "MiB");
		bench_single(f, now / (DECLARED_MIB + SLACK_MIB));
		bench_note(f,
			"steps of 1 MiB, bytes=64MiB, one reader that blocks and one that takes the latest, both stopped; %llu steps were "
			"sent "
			"and %llu dropped; program %.1f MiB, agent %.1f MiB; %.1f MiB after a tenth of the steps; regions are counted "
			"whole, "
			"what else is shared in parts",
			(unsigned long long)sent, (unsigned long long)dropped, writer / MIB, agent / MIB, early / MIB);
	}
	bench_attach_end(a);
}
