"""Random small programs of asyncio: both ends of streams, told the same by both kernels.

An exchange is a row of steps, which both ends of each connection go through; who waits does so for
what is sure to come, or for what never comes.  Its time-outs are generous, or pass in any case.
"""

from __future__ import annotations

import asyncio
import errno
import sys
import zlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from seeds import SEED

from iosim import inconclusive, measure, undisturbed
from iosim.plain.simulate import run_plain

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the real kernel here is Linux's")

#: How it is sent, how it is read, how many bytes, and whether the server sends.
Step = tuple[str, str, int, bool]
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]

LONG_S, SHORT_S = 5.0, 0.003
LIMIT = 1_000  # of a line
CASES = settings.default.max_examples // 4 if settings.default else 25


async def told(act: Awaitable[Any]) -> Any:
    """What came of it, or what it raised; of bytes how many, and their checksum."""
    try:
        found = await act
    except asyncio.IncompleteReadError as error:
        return f"{len(error.partial)} of {error.expected}"
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, type(error).__name__)
    except (ValueError, RuntimeError, asyncio.LimitOverrunError) as error:
        return type(error).__name__
    return (len(found), zlib.crc32(found)) if isinstance(found, bytes) else found


# -- ways to send and to read -----------------------------------------------------------------


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)


async def _drain(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


async def _in_parts(writer: asyncio.StreamWriter, data: bytes) -> None:
    half = len(data) // 2
    writer.writelines([data[:half], b"", data[half:]])
    await asyncio.wait_for(writer.drain(), LONG_S)


async def _late(writer: asyncio.StreamWriter, data: bytes) -> None:
    await asyncio.sleep(SHORT_S)
    writer.write(data)
    await asyncio.shield(writer.drain())


async def _until(reader: asyncio.StreamReader, size: int) -> bytes:
    return await reader.readuntil(b"\n")


async def _piece_by_piece(reader: asyncio.StreamReader, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := await reader.read(size - len(data))):
        data += more
    return data


async def _after_a_while(reader: asyncio.StreamReader, size: int) -> bytes:
    await asyncio.sleep(SHORT_S)
    return await reader.readexactly(size)


async def _beside_others(reader: asyncio.StreamReader, size: int) -> bytes:
    first, data = await asyncio.gather(asyncio.sleep(SHORT_S, b""), reader.readexactly(size))
    return first + data


async def _in_a_group(reader: asyncio.StreamReader, size: int) -> bytes:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(reader.readexactly(size))
        group.create_task(asyncio.sleep(0))
    return task.result()


async def _too_impatient(reader: asyncio.StreamReader, size: int) -> bytes:
    """Nothing comes in time; it is there all the same."""
    try:
        async with asyncio.timeout(0):
            await asyncio.sleep(LONG_S)
    except TimeoutError:
        return await reader.readexactly(size)
    return b"?"


SEND: dict[str, Callable[[asyncio.StreamWriter, bytes], Awaitable[None]]] = {
    "write": _write, "drain": _drain, "in parts": _in_parts, "late": _late,
}  # fmt: skip
READ: dict[str, Callable[[asyncio.StreamReader, int], Awaitable[bytes]]] = {
    "readexactly": lambda reader, size: reader.readexactly(size),
    "wait_for": lambda reader, size: asyncio.wait_for(reader.readexactly(size), LONG_S),
    "readline": lambda reader, size: reader.readline(), "readuntil": _until,
    "piece by piece": _piece_by_piece, "after a while": _after_a_while,
    "beside others": _beside_others, "in a group": _in_a_group, "impatient": _too_impatient,
}  # fmt: skip
BY_LINE = ("readline", "readuntil")
#: What an end does last, while the other one reads to the end.
ENDS: dict[str, Callable[[asyncio.StreamWriter], None]] = {
    "close": lambda writer: writer.close(), "write_eof": lambda writer: writer.write_eof(),
    "abort": lambda writer: writer.transport.abort(),
}  # fmt: skip


async def _go_through(ends: Ends, steps: Sequence[Step], end: str, serves: bool) -> list[Any]:
    reader, writer = ends
    said: list[Any] = [writer.get_extra_info("peername")[0]]
    for way, how, size, server in steps:
        if server == serves:
            data = bytes(97 + i % 26 for i in range(size - 1)) + b"\n"
            said.append(await told(SEND[way](writer, data)))
        else:  # what is lost of a line that is too long is nobody's to say
            by_line = how in BY_LINE and size > LIMIT
            said.append(await told(READ["piece by piece" if by_line else how](reader, size)))
    if serves:
        writer.write(b".")
        said.append(await told(reader.readexactly(3)))
        said.append((reader.at_eof(), writer.is_closing()))
        writer.close()
    else:
        said.append(await told(reader.readexactly(1)))  # all that it has sent was read
        ENDS[end](writer)
        if end == "write_eof":
            said.append(await told(reader.read()))
            writer.close()
    said.append(await told(asyncio.wait_for(writer.wait_closed(), LONG_S)))
    return said


async def program(
    rows: Sequence[Sequence[Step]], ends: Sequence[str], grouped: bool, said: dict[str, Any]
) -> None:
    """A client and a handler for each row."""
    handled: asyncio.Queue[tuple[int, Any]] = asyncio.Queue()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = (await reader.readexactly(1))[0]
        found = await _go_through((reader, writer), rows[number], ends[number], True)
        await handled.put((number, found))

    async def ask(number: int, port: int) -> None:
        both = await asyncio.open_connection("127.0.0.1", port, limit=LIMIT)
        both[1].write(bytes([number]))
        said[f"client {number}"] = await _go_through(both, rows[number], ends[number], False)

    async with await asyncio.start_server(handle, "127.0.0.1", 0, limit=LIMIT) as server:
        port = server.sockets[0].getsockname()[1]
        if grouped:
            async with asyncio.TaskGroup() as group:
                for number in range(len(rows)):
                    group.create_task(ask(number, port))
        else:
            await asyncio.gather(*(ask(number, port) for number in range(len(rows))))
        for _ in rows:
            number, found = await asyncio.wait_for(handled.get(), LONG_S)
            said[f"server {number}"] = found


steps = st.tuples(
    st.sampled_from([*SEND]), st.sampled_from([*READ]),
    st.one_of(st.integers(1, 40), st.sampled_from((LIMIT, LIMIT + 1, 5_000, 300_000))),
    st.booleans(),
)  # fmt: skip
rows = st.lists(st.lists(steps, max_size=5), min_size=1, max_size=3)


def run(told_of: Any, real: bool) -> tuple[Any, Any]:
    given, ends, grouped = told_of
    said: dict[str, Any] = {}
    options = {"rows": given, "ends": ends, "grouped": grouped, "said": said}
    if real:
        seen: Any = measure(program, **options)
    else:
        seen = run_plain(program, **options)
        assert seen.error is None, (seen.error, said)
    return dict(sorted(said.items())), seen


@seed(SEED)
@settings(
    max_examples=CASES, derandomize=False, database=None, report_multiple_bugs=False,
    deadline=None, suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(rows, st.lists(st.sampled_from([*ENDS]), min_size=3, max_size=3), st.booleans())
def test_they_agree_on_programs_of_asyncio(
    rows: list[list[Step]], ends: list[str], grouped: bool
) -> None:
    simulated, _ = run((rows, ends, grouped), real=False)
    first = run((rows, ends, grouped), real=True)
    if simulated == first[0]:
        return
    runs = [first]

    def again() -> Any:
        said, seen = runs.pop() if runs else run((rows, ends, grouped), real=True)
        results.append(said)
        return seen

    results: list[Any] = []
    seen = undisturbed(again)
    assert simulated == results[-1] or inconclusive(seen), f"IOSIM_SEED={SEED}"
