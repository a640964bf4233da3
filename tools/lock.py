"""The lock of what a test needs beyond what a reader has, from two full locks.

    python tools/lock.py EVERYTHING READER > ON_TOP

Both are made by `uv pip compile`; see `make lock`. An entry that the reader's lock has under
another condition (`; python_version < "3.13"`) is kept: pip passes over what is installed already.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

__all__ = ["entries", "on_top"]


def entries(lock: str) -> dict[str, str]:
    """Each entry of a lock by its first line: the name, the version, the condition."""
    found = re.findall(r"^[A-Za-z0-9].*\n(?:[ \t].*\n)*", lock, flags=re.MULTILINE)
    return {entry.partition("\n")[0]: entry for entry in found}


def on_top(everything: str, reader: str) -> str:
    """The lock of what stands in `everything` and not in `reader`, under the former's heading."""
    heading = re.match(r"(?:#.*\n)*", everything)
    there = entries(reader)
    more = [entry for first, entry in entries(everything).items() if first not in there]
    return (heading[0] if heading else "") + "".join(more)


if __name__ == "__main__":
    sys.stdout.write(on_top(*(Path(name).read_text(encoding="utf-8") for name in sys.argv[1:3])))
