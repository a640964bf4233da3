"""Child processes whose output is read: their environment, and how they ended."""

from __future__ import annotations

import os
import signal

__all__ = ["how_it_ended", "plain_environment"]

COLOURS = {"FORCE_COLOR", "CLICOLOR_FORCE"}  # some programs heed them even beside NO_COLOR
UNBUFFERED = "PYTHONUNBUFFERED"  # many containers set it


def plain_environment() -> dict[str, str]:
    """This process's environment, for a child whose words are read: without colours, and whole.

    The kernel of a notebook has FORCE_COLOR=1, and from Python 3.13 on a traceback heeds it
    (https://docs.python.org/3/using/cmdline.html#controlling-color): its last line would begin
    with an escape code.

    An unbuffered `sys.stdout` drops the rest of what write(2) cuts short.  A signal does that to
    who waits for room in a pipe, and so does the end of an io_uring: the kernel still has work for
    the thread that made it (task work).  A buffered one writes on.
    """
    left_out = {*COLOURS, UNBUFFERED}
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    return kept | {"NO_COLOR": "1", "PYTHON_COLORS": "0"}


def how_it_ended(status: int) -> str:
    """What a `returncode` of `subprocess` means: "ended with exit status 1"."""
    if status >= 0:
        return f"ended with exit status {status}"
    known = -status in signal.valid_signals()
    name = signal.Signals(-status).name if known and -status in list(signal.Signals) else ""
    return f"was ended by signal {-status}" + (f" ({name})" if name else "")
