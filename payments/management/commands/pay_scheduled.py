"""``manage.py pay_scheduled``: plans and works off a run of scheduled payments in this process (MSP-15)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from billing import tenancy
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import Biller, Run
from payments.management.arguments import billers_named, date_of, day
from payments.operations import scheduled_collections
from payments.reports import run_totals


class Command(BaseCommand):
    help = "Makes the scheduled payments whose day has come."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--biller", required=True, help="The biller's slug, or 'all'.")
        parser.add_argument("--until", type=day, default=0, help="Last day to make, or days before today (0).")
        parser.add_argument("--limit", type=int, help="At most so many payments.")
        parser.add_argument("--dry-run", action="store_true", help="Count what would be made; charge nothing.")
        parser.add_argument("--again", default="", help="A word that tells this run from an earlier one of today.")

    def handle(self, *args: Any, **options: Any) -> None:
        for biller in billers_named(options["biller"]):
            with tenancy.acting_for([biller.pk]):
                self._pay(biller, options)

    def _pay(self, biller: Biller, options: dict[str, Any]) -> None:
        now = timezone.now()
        chosen = scheduled_collections.Options(
            until=date_of(options["until"], biller.business_date(now)), limit=options["limit"], repeat=options["again"]
        )
        actor = Actor.system("manage.py pay_scheduled")
        try:
            run = scheduled_collections.plan(
                biller=biller, options=chosen, actor=actor, now=now, dry_run=options["dry_run"]
            )
        except DomainError as error:
            raise CommandError(str(error)) from None
        planned = run_totals(run)
        self.stdout.write(f"{biller}: run {run.pk}, {planned.expected} payments scheduled until {chosen.until}")
        if options["dry_run"]:
            total = f"{planned.expected_total or Decimal('0.00')} {biller.currency}"
            self.stdout.write(f"{biller}: dry run, {planned.expected} payments of at most {total} would be made")
            return
        for chunk in scheduled_collections.work(run=run, actor=actor):
            self.stdout.write(
                f"{biller}: chunk {chunk.number}: sent {chunk.sent_count} ({chunk.sent_total}), "
                f"paid {chunk.passed_count} ({chunk.passed_total}), declined {chunk.declined_count}"
            )
        run = Run.objects.get(pk=run.pk)
        self.stdout.write(f"{biller}: run {run.pk} is {run.get_state_display().lower()}. {run.failure}".rstrip())
