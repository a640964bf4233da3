"""Which tests run on the real kernel: they have the marker `real`, and run one by one.

The marker is put by pytest itself: on each test that uses something of the real kernels, or sockets
and threads of its own, by itself, by a fixture, a parameter, or a function of the tests that it
names; one with `simulated` in its id, or with that marker, has none. Whether that is all of them is
checked: a test without the marker, in which what measures opens a socket or starts a process or a
thread, fails.
"""

from __future__ import annotations

import inspect
import multiprocessing
import socket
import sys
import threading
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from types import CodeType, FrameType, FunctionType, MethodType
from typing import Any

import pytest

import iosim

ELSEWHERE = (Path(iosim.__file__).parent, sys.prefix, sys.base_prefix)
REAL = ("iosim.real", "iosim.recorder", "oracles.strace", "iosim.echo",
        "iosim.calibration")  # fmt: skip
MEASURES = (
    *REAL,
    "iosim.explore.measure_process",
)  # not job_gate, which makes order in both kernels
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
    """Mark it, if it uses something real."""
    called = getattr(item, "callspec", None)
    by_id = called and "simulated" in called.id.split("-")
    if by_id or item.get_closest_marker("simulated"):
        return
    fixtures = getattr(item, "_fixtureinfo").name2fixturedefs.values()  # noqa: B009  (not public)
    uses = [getattr(item, "obj", None), getattr(item, "cls", None)]
    uses += [one.func for defined in fixtures for one in defined]
    uses += called.params.values() if called else []
    if any(_real(thing) for thing in _reached(uses)):
        item.add_marker("real")


def _reached(things: Iterable[Any]) -> Iterator[Any]:
    """These, and all that they name, as far as it belongs to the tests."""
    waiting, seen = list(things), set[int]()
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        yield thing
        waiting += _named(thing)


def _named(thing: Any) -> Iterable[Any]:
    if isinstance(thing, (list, tuple, set, frozenset)):
        return thing
    if isinstance(thing, dict):
        return thing.values()
    if isinstance(thing, partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    if isinstance(thing, (staticmethod, classmethod, MethodType)) or hasattr(thing, "__wrapped__"):
        return [inspect.unwrap(getattr(thing, "__func__", thing))]
    if isinstance(thing, property):
        return [thing.fget]
    if isinstance(thing, type) and _of_tests(thing.__module__):
        return [each for kind in thing.__mro__ if _of_tests(kind.__module__)
                for each in vars(kind).values()]  # fmt: skip
    if isinstance(thing, FunctionType) and _of_tests(thing.__module__):
        inner = getattr(getattr(thing, "hypothesis", None), "inner_test", None)
        cells = thing.__closure__ or ()
        return [inner, *(cell.cell_contents for cell in cells), *_globals(thing)]
    return ()


def _globals(function: FunctionType) -> Iterator[Any]:
    """What it names of its module, also in a function within it."""
    codes = [function.__code__]
    for code in codes:
        codes += [each for each in code.co_consts if isinstance(each, CodeType)]
        for name in code.co_names:
            if name in function.__globals__:
                yield function.__globals__[name]


def _of_tests(module: str) -> bool:
    """Not iosim's, nor Python's, nor an installed package's."""
    home = getattr(sys.modules.get(module), "__file__", None)
    return bool(home) and not any(map(Path(home).is_relative_to, ELSEWHERE))


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
