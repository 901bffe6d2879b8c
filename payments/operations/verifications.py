"""Verifications: a processor is asked whether a method is good before it is kept or charged for the first time.

Verifying is not authorizing: no money is taken, and nothing is held where the processor can verify without. Each question is
committed before it is asked, like every other message, but nothing hangs on one that is never answered: whoever entered
the method is told to try again. What the issuer said of address and security code becomes a result by a table that
administrators edit, for all processors alike; which checks there are, a biller decides.

Source: PAY-14 to PAY-18.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext_noop

from billing import audit, sets
from billing.actors import Actor, Requestor
from billing.errors import DomainError
from billing.failpoints import failpoint
from billing.models import Biller, Customer
from billing.models.ids import fresh_ids
from billing.models.tenants import CustomerOwnedQuerySet
from payments.gateways.base import Answer, ChargeRequest, Command, Gateway, GatewayError, InstrumentDetails, Result
from payments.models import (
    Check,
    CheckAnswer,
    Instrument,
    InstrumentKind,
    MethodRules,
    Route,
    Verification,
    VerificationPurpose,
    VerificationState,
)
from payments.operations import answers, declines
from payments.operations.routes import described, open_route
from payments.reports.unresolved_attempts import UNRESOLVED_AFTER

# Nobody waits any more for an answer to a question as old as this.
ABANDONED_AFTER = datetime.timedelta(hours=1)
UNVERIFIED = "Their bank accounts could not be verified again."
# The processor's letter for a security code that it was not given.
NOT_GIVEN = "P"

# What a check that failed means where its letter is in no table.
_FAILS = {Check.AVS: Result.AVS_FAIL, Check.CVV: Result.CVV_BAD}

# What a payer is told of a method that nobody was charged with yet; else as of a payment.
WORDS: dict[int, str] = {
    Result.SOFT_DECLINE: gettext_noop("The bank did not accept the card or account for now."),
    Result.HARD_DECLINE: gettext_noop("The bank did not accept the card or account."),
}


class RulesRefused(DomainError):
    """A rule for methods is not valid; the message says why."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a biller asks of methods; ``bank_days`` is after how many days a bank account is verified again, if ever."""

    verify_cards: bool
    verify_banks: bool
    require_cvv: bool
    bank_days: int | None


@transaction.atomic(durable=True)
def change_rules(*, biller: Biller, rules: Rules, actor: Actor) -> list[str]:
    """Change what is asked of methods; gives the names of what changed.

    :raises RulesRefused: a value is not valid.
    """
    if rules.bank_days is not None and not 1 <= rules.bank_days <= 3650:
        raise RulesRefused("Enter a number of days from 1 to 3650, or nothing.", field="bank_days")
    if rules.bank_days is not None and not rules.verify_banks:
        raise RulesRefused("Bank accounts are verified again only where they are verified at all.", field="bank_days")
    Biller.objects.select_for_update(no_key=True).get(pk=biller.pk)
    kept = rules_of(biller.pk)
    changes = {
        name: (getattr(kept, name), getattr(rules, name))
        for name in ("verify_cards", "verify_banks", "require_cvv", "bank_days")
        if getattr(kept, name) != getattr(rules, name)
    }
    if not changes:
        return []
    for name, (_old, new) in changes.items():
        setattr(kept, name, new)
    kept.save()
    audit.record(
        actor=actor,
        event="biller.method_rules_changed",
        biller_id=biller.pk,
        subject=f"biller:{biller.pk}",
        facts={"fields": ", ".join(f"{name} {old} → {new}" for name, (old, new) in changes.items())},
    )
    return list(changes)


def rules_of(biller_id: int) -> MethodRules:
    """Give a biller's rules for methods; those of a new biller where nobody changed them."""
    return MethodRules.objects.filter(biller_id=biller_id).first() or MethodRules(biller_id=biller_id)


def wanted(rules: MethodRules, kind: str) -> bool:
    """Say whether a kind of method is verified at all."""
    return rules.verify_cards if kind == InstrumentKind.CARD else rules.verify_banks


def verify(
    *,
    customer: Customer,
    route: Route,
    gateway: Gateway,
    details: InstrumentDetails,
    purpose: VerificationPurpose,
    actor: Actor,
) -> Verification:
    """Ask the processor about one method, and give what came of it: passed, failed, or open where there was no answer."""
    asked = Verification(
        biller_id=customer.biller_id,
        customer=customer,
        route=route,
        kind=details.kind,
        brand=details.brand,
        masked=masked(details.last4),
        purpose=purpose,
        amount=gateway.verification_amount,
    )
    how = "internet" if actor.requestor == Requestor.PAYER else "moto"
    _ask(biller=customer.biller, route=route, gateway=gateway, questions=[(asked, details.token)], how=how, actor=actor)
    return Verification.objects.get(pk=asked.pk)


