! SPDX-License-Identifier: BSD-3-Clause
!
! The simulation of heat.c in Fortran: heat in a block of copper, insulated all around, with a hot spot in its middle, cut into slabs along z, one for each
! rank. Every step is published; heat [STEPS] (200). Without an agent it computes the same and says so at the end.
program heat
  use mpi
  use iograph
  implicit none
  integer, parameter :: m = 64, spot = 5
  real(8), parameter :: dx = 0.01d0, dt = 0.1d0, diffusivity = 1.17d-4, cold = 300, hot = 1300   ! m, s, m2/s, K
  real(8), allocatable :: t(:,:,:), u(:,:,:)
  type(iog_stream) :: s
  integer :: rank, n, steps, step, z0, nz, below, above, i, j, k, code, ierr
  character(len=16) :: argument

  call MPI_Init(ierr)
  call MPI_Comm_rank(MPI_COMM_WORLD, rank, ierr)
  call MPI_Comm_size(MPI_COMM_WORLD, n, ierr)
  steps = 200
  if (command_argument_count() > 0) then
    call get_command_argument(1, argument)
    read (argument, *) steps
  end if
  z0 = m * rank / n
  nz = m * (rank + 1) / n - z0
  below = merge(rank - 1, MPI_PROC_NULL, rank > 0)
  above = merge(rank + 1, MPI_PROC_NULL, rank < n - 1)
  allocate (t(0:m+1, 0:m+1, 0:nz+1), u(0:m+1, 0:m+1, 0:nz+1), source=cold)
  do k = 1, nz
    do j = 1, m
      do i = 1, m
        if ((i - 1 - m/2)**2 + (j - 1 - m/2)**2 + (z0 + k - 1 - m/2)**2 < spot**2) t(i, j, k) = hot
      end do
    end do
  end do

  s = iog_open('', 'heat', 'T: f64[x,y,z] K', 'policy=block timeout=5s', rank, n)
  call iog_block(s, 'T', global=[m, m, m], offset=[0, 0, z0])   ! Fortran order, from 0

  do step = 0, steps - 1
    if (iog_begin(s, step, step * dt) == IOG_OK) then
      call iog_put(s, 'T', t(1:m, 1:m, 1:nz))                  ! without its ghosts, and without a temporary
      call iog_commit(s)
    end if
    call ghosts()
    do k = 1, nz
      do j = 1, m
        do i = 1, m
          u(i, j, k) = t(i, j, k) + diffusivity * dt / dx**2 * (t(i, j, k-1) + t(i, j, k+1) + t(i, j-1, k) + t(i, j+1, k) &
            + t(i-1, j, k) + t(i+1, j, k) - 6 * t(i, j, k))
        end do
      end do
    end do
    t(1:m, 1:m, 1:nz) = u(1:m, 1:m, 1:nz)
  end do

  code = iog_close(s, 10d0)
  if (code /= IOG_OK .and. rank == 0) print '(2a)', 'heat: ', iog_error(s)
  call MPI_Finalize(ierr)

contains

  ! Ghost layers: of the neighbours, or, where the block ends, the layer beside them, so that no heat flows there.
  subroutine ghosts()
    integer, parameter :: layer = (m + 2)**2
    t(0, :, :) = t(1, :, :)
    t(m + 1, :, :) = t(m, :, :)
    t(:, 0, :) = t(:, 1, :)
    t(:, m + 1, :) = t(:, m, :)
    call MPI_Sendrecv(t(:, :, 1), layer, MPI_DOUBLE_PRECISION, below, 0, t(:, :, nz + 1), layer, MPI_DOUBLE_PRECISION, above, 0, &
      MPI_COMM_WORLD, MPI_STATUS_IGNORE, ierr)
    call MPI_Sendrecv(t(:, :, nz), layer, MPI_DOUBLE_PRECISION, above, 1, t(:, :, 0), layer, MPI_DOUBLE_PRECISION, below, 1, &
      MPI_COMM_WORLD, MPI_STATUS_IGNORE, ierr)
    if (below == MPI_PROC_NULL) t(:, :, 0) = t(:, :, 1)
    if (above == MPI_PROC_NULL) t(:, :, nz + 1) = t(:, :, nz)
  end subroutine
end program
