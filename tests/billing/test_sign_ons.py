"""Single sign-on with a biller's own portal: the ticket that opens, every ticket that does not, and the ways back."""

from __future__ import annotations

import datetime
import json
import re
import time
import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.totp.internal.auth import TOTP
from django import conf
from django.db import connection
from django.test import Client
from django.utils import timezone

from billing import advanced_settings, tenancy
from billing.actors import Actor
from billing.models import (
    AuditEntry,
    Biller,
    Customer,
    NoticeDelivery,
    NoticeState,
    RemoteRegistration,
    SignOnKey,
    UsedTicket,
    User,
)
from billing.operations import payers, sign_ons
from payments.operations import enrolments
from tests.api.machines import Machine
from tests.factories import make_biller, make_customer, make_link, make_membership, make_user
from tests.peers import run_peer
from tests.staff import client_of, make_staff

pytestmark = pytest.mark.django_db

DANA = Actor.system("tests")
PORTAL = "https://my.utility.example/sign-in"


@dataclass
class Town:
    """A biller with a portal of its own, and a payer whom it has registered."""

    biller: Biller
    key: SignOnKey
    secret: str
    user: User
    customer: Customer

    @property
    def path(self) -> str:
        return f"/sign-on/{self.biller.slug}/"

    def claims(self, **others: Any) -> dict[str, Any]:
        now = int(time.time())
        claims = {
            "iss": str(self.biller.guid), "aud": conf.settings.PUBLIC_URL, "sub": "PatP", "jti": str(uuid.uuid4()),
            "iat": now, "exp": now + 60, **others,
        }  # fmt: skip
        return {name: value for name, value in claims.items() if value is not None}

    def ticket(
        self, *, secret: str | None = None, kid: str | None = None, algorithm: str = "HS256", **others: Any
    ) -> str:
        key = self.secret if secret is None else secret
        return jwt.encode(self.claims(**others), key, algorithm=algorithm, headers={"kid": kid or self.key.name})


def make_town() -> Town:
    biller = make_biller()
    made = sign_ons.make_key(biller=biller, actor=DANA)
    advanced_settings.change(actor=DANA, biller=biller, number=3, given=PORTAL)
    user, customer = make_user(name="Pat Payer"), make_customer(biller, number="35909-001")
    make_link(user, customer)
    RemoteRegistration.objects.create(biller=biller, user=user, user_name="PatP")
    return Town(biller, made.key, made.secret, user, customer)


@pytest.fixture
def town() -> Town:
    return make_town()


def who(client: Client) -> str | None:
    """Say who is signed in."""
    return client.session.get("_auth_user_id")


# ---- Coming ----------------------------------------------------------------------------------------------------------


@pytest.mark.spec("MSP-30")
@pytest.mark.parametrize("way", ["address", "post"])
def test_ticket_signs_in_once_and_leads_on_without_it(town: Town, way: str) -> None:
    ticket, client = town.ticket(sub="patp"), Client(enforce_csrf_checks=True)
    assert client.head(town.path, {"ticket": ticket}).status_code == 200
    assert who(client) is None
    send = client.get if way == "address" else client.post
    answer = send(town.path, {"ticket": ticket})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/home/")
    assert answer.headers["Referrer-Policy"] == "strict-origin"
    assert "no-store" in answer.headers["Cache-Control"]
    assert who(client) == str(town.user.pk)
    assert client.get("/home/").status_code == 200
    entry = AuditEntry.objects.get(event="payer.arrived")
    assert (entry.user_id, entry.facts, entry.address) == (town.user.pk, {"user_name": "PatP"}, "127.0.0.1")
    # Nobody signs in with it again, not even the same browser.
    for again in (client, Client()):
        refused = again.get(town.path, {"ticket": ticket})
        assert refused.status_code == 403
        assert b"used already" in refused.content
    assert (UsedTicket.objects.count(), AuditEntry.objects.filter(event="payer.arrived").count()) == (1, 1)
    assert ticket not in str(list(UsedTicket.objects.values())) + str(list(AuditEntry.objects.values()))


