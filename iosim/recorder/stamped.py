"""The functions that stand before real calls while they are recorded, made from one template."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from errno import EAGAIN, EINTR
from functools import partial
from time import perf_counter_ns as clock
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from .event_buffer import GAP_NS, LONG_NS, NOT_MADE

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike, ReadableBuffer

__all__ = [
    "CODES",
    "COMMON",
    "CREATE",
    "EPOLL",
    "EPOLL_CREATE",
    "FUNCTIONS",
    "POLL",
    "SELECT",
    "SOCKET",
    "STAMPED",
    "Method",
    "named_as",
    "text_of",
]

T = TypeVar("T")
STAMPED = "<iosim.record>"  # the name of the file in which the stamping methods stand


class Method(NamedTuple):
    """A method or function that makes a system call, as source text: see TEMPLATE.

    `fd` and `timeout` are known before the call, `extra` and `outcome` (of `result`) after it.
    """

    what: str
    parameters: str = "self, *args"
    outcome: str = "0"
    extra: str = "0"
    fd: str = "fileno(self)"
    timeout: str = "0"


NUMBER = "fd if fd.__class__ is int else descriptor(fd)"
# The parameters are those of the real ones: to pass on *args would cost a quarter more.
SIZE = "len(data) if data.__class__ is bytes else size(data)"
_IO = partial(Method, timeout="gettimeout(self)")
SOCKET = (
    _IO("recv", "self, bufsize, flags=0", "len(result)", "flags"),
    _IO("recv_into", "self, buffer, nbytes=0, flags=0", "result", "flags"),
    _IO("recvfrom", "self, bufsize, flags=0", "len(result[0])", "flags"),
    _IO("recvfrom_into", "self, buffer, nbytes=0, flags=0", "result[0]", "flags"),
    _IO("recvmsg", "self, bufsize, ancbufsize=0, flags=0", "len(result[0])", "flags"),
    _IO("recvmsg_into", "self, buffers, ancbufsize=0, flags=0", "result[0]", "flags"),
    _IO("send", "self, data, flags=0", "result", SIZE),
    _IO("sendall", "self, data, flags=0", SIZE, SIZE),
    _IO("sendto", "self, data, *args", "result", SIZE),
    _IO("sendmsg", "self, buffers, *args", "result"),
    _IO("_accept", "self", "result[0]"),
    _IO("connect"),
    _IO("connect_ex", outcome="None if timeout and result == EAGAIN else -result"),
    Method("setblocking", "self, flag", extra="not flag"),
    Method("settimeout", "self, value", extra="value is not None"),
    Method("_real_close", outcome="0 if number >= 0 else NOT_MADE"),
    *map(Method, ("bind", "getpeername", "getsockname", "getsockopt", "listen", "setsockopt",
                  "shutdown")),
)  # fmt: skip
SELECT = Method(
    "select", "rlist, wlist, xlist, timeout=None", "descriptors(result[0])", "0", "None", "timeout"
)
POLL = {"poll": Method("poll", "timeout=None", "(*result,)", "0", "None", "timeout")}
EPOLL_CREATE = Method("epoll_create", "sizehint=-1, flags=0", "result.fileno()", fd="None")
EPOLL = {
    "poll": Method("epoll_wait", "timeout=None, maxevents=-1", "(*result,)", "0", "own", "timeout"),
    "close": Method("close", "", fd="own"),
    "register": Method("epoll_ctl", "fd, eventmask=7", fd=NUMBER),  # EPOLLIN, EPOLLPRI, EPOLLOUT
    "modify": Method("epoll_ctl", "fd, eventmask", fd=NUMBER),
    "unregister": Method("epoll_ctl", "fd", fd=NUMBER),
}

TEMPLATE = """
def stamped({parameters}):
    track = here.track
    add = track.add
    frame = getframe(1)
    code = frame.f_code
    while code.co_filename in INNER and frame.f_back:
        frame = frame.f_back
        code = frame.f_code
    number, timeout = {fd}, {timeout}
    if track.gate is not None:
        track.gate.before(WHAT, number, timeout)
    start = end = clock()
    if start > track.due:
        start = end = track.look()
    try:
        result = plain({arguments})
        end = clock()
        add((WHAT, number, timeout, {extra}, code, frame.f_lasti, start, end, {outcome}))
        if track.gate is not None:
            track.gate.after(WHAT, (code, frame.f_lasti), result)
        return result
    except {again}:
        end = clock()
        add((WHAT, number, timeout, {flags}, code, frame.f_lasti, start, end, AGAIN))
        if track.gate is not None:
            track.gate.after(WHAT, (code, frame.f_lasti), BlockingIOError(EAGAIN, ""))
        raise
    except BaseException as error:
        end = clock()
        add((WHAT, number, timeout, {flags}, code, frame.f_lasti, start, end, failure(error)))
        if track.gate is not None:
            track.gate.after(WHAT, (code, frame.f_lasti), error)
        raise
    finally:
        track.due = end + GAP_NS
        if end - start > LONG_NS:
            track.look(end)
