"""A recorded socket that a program hands on to another process, as `multiprocessing` sends it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from multiprocessing import reduction
from typing import Any

__all__ = ["can_be_sent"]


def can_be_sent(kind: type) -> None:
    """Sockets of that class as well; there they are the library's own."""
    if hasattr(reduction, "DupFd"):  # not on Windows
        reduction.register(kind, _reduce)


def _reduce(one: socket.socket) -> tuple[Callable[..., socket.socket], tuple[object, ...]]:
    return _made_again, (reduction.DupFd(one.fileno()), one.family, one.type, one.proto)


def _made_again(copy: Any, family: int, kind: int, protocol: int) -> socket.socket:
    return socket.socket(family, kind, protocol, fileno=copy.detach())
