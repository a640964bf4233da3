"""What nbval does not see in a stored notebook, and that nbval and these rules see a fault.

nbval runs every notebook and compares its outputs. It passes cells without a stored execution,
and does not know in which form a picture must stand.
"""

import ast
import copy
import json
import os
import re
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import render
from paths import ROOT

FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LEDGER = FOLDER / "ledger.json"
ROWS = [*(f"C{number:02}" for number in range(1, 77)), "C65b"]
ROWS += [f"X{number}" for number in range(1, 21)]
#: Rows that name or spell something, or say what another system has: nothing to measure.
DEFINITIONS = {"C02", "C26", "C35", "C55", "C58"}

MAX_LINES = 15
IMG = re.compile(r"<img\b[^>]*>")
ALT = re.compile(r'\balt="[^"]*\w[^"]*"')
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|root|work|Users)/|\b[A-Z]:\\")

EDITIONS = {r"XBD|Base Definitions": r"POSIX\.1-20", r"UNIX\s+Network\s+Programming": r"3rd\s+ed"}

Json = dict[str, Any]
each_notebook = pytest.mark.parametrize("path", render.course(), ids=lambda path: path.stem)


def load(path: Path) -> Json:
    return json.loads(path.read_text(encoding="utf-8"))


def source(cell: Json) -> str:
    return render.text_of(cell["source"])


def tags(cell: Json) -> list[str]:
    return cell["metadata"].get("tags", [])


def cells(notebook: Json, kind: str) -> list[Json]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


# --- the rules: each yields what is amiss, led by the id of the cell ------------------------------


def too_long(notebook: Json) -> Iterator[str]:
    for cell in cells(notebook, "code"):
        lines = sum(map(bool, map(str.strip, source(cell).splitlines())))
        if lines > MAX_LINES:
            yield f"{cell['id']}: {lines} lines of code, more than {MAX_LINES}"


def without_story(notebook: Json) -> Iterator[str]:
    """A notebook opens with its title, so that its first code cell has a reason."""
    first = notebook["cells"][0]
    if first["cell_type"] != "markdown" or not source(first).startswith("# "):
        yield f"{first['id']}: the first cell is not a title in markdown"


def with_machine_paths(notebook: Json) -> Iterator[str]:
    for cell in notebook["cells"]:
        texts = [source(cell), json.dumps(cell.get("outputs", []), ensure_ascii=False)]
        if any(MACHINE_PATH.search(text.replace("\\\\", "\\")) for text in texts):
            yield f"{cell['id']}: holds an absolute path of one machine"


def without_alt(notebook: Json) -> Iterator[str]:
    """Pictures that a screen reader could not read."""
    for cell in cells(notebook, "code"):
        for tag in IMG.findall("".join(forms(cell))):
            if not ALT.search(tag):
                yield f"{cell['id']}: a picture without alt text"
    for cell in cells(notebook, "markdown"):
        if re.search(r"!\[\s*\]|<img(?![^>]*\balt=\"[^\"]+\")", source(cell)):
            yield f"{cell['id']}: a picture in markdown without alt text"


def not_shown_everywhere(notebook: Json) -> Iterator[str]:
    """Pictures in a form that some viewer of notebooks drops; `iosim/shown.py` says which."""
    for cell in cells(notebook, "code"):
        for output in cell["outputs"]:
            kinds = [kind for kind in output.get("data", {}) if not kind.startswith("text/")]
            yield from (f"{cell['id']}: shows {kind}" for kind in kinds)
        if "<svg" in "".join(forms(cell)):
            yield f"{cell['id']}: shows an SVG that is no <img>"


def with_several_pictures(notebook: Json) -> Iterator[str]:
    """A slide cannot divide a cell: of one picture each is what fits on it."""
    for cell in cells(notebook, "code"):
        pictures = len(IMG.findall("".join(forms(cell))))
        if pictures > 1:
            yield f"{cell['id']}: shows {pictures} pictures, more than 1"


def without_edition(notebook: Json) -> Iterator[str]:
    """The numbers of sections move from one edition of a standard, or of a book, to the next."""
    for cell in cells(notebook, "markdown"):
        for work, edition in EDITIONS.items():
            if re.search(work, source(cell)) and not re.search(edition, source(cell)):
                yield f"{cell['id']}: cites {work} and says no edition"


def forms(cell: Json) -> Iterator[str]:
    """What may be HTML in the outputs of a cell."""
    for output in cell["outputs"]:
        for kind in ("text/html", "text/markdown"):
            yield render.text_of(output.get("data", {}).get(kind, ""))


