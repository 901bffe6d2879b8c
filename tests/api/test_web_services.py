"""The web services as billers' systems call them: zeep by our WSDL, ASMX-style form posts, REST, and whatever else comes."""

from __future__ import annotations

import base64
import io
import logging
from typing import Any
from urllib.parse import urlencode

import pytest
import zeep
from django import conf
from django.core.files.storage import default_storage
from django.test import Client
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from lxml import etree
from pytest_django.live_server_helper import LiveServer

from billing.api.web_services.envelopes import NAMESPACE, SOAP_11, SOAP_12
from billing.models import AuditEntry, Biller, Customer, InvoiceFile
from billing.operations import api_tokens
from datapump.models import Configuration, Record
from sms.models import EVERYTHING, Consent, Line, Phone, SmsMode
from sms.operations import customer_records, enrolments
from tests.api.machines import OPERATOR, Machine
from tests.factories import make_biller, make_customer
from tests.invoice_files import Bill, write

pytestmark = pytest.mark.django_db(transaction=True)

OLD, NEW = "+12025550143", "+12025550188"
FORM = "application/x-www-form-urlencoded"
MANAGEMENT = "/webservices/CloudManagement.asmx"
INVOICING = "/webservices/CloudInvoicing.asmx"
UPDATE, UPLOAD = f"{MANAGEMENT}/UpdateCustomerRecord", f"{INVOICING}/UploadInvoiceFile"


@pytest.fixture
def biller() -> Biller:
    biller = make_biller()
    Configuration.objects.filter(biller=biller).update(pay_by_text_changes=True)
    Line.objects.create(biller=biller, number="+15055550100", driver="simulator", secret="unused")
    return biller


@pytest.fixture
def cis(biller: Biller) -> Machine:
    return Machine(biller)


@pytest.fixture
def customer(biller: Biller) -> Customer:
    return make_customer(
        biller, number="35909-001", base="35909", sub="001", name="Alma Reyes", phone=OLD, city="Old Town"
    )


def enrol(customer: Customer, number: str = OLD) -> None:
    consent = Consent("By phone.", "I agree to texts.", "7")
    enrolments.enrol(customer=customer, number=number, consent=consent, actor=OPERATOR)


def send(path: str, body: str | bytes, kind: str, headers: dict[str, str] | None = None) -> Any:
    """Send whatever it is; a fault of ours is an answer here too."""
    client = Client(raise_request_exception=False)
    return client.generic("POST", path, body, content_type=kind, headers=headers or {})


def post(path: str, machine: Machine | None = None, headers: dict[str, str] | None = None, **fields: str) -> Any:
    """Post a form as an ASMX page would get it."""
    if machine is not None:
        fields = {"UserName": str(machine.biller.number), "Password": machine.key, **fields}
    body = urlencode(fields)
    return send(path, body, FORM, headers)


def said(answer: Any) -> dict[str, str]:
    root = etree.fromstring(answer.content)
    return {etree.QName(one).localname: one.text or "" for one in root} | {"": etree.QName(root).localname}


def client(live_server: LiveServer, path: str, port: str) -> Any:
    """Give what calls a service by its WSDL, at the test's own address."""
    make: Any = zeep.Client  # zeep has no types
    wsdl = Client().get(path).content.replace(conf.settings.PUBLIC_URL.encode(), live_server.url.encode())
    return make(wsdl=io.BytesIO(wsdl), port_name=port).service


def state() -> list[Any]:
    """Everything that a refused call must leave as it was."""
    return [
        list(Customer.objects.order_by("pk").values()),
        list(SmsMode.objects.order_by("pk").values_list("number", "registered")),
        [Record.objects.count(), InvoiceFile.objects.count(), AuditEntry.objects.count()],
    ]


def test_each_service_wants_its_scope(biller: Biller, customer: Customer) -> None:
    before = state()
    for path, scope, fields in (
        (UPDATE, "accounts", {"AccountNumber": "35909-001", "City": "New Town"}),
        (UPLOAD, "files", {"FileName": "1_11222026.csv", "FileContents": "eA=="}),
    ):
        other = Machine(biller, f"Not {scope}", {"accounts", "files", "read"} - {scope})
        answer = post(path, other, None, **fields)
        assert (answer.status_code, said(answer)["Code"]) == (403, "scope_missing")
        assert f"“{scope}”" in answer.content.decode()
        assert state()[:2] == before[:2]
        assert InvoiceFile.objects.count() == 0
    alone = Machine(biller, "Record keeper", ["accounts"])
    assert post(UPDATE, alone, AccountNumber="35909-001", City="New Town").status_code == 200


