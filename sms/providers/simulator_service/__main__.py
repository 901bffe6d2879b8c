"""``python -m sms.providers.simulator_service``."""

from __future__ import annotations

import sys

from sms.providers.simulator_service.server import main

sys.exit(main(sys.argv[1:]))
