"""POSIX asynchronous reads as glibc does them: a helper thread that calls read(2).

Sources: aio(7), aio_read(3), sigevent(7) and glibc's bits/types and <aio.h> (64-bit layout).
"""

from __future__ import annotations

import ctypes
import platform
import warnings
from collections.abc import Callable
from errno import EINPROGRESS, EINVAL, ENOSYS
from functools import partial
from time import perf_counter, sleep
from typing import TYPE_CHECKING

from ..calls import aio_error, aio_read, aio_return
from ..machine.errors import failure
from .answers import Prepared, answers
from .libc import last_failure
from .measured import Job

if TYPE_CHECKING:
    from .driver import Driver

__all__ = ["Block", "Reads", "available"]

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
            raise last_failure()

    def error(self) -> int:
        """EINPROGRESS, 0 or the read's errno: aio_error(3)."""
        errno: int = self._library.aio_error(ctypes.byref(self._control))
        return errno

    def result(self) -> bytes:
        """The bytes read: aio_return(3).  OSError with its errno; EINPROGRESS if not done."""
        errno = self.error()
        if errno:
            raise failure(errno)
        count = self._library.aio_return(ctypes.byref(self._control))
        return ctypes.string_at(self._buffer, max(0, count))

    def under_way(self) -> bool:
        """Has the helper not read yet?"""
        return self.error() == EINPROGRESS

    def finish(self) -> None:
        """Wait until the helper has let go of the buffer, which a shut socket makes it do."""
        deadline = perf_counter() + CLOSE_S
        while self.under_way():
            if perf_counter() > deadline:
                _abandoned.append(self)  # never free memory that a thread may write
                words = f"an aio_read of {self.fd} goes on after its run"
                warnings.warn(words, ResourceWarning, stacklevel=2)
                return
            sleep(0.001)


_abandoned: list[Block] = []


def available() -> None:
    """OSError (ENOSYS) where there is no aio_read to call."""
    _library()


# -- the calls ---------------------------------------------------------------------------------


class Reads:
    """The reads of a program, by the number of their control block, and what is known of each."""

    def __init__(self) -> None:
        self._blocks: dict[int, Block] = {}
        self._jobs: dict[int, Job] = {}

    def begin(self, block: Block, job: Job) -> int:
        """Its number."""
        number = len(self._blocks) + 1
        self._blocks[number], self._jobs[number] = block, job
        return number

    def block(self, number: int) -> Block:
        """EINVAL if there is none."""
        if number not in self._blocks:
            raise failure(EINVAL)
        return self._blocks[number]

    def job(self, number: int) -> Job:
        """What its helper does."""
        return self._jobs[number]

    def helper(self) -> str:
        """The first of glibc's helper threads that has nothing to do."""
        busy = {job.helper for job in self._jobs.values() if job.end is None}
        names = ("aio helper" if n == 1 else f"aio helper {n}" for n in range(1, len(busy) + 2))
        return next(name for name in names if name not in busy)

    def uses(self, fd: int) -> list[Callable[[], bool]]:
        """What is under way from it: each tells whether it still is."""
        return [one.under_way for one in self._blocks.values() if one.fd == fd and one.under_way()]

    def finish(self, shut: Callable[[], None]) -> None:
        """Wait until none is under way; `shut` ends those that wait for a socket."""
        unfinished = [one for one in self._blocks.values() if one.under_way()]
        if unfinished:
            shut()
        for block in unfinished:
            block.finish()


@answers(aio_read)
def _aio_read(driver: Driver, request: aio_read) -> Prepared:
    fd = driver.process.descriptors.operand(request.fd)
    if request.signo is not None:
        driver.signals.guard(request.signo)
    return partial(Block, fd, request.size, request.signo), partial(_begun, driver)


def _begun(driver: Driver, call: int, start: int, end: int, block: Block) -> tuple[int, int]:
    process = driver.process
    helper = process.reads.helper()
    read = process.run.tape.enter(helper, end, "read", block.fd, None, True, False)
    job = Job(helper, read, end)
    process.run.jobs.append(job)
    return process.reads.begin(block, job), 0


@answers(aio_error)
def _aio_error(driver: Driver, request: aio_error) -> Prepared:
    block = driver.process.reads.block(request.block)
    return block.error, partial(_looked, driver, request.block)


def _looked(
    driver: Driver, number: int, call: int, start: int, end: int, errno: int
) -> tuple[int, int]:
    job = driver.process.reads.job(number)
    if errno != EINPROGRESS and job.end is None:
        job.end = end
        driver.process.run.tape.leave(job.call, end, errno or None)
    return errno, 0


@answers(aio_return)
def _aio_return(driver: Driver, request: aio_return) -> Prepared:
    block = driver.process.reads.block(request.block)
    return block.result, partial(_returned, driver, request.block)


def _returned(
    driver: Driver, number: int, call: int, start: int, end: int, data: bytes
) -> tuple[bytes, int]:
    _looked(driver, number, call, start, end, 0)
    process = driver.process
    job, fd = process.reads.job(number), process.reads.block(number).fd
    if job.receipt is not None or job.end is None:  # taken already: aio_return(3) says once
        return data, 0
    parts = process.completed(driver, fd, data, job.start, job.end, job.call)
    if parts:
        job.receipt = process.run.receipts[-1]
    for fate, _ in parts:
        fate.received = end if fate.received is not None else None
    return data, sum(count for _, count in parts)
