"""Who sends on the connections of a measured run, and when: as the other process tells it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ..recorder.sender import Sender
from ..workloads.clients import Clients
from ..workloads.traffic import Message, Traffic

__all__ = ["Peers", "senders"]

Sent = Iterable[Sequence[int]]  # the number of a message, and the clock before and after its send
Peers = Callable[[int, int], int | None]  # which connection or client, by descriptor, since when


def senders(
    story: Traffic | Clients, sent: Sent, rcvbuf: int, peers: Peers
) -> Callable[[int, int], Sender | None]:
    """What is known of a connection; `rcvbuf`: SO_RCVBUF in bytes, as the kernel tells it."""
    clocks = {number: (before, after) for number, before, after in sent}
    rows: dict[int, list[tuple[int, int, int]]] = {}
    for number, message in _messages(story):
        if message.kind == "data" and number in clocks:
            rows.setdefault(message.connection, []).append((message.size, *clocks[number]))
    datagrams = isinstance(story, Traffic) and story.transport == "udp"

    def of(fd: int, since: int) -> Sender | None:
        own = rows.get(-1 if (who := peers(fd, since)) is None else who)
        return Sender(own, rcvbuf, datagrams) if own else None

    return of


def _messages(story: Traffic | Clients) -> Iterable[tuple[int, Message]]:
    return story.messages if isinstance(story, Clients) else enumerate(story.messages, start=1)
