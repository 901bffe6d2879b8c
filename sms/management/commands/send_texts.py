"""``manage.py send_texts``: writes the texts of new bills, and sends what is due."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from billing import tenancy
from billing.actors import Actor
from sms.models import Line
from sms.operations import announcements, texts


class Command(BaseCommand):
    help = (
        "Writes bill-ready texts for the invoice files that have loaded, and sends the texts that are due, until none is"
        " left or the time is over."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--seconds", type=float, default=3600.0, help="How long it may take; an hour by default.")

    def handle(self, *args: Any, **options: Any) -> None:
        with tenancy.acting_for(tenancy.EVERY_BILLER):
            announced = announcements.announce_due()
            done = texts.send_due(actor=Actor.system("manage.py send_texts"), seconds=options["seconds"])
            stopped = list(Line.objects.filter(active=True).exclude(stopped_for="").select_related("biller"))
        self.stdout.write(
            f"{announced} bills announced; {done.accepted} texts sent, {done.later} to be tried again, {done.failed} failed,"
            f" {done.unknown} without an outcome"
        )
        for line in stopped:
            self.stderr.write(f"{line.biller}: nothing goes out from {line}: {line.stopped_for}")
