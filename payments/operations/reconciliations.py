"""Reconciling our book with the processors', by reference, before a restored database may charge anybody again.

The processors' response files name every charge of their span. What they name and we have is settled or confirmed, as
always; what they name and we have lost is recorded as the payment that it was, where the processor still says whose it is;
what we expected and they do not name is abandoned on their evidence. Whatever is left is a case, and while one of a charge
that our book lacks is open, or the files do not cover the whole span, charging stays stopped.

Source: PAY-10; the design's five rules, 2 to 4; docs/adr/0013.
"""

from __future__ import annotations

import contextlib
import datetime
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from django.db import transaction
from django.db.models import Q

from billing import audit
from billing.actors import Actor, Requestor
from billing.errors import DomainError
from billing.failpoints import failpoint
from billing.models import Biller, Customer, Item
from billing.money import ZERO
from payments.gateways.base import Answer, ChargeRequest, Command, Gateway, OutcomeUnknown, Result
from payments.models import (
    Attempt,
    AttemptState,
    Authorization,
    Case,
    CaseKind,
    CaseState,
    Channel,
    Checkpoint,
    Instrument,
    Payment,
    PaymentState,
    Reversal,
    ReversalKind,
    Route,
    Tender,
)
from payments.operations import dues, groups, recoveries, reservations, settlements
from payments.operations.answers import named_here
from payments.operations.cases import CaseRefused, write_outcome
from payments.operations.routes import open_route
from payments.operations.settlements import Settled

_TENDERS = {"card": Tender.CARD, "bank": Tender.ACH}
_MOVES_MONEY = (Command.CHARGE, Command.DEPOSIT)
_BATCH = 1_000


class NotReconciled(DomainError):
    """The book cannot be reconciled yet; the sentence says what is missing."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a reconciliation found, in numbers of charges.

    ``confirmed`` are in both books alike, ``settled`` got their answer from the files, ``recorded`` were in the processor's
    book alone and are payments now, ``abandoned`` had no answer and are not in files that cover them. ``held`` are
    authorizations that only the processor has: nobody is charged by them, and the bank gives them back. ``cases`` are open
    ones that stand in the way, ``missing`` open ones of payments that the processor does not name. ``why_not`` says why
    charging stays stopped; empty where nothing stands in the way.
    """

    confirmed: int = 0
    settled: Settled = field(default_factory=Settled)
    recorded: int = 0
    recorded_total: Decimal = ZERO
    abandoned: int = 0
    held: int = 0
    cases: int = 0
    missing: int = 0
    why_not: str = ""


@dataclass(slots=True)
class _Tally:
    confirmed: int = 0
    recorded: int = 0
    recorded_total: Decimal = ZERO
    held: int = 0
    settled: Settled = field(default_factory=Settled)
    abandoned: int = 0


def reconcile(
    *,
    biller: Biller,
    actor: Actor,
    now: datetime.datetime,
    since: datetime.datetime | None = None,
    without: Sequence[Route] = (),
) -> Reconciled:
    """Compare every charge that the processors name since a moment with ours, and put right what can be.

    ``since`` is by default the moment that the restore itself named. ``without`` are routes whose processors can no longer be
    asked: nobody compares their charges, which is written down. May run any number of times, each charge counts once.
    Where nothing stands in the way the mark of the restore is taken off; charging stays stopped until somebody allows it.

    :raises NotReconciled: no moment was given and the biller was not restored.
    :raises payments.gateways.base.GatewayError: a processor did not give its files; what was read before stays settled.
    """
    biller = Biller.objects.get(pk=biller.pk)
    begin = since or biller.reconcile_since
    if begin is None:
        raise NotReconciled("Say since when the books are to be compared.", field="since")
    tally, uncovered = _Tally(), ""
    for route in Route.objects.filter(biller=biller).exclude(pk__in=[one.pk for one in without]).order_by("pk"):
        uncovered = _compare(biller, route, begin, tally, actor, now) or uncovered
    failpoint("reconcile.compared")
    why_not = uncovered
    unbooked = _open(biller, CaseKind.UNBOOKED_CHARGE)
    if unbooked:
        why_not = f"{unbooked} charge(s) of the processor are not in our book. Decide their cases first."
    if biller.restored_at is not None and not why_not:
        if biller.reconcile_since is not None and begin > biller.reconcile_since:
            why_not = f"The books were compared since {begin:%Y-%m-%d %H:%M} UTC only. Leave --since out."
        else:
            _take_mark_off(biller, tally, without, actor)
    return Reconciled(
        confirmed=tally.confirmed,
        settled=tally.settled,
        recorded=tally.recorded,
        recorded_total=tally.recorded_total,
        abandoned=tally.abandoned,
        held=tally.held,
        cases=unbooked,
        missing=_open(biller, CaseKind.MISSING_CHARGE),
        why_not=why_not,
    )


