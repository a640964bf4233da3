"""What is seen: a timeline as SVG, as text, as Stevens draws it, and on matplotlib's axes."""

from __future__ import annotations

from .canvas import LOOKS, TAGS, Picture
from .charts import Shown, dots, plot, show
from .clock import clock
from .compare import compare
from .formatting import describe, duration
from .inline import Inline, inline
from .overlay import overlay
from .quadrants import corners
from .question import question_of
from .readiness_figure import asked
from .stevens import stevens
from .svg import svg
from .text import text

__all__ = [
    "LOOKS", "TAGS", "Inline", "Picture", "Shown", "asked", "clock", "compare", "corners",
    "describe", "dots", "duration", "inline", "overlay", "plot", "question_of", "show",
    "stevens", "svg", "text",
]  # fmt: skip
