"""The folders of tests/: one for each room of iosim, and a few others."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from paths import ROOT

TESTS = ROOT / "tests"
OTHERS = {  # besides the rooms of iosim
    "both_kernels": "one program on both kernels, which must tell it the same",
    "browser": "the explorers and the notebooks in JupyterLab, in a real browser",
    "course": "what readers meet: the notebooks and the README, wherever they stand",
    "house": "what holds of the whole tree: its floors, its files, the markers of its tests",
    "tools": "tools/, benchmarks/ and the Makefile",
    "data": "no tests: what some of them read",
    "oracles": "no tests: others who know the right answer (SimPy, CPython, strace)",
}


def misplaced(tests: Path, package: Path) -> Iterator[str]:
    """Folders that are no room of the package, and tests in no folder that are of no module."""
    rooms = {path.parent.name for path in package.glob("*/__init__.py")}
    modules = {f"test_{path.name}" for path in package.glob("*.py")}
    yield from sorted({path.parent.name for path in tests.glob("*/*.py")} - rooms - set(OTHERS))
    yield from sorted({path.name for path in tests.glob("test_*.py")} - modules)


def test_tests_mirror_the_package() -> None:
    assert list(misplaced(TESTS, ROOT / "iosim")) == []
    assert [name for name in OTHERS if not (TESTS / name).is_dir()] == []


def test_what_has_no_room_is_seen(tmp_path: Path) -> None:
    there = {
        "iosim": ["sim/__init__.py", "prediction.py"],
        "tests": ["sim/test_a.py", "attic/test_b.py", "test_c.py", "test_prediction.py", "few.py"],
    }
    for top, names in there.items():
        for file in (tmp_path / top / name for name in names):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    assert list(misplaced(tmp_path / "tests", tmp_path / "iosim")) == ["attic", "test_c.py"]


def test_no_two_files_of_tests_have_the_same_name() -> None:
    names = Counter(path.name for path in TESTS.rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []


def test_what_several_tests_use_is_no_test() -> None:
    """No file imports anything from one of the tests."""
    nodes = [
        (path.name, node)
        for path in TESTS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
    ]
    modules = [(name, node.module) for name, node in nodes if isinstance(node, ast.ImportFrom)]
    modules += [
        (name, alias.name)
        for name, node in nodes if isinstance(node, ast.Import) for alias in node.names
    ]  # fmt: skip
    assert [(name, module) for name, module in modules if "test_" in (module or "")] == []