RULES: list[Callable[[Json], Iterator[str] | list[str]]] = [
    render.faults,
    too_long,
    without_story,
    with_machine_paths,
    without_alt,
    not_shown_everywhere,
    with_several_pictures,
    without_edition,
]


@each_notebook
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_notebook_keeps_the_rule(path: Path, rule: Callable[[Json], Iterator[str]]) -> None:
    assert list(rule(load(path))) == []


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


# --- the ledger: every claim of the notes ends in a cell that checks it ---------------------------


def ledger_faults(ledger: Json, notebooks: dict[str, Json]) -> Iterator[str]:
    """`ledger` maps a row to its place, {"notebook": name, "cell": id}, and to what is known of it.

    "kind": "definition" (optional); "verdict": T true, I imprecise, F false (* with a caveat), D a
    definition, Y a typing error; for T, I and F a "control", the id of a cell (in another notebook:
    "id@notebook") that would fail if the cause were another, and what stands "beside" there, or a
    "source".  Or to {"out": the reason}, if it is not in the course.
    """
    for row in ROWS:
        if row not in ledger:
            yield f"{row}: is missing"
    for row, place in ledger.items():
        if "out" in place:
            yield from () if row[0] == "X" and place["out"] else [f"{row}: is out, and why?"]
            continue
        cell = _cell_of(place["cell"], place["notebook"], notebooks)
        if cell is None:
            yield f"{row}: there is no cell {place['cell']!r} in {place['notebook']}"
        elif place.get("kind") == "definition":
            yield from _definition_faults(row, cell)
        else:
            yield from _experiment_faults(row, cell)
        yield from _control_faults(row, place, notebooks)


def _cell_of(name: str, notebook: str, notebooks: dict[str, Json]) -> Json | None:
    cells = notebooks.get(notebook, {"cells": []})["cells"]
    return next((cell for cell in cells if cell.get("id") == name), None)


def _control_faults(row: str, place: Json, notebooks: dict[str, Json]) -> Iterator[str]:
    verdict = place.get("verdict", "")
    if verdict.rstrip("*") not in ("T", "I", "F", "D", "Y"):
        yield f"{row}: has no verdict"
    elif verdict[0] in "TIF" and not place.get("source"):
        name, _, notebook = place.get("control", "").partition("@")
        cell = _cell_of(name, notebook or place["notebook"], notebooks)
        if cell is None or cell["cell_type"] != "code" or not _asserts(source(cell)):
            yield f"{row}: has no source, and its control {name!r} asserts nothing"
        if not place.get("beside"):
            yield f"{row}: what stands beside it?"


def _definition_faults(row: str, cell: Json) -> Iterator[str]:
    if row in ROWS and row not in DEFINITIONS:
        yield f"{row}: is a claim to be tested, not a definition"
    if not re.search(rf"\b{row}\b", source(cell)) and row not in tags(cell):
        yield f"{row}: is not named in its cell"


def _experiment_faults(row: str, cell: Json) -> Iterator[str]:
    if not re.search(rf"#.*\b{row}\b", source(cell)) and row not in tags(cell):
        yield f"{row}: its cell names it in no comment and no tag"
    if cell["cell_type"] != "code" or not _asserts(source(cell)):
        yield f"{row}: its cell asserts nothing"
    if {"nbval-skip", "raises-exception"} & set(tags(cell)):
        yield f"{row}: its cell is skipped, or may fail"


def _asserts(code: str) -> bool:
    """Whether the code asserts something that is not a constant."""
    python = "\n".join(line for line in code.splitlines() if not line.startswith(("%", "!")))
    asserted = [node.test for node in ast.walk(ast.parse(python)) if isinstance(node, ast.Assert)]
    return any(not isinstance(test, ast.Constant) for test in asserted)


def test_every_row_of_the_ledger_has_a_cell_that_asserts_it() -> None:
    notebooks = {path.name: load(path) for path in NOTEBOOKS}
    notebooks |= {path.stem: load(path) for path in NOTEBOOKS}
    assert list(ledger_faults(load(LEDGER), notebooks)) == []


# --- few descriptors: cells that need more are skipped, and say so --------------------------------

MANY = FOLDER / "09_select_poll_epoll.ipynb"
#: Runs cells, given as JSON, where 1,000 descriptors are allowed; tells what each has printed.
LIMITED = """
import contextlib, io, json, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (1_000, 1_000))
names, printed = {"display": print}, {}
for name, code in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(code, name, "exec"), names)
    printed[name] = out.getvalue()
print(json.dumps(printed))
"""


