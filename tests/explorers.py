"""What a reader can choose in an explorer: the ends of a control, any state, a walk over them.

And the browser's way in, by which a test chooses it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from iosim.explore.controls import Choice, Control, Slider, State

if TYPE_CHECKING:
    from iosim.explore.widget import Explorer

__all__ = ["asked", "ends_of", "states_of", "travelling", "values_of", "walked", "walks_of"]


def ends_of(control: Control) -> list[Any]:
    """A slider's two ends, or everything that can be chosen."""
    if isinstance(control, Slider):
        return [control.stops[0], control.stops[-1]]
    if isinstance(control, Choice):
        return [value for value, _ in control.options]
    return [False, True]


def values_of(control: Control) -> st.SearchStrategy[Any]:
    """Whatever a reader can choose with it."""
    if isinstance(control, Slider):
        return st.sampled_from(list(control.stops))
    return st.sampled_from(ends_of(control))


def states_of(controls: Sequence[Control]) -> st.SearchStrategy[State]:
    """Any state."""
    return st.fixed_dictionaries({control.name: values_of(control) for control in controls})


def walks_of(controls: Sequence[Control]) -> st.SearchStrategy[list[tuple[str, Any]]]:
    """Some controls, moved one after the other."""
    moves = st.sampled_from(controls).flatmap(
        lambda control: st.tuples(st.just(control.name), values_of(control))
    )
    return st.lists(moves, min_size=1, max_size=8)


def asked(explorer: Explorer, n: int, /, **values: Any) -> None:
    """The browser's way in: the reader has moved something."""
    explorer._answer({"n": n, "values": {**explorer.shown["values"], **values}})


def walked(kind: type[Explorer], walk: list[tuple[str, Any]]) -> None:
    """Each move is shown, and the last view is that of its state, however one has come there."""
    explorer = kind()
    for n, (name, value) in enumerate(walk, start=1):
        asked(explorer, n, **{name: value})
        assert explorer.shown["values"][name] == value
        assert (explorer.shown["n"], explorer.shown["error"]) == (n, "")
    assert kind(explorer.state).shown["view"] == explorer.shown["view"]
    explorer.close()


def travelling(explorer: Explorer) -> dict[str, Any]:
    """The view, as the browser gets it."""
    return json.loads(explorer.get_state("shown")["shown"])["view"]
