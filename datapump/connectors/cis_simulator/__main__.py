"""``python -m datapump.connectors.cis_simulator``."""

from datapump.connectors.cis_simulator import main

raise SystemExit(main())
