/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Counting by ptrace: the child stops at every system call, and at breakpoints that stand on the functions of libc which allocate or lock.
 * Nothing is linked in or preloaded, so what is counted is the code as it ships, its libraries included. Hosted, x86-64; one thread.
 */
#include "bench/count.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)

enum { FUNCTIONS = 24, LIMIT_S = 20 };

static const struct {
	const char *name;
	bool lock;
} functions[] = {
	{ "malloc", false },
	{ "calloc", false },
	{ "realloc", false },
	{ "aligned_alloc", false },
	{ "posix_memalign", false },
	{ "memalign", false },
	{ "valloc", false },
	{ "reallocarray", false },
	{ "pthread_mutex_lock", true },
	{ "pthread_mutex_trylock", true },
	{ "pthread_mutex_timedlock", true },
	{ "pthread_rwlock_rdlock", true },
	{ "pthread_rwlock_wrlock", true },
	{ "pthread_spin_lock", true },
	{ "pthread_cond_wait", true },
	{ "pthread_cond_timedwait", true },
	{ "sem_wait", true },
	{ "mtx_lock", true },
};

struct trap {
	uintptr_t at;
	long word; /* what stood there */
	unsigned function;
};
struct tracer {
	pid_t pid;
	struct trap trap[FUNCTIONS];
	unsigned n;
	double deadline;
};

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static bool plant(const struct tracer *t, const struct trap *p, bool set)
{
	long word = set ? (long)(((unsigned long)p->word & ~0xfful) | 0xcc) : p->word;
	return !ptrace(PTRACE_POKETEXT, t->pid, p->at, word);
}

/* The same addresses in the child, which is a copy. */
static void find_functions(struct tracer *t)
{
	for (unsigned i = 0; i < sizeof functions / sizeof functions[0]; i++) {
		uintptr_t at = (uintptr_t)dlsym(RTLD_DEFAULT, functions[i].name);
		bool known = !at;
		for (unsigned k = 0; k < t->n; k++)
			known |= t->trap[k].at == at;
		if (!known)
			t->trap[t->n++] = (struct trap){ .at = at, .function = i };
	}
}

/* The next stop of the child; false: it ended, or time is up. */
static bool wait_stop(const struct tracer *t, int *status)
{
	while (now() < t->deadline) {
		pid_t r = waitpid(t->pid, status, __WALL | WNOHANG);
		if (r == t->pid)
			return WIFSTOPPED(*status);
		if (r < 0 && errno != EINTR)
			return false;
		nanosleep(&(struct timespec){ .tv_nsec = 20000 }, NULL);
	}
	return false;
}

static void note(struct bench_counts *c, const char *what, long number)
{
	if (c->first[0])
		return;
	if (number >= 0)
		snprintf(c->first, sizeof c->first, "%s %ld", what, number);
	else
		snprintf(c->first, sizeof c->first, "%s", what);
}

/* A breakpoint of ours: counts it and lets the child go over it. 1; 0: it is a marker; negative: it failed. */
static int at_trap(const struct tracer *t, struct bench_counts *c, struct user_regs_struct *regs)
{
	int status;
	for (unsigned k = 0; k < t->n; k++) {
		const struct trap *p = &t->trap[k];
		if (regs->rip - 1 != p->at)
			continue;
		if (functions[p->function].lock)
			c->locks++;
		else
			c->allocations++;
		note(c, functions[p->function].name, -1);
		regs->rip--;
		if (ptrace(PTRACE_SETREGS, t->pid, 0, regs) || !plant(t, p, false) || ptrace(PTRACE_SINGLESTEP, t->pid, 0, 0) ||
			!wait_stop(t, &status) || !plant(t, p, true))
			return -1;
		return 1;
	}
	return 0;
}

/* From the first marker to the second. */
static bool count(struct tracer *t, struct bench_counts *c)
{
	int status, markers = 0, inside = 0;
	struct user_regs_struct regs;
	if (!wait_stop(t, &status) || ptrace(PTRACE_SETOPTIONS, t->pid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL))
		return false;
	for (int signal = 0;;) {
		if (ptrace(markers ? PTRACE_SYSCALL : PTRACE_CONT, t->pid, 0, signal) || !wait_stop(t, &status) ||
			ptrace(PTRACE_GETREGS, t->pid, 0, &regs))
			return false;
		signal = 0;
		if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
			inside ^= 1;
			if (inside) {
				c->syscalls++;
				note(c, "system call", (long)regs.orig_rax);
			}
		} else if (WSTOPSIG(status) == SIGTRAP) {
			int r = at_trap(t, c, &regs);
			if (r < 0)
				return false;
			if (r)
				continue;
			if (++markers == 2)
				return regs.rbx == 1; /* work's answer */
			for (unsigned k = 0; k < t->n; k++) {
				errno = 0;
				t->trap[k].word = ptrace(PTRACE_PEEKTEXT, t->pid, t->trap[k].at, 0);
				if (errno || !plant(t, &t->trap[k], true))
					return false;
			}
		} else {
			signal = WSTOPSIG(status);
			if (signal == SIGSEGV || signal == SIGBUS || signal == SIGILL)
				return false;
		}
	}
}

static bool trace(struct bench_counts *c, bool (*work)(void *), void *ctx, char *why, size_t size)
{
	struct tracer t = { .deadline = now() + LIMIT_S };
	memset(c, 0, sizeof *c);
	find_functions(&t);
	t.pid = fork();
	if (t.pid < 0) {
		snprintf(why, size, "no child process: %s", strerror(errno));
		return false;
	}
	if (!t.pid) {
		if (ptrace(PTRACE_TRACEME, 0, 0, 0))
			_exit(1);
		raise(SIGSTOP);
		__asm__ volatile("int3");
		uint64_t ok = work(ctx);
		__asm__ volatile("int3" ::"b"(ok));
		_exit(0);
	}
	bool ok = count(&t, c);
	if (!ok)
		snprintf(why, size, "ptrace is not allowed here, or the child did not reach its end");
	kill(t.pid, SIGKILL);
	waitpid(t.pid, NULL, __WALL);
	return ok;
}

/* Three allocations, two locks, one system call. */
static bool known(void *ctx)
{
	pthread_mutex_t *m = ctx;
	void *volatile p;
	for (int i = 0; i < 3; i++)
		p = malloc(64);
	(void)p;
	for (int i = 0; i < 2; i++) {
		pthread_mutex_lock(m);
		pthread_mutex_unlock(m);
	}
	syscall(SYS_getppid);
	return true;
}

bool bench_count(struct bench_counts *c, bool (*work)(void *), void *ctx, char *why, size_t size)
{
	pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
	free(malloc(64)); /* the first one asks the kernel for memory */
	if (!trace(c, known, &m, why, size))
		return false;
	if (c->allocations != 3 || c->locks != 2 || c->syscalls != 1) {
		snprintf(why, size,
			"counting does not work here: 3 allocations, 2 locks and 1 system call were counted as %llu, %llu and %llu",
			(unsigned long long)c->allocations, (unsigned long long)c->locks, (unsigned long long)c->syscalls);
		return false;
	}
	return trace(c, work, ctx, why, size);
}

#else

bool bench_count(struct bench_counts *c, bool (*work)(void *), void *ctx, char *why, size_t size)
{
	(void)c, (void)work, (void)ctx;
	snprintf(why, size, "counting knows x86-64 only");
	return false;
}

#endif
