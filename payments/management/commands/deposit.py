"""``manage.py deposit``: plans and works off a deposit run in this process (PAY-7)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from billing import tenancy
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import Biller, Run
from payments.management.arguments import billers_named, date_of, day, route_named
from payments.operations import deposits
from payments.reports import late_deposits, run_totals


class Command(BaseCommand):
    help = "Takes the money of payments that were authorized in the last thirty days up to yesterday."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--biller", required=True, help="The biller's slug, or 'all'.")
        parser.add_argument(
            "--start",
            type=day,
            default=deposits.USUAL_DAYS,
            help="First day of authorization, or days before today (30).",
        )
        parser.add_argument("--end", type=day, default=1, help="Last day of authorization, or days before today (1).")
        parser.add_argument("--route", help="Only payments of this route, by name.")
        parser.add_argument("--limit", type=int, help="At most so many payments.")
        parser.add_argument("--dry-run", action="store_true", help="Count what would be deposited; take nothing.")
        parser.add_argument("--again", default="", help="A word that tells this run from an earlier one of today.")

    def handle(self, *args: Any, **options: Any) -> None:
        for biller in billers_named(options["biller"]):
            with tenancy.acting_for([biller.pk]):
                self._deposit(biller, options)

    def _deposit(self, biller: Biller, options: dict[str, Any]) -> None:
        now = timezone.now()
        today = biller.business_date(now)
        route = route_named(biller, options["route"])
        chosen = deposits.Options(
            start=date_of(options["start"], today),
            end=date_of(options["end"], today),
            route_id=route.pk if route else None,
            limit=options["limit"],
            repeat=options["again"],
        )
        actor = Actor.system("manage.py deposit")
        try:
            run = deposits.plan(biller=biller, options=chosen, actor=actor, now=now, dry_run=options["dry_run"])
        except DomainError as error:
            raise CommandError(str(error)) from None
        planned = run_totals(run)
        self.stdout.write(
            f"{biller}: run {run.pk}, {planned.expected} payments authorized between {chosen.start} and {chosen.end}"
        )
        if options["dry_run"]:
            total = f"{planned.expected_total or Decimal('0.00')} {biller.currency}"
            self.stdout.write(f"{biller}: dry run, {planned.expected} payments of {total} would be deposited")
            return
        for chunk in deposits.work(run=run, actor=actor):
            self.stdout.write(
                f"{biller}: chunk {chunk.number}: sent {chunk.sent_count} ({chunk.sent_total}), "
                f"paid {chunk.passed_count} ({chunk.passed_total}), declined {chunk.declined_count}"
            )
        late, amount = late_deposits(run)
        if late:
            self.stdout.write(f"{biller}: {late} of them ({amount}) had expired and cost more")
        run = Run.objects.get(pk=run.pk)
        self.stdout.write(f"{biller}: run {run.pk} is {run.get_state_display().lower()}. {run.failure}".rstrip())
