"""What pages and the API read of DataPump: the history, an update with all its tries, and how well each endpoint is.

The history is read by four indexes and nothing else, at any size: by time, by type and state, by customer, by kind of
failure. With types or states chosen each pair of them is read by itself, newest first, and the few rows of each are
merged. What is on hold is not stored: it is found from the few records that hold others up, by the index of the live ones.

Source: PBT-10; the design's history figures
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models import Sum
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from billing import formats, phone_numbers
from billing.models import Biller
from datapump.models import ChangeLog, Delivery, Endpoint, Envelope, Outcome, Record, RecordState, RecordType
from datapump.operations.records import switch_of, types_of

CUSTOMERS_SEARCHED = 25
"""How many accounts a search may stand for; a name that begins more accounts than this must be typed further."""

NEWER_MOST = 100
_E164 = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)

ON_HOLD = "on_hold"
"""Chosen like a state: waiting behind an earlier update."""

_ALL_TYPES = tuple(int(type_) for type_ in RecordType)
_ALL_STATES = tuple(str(state) for state in RecordState)


# ---- The history ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which records of a biller are meant; what is empty does not narrow. ``customers`` of ``None`` are all of them."""

    types: tuple[int, ...] = ()
    states: tuple[str, ...] = ()
    customers: tuple[int, ...] | None = None
    record: uuid.UUID | None = None
    requestors: tuple[int, ...] = ()
    troubles: tuple[str, ...] = ()
    start: datetime | None = None
    end: datetime | None = None

    def as_json(self) -> dict[str, Any]:
        """Write it for keeping with a run."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> Chosen:
        """Read what ``as_json`` wrote."""
        return cls(
            types=tuple(kept["types"]),
            states=tuple(kept["states"]),
            customers=None if kept["customers"] is None else tuple(kept["customers"]),
            record=uuid.UUID(kept["record"]) if kept["record"] else None,
            requestors=tuple(kept["requestors"]),
            troubles=tuple(kept["troubles"]),
            start=datetime.fromisoformat(kept["start"]) if kept["start"] else None,
            end=datetime.fromisoformat(kept["end"]) if kept["end"] else None,
        )

    @property
    def holds(self) -> bool:
        """Whether what is on hold is meant by itself, and not with all that waits."""
        return ON_HOLD in self.states and RecordState.WAITING not in self.states and not self.troubles

    def states_read(self) -> tuple[str, ...]:
        """The states to read: a kind of failure is a state's who has one, which spares reading all that went well."""
        if self.troubles:
            failing = (RecordState.RETRYING, RecordState.FAILED, RecordState.SKIPPED, RecordState.SENDING)
            return tuple(str(state) for state in failing if not self.states or state in self.states) or ("",)
        return tuple(state for state in self.states if state != ON_HOLD)


def _plain(value: Any) -> Any:
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, tuple):
        return list(value)
    return value.isoformat() if isinstance(value, datetime) else value


@dataclass(slots=True)
class _Query:
    """SQL that grows, with its parameters in the order of their places."""

    text: list[str] = field(default_factory=list)
    params: list[Any] = field(default_factory=list)

    def add(self, text: str, *params: Any) -> None:
        self.text.append(text)
        self.params.extend(params)


Bound = tuple[datetime, uuid.UUID]


def _source(
    chosen: Chosen, biller_id: int, limit: int, newest_first: bool, bound: Bound | None, *, merged: bool = True
) -> _Query:
    """Write the query for (created_at, id), each part in the order of an index; unmerged parts are for counting."""
    if not chosen.holds:
        return _stored(chosen, biller_id, limit, newest_first, bound, merged=merged)
    held = _held(chosen, biller_id, limit, newest_first, bound)
    if not chosen.states_read():
        return held
    stored = _stored(chosen, biller_id, limit, newest_first, bound, merged=merged)
    way = "DESC" if newest_first else "ASC"
    query = _Query()
    query.add(f"SELECT p.created_at, p.id FROM (({' '.join(held.text)})", *held.params)
    query.add(f"UNION ALL ({' '.join(stored.text)})) p", *stored.params)
    query.add(f"ORDER BY p.created_at {way}, p.id {way} LIMIT %s", limit)
    return query


