"""One row, or several, of everything that the admin shows."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.contrib import admin
from django.db import models
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from billing import audit
from billing.actors import Actor
from billing.models import (
    ApiToken,
    Chunk,
    IdempotencyKey,
    InvoiceFile,
    InvoiceFileError,
    Item,
    Notice,
    NoticeDelivery,
    Run,
    Setting,
    User,
)
from billing.operations import api_tokens
from datapump.models import ChangeLog, Delivery, Envelope, Record
from payments.models import (
    Allocation,
    AnswerCode,
    Attempt,
    Authorization,
    Carryover,
    Case,
    CheckAnswer,
    Checkpoint,
    CloudPayment,
    Fee,
    FeeRule,
    FeeWaiver,
    LateBill,
    LateRule,
    MethodRules,
    Payment,
    ProcessorEvent,
    RetryLimit,
    Reversal,
    ReversalDebit,
    ScheduledPayment,
    UnconfirmedPayment,
    Verification,
)
from sms.models import PENDING_FOR, Announcement, Line, PayLink, Phone, Programme, SmsMode, Text, Wording
from tests.factories import (
    TODAY,
    make_autopay,
    make_biller,
    make_customer,
    make_endpoint,
    make_instrument,
    make_invoice,
    make_link,
    make_membership,
    make_route,
    make_user,
)

NOW = datetime.datetime(2026, 11, 22, 17, 0, tzinfo=datetime.UTC)
SECRET, TOKEN = "route-secret-value", "tok_secretive_4242"
MACHINE = Actor.api("CIS", "192.0.2.9")


def make_administrator(**fields: Any) -> User:
    """Make an administrator of the installation, with a second factor."""
    user = make_user(**{"is_staff": True, "is_superuser": True, "name": "Robin Root", **fields})
    Authenticator.objects.create(user=user, type=Authenticator.Type.TOTP, data={"secret": "totp-secret-value"})
    return user


def make_everything(n: int) -> None:
    """Make another row of each of the admin's models, all of a biller of their own."""
    biller = make_biller()
    customer = make_customer(biller)
    route = make_route(biller, secret=SECRET)
    instrument = make_instrument(customer, route, TOKEN)
    file = InvoiceFile.objects.create(
        biller=biller, name=f"{biller.number}_11222026.bif", sha256=f"{n}" * 64, size=9, source="drop", body="x/y.bif"
    )
    InvoiceFileError.objects.create(biller=biller, file=file, line=2, field="DueDate", reason="is missing")
    invoice = make_invoice(customer, file=file)
    item = Item.objects.get(invoice=invoice)
    run = Run.objects.create(biller=biller, kind="collect", key=f"collect:{n}", business_date=TODAY, asked_by="beat")
    Chunk.objects.create(biller=biller, run=run, number=1, first=1, last=9)
    payment = Payment.objects.create(
        biller=biller, customer=customer, instrument=instrument, route=route, tender="card", amount=Decimal("9.00"),
        currency="USD", channel=1, requestor=2, made_by="Pat",
    )  # fmt: skip
    attempt = Attempt.objects.create(
        biller=biller,
        payment=payment,
        route=route,
        command="charge",
        transaction_type="internet",
        amount=payment.amount,
    )
    Checkpoint.objects.create(biller=biller, payment=payment, attempt=attempt)
    Authorization.objects.create(
        biller=biller, customer=customer, payment=payment, authorized_on=timezone.localdate(), expires_at=timezone.now()
    )
    UnconfirmedPayment.objects.create(biller=biller, customer=customer, payment=payment, until=TODAY)
    Allocation.objects.create(biller=biller, payment=payment, item=item, amount=payment.amount)
    ScheduledPayment.objects.create(
        biller=biller, customer=customer, invoice=invoice, instrument=instrument, pay_on=TODAY, whole=True, amount=9,
        currency="USD", consent_version="test", consent_text="I agree.", requestor=2, made_by="Pat",
        request_key=f"scheduled-{n}", request_hash="0" * 64,
    )  # fmt: skip
    Carryover.objects.create(
        biller=biller, payment=payment, kind="posted", invoice=invoice, from_item=item, amount=9, moved=9
    )
    reversal = Reversal.objects.create(
        biller=biller, customer=customer, payment=payment, route=route, kind="return", amount=9, currency="USD",
        reason="Insufficient funds", code="R01", reference=f"rev_{n}", requestor=4, made_by="System",
    )  # fmt: skip
    ReversalDebit.objects.create(biller=biller, reversal=reversal, item=item)
    fee_rule = FeeRule.objects.create(biller=biller, words="Returned payment fee", occasion="both", amount=9)
    fee = Fee.objects.create(
        biller=biller, customer=customer, item=item, rule=fee_rule, payment=payment, words=fee_rule.words, reason="R01",
        charged_at=NOW,
    )  # fmt: skip
    FeeWaiver.objects.create(
        biller=biller, customer=customer, fee=fee, item=item, reason="Our mistake", made_by="Dana", waived_at=NOW
    )
    late_rule = LateRule.objects.create(
        biller=biller, words="Late fee", action="fee", days=10, due_from=TODAY, amount=5
    )
    LateBill.objects.create(biller=biller, customer=customer, rule=late_rule, invoice=invoice, owed=9, day=TODAY)
    Case.objects.create(biller=biller, customer=customer, attempt=attempt, kind="unknown", reason="No answer.")
    make_autopay(customer, instrument)
    ProcessorEvent.objects.create(
        biller=biller, route=route, event_id=f"evt_{n}", kind="charge.failed", happened_at=timezone.now()
    )
    AnswerCode.objects.create(driver="simulator", code=f"9{n:02d}", result=7)
    CheckAnswer.objects.create(about="avs", answer=f"{n % 10}{n % 7}", result=2, words="Not known")
    MethodRules.objects.create(biller=biller)
    Verification.objects.create(
        biller=biller, customer=customer, route=route, kind="card", brand="visa", masked="******4242", purpose="payment",
        amount=0, state="failed", result=4, avs="A", cvv="M",
    )  # fmt: skip
    RetryLimit.objects.create(brand=f"brand-{n}", per_day=3)
    notice = Notice.objects.create(biller=biller, customer=customer, kind="receipt", key=f"receipt:{n}")
    NoticeDelivery.objects.create(
        biller=biller, customer=customer, notice=notice, address="pat@example.com", state="sent"
    )
    made = api_tokens.make(biller=biller, name="CIS", actor=MACHINE)
    IdempotencyKey.objects.create(biller=biller, key=f"k{n}", operation="payment", input_hash="0" * 64)
    assert ApiToken.objects.filter(pk=made.token.pk).exists()
    audit.seal()
    user = make_user()
    make_membership(user, biller)
    make_link(user, customer)
    Authenticator.objects.create(user=user, type="totp", data={"secret": "totp-secret-value"})
    EmailAddress.objects.create(user=user, email=user.email, primary=True)
    Setting.objects.create(biller=biller, number=131, value={})
    endpoint = make_endpoint(biller)
    record = Record.objects.create(
        biller=biller, customer=customer, type=1, endpoint=endpoint, requestor=2, made_by="Pat", state="failed"
    )
    ChangeLog.objects.create(
        biller=biller, customer=customer, record=record, field="paperless", requestor=2, made_by="Pat"
    )
    envelope = Envelope.objects.create(
        biller=biller, endpoint=endpoint, operation="PingURL", at=NOW, milliseconds=3, request="<a/>"
    )
    Delivery.objects.create(
        biller=biller, record=record, envelope=envelope, at=NOW, milliseconds=3, outcome="refused", words="No."
    )
    line = Line.objects.create(biller=biller, number="+15055550100", driver="simulator", secret=SECRET)
    Programme.objects.create(biller=biller, name="City Water")
    Wording.objects.create(biller=biller, message="help", language="en", body="{programme}: Call {contact}.")
    Phone.objects.create(biller=biller, number="+15055550123", suspended_for="Texts do not arrive (blocked).")
    SmsMode.objects.create(
        biller=biller, customer=customer, pending_number="+15055550123", pending_until=timezone.now() + PENDING_FOR,
        consent_requestor=2, consented_at=NOW,
    )  # fmt: skip
    Text.objects.create(
        biller=biller,
        line=line,
        customer=customer,
        direction="out",
        phone="+15055550123",
        kind="help",
        body="Help.",
        key="1",
    )
    PayLink.objects.create(biller=biller, customer=customer, expires_at=NOW)
    CloudPayment.objects.create(
        biller=biller, customer=customer, who="payer", amount=Decimal("1.00"), currency="USD", request_key="1",
        opened_by="CIS", expires_at=NOW,
    )  # fmt: skip
    Announcement.objects.create(biller=biller, file=file)
    common = {"username": "x", "ip_address": f"192.0.2.{n}", "user_agent": "x", "path_info": "/accounts/login/"}
    AccessAttempt.objects.create(failures_since_start=1, **common)
    AccessFailureLog.objects.create(**common)
    AccessLog.objects.create(**common)
    interval = IntervalSchedule.objects.create(every=n + 1, period="days")
    CrontabSchedule.objects.create(minute=str(n))
    PeriodicTask.objects.create(name=f"Task {n}", task="payments.tasks.recover", interval=interval)
    assert timezone.now()


def models_shown() -> list[type[models.Model]]:
    """Give every model that has pages in the admin, by its label."""
    return sorted(admin.site._registry, key=lambda model: model._meta.label)
