"""One program that makes every call of the vocabulary, for the witness to see.

`python tests/everything.py` stores strace's log of a run in tests/data/, and what is read in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from errno import EINPROGRESS
from pathlib import Path

from oracles.strace import witness
from oracles.strace.pickled_function import pack

from iosim.calls import (
    EPOLL_CTL_ADD,
    F_SETFL,
    F_SETOWN,
    F_SETSIG,
    MSG_PEEK,
    O_ASYNC,
    O_NONBLOCK,
    SELF,
    SIG_BLOCK,
    SIG_UNBLOCK,
    SIGIO,
    SIZE,
    SO_RCVTIMEO,
    Program,
    aio_error,
    aio_read,
    aio_return,
    compute,
    epoll_create,
    epoll_ctl,
    epoll_wait,
    fcntl,
    getpid,
    io_uring_enter,
    io_uring_peek_cqe,
    io_uring_setup,
    io_uring_submit,
    ms,
    pause,
    poll,
    recvfrom,
    select,
    setsockopt,
    sigaction,
    sigprocmask,
    sigtimedwait,
    sleep,
)
from iosim.real.measure import prepare
from iosim.workloads.traffic import several

LOG = Path(__file__).parent / "data" / "everything.strace"
READ = LOG.with_suffix(".txt")

EVERY_MS = 200
#: Seven messages: one for each way of waiting, and the last two for a signal's handler.
STORY = several(7, every_ms=EVERY_MS, size=100).in_step()


def everything(fds: Sequence[int], nbytes: int) -> Program:
    """Each way of waiting for one message after the other."""
    fd = fds[0]
    yield getpid()
    yield from in_vain(fd)
    yield from ready(fd)
    yield from completed(fd)
    yield from signalled(fd)


def in_vain(fd: int) -> Program:
    """Three waits that end with nothing."""
    yield setsockopt(fd, SO_RCVTIMEO, ms(1))
    try:
        yield recvfrom(fd, SIZE)
    except BlockingIOError:
        yield setsockopt(fd, SO_RCVTIMEO, 0)
    yield select([fd], ms(1))
    yield poll([fd], 0)


def ready(fd: int) -> Program:
    """Messages 1 and 2."""
    epfd = yield epoll_create()
    yield epoll_ctl(epfd, EPOLL_CTL_ADD, fd)
    yield epoll_wait(epfd)
    yield recvfrom(fd, SIZE, MSG_PEEK)
    yield recvfrom(fd, SIZE)
    yield recvfrom(fd, SIZE)


def completed(fd: int) -> Program:
    """Messages 3 to 5."""
    block = yield aio_read(fd, SIZE)
    while (yield aio_error(block)) == EINPROGRESS:
        yield compute(ms(1))
    yield aio_return(block)
    ring = yield io_uring_setup()
    yield io_uring_submit(ring, fd, SIZE)
    yield io_uring_enter(ring)
    yield io_uring_submit(ring, fd, SIZE)
    while (yield io_uring_peek_cqe(ring)) is None:
        yield compute(ms(1))


def signalled(fd: int) -> Program:
    """Messages 6 and 7: the first interrupts a sleep, the other ends a pause."""
    heard: list[int] = []

    def handler(signo: int) -> Program:
        heard.append(signo)
        yield recvfrom(fd, SIZE)

    yield sigprocmask(SIG_BLOCK, [SIGIO])
    yield sigaction(SIGIO, handler)
    yield fcntl(fd, F_SETSIG, SIGIO)
    yield fcntl(fd, F_SETOWN, SELF)
    yield fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK)
    try:
        yield sigtimedwait([SIGIO], 0)
    except BlockingIOError:
        yield sigprocmask(SIG_UNBLOCK, [SIGIO])
    yield sleep(ms(EVERY_MS * 5 // 4))
    while len(heard) < 2:
        yield pause()


def record() -> None:
    """Write the stored log anew, less most of what came before the run, and what is read in it."""
    parcel = pack(everything.__name__, (everything, STORY, {}, None, 10.0))
    log, _ = witness._watched(parcel, 10.0, everything.__name__)
    lines = log.splitlines(keepends=True)
    first = next(place for place, line in enumerate(lines) if '"iosim fd ' in line)
    LOG.write_text("".join(lines[first - 2 :]), "utf-8")
    READ.write_text(reading(LOG.read_text("utf-8")), "utf-8")


def reading(log: str) -> str:
    """All that is read in a log of `everything`, as text."""
    timeline, heard = witness.read(log, prepare(everything, STORY, {}, None), "here", cores=2)
    timeline.check()
    rows = [f"{i.lane}: {i.state} {i.start} to {i.end} {i.note}" for i in timeline.intervals]
    rows += [
        f"{c.id} {c.process}: {c.name} {c.start} to {c.end}, errno {c.errno}, fd {c.fd}, "
        f"waits {c.waits}, arms {c.arms}, {c.nbytes} bytes"
        for c in timeline.call_log
    ]
    rows += [
        f"message {d.message}: sent {d.sent}, arrived {d.arrived}, received {d.received}, {d.told}"
        for d in timeline.deliveries
    ]
    return "\n".join([str(witness.Audit(timeline, timeline, heard)), *map(str.rstrip, rows), ""])


if __name__ == "__main__":
    record()
