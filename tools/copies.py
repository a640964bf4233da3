"""The reader's own copies of the notebooks, in work/: what is there is never overwritten.

    python tools/copies.py                        copy what is not there yet
    python tools/copies.py --fresh 03_blocking    begin afresh; yours gets a dated name

git ignores work/, so that `git pull` finds nothing changed. The copies carry no outputs of another
machine: a cell tagged `nbval-ignore-output` is one whose output depends on the machine, since the
tests compare the outputs of all other cells to the letter. The former are left out of a copy, until
the reader runs the cell; the latter are the same everywhere, and stay.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from datetime import date
from itertools import chain, count
from pathlib import Path
from typing import Any

import render

__all__ = ["DEPENDS", "fresh", "main", "missing", "without_measured"]

ROOT = Path(__file__).resolve().parent.parent
DEPENDS = "nbval-ignore-output"  # the tag of a cell whose output depends on the machine
EDITIONS = ".editions.json"  # in work/: of which edition each copy was made

Json = dict[str, Any]


def without_measured(notebook: Json) -> Json:
    """The same notebook without the outputs that depend on the machine."""
    return {**notebook, "cells": [_bare(cell) for cell in notebook["cells"]]}


def _bare(cell: Json) -> Json:
    depends = DEPENDS in cell["metadata"].get("tags", [])
    return {**cell, "outputs": [], "execution_count": None} if depends else cell


def missing(course: Path, work: Path) -> list[str]:
    """Copy into `work` what it lacks of the folder `course`; a line for each thing to tell."""
    work.mkdir(exist_ok=True)
    told = []
    for source in sorted(course.rglob("*")):
        target = work / source.relative_to(course)
        if ".ipynb_checkpoints" in source.parts or source.is_dir():
            continue
        if not target.exists():
            _copy(source, target)
            told += [f"{target.name} is new in {work.name}/"] * (source.suffix == ".ipynb")
        elif source.suffix == ".ipynb" and _editions(work).get(source.name) != _edition(source):
            told.append(f"{source.stem} has a newer edition: make fresh NOTEBOOK={source.stem}")
    return told


def fresh(course: Path, work: Path, name: str) -> list[str]:
    """Put this notebook into `work` anew, and keep the one that was there under a dated name.

    `name` is its file name, or the beginning of it. ValueError if no notebook has it, or several.
    """
    names = {path.name: path.relative_to(course) for path in sorted(course.rglob("*.ipynb"))}
    found = [names[each] for each in names if name and each.startswith(Path(name).name)]
    if len(found) != 1:
        stems = ", ".join(each.removesuffix(".ipynb") for each in names)
        raise ValueError(f"no notebook is called {name!r}; name one: NOTEBOOK=... of {stems}")
    target, told = work / found[0], []
    work.mkdir(exist_ok=True)
    if target.exists():
        kept = _dated(target)
        target.rename(kept)
        told = [f"yours is kept as {kept.name}"]
    _copy(course / found[0], target)
    return [*told, f"{work.name}/{found[0]} is fresh; if it is open, close and open it again"]


def _dated(path: Path) -> Path:
    """A name of today that is free."""
    today = f"{path.stem}_{date.today()}"
    names = chain([today], (f"{today}_{number}" for number in count(2)))
    paths = (path.with_name(name + path.suffix) for name in names)
    return next(path for path in paths if not path.exists())


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    if source.suffix != ".ipynb":
        shutil.copyfile(source, target)
        return
    notebook = without_measured(json.loads(source.read_text(encoding="utf-8")))
    target.write_text(render.dumps(notebook), encoding="utf-8", newline="\n")
    _trust(target)
    editions = _editions(target.parent) | {source.name: _edition(source)}
    (target.parent / EDITIONS).write_text(json.dumps(editions, indent=1), encoding="utf-8")


def _trust(path: Path) -> None:
    """As `jupyter trust` does: what came with the clone may show its pictures and widgets."""
    import nbformat
    from nbformat.sign import NotebookNotary

    with NotebookNotary() as notary:
        notary.sign(nbformat.read(path, as_version=4))


def _edition(source: Path) -> str:
    return hashlib.sha256(source.read_bytes()).hexdigest()


def _editions(work: Path) -> dict[str, str]:
    path = work / EDITIONS
    editions: dict[str, str] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return editions


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 0, or 1 if there is no such notebook."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--fresh", metavar="NOTEBOOK", help="begin this notebook afresh")
    name = parser.parse_args(arguments).fresh
    course, work = ROOT / "notebooks", ROOT / "work"
    try:
        told = missing(course, work) if name is None else fresh(course, work, name)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print(*told, sep="\n", end="\n" if told else "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
