"""``manage.py collect``: plans and works off a collect run in this process (PAY-6)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from billing.actors import Actor
from billing.models import Biller, Chunk, CustomerStatus, Run
from payments.management.arguments import date_of, day, money, route_named
from payments.management.run_commands import RunCommand
from payments.operations import collections


class Command(RunCommand):
    help = "Charges AutoPay bills whose collection date is today or yesterday, or those that the options name."
    name = "collect"
    planned = "{things} {window}"
    dry = "{things} of {total} would be collected"
    thing = "bill"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--start", type=day, default=1, help="First collection date, or days before today (1).")
        parser.add_argument("--end", type=day, default=0, help="Last collection date, or days before today (0).")
        accounts = parser.add_mutually_exclusive_group()
        for status in CustomerStatus:
            accounts.add_argument(
                f"--{status.value}", dest="status", action="store_const", const=status.value,
                help=f"Only {status.label.lower()} accounts{' (the default)' if status == CustomerStatus.ACTIVE else ''}.",
            )  # fmt: skip
        parser.set_defaults(status=CustomerStatus.ACTIVE.value)
        parser.add_argument("--route", help="Only methods of this route, by name.")
        parser.add_argument("--pay-type", choices=["card", "ach"], default="", help="Only this kind of method.")
        parser.add_argument("--rebill", action="store_true", help="Any open bill, whatever its collection date.")
        parser.add_argument("--minimum", type=money, help="Least amount, instead of the biller's.")

    def chosen(self, biller: Biller, given: dict[str, Any], **common: Any) -> collections.Options:
        today = biller.business_date(timezone.now())
        route = route_named(biller, given["route"])
        return collections.Options(
            start=date_of(given["start"], today),
            end=date_of(given["end"], today),
            status=given["status"],
            route_id=route.pk if route else None,
            tender=given["pay_type"],
            rebill=given["rebill"],
            minimum=given["minimum"],
            **common,
        )

    def window(self, biller: Biller, chosen: collections.Options) -> str:
        if chosen.rebill:
            return "of any day"
        if not biller.balance_forward:
            return f"due from {chosen.start} on"
        return f"due between {chosen.start} and {chosen.end}"

    def plan(self, **planning: Any) -> Run:
        return collections.plan(**planning)

    def work(self, *, run: Run, actor: Actor) -> Iterator[Chunk]:
        return collections.work(run=run, actor=actor)
