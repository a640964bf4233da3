"""docs/architecture.md: its pictures are those of the code, and nobody knows who knows it."""

from __future__ import annotations

import ast
from graphlib import CycleError

import architecture
import pytest


def test_the_pictures_are_those_of_the_code() -> None:
    page = architecture.PAGE.read_text("utf-8")
    assert architecture.written(page) == page
    assert architecture.written(page.replace(' --> kernel["', ' --> nobody["')) == page


def test_a_mechanism_knows_only_those_below_it() -> None:
    architecture.reduced(architecture.mechanisms())
    architecture.reduced(architecture.house())


def test_a_circle_is_seen() -> None:
    with pytest.raises(CycleError):
        architecture.reduced({"tcp": {"kernel"}, "kernel": {"task", "tcp"}, "task": set()})


def test_what_follows_is_left_out() -> None:
    house = {"roof": {"walls", "ground"}, "walls": {"ground"}, "ground": set()}
    assert architecture.reduced(house)["roof"] == {"walls"}


def test_a_module_can_be_read_in_one_go() -> None:
    lengths = {
        path: path.read_text("utf-8").count("\n") for path in architecture.PACKAGE.rglob("*.py")
    }
    assert {path.name: count for path, count in lengths.items() if count > 450} == {}


def test_a_class_can_be_read_in_one_go() -> None:
    classes = {
        f"{path.name}: {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in architecture.PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
    }
    assert {name: count for name, count in classes.items() if count > 300} == {}