@pytest.mark.spec("MSP-30")
def test_ticket_may_name_the_account_to_pay(town: Town) -> None:
    client = Client()
    answer = client.get(town.path, {"ticket": town.ticket(account="35909-001")})
    assert answer.headers["Location"] == f"/account/{town.customer.pk}/pay/"
    stranger = make_customer(town.biller)
    answer = client.get(town.path, {"ticket": town.ticket(account=stranger.number)})
    assert answer.headers["Location"] == "/home/"


WRONG: dict[str, tuple[dict[str, Any], bytes]] = {
    "another key": ({"secret": "y" * 64}, b"cannot be used"),
    "an unknown key": ({"kid": "sso-000000000000"}, b"cannot be used"),
    "another algorithm": ({"algorithm": "HS512"}, b"cannot be used"),
    "no algorithm": ({"algorithm": "none", "secret": ""}, b"cannot be used"),
    "another audience": ({"aud": "https://other.example"}, b"cannot be used"),
    "no audience": ({"aud": None}, b"cannot be used"),
    "another biller": ({"iss": str(uuid.uuid4())}, b"cannot be used"),
    "an unknown user": ({"sub": "nobody"}, b"cannot be used"),
    "no user": ({"sub": None}, b"cannot be used"),
    "no id": ({"jti": None}, b"cannot be used"),
    "a short id": ({"jti": "1"}, b"cannot be used"),
    "no end": ({"exp": None}, b"cannot be used"),
    "a long life": ({"exp": int(time.time()) + 3600}, b"cannot be used"),
    "an end that is none": ({"exp": 1e300}, b"cannot be used"),
    "a beginning to come": ({"iat": int(time.time()) + 3600, "exp": int(time.time()) + 3650}, b"cannot be used"),
    "an account that is none": ({"account": ["35909-001"]}, b"cannot be used"),
    "an old one": ({"iat": int(time.time()) - 90, "exp": int(time.time()) - 30}, b"too old"),
}


@pytest.mark.spec("MSP-30")
@pytest.mark.parametrize("wrong", WRONG)
def test_ticket_that_is_not_right_opens_nothing_and_changes_nothing(town: Town, wrong: str) -> None:
    given, words = WRONG[wrong]
    client, entries = Client(), AuditEntry.objects.count()
    answer = client.get(town.path, {"ticket": town.ticket(**given)})
    assert answer.status_code == 403
    assert words in answer.content
    assert PORTAL.encode() in answer.content
    assert who(client) is None
    assert (UsedTicket.objects.count(), AuditEntry.objects.count()) == (0, entries)


@pytest.mark.spec("MSP-30")
def test_ticket_of_one_biller_opens_nothing_at_another(town: Town) -> None:
    other = make_town()
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        RemoteRegistration.objects.filter(user=other.user).update(user_name="other")
    for path, ticket in (
        (other.path, town.ticket()),
        (other.path, town.ticket(iss=str(other.biller.guid))),
        (town.path, other.ticket(iss=str(town.biller.guid))),
        (town.path, ""),
        (town.path, "a.b.c"),
        (town.path, "é" * 3000),
        # Our own ticket to the biller's portal does not come back.
        (town.path, parse_qs(urlsplit(leave(town)).query)["ticket"][0]),
    ):
        client = Client()
        assert client.get(path, {"ticket": ticket}).status_code == 403
        assert who(client) is None
    assert UsedTicket.objects.count() == 0


