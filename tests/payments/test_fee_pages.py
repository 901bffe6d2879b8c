"""The pages of fees: rules among the settings, what an account was charged and took back, what payers read."""

from __future__ import annotations

import datetime
import re
from decimal import Decimal

import pytest
from django.test import Client
from django.urls import reverse

from billing.models import AuditEntry, Biller, Customer
from payments.gateways.base import Answer, Result
from payments.models import Channel, Fee, FeeRule, LateRule
from payments.operations import settlements
from tests.factories import NOON, make_biller, make_customer, make_invoice, make_link, make_route, make_user
from tests.invoice_files import ACTOR
from tests.payments.test_carryovers import books_hold
from tests.payments.test_failure_fees import add_rule, on_its_way
from tests.payments.test_late_bills import act, late
from tests.payments.test_late_bills import add_rule as add_late_rule
from tests.staff import client_of, make_staff

pytestmark = pytest.mark.django_db


@pytest.fixture
def biller() -> Biller:
    biller = make_biller()
    make_route(biller)
    return biller


@pytest.fixture
def dana(biller: Biller) -> Client:
    return client_of(make_staff(biller))


FEE = {
    "words": "Returned payment fee", "occasion": "returned", "percent": "2.5", "least": "5.00", "most": "30.00",
    "tenders": ["ach"], "channels": ["3"], "return_codes": "R01, R09", "segments": "shop, home ", "least_payment": "10.00",
}  # fmt: skip
LATE = {
    "words": "Late fee",
    "action": "fee",
    "days": "10",
    "minimum": "5.00",
    "due_from": "11/01/2026",
    "amount": "7.50",
}


@pytest.mark.spec("PAY-36", "PAY-35")
def test_an_administrator_adds_changes_and_switches_rules(biller: Biller, dana: Client) -> None:
    rules = reverse("biller-fee-rules")
    assert "No fee is charged for payments that fail" in dana.get(rules).content.decode()
    add = reverse("biller-fee-rule-add")
    # A rule for what payers do not see fail, unless somebody ticks more.
    assert dana.get(add).context["form"].initial.get("channels", dana.get(add).context["form"]["channels"].initial) == (
        3,
        4,
    )
    refused = dana.post(add, {**FEE, "return_codes": "R10"})
    assert (refused.status_code, FeeRule.objects.count()) == (422, 0)
    assert "R10: no fee is charged" in refused.content.decode()
    assert dana.post(add, FEE, follow=True).redirect_chain == [(rules, 302)]
    rule = FeeRule.objects.get()
    assert (rule.biller_id, rule.percent, rule.least, rule.most) == (
        biller.pk,
        Decimal("2.50"),
        Decimal(5),
        Decimal(30),
    )
    assert (rule.tenders, rule.channels, rule.segments) == (["ach"], [3], ["shop", "home"])
    shown = dana.get(rules).content.decode()
    assert "A bank returns a payment, from $10.00, Bank account, AutoPay, R01, R09, shop, home" in shown
    assert "2.5 %, at least $5.00, at most $30.00" in shown
    change = reverse("biller-fee-rule", args=[rule.pk])
    drawn = dana.get(change).context["form"]
    assert (drawn["return_codes"].value(), drawn["segments"].value(), drawn["channels"].value()) == (
        "R01, R09",
        "shop, home",
        [3],
    )
    assert dana.post(change, {**FEE, "active": ""}).status_code == 302
    rule.refresh_from_db()
    assert not rule.active
    add_late = reverse("biller-late-rule-add")
    assert dana.post(add_late, {**LATE, "days": "0"}).status_code == 422
    assert dana.post(add_late, {**LATE, "action": "inactive"}).status_code == 422
    assert dana.post(add_late, LATE).status_code == 302
    late_rule = LateRule.objects.get()
    assert (late_rule.days, late_rule.due_from, late_rule.fee) == (10, datetime.date(2026, 11, 1), "$7.50")
    assert "Charge a fee: $7.50" in dana.get(rules).content.decode()
    changed = {**LATE, "action": "inactive", "amount": "", "active": "on"}
    assert dana.post(reverse("biller-late-rule", args=[late_rule.pk]), changed).status_code == 302
    late_rule.refresh_from_db()
    assert (late_rule.action, late_rule.amount) == ("inactive", None)
    events = list(AuditEntry.objects.order_by("pk").values_list("event", flat=True))
    assert events == ["fee_rule.added", "fee_rule.changed", "late_rule.added", "late_rule.changed"]


