"""The processes beside the program's: their trouble is told as theirs, at once and in one line.

Who dies is killed by the program itself, between two of its calls: nothing depends on a delay.
"""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from errno import EADDRNOTAVAIL, EMFILE
from pathlib import Path
from typing import Any

import pytest

from iosim import calls, clients, futures, jobs, measure, traffic
from iosim.calls import (
    accept,
    epoll_create,
    epoll_ctl,
    epoll_wait,
    pthread_create,
    pthread_join,
    recvfrom,
)
from iosim.echo import child as echo
from iosim.explore.measure_process import Background, Job
from iosim.machine.children import how_it_ended
from iosim.real import clients as served
from iosim.real import helper_process
from iosim.real.client_process import ClientProcess
from iosim.real.helper_process import HelperError
from iosim.real.proc_sampler import SamplerProcess
from iosim.real.sender_process import SenderProcess

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds its children in /proc")

LIMIT_S = 60.0  # of the runs: who waits for it has not heard of the death
KILLED = r"was ended by signal 9 \(SIGKILL\)"
LATER = traffic.one(after_ms=50_000, size=100)


#: Those that were there before: multiprocessing's fork server and resource tracker live on.
older: set[int] = set()


def children() -> list[int]:
    """The processes that this one has begun in the test, zombies among them."""
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended meanwhile
            found += map(int, (task / "children").read_text().split())
    return [pid for pid in found if pid not in older]


def kill_helper() -> None:
    """It is dead, and seen to be, when this returns."""
    (pid,) = children()
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    before = set(threading.enumerate()), len(os.listdir("/proc/self/fd"))
    older.update(children())
    yield
    assert (set(threading.enumerate()), len(os.listdir("/proc/self/fd"))) == before
    assert children() == []


def blocked(fd: int, nbytes: int) -> calls.Program:
    kill_helper()
    return (yield recvfrom(fd, 100))


def waits_by_epoll(fd: int, nbytes: int) -> calls.Program:
    epfd = yield epoll_create()
    yield epoll_ctl(epfd, calls.EPOLL_CTL_ADD, fd)
    kill_helper()
    yield epoll_wait(epfd)


def computes(fd: int, nbytes: int) -> calls.Program:
    kill_helper()
    yield calls.compute(int(LIMIT_S * 1e9))


def accepts(listener: int, clients: int) -> calls.Program:
    kill_helper()
    yield accept(listener)


def hears_of_a_reset(listener: int, clients: int) -> calls.Program:
    conn = yield accept(listener)
    kill_helper()
    while (yield recvfrom(conn, 100)):
        pass
    raise ValueError("the client has sent too little")


def in_threads(listener: int, clients: int) -> calls.Program:
    thread = yield pthread_create(accepts(listener, clients))
    yield pthread_join(thread)


def plain_receives(sock: socket.socket) -> None:
    kill_helper()
    sock.recv(100)


def plain_polls(sock: socket.socket) -> None:
    kill_helper()
    while not select.select([sock], [], [], 0)[0]:
        pass


def plain_accepts(listener: socket.socket) -> None:
    kill_helper()
    listener.accept()


def asks_a_pool(jobs: int) -> calls.Program:
    kill_helper()
    future = yield futures.submit(1)
    return (yield futures.result(future))


SOON = clients.several(1, clients.echo(size=10))
NEVER = clients.several(1, clients.echo(at_ms=50_000))
ONE_JOB = jobs.several(1, jobs.waiting(1))
THREADS = {"pool": "ThreadPoolExecutor", "workers": 1}


