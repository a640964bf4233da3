"""The floors of the package: who may import whom, and what `import iosim` costs.

What can be asked, what happens outside, what it costs and what happened know nothing above them.
Programs never know a kernel; kernels never know a program or a picture, and neither of the two
knows the other; pictures know what happened, and nothing else.
"""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from paths import ROOT

from iosim.real.helper_process import FLAGS, HERE

PACKAGE = ROOT / "iosim"

ANYWHERE = {"validate", "shown"}
FLOORS = {  # each room with those that it may know, besides itself
    "calls": set(),
    "workloads": {"machine"},
    "costs": {"machine"},
    "machine": set(),
    "trace": {"machine", "workloads"},
    "programs": {"calls"},
    "kernels": {"calls", "workloads", "costs", "trace", "machine", "progress"},
    "sim": {"calls", "workloads", "costs", "trace", "machine", "kernels"},
    "real": {"calls", "workloads", "costs", "trace", "machine", "kernels"},
    "recorder": {"calls", "workloads", "costs", "trace", "machine", "kernels", "real"},
    "draw": {"calls", "trace"},
}  # whatever is not named here (the facade, calibration, explore, ...) stands on top

#: What a value does with itself is fetched when it is asked for it, in a function.
WHEN_ASKED = {("trace", "draw"), ("costs", "calibration"), ("costs", "progress")}

HEAVY = {"numpy", "matplotlib", "ipywidgets", "IPython", "asyncio"}
UNNEEDED = {"dataclasses", "inspect", "platform", "random", "subprocess", "tempfile", "typing"}
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
    return floor is None or (bool(target) and target[0] in {module[0], *floor, *ANYWHERE})


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


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("trace/timeline.py", "from iosim.draw import svg"),
        ("costs/model.py", "import iosim.sim.kernel"),
        ("costs/model.py", "from ..calibration import calibrate"),
        ("calls/sockets.py", "from ..trace import Timeline"),
        ("recorder/record.py", "from ..api import measure"),
        ("programs/models.py", "from iosim import kernels"),
        ("programs/models.py", "from ..sim.kernel import Kernel"),
        ("programs/models.py", "def later():\n    from ..trace import timeline"),
        ("real/driver.py", "from ..programs import models"),
        ("real/driver.py", "from ..draw.svg import draw"),
        ("real/driver.py", "import iosim"),
        ("draw/svg.py", "from iosim.sim import kernel"),
        ("draw/question.py", "from ..costs import Costs"),
        ("draw/svg.py", "if TYPE_CHECKING:\n    from ..workloads import traffic"),
        ("sim/tcp.py", "from ..real.helpers.clients import ClientLoop"),
        ("sim/kernel.py", "from iosim import real"),
        ("real/servers.py", "def later():\n    from ..sim import tcp"),
        ("real/features.py", "from ..recorder import record"),
        ("real/driver.py", "from ..api import simulate"),
        ("trace/builder.py", "from ..sim.task import Task"),
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
        ("trace/timeline.py", "from .. import validate\nimport json"),
        ("programs/models.py", "from ..calls import recvfrom\nfrom .pools import apply"),
        ("real/driver.py", "from .. import costs, trace\nfrom ..kernels import launch"),
        ("draw/svg.py", "from iosim.trace import Timeline\nfrom .canvas import box"),
        ("explore/stepper.py", "from ..sim import kernel\nimport iosim"),
        ("sim/uring.py", "from ..trace.builder import MessageRecord\nfrom .kernel import Kernel"),
        ("calibration/calibrate.py", "from ..api import measure"),
        ("trace/timeline.py", "def later():\n    from ..draw import svg"),
        ("api.py", "from . import real, sim"),
    ],
)
def test_an_import_on_the_same_floor_or_down_is_fine(tmp_path: Path, file: str, code: str) -> None:
    planted = tmp_path / "iosim" / file
    planted.parent.mkdir(parents=True)
    planted.write_text(code)
    assert list(violations(tmp_path / "iosim")) == []


# --- what importing costs -------------------------------------------------------------------------


def python(code: str, *flags: str) -> str:
    """What a fresh interpreter prints, with its bytecode cached and without coverage in it."""
    drop = ("COV", "PYTHONDONTWRITEBYTECODE")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(drop)} | HERE
    command = [sys.executable, *flags, "-c", code]
    run = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    return run.stdout


def test_importing_iosim_imports_nothing_heavy() -> None:
    before = set(python("import sys; print(*sys.modules)").split())
    after = set(python("import sys, iosim; print(*sys.modules)").split())
    assert (after - before) & HEAVY == set()


def test_who_has_no_plain_code_imports_none() -> None:
    """It would make the beginning of every notebook a fifth longer."""
    fetched = python("import sys; from iosim import simulate, measure; print(*sys.modules)").split()
    assert "iosim.api" in fetched
    assert [name for name in fetched if name.startswith(("iosim.plain", "iosim.hunting"))] == []


@pytest.mark.parametrize("helper", ["clients", "sampler", "sender"])
def test_a_helper_starts_quickly(helper: str) -> None:
    """There is one for each measured run; a third of its start was for what it does not need."""
    code = f"import sys, iosim.real.helpers.{helper}; print(*sys.modules)"
    fetched = python(code, *FLAGS).split()
    assert f"iosim.real.helpers.{helper}" in fetched
    assert set(fetched) & UNNEEDED == set()


def test_importing_iosim_is_quick() -> None:
    """In CPU time, which a busy machine makes longer: so a module of Python is timed beside it."""

    def cost(module: str) -> float:
        clock = "from time import process_time as now; start = now()"
        return float(python(f"{clock}; import {module}; print(now() - start)"))

    pairs = [(cost("iosim"), cost(YARDSTICK)) for _ in range(7)]
    ours, theirs = map(min, zip(*pairs, strict=True))
    assert ours <= theirs
