"""One browser and one JupyterLab for all tests here.

Playwright's loop runs in the thread of the tests, and must be gone before others use asyncio: the
fixtures live as long as this package and no longer.
"""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING

import lab
import pytest

from .gates import Gate

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


@pytest.fixture
def gate(desk: lab.Desk) -> Iterator[Gate]:
    """Open, until a test shuts it."""
    made = Gate(desk.server.root)
    yield made
    made.remove()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """A test that fails says what its page showed."""
    desk = getattr(item, "funcargs", {}).get("desk")
    with lab.told(desk) if desk else nullcontext():
        return (yield)


def unhurried() -> None:
    """Pytest's limit would end all tests; this one has limits of its own, which say more."""
    faulthandler.cancel_dump_traceback_later()
