"""The proof of the books finds each kind of fault that can be planted."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command
from django.db import connections, transaction

from billing.models import Item
from payments.books import CHECKS, findings, snapshot
from payments.models import Payment
from tests.factories import make_biller, make_customer, make_endpoint, make_instrument, make_invoice, make_route
from tests.payments.test_charges import pay
from tests.processor import Processor

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])


def wrong() -> dict[str, int]:
    found: dict[str, int] = {}
    with transaction.atomic():
        for finding in findings():
            if finding.wrong:
                found[finding.check.number] = finding.wrong
    return found


@pytest.fixture
def paid(processor: Processor) -> Payment:
    """Books with a paid bill, an open one and another biller's."""
    biller = make_biller()
    customer = make_customer(biller)
    make_invoice(customer, "84.10")
    route = make_route(biller, processor.url)
    instrument = make_instrument(customer, route, processor.token(route.merchant))
    make_invoice(make_customer(biller), "20.00")
    make_invoice(make_customer(make_biller()), "33.00")
    return pay(instrument)


def test_sound_books_have_no_findings_and_every_check_ran(paid: Payment) -> None:
    with transaction.atomic():
        assert [(finding.check.number, finding.wrong) for finding in findings()] == [
            (check.number, 0) for check in CHECKS
        ]


REVERSAL = (
    "INSERT INTO payments_reversal (biller_id, customer_id, payment_id, route_id, attempt_id, kind, state, amount, fee, loss,"
    " charged, currency, reason, code, reference, requestor, made_by, request_hash, failure, posting_id)"
    " SELECT biller_id, customer_id, id, {route}, {attempt}, '{kind}', '{state}', 1, 0, 0, 0, currency, '', '', '', 2, '', '',"
    " '', {posting} FROM payments_payment"
)
UNGUARDED = "ALTER TABLE billing_entry DISABLE TRIGGER USER; "
# Constraints and rights would stop most of these; the proof must not depend on them.
FAULTS = {
    "1": "ALTER TABLE billing_item DROP CONSTRAINT item_settled_within_amount;"
    "ALTER TABLE billing_item DROP CONSTRAINT item_reserved_within_open; UPDATE billing_item SET allocated = amount + 1",
    "2": "ALTER TABLE billing_item DROP CONSTRAINT item_reserved_within_open; UPDATE billing_item SET reserved = 1000",
    "3": "UPDATE payments_allocation SET amount = amount - 1",
    "4": "UPDATE billing_item SET reserved = 1 WHERE open = 20",
    "5": "UPDATE billing_customer SET balance = balance + 0.01 WHERE balance = 20",
    "6": UNGUARDED + "UPDATE billing_entry SET amount = amount + 0.01 WHERE account = 'clearing'",
    "7": UNGUARDED + "UPDATE billing_entry SET amount = amount + 1 WHERE account = 'receivable'",
    "adjusted": "UPDATE billing_item SET kind = 'adjustment' WHERE open = 20",
    "48": "UPDATE billing_item SET kind = 'fee' WHERE open = 20",
    "8": UNGUARDED + "UPDATE billing_entry SET account = 'suspense' WHERE account = 'clearing'",
    "9": UNGUARDED + "UPDATE billing_entry SET tender = 'ach' WHERE account = 'clearing'",
    "fees": UNGUARDED + "UPDATE billing_entry SET account = 'fees' WHERE account = 'clearing'",
    "10": "ALTER TABLE billing_entry DISABLE TRIGGER append_only",
    "11": "UPDATE billing_item SET currency = 'EUR'",
    "once": "UPDATE payments_attempt SET result = 8",
    "asked": "UPDATE payments_attempt SET amount = amount + 2.95",
    "held": "INSERT INTO payments_authorization (payment_id, biller_id, customer_id, authorized_on, expires_at)"
    " SELECT id, biller_id, customer_id, now(), now() FROM payments_payment",
    "sched": "UPDATE payments_payment SET channel = 4",
    "unconfirmed": "UPDATE payments_payment SET other_type_id = 10017",
    "14": "UPDATE payments_attempt SET sequence = 2",
    "15": "UPDATE payments_attempt SET command = 'deposit'",
    "17": "UPDATE payments_attempt SET answered_at = NULL",
    "27": "UPDATE payments_payment SET state = 'reversed'",
    "29": REVERSAL.format(kind="won", attempt="NULL", state="done", posting="posting_id", route="route_id"),
    "30": REVERSAL.format(kind="return", attempt="NULL", state="done", posting="posting_id", route="route_id + 1000"),
    "31": REVERSAL.format(kind="return", attempt="NULL", state="failed", posting="posting_id", route="route_id"),
    "40": "UPDATE payments_payment SET settled_at = NULL",
    "28": "UPDATE payments_payment SET undone = 1",
    "grouped": "UPDATE payments_payment SET group_id = id",
    "told back": REVERSAL.format(kind="return", attempt="NULL", state="failed", posting="NULL", route="route_id")
    + "; UPDATE datapump_record SET type = 5, id = (SELECT id FROM payments_reversal)",
    "live": "INSERT INTO payments_checkpoint SELECT payment_id, id, biller_id FROM payments_attempt",
    "told": "UPDATE datapump_record SET facts = jsonb_set(facts, '{amount}', '\"1.00\"')",
    "ref": "UPDATE payments_payment SET route_id = route_id + 1000",
}


