"""An echo server in a process of its own, to be broken: what dies there takes nobody with it.

    with serving("notes") as server:
        with server.connect() as client: ...
        print(server.last_words())      # the last line of its traceback; "" while it lives

It listens on 127.0.0.1, on a free port, and ends with the block, or after LIFE_S in any case.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from selectors import BaseSelector

from ..kernels.resource_limits import beginning
from ..machine.children import how_it_ended, plain_environment
from ..recorder.record import record
from ..trace import Timeline
from . import notes, survivor

__all__ = ["Server", "serving", "until"]

SERVERS = ("notes", "survivor")
COMMAND = (sys.executable, "-m", __name__)
LIFE_S = 55  # the most that a server lives, should whoever started it be gone
PATIENCE_S = 20.0  # for what comes in a moment, unless something is wrong


def until(true: Callable[[], object], seconds: float = PATIENCE_S) -> bool:
    """Wait until `true()`; whether it came to be so within `seconds`."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True


@dataclass
class Server:
    """A server that runs in a child process, on `port`."""

    process: subprocess.Popen[str]
    port: int
    tape: Path
    clients: list[socket.socket] = field(default_factory=list)
    said: str = ""  # on stderr

    def connect(self, receive_buffer: int = 0) -> socket.socket:
        """A client with a time-out, closed with the server at the latest.

        `receive_buffer` > 0: with so small a SO_RCVBUF (bytes).  OSError if nobody listens.
        """
        with beginning("a client"):
            client = socket.socket()
        self.clients.append(client)
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(PATIENCE_S)
        with beginning("a connection to the server"):
            client.connect(("127.0.0.1", self.port))
        return client

    def alive(self) -> bool:
        """Whether its process runs."""
        return self.process.poll() is None

    def last_words(self) -> str:
        """The last line that it leaves on stderr when it ends; "" if it goes on (20 s)."""
        if not until(lambda: not self.alive()):
            return ""
        assert self.process.stderr
        self.said += self.process.stderr.read()
        return (self.said.strip().splitlines() or [""])[-1]

    def echoes(self, data: bytes = b"hello", seconds: float = PATIENCE_S) -> bool:
        """Whether a new client gets back what it sends."""
        try:
            with self.connect() as client:
                client.settimeout(seconds)
                client.sendall(data)
                got = b""  # not MSG_WAITALL: with a time-out the socket is nonblocking
                while len(got) < len(data) and (more := client.recv(len(data))):
                    got += more
                return got == data
        except OSError:
            return False

    def end(self, signo: int = signal.SIGINT) -> int:
        """Send it a signal; its exit status, negative for a signal that killed it."""
        self.process.send_signal(signo)
        return self.process.wait(PATIENCE_S)

    def descriptors(self) -> int:
        """How many it has open; 0 if it is over, and where nothing tells (it is Linux's)."""
        try:
            return len(os.listdir(f"/proc/{self.process.pid}/fd"))
        except OSError:
            return 0

    def cpu_s(self) -> float:
        """CPU time that it used up to now, in s (Linux: proc(5), stat)."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    def timeline(self) -> Timeline:
        """What it did, from its beginning; once it has ended, and if it was recorded."""
        until(lambda: not self.alive())
        return Timeline.from_json(self.tape.read_text(encoding="utf-8"))


@contextmanager
def serving(
    server: str,
    *,
    port: int = 0,
    files: int = 0,
    recorded: bool = False,
    unread: bool = False,
    **options: float,
) -> Iterator[Server]:
    """`notes` or `survivor` in a child process.

    `files` > 0: with at most so many descriptors (RLIMIT_NOFILE).  `recorded`: for `timeline()`.
    `unread`: its stdout is a pipe that nobody reads; else it leads nowhere.  `options` are the
    survivor's.  ValueError for another name; OSError if the server cannot begin.
    """
    if server not in SERVERS:
        raise ValueError(f"server must be one of {', '.join(SERVERS)}, got {server!r}")
    with ExitStack() as stack:
        with beginning("a folder for the server"):
            folder = stack.enter_context(tempfile.TemporaryDirectory())
        tape = Path(folder) / "tape.json"
        command = [*COMMAND, server, f"--port={port}", f"--files={files}"]
        command += ["--unread"] * unread + [f"--tape={tape}"] * recorded
        command += [f"--option={name}={value}" for name, value in options.items()]
        with beginning("a process for the server"):
            process = subprocess.Popen(
                command, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, env=plain_environment(),
            )  # fmt: skip
        assert process.stdout
        clients: list[socket.socket] = []
        with process:
            try:
                # To its end: then the server has all the descriptors that it has when it is idle.
                said = process.stdout.readline() if unread else process.stdout.read()
                if not said:
                    raise OSError(_why_none(process))
                yield Server(process, int(said), tape, clients)
            finally:
                for client in clients:
                    client.close()
                process.kill()


def _why_none(process: subprocess.Popen[str]) -> str:
    """How a server ended that has not begun, and what it said last."""
    said = process.communicate()[1].strip().splitlines()
    return ": ".join([f"the server {how_it_ended(process.returncode)}", *said[-1:]])


# -- in the child ---------------------------------------------------------------------------------


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("server", choices=SERVERS)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--files", type=int, default=0)
    parser.add_argument("--unread", action="store_true")
    parser.add_argument("--tape", type=Path)
    parser.add_argument("--option", action="append", default=[])
    return parser.parse_args()


def _limit(files: int) -> None:
    if files:
        import resource

        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(files, hard), hard))


def _begin(
    name: str, port: int, options: dict[str, float]
) -> tuple[BaseSelector, socket.socket, Callable[[], None]]:
    """A server that listens: its selector, its listening socket, and what serves."""
    if name == "notes":
        return notes.sel, notes.listening(port), notes.serve
    server = survivor.EchoServer(port, **options)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, server.stop)
    return server.selector, server.listener, server.run


def main() -> None:
    """Say the port, and serve."""
    if hasattr(signal, "alarm"):
        signal.alarm(LIFE_S)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    asked = _arguments()
    options = {name: float(value) for name, _, value in (o.partition("=") for o in asked.option)}
    selector, listener, serve = _begin(asked.server, asked.port, options)
    port, tape = listener.getsockname()[1], record(asked.server)
    try:
        with tape if asked.tape else nullcontext():
            if asked.tape:
                tape.wrap(selector)
                tape.wrap(listener)
            _limit(asked.files)
            print(port, flush=True)
            if not asked.unread:
                os.dup2(0, 1)  # stdin is /dev/null; the other end takes the end of the pipe as word
            serve()
    finally:
        if asked.tape:
            _limit(asked.files and 10**6)
            asked.tape.write_text(tape.timeline.to_json(), encoding="utf-8")


if __name__ == "__main__":
    main()
