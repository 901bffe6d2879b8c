"""Bills as PDF: fetched from the simulated print server, kept for a day, or set by ourselves; and who gets them."""

from __future__ import annotations

import io
import logging
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pypdf
import pytest
from django.conf import settings
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing import advanced_settings, tenancy
from billing.customer_portal.access import open_for_guest
from billing.models import Biller, Customer, Invoice, Role
from config.celery import BEAT
from datapump import tasks
from datapump.models import PrintedBill
from datapump.operations import printed_bills
from datapump.operations.printed_bills import BillUnavailable, open_bill
from datapump.print_servers.registry import DAFFRON
from tests.cis import Cis
from tests.datapump.conftest import SYSTEM
from tests.factories import make_biller, make_customer, make_invoice, make_link, make_user
from tests.staff import client_of, make_staff

NOW = timezone.now()


@pytest.fixture
def biller(transactional_db: None, cis: Cis) -> Biller:
    """A biller whose bills come from the simulated print server, by version 3."""
    made = make_biller(name="Maple Falls")
    for number, given in ((20, cis.prints_url), (119, "3")):
        advanced_settings.change(actor=SYSTEM, biller=made, number=number, given=given)
    return made


@pytest.fixture
def customer(biller: Biller) -> Customer:
    return make_customer(biller, base="35909", sub="001", number="35909-001", name="Alma Reyes", language="es")


@pytest.fixture
def invoice(customer: Customer) -> Invoice:
    return make_invoice(
        customer, number="7001", format_guid=DAFFRON, custom10="35909-7001", issued_on=date(2026, 3, 20)
    )


def fetch(invoice: Invoice, now: Any = NOW) -> bytes:
    return open_bill(invoice=invoice, language="en", now=now).body


def asked(cis: Cis) -> list[str]:
    return [one["asked"] for one in cis.book()["prints"]]


ASKED = "PROCESSING_TYPE=HISTORY&ACCT=35909&SUB=001&BCTR=35909-7001&LDMO=202603"


@pytest.mark.spec("MSP-18", "MSP-19", "MSP-20")
def test_a_bill_is_fetched_once_a_day_for_the_settings_there_are(biller: Biller, invoice: Invoice, cis: Cis) -> None:
    pdf = open_bill(invoice=invoice, language="en", now=NOW)
    assert pdf.name == "bill-7001.pdf"
    assert b"Account 35909 sub 001" in pdf.body
    kept = PrintedBill.objects.get()
    assert (kept.invoice_id, kept.size, kept.body.read()) == (invoice.pk, len(pdf.body), pdf.body)
    assert fetch(invoice, NOW + timedelta(hours=23)) == pdf.body
    assert asked(cis) == [ASKED]
    # Other settings ask for another paper, and a day later it is asked for again.
    advanced_settings.change(
        actor=SYSTEM, biller=biller, number=131, given={"PdfConfig": {"BCTRModifier": "ValueAfterDash"}}
    )
    assert b"Bill control number 7001" in fetch(invoice)
    fetch(invoice, NOW + timedelta(days=1))
    other = ASKED.replace("35909-7001", "7001")
    assert asked(cis) == [ASKED, other, other]
    assert not default_storage.exists(str(kept.body.name))


@pytest.mark.spec("MSP-20")
def test_a_guest_who_found_the_bill_gets_the_billers_own_and_one_with_a_link_gets_ours(
    biller: Biller, invoice: Invoice, cis: Cis
) -> None:
    found = {}
    for masked in (False, True):
        client = Client()
        session = client.session
        door = open_for_guest(session, invoice.customer, masked=masked)
        session.save()
        found[masked] = client.get(door.url("bill-pdf", invoice.customer, invoice_id=invoice.pk))
        assert found[masked].status_code == 200
    assert b"Account 35909 sub 001" in found[False].content
    ours = pypdf.PdfReader(io.BytesIO(found[True].content)).pages[0].extract_text()
    assert "7001" in ours
    assert "Alma" not in ours
    assert "35909" not in ours
    assert asked(cis) == [ASKED]


