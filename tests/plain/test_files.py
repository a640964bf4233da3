"""Files are not simulated: none of this machine's is opened or changed in a simulated run."""

from __future__ import annotations

import ast
import contextlib
import gzip
import linecache
import logging
import os
import shutil
import sqlite3
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plain_results import result

from iosim import simulate
from iosim.plain.run import NotSimulated

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux's sockets are simulated")


@pytest.mark.parametrize(("touch", "words"), [
    (lambda path: open(path, "w").close(), "open is not simulated"),
    (lambda path: os.mkdir(path), "os.mkdir is not simulated"),
    (lambda path: os.makedirs(path), "os.makedirs is not simulated"),
    (lambda path: os.symlink("/", path), "os.symlink is not simulated"),
    (lambda path: os.rename(path, "x"), "os.rename is not simulated"),
    (lambda path: Path(path).write_text("a"), "pathlib.* makes real calls: open is not simulated"),
    (lambda path: Path(path).mkdir(), "pathlib.* makes real calls: os.mkdir is not simulated"),
    (lambda path: tempfile.mkdtemp(dir=path), "tempfile makes real calls: os.mkdir is not simul"),
    (lambda path: shutil.copy(__file__, path), "shutil makes real calls: open is not simulated"),
    (lambda path: logging.FileHandler(path), "logging makes real calls: open is not simulated"),
    (lambda path: gzip.GzipFile(path, "w"), "gzip makes real calls: open is not simulated"),
    (lambda path: sqlite3.connect(path), "the program makes real calls: sqlite3.connect is not"),
])  # fmt: skip
def test_no_file_of_this_machine_is_changed(
    tmp_path: Path, touch: Callable[[str], object], words: str
) -> None:
    """By whatever module of the library; a hunt would do it a thousand times."""
    path = str(tmp_path / "made")

    def program() -> None:
        with contextlib.suppress(OSError):
            touch(path)

    with pytest.raises(NotSimulated, match=f"^{words}"):
        simulate(program)
    assert not os.path.lexists(path)


def test_a_module_that_handles_files_can_be_imported_in_the_run() -> None:
    def program() -> None:
        import zipfile

        zipfile.ZipFile("/none", "w")

    with pytest.raises(NotSimulated, match=r"^zipfile.* makes real calls: open is not simulated"):
        simulate(program)


def test_names_of_files_and_tracebacks_are_everybody_s() -> None:
    def program() -> Any:
        try:
            raise ValueError
        except ValueError:
            text = traceback.format_exc()
        with contextlib.suppress(SyntaxError):
            ast.parse("(")  # of "<unknown>", whose line CPython looks for in a file of that name
        here = Path(__file__)
        return (
            here.parent / "a",
            here.exists(),
            os.path.isfile(__file__),
            "raise ValueError" in text,
        )

    linecache.clearcache()
    assert result(program) == (Path(__file__).parent / "a", True, True, True)
