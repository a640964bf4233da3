"""The calls of a pool: simulated to the byte, and one contract for both kernels.

Real runs assert order, counts, states and who did what; never a duration.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from time import perf_counter_ns as clock
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from two_kernels import linux

from iosim import Costs, Timeline, draw, futures, jobs, measure, models, pools, simulate, traffic
from iosim.calls import Program, compute, getpid, ms, recvfrom, sleep
from iosim.kernels.pools import FLAVOURS
from iosim.real import pool_adapters, worker_tasks
from iosim.real.measured import within_cores
from iosim.real.pool_adapters import OpenPool
from iosim.real.pool_futures import Futures
from iosim.real.proc_sampler import watching
from iosim.real.worker_tasks import nap, total
from iosim.trace import FOUR_CORNERS, GIL, READY, SLEEPING, USER, Broken, Corner, Interval
from iosim.workloads.job_gate import Gate, asleep, held, once_asleep

each_pool = pytest.mark.parametrize("pool", list(FLAVOURS))
METHODS = multiprocessing.get_all_start_methods()

PROGRAMS = [getattr(pools, name) for name in pools.__all__]
COMPUTES = jobs.several(3, jobs.computing(10))
MIXED = jobs.of(jobs.computing(10), jobs.waiting(10), jobs.computing(5) + jobs.waiting(5))
OF_CALLS = [name for name in FOUR_CORNERS if hasattr(pools, name)]


def _simulate(program: Any, story: jobs.Jobs, **options: Any) -> Timeline:
    return simulate(program, story, costs=Costs.typical(), **options)


def _measure(program: Any, story: jobs.Jobs, **options: Any) -> Timeline:
    return measure(program, story, **{"limit_s": 60.0, **options})


KERNELS = [
    pytest.param(_simulate, id="simulated"),
    pytest.param(_measure, id="real", marks=linux),
]
each_kernel = pytest.mark.parametrize("run", KERNELS)


def answers(
    program: Callable[..., Program], into: list[Any], then: Callable[[], None] = lambda: None
) -> Callable[..., Program]:
    """The same program, whose return value lands in `into`; `then` is called at its end."""

    def kept(jobs: Any, **options: Any) -> Program:
        into.append((yield from program(jobs, **options)))
        then()

    return kept


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Real jobs that wait do so until it opens, however short or long that is.

    In threads and in forked workers, which have this process's functions.
    """

    def wait(ns: int, rows: worker_tasks.Rows, stopped: Any = None) -> None:
        began = clock()
        held(gate.port)
        rows.append((SLEEPING, began, clock(), ""))

    monkeypatch.setattr(worker_tasks, "_wait", wait)
    with Gate() as gate:
        yield gate


def opening(program: Callable[..., Program], gate: Gate) -> Callable[..., Program]:
    """The same program, whose jobs are let go once the caller sleeps."""

    def opened(jobs: Any, **options: Any) -> Program:
        thread = once_asleep(gate.open)
        try:
            return (yield from program(jobs, **options))
        finally:
            thread.join()

    return opened


# -- nothing is left ---------------------------------------------------------------------------


def children() -> set[int]:
    """Our child processes, but for the two that multiprocessing keeps for itself."""
    own = {forkserver._forkserver._forkserver_pid, resource_tracker._resource_tracker._pid}
    pids = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {int(pid) for pid in pids} - own


def traces() -> tuple[Any, ...]:
    """What a run could leave behind in this process."""
    gc.collect()
    return (
        threading.active_count(), multiprocessing.active_children(), children(),
        len(os.listdir("/proc/self/fd")), sys.getswitchinterval(), gc.isenabled(),
    )  # fmt: skip


@pytest.fixture
def _nothing_left() -> Iterator[None]:
    resource_tracker.ensure_running()  # so that starting them is not taken for a leak
    forkserver.ensure_running()
    before = traces()
    yield
    assert traces() == before


clean = pytest.mark.usefixtures("_nothing_left") if sys.platform == "linux" else linux


@clean
def test_the_traces_see_what_is_left() -> None:
    """Planted: a thread, a process and a descriptor."""
    before = traces()
    with subprocess.Popen(["sleep", "60"]) as child, open(os.devnull):
        over = threading.Event()
        thread = threading.Thread(target=over.wait)
        thread.start()
        seen = traces()
        child.kill()
        over.set()
        thread.join()
    assert [now == then for now, then in zip(seen, before, strict=True)][:4] == [
        False, True, False, False,
    ]  # fmt: skip


# -- simulated: to the byte, and its invariants ------------------------------------------------

