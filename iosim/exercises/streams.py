"""Exercises 1 to 3: bytes come as they like, and go as there is room."""

from __future__ import annotations

import contextlib
import select
import socket
from functools import partial
from random import Random

from ..calls import ms
from ..hunting.claims import returns
from ..hunting.search import Broken
from ..hunting.space import Space
from ..plain.simulate import Outcome
from ..workloads import clients, traffic
from .exercise import Answer, Exercise, Mistake, Part, Program, spins, would_block
from .readiness import woken_too_often

__all__ = ["READ_MESSAGES", "RECV_EXACTLY", "SEND_ALL"]


def _bytes(seed: int, size: int) -> bytes:
    """So many bytes, other ones for each seed."""
    return bytes(Random(seed).choices(b"abcdefghijklmnopqrstuvwxyz", k=size))


# -- 1: receive exactly n bytes ------------------------------------------------------------------


def recv_exactly(sock: socket.socket, n: int) -> bytes:
    """A right answer."""
    data = b""
    while len(data) < n:
        more = sock.recv(n - len(data))
        if not more:
            raise EOFError(f"the stream ended {n - len(data)} bytes too early")
        data += more
    return data


def _two_parts(answer: Answer, first: int, second: int) -> Program:
    def program(sock: socket.socket) -> list[bytes]:
        return [answer(sock, first), answer(sock, second)]

    return program


def _too_early(answer: Answer) -> Program:
    def program(sock: socket.socket) -> object:
        try:
            return answer(sock, 10)
        except EOFError:
            return "EOFError"

    return program


def _and_the_rest(answer: Answer) -> Program:
    """What comes behind is for somebody else, who waits for it as before."""

    def program(sock: socket.socket) -> list[bytes]:
        return [answer(sock, 4), b"".join(iter(lambda: sock.recv(100), b""))]

    return program


def _to_the_end(answer: Answer) -> Program:
    def program(sock: socket.socket) -> list[object]:
        first = answer(sock, 4)
        try:
            return [first, answer(sock, 4)]
        except EOFError:
            return [first, "EOFError"]

    return program


def _after_a_pause(seed: int) -> Space:
    whole = _bytes(seed, 10)
    return Space(traffic.stream(whole[:2], whole[2:], every_ms=60_000).then("eof"))


def _first_returned(found: Broken) -> bytes:
    returned = found.outcome.returned
    return returned[0] if isinstance(returned, list) and isinstance(returned[0], bytes) else b""


def _in_vain(found: Broken) -> bool:
    """Did its last calls find nothing?"""
    return found.timeline.call_log[-1].errno is not None


RECV_EXACTLY = Exercise(
    1, "recv_exactly", "receive exactly n bytes",
    (
        Part(
            partial(_two_parts, first=4, second=6),
            lambda seed: Space(traffic.stream(_bytes(seed, 10)).then("eof", after_ms=500)),
            lambda seed: returns([_bytes(seed, 10)[:4], _bytes(seed, 10)[4:]]),
        ),
        Part(
            _too_early, lambda seed: Space(traffic.stream(_bytes(seed, 3)).then("eof")),
            lambda seed: returns("EOFError"),
        ),
        Part(
            _and_the_rest, _after_a_pause,
            lambda seed: returns([_bytes(seed, 10)[:4], _bytes(seed, 10)[4:]]), cases=40,
        ),
        Part(
            _to_the_end, lambda seed: Space(traffic.stream(_bytes(seed, 4)).then("eof")),
            lambda seed: returns([_bytes(seed, 4), "EOFError"]), cases=40,
        ),
    ),
    (
        Mistake(
            "spins on the end",
            "An empty result is the end of the stream: recv returns b'' at once, again and again.",
            lambda part, found: found.kind == "spins" and not _in_vain(found),
        ),
        Mistake(
            "asks without a pause",
            "You made the socket nonblocking, and ask again and again: let recv wait.",
            spins,
        ),
        Mistake(
            "the end is not told",
            "The stream ended before n bytes had come, and your caller was not told: raise "
            "EOFError.",
            lambda part, found: part in (1, 3) and found.kind in ("claim", "error"),
        ),
        Mistake(
            "a pause is no end",
            "The stream goes on after a pause, however long it is: only b'' is its end.",
            lambda part, found: found.kind == "error"
            and isinstance(found.outcome.error, TimeoutError),
        ),
        Mistake(
            "keeps what is not its own",
            "What comes behind your n bytes must still lie in the socket, and the socket be as it "
            "was: open, and blocking.",
            lambda part, found: part == 2,
        ),
        Mistake(
            "one recv is one message",
            "One recv is not one message: it returns what has come by then, at least one byte.",
            lambda part, found: part == 0
            and found.kind == "claim"
            and 0 < len(_first_returned(found)) < 4,
        ),
        Mistake(
            "takes too much",
            "You took more than n bytes off the stream: what comes after them is somebody else's.",
            lambda part, found: part == 0
            and (
                "EOFError" in found.words
                or found.kind == "stuck"
                or len(_first_returned(found)) >= 4
            ),
        ),
    ),
    recv_exactly,
)  # fmt: skip


