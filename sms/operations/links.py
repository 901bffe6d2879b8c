"""Links in texts: signed, short, good for one account's bill until they expire, without a sign-in.

Source: PBT-16, issue's "short link"; what a link may open is decided where it is opened.
"""

from __future__ import annotations

import datetime

from django.conf import settings
from django.core import signing
from django.db.models import Max
from django.utils.crypto import constant_time_compare, salted_hmac

from billing.models import Customer, Invoice
from sms.models import PayLink

GOOD_FOR = datetime.timedelta(days=30)
_SIGNS = 10  # of 64 kinds: sixty bits, for a link that shows one bill and takes money for it alone


def make(*, customer: Customer, now: datetime.datetime) -> str:
    """Make a link that pays what a customer owes, and give its address."""
    newest = Invoice.objects.filter(customer=customer).aggregate(newest=Max("pk"))["newest"]
    link = PayLink.objects.create(
        biller_id=customer.biller_id, customer=customer, invoice_id=newest, made_at=now, expires_at=now + GOOD_FOR
    )
    return f"{settings.PUBLIC_URL}/t/{code_of(link)}"


def code_of(link: PayLink) -> str:
    """Write a link's code: its id and a signature of it."""
    return f"{signing.b62_encode(link.pk)}-{_signature(link.pk)}"


def id_of(code: str) -> int | None:
    """Read a code; ``None`` where the signature is not ours."""
    written, _dash, signature = code.partition("-")
    try:
        pk = signing.b62_decode(written)
    except (ValueError, KeyError, IndexError):
        return None
    if not 0 < pk < 1 << 63 or not constant_time_compare(_signature(pk), signature):
        return None
    return pk


def _signature(pk: int) -> str:
    digest = salted_hmac("sms.links", str(pk), algorithm="sha256").digest()
    return signing.b64_encode(digest).decode()[:_SIGNS]
