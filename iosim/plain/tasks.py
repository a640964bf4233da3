"""A lane for each task of asyncio: when it runs, and what it waits for meanwhile."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable
from time import perf_counter_ns as clock
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..calls import compute
from ..recorder.reconstruct import Change
from ..trace.records import AWAITS, STEP

if TYPE_CHECKING:
    from asyncio import Task

    from .run import Run
    from .world import World

__all__ = ["MeasuredTasks", "TaskLanes", "watched"]


OF_THE_LOOP = ("base_events.py", "runners.py", "selector_events.py")


class Lanes:
    """The tasks of one run, each by its name."""

    def __init__(self) -> None:
        self._lanes: dict[int, str] = {}  # by the identity of the task, which is kept
        self._kept: list[Task[object]] = []
        self._names = Counter[str]()

    def of(self, task: Task[object]) -> str:
        """Its lane; "" for one of the loop's own."""
        if id(task) not in self._lanes:
            self._kept.append(task)
            self._lanes[id(task)] = "" if _internal(task.get_coro()) else self._new(task)
        return self._lanes[id(task)]

    def _new(self, task: Task[object]) -> str:
        name = task.get_name()
        if name.startswith("Task-"):  # a number that says nothing
            name = getattr(task.get_coro(), "__name__", name)
        self._names[name] += 1
        times = self._names[name]
        return name if times == 1 else f"{name} ({times})"


class TaskLanes:
    """Takes down the tasks of a simulated run."""

    def __init__(self, run: Run) -> None:
        self._run, self._lanes = run, Lanes()

    def step(self, task: Task[object], go_on: Callable[[], object]) -> None:
        """Let `task` go on, up to its next await; to begin takes as long as own code does."""
        kernel = self._run.kernel
        tape, lane = kernel.tape, self._lanes.of(task)
        if tape is None or self._run.over or not lane:
            go_on()
            return
        if lane not in tape.helpers:
            tape.helpers.append(lane)
        tape.change(lane, kernel.now, STEP)
        self._run.call(compute(max(1, round(kernel.costs.user))))
        try:
            go_on()
        finally:
            if task.done():
                tape.exit(lane, kernel.now)
            else:
                tape.change(lane, kernel.now, AWAITS, None, awaited(task))


class MeasuredTasks:
    """Takes down the tasks of a run on this machine: `rows` as `record` takes them."""

    def __init__(self) -> None:
        self._lanes = Lanes()
        self.rows: list[Change] = []

    def step(self, task: Task[object], go_on: Callable[[], object]) -> None:
        """Let `task` go on, up to its next await."""
        lane = self._lanes.of(task)
        if not lane:
            go_on()
            return
        self.rows.append((lane, clock(), STEP, ""))
        try:
            go_on()
        finally:
            state, note = (None, "") if task.done() else (AWAITS, awaited(task))
            self.rows.append((lane, clock(), state, note))


def _internal(coroutine: object) -> bool:
    """Is it a task of the loop itself, as it accepts, or comes to its end?"""
    code = getattr(coroutine, "cr_code", None)
    return code is not None and code.co_filename.endswith(OF_THE_LOOP)


def awaited(task: Task[object]) -> str:
    """What it waits for: the first coroutine of the library that it awaits, or a future."""
    inner: Any = task.get_coro()
    own = inspect.getsourcefile(inner.cr_code) if inspect.iscoroutine(inner) else None
    while inspect.iscoroutine(inner.cr_await if inspect.iscoroutine(inner) else None):
        inner = inner.cr_await
        if inspect.getsourcefile(inner.cr_code) != own:
            return str(inner.__qualname__)
    return type(getattr(task, "_fut_waiter", None)).__name__.replace("NoneType", "its turn")


def watched(
    stepper: Callable[[World], TaskLanes | MeasuredTasks],
) -> Callable[[World, ModuleType], None]:
    """What makes a module's tasks tell their steps to what `stepper` says."""

    def watch(world: World, tasks: ModuleType) -> None:
        kind: Any = vars(tasks)["Task"]
        plain = kind._Task__step

        def step(task: Task[object], exc: BaseException | None = None) -> None:
            stepper(world).step(task, lambda: plain(task, exc))

        kind._Task__step = step

    return watch
