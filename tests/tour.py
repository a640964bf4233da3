"""A little of everything, on both kernels: run by test_places.py wherever people may stand."""

import gc
import os
import sys
import threading
import warnings

import iosim
from iosim import clients, jobs, measure, models, pools, servers, simulate, traffic
from iosim.explore import ModelExplorer
from iosim.explore.measure_process import Background, Job
from iosim.kernels.pools import FLAVOURS
from iosim.trace import FIGURE_6_6

CORES = len(os.sched_getaffinity(0))
STORY = traffic.one(after_ms=10, size=1_000)
RECORDED = ".*shown is a recorded run.*"  # where this system lacks what a program needs


#: A child that fails, in colour where it is told to.
FAILS = "import os; exit('FORCE_COLOR' in os.environ and '\\33[31mred\\33[0m' or 'red')"


def explorer() -> None:
    """Its pictures, and what it is told of a process that measures for it."""
    assert "µ" in ModelExplorer()._esm
    said: list[str] = []
    job = Job(("blocking",), STORY, 1_000_000)
    command = [sys.executable, "-c", FAILS]
    run = Background(job, lambda *_: None, lambda _, last: said.append(last), command)
    assert run.wait(60)
    assert said == ["red"], said


def tour() -> None:
    explorer()
    for program in models.FIVE:
        for run in (simulate(program, STORY), measure(program, STORY)):
            assert run.check().figure_6_6().agrees(FIGURE_6_6[models.MODEL_OF[program.__name__]])
            assert str(run)
        assert run.cores <= CORES, run.cores
    two = jobs.several(2, jobs.waiting(5))
    for pool in FLAVOURS:
        for front in (simulate, measure):
            assert front(pools.submit, two, pool=pool).check().calls()
    echo = clients.paced(connections=2, messages=4, every_ms=5)
    for front in (simulate, measure):
        assert front(servers.reactor_epoll, echo).check().calls()


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.filterwarnings("default", RECORDED)
        tour()
    gc.collect()
    assert threading.active_count() == 1
    print("seen:", ascii(os.path.dirname(iosim.__file__)), os.getuid(), CORES)
