"""Remote registration: the user stories of the partner's design, call by call, and whom a biller may not speak for."""

from __future__ import annotations

from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.test import Client

from billing.models import (
    AuditEntry,
    Biller,
    Customer,
    IdempotencyKey,
    Notice,
    NoticeDelivery,
    PayerLink,
    RemoteRegistration,
    User,
)
from billing.operations.notice_deliveries import written
from datapump.models import Record, RecordType
from tests.api.machines import Machine
from tests.factories import make_biller, make_customer, make_endpoint, make_link, make_membership, make_user

pytestmark = pytest.mark.django_db

PASSWORD = "a long way to say hello"  # nobody's


@pytest.fixture
def biller() -> Biller:
    biller = make_biller()
    make_endpoint(biller, "paperless")
    return biller


@pytest.fixture
def cis(biller: Biller) -> Machine:
    return Machine(biller)


def account(biller: Biller, base: str, email: str = "", **fields: Any) -> Customer:
    return make_customer(biller, number=f"{base}-001", base=base, sub="001", email=email, **fields)


def call(cis: Machine, operation: str, **body: Any) -> tuple[int, Any]:
    answer = cis.send("POST", f"remote-registration/{operation}/", body)
    return answer.status_code, answer.json()


def refs(*bases: str) -> list[dict[str, str]]:
    return [{"account": base, "sub": "001"} for base in bases]


def register(cis: Machine, user_name: str, email: str, *bases: str) -> tuple[int, Any]:
    return call(cis, "RegisterAccountsForUser", user_name=user_name, email=email, accounts=refs(*bases))


def links() -> list[tuple[str, str, str]]:
    return list(
        PayerLink.objects.order_by("customer__number", "pk").values_list("customer__number", "user__email", "kind")
    )


def state() -> list[Any]:
    """Everything that a refused call must leave as it was."""
    return [
        links(),
        list(User.objects.order_by("pk").values_list("email", "password")),
        list(EmailAddress.objects.order_by("pk").values_list("email", "user_id")),
        list(RemoteRegistration.objects.order_by("pk").values_list("user_name", "user_id")),
        list(Customer.objects.order_by("pk").values_list("number", "email", "paperless")),
        list(AuditEntry.objects.exclude(event="api_token.made").order_by("pk").values_list("event", "facts")),
        [Record.objects.count(), Notice.objects.count(), IdempotencyKey.objects.count()],
    ]


# ---- The stories -----------------------------------------------------------------------------------------------------


@pytest.mark.spec("MSP-28")
@pytest.mark.parametrize(
    ("on_file", "kind", "then"),
    [("", "owner", "pat@new.example"), ("Pat@New.example", "owner", "Pat@New.example"),
     ("file@old.example", "co_owner", "file@old.example")],
    ids=["no address on file", "the same address", "another address"],
)  # fmt: skip
def test_user_who_registers_is_the_owner_where_the_address_on_file_is_theirs(
    biller: Biller, cis: Machine, on_file: str, kind: str, then: str
) -> None:
    customer = account(biller, "35909", on_file)
    status, body = register(cis, "PatP", "Pat@New.example", "35909")
    assert (status, body) == (
        200,
        {"user_name": "PatP", "email": "pat@new.example",
         "accounts": [{"account": "35909-001", "kind": kind, "new": True}]},
    )  # fmt: skip
    customer.refresh_from_db()
    assert (customer.email, links()) == (then, [("35909-001", "pat@new.example", kind)])
    user = User.objects.get()
    assert not user.has_usable_password()
    assert list(EmailAddress.objects.values_list("email", "primary", "verified")) == [("pat@new.example", True, False)]
    entry = AuditEntry.objects.get(event="payer.registered")
    assert (entry.actor, entry.facts) == ("CIS", {"user_name": "PatP", "email": "pat@new.example"})
    # The same call again, in another case, changes nothing.
    before = state()
    again = register(cis, "patp", "PAT@new.example", "35909")
    assert again[1]["accounts"] == [{"account": "35909-001", "kind": kind, "new": False}]
    assert (again[0], again[1]["user_name"], state()) == (200, "PatP", before)


