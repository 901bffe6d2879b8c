"""Fees: what a customer is charged for a payment that failed or was returned, and how it is taken back.

A fee is an item beside the bills, of the kind fee, with a posting of its own against the account of charged fees. Only what is
financial is charged for: a decline of the card or account, and a soft decline once it is not tried again; a debit that the bank
returned for want of funds or of an account. What no processor decided, and what was mistyped or refused for its form, never is.
A waiver is an item against it, which closes the fee as far as that is open and is the customer's credit for the rest.

The biller's system and the payer hear of both. Which of the two a newer bill contains is for ``carryovers`` to say.

Source: PAY-36; invariant 48; ADR 16
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.db.models import F
from django.utils.translation import gettext_lazy as _

from billing import audit, sets
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import Biller, Customer, Entry, Item, ItemKind, LedgerAccount, NoticeKind, Posting, PostingKind
from billing.money import ZERO, places
from billing.operations import notices
from datapump.models import RecordType
from datapump.operations import records
from payments.gateways.base import Result
from payments.models import Fee, FeeRule, FeeWaiver, Reversal

FINANCIAL_RESULTS = (int(Result.BAD_CARD), int(Result.SOFT_DECLINE), int(Result.HARD_DECLINE))
"""The results of declines that a rule charges for unless it names some; those of a biller's own count where a rule names them."""

FINANCIAL_RETURNS = (
    "R01", "R02", "R03", "R04", "R08", "R09", "R16", "R20",  # Nacha
    "901", "902", "903", "905", "908", "911", "912",  # Payments Canada
    "AM04", "AC01", "AC04", "AC06",  # SEPA
    "insufficient_funds", "account_closed", "account_frozen", "no_account", "invalid_account_number", "bank_account_closed",
    "bank_account_frozen",  # Stripe
)  # fmt: skip
"""The banks' codes of returns for want of funds or of an account that can be debited. Not those by which a payer disputes that
the debit was agreed to, and not those of a mistake of the biller's or of a bank's."""

# Of a percentage, at least and at most: LEAST and GREATEST pass over what is empty.
_REACHES = "coalesce(r.amount, least(r.most, greatest(r.least, round({of} * r.percent / 100, %(places)s))))"
_FOR_ACCOUNT = "(cardinality(r.segments) = 0 OR c.segment = ANY (r.segments))"
_FOR_PAYMENT = f"""
    r.active AND {_FOR_ACCOUNT}
    AND (cardinality(r.tenders) = 0 OR p.tender = ANY (r.tenders))
    AND (cardinality(r.channels) = 0 OR p.channel = ANY (r.channels))
    AND (r.least_payment IS NULL OR t.amount >= r.least_payment) AND (r.most_payment IS NULL OR t.amount <= r.most_payment)
    AND NOT EXISTS (SELECT FROM payments_payment m JOIN payments_fee f ON f.payment_id = m.id AND f.rule_id = r.id
                    WHERE m.id = p.id OR m.group_id = p.group_id)"""
# What one attempt moved for several accounts is one failure: it is charged once, to one of them, by all of its money.
_FROM = """
    payments_payment p
    CROSS JOIN LATERAL (SELECT coalesce((SELECT sum(m.amount) FROM payments_payment m WHERE m.group_id = p.group_id),
                                        p.amount) AS amount) t
    JOIN billing_customer c ON c.id = p.customer_id
    JOIN payments_feerule r ON r.biller_id = p.biller_id"""


class WaiverRefused(DomainError):
    """The fee cannot be taken back like this; ``field`` names what is wrong."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One fee to charge: for a payment by a fee rule, or for a late bill by its id; ``reason`` says what happened."""

    customer_id: int
    amount: Decimal
    words: str
    words_es: str
    reason: str
    rule_id: int | None = None
    payment_id: str | None = None
    late_bill_id: str | None = None