@pytest.mark.spec("MSP-30")
@pytest.mark.parametrize("other", ["payer elsewhere", "staff", "administrator", "second factor", "shut out"])
def test_whoever_has_more_than_this_biller_signs_in_themselves(town: Town, other: str) -> None:
    match other:
        case "payer elsewhere":
            make_link(town.user, make_customer(make_biller()))
        case "staff":
            make_membership(town.user, town.biller, "read_only")
        case "administrator":
            User.objects.filter(pk=town.user.pk).update(is_superuser=True)
        case "second factor":
            TOTP.activate(town.user, "A" * 32)
        case _:
            User.objects.filter(pk=town.user.pk).update(is_active=False)
    client = Client()
    answer = client.get(town.path, {"ticket": town.ticket()})
    assert answer.status_code == 403
    assert (b"Sign in here yourself" in answer.content) == (other != "shut out")
    assert (who(client), UsedTicket.objects.count()) == (None, 0)


@pytest.mark.spec("MSP-30")
def test_keys_change_without_a_stop_and_lie_encrypted(town: Town) -> None:
    old = town.ticket()
    new = sign_ons.make_key(biller=town.biller, actor=DANA)
    with pytest.raises(sign_ons.TooManyKeys):
        sign_ons.make_key(biller=town.biller, actor=DANA)
    for ticket in (old, town.ticket(secret=new.secret, kid=new.key.name)):
        assert Client().get(town.path, {"ticket": ticket}).status_code == 302
    sign_ons.retire_key(key=town.key, actor=DANA)
    with pytest.raises(sign_ons.Retired):
        sign_ons.retire_key(key=town.key, actor=DANA)
    assert Client().get(town.path, {"ticket": town.ticket()}).status_code == 403
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(k::text, ' ') FROM billing_signonkey k")
        (kept,) = cursor.fetchone()
    assert town.secret not in kept
    assert new.secret not in kept
    assert SignOnKey.objects.get(pk=new.key.pk).secret == new.secret


def test_used_tickets_are_forgotten_once_they_are_long_over(town: Town) -> None:
    Client().get(town.path, {"ticket": town.ticket()})
    now = timezone.now()
    assert sign_ons.forget(now=now + datetime.timedelta(hours=23)) == 0
    assert sign_ons.forget(now=now + datetime.timedelta(hours=25)) == 1


# ---- Going there, and back -------------------------------------------------------------------------------------------


def leave(town: Town) -> str:
    return sign_ons.leave(biller=town.biller, user=town.user)


@pytest.mark.spec("MSP-30")
def test_another_library_verifies_our_ticket_and_signs_one_that_we_take(town: Town) -> None:
    client = Client()
    client.force_login(town.user, backend="allauth.account.auth_backends.AuthenticationBackend")
    assert f"/sign-on/{town.biller.slug}/leave/".encode() in client.get("/home/").content
    answer = client.get(f"{town.path}leave/")
    assert (answer.status_code, answer.headers["Referrer-Policy"]) == (302, "strict-origin")
    where = urlsplit(answer.headers["Location"])
    assert f"{where.scheme}://{where.netloc}{where.path}" == PORTAL
    verify = {
        "ticket": parse_qs(where.query)["ticket"][0], "key": town.secret,
        "issuer": conf.settings.PUBLIC_URL, "audience": str(town.biller.guid),
    }  # fmt: skip
    sign = {"claims": town.claims(), "key": town.secret, "kid": town.key.name}
    said = json.loads(run_peer("tickets.js", json.dumps({"verify": verify, "sign": sign})))
    assert (said["claims"]["sub"], said["claims"]["exp"] - said["claims"]["iat"]) == ("PatP", 60)
    assert (said["otherKey"], said["kid"]) == ("JsonWebTokenError", town.key.name)
    arrived = Client()
    assert arrived.get(town.path, {"ticket": said["signed"]}).status_code == 302
    assert who(arrived) == str(town.user.pk)


@pytest.mark.spec("MSP-30")
def test_nobody_goes_where_there_is_no_way(town: Town) -> None:
    client = Client()
    client.force_login(town.user, backend="allauth.account.auth_backends.AuthenticationBackend")
    advanced_settings.change(actor=DANA, biller=town.biller, number=3, given="")
    assert client.get(f"{town.path}leave/").status_code == 422
    assert b"leave/" not in client.get("/home/").content
    assert Client().get(f"{town.path}leave/").headers["Location"].startswith("/accounts/login/")


