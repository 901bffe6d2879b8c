"""``manage.py deposit``: plans and works off a deposit run in this process (PAY-7)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from billing.actors import Actor
from billing.models import Biller, Chunk, Run
from payments.management.arguments import date_of, day, route_named
from payments.management.run_commands import RunCommand
from payments.operations import deposits
from payments.reports.runs import late_deposits


class Command(RunCommand):
    help = "Takes the money of payments that were authorized in the last thirty days up to yesterday."
    name = "deposit"
    planned = "{things} authorized {window}"
    dry = "{things} of {total} would be deposited"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--start",
            type=day,
            default=deposits.USUAL_DAYS,
            help="First day of authorization, or days before today (30).",
        )
        parser.add_argument("--end", type=day, default=1, help="Last day of authorization, or days before today (1).")
        parser.add_argument("--route", help="Only payments of this route, by name.")

    def chosen(self, biller: Biller, given: dict[str, Any], **common: Any) -> deposits.Options:
        today = biller.business_date(timezone.now())
        route = route_named(biller, given["route"])
        return deposits.Options(
            start=date_of(given["start"], today),
            end=date_of(given["end"], today),
            route_id=route.pk if route else None,
            **common,
        )

    def window(self, biller: Biller, chosen: deposits.Options) -> str:
        return f"between {chosen.start} and {chosen.end}"

    def plan(self, **planning: Any) -> Run:
        return deposits.plan(**planning)

    def work(self, *, run: Run, actor: Actor) -> Iterator[Chunk]:
        return deposits.work(run=run, actor=actor)

    def after(self, biller: Biller, run: Run) -> None:
        late, amount = late_deposits(run)
        if late:
            self.stdout.write(f"{biller}: {late} of them ({amount}) had expired and cost more")