def test_a_fault_is_planted_for_every_check() -> None:
    assert set(FAULTS) == {check.number for check in CHECKS}


@pytest.mark.parametrize("number", FAULTS)
def test_planted_fault_is_found(paid: Payment, number: str) -> None:
    assert wrong() == {}
    with connections["owner"].cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SET LOCAL app.billers = '*'")
        cursor.execute(FAULTS[number])
        for check in CHECKS:
            if check.number == number:
                cursor.execute(check.wrong)
                if cursor.fetchall():
                    break
        else:
            cursor.execute("ROLLBACK")
            pytest.fail(f"check {number} does not see {FAULTS[number]}")
        cursor.execute("ROLLBACK")
    assert wrong() == {}
    assert Item.objects.filter(open=Decimal("20.00")).count() == 1


ENVELOPE = (
    "INSERT INTO datapump_envelope (biller_id, endpoint_id, operation, at, milliseconds, request, answer)"
    " SELECT {biller}, {endpoint}, 'x', now(), 1, '', '' FROM datapump_endpoint e;"
)
DELIVERY = (
    "INSERT INTO datapump_delivery (biller_id, record_id, envelope_id, at, milliseconds, outcome, words)"
    " SELECT r.biller_id, {record}, {envelope}, now(), 1, 'delivered', '' FROM datapump_record r;"
)
AGED_OUT = DELIVERY.format(record="r.id", envelope="987654321")
OF_ANOTHER = "(SELECT max(id) FROM billing_biller WHERE id <> e.biller_id)"


@pytest.mark.parametrize(
    ("told", "wrong_rows"),
    [
        (AGED_OUT, []),
        (DELIVERY.format(record="uuidv7()", envelope="NULL"), ["datapump_delivery"]),
        (ENVELOPE.format(biller="e.biller_id", endpoint="uuidv7()"), ["datapump_envelope"]),
        (
            ENVELOPE.format(biller=OF_ANOTHER, endpoint="e.id")
            + DELIVERY.format(record="r.id", envelope="(SELECT max(id) FROM datapump_envelope)"),
            ["datapump_envelope", "datapump_delivery"],
        ),
    ],
)
def test_deliveries_name_what_is_there_and_envelopes_may_be_gone(
    paid: Payment, told: str, wrong_rows: list[str]
) -> None:
    make_endpoint(paid.biller)
    with connections["owner"].cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SET LOCAL app.billers = '*'")
        cursor.execute(told)
        found = []
        for check in CHECKS:
            if check.number == "ref":
                cursor.execute(check.wrong)
                found += [text.split()[0] for (text,) in cursor.fetchall()]
        cursor.execute("ROLLBACK")
    assert found == wrong_rows


def test_the_command_proves_the_books_in_one_view_and_leaves_the_connection_as_it_was(
    paid: Payment, capsys: pytest.CaptureFixture[str]
) -> None:
    with snapshot(), connections["default"].cursor() as cursor:
        cursor.execute("SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')")
        assert cursor.fetchone() == ("repeatable read", "on")
    call_command("check_books")
    assert capsys.readouterr().out.splitlines()[-1] == "The books agree with themselves."
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')")
        assert cursor.fetchone() == ("read committed", "off")
    with transaction.atomic():
        Item.objects.filter(open=20).update(reserved=1)
    with pytest.raises(CommandError, match="1 of the checks do not hold"):
        call_command("check_books", "--quiet")
