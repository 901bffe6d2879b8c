"""The biller portal's account pages, people and settings: who may, what a refusal leaves alone, how much is read."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest
from django.core import mail
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.db.models import F
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from billing import audit
from billing.actors import Actor
from billing.biller_portal.histories import happened
from billing.models import (
    AdjustmentSource,
    ApiToken,
    AuditEntry,
    Biller,
    Customer,
    Item,
    ItemKind,
    Membership,
    Notice,
    NoticeDelivery,
    PayerLink,
    Posting,
    PostingKind,
    Role,
    SavedView,
    User,
)
from billing.operations import adjustments, api_tokens, billers, notices, people
from billing.operations.adjustments import Given
from payments.models import Payment
from tests.factories import (
    make_autopay,
    make_biller,
    make_customer,
    make_instrument,
    make_invoice,
    make_link,
    make_membership,
    make_route,
    make_user,
)
from tests.staff import client_of, make_staff

pytestmark = pytest.mark.django_db
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)


@pytest.fixture
def biller() -> Biller:
    return make_biller()


@pytest.fixture
def dana(biller: Biller) -> User:
    return make_staff(biller, name="Dana Whitfield")


@pytest.fixture
def client(dana: User) -> Client:
    return client_of(dana)


@contextmanager
def nothing_changes(*models: Any) -> Iterator[None]:
    """Hold that no row of the models changes, and that nothing is written into the trail."""

    def rows() -> list[Any]:
        return [list(model.objects.order_by("pk").values()) for model in (*models, AuditEntry)]

    before = rows()
    yield
    assert rows() == before


def make_message(customer: Customer, state: str = "sent") -> NoticeDelivery:
    notice = Notice.objects.create(
        biller=customer.biller, customer=customer, kind="receipt", key=f"test:{Notice.objects.count()}"
    )
    return NoticeDelivery.objects.create(
        biller=customer.biller,
        customer=customer,
        notice=notice,
        address=customer.email,
        state=state,
        attempts=2,
        text="Paid.",
    )


def fill(customer: Customer, times: int) -> None:
    """Let so many things of each kind happen at an account."""
    route = make_route(customer.biller)
    for _ in range(times):
        make_invoice(customer)
        card = make_instrument(customer, route)
        Payment.objects.create(
            biller=customer.biller, customer=customer, route=route, instrument=card, tender="card", amount=5,
            currency="USD", state="failed", channel=3, requestor=4, made_by="AutoPay", failure="No.",
        )  # fmt: skip
        make_message(customer)
        payer = User.objects.create_user(f"payer{PayerLink.objects.count()}-{customer.pk}@example.com")
        make_link(payer, customer, "co_owner")
        make_customer(customer.biller, name="Customer of many")
        AuditEntry.objects.create(
            biller=customer.biller, customer=customer, event="paperless.enrolled", requestor=1, actor="x"
        )


LISTS = ["biller-payments", "biller-bills", "biller-runs", "biller-cases", "biller-unresolved", "biller-audit"]
TABS = ["", "-bills", "-payments", "-enrolments", "-methods", "-messages", "-history", "-users"]


@pytest.mark.parametrize("page", [*LISTS, *[f"biller-account{tab}" for tab in TABS], "biller-people", "biller-search"])
def test_a_page_asks_as_many_questions_for_much_as_for_little(client: Client, biller: Biller, page: str) -> None:
    customer = make_customer(biller, name="Customer of many")
    fill(customer, 2)
    url = reverse(page, args=[customer.pk] if page.startswith("biller-account") else [])
    if page == "biller-search":
        url += "?q=customer+of+many"
    client.get(url)  # what is remembered from then on
    with CaptureQueriesContext(
        connection,
    ) as little:
        assert client.get(url).status_code == 200
    fill(customer, 6)
    with CaptureQueriesContext(connection) as much:
        assert client.get(url).status_code == 200
    assert len(much) == len(little), [query["sql"][:120] for query in much]
    assert len(much) <= 20


def test_the_account_page_answers_in_few_questions(client: Client, biller: Biller) -> None:
    customer = make_customer(biller)
    fill(customer, 5)
    make_autopay(customer, customer.instruments.latest("pk"))
    url = reverse("biller-account", args=[customer.pk])
    client.get(url)
    with CaptureQueriesContext(connection) as asked:
        client.get(url)
    # Six to know who asks and for which biller; the account, enrolment, scheduled payment, bills, payments, adjustments, fees,
    # history, users and the system that could be asked for a balance once each.
    assert len(asked) <= 16, [query["sql"][:120] for query in asked]


def test_the_header_tells_credit_flags_and_what_is_due(client: Client, biller: Biller) -> None:
    customer = make_customer(biller, paperless=True, blocks_card=True, status="inactive")
    invoice = make_invoice(customer, "84.10")
    page = client.get(reverse("biller-account", args=[customer.pk]))
    assert [flag["label"] for flag in page.context["flags"]] == ["Inactive account", "Paperless", "Cards blocked"]
    assert page.context["due_on"] == invoice.due_on
    Customer.objects.filter(pk=customer.pk).update(balance="-12.40")
    assert "Credit of $12.40" in client.get(reverse("biller-account", args=[customer.pk])).content.decode()


def test_history_has_everything_once_and_pages_without_a_gap(client: Client, biller: Biller) -> None:
    customer = make_customer(biller)
    fill(customer, 20)
    every = happened(customer, before=None, limit=1000)
    assert len(every) == 80
    paged: list[Any] = []
    before = None
    while part := happened(customer, before=before, limit=7):
        paged += part
        before = part[-1]["at"]
    assert [(one["at"], one["text"]) for one in paged] == [(one["at"], one["text"]) for one in every]
    first = client.get(reverse("biller-account-history", args=[customer.pk]))
    assert len(first.context["entries"]) == 50
    second = client.get(reverse("biller-account-history", args=[customer.pk]), {"before": first.context["older"]})
    assert len(second.context["entries"]) == 30
    assert client.get(reverse("biller-account-history", args=[customer.pk]), {"before": "yesterday"}).status_code == 404


def test_an_autopay_payment_that_has_an_entry_of_its_own_stands_in_history_once(biller: Biller) -> None:
    customer = make_customer(biller)
    fill(customer, 1)
    payment = Payment.objects.get()
    AuditEntry.objects.create(
        biller=biller, customer=customer, event="payment.failed", requestor=4, actor="AutoPay", subject=str(payment.pk),
        facts={"amount": "5.00 USD", "reason": "No."},
    )  # fmt: skip
    texts = [one["text"] for one in happened(customer, before=None, limit=50)]
    assert [text for text in texts if "did not go through" in text] == ["A payment of $5.00 did not go through: No."]


# ---- Another biller's, and what a role may not


OBJECTS = {
    "biller-account": lambda c: [c.pk],
    "biller-account-history": lambda c: [c.pk],
    "biller-account-users": lambda c: [c.pk],
    "biller-account-methods": lambda c: [c.pk],
    "biller-account-pay": lambda c: [c.pk],
    "biller-account-message": lambda c: [c.pk, NoticeDelivery.objects.get(customer=c).pk],
    "biller-account-user-unlink": lambda c: [c.pk, PayerLink.objects.get(customer=c).pk],
    "biller-bill": lambda c: [c.invoices.get().pk],
    "biller-payment": lambda c: [c.payments.get().pk],
    "biller-payment-receipt": lambda c: [c.payments.get().pk],
    "biller-account-method-remove": lambda c: [c.pk, c.instruments.get().pk],
}


@pytest.mark.parametrize("page", OBJECTS)
def test_what_is_another_billers_is_not_found(client: Client, page: str) -> None:
    other = make_customer(make_biller())
    fill(other, 1)
    with nothing_changes(PayerLink, NoticeDelivery, Payment):
        for method in (client.get, client.post):
            assert method(reverse(page, args=OBJECTS[page](other))).status_code == 404


def test_an_object_of_the_same_biller_under_another_account_is_not_found(client: Client, biller: Biller) -> None:
    one, other = make_customer(biller), make_customer(biller)
    message, link = make_message(other), make_link(make_user(), other)
    assert client.get(reverse("biller-account-message", args=[one.pk, message.pk])).status_code == 404
    assert client.post(reverse("biller-account-message-resend", args=[one.pk, message.pk])).status_code == 404
    assert client.post(reverse("biller-account-user-unlink", args=[one.pk, link.pk])).status_code == 404
    assert PayerLink.objects.filter(pk=link.pk).exists()


SETTINGS = [
    "biller-settings", "biller-rules", "biller-charging", "biller-charging-stop", "biller-charging-allow",
    "biller-people",
    "biller-api-keys", "biller-audit",
]  # fmt: skip


@pytest.mark.spec("MSP-37")
def test_what_is_open_with_its_credits_is_the_balance(client: Client, biller: Biller) -> None:
    customer = make_customer(biller, number="35909-001")
    make_invoice(customer, "84.10", number="7001", due_on=timezone.now().date() + datetime.timedelta(days=2))
    lines = [
        Given(1, customer.number, Decimal("10.00"), "Meter test", "d1"),
        Given(2, customer.number, Decimal("-25.50"), "Outage in March", "c1"),
        Given(3, customer.number, Decimal("-100.00"), "Deposit given back", "c2"),
    ]
    adjustments.adjust(
        biller=biller, given=lines, source=AdjustmentSource.API, actor=Actor.system("test"), now=timezone.now()
    )
    # What was paid above what was owed.
    posting = Posting.objects.create(
        biller=biller, key="over", kind=PostingKind.RECEIPTS, effective_on=timezone.now().date()
    )
    payment = uuid.uuid4()
    Item.objects.create(
        biller=biller, customer=customer, posting=posting, kind=ItemKind.CREDIT, payment_id=payment,
        amount=Decimal("-3.00"), currency="USD",
    )  # fmt: skip
    Customer.objects.filter(pk=customer.pk).update(balance=F("balance") - 3)
    page = client.get(reverse("biller-account", args=[customer.pk]))
    customer.refresh_from_db()
    assert [one["item"].open for one in page.context["bills"]] == [
        Decimal("84.10"), Decimal("10.00"), Decimal("-25.50"), Decimal("-100.00"), Decimal("-3.00"),
    ]  # fmt: skip
    assert page.context["total_open"] == customer.balance == Decimal("-34.40")
    assert page.context["past_due"] == 0
    shown = page.content.decode()
    for words in ("Open bills and credits", "Meter test", "Outage in March", "Deposit given back", "Left of a payment"):
        assert words in shown
    assert reverse("biller-payment", args=[payment]) in shown
    # Without a credit it is a list of bills alone.
    other = make_customer(biller)
    make_invoice(other)
    assert "and credits" not in client.get(reverse("biller-account", args=[other.pk])).content.decode()


@pytest.mark.parametrize("role", [Role.CSR, Role.CSR_NO_CARDS, Role.READ_ONLY])
def test_settings_are_the_administrators(biller: Biller, role: str) -> None:
    client = client_of(make_staff(biller, role))
    with nothing_changes(Biller, Membership, ApiToken):
        for page in SETTINGS:
            assert client.get(reverse(page)).status_code == 403, page
            assert (
                client.post(reverse(page), {"name": "x", "reason": "x", "email": "x@example.com"}).status_code == 403
            ), page


def test_who_only_reads_changes_nothing_of_an_account(biller: Biller) -> None:
    client = client_of(make_staff(biller, Role.READ_ONLY))
    customer = make_customer(biller)
    fill(customer, 1)
    user = make_user("new@example.com")
    one = [customer.pk]
    with nothing_changes(PayerLink, NoticeDelivery, Customer, Payment):
        for page, args, given in (
            ("biller-account-users", one, {"email": user.email, "caller": "on"}),
            ("biller-account-user-unlink", OBJECTS["biller-account-user-unlink"](customer), {}),
            ("biller-account-message-resend", OBJECTS["biller-account-message"](customer), {}),
            ("biller-account-paperless", one, {"to": "on"}),
            ("biller-account-autopay", one, {}),
            ("biller-account-pay", one, {}),
            ("biller-account-method-add", one, {}),
            ("biller-run-new", [], {}),
            ("biller-run-new-deposit", [], {}),
            ("biller-run-new-release", [], {}),
        ):
            assert client.post(reverse(page, args=args), given).status_code == 403, page
    page = client.get(reverse("biller-account", args=one)).content.decode()
    assert "Take a payment" not in page and "Link a payer" not in page


def test_a_person_without_a_second_factor_sees_nothing(biller: Biller) -> None:
    user = make_user()
    make_membership(user, biller)
    assert client_of(user).get(reverse("biller-search")).status_code == 302
    assert client_of(make_user()).get(reverse("biller-search")).status_code == 404
    assert Client().get(reverse("biller-search"))["location"].startswith("/accounts/login/")


def test_a_person_of_two_billers_works_for_one_at_a_time(biller: Biller, dana: User, client: Client) -> None:
    other = make_biller()
    make_membership(dana, other, Role.READ_ONLY)
    here, there = make_customer(biller), make_customer(other)
    assert client.get(reverse("biller-account", args=[there.pk])).status_code == 404
    client.post(reverse("biller-choose"), {"biller": other.pk})
    assert client.get(reverse("biller-account", args=[there.pk])).status_code == 200
    assert client.get(reverse("biller-account", args=[here.pk])).status_code == 404
    assert client.get(reverse("biller-settings")).status_code == 403
    assert client.post(reverse("biller-choose"), {"biller": make_biller().pk}).status_code == 404


# ---- Messages and users


def test_a_message_is_sent_again_and_history_says_so(client: Client, biller: Biller) -> None:
    customer = make_customer(biller)
    sent = make_message(customer)
    client.post(reverse("biller-account-message-resend", args=[customer.pk, sent.pk]))
    sent.refresh_from_db()
    assert (sent.state, sent.attempts, sent.failure, sent.claimed_at) == ("waiting", 0, "", None)
    assert audit.sentence(AuditEntry.objects.get()) == "Sent a message again: Receipt"


def test_a_message_on_its_way_is_not_sent_again(biller: Biller) -> None:
    waiting = make_message(make_customer(biller), "sending")
    with nothing_changes(NoticeDelivery), pytest.raises(notices.NotSentYet):
        notices.send_again(delivery=waiting, actor=Actor.system("test"))


def test_a_registered_payer_is_linked_and_unlinked(client: Client, biller: Biller) -> None:
    customer, user = make_customer(biller), make_user("pat@example.com")
    page = reverse("biller-account-users", args=[customer.pk])
    client.post(page, {"email": "Pat@Example.com", "caller": "on"})
    link = PayerLink.objects.get()
    assert (link.user, link.customer, link.kind) == (user, customer, "owner")
    client.post(reverse("biller-account-user-unlink", args=[customer.pk, link.pk]))
    assert not PayerLink.objects.exists()
    assert list(AuditEntry.objects.order_by("pk").values_list("event", "actor", "address")) == [
        ("payer.linked", "Dana Whitfield", "127.0.0.1"), ("payer.unlinked", "Dana Whitfield", "127.0.0.1"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"email": "nobody@example.com", "caller": "on"}, "Nobody has registered with this address"),
        ({"email": "pat@example.com"}, "Say that you know who this is"),
        ({"email": "twice@example.com", "caller": "on"}, "already linked"),
    ],
)
def test_linking_is_refused_with_the_reason(client: Client, biller: Biller, given: dict[str, str], words: str) -> None:
    customer = make_customer(biller)
    make_user("pat@example.com")
    make_link(make_user("twice@example.com"), customer)
    with nothing_changes(PayerLink):
        page = client.post(reverse("biller-account-users", args=[customer.pk]), given)
    assert page.status_code == 422
    assert words in page.content.decode() and "<title>Error:" in page.content.decode()


# ---- People, keys, look, rules, the stop switch


def test_somebody_new_is_invited_with_a_link_that_sets_the_password(client: Client, biller: Biller) -> None:
    given = {"email": "Omar@Example.com", "name": "Omar Haddad", "role": "csr"}
    assert client.post(reverse("biller-people"), given).status_code == 302
    omar = User.objects.get(email="omar@example.com")
    assert omar.roles == {biller.pk: "csr"} and not omar.has_usable_password()
    (sent,) = mail.outbox
    assert sent.to == ["omar@example.com"] and biller.name in sent.subject
    link = next(line for line in sent.body.splitlines() if line.startswith("http"))
    visitor = Client()
    form = visitor.get(link.removeprefix("http://testserver"), follow=True)
    visitor.post(form.redirect_chain[-1][0], {"password1": "quiet brown harbour", "password2": "quiet brown harbour"})
    omar.refresh_from_db()
    assert omar.check_password("quiet brown harbour")
    assert audit.sentence(AuditEntry.objects.get()) == "Invited omar@example.com as CSR"


def test_somebody_with_a_role_is_not_invited_twice(client: Client, biller: Biller, dana: User) -> None:
    with nothing_changes(Membership, User):
        page = client.post(reverse("biller-people"), {"email": dana.email, "name": "Dana", "role": "read_only"})
    assert page.status_code == 422 and mail.outbox == []


def test_a_role_is_changed_and_taken_away(client: Client, biller: Biller) -> None:
    omar = make_staff(biller, Role.CSR)
    member = omar.memberships.get()
    client.post(reverse("biller-person-role", args=[member.pk]), {"role": "csr_no_cards"})
    member.refresh_from_db()
    assert member.role == "csr_no_cards"
    client.post(reverse("biller-person-remove", args=[member.pk]))
    assert not Membership.objects.filter(pk=member.pk).exists()
    assert client_of(omar).get(reverse("biller-search")).status_code == 404


def test_nobody_changes_their_own_role_and_an_administrator_stays(biller: Biller, dana: User) -> None:
    own = dana.memberships.get()
    with nothing_changes(Membership):
        for actor in (Actor.csr(dana), Actor.system("test")):
            with pytest.raises(people.RoleRefused):
                people.change_role(membership=own, role="csr", actor=actor)
            with pytest.raises(people.RoleRefused):
                people.remove(membership=own, actor=actor)
        with pytest.raises(people.RoleRefused):
            people.change_role(membership=own, role="king", actor=Actor.system("test"))


def test_a_key_is_shown_once_found_again_and_revoked(client: Client, biller: Biller) -> None:
    page = client.post(
        reverse("biller-api-keys"), {"name": "Website", "expires_on": "11/22/2099", "scopes": ["files", "read"]}
    )
    key = page.context["made"].key
    assert key in page.content.decode() and page["Cache-Control"] == "no-store"
    assert key not in client.get(reverse("biller-api-keys")).content.decode()
    token = ApiToken.objects.get()
    assert token.scopes == ["read", "files"]
    assert "read, files" in client.get(reverse("biller-api-keys")).content.decode()
    assert AuditEntry.objects.get(event="api_token.made").facts["scopes"] == "read, files"
    assert key not in str(ApiToken.objects.values().get()) and token.expires_at is not None
    found = api_tokens.find(key=key, now=timezone.now())
    assert found == token
    assert api_tokens.find(key=key + "x", now=timezone.now()) is None
    assert api_tokens.find(key="", now=timezone.now()) is None
    assert api_tokens.find(key=key, now=token.expires_at) is None
    client.post(reverse("biller-api-key-revoke", args=[token.pk]))
    assert api_tokens.find(key=key, now=timezone.now()) is None
    with nothing_changes(ApiToken), pytest.raises(api_tokens.Ended):
        api_tokens.revoke(token=token, actor=Actor.system("test"))


@pytest.mark.parametrize("given", [{"name": ""}, {"name": "Website"}, {"name": "New", "expires_on": "11/22/2001"}])
def test_a_key_that_cannot_be_is_refused(client: Client, biller: Biller, given: dict[str, str]) -> None:
    api_tokens.make(biller=biller, name="Website", actor=Actor.system("test"))
    with nothing_changes(ApiToken):
        assert client.post(reverse("biller-api-keys"), {**given, "scopes": ["read"]}).status_code == 422


@pytest.mark.parametrize("scopes", [[], ["everything"], ["read", "write"]])
def test_a_key_is_made_for_something_that_there_is(client: Client, biller: Biller, scopes: list[str]) -> None:
    with nothing_changes(ApiToken):
        assert client.post(reverse("biller-api-keys"), {"name": "New", "scopes": scopes}).status_code == 422
        with pytest.raises(api_tokens.BadScopes):
            api_tokens.make(biller=biller, name="New", scopes=scopes, actor=Actor.system("test"))


LOOK = {"name": "Maple Falls", "accent": "#112233", "phone": "(555) 555-0142", "email": "help@example.com"}


def test_the_look_is_changed_and_the_logo_is_served_as_a_picture(client: Client, biller: Biller) -> None:
    logo = SimpleUploadedFile("../../evil.svg", PNG, content_type="image/svg+xml")
    assert client.post(reverse("biller-settings"), {**LOOK, "logo": logo}).status_code == 302
    biller.refresh_from_db()
    assert (biller.name, biller.accent, biller.phone) == ("Maple Falls", "#112233", "+15555550142")
    assert biller.logo.name is not None
    assert biller.logo.name.startswith(f"logos/{biller.slug}-") and biller.logo.name.endswith(".png")
    served = client.get(reverse("biller-logo", args=[biller.slug]))
    assert served["Content-Type"] == "image/png" and served.getvalue() == PNG
    client.post(reverse("biller-settings"), {**LOOK, "remove_logo": "on"})
    biller.refresh_from_db()
    assert biller.logo.name == ""


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"accent": "red"}, "accent"),
        ({"name": ""}, "name"),
        ({"phone": "12"}, "phone"),
        ({"logo": SimpleUploadedFile("x.png", b"<svg onload='x'>")}, "logo"),
        ({"logo": SimpleUploadedFile("x.png", PNG + bytes(billers.LOGO_LARGEST))}, "logo"),
        ({"logo": SimpleUploadedFile("x.webp", b"RIFF0000WAVE")}, "logo"),
    ],
)
def test_a_look_that_cannot_be_is_refused(client: Client, biller: Biller, change: dict[str, Any], field: str) -> None:
    with nothing_changes(Biller):
        page = client.post(reverse("biller-settings"), {**LOOK, **change})
    assert page.status_code == 422 and field in page.context["form"].errors


RULES = {
    "guest_secret": "phone",
    "collect_rule": "before_due",
    "collect_days": "3",
    "minimum_collected": "5.00",
    "prepaid_least": "5.00",
    "prepaid_most": "1000.00",
    "prepaid_threshold": "20.00",
    "retry_days": "3, 5",
    "release_days": "20",
}


def test_the_rules_are_changed_and_the_trail_has_old_and_new(client: Client, biller: Biller) -> None:
    client.post(reverse("biller-rules"), RULES)
    biller.refresh_from_db()
    assert (biller.allow_partial_payments, biller.collect_days, str(biller.minimum_collected)) == (False, 3, "5.00")
    assert (biller.retry_days, biller.release_days) == ([3, 5], 20)
    entry = AuditEntry.objects.get()
    assert entry.facts["changes"]["minimum_collected"] == ["2.00", "5.00"]
    with nothing_changes(Biller):
        client.post(reverse("biller-rules"), RULES)


@pytest.mark.parametrize(
    "change",
    [
        {"retry_days": "5, 3"},
        {"retry_days": "0"},
        {"retry_days": "x"},
        {"minimum_collected": "0"},
        {"collect_days": "99"},
        {"collect_rule": "never"},
    ],
)
def test_rules_that_cannot_be_are_refused(client: Client, biller: Biller, change: dict[str, str]) -> None:
    with nothing_changes(Biller):
        assert client.post(reverse("biller-rules"), {**RULES, **change}).status_code == 422


def test_the_stop_switch_needs_a_reason_and_turns_once(client: Client, biller: Biller) -> None:
    with nothing_changes(Biller):
        assert client.post(reverse("biller-charging-stop"), {"reason": " "}).status_code == 422
    client.post(reverse("biller-charging-stop"), {"reason": "Wrong file"})
    biller.refresh_from_db()
    assert biller.charging_stopped
    with nothing_changes(Biller):
        assert client.post(reverse("biller-charging-stop"), {"reason": "Again"}).status_code == 422
    client.post(reverse("biller-charging-allow"))
    assert not Biller.objects.get(pk=biller.pk).charging_stopped
    assert [audit.sentence(one) for one in AuditEntry.objects.order_by("pk")] == [
        "Stopped all charging: Wrong file", "Allowed charging again",
    ]  # fmt: skip


def test_the_audit_is_filtered_and_taken_away_as_a_file(client: Client, biller: Biller) -> None:
    customer = make_customer(biller, number="77-1")
    fill(customer, 2)
    api_tokens.make(biller=biller, name="=HYPERLINK()", actor=Actor.system("beat"))
    AuditEntry.objects.create(biller=make_biller(), event="run.started", requestor=4, actor="other")
    page = reverse("biller-audit")
    assert client.get(page).context["listing"].total == 3
    assert client.get(page, {"q": "77-1"}).context["listing"].total == 2
    assert client.get(page, {"about": "api_token"}).context["listing"].total == 1
    assert client.get(page, {"door": "4"}).context["listing"].total == 1
    assert client.get(page, {"q": "bea"}).context["listing"].total == 1
    tomorrow = timezone.localdate() + datetime.timedelta(days=2)
    assert client.get(page, {"start": tomorrow.isoformat()}).context["listing"].total == 0
    text = client.get(page, {"format": "csv", "about": "api_token"}).getvalue().decode()
    assert text.splitlines()[0] == "\ufeffwhen,what,account,who,door,address,event,subject"
    assert "Made the API key =HYPERLINK()" in text and len(text.splitlines()) == 2


def test_bills_are_filtered_by_amount_due_date_and_number(client: Client, biller: Biller) -> None:
    customer = make_customer(biller, number="77-1")
    old = make_invoice(customer, "10.00", number="A-1", due_on=datetime.date(2026, 1, 5))
    new = make_invoice(customer, "90.00", number="A-2", due_on=datetime.date(2026, 11, 30))
    Item.objects.filter(invoice=old).update(allocated="4.00")
    make_invoice(make_customer(make_biller(), number="77-1"), number="A-1")

    def found(**given: str) -> list[str]:
        return [row.number for row in client.get(reverse("biller-bills"), given).context["listing"].rows]

    assert found() == ["A-2", "A-1"]
    assert found(q="A-1") == ["A-1"] and found(q="77-1") == ["A-2", "A-1"] and found(q="A-9") == []
    assert found(least="50") == ["A-2"] and found(most="50") == ["A-1"]
    assert found(due_from="2026-11-01") == ["A-2"] and found(due_to="2026-01-31") == ["A-1"]
    text = client.get(reverse("biller-bills"), {"format": "csv", "q": "A-1"}).getvalue().decode()
    assert text.splitlines() == [
        "\ufeffbill,account,name,issued,due,status,amount,open,currency",
        f'A-1,77-1,{customer.name},2026-11-02,2026-01-05,"Past due since Jan 5, 2026",10.00,6.00,USD',
    ]
    assert "$6.00" in client.get(reverse("biller-bill", args=[old.pk])).content.decode()
    assert new.pk != old.pk


@pytest.mark.parametrize("tab", ["-bills", "-payments", "-messages", "-datapump"])
def test_a_view_is_not_saved_for_an_account_that_is_another_billers(client: Client, tab: str) -> None:
    other = make_customer(make_biller())
    with nothing_changes(SavedView):
        answer = client.post(reverse(f"biller-account{tab}", args=[other.pk]) + "?state=failed", {"save": "Mine"})
    assert answer.status_code == 404
