"""A story of clients: the listening socket, and the process that is all of them."""

from __future__ import annotations

import os
import select as real_select
import socket as real_socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from errno import EADDRNOTAVAIL, EMFILE
from pathlib import Path
from typing import TYPE_CHECKING

from ..calls import SOMAXCONN
from ..kernels.resource_limits import beginning
from ..trace import Disturbance, Visit
from ..validate import whole
from ..workloads.clients import Clients
from .client_process import ClientProcess
from .features import Unsupported, stamp
from .gate import ServerGate, board_file
from .helpers.board import Board

if TYPE_CHECKING:
    from ..workloads.client_script import Met
    from .driver import Driver
    from .helpers.plans import ClientsReport
    from .process import Process

__all__ = ["ClientsOutside", "check_options", "limit_descriptors", "need_room"]

FREE = 64  # descriptors beside the clients' own
OWN = 6  # and those of their process: three that it begins with, epoll, the board, a file of /proc
PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")  # ip(7)


class ClientsOutside:
    """The listening socket, and the clients that will come to it."""

    helper: ClientProcess
    shows_line = False
    visits: tuple[Visit, ...] = ()  # once they have reported

    def __init__(
        self, story: Clients, backlog: int, sndbuf: int | None, rcvbuf: int | None,
        stack: ExitStack, announces: bool = False,
    ) -> None:  # fmt: skip
        self._announces = announces
        if not hasattr(real_select, "epoll"):  # the clients' loop
            raise Unsupported("epoll", "the clients need it")
        self.story = story
        self._listener = stack.enter_context(real_socket.socket())
        self._listen(backlog, sndbuf, rcvbuf)
        self._board: Board | None = None
        ports = self._begin(story, self._listener.getsockname()[1], stack)
        self.client_at = {port: number for number, port in enumerate(ports)}

    def _listen(self, backlog: int, sndbuf: int | None, rcvbuf: int | None) -> None:
        listener = self._listener
        for option, size in (
            (real_socket.SO_SNDBUF, sndbuf), (real_socket.SO_RCVBUF, rcvbuf),
        ):  # fmt: skip
            if size is not None:
                listener.setsockopt(real_socket.SOL_SOCKET, option, size)  # accepted ones inherit
        listener.setsockopt(real_socket.IPPROTO_TCP, real_socket.TCP_NODELAY, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen(backlog)
        with suppress(OSError):
            stamp(listener)

    def _begin(self, story: Clients, port: int, stack: ExitStack) -> list[int]:
        """Start the clients' process, with a board if one of them is to wait for the server."""
        with ExitStack() as until_told:
            shared: tuple[int, ...] = ()
            if story.stepwise or min(client.at_ns for client in story.clients):
                with beginning("the board of the server's threads"):
                    shared = (until_told.enter_context(board_file()).fileno(),)
                    self._board = Board(*shared)
                stack.callback(self._board.close)
            self.helper = ClientProcess(*shared)
            stack.callback(self.helper.kill)
            return self.helper.prepare(story, port, *shared, announces=self._announces)

    def sockets(self) -> list[real_socket.socket]:
        """The listening one."""
        return [self._listener]

    def gate(self, process: Process, thread: int) -> ServerGate | None:
        """What that thread says on the board, while a client waits for the server."""
        met = process.messages.connection and not self.story.stepwise
        return None if self._board is None or met else ServerGate(self._board, thread)

    def begin(self, zero: int) -> None:
        """The run begins at `zero` on `perf_counter_ns`."""
        self.helper.begin(zero)

    def begun(self, thread: int) -> None:
        """From here on the clients wait for it as well."""
        if self._board is not None:
            self._board.begin(thread)

    def ended(self, thread: int) -> None:
        """They do not wait for it."""
        if self._board is not None:
            self._board.end(thread)

    def has_come(self, driver: Driver, fd: int, port: int) -> None:
        """A client, or the program itself, has connected."""
        if port in self.client_at:
            driver.process.messages.connection[fd] = self.client_at[port]
        if not self.story.stepwise:
            driver.gate = None  # the first client has come: there is nothing more to wait for

    # -- the end -------------------------------------------------------------------------------

    def settle(self, process: Process) -> None:
        """Every connection is closed, and the clients see it."""
        process.leave()

    def report(self, process: Process, told: ClientsReport) -> None:
        """What the clients have sent, and what each of them met with."""
        run = process.run
        run.sent = {number: (before, after) for number, before, after in told["sent"]}
        if told["unseen"]:
            run.disturbances += (Disturbance("clients not in step", told["unseen"]),)
        self.visits = _visits(told["visits"], run.end)


def check_options(
    backlog: int = SOMAXCONN, sndbuf: int | None = None, rcvbuf: int | None = None,
    nofile: int | None = None,
) -> None:  # fmt: skip
    """TypeError or ValueError for bad ones; None: the system's own."""
    whole("backlog", backlog, 0, SOMAXCONN, "connections")
    for name, size in (("sndbuf", sndbuf), ("rcvbuf", rcvbuf)):
        if size is not None:
            whole(name, size, 1, 1 << 30, "bytes")
    if nofile is not None:
        whole("nofile", nofile, 0, 1 << 20, "descriptors")


def need_room(clients: int) -> None:
    """OSError if the clients, all in one process, are more than there is room for."""
    for errno, room, what in (
        (EMFILE, _hard_limit() - OWN, "descriptors they may have (RLIMIT_NOFILE, hard limit)"),
        (EADDRNOTAVAIL, _ports(), "ports there are for them (net.ipv4.ip_local_port_range)"),
    ):
        if clients > room:
            raise OSError(errno, f"{clients:,} clients are more than the {room:,} {what}")


def _hard_limit() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return sys.maxsize
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


def _ports() -> int:
    """How many ports there are for who does not ask for a certain one."""
    try:
        low, high = map(int, PORTS.read_text().split())
    except OSError:  # not Linux
        return sys.maxsize
    return high - low + 1


def _visits(rows: Sequence[Met], end: int) -> tuple[Visit, ...]:
    """As the clients tell it; nothing is told of what happened after the end of the run."""

    def before(at: int | None) -> int | None:
        return at if at is not None and at <= end else None

    return tuple(
        Visit(
            number, before(begun), before(connected), tuple(at for at in answered if at <= end),
            sent, received, before(over), trouble if before(over) is not None else "", garbled,
        )
        for number, (begun, connected, answered, sent, received, over, trouble, garbled)
        in enumerate(rows)
    )  # fmt: skip


def limit_descriptors(clients: int, nofile: int | None, stack: ExitStack) -> None:
    """Room for all clients, or for no more than `nofile`: RLIMIT_NOFILE bounds the *number*."""
    try:
        import resource
    except ImportError:  # Windows
        return
    soft, hard = limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if nofile is not None:
        wanted = _number_of_free(nofile)
    else:
        wanted = max(soft, _number_of_free(clients + FREE))
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if wanted != soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)


def _number_of_free(count: int) -> int:
    """The number after the `count` lowest that are free: as a limit, it leaves so many."""
    number = 0
    while True:
        try:
            os.fstat(number)
        except OSError:
            if not count:
                return number
            count -= 1
        number += 1
