"""``manage.py transmissions``: looks up what was said to and by the processors (PAY-13)."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from payments import transmissions
from payments.management.arguments import billers_named


class Command(BaseCommand):
    help = "Prints each logged message that has a text in it, such as an attempt's id; --age-out archives and purges."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--biller", default="all", help="The biller's slug, or 'all'.")
        parser.add_argument("--find", default="", help="An attempt's id, an account, a reference.")
        parser.add_argument(
            "--age-out", action="store_true", help="Archive days that are over and remove what is older than is kept."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["age_out"]:
            aged = transmissions.age_out(now=timezone.now())
            self.stdout.write(f"{aged.archived} archived, {aged.removed} removed")
        if options["find"]:
            count = 0
            for biller in billers_named(options["biller"]):
                for path, line in transmissions.find(biller_id=biller.pk, text=options["find"]):
                    self.stdout.write(f"{path.relative_to(transmissions.folder())}: {line}")
                    count += 1
            self.stdout.write(f"{count} messages")
        elif not options["age_out"]:
            raise CommandError("Say what to look for with --find, or --age-out.")
