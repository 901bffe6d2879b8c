"""The audit trail: one entry for each business fact, written in the transaction that made it true.

Every event has its sentence here, once, so that portals, admin and API word the same fact alike.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.utils.translation import gettext_lazy as _

from billing import formats
from billing.actors import Actor
from billing.models import AuditEntry, Seal

SENTENCES: dict[str, Any] = {
    "customer.threshold_chosen": _("Chose to be told of a prepaid balance below %(threshold)s"),
    "account.adjusted": _("Adjusted the account by %(amount)s: %(reason)s"),
    "accounts.adjusted": _("Adjusted %(count)s accounts by %(total)s in all: %(reason)s"),
    "api_token.made": _("Made the API key %(name)s"),
    "api_token.revoked": _("Revoked the API key %(name)s"),
    "autopay.collection_chosen": _("Chose when AutoPay collects: %(rule)s"),
    "autopay.ended": _("Turned AutoPay off"),
    "autopay.enrolled": _("Turned AutoPay on with %(method)s; first collection %(first)s"),
    "biller.charging_started": _("Allowed charging again"),
    "biller.charging_stopped": _("Stopped all charging: %(reason)s"),
    "biller.look_changed": _("Changed the look and contact: %(fields)s"),
    "biller.not_compared": _("Left out, so that nobody compared their charges with the processor’s: %(routes)s"),
    "biller.reconciled": _(
        "Reconciled the book with the processors’: %(confirmed)s charges alike, %(recorded)s of %(total)s recorded"
    ),
    "biller.restored": _("The database was restored: nothing is charged until it is reconciled, since %(since)s"),
    "biller.method_rules_changed": _("Changed what is asked of cards and bank accounts: %(fields)s"),
    "biller.rules_changed": _("Changed the payment rules: %(fields)s"),
    "case.closed": _("Closed a case: %(outcome)s"),
    "cloud_payment.opened": _("Opened a CloudPay payment of %(amount)s for %(who)s"),
    "configuration.added": _("Added the %(what)s"),
    "configuration.changed": _("Changed the %(what)s: %(fields)s"),
    "configuration.removed": _("Removed the %(what)s"),
    "customer.blocks_changed": _("Changed what is blocked: %(changes)s"),
    "customer.email_changed": _("Made %(email)s the address for notices"),
    "customer.language_changed": _("Chose the language of notices: %(language)s"),
    "customer.record_changed": _("Changed the customer record: %(fields)s"),
    "customer.standing_changed": _("Changed how the account stands: %(changes)s"),
    "customer.set_inactive": _("Set the account inactive: %(reason)s"),
    "customer.viewed_as": _("Looked at the customer portal as %(payer)s"),
    "datapump.configured": _("Changed what DataPump tells the biller’s system: %(changes)s"),
    "datapump.revealed": _("Looked at an update without its mask"),
    "datapump.resent": _("Asked for %(count)s update(s) to be sent again"),
    "datapump.skipped": _("Skipped an update"),
    "endpoint.changed": _("Changed the endpoint for %(purpose)s: %(fields)s"),
    "endpoint.paused": _("Paused the endpoint for %(purpose)s: %(reason)s"),
    "endpoint.resumed": _("Let the endpoint for %(purpose)s go on"),
    "endpoint.secret_changed": _("Changed the secret of the endpoint for %(purpose)s"),
    "endpoint.tested": _("Sent a test to the endpoint for %(purpose)s: %(result)s"),
    "instrument.added": _("Added %(method)s"),
    "instrument.confirmed": _("Confirmed %(method)s, which the bank had declined"),
    "instrument.declined": _("The bank declined %(method)s for good: nothing charges it until it is confirmed"),
    "instrument.defaulted": _("Made %(method)s the default method"),
    "instrument.migrated": _("Moved %(method)s to %(route)s"),
    "instrument.removed": _("Removed %(method)s"),
    "fee.charged": _("Charged a fee of %(amount)s, “%(words)s”: %(reason)s"),
    "fee.waived": _("Took a fee of %(amount)s back, “%(words)s”: %(reason)s"),
    "fee_rule.added": _("Added the rule for fees “%(words)s”: %(fields)s"),
    "fee_rule.changed": _("Changed the rule for fees “%(words)s”: %(fields)s"),
    "late_rule.added": _("Added the rule for late bills “%(words)s”: %(fields)s"),
    "late_rule.changed": _("Changed the rule for late bills “%(words)s”: %(fields)s"),
    "invoice_file.loaded": _("Loaded invoice file %(name)s: %(count)s invoices, %(total)s"),
    "invoice_file.not_withdrawn": _("Could not withdraw invoice file %(name)s: %(reason)s"),
    "invoice_file.received": _("Received invoice file %(name)s"),
    "invoice_file.refused": _("Refused invoice file %(name)s: %(reason)s"),
    "invoice_file.withdrawn": _("Withdrew invoice file %(name)s"),
    "line.resumed": _("Let the texts from %(line)s go out again"),
    "line.stopped": _("Stopped sending texts: %(reason)s"),
    "line.warning_dismissed": _("Saw to what a carrier held against the texts from %(line)s: %(reason)s"),
    "line.warned": _("Was warned about the biller's texts: %(reason)s"),
    "membership.alerts_changed": _("Chose whether to be told of unresolved charges: %(wants)s"),
    "membership.changed": _("Gave %(email)s the role %(role)s"),
    "membership.invited": _("Invited %(email)s as %(role)s"),
    "membership.ended": _("Took %(email)s off the biller's people"),
    "notice.resent": _("Sent a message again: %(kind)s"),
    "paperless.ended": _("Turned paperless billing off"),
    "paperless.enrolled": _("Turned paperless billing on"),
    "pay_by_text.asked_again": _("Sent the confirmation of pay by text to %(phone)s again"),
    "pay_by_text.bill_sent": _("Sent the bill by text to %(phone)s"),
    "pay_by_text.enrolled": _("Turned pay by text on at %(phone)s"),
    "pay_by_text.imported": _(
        "Imported %(name)s: %(new)s enrolled in pay by text, %(same)s were so, %(faults)s refused"
    ),
    "pay_by_text.number_changed": _("Changed the number of pay by text to %(phone)s"),
    "pay_by_text.pending": _("Asked for a confirmation of pay by text at %(phone)s"),
    "pay_by_text.ran_out": _("Pay by text at %(phone)s was not confirmed in time"),
    "pay_by_text.unenrolled": _("Turned pay by text off at %(phone)s"),
    "payer.linked": _("Linked %(email)s to the account"),
    "payer.arrived": _("Came from the biller’s own portal as %(user_name)s"),
    "payer.email_changed": _("Changed the e-mail address of %(user_name)s to %(email)s"),
    "payer.made_owner": _("Made %(email)s the owner of the account"),
    "payer.password_changed": _("Changed the password of %(user_name)s"),
    "payer.registered": _("Registered %(user_name)s with %(email)s"),
    "payer.unlinked": _("Unlinked %(email)s from the account"),
    "payment.authorized": _("Authorized %(amount)s with %(method)s, to be taken later"),
    "payment.confirmed": _("Confirmed the payment of %(amount)s: its bank has made it good"),
    "payment.deposit_given_up": _("A deposit of %(amount)s was given up, the money is still held: %(reason)s"),
    "payment.depositing": _("Asked to deposit %(amount)s"),
    "payment.failed": _("A payment of %(amount)s did not go through: %(reason)s"),
    "payment.found_again": _(
        "Found a payment of %(amount)s that only the processor had, by its reference %(reference)s"
    ),
    "payment.posted": _("Paid %(amount)s with %(method)s, confirmation %(confirmation)s"),
    "payment.recorded": _("Recorded a payment of %(amount)s that was taken elsewhere (%(channel)s)"),
    "payment.release_given_up": _("A release of %(amount)s was given up, the money is still held: %(reason)s"),
    "payment.releasing": _("Asked to release an authorization of %(amount)s"),
    "payment.released": _("Released an authorization of %(amount)s"),
    "payment.refund_failed": _("A refund of %(amount)s did not go through: %(reason)s"),
    "payment.refunding": _("Asked to give %(amount)s back: %(reason)s"),
    "payment.reversed": _("%(kind)s: %(amount)s of a payment went back: %(reason)s"),
    "payment.won_back": _("%(kind)s: %(amount)s of a payment came back: %(reason)s"),
    "payment.started": _("Started a payment of %(amount)s with %(method)s"),
    "payments.confirmed": _("Confirmed %(count)s payments that no bank returned in time"),
    "payments.settled": _("Settled %(posted)s payments of %(total)s; %(failed)s did not go through"),
    "phone.opted_in": _("The phone %(phone)s gets texts again"),
    "phone.opted_out": _("The phone %(phone)s gets no more texts, by %(by)s"),
    "phone.resumed": _("Sends to the phone %(phone)s again"),
    "phone.suspended": _("Sends nothing more to the phone %(phone)s: %(reason)s"),
    "programme.changed": _("Changed the text programme: %(fields)s"),
    "programme.resumed": _("Let the texts of %(programme)s go out again"),
    "programme.stopped": _("Stopped the texts of %(programme)s"),
    "reversal.unknown": _(
        "The processor tells of a %(kind)s of %(amount)s, %(reference)s, of a charge that is not known here"
    ),
    "run.finished": _("Finished the run"),
    "run.resubmission_asked": _("Asked for %(count)s messages of batch %(batch)s to be sent again"),
    "run.resubmitted": _("Sent %(count)s messages of batch %(batch)s again, under their own ids"),
    "run.started": _("Started a %(kind)s run"),
    "run.stopped": _("Asked the run to stop"),
    "scheduled.cancelled": _("Cancelled the payment of %(amount)s scheduled for %(day)s"),
    "scheduled.changed": _("Changed the scheduled payment: %(amount)s on %(day)s with %(method)s"),
    "scheduled.made": _("Scheduled a payment of %(amount)s on %(day)s with %(method)s"),
    "secrets.rotated": _("Encrypted %(count)s secrets under the newest key"),
    "setting.changed": _("Changed setting %(number)s"),
    "sign_on_key.made": _("Made the sign-on key %(name)s"),
    "sign_on_key.retired": _("Retired the sign-on key %(name)s"),
    "text.reviewed": _("Read a text from %(phone)s that nobody had understood: %(note)s"),
    "processor_event.refused": _("Refused what %(address)s said in a payment processor's name: %(reason)s"),
    "tokens.purged": _("Purged %(count)s tokens that nothing needs any more"),
    "unresolved.reported": _("Reported %(count)s charges without a result, %(total)s, and %(cases)s open cases"),
    "verifications.given_up": _("Gave up %(count)s verifications: %(reason)s"),
    "webhook.refused": _("Refused what %(address)s said in a text provider's name: %(reason)s"),
    "wording.changed": _("Changed the words of the text “%(message)s” (%(language)s)"),
    "wording.removed": _("Went back to the usual words of the text “%(message)s” (%(language)s)"),
}


def record(
    *,
    actor: Actor,
    event: str,
    biller_id: int | None = None,
    customer_id: int | None = None,
    subject: str = "",
    facts: dict[str, Any] | None = None,
) -> None:
    """Append one entry to the trail, inside the caller's transaction.

    ``facts`` are what the event's sentence names, and whatever else is worth keeping; never a secret or a full number.
    """
    if not connection.in_atomic_block:
        raise RuntimeError(f"{event} must be recorded in the transaction that made it true.")
    AuditEntry.objects.bulk_create(
        [
            AuditEntry(
                biller_id=biller_id,
                customer_id=customer_id,
                event=event,
                requestor=actor.requestor,
                actor=actor.label[:120],
                user_id=actor.user_id,
                address=actor.address,
                subject=subject,
                facts=facts or {},
            )
        ]
    )


def record_each(
    *, actor: Actor, event: str, biller_id: int, entries: Iterable[tuple[int, str, dict[str, Any]]]
) -> None:
    """Append an entry of one event for each customer, subject and facts, in one statement; see :func:`record`."""
    if not connection.in_atomic_block:
        raise RuntimeError(f"{event} must be recorded in the transaction that made it true.")
    AuditEntry.objects.bulk_create(
        AuditEntry(
            biller_id=biller_id,
            customer_id=customer_id,
            event=event,
            requestor=actor.requestor,
            actor=actor.label[:120],
            user_id=actor.user_id,
            address=actor.address,
            subject=subject,
            facts=facts,
        )
        for customer_id, subject, facts in entries
    )


def sentence(entry: AuditEntry) -> str:
    """Say in words what an entry records."""
    words = SENTENCES.get(entry.event)
    if words is None:
        return entry.event
    return str(words) % _Given(entry.facts)


class _Given(dict[str, Any]):
    """The facts as a sentence names them: amounts and days written for people, what was not kept as an ellipsis."""

    def __missing__(self, key: str) -> str:
        return "…"

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        if isinstance(value, str):
            if amount := _AMOUNT.fullmatch(value):
                return formats.money(Decimal(amount[1]), amount[2])
            if _DAY.fullmatch(value):
                with contextlib.suppress(ValueError):
                    return formats.day(datetime.date.fromisoformat(value))
        return value


_AMOUNT = re.compile(r"(-?\d{1,14}\.\d\d) ([A-Z]{3})")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


def seal() -> Seal | None:
    """Close the trail up to the oldest transaction still running under one more link of the hash chain.

    Entries that a running transaction may still bring in wait for the next seal, so that no writer ever waits for this.
    PostgreSQL shows a session only the transactions of its own login, which is the one that every writer has.
    Gives nothing where nothing is new. Source: the design's "audit entry".
    """
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [0x5EA1])
        before = Seal.objects.order_by("-last").first()
        first = before.last + 1 if before else 1
        with connection.cursor() as cursor:
            # An id taken by a transaction that still runs is above every id that was committed before it began.
            cursor.execute(
                "SELECT max(id) FROM billing_auditentry WHERE id >= %s AND at < ("
                "SELECT coalesce(min(xact_start), now()) FROM pg_stat_activity "
                "WHERE datname = current_database() AND backend_xid IS NOT NULL AND pid <> pg_backend_pid())",
                [first],
            )
            (last,) = cursor.fetchone()
        if last is None:
            return None
        digest, count = _digest(before.digest if before else "", first, last)
        return Seal.objects.create(
            first=first, last=last, count=count, previous=before.digest if before else "", digest=digest
        )


def broken_seals() -> Iterator[Seal]:
    """Give each seal whose entries are no longer what they were when it was made."""
    previous = ""
    for link in Seal.objects.order_by("last").iterator():
        digest, count = _digest(previous, link.first, link.last)
        if (digest, count, previous) != (link.digest, link.count, link.previous):
            yield link
        previous = link.digest


def _digest(previous: str, first: int, last: int) -> tuple[str, int]:
    chain, count = hashlib.sha256(previous.encode()), 0
    rows = (
        AuditEntry.objects.filter(id__gte=first, id__lte=last)
        .order_by("id")
        .values_list(
            "id",
            "biller_id",
            "customer_id",
            "at",
            "event",
            "requestor",
            "actor",
            "user_id",
            "address",
            "subject",
            "facts",
        )
    )
    for row in rows.iterator(chunk_size=5000):
        chain.update(json.dumps(row, default=str, sort_keys=True).encode())
        count += 1
    return chain.hexdigest(), count
