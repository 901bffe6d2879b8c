"""The MultiSpeak 3.0 connector: five of CB_Server's operations, with PingURL to ask how it is.

Source: MSP-1 to MSP-4, MSP-6 to MSP-11, MSP-13, MSP-14; ``docs/multispeak.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from datapump.connectors import masking
from datapump.connectors.base import (
    Balance,
    Delivered,
    Envelope,
    Message,
    OptionField,
    Refused,
    Target,
    Undelivered,
)
from datapump.connectors.multispeak import balances, envelopes, reader
from datapump.connectors.multispeak.envelopes import Plan
from datapump.connectors.multispeak.options import FIELDS, MAX_PAYMENTS_PER_ENVELOPE

PLANS_KEPT = 1_000


class MultiSpeak:
    """Tells a MultiSpeak 3.0 CB_Server; ``options`` of the target are those of ``Options``.

    A target is read once and remembered for as long as the same object comes back, so keep targets between calls and
    make a new one when its endpoint changes.
    """

    name = "multispeak"
    label = "MultiSpeak 3.0"
    purposes = frozenset(("balances", "payments", "paperless", "autopay"))
    options: Sequence[OptionField] = FIELDS
    makes_secrets = False
    # They are comments, which the address for AutoPay takes; that for payments need not.
    tells_with_payments = False
    pings: Sequence[str] = ("PingURL", "GetMethods")
    batches = (
        "Several payments may share a call only where transactionId is the payment’s GUID: set "
        '{"Daffron":{"DataPumpConfigs":{"TransactionIdIsPaymentGuid":true}}} in setting 131 first.'
    )

    def __init__(self) -> None:
        self._plans: dict[int, tuple[Target, Plan]] = {}

    def make_secret(self) -> str:
        """Give nothing: the biller's system has users and passwords of its own."""
        return ""

    def target_options(
        self, kept: Mapping[str, Any], *, per_envelope: int, flags: Mapping[str, bool]
    ) -> Mapping[str, Any]:
        """Add how many payments share a call, and by what the biller's system tells payments apart (setting 131)."""
        return {
            **kept,
            "transaction_id_is_payment_guid": flags.get("transaction_id_is_payment_guid", False),
            "payments_per_envelope": min(per_envelope, MAX_PAYMENTS_PER_ENVELOPE),
        }

    def batch_limit(self, kind: str, target: Target) -> int:
        """Return ``payments_per_envelope`` for payments, else 1, since an errorObject does not say whose it is.

        Payments travel alone where the transactionId is the approval code: two of one envelope might share it, and the
        biller's system would take the second for a duplicate (MSP-7).
        """
        if kind != "payment":
            return 1
        options = self._plan(target).options
        return options.payments_per_envelope if options.transaction_id_is_payment_guid else 1

    def write(self, messages: Sequence[Message], target: Target) -> Envelope:
        """Write the envelope for messages of one kind."""
        plan = self._plan(target)
        kind = messages[0].kind if messages else ""
        if not messages or any(message.kind != kind for message in messages):
            raise ValueError("an envelope holds messages of one kind")
        if len(messages) > 1:
            if len(messages) > self.batch_limit(kind, target):
                raise ValueError(f"too many messages of the kind {kind} for one envelope")
            if len({message.account for message in messages}) != len(messages):
                raise ValueError(
                    "an envelope holds one message of an account: answers tell accounts apart, not messages"
                )
        for message in messages:
            if not message.account.strip():
                raise Refused("the record has no account number", message_id=message.id)
        if kind == "payment":
            return self._write_payments(messages, target, plan)
        if kind == "paperless":
            content = f"<customerData>{envelopes.paperless(messages[0], plan)}</customerData>"
            return _envelope("ModifyCBDataForCustomer", content, messages, target, plan)
        if kind == "autopay":
            content = f"<comments>{envelopes.autopay(messages[0], plan)}</comments>"
            return _envelope("WriteAccountHistoryComments", content, messages, target, plan)
        if kind == "scheduled":
            content = f"<comments>{envelopes.scheduled(messages[0], plan)}</comments>"
            return _envelope("WriteAccountHistoryComments", content, messages, target, plan)
        if kind == "reversal":
            content = f"<comments>{envelopes.reversal(messages[0], plan)}</comments>"
            return _envelope("WriteAccountHistoryComments", content, messages, target, plan)
        if kind == "fee":
            content = f"<comments>{envelopes.fee(messages[0], plan)}</comments>"
            return _envelope("WriteAccountHistoryComments", content, messages, target, plan)
        if kind == "inactive":
            content = f"<comments>{envelopes.inactive(messages[0], plan)}</comments>"
            return _envelope("WriteAccountHistoryComments", content, messages, target, plan)
        if kind == "pay_by_text":
            content = f"<comments>{envelopes.pay_by_text(messages[0], plan)}</comments>"
            return _envelope("WriteAccountHistoryComments", content, messages, target, plan)
        raise Refused(f"this connector does not tell of {kind!r}", message_id=messages[0].id)

    def sign(self, envelope: Envelope, target: Target, at: datetime) -> Mapping[str, str]:
        """Give nothing: who we are stands in the envelope."""
        return {}

    def read(self, messages: Sequence[Message], status: int, body: bytes) -> Sequence[Delivered | Undelivered]:
        """Read the answer by the rules of ``reader``."""
        if messages and messages[0].kind == "payment":
            return reader.read_payments(messages, status, body)
        paperless = messages and messages[0].kind == "paperless"
        operation = "ModifyCBDataForCustomer" if paperless else "WriteAccountHistoryComments"
        return reader.read_errors(messages, status, body, operation)

    def write_ping(self, target: Target, question: str = "") -> Envelope:
        """Write PingURL or GetMethods."""
        return _envelope(question or self.pings[0], "", (), target, self._plan(target))

    def read_ping(self, status: int, body: bytes, question: str = "") -> str:
        """Return where it was answered without an error; of GetMethods, the operations that the system names."""
        if question == "GetMethods":
            return reader.read_methods(status, body)
        reader.read_ping(status, body)
        return ""

    def write_balance(self, account: str, target: Target) -> Envelope:
        """Write GetPayableItemsList."""
        return _envelope(balances.OPERATION, balances.write(account), (), target, self._plan(target))

    def read_balance(self, account: str, target: Target, status: int, body: bytes) -> Balance:
        """Read its answer by the rules of ``balances``."""
        return balances.read(account, status, body, self._plan(target).options)

    def mask(self, body: bytes) -> str:
        """Return the envelope or answer as text without credentials and card numbers."""
        return masking.mask(body)

    def _write_payments(self, messages: Sequence[Message], target: Target, plan: Plan) -> Envelope:
        written: dict[str, envelopes.Payment] = {}
        for message in messages:
            payment = envelopes.payment(message, plan)
            if payment.transaction_id in written:
                raise Refused(
                    "two payments of one envelope have the same transactionId",
                    message_id=message.id,
                )
            written[payment.transaction_id] = payment
        content = f"<transactions>{''.join([payment.xml for payment in written.values()])}</transactions>"
        said = "|".join([payment.said for payment in written.values()])
        notes = tuple(dict.fromkeys(payment.note for payment in written.values() if payment.note))
        return _envelope("CommitPaymentTransaction", content, messages, target, plan, said, notes)

    def _plan(self, target: Target) -> Plan:
        kept = self._plans.get(id(target))
        # The target is kept with its plan, so the id cannot have passed to another object meanwhile.
        if kept is not None and kept[0] is target:
            return kept[1]
        plan = envelopes.plan(target)
        if len(self._plans) >= PLANS_KEPT:
            self._plans.clear()
        self._plans[id(target)] = (target, plan)
        return plan


def _envelope(
    operation: str,
    content: str,
    messages: Sequence[Message],
    target: Target,
    plan: Plan,
    said: str | None = None,
    notes: tuple[str, ...] = (),
) -> Envelope:
    """Put content into an envelope; ``said`` is what of it could need a mask, all of it by default."""
    after = plan.after[operation]
    body = f"{plan.before[operation]}{content}{after}".encode()
    masked = plan.masked[operation]
    known = (
        masked is not None
        and len(body) <= masking.MAX_KEPT
        and masking.is_plain((content if said is None else said).encode())
    )
    return Envelope(
        operation=operation,
        url=target.url,
        headers=plan.headers[operation],
        body=body,
        message_ids=tuple([message.id for message in messages]),
        notes=notes,
        masked=f"{masked}{content}{after}" if known else "",
    )
