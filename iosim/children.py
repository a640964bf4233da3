"""Child processes whose output is read: their environment."""

from __future__ import annotations

import os

__all__ = ["plain_environment"]

COLOURS = {"FORCE_COLOR", "CLICOLOR_FORCE"}  # some programs heed them even beside NO_COLOR


def plain_environment() -> dict[str, str]:
    """This process's environment, for a child that writes plain text, without colours.

    The kernel of a notebook has FORCE_COLOR=1, and from Python 3.13 on a traceback heeds it
    (https://docs.python.org/3/using/cmdline.html#controlling-color): its last line would begin
    with an escape code.
    """
    kept = {name: value for name, value in os.environ.items() if name not in COLOURS}
    return kept | {"NO_COLOR": "1", "PYTHON_COLORS": "0"}
