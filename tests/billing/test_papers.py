"""Bills and receipts on paper of our own: what stands on them, in which language, tagged, and nothing as markup."""

from __future__ import annotations

import io
import re
import struct
import time
import zlib
from decimal import Decimal
from typing import Any

import pypdf
import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from billing.customer_portal.access import open_for_guest
from billing.models import Item, Posting, PostingKind
from billing.papers import bills, typesetting
from billing.papers.typesetting import Headline, Paper, Row, Sender, set_paper, writable
from payments.models import Channel, Payment, PaymentState
from payments.receipts import receipt
from tests.api.machines import Machine
from tests.factories import make_biller, make_customer, make_instrument, make_invoice, make_link, make_route, make_user
from tests.staff import client_of, make_staff

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63606060000000040001f61738550000000049454e44ae426082"
)


def read(body: bytes) -> pypdf.PdfReader:
    return pypdf.PdfReader(io.BytesIO(body))


def words(body: bytes) -> str:
    return "\n".join(page.extract_text() for page in read(body).pages)


def paper(**changes: object) -> Paper:
    given: dict[str, object] = {
        "title": "Bill 7001", "language": "en", "accent": "#0b6e4f", "biller": Sender("Maple Falls", ["(802) 555-0142"]),
        "addressee": ["Alma Reyes"], "headline": Headline("Amount", "$84.10"), "columns": ("Details", "Value"),
        "rows": [Row("Account", "35909-001")], **changes,
    }  # fmt: skip
    return Paper(**given)  # type: ignore[arg-type]  # a fixture


hostile = st.text(max_size=120) | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=120) | st.sampled_from(
    [
        "#panic()", "#import \"@preview/x:1.0.0\"", "$x$ *b* _i_ `raw` <label> @ref", "= Heading", "// comment", "/* open",
        "\\", "\\u{41}", "]", "#[", '"); panic("', "#read(\"/etc/passwd\")", "~---...", "{{ x }}", "http://evil.example",
        "日本語", "😀", "\x00\x1f", "\u202eabc", "\ufeff", "x" * 120, "- item", "1. item", "#sys.inputs.paper",
    ]
)  # fmt: skip


@hypothesis_settings(max_examples=15, deadline=None)
@given(name=hostile, number=hostile, address=hostile, others=st.lists(hostile, max_size=8))
@example("#panic()", "*7001*", "$x$", [])
def test_no_value_is_ever_markup(name: str, number: str, address: str, others: list[str]) -> None:
    rows = [Row("Bill number", number), Row(name, address), *(Row("Other", one) for one in others)]
    body = set_paper(
        paper(
            title=f"Bill {number}", addressee=[name, address], rows=rows, biller=Sender(name, [address]),
            headline=Headline(name, number, address), notes=[address], footer=name,
        )
    )  # fmt: skip
    shown = words(body)
    for value in (name, number, address, *others):
        # What is written in plain letters and signs stands there as it is, but for spaces, which the reader folds; in
        # other scripts the order on the sheet is another.
        if re.fullmatch(r"[ -~]*", value):
            assert re.sub(r"\s+", "", value) in re.sub(r"[\u200b\s]+", "", shown)


def test_a_paper_is_tagged_and_the_same_every_time() -> None:
    body = set_paper(paper(logo=PNG))
    root: Any = read(body).trailer["/Root"]
    assert body == set_paper(paper(logo=PNG))
    assert body != set_paper(paper(logo=PNG, language="es"))
    assert root["/Lang"] == "en"
    assert root["/MarkInfo"]["/Marked"]
    assert "/StructTreeRoot" in root
    assert b"<pdfuaid:part>1</pdfuaid:part>" in body
    assert read(body).metadata.title == "Bill 7001"  # type: ignore[union-attr]  # it has some
    assert b"CreationDate" not in body
    # A picture that is none is left out, and the bill is there all the same.
    assert words(set_paper(paper(logo=b"not a picture"))) == words(set_paper(paper()))


def test_what_the_typeface_lacks_is_shown_as_missing() -> None:
    assert writable({"a": ["Ñandú ¿€? 日本", ("x", 1)]}) == {"a": ["Ñandú ¿€? ��", ["x", 1]]}
    assert "Alma �� Reyes" in words(set_paper(paper(addressee=["Alma 日本 Reyes"])))


