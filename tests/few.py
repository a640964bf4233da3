"""Runs of every kind with too few descriptors, processes or threads: a program for itself.

    python few.py KIND MEANS        prints a line of JSON for each limit

MEANS is how it gets few: "files" lowers RLIMIT_NOFILE; "fork", "thread" and "pipe" let the n-th of
these calls fail, and all after it, with what each fails with.
For n = 1, 2, 3, ... a child of this process makes the run.  When that is over, one way or the
other, the child is looked at from here: what is left of it?  Then it ends as every program does,
and must do so in time.  It goes on until a run has succeeded.
"""

import _posixsubprocess
import gc
import json
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from errno import EAGAIN, EMFILE
from itertools import count
from multiprocessing import (
    forkserver,
    get_context,
    popen_fork,
    popen_forkserver,
    popen_spawn_posix,
    resource_tracker,
    synchronize,
)
from pathlib import Path
from typing import Any

from oracles.strace import witness

from iosim import clients, jobs, measure, models, record, servers, traffic
from iosim.echo.child import serving
from iosim.echo.survivor import EchoServer
from iosim.explore.measure_process import Background, Job
from iosim.programs.pools import submit
from iosim.real import clients as served
from iosim.real import measure as measuring
from iosim.real import pools

#: Imported once, here, and not again in each of the children.
WARM = (measuring, popen_fork, popen_forkserver, popen_spawn_posix, synchronize, witness, pools)

MOST = 60  # so many are enough for every run
ENDS_S = 20.0  # for a run, and then for its interpreter, to end
NEVER_S = 2.0  # of which it is known that it does not

UDP, TCP = (traffic.one(after_ms=1, transport=kind) for kind in ("udp", "tcp"))
ECHO = clients.several(2, clients.echo(size=10))
JOBS = jobs.several(2, jobs.waiting(1))


def pool(name: str, method: str | None = None) -> Callable[[], object]:
    """Two jobs for a pool."""
    return lambda: measure(submit, JOBS, pool=name, workers=2, start_method=method)


def recorded() -> None:
    """Plain code with the recorder."""
    with record() as tape, socket.create_server(("127.0.0.1", 0)) as door:
        tape.wrap(door)
        with socket.create_connection(door.getsockname()) as client, door.accept()[0] as ours:
            client.sendall(b"hello")
            assert ours.recv(5) == b"hello"


def echoed(name: str) -> None:
    """An echo server in a process of its own."""
    with serving(name) as server:
        server.connect().close()


def background() -> None:
    """A run of an explorer."""
    said: list[str] = []
    job = Job(("blocking",), UDP, 1_000_000)
    run = Background(job, lambda *_: None, lambda _, last: said.append(last))
    assert run.wait(ENDS_S)
    if said != [""]:
        raise OSError(*said)


def survived() -> None:
    """The surviving server, which begins and is stopped."""
    server = EchoServer(grace=0.0)
    server.stop()
    server.run()


KINDS: dict[str, Callable[[], object]] = {
    "udp": lambda: measure(models.blocking, UDP),
    "tcp": lambda: measure(models.blocking, TCP),
    "epoll": lambda: measure(models.multiplexing_epoll, UDP),
    "io_uring": lambda: measure(models.asynchronous, UDP),
    "aio": lambda: measure(models.asynchronous_aio, UDP),
    "iterative": lambda: measure(servers.iterative, ECHO),
    "threads": lambda: measure(servers.thread_per_connection, ECHO),
    "proactor": lambda: measure(servers.proactor, ECHO),
    "Pool fork": pool("Pool", "fork"),
    "Pool spawn": pool("Pool", "spawn"),
    "Pool forkserver": pool("Pool", "forkserver"),
    "ProcessPoolExecutor fork": pool("ProcessPoolExecutor", "fork"),
    "ProcessPoolExecutor spawn": pool("ProcessPoolExecutor", "spawn"),
    "ProcessPoolExecutor forkserver": pool("ProcessPoolExecutor", "forkserver"),
    "ThreadPoolExecutor": pool("ThreadPoolExecutor"),
    "recorder": recorded,
    "witness": lambda: witness.audit(models.blocking, UDP),
    "notes": lambda: echoed("notes"),
    "survivor": lambda: echoed("survivor"),
    "EchoServer": survived,
    "background": background,
}

#: What a run must not do; by its name, and for no other end than to see that it is seen.
WRONG: dict[str, Callable[[], object]] = {
    "leaves a descriptor": os.pipe,
    "leaves a child": lambda: get_context("fork").Process(
        target=time.sleep, args=(0.5,)).start(),
    "leaves a thread": lambda: threading.Thread(target=time.sleep, args=(1.5,)).start(),
    "never ends": lambda: threading.Thread(target=time.sleep, args=(60,)).start(),
}  # fmt: skip


# -- having few -----------------------------------------------------------------------------------


