"""What a program can ask: one class a call, with all that is known of it.

A program is a generator.  It yields one of these values, the kernel does the work, and the reply is
sent back into the program; an errno is *thrown* into it as the OSError that Python would raise::

    data = yield recvfrom(fd, SIZE)

Calls are plain values: they can be kept and yielded again.  Times are in ns, sizes in bytes.  Each
docstring names the manual page whose rule both kernels follow.  The calls of a pool of workers are
those of another library, and have a module of their own: `futures`.
"""

# ruff: noqa: F403 (each module says what it has to offer)
from . import aio, descriptors, pipes, process, readiness, signals, sockets, threads, uring
from .aio import *
from .descriptors import *
from .pipes import *
from .process import *
from .readiness import *
from .request import Program as Program
from .request import Request as Request
from .signals import *
from .sockets import *
from .threads import *
from .uring import *

__all__ = ["Program", "Request"]
__all__ += aio.__all__
__all__ += descriptors.__all__
__all__ += pipes.__all__
__all__ += process.__all__
__all__ += readiness.__all__
__all__ += signals.__all__
__all__ += sockets.__all__
__all__ += threads.__all__
__all__ += uring.__all__
