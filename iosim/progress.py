"""How far a long measurement is: a bar in a notebook, a line on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from html import escape
from typing import Any

__all__ = ["bar"]

Report = Callable[[int, int, str], None]
WIDE = 30  # characters of a terminal's bar


def bar(wanted: bool = True) -> Report:
    """A function of `(done, total, what comes next)` that shows them."""
    if wanted and _in_notebook():
        return _replaced()
    if wanted and sys.stderr.isatty():
        return _line
    return lambda done, total, what: None


def _in_notebook() -> bool:
    """Is this the kernel of a notebook?  Asked without importing anything."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return hasattr(shell, "kernel")


def _replaced() -> Report:
    """One output that replaces itself.

    Not a widget: a notebook is stored with its outputs, and the view of a widget that is gone
    would stay there, as an error.
    """
    from IPython.display import DisplayHandle

    handle: Any = DisplayHandle()  # type: ignore[no-untyped-call]
    shown: list[bool] = []

    def report(done: int, total: int, what: str) -> None:
        text = f"{done} of {total} experiments done"
        data = {"text/plain": text}
        if done < total:
            meter = f'<progress value="{done}" max="{total}"></progress>'
            data["text/html"] = f"<label>measuring {meter} {escape(what)}</label>"
        (handle.update if shown else handle.display)(data, raw=True)
        shown.append(True)

    return report


def _line(done: int, total: int, what: str) -> None:
    full = WIDE * done // max(1, total)
    end = "\n" if done == total else ""
    text = f"\r{'#' * full}{'.' * (WIDE - full)} {done}/{total} {what:<30}{end}"
    print(text, end="", file=sys.stderr, flush=True)
