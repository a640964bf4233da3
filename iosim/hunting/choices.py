"""A row of choices: what is free in a run, in the order in which it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

__all__ = ["Choices"]


class Choices:
    """Goes on as `given`, and then is ordinary (0), or random: every `rarely`-th is not ordinary.

    `taken` are the choices so far, `counts` how many ways there were each time.
    """

    __slots__ = ("_given", "_random", "_rarely", "counts", "taken")

    def __init__(
        self, given: Sequence[int] = (), random: Random | None = None, rarely: int = 3
    ) -> None:
        self._given, self._random, self._rarely = given, random, rarely
        self.taken: list[int] = []
        self.counts: list[int] = []

    def pick(self, count: int) -> int:
        """One of `count` ways, from 0; 0 is the ordinary one."""
        if count <= 1:
            return 0
        place = len(self.taken)
        if place < len(self._given):
            chosen = min(self._given[place], count - 1)
        elif self._random is None or self._random.randrange(self._rarely):
            chosen = 0
        else:
            chosen = self._random.randrange(count)
        self.taken.append(chosen)
        self.counts.append(count)
        return chosen

    def row(self) -> tuple[int, ...]:
        """What was chosen, without the ordinary ones at its end."""
        end = len(self.taken)
        while end and not self.taken[end - 1]:
            end -= 1
        return tuple(self.taken[:end])
