"""What may be otherwise than planned: the times of a story, how its bytes are cut, the kernel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from ..calls import ms
from ..validate import whole
from ..workloads.clients import (
    CLOSE,
    RESET,
    SEND,
    SHUTDOWN,
    UNTIL,
    WAIT,
    Client,
    Clients,
    Step,
)
from ..workloads.traffic import Message, Traffic
from .choices import Choices

__all__ = ["Space", "told", "varied"]

Story = Traffic | Clients | None

EACH = -1  # byte by byte
MANY = 64  # bytes that may come one by one
SHOWN = 12  # bytes of a content that are told
TIMED = (WAIT, UNTIL)
FAULTS = (SHUTDOWN, RESET)


@dataclass(frozen=True)
class Space:
    """Where the search may go.

    story         what happens, if nothing is otherwise
    delays        ns by which each message, or act of a client, may come later
    at_once       may all come at the instant 0, and no client wait before an act?
    cuts          may a stream be cut anywhere?  (A datagram is never.)
    short_writes  may a send on a nonblocking socket take fewer bytes than there is room for?
    spurious      may select, poll and epoll report what is not ready (select(2), BUGS), and a
                  send find no room after all (EAGAIN)?
    threads       may any thread that is ready go on?
    signals       which signals may come between any two steps of the program: each does, once
    signals_by    ns by which it has come
    full          how often the program may have no descriptor left, for a while (EMFILE)
    faults        what clients may do before their scripts are over: "shutdown", "reset"
    options       of the kernel, as `simulate` takes them
    calls         that a run may make, all in all, before it is said never to end
    in_vain       and that it may make one after the other without any progress
    """

    story: Story = None
    delays: tuple[int, ...] = (ms(1), ms(10), ms(200))
    at_once: bool = False
    cuts: bool = True
    short_writes: bool = True
    spurious: bool = False
    threads: bool = True
    signals: tuple[int, ...] = ()
    signals_by: int = ms(300)
    full: int = 0
    faults: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    calls: int = 5_000
    in_vain: int = 100

    def __post_init__(self) -> None:
        whole("calls", self.calls, 1, 1_000_000, "calls")
        whole("in_vain", self.in_vain, 1, self.calls, "calls")
        for fault in self.faults:
            if fault not in FAULTS:
                raise ValueError(f"a fault must be one of {', '.join(FAULTS)}, got {fault!r}")


def varied(space: Space, choices: Choices) -> Story:
    """The story, with other times and cut otherwise: a story of its own, which can be repeated."""
    story = _hurried(space.story) if space.at_once and choices.pick(2) else space.story
    if isinstance(story, Traffic):
        return _traffic(space, story, choices)
    if isinstance(story, Clients):
        return replace(story, clients=tuple(_client(space, one, choices) for one in story.clients))
    return None


def _hurried(story: Story) -> Story:
    """All at the instant 0, as it comes after a time in which nobody was served."""
    if isinstance(story, Traffic):
        return replace(story, messages=tuple(replace(one, at_ns=0) for one in story.messages))
    if isinstance(story, Clients):
        return replace(story, clients=tuple(map(_without_waits, story.clients)))
    return None


def _without_waits(client: Client) -> Client:
    steps = tuple(step for step in client.steps if step[0] not in TIMED)
    return replace(client, at_ns=0, steps=steps)


def _delay(space: Space, choices: Choices) -> int:
    return (0, *space.delays)[choices.pick(1 + len(space.delays))]


def _pieces(space: Space, size: int, choices: Choices) -> Iterator[tuple[int, int]]:
    """The sizes of the pieces in which so many bytes come, each with ns after the one before it."""
    cuts = (0, 1, size // 2, size - 1, EACH) if space.cuts and size > 1 else (0,)
    cut = cuts[choices.pick(len(cuts) if size <= MANY else min(4, len(cuts)))]
    if cut == EACH:
        gap = _gap(space, choices)
        yield 1, 0
        yield from ((1, gap) for _ in range(size - 1))
    elif cut:
        yield cut, 0
        gap = _gap(space, choices)
        for place, (piece, later) in enumerate(_pieces(space, size - cut, choices)):
            yield piece, later if place else gap
    else:
        yield size, 0


def _gap(space: Space, choices: Choices) -> int:
    """Between two pieces: without one they would be the same as none."""
    return space.delays[choices.pick(len(space.delays))] if space.delays else 0


def _traffic(space: Space, story: Traffic, choices: Choices) -> Traffic:
    """Once one message is cut, the numbers of all others are other ones: they keep their bytes."""
    stream = story.transport == "tcp"
    later, cut, messages = 0, False, list[tuple[int, Message, bytes]]()
    for number, message in enumerate(story.messages, start=1):
        later += _delay(space, choices)
        if not stream or message.kind != "data":
            messages.append((message.at_ns + later, message, message.content))
            continue
        content, offset = message.payload(number), 0
        for size, gap in _pieces(space, message.size, choices):
            later, cut = later + gap, cut or bool(offset)
            messages.append((message.at_ns + later, message, content[offset : offset + size]))
            offset += size
    return replace(story, messages=tuple(_message(*one, cut) for one in sorted(messages, key=_at)))


def _at(planned: tuple[int, Message, bytes]) -> int:
    return planned[0]


def _message(at: int, message: Message, content: bytes, cut: bool) -> Message:
    if not cut or message.kind != "data":
        return replace(message, at_ns=at)
    return Message(at, len(content), message.connection, "data", content)


def _client(space: Space, client: Client, choices: Choices) -> Client:
    later, steps = _delay(space, choices), list[Step]()
    for kind, amount in client.steps:
        fault = choices.pick(1 + len(space.faults))
        if fault:
            steps.append((space.faults[fault - 1], 0))
            if space.faults[fault - 1] == SHUTDOWN:
                steps.append((CLOSE, 0))
            break
        if wait := _delay(space, choices):
            steps.append((WAIT, wait))
        if kind != SEND:
            steps.append((kind, amount))
            continue
        for size, gap in _pieces(space, amount, choices):
            if gap:
                steps.append((WAIT, gap))
            steps.append((SEND, size))
    return replace(client, at_ns=client.at_ns + later, steps=tuple(steps))


# -- in words ----------------------------------------------------------------------------------


def told(story: Story) -> str:
    """What happens in a story, in a line for each connection or client."""
    if isinstance(story, Traffic):
        return "\n".join(_coming(story, place) for place in range(story.connections))
    if isinstance(story, Clients):
        return "\n".join(_doing(number, one) for number, one in enumerate(story.clients))
    return "nothing comes from outside"


def _coming(story: Traffic, connection: int) -> str:
    words = []
    for message in story.messages:
        if message.connection == connection:
            content = f" {message.content!r}" if 0 < len(message.content) <= SHOWN else ""
            size = "1 byte" if message.size == 1 else f"{message.size:,} bytes"
            what = {"eof": "the end", "reset": "a reset"}.get(message.kind, f"{size}{content}")
            words.append(f"at {message.at_ns / 1e6:g} ms {what}")
    return f"comes: {', '.join(words)}"


def _doing(number: int, client: Client) -> str:
    words = []
    for kind, amount in client.steps:
        value = f" {amount:,}" if amount else ""
        words.append(f"{kind} {amount / 1e6:g} ms" if kind in TIMED else f"{kind}{value}")
    begins = f"connects at {client.at_ns / 1e6:g} ms"
    return f"client {number}: {', '.join([begins, *_repeats(words)])}"


def _repeats(words: list[str]) -> Iterator[str]:
    """One word, or two in turn, that come more than twice are told once."""
    place = 0
    while place < len(words):
        for length in (1, 2):
            block = words[place : place + length]
            times = 1
            while words[place + times * length : place + (times + 1) * length] == block:
                times += 1
            if times > 2:
                yield f"{times} times ({', '.join(block)})"
                place += times * length
                break
        else:
            yield words[place]
            place += 1
