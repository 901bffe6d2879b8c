"""Books that share nothing: ours, the simulated processor's, and those of the billers' systems. They must tell the same.

A biller's system is the simulated CIS, or the simulated receiver of webhooks; each payment stands in one of the two, once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from billing.models import Biller
from config.demo.doors import Simulators
from datapump.connectors.webhooks.connector import Webhooks
from datapump.models import Endpoint, Purpose, Record
from payments.gateways.base import Command
from payments.models import Attempt, AttemptState, Payment, PaymentState, Route

SHOWN = 5
PAYMENT_EVENT = "payment.posted"
_CIS, _RECEIVER = "the CIS", "the receiver"


@dataclass(frozen=True, slots=True)
class Total:
    """How many payments one book has, and their money."""

    payments: int
    amount: Decimal

    def __str__(self) -> str:
        return f"{self.payments:,} {self.amount:,.2f}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the books say; ``differences`` are sentences, none where they agree.

    Ours and those of the billers' systems are without ``fees``; the processor took both.
    """

    ours: Total
    fees: Decimal
    processor: Total
    cis: Total
    webhooks: Total
    currency: str
    differences: tuple[str, ...]

    @property
    def agree(self) -> bool:
        """Whether each payment stands here, at the processor and in its biller's system with the same amount, once."""
        return not self.differences

    def __str__(self) -> str:
        ours = f"ours {self.ours.payments} payments {self.ours.amount:,.2f} {self.currency}"
        if self.fees:
            ours += f" and {self.fees:,.2f} {self.currency} in fees"
        processor = f"processor {self.processor.payments} {self.processor.amount:,.2f} {self.currency}"
        systems = [("CIS", self.cis), ("webhooks", self.webhooks)]
        told = [f"{name} {one.payments} {one.amount:,.2f} {self.currency}" for name, one in systems if one.payments]
        books = ", ".join((ours, processor, *(told or ["billers' systems nothing"])))
        if self.agree:
            return f"books agree: {books}"
        shown = "; ".join(self.differences[:SHOWN])
        more = f"; and {len(self.differences) - SHOWN} more" if len(self.differences) > SHOWN else ""
        return f"books DISAGREE: {books}: {shown}{more}"


@dataclass(frozen=True, slots=True)
class _Posted:
    """One payment that we say is paid: the key under which the processor was asked, the amount that the biller's system is
    told, and the fee that the processor was asked for on top of it. ``system`` is who shall hear of it, in words.
    """

    payment_id: str
    key: str
    amount: Decimal
    fee: Decimal
    system: str


def compare(*, billers: Sequence[Biller], simulators: Simulators) -> Comparison:
    """Compare the posted payments of billers of one currency with what the simulators wrote down by themselves.

    :raises config.demo.doors.SimulatorError: one of them does not answer.
    """
    posted = _posted(billers)
    charged = _charged(billers, simulators)
    cis = [(row["transaction_id"].lower(), Decimal(row["amount"])) for row in simulators.cis.book()["payments"]]
    told = [one["data"] for one in simulators.receiver.book()["events"] if one["type"] == PAYMENT_EVENT]
    webhooks = [(data["payment_id"], Decimal(data["amount"])) for data in told]
    return Comparison(
        ours=_total(one.amount for one in posted),
        fees=sum((one.fee for one in posted), Decimal("0.00")),
        processor=Total(
            sum(times for times, _ in charged.values()),
            sum((times * amount for times, amount in charged.values()), Decimal("0.00")),
        ),
        cis=_total(amount for _, amount in cis),
        webhooks=_total(amount for _, amount in webhooks),
        currency=billers[0].currency,
        differences=(*_at_processor(posted, charged), *_at_systems(posted, {_CIS: cis, _RECEIVER: webhooks})),
    )


def _total(amounts: Iterable[Decimal]) -> Total:
    found = list(amounts)
    return Total(len(found), sum(found, Decimal("0.00")))


def _posted(billers: Sequence[Biller]) -> list[_Posted]:
    # What went back since was paid all the same: the books of what came in have it.
    paid = [PaymentState.POSTED, PaymentState.REVERSED]
    passed = Attempt.objects.filter(
        biller__in=billers, state=AttemptState.APPLIED, result=0, payment__state__in=paid
    ).exclude(command=Command.REFUND)
    keys = {payment: str(key) for key, payment in passed.values_list("pk", "payment_id")}
    found = Payment.objects.filter(biller__in=billers, state__in=paid).order_by("created_at", "pk")
    endpoints = Endpoint.objects.filter(biller__in=billers, purpose=Purpose.PAYMENTS, connector=Webhooks.name)
    by_webhook = set(endpoints.values_list("biller_id", flat=True))
    return [
        _Posted(str(pk), keys.get(pk, ""), amount, fee, _RECEIVER if biller in by_webhook else _CIS)
        for pk, amount, fee, biller in found.values_list("pk", "amount", "fee", "biller_id")
    ]


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


def _at_systems(posted: Sequence[_Posted], heard: Mapping[str, Sequence[tuple[str, Decimal]]]) -> list[str]:
    """Compare with what each system heard, whose rows are payment and amount: who changed from one to the other has both."""
    ours = {one.payment_id: one for one in posted}
    known: dict[str, str] = {}
    wrong = []
    for system, rows in heard.items():
        for key, amount in rows:
            if key in known:
                wrong.append(f"{system} has payment {key}, which {known[key]} has as well")
            known[key] = system
            if key not in ours:
                wrong.append(f"{system} has payment {key}, which is not paid here")
            elif amount != ours[key].amount:
                wrong.append(f"payment {key} is {ours[key].amount:,.2f} here and {amount:,.2f} at {system}")
    unheard = [one for one in posted if one.payment_id not in known]
    states = dict(Record.objects.filter(pk__in=[one.payment_id for one in unheard[:SHOWN]]).values_list("pk", "state"))
    told = {str(pk): f"its update is {state}" for pk, state in states.items()}
    return [
        *(
            f"{one.system} has not heard of payment {one.payment_id} ({told.get(one.payment_id, 'it has no update')})"
            for one in unheard[:SHOWN]
        ),
        *(f"{one.system} has not heard of a payment" for one in unheard[SHOWN:]),
        *wrong,
    ]