steps = st.lists(
    st.tuples(st.sampled_from(["compute", "wait"]), st.integers(1, ms(12))), min_size=1, max_size=3
)
stories = st.lists(st.builds(lambda s: jobs.Job(tuple(s)), steps), min_size=1, max_size=5).map(
    lambda many: jobs.Jobs(tuple(many))
)
setups = st.fixed_dictionaries(
    {
        "pool": st.sampled_from(list(FLAVOURS)),
        "workers": st.integers(1, 4),
        "cores": st.integers(1, 4),
        "gil": st.booleans(),
        "costs": st.sampled_from([Costs.textbook(), Costs.typical()]),
    }
)


@given(st.sampled_from(PROGRAMS), stories, setups)
def test_every_run_keeps_the_invariants_and_is_the_same_again(
    program: Any, story: jobs.Jobs, setup: dict[str, Any]
) -> None:
    values: list[Any] = []
    run = simulate(answers(program, values), story, **setup).check()
    again = simulate(answers(program, []), story, **setup)
    assert run.to_json() == again.to_json()
    assert Timeline.from_json(run.to_json()) == run
    if program is not pools.give_up:
        assert sorted(values[0]) == list(range(1, len(story) + 1))
        assert all(o.received is not None for o in run.outcomes)
        assert sum(computed(run)) == sum(job.ns("compute") for job in story.jobs)
    if setup["gil"]:
        assert overlaps(run, setup["pool"]) == 0


def overlaps(run: Timeline, pool: str) -> int:
    """ns in which two threads of the caller's process run their own code."""
    here = ["caller", FLAVOURS[pool].collector]
    here += [] if FLAVOURS[pool].processes else [n for n in run.helpers if n.startswith("worker")]
    spans = sorted((i.start, i.end) for i in run.intervals if i.state == USER and i.lane in here)
    return sum(max(0, before[1] - after[0]) for before, after in pairwise(spans))


def computed(run: Timeline) -> Iterator[int]:
    """ns of the jobs' own code."""
    for i in run.intervals:
        if i.state == USER and i.call and (i.call.name == "call" or "job" in i.call.name):
            yield i.duration


def test_without_the_lock_threads_compute_side_by_side() -> None:
    with_lock, without = (
        simulate(pools.submit, COMPUTES, pool="ThreadPoolExecutor", workers=3, cores=4, gil=gil)
        for gil in (True, False)
    )
    assert overlaps(with_lock, "ThreadPoolExecutor") == 0 < overlaps(without, "ThreadPoolExecutor")
    assert with_lock.end > ms(30) > without.end


def test_who_waits_for_io_lets_go_of_the_lock() -> None:
    waits = jobs.several(20, jobs.waiting(30))
    run = simulate(pools.notification, waits, pool="ThreadPoolExecutor", workers=20, cores=1,
                   costs=Costs.typical())  # fmt: skip
    assert run.end < 2 * ms(30) < 20 * ms(30)


