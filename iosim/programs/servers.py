"""Echo servers: one task, and a program for each way to serve many clients at once.

A program's first parameter is the listening descriptor; `clients` is how many to serve before it
ends.  Every one sends back what it receives, until a client's end.  UNP: W. R. Stevens and others,
UNIX Network Programming, volume 1, 3rd edition.
"""

from __future__ import annotations

from collections import deque

from ..calls import (  # fmt: skip
    EPOLL_CTL_ADD,
    EPOLL_CTL_MOD,
    EPOLLET,
    EPOLLIN,
    EPOLLONESHOT,
    EPOLLOUT,
    F_SETFL,
    F_SETOWN,
    O_ASYNC,
    O_NONBLOCK,
    SELF,
    SIG_BLOCK,
    SIGIO,
    SIZE,
    Program,
    accept,
    close,
    connect,
    epoll_create,
    epoll_ctl,
    epoll_wait,
    fcntl,
    getsockname,
    io_uring_prep_accept,
    io_uring_prep_recv,
    io_uring_prep_send,
    io_uring_setup,
    io_uring_submit_and_wait,
    listen,
    ms,
    poll,
    pthread_create,
    pthread_join,
    recvfrom,
    select,
    send,
    sigprocmask,
    sigtimedwait,
    sleep,
    socket,
)

__all__ = [
    "SERVERS", "arm", "attempt", "drain", "echo", "handle", "iterative", "nonblocking_sweep",
    "proactor", "push", "reactor_epoll", "reactor_epoll_et", "reactor_epoll_out", "reactor_poll",
    "reactor_pool", "reactor_select", "reply", "signal_driven", "socketpair",
    "thread_per_connection", "worker",
]  # fmt: skip

TURN = 4  # receives, before others are heard


def handle(ns: int) -> Program:
    """What is done with a message: block for `ns` (0: not at all), as to ask a disk or database."""
    if ns:
        yield sleep(ns)


def echo(conn: int, handler_ns: int = 0) -> Program:
    """Serve one client to its end: receive, handle, send back, and close at the end."""
    while data := (yield recvfrom(conn, SIZE)):
        yield from handle(handler_ns)
        yield send(conn, data)
    yield close(conn)


def iterative(listener: int, clients: int) -> Program:
    """One process, one client after the other (UNP 30.4): whoever comes next has to wait."""
    for _ in range(clients):
        conn = yield accept(listener)
        yield from echo(conn)


def thread_per_connection(listener: int, clients: int, handler_ns: int = 0) -> Program:
    """A thread for each client, which it may keep waiting as it likes (UNP 30.10)."""
    threads = []
    for _ in range(clients):
        conn = yield accept(listener)
        threads.append((yield pthread_create(echo(conn, handler_ns))))
    for thread in threads:
        yield pthread_join(thread)


def push(conn: int, data: bytes) -> Program:
    """Send what fits now; the rest comes back."""
    try:
        count = yield send(conn, data)
    except BlockingIOError:
        return data
    return data[count:]


def reply(conn: int, data: bytes) -> Program:
    """Send all of it: whoever does not read holds up everybody, but nothing is lost."""
    while data := (yield from push(conn, data)):
        yield select([], None, [conn])


def attempt(conn: int, handler_ns: int = 0) -> Program:
    """Serve what there is now, without waiting for more; is it over?"""
    try:
        data = yield recvfrom(conn, SIZE)
    except BlockingIOError:
        return False
    if not data:
        yield close(conn)
        return True
    yield from handle(handler_ns)
    yield from reply(conn, data)
    return False


def nonblocking_sweep(listener: int, clients: int) -> Program:
    """Ask every descriptor in turn, again and again (UNP 16.1), with a rest after each round."""
    yield fcntl(listener, F_SETFL, O_NONBLOCK)
    conns: list[int] = []
    while clients:
        try:
            conn = yield accept(listener)
            yield fcntl(conn, F_SETFL, O_NONBLOCK)
            conns.append(conn)
        except BlockingIOError:
            yield sleep(ms(1))
        for conn in list(conns):
            if (yield from attempt(conn)):
                conns.remove(conn)
                clients -= 1


