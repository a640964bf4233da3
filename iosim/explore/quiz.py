"""Predict first: what a reader is asked before the run is shown, and the guess held against it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from .controls import Choice, Slider, Value, quantity

__all__ = ["Question", "verdicts"]

Run = TypeVar("Run")


@dataclass(frozen=True)
class Question(Generic[Run]):
    """`ask` is the control in which the guess is given; `answer` reads the run."""

    ask: Slider | Choice
    answer: Callable[[Run], Value]

    @property
    def name(self) -> str:
        """The name of its control."""
        return self.ask.name

    def verdict(self, guess: Value, run: Run) -> tuple[str, str, str, str]:
        """`(question, guess, run, how they compare)`."""
        answer = self.answer(run)
        return self.ask.label, self._text(guess), self._text(answer), self._compared(guess, answer)

    def _text(self, value: Value) -> str:
        if isinstance(self.ask, Choice):
            return dict(self.ask.options).get(str(value), str(value))
        return quantity(value, self.ask.unit)

    def _compared(self, guess: Value, answer: Value) -> str:
        if guess == answer:
            return "right"
        if isinstance(self.ask, Choice):
            return "not so"
        assert not isinstance(guess, str)
        assert not isinstance(answer, str)
        if not self.ask.whole and guess == min(self.ask.stops, key=lambda at: abs(at - answer)):
            return "right, as near as the slider goes"
        more, less = ("too many", "too few") if self.ask.whole else ("too long", "too short")
        by = quantity(round(abs(guess - answer), 3), self.ask.unit)
        return f"{more if guess > answer else less}, by {by}"


def verdicts(
    questions: Sequence[Question[Run]], guesses: Mapping[str, Value], run: Run
) -> list[tuple[str, str, str, str]]:
    """A row for each question: what was asked, guessed, found, and how the two compare."""
    return [question.verdict(guesses[question.name], run) for question in questions]
