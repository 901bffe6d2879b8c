"""Imports: customers whom another vendor had enrolled in pay by text, taken over with the evidence of their consent.

The whole file is checked first, in few queries. Each customer is then enrolled by the operations that write SMS modes, in a
transaction of their own: an import that breaks off is repeated with the same file, and what is so already stays as it is.

Source: PBT-3, PBT-4, PBT-13
"""

from __future__ import annotations

import csv
import datetime
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from django.db import transaction
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from billing import audit
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import Biller, Customer
from sms.models import Consent, Mode, Phone, SmsMode
from sms.operations import enrolments, programmes
from sms.operations.enrolments import BadNumber, PhoneRefuses, PhoneSuspended

COLUMNS: Mapping[str, int] = {
    "account": 40,
    "phone": 40,
    "consent_how": 200,
    "consent_text": 4000,
    "consent_version": 20,
    "consented_at": 40,
    "consented_by": 120,
    "language": 2,
}
"""What a file has, in any order, with the most characters of each."""

LARGEST = 200 << 20  # bytes
_LANGUAGES = ("", "en", "es")
_AT_ONCE = 1_000
_SHOWN = 60


class BadFile(DomainError):
    """The file cannot be read, or holds none of what is expected."""


class TooMany(DomainError):
    """More enrolments than this door takes."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one line; ``value`` is cut short, and shows the last figures of a phone only."""

    line: int
    field: str
    reason: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    account: str
    number: str
    consent: Consent
    language: str


@dataclass(slots=True)
class Outcome:
    """What came of an import, or would come of it.

    ``rows`` are the file's. ``new`` are enrolled, or get another number; ``same`` were so already. ``done`` says that they
    are: not where it was only a check, nor where faults kept everything out.
    """

    rows: int = 0
    new: int = 0
    same: int = 0
    faults: list[Fault] = field(default_factory=list)
    done: bool = False


def import_enrolments(
    *,
    biller: Biller,
    body: bytes,
    name: str,
    actor: Actor,
    dry_run: bool = False,
    good_rows: bool = False,
    most: int | None = None,
    now: datetime.datetime | None = None,
    watch: Callable[[int], None] = lambda _done: None,
) -> Outcome:
    """Enrol the customers of a file at once, with the consent they gave elsewhere; each phone gets the text that says so.

    One fault keeps everything out, unless ``good_rows``. ``dry_run`` only checks. ``most`` is how many rows are taken, and
    ``watch`` is told how many are done.

    :raises BadFile: it is no such file.
    :raises TooMany: it has more rows than ``most``.
    :raises programmes.NotOffered: the biller offers no pay by text.
    """
    now = now or timezone.now()
    voice, line = programmes.offered(biller)
    outcome = Outcome()
    rows = _checked(biller, _read(body, biller, now, outcome), outcome)
    if most is not None and outcome.rows > most and not dry_run:
        raise TooMany(f"This file has {outcome.rows:,} rows; at most {most:,} are taken here.")
    if dry_run or (outcome.faults and not good_rows):
        return outcome
    outcome.new = 0
    for customer, row in rows:
        try:
            changed = enrolments.take_over(
                customer=customer, number=row.number, consent=row.consent, language=row.language, voice=voice, line=line,
                actor=actor, now=now,
            )  # fmt: skip
        except (PhoneRefuses, PhoneSuspended) as refused:
            # Since the file was checked.
            outcome.faults.append(Fault(row.line, "phone", str(refused), _masked(row.number)))
            continue
        outcome.new += changed
        outcome.same += not changed
        watch(outcome.new)
    with transaction.atomic(durable=True):
        audit.record(
            actor=actor, event="pay_by_text.imported", biller_id=biller.pk, subject=f"biller:{biller.pk}",
            facts={"name": _printable(name[:200]), "new": outcome.new, "same": outcome.same, "faults": len(outcome.faults)},
        )  # fmt: skip
    outcome.done = True
    return outcome


# --- Reading ---------------------------------------------------------------------------------------------------------


def _read(body: bytes, biller: Biller, now: datetime.datetime, outcome: Outcome) -> list[_Row]:
    if len(body) > LARGEST:
        raise BadFile(f"The file is larger than {LARGEST >> 20} MB.")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        line = body[: wrong.start].count(b"\n") + 1
        raise BadFile(f"Line {line:,} is not UTF-8 text.") from None
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[_Row] = []
    seen: dict[str, int] = {}
    try:
        header = [name.strip().lower() for name in next(lines, [])]
        if sorted(header) != sorted(COLUMNS):
            raise BadFile(f"The first line names the columns: {', '.join(COLUMNS)}.")
        begins = lines.line_num + 1
        for values in lines:
            line, begins = begins, lines.line_num + 1
            if not any(value.strip() for value in values):
                continue
            outcome.rows += 1
            if len(values) != len(header):
                reason = f"has {len(values)} columns; the first line has {len(header)}"
                outcome.faults.append(Fault(line, "", reason))
                continue
            given = {name: value.strip() for name, value in zip(header, values, strict=True)}
            faults = list(_faults(line, given, seen))
            seen.setdefault(given["account"], line)
            row = _row(line, given, biller, now, faults)
            outcome.faults += faults
            if row is not None:
                rows.append(row)
    except csv.Error as wrong:
        raise BadFile(f"Line {lines.line_num:,} cannot be read: {wrong}.") from None
    if not outcome.rows:
        raise BadFile("The file has no enrolments.")
    return rows


