/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Programs that publish and read parts of a stream, for tests:
 *     attach-select write SOCKET STREAM RANK RANKS STEPS READERS   waits until so many take the stream, then says how many bytes STEPS steps took
 *     attach-select read SOCKET STREAM SELECT VARIABLE STEPS [OPTIONS]
 * The stream holds T and U[z,y,x], a rank having 4 planes of each, and a number. Every value follows from step and indices, and is checked. Prints one
 * line: "wrote N bytes N wanted TU consumers N code N: ERROR", "read N elements N rank N code N: ERROR".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bindings/c/iograph.h"

enum { PLANES = 4, NY = 8, NX = 16, STEP0 = 1000 };

static double value(int64_t step, int64_t z, int64_t y, int64_t x) { return (double)(step * 1000000 + z * 10000 + y * 100 + x); }

static int write_steps(iog *io, char **v)
{
	const int rank = atoi(v[1]), ranks = atoi(v[2]), readers = atoi(v[4]);
	static double T[PLANES][NY][NX], U[PLANES][NY][NX];
	const int64_t global[] = { PLANES * ranks, NY, NX }, offset[] = { PLANES * rank, 0, 0 }, count[] = { PLANES, NY, NX };
	iog_stats stats = { 0 };
	uint64_t before = 0;
	int64_t wrote = 0;
	int t = 0, u = 0, most = 0;
	iog_stream *s = iog_open(io, v[0], "T: f64[z,y,x] K; U: f64[z,y,x]; n: f64", "timeout=20s", rank, ranks);
	iog_block(s, "T", global, offset, count);
	iog_block(s, "U", global, offset, count);
	/* Steps before all are there are numbered below STEP0, and read by nobody's count. */
	for (int64_t step = 0; wrote < atoll(v[3]) && step < STEP0 + atoll(v[3]);) {
		for (int64_t z = 0; z < PLANES; z++)
			for (int64_t y = 0; y < NY; y++)
				for (int64_t x = 0; x < NX; x++) {
					T[z][y][x] = value(step, z + offset[0], y, x);
					U[z][y][x] = -T[z][y][x];
				}
		const int code = iog_begin(s, step, 0.5 * (double)step);
		if (code < 0)
			break;
		if (code == IOG_OK) {
			t = iog_wanted(s, "T"), u = iog_wanted(s, "U");
			iog_put(s, "T", T, NULL);
			memcpy(iog_fill(s, "U"), U, sizeof U);
			iog_put(s, "U", U, NULL);
			iog_attr(s, "n", (double)step);
			iog_commit(s);
		}
		iog_stream_stats(s, &stats);
		most = stats.readers > most ? stats.readers : most;
		if (step >= STEP0)
			wrote += code == IOG_OK;
		if (step >= STEP0 || stats.readers >= readers || step == STEP0 - 1) {
			before = step < STEP0 ? stats.bytes : before;
			step = step < STEP0 ? STEP0 : step + 1;
		} else {
			step++;
			usleep(20000);
		}
	}
	iog_stream_stats(s, &stats);
	const int code = iog_close(s, 20);
	printf("wrote %lld bytes %llu wanted %s%s consumers %d code %d: %s\n", (long long)wrote, (unsigned long long)(stats.bytes - before),
		t ? "T" : "-", u ? "U" : "-", most, code, iog_error(io));
	return 0;
}

/* False: a value is not what it should be. */
static int check(const iog_view *a, const char *name, int64_t step, int64_t *n)
{
	const int64_t sign = name[0] == 'T' ? 1 : -1;
	int64_t z0 = 0, y0 = 0, x0 = 0, at[3] = { 0 };
	for (int d = 0; d < a->rank; d++)
		*(a->dim[d][0] == 'z' ? &z0 : a->dim[d][0] == 'y' ? &y0 : &x0) = a->start[d];
	for (at[0] = 0; at[0] < (a->rank > 0 ? a->shape[0] : 1); at[0]++)
		for (at[1] = 0; at[1] < (a->rank > 1 ? a->shape[1] : 1); at[1]++)
			for (at[2] = 0; at[2] < (a->rank > 2 ? a->shape[2] : 1); at[2]++) {
				const char *p = a->data;
				int64_t i[3] = { z0, y0, x0 };
				double got;
				for (int d = 0; d < a->rank; d++) {
					p += at[d] * a->stride[d];
					i[a->dim[d][0] == 'z' ? 0 : a->dim[d][0] == 'y' ? 1 : 2] += at[d];
				}
				memcpy(&got, p, sizeof got);
				/* Of a dimension that an index took away nothing is said; the helper's caller takes index 5 then. */
				for (int k = 0; k < 3 && a->rank < 3; k++) {
					int there = 0;
					for (int d = 0; d < a->rank; d++)
						there |= a->dim[d][0] == "zyx"[k];
					if (!there)
						i[k] = 5;
				}
				++*n;
				if (got != (double)sign * value(step, i[0], i[1], i[2])) {
					printf("step %lld: %s holds %.0f at %lld,%lld,%lld\n", (long long)step, name, got, (long long)i[0],
						(long long)i[1], (long long)i[2]);
					return 0;
				}
			}
	return 1;
}

static int read_steps(iog *io, char **v)
{
	int64_t n = 0, elems = 0, last = -1;
	int code = IOG_OK;
	iog_rec *rec;
	iog_view a = { 0 };
	iog_reader *r = iog_subscribe(io, v[0], v[1], v[4] ? v[4] : "policy=block");
	while (n < atoll(v[3]) && (code = iog_next(r, 20, &rec)) == IOG_OK) {
		const int64_t step = iog_rec_step(rec);
		if (step >= STEP0) {
			const int rc = iog_get(rec, v[2], &a);
			if (rc || step <= last ||
				(!strncmp(v[4] ? v[4] : "policy=block", "policy=block", 12) && last >= 0 && step != last + 1)) {
				printf("step %lld after %lld is wrong (%d)\n", (long long)step, (long long)last, rc);
				return 1;
			}
			if (!check(&a, v[2], step, &elems))
				return 1;
			last = step;
			n++;
		}
		iog_release(rec);
	}
	printf("read %lld elements %lld rank %d code %d: %s\n", (long long)n, (long long)elems, a.rank, code, iog_error(io));
	iog_unsubscribe(r);
	return 0;
}

int main(int argc, char **argv)
{
	const int writes = argc > 1 && !strcmp(argv[1], "write");
	if (argc < (writes ? 8 : 7)) {
		fprintf(stderr,
			"usage: attach-select write SOCKET STREAM RANK RANKS STEPS READERS | read SOCKET STREAM SELECT VARIABLE STEPS "
			"[OPTIONS]\n");
		return 2;
	}
	iog *io = iog_attach(argv[2]);
	const int rc = writes ? write_steps(io, argv + 3) : read_steps(io, argv + 3);
	iog_detach(io);
	return rc;
}
