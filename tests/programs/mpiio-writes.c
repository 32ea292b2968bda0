/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writes a file through MPI-IO in all ways that capture follows: mpiio-writes FILE. What a byte is depends on where it is and on who wrote it last, so
 * that a copy of it with a piece at a wrong place, or in a wrong order, differs. With "shared" behind FILE also through the shared file pointer.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 64, COLUMNS = 96, HEAD = 256, LARGE = 3 << 20 };

static int rank, ranks, failed;
static unsigned char value(long i) { return (unsigned char)(i * 31 + i / 251 + 7 * rank + 1); }

static void *fill(void *p, long n, long salt)
{
	for (long i = 0; i < n; i++)
		((unsigned char *)p)[i] = value(i + salt);
	return p;
}

static void counted(MPI_Status *st, int want, const char *what)
{
	int n;
	MPI_Get_count(st, MPI_BYTE, &n);
	if (n != want) {
		printf("%s: %d of %d bytes\n", what, n, want);
		failed = 1;
	}
}

/* A matrix of doubles in columns by rank, one with ghost cells in memory. Two steps, one behind the other. */
static void columns(MPI_File f)
{
	const int whole[] = { ROWS, COLUMNS }, part[] = { ROWS, COLUMNS / ranks }, start[] = { 0, rank * (COLUMNS / ranks) };
	const int ghosts[] = { ROWS + 2, COLUMNS / ranks + 2 }, inner[] = { 1, 1 };
	const int n = (ROWS + 2) * (COLUMNS / ranks + 2) * (int)sizeof(double);
	void *data = malloc((size_t)n);
	MPI_Datatype type, memory;
	MPI_Status st;
	MPI_Type_create_subarray(2, whole, part, start, MPI_ORDER_C, MPI_DOUBLE, &type);
	MPI_Type_create_subarray(2, ghosts, part, inner, MPI_ORDER_C, MPI_DOUBLE, &memory);
	MPI_Type_commit(&type);
	MPI_Type_commit(&memory);
	MPI_File_set_view(f, HEAD, MPI_DOUBLE, type, "native", MPI_INFO_NULL);
	MPI_Type_free(&type);
	for (int step = 0; step < 2; step++) {
		MPI_File_write_all(f, fill(data, n, step), 1, memory, &st);
		counted(&st, ROWS * (COLUMNS / ranks) * (int)sizeof(double), "write_all");
	}
	MPI_Type_free(&memory);
	MPI_File_set_view(f, 0, MPI_BYTE, MPI_BYTE, "native", MPI_INFO_NULL);
	free(data);
}

