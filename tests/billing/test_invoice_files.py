"""Loading invoice files: what comes of good ones, what is said of bad ones, and that those change nothing."""

from __future__ import annotations

import datetime
import io
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from billing import tenancy
from billing.models import (
    AuditEntry,
    Biller,
    Customer,
    Entry,
    FileState,
    Invoice,
    InvoiceFile,
    InvoiceFileError,
    Item,
    Notice,
    NoticeDelivery,
    Posting,
)
from billing.operations import invoice_files
from payments.books import findings
from payments.operations import carryovers
from tests.factories import NOON, TODAY, make_biller, make_customer
from tests.invoice_files import ACTOR, FORMAT, Bill, checksums, load, name_of, receive, withdraw, write

pytestmark = pytest.mark.django_db
# Where other connections take part, or a transaction must really end.
committed = pytest.mark.django_db(transaction=True)

# What a refusal may write: the file itself, its errors, and that it happened.
TRACES = ("billing_invoicefile", "billing_invoicefileerror", "billing_auditentry")


@pytest.fixture
def biller() -> Biller:
    return make_biller()


def errors_of(file: InvoiceFile) -> list[tuple[int, str, str, str]]:
    return list(file.errors.order_by("line", "pk").values_list("line", "field", "reason", "value"))


def books_hold() -> None:
    with transaction.atomic():
        wrong = [(one.check.number, one.examples) for one in findings() if one.wrong]
    assert wrong == []


def with_layout(biller: Biller, *, ih: tuple[int, ...] = (), cr: tuple[int, ...] = ()) -> Biller:
    """Give the biller the usual columns and these after them."""
    from billing.invoice_layouts import USUAL, RowKind

    biller.invoice_layout = {
        "IH": [*USUAL[RowKind.INVOICE], *ih],
        "CR": [*USUAL[RowKind.CUSTOMER], *cr],
    }
    biller.save()
    return biller


# ---- What comes of a good file


@pytest.mark.spec("MSP-21", "MSP-22")
def test_a_file_becomes_customers_invoices_items_and_books(biller: Biller) -> None:
    file = load(
        biller,
        [
            Bill(account="35909-001", number="7001", amount="84.10", fields={407: "12.00", 41: "321045080002"}),
            Bill(
                account="35910-002",
                number="7001",
                amount="1234.56",
                fields={60: "O'Neill & Sons \\ Co", 12: "2026-12-11", 67: "", 66: "", 373: "35910002"},
            ),
        ],
    )
    assert (file.state, file.refusal) == (FileState.LOADED, "")
    assert (file.stated_count, file.stated_total) == (2, Decimal("1318.66"))
    assert (file.found_count, file.found_total) == (2, Decimal("1318.66"))
    assert (file.loaded_count, file.loaded_total, file.repeated_count) == (2, Decimal("1318.66"), 0)
    assert file.made_on == datetime.datetime(2026, 11, 22, 11, 0, tzinfo=datetime.UTC)

    first = Customer.objects.get(biller=biller, number="35909-001")
    assert (first.base, first.sub, first.name, first.balance) == ("35909", "001", "Alma Reyes", Decimal("84.10"))
    assert (first.address1, first.city, first.state, first.zip) == ("18 Mill Race Lane", "Maple Falls", "VT", "05601")
    assert (first.phone, first.email) == ("+18025550123", "alma@example.com")
    assert (first.service_location, first.blocks_card, first.display_number) == ("321045080002", False, "")
    second = Customer.objects.get(biller=biller, number="35910-002")
    assert (second.name, second.email, second.phone) == ("O'Neill & Sons \\ Co", "", "")
    assert (second.display_number, second.balance) == ("35910002", Decimal("1234.56"))

    # The same number at two customers: it is unique per customer alone.
    invoice = Invoice.objects.get(customer=first, number="7001")
    assert Invoice.objects.filter(biller=biller, number="7001").count() == 2
    assert (invoice.file_id, invoice.line, invoice.amount) == (file.pk, 2, Decimal("84.10"))
    assert (invoice.issued_on, invoice.due_on) == (datetime.date(2026, 11, 20), datetime.date(2026, 12, 10))
    assert (invoice.past_due, invoice.format_guid) == (Decimal("12.00"), uuid.UUID(FORMAT))
    assert (invoice.custom2, invoice.custom3, invoice.custom4) == ("35909", "001", "321045080002")
    assert (invoice.custom9, invoice.custom10) == ("7001", "35909-7001")
    assert Invoice.objects.get(customer=second).due_on == datetime.date(2026, 12, 11)

    item = Item.objects.get(invoice=invoice)
    assert (item.kind, item.amount, item.open, item.currency) == ("bill", Decimal("84.10"), Decimal("84.10"), "USD")
    assert (item.due_on, item.collect_on) == (datetime.date(2026, 12, 10), datetime.date(2026, 12, 10))
    posting = Posting.objects.get(biller=biller)
    assert (posting.key, posting.kind, posting.effective_on) == (f"invoices:{file.pk}", "invoices", TODAY)
    assert dict(Entry.objects.values_list("account", "amount")) == {
        "receivable": Decimal("1318.66"),
        "billed": Decimal("-1318.66"),
    }
    books_hold()


def test_a_notice_is_written_for_each_bill_whose_payer_can_be_told(biller: Biller) -> None:
    load(biller, [Bill(), Bill(account="35910-001", fields={67: ""})])
    invoice = Invoice.objects.get(customer__number="35909-001")
    notice = Notice.objects.get(biller=biller)
    assert (notice.kind, notice.key, notice.customer_id) == (
        "bill_ready",
        f"bill-ready:{invoice.pk}",
        invoice.customer_id,
    )
    assert notice.facts == {
        "invoice": invoice.pk,
        "number": "7001",
        "amount": "84.10",
        "currency": "USD",
        "due_on": "2026-12-10",
    }
    assert NoticeDelivery.objects.get().address == "alma@example.com"


