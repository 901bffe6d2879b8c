"""Settings for mypy's Django plugin, which loads them where no environment is set."""

import os

os.environ.setdefault("DEMO", "1")
os.environ.setdefault("SECRET_KEY", "types")
os.environ.setdefault("RATEPAYER_KEYSET", "{}")
os.environ.setdefault("DATABASE_URL", "postgresql://types@127.0.0.1/types")
os.environ.setdefault("REDIS_URL", "redis://127.0.0.1/0")

from config.settings import *  # noqa: F403  (all of them)
