/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a stream that is written consists of; shared by writer.c (opening, steps, the end), writer-arena.c (shapes and memory) and writer-edges.c
 * (consumers). One thread per attachment, as iograph.h says.
 */
#ifndef IOG_BINDINGS_C_WRITER_PRIVATE_H
#define IOG_BINDINGS_C_WRITER_PRIVATE_H

#include <errno.h>

#include "client-private.h"
#include "runtime/host/consumer.h"
#include "runtime/host/wait.h"

static const uint64_t OPEN_NS = 2000000000u, START_NS = 10000000000u, SLEEP_NS = 20000000;

struct variable {
	bool placed;
	bool given; /* static: has a value, in own memory */
	uint32_t elem;
	uint64_t at;     /* in the payload; static: not used */
	uint64_t room;   /* bytes there is place for */
	uint64_t bytes;  /* of the part now */
	uint8_t *memory; /* static: the value, for this epoch and those that follow */
	int64_t global[IOG_RANK];
};

/* Memory that parts have outgrown, with the steps in it that consumers who want every step have not given back. */
struct past {
	struct past *next; /* younger */
	struct iog_outlet o;
	void *memory;
	struct iog_region_map arena;
	struct iog_consumer edge[IOG_FANOUT];
};

struct iog_stream {
	struct iog *io;
	struct iog_stream *next;
	uint32_t id;
	int rc;                                  /* the first failure, which iog_close returns */
	int dead;                                /* why it cannot be used; 0: it can */
	bool opened, made, any, in_step, shaped; /* shaped: a shape changed */
	bool early;                              /* opened without an agent; dead until there is one */
	bool grown;                              /* a part is larger than its place */
	bool renewed;                            /* consumers of the new arena are not there yet */
	bool gave_up;                            /* no agent came when one was needed for a larger part */
	bool closing;
	uint8_t policy;
	bool apart;
	uint64_t timeout_ns, bytes;
	uint64_t patience, late; /* steps in a row that may run into the time limit, 0: all; that did */
	uint32_t run, epoch;     /* run: the first epoch */
	uint32_t spared;         /* consumers nobody waits for, by bit */
	uint32_t skip_mask;      /* the clock is looked at when these bits of skipped are 0 */
	int64_t step;
	char name[IOG_STREAM_NAME];
	uint32_t credit_max;    /* the agent's wish */
	bool ready;             /* the agent has asked for the edges of those who wait */
	uint32_t told;          /* number of arenas the agent was told of */
	uint32_t lossy;         /* slots promised to lossy edges */
	bool asked;             /* edges came that are still to be made */
	bool rewant;            /* consumers came or went since wants was made */
	struct iog_wants wants; /* what those of the open step want: fixed while it is filled */
	uint64_t cut;           /* variables of which the open step has only a part, in part */
	struct iog_block part[IOG_VARS];
	uint32_t wide; /* blocking edges, by bit, that could hold more than credit allows */
	uint32_t credit, slot;
	uint64_t head_max, payload;
	/*
	 * Steps that differ in nothing but their values and their time have the same head: it is written once for each slot. laid: for each slot the
	 * number of the layout its head is of; of the last one: which variables there are, how long the record is, and what is sent of values.
	 */
	uint64_t *laid, layout, have, length, values;
	uint64_t touched, statics, statics_sent; /* by variable */
	uint64_t new_statics;                    /* those of the epoch are not sent yet */
	struct iog_schema schema;
	struct variable var[IOG_VARS];
	struct iog_block block[IOG_VARS];
	struct iog_record rec;
	struct iog_region_map arena;
	struct iog_region view; /* the static part of the arena */
	struct iog_outlet o;
	void *memory;                     /* of the outlet */
	struct iog_attach_counts *counts; /* what the agent sees of the following */
	struct iog_consumer edge[IOG_FANOUT];
	struct past *past, *telling; /* oldest first; the one a new agent is told of now, before the others */
	uint32_t n_past;
	uint64_t skipped_ns; /* when the clock was looked at */
	uint64_t records, sent_bytes, dropped, skipped, blocked_ns;
};

/* Keeps the first failure of the stream, and of the attachment, in words. */
#define FAIL(s, code, ...) iog_stream_failed(s, iog_client_fail((s)->io, code, __VA_ARGS__))
static inline int iog_stream_failed(struct iog_stream *s, int code)
{
	if (!s->rc)
		s->rc = code;
	return code;
}

/* ---- consumers; writer-edges.c ---- */

static inline void iog_stream_wake(struct iog_stream *s, uint64_t sleepers) { iog_consumers_wake(&s->o, sleepers); }
/* Slots that lossy consumers may keep, at most. */
uint32_t iog_stream_lossy_max(const struct iog_stream *s);
/* Makes the edges that were asked for. Not while a step is open: who comes then may want of it what was left out. */
void iog_stream_edges_try(struct iog_stream *s);
/* The consumer has gone: what it held is free. */
void iog_stream_edge_cut(struct iog_stream *s, struct iog_consumer *e);
/* Moves what consumers still have to read into the past, and forgets them. False: no memory. */
bool iog_stream_pass_on(struct iog_stream *s);
/* Something is kept for one who had a dead agent, or a new agent is just being told of it. */
bool iog_stream_unclaimed(struct iog_stream *s);
/* Reads releases of the past, and frees what is given back. */
void iog_stream_past_reap(struct iog_stream *s);
/* Frees it all. */
void iog_stream_past_free(struct iog_stream *s);
/* Cuts off who gives back what it does not have. */
void iog_stream_cut_offenders(struct iog_stream *s);
/* With nobody left to tell us who died: who made us wait for the whole time keeps what it has, and nobody waits for it until it has room again. */
void iog_stream_spare(struct iog_stream *s);
/* Waits again for those who have room again. False: nobody could be sent a step. */
bool iog_stream_unspare(struct iog_stream *s);
/* What all consumers want together. */
void iog_stream_wants(struct iog_stream *s);

/* ---- shapes and memory; writer-arena.c ---- */

/* The variable called name; NULL: there is none. */
struct variable *iog_stream_variable(struct iog_stream *s, const char *name, uint32_t *v);
/* Extents of the axes from the shapes, which must agree. */
int iog_stream_shape(struct iog_stream *s);
/* A part is larger than its place, or consumers of a larger one are waited for. */
bool iog_stream_grown(struct iog_stream *s);
/* The arena, for the parts there are now, and the edges of who waits for it. */
int iog_stream_make(struct iog_stream *s);
/* A larger one for the steps that come. Consumers come again. */
int iog_stream_grow(struct iog_stream *s);
/* Tells the agent what the stream is; what its memory is like, or one of the past, and who has edges. `stay`: those of readers are as they were. */
void iog_stream_say_open(struct iog_stream *s);
void iog_stream_say_arena(struct iog_stream *s, const struct past *p, bool stay);

#endif
