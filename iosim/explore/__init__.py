"""The explorers: widgets that answer at once, step without the kernel, and teach standing still.

They need ipywidgets and anywidget, which the rest of the package does without.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .call import CallExplorer
    from .compare import CompareExplorer
    from .model import ModelExplorer
    from .multiplex import MultiplexExplorer
    from .server import ServerExplorer

__all__ = [
    "CallExplorer", "CompareExplorer", "ModelExplorer", "MultiplexExplorer", "ServerExplorer",
]  # fmt: skip

_HOMES = {name: name.removesuffix("Explorer").lower() for name in __all__}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
