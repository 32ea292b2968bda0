/* SPDX-License-Identifier: BSD-3-Clause */
/* Writes an HDF5 file from all ranks: hdf5-parallel FILE. A contiguous data set in slabs, collectively; a chunked one; attributes. Made by h5pcc. */
#include <hdf5.h>
#include <stdlib.h>

enum { ROWS = 128, COLUMNS = 300 };

static int rank, ranks;

static void dataset(hid_t file, const char *name, int chunked, int collective)
{
	const hsize_t whole[] = { ROWS, COLUMNS }, chunk[] = { 16, 50 };
	const hsize_t start[] = { 0, (hsize_t)(rank * (COLUMNS / ranks)) }, count[] = { ROWS, (hsize_t)(COLUMNS / ranks) };
	float *data = malloc(sizeof *data * count[0] * count[1]);
	for (hsize_t i = 0; i < count[0] * count[1]; i++)
		data[i] = (float)i + 1e6f * (float)rank;
	hid_t layout = H5Pcreate(H5P_DATASET_CREATE), how = H5Pcreate(H5P_DATASET_XFER);
	if (chunked)
		H5Pset_chunk(layout, 2, chunk);
	H5Pset_dxpl_mpio(how, collective ? H5FD_MPIO_COLLECTIVE : H5FD_MPIO_INDEPENDENT);
	hid_t space = H5Screate_simple(2, whole, NULL), memory = H5Screate_simple(2, count, NULL);
	hid_t set = H5Dcreate2(file, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, layout, H5P_DEFAULT);
	H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL);
	if (H5Dwrite(set, H5T_NATIVE_FLOAT, memory, space, how, data) < 0)
		MPI_Abort(MPI_COMM_WORLD, 1);
	hid_t scalar = H5Screate(H5S_SCALAR);
	hid_t attribute = H5Acreate2(set, "ranks", H5T_STD_I32LE, scalar, H5P_DEFAULT, H5P_DEFAULT);
	H5Awrite(attribute, H5T_NATIVE_INT, &ranks);
	H5Aclose(attribute);
	H5Sclose(scalar);
	H5Dclose(set);
	H5Sclose(space);
	H5Sclose(memory);
	H5Pclose(layout);
	H5Pclose(how);
	free(data);
}

int main(int argc, char **argv)
{
	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &ranks);
	hid_t access = H5Pcreate(H5P_FILE_ACCESS);
	H5Pset_fapl_mpio(access, MPI_COMM_WORLD, MPI_INFO_NULL);
	hid_t file = argc > 1 ? H5Fcreate(argv[1], H5F_ACC_TRUNC, H5P_DEFAULT, access) : -1;
	if (file < 0)
		MPI_Abort(MPI_COMM_WORLD, 1);
	dataset(file, "slabs", 0, 1);
	dataset(file, "chunks", 1, 1);
	dataset(file, "alone", 0, 0);
	H5Fclose(file);
	H5Pclose(access);
	MPI_Finalize();
	return 0;
}
