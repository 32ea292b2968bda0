/* SPDX-License-Identifier: BSD-3-Clause */
/* The processes behind the attach.* figures; see bench-attach.h. */
#include "bench/bench-attach.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/host/agent.h"

enum { LIMIT_S = 20, ROUNDS = 400 };
static const double READY_S = 10, LENGTH_S = 0.8;

static void *shared(uint64_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

double bench_tick(void)
{
	static double tick;
	if (tick <= 0) {
		const double t = bench_wall(), at = bench_ticks();
		while (bench_wall() - t < 0.05)
			;
		tick = (bench_wall() - t) / (bench_ticks() - at);
	}
	return tick;
}

void bench_attach_pause(double seconds)
{
	const double until = bench_ticks() + seconds / bench_tick();
	while (bench_ticks() < until)
		__builtin_ia32_pause();
}

__attribute__((noinline)) uint64_t bench_sum(const void *words, uint64_t bytes)
{
	const uint64_t *w = words;
	uint64_t sum = 0;
	for (uint64_t i = 0; i < bytes / sizeof *w; i++)
		sum += w[i];
	return sum;
}

struct bench_attach *bench_attach_new(
	struct bench_figure *f, uint64_t bytes, bool (*serve)(struct bench_attach *a, uint32_t what, uint32_t n))
{
	struct bench_attach *a = bench_alloc(sizeof *a);
	*a = (struct bench_attach){ .f = f, .bytes = bytes, .serve = serve, .reading = "policy=block", .writing = "policy=block" };
	a->slots = bytes <= 64 << 10 ? 64 : bytes <= 1 << 20 ? 32 : 8;
	return a;
}

/* ---- the agent ---- */

static pid_t child(void)
{
	pid_t pid = fork();
	if (!pid)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

static void agent_main(struct bench_attach *a, int said)
{
	const struct iog_agent_opts o = { .path = a->path };
	struct iog_agent *agent;
	struct iog_err err = { "" };
	char answer = iog_agent_new(&agent, &o, &err) ? 'n' : 'y';
	if (write(said, &answer, 1) != 1 || answer != 'y')
		_exit(1);
	for (;;)
		iog_agent_poll(agent, 1);
}

bool bench_attach_agent(struct bench_attach *a)
{
	int said[2];
	char answer = 'n';
	strcpy(a->dir, "/tmp/iog-bench-XXXXXX");
	if (!mkdtemp(a->dir) || pipe(said)) {
		bench_skip(a->f, "no folder for the agent's socket: %s", strerror(errno));
		return false;
	}
	snprintf(a->path, sizeof a->path, "%s/agent", a->dir);
	if (!(a->agent = child()))
		agent_main(a, said[1]);
	close(said[1]);
	const bool ok = a->agent > 0 && read(said[0], &answer, 1) == 1 && answer == 'y';
	close(said[0]);
	if (!ok)
		bench_skip(a->f, "the agent did not start");
	return ok;
}

/* ---- the reader ---- */

void bench_attach_seen(struct bench_attach *a, uint32_t i, const void *data)
{
	const double now = bench_ticks();
	double *seen = &a->sh->seen[i % BENCH_ATTACH_STEPS];
	*seen = now;
	if (!data)
		return;
	a->sh->sum += bench_sum(data, a->bytes);
	*seen = bench_ticks() - now;
}

void bench_attach_mark(struct bench_attach *a, uint32_t i) { atomic_store_explicit(&a->sh->taken, i + 1, memory_order_release); }

static bool take(struct bench_attach *a, bool sum, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		iog_rec *rec;
		iog_view v = { 0 };
		if (iog_next(a->r, READY_S, &rec))
			return false;
		if (!sum)
			bench_attach_seen(a, i, NULL);
		else if (!iog_get(rec, "T", &v))
			bench_attach_seen(a, i, v.data);
		iog_release(rec);
		bench_attach_mark(a, i);
	}
	return true;
}

static bool work(struct bench_attach *a, uint32_t what, uint32_t n)
{
	return what < BENCH_OWN ? take(a, what == BENCH_SUM, n) : a->serve(a, what, n);
}

static void reader_main(struct bench_attach *a)
{
	struct bench_shared *sh = a->sh;
	char options[80];
	snprintf(options, sizeof options, "timeout=%ds %s", LIMIT_S, a->reading);
	a->io = iog_attach(a->path);
	a->r = iog_subscribe(a->io, "bench", NULL, options);
	if (iog_error(a->io)[0]) {
		snprintf(sh->why, sizeof sh->why, "%s", iog_error(a->io));
		atomic_store(&sh->failed, 1);
	}
	for (uint32_t seen = 0;; seen++) {
		while (atomic_load_explicit(&sh->ask, memory_order_acquire) == seen)
			__builtin_ia32_pause();
		if (!atomic_load(&sh->failed) && !work(a, sh->what, sh->n)) {
			if (!sh->why[0])
				snprintf(sh->why, sizeof sh->why, "the reader got no step: %.150s", iog_error(a->io));
			atomic_store(&sh->failed, 1);
		}
		atomic_store_explicit(&sh->done, seen + 1, memory_order_release);
	}
}

bool bench_attach_failed(struct bench_attach *a, const char *what, int code)
{
	bench_note(a->f, "%s: code %d: %s", what, code, iog_error(a->io));
	return false;
}

void bench_attach_ask(struct bench_attach *a, uint32_t what, uint32_t n)
{
	a->sh->what = what, a->sh->n = n;
	a->sh->sum = a->sh->slept = 0;
	atomic_store_explicit(&a->sh->taken, 0, memory_order_relaxed);
	atomic_fetch_add_explicit(&a->sh->ask, 1, memory_order_release);
}

/* Until *word is n, or the reader has failed. */
static bool wait_word(struct bench_attach *a, _Atomic uint32_t *word, uint32_t n)
{
	const double until = bench_ticks() + LIMIT_S / bench_tick();
	while (atomic_load_explicit(word, memory_order_acquire) != n) {
		if (atomic_load_explicit(&a->sh->failed, memory_order_relaxed)) {
			bench_note(a->f, "%s", a->sh->why);
			return false;
		}
		if (bench_ticks() > until) {
			bench_note(a->f, "the reader did not answer within %d s", LIMIT_S);
			return false;
		}
		__builtin_ia32_pause();
	}
	return true;
}
bool bench_attach_done(struct bench_attach *a) { return wait_word(a, &a->sh->done, a->sh->ask); }
bool bench_attach_taken(struct bench_attach *a, uint32_t n) { return wait_word(a, &a->sh->taken, n); }

/* ---- the writer ---- */

bool bench_attach_begin(struct bench_attach *a)
{
	const int code = iog_begin(a->s, a->step, 0);
	if (code)
		return bench_attach_failed(a, "iog_begin", code);
	uint64_t *T = iog_fill(a->s, "T");
	*T = (uint64_t)a->step++;
	return true;
}
bool bench_attach_commit(struct bench_attach *a)
{
	const int code = iog_commit(a->s);
	return code ? bench_attach_failed(a, "iog_commit", code) : true;
}
bool bench_attach_put(struct bench_attach *a)
{
	int code = iog_begin(a->s, a->step++, 0);
	if (!code)
		code = iog_put(a->s, "T", a->data, NULL);
	return code ? bench_attach_failed(a, "iog_begin and iog_put", code) : bench_attach_commit(a);
}
bool bench_attach_ring_put(struct bench_attach *a)
{
	memcpy(base_shm_begin(a->ring), a->data, a->bytes);
	base_shm_commit(a->ring);
	return true;
}

double bench_attach_middle(struct bench_attach *a, uint32_t n)
{
	double t[BENCH_ATTACH_STEPS];
	memcpy(t, a->sh->seen, n * sizeof *t);
	bench_sort(t, n);
	return bench_quantile(t, n, 0.5) * bench_tick();
}

double bench_attach_one_way(struct bench_attach *a, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		a->sh->seen[i] -= a->sh->sent[i];
	return bench_attach_middle(a, n);
}

bool bench_attach_read(struct bench_attach *a, uint32_t n)
{
	if (!bench_attach_done(a))
		return false;
	if (a->sh->sum != a->sum * n)
		bench_note(a->f, "the reader has read other bytes than were sent");
	return a->sh->sum == a->sum * n;
}

double bench_turn(struct bench_turns *b, unsigned side)
{
	if (!b->have && !b->measure(b->ctx, b->t))
		return -1;
	b->have = !b->have;
	return b->t[side];
}

static double round_of(struct bench_attach *a, const struct bench_lane *lane, uint32_t n)
{
	const double from = bench_ticks();
	bench_attach_ask(a, lane->what, n);
	for (uint32_t i = 0; i < n; i++)
		if (!lane->send(a))
			return -1;
	return bench_attach_read(a, n) ? (bench_ticks() - from) / n : -1;
}

bool bench_attach_rates(struct bench_attach *a, const struct bench_lane lane[2], uint32_t n, struct bench_rounds *rounds, double t[2])
{
	double all[2][ROUNDS], until = bench_wall() + LENGTH_S;
	uint32_t k = 0, good;
	do {
		for (unsigned side = 0; side < 2; side++)
			if ((all[side][k] = round_of(a, &lane[side], n)) < 0)
				return false;
	} while (++k < ROUNDS && bench_wall() < until);
	for (unsigned side = 0; side < 2; side++) {
		t[side] = bench_undisturbed(all[side], k, &good) * bench_tick();
		rounds->all += k, rounds->good += good;
	}
	return true;
}

/* ---- both ---- */

/* Steps go to the reader from the next one on. */
static bool connected(struct bench_attach *a)
{
	const int64_t n = (int64_t)(a->bytes / sizeof *a->data), zero = 0;
	int code = IOG_SKIP;
	a->io = iog_attach(a->path);
	a->s = iog_open(a->io, "bench", "T: u64[i]", a->writing, 0, 1);
	iog_block(a->s, "T", &n, &zero, &n);
	bench_attach_ask(a, BENCH_TAKE, 1); /* a reader is connected while it waits for a step */
	for (double until = bench_wall() + READY_S; code == IOG_SKIP && bench_wall() < until; usleep(1000))
		code = iog_begin(a->s, a->step++, 0);
	if (code != IOG_OK || (code = iog_put(a->s, "T", a->data, NULL)) || (code = iog_commit(a->s)))
		return bench_attach_failed(a, "the first step", code);
	return bench_attach_done(a);
}

bool bench_attach_start(struct bench_attach *a)
{
	cpu_set_t cores;
	if (sched_getaffinity(0, sizeof cores, &cores) || CPU_COUNT(&cores) < 2) {
		bench_skip(a->f, "it needs two cores, and there is one");
		return false;
	}
	if (!bench_attach_agent(a))
		return false;
	a->sh = shared(sizeof *a->sh);
	a->ring = shared(base_shm_size(a->slots, a->bytes));
	a->back = shared(base_shm_size(a->slots, sizeof(uint64_t)));
	/* Half a page from where either side puts it: memcpy takes another way where both are alike in their low bits. */
	uint8_t *data = bench_alloc(a->bytes + 2048);
	a->data = (uint64_t *)(void *)(data + 2048);
	if (!a->sh || !a->ring || !a->back) {
		bench_skip(a->f, "no memory for the bare ring");
		return false;
	}
	base_shm_init(a->ring, a->slots, a->bytes);
	base_shm_init(a->back, a->slots, sizeof(uint64_t));
	for (uint64_t i = 0; i < a->bytes / sizeof *a->data; i++)
		a->data[i] = bench_hash(i);
	a->sum = bench_sum(a->data, a->bytes);
	bench_tick(); /* the reader has it as well */
	if (!(a->reader = child())) {
		bench_pin(&cores, 1);
		reader_main(a);
	}
	bench_pin(&cores, 0);
	return connected(a);
}

void bench_attach_end(struct bench_attach *a)
{
	const pid_t pids[] = { a->reader, a->agent };
	if (a->s)
		iog_close(a->s, 0);
	iog_detach(a->io);
	for (unsigned i = 0; i < IOG_COUNT(pids); i++)
		if (pids[i] > 0) {
			kill(pids[i], SIGKILL);
			waitpid(pids[i], NULL, 0);
		}
	unlink(a->path);
	rmdir(a->dir);
}
