# SPDX-License-Identifier: BSD-3-Clause
"""IOgraphs for Python: read the streams that simulations of this machine publish, and publish your own.

    import iograph

    with iograph.attach() as io:
        with io.subscribe("heat", select="T[:, 128, :]") as heat:
            for rec in heat:
                T = rec["T"]                 # memory of the simulation: nothing was copied
                print(rec.step, rec.time, T.shape, T.dims, T.unit)

What a view shows never changes, however long it is kept. It holds its step, so that nothing is copied in a loop that keeps up; when the reader
waits or is closed, views of earlier turns that are left become copies by themselves. Two records can be unreleased at once. numpy is used when it is there; without it, views have the buffer protocol and DLPack.

Readers and streams can be used from any thread. In a child of fork() they are dead, and views must not be touched.
"""

import builtins
import ctypes
import errno
import numbers
import warnings
import weakref
from typing import NamedTuple

from . import _iograph

try:
    import numpy as _np
except ImportError:
    _np = None

__all__ = ["Attachment", "Error", "Reader", "Record", "Snapshot", "Stats", "Step", "Stream", "TimeoutError", "attach"]


class Error(Exception):
    """What went wrong, in the library's own sentence. `code` is its number: -errno."""

    def __init__(self, message, code=0):
        super().__init__(message)
        self.code = code


class TimeoutError(Error, builtins.TimeoutError):
    """Nothing came in time: a stream that did not appear, a step."""


_iograph.set_errors(Error, TimeoutError)


class Stats(NamedTuple):
    """Counters of a reader or a stream."""

    records: int
    "taken, or published"
    bytes: int
    dropped: int
    "by policy or timeout: steps that passed us by, or nobody got from us"
    skipped: int
    "not wanted by anybody"
    blocked_s: float
    "seconds spent waiting"
    readers: int
    "that take the stream now"


if _np is not None:

    class Array(_np.ndarray):
        """A read-only view of a variable: a numpy array that knows the names of its dimensions, its unit, and where it starts in the whole.

        What is computed from it, and parts of it, are arrays without these."""

        dims = unit = start = _view = None

        def __array_finalize__(self, obj):
            pass  # nothing is inherited: a part has other dimensions

        def __array_wrap__(self, array, context=None, return_scalar=False):
            return array[()] if array.ndim == 0 else _np.asarray(array)

        def __dlpack__(self, **options):
            return (_np.asarray(self) if self._view is None else self._view).__dlpack__(**options)

        def __dlpack_device__(self):
            return (1, 0)

        def __reduce__(self):
            return _np.array(self, subok=False).__reduce__()


def _array(view):
    """What users get for a view of the module below."""
    if _np is None:
        return view
    a = _np.asarray(view).view(Array)
    a._view = view
    a.dims, a.unit, a.start = view.dims, view.unit, view.start
    return a


def _dataset(rec):
    try:
        import xarray
    except ImportError as e:
        raise ImportError("to_xarray() needs xarray (Debian package python3-xarray)") from e
    arrays, coords, clash = {}, {}, set()
    for name in rec.names:
        a = rec[name]
        arrays[name] = (a.dims, a, {"units": a.unit} if a.unit else {})
        for dim, start, n in zip(a.dims, a.start, a.shape):
            here = range(start, start + n)
            if coords.setdefault(dim, here) != here:
                clash.add(dim)
    # Places in the whole; variables that disagree about one leave it out.
    places = {dim: (dim, _np.arange(r.start, r.stop)) for dim, r in coords.items() if dim not in clash}
    return xarray.Dataset(arrays, coords=places, attrs={"step": rec.step, "time": rec.time})


class Record:
    """One step of a stream, held until `release` or the next turn of the loop.

    `rec["T"]` is a view of a variable; `rec.names` says which there are."""

    __slots__ = ("_rec",)

    def __init__(self, rec):
        self._rec = rec

    @property
    def step(self):
        "Number of the step."
        return self._rec.step

    @property
    def time(self):
        "Time of the simulation."
        return self._rec.time

    @property
    def names(self):
        "Names of the variables in this step."
        return self._rec.names

    @property
    def released(self):
        return self._rec.released

    def __getitem__(self, name):
        return _array(self._rec.view(name))

    def __iter__(self):
        return iter(self.names)

    def __contains__(self, name):
        return name in self.names

    def __len__(self):
        return len(self.names)

    def copy(self):
        "All of it in memory of our own."
        return Snapshot(self)

    def to_xarray(self):
        "An xarray.Dataset of views, with units and places."
        return _dataset(self)

    def release(self):
        "Gives the step back. Views that are there stay as they are."
        self._rec.release()

    def __del__(self):
        self._rec.release()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.release()

    def __repr__(self):
        return f"<iograph.Record step={self.step} time={self.time:g} {' '.join(self.names)}{' released' if self.released else ''}>"