# -- 2: send all of it on a nonblocking socket ---------------------------------------------------


def send_all(sock: socket.socket, data: bytes) -> None:
    """A right answer."""
    view = memoryview(data)
    while view:
        try:
            view = view[sock.send(view) :]
        except BlockingIOError:
            select.select([], [sock], [])


MUCH, REAL = 120, 60_000  # bytes, in three messages
MOST_WAITS = 60


def _sends_it_back(answer: Answer, much: int = MUCH) -> Program:
    def program(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            data = b""
            while len(data) < much:
                data += connection.recv(much - len(data))
            connection.setblocking(False)
            answer(connection, data[: much // 3])
            answer(connection, data[much // 3 :])
            connection.setblocking(True)
            with contextlib.suppress(OSError):  # the client may be gone by then
                connection.shutdown(socket.SHUT_WR)
                connection.recv(1)  # until the client has taken all

    return program


def _slow_reader(seed: int, much: int = MUCH) -> Space:
    third = ("send", much // 3)
    story = clients.of(
        clients.script(
            third, third, third, ("wait", ms(50 + seed % 7)), ("receive", much), ("receive", 1),
            rcvbuf=32,
        )
    )  # fmt: skip
    return Space(story, delays=(ms(10), ms(200)), cuts=False, options={"sndbuf": 48}, in_vain=40)


def _all_of_it(outcome: Outcome) -> str:
    """The client waits for one byte more, which is not to come."""
    (visit,) = outcome.visits
    if visit.received > MUCH:
        return f"the client got more than its {MUCH} bytes"
    if visit.garbled:
        return "the client got other bytes than it should have"
    if visit.received < MUCH:
        return f"the client got {visit.received} of {MUCH} bytes: {visit.end}"
    return woken_too_often(outcome, MOST_WAITS)


SEND_ALL = Exercise(
    2, "send_all", "send all of it on a nonblocking socket",
    (Part(_sends_it_back, _slow_reader, lambda seed: _all_of_it),),
    (
        Mistake(
            "EAGAIN is no error",
            "BlockingIOError (EAGAIN) only says that there is no room now: wait until there is.",
            would_block,
        ),
        Mistake(
            "asks without a pause",
            "You ask again and again while there is no room: sleep in select, poll or a selector "
            "until the socket is writable.",
            lambda part, found: spins(part, found) or "woke up" in found.words,
        ),
        Mistake(
            "waits for the wrong thing",
            "You wait until something can be read. Room to send is what the second list of "
            "select.select is for, or EVENT_WRITE, or POLLOUT.",
            lambda part, found: found.kind == "stuck",
        ),
        Mistake(
            "closes it",
            "The socket is your caller's, who sends more: leave it open, both ways.",
            lambda part, found: "Bad file descriptor" in found.words
            or "Broken pipe" in found.words,
        ),
        Mistake(
            "sends bytes twice",
            "Bytes went out twice, or in another order: go on behind what send says it has taken.",
            lambda part, found: "other bytes" in found.words or "more than" in found.words,
        ),
        Mistake(
            "a short write",
            "send takes what it has room for and says how many bytes that was: the rest is yours "
            "to send again.",
            lambda part, found: found.kind == "claim",
        ),
    ),
    send_all,
    real=Part(
        partial(_sends_it_back, much=REAL), partial(_slow_reader, much=REAL), lambda seed: None
    ),
)  # fmt: skip


# -- 3: frame messages by their length -----------------------------------------------------------


def read_messages(sock: socket.socket) -> list[bytes]:
    """A right answer."""
    messages, buffer = [], b""
    while data := sock.recv(4_096):
        buffer += data
        while len(buffer) >= 2:
            size = int.from_bytes(buffer[:2], "big")
            if len(buffer) < 2 + size:
                break
            messages.append(buffer[2 : 2 + size])
            buffer = buffer[2 + size :]
    return messages


def _framed(answer: Answer) -> Program:
    def program(sock: socket.socket) -> list[bytes]:
        return answer(sock)  # type: ignore[no-any-return]

    return program


def _messages(seed: int) -> list[bytes]:
    return [_bytes(seed, 5), b"", _bytes(seed + 1, 300), _bytes(seed + 2, 4)]


def _frames(seed: int) -> Space:
    frames = b"".join(len(one).to_bytes(2, "big") + one for one in _messages(seed))
    return Space(traffic.stream(frames[:9], frames[9:], every_ms=5).then("eof"))


def _whole_but_fewer(found: Broken) -> bool:
    """All bytes came, each message that it returned is one that was sent, and some are missing."""
    returned, sent = found.outcome.returned, _sent(found)
    if not _all_came(found) or not isinstance(returned, list):
        return False
    return 0 < len(returned) < len(sent) and set(returned) <= set(sent)


def _all_came(found: Broken) -> bool:
    """Has it received all bytes?"""
    assert isinstance(found.story, traffic.Traffic)
    return sum(call.nbytes for call in found.timeline.call_log) >= found.story.nbytes()


def _sent(found: Broken) -> list[bytes]:
    """The messages of its story."""
    assert isinstance(found.story, traffic.Traffic)
    frames, sent = b"".join(one.content for one in found.story.messages), []
    while frames:
        end = 2 + int.from_bytes(frames[:2], "big")
        sent.append(frames[2:end])
        frames = frames[end:]
    return sent


def _half_a_header(found: Broken) -> bool:
    """A length of which one byte only was there: 0 for the first message, or the end of all."""
    returned = found.outcome.returned
    gave_up = returned == [] and not _all_came(found)
    return gave_up or (isinstance(returned, list) and returned[:1] == [b""])


def _without_the_empty_one(found: Broken) -> bool:
    returned = found.outcome.returned
    return isinstance(returned, list) and len(returned) == 3 and b"" not in returned


def _taken_for_longer(found: Broken) -> bool:
    """All bytes came, and to the program the first message was not over with its last one."""
    outcome = found.outcome
    if outcome.ended or not _all_came(found):
        return False
    if isinstance(outcome.error, EOFError):
        return True
    returned, size = outcome.returned, len(_sent(found)[0])
    return returned == [] or (
        isinstance(returned, list) and isinstance(returned[0], bytes) and len(returned[0]) > size
    )


def _in_pieces(found: Broken) -> bool:
    """It gives back less of a message than there was, or comes to no end."""
    returned = found.outcome.returned
    return found.kind == "stuck" or (isinstance(returned, list) and bool(returned))


def _others(seed: int) -> list[bytes]:
    """Whatever bytes there are; a long one, equal ones, and an empty one at the end."""
    return [b" \n\0\xff" + _bytes(seed, 3), *[b"again"] * 12, _bytes(seed, 33_000), b""]


def _others_framed(seed: int) -> Space:
    frames = b"".join(len(one).to_bytes(2, "big") + one for one in _others(seed))
    return Space(traffic.stream(frames).then("eof", after_ms=60_000), in_vain=2_000)


READ_MESSAGES = Exercise(
    3, "read_messages", "frame messages by their length",
    (
        Part(_framed, _frames, lambda seed: returns(_messages(seed)), cases=600),
        Part(_framed, _others_framed, lambda seed: returns(_others(seed)), cases=20),
    ),
    (
        Mistake(
            "other messages",
            "A length has 16 bits, and no sign; the bytes may be any, also those of a space or a "
            "zero; messages may be equal, and the last one may be empty.",
            lambda part, found: part == 1 and found.kind in ("claim", "error"),
        ),
        Mistake(
            "the end is not seen",
            "recv returned b'', the end of the stream, and you went on: the last message is over.",
            lambda part, found: found.kind == "spins",
        ),
        Mistake(
            "a header in two pieces",
            "The two bytes of a length may come one by one: look at them only when both are there.",
            lambda part, found: _half_a_header(found)
            or any(name in found.words for name in ("IndexError", "it raised error:")),
        ),
        Mistake(
            "an empty message",
            "A message may be empty: its length is 0, and it is one of the list all the same.",
            lambda part, found: _without_the_empty_one(found),
        ),
        Mistake(
            "two messages in one",
            "Several messages may come with one recv: when one is whole, look whether the next is.",
            lambda part, found: found.kind == "claim" and _whole_but_fewer(found),
        ),
        Mistake(
            "the lower byte first",
            "You take a message for longer than it is: the higher byte of its length comes first "
            '("big"), and the length does not count its own two bytes.',
            lambda part, found: part == 0 and _taken_for_longer(found),
        ),
        Mistake(
            "a message in two pieces",
            "A message may come in pieces: keep what has come until all of it is there.",
            lambda part, found: _in_pieces(found),
        ),
    ),
    read_messages,
)  # fmt: skip