def _held(chosen: Chosen, biller_id: int, limit: int | None, newest_first: bool, bound: Bound | None) -> _Query:
    """Write the query for what is on hold, as ``mark_blocked`` says it: from each customer's first update that holds."""
    way = "DESC" if newest_first else "ASC"
    query = _Query()
    query.add(
        """
        SELECT p.created_at, p.id FROM (
            SELECT DISTINCT ON (o.endpoint_id, o.customer_id) o.endpoint_id, o.customer_id, o.created_at, o.id
            FROM unnest(%s::smallint[]) AS t(type) CROSS JOIN unnest(%s::text[]) AS s(state) CROSS JOIN LATERAL (
                SELECT b.endpoint_id, b.customer_id, b.created_at, b.id FROM datapump_record b
                WHERE b.biller_id = %s AND b.type = t.type AND b.state = s.state
                OFFSET 0 -- each pair by the index, however few rows there seem to be in all
            ) o JOIN datapump_endpoint e ON e.id = o.endpoint_id AND (e.hold_after_failure OR s.state = 'retrying')
        """,
        list(_ALL_TYPES),
        [str(RecordState.RETRYING), str(RecordState.FAILED)],
        biller_id,
    )
    if chosen.customers is not None:
        query.add("WHERE o.customer_id = ANY(%s::bigint[])", list(chosen.customers))
    query.add(
        """
            ORDER BY o.endpoint_id, o.customer_id, o.created_at, o.id
        ) h CROSS JOIN LATERAL (
            SELECT r.created_at, r.id FROM datapump_record r
            WHERE r.endpoint_id = h.endpoint_id AND r.customer_id = h.customer_id AND r.state = 'waiting'
              AND r.state IN ('waiting', 'sending', 'retrying') AND (r.created_at, r.id) > (h.created_at, h.id)
        """
    )
    if chosen.record is not None:
        query.add("AND r.id = %s", chosen.record)
    if chosen.types:
        query.add("AND r.type = ANY(%s::smallint[])", list(chosen.types))
    _narrow(query, chosen, bound, newest_first)
    query.add(f"ORDER BY r.created_at {way}, r.id {way}")
    if limit is None:
        query.add(") p")
    else:
        query.add("LIMIT %s) p", limit)
        query.add(f"ORDER BY p.created_at {way}, p.id {way} LIMIT %s", limit)
    return query


def held_ids(biller_id: int) -> tuple[str, list[Any]]:
    """Give SQL, with its parameters, whose one column is the ids of what is on hold."""
    query = _held(Chosen(), biller_id, None, True, None)
    return f"SELECT held.id FROM ({' '.join(query.text)}) AS held", query.params


def _narrow(query: _Query, chosen: Chosen, bound: Bound | None, newest_first: bool) -> None:
    if chosen.requestors:
        query.add("AND r.requestor = ANY(%s::smallint[])", list(chosen.requestors))
    if chosen.troubles:
        # So written, no index offers itself: what is read is chosen before.
        query.add("AND r.trouble || '' = ANY(%s::text[])", list(chosen.troubles))
    if chosen.start is not None:
        query.add("AND r.created_at >= %s", chosen.start)
    if chosen.end is not None:
        query.add("AND r.created_at < %s", chosen.end)
    if bound is not None:
        query.add(f"AND (r.created_at, r.id) {'<' if newest_first else '>'} (%s, %s)", *bound)