def _open(biller: Biller, kind: CaseKind) -> int:
    return Case.objects.filter(biller=biller, state=CaseState.OPEN, kind=kind).count()


@transaction.atomic(durable=True)
def _take_mark_off(biller: Biller, tally: _Tally, without: Sequence[Route], actor: Actor) -> None:
    # A restore that was noticed meanwhile has a mark of its own.
    taken = Biller.objects.filter(pk=biller.pk, restored_at=biller.restored_at).update(
        restored_at=None, reconcile_since=None
    )
    if taken:
        audit.record(
            actor=actor,
            event="biller.reconciled",
            biller_id=biller.pk,
            subject=f"biller:{biller.pk}",
            facts={"confirmed": tally.confirmed, "recorded": tally.recorded, "total": str(tally.recorded_total)},
        )
    if taken and without:
        audit.record(
            actor=actor,
            event="biller.not_compared",
            biller_id=biller.pk,
            subject=f"biller:{biller.pk}",
            facts={"routes": ", ".join(route.name for route in without)},
        )


def _compare(
    biller: Biller, route: Route, begin: datetime.datetime, tally: _Tally, actor: Actor, now: datetime.datetime
) -> str:
    """Compare one route's charges; gives what the files do not cover, in words, or nothing."""
    gateway = open_route(route)
    named: set[uuid.UUID] = set()
    undecided: list[str] = []
    covered_from: datetime.datetime | None = None
    covered_until: datetime.datetime | None = None
    for file in gateway.response_files(begin):
        if file.covers_until <= begin:
            continue
        if covered_until is None or file.covers_from > covered_until:
            # A gap: what came before it says nothing of what comes after.
            covered_from = file.covers_from
        covered_until = file.covers_until
        ours, lost = _sort(biller, file.answers)
        named |= {attempt_id for attempt_id, _answer in ours}
        named |= {attempt_id for key in file.unresolved if (attempt_id := named_here(key)) is not None}
        undecided += file.unresolved
        tally.confirmed += _confirmed(biller, ours)
        tally.settled += settlements.settle(
            biller=biller, answers=[answer for _id, answer in ours], actor=actor, now=now
        )
        # Before what was lost: what an absent attempt holds is what a lost one may have paid.
        tally.abandoned += recoveries.abandon_absent(
            biller=biller, route=route, file=file, settle_time=gateway.settle_time, actor=actor, now=now
        )
        for answer in lost:
            _find_again(biller, route, answer, tally, actor, now)
            if (attempt_id := named_here(answer.key)) is not None:
                named.add(attempt_id)
    if covered_from is None or covered_until is None:
        return f"The processor of {route} gave no response file since then."
    _miss(biller, route, max(begin, covered_from), covered_until - gateway.settle_time, named)
    if covered_from > begin:
        return f"The response files of {route} begin only at {covered_from:%Y-%m-%d %H:%M} UTC."
    if waiting := _without_result(biller, gateway, undecided):
        return (
            f"The processor of {route} has no result yet for {waiting} charge(s) that are not in our book. Reconcile again"
            " when it has."
        )
    last = biller.restored_at
    if last is not None and covered_until - gateway.settle_time < last:
        return (
            f"The response files of {route} end at {covered_until:%Y-%m-%d %H:%M} UTC. Charges that were under way at the"
            " restore may be in a later one: wait for it, and reconcile again."
        )
    return ""