def test_receiving_and_loading_are_on_the_audit_trail(biller: Biller) -> None:
    file = load(biller, [Bill()])
    assert list(AuditEntry.objects.filter(biller=biller).order_by("pk").values_list("event", "subject")) == [
        ("invoice_file.received", f"invoice_file:{file.pk}"),
        ("invoice_file.loaded", f"invoice_file:{file.pk}"),
    ]


@pytest.mark.spec("MSP-21")
def test_columns_stand_where_the_billers_layout_says(biller: Biller) -> None:
    biller.invoice_layout = {
        "IH": [7, 13, 300, 10, 11, 12, 8, 9, 47],
        "CR": [58, 60, 59, 67],
    }
    biller.save()
    rows = [
        f"FH|{biller.guid}|11/22/2026|1|84.10",
        f"IH|84.10|whatever|7001|11/20/2026|12/10/2026|R|{FORMAT}|35909-7001",
        "CR|Alma Reyes|35909-001|alma@example.com",
    ]
    file = load(biller, "\n".join(rows).encode())
    assert (file.state, file.refusal) == (FileState.LOADED, "")
    invoice = Invoice.objects.select_related("customer").get()
    assert (invoice.number, invoice.amount, invoice.custom10) == ("7001", Decimal("84.10"), "35909-7001")
    assert (invoice.customer.name, invoice.customer.number) == ("Alma Reyes", "35909-001")
    assert (invoice.customer.zip, invoice.customer.phone, invoice.custom2) == ("", "", "")


def test_line_ends_marks_padding_and_missing_last_columns_are_no_errors(biller: Biller) -> None:
    body = write(biller, [Bill(fields={60: "  Alma Reyes  ", 61: " 18 Mill Race Lane"})]).decode()
    row = next(line for line in body.splitlines() if line.startswith("CR"))
    body = body.replace(row, row.rstrip("|") + " ")  # BlockPaymentsCC is the last one there
    body = "\ufeff" + body.replace("\n", "\r\n").replace("ID", "ID|extra|columns|") + "\r\n\r\n"
    file = load(biller, body.encode())
    assert (file.state, file.refusal) == (FileState.LOADED, "")
    customer = Customer.objects.get()
    assert (customer.name, customer.address1, customer.blocks_card) == ("Alma Reyes", "18 Mill Race Lane", False)


def test_another_encoding_is_a_matter_of_the_layout(biller: Biller) -> None:
    biller.invoice_layout = {"encoding": "cp1252"}
    biller.save()
    body = write(biller, [Bill(fields={60: "Lucía Hernández – Muñoz"})]).decode().encode("cp1252")
    assert load(biller, body).state == FileState.LOADED
    assert Customer.objects.get().name == "Lucía Hernández – Muñoz"


@pytest.mark.parametrize("written", ["12/10/2026", "2026-12-10", "12102026", "20261210"])
def test_dates_may_be_written_in_these_ways(biller: Biller, written: str) -> None:
    assert load(biller, [Bill(fields={12: written})]).state == FileState.LOADED
    assert Invoice.objects.get().due_on == datetime.date(2026, 12, 10)


@pytest.mark.spec("MSP-24")
def test_customisations_are_kept_with_their_invoice(biller: Biller) -> None:
    with_layout(biller, ih=(9001, 9002, 9003, 9004, 9005, 9006, 9007, 9008, 9009))
    fields = {
        9001: "N",
        9002: "12/05/2026",
        9003: "Y",
        9004: "11/25/2026",
        9005: "12/01/2026",
        9006: "12/09/2026",
        9007: "20.00",
        9008: "12/31/2026",
        9009: "Call the office to pay after New Year.",
    }
    others = {9001: "", 9002: "1/1/0001", 9004: "", 9008: "01/01/0001"}
    file = load(biller, [Bill(fields=fields), Bill(account="35910-001", fields=others)])
    assert (file.state, file.refusal) == (FileState.LOADED, "")
    invoice = Invoice.objects.get(customer__number="35909-001")
    assert invoice.allow_partial_payments is False
    assert invoice.autopay_on == datetime.date(2026, 12, 5)
    assert (invoice.notify_on, invoice.notify_again_on, invoice.notify_last_on) == (
        datetime.date(2026, 11, 25),
        datetime.date(2026, 12, 1),
        datetime.date(2026, 12, 9),
    )
    assert invoice.minimum_due == Decimal("20.00")
    assert invoice.payable_until == datetime.date(2026, 12, 31)
    assert invoice.payable_until_message == "Call the office to pay after New Year."
    other = Invoice.objects.get(customer__number="35910-001")
    assert (other.allow_partial_payments, other.autopay_on, other.payable_until) == (None, None, None)
    # The payer is told on the day that the file names, at eight in the morning of the biller.
    due = NoticeDelivery.objects.get(customer=invoice.customer_id).due_at
    assert due == datetime.datetime(2026, 11, 25, 13, 0, tzinfo=datetime.UTC)
    assert NoticeDelivery.objects.get(customer=other.customer_id).due_at <= datetime.datetime.now(datetime.UTC)


@pytest.mark.spec("MSP-25")
def test_a_block_in_the_file_blocks_cards_and_only_the_file_lifts_it(biller: Biller) -> None:
    load(biller, [Bill(fields={356: "Y"})])
    assert Customer.objects.get().blocks_card is True
    load(biller, [Bill(number="7002", fields={356: ""})])
    assert Customer.objects.get().blocks_card is True
    load(biller, [Bill(number="7003", fields={356: "N"})])
    assert Customer.objects.get().blocks_card is False


