"""The numbered settings of DataPump, and what the endpoints' connectors get of them.

Endpoints and credentials live in ``Endpoint``, once: the numbered settings are its form fields. Setting 131 is JSON of the
biller's own, some of which concerns DataPump.

Source: MSP-7, MSP-8, MSP-10, MSP-12, MSP-35, MSP-36
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from billing.advanced_settings import AdvancedSetting, BadSetting, Kind, Row, register, value
from datapump.calls import Guard
from datapump.connectors.base import Misconfigured, Target
from datapump.connectors.multispeak.connector import MultiSpeak
from datapump.connectors.multispeak.options import BadOption, parse_modes
from datapump.connectors.registry import connector_named
from datapump.models import Endpoint, Purpose
from datapump.operations.records import adopt
from datapump.print_servers import base as print_servers
from datapump.print_servers.daffron import VALUE_AFTER_DASH, VERSIONS, WITHOUT_ZERO, check_url

SCHEMA_131: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "Daffron": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "DataPumpConfigs": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "SkipDonationTypes": {"type": "boolean"},
                        "TransactionIdIsPaymentGuid": {"type": "boolean"},
                    },
                }
            },
        },
        "PdfConfig": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"BCTRModifier": {"enum": [VALUE_AFTER_DASH]}, "LDMOModifier": {"enum": [WITHOUT_ZERO]}},
        },
    },
}


@dataclass(frozen=True, slots=True)
class DaffronFlags:
    """What setting 131 says to DataPump."""

    skip_donation_types: bool = False
    transaction_id_is_payment_guid: bool = False

    @classmethod
    def read(cls, value: Any) -> DaffronFlags:
        """Read them from the setting's value; what is missing is off."""
        found: Any = value
        for part in ("Daffron", "DataPumpConfigs"):
            found = found.get(part) if isinstance(found, dict) else None
        if not isinstance(found, dict):
            return cls()
        return cls(found.get("SkipDonationTypes") is True, found.get("TransactionIdIsPaymentGuid") is True)


def networks() -> list[str] | None:
    """Give the private networks that addresses of billers may lead to; ``None`` where this is no production: any."""
    return settings.DATAPUMP_NETWORKS if settings.PRODUCTION else None


def print_target_of(biller_id: int) -> print_servers.Target | None:
    """Give a biller's print server as its driver needs it, or ``None`` where there is none (settings 20, 119, 131)."""
    url = value(20, biller_id)
    if not url:
        return None
    config = value(131, biller_id).get("PdfConfig", {})
    return print_servers.Target(
        url=url,
        options={
            "version": value(119, biller_id),
            "bctr_modifier": config.get("BCTRModifier"),
            "ldmo_modifier": config.get("LDMOModifier"),
        },
    )


def target_of(endpoint: Endpoint, flags: DaffronFlags) -> Target:
    """Give an endpoint as its connector needs it; its biller must be at hand.

    :raises SecretUnreadable: its password cannot be opened.
    :raises LookupError: there is no such connector.
    """
    connector = connector_named(endpoint.connector)
    old_is_good = endpoint.retired_until is not None and timezone.now() < endpoint.retired_until
    return Target(
        url=endpoint.url,
        username=endpoint.username,
        password=endpoint.password,
        old_password=endpoint.retired_password if old_is_good else "",
        time_zone=endpoint.biller.time_zone,
        options=connector.target_options(endpoint.options, per_envelope=endpoint.per_envelope, flags=asdict(flags)),
    )


def codes_may_repeat(endpoint: Endpoint | None, flags: DaffronFlags) -> bool:
    """Tell whether the biller's system could take two payments for one, since it tells them apart by approval codes."""
    spoken = endpoint is not None and endpoint.connector == MultiSpeak.name
    return spoken and not flags.transaction_id_is_payment_guid


@dataclass(frozen=True, slots=True)
class EndpointField:
    """Keeps a value in a field of a biller's endpoint for one purpose, or among its connector's options."""

    purpose: Purpose
    field: str
    option: bool = False

    @property
    def where(self) -> str:
        """Say where the value is kept."""
        return f"datapump.Endpoint[{self.purpose}].{'options.' if self.option else ''}{self.field}"

    def read(self, biller_id: int) -> Any:
        """Give the value, or ``None`` where the biller has no such endpoint or option."""
        endpoint = Endpoint.objects.filter(biller_id=biller_id, purpose=self.purpose).first()
        if endpoint is None:
            return None
        return endpoint.options.get(self.field) if self.option else getattr(endpoint, self.field)

    def write(self, biller_id: int, value: Any) -> None:
        """Keep the value, inside the caller's transaction."""
        endpoint = Endpoint.objects.filter(biller_id=biller_id, purpose=self.purpose).first()
        if endpoint is None:
            endpoint = Endpoint.unsaved(biller_id, self.purpose)
            endpoint.save()
            adopt(endpoint)
        if self.option:
            endpoint.options = {name: kept for name, kept in endpoint.options.items() if name != self.field}
            if value != "":
                endpoint.options[self.field] = value
            endpoint.save(update_fields=["options"])
        else:
            setattr(endpoint, self.field, value)
            endpoint.save(update_fields=[self.field])