def _without_result(biller: Biller, gateway: Gateway, keys: Sequence[str]) -> int:
    """Count those of the keys that our book does not have, and that were not declined when they are asked for."""
    ids = [pk for key in keys if (pk := named_here(key)) is not None]
    known = {str(pk) for pk in Attempt.objects.filter(biller=biller, pk__in=ids).values_list("pk", flat=True)}
    lost = {key for key in keys if key not in known}
    with contextlib.suppress(OutcomeUnknown):
        for found in gateway.lookup(sorted(lost)) if lost else ():
            if isinstance(found, Answer) and found.result != Result.PASS:
                lost.discard(found.key)
    return len(lost)


def _sort(biller: Biller, answers: Sequence[Answer]) -> tuple[list[tuple[uuid.UUID, Answer]], list[Answer]]:
    """Part the answers to our attempts from those that our book knows nothing of."""
    by_id = {pk: answer for answer in answers if (pk := named_here(answer.key)) is not None}
    known: set[uuid.UUID] = set()
    ids = list(by_id)
    for at in range(0, len(ids), _BATCH):
        some = Attempt.objects.filter(biller=biller, pk__in=ids[at : at + _BATCH])
        known |= set(some.values_list("pk", flat=True))
    ours = [(pk, answer) for pk, answer in by_id.items() if pk in known]
    lost = [answer for answer in answers if named_here(answer.key) not in known]
    return ours, lost


def _confirmed(biller: Biller, ours: Sequence[tuple[uuid.UUID, Answer]]) -> int:
    """Count those that had the same result here before."""
    count = 0
    for at in range(0, len(ours), _BATCH):
        heard = dict(ours[at : at + _BATCH])
        some = Attempt.objects.filter(biller=biller, pk__in=heard, state=AttemptState.APPLIED)
        count += sum(heard[pk].result == result for pk, result in some.values_list("pk", "result"))
    return count


def _miss(
    biller: Biller, route: Route, begin: datetime.datetime, until: datetime.datetime, named: set[uuid.UUID]
) -> None:
    """Open a case for each payment of ours that the files should name and do not."""
    passed = Attempt.objects.filter(
        biller=biller,
        route=route,
        state=AttemptState.APPLIED,
        result=Result.PASS,
        command__in=_MOVES_MONEY,
        created_at__gte=begin,
        sent_at__lt=until,
        # Ids rise with time, and are the index by which a span is read. A margin for clocks that differ.
        pk__gte=_first_id(begin - datetime.timedelta(minutes=5)),
    )
    for pk in passed.order_by("pk").values_list("pk", flat=True).iterator(chunk_size=_BATCH):
        if pk in named:
            continue
        attempt = Attempt.objects.select_related("payment").get(pk=pk)
        if Case.objects.filter(attempt=attempt, kind=CaseKind.MISSING_CHARGE).exists():
            continue
        Case.objects.create(
            biller=biller,
            customer_id=attempt.payment.customer_id,
            attempt=attempt,
            kind=CaseKind.MISSING_CHARGE,
            reason="We recorded this payment, and the processor's response files, which cover it, do not name it.",
        )


def _first_id(moment: datetime.datetime) -> uuid.UUID:
    """Give the smallest id (UUIDv7) that could have been made at a moment."""
    return uuid.UUID(int=(int(moment.timestamp() * 1000) << 80) | (7 << 76) | (2 << 62))


# ---- What our book has lost --------------------------------------------------------------------------------------------