@pytest.mark.parametrize(
    ("written", "kept", "left_out"),
    [
        ("802-555-0123", "+18025550123", 0),
        ("8025550123", "+18025550123", 0),
        ("1 (802) 555.0123", "+18025550123", 0),
        ("+44 20 7946 0958", "+442079460958", 0),
        ("802-555-0123 x12", "+18025550123", 0),
        ("555-0123", "", 1),
        ("none", "", 1),
        ("000-000-0000", "", 0),
    ],
)
def test_telephone_numbers_become_international_or_are_left_out(
    biller: Biller, written: str, kept: str, left_out: int
) -> None:
    file = load(biller, [Bill(fields={66: written})])
    assert (file.state, file.error_count, file.left_out_count) == (FileState.LOADED, 0, left_out)
    assert Customer.objects.get().phone == kept
    told = [(3, "Phone", "is not a telephone number; left out", written)] if left_out else []
    assert errors_of(file) == told


def test_an_address_that_is_none_is_left_out_and_said(biller: Biller) -> None:
    file = load(biller, [Bill(fields={67: "alma@example.com; bob@example.com"})])
    assert (file.state, file.loaded_count) == (FileState.LOADED, 1)
    assert Customer.objects.get().email == ""
    assert errors_of(file) == [
        (3, "EmailAddress", "is not an e-mail address; left out", "alma@example.com; bob@example.com")
    ]
    assert InvoiceFileError.objects.get().left_out is True


def test_known_customers_take_the_files_word_but_lose_no_contact(biller: Biller) -> None:
    customer = make_customer(
        biller,
        number="35909-001",
        name="Old Name",
        address2="Apt 4",
        phone="+18025550100",
        email="old@example.com",
        display_number="35-909",
        paperless=True,
        collect_rule="due",
    )
    load(biller, [Bill(fields={66: "", 67: "", 41: "", 373: ""})])
    customer.refresh_from_db()
    assert (customer.name, customer.address2, customer.balance) == ("Alma Reyes", "", Decimal("84.10"))
    assert (customer.phone, customer.email) == ("+18025550100", "old@example.com")
    assert (customer.display_number, customer.paperless, customer.collect_rule) == ("35-909", True, "due")
    load(biller, [Bill(number="7002", amount="90.00", fields={66: "8025550199", 67: "new@example.com"})])
    customer.refresh_from_db()
    assert (customer.phone, customer.email, customer.balance) == ("+18025550199", "new@example.com", Decimal("90.00"))


def test_customers_of_another_biller_with_the_same_number_are_others(biller: Biller) -> None:
    other = make_customer(make_biller(), number="35909-001", name="Somebody Else")
    load(biller, [Bill()])
    other.refresh_from_db()
    assert (other.name, other.balance) == ("Somebody Else", Decimal("0.00"))
    assert Customer.objects.filter(number="35909-001").count() == 2


def test_a_credit_bill_and_a_bill_of_nothing(biller: Biller) -> None:
    file = load(biller, [Bill(amount="-12.40"), Bill(account="35910-001", amount="0.00")])
    assert (file.state, file.loaded_count, file.loaded_total) == (FileState.LOADED, 2, Decimal("-12.40"))
    item = Item.objects.get()
    assert (item.kind, item.open, item.collect_on) == ("credit", Decimal("-12.40"), None)
    assert Customer.objects.get(number="35909-001").balance == Decimal("-12.40")
    assert Invoice.objects.get(customer__number="35910-001").amount == Decimal("0.00")
    books_hold()


def test_currencies_without_cents_take_whole_amounts_only() -> None:
    biller = make_biller(currency="JPY")
    file = load(biller, [Bill(amount="1200.50")])
    assert (file.state, errors_of(file)) == (
        FileState.REFUSED,
        [(2, "TotalAmountDue", "is not an amount such as 84.10", "1200.50")],
    ) or file.refusal.startswith("The file header says a total")
    assert load(biller, [Bill(amount="1200")]).state == FileState.LOADED
    assert Item.objects.get().currency == "JPY"


# ---- When AutoPay takes it (PAY-12)


@pytest.mark.spec("PAY-12")
@pytest.mark.parametrize(
    ("of_biller", "of_customer", "of_invoice", "collected_on"),
    [
        (("finalized", 0), None, "", TODAY),
        (("due", 0), None, "", datetime.date(2026, 12, 10)),
        (("before_due", 5), None, "", datetime.date(2026, 12, 5)),
        (("due", 0), ("before_due", 3), "", datetime.date(2026, 12, 7)),
        (("before_due", 5), ("finalized", None), "", TODAY),
        (("before_due", 5), ("due", None), "12/01/2026", datetime.date(2026, 12, 1)),
        (("before_due", 60), None, "", TODAY),
        (("due", 0), None, "11/01/2026", TODAY),
    ],
)
def test_the_collection_date_is_the_invoices_the_customers_or_the_billers_and_never_past(
    of_biller: tuple[str, int],
    of_customer: tuple[str, int | None] | None,
    of_invoice: str,
    collected_on: datetime.date,
) -> None:
    biller = with_layout(make_biller(collect_rule=of_biller[0], collect_days=of_biller[1]), ih=(9002,))
    if of_customer:
        make_customer(biller, number="35909-001", collect_rule=of_customer[0], collect_days=of_customer[1])
    load(biller, [Bill(fields={9002: of_invoice})])
    assert Item.objects.get().collect_on == collected_on


@pytest.mark.spec("PAY-12")
def test_a_later_bill_of_the_cycle_is_collected_on_the_first_ones_date(biller: Biller) -> None:
    load(biller, [Bill(number="7001", fields={12: "12/01/2026"})])
    load(biller, [Bill(number="7002", amount="100.00", fields={11: "11/21/2026", 12: "12/15/2026"})])
    item = Item.objects.get(invoice__number="7002")
    assert (item.open, item.due_on) == (Decimal("100.00"), datetime.date(2026, 12, 15))
    assert item.collect_on == datetime.date(2026, 12, 1)


