"""The exercises: right answers pass; each wrong one is refused, with its diagnosis."""

import contextlib
import errno
import io
import json
import os
import queue
import select
import selectors
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from wrong_answers import WRONG

from iosim.exercises import EXERCISES, check, on_this_machine
from iosim.exercises.loop import EventLoop
from iosim.hunting import search

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="epoll, SIGIO: Linux's are simulated"
)

SEEDS = range(20)
BOUND_S = 3.0  # of CPU time, on a machine that does a million additions in so many seconds:
ADDITIONS_S = 0.05


def slowness() -> float:
    """How many times as long they take here, now: a host that others use too varies by three."""
    begun, total = time.process_time(), 0
    while total < 1_000_000:
        total += 1
    return (time.process_time() - begun) / ADDITIONS_S


# -- right ones, in another style ------------------------------------------------------------------


def by_waitall(sock: Any, n: int) -> bytes:
    """With a buffer that is filled."""
    buffer = bytearray(n)
    view = memoryview(buffer)
    while view:
        count = sock.recv_into(view)
        if count == 0:
            raise EOFError
        view = view[count:]
    return bytes(buffer)


def by_file(sock: Any, n: int) -> bytes:
    """byte by byte: slow, and right."""
    data = [sock.recv(1) for _ in range(n)]
    if b"" in data:
        raise EOFError
    return b"".join(data)


def made_blocking(sock: Any, data: bytes) -> None:
    sock.setblocking(True)
    sock.sendall(data)


def by_a_selector(sock: Any, data: bytes) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_WRITE)
        while data:
            selector.select()
            with contextlib.suppress(BlockingIOError):
                data = data[sock.send(data) :]


def by_readers(sock: Any) -> list[bytes]:
    def exactly(size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = sock.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    messages = []
    with contextlib.suppress(EOFError):
        while True:
            messages.append(exactly(int.from_bytes(exactly(2), "big")))
    return messages


def by_makefile(sock: Any) -> list[bytes]:
    messages = []
    with sock.makefile("rb") as stream:
        while header := stream.read(2):
            messages.append(stream.read(int.from_bytes(header, "big")))
    return messages


def by_dontwait_and_naps(sock: Any) -> bytes:
    sock.setblocking(True)
    while True:
        with contextlib.suppress(BlockingIOError):
            data: bytes = sock.recv(100, socket.MSG_DONTWAIT)
            return data
        time.sleep(0.018)


def by_a_clock(sock: Any) -> bytes:
    next_look = time.monotonic()
    while True:
        with contextlib.suppress(BlockingIOError):
            data: bytes = sock.recv(100)
            return data
        next_look += 0.025
        time.sleep(max(0, next_look - time.monotonic()))


def in_threads(listener: Any) -> None:
    import threading

    def serve(connection: Any) -> None:
        with connection:
            while data := connection.recv(100):
                connection.sendall(data)

    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],)).start()


async def in_asyncio(listener: Any) -> None:
    import asyncio

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, sock=listener)
    async with server:
        await server.serve_forever()


def edge_again(listener: Any) -> None:
    """EPOLL_CTL_MOD asks anew: who is not drained is told again."""
    listener.setblocking(False)
    of_fd: dict[int, Any] = {}
    events = select.EPOLLIN | select.EPOLLET
    with select.epoll() as epoll:
        epoll.register(listener, select.EPOLLIN)
        while True:
            for fd, _ in epoll.poll():
                if fd == listener.fileno():
                    connection, _ = listener.accept()
                    of_fd[connection.fileno()] = connection
                    epoll.register(connection, events)
                elif data := of_fd[fd].recv(50):
                    of_fd[fd].sendall(data)
                    epoll.modify(fd, events)
                else:
                    of_fd.pop(fd).close()


def reads_the_pipe(arrived: list[int], reader: int) -> None:
    os.read(reader, 1)


def polls_the_pipe(arrived: list[int], reader: int) -> None:
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    while not arrived:
        poll.poll()


def by_epoll(arrived: list[int], reader: int) -> None:
    with select.epoll() as epoll:
        epoll.register(reader, select.EPOLLIN)
        epoll.poll()


