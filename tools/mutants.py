"""Faults planted at random places of iosim, one by one: which of them does no test see?

    python tools/mutants.py                           a sample; its seed is the day
    python tools/mutants.py --number 60 --seed 7 iosim/sim iosim/trace
    python tools/mutants.py --since main              only in lines that changed since then
    python tools/mutants.py --only NAME --tests "tests/both_kernels/test_pools.py -k pool"

A fault is one of cosmic-ray's mutations (or a statement left out), in a copy of the tree.  For each
run the tests that need no real kernel and execute the statement, fastest first, until one fails
or they have taken --most seconds.
Which those are is found out by one run with coverage, which is kept in build/mutants.
A survivor is no verdict: it may be equivalent.  The exit status is 1 if there is one.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import hashlib
import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from importlib.util import cache_from_source
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from iosim.machine.cores import usable_cores

__all__ = ["Drop", "Mutant", "Seen", "changed", "main", "mutants_of", "sample", "statement"]

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "build" / "mutants"
SIMULATED = ["tests", "--ignore=tests/browser", "-m", "not real"]
HANGS_S, SLOWER = 20, 10  # a test hangs after so long, and so many times what all usually take
BEGINS_S = 60  # a run that has not begun by then hangs, too
MEMORY = 4 << 30  # bytes that a run may have: a fault may make a loop endless

#: Those of cosmic-ray's operators that plant a fault which somebody could make.
OPERATORS = re.compile(
    r"core/(?:AddNot|ExceptionReplacer|NumberReplacer|ZeroIterationForLoop"
    r"|Replace(?:AndWithOr|OrWithAnd|TrueWithFalse|FalseWithTrue|\w+With(?:Break|Continue))"
    r"|ReplaceUnaryOperator_(?:Delete_Not|Delete_USub|USub_UAdd|Delete_Invert)"
    r"|ReplaceBinaryOperator_(?:Add_Sub|Sub_Add|Mul_Add|FloorDiv_Mul|Div_Mul|Mod_Add|BitOr_BitAnd"
    r"|BitAnd_BitOr|LShift_RShift|RShift_LShift)"
    r"|ReplaceComparisonOperator_(?:Eq_NotEq|NotEq_Eq|Is_IsNot|IsNot_Is|Lt_LtE|LtE_Lt|Gt_GtE|GtE_Gt"
    r"|Lt_GtE|LtE_Gt|Gt_LtE|GtE_Lt))"
)


class Mutant(NamedTuple):
    """The fault that one operator plants at one of its places in a file."""

    path: str
    operator: str
    occurrence: int
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.operator.removeprefix('core/')}:{self.occurrence}"


class Drop:
    """An operator of cosmic-ray's kind, which it lacks: `pass` in the place of a statement.

    Of a call, an error that is raised, and what is stored elsewhere than in a plain name.
    """

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        """Where it can be planted in `node`."""
        if node.type == "simple_stmt" and self._does_something(node.children[0]):
            yield node.children[0].start_pos, node.children[0].end_pos

    @staticmethod
    def _does_something(said: Any) -> bool:
        if said.type == "expr_stmt":
            target, operator = said.children[:2]
            changes = getattr(operator, "value", "=") not in ("=", ":=")
            return changes or (operator.type == "operator" and target.type != "name")
        return said.type in ("atom_expr", "power", "yield_expr", "raise_stmt", "del_stmt")

    def mutate(self, node: Any, index: int) -> Any:
        """`node` with the fault."""
        from parso.python.tree import Keyword

        said = node.children[0]
        node.children[0] = Keyword("pass", said.start_pos, said.get_first_leaf().prefix)
        return node


def _operators() -> dict[str, Any]:
    from cosmic_ray import plugins

    names = filter(OPERATORS.fullmatch, plugins.operator_names())
    return {"drop": Drop()} | {name: plugins.get_operator(name)() for name in names}


def mutants_of(path: str, source: str, operators: dict[str, Any]) -> list[Mutant]:
    """All faults that `operators` can plant in this text, but for those in what is only read."""
    from cosmic_ray.ast import ast_nodes, get_ast

    nodes, silent = list(ast_nodes(get_ast(source))), _only_read(source)
    return [
        Mutant(path, name, occurrence, line)
        for name, operator in operators.items()
        for occurrence, ((line, column), _) in enumerate(
            place for node in nodes for place in operator.mutation_positions(node)
        )
        if not any(begin <= (line, column) < end for begin, end in silent)
    ]


def _only_read(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where annotations and imports for types stand, of which nothing depends."""
    found: list[ast.AST] = []
    for node in ast.walk(ast.parse(source)):
        found += [each for name in ("annotation", "returns") if (each := getattr(node, name, None))]
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            found.append(node)
    lines = source.splitlines()

    def place(line: int, offset: int) -> tuple[int, int]:
        return line, len(lines[line - 1].encode()[:offset].decode())

    return [
        (place(node.lineno, node.col_offset), place(node.end_lineno, node.end_col_offset))
        for node in found
        if isinstance(node, (ast.expr, ast.stmt)) and node.end_lineno and node.end_col_offset
    ]


