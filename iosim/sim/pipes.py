"""Pipes and event counters, and read(2) and write(2) of any descriptor: pipe(7), eventfd(2)."""

from __future__ import annotations

import sys
from collections import deque
from errno import EBADF, EINVAL, EPIPE
from typing import Any

from ..calls import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, O_NONBLOCK, eventfd, pipe, read, write
from .answers import answers
from .connections import send_bytes
from .descriptions import (
    Description,
    File,
    changed,
    failure,
    in_line,
    refusal,
    sleep_on,
    wake_line,
)
from .kernel import Kernel
from .sockets import Socket, arrived, nothing_there
from .task import Side, Task

__all__ = ["read_bytes"]

PAGE, PAGES = 4_096, 16  # of Linux's pipes: pipe(7), "Pipe capacity"
MOST = (1 << 64) - 2  # that a counter can hold: eventfd(2)


# -- pipes -------------------------------------------------------------------------------------


class Pages:
    """What lies in a pipe: pages, each with room only behind its bytes (fs/pipe.c)."""

    __slots__ = ("_pages", "readers", "writers")

    def __init__(self) -> None:
        self._pages: deque[tuple[bytes, int]] = deque()  # the bytes of each, and where they end
        self.readers: ReadEnd | None = None
        self.writers: WriteEnd | None = None

    @property
    def empty(self) -> bool:
        """Is there nothing to read?"""
        return not self._pages

    @property
    def full(self) -> bool:
        """Is no page free?"""
        return len(self._pages) == PAGES

    def merge(self, data: bytes) -> int:
        """What of a write is left over by whole pages may go into the last page; how many bytes."""
        rest = len(data) % PAGE
        if not rest or not self._pages or self._pages[-1][1] + rest > PAGE:
            return 0
        there, end = self._pages.pop()
        self._pages.append((there + data[:rest], end + rest))
        return rest

    def fill(self, data: bytes) -> int:
        """As much as fits into fresh pages; how many bytes."""
        done = 0
        while done < len(data) and not self.full:
            page = data[done : done + PAGE]
            self._pages.append((page, len(page)))
            done += len(page)
        return done

    def take(self, size: int) -> bytes:
        """The first bytes; a page that is empty is free again."""
        taken = []
        while size and self._pages:
            there, end = self._pages.popleft()
            taken.append(there[:size])
            if len(there) > size:
                self._pages.appendleft((there[size:], end))
            size -= len(taken[-1])
        return b"".join(taken)


class _End(Description):
    __slots__ = ("pages",)

    def __init__(self, pages: Pages) -> None:
        super().__init__()
        self.pages = pages


class ReadEnd(_End):
    """The end of a pipe that is read."""

    __slots__ = ()

    @property
    def events(self) -> int:
        """As pipe_poll: it hangs up when nobody can write."""
        found = 0 if self.pages.empty else EPOLLIN
        return found if self.pages.writers else found | EPOLLHUP

    def put_away(self, kernel: Kernel) -> None:
        """Who writes has nobody to write to."""
        self.pages.readers = None
        if self.pages.writers is not None:
            changed(kernel, self.pages.writers, EPOLLERR, everybody=True)


class WriteEnd(_End):
    """The end of a pipe that is written."""

    __slots__ = ()

    @property
    def events(self) -> int:
        """As pipe_poll: an error when nobody can read."""
        found = 0 if self.pages.full else EPOLLOUT
        return found if self.pages.readers else found | EPOLLERR

    def put_away(self, kernel: Kernel) -> None:
        """Who reads comes to the end."""
        self.pages.writers = None
        if self.pages.readers is not None:
            changed(kernel, self.pages.readers, EPOLLHUP, everybody=True)


@answers(pipe)
def make_pipe(kernel: Kernel, task: Task, request: pipe) -> tuple[int, int]:
    """pipe(2)."""
    pages = Pages()
    pages.readers, pages.writers = ReadEnd(pages), WriteEnd(pages)
    kernel.table.room_for_one()
    return kernel.table.install(pages.readers), kernel.table.install(pages.writers)


def _read_pipe(kernel: Kernel, task: Task, request: read, end: ReadEnd) -> Side:
    """Sleep in the line until there is something; b"" when nobody can write any more."""
    pages = end.pages
    while pages.empty:
        if pages.writers is None:
            return b""
        if end.flags & O_NONBLOCK:
            yield from nothing_there(kernel)
        yield in_line(end)
    was_full = pages.full
    data = pages.take(request.size)
    yield kernel.copy(len(data))
    if was_full and not pages.full and pages.writers is not None:
        changed(kernel, pages.writers, EPOLLOUT)
    if not pages.empty:
        wake_line(kernel, end, EPOLLIN)  # who stands behind us
    return data


