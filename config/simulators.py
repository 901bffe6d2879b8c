"""``manage.py simulate gateway|cis|receiver|phone``: the other side of the wire, as a network service with its own book.

A simulator stands for somebody else's machine. It reads no settings, opens no database of ours and starts only where
``DEMO=1`` says that nothing here is real.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from config import environment

SIMULATORS = {
    "gateway": "payments.gateways.simulator_service.server",
    "cis": "datapump.connectors.cis_simulator",
    "receiver": "datapump.connectors.receiver_simulator",
    "phone": "sms.providers.simulator_service.server",
}


def main(arguments: Sequence[str]) -> int:
    """Run one simulator until it is stopped; gives the exit code. The rest of the arguments are its own."""
    kind, *rest = arguments or [""]
    if kind not in SIMULATORS:
        sys.stderr.write(f"usage: manage.py simulate {'|'.join(SIMULATORS)} [--help]\n")
        return 2
    if not environment.flag("DEMO", default=False) and "DATABASE_URL" not in os.environ:
        # In a second terminal beside the demo.
        environment.load_demo_environment()
    if not environment.flag("DEMO", default=False):
        sys.stderr.write(
            "A simulator moves no money, tells no biller and reaches no telephone: it starts only where DEMO=1 is set.\n"
        )
        return 1
    return int(importlib.import_module(SIMULATORS[kind]).main(rest))
