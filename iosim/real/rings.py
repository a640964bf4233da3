"""The real kernel for servers, with io_uring: many operations, handed in and awaited together."""

from __future__ import annotations

import socket as real_socket
from collections.abc import Callable
from errno import EOPNOTSUPP
from functools import partial
from typing import Any, ClassVar

from ..sockets import (
    io_uring_prep_accept,
    io_uring_prep_recv,
    io_uring_prep_send,
    io_uring_submit_and_wait,
)  # fmt: skip
from ..syscalls import Request
from . import uring
from .answers import Prepared
from .measured import Receipt
from .servers import LinuxServerKernel

__all__ = ["LinuxRingKernel"]


class LinuxRingKernel(LinuxServerKernel):
    """Makes a proactor's requests as well."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.operations: dict[tuple[int, int], tuple[type, int]] = {}  # (ring, number): what of fd

    def _prep_accept(self, request: io_uring_prep_accept) -> Prepared:
        return self._prepare_one(request, uring.Ring.prepare_accept)

    def _prep_recv(self, request: io_uring_prep_recv) -> Prepared:
        return self._prepare_one(request, uring.Ring.prepare_recv, request.size)

    def _prep_send(self, request: io_uring_prep_send) -> Prepared:
        return self._prepare_one(request, uring.Ring.prepare_send, request.data)

    def _prepare_one(self, request: Any, prepare: Callable[..., int], *more: Any) -> Prepared:
        ring, fd = self._ring(request.ring), self.operand(request.fd)
        return partial(prepare, ring, fd, *more), partial(self._prepared, request)

    def _prepared(
        self, request: Any, call: int, start: int, end: int, number: int
    ) -> tuple[None, int]:
        self.operations[request.ring, number] = type(request), request.fd
        return None, 0

    def _submit_and_wait(self, request: io_uring_submit_and_wait) -> Prepared:
        ring = self._ring(request.ring, EOPNOTSUPP)
        return ring.submit_and_wait, partial(self._finished, request.ring)

    def _finished(
        self, ring: int, call: int, start: int, end: int, found: list[tuple[int, Any]]
    ) -> tuple[list[tuple[type, int, Any]], int]:
        """All completions; what they copied lies in the part of the call after its sleep."""
        completions, nbytes, since = [], 0, max(start, self._woke(call))
        for number, result in found:
            kind, fd = self.operations.pop((ring, number))
            if kind is io_uring_prep_accept and isinstance(result, int):
                self._welcome(result)
            elif isinstance(result, bytes) and result:
                parts = self._taken(fd, result, len(result))
                self._in_hands(parts, end, "completion")
                self.run.receipts.append(Receipt(since, end, parts, None, call))
                nbytes += sum(count for _, count in parts)
            completions.append((kind, fd, result))
        return completions, nbytes

    def _welcome(self, fd: int) -> None:
        one = real_socket.socket(
            real_socket.AF_INET, real_socket.SOCK_STREAM, real_socket.IPPROTO_TCP, fileno=fd
        )
        try:
            port = one.getpeername()[1]
        except OSError:  # reset before it was accepted
            port = 0
        self._accepted_from(one, port)

    _table: ClassVar[dict[type[Request], Callable[[Any, Any], Prepared]]] = (
        LinuxServerKernel._table
        | {
            io_uring_prep_accept: _prep_accept, io_uring_prep_recv: _prep_recv,
            io_uring_prep_send: _prep_send, io_uring_submit_and_wait: _submit_and_wait,
        }
    )  # fmt: skip
