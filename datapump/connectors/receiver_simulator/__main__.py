"""``python -m datapump.connectors.receiver_simulator``."""

from datapump.connectors.receiver_simulator import main

raise SystemExit(main())