"""


def text_of(method: Method) -> str:
    """Of a function that makes the call and takes it down."""
    names = (part.partition("=")[0] for part in method.parameters.split(", "))
    return TEMPLATE.format(
        **method._asdict(), arguments=", ".join(names),
        flags="flags" if method.extra == "flags" else "0",
        again="()" if method.what == "connect" else "BlockingIOError",  # it has other errnos, too
    )  # fmt: skip


def named_as(plain: object, made: Callable[..., T]) -> Callable[..., T]:
    """`made`, by the names of the real one that it stands before."""
    for name in ("__name__", "__qualname__", "__doc__"):
        setattr(made, name, getattr(plain, name, made.__name__))
    return made


#: What a recorder is not given, but plain code that is measured makes.
CREATE = Method("socket", "self, *args", fd="None")
FUNCTIONS = {
    ("_socket", "socketpair"): Method("socketpair", "*args", fd="None"),
    ("time", "sleep"): Method("sleep", "secs", fd="None", timeout="None"),
    ("os", "pipe"): Method("pipe", "", fd="None"),
    ("os", "pipe2"): Method("pipe", "flags=0", fd="None"),
    ("os", "read"): Method("read", "fd, length", "len(result)", fd="fd", timeout="None"),
    ("os", "write"): Method("write", "fd, data", "result", fd="fd", timeout="None"),
    ("os", "close"): Method("close", "fd", fd="fd"),
    ("fcntl", "ioctl"): Method("ioctl", "fd, request, arg=0, mutate_flag=True", fd=NUMBER),
    ("fcntl", "fcntl"): Method("fcntl", "fd, cmd, arg=0", fd=NUMBER),
}
METHODS = (
    *SOCKET, SELECT, *POLL.values(), EPOLL_CREATE, *EPOLL.values(), CREATE, *FUNCTIONS.values(),
)  # fmt: skip
CODES = {text: compile(text, STAMPED, "exec") for text in sorted(set(map(text_of, METHODS)))}


def _descriptor(one: FileDescriptorLike) -> int:
    """The number of what has a descriptor; -1 for anything else, which the real call refuses."""
    try:
        return one if isinstance(one, int) else int(one.fileno())
    except (AttributeError, TypeError, ValueError):
        return -1


def _descriptors(ready: Iterable[Any]) -> tuple[int, ...]:
    try:
        return (*map(socket.socket.fileno, ready),)
    except TypeError:  # something else among them
        return (*map(_descriptor, ready),)


def _size(data: ReadableBuffer) -> int:
    return memoryview(data).nbytes


def _failure(error: BaseException) -> int | str | None:
    """The outcome of a call that raised `error`."""
    if isinstance(error, OSError) and not isinstance(error, socket.gaierror | socket.herror):
        timed_out = isinstance(error, TimeoutError) and error.errno is None
        return None if timed_out else -error.errno if error.errno else NOT_MADE
    if isinstance(error, OSError | TypeError | ValueError | ArithmeticError | AttributeError):
        return NOT_MADE
    return -EINTR  # raised by a signal's handler, which runs when the call was interrupted


# -- where it was called --------------------------------------------------------------------------

#: Files whose callers are more interesting than they are.  A loop's own rounds are not among them:
#: beyond asyncio's events.py and base_events.py nobody knows of the call.
LIBRARY = (
    "selectors.py", "socket.py", "socketserver.py", "asyncio/selector_events.py",
    "asyncio/streams.py",
)  # fmt: skip
INNER = frozenset(
    [STAMPED, __file__, os.path.join(os.path.dirname(__file__), "record.py")]
    + [os.path.join(os.path.dirname(os.__file__), *name.split("/")) for name in LIBRARY]
)

#: What these functions know, besides what is their own.
COMMON: Mapping[str, Any] = {
    "AGAIN": -EAGAIN, "EAGAIN": EAGAIN, "GAP_NS": GAP_NS, "INNER": INNER, "LONG_NS": LONG_NS,
    "NOT_MADE": NOT_MADE, "clock": clock, "descriptor": _descriptor, "descriptors": _descriptors,
    "failure": _failure, "fileno": socket.socket.fileno, "getframe": sys._getframe,
    "gettimeout": socket.socket.gettimeout, "size": _size,
}  # fmt: skip