@pytest.mark.spec("MSP-28")
def test_every_further_user_of_an_account_is_a_co_owner(biller: Biller, cis: Machine) -> None:
    account(biller, "35909", "alma@home.example")
    register(cis, "alma", "alma@home.example", "35909")
    register(cis, "ben", "ben@home.example", "35909")
    register(cis, "cleo", "cleo@home.example", "35909")
    assert links() == [
        ("35909-001", "alma@home.example", "owner"),
        ("35909-001", "ben@home.example", "co_owner"),
        ("35909-001", "cleo@home.example", "co_owner"),
    ]


@pytest.mark.spec("MSP-28")
def test_further_accounts_are_linked_to_a_registered_user(biller: Biller, cis: Machine) -> None:
    account(biller, "35909", "alma@home.example")
    account(biller, "41200")
    account(biller, "41201", "other@home.example")
    register(cis, "alma", "alma@home.example", "35909")
    status, body = call(cis, "LinkAccounts", user_name="Alma", accounts=refs("35909", "41200", "41201"))
    assert (status, [tuple(one.values()) for one in body["accounts"]]) == (
        200, [("35909-001", "owner", False), ("41200-001", "owner", True), ("41201-001", "co_owner", True)],
    )  # fmt: skip
    found = cis.get("remote-registration/RetrieveUserAccounts/", user_name="ALMA", limit=2).json()
    rest = cis.get("remote-registration/RetrieveUserAccounts/", user_name="ALMA", cursor=found["next"]).json()
    rows = found["results"] + rest["results"]
    assert [(one["user_name"], one["email"], one["account"], one["kind"]) for one in rows] == [
        ("alma", "alma@home.example", "35909-001", "owner"),
        ("alma", "alma@home.example", "41200-001", "owner"),
        ("alma", "alma@home.example", "41201-001", "co_owner"),
    ]
    assert call(cis, "LinkAccounts", user_name="nobody", accounts=refs("41200"))[1]["error"]["code"] == "unknown_user"


@pytest.mark.spec("MSP-28")
def test_csr_changes_the_address_of_an_account_that_nobody_has_registered(biller: Biller, cis: Machine) -> None:
    """The seed's second story: it stands for the owner, and a co-owner who has it becomes the owner."""
    customer = account(biller, "35909", "old@home.example")
    assert cis.get("remote-registration/RetrieveUserAccounts/", account="35909-001").json()["results"] == []
    update = {"accounts": refs("35909"), "email": "New@home.example"}
    assert call(cis, "UpdateEmailAddress", **update) == (200, {"email": "new@home.example"})
    customer.refresh_from_db()
    assert (customer.email, User.objects.count()) == ("new@home.example", 0)
    register(cis, "ben", "ben@home.example", "35909")
    assert links() == [("35909-001", "ben@home.example", "co_owner")]
    call(cis, "UpdateEmailAddress", accounts=refs("35909"), email="ben@home.example")
    assert links() == [("35909-001", "ben@home.example", "owner")]
    # From now on the user is named, and not the account.
    before = state()
    status, body = call(cis, "UpdateEmailAddress", **update)
    assert (status, body["error"]["code"], body["error"]["field"]) == (422, "owner_registered", "accounts.0")
    assert state() == before


@pytest.mark.spec("MSP-28")
def test_new_address_of_a_user_goes_to_the_accounts_they_own(biller: Biller, cis: Machine) -> None:
    own, other = account(biller, "35909", "alma@home.example"), account(biller, "41200", "boss@work.example")
    register(cis, "alma", "alma@home.example", "35909", "41200")
    assert call(cis, "UpdateEmailAddress", user_name="alma", email="a@new.example") == (200, {"email": "a@new.example"})
    for one in (own, other):
        one.refresh_from_db()
    assert (own.email, other.email) == ("a@new.example", "boss@work.example")
    assert list(EmailAddress.objects.values_list("email", "primary", "verified")) == [("a@new.example", True, False)]
    told = [(one.address, written(one).text) for one in NoticeDelivery.objects.filter(notice__kind="email_changed")]
    for (address, text), words in zip(
        sorted(told, reverse=True),
        (
            "you sign in with another e-mail address. This one opens",
            "you sign in with this e-mail address. The one before",
        ),
        strict=True,
    ):
        assert words in text
        assert "@new.example" not in text
        assert address in {"alma@home.example", "a@new.example"}
    # Who takes the address that stands for the owner of the other account is its owner.
    call(cis, "UpdateEmailAddress", user_name="alma", email="boss@work.example")
    assert {(number, kind) for number, _email, kind in links()} == {("35909-001", "owner"), ("41200-001", "owner")}


