/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Complete steps from several writers of a stream: one inlet for each, paired by (epoch, seq). A step is complete when every writer that has not
 * ended has sent it or is past it; a record then has the blocks of all who sent it. The same for the agent, where a stream feeds a graph,
 * and for a reader in another process. One thread; no allocation once writers are attached.
 *
 * Writers are other processes: descriptors and records are checked like at every border (iog_inlet_peek, iog_wire_open).
 */
#ifndef IOG_RUNTIME_HOST_COLLECT_H
#define IOG_RUNTIME_HOST_COLLECT_H

#include "attach.h"
#include "core/worker.h"

struct iog_collect;

enum {
	IOG_COLLECT_HELD = 2, /* steps that may be held at once */
	/* Steps that are held or kept at once. A graph on a safe path plans with the credit of its edges (windows, flushes), so that must not be more. */
	IOG_COLLECT_KEPT = 64,
};

/* How records of several writers become steps. */
enum iog_pairing {
	IOG_PAIR_ALL,   /* a step has the parts of all who sent it */
	IOG_PAIR_LOSSY, /* edges may drop records, each for itself: only steps that all sent that were there then are given out, others
	                   count as passed by */
	/*
	 * Each record is a step of its own, whatever other writers do. Of those that are there the smallest (epoch, seq) is next, and one that a writer
	 * committed before another began, as over a barrier, comes before that other's. They are numbered anew, from 0.
	 */
	IOG_PAIR_NONE,
};

/*
 * For n_writers writers of records of `schema` (kept, with maxima) of at most `blocks` blocks each. Steps start with the first one that no writer
 * began before its edge was there. NULL: out of memory.
 */
struct iog_collect *iog_collect_new(const struct iog_schema *schema, uint32_t n_writers, uint32_t blocks, enum iog_pairing how);
void iog_collect_free(struct iog_collect *c);
/*
 * The consuming end of an edge of writer w; everything in `in` is kept mapped by the caller as long as iog_collect_reads, or until free. A second one
 * for the same writer (it came again, or has other memory) is read when the first is drained, to which nobody adds any more. `resumed`: it begins with
 * what a collector before this one had not given back.
 */
int iog_collect_attach(struct iog_collect *c, uint32_t w, const struct iog_worker_in *in, bool resumed, struct iog_err *err);
/* The ring of writer w with this part may still be looked at, or something of it is held. */
bool iog_collect_reads(const struct iog_collect *c, uint32_t w, const struct iog_down *down);
/* Writer w has closed or died: what is in its ring still counts, then nobody waits for it. False: that was known. */
bool iog_collect_ended(struct iog_collect *c, uint32_t w);
/*
 * The next complete step, or NULL when there is none now (or IOG_COLLECT_HELD are held). Its variables have the blocks of all writers, in the order of
 * their ranks; what lies in memory of writers stays until iog_collect_release. *ended: nothing more will come.
 */
struct iog_record *iog_collect_next(struct iog_collect *c, bool *ended);
/* For who spins: some writer has sent something since iog_collect_next gave NULL. A load for each; what else may have happened only that call sees. */
bool iog_collect_stirs(const struct iog_collect *c);
void iog_collect_release(struct iog_collect *c, struct iog_record *r);
/*
 * Instead of release: the record has been copied, and is given back later, so that writers send it again when this process dies. Before the first
 * step iog_collect_keeps says that this will be done; false: no memory, or steps that are not paired have no number to be known by. let_go: the n
 * that were kept longest.
 */
bool iog_collect_keeps(struct iog_collect *c);
void iog_collect_keep(struct iog_collect *c, struct iog_record *r);
void iog_collect_let_go(struct iog_collect *c, uint32_t n);
/* Words to sleep on until something may have changed: fills at most max, returns how many. Raises the sleeping flags; iog_collect_awake lowers them. */
uint32_t iog_collect_sleep(struct iog_collect *c, struct iog_waitword *w, uint32_t max);
void iog_collect_awake(struct iog_collect *c);
/* Records taken, steps given out, records that could not be. */
struct iog_collect_stats {
	uint64_t records, bytes, steps, bad, forged, passed_by;
};
void iog_collect_stats(const struct iog_collect *c, struct iog_collect_stats *s);

#endif
