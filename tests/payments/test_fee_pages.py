"""The pages of fees: rules among the settings, what an account was charged and took back, what payers read."""

from __future__ import annotations

import datetime
import re
from decimal import Decimal

import pytest
from django.test import Client
from django.urls import reverse

from billing.models import AuditEntry, Biller, Customer, Item, NoticeDelivery
from billing.operations.notice_deliveries import written
from datapump.models import Record, RecordType
from payments.gateways.base import Answer, Result
from payments.models import Channel, Fee, FeeRule, LateRule
from payments.operations import fees, settlements
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
    "words": "Returned payment fee", "words_es": " Cargo por pago devuelto ",
    "occasion": "returned", "percent": "2.5", "least": "5.00", "most": "30.00",
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
    assert rule.words_es == "Cargo por pago devuelto"
    assert (rule.tenders, rule.channels, rule.segments) == (["ach"], [3], ["shop", "home"])
    shown = dana.get(rules).content.decode()
    assert "A bank returns a payment, from $10.00, Bank account, AutoPay, R01, R09, shop, home" in shown
    assert '<span class="text-secondary fw-normal" lang="es">Cargo por pago devuelto</span>' in shown
    assert "2.5 %, at least $5.00, at most $30.00" in shown
    change = reverse("biller-fee-rule", args=[rule.pk])
    drawn = dana.get(change).context["form"]
    assert (drawn["return_codes"].value(), drawn["segments"].value(), drawn["channels"].value()) == (
        "R01, R09",
        "shop, home",
        [3],
    )
    too_long = dana.post(change, {**FEE, "words_es": "x" * 121})
    assert (too_long.status_code, "words_es" in too_long.context["form"].errors) == (422, True)
    assert dana.post(change, {**FEE, "words_es": "", "active": ""}).status_code == 302
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
    changes = AuditEntry.objects.get(event="fee_rule.changed").facts["fields"]
    assert changes == "words_es Cargo por pago devuelto → none, active yes → no"


def failed(biller: Biller, channel: int = Channel.WEB, **fields: str) -> Customer:
    customer = make_customer(biller, **fields)
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
    add_rule(biller, words="Declined payment fee", words_es="Cargo por pago rechazado")
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
    charged = Fee.objects.get(payment__isnull=False)
    failure = reverse("customer-payment", args=[customer.pk, charged.payment_id])
    assert "A fee was charged for this: Declined payment fee: $15.00" in words(client, failure)
    client.cookies["django_language"] = "es"
    assert "Por esto se cobró un cargo: Cargo por pago rechazado: $15.00" in words(client, failure)
    # Where the biller wrote no Spanish, its words stand as they are.
    for address in ("/home/", reverse("customer-pay", args=[customer.pk])):
        read = words(client, address)
        assert "Cargo por pago rechazado, 22 nov 2026 : $15.00 Late fee, 22 nov 2026 : $7.50" in read
    Item.objects.filter(pk=charged.item_id).update(allocated=Decimal("15.00"))
    fees.waive(fee=charged, reason="Our mistake", actor=ACTOR, now=NOON)
    assert "Cargo por pago rechazado, anulado: -$15.00" in words(client, "/home/")


@pytest.mark.spec("PAY-36", "PAY-35")
@pytest.mark.parametrize(("language", "said"), [("en", "words"), ("es", "words_es")])
def test_notices_say_what_a_fee_is_in_the_customers_language(biller: Biller, language: str, said: str) -> None:
    failure = {"words": "Declined payment fee", "words_es": "Cargo por pago rechazado"}
    lateness = {"words": "Late fee", "words_es": "Recargo por mora"}
    rest = {"words": "Not paid in time", "words_es": "No se pagó a tiempo"}
    add_rule(biller, **failure)
    customer = failed(biller, Channel.AUTOPAY, language=language)
    add_late_rule(biller, **lateness)
    add_late_rule(biller, action="inactive", **rest)
    late(customer, "50.00")
    act(biller)
    for fee in Fee.objects.all():
        fees.waive(fee=fee, reason="Our mistake", actor=ACTOR, now=NOON)
    told = {one.notice.key.split(":")[0]: written(one).text for one in NoticeDelivery.objects.select_related("notice")}
    assert f"{failure[said]}: $15.00" in told["autopay-failed"]
    assert f"{lateness[said]}: $7.50" in told["fee"]
    assert rest[said] in told["inactive"]
    waived = {
        one.notice.facts["amount"]: written(one).text
        for one in NoticeDelivery.objects.filter(notice__kind="fee_waived")
    }
    assert failure[said] in waived["15.00"]
    assert lateness[said] in waived["7.50"]
    # The biller's system and staff read the biller's own words.
    assert set(Record.objects.filter(type=RecordType.FEE).values_list("facts__words", flat=True)) == {
        failure["words"], lateness["words"],
    }  # fmt: skip


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