def _find_again(
    biller: Biller, route: Route, answer: Answer, tally: _Tally, actor: Actor, now: datetime.datetime
) -> None:
    """Record a charge that only the processor knows where its account can be told, else open a case."""
    if answer.result != Result.PASS or Case.objects.filter(biller=biller, key=answer.key[:64]).exists():
        return  # nobody was charged, and nothing waits for this answer any more; or a person has it in hand
    request = answer.request
    if request is not None and request.command in {Command.VERIFY, Command.AUTHORIZE, Command.RELEASE}:
        tally.held += request.command == Command.AUTHORIZE
        return
    if (
        request is not None
        and request.command in {*_MOVES_MONEY, Command.REFUND}
        and named_here(answer.key) is not None
    ):
        begin = _begin_refund if request.command == Command.REFUND else _begin
        made = begin(biller, route, answer, request, actor, now)
        if made:
            failpoint("reconcile.begun")
            tally.settled += settlements.settle(biller=biller, answers=[answer], actor=actor, now=now)
            tally.recorded += 1
            tally.recorded_total += request.amount
            return
    with transaction.atomic(durable=True):
        Case.objects.bulk_create(
            [
                Case(
                    biller=biller,
                    kind=CaseKind.UNBOOKED_CHARGE,
                    key=answer.key[:64],
                    reason="The processor names this charge, our book does not have it, and whose it is cannot be told.",
                    facts=_facts(route, answer),
                )
            ],
            ignore_conflicts=True,
        )


def _facts(route: Route, answer: Answer) -> dict[str, str]:
    request = answer.request
    facts = {
        "route": str(route.pk),
        "amount": str(answer.amount or ""),
        "currency": request.currency if request else "",
        "account": request.account[:60] if request else "",
        "command": str(request.command) if request else "",
        "tender": request.tender if request else "",
        "approval_code": answer.approval_code[:60],
        "reference": answer.processor_reference[:60],
        "at": answer.answered_at.isoformat() if answer.answered_at else "",
    }
    return {name: value for name, value in facts.items() if value}


@transaction.atomic(durable=True)
def _begin(
    biller: Biller, route: Route, answer: Answer, request: ChargeRequest, actor: Actor, now: datetime.datetime
) -> bool:
    """Write the payment and its 999 attempt as they stood before the answer; its settling then records the payment.

    Gives False where nobody can tell whose charge it is.
    """
    if request.currency != biller.currency:
        return False
    if request.command == Command.DEPOSIT and (held := _held(route, request)) is not None:
        return _begin_deposit(held, route, answer, request, now)
    customer = _customer(biller, route, request)
    if customer is None:
        return False
    items = _hold(customer)
    # A charge of a whole group says only whose its first bill was: more than this account owes may be others' money.
    if groups.allowed(biller) and request.amount > dues.reckon(biller, items).free:
        return False
    _write(customer, items, route, answer, request, actor, now)
    return True


def _hold(customer: Customer) -> list[Item]:
    """Lock the customer and what is open of it, the oldest first."""
    Customer.objects.select_for_update(no_key=True).get(pk=customer.pk)
    open_items = Item.objects.filter(customer=customer).open().select_related("invoice").order_by("pk")
    return list(open_items.select_for_update(of=("self",), no_key=True))


def _write(
    customer: Customer,
    items: Sequence[Item],
    route: Route,
    answer: Answer,
    request: ChargeRequest,
    actor: Actor,
    now: datetime.datetime,
) -> None:
    payment = Payment.objects.create(
        **_identity(request),
        biller_id=customer.biller_id,
        customer=customer,
        instrument=_instrument(route, customer, request),
        route=route,
        tender=_TENDERS.get(request.tender, Tender.CARD),
        amount=request.amount,
        currency=request.currency,
        channel=Channel.UNSPECIFIED,
        requestor=Requestor.SYSTEM,
        made_by=actor.label[:120],
        created_at=answer.answered_at or now,
    )
    owed = [item for item in items if item.kind in dues.OWED and item.open > 0]
    reservations.reserve(payment_id=payment.pk, biller_id=customer.biller_id, items=owed, amount=request.amount)
    _attempt(payment, route, answer, request, now)
    audit.record(
        actor=actor,
        event="payment.found_again",
        biller_id=customer.biller_id,
        customer_id=customer.pk,
        subject=str(payment.pk),
        facts={"amount": f"{request.amount} {request.currency}", "reference": answer.processor_reference},
    )


def _identity(request: ChargeRequest) -> dict[str, uuid.UUID]:
    """Give the payment's own id back to it, by which the biller's system knows it, unless another has it now."""
    lost = named_here(request.payment)
    if lost is None or Payment.objects.filter(pk=lost).exists():
        return {}
    return {"id": lost}


