"""io_uring: operations that are handed in now and done later: io_uring(7).

An operation that cannot be done yet waits at its description.  Once it can, it is done on its
submitter's core: as task work, which comes between two steps of whatever that does, or only within
the call that waits for completions (IORING_SETUP_DEFER_TASKRUN; and `io_uring_prep_*`, whose
programs make no other call).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from errno import EBUSY, EEXIST, EINVAL, EOPNOTSUPP, EPIPE
from typing import Any

from ..calls import (  # fmt: skip
    EPOLLERR,
    EPOLLHUP,
    EPOLLIN,
    EPOLLOUT,
    EPOLLRDHUP,
    IORING_SETUP_DEFER_TASKRUN,
    IORING_SETUP_SINGLE_ISSUER,
    Request,
    io_uring_enter,
    io_uring_peek_cqe,
    io_uring_prep_accept,
    io_uring_prep_recv,
    io_uring_prep_send,
    io_uring_setup,
    io_uring_submit,
    io_uring_submit_and_wait,
)
from .answers import answers
from .connections import connected, listening
from .descriptions import Description, changed, failure, refusal
from .kernel import Kernel
from .sockets import Received, copied, in_hands, socket_of, take
from .task import FOREVER, Side, Task

__all__ = ["Operation", "Ring"]

#: What ends any wait.
OVER = EPOLLERR | EPOLLHUP | EPOLLRDHUP

Prepared = io_uring_prep_accept | io_uring_prep_recv | io_uring_prep_send


class Ring(Description):
    """What was prepared, what can be done now, and the completions that lie in its memory."""

    __slots__ = (
        "completions", "deferred", "doable", "entries", "prepared", "single", "submitter",
    )  # fmt: skip

    def __init__(self, submitter: Task, request: io_uring_setup) -> None:
        super().__init__()
        self.submitter, self.entries = submitter, request.entries
        self.single = bool(request.flags & IORING_SETUP_SINGLE_ISSUER)
        self.deferred = bool(request.flags & IORING_SETUP_DEFER_TASKRUN)
        self.prepared: list[Operation] = []
        self.doable: deque[Operation] = deque()
        self.completions: deque[Operation] = deque()

    def refuse_others(self, task: Task, restricted: bool) -> None:
        """EEXIST for another thread than its submitter, if it is `restricted` to that one."""
        if restricted and task is not self.submitter:
            raise refusal(EEXIST, self.fd, "the ring")

    @property
    def awaited(self) -> bool:
        """Does its submitter wait for a completion of it?"""
        request: Any = self.submitter.request
        waits = type(request) in (io_uring_enter, io_uring_submit_and_wait)
        return waits and bool(request.ring == self.fd)

    @property
    def events(self) -> int:
        """A completion is there, or will be when its owner next runs; there is room to submit."""
        room = len(self.prepared) < self.entries
        return (EPOLLIN if self.completions or self.doable else 0) | (EPOLLOUT if room else 0)

    def put_away(self, kernel: Kernel) -> None:
        """What it has under way is called off: nobody could be told (io_ring_ctx_wait_and_kill)."""
        for operation in [one for one in kernel.table.under_way if one.ring is self]:
            thing = kernel.table.under_way[operation]
            thing.operations = tuple(one for one in thing.operations if one is not operation)
            operation.over(kernel)


class Operation:
    """What was asked for, how much of it is done, and its outcome."""

    __slots__ = ("done", "got", "request", "result", "ring")

    def __init__(self, ring: Ring, request: Request) -> None:
        self.ring, self.request = ring, request
        self.done = 0
        self.result: object = None  # a descriptor, bytes, a count, or the OSError that it met
        self.got: Received | None = None

    @property
    def done_in_wait(self) -> bool:
        """Is it done only in the call that waits for completions?"""
        return self.ring.deferred or type(self.request) is not io_uring_submit

    def tell(self, kernel: Kernel, thing: Any, what: int) -> None:
        """Its description has changed by `what`: perhaps it can be done."""
        kernel.table.under_way[self] = thing
        submitter = self.ring.submitter
        wanted = EPOLLOUT if type(self.request) is io_uring_prep_send else EPOLLIN
        if not what & (wanted | OVER):
            self.park(kernel, thing)
        elif self.done_in_wait:
            self.ring.doable.append(self)
            if self.ring.awaited:
                kernel.wake(submitter)
            changed(kernel, self.ring, EPOLLIN)
        elif thing.readable:
            submitter.work = [*(submitter.work or ()), self]
            kernel.nudge(submitter)
        else:
            self.park(kernel, thing)

    def park(self, kernel: Kernel, thing: Description) -> None:
        """It waits there, whether that is O_NONBLOCK or not, and whatever becomes of its number."""
        thing.operations = (*thing.operations, self)
        kernel.table.under_way[self] = thing

    def over(self, kernel: Kernel) -> None:
        """It waits for nothing more."""
        if kernel.table.under_way.pop(self, None) is not None and kernel.table.kept:
            kernel.table.done(kernel, self)

    def complete(self, kernel: Kernel, result: object, got: Received | None = None) -> None:
        """Into the completion ring."""
        self.result, self.got = result, got
        self.ring.completions.append(self)
        self.over(kernel)
        changed(kernel, self.ring, EPOLLIN)

    def attempt(self, kernel: Kernel, task: Task, before: int = 0) -> Iterator[int]:
        """Do it, or leave it at its description; `before` the copy so many ns of work."""
        try:
            yield from WAYS[type(self.request)](kernel, task, self, before)
        except OSError as error:
            self.complete(kernel, failure(error.errno or EINVAL))

    def fetch(self, kernel: Kernel, task: Task) -> int:
        """The outcome reaches the program; how many bytes of the story are in it."""
        if self.got is None:
            return 0
        in_hands(kernel, task, self.got.parts, "completion")
        return self.got.nbytes

    def outcome(self) -> object:
        """Its result, or the error that it met, raised."""
        if isinstance(self.result, OSError):
            raise self.result
        return self.result


# -- what an operation does --------------------------------------------------------------------


def _receive(kernel: Kernel, task: Task, operation: Operation, before: int) -> Iterator[int]:
    request: Any = operation.request
    socket: Any = kernel.table.under_way.get(operation) or socket_of(kernel, request.fd)
    socket.receiving()
    if not socket.readable:
        operation.park(kernel, socket)
        return
    got = take(kernel, socket, request.size)
    if got.error:
        raise failure(got.error)
    yield before + kernel.copy(len(got.data))
    copied(kernel, task, got)
    operation.complete(kernel, got.data, got)


def _accept(kernel: Kernel, task: Task, operation: Operation, before: int) -> Iterator[int]:
    request: Any = operation.request
    listener = listening(kernel, request, kernel.table.under_way.get(operation))
    if not listener.incoming:
        operation.park(kernel, listener)
        return
    fd = kernel.table.install(listener.incoming.popleft())
    ns = before + round(kernel.costs.accept)
    if ns:
        yield ns
    operation.complete(kernel, fd)


def _send(kernel: Kernel, task: Task, operation: Operation, before: int) -> Iterator[int]:
    """MSG_WAITALL: it is done when all of it is in the send buffer."""
    request: Any = operation.request
    data = memoryview(request.data)
    while True:
        stream = connected(kernel, request, EPIPE, kernel.table.under_way.get(operation))
        errno = stream.send_error()
        if errno and operation.done:  # the error is used up by the try that met it (io_send)
            operation.complete(kernel, operation.done)
            return
        if errno:
            raise failure(errno)
        count = min(stream.room, len(data) - operation.done)
        if not count:
            operation.park(kernel, stream)
            return
        first = 0 if operation.done else before + round(kernel.costs.send)
        yield kernel.copy(count) + first
        if not stream.broken:
            stream.post(kernel, bytes(data[operation.done :][:count]))
        operation.done += count
        if operation.done == len(data):
            operation.complete(kernel, operation.done)
            return


WAYS: dict[type[Request], Callable[..., Iterator[int]]] = {
    io_uring_submit: _receive, io_uring_prep_recv: _receive, io_uring_prep_accept: _accept,
    io_uring_prep_send: _send,
}  # fmt: skip


# -- the calls ---------------------------------------------------------------------------------


@answers(io_uring_setup)
def new_ring(kernel: Kernel, task: Task, request: io_uring_setup) -> int:
    """io_uring_setup(2)."""
    if request.flags == IORING_SETUP_DEFER_TASKRUN:  # whose task work would it be?
        raise failure(EINVAL)
    return kernel.table.new(Ring(task, request))


@answers(io_uring_submit)
def submit(kernel: Kernel, task: Task, request: io_uring_submit) -> Side:
    """io_uring_enter(2): what is there already is copied at once, in the submission."""
    ring = kernel.table.get(request.ring, Ring)
    ring.refuse_others(task, ring.single)
    ns = round(kernel.costs.submission)
    if ns:
        yield ns
    yield from Operation(ring, request).attempt(kernel, task)


@answers(io_uring_enter)
def enter(kernel: Kernel, task: Task, request: io_uring_enter) -> Side:
    """io_uring_enter(2), IORING_ENTER_GETEVENTS: the oldest completion; task work is done here."""
    ring = kernel.table.get(request.ring, Ring, EOPNOTSUPP)
    ring.refuse_others(task, ring.deferred)
    while ring.doable or not ring.completions:
        if ring.doable:
            yield from ring.doable.popleft().attempt(kernel, task)
        elif task.work:
            yield from task.work.pop(0).attempt(kernel, task)
        else:
            yield FOREVER
    operation = ring.completions.popleft()
    task.brought = operation.fetch(kernel, task)
    return operation.outcome()


@answers(io_uring_peek_cqe)
def peek(kernel: Kernel, task: Task, request: io_uring_peek_cqe) -> object:
    """A look into the completion ring, which lies in the program's memory: io_uring(7)."""
    ring = kernel.table.get(request.ring, Ring)
    if not ring.completions:
        kernel.glance(task)
        return None
    operation = ring.completions.popleft()
    kernel.glance(task, operation.fetch(kernel, task))
    return operation.outcome()


