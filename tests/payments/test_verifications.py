"""Verifications: what is asked of a method before it is kept or charged, and again after a time (PAY-14 to PAY-18)."""

from __future__ import annotations

import datetime
import io
import re
import threading
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.urls import reverse
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from billing.actors import Actor, Requestor
from billing.models import AuditEntry, Biller, Chunk, Customer, Item, Notice, Role
from payments.gateways.base import Answer, Result
from payments.gateways.simulator_service.hosted_fields import Entered, Errors, read_card
from payments.models import (
    Channel,
    CheckAnswer,
    Instrument,
    MethodRules,
    Payment,
    Route,
    ScheduledPayment,
    Verification,
)
from payments.operations import (
    charges,
    collections,
    debits,
    instruments,
    recoveries,
    scheduled_collections,
    verifications,
)
from payments.operations.debits import Agreement, AgreementRefused
from payments.operations.instruments import MethodRefused, ProcessorUnavailable
from payments.reports.unresolved_attempts import unresolved_by_command
from payments.tasks import recover
from tests.factories import (
    make_biller,
    make_customer,
    make_endpoint,
    make_invoice,
    make_route,
)
from tests.payments.test_collections import due_bill, today
from tests.payments.test_hosted_fields import CARD, TODAY
from tests.processor import Processor
from tests.staff import client_of, make_staff

pytestmark = pytest.mark.django_db(transaction=True)
SYSTEM = Actor.system("test")
PAYER = Actor(Requestor.PAYER, "Alma Reyes", address="203.0.113.9")
CSR = Actor(Requestor.CSR, "Dana")
HOUR = datetime.timedelta(hours=1)


@pytest.fixture
def biller(processor: Processor) -> Biller:
    biller = make_biller(time_zone="UTC")
    make_endpoint(biller)
    make_route(biller, processor.url, merchant="merchant")
    return biller


def add(biller: Biller, token: str, *, keep: bool = True, actor: Actor = PAYER, **more: Any) -> Instrument:
    customer = Customer.objects.filter(biller=biller).first() or make_customer(biller)
    return instruments.add(
        customer=customer, route=Route.objects.get(biller=biller), token=token, keep=keep, actor=actor, **more
    )


def asked(biller: Biller, processor: Processor) -> list[tuple[str, str, str]]:
    """Give command, amount and type of what the processor was asked about cards and accounts."""
    rows = processor.book(Route.objects.get(biller=biller).merchant)["rows"]
    return [(row["command"], row["amount"], row["type"]) for row in rows]


def rules(biller: Biller, **changes: Any) -> None:
    MethodRules.objects.update_or_create(biller=biller, defaults=changes)


def row(**narrowed: Any) -> tuple[str, int, str, str, str, str]:
    one = Verification.objects.get(**narrowed)
    return one.state, one.result, one.avs, one.cvv, one.purpose, str(one)


# ---- When


@pytest.mark.spec("PAY-14", "PAY-15")
@pytest.mark.parametrize(("keep", "purpose"), [(True, "enrolment"), (False, "payment")])
def test_a_method_is_verified_without_money_before_it_is_kept_or_charged_once(
    biller: Biller, processor: Processor, keep: bool, purpose: str
) -> None:
    processor.control(avs_answer="Z", cvv_answer="M")
    card = add(biller, processor.token("merchant"), keep=keep)
    assert asked(biller, processor) == [("verify", "0.00", "internet")]
    assert row() == ("passed", 0, "Z", "M", purpose, f"Visa ******{card.last4}")
    kept = Verification.objects.get()
    assert (kept.instrument_id, card.verified_at, kept.amount) == (card.pk, kept.ended_at, Decimal("0.00"))
    assert add(biller, card.token, keep=keep).pk == card.pk
    assert Verification.objects.count() == 1


@pytest.mark.spec("PAY-15")
def test_a_biller_that_wants_no_verification_gets_none(biller: Biller, processor: Processor) -> None:
    rules(biller, verify_cards=False, verify_banks=False)
    card = add(biller, processor.token("merchant", "hard_decline"))
    account = add(biller, processor.token("merchant", "hard_decline", kind="bank"))
    assert (card.state, card.verified_at, account.state, account.verified_at) == ("active", None, "active", None)
    assert asked(biller, processor) == []
    assert not Verification.objects.exists()


