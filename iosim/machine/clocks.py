"""The clock of a thread's CPU time."""

from __future__ import annotations

import time

__all__ = ["COARSE", "cpu_clock"]

KNOWN = hasattr(time, "thread_time_ns")  # not in WebAssembly, where nothing is measured

cpu_clock = time.thread_time_ns if KNOWN else time.process_time_ns
COARSE = KNOWN and time.get_clock_info("thread_time").resolution > 1e-6  # Windows: 16 ms
