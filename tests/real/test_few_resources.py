"""With too few descriptors, processes or threads a run says so, leaves nothing, and Python ends.

`few` makes the runs, each in a child of its own, with one more of what is short each time; here it
is judged what it tells of them.  IOSIM_LONG=1: every kind of run, by every means.
"""

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from types import SimpleNamespace
from typing import Any

import pytest
from paths import ROOT

from iosim.real.pool_adapters import _Executor

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

FEW = ROOT / "tests" / "few.py"
LONG = bool(os.environ.get("IOSIM_LONG"))

SENT = ["udp", "tcp"]
SERVED = ["iterative", "threads"]
POOLS = [
    "Pool fork", "Pool spawn", "Pool forkserver", "ProcessPoolExecutor fork",
    "ProcessPoolExecutor spawn", "ProcessPoolExecutor forkserver", "ThreadPoolExecutor",
]  # fmt: skip
BESIDE = ["background", "notes", "witness"]
OWN = ["recorder", "EchoServer", "proactor"]  # plain code's own errors, which nobody notes
QUICK = {
    ("files", "udp"), ("files", "Pool fork"), ("files", "ProcessPoolExecutor fork"),
    ("fork", "iterative"), ("fork", "Pool fork"), ("fork", "ProcessPoolExecutor fork"),
    ("thread", "Pool fork"), ("thread", "ProcessPoolExecutor fork"),
    ("thread", "ThreadPoolExecutor"), ("thread", "threads"), ("thread", "background"),
}  # fmt: skip

CASES = [
    *[("files", kind) for kind in (*SENT, *SERVED, *POOLS, *BESIDE, *OWN)],
    *[("fork", kind) for kind in (*SENT, *SERVED, *POOLS, *BESIDE)],
    *[("thread", kind) for kind in (*POOLS, "threads", "background")],
    *[("pipe", kind) for kind in (*SENT, *POOLS, *BESIDE)],
]


def runs(means: str, kind: str) -> list[dict[str, Any]]:
    """What became of each run, up to the first that succeeded."""
    told = subprocess.run(
        [sys.executable, str(FEW), kind, means], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True, timeout=300, check=True,
    )  # fmt: skip
    return [json.loads(line) for line in told.stdout.splitlines()]


def says_why(run: dict[str, Any]) -> bool:
    """One clear line: an OSError with its errno and a note of the limit, or a helper's trouble."""
    lines = [run["text"], *run["notes"]]
    named = any("RLIMIT_" in line for line in lines)
    return named and ("HelperError" in run["kind"] or run["errno"] is not None)


@pytest.mark.parametrize(("means", "kind"), [case for case in CASES if LONG or case in QUICK])
def test_a_run_succeeds_or_says_what_it_lacks_and_leaves_nothing(means: str, kind: str) -> None:
    *failed, last = runs(means, kind)
    assert failed, "there was never too little"
    for run in (*failed, last):
        assert run["ends"], f"{run['number']}: Python never exits: {run}"
        assert run["left"] == [], run["number"]
    assert last["kind"] == []
    for run in failed:
        assert says_why(run) or (kind in OWN and os.strerror(24) in run["text"]), run


def test_what_is_left_is_seen() -> None:
    """Each thing that a run could leave, left on purpose."""
    names = ("leaves a descriptor", "leaves a child", "leaves a thread", "never ends")
    found = {name: runs("files", name)[-1] for name in names}
    assert all(found[name]["left"] for name in list(found)[:3])
    assert [found[name]["ends"] for name in found] == [True, True, True, False]


def _broken(cause: str, alive: bool = False) -> tuple[Any, Future[Any]]:
    """An executor whose workers its thread has just ended, and a job of it."""
    thread = SimpleNamespace(is_alive=lambda: alive)
    executor: Any = SimpleNamespace(_executor_manager_thread=thread, _broken="terminated")
    job: Future[Any] = Future()
    error = BrokenProcessPool("terminated")
    error.__cause__ = RuntimeError(cause) if cause else None
    job.set_exception(error)
    return _Executor(executor, executor), job


@pytest.mark.parametrize("alive", [True, False])
def test_workers_that_the_library_ended_for_want_of_a_thread(alive: bool) -> None:
    """Its thread is still at it when they are found dead, or is not."""
    executor, job = _broken("RuntimeError: can't start new thread", alive)
    with pytest.raises(OSError, match="no thread"):
        executor.check([job])


def test_a_job_that_comes_too_late_for_the_cause_asks_those_before_it() -> None:
    """They may be told of it a moment later."""
    broken: list[Future[Any]] = [Future(), Future()]

    def submit(function: Any) -> Future[Any]:
        if len(broken) == 2:
            return broken.pop()
        error = BrokenProcessPool("terminated")
        error.__cause__ = RuntimeError("can't start new thread")
        threading.Timer(0.1, first.set_exception, [error]).start()
        raise BrokenProcessPool("terminated")

    executor: Any = SimpleNamespace(_executor_manager_thread=None, submit=submit)
    pool = _Executor(executor, executor)
    first = pool.submit(lambda *_: None, print)
    with pytest.raises(OSError, match="no thread"):
        pool.submit(lambda *_: None, print)


def test_a_worker_that_died_is_no_want_of_a_thread() -> None:
    executor, job = _broken("")
    executor.check([job])
