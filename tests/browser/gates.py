"""Where a page's work waits until a test lets it go on: order is made, not hoped for."""

from __future__ import annotations

import shutil
from itertools import count
from pathlib import Path

from waiting import until

__all__ = ["GATE", "HELD", "Gate"]

#: `pass_gate()`: wait as long as there is a gate, each time until a file of its own is gone.
#: It looks again and again: Python can miss an interrupt that comes just before a call that waits.
GATE = """
import sys, time
from itertools import count
from pathlib import Path

SHUT, numbers = Path("gate").absolute(), count()

def pass_gate():
    if SHUT.exists():
        held = SHUT / str(next(numbers))
        try:
            held.touch()
            while held.exists():
                time.sleep(0.002)
        finally:
            held.unlink(missing_ok=True)
"""

#: `Held`, a CompareExplorer each of whose real runs waits at the gate.
HELD = f"""
from iosim.explore import CompareExplorer
import sys

AT_GATE = '''{GATE}
from iosim.explore import measure_process
measured = measure_process._measured

def held(*given):
    pass_gate()
    return measured(*given)

measure_process._measured = held
measure_process.main()
'''

class Held(CompareExplorer):
    COMMAND = (sys.executable, "-c", AT_GATE)
"""


class Gate:
    """Where they wait: the folder `gate` of the server's root."""

    def __init__(self, root: Path) -> None:
        self._path, self._numbers = root / "gate", count()

    def shut(self) -> None:
        """From now on they wait."""
        self._path.mkdir()

    def open(self) -> None:
        """Who comes now goes through; nobody waits there."""
        if self._path.exists():
            self._path.rmdir()

    def next(self) -> Path:
        """Wait until the next one waits; it goes on when this file is gone."""
        held = self._path / str(next(self._numbers))
        until(held.exists)
        return held

    def remove(self) -> None:
        """Let everybody go on, also those who wait."""
        shutil.rmtree(self._path, ignore_errors=True)
