"""The floors of the package: who may import whom, and what `import iosim` costs.

The plain values know nothing above them; programs never know a kernel; kernels never know a
program or a picture; pictures know only the timeline.
"""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "iosim"

VALUES = {
    "bounds", "clients", "comparison", "costs", "evidence", "futures", "jobs", "readiness",
    "sockets", "syscalls", "timeline", "traffic",
}  # fmt: skip
FLOORS = dict.fromkeys(VALUES, VALUES) | {
    "programs": {"programs", "syscalls", "sockets", "futures", "bounds"},
    "kernels": {"kernels"} | VALUES,
    "draw": {"draw", "comparison", "readiness", "timeline", "bounds"},
}  # whatever is not named here (the facade, explore, puzzles, …) stands on top

HEAVY = {"numpy", "matplotlib", "ipywidgets", "IPython", "asyncio"}
IMPORT_SECONDS = 0.060


# --- the arrows -----------------------------------------------------------------------------------


def violations(package: Path) -> Iterator[str]:
    """The imports that go up a floor, as 'module:line imports name'."""
    for path in sorted(package.rglob("*.py")):
        module = (package.name, *path.relative_to(package).with_suffix("").parts)
        allowed = FLOORS.get(module[1])
        for line, target in imports(path, module):
            if allowed is not None and target[0] == package.name and target[1] not in allowed:
                yield f"{'.'.join(module)}:{line} imports {'.'.join(target).rstrip('.')}"


def imports(path: Path, module: tuple[str, ...]) -> Iterator[tuple[int, tuple[str, str]]]:
    """Line, package and the part of it that is imported, wherever the import stands.

    Imports inside functions and under TYPE_CHECKING count: to name a thing is to know it.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(module[: -node.level]) if node.level else []
            base += node.module.split(".") if node.module else []
            names = [[*base, alias.name] for alias in node.names]
        else:
            continue
        for name in names:
            yield node.lineno, (name[0], name[1] if len(name) > 1 else "")


def test_no_import_goes_up_a_floor() -> None:
    assert list(violations(PACKAGE)) == []


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("timeline.py", "from iosim.draw import svg"),
        ("costs.py", "import iosim.kernels.simulated"),
        ("programs/models.py", "from iosim import kernels"),
        ("programs/models.py", "from ..kernels.simulated import Kernel"),
        ("programs/models.py", "def later():\n    from .. import timeline"),
        ("kernels/linux.py", "from ..programs import models"),
        ("kernels/linux.py", "from ..draw.svg import draw"),
        ("kernels/linux.py", "import iosim"),
        ("draw/svg.py", "from iosim.kernels import simulated"),
        ("draw/svg.py", "if TYPE_CHECKING:\n    from ..costs import Costs"),
    ],
)
def test_a_planted_violation_is_seen(tmp_path: Path, file: str, code: str) -> None:
    planted = tmp_path / "iosim" / file
    planted.parent.mkdir(parents=True)
    planted.write_text(code)
    assert len(list(violations(tmp_path / "iosim"))) == 1


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("timeline.py", "from . import bounds\nimport json"),
        ("programs/models.py", "from ..syscalls import recvfrom\nfrom .calls import apply"),
        ("kernels/linux.py", "from .. import costs, timeline\nfrom . import tape"),
        ("draw/svg.py", "from iosim.timeline import Timeline\nfrom .marks import box"),
        ("explore/stepper.py", "from ..kernels import simulated\nimport iosim"),
    ],
)
def test_an_import_on_the_same_floor_or_down_is_fine(tmp_path: Path, file: str, code: str) -> None:
    planted = tmp_path / "iosim" / file
    planted.parent.mkdir(parents=True)
    planted.write_text(code)
    assert list(violations(tmp_path / "iosim")) == []


# --- what importing costs -------------------------------------------------------------------------


def python(code: str) -> str:
    """What a fresh interpreter prints, with its bytecode cached and without coverage in it."""
    drop = ("COV", "PYTHONDONTWRITEBYTECODE")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(drop)}
    command = [sys.executable, "-c", code]
    run = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    return run.stdout


def test_importing_iosim_imports_nothing_heavy() -> None:
    before = set(python("import sys; print(*sys.modules)").split())
    after = set(python("import sys, iosim; print(*sys.modules)").split())
    assert (after - before) & HEAVY == set()


def test_importing_iosim_is_quick() -> None:
    """The least of several runs, in CPU time: a busy machine makes it longer, never shorter."""
    clock = (
        "from time import process_time as now; start = now(); import iosim; print(now() - start)"
    )
    assert min(float(python(clock)) for _ in range(5)) < IMPORT_SECONDS
