/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the attach.* figures share: an agent, a reading process and this one, which writes, the last two pinned to a core each. The writer asks the
 * reader for a piece of work; the reader does it and counts what it has taken. Both have the bare ring of base.h beside the stream.
 *
 * All processes are children of the figure's and end with it. One thread each, but for what a peer's library starts.
 */
#ifndef IOG_BENCH_ATTACH_H
#define IOG_BENCH_ATTACH_H

#include <stdatomic.h>
#include <sys/types.h>

#include "bench/base.h"
#include "bench/bench.h"
#include "core/base.h"
/* after core/base.h, whose constants it would declare again */
#include "bindings/c/iograph.h"

enum { BENCH_ATTACH_STEPS = 4096 }; /* of one piece of work, at most */
/* What every reader can do; a figure's own work has larger numbers. */
enum bench_work { BENCH_TAKE, BENCH_SUM, BENCH_OWN };

/* Between the two processes. */
struct bench_shared {
	/* the writer's */
	_Alignas(128) _Atomic uint32_t ask; /* raised for each piece of work */
	uint32_t what, n;
	_Alignas(128) _Atomic uint32_t word; /* to sleep on */
	double sent[BENCH_ATTACH_STEPS];     /* bench_ticks */
	/* the reader's */
	_Alignas(128) _Atomic uint32_t done, failed; /* done: the last ask that was answered */
	_Alignas(128) _Atomic uint32_t taken;        /* of this piece of work */
	uint64_t sum, slept;                         /* of the words that were read; times it was put to sleep */
	double seen[BENCH_ATTACH_STEPS];             /* bench_ticks, or how many */
	char why[200];
};

struct bench_attach {
	struct bench_figure *f;
	uint64_t bytes;      /* of a step */
	uint64_t *data, sum; /* what is sent, the sum of its words */
	const char *reading; /* options of the reader */
	const char *writing; /* of the stream */
	/* In the reader's process: work `what`, from BENCH_OWN on, n times. False: it could not. NULL: there is none. */
	bool (*serve)(struct bench_attach *a, uint32_t what, uint32_t n);
	/* filled */
	char dir[64], path[128];
	pid_t agent, reader;
	struct bench_shared *sh;
	struct base_shm *ring, *back; /* to the reader, slots of a step; to the writer, of a word */
	uint32_t slots;               /* of both: as many as a stream's readers may lag behind by default */
	iog *io;
	iog_stream *s; /* "T: u64[i]" */
	iog_reader *r;
	int64_t step;
};

/* For steps of so many bytes, and a reader that blocks. */
struct bench_attach *bench_attach_new(
	struct bench_figure *f, uint64_t bytes, bool (*serve)(struct bench_attach *a, uint32_t what, uint32_t n));
/* Only the agent: a->dir, a->path. False: the note says why. */
bool bench_attach_agent(struct bench_attach *a);
/* The agent, the reader, and a stream both are connected to. */
bool bench_attach_start(struct bench_attach *a);
/* Lets everything go. */
void bench_attach_end(struct bench_attach *a);

/* Begins a piece of work; waits until all of it was taken and it is done. False: it failed, the note says why. */
void bench_attach_ask(struct bench_attach *a, uint32_t what, uint32_t n);
bool bench_attach_done(struct bench_attach *a);
/* Waits until the reader has taken n. */
bool bench_attach_taken(struct bench_attach *a, uint32_t n);
/* A step by zero copy is begun, and its first word set; is committed; begun, copied in and committed. False: it failed, the note says why. */
bool bench_attach_begin(struct bench_attach *a);
bool bench_attach_commit(struct bench_attach *a);
bool bench_attach_put(struct bench_attach *a);
/* The same with the bare ring. */
bool bench_attach_ring_put(struct bench_attach *a);
/* Says in the note what failed; false. */
bool bench_attach_failed(struct bench_attach *a, const char *what, int code);

/* In the reader: step i is there. To seen[i]: the time; with data how long it took to add its words up, to sum. */
void bench_attach_seen(struct bench_attach *a, uint32_t i, const void *data);
/* And it was given back. */
void bench_attach_mark(struct bench_attach *a, uint32_t i);
/* In the writer, when the work is done: the median of what the reader has seen, and from sent[i] to there; seconds. */
double bench_attach_middle(struct bench_attach *a, uint32_t n);
double bench_attach_one_way(struct bench_attach *a, uint32_t n);
/* The work is done and the reader has read n times what was sent. */
bool bench_attach_read(struct bench_attach *a, uint32_t n);
/*
 * Both sides of a pair, measured in turns, round by round, so that what else the machine does meets both. Asked for one side it measures both,
 * asked for the other one it has that already. measure: fills seconds of a step, ours and theirs; false: it failed.
 */
struct bench_turns {
	bool (*measure)(void *ctx, double t[2]);
	void *ctx;
	bool have;
	double t[2];
};
double bench_turn(struct bench_turns *b, unsigned side);
/* How a side sends n steps, and what the reader's work is called. */
struct bench_lane {
	uint32_t what;
	bool (*send)(struct bench_attach *a);
};
struct bench_rounds {
	uint64_t all, good; /* good: not interrupted */
};
/* Rounds of n steps, from the first one sent to the last one read, in turns: seconds of a step. */
bool bench_attach_rates(struct bench_attach *a, const struct bench_lane lane[2], uint32_t n, struct bench_rounds *rounds, double t[2]);

/* Spins. */
void bench_attach_pause(double seconds);

/* The counter of the processor, the same on all cores, when everything before is done; seconds of one tick. */
static inline double bench_ticks(void)
{
	__builtin_ia32_lfence();
	return (double)__builtin_ia32_rdtsc();
}
double bench_tick(void);
/* Of words, as a reader would. */
uint64_t bench_sum(const void *words, uint64_t bytes);

#endif