def charge_failed(
    *, biller: Biller, payment_ids: Sequence[str], told: Sequence[str], actor: Actor, now: datetime.datetime
) -> int:
    """Charge what the biller's rules say for payments that just failed, inside the caller's transaction; gives how many fees.

    The caller holds the payments' customers. ``told`` are payments whose payers are told of the failure, and of its fees with it;
    the others' hear of the fee alone. Where the biller has no such rule, one look is all.
    """
    if not _has_rules(biller, "failed"):
        return 0
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT p.customer_id, {_REACHES.format(of="t.amount")}, r.words, r.words_es, p.failure, r.id, p.id::text
            FROM {_FROM}
            WHERE p.id = ANY(%(payments)s::uuid[]) AND (p.group_id IS NULL OR p.group_id = p.id)
              AND r.occasion IN ('failed', 'both') AND {_FOR_PAYMENT}
              AND p.result = ANY (CASE WHEN cardinality(r.results) = 0 THEN %(results)s::smallint[] ELSE r.results END)
              -- AutoPay tries again: this was not the last try.
              AND NOT (p.result = %(soft)s AND EXISTS (
                  SELECT FROM payments_payment m JOIN payments_allocation a ON a.payment_id = m.id
                  JOIN billing_item i ON i.id = a.item_id
                  WHERE p.channel = 3 AND (m.id = p.id OR m.group_id = p.id) AND i.open > 0 AND i.collect_on IS NOT NULL))
            ORDER BY p.id, r.id
            """,
            {
                "payments": sets.array(payment_ids), "results": sets.array(FINANCIAL_RESULTS),
                "soft": int(Result.SOFT_DECLINE), "places": places(biller.currency),
            },
        )  # fmt: skip
        wanted = [Wanted(*row) for row in cursor.fetchall() if row[1] > 0]
    if not wanted:
        return 0
    charge(biller=biller, wanted=wanted, key=f"fees:{min(payment_ids)}", actor=actor, now=now)
    _tell_alone([one.payment_id for one in wanted if one.payment_id and one.payment_id not in set(told)])
    return len(wanted)


def charge_returned(
    *, reversal: Reversal, biller: Biller, actor: Actor, now: datetime.datetime, told_before: bool = False
) -> int:
    """Charge what the biller's rules say for a debit that the bank returned, inside the caller's transaction; gives how many fees.

    The caller holds the payment and the customer, and tells the payer of the fees with the return; or they were ``told_before``
    of the return, and hear of the fees alone.
    """
    if reversal.code not in FINANCIAL_RETURNS or not _has_rules(biller, "returned"):
        return 0
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT p.customer_id, {_REACHES.format(of="t.amount")}, r.words, r.words_es, %(reason)s::text, r.id, p.id::text
            FROM {_FROM}
            WHERE p.id = %(payment)s AND r.occasion IN ('returned', 'both') AND {_FOR_PAYMENT}
              AND (cardinality(r.return_codes) = 0 OR %(code)s = ANY (r.return_codes))
            ORDER BY r.id
            """,
            {
                "payment": reversal.payment_id, "code": reversal.code, "places": places(biller.currency),
                "reason": f"{reversal.code} {reversal.reason}".strip()[:200],
            },
        )  # fmt: skip
        wanted = [Wanted(*row) for row in cursor.fetchall() if row[1] > 0]
    if wanted:
        charge(biller=biller, wanted=wanted, key=f"fees:{reversal.pk}", actor=actor, now=now)
    if wanted and told_before:
        _tell_alone([str(reversal.payment_id)])
    return len(wanted)


def _has_rules(biller: Biller, occasion: str) -> bool:
    return FeeRule.objects.filter(biller=biller, active=True, occasion__in=[occasion, "both"]).exists()


# The ids are taken first, so that item and fee find each other.
_CHARGE = """
WITH given AS MATERIALIZED (
    SELECT v.*, nextval(pg_get_serial_sequence('billing_item', 'id')) AS item_id
    FROM jsonb_to_recordset(%(lines)s::jsonb) AS v(
        n integer, customer_id bigint, amount numeric, words text, words_es text, reason text, rule_id bigint,
        payment_id uuid, late_bill_id uuid)
    ORDER BY v.n
), items AS (
    INSERT INTO billing_item (id, biller_id, customer_id, posting_id, kind, amount, currency)
    SELECT item_id, %(biller)s, customer_id, %(posting)s, 'fee', amount, %(currency)s FROM given
), balances AS (
    UPDATE billing_customer c SET balance = c.balance + v.amount
    FROM (SELECT customer_id, sum(amount) AS amount FROM given GROUP BY customer_id) v WHERE c.id = v.customer_id
)
INSERT INTO payments_fee (biller_id, customer_id, item_id, rule_id, payment_id, late_bill_id, words, words_es, reason, charged_at)
SELECT %(biller)s, customer_id, item_id, rule_id, payment_id, late_bill_id, words, words_es, reason, %(now)s FROM given
RETURNING id
"""


