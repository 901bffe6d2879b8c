"""Loading invoice files: ours, the shortest set-based SQL for the same rows, and a bulk ORM loop.

Ours is the real operation from a received file to a loaded one, every check included. The floor trusts the file: it copies
typed values to staging and writes the same rows, which is proven row by row at the end. Each round has billers of its own,
who take three files: of accounts that are new, of the same accounts with the old balance carried forward, and of the same
accounts without.
"""

from __future__ import annotations

import csv
import datetime
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.db import connection, transaction

from bench import measures
from bench.measures import Cost, measure

CASES = ("new accounts", "known accounts, old balance carried", "known accounts")
_MADE_ON = datetime.datetime(2026, 1, 5, 6, tzinfo=datetime.UTC)
_PEER_BATCH = 2_000


@dataclass(frozen=True, slots=True)
class _Files:
    """The files of one size, one a case; each biller gets them with its own GUID in the first line."""

    paths: list[Path]
    count: int

    def made_on(self, case: int) -> datetime.datetime:
        return _MADE_ON + datetime.timedelta(days=31 * case)

    def for_biller(self, case: int, guid: uuid.UUID) -> Path:
        path = self.paths[case].with_suffix(f".{guid.hex}")
        with self.paths[case].open("rb") as template, path.open("wb") as out:
            out.write(template.readline().replace(str(_GUID).encode(), str(guid).encode()))
            while block := template.read(1 << 20):
                out.write(block)
        return path


_GUID = uuid.UUID(int=0)


