"""SMPP against a message centre that others wrote: what goes out, what comes in, and connections that break."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sms import segments
from sms.providers.base import (
    REMEDIES,
    Accepted,
    Action,
    Inbound,
    Listener,
    Lost,
    Managed,
    Misconfigured,
    NotAuthentic,
    NotSent,
    OutcomeUnknown,
    Outgoing,
    Rejected,
    Remedy,
    Status,
    StatusReport,
    Webhook,
)
from sms.providers.listening import keep_listening
from sms.providers.smpp import parts
from sms.providers.smpp import provider as smpp
from tests.message_centre import ACCOUNT, Ear, MessageCentre, listening

LINE = "+12065550100"
PHONE = "+12065550177"
OTHER = "+12065550178"
HALF_HOUR = timedelta(minutes=30)


@pytest.fixture(scope="module")
def the_centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MessageCentre]:
    with MessageCentre(tmp_path_factory.mktemp("centre")) as centre:
        yield centre


@pytest.fixture
def centre(the_centre: MessageCentre) -> MessageCentre:
    the_centre.ask("hangup", how="destroy")
    the_centre.wait(lambda book: not book["sessions"])
    the_centre.ask("reset")
    return the_centre


def send(provider: Listener, *bodies: str, **changes: Any) -> list[Accepted | Rejected | Lost]:
    values = {"sender": LINE, "recipient": PHONE, **changes}
    results = list(
        provider.send([Outgoing(f"key-{place:02d}", body=body, **values) for place, body in enumerate(bodies)])
    )
    return sorted(results, key=lambda result: result.key)


def accepted(result: Accepted | Rejected | Lost) -> Accepted:
    assert isinstance(result, Accepted), result
    return result


def bodies_of(heard: list[Inbound | StatusReport]) -> list[str]:
    assert all(isinstance(one, Inbound) for one in heard)
    return [one.body for one in heard if isinstance(one, Inbound)]


# What goes out

LONG = [
    ("Pay by text. " * 30, "GSM-7", 3),
    ("x" * 152 + "€" * 77, "GSM-7", 3),
    ("Your bill – thanks! 🛑" * 12, "UCS-2", 4),
    ("y" * 66 + "🛑" * 40, "UCS-2", 3),
]


@pytest.mark.parametrize("payload", [False, True])
def test_a_long_text_goes_in_the_parts_that_were_counted_and_arrives_whole(
    centre: MessageCentre, payload: bool
) -> None:
    provider = centre.provider(payload=payload, concurrency=3)
    results = send(provider, *[body for body, _, _ in LONG], "short", "ñandú {€}")
    provider.close()
    taken = {text["body"]: text for text in centre.ask("book")["taken"]}
    for (body, encoding, count), result in zip([*LONG, ("short", "GSM-7", 1)], results, strict=False):
        text = taken[body]
        counted = segments.count(body)
        assert (counted.encoding, counted.segments, accepted(result).segments) == (encoding, count, count)
        assert text["coding"] == (8 if encoding == "UCS-2" else 0)
        assert text["payload"] == (payload and count > 1)
        assert text["parts"] == (1 if payload else count)
        # The name under which receipts come is the last part's, and only that one is asked a receipt for.
        assert text["id"] == accepted(result).provider_id
        assert text.get("receipts", [text["receipt"]]) == [0] * (text["parts"] - 1) + [1]
        if text["parts"] > 1:
            # npm's smpp counts a string in UTF-16 units, as UCS-2 does.
            sent = segments.parts(body, counted.encoding)
            assert text["sizes"] == [len(part.encode("utf-16-be")) // 2 for part in sent]
    assert taken["ñandú {€}"]["coding"] == 8, "ú is not in GSM-7"
    assert centre.ask("book")["halves"] == 0
    assert centre.wait(lambda book: not book["sessions"])["sessions"] == [], "it unbound"


def test_the_fields_of_a_text_are_as_options_say(centre: MessageCentre) -> None:
    plain, latin = centre.provider(), centre.provider(charset="latin-1", short_code_ton=6, short_code_npi=1)
    send(plain, "à la carte Δ", sender="72345", valid_for=timedelta(days=2, hours=3, minutes=4, seconds=5))
    send(plain, "any sender", sender="", valid_for=timedelta(days=90))
    centre.ask("set", charset="LATIN1")
    send(latin, "caña £", sender="72345")
    send(latin, "Δ €")
    book = centre.ask("book")
    by_code, any_sender, in_latin, too_greek = book["taken"]
    assert (by_code["from"], by_code["to"], by_code["tons"], by_code["body"]) == (
        "72345",
        PHONE[1:],
        [3, 1],
        "à la carte Δ",
    )
    assert (any_sender["from"], any_sender["tons"]) == ("", [0, 1])
    # npm's smpp reads the time from now as a moment.
    for text, days in ((by_code, timedelta(days=2, hours=3, minutes=4, seconds=5)), (any_sender, timedelta(days=28))):
        ends = datetime.fromisoformat(text["validity"])
        assert abs(ends - datetime.now(tz=UTC) - days) < timedelta(seconds=30)
    assert (in_latin["coding"], in_latin["body"], in_latin["tons"]) == (0, "caña £", [6, 1])
    assert (too_greek["coding"], too_greek["body"]) == (8, "Δ €")
    assert book["binds"] == [["bind_transmitter", ACCOUNT]] * 2, "one connection serves many texts"


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=400), charset=st.sampled_from(parts.CHARSETS))
def test_what_is_encoded_is_read_back_and_no_part_is_too_long(text: str, charset: str) -> None:
    coding, pieces = parts.encode(text, charset)
    assert parts.decode(b"".join(pieces), coding, charset) == text
    room = 140 if charset == "utf-8" else 134 if coding == parts.UCS2 else 153
    if len(pieces) > 1:
        assert max(map(len, pieces)) <= room or charset == "utf-8"
        assert len(pieces) == segments.count(text).segments or coding == parts.UCS2
    headed = parts.with_headers(pieces, 300)
    assert [header[:6] for header in headed] == [
        bytes([5, 0, 3, 44, len(pieces), number]) for number in range(1, len(pieces) + 1)
    ]


def test_refusals_lead_to_our_actions(centre: MessageCentre) -> None:
    provider = centre.provider(codes={"0x00000412": "unsubscribed"})
    rejected = {
        0x0B: Remedy(Action.MARK_NUMBER_BAD),  # ESME_RINVDSTADR
        0x50: Remedy(Action.MARK_NUMBER_BAD),
        0x51: Remedy(Action.MARK_NUMBER_BAD),
        0x45: Remedy(Action.ALERT_BILLER),  # ESME_RSUBMITFAIL
        0x412: Remedy(Action.REVOKE_CONSENT),
        0x413: Remedy(Action.ALERT_BILLER),  # nobody knows it
    }
    for status, remedy in rejected.items():
        centre.ask("set", refusals={PHONE: status})
        (result,) = send(provider, "Bill")
        assert isinstance(result, Rejected)
        assert (result.code, REMEDIES[result.reason]) == (f"0x{status:08X}", remedy)
    lost: dict[int, type[Exception]] = {
        0x58: NotSent, 0x14: NotSent, 0x64: NotSent,  # throttled, queue full, for now
        0x0A: Misconfigured, 0x48: Misconfigured, 0x15: Misconfigured,
        0x08: OutcomeUnknown, 0xFF: OutcomeUnknown,
    }  # fmt: skip
    for status, error in lost.items():
        centre.ask("set", refusals={PHONE: status})
        (result,) = send(provider, "Bill")
        assert isinstance(result, Lost)
        assert type(result.error) is error, hex(status)
    assert centre.ask("book")["taken"] == []


def test_throttling_backs_off_and_a_pace_avoids_it(centre: MessageCentre) -> None:
    centre.ask("set", perSecond=5)
    hasty = centre.provider(concurrency=2)
    results = send(hasty, *[f"text {place}" for place in range(12)])
    taken = [text["body"] for text in centre.ask("book")["taken"]]
    assert [f"text {place}" for place, result in enumerate(results) if isinstance(result, Accepted)] == sorted(taken)
    assert len(taken) == 5
    lost = [result for result in results if isinstance(result, Lost)]
    assert len(lost) == 7
    assert all(isinstance(result.error, NotSent) for result in lost)
    assert centre.ask("book")["throttled"] <= 2, "the rest is not even tried"
    time.sleep(1.0)
    steady = centre.provider(per_second=4.0)
    assert all(isinstance(result, Accepted) for result in send(steady, *"abcdef"))
    assert centre.ask("book")["throttled"] <= 2


def test_a_text_half_taken_is_finished_or_in_doubt_and_never_begun_again(centre: MessageCentre) -> None:
    provider = centre.provider()
    centre.ask("set", fault="rate_limit", after=1)
    (result,) = send(provider, LONG[0][0])
    assert accepted(result).segments == 3
    assert [text["body"] for text in centre.ask("book")["taken"]] == [LONG[0][0]]
    assert centre.ask("book")["submitted"] == 4
    for trouble in ({"refusals": {PHONE: 0x45}}, {"fault": "drop_before"}, {"fault": "error_before"}):
        centre.ask("set", after=1, **trouble)
        (result,) = send(provider, LONG[0][0])
        assert isinstance(result, Lost)
        assert isinstance(result.error, OutcomeUnknown)
        centre.ask("set", refusals={})
    assert len(centre.ask("book")["taken"]) == 1


def test_a_connection_that_was_hung_up_is_made_anew_before_anything_is_sent(
    centre: MessageCentre, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = centre.provider(timeout=0.5)
    accepted(send(provider, "one")[0])
    for how in ("unbind", "destroy"):
        centre.ask("hangup", how=how)
        time.sleep(0.05)  # what was said to us is here by then, and unread
        accepted(send(provider, f"after {how}")[0])
    # One that went silent long ago is asked first, and left.
    monkeypatch.setattr(smpp, "FRESH", 0.0)
    asked = centre.ask("set", mute=True)["enquiries"]
    accepted(send(provider, "after silence")[0])
    book = centre.ask("book")
    assert book["enquiries"] == asked + 1
    assert [text["body"] for text in book["taken"]] == ["one", "after unbind", "after destroy", "after silence"]
    assert len(book["binds"]) == 4


def test_under_tls_the_certificate_is_checked(centre: MessageCentre) -> None:
    secure: dict[str, Any] = {"tls": True, "port": centre.port_tls}
    trusting = centre.provider(**secure, ca_file=str(centre.ca_file))
    trusting.ping()
    accepted(send(trusting, LONG[2][0])[0])
    with listening(trusting) as ear:
        centre.tell(PHONE, LINE, "PAY")
        assert bodies_of(ear.wait_for(1)) == ["PAY"]
    for doubtful in (
        centre.provider(**secure), centre.provider(**secure, ca_file=str(centre.ca_file), host="localhost"),
    ):  # fmt: skip
        with pytest.raises(Misconfigured, match="not to be trusted"):
            doubtful.ping()
    assert [text["body"] for text in centre.ask("book")["taken"]] == [LONG[2][0]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"system_id": ""}, {"system_id": "x" * 16}, {"secret": "longer-than-8"}, {"secret": "ñ"}, {"host": ""},
        {"system_type": "x" * 13}, {"charset": "ebcdic"}, {"hex_ids": "always"}, {"timeout": 0}, {"concurrency": 0},
        {"per_second": -1}, {"country_code": "+1"}, {"ca_file": "/nowhere", "tls": True}, {"codes": {"1": "sunspots"}},
    ],
)  # fmt: skip
def test_an_option_that_cannot_be_is_named(centre: MessageCentre, wrong: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured):
        centre.provider(**wrong)
    assert centre.provider(opt_out=True).managed == Managed(opt_out=True)
    with pytest.raises(NotAuthentic):
        centre.provider().read(Webhook("https://pay.example/texts/1", {}, b"{}"))


# What comes in


def test_texts_in_parts_are_put_together_in_whatever_order_they_come(centre: MessageCentre) -> None:
    stop = "🛑".encode("utf-16-be")
    with listening(centre.provider()) as ear:
        for number in (3, 1, 1, 2):  # one comes twice
            centre.tell(PHONE, LINE, bytes([5, 0, 3, 7, 3, number]) + b"abc"[number - 1 : number], esm_class=0x40)
        # Another phone with the same reference; references of two octets; fields of its own; half an emoji in each part.
        for number in (2, 1):
            centre.tell(OTHER, LINE, bytes([5, 0, 3, 7, 2, number]) + b"%d" % number, esm_class=0x40)
            centre.tell(PHONE, LINE, bytes([6, 8, 4, 1, 7, 2, number]) + b"%d" % number, esm_class=0x40)
            fields = {"sar_msg_ref_num": 7, "sar_total_segments": 2, "sar_segment_seqnum": number}
            centre.tell(PHONE, LINE, b"sar%d" % number, **fields)
            half = stop[2 * number - 2 : 2 * number]
            centre.tell(PHONE, LINE, bytes([5, 0, 3, 9, 2, number]) + half, esm_class=0x40, data_coding=8)
        heard = ear.wait_for(5)
        assert bodies_of(heard) == ["abc", "12", "12", "sar1sar2", "🛑"]
        assert len({one.provider_id for one in heard}) == 5
        # A header that says something else, and one that cannot be: the text is heard as it is.
        centre.tell(PHONE, LINE, bytes([4, 0x24, 2, 1, 1]) + b"other", esm_class=0x40)
        centre.tell(PHONE, LINE, bytes([5, 0, 3, 1, 0, 9]) + b"wrong", esm_class=0x40)
        assert bodies_of(ear.wait_for(7))[5:] == ["other", "wrong"]
        centre.tell(PHONE, LINE, bytes([5, 0, 3, 8, 3, 1]) + b"only the beginning", esm_class=0x40)
        centre.wait(lambda book: all(delivery["done"] for delivery in book["deliveries"]))
        assert len(ear.heard) == 7
    assert bodies_of(ear.heard)[7:] == ["only the beginning"], "what waits when it ends is heard as it is"


def test_what_waits_too_long_for_its_parts_is_heard_as_it_is(
    centre: MessageCentre, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smpp, "PART_WAIT", 0.2)
    with listening(centre.provider()) as ear:
        ear.refuse = 1
        centre.tell(PHONE, LINE, bytes([5, 0, 3, 8, 3, 2]) + b"the middle", esm_class=0x40)
        (heard,) = ear.wait_for(1)
        assert isinstance(heard, Inbound)
        # It was answered long ago, so it is kept until somebody takes it.
        assert (heard.body, ear.refused) == ("the middle", [heard])


@pytest.mark.parametrize(
    ("charset", "coding", "octets", "body", "media"),
    [
        ("gsm7", 0, b"\x1b\x65 \x00 \x7e \x1b\x61", "€ @ ü a", 0),
        ("gsm7", 0, b"\xff\x1b\x1bSTOP", "\ufffd\ufffdSTOP", 0),
        ("latin-1", 0, "¡Qué día!".encode("latin-1"), "¡Qué día!", 0),
        ("utf-8", 0, "día 🛑".encode(), "día 🛑", 0),
        ("gsm7", 1, b"@ plain", "@ plain", 0),
        ("gsm7", 3, "día".encode("latin-1"), "día", 0),
        ("gsm7", 8, "día 🛑".encode("utf-16-be"), "día 🛑", 0),
        ("gsm7", 0xF1, b"\x00 class", "@ class", 0),
        ("gsm7", 4, b"\x89PNG", "", 1),
        ("gsm7", 0xF5, b"\x89PNG", "", 1),
    ],
)
def test_octets_are_read_by_the_coding_and_the_charset_agreed(
    centre: MessageCentre, charset: str, coding: int, octets: bytes, body: str, media: int
) -> None:
    with listening(centre.provider(charset=charset)) as ear:
        centre.tell(PHONE, LINE, octets, data_coding=coding)
        (heard,) = ear.wait_for(1)
    assert isinstance(heard, Inbound)
    assert (heard.body, heard.media, heard.acted_on) == (body, media, None)


def test_numbers_come_in_e164_and_strangers_not_at_all(centre: MessageCentre) -> None:
    with listening(centre.provider()) as ear:
        for source, ton, target in (
            ("AMAZON", 5, LINE[1:]), ("12065550177", 1, "72345"), ("+12065550177", 0, LINE), ("2065550177", 2, "2065550100"),
            ("2065550177", 0, "12065550100"), ("447700900123", 0, LINE[1:]), ("12065550177", 1, ""),
        ):  # fmt: skip
            centre.tell(source, target, "PAY", source_addr_ton=ton, dest_addr_ton=0, destination_addr=target)
        centre.tell(PHONE, LINE, "last")
        heard = ear.wait_for(6)
    assert [(one.sender, one.recipient) for one in heard if isinstance(one, Inbound)] == [
        (PHONE, "72345"), (PHONE, LINE), (PHONE, LINE), (PHONE, LINE), ("+447700900123", LINE), (PHONE, LINE),
    ]  # fmt: skip
    assert all(delivery["statuses"] == [0] for delivery in centre.ask("book")["deliveries"])


def test_receipts_lead_to_our_statuses_and_actions(centre: MessageCentre) -> None:
    told: list[tuple[str, str, dict[str, Any], Status, str, Remedy | None]] = [
        ("DELIVRD", "000", {}, Status.DELIVERED, "", None),
        ("ENROUTE", "000", {}, Status.SENDING, "", None),
        ("ACCEPTD", "000", {}, Status.SENT, "", None),
        ("DELETED", "000", {}, Status.CANCELED, "", None),
        ("EXPIRED", "000", {}, Status.UNDELIVERED, "EXPIRED:000", Remedy(Action.GIVE_UP)),
        ("REJECTD", "000", {}, Status.FAILED, "REJECTD:000", Remedy(Action.ALERT_BILLER)),
        ("UNDELIV", "001", {}, Status.UNDELIVERED, "UNDELIV:001", Remedy(Action.SUSPEND_NUMBER)),
        ("UNDELIV", "11", {}, Status.UNDELIVERED, "UNDELIV:011", Remedy(Action.MARK_NUMBER_BAD)),
        ("UNDELIV", "013", {}, Status.UNDELIVERED, "UNDELIV:013", Remedy(Action.SUSPEND_NUMBER, after=2)),
        ("UNDELIV", "021", {}, Status.UNDELIVERED, "UNDELIV:021", Remedy(Action.SUSPEND_NUMBER)),
        ("UNDELIV", "027", {}, Status.UNDELIVERED, "UNDELIV:027", Remedy(Action.RETRY, retries=3, apart=HALF_HOUR)),
        ("UNDELIV", "999", {}, Status.UNDELIVERED, "UNDELIV:999", Remedy(Action.RETRY, retries=1, apart=HALF_HOUR)),
        ("UNDELIV", "34", {}, Status.UNDELIVERED, "UNDELIV:034", Remedy(Action.STOP_SENDING)),
        ("UNDELIV", "088", {}, Status.UNDELIVERED, "UNDELIV:088", Remedy(Action.ALERT_BILLER)),
        # Fields of their own go before what the text says; 3 is the GSM network.
        ("DELIVRD", "000", {"message_state": 5, "network_error_code": "\x03\x00\x1b"},
         Status.UNDELIVERED, "UNDELIV:027", Remedy(Action.RETRY, retries=3, apart=HALF_HOUR)),
    ]  # fmt: skip
    provider = centre.provider(codes={"UNDELIV:034": "unregistered", "088": "filtered"})
    with listening(provider) as ear:
        centre.receipt("777", "UNKNOWN")
        centre.ask("deliver", fields={"esm_class": 4, "short_message": "what is this"})
        for place, (state, error, fields, *_) in enumerate(told):
            centre.receipt(f"id{place}", state, error, **fields)
        heard = ear.wait_for(len(told))
        centre.receipt("in the text", "DELIVRD", receipted_message_id="in-a-field")
        named = ear.wait_for(len(told) + 1)[-1]
    for place, (report, (*_, status, code, remedy)) in enumerate(zip(heard, told, strict=True)):
        assert isinstance(report, StatusReport)
        assert (report.provider_id, report.status, report.code, report.key) == (f"id{place}", status, code, "")
        assert (REMEDIES[report.reason] if report.reason else None) == remedy
    assert named.provider_id == "in-a-field"
    assert all(delivery["statuses"] == [0] for delivery in centre.ask("book")["deliveries"])


@pytest.mark.parametrize("where", ["answers", "receipts"])
def test_names_are_the_same_however_the_message_centre_writes_them(centre: MessageCentre, where: str) -> None:
    provider = centre.provider(hex_ids=where)
    centre.ask("set", hexIds=where == "answers")
    name = accepted(send(provider, "Bill")[0]).provider_id
    assert name.isdigit()
    with listening(provider) as ear:
        centre.receipt(name if where == "answers" else f"{int(name):X}", "DELIVRD")
        (report,) = ear.wait_for(1)
    assert report.provider_id == name


# Connections that break


def test_what_was_not_taken_is_told_again_under_the_same_name(centre: MessageCentre) -> None:
    with listening(centre.provider()) as ear:
        ear.refuse = 2
        centre.tell(PHONE, LINE, "PAY")
        (heard,) = ear.wait_for(1)
        assert ear.refused == [heard, heard]
        centre.tell(PHONE, LINE, "PAY")  # meant
        again = ear.wait_for(2)[1]
        assert again.provider_id != heard.provider_id
        assert centre.wait(lambda book: book["deliveries"][1]["done"])["deliveries"] == [
            {"done": True, "attempts": 3, "statuses": [0x64, 0x64, 0]}, {"done": True, "attempts": 1, "statuses": [0]},
        ]  # fmt: skip
        # A name that the message centre gives goes before ours.
        centre.tell(PHONE, LINE, "PAY", receipted_message_id="theirs-1")
        assert ear.wait_for(3)[2].provider_id == "theirs-1"


def test_an_answer_that_was_lost_makes_no_second_text(centre: MessageCentre) -> None:
    class Deaf(Ear):
        """Loses the line while it takes the first thing that it hears."""

        def __call__(self, told: Inbound | StatusReport) -> bool:
            taken = super().__call__(told)
            if len(self.heard) == 1:
                centre.ask("hangup", how="destroy")
            return taken

    ear, stopping, provider = Deaf(), threading.Event(), centre.provider()
    thread = threading.Thread(
        target=keep_listening, args=(provider, ear), kwargs={"stopping": stopping, "shortest": 0.05, "longest": 0.2}
    )
    thread.start()
    try:
        centre.tell(PHONE, LINE, "PAY")
        first, second = ear.wait_for(2)
        assert first == second, "it is told again, and known by its name"
        centre.tell(PHONE, LINE, "PAY")
        assert ear.wait_for(3)[2].provider_id != first.provider_id, "said again it is meant"
    finally:
        stopping.set()
        thread.join(10)


def test_the_link_is_watched_and_made_anew(centre: MessageCentre) -> None:
    provider = centre.provider(enquire_every=0.1, timeout=0.3)
    with listening(provider) as ear:
        centre.wait(lambda book: book["enquiries"] >= 2)
        centre.ask("enquire")  # answered, or this would not end
        for how in ("unbind", "destroy"):
            centre.wait(lambda book: book["sessions"] == ["bind_receiver"])
            centre.ask("hangup", how=how)
            centre.tell(PHONE, LINE, f"after {how}")
        assert bodies_of(ear.wait_for(2)) == ["after unbind", "after destroy"]
        assert len(ear.losses) >= 2
        # Silence is as good as a broken line.
        known = len(ear.losses)
        centre.ask("set", mute=True)
        ends = time.monotonic() + 10
        while len(ear.losses) == known and time.monotonic() < ends:
            time.sleep(0.02)
        assert "no answer in time" in ear.losses[known:]
        centre.ask("set", mute=False)
        centre.tell(PHONE, LINE, "after silence")
        assert bodies_of(ear.wait_for(3))[2] == "after silence"
    assert centre.wait(lambda book: not book["sessions"])["sessions"] == [], "it unbound"
    assert {bind for bind, _ in centre.ask("book")["binds"]} == {"bind_receiver"}


def test_what_nobody_can_read_stops_nothing(centre: MessageCentre) -> None:
    unknown, cut_short = "00000010000009990000000000000063", "0000001400000005000000000000006400010100"
    with listening(centre.provider()) as ear:
        for raw in (unknown, cut_short):
            centre.ask("deliver", raw=raw)
        centre.tell(PHONE, LINE, "PAY", language_indicator=1)
        assert bodies_of(ear.wait_for(1)) == ["PAY"]
        assert ear.losses == []
        # Where even the length is nonsense the line is made anew.
        centre.ask("deliver", raw="00000003ffffffff")
        centre.tell(PHONE, LINE, "after it")
        assert bodies_of(ear.wait_for(2))[1] == "after it"
        assert ear.losses == ["the message centre says what nobody can read"]


def test_who_is_not_let_in_does_not_try_on(centre: MessageCentre) -> None:
    told: list[str] = []
    for wrong in ({"secret": "wrong"}, {"system_id": "stranger"}):
        with pytest.raises(Misconfigured, match="does not let us in"):
            keep_listening(centre.provider(**wrong), Ear(), stopping=threading.Event(), on_loss=told.append)
    assert told == []
    assert len(centre.ask("book")["binds"]) == 2


def test_a_pause_grows_while_nobody_is_there() -> None:
    class Absent:
        name = "absent"

        def __init__(self) -> None:
            self.asked: list[float] = []

        def listen(self, hear: object, *, stopping: threading.Event) -> None:
            self.asked.append(time.monotonic())
            if len(self.asked) == 6:
                stopping.set()
                return
            raise NotSent("nobody is there")

    absent, stopping = Absent(), threading.Event()
    keep_listening(absent, Ear(), stopping=stopping, shortest=0.02, longest=0.1)  # type: ignore[arg-type]  # the part that is used
    pauses = [later - sooner for sooner, later in zip(absent.asked, absent.asked[1:], strict=False)]
    for pause, most in zip(pauses, (0.02, 0.04, 0.08, 0.1, 0.1), strict=True):
        assert most / 2 <= pause <= most + 0.25
