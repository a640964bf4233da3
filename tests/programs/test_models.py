"""The models are short enough to be read at one glance."""

from __future__ import annotations

import ast
import inspect

import pytest

from iosim import models


@pytest.mark.parametrize("name", list(models.MODEL_OF))
def test_a_model_is_at_most_ten_lines(name: str) -> None:
    tree = ast.parse(inspect.getsource(getattr(models, name)))
    function = tree.body[0]
    assert isinstance(function, ast.FunctionDef)
    first = function.body[1]  # after the docstring
    assert function.body[-1].end_lineno - first.lineno + 1 <= 10  # type: ignore[operator]
