"""Identifiers made by the database: UUIDv7, ordered by time of making and too long to guess."""

from __future__ import annotations

import uuid

from django.db import connection, models


class UUID7(models.Func):
    """PostgreSQL 18's ``uuidv7()`` as a column default."""

    function = "uuidv7"
    output_field = models.UUIDField()


def fresh_ids(count: int) -> list[uuid.UUID]:
    """Give so many new ids, in order, for rows that must be named before they are written."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT uuidv7() FROM generate_series(1, %s)", [count])
        return [pk for (pk,) in cursor.fetchall()]
