/* SPDX-License-Identifier: BSD-3-Clause */
/* Choosing cores with hwloc; see cores.h. */
#include "cores.h"

#include <errno.h>
#include <hwloc.h>
#include <limits.h>
#include <sched.h>

enum { WORKERS = 256 };

uint32_t iog_cores_pick(int *cpu, uint32_t n)
{
	hwloc_topology_t t;
	uint32_t got = 0;
	if (!n || n > WORKERS || hwloc_topology_init(&t))
		return 0;
	hwloc_bitmap_t mine = hwloc_bitmap_alloc();
	/* The topology hwloc shows is what the control group allows; the affinity mask may be narrower. */
	if (mine && !hwloc_topology_load(t) && !hwloc_get_cpubind(t, mine, HWLOC_CPUBIND_PROCESS) &&
		(uint32_t)hwloc_bitmap_weight(mine) >= n && !hwloc_topology_restrict(t, mine, 0)) {
		hwloc_cpuset_t set[WORKERS];
		hwloc_obj_t root = hwloc_get_root_obj(t);
		if (!hwloc_distrib(t, &root, 1, set, n, INT_MAX, 0)) {
			for (uint32_t i = 0; i < n; i++) {
				cpu[i] = hwloc_bitmap_first(set[i]);
				hwloc_bitmap_free(set[i]);
				got += cpu[i] >= 0;
			}
		}
	}
	hwloc_bitmap_free(mine);
	hwloc_topology_destroy(t);
	return got == n ? n : 0;
}

int iog_cores_bind(int cpu)
{
	cpu_set_t one;
	if (cpu < 0 || cpu >= CPU_SETSIZE)
		return -EINVAL;
	CPU_ZERO(&one);
	CPU_SET((size_t)cpu, &one);
	return sched_setaffinity(0, sizeof one, &one) ? -errno : 0;
}
