"""`time`, `_signal`, `os`, `io`, `fcntl`: as far as descriptors, clocks, signals are concerned."""

from __future__ import annotations

import functools
import importlib
import io
import math
import os
import re
import signal
import time
from collections.abc import Callable, Iterable
from errno import EBADF, ECHILD, EINVAL, ENOSYS
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from .. import calls
from ..machine.errors import failure
from ..validate import HOUR_NS
from .calls import FIONBIO, FIONREAD, SIOCOUTQ, ioctl, number_of
from .run import NotSimulated
from .world import like

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

    from .world import World

T = TypeVar("T")

__all__ = [
    "refusing",
    "virtual_fcntl",
    "virtual_io",
    "virtual_os",
    "virtual_signal",
    "virtual_time",
    "without_processes",
]

SECOND = 1_000_000_000
LOOK_NS = 50  # to read a clock: vdso(7)
EPOCH_NS = 946_684_800_000_000_000  # 2000-01-01, when every run begins
#: Functions of `os` that make descriptors or files, or take them by names that tell nothing.
FILES = (
    "copy_file_range", "fork", "forkpty", "makedirs", "memfd_create", "open", "openpty",
    "posix_openpt", "removedirs", "splice",
)  # fmt: skip
#: The names of arguments.
A_DESCRIPTOR = re.compile(r"(?!.*dir_)(?:\w+_)?fd(?:_\w+|2)?")
A_FILE = re.compile(r"path|src|dst|old|new")
LOOKS = (  # at files of this machine: they change nothing
    "access", "fspath", "getxattr", "listdir", "listxattr", "lstat", "pathconf", "readlink",
    "scandir", "stat", "statvfs",
)  # fmt: skip


#: Of processes, ours among them: it would be gone with what runs it.
PROCESSES = (
    "_exit", "abort", "chroot", "execl", "execle", "execlp", "execlpe", "execv", "execve", "execvp",
    "execvpe", "killpg", "nice", "popen", "posix_spawn", "posix_spawnp", "setns",
    "setpgid", "setpgrp", "setsid", "spawnl", "spawnle", "spawnlp", "spawnlpe", "spawnv", "spawnve",
    "spawnvp", "spawnvpe", "system", "unshare",
)  # fmt: skip
WAITS = ("wait", "wait3", "wait4", "waitid", "waitpid")


@functools.cache
def _of_an(argument: re.Pattern[str]) -> frozenset[str]:
    """The functions of `os` that have an argument of such a name."""

    def arguments(function: object) -> Iterable[str]:
        """Their names. (`inspect.signature` of all of `os` takes 40 ms.)"""
        if isinstance(function, FunctionType):
            return function.__code__.co_varnames[: function.__code__.co_argcount]
        return re.findall(r"\w+", getattr(function, "__text_signature__", None) or "")

    return frozenset(
        name for name, value in vars(os).items() if any(map(argument.fullmatch, arguments(value)))
    )


