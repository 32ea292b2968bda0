/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A particle code that publishes through iograph.h, for tests:
 *     attach-atoms SOCKET RANK RANKS STEPS MICROSECONDS [OPTIONS]
 * 1000 atoms; the ranks' shares move with time, so that they outgrow what they had: rank r has atoms [share (r), share (r + 1)) where the shares of the
 * higher ranks grow from a few to nearly all. Position of atom i at step s is (i, s, i + s / 1000). Prints "wrote N skipped N code N: ERROR".
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bindings/c/iograph.h"

enum { ATOMS = 1000, FEW = 8 };

/* The first atom of rank r. */
static int64_t share(int64_t r, int64_t ranks, int64_t step, int64_t steps)
{
	if (r == 0 || r == ranks)
		return r ? ATOMS : 0;
	const int64_t few = ATOMS - FEW * (ranks - r), most = FEW * r;
	return few - (few - most) * step / steps;
}

int main(int argc, char **argv)
{
	if (argc < 6) {
		fprintf(stderr, "usage: attach-atoms SOCKET RANK RANKS STEPS MICROSECONDS [OPTIONS]\n");
		return 2;
	}
	const int rank = atoi(argv[2]), ranks = atoi(argv[3]), wait = atoi(argv[5]);
	const int64_t steps = atoll(argv[4]);
	static float x[ATOMS][3];
	static int64_t id[ATOMS];
	int64_t wrote = 0, skipped = 0;
	iog *io = iog_attach(argv[1]);
	iog_stream *s = iog_open(io, "atoms", "position: f32[atom,xyz=3] nm; id: i64[atom]", argc > 6 ? argv[6] : NULL, rank, ranks);
	for (int64_t step = 0; step < steps; step++) {
		const int64_t from = share(rank, ranks, step, steps), n = share(rank + 1, ranks, step, steps) - from;
		for (int64_t i = 0; i < n; i++) {
			x[i][0] = (float)(from + i), x[i][1] = (float)step, x[i][2] = (float)(from + i) + (float)step / 1000;
			id[i] = from + i + 1;
		}
		if (iog_block(s, "position", (int64_t[]){ ATOMS, 3 }, (int64_t[]){ from, 0 }, (int64_t[]){ n, 3 }) ||
			iog_block(s, "id", (int64_t[]){ ATOMS }, (int64_t[]){ from }, (int64_t[]){ n }))
			break;
		if (iog_begin(s, step, 0.1 * (double)step) == IOG_OK) {
			iog_put(s, "position", x, NULL);
			iog_put(s, "id", id, NULL);
			iog_commit(s);
			wrote++;
		} else {
			skipped++;
		}
		if (wait)
			usleep((useconds_t)wait);
	}
	const int code = iog_close(s, 20);
	printf("wrote %lld skipped %lld code %d: %s\n", (long long)wrote, (long long)skipped, code, iog_error(io));
	iog_detach(io);
	return 0;
}
