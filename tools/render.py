"""Execute the notebooks and store them in one normal form: equal runs give equal bytes.

It is the form in which JupyterLab writes them, less what differs from one interpreter to the next,
so that a notebook which was opened and closed is as it was. Widgets live where a kernel runs; what
is stored of them is the picture and the text that they show without one.

    python tools/render.py [NOTEBOOK ...]            execute in place
    python tools/render.py --check [NOTEBOOK ...]    execute nothing; exit 1 and name what is amiss

Without a name, every notebook in notebooks/ and its exercises. A plain run of Jupyter stores times,
random widget ids and the interpreter's version, so that each run would change every file.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["CELL_SECONDS", "dumps", "execute", "faults", "main", "normalise"]

ROOT = Path(__file__).resolve().parent.parent
CELL_SECONDS = 60

#: As JupyterLab writes them when it opens a notebook; see `opened` on what it adds.
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {
    "codemirror_mode": {"name": "ipython", "version": 3}, "file_extension": ".py",
    "mimetype": "text/x-python", "name": "python", "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
}  # fmt: skip
VIEW = "application/vnd.jupyter.widget-view+json"
ANSI = re.compile(r"\x1b\[[0-9;]*m")

# What a notebook and a cell may keep; the rest is a trace of one run or one editor.
NOTEBOOK_KEYS = {"authors", "title"}
CELL_KEYS = {"editable", "jupyter", "tags"}

Json = dict[str, Any]


def text_of(value: str | list[str]) -> str:
    """The source or the output text of a cell, which the format stores as a string or as lines."""
    return value if isinstance(value, str) else "".join(value)


def course() -> list[Path]:
    """The notebooks in their order, and then the exercises."""
    folder = ROOT / "notebooks"
    return [*sorted(folder.glob("*.ipynb")), *sorted(folder.glob("exercises/*.ipynb"))]


# --- the normal form ------------------------------------------------------------------------------


def normalise(notebook: Json) -> Json:
    """The same notebook in its normal form; a notebook in normal form stays as it is."""
    cells = [_cell(cell) for cell in notebook["cells"]]
    _name_cells(cells)
    _number_cells(cells)
    _make_slides(cells)
    metadata = {k: v for k, v in notebook["metadata"].items() if k in NOTEBOOK_KEYS}
    metadata |= {"kernelspec": KERNEL, "language_info": LANGUAGE}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def dumps(notebook: Json) -> str:
    """The text of a notebook as Jupyter itself lays it out, so that saving there changes little."""
    return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _cell(cell: Json) -> Json:
    metadata = {k: v for k, v in cell["metadata"].items() if k in CELL_KEYS and v != []}
    cell = {**cell, "metadata": metadata, "source": _lines(text_of(cell["source"]).strip("\n"))}
    if cell["cell_type"] == "code":
        cell["outputs"] = _join_streams([_output(output) for output in cell["outputs"]])
    return cell


def _lines(text: str) -> list[str]:
    # As nbformat does, which also splits at form feeds and at Unicode's line separators.
    return text.splitlines(keepends=True)


def _output(output: Json) -> Json:
    if output["output_type"] == "error":
        return {**output, "traceback": _traceback(output["traceback"])}
    if "data" not in output:
        return {**output, "text": _lines(text_of(output["text"]))}
    data = {mime: _data(mime, value) for mime, value in output["data"].items() if mime != VIEW}
    return {**output, "data": data}


def _data(mime: str, value: Any) -> Any:
    is_text = mime.startswith("text/") or mime in ("image/svg+xml", "application/javascript")
    return _lines(text_of(value)) if is_text else value


def _traceback(frames: list[str]) -> list[str]:
    """Only the frames of the notebook's own cells: the others hold paths of one machine."""
    return [frame for frame in frames if not ANSI.sub("", frame).startswith("File ")]


def _join_streams(outputs: list[Json]) -> list[Json]:
    """Neighbouring pieces of one stream as one output: where they were cut depends on timing."""
    joined: list[Json] = []
    for output in outputs:
        last = joined[-1] if joined else {}
        if output["output_type"] == "stream" and output["name"] == last.get("name"):
            text = text_of(last["text"]) + text_of(output["text"])
            joined[-1] = {**last, "text": _lines(text)}
        else:
            joined.append(output)
    return joined


