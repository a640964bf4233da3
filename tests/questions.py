"""One question to select, poll or epoll, as its run tells it: for tests of several rooms."""

from __future__ import annotations

from collections.abc import Sequence

from iosim import Costs
from iosim.draw import question_of
from iosim.draw.question import Asked
from iosim.sim import question

__all__ = ["ask"]


def ask(
    call: str, n: int, ready: Sequence[int] = (), costs: Costs | None = None, sets: int = 1
) -> Asked:
    """As `iosim.sim.question.ask` puts it."""
    return question_of(question.ask(call, n, ready, costs), sets)
