"""The simulated CIS's own book: what it was told, in SQLite, whatever the teller believes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS payment (
    transaction_id TEXT PRIMARY KEY, position INTEGER NOT NULL, account TEXT NOT NULL, cents INTEGER NOT NULL,
    tender TEXT NOT NULL, mode TEXT NOT NULL, authorization TEXT NOT NULL, kiosk TEXT NOT NULL,
    first_received_at TEXT NOT NULL, times_received INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS payment_account ON payment (account);
CREATE TABLE IF NOT EXISTS repeat (
    position INTEGER PRIMARY KEY, transaction_id TEXT NOT NULL, account TEXT NOT NULL, cents INTEGER NOT NULL,
    received_at TEXT NOT NULL, same INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS comment (
    position INTEGER PRIMARY KEY, account TEXT NOT NULL, service_location TEXT NOT NULL, log_time TEXT NOT NULL,
    comment TEXT NOT NULL, received_at TEXT NOT NULL, seen_before INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS comment_account ON comment (account);
CREATE TABLE IF NOT EXISTS paperless (
    position INTEGER PRIMARY KEY, account TEXT NOT NULL, ebill TEXT NOT NULL, ext_type TEXT NOT NULL,
    received_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS print (position INTEGER PRIMARY KEY, asked TEXT NOT NULL, received_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS payable (account TEXT PRIMARY KEY, answer TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS prepaid (account TEXT PRIMARY KEY, cents INTEGER NOT NULL, cents_a_day INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS counter (last INTEGER NOT NULL);
INSERT INTO counter SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM counter);
"""
_TABLES = ("payment", "repeat", "comment", "paperless", "print", "payable", "prepaid")


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment as it came over the wire."""

    account: str
    tender: str
    amount: Decimal
    transaction_id: str
    authorization: str
    mode: str
    kiosk: str


class Book:
    """The book of one simulated CIS; one connection, so calls come from one thread."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.row_factory = sqlite3.Row
        # A killed process loses nothing that it answered for; only the machine could.
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextmanager
    def envelope(self) -> Iterator[None]:
        """Everything of one envelope is booked together or not at all."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def pay(self, payment: Payment) -> str:
        """Book a payment once per transactionId; return an empty text or why it is refused.

        A repeat of the same payment is a success without effect. The same transactionId with another account or amount
        is refused, as Milsoft's is, and kept among the repeats too.
        """
        cents = int(payment.amount * 100)
        now, position = _now(), self._position()
        known = self._database.execute(
            "SELECT account, cents FROM payment WHERE transaction_id = ?",
            (payment.transaction_id,),
        ).fetchone()
        if known is None:
            self._database.execute(
                "INSERT INTO payment VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1)",
                (
                    payment.transaction_id, position, payment.account, cents, payment.tender, payment.mode,
                    payment.authorization, payment.kiosk, now,
                ),
            )  # fmt: skip
            self._database.execute("UPDATE prepaid SET cents = cents + ? WHERE account = ?", (cents, payment.account))
            return ""
        same = known["account"] == payment.account and known["cents"] == cents
        self._database.execute(
            "INSERT INTO repeat VALUES (?, ?, ?, ?, ?, ?)",
            (position, payment.transaction_id, payment.account, cents, now, same),
        )
        if not same:
            return "transactionId was used by another payment"
        self._database.execute(
            "UPDATE payment SET times_received = times_received + 1 WHERE transaction_id = ?",
            (payment.transaction_id,),
        )
        return ""

    def write_comment(self, account: str, service_location: str, log_time: str, comment: str) -> None:
        """Add a history comment; one that was there before, letter for letter, is added again and marked."""
        said = (account, service_location, log_time, comment)
        seen = self._database.execute(
            "SELECT EXISTS (SELECT 1 FROM comment"
            " WHERE account = ? AND service_location = ? AND log_time = ? AND comment = ?)",
            said,
        ).fetchone()[0]
        self._database.execute(
            "INSERT INTO comment VALUES (?, ?, ?, ?, ?, ?, ?)",
            (self._position(), *said, _now(), seen),
        )

    def change_paperless(self, account: str, ebill: str, ext_type: str) -> None:
        """Add a change of a customer's EBILL flag."""
        self._database.execute(
            "INSERT INTO paperless VALUES (?, ?, ?, ?, ?)",
            (self._position(), account, ebill, ext_type, _now()),
        )

    def print(self, asked: str) -> None:
        """Add a bill that was asked for, by its parameters as they came."""
        self._database.execute("INSERT INTO print VALUES (?, ?, ?)", (self._position(), asked, _now()))

    def set_payable(self, account: str, answer: dict[str, Any]) -> None:
        """Keep what GetPayableItemsList answers for an account."""
        self._database.execute(
            "INSERT INTO payable VALUES (?, ?) ON CONFLICT (account) DO UPDATE SET answer = excluded.answer",
            (account, json.dumps(answer)),
        )

    def payable(self, account: str) -> dict[str, Any] | None:
        """Return what ``set_payable`` kept; where it asked for that, less every payment of the account in this book.

        A prepaid account owes nothing, whatever was kept, and says what is left on it.
        """
        prepaid = self._rows("SELECT cents, cents_a_day FROM prepaid WHERE account = ?", account)
        if prepaid:
            return self._left(account, prepaid[0]["cents"], prepaid[0]["cents_a_day"])
        row = self._database.execute("SELECT answer FROM payable WHERE account = ?", (account,)).fetchone()
        if row is None:
            return None
        answer = dict(json.loads(row["answer"]))
        return self._less_payments(account, answer) if answer.pop("less_payments", False) else answer

    def _less_payments(self, account: str, answer: dict[str, Any]) -> dict[str, Any]:
        paid = self._paid(account)
        items = [dict(item) for item in answer.get("items", [])]
        left = sum(row["cents"] for row in paid)
        for place, item in enumerate(items):
            owed = round(Decimal(item.get("currentAmount", "0")) * 100)
            # What is left over after the last item is the customer's credit.
            taken = left if place == len(items) - 1 else min(left, max(0, owed))
            item["currentAmount"], left = _amount(owed - taken), left - taken
        if paid and items:
            items[0] |= _last_payment(paid)
        return {**answer, "items": items}

    def set_prepaid(self, account: str, left: Decimal, a_day: Decimal) -> None:
        """Have an account be prepaid from now on, with so much left and so much used up a day; payments add to it."""
        self._database.execute(
            "INSERT INTO prepaid VALUES (?, ?, ?)"
            " ON CONFLICT (account) DO UPDATE SET cents = excluded.cents, cents_a_day = excluded.cents_a_day",
            (account, round(left * 100), round(a_day * 100)),
        )

    def _left(self, account: str, cents: int, a_day: int) -> dict[str, Any]:
        paid = self._paid(account)
        item = {"currentAmount": "0.00", "description": "Prepaid", **(_last_payment(paid) if paid else {})}
        extensions = {"remainingBalance": _amount(cents)}
        if a_day:
            extensions["remainingDays"] = f"{max(Decimal(cents) / a_day, Decimal(0)):.1f}"
        return {"items": [item], "extensions": extensions}

    def _paid(self, account: str) -> list[sqlite3.Row]:
        return self._rows("SELECT cents, first_received_at FROM payment WHERE account = ? ORDER BY position", account)

    def clear(self) -> None:
        """Forget everything."""
        with self.envelope():
            for table in _TABLES:
                self._database.execute(f"DELETE FROM {table}")  # our own names
            self._database.execute("UPDATE counter SET last = 0")

    def contents(self) -> dict[str, Any]:
        """Return the whole book, each part in the order of arrival; amounts are decimal texts."""
        return {
            "payments": [_with_amount(row) for row in self._rows("SELECT * FROM payment ORDER BY position")],
            "repeats": [
                _with_amount(row) | {"same": bool(row["same"])}
                for row in self._rows("SELECT * FROM repeat ORDER BY position")
            ],
            "comments": [
                dict(row) | {"seen_before": bool(row["seen_before"])}
                for row in self._rows("SELECT * FROM comment ORDER BY position")
            ],
            "paperless": [dict(row) for row in self._rows("SELECT * FROM paperless ORDER BY position")],
            "prints": [dict(row) for row in self._rows("SELECT * FROM print ORDER BY position")],
            "prepaid": [
                {"account": row["account"], "left": _amount(row["cents"]), "a_day": _amount(row["cents_a_day"])}
                for row in self._rows("SELECT * FROM prepaid ORDER BY account")
            ],
            "totals": self.totals(),
        }

    def totals(self) -> dict[str, Any]:
        """Return counts and sums, the payments also by tender."""
        by_tender = {
            row["tender"]: {"payments": row["count"], "amount": _amount(row["cents"])}
            for row in self._rows("SELECT tender, count(*) AS count, sum(cents) AS cents FROM payment GROUP BY tender")
        }
        count, cents = self._database.execute("SELECT count(*), coalesce(sum(cents), 0) FROM payment").fetchone()
        return {
            "payments": count,
            "amount": _amount(cents),
            "by_tender": by_tender,
            "repeats": self._count("repeat"),
            "comments": self._count("comment"),
            "paperless": self._count("paperless"),
        }

    def _count(self, table: str) -> int:
        return int(self._database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # our own names

    def _rows(self, query: str, *values: str) -> list[sqlite3.Row]:
        return self._database.execute(query, values).fetchall()

    def _position(self) -> int:
        return int(self._database.execute("UPDATE counter SET last = last + 1 RETURNING last").fetchone()[0])


def _amount(cents: int) -> str:
    return f"{Decimal(cents) / 100:.2f}"


def _last_payment(paid: list[sqlite3.Row]) -> dict[str, str]:
    last = paid[-1]
    return {
        "lastPaymentAmount": _amount(last["cents"]),
        "lastPaymentDate": f"{last['first_received_at'][:10]}T00:00:00",
    }


def _with_amount(row: sqlite3.Row) -> dict[str, Any]:
    entry = dict(row)
    entry["amount"] = _amount(entry.pop("cents"))
    return entry


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
