/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the agent share. All of it belongs to the agent's one thread, but for the thread that each hub has. Nobody else includes this.
 */
#ifndef IOG_RUNTIME_HOST_AGENT_PRIVATE_H
#define IOG_RUNTIME_HOST_AGENT_PRIVATE_H

#include "agent.h"
#include "collect.h"
#include "feed.h"
#include "offer.h"
#include "region.h"
#include "wait.h"

enum { IOG_AGENT_CLIENTS = 1024, IOG_AGENT_STREAMS = 256, IOG_AGENT_GRAPHS = 64, IOG_AGENT_HUBS = 64 };
enum { IOG_AGENT_CREDIT = 64 }; /* of a blocking edge, at most */
_Static_assert(IOG_AGENT_CREDIT <= (int)IOG_COLLECT_KEPT, "a graph that waits for as many steps as it has credit gets them");
static const uint64_t IOG_AGENT_ARENA_MAX = 1ull << 42;

struct client {
	int sock, pid;
	uint32_t uid;
	char name[IOG_STREAM_NAME], job[IOG_STREAM_NAME];
	uint32_t rank, minor; /* 1 + its rank in the job, 0: it does not know; its version of the protocol */
	struct iog_region_map page;
	bool hello, dead;
	bool apart; /* it gives commands, or is done: no agent stays for it */
};
/* Numbers of edges that a client has from an agent before, and nobody here knows yet. */
struct held {
	uint32_t n, number[IOG_WRITERS];
	uint64_t since_ns;
};
/* What a stream is, and who writes it. */
struct stream {
	char name[IOG_STREAM_NAME];
	struct iog_feed *feed;
	struct iog_schema schema;
	uint32_t n_writers, blocks, epoch;
	uint8_t policy;
	bool apart; /* each rank's steps are records of their own */
	bool known; /* all ranks have their memory; apart: one has */
	struct writer *writer[IOG_WRITERS];
	uint64_t known_ns;
	uint64_t back_ns;      /* when the first rank came back that had lost an agent; 0: it began here */
	struct stream *hub_of; /* a hub's: not in the list, nobody finds it by its name */
};
struct writer {
	struct client *client;
	struct stream *stream;
	struct iog_offer *offer; /* of this process itself, the client is a->self then; NULL: of a program */
	uint32_t id, rank, blocks;
	uint32_t credit; /* of its blocking edges, as it says: it has slots for that */
	struct held held;
	struct iog_region_map map;
	struct iog_arena arena;
	const struct iog_attach_counts *counts; /* NULL: it keeps none */
	bool closed, ready;                     /* ready: it was told that it may begin */
	uint32_t told;                          /* number of its memory */
	bool renewed;                           /* it has other memory than at first, and its readers come again */
};
struct reader {
	struct client *client;
	struct stream *stream;
	uint32_t id;
	uint8_t policy;
	uint64_t until_ns;      /* for the stream to appear */
	uint64_t gone;          /* ranks, by bit, that it was told to expect nothing of */
	bool told, back;        /* back: it had an agent before */
	struct held held, lost; /* lost: edges it was to have, whose memory an agent before did not bring it */
};
/* A writer's edge to a reader, or to a taker of the stream's feed (reader NULL). */
struct edge {
	uint32_t id;
	struct writer *writer; /* NULL: gone; kept while the feed may read what it left */
	struct stream *stream;
	struct reader *reader;
	uint32_t feed_life; /* the feed's taker that has it */
	uint32_t rank;
	bool old; /* to memory its writer has given up: kept while the feed reads it */
	uint32_t capacity;
	uint8_t policy;
	bool resumed;     /* it begins with what one before it had not given back */
	bool asked, made; /* the writer was asked, and has answered */
	struct iog_want want;
	/* The writer was told of a wider want, and has not answered; it has, and what it sent before is not all released. */
	bool widens, flushes;
	uint32_t flush; /* descriptors it had pushed then */
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
	char state_path[200]; /* its snapshots' names begin so */
	/* Replacing: `next` starts when this one has ended, and keeps it as `before` until its sources are open. Neither is in the list. */
	struct run *next, *before;
	uint64_t wide_ns;     /* until when programs may take to send what `next` needs more; 0: it has all, and this one ends */
	bool spoilt;          /* it could not start, and has not ended yet */
	bool handed;          /* its takers come from another graph, and go back there if its sources close now */
	struct client *asker; /* to be told how it went; NULL: nobody */
	uint32_t asker_id;
};

