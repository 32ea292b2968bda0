! SPDX-License-Identifier: BSD-3-Clause
!
! What tests/fortran.sh runs, with and without MPI. test-fortran WHAT...; prints what is wrong and ends with code 1.
!     write STEPS PAUSE          every rank has a slab of T(x,y,z), of different thickness, inside an array with ghosts; PAUSE in hundredths of
!                                a second, 0: somebody wants every step
!     fill                       one writer, in place
!     type, rank, many           the failure is kept when a pointer has another type or rank, or an array more dimensions than there can be
!     read OPTIONS               a part of what `write` wrote, in the order of Fortran
!     lone                       no agent, mistakes, handles that are gone
program test_fortran
  use mpi
  use iograph
  use, intrinsic :: iso_c_binding
  implicit none
  integer, parameter :: nx = 5, ny = 4
  integer :: rank, n, ierr
  character(len=64) :: what

  ! Of the test's wrapper around iog_put: where the array is that the library was given, and its stride along the fastest dimension but one.
  interface
    function last_put() result(p) bind(C)
      import
      type(c_ptr) :: p
    end function
    function last_stride() result(k) bind(C)
      import
      integer(c_int64_t) :: k
    end function
  end interface

  call MPI_Init(ierr)
  call MPI_Comm_rank(MPI_COMM_WORLD, rank, ierr)
  call MPI_Comm_size(MPI_COMM_WORLD, n, ierr)
  call get_command_argument(1, what)
  select case (what)
  case ('write'); call write_steps()
  case ('fill'); call fill_steps()
  case ('type'); call mistake('type', 'T is f32, and the array is f64')
  case ('rank'); call mistake('rank', 'T has 2 dimensions, and the array 1')
  case ('many'); call mistake('many', 'T has 2 dimensions, and the array 9')
  case ('read'); call read_steps()
  case ('lone'); call lone()
  case default; call wrong('which test?')
  end select
  call MPI_Finalize(ierr)

