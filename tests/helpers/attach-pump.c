/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A program that publishes or reads a stream through iograph.h, for tests:
 *     attach-pump write SOCKET STREAM RANK RANKS STEPS MICROSECONDS [OPTIONS [LOG]]
 *     attach-pump read SOCKET STREAM STEPS [OPTIONS [LOG]]
 * Each rank has 4 of 4 * RANKS rows of T[z,y,x]; the value of rank r at step s is s + r. The reader checks every value. Prints one line:
 * "wrote N skipped N code N: ERROR", "read N first N last N code N: ERROR". With PUMP_PAD=N in the environment of a writer its steps are N MiB larger,
 * with PUMP_CLOSE=N it gives readers N seconds at the end, not ten.
 *
 * LOG is a file that says what was done even by one that was killed, for tests/helpers/attach-chaos.py. Of a writer a byte for each step: 'b'
 * begun, 'c' committed, or how iog_begin refused: 's' skipped, 't' timed out, 'e' an error. Of a reader 16 bytes for each step it took: its
 * number + 1, and the ranks, by bit, whose part was there; without LOG all parts must be. With LOG a reader waits three seconds for a step, else ten.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bindings/c/iograph.h"

enum { ROWS = 4, SIDE = 16 };

/* `bytes` of the file, zero. What is stored there outlives us. */
static void *log_open(const char *path, size_t bytes)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	void *p = fd < 0 || ftruncate(fd, (off_t)bytes) ? MAP_FAILED : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		perror(path);
		exit(2);
	}
	close(fd);
	return p;
}

static int write_steps(iog *io, char **v)
{
	const int rank = atoi(v[1]), ranks = atoi(v[2]), wait = atoi(v[4]);
	static double T[ROWS * SIDE * SIDE];
	const int64_t global[] = { ROWS * ranks, SIDE, SIDE }, offset[] = { ROWS * rank, 0, 0 }, count[] = { ROWS, SIDE, SIDE };
	const int64_t steps = atoll(v[3]);
	int64_t wrote = 0, skipped = 0;
	volatile char *log = v[5] && v[6] ? log_open(v[6], (size_t)steps) : NULL;
	const int64_t none = 0, pad = getenv("PUMP_PAD") ? atoll(getenv("PUMP_PAD")) << 20 : 0;
	iog_stream *s = iog_open(
		io, v[0], pad ? "T: f64[z,y,x] K; energy: f64 J; pad: u8[b]" : "T: f64[z,y,x] K; energy: f64 J", v[5], rank, ranks);
	if (pad)
		iog_block(s, "pad", &pad, &none, &pad);
	iog_block(s, "T", global, offset, count);
	for (int64_t step = 0; step < steps; step++) {
		for (int i = 0; i < ROWS * SIDE * SIDE; i++)
			T[i] = (double)(step + rank);
		const int began = iog_begin(s, step, 0.5 * (double)step);
		if (log)
			log[step] = began == IOG_OK ? 'b' : began == IOG_SKIP ? 's' : began == IOG_TIMEOUT ? 't' : 'e';
		if (began == IOG_OK) {
			iog_put(s, "T", T, NULL);
			iog_attr(s, "energy", (double)step);
			iog_commit(s);
			if (log)
				log[step] = 'c';
			wrote++;
		} else {
			skipped++;
		}
		if (wait)
			usleep((useconds_t)wait);
	}
	const int code = iog_close(s, getenv("PUMP_CLOSE") ? atof(getenv("PUMP_CLOSE")) : 10);
	printf("wrote %lld skipped %lld code %d: %s\n", (long long)wrote, (long long)skipped, code, iog_error(io));
	return 0;
}

/* The ranks, by bit, whose part of T is there and right; -1: something is wrong, and was said. */
static int64_t parts(const iog_view *t, int64_t step)
{
	int64_t there = 0;
	for (int64_t r = 0; r < t->shape[0] / ROWS; r++) {
		const double want = (double)(step + r);
		int64_t right = 0, none = 0, all = ROWS * SIDE * SIDE;
		for (int64_t i = 0; i < all; i++) {
			double got;
			memcpy(&got,
				(const char *)t->data + (r * ROWS + i / (SIDE * SIDE)) * t->stride[0] + i / SIDE % SIDE * t->stride[1] +
					i % SIDE * t->stride[2],
				sizeof got);
			right += got == want;
			none += got != got;
		}
		if (right != all && none != all) {
			printf("step %lld: %lld of %lld values of rank %lld are right\n", (long long)step, (long long)right, (long long)all,
				(long long)r);
			return -1;
		}
		if (right == all)
			there |= 1ll << r;
	}
	return there;
}

static int read_steps(iog *io, char **v)
{
	int64_t n = 0, first = -1, last = -1, most = atoll(v[1]);
	int64_t *log = v[2] && v[3] ? log_open(v[3], (size_t)most * 16) : NULL;
	int code = IOG_OK;
	iog_rec *rec;
	iog_reader *r = iog_subscribe(io, v[0], NULL, v[2]);
	while (n < most && (code = iog_next(r, log ? 3 : 10, &rec)) == IOG_OK) {
		iog_view t;
		const int64_t step = iog_rec_step(rec);
		int64_t there;
		if (step <= last || iog_get(rec, "T", &t) || t.rank != 3 || t.shape[0] % ROWS || t.shape[1] != SIDE ||
			iog_rec_time(rec) != 0.5 * (double)step || (there = parts(&t, step)) < 0 ||
			(!log && there != (1ll << t.shape[0] / ROWS) - 1)) {
			printf("step %lld after %lld is wrong\n", (long long)step, (long long)last);
			return 1;
		}
		if (log) {
			log[2 * n + 1] = there;
			log[2 * n] = step + 1; /* 0: none */
		}
		first = first < 0 ? step : first;
		last = step;
		n++;
		iog_release(rec);
	}
	printf("read %lld first %lld last %lld code %d: %s\n", (long long)n, (long long)first, (long long)last, code, iog_error(io));
	iog_unsubscribe(r);
	return 0;
}

int main(int argc, char **argv)
{
	const int writes = argc > 1 && !strcmp(argv[1], "write");
	if (argc < (writes ? 8 : 5)) {
		fprintf(stderr,
			"usage: attach-pump write SOCKET STREAM RANK RANKS STEPS MICROSECONDS [OPTIONS [LOG]] | read SOCKET STREAM STEPS "
			"[OPTIONS [LOG]]\n");
		return 2;
	}
	iog *io = iog_attach(argv[2]);
	const int rc = writes ? write_steps(io, argv + 3) : read_steps(io, argv + 3);
	iog_detach(io);
	return rc;
}
