/* SPDX-License-Identifier: BSD-3-Clause */
/* Which targets work on this machine, found out once and remembered. Any thread; the first call may take two seconds. */
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "engine.h"
#include "vm.h"

static char reason[IOG_TARGETS][160];

static void probe(void)
{
	if (access("/proc/self/exe", X_OK))
		iog_format(reason[IOG_T_SIDECORE], sizeof reason[0], "/proc is not mounted, so a worker process cannot be started");
	iog_vm_probe(reason[IOG_T_VM], sizeof reason[0]);
}

const char *iog_target_reason(enum iog_target t)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, probe);
	return (unsigned)t < IOG_TARGETS ? reason[t] : "no such target";
}
