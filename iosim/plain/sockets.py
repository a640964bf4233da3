"""`_socket`, simulated: what the library's own `socket.py` stands on.

A socket with a time-out is nonblocking in the kernel, and poll(2) is called before each call on it
(sock_call_impl in Modules/socketmodule.c).
"""

from __future__ import annotations

import _socket
import sys
from collections.abc import Callable, Sequence
from errno import EAGAIN, EINPROGRESS, EISCONN, EWOULDBLOCK
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .. import calls
from ..machine.errors import failure
from ..sim.answers import sides
from ..sim.traffic import DatagramSocket
from .calls import (
    FIONBIO,
    bind,
    getpeername,
    getsockname,
    getsockopt,
    ioctl,
    sendto,
    setsockopt,
    socketpair,
)
from .run import NotSimulated
from .world import like

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

    from .run import Run
    from .world import World

__all__ = ["module"]

HOST = "127.0.0.1"
HERE = {HOST, "localhost", "", "0.0.0.0", None, b"localhost", b"127.0.0.1"}
INTERNET, STREAM = int(_socket.AF_INET), int(_socket.SOCK_STREAM)
DATAGRAM = int(_socket.SOCK_DGRAM)
SENDER = 40_000  # the port of who sends a story's datagrams
FAMILIES = {INTERNET, int(getattr(_socket, "AF_UNIX", INTERNET))}
SOMAXCONN = calls.SOMAXCONN
#: Options that change when a call returns.
WITHOUT_EFFECT = {
    (level, int(getattr(_socket, name))): name
    for level, names in (
        (int(_socket.SOL_SOCKET), ("SO_RCVLOWAT", "SO_RCVTIMEO", "SO_SNDTIMEO", "SO_BUSY_POLL")),
        (int(_socket.IPPROTO_TCP), ("TCP_CORK", "TCP_DEFER_ACCEPT", "TCP_USER_TIMEOUT")),
    )
    for name in names
    if hasattr(_socket, name)
}

Address = tuple[str, int]  # host and port