@pytest.mark.spec("PAY-14")
def test_where_nothing_else_is_possible_a_little_is_authorized_and_let_go(biller: Biller, processor: Processor) -> None:
    route = Route.objects.get()
    route.options["verification_amount"] = "1.00"
    route.save()
    card = add(biller, processor.token("merchant"), actor=CSR)
    assert asked(biller, processor) == [("authorize", "1.00", "moto"), ("release", "1.00", "moto")]
    assert Verification.objects.get().amount == Decimal("1.00")
    assert (card.state, processor.book("merchant")["totals"]) == ("active", [])


# ---- What the answers mean


LETTERS = [
    ("Y", "M", Result.PASS), ("X", "", Result.PASS), ("Z", "M", Result.PASS), ("U", "U", Result.PASS),
    ("G", "M", Result.PASS), ("A", "M", Result.ZIP_FAIL), ("N", "M", Result.AVS_FAIL), ("?", "M", Result.AVS_FAIL),
    ("Y", "N", Result.CVV_BAD), ("Y", "S", Result.CVV_BAD), ("Y", "?", Result.CVV_BAD), ("Y", "P", Result.CVV_BAD),
    ("N", "N", Result.AVS_FAIL),
]  # fmt: skip


@pytest.mark.spec("PAY-14")
@pytest.mark.parametrize(("avs", "cvv", "result"), LETTERS)
def test_what_issuers_say_of_address_and_security_code_is_a_result_by_the_table(
    biller: Biller, processor: Processor, avs: str, cvv: str, result: Result
) -> None:
    processor.control(avs_answer=avs, cvv_answer=cvv or None)
    token = processor.token("merchant")
    if result == Result.PASS:
        assert add(biller, token).state == "active"
        return
    words = {
        Result.AVS_FAIL: "The address does not match the card.",
        Result.ZIP_FAIL: "The ZIP code does not match the card.",
        Result.CVV_BAD: "The security code does not match the card.",
    }
    with pytest.raises(MethodRefused, match=words[result]):
        add(biller, token)
    assert row()[:2] == ("failed", result)


@pytest.mark.spec("PAY-14")
def test_an_administrators_table_decides(biller: Biller, processor: Processor) -> None:
    processor.control(avs_answer="N")
    CheckAnswer.objects.filter(about="avs", answer="N").update(result=0)
    CheckAnswer.objects.filter(about="avs", answer="Y").update(result=4)
    assert add(biller, processor.token("merchant")).state == "active"
    processor.control(avs_answer="Y")
    with pytest.raises(MethodRefused, match="ZIP code"):
        add(biller, processor.token("merchant"))


@given(
    said=st.integers(0, 17), avs=st.sampled_from(["", "Y", "N", "A"]), cvv=st.sampled_from(["", "M", "N", "P"]),
    table=st.dictionaries(st.tuples(st.sampled_from(["avs", "cvv"]), st.sampled_from("YNAMP")), st.sampled_from([0, 2, 4, 12])),
    required=st.booleans(),
)  # fmt: skip
@pytest.mark.spec("PAY-14", "PAY-16")
def test_a_method_passes_only_if_nothing_says_otherwise(
    said: int, avs: str, cvv: str, table: dict[tuple[str, str], int], required: bool
) -> None:
    judged = verifications.judge(Answer("k", said, avs=avs, cvv=cvv), MethodRules(require_cvv=required), table)
    fine = said == 0 and not (required and cvv == "P")
    fine = fine and (not avs or table.get(("avs", avs)) == 0) and (not cvv or table.get(("cvv", cvv)) == 0)
    assert (judged == 0) is fine
    if said:
        assert judged == said


@pytest.mark.spec("PAY-16")
def test_a_security_code_is_asked_for_or_not_as_the_biller_wants(biller: Biller, processor: Processor) -> None:
    rules(biller, require_cvv=False)
    processor.control(cvv_answer="P")
    assert add(biller, processor.token("merchant")).state == "active"
    without = {**CARD, "cvv": ""}
    assert read_card(without, today=TODAY) == Errors({"cvv": "cvv_missing"})
    read = read_card(without, today=TODAY, cvv_required=False)
    assert isinstance(read, Entered) and read.cvv == "P"
    staff = client_of(make_staff(biller, Role.ADMINISTRATOR))
    customer = Customer.objects.get()
    shown = staff.get(reverse("biller-account-method-add", args=[customer.pk])).content.decode()
    assert "cvv=optional" in shown
    rules(biller, require_cvv=True)
    assert "cvv=optional" not in staff.get(reverse("biller-account-method-add", args=[customer.pk])).content.decode()


