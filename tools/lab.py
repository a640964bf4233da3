"""JupyterLab in a headless browser, driven from Python: tests/browser and benchmarks/explorer.py.

    if missing():
        ...                                   # one line: what this machine lacks
    with serving() as server, browsing() as browser, working(browser, server) as desk:
        with opened(desk, ["1 + 1"]) as notebook:
            notebook.run_all()

The server listens on 127.0.0.1, keeps everything in a folder of its own, and ends when whoever
started it ends, however that happened. The browser resolves no name and lets no request off the
host; what it saw of requests and errors is in `notebook.seen`.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page

__all__ = [
    "BROWSERS", "Desk", "Notebook", "Seen", "Server", "browsing", "missing", "opened",
    "serving", "shown", "told", "until", "watched", "working",
]  # fmt: skip

ROOT = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
HOST = "127.0.0.1"
COLD_S = 300  # for what starts from a cold disk on a busy machine; 2 to 4 s on a quiet one
STOP_S = 20  # it shuts its kernels down first
AROUND = 300  # px of JupyterLab above and below a part of a notebook
WAIT_MS = 30_000  # for anything in a page once one has been warmed up
POLL_MS = 50  # between two looks whether something has come
LOOK_MS = 5_000  # for a page that did not come: its picture and its text
LOG_LINES = 40  # of the server's, in an error: a kernel that could not begin says why in 30
PICTURES = ROOT / "build" / "screenshots"

FLAGS = [
    "--no-sandbox",  # there is none for root, as in a container
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {HOST}",
]

#: What anywidget says on a page that was too busy for it, the browser where JupyterLab has to
#: connect anew, and JupyterLab's debugger where the kernel goes before it was greeted. None is a
#: fault of what a notebook shows: that works all the same.
TOLERATED = (
    "[anywidget] Failed to initialize model.",
    "WebSocket is already in CLOSING or CLOSED state.",
    "Could not restore the debugger state",
    "Canceled future for debug_request",
)

#: Settings of the server: no browser of its own, no packages, no news, and a handle for scripts.
SERVER = {
    "ServerApp": {
        "ip": HOST, "port": 0, "open_browser": False, "allow_root": True, "quit_button": False,
    },
    "LabApp": {"expose_app_in_browser": True, "extension_manager": "readonly"},
}  # fmt: skip
PAGE = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
#: Jupyter finds five free TCP ports for a kernel and lets go of them; the kernel binds them when it
#: has been imported. Meanwhile any other program can be given one, and a kernel that misses that of
#: IOPub neither begins nor ends (ipykernel 7.4): its page says "Connecting" for good. The name of a
#: Unix socket is the kernel's own.
NO_PORTS = {"KernelManager": {"transport": "ipc"}}
SOCKET_NAME = 103  # bytes at most: 107 on Linux, unix(7); 103 on macOS


def missing() -> str | None:
    """What this machine lacks to drive JupyterLab in a browser, in one line; None: nothing."""
    for package in ("playwright", "jupyterlab", "anywidget"):
        if importlib.util.find_spec(package) is None:
            return f"no {package}: pip install -e '.[notebooks,test]'"
    if executable() is None:
        return f"no browser: none of {', '.join(BROWSERS)} on the PATH (apt install chromium)"
    return None


def executable() -> str | None:
    """The browser of this machine."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


# --- the server -----------------------------------------------------------------------------------


class Server(NamedTuple):
    """Where it listens, what it asks for, the folder of its notebooks, and what it says."""

    url: str  # ends in a slash
    token: str
    root: Path
    log: Path


