"""Loading an invoice file: claim, read to staging, check, merge; whole or not at all.

Reading and checking are many short transactions that touch nothing but staging; the merge is one. A worker may die at
any point: until the merge commits nothing has happened, and after the lease another worker begins anew.

Source: MSP-21 to MSP-25.
"""

from __future__ import annotations

import datetime
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import TracebackType
from typing import Any, Self

from django.db import OperationalError, connection, transaction
from django.utils import timezone

from billing import audit
from billing.actors import Actor
from billing.errors import Conflict
from billing.failpoints import failpoint
from billing.invoice_layouts import BadLayout, Layout, read_layout
from billing.models import Biller, FileState, InvoiceFile
from billing.operations.invoice_files import checking, merging
from billing.operations.invoice_files.merging import Carry, Job, Merged
from billing.operations.invoice_files.reading import MOST_ERRORS, BadFile, Reader, shown
from billing.operations.invoice_files.staging import Stage, abandoned, as_loader, drop_tables

LIVE = (FileState.RECEIVED, FileState.READING, FileState.CHECKING, FileState.LOADING)
# A worker says that it lives at least once for each statement; after this it counts as dead.
LEASE = datetime.timedelta(minutes=5)
# A file that has outlived so many workers is what kills them.
_MOST_CLAIMS = 20
# A load and a collect run may meet in a deadlock; PostgreSQL ends one of them, and each repeats its own work.
_TRIES = 4
_MOMENTS = (
    "%m/%d/%Y", "%m/%d/%Y %H:%M", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %I:%M %p", "%m/%d/%Y %I:%M:%S %p",
    "%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z",
    "%m%d%Y", "%Y%m%d", "%m%d%Y%H%M%S",
)  # fmt: skip
_COUNT = re.compile(r"\d{1,9}", re.ASCII)
_TOTAL = re.compile(r"-?\d{1,14}(\.\d{1,2})?", re.ASCII)


class NotWaiting(Conflict):
    """The file is not waiting to be loaded: it is loaded, refused or withdrawn, or another worker is at it."""

    default = "This file is loaded already, or is being loaded now."


class ClaimLost(Conflict):
    """Another worker took the file over, because this one did not say for too long that it lives."""

    default = "Another worker loads this file now."


Watch = Callable[[Mapping[str, Any]], None]


def load(
    *,
    file_id: int,
    actor: Actor,
    carry: Carry,
    now: datetime.datetime | None = None,
    watch: Watch = lambda _columns: None,
) -> InvoiceFile:
    """Load a received file and give it: loaded, or refused with what is wrong with it.

    ``carry`` moves money that was given for older bills to the new ones (:class:`Carry`). ``now`` is the moment of
    loading, whose business day is the first on which anything of the file may be collected. ``watch`` hears of every
    step with the columns of :class:`InvoiceFile` that changed.

    :raises NotWaiting: it is loaded, refused or withdrawn already, or another worker is at it.
    :raises ClaimLost: another worker took over meanwhile; this one changed nothing.
    """
    with _Claim.take(file_id, watch) as claim:
        file = InvoiceFile.objects.select_related("biller").get(pk=file_id)
        failpoint("load.claimed")
        if file.claims > _MOST_CLAIMS:
            return _refuse(claim, file, actor, "This file could not be loaded in many tries. Ask the operator.")
        try:
            layout = read_layout(file.biller.invoice_layout)
        except BadLayout as bad:
            return _refuse(claim, file, actor, f"This biller's column order cannot be used. {bad}")
        stage = Stage(file.pk, claim.number)
        stage.create(layout)
        try:
            return _load(claim, file, layout, stage, actor, carry, now or timezone.now())
        finally:
            if connection.connection is not None and not connection.connection.closed:
                stage.drop()


def _load(
    claim: _Claim,
    file: InvoiceFile,
    layout: Layout,
    stage: Stage,
    actor: Actor,
    carry: Carry,
    now: datetime.datetime,
) -> InvoiceFile:
    biller = file.biller
    try:
        header, found_count = _read(claim, file, layout, stage, now)
    except BadFile as bad:
        return _refuse(claim, file, actor, str(bad), stage)
    except FileNotFoundError:
        return _refuse(claim, file, actor, "The file's contents are no longer in the storage.")
    claim.renew(state=FileState.CHECKING, found_count=found_count)
    with as_loader() as cursor:
        checked = checking.check(cursor, stage, biller=biller, layout=layout)
    claim.renew(found_total=checked.total, error_count=checked.faults, left_out_count=checked.left_out)
    failpoint("load.checked")
    if wrong := _wrong_totals(header, found_count, checked.total):
        return _refuse(claim, file, actor, wrong, stage)
    if checked.faults > MOST_ERRORS or (checked.faults and not biller.load_good_rows):
        return _refuse(claim, file, actor, _with_errors(checked.faults), stage)
    claim.renew(state=FileState.LOADING)
    job = Job(file, biller, layout, stage, header.made_on, biller.business_date(now))
    refusal = _merge(claim, job, actor, carry)
    return _refuse(claim, file, actor, refusal, stage) if refusal else _fresh(file)


