"""Tokens of processors: moved when a biller changes its processor, and purged when nothing needs them any more.

No number is ever kept, so what is migrated are tokens: the new processor, which got the numbers from the old one, says which
of its tokens stands for which of the old. Each method is put on file anew with the new one, AutoPay and scheduled payments go
with it, and the old one stays for what was paid with it: a refund goes where the charge went. When that cannot be any
more, the purge leaves asterisks and the last four digits of it.

Source: PAY-17.
"""

from __future__ import annotations

import csv
import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, transaction
from django.db.models import Q

from billing import audit
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import Biller, Customer
from payments.gateways.base import Gateway, InstrumentDetails, Refused
from payments.models import AutoPayEnrolment, Instrument, InstrumentKind, InstrumentState, Route, ScheduledPayment
from payments.operations import charges
from payments.operations.routes import open_route

LONGEST = 120
# No refund and no chargeback is as late as this after the last payment.
PURGED_AFTER = datetime.timedelta(days=550)


class MigrationRefused(DomainError):
    """These tokens cannot be moved; the sentence says why. Nothing was changed."""


@dataclass(slots=True)
class Migrated:
    """What came of a migration: methods moved, methods that stay, each with the reason, and tokens that nobody has."""

    moved: int = 0
    unknown: int = 0
    left: list[tuple[Instrument, str]] = field(default_factory=list)


def read_pairs(lines: Iterable[str]) -> dict[str, str]:
    """Read a file of old and new tokens, two columns, with a heading ``old,new`` or without.

    :raises MigrationRefused: a line has not two tokens, holds a card number, or names a token twice.
    """
    pairs: dict[str, str] = {}
    for number, row in enumerate(csv.reader(lines), start=1):
        words = [word.strip() for word in row]
        if not any(words) or (number == 1 and [word.lower() for word in words] == ["old", "new"]):
            continue
        if len(words) != 2 or not all(0 < len(word) <= LONGEST and word.isprintable() for word in words):
            raise MigrationRefused(f"Line {number} has not two tokens.")
        if any(word.replace(" ", "").replace("-", "").isdigit() for word in words):
            raise MigrationRefused(f"Line {number} holds a number and not a token: numbers must not come here.")
        if words[0] in pairs:
            raise MigrationRefused(f"Line {number} names a token again.")
        pairs[words[0]] = words[1]
    if not pairs:
        raise MigrationRefused("The file names no tokens.")
    return pairs


def migrate(
    *,
    biller: Biller,
    old: Route,
    new: Route,
    pairs: Mapping[str, str],
    actor: Actor,
    account: str = "",
    start: datetime.date | None = None,
    end: datetime.date | None = None,
    limit: int | None = None,
    dry_run: bool = False,
) -> Migrated:
    """Put methods of one route on file anew at another one, with the tokens that its processor has for them.

    ``account`` narrows to one account's number, ``start`` and ``end`` to methods put on file on days (UTC), both included;
    ``limit`` is the most methods. The new processor is asked what each new token is: one of another kind or other last four
    digits moves nothing. Any number of times.

    :raises MigrationRefused: the routes are one, the new one is not active, or there is no such account.
    :raises GatewayError: the new processor does not answer; what was moved before stays moved.
    """
    if old.pk == new.pk:
        raise MigrationRefused("The new route is the old one.")
    if not new.active:
        raise MigrationRefused("The new route is switched off.")
    rows = Instrument.objects.on_file().filter(biller=biller, route=old).select_related("customer").order_by("pk")
    if account:
        chosen = Customer.objects.filter(Q(number=account) | Q(display_number=account), biller=biller)
        if not chosen.exists():
            raise MigrationRefused(f"There is no account {account}.")
        rows = rows.filter(customer__in=chosen)
    if start is not None:
        rows = rows.filter(created_at__date__gte=start)
    if end is not None:
        rows = rows.filter(created_at__date__lte=end)
    gateway = open_route(new)
    done = Migrated()
    known: dict[str, InstrumentDetails | str] = {}
    for instrument in list(rows[:limit]):
        if instrument.token not in pairs:
            done.unknown += 1
            continue
        found = _described(gateway, pairs[instrument.token], known)
        if isinstance(found, InstrumentDetails) and (found.kind, found.last4) != (instrument.kind, instrument.last4):
            found = "The new token stands for another card or account."
        elif (
            isinstance(found, InstrumentDetails)
            and charges.TENDER_OF[InstrumentKind(instrument.kind)] not in new.tenders
        ):
            found = "The new route takes no such method."
        if isinstance(found, str):
            done.left.append((instrument, found))
            continue
        if not dry_run:
            _move(instrument, new, found, actor)
        done.moved += 1
    return done