/* Blocks of a rank in turns with those of the others, in Fortran order, indexed, in a structure. */
static void stripes(MPI_File f, MPI_Offset at)
{
	enum { N = 5000, EACH = 12 };
	MPI_Datatype block, type, index, pair;
	MPI_Request r[2];
	MPI_Status st[2];
	char *data = malloc(2 * N * EACH);
	MPI_Type_contiguous(EACH, MPI_BYTE, &block);
	MPI_Type_create_resized(block, 0, EACH * ranks, &type);
	MPI_Type_commit(&type);
	MPI_File_set_view(f, at + rank * EACH, MPI_BYTE, type, "native", MPI_INFO_NULL);
	fill(data, 2 * N * EACH, 99);
	MPI_File_iwrite_at_all(f, 0, data, N * EACH, MPI_BYTE, &r[0]);
	MPI_File_iwrite_at(f, N * EACH, data + N * EACH, N * EACH, MPI_BYTE, &r[1]);
	MPI_Waitall(2, r, st);
	counted(&st[0], N * EACH, "iwrite_at_all");
	counted(&st[1], N * EACH, "iwrite_at");
	MPI_Type_free(&block);
	MPI_Type_free(&type);

	const int whole[] = { 10, 20, 30 }, part[] = { 10, 20 / ranks, 7 }, start[] = { 0, rank * (20 / ranks), 11 };
	at += 2L * N * EACH * ranks;
	MPI_Type_create_subarray(3, whole, part, start, MPI_ORDER_FORTRAN, MPI_SHORT, &type);
	MPI_Type_commit(&type);
	MPI_File_set_view(f, at, MPI_SHORT, type, "native", MPI_INFO_NULL);
	MPI_File_iwrite_all(f, data, 10 * (20 / ranks) * 7, MPI_SHORT, &r[0]);
	MPI_Wait(&r[0], st);
	MPI_Type_free(&type);

	const int length[] = { 3, 1, 4 }, where[] = { 1 + 20 * rank, 10 + 20 * rank, 15 + 20 * rank };
	const MPI_Aint there[] = { 0, 4096 };
	at += 10 * 20 * 30 * (MPI_Offset)sizeof(short);
	MPI_Type_indexed(3, length, where, MPI_INT, &index);
	MPI_Type_create_struct(2, (int[]){ 1, 2 }, there, (MPI_Datatype[]){ index, MPI_INT }, &pair);
	MPI_Type_vector(1, 1, 1, pair, &block);
	MPI_Type_create_resized(block, 0, 8192, &type);
	MPI_Type_commit(&type);
	/* The last two of the structure are the same for all ranks: only one writes them. */
	MPI_Type_commit(&index);
	MPI_File_set_view(f, at, MPI_INT, rank ? index : type, "native", MPI_INFO_NULL);
	MPI_File_write(f, data, 8, MPI_INT, st);
	counted(st, 32, "write");
	MPI_Type_free(&block);
	MPI_Type_free(&pair);
	MPI_Type_free(&index);
	MPI_Type_free(&type);
	MPI_File_set_view(f, 0, MPI_BYTE, MPI_BYTE, "native", MPI_INFO_NULL);
	free(data);
}

int main(int argc, char **argv)
{
	MPI_File f;
	MPI_Status st;
	MPI_Offset size;
	char head[HEAD], *large = malloc(LARGE);
	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &ranks);
	if (argc < 2 || MPI_File_open(MPI_COMM_WORLD, argv[1], MPI_MODE_CREATE | MPI_MODE_RDWR, MPI_INFO_NULL, &f))
		MPI_Abort(MPI_COMM_WORLD, 1);
	MPI_File_set_size(f, 0);
	if (!rank)
		MPI_File_write_at(f, 0, fill(head, HEAD, 0), HEAD, MPI_BYTE, &st);
	columns(f);
	MPI_Offset at = HEAD + 2L * ROWS * COLUMNS * (MPI_Offset)sizeof(double);
	/* No holes: an MPI may write what it likes into those. */
	memset(large, 0, LARGE);
	if (!rank)
		MPI_File_write_at(f, at, large, 1 << 20, MPI_BYTE, &st);
	MPI_Barrier(MPI_COMM_WORLD);
	stripes(f, at);
	MPI_Barrier(MPI_COMM_WORLD);

	/* Who comes behind a barrier comes later: all write the same place in turn. */
	at += 1 << 20;
	for (int turn = 0; turn < 40; turn++) {
		MPI_Barrier(MPI_COMM_WORLD);
		if (turn % ranks == rank)
			MPI_File_write_at(f, at, fill(head, HEAD, turn), HEAD, MPI_BYTE, &st);
	}

	/* More than one record, behind each other, by the individual pointer and a split collective. */
	at += HEAD + rank * (MPI_Offset)LARGE;
	MPI_File_seek(f, at, MPI_SEEK_SET);
	MPI_File_write_all_begin(f, fill(large, LARGE, 5), LARGE / 2, MPI_BYTE);
	MPI_File_write_all_end(f, large, &st);
	counted(&st, LARGE / 2, "write_all_begin");
	MPI_File_write(f, large + LARGE / 2, LARGE / 2, MPI_BYTE, &st);
	counted(&st, LARGE / 2, "write");
	MPI_Barrier(MPI_COMM_WORLD);
	size = at - rank * (MPI_Offset)LARGE + ranks * (MPI_Offset)LARGE;
	MPI_File_set_size(f, size - 1000);
	if (argc > 2 && !strcmp(argv[2], "shared"))
		MPI_File_write_shared(f, head, HEAD, MPI_BYTE, &st);
	MPI_File_close(&f);
	MPI_Finalize();
	free(large);
	return failed;
}
