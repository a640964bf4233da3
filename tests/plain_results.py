"""What plain code returns on the simulated kernel."""

from collections.abc import Callable
from typing import Any

from iosim.plain.simulate import run_plain


def result(program: Callable[..., Any], story: Any = None, **options: Any) -> Any:
    """It; what it raises is raised."""
    outcome = run_plain(program, story, **options)
    if outcome.error is not None:
        raise outcome.error
    return outcome.returned
