"""``manage.py check_unresolved``: the daily check of unresolved charges, now (PAY-11)."""

from __future__ import annotations

import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from billing import formats, tenancy
from billing.actors import Actor
from payments.management.arguments import billers_named
from payments.operations import daily_checks


class Command(BaseCommand):
    help = "Writes each biller's report of charges without a result for an hour, where there are some; --tell mails it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--biller", default="all", help="The biller's slug, or 'all'.")
        parser.add_argument("--tell", action="store_true", help="Mail it to the biller's administrators who want it.")

    def handle(self, *args: Any, **options: Any) -> None:
        now, actor = timezone.now(), Actor.system("manage.py check_unresolved")
        for biller in billers_named(options["biller"]):
            with tenancy.acting_for([biller.pk]):
                report = daily_checks.check(biller=biller, actor=actor, now=now)
                if report is None:
                    self.stdout.write(f"{biller}: nothing is unresolved")
                    continue
                self.stdout.write(
                    f"{biller}: on {report.day} {report.count} without a result, {report.total} {biller.currency},"
                    f" {report.cases} cases to decide"
                )
                for row in report.rows:
                    with timezone.override(biller.zone):
                        oldest = formats.moment(datetime.datetime.fromisoformat(row["oldest"]))
                    self.stdout.write(f"  {row['kind']:<15}{row['count']:>8,}{row['total']:>16}  oldest {oldest}")
                if options["tell"]:
                    told = daily_checks.tell(report=report, now=now)
                    why = "" if told else ": today's report was mailed before, or no administrator wants it"
                    self.stdout.write(f"{biller}: {told} told{why}")
