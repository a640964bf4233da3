"""What the survivor takes for granted of `selectors`, on every selector that exists here.

The tests bear the names of CPython's own (Lib/test/test_selectors.py), say what the survivor needs
of each rule, and wait for no clock longer than they must.  At the end CPython's run as well, where
the interpreter has brought them along.  What a listener and a reset look like is in `test_echo`.
"""

from __future__ import annotations

import importlib.util
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from unittest import mock

import pytest

from iosim.calibration.microbench import hard_limit, room
from iosim.echo import survivor
from iosim.machine.children import plain_environment

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
NAMES = "SelectSelector", "PollSelector", "EpollSelector", "DevpollSelector", "KqueueSelector"
KINDS = [kind for name in NAMES if (kind := getattr(selectors, name, None))]
UNKNOWN = 999_999  # the number of no descriptor
FD_SETSIZE = 1_024  # of glibc and most others: select(2)

posix = pytest.mark.skipif(os.name != "posix", reason="descriptors are POSIX's")
alarm = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no setitimer")

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest) -> type[selectors.BaseSelector]:
    return request.param


@pytest.fixture
def selector(kind: type[selectors.BaseSelector]) -> Iterator[selectors.BaseSelector]:
    with kind() as one:
        yield one


@pytest.fixture
def ends() -> Iterator[Pair]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


# --- register, unregister, modify -----------------------------------------------------------------


def test_register(selector: selectors.BaseSelector, ends: Pair) -> None:
    """A connection is one key, whatever it is called by."""
    one, _ = ends
    key = selector.register(one, READ, "anything")
    assert key == (one, one.fileno(), READ, "anything")
    for events in (0, UNKNOWN):
        with pytest.raises(ValueError, match="Invalid events"):
            selector.register(one, events)
    with pytest.raises(ValueError, match="Invalid file"):
        selector.register(-10, READ)
    for same in (one, one.fileno()):
        with pytest.raises(KeyError):
            selector.register(same, READ)


def test_unregister(selector: selectors.BaseSelector, ends: Pair) -> None:
    """Once: who is closed twice would take away what is another's by then."""
    one, _ = ends
    key = selector.register(one, READ)
    assert selector.unregister(one) == key
    for gone in (one, UNKNOWN):
        with pytest.raises(KeyError):
            selector.unregister(gone)
    assert selector.register(one, READ) == key


def test_unregister_after_fd_close(selector: selectors.BaseSelector, ends: Pair) -> None:
    numbers = [end.fileno() for end in ends]
    for number in numbers:
        selector.register(number, READ)
    for end in ends:
        end.close()
    for number in numbers:
        selector.unregister(number)
    assert not selector.get_map()


@posix
def test_unregister_after_fd_close_and_reuse(selector: selectors.BaseSelector, ends: Pair) -> None:
    """The number is another's already, who is not watched: nothing fails, nothing of it is told."""
    numbers = [end.fileno() for end in ends]
    for number in numbers:
        selector.register(number, READ)
    others = socket.socketpair()
    for end in ends:
        end.close()
    try:
        for other, number in zip(others, numbers, strict=True):
            os.dup2(other.fileno(), number)
        for number in numbers:
            selector.unregister(number)
        assert not selector.get_map()
        others[0].send(b"!")
        assert selector.select(0) == []
    finally:
        for number in numbers:
            os.close(number)
        for other in others:
            other.close()


def test_unregister_after_socket_close(selector: selectors.BaseSelector, ends: Pair) -> None:
    """By the object, which has lost its number: the wrong order, but it does no harm by itself."""
    for end in ends:
        selector.register(end, READ)
    for end in ends:
        end.close()
    for end in ends:
        selector.unregister(end)
    assert not selector.get_map()


def test_modify(selector: selectors.BaseSelector, ends: Pair) -> None:
    """From receiving to sending and back, with what is owed as the data."""
    one, other = ends
    selector.register(one, READ, b"")
    other.send(b"!")
    assert [mask for _, mask in selector.select(5)] == [READ]
    changed = selector.modify(one, WRITE, b"owed")
    assert changed == selector.get_key(one) == (one, one.fileno(), WRITE, b"owed")
    assert selector.select(5) == [(changed, WRITE)]
    again = selector.modify(one, WRITE, b"less")
    assert (again.events, again.data) == (WRITE, b"less")
    assert selector.get_key(one) == again
    with pytest.raises(KeyError):
        selector.modify(UNKNOWN, READ)


