"""``manage.py migrate``: Django's, as the owner of the schema, since the application's role owns nothing."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.core.management.commands import migrate


class Command(migrate.Command):
    """Migrate as the owner unless another database is named."""

    def add_arguments(self, parser: CommandParser) -> None:
        """Take Django's arguments, with another default."""
        super().add_arguments(parser)
        parser.set_defaults(database="owner")

    def handle(self, *args: Any, **options: Any) -> str | None:
        """Migrate."""
        return super().handle(*args, **options)
