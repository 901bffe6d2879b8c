"""Where this database lives, so that a restored one is known for what it is."""

from __future__ import annotations

from django.db import models


class Installation(models.Model):
    """The one row that says in which server and database these rows were last at work (docs/adr/0013).

    ``server`` is what a dump or base backup carries along, and what no server that it is restored into says of itself.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    server = models.CharField(max_length=120)
    noticed_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.server
