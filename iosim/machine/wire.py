"""A network of one's own, whose packets take time and can be lost: for a process of its own.

    wire = Wire(delay_s=0.01)           # from here on this process is in a network of its own
    with socket.create_server((HERE, 0)) as door: ...       # what listens HERE
    client = socket.create_connection((THERE, port))        # is reached THERE, over the wire

What is sent THERE goes to a network interface behind which stands this process itself (a TUN
device: Documentation/networking/tuntap.rst of the kernel).  It keeps each packet for `delay_s`,
exchanges the two addresses, which leaves every checksum as it is, and gives it back: so it comes
from THERE.  Linux only.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket
import struct
import sys
import threading
import time
from collections import deque
from errno import ENOSYS

from ..validate import whole
from .errors import failure

__all__ = ["HERE", "THERE", "Wire", "loopback", "own_network"]

HERE, THERE = "10.0.0.1", "10.0.0.2"
NAME = b"wire"
NEW_USER, NEW_NETWORK = 0x1000_0000, 0x4000_0000  # of unshare(2)
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x4004_54CA, 0x1, 0x1000
SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK, SIOCSIFMTU = 0x8914, 0x8916, 0x891C, 0x8922
UP, RUNNING = 0x1, 0x40  # IFF_UP, IFF_RUNNING: netdevice(7)
MTU = 68, 65_535, "bytes"  # RFC 791
UDP_HEADER, TCP, UDP = 8, 6, 17


def own_network() -> None:
    """From here on this process is in a network of its own: unshare(2).  OSError if refused."""
    if not sys.platform.startswith("linux"):
        raise failure(ENOSYS)
    if ctypes.CDLL(None, use_errno=True).unshare(NEW_USER | NEW_NETWORK):
        raise failure(ctypes.get_errno())


def loopback(up: bool) -> None:
    """Switch 127.0.0.1 on, or off: there what is sent is gone, and nobody is told."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        _switch(any_socket, b"lo", up)


def _switch(any_socket: socket.socket, interface: bytes, up: bool) -> None:
    import fcntl

    flags = struct.pack("16sH14x", interface, RUNNING | UP * up)
    fcntl.ioctl(any_socket, SIOCSIFFLAGS, flags)


class Wire:
    """Packets take `delay_s` in each direction; the next `lose` of those that carry data are lost.

    `carried` has the bytes of data in each of them, in the order of their sending, lost or not.
    PermissionError or OSError where the system refuses it (and the process may then be in a network
    without any interface); ValueError for an `mtu` (bytes) of which IP knows nothing.
    """

    def __init__(self, delay_s: float = 0.0, mtu: int = 1_500) -> None:
        whole("Wire: mtu", mtu, *MTU)
        self.delay_s, self.lose = delay_s, 0
        self.carried: list[int] = []
        self._on_the_way: deque[tuple[float, bytes]] = deque()
        own_network()
        self._end = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        try:
            self._set_up(mtu)
        except BaseException:
            os.close(self._end)
            raise
        threading.Thread(target=self._carry, daemon=True).start()

    def _set_up(self, mtu: int) -> None:
        import fcntl

        fcntl.ioctl(self._end, TUNSETIFF, struct.pack("16sH22x", NAME, IFF_TUN | IFF_NO_PI))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            for request, text in ((SIOCSIFADDR, HERE), (SIOCSIFNETMASK, "255.255.255.0")):
                address = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(text))
                fcntl.ioctl(any_socket, request, struct.pack("16s16s", NAME, address))
            fcntl.ioctl(any_socket, SIOCSIFMTU, struct.pack("16si12x", NAME, mtu))
            _switch(any_socket, NAME, up=True)

    def _carry(self) -> None:
        while True:
            wait = self._on_the_way[0][0] - time.monotonic() if self._on_the_way else None
            if select.select([self._end], [], [], None if wait is None else max(0.0, wait))[0]:
                self._take(bytearray(os.read(self._end, 65_536)))
            while self._on_the_way and self._on_the_way[0][0] <= time.monotonic():
                os.write(self._end, self._on_the_way.popleft()[1])

    def _take(self, packet: bytearray) -> None:
        """One packet, from its sender: lost, or on its way back with its addresses exchanged."""
        if packet[0] >> 4 != 4:  # IPv6 says hello
            return
        if nbytes := _data_of(packet):
            self.carried.append(nbytes)
            if self.lose:
                self.lose -= 1
                return
        packet[12:16], packet[16:20] = packet[16:20], packet[12:16]
        self._on_the_way.append((time.monotonic() + self.delay_s, bytes(packet)))


def _data_of(packet: bytearray) -> int:
    """Bytes behind the headers of IP, and of TCP or UDP (RFC 791, 9293, 768); of others, none."""
    start, protocol = (packet[0] & 15) * 4, packet[9]
    if protocol not in (TCP, UDP):
        return 0
    later_part = int.from_bytes(packet[6:8], "big") & 0x1FFF  # of a datagram in several packets
    header = (packet[start + 12] >> 4) * 4 if protocol == TCP else UDP_HEADER
    return int.from_bytes(packet[2:4], "big") - start - (0 if later_part else header)
