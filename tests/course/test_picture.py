"""The README's picture is a run's, to the byte.

To draw it anew: python tests/course/test_picture.py
"""

from __future__ import annotations

from pathlib import Path

from iosim import draw, models, simulate, traffic

PICTURE = Path(__file__).parents[2] / "notebooks" / "images" / "five_models.svg"


def five_models() -> str:
    story = traffic.one(after_ms=20, size=1_000)
    picture = draw.compare([simulate(program, story) for program in models.FIVE])
    return str(picture.svg) + "\n"


def test_the_readme_shows_what_the_simulation_gives() -> None:
    assert PICTURE.read_text(encoding="utf-8") == five_models()


if __name__ == "__main__":
    PICTURE.write_text(five_models(), encoding="utf-8")
