"""A function's text as a reader can paste it: with all that it needs, and without annotations."""

from __future__ import annotations

import ast
import builtins
import inspect
import linecache
import re
import sys
from collections.abc import Callable, Iterator
from itertools import accumulate
from textwrap import dedent
from types import ModuleType
from typing import Any

__all__ = ["made_of", "pasted", "plain"]

RIGHT = re.compile(r' +"""A right answer\."""\n\n?')  # what the course's own reader is told
FREE = {*vars(builtins)}


def pasted(function: Callable[..., object]) -> str:
    """Its source, behind what it uses of its module: imports, numbers, other functions."""
    imports, numbers, texts = set[str](), dict[str, str](), dict[str, str]()
    _gather(function, imports, numbers, texts)
    head = "\n\n".join(
        "\n".join(part) for part in (sorted(imports, key=_plain_first), numbers.values()) if part
    )
    return "\n\n\n".join(part.strip() for part in (head, *texts.values()) if part) + "\n"


def _plain_first(line: str) -> tuple[bool, str]:
    return line.startswith("from"), line


def made_of(text: str, name: str) -> Any:
    """What the text calls `name`, of which it is the source."""
    file = f"<a solution: {name}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    space: dict[str, object] = {"__name__": name}
    exec(compile(text, file, "exec"), space)
    return space[name]


def _gather(
    thing: Any, imports: set[str], numbers: dict[str, str], texts: dict[str, str]
) -> None:  # fmt: skip
    """What `thing` uses comes before it."""
    known = vars(sys.modules[thing.__module__])
    text = plain(RIGHT.sub("", dedent(inspect.getsource(thing))))
    for name in _names(text):
        if name not in known or name == thing.__name__ or name in texts:
            continue
        value = known[name]
        if isinstance(value, ModuleType):
            imports.add(f"import {name}")
        elif getattr(value, "__module__", None) == thing.__module__:
            _gather(value, imports, numbers, texts)
        elif hasattr(value, "__module__"):
            imports.add(f"from {value.__module__} import {name}")
        else:
            numbers[name] = f"{name} = {value!r}"
    texts[thing.__name__] = text


def _names(text: str) -> list[str]:
    used = (node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name))
    return [name for name in dict.fromkeys(used) if name not in FREE]


def plain(text: str) -> str:
    """The same source, without annotations."""
    left = text.encode()
    starts = [0, *accumulate(map(len, left.splitlines(keepends=True)))]
    spans = sorted(_annotations(ast.parse(text), left, lambda line, byte: starts[line - 1] + byte))
    for begin, end in reversed(spans):
        left = left[:begin] + left[end:]
    return left.decode()


def _annotations(
    tree: ast.AST, text: bytes, at: Callable[[Any, Any], int]
) -> Iterator[tuple[int, int]]:
    """Where each one begins, with its colon or arrow, and ends."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and (kind := node.annotation):
            end = _end(kind, at)
            yield at(node.lineno, node.col_offset + len(node.arg)), end
            if text.startswith(b" = ", end):  # of a default, which has no spaces then
                yield from ((end, end + 1), (end + 2, end + 3))
        elif isinstance(node, ast.AnnAssign) and node.value:
            yield _end(node.target, at), _end(node.annotation, at)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (kind := node.returns):
            arrow = text.rindex(b"->", 0, at(kind.lineno, kind.col_offset))
            yield len(text[:arrow].rstrip()), _end(kind, at)


def _end(node: ast.expr, at: Callable[[Any, Any], int]) -> int:
    return at(node.end_lineno, node.end_col_offset)