def reactor_select(listener: int, clients: int) -> Program:
    """Sleep until one of many is ready; the kernel is told of all of them each time (UNP 6.8)."""
    conns: list[int] = []
    while clients:
        for fd in (yield select([listener, *conns])):
            if fd == listener:
                conns.append((yield accept(listener)))
            elif (yield from attempt(fd)):
                conns.remove(fd)
                clients -= 1


def reactor_poll(listener: int, clients: int) -> Program:
    """As `reactor_select`, with an array: no bound on the number of a descriptor (UNP 6.11)."""
    conns: list[int] = []
    while clients:
        for fd in (yield poll([listener, *conns])):
            if fd == listener:
                conns.append((yield accept(listener)))
            elif (yield from attempt(fd)):
                conns.remove(fd)
                clients -= 1


def reactor_epoll(listener: int, clients: int, handler_ns: int = 0) -> Program:
    """The kernel keeps the list, and replies with those that are ready: level-triggered.

    A handler that blocks for `handler_ns` holds up everybody: nobody else waits for the others.
    """
    epfd = yield epoll_create()
    yield epoll_ctl(epfd, EPOLL_CTL_ADD, listener)
    while clients:
        for fd in (yield epoll_wait(epfd)):
            if fd == listener:
                conn = yield accept(listener)
                yield epoll_ctl(epfd, EPOLL_CTL_ADD, conn)
            elif (yield from attempt(fd, handler_ns)):
                clients -= 1


def socketpair() -> Program:
    """Two connected ends in one process, as of socketpair(2), but over TCP."""
    door, inlet = (yield socket()), (yield socket())
    yield listen(door)
    yield connect(inlet, (yield getsockname(door)))
    outlet = yield accept(door)
    yield close(door)
    return inlet, outlet


def worker(outlet: int, jobs: deque[tuple[int, bytes]], epfd: int, handler_ns: int) -> Program:
    """For each byte from `outlet` take a job: handle it, reply, and let its client be heard again.

    A byte wakes every worker that sleeps, and one gets it: the thundering herd, here of those who
    receive on one stream (UNP 30.6 tells of it for accept).
    """
    while (yield recvfrom(outlet, 1)):
        conn, data = jobs.popleft()
        yield from handle(handler_ns)
        yield from reply(conn, data)
        yield epoll_ctl(epfd, EPOLL_CTL_MOD, conn, EPOLLIN | EPOLLONESHOT)


def reactor_pool(listener: int, clients: int, workers: int = 4, handler_ns: int = 0) -> Program:
    """One thread watches and receives, `workers` handle: POSA2's Half-Sync/Half-Async.

    EPOLLONESHOT: who is not answered yet is not heard, so that answers keep their order.
    """
    (inlet, outlet), epfd = (yield from socketpair()), (yield epoll_create())
    jobs, threads = deque[tuple[int, bytes]](), []
    for _ in range(workers):
        threads.append((yield pthread_create(worker(outlet, jobs, epfd, handler_ns))))
    yield epoll_ctl(epfd, EPOLL_CTL_ADD, listener)
    while clients:
        for fd in (yield epoll_wait(epfd)):
            if fd == listener:
                conn = yield accept(listener)
                yield epoll_ctl(epfd, EPOLL_CTL_ADD, conn, EPOLLIN | EPOLLONESHOT)
            elif data := (yield recvfrom(fd, SIZE)):
                jobs.append((fd, data))
                yield send(inlet, b"!")
            else:
                yield close(fd)
                clients -= 1
    yield close(inlet)  # at whose end the workers leave
    for thread in threads:
        yield pthread_join(thread)


