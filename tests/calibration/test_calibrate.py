"""Calibration in a closed loop: measured on a kernel whose costs are known, it must find them.

The simulated kernel stands for the real one, so that this holds to the ns and on every machine; one
test runs it on the real kernel.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from iosim import Costs, Timeline, Unsupported, inconclusive, simulate
from iosim.__main__ import main
from iosim.calibration import calibrate as calibrating
from iosim.calibration import experiments as module
from iosim.calibration import readings
from iosim.calibration.calibrate import calibrate
from iosim.calibration.experiments import EXPERIMENTS, LOOK
from iosim.calibration.steps import Calibration
from iosim.trace import Disturbance
from iosim.workloads.traffic import burst

KNOWN = Costs(
    syscall=1_000, user=2_000, network=25_000, copy_base=20_000, copy_per_byte=0.25, wakeup=5_000,
    context_switch=35_000, signal_delivery=90_000, select_per_fd=0, poll_per_fd=0,
    epoll_per_ready=0, timer_slack=50_000, network_per_byte=0.5, eagain=7_000, step=12_000,
    start=60_000, first_call=30_000, cold_call=25_000, cold_receive=15_000, cold_user=80_000,
    cold_code=42_000, submission=40_000, completion=11_000, accept=24_000, send=36_000,
    clone=48_000, user_per_fd=250, queue_per_fd=130,
)  # fmt: skip
STREAM = replace(
    KNOWN, network=31_000, copy_base=17_000, copy_per_byte=0.125, wakeup=4_000,
    context_switch=45_000, signal_delivery=70_000, cold_call=21_000, cold_receive=9_000,
    cold_user=95_000, cold_code=53_000, user_per_byte=0.5, network_per_byte=0.25, segment=20_000,
)  # fmt: skip
SERVED = replace(
    STREAM, cold_call=44_000, cold_user=50_000, cold_code=38_000, cold_receive=6_000,
    copy_base=12_000, eagain=3_000, step=7_000, submission=19_000, select_per_fd=115,
    poll_per_fd=105,
)  # fmt: skip

#: Not found through programs: a scan is timed by itself, a slice asked for; a completion is seen at
#: a look, so that it is known only to the time between two looks.
APART = {"select_per_fd", "poll_per_fd", "epoll_per_ready", "time_slice", "completion"}
MOVED_BY_TCP = {
    "network", "copy_base", "copy_per_byte", "wakeup", "context_switch", "signal_delivery",
    "cold_call", "cold_receive", "cold_user", "cold_code", "user_per_byte", "network_per_byte",
    "segment",
}  # fmt: skip
MOVED_BY_SERVING = {
    "cold_call", "cold_receive", "cold_user", "cold_code", "copy_base", "eagain", "step",
    "submission", "select_per_fd", "poll_per_fd",
}  # fmt: skip


def calibrated_on(costs: Costs, monkeypatch: pytest.MonkeyPatch) -> Calibration:
    monkeypatch.setattr(readings, "measure", partial(simulate, costs=costs))
    return calibrate()


@pytest.fixture(scope="module")
def found() -> Calibration:
    with pytest.MonkeyPatch.context() as patch:
        return calibrated_on(replace(KNOWN, stream=STREAM, server=SERVED), patch)


@pytest.mark.parametrize("name", [name for name in Costs.names() if name not in APART])
def test_every_cost_is_found(found: Calibration, name: str) -> None:
    assert getattr(found.costs, name) == pytest.approx(getattr(KNOWN, name), rel=0.01, abs=2)
    assert found.costs.stream is not None
    over_tcp = getattr(found.costs.stream, name)
    assert over_tcp == pytest.approx(getattr(STREAM, name), rel=0.01, abs=2)
    assert (getattr(KNOWN, name) != getattr(STREAM, name)) == (name in MOVED_BY_TCP)


@pytest.mark.parametrize(
    "name", [name for name in Costs.names() if name not in APART or name in MOVED_BY_SERVING]
)
def test_every_cost_of_a_server_is_found(found: Calibration, name: str) -> None:
    assert found.costs.server is not None
    served = getattr(found.costs.server, name)
    assert served == pytest.approx(getattr(SERVED, name), rel=0.001, abs=2)
    assert (getattr(SERVED, name) != getattr(STREAM, name)) == (name in MOVED_BY_SERVING)


def test_a_completion_is_known_to_the_time_between_two_looks(found: Calibration) -> None:
    assert abs(found.costs.completion - KNOWN.completion) <= LOOK / 2 + KNOWN.step


@pytest.mark.parametrize("name", ["wakeup", "cold_user", "eagain", "copy_per_byte", "submission"])
def test_a_cost_ten_times_as_high_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spoilt = replace(KNOWN, **{name: 10 * getattr(KNOWN, name)})
    found = calibrated_on(spoilt, monkeypatch).costs
    assert getattr(found, name) == pytest.approx(10 * getattr(KNOWN, name), rel=0.01, abs=2)


def test_a_wake_up_costs_the_median_of_its_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the sum of its medians, which would be 60 us here."""
    before_and_in_the_queue = [(5_000, 30_000), (30_000, 5_000), (30_000, 30_000)]
    real = readings.wakes

    def mixed(run: Timeline) -> Any:
        for number, wake in enumerate(real(run)):
            wakeup, queued = before_and_in_the_queue[number % 3]
            yield replace(wake, wakeup=wakeup, context_switch=queued)

    monkeypatch.setattr(readings, "wakes", mixed)
    found = calibrated_on(KNOWN, monkeypatch).costs
    assert found.wakeup + found.context_switch == pytest.approx(35_000)


