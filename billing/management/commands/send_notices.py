"""``manage.py send_notices``: sends the e-mails that are due."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing import tenancy
from billing.actors import Actor
from billing.operations import notice_deliveries


class Command(BaseCommand):
    """Sends what is due."""

    help = "Sends the notices that are due by e-mail, until none is left or the time is over."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take how long it may work."""
        parser.add_argument("--seconds", type=float, default=3600.0, help="How long it may take; an hour by default.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Send, and say what was done."""
        with tenancy.acting_for(tenancy.EVERY_BILLER):
            done = notice_deliveries.send_due(actor=Actor.system("manage.py send_notices"), seconds=options["seconds"])
        self.stdout.write(f"{done.sent} sent, {done.retried} to be tried again, {done.failed} failed")
        if done.down:
            raise CommandError("The mail server cannot be reached. What is left waits, and no try was used up.")