class Socket:
    """`_socket.socket`: a descriptor, and Python's time-out (s; None: blocking)."""

    __slots__ = ("_family", "_fd", "_kind", "_protocol", "_run", "_timeout")
    _world: World

    def __init__(
        self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None
    ) -> None:
        self._fd, self._run = -1, self._world.run  # to which it belongs, as its descriptor does
        self._family = INTERNET if family in (-1, None) else int(family)
        there, protocol = _kind_of(self._run, fileno)
        self._kind = there if type in (-1, None) else int(type) & 0xF
        self._protocol = protocol if proto in (-1, None) else int(proto)
        self._timeout: float | None = self._world.default_timeout
        if fileno is None and (self._family not in FAMILIES or self._kind != STREAM):
            raise NotSimulated(
                f"socket(family={self._family}, type={self._kind}) is not simulated: streams over "
                "IPv4 are, and the sockets that a story brings"
            )
        self._fd = self._call(calls.socket()) if fileno is None else int(fileno)
        if fileno is None and self._timeout is not None:
            self._call(ioctl(self._fd, FIONBIO, 1))

    def __repr__(self) -> str:
        return f"<socket object, fd={self._fd}, family={self._family}, type={self._kind}>"

    family = property(lambda self: self._family)
    type = property(lambda self: self._kind)
    proto = property(lambda self: self._protocol)
    timeout = property(lambda self: self.gettimeout())

    def _call(self, request: calls.Request) -> Any:
        return self._run.call(request)

    # -- its descriptor ------------------------------------------------------------------------

    def fileno(self) -> int:
        """-1 once it is closed."""
        return self._fd

    def detach(self) -> int:
        """The descriptor, which is somebody else's from now on."""
        fd, self._fd = self._fd, -1
        return fd

    def close(self) -> None:
        """close(2); a run that is over has closed everything."""
        fd = self.detach()
        if fd >= 0 and not self._run.over:
            self._call(calls.close(fd))

    def shutdown(self, how: int) -> None:
        """shutdown(2)."""
        self._call(calls.shutdown(self._open(), int(how)))

    def _open(self) -> int:
        if self._fd < 0:
            raise failure(9)  # EBADF
        return self._fd

    # -- time-outs -----------------------------------------------------------------------------

    def setblocking(self, flag: bool) -> None:
        """False is a time-out of 0."""
        self.settimeout(None if flag else 0.0)

    def getblocking(self) -> bool:
        """Does it wait, be it with a time-out?"""
        return self._timeout is None or self._timeout > 0

    def settimeout(self, value: float | None) -> None:
        """None: it waits for ever; 0: not at all; else so many seconds."""
        if value is not None and (value := float(value)) < 0:
            raise ValueError("Timeout value out of range")
        self._timeout = value
        self._call(ioctl(self._open(), FIONBIO, int(value is not None)))

    def gettimeout(self) -> float | None:
        """Seconds, or None."""
        return self._timeout

    def _until(self) -> int | None:
        return self._run.now() + round(self._timeout * 1e9) if self._timeout else None

    def _waiting(self, make: Callable[[], calls.Request], events: int, until: int | None) -> Any:
        """The call, after a poll if there is a time-out: sock_call_impl()."""
        while True:
            if until is not None:
                left = until - self._run.now()
                if left < 0 or not self._call(calls.poll({self._open(): events}, left)):
                    raise TimeoutError("timed out")
            try:
                return self._call(make())
            except BlockingIOError:
                if until is None:
                    raise

    def _read(self, size: int, flags: int) -> bytes:
        fd = self._open()
        if size < 0:
            raise ValueError("negative buffersize in recv")
        if size == 0:
            return b""
        whole, asked = int(flags) & _socket.MSG_WAITALL, int(flags) & ~_socket.MSG_WAITALL
        if asked & ~(calls.MSG_PEEK | calls.MSG_DONTWAIT):
            raise NotSimulated(f"recv(flags={asked:#x}) is not simulated")
        if whole and asked & calls.MSG_PEEK:
            raise NotSimulated("recv(MSG_PEEK | MSG_WAITALL) is not simulated")
        thing = self._run.kernel.table.get(fd)
        if isinstance(thing, DatagramSocket):  # of one there is no more: recv(2)
            whole = 0
        if asked & calls.MSG_DONTWAIT or thing.flags & calls.O_NONBLOCK:  # as with a time-out
            whole = 0
        request = partial(calls.recvfrom, fd, flags=asked)
        data = more = self._waiting(partial(request, size), calls.EPOLLIN, self._until())
        while whole and more and (left := size - len(data)):
            try:
                more = self._call(request(left))
            except OSError as error:  # which the next receive is told
                thing.error = error.errno
                break
            data += more
        return bytes(data)

    # -- receiving -----------------------------------------------------------------------------

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """recv(2)."""
        return self._read(bufsize, flags)

    def recv_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> int:
        """The same, into a buffer of one's own."""
        view = memoryview(buffer).cast("B")
        data = self._read(nbytes or len(view), flags)
        view[: len(data)] = data
        return len(data)

    def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, Address | None]:
        """recvfrom(2): a stream does not tell from whom."""
        return self._read(bufsize, flags), self._sender()

    def recvfrom_into(
        self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0
    ) -> tuple[int, Address | None]:
        """The same, into a buffer of one's own."""
        return self.recv_into(buffer, nbytes, flags), self._sender()

    def _sender(self) -> Address | None:
        return (HOST, SENDER) if self._kind == DATAGRAM else None

    def recvmsg(
        self, bufsize: int, ancbufsize: int = 0, flags: int = 0
    ) -> tuple[bytes, list[object], int, Address | None]:
        """recvmsg(2), without ancillary data."""
        fd = self._open()
        make = lambda: calls.recvmsg(fd, bufsize, int(flags))  # noqa: E731
        data, told = self._waiting(make, calls.EPOLLIN, self._until())
        return data, [], told, self._sender()

    def recvmsg_into(
        self, buffers: Sequence[WriteableBuffer], ancbufsize: int = 0, flags: int = 0
    ) -> tuple[object, ...]:
        """The same, into buffers of one's own, one after the other."""
        views = [memoryview(buffer).cast("B") for buffer in buffers]
        data, *told = self.recvmsg(sum(map(len, views)), ancbufsize, flags)
        left = data
        for view in views:
            part, left = left[: len(view)], left[len(view) :]
            view[: len(part)] = part
        return len(data), *told

    # -- sending -------------------------------------------------------------------------------

    def send(self, data: ReadableBuffer, flags: int = 0) -> int:
        """send(2): as much as there is room for."""
        return self._write(_bytes(data), flags, self._until())

    def _write(self, data: bytes, flags: int, until: int | None) -> int:
        fd = self._open()
        wait = calls.MSG_DONTWAIT & int(flags)
        make = lambda: sendto(fd, data, wait)  # noqa: E731
        sent: int = self._waiting(make, calls.EPOLLOUT, until)
        return sent

    def sendall(self, data: ReadableBuffer, flags: int = 0) -> None:
        """send(2) until all is sent; the time-out is one for the whole."""
        left, until = _bytes(data), self._until()
        while left:
            left = left[self._write(left, flags, until) :]

    def sendto(self, data: ReadableBuffer, *rest: Any) -> int:
        """sendto(2), on a stream: the address has no effect."""
        return self.send(data, rest[0] if len(rest) > 1 else 0)

    def sendmsg(self, buffers: Sequence[ReadableBuffer], *rest: object) -> int:
        """sendmsg(2), without ancillary data."""
        return self.send(b"".join(map(_bytes, buffers)))

    # -- connections ---------------------------------------------------------------------------

    def bind(self, address: object) -> None:
        """bind(2)."""
        self._call(bind(self._open(), _port(address)))

    def listen(self, backlog: int = 128) -> None:
        """listen(2)."""
        self._call(calls.listen(self._open(), min(max(0, int(backlog)), SOMAXCONN)))

    def _accept(self) -> tuple[int, Address]:
        fd = self._open()
        new = self._waiting(lambda: calls.accept(fd), calls.EPOLLIN, self._until())
        if self._world.default_timeout is not None:
            self._call(ioctl(new, FIONBIO, 1))
        peer = self._run.kernel.table.open[new].peer  # type: ignore[attr-defined]
        return new, (HOST, getattr(peer, "port", 0))

    def connect(self, address: object) -> None:
        """connect(2); with a time-out, EINPROGRESS and then poll."""
        fd, port, until = self._open(), _port(address), self._until()
        try:
            self._call(calls.connect(fd, port))
        except BlockingIOError as error:
            if until is None or error.errno != EINPROGRESS:
                raise
            if not self._call(calls.poll({fd: calls.EPOLLOUT}, until - self._run.now())):
                raise TimeoutError("timed out") from None
            self._finish_connecting()

    def _finish_connecting(self) -> None:
        errno = self._call(getsockopt(self._open(), _socket.SOL_SOCKET, _socket.SO_ERROR))
        if errno not in (0, EISCONN):
            raise failure(errno)

    def connect_ex(self, address: object) -> int:
        """The errno, in place of an OSError."""
        try:
            self.connect(address)
        except TimeoutError as error:
            return error.errno or EWOULDBLOCK
        except OSError as error:
            return error.errno or EAGAIN
        return 0

    def getsockname(self) -> Address | str:
        """getsockname(2)."""
        return self._address(self._ask(getsockname(self._open())))

    def getpeername(self) -> Address | str:
        """getpeername(2)."""
        return self._address(self._ask(getpeername(self._open())))

    def _ask(self, request: calls.Request) -> Any:
        """The call; for a socket that is printed it is nobody's, and is not taken down."""
        if sys._getframe(2).f_code.co_name != "__repr__":
            return self._call(request)
        request.number = 0
        return sides()[type(request).__name__](self._run.kernel, None, request)

    def _address(self, port: int) -> Address | str:
        return (HOST, port) if self.family == INTERNET else ""

    # -- options -------------------------------------------------------------------------------

    def setsockopt(self, level: int, option: int, value: object, length: int = 0) -> None:
        """setsockopt(2); refused is what would have an effect, and has none here."""
        if name := WITHOUT_EFFECT.get((int(level), int(option))):
            raise NotSimulated(f"the option {name} is not simulated")
        self._call(setsockopt(self._open(), int(level), int(option), value))

    def getsockopt(self, level: int, option: int, buflen: int = 0) -> int | bytes:
        """getsockopt(2)."""
        value: int | bytes = self._call(getsockopt(self._open(), int(level), int(option)))
        return value if not buflen or isinstance(value, bytes) else value.to_bytes(buflen, "little")


