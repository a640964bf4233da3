"""The witness's stand: the process that strace watches, in which a program runs as ever.

Some things stand in no system call.  They are announced, each by a word that strace writes into its
log with the time:

    fd N                one of the program's sockets, in the order of the connections
    begin NS, end       the run: where it began on CLOCK_REALTIME, and that it is over
    guard SIGNO         the next rt_sigaction is the recorder's own: SIGNO would end the process
    done FD COUNT BYTE  so many bytes, the first of this value, lie in the program's memory without
                        a call: a completion of io_uring (COUNT 0 and no BYTE: end of the stream)
    sent N FROM TO      the sender's clock before and after message N, in ns of the run
"""

from __future__ import annotations

import pickle
import traceback
from typing import Any

from iosim.calls import Request, io_uring_enter, io_uring_peek_cqe
from iosim.real.answers import Prepared, answers, preparation_of
from iosim.real.driver import Driver
from iosim.real.measure import Measurement, measure_on, prepare
from iosim.real.signals import Signals
from iosim.real.strace import announce

from .pickled_function import unpack

__all__ = ["BOOT", "main"]

#: What the process runs: its first line of input is where modules are found.
BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.stdin.buffer.readline()); "
    "from oracles.strace.traced_process import main; main(sys.stdin.buffer.read(), sys.argv[1])"
)


class Guards(Signals):
    """Signals whose guards are announced."""

    def guard(self, signo: int) -> None:
        """As ever."""
        if signo not in self._previous:
            announce("guard", signo)
        super().guard(signo)


class Announcing(Measurement):
    """A measurement on the real kernel, with announcements."""

    signals = Guards

    def begin(self) -> None:
        """As ever, and which sockets are the program's."""
        for one in self.process.outside.sockets():
            announce("fd", one.fileno())
        super().begin()
        announce("begin", self.process.wall.began)

    def guarded(self) -> None:
        """As ever."""
        super().guarded()
        announce("end")

    def go(self) -> None:
        """As ever."""
        super().go()
        for number, span in self.process.run.sent.items():
            announce("sent", number, *span)


def announce_completions(call: type[Request]) -> None:
    """What `call` finds on a ring is announced from here on."""
    prepare = preparation_of(call)

    @answers(call)
    def prepared(driver: Driver, request: Any) -> Prepared:
        action, finish = prepare(driver, request)

        def finished(number: int, start: int, end: int, result: Any) -> tuple[Any, int]:
            under_way = driver.process.submissions.of
            _, fd = (None, None) if result is None else under_way[request.ring, result[0]]
            data, count = finish(number, start, end, result)
            if data is not None:
                announce("done", fd, len(data), *data[:1])
            return data, count

        return action, finished


def main(parcel: bytes, answer: str) -> None:
    """Run what is in the parcel, and leave the recorder's timeline or the error in a file."""
    for call in (io_uring_enter, io_uring_peek_cqe):
        announce_completions(call)
    try:
        program, story, options, rcvbuf, limit_s = unpack(parcel)
        plan = prepare(program, story, options, rcvbuf)
        result: Any = measure_on(Announcing, plan, rcvbuf, limit_s)
    except BaseException as error:
        result = _sendable(error)
    with open(answer, "wb") as file:
        pickle.dump(result, file)


def _sendable(error: BaseException) -> BaseException:
    """The error itself if it survives the way, with where it came from as a note."""
    trace = "".join(traceback.format_tb(error.__traceback__))
    try:
        sent: BaseException = pickle.loads(pickle.dumps(error))
    except Exception:
        sent = RuntimeError(f"{type(error).__name__}: {error}")
    sent.add_note(f"In the process under strace:\n{trace.rstrip()}")
    return sent
