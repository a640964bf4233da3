"""The calls: what they are, and one line for everything that they are not."""

from __future__ import annotations

import gc
import inspect
import math
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from iosim import calls, clients, futures, jobs, models, simulate, traffic
from iosim.calls import Program, Request, compute, recvfrom, select, sleep
from iosim.calls.request import OfDescriptor
from iosim.trace import errno_name

HUGE = 10**30
ONE = traffic.one()

BAD_CALLS = [
    (lambda: recvfrom(-1, 10), ValueError, "recvfrom: fd must be from 0 to 1,048,576"),
    (lambda: recvfrom("3", 10), TypeError, "recvfrom: fd must be a whole number of (a descriptor)"),
    (lambda: recvfrom(3, 0), ValueError, "recvfrom: size must be from 1 to 1,073,741,824 bytes"),
    (lambda: recvfrom(3, math.nan), TypeError, "recvfrom: size must be a whole number of bytes"),
    (lambda: recvfrom(3, 1, 1 << 20), ValueError, "recvfrom: flags must be from 0 to"),
    (lambda: sleep(-1), ValueError, "sleep: ns must be from 0 to 3,600,000,000,000 ns, got -1"),
    (lambda: sleep(0.5), TypeError, "sleep: ns must be a whole number of ns, got 0.5"),
    (lambda: compute(0), ValueError, "compute: ns must be from 1 to"),
    (lambda: compute(HUGE), ValueError, "compute: ns must be from 1 to"),
    (lambda: select([3], -1), ValueError, "select: timeout must be from 0 to"),
    (lambda: select([-3]), ValueError, "select: fd must be from 0 to"),
    (lambda: calls.poll([3], 1.5), TypeError, "poll: timeout must be a whole number of ns"),
    (lambda: calls.fcntl(3, 99, 0), ValueError, "fcntl: cmd must be F_SETFL, F_SETOWN or"),
    (lambda: calls.setsockopt(3, 1, 0), ValueError, "setsockopt: option must be SO_RCVTIMEO"),
    (lambda: calls.epoll_ctl(3, 9, 4), ValueError, "epoll_ctl: op must be EPOLL_CTL_ADD or"),
    (lambda: calls.epoll_wait(3, 0), ValueError, "epoll_wait: maxevents must be from 1 to"),
    (lambda: calls.sigaction(0, print), ValueError, "sigaction: signal must be from 1 to 64"),
    (lambda: calls.sigaction(9, 9), TypeError, "sigaction: handler must be a program, got 9"),
    (lambda: calls.sigprocmask(7, [1]), ValueError, "sigprocmask: how must be SIG_BLOCK or"),
    (lambda: calls.sigtimedwait([99]), ValueError, "sigtimedwait: signal must be from 1 to"),
    (lambda: calls.io_uring_setup(0), ValueError, "io_uring_setup: entries must be from 1"),
    (lambda: calls.io_uring_setup(8, 2), ValueError, "io_uring_setup: flags are made of"),
    (lambda: calls.io_uring_submit(3, 4, 0), ValueError, "io_uring_submit: size must be"),
    (lambda: calls.aio_read(3, 0), ValueError, "aio_read: size must be from 1 to"),
    (lambda: calls.aio_read(3, 1, 99), ValueError, "aio_read: signal must be from 1 to 64"),
    (lambda: calls.aio_error(0), ValueError, "aio_error: block must be from 1 to"),
    (lambda: calls.aio_return("1"), TypeError, "aio_return: block must be a whole number"),
]


@pytest.mark.parametrize(("make", "error", "line"), BAD_CALLS)
def test_a_bad_call_gets_one_line(make: Any, error: type, line: str) -> None:
    with pytest.raises(error) as caught:
        make()
    assert line in str(caught.value)


HOUR = 3_600_000_000_000
MOST_FD, MOST_BYTES = 1 << 20, 1 << 30


def quiet(value: Any) -> Program:
    """Takes anything, does nothing: a handler, a callback, a thread."""
    yield sleep(1)