@contextmanager
def serving(nodelay: bool = False) -> Iterator[Server]:
    """JupyterLab on a free port, in a folder that goes with it.

    `nodelay` sets TCP_NODELAY where it sends a kernel's messages to the browser, which Jupyter does
    not do: by Nagle's algorithm an answer that follows the kernel's "busy" waits, now and then, for
    a delayed ACK, which takes 40 ms.
    Raises RuntimeError, with the end of its log, if it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="iosim-lab-", ignore_cleanup_errors=True) as folder:
        home, token = Path(folder), secrets.token_hex(16)
        environment = _furnish(home) | {"JUPYTER_TOKEN": token}
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, __file__, *(["nodelay"] if nodelay else [])],
                cwd=home / "root",
                env=environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        try:
            yield Server(_address(process, home), token, home / "root", home / "log")
        finally:
            _stop(process)


def _furnish(home: Path) -> dict[str, str]:
    """The environment of the server, whose files are all in `home`."""
    for name in ("root", "config/labconfig", "data", "runtime", "ipython"):
        (home / name).mkdir(parents=True)
    settings = SERVER | (NO_PORTS if _has_room_for_sockets(home / "runtime") else {})
    (home / "config" / "jupyter_server_config.json").write_text(json.dumps(settings))
    (home / "config" / "labconfig" / "page_config.json").write_text(json.dumps(PAGE))
    path = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return os.environ | {
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "IPYTHONDIR": str(home / "ipython"),
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
    }


def _has_room_for_sockets(folder: Path) -> bool:
    """Can kernels have Unix sockets there? Where not, they take their chances with ports."""
    longest = folder / f"kernel-{uuid.UUID(int=0)}-ipc-5"
    return os.name == "posix" and len(os.fsencode(longest)) <= SOCKET_NAME


def _address(process: subprocess.Popen[bytes], home: Path) -> str:
    """The server's URL, once it listens there; it writes it down somewhat earlier."""
    until = time.monotonic() + COLD_S
    while process.poll() is None and time.monotonic() < until:
        for path in (home / "runtime").glob("jpserver-*.json"):
            try:
                said = json.loads(path.read_text())
                socket.create_connection((HOST, said["port"])).close()
            except (ValueError, OSError):  # half written, or too early
                continue
            return str(said["url"])
        time.sleep(0.02)
    raise RuntimeError("JupyterLab does not start:\n" + _end_of(home / "log"))


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server, which ends its kernels."""
    assert process.stdin
    process.stdin.close()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_for_end(pipe: int) -> None:
    """Until nobody holds its other end.

    A child that inherits it may make it nonblocking, for all who have it, for a while: npm does, by
    which Jupyter looks for language servers.
    """
    while True:
        with suppress(BlockingIOError):
            if not os.read(pipe, 1):
                return
        select.select([pipe], [], [])


def serve() -> None:
    """Be the server, until the standard input ends: that it does with whoever holds it, always."""

    def watch() -> None:
        wait_for_end(sys.stdin.fileno())
        print("the standard input has ended, so this ends", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)

    from jupyterlab.labapp import main

    threading.Thread(target=watch, daemon=True).start()
    if "nodelay" in sys.argv:
        sys.argv.remove("nodelay")  # which Jupyter would not know
        _send_at_once()
    main()


def _send_at_once() -> None:
    from jupyter_server.services.kernels.websocket import KernelWebsocketHandler as Handler

    as_it_is: Any = Handler.open

    async def open(self: Any, kernel_id: str) -> None:
        await as_it_is(self, kernel_id)
        self.set_nodelay(True)

    Handler.open = open  # type: ignore[method-assign]


# --- the browser ----------------------------------------------------------------------------------


@contextmanager
def browsing() -> Iterator[BrowserContext]:
    """This machine's browser, without a window and with an empty profile."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable(), args=FLAGS, timeout=1000 * COLD_S
        )
        try:
            context = browser.new_context()
            context.set_default_timeout(WAIT_MS)
            yield context
        finally:
            browser.close()


@dataclass
class Seen:
    """What a page did, in order."""

    requests: list[str] = field(default_factory=list)  # URLs that went to a host
    errors: list[str] = field(default_factory=list)  # in the console, and those nobody caught

    def forget(self) -> None:
        """Begin anew."""
        self.requests.clear()
        self.errors.clear()

    def faults(self) -> list[str]:
        """The errors that are not `TOLERATED`."""
        return [error for error in self.errors if not any(one in error for one in TOLERATED)]

    def off_host(self) -> list[str]:
        """The requests to any other host; none of them was let through."""
        return [url for url in self.requests if urlsplit(url).hostname != HOST]


@contextmanager
def watched(
    browser: BrowserContext, width: int = 1280, height: int = 900
) -> Iterator[tuple[Page, Seen]]:
    """An empty page, and what it does from now on; sizes in CSS px."""
    page = browser.new_page()
    try:
        page.set_viewport_size({"width": width, "height": height})
        yield page, _watch(page)
    finally:
        page.close()


def _watch(page: Page) -> Seen:
    seen = Seen()

    def request(url: str) -> None:
        if urlsplit(url).scheme not in ("data", "blob"):
            seen.requests.append(url)

    def console(message: ConsoleMessage) -> None:
        if message.type == "error":
            seen.errors.append(message.text)

    page.on("request", lambda each: request(each.url))
    page.on("websocket", lambda socket: request(socket.url))
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("console", console)
    return seen


def until(page: Page, expression: str, arg: object = None, timeout: float | None = None) -> None:
    """Wait until it is so in the page, for at most `timeout` ms: it is looked at every 50 ms.

    Playwright would look at every frame, which kept a core busy for as long as a notebook runs.
    """
    page.wait_for_function(expression, arg=arg, timeout=timeout, polling=POLL_MS)


# --- a notebook -----------------------------------------------------------------------------------

