/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two ranks of a stream with ranks=apart write in turns, each when the other has committed, and a reader sees to the order: attach-turns SOCKET STREAM TURNS.
 * Turns begin when the reader has heard from both: a rank that waits for its turn does not hear of a reader. Prints "turns N wrong N code N: ERROR".
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bindings/c/iograph.h"

static int64_t clock_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Of both ranks: nobody's turn before the reader is there. */
enum { NOT_YET = -1 };

/* The step of a turn is later than that of the one before: clocks are the same for both. */
static int commit(iog_stream *s, int64_t turn, int64_t *last)
{
	const int64_t now = clock_ns();
	*last = now > *last ? now : *last + 1;
	return iog_begin(s, *last, 0) != IOG_OK || iog_put(s, "turn", &turn, NULL) || iog_commit(s);
}

/* Commits -1 - r until the turns begin, then turn r, r + 2, ... */
static int write_turns(const char *socket, const char *stream, int r, int64_t turns, _Atomic int64_t *turn)
{
	iog *io = iog_attach(socket);
	iog_stream *s = iog_open(io, stream, "turn: i64", "ranks=apart policy=block timeout=20s", r, 2);
	int64_t last = 0;
	int failed = 0;
	while (atomic_load(turn) == NOT_YET && !failed) {
		failed = commit(s, -1 - r, &last);
		usleep(1000);
	}
	for (int64_t k = r; k < turns && !failed; k += 2) {
		while (atomic_load(turn) != k)
			if (getppid() == 1 || atomic_load(turn) > k)
				return 1;
		failed = commit(s, k, &last);
		atomic_store(turn, k + 1);
	}
	failed |= iog_close(s, 20);
	if (failed)
		fprintf(stderr, "rank %d: %s\n", r, iog_error(io));
	iog_detach(io);
	return failed;
}

int main(int argc, char **argv)
{
	_Atomic int64_t *turn = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (argc != 4 || turn == MAP_FAILED)
		return 2;
	const int64_t turns = atoll(argv[3]);
	*turn = NOT_YET;
	for (int r = 0; r < 2; r++)
		if (!fork())
			return write_turns(argv[1], argv[2], r, turns, turn);
	iog *io = iog_attach(argv[1]);
	iog_reader *reader = iog_subscribe(io, argv[2], NULL, "policy=block");
	iog_rec *rec;
	int64_t n = 0, wrong = 0;
	unsigned heard = 0;
	int code;
	while ((code = iog_next(reader, 20, &rec)) == IOG_OK) {
		iog_view v;
		const int64_t k = iog_get(rec, "turn", &v) ? turns : *(const int64_t *)v.data;
		if (k < 0 && k >= -2)
			heard |= 1u << (-1 - k);
		else
			wrong += k != n++;
		iog_release(rec);
		if (heard == 3 && atomic_load(turn) == NOT_YET)
			atomic_store(turn, 0);
	}
	if (atomic_load(turn) == NOT_YET) /* the ranks are not to wait for what will not come */
		atomic_store(turn, turns);
	printf("turns %lld wrong %lld code %d: %s\n", (long long)n, (long long)wrong, code, iog_error(io));
	while (wait(NULL) > 0)
		;
	iog_detach(io);
	return 0;
}
