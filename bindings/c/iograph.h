/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * IOgraphs for applications: a simulation publishes the steps of a stream, readers attach to it, through shared memory of one node.
 *
 *     iog *io = iog_attach(NULL);
 *     iog_stream *s = iog_open(io, "heat", "T: f64[z,y,x] K", "policy=block timeout=5s", rank, nranks);
 *     iog_block(s, "T", global, offset, count);
 *     for (...)
 *         if (iog_begin(s, step, time) == IOG_OK) {
 *             iog_put(s, "T", T, NULL);
 *             iog_commit(s);
 *         }
 *     iog_close(s, 10);
 *     iog_detach(io);
 *
 * Nothing here ends or hangs a program. Without an agent, or after it went away, every call returns its code and does nothing: handles are never
 * NULL, calls on a dead one return what killed it, and iog_error says it in words. Every wait has an end.
 *
 * Codes: IOG_OK; IOG_SKIP, IOG_TIMEOUT, IOG_END (positive: nothing is wrong); negative: -errno.
 * Arrays are in C order, indices from 0, offsets and strides signed 64-bit. Names and text are UTF-8 and borrowed for the call.
 * Threads: the library starts none. An iog and all that came from it is used by one thread at a time; different ones are independent. After
 * fork() the child has no handle: calls there return -EBADF and touch nothing.
 */
#ifndef IOGRAPH_H
#define IOGRAPH_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct iog iog;               /* an attachment to the agent of this node */
typedef struct iog_stream iog_stream; /* one writer of a stream */
typedef struct iog_reader iog_reader; /* one reader of a stream */
typedef struct iog_rec iog_rec;       /* a step that a reader holds */

#ifndef IOG_CORE_BASE_H
enum { IOG_OK = 0 };
enum { IOG_RANK = 8 }; /* dimensions of a variable, at most */
#endif
enum {
	IOG_SKIP = 1,    /* this step is not wanted, or its policy dropped it: do not fill it */
	IOG_TIMEOUT = 2, /* nothing came in time */
	IOG_END = 3,     /* the stream has ended */
};

/* ---- attaching ---- */

/*
 * Attaches to an agent. `where`: the path of its socket; NULL: $IOG_SOCKET, else the usual place (iog(1)). Waits two seconds at most. Or "graph.lua", a
 * graph: the first process of this run on this node starts an agent with it, the others join that one; waits 16 seconds at most. Never NULL: what went
 * wrong is in iog_error, and the handle is inert. iog_detach frees it.
 */
iog *iog_attach(const char *where);
/*
 * Closes what is open (waiting a second at most for what is on its way) and frees io and everything that came from it. NULL is fine. From an agent that a
 * graph came with, the last one to detach waits until it has ended (ten seconds at most: -ETIMEDOUT, and it goes on alone): files are complete then.
 */
int iog_detach(iog *io);
/* The first failure since iog_attach, one sentence; "" when there was none. Borrowed until iog_detach. */
const char *iog_error(const iog *io);

/* ---- writing ---- */

/*
 * Opens a stream to write, as rank of nranks writers (0 of 1 when there is one). Each rank calls it by itself. `schema`: declarations separated by
 * ';', `[static] name: dtype[dim,dim] unit`. `options`, separated by spaces, NULL for none:
 *     policy=block|latest|drop-new   what happens when readers are behind (block)
 *     timeout=SECONDS                block: how long a step waits before it is dropped and counted (5s)
 *     patience=STEPS                 block: after so many steps in a row that ran into it, none waits until there is room again (0: all wait)
 *     bytes=SIZE                     memory for steps, at most (64MiB, or 25 steps if that is more); 19 steps are always taken
 *     ranks=together|apart           together: a step has the parts of all ranks (the default); apart: each rank's step is a record of its own, no rank
 *                                    waits for another, and records are numbered as they come, the smallest step of those that are there first
 * Never NULL; a stream that could not be opened skips every step.
 */
iog_stream *iog_open(iog *io, const char *name, const char *schema, const char *options, int rank, int nranks);
/*
 * Places what this writer has of a variable: shape of the whole, where the part starts, and its extent, each as long as the variable's rank.
 * Before the first step, for each variable of rank > 0; again to change it between steps. A part larger than the largest one given before the first
 * step gets other memory when the next step begins; a whole larger than the schema declares, or than that of the first step, is refused (-EFBIG).
 */