def test_modify_uses_a_shortcut(selector: selectors.BaseSelector, ends: Pair) -> None:
    """New data alone costs no call: the survivor modifies in every turn."""
    selector.register(ends[0], READ, 1)
    with (
        mock.patch.object(selector, "register") as register,
        mock.patch.object(selector, "unregister") as unregister,
    ):
        selector.modify(ends[0], READ, 2)
    register.assert_not_called()
    unregister.assert_not_called()
    assert selector.get_key(ends[0]).data == 2


# --- what it knows --------------------------------------------------------------------------------


def test_get_key(selector: selectors.BaseSelector, ends: Pair) -> None:
    key = selector.register(ends[0], READ, "anything")
    assert selector.get_key(ends[0]) is key
    with pytest.raises(KeyError):
        selector.get_key(UNKNOWN)


def test_get_map(selector: selectors.BaseSelector, ends: Pair) -> None:
    """A view, which follows what is registered, and cannot be written to."""
    one, _ = ends
    keys = selector.get_map()
    assert (len(keys), list(keys), one in keys) == (0, [], False)
    key = selector.register(one, READ, "anything")
    assert (len(keys), list(keys), list(keys.values())) == (1, [one.fileno()], [key])
    assert keys[one] == keys[one.fileno()] == key
    with pytest.raises(KeyError):
        keys[UNKNOWN]
    with pytest.raises(TypeError):
        del keys[one]  # type: ignore[attr-defined]


@pytest.mark.parametrize("by", ["close", "context_manager"])
def test_close(kind: type[selectors.BaseSelector], ends: Pair, by: str) -> None:
    """After which it knows nobody, and says so."""
    selector = kind()
    keys = selector.get_map()
    for end in ends:
        selector.register(end, READ)
    if by == "close":
        selector.close()
    else:
        with selector as itself:
            assert itself is selector
    assert selector.get_map() is None
    for end in ends:
        with pytest.raises(RuntimeError):
            selector.get_key(end)
        with pytest.raises(KeyError):
            keys[end]
    selector.close()  # once more does no harm


def test_fileno(selector: selectors.BaseSelector) -> None:
    """Those that are an object of the kernel have a descriptor, which their close gives back."""
    if not hasattr(selector, "fileno"):
        pytest.skip(f"{type(selector).__name__} has no descriptor of its own")
    number = selector.fileno()
    os.fstat(number)
    selector.close()
    with pytest.raises(OSError, match="ad file"):
        os.fstat(number)


# --- select ---------------------------------------------------------------------------------------


def test_select(selector: selectors.BaseSelector, ends: Pair) -> None:
    one, other = ends
    selector.register(one, READ)
    writable = selector.register(other, WRITE)
    assert selector.select() == [(writable, WRITE)]


def test_select_read_write(selector: selectors.BaseSelector, ends: Pair) -> None:
    """Both in one round; together, or (kqueue) as two entries of one key."""
    one, other = ends
    other.send(b"!")
    key = selector.register(one, READ | WRITE)
    found = selector.select()
    assert {registered for registered, _ in found} == {key}
    assert sum(mask for _, mask in found) == READ | WRITE


@pytest.mark.skipif(sys.platform == "win32", reason="select refuses three empty sets there")
def test_empty_select(selector: selectors.BaseSelector) -> None:
    assert selector.select(timeout=0) == []


def test_timeout(selector: selectors.BaseSelector, ends: Pair) -> None:
    """0 and less do not wait (poll(2) itself would wait for ever at less); more is waited for."""
    one, other = ends
    selector.register(other, WRITE)
    for timeout in (0, -1):
        assert len(selector.select(timeout)) == 1
    selector.unregister(other)
    selector.register(one, READ)
    for timeout in (0, -1):
        assert selector.select(timeout) == []
    start = time.monotonic()
    assert selector.select(0.05) == []
    assert time.monotonic() - start > 0.049


class InterruptSelectError(Exception):
    """What a handler raises."""


@pytest.fixture
def alarms() -> Iterator[list[int]]:
    """Rings in 50 ms, once; what the handler has heard.  It raises if the list begins with 0."""
    heard: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        if heard[0] == 0:
            raise InterruptSelectError

    before = signal.signal(signal.SIGALRM, handler)
    try:
        yield heard
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@alarm
def test_select_interrupt_exc(
    selector: selectors.BaseSelector, ends: Pair, alarms: list[int]
) -> None:
    """Ctrl-C without a handler of one's own comes out of it."""
    selector.register(ends[0], READ)
    alarms.append(0)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    with pytest.raises(InterruptSelectError):
        selector.select(60)


