"""A simulated receiver of signed webhooks with a book of its own, for demos and tests.

It is a real network service that shares no code and no database with the product: it reads the specification's headers,
computes signatures by itself and books what it is told once. It refuses to run unless ``DEMO=1``. ``docs/webhooks.md``
tells of its switches.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; the first line printed says where. Return the exit status.

    ``--port 0`` takes a free port.
    """
    parser = argparse.ArgumentParser(prog="receiver", description="A simulated receiver of signed webhooks.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8085)
    parser.add_argument("--book", type=Path, required=True, help="its SQLite file, made where it is missing")
    parser.add_argument(
        "--control-secret",
        default=os.environ.get("SIMULATED_RECEIVER_CONTROL_SECRET", ""),
        help="the bearer that may read its book, set its switches and give it the secrets of webhooks",
    )
    options = parser.parse_args(argv)
    if not options.control_secret:
        parser.error("--control-secret is needed; it may stand in the environment, see docs/webhooks.md")
    if os.environ.get("DEMO") != "1":
        print("receiver: this is a simulation; it runs with DEMO=1 only", file=sys.stderr)
        return 2

    from datapump.connectors.receiver_simulator.server import Receiver

    receiver = Receiver(book=options.book, control_secret=options.control_secret)
    asyncio.run(receiver.serve(options.host, options.port))
    return 0