@dataclass(frozen=True, slots=True)
class _Header:
    made_on: datetime.datetime
    count: int
    total: Decimal


def _read(
    claim: _Claim, file: InvoiceFile, layout: Layout, stage: Stage, now: datetime.datetime
) -> tuple[_Header, int]:
    """Copy the file to staging; gives its header and how many invoices it has."""
    with file.body.open("rb") as stream:
        reader = Reader(stream, layout)
        header = _read_header(reader.header(), file.biller, now)
        claim.renew(made_on=header.made_on, stated_count=header.count, stated_total=header.total)
        # The storage may be elsewhere: it is read between transactions, never inside one.
        for chunk in reader.chunks():
            with as_loader() as cursor:
                stage.copy(cursor, layout, chunk)
            claim.renew(bytes_read=chunk.bytes_read)
            failpoint("load.staged")
    return header, reader.invoices


def _read_header(given: dict[str, str], biller: Biller, now: datetime.datetime) -> _Header:
    try:
        guid = uuid.UUID(given["BillerGuid"])
    except ValueError:
        raise BadFile(f"Line 1: BillerGuid “{shown(given['BillerGuid'])}” is not a GUID.") from None
    if guid != biller.guid:
        raise BadFile(f"Line 1: BillerGuid {guid} is another biller's. This biller's is {biller.guid}.")
    made_on = _read_moment(given["FileCreationDate"], biller)
    if made_on is None:
        raise BadFile(f"Line 1: FileCreationDate “{shown(given['FileCreationDate'])}” is not a date.")
    if made_on > now + datetime.timedelta(days=1):
        raise BadFile(f"Line 1: FileCreationDate “{shown(given['FileCreationDate'])}” lies in the future.")
    if not _COUNT.fullmatch(given["InvoiceCount"]):
        raise BadFile(f"Line 1: InvoiceCount “{shown(given['InvoiceCount'])}” is not a whole number.")
    if not _TOTAL.fullmatch(given["TotalInvoiceAmount"]):
        raise BadFile(f"Line 1: TotalInvoiceAmount “{shown(given['TotalInvoiceAmount'])}” is not an amount.")
    return _Header(made_on, int(given["InvoiceCount"]), Decimal(given["TotalInvoiceAmount"]))


def _read_moment(text: str, biller: Biller) -> datetime.datetime | None:
    """Read when a file was made; a date without a time is the day's first moment, before which nothing is doubted."""
    for form in _MOMENTS:
        try:
            moment = datetime.datetime.strptime(text, form)  # noqa: DTZ007  (the zone is the biller's)
        except ValueError:
            continue
        if not 1990 <= moment.year < 2100:
            return None
        return (moment if moment.tzinfo else moment.replace(tzinfo=biller.zone)).astimezone(datetime.UTC)
    return None


def _wrong_totals(header: _Header, count: int, total: Decimal) -> str:
    if count != header.count:
        return f"The file header says {header.count:,} invoices; the file has {count:,}."
    if total != header.total:
        return f"The file header says a total of {header.total:,.2f}; the invoices add up to {total:,.2f}."
    return ""


def _with_errors(count: int) -> str:
    if count > MOST_ERRORS:
        return f"More than {MOST_ERRORS:,} errors were found. Nothing was loaded."
    return f"{count:,} {'error was' if count == 1 else 'errors were'} found. Nothing was loaded."


def _merge(claim: _Claim, job: Job, actor: Actor, carry: Carry) -> str:
    """Merge in one transaction; gives why not, where the file must be refused after all."""
    for left in reversed(range(_TRIES)):
        try:
            with transaction.atomic(durable=True), as_loader() as cursor:
                refusal = _merge_once(cursor, claim, job, actor, carry)
            failpoint("load.committed")
            return refusal
        except OperationalError as error:
            if left == 0 or getattr(error.__cause__, "sqlstate", "") != "40P01":
                raise
    raise AssertionError("unreachable")


def _merge_once(cursor: Any, claim: _Claim, job: Job, actor: Actor, carry: Carry) -> str:
    repeated = merging.prepare(cursor, job)
    faults, left_out = checking.count_faults(cursor, job.stage)
    if faults and not job.biller.load_good_rows:
        return _with_errors(faults)
    merged = merging.merge(cursor, job, carry=carry, repeated=repeated, told=lambda done: claim.tell(loaded_count=done))
    if faults and not merged.count and not merged.repeated:
        # Nothing was written yet where there is nothing to merge.
        return _with_errors(faults)
    failpoint("load.merged")
    _keep_errors(cursor, job.stage, job.file)
    _close(cursor, claim, merged, faults, left_out)
    audit.record(
        actor=actor,
        event="invoice_file.loaded",
        biller_id=job.biller.pk,
        subject=f"invoice_file:{job.file.pk}",
        facts={
            "name": job.file.name,
            "count": merged.count,
            "total": f"{merged.total} {job.biller.currency}",
            "repeated": merged.repeated,
            "errors": faults,
        },
    )
    return ""


