"""One call that has jobs done: when does it return, and does its thread sleep meanwhile?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

from ..api import simulate
from ..calls import compute, ms, sleep
from ..calls.futures import done, ready
from ..draw.formatting import count, duration
from ..draw.quadrants import corners
from ..programs import pools
from ..trace import FOUR_CORNERS, GIL, SLEEPING, USER, Corner, Timeline
from ..workloads import jobs
from .controls import Choice, Control, Slider, State, Switch
from .model import COSTS, FACTORS, TIMES, costs_of
from .quiz import Question
from .view import Figure, Number, Table, View, of_timeline
from .widget import Explorer

__all__ = ["CallExplorer", "story_of"]

CALLS = {
    "direct": "a direct call",
    "apply": "apply(…)",
    "submit_result": "submit(…).result()",
    "submit": "submit(…), later result()",
    "apply_async": "apply_async(…), later get()",
    "bounded": "submit(…) to a short queue",
    "status": "told by status: works on",
    "status_sleeping": "told by status: sleeps",
    "notification": "told by notification: wait()",
    "callback": "told by callback",
    "give_up": "submit(…).result(timeout)",
}
#: What each program's run is asked about, as for `Timeline.corner`; the reader guesses the first.
ASKED: dict[str, tuple[tuple[str, ...], ...]] = {
    **dict.fromkeys(CALLS, (("submit",),)),
    **{name: (names,) for name, (names, _) in FOUR_CORNERS.items() if name in CALLS},
    "submit_result": (("submit", "result"), ("submit",)),
    "notification": (("submit",), ("wait",)),
    "give_up": (("submit", "result"), ("submit",)),
}
POOLS = {
    "Pool": "multiprocessing.Pool",
    "ProcessPoolExecutor": "ProcessPoolExecutor",
    "ThreadPoolExecutor": "ThreadPoolExecutor",
}
#: How a job spends its time: from its ms to the job.
KINDS: dict[str, tuple[str, Callable[[float], jobs.Job]]] = {
    "compute": ("computes", jobs.computing),
    "wait": ("waits, as for a slow device", jobs.waiting),
    "both": ("waits, then computes", lambda ms: jobs.waiting(ms / 2) + jobs.computing(ms / 2)),
}
SHORT = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
#: What can be varied about a call itself: the control, and the program's argument made of it.
ARGUMENTS: dict[str, tuple[Control, str, Callable[[Any], object]]] = {
    "work_ms": (Slider("work_ms", "other work", SHORT, 1.0, "ms"), "work",
                lambda value: compute(ms(value))),
    "look_ms": (Slider("look_ms", "work between looks", SHORT, 1.0, "ms"), "between",
                lambda value: compute(ms(value))),
    "nap_ms": (Slider("nap_ms", "sleep between looks", SHORT, 5.0, "ms"), "between",
               lambda value: sleep(ms(value))),
    "room": (Slider("room", "room in the queue", range(1, 9), 1, "jobs"), "room", int),
    "callback_ms": (Slider("callback_ms", "a callback takes", (0.1, *SHORT), 0.1, "ms"),
                    "slow", ms),
    "timeout_ms": (Slider("timeout_ms", "timeout", SHORT, 5.0, "ms"), "timeout", ms),
}  # fmt: skip
#: Which of them each call takes.
TAKES = {
    "submit": ("work_ms",), "apply_async": ("work_ms",), "bounded": ("room",),
    "status": ("look_ms",), "status_sleeping": ("nap_ms",), "callback": ("work_ms", "callback_ms"),
    "give_up": ("timeout_ms",),
}  # fmt: skip
IDLE = ("pool", "workers", "gil")  # what does not matter where the caller does the job itself

YES = {True: "yes", False: "no"}
CORNERS = {
    f"{call}-{thread}": Corner(call, thread)
    for call in ("synchronous", "asynchronous") for thread in ("blocking", "nonblocking")
}  # fmt: skip


def story_of(state: State) -> jobs.Jobs:
    """The jobs that `state` asks for, all alike."""
    _, job = KINDS[str(state["job"])]
    return jobs.several(_whole(state, "jobs"), job(float(state["job_ms"])))


def run_of(state: State) -> Timeline:
    """The call that `state` chooses, over its jobs, simulated."""
    name = str(state["call"])
    taken = (ARGUMENTS[argument] for argument in TAKES.get(name, ()))
    options = {argument: make(state[control.name]) for control, argument, make in taken}
    return simulate(
        getattr(pools, name), story_of(state), costs=costs_of(state), pool=state["pool"],
        workers=state["workers"], cores=state["cores"], gil=state["gil"], **options,
    )  # fmt: skip


# -- what the run tells ---------------------------------------------------------------------------


def _corner(run: Timeline) -> str:
    """The corner of the call that the reader is asked about, as `CORNERS` names it."""
    corner = run.corner(*ASKED[run.title][0])
    return f"{corner.call}-{corner.thread}"


def _asleep(run: Timeline) -> int:
    """ns that the caller sleeps in calls that return only when there is something for them."""
    return sum(
        i.duration for i in run.intervals
        if i.lane in run.processes and i.state == SLEEPING and i.call and i.call.waits
    )  # fmt: skip


def _in_hand(run: Timeline) -> int:
    """When the last result was received; the end of the run where none was; in ns."""
    return max((o.received for o in run.outcomes if o.received is not None), default=run.end)


def _most_at_once(spans: Iterable[tuple[int, int]]) -> int:
    """How many of these stretches `(start, end)` lie over one instant, at most."""
    most = now = 0
    for _, change in sorted(at for start, end in spans for at in ((start, 1), (end, -1))):
        now += change
        most = max(most, now)
    return most


def _under_way(run: Timeline) -> Iterator[tuple[int, int]]:
    """From when to when each job was done by somebody."""
    for outcome in run.outcomes:
        if outcome.begun is not None:
            yield outcome.begun, run.end if outcome.done is None else outcome.done


def _computing(run: Timeline) -> Iterator[tuple[int, int]]:
    """From when to when somebody computed for a job."""
    for i in run.intervals:
        if i.state == USER and i.call and (i.call.name == "call" or i.call.name.startswith("job ")):
            yield i.start, i.end


def _looks_with_no_result(run: Timeline) -> int:
    looks = sum(call.name in (done.__name__, ready.__name__) for call in run.call_log)
    return looks - sum(outcome.told == "check" for outcome in run.outcomes)


def _numbers(run: Timeline) -> list[Number]:
    """What the run comes to."""
    received = [outcome.received for outcome in run.outcomes if outcome.received is not None]
    times = [duration(min(received)), duration(max(received))] if received else ["never", "never"]
    told = dict.fromkeys(outcome.told for outcome in run.outcomes if outcome.told)
    lock = sum(i.duration for i in run.intervals if i.note == GIL)
    return [
        Number("caller blocked", duration(_asleep(run)),
               "asleep in a call that returns when there is something for it"),
        Number("first result in hand", times[0], "from the start of the run"),
        Number("last result in hand", times[1], "from the start of the run"),
        Number("results received", f"{len(received)} of {len(run.outcomes)}",
               "a call that gives up has none"),
        Number("told by", ", ".join(told) or "-", "how the caller learnt of its results"),
        Number("jobs at once", count(_most_at_once(_under_way(run)), "job"),
               "under way at the same instant, at most"),
        Number("computing at once", count(_most_at_once(_computing(run)), "job"),
               "of them on a core at the same instant, at most"),
        Number("CPU of the caller", duration(run.cpu_ns()),
               "own code and the kernel's work for it"),
        Number("looks with no result", count(_looks_with_no_result(run), "look"), "not done yet"),
        Number("waiting for the GIL", duration(lock), "of all threads together"),
        Number("the whole run", duration(run.end), "until the program is over"),
    ]  # fmt: skip


def _written(names: tuple[str, ...]) -> str:
    """ "submit(…).result()"."""
    first, *rest = names
    return "".join([f"{first}(…)", *(f".{name}()" for name in rest)])


def _two_questions(run: Timeline) -> Table:
    """Where the calls of the run stand, by two questions that do not depend on each other."""
    rows = []
    for names in ASKED[run.title]:
        corner = run.corner(*names)
        before = YES[corner.call == "asynchronous"]
        asleep = YES[corner.thread == "blocking"]
        rows.append((_written(names), f"{before}: {corner.call}", f"{asleep}: {corner.thread}"))
    heads = ("call", "returns before the result?", "its thread sleeps in it?")
    return Table("Two questions, answered by this run", heads, tuple(rows))


@lru_cache(maxsize=1)
def _known() -> tuple[Timeline, ...]:
    """The calls of `FOUR_CORNERS`, each with three jobs that compute for 10 ms."""
    story = jobs.several(3, jobs.computing(10))
    return tuple(simulate(getattr(pools, name), story) for name in FOUR_CORNERS if name in CALLS)


def _figure(run: Timeline) -> Figure:
    others = [other for other in _known() if other.title != run.title]
    title = "Four corners: this run (marked), and other calls with three jobs of 10 ms"
    return Figure(title, corners(others, [(run, names) for names in ASKED[run.title]]).svg)


# -- what there is to see -------------------------------------------------------------------------


def _whole(state: State, name: str) -> int:
    return int(state[name])


def _one_gil(state: State) -> bool:
    """Do jobs compute in threads that share an interpreter lock?"""
    pool, job = state["pool"], state["job"]
    return pool == "ThreadPoolExecutor" and state["gil"] is True and job != "wait"


def _one_by_one(state: State) -> bool:
    """Does each call return with its result, though others could be at work?"""
    several = min(_whole(state, "jobs"), _whole(state, "workers")) > 1
    return state["call"] in ("apply", "submit_result") and several


def _side_by_side(state: State) -> bool:
    """Are several jobs under way at once?"""
    several = min(_whole(state, "jobs"), _whole(state, "workers")) > 1
    return several and state["call"] not in ("direct", "apply", "submit_result")


#: When there is what to see, and a sentence on it.
HINTS: tuple[tuple[Callable[[State], bool], str], ...] = (
    (
        lambda s: s["call"] == "direct" and s["job"] == "compute",
        "A direct call returns with the result, and its thread runs all the time: "
        "synchronous, and yet not blocking.",
    ),
    (
        lambda s: s["call"] == "direct" and s["job"] != "compute",
        "What the function waits for, its caller waits for: this direct call blocks.",
    ),
    (
        lambda s: s["call"] == "bounded" and _whole(s, "jobs") > _whole(s, "room"),
        "There is not room for all jobs: submit sleeps until one is done, and still returns "
        "before its own result.",
    ),
    (
        lambda s: s["call"] == "bounded" and _whole(s, "jobs") <= _whole(s, "room"),
        "There is room for all jobs: submit never has to wait. Give it less room, or more jobs.",
    ),
    (
        lambda s: s["call"] == "give_up" and float(s["timeout_ms"]) < float(s["job_ms"]),
        "The caller stops waiting after the timeout; the job itself goes on.",
    ),
    (
        _one_by_one,
        "Each call returns with its result, so the next job is asked for only then: one worker "
        "is busy at a time.",
    ),
    (
        lambda s: _one_gil(s) and _side_by_side(s),
        "The workers are threads of one process, which has one GIL: of the jobs under way one "
        "computes at a time, however many cores there are.",
    ),
    (
        lambda s: _one_gil(s) and s["call"] in ("status", "callback"),
        "The caller works in the same process as its workers: it takes the GIL from those whose "
        "results it waits for.",
    ),
)

TIMES_MS = tuple(float(n) for n in (*range(0, 100, 5), *range(100, 1_001, 20)))
GUESSES = (
    Question[Timeline](
        Choice(
            "guess_corner",
            "Where does the call stand that asks for a job (submit(…).result() counts as one)?",
            tuple((name, f"{c.call}, {c.thread}") for name, c in CORNERS.items()),
            "synchronous-blocking",
        ),
        _corner,
    ),
    Question[Timeline](
        Choice(
            "guess_blocked", "Is the caller ever blocked, asleep in a call?",
            (("yes", "yes"), ("no", "no")), "yes",
        ),
        lambda run: YES[_asleep(run) > 0],
    ),
    Question[Timeline](
        Slider(
            "guess_last", "When is the last result in its hands (or when has it given up)?",
            TIMES_MS, 0.0, "ms",
        ),
        lambda run: round(_in_hand(run) / 1e6, 3),
    ),
)  # fmt: skip


class CallExplorer(Explorer):
    """A call that has jobs done, by the caller itself or by a pool: who runs, who sleeps, and when.

    call      a name of `iosim.calls`
    pool      "Pool", "ProcessPoolExecutor" or "ThreadPoolExecutor"
    job       what each job does: "compute", "wait" or "both" (half of its time each)
    job_ms    how long each job takes
    jobs      how many of them
    workers   of the pool
    cores     that the caller and the workers share
    gil       has each process an interpreter lock?
    work_ms, look_ms, nap_ms, room, callback_ms, timeout_ms
              arguments of those calls that take them
    costs     "textbook" or "typical"
    syscall, switch
              how many times those costs each of these takes, from 0 to 8
    predict   True hides the run until a guess is made

    Raises what `Explorer` raises.
    """

    TITLE = "Synchronous or asynchronous, blocking or nonblocking"
    CONTROLS = (
        Choice("call", "call", tuple(CALLS.items()), "apply"),
        Choice("pool", "pool", tuple(POOLS.items()), "Pool"),
        Choice("job", "a job", tuple((n, words) for n, (words, _) in KINDS.items()), "compute"),
        Slider("job_ms", "and takes", (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 50.0), 20.0, "ms"),
        Slider("jobs", "jobs", range(1, 9), 3, "jobs"),
        Slider("workers", "workers", range(1, 9), 2, "workers"),
        Slider("cores", "cores", range(1, 9), 2, "cores"),
        *(control for control, _, _ in ARGUMENTS.values()),
        COSTS,
        *(Slider(name, FACTORS[name][1], TIMES, 1.0, "×") for name in ("syscall", "switch")),
        Switch("gil", "each process has a GIL", True),
    )  # fmt: skip
    QUESTIONS = GUESSES

    @classmethod
    def visible(cls, state: State) -> list[str]:
        call = str(state["call"])
        hidden = {*ARGUMENTS} - {*TAKES.get(call, ())}
        hidden |= {*IDLE} if call == "direct" else set()
        return [control.name for control in cls.CONTROLS if control.name not in hidden]

    @classmethod
    def view(cls, state: State) -> View:
        run = run_of(state)
        return of_timeline(
            run, getattr(pools, run.title), numbers=_numbers(run),
            tables=(_two_questions(run),), figures=(_figure(run),),
            hints=[words for holds, words in HINTS if holds(state)],
        )  # fmt: skip
