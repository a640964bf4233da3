"""A recorder for plain socket code: the same `Timeline`, from code that knows nothing of programs.

    with record() as tape:
        sock = tape.wrap(socket.create_connection(address))
        echo(sock)
    tape.timeline

What is wrapped goes on as before; each of its system calls is stamped on the way.  What can be
seen from there is a call into Python's library, and that is not always one system call:

- Names are the system calls': `recv` is recvfrom(2), `send` sendto(2), `setblocking` ioctl(2).  As
  in `calls` they lack what only tells versions apart (accept4, pselect6, epoll_create1).
- On a socket with a time-out `recv`, `send` and `accept` are poll(2) and the call: they are shown
  as two, and the border between them is a guess.  `connect` with a time-out is shown as one call,
  and `sendall` as one sendto, though it may take several.
- A call that a signal interrupts is repeated by Python, and still one call here (PEP 475).  If the
  handler raises, as Ctrl-C's does, the call ended with EINTR.
- Not seen: what was not wrapped (time.sleep, os.sendfile and with it `sendfile`), a socket before
  it is wrapped or accepted (socket(2)), the close of one that was thrown away, the lookup of a
  name, signals.  A thread that sleeps in no call is in one of those, or waits for a lock or for
  the GIL.
- A library that asks for the exact type of a socket, as trio does, takes one of `measure` only.
- The sender is not seen, unless `senders` tells of it.  A message is what one call received, and
  its arrival is when it was there at the latest: `blocked("wait")` says what it was to the program,
  `latency_ns` is a lower bound.  Its lane is blank where nobody knows whether it was there.

What it costs (benchmarks/record.py; two cores, Python 3.11, where a plain recv takes 1.4 us): 0.8
to 1.4 us for a call that does not sleep, and 0.7 more if it takes longer than 20 us; 2 us for an
accept, which makes a recorded socket.  In the midst of asyncio, whose own code leaves the caches
cold, it is 3 to 4 us for each call.  A call that slept, or own code that did, takes 15 to 25 us
more of CPU time to be accounted for, about as much as the sleep itself does.  A stamp takes about
210 bytes.
"""

from __future__ import annotations

import select as real_select
import selectors
import socket
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from time import perf_counter_ns as clock
from types import FrameType, SimpleNamespace
from typing import Any, TypeVar

from ..machine.cores import usable_cores
from ..real.features import machine
from ..trace import Timeline
from .event_buffer import CallGate, Row, Stamp, Start, Track
from .reconstruct import Change, Senders, Thread, nobody, timeline
from .sent_on import can_be_sent
from .stamped import (
    CODES,
    COMMON,
    EPOLL,
    EPOLL_CREATE,
    POLL,
    SELECT,
    SOCKET,
    STAMPED,
    Method,
    named_as,
    text_of,
)

__all__ = ["record", "waits_for_ever"]

LIBRARY = ("socket", "_socket")  # where the library's own classes of sockets are
SOCKETS = socket.socket.__mro__[1]  # of C, which all of them derive from

T = TypeVar("T")
Rows = tuple[str, list[Row]]  # a thread's name, and what was taken down in it
METERS = 32  # so many threads have their time in the run queue read: each takes a descriptor


# -- the recorder ---------------------------------------------------------------------------------

_POLLS: Any = type(real_select.poll()) if hasattr(real_select, "poll") else ()
_EPOLLS = getattr(real_select, "epoll", ())
KNOWN = "a socket, select.select or the module select, a poll, an epoll, a selector, an event loop"
#: Where a socket comes into an event loop (asyncio.selector_events).
ENTRANCES = (
    "_make_datagram_transport", "_make_socket_transport", "_make_ssl_transport", "_start_serving",
    "sock_accept", "sock_connect", "sock_recv", "sock_recv_into", "sock_recvfrom",
    "sock_recvfrom_into", "sock_sendall", "sock_sendto",
)  # fmt: skip


class _Here(threading.local):
    """`track`: that of the thread that asks."""

    def __init__(self, new_track: Callable[[], Track]) -> None:
        self.track = new_track()


