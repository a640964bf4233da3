"""The calls on listening and connected sockets: socket(2), accept(2), connect(2), send(2)."""

from __future__ import annotations

from errno import (
    EALREADY,
    EINPROGRESS,
    EINVAL,
    EISCONN,
    ENOTCONN,
    EPIPE,
)  # fmt: skip
from typing import Any

from ..calls import (
    EPOLLIN,
    EPOLLOUT,
    MSG_DONTWAIT,
    O_NONBLOCK,
    SHUT_RD,
    SHUT_WR,
    Request,
    accept,
    close,
    connect,
    getsockname,
    getsockopt,
    listen,
    memfd_create,
    send,
    shutdown,
    socket,
    write,
)
from ..calls.request import OfDescriptor
from .answers import answers
from .descriptions import Description, File, changed, failure, in_line, refusal, sleep_on
from .kernel import Kernel
from .sockets import nothing_there, socket_of
from .task import FOREVER, NotSimulated, Side, Task
from .tcp import ANY, InternetSocket, Listener, Stream

__all__ = ["connected", "internet", "listening", "send_bytes"]

EPHEMERAL = 50_000  # the first of the ports for who does not ask for a certain one


def internet(kernel: Kernel, request: OfDescriptor, thing: Description | None = None) -> Any:
    """The socket of a call: EBADF, ENOTSOCK.  `NotSimulated` for one of a traffic story.

    `thing`: the one that it has waited for, whatever its number means by now.
    """
    thing = thing or socket_of(kernel, request.fd)
    if not isinstance(thing, InternetSocket):
        name = type(request).__name__
        raise NotSimulated(f"{name}: to a connection of Traffic one only listens; take Clients")
    return thing


def connected(
    kernel: Kernel, request: OfDescriptor, errno: int = ENOTCONN, thing: Description | None = None
) -> Stream:
    """The same, with a peer; `errno` if it has, or had, none."""
    thing = internet(kernel, request, thing)
    if not isinstance(thing, Stream) or (thing.peer is None and not thing.broken):
        raise refusal(errno, request.fd)
    return thing


def listening(kernel: Kernel, request: OfDescriptor, thing: Description | None = None) -> Listener:
    """The same, in LISTEN; EINVAL if it does not, EMFILE if there is no room for a connection.

    The descriptor is looked for first: EMFILE comes before EAGAIN (do_accept).
    """
    thing = internet(kernel, request, thing)
    if not isinstance(thing, Listener):
        raise refusal(EINVAL, request.fd)
    kernel.table.room_for_one(request.fd)
    return thing


# -- descriptors -------------------------------------------------------------------------------


@answers(socket)
def new_socket(kernel: Kernel, task: Task, request: socket) -> int:
    """socket(2)."""
    return kernel.table.new(kernel.network.new_stream())


@answers(memfd_create)
def new_file(kernel: Kernel, task: Task, request: Request) -> int:
    """memfd_create(2)."""
    return kernel.table.new(File())


@answers(close)
def close_descriptor(kernel: Kernel, task: Task, request: close) -> None:
    """close(2)."""
    kernel.table.close(kernel, request.fd)


@answers(getsockname)
def bound_to(kernel: Kernel, task: Task, request: getsockname) -> int:
    """getsockname(2)."""
    port: int = internet(kernel, request).port
    return port


@answers(getsockopt)
def pending_error(kernel: Kernel, task: Task, request: getsockopt) -> int:
    """SO_ERROR: socket(7)."""
    thing = socket_of(kernel, request.fd)
    errno, thing.error = thing.error, 0
    return int(errno)


# -- connections -------------------------------------------------------------------------------


@answers(listen)
def begin_to_listen(kernel: Kernel, task: Task, request: listen) -> None:
    """listen(2): a new length for a listener's queue, or a socket becomes one."""
    thing = internet(kernel, request)
    if isinstance(thing, Listener):
        thing.backlog = request.backlog
    elif thing.unconnected:
        port = thing.port if thing.bound else 0
        _replace(kernel, thing, kernel.network.listener(request.backlog, port))
    else:
        raise refusal(EINVAL, request.fd)


def _replace(kernel: Kernel, thing: InternetSocket, other: InternetSocket) -> None:
    thing.become(other)
    kernel.table.open[thing.fd] = other
    kernel.replaced(thing, other)


