"""Is that thread asleep?  What /proc says of a thread, without root, for one's own processes.

The helper processes look here as well: what is imported here takes time at each of their starts.
Sources: proc(5), proc_pid_stat(5), proc_pid_wchan(5), proc_pid_syscall(5); schedstat:
Documentation/scheduler/sched-stats.rst of the kernel.
"""

from __future__ import annotations

import os

__all__ = [
    "Schedule", "available", "in_a_call", "sample", "schedstat", "state", "syscall", "voluntary",
    "wchan",
]  # fmt: skip

# Where a thread may sleep: numbers of arch/x86/entry/syscalls/syscall_64.tbl and of
# include/uapi/asm-generic/unistd.h.
NAMES = {
    "x86_64": {
        0: "read", 7: "poll", 23: "select", 34: "pause", 35: "nanosleep", 45: "recvfrom",
        47: "recvmsg", 128: "rt_sigtimedwait", 130: "rt_sigsuspend", 202: "futex",
        230: "clock_nanosleep", 232: "epoll_wait", 270: "pselect6", 271: "ppoll",
        281: "epoll_pwait", 426: "io_uring_enter",
    },
    "aarch64": {
        22: "epoll_pwait", 63: "read", 72: "pselect6", 73: "ppoll", 98: "futex",
        101: "nanosleep", 115: "clock_nanosleep", 133: "rt_sigsuspend", 137: "rt_sigtimedwait",
        207: "recvfrom", 212: "recvmsg", 426: "io_uring_enter",
    },
}  # fmt: skip
_NAMES = NAMES.get(os.uname().machine if hasattr(os, "uname") else "", {})

#: (CPU time ns, time in the run queue ns, times it was put on a core)
Schedule = tuple[int, int, int]


def _read(pid: int | str, tid: int, name: str) -> str:
    """A file of one thread; "" where it is missing or must not be read."""
    try:
        file = os.open(f"/proc/{pid}/task/{tid}/{name}", os.O_RDONLY)
    except OSError:
        return ""
    try:
        return os.read(file, 4096).decode("ascii", "replace").strip()
    except OSError:
        return ""
    finally:
        os.close(file)


def state(pid: int | str, tid: int) -> str:
    """One letter: R runs or is ready, S sleeps, D too, T is stopped, Z is over; or "": ps(1)."""
    text = _read(pid, tid, "stat")
    return text[text.rfind(")") + 1 :].strip()[:1]  # the name before it may hold anything


def wchan(pid: int | str, tid: int) -> str:
    """The kernel's function in which the thread sleeps; "" if it does not, or if it is hidden."""
    name = _read(pid, tid, "wchan").partition(".")[0]  # less what the compiler appended
    return "" if name == "0" else name


def syscall(pid: int | str, tid: int) -> str:
    """The name (or the number) of the call in which it sleeps, "running", or ""."""
    first = _read(pid, tid, "syscall").partition(" ")[0]
    return _NAMES.get(int(first), first) if first.lstrip("-").isdigit() else first


def sample(pid: int | str, tid: int) -> tuple[str, str, str]:
    """`(state, wchan, syscall)` of the thread now; they are read one after another."""
    return state(pid, tid), wchan(pid, tid), syscall(pid, tid)


def in_a_call(letter: str, function: str, name: str) -> bool:
    """Does a thread of that sample sleep in a call of its own?

    Not in a futex: there it waits for the interpreter's lock.
    """
    return letter == "S" and not (name or function).startswith("futex")


def schedstat(pid: int | str, tid: int) -> Schedule | None:
    """What the scheduler has counted for the thread; None where it does not tell.

    The CPU time of a thread that runs is as old as the last tick: take its own clock for that
    (CLOCK_THREAD_CPUTIME_ID).  The time in the run queue is exact.
    """
    words = _read(pid, tid, "schedstat").split()
    return (int(words[0]), int(words[1]), int(words[2])) if len(words) == 3 else None


def voluntary(pid: int | str, tid: int) -> int | None:
    """How often the thread gave its core away, to sleep; None where the system does not tell."""
    for line in _read(pid, tid, "status").splitlines():
        name, _, count = line.partition(":")
        if name == "voluntary_ctxt_switches":
            return int(count)
    return None


def available() -> bool:
    """Does this system tell of a thread's state?"""
    return bool(state("self", os.getpid()))
