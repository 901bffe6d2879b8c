"""The simulated processor's book: what it was asked, what it truly charged, and the tokens it gave out.

One SQLite file in WAL mode, written by one process. A kill loses nothing that was answered. Amounts are kept as whole
minor units, times as microseconds since 1970 in UTC. No card number, security code or account number is ever kept.

Source: PAY-1, PAY-10, PAY-17, PAY-23.
"""

from __future__ import annotations

import csv
import hashlib
import io
import secrets
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, NamedTuple

from payments.gateways.simulator_service.codes import (
    APPROVED,
    AVS_CODES,
    CVV_CODE,
    EXPIRED,
    FORMAT_ERROR,
    INVALID_CONTENT,
    MESSAGES,
    ONLY_CHARGES,
    OUTCOMES,
    REASONS,
    REVERSALS,
)
from payments.gateways.simulator_service.switches import Switches

SCHEMA = """
create table if not exists token (
    token text primary key, merchant text not null, kind text not null, brand text not null, last4 text not null,
    holder text not null, expires_on text, outcome text not null, made_at integer not null, reference text,
    avs text not null default '', cvv text not null default '', unique (merchant, reference)
) without rowid;
create table if not exists entry (
    id integer primary key, merchant text not null, key text not null, command text not null, minor integer not null,
    currency text not null, token text not null, tender text not null, type text not null, account text not null,
    parent integer, code text not null, at integer not null, repeats integer not null default 0,
    expired integer not null default 0, voided integer not null default 0, payment text not null default '',
    descriptor text not null default '', descriptor_phone text not null default '', avs text not null default '',
    cvv text not null default '', debit_method text not null default '', altered integer not null default 0
);
create index if not exists entry_key on entry (merchant, key);
create index if not exists entry_parent on entry (parent) where parent is not null;
create table if not exists reversal (
    id integer primary key, merchant text not null, entry integer not null, kind text not null, minor integer not null,
    code text not null, at integer not null
);
create index if not exists reversal_entry on reversal (entry);
create table if not exists response_file (
    id integer primary key, merchant text not null, covers_from integer not null, covers_until integer not null,
    first_entry integer not null, last_entry integer not null
);
"""

PLACES = {"JPY": 0, "KRW": 0, "CLP": 0, "BHD": 3, "KWD": 3, "JOD": 3, "OMR": 3, "TND": 3}
# What a debit needs beside how its holder agreed: of a check sent by mail, and of one given at the counter.
DEBIT_FACTS = {
    "A": ("debit_check_number", "debit_image_reference"),
    "P": ("debit_check_number", "debit_image_reference", "debit_terminal_city", "debit_terminal_state"),
}
COMMANDS = ("verify", "authorize", "charge", "deposit", "release", "refund")
# What is about an earlier entry.
_ABOUT = {"deposit": ("authorize",), "release": ("authorize",), "refund": ("charge", "deposit")}
KEY_LONGEST = 64
NUMBER_FIRST = 1 << 40  # so that a reference has its full length from the first one on


class BadMessage(ValueError):
    """A message that cannot be taken at all: nothing of it was done."""


@dataclass(frozen=True, slots=True)
class Token:
    """What the processor keeps of a card or bank account."""

    token: str
    merchant: str
    kind: str
    brand: str
    last4: str
    holder: str
    expires_on: date | None
    outcome: str
    avs: str = ""  # what its issuer says of the address that was typed with it
    cvv: str = ""  # the same of the security code


