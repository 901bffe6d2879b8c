"""Records: what the biller's system must hear, written with the change that made it true."""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection

from billing.actors import Actor
from billing.failpoints import failpoint
from datapump.connectors.registry import CONNECTORS
from datapump.models import LIVE, ChangeLog, Endpoint, OptionalSetting, Purpose, Record, RecordState, RecordType

_SWITCH = {
    RecordType.PAYMENT: ("payments", Purpose.PAYMENTS),
    RecordType.PAPERLESS: ("paperless", Purpose.PAPERLESS),
    RecordType.AUTOPAY: ("autopay", Purpose.AUTOPAY),
    RecordType.SCHEDULED: ("scheduled_payments", Purpose.AUTOPAY),
    # The switch of the payments that they undo or follow from; told where those are, or in words where such are told.
    RecordType.REVERSAL: ("payments", Purpose.AUTOPAY),
    RecordType.FEE: ("payments", Purpose.AUTOPAY),
    RecordType.INACTIVE: ("payments", Purpose.AUTOPAY),
    RecordType.PENDING: ("pay_by_text_changes", Purpose.AUTOPAY),
    RecordType.PAY_BY_TEXT: ("pay_by_text_changes", Purpose.AUTOPAY),
}

_FOLLOW_PAYMENTS = (RecordType.REVERSAL, RecordType.FEE, RecordType.INACTIVE)
"""What an endpoint for payments hears beside them, where its connector tells of it there."""


@dataclass(frozen=True, slots=True)
class Change:
    """One field that changed, as a change log keeps it."""

    field: str
    old: str
    new: str


def write(
    *,
    actor: Actor,
    biller_id: int,
    customer_id: int,
    type: RecordType,  # noqa: A002 — the field's own name
    facts: dict[str, Any],
    before: str = "",
    after: str = "",
    optional_setting: OptionalSetting = OptionalSetting.INSERTED,
    id: uuid.UUID | None = None,  # noqa: A002 — the field's own name
) -> int:
    """Write one record, inside the caller's transaction; gives 1, or 0 where the biller does not want to hear of it.

    ``id`` is that of what it tells, where that must be told once; else it gets one of its own.

    The caller holds the customer's row, so that records of one customer are written in the order in which their changes
    take effect: that is the order of delivery.
    """
    return write_from(
        actor=actor,
        type=type,
        optional_setting=optional_setting,
        source="SELECT coalesce(%s::uuid, uuidv7()) AS id, %s::bigint AS biller_id, %s::bigint AS customer_id,"
        " %s::jsonb AS facts, %s AS before, %s AS after",
        params=[id, biller_id, customer_id, json.dumps(facts, default=str), before, after],
    )


def write_with_changes(
    *,
    actor: Actor,
    biller_id: int,
    customer_id: int,
    facts: dict[str, Any],
    before: str,
    after: str,
    optional_setting: OptionalSetting,
    changes: Sequence[Change],
    now: datetime.datetime,
) -> int:
    """Write a pay-by-text record with its change logs, inside the caller's transaction; gives how many records: 1 or 0.

    The record is born Pending (12), the logs are linked to it, then it becomes Pay by Text (11). Where the biller does not
    want to hear of it the logs are written all the same and belong to no record.

    Source: PBT-5, PBT-6, PBT-7
    """
    written = write_ids(
        actor=actor,
        type=RecordType.PENDING,
        optional_setting=optional_setting,
        source="SELECT uuidv7() AS id, %s::bigint AS biller_id, %s::bigint AS customer_id, %s::jsonb AS facts,"
        " %s AS before, %s AS after",
        params=[biller_id, customer_id, json.dumps(facts, default=str), before, after],
    )
    failpoint("records.pending")
    record_id = written[0] if written else None
    write_changes(
        actor=actor, biller_id=biller_id, customer_id=customer_id, changes=changes, now=now, record_id=record_id
    )
    failpoint("records.linked")
    if record_id is None:
        return 0
    return Record.objects.filter(pk=record_id, type=RecordType.PENDING).update(type=RecordType.PAY_BY_TEXT)


def write_changes(
    *,
    actor: Actor,
    biller_id: int,
    customer_id: int,
    changes: Sequence[Change],
    now: datetime.datetime,
    record_id: uuid.UUID | None = None,
) -> None:
    """Write change logs, inside the caller's transaction; without a record they belong to no update (PBT-7)."""
    ChangeLog.objects.bulk_create(
        ChangeLog(
            biller_id=biller_id, customer_id=customer_id, record_id=record_id, field=one.field, old=one.old, new=one.new,
            requestor=actor.requestor, made_by=actor.label[:120], at=now,
        )
        for one in changes
    )  # fmt: skip


