"""`make test` on every Python of this machine, each in an environment of its own.

    python tools/matrix.py                  every minor version from 3.11 on
    python tools/matrix.py --ends           only the oldest and the newest of them
    python tools/matrix.py 3.12 python3.13  only these: versions, or commands

Looked at are the PATH and what pyenv has, also where it is not active. The environments are
build/venv-3.x; they are made once. What failed on one of them is told again at the end. This file
runs on older Pythons too, to find the newer ones.
"""

from __future__ import annotations

import argparse
import glob
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from said import said

__all__ = ["Found", "candidates", "main", "of_each_minor", "probe", "table"]

OLDEST = (3, 11)
AGAIN = 80  # the last lines of a red `make test`, where it tells what failed (tools/suite.py)
#: Debian's python3 has no ensurepip without the package python3-venv, and makes no environment.
TELLS = "import sys, ensurepip, venv; print(*sys.version_info[:3])"


class Found(NamedTuple):
    """An interpreter that can make environments."""

    version: tuple[int, ...]
    command: str

    @property
    def minor(self) -> str:
        """As in 3.12."""
        return ".".join(map(str, self.version[:2]))


class Round(NamedTuple):
    """What `make test` said on one of them."""

    python: Found
    status: int
    seconds: float
    last: Sequence[str] = ()  # lines


def candidates() -> list[str]:
    """Commands that may be a Python: of the PATH, then of pyenv."""
    pyenv = os.environ.get("PYENV_ROOT") or str(Path.home() / ".pyenv")
    folders = [glob.escape(folder) for folder in os.get_exec_path()]
    folders.append(f"{glob.escape(pyenv)}/versions/*/bin")
    found: dict[str, str] = {}  # one command for each file, whatever its links are called
    for path in (path for folder in folders for path in sorted(glob.glob(f"{folder}/python3*"))):
        if _plausible(path) and _plausible(os.path.realpath(path)):
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def _plausible(path: str) -> bool:
    """As python3, or as python3.11 and later."""
    name = re.fullmatch(r"python3(?:\.(\d+))?", os.path.basename(path))
    return name is not None and (name[1] is None or (3, int(name[1])) >= OLDEST)


def probe(command: str) -> Found | None:
    """What this command is; None if it does not run, or makes no environments.

    A shim of pyenv stands on the PATH also for a version that is not active, and fails.
    """
    try:
        told = subprocess.run(
            [command, "-c", TELLS], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return Found(tuple(map(int, told.stdout.split())), command)


def of_each_minor(found: Iterable[Found | None]) -> list[Found]:
    """The newest of each minor version that iosim runs on, from the oldest to the newest."""
    best: dict[str, Found] = {}
    for each in found:
        if each and each.version >= OLDEST:
            best[each.minor] = max(best.get(each.minor, each), each, key=lambda one: one.version)
    return sorted(best.values())


def named(names: Sequence[str]) -> list[Found]:
    """Those named by a version or a command; ValueError for what is neither."""
    there = of_each_minor(map(probe, candidates()))
    found = []
    for name in names:
        known = next((each for each in there if name == each.minor), None) or probe(name)
        if known is None or known.version < OLDEST:
            raise ValueError(f"{name}: no Python from 3.11 on that makes environments")
        found.append(known)
    return found


def check(python: Found) -> Round:
    """`make test` in the environment of this Python."""
    begun = time.monotonic()
    # Variables given to the make that started this one would be given to the next one, too.
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")}
    command = ["make", "test", f"VENV=build/venv-{python.minor}", f"PYTHON={python.command}"]
    print(f"--- Python {python.minor}: {' '.join(command)}", flush=True)
    status, last = said(command, environment, AGAIN)
    return Round(python, status, time.monotonic() - begun, last)


def table(rounds: Iterable[Round]) -> str:
    """A line each."""
    lines = [f"{'Python':<10}{'make test':<12}{'minutes':>7}"]
    for python, status, seconds, _ in rounds:
        version = ".".join(map(str, python.version))
        verdict = f"FAILED ({status})" if status else "holds"
        lines.append(f"{version:<10}{verdict:<12}{seconds / 60:7.1f}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 0 if everything holds on each of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pythons", nargs="*", metavar="PYTHON", help="versions or commands")
    parser.add_argument("--ends", action="store_true", help="only the oldest and the newest")
    options = parser.parse_args(arguments)
    try:
        found = named(options.pythons) or of_each_minor(map(probe, candidates()))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    if not found:
        print("no Python from 3.11 on that makes environments was found", file=sys.stderr)
        return 1
    chosen = [found[0], *found[1:][-1:]] if options.ends else found
    print("found: Python", ", ".join(each.minor for each in found))
    if len(found) == 1:
        print("Only one Python is here: nothing is tested on another.")
    rounds = [check(each) for each in chosen]
    for each in rounds:
        if each.status:
            print(f"--- Python {each.python.minor}, the end of what it said:", *each.last, sep="\n")
    print(table(rounds))
    return int(any(each.status for each in rounds))


if __name__ == "__main__":
    sys.exit(main())
