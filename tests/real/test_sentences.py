"""What the notebooks say in passing, with no cell of its own: tried on this kernel.

Each test names the sentence that would be false if it were red.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import signal
import socket
import struct
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from errno import EINTR
from itertools import pairwise
from pathlib import Path

import pytest
from waiting import until

from iosim.machine import procfs

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(sys.platform != "linux", reason="Linux only"),
]

LIBC = ctypes.CDLL(None, use_errno=True)
F_SETSIG, F_SETOWN_EX, F_OWNER_TID = 10, 15, 0  # fcntl(2)
SIGNALFD = struct.Struct("<IiiIIiIIIIii4Q48x")  # struct signalfd_siginfo: signalfd(2)


@pytest.fixture
def handler():
    """SIGUSR1 has a handler that returns, and is given back."""
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    yield
    signal.signal(signal.SIGUSR1, before)


def receive_in_c(limit_s: int) -> tuple[int, int]:
    """recv(2) as C calls it, with SO_RCVTIMEO unless `limit_s` is 0: its result and errno.

    While it sleeps its thread is signalled; a byte comes when it has come back, or sleeps again.
    """
    here, tid = threading.get_ident(), threading.get_native_id()
    back, (one, other) = threading.Event(), socket.socketpair()

    def disturb() -> None:
        until(lambda: procfs.sample("self", tid)[::2] == ("S", "recvfrom"))
        before = procfs.voluntary("self", tid)
        signal.pthread_kill(here, signal.SIGUSR1)
        until(lambda: back.is_set() or procfs.voluntary("self", tid) > before)
        other.send(b"!")

    with one, other:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", limit_s, 0))
        thread = threading.Thread(target=disturb)
        thread.start()
        got = LIBC.recv(one.fileno(), ctypes.create_string_buffer(9), 9, 0)
        errno = ctypes.get_errno()
        back.set()
        thread.join()
    return got, errno


@pytest.mark.parametrize(
    ("restart", "limit_s", "comes"), [(True, 0, 1), (False, 0, -1), (True, 20, -1)]
)
def test_a_receive_in_c_goes_on_after_a_handler_with_sa_restart(
    handler: None, restart: bool, limit_s: int, comes: int
) -> None:
    """01, cell-41: EINTR unless SA_RESTART, and no SO_RCVTIMEO (signal(7))."""
    signal.siginterrupt(signal.SIGUSR1, not restart)
    got, errno = receive_in_c(limit_s)
    assert got == comes
    assert got == 1 or errno == EINTR


def test_a_signal_that_was_chosen_says_of_which_descriptor_it_is() -> None:
    """06, cell-53: si_fd and si_band, with F_SETSIG; fcntl(2)."""
    number = signal.SIGRTMIN + 3
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    words = ctypes.create_string_buffer((1 << (number - 1)).to_bytes(8, sys.byteorder), 128)
    told, pairs = LIBC.signalfd(-1, words, os.O_CLOEXEC), list[tuple[socket.socket, ...]]()
    try:
        assert told >= 0
        pairs += [socket.socketpair() for _ in range(3)]
        for here, _ in pairs:  # for this thread, which holds it back
            me = struct.pack("ii", F_OWNER_TID, threading.get_native_id())
            fcntl.fcntl(here, F_SETOWN_EX, me)
            fcntl.fcntl(here, F_SETSIG, number)
            fcntl.fcntl(here, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
        pairs[1][1].send(b"x")
        info = SIGNALFD.unpack(os.read(told, SIGNALFD.size))
        signo, fd, band = info[0], info[5], info[7]
        assert (signo, fd) == (number, pairs[1][0].fileno())
        assert band & select.POLLIN
    finally:
        for here, there in pairs:
            fcntl.fcntl(here, fcntl.F_SETFL, 0)
            here.close()
            there.close()
        while signal.sigtimedwait({number}, 0):
            pass
        if told >= 0:
            os.close(told)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def listening(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(200)
    return sock


def test_the_kernel_deals_clients_out_to_listeners_of_one_port() -> None:
    """09, x6-why, and 10, cell-22: SO_REUSEPORT, which deals by a hash (none of 60: 1 in 2^59)."""
    with listening(0) as one, listening(one.getsockname()[1]) as two:
        clients = [socket.create_connection(one.getsockname()) for _ in range(60)]
        taken = []
        for door in (one, two):
            door.setblocking(False)
            taken.append(0)
            with suppress(BlockingIOError):
                while True:  # a connect that has returned is in the queue of one of them
                    door.accept()[0].close()
                    taken[-1] += 1
        for client in clients:
            client.close()
    assert sum(taken) == 60
    assert min(taken) > 0


def test_a_backlog_is_cut_to_somaxconn() -> None:
    """10, cell-56.  TCP_INFO of a listening socket has the bound of its queue (tcpi_sacked)."""
    bound = int(Path("/proc/sys/net/core/somaxconn").read_text())
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(bound + 1_000)
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        assert struct.unpack_from("I", info, 28)[0] == bound


def test_a_regular_file_may_have_a_poll_of_its_own() -> None:
    """09, cell-64: EPERM is for those that have none, as on a disk (epoll_ctl(2))."""
    with open("/proc/self/mounts") as mounts, open(__file__) as on_disk, select.epoll() as epoll:
        epoll.register(mounts, select.EPOLLPRI)
        with pytest.raises(PermissionError):
            epoll.register(on_disk, select.EPOLLIN)


def test_a_submit_that_starts_a_worker_waits_for_it_a_moment() -> None:
    """01, cell-51: its queue has no bound, and yet it sleeps (Thread.start, `_started`)."""
    gate = threading.Event()
    with ThreadPoolExecutor(10) as pool:
        switches = [voluntary()]
        try:
            for _ in range(2):
                for _ in range(10):
                    pool.submit(gate.wait)
                switches.append(voluntary())
        finally:
            gate.set()
    starting, later = (after - before for before, after in pairwise(switches))
    assert starting > later


def voluntary() -> int:
    """How often this thread has given its core away."""
    count = procfs.voluntary("self", threading.get_native_id())
    assert count is not None
    return count
