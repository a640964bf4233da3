"""The simulated kernel, by mechanism.

`scheduler` has time and the cores, `kernel` the programs and their calls; each of the others has
the calls of one mechanism, whose text reads like their manual pages.  The kernel's side of a call
has that call's name here: `inspect.getsource(sim.recvfrom)`.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from importlib.util import find_spec


def __getattr__(name: str) -> Callable[..., object]:
    if name.startswith("_") or find_spec(f"{__name__}.{name}"):  # a module, not yet imported
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .answers import sides
    from .simulate import simulate_traffic  # noqa: F401  (by then every call is answered)

    known = sides()
    if name not in known:
        near = ", ".join(get_close_matches(name, known, 3, 0.5)) or "none is like it"
        raise AttributeError(f"the simulated kernel answers no call {name!r}: {near}")
    return known[name]
