"""The search box: what it finds, where it leads, what it shows, and that it reads indexes."""

from __future__ import annotations

import datetime
import re
import uuid
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from billing import phone_numbers, reports, tenancy
from billing.biller_portal.search import marked
from billing.models import Biller, Customer, InvoiceFile
from datapump.models import Record, RecordState, RecordType
from payments.models import Attempt, Case, Channel, Checkpoint, Payment
from payments.models.payments import confirmation_of
from payments.reports.payments import confirmation_bounds, payments_matching
from tests import servers
from tests.factories import make_biller, make_customer, make_instrument, make_invoice, make_link, make_route, make_user
from tests.staff import client_of, make_staff

pytestmark = pytest.mark.django_db


@pytest.fixture
def biller() -> Biller:
    return make_biller()


@pytest.fixture
def client(biller: Biller) -> Client:
    return client_of(make_staff(biller))


def make_payment(customer: Customer, **fields: object) -> Payment:
    route = make_route(customer.biller)
    return Payment.objects.create(
        **{
            "biller": customer.biller,
            "customer": customer,
            "route": route,
            "instrument": make_instrument(customer, route),
            "tender": "card",
            "amount": Decimal("12.00"),
            "currency": "USD",
            "state": "failed",
            "channel": Channel.GUEST,
            "requestor": 2,
            "made_by": "Guest",
            **fields,
        }
    )


def search(client: Client, text: str) -> str:
    """Give where a search leads, or "results"."""
    response = client.get(reverse("biller-search"), {"q": text})
    return response["location"] if response.status_code == 302 else "results"


def matched(biller: Biller, text: str) -> list[tuple[str, str]]:
    return [(one.customer.name, one.matched) for one in reports.customers_matching(biller=biller, text=text, limit=25)]


@pytest.mark.parametrize(
    "text",
    [
        "35909-001",
        "A-77",
        "(555) 555-0123",
        "555.555.0123",
        "+1 555 555 0123",
        "lucia@example.com",
        "LUCIA@Example.com",
        "payer@example.com",
    ],
)
def test_an_exact_hit_is_gone_to_straight(client: Client, biller: Biller, text: str) -> None:
    customer = make_customer(
        biller,
        name="Lucía Hernández",
        number="35909-001",
        display_number="A-77",
        phone="+15555550123",
        email="lucia@example.com",
    )
    make_link(make_user("payer@example.com"), customer)
    make_customer(biller, name="Somebody Else", phone="+15555550124")
    assert search(client, text) == f"/biller/accounts/{customer.pk}/"


def test_a_bill_and_a_payment_are_found_by_their_numbers(client: Client, biller: Biller) -> None:
    customer = make_customer(biller)
    invoice = make_invoice(customer, number="B-2026-77")
    payment = make_payment(customer)
    make_payment(customer)
    assert search(client, " B-2026-77 ") == f"/biller/bills/{invoice.pk}/"
    for spelling in (
        payment.confirmation,
        payment.confirmation.lower().replace("-", ""),
        payment.confirmation.replace("-", " "),
    ):
        assert search(client, spelling) == f"/biller/payments/{payment.pk}/"


def test_a_guests_payments_are_found_by_the_address_on_the_receipt(client: Client, biller: Biller) -> None:
    payment = make_payment(make_customer(biller), email="guest@example.com")
    assert search(client, "Guest@Example.com") == f"/biller/payments/{payment.pk}/"


def test_several_hits_are_grouped_with_the_matched_part_shown(client: Client, biller: Biller) -> None:
    make_customer(biller, name="Alma Reyes", number="1-1")
    make_customer(biller, name="Reyna Alvarez", number="2-1")
    make_invoice(make_customer(biller, name="Third", number="3-1"), number="rey")
    page = client.get(reverse("biller-search"), {"q": "rey"}).content.decode()
    assert "Alma <mark>Rey</mark>es" in page and "<mark>Rey</mark>na Alvarez" in page
    assert 'id="group-1">Accounts <span class="count">2</span>' in page and 'id="group-2">Bills' in page


def test_names_are_found_by_their_beginning_and_by_the_surname_but_not_in_the_middle(biller: Biller) -> None:
    make_customer(biller, name="Alma Maria Reyes")
    make_customer(biller, name="O'Neill & Sons")
    assert matched(biller, "alma m") == [("Alma Maria Reyes", "name")]
    assert matched(biller, "REYES") == [("Alma Maria Reyes", "name")]
    assert matched(biller, "o'neill") == [("O'Neill & Sons", "name")]
    assert matched(biller, "maria") == []
    assert matched(biller, "%") == [] and matched(biller, "") == [] and matched(biller, "\x00") == []


def test_nothing_of_another_biller_is_found(client: Client, biller: Biller) -> None:
    other = make_customer(
        make_biller(), name="Foreign Person", number="77-77", phone="+15555550199", email="f@example.com"
    )
    make_invoice(other, number="FOREIGN-1")
    payment = make_payment(other, email="g@example.com")
    for text in (
        "77-77",
        "Foreign",
        "+15555550199",
        "f@example.com",
        "FOREIGN-1",
        payment.confirmation,
        "g@example.com",
    ):
        assert search(client, text) == "results"
        assert "Nothing was found" in client.get(reverse("biller-search"), {"q": text}).content.decode(), text


