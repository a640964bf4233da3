"""What a reader can choose in an explorer: the ends of a control, any state, a walk over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from iosim.explore.controls import Choice, Control, Slider, State

__all__ = ["ends_of", "states_of", "values_of", "walks_of"]


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
