"""What an experiment leaves running: compare `running()` after it with `running()` before.

Whoever else lives in this process starts threads too, whenever they like: in a notebook IPython
(its history is a thread, which it ends before each fork and begins again), ipykernel, a debugger.
Those are not the experiment's.
"""

from __future__ import annotations

import multiprocessing
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

__all__ = ["running"]

INSTALLED = {"site-packages", "dist-packages"}  # folders of what was installed
OWN = (__package__ or "").partition(".")[0]  # wherever it stands


def running() -> set[object]:
    """The child processes of `multiprocessing`, and the threads that run no installed package.

    What the standard library starts for a pool counts, so does what this course starts, and a
    function of a notebook or a script.
    """
    threads = {thread for thread in threading.enumerate() if not _theirs(thread)}
    return threads | set[object](multiprocessing.active_children())


def _theirs(thread: threading.Thread) -> bool:
    """Does it belong to an installed package: by its class, or by what it runs just now?"""
    modules = {type(thread).__module__, *_modules(sys._current_frames().get(thread.ident or 0))}
    return any(map(_installed, modules))


def _modules(frame: FrameType | None) -> Iterator[str]:
    """The modules whose functions a thread is in, the innermost first."""
    while frame is not None:
        yield frame.f_globals.get("__name__", "")
        frame = frame.f_back


def _installed(module: str) -> bool:
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return module.partition(".")[0] != OWN and not INSTALLED.isdisjoint(Path(file).parts)
