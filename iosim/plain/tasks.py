"""A lane for each task of asyncio: when it runs, and what it waits for meanwhile."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..calls import compute
from ..trace.records import AWAITS, STEP

if TYPE_CHECKING:
    from .run import Run
    from .world import World

__all__ = ["TaskLanes", "watched"]


OF_THE_LOOP = ("base_events.py", "runners.py", "selector_events.py")


class TaskLanes:
    """Takes down the tasks of one run, each by its name."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._lanes: dict[int, str] = {}  # by the identity of the task, which is kept
        self._kept: list[Any] = []
        self._names = Counter[str]()

    def step(self, task: Any, go_on: Callable[[], object]) -> None:
        """Let `task` go on, up to its next await; to begin takes as long as own code does."""
        kernel = self._run.kernel
        tape = kernel.tape
        if tape is None or self._run.over or _internal(task.get_coro()):
            go_on()
            return
        lane = self._lane(task)
        tape.change(lane, kernel.now, STEP)
        self._run.call(compute(max(1, round(kernel.costs.user))))
        try:
            go_on()
        finally:
            if task.done():
                tape.exit(lane, kernel.now)
            else:
                tape.change(lane, kernel.now, AWAITS, None, awaited(task))

    def _lane(self, task: Any) -> str:
        if id(task) not in self._lanes:
            name = task.get_name()
            if name.startswith("Task-"):  # a number that says nothing
                name = getattr(task.get_coro(), "__name__", name)
            self._names[name] += 1
            times = self._names[name]
            self._lanes[id(task)] = lane = name if times == 1 else f"{name} ({times})"
            self._kept.append(task)
            assert self._run.kernel.tape is not None
            self._run.kernel.tape.helpers.append(lane)
        return self._lanes[id(task)]


def _internal(coroutine: Any) -> bool:
    """Is it a task of the loop itself, as it accepts, or comes to its end?"""
    code = getattr(coroutine, "cr_code", None)
    return code is not None and code.co_filename.endswith(OF_THE_LOOP)


def awaited(task: Any) -> str:
    """What it waits for: the first coroutine of the library that it awaits, or a future."""
    inner = task.get_coro()
    own = inspect.getsourcefile(inner.cr_code) if inspect.iscoroutine(inner) else None
    while inspect.iscoroutine(inner.cr_await if inspect.iscoroutine(inner) else None):
        inner = inner.cr_await
        if inspect.getsourcefile(inner.cr_code) != own:
            return str(inner.__qualname__)
    return type(getattr(task, "_fut_waiter", None)).__name__.replace("NoneType", "its turn")


def watched(world: World, tasks: ModuleType) -> None:
    """From now on the steps of this module's tasks are taken down in the run of `world`."""
    kind: Any = vars(tasks)["Task"]
    plain = kind._Task__step

    def step(task: Any, exc: BaseException | None = None) -> None:
        world.run.tasks.step(task, lambda: plain(task, exc))

    kind._Task__step = step