@answers(accept)
def take_connection(kernel: Kernel, task: Task, request: accept) -> Side:
    """accept(2): sleep in the line until there is a connection, if it may at the beginning."""
    listener = listening(kernel, request)
    nonblocking = listener.flags & O_NONBLOCK
    while not listener.incoming:
        if nonblocking:
            yield from nothing_there(kernel)
        yield in_line(listener)
        if listener.over:
            raise refusal(EINVAL, request.fd)
    stream = listener.incoming.popleft()
    ns = round(kernel.costs.accept)
    if ns:
        yield ns
    return kernel.table.install(stream)


@answers(connect)
def begin_connection(kernel: Kernel, task: Task, request: connect) -> Side:
    """connect(2): the handshake; EINPROGRESS if it is not waited for."""
    stream = internet(kernel, request)
    if not isinstance(stream, Stream):
        raise refusal(EISCONN, request.fd)
    if stream.connecting:
        raise refusal(EALREADY, request.fd)
    if not stream.untold:
        if stream.peer is not None:
            raise refusal(EISCONN, request.fd)
        stream.connecting = stream.untold = True
        stream.port = EPHEMERAL + request.fd
        kernel.network.connect(
            stream, request.port, lambda errno: _handshake_over(kernel, stream, errno)
        )
        if stream.flags & O_NONBLOCK:
            raise failure(EINPROGRESS)
        while stream.connecting:
            yield sleep_on(task, [stream])
    # The first call that can tells how it went, also after SO_ERROR (inet_stream_connect).
    stream.untold = False
    errno, stream.error = stream.error, 0
    if errno:  # it is as socket(2) made it again (tcp_disconnect)
        stream.broken = stream.ended = stream.finishing = False
        raise failure(errno)


def _handshake_over(kernel: Kernel, stream: Stream, errno: int) -> None:
    stream.connecting = False
    stream.error, stream.broken = errno, bool(errno)
    stream.ended = stream.ended or bool(errno)
    changed(kernel, stream, EPOLLIN | EPOLLOUT if errno else EPOLLOUT, everybody=True)


@answers(shutdown)
def shut(kernel: Kernel, task: Task, request: shutdown) -> None:
    """shutdown(2): what is not connected is shut all the same, ENOTCONN says so (inet_shutdown)."""
    thing = internet(kernel, request)
    if isinstance(thing, Listener):
        if request.how != SHUT_WR:
            _listen_no_more(kernel, thing)
        return
    is_connected = not (thing.unconnected or thing.gone)
    if request.how != SHUT_RD:
        thing.finishing = True
        kernel.network.transmit(thing)
    if request.how != SHUT_WR:
        thing.receives_no_more(kernel)
    changed(kernel, thing, ANY, everybody=True)
    if not is_connected:
        raise failure(ENOTCONN)


def _listen_no_more(kernel: Kernel, listener: Listener) -> None:
    """It is a socket again that is not connected (tcp_disconnect)."""
    listener.put_away(kernel)
    stream = kernel.network.new_stream()
    stream.port = listener.port
    _replace(kernel, listener, stream)
    changed(kernel, stream, ANY, everybody=True)


@answers(send)
def send_bytes(kernel: Kernel, task: Task, request: send | write) -> Side:
    """send(2): copy to the send buffer, and sleep until all fit, if it may at the beginning."""
    data, done = memoryview(request.data), 0
    stream = connected(kernel, request, EPIPE)
    nonblocking = request.flags & MSG_DONTWAIT or stream.flags & O_NONBLOCK
    while True:
        if done and not stream.can_send:
            return done  # why, the next call is told
        if errno := stream.send_error():
            raise failure(errno)
        count = min(stream.room, len(data) - done)
        if done == len(data) or (done and nonblocking and not count):
            return done
        if count:
            yield kernel.copy(count) + (0 if done else round(kernel.costs.send))
            chunk = bytes(data[done : done + count])
            done += count
            kernel.took(task, count)
            if not stream.broken:
                stream.post(kernel, chunk)
        elif nonblocking:
            yield from nothing_there(kernel)
        else:
            stream.senders = (*stream.senders, task)
            yield FOREVER
