"""A witness that nobody here wrote: strace(1) watches a measured run, and says which calls it saw.

The program runs in a process of its own, on the same real kernel as with `measure`.  What strace
wrote is read into a `Timeline` without asking the recorder for any call, errno or time.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from difflib import unified_diff
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from iosim.calls import Program
from iosim.costs import Costs
from iosim.kernels.launch import Plan
from iosim.kernels.resource_limits import beginning, why
from iosim.kernels.watchdog import watchdog
from iosim.machine.cores import usable_cores
from iosim.real import strace
from iosim.real.features import Unsupported, machine
from iosim.real.measure import prepare
from iosim.trace import Timeline, errno_name
from iosim.workloads.traffic import Traffic

from .pickled_function import pack
from .strace_analysis import CALLS, RULES, Heard, Hearing
from .traced_process import BOOT

__all__ = ["Audit", "audit", "read", "witness"]

SLACK_S = 40  # beyond the program's limit: for strace, an interpreter and the sender to start
SHOWN = 40  # of the program's lines, in the text of a testimony


def witness(
    program: Callable[..., Program], story: Traffic, *, cores: int | None = None,
    costs: Costs | None = None, rcvbuf: int | None = None, limit_s: float = 10.0, **options: Any,
) -> Timeline:  # fmt: skip
    """Run `program` over `story` on this machine's kernel and return what strace(1) saw of it.

    As `measure`, with the same arguments, but in another process: what the program changes there
    does not come back, and a signal is no matter of the main thread.  A program need not be
    importable; TypeError if it holds what cannot be sent (a lock, a class of the notebook).

    The timeline's `kernel` is "witnessed": each call took many times as long as unwatched, as
    benchmarks/witness.py measures.  How long a waiting call slept is deduced, because strace sees
    its entry and its return and no scheduler.  `audit` shows all that it saw.

    Raises what `measure` raises, and `Unsupported` where strace is missing or may not trace.
    """
    return audit(
        program, story, cores=cores, costs=costs, rcvbuf=rcvbuf, limit_s=limit_s, **options
    ).timeline


def audit(
    program: Callable[..., Program], story: Traffic, *, cores: int | None = None,
    costs: Costs | None = None, rcvbuf: int | None = None, limit_s: float = 10.0, **options: Any,
) -> Audit:  # fmt: skip
    """As `witness`; also what the recorder listed in that same run, and each line of the log."""
    plan = prepare(program, story, options, rcvbuf)
    watchdog(limit_s)  # looks at the limit
    try:
        strace.available()
    except OSError as error:
        if why(error.errno):
            raise
        raise Unsupported("strace", error.strerror or str(error)) from None
    parcel = pack(plan.text.title, (program, story, options, rcvbuf, limit_s))
    log, own = _watched(parcel, limit_s, plan.text.title)
    watched = f"{machine()}, under {strace.version()}"
    timeline, heard = read(log, plan, watched, usable_cores())
    text = plan.text
    own = replace(own, machine=watched, source=text.source, first_line=text.first_line)
    return Audit(timeline, own, heard)


def read(
    log: str, plan: Plan, where: str = "", cores: int = 1
) -> tuple[Timeline, tuple[Heard, ...]]:
    """The timeline of a log, and what was made of each of its lines; `where` it was written.

    ValueError for a line that cannot be read, RuntimeError for a log without a whole run.
    """
    hearing = Hearing(plan, strace.parse(log))
    return hearing.run.timeline(plan.text, cores, where, "witnessed"), tuple(hearing.heard)


@dataclass(frozen=True)
class Audit:
    """What strace saw of a run, beside what our recorder listed in that same run.

    `timeline` is read from strace's log, `recorder` was taken down by `measure`'s kernel; `heard`
    holds each line of the log, with the call that it is or the rule by which it was left out.
    """

    timeline: Timeline
    recorder: Timeline
    heard: tuple[Heard, ...]

    def left_out(self) -> dict[str, Counter[str]]:
        """For each rule the names of the calls that it left out, and how often."""
        found = {rule: Counter[str]() for rule in RULES}
        for heard in self.heard:
            if heard.rule:
                found[heard.rule][heard.line.name] += 1
        return {rule: names for rule, names in found.items() if names}

    def differences(self, listed: Timeline | None = None) -> list[str]:
        """Where strace's calls and the `listed` ones (None: the recorder's) part; [] if nowhere.

        Lines of a diff: "-" has only been listed, "+" has only been seen.
        """
        other = self.recorder if listed is None else listed
        pairs = (_words(other), _words(self.timeline))
        return list(unified_diff(*pairs, "listed", "seen by strace", lineterm="", n=1))

    def __str__(self) -> str:
        kept = [heard for heard in self.heard if heard.call]
        calls = len(self.timeline.calls())
        plural = "" if calls == 1 else "s"
        lines = [
            f"{self.timeline.title}: {calls:,} call{plural} in {len(self.heard):,} lines of strace",
            "",
        ]
        lines += [f"  {heard.call:<16} {_clipped(heard.line.text)}" for heard in kept[:SHOWN]]
        if len(kept) > SHOWN:
            lines.append(f"  ... and {len(kept) - SHOWN:,} more")
        lines += ["", "left out:"]
        for rule, names in self.left_out().items():
            most = ", ".join(f"{count} {name}" for name, count in names.most_common(4))
            more = ", ..." if len(names) > 4 else ""
            lines.append(f"  {names.total():>6,}  {rule}: {most}{more}")
        return "\n".join(lines)


def _words(timeline: Timeline) -> list[str]:
    return [f"{name} {errno_name(errno)}".rstrip() for name, errno in timeline.calls()]


def _clipped(text: str, width: int = 78) -> str:
    """Its beginning, and its result without the explanation."""
    if len(text) <= width:
        return text
    head, _, result = text.rpartition(") = ")
    tail = f" ...) = {result.partition(' (')[0]}"
    return head[: width - len(tail)] + tail


# -- the process under strace ------------------------------------------------------------------


def _watched(parcel: bytes, limit_s: float, title: str) -> tuple[str, Timeline]:
    """Run what is in the parcel under strace: its log, and the recorder's timeline."""
    with ExitStack() as stack:
        with beginning("a folder for strace's log"):
            folder = stack.enter_context(TemporaryDirectory(prefix="iosim-"))
        log, answer = Path(folder, "log"), Path(folder, "answer")
        interpreter = [sys.executable, "-P", "-c", BOOT, str(answer)]
        command = strace.command(CALLS, str(log), interpreter)
        paths = json.dumps([path or os.getcwd() for path in sys.path]).encode()
        _run(command, paths + b"\n" + parcel, limit_s + SLACK_S, title)
        if not answer.exists():
            raise RuntimeError(f"the process under strace ended without an answer for {title}")
        result = pickle.loads(answer.read_bytes())
        if isinstance(result, BaseException):
            raise result
        return log.read_text("utf-8", "replace"), result


def _run(command: list[str], given: bytes, limit_s: float, title: str) -> None:
    """What the program prints is printed here; nothing of it is left, on every way out."""
    pipe = subprocess.PIPE
    with beginning("the program under strace"):
        process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
        )
    try:
        with beginning("the program under strace"):
            out, err = process.communicate(given, timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"{title} under strace was not over after {limit_s:g} s") from None
    finally:
        _end(process)
    sys.stdout.write(out.decode("utf-8", "replace"))
    sys.stderr.write(err.decode("utf-8", "replace"))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Its session is strace and the program; the sender ends when its input does."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    process.wait()