@pytest.mark.spec("MSP-30")
def test_signing_out_and_running_out_lead_back_to_the_billers_portal(town: Town) -> None:
    client = Client()
    client.get(town.path, {"ticket": town.ticket()})
    answer = client.post("/accounts/logout/")
    assert answer.headers["Location"] == f"{town.path}signed-out/"
    page = client.get(f"{town.path}signed-out/").content.decode()
    assert f'<meta http-equiv="refresh" content="0;url={PORTAL}">' in page
    assert f'href="{PORTAL}"' in page
    # A session that ran out.
    client.get(town.path, {"ticket": town.ticket()})
    session = client.session
    session["times"] = (
        {**session["times"], "seen": 0.0} if "times" in session else {"who": "payer", "begun": 0, "seen": 0}
    )
    session.save()
    assert client.get("/bills/").headers["Location"] == f"{town.path}signed-out/"
    # Whoever signed in here goes on to our own pages.
    own = Client()
    own.force_login(town.user, backend="allauth.account.auth_backends.AuthenticationBackend")
    assert own.post("/accounts/logout/").headers["Location"] == "/"


@pytest.mark.spec("MSP-30")
def test_old_session_does_not_keep_a_new_ticket_out(town: Town) -> None:
    client = Client()
    client.get(town.path, {"ticket": town.ticket()})
    session = client.session
    session["times"] = {"who": "payer", "begun": 0, "seen": 0}
    session.save()
    assert client.get(town.path, {"ticket": town.ticket()}).headers["Location"] == "/home/"
    assert client.get("/home/").status_code == 200


@pytest.mark.spec("MSP-30")
def test_sign_in_of_the_billers_pages_leads_to_its_own_portal(town: Town) -> None:
    page = Client().get(f"/with/{town.biller.slug}/").content.decode()
    assert len(re.findall(f'href="{PORTAL}"', page)) == 2
    assert "/accounts/login/" not in page
    advanced_settings.change(actor=DANA, biller=town.biller, number=3, given="")
    assert "/accounts/login/" in Client().get(f"/with/{town.biller.slug}/").content.decode()


# ---- Settings 6 and 32 -----------------------------------------------------------------------------------------------


@pytest.mark.spec("MSP-31")
def test_payers_of_a_biller_that_keeps_addresses_change_none_here(town: Town) -> None:
    client = Client()
    client.force_login(town.user, backend="allauth.account.auth_backends.AuthenticationBackend")
    before = town.user.email
    assert b"Change e-mail address" in client.get("/profile/").content
    assert client.get("/accounts/email/").status_code in {200, 302}
    advanced_settings.change(actor=DANA, biller=town.biller, number=6, given="1")
    page = client.get("/accounts/email/")
    assert page.status_code == 200
    assert PORTAL.encode() in page.content
    assert b"Change e-mail address" not in client.get("/profile/").content
    for action in ("action_add", "action_primary", "action_remove", "action_send"):
        answer = client.post("/accounts/email/", {action: "", "email": "new@home.example"})
        assert (answer.status_code, PORTAL.encode() in answer.content) == (403, True)
    empty = make_customer(town.biller, email="")
    make_link(town.user, empty)
    with pytest.raises(payers.EmailKept):
        payers.lend_email(customer=empty, user=town.user, actor=Actor.payer(town.user))
    answer = client.post(f"/account/{empty.pk}/paperless/", {"wanted": "on"}, follow=True)
    assert b"which tells us" in answer.content
    town.user.refresh_from_db()
    empty.refresh_from_db()
    assert (town.user.email, empty.email, empty.paperless) == (before, "", False)
    assert not EmailAddress.objects.exclude(email=before).exists()
    # The same person at a biller that does not keep it, and another biller's payer, go on as before.
    other = make_user()
    make_link(other, make_customer(make_biller()))
    someone = Client()
    someone.force_login(other, backend="allauth.account.auth_backends.AuthenticationBackend")
    assert b"Change e-mail address" in someone.get("/profile/").content


