"""What a pool of workers is given to do: jobs that compute or wait, done alike by every kernel.

A story of jobs says what is to be done and how long it takes; it knows nothing of who does it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..validate import HOUR_NS, number, whole

__all__ = ["COMPUTE", "WAIT", "Job", "Jobs", "computing", "failing", "of", "several", "waiting"]

COMPUTE, WAIT = KINDS = ("compute", "wait")
MAX_STEPS = 1_000
MAX_JOBS = 10_000


@dataclass(frozen=True, slots=True)
class Job:
    """`steps` are ("compute", ns of CPU time) or ("wait", ns asleep, as for a slow device).

    Its result is its number in the story (from 1), unless it `fails`: then RuntimeError with that
    text.  `+` puts one job after another.
    """

    steps: tuple[tuple[str, int], ...]
    fails: str = ""

    def __post_init__(self) -> None:
        whole("a job's steps", len(self.steps), 1, MAX_STEPS, "steps")
        for kind, ns in self.steps:
            if kind not in KINDS:
                raise ValueError(f"a step must be one of {', '.join(KINDS)}, got {kind!r}")
            whole(f"{kind}: ns", ns, 1, HOUR_NS, "ns")

    def __add__(self, other: Job) -> Job:
        if not isinstance(other, Job):
            return NotImplemented
        return Job(self.steps + other.steps, self.fails or other.fails)

    def ns(self, kind: str | None = None) -> int:
        """How long it computes, or waits, or both together, in ns."""
        return sum(ns for step, ns in self.steps if kind in (None, step))


@dataclass(frozen=True, slots=True)
class Jobs:
    """A story: `jobs` by their numbers, from 1."""

    jobs: tuple[Job, ...]

    def __post_init__(self) -> None:
        whole("jobs", len(self.jobs), 1, MAX_JOBS, "jobs")
        for job in self.jobs:
            if not isinstance(job, Job):
                raise TypeError(f"a job must be a Job, as computing() makes it, got {job!r}")

    def __getitem__(self, number: int) -> Job:
        """Job `number`, from 1.  ValueError if there is none."""
        if type(number) is not int or not 1 <= number <= len(self.jobs):
            raise ValueError(f"no job {number!r}: this story has 1 to {len(self.jobs)}")
        return self.jobs[number - 1]

    def __len__(self) -> int:
        return len(self.jobs)


def _ns(ms: object) -> int:
    return round(number("time", ms, 1e-6, HOUR_NS / 1e6, "ms") * 1_000_000)


def computing(ms: float = 20) -> Job:
    """A job that computes for `ms` of CPU time."""
    return Job(((COMPUTE, _ns(ms)),))


def waiting(ms: float = 20) -> Job:
    """A job that waits for `ms`, as for a slow device, and uses no core meanwhile."""
    return Job(((WAIT, _ns(ms)),))


def failing(ms: float = 20, text: str = "no such luck") -> Job:
    """A job that computes for `ms` and raises RuntimeError(`text`)."""
    return Job(((COMPUTE, _ns(ms)),), text)


def of(*jobs: Job) -> Jobs:
    """The story of these jobs."""
    return Jobs(jobs)


def several(count: int, job: Job | Iterable[Job]) -> Jobs:
    """The story of `count` jobs like `job`, or like several jobs in turn."""
    whole("count", count, 1, MAX_JOBS, "jobs")
    kinds = (job,) if isinstance(job, Job) else tuple(job)
    whole("kinds of jobs", len(kinds), 1, MAX_JOBS, "jobs")
    return Jobs(tuple(kinds[i % len(kinds)] for i in range(count)))