@pytest.mark.spec("PAY-12")
def test_a_bill_whose_day_is_long_past_or_declined_does_not_pull_the_new_one_forward(biller: Biller) -> None:
    load(biller, [Bill(fields={12: "11/10/2026"}), Bill(account="35910-001", fields={12: "12/01/2026"})])
    past = Item.objects.get(customer__number="35909-001")
    Item.objects.filter(pk=past.pk).update(collect_on=datetime.date(2026, 11, 10))
    Item.objects.filter(customer__number="35910-001").update(collect_tries=1)
    load(biller, [Bill(number="7002"), Bill(account="35910-001", number="7002")])
    assert (
        list(Item.objects.filter(invoice__number="7002").values_list("collect_on", flat=True))
        == [datetime.date(2026, 12, 10)] * 2
    )


# ---- Balance forward (MSP-24, the biller's part)


@pytest.mark.spec("MSP-24")
def test_a_new_invoice_carries_the_old_balance_and_the_older_one_closes(biller: Biller) -> None:
    load(biller, [Bill(amount="100.00")])
    file = load(biller, [Bill(number="7002", amount="180.00", fields={11: "11/21/2026"})])
    old, new = Item.objects.get(invoice__number="7001"), Item.objects.get(invoice__number="7002")
    assert (old.open, old.transferred, old.transferred_to_id) == (Decimal("0.00"), Decimal("100.00"), new.invoice_id)
    assert (new.open, Customer.objects.get().balance) == (Decimal("180.00"), Decimal("180.00"))
    assert file.carried_total == Decimal("100.00")
    # Only what is new is booked.
    entries = Entry.objects.filter(posting__key=f"invoices:{file.pk}")
    assert dict(entries.values_list("account", "amount")) == {
        "receivable": Decimal("80.00"),
        "billed": Decimal("-80.00"),
    }
    books_hold()


@pytest.mark.spec("MSP-24")
def test_without_balance_forward_older_invoices_stay_open() -> None:
    biller = with_layout(make_biller(balance_forward=False), ih=(9003,))
    load(biller, [Bill(amount="100.00")])
    load(biller, [Bill(number="7002", amount="80.00", fields={11: "11/21/2026"})])
    assert Customer.objects.get().balance == Decimal("180.00")
    assert Item.objects.filter(open__gt=0).count() == 2
    # The invoice's own word goes before the biller's.
    load(biller, [Bill(number="7003", amount="200.00", fields={11: "11/22/2026", 9003: "Y"})])
    assert Customer.objects.get().balance == Decimal("200.00")
    assert [item.open for item in Item.objects.order_by("pk")] == [Decimal("0.00"), Decimal("0.00"), Decimal("200.00")]
    books_hold()


def test_two_invoices_of_one_account_in_one_file_the_newer_carries_the_older(biller: Biller) -> None:
    newer = Bill(number="7002", amount="180.00", fields={11: "11/21/2026", 60: "First Name"})
    older = Bill(number="7001", amount="100.00", fields={60: "Last Name"})
    load(biller, [newer, older])
    customer = Customer.objects.get()
    assert (customer.balance, customer.name) == (Decimal("180.00"), "Last Name")
    assert Item.objects.get(invoice__number="7001").transferred_to.number == "7002"  # type: ignore[union-attr]
    assert Notice.objects.get().facts["number"] == "7002"
    books_hold()
    # The same for a customer that was there.
    load(
        biller,
        [
            Bill(number="7003", amount="190.00", fields={11: "11/22/2026"}),
            Bill(number="7004", amount="200.00", fields={11: "11/22/2026"}),
        ],
    )
    assert Customer.objects.get().balance == Decimal("200.00")
    assert Item.objects.get(open__gt=0).invoice.number == "7004"  # type: ignore[union-attr]
    books_hold()


def test_an_older_invoice_that_comes_late_is_in_the_newer_one_already(biller: Biller) -> None:
    load(biller, [Bill(number="7002", amount="180.00", fields={11: "11/21/2026"})])
    load(biller, [Bill(number="7001", amount="100.00", fields={11: "10/21/2026"})])
    late = Item.objects.get(invoice__number="7001")
    assert (late.open, late.transferred_to.number) == (Decimal("0.00"), "7002")  # type: ignore[union-attr]
    assert Item.objects.get(invoice__number="7002").open == Decimal("180.00")
    assert Customer.objects.get().balance == Decimal("180.00")
    assert list(Notice.objects.values_list("facts__number", flat=True)) == ["7002"]
    books_hold()


def test_a_credit_bill_is_carried_as_well(biller: Biller) -> None:
    load(biller, [Bill(amount="-12.40")])
    load(biller, [Bill(number="7002", amount="71.70", fields={11: "11/21/2026"})])
    assert Customer.objects.get().balance == Decimal("71.70")
    assert Item.objects.get(kind="credit").open == Decimal("0.00")
    books_hold()


# ---- What is refused, and that it changes nothing


def long_line(rows: list[str]) -> list[str]:
    return [*rows, "ID|" + "x" * 2_000_000]


def swap(old: str, new: str) -> Callable[[list[str]], list[str]]:
    return lambda rows: [row.replace(old, new) for row in rows]


