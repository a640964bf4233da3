"""The front doors: what they offer, and one line for each wrong program, story or option."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import pytest

from iosim import calls, models, simulate, traffic
from iosim.calls import recvfrom, sleep
from iosim.kernels.launch import OF_A_RUN
from iosim.real.measure import measure_clients, measure_traffic
from iosim.real.pools import measure_jobs
from iosim.sim.simulate import simulate_clients, simulate_jobs, simulate_traffic

ONE = traffic.one()


def forgetful(fd: int, nbytes: int) -> calls.Program:
    yield sleep(1)
    recvfrom(fd, 10)
    yield sleep(1)


def forgetful_at_the_end(fd: int, nbytes: int) -> calls.Program:
    yield sleep(1)
    recvfrom(fd, 10)


def yields_a_number(fd: int, nbytes: int) -> calls.Program:
    yield 7  # type: ignore[misc]


def yields_a_class(fd: int, nbytes: int) -> calls.Program:
    yield recvfrom  # type: ignore[misc]


def never_yields(fd: int, nbytes: int) -> None:
    return None


def spins(fd: int, nbytes: int) -> calls.Program:
    while nbytes:
        pass
    yield sleep(1)


def no_nbytes(fd: int) -> calls.Program:
    yield sleep(fd)


BAD_PROGRAMS = [
    (
        forgetful,
        {},
        RuntimeError,
        f"line {forgetful.__code__.co_firstlineno + 2}: recvfrom(fd=3, size=10, flags=0) was made "
        "but never yielded",
    ),
    (forgetful_at_the_end, {}, RuntimeError, "was made but never yielded"),
    (yields_a_number, {}, TypeError, "a program yields calls, not 7"),
    (yields_a_class, {}, TypeError, "a program yields calls, not <class"),
    (never_yields, {}, TypeError, "never_yields is not a program: it has no yield"),
    (no_nbytes, {}, ValueError, "no_nbytes: a program's parameters begin with fd or fds"),
    (spins, {"limit_s": 0.2}, TimeoutError, "0.2 s"),
    (42, {}, TypeError, "42 is not a program"),
    (models.blocking, {"between": 1}, TypeError, "blocking has no option 'between'"),
    (models.blocking, {"limit_s": -1}, ValueError, "limit"),
]


@pytest.mark.parametrize(("program", "options", "error", "line"), BAD_PROGRAMS)
def test_a_bad_program_gets_one_line(program: Any, options: Any, error: type, line: str) -> None:
    with pytest.raises(error) as caught:
        simulate(program, ONE, **options)
    assert line in str(caught.value)


def test_a_bad_story() -> None:
    with pytest.raises(TypeError, match="a story must be a Traffic"):
        simulate(models.blocking, [1, 2])  # type: ignore[arg-type]


def test_the_front_door() -> None:
    import iosim

    assert set(iosim.__all__) <= set(dir(iosim))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = iosim.nothing
    assert iosim.traffic is sys.modules["iosim.workloads.traffic"]


def test_an_option_that_is_misspelt_is_named_with_the_near_one() -> None:
    with pytest.raises(TypeError, match=r"its options are poll_ns \(did you mean poll_ns\?\)$"):
        simulate(polls, ONE, pol_ns=1)
    with pytest.raises(TypeError, match=r"its options are none \(did you mean cores\?\)$"):
        simulate(models.blocking, ONE, corse=1)


def polls(fd: int, nbytes: int, poll_ns: int = 1) -> calls.Program:
    """A program with an option."""
    yield calls.compute(poll_ns)


def test_the_options_of_a_run_are_those_of_its_doors() -> None:
    doors: list[Callable[..., Any]] = [
        *(simulate_traffic, simulate_clients, simulate_jobs),
        *(measure_traffic, measure_clients, measure_jobs),
    ]
    named = {
        name
        for door in doors
        for name, one in inspect.signature(door).parameters.items()
        if one.kind is one.KEYWORD_ONLY
    }
    assert named == OF_A_RUN
