"""What an experiment left is found; what others start meanwhile is not the experiment's.

A kernel with its history on is where readers stand; nbclient and nbval keep none.
"""

import json
import multiprocessing
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager
from paths import ROOT

from iosim.machine.leftovers import running
from iosim.workloads.job_gate import Gate, held

TIME_S = 60


def test_a_thread_and_a_worker_that_are_left_are_found() -> None:
    before, over = running(), threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    worker = multiprocessing.get_context("spawn").Process(target=int)
    worker.start()
    assert running() - before == {thread, worker}
    over.set()
    for one in (thread, worker):
        one.join()
    assert running() == before


@pytest.mark.real
@pytest.mark.parametrize("executor", [ProcessPoolExecutor, ThreadPoolExecutor])
def test_what_the_standard_library_starts_for_a_pool_is_the_experiment_s(executor: Any) -> None:
    before = running()
    with executor(3) as pool, Gate() as gate:
        for _ in range(3):
            pool.submit(held, gate.port)
        gate.wait_for(3)
        assert len(running() - before) >= 3
    assert running() == before


@pytest.mark.parametrize("by", ["class", "function"])
def test_a_thread_of_an_installed_package_is_not(by: str, tmp_path: Path) -> None:
    """Told by the class that it has, or by the function that it is in."""
    over = threading.Event()
    package = tmp_path / "site-packages" / "package_of_others.py"
    package.parent.mkdir()
    package.write_text("import threading\nclass Own(threading.Thread): pass\n"
                       "def work(over): over.wait()\n")  # fmt: skip
    sys.path.insert(0, str(package.parent))
    try:
        import package_of_others as others  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(package.parent))
    before = running()
    thread = (
        others.Own(target=over.wait) if by == "class"
        else threading.Thread(target=others.work, args=(over,))
    )  # fmt: skip
    thread.start()
    try:
        assert thread in threading.enumerate()
        assert thread not in running() - before
    finally:
        over.set()
        thread.join()
        del sys.modules["package_of_others"]


# -- where readers stand -----------------------------------------------------------------------


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Any]:
    """A client of a kernel that keeps its history in a file, as JupyterLab's do."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(
        extra_arguments=[
            "--HistoryManager.enabled=True", f"--HistoryManager.hist_file={tmp_path / 'history'}",
        ]
    )  # fmt: skip
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=TIME_S)
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


BEGIN = """
import threading
from multiprocessing import get_context
from iosim.machine.leftovers import running
first, before = set(threading.enumerate()), running()
with get_context("fork").Pool(1) as pool:
    pool.apply(int)
"""
BEGUN_AGAIN = """
new = set(threading.enumerate()) - first
assert [type(thread).__name__ for thread in new] == ["HistorySavingThread"], new
"""


def run(kernel: Any, code: str) -> str:
    """The cell's error, after what it printed; "" if there is none."""
    printed: list[str] = []

    def take(told: dict[str, Any]) -> None:
        printed.append(told["content"].get("text", ""))

    reply = kernel.execute_interactive(code, timeout=TIME_S, output_hook=take)["content"]
    if reply["status"] == "ok":
        return ""
    return "".join([*printed, f"{reply['ename']}: {reply['evalue']}"])


@pytest.mark.real
def test_the_history_that_ipython_begins_again_after_a_fork_is_ipython_s(kernel: Any) -> None:
    assert run(kernel, BEGIN) == ""
    assert run(kernel, BEGUN_AGAIN) == ""  # else this test would prove nothing
    assert run(kernel, "assert running() == before, running() - before") == ""


@pytest.mark.real
def test_in_a_kernel_what_a_cell_left_is_found(kernel: Any) -> None:
    assert run(kernel, BEGIN) == ""
    left = "threading.Thread(target=threading.Event().wait, daemon=True).start()"
    assert run(kernel, left) == ""
    assert "AssertionError" in run(kernel, "assert running() == before, running() - before")


@pytest.mark.real
def test_all_cells_of_notebook_01_run_in_such_a_kernel(kernel: Any) -> None:
    """It forks, and looks for what is left, again and again."""
    path = ROOT / "notebooks" / "01_four_words.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        if cell["cell_type"] == "code":
            assert run(kernel, "".join(cell["source"])) == "", cell["id"]
