"""The rules by which billers charge fees and act on late bills: checked, kept and switched, each change in the audit trail.

Source: PAY-35, PAY-36
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import TypeVar

from django.db import transaction

from billing import audit
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import Biller
from billing.money import LARGEST, quantise
from payments.models import AnswerCode, Channel, FeeOccasion, FeeRule, LateAction, LateRule, Tender
from payments.operations.fees import FINANCIAL_RESULTS, FINANCIAL_RETURNS
from payments.results import WORDS

_Rule = TypeVar("_Rule", FeeRule, LateRule)

TENDERS = (Tender.CARD, Tender.ACH)
"""What processors take; what was taken elsewhere neither fails nor is returned here."""

LONGEST = {"words": 120, "words_es": 120, "segments": 20}


class RuleRefused(DomainError):
    """The rule cannot be kept like this; ``field`` names what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What every rule says: amounts in the biller's currency, and either ``amount`` or ``percent``.

    ``words_es`` are the words for who reads Spanish; empty: the same.
    """

    words: str
    words_es: str = ""
    segments: Sequence[str] = ()
    amount: Decimal | None = None
    percent: Decimal | None = None
    least: Decimal | None = None
    most: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeTerms(Terms):
    """What a fee rule says; see :class:`payments.models.FeeRule`."""

    occasion: str
    least_payment: Decimal | None = None
    most_payment: Decimal | None = None
    tenders: Sequence[str] = ()
    channels: Sequence[int] = ()
    results: Sequence[int] = ()
    return_codes: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LateTerms(Terms):
    """What a late rule says; see :class:`payments.models.LateRule`."""

    action: str
    days: int
    minimum: Decimal
    due_from: datetime.date


def results_to_choose() -> list[int]:
    """Give the results of declines that a rule may name: the financial ones, and those of administrators' own."""
    own = AnswerCode.objects.exclude(result__in=WORDS).order_by("result").values_list("result", flat=True).distinct()
    return [*FINANCIAL_RESULTS, *own]


def add_fee_rule(*, biller: Biller, terms: FeeTerms, actor: Actor) -> FeeRule:
    """Add a fee rule, which is on at once.

    :raises RuleRefused: it cannot be kept like this.
    """
    return _add(FeeRule(biller=biller), terms, "fee_rule.added", actor)


def add_late_rule(*, biller: Biller, terms: LateTerms, actor: Actor) -> LateRule:
    """Add a late rule, which is on at once.

    :raises RuleRefused: it cannot be kept like this.
    """
    return _add(LateRule(biller=biller), terms, "late_rule.added", actor)


def change_fee_rule(*, rule: FeeRule, terms: FeeTerms, active: bool, actor: Actor) -> list[str]:
    """Change a fee rule, or switch it; gives the names of what changed. What was charged stays charged.

    :raises RuleRefused: it cannot be kept like this.
    """
    return _change(FeeRule, rule, terms, active, "fee_rule.changed", actor)


def change_late_rule(*, rule: LateRule, terms: LateTerms, active: bool, actor: Actor) -> list[str]:
    """Change a late rule, or switch it; gives the names of what changed. A bill that it has acted on it leaves alone for good.

    :raises RuleRefused: it cannot be kept like this.
    """
    return _change(LateRule, rule, terms, active, "late_rule.changed", actor)


@transaction.atomic(durable=True)
def _add(rule: _Rule, terms: Terms, event: str, actor: Actor) -> _Rule:
    check(biller=rule.biller, terms=terms)
    given = asdict(terms)
    for name, value in given.items():
        setattr(rule, name, _stored(value))
    rule.save()
    _audit(rule, event, ", ".join(f"{name} {_text(value)}" for name, value in given.items() if _text(value)), actor)
    return rule


@transaction.atomic(durable=True)
def _change(model: type[_Rule], rule: _Rule, terms: Terms, active: bool, event: str, actor: Actor) -> list[str]:
    current = model.objects.select_related("biller").select_for_update(of=("self",), no_key=True).get(pk=rule.pk)
    check(biller=current.biller, terms=terms)
    wanted = {**asdict(terms), "active": active}
    changes = {
        name: (getattr(current, name), _stored(value))
        for name, value in wanted.items()
        if getattr(current, name) != _stored(value)
    }
    if not changes:
        return []
    for name, (_old, new) in changes.items():
        setattr(current, name, new)
    current.save(update_fields=list(changes))
    words = (f"{name} {_text(old) or 'none'} → {_text(new) or 'none'}" for name, (old, new) in changes.items())
    _audit(current, event, ", ".join(words), actor)
    return list(changes)