class Snapshot:
    """A copy of a record: the same, but it holds nothing and its arrays can be written to."""

    __slots__ = ("step", "time", "names", "_views")

    def __init__(self, rec):
        self.step, self.time, self.names = rec.step, rec.time, rec.names
        self._views = {name: rec._rec.view(name).copy() for name in rec.names}

    def __getitem__(self, name):
        return _array(self._views[name])

    __iter__ = Record.__iter__
    __contains__ = Record.__contains__
    __len__ = Record.__len__
    to_xarray = Record.to_xarray

    def __repr__(self):
        return f"<iograph.Snapshot step={self.step} time={self.time:g} {' '.join(self.names)}>"


class Reader:
    """One reader of a stream. Iterating gives its records until the stream ends; each is released at the end of its turn."""

    def __init__(self, reader, name, idle):
        self._r, self.name, self._idle, self._turn = reader, name, idle, None

    def next(self, timeout=None):
        """The next step, or None when the stream has ended. TimeoutError after `timeout` seconds; None waits until Ctrl-C."""
        rec = self._r.next(timeout)
        return None if rec is None else Record(rec)

    def __iter__(self):
        return self

    def __next__(self):
        if self._turn is not None:
            self._turn.release()
            self._turn = None
        rec = self.next(self._idle)
        if rec is None:
            raise StopIteration
        self._turn = rec
        return rec

    @property
    def stats(self):
        "Counters, also after the end."
        return Stats(*self._r.stats())

    @property
    def closed(self):
        return self._r.closed

    def close(self):
        "Ends reading. Views that are left become copies."
        self._turn = None
        self._r.close()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def __repr__(self):
        return f"<iograph.Reader {self.name}{' closed' if self.closed else ''}>"


class Step:
    """A step that is being written, from `Stream.step`. False when nobody wants it: what is assigned then goes nowhere."""

    __slots__ = ("_s", "code", "_open")

    def __init__(self, stream, step, time):
        self._s = stream
        self.code = stream.begin(step, time)
        self._open = self.code == 0

    def __bool__(self):
        return self._open

    def __setitem__(self, name, value):
        """Copies an array into the step, by its strides. Type and shape must be those of the variable; numbers and lists are converted."""
        if not self._open:
            return
        if isinstance(value, numbers.Number) or not _is_buffer(value):
            value = _converted(self._s, name, value)
        if self._s.put(name, value):
            self._open = False  # the first step turned out not to be wanted

    def wanted(self, name):
        "Whether anybody wants this variable of the step: computing it can be saved otherwise."
        return self._open and self._s.wanted(name)

    def fill(self, name):
        """An array to write the variable into: no copy is made. It holds some earlier step, and must not be written to after the step.
        None when the step is not wanted."""
        if not self._open:
            return None
        view = self._s.fill(name)
        return view if view is None or _np is None else _np.asarray(view)

    def __enter__(self):
        return self

    def __exit__(self, kind, *unused):
        # After an exception the step stays away: the next one, or the end of the stream, drops it.
        if kind is None and (self._open or self.code == 0):
            self.code = self._s.commit()
            self._open = False


def _is_buffer(value):
    try:
        memoryview(value).release()
    except TypeError:
        return False
    except (ValueError, BufferError):
        return True
    return True


def _converted(stream, name, value):
    """A number or a list as an array of the variable's type."""
    declared = stream.var(name)
    if declared is None:
        raise Error(f'there is no variable "{name}" in the stream', -errno.ENOENT)
    dtype, rank = declared
    if _np is not None:
        a, to = _np.asarray(value), _np.dtype(_NUMPY[dtype])
        if _KINDS.get(a.dtype.kind, 9) > _KINDS[to.kind]:
            raise TypeError(f"{name} is {dtype}, which cannot hold {a.dtype}")
        return a.astype(to)
    if rank == 0 and dtype in _CTYPES:
        return getattr(ctypes, _CTYPES[dtype])(value)
    raise TypeError(f"{name}: without numpy, assign something that has the buffer protocol, such as array.array")


# Types that stand for those of schemas; what has a larger number does not fit into one that has a smaller.
_NUMPY = dict(zip("i8 i16 i32 i64 u8 u16 u32 u64 f16 f32 f64 c64 c128 bool byte".split(), "i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8 c8 c16 ? u1".split()))
_KINDS = {"b": 1, "i": 1, "u": 1, "f": 2, "c": 3}
_CTYPES = {**{f"i{n}": f"c_int{n}" for n in (8, 16, 32, 64)}, **{f"u{n}": f"c_uint{n}" for n in (8, 16, 32, 64)}}
_CTYPES.update(f32="c_float", f64="c_double", bool="c_bool", byte="c_uint8")


