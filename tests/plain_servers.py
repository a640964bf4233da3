"""Plain servers and a plain task, which both kernels run: ordinary Python of many kinds."""

import asyncio
import select
import selectors
import socket
import socketserver
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from iosim import Timeline
from iosim.echo import notes
from iosim.echo.survivor import EchoServer

__all__ = [
    "SERVERS", "all_of_it", "answered", "by_a_pool", "by_selectors", "by_socketserver",
    "by_streams", "by_threads", "one_after_the_other", "serve",
]  # fmt: skip


def answered(run: Timeline) -> bool:
    """Has each client got back what it has sent, in order?"""
    return all(
        visit.sent == visit.received and not (visit.end or visit.garbled) for visit in run.visits
    )


def one_after_the_other(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            while data := connection.recv(1_000):
                connection.sendall(data)


def by_selectors(listener: socket.socket) -> None:
    listener.setblocking(False)
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is listener:
                    connection, _ = listener.accept()
                    selector.register(connection, selectors.EVENT_READ)
                elif data := key.fileobj.recv(100):  # type: ignore[union-attr]
                    key.fileobj.send(data)  # type: ignore[union-attr]
                else:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()  # type: ignore[union-attr]


def by_select(listener: socket.socket) -> None:
    here = [listener]
    while True:
        for ready in select.select(here, [], [])[0]:
            if ready is listener:
                here.append(listener.accept()[0])
            elif data := ready.recv(100):
                ready.sendall(data)
            else:
                here.remove(ready)
                ready.close()


def by_epoll(listener: socket.socket) -> None:
    of_fd: dict[int, socket.socket] = {listener.fileno(): listener}
    with select.epoll() as epoll:
        epoll.register(listener, select.EPOLLIN)
        while True:
            for fd, _ in epoll.poll():
                if of_fd[fd] is listener:
                    connection, _ = listener.accept()
                    of_fd[connection.fileno()] = connection
                    epoll.register(connection.fileno(), select.EPOLLIN)
                elif data := of_fd[fd].recv(100):
                    of_fd[fd].sendall(data)
                else:
                    epoll.unregister(fd)
                    of_fd.pop(fd).close()


def serve(connection: socket.socket) -> None:
    with connection:
        while data := connection.recv(100):
            connection.sendall(data)


def by_threads(listener: socket.socket) -> None:
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],)).start()


def by_a_pool(listener: socket.socket) -> None:
    with ThreadPoolExecutor(3) as pool:
        while True:
            pool.submit(serve, listener.accept()[0])


async def by_streams(listener: socket.socket) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(handle, sock=listener)
    async with server:
        await server.serve_forever()


async def by_protocols(listener: socket.socket) -> None:
    class Echo(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(data)

    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, sock=listener)
    await server.serve_forever()


def by_socketserver(listener: socket.socket) -> None:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while data := self.request.recv(100):
                self.request.sendall(data)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler, False) as server:
        server.socket.close()
        server.socket = listener
        server.serve_forever()


def the_survivor(listener: socket.socket) -> None:
    server = EchoServer()
    server.close(server.listener)
    server.listener = listener
    listener.setblocking(False)
    server.selector.register(listener, selectors.EVENT_READ)
    server.run()


def the_notes(listener: socket.socket) -> None:
    listener.setblocking(False)
    notes.sel.register(listener, selectors.EVENT_READ, notes.accept)
    notes.serve()


SERVERS = [
    one_after_the_other, by_selectors, by_select, by_epoll, by_threads, by_a_pool, by_streams,
    by_protocols, by_socketserver, the_survivor, the_notes,
]  # fmt: skip


async def all_of_it() -> float:
    begun = time.monotonic()
    said = await asyncio.gather(asyncio.sleep(1, "one"), asyncio.to_thread(time.sleep, 2))
    assert said == ["one", None]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await asyncio.sleep(5)
    async with asyncio.TaskGroup() as group:
        for seconds in (1, 2):
            group.create_task(asyncio.sleep(seconds))
    things: asyncio.Queue[int] = asyncio.Queue()
    asyncio.get_running_loop().call_later(0.25, things.put_nowait, 7)
    assert await things.get() == 7
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), 0.25)
    return time.monotonic() - begun
