"""One browser and one JupyterLab for all tests here.

Playwright's loop runs in the thread of the tests, and must be gone before others use asyncio: the
fixtures live as long as this package and no longer.
"""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator
from typing import TYPE_CHECKING

import lab
import pytest

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext


@pytest.fixture(scope="package")
def browser() -> Iterator[BrowserContext]:
    """This machine's browser."""
    unhurried()
    with lab.browsing() as found:
        yield found


@pytest.fixture(scope="package")
def desk(browser: BrowserContext) -> Iterator[lab.Desk]:
    """A JupyterLab of its own, in a page."""
    unhurried()
    with lab.serving() as server, lab.working(browser, server) as found:
        yield found


def unhurried() -> None:
    """Pytest's limit would end all tests; this one has limits of its own, which say more."""
    faulthandler.cancel_dump_traceback_later()