def _attempt(payment: Payment, route: Route, answer: Answer, request: ChargeRequest, now: datetime.datetime) -> Attempt:
    at = answer.answered_at or now
    attempt = Attempt.objects.create(
        pk=uuid.UUID(answer.key),
        biller_id=payment.biller_id,
        payment=payment,
        route=route,
        command=request.command,
        transaction_type=request.transaction_type[:10],
        sequence=Attempt.objects.filter(payment=payment).count() + 1,
        amount=request.amount,
        created_at=at,
        sent_at=at,
    )
    Checkpoint.objects.create(payment=payment, attempt=attempt, biller_id=payment.biller_id)
    return attempt


def _held(route: Route, request: ChargeRequest) -> Payment | None:
    """Find the authorized payment that a deposit took, by the processor's reference of its authorization."""
    found = (
        Attempt.objects.filter(
            route=route,
            biller_id=route.biller_id,
            command=Command.AUTHORIZE,
            state=AttemptState.APPLIED,
            payment__in=Authorization.objects.filter(biller_id=route.biller_id, ended_at=None).values("payment_id"),
            processor_reference=request.reference,
        )
        .select_related("payment")
        .first()
    )
    return found.payment if found and request.reference else None


def _begin_deposit(
    payment: Payment, route: Route, answer: Answer, request: ChargeRequest, now: datetime.datetime
) -> bool:
    if request.amount != payment.total:
        return False
    moved = Payment.objects.filter(pk=payment.pk, state=PaymentState.AUTHORIZED).update(
        state=PaymentState.PROCESSING, result=None, failure=""
    )
    if not moved:
        return False
    _attempt(payment, route, answer, request, now)
    return True


@transaction.atomic(durable=True)
def _begin_refund(
    biller: Biller, route: Route, answer: Answer, request: ChargeRequest, actor: Actor, now: datetime.datetime
) -> bool:
    """Write a refund that our book has lost as it stood before the answer; False where nobody can tell of which payment."""
    if not request.reference:
        return False
    charges = Attempt.objects.filter(
        route=route,
        biller=biller,
        command__in=_MOVES_MONEY,
        state=AttemptState.APPLIED,
        result=Result.PASS,
        processor_reference=request.reference,
    )
    # By the payment that went along, where our book has it: no index has the processor's references.
    with_it = named_here(request.payment)
    told = Payment.objects.filter(pk=with_it, biller=biller).first() if with_it else None
    charge = (charges.filter(payment_id=told.leading_id).first() if told else None) or charges.first()
    if charge is None:
        return False
    # A charge of a group says only by the payment that went along which of them was given back.
    asked = named_here(request.payment) if charge.covers > 1 else charge.payment_id
    if asked is None:
        return False
    payment = Payment.objects.filter(pk=asked, biller=biller).select_for_update(of=("self",), no_key=True).first()
    if payment is None or payment.leading_id != charge.payment_id:
        return False
    attempt = _attempt(payment, route, answer, request, now)
    amount = min(request.amount, payment.amount - (payment.undone or ZERO))
    Reversal.objects.create(
        biller=biller, customer_id=payment.customer_id, payment=payment, route=route, attempt=attempt,
        kind=ReversalKind.REFUND, amount=amount, loss=request.amount - amount, currency=payment.currency,
        reason="Found again in the processor's book.", requestor=Requestor.SYSTEM, made_by=actor.label[:120],
        created_at=answer.answered_at or now,
    )  # fmt: skip
    return True


def _customer(biller: Biller, route: Route, request: ChargeRequest) -> Customer | None:
    """Tell whose charge it was: by the account number that went along, unless the method says another."""
    named: list[Customer] = []
    if request.account:
        account = Q(display_number=request.account) | Q(number=request.account)
        named = list(Customer.objects.filter(account, biller=biller).select_related("biller")[:2])
    owners = set(
        Instrument.objects.filter(biller=biller, route=route, token=request.token).values_list("customer_id", flat=True)
        if request.token
        else ()
    )
    if len(named) > 1:
        named = [one for one in named if one.pk in owners]
    if len(named) == 1:
        return named[0]
    if not request.account and len(owners) == 1:
        return Customer.objects.select_related("biller").get(pk=owners.pop())
    return None


