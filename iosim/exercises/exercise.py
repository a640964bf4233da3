"""An exercise: what is to be written, how an answer is tried, and what its mistakes are called."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from html import escape
from io import StringIO
from math import ceil
from textwrap import dedent, indent
from threading import Timer
from typing import Any

from ..hunting.choices import Choices
from ..hunting.claims import Claim
from ..hunting.kernel import HuntedKernel
from ..hunting.search import Broken, hunt
from ..hunting.space import Space, told
from ..plain.run import NotSimulated
from ..plain.simulate import PlainProgram
from ..shown import bundle, picture
from ..trace import Timeline
from ..validate import whole
from .pasted import made_of, pasted, plain

__all__ = [
    "Answer", "Exercise", "Mistake", "Part", "Program", "Verdict", "goes_on_wrongly",
    "right", "spins", "would_block",
]  # fmt: skip

Answer = Callable[..., Any]
Program = Callable[..., object]  # plain code that calls an answer
CANNOT = "not simulated"
SOON = 10  # what fails in this share of the cases is told before the others are tried
LIMIT_S = 1.0  # of processor time for one run of an answer
SECONDS = 20.0  # for one part, on a slow machine
REAL_S = 3.0  # for the run on this machine
REAL = {"backlog", "nofile", "rcvbuf", "sndbuf"}  # options that a real kernel takes as well


@dataclass(frozen=True)
class Part:
    """One way in which an answer is tried.

    program  makes a plain program of an answer
    space    where the search goes, for a seed: other sizes and bytes for each
    claim    what must hold, for that seed
    cases    that are tried
    told     is the program shown with what went wrong, since it does more than call the answer?
    """

    program: Callable[[Answer], Program]
    space: Callable[[int], Space]
    claim: Callable[[int], Claim | None]
    cases: int = 400
    told: bool = False

    def text(self, answer: Answer, name: str) -> str:
        """The source of its program, if that is to be shown; the answer is called `name`."""
        if not self.told:
            return ""
        return plain(dedent(inspect.getsource(self.program(answer)))).replace(
            "answer()", f"{name}()"
        )


@dataclass(frozen=True)
class Mistake:
    """A mistake that is known: by what it is recognised, and what is said of it."""

    name: str
    words: str
    when: Callable[[int, Broken], bool]


def spins(part: int, found: Broken) -> bool:
    """It asks again and again, and gets nowhere."""
    return found.kind in ("spins", "endless")


def would_block(part: int, found: Broken) -> bool:
    """It takes EAGAIN for an error."""
    return found.kind == "error" and "BlockingIOError" in found.words


def goes_on_wrongly(part: int, found: Broken) -> bool:
    """A claim fails, and not because the server has ended."""
    return found.kind == "claim" and not found.outcome.ended


#: Errors that say something of the code, whatever it is to do.
OWN = (
    "TypeError", "NameError", "AttributeError", "UnboundLocalError", "KeyError", "IndexError",
    "RuntimeError",
)  # fmt: skip


def _in_own_code(part: int, found: Broken) -> bool:
    return found.kind == "error" and type(found.outcome.error).__name__ in OWN


def _without_result(part: int, found: Broken) -> bool:
    """It gives back nothing where something is asked for: `None`, or a list with one in it."""
    outcome = found.outcome
    if outcome.error is not None or outcome.ended or "it returned" not in found.words:
        return False
    returned = outcome.returned
    return returned is None or (isinstance(returned, list) and None in returned)


OF_ALL = (
    Mistake(
        "an error in the code",
        "That is an error in your own code: it has nothing to do with the network.",
        _in_own_code,
    ),
    Mistake(
        "another type",
        "What you return must be of the type that the task names.",
        lambda part, found: found.kind == "claim" and " of type " in found.words,
    ),
    Mistake(
        "catches its own end",
        "Your code catches everything, Ctrl-C as well: name the errors that you expect (OSError).",
        lambda part, found: found.kind == "endless" and "has caught that" in found.words,
    ),
    Mistake(
        "no return",
        "Your function returns nothing: is there a return at its end?",
        _without_result,
    ),
)


@dataclass(frozen=True)
class Exercise:
    """`name` is that of the function to be written; `title` says what it is about.

    parts     how an answer is tried; the first part that breaks it counts
    mistakes  the first one that fits is the diagnosis
    solution  a right answer
    waits     may it be a coroutine function?  A server may.
    real      what a run on this machine does, where the first part's sizes would not do: the
              buffers of a real kernel are larger
    """

    number: int
    name: str
    title: str
    parts: tuple[Part, ...]
    mistakes: tuple[Mistake, ...]
    solution: Answer
    waits: bool = False
    real: Part | None = None

    def check(self, answer: object, seed: int = 0) -> Verdict:
        """Try it, in many cases: the same ones for the same seed."""
        whole("seed", seed, 0, (1 << 63) - 1, "(a seed)")
        if answer is ... or answer is None:
            return Verdict(self, False, f"{self.name} is not there yet")
        if not callable(answer):
            return Verdict(self, False, f"{self.name} must be a function, got {answer!r}")
        if inspect.iscoroutinefunction(answer) and not self.waits:
            return Verdict(self, False, f"{self.name} must be an ordinary function, without async")
        if trouble := _parameters(answer, self.solution):
            return Verdict(self, False, f"{self.name}{trouble}")
        for place, cases in self._order():
            verdict = self._try(place, cases, answer, seed)
            if verdict is not None:
                return verdict
        return right(self)

    def _order(self) -> Iterator[tuple[int, int]]:
        """The places of the parts, and how many cases: a few of each, and then all.

        So what fails soon is told soon, in whatever part, and not after all cases of those before.
        """
        yield from ((place, ceil(part.cases / SOON)) for place, part in enumerate(self.parts))
        yield from ((place, part.cases) for place, part in enumerate(self.parts))

    def measured(self, answer: Answer) -> Timeline:
        """Run the answer on this machine's kernel, as `real` or the first part does.

        Raises what it raises.  A signal that may come at any time comes after a tenth of a second.
        """
        from ..plain.measure import measure_plain  # not everybody can measure

        part = self.real or self.parts[0]
        space = part.space(0)
        options = {name: space.options[name] for name in REAL & {*space.options}}
        timers = [Timer(0.1, os.kill, (os.getpid(), signo)) for signo in space.signals]
        for timer in timers:
            timer.start()
        try:
            return measure_plain(
                part.program(answer), space.story, limit_s=REAL_S, shown=answer, **options
            )
        finally:
            for timer in timers:
                timer.cancel()
                timer.join()

    def solved(self) -> Solution:
        """The solution as it can be pasted, and its run over the first part's story."""
        text = pasted(self.solution)
        answer = made_of(text, self.name)
        part = self.parts[0]
        space = part.space(0)
        with PlainProgram(part.program(answer), space.story, space.options, answer) as prepared:
            kind: Any = partial(HuntedKernel, Choices(), space)
            return Solution(answer, text, prepared.run(space.story, kind=kind).timeline)

    def _try(self, place: int, cases: int, answer: Answer, seed: int) -> Verdict | None:
        part = self.parts[place]
        try:
            with _printed() as said:
                found = hunt(
                    part.program(answer), part.claim(seed), part.space(seed), seed=seed,
                    cases=cases, seconds=SECONDS, limit_s=LIMIT_S, shown=answer,
                )  # fmt: skip
        except NotSimulated as error:
            return Verdict(self, False, f"{self.name}: {error}", mistake=CANNOT)
        except TimeoutError:
            words = "it runs on and on, and makes no call: nothing can happen meanwhile"
            return Verdict(self, False, words, mistake="runs on")
        if isinstance(found, Broken):
            return self._diagnosed(place, found, part.text(answer, self.name))
        if said.getvalue() and cases == part.cases:
            line = said.getvalue().splitlines()[0]
            return Verdict(
                self, False, f"it works, and prints {line!r}: take that out", mistake="prints"
            )
        return None

    def _diagnosed(self, place: int, found: Broken, ran: str) -> Verdict:
        for mistake in (*OF_ALL, *self.mistakes):
            if mistake.when(place, found):
                return Verdict(self, False, found.words, mistake.words, mistake.name, found, ran)
        return Verdict(self, False, found.words, found=found, ran=ran)


