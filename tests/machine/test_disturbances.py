"""Runs that other work disturbed say so by themselves."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rival import rival

from iosim import (
    Costs,
    Timeline,
    inconclusive,
    interference,
    measure,
    models,
    simulate,
    traffic,
    undisturbed,
)
from iosim.trace import Disturbance

QUIET = simulate(models.blocking, traffic.one())


def disturbed(ms: float) -> Timeline:
    """As if it had stood in line for so long."""
    return replace(QUIET, disturbances=(Disturbance("in line for a core", round(ms * 1e6)),))


# -- repeated because it was disturbed -------------------------------------------------------------


def test_a_run_is_repeated_until_one_was_left_alone() -> None:
    runs = iter([disturbed(3), disturbed(2), QUIET, disturbed(9)])
    assert undisturbed(lambda: next(runs)) is QUIET
    assert next(runs).disturbances[0].ns == 9_000_000


def test_the_tries_are_bounded_and_the_last_one_is_given_back() -> None:
    made: list[Timeline] = []

    def make() -> Timeline:
        made.append(disturbed(2 + len(made)))
        return made[-1]

    assert undisturbed(make, tries=3) is made[2]
    assert len(made) == 3
    assert undisturbed(make, limit_ms=10) is made[3]


def test_a_wrong_result_is_no_reason_to_repeat() -> None:
    """Only what the run says of itself counts: nothing is tried again because it failed."""
    tries: list[int] = []

    def failing() -> Timeline:
        tries.append(1)
        raise AssertionError

    with pytest.raises(AssertionError):
        undisturbed(failing)
    assert len(tries) == 1


# -- the verdict -----------------------------------------------------------------------------------


def test_the_verdict_is_one_sentence_and_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "said"
    monkeypatch.setenv("IOSIM_INCONCLUSIVE", str(file))
    assert not inconclusive(QUIET, disturbed(1))
    assert not file.exists()
    assert inconclusive(QUIET, disturbed(12.34), disturbed(2))
    told = "Inconclusive, because other work disturbed the run (in line for a core: 12.3 ms).\n"
    assert capsys.readouterr().out == file.read_text() == told
    monkeypatch.delenv("IOSIM_INCONCLUSIVE")
    assert not inconclusive(disturbed(12), limit_ms=20)
    assert inconclusive(disturbed(30), limit_ms=20)
    assert file.read_text() == told


def test_prices_bear_more_than_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are medians of many seconds; each thing is judged by its own bound."""
    monkeypatch.delenv("IOSIM_INCONCLUSIVE", raising=False)  # this test is not
    some, much = (replace(Costs(), disturbances=disturbed(ms).disturbances) for ms in (900, 1_100))
    assert not inconclusive(QUIET, some)
    assert inconclusive(some, limit_ms=20)
    assert inconclusive(some, disturbed(2))
    assert inconclusive(QUIET, much)


def test_bad_input_is_named() -> None:
    with pytest.raises(TypeError, match="42 does not say what disturbed it: a Timeline does"):
        undisturbed(lambda: 42)  # type: ignore[type-var,return-value]
    with pytest.raises(ValueError, match="tries must be from 1 to 1,000 runs, got 0"):
        undisturbed(lambda: QUIET, tries=0)
    with pytest.raises(ValueError, match="limit_ms must be from 0"):
        inconclusive(QUIET, limit_ms=-1)


# -- the evidence ----------------------------------------------------------------------------------


def test_what_disturbed_a_run_is_saved_with_it() -> None:
    run = disturbed(3)
    assert Timeline.from_json(run.to_json()) == run
    assert "disturbances" not in QUIET.to_json()


@pytest.mark.real
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux's scheduler")
def test_a_thread_that_stands_in_line_says_so() -> None:
    with rival(), interference() as found:
        until = time.thread_time_ns() + 30_000_000
        while time.thread_time_ns() < until:
            pass
    told = {one.what: one.ns for one in found.disturbances}
    assert told["in line for a core"] > 1_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux's scheduler")
def test_other_threads_are_watched_if_they_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def schedstat(pid: str, thread: int) -> tuple[int, int, int]:
        asked.append(thread)
        return 0, 500 * len(asked), 0

    monkeypatch.setattr("iosim.machine.procfs.schedstat", schedstat)
    with interference(7, 8) as found:
        assert found.disturbances == ()
    assert asked == [threading.get_native_id(), 7, 8] * 2
    assert found.disturbances[0] == Disturbance("in line for a core", 4_500)


LATE_SENDER = """
from iosim.real.helpers import sender
punctual = sender.Sender.hear
sender.Sender.hear = lambda self, ns: punctual(self, max(200_000_000, ns))
sender.main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measures the Linux kernel")
def test_a_sender_that_is_late_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault is planted: the sender's own sleep lasts 200 ms too long."""
    from iosim.real.sender_process import SenderProcess

    monkeypatch.setattr(SenderProcess, "runs", ("-c", LATE_SENDER))
    run = measure(models.blocking, traffic.one(after_ms=5)).check()
    told = {one.what: one.ns for one in run.disturbances}
    assert told["sent late"] > 100_000_000