@pytest.mark.parametrize("elsewhere", [False, True], ids=["main thread", "another"])
@pytest.mark.parametrize(
    ("program", "story", "options", "who"),
    [
        (blocked, LATER, {}, "the sender"),
        (blocked, traffic.one(after_ms=50_000, transport="tcp"), {}, "the sender"),
        (waits_by_epoll, LATER, {}, "the sender"),
        (computes, LATER, {}, "the sender"),
        (accepts, NEVER, {}, "the process of the clients"),
        (hears_of_a_reset, SOON, {}, "the process of the clients"),
        (in_threads, NEVER, {}, "the process of the clients"),
        (asks_a_pool, ONE_JOB, THREADS, "the watching process"),
        (plain_receives, LATER, {}, "the sender"),
        (plain_polls, LATER, {}, "the sender"),
        (plain_accepts, NEVER, {}, "the process of the clients"),
    ],
)
def test_who_is_killed_ends_the_run_at_once_and_is_named(
    program: Any, story: Any, options: Any, who: str, elsewhere: bool
) -> None:
    found: list[BaseException] = []

    def run() -> None:
        try:
            measure(program, story, limit_s=LIMIT_S, **options)
        except BaseException as error:
            found.append(error)

    start = time.monotonic()
    if elsewhere:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    else:
        run()
    assert time.monotonic() - start < LIMIT_S / 2
    (error,) = found
    with pytest.raises(HelperError, match=f"^{who} {KILLED}; it was told to "):
        raise error


# --- a helper that goes wrong by itself -----------------------------------------------------------

HELPERS = {
    "the sender": (SenderProcess, lambda: measure(blocked, LATER, limit_s=LIMIT_S)),
    "the process of the clients": (ClientProcess, lambda: measure(accepts, NEVER, limit_s=LIMIT_S)),
    "the watching process": (
        SamplerProcess, lambda: measure(asks_a_pool, ONE_JOB, limit_s=LIMIT_S, **THREADS)),
}  # fmt: skip
READS = "import sys; sys.stdin.readline(); "
ANSWERS = READS + "print('[1]', flush=True); "
WRONG = {
    "1 / 0": "ended with exit status 1: ZeroDivisionError: division by zero; it was told to ",
    READS + "print('half of an answer'); sys.exit(3)":
        "ended with exit status 3: half of an answer; it was told to ",
    "pass": "ended with exit status 0; it was told to ",
    READS + "import time; time.sleep(50)": "said nothing for 0.2 s; it was told to ",
}  # fmt: skip


