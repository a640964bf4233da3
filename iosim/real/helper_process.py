"""The processes beside the program's: each is told what to do, and when, and answers.

What goes wrong with one of them is its own trouble and never the program's: `HelperError` says in
one line which of them it was, how it ended, what it said last, and what it had been told to do.
"""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import time
from io import FileIO
from pathlib import Path
from typing import Any, ClassVar, cast

from ..kernels.resource_limits import beginning, why
from ..machine.children import how_it_ended, plain_environment
from ..machine.cores import WASM
from .features import Unsupported
from .helpers.story_end import STORY_OVER

__all__ = ["HelperError", "HelperProcess"]

PATIENCE_S = 20.0  # for a helper to start, to answer, or to stop
CHUNK = 1 << 16
FLAGS = ("-S", "-P")  # nothing of the site, nor of the folder that one happens to be in
HERE = {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}  # where this package is found
PR_SET_PTRACER = 0x59616D61  # prctl(2): Yama lets a child read /proc/<pid>/syscall only if asked to


class HelperError(RuntimeError):
    """A process beside the program's went wrong; the program did not."""


class HelperProcess:
    """A module of `helpers` in a process of its own, called `name` in what goes wrong.

    It reads lines on its standard input, answers with lines of JSON (lists or objects), and ends
    when its input does.  Whatever else it writes, on stderr as well, is read, and the last line of
    that is what it says of its trouble.  OSError, with a note, if it cannot be started.
    """

    runs: ClassVar[tuple[str, ...]]  # of Python's command line
    name: ClassVar[str]

    def __init__(self, *inherited: int) -> None:
        """`inherited`: descriptors that it gets from us, under the same numbers.

        `Unsupported` where there are no processes.
        """
        if WASM:
            raise Unsupported("processes", f"{self.name} is one")
        self._task, self._looks = "start", False
        self._heard, self._looked, self._last = bytearray(), 0, ""
        command = [sys.executable, *FLAGS, *self.runs]
        with beginning(self.name):
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                bufsize=0, env=plain_environment() | HERE, pass_fds=inherited,
                start_new_session=True,  # Ctrl-C is ours to handle
            )  # fmt: skip
        self._to, self._from = (
            cast(FileIO, end) for end in (self._process.stdin, self._process.stdout)
        )

    def begin(self, zero: int) -> None:
        """The run begins at `zero` on `perf_counter_ns`."""
        self._tell(str(zero))

    def finish(self) -> Any:
        """Stop it; what it has done and seen."""
        self._to.close()
        answer = self._answer()
        return self._answer() if answer == STORY_OVER else answer

    def kill(self) -> None:
        """Whatever happened: leave no process and no descriptor behind."""
        self._process.kill()  # nothing, if it was waited for
        self._process.wait()
        self._to.close()
        self._from.close()
        if self._looks:
            self._let_look(0)

    def _let_look(self, pid: int | None = None) -> None:
        """Allow it to read in which call we sleep, where the Yama module asks; 0: allow nobody."""
        self._looks = pid is None
        if os.path.exists("/proc/sys/kernel/yama"):
            import ctypes

            who = self._process.pid if pid is None else pid
            ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_ulong(who), 0, 0, 0)

    # -- telling and hearing -------------------------------------------------------------------

    def _tell(self, line: str) -> None:
        left = memoryview(line.encode() + b"\n")
        try:
            while left:
                left = left[self._to.write(left) :]
        except BrokenPipeError:
            self._complain()

    def _complain(self) -> None:
        """It is gone: hear it to the end, which raises `HelperError`."""
        while True:
            self._answer()

    def _answer(self) -> Any:
        """Its next answer.  `HelperError` if it ends before that, or says nothing for 20 s."""
        until = time.monotonic() + PATIENCE_S
        while (answer := self._next()) is None:
            if not self._within(until - time.monotonic()):
                raise self._error(f"said nothing for {PATIENCE_S:g} s")
            more = os.read(self._from.fileno(), CHUNK)
            if not more:
                raise self._error(how_it_ended(self._process.wait(PATIENCE_S)))
            self._heard += more
        return answer

    def _next(self) -> Any:
        """The next answer among what was heard; None if there is none yet."""
        while (end := self._heard.find(b"\n", self._looked)) >= 0:
            line, self._looked = bytes(self._heard[:end]), 0
            del self._heard[: end + 1]
            try:
                answer = json.loads(line)
            except ValueError:
                answer = None
            if isinstance(answer, list | dict):
                return answer
            self._last = line.decode(errors="replace").strip() or self._last
        self._looked = len(self._heard)
        return None

    def _error(self, how: str) -> HelperError:
        number = re.search(r"\[Errno (\d+)\]", self._last)
        limits = why(int(number[1])) if number else []
        said = ": ".join([how, *filter(None, [self._last]), *limits])
        return HelperError(f"{self.name} {said}; it was told to {self._task}")

    # -- while the program runs ----------------------------------------------------------------

    def fileno(self) -> int:
        """The descriptor on which it answers, and on which its end is seen."""
        return self._from.fileno()

    def says_something(self, seconds: float) -> bool:
        """Does it, within so long, or end?"""
        return self._within(seconds)

    def gone(self) -> bool:
        """Has it ended, though nobody told it to?  False where nothing tells (Windows)."""
        return bool(hasattr(select, "poll") and self._events(0) & select.POLLHUP)

    def check(self) -> None:
        """`HelperError` if it is gone."""
        if self.gone():
            self._complain()

    def _within(self, seconds: float) -> bool:
        """Is there something to read, or the end, within so long?"""
        return not hasattr(select, "poll") or self._events(seconds) != 0

    def _events(self, seconds: float) -> int:
        poll = select.poll()
        poll.register(self._from, select.POLLIN)
        found = poll.poll(max(0.0, seconds) * 1_000)
        return found[0][1] if found else 0
