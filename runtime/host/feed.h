/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Feeds: where streams that other processes write meet the graphs of this one. The agent knows the writers, a graph's source "stream" knows its name;
 * each finds the feed of that name, whoever comes first. The agent's thread and the I/O threads of sources; a lock around each call, because
 * writers come and go while a source waits for them: ~20 ns for a step.
 */
#ifndef IOG_RUNTIME_HOST_FEED_H
#define IOG_RUNTIME_HOST_FEED_H

#include "collect.h"

struct iog_feed;

/* The feed of that name, made when there is none. Given back by put. NULL: out of memory. */
struct iog_feed *iog_feed_get(const char *name);
void iog_feed_put(struct iog_feed *f);

/* ---- the agent ---- */

/* What the writers write: known from now on. n_writers of them, `blocks` blocks in one's record at most; `how` as for iog_collect_new. -EEXIST when another schema is in use. */
int iog_feed_describe(struct iog_feed *f, const struct iog_schema *schema, uint32_t n_writers, uint32_t blocks, enum iog_pairing how,
	struct iog_err *err);
/* 0: no source is open; else a number for the one that is. */
uint32_t iog_feed_life(struct iog_feed *f);
/* As iog_collect_attach and _ended, of the source's collector; -ENOENT when no source is open. What `in` points to is kept until the source closes
 * (iog_feed_life changes) or the writer ended. */
int iog_feed_attach(struct iog_feed *f, uint32_t writer, const struct iog_worker_in *in, struct iog_err *err);
void iog_feed_ended(struct iog_feed *f, uint32_t writer);

/* ---- the source ---- */

/* The schema, with maxima; false when nobody has opened the stream yet. */
bool iog_feed_schema(struct iog_feed *f, struct iog_schema *schema);
/* -EBUSY when another source takes the stream; -ENOENT when nobody has opened it. */
int iog_feed_open(struct iog_feed *f, struct iog_err *err);
void iog_feed_close(struct iog_feed *f);
/* The next step, until release; NULL: none within limit_ns, or *ended. */
struct iog_record *iog_feed_next(struct iog_feed *f, uint64_t limit_ns, bool *ended);
void iog_feed_release(struct iog_feed *f, struct iog_record *r);
/* Makes a next that waits return soon; any thread. */
void iog_feed_wake(struct iog_feed *f);

#endif