def _stored(value: object) -> object:
    return list(value) if isinstance(value, tuple | list) else value


def _text(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case tuple() | list():
            return "/".join(str(one) for one in value)
    return "" if value is None else str(value)


def _audit(rule: FeeRule | LateRule, event: str, fields: str, actor: Actor) -> None:
    audit.record(
        actor=actor,
        event=event,
        biller_id=rule.biller_id,
        subject=f"{rule._meta.model_name}:{rule.pk}",
        facts={"words": rule.words, "fields": fields},
    )


def check(*, biller: Biller, terms: Terms) -> None:
    """Find what a rule cannot say.

    :raises RuleRefused: it cannot be kept like this.
    """
    if not terms.words.strip() or len(terms.words) > LONGEST["words"]:
        raise RuleRefused(f"Say what payers read, in at most {LONGEST['words']} characters.", field="words")
    if len(terms.words_es) > LONGEST["words_es"]:
        raise RuleRefused(f"Say it in Spanish in at most {LONGEST['words_es']} characters.", field="words_es")
    if any(not one.strip() or len(one) > LONGEST["segments"] for one in terms.segments):
        raise RuleRefused(f"A segment has at most {LONGEST['segments']} characters.", field="segments")
    for name in ("amount", "least", "most", "least_payment", "most_payment", "minimum"):
        _check_amount(biller, name, getattr(terms, name, None))
    charges = not isinstance(terms, LateTerms) or terms.action == LateAction.FEE
    if charges and (terms.amount is None) == (terms.percent is None):
        raise RuleRefused("Enter either an amount or a percentage.", field="amount")
    if terms.percent is not None and not (Decimal(0) < terms.percent <= 100 and _places(terms.percent) <= 2):
        raise RuleRefused("Enter a percentage above 0 and up to 100, with at most two decimal places.", field="percent")
    if terms.percent is None and (terms.least is not None or terms.most is not None):
        raise RuleRefused("Least and most are for a percentage.", field="least" if terms.least is not None else "most")
    if terms.least is not None and terms.most is not None and terms.least > terms.most:
        raise RuleRefused("The most must be at least the least.", field="most")
    if isinstance(terms, FeeTerms):
        _check_fee(terms)
    if isinstance(terms, LateTerms):
        _check_late(terms)


def _check_amount(biller: Biller, name: str, amount: Decimal | None) -> None:
    if amount is not None and not (0 < amount <= LARGEST and amount == quantise(amount, biller.currency)):
        raise RuleRefused("Enter an amount above zero, such as 15.00.", field=name)


def _places(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 99


def _check_fee(terms: FeeTerms) -> None:
    if terms.occasion not in FeeOccasion.values:
        raise RuleRefused("Choose what the fee is for.", field="occasion")
    if terms.least_payment is not None and terms.most_payment is not None and terms.least_payment > terms.most_payment:
        raise RuleRefused("The most must be at least the least.", field="most_payment")
    choices: Iterable[tuple[str, Sequence[object], Sequence[object]]] = (
        ("tenders", terms.tenders, TENDERS),
        ("channels", terms.channels, Channel.values),
        ("results", terms.results, results_to_choose()),
    )
    for name, chosen, known in choices:
        if set(chosen) - set(known):
            raise RuleRefused("Choose among those that are offered.", field=name)
    if other := sorted(set(terms.return_codes) - set(FINANCIAL_RETURNS)):
        raise RuleRefused(
            f"{', '.join(other)}: no fee is charged for returns that are not for want of funds or of an account."
            f" Enter codes among {', '.join(FINANCIAL_RETURNS)}.",
            field="return_codes",
        )


def _check_late(terms: LateTerms) -> None:
    if terms.action not in LateAction.values:
        raise RuleRefused("Choose what is done.", field="action")
    if terms.action == LateAction.INACTIVE and (terms.amount is not None or terms.percent is not None):
        raise RuleRefused("A rule that sets accounts inactive charges nothing.", field="amount")
    if not 1 <= terms.days <= 365:
        raise RuleRefused("Enter a number of days from 1 to 365.", field="days")
