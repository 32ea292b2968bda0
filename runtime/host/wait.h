/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sleeping and waking on words of shared memory, and the clock. Futexes, so that it works across processes and on read-only mappings;
 * several words by futex_waitv where the kernel has it (5.16), else by sleeping on the first one in short naps. And the end of a child
 * process, with a time limit. Any thread.
 */
#ifndef IOG_RUNTIME_HOST_WAIT_H
#define IOG_RUNTIME_HOST_WAIT_H

#include <sys/types.h>

#include "core/worker.h"

IOG_C_BEGIN

/* Sleeps until one of the words differs from what was seen, somebody wakes, or limit_ns passed. n 0 just sleeps. */
void iog_wait_words(const struct iog_waitword *w, uint32_t n, uint64_t limit_ns);
/* Wakes all who sleep on the word. About 10 us when somebody does, 0.3 us otherwise. */
void iog_wake_word(const _Atomic uint32_t *word);
/* CLOCK_MONOTONIC. */
uint64_t iog_now_ns(void);
/* The same for struct iog_env; ctx is not used. */
void iog_env_wait(void *ctx, const struct iog_waitword *w, uint32_t n, uint64_t limit_ns);
void iog_env_wake(void *ctx, const _Atomic uint32_t *word);
uint64_t iog_env_now(void *ctx);
/*
 * Kills a child and takes its end in: its status, as of waitpid (-1: somebody else took it), and the CPU time it used. Waits at most some
 * seconds. Whoever hangs in the kernel for longer is left behind; it never executes an instruction of its own again.
 */
void iog_child_end(pid_t pid, int *status, uint64_t *cpu_ns);
/* The same without killing and waiting: 0 alive, 1 stopped (once), 2 ended. */
int iog_child_look(pid_t pid, int *status, uint64_t *cpu_ns);

IOG_C_END

#endif
