"""What a process may have of this machine: cores, of which there may be more; threads, or none."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["WASM", "usable_cores"]

#: WebAssembly, as in a browser: no threads, no processes, and nobody at the end of a socket.
WASM = sys.platform in ("emscripten", "wasi")

GROUPS = Path("/proc/self/cgroup")
MOUNT = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """The cores that this thread may run on, or fewer if its control group has less CPU time.

    - The affinity: `os.process_cpu_count` (from Python 3.13), else sched_getaffinity(2).  On macOS
      and on Windows before Python 3.13 there is only `os.cpu_count`.
    - The quota of its control group, as a container has one, and of the groups around that:
      `cpu.max` (Documentation/admin-guide/cgroup-v2.rst of the kernel), or `cpu.cfs_quota_us` over
      `cpu.cfs_period_us` (Documentation/scheduler/sched-bwc.rst).  A part of a core counts as one,
      as for the runtimes of Java and Go: with a quota of 1.5, two threads run at once for most of
      a period.
    """
    return max(1, min([_affinity(), *map(_rounded_up, quotas())]))


def _affinity() -> int:
    if hasattr(os, "process_cpu_count"):
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _rounded_up(quota: tuple[int, int]) -> int:
    time, period = quota
    return -(-time // period)


def quotas(groups: Path = GROUPS, mount: Path = MOUNT) -> Iterator[tuple[int, int]]:
    """Every quota that binds this process: `(CPU time, period)`, both in us.

    `groups` tells its control groups (cgroups(7), /proc/pid/cgroup), `mount` is where their files
    are.  In a container the path may be that of the host: then only the group at `mount` is seen.
    """
    try:
        lines = groups.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = mount / "cpu" if controllers else mount
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(root):
                quota = _read(folder, controllers != "")
                yield from [] if quota is None else [quota]


def _read(folder: Path, first_version: bool) -> tuple[int, int] | None:
    """The quota of one group; None if it has none, or if it cannot be read."""
    names = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if first_version else ("cpu.max",)
    try:
        time, period = (word for name in names for word in (folder / name).read_text().split())
        return (int(time), int(period)) if int(time) > 0 and int(period) > 0 else None
    except (OSError, ValueError):  # "max" is no number, and -1 no time: there is no quota
        return None
