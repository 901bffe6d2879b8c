"""``manage.py expire``: ends what is over by its time, of one biller or all of them."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from billing import tenancy
from billing.actors import Actor
from payments.management.arguments import billers_named
from payments.operations import expirations


class Command(BaseCommand):
    help = "Tells payers whose AutoPay card has expired, and gives up authorizations that nothing can deposit any more."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--biller", default="all", help="The biller's slug, or 'all' (the default).")

    def handle(self, *args: Any, **options: Any) -> None:
        for biller in billers_named(options["biller"]):
            with tenancy.acting_for([biller.pk]):
                done = expirations.expire(biller=biller, actor=Actor.system("manage.py expire"), now=timezone.now())
            self.stdout.write(
                f"{biller}: told of {done.cards} expired cards, gave up {done.authorizations} authorizations"
            )