@pytest.mark.django_db
def test_a_bill_says_what_is_due_to_whom_and_where_to_pay() -> None:
    biller = make_biller(name="Maple Falls", phone="+18025550142", email="bills@maple.example", slug="maple-falls")
    biller.logo.save("maple.png", ContentFile(PNG))
    customer = make_customer(
        biller, number="35909-001", name="Alma Reyes", address1="18 Mill Race Lane", city="Maple Falls", state="VT",
        zip="05601",
    )  # fmt: skip
    invoice = make_invoice(customer, "1084.10", number="7/0 01", past_due=Decimal("12.00"))
    Item.objects.filter(invoice=invoice).update(allocated=Decimal("4.10"))
    pdf = bills.bill(invoice, language="en")
    assert pdf.name == "bill-7-0-01.pdf"
    text = words(pdf.body)
    for part in (
        "Maple Falls", "(802) 555-0142", "bills@maple.example", "Alma Reyes", "18 Mill Race Lane", "Maple Falls VT 05601",
        "Bill 7/0 01", "Account 35909-001", "From earlier bills $12.00", "Amount of this bill $1,084.10", "Paid $4.10",
        "Still open of this bill $1,080.00", f"Pay online: {settings.PUBLIC_URL}/with/maple-falls/",
    ):  # fmt: skip
        assert part in text
    spanish = words(bills.bill(invoice, language="es").body)
    assert "Factura 7/0 01" in spanish
    assert "$1,084.10" in spanish
    assert "Amount" not in spanish
    Item.objects.filter(invoice=invoice).update(allocated=Decimal("1084.10"))
    assert "Pay online" not in words(bills.bill(invoice, language="en").body)


@pytest.mark.django_db
def test_receipts_for_payers_guests_csrs_and_machines() -> None:
    machine = Machine(biller := make_biller(name="Maple Falls"))
    customer = make_customer(biller, number="35909-001", name="Alma Reyes", language="es")
    instrument = make_instrument(customer, make_route(biller))
    posting = Posting.objects.create(
        biller=biller, key="receipt", kind=PostingKind.RECEIPTS, effective_on=timezone.now().date()
    )
    payment = Payment.objects.create(
        biller=biller, customer=customer, instrument=instrument, route=instrument.route, tender="card",
        amount=Decimal("84.10"), fee=Decimal("2.50"), currency="USD", state=PaymentState.POSTED, channel=Channel.WEB,
        requestor=2, made_by="Alma Reyes", request_key="f" * 32, settled_at=timezone.now(), posting_id=posting.pk,
    )  # fmt: skip
    user = make_user()
    make_link(user, customer)
    mine = reverse("customer-payment-pdf", args=[customer.pk, payment.pk])
    got = client_of(user).get(mine)
    assert (got.status_code, got["Content-Type"]) == (200, "application/pdf")
    assert got["Content-Disposition"] == f'attachment; filename="receipt-{payment.confirmation}.pdf"'
    for part in (payment.confirmation, "Total charged $86.60", "Fee $2.50", "Alma Reyes", "This is not a bill."):
        assert part in words(got.content)
    # For the others it is in the customer's language.
    for body in (
        client_of(make_staff(biller)).get(reverse("biller-payment-receipt-pdf", args=[payment.pk])).content,
        machine.get(f"payments/{payment.pk}/receipt/").content,
    ):
        assert "Total cobrado $86.60" in words(body)
    guest = words(receipt(payment, language="en", account_number="•••• 9001", guest=True).body)
    assert "Alma" not in guest
    assert "35909" not in guest
    assert "Paid by Guest" in guest
    Payment.objects.filter(pk=payment.pk).update(state=PaymentState.REVERSED)
    assert "This payment was returned" in words(client_of(user).get(mine).content)
    Payment.objects.filter(pk=payment.pk).update(state=PaymentState.PROCESSING)
    assert client_of(user).get(mine).status_code == 404
    assert machine.get(f"payments/{payment.pk}/receipt/").status_code == 404