def _stored(
    chosen: Chosen, biller_id: int, limit: int, newest_first: bool, bound: Bound | None, *, merged: bool
) -> _Query:
    query = _Query()
    states = chosen.states_read()
    by_trouble = bool(chosen.troubles) and not (chosen.record or chosen.customers is not None)
    if chosen.record is not None:
        query.add(
            "SELECT r.created_at, r.id FROM datapump_record r WHERE r.biller_id = %s AND r.id = %s",
            biller_id,
            chosen.record,
        )
        parts = []
    elif chosen.customers is not None:
        query.add(
            "SELECT p.created_at, p.id FROM unnest(%s::bigint[]) AS w(customer) CROSS JOIN LATERAL (",
            list(chosen.customers),
        )
        query.add(
            "SELECT r.created_at, r.id FROM datapump_record r WHERE r.biller_id = %s AND r.customer_id = w.customer",
            biller_id,
        )
        parts = [") p"]
    elif by_trouble:
        query.add(
            "SELECT p.created_at, p.id FROM unnest(%s::text[]) AS k(trouble) CROSS JOIN unnest(%s::text[]) AS s(state)"
            " CROSS JOIN LATERAL (",
            list(chosen.troubles),
            list(states),
        )
        query.add(
            "SELECT r.created_at, r.id FROM datapump_record r"
            " WHERE r.biller_id = %s AND r.trouble = k.trouble AND r.trouble <> '' AND r.state = s.state",
            biller_id,
        )
        if chosen.types:
            # So written, no other index offers itself.
            query.add("AND r.type + 0 = ANY(%s::smallint[])", list(chosen.types))
        parts = [") p"]
    elif chosen.types or states:
        query.add(
            "SELECT p.created_at, p.id FROM unnest(%s::smallint[]) AS t(type) CROSS JOIN unnest(%s::text[]) AS s(state)"
            " CROSS JOIN LATERAL (",
            list(chosen.types or _ALL_TYPES),
            list(states or _ALL_STATES),
        )
        query.add(
            "SELECT r.created_at, r.id FROM datapump_record r WHERE r.biller_id = %s AND r.type = t.type AND r.state = s.state",
            biller_id,
        )
        parts = [") p"]
    else:
        query.add("SELECT r.created_at, r.id FROM datapump_record r WHERE r.biller_id = %s", biller_id)
        parts = []
    if chosen.record is not None or chosen.customers is not None:
        if chosen.types:
            query.add("AND r.type = ANY(%s::smallint[])", list(chosen.types))
        if states:
            query.add("AND r.state = ANY(%s::text[])", list(states))
    # Said once more, the planner would take the same condition for another one that leaves fewer rows still.
    _narrow(query, replace(chosen, troubles=()) if by_trouble else chosen, bound, newest_first)
    way = "DESC" if newest_first else "ASC"
    query.add(f"ORDER BY r.created_at {way}, r.id {way}")
    query.add("LIMIT %s", limit)
    for end in parts:
        query.add(end)
        if merged:
            query.add(f"ORDER BY p.created_at {way}, p.id {way}")
        query.add("LIMIT %s", limit)
    return query


def history_ids(
    *,
    biller_id: int,
    chosen: Chosen,
    limit: int,
    newest_first: bool = True,
    bound: tuple[datetime, uuid.UUID] | None = None,
) -> list[tuple[datetime, uuid.UUID]]:
    """Give (created_at, id) of at most ``limit`` records in their order, beyond the bound where there is one."""
    query = _source(chosen, biller_id, limit, newest_first, bound)
    with connection.cursor() as cursor:
        cursor.execute(" ".join(query.text), query.params)
        keys: list[tuple[datetime, uuid.UUID]] = cursor.fetchall()
    return keys


def history_page(
    *,
    biller_id: int,
    chosen: Chosen,
    limit: int,
    newest_first: bool = True,
    bound: tuple[datetime, uuid.UUID] | None = None,
) -> list[Record]:
    """Give a page of the history with customers at hand, each record with ``blocked_by``: see ``mark_blocked``."""
    keys = history_ids(biller_id=biller_id, chosen=chosen, limit=limit, newest_first=newest_first, bound=bound)
    found = Record.objects.select_related("customer", "endpoint").in_bulk([key for _, key in keys])
    records = [found[key] for _, key in keys if key in found]
    mark_blocked(records)
    return records


def history_count(*, biller_id: int, chosen: Chosen, most: int) -> int:
    """Count the records, but stop at ``most``."""
    query = _source(chosen, biller_id, most, True, None, merged=False)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM ({' '.join(query.text)}) AS counted", query.params)
        count: int = cursor.fetchone()[0]
    return count


