"""A little of everything, on both kernels: run by test_places.py wherever people may stand."""

import gc
import os
import threading
import warnings

import iosim
from iosim import calls, clients, jobs, measure, models, servers, simulate, traffic
from iosim.kernels.pools import FLAVOURS
from iosim.timeline import FIGURE_6_6

RECORDED = ".*shown is a recorded run.*"  # where this system lacks what a program needs


def tour() -> None:
    story = traffic.one(after_ms=10, size=1_000)
    for program in models.FIVE:
        for run in (simulate(program, story), measure(program, story)):
            assert run.check().figure_6_6().agrees(FIGURE_6_6[models.MODEL_OF[program.__name__]])
            assert str(run)
    two = jobs.several(2, jobs.waiting(5))
    for pool in FLAVOURS:
        for front in (simulate, measure):
            assert front(calls.submit, two, pool=pool).check().calls()
    echo = clients.paced(connections=2, messages=4, every_ms=5)
    for front in (simulate, measure):
        assert front(servers.reactor_epoll, echo).check().calls()


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.filterwarnings("default", RECORDED)
        tour()
    gc.collect()
    assert threading.active_count() == 1
    print(
        "seen:", ascii(os.path.dirname(iosim.__file__)), os.getuid(), len(os.sched_getaffinity(0))
    )
