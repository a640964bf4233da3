"""A picture that can be pointed at, for pages that are trusted.

In an `<img>` nothing can be pointed at.  An `<object>` shows its tooltips, and is a document of
its own as well.  A viewer that does not trust a notebook takes the `<object>` away, and what is in
it remains: the picture as it is shown everywhere else.  So its SVG is stored twice.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass

from ..shown import bundle, picture
from ..trace import Timeline
from .canvas import Picture
from .svg import svg

__all__ = ["Inline", "inline"]


@dataclass(frozen=True)
class Inline:
    """A drawing as HTML, and its text form."""

    html: str
    text: str

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return bundle(self.text, self.html)


def inline(what: Timeline | Picture) -> Inline:
    """`what` as HTML whose parts show tooltips, where the page is trusted.

    TypeError for what is neither a timeline nor a picture of this package.
    """
    if isinstance(what, Timeline):
        drawn = svg(what)
    elif isinstance(what, Picture):
        drawn = what.svg
    else:
        raise TypeError(f"inline draws a Timeline or a Picture, got {what!r}")
    data = b64encode(drawn.encode()).decode()
    live = f'<object type="image/svg+xml" data="data:image/svg+xml;base64,{data}">'
    return Inline(f"{live}{picture(drawn)}</object>", str(what))
