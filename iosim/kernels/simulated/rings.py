"""The simulated kernel for servers, with io_uring: many operations, handed in and awaited together.

An operation that cannot be done yet waits at its descriptor; once it can, it is done on its owner's
CPU, within the call that waits for completions (task work: io_uring(7)).
"""

from __future__ import annotations

from collections.abc import Callable
from errno import EBUSY, EINVAL, EOPNOTSUPP, EPIPE
from os import strerror
from typing import Any, ClassVar

from ...sockets import (
    io_uring_prep_accept,
    io_uring_prep_recv,
    io_uring_prep_send,
    io_uring_submit_and_wait,
)  # fmt: skip
from ...syscalls import Request, io_uring_setup
from ...timeline import KERNEL
from ..tape import Fate
from .parts import Pollable, Task
from .readiness import Refused
from .servers import ServerKernel
from .streams import Listener, Pending, ServerRing

__all__ = ["RingKernel"]

Parts = list[tuple[Fate, int]]


class RingKernel(ServerKernel):
    """Answers a proactor's calls as well."""

    def _io_uring_setup(self, task: Task, request: io_uring_setup) -> None:
        self._new(task, ServerRing(-1, task, request.entries))

    def _prepare(self, task: Task, request: Any) -> None:
        """One more entry of the submission ring; EBUSY if it is full."""
        ring = self._thing(request.ring, ServerRing)
        if len(ring.prepared) == ring.entries:
            raise Refused(EBUSY, request.ring)
        ring.prepared.append(Pending(ring, request))
        self._glance(task)
        self._resume(task, None)

    def _submit_and_wait(self, task: Task, request: io_uring_submit_and_wait) -> None:
        """Hand in, do what can be done, reply; sleep if there is nothing to reply with."""
        ring = self._thing(request.ring, ServerRing, EOPNOTSUPP)
        if ring.prepared:
            operation = ring.prepared.pop(0)
            self._after(task, self._submission, lambda task: self._try(task, operation))
        elif ring.doable:
            self._try(task, ring.doable.popleft())
        elif ring.finished:
            self._deliver_all(task, ring)
        else:
            self._sleep(task)

    def _try(self, task: Task, operation: Pending) -> None:
        """Do it, or leave it at its descriptor."""
        request: Any = operation.request
        try:
            thing = self._socket(request.fd)
            self._ways[type(request)](self, task, operation, thing)
        except Refused as refusal:
            errno = refusal.error.errno or EINVAL
            self._finished(task, operation, OSError(errno, strerror(errno)))

    def _park(self, task: Task, operation: Pending, thing: Pollable) -> None:
        """It waits there, whether that is O_NONBLOCK or not."""
        thing.operations = (*thing.operations, operation)
        self._again(task)

    def _try_accept(self, task: Task, operation: Pending, thing: Pollable) -> None:
        if not isinstance(thing, Listener):
            raise Refused(EINVAL, thing.fd)
        self._room_for_one(thing.fd)
        if not thing.incoming:
            self._park(task, operation, thing)
            return
        fd = self._install(thing.incoming.popleft())
        self._after(task, self._accept_ns, lambda task: self._finished(task, operation, fd))

    def _try_recv(self, task: Task, operation: Pending, thing: Pollable) -> None:
        stream, request = self._receiving(thing.fd), operation.request
        assert isinstance(request, io_uring_prep_recv)
        if not stream.readable:
            self._park(task, operation, thing)
            return
        got = self._take(stream, request.size)
        if got.error:
            raise Refused(got.error, thing.fd)
        got.begun = self.now

        def finish(task: Task) -> None:
            self._copied(got, task.call)
            self._finished(task, operation, got.data, got.parts)

        self._work(task, KERNEL, self.costs.copy(len(got.data)), finish)

    def _try_send(self, task: Task, operation: Pending, thing: Pollable) -> None:
        """MSG_WAITALL: it is done when all of it is in the send buffer."""
        stream, request = self._connected(thing.fd, EPIPE), operation.request
        assert isinstance(request, io_uring_prep_send)
        if errno := self._send_error(stream):
            raise Refused(errno, thing.fd)
        count = min(stream.room, len(request.data) - operation.done)
        if not count:
            self._park(task, operation, thing)
            return

        def finish(task: Task) -> None:
            self._post(stream, bytes(request.data[operation.done :][:count]))
            operation.done += count
            if operation.done == len(request.data):
                self._finished(task, operation, operation.done)
            else:
                self._try(task, operation)

        ns = self.costs.copy(count) + (0 if operation.done else self._send_ns)
        self._work(task, KERNEL, ns, finish)

    def _finished(
        self, task: Task, operation: Pending, result: Any, parts: Parts | None = None
    ) -> None:
        request: Any = operation.request
        operation.ring.finished.append((type(request), request.fd, result, parts or []))
        self._again(task)

    def _deliver_all(self, task: Task, ring: ServerRing) -> None:
        finished, ring.finished = ring.finished, []
        nbytes = 0
        for *_, parts in finished:
            known = [(fate, count) for fate, count in parts if fate.number]
            self._in_hands(task, known, "completion")
            nbytes += sum(count for _, count in known)
        self._reply(task, [(kind, fd, result) for kind, fd, result, _ in finished], nbytes)

    _ways: ClassVar[dict[type[Request], Callable[..., None]]] = {
        io_uring_prep_accept: _try_accept, io_uring_prep_recv: _try_recv,
        io_uring_prep_send: _try_send,
    }  # fmt: skip

    _table: ClassVar[dict[type, Callable[..., None]]] = ServerKernel._table | {
        io_uring_setup: _io_uring_setup, io_uring_submit_and_wait: _submit_and_wait,
        io_uring_prep_accept: _prepare, io_uring_prep_recv: _prepare, io_uring_prep_send: _prepare,
    }  # fmt: skip
