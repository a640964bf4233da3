"""A real call in the middle of a simulated run is refused, in one line that says who makes it.

Nothing that stands on the simulated floor makes any.  Whoever does has got hold of the real modules
in another way: a package with parts in C, an object that was made before the run, another module of
the library, as pathlib.  CPython announces such calls to audit hooks (PEP 578); those of C code
that is not its own it does not know of.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import cache
from types import FrameType
from typing import Any

from .run import NotSimulated, Run, run_of_this_thread
from .world import LIBRARY, World, is_own, top_of

__all__ = ["refuse_real_calls"]

#: What is announced, and what that is called.
REAL = {
    "socket.__new__": "socket.socket",
    **{name: name for name in (
        "socket.bind", "socket.connect", "socket.getaddrinfo", "socket.gethostbyaddr",
        "socket.gethostbyname", "socket.getnameinfo", "socket.sendmsg", "socket.sendto",
        "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "pty.spawn",
        "subprocess.Popen", "time.sleep",
        "open", "os.chflags", "os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove",
        "os.removexattr", "os.rename", "os.rmdir", "os.setxattr", "os.symlink", "os.truncate",
        "os.utime", "sqlite3.connect",
    )},
}  # fmt: skip
IMPORTS = "importlib._bootstrap"  # to execute a module anew is an import, too:
ANEW = World.execute.__code__
CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@cache
def refuse_real_calls() -> None:
    """From now on: a hook is there for ever.  It looks at what threads of such runs do."""
    real, run_here = REAL, run_of_this_thread  # at the end of the process the globals are gone

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        if (
            event in real
            and (run := run_here()) is not None
            and not run.over
            and not (event == "open" and _is_source(*arguments))
        ):
            _refuse(real[event], run)

    sys.addaudithook(heard)


def _is_source(path: object, mode: object, flags: int) -> bool:
    """Is the text of a program read, as CPython does for a traceback, or where there is none?"""
    named = isinstance(path, str) and (path.endswith(".py") or path[:1] + path[-1:] == "<>")
    return named and not flags & CHANGES


def _refuse(call: str, run: Run) -> None:
    """What a module does while it is imported would be done in any case."""
    frames = list(_frames_of_the_program())
    modules = [frame.f_globals.get("__name__") or "" for frame in frames]
    if IMPORTS in modules or any(frame.f_code is ANEW for frame in frames):
        return
    run.refused = NotSimulated(f"{_who(modules)} makes real calls: {call} is not simulated")
    raise run.refused


def _frames_of_the_program() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(3)
    ends = Run.main.__code__, Run._body.__code__
    while frame is not None and frame.f_code not in ends:
        yield frame
        frame = frame.f_back


def _who(modules: list[str]) -> str:
    """The package that makes the call; if the program does: by which module of the library."""
    for number, name in enumerate(modules):
        if top_of(name) not in LIBRARY:
            if not is_own(name):
                return top_of(name)
            return modules[number - 1] if number else "the program"
    return "the program"
