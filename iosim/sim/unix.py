"""A pair of connected sockets in one process: socketpair(2), unix(7)."""

from __future__ import annotations

from errno import ECONNRESET, EPIPE
from typing import TYPE_CHECKING, ClassVar

from .descriptions import changed
from .tcp import ANY, Stream

if TYPE_CHECKING:
    from .kernel import Kernel

__all__ = ["UnixStream"]


class UnixStream(Stream):
    """One end: what is sent lies at the other one at once, and so is what either end is told."""

    __slots__ = ()
    local: ClassVar[bool] = True
    gone: ClassVar[bool] = False  # shutdown(2) never finds it unconnected (unix_shutdown)
    peer: UnixStream

    def send_error(self) -> int:
        """Who must not send is told that before an error (unix_stream_sendmsg)."""
        return EPIPE if self.finishing else super().send_error()

    def receives_no_more(self, kernel: Kernel) -> None:
        """Nor does the other end send (unix_shutdown)."""
        super().receives_no_more(kernel)
        self.peer.finishing = True
        changed(kernel, self.peer, ANY)

    def put_away(self, kernel: Kernel) -> None:
        """Both ways are over; bytes that nobody read are an error there (unix_release_sock)."""
        self.closed = self.finishing = True
        if self.queue:
            self.peer.error = ECONNRESET
        kernel.network.transmit(self)
        self.peer.finishing = True
        changed(kernel, self.peer, ANY)
