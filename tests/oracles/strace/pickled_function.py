"""A program as bytes, for another process of the same Python: also one typed into a notebook.

A function that the other process can import is sent by its name, as pickle does.  Any other one is
sent by its code: with its defaults, its closure and the globals that it names, by the same rule.
"""

from __future__ import annotations

import dis
import io
import marshal
import pickle
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

__all__ = ["pack", "unpack"]

#: The last one reads the annotations of a class, which are evaluated late from Python 3.14 on.
_GLOBAL = {
    "LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS",
}  # fmt: skip


def pack(title: str, value: object) -> bytes:
    """`value`, which holds the program `title`.  TypeError, one line, for what cannot be sent."""
    buffer = io.BytesIO()
    try:
        _Packer(buffer).dump(value)
    except (TypeError, AttributeError, pickle.PicklingError, RecursionError) as error:
        raise TypeError(f"{title} cannot be sent to another process: {error}") from None
    return buffer.getvalue()


def unpack(parcel: bytes) -> Any:
    """What `pack` packed."""
    return pickle.loads(parcel)


class _Packer(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        """How to make `value` again; NotImplemented leaves it to pickle."""
        if isinstance(value, ModuleType):
            if not _can_be_found(value.__name__):
                raise TypeError(f"module {value.__name__} cannot be imported there")
            return import_module, (value.__name__,)
        if isinstance(value, FunctionType) and not _has_a_home(value):
            return _by_code(value)
        if isinstance(value, type) and not _has_a_home(value):
            raise TypeError(f"class {value.__qualname__} stands in no module that can be imported")
        return NotImplemented


def _by_code(function: FunctionType) -> tuple[Any, ...]:
    """Made bare, and filled once it is known: a function may name itself."""
    code, cells = function.__code__, function.__closure__ or ()
    globals_ = function.__globals__
    state = {
        "globals": {name: globals_[name] for name in _names(code) if name in globals_},
        "cells": [_content(cell) for cell in cells],
        "defaults": function.__defaults__,
        "kwdefaults": function.__kwdefaults__,
        "qualname": function.__qualname__,
        "dict": function.__dict__,
    }
    made = (marshal.dumps(code), function.__module__, len(cells))
    return _make, made, state, None, None, _fill


def _names(code: CodeType) -> set[str]:
    """The globals that it and the functions within it name."""
    return {
        instruction.argval
        for part in _parts(code)
        for instruction in dis.get_instructions(part)
        if instruction.opname in _GLOBAL
    }


def _parts(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _parts(constant)


def _content(cell: CellType) -> list[Any]:
    try:
        return [cell.cell_contents]
    except ValueError:  # nothing yet
        return []


# -- in the other process ----------------------------------------------------------------------

_globals: dict[str, dict[str, Any]] = {}  # of each module that stands in no file


def _make(code: bytes, module: str, cells: int) -> FunctionType:
    home = _globals.setdefault(module, {"__builtins__": __builtins__, "__name__": module})
    closure = tuple(CellType() for _ in range(cells))
    return FunctionType(marshal.loads(code), home, None, None, closure)


def _fill(function: FunctionType, state: dict[str, Any]) -> None:
    function.__globals__.update(state["globals"])
    for cell, content in zip(function.__closure__ or (), state["cells"], strict=True):
        for value in content:
            cell.cell_contents = value
    function.__defaults__, function.__kwdefaults__ = state["defaults"], state["kwdefaults"]
    function.__qualname__ = state["qualname"]
    function.__dict__.update(state["dict"])


# -- who can be imported -----------------------------------------------------------------------


def _has_a_home(value: Callable[..., Any] | type) -> bool:
    """Will `from module import name` give it, in another process?"""
    found: Any = sys.modules.get(value.__module__)
    for name in value.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is value and _can_be_found(value.__module__)


def _can_be_found(name: str) -> bool:
    """Does an import, made afresh, find the module that is loaded under `name`?"""
    if name == "__main__":
        return False
    path, spec = None, None
    for end, _ in enumerate(parts := name.split("."), start=1):
        spec = _spec(".".join(parts[:end]), path)
        if spec is None:
            return False
        path = spec.submodule_search_locations
    file = getattr(sys.modules.get(name), "__file__", None)
    return file is None or spec is None or spec.origin in (file, "frozen")


def _spec(name: str, path: Any) -> Any:
    finders = (getattr(finder, "find_spec", None) for finder in sys.meta_path)
    specs = (find(name, path) for find in finders if find is not None)
    return next((spec for spec in specs if spec is not None), None)
