/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A consumer in another process, as the writer of a stream has it: an edge of its outlet that is made when the agent asks for it. For programs
 * (bindings/c/writer-edges.c) and for what graphs publish (offer.c). What the consumer, or the agent on its behalf, says is checked here. The
 * outlet's thread; nothing waits.
 */
#ifndef IOG_RUNTIME_HOST_CONSUMER_H
#define IOG_RUNTIME_HOST_CONSUMER_H

#include "region.h"
#include "want.h"

#include "core/worker.h"

IOG_C_BEGIN

struct iog_consumer {
	enum { IOG_CONSUMER_NONE, IOG_CONSUMER_ASKED /* made later */, IOG_CONSUMER_LIVE } state;
	uint32_t number; /* the agent's */
	uint32_t k;      /* in the outlet */
	uint32_t capacity;
	uint8_t policy, safe; /* policy: as it asked for */
	bool inside;          /* it is in the agent's process */
	bool orphan;          /* its agent has died: what it had not given back is for who comes under its name */
	bool spared;          /* nobody waits for it at present */
	char name[64];        /* of one that may come again; "" */
	struct iog_want want;
	bool told; /* want has changed, and the agent waits to hear that steps have it */
	struct iog_region_map up, down, box;
	void *box_map;
};
#define IOG_NO_CONSUMER ((struct iog_consumer){ .up = IOG_REGION_NONE, .down = IOG_REGION_NONE, .box = IOG_REGION_NONE })

/* The one of that number; 0 is nobody's: a free place. NULL: there is none. */
struct iog_consumer *iog_consumer_find(struct iog_consumer *list, uint32_t n, uint32_t number);
/*
 * Checks what was asked for and joins it to the outlet: capacity, policy, want, up.fd are set, up.fd is given. `room`: slots that consumers who drop
 * steps may still have; `waits`: the stream waits for those who want every step, who otherwise miss what they have no credit for. Descriptors of down,
 * and of box with IOG_LATEST, are for the caller to send. Publishes. 0, or -errno with a message, and iog_consumer_close is still to be called.
 */
int iog_consumer_make(struct iog_consumer *c, struct iog_outlet *o, const char *stream, const struct iog_schema *schema, uint32_t room,
	bool waits, struct iog_err *err);
/* The same in the place of `former`, which is dead: what that had not given back is sent to c. `former` is closed; or left as it is, after a failure. */
int iog_consumer_resume(struct iog_consumer *c, struct iog_consumer *former, struct iog_outlet *o, const char *stream,
	const struct iog_schema *schema, bool waits, struct iog_err *err);
/* Slots one that drops steps may keep; 0 for others. */
uint32_t iog_consumer_slots(const struct iog_consumer *c);
/* It often gave back what it did not have, and is to be cut off. */
bool iog_consumer_offends(const struct iog_consumer *c, const struct iog_outlet *o);
/* Frees what it has; the place is free. The outlet's edge is cut before. */
void iog_consumer_close(struct iog_consumer *c);
/* What all that live want together. */
void iog_consumers_want(const struct iog_consumer *list, uint32_t n, const struct iog_schema *schema, struct iog_wants *wants);
/* Wakes whom iog_outlet_publish or _close says. */
void iog_consumers_wake(struct iog_outlet *o, uint64_t sleepers);
/*
 * Tells all that the writer sleeps until one gives back something, and fills in the words for that, IOG_OUTLET_EDGES at most; how many. Releases are read
 * once more behind it, before the sleep. awake takes it back.
 */
uint32_t iog_consumers_sleep(struct iog_outlet *o, struct iog_waitword *word);
void iog_consumers_awake(struct iog_outlet *o);

IOG_C_END

#endif