# ---- UpdateCustomerRecord --------------------------------------------------------------------------------------------


@pytest.mark.spec("MSP-29")
@pytest.mark.parametrize("way", ["REST", "SOAP 1.1", "SOAP 1.2", "form post"])
def test_new_phone_reaches_the_customer_and_pay_by_text(
    biller: Biller, cis: Machine, customer: Customer, live_server: LiveServer, way: str
) -> None:
    enrol(customer)
    made = Record.objects.count()
    phone = "(202) 555-0188"
    match way:
        case "REST":
            body = {"account": "35909", "sub": "001", "phone": phone, "city": "New Town"}
            answer = cis.send("POST", "cloud-management/UpdateCustomerRecord/", body)
            assert (answer.status_code, answer.json()) == (
                200, {"changed": ["phone", "city"], "pay_by_text": "number_changed"},
            )  # fmt: skip
        case "form post":
            answer = post(UPDATE, cis, AccountNumber="35909", Sub="001", Phone=phone, City="New Town")
            assert answer.status_code == 200
            assert said(answer) == {
                "": "UpdateCustomerRecordResult", "Success": "true", "Changed": "phone,city", "PayByText": "number_changed",
            }  # fmt: skip
        case _:
            service = client(live_server, MANAGEMENT, "CloudManagementSoap" + ("12" if way.endswith("2") else ""))
            result = service.UpdateCustomerRecord(
                UserName=str(biller.number), Password=cis.key, AccountNumber="35909-001", Phone=phone, City="New Town"
            )
            assert (result.Success, sorted(result.Changed.split(",")), result.PayByText) == (
                True, ["city", "phone"], "number_changed",
            )  # fmt: skip
    customer.refresh_from_db()
    assert (customer.phone, customer.city, customer.name) == (NEW, "New Town", "Alma Reyes")
    mode = SmsMode.objects.get()
    assert (mode.number, mode.registered, mode.consent_text) == (NEW, True, "I agree to texts.")
    assert mode.consent_how == "The number on file was changed by the biller's system."
    # One update of pay by text, as for every door that is none of the two portals.
    (record,) = Record.objects.order_by("created_at")[made:]
    assert (record.facts["status"], record.facts["phone"], record.facts["old_phone"]) == ("number_changed", NEW, OLD)
    entry = AuditEntry.objects.get(event="customer.record_changed")
    assert (entry.actor, sorted(entry.facts["fields"].split(", "))) == ("CIS", ["city", "phone"])
    # Once more changes nothing.
    before = state()
    assert post(UPDATE, cis, AccountNumber="35909-001", Phone=NEW).status_code == 200
    assert state() == before


@pytest.mark.spec("MSP-29")
def test_pay_by_text_ends_where_texts_may_not_go_to_the_new_number(
    biller: Biller, cis: Machine, customer: Customer
) -> None:
    Phone.objects.create(biller=biller, number=NEW, opted_out_of=[EVERYTHING])
    enrol(customer)
    assert said(post(UPDATE, cis, AccountNumber="35909-001", Phone=NEW))["PayByText"] == "ended"
    customer.refresh_from_db()
    assert (customer.phone, SmsMode.objects.get().registered) == (NEW, False)
    assert Record.objects.order_by("created_at").last().facts["status"] == "unenrolled"  # type: ignore[union-attr]


@pytest.mark.spec("MSP-29")
def test_phone_that_served_no_texts_or_was_another_one_leaves_pay_by_text_alone(
    cis: Machine, customer: Customer
) -> None:
    assert said(post(UPDATE, cis, AccountNumber="35909-001", Phone=NEW))["PayByText"] == "unchanged"
    enrol(customer, "+12025550150")
    assert said(post(UPDATE, cis, AccountNumber="35909-001", Phone=OLD))["PayByText"] == "unchanged"
    assert SmsMode.objects.values_list("number", "registered").get() == ("+12025550150", True)
    customer.refresh_from_db()
    assert customer.phone == OLD


