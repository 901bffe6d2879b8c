"""The Celery application and the whole beat table.

The broker is a wake-up and the rows are the queue: each task finds its work in PostgreSQL, so that Valkey may be wiped at
any moment and beat alone brings everything forward.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from celery import Celery
from celery.schedules import crontab

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("ratepayer")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the beat table: which task, how often, and a sentence for the administrator who sees it."""

    task: str
    every: timedelta | crontab
    does: str
    kwargs: dict[str, Any] = field(default_factory=dict)


# Name → entry. Written to django_celery_beat's tables when beat starts; an administrator's edits are kept.
BEAT: dict[str, Entry] = {}
