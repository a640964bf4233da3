"""The explorers: widgets that answer at once, step without the kernel, and teach standing still.

They need ipywidgets and anywidget, which the rest of the package does without.
"""

from __future__ import annotations

from .call import CallExplorer
from .compare import CompareExplorer
from .model import ModelExplorer
from .multiplex import MultiplexExplorer
from .server import ServerExplorer

__all__ = [
    "CallExplorer", "CompareExplorer", "ModelExplorer", "MultiplexExplorer", "ServerExplorer",
]  # fmt: skip
