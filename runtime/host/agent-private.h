/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the agent share: agent.c (clients, and the loop), agent-streams.c (who writes and reads what), agent-graphs.c (what runs). All
 * of it belongs to the agent's one thread. Nobody else includes this.
 */
#ifndef IOG_RUNTIME_HOST_AGENT_PRIVATE_H
#define IOG_RUNTIME_HOST_AGENT_PRIVATE_H

#include "agent.h"
#include "feed.h"
#include "region.h"
#include "wait.h"

enum { IOG_AGENT_CLIENTS = 1024, IOG_AGENT_STREAMS = 256, IOG_AGENT_GRAPHS = 64 };

struct client {
	int sock, pid;
	uint32_t uid;
	char name[IOG_STREAM_NAME];
	struct iog_region_map page;
	bool hello, dead;
};
/* What a stream is, and who writes it. */
struct stream {
	char name[IOG_STREAM_NAME];
	struct iog_feed *feed;
	struct iog_schema schema;
	uint32_t n_writers, blocks, epoch, runs;
	uint8_t policy;
	bool apart; /* each rank's steps are records of their own */
	bool known; /* all ranks have their memory; apart: one has */
	struct writer *writer[IOG_WRITERS];
	uint32_t missed[IOG_WRITERS]; /* life of the feed that was told that this rank has gone */
};
struct writer {
	struct client *client;
	struct stream *stream;
	uint32_t id, rank, blocks;
	uint32_t credit; /* of its blocking edges, as it says: it has slots for that */
	struct iog_region_map map;
	struct iog_arena arena;
	bool closed, ready; /* ready: it was told that it may begin */
};
struct reader {
	struct client *client;
	struct stream *stream;
	uint32_t id;
	uint8_t policy;
	uint64_t until_ns; /* for the stream to appear */
	uint64_t gone;     /* ranks, by bit, that it was told to expect nothing of */
	bool told;
};
/* A writer's edge to a reader, or to the graph's feed (reader NULL). */
struct edge {
	uint32_t id;
	struct writer *writer; /* NULL: gone; kept while the feed may read what it left */
	struct stream *stream;
	struct reader *reader;
	uint32_t feed_life; /* the feed's collector that has it */
	uint32_t capacity;
	uint8_t policy;
	bool asked, made; /* the writer was asked, and has answered */
	struct iog_want want;
	struct iog_region_map up, down, box, arena;
};
enum run_state { WAITS, RUNS, ENDED, FAILED };
struct run {
	char name[IOG_STREAM_NAME], path[4096];
	enum run_state state;
	struct iog_graph *g;
	struct iog_cut cut;
	struct iog_engine *e; /* while it runs */
	uint64_t delivered;   /* by one that has ended */
	char text[512];
};

struct iog_agent {
	struct iog_agent_opts o;
	char path[128];
	int sock, spare; /* spare: a descriptor in hand, -1: not even that */
	struct client *client[IOG_AGENT_CLIENTS];
	struct stream *stream[IOG_AGENT_STREAMS];
	struct writer **writer;
	struct reader **reader;
	struct edge **edge;
	struct run *run[IOG_AGENT_GRAPHS];
	uint32_t n_clients, n_streams, n_writers, n_readers, n_edges, n_runs, next_edge;
	bool look; /* a stream became known, a feed opened: connect */
	int rc;
	struct iog_err err;
	struct iog_msg msg; /* the one being handled, and the one being made: large */
	struct iog_msg out;
};

/* ---- agent.c ---- */

__attribute__((format(printf, 2, 3))) void iog_agent_say(struct iog_agent *a, const char *fmt, ...);
/* The client is done with, for the reason given; freed at the end of the turn. */
void iog_agent_let_go(struct iog_agent *a, struct client *c, const char *why);
/* a->out, emptied, to be filled and sent. */
struct iog_msg *iog_agent_fresh(struct iog_agent *a, uint32_t kind, uint32_t id);
void iog_agent_send(struct iog_agent *a, struct client *c, struct iog_msg *m, const int *fds, uint32_t n);
__attribute__((format(printf, 4, 5))) void iog_agent_refuse(struct iog_agent *a, struct client *c, uint32_t id, const char *fmt, ...);

/* ---- agent-streams.c ---- */

/* What a client said. The reason to let it go, or NULL; descriptors that were taken are set to -1. */
const char *iog_agent_on_open(struct iog_agent *a, struct client *c, const struct iog_msg *m);
const char *iog_agent_on_arena(struct iog_agent *a, struct client *c, struct iog_msg *m, int *fds, uint32_t n);
const char *iog_agent_on_close(struct iog_agent *a, struct client *c, const struct iog_msg *m);
const char *iog_agent_on_subscribe(struct iog_agent *a, struct client *c, const struct iog_msg *m);
const char *iog_agent_on_unsubscribe(struct iog_agent *a, struct client *c, const struct iog_msg *m);
const char *iog_agent_on_edge(struct iog_agent *a, struct client *c, const struct iog_msg *m, int *fds, uint32_t n);
const char *iog_agent_on_edge_made(struct iog_agent *a, struct client *c, const struct iog_msg *m, int *fds, uint32_t n);
/* The client has gone: with it what it wrote and read. */
void iog_agent_streams_leave(struct iog_agent *a, struct client *c);
/* Connects whom the last turn made known to each other, cuts what has ended, and tells those who wait. */
void iog_agent_streams_poll(struct iog_agent *a);
/* All its ranks have come, and not all have gone. */
bool iog_agent_stream_there(const struct iog_agent *a, const char *name);
/* A writer is to be told that it may begin, as soon as its graphs' sources are open. */
bool iog_agent_streams_opening(const struct iog_agent *a);
/* One line about a stream, as of iog_agent_describe. */
void iog_agent_stream_text(const struct iog_agent *a, const struct stream *s, char *text, size_t size);
/* Only once all clients have left. */
void iog_agent_streams_free(struct iog_agent *a);

/* ---- agent-graphs.c ---- */

/* Starts what waited, notices what has ended. */
void iog_agent_graphs_poll(struct iog_agent *a);
/* A graph has started that takes the stream, and its source is not open yet. */
bool iog_agent_graphs_opening(const struct iog_agent *a, const struct stream *s);
/* What the graphs that run need of a stream. */
void iog_agent_graphs_want(const struct iog_agent *a, const struct stream *s, struct iog_want *want);
/* Graphs that wait or run; *runs: those that run. */
uint32_t iog_agent_graphs_busy(const struct iog_agent *a, uint32_t *runs);
/* Sets a live parameter of every graph that has it. 0, or -errno with a message. */
int iog_agent_graphs_set(struct iog_agent *a, const char *name, double value, struct iog_err *err);
void iog_agent_graph_text(const struct run *r, char *text, size_t size);
void iog_agent_graphs_free(struct iog_agent *a);

#endif
