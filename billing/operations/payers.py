"""Payers: who may see and pay which accounts, and what a guest must know to do it once.

Source: MSP-28 (owner and co-owners); the design's evidence 2.1 and 2.2.
"""

from __future__ import annotations

import datetime
import re
from decimal import Decimal

from django.db import transaction
from django.db.models import OuterRef, Q, Subquery
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing import audit, throttles
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import Biller, Customer, GuestSecret, Invoice, LinkKind, PayerLink, User
from billing.money import BadAmount, parse
from billing.portal_settings import keeps_email
from billing.throttles import Limit

# Somebody at home mistypes twice; somebody who tries ZIP codes needs thousands of tries.
TRIES_AT_ACCOUNT = Limit("account", 8, datetime.timedelta(minutes=30))
TRIES_FROM_ADDRESS = Limit("account-from", 40, datetime.timedelta(minutes=30))
_NOBODYS = "00000"


class AccountNotFound(DomainError):
    """No account has this number and this secret; which of the two is wrong is never said."""

    default = gettext_lazy("We found no account with these details. Compare both with your latest bill.")  # type: ignore[assignment]  # lazy


class AlreadyLinked(DomainError):
    """The payer has the account already."""

    default = gettext_lazy("This account is already linked to you.")  # type: ignore[assignment]  # lazy


class NotTheirLink(DomainError):
    """The link is gone or somebody else's."""

    default = gettext_lazy("This account is not linked to you any more.")  # type: ignore[assignment]  # lazy


class EmailKept(DomainError):
    """The biller's own portal alone changes the e-mail address (MSP-31)."""

    def __init__(self, biller: Biller) -> None:
        super().__init__(_("Change your e-mail address with %(name)s, which tells us.") % {"name": biller.name})


class ProfileRefused(DomainError):
    """The profile cannot be kept like this."""


def find_account(
    *, biller: Biller, number: str, secret: str, actor: Actor, now: datetime.datetime | None = None
) -> Customer:
    """Give the account of a biller that has this number, to somebody who knows its secret (``biller.guest_secret``).

    ``number`` is the account number as people or the invoice file write it. Every try is counted, for the account
    number and for where it came from, and an unknown account answers like a wrong secret and takes as long.

    :raises AccountNotFound: no such account, or another secret.
    :raises throttles.TooManyTries: too many tries, good or bad.
    """
    now = now or timezone.now()
    number = "".join(number.split())[:40]
    throttles.count(
        tries=[(TRIES_AT_ACCOUNT, f"{biller.pk}:{number.upper()}"), (TRIES_FROM_ADDRESS, actor.address or "")], now=now
    )
    latest = Invoice.objects.filter(customer=OuterRef("pk"), withdrawn=False).order_by("-issued_on", "-pk")
    candidates: list[Customer | None] = list(
        Customer.objects.filter(Q(number=number) | Q(display_number=number), biller=biller)
        .select_related("biller")
        .annotate(latest_amount=Subquery(latest.values("amount")[:1]))
        .order_by("pk")[:5]
    )
    given = _normal(biller, secret)
    found = None
    for customer in candidates or [None]:
        known = "" if customer is None else _secret_of(customer, biller)
        # Compared in any case, so that an unknown account takes as long; nothing on file is nobody's secret.
        if constant_time_compare(given, known or _NOBODYS) and known and found is None:
            found = customer
    if found is None:
        raise AccountNotFound
    return found


def _secret_of(customer: Customer, biller: Biller) -> str:
    """Give what a payer of the account must know; empty where it is not on file."""
    match biller.guest_secret:
        case GuestSecret.ZIP:
            return _zip(customer.zip)
        case GuestSecret.PHONE:
            digits = re.sub(r"\D", "", customer.phone)
            return digits[-4:] if len(digits) >= 7 else ""
        case _:
            amount: Decimal | None = getattr(customer, "latest_amount", None)
            return "" if amount is None else str(amount)


def _normal(biller: Biller, secret: str) -> str:
    """Write what was typed the way the known secret is written."""
    match biller.guest_secret:
        case GuestSecret.ZIP:
            return _zip(secret)
        case GuestSecret.PHONE:
            return re.sub(r"\D", "", secret)[-4:]
        case _:
            try:
                return str(parse(secret, biller.currency))
            except BadAmount:
                return ""


def _zip(text: str) -> str:
    """Give the part of a postal code that people know: five digits in the United States, all of it in Canada."""
    bare = re.sub(r"[\s-]", "", text).upper()
    return bare[:5] if bare.isdigit() else bare


@transaction.atomic(durable=True)
def link(*, user: User, customer: Customer, actor: Actor) -> PayerLink:
    """Link a payer to an account: its first payer is the owner, every further one a co-owner.

    Whoever calls has made sure that the payer may: by the account's secret, or as the biller's own person.

    :raises AlreadyLinked: the payer has it.
    """
    # The customer's row keeps two first payers from both becoming the owner.
    customer = Customer.objects.select_for_update(no_key=True).get(pk=customer.pk)
    if PayerLink.objects.filter(user=user, customer=customer).exists():
        raise AlreadyLinked
    owned = PayerLink.objects.filter(customer=customer, kind=LinkKind.OWNER).exists()
    return join(user=user, customer=customer, kind=LinkKind.CO_OWNER if owned else LinkKind.OWNER, actor=actor)