def files(number: int) -> None:
    """So many more than are open."""
    most = served._number_of_free(number)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def failing(home: Any, name: str, number: int, error: Callable[[], BaseException]) -> None:
    """The `number`-th call of `name` fails, and all after it: what is short stays so."""
    real, calls = getattr(home, name), count(1)

    def limited(*given: Any, **named: Any) -> Any:
        if next(calls) >= number:
            raise error()
        return real(*given, **named)

    setattr(home, name, limited)


def forks(number: int) -> None:
    """fork(2), by whatever name."""
    for home, name in ((os, "fork"), (_posixsubprocess, "fork_exec")):
        failing(home, name, number, lambda: OSError(EAGAIN, os.strerror(EAGAIN)))
    import subprocess
    from multiprocessing import util

    subprocess._fork_exec = util._fork_exec = _posixsubprocess.fork_exec  # as they import it


def threads(number: int) -> None:
    """pthread_create(3), as Python's threads are started."""
    name = next(n for n in ("_start_joinable_thread", "_start_new_thread") if hasattr(threading, n))
    failing(threading, name, number, lambda: RuntimeError("can't start new thread"))


def pipes(number: int) -> None:
    """pipe(2)."""
    failing(os, "pipe", number, lambda: OSError(EMFILE, os.strerror(EMFILE)))


MEANS = {"files": files, "fork": forks, "thread": threads, "pipe": pipes}


# -- a run, and what is left of it ----------------------------------------------------------------


def make(run: Callable[[], object]) -> dict[str, Any]:
    """What became of it."""
    try:
        run()
    except BaseException as error:
        kind = [kind.__name__ for kind in type(error).__mro__]
        notes = list(getattr(error, "__notes__", ()))
        return {"kind": kind, "text": str(error), "notes": notes,
                "errno": getattr(error, "errno", None)}  # fmt: skip
    return {"kind": []}


def attempt(kind: str, means: str, number: int) -> dict[str, Any]:
    """A run in a child of this process.  Returns in this one only."""
    (hear, tell), (wait, go) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.setsid()
        os.close(hear), os.close(go)
        before = os.listdir("/proc/self/fd")
        MEANS[means](number)
        outcome = make((KINDS | WRONG)[kind])
        gc.collect()  # a pool of the library is a cycle
        allowed = [resource_tracker._resource_tracker._pid, forkserver._forkserver._forkserver_pid]
        own = [resource_tracker._resource_tracker._fd, forkserver._forkserver._forkserver_alive_fd]
        outcome |= {"before": len(before) - 1, "allowed": allowed, "own": own}
        os.write(tell, json.dumps(outcome).encode())
        os.read(wait, 1)
        sys.exit()
    os.close(tell), os.close(wait)
    try:
        said = read(hear)
        outcome = json.loads(said) if said else {"kind": ["hangs"]}
        outcome["left"] = left(child, outcome) if said else []
        os.write(go, b"!")
        outcome["ends"] = ends(child, NEVER_S if kind in WRONG else ENDS_S)
        return outcome
    finally:
        try:
            os.killpg(child, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.close(hear), os.close(go)


def read(fd: int) -> bytes:
    """What the child says; nothing if it does not in time."""
    return os.read(fd, 65_536) if select.select([fd], [], [], ENDS_S)[0] else b""


def left(pid: int, outcome: dict[str, Any]) -> list[str]:
    """What of a run is still there: processes, threads, descriptors."""
    folder, until = Path(f"/proc/{pid}"), time.monotonic() + 1
    while True:  # a thread that was joined is still listed for a moment
        tasks = list((folder / "task").iterdir())
        if len(tasks) == 1 or time.monotonic() > until:
            break
        time.sleep(0.001)
    found = [f"thread {task.name}" for task in tasks[1:]]
    for task in tasks:
        for child in map(int, (task / "children").read_text().split()):
            if child not in outcome["allowed"]:
                found.append(f"child {Path(f'/proc/{child}/cmdline').read_bytes()!r}")
    open_now = [int(link.name) for link in (folder / "fd").iterdir()]
    own = [fd for fd in open_now if fd in outcome["own"]]
    if len(open_now) - len(own) != outcome["before"]:
        found.append(f"{len(open_now) - len(own) - outcome['before']} descriptors")
        found += [f"{fd} {os.readlink(folder / 'fd' / str(fd))}" for fd in sorted(open_now)]
    return found


def ends(pid: int, seconds: float) -> bool:
    """Does the interpreter end in time?"""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return True
        time.sleep(0.002)
    return False


def main() -> None:
    """All limits for one kind."""
    kind, means = sys.argv[1:]
    for number in range(1, MOST):
        outcome = attempt(kind, means, number)
        print(json.dumps({"number": number, **outcome}), flush=True)
        if not outcome["kind"]:
            return


if __name__ == "__main__":
    main()
