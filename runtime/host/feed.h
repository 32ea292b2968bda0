/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Feeds: where streams that other processes write meet the graphs of this one. The agent knows the writers, a graph's source "stream" knows its name;
 * each finds the feed of that name, whoever comes first. A feed has a taker for each source that is open: a collector of its own, with edges of its
 * own from every writer, so that no graph waits for another one. The agent's thread and the I/O threads of sources; a lock around each call of a
 * taker, because writers come and go while a source waits for them: ~20 ns for a step.
 *
 * Sources are told apart by `owner`, an address that is theirs as long as they are open (the configuration of their node).
 */
#ifndef IOG_RUNTIME_HOST_FEED_H
#define IOG_RUNTIME_HOST_FEED_H

#include "collect.h"

struct iog_feed;
struct iog_taker;

enum { IOG_TAKERS = 64 }; /* of one feed */

/* The feed of that name, made when there is none. Given back by put. NULL: out of memory. */
struct iog_feed *iog_feed_get(const char *name);
void iog_feed_put(struct iog_feed *f);

/* ---- the agent ---- */

/* What the writers write: known from now on. n_writers of them, `blocks` blocks in one's record at most, `credit` steps that each may have unreleased,
 * 0: they are not to be kept, for they go with this process; `how`
 * as for iog_collect_new. -EEXIST when another schema is in use. */
int iog_feed_describe(struct iog_feed *f, const struct iog_schema *schema, uint32_t n_writers, uint32_t blocks, uint32_t credit,
	enum iog_pairing how, struct iog_err *err);
/* A number for each taker (never 0, never used again), IOG_TAKERS at most; returns how many. */
uint32_t iog_feed_lives(struct iog_feed *f, uint32_t *life);
/* Whose taker that is; NULL when there is none of that number, or it waits for an heir. */
const void *iog_feed_owner(struct iog_feed *f, uint32_t life);
/* As iog_collect_attach, of the taker of that number; -ENOENT when there is none. */
int iog_feed_attach(struct iog_feed *f, uint32_t life, uint32_t writer, const struct iog_worker_in *in, bool resumed, struct iog_err *err);
/* As iog_collect_reads; false when there is no taker of that number. */
bool iog_feed_reads(struct iog_feed *f, uint32_t life, uint32_t writer, const struct iog_down *down);
/* As iog_collect_ended, of that taker; 0: of all. Telling it again changes nothing. */
void iog_feed_ended(struct iog_feed *f, uint32_t life, uint32_t writer);
/*
 * The taker of `from` passes on to `heir`: when its source has closed, it waits with its edges and all that is in them, until `heir` opens and goes
 * on where that one stopped; from then on it passes back to `from`, until it is bequeathed anew. `heir` NULL: it goes when its source closes. What
 * waits is that of its heir, who may pass it on; with NULL it goes at once. False: `from` has none.
 */
bool iog_feed_bequeath(struct iog_feed *f, const void *from, const void *heir);

/* ---- the source ---- */

/* The schema, with maxima; false when nobody has opened the stream yet. */
bool iog_feed_schema(struct iog_feed *f, struct iog_schema *schema);
/* Steps that may be taken and not released; 0: nobody has opened the stream yet. */
uint32_t iog_feed_credit(struct iog_feed *f);
/* NULL with a message: -ENOENT when nobody has opened the stream. The feed is kept until close. `lossy`: its edges may drop records, whatever the policy
 * of the stream is. */
struct iog_taker *iog_taker_open(struct iog_feed *f, const void *owner, bool lossy, struct iog_err *err);
void iog_taker_close(struct iog_taker *t);
/* The next step, until release; NULL: none within limit_ns, or *ended. */
struct iog_record *iog_taker_next(struct iog_taker *t, uint64_t limit_ns, bool *ended);
void iog_taker_release(struct iog_taker *t, struct iog_record *r);
/* As iog_collect_keeps, _keep and _let_go. */
bool iog_taker_keeps(struct iog_taker *t);
void iog_taker_keep(struct iog_taker *t, struct iog_record *r);
void iog_taker_let_go(struct iog_taker *t, uint32_t n);
/* Makes a next that waits return soon; any thread. */
void iog_taker_wake(struct iog_taker *t);

#endif