@pytest.mark.spec("MSP-28")
def test_password_opens_the_portal_and_signs_everybody_else_out(biller: Biller, cis: Machine) -> None:
    account(biller, "35909")
    register(cis, "alma", "alma@home.example", "35909")
    EmailAddress.objects.update(verified=True)
    signed_in = Client()
    signed_in.force_login(User.objects.get(), backend="allauth.account.auth_backends.AuthenticationBackend")
    assert signed_in.get("/home/").status_code == 200
    assert call(cis, "UpdatePassword", user_name="alma", password=PASSWORD) == (200, {"done": True})
    assert signed_in.get("/home/").status_code == 302
    user = User.objects.get()
    assert user.check_password(PASSWORD)
    assert user.password.startswith("scrypt$")
    answer = Client().post("/accounts/login/", {"login": "alma@home.example", "password": PASSWORD})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")
    assert PASSWORD not in str(state())


@pytest.mark.parametrize(
    ("kind", "subject"), [("owner", "ha cambiado su contraseña"), ("co_owner", "changed your password")]
)
def test_payer_is_told_of_a_changed_password_in_their_language(
    biller: Biller, cis: Machine, kind: str, subject: str
) -> None:
    # The account of whoever owns it says their language; a co-owner's is their own.
    customer = account(biller, "35909", "" if kind == "owner" else "file@old.example", language="es", name="Alma Ruiz")
    register(cis, "alma", "alma@home.example", "35909")
    call(cis, "UpdatePassword", user_name="alma", password=PASSWORD)
    [delivery] = NoticeDelivery.objects.filter(notice__kind="password_changed")
    message = written(delivery)
    assert (delivery.customer, delivery.address) == (customer, "alma@home.example")
    assert subject in message.subject
    assert "Alma Ruiz" in message.text
    assert PASSWORD not in message.text + str(delivery.notice.facts)
    # What is refused is not told.
    assert call(cis, "UpdatePassword", user_name="alma", password="short")[0] == 422
    assert NoticeDelivery.objects.filter(notice__kind="password_changed").count() == 1


@pytest.mark.spec("MSP-28")
@pytest.mark.parametrize(
    ("password", "words"),
    [("short", "at least 12 characters"), ("password1234", "too common"), ("alma@home.example", "too similar")],
)
def test_weak_password_is_refused(biller: Biller, cis: Machine, password: str, words: str) -> None:
    account(biller, "35909")
    register(cis, "alma", "alma@home.example", "35909")
    before = state()
    status, body = call(cis, "UpdatePassword", user_name="alma", password=password)
    assert (status, body["error"]["code"], body["error"]["field"]) == (422, "password_refused", "password")
    assert words in body["error"]["message"]
    assert state() == before


@pytest.mark.spec("MSP-28")
def test_paperless_of_several_accounts_is_told_once_for_each(biller: Biller, cis: Machine) -> None:
    account(biller, "35909", "alma@home.example")
    account(biller, "41200", "alma@home.example", paperless=True)
    status, body = call(cis, "UpdatePaperless", accounts=refs("35909", "41200"), enrolled=True)
    assert (status, [tuple(one.values()) for one in body["accounts"]]) == (
        200, [("35909-001", True, True), ("41200-001", True, False)],
    )  # fmt: skip
    assert [(one.type, one.customer.number) for one in Record.objects.all()] == [(RecordType.PAPERLESS, "35909-001")]
    account(biller, "50000")
    before = state()
    status, body = call(cis, "UpdatePaperless", accounts=refs("35909", "50000"), enrolled=False)
    assert status == 200
    status, body = call(cis, "UpdatePaperless", accounts=refs("35909", "50000"), enrolled=True)
    assert (status, body["error"]["code"], body["error"]["field"]) == (422, "paperless_refused", "accounts.1")
    assert before != state()
    assert not Customer.objects.get(number="35909-001").paperless


