/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Offers: streams that this process itself publishes, a graph's sink "stream" for one, to readers in other processes and to other graphs. Who offers
 * and the agent find each other by a list of the process; either side may come first and leave first. A lock around each call, because consumers come
 * and go while records are written.
 */
#ifndef IOG_RUNTIME_HOST_OFFER_H
#define IOG_RUNTIME_HOST_OFFER_H

#include "core/edge.h"
#include "core/iog_op.h"
#include "want.h"

IOG_C_BEGIN

struct iog_offer;

/* ---- who offers; one thread ---- */

struct iog_offer_opts {
	uint32_t blocks; /* of a record, at most */
	uint64_t bytes;  /* memory for records; at least 12 are kept */
	bool waits;      /* for consumers that want every record, at most: */
	uint64_t timeout_ns;
	const _Atomic bool *stop; /* kept; raised: it waits no longer. NULL is fine */
};
/*
 * The schema is sealed and has maxima. A name of "" is for an agent that has it already, by iog_offer_own. -EEXIST: this process offers that name already;
 * -ENOENT: it has no agent.
 */
int iog_offer_open(
	struct iog_offer **o, const char *name, const struct iog_schema *schema, const struct iog_offer_opts *opts, struct iog_err *err);
/*
 * Copies the record for those who take the stream; nothing is done when there are none. IOG_NO_SPACE: it was dropped, because readers held what there
 * is, and err is as it was, since for many a caller that is a matter of course; IOG_FAILED: it cannot be sent, and why; IOG_FATAL: the agent
 * refused the stream.
 */
enum iog_step iog_offer_write(struct iog_offer *o, const struct iog_record *r, struct iog_err *err);
/* The sentence for a drop. */
void iog_offer_dropped(const struct iog_record *r, struct iog_err *err);
/* Nothing more comes. What consumers have not taken yet stays for them. */
void iog_offer_close(struct iog_offer *o);

/* ---- the agent ---- */

/* There is one agent more, or less, that takes what is offered. */
void iog_offers_wanted(int change);
/* One that no agent has yet, or NULL. Given back by put. */
struct iog_offer *iog_offer_next(void);
/* The same of one that is known. */
void iog_offer_own(struct iog_offer *o);
void iog_offer_put(struct iog_offer *o);
/* What it is; valid until put. arena->base is not for others. */
const char *iog_offer_name(const struct iog_offer *o);
const struct iog_schema *iog_offer_schema(const struct iog_offer *o);
void iog_offer_memory(const struct iog_offer *o, struct iog_arena *arena, int *fd, uint32_t *blocks, uint32_t *credit);
/* Epochs of its records count from here; before the first consumer. */
void iog_offer_epoch(struct iog_offer *o, uint32_t epoch);
bool iog_offer_closed(struct iog_offer *o);
/* The stream cannot be: its writer hears why. */
void iog_offer_refuse(struct iog_offer *o, const char *why);
struct iog_offer_edge {
	uint32_t number, capacity;
	uint8_t policy;
	struct iog_want want;
	int up; /* stays the caller's */
};
/* A consumer. How many descriptors are in fds (down, box), which are the caller's; or -errno with a message. */
int iog_offer_join(struct iog_offer *o, const struct iog_offer_edge *e, int fds[2], struct iog_err *err);
void iog_offer_cut(struct iog_offer *o, uint32_t number);
/* That consumer wants something else, of every record from now on. */
void iog_offer_want(struct iog_offer *o, uint32_t number, const struct iog_want *want);
/* A consumer that gives back what it does not have, and was cut off; 0: there is none. */
uint32_t iog_offer_offender(struct iog_offer *o);

IOG_C_END

#endif