class Stream:
    """A stream that this program publishes. Nothing that happens to an agent or a reader is an exception here: steps are skipped, and
    `error` says why. Mistakes of the program are."""

    def __init__(self, stream, name):
        self._s, self.name = stream, name

    def block(self, var, global_=None, offset=None, count=None):
        """Says what this rank has of a variable: shape of the whole, where the part starts, its extent. With one rank, or without `count`, it
        may be left to the first array."""
        self._s.block(var, global_, offset, count)

    def step(self, step, time=0.0):
        """Begins a step: `with s.step(7, 0.7) as st: st["T"] = T`. The end of the block publishes it. Waits at most `timeout`."""
        return Step(self._s, step, time)

    @property
    def error(self):
        "The first failure as a sentence; empty when there was none."
        return self._s.error

    @property
    def stats(self):
        "Counters, also after the end."
        return Stats(*self._s.stats())

    @property
    def closed(self):
        return self._s.closed

    def close(self, timeout=10.0):
        """Ends the stream: waits at most `timeout` seconds until readers have what was published. Raises its first failure."""
        if not self.closed:
            code = self._s.close(timeout)
            if code:
                raise Error(self.error, code)

    def __enter__(self):
        return self

    def __exit__(self, kind, *unused):
        # The program has done its work; that some steps did not reach anybody must not end it now.
        try:
            self.close(10.0 if kind is None else 0.0)
        except Error as e:
            if kind is None:
                warnings.warn(f"iograph: {e}", RuntimeWarning, stacklevel=2)

    def __repr__(self):
        return f"<iograph.Stream {self.name}{' closed' if self.closed else ''}>"


class Attachment:
    """An agent of this machine, from `attach`."""

    def __init__(self, where, optional):
        self.where, self._a, self._children = where, _iograph.Attachment(where), weakref.WeakSet()
        if self.error and not optional:
            raise Error(self.error, -errno.ECONNREFUSED)

    @property
    def error(self):
        "Why there is no agent; empty when there is one."
        return self._a.error

    def subscribe(self, stream, select=None, policy="latest", timeout=10.0, idle=None):
        """Reads a stream from its next step on, waiting `timeout` seconds for it to appear.

        select: a variable and for each dimension an index, a range or a colon, as "T[:, 128, 2:8]". Only that is there then.
        policy: "latest", the newest step next; "block", every step, the writer waits for us; "drop-new", the oldest there is room for.
        idle: how many seconds a loop waits for a step before TimeoutError; None: until Ctrl-C."""
        text = None if select is None else "".join(select.split())
        reader = Reader(_iograph.Reader(self.where, stream, text, policy, float(timeout)), stream, idle)
        self._children.add(reader)
        return reader

    def open(self, name, schema, policy="block", timeout=5.0, bytes=None, rank=0, nranks=1, patience=0):
        """Publishes a stream. schema: declarations as "T: f64[z,y,x] K; energy: f64 J".

        policy: "block", a step waits at most `timeout` seconds for readers that want all of them; "latest" or "drop-new", it never waits.
        patience: after so many steps in a row that found no room in time, none waits until there is room again; 0: all wait.
        bytes: memory for steps, as "64MiB" or a number. rank, nranks: which of the programs that publish the stream together this is."""
        options = f"policy={policy} timeout={float(timeout):g}" + (f" patience={patience}" if patience else "") + ("" if bytes is None else f" bytes={bytes}")
        stream = Stream(_iograph.Stream(self.where, name, schema, options, rank, nranks), name)
        # A schema or an option that cannot be is a mistake of the program; that there is no agent is none.
        if stream.error and not self.error:
            raise Error(stream.error, -errno.EINVAL)
        self._children.add(stream)
        return stream

    def set(self, name, value):
        "Sets a live parameter of the agent's graphs."
        self._a.set(name, value)

    def close(self):
        "Closes what was opened here. Views that are left become copies."
        # Readers first: a stream that is closed waits for them.
        for child in sorted(self._children, key=lambda c: isinstance(c, Stream)):
            child.__exit__(None, None, None)
        self._a.close()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def __repr__(self):
        return f"<iograph.Attachment {self.where or 'to the usual place'}>"


def attach(where=None, optional=False):
    """Attaches to the agent: `where` is its socket; None: $IOG_SOCKET, else the usual place.

    Without an agent it raises Error; with `optional`, streams then skip every step, so that a program computes on."""
    return Attachment(where, optional)
