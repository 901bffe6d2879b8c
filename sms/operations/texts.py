"""Sending texts: written with the change that made them true, claimed from their rows, sent, noted, and reported on.

The rows are the queue. A claim is committed before the provider is spoken to and no transaction is open meanwhile. What a
dead sender held is sent again only where the provider recognises repeats; elsewhere its outcome is unknown until the
provider tells, because a text said twice cannot be taken back.

Source: PBT-15, PBT-16; the design's "Two outboxes", evidence 3.5.
"""

from __future__ import annotations

import datetime
import json
import logging
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from django.db import connection, transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from billing import audit
from billing.actors import Actor
from billing.failpoints import failpoint
from sms.conversations.states import UNASKED
from sms.models import OPT_OUT_CONFIRMATION, Direction, Line, Phone, ProgrammeKind, Text, TextState
from sms.operations import phones
from sms.operations.lines import open_line
from sms.operations.programmes import open_from, programme_of
from sms.providers.base import (
    FINAL,
    REMEDIES,
    Accepted,
    Action,
    Lost,
    Misconfigured,
    NotSent,
    Outgoing,
    Provider,
    Reason,
    Rejected,
    Status,
    StatusReport,
    later,
)

logger = logging.getLogger(__name__)

BATCH_OF_LINE = 20
LEASE = datetime.timedelta(minutes=10)
PAUSE = datetime.timedelta(minutes=1)
_TRIES = 10  # of a text that is not taken for now
_FAILED = frozenset({Status.UNDELIVERED, Status.FAILED, Status.CANCELED})


@dataclass(frozen=True, slots=True)
class Tally:
    """What one call of :func:`send_due` did."""

    accepted: int = 0
    later: int = 0
    failed: int = 0
    unknown: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.accepted + other.accepted,
            self.later + other.later,
            self.failed + other.failed,
            self.unknown + other.unknown,
        )


@dataclass(frozen=True, slots=True)
class Draft:
    """A text to write: what is said to which phone, when it is due, and from when on it is not worth sending."""

    line: Line
    phone: Phone
    body: str
    kind: str
    key: str
    due_at: datetime.datetime
    expires_at: datetime.datetime | None = None
    customer_id: int | None = None
    programme: ProgrammeKind = ProgrammeKind.PAY_BY_TEXT


def write(*, drafts: Sequence[Draft]) -> int:
    """Write texts, inside the caller's transaction, which holds their phones' rows; gives how many may go out.

    The same key again writes nothing. A phone that opted out gets the confirmation of that and nothing else, one that is
    suspended nothing at all (PBT-15).

    :raises ValueError: a number is not E.164, or a body is empty or too long: the caller's mistake.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("Texts are written in the transaction that made them true.")
    may = [one for one in drafts if not one.phone.suspended_for]
    may = [one for one in may if one.kind == OPT_OUT_CONFIRMATION or not one.phone.refuses(one.programme)]
    for one in may:
        # What no driver takes would hold up its whole line later.
        Outgoing(one.key, one.line.number, one.phone.number, one.body)
    if not may:
        return 0
    rows = [
        {
            "biller_id": one.line.biller_id, "line_id": one.line.pk, "customer_id": one.customer_id,
            "phone": one.phone.number, "kind": one.kind, "body": one.body, "key": one.key, "due_at": one.due_at,
            "expires_at": one.expires_at,
        }
        for one in may
    ]  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO sms_text (biller_id, line_id, customer_id, direction, phone, kind, body, key, state, due_at,
                                  expires_at, provider_id, status, reason, code)
            SELECT v.biller_id, v.line_id, v.customer_id, 'out', v.phone, v.kind, v.body, v.key, 'waiting', v.due_at,
                   v.expires_at, '', '', '', ''
            FROM jsonb_to_recordset(%s::jsonb) AS v (
                biller_id bigint, line_id bigint, customer_id bigint, phone text, kind text, body text, key text,
                due_at timestamptz, expires_at timestamptz
            )
            ON CONFLICT (biller_id, key) DO NOTHING
            """,
            [json.dumps(rows, default=str)],
        )
    return len(may)


def send_due(*, actor: Actor, now: datetime.datetime | None = None, seconds: float = 60.0) -> Tally:
    """Send what is due of every biller in scope, line by line, until nothing is left or the time is over."""
    ends, total = time.monotonic() + seconds, Tally()
    while time.monotonic() < ends:
        moment = now or timezone.now()
        _give_back(moment)
        _expire(moment)
        claimed = _claim(moment)
        if not claimed:
            break
        for line, texts in groupby(claimed, key=lambda text: text.line):
            total += _send(line, list(texts), moment, actor)
    return total