def adopt(endpoint: Endpoint) -> int:
    """Give an endpoint the records that have waited for one, inside the caller's transaction; gives how many.

    Those that waited for it and that it does not hear any more, since it is told by another connector, go to the endpoint
    that does, or wait for one.
    """
    mine, heard = Record.objects.filter(biller_id=endpoint.biller_id), heard_by(endpoint)
    others = mine.filter(endpoint=endpoint, state__in=(RecordState.WAITING, RecordState.RETRYING))
    autopay = Endpoint.objects.filter(biller_id=endpoint.biller_id, purpose=Purpose.AUTOPAY).first()
    others.filter(type__in=_FOLLOW_PAYMENTS).exclude(type__in=heard).update(endpoint=autopay)
    return mine.filter(type__in=heard, state__in=LIVE, endpoint__isnull=True).update(endpoint=endpoint)


def switch_of(type_: RecordType) -> str:
    """Give the switch of a biller's configuration by which updates of a type are made."""
    return _SWITCH[type_][0]


def types_of(purpose: str) -> tuple[RecordType, ...]:
    """Give the types of record that an endpoint of this purpose hears, whatever its connector is."""
    return tuple(type_ for type_, (_, its) in _SWITCH.items() if its == purpose)


def heard_by(endpoint: Endpoint) -> tuple[RecordType, ...]:
    """Give the types of record that are written for an endpoint, as its biller's endpoints and their connectors are now."""
    types = types_of(endpoint.purpose)
    if endpoint.purpose == Purpose.PAYMENTS and endpoint.connector in _tell_with_payments():
        return (*types, *_FOLLOW_PAYMENTS)
    of_payments = Endpoint.objects.filter(
        biller_id=endpoint.biller_id, purpose=Purpose.PAYMENTS, connector__in=_tell_with_payments()
    )
    if endpoint.purpose == Purpose.AUTOPAY and of_payments.exists():
        return tuple(type_ for type_ in types if type_ not in _FOLLOW_PAYMENTS)
    return types


def _tell_with_payments() -> list[str]:
    return [name for name, connector in CONNECTORS.items() if connector.tells_with_payments]


def write_from(
    *,
    actor: Actor | None,
    type: RecordType,  # noqa: A002 — the field's own name
    source: str,
    params: Sequence[Any],
    optional_setting: OptionalSetting = OptionalSetting.INSERTED,
) -> int:
    """Write a record for each row of a query, inside the caller's transaction; gives how many.

    ``source`` is SQL whose columns are ``id, biller_id, customer_id, facts, before, after``, and ``requestor, made_by``
    where ``actor`` is ``None``. A type that the biller has switched off makes no record; one without an endpoint waits
    for it. Set-based: one statement, however many rows.
    """
    sql, everything = _writing(actor, type, source, params, optional_setting)
    with connection.cursor() as cursor:
        cursor.execute(sql, everything)
        return int(cursor.rowcount)


def write_ids(
    *,
    actor: Actor | None,
    type: RecordType,  # noqa: A002 — the field's own name
    source: str,
    params: Sequence[Any],
    optional_setting: OptionalSetting = OptionalSetting.INSERTED,
) -> list[uuid.UUID]:
    """Write as ``write_from`` does, and give the records' ids."""
    sql, everything = _writing(actor, type, source, params, optional_setting)
    with connection.cursor() as cursor:
        cursor.execute(f"{sql} RETURNING id", everything)
        return [pk for (pk,) in cursor.fetchall()]


def _writing(
    actor: Actor | None,
    type: RecordType,  # noqa: A002 — the field's own name
    source: str,
    params: Sequence[Any],
    optional_setting: OptionalSetting,
) -> tuple[str, list[Any]]:
    if not connection.in_atomic_block:
        raise RuntimeError("Records are written in the transaction that made them true.")
    switch, purpose = _SWITCH[type]
    hears = "e.purpose = %s"
    hears_params: list[Any] = [purpose]
    if type in _FOLLOW_PAYMENTS:
        hears = f"""e.id = (
            SELECT h.id FROM datapump_endpoint h
            WHERE h.biller_id = s.biller_id
              AND (h.purpose = %s OR h.purpose = '{Purpose.PAYMENTS}' AND h.connector = ANY (%s::text[]))
            ORDER BY h.purpose = '{Purpose.PAYMENTS}' DESC LIMIT 1)"""
        hears_params = [purpose, _tell_with_payments()]
    by = "s.requestor, s.made_by" if actor is None else "%s, %s"
    by_params: list[Any] = [] if actor is None else [actor.requestor, actor.label[:120]]
    sql = f"""
        INSERT INTO datapump_record (id, biller_id, customer_id, endpoint_id, type, optional_setting, state,
                                     requestor, made_by, facts, before, after, created_at, failure, closed_by)
        SELECT s.id, s.biller_id, s.customer_id, e.id, %s, %s, 'waiting', {by}, s.facts, s.before, s.after,
               clock_timestamp(), '', ''
        FROM ({source}) AS s
        JOIN datapump_configuration c ON c.biller_id = s.biller_id AND c.{switch}
        LEFT JOIN datapump_endpoint e ON e.biller_id = s.biller_id AND {hears}"""
    return sql, [int(type), int(optional_setting), *by_params, *params, *hears_params]
