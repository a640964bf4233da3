"""`iosim calibrate` (or `python -m iosim calibrate`): what each step costs on this machine."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .calibration.calibrate import calibrate
from .progress import bar
from .real.features import Unsupported

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0, or 1 if this system cannot measure."""
    parser = argparse.ArgumentParser(prog="iosim", description="I/O models you can run.")
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser(
        "calibrate", help="measure what each step costs on this machine (less than 5 s)"
    )
    measuring.add_argument(
        "--json", type=Path, metavar="FILE", help="write the costs, for Costs.from_json"
    )
    options = parser.parse_args(arguments)
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