def _name_cells(cells: list[Json]) -> None:
    """Keep the ids there are; call a nameless cell after its place."""
    taken = {cell.get("id") for cell in cells}
    for place, cell in enumerate(cells, start=1):
        name = f"cell-{place:02d}"
        while "id" not in cell:
            if name not in taken:
                cell["id"] = name
            name += "x"
        taken.add(cell["id"])


def _number_cells(cells: list[Json]) -> None:
    """Count the executed cells from 1; a cell that was never executed stays without a number."""
    executed = [cell for cell in cells if cell.get("execution_count") is not None]
    for count, cell in enumerate(executed, start=1):
        cell["execution_count"] = count
        for output in cell["outputs"]:
            if "execution_count" in output:
                output["execution_count"] = count


def _make_slides(cells: list[Json]) -> None:
    """Where the slides begin that nbconvert makes: at each cell but code after text.

    A text with a heading begins a slide, and what else begins one is below it. So a slide has the
    pictures of one cell at most.
    """
    before = ""
    for cell in cells:
        kind = cell["cell_type"]
        if not (kind == "code" and before == "markdown"):
            heading = kind == "markdown" and text_of(cell["source"]).startswith("#")
            cell["metadata"]["slideshow"] = {"slide_type": "slide" if heading else "subslide"}
        before = kind


# --- what a stored notebook must be ---------------------------------------------------------------


def faults(notebook: Json) -> list[str]:
    """What is amiss in a stored notebook, a line each, led by the id of the cell."""
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    found = [
        f"{cell.get('id', 'a cell without id')}: {fault}"
        for count, cell in enumerate(code, start=1)
        for fault in _cell_faults(cell, count)
    ]
    # Only then: one cell that was not executed puts the numbers of all later ones out of form.
    return found or list(_differences(notebook, normalise(notebook)))


def _cell_faults(cell: Json, count: int) -> Iterator[str]:
    # nbval runs such a cell, and compares nothing.
    if cell["execution_count"] is None:
        yield "has no stored execution"
    elif cell["execution_count"] != count:
        yield f"was executed as number {cell['execution_count']}, not {count}"
    if "raises-exception" not in cell["metadata"].get("tags", []):
        for output in cell["outputs"]:
            if output["output_type"] == "error":
                yield f"stores the error {output['ename']}, and is not tagged raises-exception"


def _differences(notebook: Json, normal: Json) -> Iterator[str]:
    for old, new in zip(notebook["cells"], normal["cells"], strict=True):
        if dumps(old) != dumps(new):
            yield f"{new['id']}: is not in normal form"
    if any(dumps({"_": notebook[k]}) != dumps({"_": normal[k]}) for k in normal if k != "cells"):
        yield "metadata: is not in normal form"


# --- the command ----------------------------------------------------------------------------------


def execute(notebook: Json, folder: Path) -> Json:
    """The notebook executed in `folder`, in normal form; nbclient's error if a cell fails."""
    import nbformat  # --check needs neither of them
    from nbclient import NotebookClient

    # Normalised first: nbformat would give the cells without an id a random one.
    node = nbformat.reads(dumps(normalise(notebook)), as_version=4)
    node.metadata.pop("widgets", None)
    NotebookClient(
        node,
        timeout=CELL_SECONDS,
        kernel_name=KERNEL["name"],
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    ).execute()
    return normalise(node)


def render(path: Path) -> list[str]:
    """Execute a notebook file in place; what went wrong, in which case the file stays."""
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    try:
        notebook = execute(json.loads(path.read_text(encoding="utf-8")), path.parent)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        return [str(error).strip()]
    path.write_text(dumps(notebook), encoding="utf-8", newline="\n")
    return []


def check(path: Path) -> list[str]:
    """What is amiss in a notebook file as it is stored."""
    text = path.read_text(encoding="utf-8")
    notebook = json.loads(text)
    found = faults(notebook)
    if not found and text != dumps(notebook):
        found = ["file: is laid out differently (indent, order of keys or last newline)"]
    return found


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 0 if every notebook could be rendered, or is as it must be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("notebooks", nargs="*", type=Path)
    parser.add_argument("--check", action="store_true", help="execute nothing, only look")
    options = parser.parse_args(arguments)
    paths = options.notebooks or course()
    status = 0
    for path in paths:
        found = check(path) if options.check else render(path)
        for fault in found:
            print(f"{path.name}: {fault}", file=sys.stderr)
        status |= bool(found)
        if not options.check:
            print(f"{path.name}: {'failed' if found else 'rendered'}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
