/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Heat in a block of copper, insulated all around, with a hot spot in its middle: explicit finite differences, cut into slabs along z, one for each rank.
 * Every step is published as T[z,y,x]; each rank gives its own slab, without the ghost layers. heat [STEPS [WHERE]] (200 steps,
 * the agent of this node); heat 200 heat.lua brings its own agent with that graph. Without one it computes the same and says so at the end.
 */
#include <iograph.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

enum { N = 64, R = N + 2 /* a row with its ghosts */, SPOT = 5 };
static const double DX = 0.01 /* m */, DT = 0.1 /* s */, DIFFUSIVITY = 1.17e-4 /* m2/s */, COLD = 300, HOT = 1300 /* K */;

#define AT(a, k, j, i) (a)[((size_t)(k)*R + (size_t)(j)) * R + (size_t)(i)]

/* Ghost layers: of the neighbours, or, where the block ends, the layer beside them, so that no heat flows there. */
static void ghosts(double *T, int nz, int below, int above)
{
	for (int k = 1; k <= nz; k++) {
		for (int j = 1; j <= N; j++)
			AT(T, k, j, 0) = AT(T, k, j, 1), AT(T, k, j, N + 1) = AT(T, k, j, N);
		for (int i = 1; i <= N; i++)
			AT(T, k, 0, i) = AT(T, k, 1, i), AT(T, k, N + 1, i) = AT(T, k, N, i);
	}
	MPI_Sendrecv(&AT(T, 1, 0, 0), R * R, MPI_DOUBLE, below, 0, &AT(T, nz + 1, 0, 0), R * R, MPI_DOUBLE, above, 0, MPI_COMM_WORLD,
		MPI_STATUS_IGNORE);
	MPI_Sendrecv(&AT(T, nz, 0, 0), R * R, MPI_DOUBLE, above, 1, &AT(T, 0, 0, 0), R * R, MPI_DOUBLE, below, 1, MPI_COMM_WORLD,
		MPI_STATUS_IGNORE);
	for (int j = 1; j <= N; j++)
		for (int i = 1; i <= N; i++) {
			if (below == MPI_PROC_NULL)
				AT(T, 0, j, i) = AT(T, 1, j, i);
			if (above == MPI_PROC_NULL)
				AT(T, nz + 1, j, i) = AT(T, nz, j, i);
		}
}

int main(int argc, char **argv)
{
	int rank, n;
	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &n);
	const long steps = argc > 1 ? atol(argv[1]) : 200;
	const int z0 = N * rank / n, nz = N * (rank + 1) / n - z0;
	const int below = rank ? rank - 1 : MPI_PROC_NULL, above = rank < n - 1 ? rank + 1 : MPI_PROC_NULL;
	double *T = calloc((size_t)(nz + 2) * R * R, sizeof *T), *U = calloc((size_t)(nz + 2) * R * R, sizeof *U);
	if (!T || !U || nz < 1)
		MPI_Abort(MPI_COMM_WORLD, 1);
	for (int k = 1; k <= nz; k++)
		for (int j = 1; j <= N; j++)
			for (int i = 1; i <= N; i++) {
				const int z = z0 + k - 1 - N / 2, y = j - 1 - N / 2, x = i - 1 - N / 2;
				AT(T, k, j, i) = z * z + y * y + x * x < SPOT * SPOT ? HOT : COLD;
			}

	iog *io = iog_attach(argc > 2 ? argv[2] : NULL);
	iog_stream *s = iog_open(io, "heat", "T: f64[z,y,x] K", "policy=block timeout=5s", rank, n);
	const int64_t global[] = { N, N, N }, offset[] = { z0, 0, 0 }, count[] = { nz, N, N };
	const int64_t strides[] = { R * R * sizeof *T, R * sizeof *T, sizeof *T };
	iog_block(s, "T", global, offset, count);

	const double a = DIFFUSIVITY * DT / (DX * DX);
	for (long step = 0; step < steps; step++) {
		if (iog_begin(s, step, (double)step * DT) == IOG_OK) {
			iog_put(s, "T", &AT(T, 1, 1, 1), strides); /* the first cell that is no ghost */
			iog_commit(s);
		}
		ghosts(T, nz, below, above);
		for (int k = 1; k <= nz; k++)
			for (int j = 1; j <= N; j++)
				for (int i = 1; i <= N; i++)
					AT(U, k, j, i) =
						AT(T, k, j, i) +
						a * (AT(T, k - 1, j, i) + AT(T, k + 1, j, i) + AT(T, k, j - 1, i) + AT(T, k, j + 1, i) +
							    AT(T, k, j, i - 1) + AT(T, k, j, i + 1) - 6 * AT(T, k, j, i));
		double *t = T;
		T = U, U = t;
	}

	if (iog_close(s, 10) != IOG_OK && rank == 0)
		fprintf(stderr, "heat: %s\n", iog_error(io));
	iog_detach(io);
	free(T);
	free(U);
	MPI_Finalize();
	return 0;
}
