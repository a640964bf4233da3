"""Bad input gets one line that names the value, the bound and the unit."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["HOUR_NS", "near", "number", "whole"]

HOUR_NS = 3_600_000_000_000


def whole(name: str, value: object, low: int, high: int, unit: str) -> int:
    """`value` if it is an int in [low, high], no bool; TypeError or ValueError otherwise."""
    if type(value) is not int and (isinstance(value, bool) or not isinstance(value, int)):
        raise TypeError(f"{name} must be a whole number of {unit}, got {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be from {low:,} to {high:,} {unit}, got {value:,}")
    return value


def number(name: str, value: object, low: float, high: float, unit: str) -> float:
    """`value` if it is a number in [low, high], not NaN; TypeError or ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of {unit}, got {value!r}")
    if math.isnan(value) or not low <= value <= high:
        raise ValueError(f"{name} must be from {low:,} to {high:,} {unit}, got {value!r}")
    return value


def near(name: str, names: Sequence[str]) -> str:
    """ " (did you mean x?)", for who has misspelt one of the `names`; "" if none is like it."""
    from difflib import get_close_matches  # not everybody misspells

    found = get_close_matches(name, [one for one in names if one != name], 1)
    return f" (did you mean {found[0]}?)" if found else ""
