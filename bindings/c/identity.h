/* SPDX-License-Identifier: BSD-3-Clause */
/* Which run of which job a process belongs to, from the environment its launcher made; inside of bindings/c. Any thread, no state. */
#ifndef IOG_BINDINGS_C_IDENTITY_H
#define IOG_BINDINGS_C_IDENTITY_H

#include "runtime/host/attach.h"

struct iog_identity {
	/* The batch job and its step, and the launcher's name of the run: "slurm 1234.0 pmix 402653185"; "" when nobody says. What does not fit is cut
	 * and ends in a number made of all of it. */
	char job[IOG_STREAM_NAME];
	int rank, local; /* in the run, and on this node; -1: nobody says */
};

void iog_identity_get(struct iog_identity *id);

#endif
