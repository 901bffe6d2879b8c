"""The biller portal's pages about texting: what a CSR reads and does for a caller, the queue, the list, the settings."""

from __future__ import annotations

import csv
import datetime
import io
import re
import uuid
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing import audit
from billing.models import AuditEntry, Biller, Customer, Role
from datapump.models import Configuration, Record
from sms.conversations import Language, Message, linting, wordings
from sms.models import Line, Mode, Phone, Programme, SmsMode, Text, Wording
from sms.operations import enrolments
from tests.factories import make_biller, make_customer, make_endpoint, make_invoice
from tests.staff import client_of, make_staff

pytestmark = pytest.mark.django_db

PHONE, OTHER, LINE = "+15055550123", "+15055550199", "+15055550100"
NATIONAL = "(505) 555-0123"


@pytest.fixture
def biller() -> Biller:
    biller = make_biller()
    make_endpoint(biller)
    Configuration.objects.update_or_create(biller=biller, defaults={"pay_by_text_changes": True})
    Programme.objects.create(biller=biller, name="City Water", contact="(505) 555-0150")
    Line.objects.create(biller=biller, number=LINE, driver="simulator", options={}, secret="unused")
    return biller


@pytest.fixture
def customer(biller: Biller) -> Customer:
    customer = make_customer(biller, name="Olive Payer")
    make_invoice(customer, "84.10")
    return customer


@pytest.fixture
def client(biller: Biller) -> Client:
    return client_of(make_staff(biller, Role.CSR, name="Sam Clerk"))


@pytest.fixture
def administrator(biller: Biller) -> Client:
    return client_of(make_staff(biller, Role.ADMINISTRATOR, name="Dana Boss"))


def page_of(response: Any) -> str:
    """Give a page's words as somebody reads them."""
    main = response.content.decode().partition("<main ")[2].partition(">")[2].partition("</main>")[0]
    return " ".join(unescape(re.sub(r"<(script|style).*?</\1>|<[^>]+>", " ", main, flags=re.DOTALL)).split())


def file_of(response: Any) -> str:
    return b"".join(response.streaming_content).decode("utf-8-sig")


def at(name: str, customer: Customer, *more: str) -> str:
    return reverse(f"biller-account-text{name}", args=[customer.pk, *more])


def enrol(client: Client, customer: Customer, number: str = NATIONAL, **given: str) -> Any:
    return client.post(at("-enrol", customer), {"number": number, "how": "phone", "agreed": "on", **given})


def sentences(customer: Customer | None = None) -> list[str]:
    entries = AuditEntry.objects.order_by("pk")
    return [audit.sentence(one) for one in (entries.filter(customer=customer) if customer else entries)]


def told() -> list[dict[str, str]]:
    return list(Record.objects.order_by("created_at", "pk").values_list("facts", flat=True))


def heard(biller: Biller, body: str, **fields: Any) -> Text:
    """Make a text from a phone as it stands when it was heard."""
    fields = {"kind": "unknown", "rule": "nothing", "review": "unknown", "phone": PHONE, **fields}
    line = Line.objects.get(biller=biller)
    return Text.objects.create(
        biller=biller, line=line, direction="in", body=body, key=f"in:{uuid.uuid4()}", state="received", **fields
    )


# ---- The account ------------------------------------------------------------------------------------------------------