@pytest.mark.parametrize("said", WRONG.values(), ids=["raises", "exits", "ends", "silent"])
@pytest.mark.parametrize("who", HELPERS)
def test_what_a_helper_says_last_is_told(
    who: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain, too: in a notebook FORCE_COLOR is set, and from Python 3.13 on tracebacks heed it."""
    kind, run = HELPERS[who]
    script = tmp_path / "wrong.py"
    script.write_text(next(text for text, words in WRONG.items() if words == said))
    monkeypatch.setattr(kind, "runs", (str(script),))
    monkeypatch.setattr(helper_process, "PATIENCE_S", 0.2 if "nothing" in said else 20.0)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with pytest.raises(HelperError) as caught:
        run()
    assert str(caught.value).startswith(f"{who} {said}")


def test_a_large_answer_is_read_in_many_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "large.py"
    script.write_text(READS + "print('a warning'); print('[', '1,' * 500_000, '1]')")
    monkeypatch.setattr(SenderProcess, "runs", (str(script),))
    sender = SenderProcess()
    try:
        assert len(sender.prepare(LATER, [1])) == 500_001
    finally:
        sender.kill()


@pytest.mark.parametrize(
    ("status", "words"),
    [(0, "ended with exit status 0"), (-11, r"was ended by signal 11 (SIGSEGV)"),
     (-signal.SIGRTMIN - 1, f"was ended by signal {signal.SIGRTMIN + 1}")],
)  # fmt: skip
def test_how_a_process_ended(status: int, words: str) -> None:
    assert how_it_ended(status) == words


# --- what cannot be done at all -------------------------------------------------------------------


def test_more_clients_than_descriptors_are_refused_before_anything_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resource = pytest.importorskip("resource")
    unlimited = resource.getrlimit
    monkeypatch.setattr(
        resource, "getrlimit",
        lambda what: (1_000, 20_000) if what == resource.RLIMIT_NOFILE else unlimited(what),
    )  # fmt: skip
    monkeypatch.setattr(ClientProcess, "__init__", None)  # nobody is started
    with pytest.raises(
        OSError, match="25,000 clients are more than the 19,994 descriptors"
    ) as caught:
        measure(accepts, clients.several(25_000, clients.echo()))
    assert caught.value.errno == EMFILE


def test_more_clients_than_ports_are_refused_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = tmp_path / "ports"
    ports.write_text("40000\t40099\n")
    monkeypatch.setattr(served, "PORTS", ports)
    monkeypatch.setattr(ClientProcess, "__init__", None)
    with pytest.raises(OSError, match="101 clients are more than the 100 ports") as caught:
        measure(accepts, clients.several(101, clients.echo()))
    assert caught.value.errno == EADDRNOTAVAIL


LO_DOWN = """
import json, sys, traceback
from iosim import clients, jobs, measure, models, servers, traffic
from iosim.echo.child import serving
def serve():
    with serving("survivor") as server:
        server.connect()
runs = {
    "udp": lambda: measure(models.blocking, traffic.one()),
    "tcp": lambda: measure(models.blocking, traffic.one(transport="tcp")),
    "clients": lambda: measure(servers.iterative, clients.several(1, clients.echo())),
    "echo": serve,
}
said = {}
for name, run in runs.items():
    try:
        run()
    except (OSError, RuntimeError) as error:
        said[name] = [str(error), *getattr(error, "__notes__", [])]
print(json.dumps(said))
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare(1) is missing")
def test_where_the_loopback_is_down_that_is_said() -> None:
    command = ["unshare", "-n", *(["-r"] if os.geteuid() else []), sys.executable, "-c", LO_DOWN]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if "unshare" in run.stderr:
        pytest.skip(run.stderr.strip())
    said = json.loads(run.stdout)
    assert set(said) == {"udp", "tcp", "clients", "echo"}
    for name, lines in said.items():
        assert any("127.0.0.1 cannot be reached: is the network interface lo up?" in line
                   for line in lines), (name, lines)  # fmt: skip


# --- the processes of the explorers and of the echo servers ---------------------------------------


def last_said(code: str, act: Callable[[Background], None] = lambda _: None) -> str:
    said: list[str] = []
    job = Job(("blocking",), traffic.one(), 1_000_000, None, 1.0)
    run = Background(job, lambda run, _: act(run), lambda _, last: said.append(last),
                     (sys.executable, "-c", code))  # fmt: skip
    assert run.wait(20)
    return said[0]


def test_the_end_of_a_run_in_the_background_is_told() -> None:
    begins = 'print(\'{"program": "blocking", "begins": true, "run": null}\', flush=True); '
    assert last_said("import sys; sys.exit(3)") == "it ended with exit status 3"
    assert last_said("1 / 0") == "ZeroDivisionError: division by zero"
    assert last_said(
        begins + "import time; time.sleep(50)", lambda run: os.kill(run.pid, signal.SIGKILL)
    ) == "it was ended by signal 9 (SIGKILL)"  # fmt: skip


@pytest.mark.parametrize(
    ("code", "words"),
    [("import os; os._exit(3)", "the server ended with exit status 3"),
     ("import os; os.abort()", r"the server was ended by signal 6 \(SIGABRT\)"),
     ("1 / 0", "the server ended with exit status 1: ZeroDivisionError: division by zero")],
)  # fmt: skip
def test_an_echo_server_that_cannot_begin_says_why(
    code: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(echo, "COMMAND", (sys.executable, "-c", code))
    with pytest.raises(OSError, match=f"^{words}"), echo.serving("survivor"):
        pass