def words_of(verification: Verification) -> str:
    """Say to a payer why a method was not verified, as of a payment that was declined but without a word of payment."""
    return WORDS.get(verification.result) or answers.words_for(verification.result)


def masked(last4: str) -> str:
    """Write what is kept of a number that is no method of anybody's: asterisks and its last four digits (PAY-17)."""
    return f"******{last4}"


def due(rules: MethodRules, instrument: Instrument, now: datetime.datetime) -> bool:
    """Say whether a bank account must be verified again before it is charged (PAY-18)."""
    if rules.bank_days is None or instrument.kind != InstrumentKind.BANK:
        return False
    return instrument.verified_at is None or instrument.verified_at < now - datetime.timedelta(days=rules.bank_days)


def renews(biller: Biller) -> bool:
    """Say whether a biller's bank accounts are verified again after a time."""
    return rules_of(biller.pk).bank_days is not None


def renew_for_run(*, biller: Biller, among: QuerySet[Instrument], actor: Actor, now: datetime.datetime) -> list[int]:
    """Verify again what a run is about to charge, as :func:`renew`; gives the customers that it must leave out."""
    some = list(among.select_related("customer", "route").distinct())
    unsure = renew(biller=biller, among=some, actor=actor, now=now)
    return sorted({one.customer_id for one in some if one.pk in unsure})


def renew(*, biller: Biller, among: Iterable[Instrument], actor: Actor, now: datetime.datetime) -> set[uuid.UUID]:
    """Verify again those of some methods whose time has come; gives those that may not be charged now.

    What fails for good is set aside as after a hard decline; what cannot be asked keeps its turn. No transaction may be open.
    """
    banks = [one for one in among if one.kind == InstrumentKind.BANK]
    if not banks:
        return set()
    rules = rules_of(biller.pk)
    by_route: dict[int, list[Instrument]] = {}
    for one in banks:
        if due(rules, one, now):
            by_route.setdefault(one.route_id, []).append(one)
    unsure: set[uuid.UUID] = set()
    for some in by_route.values():
        route = some[0].route
        unsure |= {one.pk for one in some}
        try:
            gateway = open_route(route)
        except GatewayError:
            continue
        questions = [
            (
                Verification(
                    biller=biller,
                    customer=one.customer,
                    route=route,
                    instrument=one,
                    kind=one.kind,
                    brand=one.brand,
                    masked=masked(one.last4),
                    purpose=VerificationPurpose.RENEWAL,
                    amount=gateway.verification_amount,
                ),
                one.token,
            )
            for one in some
        ]
        unsure -= _ask(
            biller=biller, route=route, gateway=gateway, questions=questions, how="recurring", actor=actor, now=now
        )
    return unsure


def abandon_old(*, biller: Biller, now: datetime.datetime) -> int:
    """Give up questions that were never answered: whoever entered the method was told to try again. Gives how many."""
    return (
        _open(biller)
        .filter(created_at__lt=now - ABANDONED_AFTER)
        .update(state=VerificationState.ABANDONED, ended_at=now, message="Nobody waits for the answer any more.")
    )


def unanswered(*, biller: Biller, now: datetime.datetime, limit: int | None = None) -> list[Verification]:
    """List questions that have had no answer for five minutes or more, the oldest first."""
    rows = _open(biller).filter(created_at__lt=now - UNRESOLVED_AFTER).select_related("customer", "route")
    return list(rows.order_by("created_at", "pk")[:limit])


@transaction.atomic(durable=True)
def give_up(
    *, biller: Biller, reason: str, actor: Actor, now: datetime.datetime, limit: int | None = None
) -> list[Verification]:
    """Give up what :func:`unanswered` lists on a person's word, which is free of danger (PAY-9), and give those that were.

    :raises RulesRefused: there is no reason.
    """
    if not reason.strip():
        raise RulesRefused("Say why.", field="evidence")
    chosen = unanswered(biller=biller, now=now, limit=limit)
    Verification.objects.filter(pk__in=[one.pk for one in chosen], state=VerificationState.OPEN).update(
        state=VerificationState.ABANDONED, ended_at=now, message=reason.strip()[:200]
    )
    if chosen:
        audit.record(
            actor=actor,
            event="verifications.given_up",
            biller_id=biller.pk,
            subject=f"biller:{biller.pk}",
            facts={"count": len(chosen), "reason": reason.strip()[:200]},
        )
    return chosen


