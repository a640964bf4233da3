"""Measured runs in the background: one program after the other, in a process of their own.

There, signals have a main thread whatever the notebook does meanwhile, and to cancel is to kill:
the notebook's interrupt, which reaches every process of the kernel, means a cell and not this.
`python -m iosim.explore.measure_process` is that process: it reads what to run as a line of JSON on
its standard input, and says a line of JSON for each run that begins and for each that is over.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from ..api import measure
from ..calls import compute
from ..kernels.resource_limits import beginning
from ..machine.children import how_it_ended, plain_environment
from ..programs import models
from ..trace import Timeline
from ..workloads.traffic import Message, Traffic

__all__ = ["COMMAND", "Background", "Job", "Told", "answers", "programs_of"]

COMMAND = (sys.executable, "-m", "iosim.explore.measure_process")
END_S = 10.0  # until a process that was killed is gone


@dataclass(frozen=True, slots=True)
class Job:
    """What to run: programs by name over one story.

    `poll_ns` lies between two looks of the one that looks again and again; `rcvbuf` is the size of
    the receive buffer in bytes, None for the system's; a run that has not ended after `limit_s`
    seconds is stopped.
    """

    programs: tuple[str, ...]
    story: Traffic
    poll_ns: int
    rcvbuf: int | None = None
    limit_s: float = 10.0

    def to_json(self) -> str:
        """One line; `from_json` reads it back, equal."""
        return json.dumps(asdict(self), default=lambda content: content.decode("latin-1"))

    @classmethod
    def from_json(cls, text: str) -> Job:
        """The job that `to_json` wrote."""
        plain = json.loads(text)
        story = plain.pop("story")
        for message in story["messages"]:
            message["content"] = message["content"].encode("latin-1")
        messages = tuple(Message(**message) for message in story["messages"])
        programs = tuple(plain.pop("programs"))
        return cls(programs, Traffic(messages, story["transport"]), **plain)


@dataclass(frozen=True, slots=True)
class Told:
    """What the process said of `program`: it begins, or it is over.

    Over, it has its `run` or `trouble`: why there is none, or why it is a recording.
    """

    program: str
    begins: bool = False
    run: Timeline | None = None
    trouble: str = ""

    def to_json(self) -> str:
        """One line; `from_json` reads it back, equal."""
        run = None if self.run is None else self.run.to_json()
        return json.dumps({"program": self.program, "begins": self.begins, "run": run,
                           "trouble": self.trouble})  # fmt: skip

    @classmethod
    def from_json(cls, text: str) -> Told:
        """What `to_json` wrote.  ValueError if that is not what `text` is."""
        plain = json.loads(text)
        if not isinstance(plain, dict) or "program" not in plain:
            raise ValueError(f"not what a measuring process says: {text[:80]!r}")
        run = plain.pop("run")
        return cls(run=None if run is None else Timeline.from_json(run), **plain)


# -- on this side ---------------------------------------------------------------------------------


class Background:
    """A process that does `job`, and a thread that hears it.

    tell     is called in that thread with this and each `Told`
    over     is called in that thread when the process has ended by itself, with this and "", or
             with what it said last if it had not done all of its job
    command  the process; it reads the job from its standard input

    Neither is called once it was killed.  The process does not outlive this one.
    OSError if it cannot be started.
    """

    def __init__(
        self, job: Job, tell: Callable[[Background, Told], None],
        over: Callable[[Background, str], None], command: Sequence[str] = COMMAND,
    ) -> None:  # fmt: skip
        self._tell, self._over, self._left = tell, over, len(job.programs)
        self._killed = threading.Event()
        with beginning("a measuring process"):
            self._process = subprocess.Popen(
                command, text=True, encoding="utf-8", stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=plain_environment(),
            )  # fmt: skip
        self._finalizer = weakref.finalize(self, self._process.kill)
        self._thread = threading.Thread(target=self._listen, args=(job,), daemon=True)
        try:
            with beginning("the thread that hears a measuring process"):
                self._thread.start()
        except OSError:
            with self._process:  # closes the pipes and waits for its end
                self._finalizer()
            raise

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def kill(self) -> None:
        """End it; its thread sees to the rest.  Again and again does no harm."""
        self._killed.set()
        self._process.kill()

    def cancel(self) -> None:
        """End it, and wait until it and the thread are gone: hold no lock that the thread wants."""
        self.kill()
        if threading.current_thread() is not self._thread:
            self._thread.join(END_S)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is over, at most `timeout` seconds; is it?"""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _listen(self, job: Job) -> None:
        process, last = self._process, ""
        assert process.stdin
        assert process.stdout
        with process:  # closes the pipes and waits for its end
            try:
                process.stdin.write(job.to_json() + "\n")
                process.stdin.close()
            except OSError:
                pass  # it is gone already: what it said is still to be read
            for line in process.stdout:
                last = self._hear(line) or last
        self._finalizer.detach()
        if not self._killed.is_set():
            how = last or f"it {how_it_ended(process.returncode)}"
            self._over(self, how if self._left else "")

    def _hear(self, line: str) -> str:
        """Pass on what it says; what is no message is returned: the last words of an error.

        Half of a message, in the middle of which it ended, is neither.
        """
        try:
            told = Told.from_json(line)
        except ValueError:
            return line.strip() if line.endswith("\n") else ""
        self._left -= not told.begins
        if not self._killed.is_set():
            self._tell(self, told)
        return ""


# -- on the other side ----------------------------------------------------------------------------


def programs_of(job: Job) -> dict[str, dict[str, compute]]:
    """The job's programs by name, each with its options.  ValueError for one that is not known."""
    for name in job.programs:
        if name not in models.MODEL_OF:
            raise ValueError(f"no program {name!r}: there are {', '.join(models.MODEL_OF)}")
    looks = {"nonblocking": {"between": compute(job.poll_ns)}}
    return {name: looks.get(name, {}) for name in job.programs}


def answers(job: Job) -> Iterable[Told]:
    """Do the job; what there is to say as it goes on."""
    for name, options in programs_of(job).items():
        yield Told(name, begins=True)
        yield _measured(name, job, options)


def _measured(name: str, job: Job, options: Mapping[str, object]) -> Told:
    """One run, or in one line why there is none: the others are to go on."""
    program = getattr(models, name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            run = measure(program, job.story, rcvbuf=job.rcvbuf, limit_s=job.limit_s, **options)
        except Exception as error:
            kind = "" if type(error).__name__ == "Unsupported" else f"{type(error).__name__}: "
            return Told(name, trouble=f"{kind}{error}")
    return Told(name, run=run, trouble="; ".join(str(warning.message) for warning in caught))


def main() -> None:
    """Do the job that stands on the standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for told in answers(Job.from_json(sys.stdin.readline())):
        print(told.to_json(), flush=True)


if __name__ == "__main__":
    main()
