/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `iog top` in two halves, inside of bindings/cli: cmd-top.c asks, waits and draws; top-report.c makes of two snapshots what happened between them. One
 * thread.
 */
#ifndef IOG_BINDINGS_CLI_TOP_H
#define IOG_BINDINGS_CLI_TOP_H

#include <jansson.h>

#include "cli.h"

enum { IOG_TOP_FIELDS = 16 };
/* What an agent said: lines of fields (runtime/host/agent-top.c has the list). Fields a line does not have are "". */
struct iog_top {
	char *text;
	const char *(*line)[IOG_TOP_FIELDS];
	uint32_t n;
};
/* Takes the text, which is malloced, apart. False: out of memory, or not the version we know, which is reported. */
bool iog_top_parse(struct iog_top *t, char *text);
void iog_top_free(struct iog_top *t);
/* Tables, of rates between the two snapshots. */
void iog_top_print(FILE *f, const struct iog_top *before, const struct iog_top *now);
/* The same for programs; NULL: out of memory. */
json_t *iog_top_json(const struct iog_top *before, const struct iog_top *now);

#endif
