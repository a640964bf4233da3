"""strace(1): how it is started, how a process writes a word into its log, and how that is read.

A line of the log is a system call with its arguments and result, or a signal that was delivered::

    6081 1795622947.696577929 recvmsg(3,  <unfinished ...>
    6081 1795622947.725721152 <... recvmsg resumed>{...}, 0) = 1000 <0.029125160>
    6081 1795622947.830462864 --- SIGIO {si_signo=SIGIO, si_code=SI_KERNEL} ---

The first number is the thread, the second CLOCK_REALTIME at the entry (at the return of a call that
is resumed), the last one how long it took.  Source: strace(1), DESCRIPTION and OPTIONS.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
from ast import literal_eval
from collections.abc import Iterable
from dataclasses import dataclass, replace
from errno import ENOENT, EPERM
from functools import cache

from ..kernels.resource_limits import beginning, why

__all__ = [
    "RESTARTS", "Line", "Signalled", "announce", "available", "command", "parse", "version",
]  # fmt: skip

PROBE_S = 20  # for strace to start and to watch a program that does nothing
#: Times to the ns where this strace can write them (since 5.3), else to the us.
TIMES = (("--absolute-timestamps=format:unix,precision:ns", "--syscall-times=ns"), ("-ttt", "-T"))
#: Threads too (-f), but no longer what becomes another program (-b): the sender runs unwatched.
FOLLOW = ("-f", "-b", "execve")
STRING = ("-s", "64")  # bytes of a string that are shown: enough for an announcement

NOWHERE = -1  # the descriptor that an announcement is written to: EBADF, and nothing happens
WORD = "iosim"
#: Not errnos: the kernel asks for the call to be made again, or for EINTR (signal(7)).
RESTARTS = {"ERESTARTSYS", "ERESTARTNOINTR", "ERESTARTNOHAND", "ERESTART_RESTARTBLOCK"}
FIRST_REAL_TIME = 32  # the kernel's SIGRTMIN, from which strace counts; the C library keeps two


# -- starting it -------------------------------------------------------------------------------


@cache
def _options() -> tuple[str, ...]:
    """The options that work here.  OSError where strace is missing or may not trace."""
    if shutil.which("strace") is None:
        raise OSError(ENOENT, "strace is not installed")
    reason = ""
    for times in TIMES:
        options = (*FOLLOW, *STRING, *times)
        reason = _refusal(options)
        if not reason:
            return options
    raise OSError(EPERM, f"strace cannot trace here: {reason}")


def _refusal(options: Iterable[str]) -> str:
    """The last thing that strace says when it does not do so; "" if it does."""
    probe = ["strace", *options, "-o", os.devnull, "true"]
    try:
        with beginning("strace"):
            tried = subprocess.run(probe, capture_output=True, timeout=PROBE_S, text=True)
    except (OSError, subprocess.TimeoutExpired) as error:
        if isinstance(error, OSError) and why(error.errno):
            raise  # that is no trait of strace's
        return str(error)
    if tried.returncode == 0:
        return ""
    return (tried.stderr.strip().splitlines() or [f"it ends with status {tried.returncode}"])[-1]


def available() -> None:
    """OSError where there is no strace, or where it may not trace (ptrace(2): EPERM)."""
    _options()


def command(calls: Iterable[str], log: str, program: Iterable[str]) -> list[str]:
    """The command that runs `program` and writes the system calls named `calls` to `log`.

    Those that this processor does not have (select, poll on arm64) are passed over.
    """
    names = "trace=" + ",".join(f"?{name}" for name in calls)
    return ["strace", *_options(), "-e", names, "-o", log, "--", *program]


@cache
def version() -> str:
    """ "strace 6.1"."""
    with beginning("strace"):
        told = subprocess.run(["strace", "-V"], capture_output=True, timeout=PROBE_S, text=True)
    found = re.search(r"version (\S+)", told.stdout)
    return f"strace {found[1]}" if found else "strace"


def announce(*words: object) -> None:
    """A line of one's own in the log: a write that fails, whoever watches reads what of."""
    try:
        os.write(NOWHERE, " ".join(map(str, (WORD, *words))).encode())
    except OSError:
        pass


