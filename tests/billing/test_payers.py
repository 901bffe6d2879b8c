"""Payers and their accounts: what a guest must know, how often they may try, and who becomes the owner."""

from __future__ import annotations

import datetime
import statistics
import time
from decimal import Decimal

import pytest
from django.core.cache import cache

from billing import throttles
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import AuditEntry, Biller, Customer, Invoice, PayerLink, Throttle
from billing.operations import payers
from billing.throttles import Limit, TooManyTries
from tests.factories import NOON, TODAY, make_biller, make_customer, make_invoice, make_link, make_user

pytestmark = pytest.mark.django_db

GUEST = Actor.payer(None, address="192.0.2.7")
HALF_HOUR = datetime.timedelta(minutes=30)


@pytest.fixture
def biller() -> Biller:
    return make_biller()


def find(biller: Biller, number: str, secret: str, *, actor: Actor = GUEST, now: datetime.datetime = NOON) -> Customer:
    return payers.find_account(biller=biller, number=number, secret=secret, actor=actor, now=now)


# What must be known


@pytest.mark.parametrize(
    ("kind", "fields", "good", "bad"),
    [
        ("zip", {"zip": "80202-1234"}, ["80202", " 80202 ", "80202-9999"], ["80203", "8020", "", "0"]),
        ("zip", {"zip": "K1A 0B1"}, ["k1a0b1", "K1A 0B1"], ["K1A", "K1A0B2"]),
        ("zip", {"zip": ""}, [], ["", " ", "00000", "\x00"]),
        ("phone", {"phone": "+15555550123"}, ["0123", " 01 23"], ["123", "3210", "", "5550"]),
        ("phone", {"phone": ""}, [], ["", "0000"]),
        ("amount", {}, ["84.10", "$84.10", "84.1"], ["84", "84.11", "", "lots", "NaN", "1e400"]),
    ],
)
def test_an_account_opens_to_who_knows_its_secret(
    kind: str, fields: dict[str, str], good: list[str], bad: list[str]
) -> None:
    biller = make_biller(guest_secret=kind)
    customer = make_customer(biller, number="35909-001", **fields)
    make_invoice(customer, "12.00", issued_on=TODAY - datetime.timedelta(days=60))
    make_invoice(customer, "84.10")
    make_invoice(customer, "99.00", issued_on=TODAY, withdrawn=True)
    for place, secret in enumerate(good):
        assert find(biller, "35909-001", secret, now=NOON + place * HALF_HOUR) == customer
    for place, secret in enumerate(bad):
        with pytest.raises(payers.AccountNotFound):
            find(biller, "35909-001", secret, now=NOON + (10 + place) * HALF_HOUR)


def test_the_amount_of_a_customer_without_bills_is_nobodys_secret() -> None:
    biller = make_biller(guest_secret="amount")
    make_customer(biller, number="1-1")
    for place, secret in enumerate(["", "0", "0.00", "None"]):
        with pytest.raises(payers.AccountNotFound):
            find(biller, "1-1", secret, now=NOON + place * HALF_HOUR)
    assert Invoice.objects.count() == 0


def test_the_number_may_be_the_files_or_the_shown_one(biller: Biller) -> None:
    customer = make_customer(biller, number="35909-001", display_number="35909001", zip="80202")
    assert find(biller, "35909-001", "80202") == customer
    assert find(biller, " 35909001 ", "80202") == customer
    with pytest.raises(payers.AccountNotFound):
        find(biller, "35909", "80202")


def test_of_two_accounts_under_one_shown_number_the_secret_chooses(biller: Biller) -> None:
    make_customer(biller, display_number="7", zip="11111")
    second = make_customer(biller, display_number="7", zip="22222")
    assert find(biller, "7", "22222") == second


def test_another_billers_account_is_not_found(biller: Biller) -> None:
    make_customer(make_biller(), number="35909-001", zip="80202")
    with pytest.raises(payers.AccountNotFound):
        find(biller, "35909-001", "80202")


def test_known_and_unknown_accounts_answer_alike_and_take_as_long(
    biller: Biller, django_assert_num_queries: pytest.FixtureRequest
) -> None:
    make_customer(biller, number="35909-001", zip="80202")
    said = {}
    seconds: dict[str, list[float]] = {"35909-001": [], "35909-002": []}
    for number in seconds:
        with django_assert_num_queries(5), pytest.raises(payers.AccountNotFound) as refusal:  # type: ignore[operator]
            find(biller, number, "99999", now=NOON)
        said[number] = str(refusal.value)
    for place in range(60):
        for number, times in seconds.items():
            began = time.perf_counter()
            with pytest.raises(payers.AccountNotFound):
                find(
                    biller,
                    number,
                    "99999",
                    actor=Actor.payer(None, address=f"192.0.2.{place}"),
                    now=NOON + place * HALF_HOUR,
                )
            times.append(time.perf_counter() - began)
    assert said["35909-001"] == said["35909-002"]
    known, unknown = (statistics.median(times) for times in seconds.values())
    assert 0.5 < known / unknown < 2.0


# How often


def test_tries_at_one_account_are_limited_known_or_not_right_or_wrong(biller: Biller) -> None:
    make_customer(biller, number="35909-001", zip="80202")
    for number in ("35909-001", "35909-002"):
        for place in range(payers.TRIES_AT_ACCOUNT.most):
            with pytest.raises(payers.AccountNotFound):
                find(biller, number, "99999", actor=Actor.payer(None, address=f"192.0.2.{place}"))
        cache.clear()  # a wiped cache opens no door
        with pytest.raises(TooManyTries) as refusal:
            find(biller, number, "80202", actor=Actor.payer(None, address="198.51.100.1"))
        assert refusal.value.until == NOON + HALF_HOUR
    assert find(biller, "35909-001", "80202", now=NOON + HALF_HOUR).number == "35909-001"