def charge(*, biller: Biller, wanted: Sequence[Wanted], key: str, actor: Actor, now: datetime.datetime) -> None:
    """Book fees and tell the biller's system of them, inside the transaction of a caller who holds the customers.

    ``key`` makes what they are charged for chargeable only once.
    """
    posting = Posting.objects.create(
        biller=biller, key=key, kind=PostingKind.FEES, effective_on=biller.business_date(now)
    )
    lines = [
        {
            "n": n, "customer_id": one.customer_id, "amount": str(one.amount), "words": one.words,
            "words_es": one.words_es, "reason": one.reason, "rule_id": one.rule_id, "payment_id": one.payment_id,
            "late_bill_id": one.late_bill_id,
        }
        for n, one in enumerate(wanted)
    ]  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(
            _CHARGE,
            {
                "lines": json.dumps(lines), "biller": biller.pk, "currency": biller.currency, "posting": posting.pk,
                "now": now,
            },
        )  # fmt: skip
        ids = sets.array(pk for (pk,) in cursor.fetchall())
    _enter(posting, biller, sum((one.amount for one in wanted), ZERO), len(wanted))
    records.write_from(actor=actor, type=RecordType.FEE, source=_told("charged", "f.id", "''", "f.words"), params=[ids])
    audit.record_each(
        actor=actor,
        event="fee.charged",
        biller_id=biller.pk,
        entries=[
            (
                one.customer_id,
                one.payment_id or f"late_bill:{one.late_bill_id}",
                {"amount": f"{one.amount} {biller.currency}", "words": one.words, "reason": one.reason},
            )
            for one in wanted
        ],
    )


def _enter(posting: Posting, biller: Biller, total: Decimal, count: int) -> None:
    Entry.objects.bulk_create(
        Entry(biller=biller, posting=posting, account=account, amount=signed, currency=biller.currency, count=count)
        for account, signed in ((LedgerAccount.RECEIVABLE, total), (LedgerAccount.CHARGED_FEES, -total))
    )


def _told(status: str, id_: str, before: str, after: str) -> str:
    """Give the query of the records that tell of fees, or of their waivers; its parameter is the fees' ids."""
    return f"""
        SELECT {id_} AS id, f.biller_id, f.customer_id, {before} AS before, left({after}, 120) AS after,
               jsonb_build_object('status', '{status}', 'fee', f.id, 'amount', i.amount::text, 'currency', i.currency,
                                  'payment_guid', coalesce(f.payment_id::text, ''),
                                  'approval_code', coalesce(p.approval_code, ''), 'invoice', coalesce(b.number, ''),
                                  'words', f.words) AS facts
        FROM payments_fee f JOIN billing_item i ON i.id = f.item_id
        LEFT JOIN payments_feewaiver w ON w.fee_id = f.id
        LEFT JOIN payments_payment p ON p.id = f.payment_id
        LEFT JOIN payments_latebill l ON l.id = f.late_bill_id
        LEFT JOIN billing_invoice b ON b.id = l.invoice_id
        WHERE f.id = ANY(%s::uuid[])"""


FACTS = """(
    SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('words', f.words, 'words_es', nullif(f.words_es, ''),
                                                          'amount', i.amount::text)) ORDER BY f.item_id)
    FROM payments_fee f JOIN billing_item i ON i.id = f.item_id WHERE f.payment_id = {payment})"""
"""What a notice says of the fees for a payment, as SQL; ``{payment}`` is its id."""