@pytest.mark.spec("MSP-23")
@pytest.mark.parametrize(
    ("how", "refusal"),
    [
        ({"count": 3}, "The file header says 3 invoices; the file has 2."),
        ({"total": "168.21"}, "The file header says a total of 168.21; the invoices add up to 168.20."),
        ({"total": "NaN"}, "Line 1: TotalInvoiceAmount “NaN” is not an amount."),
        (
            {"guid": "11111111-2222-3333-4444-555555555555"},
            "Line 1: BillerGuid 11111111-2222-3333-4444-555555555555 is another biller's.",
        ),
        ({"guid": "nonsense"}, "Line 1: BillerGuid “nonsense” is not a GUID."),
        ({"made_on": "yesterday"}, "Line 1: FileCreationDate “yesterday” is not a date."),
        ({"made_on": "12/31/2026"}, "Line 1: FileCreationDate “12/31/2026” lies in the future."),
        ({"edit": lambda rows: rows[1:]}, "Line 1 must be the file header (FH); it begins with “IH|R|BA1CEC3”."),
        ({"edit": swap("FH|", "FH|x|")}, "Line 1, the file header, has 6 columns; the layout has 5."),
        ({"edit": long_line}, "Line 8 is longer than 8,192 characters."),
        ({"edit": lambda _: ["", ""]}, "Line 1 must be the file header (FH); it begins with “”."),
        ({"edit": lambda _: ["PK\x03\x04" + "\x00" * 50]}, "Line 1, the file header, has a control character."),
    ],
)
def test_a_file_that_is_wrong_as_a_whole_is_refused(biller: Biller, how: dict[str, Any], refusal: str) -> None:
    make_customer(biller, number="35909-001", name="Old Name")
    before = checksums(*TRACES)
    file = load(biller, [Bill(), Bill(account="35910-001")], **how)
    assert file.state == FileState.REFUSED
    assert file.refusal.startswith(refusal)
    assert (file.loaded_count, file.loaded_total) == (0, Decimal("0.00"))
    assert checksums(*TRACES) == before
    assert AuditEntry.objects.filter(event="invoice_file.refused").count() == 1


@pytest.mark.spec("MSP-23")
@pytest.mark.parametrize(
    ("fields", "line", "field", "reason"),
    [
        ({8: "X"}, 5, "RecordType", "is not R"),
        ({9: "BA1CEC36"}, 5, "InvoiceFormatGuid", "is not a GUID"),
        ({10: ""}, 5, "InvoiceNumber", "is missing"),
        ({10: "7" * 41}, 5, "InvoiceNumber", "has more than 40 characters"),
        ({11: "today"}, 5, "InvoiceDate", "is not a date such as 11/22/2026"),
        ({11: "13/01/2026"}, 5, "InvoiceDate", "is not a date such as 11/22/2026"),
        ({12: "02/30/2026"}, 5, "InvoiceDueDate", "is not a date such as 11/22/2026"),
        ({12: "02302026"}, 5, "InvoiceDueDate", "is not a date such as 11/22/2026"),
        ({12: "1/1/0001"}, 5, "InvoiceDueDate", "is not a date such as 11/22/2026"),
        ({12: ""}, 5, "InvoiceDueDate", "is missing"),
        ({407: "12.345"}, 5, "PastDue", "is not an amount such as 84.10"),
        ({407: "1e3"}, 5, "PastDue", "is not an amount such as 84.10"),
        ({407: "Infinity"}, 5, "PastDue", "is not an amount such as 84.10"),
        ({407: "$12.00"}, 5, "PastDue", "is not an amount such as 84.10"),
        ({407: "1_000"}, 5, "PastDue", "is not an amount such as 84.10"),
        ({47: ""}, 5, "Custom10", "is missing"),
        ({59: ""}, 6, "AccountNumber", "is missing"),
        ({60: ""}, 6, "CustomerName", "is missing"),
        ({60: "x" * 121}, 6, "CustomerName", "has more than 120 characters"),
        ({60: "=HYPERLINK(1)"}, 6, "CustomerName", "begins like a spreadsheet formula"),
        ({60: "+cmd"}, 6, "CustomerName", "begins like a spreadsheet formula"),
        ({60: "-2+3"}, 6, "CustomerName", "begins like a spreadsheet formula"),
        ({60: "@SUM(A1)"}, 6, "CustomerName", "begins like a spreadsheet formula"),
        ({60: "\uff1dSUM(A1)"}, 6, "CustomerName", "begins like a spreadsheet formula"),
        ({61: "=1"}, 6, "Address1", "begins like a spreadsheet formula"),
        ({356: "perhaps"}, 6, "BlockPaymentsCC", "is not Y or N"),
    ],
)
def test_a_wrong_value_is_reported_and_nothing_is_loaded(
    biller: Biller, fields: dict[int, str], line: int, field: str, reason: str
) -> None:
    make_customer(biller, number="35909-001", name="Old Name")
    before = checksums(*TRACES)
    file = load(biller, [Bill(), Bill(account="35910-001", number="7002", fields=fields)])
    assert (file.state, file.refusal) == (FileState.REFUSED, "1 error was found. Nothing was loaded.")
    assert file.error_count == 1
    value = next(iter(fields.values()))
    assert errors_of(file) == [(line, field, reason, value[:80])]
    assert checksums(*TRACES) == before


def row_fault(rows: list[str], at: int, row: str | None) -> list[str]:
    return [*rows[:at], *([] if row is None else [row]), *rows[at + 1 :]]


@pytest.mark.spec("MSP-23")
@pytest.mark.parametrize(
    ("edit", "line", "reason"),
    [
        (lambda rows: row_fault(rows, 5, None), 5, "has no customer row (CR) after it"),
        (lambda rows: [*rows[:4], rows[5], *rows[4:]], 5, "is a second customer row (CR) of one invoice"),
        (
            lambda rows: [rows[0], rows[2], *rows[1:]],
            2,
            "is a customer row (CR) without an invoice header (IH) before it",
        ),
        (lambda rows: [rows[0], "ID|x", *rows[1:]], 2, "is a detail row (ID) without a customer row (CR) before it"),
        (lambda rows: [*rows[:2], "ID", *rows[2:]], 3, "is a detail row (ID) without a customer row (CR) before it"),
        (lambda rows: [*rows, rows[0]], 8, "is a second file header (FH)"),
        (lambda rows: [*rows, "XX|what"], 8, "begins with none of IH, CR and ID"),
        (lambda rows: row_fault(rows, 5, rows[5] + "|one|more"), 6, "has 14 columns; the layout has 12"),
        (lambda rows: row_fault(rows, 5, rows[5] + "\x07"), 6, "has a control character"),
    ],
)
def test_a_row_out_of_place_is_reported_and_nothing_is_loaded(
    biller: Biller, edit: Callable[[list[str]], list[str]], line: int, reason: str
) -> None:
    before = checksums(*TRACES)
    file = load(biller, [Bill(), Bill(account="35910-001")], edit=edit)
    assert file.state == FileState.REFUSED
    assert (line, "", reason) in [one[:3] for one in errors_of(file)]
    assert checksums(*TRACES) == before


