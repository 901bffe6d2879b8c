"""Remote registration: a biller's own portal registers its users here, links their accounts, and keeps them up to date.

A biller speaks for its own users alone: whoever has anything with somebody else as well keeps their e-mail address and
password to themselves. A call over several accounts does all of it or nothing, and says what is wrong with each.

Source: MSP-28
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from allauth.account.models import EmailAddress
from django.contrib.auth.hashers import make_password
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.db.models import QuerySet

from billing import audit, tenancy
from billing.actors import Actor
from billing.errors import Conflict, DomainError
from billing.models import Biller, Customer, LinkKind, NoticeKind, PayerLink, RemoteRegistration, User
from billing.operations import notices, payers
from billing.throttles import Limit

MOST_ACCOUNTS = 200
CALLS = Limit("remote-registration", 600, datetime.timedelta(minutes=1))


class AccountsRefused(DomainError):
    """Something is wrong with accounts of the call, so nothing was done; ``faults`` has place, code and sentence of each."""

    def __init__(self, faults: Sequence[tuple[int, str, str]]) -> None:
        super().__init__(faults[0][2], field="accounts")
        self.faults = list(faults)


class UnknownUser(DomainError):
    """The biller has registered nobody under this name."""

    default = "Nobody is registered under this user name."


class UserNameTaken(Conflict):
    """The user name is registered with another e-mail address."""

    default = "This user name is registered with another e-mail address. UpdateEmailAddress changes it."


class BadUserName(DomainError):
    """The user name is empty, too long, or holds what no name does."""

    default = "Enter a user name of 1 to 100 characters."


class EmailRefused(DomainError):
    """The e-mail address is none, or cannot be this user's."""

    default = "This e-mail address cannot be used for this user."


class PasswordRefused(DomainError):
    """The password is too easily guessed; the text says why."""


class NotOnlyYours(DomainError):
    """The user has to do with others than this biller, whose access is not the biller's to change."""

    default = "This user has more than accounts of yours. Only they can change how they sign in."


@dataclass(frozen=True, slots=True)
class Linked:
    """A user's link to an account after a call; ``new`` where this call made it."""

    customer: Customer
    kind: LinkKind
    new: bool


@dataclass(frozen=True, slots=True)
class Registered:
    """A user after a call, with the accounts that it named."""

    user_name: str
    email: str
    accounts: list[Linked]


@transaction.atomic(durable=True)
def register_accounts(
    *, biller: Biller, user_name: str, email: str, numbers: Sequence[str], actor: Actor
) -> Registered:
    """Register a user of the biller's portal and link accounts to them; repeating it changes nothing.

    A user whose address is the account's own, or the first one of an account that has no address, is its owner; every
    further one is a co-owner. An account without an address takes the owner's. There are no invitations, and the user has
    no password here until one is set.

    :raises BadUserName: the name is none.
    :raises EmailRefused: the address is none, belongs to somebody who is shut out, or to another user name.
    :raises UserNameTaken: the name has another address.
    :raises AccountsRefused: an account is not the biller's.
    """
    email, user_name = _address(email), _user_name(user_name)
    customers = _hold(biller, numbers)
    held = _registrations(biller, user_name).first()
    if held is not None and held.user.email != email:
        raise UserNameTaken(field="user_name")
    user = held.user if held is not None else _person(biller, user_name, email, actor)
    return _linked(user_name if held is None else held.user_name, user, customers, actor)


@transaction.atomic(durable=True)
def link_accounts(*, biller: Biller, user_name: str, numbers: Sequence[str], actor: Actor) -> Registered:
    """Link further accounts to a registered user; those that are linked stay as they are.

    :raises UnknownUser: nobody is registered under this name.
    :raises AccountsRefused: an account is not the biller's.
    """
    held = _find(biller, user_name)
    return _linked(held.user_name, held.user, _hold(biller, numbers), actor)


