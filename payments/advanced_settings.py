"""The numbered setting of payments: AutoPay groups.

Source: MSP-26, MSP-35
"""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from billing.advanced_settings import AdvancedSetting, BadSetting, Kind, Row, register
from billing.models import Biller
from payments.operations.groups import GROUPING, told_apart

_WARNING = _(
    "Payments of one transaction share its approval code, and the biller’s system would take them for repetitions of one."
    " Let transactionId be the payment’s GUID first (setting 131)."
)


def _check(biller: Biller, value: object) -> None:
    if value is True and not told_apart(biller.pk):
        raise BadSetting(_WARNING)  # type: ignore[arg-type]


SETTINGS: tuple[AdvancedSetting, ...] = (
    AdvancedSetting(
        GROUPING,
        _("AutoPay groups"),
        _(
            "Bills of accounts of one owner that name the same group (Custom10) and are charged to the same method are"
            " collected in one transaction, with one receipt. Each is told to the biller’s system by itself."
        ),
        Kind.FLAG,
        Row(GROUPING),
        default=False,
        differs=False,
        check=_check,
        warning=lambda biller, value: _WARNING if value is True and not told_apart(biller.pk) else "",
    ),
)


def register_all() -> None:
    """Add the settings of payments to the registry."""
    register(*SETTINGS)
