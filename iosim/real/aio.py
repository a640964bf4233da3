"""POSIX asynchronous reads as glibc does them: a helper thread that calls read(2).

Sources: aio(7), aio_read(3), sigevent(7) and glibc's bits/types and <aio.h> (64-bit layout).
"""

from __future__ import annotations

import ctypes
import os
import platform
from errno import EINPROGRESS, ENOSYS
from time import perf_counter, sleep

from .libc import failure

__all__ = ["Block", "available"]

SIGEV_SIGNAL, SIGEV_NONE = 0, 1
CLOSE_S = 1.0  # how long to wait for the helper's read to end once its socket is shut


class _Control(ctypes.Structure):
    """struct aiocb of glibc on 64-bit systems: 168 bytes, the private part as padding."""

    _fields_ = [
        ("fildes", ctypes.c_int), ("lio_opcode", ctypes.c_int), ("reqprio", ctypes.c_int),
        ("buf", ctypes.c_void_p), ("nbytes", ctypes.c_size_t),
        ("sigval", ctypes.c_void_p), ("signo", ctypes.c_int), ("notify", ctypes.c_int),
        ("_sigevent", ctypes.c_byte * 48), ("_private", ctypes.c_byte * 32),
        ("offset", ctypes.c_longlong), ("_reserved", ctypes.c_byte * 32),
    ]  # fmt: skip


def _library() -> ctypes.CDLL:
    """OSError (ENOSYS) unless this is glibc on a 64-bit system: other layouts differ."""
    if platform.libc_ver()[0] != "glibc" or ctypes.sizeof(ctypes.c_void_p) != 8:
        raise OSError(ENOSYS, "aio_read is called in glibc's 64-bit layout only")
    for name in (None, "librt.so.1"):  # glibc before 2.34 had it in librt
        library = ctypes.CDLL(name, use_errno=True)
        if hasattr(library, "aio_read"):
            library.aio_return.restype = ctypes.c_ssize_t
            return library
    raise OSError(ENOSYS, "no aio_read in the C library")


class Block:
    """A control block with a read under way.  OSError if it could not be started."""

    def __init__(self, fd: int, size: int, signo: int | None = None) -> None:
        self.fd = fd
        self._library = _library()
        self._buffer = ctypes.create_string_buffer(size)
        how = SIGEV_NONE if signo is None else SIGEV_SIGNAL
        self._control = _Control(
            fildes=fd, buf=ctypes.addressof(self._buffer), nbytes=size, signo=signo or 0, notify=how
        )
        if self._library.aio_read(ctypes.byref(self._control)):
            raise failure()

    def error(self) -> int:
        """EINPROGRESS, 0 or the read's errno: aio_error(3)."""
        errno: int = self._library.aio_error(ctypes.byref(self._control))
        return errno

    def result(self) -> bytes:
        """The bytes read: aio_return(3).  OSError with its errno; EINPROGRESS if not done."""
        errno = self.error()
        if errno:
            raise OSError(errno, os.strerror(errno))
        count = self._library.aio_return(ctypes.byref(self._control))
        return ctypes.string_at(self._buffer, max(0, count))

    def finish(self) -> None:
        """Wait until the helper has let go of the buffer, which a shut socket makes it do."""
        deadline = perf_counter() + CLOSE_S
        while self.error() == EINPROGRESS:
            if perf_counter() > deadline:
                _abandoned.append(self)  # never free memory that a thread may write
                return
            sleep(0.001)


_abandoned: list[Block] = []


def available() -> None:
    """OSError (ENOSYS) where there is no aio_read to call."""
    _library()