def _open(biller: Biller) -> CustomerOwnedQuerySet[Verification]:
    return Verification.objects.filter(biller=biller, state=VerificationState.OPEN)


def _ask(
    *,
    biller: Biller,
    route: Route,
    gateway: Gateway,
    questions: Sequence[tuple[Verification, str]],
    how: str,
    actor: Actor,
    now: datetime.datetime | None = None,
) -> set[uuid.UUID]:
    """Commit questions, ask them, record what came of them; gives the methods on file that were found good."""
    with transaction.atomic(durable=True):
        for (question, _token), pk in zip(questions, fresh_ids(len(questions)), strict=True):
            question.pk = pk
        Verification.objects.bulk_create([question for question, _token in questions])
    failpoint("verify.checkpointed")
    requests = [
        ChargeRequest(
            key=str(question.pk),
            command=Command.VERIFY,
            amount=question.amount,
            currency=biller.currency,
            token=token,
            tender=question.kind,
            transaction_type=how,
            account=question.customer.shown_number,
        )
        for question, token in questions
    ]
    given = answers.answers_of(gateway.send(described(route, requests)))
    failpoint("verify.answered")
    good = _record(biller=biller, given=given, actor=actor, now=now or timezone.now())
    _let_go(gateway, route, requests, given)
    return good


def _let_go(gateway: Gateway, route: Route, requests: Sequence[ChargeRequest], given: Sequence[Answer]) -> None:
    """Give back what had to be authorized, where a method could not be verified without: card networks fine who does not.

    Nothing hangs on what comes of it: what is not released expires.
    """
    references = {one.key: one.processor_reference for one in given if one.result == Result.PASS}
    held = [request for request in requests if request.amount and request.key in references]
    keys = [str(pk) for pk in fresh_ids(len(held))]
    releases = [
        replace(request, key=key, command=Command.RELEASE, reference=references[request.key])
        for request, key in zip(held, keys, strict=True)
    ]
    if releases:
        list(gateway.send(described(route, releases)))


@transaction.atomic(durable=True)
def _record(*, biller: Biller, given: Sequence[Answer], actor: Actor, now: datetime.datetime) -> set[uuid.UUID]:
    rules = rules_of(biller.pk)
    table = {(row.about, row.answer): row.result for row in CheckAnswer.objects.all()}
    said = sets.keyed((one.key, [judge(one, rules, table), one.avs, one.cvv, one.message[:200]]) for one in given)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE payments_verification v
            SET state = CASE g.said -> v.id::text ->> 0 WHEN '0' THEN 'passed' ELSE 'failed' END,
                result = (g.said -> v.id::text ->> 0)::smallint, avs = g.said -> v.id::text ->> 1,
                cvv = g.said -> v.id::text ->> 2, message = g.said -> v.id::text ->> 3, ended_at = %s
            FROM (SELECT %s::jsonb AS said) g
            WHERE v.id = ANY(%s::uuid[]) AND v.biller_id = %s AND v.state = 'open'
            RETURNING v.instrument_id, v.result
            """,
            [now, said, sets.array(one.key for one in given), biller.pk],
        )
        on_file = {instrument: result for instrument, result in cursor.fetchall() if instrument is not None}
    good = {instrument for instrument, result in on_file.items() if result == Result.PASS}
    Instrument.objects.filter(pk__in=good).update(verified_at=now)
    bad = [instrument for instrument, result in on_file.items() if result in declines.HARD]
    if bad:
        tokens = Instrument.objects.filter(pk__in=bad).values_list("token", flat=True)
        declines.note_tokens(biller=biller, declined=[(token, True) for token in tokens], actor=actor, now=now)
    return good


def judge(answer: Answer, rules: MethodRules, table: Mapping[tuple[str, str], int]) -> int:
    """Give the result of a verification: the processor's own, else what the first check that fails means (PAY-14).

    ``table`` is what letters mean, by check and letter. A check that the processor says nothing of does not fail.
    """
    if answer.result != Result.PASS:
        return int(answer.result)
    if rules.require_cvv and answer.cvv == NOT_GIVEN:
        return int(Result.CVV_BAD)
    for check, letter in ((Check.AVS, answer.avs), (Check.CVV, answer.cvv)):
        meaning = int(table.get((check, letter), _FAILS[check])) if letter else int(Result.PASS)
        if meaning != Result.PASS:
            return meaning
    return int(Result.PASS)