def _close(cursor: Any, claim: _Claim, merged: Merged, faults: int, left_out: int) -> None:
    cursor.execute(
        """
        UPDATE billing_invoicefile
        SET state = %s, finished_at = statement_timestamp(), loaded_count = %s, loaded_total = %s, repeated_count = %s,
            carried_total = %s, error_count = %s, left_out_count = %s
        WHERE id = %s AND claimed_at = %s
        """,
        [
            *(FileState.LOADED, merged.count, merged.total, merged.repeated, merged.carried, faults, left_out),
            *(claim.file_id, claim.at),
        ],
    )
    if cursor.rowcount != 1:
        raise ClaimLost


def _keep_errors(cursor: Any, stage: Stage, file: InvoiceFile) -> None:
    cursor.execute(
        f"INSERT INTO billing_invoicefileerror (biller_id, file_id, line, field, reason, value, left_out)"
        f" SELECT %s, %s, line, field, left(reason, 200), left(value, 80), left_out FROM {stage.faults}"
        f" ORDER BY line, field LIMIT {MOST_ERRORS}",
        [file.biller_id, file.pk],
    )


def _refuse(claim: _Claim, file: InvoiceFile, actor: Actor, reason: str, stage: Stage | None = None) -> InvoiceFile:
    """Close the file as refused, with its errors; nothing of it was loaded."""
    with transaction.atomic(durable=True), as_loader() as cursor:
        faults = left_out = 0
        if stage is not None:
            _keep_errors(cursor, stage, file)
            faults, left_out = checking.count_faults(cursor, stage)
        closed = InvoiceFile.objects.filter(pk=file.pk, claimed_at=claim.at).update(
            state=FileState.REFUSED,
            refusal=reason[:300],
            finished_at=timezone.now(),
            loaded_count=0,
            error_count=faults,
            left_out_count=left_out,
        )
        if not closed:
            raise ClaimLost
        audit.record(
            actor=actor,
            event="invoice_file.refused",
            biller_id=file.biller_id,
            subject=f"invoice_file:{file.pk}",
            facts={"name": file.name, "reason": reason[:300]},
        )
    return _fresh(file)


def _fresh(file: InvoiceFile) -> InvoiceFile:
    return InvoiceFile.objects.select_related("biller").get(pk=file.pk)


class _Claim:
    """A worker's hold on a file: nobody else takes it while ``at`` is younger than the lease.

    Progress is written on a connection of its own, so that pages see it while the merge is one long transaction.
    """

    def __init__(self, file_id: int, at: datetime.datetime, watch: Watch) -> None:
        self.file_id, self.at, self._watch = file_id, at, watch
        self.number = int(at.timestamp() * 1_000_000)
        self._beside = connection.copy()

    @classmethod
    def take(cls, file_id: int, watch: Watch) -> Self:
        """Take the file.

        :raises NotWaiting: nobody may, now.
        """
        at = timezone.now()
        with transaction.atomic(durable=True), connection.cursor() as cursor:
            cursor.execute(
                """
                UPDATE billing_invoicefile
                SET state = %s, claimed_at = %s, claims = claims + 1, bytes_read = 0, found_count = 0, found_total = 0,
                    loaded_count = 0, error_count = 0, left_out_count = 0
                WHERE id = %s AND state = ANY(%s) AND (claimed_at IS NULL OR claimed_at < %s)
                """,
                [FileState.READING, at, file_id, [str(state) for state in LIVE], at - LEASE],
            )
            if cursor.rowcount != 1:
                raise NotWaiting
        return cls(file_id, at, watch)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._beside.close()

    def renew(self, **columns: Any) -> None:
        """Write progress and say that the worker lives, between transactions.

        :raises ClaimLost: another worker has the file.
        """
        if not self._write(connection, columns):
            raise ClaimLost

    def tell(self, **columns: Any) -> None:
        """Write progress from within the merge; whether the claim still holds is found out when that ends."""
        self._write(self._beside, columns)

    def _write(self, wrapper: Any, columns: dict[str, Any]) -> bool:
        at = timezone.now()
        names = "".join(f", {name} = %s" for name in columns)
        with wrapper.cursor() as cursor:
            cursor.execute(
                f"UPDATE billing_invoicefile SET claimed_at = %s{names} WHERE id = %s AND claimed_at = %s",
                [at, *columns.values(), self.file_id, self.at],
            )
            held = bool(cursor.rowcount == 1)
        if held:
            self.at = at
        self._watch(columns)
        return held


def waiting(now: datetime.datetime) -> list[int]:
    """Give the files that wait to be loaded, or whose worker is dead, oldest first."""
    due = InvoiceFile.objects.filter(state__in=LIVE).exclude(claimed_at__gte=now - LEASE)
    return list(due.order_by("received_at", "pk").values_list("pk", flat=True))


def sweep_staging() -> int:
    """Remove the staging tables that dead workers left behind; gives how many."""
    with as_loader() as cursor:
        live = InvoiceFile.objects.filter(state__in=LIVE, claimed_at__gte=timezone.now() - LEASE)
        names = abandoned(cursor, set(live.values_list("pk", flat=True)))
        drop_tables(cursor, names)
    return len(names)