def _write_pipe(kernel: Kernel, task: Task, request: write, end: WriteEnd) -> Side:
    """Sleep in the line until all of it fits; up to PIPE_BUF bytes are not cut in two."""
    pages, data, done = end.pages, bytes(request.data), 0
    while done < len(data):
        if pages.readers is None:
            if done:
                break
            raise failure(EPIPE)
        count = pages.merge(data) if not done else 0
        count += pages.fill(data[done + count :])
        if count:
            yield kernel.copy(count)
            done += count
            kernel.took(task, count)
            if pages.readers is not None:
                changed(kernel, pages.readers, EPOLLIN)
        elif not end.flags & O_NONBLOCK:
            yield in_line(end)
        elif done:
            break
        else:
            yield from nothing_there(kernel)
    if not pages.full:
        wake_line(kernel, end, EPOLLOUT)
    return done


# -- event counters ----------------------------------------------------------------------------


class Counter(Description):
    """An eventfd."""

    __slots__ = ("count",)

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    @property
    def events(self) -> int:
        """As eventfd_poll."""
        return (EPOLLIN if self.count else 0) | (EPOLLOUT if self.count < MOST else 0)


@answers(eventfd)
def make_counter(kernel: Kernel, task: Task, request: eventfd) -> int:
    """eventfd(2)."""
    return kernel.table.new(Counter(request.initval))


def _read_counter(kernel: Kernel, task: Task, request: read, counter: Counter) -> Side:
    """The count, which is 0 then."""
    if request.size < 8:
        raise failure(EINVAL)
    while not counter.count:
        if counter.flags & O_NONBLOCK:
            yield from nothing_there(kernel)
        yield sleep_on(task, [counter])
    data = counter.count.to_bytes(8, sys.byteorder)
    counter.count = 0
    yield kernel.copy(len(data))
    changed(kernel, counter, EPOLLOUT)
    return data


def _write_counter(kernel: Kernel, task: Task, request: write, counter: Counter) -> Side:
    """Add to the count, once there is room for that."""
    added = int.from_bytes(request.data[:8], sys.byteorder)
    if len(request.data) != 8 or added > MOST:  # before Linux 6.9 more than 8 bytes would do
        raise failure(EINVAL)
    while counter.count + added > MOST:
        if counter.flags & O_NONBLOCK:
            yield from nothing_there(kernel)
        yield sleep_on(task, [counter])
    counter.count += added
    kernel.took(task, 8)
    changed(kernel, counter, EPOLLIN)
    return 8


# -- any descriptor ----------------------------------------------------------------------------


def _read_file(kernel: Kernel, task: Task, request: read, file: File) -> bytes:
    """It stands at its end, as nobody seeks: lseek(2)."""
    return b""


def _write_file(kernel: Kernel, task: Task, request: write, file: File) -> int:
    kernel.took(task, len(request.data))
    return len(request.data)


def _send(kernel: Kernel, task: Task, request: write, socket: Socket) -> object:
    return send_bytes(kernel, task, request)


def _closed(kernel: Kernel, task: Task, request: read | write, end: Description) -> None:
    """The other end of a pipe: it is not open for that."""
    raise refusal(EBADF, request.fd)


#: What reads, and what writes, each kind of description.
READS: dict[type[Description], Any] = {
    Socket: arrived, ReadEnd: _read_pipe, WriteEnd: _closed, Counter: _read_counter,
    File: _read_file,
}  # fmt: skip
WRITES: dict[type[Description], Any] = {
    Socket: _send, WriteEnd: _write_pipe, ReadEnd: _closed, Counter: _write_counter,
    File: _write_file,
}  # fmt: skip


def _side(
    kernel: Kernel, task: Task, request: read | write, sides: dict[type[Description], Any]
) -> object:
    """EBADF for what is not open, EINVAL for what can be neither."""
    thing = kernel.table.get(request.fd)
    for kind, side in sides.items():
        if isinstance(thing, kind):
            return side(kernel, task, request, thing)
    raise refusal(EINVAL, request.fd)


@answers(read)
def read_bytes(kernel: Kernel, task: Task, request: read) -> Any:
    """read(2)."""
    return _side(kernel, task, request, READS)


@answers(write)
def write_bytes(kernel: Kernel, task: Task, request: write) -> object:
    """write(2)."""
    return _side(kernel, task, request, WRITES)
