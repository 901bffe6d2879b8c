"""``manage.py late``: does what a biller's rules say about late bills, in this process (PAY-35)."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from billing import formats, tenancy
from billing.actors import Actor
from billing.errors import DomainError
from payments.management.arguments import billers_named, date_of, day
from payments.operations import late_bills


class Command(BaseCommand):
    help = "Charges late fees and sets accounts inactive by the rules of a biller, once for each bill and rule."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--biller", required=True, help="The biller's slug, or 'all'.")
        parser.add_argument("--date", type=day, default=0, help="The business day, as a date or days before today (0).")
        parser.add_argument("--dry-run", action="store_true", help="Count and add up, change nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        now, actor, dry = timezone.now(), Actor.system("manage.py late"), options["dry_run"]
        for biller in billers_named(options["biller"]):
            with tenancy.acting_for([biller.pk]):
                date = date_of(options["date"], biller.business_date(now))
                try:
                    acted = late_bills.in_all(
                        late_bills.act(biller=biller, day=date, actor=actor, now=now, dry_run=dry)
                    )
                except DomainError as refused:
                    raise CommandError(f"{biller}: {refused}") from None
            fees = (
                f"{acted.fees:,} fee{'' if acted.fees == 1 else 's'} of {formats.money(acted.total, biller.currency)}"
            )
            were = "would be" if dry else "was" if acted.fees == 1 else "were"
            accounts = f"{acted.inactive:,} account{'' if acted.inactive == 1 else 's'} set inactive"
            self.stdout.write(f"{biller}: on {date} {fees} {were} charged and {accounts}")