def test_what_was_fetched_ages_out(invoice: Invoice, cis: Cis) -> None:
    fetch(invoice, NOW - timedelta(hours=25))
    young = make_invoice(invoice.customer, format_guid=DAFFRON)
    fetch(young)
    old = PrintedBill.objects.get(invoice=invoice)
    assert default_storage.exists(str(old.body.name))
    tasks.purge_printed_bills.apply(throw=True)
    assert [one.invoice_id for one in PrintedBill.objects.all()] == [young.pk]
    assert not default_storage.exists(str(old.body.name))
    assert tasks.purge_printed_bills.name in {entry.task for entry in BEAT.values()}


@pytest.mark.spec("MSP-20", "MSP-24")
@pytest.mark.parametrize("guid", [None, UUID("00000000-0000-4000-8000-000000000001"), DAFFRON])
def test_where_there_is_no_print_server_the_pdf_is_our_own(
    biller: Biller, invoice: Invoice, cis: Cis, guid: UUID | None
) -> None:
    Invoice.objects.filter(pk=invoice.pk).update(format_guid=guid)
    if guid == DAFFRON:
        advanced_settings.change(actor=SYSTEM, biller=biller, number=20, given="")
    text = pypdf.PdfReader(io.BytesIO(fetch(Invoice.objects.get()))).pages[0].extract_text()
    assert "Bill 7001" in text
    assert "Alma Reyes" in text
    assert asked(cis) == []
    assert PrintedBill.objects.count() == 0


