"""``manage.py restored``: says that rows came back from a backup, where the database cannot know it by itself."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from billing import tenancy
from billing.actors import Actor
from payments.management.arguments import billers_named, moment
from payments.operations import restores


class Command(BaseCommand):
    help = (
        "Stops all charging until the books are reconciled with the processors'. A database that was restored into another"
        " place, or to a point in time, says so by itself; rows that were put back into the same tables do not."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--biller", default="all", help="The biller's slug, or 'all'.")
        parser.add_argument(
            "--since",
            type=moment,
            help="Compare charges since then (UTC); a week before the newest payment by default.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        billers = billers_named(options["biller"])
        with tenancy.acting_for([biller.pk for biller in billers]):
            restores.declare(
                billers=billers, since=options["since"], actor=Actor.system("manage.py restored"), now=timezone.now()
            )
        for biller in billers:
            self.stdout.write(f"{biller}: nothing is charged until manage.py reconcile --biller {biller.slug} agrees.")