def _kind_of(run: Run, fd: int | None) -> tuple[int, int]:
    """Type and protocol: of an open descriptor those that it has, else those of a new socket."""
    if fd is None:
        return STREAM, 0
    if isinstance(run.kernel.table.open.get(int(fd)), DatagramSocket):
        return DATAGRAM, _socket.IPPROTO_UDP
    return STREAM, _socket.IPPROTO_TCP


def _bytes(data: ReadableBuffer) -> bytes:
    """What lies in a buffer, which is its owner's again: a bytearray may change its size."""
    with memoryview(data) as view:
        return view.tobytes()


def _port(address: object) -> int:
    if not isinstance(address, tuple) or len(address) < 2:
        raise NotSimulated(f"the address {address!r} is not simulated: (host, port) is")
    if address[0] not in HERE:
        raise NotSimulated(f"the host {address[0]!r} is not simulated: {HOST} is")
    if not 0 <= int(address[1]) <= 65_535:
        raise OverflowError(f"port must be 0-65535, got {address[1]}")
    return int(address[1])


def module(world: World) -> ModuleType:
    """`_socket`, for this world."""
    kind = type("socket", (Socket,), {"__slots__": (), "_world": world, "__module__": "_socket"})

    def pair(
        family: int | None = None, type: int = STREAM, proto: int = 0
    ) -> tuple[Socket, Socket]:
        unix = int(getattr(_socket, "AF_UNIX", INTERNET))
        one, other = world.call(socketpair())
        return kind(unix, type, proto, one), kind(unix, type, proto, other)

    def getaddrinfo(
        host: object, port: str | int | None, family: int = 0, kind: int = 0, *rest: object
    ) -> list[tuple[int, int, int, str, Address]]:
        if host not in HERE:
            raise _socket.gaierror(_socket.EAI_NONAME, f"{host!r} is not simulated: {HOST} is")
        return [(INTERNET, STREAM, _socket.IPPROTO_TCP, "", (HOST, int(port or 0)))]

    def looked_up(host: object) -> tuple[str, list[str], list[str]]:
        """Name, other names and addresses: nobody is asked."""
        return "localhost", [], [address[0] for *_, address in getaddrinfo(host, 0)]

    def getnameinfo(address: object, flags: int = 0) -> tuple[str, str]:
        return HOST, str(_port(address))

    def close(fd: int) -> None:
        world.call(calls.close(int(fd)))

    def dup(fd: int) -> int:
        raise NotSimulated("dup(2) is not simulated")

    def default(value: float | None) -> None:
        world.default_timeout = value

    made = like(
        _socket, socket=kind, SocketType=kind, socketpair=pair, getaddrinfo=getaddrinfo,
        getnameinfo=getnameinfo, close=close, dup=dup, has_ipv6=False, setdefaulttimeout=default,
        getdefaulttimeout=lambda: world.default_timeout, gethostname=lambda: "localhost",
        gethostbyname=lambda name: looked_up(name)[2][0],
        gethostbyname_ex=looked_up, gethostbyaddr=looked_up,
    )  # fmt: skip
    for name in ("CAPI", "sethostname", "recv_fds", "send_fds", "if_nameindex"):
        vars(made).pop(name, None)
    return made
