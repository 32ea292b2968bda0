/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commands that run until they are told to end: SIGINT, SIGTERM and SIGHUP are counted, and a handler does nothing else. The first one ends in
 * order, the second at once, and the third ends the program whatever it waits for.
 */
#ifndef IOG_BINDINGS_CLI_SIGNALS_H
#define IOG_BINDINGS_CLI_SIGNALS_H

/* From now on; what whoever started us ignores stays ignored. SIGPIPE is ignored. */
void iog_cli_signals_watch(void);
/* How many came. */
int iog_cli_signals_seen(void);
/* The last one; 0: none. */
int iog_cli_signals_last(void);
/* As many open files as there may be: a stage takes a dozen. */
void iog_cli_allow_files(void);

#endif
