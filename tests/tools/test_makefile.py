"""The Makefile works in a clone of any name, asks for what it needs only, says what is missing."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from paths import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
INPUTS = ("requirements.txt", "requirements-test.txt", "requirements-mutants.txt", "pyproject.toml")
ENVIRONMENT = [f".venv/{name}" for name in ("locked", "ready", "testing", "mutating")]
STUBBED = "PYTHON=.venv/bin/python"
#: Stands for the Python of an environment: tells what it is to run.
STUB = """#!/bin/sh
printf '<%s>' "$@"
echo
[ "$2" != jupyterlab ] || echo "$JUPYTER_DATA_DIR"
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of an awkward name whose environment is complete; all that is in it is a stub."""
    clone = tmp_path / "it's a clöne $HOME"
    (clone / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", clone)
    stub = clone / ".venv" / "bin" / "python"
    stub.write_text(STUB)
    stub.chmod(0o755)
    for age, name in enumerate([*INPUTS, *ENVIRONMENT]):
        (clone / name).touch()
        os.utime(clone / name, (1e9 + age, 1e9 + age))
    return clone


def make(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # What was given to the make that runs the tests is given to those below it, as environment.
    plain = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=clone, env=plain, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_lab_lays_out_the_copies_and_opens_the_first(clone: Path) -> None:
    run = make(clone, "lab")
    assert run.returncode == 0, run.stderr
    first, *_, lab, data = run.stdout.splitlines()
    assert first == "<tools/copies.py>"
    assert lab.startswith("<-m><jupyterlab><--ip=127.0.0.1><--ServerApp.root_dir=.>")
    assert "<--LabApp.default_url=/lab/tree/work/00_start_here.ipynb>" in lab
    assert data == f"{clone}/build/jupyter/data"


def test_a_notebook_is_named_as_it_was_given(clone: Path) -> None:
    assert (
        make(clone, "fresh", "NOTEBOOK=it's $$it").stdout
        == "<tools/copies.py><--fresh><it's $it>\n"
    )
    assert make(clone, "fresh").stdout == "<tools/copies.py><--fresh><>\n"


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["test"], "<tools/suite.py>"),
        (["notebooks"], "<tools/suite.py><notebooks>"),
        (["soak"], "<tools/soak.py><30>"),
        (["soak", "ROUNDS=2"], "<tools/soak.py><2>"),
        (["mutants"], "<tools/mutants.py><--number><30>"),
        (
            ["mutants", "NUMBER=9", "SINCE=HEAD~2"],
            "<tools/mutants.py><--number><9><--since><HEAD~2>",
        ),
        (["matrix", "PYTHON=.venv/bin/python"], "<tools/matrix.py>"),
        (
            ["matrix", "PYTHON=.venv/bin/python", "PYTHONS=3.12 3.13"],
            "<tools/matrix.py><3.12><3.13>",
        ),
    ],
)
def test_a_target_is_one_command(arguments: list[str], command: str, clone: Path) -> None:
    run = make(clone, *arguments)
    assert (run.returncode, run.stdout) == (0, command + "\n"), run.stderr


def test_a_reader_waits_for_the_readers_lock_only(clone: Path) -> None:
    (clone / ".venv" / "testing").unlink()
    assert "requirements-test.txt" not in make(clone, "--dry-run", "lab").stdout
    assert "requirements-test.txt" in make(clone, "--dry-run", "test").stdout
    (clone / ".venv" / "mutating").unlink()
    assert "requirements-mutants.txt" not in make(clone, "--dry-run", "test").stdout
    assert "requirements-mutants.txt" in make(clone, "--dry-run", "mutants").stdout
    (clone / "requirements.txt").touch()
    made_anew = make(clone, "--dry-run", "lab", "VENV=build/venv-3.12", "PYTHON=python3.12").stdout
    assert "python3.12 -m venv --clear build/venv-3.12" in made_anew


def test_a_python_that_is_too_old_is_named_with_a_way_out(clone: Path) -> None:
    old = clone / "old"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    run = make(clone, "lab", "VENV=other", "PYTHON=./old")
    assert run.returncode
    assert run.stdout == "iosim needs Python 3.11 or newer; name one: make lab PYTHON=python3.12\n"


def test_help_lists_every_target(clone: Path) -> None:
    listed = [line.split()[1] for line in make(clone).stdout.splitlines()]
    assert {"lab", "fresh", "test", "matrix", "soak", "mutants", "render", "fix", "lock"} <= set(
        listed
    )