def run(*, scale: float = 1.0, rounds: int = 5) -> None:
    """Measure and print; ``scale`` makes every size smaller or larger."""
    from billing import tenancy

    count, sampled, most = int(100_000 * scale), int(5_000 * min(1.0, 4 * scale)), int(1_000_000 * scale)
    rounds = rounds if scale >= 1 else 2
    files, peer_files = _write(count), _write(sampled)
    ours: list[list[Cost]] = [[] for _ in CASES]
    floor: list[list[Cost]] = [[] for _ in CASES]
    peer: list[list[Cost]] = [[] for _ in CASES]
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        _load_ours(_biller(), files, 0)  # warms the caches of plans and pages
        with connection.cursor() as cursor:
            # A worker's time would be counted nowhere.
            cursor.execute("SET max_parallel_workers_per_gather = 0")
        for n in range(rounds):
            billers = [_biller() for _ in range(3)]
            for case in range(len(CASES)):
                measures.as_superuser("CHECKPOINT")
                pair = [(_load_ours, ours, billers[0]), (_load_floor, floor, billers[1])]
                for work, costs, biller in pair if n % 2 == 0 else reversed(pair):
                    costs[case].append(work(biller, files, case))
                peer[case].append(_load_peer(billers[2], peer_files, case))
            if n == 0:
                _prove_same(billers[0], billers[1])
        with connection.cursor() as cursor:
            cursor.execute("RESET max_parallel_workers_per_gather")
        grown = [_load_apart(_write(size, cases=1)) for size in (most // 4, most)]

    def row(name: str, costs: Sequence[Cost]) -> list[str]:
        return [
            name,
            f"{costs[0].items:,}",
            f"{measures.middle(costs, lambda c: c.per_second):,.0f}",
            f"{measures.middle(costs, lambda c: c.items / c.wall):,.0f}",
            f"{measures.middle(costs, lambda c: c.wal / c.items):,.0f}",
            f"{measures.middle(costs, lambda c: c.statements):,.0f}",
        ]

    rows, verdicts = [], []
    for case, name in enumerate(CASES):
        rows += [
            [f"{name}:", "", "", "", "", ""],
            row("  floor: COPY and hand-written SQL", floor[case]),
            row("  ours", ours[case]),
            row("  peer: bulk_create, sampled", peer[case]),
        ]
        verdicts += [
            measures.verdict(f"{name}: ours / floor", measures.ratio(ours[case], floor[case]), 0.80),
            measures.verdict(f"{name}: ours / bulk_create", measures.ratio(ours[case], peer[case]), 8),
        ]
    quarter, whole = grown
    rows.append([f"ours, {whole.cost.items:,} new accounts at once:", "", "", "", "", ""])
    rows.append(row("  ours", [whole.cost]))
    verdicts += [
        measures.verdict("CPU of four times as many invoices", whole.cost.cpu / quarter.cost.cpu, 4.2, at_most=True),
        measures.verdict(
            f"memory that {whole.cost.items:,} invoices add to the process", whole.grown, 150, at_most=True, unit=" MB"
        ),
        f"memory that {quarter.cost.items:,} invoices add: {quarter.grown} MB",
    ]
    measures.table(
        f"Loading invoice files, 25 columns ({rounds} rounds, medians)",
        ["", "invoices", "per CPU second", "per second", "WAL bytes each", "statements"],
        rows,
        verdicts,
    )


def _write(count: int, cases: int = len(CASES)) -> _Files:
    from billing.demo import write_invoice_file

    files = _Files([Path(os.environ["STORAGE_DIR"]) / f"{count}-{case}.bif" for case in range(cases)], count)
    for case, path in enumerate(files.paths):
        with path.open("wb") as out:
            write_invoice_file(out, guid=_GUID, count=count, made_on=files.made_on(case), cycle=case + 1)
    return files


def _biller() -> Any:
    from billing.models import Biller

    number = Biller.objects.count() + 1
    return Biller.objects.create(
        number=number, name=f"Bench {number}", slug=f"bench-{number}", time_zone="UTC", collect_rule="due"
    )


def _switch(biller: Any, case: int) -> None:
    biller.balance_forward = case == 1
    biller.save(update_fields=["balance_forward"])


def _receive(biller: Any, path: Path) -> Any:
    from billing.actors import Actor
    from billing.operations import invoice_files

    with path.open("rb") as body:
        name = f"{biller.number}_01052026_{path.name[:40]}"
        return invoice_files.receive(biller=biller, name=name, body=body, source="command", actor=Actor.system("bench"))


# ---- Ours -------------------------------------------------------------------------------------------------------------


def _load_ours(biller: Any, files: _Files, case: int) -> Cost:
    from billing import tenancy
    from billing.actors import Actor
    from billing.operations import invoice_files
    from payments.operations import carryovers

    _switch(biller, case)
    path = files.for_biller(case, biller.guid)
    file = _receive(biller, path)

    def work() -> int:
        loaded = invoice_files.load(
            file_id=file.pk, actor=Actor.system("bench"), carry=carryovers.carry, now=files.made_on(case)
        )
        if loaded.loaded_count != files.count:
            raise RuntimeError(f"{loaded.loaded_count} of {files.count} invoices were loaded: {loaded.refusal}")
        return int(loaded.loaded_count)

    with tenancy.acting_for([biller.pk]):
        cost = measure(work)
    file.body.delete(save=False)
    path.unlink()
    return cost


@dataclass(frozen=True, slots=True)
class _Alone:
    """A load in a process of its own, and how much memory it added to what the process had before."""

    cost: Cost
    grown: int


def _load_apart(files: _Files) -> _Alone:
    alone = measures.apart(_load_alone, files)
    for path in files.paths:
        path.unlink()
    return alone


def _load_alone(files: _Files) -> _Alone:
    from billing import tenancy

    with tenancy.acting_for(tenancy.EVERY_BILLER):
        small = _write(1_000, cases=1)
        _load_ours(_biller(), small, 0)  # every module is imported, every plan made
        before = measures.memory()
        cost = _load_ours(_biller(), files, 0)
    return _Alone(cost, measures.peak_memory() - before)


# ---- The floor --------------------------------------------------------------------------------------------------------

_STAGING = """
CREATE UNLOGGED TABLE staging.floor (
    row_type text, record_type text, format_guid uuid, number text, issued_on date, due_on date, amount numeric(14, 2),
    custom2 text, custom3 text, custom4 text, custom9 text, custom10 text, past_due numeric(14, 2), customer_type text,
    account text, name text, address1 text, address2 text, city text, state text, zip text, phone text, email text,
    blocks_card boolean, display_number text,
    line int GENERATED ALWAYS AS IDENTITY,
    invoice_id bigint DEFAULT nextval('public.billing_invoice_id_seq'), notice_id uuid DEFAULT uuidv7()
) WITH (autovacuum_enabled = false)
"""

_CUSTOMERS = """
CREATE UNLOGGED TABLE staging.floor_customers AS
SELECT s.line, s.invoice_id, s.amount, coalesce(c.id, nextval('public.billing_customer_id_seq')) AS customer_id,
       c.id IS NOT NULL AS known
FROM staging.floor s LEFT JOIN billing_customer c ON c.biller_id = %s AND c.number = s.account
"""

_CARRIED = """
CREATE UNLOGGED TABLE staging.floor_carried AS
SELECT i.id AS item_id, i.open AS amount, k.customer_id, k.invoice_id
FROM staging.floor_customers k JOIN billing_item i ON i.customer_id = k.customer_id
WHERE k.known AND i.open <> 0 AND i.reserved = 0 AND (i.kind = 'bill' OR i.payment_id IS NULL)
"""

_PHONE = "coalesce('+1' || right(translate(s.phone, '()-. ', ''), 10), '')"

_UPDATE = """
UPDATE billing_customer c
SET balance = c.balance + k.amount - {carried}, name = s.name, address1 = coalesce(s.address1, ''),
    address2 = coalesce(s.address2, ''), city = coalesce(s.city, ''), state = coalesce(s.state, ''),
    zip = coalesce(s.zip, ''), phone = coalesce('+1' || right(translate(s.phone, '()-. ', ''), 10), c.phone),
    email = coalesce(s.email, c.email), blocks_card = coalesce(s.blocks_card, c.blocks_card),
    service_location = coalesce(s.custom4, c.service_location), display_number = coalesce(s.display_number, c.display_number)
FROM staging.floor_customers k JOIN staging.floor s ON s.line = k.line {join}
WHERE c.id = k.customer_id AND k.known
"""
_UPDATE_CUSTOMERS = _UPDATE.format(carried="0", join="")
_UPDATE_CARRIED = _UPDATE.format(
    carried="coalesce(f.amount, 0)",
    join="LEFT JOIN (SELECT customer_id, sum(amount) AS amount FROM staging.floor_carried GROUP BY customer_id) f"
    " ON f.customer_id = k.customer_id",
)

_INSERT_CUSTOMERS = f"""
INSERT INTO billing_customer (id, biller_id, number, base, sub, name, address1, address2, city, state, zip, phone, email,
    service_location, display_number, language, status, paperless, blocks_card, blocks_bank, collect_rule, balance)
SELECT k.customer_id, %s, s.account, s.custom2, s.custom3, s.name, coalesce(s.address1, ''), coalesce(s.address2, ''),
       coalesce(s.city, ''), coalesce(s.state, ''), coalesce(s.zip, ''), {_PHONE}, coalesce(s.email, ''),
       coalesce(s.custom4, ''), coalesce(s.display_number, ''), 'en', 'active', false, coalesce(s.blocks_card, false),
       false, '', s.amount
FROM staging.floor s JOIN staging.floor_customers k ON k.line = s.line WHERE NOT k.known
"""

_INSERT_INVOICES = """
INSERT INTO billing_invoice (id, biller_id, customer_id, file_id, line, number, kind, issued_on, due_on, amount, past_due,
    payable_until_message, format_guid, custom2, custom3, custom4, custom9, custom10, withdrawn)
SELECT s.invoice_id, %s, k.customer_id, %s, 3 * s.line - 1, s.number, '', s.issued_on, s.due_on, s.amount,
       coalesce(s.past_due, 0), '', s.format_guid, coalesce(s.custom2, ''), coalesce(s.custom3, ''),
       coalesce(s.custom4, ''), coalesce(s.custom9, ''), s.custom10, false
FROM staging.floor s JOIN staging.floor_customers k ON k.line = s.line
"""

_INSERT_ITEMS = """
INSERT INTO billing_item (biller_id, customer_id, invoice_id, posting_id, kind, amount, currency, due_on, collect_on)
SELECT %s, k.customer_id, s.invoice_id, %s, 'bill', s.amount, 'USD', s.due_on, greatest(s.due_on, %s)
FROM staging.floor s JOIN staging.floor_customers k ON k.line = s.line
"""

_INSERT_NOTICES = """
INSERT INTO billing_notice (id, biller_id, customer_id, kind, key, facts)
SELECT s.notice_id, %s, k.customer_id, 'bill_ready', 'bill-ready:' || s.invoice_id,
       jsonb_build_object('invoice', s.invoice_id, 'number', s.number, 'amount', s.amount::text, 'currency', 'USD',
                          'due_on', s.due_on)
FROM staging.floor s JOIN staging.floor_customers k ON k.line = s.line WHERE s.email IS NOT NULL
"""

_INSERT_DELIVERIES = """
INSERT INTO billing_noticedelivery (biller_id, customer_id, notice_id, channel, address, state, failure, subject, text)
SELECT %s, k.customer_id, s.notice_id, 'email', s.email, 'waiting', '', '', ''
FROM staging.floor s JOIN staging.floor_customers k ON k.line = s.line WHERE s.email IS NOT NULL
"""

_INSERT_ENTRIES = """
INSERT INTO billing_entry (biller_id, posting_id, account, tender, amount, currency, count)
SELECT %s, %s, v.account, '', v.sign * t.amount, 'USD', 0
FROM (SELECT (SELECT sum(amount) FROM staging.floor) - {carried} AS amount) t
CROSS JOIN (VALUES ('receivable', 1), ('billed', -1)) AS v (account, sign)
"""


def _load_floor(biller: Any, files: _Files, case: int) -> Cost:
    from billing import tenancy

    path = files.for_biller(case, biller.guid)
    file = _receive(biller, path)
    today = files.made_on(case).date()
    with tenancy.acting_for([biller.pk]):
        cost = measure(lambda: _floor(biller.pk, file.pk, path, today, forward=case == 1))
    file.body.delete(save=False)
    path.unlink()
    return cost


def _floor(biller_id: int, file_id: int, path: Path, today: datetime.date, *, forward: bool) -> int:
    """Load a file that is known to be good: three rows of it are one line of COPY after two replacements of text."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL ROLE ratepayer_loader; SET LOCAL DateStyle = 'ISO, MDY'; SET LOCAL jit = off")
        cursor.execute(_STAGING)
        with path.open("rb") as body, cursor.copy(_COPY) as copy:
            body.readline()
            rest = b""
            while block := body.read(1 << 20):
                block = rest + block
                cut = block.rfind(b"\nID\n") + 4
                rest = block[cut:]
                copy.write(block[:cut].replace(b"\nCR|", b"|CR|").replace(b"\nID\n", b"\n"))
        cursor.execute("ANALYZE staging.floor")
        cursor.execute(_CUSTOMERS, [biller_id])
        cursor.execute("ANALYZE staging.floor_customers")
        if forward:
            cursor.execute(_CARRIED)
        cursor.execute(_UPDATE_CARRIED if forward else _UPDATE_CUSTOMERS)
        cursor.execute(_INSERT_CUSTOMERS, [biller_id])
        cursor.execute(
            "INSERT INTO billing_posting (biller_id, key, kind, effective_on) VALUES (%s, %s, 'invoices', %s) RETURNING id",
            [biller_id, f"invoices:{file_id}", today],
        )
        (posting_id,) = cursor.fetchone()
        cursor.execute(_INSERT_INVOICES, [biller_id, file_id])
        count = int(cursor.rowcount)
        cursor.execute(_INSERT_ITEMS, [biller_id, posting_id, today])
        cursor.execute(_INSERT_NOTICES, [biller_id])
        cursor.execute(_INSERT_DELIVERIES, [biller_id])
        if forward:
            cursor.execute(
                "UPDATE billing_item i SET transferred = i.transferred + f.amount, transferred_to_id = f.invoice_id"
                " FROM staging.floor_carried f WHERE i.id = f.item_id"
            )
        carried = "coalesce((SELECT sum(amount) FROM staging.floor_carried), 0)" if forward else "0"
        cursor.execute(_INSERT_ENTRIES.format(carried=carried), [biller_id, posting_id])
        cursor.execute("DROP TABLE IF EXISTS staging.floor, staging.floor_customers, staging.floor_carried")
    return count


_COPY = """
COPY staging.floor (row_type, record_type, format_guid, number, issued_on, due_on, amount, custom2, custom3, custom4, custom9,
    custom10, past_due, customer_type, account, name, address1, address2, city, state, zip, phone, email, blocks_card,
    display_number)
FROM STDIN (DELIMITER '|', NULL '')
"""


def _prove_same(ours: Any, floor: Any) -> None:
    """Hold the floor's rows against ours.

    :raises RuntimeError: they are not the same.
    """
    with connection.cursor() as cursor:
        for what, rows in _ROWS.items():
            cursor.execute(
                f"SELECT (SELECT count(*) FROM ({rows}) x), (SELECT count(*) FROM (({rows}) EXCEPT ALL ({rows})) y)",
                [ours.pk, ours.pk, floor.pk],
            )
            count, other = cursor.fetchone()
            if other or not count:
                raise RuntimeError(f"{other} of {count} {what} are not the same as the floor's.")


_ROWS = {
    "customers": """
        SELECT number, base, sub, name, address1, address2, city, state, zip, phone, email, service_location, display_number,
               language, status, paperless, blocks_card, blocks_bank, collect_rule, balance
        FROM billing_customer WHERE biller_id = %s""",
    "invoices": """
        SELECT c.number AS account, i.number, i.line, i.kind, i.issued_on, i.due_on, i.amount, i.past_due, i.format_guid,
               i.custom2, i.custom3, i.custom4, i.custom9, i.custom10, i.payable_until_message, i.withdrawn
        FROM billing_invoice i JOIN billing_customer c ON c.id = i.customer_id WHERE i.biller_id = %s""",
    "items": """
        SELECT i.number, m.kind, m.amount, m.allocated, m.transferred, m.reserved, m.open, m.due_on, m.collect_on,
               t.number AS transferred_to, p.kind AS posting, p.effective_on
        FROM billing_item m JOIN billing_invoice i ON i.id = m.invoice_id JOIN billing_posting p ON p.id = m.posting_id
        LEFT JOIN billing_invoice t ON t.id = m.transferred_to_id WHERE m.biller_id = %s""",
    "entries": """
        SELECT p.effective_on, e.account, e.tender, e.amount, e.currency, e.count
        FROM billing_entry e JOIN billing_posting p ON p.id = e.posting_id WHERE e.biller_id = %s""",
    "notices": """
        SELECT i.number, n.kind, n.facts - 'invoice' AS facts, d.channel, d.address, d.state, d.text
        FROM billing_notice n JOIN billing_noticedelivery d ON d.notice_id = n.id
        JOIN billing_invoice i ON i.id = (n.facts->>'invoice')::bigint WHERE n.biller_id = %s""",
}


# ---- The peer ---------------------------------------------------------------------------------------------------------


def _load_peer(biller: Any, files: _Files, case: int) -> Cost:
    from billing import tenancy

    path = files.for_biller(case, biller.guid)
    file = _receive(biller, path)
    with tenancy.acting_for([biller.pk]):
        cost = measure(lambda: _peer(biller, file, path, files.made_on(case).date(), forward=case == 1))
    file.body.delete(save=False)
    path.unlink()
    return cost


def _peer(biller: Any, file: Any, path: Path, today: datetime.date, *, forward: bool) -> int:
    """What a careful Django programmer writes: objects, ``bulk_create`` with conflicts updated, batch by batch."""
    from billing.models import Entry, Posting

    with path.open(encoding="utf-8", newline="") as body, transaction.atomic():
        posting = Posting.objects.create(biller=biller, key=f"invoices:{file.pk}", kind="invoices", effective_on=today)
        count, total = 0, Decimal("0.00")
        batch: list[tuple[list[str], list[str]]] = []
        rows = csv.reader(body, delimiter="|", quoting=csv.QUOTE_NONE)
        next(rows)
        header: list[str] = []
        for row in rows:
            if row[0] == "IH":
                header = row
            elif row[0] == "CR":
                batch.append((header, row))
            if len(batch) == _PEER_BATCH:
                total += _peer_batch(biller, file, posting, batch, today, forward=forward)
                count += len(batch)
                batch = []
        total += _peer_batch(biller, file, posting, batch, today, forward=forward)
        count += len(batch)
        Entry.objects.bulk_create(
            Entry(biller=biller, posting=posting, account=account, amount=amount, currency="USD", count=0)
            for account, amount in (("receivable", total), ("billed", -total))
        )
    return count


def _day(text: str) -> datetime.date:
    month, day, year = text.split("/")
    return datetime.date(int(year), int(month), int(day))


def _peer_batch(
    biller: Any,
    file: Any,
    posting: Any,
    batch: Sequence[tuple[list[str], list[str]]],
    today: datetime.date,
    *,
    forward: bool,
) -> Decimal:
    from billing.models import Customer, Invoice, Item, Notice, NoticeDelivery

    if not batch:
        return Decimal("0.00")
    there = {
        one.number: one
        for one in Customer.objects.filter(biller=biller, number__in=[customer[1] for _, customer in batch])
    }
    old: dict[int, list[Item]] = {}
    if forward:
        ids = [one.pk for one in there.values()]
        for item in Item.objects.filter(customer_id__in=ids, reserved=0, payment_id=None).exclude(open=0):
            old.setdefault(item.customer_id, []).append(item)
    added = Decimal("0.00")
    customers = []
    for header, row in batch:
        known = there.get(row[1])
        amount = Decimal(header[6])
        carried = sum((item.open for item in old.get(known.pk, ())), Decimal("0.00")) if known else Decimal("0.00")
        added += amount - carried
        digits = "".join(sign for sign in row[8] if sign.isdigit())
        customers.append(
            Customer(
                biller=biller, number=row[1], base=header[7], sub=header[8], name=row[2], address1=row[3], address2=row[4],
                city=row[5], state=row[6], zip=row[7], phone=f"+1{digits[-10:]}" if digits else known.phone if known else "",
                email=row[9] or (known.email if known else ""), blocks_card=row[10] == "Y", service_location=header[9],
                display_number=row[11], balance=(known.balance if known else 0) + amount - carried,
            )
        )  # fmt: skip
    Customer.objects.bulk_create(
        customers,
        update_conflicts=True,
        unique_fields=["biller", "number"],
        update_fields=[
            "name", "address1", "address2", "city", "state", "zip", "phone", "email", "blocks_card", "service_location",
            "display_number", "balance",
        ],
    )  # fmt: skip
    invoices = Invoice.objects.bulk_create(
        Invoice(
            biller=biller, customer=customer, file=file, number=header[3], issued_on=_day(header[4]), due_on=_day(header[5]),
            amount=Decimal(header[6]), past_due=Decimal(header[12] or 0), format_guid=uuid.UUID(header[2]), custom2=header[7],
            custom3=header[8], custom4=header[9], custom9=header[10], custom10=header[11],
        )
        for customer, (header, _) in zip(customers, batch, strict=True)
    )  # fmt: skip
    Item.objects.bulk_create(
        Item(
            biller=biller, customer=invoice.customer, invoice=invoice, posting=posting, amount=invoice.amount, currency="USD",
            due_on=invoice.due_on, collect_on=max(invoice.due_on, today),
        )
        for invoice in invoices
    )  # fmt: skip
    moved = []
    for invoice in invoices:
        for item in old.get(invoice.customer_id, ()):
            item.transferred, item.transferred_to = item.transferred + item.open, invoice
            moved.append(item)
    Item.objects.bulk_update(moved, ["transferred", "transferred_to"])
    notices = Notice.objects.bulk_create(
        Notice(
            id=uuid.uuid4(), biller=biller, customer=invoice.customer, kind="bill_ready", key=f"bill-ready:{invoice.pk}",
            facts={
                "invoice": invoice.pk, "number": invoice.number, "amount": str(invoice.amount), "currency": "USD",
                "due_on": str(invoice.due_on),
            },
        )
        for invoice in invoices
        if invoice.customer.email
    )  # fmt: skip
    NoticeDelivery.objects.bulk_create(
        NoticeDelivery(
            biller=biller, customer=notice.customer, notice=notice, channel="email", address=notice.customer.email
        )
        for notice in notices
    )
    return added