def sample(mutants: Iterable[Mutant], number: int, seed: int) -> list[Mutant]:
    """So many lines by chance, and one of each one's faults: having many gives no more weight."""
    by_line: dict[tuple[str, int], list[Mutant]] = {}
    for mutant in mutants:
        by_line.setdefault((mutant.path, mutant.line), []).append(mutant)
    chance = random.Random(seed)
    lines = chance.sample(sorted(by_line), min(number, len(by_line)))
    return [chance.choice(by_line[line]) for line in lines]


def changed(diff: str) -> set[tuple[str, int]]:
    """The new lines of a `git diff -U0`, by file and number."""
    lines: set[tuple[str, int]] = set()
    path = ""
    for line in diff.splitlines():
        if line.startswith("+++ "):
            path = line.removeprefix("+++ ").removeprefix("b/")
        elif hunk := re.match(r"@@ -\S+ \+(\d+)(?:,(\d+))? @@", line):
            first, count = int(hunk[1]), int(hunk[2] or 1)
            lines |= {(path, number) for number in range(first, first + count)}
    return lines


# --- which tests execute it -----------------------------------------------------------------------


def statement(source: str, line: int) -> range | None:
    """The lines of the statement at `line`, its head if it has a body; None: it runs on import."""

    def within(body: Sequence[ast.stmt], function: bool) -> range | None:
        for node in body:
            if not node.lineno <= line <= (node.end_lineno or 0):
                continue
            bodies = [
                each.body
                for each in ast.iter_child_nodes(node)
                if isinstance(each, (ast.ExceptHandler, ast.match_case))
            ]
            bodies += [getattr(node, name, []) for name in ("body", "orelse", "finalbody")]
            inside = function or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            first = min((part[0].lineno for part in bodies if part), default=None)
            for part in bodies:
                if part and part[0].lineno <= line <= (part[-1].end_lineno or 0):
                    return within(part, inside)
            end = (node.end_lineno or line) + 1 if first is None else max(first, line + 1)
            return range(node.lineno, end) if function else None
        return range(line, line + 1) if function else None

    return within(ast.parse(source).body, False)


class Seen(NamedTuple):
    """Which tests executed which lines (by file, by line; by their place), and how long each took.

    `tests` are their names, `seconds` holds those that passed.
    """

    tests: list[str]
    lines: dict[str, dict[str, list[int]]]
    seconds: dict[str, float]

    def of(self, path: str, lines: range | None) -> list[str]:
        """Those that executed one of `lines` (None: anything in the file), fastest first."""
        there = self.lines.get(path, {})
        wanted = there if lines is None else map(str, lines)
        found = {self.tests[place] for line in wanted for place in there.get(line, ())}
        return sorted(found & set(self.seconds), key=lambda test: (self.seconds[test], test))


# As a plugin of pytest (-p mutants) this module takes down how long each test took that passed.

_took: dict[str, float] = {}
_bad: set[str] = set()


def pytest_runtest_logreport(report: Any) -> None:
    """Of its set-up, its call, or its end."""
    _took[report.nodeid] = _took.get(report.nodeid, 0.0) + report.duration
    if report.outcome != "passed":
        _bad.add(report.nodeid)


def pytest_sessionfinish(session: Any) -> None:
    """The run is over."""
    if (file := os.environ.get("IOSIM_TOOK")) and not hasattr(session.config, "workerinput"):
        passed = {test: took for test, took in _took.items() if test not in _bad}
        Path(file).write_text(json.dumps(passed), encoding="utf-8")