@pytest.mark.spec("PAY-14")
@pytest.mark.parametrize(
    ("address", "avs"), [("1 Main St", "Y"), ("", "Z"), ("Calle Muñoz 3", "U"), ("ул. Ленина 1", "U")]
)
def test_an_address_in_other_letters_is_not_checked(address: str, avs: str) -> None:
    read = read_card({**CARD, "address": address}, today=TODAY)
    assert isinstance(read, Entered) and read.avs == avs


# ---- What is left of one that failed


@pytest.mark.spec("PAY-14", "PAY-17")
@pytest.mark.parametrize(
    ("outcome", "kind", "result", "words"),
    [
        ("hard_decline", "card", 8, "The bank did not accept the card or account."),
        ("bad_card", "card", 5, "The card or account number is not valid."),
        ("avs_fail", "card", 2, "The address does not match the card."),
        ("cvv_fail", "card", 12, "The security code does not match the card."),
        ("hard_decline", "bank", 8, "The bank did not accept the card or account."),
    ],
)
def test_of_a_method_that_failed_no_token_is_kept(
    biller: Biller, processor: Processor, outcome: str, kind: str, result: int, words: str
) -> None:
    token = processor.token("merchant", outcome, kind=kind, last4="0002")
    with pytest.raises(MethodRefused, match=words):
        add(biller, token)
    assert not Instrument.objects.exists()
    one = Verification.objects.get()
    assert (one.state, one.result, one.masked, one.instrument_id) == ("failed", result, "******0002", None)
    with connection.cursor() as cursor:
        cursor.execute("SELECT v::text FROM payments_verification v UNION ALL SELECT a::text FROM billing_auditentry a")
        assert token not in "".join(text for (text,) in cursor.fetchall())


@pytest.mark.spec("PAY-14", "PAY-2")
@pytest.mark.parametrize("fault", ["drop_before", "drop_after", "garbage", "error_after"])
def test_a_question_without_an_answer_keeps_nothing_and_is_given_up(
    biller: Biller, processor: Processor, fault: str
) -> None:
    token = processor.token("merchant")
    processor.strike(fault, on=["online"])
    with pytest.raises(ProcessorUnavailable):
        add(biller, token)
    assert row()[:2] == ("open", 999)
    assert not Instrument.objects.exists()
    # Entered again it goes well; the first question is nobody's any more.
    assert add(biller, token).state == "active"
    recoveries.recover(biller=biller, actor=SYSTEM)
    assert Verification.objects.filter(state="open").count() == 1
    Verification.objects.filter(state="open").update(created_at=timezone.now() - 2 * HOUR)
    # Beat's task comes to a biller that has nothing else unresolved as well.
    recover()
    assert sorted(Verification.objects.values_list("state", "result")) == [("abandoned", 999), ("passed", 0)]


@pytest.mark.spec("PAY-2")
def test_a_question_is_committed_before_it_is_asked(biller: Biller, processor: Processor) -> None:
    token = processor.token("merchant")
    processor.strike("slow", on=["online"], seconds=1.5)
    seen: list[tuple[str, int]] = []

    def look() -> None:
        with psycopg.connect(**_address()) as other:
            deadline = timezone.now() + datetime.timedelta(seconds=1.4)
            while timezone.now() < deadline and not seen:
                other.execute("SELECT set_config('app.billers', '*', false)")
                seen.extend(other.execute("SELECT state, result FROM payments_verification").fetchall())
                other.rollback()

    watcher = threading.Thread(target=look)
    watcher.start()
    add(biller, token)
    watcher.join()
    assert seen == [("open", 999)]


def _address() -> dict[str, Any]:
    given = connection.get_connection_params()
    return {name: given[name] for name in ("host", "port", "dbname", "user", "password") if given.get(name)}


