"""What each step costs: the one value that turns a program and a story into times."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from typing import ClassVar

from ..machine.disturbances import Disturbance
from ..validate import number

__all__ = ["Costs"]

SEGMENT = 65_536  # bytes that travel at once over loopback: its MTU
MORE = ("stream", "server")  # other prices, where they differ
TOLD = ("machine", "disturbances")  # how they were measured
HALF_WINDOW = 32_768  # of the 64 KiB that a receiver offers at first: tcp(7), "tcp_rmem"


@dataclass(frozen=True, slots=True)
class Costs:
    """The price of each step, in ns unless its name says otherwise; every one from 0 to 10 s.

    syscall         a trap into the kernel and back: the entry check of every call
    user            the program's own code between two calls
    network         from the sender's call to the receive queue
    copy_base       the copy to the program's buffer, whatever its size
    copy_per_byte   and for each byte of it (a fraction is allowed)
    wakeup          from the arrival to the sleeper's place in the run queue
    context_switch  from the run queue onto a core
    signal_delivery building the handler's frame on the program's stack, and the return from it
    select_per_fd   select's look at one descriptor; it looks at all, and again after it slept
    poll_per_fd     the same for poll
    epoll_per_ready epoll_wait's look at one descriptor of the ready list
    timer_slack     how much later than asked for a timer wakes its sleeper: prctl(2)
    time_slice      how long a process may run while another one is ready

    What a slide leaves out and a real machine does not (0 in a textbook):

    network_per_byte how much longer a byte is on its way, up to the 64 KiB of a loopback segment
    segment         the second part of a stream's message longer than 32 KiB, after the first: the
                    sender fills half of a window at a time (tcp_bound_to_half_wnd)
    eagain          a receive that finds nothing: raising the error
    step            a request that enters no kernel (`compute`, a look at a ring): getting to it
    start           a process's first call, for which nothing is in a cache
    first_call      a further call that this process has not made before: its code is in no cache
    cold_call       the rest of a call in which the process slept: its caches have gone cold
    cold_receive    the same for a receive, besides its copy
    cold_user       the process's own code after such a call
    cold_code       its own code before a further request of a kind that it has not made since then
    user_per_byte   its own code after a copy, for each byte that it brought into the caches
    submission      handing an operation to io_uring
    completion      io_uring's way to the submitter that is to do the copy (task work)
    accept          taking a connection off a listening socket's queue
    send            a send besides its copy: through the stack to the other side's receive queue
    clone           starting a thread
    user_per_fd     its own code before a server's select or poll, for each descriptor that it lists
    queue_per_fd    a server's select or poll that may sleep: to stand in the queue of a descriptor,
                    and to leave it; up to the first one that is ready (fs/select.c: poll_wait)

    `stream` has the prices of a story over TCP (None: the same ones), `server` those of a story of
    clients (None: those of `stream`), measured on one whose messages come 3 and 7 ms apart: who
    sleeps longer finds colder caches; `machine` says what they were measured on ("" if they were
    not), `disturbances` what other work did meanwhile: prices with more than `allowed_ms` of it
    are doubtful.
    """

    syscall: float = 500_000
    user: float = 200_000
    network: float = 1_000_000
    copy_base: float = 1_000_000
    copy_per_byte: float = 2_000
    wakeup: float = 300_000
    context_switch: float = 300_000
    signal_delivery: float = 500_000
    select_per_fd: float = 200_000
    poll_per_fd: float = 200_000
    epoll_per_ready: float = 200_000
    timer_slack: float = 50_000
    time_slice: float = 3_000_000
    network_per_byte: float = 0
    segment: float = 0
    eagain: float = 0
    step: float = 0
    start: float = 0
    first_call: float = 0
    cold_call: float = 0
    cold_receive: float = 0
    cold_user: float = 0
    cold_code: float = 0
    user_per_byte: float = 0
    submission: float = 0
    completion: float = 0
    accept: float = 0
    send: float = 0
    clone: float = 0
    user_per_fd: float = 0
    queue_per_fd: float = 0
    machine: str = ""
    stream: Costs | None = None
    server: Costs | None = None
    disturbances: tuple[Disturbance, ...] = field(default=(), compare=False, repr=False)
    allowed_ms: ClassVar[float] = 1_000.0  # of disturbances: medians of many seconds bear so much

    def __post_init__(self) -> None:
        if not isinstance(self.machine, str):
            raise TypeError(f"Costs: machine must be text, got {self.machine!r}")
        for name in MORE:
            more = getattr(self, name)
            if not (more is None or isinstance(more, Costs)):
                raise TypeError(f"Costs: {name} must be Costs or None, got {more!r}")
        for name in self.names():
            low = 1 if name == "time_slice" else 0
            number(f"Costs: {name}", getattr(self, name), low, 1e10, "ns")

    @classmethod
    @cache
    def names(cls) -> tuple[str, ...]:
        """The names of the prices, in their order."""
        return tuple(f.name for f in fields(cls) if f.name not in (*TOLD, *MORE))

    @classmethod
    @cache
    def textbook(cls) -> Costs:
        """Round numbers that show beside a wait of 20 ms: true in order, not in size."""
        return cls()

    @classmethod
    @cache
    def typical(cls) -> Costs:
        """The order of magnitude of a small Linux machine: a wait of 20 ms dwarfs them all."""
        return cls(
            syscall=300, user=2_000, network=40_000, copy_base=1_300, copy_per_byte=0.1,
            wakeup=15_000, context_switch=35_000, signal_delivery=5_000, select_per_fd=150,
            poll_per_fd=150, epoll_per_ready=250, timer_slack=50_000, time_slice=3_000_000,
        )  # fmt: skip

    @classmethod
    def calibrate(cls, *, progress: bool = True) -> Costs:
        """The costs of this machine, measured in less than 5 s; prints what it could not measure.

        `progress` shows a bar meanwhile: in a notebook, or on a terminal.
        """
        from ..calibration.calibrate import calibrate
        from ..progress import bar

        found = calibrate(bar(progress))
        for complaint in found.complaints():
            print(complaint)
        return found.costs

    def over(self, transport: str) -> Costs:
        """The prices for a story over "udp" or "tcp"."""
        return self.stream if transport == "tcp" and self.stream is not None else self

    def of_traffic(self, transport: str) -> Costs:
        """The same without those of standing in queues, which are of servers only."""
        price = self.over(transport)
        if not (price.user_per_fd or price.queue_per_fd):
            return price
        return replace(price, user_per_fd=0, queue_per_fd=0)

    def of_server(self) -> Costs:
        """The prices for a story of clients."""
        return self.over("tcp") if self.server is None else self.server

    def copy(self, nbytes: int) -> int:
        """ns to copy `nbytes` to the program's buffer."""
        return round(self.copy_base + self.copy_per_byte * nbytes)

    def transit(self, nbytes: int) -> int:
        """ns from the sender's call to the receive queue, of a message or its first part."""
        return round(self.network + self.network_per_byte * min(nbytes, self.part))

    @property
    def part(self) -> int:
        """How many bytes of a message arrive at once, at most."""
        return HALF_WINDOW if self.segment else SEGMENT

    def to_json(self) -> str:
        """The prices and the machine as JSON; `from_json` reads it back, equal."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Costs:
        """The costs that `to_json` wrote.  ValueError if that is not what `text` is."""
        plain = json.loads(text)
        known = {field.name for field in fields(cls)}
        if not isinstance(plain, dict) or not plain.keys() <= known:
            strange = ", ".join(sorted(plain.keys() - known)) if isinstance(plain, dict) else text
            raise ValueError(f"Costs: not the JSON of costs: {strange[:80]}")
        for name in MORE:
            if plain.get(name) is not None:
                plain[name] = cls.from_json(json.dumps(plain[name]))
        plain["disturbances"] = tuple(Disturbance(**d) for d in plain.get("disturbances", ()))
        return cls(**plain)