def reactor_epoll_out(listener: int, clients: int) -> Program:
    """What does not fit waits for EPOLLOUT, and is not read on meanwhile: nobody waits for others.

    EPOLLOUT is asked for only as long as there is something to send: there nearly always is room.
    """
    epfd, rest = (yield epoll_create()), dict[int, bytes]()
    yield epoll_ctl(epfd, EPOLL_CTL_ADD, listener)
    while clients:
        for fd in (yield epoll_wait(epfd)):
            if fd == listener:
                conn = yield accept(listener)
                yield fcntl(conn, F_SETFL, O_NONBLOCK)
                yield epoll_ctl(epfd, EPOLL_CTL_ADD, conn)
            elif data := rest.get(fd) or (yield recvfrom(fd, SIZE)):
                before, rest[fd] = rest.get(fd), (yield from push(fd, data))
                if bool(before) != bool(rest[fd]):
                    yield epoll_ctl(epfd, EPOLL_CTL_MOD, fd, EPOLLOUT if rest[fd] else EPOLLIN)
            else:
                yield close(fd)
                clients -= 1


def drain(conn: int, turn: int = TURN) -> Program:
    """Serve until there is nothing more, which EAGAIN says: an edge is told only once (epoll(7)).

    Is it over?  False: it has had its turn, and may have more to say; others want to be heard.
    """
    for _ in range(turn):
        if not (data := (yield recvfrom(conn, SIZE))):
            yield close(conn)
            return True
        yield from reply(conn, data)
    return False


def reactor_epoll_et(listener: int, clients: int, turn: int = TURN) -> Program:
    """Edge-triggered: told of a change only, so that each is drained to EAGAIN, in turns."""
    epfd, unheard = (yield epoll_create()), list[int]()
    yield fcntl(listener, F_SETFL, O_NONBLOCK)
    yield epoll_ctl(epfd, EPOLL_CTL_ADD, listener, EPOLLIN | EPOLLET)
    while clients:
        ready = yield epoll_wait(epfd, timeout=0 if unheard else None)
        fds, unheard = dict.fromkeys([*ready, *unheard]), []
        for fd in fds:
            try:
                while fd == listener:
                    conn = yield accept(listener)
                    yield fcntl(conn, F_SETFL, O_NONBLOCK)
                    yield epoll_ctl(epfd, EPOLL_CTL_ADD, conn, EPOLLIN | EPOLLET)
                if (yield from drain(fd, turn)):
                    clients -= 1
                else:
                    unheard.append(fd)
            except BlockingIOError:
                continue


def signal_driven(listener: int, clients: int) -> Program:
    """A signal says that something has come, not where: a round of all descriptors (UNP 25)."""
    yield sigprocmask(SIG_BLOCK, [SIGIO])
    yield from arm(listener)
    fds = [listener]
    while clients:
        over, unheard = set(), False
        for fd in fds:  # which grows on the way: what came before `arm` raises no signal
            try:
                while fd == listener:
                    conn = yield accept(listener)
                    yield from arm(conn)
                    fds.append(conn)
                if (yield from drain(fd)):
                    over.add(fd)
                else:
                    unheard = True
            except BlockingIOError:
                continue
        fds = [fd for fd in fds if fd not in over]
        clients -= len(over)
        if clients and not unheard:
            yield sigtimedwait([SIGIO])


def arm(fd: int) -> Program:
    """From here on SIGIO tells of `fd`."""
    yield fcntl(fd, F_SETOWN, SELF)
    yield fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK)


def proactor(listener: int, clients: int) -> Program:
    """Every operation is handed to the kernel; what comes back is its result (io_uring)."""
    ring = yield io_uring_setup(4_096)
    yield io_uring_prep_accept(ring, listener)
    while clients:
        for kind, fd, result in (yield io_uring_submit_and_wait(ring)):
            if isinstance(result, OSError):  # a call would raise it
                raise result
            if kind is io_uring_prep_accept:
                yield io_uring_prep_recv(ring, result, SIZE)
                yield io_uring_prep_accept(ring, listener)
            elif kind is io_uring_prep_send:
                yield io_uring_prep_recv(ring, fd, SIZE)
            elif result:
                yield io_uring_prep_send(ring, fd, result)
            else:
                yield close(fd)
                clients -= 1


#: By name, in the order of the course.
SERVERS = {
    program.__name__: program
    for program in (
        iterative, thread_per_connection, nonblocking_sweep, reactor_select, reactor_poll,
        reactor_epoll, reactor_pool, reactor_epoll_out, reactor_epoll_et, signal_driven, proactor,
    )
}  # fmt: skip
