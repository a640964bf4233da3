"""Twelve exercises: write a function, and the hunt looks for the case in which it fails.

from iosim.exercises import check

check(recv_exactly)
"""

from __future__ import annotations

from ..trace import Timeline
from ..validate import near
from .deadlines import SERVE_IN_TIME
from .descriptors import ACCEPT_ALL
from .event_loop import EVENT_LOOP
from .exercise import Answer
from .exercise import Exercise as Exercise
from .exercise import Solution as Solution
from .exercise import Verdict as Verdict
from .readiness import POLL_FOR, SERVE_EDGE, SERVE_OWED
from .relay import RELAY
from .signals import ON_SIGNAL, WAIT_FOR
from .streams import READ_MESSAGES, RECV_EXACTLY, SEND_ALL

__all__ = [
    "EXERCISES", "Exercise", "Solution", "Verdict", "check", "on_this_machine", "solution",
]  # fmt: skip

#: By the names of the functions that are to be written, the easiest first.
EXERCISES = {
    one.name: one
    for one in (
        RECV_EXACTLY, SEND_ALL, READ_MESSAGES, POLL_FOR, SERVE_OWED, SERVE_EDGE, WAIT_FOR,
        ON_SIGNAL, RELAY, SERVE_IN_TIME, ACCEPT_ALL, EVENT_LOOP,
    )
}  # fmt: skip


def solution(answer: Answer | str) -> Solution:
    """A right answer, folded; `answer`: the exercise's function, or its name."""
    return _exercise(answer if isinstance(answer, str) else answer.__name__).solved()


def on_this_machine(answer: Answer, name: str = "") -> Timeline:
    """The answer's run on the real kernel, over a story of the exercise.

    Raises what it raises; TimeoutError after three seconds.
    """
    return _exercise(name or answer.__name__).measured(answer)


def check(answer: Answer, name: str = "", *, seed: int = 0) -> Verdict:
    """Try an answer; its own name says to which exercise, or `name`.

    `seed`: other sizes and bytes for each (a hidden variant).  ValueError for a name that no
    exercise has; TypeError for what has no name.
    """
    own = str(getattr(answer, "__name__", ""))
    if not own and not name:
        raise TypeError(f"check takes your function, and not what it returned: got {answer!r}")
    return _exercise(name or own).check(answer, seed)


def _exercise(name: str) -> Exercise:
    if name not in EXERCISES:
        names = list(EXERCISES)
        raise ValueError(f"no exercise is called {name!r}: {', '.join(names)}{near(name, names)}")
    return EXERCISES[name]