def join(*, user: User, customer: Customer, kind: LinkKind, actor: Actor) -> PayerLink:
    """Write a payer's link to an account whose row the caller holds, inside the caller's transaction."""
    made = PayerLink.objects.create(user=user, biller_id=customer.biller_id, customer=customer, kind=kind)
    audit.record(
        actor=actor,
        event="payer.linked",
        biller_id=customer.biller_id,
        customer_id=customer.pk,
        subject=f"user:{user.pk}",
        facts={"email": user.email, "kind": made.kind},
    )
    return made


def make_owner(*, customer: Customer, actor: Actor) -> None:
    """Let the co-owner whose e-mail address is the account's own be its owner, where it has none (MSP-28).

    The address on file stands for the owner until somebody registers with it. The caller holds the account's row.
    """
    links = PayerLink.objects.filter(customer=customer)
    if not customer.email or links.filter(kind=LinkKind.OWNER).exists():
        return
    link = links.filter(user__email__iexact=customer.email).select_related("user").first()
    if link is None:
        return
    link.kind = LinkKind.OWNER
    link.save(update_fields=["kind"])
    audit.record(
        actor=actor,
        event="payer.made_owner",
        biller_id=customer.biller_id,
        customer_id=customer.pk,
        subject=f"user:{link.user_id}",
        facts={"email": link.user.email},
    )


def change_email(*, customer: Customer, email: str, actor: Actor) -> None:
    """Keep an account's e-mail address; the caller holds its row and has checked the address."""
    customer.email = email
    customer.save(update_fields=["email"])
    audit.record(
        actor=actor,
        event="customer.email_changed",
        biller_id=customer.biller_id,
        customer_id=customer.pk,
        subject=f"customer:{customer.pk}",
        facts={"email": email},
    )


@transaction.atomic(durable=True)
def unlink(*, link: PayerLink, actor: Actor) -> None:
    """Take an account off a payer; where the owner goes, the co-owner of longest standing becomes the owner.

    :raises NotTheirLink: it is gone.
    """
    Customer.objects.select_for_update(no_key=True).get(pk=link.customer_id)
    held = PayerLink.objects.select_related("user").filter(pk=link.pk).first()
    if held is None:
        raise NotTheirLink
    held.delete()
    next_owner = PayerLink.objects.filter(customer_id=held.customer_id).order_by("created_at", "pk").first()
    if held.kind == LinkKind.OWNER and next_owner is not None:
        next_owner.kind = LinkKind.OWNER
        next_owner.save(update_fields=["kind"])
    audit.record(
        actor=actor,
        event="payer.unlinked",
        biller_id=held.biller_id,
        customer_id=held.customer_id,
        subject=f"user:{held.user_id}",
        facts={"email": held.user.email, "kind": held.kind},
    )


@transaction.atomic(durable=True)
def change_profile(*, user: User, name: str, language: str, actor: Actor) -> None:
    """Keep a payer's name and language; notices of the accounts they own are written in that language from now on.

    :raises ProfileRefused: the name is too long, or the language is none of ours.
    """
    name = " ".join(name.split())
    if len(name) > 120:
        raise ProfileRefused(_("Enter a name of at most 120 characters."), field="name")
    if language not in dict(User._meta.get_field("language").flatchoices):
        raise ProfileRefused(_("Choose one of the languages."), field="language")
    if actor.user_id != user.pk:
        raise ProfileRefused(_("A profile is changed by the person whose it is."))
    user.name, user.language = name, language
    user.save(update_fields=["name", "language"])
    owned = PayerLink.objects.filter(user=user, kind=LinkKind.OWNER).values_list("customer_id", flat=True)
    for customer in Customer.objects.filter(pk__in=list(owned)).exclude(language=language).order_by("pk"):
        customer.language = language
        customer.save(update_fields=["language"])
        audit.record(
            actor=actor,
            event="customer.language_changed",
            biller_id=customer.biller_id,
            customer_id=customer.pk,
            subject=f"customer:{customer.pk}",
            facts={"language": language},
        )


@transaction.atomic(durable=True)
def lend_email(*, customer: Customer, user: User, actor: Actor) -> bool:
    """Let an account without an e-mail address use its payer's, verified at sign-up; False where it has one.

    :raises EmailKept: the biller's own portal alone changes it.
    :raises NotTheirLink: the payer is not linked to the account.
    """
    customer = Customer.objects.select_for_update(no_key=True).get(pk=customer.pk)
    if customer.email:
        return False
    if keeps_email(customer.biller):
        raise EmailKept(customer.biller)
    if not PayerLink.objects.filter(user=user, customer=customer).exists():
        raise NotTheirLink
    change_email(customer=customer, email=user.email, actor=actor)
    return True


@transaction.atomic(durable=True)
def view_as(*, customer: Customer, user: User, actor: Actor) -> None:
    """Note that a biller's person looks at the portal through a payer's eyes; both names stand in the entry.

    :raises NotTheirLink: the payer is not linked to the account.
    """
    if not PayerLink.objects.filter(user=user, customer=customer).exists():
        raise NotTheirLink
    audit.record(
        actor=actor,
        event="customer.viewed_as",
        biller_id=customer.biller_id,
        customer_id=customer.pk,
        subject=f"user:{user.pk}",
        facts={"payer": user.get_full_name(), "email": user.email},
    )