@pytest.mark.spec("PBT-3", "PBT-11")
def test_a_csr_enrols_a_caller_who_agreed_and_the_page_keeps_the_evidence(client: Client, customer: Customer) -> None:
    before = page_of(client.get(at("", customer)))
    assert "Never enrolled" in before
    assert "Nothing has been said yet" in before
    asked = page_of(client.get(at("-enrol", customer)))
    words = enrolments.terms(Programme.objects.get(), language="en")
    assert words in asked
    answer = enrol(client, customer, REMOTE_ADDR="192.0.2.7")
    assert (answer.status_code, answer["Location"]) == (302, at("", customer))
    mode = SmsMode.objects.get()
    assert (mode.number, mode.mode, mode.consent_text, mode.consent_by) == (PHONE, Mode.ENROLLED, words, "Sam Clerk")
    assert told() == [{"status": "enrolled", "phone": PHONE}]
    assert Text.objects.get().body.startswith("City Water: You get bills by text now.")
    page = page_of(client.get(at("", customer)))
    for shown in (
        f"Pay by text is on at {NATIONAL}. A text there says so, with HELP and STOP.",
        f"Number {NATIONAL}",
        "How On the telephone: the words were read out and the customer agreed. Recorded by Sam Clerk Through Biller portal",
        f"Words Version {enrolments.CONSENT_VERSION} The words that were agreed to {words}",
        "City Water: You get bills by text now.",
    ):
        assert shown in page
    assert sentences(customer) == ["Turned pay by text on at •••• 0123"]
    assert "<span>Pay by text</span>" in client.get(reverse("biller-account", args=[customer.pk])).content.decode()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"agreed": ""}, "Texts need the customer’s consent. Read the words out first."),
        ({"how": ""}, "Choose: How the customer agreed"),
        ({"how": "dream"}, "Select a valid choice."),
        ({"number": "0123"}, "Enter a phone number with its area code, such as (555) 555-0123"),
        ({"number": ""}, "Enter: Mobile number"),
    ],
)
def test_an_enrolment_without_number_or_consent_is_refused_and_keeps_what_was_typed(
    client: Client, customer: Customer, given: dict[str, str], words: str
) -> None:
    answer = enrol(client, customer, **given)
    assert answer.status_code == 422
    assert words in page_of(answer)
    typed = {"number": NATIONAL, **given}["number"]
    assert f'value="{typed}"' in answer.content.decode() or not typed
    assert (SmsMode.objects.count(), Text.objects.count(), Record.objects.count(), AuditEntry.objects.count()) == (
        0,
    ) * 4


def test_a_phone_that_said_stop_or_takes_no_texts_is_not_enrolled(client: Client, customer: Customer) -> None:
    phone = Phone.objects.create(biller=customer.biller, number=PHONE, opted_out_of=["*"], opted_out_at=timezone.now())
    assert "This phone has opted out of texts. Text START from it to (505) 555-0100 first." in page_of(
        enrol(client, customer)
    )
    Phone.objects.filter(pk=phone.pk).update(opted_out_of=[], suspended_for="Texts do not arrive (blocked).")
    assert "Texts do not arrive at this number. Enter another one, or call us." in page_of(enrol(client, customer))
    Phone.objects.all().delete()
    Programme.objects.update(stopped=True)
    assert "This biller does not offer pay by text at the moment." in page_of(enrol(client, customer))
    assert (SmsMode.objects.count(), Record.objects.count(), Text.objects.count()) == (0, 0, 0)


@pytest.mark.spec("PBT-3", "PBT-13")
def test_a_csr_changes_the_number_once_and_turns_pay_by_text_off(client: Client, customer: Customer) -> None:
    enrol(client, customer)
    enrol(client, customer, "505-555-0199")
    assert "that phone is told that they end" in page_of(client.get(at("-enrol", customer)))
    assert "was on at (505) 555-0199 already; nothing was changed." in page_of(
        client.get(enrol(client, customer, "505-555-0199")["Location"])
    )
    asked = page_of(client.get(at("-unenrol", customer)))
    assert "Turn pay by text off?" in asked
    assert "Phone (505) 555-0199" in asked
    assert len(told()) == 2
    client.post(at("-unenrol", customer))
    assert [(one["status"], one["phone"]) for one in told()] == [
        ("enrolled", PHONE), ("number_changed", OTHER), ("unenrolled", OTHER),
    ]  # fmt: skip
    again = client.post(at("-unenrol", customer), follow=True)
    assert "Pay by text is not on for this account." in page_of(again)
    assert len(told()) == 3
    assert "Unenrolled" in page_of(again)


def test_a_number_that_waits_is_asked_again_given_up_or_made_good(client: Client, customer: Customer) -> None:
    enrol(client, customer)
    SmsMode.objects.update(pending_number=OTHER, pending_until=timezone.now() + datetime.timedelta(hours=20))
    page = page_of(client.get(at("", customer)))
    assert "Waits for a YES (505) 555-0199" in page
    assert "New phone (505) 555-0199" in page
    assert "goes out again" in page_of(client.post(at("-again", customer), follow=True))
    assert Text.objects.filter(phone=OTHER, kind="registration").count() == 1
    client.post(at("-keep", customer))
    mode = SmsMode.objects.get()
    assert (mode.number, mode.pending_number, mode.mode) == (PHONE, "", Mode.ENROLLED)
    assert "No confirmation is waited for." in page_of(client.post(at("-keep", customer), follow=True))