struct iog_agent {
	struct iog_agent_opts o;
	char path[128];
	int sock, spare;    /* spare: a descriptor in hand, -1: not even that */
	uint64_t deaf_till; /* a client could not be accepted: it waits in the queue until then; 0: none does */
	struct client *client[IOG_AGENT_CLIENTS];
	struct stream *stream[IOG_AGENT_STREAMS];
	struct writer **writer;
	struct reader **reader;
	struct edge **edge;
	struct run *run[IOG_AGENT_GRAPHS];
	char cores[256]; /* those it took, in words; "": as it was started */
	bool came;       /* some program did */
	struct hub *hub[IOG_AGENT_HUBS];
	struct client self; /* who writes what graphs and hubs publish; has no socket */
	uint32_t n_clients, n_streams, n_writers, n_readers, n_edges, n_runs, n_hubs, next_edge;
	uint32_t incarnation;
	bool ending;     /* in order */
	bool resumed;    /* what an agent before had is loaded again, or forgotten */
	bool dirty;      /* what is loaded is to be written down */
	char state[160]; /* folder of what outlives this process; "": no more */
	bool look;       /* a stream became known, a feed opened: connect */
	int rc;
	struct iog_err err;
	struct iog_msg msg; /* the one being handled, and the one being made: large */
	struct iog_msg out;
};

/* ---- agent.c ---- */

/* How log lines and refusals call it: "heat (process 12, rank 3 of slurm 1234.0)". Until the next call but one. */
const char *iog_agent_client_name(const struct client *c);
__attribute__((format(printf, 2, 3))) void iog_agent_say(struct iog_agent *a, const char *fmt, ...);
/* The client is done with, for the reason given; freed at the end of the turn. */
void iog_agent_let_go(struct iog_agent *a, struct client *c, const char *why);
/* a->out, emptied, to be filled and sent. */
struct iog_msg *iog_agent_fresh(struct iog_agent *a, uint32_t kind, uint32_t id);
void iog_agent_send(struct iog_agent *a, struct client *c, struct iog_msg *m, const int *fds, uint32_t n);
/* Answers a command: rc, and what is wrong. */
void iog_agent_answer(struct iog_agent *a, struct client *c, uint32_t id, int rc, const struct iog_err *err);
__attribute__((format(printf, 4, 5))) void iog_agent_refuse(struct iog_agent *a, struct client *c, uint32_t id, const char *fmt, ...);

/* A name that can stand in lines and fields: it has no control characters. */
bool iog_agent_plain(const char *name);
/* Appends x to a list of pointers; false: out of memory. */
bool iog_agent_push(void *list, uint32_t *n, void *x);

/* ---- agent-streams.c ---- */