def test_text_that_is_not_in_the_files_encoding_is_reported(biller: Biller) -> None:
    before = checksums(*TRACES)
    body = write(biller, [Bill(fields={60: "Lucia"})]).replace(b"Lucia", b"Luc\xeda")
    file = load(biller, body)
    assert file.state == FileState.REFUSED
    [(line, field, reason, value)] = errors_of(file)
    assert (line, field, reason) == (3, "", "is not UTF-8 text")
    assert "Luc\ufffda" in value
    assert checksums(*TRACES) == before


@pytest.mark.spec("MSP-23")
def test_every_error_of_a_row_is_reported(biller: Biller) -> None:
    file = load(biller, [Bill(fields={10: "", 12: "never", 60: ""})])
    assert errors_of(file) == [
        (2, "InvoiceDueDate", "is not a date such as 11/22/2026", "never"),
        (2, "InvoiceNumber", "is missing", ""),
        (3, "CustomerName", "is missing", ""),
    ]


@pytest.mark.spec("MSP-23")
def test_an_invoice_twice_in_one_file_is_an_error(biller: Biller) -> None:
    before = checksums(*TRACES)
    file = load(biller, [Bill(), Bill(account="35910-001"), Bill()])
    assert file.state == FileState.REFUSED
    assert errors_of(file) == [(8, "InvoiceNumber", "is in this file twice for one account; first on line 2", "7001")]
    assert checksums(*TRACES) == before


def test_values_of_errors_carry_nothing_that_turns_writing_around(biller: Biller) -> None:
    file = load(biller, [Bill(fields={11: "\u202e2026"})])
    assert errors_of(file)[0][3] == "\ufffd2026"


def test_a_layout_that_cannot_be_used_refuses_the_file(biller: Biller) -> None:
    biller.invoice_layout = {"CR": [58, 60]}
    biller.save()
    file = load(biller, b"FH|x\n")
    assert file.refusal == "This biller's column order cannot be used. CR must have field 59 (AccountNumber)."


@pytest.mark.spec("MSP-23")
def test_where_the_biller_says_so_good_rows_are_loaded_and_the_others_reported() -> None:
    biller = make_biller(load_good_rows=True)
    bills = [Bill(account=f"{n}-001", number=str(n), amount="10.00") for n in range(100, 105)]
    bills[1].fields = {12: "never"}
    bills[3].fields = {60: "=1+1"}
    file = load(biller, bills)
    assert (file.state, file.loaded_count, file.loaded_total) == (FileState.LOADED, 3, Decimal("30.00"))
    assert (file.found_count, file.found_total, file.error_count) == (5, Decimal("50.00"), 2)
    assert errors_of(file) == [
        (5, "InvoiceDueDate", "is not a date such as 11/22/2026", "never"),
        (12, "CustomerName", "begins like a spreadsheet formula", "=1+1"),
    ]
    assert sorted(Customer.objects.values_list("number", flat=True)) == ["100-001", "102-001", "104-001"]
    books_hold()
    # The control totals hold for everybody.
    assert load(biller, bills, total="49.99").state == FileState.REFUSED
    bad = load(biller, [Bill(account="200-001", fields={12: "never"})])
    assert (bad.state, bad.refusal) == (FileState.REFUSED, "1 error was found. Nothing was loaded.")


# ---- The same again


@pytest.mark.spec("MSP-23")
def test_the_same_file_again_is_answered_and_changes_nothing(biller: Biller) -> None:
    body = write(biller, [Bill()])
    first = load(biller, body)
    before = checksums()
    with pytest.raises(invoice_files.AlreadyReceived) as refused:
        receive(biller, body, name_of(biller))
    assert str(refused.value) == f"This file was already loaded as {first.name}. Nothing was changed."
    assert refused.value.file == first
    assert checksums() == before
    with pytest.raises(invoice_files.NotWaiting):
        invoice_files.load(file_id=first.pk, actor=ACTOR, carry=carryovers.carry, now=NOON)
    assert checksums() == before


def test_a_refused_file_may_come_again(biller: Biller) -> None:
    body = write(biller, [Bill()], count=2)
    assert load(biller, body).state == FileState.REFUSED
    assert load(biller, body).state == FileState.REFUSED


@pytest.mark.spec("MSP-23")
def test_invoices_on_file_are_counted_and_not_loaded_again(biller: Biller) -> None:
    load(biller, [Bill(), Bill(account="35910-001")])
    before = checksums(*TRACES)
    again = load(biller, [Bill(fields={60: "Another Name"}), Bill(account="35910-001")])
    assert (again.state, again.loaded_count, again.repeated_count) == (FileState.LOADED, 0, 2)
    assert checksums(*TRACES) == before
    more = load(biller, [Bill(), Bill(account="35911-001", amount="5.00")])
    assert (more.loaded_count, more.loaded_total, more.repeated_count) == (1, Decimal("5.00"), 1)
    books_hold()