@pytest.mark.spec("PAY-9")
def test_unanswered_questions_are_counted_and_given_up_freely(biller: Biller, processor: Processor) -> None:
    processor.strike("drop_after", times=2, on=["online"])
    for _ in range(2):
        with pytest.raises(ProcessorUnavailable):
            add(biller, processor.token("merchant", last4="4242"))
    Verification.objects.update(created_at=timezone.now() - datetime.timedelta(minutes=20))
    found = {one.command: one for one in unresolved_by_command(biller=biller, now=timezone.now())}
    assert (found["verify"].open, found["verify"].ages, found["charge"].open) == (2, (2, 0, 0, 0), 0)
    out = io.StringIO()
    call_command("clean", biller=biller.slug, listed="verify", stdout=out)
    assert out.getvalue().count("******4242") == 2
    with pytest.raises(CommandError, match="Say why"):
        call_command("clean", biller=biller.slug, give_up="verify", stdout=out)
    call_command("clean", biller=biller.slug, give_up="verify", limit=1, because="Line was down", by="Ed", stdout=out)
    assert "1 given up, 0 left" in out.getvalue()
    staff = client_of(make_staff(biller, Role.ADMINISTRATOR))
    page = reverse("biller-unresolved-give-up", args=["verify"])
    assert "Give up 1 verification?" in staff.get(page).content.decode()
    assert staff.post(page, {"evidence": " "}).status_code == 422
    assert Verification.objects.filter(state="open").count() == 1
    assert "1 given up." in staff.post(page, {"evidence": "Line was down"}, follow=True).content.decode()
    assert set(Verification.objects.values_list("state", "message")) == {("abandoned", "Line was down")}
    assert AuditEntry.objects.filter(event="verifications.given_up").count() == 2


# ---- Bank accounts


@pytest.mark.spec("PAY-18")
@pytest.mark.parametrize(
    ("actor", "given_", "kept"),
    [
        (PAYER, None, ("I", {})),
        (CSR, None, ("T", {})),
        (CSR, Agreement("W"), ("W", {})),
        (
            CSR,
            Agreement("A", {"check_number": " 1042 ", "image_reference": "IMG-7"}),
            ("A", {"check_number": "1042", "image_reference": "IMG-7"}),
        ),
    ],
)
def test_how_the_holder_agreed_is_kept_and_told(
    biller: Biller, processor: Processor, actor: Actor, given_: Agreement | None, kept: tuple[str, dict[str, str]]
) -> None:
    keep = kept[0] != "A"
    account = add(biller, processor.token("merchant", kind="bank"), keep=keep, actor=actor, agreement=given_)
    assert (account.debit_method, account.debit_facts) == kept
    make_invoice(account.customer, "20.00")
    charges.pay(
        customer=account.customer, amount=Decimal("20.00"), instrument=account, channel=Channel.CSR, actor=CSR,
        request_key="once",
    )  # fmt: skip
    told = [(one["command"], one["debit_method"], one["times_charged"]) for one in processor.book("merchant")["rows"]]
    assert told == [("verify", "", 0), ("charge", kept[0], 1)]


@pytest.mark.spec("PAY-18")
@pytest.mark.parametrize(
    ("given_", "keep", "field"),
    [
        (Agreement("A", {"check_number": "1042"}), False, "image_reference"),
        (
            Agreement("P", {"check_number": "1", "image_reference": "2", "terminal_city": "Ames"}),
            False,
            "terminal_state",
        ),
        (Agreement("P", {"check_number": " ", "image_reference": "2"}), False, "check_number"),
        (Agreement("A", {"check_number": "1", "image_reference": "2"}), True, "debit_method"),
        (Agreement("X"), False, "debit_method"),
        (Agreement("T", {"check_number": "1"}), False, "check_number"),
        (Agreement("A", {"check_number": "1" * 41, "image_reference": "2"}), False, "check_number"),
    ],
)
def test_an_agreement_that_is_not_complete_is_refused(
    biller: Biller, processor: Processor, given_: Agreement, keep: bool, field: str
) -> None:
    with pytest.raises(AgreementRefused) as refused:
        add(biller, processor.token("merchant", kind="bank"), keep=keep, actor=CSR, agreement=given_)
    assert refused.value.field == field
    assert (Instrument.objects.count(), Verification.objects.count(), asked(biller, processor)) == (0, 0, [])


@pytest.mark.spec("PAY-18")
def test_each_kind_of_agreement_demands_what_the_processor_does() -> None:
    assert {method: set(facts) for method, facts in debits.MANDATORY.items()} == {
        "I": set(), "T": set(), "W": set(), "A": {"check_number", "image_reference"},
        "P": {"check_number", "image_reference", "terminal_city", "terminal_state"},
    }  # fmt: skip