def report(*, line: Line, report: StatusReport, actor: Actor, now: datetime.datetime | None = None) -> bool:
    """Note what a provider tells of a text; gives False where it is no text of this line, or nothing new.

    Reports come late, twice and in any order: a final status stays (evidence 3.5).
    """
    now = now or timezone.now()
    with transaction.atomic(durable=True):
        mine = Text.objects.select_for_update().filter(line=line, direction=Direction.OUT)
        text = mine.filter(provider_id=report.provider_id).first() or _by_key(mine, report.key)
        if text is None:
            return False
        old = Status(text.status) if text.status else None
        status = later(old, report.status)
        if status == old and text.state != TextState.UNKNOWN:
            return False
        text.status, text.provider_id = status, text.provider_id or report.provider_id
        if status in FINAL and text.state not in {TextState.FAILED, TextState.DELIVERED}:
            text.state = TextState.FAILED if status in _FAILED else TextState.DELIVERED
        elif text.state in {TextState.UNKNOWN, TextState.SENDING}:
            text.state = TextState.ACCEPTED
        text.sent_at = text.sent_at or now
        if status in _FAILED:
            _fail(text, report.reason or Reason.UNEXPLAINED, report.code, now)
        text.save()
        if status is Status.DELIVERED:
            phones.arrived(biller_id=text.biller_id, number=text.phone)
    if text.reason:
        _remedy(text, Reason(text.reason), actor, now)
    return True


def _by_key(texts: QuerySet[Text], key: str) -> Text | None:
    try:
        return texts.filter(pk=uuid.UUID(key)).first()
    except ValueError:
        return None


@transaction.atomic(durable=True)
def _expire(now: datetime.datetime) -> None:
    """Drop what came too late to be sent: the confirmation of an opt-out, an answer of yesterday."""
    late = Text.objects.filter(state=TextState.WAITING, due_at__lte=now, expires_at__lt=now)
    late.update(state=TextState.FAILED, reason=Reason.EXPIRED)


@transaction.atomic(durable=True)
def _claim(now: datetime.datetime) -> list[Text]:
    """Take a batch of each line that may send; ``attempts`` counts from here, so that a text that kills us ends too."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH taken AS MATERIALIZED (
                SELECT due.id FROM sms_line l CROSS JOIN LATERAL (
                    SELECT w.id FROM sms_text w
                    WHERE w.line_id = l.id AND w.state = 'waiting' AND w.due_at <= %s
                    ORDER BY w.due_at, w.id LIMIT %s FOR UPDATE SKIP LOCKED
                ) due
                WHERE l.active AND l.stopped_for = '' AND NOT EXISTS (
                    SELECT 1 FROM sms_programme g WHERE g.biller_id = l.biller_id AND g.stopped
                )
            )
            UPDATE sms_text t SET state = 'sending', claimed_at = %s, attempts = t.attempts + 1
            FROM taken WHERE t.id = taken.id
            RETURNING t.id
            """,
            [now, BATCH_OF_LINE, now],
        )
        ids = [pk for (pk,) in cursor.fetchall()]
    return list(Text.objects.select_related("line").filter(pk__in=ids).order_by("line_id", "due_at", "pk"))


@transaction.atomic(durable=True)
def _give_back(now: datetime.datetime) -> None:
    """Let go of what a sender held that has died: to be sent again, or unknown where that might say it twice."""
    held = Text.objects.filter(state=TextState.SENDING, claimed_at__lt=now - LEASE).select_related("line")
    for text in held.select_for_update(of=("self",), skip_locked=True):
        try:
            repeats = open_line(text.line).recognises_repeats
        except Misconfigured:
            repeats = False
        text.state, text.claimed_at = TextState.WAITING if repeats else TextState.UNKNOWN, None
        text.save(update_fields=["state", "claimed_at"])


def _send(line: Line, texts: list[Text], now: datetime.datetime, actor: Actor) -> Tally:
    try:
        provider = open_line(line)
    except Misconfigured as error:
        _stop(line, str(error), actor)
        return _wait(texts, now)
    by_key = {str(text.pk): text for text in texts}
    outgoing = [Outgoing(key, line.number, text.phone, text.body) for key, text in by_key.items()]
    total = Tally()
    try:
        for result in provider.send(outgoing):
            failpoint("texts.answered")
            total += _note(by_key[result.key], result, provider, now, actor)
    finally:
        provider.close()
    return total