def run_limited(*names: str, fault: str = "") -> subprocess.CompletedProcess[str]:
    """These cells of 09, after those that they need and the statement `fault`."""
    code = {cell["id"]: source(cell) for cell in cells(load(MANY), "code")}
    before = "simulated", "c59-which", "questions", "imports"
    given = [(name, code[name]) for name in before] + [("fault", fault)]
    given += [(name, code[name]) for name in names]
    command = [sys.executable, "-c", LIMITED]
    plain = {**os.environ, "PYTHON_COLORS": "0"}  # from 3.13 on a traceback heeds FORCE_COLOR
    return subprocess.run(
        command, input=json.dumps(given), capture_output=True, text=True, timeout=100, check=False,
        env=plain,
    )  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere these cells are skipped anyway")
def test_cells_that_need_many_descriptors_say_so_where_few_are_allowed() -> None:
    code = {cell["id"]: source(cell) for cell in cells(load(MANY), "code")}
    asking = [name for name in code if re.search(r"^if allowed\(", code[name], re.MULTILINE)]
    assert {"c61-measure", "c62-limit"} <= set(asking)
    run = run_limited(*asking)
    assert run.returncode == 0, run.stderr
    printed = json.loads(run.stdout)
    for name in asking:
        assert re.fullmatch(
            r"skipped: needs 1,\d{3} descriptors, the hard limit RLIMIT_NOFILE is 1,000\n",
            printed[name],
        )


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere these cells are skipped anyway")
def test_a_cell_that_does_not_ask_how_many_are_allowed_fails() -> None:
    run = run_limited("c62-limit", fault="allowed = bool")
    assert run.returncode == 1
    assert "OSError: [Errno 22]" in run.stderr  # F_DUPFD beyond the limit: fcntl(2), EINVAL


# --- the checks are checked: a planted fault must turn them red -----------------------------------

SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" role="img">'
    "<title>A square</title><desc>One square of side 3.</desc><rect width='3'/></svg>"
)
CODE = {
    "svg": f'from iosim.draw import Picture\n\nPicture("""{SVG}""", "a square")',
    "number": "6 * 7  # C33\nassert 6 * 7 == 42\n6 * 7",
    "slider": (
        "from ipywidgets import HTML, interact\n\nshown = HTML()\n"
        "def show(x):\n    shown.value = str(x)\ninteract(show, x=(0, 3))\nshown"
    ),
    "explorer": "from iosim.explore import ModelExplorer\n\nModelExplorer()",
}


@pytest.fixture(scope="module")
def good() -> Json:
    """A small notebook that keeps every rule, executed once."""
    return notebook_of(CODE)


def notebook_of(code: dict[str, str]) -> Json:
    """A notebook with these cells, by their ids, executed."""
    title = {"cell_type": "markdown", "id": "title", "metadata": {}, "source": "# A notebook"}
    executed = [
        {
            "cell_type": "code",
            "id": name,
            "metadata": {},
            "source": text,
            "execution_count": None,
            "outputs": [],
        }
        for name, text in code.items()
    ]
    return render.execute({"cells": [title, *executed], "metadata": {}}, ROOT)


def test_of_a_widget_its_picture_and_its_text_are_stored(good: Json) -> None:
    [output] = cell_of(good, "explorer")["outputs"]
    assert set(output["data"]) == {"text/plain", "text/markdown"}
    assert set(good["metadata"]) == {"kernelspec", "language_info"}


def in_base64(text: str) -> str:
    return b64encode(text.encode()).decode()


def cell_of(notebook: Json, name: str) -> Json:
    return next(cell for cell in notebook["cells"] if cell["id"] == name)


def planted(notebook: Json, name: str, old: str, new: str) -> Json:
    """A copy in which one text of one cell is another; the cell's source may change as well."""
    copied = copy.deepcopy(notebook)
    place = [cell["id"] for cell in copied["cells"]].index(name)
    before = json.dumps(copied["cells"][place])
    assert old in before
    copied["cells"][place] = json.loads(before.replace(old, new))
    return copied


def all_faults(notebook: Json) -> list[str]:
    return [fault for rule in RULES for fault in rule(notebook)]


def test_nbval_sees_a_changed_picture_a_wrong_number_and_a_broken_callback(
    good: Json, tmp_path: Path
) -> None:
    faulty = {"good": good}
    faulty["picture"] = planted(good, "svg", in_base64(SVG), in_base64(SVG.replace("3", "4")))
    faulty["number"] = planted(good, "number", '"42"', '"43"')
    faulty["callback"] = planted(good, "slider", "str(x)", "str(y)")
    for name, notebook in faulty.items():
        (tmp_path / f"{name}.ipynb").write_text(render.dumps(notebook), encoding="utf-8")
    assert failures(tmp_path) == {"picture", "number", "callback"}  # of four


