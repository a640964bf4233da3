"""What the sender's process is told of a run of the tests."""

from __future__ import annotations

import os
import threading
from typing import Any

from iosim.machine import procfs

__all__ = ["plan"]


def plan(transport: str, port: int, schedule: list[list[Any]]) -> dict[str, Any]:
    return {
        "transport": transport,
        "ports": [port],
        "schedule": schedule,
        "evidence": procfs.__file__,
        "thread": [os.getpid(), threading.get_native_id()],
        "stepwise": False,
    }
