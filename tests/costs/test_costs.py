"""Costs: what they are, and one line for everything that they are not."""

from __future__ import annotations

import math

import pytest

from iosim import Costs

HUGE = 10**30


@pytest.mark.parametrize("name", Costs.names())
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, HUGE])
def test_bad_costs_get_one_line(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"Costs: {name} must be from [01] to "):
        Costs(**{name: value})


def test_costs_of_the_wrong_type() -> None:
    with pytest.raises(TypeError, match="Costs: wakeup must be a number of ns, got '1'"):
        Costs(wakeup="1")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Costs: machine must be text, got 5"):
        Costs(machine=5)  # type: ignore[arg-type]


def test_the_copy_is_a_line() -> None:
    price = Costs(copy_base=100, copy_per_byte=0.5)
    assert [price.copy(n) for n in (0, 1_000, 2_000)] == [100, 600, 1_100]
    assert Costs.textbook() == Costs()
    assert Costs.typical().copy(1_000) < Costs.textbook().copy(1_000)


def test_a_stream_has_prices_of_its_own_or_those_of_a_datagram() -> None:
    like = Costs(copy_base=100)
    own = Costs(copy_base=100, stream=Costs(copy_base=7))
    assert like.over("tcp") is like.over("udp") is like
    assert own.over("udp").copy_base == 100
    assert own.over("tcp").copy_base == 7
    with pytest.raises(TypeError, match="Costs: stream must be Costs or None, got 5"):
        Costs(stream=5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Costs: server must be Costs or None, got 5"):
        Costs(server=5)  # type: ignore[arg-type]


def test_a_server_has_prices_of_its_own_or_those_of_a_stream() -> None:
    stream, served = Costs(copy_base=7), Costs(copy_base=5)
    assert Costs(stream=stream, server=served).of_server() is served
    assert Costs(stream=stream, server=served).over("tcp") is stream
    assert Costs(stream=stream).of_server() is stream
    assert Costs.textbook().of_server() == Costs.textbook()


def test_a_message_is_on_its_way_by_segments() -> None:
    price = Costs(network=1_000, network_per_byte=0.5)
    assert [price.transit(n) for n in (1, 100, 65_536, 4 << 20)] == [1_000, 1_050, 33_768, 33_768]


def test_costs_survive_json() -> None:
    price = Costs(machine="Linux 6.1, 2 cores", copy_per_byte=0.25, stream=Costs(network=3),
                  server=Costs(send=4))  # fmt: skip
    assert Costs.from_json(price.to_json()) == price
    for text in ('{"wakeup": 1, "colour": 2}', "[1]"):
        with pytest.raises(ValueError, match="Costs: not the JSON of costs: "):
            Costs.from_json(text)
