"""Run a command, say each line of it as it comes, and keep the last ones.

It runs on older Pythons too: tools/matrix.py does, to find the newer ones.
"""

from __future__ import annotations

import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["said"]

ROOT = Path(__file__).resolve().parent.parent


def said(
    command: Sequence[str], environment: Mapping[str, str], most: int, whose: str = ""
) -> tuple[int, list[str]]:
    """Run it in this checkout; each line is printed behind `whose`.

    Its exit status, and its last lines, of standard output and error, at `most` so many.
    """
    last: deque[str] = deque(maxlen=most)
    pipe, null, both = subprocess.PIPE, subprocess.DEVNULL, subprocess.STDOUT
    with subprocess.Popen(
        command, cwd=ROOT, stdin=null, stdout=pipe, stderr=both, env=environment
    ) as process:
        for line in process.stdout or ():
            last.append(line.decode(errors="replace").rstrip())
            print(f"{whose}{last[-1]}", flush=True)
    return process.returncode, list(last)
