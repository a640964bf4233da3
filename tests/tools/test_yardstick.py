"""The yardstick of the echo servers, `benchmarks/servers.py`: does it see what it should?

A simulated run stands for the measured one, so that a fault can be planted in it.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from paths import ROOT

from iosim import Costs, predict, servers
from iosim.calls import SIZE, Program, accept, close, getpid, recvfrom, send

PATH = ROOT / "benchmarks" / "servers.py"
COSTS = replace(Costs.typical(), cold_user=60_000, cold_code=40_000, eagain=5_000)
DEAR = replace(COSTS, user=100_000)


@pytest.fixture(scope="module")
def yardstick() -> Any:
    spec = importlib.util.spec_from_file_location("servers_benchmark", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def row(yardstick: Any, patch: pytest.MonkeyPatch, name: str, costs: Costs = COSTS) -> Any:
    """`name` at 4 connections; measured is what it costs at `costs`."""
    patch.setattr(yardstick, "measure", partial(predict, costs=costs))
    return yardstick.row_of(name, 4, 12, 5, COSTS)


@pytest.mark.parametrize("name", servers.SERVERS)
def test_a_true_prediction_is_found_true(
    name: str, yardstick: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = row(yardstick, monkeypatch, name)
    assert found.exact
    assert found.close
    assert found.ratio == 1
    assert found.calls_measured["send" if name != "proactor" else "io_uring_submit_and_wait"] >= 1


def test_the_calls_of_each_message_are_those_of_the_text(
    yardstick: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = {name: row(yardstick, monkeypatch, name).calls_predicted for name in servers.SERVERS}
    assert calls["thread_per_connection"] == {"recvfrom": 1, "send": 1}
    assert calls["reactor_epoll_et"] == {"epoll_wait": 1, "recvfrom": 2, "send": 1}
    assert calls["proactor"] == {"io_uring_submit_and_wait": 2}
    assert calls["nonblocking_sweep"] == {"accept": 1, "recvfrom": 4, "send": 1, "sleep": 1}
    # eleven messages, of which three began with another client's end
    ends = {"accept": 3 / 11, "close": 3 / 11, "recvfrom": 14 / 11, "send": 1}
    assert calls["iterative"] == ends


def test_dearer_code_is_seen(yardstick: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = row(yardstick, monkeypatch, "reactor_poll", DEAR)
    assert found.exact
    assert not found.close
    assert found.ratio > 1.4


def test_one_call_more_is_seen(yardstick: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def gossiping(listener: int, clients: int) -> Program:
        for _ in range(clients):
            conn = yield accept(listener)
            while data := (yield recvfrom(conn, SIZE)):
                yield send(conn, data)
                yield getpid()
            yield close(conn)

    def measured(program: Any, story: Any, **options: Any) -> Any:
        return predict(gossiping, story, costs=COSTS, **options)

    monkeypatch.setattr(yardstick, "measure", measured)
    found = yardstick.row_of("iterative", 4, 12, 5, COSTS)
    assert not found.exact
    assert found.calls_measured.keys() - found.calls_predicted.keys() == {"getpid"}


def test_a_machine_that_has_slowed_down_is_no_error(
    yardstick: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything twice as dear as when the costs were measured: so is the fixed little server."""
    paces, dear = [], {name: 2 * getattr(COSTS, name) for name in Costs.names()}
    for costs in (COSTS, replace(COSTS, **dear)):
        monkeypatch.setattr(yardstick, "measure", partial(predict, costs=costs))
        paces.append(yardstick.pace())
    found = yardstick.row_of("reactor_epoll", 4, 12, 5, COSTS)
    assert not found.close
    assert yardstick.at_pace(found, paces[1] / paces[0]).ratio == pytest.approx(1, abs=0.1)


def test_a_wrong_order_is_named(yardstick: Any) -> None:
    """Pairs that the prediction does not tell apart do not count."""
    rows = [
        yardstick.Row(name, 1, {}, {}, predicted, measured)
        for name, predicted, measured in (("a", 100, 100), ("b", 130, 90), ("c", 200, 95))
    ]
    assert yardstick.order(rows) == (["a > c"], 2)
    assert [line for line in yardstick.table(rows) if line.startswith("order")] == [
        "order at 1: 1 of 2 pairs as predicted; measured otherwise: a > c"
    ]


def test_the_middle_of_several_times_counts_but_no_time_with_other_calls_is_hidden(
    yardstick: Any,
) -> None:
    times = [yardstick.Row("a", 1, {"send": 1}, {"send": 1}, 100, cpu) for cpu in (90, 300, 120)]
    assert yardstick.middle(times) == times[2]
    times[1] = replace(times[1], calls_measured={"send": 2})
    found = yardstick.middle(times)
    assert (found.ratio, found.exact) == (1.2, False)
