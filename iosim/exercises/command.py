"""`iosim check FILE...`: answers to the exercises, tried from a shell."""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from . import EXERCISES
from .exercise import Answer, Exercise

__all__ = ["add_arguments", "run"]

#: What of a notebook's cells counts: no calls, such as that of `check` itself.
DEFINITIONS = (
    ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign,
    ast.AnnAssign,
)  # fmt: skip


class _NoAnswers(Exception):
    """What is wrong with a file."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help=".py or .ipynb")
    parser.add_argument("--seed", type=int, default=0, help="other sizes and bytes for each seed")
    parser.add_argument(
        "--trace", action="store_true", help="show the run in which an answer failed"
    )
    parser.add_argument("--json", action="store_true", help="a list of objects, for a program")


def run(options: argparse.Namespace) -> int:
    """0 if all answers are right, 1 if some are not, 2 for a file without any."""
    rows = []
    try:
        for file in options.files:
            rows += [_row(file, *found, options.seed, options.trace) for found in _answers(file)]
    except _NoAnswers as error:
        print(error, file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(rows, indent=1))
    else:
        print("\n".join(f"{row['exercise']}: {row['text']}" for row in rows))
    return 0 if all(row["right"] for row in rows) else 1


def _row(
    file: Path, exercise: Exercise, answer: Answer, seed: int, trace: bool
) -> dict[str, object]:
    verdict = exercise.check(answer, seed)
    run = f"\n\n{verdict.found.timeline}" if trace and verdict.found is not None else ""
    return {
        "file": str(file), "exercise": exercise.name, "right": verdict.right,
        "mistake": verdict.mistake, "words": verdict.words, "advice": verdict.advice,
        "text": f"{verdict}{run}",
    }  # fmt: skip


def _answers(file: Path) -> Iterator[tuple[Exercise, Answer]]:
    """The exercises that a file answers, in their order."""
    try:
        module = _loaded(file)
    except (Exception, SystemExit) as error:
        raise _NoAnswers(f"{file}: {type(error).__name__}: {error}") from error
    found = [name for name in EXERCISES if hasattr(module, name)]
    if not found:
        raise _NoAnswers(f"{file}: no exercise is answered there: {', '.join(EXERCISES)}")
    for name in found:
        yield EXERCISES[name], getattr(module, name)


def _loaded(file: Path) -> ModuleType:
    """The file as a module; of a notebook, what its cells define."""
    name = f"answers_in_{file.stem}"
    spec = importlib.util.spec_from_loader(name, None, origin=str(file))
    assert spec is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    module.__file__ = str(file)
    text = file.read_text(encoding="utf-8")
    tree = _definitions(text) if file.suffix == ".ipynb" else ast.parse(text)
    exec(compile(tree, str(file), "exec"), vars(module))
    return module


def _definitions(text: str) -> ast.Module:
    body: list[ast.stmt] = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and not source.lstrip().startswith(("%", "!")):
            body += [one for one in ast.parse(source).body if isinstance(one, DEFINITIONS)]
    return ast.Module(body, [])