def in_a_thread(arrived: list[int], reader: int) -> None:
    import threading

    thread = threading.Thread(target=os.read, args=(reader, 1))
    thread.start()
    thread.join()


def while_there_is_something(sock: Any, taken: list[bytes]) -> None:
    while select.select([sock], [], [], 0)[0]:
        with contextlib.suppress(BlockingIOError):  # another run of this handler was faster
            taken.append(sock.recv(100))


def by_dontwait(sock: Any, taken: list[bytes]) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            taken.append(sock.recv(100, socket.MSG_DONTWAIT))


def in_a_loop(arrived: list[int], reader: int) -> None:
    """An ordinary function, which has a loop of asyncio sleep for it."""
    import asyncio

    async def told() -> None:
        came = asyncio.Event()
        asyncio.get_running_loop().add_reader(reader, came.set)
        await came.wait()

    asyncio.run(told())


def relay_by_little(listener: Any) -> None:
    relay_up_to_the_cap(listener, 10)


def relay_up_to_the_cap(listener: Any, cap: int = 100) -> None:
    """Reads on while there is room, and closes once it owes nothing."""
    listener.setblocking(False)
    ended: set[Any] = set()
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while True:
            for key, mask in selector.select():
                sock: Any = key.fileobj
                if sock is listener:
                    connection, _ = listener.accept()
                    connection.setblocking(False)
                    selector.register(connection, selectors.EVENT_READ, b"")
                    continue
                owed = key.data
                if mask & selectors.EVENT_READ:
                    data = sock.recv(cap - len(owed))
                    owed += data
                    ended.update([] if data else [sock])
                with contextlib.suppress(BlockingIOError):
                    owed = owed[sock.send(owed) :] if owed else owed
                reads = selectors.EVENT_READ if len(owed) < cap and sock not in ended else 0
                if wanted := reads | (selectors.EVENT_WRITE if owed else 0):
                    selector.modify(sock, wanted, owed)
                    continue
                ended.discard(sock)
                selector.unregister(sock)
                sock.close()


async def deadlines_in_asyncio(listener: Any) -> None:
    import asyncio

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(TimeoutError, asyncio.IncompleteReadError, ConnectionError):
            async with asyncio.timeout(1):
                data = await reader.readexactly(10)
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, sock=listener)
    async with server:
        await server.serve_forever()


def deadlines_in_threads(listener: Any) -> None:
    import threading

    def serve(connection: Any) -> None:
        end, data = time.monotonic() + 1, b""
        with connection, contextlib.suppress(OSError):
            while len(data) < 10 and (left := end - time.monotonic()) > 0:
                connection.settimeout(left)
                if not (more := connection.recv(10)):
                    return
                data += more
            if len(data) == 10:
                connection.sendall(data)

    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],)).start()


def not_asked_for_a_while(listener: Any) -> None:
    """Looks away from the listener for a tenth of a second."""
    listener.setblocking(False)
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        back = None
        while True:
            for key, _ in selector.select(0.1 if back else None):
                sock: Any = key.fileobj
                if sock is listener:
                    try:
                        connection, _ = listener.accept()
                    except OSError:
                        selector.unregister(listener)
                        back = time.monotonic() + 0.1
                        continue
                    selector.register(connection, selectors.EVENT_READ)
                elif data := sock.recv(100):
                    sock.sendall(data)
                else:
                    selector.unregister(sock)
                    sock.close()
            if back and time.monotonic() >= back:
                back = None
                selector.register(listener, selectors.EVENT_READ)


def tries_again(listener: Any) -> None:
    """With blocking calls, a thread for each client; the one that accepts sleeps."""
    import threading

    def serve(connection: Any) -> None:
        with connection:
            while data := connection.recv(100):
                connection.sendall(data)

    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            time.sleep(0.01)
        else:
            threading.Thread(target=serve, args=(connection,)).start()


async def accepts_in_asyncio(listener: Any) -> None:
    """With a task for each client; the one that accepts sleeps."""
    import asyncio

    listener.setblocking(False)
    loop, tasks = asyncio.get_running_loop(), set[Any]()

    async def serve(connection: Any) -> None:
        with connection:
            while data := await loop.sock_recv(connection, 100):
                await loop.sock_sendall(connection, data)

    while True:
        try:
            connection, _ = await loop.sock_accept(listener)
        except OSError:
            await asyncio.sleep(0.03)
        else:
            tasks.add(loop.create_task(serve(connection)))