def test_the_bill_is_texted_on_request(client: Client, customer: Customer) -> None:
    refused = client.post(at("-bill", customer), follow=True)
    assert "Pay by text is not on for this account." in page_of(refused)
    enrol(client, customer)
    assert "Due $84.10 Hours for texts 8 am to 9 pm" in page_of(client.get(at("-bill", customer)))
    client.post(at("-bill", customer))
    bill = Text.objects.exclude(kind="enrolled").get()
    assert (bill.kind, bill.customer) == ("bill_ready_link", customer)
    assert "$84.10" in bill.body
    assert sentences(customer)[-1] == "Sent the bill by text to •••• 0123"
    customer.items.update(open=0, allocated="84.10")
    assert "Nothing is due on this account" in page_of(client.post(at("-bill", customer), follow=True))
    assert Text.objects.count() == 2


@pytest.mark.spec("PBT-15", "PBT-17")
def test_a_phone_is_opted_out_by_a_call_for_every_account_that_it_serves(client: Client, customer: Customer) -> None:
    other = make_customer(customer.biller, name="Nora Neighbour")
    enrol(client, customer)
    enrol(client, other)
    assert f"Accounts that share it Nora Neighbour {other.shown_number}" in page_of(client.get(at("", customer)))
    asked = page_of(client.get(at("-opt-out", customer, "number")))
    assert f"Also ends for Nora Neighbour ({other.shown_number})" in asked
    wrong = client.post(at("-opt-out", customer, "number"), {"channel": "smoke"})
    assert (wrong.status_code, Phone.objects.get().opted_out_at) == (422, None)
    done = client.post(at("-opt-out", customer, "number"), {"channel": "call"}, follow=True)
    page = page_of(done)
    assert f"{NATIONAL} gets no more texts. Pay by text ended for 2 accounts." in page
    assert f"{NATIONAL} has opted out of texts" in page
    assert "by a telephone call. Only START" in page
    assert set(SmsMode.objects.values_list("registered", "stopped")) == {(False, True)}
    assert [one["status"] for one in told()] == ["enrolled", "enrolled", "unenrolled", "unenrolled"]
    assert "The phone •••• 0123 gets no more texts, by a telephone call" in sentences()
    assert client.post(at("-opt-out", customer, "pending"), {"channel": "call"}).status_code == 404


def test_texts_go_again_to_a_phone_that_somebody_looked_into(client: Client, customer: Customer) -> None:
    enrol(client, customer)
    Phone.objects.update(suspended_for="Texts do not arrive (blocked).", failures=2)
    page = page_of(client.get(at("", customer)))
    assert f"Nothing is sent to {NATIONAL} Texts do not arrive (blocked)." in page
    assert "Texts go to (505) 555-0123 again." in page_of(client.post(at("-resume", customer, "number"), follow=True))
    assert Phone.objects.values_list("suspended_for", "failures").get() == ("", 0)
    refused = page_of(client.post(at("-resume", customer, "number"), follow=True))
    assert "Texts to this phone are not suspended." in refused
    assert sentences()[-1] == "Sends to the phone •••• 0123 again"


def test_the_conversation_says_what_was_made_of_each_text(client: Client, customer: Customer) -> None:
    enrol(client, customer)
    heard(customer.biller, "stop it please", kind="opt_out", rule="normalised: stop", review="")
    make_customer(customer.biller)
    other = make_customer(customer.biller)
    heard(customer.biller, "of another account", customer=other)
    Text.objects.filter(direction="out").update(
        state="waiting", reason="unreachable", code="30003", attempts=1,
        due_at=datetime.datetime(2026, 11, 22, 20, 30, tzinfo=datetime.UTC),
    )  # fmt: skip
    page = page_of(client.get(at("", customer)))
    assert "Taken for: Stop, by the word “stop”, with other signs or courtesies" in page
    assert re.search(r"The phone could not be reached\. We will try again at \d+:30 [ap]m\.", page)
    assert "of another account" not in page
    for n in range(51):
        heard(customer.biller, f"text {n}", review="")
    newest = client.get(at("", customer))
    assert "text 0 " not in page_of(newest)
    older = re.search(r'href="(\?before=[^"]+)"', newest.content.decode())
    assert older
    assert "stop it please" in page_of(client.get(at("", customer) + unescape(older[1])))
    assert client.get(at("", customer) + "?before=yesterday").status_code == 404


def test_read_only_people_read_and_change_nothing(customer: Customer, biller: Biller) -> None:
    reader = client_of(make_staff(biller, Role.READ_ONLY))
    assert "Enrol" not in page_of(reader.get(at("", customer))).replace("Enrolments", "").replace("Never enrolled", "")
    assert enrol(reader, customer).status_code == 403
    text = heard(biller, "what?")
    assert reader.post(reverse("biller-text-close", args=[text.pk]), {"opt_out": "no", "note": "x"}).status_code == 403
    assert reader.get(reverse("biller-text-settings")).status_code == 403
    assert SmsMode.objects.count() == 0


