"""What is drawn at random in a run of the tests: other things for each commit and Python.

IOSIM_SEED=N draws others, IOSIM_PROGRAMS=N so many random programs over each story.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["PROGRAMS", "SEED"]


def _seed() -> int:
    """The same whenever a commit is tested."""
    if told := os.environ.get("IOSIM_SEED"):
        return int(told)
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):  # not a clone
        return 12
    return int(commit.stdout[:8], 16) + sys.version_info.minor


SEED = _seed()
PROGRAMS = int(os.environ.get("IOSIM_PROGRAMS", "60"))
