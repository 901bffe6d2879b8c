"""Notices: what payers must be told, written with the change that made it true and sent later."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from billing import audit, sets
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import NoticeDelivery, NoticeKind, NoticeState


def write(*, biller_id: int, customer_id: int, kind: NoticeKind, key: str, facts: dict[str, Any]) -> None:
    """Write one notice and a delivery to an e-mail address, inside the caller's transaction.

    The address is ``facts["email"]`` where a guest gave one, else the customer's; without either there is nobody to tell
    and nothing is written. The same key again writes nothing.
    """
    write_from(
        kind=kind,
        source="SELECT %s::bigint AS biller_id, %s::bigint AS customer_id, %s AS key, %s::jsonb AS facts, %s AS email",
        params=[biller_id, customer_id, key, json.dumps(facts, default=str), facts.get("email")],
    )


def write_from(*, kind: NoticeKind, source: str, params: Sequence[Any]) -> int:
    """Write a notice for each row of a query, inside the caller's transaction; gives how many were new.

    ``source`` is SQL whose columns are ``biller_id, customer_id, key, facts, email``; ``email`` is NULL where the customer's
    own address is the one, and in ``facts`` as well where it is not. Set-based: two statements, however many rows, tied by
    their ids and not by a chain of data-modifying subqueries, whose size the planner cannot guess; addresses are looked up
    row by row, because a join is planned by statistics that know nothing of rows a moment old.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("Notices are written in the transaction that made them true.")
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO billing_notice (biller_id, customer_id, kind, key, facts)
            SELECT s.biller_id, s.customer_id, %s, s.key, s.facts
            FROM ({source}) AS s
            WHERE coalesce(s.email, (SELECT c.email FROM billing_customer c WHERE c.id = s.customer_id)) <> ''
            ON CONFLICT (biller_id, key) DO NOTHING
            RETURNING id
            """,
            [kind, *params],
        )
        written = [pk for (pk,) in cursor.fetchall()]
        if written:
            cursor.execute(
                """
                INSERT INTO billing_noticedelivery
                       (biller_id, customer_id, notice_id, channel, address, state, failure, subject, text)
                SELECT n.biller_id, n.customer_id, n.id, 'email', coalesce(
                           n.facts->>'email', (SELECT c.email FROM billing_customer c WHERE c.id = n.customer_id)
                       ), 'waiting', '', '', ''
                FROM billing_notice n WHERE n.id = ANY(%s::uuid[])
                """,
                [sets.array(written)],
            )
        return len(written)


def write_new(*, kind: NoticeKind, source: str, params: Sequence[Any]) -> None:
    """Write a notice and its e-mail for each row of a query, none of which was ever told, inside the caller's transaction.

    ``source`` is SQL whose columns are ``id, biller_id, customer_id, key, facts, address, due_at``. It is run twice and must
    give the same rows. For very many notices at once: no id comes back here, and no key is looked for.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("Notices are written in the transaction that made them true.")
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO billing_notice (id, biller_id, customer_id, kind, key, facts)"
            f" SELECT s.id, s.biller_id, s.customer_id, %s, s.key, s.facts FROM ({source}) AS s",
            [kind, *params],
        )
        cursor.execute(
            f"INSERT INTO billing_noticedelivery"
            f"       (biller_id, customer_id, notice_id, channel, address, state, due_at, failure, subject, text)"
            f" SELECT s.biller_id, s.customer_id, s.id, 'email', s.address, 'waiting', s.due_at, '', '', ''"
            f" FROM ({source}) AS s",
            params,
        )


class NotSentYet(DomainError):
    """The message waits or is being sent: it goes out by itself."""

    default = "This message has not gone out yet. It will be sent by itself."


@transaction.atomic(durable=True)
def send_again(*, delivery: NoticeDelivery, actor: Actor) -> None:
    """Let a message that was sent, or could not be, go out once more to the same address.

    :raises NotSentYet: it is still on its way.
    """
    delivery = NoticeDelivery.objects.select_for_update(of=["self"]).select_related("notice").get(pk=delivery.pk)
    if delivery.state not in {NoticeState.SENT, NoticeState.FAILED}:
        raise NotSentYet
    delivery.state, delivery.attempts, delivery.failure = NoticeState.WAITING, 0, ""
    delivery.due_at, delivery.claimed_at = timezone.now(), None
    delivery.save(update_fields=["state", "attempts", "failure", "due_at", "claimed_at"])
    audit.record(
        actor=actor,
        event="notice.resent",
        biller_id=delivery.biller_id,
        customer_id=delivery.customer_id,
        subject=f"notice:{delivery.notice_id}",
        facts={"kind": delivery.notice.get_kind_display(), "to": delivery.address},
    )