@pytest.mark.parametrize("interval", [1, 5, 20])
def test_the_lock_changes_hands_after_the_switch_interval(interval: int) -> None:
    run = simulate(pools.submit, jobs.several(2, jobs.computing(60)), pool="ThreadPoolExecutor",
                   costs=Costs.typical(), switch_interval=ms(interval))  # fmt: skip
    waits = [i.duration for i in run.intervals if i.note == GIL]
    assert min(waits) < ms(interval) * 1.2
    assert ms(interval) <= sorted(waits)[len(waits) // 2] < 1.2 * ms(interval)


def test_the_lock_is_given_up_between_two_calls_as_well() -> None:
    """The request for it mostly comes while its holder is in the kernel."""

    def busy(jobs: Any) -> Program:
        yield futures.submit(jobs[0])
        for _ in range(100):
            yield getpid()

    run = simulate(busy, jobs.of(jobs.computing(20)), pool="ThreadPoolExecutor", workers=1)
    waits = [i.duration for i in run.lane("worker 1") if i.note == GIL]
    assert len(waits) > 2
    assert max(waits) < ms(7)


def test_processes_share_cores_and_no_lock() -> None:
    one, two = (simulate(pools.submit, COMPUTES, workers=3, cores=cores) for cores in (1, 4))
    assert one.end > ms(30) > two.end
    assert any(i.state == READY and i.lane.startswith("worker") for i in one.intervals)
    assert not [i for i in one.intervals if i.lane.startswith("worker") and i.note == GIL]


def test_a_pool_runs_the_callback_before_it_tells_and_an_executor_after() -> None:
    first = {}
    for pool in FLAVOURS:
        run = simulate(answers(slow_callback, []), jobs.of(jobs.computing(5)), pool=pool)
        callback = next(c for c in run.call_log if c.name == "callback")
        returned = next(c for c in run.call_log if c.name == "result")
        first[pool] = returned.end > callback.end
    assert first == {"Pool": True, "ProcessPoolExecutor": False, "ThreadPoolExecutor": False}


def slow_callback(jobs: Any) -> Program:
    def slow(value: Any) -> Program:
        yield compute(ms(20))

    future = yield futures.submit(jobs[0], slow)
    yield futures.result(future)
    yield sleep(ms(40))


# -- the contract: both kernels ----------------------------------------------------------------


@linux
@clean
@each_pool
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_the_same_calls_and_the_same_values_on_both_kernels(
    program: Any, pool: str, gate: Gate
) -> None:
    predicted, measured = [], []
    story, late = MIXED, program is pools.give_up
    if late:  # the jobs end when it has given up
        story = jobs.several(3, jobs.waiting(120))
    else:
        gate.open()
    runs = [
        run(answers(program, into, gate.open), story, pool=pool, start_method="fork").check()
        for run, into in ((_measure, measured), (_simulate, predicted))
    ][::-1]
    assert sorted(map(str, predicted[0])) == sorted(map(str, measured[0]))
    assert looked_through(runs[0]) == looked_through(runs[1])
    assert runs[0].processes == runs[1].processes == ("caller",)
    assert runs[0].helpers == runs[1].helpers
    assert [o.told for o in runs[0].outcomes] == [o.told for o in runs[1].outcomes]
    for run in runs:
        workers = {o.worker for o in run.outcomes} - {None}
        assert bool(workers) == (program is not pools.direct)
        assert workers <= set(run.helpers)


def looked_through(run: Timeline) -> list[tuple[str, int | None]]:
    """The caller's calls but for the sleeps between two looks, whose number is a matter of time."""
    return [call for call in run.calls("caller") if call[0] != "sleep"]


@each_kernel
@each_pool
@pytest.mark.parametrize("name", OF_CALLS)
def test_every_call_stands_in_its_corner(run: Any, pool: str, name: str, gate: Gate) -> None:
    names, corner = FOUR_CORNERS[name]
    program, story = getattr(pools, name), COMPUTES
    if run is _measure and name != "direct":  # a worker goes on when its caller is where it sleeps
        program, story = opening(program, gate), jobs.several(3, jobs.waiting(10))
    assert run(program, story, pool=pool, start_method="fork").corner(*names) == corner


@pytest.mark.parametrize("run", [simulate, pytest.param(measure, marks=linux)])
@pytest.mark.parametrize("program", models.FIVE, ids=lambda p: p.__name__)
def test_so_do_the_five_models(run: Any, program: Any) -> None:
    """select is synchronous, as POSIX has it: the operation is done within the next call."""
    names, corner = FOUR_CORNERS[program.__name__]
    assert run(program, traffic.one(60)).corner(*names) == corner


def test_each_corner_has_somebody_in_it() -> None:
    assert len({corner for _, corner in FOUR_CORNERS.values()}) == 4


@each_kernel
def test_to_wait_oneself_is_synchronous_and_blocking(run: Any) -> None:
    mine = run(pools.direct, jobs.of(jobs.waiting(30)))
    assert mine.corner("call") == Corner("synchronous", "blocking")
    assert mine.time_in(SLEEPING) >= ms(25)


@each_kernel
@each_pool
def test_apply_sleeps_while_a_worker_computes(run: Any, pool: str, gate: Gate) -> None:
    """C17: the caller of apply is asleep; it is the worker that runs."""
    story = jobs.of(jobs.waiting(1) + jobs.computing(60))  # it computes when the caller sleeps
    done = run(opening(pools.apply, gate), story, pool=pool, start_method="fork").check()
    [outcome] = done.outcomes
    ran, stood = (done.time_in(state, outcome.worker) for state in (USER, READY))
    assert ran + stood >= ms(55)  # it ran, or others had the cores
    assert done.blocked("wait") >= 0.9 * (ran + stood)
    mine = run(pools.direct, jobs.of(jobs.computing(60)), pool=pool).check()
    assert mine.blocked("wait") == 0
    assert mine.time_in(USER) + mine.time_in(READY) >= ms(55)


@linux
@clean
@each_pool
def test_what_proc_says_agrees_with_the_lanes(pool: str, gate: Gate) -> None:
    """From when the worker computes, at which its caller sleeps, to the end of that."""
    story = jobs.of(jobs.waiting(1) + jobs.computing(200))
    run = _measure(opening(pools.apply, gate), story, pool=pool, start_method="fork")
    [outcome] = run.outcomes
    computes = [i for i in run.lane(outcome.worker) if i.call and i.state == USER]
    seen = {
        name: [e.state for e in run.evidence
               if e.process == name and computes[0].start < e.at < computes[-1].end]
        for name in ("caller", outcome.worker)
    }  # fmt: skip
    assert min(map(len, seen.values())) > 10
    assert seen["caller"].count("S") > 0.8 * len(seen["caller"])
    assert seen[outcome.worker].count("R") > 0.8 * len(seen[outcome.worker])


@each_kernel
@each_pool
def test_a_callback_runs_in_the_thread_that_learns_of_the_result(
    run: Any, pool: str, gate: Gate
) -> None:
    """C10."""
    values: list[Any] = []

    def early(jobs: Any) -> Program:
        def told(value: Any) -> Program:
            values.append(value)
            yield compute(ms(0.1))

        yield futures.submit(jobs[0], told)
        gate.open()
        while not values:
            yield sleep(ms(1))

    told = run(early, jobs.of(jobs.waiting(20)), pool=pool, start_method="fork").check()
    assert told.outcomes[0].told == "callback"
    [callback] = [c for c in told.call_log if c.name == "callback"]
    assert callback.process == (FLAVOURS[pool].collector or told.outcomes[0].worker)


@linux
@clean
@each_pool
@pytest.mark.parametrize("program", [pools.status, pools.notification, pools.submit])
def test_what_is_heard_late_is_told_all_the_same(
    program: Any, pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program has its result, and ends, before the library's thread tells us of it."""
    settled = Futures._settled

    def slow(self: Any, *given: Any) -> None:
        time.sleep(0.1)
        settled(self, *given)

    monkeypatch.setattr(Futures, "_settled", slow)
    run = _measure(program, jobs.of(jobs.computing(5)), pool=pool).check()
    [fate] = run.outcomes
    assert fate.worker in run.helpers
    assert fate.begun is not None
    assert fate.done is not None
    assert fate.received is not None
    assert fate.asked <= fate.begun <= fate.done <= fate.received


@linux
@clean
@each_pool
def test_a_callback_counts_from_its_first_line_on(
    pool: str,
) -> None:
    """The library's thread is slow: the program knows its value, and ends, meanwhile."""
    run = _measure(pools.callback, jobs.of(jobs.computing(5)), pool=pool,
                   then=lambda value: time.sleep(0.1)).check()  # fmt: skip
    [callback] = [c for c in run.call_log if c.name == "callback"]
    assert callback.process in run.helpers
    assert callback.start < callback.end <= run.end


@linux
@clean
@each_pool
def test_a_callback_that_fails_after_the_program_s_end_fails_the_run(pool: str) -> None:
    def fail(value: Any) -> None:
        time.sleep(0.1)
        raise ZeroDivisionError("in a callback")

    with pytest.raises(ZeroDivisionError, match="in a callback"):
        _measure(pools.callback, jobs.of(jobs.computing(5)), pool=pool, then=fail)


@linux
@clean
def test_a_callback_that_is_added_while_those_before_it_run_is_run_too() -> None:
    """A Pool's job is done when its callbacks have ended: one more comes too late for them."""
    begun, added = threading.Event(), threading.Event()
    values: list[Any] = []

    def adds(jobs: Any) -> Program:
        def first(value: Any) -> Program:
            begun.set()
            assert added.wait(60)
            yield compute(1_000)

        def second(value: Any) -> Program:
            values.append(value)
            yield compute(1_000)

        future = yield futures.submit(jobs[0], first)
        begun.wait(60)
        threading.Timer(0.1, added.set).start()  # the value is there when the first has ended
        yield futures.add_done_callback(future, second)

    _measure(adds, jobs.of(jobs.computing(5)), pool="Pool").check()
    assert values == [1]


@linux
@clean
@each_pool
def test_who_adds_the_callbacks_slowly_still_knows_who_collects(
    pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = pool_adapters._Executor.add

    def slow(self: Any, *given: Any) -> bool:
        time.sleep(0.1)
        return add(self, *given)

    monkeypatch.setattr(pool_adapters._Executor, "add", slow)
    crew = OpenPool(pool, 1, None)
    try:
        assert crew.collector != threading.get_native_id()
        assert bool(crew.collector) == bool(FLAVOURS[pool].collector)
    finally:
        crew.close(at_once=False)


@each_kernel
@each_pool
def test_a_callback_that_comes_late_runs_in_the_caller(run: Any, pool: str) -> None:
    late = run(added_late, jobs.of(jobs.waiting(10)), pool=pool).check()
    assert [c.name for c in late.call_log if c.name == "callback"] == []
    [adding] = [c for c in late.call_log if c.name == "add_done_callback"]
    assert adding.end - adding.start >= ms(20)


@each_kernel
@each_pool
def test_a_callback_may_be_added_before_the_job_is_done(run: Any, pool: str, gate: Gate) -> None:
    values: list[Any] = []

    def added_early(jobs: Any) -> Program:
        def told(value: Any) -> Program:
            values.append(value)
            yield compute(ms(1))

        future = yield futures.submit(jobs[0], told)
        yield futures.add_done_callback(future, told)
        gate.open()
        while len(values) < 2:
            yield sleep(ms(1))
        assert (yield futures.result(future)) == 1

    early = run(added_early, jobs.of(jobs.waiting(200)), pool=pool, start_method="fork").check()
    assert values == [1, 1]
    callbacks = [c.process for c in early.call_log if c.name == "callback"]
    assert callbacks == [FLAVOURS[pool].collector or early.outcomes[0].worker] * 2


@each_kernel
@each_pool
def test_a_callback_may_sleep(run: Any, pool: str, gate: Gate) -> None:
    awake: list[Any] = []

    def naps(jobs: Any) -> Program:
        def told(value: Any) -> Program:
            yield compute(ms(1))
            yield sleep(ms(30))
            yield compute(ms(1))
            awake.append(value)

        future = yield futures.submit(jobs[0], told)
        gate.open()
        yield futures.wait([future])
        while not awake:
            yield sleep(ms(5))
        yield futures.add_done_callback(future, told)
        yield sleep(ms(5))

    napped = run(naps, jobs.of(jobs.waiting(5)), pool=pool, start_method="fork").check()
    [callback] = [c for c in napped.call_log if c.name == "callback"]
    [adding] = [c for c in napped.call_log if c.name == "add_done_callback"]
    for call in (callback, adding):
        assert ms(32) <= call.end - call.start
        within = [i for i in napped.lane(call.process) if i.call == call]
        assert any(i.state == SLEEPING and i.duration for i in within)
    assert callback.end <= adding.start < adding.end < napped.end


def test_who_waits_for_several_is_woken_by_the_last() -> None:
    three = jobs.of(jobs.waiting(10), jobs.waiting(50), jobs.waiting(30))
    run = simulate(pools.notification, three, workers=3, cores=4)
    assert run.switches()[0] == 1


@each_kernel
def test_both_take_the_same_options(run: Any) -> None:
    how = {"pool": "ThreadPoolExecutor", "workers": 3, "cores": 2, "gil": True,
           "start_method": "spawn", "switch_interval": ms(1), "limit_s": 60.0}  # fmt: skip
    before = sys.getswitchinterval()
    assert run(pools.submit, COMPUTES, **how).helpers == ("worker 1", "worker 2", "worker 3")
    assert sys.getswitchinterval() == before


def added_late(jobs: Any) -> Program:
    def slow(value: Any) -> Program:
        yield compute(ms(20))

    future = yield futures.submit(jobs[0])
    yield futures.wait([future])
    yield futures.add_done_callback(future, slow)


@each_kernel
@each_pool
def test_a_slow_callback_delays_the_results_behind_it(run: Any, pool: str, gate: Gate) -> None:
    """C10: where one thread takes in all results; a thread pool's workers call back themselves.

    Each callback waits for the other one, which comes in vain where one thread runs both.
    """
    one_thread, met = bool(FLAVOURS[pool].collector), threading.Barrier(2)

    def meet(value: Any) -> None:
        with suppress(threading.BrokenBarrierError):
            met.wait(0.2 if one_thread else 60)

    how = {"then": meet} if run is _measure else {}
    story = jobs.of(jobs.waiting(20), jobs.waiting(60))
    both = run(opening(pools.callback, gate), story, pool=pool, start_method="fork",
               slow=ms(150), work=sleep(ms(50)), **how).check()  # fmt: skip
    first, second = (c for c in both.call_log if c.name == "callback")
    assert (second.start >= first.end) == (second.process == first.process) == one_thread


@each_kernel
@each_pool
def test_a_job_that_fails_raises_where_its_result_is_asked_for(run: Any, pool: str) -> None:
    seen: list[str] = []

    def careful(jobs: Any) -> Program:
        for ask in (futures.apply, futures.call):
            try:
                yield ask(jobs[0])
            except RuntimeError as error:
                seen.append(str(error))
        future = yield futures.submit(jobs[0])
        yield futures.wait([future])
        assert (yield futures.done(future))
        try:
            yield futures.get(future)
        except RuntimeError as error:
            seen.append(str(error))

    run(careful, jobs.of(jobs.failing(5, "no such luck")), pool=pool).check()
    assert seen == ["no such luck"] * 3
    with pytest.raises(RuntimeError, match="no such luck"):
        run(pools.apply, jobs.of(jobs.failing(5)), pool=pool)


@each_kernel
@each_pool
def test_one_gives_up_and_the_job_goes_on(run: Any, pool: str, gate: Gate) -> None:
    """C04: result(timeout) returns without a result."""
    values: list[Any] = []

    def patient_at_last(jobs: Any) -> Program:
        values.append((yield from pools.give_up(jobs)))
        gate.open()
        values.append((yield futures.result(1)))

    story = jobs.of(jobs.waiting(120))
    gave_up = run(patient_at_last, story, pool=pool, start_method="fork").check()
    assert values == [[None], 1]
    names = [(name, errno is None) for name, errno in gave_up.calls()]
    assert names == [("submit", True), ("result", False), ("result", True)]


@each_kernel
@each_pool
def test_a_bounded_queue_lets_no_more_in(run: Any, pool: str, gate: Gate) -> None:
    """C11."""
    how = {"pool": pool, "workers": 3, "start_method": "fork"}
    story = jobs.several(4, jobs.waiting(100))
    full = run(opening(pools.bounded, gate), story, room=2, **how).check()
    spans = [(o.asked, o.done or 0) for o in full.outcomes]
    assert max(sum(a <= at < b for a, b in spans) for at, _ in spans) == 2


@each_kernel
@each_pool
def test_the_pools_of_the_standard_library_are_not_bounded(run: Any, pool: str, gate: Gate) -> None:
    """C11."""
    how = {"pool": pool, "workers": 3, "start_method": "fork"}
    free = run(opening(pools.submit, gate), jobs.several(4, jobs.waiting(100)), **how)
    assert min(o.done or 0 for o in free.outcomes) > max(o.asked for o in free.outcomes)


# -- the real machine ----------------------------------------------------------------------------


@linux
@clean
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pool", ["Pool", "ProcessPoolExecutor"])
def test_every_start_method_works(pool: str, method: str) -> None:
    values: list[Any] = []
    run = _measure(answers(pools.submit, values), MIXED, pool=pool, start_method=method, workers=3)
    assert values == [[1, 2, 3]]
    assert run.check().helpers[:3] == ("worker 1", "worker 2", "worker 3")


SCRIPT = """
import multiprocessing
from iosim import jobs, measure, pools
if __name__ == "__main__":
    for pool in ("Pool", "ProcessPoolExecutor", "ThreadPoolExecutor"):
        measure(pools.give_up, jobs.several(2, jobs.waiting(50)), pool=pool, start_method={!r},
                limit_s=60)
"""
LEAK = """
    import gc, os
    gc.collect()  # the semaphores of a pool that is closed go with its garbage
    left = multiprocessing.get_context({!r}).Semaphore(1)
    os._exit(0)
"""


@pytest.mark.real
@linux
@pytest.mark.parametrize("method", METHODS)
def test_a_process_that_measured_ends_in_silence(method: str, tmp_path: Path) -> None:
    """What multiprocessing finds left over at the end, it says on stderr."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(method))
    run = subprocess.run([sys.executable, "-W", "error", str(script)], capture_output=True,
                         text=True, timeout=120, check=False)  # fmt: skip
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


@pytest.mark.real
@linux
def test_a_semaphore_that_is_left_over_breaks_the_silence(tmp_path: Path) -> None:
    """Planted."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format("spawn") + LEAK.format("spawn"))
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True,
                         timeout=120, check=False)  # fmt: skip
    assert "1 leaked semaphore object" in run.stderr


@linux
@clean
@each_pool
@pytest.mark.parametrize("job", [jobs.waiting(120_000), jobs.computing(120_000)], ids=["w", "c"])
def test_a_run_that_does_not_end_is_stopped_and_leaves_nothing(pool: str, job: jobs.Job) -> None:
    for program in (pools.apply, pools.direct, pools.status):
        with pytest.raises(TimeoutError, match=f"{program.__name__} was not over after 0.3 s"):
            measure(program, jobs.of(job), pool=pool, limit_s=0.3)


@linux
@clean
@each_pool
def test_another_thread_than_the_main_one_can_measure(pool: str) -> None:
    caught: list[Any] = []

    def body() -> None:
        caught.append(_measure(pools.submit, COMPUTES, pool=pool).check())
        try:
            measure(pools.apply, jobs.of(jobs.waiting(120_000)), pool=pool, limit_s=0.3)
        except TimeoutError as error:
            caught.append(str(error))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert [o.told for o in caught[0].outcomes] == ["return"] * 3
    assert "was not over after 0.3 s" in caught[1]


@linux
@clean
def test_a_worker_that_is_killed_breaks_an_executor_and_stops_a_pool() -> None:
    for pool, error in (("ProcessPoolExecutor", RuntimeError), ("Pool", TimeoutError)):
        team = OpenPool(pool, 1, None)
        (pid, _), *_ = team.names
        handle = team.pool.submit(lambda *_: None, nap, 60)
        time.sleep(0.2)
        os.kill(pid, 9)
        with pytest.raises(error):
            team.pool.get(handle, 1.0)
        team.close(at_once=True)


@linux
@clean
def test_the_watcher_tells_sleepers_from_runners() -> None:
    me = os.getpid(), threading.get_native_id()
    over = threading.Event()
    sleeper = threading.Thread(target=over.wait)
    sleeper.start()
    with watching({"runs": me, "sleeps": (me[0], sleeper.native_id or 0)}) as seen:
        assert asleep(sleeper.native_id or 0)
        began = clock()
        while clock() < began + 300_000_000:
            total(1_000)
        ended = clock()
    over.set()
    sleeper.join()
    assert seen.share("runs", "R", began, ended) > 0.8
    assert seen.share("sleeps", "S", began, ended) > 0.8
    assert seen.letters("nobody").total() == 0


# -- errors, alike on both ---------------------------------------------------------------------


def bad_job(jobs: Any) -> Program:
    yield futures.submit(9)


def bad_future(jobs: Any) -> Program:
    yield futures.result(7)


def forgetful(jobs: Any) -> Program:
    yield futures.submit(1)
    futures.result(1)
    yield sleep(1_000)


def greedy_callback(jobs: Any) -> Program:
    def greedy(value: Any) -> Program:
        yield futures.apply(1)

    future = yield futures.submit(jobs[0], greedy)
    yield futures.result(future)
    yield sleep(ms(20))


def broken_callback(jobs: Any) -> Program:
    def broken(value: Any) -> Program:
        yield compute(1_000)
        raise ZeroDivisionError("in a callback")

    future = yield futures.submit(jobs[0], broken)
    yield futures.result(future)
    yield sleep(ms(20))


def no_jobs(fd: int) -> Program:
    yield sleep(1)


def not_a_program(jobs: Any) -> int:
    return 1


BAD: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    (bad_job, {}, ValueError, "no job 9: this story has 1 to 3"),
    (bad_future, {}, ValueError, "no future 7: there are 0"),
    (forgetful, {}, RuntimeError, "was made but never yielded"),
    (greedy_callback, {}, RuntimeError, "a callback may compute and sleep, not apply"),
    (broken_callback, {}, ZeroDivisionError, "in a callback"),
    (no_jobs, {}, ValueError, "begin with jobs, got .fd."),
    (not_a_program, {}, TypeError, "not_a_program is not a program: it has no yield"),
    (pools.apply, {"speed": 3}, TypeError, "apply has no option 'speed'"),
    (pools.apply, {"pool": "Tub"}, ValueError, "pool must be one of Pool, .*got 'Tub'"),
    (pools.apply, {"workers": 0}, ValueError, "workers must be from 1 to 61"),
    (pools.apply, {"switch_interval": 0}, ValueError, "switch_interval must be from 1"),
    (pools.apply, {"workers": 2.5}, TypeError, "workers must be a whole number"),
]


@each_kernel
@pytest.mark.parametrize(
    ("program", "options", "error", "line"), BAD, ids=[f"{b[0].__name__}{b[1]}" for b in BAD]
)
def test_a_bad_program_is_told_so(
    run: Any, program: Any, options: dict[str, Any], error: type[Exception], line: str
) -> None:
    with pytest.raises(error, match=line):
        run(program, COMPUTES, **options)


@pytest.mark.parametrize(
    ("make", "error", "line"),
    [
        (lambda: jobs.of(), ValueError, "jobs must be from 1 to 10,000 jobs, got 0"),
        (lambda: jobs.of(3), TypeError, "a job must be a Job"),
        (lambda: jobs.computing(0), ValueError, "time must be from 1e-06"),
        (lambda: jobs.Job((("dream", 3),)), ValueError, "a step must be one of compute, wait"),
        (lambda: jobs.Job((("wait", 0),)), ValueError, "wait: ns must be from 1"),
        (lambda: jobs.several(0, jobs.waiting()), ValueError, "count must be from 1"),
        (lambda: futures.submit(0), ValueError, r"submit: job must be from 1 to .*\(a job\), got"),
        (lambda: futures.get(True), TypeError, "get: future must be a whole number"),
        (lambda: futures.result(1, -1), ValueError, "result: timeout must be from 0"),
        (lambda: futures.submit(1, 3), TypeError, "callback must be a program, got 3"),
        (lambda: futures.submit(1, room=0), ValueError, "submit: room must be from 1"),
        (lambda: measure(pools.apply, COMPUTES, start_method="spoon"), ValueError, "'spoon'"),
        (lambda: simulate(pools.apply, 3), TypeError, "a story must be a Traffic"),
        (lambda: simulate(pools.apply, traffic.one()), ValueError, "begin with fd or fds"),
        (lambda: simulate(models.blocking, COMPUTES), ValueError, "begin with jobs"),
        (lambda: draw.corners([]), ValueError, "one timeline or more"),
        (lambda: draw.corners([simulate(pools.status, COMPUTES)]), ValueError, "'status'"),
        (lambda: simulate(pools.status, COMPUTES).corner("apply"), ValueError, "no apply in this"),
    ],
)  # fmt: skip
def test_bad_input_gets_one_line(make: Any, error: type[Exception], line: str) -> None:
    with pytest.raises(error, match=line) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_caller_that_would_wait_for_ever_is_told_so() -> None:
    def stuck(jobs: Any) -> Program:
        yield recvfrom(3, 10)

    with pytest.raises(OSError, match="ad file descriptor"):
        simulate(stuck, COMPUTES)


# -- the checks are checked --------------------------------------------------------------------


def test_within_cores_takes_the_later_lanes_for_ready() -> None:
    run = simulate(pools.submit, COMPUTES, workers=3, cores=4)
    crowded = replace(run, cores=2)
    with pytest.raises(Broken, match="run on 2 cores"):
        crowded.check()
    fitted = within_cores(crowded).check()
    assert fitted.lane("caller") == run.lane("caller")
    assert {i.state for i in fitted.lane("worker 3")} > {i.state for i in run.lane("worker 3")} - {
        READY
    }
    assert within_cores(run).intervals == run.intervals


@pytest.mark.parametrize("field", ["begun", "done", "received"])
def test_check_sees_an_outcome_that_runs_back(field: str) -> None:
    run = simulate(pools.apply, COMPUTES)
    planted = replace(run.outcomes[0], **{field: 0})
    with pytest.raises(Broken, match="job 1: time runs back"):
        replace(run, outcomes=(planted, *run.outcomes[1:])).check()
    if field != "received":
        planted = replace(run.outcomes[0], **{field: None})
        with pytest.raises(Broken, match="job 1: a step is missing"):
            replace(run, outcomes=(planted, *run.outcomes[1:])).check()


def test_a_corner_is_told_by_the_lanes() -> None:
    """Planted: an apply that does not sleep, and a submit whose result is there at once."""
    awake = simulate(pools.apply, COMPUTES)
    lanes = tuple(
        replace(i, state=USER) if i.lane == "caller" and i.state == SLEEPING else i
        for i in awake.intervals
    )
    assert replace(awake, intervals=lanes).corner("apply").thread == "nonblocking"
    quick = simulate(pools.submit, COMPUTES)
    outcomes = tuple(replace(o, done=o.asked, begun=o.asked) for o in quick.outcomes)
    assert replace(quick, outcomes=outcomes).corner("submit").call == "synchronous"
    done = replace(awake, intervals=(*awake.intervals, Interval("job 9", 0, 1, "wait", None, 9)))
    with pytest.raises(KeyError):
        done.blocked("wait")


def test_who_gives_up_is_blocked_by_no_wait_that_ended() -> None:
    late, early = (jobs.several(2, jobs.computing(ms)) for ms in (20, 3))
    assert simulate(pools.give_up, late).blocked("wait") == 0
    assert simulate(pools.give_up, early).blocked("wait") > 0


# -- pictures ----------------------------------------------------------------------------------


def test_the_corners_are_drawn_as_the_runs_tell() -> None:
    runs = [simulate(getattr(pools, name), COMPUTES) for name in OF_CALLS]
    picture = draw.corners([*runs, simulate(models.multiplexing, traffic.one())])
    assert str(picture) == "\n".join(
        [
            "              blocking                         nonblocking",
            "synchronous   apply                            call (direct)",
            "              submit, result (submit_result)",
            "              select (multiplexing)",
            "asynchronous  submit (bounded)                 submit",
            "                                               apply_async",
        ]
    )
    assert "synchronous and blocking: apply" in picture.svg
    assert "nothing here" in draw.corners(runs[:1]).svg


def test_a_run_of_jobs_says_what_it_shows() -> None:
    run = simulate(pools.apply, COMPUTES)
    for words in (str(run), draw.describe(run)):
        assert "3 jobs, 3 received, told by return ×3; the caller blocked" in " ".join(
            words.split()
        )
    assert "job 1 returns after" in str(run)
    assert repr(run) == "<Timeline of apply, simulated: 6 calls, 3 jobs, 42.600 ms>"
    assert 'data-lane="worker 2"' in draw.svg(run)
