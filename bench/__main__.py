"""``make bench``: every measurement, or those named on the command line."""

from __future__ import annotations

import argparse
import importlib
import sys

from bench.beds import bed, clear

MEASUREMENTS = ("imports", "collects", "runs", "deliveries", "outages", "histories", "texts")


def main() -> int:
    """Run the measurements, each in the same bed."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*MEASUREMENTS, []], help="Only these.")
    parser.add_argument("--small", action="store_true", help="A tenth of the size: to see that it runs.")
    given = parser.parse_args()
    with bed():
        for name in given.names or MEASUREMENTS:
            clear()
            sizes = {"scale": 0.1} if given.small else {}
            importlib.import_module(f"bench.{name}").run(**sizes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