def test_tries_from_one_address_are_limited_over_all_accounts(biller: Biller) -> None:
    make_customer(biller, number="good", zip="80202")
    for place in range(payers.TRIES_FROM_ADDRESS.most):
        with pytest.raises(payers.AccountNotFound):
            find(biller, f"account-{place}", "99999")
    with pytest.raises(TooManyTries):
        find(biller, "good", "80202")
    assert find(biller, "good", "80202", actor=Actor.payer(None, address="198.51.100.1")) is not None


def test_counters_hold_no_number_and_are_forgotten() -> None:
    limit = Limit("test", 2, HALF_HOUR)
    throttles.count(tries=[(limit, "35909-001")], now=NOON)
    throttles.count(tries=[(limit, "35909-001")], now=NOON)
    with pytest.raises(TooManyTries):
        throttles.count(tries=[(limit, "35909-001")], now=NOON)
    throttles.count(tries=[(limit, "35909-002")], now=NOON)
    assert sorted(Throttle.objects.values_list("count", flat=True)) == [1, 3]
    assert not Throttle.objects.filter(digest__contains="35909").exists()
    assert throttles.forget(now=NOON) == 0
    assert throttles.forget(now=NOON + throttles.KEPT + HALF_HOUR) == 2


# Links


def test_the_first_payer_is_the_owner_and_the_next_a_co_owner(biller: Biller) -> None:
    customer, first, second = make_customer(biller), make_user(), make_user()
    assert payers.link(user=first, customer=customer, actor=Actor.payer(first)).kind == "owner"
    assert payers.link(user=second, customer=customer, actor=Actor.payer(second)).kind == "co_owner"
    with pytest.raises(payers.AlreadyLinked):
        payers.link(user=second, customer=customer, actor=Actor.payer(second))
    assert PayerLink.objects.count() == 2
    events = AuditEntry.objects.filter(customer=customer).order_by("id").values_list("event", "user_id", "facts")
    assert list(events) == [
        ("payer.linked", first.pk, {"email": first.email, "kind": "owner"}),
        ("payer.linked", second.pk, {"email": second.email, "kind": "co_owner"}),
    ]


def test_when_the_owner_goes_the_oldest_co_owner_follows(biller: Biller) -> None:
    customer = make_customer(biller)
    owner, older, younger = (make_link(make_user(), customer, kind) for kind in ("owner", "co_owner", "co_owner"))
    payers.unlink(link=owner, actor=Actor.payer(owner.user))
    assert dict(PayerLink.objects.values_list("pk", "kind")) == {older.pk: "owner", younger.pk: "co_owner"}
    assert AuditEntry.objects.get().facts == {"email": owner.user.email, "kind": "owner"}
    with pytest.raises(payers.NotTheirLink):
        payers.unlink(link=owner, actor=Actor.payer(owner.user))
    assert AuditEntry.objects.count() == 1


def test_a_profile_is_its_persons_and_speaks_for_the_accounts_they_own(biller: Biller) -> None:
    user = make_user()
    owned, shared = make_customer(biller), make_customer(biller)
    make_link(user, owned)
    make_link(user, shared, "co_owner")
    payers.change_profile(user=user, name="  Ana   Ruiz ", language="es", actor=Actor.payer(user))
    user.refresh_from_db()
    assert (user.name, user.language) == ("Ana Ruiz", "es")
    assert dict(Customer.objects.values_list("pk", "language")) == {owned.pk: "es", shared.pk: "en"}
    refused: list[dict[str, str]] = [{"name": "x" * 121, "language": "es"}, {"name": "Ana", "language": "fr"}]
    for fields in refused:
        with pytest.raises(DomainError):
            payers.change_profile(user=user, actor=Actor.payer(user), **fields)
    with pytest.raises(payers.ProfileRefused):
        payers.change_profile(user=user, name="Eve", language="en", actor=Actor.payer(make_user()))
    user.refresh_from_db()
    assert (user.name, user.language) == ("Ana Ruiz", "es")


def test_an_address_is_lent_only_where_there_is_none_and_by_the_accounts_payer(biller: Biller) -> None:
    user, empty = make_user("ana@example.com"), make_customer(biller, email="")
    with pytest.raises(payers.NotTheirLink):
        payers.lend_email(customer=empty, user=user, actor=Actor.payer(user))
    empty.refresh_from_db()
    assert empty.email == ""
    make_link(user, empty)
    assert payers.lend_email(customer=empty, user=user, actor=Actor.payer(user)) is True
    empty.refresh_from_db()
    assert empty.email == "ana@example.com"
    assert payers.lend_email(customer=empty, user=make_user(), actor=Actor.payer(user)) is False
    empty.refresh_from_db()
    assert empty.email == "ana@example.com"
    assert empty.balance == Decimal("0.00")


def test_looking_as_a_payer_names_both(biller: Biller) -> None:
    payer, csr, customer = make_user(name="Ana Ruiz"), make_user(name="Casey Clark"), make_customer(biller)
    with pytest.raises(payers.NotTheirLink):
        payers.view_as(customer=customer, user=payer, actor=Actor.csr(csr))
    assert AuditEntry.objects.count() == 0
    make_link(payer, customer)
    payers.view_as(customer=customer, user=payer, actor=Actor.csr(csr, "192.0.2.9"))
    entry = AuditEntry.objects.get()
    assert (entry.event, entry.actor, entry.address) == ("customer.viewed_as", "Casey Clark", "192.0.2.9")
    assert entry.facts == {"payer": "Ana Ruiz", "email": payer.email}
