"""The harness itself: what it sees of a page and of a kernel, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import lab
import pytest
from waiting import until

from . import checks

checks.needs_a_browser()

#: A widget that does what an explorer must not do.
LOUD = '''
import anywidget, traitlets
class Loud(anywidget.AnyWidget):
    _esm = """export default { render({ model, el }) {
        const button = document.createElement("button");
        button.textContent = "Loud";
        button.addEventListener("click", () => {
            console.error("said aloud");
            setTimeout(() => { throw new Error("thrown"); });
            fetch("https://example.org/a").catch(() => { el.dataset.refused = "name"; });
            fetch("http://192.0.2.1/b").catch(() => { el.dataset.also = "address"; });
            model.set("pressed", 1);
            model.save_changes();
        });
        el.append(button);
    } }"""
    pressed = traitlets.Int(0).tag(sync=True)
loud = Loud()
loud'''


@pytest.fixture(scope="module")
def notebook(desk: lab.Desk) -> Iterator[lab.Notebook]:
    with lab.opened(desk, [LOUD, "1 / 0"]) as notebook:
        yield notebook


def test_a_cell_that_raises_is_seen(notebook: lab.Notebook) -> None:
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        notebook.run(1)
    with pytest.raises(AssertionError, match="NameError: name 'nowhere' is not defined"):
        notebook.ask("None", "nowhere")


def test_what_a_page_does_is_seen(notebook: lab.Notebook) -> None:
    assert notebook.seen.faults() == []
    assert notebook.seen.off_host() == []
    with pytest.raises(AssertionError):
        notebook.run_all()  # its second cell raises
    page = notebook.page
    before = notebook.messages().count("comm_msg")
    page.get_by_role("button", name="Loud").click()
    page.wait_for_selector("[data-refused][data-also]")
    assert notebook.ask("loud.pressed") == 1
    assert notebook.messages().count("comm_msg") == before + 1
    assert notebook.seen.off_host() == ["https://example.org/a", "http://192.0.2.1/b"]
    errors = [error.removeprefix("Error: ") for error in notebook.seen.errors]
    assert {"said aloud", "thrown"} <= set(errors)


# --- kernels begin, whatever goes on beside them --------------------------------------------------


@contextmanager
def taken(runtime: Path) -> Iterator[None]:
    """Another program is given the port of each new kernel's IOPub, before the kernel binds it."""
    known, over, sockets = set(runtime.glob("kernel-*.json")), threading.Event(), ExitStack()

    def take() -> None:
        while not over.wait(0.002):
            for path in set(runtime.glob("kernel-*.json")) - known:
                with suppress(ValueError, OSError):  # half written; or no port, or it is too late
                    port = json.loads(path.read_text())["iopub_port"]
                    sockets.enter_context(socket.create_server((lab.HOST, port)))
                    known.add(path)

    thread = threading.Thread(target=take)
    thread.start()
    with sockets:
        try:
            yield
        finally:
            over.set()
            thread.join()


@pytest.mark.skipif(sys.platform != "linux", reason="its folder may have too long a name")
def test_no_other_program_can_have_a_port_of_a_kernel(desk: lab.Desk) -> None:
    with taken(desk.server.root.parent / "runtime"), lab.opened(desk, ["1"]) as notebook:
        notebook.run_all()


def test_what_fails_says_what_the_server_said(desk: lab.Desk) -> None:
    with pytest.raises(AssertionError) as caught, lab.told(desk):
        raise AssertionError
    shown, errors, said = caught.value.__notes__
    assert shown.startswith("The page (")
    assert errors.startswith("Its errors: ")
    assert "ServerApp]" in said


# --- nothing is left ------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "set_blocking"), reason="no pipe is nonblocking here")
def test_a_child_that_makes_the_standard_input_nonblocking_does_not_end_the_server() -> None:
    """A read that begins just then finds nothing, which is not the end."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    thread = threading.Thread(target=lab.wait_for_end, args=(reader,))
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    os.close(writer)
    thread.join(20)
    assert not thread.is_alive()
    os.close(reader)


HOLDER = """
import lab, sys
with lab.serving() as server:
    print(server.url, server.token, server.root.parent, flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="there is no /proc here")
@pytest.mark.parametrize("how", [signal.SIGKILL, None])
def test_nothing_is_left_however_it_ends(how: signal.Signals | None) -> None:
    """Neither the server nor a kernel lives on, even if whoever started them was killed."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout
        url, token, folder = holder.stdout.readline().split()
        request = urllib.request.Request(
            f"{url}api/kernels", b"{}", {"Authorization": f"token {token}"}
        )
        urllib.request.urlopen(request, timeout=30).close()
        assert len(users(folder)) >= 2  # the server, and its kernel
        holder.send_signal(how) if how else holder.communicate()
    until(lambda: not users(folder))
    assert Path(folder).exists() == bool(how)
    shutil.rmtree(folder, ignore_errors=True)  # who is killed cannot clear away


def users(folder: str) -> list[int]:
    """The processes whose environment names the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if folder in path.read_text(errors="replace"):
                found.append(int(path.parent.name))
        except OSError:  # it is another user's, or gone
            continue
    return found