def history_stream(
    *, biller_id: int, chosen: Chosen, newest_first: bool = True, batch: int = 2_000
) -> Iterator[Record]:
    """Give the whole history in its order, a batch at a time, in flat memory."""
    bound = None
    while True:
        keys = history_ids(biller_id=biller_id, chosen=chosen, limit=batch, newest_first=newest_first, bound=bound)
        found = Record.objects.select_related("customer", "endpoint").in_bulk([key for _, key in keys])
        records = [found[key] for _, key in keys if key in found]
        mark_blocked(records)
        yield from records
        if len(keys) < batch:
            return
        bound = keys[-1]


def newer_count(*, biller_id: int, chosen: Chosen, than: tuple[datetime, uuid.UUID], most: int = NEWER_MOST) -> int:
    """Count the records that came in after one, but stop at ``most``."""
    return len(history_ids(biller_id=biller_id, chosen=chosen, limit=most, newest_first=False, bound=than))


def customers_for(biller_id: int, text: str) -> tuple[int, ...]:
    """Give the customers that a search text stands for: account number, telephone, e-mail, or the beginning of a name."""
    text = text.strip()
    if not text:
        return ()
    exactly = [("number", text), ("display_number", text)]
    if "@" in text:
        exactly.append(("email", text.lower()))
    if phone := phone_numbers.read(text):
        exactly.append(("phone", phone))
    one = "(SELECT id FROM billing_customer WHERE biller_id = %s AND {} = %s LIMIT %s)"
    found = _customer_ids(
        " UNION ALL ".join(one.format(column) for column, _ in exactly),
        [part for _, value in exactly for part in (biller_id, value, CUSTOMERS_SEARCHED)],
    )
    if not found:
        begins = text.lower()
        # A range of the stored small-letter name: LIKE may not use an index below row security.
        found = _customer_ids(
            "SELECT id FROM billing_customer WHERE biller_id = %s AND search_name >= %s AND search_name < %s"
            " ORDER BY search_name LIMIT %s",
            [biller_id, begins, begins + "\U0010ffff", CUSTOMERS_SEARCHED],
        )
    return tuple(dict.fromkeys(found))


def _customer_ids(statement: str, params: list[Any]) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        return [pk for (pk,) in cursor.fetchall()]


