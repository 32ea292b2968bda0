/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What an agent and those who attach to it say to each other: SOCK_SEQPACKET messages, each a struct iog_msg and sometimes descriptors. Used by
 * the agent (agent.c) and by the client library (bindings/c). Control path.
 *
 * Who attaches says HELLO. Then, on the same socket, it may write streams, read streams, and command.
 *
 *   writer                         agent                              reader
 *   OPEN      name, schema     ->
 *                              <-  OPENED     stream, epoch
 *   ARENA     fd, shape        ->                                <-   SUBSCRIBE  name
 *                                  SUBSCRIBED schema, writers    ->
 *                                  for each writer, EDGE_WANTED  ->
 *                              <-  EDGE       up            <-        EDGE       up (fd)
 *                              <-  READY  (the first step may begin)
 *   EDGE_MADE down, box (fds)  ->             + arena       ->   EDGE_MADE
 *                              <-  CUT  (the reader is gone)
 *   gone                           WRITER_GONE                   ->
 *
 * A message that the agent sends to a writer also raises `bell` in the client's page (a region the agent writes, given with WELCOME), so that a
 * simulation looks at one word of memory per step and makes no system call.
 *
 * A part that has outgrown its place: the writer says ARENA again, and waits for READY as at the first time. Each consumer gets a new edge, reads the old
 * one to its end, and lets go of the old memory then, which the writer keeps as long as something of it is out. Epoch and shape of the whole stay, and so do
 * the other ranks.
 *
 * An agent that has died: each side keeps what it has, and connects again when one listens there. A writer says OPEN with the epoch it was given, then ARENA,
 * with the numbers of the edges it holds; a reader SUBSCRIBE with those it holds. Edges that both ends name go on as they are. For an edge to a graph
 * the new agent asks for a new one of the same name: the writer sends on it what the dead one had not given back, and says so. What nobody has claimed
 * some seconds later is cut. Numbers of edges are not used by two agents; `incarnation` tells agents apart.
 *
 * Both sides check everything: sizes, kinds, indices, names, seals of descriptors (iog_region_open). Who breaks a rule is cut off, and nobody else
 * notices. Versions: another major one is refused in words; with another minor one, unknown kinds are ignored and messages may be longer.
 */
#ifndef IOG_RUNTIME_HOST_ATTACH_H
#define IOG_RUNTIME_HOST_ATTACH_H

#include "core/edge.h"
#include "want.h"

enum { IOG_ATTACH_MAGIC = 0x41474f49 /* "IOGA" */, IOG_ATTACH_MAJOR = 1, IOG_ATTACH_MINOR = 1 };
enum {
	IOG_WRITERS = 64, /* of one stream on a node; one segment each in a merged record */
	IOG_READERS = 4,  /* that read a writer's memory directly */
	IOG_READER_CREDIT = 4,
	IOG_PASTS = 16, /* memories of a writer that parts have outgrown, and that steps are still in */
	IOG_STREAM_NAME = 64,
};

enum iog_msg_kind {
	IOG_MSG_HELLO =
		1, /* text: program name; a: IOG_ATTACH_MAJOR << 16 | MINOR; b: pid; name: its job and run, as far as it knows; edge: 1 +
	                     its rank there, blocks: 1 + its rank on this node; safe: 1: it only gives commands */
	IOG_MSG_WELCOME, /* the same; epoch: incarnation of the agent; fd: page (struct iog_attach_page) */
	IOG_MSG_ERROR,   /* text; id: of what it is about. What was asked for is not done */
	/* writers */
	IOG_MSG_OPEN,   /* id: the client's number of the stream; name, a: rank, b: nranks, policy, apart; schema (sealed);
	                   epoch: that of a stream that goes on, else 0 */
	IOG_MSG_OPENED, /* id; epoch: first epoch of this run; a: credit to give each blocking edge, at most (0: its own choice) */
	IOG_MSG_ARENA, /* id, b: number of it, for READY; arena; schema with maxima; blocks: blocks per record at most; capacity: what blocking edges may have; held; fd: arena.
	                  Again when a part has outgrown it; a = 1, to an agent that came later: it was told of older memory first, and
	                  edges to readers are as they were */
	IOG_MSG_READY, /* id, b: the graphs that wait for the stream have been given edges; answers ARENA, once all ranks are there */
	IOG_MSG_EDGE, /* id, edge; capacity, policy, safe, want; a = 1: the consumer is the agent's own process and goes with it; name: of a graph's, by which
	                 it is known again; fd: up. Agent to writer; reader to agent */
	IOG_MSG_EDGE_MADE, /* id, edge; capacity, policy; a = 1: it begins with what one of its name had not given back; fds: down, and box when policy is
	                      latest. Agent to reader: also arena, fds: arena, down, box */
	IOG_MSG_CUT,   /* id, edge: its consumer is gone */
	IOG_MSG_CLOSE, /* id: nothing more comes; the writer waits for releases by itself */
	/* readers */
	IOG_MSG_SUBSCRIBE, /* id: the client's number of the reader; name; policy; b: milliseconds to wait for the stream; a = 1: it goes on, with held, of which the last `blocks`
	                      are edges it was to have and did not get */
	IOG_MSG_SUBSCRIBED,  /* id; schema with maxima; b: nranks; epoch; apart; blocks: of one writer's record at most */
	IOG_MSG_EDGE_WANTED, /* id, edge; a: rank of the writer; capacity, policy: make `up` for this, answer with EDGE */
	IOG_MSG_WRITER_GONE, /* id, edge: its writer closed or died; what is in the ring still counts */
	IOG_MSG_UNSUBSCRIBE, /* id */
	/* commands, each answered by RESULT or ERROR */
	IOG_MSG_PS,     /* a RESULT for each graph and stream, fields separated by tabs, then an empty one */
	IOG_MSG_LOAD,   /* name: of the graph; text: path; a: 1: in the place of the graph of that name */
	IOG_MSG_UNLOAD, /* name */
	IOG_MSG_SET,    /* name; number */
	IOG_MSG_RESULT, /* text; a: 1 when more follows */
	/* since minor version 1 */
	IOG_MSG_DONE, /* the client writes and reads no more, and is not waited for; answered by RESULT, or ERROR when a graph failed; b: how many
	                 others are not done */
	IOG_MSG_TOP,  /* answered by RESULTs, each with as many lines as it holds (agent-top.c says which), then an empty one */
	IOG_MSG_WANT, /* id, edge; want: of its consumer from now on. Agent to writer; back again: every step from here on has it */
	IOG_MSG_KINDS
};

