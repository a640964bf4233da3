"""What README.md and docs/ show in Python can be pasted, one block after the other."""

import re
import runpy
import sys
from pathlib import Path

import pytest
from paths import ROOT

from iosim.exercises import EXERCISES

PAGES = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if "```python" in page.read_text(encoding="utf-8")
]


@pytest.mark.real
@pytest.mark.skipif(sys.platform != "linux", reason="the real kernel here is Linux's")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_its_examples_can_be_pasted(page: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    file = tmp_path / "pasted.py"  # in a file, as in a notebook, the source of a function is known
    file.write_text("\n".join(blocks).replace("\nhunt(", "\nfound = hunt("), encoding="utf-8")
    answer = EXERCISES["recv_exactly"].solved().answer  # which nbgrader has from a student
    names = runpy.run_path(str(file), {"recv_exactly": answer})
    if "found" in names:
        assert names["found"].kind == "claim", names["found"]  # "leaves the second client waiting"
