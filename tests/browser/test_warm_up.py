"""A page that comes late is waited for, and one that does not come says what it shows instead."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import lab
import pytest

from . import checks

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

checks.needs_a_browser()

LATE = "<p>Loading</p><script>setTimeout(() => { window.jupyterapp = %s; }, 1000)</script>"
READY = "{ restored: Promise.resolve() }"
NEVER = "{ restored: new Promise(() => {}) }"


@contextmanager
def planted(folder: Path, page: str) -> Iterator[lab.Server]:
    """A server that gives this page to whoever asks."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_: object) -> None: ...

    log = folder / "log"
    log.write_text("said first\nsaid last\n")
    with HTTPServer((lab.HOST, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield lab.Server(f"http://{lab.HOST}:{server.server_port}/", "-", folder, log)
        finally:
            server.shutdown()
            thread.join()


def test_a_page_may_take_longer_at_first(browser: BrowserContext, tmp_path: Path) -> None:
    with planted(tmp_path, LATE % READY) as server, lab.watched(browser) as (page, _):
        page.set_default_timeout(200)
        with lab.patient(page):
            lab.load(page, server)


def test_a_page_that_does_not_come_is_described(
    browser: BrowserContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab, "COLD_S", 2)
    (lab.PICTURES / "failed.png").unlink(missing_ok=True)
    with (
        planted(tmp_path, LATE % NEVER) as server,
        pytest.raises(RuntimeError, match=r"(?s)2000ms.*Loading.*said last"),
        lab.working(browser, server),
    ):
        pytest.fail("it has come")
    assert (lab.PICTURES / "failed.png").stat().st_size > 0
