"""What becomes of scheduled payments when their money was asked for, and who is told of what changes with them.

Source: MSP-15.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping, Sequence

from django.db import connection

from billing.actors import Actor
from billing.models import NoticeKind
from billing.operations import notices
from datapump.models import OptionalSetting, RecordType
from datapump.operations import records
from payments.operations import fees

_WORDS = "s.amount::text || ' on ' || to_char(s.pay_on, 'MM/DD/YYYY') || ', bill ' || i.number"


def words_of(ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, str]:
    """Give scheduled payments as they stand, in words for the history of DataPump."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT s.id, left({_WORDS}, 120) FROM payments_scheduledpayment s"
            " JOIN billing_invoice i ON i.id = s.invoice_id WHERE s.id = ANY(%s)",
            [list(ids)],
        )
        return dict(cursor.fetchall())


def tell(ids: Sequence[uuid.UUID], status: str, *, actor: Actor, before: Mapping[uuid.UUID, str] | None = None) -> None:
    """Write the records that tell the biller's system, inside the caller's transaction, who holds the customers.

    ``status`` is ``scheduled``, ``changed`` or ``cancelled``; ``before`` is what each was.
    """
    was = before or {}
    records.write_from(
        actor=actor,
        type=RecordType.SCHEDULED,
        optional_setting=OptionalSetting.INSERTED if status == "scheduled" else OptionalSetting.UPDATED,
        source=f"""
            SELECT uuidv7() AS id, s.biller_id, s.customer_id,
                   jsonb_build_object('status', %s::text, 'scheduled_payment', s.id, 'on', s.pay_on, 'currency', s.currency,
                                      'amount', s.amount::text, 'invoice', i.number) AS facts,
                   v.before, CASE WHEN %s = 'cancelled' THEN 'Cancelled' ELSE left({_WORDS}, 120) END AS after
            FROM unnest(%s::uuid[], %s::text[]) AS v(id, before)
            JOIN payments_scheduledpayment s ON s.id = v.id
            JOIN billing_invoice i ON i.id = s.invoice_id""",
        params=[status, status, list(ids), [was.get(pk, "") for pk in ids]],
    )


def notify(ids: Sequence[uuid.UUID], kind: NoticeKind, *, now: datetime.datetime, followed: bool = False) -> None:
    """Write the notices that tell the payers, inside the caller's transaction; ``followed``: a new bill brought the change."""
    notices.write_from(
        kind=kind,
        source=f"""
            SELECT s.biller_id, s.customer_id, %s || ':' || s.id || ':' || %s AS key,
                   jsonb_build_object('amount', s.amount::text, 'currency', s.currency, 'pay_on', s.pay_on, 'number', i.number,
                                      'whole', CASE WHEN s.whole THEN 'yes' END, 'followed', nullif(%s, ''),
                                      'method', jsonb_build_object('kind', n.kind, 'brand', nullif(n.brand, ''), 'last4', n.last4),
                                      'declined', CASE WHEN n.state = 'bad' THEN 'yes' END,
                                      'reason', s.failure, 'consent', s.consent_text,
                                      'fees', {fees.FACTS.format(payment="s.payment_id")}) AS facts,
                   NULL AS email
            FROM payments_scheduledpayment s
            JOIN billing_invoice i ON i.id = s.invoice_id
            JOIN payments_instrument n ON n.id = s.instrument_id
            WHERE s.id = ANY(%s)""",
        params=[str(kind), f"{now.timestamp():.6f}", "yes" if followed else "", list(ids)],
    )


def paid(payment_ids: Sequence[str], *, actor: Actor, now: datetime.datetime) -> None:
    """End the scheduled payments whose payments were posted, inside the caller's transaction; receipts tell the payers."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE payments_scheduledpayment SET state = 'paid', ended_at = %s, ended_by = %s"
            " WHERE payment_id = ANY(%s::uuid[]) AND state = 'processing'",
            [now, actor.label[:120], list(payment_ids)],
        )


def not_paid(payment_ids: Sequence[str], *, not_reached: Sequence[int], actor: Actor, now: datetime.datetime) -> None:
    """End the scheduled payments whose payments failed, inside the caller's transaction, who holds the customers.

    ``not_reached`` are the results by which the processor did nothing: those wait for the next run.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE payments_scheduledpayment s
            SET failure = p.failure, state = CASE WHEN p.result = ANY(%s) THEN 'scheduled' ELSE 'failed' END,
                ended_at = CASE WHEN p.result = ANY(%s) THEN NULL ELSE %s::timestamptz END,
                ended_by = CASE WHEN p.result = ANY(%s) THEN '' ELSE %s END
            FROM payments_payment p
            WHERE p.id = ANY(%s::uuid[]) AND s.payment_id = p.id AND s.state = 'processing'
            RETURNING s.id, s.state
            """,
            [*[list(not_reached)] * 2, now, list(not_reached), actor.label[:120], list(payment_ids)],
        )
        failed = [pk for pk, state in cursor.fetchall() if state == "failed"]
    if failed:
        tell(failed, "cancelled", actor=actor, before=words_of(failed))
        notify(failed, NoticeKind.SCHEDULED_FAILED, now=now)