def test_a_changed_picture_is_soon_told_where_differences_are_shown_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It took pytest five minutes, letter by letter."""
    monkeypatch.setenv("CI", "1")
    many = "from iosim import models, simulate, traffic\n\n"
    stored = notebook_of({"many": many + "simulate(models.multiplexing, traffic.several(100))"})
    [output] = cell_of(stored, "many")["outputs"]
    [before] = re.findall(r"base64,([\w+/=]+)", render.text_of(output["data"]["text/markdown"]))
    drawn = b64decode(before).decode()
    faulty = planted(stored, "many", before, in_base64(drawn.replace("4", "5")))
    (tmp_path / "picture.ipynb").write_text(render.dumps(faulty), encoding="utf-8")
    assert failures(tmp_path) == {"picture"}


def failures(folder: Path) -> set[str]:
    """The notebooks in `folder` that `pytest --nbval` with this project's settings rejects."""
    command = [sys.executable, "-m", "pytest", "--nbval", "-p", "no:cacheprovider", "-p", "digests"]
    command += ["-c", str(ROOT / "pyproject.toml"), f"--rootdir={folder}", "--tb=no", str(folder)]
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT / "tools")},
    )  # fmt: skip
    assert run.returncode in (0, 1), run.stdout + run.stderr
    assert re.search(" (passed|failed)", run.stdout), run.stdout + run.stderr
    return set(re.findall(r"^FAILED (?:\S*/)?(\w+)\.ipynb::", run.stdout, flags=re.MULTILINE))


def test_the_rules_pass_a_good_notebook(good: Json) -> None:
    assert all_faults(good) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "fault"),
    [
        ("svg", "alt=", "lat=", "svg: a picture without alt text"),
        ("svg", 'alt=\\"One square of side 3.', 'alt=\\" ', "svg: a picture without alt text"),
        ("svg", "<img alt", "<svg/><img alt", "svg: shows an SVG that is no <img>"),
        ("svg", '"text/markdown"', '"image/svg+xml"', "svg: shows image/svg+xml"),
        ("svg", "<img alt", "<img alt='a'/><img alt", "svg: shows 2 pictures, more than 1"),
        ("slider", '"text/plain"', f'"{render.VIEW}": {{}}, "text/plain"', "shows application/vnd"),
        ("number", '"execution_count": 2', '"execution_count": null', "has no stored execution"),
        ("number", '"execution_count": 2', '"execution_count": 7', "executed as number 7"),
        ("number", "6 * 7", "6 *\\\\\\n" * 15 + "7", "lines of code, more than 15"),
        ("number", '"42"', '"/' + 'home/me/42"', "an absolute path of one machine"),
        ("title", "# A notebook", "No title", "not a title"),
        ("title", "# A notebook", "# A ![](dot.png)", "markdown without alt text"),
        ("title", "# A notebook", "# A <img src='dot.png'>", "markdown without alt text"),
        ("title", "# A notebook", "# A notebook, by XBD 3.30", "title: cites XBD"),
        ("title", "# A notebook", "# A UNIX Network Programming", "and says no edition"),
    ],
)
def test_the_rules_see_a_planted_fault(
    good: Json, name: str, old: str, new: str, fault: str
) -> None:
    assert fault in "\n".join(all_faults(planted(good, name, old, new)))


def test_the_rules_see_an_error_that_nobody_expected(good: Json) -> None:
    faulty = copy.deepcopy(good)
    error = {"output_type": "error", "ename": "OSError", "evalue": "", "traceback": []}
    cell_of(faulty, "number")["outputs"] = [error]
    assert "stores the error OSError" in "\n".join(all_faults(faulty))


def test_rendering_twice_gives_the_same_bytes(good: Json) -> None:
    assert render.dumps(render.execute(good, ROOT)) == render.dumps(good)


def test_normal_form_is_stable_and_gives_readable_ids() -> None:
    notebook = {
        "cells": [{"cell_type": "markdown", "metadata": {"trusted": True}, "source": "# A\n"}],
        "metadata": {"language_info": {"name": "python", "version": "3.11.0"}, "widgets": {}},
    }
    normal = render.normalise(notebook)
    assert normal["cells"][0]["id"] == "cell-01"
    assert render.dumps(render.normalise(normal)) == render.dumps(normal)
    assert not any(key in render.dumps(normal) for key in ("trusted", "3.11.0", "widgets"))