@pytest.mark.spec("MSP-23")
@pytest.mark.parametrize(
    ("bill", "field", "reason", "value"),
    [
        (Bill(amount="84.11"), "TotalAmountDue", "differs from the invoice on file, which has 84.10", "84.11"),
        (
            Bill(fields={12: "12/11/2026"}),
            "InvoiceDueDate",
            "differs from the invoice on file, which has 2026-12-10",
            "12/11/2026",
        ),
        (
            Bill(fields={11: "11/21/2026"}),
            "InvoiceDate",
            "differs from the invoice on file, which has 2026-11-20",
            "11/21/2026",
        ),
    ],
)
def test_an_invoice_on_file_with_other_contents_is_an_error(
    biller: Biller, bill: Bill, field: str, reason: str, value: str
) -> None:
    load(biller, [Bill()])
    before = checksums(*TRACES)
    file = load(biller, [bill, Bill(account="35910-001")])
    assert (file.state, errors_of(file)) == (FileState.REFUSED, [(2, field, reason, value)])
    assert checksums(*TRACES) == before


# ---- Names


@pytest.mark.spec("MSP-21")
@pytest.mark.parametrize(
    "name",
    ["bills.bif", "2778.bif", "2778_13012026.bif", "2778_02302026.bif", "x2778_11222026.bif", "2778_1122026.bif"],
)
def test_the_name_must_be_the_billers_number_and_a_date(name: str) -> None:
    biller = make_biller(number=2778)
    before = checksums()
    with pytest.raises(invoice_files.BadFileName) as refused:
        receive(biller, write(biller, [Bill()]), name)
    assert str(refused.value) == (
        f"The name must be the biller's number and the date, such as 2778_11222026.bif, not “{name}”."
    )
    assert checksums() == before


@pytest.mark.spec("MSP-21")
def test_the_name_of_another_biller_is_refused() -> None:
    biller = make_biller(number=2778)
    before = checksums()
    with pytest.raises(invoice_files.BadFileName, match="begins with 2661; this biller's number is 2778"):
        receive(biller, write(biller, [Bill()]), "2661_11222026.bif")
    assert checksums() == before


@pytest.mark.parametrize("name", ["2778_11222026.bif", "2778_11222026.BIF", "2778_11222026", "2778_11222026_2.txt"])
def test_these_names_are_good(name: str) -> None:
    biller = make_biller(number=2778)
    assert receive(biller, write(biller, [Bill()]), f"C:\\exports\\{name}").name == name


def test_an_empty_file_is_refused(biller: Biller) -> None:
    before = checksums()
    with pytest.raises(invoice_files.EmptyFile):
        receive(biller, b"")
    assert checksums() == before


# ---- Workers


@committed
def test_a_file_is_claimed_by_one_worker_until_its_lease_is_over(biller: Biller) -> None:
    file = receive(biller, write(biller, [Bill()]))
    assert invoice_files.waiting(datetime.datetime.now(datetime.UTC)) == [file.pk]

    class Died(Exception):
        pass

    def die(columns: Any) -> None:
        if columns.get("loaded_count"):
            raise Died

    with pytest.raises(Died):
        invoice_files.load(file_id=file.pk, actor=ACTOR, carry=carryovers.carry, now=NOON, watch=die)
    # Nothing of the merge is there, and nobody takes the file while its worker may live.
    assert Customer.objects.count() == 0
    file.refresh_from_db()
    assert file.state == FileState.LOADING
    with pytest.raises(invoice_files.NotWaiting):
        invoice_files.load(file_id=file.pk, actor=ACTOR, carry=carryovers.carry, now=NOON)
    assert invoice_files.waiting(datetime.datetime.now(datetime.UTC)) == []
    late = datetime.datetime.now(datetime.UTC) - invoice_files.LEASE - datetime.timedelta(seconds=1)
    InvoiceFile.objects.filter(pk=file.pk).update(claimed_at=late)
    assert invoice_files.waiting(datetime.datetime.now(datetime.UTC)) == [file.pk]
    loaded = invoice_files.load(file_id=file.pk, actor=ACTOR, carry=carryovers.carry, now=NOON)
    assert (loaded.state, loaded.loaded_count, Customer.objects.count()) == (FileState.LOADED, 1, 1)
    books_hold()


@committed
def test_a_worker_that_was_thought_dead_changes_nothing_when_it_goes_on(biller: Biller) -> None:
    file = receive(biller, write(biller, [Bill()]))
    taken_over: list[bool] = []

    def sleep(columns: Any) -> None:
        # While this one sleeps before its last step, another one takes over and loads.
        if columns.get("state") == FileState.LOADING and not taken_over:
            taken_over.append(True)
            late = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
            InvoiceFile.objects.filter(pk=file.pk).update(claimed_at=late)
            invoice_files.load(file_id=file.pk, actor=ACTOR, carry=carryovers.carry, now=NOON)

    with pytest.raises(invoice_files.ClaimLost):
        invoice_files.load(file_id=file.pk, actor=ACTOR, carry=carryovers.carry, now=NOON, watch=sleep)
    assert Invoice.objects.count() == 1
    assert AuditEntry.objects.filter(event="invoice_file.loaded").count() == 1
    books_hold()


@committed
def test_pages_see_how_far_a_load_is_while_it_is_one_transaction(biller: Biller) -> None:
    file = receive(biller, write(biller, [Bill(account=f"{n}-001") for n in range(20)]))
    seen: list[tuple[Any, ...]] = []
    beside = connection.copy()

    def look(_columns: Any) -> None:
        with beside.cursor() as cursor:
            cursor.execute("SELECT state, bytes_read, loaded_count FROM billing_invoicefile WHERE id = %s", [file.pk])
            seen.append(cursor.fetchone())
            cursor.execute("SELECT count(*) FROM billing_invoice")
            assert cursor.fetchone() == (0,)

    try:
        invoice_files.load(file_id=file.pk, actor=ACTOR, carry=carryovers.carry, now=NOON, watch=look)
    finally:
        beside.close()
    assert ("reading", file.size, 0) in seen
    assert ("loading", file.size, 20) in seen


