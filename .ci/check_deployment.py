"""Checks what an operator will meet: no migration is missing, and the production profile passes ``check --deploy``.

No server is needed: the databases named here do not exist.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from billing.secrets import make_keyset

PRODUCTION = {
    "PATH": os.environ["PATH"],
    "PUBLIC_URL": "https://pay.utility.example",
    "SECRET_KEY": "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "RATEPAYER_KEYSET": make_keyset(),
    "DATABASE_URL": "postgresql://ratepayer_web@database.invalid/ratepayer",
    "REDIS_URL": "redis://broker.invalid/0",
    "EMAIL_URL": "smtp://mail.utility.example",
    "PROCESSOR_ORIGINS": "https://fields.processor.example",
    "PROXIES": "1",
}


def manage(*arguments: str, **variables: str) -> None:
    """Run a command in the production profile; its failure is ours."""
    command = [sys.executable, "-W", "ignore::RuntimeWarning", "manage.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, env={**PRODUCTION, **variables}, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        sys.exit(done.returncode)


with tempfile.TemporaryDirectory() as collected:
    manage("makemigrations", "--check", "--dry-run", *("billing", "payments", "datapump", "sms"))
    manage("collectstatic", "--no-input", "--verbosity", "0", STATIC_ROOT=collected)
    manage("check", "--deploy", "--fail-level", "WARNING", STATIC_ROOT=collected)