@pytest.mark.django_db
@pytest.mark.parametrize("masked", [False, True])
def test_a_guest_gets_the_bill_they_found_which_does_not_say_whose_it_is(masked: bool) -> None:
    customer = make_customer(make_biller(), name="Alma Reyes", number="35909-001", address1="18 Mill Race Lane")
    invoice, neighbours = make_invoice(customer, "84.10", number="7001"), make_invoice(make_customer(customer.biller))
    client = Client()
    session = client.session
    door = open_for_guest(session, customer, masked=masked)
    session.save()
    page = client.get(door.url("bill", customer, invoice_id=invoice.pk))
    address = door.url("bill-pdf", customer, invoice_id=invoice.pk)
    assert f'href="{address}"' in page.content.decode()
    got = client.get(address)
    assert (got.status_code, got["Content-Type"]) == (200, "application/pdf")
    assert got["Content-Disposition"] == 'attachment; filename="bill-7001.pdf"'
    assert {"private", "no-store"} <= set(got["Cache-Control"].split(", "))
    text = words(got.content)
    assert "Amount of this bill $84.10" in text
    assert ("35909-001" in text) is not masked
    for told in ("Alma", "Mill Race"):
        assert told not in text
    # Nobody else's, nowhere else, and not behind the payer's own door.
    assert client.get(door.url("bill-pdf", customer, invoice_id=neighbours.pk)).status_code == 404
    assert Client().get(address).status_code == 404
    assert client.get(reverse("customer-bill-pdf", args=[customer.pk, invoice.pk])).status_code == 302


def bomb(side: int) -> bytes:
    """Draw a picture that is small as a file and large when it is read: so many black points in a square."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    pressed, row = zlib.compressobj(1), bytes(1 + side)
    body = b"".join(pressed.compress(row) for _ in range(side)) + pressed.flush()
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_a_picture_that_takes_more_than_its_memory_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    picture, without = bomb(12_000), set_paper(paper())
    assert len(picture) < 1 << 20
    # Read, it is 144 MB.
    monkeypatch.setattr(typesetting, "MEMORY", 160 << 20)
    assert set_paper(paper(logo=picture)) == without
    assert set_paper(paper(logo=PNG)) != without


@pytest.mark.django_db
def test_what_cannot_be_set_within_its_memory_is_a_page_that_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Less than Python itself takes with typst.
    monkeypatch.setattr(typesetting, "MEMORY", 32 << 20)
    with pytest.raises(typesetting.NotSet):
        set_paper(paper())
    assert "a paper could not be set: the press ended with" in caplog.text
    machine = Machine(biller := make_biller())
    customer = make_customer(biller)
    invoice, user = make_invoice(customer), make_user()
    make_link(user, customer)
    instrument = make_instrument(customer, make_route(biller))
    posting = Posting.objects.create(
        biller=biller, key="r", kind=PostingKind.RECEIPTS, effective_on=timezone.now().date()
    )
    payment = Payment.objects.create(
        biller=biller, customer=customer, instrument=instrument, route=instrument.route, tender="card",
        amount=Decimal("84.10"), currency="USD", state=PaymentState.POSTED, channel=Channel.WEB, requestor=2,
        made_by="Alma Reyes", request_key="f" * 32, settled_at=timezone.now(), posting_id=posting.pk,
    )  # fmt: skip
    payer, staff = client_of(user), client_of(make_staff(biller))
    for client, name, whose in (
        (payer, "customer-bill-pdf", [customer.pk, invoice.pk]),
        (payer, "customer-payment-pdf", [customer.pk, payment.pk]),
        (staff, "biller-bill-pdf", [invoice.pk]),
        (staff, "biller-payment-receipt-pdf", [payment.pk]),
    ):
        page = client.get(reverse(name, args=whose))
        assert (page.status_code, page["Content-Type"]) == (502, "text/html; charset=utf-8"), name
        assert "$84.10" in page.content.decode()
        assert "Try again" in page.content.decode()
    for path, code in (
        (f"invoices/{invoice.pk}/pdf/", "bill_unavailable"),
        (f"payments/{payment.pk}/receipt/", "receipt_unavailable"),
    ):
        refused = machine.get(path)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, code)


def test_what_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typesetting, "LONGEST", 0.01)
    began = time.monotonic()
    with pytest.raises(typesetting.NotSet):
        set_paper(paper())
    assert time.monotonic() - began < 2


@pytest.mark.django_db
def test_a_machine_gets_its_billers_bill() -> None:
    machine = Machine(biller := make_biller())
    invoice = make_invoice(make_customer(biller, name="Alma Reyes"))
    got = machine.get(machine.get(f"invoices/{invoice.pk}/").json()["pdf"].removeprefix("/api/v1/"))
    assert (got.status_code, got["Content-Type"]) == (200, "application/pdf")
    assert "Alma Reyes" in words(got.content)
    assert Machine(make_biller()).get(f"invoices/{invoice.pk}/pdf/").status_code == 404