def account_due(biller: Biller, processor: Processor, outcome: str = "approve", days: int = 40, **more: Any) -> Item:
    """Make a bill that is due from a bank account, which was verified so many days ago."""
    item = due_bill(biller, processor, **more)
    Instrument.objects.filter(customer=item.customer_id).update(
        kind="bank",
        brand="First",
        token=processor.token("merchant", outcome, kind="bank"),
        verified_at=timezone.now() - datetime.timedelta(days=days),
    )
    return item


def run(biller: Biller) -> None:
    made = collections.plan(biller=biller, options=collections.Options.usual(today()), actor=SYSTEM, now=timezone.now())
    list(collections.work(run=made, actor=SYSTEM))


@pytest.mark.spec("PAY-18", "PAY-15")
def test_a_run_verifies_again_what_was_not_for_so_many_days(biller: Biller, processor: Processor) -> None:
    rules(biller, bank_days=30)
    good, bad = account_due(biller, processor), account_due(biller, processor, "hard_decline")
    fresh, card = account_due(biller, processor, days=29), due_bill(biller, processor)
    run(biller)
    commands = sorted(one["command"] for one in processor.book(Route.objects.get().merchant)["rows"])
    assert commands == ["charge", "charge", "charge", "verify", "verify"]
    opens = [Item.objects.get(pk=one.pk).open for one in (good, bad, fresh, card)]
    assert opens == [0, bad.amount, 0, 0]
    states = dict(Instrument.objects.values_list("customer_id", "state"))
    assert [states[one.customer_id] for one in (good, bad)] == ["active", "bad"]
    renewed = Instrument.objects.get(customer=good.customer_id).verified_at
    assert renewed is not None and renewed > timezone.now() - HOUR
    assert list(Verification.objects.order_by("result").values_list("purpose", "state", "result")) == [
        ("renewal", "passed", 0), ("renewal", "failed", 8),
    ]  # fmt: skip
    assert Payment.objects.count() == 3
    assert list(Notice.objects.filter(kind="method_declined").values_list("customer_id", flat=True)) == [
        bad.customer_id
    ]


@pytest.mark.spec("PAY-18")
def test_without_an_answer_a_run_leaves_the_account_and_says_so(biller: Biller, processor: Processor) -> None:
    rules(biller, bank_days=30)
    item, card = account_due(biller, processor), due_bill(biller, processor)
    processor.strike("drop_after", on=["online", "batch"])
    run(biller)
    item.refresh_from_db()
    card.refresh_from_db()
    assert [item.open, item.reserved, card.open] == [item.amount, 0, 0]
    assert item.collect_on == today()
    chunk = Chunk.objects.get()
    assert (chunk.held_count, chunk.held_for) == (1, "Their bank accounts could not be verified again.")
    assert Instrument.objects.get(customer=item.customer_id).state == "active"


@pytest.mark.spec("PAY-18")
def test_a_payment_of_ones_own_verifies_again_too(biller: Biller, processor: Processor) -> None:
    rules(biller, bank_days=30)
    item = account_due(biller, processor, autopay=False)
    account = Instrument.objects.get()
    given_: dict[str, Any] = {
        "customer": account.customer, "amount": item.amount, "instrument": account, "channel": Channel.WEB,
        "actor": PAYER, "request_key": "k",
    }  # fmt: skip
    processor.strike("drop_before", on=["online"])
    with pytest.raises(charges.MethodUnusable, match="could not be verified just now"):
        charges.pay(**given_)
    assert not Payment.objects.exists()
    paid = charges.pay(**given_)
    given_["instrument"] = Instrument.objects.get()
    assert (paid.state, charges.pay(**given_).pk) == ("posted", paid.pk)
    assert list(Verification.objects.order_by("created_at").values_list("state", flat=True)) == ["open", "passed"]


@pytest.mark.spec("PAY-18")
def test_a_scheduled_payment_waits_for_a_bank_account_that_cannot_be_asked_about(
    biller: Biller, processor: Processor
) -> None:
    rules(biller, bank_days=30)
    item = account_due(biller, processor, autopay=False)
    ScheduledPayment.objects.create(
        biller=biller, customer=item.customer, invoice=item.customer.invoices.get(), instrument=Instrument.objects.get(),
        pay_on=today(), whole=True, amount=item.amount, currency="USD", consent_version="t", consent_text="I agree.",
        requestor=2, made_by="Pat", request_key="s", request_hash="0" * 64,
    )  # fmt: skip
    processor.strike("drop_before", on=["online", "batch"])
    for again in ("", "later"):
        made = scheduled_collections.plan(
            biller=biller,
            options=scheduled_collections.Options.usual(today(), repeat=again),
            actor=SYSTEM,
            now=timezone.now(),
        )
        list(scheduled_collections.work(run=made, actor=SYSTEM))
        states = (ScheduledPayment.objects.get().state, Chunk.objects.filter(held_count=1).count())
        assert states == (("paid", 1) if again else ("scheduled", 1))


