"""``python -m payments.gateways.simulator_service``."""

from __future__ import annotations

import sys

from payments.gateways.simulator_service.server import main

sys.exit(main(sys.argv[1:]))
