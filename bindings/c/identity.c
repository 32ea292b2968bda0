/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Run identity; see identity.h. A batch system names the job, a launcher inside of it the run: both together tell two mpirun of one job apart. The rank is
 * the launcher's: inside of a batch step that started a launcher's daemons, the batch system's own is that of the daemon.
 */
#include "identity.h"

#include <stdlib.h>

/* The first of these that is set; NULL. The list ends with NULL. */
static const char *first(const char *const *names)
{
	for (; *names; names++) {
		const char *v = getenv(*names);
		if (v && v[0])
			return v;
	}
	return NULL;
}

static int number(const char *const *names)
{
	const char *v = first(names);
	char *end;
	const long n = v ? strtol(v, &end, 10) : -1;
	return !v || *end || n < 0 || n >= INT32_MAX ? -1 : (int)n; /* one more is said to the agent */
}

void iog_identity_get(struct iog_identity *id)
{
	static const char *const pbs[] = { "PBS_JOBID", NULL }, *const lsf[] = { "LSB_JOBID", NULL };
	static const char *const slurm[] = { "SLURM_JOB_ID", NULL }, *const step[] = { "SLURM_STEP_ID", NULL };
	static const char *const run[] = { "PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid", "PMI_JOBID", NULL };
	static const char *const ranks[] = { "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID", "PBS_TASKNUM", NULL };
	static const char *const locals[] = { "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID", NULL };
	char text[1024], *p = text;
	const char *job = first(slurm), *name = first(run);
	size_t left = sizeof text;
	text[0] = 0;
	if (job && first(step))
		iog_format(text, sizeof text, "slurm %.100s.%.100s", job, first(step));
	else if (job)
		iog_format(text, sizeof text, "slurm %.100s", job);
	else if (first(pbs))
		iog_format(text, sizeof text, "pbs %.200s", first(pbs));
	else if (first(lsf))
		iog_format(text, sizeof text, "lsf %.200s", first(lsf));
	p += strlen(text), left -= strlen(text);
	if (name)
		iog_format(p, left, "%s%s %.300s", text[0] ? " " : "", getenv("PMIX_NAMESPACE") ? "pmix" : "run", name);
	for (p = text; *p; p++)
		if (*p <= ' ' || *p > '~')
			*p = ' ';
	if (!iog_strset(id->job, sizeof id->job, text))
		iog_format(id->job, sizeof id->job, "%.44s ~%016llx", text, (unsigned long long)iog_hash(text, strlen(text), 0));
	id->rank = number(ranks);
	id->local = number(locals);
}
