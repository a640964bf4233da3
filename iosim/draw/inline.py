"""A picture as part of the page, for JupyterLab.

JupyterLab puts an SVG output into an `<img>`: nothing in it can be pointed at, and its alt text
reaches nobody.  As HTML it stays SVG, with its tooltips and its description.  It is no default,
because a notebook that is not trusted, and some websites, show no inline SVG.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..timeline import Timeline
from .marks import Picture
from .svg import svg

__all__ = ["Inline", "inline"]


@dataclass(frozen=True)
class Inline:
    """A drawing as HTML, and its text form."""

    html: str
    text: str

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": self.text, "text/html": self.html}


def inline(what: Timeline | Picture) -> Inline:
    """`what` as HTML, whose parts show tooltips and whose description screen readers find.

    TypeError for what is neither a timeline nor a picture of this package.
    """
    if isinstance(what, Timeline):
        drawn = svg(what)
    elif isinstance(what, Picture):
        drawn = what.svg
    else:
        raise TypeError(f"inline draws a Timeline or a Picture, got {what!r}")
    return Inline(f'<figure style="margin:0;overflow-x:auto">{drawn}</figure>', str(what))
