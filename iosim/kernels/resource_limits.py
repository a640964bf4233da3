"""What cannot begin says what could not be had, and which limit that met."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from errno import EADDRNOTAVAIL, EAGAIN, EMFILE, ENETUNREACH, ENFILE, ENOMEM
from traceback import walk_tb
from types import TracebackType

__all__ = ["NO_THREAD", "beginning", "why"]

NO_THREAD = "can't start new thread"  # what Python's _thread says of EAGAIN, in a RuntimeError
FEW = 4  # descriptors: those that the failed attempt had open are free again
LOOPBACK = "127.0.0.1 cannot be reached: is the network interface lo up?"


@contextmanager
def beginning(what: str) -> Iterator[None]:
    """In this block `what` begins.  An OSError leaves it with a note of `what` and of the limit.

    OSError (EAGAIN) also where Python has only a RuntimeError: no thread (pthread_create(3)).
    """
    try:
        yield
    except OSError as error:
        raise _noted(error, what) from error.__cause__
    except RuntimeError as error:
        if str(error) != NO_THREAD:
            raise
        raise _noted(OSError(EAGAIN, f"no thread: {os.strerror(EAGAIN)}"), what) from error


def _noted(error: OSError, what: str) -> OSError:
    if not getattr(error, "__notes__", ()):  # else the inner of two beginnings has done it
        _close_forgotten(error.__traceback__)
        error.add_note(": ".join([f"{what} could not begin", *(why(error.errno) or _used_up())]))
    return error


def _used_up() -> list[str]:
    """Are there hardly any descriptors left?  The library says, "no usable temporary directory"."""
    with ExitStack() as few:
        try:
            for _ in range(FEW):
                few.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            return why(error.errno)
    return []


#: What the library has opened, and leaves open when a later step fails: by module and function.
#: The last name is one that exists only where, or once, the function closes them itself.
FORGOTTEN = {
    ("subprocess", "_get_handles"):
        ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite", "err_close_fds"),
    ("multiprocessing.popen_fork", "_launch"):
        ("parent_r", "child_w", "child_r", "parent_w", ""),
    ("multiprocessing.forkserver", "connect_to_new_process"):
        ("parent_r", "child_w", "child_r", "parent_w", "allfds"),
}  # fmt: skip


def _close_forgotten(trace: TracebackType | None) -> None:
    """Close the pipes of such a function, which nobody else can any more."""
    for frame, _ in walk_tb(trace):
        function = str(frame.f_globals.get("__name__")), frame.f_code.co_name
        *names, closes = FORGOTTEN.get(function, ("",))
        for name in names:
            if closes not in frame.f_locals and frame.f_locals.get(name, -1) >= 0:
                with suppress(OSError):  # another Python's library does close it
                    os.close(frame.f_locals[name])


def why(errno: int | None) -> list[str]:
    """The limit that an errno speaks of; [] if it is none that can be told."""
    files, tasks = _limit("RLIMIT_NOFILE"), _limit("RLIMIT_NPROC")
    said = {
        EMFILE: f"a process may have {files} descriptors open here (RLIMIT_NOFILE)",
        ENFILE: "this system has no room for more open files (proc(5), fs/file-max)",
        EAGAIN: f"a user may have {tasks} processes and threads here (RLIMIT_NPROC), "
        "a container perhaps fewer (pids.max)",
        ENOMEM: "there is no memory left for it",
        EADDRNOTAVAIL: LOOPBACK,
        ENETUNREACH: LOOPBACK,
    }
    return [said[errno]] if errno in said else []


def _limit(name: str) -> str:
    """A limit of getrlimit(2) in words: "1,024", or "any number of"."""
    try:
        import resource
    except ImportError:  # Windows
        return "any number of"
    soft = resource.getrlimit(getattr(resource, name))[0]
    return "any number of" if soft == resource.RLIM_INFINITY else f"{soft:,}"
