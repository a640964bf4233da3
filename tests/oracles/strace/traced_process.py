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
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from iosim.kernels.launch import Plan
from iosim.real.driver import LinuxKernel, Signals, measure_on, prepare
from iosim.real.strace import announce
from iosim.real.wires import Wires
from iosim.syscalls import Program

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


class Announcing(LinuxKernel):
    """The real kernel, with announcements."""

    def __init__(self, plan: Plan, wires: Wires, stack: ExitStack) -> None:
        super().__init__(plan, wires, stack)
        for fd in self.sockets:
            announce("fd", fd)

    def _make_signals(self) -> Signals:
        return Guards(self)

    def _begin(self) -> None:
        super()._begin()
        announce("begin", self.wall.began)

    def _guarded(self, program: Program, limit_s: float) -> None:
        super()._guarded(program, limit_s)
        announce("end")

    def _completed(self, ring: int, call: int, start: int, end: int, result: Any) -> Any:
        fd = None if result is None else self.submissions.get((ring, result[0]))
        data, count = super()._completed(ring, call, start, end, result)
        if data is not None:
            announce("done", fd, len(data), *data[:1])
        return data, count

    def note_report(self, report: Mapping[str, Any]) -> None:
        """As ever."""
        super().note_report(report)
        for number, span in self.run.sent.items():
            announce("sent", number, *span)


def main(parcel: bytes, answer: str) -> None:
    """Run what is in the parcel, and leave the recorder's timeline or the error in a file."""
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
