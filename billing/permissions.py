"""What each role of a biller's people may do: faces ask here before they call an operation."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from billing.models import Role

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

    from billing.models import User


class Permission(enum.StrEnum):
    """One right at one biller."""

    VIEW = "view"
    TAKE_PAYMENT = "take_payment"
    ENTER_CARD = "enter_card"
    CHANGE_ENROLMENT = "change_enrolment"
    CHANGE_PAYERS = "change_payers"
    LOAD_FILE = "load_file"
    RUN = "run"
    RESEND = "resend"
    REVEAL = "reveal"
    CLOSE_CASE = "close_case"
    GIVE_BACK = "give_back"
    CHANGE_SETTINGS = "change_settings"


_CSR = {
    Permission.VIEW,
    Permission.TAKE_PAYMENT,
    Permission.CHANGE_ENROLMENT,
    Permission.CHANGE_PAYERS,
    Permission.RESEND,
}

RIGHTS: dict[str, frozenset[Permission]] = {
    Role.ADMINISTRATOR: frozenset(Permission),
    Role.SUPERVISOR: frozenset(_CSR | {Permission.ENTER_CARD, Permission.CLOSE_CASE, Permission.GIVE_BACK}),
    Role.CSR: frozenset(_CSR | {Permission.ENTER_CARD}),
    Role.CSR_NO_CARDS: frozenset(_CSR),
    Role.READ_ONLY: frozenset({Permission.VIEW}),
}


def may(user: User | AnonymousUser, permission: Permission, biller_id: int) -> bool:
    """Say whether the user has the right at the biller; an administrator of the installation has every one."""
    if not user.is_authenticated or not user.is_active:
        return False
    if user.is_superuser:
        return True
    role = user.roles.get(biller_id)
    return role is not None and permission in RIGHTS[role]
