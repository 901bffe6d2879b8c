"""The simulated network's book: the lines, the phones, every text that was taken or typed, and every webhook owed.

One SQLite file in WAL mode, written by one process. A kill loses nothing that was answered: what was not brought or told
yet is brought and told after the next start. Times are microseconds since 1970 in UTC.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SCHEMA = """
create table if not exists phone (
    number text primary key, name text not null, condition text not null default ''
) without rowid;
create table if not exists line (
    number text primary key, name text not null, callback text not null
) without rowid;
create table if not exists text (
    id integer primary key, name text not null unique, direction text not null, key text not null, line text not null,
    phone text not null, body text not null, media integer not null, callback text not null, status text not null,
    code text not null default '', taken_at integer not null, expires_at integer, repeats integer not null default 0,
    times_arrived integer not null default 0, arrived_at integer, position integer unique
);
create index if not exists text_key on text (key) where key <> '';
create index if not exists text_phone on text (phone, position);
create index if not exists text_under_way on text (id) where direction = 'out' and status in ('queued', 'sending', 'sent');
create table if not exists event (
    id integer primary key, text integer not null references text, kind text not null, status text not null,
    url text not null, body text not null, state text not null default 'pending', attempts integer not null default 0,
    answer text not null default '', made_at integer not null, told_at integer
);
create index if not exists event_text on event (text);
create index if not exists event_pending on event (id) where state = 'pending';
create table if not exists opted_out (line text not null, phone text not null, primary key (line, phone)) without rowid;
"""

# Times a text is brought; "out" goes to a phone, "in" was typed on one.
OUT, IN = "out", "in"
FIRST_PHONES = (("+12065550101", "Ana"), ("+12065550102", "Ben"), ("+12065550103", "Chris"))


class Book:
    """The book of one simulated network; one connection, so calls come from one thread."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = normal")
        self._db.executescript(SCHEMA)
        if self._db.execute("select not exists (select 1 from phone)").fetchone()[0]:
            self._add_first_phones()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write all of it or nothing."""
        self._db.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._db.execute("rollback")
            raise
        self._db.execute("commit")

    # Phones

    def add_phone(self, number: str, name: str = "") -> None:
        """Add a phone, unless there is one with the number; a name given replaces the one it had."""
        self._db.execute(
            "insert into phone (number, name) values (?, ?)"
            " on conflict (number) do update set name = excluded.name where excluded.name <> ''",
            (number, name),
        )

    def set_condition(self, number: str, condition: str) -> None:
        """Say what is wrong with a phone; empty for nothing."""
        self.add_phone(number)
        self._db.execute("update phone set condition = ? where number = ?", (condition, number))

    def condition_of(self, number: str) -> str:
        """Give what is wrong with a phone."""
        row = self._db.execute("select condition from phone where number = ?", (number,)).fetchone()
        return "" if row is None else str(row["condition"])

    def phones(self) -> list[dict[str, Any]]:
        """Give every phone, with how many texts it shows and the position of the newest."""
        return [
            dict(row)
            for row in self._db.execute(
                "select phone.*, count(position) as texts, coalesce(max(position), 0) as last"
                " from phone left join text on text.phone = number group by number order by number"
            )
        ]

    def conversation(self, number: str, *, after: int = 0) -> list[dict[str, Any]]:
        """Give what a phone shows in the order in which it came: texts that arrived, and those typed on it.

        ``heard`` says of a text that was typed whether the line's owner was told of it; empty where nobody owns the line.
        """
        rows = self._db.execute(
            "select *, (select state from event where event.text = text.id and kind = 'inbound') as heard"
            " from text where phone = ? and position > ? order by position",
            (number, after),
        )
        return [{**_shown(row), "heard": row["heard"] or ""} for row in rows]

    def opt_out(self, line: str, phone: str) -> None:
        """Note that a phone wants nothing more from a line."""
        self._db.execute("insert or ignore into opted_out values (?, ?)", (line, phone))

    def opt_in(self, line: str, phone: str) -> None:
        """Note that it does again."""
        self._db.execute("delete from opted_out where line = ? and phone = ?", (line, phone))

    def is_opted_out(self, line: str, phone: str) -> bool:
        """Say whether a phone wants nothing from a line."""
        row = self._db.execute("select 1 from opted_out where line = ? and phone = ?", (line, phone)).fetchone()
        return row is not None

    # Lines

    def set_line(self, number: str, *, name: str, callback: str) -> None:
        """Say whose a line is, and which address hears of texts to it."""
        self._db.execute(
            "insert into line values (?, ?, ?) on conflict (number) do update set name = excluded.name,"
            " callback = excluded.callback",
            (number, name, callback),
        )

    def callback_of(self, line: str) -> str:
        """Give the address that hears of texts to a line; empty where none was named."""
        row = self._db.execute("select callback from line where number = ?", (line,)).fetchone()
        return "" if row is None else str(row["callback"])

    def lines(self) -> list[dict[str, Any]]:
        """Give every line that was named, or that a text came from."""
        return [
            dict(row)
            for row in self._db.execute(
                "select number, name, callback from line union"
                " select distinct line, '', '' from text where line not in (select number from line) order by number"
            )
        ]

    # Texts

    def find(self, key: str) -> dict[str, Any] | None:
        """Give the text that was taken under a key."""
        row = self._db.execute("select * from text where key = ? order by id limit 1", (key,)).fetchone()
        return None if row is None else dict(row)

    def text(self, number: int) -> dict[str, Any]:
        """Give a text by its number in the book."""
        return dict(self._db.execute("select * from text where id = ?", (number,)).fetchone())

    def count_repeat(self, number: int) -> None:
        """Count that a text was sent again under its key."""
        self._db.execute("update text set repeats = repeats + 1 where id = ?", (number,))

    def take(
        self, *, key: str, line: str, phone: str, body: str, callback: str = "", valid_seconds: float | None = None
    ) -> dict[str, Any]:
        """Write down a text to a phone, which is there from then on."""
        now = microseconds()
        self.add_phone(phone)
        made = self._db.execute(
            "insert into text (name, direction, key, line, phone, body, media, callback, status, taken_at, expires_at)"
            " values (?, ?, ?, ?, ?, ?, 0, ?, 'queued', ?, ?) returning *",
            (
                _new_name(), OUT, key, line, phone, body, callback, now,
                None if valid_seconds is None else now + int(valid_seconds * 1_000_000),
            ),
        ).fetchone()  # fmt: skip
        return dict(made)

    def type(self, *, phone: str, line: str, body: str, media: int) -> dict[str, Any]:
        """Write down what a person typed on a phone."""
        now = microseconds()
        self.add_phone(phone)
        made = self._db.execute(
            "insert into text (name, direction, key, line, phone, body, media, callback, status, taken_at, arrived_at,"
            " times_arrived, position) values (?, ?, '', ?, ?, ?, ?, '', 'typed', ?, ?, 1, ?) returning *",
            (_new_name(), IN, line, phone, body, media, now, now, self._next_position()),
        ).fetchone()
        return dict(made)

    def arrive(self, number: int, *, times: int) -> None:
        """Show a text on its phone."""
        self._db.execute(
            "update text set times_arrived = times_arrived + ?, arrived_at = coalesce(arrived_at, ?),"
            " position = coalesce(position, ?) where id = ?",
            (times, microseconds(), self._next_position(), number),
        )

    def set_status(self, number: int, status: str, code: str = "") -> None:
        """Write down where a text stands."""
        self._db.execute("update text set status = ?, code = ? where id = ?", (status, code, number))

    def under_way(self) -> list[int]:
        """Give the texts to phones that had not come to an end, oldest first."""
        rows = self._db.execute(
            "select id from text where direction = 'out' and status in ('queued', 'sending', 'sent') order by id"
        )
        return [row["id"] for row in rows]

    # Webhooks

    def owe(self, text: int, *, kind: str, url: str, body: str, status: str = "") -> int:
        """Write down a webhook that must be told, and give its number."""
        made = self._db.execute(
            "insert into event (text, kind, status, url, body, made_at) values (?, ?, ?, ?, ?, ?) returning id",
            (text, kind, status, url, body, microseconds()),
        ).fetchone()
        return int(made["id"])

    def event(self, number: int) -> dict[str, Any]:
        """Give a webhook, with the phone and line it is about."""
        row = self._db.execute(
            "select event.*, text.phone, text.line from event join text on text.id = event.text where event.id = ?",
            (number,),
        ).fetchone()
        return dict(row)

    def told(self, number: int, *, state: str, answer: str) -> None:
        """Write down how an attempt to tell went: pending, told, failed or lost."""
        self._db.execute(
            "update event set state = ?, answer = ?, attempts = attempts + (? <> 'lost'),"
            " told_at = case when ? = 'told' then coalesce(told_at, ?) else told_at end where id = ?",
            (state, answer, state, state, microseconds(), number),
        )

    def owed(self, *, failed: bool = False) -> list[int]:
        """Give the webhooks that must still be told, oldest first; with ``failed`` those given up, owed again."""
        if failed:
            self._db.execute("update event set state = 'pending' where state = 'failed'")
        return [row["id"] for row in self._db.execute("select id from event where state = 'pending' order by id")]

    # The book itself, for whoever compares

    def rows(self) -> list[dict[str, Any]]:
        """Give every text, in the order in which it was taken or typed."""
        return [_shown(row) for row in self._db.execute("select * from text order by id")]

    def events(self) -> list[dict[str, Any]]:
        """Give every webhook, in the order in which it came to be owed."""
        return [
            {**dict(row), "made_at": moment(row["made_at"]), "told_at": row["told_at"] and moment(row["told_at"])}
            for row in self._db.execute(
                "select event.id, text.name as text, kind, event.status, url, event.body, state, attempts, answer,"
                " made_at, told_at from event join text on text.id = event.text order by event.id"
            )
        ]

    def totals(self) -> dict[str, Any]:
        """Count what was taken, what became of it, what was typed, and the webhooks."""
        row = self._db.execute(
            "select coalesce(sum(direction = 'out'), 0) as taken,"
            " coalesce(sum(direction = 'out' and times_arrived > 0), 0) as arrived,"
            " coalesce(sum(direction = 'out' and times_arrived > 1), 0) as arrived_again,"
            " coalesce(sum(direction = 'out' and status = 'lost'), 0) as lost,"
            " coalesce(sum(direction = 'out' and status in ('undelivered', 'failed')), 0) as not_delivered,"
            " coalesce(sum(repeats), 0) as repeats, coalesce(sum(direction = 'in'), 0) as typed from text"
        ).fetchone()
        webhooks = {
            found["state"]: found["count"]
            for found in self._db.execute("select state, count(*) as count from event group by state")
        }
        return {
            **dict(row),
            "webhooks": {name: webhooks.get(name, 0) for name in ("pending", "told", "failed", "lost")},
        }

    def forget(self) -> None:
        """Empty the book, put the first phones back, and keep the lines: they are how the network is set up."""
        with self.transaction():
            for table in ("event", "text", "phone", "opted_out"):
                self._db.execute(f"delete from {table}")
            self._add_first_phones()

    def _add_first_phones(self) -> None:
        self._db.executemany("insert into phone (number, name) values (?, ?)", FIRST_PHONES)

    def _next_position(self) -> int:
        return int(self._db.execute("select coalesce(max(position), 0) + 1 from text").fetchone()[0])


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": row["name"],
        "direction": row["direction"],
        "key": row["key"],
        "line": row["line"],
        "phone": row["phone"],
        "body": row["body"],
        "media": row["media"],
        "status": row["status"],
        "code": row["code"],
        "position": row["position"],
        "times_arrived": row["times_arrived"],
        "repeats": row["repeats"],
        "at": moment(row["arrived_at"] or row["taken_at"]),
    }


def _new_name() -> str:
    # Not a count: an emptied book must not name its texts like those that others remember.
    return f"tel_{secrets.token_hex(10)}"


def microseconds() -> int:
    """Give the time as microseconds since 1970, UTC."""
    return time.time_ns() // 1000


def moment(at: int) -> str:
    """Write microseconds since 1970 as ISO 8601 in UTC."""
    return datetime.fromtimestamp(at / 1_000_000, tz=UTC).isoformat(timespec="microseconds")