def failed(biller: Biller, channel: int = Channel.WEB) -> Customer:
    customer = make_customer(biller)
    attempt = on_its_way(customer, "84.10", "card", channel)
    settlements.settle(biller=biller, answers=[Answer(str(attempt.pk), Result.HARD_DECLINE)], actor=ACTOR, now=NOON)
    return customer


@pytest.mark.spec("PAY-36")
def test_a_supervisor_takes_a_fee_back_and_a_csr_does_not(biller: Biller, dana: Client) -> None:
    add_rule(biller, words="Declined payment fee")
    customer = failed(biller)
    fee = Fee.objects.get()
    account, waive = (
        reverse("biller-account", args=[customer.pk]),
        reverse("biller-fee-waive", args=[customer.pk, fee.pk]),
    )
    csr = client_of(make_staff(biller, "csr"))
    shown = csr.get(account).content.decode()
    assert "Fee: Declined payment fee" in shown
    assert ("The bank declined the payment." in shown, waive in shown) == (True, False)
    assert csr.post(waive, {"reason": "Our mistake"}).status_code == 403
    sam = client_of(make_staff(biller, "supervisor"))
    assert waive in sam.get(account).content.decode()
    assert sam.post(waive, {"reason": ""}).status_code == 422
    # Of another account it is not there.
    assert (
        sam.post(reverse("biller-fee-waive", args=[make_customer(biller).pk, fee.pk]), {"reason": "x"}).status_code
        == 404
    )
    assert not hasattr(Fee.objects.get(), "waiver")
    done = sam.post(waive, {"reason": "Our mistake"}, follow=True).content.decode()
    assert "The fee of $15.00 was taken back." in done
    assert "Our mistake" in done
    assert waive not in done
    assert "already" in sam.post(waive, {"reason": "Again"}).content.decode()
    payment = dana.get(reverse("biller-payment", args=[fee.payment_id])).content.decode()
    assert "$15.00, Declined payment fee (taken back)" in payment
    books_hold()


def words(client: Client, address: str) -> str:
    return " ".join(re.sub("<[^>]*>", " ", client.get(address).content.decode()).split())


@pytest.mark.spec("PAY-36", "PAY-35")
def test_a_payer_reads_what_a_fee_is_in_their_language(biller: Biller) -> None:
    add_rule(biller, words="Declined payment fee")
    customer = failed(biller)
    add_late_rule(biller)
    late(customer, "50.00")
    act(biller)
    payer = make_user()
    make_link(payer, customer)
    client = client_of(payer)
    for address in ("/home/", reverse("customer-pay", args=[customer.pk])):
        read = words(client, address)
        assert "Beside your bills: Declined payment fee, Nov 22, 2026 : $15.00 Late fee, Nov 22, 2026 : $7.50" in read
    payment = Fee.objects.get(payment__isnull=False).payment_id
    client.cookies["django_language"] = "es"
    read = words(client, reverse("customer-payment", args=[customer.pk, payment]))
    assert "Por esto se cobró un cargo: Declined payment fee: $15.00" in read


def test_a_csr_says_how_an_account_stands(biller: Biller) -> None:
    customer = make_customer(biller, status="inactive")
    make_invoice(customer)
    csr = client_of(make_staff(biller, "csr"))
    standing = reverse("biller-account-standing", args=[customer.pk])
    assert standing in csr.get(reverse("biller-account", args=[customer.pk])).content.decode()
    assert csr.post(standing, {"status": "gone", "segment": ""}).status_code == 422
    assert csr.post(standing, {"status": "active", "segment": " late  payer "}).status_code == 302
    customer.refresh_from_db()
    assert (customer.status, customer.segment) == ("active", "late payer")
    entry = AuditEntry.objects.get(event="customer.standing_changed")
    assert entry.facts["changes"] == "status inactive → active, segment none → late payer"
    reader = client_of(make_staff(biller, "read_only"))
    assert reader.get(standing).status_code == 403
