"""``manage.py collect``: plans and works off a collect run in this process (PAY-6)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from billing import tenancy
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import Biller, Chunk, CustomerStatus, Run
from payments.management.arguments import billers_named, date_of, day, money, route_named
from payments.operations import collections


class Command(BaseCommand):
    help = "Charges AutoPay bills whose collection date is today or yesterday, or those that the options name."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--biller", required=True, help="The biller's slug, or 'all'.")
        parser.add_argument("--start", type=day, default=1, help="First collection date, or days before today (1).")
        parser.add_argument("--end", type=day, default=0, help="Last collection date, or days before today (0).")
        parser.add_argument(
            "--inactive", action="store_true", help="Inactive and closed accounts instead of active ones."
        )
        parser.add_argument("--route", help="Only methods of this route, by name.")
        parser.add_argument("--pay-type", choices=["card", "ach"], default="", help="Only this kind of method.")
        parser.add_argument("--rebill", action="store_true", help="Any open bill, whatever its collection date.")
        parser.add_argument("--minimum", type=money, help="Least amount, instead of the biller's.")
        parser.add_argument("--limit", type=int, help="At most so many bills.")
        parser.add_argument("--dry-run", action="store_true", help="Count what would be collected; charge nothing.")
        parser.add_argument("--again", default="", help="A word that tells this run from an earlier one of today.")

    def handle(self, *args: Any, **options: Any) -> None:
        for biller in billers_named(options["biller"]):
            with tenancy.acting_for([biller.pk]):
                self._collect(biller, options)

    def _collect(self, biller: Biller, options: dict[str, Any]) -> None:
        now = timezone.now()
        today = biller.business_date(now)
        route = route_named(biller, options["route"])
        chosen = collections.Options(
            start=date_of(options["start"], today),
            end=date_of(options["end"], today),
            status=CustomerStatus.INACTIVE if options["inactive"] else CustomerStatus.ACTIVE,
            route_id=route.pk if route else None,
            tender=options["pay_type"],
            rebill=options["rebill"],
            minimum=options["minimum"],
            limit=options["limit"],
            repeat=options["again"],
        )
        actor = Actor.system("manage.py collect")
        try:
            run = collections.plan(biller=biller, options=chosen, actor=actor, now=now, dry_run=options["dry_run"])
        except DomainError as error:
            raise CommandError(str(error)) from None
        expected = sum(chunk.expected for chunk in Chunk.objects.filter(run=run))
        self.stdout.write(f"{biller}: run {run.pk}, {expected} bills due between {chosen.start} and {chosen.end}")
        if options["dry_run"]:
            total = sum((chunk.expected_total for chunk in Chunk.objects.filter(run=run)), Decimal("0.00"))
            self.stdout.write(f"{biller}: dry run, {expected} bills of {total} {biller.currency} would be collected")
            return
        for chunk in collections.work(run=run, actor=actor):
            self.stdout.write(
                f"{biller}: chunk {chunk.number}: sent {chunk.sent_count} ({chunk.sent_total}), "
                f"paid {chunk.passed_count} ({chunk.passed_total}), declined {chunk.declined_count}"
            )
        run = Run.objects.get(pk=run.pk)
        self.stdout.write(f"{biller}: run {run.pk} is {run.get_state_display().lower()}. {run.failure}".rstrip())
