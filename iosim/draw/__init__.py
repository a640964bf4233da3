"""What is seen: a timeline as SVG, as text, as Stevens draws it, and on matplotlib's axes."""

from __future__ import annotations

from .asked import asked
from .charts import Shown, dots, plot, show
from .clock import clock
from .compare import compare
from .corners import corners
from .inline import Inline, inline
from .marks import LOOKS, TAGS, Picture
from .overlay import overlay
from .stevens import stevens
from .svg import svg
from .text import text
from .words import describe, duration

__all__ = [
    "LOOKS", "TAGS", "Inline", "Picture", "Shown", "asked", "clock", "compare", "corners",
    "describe", "dots", "duration", "inline", "overlay", "plot", "show", "stevens", "svg", "text",
]  # fmt: skip
