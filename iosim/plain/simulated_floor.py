"""The floor of the simulated kernel: which modules are simulated, and what stands on them."""

from __future__ import annotations

from . import readiness, sockets, system, tasks, threads
from .real_calls import refuse_real_calls
from .world import Floor

__all__ = ["SIMULATED"]

SIMULATED = Floor(
    modules={
        "_socket": sockets.module, "select": readiness.module, "_thread": threads.module,
        "time": system.virtual_time, "_signal": system.virtual_signal, "os": system.virtual_os,
        "io": system.virtual_io,
        "fcntl": system.virtual_fcntl, "subprocess": system.without_processes,
    },
    library=frozenset(
        ("asyncio", "concurrent", "http", "queue", "sched", "selectors", "signal", "socket",
         "socketserver", "threading", "urllib")
    ),
    refused={
        "ssl": "TLS", "_ssl": "TLS", "multiprocessing": "multiprocessing", "mmap": "mmap",
        "_overlapped": "_overlapped", "_winapi": "_winapi",
    },
    refuses=True, beware=refuse_real_calls,
    builtin={"open": system.refusing("open")},
    in_c=frozenset(("_asyncio", "_queue")),
    watched={"asyncio.tasks": tasks.watched(lambda world: world.run.tasks)},
    in_order=True,
)  # fmt: skip