# ---- The queue and the list -------------------------------------------------------------------------------------------


def test_a_text_that_nobody_understood_is_read_and_put_away(client: Client, customer: Customer) -> None:
    enrol(client, customer)
    text = heard(customer.biller, "don't stop the lights", kind="unknown", review="doubtful_opt_out")
    heard(customer.biller, "a picture", review="media")
    front = page_of(client.get(reverse("biller-search")))
    assert "Texts to read 2 nobody understood them" in front
    queue = reverse("biller-text-reviews")
    listed = page_of(client.get(queue))
    assert "May ask us to stop" in listed
    assert "don't stop the lights" in listed
    assert NATIONAL not in listed
    assert "a picture" not in page_of(client.get(f"{queue}?reason=doubtful_opt_out"))
    own = reverse("biller-text", args=[text.pk])
    page = page_of(client.get(own))
    for shown in (
        "City Water: You get bills by text now.",
        "a picture",
        "opt the phone out",
        f"Phone {NATIONAL}",
        "Olive Payer",
    ):
        assert shown in page
    close = reverse("biller-text-close", args=[text.pk])
    wrong = client.post(close, {"opt_out": "no", "note": "  "})
    assert (wrong.status_code, Text.objects.get(pk=text.pk).reviewed_at) == (422, None)
    done = client.post(close, {"opt_out": "no", "note": "Called: she means the street lights."})
    assert (done.status_code, done["Location"]) == (302, queue)
    text.refresh_from_db()
    assert (text.review_note, text.reviewed_by) == ("Called: she means the street lights.", "Sam Clerk")
    assert Phone.objects.get().opted_out_at is None
    assert sentences()[-1] == (
        "Read a text from •••• 0123 that nobody had understood: Called: she means the street lights."
    )
    again = client.post(close, {"opt_out": "yes", "note": "Again."}, follow=True)
    assert "Nobody waits for this text to be read any more." in page_of(again)
    assert Phone.objects.get().opted_out_at is None
    assert "What was done Called: she means the street lights. Sam Clerk" in page_of(client.get(own))
    assert "Texts to read 1 " in page_of(client.get(reverse("biller-search")))


@pytest.mark.spec("PBT-15")
def test_a_text_that_asks_to_stop_is_obeyed_by_who_reads_it(client: Client, customer: Customer) -> None:
    enrol(client, customer)
    text = heard(customer.biller, "I wish this would stop", review="doubtful_opt_out")
    client.post(reverse("biller-text-close", args=[text.pk]), {"opt_out": "yes", "note": "She wants none."})
    phone = Phone.objects.get()
    assert (phone.opted_out_of, phone.opted_out_by) == (["*"], "a text that Sam Clerk read: She wants none.")
    assert [one["status"] for one in told()] == ["enrolled", "unenrolled"]
    assert "This phone has opted out of texts" in page_of(client.get(reverse("biller-text", args=[text.pk])))


def test_the_list_narrows_by_its_address_and_goes_away_as_a_file(client: Client, customer: Customer) -> None:
    client.get(enrol(client, customer)["Location"])
    heard(customer.biller, '=HYPERLINK("http://x")', phone=OTHER, kind="pay", review="")
    Text.objects.filter(direction="out").update(state="failed", reason="blocked", code="30004", status="undelivered")
    here = reverse("biller-texts")

    def found(query: str) -> list[str]:
        return [row["about"] for row in csv.DictReader(io.StringIO(file_of(client.get(f"{here}?format=csv&{query}"))))]

    assert found("") == ["Pay", "Enrolled"]
    for query, expected in {
        "direction=in": ["Pay"],
        "state=failed": ["Enrolled"],
        "kind=pay": ["Pay"],
        "kind=to:enrolled": ["Enrolled"],
        "kind=to:help": [],
        "q=505-555-0199": ["Pay"],
        f"q={customer.number}": ["Enrolled"],
        "q=0199": [],
        "start=2020-01-01&end=2020-01-02": [],
    }.items():
        assert found(query) == expected, query
    whole = file_of(client.get(f"{here}?format=csv"))
    rows = list(csv.DictReader(io.StringIO(whole)))
    assert rows[0]["text"] == '\'=HYPERLINK("http://x")'
    assert rows[0]["phone"] == "(•••) •••-0199"
    assert (rows[1]["status"], rows[1]["trouble"]) == ("Did not arrive", "The carrier or the phone blocks our texts.")
    assert "5550199" not in whole
    page = page_of(client.get(here))
    assert "(•••) •••-0123" in page
    assert NATIONAL not in page
    detail = page_of(client.get(reverse("biller-text", args=[Text.objects.get(direction="out").pk])))
    assert "At the provider The carrier could not hand it over The provider’s code 30004" in detail


