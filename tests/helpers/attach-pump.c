/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A program that publishes or reads a stream through iograph.h, for tests:
 *     attach-pump write SOCKET STREAM RANK RANKS STEPS MICROSECONDS [OPTIONS]
 *     attach-pump read SOCKET STREAM STEPS [OPTIONS]
 * Each rank has 4 of 4 * RANKS rows of T[z,y,x]; the value of rank r at step s is s + r. The reader checks every value. Prints one line:
 * "wrote N skipped N code N: ERROR", "read N first N last N code N: ERROR".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bindings/c/iograph.h"

enum { ROWS = 4, SIDE = 16 };

static int write_steps(iog *io, char **v)
{
	const int rank = atoi(v[1]), ranks = atoi(v[2]), wait = atoi(v[4]);
	static double T[ROWS * SIDE * SIDE];
	const int64_t global[] = { ROWS * ranks, SIDE, SIDE }, offset[] = { ROWS * rank, 0, 0 }, count[] = { ROWS, SIDE, SIDE };
	int64_t wrote = 0, skipped = 0;
	iog_stream *s = iog_open(io, v[0], "T: f64[z,y,x] K; energy: f64 J", v[5], rank, ranks);
	iog_block(s, "T", global, offset, count);
	for (int64_t step = 0; step < atoll(v[3]); step++) {
		for (int i = 0; i < ROWS * SIDE * SIDE; i++)
			T[i] = (double)(step + rank);
		if (iog_begin(s, step, 0.5 * (double)step) == IOG_OK) {
			iog_put(s, "T", T, NULL);
			iog_attr(s, "energy", (double)step);
			iog_commit(s);
			wrote++;
		} else {
			skipped++;
		}
		if (wait)
			usleep((useconds_t)wait);
	}
	const int code = iog_close(s, 10);
	printf("wrote %lld skipped %lld code %d: %s\n", (long long)wrote, (long long)skipped, code, iog_error(io));
	return 0;
}

static int read_steps(iog *io, char **v)
{
	int64_t n = 0, first = -1, last = -1, most = atoll(v[1]);
	int code = IOG_OK;
	iog_rec *rec;
	iog_reader *r = iog_subscribe(io, v[0], NULL, v[2]);
	while (n < most && (code = iog_next(r, 10, &rec)) == IOG_OK) {
		iog_view t;
		const int64_t step = iog_rec_step(rec);
		if (step <= last || iog_get(rec, "T", &t) || t.rank != 3 || t.shape[0] % ROWS || t.shape[1] != SIDE ||
			iog_rec_time(rec) != 0.5 * (double)step) {
			printf("step %lld after %lld is wrong\n", (long long)step, (long long)last);
			return 1;
		}
		for (int64_t z = 0; z < t.shape[0]; z++)
			for (int64_t y = 0; y < SIDE; y++)
				for (int64_t x = 0; x < SIDE; x++) {
					double got;
					memcpy(&got, (const char *)t.data + z * t.stride[0] + y * t.stride[1] + x * t.stride[2],
						sizeof got);
					if (got != (double)(step + z / ROWS)) {
						printf("step %lld holds %g at %lld %lld %lld\n", (long long)step, got, (long long)z,
							(long long)y, (long long)x);
						return 1;
					}
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
		fprintf(stderr, "usage: attach-pump write SOCKET STREAM RANK RANKS STEPS MICROSECONDS [OPTIONS] | read SOCKET STREAM STEPS "
				"[OPTIONS]\n");
		return 2;
	}
	iog *io = iog_attach(argv[2]);
	const int rc = writes ? write_steps(io, argv + 3) : read_steps(io, argv + 3);
	iog_detach(io);
	return rc;
}
