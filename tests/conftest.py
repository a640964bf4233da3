"""Hypothesis: the same cases at every run, and never a failure because a machine was slow.

HYPOTHESIS_PROFILE=more looks at ten times as many; first stops at the first that fails, and looks
for no simpler one.
"""

import gc
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import Phase, settings
from marking import pytest_itemcollected, pytest_runtest_call

__all__ = ["pytest_itemcollected", "pytest_runtest_call"]

settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("more", settings.get_profile("ci"), max_examples=1000)
settings.register_profile(
    "first", settings.get_profile("ci"), phases=[Phase.explicit, Phase.generate]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_collection_finish() -> None:
    """What pytest and the tests themselves are made of stays: no collection looks at it again.

    180,000 objects: to go through them took half of the CPU time of the tests (42 s of which 18 are
    left, of 33 real ones; a collection of all comes with each few runs).
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def _ctrl_c() -> Iterator[None]:
    """SIGINT is a KeyboardInterrupt: what a shell starts in the background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def threads_told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What threads have ended with, as far as Python's own hook tells of it."""
    told: list[Any] = []
    monkeypatch.setattr(
        threading, "excepthook",
        lambda args: None if args.exc_type is SystemExit else told.append(args),
    )  # fmt: skip
    return told


@pytest.fixture(autouse=True, scope="module")
def _nothing_to_collect() -> None:
    """Garbage of another file may hold descriptors; who counts its own begins without them."""
    gc.collect()
