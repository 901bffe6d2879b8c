"""A convenience fee: taken with the payment, booked apart, shown to whoever paid, unknown to the biller's system."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from django.db import transaction
from django.test import Client
from django.urls import reverse
from django.utils import translation

from billing.actors import Actor
from billing.errors import Conflict
from billing.models import AuditEntry, Entry, Item, NoticeDelivery
from billing.operations.notice_deliveries import written
from datapump.models import Record
from payments.books import findings
from payments.gateways.base import Answer
from payments.models import Allocation, Attempt, Channel, Payment
from payments.operations import charges, settlements
from tests.api.machines import Machine
from tests.factories import NOON, make_customer, make_instrument, make_invoice, make_link, make_user
from tests.payments.test_charges import PAYER, age_attempts, books, pay, recover, setting
from tests.processor import Processor
from tests.staff import client_of, make_staff

pytestmark = pytest.mark.django_db(transaction=True)
FEE = Decimal("2.95")


def wrong() -> list[tuple[str, int]]:
    with transaction.atomic():
        return [(finding.check.says, finding.wrong) for finding in findings() if finding.wrong]


def entries() -> list[tuple[str, str, Decimal, int]]:
    booked = Entry.objects.filter(posting__kind="receipts").order_by("account", "tender")
    return list(booked.values_list("account", "tender", "amount", "count"))


@pytest.mark.spec("PAY-24", "MSP-6")
def test_fee_is_taken_with_the_amount_pays_no_item_and_is_not_told(processor: Processor) -> None:
    card = setting(processor)
    payment = pay(card, fee=FEE)
    assert (payment.state, payment.amount, payment.fee, payment.total) == (
        "posted", Decimal("84.10"), FEE, Decimal("87.05"),
    )  # fmt: skip
    (charged,) = processor.book()["rows"]
    assert (charged["amount"], charged["times_charged"]) == ("87.05", 1)
    assert Attempt.objects.get().amount == Decimal("87.05")
    assert Allocation.objects.get().amount == Item.objects.get().allocated == Decimal("84.10")
    card.customer.refresh_from_db()
    assert card.customer.balance == Decimal("0.00")
    assert entries() == [
        ("clearing", "card", Decimal("87.05"), 1),
        ("fees", "card", Decimal("-2.95"), 1),
        ("receivable", "", Decimal("-84.10"), 1),
    ]
    record = Record.objects.get()
    assert (record.after, record.facts["amount"]) == ("84.10", "84.10") and "fee" not in record.facts
    assert {entry.facts["fee"] for entry in AuditEntry.objects.filter(subject=str(payment.pk))} == {"2.95 USD"}
    assert wrong() == []


@pytest.mark.spec("PAY-24")
def test_fees_of_one_posting_are_booked_by_route_and_tender_and_are_no_credit(processor: Processor) -> None:
    card = setting(processor, amount="50.00")
    other = make_customer(card.customer.biller)
    bank = make_instrument(other, card.route, processor.token(card.route.merchant, kind="bank"), kind="bank")
    make_invoice(other, "30.00")
    third = make_customer(card.customer.biller)
    make_invoice(third, "1.00")
    free = make_instrument(third, card.route, processor.token(card.route.merchant))
    answers = []
    for instrument, amount, fee in ((card, "60.00", "2.95"), (free, "1.00", "0.00"), (bank, "20.00", "1.50")):
        started = charges.start(
            customer=instrument.customer, amount=Decimal(amount), fee=Decimal(fee), instrument=instrument,
            channel=Channel.CSR, actor=PAYER, request_key=f"{instrument.kind} {amount}", item_ids=None, email="", now=NOON,
        )  # fmt: skip
        assert isinstance(started, charges.Started)
        assert started.request.amount == Decimal(amount) + Decimal(fee)
        answers.append(Answer(started.request.key, 0))
    settled = settlements.settle(biller=card.customer.biller, answers=answers, actor=Actor.system("test"), now=NOON)
    assert (settled.posted, settled.posted_total) == (3, Decimal("81.00"))
    assert entries() == [
        ("clearing", "ach", Decimal("21.50"), 1),
        ("clearing", "card", Decimal("63.95"), 2),
        ("fees", "ach", Decimal("-1.50"), 1),
        ("fees", "card", Decimal("-2.95"), 1),
        ("receivable", "", Decimal("-81.00"), 3),
    ]
    assert Item.objects.get(kind="credit").amount == Decimal("-10.00")
    assert Item.objects.get(customer=other).open == Decimal("10.00")
    assert wrong() == []


def test_same_key_with_another_fee_is_refused_and_with_the_same_is_the_same_payment(processor: Processor) -> None:
    card = setting(processor)
    first = pay(card, "40.00", fee=FEE)
    before = books()
    for fee in ("0.00", "3.00"):
        with pytest.raises(Conflict):
            pay(card, "40.00", fee=Decimal(fee))
    assert pay(card, "40.00", fee=Decimal("2.950")).pk == first.pk
    assert books() == before
    assert list(processor.charges().values()) == [1]


def test_what_is_refused_or_declined_takes_no_fee(processor: Processor) -> None:
    card = setting(processor, "hard_decline")
    before = books()
    with pytest.raises(charges.AmountRefused, match=r"^Enter an amount of at most \$84\.10, which is what is due\.$"):
        pay(card, "84.11", fee=FEE)
    with pytest.raises(ValueError, match="A fee cannot be negative"):
        pay(card, fee=Decimal("-0.01"))
    assert (books(), processor.charges()) == (before, {})
    payment = pay(card, fee=FEE)
    assert (payment.state, payment.failure) == ("failed", "The bank declined the payment.")
    assert entries() == []
    assert wrong() == []


@pytest.mark.spec("PAY-3")
def test_lost_request_is_sent_again_with_the_fee(processor: Processor) -> None:
    card = setting(processor, settle_seconds=5.0, timeout=2.0, batch_timeout=2.0)
    processor.strike("drop_before")
    payment = pay(card, fee=FEE)
    assert payment.state == "processing" and wrong() == []
    age_attempts(seconds=6)
    assert recover(card).resent == 1
    assert [(row["amount"], row["times_charged"]) for row in processor.book()["rows"]] == [("87.05", 1)]
    assert [row[:3] for row in entries()][1] == ("fees", "card", Decimal("-2.95"))
    assert wrong() == []


def words(client: Client, name: str, *args: object) -> str:
    page = client.get(reverse(name, args=args))
    assert page.status_code == 200
    found = re.search(r"<main.*</main>", page.content.decode(), re.DOTALL)
    assert found is not None
    return " ".join(re.sub(r"<[^>]+>", " ", found[0]).split())


def test_receipts_pages_files_and_messages_show_the_fee_and_what_was_taken(processor: Processor) -> None:
    card = setting(processor)
    payment = pay(card, fee=FEE)
    declined = pay(
        make_instrument(card.customer, card.route, processor.token(card.route.merchant, "hard_decline")),
        "10.00", key="key-2", channel=Channel.CSR, fee=FEE,
    )  # fmt: skip
    staff = client_of(make_staff(card.customer.biller))
    taken = "$87.05 (a fee of $2.95 included) was taken and is booked."
    shown = words(staff, "biller-payment", payment.pk)
    assert taken in shown and "Fee $2.95 Total $87.05" in shown
    assert "Amount $84.10 Fee $2.95 Total charged $87.05" in words(staff, "biller-payment-receipt", payment.pk)
    done = words(staff, "biller-account-pay-done", card.customer.pk, payment.pk)
    assert taken in done and "Amount $84.10 Fee $2.95 Total charged $87.05" in done
    file = staff.get(reverse("biller-payments"), {"format": "csv"}).getvalue().decode().splitlines()
    assert ",currency,fee,total,route," in file[0] and ",USD,2.95,87.05," in file[2]

    payer = make_user("pat@example.com", name="Pat Payer")
    make_link(payer, card.customer)
    pat = client_of(payer)
    receipt = words(pat, "customer-payment", card.customer.pk, payment.pk)
    assert "Amount $84.10 Fee $2.95 Total charged $87.05" in receipt
    assert "Amount $10.00 Fee $2.95 Total $12.95" in words(pat, "customer-payment", card.customer.pk, declined.pk)
    Payment.objects.filter(pk=declined.pk).update(state="processing")
    assert "Amount $10.00 Fee $2.95 Total $12.95" in words(pat, "customer-payment", card.customer.pk, declined.pk)
    Payment.objects.filter(pk=declined.pk).update(state="failed")

    read = Machine(card.customer.biller).get(f"payments/{payment.pk}/").json()
    assert (read["amount"], read["fee"], read["total"]) == ("84.10", "2.95", "87.05")


def test_receipt_by_e_mail_names_the_fee_only_where_there_was_one(processor: Processor) -> None:
    card = setting(processor)
    for key, fee, email in (("with", FEE, "a@example.com"), ("without", Decimal("0.00"), "b@example.com")):
        pay(card, "10.00", key=key, fee=fee, email=email)
    with_fee, without = NoticeDelivery.objects.select_related("notice", "customer", "biller").order_by("address")
    assert "Amount: $10.00\nFee: $2.95\nTotal charged: $12.95\nPaid with: " in written(with_fee).text
    assert "Amount: $10.00\nPaid with: " in written(without).text
    assert set(with_fee.notice.facts) - set(without.notice.facts) == {"fee", "total"}
    with translation.override("es"):
        with_fee.notice.facts["language"] = "es"
        assert "Cargo: $2.95\nTotal cobrado: $12.95\n" in written(with_fee).text