@dataclass(frozen=True)
class Solution:
    """A right answer, folded, with its run; `text` is the source of `answer`."""

    answer: Answer
    text: str
    run: Timeline

    def __str__(self) -> str:
        return f"{self.text}\n{self.run}"

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        from ..draw import svg

        shown = picture(svg(self.run))
        head = "<summary>A solution, and its run</summary>"
        fold = f"<details>{head}<pre>{escape(self.text)}</pre>{shown}</details>"
        return bundle("a solution, and its run: print(solution(...))", fold)


@dataclass(frozen=True)
class Verdict:
    """What is said of an answer: `right` or not, what happened, and what that is called."""

    exercise: Exercise
    right: bool
    words: str
    advice: str = ""
    mistake: str = ""
    found: Broken | None = None
    ran: str = ""

    def __str__(self) -> str:
        judged = "CANNOT JUDGE" if self.mistake == CANNOT else "RIGHT" if self.right else "NOT YET"
        head = f"{judged}: {self.words}"
        lines = [head]
        if self.found is not None:
            lines[0] += f" ({self.found.call})"
        lines += [self.advice] if self.advice else []
        if self.ran:
            lines.append(f"What was run:\n{indent(self.ran, '  ')}")
        if self.found is not None and self.found.story is not None:
            lines.append(f"It happens when:\n{indent(told(self.found.story), '  ')}")
        return "\n".join(lines)

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        if self.found is None:
            return bundle(str(self), "")
        shown = picture(self.found.picture())
        text = f"{self}\n\n{self.found.timeline}"
        return bundle(text, f"<pre>{escape(str(self))}</pre>{shown}")


def right(exercise: Exercise) -> Verdict:
    """It holds in whatever was tried."""
    return Verdict(exercise, True, f"{exercise.name} holds in every case that was tried")


def _parameters(answer: Answer, solution: Answer) -> str:
    """What is wrong with its parameters; "" if nothing is."""
    wanted = inspect.signature(solution)
    try:
        inspect.signature(answer).bind(*range(len(wanted.parameters)))
    except TypeError:
        return f" must take {wanted}, got {inspect.signature(answer)}"
    except ValueError:  # written in C
        return ""
    return ""


@contextmanager
def _printed() -> Iterator[StringIO]:
    """What the answer prints, thousands of times, is kept; what it complains of is not."""
    said = StringIO()
    with redirect_stdout(said), redirect_stderr(StringIO()):
        yield said
