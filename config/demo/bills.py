"""What the simulated CIS knows of the demonstration's bills: as much as the biller's own system would, whose bills they are.

It is told what each account was billed, and takes off by itself what it heard was paid. So what it says an account owes is
our balance as soon as it has heard of everything, whoever pays meanwhile.
"""

from __future__ import annotations

from decimal import Decimal

from django.db import connection

from billing.models import Biller, Customer
from config.demo.doors import Cis
from datapump.operations.deliveries.messages import wire_account


def hand_over(*, biller: Biller, cis: Cis) -> int:
    """Tell the simulated CIS what was billed to each of the biller's accounts; gives how many they are."""
    with connection.cursor() as cursor:
        # One statement, one moment: what is posted has left the balance.
        cursor.execute(
            """
            SELECT c.base, c.sub, coalesce(i.custom2, ''), coalesce(i.custom3, ''), i.due_on,
                   c.balance + (SELECT coalesce(sum(p.amount), 0) FROM payments_payment p
                                WHERE p.customer_id = c.id AND p.state = 'posted')
            FROM billing_customer c
            LEFT JOIN LATERAL (
                SELECT v.custom2, v.custom3, v.due_on FROM billing_invoice v WHERE v.customer_id = c.id AND NOT v.withdrawn
                ORDER BY v.issued_on DESC, v.id DESC LIMIT 1
            ) i ON true
            WHERE c.biller_id = %s ORDER BY c.id
            """,
            [biller.pk],
        )
        rows = cursor.fetchall()
    answers = []
    for base, sub, custom2, custom3, due_on, billed in rows:
        item = {"currentAmount": str(billed), "pastDueAmount": "0.00", "description": "Utilities"}
        if due_on is not None:
            item["dueDate"] = f"{due_on.isoformat()}T00:00:00"
        account = wire_account(biller.wire_account_template, base=base, sub=sub, custom2=custom2, custom3=custom3)
        answers.append({"account": account, "items": [item], "less_payments": True})
    cis.owes(answers)
    return len(answers)


def make_prepaid(*, customer: Customer, cis: Cis, left: Decimal, a_day: Decimal) -> None:
    """Tell the simulated CIS that an account is prepaid: what is left on it, and what it uses up a day."""
    latest = customer.invoices.filter(withdrawn=False).order_by("-issued_on", "-pk").first()
    account = wire_account(
        customer.biller.wire_account_template,
        base=customer.base,
        sub=customer.sub,
        custom2=latest.custom2 if latest else "",
        custom3=latest.custom3 if latest else "",
    )
    cis.set_prepaid(account, left=left, a_day=a_day)