/* What a client said. The reason to let it go, or NULL; descriptors that were taken are set to -1. */
const char *iog_agent_on_open(struct iog_agent *a, struct client *c, const struct iog_msg *m);
const char *iog_agent_on_arena(struct iog_agent *a, struct client *c, struct iog_msg *m, int *fds, uint32_t n);
const char *iog_agent_on_close(struct iog_agent *a, struct client *c, const struct iog_msg *m);
const char *iog_agent_on_subscribe(struct iog_agent *a, struct client *c, const struct iog_msg *m);
const char *iog_agent_on_unsubscribe(struct iog_agent *a, struct client *c, const struct iog_msg *m);
/* Can one more graph take the stream, which has `takers`? 0 or -ENOSPC with a message. */
int iog_agent_stream_room(struct iog_agent *a, const char *name, uint32_t takers, struct iog_err *err);
/* The client has gone: with it what it wrote and read. */
void iog_agent_streams_leave(struct iog_agent *a, struct client *c);
/* Connects whom the last turn made known to each other, cuts what has ended, and tells those who wait. */
void iog_agent_streams_poll(struct iog_agent *a);
/* All its ranks have come, and not all have gone. */
bool iog_agent_stream_there(const struct iog_agent *a, const char *name);
/* A writer is to be told that it may begin, as soon as its graphs' sources are open. */
bool iog_agent_streams_opening(const struct iog_agent *a);
/* The job whose ranks write s; "" when none of them knows. */
const char *iog_agent_stream_job(const struct stream *s);
/* One line about a stream, its fields separated by tabs. */
void iog_agent_stream_text(const struct iog_agent *a, const struct stream *s, char *text, size_t size);
/* Returns when the next agent's runs are not of the same moment as the last of ours, whose epochs are the time: a quarter of a second at most. */
void iog_agent_streams_age(const struct iog_agent *a);
/* Ranks that write it, and have not gone. */
uint32_t iog_agent_stream_ranks(const struct stream *s);
/* Who reads it or waits for it, directly or behind a hub. */
uint32_t iog_agent_stream_audience(const struct iog_agent *a, const struct stream *s);
/* A stream that this process publishes; with hub_of, one that is not in the way of others of that name. NULL with a message. The offer is kept, until its
 * writer is freed. */
struct stream *iog_agent_stream_offered(
	struct iog_agent *a, struct iog_offer *o, const char *name, struct stream *hub_of, struct iog_err *err);
/* Of a hub. */
void iog_agent_stream_free(struct iog_agent *a, struct stream *s);
/* Readers that were told of it. */
uint32_t iog_agent_stream_readers(const struct iog_agent *a, const struct stream *s);
/* All of them have their edges. */
bool iog_agent_stream_joined(const struct iog_agent *a, const struct stream *s);
void iog_agent_writer_free(struct iog_agent *a, struct writer *w);
/* Only once all clients have left. */
void iog_agent_streams_free(struct iog_agent *a);

/* ---- agent-edges.c ---- */

/* What a client said, as above. */
const char *iog_agent_on_edge(struct iog_agent *a, struct client *c, const struct iog_msg *m, int *fds, uint32_t n);
const char *iog_agent_on_edge_made(struct iog_agent *a, struct client *c, const struct iog_msg *m, int *fds, uint32_t n);
/* An edge that was asked for cannot be: the reader, or the graph, goes on without that writer. */
const char *iog_agent_on_refused(struct iog_agent *a, struct client *c, const struct iog_msg *m);
const char *iog_agent_on_want(struct iog_agent *a, struct client *c, const struct iog_msg *m);
/* NULL: there is none of that number; it may have been cut. */
struct edge *iog_agent_edge_find(const struct iog_agent *a, uint32_t number);
/* One without memory yet. NULL: out of memory. */
struct edge *iog_agent_edge_add(struct iog_agent *a, uint32_t number, struct writer *w, struct reader *r);
/* The one at index k of the list is freed; its writer hears of it by cut. */
void iog_agent_edge_drop(struct iog_agent *a, uint32_t k);
/* The consumer of an edge is gone: its writer frees what it held. */
void iog_agent_edge_cut(struct iog_agent *a, struct edge *e);
/* Steps that a consumer of w may have outstanding. */
uint32_t iog_agent_edge_capacity(const struct writer *w, uint8_t policy);
/* Every consumer of a known stream gets an edge from every writer. */
void iog_agent_edges_connect(struct iog_agent *a);
/* Cuts edges to takers that have gone, by nobody's fault. */
void iog_agent_edges_cut(struct iog_agent *a);
/*
 * What w commits reaches the feed's taker of that life. With ranks apart its ring is read already: what another rank commits after w is not to be seen
 * before what w did.
 */
