"""Measured runs kept with the package, for systems on which they cannot be made.

`python -m iosim.real.recordings iosim.programs.models` makes those of that module anew, on
a system that has every feature.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType

from ..kernels.launch import Plan, launch
from ..trace import Timeline
from ..workloads.traffic import one

__all__ = ["FOLDER", "load", "path_of", "record_all"]

FOLDER = Path(__file__).parents[1] / "recordings"


def path_of(plan: Plan) -> Path:
    """Where the recording of this program, story and options lies, if there is one."""
    key = repr((plan.story, sorted(plan.options.items())))
    return FOLDER / f"{plan.text.title}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.json"


def load(plan: Plan) -> Timeline | None:
    """The recorded run of this very program, and not of another one of that name; or None."""
    path = path_of(plan)
    if not path.is_file():
        return None
    run = Timeline.from_json(path.read_text("utf-8"))
    return replace(run, kernel="recorded") if run.source == plan.text.source else None


def record_all(module: ModuleType) -> list[Path]:
    """Measure each of the `module`'s models over one datagram and keep the runs."""
    from .measure import measure_traffic

    story = one(after_ms=20, size=1_000)
    FOLDER.mkdir(exist_ok=True)
    paths = []
    for name in module.MODEL_OF:
        program = getattr(module, name)
        path = path_of(launch(program, story, {}))
        path.write_text(measure_traffic(program, story).check().to_json() + "\n", "utf-8")
        paths.append(path)
    return paths


if __name__ == "__main__":
    for made in record_all(import_module(sys.argv[1])):
        print(made.name)
