"""What travels between a run and the processes beside it, as JSON: their plans and their reports.

All times are in ns; those of a report count from the start of the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

from ...workloads.client_script import Met

__all__ = [
    "ClientsPlan",
    "ClientsReport",
    "SamplerPlan",
    "Scheduled",
    "Script",
    "SenderPlan",
    "SenderReport",
    "Thread",
]

#: The number of a process, and that of the thread in it (threading.get_native_id()).
Thread = tuple[int, int]
#: Of a message: number, instant, size, connection, kind, and its content, if that is given.
Scheduled = tuple[int, int, int, int, str, *tuple[str, ...]]
#: Of a client: when it begins, SO_RCVBUF, the number of its first message, its steps.
Script = tuple[int, int | None, int, Sequence[tuple[str, int]]]
#: The number of a message, and the clock before and after its send.
Sent = tuple[int, int, int]


class SenderPlan(TypedDict):
    """`thread`: the program's."""

    transport: str
    ports: list[int]
    schedule: list[Scheduled]
    thread: Thread
    stepwise: bool
    announces: NotRequired[bool]


class SenderReport(TypedDict):
    """`evidence`: the fields of `Evidence`; `late`, `unseen`: ns at the most."""

    sent: list[Sent]
    evidence: list[tuple[int, str, str, str]]
    late: int
    unseen: int


class ClientsPlan(TypedDict):
    """`board`: its descriptor, None if no client waits for the server; `process`: the server's."""

    port: int
    clients: list[Script]
    stepwise: bool
    board: int | None
    process: int
    announces: NotRequired[bool]


class ClientsReport(TypedDict):
    """`unseen`: ns at the most."""

    sent: list[Sent]
    visits: list[Met]
    unseen: int


class SamplerPlan(TypedDict):
    """The threads by their lanes."""

    threads: Mapping[str, Thread]
