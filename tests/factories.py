"""Plain functions that make rows: each takes what the test is about and fills in the rest."""

from __future__ import annotations

import datetime
import functools
import itertools
from decimal import Decimal
from typing import Any

from django.contrib.auth.hashers import make_password
from django.utils import timezone

from billing.models import (
    Biller,
    Customer,
    Entry,
    Invoice,
    Item,
    LedgerAccount,
    Membership,
    PayerLink,
    Posting,
    PostingKind,
    Role,
    User,
)
from datapump.models import Configuration, Endpoint, Purpose
from payments.models import AutoPayEnrolment, Instrument, Route

_numbers = itertools.count(1)
TODAY = datetime.date(2026, 11, 22)
NOON = datetime.datetime(2026, 11, 22, 17, 0, tzinfo=datetime.UTC)  # 12:00 in New York


def make_biller(**fields: Any) -> Biller:
    """Make a biller in New York that tells its own system everything."""
    n = next(_numbers)
    biller = Biller.objects.create(
        **{"number": 1000 + n, "name": f"Biller {n}", "slug": f"biller-{n}", "collect_rule": "due", **fields}
    )
    Configuration.objects.create(biller=biller)
    return biller


def make_endpoint(biller: Biller, purpose: str = Purpose.PAYMENTS, **fields: Any) -> Endpoint:
    """Make an endpoint of a biller's system."""
    return Endpoint.objects.create(
        **{
            "biller": biller,
            "purpose": purpose,
            "url": "http://127.0.0.1:9/cis",
            "username": "Ratepayer",
            "password": "cis-secret",
            **fields,
        }
    )


def make_customer(biller: Biller, **fields: Any) -> Customer:
    """Make a customer who owes nothing."""
    n = next(_numbers)
    return Customer.objects.create(
        **{
            "biller": biller,
            "number": f"{35000 + n}-001",
            "base": str(35000 + n),
            "sub": "001",
            "name": f"Customer {n}",
            "zip": "12345",
            "email": f"customer{n}@example.com",
            "service_location": f"3210450{n:05d}",
            **fields,
        }
    )


def make_invoice(customer: Customer, amount: str | Decimal = "84.10", **fields: Any) -> Invoice:
    """Make an invoice with its item and posting, as a file would have loaded it; due today unless told otherwise."""
    n = next(_numbers)
    collect_on = fields.pop("collect_on", fields.get("due_on", TODAY))
    invoice = Invoice.objects.create(
        **{
            "biller": customer.biller,
            "customer": customer,
            "number": f"INV{n:06d}",
            "issued_on": TODAY - datetime.timedelta(days=20),
            "due_on": TODAY,
            "amount": Decimal(amount),
            "custom2": customer.base,
            "custom3": customer.sub,
            "custom4": customer.service_location,
            "custom10": f"{customer.base}-{n}",
            **fields,
        }
    )
    posting = Posting.objects.create(
        biller=customer.biller, key=f"test-invoice:{n}", kind=PostingKind.INVOICES, effective_on=invoice.issued_on
    )
    Entry.objects.bulk_create(
        Entry(
            biller=customer.biller, posting=posting, account=account, amount=signed, currency=customer.biller.currency
        )
        for account, signed in ((LedgerAccount.RECEIVABLE, invoice.amount), (LedgerAccount.BILLED, -invoice.amount))
    )
    Item.objects.create(
        biller=customer.biller,
        customer=customer,
        invoice=invoice,
        posting=posting,
        amount=invoice.amount,
        currency=customer.biller.currency,
        due_on=invoice.due_on,
        collect_on=collect_on,
    )
    customer.balance += invoice.amount
    customer.save(update_fields=["balance"])
    return invoice


def make_route(biller: Biller, url: str = "http://127.0.0.1:9", **fields: Any) -> Route:
    """Make a route to the simulated processor at ``url``, which takes cards and bank accounts."""
    n = next(_numbers)
    options = {"base_url": url, "timeout": 5.0, "batch_timeout": 20.0, **fields.pop("options", {})}
    return Route.objects.create(
        **{
            "biller": biller,
            "name": f"Route {n}",
            "driver": "simulator",
            "merchant": f"merchant-{n}",
            "tenders": ["card", "ach"],
            "secret": "merchant-secret",
            **fields,
            "options": options,
        }
    )


def make_instrument(customer: Customer, route: Route, token: str = "tok_approve_4242", **fields: Any) -> Instrument:
    """Make a card on file; with ``token`` from the simulated processor it can be charged."""
    return Instrument.objects.create(
        **{
            "biller": customer.biller,
            "customer": customer,
            "route": route,
            "kind": "card",
            "token": token,
            "brand": "visa",
            "last4": token[-4:],
            "holder": customer.name,
            "expires_on": datetime.date(2030, 12, 31),
            "is_default": not Instrument.objects.filter(customer=customer, is_default=True, state="active").exists(),
            **fields,
        }
    )


def make_autopay(customer: Customer, instrument: Instrument, **fields: Any) -> AutoPayEnrolment:
    """Enrol a customer in AutoPay without telling anybody."""
    return AutoPayEnrolment.objects.create(
        **{
            "biller": customer.biller,
            "customer": customer,
            "instrument": instrument,
            "consent_version": "test",
            "consent_text": "I agree.",
            "consent_by": customer.name,
            "consent_requestor": 2,
            "consented_at": timezone.now(),
            **fields,
        }
    )


def make_user(email: str = "", **fields: Any) -> User:
    """Make somebody who signs in, with the password ``correct horse battery``."""
    n = next(_numbers)
    email = email or f"user{n}@example.com"
    return User.objects.create(email=email.lower(), password=_password(), **{"name": f"User {n}", **fields})


@functools.cache
def _password() -> str:
    """Hash the password once a process: hashing is made to be slow."""
    return make_password("correct horse battery")


def make_membership(user: User, biller: Biller, role: str = Role.ADMINISTRATOR) -> Membership:
    """Give a user a role at a biller."""
    return Membership.objects.create(user=user, biller=biller, role=role)


def make_link(user: User, customer: Customer, kind: str = "owner") -> PayerLink:
    """Link a payer to a customer."""
    return PayerLink.objects.create(user=user, biller_id=customer.biller_id, customer=customer, kind=kind)
