"""The door of the simulated kernel for plain code."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ..kernels.launch import PlainPlan, launch_plain
from ..kernels.watchdog import watchdog
from ..sim.clients import ClientScripts
from ..sim.simulate import fates_of, over_clients, over_nothing, over_traffic, timeline_of
from ..trace import Timeline
from ..trace.builder import MessageRecord
from ..workloads.clients import Clients
from ..workloads.traffic import Traffic
from .adopt import adopt
from .run import PlainKernel, Run
from .simulated_floor import SIMULATED
from .world import World

__all__ = ["Outcome", "main_of_program", "run_plain", "simulate_plain", "what_is_given"]

Story = Traffic | Clients | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run: its timeline, what the program returned, and what it raised, if it did.

    `ended`: it was ended, as by Ctrl-C, some time after its story was over.
    """

    timeline: Timeline
    returned: Any = None
    error: BaseException | None = None
    ended: bool = False


def simulate_plain(
    program: Callable[..., Any], story: Story, *, limit_s: float = 10.0, **options: Any
) -> Timeline:
    """Run plain code over `story` on the simulated kernel and return its `Timeline`.

    The options are those of `simulate`.  Raises what the program raises; TypeError or ValueError
    for bad input; `NotSimulated` for what is not; TimeoutError if it would wait for ever.
    """
    outcome = run_plain(program, story, limit_s=limit_s, **options)
    if outcome.error is not None:
        raise outcome.error
    return outcome.timeline


def what_is_given(story: Story) -> tuple[int, str]:
    """How many arguments plain code is given over `story`, and what they are.

    TypeError for what is no story, or one of jobs.
    """
    if story is None:
        return 0, "nothing, where there is no story"
    if isinstance(story, Clients):
        return 1, "the listening socket"
    if isinstance(story, Traffic):
        count = story.connections
        return count, f"a socket for each of the {count} connections" if count > 1 else "a socket"
    raise TypeError(f"plain code runs over Traffic, Clients or None, got {story!r}")


#: The options of the kernel, over each kind of story; all others are the program's own.
OF_TRAFFIC = ("costs", "cores", "rcvbuf")
OF_CLIENTS = ("costs", "cores", "backlog", "sndbuf", "rcvbuf", "nofile")
OF_NOTHING = ("costs", "cores", "sndbuf", "rcvbuf", "nofile")


def run_plain(
    program: Callable[..., Any], story: Story, *, limit_s: float = 10.0,
    world: World | None = None, **options: Any,
) -> Outcome:  # fmt: skip
    """The same, with what the program has returned, or raised.  `world`: one that is there."""
    given, words = what_is_given(story)
    asked = OF_TRAFFIC if isinstance(story, Traffic) else OF_CLIENTS if story else OF_NOTHING
    of_kernel = {name: options.pop(name) for name in asked if name in options}
    plan = launch_plain(program, given, words, options)
    kernel, fds, scripts = _kernel_of(story, of_kernel)
    here = world or World(SIMULATED)
    run = here.run = Run(kernel, plan.file)
    returned, error = _run(plan, here, fds, limit_s)
    timeline = timeline_of(kernel, plan.text, _fates(kernel, story, scripts))
    if scripts is not None:
        timeline = replace(timeline, visits=scripts.visits(kernel.now))
    return Outcome(timeline, returned, error, run.kernel.ended_it)


def _kernel_of(
    story: Story, options: dict[str, Any]
) -> tuple[PlainKernel, list[int], ClientScripts | None]:
    """A kernel, and the descriptors that are open on it from the beginning."""
    kernel: Any
    if isinstance(story, Clients):
        kernel, listener, scripts = over_clients(story, kind=PlainKernel, **options)
        return kernel, [listener.fd], scripts
    if isinstance(story, Traffic):
        kernel = over_traffic(story, kind=PlainKernel, **options)
        return kernel, [socket.fd for socket in kernel.traffic.connections], None
    kernel = over_nothing(kind=PlainKernel, **options)
    return kernel, [], None


def _run(
    plan: PlainPlan, world: World, fds: Sequence[int], limit_s: float
) -> tuple[Any, BaseException | None]:
    """What the program returns, or raises.  BaseExceptions of ours come through."""
    title = plan.text.title
    with ExitStack() as stack:
        program = adopt(plan.program, world, stack)
        with watchdog(limit_s, f"{title} on the simulated kernel", of_work=True):
            try:
                return world.run.main(
                    partial(main_of_program, world, program, fds, plan.options)
                ), None
            except Exception as error:
                return None, error


def main_of_program(
    world: World, program: Callable[..., Any], fds: Sequence[int], options: Mapping[str, Any]
) -> Any:
    """All of the program, as a process runs it: to the end of its threads."""
    sockets = []
    if fds:
        socket = world.load("socket")
        sockets = [socket.socket(fileno=fd) for fd in fds]
    result = program(*sockets, **options)
    if inspect.iscoroutine(result):
        result = world.load("asyncio").run(result)
    if "threading" in world.modules:
        world.modules["threading"]._shutdown()
    return result


def _fates(kernel: PlainKernel, story: Story, scripts: ClientScripts | None) -> list[MessageRecord]:
    if scripts is not None:
        return scripts.fates
    return fates_of(kernel, story) if isinstance(story, Traffic) else []
