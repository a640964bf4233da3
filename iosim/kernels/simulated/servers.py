"""The simulated kernel for servers: sockets, readiness and threads, in virtual nanoseconds.

The waiting calls are those of the kernel of the five models, told of more: a listening socket, room
to send, edges, one shot.  Each call has the rule of its manual page; see `sockets`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from errno import (
    EALREADY,
    EBADF,
    EEXIST,
    EINPROGRESS,
    EINVAL,
    EISCONN,
    EMFILE,
    ENOENT,
    ENOTCONN,
    ENOTSOCK,
    EPERM,
    EPIPE,
    ESRCH,
)  # fmt: skip
from itertools import islice
from typing import Any, ClassVar

from ...bounds import whole
from ...clients import Clients
from ...costs import Costs
from ...sockets import (
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    EPOLL_CTL_MOD,
    EPOLLERR,
    EPOLLET,
    EPOLLEXCLUSIVE,
    EPOLLHUP,
    EPOLLIN,
    EPOLLOUT,
    POLLNVAL,
    SHUT_RD,
    SHUT_WR,
    SOMAXCONN,
    Ready,
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
    epoll_create,
    epoll_ctl,
    epoll_wait,
    poll,
    recvfrom,
    select,
)  # fmt: skip
from ...timeline import KERNEL
from .kernel import Refused, SimKernel
from .network import ANY, Network
from .parts import Completion, Task
from .streams import (
    File,
    Interest,
    InternetSocket,
    Listener,
    Pollable,
    ServerRing,
    Stream,
    Watch,
)  # fmt: skip

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

    # -- descriptors ---------------------------------------------------------------------------

    def _thing(self, fd: int, kind: type = Pollable, errno: int = EINVAL) -> Any:
        """What is open as `fd`: EBADF; and `errno`, if it is of another kind."""
        thing = self.sockets.get(fd)
        if not isinstance(thing, kind):
            raise Refused(EBADF if thing is None else errno, fd)
        return thing

    def _socket(self, fd: int, kind: type = InternetSocket) -> Any:
        """For a socket's call."""
        return self._thing(fd, kind, ENOTSOCK)

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

    def _install(self, thing: Pollable) -> int:
        thing.fd = self._lowest()
        self.sockets[thing.fd] = thing
        return thing.fd

    def _new(self, task: Task, thing: Pollable) -> None:
        self._room_for_one()
        self._reply(task, self._install(thing))

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

    def _wait_in_line(self, task: Task, thing: Pollable) -> None:
        """Asleep as one of whom a single one is woken (prepare_to_wait_exclusive)."""
        if task not in thing.acceptors:
            thing.acceptors = (*thing.acceptors, task)
        self._sleep(task, task.deadline)

    @staticmethod
    def _leave_line(task: Task, thing: Pollable) -> None:
        thing.acceptors = tuple(other for other in thing.acceptors if other is not task)

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
        """The first call that can tells how it went, also after SO_ERROR (inet_stream_connect)."""
        stream.untold = False
        errno, stream.error = stream.error, 0
        if errno:
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

    # -- readiness -----------------------------------------------------------------------------

    def _scan(self, task: Task, request: select | poll) -> None:
        wanted = _wanted(request)
        if type(request) is select:
            for fd in wanted:
                self._thing(fd)
        per_fd = self.costs.select_per_fd if type(request) is select else self.costs.poll_per_fd
        ns = per_fd * len(wanted)
        if self.costs.queue_per_fd and request.timeout != 0:
            ns += self.costs.queue_per_fd / 2 * self._lines(task, request, wanted)
        self._work(task, KERNEL, round(ns), self._scanned)

    def _lines(self, task: Task, request: select | poll, wanted: Mapping[int, int]) -> int:
        """How often it now gets into a line, or out of one.

        At the first look into those of all descriptors before the first one that is ready, and if
        there is one out of them again; after a sleep out of all.
        """
        if task.lines:
            return task.lines
        found, count = _FOUND[type(request)], 0
        for fd, asked in wanted.items():
            if found(self._events(fd), asked):
                return 2 * count
            count += 1
        task.lines = count
        return count

    def _events(self, fd: int) -> int:
        """What poll(2) says of it now."""
        thing = self.sockets.get(fd)
        return POLLNVAL if thing is None else thing.events

    def _scanned(self, task: Task) -> None:
        request = task.request
        assert isinstance(request, select | poll)
        found, wanted = _FOUND[type(request)], _wanted(request)
        ready = [
            Ready(fd, events)
            for fd, asked in wanted.items()
            if (events := found(self._events(fd), asked))
        ]
        places = [self.sockets[fd] for fd in wanted if fd in self.sockets]
        if ready or self._expired(task, request.timeout):
            self._forget(task, places)
            task.notice, task.lines = set(ready), 0
            self._reply(task, ready)
        else:
            self._wait_for(task, places)

    def _epoll_create(self, task: Task, request: epoll_create | kqueue) -> None:
        self._new(task, Interest(-1))

    def _epoll_ctl(self, task: Task, request: epoll_ctl) -> None:
        interest, thing = self._thing(request.epfd), self._thing(request.fd)
        errno = _refusal(interest, thing, request)
        if errno:
            self._fail(task, errno)
            return
        if request.op == EPOLL_CTL_DEL:
            self._drop(interest.watched[request.fd])
        elif request.op == EPOLL_CTL_MOD:
            interest.watched[request.fd].events = request.events
            self._look_at(interest.watched[request.fd])
        else:
            self._add(interest, request.fd, thing, request.events)
        self._reply(task)

    def _add(self, interest: Interest, fd: int, thing: Pollable, events: int) -> None:
        watch = interest.watched[fd] = Watch(interest, fd, thing, events)
        thing.watches = (*thing.watches, watch)
        self._look_at(watch)

    def _look_at(self, watch: Watch) -> None:
        if watch.found:
            self._list_ready(watch)

    @staticmethod
    def _drop(watch: Watch) -> None:
        watch.interest.watched.pop(watch.fd, None)
        watch.interest.ready.pop(watch.fd, None)
        watch.thing.watches = tuple(other for other in watch.thing.watches if other is not watch)

    def _list_ready(self, watch: Any) -> bool:
        interest: Interest = watch.interest
        interest.ready.setdefault(watch.fd, watch)
        woke = bool(interest.acceptors)
        self._tell(interest, EPOLLIN)
        return woke

    def _epoll_wait(self, task: Task, request: epoll_wait | kevent) -> None:
        interest = self._thing(request.fd, Interest)
        most = request.maxevents if isinstance(request, epoll_wait) else request.nevents
        if interest.ready:
            ns = round(self.costs.epoll_per_ready * min(len(interest.ready), most))
            self._work(task, KERNEL, ns, lambda task: self._reap(task, interest, most))
        elif self._expired(task, request.timeout):
            self._leave_line(task, interest)
            self._reply(task, [])
        else:
            self._wait_in_line(task, interest)

    def _reap(self, task: Task, interest: Interest, most: int) -> None:
        """The events; and if something is left on the ready list, the next sleeper wakes up."""
        events: list[Ready] = []
        unseen = len(interest.ready)
        while unseen and len(events) < most:
            batch = list(islice(interest.ready.values(), min(unseen, most - len(events))))
            unseen -= len(batch)
            events += [found for watch in batch if (found := watch.harvest()) is not None]
        if not events:
            self._again(task)
            return
        self._leave_line(task, interest)
        if interest.ready and interest.acceptors:
            first, *others = interest.acceptors
            interest.acceptors = tuple(others)
            self._wake(first)
        task.notice = set(events)
        self._reply(task, events)

    def _kevent(self, task: Task, request: kevent) -> None:
        interest = self._thing(request.kq, Interest)
        for fd in request.adds:
            if fd not in interest.watched:
                self._add(interest, fd, self._thing(fd), EPOLLIN)
        self._epoll_wait(task, request)

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
        recvfrom: _recvfrom, select: _scan, poll: _scan, epoll_create: _epoll_create,
        epoll_ctl: _epoll_ctl, epoll_wait: _epoll_wait, socket: _new_socket, accept: _accept,
        listen: _listen, getsockname: _getsockname, connect: _connect, getsockopt: _getsockopt,
        send: _send, shutdown: _shutdown, close: _close, memfd_create: _memfd_create,
        pthread_create: _pthread_create, pthread_join: _pthread_join, kqueue: _epoll_create,
        kevent: _kevent,
    }  # fmt: skip