class Entry(NamedTuple):
    """One message that the processor acted on; the fields are the table's columns, in its order."""

    id: int
    merchant: str
    key: str
    command: str
    minor: int
    currency: str
    token: str
    tender: str
    type: str
    account: str
    parent: int | None
    code: str
    at: int
    repeats: int
    expired: int = 0  # 1 where it deposits an authorization that had expired
    voided: int = 0  # 1 where it takes back a whole charge that had not settled, or lets an authorization go
    payment: str = ""  # the merchant's own name of what is paid
    descriptor: str = ""  # what the payer's statement says
    descriptor_phone: str = ""
    avs: str = ""
    cvv: str = ""
    debit_method: str = ""  # how the holder of the bank account agreed
    altered: int = 0  # how often another message came under its key

    @property
    def amount(self) -> str:
        """The amount with its currency's places."""
        return from_minor(self.minor, self.currency)

    def answer(self) -> dict[str, Any]:
        """Give the answer to the merchant."""
        approved = self.code == APPROVED
        return {
            "key": self.key,
            "code": self.code,
            "message": EXPIRED if self.expired else MESSAGES.get(self.code, "Declined"),
            "approval_code": f"{self.id * 7919 % 1_000_000:06d}" if approved else "",
            "reference": reference_of(self.id),
            "amount": self.amount,
            "currency": self.currency,
            "at": moment(self.at),
            "voided": "yes" if self.voided else "",
            "avs": self.avs,
            "cvv": self.cvv,
        }


