"""In which order a set goes through what has no order of its own: the same one in every run.

CPython takes the address for a hash.  By it a pool joins its threads, and a loop cancels its tasks.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from itertools import count

__all__ = ["Numbers"]

IMPORTED = 1 << 32  # numbers from here on are those of what was asked for in an import


class Numbers:
    """Hashes: things are numbered as they are first asked for theirs, from 0 in each run.

    What the modules of a world have made is numbered apart, so that it does not matter in which run
    they were imported.
    """

    def __init__(self) -> None:
        self._of: dict[int, tuple[int, weakref.ref[object]]] = {}  # by address
        self._imported = count(IMPORTED)
        self.begin()

    def begin(self) -> None:
        """Another run."""
        self._next = count()

    def give(self, kind: type, importing: Callable[[], bool]) -> None:
        """To whatever is of this class, if it is equal to itself alone.

        (Where `__slots__` leave no room for a weak reference, nothing says when it is gone.)
        """
        known: object = kind.__hash__
        if known is object.__hash__ and kind.__weakrefoffset__:

            def hashed(thing: object) -> int:
                return self._number(thing, self._imported if importing() else self._next)

            kind.__hash__ = hashed  # type: ignore[method-assign,assignment]

    def _number(self, thing: object, following: Iterator[int]) -> int:
        place = id(thing)
        if place not in self._of:
            gone = weakref.ref(thing, lambda _: self._of.pop(place, None))
            self._of[place] = next(following), gone
        return self._of[place][0]
