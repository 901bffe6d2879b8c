"""``manage.py release``: plans and works off a release run in this process (PAY-7)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from billing.actors import Actor
from billing.models import Biller, Chunk, Run
from payments.management.arguments import date_of, day, route_named
from payments.management.run_commands import RunCommand
from payments.operations import releases


class Command(RunCommand):
    help = "Has processors let go of money that was authorized and that nobody deposited in time; its bills are free."
    name = "release"
    planned = "{things} authorized {window}"
    dry = "{things} of {total} would be released"
    done = "released"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--start", type=day, help="First day of authorization, or days before today.")
        parser.add_argument(
            "--end",
            type=day,
            help="Last day of authorization, or days before today (what is older than the payment rules say).",
        )
        parser.add_argument(
            "--expired", action="store_true", help="Also those of any day whose time is over at the processor."
        )
        parser.add_argument("--route", help="Only payments of this route, by name.")

    def chosen(self, biller: Biller, given: dict[str, Any], **common: Any) -> releases.Options:
        now = timezone.now()
        today = biller.business_date(now)
        route = route_named(biller, given["route"])
        return releases.Options(
            start=date_of(given["start"], today) if given["start"] is not None else None,
            end=date_of(given["end"], today) if given["end"] is not None else releases.last_day(biller, now),
            expired=given["expired"],
            route_id=route.pk if route else None,
            **common,
        )

    def window(self, biller: Biller, chosen: releases.Options) -> str:
        days = f"between {chosen.start} and {chosen.end}" if chosen.start else f"until {chosen.end}"
        return f"{days}, or expired" if chosen.expired else days

    def plan(self, **planning: Any) -> Run:
        return releases.plan(**planning)

    def work(self, *, run: Run, actor: Actor) -> Iterator[Chunk]:
        return releases.work(run=run, actor=actor)
