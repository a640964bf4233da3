"""The C library, for calls that Python does not have."""

from __future__ import annotations

import ctypes
from functools import cache

from ..machine.errors import failure

__all__ = ["last_failure", "libc"]


@cache
def libc() -> ctypes.CDLL:
    """Made once: opening the library takes longer than a call."""
    library = ctypes.CDLL(None, use_errno=True)
    library.syscall.restype = ctypes.c_long
    return library


def last_failure() -> OSError:
    """What the last call of this thread has left in errno."""
    errno = ctypes.get_errno()
    return failure(errno)
