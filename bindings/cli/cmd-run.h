/* SPDX-License-Identifier: BSD-3-Clause */
/* What `iog run` tells at its end; inside of bindings/cli. */
#ifndef IOG_BINDINGS_CLI_CMD_RUN_H
#define IOG_BINDINGS_CLI_CMD_RUN_H

#include "cli.h"
#include "runtime/host/engine.h"

struct iog_run_report {
	const char *file, *error;
	const struct iog_graph *g;
	const struct iog_cut *cut;
	const struct iog_engine *e;
	double elapsed_s;
	bool failed;
	int signal; /* that ended it; 0: none */
};

/* Tables for people, JSON for programs, on stdout. False: could not be written. */
bool iog_run_summary(const struct iog_run_report *r);
bool iog_run_json(const struct iog_run_report *r);

#endif
