"""``manage.py pay_scheduled``: plans and works off a run of scheduled payments in this process (MSP-15)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from billing.actors import Actor
from billing.models import Biller, Chunk, Run
from payments.management.arguments import date_of, day
from payments.management.run_commands import RunCommand
from payments.operations import scheduled_collections


class Command(RunCommand):
    help = "Makes the scheduled payments whose day has come."
    name = "pay_scheduled"
    planned = "{things} scheduled until {window}"
    dry = "{things} of at most {total} would be made"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--until", type=day, default=0, help="Last day to make, or days before today (0).")

    def chosen(self, biller: Biller, given: dict[str, Any], **common: Any) -> scheduled_collections.Options:
        until = date_of(given["until"], biller.business_date(timezone.now()))
        return scheduled_collections.Options(until=until, **common)

    def window(self, biller: Biller, chosen: scheduled_collections.Options) -> str:
        return str(chosen.until)

    def plan(self, **planning: Any) -> Run:
        return scheduled_collections.plan(**planning)

    def work(self, *, run: Run, actor: Actor) -> Iterator[Chunk]:
        return scheduled_collections.work(run=run, actor=actor)
