"""Every Python of a machine is found, also one that pyenv has and does not show."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import matrix
import pytest
from matrix import Found

POSIX = pytest.mark.skipif(os.name != "posix", reason="its Pythons are scripts of a shell")


def python(folder: Path, name: str, version: str, complete: bool = True) -> Path:
    """A command that tells this version, if it is asked for what makes environments."""
    folder.mkdir(parents=True, exist_ok=True)
    says = f"echo {version}" if complete else "exit 1"
    command = folder / name
    command.write_text(f"#!/bin/sh\n{says}\n")
    command.chmod(0o755)
    return command


@POSIX
def test_pythons_of_the_path_and_of_pyenv_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, pyenv = tmp_path / "a [b]", tmp_path / "pyenv"
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.setenv("PYENV_ROOT", str(pyenv))
    python(path, "python3", "3 11 2")
    python(path, "python3.14", "3 14 0", complete=False)  # a shim, or without python3-venv
    python(path, "python3-config", "3 99 0")
    hidden = python(pyenv / "versions" / "3.12.1" / "bin", "python3.12", "3 12 1")
    newer = python(pyenv / "versions" / "3.11.7" / "bin", "python3.11", "3 11 7")
    python(pyenv / "versions" / "3.10.4" / "bin", "python3.10", "3 10 4")
    found = matrix.of_each_minor(map(matrix.probe, matrix.candidates()))
    assert found == [Found((3, 11, 7), str(newer)), Found((3, 12, 1), str(hidden))]
    assert matrix.named(["3.12", str(newer)]) == found[::-1]
    for name in ("3.10", "3.13", str(path / "python3.14")):
        with pytest.raises(ValueError, match=re.escape(f"{name}: no Python from 3.11 on")):
            matrix.named([name])


def test_versions_are_numbers_and_the_first_of_equals_stays() -> None:
    found = [Found((3, 9, 9), "a"), None, Found((3, 11, 10), "b"), Found((3, 11, 9), "c"),
             Found((3, 11, 10), "d"), Found((3, 100, 0), "e"), Found((3, 20, 0), "f")]  # fmt: skip
    assert [each.command for each in matrix.of_each_minor(found)] == ["b", "f", "e"]


@pytest.mark.parametrize(
    ("there", "arguments", "run"),
    [
        ("11 12 13", [], "11 12 13"),
        ("11 12 13", ["--ends"], "11 13"),
        ("11 12", ["--ends"], "11 12"),
        ("12", ["--ends"], "12"),
    ],
)
def test_each_chosen_one_has_its_line_and_one_that_fails_is_seen(
    there: str, arguments: list[str], run: str, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    found = [Found((3, int(minor), 0), "python") for minor in there.split()]
    monkeypatch.setattr(matrix, "of_each_minor", lambda _: found)
    done = []

    popen = subprocess.Popen

    def make(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        done.append(command[2].removeprefix("VENV=build/venv-3."))
        says = f"print('this is {done[-1]}'); raise SystemExit({2 if done[-1] == '12' else 0})"
        return popen([sys.executable, "-c", says], **options)

    monkeypatch.setattr(subprocess, "Popen", make)
    assert matrix.main(arguments) == int("12" in run.split())
    assert done == run.split()
    lines = capfd.readouterr().out.splitlines()
    table = lines[lines.index("Python    make test   minutes") + 1 :]
    verdicts = {"12": "FAILED (2)"}
    assert [line.split("  ")[0] for line in table] == [f"3.{minor}.0" for minor in done]
    assert all(verdicts.get(m, "holds") in line for m, line in zip(done, table, strict=True))
    told = lines[: lines.index("Python    make test   minutes")]
    assert [told.count(f"this is {minor}") for minor in done] == [1 + (m == "12") for m in done]
    assert (told[-2:] == ["--- Python 3.12, the end of what it said:", "this is 12"]) == (
        "12" in done
    )
    assert ("Only one Python is here: nothing is tested on another." in lines) == (len(found) == 1)


def test_a_machine_without_one_says_so(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(matrix, "candidates", list)
    assert matrix.main([]) == 1
    assert capfd.readouterr().err.startswith("no Python from 3.11 on that makes environments")


def test_this_python_is_one() -> None:
    found = matrix.probe(sys.executable)
    assert found
    assert found.version == sys.version_info[:3]
