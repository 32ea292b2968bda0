/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What attach.c, writer.c and reader.c of the client library share: an attachment, and the way a message of the agent takes to the stream or
 * reader it is for. One thread per attachment, as iograph.h says.
 */
#ifndef IOG_BINDINGS_C_CLIENT_PRIVATE_H
#define IOG_BINDINGS_C_CLIENT_PRIVATE_H

#include <sys/types.h>

#include "runtime/host/attach.h"
#include "runtime/host/region.h"
#include "runtime/host/ticker.h"
/* after core/base.h, whose constants it would declare again */
#include "bindings/c/iograph.h"

struct iog {
	int sock;       /* -1: no agent */
	bool embedded;  /* the agent came with a graph: it ends with the last program */
	int rc;         /* why there is none */
	bool again;     /* none now: one that listens there is joined */
	bool joining;   /* connected, and not welcome yet */
	bool lost;      /* that it ended is what err says */
	char path[128]; /* of the socket */
	uint32_t incarnation;
	uint64_t tried_ns; /* when it was last connected to */
	uint32_t forks;    /* generation of this process, at attach */
	uint32_t next_id;
	uint32_t bell;  /* as it was when the socket was empty */
	uint32_t asked; /* a command that waits for its answer */
	int answer;     /* 1: not yet */
	struct iog_ticker ticker;
	uint64_t looked_ns; /* when the socket was last looked at without being told to */
	struct iog_region_map page;
	struct iog_stream *streams;
	struct iog_reader *readers;
	struct iog_err err; /* the first failure */
	struct iog *next;   /* of this process: what a child of fork() must let go of */
};

/* Raised in every child of fork(). */
extern _Atomic uint32_t iog_client_forks;

/* The handle is of another process, whose memory this one does not have. */
static inline bool iog_client_forked(const struct iog *io)
{
	return iog_unlikely(io->forks != atomic_load_explicit(&iog_client_forks, memory_order_relaxed));
}
/* The agent has said something, or its socket is to be looked at to see whether it is there. One load. */
static inline bool iog_client_news(const struct iog *io)
{
	return io->page.map &&
	       atomic_load_explicit(&((const struct iog_attach_page *)io->page.map)->bell, memory_order_relaxed) != io->bell;
}

/* `where` is the file of a graph, and not a socket. */
bool iog_client_is_graph(const char *where);
/* A socket to the agent of that graph and this run, which is started when it is not there. Waits for another process that does
 * so, and for what it started: 14 s at most. path: of the socket. -errno with a message. */
int iog_client_embedded(const char *where, char *path, size_t size, struct iog_err *err);

/* Keeps the first failure of an attachment; returns code. */
__attribute__((format(printf, 3, 4))) int iog_client_fail(struct iog *io, int code, const char *fmt, ...);
/* Hears what the agent has to say and passes it on; waits at most limit_ns for the first message. */
void iog_client_hear(struct iog *io, uint64_t limit_ns);
/* The same when it was not done for `every_ns`: how the end of an agent is noticed, which rings no bell. Without one, looks for another, now and then and
 * without waiting. */
void iog_client_look(struct iog *io, uint64_t now_ns, uint64_t every_ns);
/* Without an agent: joins one that listens, and waits at most limit_ns for its welcome. */
void iog_client_join(struct iog *io, uint64_t limit_ns);
/* Sends; a peer that is gone or takes nothing is the end of the attachment. 0 or -errno. */
int iog_client_say(struct iog *io, struct iog_msg *m, const int *fds, uint32_t n);
/* Tells the agent that what it asked for cannot be. */
void iog_client_refuse(struct iog *io, uint32_t id, uint32_t edge, const char *text);
/* The first `*p` up to a space, "key=value" with value behind the sign; false at the end. Option words of iog_open and iog_subscribe. */
bool iog_client_option(const char **p, char *word, size_t size, char **value);
int iog_client_policy(const char *value); /* enum iog_policy, -1 */
uint64_t iog_client_span(double seconds); /* ns; what cannot be counted is for ever (a year) */
/* The descriptor has done its duty when it was sent; a program has only so many. */
void iog_client_drop_fd(struct iog_region_map *r);

/* A message for this stream or reader. A descriptor that is used is set to -1 in fds; the others are closed afterwards. */
void iog_stream_hear(struct iog_stream *s, const struct iog_msg *m, int *fds, uint32_t n);
void iog_reader_hear(struct iog_reader *r, const struct iog_msg *m, int *fds, uint32_t n);
uint32_t iog_stream_id(const struct iog_stream *s);
uint32_t iog_reader_id(const struct iog_reader *r);
struct iog_stream *iog_stream_next(const struct iog_stream *s);
struct iog_reader *iog_reader_next(const struct iog_reader *r);
/* The agent has gone: killed, ended in order, or, when io->again is not set, for good. */
void iog_stream_alone(struct iog_stream *s, bool killed);
void iog_reader_alone(struct iog_reader *r);
/* There is one again. */
void iog_stream_join(struct iog_stream *s);
void iog_reader_join(struct iog_reader *r);

#endif