class Piped(EventLoop):
    """Woken by a pipe."""

    def __init__(self) -> None:
        super().__init__()
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._selector.register(self._reader, selectors.EVENT_READ, self._empty)

    def _empty(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 100)

    def call_soon_threadsafe(self, function: Any) -> None:
        self.call_soon(function)
        os.write(self._writer, b"!")


class Polled(EventLoop):
    """With poll(2), and what comes from other threads in a queue of its own."""

    def __init__(self) -> None:
        super().__init__()
        with self._selector as before:
            kept = [(key.fileobj, key.data) for key in before.get_map().values()]
        self._selector = selectors.PollSelector()  # type: ignore[assignment]
        for sock, function in kept:
            self._selector.register(sock, selectors.EVENT_READ, function)
        self._handed: Any = queue.SimpleQueue()

    def call_soon_threadsafe(self, function: Any) -> None:
        self._handed.put(function)
        super().call_soon_threadsafe(self._take)

    def _take(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self.call_soon(self._handed.get_nowait())


RIGHT = {
    "recv_exactly": (by_waitall, by_file), "send_all": (made_blocking, by_a_selector),
    "read_messages": (by_readers, by_makefile), "poll_for": (by_dontwait_and_naps, by_a_clock),
    "serve_owed": (in_threads, in_asyncio), "serve_edge": (edge_again, in_threads),
    "wait_for": (reads_the_pipe, polls_the_pipe, by_epoll, in_a_thread, in_a_loop),
    "on_signal": (while_there_is_something, by_dontwait),
    "relay": (relay_up_to_the_cap, relay_by_little, in_threads),
    "serve_in_time": (deadlines_in_asyncio, deadlines_in_threads),
    "accept_all": (not_asked_for_a_while, tries_again, accepts_in_asyncio),
    "EventLoop": (Piped, Polled),
}  # fmt: skip


@pytest.mark.simulated
@pytest.mark.parametrize("name", EXERCISES)
def test_a_right_answer_passes(name: str) -> None:
    """The solution is tried as readers see it: it is made of the text that is shown."""
    exercise = EXERCISES[name]
    for answer in (exercise.solved().answer, *RIGHT[name]):
        verdict = exercise.check(answer)
        assert verdict.right, f"{answer.__name__}: {verdict}"
        assert str(verdict) == f"RIGHT: {name} holds in every case that was tried"


@pytest.mark.simulated
@pytest.mark.parametrize(
    ("name", "mistake", "answer"), WRONG, ids=[f"{n}-{a.__name__}" for n, _, a in WRONG]
)
def test_a_wrong_answer_gets_its_diagnosis(name: str, mistake: str, answer: Any) -> None:
    begun = time.process_time()
    verdict = EXERCISES[name].check(answer)
    used = time.process_time() - begun
    assert used < BOUND_S or used < BOUND_S * slowness()
    assert (verdict.right, verdict.mistake) == (False, mistake), str(verdict)
    assert str(verdict).startswith("NOT YET: ")


@pytest.mark.simulated
@pytest.mark.parametrize(
    ("name", "mistake", "answer"), WRONG, ids=[f"{n}-{a.__name__}" for n, _, a in WRONG]
)
def test_none_passes_by_luck(
    name: str, mistake: str, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "SHRINKING", 0)  # found is refused, however large the case is
    seeds = SEEDS if mistake != "runs on" else SEEDS[:2]  # each takes its whole limit
    passed = [seed for seed in seeds if EXERCISES[name].check(answer, seed).right]
    assert passed == []


def test_there_are_many_of_them() -> None:
    assert len(EXERCISES) == 12
    assert len(WRONG) >= 40
    every = {(one.name, mistake.name) for one in EXERCISES.values() for mistake in one.mistakes}
    assert {(name, mistake) for name, mistake, _ in WRONG} >= every - {
        ("serve_edge", "asks without a pause"), ("relay", "EAGAIN is no error"),
    }  # fmt: skip


@pytest.mark.parametrize("name", EXERCISES)
def test_a_solution_is_shown_as_it_can_be_pasted(name: str) -> None:
    """Its text is all that its run needs, and the run's lines are those of the text."""
    solved = EXERCISES[name].solved()
    assert "import" not in solved.text.partition("\ndef ")[2]
    assert not {"Any", "->", "A right answer"} & {*solved.text.replace(":", " ").split()}
    lines = solved.text.splitlines()
    called = {lines[call.line - 1].strip() for call in solved.run.call_log if call.line}
    assert all("(" in line or line.startswith("for ") for line in called), called


#: What a solution must meet with on this machine, or its exercise is about nothing there.
MET = {
    "send_all": ("sendto", errno.EAGAIN), "serve_owed": ("sendto", errno.EAGAIN),
    "relay": ("sendto", errno.EAGAIN), "accept_all": ("accept", errno.EMFILE),
}  # fmt: skip


@pytest.mark.real
@pytest.mark.parametrize("name", EXERCISES)
def test_a_solution_runs_on_this_machine(name: str) -> None:
    run = on_this_machine(EXERCISES[name].solution, name)
    met = {(call.name, call.errno) for call in run.call_log}
    assert met >= {MET[name]} if name in MET else met
    for visit in run.visits:
        assert visit.end in ("", "eof")


# -- answers that are none -------------------------------------------------------------------------


def prints(sock: Any, n: int) -> bytes:
    print("got here")
    return by_waitall(sock, n)


def not_simulated(sock: Any, n: int) -> bytes:
    socket.socket(type=socket.SOCK_DGRAM)
    return b""


def returns_nothing(sock: Any, n: int) -> None:
    sock.recv(n)


def hangs(sock: Any, n: int) -> bytes:
    while True:
        pass


def misused(sock: Any) -> bytes:
    return b""


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (None, "NOT YET: recv_exactly is not there yet"),
        (..., "NOT YET: recv_exactly is not there yet"),
        (7, "NOT YET: recv_exactly must be a function, got 7"),
        (misused, "NOT YET: recv_exactly must take (sock: 'socket.socket', n: 'int')"),
        (prints, "NOT YET: it works, and prints 'got here': take that out"),
        (not_simulated, "CANNOT JUDGE: recv_exactly: socket(family=2, type=2) is not simulated"),
        (returns_nothing, "NOT YET: it returned [None, None], not [b'"),
        (hangs, "NOT YET: it runs on and on, and makes no call: nothing can happen meanwhile"),
        (lambda sock, n: 1 // 0, "NOT YET: it raised ZeroDivisionError: "),
        (lambda sock, n: exit(3), "NOT YET: "),
    ],
    ids=["none", "dots", "number", "parameters", "prints", "not simulated", "nothing", "hangs",
         "raises", "exits"],
)  # fmt: skip
def test_an_answer_that_is_none_gets_one_line(answer: Any, says: str) -> None:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        verdict = EXERCISES["recv_exactly"].check(answer)
    assert str(verdict).splitlines()[0].startswith(says)
    assert said.getvalue() == ""
    assert not verdict.right


