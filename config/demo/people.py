"""Those who sign in to the demonstration, with passwords and second factors that it may show.

Everybody has the same password. The second factor of the biller's own people is a real authenticator, whose secret
follows from this installation's own key; the demonstration's page shows the code of the moment in place of a telephone.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import time
from collections.abc import Iterable
from dataclasses import dataclass

from allauth.account.models import EmailAddress
from allauth.mfa import app_settings
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, hotp_value
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.db import transaction

from billing.models import Biller, Membership, Role, User

PASSWORD = "maple-falls-demo"  # noqa: S105  (shown to everybody who looks at the demonstration)


@dataclass(frozen=True, slots=True)
class Person:
    """One person of the cast; ``roles`` are (slug of the biller, role), none of an administrator or a payer.

    ``phone`` is their telephone at the simulated network, E.164.
    """

    email: str
    name: str
    part: str
    roles: tuple[tuple[str, str], ...] = ()
    administrator: bool = False
    language: str = "en"
    phone: str = ""

    @property
    def staff(self) -> bool:
        """Whether they need a second factor."""
        return self.administrator or bool(self.roles)


ADMINISTRATOR = Person("admin@demo.example", "Robin Admin", "Administrator of the installation", administrator=True)
MANAGER = Person(
    "manager@demo.example",
    "Dana Whitfield",
    "Biller administrator, Maple Falls",
    (("maple-falls", Role.ADMINISTRATOR),),
)
CSR = Person("csr@demo.example", "Sam Ortega", "CSR, both billers", (("maple-falls", Role.CSR), ("red-mesa", Role.CSR)))
CSR_NO_CARDS = Person(
    "phones@demo.example", "Kim Larsen", "CSR without card entry, Maple Falls", (("maple-falls", Role.CSR_NO_CARDS),)
)
READER = Person("auditor@demo.example", "Alex Moreau", "Read only, Maple Falls", (("maple-falls", Role.READ_ONLY),))
OTHER_MANAGER = Person(
    "mesa@demo.example", "Joy Begay", "Biller administrator, Red Mesa", (("red-mesa", Role.ADMINISTRATOR),)
)
# Payers have the names of their accounts, which the invoice files choose.
OWNER = Person("owner@demo.example", "", "Payer, owner of two accounts", phone="+18025550171")
CO_OWNER = Person("partner@demo.example", "Jo Partner", "Payer, co-owner of one of them", phone="+18025550172")
SPANISH = Person("clienta@demo.example", "", "Payer, in Spanish", language="es", phone="+18025550173")
PREPAID = Person("prepaid@demo.example", "", "Payer of a prepaid account", phone="+18025550174")
VISITOR = Person("visitor@demo.example", "", "Payer of Red Mesa, from its own portal", phone="+15055550171")

STAFF = (ADMINISTRATOR, MANAGER, CSR, CSR_NO_CARDS, READER, OTHER_MANAGER)
PAYERS = (OWNER, CO_OWNER, SPANISH, PREPAID, VISITOR)


@dataclass(frozen=True, slots=True)
class SignIn:
    """What somebody needs to sign in; ``code`` is the second factor of this moment, empty where none is asked for."""

    email: str
    name: str
    part: str
    password: str
    code: str


@transaction.atomic(durable=True)
def make_person(person: Person, *, name: str = "") -> User:
    """Make one of the cast, able to sign in, unless they are there; gives them."""
    user = User.objects.filter(email=person.email).first()
    if user is None:
        user = User.objects.create(
            email=person.email,
            password=_hashed(),
            name=name or person.name,
            language=person.language,
            is_staff=person.administrator,
            is_superuser=person.administrator,
        )
        EmailAddress.objects.create(user=user, email=person.email, verified=True, primary=True)
    for slug, role in person.roles:
        Membership.objects.get_or_create(user=user, biller=Biller.objects.get(slug=slug), defaults={"role": role})
    if person.staff and not Authenticator.objects.filter(user=user).exists():
        TOTP.activate(user, secret_of(person.email))
        RecoveryCodes.activate(user)
    return user


@functools.cache
def _hashed() -> str:
    """Hash the password that all have, which takes a while on purpose, once."""
    return make_password(PASSWORD)


def secret_of(email: str) -> str:
    """Give the secret of a person's authenticator, base 32."""
    digest = hmac.new(settings.SECRET_KEY.encode(), f"demo authenticator {email}".encode(), hashlib.sha256).digest()
    return base64.b32encode(digest[:20]).decode()


def code_of(email: str, now: float | None = None) -> str:
    """Give the code that a person's authenticator shows at this moment."""
    counter = int(time.time() if now is None else now) // app_settings.TOTP_PERIOD
    return str(format_hotp_value(hotp_value(secret_of(email), counter)))


def seconds_left(now: float | None = None) -> int:
    """Give the seconds until every code is another one."""
    return int(app_settings.TOTP_PERIOD - (time.time() if now is None else now) % app_settings.TOTP_PERIOD)


def phones() -> list[tuple[str, str]]:
    """Give number and holder of the telephone of each payer of the cast who is there."""
    names = dict(User.objects.filter(email__in=[one.email for one in PAYERS]).values_list("email", "name"))
    return [(one.phone, names[one.email]) for one in PAYERS if one.email in names]


def sign_ins(people: Iterable[Person] = (*STAFF, *PAYERS)) -> list[SignIn]:
    """Give what each of the cast who is there needs to sign in, in the cast's order."""
    names = dict(User.objects.filter(email__in=[one.email for one in people]).values_list("email", "name"))
    return [
        SignIn(one.email, names[one.email], one.part, PASSWORD, code_of(one.email) if one.staff else "")
        for one in people
        if one.email in names
    ]
