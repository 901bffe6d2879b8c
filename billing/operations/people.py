"""A biller's own people: invited, given another role, taken off."""

from __future__ import annotations

from dataclasses import dataclass

from allauth.account.models import EmailAddress
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction

from billing import audit
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import Biller, Membership, Role, User


class PersonRefused(DomainError):
    """The person cannot be invited; the sentence says why."""


class RoleRefused(DomainError):
    """The role cannot be changed; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Invited:
    """Somebody who may now open the biller's portal; ``new`` people have no password yet and need the link."""

    membership: Membership
    new: bool


@transaction.atomic(durable=True)
def invite(*, biller: Biller, email: str, name: str, role: str, actor: Actor) -> Invited:
    """Give somebody a role at the biller, and an account to sign in with where they have none; the face sends the mail.

    :raises PersonRefused: the address is none, or the person has a role at the biller.
    """
    email = email.strip().lower()
    try:
        validate_email(email)
    except ValidationError:
        raise PersonRefused("Enter an e-mail address such as name@example.com.", field="email") from None
    if role not in Role.values:
        raise PersonRefused("Choose a role.", field="role")
    user = User.objects.filter(email__iexact=email).first()
    new = user is None
    if user is None:
        user = User.objects.create_user(email, None, name=" ".join(name.split())[:120])
        EmailAddress.objects.create(user=user, email=email, primary=True, verified=False)
    elif not user.is_active:
        raise PersonRefused("This person's account is closed.", field="email")
    membership, made = Membership.objects.get_or_create(biller=biller, user=user, defaults={"role": role})
    if not made:
        raise PersonRefused("This person has a role here already. Change it in the list.", field="email")
    audit.record(
        actor=actor,
        event="membership.invited",
        biller_id=biller.pk,
        subject=f"user:{user.pk}",
        facts={"email": email, "role": Role(role).label},
    )
    return Invited(membership, new)


@transaction.atomic(durable=True)
def change_role(*, membership: Membership, role: str, actor: Actor) -> None:
    """Give a person another role.

    :raises RoleRefused: it is their own, there is no such role, they have it, or nobody would be administrator.
    """
    if role not in Role.values:
        raise RoleRefused("Choose a role.", field="role")
    membership = _hold(membership, actor, losing=role != Role.ADMINISTRATOR)
    if membership.role == role:
        raise RoleRefused("The person has this role already.", field="role")
    before, membership.role = membership.role, role
    membership.save(update_fields=["role"])
    audit.record(
        actor=actor,
        event="membership.changed",
        biller_id=membership.biller_id,
        subject=f"user:{membership.user_id}",
        facts={"email": membership.user.email, "role": Role(role).label, "before": Role(before).label},
    )


@transaction.atomic(durable=True)
def remove(*, membership: Membership, actor: Actor) -> None:
    """Take a person off the biller's people; their account and what they did stay.

    :raises RoleRefused: it is they themselves, or nobody would be administrator.
    """
    membership = _hold(membership, actor, losing=True)
    email, role, user_id = membership.user.email, membership.role, membership.user_id
    membership.delete()
    audit.record(
        actor=actor,
        event="membership.ended",
        biller_id=membership.biller_id,
        subject=f"user:{user_id}",
        facts={"email": email, "before": Role(role).label},
    )


def _hold(membership: Membership, actor: Actor, *, losing: bool) -> Membership:
    """Lock the biller's memberships and see that an administrator is left."""
    held = list(
        Membership.objects.select_for_update(of=["self"])
        .select_related("user")
        .filter(biller_id=membership.biller_id)
        .order_by("pk")
    )
    found = next((one for one in held if one.pk == membership.pk), None)
    if found is None:
        raise RoleRefused("This person was taken off meanwhile.")
    if found.user_id == actor.user_id:
        raise RoleRefused("Nobody changes their own role. Ask another administrator.")
    others = [one for one in held if one.role == Role.ADMINISTRATOR and one.pk != found.pk]
    if losing and found.role == Role.ADMINISTRATOR and not others:
        raise RoleRefused("A biller keeps at least one administrator.")
    return found


@transaction.atomic(durable=True)
def change_profile(*, user: User, name: str, search_shortcut: bool, actor: Actor) -> None:
    """Keep a person's name and whether the / key goes to the search box; a name stands in history as it was then.

    :raises PersonRefused: the name is empty or too long, or it is somebody else's profile.
    """
    name = " ".join(name.split())
    if not name or len(name) > 120:
        raise PersonRefused("Enter a name of at most 120 characters.", field="name")
    if actor.user_id != user.pk:
        raise PersonRefused("A profile is changed by the person whose it is.")
    user.name, user.search_shortcut = name, search_shortcut
    user.save(update_fields=["name", "search_shortcut"])


@transaction.atomic(durable=True)
def choose_alerts(*, membership: Membership, wants: bool, actor: Actor) -> bool:
    """Choose whether a biller's person is told of charges that stay unresolved; gives whether that changed.

    :raises PersonRefused: it is somebody else's choice.
    """
    if actor.user_id != membership.user_id:
        raise PersonRefused("Everybody chooses for themselves.")
    if not Membership.objects.filter(pk=membership.pk).exclude(wants_alerts=wants).update(wants_alerts=wants):
        return False
    audit.record(
        actor=actor,
        event="membership.alerts_changed",
        biller_id=membership.biller_id,
        subject=f"user:{membership.user_id}",
        facts={"wants": "yes" if wants else "no"},
    )
    return True
