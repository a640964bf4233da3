"""The reader's copies of the notebooks: complete, trusted, never overwritten, without our runs."""

import json
import re
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import copies
import nbformat
import pytest
from nbformat.sign import NotebookNotary
from paths import ROOT

COURSE = ROOT / "notebooks"
TODAY = str(date.today())

Json = dict[str, Any]


def cell(text: str, *tags: str) -> Json:
    output = {"output_type": "stream", "name": "stdout", "text": [text]}
    return {
        "cell_type": "code", "id": text, "metadata": {"tags": list(tags)}, "execution_count": 1,
        "source": [text], "outputs": [output],
    }  # fmt: skip


def store(path: Path, *cells: Json) -> None:
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(notebook), encoding="utf-8")


def load(path: Path) -> Json:
    found: Json = json.loads(path.read_text(encoding="utf-8"))
    return found


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two notebooks and a picture; what Jupyter keeps of them is kept beside them."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    course = tmp_path / "course"
    store(course / "01_one.ipynb", cell("same"), cell("here", "nbval-ignore-output"))
    store(course / "02_two.ipynb", cell("same"))
    (course / "images").mkdir()
    (course / "images" / "a.svg").write_text("<svg/>")
    return course


@pytest.fixture
def desk(course: Path) -> Path:
    """Where they were copied to."""
    desk = course.parent / "work"
    assert copies.missing(course, desk) == [
        "01_one.ipynb is new in work/",
        "02_two.ipynb is new in work/",
    ]
    return desk


def test_a_copy_has_all_but_the_outputs_that_depend_on_the_machine(
    course: Path, desk: Path
) -> None:
    same, here = load(desk / "01_one.ipynb")["cells"]
    assert same == load(course / "01_one.ipynb")["cells"][0]
    assert here == load(course / "01_one.ipynb")["cells"][1] | {
        "outputs": [],
        "execution_count": None,
    }
    assert (desk / "images" / "a.svg").read_text() == "<svg/>"


def test_what_is_there_is_never_overwritten(course: Path, desk: Path) -> None:
    for name in ("01_one.ipynb", "images/a.svg"):
        (desk / name).write_text("mine")
    (desk / "02_two.ipynb").unlink()
    assert copies.missing(course, desk) == ["02_two.ipynb is new in work/"]
    assert {(desk / name).read_text() for name in ("01_one.ipynb", "images/a.svg")} == {"mine"}


def test_a_newer_edition_is_announced_until_the_notebook_is_fresh(course: Path, desk: Path) -> None:
    store(course / "02_two.ipynb", cell("newer"))
    told = ["02_two has a newer edition: make fresh NOTEBOOK=02_two"]
    assert copies.missing(course, desk) == copies.missing(course, desk) == told
    copies.fresh(course, desk, "02_two")
    assert copies.missing(course, desk) == []


def test_a_fresh_notebook_leaves_the_readers_own_under_dated_names(
    course: Path, desk: Path
) -> None:
    for mine in ("first", "second"):
        (desk / "01_one.ipynb").write_text(mine)
        copies.fresh(course, desk, "01_one")
    kept = {path.name: path.read_text() for path in desk.glob(f"01_one_{TODAY}*")}
    assert kept == {f"01_one_{TODAY}.ipynb": "first", f"01_one_{TODAY}_2.ipynb": "second"}
    assert load(desk / "01_one.ipynb")["cells"][0]["id"] == "same"


@pytest.mark.parametrize("name", ["01", "01_one", "01_one.ipynb", "work/01_one.ipynb"])
def test_a_notebook_is_named_in_any_usual_way(name: str, course: Path, desk: Path) -> None:
    assert "is fresh" in copies.fresh(course, desk, name)[-1]


@pytest.mark.parametrize("name", ["", "0", "03", "one"])
def test_a_name_that_is_none_is_refused_and_nothing_moved(
    name: str, course: Path, desk: Path
) -> None:
    before = sorted(path.name for path in desk.iterdir())
    with pytest.raises(ValueError, match=f"no notebook is called '{name}'.*01_one, 02_two"):
        copies.fresh(course, desk, name)
    assert sorted(path.name for path in desk.iterdir()) == before


def test_what_came_with_the_clone_is_trusted_and_what_the_reader_brings_is_not(
    course: Path, desk: Path
) -> None:
    store(desk / "03_mail.ipynb", cell("<script>"))
    copies.missing(course, desk)
    with NotebookNotary() as notary:
        trusted = {
            path.name: notary.check_signature(nbformat.read(path, as_version=4))
            for path in desk.glob("*.ipynb")
        }
    assert trusted == {"01_one.ipynb": True, "02_two.ipynb": True, "03_mail.ipynb": False}


# --- the course itself ----------------------------------------------------------------------------


def of_this_machine(notebook: Json) -> set[str]:
    """Cells whose outputs call themselves measured; the text form of each timeline says it."""
    outputs = {cell["id"]: json.dumps(cell.get("outputs", [])) for cell in notebook["cells"]}
    return {name for name, text in outputs.items() if re.search("MEASURED|, measured", text)}


def test_no_copy_says_what_another_machine_measured() -> None:
    stored = [load(path) for path in sorted(COURSE.glob("*.ipynb"))]
    assert sum(len(of_this_machine(notebook)) for notebook in stored) > 10
    for notebook in stored:
        assert of_this_machine(copies.without_measured(notebook)) == set()


def test_links_of_a_copy_lead_somewhere(course: Path) -> None:
    desk = course.parent / "all"
    copies.missing(COURSE, desk)
    links = [
        (path.name, link)
        for path in sorted(desk.glob("*.ipynb"))
        for each in load(path)["cells"]
        if each["cell_type"] == "markdown"
        for link in re.findall(r"\]\(([^)#:\s]+)\)", "".join(each["source"]))
        if re.search(r"[./]", link)
    ]
    assert len(links) > 20
    assert [link for link in links if not (desk / link[1]).exists()] == []


def test_git_sees_nothing_of_the_readers_work() -> None:
    ignored = subprocess.run(
        ["git", "check-ignore", "work/00_start_here.ipynb"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if ignored.returncode == 128:
        pytest.skip("not a git checkout")
    assert ignored.stdout == "work/00_start_here.ipynb\n"


def test_the_command_says_what_is_wrong_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert copies.main(["--fresh", "99"]) == 1
    assert capsys.readouterr().err.startswith(
        "no notebook is called '99'; name one: NOTEBOOK=... of 00_"
    )
