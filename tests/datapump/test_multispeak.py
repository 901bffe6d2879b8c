"""MultiSpeak envelopes: their fields, and that they are what zeep builds from our definitions."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
import xmlschema
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lxml import etree

from datapump.connectors import masking
from datapump.connectors.base import Envelope, Message, Misconfigured, Refused, Target
from datapump.connectors.multispeak import definitions
from datapump.connectors.multispeak.amounts import amount_text
from datapump.connectors.multispeak.connector import MultiSpeak
from datapump.connectors.multispeak.options import BadOption, parse_modes

NS = "http://www.multispeak.org/Version_3.0"
MSP = f"{{{NS}}}"
NOW = datetime(2026, 11, 22, 15, 8, 45, 123456, tzinfo=UTC)
CODE = "A01 - Approved (EXACT MATCH)"
GUID = "e4deba7f-86e7-4850-8226-d6a2fbfb0ab6"
FACTS = {
    "amount": "232.10", "currency": "USD", "tender": "card", "approval_code": CODE, "payment_guid": GUID,
    "source": 0, "obd": False, "kiosk": "",
}  # fmt: skip

connector = MultiSpeak()


def make_target(**options: Any) -> Target:
    return Target(
        url="http://cis.example/services/CB", username="asProvided", password="asProvided",
        time_zone="America/Chicago", options=options,
    )  # fmt: skip


def make_payment(account: str = "35909001", id: str = "1", **facts: Any) -> Message:
    return Message(id=id, kind="payment", account=account, occurred_at=NOW, facts={**FACTS, **facts})


def make_paperless(enrolled: bool) -> Message:
    return Message(id="2", kind="paperless", account="1001", occurred_at=NOW, facts={"enrolled": enrolled})


def make_autopay(enrolled: bool, at: datetime = NOW, location: str = "321045080002") -> Message:
    facts = {"enrolled": enrolled, "service_location": location}
    return Message(id="3", kind="autopay", account="1001", occurred_at=at, facts=facts)


def make_scheduled(status: str, at: datetime = NOW, **facts: Any) -> Message:
    usual = {"status": status, "on": "2024-08-15", "amount": "156.25", "invoice": "121940013401"}
    location = {"service_location": "321045080002"}
    return Message(id="4", kind="scheduled", account="1001", occurred_at=at, facts={**usual, **location, **facts})


def body_of(envelope: Envelope) -> etree._Element:
    return etree.fromstring(envelope.body)


def canonical(document: bytes | str) -> str:
    parsed = etree.fromstring(document.encode() if isinstance(document, str) else document)
    return str(etree.canonicalize(parsed, rewrite_prefixes=True))


def sent(envelope: Envelope, name: str) -> str | None:
    return body_of(envelope).findtext(f".//{MSP}{name}")


# ---- the samples of the interface description, element for element


def sample(header: str, body: str) -> str:
    return (
        '<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><Header>'
        f'<MultiSpeakMsgHeader xmlns="{NS}" {header}/></Header><Body>{body}</Body></Envelope>'
    )


HEADER = 'UserID="asProvided" Pwd="asProvided"'


@pytest.mark.spec("MSP-6", "MSP-7")
def test_a_card_payment_is_the_sample_with_the_approval_code_as_transaction_id() -> None:
    envelope = connector.write([make_payment()], make_target())
    expected = sample(
        HEADER,
        f'<CommitPaymentTransaction xmlns="{NS}"><transactions><paymentTransaction>'
        "<accountNumber>35909001</accountNumber>"
        "<creditCardPayment><tender><extensionsList><extensionsItem><extName>transactionId</extName>"
        f"<extValue>{CODE}</extValue></extensionsItem></extensionsList><amount>232.1</amount>"
        f"<authorizationCode>{CODE}</authorizationCode><paymentMode>WEB</paymentMode></tender></creditCardPayment>"
        "</paymentTransaction></transactions></CommitPaymentTransaction>",
    )
    assert canonical(envelope.body) == canonical(expected)
    assert envelope.url == "http://cis.example/services/CB"
    assert envelope.headers == {
        "Content-Type": "text/xml; charset=utf-8",
        "SOAPAction": f'"{NS}/CommitPaymentTransaction"',
    }
    assert envelope.message_ids == ("1",)


@pytest.mark.spec("MSP-7")
def test_with_the_setting_the_transaction_id_is_the_payment_guid_and_the_approval_code_stays_where_it_was() -> None:
    envelope = connector.write([make_payment()], make_target(transaction_id_is_payment_guid=True))
    assert sent(envelope, "extName") == "transactionId"
    assert sent(envelope, "extValue") == GUID
    assert sent(envelope, "authorizationCode") == CODE


@pytest.mark.spec("MSP-7")
def test_two_payments_of_one_envelope_never_share_a_transaction_id() -> None:
    target = make_target(transaction_id_is_payment_guid=True, payments_per_envelope=10)
    payments = [make_payment("1", "1", payment_guid="a"), make_payment("2", "2", payment_guid="a")]
    with pytest.raises(Refused, match="same transactionId") as refused:
        connector.write(payments, target)
    assert refused.value.message_id == "2"
    # With approval codes, which may repeat, payments travel alone.
    assert connector.batch_limit("payment", make_target(payments_per_envelope=10)) == 1
    assert connector.batch_limit("payment", target) == 10


@pytest.mark.spec("MSP-6")
@pytest.mark.parametrize(
    ("tender", "element"),
    [("card", "creditCardPayment"), ("ach", "achPayment"), ("echeck", "eCheckPayment"), ("cash", "cashPayment")],
)
def test_each_tender_has_its_element(tender: str, element: str) -> None:
    envelope = connector.write([make_payment(tender=tender)], make_target())
    transaction = body_of(envelope).find(f".//{MSP}paymentTransaction")
    assert transaction is not None
    assert [child.tag for child in transaction] == [f"{MSP}accountNumber", f"{MSP}{element}"]
    assert [child.tag for child in transaction[1][0]] == [
        f"{MSP}extensionsList", f"{MSP}amount", f"{MSP}authorizationCode", f"{MSP}paymentMode",
    ]  # fmt: skip


@pytest.mark.spec("MSP-8")
@pytest.mark.parametrize(
    ("facts", "mode"),
    [
        ({"source": 0}, "WEB"),
        ({"source": 2}, "CSRWEB"),
        ({"source": 2, "tender": "ach"}, "CSRACH"),
        ({"source": 2, "tender": "echeck"}, "CSRACH"),
        ({"source": 8, "tender": "cash"}, "POS"),
        ({"source": 2, "obd": True}, "OBD"),
        ({"source": 0, "obd": True, "tender": "ach"}, "OBD"),
    ],
)
def test_the_payment_mode_comes_from_the_map_of_the_tender_and_the_dialler_is_obd(
    facts: dict[str, Any], mode: str
) -> None:
    target = make_target(card_modes="0(WEB)|2(CSRWEB)|8(POS)", ach_modes="2(CSRACH)")
    envelope = connector.write([make_payment(**facts)], target)
    assert sent(envelope, "paymentMode") == mode
    assert envelope.notes == ()


@pytest.mark.spec("MSP-8")
def test_an_unmapped_source_takes_the_default_mode_and_says_so() -> None:
    target = make_target(card_modes="2(CSRWEB)", default_mode="PORTAL")
    envelope = connector.write([make_payment(source=7)], target)
    assert sent(envelope, "paymentMode") == "PORTAL"
    assert envelope.notes == ("payment source 7 has no mode in setting 64 (cards); sent as PORTAL",)
    envelope = connector.write([make_payment(source=2, tender="ach")], make_target(card_modes="2(CSRWEB)"))
    assert sent(envelope, "paymentMode") == "WEB"
    assert envelope.notes == ("payment source 2 has no mode in setting 65 (ACH); sent as WEB",)


def test_a_kiosk_payment_adds_the_kiosk_id_behind_the_transaction_id_and_others_have_none() -> None:
    items = body_of(connector.write([make_payment(kiosk="BHappy")], make_target())).findall(f".//{MSP}extensionsItem")
    assert [(item[0].text, item[1].text) for item in items] == [("transactionId", CODE), ("billerReference", "BHappy")]
    assert b"billerReference" not in connector.write([make_payment()], make_target()).body


@pytest.mark.spec("MSP-10")
@pytest.mark.parametrize(
    ("amount", "version_1", "version_2"),
    [
        ("232.10", "232.1", "232.10"),
        ("232.1", "232.1", "232.10"),
        ("100.00", "100", "100.00"),
        ("0.05", "0.05", "0.05"),
        ("1000000.01", "1000000.01", "1000000.01"),
        ("999999999999.99", "999999999999.99", "999999999999.99"),
        ("1200", "1200", "1200.00"),
    ],
)
def test_amounts_are_shortest_in_version_1_and_two_places_in_version_2(
    amount: str, version_1: str, version_2: str
) -> None:
    for options, expected in (
        ({}, version_1),
        ({"service_version": 1}, version_1),
        ({"service_version": "2"}, version_2),
        ({"service_version": 2}, version_2),
    ):
        assert sent(connector.write([make_payment(amount=amount)], make_target(**options)), "amount") == expected


@given(st.decimals(min_value="0.01", max_value="999999999999.99", places=2), st.sampled_from([1, 2]))
def test_an_amount_written_is_the_amount(amount: Decimal, version: int) -> None:
    assert Decimal(amount_text(amount, version)) == amount


@pytest.mark.spec("MSP-13")
@pytest.mark.parametrize(("enrolled", "value"), [(True, "Y"), (False, "N")])
def test_paperless_is_the_sample(enrolled: bool, value: str) -> None:
    envelope = connector.write([make_paperless(enrolled)], make_target())
    expected = sample(
        HEADER,
        f'<ModifyCBDataForCustomer xmlns="{NS}"><customerData><customer objectID="1001">'
        "<extensionsList><extensionsItem>"
        f"<extName>EBILL</extName><extValue>{value}</extValue><extType>double</extType>"
        "</extensionsItem></extensionsList></customer></customerData></ModifyCBDataForCustomer>",
    )
    assert canonical(envelope.body) == canonical(expected)
    assert envelope.headers["SOAPAction"] == f'"{NS}/ModifyCBDataForCustomer"'


@pytest.mark.spec("MSP-13")
def test_the_type_of_the_ebill_extension_can_be_set() -> None:
    envelope = connector.write([make_paperless(True)], make_target(ebill_extension_type="string"))
    assert sent(envelope, "extType") == "string"


@pytest.mark.spec("MSP-14")
@pytest.mark.parametrize(
    ("enrolled", "at", "log_time", "comment"),
    [
        (True, datetime(2020, 8, 6, 5, 1, 32, tzinfo=UTC), "2020-08-06T00:01:32-05:00", "AUTOPAY ON"),
        (False, datetime(2020, 12, 6, 19, 1, 32, 999999, tzinfo=UTC), "2020-12-06T13:01:32-06:00", "AUTOPAY OFF"),
    ],
)
def test_autopay_is_the_sample_at_the_billers_time(enrolled: bool, at: datetime, log_time: str, comment: str) -> None:
    envelope = connector.write([make_autopay(enrolled, at)], make_target())
    expected = sample(
        HEADER,
        f'<ns1:WriteAccountHistoryComments xmlns:ns1="{NS}"><ns1:comments><ns1:historyComment>'
        "<ns1:customerID>1001</ns1:customerID><ns1:serviceLocationID>321045080002</ns1:serviceLocationID>"
        f"<ns1:logTime>{log_time}</ns1:logTime><ns1:comment>{comment}</ns1:comment>"
        "</ns1:historyComment></ns1:comments></ns1:WriteAccountHistoryComments>",
    )
    assert canonical(envelope.body) == canonical(expected)
    assert envelope.headers["SOAPAction"] == f'"{NS}/WriteAccountHistoryComments"'


@pytest.mark.spec("MSP-15")
@pytest.mark.parametrize(
    ("message", "comment"),
    [
        (make_scheduled("scheduled"), "SCHED_PAY 08152024 156.25 121940013401"),
        (
            make_scheduled("scheduled", on="2025-01-01", amount="15075.25"),
            "SCHED_PAY 01012025 15075.25 121940013401",
        ),
        (make_scheduled("changed", amount="150.5"), "SCHED_PAY_UPDT 08152024 150.50 121940013401"),
        (make_scheduled("cancelled", amount="7"), "SCHED_PAY_CNCL 08152024 7.00 121940013401"),
        (make_scheduled("scheduled", invoice="I" * 44), f"SCHED_PAY 08152024 156.25 {'I' * 44}"),
    ],
)
def test_a_scheduled_payment_is_the_sample(message: Message, comment: str) -> None:
    envelope = connector.write([message], make_target())
    expected = sample(
        HEADER,
        f'<ns1:WriteAccountHistoryComments xmlns:ns1="{NS}"><ns1:comments><ns1:historyComment>'
        "<ns1:customerID>1001</ns1:customerID><ns1:serviceLocationID>321045080002</ns1:serviceLocationID>"
        f"<ns1:logTime>2026-11-22T09:08:45-06:00</ns1:logTime><ns1:comment>{comment}</ns1:comment>"
        "</ns1:historyComment></ns1:comments></ns1:WriteAccountHistoryComments>",
    )
    assert canonical(envelope.body) == canonical(expected)
    assert len(comment) <= 70
    # The service version is about payments: this amount has two places in both.
    second = connector.write([message], make_target(service_version=2))
    assert sent(second, "comment") == comment


@pytest.mark.spec("MSP-15")
@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"invoice": "I" * 45}, "71 characters, 70 at most"),
        ({"invoice": " "}, "names no bill"),
        ({"amount": "0"}, "not a sum above zero"),
        ({"amount": "1,000.00"}, "not a sum above zero"),
        ({"on": "08/15/2024"}, "on which day"),
        ({"status": "made"}, "what became of"),
        ({"service_location": ""}, "no service location"),
    ],
)
def test_a_scheduled_payment_that_cannot_be_said_is_refused(facts: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refused, match=reason) as refused:
        connector.write([make_scheduled(**{"status": "scheduled", **facts})], make_target())
    assert refused.value.message_id == "4"


@pytest.mark.spec("MSP-14")
@pytest.mark.parametrize("location", ["", "  "])
def test_autopay_without_a_service_location_is_refused(location: str) -> None:
    with pytest.raises(Refused, match="no service location"):
        connector.write([make_autopay(True, location=location)], make_target())


def test_header_fields_and_operation_names_are_the_billers() -> None:
    target = make_target(
        header={"Company": "Ratepayer & Sons", "AppName": "Ratepayer", "AppVersion": "1.0", "Version": "3.0"},
        operations={
            "ModifyCBDataForCustomer": {"element": "ModifyCustomer"},
            "PingURL": {"soap_action": "urn:ping"},
        },
    )
    envelope = connector.write([make_paperless(True)], target)
    header = body_of(envelope)[0][0]
    assert {str(name): str(value) for name, value in header.attrib.items()} == {
        "UserID": "asProvided", "Pwd": "asProvided", "Company": "Ratepayer & Sons",
        "AppName": "Ratepayer", "AppVersion": "1.0", "Version": "3.0",
    }  # fmt: skip
    assert body_of(envelope)[1][0].tag == f"{MSP}ModifyCustomer"
    assert envelope.headers["SOAPAction"] == f'"{NS}/ModifyCustomer"'
    assert connector.write_ping(target).headers["SOAPAction"] == '"urn:ping"'
    assert body_of(connector.write_ping(target))[1][0].tag == f"{MSP}PingURL"


# ---- held against zeep and the XSD


# Characters that XML can carry, with those that want escaping well represented.
texts = st.text(
    st.one_of(
        st.sampled_from("&<>\"' \t\n\r]]>é€\u2028\ufffd𝄞"),
        st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"),
    ),
    min_size=1,
    max_size=30,
).filter(lambda text: text.strip() != "" and all(ord(c) not in (0xFFFE, 0xFFFF) for c in text))
amounts = st.decimals(min_value="0.01", max_value="999999999999.99", places=2)
EARLIEST, LATEST = datetime(1990, 1, 1), datetime(2100, 1, 1)  # noqa: DTZ001  # hypothesis adds the zone
payments = st.builds(
    lambda amount, tender, code, guid, source, obd, kiosk: {
        "amount": str(amount), "currency": "USD", "tender": tender, "approval_code": code, "payment_guid": guid,
        "source": source, "obd": obd, "kiosk": kiosk,
    },
    amounts, st.sampled_from(["card", "ach", "echeck", "cash"]), texts, texts, st.integers(0, 9), st.booleans(),
    st.one_of(st.just(""), texts),
)  # fmt: skip
enrolments = st.fixed_dictionaries({"enrolled": st.booleans(), "service_location": texts})
schedules = st.fixed_dictionaries(
    {
        "status": st.sampled_from(["scheduled", "changed", "cancelled"]),
        "on": st.dates(EARLIEST.date(), LATEST.date()).map(str),
        "amount": amounts.map(str),
        "invoice": texts.map(lambda text: text[:20]).filter(str.strip),
        "service_location": texts,
    }
)
options = st.fixed_dictionaries(
    {
        "service_version": st.sampled_from([1, 2]),
        "transaction_id_is_payment_guid": st.booleans(),
        "ebill_extension_type": st.sampled_from(["double", "string", "boolean"]),
    },
    optional={
        "header": st.dictionaries(st.sampled_from(["Company", "AppName", "AppVersion", "Version"]), texts, max_size=4),
        "card_modes": st.just("0(WEB)|2(CSR & WEB)"),
        "ach_modes": st.just("1(<EFT>)"),
        "payments_per_envelope": st.integers(1, 5),
    },
)
schema = xmlschema.XMLSchema(str(definitions.XSD))


@st.composite
def conversations(draw: st.DrawFn) -> tuple[list[Message], Target]:
    target = Target(
        url="https://cis.example/CB", username=draw(texts), password=draw(texts),
        time_zone=draw(st.sampled_from(["America/New_York", "America/Phoenix", "Asia/Kathmandu", "UTC"])),
        options=draw(options),
    )  # fmt: skip
    kind = draw(st.sampled_from(["payment", "paperless", "autopay", "scheduled"]))
    most = connector.batch_limit(kind, target)
    accounts = draw(st.lists(texts, min_size=1, max_size=most, unique=True))
    made = [
        Message(
            id=str(position), kind=kind, account=account,
            occurred_at=draw(st.datetimes(EARLIEST, LATEST, timezones=st.just(UTC))),
            facts=draw({"payment": payments, "scheduled": schedules}.get(kind, enrolments)),
        )
        for position, account in enumerate(accounts)
    ]  # fmt: skip
    return made, target


@settings(deadline=None, max_examples=150)
@given(conversations())
def test_prepared_envelopes_are_what_zeep_builds_and_valid(conversation: tuple[list[Message], Target]) -> None:
    messages, target = conversation
    if messages[0].kind == "payment":
        assume(len({message.facts["payment_guid"] for message in messages}) == len(messages))
    envelope = connector.write(messages, target)
    built = definitions.build(*definitions.arguments(messages, target), target)
    assert canonical(envelope.body) == canonical(etree.tostring(built))
    assert envelope.masked in ("", connector.mask(envelope.body))
    assert connector.write(messages, dataclasses.replace(target)).body == envelope.body
    header, content = body_of(envelope)[0][0], body_of(envelope)[1][0]
    schema.validate(header)
    schema.validate(content)


def test_the_ping_is_what_zeep_builds() -> None:
    target = make_target()
    built = definitions.build("PingURL", {}, target)
    assert canonical(connector.write_ping(target).body) == canonical(etree.tostring(built))


def test_the_wsdl_declares_the_six_operations_with_both_soap_versions() -> None:
    service = definitions.client().wsdl.services["CB_Server"]
    assert {
        (port, name, operation.soapaction)
        for port, made in service.ports.items()
        for name, operation in made.binding._operations.items()
    } == {
        (port, name, f"{NS}/{name}")
        for port in ("CB_ServerSoap", "CB_ServerSoap12")
        for name in (
            "CommitPaymentTransaction", "ModifyCBDataForCustomer", "WriteAccountHistoryComments",
            "GetPayableItemsList", "PingURL", "GetMethods",
        )
    }  # fmt: skip


# ---- what cannot be said


@pytest.mark.parametrize("character", ["\x00", "\x08", "\x0b", "\x1f", "\ud800", "\ufffe", "\uffff"])
def test_characters_that_xml_cannot_carry_are_refused_and_never_dropped(character: str) -> None:
    bad = f"1{character}2"
    for message in (
        make_payment(bad),
        make_payment(approval_code=bad),
        make_payment(kiosk=bad),
        dataclasses.replace(make_paperless(True), account=bad),
        make_autopay(True, location=bad),
    ):
        with pytest.raises(Refused, match="cannot carry") as refused:
            connector.write([message], make_target())
        assert refused.value.message_id == message.id
    for target in (
        dataclasses.replace(make_target(), password=bad),
        make_target(header={"Company": bad}),
        make_target(default_mode=bad),
    ):
        with pytest.raises(Misconfigured, match="cannot carry"):
            connector.write([make_paperless(True)], target)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"amount": "0.00"}, "amount"),
        ({"amount": "-1.00"}, "amount"),
        ({"amount": "1.005"}, "amount"),
        ({"amount": "NaN"}, "amount"),
        ({"amount": "1e3"}, "amount"),
        ({"amount": "١.00"}, "amount"),
        ({"amount": ""}, "amount"),
        ({"approval_code": ""}, "approval code"),
        ({"approval_code": "  "}, "approval code"),
        ({"approval_code": None}, "approval code"),
        ({"tender": "bitcoin"}, "bitcoin"),
    ],
)
def test_a_payment_that_lacks_something_is_refused_with_what(facts: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refused, match=reason) as refused:
        connector.write([make_payment(id="77", **facts)], make_target())
    assert refused.value.message_id == "77"


def test_a_payment_without_its_guid_is_refused_where_the_guid_is_its_identity() -> None:
    with pytest.raises(Refused, match="GUID"):
        connector.write([make_payment(payment_guid="")], make_target(transaction_id_is_payment_guid=True))


def test_messages_without_an_account_or_of_a_strange_kind_are_refused() -> None:
    with pytest.raises(Refused, match="account number"):
        connector.write([make_payment("  ")], make_target())
    with pytest.raises(Refused, match="carrier pigeon"):
        connector.write([dataclasses.replace(make_payment(), kind="carrier pigeon")], make_target())


def test_a_caller_that_mixes_or_overfills_an_envelope_is_told() -> None:
    target = make_target(transaction_id_is_payment_guid=True, payments_per_envelope=2)
    one, two = make_payment("1", "1", payment_guid="a"), make_payment("2", "2", payment_guid="b")
    for messages in ([], [one, make_paperless(True)], [one, two, make_payment("3", "3", payment_guid="c")]):
        with pytest.raises(ValueError, match="envelope"):
            connector.write(messages, target)
    with pytest.raises(ValueError, match="one message of an account"):
        connector.write([one, make_payment("1", "2", payment_guid="b")], target)
    with pytest.raises(ValueError, match="time zone"):
        connector.write([make_autopay(True, NOW.replace(tzinfo=None))], target)
    assert connector.write([one, two], target).message_ids == ("1", "2")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"url": "cis.example"}, "address"),
        ({"url": ""}, "address"),
        ({"username": ""}, "user name"),
        ({"password": ""}, "password"),
        ({"time_zone": "Mars/Olympus"}, "Mars/Olympus"),
        ({"time_zone": "../etc/passwd"}, "time zone"),
        ({"options": {"service_version": 3}}, "service_version"),
        ({"options": {"service_version": True}}, "service_version"),
        ({"options": {"servce_version": 1}}, "servce_version"),
        ({"options": {"card_modes": "0(WEB)|2"}}, "entry 2"),
        ({"options": {"card_modes": 7}}, "card_modes"),
        ({"options": {"default_mode": ""}}, "default_mode"),
        ({"options": {"transaction_id_is_payment_guid": "yes"}}, "transaction_id_is_payment_guid"),
        ({"options": {"ebill_extension_type": "<x>"}}, "ebill_extension_type"),
        ({"options": {"payments_per_envelope": 0}}, "payments_per_envelope"),
        ({"options": {"payments_per_envelope": 101}}, "payments_per_envelope"),
        ({"options": {"header": {"Pwd": "x"}}}, "header"),
        ({"options": {"operations": {"DropTables": {}}}}, "DropTables"),
        ({"options": {"operations": {"PingURL": {"element": "a b"}}}}, "XML name"),
        ({"options": {"operations": {"PingURL": {"soap_action": 'x"\r\nHost: evil'}}}}, "SOAPAction"),
    ],
)
def test_a_target_that_is_set_up_wrong_is_said_to_be(change: dict[str, Any], reason: str) -> None:
    target = dataclasses.replace(make_target(), **change)
    with pytest.raises(Misconfigured, match=reason):
        connector.write([make_paperless(True)], target)


# ---- settings 64 and 65


@pytest.mark.spec("MSP-8")
def test_mode_maps_are_read_as_the_settings_write_them() -> None:
    assert parse_modes("0(WEB)|2(CSRWEB)|8(POS)") == {0: "WEB", 2: "CSRWEB", 8: "POS"}
    assert parse_modes(" 0 ( WEB ) | 12(Pay by text)") == {0: "WEB", 12: "Pay by text"}
    assert parse_modes("") == parse_modes("  ") == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0(WEB)|", "entry 2"),
        ("WEB", "entry 1"),
        ("0()", "entry 1"),
        ("0(WEB)2(X)", "entry 1"),
        ("0(WEB);2(X)", "entry 1"),
        ("-1(WEB)", "entry 1"),
        ("٣(WEB)", "entry 1"),
        ("0(WEB)|2(A)|0(POS)", "entry 3: payment source 0 stands there twice"),
    ],
)
def test_a_mode_map_that_cannot_be_read_says_where(text: str, reason: str) -> None:
    with pytest.raises(BadOption, match=reason):
        parse_modes(text)


@given(st.text(alphabet="0123456789()| aZ\x00٣", max_size=40))
def test_any_text_is_a_mode_map_or_refused(text: str) -> None:
    try:
        modes = parse_modes(text)
    except BadOption:
        return
    assert parse_modes("|".join(f"{source}({code})" for source, code in modes.items())) == modes


# ---- masks


secrets = st.text("&<>\"'ABCxyz=;é0123456789", min_size=4, max_size=20).map(lambda text: f"§{text}§")


@settings(max_examples=200)
@given(secrets, secrets, st.integers(0, 2000), st.booleans())
def test_no_credential_survives_a_mask_however_it_is_cut_or_echoed(
    user: str, password: str, cut: int, escaped: bool
) -> None:
    target = dataclasses.replace(make_target(), username=user, password=password)
    body = connector.write([make_payment()], target).body
    if escaped:  # as a Fault repeats a request
        body = body.replace(b"&", b"&amp;").replace(b"<", b"&lt;").replace(b">", b"&gt;").replace(b'"', b"&quot;")
    masked = connector.mask(body[:cut])
    assert "§" not in masked
    whole = connector.mask(body)
    assert "35909001" in whole and CODE in whole and "§" not in whole


@pytest.mark.parametrize(
    "body",
    [
        b"<x UserID = 'SECRET1' Pwd='SECRET2'/>",
        b'<x userid="SECRET1" PWD="SECRET2"/>',
        b"&lt;x UserID=&quot;SECRET1&quot; Pwd=&#34;SECRET2&#34;/&gt;",
        b"<wsse:Username>u</wsse:Username><wsse:Password Type='t'>SECRET2</wsse:Password>",
        b"&lt;Pwd&gt;SECRET2&lt;/Pwd&gt;",
        b"<faultstring>password 'SECRET2' is wrong</faultstring>",
        b"<faultstring>Pwd: SECRET2</faultstring>",
        '<x Pwd="SECRET2"/>'.encode("utf-16"),
        '<x Pwd="SECRET2"/>'.encode("utf-16-le"),
        b"<creditCardInfo><name>SECRET</name></creditCardInfo>",
        b"<m:cardNumber>SECRET</m:cardNumber><cvv2>SECRET</cvv2>",
    ],
)
def test_credentials_in_other_dress_are_masked(body: bytes) -> None:
    assert "SECRET" not in connector.mask(body)


def test_long_numbers_with_a_cards_check_digit_keep_their_last_four_and_others_stay() -> None:
    # Put together here, so that no text of ours holds such a number.
    zeros = "0" * 11
    text = f"<a>1000{zeros}8</a><b>1000 {'0000-' * 2}0008</b><c>1000{zeros}9</c><d>321045080002</d><e>{GUID}</e>"
    assert connector.mask(text.encode()) == (
        f"<a>••••••••0008</a><b>••••••••0008</b><c>1000{zeros}9</c><d>321045080002</d><e>{GUID}</e>"
    )


@given(st.binary(max_size=300))
def test_any_bytes_can_be_kept(body: bytes) -> None:
    masked = connector.mask(body)
    masked.encode("utf-8")
    assert "\x00" not in masked


numbers = st.from_regex(r"[0-9]{3}[0-9 -]{0,20}", fullmatch=True)
told = st.lists(
    st.one_of(
        numbers,
        st.uuids().map(str),
        st.sampled_from(["4111111111111111", "4111-1111-1111-1111", "password", "User", "cvv", "card", "&lt;Pwd"]),
        st.sampled_from(['"', "é", "=", "|"]),
    ),
    min_size=1,
    max_size=3,
).map(" ".join)  # fmt: skip


@given(told, told, told, st.sampled_from(["ratepayer", "a user", "4111111111111111"]), told)
def test_an_envelope_masked_while_it_is_written_is_masked_as_a_whole(
    account: str, approval_code: str, guid: str, username: str, company: str
) -> None:
    target = dataclasses.replace(make_target(transaction_id_is_payment_guid=True, header={"Company": company}))
    target = dataclasses.replace(target, username=username)
    message = make_payment(account, approval_code=approval_code, payment_guid=guid, kiosk=approval_code)
    envelope = connector.write([message], target)
    assert envelope.masked in ("", connector.mask(envelope.body))


def test_a_usual_envelope_is_masked_while_it_is_written() -> None:
    envelope = connector.write([make_payment(approval_code="A01 - Approved")], make_target())
    assert envelope.masked == connector.mask(envelope.body)
    assert masking.DOTS in envelope.masked


@given(st.lists(st.one_of(told, st.text("<>/=\"' \n\x07", max_size=3)), max_size=6).map("".join))
def test_a_plain_body_is_one_that_needs_no_mask(text: str) -> None:
    if masking.is_plain(text.encode()):
        assert masking.mask_text(text) == text


def test_a_huge_body_is_cut() -> None:
    assert len(connector.mask(b"x" * 5_000_000)) < 70_000


def test_the_offset_of_the_log_time_is_the_zones_also_for_other_offsets() -> None:
    at = NOW.astimezone(timezone(timedelta(hours=9)))
    assert sent(connector.write([make_autopay(True, at)], make_target()), "logTime") == "2026-11-22T09:08:45-06:00"