def mark_blocked(records: Sequence[Record]) -> None:
    """Set ``blocked_by`` on each record: the id of the earlier update that it waits behind, or ``None``.

    An update waits behind one of the same customer and endpoint that is being retried, or that failed where the endpoint
    holds what comes after a failure.
    """
    waiting = [one for one in records if one.state in (RecordState.WAITING, RecordState.RETRYING)]
    for one in records:
        one.blocked_by = None
    if not waiting:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT w.id, b.id FROM unnest(%s::uuid[]) AS w(id)
            JOIN datapump_record r ON r.id = w.id
            JOIN datapump_endpoint e ON e.id = r.endpoint_id
            CROSS JOIN LATERAL (
                (SELECT o.id, o.created_at FROM datapump_record o
                 WHERE o.endpoint_id = r.endpoint_id AND o.customer_id = r.customer_id AND o.state = 'retrying'
                 AND (o.created_at, o.id) < (r.created_at, r.id) AND o.state IN ('waiting', 'sending', 'retrying')
                 ORDER BY o.created_at, o.id LIMIT 1)
                UNION ALL
                (SELECT o.id, o.created_at FROM datapump_record o
                 WHERE e.hold_after_failure AND o.endpoint_id = r.endpoint_id AND o.customer_id = r.customer_id
                 AND o.state = 'failed' AND (o.created_at, o.id) < (r.created_at, r.id)
                 ORDER BY o.created_at, o.id LIMIT 1)
                ORDER BY created_at LIMIT 1
            ) b
            """,
            [[one.pk for one in waiting]],
        )
        blocking = dict(cursor.fetchall())
    for one in waiting:
        one.blocked_by = blocking.get(one.pk)


# ---- In words ---------------------------------------------------------------------------------------------------------


def shown_status(record: Record) -> tuple[str, object]:
    """Give the status as pages show it, with what completes its words: ``on_hold`` where it waits behind another."""
    match record.state:
        case RecordState.WAITING if record.blocked_by is not None:
            return "on_hold", None
        case RecordState.RETRYING:
            endpoint = record.endpoint
            due = record.due_at
            if endpoint is not None and endpoint.closed_until is not None and endpoint.closed_until > due:
                due = endpoint.closed_until
            return "retrying", due
        case RecordState.SKIPPED:
            return "skipped", record.closed_by
        case RecordState.WITHHELD:
            return "withheld", record.failure
    return record.state, None


_PAY_BY_TEXT = {
    "pending": _("Pay by text – pending registration"),
    "enrolled": _("Pay by text – enrolled"),
    "unenrolled": _("Pay by text – unenrolled"),
    "number_changed": _("Pay by text – phone number changed"),
}
"""The four updates of pay by text (PBT-2), by what a record says of itself."""


def update_words(record: Record) -> str:
    """Say what an update is about."""
    if record.type == RecordType.FEE and record.facts.get("status") == "waived":
        return gettext("Fee taken back")
    if record.type == RecordType.PAY_BY_TEXT and (words := _PAY_BY_TEXT.get(record.facts.get("status", ""))):
        return str(words)
    return str(
        {
            RecordType.PAYMENT: _("Payment"),
            RecordType.PAPERLESS: _("Paperless billing"),
            RecordType.AUTOPAY: _("AutoPay"),
            RecordType.SCHEDULED: _("Scheduled payment"),
            RecordType.REVERSAL: _("Payment given back or returned"),
            RecordType.FEE: _("Fee"),
            RecordType.INACTIVE: _("Account set inactive"),
            RecordType.PAY_BY_TEXT: _("Pay by text"),
            RecordType.PENDING: _("Pay by text – being written"),
        }[RecordType(record.type)]
    )


def change_words(record: Record) -> str:
    """Say what changed, from before to after, numbers masked."""
    if record.type in {RecordType.PAYMENT, RecordType.REVERSAL, RecordType.FEE}:
        amount, currency = record.facts.get("amount"), record.facts.get("currency")
        return formats.money(Decimal(amount), currency) if amount and currency else record.after
    before, after = masked(record.before), masked(record.after)
    return f"{before} → {after}" if before else after


def masked(text: str) -> str:
    """Write an old or new value of a change as it may be shown: telephone numbers hidden but for their last figures."""
    if _E164.fullmatch(text):
        return formats.masked_phone(text)
    return text


def result_words(record: Record) -> str:
    """Say how the last try ended."""
    if record.state == RecordState.DELIVERED:
        return gettext("Accepted by the biller’s system")
    if record.state == RecordState.WITHHELD:
        return ""
    return record.failure


# ---- One update -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Try:
    """One try with what was said, where that is still kept."""

    delivery: Delivery
    envelope: Envelope | None


@dataclass(frozen=True, slots=True)
class Update:
    """Everything about one record: its tries from the first on, its change logs, its neighbours of the same customer."""

    record: Record
    tries: list[Try]
    change_logs: list[ChangeLog]
    previous: Record | None
    following: Record | None
    pair: Record | None


def update(record: Record) -> Update:
    """Read everything about one record."""
    deliveries = list(Delivery.objects.filter(record=record).order_by("at", "pk")[:200])
    envelopes = Envelope.objects.in_bulk([one.envelope_id for one in deliveries if one.envelope_id is not None])
    mark_blocked([record])
    own = Record.objects.filter(biller_id=record.biller_id, customer_id=record.customer_id)
    key = {"created_at": record.created_at, "pk": record.pk}
    previous = _beside(own, key, later=False)
    following = _beside(own, key, later=True)
    return Update(
        record=record,
        tries=[Try(one, envelopes.get(one.envelope_id or 0)) for one in deliveries],
        change_logs=change_logs_of(record),
        previous=previous,
        following=following,
        pair=_pair(own, record, key),
    )


def change_logs_of(record: Record) -> list[ChangeLog]:
    """Give the change logs that a record tells of."""
    return list(ChangeLog.objects.filter(record=record).order_by("pk"))


def _beside(own: Any, key: dict[str, Any], *, later: bool) -> Record | None:
    way, sign = ("gt", "") if later else ("lt", "-")
    same = own.filter(created_at=key["created_at"], **{f"pk__{way}": key["pk"]})
    other = own.filter(**{f"created_at__{way}": key["created_at"]})
    found: Record | None = (
        same.order_by(f"{sign}created_at", f"{sign}pk").first()
        or other.order_by(f"{sign}created_at", f"{sign}pk").first()
    )
    return found


def _pair(own: Any, record: Record, key: dict[str, Any]) -> Record | None:
    """Give the other half of a registration by text: the enrolment of a pending one, or the pending one of an enrolment."""
    if record.type != RecordType.PAY_BY_TEXT:
        return None
    texts = own.filter(type=RecordType.PAY_BY_TEXT)
    found = None
    if record.facts.get("status") == "pending":
        found, wanted = _beside(texts, key, later=True), "enrolled"
    elif record.facts.get("status") == "enrolled":
        found, wanted = _beside(texts, key, later=False), "pending"
    return found if found is not None and found.facts.get("status") == wanted else None


def later_delivered(record: Record) -> bool:
    """Tell whether a later update of the same kind and customer has been delivered: sending this again says older news."""
    return Record.objects.filter(
        biller_id=record.biller_id,
        customer_id=record.customer_id,
        type=record.type,
        state=RecordState.DELIVERED,
        created_at__gt=record.created_at,
    ).exists()


# ---- The endpoints ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Health:
    """How one endpoint does. ``state`` is ``closed`` (answering), ``half_open``, ``open`` or ``off``."""

    endpoint: Endpoint
    state: str
    next_try: datetime | None
    failures: int
    oldest: datetime | None
    waiting: int
    switched_on: bool


def endpoint_health(biller: Biller, *, now: datetime) -> list[Health]:
    """Give every endpoint of a biller with how it does, in the order of their settings."""
    configuration = getattr(biller, "datapump", None)
    health = []
    for endpoint in sorted(Endpoint.objects.filter(biller=biller), key=_setting_order):
        types = types_of(endpoint.purpose)
        if endpoint.paused:
            state = "off"
        elif endpoint.closed_until is None:
            state = "closed"
        else:
            state = "open" if endpoint.closed_until > now else "half_open"
        failures = Envelope.objects.filter(
            endpoint=endpoint, at__gt=now - timedelta(hours=24), failures__gt=0
        ).aggregate(sum=Sum("failures"))["sum"]
        oldest, waiting = _waiting(biller.pk, types) if types else (None, 0)
        switched_on = configuration is not None and any(getattr(configuration, switch_of(type_)) for type_ in types)
        health.append(Health(endpoint, state, endpoint.closed_until, failures or 0, oldest, waiting, switched_on))
    return health


def _setting_order(endpoint: Endpoint) -> int:
    return ["balances", "payments", "paperless", "autopay"].index(endpoint.purpose)


def _waiting(biller_id: int, types: Sequence[int], most: int = 5_001) -> tuple[datetime | None, int]:
    """Give since when the oldest live record of these types waits, and how many do, up to ``most``."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT min(p.oldest), sum(p.count) FROM unnest(%s::smallint[]) AS t(type)
            CROSS JOIN unnest(ARRAY['waiting', 'sending', 'retrying']) AS s(state)
            CROSS JOIN LATERAL (
                SELECT (SELECT r.created_at FROM datapump_record r WHERE r.biller_id = %s AND r.type = t.type
                        AND r.state = s.state ORDER BY r.created_at, r.id LIMIT 1) AS oldest,
                       (SELECT count(*) FROM (SELECT FROM datapump_record r WHERE r.biller_id = %s AND r.type = t.type
                        AND r.state = s.state LIMIT %s) c) AS count
            ) p
            """,
            [[int(type_) for type_ in types], biller_id, biller_id, most],
        )
        oldest, count = cursor.fetchone()
    return oldest, min(int(count or 0), most)


def failed_count(biller_id: int, most: int = 1_001) -> int:
    """Count the failed updates of a biller for the queue on the search page, but stop at ``most``."""
    return history_count(biller_id=biller_id, chosen=Chosen(states=(RecordState.FAILED,)), most=most)


def trouble_choices() -> list[tuple[str, str]]:
    """Give the kinds of failure as form choices."""
    return [(str(value), str(label)) for value, label in Outcome.choices if value != Outcome.DELIVERED]