def _faults(line: int, given: Mapping[str, str], seen: Mapping[str, int]) -> Iterator[Fault]:
    for name, most in COLUMNS.items():
        value = given[name]
        if not value and name != "language":
            yield Fault(line, name, "is missing")
        elif len(value) > most:
            yield Fault(line, name, f"is longer than {most:,} characters", _shown(name, value))
        elif not value.replace("\n", "").replace("\r", "").replace("\t", "").isprintable():
            yield Fault(line, name, "has a control character", _shown(name, value))
    if given["account"] in seen:
        yield Fault(line, "account", f"stands in line {seen[given['account']]:,} too", given["account"][:_SHOWN])
    if len(given["language"]) <= COLUMNS["language"] and given["language"].lower() not in _LANGUAGES:
        yield Fault(line, "language", "is neither en nor es", _shown("language", given["language"]))


def _row(
    line: int, given: Mapping[str, str], biller: Biller, now: datetime.datetime, faults: list[Fault]
) -> _Row | None:
    known = {fault.field for fault in faults}
    number = ""
    try:
        number = enrolments.read_number(given["phone"])
    except BadNumber:
        if "phone" not in known:
            faults.append(Fault(line, "phone", "is no phone number", _shown("phone", given["phone"])))
    at = _moment(given["consented_at"], biller)
    if "consented_at" in known:
        pass
    elif at is None:
        reason = "is no date such as 2026-11-22 or 2026-11-22T17:00:00Z"
        faults.append(Fault(line, "consented_at", reason, _shown("consented_at", given["consented_at"])))
    elif at > now:
        faults.append(Fault(line, "consented_at", "is not over yet", given["consented_at"]))
    if faults or at is None:
        return None
    consent = Consent(
        given["consent_how"], given["consent_text"], given["consent_version"], by=given["consented_by"], at=at
    )
    return _Row(line, given["account"], number, consent, given["language"].lower())


def _moment(written: str, biller: Biller) -> datetime.datetime | None:
    """Read a moment, or a day, which begins at midnight; one without a zone is in the biller's."""
    try:
        moment = parse_datetime(written)
        if moment is None and (day := parse_date(written)) is not None:
            moment = datetime.datetime.combine(day, datetime.time())
    except ValueError:
        return None
    if moment is None or moment.year < 1990:  # before there were texts
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=biller.zone)


# --- Checking --------------------------------------------------------------------------------------------------------


def _checked(biller: Biller, rows: Sequence[_Row], outcome: Outcome) -> list[tuple[Customer, _Row]]:
    """Give the rows that change something with their customers, three queries for a thousand; count what would come of them."""
    kind = programmes.programme_of(biller).kind
    good: list[tuple[Customer, _Row]] = []
    for first in range(0, len(rows), _AT_ONCE):
        some = rows[first : first + _AT_ONCE]
        customers = {
            one.number: one for one in Customer.objects.filter(biller=biller, number__in=[row.account for row in some])
        }
        modes = {one.customer_id: one for one in SmsMode.objects.filter(customer__in=list(customers.values()))}
        phones = {
            one.number: one for one in Phone.objects.filter(biller=biller, number__in={row.number for row in some})
        }
        for row in some:
            customer = customers.get(row.account)
            if customer is None:
                outcome.faults.append(Fault(row.line, "account", "is no account of this biller", row.account))
                continue
            customer.biller = biller
            mode, phone = modes.get(customer.pk), phones.get(row.number)
            if phone is not None and phone.refuses(kind):
                reason = "has opted out of texts; only START from the phone takes that back"
                outcome.faults.append(Fault(row.line, "phone", reason, _masked(row.number)))
            elif phone is not None and phone.suspended_for:
                outcome.faults.append(
                    Fault(row.line, "phone", "gets no texts: they do not arrive", _masked(row.number))
                )
            elif mode is not None and (reason := _older(mode, row)):
                outcome.faults.append(Fault(row.line, "consented_at", reason, f"{row.consent.at:%Y-%m-%d}"))
            else:
                same = mode is not None and mode.registered and mode.number == row.number and not mode.pending_number
                outcome.same += same
                outcome.new += not same
                if not same:
                    good.append((customer, row))
    outcome.faults.sort(key=lambda fault: fault.line)
    return good


def _older(mode: SmsMode, row: _Row) -> str:
    """Say why a consent no longer counts: what the customer did here since goes before it."""
    at = row.consent.at
    assert at is not None
    if mode.mode is Mode.UNENROLLED and at <= mode.changed_at:
        return "is before pay by text was ended here"
    other = {mode.number if mode.registered else "", mode.pending_number} - {"", row.number}
    if mode.mode is not Mode.UNENROLLED and other and at <= mode.consented_at:
        return "is before the customer agreed to another number here"
    return ""


def _shown(name: str, value: str) -> str:
    text = _printable(value[:_SHOWN])
    return _masked(text) if name == "phone" else text


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def _masked(number: str) -> str:
    """Hide the figures of what should be a phone number, but for the last four characters."""
    return "".join("•" if one.isdigit() else one for one in number[:-4]) + number[-4:]
