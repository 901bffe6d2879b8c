"""Counters of tries, kept in the database so that a wiped cache opens no door."""

from __future__ import annotations

from django.db import models


class Throttle(models.Model):
    """How often one thing was tried by or at one subject within one window; only a digest says which."""

    digest = models.CharField(max_length=64)
    window = models.DateTimeField(help_text="When the window began.")
    count = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["digest", "window"], name="throttle_once_per_window")]
        indexes = [models.Index(fields=["window"], name="throttle_by_window")]

    def __str__(self) -> str:
        return f"{self.count} since {self.window:%Y-%m-%d %H:%M}"
