"""POSIX's asynchronous reads, as glibc does them: with threads of the process's own (aio(7))."""

from __future__ import annotations

from collections import deque
from errno import EINPROGRESS, EINVAL
from typing import ClassVar

from ..calls import Program, Request, aio_error, aio_read, aio_return, read
from ..calls.request import PASSES
from .answers import answers
from .descriptions import Description, failure, refusal
from .kernel import Kernel
from .pipes import read_bytes
from .sockets import Received, Socket, arrived, in_hands
from .task import FOREVER, Side, Task

__all__ = ["Asynchronous", "futex"]


class Block:
    """An aiocb: one asynchronous read, done by a helper thread."""

    __slots__ = ("done", "fd", "owner", "signo", "size")

    def __init__(self, owner: Task, request: aio_read) -> None:
        self.owner, self.fd = owner, request.fd
        self.size, self.signo = request.size, request.signo
        self.done: Received | None = None


class futex(Request):
    """The helper thread has nothing to do: it waits for the next operation (futex(2))."""

    __slots__ = ()
    role: ClassVar[str] = PASSES


class helper_read(read):
    """What it calls then; it waits even if the descriptor is O_NONBLOCK."""

    __slots__ = ()


helper_read.__name__ = "read"  # as the record calls it


class Helper(Task):
    """A thread of the library's."""

    __slots__ = ()
    has_source: ClassVar[bool] = False


class Asynchronous:
    """The library's part: control blocks by their numbers, those not begun, and the helpers."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._blocks: dict[int, Block] = {}
        self.waiting: deque[Block] = deque()
        self._helpers: list[Helper] = []

    def add(self, block: Block) -> int:
        """Give it to an idle helper thread, or start one: aio(7), "glibc"."""
        number = len(self._blocks) + 1
        self._blocks[number] = block
        self.waiting.append(block)
        idle = next((helper for helper in self._helpers if type(helper.request) is futex), None)
        if idle is None:
            self._start_helper()
        else:
            self._kernel.wake(idle)
        return number

    def _start_helper(self) -> None:
        number = len(self._helpers) + 1
        helper = Helper("aio helper" if number == 1 else f"aio helper {number}", self._help())
        helper.then = self._kernel.when_begun
        self._helpers.append(helper)
        if self._kernel.tape is not None:
            self._kernel.tape.helpers.append(helper.name)
        self._kernel.start(helper)

    def _help(self) -> Program:
        """The helper thread: itself a program."""
        while True:
            block = yield futex()
            try:
                block.done = yield helper_read(block.fd, block.size)
            except OSError as error:
                block.done = Received(b"", error.errno or EINVAL, [])
            if block.signo is not None:
                self._kernel.signal(block.owner, block.signo)

    def block(self, number: int) -> Block:
        """EINVAL if there is none."""
        if number not in self._blocks:
            raise refusal(EINVAL, number, "control block")
        return self._blocks[number]


@answers(aio_read)
def begin_read(kernel: Kernel, task: Task, request: aio_read) -> int:
    """aio_read(3)."""
    return kernel.asynchronous.add(Block(task, request))


@answers(futex)
def take_block(kernel: Kernel, task: Task, request: futex) -> Side:
    """The helper sleeps until there is something to do."""
    while not kernel.asynchronous.waiting:
        yield FOREVER
    return kernel.asynchronous.waiting.popleft()


def _kept(kernel: Kernel, task: Task, request: read, socket: Socket, got: Received) -> Received:
    """The messages in it are in nobody's hands before aio_return."""
    return got


@answers(helper_read)
def read_for_block(kernel: Kernel, task: Task, request: helper_read) -> Side:
    """read(2)."""
    thing: Description = kernel.table.get(request.fd)
    if isinstance(thing, Socket):
        return (yield from arrived(kernel, task, request, thing, _kept))
    data = read_bytes(kernel, task, request)
    return Received(data if isinstance(data, bytes) else (yield from data), 0, [])


@answers(aio_error)
def state(kernel: Kernel, task: Task, request: aio_error) -> int:
    """aio_error(3)."""
    done = kernel.asynchronous.block(request.block).done
    kernel.glance(task)
    return EINPROGRESS if done is None else done.error


@answers(aio_return)
def outcome(kernel: Kernel, task: Task, request: aio_return) -> bytes:
    """aio_return(3)."""
    done = kernel.asynchronous.block(request.block).done
    if done is None:
        raise refusal(EINPROGRESS, request.block, "control block")
    if done.error:
        kernel.glance(task)
        raise failure(done.error)
    in_hands(kernel, task, done.parts, "completion")
    kernel.glance(task, done.nbytes)
    return done.data
