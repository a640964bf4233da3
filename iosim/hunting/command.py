"""`iosim hunt MODULE:FUNCTION`: the hunt on anybody's own code, from a shell."""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import sys
from collections.abc import Callable

from ..workloads import clients
from .claims import nothing_lost
from .search import hunt
from .space import FAULTS, Space

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument(
        "function", metavar="MODULE:FUNCTION", help="of a listening socket, or of nothing"
    )
    parser.add_argument("--clients", type=int, default=2, help="that connect, and wait for an echo")
    parser.add_argument("--messages", type=int, default=2, help="that each of them sends")
    parser.add_argument("--size", type=int, default=20, help="of each message, in bytes")
    parser.add_argument("--fault", action="append", default=[], choices=FAULTS,
                        help="what a client may do before it is through")  # fmt: skip
    parser.add_argument("--spurious", action="store_true",
                        help="readiness may be reported that is none")  # fmt: skip
    parser.add_argument("--full", type=int, default=0, help="how often no descriptor may be left")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=2_000, help="that are tried at most")
    parser.add_argument("--seconds", type=float, default=20, help="that it takes at most")


def run(options: argparse.Namespace) -> int:
    """0 if it held, 1 if it is broken, 2 if there is no such function."""
    try:
        function = _function(options.function)
    except (ImportError, AttributeError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    story = None
    if inspect.signature(function).parameters:
        story = clients.several(options.clients, clients.echo(options.messages, options.size))
    space = Space(story, faults=tuple(options.fault), spurious=options.spurious, full=options.full)
    claim = nothing_lost if story is not None and not options.fault else None
    found = hunt(function, claim, space, seed=options.seed, cases=options.cases,
                 seconds=options.seconds, progress=True)  # fmt: skip
    print(found)
    if found.broken:
        print(found.timeline)  # type: ignore[union-attr]
    return int(found.broken)


def _function(name: str) -> Callable[..., object]:
    module, colon, path = name.partition(":")
    if not colon:
        raise ValueError(f"MODULE:FUNCTION is asked for, got {name!r}")
    sys.path.insert(0, os.getcwd())
    found = importlib.import_module(module)
    if not hasattr(found, path):
        raise AttributeError(f"{module} has no function {path!r}")
    function: Callable[..., object] = getattr(found, path)
    return function