class Book:
    """The book in one file; not for use by two processes or threads at once."""

    def __init__(self, path: str | Path) -> None:
        self._db = sqlite3.connect(str(path), isolation_level=None)
        # In WAL mode NORMAL loses nothing when the process is killed, only perhaps when the machine loses power.
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = normal")
        self._db.executescript(SCHEMA)
        # A book that was begun before there were all of these columns goes on.
        columns = {row[1] for row in self._db.execute("pragma table_info(entry)")}
        text, number = "text not null default ''", "integer not null default 0"
        for column, kind in (
            *((name, number) for name in ("expired", "voided")),
            *((name, text) for name in ("payment", "descriptor", "descriptor_phone", "avs", "cvv", "debit_method")),
            ("altered", number),
        ):
            if column not in columns:
                self._db.execute(f"alter table entry add column {column} {kind}")
        columns = {row[1] for row in self._db.execute("pragma table_info(token)")}
        for column in ("avs", "cvv"):
            if column not in columns:
                self._db.execute(f"alter table token add column {column} text not null default ''")
        # How far its clock is ahead, in microseconds.
        self.ahead = 0
        # For the length of one transaction.
        self._next = 1
        self._known_tokens: dict[str, Token | None] = {}

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # Messages about money

    def take(self, *, merchant: str, messages: Sequence[Mapping[str, Any]], switches: Switches) -> list[dict[str, Any]]:
        """Act on messages, in one transaction, and give an answer for each.

        :raises BadMessage: one of them is so malformed that nothing was done.
        """
        for position, message in enumerate(messages):
            key = message.get("key") if isinstance(message, Mapping) else None
            if not isinstance(key, str) or not 0 < len(key) <= KEY_LONGEST:
                raise BadMessage(f"message {position + 1} has no key of 1 to {KEY_LONGEST} characters")
        with self._transaction():
            (last,) = self._db.execute("select coalesce(max(id), 0) from entry").fetchone()
            self._next = last + 1
            self._known_tokens.clear()
            return [self._take_one(merchant, message, switches) for message in messages]

    def _take_one(self, merchant: str, message: Mapping[str, Any], switches: Switches) -> dict[str, Any]:
        now = self._now()
        if switches.duplicate_detection:
            since = now - int(switches.duplicate_window_seconds * 1_000_000)
            known = self._db.execute(
                "select * from entry where merchant = ? and key = ? and at >= ? order by id limit 1",
                (merchant, message["key"], since),
            ).fetchone()
            if known:
                entry = Entry(*known)
                self._db.execute("update entry set repeats = repeats + 1 where id = ?", (entry.id,))
                if not _same_message(entry, message):
                    self._db.execute("update entry set altered = altered + 1 where id = ?", (entry.id,))
                    return {"key": entry.key, "error": "this key was used for another message"}
                return entry.answer()
        entry = self._decide(merchant, message, switches, now)
        self._db.execute(f"insert into entry values ({_PLACES})", entry)
        return entry.answer()

    def _decide(self, merchant: str, message: Mapping[str, Any], switches: Switches, now: int) -> Entry:
        number, self._next = self._next, self._next + 1
        text = {name: message.get(name, "") for name in _TEXTS}
        minor = to_minor(message.get("amount"), text["currency"])
        well_formed = minor is not None and all(isinstance(value, str) and len(value) <= 200 for value in text.values())
        command = text["command"] if well_formed else ""
        parent = number_of(text["reference"]) if well_formed and command in _ABOUT else None
        if not well_formed:
            code, minor, text = FORMAT_ERROR, 0, dict.fromkeys(_TEXTS, "")
        elif switches.v_code is not None:
            code = switches.v_code
        else:
            assert minor is not None
            code = self._code(merchant, text, minor, parent, switches)
        checked = command in {"verify", "authorize"} and text["tender"] == "card" and code == APPROVED
        token = self._known_tokens.get(text["token"]) if checked else None
        return Entry(
            id=number,
            merchant=merchant,
            key=message["key"],
            command=command,
            minor=minor or 0,
            currency=text["currency"],
            token=text["token"],
            tender=text["tender"],
            type=text["type"],
            account=text["account"],
            parent=parent,
            code=code,
            at=now,
            repeats=0,
            expired=int(command == "deposit" and code == APPROVED and self._expired(parent, now, switches)),
            voided=int(code == APPROVED and self._voids(command, parent, minor or 0, now, switches)),
            payment=text["payment"],
            descriptor=text["descriptor"],
            descriptor_phone=text["descriptor_phone"],
            avs=(switches.avs_answer or token.avs) if token else "",
            cvv=(switches.cvv_answer or token.cvv) if token else "",
            debit_method=text["debit_method"],
        )

    def _expired(self, parent: int | None, now: int, switches: Switches) -> bool:
        row = self._db.execute("select at from entry where id = ?", (parent,)).fetchone()
        return row is not None and now - row[0] > switches.authorization_seconds * 1_000_000

    def _voids(self, command: str, parent: int | None, minor: int, now: int, switches: Switches) -> bool:
        """Say whether statements never show it: a release, or a refund of a whole charge that has not settled yet."""
        if command != "refund":
            return command == "release"
        row = self._db.execute("select minor, at from entry where id = ?", (parent,)).fetchone()
        return row is not None and minor == row[0] and now - row[1] <= switches.settlement_seconds * 1_000_000

    def _code(self, merchant: str, text: Mapping[str, str], minor: int, parent: int | None, switches: Switches) -> str:
        command = text["command"]
        if command not in COMMANDS:
            return "401"
        if text["token"] not in self._known_tokens:
            self._known_tokens[text["token"]] = self.find_token(merchant=merchant, token=text["token"])
        token = self._known_tokens[text["token"]]
        if token is None or token.outcome == "refused" or token.kind != text["tender"]:
            return INVALID_CONTENT
        if command == "verify":
            if minor != 0:
                return INVALID_CONTENT
            # Whether there is money enough only a charge can tell.
            return APPROVED if token.outcome in ONLY_CHARGES else self._checked(token, switches)
        if Decimal(from_minor(minor, text["currency"])) < max(switches.minimum, Decimal("0.01")):
            return "304" if minor > 0 else INVALID_CONTENT
        if any(not text[name] for name in DEBIT_FACTS.get(text["debit_method"], ())):
            return INVALID_CONTENT
        if command in _ABOUT:
            return self._code_of_child(merchant, text, minor, parent)
        return self._checked(token, switches)

    def _checked(self, token: Token, switches: Switches) -> str:
        code = OUTCOMES[token.outcome]
        if code == APPROVED and token.kind == "card":
            if switches.avs is not None:
                return AVS_CODES[switches.avs]
            if switches.cvv_fails:
                return CVV_CODE
        return code

    def _code_of_child(self, merchant: str, text: Mapping[str, str], minor: int, parent: int | None) -> str:
        row = self._db.execute("select * from entry where id = ? and merchant = ?", (parent, merchant)).fetchone()
        if row is None:
            return "402"
        original = Entry(*row)
        if original.command not in _ABOUT[text["command"]] or original.code != APPROVED:
            return "404"
        if (original.currency, original.token) != (text["currency"], text["token"]):
            return "404"
        done = dict(
            self._db.execute(
                "select command, sum(minor) from entry where parent = ? and code = ? group by command",
                (parent, APPROVED),
            ).fetchall()
        )
        if text["command"] == "deposit":
            return APPROVED if not done and minor <= original.minor else "404"
        if text["command"] == "release":
            if "release" in done:
                return "403"
            return APPROVED if not done and minor == original.minor else "404"
        taken = done.get("refund", 0) + self._taken_back(original.id)
        return APPROVED if taken + minor <= original.minor else "403"

    def _taken_back(self, entry: int) -> int:
        """Give what returns and chargebacks took of a charge, those that were won left out."""
        (taken,) = self._db.execute(
            "select coalesce(sum(case kind when 'chargeback_won' then -minor else minor end), 0) from reversal where entry = ?",
            (entry,),
        ).fetchone()
        return int(taken)

    # Returns and chargebacks

    def reverse(self, *, merchant: str, key: str, kind: str, amount: str | None, code: str) -> dict[str, Any]:
        """Have a bank return a charge, or a payer dispute it, and give what the merchant will be told.

        By default all that was charged moves. As at a real processor, nothing keeps it from moving beside a refund.

        :raises BadMessage: there is no such charge, or it cannot move so.
        """
        if kind not in REVERSALS:
            raise BadMessage(f"kind is one of {', '.join(REVERSALS)}")
        row = self._db.execute(
            "select * from entry where merchant = ? and key = ? and code = ? and command in ('charge', 'deposit') limit 1",
            (merchant, key, APPROVED),
        ).fetchone()
        if row is None:
            raise BadMessage("there is no such charge")
        charge = Entry(*row)
        minor = charge.minor if amount is None else to_minor(amount, charge.currency)
        with self._transaction():
            back = self._taken_back(charge.id)
            left = back if kind == "chargeback_won" else charge.minor - back
            if minor is None or not 0 < minor <= left:
                raise BadMessage(f"the amount is above zero and at most {from_minor(left, charge.currency)}")
            made = self._db.execute(
                "insert into reversal (merchant, entry, kind, minor, code, at) values (?, ?, ?, ?, ?, ?) returning id",
                (merchant, charge.id, kind, minor, code or REVERSALS[kind][0], self._now()),
            ).fetchone()
        return next(self._reversals("r.id = ?", (made[0],)))

    def reversals(self, *, merchant: str, since: datetime) -> list[dict[str, Any]]:
        """Give the merchant's returns and chargebacks since a moment, oldest first."""
        return list(self._reversals("r.merchant = ? and r.at >= ?", (merchant, int(since.timestamp() * 1_000_000))))

    def _reversals(self, where: str, given: Sequence[object]) -> Iterator[dict[str, Any]]:
        found = self._db.execute(
            "select r.id, e.key, r.kind, r.minor, e.currency, r.code, r.at from reversal r join entry e on e.id = r.entry"
            f" where {where} order by r.id",
            given,
        )
        for number, key, kind, minor, currency, code, at in found:
            yield {
                "reference": f"rev_{number}",
                "key": key,
                "kind": kind,
                "amount": from_minor(minor, currency),
                "currency": currency,
                "code": code,
                "reason": REASONS.get(code, "Reason not given"),
                "at": moment(at),
            }

    def lookup(self, *, merchant: str, keys: Sequence[str]) -> dict[str, Any]:
        """Say what became of each key: an answer where it is known, and the list of those absent."""
        answers: list[dict[str, Any]] = []
        absent: list[str] = []
        for key in dict.fromkeys(keys):
            # The charge that happened first is what became of a key, whatever was asked under it afterwards.
            row = self._db.execute(
                "select * from entry where merchant = ? and key = ? order by code <> ?, id limit 1",
                (merchant, key, APPROVED),
            ).fetchone()
            if row is None:
                absent.append(key)
            else:
                answers.append(Entry(*row).answer())
        return {"answers": answers, "absent": absent}

    # Tokens

    def make_token(
        self,
        *,
        merchant: str,
        kind: str,
        brand: str,
        last4: str,
        holder: str,
        expires_on: date | None,
        outcome: str,
        reference: str | None = None,
        avs: str = "",
        cvv: str = "",
    ) -> Token:
        """Keep a card or bank account under a new token that ends in its last four digits.

        With a ``reference`` the token follows from it, and asking again gives the same one.
        """
        named = f"{merchant}\n{reference}".encode()
        body = secrets.token_hex(12) if reference is None else hashlib.sha256(named).hexdigest()[:24]
        token = Token(f"tok_{body}_{last4}", merchant, kind, brand, last4, holder, expires_on, outcome, avs, cvv)
        self._db.execute(
            "insert into token (token, merchant, kind, brand, last4, holder, expires_on, outcome, made_at, reference, avs, cvv)"
            " values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict do nothing",
            (
                token.token,
                merchant,
                kind,
                brand,
                last4,
                holder,
                expires_on.isoformat() if expires_on else None,
                outcome,
                self._now(),
                reference,
                avs,
                cvv,
            ),
        )
        if reference is not None:
            (kept,) = self._db.execute(
                "select token from token where merchant = ? and reference = ?", (merchant, reference)
            ).fetchone()
            return self.find_token(merchant=merchant, token=kept) or token
        return token

    def make_tokens(self, *, merchant: str, wanted: Sequence[Mapping[str, Any]]) -> list[Token]:
        """Keep many at once, in one transaction."""
        with self._transaction():
            return [self.make_token(merchant=merchant, **one) for one in wanted]

    def find_token(self, *, merchant: str, token: str) -> Token | None:
        """Give what a merchant's token stands for."""
        row = self._db.execute(
            "select token, merchant, kind, brand, last4, holder, expires_on, outcome, avs, cvv from token"
            " where token = ? and merchant = ?",
            (token, merchant),
        ).fetchone()
        if row is None:
            return None
        expires_on = date.fromisoformat(row[6]) if row[6] else None
        return Token(row[0], row[1], row[2], row[3], row[4], row[5], expires_on, row[7], row[8], row[9])

    def change_token(self, *, token: str, outcome: str) -> bool:
        """Make a token behave otherwise from now on; False where there is none."""
        return self._db.execute("update token set outcome = ? where token = ?", (outcome, token)).rowcount == 1

    # Response files

    def make_response_file(self, *, merchant: str) -> str:
        """Close a response file over everything that the merchant's earlier ones do not name, and give its name."""
        with self._transaction():
            last_until, last_entry = self._db.execute(
                "select coalesce(max(covers_until), 0), coalesce(max(last_entry), 0) from response_file"
                " where merchant = ?",
                (merchant,),
            ).fetchone()
            (newest,) = self._db.execute("select coalesce(max(id), 0) from entry").fetchone()
            made = self._db.execute(
                "insert into response_file (merchant, covers_from, covers_until, first_entry, last_entry)"
                " values (?, ?, ?, ?, ?) returning id",
                (merchant, last_until, self._now(), last_entry + 1, newest),
            ).fetchone()
        return f"RFR-{merchant}-{made[0]:06d}.csv"

    def response_files(self, *, merchant: str) -> list[str]:
        """List the merchant's response files, oldest first."""
        rows = self._db.execute("select id from response_file where merchant = ? order by id", (merchant,))
        return [f"RFR-{merchant}-{number:06d}.csv" for (number,) in rows]

    def response_file(self, *, merchant: str, name: str) -> str | None:
        """Give the text of a response file: header, a line for every entry, trailer with count and control total."""
        digits = name.removeprefix(f"RFR-{merchant}-").removesuffix(".csv")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
            return None
        row = self._db.execute(
            "select covers_from, covers_until, first_entry, last_entry from response_file"
            " where merchant = ? and id = ?",
            (merchant, int(digits)),
        ).fetchone()
        if row is None:
            return None
        covers_from, covers_until, first, last = row
        out = io.StringIO()
        lines = csv.writer(out, lineterminator="\n")
        lines.writerow(["H", name, merchant, moment(covers_from), moment(covers_until)])
        count, total = 0, Decimal(0)
        rows = self._db.execute(
            "select * from entry where merchant = ? and id between ? and ? order by id", (merchant, first, last)
        )
        for found in rows:
            entry = Entry(*found)
            answer = entry.answer()
            of = "" if entry.parent is None else reference_of(entry.parent)
            message = [entry.command, entry.token, entry.tender, entry.type, entry.account, of, entry.payment]
            lines.writerow(["D", *(answer[name] for name in RESPONSE_COLUMNS), *message])
            count += 1
            total += Decimal(entry.amount)
        lines.writerow(["T", count, total])
        return out.getvalue()

    # The book itself, for whoever compares

    def rows(self, *, merchant: str | None = None) -> list[dict[str, Any]]:
        """Give one row per merchant and key, with how many times it was truly charged."""
        found = self._db.execute(
            """
            select merchant, key, min(command), min(minor), min(currency), min(token), min(tender), min(type),
                   min(account), count(*), sum(code = ? and command in ('charge', 'deposit', 'refund')),
                   sum(repeats),
                   min(case when code = ? then '' else code end), min(at), max(at), min(id), max(expired),
                   min(descriptor), min(descriptor_phone), min(debit_method), sum(altered)
            from entry where ? is null or merchant = ? group by merchant, key order by min(id)
            """,
            (APPROVED, APPROVED, merchant, merchant),
        )
        return [
            {
                "merchant": row[0],
                "key": row[1],
                "command": row[2],
                "amount": from_minor(row[3], row[4]),
                "currency": row[4],
                "token": row[5],
                "tender": row[6],
                "type": row[7],
                "account": row[8],
                "requests": row[9],
                "times_charged": row[10],
                "repeats": row[11],
                "code": row[12] or APPROVED,
                "first_at": moment(row[13]),
                "last_at": moment(row[14]),
                "reference": reference_of(row[15]),
                "expired": bool(row[16]),
                "descriptor": row[17],
                "descriptor_phone": row[18],
                "debit_method": row[19],
                "altered": row[20],
            }
            for row in found
        ]

    def totals(self, *, merchant: str | None = None) -> list[dict[str, Any]]:
        """Add up what was truly charged, by merchant, currency and tender."""
        found = self._db.execute(
            """
            select merchant, currency, tender, sum(command <> 'refund'), sum((command <> 'refund') * minor),
                   sum(command = 'refund'), sum((command = 'refund') * minor)
            from entry where code = ? and command in ('charge', 'deposit', 'refund') and (? is null or merchant = ?)
            group by merchant, currency, tender order by merchant, currency, tender
            """,
            (APPROVED, merchant, merchant),
        )
        moved = {
            (row[0], row[1], row[2]): (row[3], row[4])
            for row in self._db.execute(
                "select r.merchant, e.currency, e.tender, count(*), sum(case r.kind when 'chargeback_won' then -r.minor"
                " else r.minor end) from reversal r join entry e on e.id = r.entry group by 1, 2, 3"
            )
        }
        nothing = (0, 0)
        return [
            {
                "merchant": row[0],
                "currency": row[1],
                "tender": row[2],
                "payments": row[3],
                "amount": from_minor(row[4], row[1]),
                "refunds": row[5],
                "refunded": from_minor(row[6], row[1]),
                "reversals": moved.get(row[:3], nothing)[0],
                "reversed": from_minor(moved.get(row[:3], nothing)[1], row[1]),
            }
            for row in found
        ]

    def charged_twice(self, *, merchant: str | None = None) -> int:
        """Count the keys that were charged more than once."""
        (count,) = self._db.execute(
            """
            select count(*) from (
                select 1 from entry
                where code = ? and command in ('charge', 'deposit', 'refund') and (? is null or merchant = ?)
                group by merchant, key having count(*) > 1)
            """,
            (APPROVED, merchant, merchant),
        ).fetchone()
        return int(count)

    def forget(self, *, tokens: bool) -> None:
        """Empty the book; the tokens too where asked."""
        with self._transaction():
            self._db.execute("delete from entry")
            self._db.execute("delete from reversal")
            self._db.execute("delete from response_file")
            if tokens:
                self._db.execute("delete from token")

    def _now(self) -> int:
        return microseconds() + self.ahead

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._db.execute("rollback")
            raise
        self._db.execute("commit")


