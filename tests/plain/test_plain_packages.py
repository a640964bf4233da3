"""Installed packages in plain code: those in Python stand on both kernels; else no call is real."""

from __future__ import annotations

import itertools
import socket
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from iosim import clients, measure, simulate
from iosim.plain.run import NotSimulated
from iosim.plain.simulate import run_plain

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux's sockets are simulated")

Install = Callable[..., Any]
numbers = itertools.count()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """A module, as pip would install it, of a name that no other test has; `in_c`: partly in C."""
    packages = tmp_path / "site-packages"
    packages.mkdir()
    monkeypatch.syspath_prepend(str(packages))
    made: list[str] = []

    def write(text: str, in_c: bool = False) -> str:
        name = f"installed_{next(numbers)}"
        (packages / f"{name}.py").write_text(text, encoding="utf-8")
        made.append(name)
        if in_c:
            part = types.ModuleType(f"{name}.part")
            part.__file__ = f"{packages}/part.so"
            monkeypatch.setitem(sys.modules, part.__name__, part)
        return name

    yield write
    for name in made:
        sys.modules.pop(name, None)


EXACT = """
import socket as _stdlib_socket


class Stream:
    def __init__(self, sock):
        if type(sock) is not _stdlib_socket.socket:
            raise TypeError(f"expected object of type 'socket.socket', not {type(sock).__name__!r}")
        self._sock = sock

    def echo(self):
        data = self._sock.recv(100)
        self._sock.sendall(data)
        return data
"""


@pytest.mark.parametrize("front", [measure, simulate])
def test_a_package_that_asks_for_the_exact_type_of_a_socket(install: Install, front: Any) -> None:
    """As trio does; what it calls is seen, too."""
    exact = __import__(install(EXACT))

    def program(listener: socket.socket) -> None:
        for one in (listener, socket.socketpair()[0]):
            exact.Stream(one)
        stream = exact.Stream(listener.accept()[0])
        while stream.echo():
            pass

    run = front(program, clients.of(clients.echo(1, 10)))
    assert {"recvfrom", "sendto"} <= {call.name for call in run.call_log}
    assert run.visits[0].received == 10


def test_a_lock_that_can_be_taken_again_is_of_thread_as_everywhere() -> None:
    """trio asks: one that is written in Python is not safe in a signal's handler."""

    def program() -> Any:
        lock = threading.RLock()
        with lock, lock:
            assert lock.acquire(blocking=False)
            lock.release()
            other = threading.Thread(target=lambda: said.append(lock.acquire(blocking=False)))
            other.start()
            other.join()
        with pytest.raises(RuntimeError):
            lock.release()
        said.append(type(lock).__module__)

    said: list[Any] = []
    simulate(program)
    assert said == [False, "_thread"]


HOLDS = """
from socket import create_connection, create_server, socket
from select import poll

calls = 0


def ask(address):
    global calls
    calls += 1
    with create_connection(address) as one:
        one.sendall(b"from a package")
        asks = poll()
        asks.register(one)
        return calls, asks.poll(0)
"""


def test_what_a_package_has_imported_is_what_the_run_has(install: Install) -> None:
    holds = __import__(install(HOLDS))

    def program() -> Any:
        listener = socket.create_server(("127.0.0.1", 0))
        told = holds.ask(listener.getsockname())
        return (*told, listener.accept()[0].recv(100))

    for _ in range(2):  # it is new in each run
        outcome = run_plain(program)
        assert outcome.error is None, outcome.error
        calls, ready, received = outcome.returned
        assert (calls, len(ready), received) == (1, 1, b"from a package")
        assert {"connect", "sendto", "poll"} <= {call.name for call in outcome.call_log}
    assert holds.calls == 0


def test_a_package_may_be_imported_in_the_run(install: Install) -> None:
    name = install(HOLDS)

    def program() -> Any:
        module = __import__(name)
        return module.ask(("127.0.0.1", 9))

    with pytest.raises(ConnectionRefusedError):
        simulate(program)
    assert sys.modules[name].calls == 0


