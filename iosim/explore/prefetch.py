"""Views made before they are asked for: who has moved a slider mostly moves it on.

The views of a few states are kept, so that the way back is short as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache

from .controls import Control, Slider, State, Value
from .view import View

__all__ = ["Ahead"]

KEPT = 8  # views of one explorer
REST_S = 0.02  # the last picture is on the screen by then


class Ahead:
    """What `make` makes of the states of `controls`, which are pure values of these choices."""

    def __init__(self, controls: Sequence[Control], make: Callable[[State], View]) -> None:
        names = [control.name for control in controls]
        self._controls = controls
        self._made = lru_cache(KEPT)(lambda *values: make(dict(zip(names, values, strict=True))))
        self._soon: asyncio.TimerHandle | None = None

    def view(self, state: Mapping[str, Value]) -> View:
        """The view of `state`, raising what `make` raises."""
        return self._made(*(state[control.name] for control in self._controls))

    def expect(self, before: State, now: State) -> None:
        """From `before` the reader went to `now`: make ready, in a moment, what lies beyond.

        Nothing happens where no event loop runs, as in a script.
        """
        moved = [one for one in self._controls if before[one.name] != now[one.name]]
        if not moved:
            return
        self.close()
        further = _beyond(moved, before, now)
        if further is None:
            return
        with suppress(RuntimeError):
            self._soon = asyncio.get_running_loop().call_later(REST_S, self._prepare, further)

    def _prepare(self, state: State) -> None:
        with suppress(Exception):  # it will be raised when it is asked for
            _ = self.view(state).packed

    def close(self) -> None:
        """Expect nothing any more."""
        if self._soon:
            self._soon.cancel()
            self._soon = None


def _beyond(moved: Sequence[Control], before: State, now: State) -> State | None:
    """The state that comes next, if one slider goes on as it went."""
    match moved:
        case [Slider() as slider]:
            stop = slider.beyond(before[slider.name], now[slider.name])
            return None if stop is None else {**now, slider.name: stop}
    return None
