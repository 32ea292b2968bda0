/* SPDX-License-Identifier: BSD-3-Clause */
/* Sleeping on words; see wait.h. */
#include "wait.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif
enum { WAITV_MAX = 128 };

/* As the kernel wants it; older headers do not have it. */
struct waitv { uint64_t val, uaddr; uint32_t flags, reserved; };

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
			v[i] = (struct waitv){ .val = w[i].seen, .uaddr = (uint64_t)(uintptr_t)w[i].word, .flags = 2 /* 32 bits, shared */ };
		struct timespec t = span(iog_now_ns() + limit_ns);
		if (syscall(SYS_futex_waitv, v, n, 0, &t, CLOCK_MONOTONIC) >= 0 || errno != ENOSYS)
			return;
		atomic_store_explicit(&no_waitv, true, memory_order_relaxed);
	}
	wait_one(w, IOG_MIN(limit_ns, (uint64_t)200000)); /* the other words are looked at soon */
}

void iog_wake_word(const _Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

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
