"""The composition root as a Django application: commands, system checks and the Celery application."""

from __future__ import annotations

from django.apps import AppConfig


class RatepayerConfig(AppConfig):
    """Joins the apps: the one place that knows all of them."""

    name = "config"
    verbose_name = "Ratepayer"

    def ready(self) -> None:
        """Load what must exist before the first request or task."""
        from config import celery, checks  # noqa: F401  (both need the loaded registry)
