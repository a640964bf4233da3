"""What each step costs: the one value that turns a program and a story into times."""

from __future__ import annotations

from dataclasses import dataclass, fields

from .bounds import number

__all__ = ["Costs"]


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

    def __post_init__(self) -> None:
        for field in fields(self):
            low = 1 if field.name == "time_slice" else 0
            number(f"Costs: {field.name}", getattr(self, field.name), low, 1e10, "ns")

    @classmethod
    def textbook(cls) -> Costs:
        """Round numbers that show beside a wait of 20 ms: true in order, not in size."""
        return cls()

    @classmethod
    def typical(cls) -> Costs:
        """The order of magnitude of a small Linux machine: a wait of 20 ms dwarfs them all."""
        return cls(
            syscall=300, user=2_000, network=40_000, copy_base=1_300, copy_per_byte=0.1,
            wakeup=15_000, context_switch=35_000, signal_delivery=5_000, select_per_fd=150,
            poll_per_fd=150, epoll_per_ready=60, timer_slack=50_000, time_slice=3_000_000,
        )  # fmt: skip

    def copy(self, nbytes: int) -> int:
        """ns to copy `nbytes` to the program's buffer."""
        return round(self.copy_base + self.copy_per_byte * nbytes)