def test_who_stands_in_the_run_queue_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wake-ups after which somebody else ran first are noise: only those are left out."""
    late = replace(KNOWN, context_switch=300_000)
    found = calibrated_on(late, monkeypatch)
    assert "context_switch" not in found.steps
    assert "every sample was noise" in found.missing["wake-up, switch and copy"]
    assert found.costs.context_switch == Costs.typical().context_switch


def test_one_signal_may_stand_for_several_messages() -> None:
    """UNP 25.3: while the process stands in line for a core, SIGIO is pending once at most."""
    run = simulate(module.signalled, burst(5, after_ms=5, size=64), limit_s=2)
    assert all(fate.received is not None for fate in run.deliveries)


# -- what is missing -----------------------------------------------------------------------------


def test_a_missing_feature_is_named_and_the_rest_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_rings(program: Any, story: Any, **options: Any) -> Timeline:
        if program is module.ringing:
            raise Unsupported("io_uring", "Operation not permitted")
        return simulate(program, story, costs=KNOWN, **options)

    monkeypatch.setattr(readings, "measure", without_rings)
    found = calibrate()
    why = "this system has no io_uring: Operation not permitted"
    assert found.missing["io_uring"] == why
    assert f"not measured: io_uring: {why}" in str(found)
    assert found.costs.submission == Costs.typical().submission
    assert found.costs.wakeup == KNOWN.wakeup


def test_what_needs_a_missing_step_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_entry(program: Any, story: Any, **options: Any) -> Timeline:
        if program is module.entering:
            raise OSError("no getpid today")
        return simulate(program, story, costs=KNOWN, **options)

    monkeypatch.setattr(readings, "measure", without_entry)
    assert calibrate().missing["EAGAIN"] == "it needs syscall, which was not measured"


def test_without_anything_to_measure_with(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: Any, **__: Any) -> Timeline:
        raise OSError("no sockets here")

    monkeypatch.setattr(readings, "measure", nothing)
    monkeypatch.setattr(calibrating, "EXPERIMENTS", {"entry": EXPERIMENTS["entry"]})
    with pytest.raises(Unsupported, match="no calibration: not measured: entry: no sockets here"):
        calibrate()


def test_outside_of_the_main_thread_signals_are_missing() -> None:
    complaints: list[str] = []

    def body() -> None:
        found = Calibration(Costs.typical())
        found.note("user", [2_000])
        try:
            module.EXPERIMENTS["signal"](found)
        except RuntimeError as error:
            complaints.append(str(error))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join(20)
    assert complaints == ["a program that uses signals must be measured in the main thread"]


# -- how it is shown -----------------------------------------------------------------------------


def test_progress_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readings, "measure", partial(simulate, costs=KNOWN))
    told: list[tuple[int, int, str]] = []
    calibrate(lambda done, total, what: told.append((done, total, what)))
    count = len(EXPERIMENTS)
    assert [done for done, _, _ in told] == list(range(count + 1))
    assert told[0] == (0, count, "entry")
    assert told[-1] == (count, count, "done")


def test_a_line_through_points_of_which_some_are_wild() -> None:
    found = Calibration(Costs.typical())
    points = [(x, 100 + 0.5 * x) for x in (1, 10, 1_000, 5_000, 10_000) for _ in range(5)]
    points[3] = (1, 90_000)
    points[22] = (10_000, 0)
    found.note_line("copy", points, "")
    assert found["copy_per_byte"] == pytest.approx(0.5)
    assert found["copy_base"] == pytest.approx(100)


@pytest.fixture
def simulated_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(readings, "measure", partial(simulate, costs=KNOWN))
    return


@pytest.mark.usefixtures("simulated_machine")
def test_from_a_shell(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    assert main(["calibrate", "--json", str(tmp_path / "costs.json")]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("measured on ")
    assert any(line.split()[:3] == ["wakeup", "5,000.00", "ns"] for line in out)
    costs = Costs.from_json((tmp_path / "costs.json").read_text("utf-8"))
    assert costs.wakeup == KNOWN.wakeup
    assert costs.machine


def test_from_a_shell_where_nothing_can_be_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nothing(*_: Any) -> Calibration:
        raise Unsupported("calibration", "no sockets")

    monkeypatch.setattr("iosim.calibration.calibrate.calibrate", nothing)
    assert main(["calibrate"]) == 1
    assert capsys.readouterr().err == "this system has no calibration: no sockets\n"


@pytest.mark.usefixtures("simulated_machine")
def test_costs_calibrate_prints_only_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    costs = Costs.calibrate(progress=False)
    assert costs.wakeup == KNOWN.wakeup
    out = capsys.readouterr().out.splitlines()
    assert all(line.startswith("not measured: ") for line in out)


@pytest.mark.usefixtures("simulated_machine")
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux's scheduler")
def test_what_other_work_did_meanwhile_stands_with_the_prices(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    queued = iter([0, 1_200_000_000])
    monkeypatch.setattr("iosim.machine.disturbances._in_line", lambda _: next(queued))
    costs = Costs.calibrate(progress=False)
    assert Disturbance("in line for a core", 1_200_000_000) in costs.disturbances
    again = Costs.from_json(costs.to_json())
    assert (again, again.disturbances) == (costs, costs.disturbances)
    assert costs == replace(costs, disturbances=())  # the same prices are the same costs
    monkeypatch.setenv("IOSIM_INCONCLUSIVE", str(tmp_path / "told"))
    assert inconclusive(costs, limit_ms=1_000)
    assert "in line for a core: 1,200.0 ms" in capsys.readouterr().out


# -- on the real kernel --------------------------------------------------------------------------


def test_on_this_machine() -> None:
    """Signs and orders only: what is copied costs more than nothing, cold costs more than warm."""
    found = calibrate()
    costs = found.costs
    assert costs.machine
    assert 0 < costs.syscall < costs.user + costs.cold_user
    assert costs.cold_user > costs.user
    assert found["copy_base"] > found["hot_copy_base"]
    assert min(step.count for step in found.steps.values()) >= 1
    assert Costs.from_json(costs.to_json()) == costs
