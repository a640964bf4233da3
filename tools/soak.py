"""The real tests and all notebooks, many times, on a machine that has hardly any time for them.

    python tools/soak.py 30           30 rounds; a table of what failed and what was inconclusive
    python tools/soak.py 3 tests/real -k udp      the same for these arguments of pytest

Beside them run four busy processes, and one a core that takes it for up to 150 ms at a time, on
all cores at once: by SCHED_FIFO where that is allowed (root), else by a better priority, or none.
Logs are in build/soak. The exit status is 1 if a test failed, or more than 1 % were inconclusive.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from iosim.machine.cores import usable_cores

__all__ = ["Tally", "beside", "bursts", "main", "soak"]

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / "build" / "soak"
SUITES = [
    ["tests", "--ignore=tests/browser", "--ignore=tests/tools/test_soak.py", "-m", "real"],
    ["--nbval", "notebooks"],
]
SUITE_S = 3_600  # one that takes longer is ended, and has failed
BUSY = 4  # processes
PAUSE_S = (0.2, 1.5)
BURST_S = (0.005, 0.150)
ALLOWED = 0.01  # of all tests may be inconclusive


# --- other work, until the parent is gone ---------------------------------------------------------


def keep_busy(parent: int) -> None:
    """Use as much of a core as the scheduler gives."""
    while os.getppid() == parent:
        sum(range(100_000))


def bursts(seed: int, begun: float) -> Iterator[tuple[float, float]]:
    """When to take a core, and when to leave it, in seconds of the monotonic clock."""
    chance, at = random.Random(seed), begun
    while True:
        at += chance.uniform(*PAUSE_S)
        end = at + chance.uniform(*BURST_S)
        yield at, end
        at = end


def steal(parent: int, core: int, seed: int, begun: float) -> None:
    """Take the core from whoever runs there, in bursts; the same ones for the same seed."""
    os.sched_setaffinity(0, {core})
    print(_priority(), flush=True)
    for at, end in bursts(seed, begun):
        time.sleep(max(0.0, at - time.monotonic()))
        while time.monotonic() < end:
            pass
        if os.getppid() != parent:
            return


def _priority() -> str:
    """Get the best one that is allowed, and say which."""
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        return "SCHED_FIFO"
    with suppress(PermissionError):
        return f"nice {os.nice(-20)}"
    return "equal priority"


OTHER_WORK: dict[str, Callable[..., None]] = {"keep_busy": keep_busy, "steal": steal}


@contextmanager
def beside(seed: int) -> Iterator[str]:
    """All of it goes on meanwhile; yields what it is, in one line."""
    parent, begun = str(os.getpid()), str(time.monotonic() + 1)
    with ExitStack() as stack:
        for _ in range(BUSY):
            stack.enter_context(_other_work("keep_busy", parent))
        places = sorted(os.sched_getaffinity(0))
        thieves = [
            stack.enter_context(_other_work("steal", parent, str(core), str(seed), begun))
            for core in places
        ]
        how = {thief.stdout.readline().strip() for thief in thieves if thief.stdout}
        yield (
            f"{BUSY} busy processes; bursts of up to {BURST_S[1] * 1e3:.0f} ms on "
            f"{len(places)} cores, by {' and '.join(sorted(how))}"
        )


@contextmanager
def _other_work(*words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, __file__, "other-work", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


# --- the rounds -----------------------------------------------------------------------------------


@dataclass
class Tally:
    """How often each test ran, failed, and was inconclusive."""

    ran: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    inconclusive: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Count another round."""
        self.ran += other.ran
        self.failed += other.failed
        self.inconclusive += other.inconclusive

    @property
    def holds(self) -> bool:
        """Nothing failed, and few were inconclusive."""
        return not self.failed and self.inconclusive.total() <= ALLOWED * self.ran.total()

    def __str__(self) -> str:
        total, unclear = self.ran.total(), self.inconclusive.total()
        share = unclear / max(total, 1)
        first = f"{total:,} runs of {len(self.ran):,} tests: {self.failed.total():,} failed, "
        lines = [first + f"{unclear:,} inconclusive ({share:.2%}, at most {ALLOWED:.0%})"]
        amiss = self.failed + self.inconclusive
        if amiss:
            lines.append(f"{'ran':>6}{'failed':>8}{'inconclusive':>14}  test")
        for test in sorted(amiss, key=lambda test: (-self.failed[test], -amiss[test], test)):
            row = self.ran[test], self.failed[test], self.inconclusive[test]
            lines.append("{:6,}{:8,}{:14,}  ".format(*row) + test)
        return "\n".join(lines)


def soak(rounds: int, suites: Sequence[Sequence[str]], logs: Path) -> Tally:
    """Run these suites of pytest so often; what came of it is also printed round by round."""
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    tally = Tally()
    for number in range(1, rounds + 1):
        begun, now = time.monotonic(), Tally()
        for place, arguments in enumerate(suites, 1):
            now.add(_once(arguments, logs / f"round-{number:02}-{place}"))
        tally.add(now)
        print(
            f"round {number} of {rounds}: {now.ran.total()} tests, {now.failed.total()} failed, "
            f"{now.inconclusive.total()} inconclusive, {time.monotonic() - begun:.0f} s",
            flush=True,
        )
    return tally


def _once(arguments: Sequence[str], stem: Path) -> Tally:
    """One run of pytest. Its log, its report and its inconclusive runs are files of this stem."""
    log, report, told = (stem.with_suffix(kind) for kind in (".log", ".xml", ".inconclusive"))
    words = ["-m", "pytest", *arguments, f"--junitxml={report}", "-o", "junit_family=xunit1"]
    with log.open("wb") as out:
        try:
            status: object = subprocess.run(
                [sys.executable, *words],
                cwd=ROOT,
                env=os.environ | {"IOSIM_INCONCLUSIVE": str(told)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                timeout=SUITE_S,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            status = f"none after {SUITE_S} s"
    tally = _read(report, told)
    # Its status is 1 also where too many were inconclusive.
    if status != 0 and not (status == 1 and (tally.failed or tally.inconclusive)):
        tally.failed[f"the suite itself: exit status {status}, see {log.name}"] += 1
    return tally


def _read(report: Path, told: Path) -> Tally:
    """What pytest reported; `told` has a line `TEST: reason` for each inconclusive run."""
    tally = Tally()
    for case in ET.parse(report).iter("testcase") if report.exists() else ():
        test = f"{case.get('file')}::{case.get('name')}"
        tally.ran[test] += case.find("skipped") is None
        if case.find("failure") is not None or case.find("error") is not None:
            tally.failed[test] += 1
    if told.exists():
        lines = told.read_text(encoding="utf-8").splitlines()
        tally.inconclusive.update(line.partition(": ")[0] for line in lines)
    return tally


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 0 if nothing failed, and few were inconclusive."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("rounds", type=int)
    parser.add_argument("--seed", type=int, default=1, help="of the bursts")
    parser.add_argument("--logs", type=Path, default=LOGS)
    options, pytest = parser.parse_known_args(arguments)
    if options.rounds < 1:
        parser.error(f"rounds: {options.rounds} is less than 1")
    print(f"load {os.getloadavg()[0]:.1f} on {usable_cores()} cores before it begins")
    with beside(options.seed) as what:
        print(what, flush=True)
        tally = soak(options.rounds, [pytest] if pytest else SUITES, options.logs)
    print(tally)
    return 0 if tally.holds else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["other-work"]:
        name, *numbers = sys.argv[2:]
        OTHER_WORK[name](*map(json.loads, numbers))
    else:
        sys.exit(main())
