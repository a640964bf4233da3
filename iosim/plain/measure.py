"""The door of this machine's kernel for plain code: real sockets, taken down by a recorder."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from errno import EAGAIN
from functools import partial
from socket import SO_RCVBUF, SOL_SOCKET
from time import perf_counter_ns as clock
from types import SimpleNamespace
from typing import Any

from .. import calls
from ..kernels.launch import PlainPlan, launch_plain
from ..kernels.watchdog import AGAIN_S, Expired, watchdog
from ..machine import procfs
from ..machine.disturbances import interference
from ..real.clients import ClientsOutside, check_options, limit_descriptors, need_room
from ..real.gate import Gate, ServerGate
from ..real.helper_process import HelperProcess
from ..real.measured import Run
from ..real.traffic import TrafficOutside
from ..recorder.made import KINDS, RECEIVE
from ..recorder.record import record, waits_for_ever
from ..trace import Timeline
from ..workloads.clients import Clients
from ..workloads.traffic import Traffic
from .adopt import adopt
from .kernel import GRACE_NS, consists_of
from .measured_floor import Opened, measured
from .senders import senders
from .simulate import main_of_program, what_is_given
from .tasks import MeasuredTasks
from .world import World

__all__ = ["measure_plain"]

START_NS = 200_000  # between telling the helper when the run begins and its beginning
JOIN_S = 1.0  # for a thread of the program to end, once nothing is open for it

#: What a real kernel can be told, for each kind of story.
OPTIONS: Mapping[type, tuple[str, ...]] = {
    Traffic: ("rcvbuf",),
    Clients: ("backlog", "nofile", "rcvbuf", "sndbuf"),
    type(None): ("nofile",),
}

Story = Traffic | Clients | None
Outside = TrafficOutside | ClientsOutside


def measure_plain(
    program: Callable[..., object], story: Story, *, limit_s: float = 10.0,
    cores: int | None = None, costs: object = None, shown: Callable[..., object] | None = None,
    **options: Any,
) -> Timeline:  # fmt: skip
    """Run plain code over `story` on real sockets, and return its `Timeline`.

    The options are those of `measure`; `shown` is the function whose text is the program's, if it
    is another one.  A message is what one call received; its arrival is when it was sent, as the
    helper says, or when it was there at the latest: see `iosim.recorder`.  Raises what it raises;
    TypeError or ValueError for bad input; TimeoutError at the limit.
    """
    given = what_is_given(story)
    own = {name: options.pop(name) for name in OPTIONS[type(story)] if name in options}
    plan = launch_plain(program, *given, options, shown)
    check_options(**own)
    with ExitStack() as stack:
        outside = _outside(story, stack, **own)
        clients = len(story) if isinstance(story, Clients) else 0
        room = partial(limit_descriptors, clients, own.get("nofile"), stack)
        return _Measurement(plan, outside, limit_s, room, few="nofile" in own).timeline()


def _outside(
    story: Story, stack: ExitStack, backlog: int = calls.SOMAXCONN, sndbuf: int | None = None,
    rcvbuf: int | None = None, nofile: int | None = None,
) -> Outside | None:  # fmt: skip
    if isinstance(story, Clients):
        need_room(len(story))
        return ClientsOutside(story, backlog, sndbuf, rcvbuf, stack, announces=True)
    if isinstance(story, Traffic):
        return TrafficOutside(story, rcvbuf, stack, announces=True)
    return None


class _Measurement:
    """One run of plain code, from its beginning to the last report of its helper."""

    def __init__(
        self, plan: PlainPlan, outside: Outside | None, limit_s: float, room: Callable[[], None],
        few: bool,
    ) -> None:  # fmt: skip
        """`room` makes room for descriptors; `few`: they are counted."""
        self._plan, self._outside, self._limit_s = plan, outside, limit_s
        self._room, self._few = room, few
        self._opened, self._tasks = Opened(), MeasuredTasks()
        self._in_time = nothing
        self._tape = record(plan.text.title, self._gate, "process")
        self._run = Run([], False, title=plan.text.title)
        self._seen = SimpleNamespace(
            run=self._run, messages=SimpleNamespace(connection={}),
            descriptors=SimpleNamespace(open={}, close=self._opened.close),
        )  # fmt: skip

    def timeline(self) -> Timeline:
        """Run it; what was taken down, with what its clients say."""
        before = set(threading.enumerate())
        try:
            with interference() as found, self._tape:
                try:
                    self._go()
                finally:
                    self._end_threads(before)
        finally:
            self._opened.close()
        outside = self._outside
        if outside is not None:
            told = outside.helper.finish()
            self._tape.senders = senders(outside.story, told["sent"], self._rcvbuf, self._peer)
        self._tape.changes = [(row[0], row[1] - self._zero, *row[2:]) for row in self._tasks.rows]
        run = self._tape.timeline
        self._run.end = run.run_end
        if outside is not None:
            outside.report(self._seen, told)  # type: ignore[arg-type]
        visits = outside.visits if isinstance(outside, ClientsOutside) else ()
        disturbances = self._run.disturbances + found.disturbances
        text = self._plan.text
        return replace(
            run, visits=visits, disturbances=disturbances,
            source=run.source or text.source, first_line=run.first_line if run.source else
            text.first_line,
        )  # fmt: skip

    def _end_threads(self, before: set[threading.Thread]) -> None:
        """Those that the program has begun end with it: whatever they sleep in is at its end."""
        if left := set(threading.enumerate()) - before:
            self._opened.shut()
            for thread in left:
                _await_end(thread)
        self._in_time = nothing

    def _peer(self, fd: int, since: int) -> int | None:
        """The connection of traffic, by its place; the client, by its port; None: it is neither."""
        if not isinstance(self._outside, ClientsOutside):
            return self._fds.index(fd) if fd in self._fds else None
        ports = (
            port
            for at, one, port in self._opened.peers
            if one == fd and at - self._zero >= since
        )  # fmt: skip
        return self._outside.client_at.get(next(ports, 0))

    def _gate(self, thread: int) -> InTime:
        outside, seen = self._outside, self._seen
        gate = outside.gate(seen, thread) if outside else None  # type: ignore[arg-type]
        check = self._end_thread if thread else self._check
        opened = self._opened
        return CallsSeen(check, opened, gate, self._run) if gate else InTime(check, opened)

    def _check(self) -> None:
        """Raise `Expired` when time is up."""
        self._in_time()

    def _end_thread(self) -> None:
        """The same for another thread: `threading` tells nothing of a SystemExit itself."""
        try:
            self._in_time()
        except Expired:
            raise SystemExit from None

    def _go(self) -> None:
        world = World(measured(self._tape, self._opened, self._tasks))
        with ExitStack() as stack:
            program = adopt(self._plan.program, world, stack)
            for name in ("socket", "selectors"):  # whose import makes calls of its own
                world.load(name)
            given = self._outside.sockets() if self._outside else []
            self._rcvbuf = min((one.getsockopt(SOL_SOCKET, SO_RCVBUF) for one in given), default=0)
            self._fds = fds = [one.detach() for one in given]
            stack.enter_context(_no_running_loop())
            stack.enter_context(_handlers_restored())
            stack.enter_context(_without_collector())
            helper = self._outside.helper if self._outside else None
            end = stack.enter_context(_end_of_story(helper))
            title, shut = self._plan.text.title, self._opened.shut
            with watchdog(self._limit_s, title, shut, helper, insists=True) as dog:
                self._in_time = dog.check
                stack.callback(setattr, self, "_in_time", _over)
                if self._few:
                    self._tape.take_no_descriptor()
                self._room()
                self._begin(fds if isinstance(self._outside, TrafficOutside) else [])
                with end.expected():
                    main_of_program(world, program, fds, self._plan.options)

    def _begin(self, connections: Iterable[int]) -> None:
        """The instant 0, on the clocks of all; the descriptors `connections` are there."""
        zero = clock() + START_NS
        if self._outside is not None:
            self._outside.begun(0)
            self._outside.begin(zero)
        while clock() < zero:
            pass
        self._tape.restart(zero, connections)
        self._zero = zero


def _await_end(thread: threading.Thread) -> None:
    """Until no code of it runs.

    Not `join`: in CPython up to 3.12 it takes a thread for ended as soon as Ctrl-C has interrupted
    a join of it (bpo-45274), which is how a program ends that joins threads that serve for ever.
    """
    until = clock() + round(JOIN_S * 1e9)
    while thread.ident in sys._current_frames():
        if clock() > until:
            words = f"{thread.name} of the program goes on after its run"
            warnings.warn(words, ResourceWarning, stacklevel=2)
            return
        time.sleep(LOOK_AGAIN_S)


def nothing() -> None:
    """The limit of what has not begun, or is no longer there."""


def _over() -> None:
    """The limit of what is left of a program that has ended: its process would be gone."""
    raise Expired


class InTime:
    """Ends the program at a call that comes after the limit, and gives it time to tidy up."""

    def __init__(self, check: Callable[[], None], opened: Opened) -> None:
        self._check, self._opened, self._again = check, opened, 0

    def before(self, what: str, fd: int | None, timeout: float | None) -> None:
        """`Expired` if time is up: once, and from half a second later on again."""
        self._look()
        self._opened.enter(self, what, fd)

    def _look(self) -> None:
        if clock() >= self._again:
            try:
                self._check()
            except BaseException:
                self._again = clock() + round(AGAIN_S * 1e9)
                raise

    def after(self, what: str, place: object, result: object) -> None:
        """What a call has met with that the end of the run has woken is not told."""
        self._opened.leave(self)
        if isinstance(result, OSError):
            self._look()


class CallsSeen(InTime):
    """Tells a gate of the calls that a recorder sees, as well: see `iosim.real.gate`."""

    def __init__(
        self, check: Callable[[], None], opened: Opened, gate: Gate | ServerGate, run: Run
    ) -> None:
        super().__init__(check, opened)
        self._gate, self._run = gate, run

    def before(self, what: str, fd: int | None, timeout: float | None) -> None:
        """It may sleep, unless its time-out is 0."""
        super().before(what, fd, timeout)
        timeout = None if timeout is not None and timeout < 0 else timeout  # for ever: poll(2)
        waits = timeout != 0
        limit = timeout if timeout and timeout < LONG_S else None
        self._gate.before(_request(what, fd, limit), waits and what != "sleep", waits)

    def after(self, what: str, place: object, result: Any) -> None:
        """What it has received counts."""
        super().after(what, place, result)
        error = result if isinstance(result, BaseException) else None
        if isinstance(error, TimeoutError):
            error = BlockingIOError(EAGAIN, "")  # it asked, for a while, and in vain
        if error is None and result and KINDS.get(what, ("", ""))[1] == RECEIVE:
            self._run.receipts.append(result)
        nothing = what in WAITING and not any(result) if error is None and result else False
        reply = [] if nothing or result == [] else result
        self._gate.after(_request(what, None, None), place, reply, error)  # type: ignore[arg-type]


LONG_S = 0.05  # a time-out that a message does not come too late for, once the call sleeps
WAITING = frozenset(("select", "poll", "epoll_wait"))
_kinds: dict[str, type] = {"sleep": calls.sleep}


def _request(what: str, fd: int | None, timeout: float | None) -> Any:
    """Stands for a request: its class, its descriptor and its time-out are looked at."""
    kind = _kinds.get(what)
    if kind is calls.sleep:
        return object.__new__(kind)
    if kind is None:
        kind = _kinds[what] = type(what, (SimpleNamespace,), {})
    return kind(fd=fd, timeout=timeout)


# -- the end -----------------------------------------------------------------------------------


class _EndOfStory:
    """Ends the program as by Ctrl-C, some time after its story is over; only in the main thread.

    It comes at most once, and not after the program's own end.
    """

    def __init__(self, helper: HelperProcess | None) -> None:
        in_main = threading.current_thread() is threading.main_thread()
        self.can_come = helper is not None and in_main
        if self.can_come and not callable(signal.getsignal(signal.SIGINT)):
            # Ignored, as in the background of a shell; what was there is restored.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self._lock, self._left = threading.Lock(), threading.Event()
        self._main, self._native = threading.get_ident(), threading.get_native_id()
        self._came = False
        if self.can_come:
            self._thread = threading.Thread(target=self._wait, args=(helper,), daemon=True)
            self._thread.start()

    def _wait(self, helper: HelperProcess) -> None:
        while not helper.says_something(LOOK_S):
            if self._left.is_set():
                return
        until, waits = clock() + GRACE_NS, 0
        while clock() < until and waits < LOOKS:
            if self._left.wait(LOOK_AGAIN_S):
                return
            waits = waits + 1 if waits_for_ever(self._main) and self._sleeps() else 0
        with self._lock:
            if not self._left.is_set():
                self._left.set()
                self._came = True
                signal.pthread_kill(self._main, signal.SIGINT)

    def _sleeps(self) -> bool:
        """Who has been woken is still in its call while it stands in line for a core, or the GIL.

        Where nobody knows (no /proc, no descriptor for it), it is believed to sleep.
        """
        sample = procfs.sample("self", self._native)
        return not sample[0] or procfs.in_a_call(*sample)

    @contextmanager
    def expected(self) -> Iterator[None]:
        """The body is the program: the KeyboardInterrupt that ends it is no error."""
        try:
            yield
            with self._lock:
                self._left.set()
        except BaseException as error:
            if not (self._came and consists_of(error, (KeyboardInterrupt,))):
                raise

    def stop(self) -> None:
        """On every way out."""
        with self._lock:
            self._left.set()
        if self.can_come:
            self._thread.join()


LOOK_S = 0.2  # between two looks whether the program has ended
LOOK_AGAIN_S = 0.001  # between two looks whether it waits for what will never come
LOOKS = 3  # that see so, before it is believed


@contextmanager
def _end_of_story(helper: HelperProcess | None) -> Iterator[_EndOfStory]:
    end = _EndOfStory(helper)
    try:
        yield end
    finally:
        end.stop()


@contextmanager
def _no_running_loop() -> Iterator[None]:
    """A notebook's own loop runs in this thread: the program may have another one."""
    running = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(running)


@contextmanager
def _handlers_restored() -> Iterator[None]:
    """No handler of a signal that the program has set outlasts it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signo: signal.getsignal(signo) for signo in signal.valid_signals()}
    try:
        yield
    finally:
        for signo, handler in before.items():
            if handler is not None and signal.getsignal(signo) is not handler:
                signal.signal(signo, handler)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Its pauses would look like the program's."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