@transaction.atomic(durable=True)
def update_email(*, biller: Biller, user_name: str, email: str, actor: Actor) -> str:
    """Change a registered user's e-mail address, with which they sign in, and that of the accounts they own with it.

    The old address opens nothing any more; both are told. Gives the new one.

    :raises UnknownUser: nobody is registered under this name.
    :raises EmailRefused: the address is none, or somebody else's.
    :raises NotOnlyYours: the user has to do with others.
    """
    email, held = _address(email), _find(biller, user_name)
    links = {link.customer_id: link for link in PayerLink.objects.filter(biller=biller, user=held.user)}
    # Accounts before people, as registering does.
    customers = list(Customer.objects.select_for_update(no_key=True).filter(pk__in=links).order_by("pk"))
    user = User.objects.select_for_update().get(pk=held.user_id)
    if user.email == email:
        return email
    if not is_only_with(biller, user):
        raise NotOnlyYours(field="user_name")
    others = [User.objects.filter(email=email), EmailAddress.objects.filter(email=email).exclude(user=user)]
    if any(rows.exists() for rows in others):
        raise EmailRefused(field="email")
    before, user.email = user.email, email
    user.save(update_fields=["email"])
    EmailAddress.objects.filter(user=user).delete()
    EmailAddress.objects.create(user=user, email=email, primary=True, verified=False)
    for customer in customers:
        if links[customer.pk].kind == LinkKind.OWNER and customer.email.lower() in {before, ""}:
            payers.change_email(customer=customer, email=email, actor=actor)
        payers.make_owner(customer=customer, actor=actor)
    audit.record(
        actor=actor,
        event="payer.email_changed",
        biller_id=biller.pk,
        subject=f"user:{user.pk}",
        facts={"user_name": held.user_name, "email": email, "before": before},
    )
    for address, stands in ((before, "before"), (email, "now")):
        _tell(biller, user, NoticeKind.EMAIL_CHANGED, email=address, stands=stands)
    return email


@transaction.atomic(durable=True)
def update_email_of_accounts(*, biller: Biller, numbers: Sequence[str], email: str, actor: Actor) -> str:
    """Change the e-mail address of accounts whose owner has not registered: it stands for the owner until then.

    A co-owner who has this address becomes the owner. Gives the address.

    :raises EmailRefused: the address is none.
    :raises AccountsRefused: an account is not the biller's, or has a registered owner.
    """
    email = _address(email)
    customers = _hold(biller, numbers)
    owned = set(
        PayerLink.objects.filter(customer__in=customers, kind=LinkKind.OWNER).values_list("customer_id", flat=True)
    )
    words = "The owner of this account has registered. Name the user instead of the account."
    faults = [(place, "owner_registered", words) for place, one in enumerate(customers) if one.pk in owned]
    if faults:
        raise AccountsRefused(faults)
    for customer in customers:
        if customer.email != email:
            payers.change_email(customer=customer, email=email, actor=actor)
        payers.make_owner(customer=customer, actor=actor)
    return email


def update_password(*, biller: Biller, user_name: str, password: str, actor: Actor) -> None:
    """Set the password of a registered user; whoever is signed in as them is signed out, and the user is told.

    :raises UnknownUser: nobody is registered under this name.
    :raises NotOnlyYours: the user has to do with others.
    :raises PasswordRefused: it is too easily guessed.
    """
    user = _find(biller, user_name).user
    if not is_only_with(biller, user):
        raise NotOnlyYours(field="user_name")
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise PasswordRefused(" ".join(error.messages), field="password") from None
    # Made before the transaction: it takes its time on purpose.
    hashed = make_password(password)
    with transaction.atomic(durable=True):
        held = _find(biller, user_name)
        user = User.objects.select_for_update().get(pk=held.user_id)
        if not is_only_with(biller, user):
            raise NotOnlyYours(field="user_name")
        user.password = hashed
        user.save(update_fields=["password"])
        audit.record(
            actor=actor,
            event="payer.password_changed",
            biller_id=biller.pk,
            subject=f"user:{user.pk}",
            facts={"user_name": held.user_name},
        )
        _tell(biller, user, NoticeKind.PASSWORD_CHANGED, email=user.email)


def _tell(biller: Biller, user: User, kind: NoticeKind, **facts: str) -> None:
    """Tell a user of what their biller changed, in the language of an account that they own, else in their own.

    A notice is one of an account: who has none at the biller is not told, and nothing opens to them.
    """
    links = PayerLink.objects.filter(biller=biller, user=user).select_related("customer")
    link = links.order_by("-kind", "created_at", "pk").first()  # "owner" comes after "co_owner"
    if link is None:
        return
    if link.kind != LinkKind.OWNER:
        facts["language"] = user.language
    facts["customer_name"] = user.name or link.customer.name
    notices.write(
        biller_id=biller.pk, customer_id=link.customer_id, kind=kind, key=f"{kind}:{uuid.uuid4()}", facts=facts
    )


