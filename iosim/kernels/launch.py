"""What both kernels do with a program: look at it, start it, resume it and ask for its line."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import GeneratorType
from typing import Any

from ..calls import Program, Request
from ..calls.request import never_yielded
from ..trace.builder import Text
from ..validate import near
from ..workloads.clients import Clients
from ..workloads.jobs import Jobs
from ..workloads.traffic import Traffic

__all__ = [
    "JobPlan", "PlainPlan", "Plan", "ServerPlan", "is_plain", "launch", "launch_jobs",
    "launch_plain", "launch_server", "line_of", "resume",
]  # fmt: skip

SERVES = {"fd": False, "fds": True}  # a program's first parameter: does it serve all connections?


@dataclass(frozen=True, slots=True)
class Plan:
    """A program that was looked at and may be started, with the story that it will meet."""

    text: Text
    serves_all: bool
    program: Callable[..., Program]
    story: Traffic
    options: Mapping[str, object]

    def nbytes(self, connection: int | None = None) -> int:
        """The bytes that the story sends on `connection` (None: on all).

        sys.maxsize if it ends there with an "eof" or a "reset", so that a program reads until then.
        """
        ends = any(
            m.kind != "data" and connection in (None, m.connection) for m in self.story.messages
        )
        return sys.maxsize if ends else self.story.nbytes(connection)

    def start(self, descriptors: int | Sequence[int], nbytes: int) -> Program:
        """The program, ready for its first step.  TypeError if the call makes no generator."""
        return _start(self.text.title, self.program, descriptors, nbytes, **self.options)


@dataclass(frozen=True, slots=True)
class JobPlan:
    """A program that was looked at and may be started, with the jobs that it will have done."""

    text: Text
    program: Callable[..., Program]
    story: Jobs
    options: Mapping[str, object]

    def start(self) -> Program:
        """The program, ready for its first step.  TypeError if the call makes no generator."""
        numbers = range(1, len(self.story) + 1)
        return _start(self.text.title, self.program, numbers, **self.options)


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """A program that was looked at and may be started, with the clients that it will serve."""

    text: Text
    program: Callable[..., Program]
    story: Clients
    options: Mapping[str, object]

    def start(self, listener: int) -> Program:
        """The program, ready for its first step.  TypeError if the call makes no generator."""
        count = len(self.story)
        return _start(self.text.title, self.program, listener, count, **self.options)


@dataclass(frozen=True, slots=True)
class PlainPlan:
    """Plain code that was looked at and may be started; `file`: in which its text stands."""

    text: Text
    file: str
    program: Callable[..., object]
    options: Mapping[str, object]


#: The options of a run, over whatever story; all others are the program's own.
OF_A_RUN = frozenset(
    ("backlog", "cores", "costs", "gil", "limit_s", "nofile", "pool", "rcvbuf", "sndbuf",
     "start_method", "switch_interval", "workers")
)  # fmt: skip


def _start(
    title: str, program: Callable[..., Program], *given: object, **options: object
) -> Program:
    never_yielded.begin()
    started = program(*given, **options)
    if not isinstance(started, GeneratorType):
        raise TypeError(f"{title} is not a program: it has no yield")
    return started


def launch(program: Callable[..., Program], story: Traffic, options: Mapping[str, object]) -> Plan:
    """Look at `program`: a generator function of `fd` or `fds`, `nbytes` and `options`.

    TypeError for what is not a program, not a Traffic, or an option that the program does not
    have; ValueError if its first parameter is neither `fd` nor `fds`.
    """
    inner = _inner(program)
    title = _title(program, inner)
    if not isinstance(story, Traffic):
        raise TypeError(f"a story must be a Traffic, as one() or several() make it, got {story!r}")
    _check_yields(title, inner)
    names = _check_parameters(title, program, options, 2)
    if len(names) < 2 or names[0] not in SERVES:
        raise ValueError(
            f"{title}: a program's parameters begin with fd or fds, then nbytes, got "
            f"({', '.join(names)}) (plain code has no yield)"
        )
    return Plan(_text(title, inner), SERVES[names[0]], program, story, dict(options))


def launch_jobs(
    program: Callable[..., Program], story: Jobs, options: Mapping[str, object]
) -> JobPlan:
    """Look at `program`: a generator function of `jobs` and `options`.

    TypeError and ValueError as for `launch`.
    """
    text, names = _look_at(program, options, 1)
    if names[:1] != ["jobs"]:
        raise ValueError(
            f"{text.title}: the parameters of a program over Jobs begin with jobs, got "
            f"({', '.join(names)})"
        )
    return JobPlan(text, program, story, dict(options))


def launch_server(
    program: Callable[..., Program], story: Clients, options: Mapping[str, object]
) -> ServerPlan:
    """Look at `program`: a generator function of `listener`, `clients` (how many) and `options`.

    TypeError and ValueError as for `launch`.
    """
    text, names = _look_at(program, options, 2)
    if names[:1] != ["listener"] or len(names) < 2:
        raise ValueError(
            f"{text.title}: the parameters of a program over Clients begin with listener, then "
            f"clients, got ({', '.join(names)})"
        )
    return ServerPlan(text, program, story, dict(options))


def is_plain(program: object) -> bool:
    """Is it plain code: a function, a method, or an object to be called, that yields nothing?

    Not, if its parameters are those of a program that should: then its `yield` was forgotten.
    """
    inner = _inner(program)
    function = inner.__func__ if inspect.ismethod(inner) else inner
    if not inspect.isfunction(function) or inspect.isgeneratorfunction(function):
        return False
    names = tuple(inspect.signature(inner).parameters)
    return names[:2] not in YIELDING and names[:1] != ("jobs",)


YIELDING = (("fd", "nbytes"), ("fds", "nbytes"), ("listener", "clients"))


def launch_plain(
    program: Callable[..., object], given: int, what: str, options: Mapping[str, object],
    shown: Callable[..., object] | None = None,
) -> PlainPlan:  # fmt: skip
    """Look at plain code that will be given so many arguments; `what` they are, in words.

    `shown`: another function, whose text is the program's.  TypeError if it does not take them, or
    for an option that it does not have.
    """
    inner = _inner(shown or program)
    title = _title(program, inner)
    _check_parameters(title, program, options, given)
    try:
        inspect.signature(program).bind(*range(given), **options)
    except TypeError as error:
        raise TypeError(f"{title} is given {what}: {error}") from None
    file = getattr(getattr(inner, "__code__", None), "co_filename", "")
    return PlainPlan(_text(title, inner), file, program, dict(options))


def _look_at(
    program: Callable[..., object], options: Mapping[str, object], given: int
) -> tuple[Text, list[str]]:
    """A program's text and the names of its parameters, of which the kernel gives the first."""
    inner = _inner(program)
    title = _title(program, inner)
    _check_yields(title, inner)
    return _text(title, inner), _check_parameters(title, program, options, given)