# ---- Refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.spec("MSP-28")
def test_accounts_of_one_call_are_taken_all_or_none_and_each_fault_is_named(biller: Biller, cis: Machine) -> None:
    account(biller, "35909")
    account(make_biller(), "77777")
    before = state()
    calls: list[tuple[str, dict[str, Any]]] = [
        ("RegisterAccountsForUser", {"user_name": "alma", "email": "alma@home.example"}),
        ("UpdatePaperless", {"enrolled": True}),
        ("UpdateEmailAddress", {"email": "alma@home.example"}),
    ]
    for operation, body in calls:
        status, answer = call(cis, operation, **body, accounts=refs("35909", "77777", "35909", "99999"))
        unknown = "This biller has no account of this number."
        assert (status, answer["error"]["faults"]) == (
            422,
            [
                {"code": "unknown", "message": unknown, "field": "accounts.1"},
                {"code": "twice", "message": "This account stands here twice.", "field": "accounts.2"},
                {"code": "unknown", "message": unknown, "field": "accounts.3"},
            ],
        )
    assert state() == before


@pytest.mark.spec("MSP-28")
def test_names_and_addresses_that_belong_to_others_are_refused(biller: Biller, cis: Machine) -> None:
    account(biller, "35909")
    register(cis, "alma", "alma@home.example", "35909")
    register(cis, "ben", "ben@home.example", "35909")
    gone = make_user(email="gone@home.example", is_active=False)
    before = state()
    for expected, (status, body) in {
        (409, "user_name_taken"): register(cis, "alma", "other@home.example", "35909"),
        (422, "email_refused"): register(cis, "alma2", "alma@home.example", "35909"),
        (422, "email_refused", 1): register(cis, "gone", gone.email, "35909"),
        (422, "email_refused", 2): call(cis, "UpdateEmailAddress", user_name="ben", email="Alma@home.example"),
        (422, "one_of_two"): call(cis, "UpdateEmailAddress", email="x@home.example"),
        (422, "unknown_user"): call(cis, "UpdatePassword", user_name="zoe", password=PASSWORD),
    }.items():
        assert (status, body["error"]["code"]) == expected[:2]
    assert state() == before


@pytest.mark.spec("MSP-28")
@pytest.mark.parametrize("who", ["payer elsewhere", "registered elsewhere", "staff", "administrator"])
def test_biller_does_not_change_how_somebody_signs_in_who_has_to_do_with_others(
    biller: Biller, cis: Machine, who: str
) -> None:
    """Else the key of one biller would open accounts at another one, or a biller portal."""
    account(biller, "35909")
    user = make_user(email="shared@home.example", is_superuser=who == "administrator")
    other = make_biller()
    match who:
        case "payer elsewhere":
            make_link(user, make_customer(other))
        case "registered elsewhere":
            register(Machine(other), "her-name-there", user.email, make_customer(other, sub="001").base)
        case "staff":
            make_membership(user, biller, "read_only")
    assert register(cis, "shared", user.email, "35909")[0] == 200
    before = state()
    for operation, body in (
        ("UpdatePassword", {"password": PASSWORD}),
        ("UpdateEmailAddress", {"email": "mine@now.example"}),
    ):
        status, answer = call(cis, operation, user_name="shared", **body)
        assert (status, answer["error"]["code"]) == (422, "not_only_yours")
    assert state() == before


@pytest.mark.spec("MSP-28")
def test_users_of_another_biller_are_unknown(biller: Biller, cis: Machine) -> None:
    account(biller, "35909")
    register(cis, "alma", "alma@home.example", "35909")
    foreign = Machine(make_biller())
    before = state()
    for operation, body in (
        ("LinkAccounts", {"accounts": refs("35909")}),
        ("UpdateEmailAddress", {"email": "x@home.example"}),
        ("UpdatePassword", {"password": PASSWORD}),
    ):
        status, answer = call(foreign, operation, user_name="alma", **body)
        assert (status, answer["error"]["code"]) == (422, "unknown_user")
    for query in ({"user_name": "alma"}, {"email": "alma@home.example"}, {"account": "35909-001"}):
        found = foreign.get("remote-registration/RetrieveUserAccounts/", **query)
        assert (found.status_code, found.json()) == (200, {"results": [], "next": None})
    assert foreign.get("remote-registration/RetrieveUserAccounts/").status_code == 422
    assert state() == before