def _clean_modes(value: Any) -> Any:
    try:
        parse_modes(value)
    except BadOption as error:
        raise BadSetting(f"Write it like 0(WEB)|2(CSRWEB)|8(POS): {error}.") from None
    return value


def _clean_print_server(value: Any) -> Any:
    try:
        check_url(value)
        Guard(networks()).checked(value)
    except (print_servers.Misconfigured, Misconfigured) as error:
        raise BadSetting(str(error)) from None
    if settings.PRODUCTION and not value.startswith("https://") and not settings.DATAPUMP_NETWORKS:
        raise BadSetting("The address must begin with https://.")
    return value


_ENDPOINTS = (
    (8, Purpose.BALANCES, _("Balances")),
    (11, Purpose.PAYMENTS, _("Payments")),
    (14, Purpose.PAPERLESS, _("Paperless")),
    (17, Purpose.AUTOPAY, _("AutoPay")),
)
_MODES_HELP = _(
    "Payment source ids with their codes, such as 0(WEB)|2(CSRWEB)|8(POS). Sources: 0 customer portal and guest pay, "
    "1 AutoPay, 2 biller portal, 3 scheduled, 4 text, 5 API, 6 phone (IVR), 8 kiosk, 9 lockbox. One without a code goes "
    "out as WEB; calls of an outbound dialler always as OBD."
)


def _endpoint_settings() -> list[AdvancedSetting]:
    made = []
    for first, purpose, name in _ENDPOINTS:
        made += [
            AdvancedSetting(
                first, _("%(purpose)s: address") % {"purpose": name},
                _("Address of the biller’s web service, such as https://cis.example/services/CB."),
                Kind.URL, EndpointField(purpose, "url"),
            ),
            AdvancedSetting(
                first + 1, _("%(purpose)s: user name") % {"purpose": name}, _("UserID of every message."),
                Kind.TEXT, EndpointField(purpose, "username"), differs=False,
            ),
            AdvancedSetting(
                first + 2, _("%(purpose)s: password") % {"purpose": name},
                _("Pwd of every message. Kept encrypted and never shown again; leave it empty to keep the one there is."),
                Kind.SECRET, EndpointField(purpose, "password"), differs=False,
            ),
        ]  # fmt: skip
    return made


SETTINGS: tuple[AdvancedSetting, ...] = (
    *_endpoint_settings(),
    AdvancedSetting(
        20,
        _("Bills as PDF: address of the print server"),
        _(
            "Where the biller’s system gives its bills as PDF, such as https://cis.example:8086/eprint/. They are fetched from "
            "here alone, and payers never see it. Empty: payers get a PDF of Ratepayer’s own."
        ),
        Kind.URL,
        Row(20),
        clean=_clean_print_server,
    ),
    AdvancedSetting(
        35,
        _("Service version"),
        _("How amounts are written: 1 in the shortest form (232.1), 2 with two decimal places (232.10)."),
        Kind.CHOICE,
        EndpointField(Purpose.PAYMENTS, "service_version", option=True),
        default="1",
        choices=(("1", "1"), ("2", "2")),
    ),
    AdvancedSetting(
        64,
        _("Payment modes of cards"),
        _MODES_HELP,
        Kind.TEXT,
        EndpointField(Purpose.PAYMENTS, "card_modes", option=True),
        clean=_clean_modes,
    ),
    AdvancedSetting(
        65,
        _("Payment modes of bank payments"),
        _MODES_HELP,
        Kind.TEXT,
        EndpointField(Purpose.PAYMENTS, "ach_modes", option=True),
        clean=_clean_modes,
    ),
    AdvancedSetting(
        119,
        _("Bills as PDF: version of the print server"),
        _(
            "How a bill is named: 1 by its account (ACCT, SUB), 2 also by its control number (BCTR), 3 also by its month "
            "(LDMO), 4 with PRINT_FORM. A bill whose Custom9 has INV or EBIL in it is always asked for by version 2."
        ),
        Kind.CHOICE,
        Row(119),
        default="1",
        choices=tuple((version, version) for version in VERSIONS),
        differs=False,
    ),
    AdvancedSetting(
        131,
        _("JSON configuration"),
        _(
            "Daffron.DataPumpConfigs.SkipDonationTypes: donation bills are passed over when a service location is looked up. "
            "Daffron.DataPumpConfigs.TransactionIdIsPaymentGuid: transactionId is the payment’s GUID instead of its approval "
            'code. PdfConfig.BCTRModifier: "ValueAfterDash" names a bill to the print server by what follows the dash of '
            'Custom10. PdfConfig.LDMOModifier: "MonthWithoutZero" writes 20263 for March 2026 instead of 202603.'
        ),
        Kind.JSON,
        Row(131),
        default={},
        schema=SCHEMA_131,
    ),
)


def register_all() -> None:
    """Add DataPump's settings to the registry."""
    register(*SETTINGS)
