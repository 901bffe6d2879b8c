"""``manage.py purge_tokens``: removes processors' tokens that nothing can need any more (PAY-17)."""

from __future__ import annotations

import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from billing import tenancy
from billing.actors import Actor
from payments.management.arguments import billers_named, days
from payments.operations import tokens


class Command(BaseCommand):
    help = (
        "Leaves asterisks and the last four digits of the tokens of methods that are off file, or served once, and paid"
        " nothing for so many days. What was paid with them cannot be refunded here any more."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--biller", default="all", help="The biller's slug, or 'all'.")
        parser.add_argument(
            "--days",
            type=days,
            default=tokens.PURGED_AFTER.days,
            help="How long nothing was paid; %(default)s by default.",
        )
        parser.add_argument("--dry-run", action="store_true", help="Count them, change nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        for biller in billers_named(options["biller"]):
            with tenancy.acting_for([biller.pk]):
                count = tokens.purge(
                    biller=biller,
                    actor=Actor.system("manage.py purge_tokens"),
                    now=timezone.now(),
                    after=datetime.timedelta(days=options["days"]),
                    dry_run=options["dry_run"],
                )
            self.stdout.write(f"{biller}: {count} {'would be purged' if options['dry_run'] else 'purged'}")
