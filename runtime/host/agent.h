/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The agent: one process per node that owns graphs and brings them together with the programs that publish and read streams. It listens on a Unix
 * socket, passes descriptors of shared memory between writers, readers and graphs, and then is out of the way: steps never pass through it.
 * One controlling thread; a slow, stopped, dead or hostile client harms only itself.
 */
#ifndef IOG_RUNTIME_HOST_AGENT_H
#define IOG_RUNTIME_HOST_AGENT_H

#include "attach.h"
#include "engine.h"

struct iog_agent;

struct iog_agent_opts {
	const char *path;              /* of the socket; NULL: the usual place */
	struct iog_engine_opts engine; /* for each graph */
	bool fresh;                    /* forgets what an agent that was killed here has left */
	bool widen;                    /* takes the cores its programs leave, wherever it was started */
	void *ctx;
	/* Reads a graph file; what is wrong with it is among its diags. NULL: out of memory. */
	struct iog_graph *(*load)(void *ctx, const char *path);
	/* One line about what happened: a graph started, a client was cut off. NULL: not told. */
	void (*log)(void *ctx, const char *line);
};

/* Listens. 0 or -errno with a message. Strings in o are kept. */
int iog_agent_new(struct iog_agent **a, const struct iog_agent_opts *o, struct iog_err *err);
const char *iog_agent_path(const struct iog_agent *a);
/*
 * Loads a graph. It starts as soon as all streams it takes have been opened by all their ranks. 0 or -errno with a message; mistakes in the
 * file are told by `diags` (NULL: only the first, in err).
 */
int iog_agent_load(
	struct iog_agent *a, const char *name, const char *path, void (*diags)(void *ctx, const struct iog_graph *g), struct iog_err *err);
/* Loads the graphs an agent had that was killed here, but for those of a name that is loaded already. Until it is called nothing of them is forgotten. */
void iog_agent_resume(struct iog_agent *a);
/* Ends a graph in order. -ENOENT. */
int iog_agent_unload(struct iog_agent *a, const char *name, struct iog_err *err);
/* Looks after clients and graphs for at most timeout_s. Returns how many graphs wait or run. */
uint32_t iog_agent_poll(struct iog_agent *a, double timeout_s);
/* How many programs are attached and not done; *came: any was. */
uint32_t iog_agent_programs(const struct iog_agent *a, bool *came);
/* Streams that programs have open to write. */
uint32_t iog_agent_writing(const struct iog_agent *a);
/* Listens no more, and leaves nothing for another agent: the place is free for one. */
void iog_agent_close(struct iog_agent *a);
/* 0, or the first failure of a graph. */
int iog_agent_result(const struct iog_agent *a, struct iog_err *err);
/* Ends all graphs: in order, or at once. Poll until it returns 0. */
void iog_agent_end(struct iog_agent *a, bool at_once);
/* Lets all clients go, removes the socket, frees everything. NULL is fine. */
void iog_agent_free(struct iog_agent *a);

#endif
