! SPDX-License-Identifier: BSD-3-Clause
! Writes a file through MPI-IO from Fortran: mpiio-fortran FILE. Compiled with -DF08 it uses the module mpi_f08.
program mpiio_fortran
#ifdef F08
	use mpi_f08
#else
	use mpi
#endif
	implicit none
#ifdef F08
#define HANDLE(x) type(x)
#else
#define HANDLE(x) integer
#endif
	integer, parameter :: rows = 60, columns = 40
	HANDLE(MPI_File) :: file
	HANDLE(MPI_Datatype) :: part
	HANDLE(MPI_Request) :: request
	character(len=200) :: name
	character(len=16) :: head = "written from f90"
	double precision, allocatable :: a(:,:)
	integer :: ierr, rank, ranks, i, mine
	integer(kind=MPI_OFFSET_KIND) :: at

	call MPI_Init(ierr)
	call MPI_Comm_rank(MPI_COMM_WORLD, rank, ierr)
	call MPI_Comm_size(MPI_COMM_WORLD, ranks, ierr)
	call get_command_argument(1, name)
	call MPI_File_open(MPI_COMM_WORLD, name, MPI_MODE_CREATE + MPI_MODE_WRONLY, MPI_INFO_NULL, file, ierr)
	if (ierr /= MPI_SUCCESS) stop 1
	at = 0
	call MPI_File_set_size(file, at, ierr)
	if (rank == 0) call MPI_File_write_at(file, at, head, 16, MPI_CHARACTER, MPI_STATUS_IGNORE, ierr)

	mine = rows / ranks
	allocate(a(mine, columns))
	a = reshape([(i + 1000d0 * rank, i = 1, mine * columns)], shape(a))
	call MPI_Type_create_subarray(2, [rows, columns], [mine, columns], [rank * mine, 0], MPI_ORDER_FORTRAN, &
		MPI_DOUBLE_PRECISION, part, ierr)
	call MPI_Type_commit(part, ierr)
	at = 16
	call MPI_File_set_view(file, at, MPI_DOUBLE_PRECISION, part, "native", MPI_INFO_NULL, ierr)
	call MPI_File_write_all(file, a, mine * columns, MPI_DOUBLE_PRECISION, MPI_STATUS_IGNORE, ierr)
	call MPI_File_iwrite(file, a, mine * columns, MPI_DOUBLE_PRECISION, request, ierr)
	call MPI_Wait(request, MPI_STATUS_IGNORE, ierr)
	call MPI_File_close(file, ierr)
	call MPI_Finalize(ierr)
end program