@answers(io_uring_prep_accept, io_uring_prep_recv, io_uring_prep_send)
def prepare(kernel: Kernel, task: Task, request: Prepared) -> None:
    """One more entry of the submission ring; EBUSY if it is full."""
    ring = kernel.table.get(request.ring, Ring)
    if len(ring.prepared) == ring.entries:
        raise refusal(EBUSY, request.ring)
    ring.prepared.append(Operation(ring, request))
    kernel.glance(task)


@answers(io_uring_submit_and_wait)
def submit_and_wait(kernel: Kernel, task: Task, request: io_uring_submit_and_wait) -> Side:
    """Hand in, do what can be done; reply with all that is done, or sleep."""
    ring = kernel.table.get(request.ring, Ring, EOPNOTSUPP)
    ring.refuse_others(task, ring.deferred or bool(ring.single and ring.prepared))
    submission = round(kernel.costs.submission)
    while ring.prepared or ring.doable or not ring.completions:
        if ring.prepared:
            operation = ring.prepared.pop(0)
            if submission:
                yield submission
            yield from operation.attempt(kernel, task)
        elif ring.doable:
            yield from ring.doable.popleft().attempt(kernel, task)
        else:
            yield FOREVER
    finished = list(ring.completions)
    ring.completions.clear()
    task.brought = sum(operation.fetch(kernel, task) for operation in finished)
    return [(type(one.request), one.request.fd, one.result) for one in finished]
