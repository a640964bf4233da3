"""The course runs where people stand: other users, paths, languages, terminals, limits.

tour.py has a little of everything, and runs in each place; a notebook runs in all of them at once.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT

from iosim.machine.cores import usable_cores

NOBODY = 65534
CORE = min(os.sched_getaffinity(0)) if sys.platform == "linux" else 0
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(sys.platform != "linux", reason="the real kernel here is Linux's"),
]


@dataclass(frozen=True)
class Place:
    """What is put before a command, into its environment, and after the name of Python."""

    before: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    cores: int | None = None
    user: int | None = None


# Another user may read what root may (this Python may live in root's home), and nothing else.
READING = "-all,+dac_read_search"
ANOTHER = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
           f"--inh-caps={READING}", f"--ambient-caps={READING}")  # fmt: skip

PLACES = {
    "colour is forced": Place(settings={"FORCE_COLOR": "1"}),
    "no colour": Place(settings={"NO_COLOR": "1"}),
    "one core": Place(("taskset", "-c", str(CORE)), cores=1),
    "few descriptors": Place(("prlimit", "--nofile=48:48")),
    "no locale": Place(
        settings={"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ),
    "warnings are errors": Place(flags=("-W", "error")),
    "another user": Place(ANOTHER, user=NOBODY),
}
EVERYWHERE = {k: v for place in PLACES.values() for k, v in place.settings.items()}


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A copy of the tree that everybody may read, in a folder of an awkward name."""
    with tempfile.TemporaryDirectory(prefix="it's hér ", ignore_cleanup_errors=True) as name:
        place = Path(name)
        for part in ("iosim", "notebooks"):
            shutil.copytree(ROOT / part, place / part, ignore=shutil.ignore_patterns("__pycache__"))
        place.chmod(0o777)
        yield place


def needs(command: str) -> None:
    """Skip where it is missing, or may not be used."""
    if shutil.which(command) is None:
        pytest.skip(f"no {command} here")
    if command == "setpriv" and os.getuid() != 0:
        pytest.skip("not root, so this is another user already")


def run(place: Place, tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python in that place, with the package of that tree."""
    for command in place.before[:1]:
        needs(command)
    plain = {k: v for k, v in os.environ.items() if k not in EVERYWHERE}
    return subprocess.run(
        [*place.before, sys.executable, *place.flags, *arguments],
        cwd=tree,
        env=plain | {"PYTHONPATH": str(tree)} | place.settings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def seen(tree: Path, place: Place) -> str:
    """The last line of the tour: the package, the user and the cores."""
    cores = place.cores or len(os.sched_getaffinity(0))
    user = os.getuid() if place.user is None else place.user
    return f"seen: {str(tree / 'iosim')!a} {user} {cores}\n"


@pytest.mark.parametrize("name", PLACES)
def test_the_tour_runs_in(name: str) -> None:
    told = run(PLACES[name], ROOT, str(ROOT / "tests" / "tour.py"))
    assert told.returncode == 0, told.stderr
    assert "Exception ignored" not in told.stderr  # a warning that met nobody
    assert told.stdout == seen(ROOT, PLACES[name])


def test_the_tour_runs_in_a_path_of_an_awkward_name(elsewhere: Path) -> None:
    told = run(Place(), elsewhere, str(ROOT / "tests" / "tour.py"))
    assert told.returncode == 0, told.stderr
    assert told.stdout == seen(elsewhere, Place())


# -- a fault for each place, which is seen there -----------------------------------------------

#: The place, a file of the package, a part of it, what is wrong there, and what is told of that.
PLANTS = {
    "a child is not told to write plainly": (
        "colour is forced", "explore/measure_process.py", "env=plain_environment(),", "",
        r"\x1b[31mred"),
    "a setting is given twice": (
        "no colour", "machine/children.py", 'kept | {"NO_COLOR": "1", "PYTHON_COLORS": "0"}',
        'dict(**kept, NO_COLOR="1")', "multiple values"),
    "the machine's cores are counted": (
        "one core", "machine/cores.py",
        "    if hasattr(", "    return os.cpu_count()\n    if hasattr(",
        "AssertionError"),
    "more descriptors are asked for than there may be": (
        "few descriptors", "real/clients.py", "min(wanted, hard)", "wanted", "ValueError"),
    "an encoding is left to the locale": (
        "no locale", "explore/widget.py", 'read_text(encoding="utf-8")', "read_text()", "'ascii'"),
    "what is old is used": (
        "warnings are errors", "api.py", "def measure(",
        "import warnings; warnings.warn('old', DeprecationWarning, 2)\ndef measure(", "old"),
    "a file is left open": (
        "warnings are errors", "explore/widget.py", '"explorer.js").read_text(encoding="utf-8")',
        '"explorer.js").open(encoding="utf-8").read()', "unclosed file"),
    "something is kept beside the package": (
        "another user", "explore/widget.py", "class ", '(HERE / "kept").mkdir()\nclass ',
        "PermissionError"),
    "a path is split at its spaces": (
        "awkward path", "real/helper_process.py", "str(Path(__file__).resolve().parents[2])",
        "str(Path(__file__).resolve().parents[2]).split()[0]", "No module named"),
}  # fmt: skip


def planted(tree: Path, file: str, right: str, wrong: str) -> None:
    """Put what is wrong into a copy of the package."""
    path = tree / "iosim" / file
    text = path.read_text(encoding="utf-8")
    assert right in text, f"{file} has changed: the plant is to follow it"
    path.write_text(text.replace(right, wrong, 1), encoding="utf-8")


@pytest.mark.parametrize("fault", PLANTS)
def test_a_fault_of_a_place_is_seen_there(fault: str, elsewhere: Path) -> None:
    name, file, right, wrong, says = PLANTS[fault]
    if name == "one core" and usable_cores() == 1:
        pytest.skip("there is but one core")
    planted(elsewhere, file, right, wrong)
    told = run(PLACES.get(name, Place()), elsewhere, str(ROOT / "tests" / "tour.py"))
    assert told.returncode != 0 or "Exception ignored" in told.stderr
    assert says in told.stderr


def test_a_notebook_runs_where_all_of_it_comes_together(elsewhere: Path) -> None:
    """But for warnings: those of other packages are not ours."""
    before: list[str] = ["taskset", "-c", str(CORE)]
    if os.getuid() == 0 and shutil.which("setpriv"):
        before += ANOTHER
    home = elsewhere / "home"
    home.mkdir(mode=0o777)
    home.chmod(0o777)
    folders = {
        name: str(home / name)
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    }
    settings: dict[str, Any] = EVERYWHERE | folders | {"HOME": str(home)}
    notebook = str(elsewhere / "notebooks" / "00_start_here.ipynb")
    options = ["-q", "--nbval", "--nbval-current-env", "--nbval-cell-timeout=60"]
    options += ["-p", "no:cacheprovider", f"--rootdir={elsewhere}"]
    told = run(Place(tuple(before), settings), elsewhere, "-m", "pytest", *options, notebook)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "12 passed" in told.stdout