# ---- The settings -----------------------------------------------------------------------------------------------------

USUAL: dict[str, Any] = {
    "name": "City Water", "contact": "(505) 555-0150", "opens": "8", "closes": "21", "most_a_day": "6", "fee": "0.00",
    "stop_ends_everything": "on", "campaign": "", "terms": "",
}  # fmt: skip


def test_the_programme_is_changed_and_every_change_is_kept(administrator: Client, biller: Biller) -> None:
    here = reverse("biller-text-settings")
    assert "Nothing was different" in page_of(administrator.post(here, USUAL, follow=True))
    answer = administrator.post(
        here, {**USUAL, "closes": "20", "fee": "1.50", "campaign": "CX1", "terms": "All of it."}
    )
    assert answer.status_code == 302
    programme = Programme.objects.get()
    assert (programme.closes, str(programme.fee), programme.campaign, programme.terms) == (
        20,
        "1.50",
        "CX1",
        "All of it.",
    )
    assert sentences() == ["Changed the text programme: closes, fee, campaign, terms"]
    for given, words in (
        ({"opens": "21", "closes": "9"}, "Texts end later in the day than they begin."),
        ({"fee": "-1"}, "Enter $0.00 or more"),
        ({"name": ""}, "Enter: Name of the programme"),
        ({"most_a_day": "0"}, "Ensure this value is greater than or equal to 1."),
    ):
        refused = administrator.post(here, {**USUAL, **given})
        assert (refused.status_code, words in page_of(refused)) == (422, True), given
    assert Programme.objects.get().opens == 8
    assert AuditEntry.objects.count() == 1


def test_a_biller_without_a_programme_gets_one_when_it_is_saved(administrator: Client, biller: Biller) -> None:
    Programme.objects.all().delete()
    assert f'value="{biller.name}"' in administrator.get(reverse("biller-text-settings")).content.decode()
    administrator.post(reverse("biller-text-settings"), USUAL)
    assert Programme.objects.get().name == "City Water"


def test_all_texts_are_stopped_and_allowed_again(administrator: Client, biller: Biller) -> None:
    stop, allow = reverse("biller-texts-stop"), reverse("biller-texts-allow")
    assert "Stop all texts?" in page_of(administrator.get(stop))
    assert not Programme.objects.get().stopped
    assert "All texts are stopped" in page_of(administrator.post(stop, follow=True))
    assert Programme.objects.get().stopped
    administrator.post(stop)
    administrator.post(allow)
    assert not Programme.objects.get().stopped
    assert sentences() == ["Stopped the texts of City Water", "Let the texts of City Water go out again"]


def test_a_number_that_was_stopped_sends_again(administrator: Client, biller: Biller) -> None:
    Line.objects.update(stopped_for="The provider refuses this number (30034).")
    line = Line.objects.get()
    page = page_of(administrator.get(reverse("biller-text-settings")))
    assert "Nothing is sent from it The provider refuses this number (30034)." in page
    resume = reverse("biller-text-line-resume", args=[line.pk])
    administrator.post(resume)
    assert Line.objects.get().stopped_for == ""
    assert "go out from this number already" in page_of(administrator.post(resume, follow=True))
    Line.objects.update(warned_of="A carrier holds “bill_ready” back (30007).")
    dismiss = reverse("biller-text-line-dismiss", args=[line.pk])
    assert "back (30007)" in page_of(administrator.get(reverse("biller-text-settings")))
    administrator.post(dismiss)
    assert Line.objects.get().warned_of == ""
    assert "No carrier holds anything against" in page_of(administrator.post(dismiss, follow=True))
    assert sentences() == [
        "Let the texts from (505) 555-0100 go out again",
        "Saw to what a carrier held against the texts from (505) 555-0100: A carrier holds “bill_ready” back (30007).",
    ]


