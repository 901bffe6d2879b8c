"""Identifiers made by the database: UUIDv7, ordered by time of making and too long to guess."""

from __future__ import annotations

from django.db import models


class UUID7(models.Func):
    """PostgreSQL 18's ``uuidv7()`` as a column default."""

    function = "uuidv7"
    output_field = models.UUIDField()