#: Each number of each call, with the least and the most that it may be.
BOUNDS: dict[str, tuple[Callable[[int], Request], int, int]] = {
    "aio_error block": (calls.aio_error, 1, MOST_BYTES),
    "aio_read signo": (lambda n: calls.aio_read(0, 1, n), 1, 64),
    "aio_read size": (lambda n: calls.aio_read(0, n), 1, MOST_BYTES),
    "aio_return block": (calls.aio_return, 1, MOST_BYTES),
    "apply job": (futures.apply, 1, 1_000_000),
    "call job": (futures.call, 1, 1_000_000),
    "close fd": (calls.close, 0, MOST_FD),
    "compute ns": (compute, 1, HOUR),
    "connect port": (lambda n: calls.connect(0, n), 1, 65_535),
    "done future": (futures.done, 1, 1_000_000),
    "epoll_ctl epfd": (lambda n: calls.epoll_ctl(n, 1, 0), 0, MOST_FD),
    "epoll_ctl events": (lambda n: calls.epoll_ctl(0, 1, 0, n), 0, (1 << 32) - 1),
    "epoll_ctl fd": (lambda n: calls.epoll_ctl(0, 2, n), 0, MOST_FD),
    "epoll_ctl op": (lambda n: calls.epoll_ctl(0, n, 0), 1, 3),
    "epoll_wait epfd": (calls.epoll_wait, 0, MOST_FD),
    "epoll_wait maxevents": (lambda n: calls.epoll_wait(0, n), 1, 1 << 20),
    "epoll_wait timeout": (lambda n: calls.epoll_wait(0, 1, n), 0, HOUR),
    "eventfd initval": (calls.eventfd, 0, (1 << 32) - 1),
    "fcntl arg": (lambda n: calls.fcntl(0, calls.F_SETFL, n), 0, 0o24000),
    "io_uring_enter ring": (calls.io_uring_enter, 0, MOST_FD),
    "io_uring_peek_cqe ring": (calls.io_uring_peek_cqe, 0, MOST_FD),
    "io_uring_prep_accept fd": (lambda n: calls.io_uring_prep_accept(0, n), 0, MOST_FD),
    "io_uring_prep_recv ring": (lambda n: calls.io_uring_prep_recv(n, 0, 1), 0, MOST_FD),
    "io_uring_prep_recv size": (lambda n: calls.io_uring_prep_recv(0, 0, n), 1, MOST_BYTES),
    "io_uring_setup entries": (calls.io_uring_setup, 1, 4_096),
    "io_uring_setup flags": (lambda n: calls.io_uring_setup(8, n), 0, 0x3000),
    "io_uring_submit fd": (lambda n: calls.io_uring_submit(0, n, 1), 0, MOST_FD),
    "io_uring_submit ring": (lambda n: calls.io_uring_submit(n, 0, 1), 0, MOST_FD),
    "io_uring_submit size": (lambda n: calls.io_uring_submit(0, 0, n), 1, MOST_BYTES),
    "io_uring_submit_and_wait ring": (calls.io_uring_submit_and_wait, 0, MOST_FD),
    "kevent adds": (lambda n: calls.kevent(0, (0, n)), 0, MOST_FD),
    "kevent kq": (calls.kevent, 0, MOST_FD),
    "kevent nevents": (lambda n: calls.kevent(0, (), n), 1, 1 << 20),
    "kevent timeout": (lambda n: calls.kevent(0, (), 1, n), 0, HOUR),
    "listen backlog": (lambda n: calls.listen(0, n), 0, 4_096),
    "poll fds": (lambda n: calls.poll([0, n]), 0, MOST_FD),
    "poll timeout": (lambda n: calls.poll([], n), 0, HOUR),
    "pthread_join thread": (calls.pthread_join, 1, 1_000_000),
    "read size": (lambda n: calls.read(0, n), 1, MOST_BYTES),
    "recvfrom fd": (lambda n: recvfrom(n, 1), 0, MOST_FD),
    "recvfrom flags": (lambda n: recvfrom(0, 1, n), 0, 0x42),
    "recvfrom size": (lambda n: recvfrom(0, n), 1, MOST_BYTES),
    "result future": (futures.result, 1, 1_000_000),
    "result timeout": (lambda n: futures.result(1, n), 0, HOUR),
    "select fds": (lambda n: select([0, n]), 0, MOST_FD),
    "select timeout": (lambda n: select([], n), 0, HOUR),
    "select writefds": (lambda n: select([], None, [n]), 0, MOST_FD),
    "setsockopt ns": (lambda n: calls.setsockopt(0, calls.SO_RCVTIMEO, n), 0, HOUR),
    "shutdown how": (lambda n: calls.shutdown(0, n), 0, 2),
    "sigaction signo": (lambda n: calls.sigaction(n, quiet), 1, 64),
    "sigprocmask how": (lambda n: calls.sigprocmask(n, []), 0, 1),
    "sigprocmask signals": (lambda n: calls.sigprocmask(0, [1, n]), 1, 64),
    "sigtimedwait signals": (lambda n: calls.sigtimedwait([1, n]), 1, 64),
    "sigtimedwait timeout": (lambda n: calls.sigtimedwait([], n), 0, HOUR),
    "sleep ns": (sleep, 0, HOUR),
    "submit job": (futures.submit, 1, 1_000_000),
    "submit room": (lambda n: futures.submit(1, None, n), 1, 1_000_000),
    "add_done_callback future": (lambda n: futures.add_done_callback(n, quiet), 1, 1_000_000),
    "wait futures": (lambda n: futures.wait([1, n]), 1, 1_000_000),
    "wait timeout": (lambda n: futures.wait([], n), 0, HOUR),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_a_number_works_at_its_bounds_and_is_refused_beyond_them(name: str) -> None:
    """In words that name the call, whose first one it is."""
    make, least, most = BOUNDS[name]
    for value in (least, most):
        assert type(make(value)).__name__ == name.split()[0]
    for value in (least - 1, most + 1):
        with pytest.raises(ValueError, match=f"^{name.split()[0]}: "):
            make(value)


#: Each call of a descriptor, with what else it must be given.
OF_DESCRIPTOR: dict[str, tuple[Any, ...]] = {
    "accept": (), "aio_read": (1,), "close": (), "connect": (1,), "fcntl": (calls.F_SETFL, 0),
    "getsockname": (), "getsockopt": (), "listen": (), "read": (1,), "recvfrom": (1,),
    "recvmsg": (1,), "send": (b"x",), "setsockopt": (calls.SO_RCVTIMEO, 0), "shutdown": (),
    "write": (b"x",),
}  # fmt: skip


def test_a_descriptor_is_checked_in_each_call_of_one() -> None:
    kinds = {
        name: kind
        for name in calls.__all__
        if isinstance(kind := getattr(calls, name), type) and issubclass(kind, OfDescriptor)
    }
    assert kinds.keys() == OF_DESCRIPTOR.keys()
    for name, kind in kinds.items():
        for fd in (0, MOST_FD):
            assert kind(fd, *OF_DESCRIPTOR[name]).fd == fd
        for fd in (-1, MOST_FD + 1):
            with pytest.raises(ValueError, match=f"^{name}: fd must be from 0 to 1,048,576"):
                kind(fd, *OF_DESCRIPTOR[name])


#: What a call may do: wait for data (w), or sleep only (s), also if it is O_NONBLOCK (capital);
#: ask to be told later (a); and whether it enters the kernel (k), at the price of a call (p).
TRAITS = {
    "accept": "wkp", "add_done_callback": "Skp", "aio_error": "p", "aio_read": "akp",
    "aio_return": "p", "apply": "Wkp", "apply_async": "Sakp", "call": "Nk", "close": "kp",
    "compute": "p", "connect": "Skp", "done": "p", "epoll_create": "kp", "epoll_ctl": "kp",
    "epoll_wait": "Wkp", "eventfd": "kp", "fcntl": "kp", "get": "Wkp", "getpid": "kp",
    "getsockname": "kp", "getsockopt": "kp", "io_uring_enter": "Wkp", "io_uring_peek_cqe": "p",
    "io_uring_prep_accept": "ap", "io_uring_prep_recv": "ap", "io_uring_prep_send": "ap",
    "io_uring_setup": "kp", "io_uring_submit": "akp", "io_uring_submit_and_wait": "Wkp",
    "kevent": "Wkp", "kqueue": "kp", "listen": "kp", "memfd_create": "kp", "pause": "Wkp",
    "pipe": "kp", "poll": "Wkp", "pthread_create": "kp", "pthread_join": "Skp", "read": "wkp",
    "ready": "p", "recvfrom": "wkp", "recvmsg": "wkp", "result": "Wkp", "select": "Wkp",
    "send": "skp", "setsockopt": "kp", "shutdown": "kp", "sigaction": "kp", "sigprocmask": "kp",
    "sigtimedwait": "Wkp", "sleep": "Skp", "socket": "kp", "submit": "Sakp", "wait": "Wkp",
    "write": "skp",
}  # fmt: skip


def traits(made: Request) -> str:
    """The same, asked of a call; N: it waits, but what it does is one's own code."""
    waits, sleeps = ([asked(flag) for flag in (False, True)] for asked in (made.waits, made.sleeps))
    words = {(True, True): "W", (True, False): "w", (False, False): ""}
    told = words[waits[0], waits[1]]
    if waits != sleeps:
        told = "N" if told else words[sleeps[0], sleeps[1]].replace("W", "S").replace("w", "s")
    return told + "a" * made.arms + "k" * made.trap + "p" * made.enters


def one_of(kind: type[Request]) -> Request:
    """A call of that kind."""
    name = kind.__name__
    if name in OF_DESCRIPTOR:
        return kind(0, *OF_DESCRIPTOR[name])
    if made := [
        make(least) for each, (make, least, _) in BOUNDS.items() if each.split()[0] == name
    ]:
        return made[0]
    others: dict[str, tuple[Any, ...]] = {
        "apply_async": (1,), "get": (1,), "ready": (1,), "io_uring_prep_send": (0, 0, b"x"),
        "pthread_create": (quiet(0),),
    }  # fmt: skip
    return kind(*others.get(name, ()))


def test_each_call_says_whether_it_waits_or_sleeps_and_what_it_costs() -> None:
    kinds = {getattr(home, name) for home in (calls, futures) for name in home.__all__}
    found = {
        kind.__name__: traits(one_of(kind))
        for kind in kinds
        if isinstance(kind, type) and issubclass(kind, Request) and kind is not Request
    }
    assert found == TRAITS


def test_calls_and_stories_are_small() -> None:
    """A run makes a million of them: none has a dictionary of its own."""
    one, job = clients.script(), jobs.computing(1)
    values: list[Any] = [ONE, ONE.messages[0], one, clients.of(one), job, jobs.of(job)]
    values += [one_of(getattr(futures if hasattr(futures, name) else calls, name))
               for name in TRAITS]  # fmt: skip
    assert [value for value in values if hasattr(value, "__dict__")] == []


def test_what_changes_whether_a_call_waits() -> None:
    """A time-out of 0, MSG_DONTWAIT, a bound of the queue; and O_ASYNC, which asks to be told."""
    for make in (calls.poll, select, lambda fds, timeout: calls.epoll_wait(0, 1, timeout)):
        assert [make([], timeout).waits(False) for timeout in (None, 1, 0)] == [True, True, False]
    for timeout, waits in ((None, True), (1, True), (0, False)):
        made = futures.result(1, timeout)
        assert (made.waits(False), made.sleeps(False)) == (waits, True)
    for flags, waits in ((0, True), (calls.MSG_PEEK, True), (calls.MSG_DONTWAIT, False)):
        assert recvfrom(0, 1, flags).waits(False) == waits
    assert traits(calls.send(0, b"x", calls.MSG_DONTWAIT)) == "kp"
    assert traits(futures.submit(1, room=1)) == "Wakp"
    for arg, arms in ((calls.O_ASYNC, True), (calls.O_NONBLOCK, False)):
        assert calls.fcntl(0, calls.F_SETFL, arg).arms == arms
    assert not calls.fcntl(0, calls.F_SETSIG, calls.O_ASYNC).arms
    assert (select([3, 4], None, [5]).listed, calls.poll({3: 1}).listed, recvfrom(3, 1).listed) == (
        2, 1, 0,
    )  # fmt: skip


def test_every_module_s_calls_are_offered() -> None:
    rooms = {name: room for name, room in vars(calls).items() if inspect.ismodule(room)}
    assert {"aio", "pipes", "uring", "sockets"} <= rooms.keys()
    assert {"close", "eventfd", "io_uring_setup", "pthread_join"} <= set(calls.__all__)
    for name, room in rooms.items():
        if name not in ("futures", "request"):  # which have a door of their own, and none
            assert set(room.__all__) <= set(calls.__all__), name


@pytest.mark.parametrize("name", BOUNDS)
def test_a_call_is_itself_and_no_other_one_of_the_same_numbers(name: str) -> None:
    """It is made once, and may be yielded twice: what is kept of it is kept by identity."""
    make, least, _ = BOUNDS[name]
    assert len({make(least), make(least)}) == 2


def test_no_number_of_a_call_is_left_out() -> None:
    """But those that are one of few constants."""
    chosen = {"fcntl cmd", "getsockopt option", "setsockopt option", "send flags"}
    kinds = {getattr(home, name) for home in (calls, futures) for name in home.__all__}
    numbers = {
        f"{kind.__name__} {name}"
        for kind in kinds if isinstance(kind, type) and issubclass(kind, Request)
        for name, type_ in inspect.get_annotations(kind).items() if type_ in ("int", "int | None")
    } - {"Request number"}  # fmt: skip
    assert numbers - chosen - set(BOUNDS) == set()


def test_a_call_that_outlives_the_names_of_its_module_is_no_complaint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At the end of Python they are None, and some calls are still there."""
    call = recvfrom(3, 10)
    monkeypatch.setattr("iosim.calls.request.never_yielded", None)
    del call  # an exception here would be a warning, which is an error


def test_what_was_refused_was_not_made() -> None:
    """Who catches the error of a wrong argument has forgotten nothing."""

    def careful(fd: int, nbytes: int) -> Program:
        with pytest.raises(ValueError, match="size"):
            recvfrom(fd, 0)
        yield recvfrom(fd, 10)

    simulate(careful, ONE)


def test_each_thread_is_told_of_its_own_program_s_calls() -> None:
    """A right run in another thread is not blamed, and does not hide what this one forgot."""
    blamed: list[Exception] = []

    def right() -> None:
        try:
            simulate(models.blocking, ONE)
        except RuntimeError as error:
            blamed.append(error)

    def forgetful(fd: int, nbytes: int) -> Program:
        recvfrom(fd, 10)
        other = threading.Thread(target=right)
        other.start()
        other.join()
        yield recvfrom(fd, 10)

    with pytest.raises(RuntimeError, match="was made but never yielded"):
        simulate(forgetful, ONE)
    assert blamed == []


def test_a_program_is_not_blamed_for_the_garbage_of_another() -> None:
    """A cycle goes when the collector comes, which may be in the middle of another run."""

    def make_garbage() -> None:
        cycle: list[object] = [recvfrom(3, 10)]
        cycle.append(cycle)

    def collects(fd: int, nbytes: int) -> calls.Program:
        data = yield recvfrom(fd, nbytes)
        gc.collect()
        yield sleep(1)
        return data

    gc.disable()  # it shall come in the middle, not before
    try:
        make_garbage()
        assert simulate(collects, ONE).calls() == [("recvfrom", None), ("sleep", None)]
    finally:
        gc.enable()


def test_a_call_with_wrong_arguments_leaves_nothing_that_complains(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    complaints: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    with pytest.raises(TypeError, match="missing 2 required positional arguments"):
        recvfrom()  # type: ignore[call-arg]
    gc.collect()
    assert not complaints


def test_a_value_may_be_yielded_again_and_kept() -> None:
    pause = sleep(1_000)

    def twice(fd: int, nbytes: int) -> calls.Program:
        yield pause
        yield pause

    assert [name for name, _ in simulate(twice, ONE).calls()] == ["sleep", "sleep"]


def test_names_and_units() -> None:
    assert (calls.ms(1.5), calls.us(2)) == (1_500_000, 2_000)
    assert (errno_name(11), errno_name(None), errno_name(9_999)) == ("EAGAIN", "", "errno 9999")
