"""Sockets: receiving, sending, and connections, each as the one system call that it names."""

from __future__ import annotations

import socket as real_socket
import struct
from functools import partial
from typing import TYPE_CHECKING

from ..calls import (
    MSG_DONTWAIT,
    MSG_PEEK,
    MSG_TRUNC,
    SHUT_RD,
    SHUT_RDWR,
    SHUT_WR,
    SO_ERROR,
    accept,
    connect,
    getsockname,
    getsockopt,
    listen,
    read,
    recvfrom,
    recvmsg,
    send,
    setsockopt,
    shutdown,
    socket,
)
from .answers import Action, Prepared, answers, as_it_is, nothing
from .descriptors import keep
from .features import Ancillary
from .measured import Receipt

if TYPE_CHECKING:
    from .driver import Driver

__all__ = ["ANCILLARY", "accepted", "in_hands", "sent"]

ANCILLARY = 128  # bytes for the arrival stamp

#: What recvmsg tells: the bytes, the ancillary messages, the flags, the sender.
Received = tuple[bytes, Ancillary, int, object]

_SHUT = {SHUT_RD: real_socket.SHUT_RD, SHUT_WR: real_socket.SHUT_WR,
         SHUT_RDWR: real_socket.SHUT_RDWR}  # fmt: skip


# -- receiving and sending ---------------------------------------------------------------------


@answers(recvfrom)
def _recvfrom(driver: Driver, request: recvfrom) -> Prepared:
    def finish(call: int, start: int, end: int, got: Received) -> tuple[bytes, int]:
        return got[0], in_hands(driver, request, call, start, end, got[0], got[1])

    return _receive(driver, request), finish


@answers(recvmsg)
def _recvmsg(driver: Driver, request: recvmsg) -> Prepared:
    def finish(call: int, start: int, end: int, got: Received) -> tuple[tuple[bytes, int], int]:
        nbytes = in_hands(driver, request, call, start, end, got[0], got[1])
        return (got[0], got[2] & MSG_TRUNC), nbytes

    return _receive(driver, request), finish


def _receive(driver: Driver, request: recvfrom) -> Action:
    """recvmsg(2), as it tells when the data has arrived: socket(7), SO_TIMESTAMPNS."""
    one = driver.process.descriptors.socket(request.fd)
    if hasattr(one, "recvmsg"):
        return partial(one.recvmsg, request.size, ANCILLARY, request.flags)
    return lambda: (one.recv(request.size, request.flags), [], 0, None)  # Windows


def in_hands(
    driver: Driver, request: recvfrom | read, call: int, start: int, end: int, data: bytes,
    ancillary: Ancillary,
) -> int:  # fmt: skip
    """The program has `data`; how many bytes of messages that were.  (Not if it only looked.)"""
    if request.flags & MSG_PEEK or not data:
        return 0
    process = driver.process
    parts = process.messages.taken(request.fd, data, request.size)
    driver.in_hands(parts, end, driver.how_told(request.fd, request.flags))
    if parts:
        process.run.receipts.append(Receipt(start, end, parts, process.wall.at(ancillary), call))
    return sum(count for _, count in parts)


@answers(setsockopt)
def _setsockopt(driver: Driver, request: setsockopt) -> Prepared:
    seconds, rest = divmod(request.ns, 1_000_000_000)
    value = struct.pack("ll", seconds, -(-rest // 1_000))  # struct timeval; 0 would be never
    one = driver.process.descriptors.socket(request.fd)
    option = real_socket.SOL_SOCKET, real_socket.SO_RCVTIMEO
    return partial(one.setsockopt, *option, value), nothing


@answers(send)
def _send(driver: Driver, request: send) -> Prepared:
    one = driver.process.descriptors.socket(request.fd)
    flags = real_socket.MSG_DONTWAIT if request.flags & MSG_DONTWAIT else 0
    return partial(one.send, request.data, flags), partial(sent, driver)


def sent(driver: Driver, call: int, start: int, end: int, count: int) -> tuple[int, int]:
    """So many bytes were taken from the program."""
    driver.process.run.tape.took(call, count)
    return count, 0


@answers(shutdown)
def _shutdown(driver: Driver, request: shutdown) -> Prepared:
    one = driver.process.descriptors.socket(request.fd)
    return partial(one.shutdown, _SHUT[request.how]), nothing


# -- connections -------------------------------------------------------------------------------


@answers(socket)
def _new_socket(driver: Driver, request: socket) -> Prepared:
    return real_socket.socket, partial(keep, driver)


@answers(accept)
def _accept(driver: Driver, request: accept) -> Prepared:
    listener = driver.process.descriptors.socket(request.fd)
    return partial(_accept4, listener), partial(_accepted, driver)


def _accept4(listener: real_socket.socket) -> tuple[int, tuple[str, int]]:
    """The call alone: socket.accept makes an object around it."""
    made: tuple[int, tuple[str, int]] = listener._accept()  # type: ignore[attr-defined]
    return made


def _accepted(
    driver: Driver, call: int, start: int, end: int, made: tuple[int, tuple[str, int]]
) -> tuple[int, int]:
    fd, (_, port) = made
    return accepted(driver, fd, port), 0


def accepted(driver: Driver, fd: int, port: int | None = None) -> int:
    """The connection `fd` is the program's; whose messages come on it, its client's port tells."""
    one = real_socket.socket(
        real_socket.AF_INET, real_socket.SOCK_STREAM, real_socket.IPPROTO_TCP, fileno=fd
    )
    try:
        port = one.getpeername()[1] if port is None else port
    except OSError:  # reset before it was accepted
        port = 0
    process = driver.process
    process.descriptors.keep(one)
    process.outside.has_come(driver, fd, port)
    return fd


@answers(listen)
def _listen(driver: Driver, request: listen) -> Prepared:
    one = driver.process.descriptors.socket(request.fd)
    return partial(one.listen, request.backlog), nothing


@answers(getsockname)
def _getsockname(driver: Driver, request: getsockname) -> Prepared:
    one = driver.process.descriptors.socket(request.fd)
    return one.getsockname, lambda call, start, end, address: (address[1], 0)


@answers(connect)
def _connect(driver: Driver, request: connect) -> Prepared:
    one = driver.process.descriptors.socket(request.fd)
    return partial(one.connect, ("127.0.0.1", request.port)), nothing


@answers(getsockopt)
def _getsockopt(driver: Driver, request: getsockopt) -> Prepared:
    one = driver.process.descriptors.socket(request.fd)
    assert request.option == SO_ERROR
    return partial(one.getsockopt, real_socket.SOL_SOCKET, real_socket.SO_ERROR), as_it_is
