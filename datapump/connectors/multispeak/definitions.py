"""What MultiSpeak says, by its definitions: our own ``cb_server.wsdl`` and ``multispeak.xsd`` loaded through zeep.

The hot path writes by template (``envelopes``); this module is what it is held against, and what a new operation is
first built with. The files come from this folder, never from a server. zeep costs half a second and 30 MB, so it is
imported where it is used.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from lxml import etree

from datapump.connectors.base import Message, Target
from datapump.connectors.multispeak.amounts import amount_text
from datapump.connectors.multispeak.envelopes import TENDERS, payment_mode
from datapump.connectors.multispeak.options import NAMESPACE, Options, read_options

WSDL = Path(__file__).with_name("cb_server.wsdl")
XSD = Path(__file__).with_name("multispeak.xsd")
BINDING = f"{{{NAMESPACE}}}CB_ServerSoap"


def client(transport: Any = None) -> Any:
    """Return a ``zeep.Client`` of our own WSDL: strict, without DTD, entities or anything external.

    ``transport`` is a ``zeep.Transport`` for callers that really send through it.
    """
    import zeep

    settings = zeep.Settings(
        strict=True,
        forbid_dtd=True,
        forbid_entities=True,
        forbid_external=True,
        xml_huge_tree=False,
    )
    make: Any = zeep.Client  # zeep has no types
    return make(str(WSDL), transport=transport, settings=settings)


@functools.cache
def _client() -> Any:
    return client()


def build(operation: str, arguments: dict[str, Any], target: Target) -> etree._Element:
    """Build an envelope with zeep from the operation's arguments, its header from the target."""
    made = _client()
    options = read_options(target.options)
    header = {"UserID": target.username, "Pwd": target.password, **options.header}
    service = made.create_service(BINDING, target.url)
    envelope: etree._Element = made.create_message(
        service, operation, **arguments, _soapheaders={"MultiSpeakMsgHeader": header}
    )
    return envelope


def arguments(messages: Sequence[Message], target: Target) -> tuple[str, dict[str, Any]]:
    """Return the operation and its arguments that say these messages of one kind, as ``build`` and zeep take them."""
    options = read_options(target.options)
    kind = messages[0].kind
    if kind == "payment":
        return "CommitPaymentTransaction", {
            "transactions": {"paymentTransaction": [_payment(message, options) for message in messages]}
        }
    if kind == "paperless":
        return "ModifyCBDataForCustomer", {
            "customerData": {"customer": [_customer(message, options) for message in messages]}
        }
    if kind in ("autopay", "scheduled"):
        zone = ZoneInfo(target.time_zone)
        return "WriteAccountHistoryComments", {
            "comments": {"historyComment": [_comment(message, zone) for message in messages]}
        }
    raise ValueError(f"no operation tells of {kind!r}")


def _payment(message: Message, options: Options) -> dict[str, Any]:
    facts = message.facts
    identity = facts["payment_guid" if options.transaction_id_is_payment_guid else "approval_code"]
    extensions = [{"extName": "transactionId", "extValue": identity}]
    if facts.get("kiosk"):
        extensions.append({"extName": "billerReference", "extValue": facts["kiosk"]})
    tender = {
        "extensionsList": {"extensionsItem": extensions},
        # zeep writes a Decimal digit by digit as it is.
        "amount": Decimal(amount_text(Decimal(facts["amount"]), options.service_version)),
        "authorizationCode": facts["approval_code"],
        "paymentMode": payment_mode(facts, options)[0],
    }
    return {
        "accountNumber": message.account,
        TENDERS[facts["tender"]]: [{"tender": tender}],
    }


def _customer(message: Message, options: Options) -> dict[str, Any]:
    value = "Y" if message.facts["enrolled"] else "N"
    extension = {
        "extName": "EBILL",
        "extValue": value,
        "extType": options.ebill_extension_type,
    }
    return {
        "objectID": message.account,
        "extensionsList": {"extensionsItem": [extension]},
    }


def _comment(message: Message, zone: ZoneInfo) -> dict[str, Any]:
    return {
        "customerID": message.account,
        "serviceLocationID": message.facts["service_location"],
        "logTime": message.occurred_at.astimezone(zone).isoformat(timespec="seconds"),
        "comment": _scheduled(message.facts) if message.kind == "scheduled" else _autopay(message.facts),
    }


def _autopay(facts: Mapping[str, Any]) -> str:
    return "AUTOPAY ON" if facts["enrolled"] else "AUTOPAY OFF"


def _scheduled(facts: Mapping[str, Any]) -> str:
    word = {"scheduled": "SCHED_PAY", "changed": "SCHED_PAY_UPDT", "cancelled": "SCHED_PAY_CNCL"}[facts["status"]]
    year, month, day = facts["on"].split("-")
    return f"{word} {month}{day}{year} {Decimal(facts['amount']):.2f} {facts['invoice']}"