def is_only_with(biller: Biller, user: User) -> bool:
    """Say whether a payer has to do with this biller alone, and is nobody's staff."""
    if user.is_staff or user.is_superuser or not user.is_active:
        return False
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        elsewhere = [
            PayerLink.objects.filter(user=user).exclude(biller=biller),
            RemoteRegistration.objects.filter(user=user).exclude(biller=biller),
            user.memberships.all(),
        ]
        return not any(rows.exists() for rows in elsewhere)


def customers_of(biller: Biller, numbers: Sequence[str]) -> list[Customer]:
    """Give the accounts of these numbers, in their order.

    :raises AccountsRefused: one is not the biller's, or stands there twice.
    """
    return _found(Customer.objects.filter(biller=biller), numbers)


def _hold(biller: Biller, numbers: Sequence[str]) -> list[Customer]:
    """Give the accounts of these numbers in their order, with their rows held in the order of their keys."""
    return _found(Customer.objects.select_for_update(no_key=True).filter(biller=biller).order_by("pk"), numbers)


def _found(rows: QuerySet[Customer], numbers: Sequence[str]) -> list[Customer]:
    by_number = {customer.number: customer for customer in rows.filter(number__in=numbers)}
    faults: list[tuple[int, str, str]] = []
    for place, number in enumerate(numbers):
        if number not in by_number:
            faults.append((place, "unknown", "This biller has no account of this number."))
        elif number in numbers[:place]:
            faults.append((place, "twice", "This account stands here twice."))
    if faults:
        raise AccountsRefused(faults)
    return [by_number[number] for number in numbers]


def _person(biller: Biller, user_name: str, email: str, actor: Actor) -> User:
    """Give the person of an e-mail address, made where there is none, registered with the biller under this name."""
    new = User(email=email)
    new.set_unusable_password()
    # Two calls at once make one person and one registration.
    User.objects.bulk_create([new], ignore_conflicts=True)
    user = User.objects.get(email=email)
    if not user.is_active:
        raise EmailRefused(field="email")
    if not EmailAddress.objects.filter(user=user).exists():
        EmailAddress.objects.bulk_create(
            [EmailAddress(user=user, email=email, primary=True, verified=False)], ignore_conflicts=True
        )
    RemoteRegistration.objects.bulk_create(
        [RemoteRegistration(biller=biller, user=user, user_name=user_name)], ignore_conflicts=True
    )
    held = _registrations(biller, user_name).first()
    if held is None:
        raise EmailRefused("This e-mail address is registered under another user name.", field="email")
    if held.user_id != user.pk:
        raise UserNameTaken(field="user_name")
    audit.record(
        actor=actor,
        event="payer.registered",
        biller_id=biller.pk,
        subject=f"user:{user.pk}",
        facts={"user_name": held.user_name, "email": email},
    )
    return user


def _linked(user_name: str, user: User, customers: Iterable[Customer], actor: Actor) -> Registered:
    """Link a user to accounts whose rows are held."""
    accounts = []
    for customer in customers:
        link = PayerLink.objects.filter(user=user, customer=customer).first()
        new = link is None
        if link is None:
            owned = PayerLink.objects.filter(customer=customer, kind=LinkKind.OWNER).exists()
            theirs = customer.email.lower() in {user.email.lower(), ""}
            kind = LinkKind.OWNER if theirs and not owned else LinkKind.CO_OWNER
            if kind == LinkKind.OWNER and not customer.email:
                payers.change_email(customer=customer, email=user.email, actor=actor)
            link = payers.join(user=user, customer=customer, kind=kind, actor=actor)
        accounts.append(Linked(customer, LinkKind(link.kind), new))
    return Registered(user_name, user.email, accounts)


def _registrations(biller: Biller, user_name: str) -> QuerySet[RemoteRegistration]:
    return RemoteRegistration.objects.select_related("user").filter(
        biller=biller, search_name=user_name.strip().lower()
    )


def _find(biller: Biller, user_name: str) -> RemoteRegistration:
    held = _registrations(biller, user_name).first()
    if held is None:
        raise UnknownUser(field="user_name")
    return held


def _user_name(written: str) -> str:
    name = written.strip()
    if not name or len(name) > 100 or not name.isprintable():
        raise BadUserName(field="user_name")
    return name


def _address(written: str) -> str:
    email = written.strip().lower()
    try:
        validate_email(email)
    except ValidationError:
        raise EmailRefused("Enter an e-mail address such as name@example.com.", field="email") from None
    if len(email) > 254:
        raise EmailRefused("Enter an e-mail address of at most 254 characters.", field="email")
    return email
