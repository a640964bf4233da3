"""Sets of what has no order of its own: the same in every run, whatever ran before.

Without that, a set goes through its things by their addresses: a pool joins its threads so, and a
loop cancels its tasks.
"""

import asyncio
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
from plain_results import result
from plain_servers import by_a_pool

from iosim import clients, simulate

THREE = clients.several(3, clients.echo(2, 100))
MANY = 12  # more than fit into the first table of a set


def scattered(make: Callable[[], Any]) -> list[Any]:
    """Things in the order of their making, at addresses in any order."""
    before = [make() for _ in range(10 * MANY)]
    random.shuffle(before)
    while before:
        del before[-1]
    return [make() for _ in range(MANY)]


class Connection:
    """Its class is made anew for a run, since it makes calls."""

    def wait(self) -> None:
        """For a moment."""
        asyncio.get_running_loop()


def in_order(things: list[Any]) -> list[int]:
    places = {id(thing): place for place, thing in enumerate(things)}
    return [places[id(thing)] for thing in set(things)]


async def of_futures() -> list[int]:
    return in_order(scattered(asyncio.get_running_loop().create_future))


def of_threads() -> list[int]:
    return in_order(scattered(threading.Thread))


def of_conditions() -> list[int]:
    return in_order(scattered(threading.Condition))


def of_ones_own() -> list[int]:
    return in_order(scattered(Connection))


async def cancelled() -> list[int]:
    """In which order does a group give up its tasks?"""
    told: list[int] = []

    async def waits(number: int) -> None:
        try:
            await asyncio.sleep(1)
        finally:
            told.append(number)

    async def fails() -> None:
        await asyncio.sleep(0.1)
        raise ValueError

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(MANY):
                group.create_task(waits(number))
            group.create_task(fails())
    except* ValueError:
        pass
    return told


@pytest.mark.parametrize("program", [of_futures, of_threads, of_conditions, of_ones_own, cancelled])
def test_a_set_has_one_order(program: Callable[..., Any]) -> None:
    assert len({tuple(result(program)) for _ in range(12)}) == 1


async def makes(count: int) -> int:
    return len({asyncio.get_running_loop().create_future() for _ in range(count)})


@pytest.mark.parametrize("count", range(9))
def test_what_ran_before_has_no_part_in_it(count: int) -> None:
    """A world that served a run serves the next."""
    run = str(simulate(by_a_pool, THREE))
    assert result(makes, count=count) == count
    assert str(simulate(by_a_pool, THREE)) == run