_PLACES = ", ".join("?" * len(Entry._fields))
RESPONSE_COLUMNS = ("key", "code", "message", "approval_code", "reference", "amount", "currency", "at", "voided")
_TEXTS = (
    "command", "currency", "token", "tender", "type", "account", "reference", "payment", "descriptor", "descriptor_phone",
    "debit_method", "debit_check_number", "debit_image_reference", "debit_terminal_city", "debit_terminal_state",
)  # fmt: skip


def _same_message(entry: Entry, message: Mapping[str, Any]) -> bool:
    if entry.code == FORMAT_ERROR:
        return True
    names = ("command", "currency", "token", "tender", "type", "account", "payment", "debit_method")
    return entry.minor == to_minor(message.get("amount"), message.get("currency")) and all(
        getattr(entry, name) == message.get(name, "") for name in names
    )


def to_minor(amount: object, currency: object) -> int | None:
    """Read an amount such as "12.34" as whole minor units; None where it is not one in that currency."""
    if not isinstance(amount, str) or not isinstance(currency, str) or len(amount) > 20:
        return None
    if not (len(currency) == 3 and currency.isascii() and currency.isalpha() and currency.isupper()):
        return None
    try:
        value = Decimal(amount)
    except InvalidOperation:
        return None
    if not value.is_finite() or value < 0 or value >= Decimal("1e14"):
        return None
    minor = value.scaleb(PLACES.get(currency, 2))
    return int(minor) if minor == minor.to_integral_value() else None


def from_minor(minor: int, currency: str) -> str:
    """Write whole minor units as an amount with its currency's places."""
    return str(Decimal(minor).scaleb(-PLACES.get(currency, 2)))


def reference_of(number: int) -> str:
    """Write the number of an entry as the processor's reference."""
    return f"ref_{number + NUMBER_FIRST:x}"


def number_of(reference: str) -> int | None:
    """Read a reference back; None where it is not one."""
    try:
        number = int(reference.removeprefix("ref_"), 16) - NUMBER_FIRST
    except ValueError:
        return None
    return number if 0 < number < 1 << 62 and reference_of(number) == reference else None


def microseconds() -> int:
    """Give the time as microseconds since 1970, UTC."""
    return time.time_ns() // 1000


def moment(at: int) -> str:
    """Write microseconds since 1970 as ISO 8601 in UTC."""
    return datetime.fromtimestamp(at / 1_000_000, tz=UTC).isoformat(timespec="microseconds")
