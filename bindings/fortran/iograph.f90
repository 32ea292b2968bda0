! SPDX-License-Identifier: BSD-3-Clause
!
! IOgraphs for Fortran 2018: a program publishes the steps of a stream, or reads them. docs/bindings.md explains it, iograph.h has the rules.
!
!     s = iog_open('', 'heat', 'T: f64[x,y,z] K', 'policy=block timeout=5s', rank, n)
!     call iog_block(s, 'T', global=[nx, ny, n*nz], offset=[0, 0, rank*nz])
!     do ...
!       if (iog_begin(s, step, time) == IOG_OK) then
!         call iog_put(s, 'T', t(1:nx, 1:ny, 1:nz))
!         call iog_commit(s)
!       end if
!     end do
!     if (iog_close(s, 10d0) /= IOG_OK) print '(a)', iog_error(s)
!
! Dimensions are in the order of Fortran, the fastest first, everywhere: in schemas, selections, global, offset, count. A reader in C or Python
! sees T[z,y,x]. Offsets count from 0. Nothing here ends a program; subroutines take an optional stat, and iog_close has the first failure.
! Streams and readers of one `where` share an attachment, so the whole module is used by one thread at a time.
module iograph
  use, intrinsic :: iso_c_binding
  implicit none
  private
  public :: iog_stream, iog_reader, iog_rec, iog_stats
  public :: iog_open, iog_block, iog_begin, iog_put, iog_fill, iog_attr, iog_wanted, iog_commit, iog_close
  public :: iog_subscribe, iog_next, iog_rec_step, iog_rec_time, iog_rec_var, iog_rec_unit, iog_get, iog_release, iog_unsubscribe
  public :: iog_error, iog_param

  integer(c_int), parameter, public :: IOG_OK = 0, IOG_SKIP = 1, IOG_TIMEOUT = 2, IOG_END = 3

  ! Handles are numbers: a copy of one that was closed is refused. What a stream had to say stays readable after its end.
  type, bind(C) :: iog_stream
    private
    integer(c_int64_t) :: id = 0
    character(kind=c_char) :: said(512) = c_null_char
  end type
  type, bind(C) :: iog_reader
    private
    integer(c_int64_t) :: id = 0
    character(kind=c_char) :: said(512) = c_null_char
  end type
  type, bind(C) :: iog_rec
    private
    integer(c_int64_t) :: reader = 0, number = 0
  end type

  ! As struct iog_stats of iograph.h.
  type, bind(C) :: iog_stats
    integer(c_int64_t) :: records = 0, bytes = 0, dropped = 0, skipped = 0
    real(c_double) :: blocked_s = 0
    integer(c_int) :: readers = 0
  end type

  ! ---- writing ----

  interface
    ! Attaches by itself. where '': $IOG_SOCKET, else the usual place. options: of iograph.h. Without rank and n, the only writer.
    function iog_open(where, name, schema, options, rank, n) result(s) bind(C, name='iog_fortran_open')
      import
      character(kind=c_char, len=*), intent(in) :: where, name, schema
      character(kind=c_char, len=*), intent(in), optional :: options
      integer(c_int), intent(in), optional :: rank, n
      type(iog_stream) :: s
    end function
    ! Copies an array or a section of one into the step: by its strides, no temporary is made. Type, rank and shape must be those of the variable.
    subroutine iog_put(s, var, array, stat) bind(C, name='iog_fortran_put')
      import
      type(iog_stream), intent(in) :: s
      character(kind=c_char, len=*), intent(in) :: var
      type(*), dimension(..), intent(in) :: array
      integer(c_int), intent(out), optional :: stat
    end subroutine
    ! Sets a variable without dimensions.
    subroutine iog_attr(s, var, value, stat) bind(C, name='iog_fortran_attr')
      import
      type(iog_stream), intent(in) :: s
      character(kind=c_char, len=*), intent(in) :: var
      real(c_double), intent(in) :: value
      integer(c_int), intent(out), optional :: stat
    end subroutine
    ! Whether anybody wants a variable of this step: computing it can be saved otherwise.
    function iog_wanted(s, var) result(wanted) bind(C, name='iog_fortran_wanted')
      import
      type(iog_stream), intent(in) :: s
      character(kind=c_char, len=*), intent(in) :: var
      logical(c_bool) :: wanted
    end function
    subroutine iog_commit(s, stat) bind(C, name='iog_fortran_commit')
      import
      type(iog_stream), intent(in) :: s
      integer(c_int), intent(out), optional :: stat
    end subroutine
    ! Waits at most timeout seconds for readers; detaches with the last one of its `where`. The first failure of the stream.
    function iog_close(s, timeout) result(code) bind(C, name='iog_fortran_close')
      import
      type(iog_stream), intent(inout) :: s
      real(c_double), intent(in) :: timeout
      integer(c_int) :: code
    end function
    ! Sets a live parameter of the agent's graphs.
    function iog_param(s, name, value) result(code) bind(C, name='iog_fortran_param')
      import
      type(iog_stream), intent(in) :: s
      character(kind=c_char, len=*), intent(in) :: name
      real(c_double), intent(in) :: value
      integer(c_int) :: code
    end function
  end interface

  ! Places what this writer has. Without count it is the shape of the first array that is put; without offset it begins at 0; without
  ! global this part is the whole.
  interface iog_block
    subroutine iog_fortran_block4(s, var, global, offset, count, stat) bind(C, name='iog_fortran_block4')
      import
      type(iog_stream), intent(in) :: s
      character(kind=c_char, len=*), intent(in) :: var
      integer(c_int32_t), intent(in) :: global(:)
      integer(c_int32_t), intent(in), optional :: offset(:), count(:)
      integer(c_int), intent(out), optional :: stat
    end subroutine
    subroutine iog_fortran_block8(s, var, global, offset, count, stat) bind(C, name='iog_fortran_block8')
      import
      type(iog_stream), intent(in) :: s
      character(kind=c_char, len=*), intent(in) :: var
      integer(c_int64_t), intent(in) :: global(:)
      integer(c_int64_t), intent(in), optional :: offset(:), count(:)
      integer(c_int), intent(out), optional :: stat
    end subroutine
  end interface

  interface iog_begin
    function iog_fortran_begin4(s, step, time) result(code) bind(C, name='iog_fortran_begin4')
      import
      type(iog_stream), intent(in) :: s
      integer(c_int32_t), intent(in) :: step
      real(c_double), intent(in) :: time
      integer(c_int) :: code
    end function
    function iog_fortran_begin8(s, step, time) result(code) bind(C, name='iog_fortran_begin8')
      import
      type(iog_stream), intent(in) :: s
      integer(c_int64_t), intent(in) :: step
      real(c_double), intent(in) :: time
      integer(c_int) :: code
    end function
  end interface

  ! Points p at the place of the variable in the step: no copy is made. Valid until iog_commit; not associated when there is no place.
  interface iog_fill
    subroutine iog_fortran_fill_r4(s, var, p, stat) bind(C, name='iog_fortran_fill_r4')
      import
      type(iog_stream), intent(in) :: s
      character(kind=c_char, len=*), intent(in) :: var
      real(c_float), pointer, intent(inout) :: p(..)
      integer(c_int), intent(out), optional :: stat
    end subroutine
    subroutine iog_fortran_fill_r8(s, var, p, stat) bind(C, name='iog_fortran_fill_r8')
      import
      type(iog_stream), intent(in) :: s
      character(kind=c_char, len=*), intent(in) :: var
      real(c_double), pointer, intent(inout) :: p(..)
      integer(c_int), intent(out), optional :: stat
    end subroutine
    subroutine iog_fortran_fill_i4(s, var, p, stat) bind(C, name='iog_fortran_fill_i4')
      import
      type(iog_stream), intent(in) :: s
      character(kind=c_char, len=*), intent(in) :: var
      integer(c_int32_t), pointer, intent(inout) :: p(..)
      integer(c_int), intent(out), optional :: stat
    end subroutine
    subroutine iog_fortran_fill_i8(s, var, p, stat) bind(C, name='iog_fortran_fill_i8')
      import
      type(iog_stream), intent(in) :: s
      character(kind=c_char, len=*), intent(in) :: var
      integer(c_int64_t), pointer, intent(inout) :: p(..)
      integer(c_int), intent(out), optional :: stat
    end subroutine
    subroutine iog_fortran_fill_c8(s, var, p, stat) bind(C, name='iog_fortran_fill_c8')
      import
      type(iog_stream), intent(in) :: s
      character(kind=c_char, len=*), intent(in) :: var
      complex(c_double_complex), pointer, intent(inout) :: p(..)
      integer(c_int), intent(out), optional :: stat
    end subroutine
  end interface

  ! ---- reading ----

  interface
    ! select '': everything; 'T(:,128,2:8)' is written 'T[:,128,2:8]', fastest dimension first, from 0, ends not included.
    function iog_subscribe(where, stream, select, options) result(r) bind(C, name='iog_fortran_subscribe')
      import
      character(kind=c_char, len=*), intent(in) :: where, stream
      character(kind=c_char, len=*), intent(in), optional :: select, options
      type(iog_reader) :: r
    end function
    ! The next step; it is held until iog_release, and two can be held at once.
    function iog_next(r, timeout, rec) result(code) bind(C, name='iog_fortran_next')
      import
      type(iog_reader), intent(in) :: r
      real(c_double), intent(in) :: timeout
      type(iog_rec), intent(out) :: rec
      integer(c_int) :: code
    end function
    function iog_rec_step(rec) result(step) bind(C, name='iog_fortran_rec_step')
      import
      type(iog_rec), intent(in) :: rec
      integer(c_int64_t) :: step
    end function
    function iog_rec_time(rec) result(time) bind(C, name='iog_fortran_rec_time')
      import
      type(iog_rec), intent(in) :: rec
      real(c_double) :: time
    end function
    ! Pointers into rec must not be used any more.
    subroutine iog_release(rec) bind(C, name='iog_fortran_release')
      import
      type(iog_rec), intent(inout) :: rec
    end subroutine
    function iog_unsubscribe(r) result(code) bind(C, name='iog_fortran_unsubscribe')
      import
      type(iog_reader), intent(inout) :: r
      integer(c_int) :: code
    end function
  end interface

  ! Points p at a variable of the step, bounds from 1: memory of the writer, which cannot be written to. start: where it lies in the whole, from 0.
  interface iog_get
    subroutine iog_fortran_get_r4(rec, var, p, start, stat) bind(C, name='iog_fortran_get_r4')
      import
      type(iog_rec), intent(in) :: rec
      character(kind=c_char, len=*), intent(in) :: var
      real(c_float), pointer, intent(inout) :: p(..)
      integer(c_int64_t), intent(inout), optional :: start(:)
      integer(c_int), intent(out), optional :: stat
    end subroutine
    subroutine iog_fortran_get_r8(rec, var, p, start, stat) bind(C, name='iog_fortran_get_r8')
      import
      type(iog_rec), intent(in) :: rec
      character(kind=c_char, len=*), intent(in) :: var
      real(c_double), pointer, intent(inout) :: p(..)
      integer(c_int64_t), intent(inout), optional :: start(:)
      integer(c_int), intent(out), optional :: stat
    end subroutine
    subroutine iog_fortran_get_i4(rec, var, p, start, stat) bind(C, name='iog_fortran_get_i4')
      import
      type(iog_rec), intent(in) :: rec
      character(kind=c_char, len=*), intent(in) :: var
      integer(c_int32_t), pointer, intent(inout) :: p(..)
      integer(c_int64_t), intent(inout), optional :: start(:)
      integer(c_int), intent(out), optional :: stat
    end subroutine
    subroutine iog_fortran_get_i8(rec, var, p, start, stat) bind(C, name='iog_fortran_get_i8')
      import
      type(iog_rec), intent(in) :: rec
      character(kind=c_char, len=*), intent(in) :: var
      integer(c_int64_t), pointer, intent(inout) :: p(..)
      integer(c_int64_t), intent(inout), optional :: start(:)
      integer(c_int), intent(out), optional :: stat
    end subroutine
    subroutine iog_fortran_get_c8(rec, var, p, start, stat) bind(C, name='iog_fortran_get_c8')
      import
      type(iog_rec), intent(in) :: rec
      character(kind=c_char, len=*), intent(in) :: var
      complex(c_double_complex), pointer, intent(inout) :: p(..)
      integer(c_int64_t), intent(inout), optional :: start(:)
      integer(c_int), intent(out), optional :: stat
    end subroutine
  end interface

  ! ---- both ----

  ! The first failure, one sentence; '' when there was none.
  interface iog_error
    module procedure stream_error, reader_error
  end interface
  interface iog_stats
    module procedure stream_stats, reader_stats
  end interface

  interface
    subroutine iog_fortran_stream_error(s, text) bind(C, name='iog_fortran_stream_error')
      import
      type(iog_stream), intent(in) :: s
      character(kind=c_char, len=*), intent(inout) :: text
    end subroutine
    subroutine iog_fortran_reader_error(r, text) bind(C, name='iog_fortran_reader_error')
      import
      type(iog_reader), intent(in) :: r
      character(kind=c_char, len=*), intent(inout) :: text
    end subroutine
    subroutine iog_fortran_stream_stats(s, st) bind(C, name='iog_fortran_stream_stats')
      import
      type(iog_stream), intent(in) :: s
      type(iog_stats), intent(inout) :: st
    end subroutine
    subroutine iog_fortran_reader_stats(r, st) bind(C, name='iog_fortran_reader_stats')
      import
      type(iog_reader), intent(in) :: r
      type(iog_stats), intent(inout) :: st
    end subroutine
    subroutine iog_fortran_rec_var(rec, index, text) bind(C, name='iog_fortran_rec_var')
      import
      type(iog_rec), intent(in) :: rec
      integer(c_int), intent(in) :: index
      character(kind=c_char, len=*), intent(inout) :: text
    end subroutine
    subroutine iog_fortran_rec_unit(rec, var, text) bind(C, name='iog_fortran_rec_unit')
      import
      type(iog_rec), intent(in) :: rec
      character(kind=c_char, len=*), intent(in) :: var
      character(kind=c_char, len=*), intent(inout) :: text
    end subroutine
  end interface