def _note(
    text: Text, result: Accepted | Rejected | Lost, provider: Provider, now: datetime.datetime, actor: Actor
) -> Tally:
    """Note what came of a text, unless it was given back meanwhile and somebody else holds it."""
    with transaction.atomic(durable=True):
        held = Text.objects.select_for_update().filter(
            pk=text.pk, state=TextState.SENDING, claimed_at=text.claimed_at
        ).first()  # fmt: skip
        if held is None:
            return Tally()
        held.claimed_at = None
        tally = Tally()
        if isinstance(result, Accepted):
            # A report may have come before this answer.
            held.status = later(Status(held.status) if held.status else None, result.status)
            held.state, held.sent_at, held.segments = TextState.ACCEPTED, now, result.segments
            held.provider_id, tally = result.provider_id, Tally(accepted=1)
        elif isinstance(result, Rejected):
            _fail(held, result.reason, result.code, now)
            tally = Tally(failed=1) if held.state == TextState.FAILED else Tally(later=1)
        elif isinstance(result.error, NotSent | Misconfigured) or provider.recognises_repeats:
            after = result.error.retry_after if isinstance(result.error, NotSent) else None
            if held.attempts >= _TRIES:
                held.state, held.reason, tally = TextState.FAILED, Reason.UNEXPLAINED, Tally(failed=1)
            else:
                held.state, held.due_at, tally = TextState.WAITING, now + (after or PAUSE), Tally(later=1)
        else:
            held.state, tally = TextState.UNKNOWN, Tally(unknown=1)
        held.save()
    if isinstance(result, Lost) and isinstance(result.error, Misconfigured):
        _stop(text.line, str(result.error), actor)
    if isinstance(result, Rejected):
        _remedy(held, result.reason, actor, now)
    return tally


def _fail(text: Text, reason: Reason, code: str, now: datetime.datetime) -> None:
    """Put down why a text did not arrive; it waits for another try where that may help."""
    remedy = REMEDIES[reason]
    text.reason, text.code = reason, code[:40]
    if remedy.action is Action.BACK_OFF:
        text.attempts -= 1  # nothing is wrong with the text, and it waits until it is worth nothing
    if remedy.action is Action.BACK_OFF or (remedy.retries and text.attempts <= remedy.retries):
        text.state, text.due_at = TextState.WAITING, now + remedy.apart
        text.status, text.provider_id = "", ""
        if text.kind in UNASKED:
            text.due_at = open_from(text.due_at, programme=programme_of(text.biller), number=text.phone)
    else:
        text.state = TextState.FAILED


def _remedy(text: Text, reason: Reason, actor: Actor, now: datetime.datetime) -> None:
    """Do what a failure asks for beside the text itself."""
    remedy = REMEDIES[reason]
    if remedy.action is Action.REVOKE_CONSENT:
        by = f"the provider: {text.code or reason}"
        phones.opt_out(biller=text.biller, number=text.phone, by=by, actor=actor, now=now)
    elif remedy.action is Action.STOP_SENDING:
        # What the carriers hold against a biller holds for whatever number it sends from.
        for line in Line.objects.filter(biller_id=text.biller_id, active=True):
            _stop(line, f"The provider refuses this biller's texts ({text.code or reason}).", actor)
    elif remedy.action is Action.ALERT_BILLER:
        _warn(
            text.line,
            f"A carrier holds “{text.kind}” back ({text.code or reason}): see to its words and campaign.",
            actor,
        )
    elif remedy.action in {Action.MARK_NUMBER_BAD, Action.SUSPEND_NUMBER}:
        phones.suspend(
            biller_id=text.biller_id, number=text.phone, reason=str(reason), after=remedy.after, actor=actor,
            customer_id=text.customer_id,
        )  # fmt: skip


@transaction.atomic(durable=True)
def _stop(line: Line, why: str, actor: Actor) -> None:
    """Send nothing from a line until somebody has put right what is wrong with it."""
    if Line.objects.filter(pk=line.pk, stopped_for="").update(stopped_for=why[:200]):
        logger.error("line %s of biller %s is stopped: %s", line.pk, line.biller_id, why)
        audit.record(
            actor=actor, event="line.stopped", biller_id=line.biller_id, subject=f"line:{line.pk}",
            facts={"reason": why[:200]},
        )  # fmt: skip


@transaction.atomic(durable=True)
def _warn(line: Line, of: str, actor: Actor) -> None:
    """Have somebody look into what a carrier holds against a line's texts."""
    if Line.objects.filter(pk=line.pk).exclude(warned_of=of[:200]).update(warned_of=of[:200]):
        logger.error("line %s of biller %s: %s", line.pk, line.biller_id, of)
        audit.record(
            actor=actor, event="line.warned", biller_id=line.biller_id, subject=f"line:{line.pk}",
            facts={"reason": of[:200]},
        )  # fmt: skip


@transaction.atomic(durable=True)
def _wait(texts: list[Text], now: datetime.datetime) -> Tally:
    """Give back what no provider saw, with the try that was counted."""
    for text in texts:
        Text.objects.filter(pk=text.pk, state=TextState.SENDING, claimed_at=text.claimed_at).update(
            state=TextState.WAITING, claimed_at=None, attempts=F("attempts") - 1, due_at=now + PAUSE
        )
    return Tally(later=len(texts))
