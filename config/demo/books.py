"""Three books that share nothing: ours, the simulated processor's and the simulated CIS's. They must tell the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from billing.models import Biller
from config.demo.doors import Simulators
from datapump.models import Record
from payments.models import Attempt, AttemptState, Payment, PaymentState, Route

SHOWN = 5


@dataclass(frozen=True, slots=True)
class Total:
    """How many payments one book has, and their money."""

    payments: int
    amount: Decimal

    def __str__(self) -> str:
        return f"{self.payments:,} {self.amount:,.2f}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the three books say; ``differences`` are sentences, none where they agree.

    Ours and the CIS's are without ``fees``; the processor took both.
    """

    ours: Total
    fees: Decimal
    processor: Total
    cis: Total
    currency: str
    differences: tuple[str, ...]

    @property
    def agree(self) -> bool:
        """Whether each payment stands in all three with the same amount, once."""
        return not self.differences

    def __str__(self) -> str:
        ours = f"ours {self.ours.payments} payments {self.ours.amount:,.2f} {self.currency}"
        if self.fees:
            ours += f" and {self.fees:,.2f} {self.currency} in fees"
        processor = f"processor {self.processor.payments} {self.processor.amount:,.2f} {self.currency}"
        cis = f"CIS {self.cis.payments} {self.cis.amount:,.2f} {self.currency}"
        books = f"{ours}, {processor}, {cis}"
        if self.agree:
            return f"books agree: {books}"
        shown = "; ".join(self.differences[:SHOWN])
        more = f"; and {len(self.differences) - SHOWN} more" if len(self.differences) > SHOWN else ""
        return f"books DISAGREE: {books}: {shown}{more}"


@dataclass(frozen=True, slots=True)
class _Posted:
    """One payment that we say is paid: the key under which the processor was asked, the amount that the CIS is told,
    and the fee that the processor was asked for on top of it.
    """

    payment_id: str
    key: str
    amount: Decimal
    fee: Decimal


def compare(*, billers: Sequence[Biller], simulators: Simulators) -> Comparison:
    """Compare the posted payments of billers of one currency with what both simulators wrote down by themselves.

    :raises config.demo.doors.SimulatorError: one of them does not answer.
    """
    posted = _posted(billers)
    charged = _charged(billers, simulators)
    heard = {row["transaction_id"].lower(): Decimal(row["amount"]) for row in simulators.cis.book()["payments"]}
    return Comparison(
        ours=_total(one.amount for one in posted),
        fees=sum((one.fee for one in posted), Decimal("0.00")),
        processor=Total(
            sum(times for times, _ in charged.values()),
            sum((times * amount for times, amount in charged.values()), Decimal("0.00")),
        ),
        cis=_total(heard.values()),
        currency=billers[0].currency,
        differences=(*_at_processor(posted, charged), *_at_cis(posted, heard)),
    )


def _total(amounts: Iterable[Decimal]) -> Total:
    found = list(amounts)
    return Total(len(found), sum(found, Decimal("0.00")))


def _posted(billers: Sequence[Biller]) -> list[_Posted]:
    passed = Attempt.objects.filter(
        biller__in=billers, state=AttemptState.APPLIED, result=0, payment__state=PaymentState.POSTED
    )
    keys = {payment: str(key) for key, payment in passed.values_list("pk", "payment_id")}
    found = Payment.objects.filter(biller__in=billers, state=PaymentState.POSTED).order_by("created_at", "pk")
    rows = found.values_list("pk", "amount", "fee")
    return [_Posted(str(pk), keys.get(pk, ""), amount, fee) for pk, amount, fee in rows]


def _charged(billers: Sequence[Biller], simulators: Simulators) -> dict[str, tuple[int, Decimal]]:
    """Give how often, and for how much, the processor truly charged each key of the billers' merchants."""
    charged: dict[str, tuple[int, Decimal]] = {}
    merchants = Route.objects.filter(biller__in=billers, driver="simulator").values_list("merchant", flat=True)
    for merchant in sorted(set(merchants)):
        for row in simulators.processor.book(merchant)["rows"]:
            if row["times_charged"] and row["command"] != "refund":
                charged[row["key"]] = (int(row["times_charged"]), Decimal(row["amount"]))
    return charged


def _at_processor(posted: Sequence[_Posted], charged: Mapping[str, tuple[int, Decimal]]) -> list[str]:
    ours = {one.key: one for one in posted}
    wrong = [f"payment {one.payment_id} is paid here and was never charged" for one in posted if one.key not in charged]
    for key, (times, amount) in charged.items():
        if key not in ours:
            wrong.append(f"the processor charged {amount:,.2f} under {key}, which is not paid here")
            continue
        one = ours[key]
        if times != 1:
            wrong.append(f"payment {one.payment_id} was charged {times} times")
        taken = one.amount + one.fee
        if amount != taken:
            wrong.append(f"payment {one.payment_id} is {taken:,.2f} here and {amount:,.2f} at the processor")
    return wrong


def _at_cis(posted: Sequence[_Posted], heard: Mapping[str, Decimal]) -> list[str]:
    ours = {one.payment_id: one.amount for one in posted}
    unheard = [key for key in ours if key not in heard]
    states = dict(Record.objects.filter(pk__in=unheard[:SHOWN]).values_list("pk", "state"))
    told = {str(pk): f"its update is {state}" for pk, state in states.items()}
    return [
        *(f"the CIS has not heard of payment {key} ({told.get(key, 'it has no update')})" for key in unheard[:SHOWN]),
        *("the CIS has not heard of a payment" for _ in unheard[SHOWN:]),
        *(f"the CIS has payment {key}, which is not paid here" for key in heard if key not in ours),
        *(
            f"payment {key} is {amount:,.2f} here and {heard[key]:,.2f} at the CIS"
            for key, amount in ours.items()
            if key in heard and heard[key] != amount
        ),
    ]