def _title(program: object, inner: Any) -> str:
    title = str(getattr(inner, "__name__", repr(inner)))
    if title == "__call__":
        title = type(inner.__self__).__name__
    if not callable(program):
        raise TypeError(f"{title} is not a program: it has no yield")
    return title


def _check_yields(title: str, inner: object) -> None:
    if inspect.isfunction(inner) and not inspect.isgeneratorfunction(inner):
        raise TypeError(f"{title} is not a program: it has no yield")


def _inner(program: object) -> Any:
    """The function inside functools.partial and functools.wraps, or that is an object's call."""
    while isinstance(program, functools.partial):
        program = program.func
    inner: Any = inspect.unwrap(program) if callable(program) else program
    is_object = inspect.isfunction(getattr(type(inner), "__call__", None))  # noqa: B004
    return inner.__call__ if is_object and not isinstance(inner, type) else inner


def _check_parameters(
    title: str, program: Callable[..., object], options: Mapping[str, object], given: int
) -> list[str]:
    """Has it all `options`?  The names of its parameters, of which the kernel gives the first."""
    parameters = list(inspect.signature(program).parameters.values())
    names = [p.name for p in parameters]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    allowed = [
        p.name for p in parameters[given:] if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    for name in options:
        if name not in allowed and not takes_any:
            raise TypeError(
                f"{title} has no option {name!r}: its options are {', '.join(allowed) or 'none'}"
                + near(name, [*allowed, *OF_A_RUN])
            )
    return names


@functools.lru_cache(maxsize=256)  # to find a function's source takes as long as to run it
def _text(title: str, inner: Any) -> Text:
    try:
        lines, first = inspect.getsourcelines(inner)
    except (OSError, TypeError):  # typed into a prompt, or not written in Python
        return Text(title)
    return Text(title, "".join(lines), first)


# -- one step ----------------------------------------------------------------------------------


def resume(program: Program, reply: object = None, error: BaseException | None = None) -> Request:
    """Send `reply` into `program`, or throw `error`; the request that it yields next.

    StopIteration when it is over.  RuntimeError if it made a call and never yielded it; TypeError
    if it yields something else than a request.  What the program itself raises comes through.
    """
    thrown_away = never_yielded.lines  # of this thread
    try:
        request: Request = program.send(reply) if error is None else program.throw(error)
    except StopIteration:
        if thrown_away:
            _complain(thrown_away)
        raise
    except (TypeError, AttributeError) as mistake:  # as len(recvfrom(...)) raises
        _hint(mistake)
        raise
    if thrown_away:
        _complain(thrown_away)
    if not isinstance(request, Request):
        raise TypeError(f"line {line_of(program)}: a program yields calls, not {request!r}")
    request.number = 0
    return request


def line_of(program: Program) -> int | None:
    """The line at which `program`, or what it yields from, stands now; None if it is over."""
    inner: Any = program
    while isinstance(inner.gi_yieldfrom, GeneratorType):
        inner = inner.gi_yieldfrom
    frame = inner.gi_frame
    return None if frame is None else frame.f_lineno


def _complain(thrown_away: list[str]) -> None:
    text = thrown_away[0]
    thrown_away.clear()
    raise RuntimeError(f"{text} was made but never yielded")


def _hint(mistake: Exception) -> None:
    """Was a call used in place of its reply?  Say so in a note."""
    trace = mistake.__traceback__
    while trace is not None:
        code, names = trace.tb_frame.f_code, trace.tb_frame.f_locals
        given = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        for name, value in names.items():
            if isinstance(value, Request) and value.number and name not in given:
                mistake.add_note(f"{name} is {value!r}, which was made but never yielded")
        trace = trace.tb_next