@pytest.mark.spec("MSP-25")
def test_blocks_are_changed_by_csrs_and_machines_unless_the_file_alone_says_them(town: Town) -> None:
    machine, sam = Machine(town.biller), make_staff(town.biller, "csr")
    client = client_of(sam)
    path, api = f"/biller/accounts/{town.customer.pk}/blocks/", f"customers/{town.customer.pk}/blocks/"

    def blocked() -> tuple[bool, bool]:
        town.customer.refresh_from_db()
        return town.customer.blocks_card, town.customer.blocks_bank

    assert client.post(path, {"card": "on"}).status_code == 302
    assert blocked() == (True, False)
    entry = AuditEntry.objects.get(event="customer.blocks_changed")
    assert (entry.user_id, entry.facts) == (sam.pk, {"changes": "cards blocked"})
    answer = machine.send("PUT", api, {"card": False, "bank": True})
    assert (answer.status_code, answer.json(), blocked()) == (200, {"card": False, "bank": True}, (False, True))

    advanced_settings.change(actor=DANA, biller=town.biller, number=32, given="1")
    page = client.get(path).content.decode()
    assert "read-only here" in page
    assert len(re.findall(r"<input[^>]*checkbox[^>]*disabled", page)) == 2
    assert ">Save<" not in page
    refused = client.post(path, {"card": "on"})
    assert refused.status_code == 422
    answer = machine.send("PUT", api, {"card": True, "bank": False})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "blocks_kept")
    assert (blocked(), AuditEntry.objects.filter(event="customer.blocks_changed").count()) == ((False, True), 2)
    assert machine.get(api).json() == {"card": False, "bank": True}


# ---- E-mail history --------------------------------------------------------------------------------------------------


@pytest.mark.spec("MSP-32")
def test_every_message_is_found_by_account_kind_state_and_day_as_it_was_sent(town: Town) -> None:
    machine, client = Machine(town.biller), client_of(make_staff(town.biller, "read_only"))
    other = make_customer(town.biller)
    for customer, enrolled in ((town.customer, True), (town.customer, False), (other, True)):
        enrolments.set_paperless(customer=customer, enrolled=enrolled, actor=DANA)
    on, off, others = NoticeDelivery.objects.order_by("pk")
    NoticeDelivery.objects.filter(pk=on.pk).update(
        state=NoticeState.SENT, subject="No more paper", text="As it went out."
    )

    def listed(**query: Any) -> list[int]:
        answer = machine.get("messages/", **query)
        assert answer.status_code == 200, answer.content
        return [one["id"] for one in answer.json()["results"]]

    account = {"account": town.customer.number}
    assert listed(**account) == [off.pk, on.pk]
    assert listed(**account, kind="paperless_on") == [on.pk]
    assert listed(**account, state="sent") == [on.pk]
    assert listed(**account, channel="text") == []
    assert listed(**account, created_to="2020-01-01T00:00:00Z") == []
    assert listed(created_from="2020-01-01T00:00:00Z", limit="2") == [others.pk, off.pk]
    shown = machine.get(f"messages/{on.pk}/").json()
    assert (shown["subject"], shown["text"], shown["address"]) == (
        "No more paper",
        "As it went out.",
        town.customer.email,
    )
    page = f"/biller/accounts/{town.customer.pk}/messages/"
    both, one = client.get(page).content.decode(), client.get(page, {"kind": "paperless_on"}).content.decode()
    links = [f"{page}{delivery.pk}/" for delivery in (on, off)]
    assert [link in both for link in links] == [True, True]
    assert [link in one for link in links] == [True, False]
    assert [link in client.get(page, {"state": "sent"}).content.decode() for link in links] == [True, False]
    message = client.get(links[0]).content.decode()
    assert "No more paper" in message
    assert "As it went out." in message
    assert Client().get(links[0]).status_code == 302
    assert Machine(make_biller()).get(f"messages/{on.pk}/").status_code == 404
