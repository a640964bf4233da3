"""What can be chosen in an explorer: bounded controls, and the one small text that holds them all.

A *state* is what the reader has chosen, `{name: value}`.  Its text form has `name=value` for each
choice that differs from the default: `model=nonblocking delay_ms=50`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..validate import number

__all__ = [
    "Choice",
    "Control",
    "Slider",
    "State",
    "Switch",
    "Value",
    "complete",
    "quantity",
    "read",
    "write",
]

Value = str | int | float | bool
State = dict[str, Value]


@dataclass(frozen=True, slots=True)
class Slider:
    """A number from `stops[0]` to `stops[-1]` in `unit`; the slider rests at the `stops`.

    A constructor may ask for what lies between two stops; whole stops take whole numbers only.
    """

    name: str
    label: str
    stops: Sequence[int | float]
    default: int | float
    unit: str = ""

    @property
    def whole(self) -> bool:
        """Does it take whole numbers only?"""
        return all(isinstance(stop, int) for stop in self.stops)

    def check(self, value: object) -> Value:
        """`value`, if it is in bounds.  ValueError or TypeError in one line otherwise."""
        checked = number(self.name, value, self.stops[0], self.stops[-1], self.unit or "(no unit)")
        if self.whole and checked != int(checked):
            raise ValueError(f"{self.name} must be a whole number of {self.unit}, got {value!r}")
        return int(checked) if checked == int(checked) else float(checked)

    def parse(self, text: str) -> Value:
        """The value that `text` names.  ValueError if it names none, or one out of bounds."""
        try:
            value = float(text.replace(",", ""))
        except ValueError:
            unit = self.unit or "(no unit)"
            raise ValueError(f"{self.name} must be a number of {unit}, got {text!r}") from None
        return self.check(value)

    def beyond(self, before: Value, now: Value) -> int | float | None:
        """The stop as far behind `now` as that is behind `before`, or None at an end."""
        stops = list(self.stops)
        if before not in stops or now not in stops:
            return None
        place = 2 * stops.index(now) - stops.index(before)
        return stops[place] if 0 <= place < len(stops) else None

    def spec(self) -> dict[str, object]:
        """What the front end must know of it."""
        return {"kind": "slider", "name": self.name, "label": self.label,
                "stops": list(self.stops), "unit": self.unit}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Choice:
    """One of `options`, pairs of a value and the words for it."""

    name: str
    label: str
    options: Sequence[tuple[str, str]]
    default: str

    def check(self, value: object) -> Value:
        """`value`, if it is one of the options.  ValueError in one line otherwise."""
        for option, _ in self.options:
            if value == option:
                return option
        names = ", ".join(option for option, _ in self.options)
        raise ValueError(f"{self.name} must be one of {names}, got {value!r}")

    def parse(self, text: str) -> Value:
        """The value that `text` names.  ValueError if it names none."""
        return self.check(text)

    def spec(self) -> dict[str, object]:
        """What the front end must know of it."""
        return {"kind": "choice", "name": self.name, "label": self.label,
                "options": [list(option) for option in self.options]}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Switch:
    """On or off."""

    name: str
    label: str
    default: bool = False

    def check(self, value: object) -> Value:
        """`value`, if it is True or False.  TypeError in one line otherwise."""
        if not isinstance(value, bool):
            raise TypeError(f"{self.name} must be True or False, got {value!r}")
        return value

    def parse(self, text: str) -> Value:
        """The value that `text` names: "on" or "off".  ValueError for anything else."""
        if text not in ("on", "off"):
            raise ValueError(f"{self.name} must be on or off, got {text!r}")
        return text == "on"

    def spec(self) -> dict[str, object]:
        """What the front end must know of it."""
        return {"kind": "switch", "name": self.name, "label": self.label}


Control = Slider | Choice | Switch


def quantity(value: object, unit: str) -> str:
    """`value` in `unit`, whose name is a plural: "2 calls", "1 call", "20 ms"."""
    if value == 1 and len(unit) > 2:
        unit = unit.removesuffix("s")
    return f"{value:,} {unit}".rstrip()


def complete(controls: Iterable[Control], chosen: Mapping[str, object]) -> State:
    """The whole state: `chosen`, checked, and the defaults of what it does not name.

    ValueError for a name that no control has, ValueError or TypeError for a bad value.
    """
    known = {control.name: control for control in controls}
    for name in chosen:
        _known(name, known)
    return {
        name: control.check(chosen[name]) if name in chosen else control.default
        for name, control in known.items()
    }


def read(controls: Iterable[Control], text: str) -> State:
    """The state that `text` writes down.  ValueError if it is not the text of one."""
    known = {control.name: control for control in controls}
    chosen: State = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"a state is written name=value name=value, got {word!r}")
        chosen[name] = _known(name, known).parse(value)
    return complete(known.values(), chosen)


def write(controls: Iterable[Control], state: Mapping[str, Value]) -> str:
    """The text of `state`: what differs from the defaults."""
    return " ".join(
        f"{control.name}={_text(state[control.name])}"
        for control in controls
        if state[control.name] != control.default
    )


def _known(name: str, known: Mapping[str, Control]) -> Control:
    if name not in known:
        raise ValueError(f"there is no {name!r} to choose: there are {', '.join(known)}")
    return known[name]


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)
