"""``manage.py hear_texts``: hears what phones have said, and ends registrations that nobody confirmed."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from billing import tenancy
from billing.actors import Actor
from sms.operations import enrolments, inbound


class Command(BaseCommand):
    help = (
        "Hears the texts that have come in and writes their answers, and ends registrations that ran out, until nothing is"
        " left or the time is over. send_texts sends what it writes."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--seconds", type=float, default=3600.0, help="How long it may take; an hour by default.")

    def handle(self, *args: Any, **options: Any) -> None:
        with tenancy.acting_for(tenancy.EVERY_BILLER):
            heard = inbound.hear_due(seconds=options["seconds"])
            told = inbound.tell_outcomes()
            ended = enrolments.end_run_out(actor=Actor.system("manage.py hear_texts"))
        self.stdout.write(f"{heard} heard, {told} told how their payment ended, {ended} registrations ran out")
