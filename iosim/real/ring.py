"""The two rings of io_uring, through ctypes: shared memory, and three entries into the kernel.

Sources: io_uring(7), io_uring_setup(2), io_uring_enter(2) and include/uapi/linux/io_uring.h.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import select
import struct
import sys
from contextlib import suppress
from errno import EBADF, EBUSY, EINTR, ENOSYS

from ..calls import IORING_SETUP_DEFER_TASKRUN
from ..machine.errors import failure
from .libc import last_failure, libc

__all__ = ["Outcome", "Ring", "await_its_end"]

SETUP, ENTER = 425, 426  # the same numbers on every architecture
OP_NOP, OP_ACCEPT, OP_ASYNC_CANCEL, OP_SEND, OP_RECV = 0, 13, 14, 26, 27
MSG_WAITALL, SOCK_CLOEXEC = 0x100, 0o2000000
GETEVENTS = 1  # io_uring_enter: wait for completions
FEAT_SINGLE_MMAP = 1  # both rings in one mapping; Linux 5.4
OFF_RINGS, OFF_SQES = 0, 0x1000_0000
SQE, CQE = struct.Struct("<BBHiQQIIQ24x"), struct.Struct("<QiI")
PARAMS_SIZE, FLAGS, SQ_OFF, CQ_OFF = 120, 8, 40, 80  # struct io_uring_params
GONE_MS = 100  # for the end of a ring that was closed: 11 to 21 ms, measured
CLOSE_ROUNDS = 100  # of waiting for cancelled receives; one is enough unless signals interrupt


def await_its_end() -> None:
    """Sleep until the kernel has put away a ring that this thread has made and closed.

    Some ms after close(2) it has work for that thread (task work: io_ring_exit_work in
    io_uring/io_uring.c), which interrupts whatever the thread sleeps in by then: a blocking send
    would come back with fewer bytes.  Most calls begin again and say nothing; epoll_wait(2), which
    never does (signal(7)), tells.
    """
    event = ctypes.create_string_buffer(16)
    with select.epoll() as nothing:
        libc().epoll_wait(nothing.fileno(), event, 1, GONE_MS)


#: What became of an operation: a number (a descriptor, a count), what was received, or its errno.
Outcome = int | bytes | OSError


class Ring:
    """One pair of rings, with IORING_SETUP_ `flags`.

    OSError where the system refuses it (ENOSYS, EPERM, ENOMEM), or does not know a flag (EINVAL).
    """

    def __init__(self, entries: int, flags: int = 0) -> None:
        params = bytearray(PARAMS_SIZE)
        struct.pack_into("I", params, FLAGS, flags)
        self.deferred = bool(flags & IORING_SETUP_DEFER_TASKRUN)
        self.fd = _enter_kernel(SETUP, entries, _address(params))
        try:
            self._map(params)
        except BaseException:
            os.close(self.fd)
            raise
        self._buffers: dict[int, bytearray] = {}
        self._kinds: dict[int, int] = {}  # of what was prepared
        self._entries = entries
        self._waiting: list[int] = []  # numbers of what is prepared, and not yet handed in
        self._serial = 0
        self._over = False  # nobody is to wait for it any more

    def _map(self, params: bytearray) -> None:
        sq_entries, cq_entries = struct.unpack_from("II", params)
        if not struct.unpack_from("I", params, 20)[0] & FEAT_SINGLE_MMAP:
            raise OSError(ENOSYS, "this kernel's io_uring has two mappings (before Linux 5.4)")
        self._sq_head, self._sq_tail, self._sq_mask, *_, array = struct.unpack_from(
            "7I", params, SQ_OFF
        )
        self._array = array
        self._cq_head, self._cq_tail, self._cq_mask, _, _, self._cqes = struct.unpack_from(
            "6I", params, CQ_OFF
        )
        size = max(array + 4 * sq_entries, self._cqes + CQE.size * cq_entries)
        self._rings = _Mapping(self.fd, size, OFF_RINGS)
        try:
            self._sqes = _Mapping(self.fd, SQE.size * sq_entries, OFF_SQES)
        except BaseException:
            self._rings.close()
            raise

    def _get(self, offset: int) -> int:
        value: int = struct.unpack_from("I", self._rings.memory, offset)[0]
        return value

    def _put(self, offset: int, value: int) -> None:
        struct.pack_into("I", self._rings.memory, offset, value & 0xFFFF_FFFF)

    # -- the three things to do with it --------------------------------------------------------

    def submit(self, fd: int, size: int, sqe_flags: int = 0, msg_flags: int = 0) -> int:
        """Ask for a receive of at most `size` bytes from `fd`; its number.

        `sqe_flags`: IOSQE_, of io_uring_enter(2); `msg_flags`: MSG_, of recv(2).
        """
        self._serial += 1
        buffer = self._buffers[self._serial] = bytearray(size)
        address = _address(buffer)
        self._push(OP_RECV, fd, address, size, self._serial, msg_flags, sqe_flags)
        return self._serial

    def peek(self) -> tuple[int, bytes | OSError] | None:
        """Take the oldest completion, `(number, data or error)`, off the ring; None if none."""
        while (completion := self._next()) is not None:
            number, result = completion
            if number in self._buffers:
                buffer = self._buffers.pop(number)
                if result < 0:
                    return number, failure(-result)
                return number, bytes(memoryview(buffer)[:result])
        return None

    def wait(self) -> tuple[int, bytes | OSError]:
        """As `peek`, but sleeps until there is one.  A call even if there is one already."""
        while True:
            self._await(0)
            if (completion := self.peek()) is not None:
                return completion

    def _await(self, prepared: int) -> None:
        """Hand in so many entries, and sleep until there is a completion."""
        _enter_kernel(ENTER, self.fd, prepared, 1, GETEVENTS, 0, 0)
        if self._over:
            raise failure(EBADF)

    def shut(self) -> None:
        """Whoever waits for a completion, in whatever thread, is woken by one of nothing."""
        self._over = True
        with suppress(OSError):  # another thread's own
            self._take_back()
            self._push(OP_NOP, -1, 0, 0, 0)

    # -- many operations at once: prepared, then handed in together ----------------------------

    def prepare_accept(self, fd: int) -> int:
        """Write an accept into the ring; its number.  OSError (EBUSY) if the ring is full."""
        return self._prepare(OP_ACCEPT, fd, bytearray(), SOCK_CLOEXEC)

    def prepare_recv(self, fd: int, size: int) -> int:
        """A receive of at most `size` bytes."""
        return self._prepare(OP_RECV, fd, bytearray(size), 0)

    def prepare_send(self, fd: int, data: bytes) -> int:
        """A send of all of `data`."""
        return self._prepare(OP_SEND, fd, bytearray(data), MSG_WAITALL)

    def _prepare(self, opcode: int, fd: int, buffer: bytearray, flags: int) -> int:
        if len(self._waiting) == self._entries:
            raise failure(EBUSY)
        self._serial += 1
        self._buffers[self._serial] = buffer
        self._kinds[self._serial] = opcode
        address = _address(buffer) if buffer else 0
        self._write(opcode, fd, address, len(buffer), self._serial, flags)
        self._waiting.append(self._serial)
        return self._serial

    def submit_and_wait(self) -> list[tuple[int, Outcome]]:
        """Hand them in and wait for one; all completions `(number, result)` that are there."""
        found: list[tuple[int, Outcome]] = []
        while not found:
            self._await(len(self._waiting))
            self._waiting = []
            while (completion := self._next()) is not None:
                number, result = completion
                found.append((number, self._outcome(number, result)))
        return found

    def _outcome(self, number: int, result: int) -> Outcome:
        buffer = self._buffers.pop(number)
        if result < 0:
            return failure(-result)
        return bytes(buffer[:result]) if self._kinds.pop(number) == OP_RECV else result

    def fileno(self) -> int:
        """Its descriptor."""
        return self.fd

    def close(self) -> None:
        """Cancel what is under way: the kernel must not write into memory that is free again."""
        try:
            self._take_back()
            for number in list(self._buffers):
                self._push(OP_ASYNC_CANCEL, -1, number, 0, 0)
            for _ in range(CLOSE_ROUNDS):
                if not self._buffers:
                    break
                if self.peek() is None and self._buffers:
                    _enter_kernel(ENTER, self.fd, 0, 1, GETEVENTS, 0, 0)
        except OSError:  # this system refuses to take them back: who knows what it still writes
            _abandoned.append(self._buffers)
        finally:
            self._rings.close()
            self._sqes.close()
            os.close(self.fd)

    def _take_back(self) -> None:
        """What was never handed in: the kernel knows nothing of it, and will not complete it."""
        self._put(self._sq_tail, self._get(self._sq_tail) - len(self._waiting))
        for number in self._waiting:
            del self._buffers[number]
        self._waiting = []

    # -- the rings -----------------------------------------------------------------------------

    def _push(
        self, opcode: int, fd: int, address: int, size: int, number: int, flags: int = 0,
        sqe_flags: int = 0,
    ) -> None:  # fmt: skip
        self._write(opcode, fd, address, size, number, flags, sqe_flags)
        try:
            _enter_kernel(ENTER, self.fd, 1, 0, 0, 0, 0)
        except OSError:  # it was not handed in (EEXIST), and is not to be by a later call
            self._put(self._sq_tail, self._get(self._sq_tail) - 1)
            self._buffers.pop(number, None)
            raise

    def _write(
        self, opcode: int, fd: int, address: int, size: int, number: int, flags: int = 0,
        sqe_flags: int = 0,
    ) -> None:  # fmt: skip
        """One entry of the submission ring."""
        tail = self._get(self._sq_tail)
        slot = tail & self._get(self._sq_mask)
        entry = opcode, sqe_flags, 0, fd, 0, address, size, flags, number
        SQE.pack_into(self._sqes.memory, slot * SQE.size, *entry)
        struct.pack_into("I", self._rings.memory, self._array + 4 * slot, slot)
        self._put(self._sq_tail, tail + 1)

    def _next(self) -> tuple[int, int] | None:
        head = self._get(self._cq_head)
        if head == self._get(self._cq_tail):
            return None
        at = self._cqes + CQE.size * (head & self._get(self._cq_mask))
        number, result, _ = CQE.unpack_from(self._rings.memory, at)
        self._put(self._cq_head, head + 1)
        return number, result


_abandoned: list[dict[int, bytearray]] = []


class _Mapping:
    """Memory that is shared with the kernel: mmap(2).

    Python's own `mmap` keeps a duplicate of the descriptor, which would be another number of the
    program's.
    """

    def __init__(self, fd: int, size: int, offset: int) -> None:
        mapped = libc().mmap
        mapped.restype = ctypes.c_void_p
        where = mapped(
            None, ctypes.c_size_t(size), mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, fd,
            ctypes.c_long(offset),
        )  # fmt: skip
        if where == ctypes.c_void_p(-1).value:
            raise last_failure()
        self._where, self._size = where, size
        self.memory = (ctypes.c_char * size).from_address(where)

    def close(self) -> None:
        """Who looks into it then ends the process: nobody does."""
        del self.memory
        libc().munmap(ctypes.c_void_p(self._where), ctypes.c_size_t(self._size))


def _address(buffer: bytearray) -> int:
    return ctypes.addressof((ctypes.c_char * len(buffer)).from_buffer(buffer))


def _enter_kernel(number: int, *arguments: int) -> int:
    """syscall(2), repeated when a signal interrupts it; OSError with the errno."""
    if not sys.platform.startswith("linux"):
        raise OSError(ENOSYS, "io_uring is Linux's own")
    syscall = libc().syscall
    while True:
        result: int = syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
        if result >= 0:
            return result
        if ctypes.get_errno() != EINTR:
            raise last_failure()
