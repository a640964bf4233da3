"""A pair of connected sockets in one process: socketpair(2), unix(7)."""

from __future__ import annotations

from errno import ECONNRESET, EPIPE
from typing import TYPE_CHECKING, ClassVar

from ..calls import EPOLLIN, EPOLLOUT
from .descriptions import changed
from .tcp import ANY, Stream

if TYPE_CHECKING:
    from ..trace.builder import MessageRecord
    from .kernel import Kernel

__all__ = ["UnixStream"]


class UnixStream(Stream):
    """One end: what is sent lies at the other one at once, and so is what either end is told."""

    __slots__ = ()
    local: ClassVar[bool] = True
    gone: ClassVar[bool] = False  # shutdown(2) never finds it unconnected (unix_shutdown)
    peer: UnixStream

    @property
    def room(self) -> int:
        """What lies at the other end is the sender's, whatever SO_RCVBUF is there: unix(7)."""
        return max(0, self.sndbuf - (0 if self.peer.closed else self.peer.queued))

    @property
    def writable(self) -> bool:
        """Is there room?  SHUT_WR makes none (unix_poll)."""
        return 3 * self.room >= self.sndbuf

    def post(self, kernel: Kernel, data: bytes, fate: MessageRecord | None = None) -> None:
        """At once."""
        self.peer.expected += len(data)
        self.peer.put(fate, memoryview(data))
        changed(kernel, self.peer, EPOLLIN)

    def window_opened(self, kernel: Kernel) -> None:
        """The other end has room for what was received (unix_write_space)."""
        changed(kernel, self.peer, EPOLLOUT)

    def send_error(self) -> int:
        """Who must not send is told that before an error (unix_stream_sendmsg)."""
        return EPIPE if self.finishing else super().send_error()

    def receives_no_more(self, kernel: Kernel) -> None:
        """Nor does the other end send (unix_shutdown)."""
        super().receives_no_more(kernel)
        self.peer.finishing = True
        changed(kernel, self.peer, ANY, everybody=True)

    def put_away(self, kernel: Kernel) -> None:
        """Both ways are over; bytes that nobody read are an error there (unix_release_sock)."""
        self.closed = self.finishing = True
        if self.queue:
            self.peer.error = ECONNRESET
        kernel.network.transmit(self)
        self.peer.finishing = True
        changed(kernel, self.peer, ANY, everybody=True)
