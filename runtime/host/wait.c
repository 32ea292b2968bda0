/* SPDX-License-Identifier: BSD-3-Clause */
/* Sleeping on words, ending children; see wait.h. */
#include "wait.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif
enum { WAITV_MAX = 128 };
static const uint64_t CHILD_NS = 5000000000u;

/* As the kernel wants it; older headers do not have it. */
struct waitv {
	uint64_t val, uaddr;
	uint32_t flags, reserved;
};

uint64_t iog_now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static struct timespec span(uint64_t ns)
{
	return (struct timespec){ .tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u) };
}

static void wait_one(const struct iog_waitword *w, uint64_t limit_ns)
{
	struct timespec t = span(limit_ns);
	syscall(SYS_futex, w->word, FUTEX_WAIT, w->seen, &t, NULL, 0);
}

void iog_wait_words(const struct iog_waitword *w, uint32_t n, uint64_t limit_ns)
{
	static _Atomic bool no_waitv;
	if (!n) {
		struct timespec t = span(limit_ns);
		clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
		return;
	}
	if (n == 1) {
		wait_one(w, limit_ns);
		return;
	}
	if (!atomic_load_explicit(&no_waitv, memory_order_relaxed)) {
		struct waitv v[WAITV_MAX];
		n = IOG_MIN(n, (uint32_t)WAITV_MAX);
		for (uint32_t i = 0; i < n; i++)
			v[i] = (struct waitv){ .val = w[i].seen,
				.uaddr = (uint64_t)(uintptr_t)w[i].word,
				.flags = 2 /* 32 bits, shared */ };
		struct timespec t = span(iog_now_ns() + limit_ns);
		if (syscall(SYS_futex_waitv, v, n, 0, &t, CLOCK_MONOTONIC) >= 0 || errno != ENOSYS)
			return;
		atomic_store_explicit(&no_waitv, true, memory_order_relaxed);
	}
	wait_one(w, IOG_MIN(limit_ns, (uint64_t)200000)); /* the other words are looked at soon */
}

void iog_wake_word(const _Atomic uint32_t *word) { syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0); }

void iog_env_wait(void *ctx, const struct iog_waitword *w, uint32_t n, uint64_t limit_ns)
{
	(void)ctx;
	iog_wait_words(w, n, limit_ns);
}
void iog_env_wake(void *ctx, const _Atomic uint32_t *word)
{
	(void)ctx;
	iog_wake_word(word);
}
uint64_t iog_env_now(void *ctx)
{
	(void)ctx;
	return iog_now_ns();
}

static uint64_t nanoseconds(struct timeval t) { return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_usec * 1000u; }

static int look(pid_t pid, int flags, int *status, uint64_t *cpu_ns)
{
	struct rusage used;
	pid_t got;
	do
		got = wait4(pid, status, WNOHANG | flags, &used);
	while (got < 0 && errno == EINTR);
	if (!got)
		return 0;
	if (got == pid && WIFSTOPPED(*status))
		return 1;
	if (got == pid)
		*cpu_ns = nanoseconds(used.ru_utime) + nanoseconds(used.ru_stime);
	else
		*status = -1; /* this process ignores SIGCHLD, or somebody in it waits for all children */
	return 2;
}

int iog_child_look(pid_t pid, int *status, uint64_t *cpu_ns) { return look(pid, WUNTRACED, status, cpu_ns); }

void iog_child_end(pid_t pid, int *status, uint64_t *cpu_ns)
{
	uint64_t until = iog_now_ns() + CHILD_NS;
	kill(pid, SIGKILL);
	for (uint64_t nap = 50000; look(pid, 0, status, cpu_ns) != 2 && iog_now_ns() < until; nap = IOG_MIN(2 * nap, (uint64_t)2000000))
		iog_wait_words(NULL, 0, nap);
}
