"""What Python's modules answer at their edges: simulated, as on this machine."""

import os
import select
import selectors
import signal
import socket
from collections.abc import Callable
from typing import Any

import pytest

from iosim.plain.simulate import run_plain

pytestmark = [pytest.mark.real, pytest.mark.skipif(os.name != "posix", reason="signals, poll")]


def an_option_of_a_listener() -> list[bool]:
    told = []
    with socket.socket() as sock:
        for go_on in (lambda: sock.bind(("127.0.0.1", 0)), sock.listen):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            go_on()
            told.append(bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)))
    with socket.create_server(("127.0.0.1", 0)) as server:
        told.append(bool(server.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)))
    return told


def an_option_of_who_connects() -> bool:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.connect(server.getsockname())
        return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))


def an_option_that_is_none() -> None:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, 9_999, 1)


def what_is_pending() -> list[set[int]]:
    before = signal.signal(signal.SIGUSR1, lambda signo, frame: None)
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        signal.raise_signal(signal.SIGUSR1)  # to this thread: kill(2) may give it to another one
        held = signal.sigpending()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
        return [held, signal.sigpending()]
    finally:
        signal.signal(signal.SIGUSR1, before)


def a_handler_in_itself() -> list[int]:
    """CPython's own handler has returned when that in Python runs: nothing is held back."""
    running, depths = list[int](), list[int]()

    def handler(signo: int, frame: object) -> None:
        running.append(signo)
        depths.append(len(running))
        if len(depths) < 5:
            signal.raise_signal(signo)
        running.pop()

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    return depths


def what_a_handler_is_given() -> list[str]:
    told: list[str] = []
    before = signal.signal(signal.SIGALRM, lambda signo, frame: told.append(repr(signo)))
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-3)
        signal.pause()
    finally:
        signal.signal(signal.SIGALRM, before)
    return told


def a_handler_of(signo: int) -> Callable[[], object]:
    return lambda: signal.signal(signo, signal.SIG_IGN)


def a_port(port: int, does: str) -> Callable[[], object]:
    def program() -> None:
        with socket.socket() as sock:
            getattr(sock, does)(("127.0.0.1", port))

    return program


def to_select() -> object:
    return select.select([object()], [], [], 0)  # type: ignore[list-item]


def to_poll() -> object:
    return select.poll().register(object())  # type: ignore[arg-type]


def to_a_selector() -> object:
    with selectors.DefaultSelector() as selector:
        return selector.register(object(), selectors.EVENT_READ)  # type: ignore[arg-type]


def outcome(program: Callable[[], Any]) -> Any:
    try:
        return program()
    except Exception as error:
        return type(error), getattr(error, "errno", None)


@pytest.mark.parametrize(
    "program",
    [
        an_option_of_a_listener, an_option_of_who_connects, an_option_that_is_none,
        what_is_pending, what_a_handler_is_given, a_handler_in_itself,
        *map(a_handler_of, (signal.SIGKILL, signal.SIGSTOP, 0, 99)),
        *(a_port(port, does) for port in (-1, 70_000) for does in ("bind", "connect")),
        to_select, to_poll, to_a_selector,
    ],
)  # fmt: skip
def test_it_is_alike(program: Callable[[], Any]) -> None:
    assert run_plain(lambda: outcome(program)).returned == outcome(program)