def refusing(what: str) -> Callable[..., NoReturn]:
    """A function that says that `what` is not simulated."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise NotSimulated(f"{what} is not simulated")

    return refuse


def virtual_time(world: World) -> ModuleType:
    """`time`: its clocks are that of the kernel; reading one takes a moment."""

    def read() -> int:
        world.call(calls.compute(LOOK_NS))
        return world.run.now()

    def since_epoch() -> int:
        return EPOCH_NS + read()

    def sleep(seconds: float) -> None:
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        ns = math.ceil(seconds * 1e9)
        world.call(calls.sleep(min(ns, HOUR_NS)))  # also of 0 s: others have their turn
        while (ns := ns - HOUR_NS) > 0:
            world.call(calls.sleep(min(ns, HOUR_NS)))

    def seconds(clock: Callable[[], int]) -> Callable[[], float]:
        return lambda: clock() / 1e9

    def clock_ns(which: int) -> int:
        if which not in clocks:
            refusing(f"time.clock_gettime({which})")()
        return clocks[which]()

    def on_calendar(convert: Callable[[float], T]) -> Callable[..., T]:
        return lambda secs=None: convert(since_epoch() / 1e9 if secs is None else secs)

    def text(form: str, when: time.struct_time | None = None) -> str:
        return time.strftime(form, time.localtime(since_epoch() / 1e9) if when is None else when)

    def as_text(when: time.struct_time | None = None) -> str:
        return time.asctime(time.localtime(since_epoch() / 1e9) if when is None else when)

    clocks = {
        getattr(time, name): clock
        for name, clock in (
            ("CLOCK_REALTIME", since_epoch), ("CLOCK_MONOTONIC", read), ("CLOCK_BOOTTIME", read),
            ("CLOCK_MONOTONIC_RAW", read),
        )
        if hasattr(time, name)
    }  # fmt: skip
    of_cpu = {
        name: refusing(f"time.{name}")
        for name in ("process_time", "process_time_ns", "thread_time", "thread_time_ns",
                     "clock_settime", "clock_settime_ns", "pthread_getcpuclockid")
    }  # fmt: skip
    return like(
        time, sleep=sleep, monotonic_ns=read, perf_counter_ns=read, time_ns=since_epoch,
        monotonic=seconds(read), perf_counter=seconds(read), time=seconds(since_epoch), **of_cpu,
        clock_gettime=lambda which: clock_ns(which) / 1e9, clock_gettime_ns=clock_ns,
        localtime=on_calendar(time.localtime), gmtime=on_calendar(time.gmtime),
        ctime=on_calendar(time.ctime), strftime=text, asctime=as_text,
    )  # fmt: skip


def virtual_signal(world: World) -> ModuleType:
    """`_signal`: the handlers of this run."""
    _signal = importlib.import_module("_signal")  # which signal.py stands on

    def set_handler(signo: int, handler: object) -> object:
        number = int(signo)
        if not 0 < number < signal.NSIG:
            raise ValueError("signal number out of range")
        if number in (signal.SIGKILL, signal.SIGSTOP):  # sigaction(2)
            raise failure(EINVAL)
        if handler in (signal.SIG_IGN, signal.SIG_DFL):
            acts: Callable[..., object] = lambda *_: None  # noqa: E731
        elif callable(handler):
            acts = handler
        else:
            raise TypeError(
                "signal handler must be signal.SIG_IGN, signal.SIG_DFL, or a callable object"
            )
        old = world.run.handlers.get(number, signal.SIG_DFL)
        world.run.on_signal(number, acts)
        world.run.handlers[number] = handler
        return old

    refused = {
        name: refusing(f"signal.{name}")
        for name in ("pthread_kill", "sigwaitinfo", "sigtimedwait",
                     "pidfd_send_signal")
        if hasattr(_signal, name)
    }  # fmt: skip

    def set_wakeup_fd(fd: int, *, warn_on_full_buffer: bool = True) -> int:
        before, world.run.wakeup_fd = world.run.wakeup_fd, int(fd)
        return before

    def set_mask(how: int, mask: Iterable[int]) -> set[int]:
        held, named = world.run.held(), set(map(int, mask))
        if how in (signal.SIG_BLOCK, signal.SIG_SETMASK):
            world.call(calls.sigprocmask(calls.SIG_BLOCK, sorted(named)))
        free = held - named if how == signal.SIG_SETMASK else named
        if how != signal.SIG_BLOCK:
            world.call(calls.sigprocmask(calls.SIG_UNBLOCK, sorted(free)))
        return held

    def sigpending() -> set[int]:
        return set(world.run.mine().task.pending or ())

    def setitimer(which: int, seconds: float, interval: float = 0.0) -> tuple[float, float]:
        if which != signal.ITIMER_REAL:
            refusing("a timer of CPU time")()
        left, again = world.run.alarm(math.ceil(seconds * 1e9), math.ceil(interval * 1e9))
        return left / 1e9, again / 1e9

    def getitimer(which: int) -> tuple[float, float]:
        if which != signal.ITIMER_REAL:
            refusing("a timer of CPU time")()
        left, again = world.run.alarm_left()
        return left / 1e9, again / 1e9

    return like(
        _signal, getitimer=getitimer, signal=set_handler, set_wakeup_fd=set_wakeup_fd,
        getsignal=lambda signo: world.run.handlers.get(int(signo), signal.SIG_DFL),
        pause=lambda: world.call(calls.pause()), **refused,
        raise_signal=lambda signo: world.run.raise_signal(int(signo)),
        siginterrupt=lambda signo, flag: None,  # CPython repeats the call in any case: PEP 475
        pthread_sigmask=set_mask, setitimer=setitimer, sigpending=sigpending,
        sigwait=lambda signals: world.call(calls.sigtimedwait(tuple(map(int, signals)))),
        alarm=lambda seconds: math.ceil(world.run.alarm(int(seconds) * SECOND)[0] / SECOND),
    )  # fmt: skip


def virtual_os(world: World) -> ModuleType:
    """`os`: its calls on descriptors; files are refused."""

    call = world.call

    def on(kind: Callable[..., calls.Request], fd: int, *arguments: object) -> Any:
        if fd < 0:  # as `fileno` tells of what is closed
            raise failure(EBADF)
        return call(kind(fd, *arguments))

    def pipe2(flags: int = 0) -> tuple[int, int]:
        ends: tuple[int, int] = call(calls.pipe())
        if flags & os.O_NONBLOCK:
            for end in ends:
                call(ioctl(end, FIONBIO, 1))
        return ends

    def eventfd_write(fd: int, value: int) -> None:
        on(calls.write, fd, value.to_bytes(8, "little"))

    def get_blocking(fd: int) -> bool:
        return not world.run.kernel.table.get(fd).flags & calls.O_NONBLOCK

    def kill(pid: int, signo: int) -> None:
        """Oneself: there is nobody else."""
        if pid != os.getpid():
            refusing("os.kill of another process")()
        world.run.raise_signal(int(signo))

    def no_child(*_: object, **__: object) -> NoReturn:
        raise failure(ECHILD)

    def no_such_call(*_: object, **__: object) -> NoReturn:
        raise failure(ENOSYS)  # as from a kernel that is older: asyncio asks

    return like(
        _without_descriptors(), kill=kill, pidfd_open=no_such_call,
        **{name: no_child for name in WAITS if hasattr(os, name)},
        read=lambda fd, size: on(calls.read, fd, size) if size else b"",
        write=lambda fd, data: on(calls.write, fd, bytes(data)),
        close=lambda fd: on(calls.close, fd),
        pipe=lambda: call(calls.pipe()), pipe2=pipe2,
        eventfd=lambda initval=0, flags=0: call(calls.eventfd(initval)),
        eventfd_read=lambda fd: int.from_bytes(on(calls.read, fd, 8), "little"),
        eventfd_write=eventfd_write, get_blocking=get_blocking,
        set_blocking=lambda fd, blocking: on(ioctl, fd, FIONBIO, int(not blocking)),
        register_at_fork=lambda **_: None,
    )  # fmt: skip


@functools.cache
def _without_descriptors() -> ModuleType:
    """`os` without what changes files, or takes the number of a descriptor for a real one's.

    One can look at the files of this machine, by name.
    """

    def by_name(function: Callable[..., T]) -> Callable[..., T]:
        def call(*arguments: object, **named: object) -> T:
            if arguments and isinstance(arguments[0], int):
                refusing(f"os.{function.__name__} of a descriptor")()
            return function(*arguments, **named)

        return call

    without_one = {*os.supports_fd, os.get_terminal_size}  # they will do without a descriptor
    either = {function.__name__: by_name(function) for function in without_one}
    refused = {*FILES, *PROCESSES, *(_of_an(A_DESCRIPTOR) - either.keys())}
    refused |= _of_an(A_FILE) - {*LOOKS}
    refuse = {name: refusing(f"os.{name}") for name in refused if hasattr(os, name)}
    return like(os, **(either | refuse))


def virtual_io(world: World) -> ModuleType:
    """`io` without what opens a file: it would take a descriptor's number for a real one's."""
    return like(io, **{name: refusing(f"io.{name}") for name in ("FileIO", "open", "open_code")})


def without_processes(world: World) -> ModuleType:
    """`subprocess`, whose functions are refused: asyncio imports it for its constants."""
    import subprocess

    def refused(value: object) -> bool:
        return callable(value) and not (isinstance(value, type) and issubclass(value, Exception))

    functions = {name: value for name, value in vars(subprocess).items() if refused(value)}
    return like(subprocess, **{name: refusing(f"subprocess.{name}") for name in functions})


def virtual_fcntl(world: World) -> ModuleType:
    """`fcntl`: flags, owners and signals of a descriptor; FIONREAD and TIOCOUTQ."""
    import fcntl

    def control(fd: FileDescriptorLike, cmd: int, arg: int = 0) -> int:
        if cmd == fcntl.F_GETFL:
            return int(world.run.kernel.table.get(number_of(fd)).flags) | os.O_RDWR
        if cmd == fcntl.F_SETFL:
            arg &= calls.O_NONBLOCK | calls.O_ASYNC
        if cmd == fcntl.F_SETOWN:
            arg = calls.SELF
        if cmd not in (calls.F_SETFL, calls.F_SETOWN, calls.F_SETSIG):
            return int(refusing(f"fcntl.fcntl(cmd={cmd})")())
        world.call(calls.fcntl(number_of(fd), cmd, arg))
        return 0

    def ask(fd: FileDescriptorLike, op: int, arg: object = 0, mutate: bool = True) -> int | bytes:
        if op not in (FIONBIO, FIONREAD, SIOCOUTQ):
            return refusing(f"fcntl.ioctl(op={op:#x})")()
        if not isinstance(arg, bytes | int):
            refusing(f"fcntl.ioctl with {type(arg).__name__}, which it would fill,")()
        setting = int.from_bytes(arg, "little") if isinstance(arg, bytes) else arg
        found: int = world.call(ioctl(number_of(fd), op, setting))
        return found.to_bytes(4, "little") if isinstance(arg, bytes) else found

    return like(fcntl, fcntl=control, ioctl=ask)
