"""``manage.py confirm``: confirms payments that no bank returned in their time (PAY-34)."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from billing import tenancy
from billing.actors import Actor
from payments.management.arguments import billers_named
from payments.operations import confirmations


class Command(BaseCommand):
    help = "Confirms bank debits that no bank returned in the banking days of their route."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--biller", default="all", help="The biller's slug, or 'all' (the default).")

    def handle(self, *args: Any, **options: Any) -> None:
        for biller in billers_named(options["biller"]):
            with tenancy.acting_for([biller.pk]):
                count = confirmations.confirm_due(
                    biller=biller, actor=Actor.system("manage.py confirm"), now=timezone.now()
                )
            self.stdout.write(f"{biller}: confirmed {count}")
