"""`iosim calibrate`, `iosim hunt` and `iosim check` (or `python -m iosim ...`)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    from .exercises import command as checking
    from .hunting import command as hunting

    parser = argparse.ArgumentParser(prog="iosim", description="I/O models you can run.")
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser(
        "calibrate", help="measure what each step costs on this machine (less than 5 s)"
    )
    measuring.add_argument(
        "--json", type=Path, metavar="FILE", help="write the costs, for Costs.from_json"
    )
    measuring.set_defaults(run=_calibrate)
    for name, module, words in (
        ("hunt", hunting, "search for a schedule under which your own code fails"),
        ("check", checking, "try answers to the exercises"),
    ):
        command = commands.add_parser(name, help=words)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    options = parser.parse_args(arguments)
    status: int = options.run(options)
    return status


def _calibrate(options: argparse.Namespace) -> int:
    """0, or 1 if this system cannot measure."""
    from .calibration.calibrate import calibrate
    from .progress import bar
    from .real.features import Unsupported

    try:
        found = calibrate(bar())
    except Unsupported as error:
        print(error, file=sys.stderr)
        return 1
    print(found)
    if options.json:
        options.json.write_text(found.costs.to_json() + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