def facts_of(payment_id: Any) -> list[dict[str, str]]:
    """Give what a notice says of the fees for a payment."""
    mine = Fee.objects.filter(payment=payment_id).select_related("item").order_by("item_id")
    return [{**_words(fee), "amount": str(fee.item.amount)} for fee in mine]


def _words(fee: Fee) -> dict[str, str]:
    return {"words": fee.words, **({"words_es": fee.words_es} if fee.words_es else {})}


def _tell_alone(payment_ids: Sequence[str]) -> None:
    """Tell payers of a fee who are told of nothing else: they saw the payment fail on a page, or heard of it before."""
    if not payment_ids:
        return
    notices.write_from(
        kind=NoticeKind.FEE,
        source=f"""
            SELECT p.biller_id, p.customer_id, 'fee:' || p.id AS key,
                   jsonb_strip_nulls(jsonb_build_object(
                       'payment', p.id, 'amount', p.amount::text, 'currency', p.currency,
                       'reason', (SELECT min(f.reason) FROM payments_fee f WHERE f.payment_id = p.id),
                       'fees', {FACTS.format(payment="p.id")},
                       'email', nullif(p.email, ''), 'language', nullif(p.language, ''))) AS facts,
                   nullif(p.email, '') AS email
            FROM payments_payment p WHERE p.id = ANY(%s::uuid[])""",
        params=[sets.array(dict.fromkeys(payment_ids))],
    )


@transaction.atomic(durable=True)
def waive(*, fee: Fee, reason: str, actor: Actor, now: datetime.datetime) -> FeeWaiver:
    """Take a fee back, which stays in the books with its waiver beside it; ``reason`` is read by the payer.

    What of the fee is open is closed; what was paid of it, held for a payment or taken over by a bill is the customer's credit.

    :raises WaiverRefused: it was taken back before, or there is no reason.
    """
    reason = " ".join(reason.split())
    if not reason or len(reason) > 200:
        raise WaiverRefused(_("Say why, in at most 200 characters."), field="reason")  # type: ignore[arg-type]
    customer = (
        Customer.objects.select_related("biller").select_for_update(of=("self",), no_key=True).get(pk=fee.customer_id)
    )
    if FeeWaiver.objects.filter(fee=fee).exists():
        raise WaiverRefused(_("This fee was taken back already."))  # type: ignore[arg-type]
    charged = Item.objects.select_for_update(no_key=True).get(pk=fee.item_id)
    biller = customer.biller
    posting = Posting.objects.create(
        biller=biller, key=f"fee-waiver:{fee.pk}", kind=PostingKind.FEES, effective_on=biller.business_date(now)
    )
    set_off = charged.open - charged.reserved
    credit = Item.objects.create(
        biller=biller, customer=customer, posting=posting, kind=ItemKind.FEE, amount=-charged.amount, transferred=-set_off,
        currency=charged.currency,
    )  # fmt: skip
    Item.objects.filter(pk=charged.pk).update(transferred=F("transferred") + set_off)
    Customer.objects.filter(pk=customer.pk).update(balance=F("balance") - charged.amount)
    _enter(posting, biller, -charged.amount, 1)
    waiver = FeeWaiver.objects.create(
        biller=biller, customer=customer, fee=fee, item=credit, set_off=set_off, reason=reason, made_by=actor.label[:120],
        waived_at=now,
    )  # fmt: skip
    records.write_from(
        actor=actor, type=RecordType.FEE, source=_told("waived", "w.id", "f.words", "w.reason"), params=[[str(fee.pk)]]
    )
    facts = {"amount": str(charged.amount), "currency": charged.currency, "words": fee.words, "reason": reason}
    notices.write(
        biller_id=biller.pk,
        customer_id=customer.pk,
        kind=NoticeKind.FEE_WAIVED,
        key=f"fee-waived:{fee.pk}",
        facts={**facts, **_words(fee)},
    )
    audit.record(
        actor=actor,
        event="fee.waived",
        biller_id=biller.pk,
        customer_id=customer.pk,
        subject=f"fee:{fee.pk}",
        facts={**facts, "amount": f"{charged.amount} {charged.currency}"},
    )
    return waiver
