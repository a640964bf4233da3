"""How a helper says that its story is over, if it was told to."""

from __future__ import annotations

import json

__all__ = ["STORY_OVER", "say_story_over"]

STORY_OVER = {"over": True}


def say_story_over() -> None:
    """A line of JSON, before the answer at its end."""
    print(json.dumps(STORY_OVER), flush=True)
