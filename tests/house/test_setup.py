"""The files that set the project up agree with each other, and hold no trace of one machine."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from typing import Any

import lock
import matrix
import pytest
import suite
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|home|root)/")
PATH_OF_A_TEST = re.compile(r"\btests/[\w/.]*\w\b(?![{*])")  # whole: with nothing to be filled in


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def bounds(requirements: list[str]) -> dict[str, str]:
    parsed = map(Requirement, requirements)
    return {canonicalize_name(each.name): str(each.specifier) for each in parsed}


READER, ON_TOP, FAULTS = "requirements.txt", "requirements-test.txt", "requirements-mutants.txt"
each_lock = pytest.mark.parametrize("name", [READER, ON_TOP, FAULTS])


def locked(name: str) -> list[tuple[Requirement, int]]:
    """Each requirement of a lock with its number of hashes."""
    return [
        (Requirement(first.partition("\\")[0].strip()), entry.count("--hash=sha256:"))
        for first, entry in lock.entries(text(name)).items()
    ]


def test_conda_asks_for_what_the_extra_asks_for() -> None:
    environment = yaml.safe_load(text("environment.yml"))
    *conda, pip = environment["dependencies"]
    assert environment["channels"] == ["conda-forge"]
    assert pip == {"pip": ["-e ."]}
    assert {"python=3.12", "pip"} <= set(conda)
    assert bounds([spec for spec in conda if spec not in ("python=3.12", "pip")]) == bounds(
        EXTRAS["notebooks"]
    )


def test_the_package_itself_needs_nothing() -> None:
    assert PROJECT["dependencies"] == []


@each_lock
def test_each_locked_version_has_its_hashes(name: str) -> None:
    assert locked(name)
    for requirement, hashes in locked(name):
        assert re.fullmatch(r"==[^,*]+", str(requirement.specifier)), requirement
        assert hashes, requirement


@each_lock
def test_a_lock_names_no_host(name: str) -> None:
    assert not re.search(r"://|\bfile:|^-|--(?:index|extra|find|trusted)", text(name), re.M)


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_the_locks_have_what_pyproject_asks_for(extra: str) -> None:
    on_top = {"test": ON_TOP, "mutants": FAULTS}
    there = locked(READER) + (locked(on_top[extra]) if extra in on_top else [])
    for name, specifier in bounds(EXTRAS[extra]).items():
        versions = [r.specifier for r, _ in there if canonicalize_name(r.name) == name]
        assert versions, name
        for version in versions:
            assert Requirement(f"{name}{specifier}").specifier.contains(str(version)[2:]), name


def test_a_reader_gets_nothing_that_only_a_test_needs() -> None:
    readers, on_top, faults = (dict(bounds_of(name)) for name in (READER, ON_TOP, FAULTS))
    assert {"playwright", "mypy", "ruff", "pytest", "hypothesis"} <= set(on_top)
    assert "cosmic-ray" in faults  # nor does a test need what plants faults
    assert not set(readers) & set(on_top)
    assert not (set(readers) | set(on_top)) & set(faults)


def bounds_of(name: str) -> list[tuple[str, str]]:
    return [(canonicalize_name(r.name), str(r.specifier)) for r, _ in locked(name)]


def test_the_lock_on_top_is_what_the_readers_has_not() -> None:
    """An entry with another condition is not the reader's: somewhere it is missing there."""
    entry = "{} \\\n    --hash=sha256:0\n    # via x\n"
    reader = "# made\n" + entry.format("a==1") + entry.format("b==1 ; python_version < '3.13'")
    everything = "# made\n" + entry.format("a==1") + entry.format("b==1") + entry.format("c==1")
    wanted = "# made\n" + entry.format("b==1") + entry.format("c==1")
    assert lock.on_top(everything, reader) == wanted


def test_the_build_backend_is_locked() -> None:
    build = tomllib.loads(text("pyproject.toml"))["build-system"]["requires"]
    assert bounds(build).items() <= bounds(EXTRAS["build"]).items()


def workflow() -> dict[Any, Any]:
    parsed: dict[Any, Any] = yaml.safe_load(text(".github/workflows/test.yml"))
    return parsed


def test_the_workflow_covers_every_system_and_version() -> None:
    matrix = workflow()["jobs"]["test"]["strategy"]["matrix"]
    versions = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if "Python :: 3." in c]
    assert matrix["python"] == versions
    assert {system.partition("-")[0] for system in matrix["os"]} == {"ubuntu", "macos", "windows"}
    assert {"push", "pull_request", "schedule"} <= set(workflow()[True])  # YAML reads `on` as true


def recipe(target: str) -> str:
    """The commands of a target of the Makefile."""
    found = re.search(rf"^{re.escape(target)}:.*\n((?:\t.*\n)+)", text("Makefile"), re.M)
    assert found, target
    return found[1]


def test_the_workflow_runs_what_make_test_runs() -> None:
    assert recipe("test").strip() == "@$(PY) tools/suite.py"
    steps = [step.get("run") for step in workflow()["jobs"]["test"]["steps"]]
    assert "python tools/suite.py" in steps
    names = " ".join(step.name for row in suite.STEPS[:4] for step in row)
    assert f"python tools/suite.py {names}" in steps  # where the notebooks measure nothing
    assert "python -m pytest --nbval-lax" in steps


def test_both_ways_install_the_same_locks() -> None:
    installs = "".join(step.get("run", "") for step in workflow()["jobs"]["test"]["steps"])
    assert set(re.findall(r"requirements[\w-]*\.txt", installs)) == {READER, ON_TOP}
    assert READER in recipe("$(VENV)/locked")
    assert ON_TOP in recipe("$(VENV)/testing")
    assert FAULTS in recipe("$(VENV)/mutating")
    assert recipe("lab").count("$(PY)") == 2
    assert re.search(r"^lab: \$\(VENV\)/ready ", text("Makefile"), re.M)  # and no test lock


def test_every_version_of_the_matrix_is_a_declared_one() -> None:
    oldest = ".".join(map(str, matrix.OLDEST))
    assert PROJECT["requires-python"] == f">={oldest}"
    assert f"Programming Language :: Python :: {oldest}" in PROJECT["classifiers"]


def test_actions_are_pinned_and_nothing_secret_is_used() -> None:
    used = [step["uses"] for step in workflow()["jobs"]["test"]["steps"] if "uses" in step]
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", action) for action in used)
    assert "secrets." not in text(".github/workflows/test.yml")


def test_the_readme_is_short_and_names_both_commands() -> None:
    readme = text("README.md")
    assert len(readme.splitlines()) <= 120
    assert "make lab" in readme
    assert "make test" in readme


def holding(pattern: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """Each file in which it is found, with what is found."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    names = [name for name in listed.stdout.decode().split("\0") if (ROOT / name).is_file()]
    assert names
    for name in names:
        whole = (ROOT / name).read_text(encoding="utf-8", errors="replace")
        yield from ((name, found[0]) for found in pattern.finditer(whole))


def test_no_file_holds_a_path_of_one_machine() -> None:
    assert list(holding(MACHINE_PATH)) == []


def test_a_file_of_the_tests_that_is_named_anywhere_is_there() -> None:
    named = list(holding(PATH_OF_A_TEST))
    assert {name for name, _ in named} >= {"CONTRIBUTING.md", "tools/soak.py", "tools/suite.py"}
    assert [(name, path) for name, path in named if not (ROOT / path).exists()] == []


def test_reading_a_notebook_compiles_no_grammar() -> None:
    """It did, for seconds, at each start of JupyterLab and of pytest."""
    code = "import sys, nbformat; sys.exit('lark' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