@given(st.uuids(version=4).map(lambda one: uuid.UUID(one.hex[:12] + "7" + one.hex[13:])))
def test_a_confirmation_number_stands_for_a_range_that_holds_its_payment(payment_id: uuid.UUID) -> None:
    bounds = confirmation_bounds(confirmation_of(payment_id))
    assert bounds is not None
    low, high = bounds
    assert low <= payment_id <= high
    assert confirmation_of(low) == confirmation_of(high) == confirmation_of(payment_id)


@given(st.text(max_size=40))
def test_no_text_is_mistaken_or_breaks_the_readers(text: str) -> None:
    bounds = confirmation_bounds(text)
    assert bounds is None or len(text) >= 15
    number = phone_numbers.read(text)
    assert number is None or number.startswith("+")


@given(st.text(max_size=20), st.text(min_size=1, max_size=5))
def test_marking_never_lets_markup_through(value: str, text: str) -> None:
    shown = marked(value, text).replace("<mark>", "").replace("</mark>", "")
    assert "<" not in shown and ">" not in shown


def test_the_queues_count_what_waits_for_a_person(client: Client, biller: Biller) -> None:
    customer = make_customer(biller)
    for state, made in ((RecordState.FAILED, 2), (RecordState.DELIVERED, 1)):
        for _ in range(made):
            Record.objects.create(
                biller=biller, customer=customer, type=RecordType.PAPERLESS, state=state, requestor=1, made_by="x"
            )
    InvoiceFile.objects.create(
        biller=biller, name="x.bif", sha256="0" * 64, size=1, body="x", source="portal", state="refused"
    )
    payment = make_payment(customer, state="processing")
    old = Attempt.objects.create(
        biller=biller, payment=payment, route_id=str(payment.route_id), command="charge", transaction_type="moto",
        amount=payment.amount,
        created_at=datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1),
    )  # fmt: skip
    Checkpoint.objects.create(payment=payment, attempt=old, biller=biller)
    Case.objects.create(biller=biller, customer=customer, attempt=old, kind="unknown", reason="?")
    queues = client.get(reverse("biller-search")).context["queues"]
    assert [(one["label"], one["value"]) for one in queues] == [
        ("Failed updates", "2"), ("Open cases", "1"), ("Unresolved attempts", "1"), ("Texts to read", "0"),
        ("Refused files", "1"),
    ]  # fmt: skip
    assert [one["tone"] for one in queues] == ["bad", "bad", "bad", "", "bad"]


def test_the_counts_stop_at_a_cap(biller: Biller, monkeypatch: pytest.MonkeyPatch) -> None:
    customer = make_customer(biller)
    Record.objects.bulk_create(
        Record(
            biller=biller,
            customer=customer,
            type=RecordType.PAYMENT,
            state=RecordState.FAILED,
            requestor=1,
            made_by="x",
        )
        for _ in range(4)
    )
    monkeypatch.setattr("billing.biller_portal.search.CAP", 3)
    queues = client_of(make_staff(biller)).get(reverse("biller-search")).context["queues"]
    assert queues[0]["value"] == "Over 3"


def test_the_latest_accounts_stand_on_the_first_page_newest_first(client: Client, biller: Biller) -> None:
    first, second = make_customer(biller), make_customer(biller)
    for customer in (first, second, first):
        client.get(reverse("biller-account", args=[customer.pk]))
    assert client.get(reverse("biller-search")).context["recent"] == [first, second]


@pytest.mark.django_db(transaction=True)
def test_each_kind_of_search_reads_an_index(biller: Biller) -> None:
    """Below row security only leakproof comparisons use an index; one that may not would be a filter in the plan."""
    Customer.objects.bulk_create(
        Customer(biller=biller, number=f"N{n}", name=f"Person {n}", phone=f"+1555{n:07d}", email=f"p{n}@example.com")
        for n in range(3_000)
    )
    customer = Customer.objects.first()
    assert customer is not None
    Payment.objects.bulk_create(
        Payment(
            id=uuid.UUID(f"{n:012x}7{n:019x}"), biller=biller, customer=customer, tender="card", amount=1,
            currency="USD", state="failed", channel=1, requestor=1, made_by="x", email=f"p{n}@example.com",
        )
        for n in range(3_000)
    )  # fmt: skip
    with psycopg.connect(servers.superuser(settings.DATABASES["default"]["NAME"]), autocommit=True) as superuser:
        superuser.execute("ANALYZE")
    plans: list[str] = []

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("SELECT") and "billing_user" not in sql:
            with connection.cursor() as cursor:
                cursor.cursor.execute(f"EXPLAIN {sql}", params)
                plans.append("\n".join(line for (line,) in cursor.cursor.fetchall()))
        return execute(sql, params, many, context)

    for text in ("N77", "(555) 555-0999", "p77@example.com", "person 77", "00000-00000-12345"):
        with transaction.atomic(), tenancy.acting_for([biller.pk]), connection.execute_wrapper(explain):
            reports.customers_matching(biller=biller, text=text, limit=25)
            payments_matching(biller=biller, text=text, limit=25)
    assert len(plans) > 10
    for plan in plans:
        assert "Seq Scan on billing_customer" not in plan and "Seq Scan on payments_payment" not in plan, plan
        assert not re.search(r"Filter: .*(search_|number|phone|email)", plan), plan
