"""The floors of the package: who may import whom, and what `import iosim` costs.

The plain values know nothing above them; programs never know a kernel; kernels never know a
program or a picture; pictures know only the timeline.  Neither of the two kernels knows the other.
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
    "children", "client_script", "clients", "comparison", "cores", "costs", "disturbances",
    "export", "futures", "invariants", "jobs", "pipes", "procfs", "readiness", "records",
    "request", "shown", "sockets", "syscalls", "timeline", "traffic", "validate",
}  # fmt: skip
FLOORS = dict.fromkeys(VALUES, VALUES) | {
    "programs": {"programs", "request", "syscalls", "sockets", "futures", "validate"},
    "kernels": {"kernels", "real", "api"} | VALUES,
    "real": {"real", "kernels"} | VALUES,
    "sim": {"sim", "kernels"} | VALUES,
    "draw": {"draw", "comparison", "readiness", "shown", "timeline", "validate"},
}  # whatever is not named here (the facade, explore, puzzles, …) stands on top

#: Inside kernels/: which of its folders, and what else, each of them knows; "shared" is what stands
#: beside them.
KERNELS = {
    "shared": {"shared"},
    "recorder": {"recorder", "shared", "real"},
    "calibration": {"calibration", "shared", "real", "api"},
}

#: What a value does with itself is fetched when it is asked for it, in a function.
WHEN_ASKED = {("timeline", "draw"), ("costs", "kernels"), ("costs", "progress")}

HEAVY = {"numpy", "matplotlib", "ipywidgets", "IPython", "asyncio"}
YARDSTICK = "unittest.mock"  # what importing iosim may cost at most


# --- the arrows -----------------------------------------------------------------------------------


def violations(package: Path) -> Iterator[str]:
    """The imports that go up a floor, as 'module:line imports name'."""
    for path in sorted(package.rglob("*.py")):
        module = (package.name, *path.relative_to(package).with_suffix("").parts)
        for line, target, nested in imports(path, module):
            if target[0] == package.name and not allowed(module[1:], target[1:], nested):
                yield f"{'.'.join(module)}:{line} imports {'.'.join(target)}"


def allowed(module: tuple[str, ...], target: tuple[str, ...], nested: bool) -> bool:
    """May `module` import `target`?  Both without the package's name; `nested`: in a function."""
    if nested and (module[0], target[0]) in WHEN_ASKED:
        return True
    floor = FLOORS.get(module[0])
    if floor is not None and (not target or target[0] not in floor):
        return False
    if module[0] not in ("kernels", "real", "sim") or target[0] in VALUES | {"sim"}:
        return True
    known = KERNELS[folder(module[1:])] if module[0] == "kernels" else {module[0], "shared"}
    return (folder(target[1:]) if target[0] == "kernels" else target[0]) in known


def folder(module: tuple[str, ...]) -> str:
    """Where a module of kernels/ stands: in a folder, or beside them."""
    return module[0] if module and module[0] in KERNELS else "shared"


def imports(
    path: Path, module: tuple[str, ...]
) -> Iterator[tuple[int, tuple[str, ...], bool]]:  # fmt: skip
    """Line, what is imported, part by part, and is it in a function?

    Imports inside functions and under TYPE_CHECKING count: to name a thing is to know it.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    inner = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(module[: -node.level]) if node.level else []
            base += node.module.split(".") if node.module else []
            names = [[*base, alias.name] for alias in node.names]
        else:
            continue
        for name in names:
            yield node.lineno, tuple(name), id(node) in inner


def test_no_import_goes_up_a_floor() -> None:
    assert list(violations(PACKAGE)) == []


def test_every_folder_of_the_kernels_stands_in_the_table() -> None:
    folders = {path.parent.name for path in (PACKAGE / "kernels").glob("*/*.py")}
    assert folders | {"shared"} == set(KERNELS)


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("timeline.py", "from iosim.draw import svg"),
        ("costs.py", "import iosim.sim.kernel"),
        ("costs.py", "from .kernels.calibration import calibrate"),
        ("kernels/recorder/record.py", "from ...api import measure"),
        ("programs/models.py", "from iosim import kernels"),
        ("programs/models.py", "from ..sim.kernel import Kernel"),
        ("programs/models.py", "def later():\n    from .. import timeline"),
        ("real/driver.py", "from ..programs import models"),
        ("real/driver.py", "from ..draw.svg import draw"),
        ("real/driver.py", "import iosim"),
        ("draw/svg.py", "from iosim.sim import kernel"),
        ("draw/svg.py", "if TYPE_CHECKING:\n    from ..costs import Costs"),
        ("sim/tcp.py", "from ..real.helpers.clients import ClientLoop"),
        ("sim/kernel.py", "from iosim import real"),
        ("real/servers.py", "def later():\n    from ..sim import tcp"),
        ("real/features.py", "from ..kernels.recorder import record"),
        ("real/driver.py", "from ..api import simulate"),
        ("kernels/trace_builder.py", "from ..sim.task import Task"),
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
        ("timeline.py", "from . import validate\nimport json"),
        ("programs/models.py", "from ..syscalls import recvfrom\nfrom .calls import apply"),
        ("real/driver.py", "from .. import costs, timeline\nfrom ..kernels import tape"),
        ("draw/svg.py", "from iosim.timeline import Timeline\nfrom .marks import box"),
        ("explore/stepper.py", "from ..sim import kernel\nimport iosim"),
        ("sim/uring.py", "from ..kernels.tape import MessageRecord\nfrom .kernel import Kernel"),
        ("kernels/calibration/calibrate.py", "from ...api import measure"),
        ("timeline.py", "def later():\n    from .draw import svg"),
        ("api.py", "from . import real, sim"),
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
    """In CPU time, which a busy machine makes longer: so a module of Python is timed beside it."""

    def cost(module: str) -> float:
        clock = "from time import process_time as now; start = now()"
        return float(python(f"{clock}; import {module}; print(now() - start)"))

    pairs = [(cost("iosim"), cost(YARDSTICK)) for _ in range(7)]
    ours, theirs = map(min, zip(*pairs, strict=True))
    assert ours <= theirs