class _Proxy:
    """A real object of a type that cannot be derived from, behind stamped methods."""

    def __init__(self, real: Any, recorder: record, stamped: Mapping[str, object]) -> None:
        self._real, self._recorder = real, recorder
        self.__dict__.update(stamped)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def __enter__(self) -> _Proxy:
        self._real.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class record:
    """`with record() as tape:` takes down the system calls of what `tape.wrap` is given.

    `title` names the timeline; without one the function with the `with` statement does.  `gates`
    makes what is told of each call in a thread, from the number of that thread; `process` is what
    the thread that begins is called, if not by its name.
    `tape.timeline` is the run up to now, or, after the block, all of it.  Each thread that makes a
    call is a process of it, by its name.  After the block everything that was wrapped is what it
    was before, whatever happened in it.
    """

    def __init__(
        self, title: str = "", gates: Callable[[int], CallGate | None] | None = None,
        process: str = "",
    ) -> None:  # fmt: skip
        self._title, self._gates, self._process = title, gates, process
        self._lock = threading.Lock()
        self._here: _Here
        self._tracks: list[Track] = []
        self._sockets: list[weakref.ref[socket.socket]] = []
        self._classes: dict[type, type] = {}
        self._undo = ExitStack()
        self._running, self._meters = False, METERS
        self._zero = self._end = 0
        self._rows: list[Rows] = []
        self._whole: Timeline | None = None
        self.senders: Senders = nobody  # whoever knows who sends on a connection, and when it sent
        self.changes: list[Change] = []  # of lanes besides those of threads

    def __enter__(self) -> record:
        if self._tracks:
            raise RuntimeError("record: a recording is made once; begin a new one")
        name = sys._getframe(1).f_code.co_name
        self._title = self._title or (name if name.isidentifier() else "plain code")
        self._undo.callback(self._restore_sockets)
        self._running = True
        self._here = _Here(self._new_track)
        self._zero = self._tracks[0].raw[0][0]
        return self

    def take_no_descriptor(self) -> None:
        """From now on: the time in the run queue of threads that are yet to come is not read."""
        self._meters = 0

    def __exit__(self, *_: object) -> None:
        try:
            with self._lock:
                self._end, self._running = clock(), False
                self._rows = self._read(self._end)
                for track in self._tracks:
                    track.stop()
        finally:
            self._undo.close()

    def restart(self, at: int, connections: Iterable[int] = ()) -> None:
        """The recording begins at `at` (on `perf_counter_ns`): what was before is forgotten.

        The descriptors `connections` are connections from then on.
        """
        track = self._here.track
        track.raw.clear()
        track.look(at)
        track.raw += [Start(fd, at) for fd in connections]
        self._zero = at

    @property
    def timeline(self) -> Timeline:
        """The run up to now or, after the block, all of it; ns from the beginning of the block.

        RuntimeError before the block.
        """
        if self._running:
            with self._lock:
                end = clock()
                rows = self._read(end)
            return self._told(rows, end)
        if not self._tracks:
            raise RuntimeError("record: nothing is recorded before the with block")
        if self._whole is None:
            self._whole, self._rows = self._told(self._rows, self._end), []
        return self._whole

    def wrap(self, thing: T) -> T:
        """`thing`, with its system calls recorded until the block ends.

        A socket, a selector of `selectors` and an event loop of asyncio that uses one are changed
        in place, sockets that they accept or open are recorded as well.  For `select.select`,
        a poll or epoll object, or the whole module `select`, something is returned that stands for
        it.  What is recorded already is returned as it is.

        TypeError for anything else; RuntimeError outside of the block, and for what another
        recorder records.
        """
        if not self._running:
            raise RuntimeError("record: wrap() works inside the with block")
        if _recorder_of(thing) not in (None, self):
            raise RuntimeError(f"record: another recorder records {thing!r}")
        if _recorder_of(thing) is self:
            return thing
        wrapped: T = self._wrapped(thing)
        return wrapped

    # -- what is wrapped how -------------------------------------------------------------------

    def _wrapped(self, thing: object) -> Any:
        asyncio, ssl = sys.modules.get("asyncio.selector_events"), sys.modules.get("ssl")
        if ssl is not None and isinstance(thing, ssl.SSLSocket):
            raise TypeError(f"record: the calls of {thing!r} are made inside OpenSSL, unseen")
        wraps: tuple[tuple[Any, Callable[[Any], object]], ...] = (
            (socket.socket, self._socket), (_POLLS, self._poll), (_EPOLLS, self._epoll),
            (selectors.BaseSelector, self._selector),
            (asyncio.BaseSelectorEventLoop if asyncio else (), self._loop),
        )  # fmt: skip
        for known, wrap in wraps:
            if isinstance(thing, known):
                return wrap(thing)
        if thing is real_select.select:
            return self.stamped(SELECT, thing)
        if thing is real_select:
            return self.select_module()
        raise TypeError(f"record: cannot wrap {thing!r}; it takes {KNOWN}")

    def stamped(self, method: Method, plain: Callable[..., T], **more: object) -> Callable[..., T]:
        """`plain`, with its calls taken down."""
        names = {**COMMON, "WHAT": method.what, "here": self._here, "plain": plain, **more}
        exec(CODES[text_of(method)], names)
        return named_as(plain, names["stamped"])

    def _socket(self, one: socket.socket) -> socket.socket:
        """In place: an object's class may be changed to one of the same layout."""
        self._here.track.add((one.fileno(), clock()))
        return self._newborn(one)

    def _newborn(self, one: socket.socket) -> socket.socket:
        one.__class__ = self._classes.get(type(one)) or self.class_of(type(one))
        self._sockets.append(weakref.ref(one))
        return one

    def _adopt(self, one: socket.socket) -> None:
        """A socket that comes into a recorded loop."""
        if self._running and _recorder_of(one) is None:
            self._socket(one)

    def class_of(self, plain: type) -> type:
        """A class of sockets like `plain`, whose calls are taken down."""
        if _recorder_of(plain) is self:
            return plain
        if plain not in self._classes:
            library = next(kind for kind in plain.__mro__ if kind.__module__ in LIBRARY)
            beneath = self.class_of(library) if library is not plain else None
            methods = {} if beneath else self._methods(plain)
            self._classes[plain] = made = _derived(plain, self, methods, beneath)
            can_be_sent(made)
        return self._classes[plain]

    def _methods(self, plain: Any) -> dict[str, Callable[..., object]]:
        stamped = {
            method.what: self.stamped(method, getattr(plain, method.what))
            for method in SOCKET
            if hasattr(plain, method.what)
        }
        return {**stamped, "accept": self._accept(plain.accept), "dup": self._dup(plain.dup)}

    def _accept(self, plain: Callable[..., tuple[socket.socket, object]]) -> Callable[..., object]:
        """The stamp of `_accept`, which it calls, tells of the new connection."""

        def accept(one: socket.socket) -> object:
            made = plain(one)
            if self._running and isinstance(made[0], SOCKETS):
                self._newborn(made[0])
            return made

        return accept

    def _dup(self, plain: Callable[..., socket.socket]) -> Callable[..., socket.socket]:
        def dup(one: socket.socket) -> socket.socket:
            return self._socket(plain(one)) if self._running else plain(one)

        return dup

    def _poll(self, real: real_select.poll) -> _Proxy:
        return _Proxy(real, self, {n: self.stamped(m, getattr(real, n)) for n, m in POLL.items()})

    def _epoll(self, real: real_select.epoll) -> _Proxy:
        return _Proxy(
            real, self,
            {n: self.stamped(m, getattr(real, n), own=real.fileno()) for n, m in EPOLL.items()},
        )  # fmt: skip

    def select_module(self) -> SimpleNamespace:
        """`select`, whose calls are taken down."""
        module = SimpleNamespace(**vars(real_select), _recorder=self)
        module.select = self.stamped(SELECT, real_select.select)
        if _POLLS:
            module.poll = lambda: self._poll(real_select.poll())
        if _EPOLLS:
            module.epoll = self._epolls()
        return module

    def _epolls(self) -> type:
        """What stands for the type `select.epoll`: it makes recorded ones, and knows them."""
        create = self.stamped(EPOLL_CREATE, real_select.epoll)
        wrap = self._epoll

        class Kind(type):
            def __call__(cls, *args: object, **kwargs: object) -> _Proxy:
                return wrap(create(*args, **kwargs))

            def __instancecheck__(cls, thing: object) -> bool:
                return isinstance(getattr(thing, "_real", thing), real_select.epoll)

        def fromfd(fd: int) -> _Proxy:
            return wrap(real_select.epoll.fromfd(fd))

        return Kind("epoll", (), {"fromfd": staticmethod(fromfd), "__module__": "select"})

    def _selector(self, selector: Any) -> object:
        """In place: what a selector waits with is an attribute of it."""
        inner = getattr(selector, "_selector", None)
        if isinstance(inner, (_POLLS, _EPOLLS)):
            selector._selector = self.wrap(inner)
            self._undo.callback(setattr, selector, "_selector", inner)
        elif isinstance(selector, selectors.SelectSelector):
            vars(selector)["_select"] = self.stamped(SELECT, real_select.select)
            self._undo.callback(selector.__dict__.pop, "_select", None)
        else:
            raise TypeError(f"record: cannot wrap {selector!r}: it uses neither select nor (e)poll")
        selector._recorder = self
        self._undo.callback(selector.__dict__.pop, "_recorder", None)
        return selector

    def _loop(self, loop: Any) -> object:
        """In place: its selector, its own pair of sockets, and every socket that comes into it."""
        self.wrap(loop._selector)
        for own in (loop._ssock, loop._csock):
            self._adopt(own)
        plain = type(loop)
        hooks = {
            name: self._hook(getattr(plain, name)) for name in ENTRANCES if hasattr(plain, name)
        }
        self._undo.callback(setattr, loop, "__class__", plain)
        loop.__class__ = _derived(plain, self, hooks)
        return loop

    def _hook(self, plain: Callable[..., T]) -> Callable[..., T]:
        def method(*args: object, **kwargs: object) -> T:
            for one in (*args, *kwargs.values()):
                if isinstance(one, socket.socket):
                    self._adopt(one)
            return plain(*args, **kwargs)

        return method

    def _restore_sockets(self) -> None:
        for reference in self._sockets:
            one: Any = reference()
            if one is not None and _recorder_of(one) is self:
                one.__class__ = one._unrecorded

    # -- what was taken down -------------------------------------------------------------------

    def _new_track(self) -> Track:
        with self._lock:
            count = len(self._tracks)
            gate = self._gates(count) if self._gates and self._running else None
            track = Track(self._undo, self._running and count < self._meters, gate)
            if self._process and not count:
                track.name = self._process
            if self._running:
                self._tracks.append(track)
            else:
                track.stop()
            return track

    def _read(self, end: int) -> list[Rows]:
        """What was taken down in each thread up to `end`, with the call that it is in."""
        frames, here = sys._current_frames(), threading.get_ident()
        read = []
        for track in self._tracks:
            if track.ident == here:
                track.look(end)
            rows = list(track.raw)
            if track.ident != here:
                rows += _under_way(frames.get(track.ident), track, end)
                look = track.look_from_outside(end)
                rows += [look] if look else []
            read.append((track.name, rows))
        return read

    def _told(self, rows: Sequence[Rows], end: int) -> Timeline:
        threads = [Thread.read(name, raw, self._zero, end) for name, raw in rows]
        return timeline(threads, self._title, usable_cores(), machine(), self.senders, self.changes)


