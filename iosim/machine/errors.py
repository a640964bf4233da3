"""Errors of the system, as Python raises them."""

from __future__ import annotations

import os

__all__ = ["failure"]


def failure(errno: int) -> OSError:
    """The OSError (of its subclass, as BlockingIOError) of a call that ends with `errno`."""
    return OSError(errno, os.strerror(errno))