# -- reading its log ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """One system call of thread `tid`, from `start` to `end` (ns of CLOCK_REALTIME).

    `value` is what it returned (None: unknown), `error` the name of its errno or of a restart, or
    "".  A call that strace wrote in two halves stands where it began.
    """

    tid: int
    start: int
    end: int
    name: str
    args: tuple[str, ...]
    value: int | None
    error: str
    text: str

    def number(self, place: int) -> int:
        """The argument at `place` as a number; -1 if it is none."""
        text = self.args[place] if place < len(self.args) else ""
        return int(text) if text.lstrip("-").isdecimal() else -1

    @property
    def interrupted(self) -> bool:
        """Did a signal end it?  Then Python makes it again (PEP 475)."""
        return self.error == "EINTR" or self.error in RESTARTS

    @property
    def errno(self) -> int | None:
        """The number of its errno, or None."""
        found: int | None = getattr(errno, self.error, None) if self.error else None
        return found

    @property
    def words(self) -> tuple[str, ...]:
        """What it announces; () if it is no announcement."""
        if self.name != "write" or self.number(0) != NOWHERE:
            return ()
        first, *words = unquote(self.args[1]).decode("ascii", "replace").split()
        return tuple(words) if first == WORD else ()


@dataclass(frozen=True, slots=True)
class Signalled:
    """Signal number `signo` was delivered to thread `tid` at `at` (ns of CLOCK_REALTIME)."""

    tid: int
    at: int
    signo: int
    text: str


_HEAD = re.compile(r"(\d+) +(\d+)\.(\d+) (.*)")
_RESULT = r"\) += (.*?)(?: <(\d+)\.(\d+)>)?"
_WHOLE = re.compile(r"(\w+)\((.*)" + _RESULT)
_FIRST_HALF = re.compile(r"(\w+)\((.*) <unfinished \.\.\.>")
_OTHER_HALF = re.compile(r"<\.\.\. (\w+) resumed>(.*)" + _RESULT)
_SIGNAL = re.compile(r"--- (SIG\w+) \{.*\} ---")
_FATE = re.compile(r"\+\+\+ .* \+\+\+|--- stopped by \w+ ---")  # of a thread: no call


def parse(log: str) -> list[Line | Signalled]:
    """All calls and signals of a log, in the order in which they began.

    ValueError for a line that has none of the forms above: nothing is passed over in silence.
    """
    found: list[Line | Signalled] = []
    begun: dict[int, int] = {}  # by thread: the place of a call of which the other half is to come
    for raw in log.splitlines():
        head = _HEAD.fullmatch(raw)
        if head is None:
            raise ValueError(f"not a line of strace's log: {raw!r}")
        tid, at, rest = int(head[1]), _ns(head[2], head[3]), head[4]
        if half := _OTHER_HALF.fullmatch(rest):
            place = begun.pop(tid, None)
            if place is None:
                raise ValueError(f"the other half of no call: {raw!r}")
            found[place] = _joined(found[place], half)
        elif half := _FIRST_HALF.fullmatch(rest):
            begun[tid] = len(found)
            found.append(Line(tid, at, at, half[1], (half[2],), None, "", ""))
        elif whole := _WHOLE.fullmatch(rest):
            found.append(_whole(tid, at, whole[1], whole[2], whole[3], _took(whole)))
        elif signalled := _SIGNAL.fullmatch(rest):
            found.append(Signalled(tid, at, signal_number(signalled[1]), rest))
        elif not _FATE.fullmatch(rest):
            raise ValueError(f"not a line of strace's log: {raw!r}")
    for place in begun.values():  # a thread that was in a call when all was over
        found[place] = _joined(found[place], None)
    return found


def _joined(first: Line | Signalled, half: re.Match[str] | None) -> Line:
    assert isinstance(first, Line)
    if half is None:
        unknown = f"{first.name}({first.args[0]}"
        return replace(first, args=split(first.args[0]), text=unknown)
    took = _took(half)
    return _whole(first.tid, first.start, first.name, first.args[0] + half[2], half[3], took)


def _whole(tid: int, start: int, name: str, args: str, result: str, took: int) -> Line:
    number, *rest = result.split(None, 2)
    value = int(number, 0) if re.fullmatch(r"-?(0x[0-9a-f]+|\d+)", number) else None
    error = rest[0] if rest and re.fullmatch(r"E[A-Z0-9_]+", rest[0]) else ""
    text = f"{name}({args}) = {result}"
    return Line(tid, start, start + took, name, split(args), value, error, text)


def _ns(seconds: str, fraction: str) -> int:
    return int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0"))


def _took(found: re.Match[str]) -> int:
    """How long a call took, in ns; 0 if strace does not say, as of one that never returned."""
    seconds, fraction = found.groups()[-2:]
    return 0 if seconds is None else _ns(seconds, fraction)


_PIECE = re.compile(r'"(?:[^"\\]|\\.)*"|[^"]')
_DEPTH = dict.fromkeys("([{", 1) | dict.fromkeys(")]}", -1)


def split(text: str) -> tuple[str, ...]:
    """The arguments: apart at commas that stand in no brackets and in no string."""
    parts, depth = [""], 0
    for piece in _PIECE.findall(text):
        depth += _DEPTH.get(piece, 0)
        if piece == "," and not depth:
            parts.append("")
        else:
            parts[-1] += piece
    return tuple(part.strip() for part in parts)


def unquote(text: str) -> bytes:
    """The bytes of a string as strace writes it, C's escapes and all; those that it shows."""
    found = re.match(r'"(?:[^"\\]|\\.)*"', text)
    shown: bytes = literal_eval("b" + found[0]) if found else b""
    return shown


def signal_number(name: str) -> int:
    """29 for "SIGIO" and "IO", 34 for "SIGRT_2": strace counts from the kernel's SIGRTMIN."""
    name = name.removeprefix("SIG")
    if name.startswith("RT"):
        return FIRST_REAL_TIME + int(name.partition("_")[2] or 0)
    return int(getattr(signal, f"SIG{name}", 0))
