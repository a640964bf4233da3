"""Draw the house from its imports: the two pictures of docs/architecture.md.

    python tools/architecture.py          writes them anew
    python tools/architecture.py --check  fails if they are not those of the code

An arrow goes from who knows to who is known; one that follows from two others is left out.  What is
imported for its types only, or in a function, is not counted.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

__all__ = ["Graph", "house", "main", "mechanisms", "mermaid", "reduced", "written"]

ROOT = Path(__file__).resolve().parent.parent
PACKAGE, PAGE = ROOT / "iosim", ROOT / "docs" / "architecture.md"
BLOCK = "```mermaid\n{}\n```"

Graph = dict[str, set[str]]
Module = tuple[str, ...]


def imports() -> Iterator[tuple[Module, Module]]:
    """Each module of the package with each of those that it imports with itself."""
    modules = {path.relative_to(PACKAGE).with_suffix("").parts for path in PACKAGE.rglob("*.py")}
    for module in sorted(modules):
        tree = ast.parse(PACKAGE.joinpath(*module).with_suffix(".py").read_text("utf-8"))
        for node in _run(tree):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = (*module[: -node.level], *(node.module or "").split("."))
                for alias in node.names:
                    inner = tuple(filter(None, (*base, alias.name)))
                    yield module, inner if inner in modules else inner[:-1]


def _run(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when a module is imported: no functions, nor what stands under TYPE_CHECKING."""
    yield node
    for child in ast.iter_child_nodes(node):
        for_types = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        if not for_types and not isinstance(child, ast.FunctionDef):
            yield from _run(child)


def house() -> Graph:
    """Which folder of the package knows which; the small modules that all may know are left out."""
    pairs = list(imports())
    known = {module[0] for module, target in pairs if len(module) == 1 and len(target) > 1}

    def room(module: Module) -> str:
        if len(module) == 1:
            return "facade" if module[0] in known else "values"
        return "/".join(module[: 2 if len(module) > 2 else 1])

    graph: Graph = {}
    for module, target in pairs:
        here, there = room(module), room(target) if target else "values"
        graph.setdefault(here, set()).update({there} - {here, "facade", "values"})
    return graph


def mechanisms() -> Graph:
    """Which module of the simulated kernel knows which."""
    graph: Graph = {}
    for module, target in imports():
        if module[0] == "sim" and module[1:] != ("__init__",):
            graph.setdefault(module[1], set())
            if target[:1] == ("sim",) and len(target) > 1:
                graph[module[1]].add(target[1])
    return graph


def reduced(graph: Graph) -> Graph:
    """Without what follows.  graphlib.CycleError if two know each other."""
    below: Graph = {}
    for node in TopologicalSorter(graph).static_order():
        direct = graph.get(node, set())
        below[node] = direct.union(*(below[each] for each in direct))
    return {
        node: {each for each in direct if not any(each in below[other] for other in direct)}
        for node, direct in graph.items()
    }


def mermaid(graph: Graph) -> str:
    """As a flow chart, which code hosts draw; it can be read as it stands, too."""
    lines = [
        f'    {node.replace("/", "_")}["{node}"] --> {each.replace("/", "_")}["{each}"]'
        for node, direct in sorted(reduced(graph).items())
        for each in sorted(direct)
    ]
    return BLOCK.format("\n".join(["flowchart TD", *lines]))


def written(page: str) -> str:
    """The page with its pictures as the code has them."""
    pictures = iter((mermaid(house()), mermaid(mechanisms())))
    return re.sub(
        r"```mermaid\n.*?\n```", lambda own: next(pictures, own[0]), page, flags=re.DOTALL
    )


def main() -> int:
    """0, or 1 if the page is not what it should be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing")
    page = PAGE.read_text("utf-8")
    new = written(page)
    if parser.parse_args().check:
        return int(new != page)
    PAGE.write_text(new, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