def test_a_package_that_imports_what_is_refused_is_told_when_it_uses_it(install: Install) -> None:
    text = """
import socket
import ssl

try:
    from ssl import SSLContext
except ImportError:
    SSLContext = None


def encrypts():
    return ssl.create_default_context()
"""
    module = __import__(install(text))
    with pytest.raises(NotSimulated, match=r"ssl\.create_default_context: TLS is not simulated"):
        simulate(lambda: module.encrypts())


CATCHES = """

def catches(address):
    try:
        return ask(address)
    except Exception:
        raise OSError("no luck")
"""


def test_a_real_call_is_refused_in_one_line_that_names_it(install: Install) -> None:
    """Of a package that cannot be executed anew, whatever it makes of the error."""
    name = install(
        HOLDS + CATCHES + "\n\ndef starts(): __import__('os').system('false')", in_c=True
    )
    module = __import__(name)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        address = listener.getsockname()
        for program, call in (
            (lambda: module.ask(address), r"socket\.getaddrinfo"),
            (lambda: module.catches(address), r"socket\.getaddrinfo"),
            (lambda: module.starts(), r"os\.system"),
        ):
            words = f"^{name} makes real calls: {call} is not simulated$"
            with pytest.raises(NotSimulated, match=words):
                simulate(program)
        with pytest.raises(BlockingIOError):
            listener.accept()
    with module.socket() as one:  # outside of a run
        assert one.fileno() >= 0


def test_a_thread_of_the_program_is_refused_real_calls(install: Install) -> None:
    name = install(HOLDS, in_c=True)
    module = __import__(name)

    def program() -> None:
        threading.Thread(target=module.ask, args=(("127.0.0.1", 9),)).start()

    with pytest.raises(NotSimulated, match=f"^{name} makes real calls: "):
        simulate(program)


def test_a_module_of_the_library_that_the_program_uses_is_named() -> None:
    import webbrowser

    def program() -> None:
        webbrowser.GenericBrowser("true").open("nowhere")

    with pytest.raises(NotSimulated, match=r"^webbrowser\.GenericBrowser: .* is not simulated"):
        simulate(program)


def test_nobody_is_asked_for_the_name_of_this_machine(install: Install) -> None:
    """As the library's HTTP server does."""
    module = __import__(install(HOLDS, in_c=True))  # from now on a real call is noticed

    def program() -> Any:
        assert module.calls == 0
        names = socket.getfqdn("127.0.0.1"), socket.gethostbyname("localhost")
        return *names, socket.gethostbyname_ex("127.0.0.1")

    outcome = run_plain(program)
    assert outcome.error is None, outcome.error
    assert outcome.returned == ("localhost", "127.0.0.1", ("localhost", [], ["127.0.0.1"]))


def test_real_calls_of_others_are_theirs_meanwhile(install: Install) -> None:
    """Of another thread, and of a module while it is imported."""
    imported = install("import socket\nsocket.socket().close()\nopen_ = socket.socket().fileno()")
    asked, made = threading.Event(), threading.Event()

    def another() -> None:
        asked.wait()
        socket.socket().close()
        made.set()

    wait, tell = made.wait, asked.set  # the real ones
    held = types.SimpleNamespace(wait=lambda: (tell(), wait()))
    thread = threading.Thread(target=another)
    thread.start()

    def program() -> Any:
        __import__(imported)
        return REAL["held"].wait()

    REAL["held"] = held
    try:
        simulate(program)
    finally:
        asked.set()
        thread.join()
    assert made.is_set()


REAL: dict[str, Any] = {}


def test_ctrl_c_may_come_in_a_group() -> None:
    """As a nursery of trio raises it."""

    def program(listener: socket.socket) -> None:
        try:
            while True:
                with listener.accept()[0] as one:
                    one.sendall(one.recv(100))
        except KeyboardInterrupt as error:
            raise BaseExceptionGroup("a nursery", [error]) from None

    story = clients.of(clients.echo(1, 10))
    for front in (simulate, measure):
        assert front(program, story).visits[0].received == 10

    def raises() -> None:
        raise BaseExceptionGroup("of its own", [KeyboardInterrupt(), ValueError()])

    with pytest.raises(BaseExceptionGroup, match="of its own"):
        simulate(raises)
