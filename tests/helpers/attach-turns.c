/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two ranks of a stream with ranks=apart write in turns, each when the other has committed, and a reader sees to the order: attach-turns SOCKET STREAM TURNS.
 * Prints "turns N wrong N code N: ERROR".
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

/* Commits turn r, r + 2, ... The step of a turn is later than that of the one before: clocks are the same for both. */
static int write_turns(const char *socket, const char *stream, int r, int64_t turns, _Atomic int64_t *turn)
{
	iog *io = iog_attach(socket);
	iog_stream *s = iog_open(io, stream, "turn: i64", "ranks=apart policy=block timeout=20s", r, 2);
	int64_t last = 0;
	int failed = 0;
	for (int64_t k = r; k < turns && !failed; k += 2) {
		while (atomic_load(turn) != k)
			if (getppid() == 1)
				return 1;
		int64_t now = clock_ns();
		last = now > last ? now : last + 1;
		failed = iog_begin(s, last, 0) != IOG_OK || iog_put(s, "turn", &k, NULL) || iog_commit(s);
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
	for (int r = 0; r < 2; r++)
		if (!fork())
			return write_turns(argv[1], argv[2], r, turns, turn);
	/* Both are there: of one that comes later a reader hears a moment after its first steps. */
	for (int i = 0; i < 20000 && atomic_load(turn) < 2; i++)
		usleep(1000);
	iog *io = iog_attach(argv[1]);
	iog_reader *reader = iog_subscribe(io, argv[2], NULL, "policy=block");
	iog_rec *rec;
	int64_t n = 0, last = -1, wrong = 0;
	int code;
	while ((code = iog_next(reader, 20, &rec)) == IOG_OK) {
		iog_view v;
		if (!iog_get(rec, "turn", &v)) {
			wrong += *(const int64_t *)v.data <= last;
			last = *(const int64_t *)v.data;
			n++;
		}
		iog_release(rec);
	}
	printf("turns %lld wrong %lld code %d: %s\n", (long long)n, (long long)wrong, code, iog_error(io));
	while (wait(NULL) > 0)
		;
	iog_detach(io);
	return 0;
}
