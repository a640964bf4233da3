"""The search: rows with one choice that is not ordinary, with two, at random; then shorter ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from random import Random
from time import perf_counter
from typing import Any, cast

from ..plain.run import NotSimulated
from ..plain.simulate import Outcome, PlainProgram
from ..progress import bar
from ..trace import Timeline
from ..validate import number, whole
from ..workloads.clients import Clients
from ..workloads.traffic import Traffic
from .choices import Choices
from .claims import Claim, wrong
from .kernel import HuntedKernel
from .space import Space, varied

__all__ = ["Broken", "Held", "hunt"]

MOST = 70  # characters that stand beside the mark
HERE = {
    "claim": "what was claimed does not hold", "error": "it raises", "stuck": "it waits for ever",
    "spins": "it spins", "endless": "it never ends",
}  # fmt: skip
RANDOM_SHARE = 3  # one case of so many is a random one
REPORT = 50  # cases between two reports of progress
SHRINKING = 300  # cases, at most, to make a row shorter
SHRINKING_CALLS = 5_000  # and calls in them: no time, or the same search would end elsewhere


@dataclass(frozen=True)
class Held:
    """The claim held in `cases` cases: in all there are, if `all` (False: time was up)."""

    cases: int
    seconds: float
    all: bool
    broken: bool = False

    def __str__(self) -> str:
        every = "all there are" if self.all else "chosen ones of more"
        return f"held in {self.cases:,} cases ({every}), {self.seconds:.2f} s"


@dataclass(frozen=True)
class Broken:
    """The smallest case that was found to break the claim.

    kind   "claim", "error" (it raised), "stuck" (it waits for ever), "spins" or "endless"
    words  what was expected and what happened
    row    the choices that make the case; `story`: its story, as a value that can be run again
    cases  that were tried before it was found
    """

    kind: str
    words: str
    row: tuple[int, ...]
    cases: int
    outcome: Outcome
    broken: bool = True

    @property
    def story(self) -> Traffic | Clients | None:
        """What happens to the program in this case."""
        return self.outcome.story

    @property
    def timeline(self) -> Timeline:
        """The run up to where it failed."""
        return self.outcome.timeline

    @property
    def call(self) -> str:
        """The last call of the run that the program's own text has made, and its line.

        What was claimed is judged when the run is over: that call need not be to blame.
        """
        log = self.timeline.call_log
        if not log:
            return "before its first call"
        last = next((call for call in reversed(log) if call.line), log[-1])
        line = f", line {last.line}" if last.line else ""
        when = "seen after" if self.kind == "claim" else "at"
        return f"{when} call {last.id + 1}, {last.name}{line}"

    def __str__(self) -> str:
        return (
            f"broken in case {self.cases:,}: {self.words} ({self.call})\n"
            f"story = {self.story!r}\nrow = {self.row!r}"
        )

    def _repr_mimebundle_(self, **named: object) -> dict[str, str]:
        from ..shown import bundle, picture

        return bundle(f"{self}\n\n{self.timeline}", picture(self.picture()))

    def picture(self) -> str:
        """An SVG of the run, with the instant at which it failed."""
        from ..draw import svg

        run = self.timeline
        at = run.call_log[-1].start if self.kind == "stuck" and run.call_log else run.run_end
        words = self.words if self.kind == "claim" and len(self.words) <= MOST else HERE[self.kind]
        return svg(run, mark=(at, f"here: {words}"))


def hunt(
    program: Callable[..., object], claim: Claim | None = None,
    within: Space | Traffic | Clients | None = None, *, seed: int = 0, cases: int = 2_000,
    seconds: float = 10.0, limit_s: float = 5.0, progress: bool = False,
    shown: Callable[..., object] | None = None, **options: object,
) -> Held | Broken:  # fmt: skip
    """Search for a case in which plain code breaks `claim`, or dies, spins, or waits for ever.

    within    where to search: a `Space`, or a story, with whatever is free in it
    seed      of what is chosen at random: the same seed, the same cases
    cases     that are tried at most, in at most so many `seconds`
    limit_s   seconds of processor time for one case: TimeoutError
    shown     the function whose text is the program's, if it is another one
    progress  show a bar
    options   further arguments of the program

    Raises TypeError or ValueError for bad input; `NotSimulated` if it asks for what is not.
    """
    whole("cases", cases, 1, 10_000_000, "cases")
    number("seconds", seconds, 1e-3, 3_600, "s")
    if claim is not None and not callable(claim):
        raise TypeError(f"a claim is a function of a timeline, as those of `claims`, got {claim!r}")
    space = within if isinstance(within, Space) else Space(within)
    named = space.options | options
    with PlainProgram(program, space.story, named, shown) as prepared:
        hunted = _Hunt(prepared, claim, space, Random(seed), limit_s)
        return hunted.run(cases, seconds, bar(progress))


class _Hunt:
    def __init__(
        self, program: PlainProgram, claim: Claim | None, space: Space, random: Random,
        limit_s: float,
    ) -> None:  # fmt: skip
        self._program, self._claim, self._space, self._random = program, claim, space, random
        self._limit_s = limit_s

    def run(
        self, cases: int, seconds: float, report: Callable[[int, int, str], None]
    ) -> Held | Broken:
        begun, tried = perf_counter(), 0
        for choices in self._rows():
            if tried == cases or perf_counter() - begun > seconds:
                return Held(tried, perf_counter() - begun, all=False)
            if not tried % REPORT:
                report(tried, cases, "looking for a case that fails")
            tried += 1
            found = self._try(choices)
            if found:
                report(cases, cases, "found")
                return self._shrunk(found, choices.row(), tried, begun + 2 * seconds)
        report(cases, cases, "")
        return Held(tried, perf_counter() - begun, all=True)

    def _rows(self) -> Iterator[Choices]:
        """Those that are one choice away from the ordinary, then two, ...; random ones between.

        A random row is as good as any: it never comes to an end by itself, the others do.
        """
        waiting = deque[tuple[int, ...]]([()])
        turn = 0
        while waiting:
            turn += 1
            if not turn % RANDOM_SHARE:
                yield Choices((), self._random, self._random.choice((2, 4, 10)))
                continue
            given = waiting.popleft()
            choices = Choices(given)
            yield choices
            for place in range(len(given), len(choices.counts)):
                for way in range(1, choices.counts[place]):
                    waiting.append((*choices.taken[:place], way))

    # -- one case ------------------------------------------------------------------------------

    def _outcome(self, choices: Choices) -> Outcome:
        story = varied(self._space, choices)
        kind: Any = partial(HuntedKernel, choices, self._space)
        return self._program.run(story, self._limit_s, kind)

    def _try(self, choices: Choices) -> tuple[str, str, Outcome] | None:
        """What is wrong: its kind, its words, and the run."""
        return self._judged(self._outcome(choices))

    def _judged(self, outcome: Outcome) -> tuple[str, str, Outcome] | None:
        kind, words = _wrong(outcome)
        if not kind and self._claim is not None:
            words = wrong(self._claim, outcome)
            kind = "claim" if words else ""
        return (kind, words, outcome) if kind else None

    # -- the smallest case ---------------------------------------------------------------------

    def _shrunk(
        self, found: tuple[str, str, Outcome], row: tuple[int, ...], tried: int, until: float
    ) -> Broken:
        """Fewer choices that are not ordinary, and smaller ones, while the kind is the same."""
        kind = found[0]
        left, calls = SHRINKING, SHRINKING_CALLS
        smaller = True
        while smaller and left > 0 and calls > 0 and perf_counter() < until:
            smaller = False
            for shorter in _shorter(row):
                left -= 1
                choices = Choices(shorter)
                outcome = self._outcome(choices)
                again = self._judged(outcome)
                calls -= cast(HuntedKernel, outcome.kernel).made
                if again and again[0] == kind and _size(choices.row()) < _size(row):
                    found, row, smaller = again, choices.row(), True
                    break
                if left <= 0 or calls <= 0 or perf_counter() > until:
                    break
        return Broken(found[0], found[1], row, tried, found[2])


def _size(row: tuple[int, ...]) -> tuple[int, int, tuple[int, ...]]:
    return sum(map(bool, row)), len(row), row


def _shorter(row: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Rows that are smaller, the smallest first."""
    places = [place for place, way in enumerate(row) if way]
    for place in places:
        yield row[:place]
    for place in reversed(places):
        yield (*row[:place], 0, *row[place + 1 :])
    for place in reversed(places):
        yield (*row[:place], *row[place + 1 :])
    for place in reversed(places):
        for way in range(1, row[place]):
            yield (*row[:place], way, *row[place + 1 :])


def _wrong(outcome: Outcome) -> tuple[str, str]:
    """What is wrong with the run, whatever the claim: its kind, and words."""
    error = outcome.error
    if error is None:
        return "", ""
    if isinstance(error, NotSimulated):
        raise error
    if error is not outcome.kernel.stopped:
        return "error", f"it raised {type(error).__name__}: {error}"
    words = str(error)
    for start, kind in (("it spins", "spins"), ("it never ends", "endless")):
        if words.startswith(start):
            return kind, words
    return "stuck", words
