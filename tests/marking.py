"""Which tests run on the real kernel: they have the marker `real`, and run one by one.

The marker is put by pytest itself: on each test of a file that uses something of the real kernels,
or sockets and threads of its own; a test with `simulated` in its id has none. Whether that is all
of them is checked: a test without the marker, in which what measures opens a socket or starts a
process or a thread, fails.
"""

from __future__ import annotations

import multiprocessing
import socket
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

import iosim

REAL = ("iosim.kernels.linux", "iosim.kernels.recorder", "iosim.kernels.witness",
        "iosim.kernels.calibration", "iosim.echo")  # fmt: skip
MEASURES = (*REAL, "iosim.explore.background")  # not job_gate, which makes order in both kernels
MODULES = (multiprocessing, socket, threading)
STARTED = {
    "socket.__new__": "opens a socket",
    "subprocess.Popen": "starts a process",
    "os.fork": "starts a process",
    "os.posix_spawn": "starts a process",
    "_thread.start_new_thread": "starts a thread",
    "_thread.start_joinable_thread": "starts a thread",
}


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark it, if its file has something real."""
    names = vars(getattr(item, "module", object)).values()
    called = getattr(item, "callspec", None)
    if any(map(_real, names)) and not (called and "simulated" in called.id.split("-")):
        item.add_marker("real")


def _real(thing: Any) -> bool:
    home = getattr(thing, "__module__", None) or getattr(thing, "__name__", None)
    return (
        thing is iosim.measure
        or any(thing is module for module in MODULES)
        or (isinstance(home, str) and home.startswith(REAL))
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """A test that has no marker runs under watch."""
    if item.get_closest_marker("real"):
        return (yield)
    with _Watch() as seen:
        yield
    if seen:
        pytest.fail(f"iosim {' and '.join(sorted(seen))}: mark this test, @pytest.mark.real")


class _Watch:
    """What a real kernel starts, while a `with` lasts."""

    current: set[str] | None = None
    hooked = False  # only where it is needed: a hook takes time from what is measured

    def __enter__(self) -> set[str]:
        if not _Watch.hooked:
            sys.addaudithook(_audit)
            _Watch.hooked = True
        _Watch.current = set()
        return _Watch.current

    def __exit__(self, *_: object) -> None:
        _Watch.current = None


def _audit(event: str, _: Any) -> None:
    if event not in STARTED or _Watch.current is None:
        return
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _of_library(frame):
        frame = frame.f_back
    # What another package starts for itself, called by iosim, is not iosim's: matplotlib's look at
    # the fonts of the system.
    if frame is not None and _name(frame).startswith(MEASURES):
        _Watch.current.add(STARTED[event])


def _of_library(frame: FrameType) -> bool:
    return _name(frame).partition(".")[0] in sys.stdlib_module_names


def _name(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))
