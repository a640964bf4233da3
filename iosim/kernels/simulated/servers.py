"""The simulated kernel for servers: sockets, readiness and threads, in virtual nanoseconds.

The waiting calls are those of the kernel of the five models, told of more: a listening socket, room
to send, edges, one shot.  Each call has the rule of its manual page; see `sockets`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from errno import (
    EALREADY,
    EINPROGRESS,
    EINVAL,
    EISCONN,
    EMFILE,
    ENOTCONN,
    EPIPE,
    ESRCH,
)  # fmt: skip
from typing import Any, ClassVar

from ...bounds import whole
from ...clients import Clients
from ...costs import Costs
from ...sockets import (
    EPOLLERR,
    EPOLLET,
    EPOLLEXCLUSIVE,
    EPOLLHUP,
    EPOLLIN,
    EPOLLOUT,
    SHUT_RD,
    SHUT_WR,
    SOMAXCONN,
    accept,
    close,
    connect,
    getsockname,
    getsockopt,
    kevent,
    kqueue,
    listen,
    memfd_create,
    pthread_create,
    pthread_join,
    send,
    shutdown,
    socket,
)  # fmt: skip
from ...syscalls import (
    MSG_DONTWAIT,
    O_NONBLOCK,
    Request,
    poll,
    recvfrom,
    select,
)  # fmt: skip
from ...timeline import KERNEL
from .kernel import SimKernel
from .network import ANY, Network
from .parts import Completion, File, Pollable, Task
from .readiness import FOUND, Interest, Refused
from .streams import Listener, ServerRing, Stream

__all__ = ["DEFAULT_NOFILE", "ServerKernel"]

# Linux tunes the buffers of a connection as it goes: tcp(7), tcp_rmem and tcp_wmem.
DEFAULT_SNDBUF, DEFAULT_RCVBUF = 87_040, 131_072
DEFAULT_NOFILE = 1 << 20
EPHEMERAL = 50_000  # the first of the ports for who does not ask for a certain one
#: What may stand beside EPOLLEXCLUSIVE: epoll_ctl(2).
WITH_EXCLUSIVE = EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLET | EPOLLEXCLUSIVE


class ServerKernel(Network):
    """Answers the calls of a server and of its threads; `serve` runs it over `story`."""

    def __init__(
        self, story: Clients, costs: Costs | None = None, cores: int = 1,
        backlog: int = SOMAXCONN, sndbuf: int | None = None, rcvbuf: int | None = None,
        nofile: int = DEFAULT_NOFILE, record: bool = True,
    ) -> None:  # fmt: skip
        whole("backlog", backlog, 0, SOMAXCONN, "connections")
        self._nofile = whole("nofile", nofile, 0, DEFAULT_NOFILE, "descriptors")
        room = whole("sndbuf", DEFAULT_SNDBUF if sndbuf is None else sndbuf, 1, 1 << 30, "bytes")
        window = whole("rcvbuf", DEFAULT_RCVBUF if rcvbuf is None else rcvbuf, 1, 1 << 30, "bytes")
        super().__init__(story, costs, cores, backlog, room, window, record)
        self._accept_ns, self._send_ns = round(self.costs.accept), round(self.costs.send)
        self._clone_ns = round(self.costs.clone)
        self._always_warm = self._always_warm and not self.costs.user_per_fd
        self._threads: list[Task] = []
        self._joiners: dict[Task, list[Task]] = {}
        self._progress: dict[Task, int] = {}  # how far a call has come that sleeps in between

    def _own_code(self, task: Task, request: Request) -> int:
        """Who scans has made a list of what to scan."""
        ns = super()._own_code(task, request)
        if isinstance(request, select | poll):
            ns += round(self.costs.user_per_fd * len(request.fds))
        return ns

    def _queueing(self, task: Task, request: select | poll, wanted: Mapping[int, int]) -> float:
        if not self.costs.queue_per_fd or request.timeout == 0:
            return 0
        return self.costs.queue_per_fd / 2 * self._lines(task, request, wanted)

    def _lines(self, task: Task, request: select | poll, wanted: Mapping[int, int]) -> int:
        """How often it now gets into a line, or out of one.

        At the first look into those of all descriptors before the first one that is ready, and if
        there is one out of them again; after a sleep out of all.
        """
        if task.lines:
            return task.lines
        found, count = FOUND[type(request)], 0
        for fd, asked in wanted.items():
            if found(self._events(fd), asked):
                return 2 * count
            count += 1
        task.lines = count
        return count

    # -- descriptors ---------------------------------------------------------------------------

    def _connected(self, fd: int, errno: int = ENOTCONN) -> Stream:
        thing = self._socket(fd)
        if not isinstance(thing, Stream):
            raise Refused(errno, fd)
        if thing.peer is None and not thing.broken:
            raise Refused(errno, fd)
        return thing

    def _room_for_one(self, fd: int = -1) -> None:
        """EMFILE at the limit; the listener does not count."""
        if len(self.sockets) > self._nofile:
            raise Refused(EMFILE, fd)

    def _new(self, task: Task, thing: Pollable) -> None:
        self._room_for_one()
        super()._new(task, thing)

    def _new_socket(self, task: Task, request: socket) -> None:
        self._new(task, Stream(-1, self._rcvbuf, self._sndbuf))

    def _memfd_create(self, task: Task, request: memfd_create) -> None:
        self._new(task, File(-1))

    def _close(self, task: Task, request: close) -> None:
        thing = self._thing(request.fd)
        del self.sockets[request.fd]
        self._free = min(self._free, request.fd)
        for watch in thing.watches:
            self._drop(watch)
        self._put_away[type(thing)](self, thing)
        self._reply(task)

    def _put_away_stream(self, stream: Stream) -> None:
        if stream.peer is not None:
            self._hang_up(stream)

    def _put_away_listener(self, listener: Listener) -> None:
        """Who was not accepted is reset."""
        del self._ports[listener.port]
        while listener.incoming:
            self._break(listener.incoming.popleft())

    def _put_away_interest(self, interest: Interest) -> None:
        for watch in list(interest.watched.values()):
            self._drop(watch)

    def _put_away_ring(self, ring: ServerRing) -> None:
        """What it has under way is called off: nobody could be told (io_ring_ctx_wait_and_kill)."""
        for thing in self.sockets.values():
            if thing.operations:
                thing.operations = tuple(one for one in thing.operations if one.ring is not ring)

    def _nothing_to_put_away(self, thing: Pollable) -> None:
        return

    _put_away: ClassVar[dict[type, Callable[..., None]]] = {
        Stream: _put_away_stream, Listener: _put_away_listener, Interest: _put_away_interest,
        File: _nothing_to_put_away, ServerRing: _put_away_ring,
    }  # fmt: skip

    # -- connections ---------------------------------------------------------------------------

    def _listen(self, task: Task, request: listen) -> None:
        thing = self._socket(request.fd)
        if isinstance(thing, Listener):
            thing.backlog = request.backlog
        elif thing.unconnected:
            thing.become(self._listen_on(request.fd, request.backlog))
        else:
            raise Refused(EINVAL, request.fd)
        self._reply(task)

    def _getsockname(self, task: Task, request: getsockname) -> None:
        thing = self._socket(request.fd)
        self._reply(task, thing.port)

    def _accept(self, task: Task, request: accept) -> None:
        """The descriptor is looked for first: EMFILE comes before EAGAIN (do_accept)."""
        listener = self._socket(request.fd)
        if not isinstance(listener, Listener):
            raise Refused(EINVAL, request.fd)
        self._room_for_one(request.fd)
        if listener.incoming:
            stream = listener.incoming.popleft()
            self._after(
                task, self._accept_ns, lambda task: self._reply(task, self._install(stream))
            )
        elif listener.flags & O_NONBLOCK:
            self._after(task, self._eagain, self._found_nothing)
        else:
            self._wait_in_line(task, listener)

    def _connect(self, task: Task, request: connect) -> None:
        stream = self._socket(request.fd)
        if not isinstance(stream, Stream):
            raise Refused(EISCONN, request.fd)
        if task in self._progress:  # it was woken
            self._connect_goes_on(task, stream)
        elif stream.connecting:
            raise Refused(EALREADY, request.fd)
        elif stream.untold:
            self._connect_tells(task, stream)
        elif stream.peer is not None:
            raise Refused(EISCONN, request.fd)
        else:
            stream.connecting = stream.untold = True
            stream.port = EPHEMERAL + request.fd
            self._knock(stream, request.port, lambda errno: self._connects(stream, errno))
            if stream.flags & O_NONBLOCK:
                self._fail(task, EINPROGRESS)
            else:
                self._progress[task] = 0
                self._wait_for(task, [stream])

    def _connect_goes_on(self, task: Task, stream: Stream) -> None:
        if stream.connecting:
            self._wait_for(task, [stream])
        else:
            del self._progress[task]
            self._connect_tells(task, stream)

    def _connect_tells(self, task: Task, stream: Stream) -> None:
        """The first call that can tells how it went, also after SO_ERROR (inet_stream_connect).

        One that was refused is then as socket(2) made it (tcp_disconnect).
        """
        stream.untold = False
        errno, stream.error = stream.error, 0
        if errno:
            stream.broken = stream.ended = stream.finishing = False
            self._fail(task, errno)
        else:
            self._reply(task)

    def _connects(self, stream: Stream, errno: int) -> None:
        """The handshake is over, well or not."""
        stream.connecting = False
        stream.error, stream.broken = errno, bool(errno)
        stream.ended = stream.ended or bool(errno)
        self._tell(stream, EPOLLIN | EPOLLOUT if errno else EPOLLOUT)

    def _getsockopt(self, task: Task, request: getsockopt) -> None:
        thing = self._socket(request.fd)
        errno, thing.error = thing.error, 0
        self._reply(task, errno)

    def _shutdown(self, task: Task, request: shutdown) -> None:
        """What is not connected is shut all the same, and ENOTCONN says so (inet_shutdown)."""
        thing = self._socket(request.fd)
        if isinstance(thing, Listener):
            if request.how != SHUT_WR:
                self._listen_no_more(thing)
            self._reply(task)
            return
        connected = not (thing.unconnected or thing.gone)
        if request.how != SHUT_RD:
            thing.finishing = True
            self._transmit(thing)
        if request.how != SHUT_WR:
            thing.ended = True
        self._tell(thing, ANY)
        if connected:
            self._reply(task)
        else:
            self._fail(task, ENOTCONN)

    def _listen_no_more(self, listener: Listener) -> None:
        """It is a socket again that is not connected (tcp_disconnect)."""
        self._put_away_listener(listener)
        stream = Stream(listener.fd, self._rcvbuf, self._sndbuf)
        stream.port = listener.port
        self.sockets[listener.fd] = stream
        listener.become(stream)
        self._tell(stream, ANY)

    # -- bytes ---------------------------------------------------------------------------------

    def _recvfrom(self, task: Task, request: recvfrom) -> None:
        self._receiving(request.fd)
        super()._recvfrom(task, request)

    def _receiving(self, fd: int) -> Stream:
        """ENOTCONN, but for one that was shut: it has come to an end (tcp_recvmsg)."""
        thing = self._socket(fd)
        return thing if thing.unconnected and thing.ended else self._connected(fd)

    def _take(self, socket: Any, size: int, peek: bool = False) -> Completion:
        got: Completion = socket.take(size, peek)
        if not peek and socket.peer is not None:
            self._transmit(socket.peer)  # the window is open again
        return got

    def _send(self, task: Task, request: send) -> None:
        stream = self._connected(request.fd, EPIPE)
        done = self._progress.get(task, 0)
        impatient = bool(request.flags & MSG_DONTWAIT or stream.flags & O_NONBLOCK)
        errno = self._send_error(stream)
        count = min(stream.room, len(request.data) - done)
        if errno and not done:
            self._fail(task, errno)
        elif errno or done == len(request.data) or (done and impatient and not count):
            self._progress.pop(task, None)
            self._reply(task, done)
        elif count:
            ns = self.costs.copy(count) + (0 if done else self._send_ns)
            chunk = bytes(request.data[done : done + count])
            self._work(task, KERNEL, ns, lambda task: self._sent(task, stream, chunk))
        elif impatient:
            self._after(task, self._eagain, self._found_nothing)
        else:
            stream.senders = (*stream.senders, task)
            self._sleep(task)

    @staticmethod
    def _send_error(stream: Stream) -> int:
        """The error that came in, once; after it, and after one's own SHUT_WR, EPIPE: send(2)."""
        errno, stream.error = stream.error, 0
        return errno or (EPIPE if stream.broken or stream.finishing else 0)

    def _sent(self, task: Task, stream: Stream, chunk: bytes) -> None:
        self._progress[task] = self._progress.get(task, 0) + len(chunk)
        if self.tape is not None and task.call is not None:
            self.tape.took(task.call, len(chunk))
        self._post(stream, chunk)
        self._again(task)

    def _post(self, stream: Stream, chunk: bytes) -> None:
        """`chunk` lies in the send buffer."""
        if not stream.broken:
            stream.outbox.append([None, chunk])
            stream.unsent += len(chunk)
            self._transmit(stream)

    def _kevent(self, task: Task, request: kevent) -> None:
        interest = self._thing(request.kq, Interest)
        for fd in request.adds:
            if fd not in interest.watched:
                self._add(interest, fd, self._thing(fd), EPOLLIN)
        self._wait_for_events(task, interest, request.nevents, request.timeout)

    # -- threads -------------------------------------------------------------------------------

    def _pthread_create(self, task: Task, request: pthread_create) -> None:
        self._after(task, self._clone_ns, self._thread_begins)

    def _thread_begins(self, task: Task) -> None:
        request = task.request
        assert isinstance(request, pthread_create)
        thread = self.spawn(f"thread {len(self._threads) + 1}", request.start)
        self._threads.append(thread)
        self._plan(self._wakeup, self._when_ready, thread)
        self._reply(task, len(self._threads))

    def _pthread_join(self, task: Task, request: pthread_join) -> None:
        if request.thread > len(self._threads):
            self._fail(task, ESRCH)
            return
        thread = self._threads[request.thread - 1]
        if thread.program is None:
            self._reply(task)
        else:
            self._joiners.setdefault(thread, []).append(task)
            self._sleep(task)

    def _over(self, task: Task) -> None:
        super()._over(task)
        if task.program is None:
            for joiner in self._joiners.pop(task, ()):
                self._wake(joiner)

    _table: ClassVar[dict[type, Callable[..., None]]] = SimKernel._table | {
        recvfrom: _recvfrom, socket: _new_socket, accept: _accept,
        listen: _listen, getsockname: _getsockname, connect: _connect, getsockopt: _getsockopt,
        send: _send, shutdown: _shutdown, close: _close, memfd_create: _memfd_create,
        pthread_create: _pthread_create, pthread_join: _pthread_join, kevent: _kevent,
        kqueue: SimKernel._epoll_create,
    }  # fmt: skip