@pytest.mark.spec("PAY-18")
def test_direct_debit_can_be_turned_off(biller: Biller, processor: Processor) -> None:
    item, card = account_due(biller, processor), due_bill(biller, processor)
    account = Instrument.objects.get(customer=item.customer_id)
    Route.objects.update(tenders=["card"])
    run(biller)
    assert list(Payment.objects.values_list("customer_id", flat=True)) == [card.customer_id]
    account = Instrument.objects.select_related("route", "customer").get(pk=account.pk)
    with pytest.raises(charges.MethodUnusable):
        charges.pay(
            customer=account.customer, amount=item.amount, instrument=account, channel=Channel.CSR, actor=CSR,
            request_key="k",
        )  # fmt: skip
    assert Payment.objects.count() == 1
    staff = client_of(make_staff(biller, Role.ADMINISTRATOR))
    shown = staff.get(reverse("biller-account-methods", args=[item.customer_id])).content.decode()
    assert "Add a card" in shown and "Add a bank account" not in shown


# ---- Pages


def test_an_administrator_changes_the_rules(biller: Biller) -> None:
    staff = client_of(make_staff(biller, Role.ADMINISTRATOR))
    page = reverse("biller-method-rules")
    assert re.findall(r'name="(\w+)"[^>]* checked', staff.get(page).content.decode()) == [
        "verify_cards", "require_cvv", "verify_banks",
    ]  # fmt: skip
    refused = staff.post(page, {"verify_cards": "on", "require_cvv": "on", "bank_days": "30"})
    assert refused.status_code == 422
    assert "Bank accounts are verified again only where they are verified at all." in refused.content.decode()
    assert not MethodRules.objects.exists()
    given_ = {"verify_cards": "on", "verify_banks": "on", "bank_days": "30"}
    assert "Saved." in staff.post(page, given_, follow=True).content.decode()
    kept = MethodRules.objects.get()
    assert (kept.verify_cards, kept.verify_banks, kept.require_cvv, kept.bank_days) == (True, True, False, 30)
    entry = AuditEntry.objects.get(event="biller.method_rules_changed")
    assert entry.facts["fields"] == "require_cvv True → False, bank_days None → 30"
    assert "Nothing was different" in staff.post(page, given_, follow=True).content.decode()


@pytest.mark.spec("PAY-18")
def test_a_csr_says_how_the_holder_agreed_and_sees_what_was_verified(biller: Biller, processor: Processor) -> None:
    customer = make_customer(biller)
    csr = client_of(make_staff(biller, Role.CSR))
    page = reverse("biller-account-method-add", args=[customer.pk], query={"kind": "bank"})
    shown = csr.get(page).content.decode()
    assert '<option value="W">In writing</option>' in shown and 'value="A"' not in shown
    csr.post(page, {"token": processor.token("merchant", kind="bank", last4="6789"), "debit_method": "W"})
    assert Instrument.objects.get().debit_method == "W"
    csr.post(
        reverse("biller-account-method-add", args=[customer.pk]), {"token": processor.token("merchant", "zip_fail")}
    )
    listed = csr.get(reverse("biller-account-methods", args=[customer.pk])).content.decode()
    assert "******6789" in listed and "4 ZIP code does not match" in listed
    make_invoice(customer, "20.00")
    once = reverse("biller-account-pay-new", args=[customer.pk], query={"amount": "20.00", "kind": "bank"})
    token = processor.token("merchant", kind="bank")
    refused = csr.post(once, {"token": token, "debit_method": "A", "check_number": "12"})
    assert refused.status_code == 422
    assert "Enter this: reference of its image." in refused.content.decode()
    csr.post(once, {"token": token, "debit_method": "A", "check_number": "12", "image_reference": "I-1"})
    assert Instrument.objects.get(state="one_time").debit_facts == {"check_number": "12", "image_reference": "I-1"}