#: The types of the messages that the page sends to kernels, in `messagesToKernel`; a message is
#: JSON, or the parts of v1.kernel.websocket.jupyter.org: their number, their offsets, themselves.
COUNT_MESSAGES = """
window.messagesToKernel = [];
{
  const send = WebSocket.prototype.send;
  const header = data => {
    if (typeof data === 'string') return JSON.parse(data).header;
    const bytes = new Uint8Array(data.buffer ?? data), view = new DataView(bytes.buffer);
    const [from, to] = [2, 3].map(i => Number(view.getBigUint64(8 * i, true)));
    return JSON.parse(new TextDecoder().decode(bytes.slice(from, to)));
  };
  WebSocket.prototype.send = function (data) {
    if (this.url.includes('/channels')) window.messagesToKernel.push(header(data).msg_type);
    return send.call(this, data);
  };
}
"""

PANEL = "jupyterapp.shell.currentWidget"
OPEN = """async path => {
    await jupyterapp.commands.execute('docmanager:open', {path, factory: 'Notebook'});
}"""
READY = f"""path => {PANEL}?.context?.path === path
    && {PANEL}.sessionContext?.session?.kernel?.status === 'idle'"""
CLOSE = f"""async () => {{
    const panel = {PANEL};
    await panel.sessionContext.shutdown();
    panel.dispose();
}}"""
WARM = "import ipywidgets\nipywidgets.IntSlider(description='warm')"
FILLED = "document.querySelector('.jp-LabShell').offsetHeight === innerHeight"
ERRORS = f"""() => [...{PANEL}.content.model.cells].map(cell => cell.toJSON())
    .filter(({{metadata}}) => !metadata.tags?.includes('raises-exception'))
    .flatMap(({{outputs = []}}) => outputs)
    .filter(output => output.output_type === 'error').map(output => output.traceback.join('\\n'))"""
RUN_ALL = """() => {
    window.ranAll = false;
    jupyterapp.commands.execute('notebook:run-all-cells').finally(() => { window.ranAll = true; });
}"""
RUNNING = f"""() => [...{PANEL}.content.model.cells]
    .filter(cell => cell.executionState === 'running')
    .map(cell => 'this cell still runs: ' + cell.sharedModel.source)
    .join('\\n') || 'no cell runs'"""
RUN = f"""async index => {{
    {PANEL}.content.activeCellIndex = index;
    await jupyterapp.commands.execute('notebook:run-cell');
}}"""
ASK = f"""async ([code, expression]) => {{
    const kernel = {PANEL}.sessionContext.session.kernel;
    const request = {{code, store_history: false, user_expressions: {{it: expression}}}};
    const {{content}} = await kernel.requestExecute(request).done;
    return content.status === 'ok' ? content.user_expressions.it : content;
}}"""
THEME = """async theme => {
    await jupyterapp.commands.execute('apputils:change-theme', {theme});
}"""


@dataclass
class Notebook:
    """A notebook that is open in JupyterLab, with a kernel of its own."""

    page: Page
    seen: Seen

    def run_all(self, limit_s: float = COLD_S) -> None:
        """Run every cell to its end; AssertionError, with the traceback, if one raised."""
        self.start()
        self.done(limit_s)
        self._check()

    def start(self) -> None:
        """Begin to run every cell."""
        self.page.evaluate(RUN_ALL)

    def done(self, limit_s: float = COLD_S) -> None:
        """Wait until they have run, for `limit_s` seconds; TimeoutError says where it stands."""
        try:
            until(self.page, "window.ranAll", timeout=1000 * limit_s)
        except Exception as error:
            raise TimeoutError(f"after {limit_s:g} s: {self.page.evaluate(RUNNING)}") from error

    def run(self, index: int) -> None:
        """Run one cell, counted from 0, to its end."""
        self.page.evaluate(RUN, index)
        self._check()

    def _check(self) -> None:
        errors = self.page.evaluate(ERRORS)
        assert not errors, "\n".join(errors)

    def ask(self, expression: str, code: str = "") -> Any:
        """The value of a literal that the kernel evaluates, after it ran `code`.

        It goes to the kernel behind every message that was sent before.
        """
        answer = self.page.evaluate(ASK, [code, expression])
        assert answer["status"] == "ok", f"{answer['ename']}: {answer['evalue']}"
        return ast.literal_eval(answer["data"]["text/plain"])

    def theme(self, name: str) -> None:
        """'JupyterLab Light' or 'JupyterLab Dark'."""
        self.page.evaluate(THEME, name)
        until(self.page, "name => document.body.dataset.jpThemeName === name", arg=name)

    @contextmanager
    def sized(self, width: int, height: int) -> Iterator[None]:
        """The window for a while, in CSS px."""
        before = self.page.viewport_size
        assert before
        try:
            self._resize(width, height)
            yield
        finally:
            self._resize(before["width"], before["height"])

    def _resize(self, width: int, height: int) -> None:
        self.page.set_viewport_size({"width": width, "height": height})
        until(self.page, FILLED)

    def picture(self, part: Locator, path: Path) -> None:
        """Store a part of the page as PNG, in a window that is high enough for all of it."""
        box, size = part.bounding_box(), self.page.viewport_size
        assert box, "it cannot be seen"
        assert size
        with self.sized(size["width"], int(box["height"]) + AROUND):
            path.parent.mkdir(parents=True, exist_ok=True)
            part.screenshot(path=path)

    def messages(self) -> list[str]:
        """The types of the messages that went to the kernel, in order."""
        types: list[str] = self.page.evaluate("window.messagesToKernel")
        return types


