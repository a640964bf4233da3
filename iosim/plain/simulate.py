"""The door of the simulated kernel for plain code."""

from __future__ import annotations

import inspect
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

from ..kernels.launch import PlainPlan, launch_plain
from ..kernels.watchdog import Expired, watchdog
from ..sim.clients import ClientScripts
from ..sim.simulate import fates_of, over_clients, over_nothing, over_traffic, timeline_of
from ..trace import Timeline, Visit
from ..trace.builder import MessageRecord
from ..workloads.clients import Clients
from ..workloads.traffic import Traffic
from .adopt import adopt
from .kernel import PlainKernel
from .run import Run
from .simulated_floor import SIMULATED
from .world import World

__all__ = [
    "Outcome", "PlainProgram", "Story", "main_of_program", "run_plain", "simulate_plain",
    "what_is_given",
]  # fmt: skip

Story = Traffic | Clients | None

#: The options of the kernel, over each kind of story; all others are the program's own.
OPTIONS: Mapping[type, tuple[str, ...]] = {
    Traffic: ("costs", "cores", "rcvbuf"),
    Clients: ("costs", "cores", "backlog", "sndbuf", "rcvbuf", "nofile"),
    type(None): ("costs", "cores", "sndbuf", "rcvbuf", "nofile"),
}
CAUGHT = "it never ends: it was asked to, as by Ctrl-C, and has caught that (a bare except?)"


@contextmanager
def _ctrl_c() -> Iterator[list[int]]:
    """Was it pressed?  A KeyboardInterrupt that a program raises by itself is the program's."""
    pressed: list[int] = []

    def interrupted(signo: int, frame: object) -> None:
        pressed.append(signo)
        raise KeyboardInterrupt

    mine = threading.current_thread() is threading.main_thread()
    if not mine or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield pressed
        return
    signal.signal(signal.SIGINT, interrupted)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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


@dataclass
class Outcome:
    """What came of a run: what the program returned, and what it raised, if it did.

    `story`: over which it ran; `ended`: it was ended, as by Ctrl-C, after its story was over.
    """

    plan: PlainPlan
    story: Story
    kernel: PlainKernel
    scripts: ClientScripts | None
    returned: object = None
    error: BaseException | None = None

    @property
    def ended(self) -> bool:
        """Was the program asked to end?"""
        return self.kernel.ended_it

    @contextmanager
    def told_if_it_caught_its_end(self) -> Iterator[None]:
        """Who is ended, and goes on until the limit: why it was ended is what went wrong."""
        try:
            yield
        except TimeoutError:
            if self.kernel.ended_it:
                self.kernel.stopped = TimeoutError(CAUGHT)
            self.error = self.kernel.stopped
            if self.error is None:
                raise

    @cached_property
    def visits(self) -> tuple[Visit, ...]:
        """What each client met with."""
        return self.scripts.visits(self.kernel.now) if self.scripts is not None else ()

    @cached_property
    def timeline(self) -> Timeline:
        """All of the run."""
        run = timeline_of(self.kernel, self.plan.text, self._fates())
        return replace(run, visits=self.visits)

    def __getattr__(self, name: str) -> Any:
        """Whatever its timeline answers."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.timeline, name)

    def _fates(self) -> list[MessageRecord]:
        if self.scripts is not None:
            return self.scripts.fates
        return fates_of(self.kernel, self.story) if isinstance(self.story, Traffic) else []


class PlainProgram:
    """Plain code that can be run many times on the simulated kernel; a context manager.

    program, story, options  as of `simulate`; every story that it runs over has as many connections
    shown                    the function whose text is the program's, if it is another one
    """

    def __init__(
        self, program: Callable[..., object], story: Story, options: Mapping[str, object],
        shown: Callable[..., object] | None = None,
    ) -> None:  # fmt: skip
        known = OPTIONS.get(type(story), ())
        own = {name: value for name, value in options.items() if name not in known}
        self._of_kernel = {name: options[name] for name in options if name not in own}
        self.plan = launch_plain(program, *what_is_given(story), own, shown)
        self._stack = ExitStack()
        self._here: tuple[World, Callable[..., object]] | None = None

    def __enter__(self) -> PlainProgram:
        return self

    def __exit__(self, *_: object) -> None:
        """What was another one for the program's sake is what it was."""
        self._stack.close()
        if self._here is not None and self._here[0].as_new():
            _spare.append(self._here[0])
        self._here = None

    def run(
        self, story: Story, limit_s: float = 10.0,
        kind: type[PlainKernel] = PlainKernel, **of_kernel: object,
    ) -> Outcome:  # fmt: skip
        """Run it over `story`; what it raises is its outcome.  TimeoutError at the limit."""
        kernel, fds, scripts = _kernel_of(story, kind, self._of_kernel | of_kernel)
        outcome = Outcome(self.plan, story, kernel, scripts)
        words = f"{self.plan.text.title} on the simulated kernel"
        limit = watchdog(limit_s, words, of_work=True, insists=True)
        with outcome.told_if_it_caught_its_end(), _ctrl_c() as pressed, limit:
            run = Run(kernel, self.plan.file)
            with run.here():
                world, program = self._ready(run)
            try:
                body = partial(main_of_program, world, program, fds, self.plan.options)
                outcome.returned = world.run.main(body)
            except Expired:
                raise
            except BaseException as error:
                if pressed:
                    raise
                outcome.error = error
        if not world.as_new():
            self.__exit__()
        return outcome

    def _ready(self, run: Run) -> tuple[World, Callable[..., object]]:
        """A world for this run, and the program as it is there."""
        if self._here is None:
            world = _spare.pop() if _spare else World(SIMULATED)
            world.begin(run)
            self._here = world, adopt(self.plan.program, world, self._stack)
        self._here[0].begin(run)
        return self._here