contains

  subroutine wrong(text)
    character(len=*), intent(in) :: text
    print '(a,i0,2a)', 'rank ', rank, ': ', text
    call MPI_Abort(MPI_COMM_WORLD, 1, ierr)
  end subroutine

  subroutine need(good, text)
    logical, intent(in) :: good
    character(len=*), intent(in) :: text
    if (.not. good) call wrong(text)
  end subroutine

  integer function argument(k)
    integer, intent(in) :: k
    character(len=32) :: text
    call get_command_argument(k, text)
    read (text, *) argument
  end function

  ! The value of a cell, its place counted from 0.
  elemental real(8) function cell(x, y, z, step)
    integer, intent(in) :: x, y, z
    integer(8), intent(in) :: step
    cell = x + 10d0 * y + 100d0 * z + 10000d0 * real(step, 8)
  end function

  subroutine write_steps()
    real(8), allocatable, target :: t(:,:,:)
    integer, allocatable :: kind_of(:)
    type(iog_stream) :: s, copy
    type(iog_stats) :: st
    integer :: x, y, z, nz, z0, code, total
    integer(8) :: step, wrote
    wrote = 0
    nz = 2 + rank
    z0 = 2 * rank + rank * (rank - 1) / 2
    total = 2 * n + n * (n - 1) / 2
    allocate (t(0:nx+1, 0:ny+1, 0:nz+1), source=-1d0)
    allocate (kind_of(nx), source=[(10 * x, x = 1, nx)])
    s = iog_open('', 'heat', 'T: f64[x,y,z] K; static kind: i32[x]; energy: f64 J', 'policy=block timeout=20s', rank, n)
    call iog_block(s, 'T', global=[nx, ny, total], offset=[0, 0, z0])
    call iog_block(s, 'kind', global=[nx])
    do step = 0, argument(2) - 1
      do z = 1, nz
        do y = 1, ny
          do x = 1, nx
            t(x, y, z) = cell(x - 1, y - 1, z0 + z - 1, step)
          end do
        end do
      end do
      if (argument(3) > 0) call execute_command_line('sleep 0.0' // char(ichar('0') + argument(3)))
      code = iog_begin(s, step, 0.5d0 * step)
      ! A reader may come later than the first steps.
      if (code == IOG_SKIP .and. argument(3) > 0) cycle
      call need(code == IOG_OK, 'begin: ' // iog_error(s))
      call iog_put(s, 'T', t(1:nx, 1:ny, 1:nz), code)
      call need(code == IOG_OK, 'put: ' // iog_error(s))
      wrote = wrote + 1
      ! In the first step it is kept aside, as the part of `kind` is not known yet.
      if (step > 0) then
        call need(c_associated(last_put(), c_loc(t(1, 1, 1))), 'a temporary was made')
        call need(last_stride() == 8 * (nx + 2), 'the section came without its strides')
      end if
      if (step == 0) call iog_put(s, 'kind', kind_of)
      if (step > 0) call need(logical(iog_wanted(s, 'T')), 'T is wanted')
      call iog_attr(s, 'energy', 1.5d0 * step)
      call iog_commit(s, code)
      if (code == IOG_SKIP .and. step == 0 .and. argument(3) > 0) wrote = wrote - 1
      call need(code == IOG_OK .or. (code == IOG_SKIP .and. step == 0 .and. argument(3) > 0), 'commit: ' // iog_error(s))
    end do
    st = iog_stats(s)
    call need(st%records == wrote .and. st%dropped == 0 .and. st%bytes > 0, 'the statistics are wrong')
    copy = s
    code = iog_close(s, 20d0)
    call need(code == IOG_OK, 'close: ' // iog_error(s))
    call need(iog_begin(copy, step, 0d0) < 0, 'a handle outlived its stream')
  end subroutine

  ! Computes in place; the step number is a default integer here.
  subroutine fill_steps()
    real(4), pointer :: p(:,:)
    type(iog_stream) :: s
    integer :: x, y, step
    s = iog_open('', 'heat', 'T: f32[x,y] K')
    call iog_block(s, 'T', global=[6_8, 3_8], count=[6_8, 3_8])
    do step = 0, 9
      if (iog_begin(s, step, 0d0) /= IOG_OK) call wrong('begin: ' // iog_error(s))
      call iog_fill(s, 'T', p)
      call need(associated(p), 'fill: ' // iog_error(s))
      call need(all(shape(p) == [6, 3]) .and. all(lbound(p) == 1), 'the place has another shape')
      do y = 1, 3
        do x = 1, 6
          p(x, y) = real(x - 1 + 10 * (y - 1) + 100 * step)
        end do
      end do
      call iog_commit(s)
    end do
    call need(iog_close(s, 20d0) == IOG_OK, 'close: ' // iog_error(s))
  end subroutine

  ! Without stat. The second step goes out without T.
  subroutine mistake(what, sentence)
    character(len=*), intent(in) :: what, sentence
    real(8), pointer :: other(:,:)
    real(4), pointer :: row(:)
    real(4), pointer :: p(:,:)
    real(4) :: many(1, 1, 1, 1, 1, 1, 1, 1, 3)
    type(iog_stream) :: s
    s = iog_open('', 'heat', 'T: f32[x,y] K')
    call iog_block(s, 'T', global=[6, 3], count=[6, 3])
    if (iog_begin(s, 0, 0d0) /= IOG_OK) call wrong('begin: ' // iog_error(s))
    call iog_fill(s, 'T', p)
    p = 1
    call iog_commit(s)
    if (iog_begin(s, 1, 0d0) /= IOG_OK) call wrong('begin: ' // iog_error(s))
    many = 0
    select case (what)
    case ('type'); call iog_fill(s, 'T', other); call need(.not. associated(other), 'a pointer of another type was given a place')
    case ('rank'); call iog_fill(s, 'T', row); call need(.not. associated(row), 'a pointer of another rank was given a place')
    case ('many'); call iog_put(s, 'T', many)
    end select
    call iog_commit(s)
    call need(iog_close(s, 20d0) < 0, what // ': the failure is forgotten')
    call need(index(iog_error(s), sentence) > 0, what // ': ' // iog_error(s))
  end subroutine

  ! T[1:4,2,:], every step from some one on until the end.
  subroutine read_steps()
    type(iog_reader) :: r
    type(iog_rec) :: rec
    type(iog_stats) :: st
    real(8), pointer :: p(:,:)
    real(4), pointer :: other(:,:)
    integer(8) :: start(2), step, seen
    integer :: x, z, code
    character(len=64) :: options
    call get_command_argument(2, options)
    r = iog_subscribe('', 'heat', 'T[1:4,2,:]', options)
    seen = 0
    do
      code = iog_next(r, 20d0, rec)
      if (code /= IOG_OK) exit
      step = iog_rec_step(rec)
      call need(iog_rec_time(rec) == 0.5d0 * step, 'the time is wrong')
      call need(iog_rec_var(rec, 1) == 'T' .and. iog_rec_var(rec, 2) == '', 'the names are wrong')
      call need(iog_rec_unit(rec, 'T') == 'K', 'the unit is wrong')
      call iog_get(rec, 'T', other, stat=code)
      call need(code < 0 .and. .not. associated(other), 'a pointer of another type was associated')
      call iog_get(rec, 'T', p, start)
      call need(associated(p), 'get: ' // iog_error(r))
      call need(size(p, 1) == 3 .and. size(p, 2) == 5 .and. all(start == [1, 0]), 'the part has another shape or place')
      do z = 1, size(p, 2)
        do x = 1, 3
          call need(p(x, z) == cell(x, 2, z - 1, step), 'a value is wrong')
        end do
      end do
      seen = seen + 1
      call iog_release(rec)
      call iog_get(rec, 'T', p)
      call need(.not. associated(p), 'a step outlived its release')
    end do
    call need(code == IOG_END, 'next: ' // iog_error(r))
    st = iog_stats(r)
    call need(seen > 0 .and. st%records >= seen, 'the statistics are wrong')
    code = iog_unsubscribe(r)
    call need(code == IOG_OK, 'unsubscribe: ' // iog_error(r))
    print '(a,i0)', 'read ', seen
  end subroutine

  subroutine lone()
    type(iog_stream) :: s, nothing, second
    type(iog_reader) :: r
    type(iog_rec) :: rec
    real(8) :: t(3, 2)
    integer :: code
    s = iog_open('/no/such/agent', 'heat', 'T: f64[x,y] K')
    second = iog_open('/no/such/agent', 'other', 'T: f64[x,y] K')
    call iog_block(s, 'T', global=[3, 2])
    call need(iog_begin(s, 0, 0d0) < 0, 'a step began without an agent')
    call iog_put(s, 'T', t, code)
    call need(code < 0, 'a value was taken without an agent')
    call iog_commit(s)
    call need(index(iog_error(s), 'no agent answers at /no/such/agent') > 0, 'before the close: ' // iog_error(s))
    call need(iog_close(s, 1d0) < 0, 'closing without an agent is fine')
    call need(index(iog_error(s), 'no agent answers at /no/such/agent') > 0, 'behind the close: ' // iog_error(s))
    call need(index(iog_error(second), 'no agent answers') > 0 .and. iog_close(second, 0d0) < 0, 'the second stream')
    call need(iog_close(s, 1d0) < 0 .and. iog_begin(nothing, 0, 0d0) < 0, 'handles that lead nowhere')
    call iog_put(nothing, 'T', t)
    r = iog_subscribe('/no/such/agent', 'heat')
    call need(iog_next(r, 1d0, rec) < 0 .and. index(iog_error(r), 'no agent') > 0, 'reading without an agent')
    call iog_release(rec)
    call need(iog_unsubscribe(r) < 0, 'ending that')
    print '(a)', 'lone'
  end subroutine
end program