@pytest.mark.spec("MSP-29")
def test_call_that_broke_off_between_texts_and_record_is_finished_by_the_next(
    cis: Machine, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(customer)

    def break_off(name: str) -> None:
        if name == "customer_records.texts":
            raise RuntimeError("pulled the plug")

    with monkeypatch.context() as patch:
        patch.setattr(customer_records, "failpoint", break_off)
        answer = post(UPDATE, cis, AccountNumber="35909-001", Phone=NEW)
    assert (answer.status_code, said(answer)["Code"], b"plug" in answer.content) == (500, "internal", False)
    customer.refresh_from_db()
    assert (customer.phone, SmsMode.objects.get().number) == (OLD, NEW)
    records = Record.objects.count()
    assert said(post(UPDATE, cis, AccountNumber="35909-001", Phone=NEW))["Changed"] == "phone"
    customer.refresh_from_db()
    assert (customer.phone, SmsMode.objects.get().number, Record.objects.count()) == (NEW, NEW, records)


# ---- UploadInvoiceFile -----------------------------------------------------------------------------------------------


@pytest.mark.spec("MSP-34")
@pytest.mark.parametrize("way", ["REST", "SOAP 1.1", "SOAP 1.2", "form post"])
def test_invoice_file_comes_in_by_each_shape_and_once(
    biller: Biller, cis: Machine, live_server: LiveServer, way: str
) -> None:
    name, contents = f"{biller.number}_11222026.bif", write(biller, [Bill(), Bill(account="35910-001", number="7002")])
    match way:
        case "REST":
            assert cis.upload(name, contents).status_code == 202
        case "form post":
            packed = base64.encodebytes(contents).decode()
            answer = post(UPLOAD, cis, FileName=name, FileContents=packed)
            file = InvoiceFile.objects.get()
            assert said(answer) == {
                "": "UploadInvoiceFileResult", "Success": "true", "FileID": str(file.pk), "SHA256": file.sha256,
            }  # fmt: skip
        case _:
            service = client(live_server, INVOICING, "CloudInvoicingSoap" + ("12" if way.endswith("2") else ""))
            result = service.UploadInvoiceFile(
                UserName=str(biller.number), Password=cis.key, FileName=name, FileContents=contents
            )
            assert (result.Success, result.FileID) == (True, str(InvoiceFile.objects.get().pk))
    file = InvoiceFile.objects.get()
    assert (file.name, file.source, file.received_from, file.size) == (name, "api", "CIS", len(contents))
    with default_storage.open(str(file.body.name)) as body:
        assert body.read() == contents
    # The same file again, in whatever shape, is refused.
    again = post(UPLOAD, cis, FileName=name, FileContents=base64.b64encode(contents).decode())
    assert (again.status_code, said(again)["Code"], said(again)["Field"]) == (409, "already_received", "FileContents")
    assert InvoiceFile.objects.count() == 1


# ---- Refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.spec("MSP-29")
@pytest.mark.spec("MSP-34")
def test_each_refusal_of_the_table(biller: Biller, cis: Machine, customer: Customer) -> None:
    make_customer(make_biller(), number="77777-001")
    key, bid = cis.key, str(biller.number)
    ended = Machine(biller, "Ended")
    api_tokens.revoke(token=ended.token, actor=OPERATOR)
    whole = {"AccountNumber": "35909-001", "Phone": NEW}
    basic = base64.b64encode(f"{bid}:{key}x".encode()).decode()
    before = state()
    for path, machine, headers, fields, expected in (
        (UPDATE, None, {}, whole, (401, "not_authenticated", "")),
        (UPDATE, ended, {}, whole, (401, "bad_key", "")),
        (UPDATE, cis, {}, whole | {"UserName": "1"}, (401, "bad_key", "")),
        (UPDATE, None, {"Authorization": f"Basic {basic}"}, whole, (401, "bad_key", "")),
        (UPDATE, None, {"Authorization": "Basic %%%"}, whole, (401, "bad_key", "")),
        (UPDATE, cis, {}, {"Phone": NEW}, (422, "required", "AccountNumber")),
        (UPDATE, cis, {}, {"AccountNumber": "77777-001", "Phone": NEW}, (422, "unknown", "AccountNumber")),
        (UPDATE, cis, {}, whole | {"Phone": "911-CALL-ME-NOW-PLEASE"}, (422, "bad_record", "Phone")),
        (UPDATE, cis, {}, whole | {"CustomerName": " "}, (422, "blank", "CustomerName")),
        (UPDATE, cis, {}, whole | {"Zip": "1" * 13}, (422, "max_length", "Zip")),
        (UPDATE, cis, {}, whole | {"Balance\x01": "0"}, (422, "unknown", "Balance?")),
        (UPLOAD, cis, {}, {"FileName": "x.bif", "FileContents": "eA=="}, (422, "bad_file_name", "FileContents")),
        (UPLOAD, cis, {}, {"FileName": f"{bid}_11222026.bif", "FileContents": ""}, (422, "empty_file", "FileContents")),
        (UPLOAD, cis, {}, {"FileName": f"{bid}_11222026.bif", "FileContents": "e A=="}, (422, "invalid", "FileContents")),
    ):  # fmt: skip
        answer = post(path, machine, headers, **fields)
        error = said(answer)
        assert (answer.status_code, error["Code"], error["Field"]) == expected
        assert error[""] == "Error"
        assert key[13:] not in answer.content.decode()
    assert post(UPDATE, cis, Phone="x" * 70_000).status_code == 413
    assert post(f"{MANAGEMENT}/UploadInvoiceFile", cis).status_code == 404
    assert post("/webservices/Other.asmx/UpdateCustomerRecord", cis).status_code == 404
    assert Client().post(UPDATE, {"AccountNumber": "35909-001"}).status_code == 415
    assert Client().get(UPDATE).status_code == 405
    assert state() == before


def test_key_in_a_header_is_as_good_as_one_in_the_call(biller: Biller, cis: Machine, customer: Customer) -> None:
    basic = base64.b64encode(f"{biller.number}:{cis.key}".encode()).decode()
    for city, header in (("Elm", f"Bearer {cis.key}"), ("Oak", f"Basic {basic}")):
        assert post(UPDATE, None, {"Authorization": header}, AccountNumber="35909-001", City=city).status_code == 200
        customer.refresh_from_db()
        assert customer.city == city


@pytest.mark.spec("MSP-29")
def test_wrong_keys_are_counted_and_good_ones_too(
    cis: Machine, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from billing.api.web_services import views
    from billing.throttles import Limit

    monkeypatch.setattr(views, "WRONG_KEYS", Limit("test-wrong", 2, views.WRONG_KEYS.window))
    monkeypatch.setattr(views, "CALLS", Limit("test-calls", 1, views.CALLS.window))
    wrong = [post(UPDATE, None, Password="x", AccountNumber="1") for _ in range(3)]
    assert [one.status_code for one in wrong] == [401, 401, 429]
    assert int(wrong[-1].headers["Retry-After"]) > 0
    right = [post(UPDATE, cis, AccountNumber="35909-001", City=city) for city in ("Elm", "Oak")]
    assert [one.status_code for one in right] == [200, 429]
    customer.refresh_from_db()
    assert customer.city == "Elm"


def envelope(inside: str, version: str = SOAP_11, before: str = "") -> str:
    return f'{before}<s:Envelope xmlns:s="{version}" xmlns="{NAMESPACE}"><s:Body>{inside}</s:Body></s:Envelope>'


@pytest.mark.spec("MSP-29")
@pytest.mark.parametrize(("version", "kind"), [(SOAP_11, "text/xml"), (SOAP_12, "application/soap+xml")])
def test_faults_say_what_the_table_says_and_no_more(cis: Machine, customer: Customer, version: str, kind: str) -> None:
    call = "<UpdateCustomerRecord>{}</UpdateCustomerRecord>"
    before = state()
    for body, code in (
        (" ", "bad_message"),
        ("<a>", "bad_message"),
        ("<a/>", "bad_message"),
        (envelope("", version), "bad_message"),
        (envelope(call.format("") * 2, version), "bad_message"),
        (envelope("<Other/>", version), "bad_message"),
        (envelope(call.format("<City>a</City><City>b</City>"), version), "bad_message"),
        (envelope(call.format("<City><b/></City>"), version), "bad_message"),
        (envelope('<x xmlns="urn:other"/>', version), "bad_message"),
        (envelope(call.format(""), SOAP_12 if version == SOAP_11 else SOAP_11), "bad_message"),
        (envelope(call.format("<City>&x;</City>"), version, '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'),
         "bad_message"),
        (envelope(call.format("<City>a</City>"), version), "not_authenticated"),
        (envelope(call.format("<Password>no</Password>"), version), "bad_key"),
        (envelope(call.format(f"<Password>{cis.key}</Password><AccountNumber>1</AccountNumber>"), version), "unknown"),
    ):  # fmt: skip
        answer = send(MANAGEMENT, body, f"{kind}; charset=utf-8")
        assert answer.status_code == (500 if version == SOAP_11 else 400), body
        root = etree.fromstring(answer.content)
        assert root.findtext(f".//{{{NAMESPACE}}}Code") == code, body
        assert root.tag == f"{{{version}}}Envelope"
        assert b"passwd" not in answer.content and cis.key.encode() not in answer.content
    must = envelope("<UpdateCustomerRecord/>", version).replace(
        "<s:Body>", '<s:Header><x xmlns="urn:x" s:mustUnderstand="1"/></s:Header><s:Body>'
    )
    assert send(MANAGEMENT, must, kind).status_code >= 400
    assert send(MANAGEMENT, must, "application/json").status_code == 415
    assert state() == before


def test_fault_of_ours_is_told_to_the_log_alone(
    cis: Machine, customer: Customer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**_: Any) -> None:
        raise RuntimeError("the inside of the house")

    monkeypatch.setattr(customer_records, "update", fail)
    with caplog.at_level(logging.ERROR):
        answer = post(UPDATE, cis, AccountNumber="35909-001", City="x")
    assert (answer.status_code, said(answer)["Code"]) == (500, "internal")
    assert b"house" not in answer.content
    assert "the inside of the house" in caplog.text
    assert cis.key not in caplog.text


FIELDS = ["UserName", "Password", "AccountNumber", "Sub", "Phone", "City", "FileName", "FileContents", "Ünknown", ""]
XMLISH = st.recursive(
    st.text(max_size=20),
    lambda inner: st.builds(
        lambda name, attributes, parts: f"<{name}{attributes}>{''.join(parts)}</{name}>",
        st.sampled_from(["UpdateCustomerRecord", "UploadInvoiceFile", *FIELDS[:-2], "s:Header", "s:Body"]),
        st.sampled_from(["", ' xmlns="urn:x"', f' xmlns="{NAMESPACE}"', ' xsi:nil="true"', ' s:mustUnderstand="1"']),
        st.lists(inner, max_size=3),
    ),
    max_leaves=8,
)


@seed(20261122)
@settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    inside=XMLISH, raw=st.binary(min_size=1, max_size=200), version=st.sampled_from([SOAP_11, SOAP_12]),
    fields=st.lists(st.tuples(st.sampled_from(FIELDS), st.text(max_size=30)), min_size=1, max_size=6),
)  # fmt: skip
def test_nothing_that_comes_breaks_a_service(
    cis: Machine, customer: Customer, inside: str, raw: bytes, version: str, fields: list[tuple[str, str]]
) -> None:
    """Whatever comes is answered by the table, and what comes without the account changes nothing."""
    before, key = state(), {"Authorization": f"Bearer {cis.key}"}
    kind = "text/xml" if version == SOAP_11 else "application/soap+xml"
    form = urlencode([(name, value.encode("utf-8", "replace")) for name, value in fields])
    calls = [(MANAGEMENT, envelope(inside, version).encode("utf-8", "replace"), kind), (MANAGEMENT, raw, kind)]
    calls += [(path, body, FORM) for path in (UPDATE, UPLOAD) for body in (raw, form.encode())]
    for path, body, given_kind in calls:
        answer = send(path, body, given_kind, key)
        codes = etree.fromstring(answer.content).iter(f"{{{NAMESPACE}}}Code")
        assert next(codes).text not in {None, "internal"}
    assert state() == before