bool iog_agent_edge_fed(const struct iog_agent *a, const struct writer *w, uint32_t life);
/* A reader of w that wants every step has not answered yet. */
bool iog_agent_edges_due(const struct iog_agent *a, const struct writer *w);
/* The writer has other memory now: who has an edge to what it had gets a new one; with stay only those of graphs, as readers keep theirs. */
void iog_agent_edges_outgrown(struct iog_agent *a, const struct writer *w, bool stay);
/* The taker of that owner, a graph's, wants these variables as well. */
void iog_agent_edges_widen(struct iog_agent *a, const void *owner, uint64_t vars);
/* The taker of that owner wants this from now on; `wider`: it may be more than before. False: a writer is too old to be told. */
bool iog_agent_edges_want(struct iog_agent *a, const void *owner, const struct iog_want *want, bool wider);
/* Every step that taker has not taken yet has what it wants. */
bool iog_agent_edges_wide(struct iog_agent *a, const void *owner);
/* The writer has made the edge: on to its consumer. Descriptors that were taken are set to -1. */
void iog_agent_edge_made(struct iog_agent *a, struct edge *e, int *fds, uint32_t n);
/* The writer refuses it, or is gone: its consumer goes on without. */
void iog_agent_edge_refused(struct iog_agent *a, struct edge *e, const char *why);

/* ---- agent-rejoin.c ---- */

/* What m says its sender holds, from that place in its list to this one. */
void iog_agent_hold(struct held *h, const struct iog_msg *m, uint32_t from, uint32_t to);
/* Both have an edge of the same number. */
bool iog_agent_holds(const struct held *x, const struct held *y);
/* The edge between the two that both of them name, from an agent before: it goes on, and is in the list from now on. False: there is none. */
bool iog_agent_adopt(struct iog_agent *a, struct writer *w, struct reader *r);
/* Ranks that did not come back are not waited for any longer. */
bool iog_agent_given_up(const struct stream *s);
/* Cuts what nobody has claimed in time. */
void iog_agent_disown(struct iog_agent *a);

/* ---- agent-state.c ---- */

/* The folder beside the socket, which is made. 0 or -errno with a message. */
int iog_agent_state_open(struct iog_agent *a, struct iog_err *err);
/* Writes down what is loaded. */
void iog_agent_state_save(struct iog_agent *a);
/* Nothing is left for another agent. */
void iog_agent_state_drop(struct iog_agent *a);
/* Options for the engine of r, which keeps its snapshots there. */
struct iog_engine_opts iog_agent_state_engine(struct iog_agent *a, struct run *r);
/* r has ended: its snapshots go. */
void iog_agent_state_forget(struct iog_agent *a, const struct run *r);

/* ---- agent-hub.c ---- */

/* Takes in what graphs publish, starts and ends hubs. */
void iog_agent_hubs_poll(struct iog_agent *a);
/* An edge to what this process publishes, e->writer->offer; of a hub that does not get all the reader wants, once it does. */
void iog_agent_offer_ask(struct iog_agent *a, struct edge *e);
/* The stream by which a hub gives s to readers of that policy; made when there is none. NULL with a message. */
struct stream *iog_agent_hub_for(struct iog_agent *a, struct stream *s, uint8_t policy, struct iog_err *err);
/* Whether the taker with that owner is a hub's; of its edges: policy, want. */
bool iog_agent_is_hub(const struct iog_agent *a, const void *owner, uint8_t *policy, struct iog_want *want);
uint32_t iog_agent_hubs_of(const struct iog_agent *a, const struct stream *s);
void iog_agent_hubs_free(struct iog_agent *a);

/* ---- agent-top.c ---- */

/* Answers TOP. */
void iog_agent_on_top(struct iog_agent *a, struct client *c);

/* ---- agent-graphs.c ---- */

/* The name by which the edge of that source is known to a later agent; "": there is none. */
void iog_agent_graphs_label(const struct iog_agent *a, const void *owner, char *text, size_t size);
/* A graph may still start that takes the stream. */
bool iog_agent_graphs_wait(const struct iog_agent *a);

/* Starts what waited, notices what has ended. */
void iog_agent_graphs_poll(struct iog_agent *a);
/*
 * Ends graph `name` in order; what it took from streams is kept for the graph in `path`, which starts then. The client is answered when it
 * runs, or when it could not start and the former one runs again; but a mistake that is seen at once is returned.
 */
int iog_agent_graph_replace(struct iog_agent *a, struct client *c, const struct iog_msg *m, struct iog_err *err);
/* The client will not hear how it went. */
void iog_agent_graphs_leave(struct iog_agent *a, const struct client *c);
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
