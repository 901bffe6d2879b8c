"""The numbered settings of the portals: the biller's own portal, changes of e-mail address, who blocks methods.

Source: MSP-25, MSP-30, MSP-31, MSP-35
"""

from __future__ import annotations

from billing import advanced_settings, tenancy
from billing.advanced_settings import AdvancedSetting, Kind, Row
from billing.models import Biller, PayerLink, User

PORTAL, KEEPS_EMAIL, KEEPS_BLOCKS = 3, 6, 32


def register_all() -> None:
    """Add them to the registry."""
    advanced_settings.register(
        AdvancedSetting(
            PORTAL, "Sign-in page of your own portal",
            "Where payers sign in at your site, such as https://my.utility.example/sign-in. Our sign-in leads there.",
            Kind.URL, Row(PORTAL),
        ),
        AdvancedSetting(
            KEEPS_EMAIL, "Payers do not change their e-mail address here",
            "They change it in your own portal, which tells us.", Kind.FLAG, Row(KEEPS_EMAIL), default=False,
        ),
        AdvancedSetting(
            KEEPS_BLOCKS, "Blocks of cards and bank accounts are read-only",
            "Only the invoice file blocks methods of an account; CSRs and the API see it.",
            Kind.FLAG, Row(KEEPS_BLOCKS), default=False, differs=False,
        ),
    )  # fmt: skip


def portal_of(biller: Biller) -> str:
    """Give the address where payers sign in at the biller's own portal; empty where it has none."""
    with tenancy.acting_for([biller.pk]):
        return str(advanced_settings.value(PORTAL, biller.pk))


def email_keepers(user: User) -> list[Biller]:
    """Give the billers of a payer's accounts whose own portal alone changes their e-mail address."""
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        ids = PayerLink.objects.filter(user=user).values("biller_id")
        billers = list(Biller.objects.filter(pk__in=ids).order_by("name"))
        return [biller for biller in billers if advanced_settings.value(KEEPS_EMAIL, biller.pk)]


def keeps_email(biller: Biller) -> bool:
    """Say whether the biller's payers change their e-mail address elsewhere."""
    return bool(advanced_settings.value(KEEPS_EMAIL, biller.pk))


def keeps_blocks(biller: Biller) -> bool:
    """Say whether nobody but the invoice file blocks methods."""
    return bool(advanced_settings.value(KEEPS_BLOCKS, biller.pk))