#: Worlds in which nothing has changed, for the next program: to make one takes half a millisecond.
_spare: list[World] = []


def run_plain(
    program: Callable[..., object], story: Story = None, *, limit_s: float = 10.0, **options: object
) -> Outcome:
    """Run plain code over `story` on the simulated kernel, whatever comes of it.

    The options are those of `simulate`.  TypeError or ValueError for bad input; TimeoutError at the
    limit; `NotSimulated` for what was made before.
    """
    with PlainProgram(program, story, options) as prepared:
        return prepared.run(story, limit_s)


def simulate_plain(program: Callable[..., object], story: Story, **options: Any) -> Timeline:
    """The same; its `Timeline`.  Raises what the program raises.

    `NotSimulated` for what is not; TimeoutError if it would wait for ever.
    """
    outcome = run_plain(program, story, **options)
    if outcome.error is not None:
        raise outcome.error
    return outcome.timeline


def _kernel_of(
    story: Story, kind: type[PlainKernel], options: Mapping[str, Any]
) -> tuple[PlainKernel, list[int], ClientScripts | None]:
    """A kernel, and the descriptors that are open on it from the beginning."""
    kernel: Any
    if isinstance(story, Clients):
        kernel, listener, scripts = over_clients(story, kind=kind, **options)
        return kernel, [listener.fd], scripts
    if isinstance(story, Traffic):
        kernel = over_traffic(story, kind=kind, **options)
        return kernel, [socket.fd for socket in kernel.traffic.connections], None
    kernel = over_nothing(kind=kind, **options)
    return kernel, [], None


def main_of_program(
    world: World, program: Callable[..., object], fds: Sequence[int], options: Mapping[str, object]
) -> object:
    """All of the program, as a process runs it: to the end of its threads."""
    sockets = []
    if fds:
        socket = world.load("socket")
        sockets = [socket.socket(fileno=fd) for fd in fds]
    result = program(*sockets, **options)
    if inspect.iscoroutine(result):
        result = world.load("asyncio").run(result)
    if "threading" in world.modules and world.run.had_threads:  # else it were shut down for ever
        world.modules["threading"]._shutdown()
    return result
