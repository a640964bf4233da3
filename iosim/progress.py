"""How far a long measurement is: a bar in a notebook, a line on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

__all__ = ["bar"]

Report = Callable[[int, int, str], None]
WIDE = 30  # characters of a terminal's bar


def bar(wanted: bool = True) -> Report:
    """A function of `(done, total, what comes next)` that shows them."""
    if wanted and _in_notebook():
        return _widget()
    if wanted and sys.stderr.isatty():
        return _line
    return lambda done, total, what: None


def _in_notebook() -> bool:
    """Is this the kernel of a notebook, with widgets?  Asked without importing anything."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return hasattr(shell, "kernel") and "ipykernel" in sys.modules


def _widget() -> Report:
    try:
        from ipywidgets import IntProgress
    except ImportError:
        return lambda done, total, what: None
    from IPython.display import display

    shown: list[Any] = []

    def report(done: int, total: int, what: str) -> None:
        if not shown:
            bar = IntProgress(max=total, description="measuring", tooltip=what)
            shown.extend([bar, display(bar, display_id=True)])  # type: ignore[no-untyped-call]
        bar, output = shown
        bar.value, bar.tooltip = done, what
        if done == total:  # words take its place: a stored notebook could not show a closed bar
            output.update({"text/plain": f"{total} experiments done"}, raw=True)
            bar.close()

    return report


def _line(done: int, total: int, what: str) -> None:
    full = WIDE * done // max(1, total)
    end = "\n" if done == total else ""
    text = f"\r{'#' * full}{'.' * (WIDE - full)} {done}/{total} {what:<30}{end}"
    print(text, end="", file=sys.stderr, flush=True)
