/* SPDX-License-Identifier: BSD-3-Clause */
/* Which cores workers run on: those this process may use, spread over the machine so that workers share as little as possible. Any thread. */
#ifndef IOG_RUNTIME_HOST_CORES_H
#define IOG_RUNTIME_HOST_CORES_H

#include "core/base.h"

IOG_C_BEGIN

/* CPU numbers for n workers. Returns n, or 0 when there are fewer CPUs than workers: then the scheduler knows better than we do. */
uint32_t iog_cores_pick(int *cpu, uint32_t n);
/*
 * Lets the calling thread, and those it starts from now on, run on the cores that its control group allows and none of these processes does: an agent beside
 * a program whose ranks are bound. When they have all of them it shares all. `text` says which it took.
 */
void iog_cores_beside(const int *pid, uint32_t n, char *text, size_t size);
/* Binds the calling thread; 0 or -errno. */
int iog_cores_bind(int cpu);

IOG_C_END

#endif
