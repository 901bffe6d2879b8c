"""The simulated receiver's own book: the events it took, each once, in SQLite, whatever the teller believes."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS event (
    webhook_id TEXT PRIMARY KEY, position INTEGER NOT NULL, type TEXT NOT NULL, account TEXT NOT NULL,
    body TEXT NOT NULL, cents INTEGER, first_received_at TEXT NOT NULL, times_received INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS repeat (
    position INTEGER PRIMARY KEY, webhook_id TEXT NOT NULL, received_at TEXT NOT NULL, same INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS secret (endpoint TEXT NOT NULL, secret TEXT NOT NULL, PRIMARY KEY (endpoint, secret));
CREATE TABLE IF NOT EXISTS counter (last INTEGER NOT NULL);
INSERT INTO counter SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM counter);
"""


class Book:
    """The book of one simulated receiver; one connection, so calls come from one thread."""

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

    def take(self, webhook_id: str, body: str, event: dict[str, Any]) -> bool:
        """Book an event once by its webhook-id; gives False where that id came with another body before.

        A repeat of the same bytes is a success without effect.
        """
        position = int(self._database.execute("UPDATE counter SET last = last + 1 RETURNING last").fetchone()[0])
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        known = self._database.execute("SELECT body FROM event WHERE webhook_id = ?", (webhook_id,)).fetchone()
        if known is None:
            amount = event["data"].get("amount")
            cents = None if amount is None else int(Decimal(amount) * 100)
            self._database.execute(
                "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, 1)",
                (webhook_id, position, event["type"], event["data"].get("account", ""), body, cents, now),
            )
            return True
        same: bool = known["body"] == body
        self._database.execute("INSERT INTO repeat VALUES (?, ?, ?, ?)", (position, webhook_id, now, same))
        if same:
            self._database.execute(
                "UPDATE event SET times_received = times_received + 1 WHERE webhook_id = ?", (webhook_id,)
            )
        return same

    def secrets(self, endpoint: str) -> list[str]:
        """Give the secrets that an endpoint's webhooks may be signed with."""
        found = self._database.execute("SELECT secret FROM secret WHERE endpoint = ?", (endpoint,))
        return [row["secret"] for row in found]

    def set_secrets(self, endpoint: str, secrets: list[str]) -> None:
        """Put these secrets in place of an endpoint's others."""
        self._database.execute("DELETE FROM secret WHERE endpoint = ?", (endpoint,))
        self._database.executemany("INSERT INTO secret VALUES (?, ?)", [(endpoint, one) for one in secrets])

    def clear(self) -> None:
        """Forget every event."""
        self._database.execute("DELETE FROM event")
        self._database.execute("DELETE FROM repeat")
        self._database.execute("UPDATE counter SET last = 0")

    def contents(self) -> dict[str, Any]:
        """Return the whole book, each part in the order of arrival."""
        return {
            "events": [
                {
                    "webhook_id": row["webhook_id"], "times_received": row["times_received"],
                    "first_received_at": row["first_received_at"], "body": row["body"], **json.loads(row["body"]),
                }
                for row in self._database.execute("SELECT * FROM event ORDER BY position")
            ],
            "repeats": [
                {**dict(row), "same": bool(row["same"])}
                for row in self._database.execute("SELECT * FROM repeat ORDER BY position")
            ],
            "totals": self.totals(),
        }  # fmt: skip

    def totals(self) -> dict[str, Any]:
        """Return counts by type, the sum of payments, and how many repeats there were."""
        by_type = self._database.execute("SELECT type, count(*) AS count FROM event GROUP BY type ORDER BY type")
        (cents,) = self._database.execute("SELECT coalesce(sum(cents), 0) FROM event").fetchone()
        (repeats,) = self._database.execute("SELECT count(*) FROM repeat").fetchone()
        return {
            "events": {row["type"]: row["count"] for row in by_type},
            "amount": f"{Decimal(cents) / 100:.2f}",
            "repeats": repeats,
        }
