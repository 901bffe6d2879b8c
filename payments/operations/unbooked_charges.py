"""Unbooked charges: what a processor's book names and ours, restored, has lost.

Where the processor still says whose a charge is, it is recorded as the payment or refund that it was; else it becomes a case,
and a person says whose it is, or what else was found out.

Source: PAY-10; the design's five rules, 2 to 4; docs/adr/0013.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from django.db import transaction
from django.db.models import Q

from billing import audit
from billing.actors import Actor, Requestor
from billing.failpoints import failpoint
from billing.models import Biller, Customer, Item
from billing.money import ZERO
from payments.gateways.base import Answer, ChargeRequest, Command, Result
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
from payments.operations import dues, groups, reservations, settlements
from payments.operations.answers import named_here
from payments.operations.cases import CaseRefused, write_outcome
from payments.operations.settlements import Settled

# The commands of a charge: each takes money.
MOVES_MONEY = (Command.CHARGE, Command.DEPOSIT)
_TENDERS = {"card": Tender.CARD, "bank": Tender.ACH}


@dataclass(frozen=True, slots=True)
class FoundAgain:
    """What came of charges that our book had lost, as ``reconciliations.Reconciled`` counts them."""

    recorded: int = 0
    recorded_total: Decimal = ZERO
    held: int = 0
    settled: Settled = field(default_factory=Settled)

    def __add__(self, other: FoundAgain) -> FoundAgain:
        return FoundAgain(
            self.recorded + other.recorded,
            self.recorded_total + other.recorded_total,
            self.held + other.held,
            self.settled + other.settled,
        )


def find_again(
    *, biller: Biller, route: Route, answers: Iterable[Answer], actor: Actor, now: datetime.datetime
) -> FoundAgain:
    """Record charges that only the processor knows where their account can be told, else open cases."""
    return sum((_find_one(biller, route, answer, actor, now) for answer in answers), FoundAgain())


def _find_one(biller: Biller, route: Route, answer: Answer, actor: Actor, now: datetime.datetime) -> FoundAgain:
    if answer.result != Result.PASS or Case.objects.filter(biller=biller, key=answer.key[:64]).exists():
        return (
            FoundAgain()
        )  # nobody was charged, and nothing waits for this answer any more; or a person has it in hand
    request = answer.request
    if request is not None and request.command in {Command.VERIFY, Command.AUTHORIZE, Command.RELEASE}:
        return FoundAgain(held=int(request.command == Command.AUTHORIZE))
    if request is not None and request.command in {*MOVES_MONEY, Command.REFUND} and named_here(answer.key) is not None:
        begin = _begin_refund if request.command == Command.REFUND else _begin
        made = begin(biller, route, answer, request, actor, now)
        if made:
            failpoint("reconcile.begun")
            settled = settlements.settle(biller=biller, answers=[answer], actor=actor, now=now)
            return FoundAgain(recorded=1, recorded_total=request.amount, settled=settled)
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
    return FoundAgain()


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
        command__in=MOVES_MONEY,
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