contains

  function stream_error(s) result(text)
    type(iog_stream), intent(in) :: s
    character(len=:), allocatable :: text
    character(len=512) :: buffer
    call iog_fortran_stream_error(s, buffer)
    text = trim(buffer)
  end function

  function reader_error(r) result(text)
    type(iog_reader), intent(in) :: r
    character(len=:), allocatable :: text
    character(len=512) :: buffer
    call iog_fortran_reader_error(r, buffer)
    text = trim(buffer)
  end function

  function stream_stats(s) result(st)
    type(iog_stream), intent(in) :: s
    type(iog_stats) :: st
    call iog_fortran_stream_stats(s, st)
  end function

  function reader_stats(r) result(st)
    type(iog_reader), intent(in) :: r
    type(iog_stats) :: st
    call iog_fortran_reader_stats(r, st)
  end function

  ! The name of the variable number index, from 1, in the step; '' behind the last one.
  function iog_rec_var(rec, index) result(text)
    type(iog_rec), intent(in) :: rec
    integer(c_int), intent(in) :: index
    character(len=:), allocatable :: text
    character(len=64) :: buffer
    call iog_fortran_rec_var(rec, index, buffer)
    text = trim(buffer)
  end function

  function iog_rec_unit(rec, var) result(text)
    type(iog_rec), intent(in) :: rec
    character(len=*), intent(in) :: var
    character(len=:), allocatable :: text
    character(len=64) :: buffer
    call iog_fortran_rec_unit(rec, var, buffer)
    text = trim(buffer)
  end function

end module
