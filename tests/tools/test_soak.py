"""The soak sees a test that fails now and then, and what it starts beside the tests ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from itertools import islice, pairwise
from pathlib import Path

import pytest
import soak
from paths import ROOT
from waiting import until

linux = pytest.mark.skipif(sys.platform != "linux", reason="it sets priorities and cores")
NOW_AND_THEN = """
import os
from pathlib import Path

def test_good():
    pass

def test_now_and_then():
    rounds = Path(__file__).with_name("rounds")
    rounds.write_text(rounds.read_text() + "." if rounds.exists() else ".")
    with open(os.environ["IOSIM_INCONCLUSIVE"], "a") as told:
        told.write("planted.py::test_unclear: somebody else ran\\n")
    assert len(rounds.read_text()) != 2
"""


@pytest.fixture(autouse=True)
def _light(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is planted needs no plugin, and no crowd beside it."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setattr(soak, "BUSY", 1)


def suite(folder: Path, text: str) -> list[str]:
    """The arguments for a suite of one file with this text."""
    (folder / "planted.py").write_text(text)
    return [str(folder / "planted.py"), "-q", "-p", "no:cacheprovider", f"--rootdir={folder}"]


@linux
@pytest.mark.real
def test_a_planted_fault_is_in_the_table(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    status = soak.main(["3", "--logs", str(tmp_path / "logs"), *suite(tmp_path, NOW_AND_THEN)])
    said = capfd.readouterr().out.splitlines()
    assert status == 1
    assert said[1].startswith("1 busy processes; bursts of up to 150 ms on ")
    assert [line.partition(", 1 inc")[0] for line in said if line.startswith("round")] == [
        "round 1 of 3: 2 tests, 0 failed",
        "round 2 of 3: 2 tests, 1 failed",
        "round 3 of 3: 2 tests, 0 failed",
    ]
    assert [" ".join(line.split()) for line in said[-4:]] == [
        "6 runs of 2 tests: 1 failed, 3 inconclusive (50.00%, at most 1%)",
        "ran failed inconclusive test",
        "3 1 0 planted.py::test_now_and_then",
        "0 0 3 planted.py::test_unclear",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nothing_of_this_name", "::planted"),
        ("import os\ndef test(): os._exit(7)", "the suite itself: exit status 7"),
    ],
)
def test_a_suite_that_cannot_run_has_failed(text: str, said: str, tmp_path: Path) -> None:
    found = soak.soak(1, [suite(tmp_path, text)], tmp_path / "logs")
    assert not found.holds
    assert any(said in test for test in found.failed), found


def test_few_inconclusive_runs_are_allowed() -> None:
    assert soak.Tally(ran=soak.Counter(a=200), inconclusive=soak.Counter(a=2)).holds
    assert not soak.Tally(ran=soak.Counter(a=200), inconclusive=soak.Counter(a=3)).holds


def test_bursts_are_bounded_and_the_same_for_the_same_seed() -> None:
    first, again, other = (list(islice(soak.bursts(seed, 5.0), 200)) for seed in (1, 1, 2))
    assert first == again != other
    assert all(at < end <= at + 0.150 for at, end in first)
    assert all(after[0] - before[1] >= 0.2 for before, after in pairwise(first))


@linux
@pytest.mark.real
@pytest.mark.parametrize("how", ["left", "killed"])
def test_other_work_ends_with_whoever_started_it(how: str, tmp_path: Path) -> None:
    code = "import soak, sys\nwith soak.beside(1): print('begun', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT / "tools", stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stdout.readline() == b"begun\n"
        workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if how == "killed":
            process.send_signal(signal.SIGKILL)
        process.communicate()
    assert len(workers) == 4 + len(os.sched_getaffinity(0))
    until(lambda: not any(map(_runs, workers)))


def _runs(worker: str) -> bool:
    try:
        return b"other-work" in Path(f"/proc/{worker}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
