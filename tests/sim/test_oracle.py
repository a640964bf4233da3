"""SimPy as an oracle: an independent model of two servers gives the same completion times."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import simpy_model

from iosim import Costs, models, simulate, traffic

COSTS = Costs(
    syscall=311, user=1_013, network=40_009, copy_base=1_301, copy_per_byte=0.13, wakeup=15_013,
    context_switch=3_011, select_per_fd=151, time_slice=10_000_000_000,
)  # fmt: skip


def _story(seed: int, rate: float, connections: int) -> traffic.Traffic:
    return traffic.poisson(60, rate, size=700, seed=seed, connections=connections)


def _received(run: object) -> list[int | None]:
    return [delivery.received for delivery in run.deliveries]  # type: ignore[attr-defined]


@given(
    seed=st.integers(0, 10_000),
    rate=st.sampled_from([100, 10_000, 50_000]),
    connections=st.integers(1, 6),
    cores=st.integers(1, 2),
)
def test_blocking_servers_complete_when_simpy_says(
    seed: int, rate: float, connections: int, cores: int
) -> None:
    story = _story(seed, rate, connections)
    ours = simulate(models.blocking, story, costs=COSTS, cores=cores)
    assert _received(ours) == simpy_model.blocking(story, COSTS, cores).run()


@given(
    seed=st.integers(0, 10_000),
    rate=st.sampled_from([100, 10_000, 50_000]),
    connections=st.integers(1, 6),
)
def test_the_select_server_completes_when_simpy_says(
    seed: int, rate: float, connections: int
) -> None:
    story = _story(seed, rate, connections)
    ours = simulate(models.multiplexing, story, costs=COSTS)
    assert _received(ours) == simpy_model.select(story, COSTS).run()


def test_the_oracle_sees_a_wrong_cost() -> None:
    """The comparison can fail: one ns more on a wake-up moves the completions."""
    story = _story(1, 100, 2)
    wrong = replace(COSTS, wakeup=COSTS.wakeup + 1)
    assert _received(simulate(models.blocking, story, costs=wrong)) != pytest.approx(
        simpy_model.blocking(story, COSTS).run(), abs=0
    )
