"""``manage.py confirm_pay_by_text``: confirms a pending registration without the phone (PBT-12)."""

from __future__ import annotations

import getpass
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing import tenancy
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import Biller, Customer
from sms.models import SmsMode
from sms.operations import enrolments


class Command(BaseCommand):
    help = (
        "Confirms a pending registration for pay by text as if its phone had answered YES, to try things out without one."
        " History shows it as the payer's, with the operator's name."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--biller", required=True, help="The biller's slug.")
        parser.add_argument("--account", required=True, help="The account number, as the invoice file writes it.")
        parser.add_argument("--operator", default="", help="Who does it; the name of whoever is signed in by default.")

    def handle(self, *args: Any, **options: Any) -> None:
        with tenancy.acting_for(tenancy.EVERY_BILLER):
            biller = Biller.objects.filter(slug=options["biller"]).first()
        if biller is None:
            raise CommandError(f"There is no biller {options['biller']!r}.")
        actor = Actor.system(options["operator"] or getpass.getuser())
        with tenancy.acting_for([biller.pk]):
            customer = Customer.objects.filter(biller=biller, number=options["account"]).first()
            if customer is None:
                raise CommandError(f"{biller} has no account {options['account']!r}.")
            customer.biller = biller
            try:
                enrolments.confirm_customer(customer=customer, actor=actor)
            except DomainError as refused:
                raise CommandError(f"{biller}, account {customer.number}: {refused}") from None
            number = SmsMode.objects.get(customer=customer).number
        self.stdout.write(f"{biller}: account {customer.number} pays by text from •••• {number[-4:]} now.")
