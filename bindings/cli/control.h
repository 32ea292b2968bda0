/* SPDX-License-Identifier: BSD-3-Clause */
/* Asking an agent; inside of bindings/cli. Every wait has an end. */
#ifndef IOG_BINDINGS_CLI_CONTROL_H
#define IOG_BINDINGS_CLI_CONTROL_H

#include "runtime/host/attach.h"

static const uint64_t IOG_CLI_LIMIT_NS = 10000000000u;

/* The option that says which agent. */
#define IOG_CLI_SOCKET                                                                                                                     \
	{                                                                                                                                  \
		"socket", 0, "PATH", "of the agent (default $IOG_SOCKET, else the usual place)"                                            \
	}

/* Connected to the agent at `where` (NULL: the usual place) and welcome; -1 with a message. */
int iog_cli_agent(const char *where, struct iog_err *err);
/* The next RESULT: 1; 0 with a message. */
int iog_cli_answer(int sock, struct iog_msg *m, uint64_t limit_ns, struct iog_err *err);
/* Asks what is answered by several RESULTs, and gives `each` their texts, to take apart if it likes. False with a message, or because `each` said it. */
bool iog_cli_list(int sock, uint32_t kind, bool (*each)(void *ctx, char *text), void *ctx, struct iog_err *err);
/* Says what went wrong; without a message the agent does not answer. */
void iog_cli_complain(const struct iog_err *err);

#endif