def _instrument(route: Route, customer: Customer, request: ChargeRequest) -> Instrument | None:
    return Instrument.objects.filter(customer=customer, route=route, token=request.token).order_by("created_at").first()


# ---- What a person decides ---------------------------------------------------------------------------------------------


def record_unbooked(*, case: Case, customer: Customer, evidence: str, actor: Actor, now: datetime.datetime) -> Payment:
    """Record a charge that only the processor has as a payment of an account, on a person's evidence; gives the payment.

    :raises CaseRefused: there is no evidence, the case is another kind's or closed, somebody records it for another account,
        or what the processor says of the charge is not enough to record it.
    """
    _check(case, evidence)
    route = Route.objects.filter(biller_id=case.biller_id, pk=case.facts.get("route") or 0).first()
    amount, currency = Decimal(case.facts.get("amount") or 0), case.facts.get("currency", "")
    if case.facts.get("command") == Command.REFUND:
        raise CaseRefused("This gave money back, it took none. Write down what you found out.", field="outcome")
    if named_here(case.key) is None or route is None or amount <= 0 or currency != case.biller.currency:
        raise CaseRefused(
            "This charge does not bear a name of ours in our currency: another system charges with the same merchant account."
            " Record nothing here, and clear it up there.",
            field="outcome",
        )
    if customer.biller_id != case.biller_id:
        raise CaseRefused("There is no such account.", field="account")
    at = datetime.datetime.fromisoformat(case.facts["at"]) if "at" in case.facts else now
    request = ChargeRequest(
        key=case.key,
        command=Command.CHARGE,
        amount=amount,
        currency=currency,
        token="",
        tender=case.facts.get("tender", "card"),
        transaction_type="",
        account=customer.number,
    )
    answer = Answer(
        case.key,
        Result.PASS,
        approval_code=case.facts.get("approval_code", ""),
        processor_reference=case.facts.get("reference", ""),
        message=f"{actor.label}: {evidence}"[:200],
        amount=amount,
        answered_at=at,
        request=request,
    )
    with transaction.atomic(durable=True):
        case = _lock(case, evidence)
        if case.customer_id not in {None, customer.pk}:
            raise CaseRefused("Somebody else has recorded this charge for another account.", field="account")
        items = _hold(customer)
        if not Attempt.objects.filter(pk=case.key).exists():
            _write(customer, items, route, answer, request, actor, now)
        Case.objects.filter(pk=case.pk).update(customer=customer, attempt_id=uuid.UUID(case.key))
    settlements.settle(biller=case.biller, answers=[answer], actor=actor, now=now)
    with transaction.atomic(durable=True):
        case = Case.objects.select_for_update(no_key=True).get(pk=case.pk)
        if case.state == CaseState.OPEN:
            write_outcome(case, f"Recorded for {customer.shown_number}. {evidence}", actor, now)
    return Attempt.objects.select_related("payment").get(pk=case.key).payment


def close_reconciled(*, case: Case, outcome: str, actor: Actor, now: datetime.datetime) -> None:
    """Close a case that reconciling opened with what was found out; it changes no payment.

    :raises CaseRefused: nothing was found out, or the case is of another kind or closed.
    """
    with transaction.atomic(durable=True):
        write_outcome(_lock(case, outcome), outcome, actor, now)


def _lock(case: Case, evidence: str) -> Case:
    """Give a case as it stands now, locked inside the caller's transaction, where it may still be decided."""
    locked = Case.objects.select_related("biller").select_for_update(of=("self",), no_key=True).get(pk=case.pk)
    _check(locked, evidence)
    return locked


def _check(case: Case, evidence: str) -> None:
    if case.state != CaseState.OPEN or case.kind not in {CaseKind.UNBOOKED_CHARGE, CaseKind.MISSING_CHARGE}:
        raise CaseRefused("This case is closed already.")
    if not evidence.strip():
        raise CaseRefused("Say what you found out, and how.", field="evidence")