def _wanted(request: select | poll) -> dict[int, int]:
    """What is asked of each descriptor."""
    if isinstance(request, poll):
        fds = request.fds
        return dict(fds) if isinstance(fds, dict) else dict.fromkeys(fds, EPOLLIN)
    wanted = dict.fromkeys(request.fds, EPOLLIN)
    for fd in request.writefds:
        wanted[fd] = wanted.get(fd, 0) | EPOLLOUT
    return wanted


def _found_by_poll(events: int, asked: int) -> int:
    return events & (asked | EPOLLERR | EPOLLHUP | POLLNVAL)


def _found_by_select(events: int, asked: int) -> int:
    """Readable at an error or a hang-up, writable at an error: POLLIN_SET, POLLOUT_SET."""
    readable = EPOLLIN if events & (EPOLLIN | EPOLLHUP | EPOLLERR) else 0
    writable = EPOLLOUT if events & (EPOLLOUT | EPOLLERR) else 0
    return (readable | writable) & asked


_FOUND: dict[type, Callable[[int, int], int]] = {select: _found_by_select, poll: _found_by_poll}


def _refusal(interest: Pollable, thing: Pollable, request: epoll_ctl) -> int:
    """The errno of epoll_ctl(2), in the order in which do_epoll_ctl finds it; 0: it may be done."""
    if isinstance(thing, File):
        return EPERM
    if thing is interest or not isinstance(interest, Interest):
        return EINVAL
    known = interest.watched.get(request.fd)
    add, change = request.op == EPOLL_CTL_ADD, request.op == EPOLL_CTL_MOD
    exclusive = request.events & EPOLLEXCLUSIVE
    rules = (
        (exclusive and change, EINVAL),
        (exclusive and add and isinstance(thing, Interest), EINVAL),
        (exclusive and add and request.events & ~WITH_EXCLUSIVE, EINVAL),
        (add and known is not None, EEXIST),
        (not add and known is None, ENOENT),
        (change and known is not None and known.exclusive, EINVAL),
    )
    return next((errno for holds, errno in rules if holds), 0)
