"""A simulated CIS: a MultiSpeak 3.0 CB_Server and a print server, with a book of its own, for demos and tests.

It is a real network service that shares no code and no database with the product, so that two independent books can be
compared. It refuses to run unless ``DEMO=1``. ``docs/multispeak.md`` tells of its switches.
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
    parser = argparse.ArgumentParser(prog="cis", description="A simulated CIS that speaks MultiSpeak 3.0.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8083)
    parser.add_argument(
        "--book",
        type=Path,
        required=True,
        help="its SQLite file, made where it is missing",
    )
    parser.add_argument("--username", required=True, help="the UserID that it accepts")
    parser.add_argument(
        "--password", default=os.environ.get("SIMULATED_CIS_PASSWORD", ""), help="the Pwd that it accepts"
    )
    parser.add_argument(
        "--control-secret",
        default=os.environ.get("SIMULATED_CIS_CONTROL_SECRET", ""),
        help="the bearer that may read its book and set its switches",
    )
    options = parser.parse_args(argv)
    if not options.password or not options.control_secret:
        parser.error(
            "--password and --control-secret are needed; they may stand in the environment, see docs/multispeak.md"
        )
    if os.environ.get("DEMO") != "1":
        print("cis: this is a simulation; it runs with DEMO=1 only", file=sys.stderr)
        return 2

    from datapump.connectors.cis_simulator.server import Cis

    cis = Cis(
        book=options.book,
        username=options.username,
        password=options.password,
        control_secret=options.control_secret,
    )
    asyncio.run(cis.serve(options.host, options.port))
    return 0
