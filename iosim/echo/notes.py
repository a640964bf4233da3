"""The echo server of the notes (section 8.2), mistakes and all: see notebook 10 before you use it.

    python notes.py                 prints its port first

Two things are changed: it takes a free port of 127.0.0.1 in place of ('localhost', 1234), and says
which; and what stood at the top level stands in two functions, so that the file can be imported.
"""

import selectors
import socket

sel = selectors.DefaultSelector()


def accept(sock, mask):  # type: ignore[no-untyped-def]
    conn, addr = sock.accept()  # Should be ready
    print("accepted", conn, "from", addr)
    conn.setblocking(False)
    sel.register(conn, selectors.EVENT_READ, read)


def read(conn, mask):  # type: ignore[no-untyped-def]
    data = conn.recv(1000)  # Should be ready
    if data:
        print("echoing", repr(data), "to", conn)
        conn.send(data)  # Hope it won't block
    else:
        print("closing", conn)
        sel.unregister(conn)
        conn.close()


def listening(port: int = 0) -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", port))
    sock.listen(100)
    sock.setblocking(False)
    sel.register(sock, selectors.EVENT_READ, accept)
    return sock


def serve() -> None:
    while True:
        events = sel.select()
        for key, mask in events:
            callback = key.data
            callback(key.fileobj, mask)


if __name__ == "__main__":
    print(listening().getsockname()[1], flush=True)
    serve()
