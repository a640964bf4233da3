"""Tests of the real kernel are told from the others, and a test that hides there is found."""

import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

CONFTEST = f"""
import sys
sys.path[:0] = [{str(ROOT / "tests")!r}, {str(ROOT)!r}]
from marking import pytest_itemcollected, pytest_runtest_call
"""
HIDDEN = """
import iosim
import pytest

def test_hidden():
    iosim.measure(iosim.models.blocking, iosim.traffic.one(after_ms=1, size=1))

@pytest.mark.real
def test_marked():
    iosim.measure(iosim.models.blocking, iosim.traffic.one(after_ms=1, size=1))

def test_simulated():
    iosim.simulate(iosim.models.blocking, iosim.traffic.one(after_ms=1, size=1))

def test_own_socket():
    import socket
    socket.socket().close()
"""
OPEN = """
import socket
import threading
from functools import partial

import pytest
from hypothesis import given, strategies
from iosim import measure, simulate

@pytest.mark.parametrize("run", [pytest.param(simulate, id="simulated"), measure])
def test_parameter(run):
    pass

@pytest.mark.parametrize("run", [partial(measure, limit_s=1)])
def test_partial(run):
    pass

def by_name():
    return [each for each in (measure,)]

class Sender:
    def __init__(self):
        self.socket = socket.socket()

RUNS = {"real": Sender}

@pytest.fixture
def thread():
    return threading.Thread()

def test_function():
    by_name()

def test_table():
    RUNS

def test_fixture(thread):
    pass

@given(strategies.integers())
def test_property(number):
    by_name()

class TestOfAClass:
    def test_method(self):
        by_name()

def test_nothing_of_it():
    simulate
"""


def planted(folder: Path, text: str, *arguments: str) -> str:
    """What pytest says of a file with this text."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_planted.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider"]
    command += ["-c", str(ROOT / "pyproject.toml"), f"--rootdir={folder}", *arguments, str(folder)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout


@pytest.mark.skipif(sys.platform != "linux", reason="the real kernel here is Linux's")
def test_a_real_run_in_a_test_without_the_marker_is_found(tmp_path: Path) -> None:
    said = planted(tmp_path, HIDDEN)
    assert "FAILED test_planted.py::test_hidden" in said
    assert "iosim opens a socket and starts a process: mark this test" in said
    assert "1 failed, 3 passed" in said


def test_what_uses_a_real_kernel_is_marked_but_for_what_it_simulates(tmp_path: Path) -> None:
    said = planted(tmp_path, OPEN, "-m", "real", "--collect-only")
    chosen = {line.partition("::")[2] for line in said.splitlines() if "::" in line}
    assert chosen == {
        "test_parameter[measure]", "test_partial[run0]", "test_function", "test_table",
        "test_fixture", "test_property", "TestOfAClass::test_method",
    }  # fmt: skip
