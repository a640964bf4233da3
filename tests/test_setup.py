"""The files that set the project up agree with each other, and hold no trace of one machine."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|home|root)/")


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def bounds(requirements: list[str]) -> dict[str, str]:
    parsed = map(Requirement, requirements)
    return {canonicalize_name(each.name): str(each.specifier) for each in parsed}


def locked() -> list[tuple[Requirement, int]]:
    """Each requirement of the lock with its number of hashes."""
    entries = re.split(
        r"\n(?=[A-Za-z])", re.sub(r"^\s*#.*\n", "", text("requirements.txt"), flags=re.M)
    )
    return [
        (Requirement(entry.partition("\\")[0].strip()), entry.count("--hash=sha256:"))
        for entry in entries
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


def test_each_locked_version_has_its_hashes() -> None:
    assert locked()
    for requirement, hashes in locked():
        assert re.fullmatch(r"==[^,*]+", str(requirement.specifier)), requirement
        assert hashes, requirement


def test_the_lock_names_no_host() -> None:
    assert not re.search(
        r"://|\bfile:|^-|--(?:index|extra|find|trusted)", text("requirements.txt"), re.M
    )


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_the_lock_has_what_pyproject_asks_for(extra: str) -> None:
    for name, specifier in bounds(EXTRAS[extra]).items():
        versions = [r.specifier for r, _ in locked() if canonicalize_name(r.name) == name]
        assert versions, name
        for version in versions:
            assert Requirement(f"{name}{specifier}").specifier.contains(str(version)[2:]), name


def test_the_build_backend_is_locked() -> None:
    build = tomllib.loads(text("pyproject.toml"))["build-system"]["requires"]
    assert bounds(build).items() <= bounds(EXTRAS["test"]).items()


def workflow() -> dict[Any, Any]:
    parsed: dict[Any, Any] = yaml.safe_load(text(".github/workflows/test.yml"))
    return parsed


def test_the_workflow_covers_every_system_and_version() -> None:
    matrix = workflow()["jobs"]["test"]["strategy"]["matrix"]
    versions = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if "Python :: 3." in c]
    assert matrix["python"] == versions
    assert {system.partition("-")[0] for system in matrix["os"]} == {"ubuntu", "macos", "windows"}
    assert {"push", "pull_request", "schedule"} <= set(workflow()[True])  # YAML reads `on` as true


def test_the_workflow_runs_what_make_test_runs() -> None:
    recipes = re.findall(r"^(?:test|notebooks|browser):.*\n((?:\t.*\n)+)", text("Makefile"), re.M)
    lines = "".join(recipes).splitlines()
    commands = [line.strip().replace("$(PY)", "python") for line in lines if "$(MAKE)" not in line]
    steps = [step.get("run") for step in workflow()["jobs"]["test"]["steps"]]
    assert len(commands) == 7
    assert set(commands) <= set(steps)


def test_actions_are_pinned_and_nothing_secret_is_used() -> None:
    used = [step["uses"] for step in workflow()["jobs"]["test"]["steps"] if "uses" in step]
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", action) for action in used)
    assert "secrets." not in text(".github/workflows/test.yml")


def test_the_readme_is_short_and_names_both_commands() -> None:
    readme = text("README.md")
    assert len(readme.splitlines()) <= 120
    assert "make lab" in readme
    assert "make test" in readme


def test_no_file_holds_a_path_of_one_machine() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    names = [name for name in listed.stdout.decode().split("\0") if (ROOT / name).is_file()]
    assert names
    holding = [
        name
        for name in names
        if MACHINE_PATH.search((ROOT / name).read_text(encoding="utf-8", errors="replace"))
    ]
    assert holding == []