class Desk(NamedTuple):
    """JupyterLab in a page, on which notebooks are opened one after another."""

    server: Server
    page: Page
    seen: Seen


@contextmanager
def working(browser: BrowserContext, server: Server, **size: int) -> Iterator[Desk]:
    """JupyterLab without a notebook; the size of the window in CSS px.

    It has shown a notebook with a widget already: all that a notebook needs has left the disk.
    RuntimeError, with what the page shows and the end of the server's log, if it does not come.
    """
    with watched(browser, **size) as (page, seen):
        desk = Desk(server, page, seen)
        with explained(page, server), patient(page):
            load(page, server)
            warm_up(desk)
        yield desk


def load(page: Page, server: Server) -> None:
    """Wait until JupyterLab is there."""
    page.add_init_script(COUNT_MESSAGES)
    page.goto(f"{server.url}doc?token={server.token}")
    until(page, "window.jupyterapp && jupyterapp.restored.then(() => true)")


def warm_up(desk: Desk) -> None:
    """Open a notebook, show a widget, and close it."""
    with opened(desk, [WARM]) as notebook:
        notebook.start()
        desk.page.wait_for_selector(".widget-label")
        notebook.done()


@contextmanager
def patient(page: Page) -> Iterator[None]:
    """Everything may take as long as on a cold disk."""
    page.set_default_timeout(1000 * COLD_S)
    try:
        yield
    finally:
        page.set_default_timeout(WAIT_MS)


@contextmanager
def explained(page: Page, server: Server) -> Iterator[None]:
    """An error says what the page shows, of which it stores a picture, and what the server said."""
    try:
        yield
    except Exception as error:
        raise RuntimeError(
            f"{error}\n{_shown(page)}\nThe server's log ends:\n{_end_of(server.log)}"
        ) from error


def _shown(page: Page) -> str:
    """What a page shows, which may not answer any more; its picture is stored."""
    picture = PICTURES / "failed.png"
    try:
        page.screenshot(path=picture, timeout=LOOK_MS)
        text = repr(page.locator("body").inner_text(timeout=LOOK_MS))
    except Exception as error:
        text = f"nothing that can be looked at ({error})"
    return f"The page ({picture.relative_to(ROOT)}) shows: {text}"


@contextmanager
def told(desk: Desk) -> Iterator[None]:
    """An error gets notes of what the page shows and the server said: later, nobody can look."""
    try:
        yield
    except Exception as error:
        if not hasattr(error, "__notes__"):
            error.add_note(_shown(desk.page))
            error.add_note(f"Its errors: {desk.seen.errors}")
            error.add_note(f"The server's log ends:\n{_end_of(desk.server.log)}")
        raise


@contextmanager
def opened(desk: Desk, cells: list[str]) -> Iterator[Notebook]:
    """A new notebook of these code cells, open, its kernel idle; nothing has run yet.

    Its `seen` begins here.
    """
    name = f"{secrets.token_hex(4)}.ipynb"
    (desk.server.root / name).write_text(json.dumps(_notebook(cells)), encoding="utf-8")
    with shown(desk, name) as notebook:
        yield notebook


@contextmanager
def shown(desk: Desk, name: str) -> Iterator[Notebook]:
    """The notebook of this name in the server's folder, as `opened` has it; then it is closed."""
    desk.page.evaluate(OPEN, name)
    until(desk.page, READY, arg=name)
    desk.seen.forget()
    try:
        with told(desk):
            yield Notebook(desk.page, desk.seen)
    finally:
        desk.page.evaluate(CLOSE)


def _notebook(cells: list[str]) -> dict[str, Any]:
    return {
        "cells": [
            {"cell_type": "code", "execution_count": None, "id": f"cell-{number}", "metadata": {},
             "outputs": [], "source": source}
            for number, source in enumerate(cells)
        ],
        "metadata": {"kernelspec": KERNEL, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }  # fmt: skip


if __name__ == "__main__":
    serve()