def test_each_cell_begins_a_slide_but_for_the_code_after_a_text() -> None:
    def cell(kind: str, text: str) -> Json:
        code = {"outputs": [], "execution_count": 1} if kind == "code" else {}
        return {"cell_type": kind, "metadata": {}, "source": text} | code

    cells = [
        cell("markdown", "# A"), cell("code", "1"), cell("code", "2"), cell("code", "3"),
        cell("markdown", "and"), cell("code", "4"), cell("markdown", "## B"),
    ]  # fmt: skip
    slides = [c["metadata"].get("slideshow", {}) for c in render.normalise(
        {"cells": cells, "metadata": {}})["cells"]]  # fmt: skip
    begun = [slide.get("slide_type", "") for slide in slides]
    assert begun == ["slide", "", "subslide", "subslide", "subslide", "", "slide"]


def test_traces_of_timing_and_of_the_machine_are_normalised_away() -> None:
    def stream(text: str) -> Json:
        return {"output_type": "stream", "name": "stdout", "text": text}

    frames = ["Cell In[1], line 1", "\x1b[36mFile \x1b[0m/a/b.py:3, in f", "OSError: no"]
    error = {"output_type": "error", "ename": "OSError", "evalue": "no", "traceback": frames}
    cell = {
        "cell_type": "code",
        "metadata": {"tags": ["raises-exception"]},
        "source": "f()",
        "execution_count": 4,
        "outputs": [stream("a"), stream("b\n"), error],
    }
    [normal] = render.normalise({"cells": [cell], "metadata": {}})["cells"]
    assert normal["execution_count"] == 1
    assert normal["outputs"][0]["text"] == ["ab\n"]
    assert normal["outputs"][1]["traceback"] == ["Cell In[1], line 1", "OSError: no"]


def test_check_names_the_notebook_and_the_cell(
    good: Json, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "small.ipynb"
    path.write_text(render.dumps(good), encoding="utf-8")
    assert render.main(["--check", str(path)]) == 0
    path.write_text(render.dumps(good).replace('"execution_count": 2', '"execution_count": null'))
    assert render.main(["--check", str(path)]) == 1
    assert "small.ipynb: number: has no stored execution" in capsys.readouterr().err
    path.write_text(json.dumps(good))
    assert render.main(["--check", str(path)]) == 1


def test_a_cell_that_fails_leaves_the_file_as_it_was(
    good: Json, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "small.ipynb"
    text = render.dumps(planted(good, "number", "6 * 7", "6 / 0"))
    path.write_text(text, encoding="utf-8")
    assert render.main([str(path)]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert path.read_text(encoding="utf-8") == text


def test_the_ledger_check_sees_each_kind_of_fault(good: Json) -> None:
    place = {"notebook": "good", "cell": "number", "verdict": "T*", "source": "a manual"}
    ledger = {row: {"notebook": "good", "cell": "title", "kind": "definition"} for row in ROWS}
    found = set(ledger_faults(ledger, {"good": good}))
    assert {f"{row}: is a claim to be tested, not a definition" for row in ["C25", "C57"]} <= found
    assert "C26: is not named in its cell" in found

    def only(row: str, **other: str) -> set[str]:
        missing = {f"{row}: is missing" for row in ROWS}
        return set(ledger_faults({row: place | other}, {"good": good})) - missing

    assert only("C33") == set()
    assert only("C34") == {"C34: its cell names it in no comment and no tag"}
    assert only("C33", cell="nowhere") == {"C33: there is no cell 'nowhere' in good"}
    assert "C33: its cell asserts nothing" in only("C33", cell="svg")
    nothing = "C33: has no source, and its control"
    assert only("C33", source="") == {
        f"{nothing} '' asserts nothing",
        "C33: what stands beside it?",
    }
    assert only("C33", source="", control="number", beside="another") == set()
    assert only("C33", source="", control="svg@good", beside="x") == {
        f"{nothing} 'svg' asserts nothing"
    }
    assert only("C33", source="", control="number") == {"C33: what stands beside it?"}
    assert only("C33", verdict="") == {"C33: has no verdict"}
    assert only("C33", out="lost") == {"C33: is out, and why?"}
    assert only("X11", out="about output") == set()
    assert "C57: is missing" in set(ledger_faults({"C33": place}, {"good": good}))


@pytest.mark.parametrize(
    ("code", "asserts"),
    [("assert x == 1", True), ("assert True", False), ("# assert x", False), ("%time f()", False)],
)
def test_a_constant_is_no_assertion(code: str, asserts: bool) -> None:
    assert _asserts(code) is asserts