def _edition() -> str:
    """Of all that a run of the tests depends on."""
    whole = hashlib.sha256()
    for name in _listed():
        if name.startswith(("iosim/", "tests/", "tools/")) or name == "pyproject.toml":
            whole.update(name.encode() + b"\0" + (ROOT / name).read_bytes())
    return whole.hexdigest()


def seen(tree: Path) -> Seen:
    """What the tests execute: as it was kept, or by a run in `tree`."""
    kept, edition = KEPT / "seen.json", _edition()
    if kept.exists():
        found = json.loads(kept.read_text("utf-8"))
        if found["edition"] == edition:
            return Seen(found["tests"], found["lines"], found["seconds"])
    print("Which tests execute what? One run with coverage (some minutes) ...", flush=True)
    data, took = tree / ".coverage", tree / "took.json"
    command = [*SIMULATED, "--quiet", "-p", "mutants"]
    command += ["-p", "pytest_cov", "--cov=iosim", "--cov-context=test", "--cov-report="]
    command += ["-p", "xdist", f"--numprocesses={usable_cores()}", "--dist=worksteal"]
    environment = {"IOSIM_TOOK": str(took), "COVERAGE_FILE": str(data), "COVERAGE_CORE": "ctrace"}
    subprocess.run(_pytest(command), cwd=tree, env=_environment(tree) | environment, check=False)
    found = Seen(*_contexts(data, tree), json.loads(took.read_text("utf-8")))
    KEPT.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps({"edition": edition, **found._asdict()}), encoding="utf-8")
    return found


def _contexts(data: Path, tree: Path) -> tuple[list[str], dict[str, dict[str, list[int]]]]:
    """The tests, and by file and line which of them, of a run with the contexts of pytest-cov."""
    from coverage import CoverageData

    told = CoverageData(str(data))
    told.read()
    places: dict[str, int] = {}
    lines = {
        Path(file).relative_to(tree).as_posix(): {
            str(line): sorted(
                {
                    places.setdefault(context.rpartition("|")[0], len(places))
                    for context in contexts if context
                }
            )
            for line, contexts in told.contexts_by_lineno(file).items()
        }
        for file in told.measured_files()
    }  # fmt: skip
    return list(places), lines


# --- planting them --------------------------------------------------------------------------------


