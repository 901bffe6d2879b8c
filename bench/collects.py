"""Collect's database work: ours, the same rows by hand-written set-based SQL, and a bulk ORM loop.

The processor is left out: a driver inside this process passes every charge at once. Everything else is the real code,
tables, indexes, row security and role. Each round takes bills of its own day, so that nobody works on warm rows.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from bench import measures
from bench.measures import Cost, measure

DAY = datetime.date(2026, 1, 1)


class PassingGateway:
    """A processor that passes everything at once, inside this process."""

    name = "passing"
    dedupe_window = datetime.timedelta(days=7)
    settle_time = datetime.timedelta(seconds=60)
    batch_limit = 5_000

    def send(self, requests: Sequence[Any]) -> Iterator[Any]:
        """Pass each request."""
        from payments.gateways.base import Answer, Result

        for request in requests:
            yield Answer(request.key, Result.PASS, "A00001", "ref", "", "Approved", request.amount)


def run(*, scale: float = 1.0, rounds: int = 5) -> None:
    """Measure and print; ``scale`` makes every size smaller or larger."""
    bills, peer_bills = int(20_000 * scale), int(1_000 * scale)
    from billing import tenancy
    from payments.operations import runs

    setattr(runs, "open_route", lambda route: PassingGateway())  # noqa: B010  (the processor is what is left out)
    days = 2 * rounds + 3
    biller_id, _sizes = _make(rounds, bills, peer_bills)
    with tenancy.acting_for([biller_id]):
        ours: list[Cost] = []
        bare: list[Cost] = []
        peer: list[Cost] = []
        _ours(biller_id, days - 1)  # warms the caches of plans and pages
        for n in range(rounds):
            pair = [(_ours, ours, 2 * n), (floor, bare, 2 * n + 1)]
            for work, costs, day in pair if n % 2 == 0 else reversed(pair):
                costs.append(measure(lambda work=work, day=day: work(biller_id, day)))  # type: ignore[misc]
            peer.append(measure(lambda n=n: _peer(biller_id, days + n)))  # type: ignore[misc]
        measures.as_superuser("ALTER SYSTEM SET full_page_writes = off")
        measures.as_superuser("SELECT pg_reload_conf()")
        lean = measure(lambda: _ours(biller_id, days - 2))
        measures.as_superuser("ALTER SYSTEM RESET full_page_writes")
        measures.as_superuser("SELECT pg_reload_conf()")
    chunks = -(-bills // 5_000)

    def row(name: str, costs: Sequence[Cost]) -> list[str]:
        return [
            name,
            f"{costs[0].items:,}",
            f"{measures.middle(costs, lambda c: c.per_second):,.0f}",
            f"{measures.middle(costs, lambda c: c.items / c.wall):,.0f}",
            f"{measures.middle(costs, lambda c: c.wal / c.items):,.0f}",
            f"{measures.middle(costs, lambda c: c.statements):,.0f}",
        ]

    wal = lean.wal / lean.items / 1000
    measures.table(
        f"Collect, database part ({rounds} rounds, medians)",
        ["", "payments", "per CPU second", "per second", "WAL bytes each", "statements"],
        [row("floor: hand-written SQL", bare), row("ours", ours), row("peer: bulk ORM", peer)],
        [
            measures.verdict("ours / floor", measures.ratio(ours, bare), 0.70),
            measures.verdict("ours / bulk ORM", measures.ratio(ours, peer), 15),
            measures.verdict("WAL a payment without full-page images", wal, 3.0, at_most=True, unit=" kB"),
            f"statements a chunk of 5,000: {measures.middle(ours, lambda c: c.statements) / chunks:.0f}; "
            f"peak memory {measures.peak_memory()} MB",
        ],
    )


def _make(rounds: int, bills: int, peer_bills: int) -> tuple[int, dict[int, int]]:
    """Make a biller, and for each day of the measurement so many customers with AutoPay and a bill."""
    from billing import tenancy

    biller_id, route_id = make_biller()
    with tenancy.acting_for([biller_id]):
        days = 2 * rounds + 3
        sizes = dict.fromkeys(range(days), bills) | {days + n: peer_bills for n in range(rounds)}
        with transaction.atomic(), connection.cursor() as cursor:
            for day, size in sizes.items():
                fill(cursor, biller_id, route_id, day, size)
    measures.as_superuser("VACUUM ANALYZE")
    measures.as_superuser("CHECKPOINT")
    return biller_id, sizes


def make_biller() -> tuple[int, int]:
    """Make a biller with a route and a system to be told; gives the ids of biller and route."""
    from billing import tenancy
    from billing.models import Biller
    from datapump.models import Configuration, Endpoint
    from payments.models import Route

    with tenancy.acting_for(tenancy.EVERY_BILLER):
        biller = Biller.objects.create(number=4711, name="Bench", slug="bench", time_zone="UTC")
        Configuration.objects.create(biller=biller)
        Endpoint.objects.create(biller=biller, purpose="payments", url="http://127.0.0.1:9/cis")
        route = Route.objects.create(
            biller=biller, name="Bench", driver="simulator", merchant="bench", tenders=["card"]
        )
    return biller.pk, route.pk


def fill(cursor: Any, biller: int, route: int, day: int, size: int) -> None:
    """Make so many customers with AutoPay and a bill that is collected on one day."""
    on = DAY + datetime.timedelta(days=day)
    cursor.execute("SELECT coalesce(max(id), 0) FROM billing_customer")
    (last,) = cursor.fetchone()
    cursor.execute(
        """
        INSERT INTO billing_customer (biller_id, number, display_number, base, sub, name, address1, address2, city, state,
            zip, phone, email, language, service_location, status, paperless, blocks_card, blocks_bank, collect_rule, balance)
        SELECT %s, %s || '-' || g || '-001', '', g, '001', 'Customer ' || g, g || ' Main Street', '', 'Springfield', 'VT',
               '05601', '', '', 'en', '32' || g, 'active', false, false, false, '', 50
        FROM generate_series(1, %s) g
        """,
        [biller, day, size],
    )
    cursor.execute(
        "INSERT INTO billing_posting (biller_id, key, kind, effective_on) VALUES (%s, %s, 'invoices', %s) RETURNING id",
        [biller, f"bench:{day}", on],
    )
    (posting,) = cursor.fetchone()
    cursor.execute(
        """
        INSERT INTO payments_instrument (biller_id, customer_id, route_id, kind, token, brand, last4, holder, nickname, state,
                                         is_default)
        SELECT biller_id, id, %s, 'card', 'tok_' || id || '_4242', 'visa', '4242', name, '', 'active', true
        FROM billing_customer WHERE biller_id = %s AND id > %s
        """,
        [route, biller, last],
    )
    cursor.execute(
        """
        INSERT INTO payments_autopayenrolment (biller_id, customer_id, instrument_id, consent_version, consent_text, consent_by,
                                               consent_requestor, ended_by)
        SELECT c.biller_id, c.id, n.id, 'bench', 'agreed', c.name, 2, ''
        FROM billing_customer c JOIN payments_instrument n ON n.customer_id = c.id
        WHERE c.biller_id = %s AND c.id > %s
        """,
        [biller, last],
    )
    cursor.execute(
        """
        INSERT INTO billing_invoice (biller_id, customer_id, number, kind, issued_on, due_on, amount, past_due,
            payable_until_message, custom2, custom3, custom4, custom9, custom10, withdrawn)
        SELECT biller_id, id, 'INV' || id, '', %s, %s, 50, 0, '', base, sub, service_location, '', base || '-1', false
        FROM billing_customer WHERE biller_id = %s AND id > %s
        """,
        [on, on, biller, last],
    )
    cursor.execute(
        """
        INSERT INTO billing_item (biller_id, customer_id, invoice_id, posting_id, kind, amount, currency, due_on, collect_on)
        SELECT i.biller_id, i.customer_id, i.id, %s, 'bill', i.amount, 'USD', i.due_on, i.due_on
        FROM billing_invoice i JOIN billing_customer c ON c.id = i.customer_id
        WHERE c.biller_id = %s AND c.id > %s
        """,
        [posting, biller, last],
    )
    cursor.execute(
        "INSERT INTO billing_entry (biller_id, posting_id, account, tender, amount, currency, count) VALUES"
        " (%s, %s, 'receivable', '', %s, 'USD', 0), (%s, %s, 'billed', '', %s, 'USD', 0)",
        [biller, posting, 50 * size, biller, posting, -50 * size],
    )


def _ours(biller_id: int, day: int) -> int:
    from billing.actors import Actor
    from billing.models import Biller
    from payments.operations import collections

    biller = Biller.objects.get(pk=biller_id)
    on = DAY + datetime.timedelta(days=day)
    run = collections.plan(
        biller=biller,
        options=collections.Options(start=on, end=on),
        actor=Actor.system("bench"),
        now=timezone.now(),
    )
    return sum(chunk.passed_count for chunk in collections.work(run=run, actor=Actor.system("bench")))


def floor(biller_id: int, day: int) -> int:
    """The same rows by the shortest SQL there is: a work table on the server, two commits a chunk, nothing in Python."""
    on = DAY + datetime.timedelta(days=day)
    done = last = 0
    with connection.cursor() as cursor:
        while True:
            with transaction.atomic():
                cursor.execute("DROP TABLE IF EXISTS work")
                cursor.execute(
                    """
                    CREATE TEMP TABLE work AS
                    SELECT i.id AS item, i.customer_id AS customer, i.open AS amount, n.id AS instrument, n.route_id AS route,
                           uuidv7() AS payment, uuidv7() AS attempt
                    FROM billing_item i
                    JOIN billing_customer c ON c.id = i.customer_id
                    JOIN payments_autopayenrolment e ON e.customer_id = c.id AND e.ended_at IS NULL
                    JOIN payments_instrument n ON n.id = e.instrument_id AND n.state = 'active'
                    WHERE i.biller_id = %s AND i.kind = 'bill' AND i.open > 0 AND i.reserved = 0 AND i.collect_on = %s
                      AND i.customer_id > %s
                    ORDER BY i.customer_id LIMIT 5000 FOR UPDATE OF i SKIP LOCKED
                    """,
                    [biller_id, on, last],
                )
                cursor.execute("ANALYZE work")
                cursor.execute("UPDATE billing_item i SET reserved = w.amount FROM work w WHERE i.id = w.item")
                if cursor.rowcount == 0:
                    return done
                done += cursor.rowcount
                cursor.execute("SELECT max(customer) FROM work")
                (last,) = cursor.fetchone()
                cursor.execute(
                    "INSERT INTO payments_payment (id, biller_id, customer_id, instrument_id, route_id, tender, amount,"
                    " currency, state, channel, requestor, made_by, email, request_hash, failure, approval_code)"
                    " SELECT payment, %s, customer, instrument, route, 'card', amount, 'USD', 'processing', 3, 4,"
                    " 'AutoPay', '', '', '', '' FROM work",
                    [biller_id],
                )
                cursor.execute(
                    "INSERT INTO payments_attempt (id, biller_id, payment_id, route_id, command, transaction_type, amount,"
                    " state, approval_code, processor_reference, message, sent_at)"
                    " SELECT attempt, %s, payment, route, 'charge', 'recurring', amount, 'open', '', '', '', now() FROM work",
                    [biller_id],
                )
                cursor.execute(
                    "INSERT INTO payments_checkpoint (payment_id, attempt_id, biller_id) SELECT payment, attempt, %s FROM work",
                    [biller_id],
                )
                cursor.execute(
                    "INSERT INTO payments_allocation (biller_id, payment_id, item_id, amount, state)"
                    " SELECT %s, payment, item, amount, 'pending' FROM work",
                    [biller_id],
                )
            with transaction.atomic():
                cursor.execute(
                    "INSERT INTO billing_posting (biller_id, key, kind, effective_on) VALUES (%s, %s, 'receipts', %s)"
                    " RETURNING id",
                    [biller_id, f"floor:{uuid.uuid4()}", on],
                )
                (posting,) = cursor.fetchone()
                cursor.execute(
                    "UPDATE payments_attempt a SET state = 'applied', result = 0, approval_code = 'A00001',"
                    " processor_reference = 'ref', message = 'Approved', answered_at = now() FROM work w WHERE a.id = w.attempt"
                )
                cursor.execute("DELETE FROM payments_checkpoint k USING work w WHERE k.payment_id = w.payment")
                cursor.execute(
                    "UPDATE payments_payment p SET state = 'posted', posting_id = %s, settled_at = now(), result = 0,"
                    " approval_code = 'A00001' FROM work w WHERE p.id = w.payment",
                    [posting],
                )
                cursor.execute(
                    "UPDATE billing_customer c SET balance = c.balance - w.amount FROM work w WHERE c.id = w.customer"
                )
                cursor.execute(
                    "UPDATE payments_allocation a SET state = 'posted' FROM work w WHERE a.payment_id = w.payment"
                )
                cursor.execute(
                    "UPDATE billing_item i SET allocated = i.allocated + w.amount, reserved = i.reserved - w.amount"
                    " FROM work w WHERE i.id = w.item"
                )
                cursor.execute(
                    "INSERT INTO billing_entry (biller_id, posting_id, account, route_id, tender, amount, currency, count)"
                    " SELECT %s, %s, 'clearing', route, 'card', sum(amount), 'USD', count(*) FROM work GROUP BY route"
                    " UNION ALL SELECT %s, %s, 'receivable', NULL, '', -sum(amount), 'USD', count(*) FROM work",
                    [biller_id, posting, biller_id, posting],
                )
                cursor.execute(
                    """
                    INSERT INTO datapump_record (id, biller_id, customer_id, endpoint_id, type, state, requestor, made_by, facts,
                                                 before, after, created_at, failure, closed_by)
                    SELECT payment, %s, customer, e.id, 1, 'waiting', 4, 'AutoPay',
                           jsonb_build_object('amount', amount::text, 'currency', 'USD', 'tender', 'card', 'channel', 3,
                                              'approval_code', 'A00001'),
                           '', amount::text, clock_timestamp(), '', ''
                    FROM work, datapump_endpoint e WHERE e.biller_id = %s AND e.purpose = 'payments'
                    """,
                    [biller_id, biller_id],
                )


def _peer(biller_id: int, day: int) -> int:
    """What a careful Django programmer writes: querysets, ``bulk_create`` and ``bulk_update``, chunk by chunk."""
    from billing.models import Customer, Entry, Item, Posting
    from datapump.models import Endpoint, Record
    from payments.models import Allocation, Attempt, AutoPayEnrolment, Checkpoint, Payment

    on = DAY + datetime.timedelta(days=day)
    endpoint = Endpoint.objects.get(biller_id=biller_id, purpose="payments")
    with transaction.atomic():
        items = list(
            Item.objects.select_for_update(of=("self",), skip_locked=True)
            .filter(biller_id=biller_id, kind="bill", open__gt=0, reserved=0, collect_on=on)
            .select_related("customer")
            .order_by("customer_id")[:5000]
        )
        enrolments = {
            row.customer_id: row
            for row in AutoPayEnrolment.objects.select_related("instrument").filter(
                customer_id__in=[item.customer_id for item in items], ended_at=None
            )
        }
        paid: list[Payment] = []
        for item in items:
            instrument = enrolments[item.customer_id].instrument
            item.reserved = item.open
            paid.append(
                Payment(
                    id=uuid.uuid4(), biller_id=biller_id, customer_id=item.customer_id, instrument=instrument,
                    route_id=instrument.route_id, tender="card", amount=item.open, currency="USD", state="processing",
                    channel=3, requestor=4, made_by="AutoPay",
                )
            )  # fmt: skip
        Item.objects.bulk_update(items, ["reserved"])
        Payment.objects.bulk_create(paid)
        attempts = Attempt.objects.bulk_create(
            Attempt(
                id=uuid.uuid4(), biller_id=biller_id, payment=one, command="charge",
                route_id=enrolments[one.customer_id].instrument.route_id,
                transaction_type="recurring", amount=one.amount, sent_at=timezone.now(),
            )
            for one in paid
        )  # fmt: skip
        Checkpoint.objects.bulk_create(
            Checkpoint(payment=one, attempt=attempt, biller_id=biller_id)
            for one, attempt in zip(paid, attempts, strict=True)
        )
        allocations = Allocation.objects.bulk_create(
            Allocation(biller_id=biller_id, payment=one, item=item, amount=one.amount)
            for one, item in zip(paid, items, strict=True)
        )
    with transaction.atomic():
        posting = Posting.objects.create(
            biller_id=biller_id, key=f"peer:{uuid.uuid4()}", kind="receipts", effective_on=on
        )
        total = Decimal("0.00")
        customers: list[Customer] = []
        for one, item, attempt, allocation in zip(paid, items, attempts, allocations, strict=True):
            attempt.state, attempt.result, attempt.approval_code = "applied", 0, "A00001"
            one.state, one.posting_id, one.settled_at, one.approval_code = (
                "posted",
                posting.pk,
                timezone.now(),
                "A00001",
            )
            allocation.state = "posted"
            item.allocated, item.reserved = item.allocated + one.amount, Decimal("0.00")
            item.customer.balance -= one.amount
            customers.append(item.customer)
            total += one.amount
        Checkpoint.objects.filter(payment__in=paid).delete()
        Attempt.objects.bulk_update(attempts, ["state", "result", "approval_code"])
        Payment.objects.bulk_update(paid, ["state", "posting_id", "settled_at", "approval_code"])
        Allocation.objects.bulk_update(allocations, ["state"])
        Item.objects.bulk_update(items, ["allocated", "reserved"])
        Customer.objects.bulk_update(customers, ["balance"])
        Entry.objects.bulk_create(
            [
                Entry(
                    biller_id=biller_id, posting=posting, account="clearing", route_id=paid[0].route_id, tender="card",
                    amount=total, currency="USD", count=len(paid),
                ),
                Entry(
                    biller_id=biller_id, posting=posting, account="receivable", amount=-total, currency="USD",
                    count=len(paid),
                ),
            ]
        )  # fmt: skip
        Record.objects.bulk_create(
            Record(
                id=one.id, biller_id=biller_id, customer_id=one.customer_id, endpoint=endpoint, type=1, requestor=4,
                made_by="AutoPay", facts={"amount": str(one.amount), "currency": "USD", "tender": "card"},
                after=str(one.amount),
            )
            for one in paid
        )  # fmt: skip
    return len(paid)