@pytest.mark.spec("MSP-20")
@pytest.mark.parametrize(
    ("rule", "late"),
    [
        ({"action": "http_status", "status": 503}, True),
        ({"action": "drop_before"}, True),
        ({"action": "slow", "seconds": 3}, True),
        ({"action": "http_status", "status": 404}, False),
        ({"action": "garbage", "kind": "html"}, False),
    ],
)
def test_a_failure_says_so_and_keeps_nothing(
    invoice: Invoice,
    cis: Cis,
    rule: dict[str, Any],
    late: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(printed_bills, "SECONDS", 1.0)
    cis.control({**rule, "next": 1})
    with caplog.at_level(logging.DEBUG), pytest.raises(BillUnavailable) as caught:
        fetch(invoice)
    assert caught.value.late is late
    assert "127.0.0.1" not in f"{caught.value} {caplog.text}"
    assert "35909" not in f"{caught.value} {caplog.text}"
    assert PrintedBill.objects.count() == 0
    assert fetch(invoice).startswith(b"%PDF-")


@pytest.mark.spec("MSP-20")
def test_in_production_no_private_network_is_reached_unless_the_operator_allows_it(
    biller: Biller, invoice: Invoice, cis: Cis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "PRODUCTION", True)
    monkeypatch.setattr(settings, "DATAPUMP_NETWORKS", [])
    with pytest.raises(BillUnavailable, match="leads where nothing may be fetched"):
        fetch(invoice)
    for given in (cis.prints_url, "http://cis.example/"):
        with pytest.raises(advanced_settings.BadSetting):
            advanced_settings.change(actor=SYSTEM, biller=biller, number=20, given=given)
    assert asked(cis) == []
    assert advanced_settings.value(20, biller.pk) == cis.prints_url
    monkeypatch.setattr(settings, "DATAPUMP_NETWORKS", ["127.0.0.0/8"])
    assert fetch(invoice).startswith(b"%PDF-")


@pytest.mark.spec("MSP-18")
def test_a_bill_that_lacks_what_the_server_asks_for_is_not_asked_for(invoice: Invoice, cis: Cis) -> None:
    Invoice.objects.filter(pk=invoice.pk).update(custom2="")
    with pytest.raises(BillUnavailable, match="no account \\(Custom2\\)"):
        fetch(Invoice.objects.get())
    assert asked(cis) == []


# ---- Who gets it ---------------------------------------------------------------------------------------------------------


def payer_of(customer: Customer) -> Client:
    user = make_user()
    make_link(user, customer)
    return client_of(user)


def pdf_url(invoice: Invoice) -> str:
    return reverse("customer-bill-pdf", args=[invoice.customer_id, invoice.pk])


@pytest.mark.spec("MSP-20")
def test_a_payer_and_a_csr_get_the_bill_and_nobody_else_does(biller: Biller, invoice: Invoice, cis: Cis) -> None:
    payer = payer_of(invoice.customer)
    csr = client_of(make_staff(biller, Role.READ_ONLY))
    staff_url = reverse("biller-bill-pdf", args=[invoice.pk])
    for client, url in ((payer, pdf_url(invoice)), (csr, staff_url)):
        got = client.get(url)
        assert (got.status_code, got["Content-Type"]) == (200, "application/pdf")
        assert got.content == fetch(invoice)
        assert got["Content-Disposition"] == 'attachment; filename="bill-7001.pdf"'
        assert got["X-Content-Type-Options"] == "nosniff"
        assert "no-store" in got["Cache-Control"]
        page = client.get(url.removesuffix("pdf/"))
        assert url in page.content.decode()
        for text in (str(got.headers), page.content.decode()):
            assert cis.prints_url not in text
            assert "eprint" not in text
    book = len(asked(cis))
    neighbour = make_customer(biller)
    elsewhere = make_biller()
    stranger = payer_of(neighbour)
    foreign = client_of(make_staff(elsewhere))
    assert stranger.get(pdf_url(invoice)).status_code == 404
    assert stranger.get(reverse("customer-bill-pdf", args=[neighbour.pk, invoice.pk])).status_code == 404
    assert foreign.get(staff_url).status_code == 404
    assert Client().get(pdf_url(invoice)).status_code == 302
    assert len(asked(cis)) == book
    Invoice.objects.filter(pk=invoice.pk).update(withdrawn=True)
    assert payer.get(pdf_url(invoice)).status_code == 404


@pytest.mark.spec("MSP-20")
def test_a_print_server_that_is_down_gives_the_bills_page_that_says_so(
    biller: Biller, invoice: Invoice, cis: Cis
) -> None:
    payer = payer_of(invoice.customer)
    csr = client_of(make_staff(biller))
    staff_url = reverse("biller-bill-pdf", args=[invoice.pk])
    cis.control({"action": "http_status", "status": 503})
    page = payer.get(pdf_url(invoice))
    text = page.content.decode()
    assert page.status_code == 504
    assert "The PDF of this bill cannot be shown at the moment" in text
    assert "$84.10" in text
    assert f'<a class="btn" href="{pdf_url(invoice)}">Try again</a>' in text
    payer.cookies[settings.LANGUAGE_COOKIE_NAME] = "es"
    assert "El PDF de esta factura no se puede mostrar en este momento" in payer.get(pdf_url(invoice)).content.decode()
    cis.control({"action": "garbage", "kind": "html"})
    page = csr.get(staff_url)
    assert page.status_code == 502
    assert "The print server answered something that is no PDF." in page.content.decode()
    assert "eprint" not in text + page.content.decode()
    cis.control()
    assert csr.get(staff_url).status_code == 200


def test_a_print_server_that_hangs_leaves_threads_for_others(
    invoice: Invoice, cis: Cis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(printed_bills, "_WAIT", 0.05)
    held = [printed_bills._at_once.acquire(timeout=0) for _ in range(4)]
    try:
        with pytest.raises(BillUnavailable, match="Too many bills") as caught:
            fetch(invoice)
        assert caught.value.late
    finally:
        for _ in held:
            printed_bills._at_once.release()
    assert asked(cis) == []
    assert fetch(invoice).startswith(b"%PDF-")


def test_what_was_fetched_is_behind_the_second_wall(invoice: Invoice, cis: Cis) -> None:
    fetch(invoice)
    other = make_biller()
    with tenancy.acting_for([other.pk]):
        assert PrintedBill.objects.count() == 0
    with tenancy.acting_for([invoice.biller_id]):
        assert PrintedBill.objects.count() == 1