def _listed() -> list[str]:
    """The files of the tree, as git knows them or would add them."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    return sorted(name for name in set(told.split("\0")) if (ROOT / name).is_file())


@contextmanager
def _copy() -> Iterator[Path]:
    """A copy of the tree, in a folder that goes away."""
    with tempfile.TemporaryDirectory(prefix="iosim-mutants-") as folder:
        tree = Path(folder).resolve()
        for name in _listed():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
        yield tree


def _environment(tree: Path) -> dict[str, str]:
    """In which iosim is that of `tree`, and pytest begins quickly: with no plugin but its own.

    A property that fails need not look for a simpler case.
    """
    places = [str(tree), str(tree / "tools"), os.environ.get("PYTHONPATH", "")]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, places)),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "HYPOTHESIS_PROFILE": "first",
    }


def _pytest(arguments: Sequence[str]) -> list[str]:
    plain = ["-o", "addopts=--import-mode=importlib", "-p", "no:cacheprovider"]
    return [sys.executable, "-m", "pytest", *plain, *arguments]


@contextmanager
def planted(tree: Path, mutant: Mutant, code: str) -> Iterator[None]:
    """Its file has `code`, and no bytecode of another text is taken for it."""
    file = tree / mutant.path
    before, compiled = file.read_text("utf-8"), Path(cache_from_source(str(file)))
    try:
        compiled.unlink(missing_ok=True)
        file.write_text(code, encoding="utf-8")
        yield
    finally:
        file.write_text(before, encoding="utf-8")
        compiled.unlink(missing_ok=True)


def verdict(tree: Path, arguments: Sequence[str], usual: float) -> str:
    """What a run of these tests says, which takes `usual` s: killed, survived, timeout, unclear."""
    hangs = HANGS_S + SLOWER * usual
    command = ["-x", "-q", "--tb=no", "-m", "not real", "-o", f"faulthandler_timeout={hangs:.0f}"]
    process = subprocess.Popen(
        _pytest([*command, *arguments]), cwd=tree, env=_environment(tree), text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if sys.platform == "linux":
        import resource

        resource.prlimit(process.pid, resource.RLIMIT_AS, (MEMORY, MEMORY))
    try:
        told, _ = process.communicate(timeout=BEGINS_S + 2 * hangs)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return "timeout"
    if re.search(r"^Timeout \(", told, re.M):
        return "timeout"
    if process.returncode == 0:
        return "survived"
    unclear = process.returncode == 5 or "ERROR: not found" in told
    return f"unclear: {told.strip()[-200:]}" if unclear else "killed"


def _within(tests: Sequence[str], seconds: dict[str, float], most: float) -> list[str]:
    """The first of them, that take at most so many s together; one at least."""
    sums = accumulate(seconds[test] for test in tests)
    return [test for i, (test, sum_) in enumerate(zip(tests, sums, strict=True))
            if not i or sum_ <= most]  # fmt: skip


def _tried(
    tree: Path, mutant: Mutant, code: str, arguments: str | None, what: Seen, most: float
) -> str:
    """What becomes of it."""
    usual, note = 60.0, ""
    if arguments is None:
        tests = what.of(mutant.path, statement((tree / mutant.path).read_text(), mutant.line))
        if not tests:
            return "survived: no test executes it"
        asked = _within(tests, what.seconds, most)
        note = f" ({len(asked)} of {len(tests)} tests)"
        usual = sum(what.seconds[test] for test in asked)
        listed = tree / "tests.txt"
        listed.write_text("\n".join(asked), encoding="utf-8")
        arguments = f"@{listed}"
    with planted(tree, mutant, code):
        return verdict(tree, shlex.split(arguments), usual) + note


def run(
    mutants: Sequence[Mutant], operators: dict[str, Any], tests: str | None, most: float
) -> int:
    """Plant each, and tell; how many survived."""
    from cosmic_ray.mutating import mutate_code

    counts: dict[str, int] = {}
    with _copy() as tree:
        what = Seen([], {}, {}) if tests is not None else seen(tree)
        for number, mutant in enumerate(mutants, 1):
            source, begun = (tree / mutant.path).read_text("utf-8"), time.monotonic()
            code = mutate_code(source, operators[mutant.operator], mutant.occurrence)
            assert code is not None, mutant
            said = _tried(tree, mutant, code, tests, what, most)
            word = re.split("[: ]", said)[0]
            counts[word] = counts.get(word, 0) + 1
            took = time.monotonic() - begun
            print(f"[{number}/{len(mutants)}] {said}, {took:.0f} s: {mutant}", flush=True)
            if word in ("survived", "unclear"):
                lines = (source.splitlines(), code.splitlines())
                diff = difflib.unified_diff(*lines, mutant.path, mutant.path, lineterm="", n=2)
                print("\n".join(diff), flush=True)
    told = ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))
    print(f"{len(mutants)} planted: {told or 'none'}")
    return counts.get("survived", 0)


def _all(folders: Sequence[str], operators: dict[str, Any]) -> list[Mutant]:
    files = [name for name in _listed() if name.endswith(".py") and name.startswith("iosim/")]
    wanted = [name for name in files if any(name.startswith(folder) for folder in folders)]
    texts = ((name, (ROOT / name).read_text("utf-8")) for name in wanted)
    return [mutant for name, text in texts for mutant in mutants_of(name, text, operators)]


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 0 if none survived."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("within", nargs="*", default=["iosim/"], help="folders or files")
    parser.add_argument("--number", type=int, default=30, help="how many to plant (30)")
    parser.add_argument("--seed", type=int, default=date.today().toordinal(), help="(the day)")
    parser.add_argument("--since", metavar="COMMIT", help="only in lines that changed since")
    parser.add_argument("--only", metavar="NAME", nargs="+", help="these, as they were printed")
    parser.add_argument("--tests", help="arguments of pytest, in place of what executes the line")
    parser.add_argument("--most", type=float, default=300, help="s of tests for each (300)")
    asked = parser.parse_args(arguments)
    operators = _operators()
    mutants = _all(asked.within, operators)
    if asked.since:
        command = ["git", "diff", "-U0", asked.since, "--", "iosim"]
        diff = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        lines = changed(diff)
        mutants = [each for each in mutants if (each.path, each.line) in lines]
    if asked.only:
        chosen = [each for each in mutants if str(each) in asked.only]
    else:
        print(f"seed {asked.seed}: {asked.number} of {len(mutants)}", flush=True)
        chosen = sample(mutants, asked.number, asked.seed)
    return int(run(chosen, operators, asked.tests, asked.most) > 0)


if __name__ == "__main__":
    sys.exit(main())