@alarm
def test_select_interrupt_noraise(
    selector: selectors.BaseSelector, ends: Pair, alarms: list[int]
) -> None:
    """A handler that only sets a flag, as `stop` does, does not end the wait (PEP 475)."""
    selector.register(ends[0], READ)
    start = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    assert selector.select(0.2) == []
    assert alarms == [signal.SIGALRM]
    assert time.monotonic() - start > 0.199


@posix
def test_above_fd_setsize(selector: selectors.BaseSelector, ends: Pair) -> None:
    """Only select has a bound on the *number* of a descriptor, and says so when it is asked."""
    import fcntl

    if hard_limit() <= FD_SETSIZE:
        pytest.skip(f"RLIMIT_NOFILE's hard limit, {hard_limit()}, has no room for {FD_SETSIZE}")
    one, other = ends
    with room(FD_SETSIZE):
        number = fcntl.fcntl(one, fcntl.F_DUPFD, FD_SETSIZE)
        try:
            key = selector.register(number, READ)
            other.send(b"!")
            if isinstance(selector, selectors.SelectSelector):
                with pytest.raises(ValueError, match="out of range in select"):
                    selector.select(5)
            else:
                assert selector.select(5) == [(key, READ)]
            selector.unregister(number)
        finally:
            os.close(number)


# --- the survivor itself --------------------------------------------------------------------------


def test_the_survivor_keeps_and_leaves_its_selector_so(
    kind: type[selectors.BaseSelector], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Registered is who is connected; who was closed is unknown; at the end it is closed."""
    monkeypatch.setattr(survivor, "DefaultSelector", kind)
    monkeypatch.setattr(survivor, "TICK", 0.01)
    server = survivor.EchoServer(grace=0.5)
    door = server.listener.fileno()
    keys = server.selector.get_map()
    assert [key.fileobj for key in keys.values()] == [server.listener]
    with socket.create_connection(server.listener.getsockname()):
        until = time.monotonic() + 20
        while not server.due and time.monotonic() < until:
            server.turn()
        [sock] = server.due
        assert {key.fileobj for key in keys.values()} == {server.listener, sock}
        number = sock.fileno()
        server.close(sock)
        with pytest.raises(KeyError):
            server.selector.get_key(number)
        assert [key.fileobj for key in keys.values()] == [server.listener]
        server.stop()
        server.run()
    assert server.selector.get_map() is None
    with pytest.raises(RuntimeError):
        server.selector.get_key(door)


# --- CPython's own cases --------------------------------------------------------------------------

#: Few descriptors: one of the cases takes as many as it may have.
CPYTHON = """
import sys, unittest
try:
    import resource
except ImportError:
    pass
else:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    few = 2_048 if hard == resource.RLIM_INFINITY else min(hard, 2_048)
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, few))
{first}
unittest.main("test.test_selectors", argv=["cpython", *sys.argv[1:]])
"""


def cpython(
    *cases: str, folder: Path, first: str = ""
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Run `cases` of CPython's test_selectors in another process, after the statement `first`."""
    if not all(importlib.util.find_spec(name) for name in ("test", "test.test_selectors")):
        pytest.skip("this interpreter came without test.test_selectors")
    command = [sys.executable, "-c", CPYTHON.format(first=first), *cases]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=100, check=False, cwd=folder,
        env=plain_environment(),  # unittest colours its words from Python 3.14 on
    )  # fmt: skip


def ran(told: str) -> int:
    """How many cases unittest says it ran."""
    found = re.search(r"^Ran (\d+) tests? in", told, flags=re.MULTILINE)
    return int(found[1]) if found else 0


def test_cpython_s_own_cases_hold_for_the_default_selector(tmp_path: Path) -> None:
    case = f"{selectors.DefaultSelector.__name__}TestCase"
    done = cpython(case, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^OK\b", done.stderr, flags=re.MULTILINE), done.stderr
    assert ran(done.stderr) > 15


@pytest.mark.parametrize(
    ("first", "case"),
    [
        ("import selectors as s; s.DefaultSelector.unregister = lambda *_: None", "unregister"),
        ("import selectors as s; s.DefaultSelector.modify = lambda self, f, *_: self.get_key(f)",
         "modify"),
        ("import selectors as s; s.DefaultSelector.close = lambda self: None", "close"),
    ],
)  # fmt: skip
def test_cpython_s_cases_see_a_planted_fault(tmp_path: Path, first: str, case: str) -> None:
    done = cpython(f"DefaultSelectorTestCase.test_{case}", folder=tmp_path, first=first)
    assert (done.returncode, ran(done.stderr)) == (1, 1), done.stderr
    assert f"FAIL: test_{case} " in done.stderr