def _described(gateway: Gateway, token: str, known: dict[str, InstrumentDetails | str]) -> InstrumentDetails | str:
    """Ask once what a new token is; gives why it cannot be used where it cannot."""
    if token not in known:
        try:
            known[token] = gateway.describe_token(token)
        except Refused:
            known[token] = "The new processor does not know the token."
    return known[token]


@transaction.atomic(durable=True)
def _move(instrument: Instrument, new: Route, details: InstrumentDetails, actor: Actor) -> None:
    Customer.objects.select_for_update(no_key=True).get(pk=instrument.customer_id)
    kept = Instrument.objects.select_for_update().get(pk=instrument.pk)
    if kept.state == InstrumentState.REMOVED:
        return
    was_default, state = kept.is_default, kept.state
    Instrument.objects.filter(pk=kept.pk).update(state=InstrumentState.REMOVED, is_default=False)
    made = kept
    made._state.adding = True
    made.pk = None
    made.route, made.token, made.state, made.is_default = new, details.token, state, was_default
    made.expires_on = details.expires_on or made.expires_on
    made.save(force_insert=True)
    AutoPayEnrolment.objects.filter(instrument_id=instrument.pk, ended_at__isnull=True).update(instrument=made)
    ScheduledPayment.objects.filter(instrument_id=instrument.pk, ended_at__isnull=True).update(instrument=made)
    audit.record(
        actor=actor,
        event="instrument.migrated",
        biller_id=made.biller_id,
        customer_id=made.customer_id,
        subject=str(made.pk),
        facts={"method": str(made), "route": str(new)},
    )


@transaction.atomic(durable=True)
def purge(
    *, biller: Biller, actor: Actor, now: datetime.datetime, after: datetime.timedelta, dry_run: bool = False
) -> int:
    """Leave asterisks and the last four digits of tokens that nothing can need any more, and say how many those are.

    Those are of methods off file, or that served once, with which nothing was paid for so long. What was paid with
    them can be refunded outside only.
    """
    # The payments of a customer are found by their index, whatever their instrument.
    gone = """
        n.biller_id = %s AND n.state IN ('removed', 'one_time') AND n.token NOT LIKE '*%%' AND n.created_at < %s
        AND NOT EXISTS (SELECT FROM payments_payment p WHERE p.customer_id = n.customer_id AND p.instrument_id = n.id
                        AND (p.created_at >= %s OR p.state IN ('processing', 'authorized')))
    """
    params: list[Any] = [biller.pk, now - after, now - after]
    with connection.cursor() as cursor:
        if dry_run:
            cursor.execute(f"SELECT count(*) FROM payments_instrument n WHERE {gone}", params)
            (count,) = cursor.fetchone()
            return int(count)
        cursor.execute(
            f"UPDATE payments_instrument n SET token = '******' || n.last4, debit_facts = '{{}}' WHERE {gone}", params
        )
        count = cursor.rowcount
    if count:
        audit.record(
            actor=actor,
            event="tokens.purged",
            biller_id=biller.pk,
            subject=f"biller:{biller.pk}",
            facts={"count": count},
        )
    return int(count)
