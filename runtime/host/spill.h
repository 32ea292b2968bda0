/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Spilling: what a sink has not come to yet goes to a file, so that those who produce it go on. A queue between the thread that reads the sink's edge and
 * one of its own that stores, in order: records in their slots first, as many as the edge can spare, then those in the file. While anything is in the
 * file, what comes goes behind it. Nothing is lost: when the file may not grow any more, the edge's thread has to wait.
 *
 * The file has no name, is open to this process alone, and is used again from its start: it needs what is behind, not what was ever behind. What is in
 * it does not survive this process.
 */
#ifndef IOG_RUNTIME_HOST_SPILL_H
#define IOG_RUNTIME_HOST_SPILL_H

#include "core/worker.h"

IOG_C_BEGIN

struct iog_spill;
struct iog_spill_opts {
	const char *dir;                 /* "": $TMPDIR, else /tmp */
	uint64_t bytes;                  /* of the file, at most */
	uint32_t slots;                  /* records that may wait in their slots */
	const struct iog_schema *schema; /* kept */
	uint32_t max_blocks;
	/* Stores a record, which is borrowed; on the thread of the queue. It is called for every record that was put in, and for nothing else. */
	void (*store)(void *ctx, const struct iog_record *r, uint64_t bytes);
	/* A slot held no record (err NULL), or what came back from the file is not what was put there, and all that is behind it is given up. */
	void (*lost)(void *ctx, const struct iog_err *err);
	void *ctx;
};
struct iog_spill_stats {
	uint64_t records; /* that went through the file */
	uint64_t most;    /* bytes of the file, when it was largest */
	uint64_t full;    /* times that somebody had to wait because it could not grow */
	char why[160];    /* why not, the first time */
};

/* Makes the file and starts the thread. 0, or -errno with a message. */
int iog_spill_new(struct iog_spill **s, const struct iog_spill_opts *o, struct iog_err *err);

/* ---- the edge's thread ---- */

enum iog_spilled {
	IOG_SPILL_HELD,   /* it stays in its slot until iog_spill_done names it */
	IOG_SPILL_COPIED, /* the slot may be given back */
	IOG_SPILL_FULL,   /* not taken: again later */
	IOG_SPILL_BAD,    /* not a record; the slot may be given back */
	IOG_SPILL_LOST,   /* not taken, since what is before it was lost; the slot may be given back */
};
/* A record in a slot; what `at` maps stays mapped until it is stored. `life` comes back with it. */
enum iog_spilled iog_spill_put(struct iog_spill *s, const struct iog_worker_in *at, const struct iog_desc *d, uint32_t life);
/* The next one that was held and is stored; false: none is. */
bool iog_spill_done(struct iog_spill *s, uint32_t *slot, uint32_t *gen, uint32_t *life);
/* Changes whenever something was stored. It wakes who said that he sleeps, before he compared it. */
const _Atomic uint32_t *iog_spill_bell(const struct iog_spill *s);
void iog_spill_sleeps(struct iog_spill *s, bool sleeps);
/* Waits until all is stored, or, when *give_up is set, until what is being stored is, and ends the thread. How many records were given up. */
uint64_t iog_spill_end(struct iog_spill *s, const _Atomic bool *give_up, struct iog_spill_stats *stats, uint64_t *cpu_ns);
void iog_spill_free(struct iog_spill *s);

IOG_C_END

#endif
