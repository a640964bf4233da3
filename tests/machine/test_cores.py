"""How many cores a process may use, and that this number is meant wherever cores are counted."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT

from iosim.machine import cores
from iosim.machine.cores import quotas, usable_cores

HERE = """
import json, socket
from iosim import clients, jobs, measure, models, predict, record, traffic
from iosim.costs import Costs
from iosim.programs import pools, servers
with record() as tape:
    for end in socket.socketpair():
        tape.wrap(end).close()
runs = {
    "traffic": measure(models.blocking, traffic.one(after_ms=1)),
    "clients": measure(servers.iterative, clients.several(1, clients.echo())),
    "jobs": measure(pools.apply, jobs.several(1, jobs.computing(1)), pool="ThreadPoolExecutor"),
    "recorder": tape.timeline,
    "prediction": predict(models.blocking, traffic.one(), costs=Costs.textbook()),
}
print(json.dumps({name: (run.cores, run.machine) for name, run in runs.items()}))
"""


def group(folder: Path, **files: str) -> None:
    """A control group with these files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")


def found(tmp_path: Path, groups: str) -> list[tuple[int, int]]:
    (tmp_path / "cgroup").write_text(groups)
    return list(quotas(tmp_path / "cgroup", tmp_path / "mount"))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs sched_setaffinity(2)")
def test_on_one_core_every_run_says_so() -> None:
    def confine() -> None:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    told = subprocess.run(
        [sys.executable, "-c", HERE], preexec_fn=confine, capture_output=True, text=True,
        timeout=60, check=True,
    )  # fmt: skip
    runs: dict[str, Any] = json.loads(told.stdout)
    assert len(runs) == 5
    for name, (count, machine) in runs.items():
        assert count == 1, name
        assert name == "prediction" or ", 1 core, " in machine


def test_the_quota_of_a_group_and_of_those_around_it_counts(tmp_path: Path) -> None:
    group(tmp_path / "mount", cgroup__controllers="cpu")  # the root has no cpu.max
    group(tmp_path / "mount/pod", cpu__max="150000 100000")
    group(tmp_path / "mount/pod/one", cpu__max="max 100000")
    group(tmp_path / "mount/pod/other", cpu__max="100 100000")  # not ours
    assert found(tmp_path, "0::/pod/one\n") == [(150_000, 100_000)]


def test_so_does_that_of_the_first_version(tmp_path: Path) -> None:
    group(tmp_path / "mount/cpu", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    group(tmp_path / "mount/cpu/box", cpu__cfs_quota_us="50000", cpu__cfs_period_us="100000")
    assert found(tmp_path, "3:cpuset:/\n2:cpu,cpuacct:/box\n") == [(50_000, 100_000)]


def test_in_a_container_that_sees_the_path_of_its_host_the_files_at_the_mount_count(
    tmp_path: Path,
) -> None:
    group(tmp_path / "mount", cpu__max="200000 100000")
    assert found(tmp_path, "0::/system.slice/box.scope\n") == [(200_000, 100_000)]


@pytest.mark.parametrize("text", ["max 100000", "", "x y", "1 0", "100000"])
def test_what_is_no_quota_is_none(tmp_path: Path, text: str) -> None:
    group(tmp_path / "mount", cpu__max=text)
    assert found(tmp_path, "0::/\n") == []


def test_without_control_groups_there_is_none(tmp_path: Path) -> None:
    assert list(quotas(tmp_path / "nowhere", tmp_path)) == []


@pytest.mark.parametrize(
    ("affinity", "quota", "usable"),
    [
        (8, [], 8),
        (8, [(150_000, 100_000)], 2),
        (8, [(100_000, 100_000), (400_000, 100_000)], 1),
        (8, [(10_000, 100_000)], 1),
        (1, [(300_000, 100_000)], 1),
    ],
)
def test_a_part_of_a_core_counts_as_one(
    monkeypatch: pytest.MonkeyPatch, affinity: int, quota: list[tuple[int, int]], usable: int
) -> None:
    monkeypatch.setattr(cores, "_affinity", lambda: affinity)
    monkeypatch.setattr(cores, "quotas", lambda: quota)
    assert usable_cores() == usable


def test_where_nothing_else_tells_the_machine_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS, and Windows before Python 3.13."""
    for name in ("process_cpu_count", "sched_getaffinity"):
        monkeypatch.delattr(os, name, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    monkeypatch.setattr(cores, "quotas", list)
    assert usable_cores() == 5


def test_cores_are_counted_in_one_place() -> None:
    counts = re.compile(r"cpu_count\(|len\(os\.sched_getaffinity\(")
    files = [p for name in ("iosim", "benchmarks", "tools") for p in (ROOT / name).rglob("*.py")]
    assert [p.name for p in files if counts.search(p.read_text(encoding="utf-8"))] == ["cores.py"]