@committed
def test_nothing_is_left_in_staging(biller: Biller) -> None:
    load(biller, [Bill()])
    load(biller, [Bill()], count=9)
    withdraw(InvoiceFile.objects.get(state=FileState.LOADED))
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_class WHERE relnamespace = 'staging'::regnamespace")
        assert cursor.fetchone() == (0,)


def test_what_dead_workers_left_in_staging_is_removed(biller: Biller) -> None:
    from billing.invoice_layouts import Layout
    from billing.operations.invoice_files.staging import Stage

    file = receive(biller, write(biller, [Bill()]))
    Stage(file.pk, 1).create(Layout())
    InvoiceFile.objects.filter(pk=file.pk).update(claimed_at=datetime.datetime.now(datetime.UTC), state="reading")
    assert invoice_files.sweep_staging() == 0
    InvoiceFile.objects.filter(pk=file.pk).update(state=FileState.REFUSED)
    assert invoice_files.sweep_staging() > 0
    assert invoice_files.sweep_staging() == 0


def test_staging_is_out_of_the_applications_sight() -> None:
    from django.db.utils import ProgrammingError

    with pytest.raises(ProgrammingError, match="permission denied for schema staging"), transaction.atomic():
        connection.cursor().execute("CREATE TABLE staging.mine (id int)")


def test_a_load_sees_its_own_biller_alone(biller: Biller) -> None:
    body = write(biller, [Bill()])
    with tenancy.acting_for([biller.pk]):
        file = invoice_files.receive(
            biller=biller, name=name_of(biller), body=io.BytesIO(body), source="command", actor=ACTOR
        )
        loaded = invoice_files.load(file_id=file.pk, actor=ACTOR, carry=carryovers.carry, now=NOON)
    assert (loaded.state, loaded.loaded_count) == (FileState.LOADED, 1)


def test_statements_do_not_grow_with_the_file(biller: Biller) -> None:
    def statements(count: int, first: int) -> int:
        bills = [Bill(account=f"{n}-001") for n in range(first, first + count)]
        file = receive(biller, write(biller, bills))
        with CaptureQueriesContext(connection) as captured:
            invoice_files.load(file_id=file.pk, actor=ACTOR, carry=carryovers.carry, now=NOON)
        return len(captured)

    assert statements(2, 1) == statements(300, 1_000)


# ---- Taking it back


@pytest.mark.spec("MSP-23")
def test_a_withdrawn_file_leaves_what_was_before(biller: Biller) -> None:
    load(biller, [Bill(amount="100.00")])
    old = Item.objects.get()
    file = load(biller, [Bill(number="7002", amount="180.00", fields={11: "11/21/2026"}), Bill(account="9-1")])
    withdrawn = withdraw(file)
    assert (withdrawn.state, withdrawn.withdrawn_at) == (FileState.WITHDRAWN, NOON)
    again = Item.objects.get(pk=old.pk)
    assert (again.open, again.transferred, again.transferred_to_id) == (Decimal("100.00"), Decimal("0.00"), None)
    assert again.collect_on == old.collect_on
    assert Customer.objects.get(number="35909-001").balance == Decimal("100.00")
    assert Customer.objects.get(number="9-1").balance == Decimal("0.00")
    assert list(Invoice.objects.filter(file=file).values_list("withdrawn", flat=True)) == [True, True]
    assert Item.objects.filter(invoice__file=file).exclude(open=0).count() == 0
    booked = Entry.objects.filter(posting__key=f"withdrawal:{file.pk}", account="receivable")
    assert booked.get().amount == Decimal("-164.10")
    assert set(NoticeDelivery.objects.filter(notice__facts__number="7002").values_list("state", "failure")) == {
        ("failed", "The bill was withdrawn.")
    }
    assert AuditEntry.objects.filter(event="invoice_file.withdrawn").count() == 1
    books_hold()


def test_a_withdrawn_file_may_be_loaded_again(biller: Biller) -> None:
    body = write(biller, [Bill()])
    withdraw(load(biller, body))
    again = load(biller, body)
    assert (again.state, again.loaded_count) == (FileState.LOADED, 1)
    assert Customer.objects.get().balance == Decimal("84.10")
    books_hold()


def test_a_file_whose_bills_a_newer_one_carries_is_withdrawn_after_that(biller: Biller) -> None:
    first = load(biller, [Bill(amount="100.00")])
    second = load(biller, [Bill(number="7002", amount="180.00", fields={11: "11/21/2026"})])
    before = checksums()
    with pytest.raises(invoice_files.NotWithdrawable, match="One of its bills is carried by a newer bill"):
        withdraw(first)
    assert checksums() == before
    withdraw(second)
    withdraw(first)
    assert Customer.objects.get().balance == Decimal("0.00")
    books_hold()


def test_a_file_of_bills_that_came_late_can_be_withdrawn(biller: Biller) -> None:
    load(biller, [Bill(number="7002", amount="180.00", fields={11: "11/21/2026"})])
    late = load(biller, [Bill(number="7001", amount="100.00", fields={11: "10/21/2026"})])
    withdraw(late)
    assert Customer.objects.get().balance == Decimal("180.00")
    books_hold()


@pytest.mark.parametrize("state", [FileState.REFUSED, FileState.WITHDRAWN])
def test_only_a_loaded_file_can_be_withdrawn(biller: Biller, state: str) -> None:
    how: dict[str, Any] = {"count": 5} if state == FileState.REFUSED else {}
    file = load(biller, [Bill()], **how)
    if state == FileState.WITHDRAWN:
        file = withdraw(file)
    before = checksums()
    with pytest.raises(invoice_files.NotWithdrawable, match="Only a loaded file"):
        withdraw(file)
    assert checksums() == before