def _recorder_of(thing: object) -> record | None:
    found = getattr(thing, "_recorder", None)
    return found if isinstance(found, record) else None


def _derived(
    plain: type, recorder: record, methods: Mapping[str, object], beneath: type | None = None
) -> type:
    """A class of the same layout and name with other methods.

    They stand in `beneath` if `plain` has methods of its own by these names, which call them.
    """
    return type(
        plain.__name__, (plain, beneath) if beneath else (plain,),
        {
            "__slots__": (), "__module__": plain.__module__, "__qualname__": plain.__qualname__,
            "_recorder": recorder, "_unrecorded": plain, **methods,
        },
    )  # fmt: skip


def waits_for_ever(ident: int) -> bool:
    """Is that thread in a recorded call without a time-out?"""
    frame = sys._current_frames().get(ident)
    if frame is None or frame.f_code.co_filename != STAMPED or frame.f_globals["WHAT"] == "sleep":
        return False
    names = frame.f_locals
    return "start" in names and "result" not in names and names["timeout"] in (None, -1)


def _under_way(frame: FrameType | None, track: Track, end: int) -> Iterator[Stamp]:
    """The recorded call that another thread is in: its stamping method is on the stack."""
    while frame is not None:
        names = frame.f_locals if frame.f_code.co_filename == STAMPED else {}
        if names.get("track") is track and "start" in names and "result" not in names:
            yield Stamp(
                frame.f_globals["WHAT"], names["number"], names["timeout"], names.get("flags", 0),
                names["code"], names["frame"].f_lasti, names["start"], end, 0,
            )  # fmt: skip
        frame = frame.f_back