def returns_at_once(*given: Any) -> None:
    return None


def accepts_and_returns(first: Any, *more: Any) -> None:
    first.accept()


def closes_everything(*given: Any) -> None:
    for fd in range(3, 20):
        with contextlib.suppress(OSError):
            os.close(fd)


def interrupts(*given: Any) -> None:
    raise KeyboardInterrupt


def yields(*given: Any) -> Any:
    yield 1


def calls_itself(*given: Any) -> Any:
    return calls_itself(*given)


class Answers:
    """It takes whatever it is asked for."""

    def __init__(self, *given: Any) -> None:
        self.errors: list[Exception] = []

    def __getattr__(self, name: str) -> Any:
        return Answers


def test_what_threads_and_asyncio_complain_of_is_not_shown(capfd: Any) -> None:
    """A traceback for each of them, thousands of times."""

    def dies(listener: Any) -> None:
        import threading

        def serve(connection: Any) -> None:
            connection.sendall(connection.recv(100))
            raise KeyError("in a thread")

        while True:
            threading.Thread(target=serve, args=(listener.accept()[0],)).start()

    async def fails(listener: Any) -> None:
        import asyncio

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            raise KeyError("in a task")

        async with await asyncio.start_server(handle, sock=listener) as server:
            await server.serve_forever()

    for answer in (dies, fails):
        assert not EXERCISES["relay"].check(answer).right
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", EXERCISES)
def test_no_answer_breaks_the_checker(name: str) -> None:
    for answer in (returns_at_once, accepts_and_returns, closes_everything, interrupts, yields,
                   calls_itself, Answers):  # fmt: skip
        verdict = EXERCISES[name].check(answer)
        assert not verdict.right, answer
        assert "AssertionError" not in str(verdict)


