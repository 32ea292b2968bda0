/* SPDX-License-Identifier: BSD-3-Clause */
/* Choosing cores with hwloc; see cores.h. */
#include "cores.h"

#include <dirent.h>
#include <errno.h>
#include <hwloc.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* Where threads of that process may run: those that are bound one by one each to its own. */
static void add_process(cpu_set_t *used, int pid)
{
	char path[64];
	struct dirent *d;
	cpu_set_t one;
	snprintf(path, sizeof path, "/proc/%d/task", pid);
	DIR *dir = opendir(path);
	while (dir && (d = readdir(dir)))
		if (d->d_name[0] != '.' && !sched_getaffinity(atoi(d->d_name), sizeof one, &one))
			CPU_OR(used, used, &one);
	if (dir)
		closedir(dir);
}

/* "0-3,8". */
static void name_set(const cpu_set_t *set, char *text, size_t size)
{
	size_t at = 0;
	text[0] = 0;
	for (int i = 0; i < CPU_SETSIZE && at + 16 < size; i++) {
		int last = i;
		if (!CPU_ISSET((size_t)i, set))
			continue;
		while (last + 1 < CPU_SETSIZE && CPU_ISSET((size_t)last + 1, set))
			last++;
		at += (size_t)snprintf(text + at, size - at, last > i ? "%s%d-%d" : "%s%d", at ? "," : "", i, last);
		i = last;
	}
}

void iog_cores_beside(const int *pid, uint32_t n, char *text, size_t size)
{
	cpu_set_t all, used, left;
	char mine[100], theirs[100];
	/* The kernel takes from all there are those that the control group allows. */
	memset(&all, 0xff, sizeof all);
	CPU_ZERO(&used);
	if (sched_setaffinity(0, sizeof all, &all) || sched_getaffinity(0, sizeof all, &all)) {
		snprintf(text, size, "runs where it was started: %s", strerror(errno));
		return;
	}
	for (uint32_t i = 0; i < n; i++)
		add_process(&used, pid[i]);
	CPU_AND(&used, &used, &all);
	CPU_XOR(&left, &all, &used);
	name_set(&used, theirs, sizeof theirs);
	if (!CPU_COUNT(&left)) {
		snprintf(text, size, "shares cores %s with its programs, which leave none free", theirs);
		return;
	}
	name_set(&left, mine, sizeof mine);
	if (sched_setaffinity(0, sizeof left, &left))
		snprintf(text, size, "runs on all cores: %s", strerror(errno));
	else if (!CPU_COUNT(&used))
		snprintf(text, size, "took cores %s", mine);
	else
		snprintf(text, size, "took cores %s, its programs have %s", mine, theirs);
}
