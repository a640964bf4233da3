"""A client of an echo server, to be killed: python -m iosim.echo.killed_client PORT NBYTES

It sends five bytes, waits until their echo lies in its queue, takes so many of them from there,
says so by a line, and waits until it is killed, or until its standard input ends.
"""

from __future__ import annotations

import socket
import sys

__all__ = ["main"]


def main(port: int, nbytes: int) -> None:
    """Be the client."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b"hello")
        sock.recv(5, socket.MSG_PEEK | socket.MSG_WAITALL)
        if nbytes:
            sock.recv(nbytes, socket.MSG_WAITALL)
        print("there", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