def test_words_are_counted_while_they_are_written_and_the_dear_sign_is_named(
    administrator: Client, biller: Biller
) -> None:
    here = reverse("biller-wording", args=["paid", "en"])
    page = page_of(administrator.get(here))
    assert "1 part, GSM-7" in page
    assert "City Water: Thank you. We took $85.60 for acct *4301, including a fee of $1.50." in page
    counted = administrator.post(here, {"body": "{programme}: Paid {total} – thanks", "check": "1"})
    page = page_of(counted)
    assert counted.status_code == 200
    assert "One sign makes this text dearer: “–” (en dash) It is sign 27 of the words." in page
    assert "Write “-” instead." in page
    assert "1 part, UCS-2" in page
    assert (Wording.objects.count(), AuditEntry.objects.count()) == (0, 0)


def test_words_go_out_once_they_say_what_they_must_and_can_be_taken_back(administrator: Client, biller: Biller) -> None:
    here, reset = (reverse(name, args=["help", "en"]) for name in ("biller-wording", "biller-wording-reset"))
    refused = administrator.post(here, {"body": "Call us at {contakt}."})
    page = page_of(refused)
    assert refused.status_code == 422
    for words in (
        "“{contakt}” is no field of this message. It has {contact}, {programme}.",
        "Say who speaks: put {programme} in.",
        "Say how often texts come: “Msg frequency varies”.",
        "Say that texts may cost something: “Msg & data rates may apply”.",
        "Say how to end the texts: name STOP.",
    ):
        assert words in page
    assert (Wording.objects.count(), AuditEntry.objects.count()) == (0, 0)
    own = "{programme}: Call {contact}. Msg frequency varies. Message and data rates may apply. Reply STOP to end."
    administrator.post(here, {"body": f"  {own}\r\n"})
    assert Wording.objects.values_list("body", flat=True).get() == own
    assert "These are the words already." in page_of(administrator.post(here, {"body": own}, follow=True))
    assert "Your words" in page_of(administrator.get(reverse("biller-text-settings")))
    assert own in page_of(administrator.get(reset))
    administrator.post(reset)
    assert not Wording.objects.exists()
    assert "goes out in the usual words already" in page_of(administrator.post(reset, follow=True))
    assert sentences() == [
        "Changed the words of the text “help” (English)",
        "Went back to the usual words of the text “help” (English)",
    ]
    assert administrator.get(reverse("biller-wording", args=["nonsense", "en"])).status_code == 404
    assert administrator.get(reverse("biller-wording", args=["help", "fr"])).status_code == 404


def rules(message: Message, body: str, language: Language = Language.ENGLISH) -> list[str]:
    return [str(flaw.rule) for flaw in linting.lint(message, language, body)]


def test_our_own_words_hold_to_every_rule() -> None:
    speaker = wordings.Programme("Twenty Letters Water", "(505) 555-0150")
    for language, texts in wordings.TEMPLATES.items():
        for message, body in texts.items():
            assert linting.lint(message, language, body) == (), (language, message)
            longest = linting.longest(
                message, language, body, speaker, link="https://pay.example.com/t/88888888-8888888888"
            )
            assert linting.too_long(longest) is None, (language, message)


@pytest.mark.parametrize("message", [Message.REGISTRATION, Message.ENROLLED])
def test_a_text_that_begins_a_programme_must_say_all_of_it(message: Message) -> None:
    body = "{programme}: Yes? Msg frequency varies. Msg & data rates may apply. HELP for help, STOP to end."
    assert rules(message, body) == []
    for part, rule in {
        "{programme}": "programme", "Msg frequency": "frequency", "data rates": "rates", "HELP for help": "help", "STOP": "stop",
    }.items():  # fmt: skip
        assert rules(message, body.replace(part, "")) == [rule]
    # Words inside others are not said.
    assert rules(message, body.replace("STOP", "STOPPING")) == ["stop"]


def test_a_text_needs_what_it_is_sent_for() -> None:
    assert rules(Message.PAID, "{programme}: Thank you.") == ["field"]
    assert rules(Message.BILL_READY, "{programme}: {amount} due {due}. Reply {order}.") == ["help", "stop"]
    assert rules(Message.PAID, "{programme}: {total} {total") == ["braces"]
    assert rules(Message.PAID, "  ") == ["empty"]
    assert rules(Message.PAID, "{programme}: {total}" + "x" * 640) == ["length"]
    assert rules(Message.HELP, "{programme}: {contact}. Frecuencia variable. STOP", Language.SPANISH) == ["rates"]
    assert linting.too_long("x" * 765) is None
    assert linting.too_long("x" * 766) is not None