/* One message. Fields that a kind does not use are 0. Larger texts go in several. */
struct iog_msg {
	uint32_t magic, kind, id, edge;
	uint32_t a, b, epoch, blocks;
	uint32_t capacity;
	uint8_t policy, safe, apart /* what ranks commit is not put together */, pad;
	double number;
	struct iog_arena arena;             /* base is not used */
	struct iog_want want;               /* of the consumer of an edge; receivers check it against the stream's schema */
	uint32_t n_held, held[IOG_WRITERS]; /* edges from an agent before */
	char name[IOG_STREAM_NAME];
	struct iog_schema schema;
	char text[4096];
};

/* What a writer did, for the agent to show: behind the slots of its arena (iog_attach_counts), since minor version 1. */
struct iog_attach_counts {
	_Atomic uint64_t records, bytes, dropped, skipped, blocked_ns;
};
static inline uint64_t iog_attach_counts(uint64_t arena_bytes) { return IOG_ROUND_UP(arena_bytes, IOG_LINE); }

/* Written by the agent, read by one client. */
struct iog_attach_page {
	_Atomic uint32_t bell; /* raised after each message to a writer */
	_Atomic uint32_t gone; /* enum iog_attach_gone; what it is when the socket ends says why */
};
enum iog_attach_gone {
	IOG_GONE_DEAD /* the agent was killed */,
	IOG_GONE_CLIENT /* it let this client go */,
	IOG_GONE_ENDED /* in order */
};

/*
 * The place of the socket: `where`, else $IOG_SOCKET, else a usable $XDG_RUNTIME_DIR/iograph/agent, else /tmp/iog-UID[-JOBID]/agent (JOBID from SLURM_JOB_ID,
 * PBS_JOBID, LSB_JOBID). With `make` its folder is made (0700) and must belong to this user. 0 or -errno with a message: -ENAMETOOLONG
 * beyond 107 bytes.
 */
int iog_attach_path(const char *where, bool make, char *path, size_t size, struct iog_err *err);
/* A listening socket (0600). One that nobody listens at any more is replaced; -EADDRINUSE when an agent answers there. Waits two seconds at most, for
 * others who do the same. */
int iog_attach_listen(const char *path, struct iog_err *err);
/* Connects within limit_ns; the peer must be of this user or root. The socket, or -errno with a message that says what to do. */
int iog_attach_connect(const char *path, uint64_t limit_ns, struct iog_err *err);
/* Who is at the other end. 0 or -errno. */
int iog_attach_peer(int sock, uint32_t *uid, int *pid);

/* Sends m with n descriptors; those stay open. Waits at most limit_ns. As iog_fd_send. */
int iog_msg_send(int sock, struct iog_msg *m, const int *fds, uint32_t n, uint64_t limit_ns, struct iog_err *err);
/*
 * Receives and checks the frame: magic, kind, lengths, NUL at the end of texts; a schema that is present is sealed again and must be as it says. *n: room
 * for descriptors before, received after (they belong to the caller). 1: a message; 0: the peer has closed; -EAGAIN: nothing in time;
 * -EPROTO: not one of ours (descriptors are closed).
 */
int iog_msg_recv(int sock, struct iog_msg *m, int *fds, uint32_t *n, uint64_t limit_ns, struct iog_err *err);

#endif
