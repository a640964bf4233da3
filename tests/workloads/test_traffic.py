"""Stories of traffic: what they are, and one line for everything that they are not."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iosim import traffic

HUGE = 10**30


def test_the_stories_by_name() -> None:
    assert traffic.one(after_ms=20, size=7).messages == (traffic.Message(20_000_000, 7),)
    assert [m.at_ns for m in traffic.several(3, every_ms=5).messages] == [
        5_000_000, 10_000_000, 15_000_000,
    ]  # fmt: skip
    assert {m.at_ns for m in traffic.burst(4, after_ms=2).messages} == {2_000_000}
    assert traffic.several(4, connections=2).connections == 2
    assert [m.connection for m in traffic.burst(4, connections=2).messages] == [0, 1, 0, 1]
    assert [m.at_ns for m in traffic.replay([(9, 1), (3, 2)]).messages] == [3, 9]
    assert traffic.one().over("tcp").transport == "tcp"
    assert [m.kind for m in traffic.one().then("eof").messages] == ["data", "eof"]
    assert traffic.burst(3, size=5, connections=2).nbytes(0) == 10


@given(st.integers(0, 2**63 - 1), st.integers(1, 50), st.integers(1, 4))
def test_the_same_seed_gives_the_same_story(seed: int, count: int, connections: int) -> None:
    first, second = (traffic.poisson(count, seed=seed, connections=connections) for _ in range(2))
    assert first == second
    assert len(first.messages) == count


def test_the_gaps_of_poisson_have_the_mean_that_was_asked_for() -> None:
    story = traffic.poisson(10_000, rate_per_s=50, seed=1)
    assert 0.97 < story.messages[-1].at_ns / (10_000 * 20e6) < 1.03


def test_every_byte_tells_its_message() -> None:
    assert traffic.Message(0, 3).payload(252) == b"\x01\x01\x01"


BAD_TRAFFIC = [
    (lambda: traffic.one(after_ms=-1), ValueError, "time must be from 0 to 3,600,000.0 ms, got -1"),
    (lambda: traffic.one(after_ms=math.nan), ValueError, "time must be from 0 to 3,600,000.0 ms"),
    (lambda: traffic.one(after_ms=math.inf), ValueError, "time must be from 0 to"),
    (lambda: traffic.one(after_ms="20"), TypeError, "time must be a number of ms, got '20'"),
    (lambda: traffic.one(after_ms=True), TypeError, "time must be a number of ms, got True"),
    (lambda: traffic.one(size=0), ValueError, "size must be from 1 to 67,108,864 bytes, got 0"),
    (lambda: traffic.one(size=-5), ValueError, "size must be from 1 to 67,108,864 bytes, got -5"),
    (lambda: traffic.one(size=1.5), TypeError, "size must be a whole number of bytes, got 1.5"),
    (lambda: traffic.one(size=HUGE), ValueError, "size must be from 1 to 67,108,864 bytes, got"),
    (lambda: traffic.one(size=65_508), ValueError, "size of a datagram must be from 1 to 65,507"),
    (lambda: traffic.several(0), ValueError, "count must be from 1 to 10,000,000 messages, got 0"),
    (lambda: traffic.several(2.0), TypeError, "count must be a whole number of messages"),
    (lambda: traffic.burst(2, connections=0), ValueError, "connections must be from 1 to"),
    (lambda: traffic.poisson(2, 0, seed=1), ValueError, "rate_per_s must be from 0.001 to"),
    (lambda: traffic.poisson(2, seed=-1), ValueError, "seed must be from 0 to"),
    (lambda: traffic.one(transport="ip"), ValueError, "transport must be udp or tcp, got 'ip'"),
    (lambda: traffic.Traffic(()), ValueError, "messages must be from 1 to 10,000,000 messages"),
    (lambda: traffic.replay([(-1, 1)]), ValueError, "at_ns must be from 0 to"),
    (lambda: traffic.one().then("fin"), ValueError, "kind must be one of data, eof, reset"),
    (
        lambda: traffic.Traffic(traffic.one().then("eof").messages, "udp"),
        ValueError,
        "a datagram socket knows no eof: use transport='tcp'",
    ),
    (
        lambda: traffic.Traffic((traffic.Message(2, 1), traffic.Message(1, 1))),
        ValueError,
        "messages must stand in the order of their time",
    ),
    (
        lambda: traffic.one(after_ms=2).then("eof").then("reset"),
        ValueError,
        "nothing comes after the eof of connection 0, got reset at 4 ms",
    ),
    (
        lambda: traffic.Traffic(
            (traffic.Message(1, 0, 1, "reset"), traffic.Message(2_000_000, 1, 1)), "tcp"
        ),
        ValueError,
        "nothing comes after the reset of connection 1, got data at 2 ms",
    ),
]


@pytest.mark.parametrize(("make", "error", "line"), BAD_TRAFFIC)
def test_bad_traffic_gets_one_line(make: Any, error: type, line: str) -> None:
    with pytest.raises(error) as caught:
        make()
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
