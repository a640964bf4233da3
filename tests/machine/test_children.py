"""What a child process writes is plain text and whole, whatever the environment says."""

import os
import signal
import subprocess
import sys

import pytest
from waiting import PIPE, bytes_waiting, until

from iosim import traffic
from iosim.echo import faults
from iosim.echo.child import serving
from iosim.explore.measure_process import Background, Job
from iosim.machine import procfs
from iosim.machine.children import plain_environment

ESCAPE = "\x1b"
COLOURED = sys.version_info >= (3, 13)  # from then on Python colours tracebacks


@pytest.fixture(autouse=True)
def _as_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """ipykernel sets it in every kernel's environment."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("PYTHON_COLORS", raising=False)


def traceback(environment: dict[str, str]) -> str:
    """What Python says of a child's error."""
    run = subprocess.run(
        [sys.executable, "-c", "1 / 0"], capture_output=True, text=True, check=False, timeout=60,
        env=environment,
    )  # fmt: skip
    return run.stderr


def test_the_traceback_of_a_child_is_plain() -> None:
    assert (ESCAPE in traceback(dict(os.environ))) == COLOURED
    assert ESCAPE not in traceback(plain_environment())


def test_the_rest_of_the_environment_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICOLOR_FORCE", "1")
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    monkeypatch.setenv("KEPT", "as it is")
    plain = plain_environment()
    changed = {name for name in {*plain, *os.environ} if plain.get(name) != os.environ.get(name)}
    assert changed == {
        "FORCE_COLOR", "CLICOLOR_FORCE", "NO_COLOR", "PYTHON_COLORS", "PYTHONUNBUFFERED",
    }  # fmt: skip
    assert plain["KEPT"] == "as it is"


#: It waits for room in a pipe, and is interrupted there: write(2) gives back what it has written.
INTERRUPTED = """
import os, signal
signal.signal(signal.SIGUSR1, lambda *_: os.write(2, b"!"))
print("x" * 300_000, flush=True)
"""


@pytest.mark.real
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc whether it waits")
@pytest.mark.parametrize("whole", [True, False])
def test_what_a_child_says_is_heard_to_its_end(
    monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    environment = plain_environment() if whole else dict(os.environ)
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:  # fmt: skip
        assert child.stdout
        assert child.stderr
        until(lambda: bytes_waiting(child.stdout) == PIPE)
        until(lambda: procfs.state(child.pid, child.pid) == "S")
        child.send_signal(signal.SIGUSR1)
        assert child.stderr.read(1) == b"!"  # the call is over
        heard = len(child.stdout.read())
    assert heard == 1 + (300_000 if whole else PIPE)


@pytest.mark.skipif(sys.platform != "linux", reason="the faults are Linux's")
def test_the_last_words_of_a_server_are_plain() -> None:
    with serving("notes") as server:
        faults.reset(server)
        assert server.last_words().startswith("ConnectionResetError")


@pytest.mark.real
def test_so_are_those_of_a_run_in_the_background() -> None:
    said: list[str] = []
    job = Job(("blocking",), traffic.one(), 1_000_000, None, 1.0)
    run = Background(job, lambda *_: None, lambda _, last: said.append(last),
                     (sys.executable, "-c", "1 / 0"))  # fmt: skip
    assert run.wait(60)
    assert said == ["ZeroDivisionError: division by zero"]