def test_the_name_of_a_function_says_which_exercise() -> None:
    def recv_exactly(sock: Any, n: int) -> bytes:
        return by_waitall(sock, n)

    assert check(recv_exactly).right
    assert check(by_waitall, "recv_exactly").right
    with pytest.raises(ValueError, match=r"no exercise is called 'recv_exact'.*mean recv_exactly"):
        check(by_waitall, "recv_exact")
    with pytest.raises(TypeError, match=r"check takes your function, and not what .*: got \[\]"):
        check([])  # type: ignore[arg-type]


def test_a_verdict_has_a_picture_and_a_text() -> None:
    answer = lambda sock, n: sock.recv(n)  # noqa: E731
    verdict = EXERCISES["recv_exactly"].check(answer)
    shown = verdict._repr_mimebundle_()
    assert "One recv is not one message" in shown["text/plain"]
    assert "<img alt=" in shown["text/markdown"]
    assert str(verdict) == str(EXERCISES["recv_exactly"].check(answer))


# -- from a shell ----------------------------------------------------------------------------------

ANSWERS = """
def recv_exactly(sock, n):
    return sock.recv(n)

def on_signal(sock, taken):
    while True:
        try:
            taken.append(sock.recv(100))
        except BlockingIOError:
            return
"""


def iosim(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "iosim", *arguments], cwd=cwd, capture_output=True, text=True,
        check=False, timeout=120,
    )  # fmt: skip


def test_answers_are_checked_from_a_shell(tmp_path: Path) -> None:
    (tmp_path / "answers.py").write_text(ANSWERS, encoding="utf-8")
    said = iosim("check", "answers.py", cwd=tmp_path)
    assert said.returncode == 1
    assert "recv_exactly: NOT YET: it returned" in said.stdout
    assert "on_signal: RIGHT" in said.stdout
    told = json.loads(iosim("check", "--json", "answers.py", cwd=tmp_path).stdout)
    assert [(row["exercise"], row["right"], row["mistake"]) for row in told] == [
        ("recv_exactly", False, "one recv is one message"), ("on_signal", True, ""),
    ]  # fmt: skip
    (tmp_path / "right.py").write_text(ANSWERS[ANSWERS.index("def on_signal") :], encoding="utf-8")
    assert iosim("check", "right.py", "--seed", "3", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def recv_exactly(", "answers.py: SyntaxError: "),
        ("x = 1", "answers.py: no exercise is answered there: recv_exactly, send_all, "),
        ("import nowhere_at_all", "answers.py: ModuleNotFoundError: "),
    ],
)
def test_a_file_without_answers_is_told(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "answers.py").write_text(text, encoding="utf-8")
    said = iosim("check", "answers.py", cwd=tmp_path)
    assert said.returncode == 2
    assert says in said.stderr
    assert said.stdout == ""


SERVER = """
def serve(listener):
    while True:
        connection, _ = listener.accept()
        with connection:
            data = connection.recv(100)
            connection.sendall(data)
"""


def test_anybodys_code_is_hunted_from_a_shell(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SERVER, encoding="utf-8")
    said = iosim("hunt", "mine:serve", "--clients", "2", "--messages", "1", cwd=tmp_path)
    assert said.returncode == 1
    assert said.stdout.startswith("broken in case ")
    said = iosim("hunt", "mine:nothing", cwd=tmp_path)
    assert (said.returncode, said.stderr) == (2, "mine has no function 'nothing'\n")
