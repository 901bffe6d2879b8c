"""``manage.py rotate_secrets``: adds a key, or encrypts every stored secret under the newest one."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from billing.actors import Actor
from billing.operations import secrets as rotation
from billing.secrets import add_key


class Command(BaseCommand):
    help = (
        "Encrypts every stored secret under the keyset's primary key. Rotate in three steps: --new-key prints the keyset "
        "with a new primary key, put it into RATEPAYER_KEYSET everywhere; run this; take the old key out when it says 0."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--new-key", action="store_true", help="Print the keyset with a new primary key; change nothing."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["new_key"]:
            self.stdout.write(add_key(settings.KEYSET))
            return
        changed = rotation.rotate(actor=Actor.system("manage.py rotate_secrets"))
        self.stdout.write(f"{changed} secrets were encrypted anew under the primary key.")