int iog_block(iog_stream *s, const char *var, const int64_t *global, const int64_t *offset, const int64_t *count);
/*
 * Begins a step. IOG_OK: fill it, then iog_commit. IOG_SKIP: leave it out. A step that does not rise begins a new epoch: the run has started
 * again. Blocks at most `timeout`, with policy=block. ~0.1 us when nobody wants the step.
 */
int iog_begin(iog_stream *s, int64_t step, double time);
/*
 * Whether anyone who takes the step wants what this writer has of a variable: 1, or 0 when computing it can be saved. Meant for between iog_begin and iog_commit;
 * 1 before the first step. A variable nobody wants need not be left out: iog_put of it copies nothing, and it is not in the step.
 */
int iog_wanted(const iog_stream *s, const char *var);
/* Where to write a variable of the step, dense, in C order: no copy is made. It holds what was there before. NULL: no step is open, or there is no such
 * variable. Valid until iog_commit. */
void *iog_fill(iog_stream *s, const char *var);
/* Copies a variable into the step; when all who take it want a box of it, only that. `strides` in bytes, one for each dimension, so that ghost cells are skipped; NULL: dense. */
int iog_put(iog_stream *s, const char *var, const void *data, const int64_t *strides);
/* Sets a variable of rank 0. */
int iog_attr(iog_stream *s, const char *name, double value);
/* Publishes the step. Never waits. */
int iog_commit(iog_stream *s);
/* Ends the stream: waits at most `timeout` seconds until readers have what was committed, then frees s. The first failure of the stream, or
 * -ETIMEDOUT; what it had to say stays in iog_error. */
int iog_close(iog_stream *s, double timeout);

/* ---- reading ---- */

/* A variable of a step. data points to the element with all indices 0 of this view; it stays until iog_release. */
typedef struct iog_view {
	const void *data;
	const char *dtype;  /* "f32", "u8" ... */
	const char *unit;   /* "" when none */
	const char *dim[8]; /* names of the dimensions */
	int rank;
	int64_t shape[8], stride[8]; /* elements; bytes, may be negative */
	int64_t start[8];            /* of this view in the shape of the whole */
} iog_view;

/*
 * Reads a stream from its next step on. `select` keeps one variable and a part of it, as "T[:,128,:]" or "T" (NULL: everything). `options`:
 *     policy=latest|block|drop-new   latest (the default): the newest step next, those in between are dropped
 *     timeout=SECONDS                how long to wait for the stream to appear (10s)
 * Never NULL.
 */
iog_reader *iog_subscribe(iog *io, const char *stream, const char *select, const char *options);
/* The next step; it holds memory of the writer until iog_release. At most two are held at once (-ENOBUFS). IOG_TIMEOUT; IOG_END. */
int iog_next(iog_reader *r, double timeout, iog_rec **rec);
int64_t iog_rec_step(const iog_rec *rec);
double iog_rec_time(const iog_rec *rec);
/* A variable of the step. One piece: a view, nothing is copied. Several (from several ranks): put together in memory of the reader,
 * with NaN (or 0) for the part of a rank that is gone. -ENOENT. */
int iog_get(iog_rec *rec, const char *var, iog_view *view);
/* Names of the variables in the step, NULL behind the last index. */
const char *iog_rec_var(const iog_rec *rec, int index);
void iog_release(iog_rec *rec);
/* Ends reading and frees r; what is held is released. NULL is fine. */
int iog_unsubscribe(iog_reader *r);

/* ---- both ---- */

typedef struct iog_stats {
	uint64_t records, bytes; /* published (bytes: of values in the steps), or taken */
	uint64_t dropped;        /* by policy or timeout: steps nobody got from us, or that passed us by */
	uint64_t skipped;        /* nobody wanted them */
	double blocked_s;        /* time spent waiting in iog_begin */
	int readers;             /* that take this stream now; graphs count, and all behind a hub as one */
} iog_stats;
int iog_stream_stats(const iog_stream *s, iog_stats *stats);
int iog_reader_stats(const iog_reader *r, iog_stats *stats);
/* Sets a live parameter of the agent's graphs. */
int iog_param(iog *io, const char *name, double value);

#ifdef __cplusplus
}
#endif
#endif
