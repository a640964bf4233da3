"""What this system offers of the five models, found out by trying: versions prove nothing."""

from __future__ import annotations

import os
import platform
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from errno import EACCES, EINVAL, ENOMEM, ENOSYS, EOPNOTSUPP, EPERM

from ..calls import IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_SINGLE_ISSUER, Request
from ..machine import procfs
from ..machine.cores import usable_cores
from . import aio, strace
from .ring import Ring

try:
    import fcntl as real_fcntl
except ImportError:  # Windows
    real_fcntl = None  # type: ignore[assignment]

__all__ = [
    "Ancillary", "Unsupported", "feature_of", "features", "machine", "missing", "read_stamp",
    "real_fcntl", "stamp",
]  # fmt: skip

SO_TIMESTAMPNS = 35  # socket(7); as an ancillary message's type it is the same number
STAMP_SETTLES_S = 0.002  # the first datagram after the setsockopt may carry the time of its read
REFUSALS = {ENOSYS, EPERM, EACCES}
#: `recvmsg`'s ancillary messages: level, type, data.
Ancillary = list[tuple[int, int, bytes]]
#: What else a call may fail with because its feature is not there; the probe tells.
DOUBTS = {EINVAL, ENOMEM, EOPNOTSUPP}


class Unsupported(RuntimeError):
    """This system lacks `feature`, for `reason`; there is no recording to show either."""

    def __init__(self, feature: str, reason: str) -> None:
        super().__init__(f"this system has no {feature}: {reason}")
        self.feature, self.reason = feature, reason

    def __reduce__(self) -> tuple[type[Unsupported], tuple[str, str]]:
        """So that it survives the way out of another process."""
        return type(self), (self.feature, self.reason)


def missing(name: str) -> OSError:
    """The errno for a call that this system does not have."""
    return OSError(ENOSYS, f"{name}: {os.strerror(ENOSYS)}")


# -- probes: each raises OSError or AttributeError where its feature is missing ------------------


def _probe_select() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        select.select([one], [], [], 0)


def _probe_poll() -> None:
    select.poll()


def _probe_epoll() -> None:
    select.epoll().close()


def _probe_sigio() -> None:
    if real_fcntl is None:
        raise missing("fcntl")
    os.O_ASYNC, signal.SIGIO, real_fcntl.F_SETOWN  # noqa: B018


def _probe_real_time_signals() -> None:
    _probe_sigio()
    real_fcntl.F_SETSIG, signal.SIGRTMIN, signal.sigtimedwait  # noqa: B018


def _probe_io_uring() -> None:
    """All of it, once: a receive that is handed in, waited for, and gets its byte."""
    here, there = socket.socketpair()
    with here, there, closing(Ring(2)) as ring:
        there.send(b"!")
        ring.submit(here.fileno(), 1)
        result = ring.wait()[1]
        if isinstance(result, OSError):  # before Linux 5.6 it knows no IORING_OP_RECV
            raise result


def _probe_defer_taskrun() -> None:
    Ring(2, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN).close()


def _probe_schedstat() -> None:
    if procfs.schedstat("self", threading.get_native_id()) is None:
        raise missing("/proc/self/task/*/schedstat")


def _probe_wchan() -> None:
    if not os.access("/proc/self/wchan", os.R_OK):
        raise missing("/proc/self/wchan")


def _probe_stamps() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there,
    ):
        here.bind(("127.0.0.1", 0))
        stamp(here)
        there.sendto(b"?", here.getsockname())
        if read_stamp(here.recvmsg(1, 128)[1]) is None:
            raise missing("SO_TIMESTAMPNS")


PROBES: dict[str, Callable[[], None]] = {
    "select": _probe_select,
    "poll": _probe_poll,
    "epoll": _probe_epoll,
    "SIGIO": _probe_sigio,
    "real-time signals": _probe_real_time_signals,
    "io_uring": _probe_io_uring,
    "DEFER_TASKRUN": _probe_defer_taskrun,
    "POSIX aio": aio.available,
    "arrival stamps": _probe_stamps,
    "schedstat": _probe_schedstat,
    "wchan": _probe_wchan,
    "strace": strace.available,
}


def features() -> list[tuple[str, bool, str]]:
    """`(feature, is it there, why not)` for every feature that a measurement may use."""
    return [(name, *_try(probe)) for name, probe in PROBES.items()]


def _try(probe: Callable[[], None]) -> tuple[bool, str]:
    try:
        probe()
    except (OSError, AttributeError) as error:
        return False, str(error)
    return True, ""


# -- which feature does a call need? -----------------------------------------------------------


def feature_of(request: Request | None, error: OSError) -> str | None:
    """The feature whose absence made `request` fail with `error`; None if that is not why."""
    if request is None or not request.feature or error.errno not in REFUSALS | DOUBTS:
        return None
    probe = PROBES.get(request.feature)
    doubted = error.errno in DOUBTS and (probe is None or _try(probe)[0])
    return None if doubted else request.feature


# -- arrival stamps ----------------------------------------------------------------------------


def stamp(one: socket.socket) -> None:
    """Ask for the kernel's arrival time with each receive (SO_TIMESTAMPNS, socket(7))."""
    one.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    time.sleep(STAMP_SETTLES_S)


def read_stamp(ancillary: Ancillary) -> int | None:
    """The arrival in ns of CLOCK_REALTIME among `recvmsg`'s ancillary messages, or None."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(data) >= 16:
            seconds = int.from_bytes(data[:8], sys.byteorder)
            return seconds * 1_000_000_000 + int.from_bytes(data[8:16], sys.byteorder)
    return None


def machine() -> str:
    """What a measurement ran on: system, cores and Python, without any name of a host."""
    release = ".".join(platform.release().split(".")[:2])
    python = ".".join(platform.python_version_tuple()[:2])
    cores = usable_cores()
    return (
        f"{platform.system()} {release}, {cores} core{'' if cores == 1 else 's'}, "
        f"{platform.python_implementation()} {python}"
    )
