"""What operators do: set lines and words up in the admin, confirm without the phone, hear and send by command."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing.models import AuditEntry, Biller, Customer
from datapump.models import ChangeLog, Configuration, Record
from sms.models import Line, Phone, Programme, SmsMode, Text, Wording
from sms.operations import enrolments, inbound
from sms.operations.modes import State
from sms.providers.base import Inbound
from tests.admin.test_changes import act, entries, said
from tests.admin.worlds import make_administrator
from tests.factories import make_biller, make_customer, make_invoice
from tests.sms.test_inbound import CONSENT, CSR, LINE, PAYER, PHONE
from tests.staff import client_of
from tests.telephone import SECRET, Telephone

pytestmark = pytest.mark.django_db(transaction=True)

OPERATOR = "Robin Root"


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Telephone]:
    with Telephone(tmp_path_factory.mktemp("telephone")) as running:
        yield running


@pytest.fixture
def biller() -> Biller:
    biller = make_biller(name="City Water", slug="city-water")
    Programme.objects.create(biller=biller, name="City Water", contact="(505) 555-0199")
    return biller


@pytest.fixture
def line(biller: Biller) -> Line:
    return Line.objects.create(biller=biller, number=LINE, driver="simulator", secret="unused")


@pytest.fixture
def client() -> Client:
    return client_of(make_administrator())


@pytest.fixture
def waiting(biller: Biller, line: Line) -> Customer:
    """A payer's registration that waits for the phone's word."""
    Configuration.objects.filter(biller=biller).update(pay_by_text_changes=True)
    customer = make_customer(biller, number="35909-001")
    enrolments.enrol(customer=customer, number=PHONE, consent=CONSENT, actor=PAYER)
    return customer


def run(name: str, **options: Any) -> str:
    """Run a command and give what it says."""
    said = StringIO()
    call_command(name, stdout=said, stderr=said, **options)
    return said.getvalue()


def trace() -> tuple[Any, ...]:
    """Give what a confirmation leaves: the state, the updates, their change logs and the kinds of texts."""
    return (
        [State.of(mode) for mode in SmsMode.objects.all()],
        list(Record.objects.order_by("created_at").values_list("type", "optional_setting", "facts__status")),
        sorted(ChangeLog.objects.values_list("field", "old", "new")),
        sorted(Text.objects.filter(direction="out").values_list("kind", flat=True)),
    )


CONFIRMED = (
    [State(PHONE, registered=True)],
    [(11, 0, "pending"), (11, 1, "enrolled")],
    [("pending registration", "Yes", "No"), ("registered", "No", "Yes")],
    ["enrolled", "registration"],
)


@pytest.mark.spec("PBT-11", "PBT-12")
def test_a_command_confirms_as_the_phone_would_in_the_payers_name(waiting: Customer) -> None:
    words = run("confirm_pay_by_text", biller="city-water", account="35909-001", operator="Robin")
    assert words == "City Water: account 35909-001 pays by text from •••• 0123 now.\n"
    assert trace() == CONFIRMED
    by = ("requestor", "made_by")
    made = {*ChangeLog.objects.values_list(*by), *Record.objects.filter(optional_setting=1).values_list(*by)}
    assert made == {(2, "Robin, for the payer")}
    entry = AuditEntry.objects.get(event="pay_by_text.enrolled")
    assert (entry.requestor, entry.actor) == (2, "Robin, for the payer")


@pytest.mark.spec("PBT-12")
def test_the_phone_itself_leaves_the_same(waiting: Customer, line: Line) -> None:
    inbound.store(line=line, inbound=Inbound("M1", PHONE, LINE, "YES"))
    assert run("hear_texts") == "1 heard, 0 told how their payment ended, 0 registrations ran out\n"
    assert trace() == CONFIRMED
    assert set(ChangeLog.objects.values_list("requestor", flat=True)) == {3}


@pytest.mark.spec("PBT-12")
def test_the_command_says_what_is_wrong_and_changes_nothing(waiting: Customer) -> None:
    other = make_biller(slug="other")
    before = trace()
    for biller, account, words in (
        ("nobody", "35909-001", "There is no biller 'nobody'."),
        ("city-water", "9-9", "City Water has no account '9-9'."),
        ("other", "35909-001", f"{other} has no account '35909-001'."),
        (
            "city-water", make_customer(waiting.biller, number="7-1").number,
            "City Water, account 7-1: No confirmation is waited for. Enter the number again.",
        ),
    ):  # fmt: skip
        with pytest.raises(CommandError) as refused:
            run("confirm_pay_by_text", biller=biller, account=account)
        assert str(refused.value) == words
    SmsMode.objects.update(pending_until=timezone.now() - datetime.timedelta(minutes=1))
    with pytest.raises(CommandError, match="No confirmation is waited for"):
        run("confirm_pay_by_text", biller="city-water", account="35909-001")
    assert trace() == before


@pytest.mark.spec("PBT-11", "PBT-12")
def test_an_administrator_confirms_after_being_asked(client: Client, waiting: Customer) -> None:
    mode, before = SmsMode.objects.get(), trace()
    asked = act(client, "sms_smsmode", "confirm", mode)
    assert "Confirm pending registration without the phone" in asked.content.decode()  # type: ignore[attr-defined]  # the test client's
    assert trace() == before
    assert said(act(client, "sms_smsmode", "confirm", mode, sure="yes")) == ["Confirmed: 1."]
    assert trace() == CONFIRMED
    assert set(ChangeLog.objects.values_list("requestor", "made_by")) == {(2, f"{OPERATOR}, for the payer")}
    again = said(act(client, "sms_smsmode", "confirm", mode, sure="yes"))
    assert again == [f"{mode}: No confirmation is waited for. Enter the number again."]
    assert trace() == CONFIRMED


@pytest.mark.spec("PBT-1")
def test_the_switch_in_the_admin_decides_what_the_billers_system_hears(
    client: Client, biller: Biller, line: Line
) -> None:
    configuration = Configuration.objects.get(biller=biller)
    url = reverse("admin:datapump_configuration_change", args=[configuration.pk])
    assert not configuration.pay_by_text_changes
    for switched, records, loose in ((None, 0, 1), ("on", 2, 0), (None, 0, 1)):
        form = {"payments": "on", "setting_131": "{}"} | ({"pay_by_text_changes": switched} if switched else {})
        assert client.post(url, form).status_code == 302
        customer = make_customer(biller)
        enrolments.enrol(customer=customer, number=PHONE, consent=CONSENT, actor=CSR)
        enrolments.unenrol(customer=customer, actor=CSR)
        assert Record.objects.filter(customer=customer).count() == records
        assert ChangeLog.objects.filter(customer=customer, record=None).count() == loose
        assert SmsMode.objects.get(customer=customer).mode == "unenrolled"


def test_texts_are_heard_and_sent_by_commands(biller: Biller, network: Telephone) -> None:
    options = {"base_url": network.url, "timeout": 5.0}
    line = Line.objects.create(biller=biller, number=LINE, driver="simulator", options=options, secret=SECRET)
    customer = make_customer(biller)
    make_invoice(customer, "84.10")
    enrolments.enrol(customer=customer, number=PHONE, consent=CONSENT, actor=CSR)
    inbound.store(line=line, inbound=Inbound("M1", PHONE, LINE, "BAL"))
    assert run("hear_texts", seconds=5) == "1 heard, 0 told how their payment ended, 0 registrations ran out\n"
    assert run("send_texts", seconds=5) == (
        "0 bills announced; 2 texts sent, 0 to be tried again, 0 failed, 0 without an outcome\n"
    )
    assert len(network.wait_for_texts(PHONE, 2)) == 2
    Line.objects.update(stopped_for="The campaign is under review.")
    assert run("send_texts", seconds=5).splitlines()[1] == (
        f"City Water: nothing goes out from {LINE}: The campaign is under review."
    )


# ---- The admin --------------------------------------------------------------------------------------------------------


def line_form(biller: Biller, **fields: Any) -> dict[str, Any]:
    options = {"base_url": "http://127.0.0.1:9"}
    return {
        "biller": str(biller.pk), "number": LINE, "driver": "simulator", "new_secret": "line-secret-value", "active": "on",
        "options": json.dumps(options), **fields,
    }  # fmt: skip


def test_a_line_is_set_up_with_a_secret_that_is_never_shown_again(client: Client, biller: Biller) -> None:
    add = reverse("admin:sms_line_add")
    for fields, field in (
        ({"options": '{"base_url": "http://127.0.0.1:9", "surprise": 1}'}, "options"),
        ({"options": '{"secret": "s"}'}, "options"),
        ({"options": "[]"}, "options"),
        ({"new_secret": ""}, "options"),
        ({"driver": "nobody"}, "driver"),
        ({"number": "555-0100"}, "number"),
    ):
        refused = client.post(add, line_form(biller, **fields))
        assert refused.status_code == 200
        assert field in refused.context["adminform"].form.errors, fields
    assert (Line.objects.count(), AuditEntry.objects.count()) == (0, 0)
    assert client.post(add, line_form(biller)).status_code == 302
    line = Line.objects.get()
    assert (line.secret, line.options) == ("line-secret-value", {"base_url": "http://127.0.0.1:9"})
    path = reverse("admin:sms_line_change", args=[line.pk])
    page = client.get(path).content.decode()
    assert "line-secret-value" not in page
    assert f"/texts/{line.guid}" in page
    # It stays its biller's, and keeps its secret without a new one.
    assert client.post(path, line_form(make_biller(), new_secret="", active="")).status_code == 302
    line = Line.objects.get()
    assert (line.biller, line.secret, line.active) == (biller, "line-secret-value", False)
    assert client.post(path, line_form(biller, new_secret="another-secret-value")).status_code == 302
    assert Line.objects.get().secret == "another-secret-value"
    assert [sentence for _event, _actor, sentence in entries()] == [
        f"Added the line {LINE}", f"Changed the line {LINE}: active", f"Changed the line {LINE}: new_secret, active"
    ]  # fmt: skip
    assert "secret-value" not in str(list(AuditEntry.objects.values()))


def test_a_provider_is_asked_and_a_stopped_line_sends_again(client: Client, biller: Biller, network: Telephone) -> None:
    good = Line.objects.create(
        biller=biller, number=LINE, driver="simulator", options={"base_url": network.url}, secret=SECRET
    )
    stranger = Line.objects.create(
        biller=biller, number="+15055550101", driver="simulator", options={"base_url": network.url}, secret="wrong"
    )
    asked = said(act(client, "sms_line", "ping", good, stranger))
    assert asked == [
        f"{good}: the provider answers and knows us.",
        f"{stranger}: the network does not know us: address or secret is wrong",
    ]
    Line.objects.filter(pk=good.pk).update(stopped_for="The secret was wrong.")
    words = said(act(client, "sms_line", "resume", good, stranger))
    assert words == [f"{stranger}: Texts go out from this number already.", "Sending again: 1."]
    assert not Line.objects.exclude(stopped_for="").exists()
    assert entries()[-1] == ("line.resumed", OPERATOR, "Let the texts from (505) 555-0100 go out again")


def test_programmes_words_and_phones(client: Client, biller: Biller) -> None:
    programme = Programme.objects.get()
    assert said(act(client, "sms_programme", "stop", programme)) == ["City Water is stopped now."]
    assert said(act(client, "sms_programme", "stop", programme)) == ["City Water is stopped already."]
    assert Programme.objects.get().stopped
    assert said(act(client, "sms_programme", "resume", programme)) == ["City Water sends now."]
    assert [event for event, *_ in entries()] == ["programme.stopped", "programme.resumed"]

    add = reverse("admin:sms_wording_add")
    given = {"biller": str(biller.pk), "programme": "pay_by_text", "message": "help", "language": "en"}
    refused = client.post(add, {**given, "body": "{programme}: Call {surprise}."})
    assert "is no field of this message" in refused.content.decode()
    assert "Msg &amp; data rates may apply" in refused.content.decode()
    assert Wording.objects.count() == 0
    body = "{programme}: Call {contact}. Msg frequency varies. Msg & data rates may apply. STOP to end."
    assert client.post(add, {**given, "body": body}).status_code == 302
    assert entries()[-1][2] == "Added the wording Help (en)"

    phone = Phone.objects.create(
        biller=biller, number=PHONE, suspended_for="Texts do not arrive (blocked).", failures=2
    )
    fine = Phone.objects.create(biller=biller, number="+15055550124")
    assert said(act(client, "sms_phone", "resume", phone, fine))[1:] == [
        "•••• 0124: Texts to this phone are not suspended.", "Sending again: 1."
    ]  # fmt: skip
    phone.refresh_from_db()
    assert (phone.suspended_for, phone.failures) == ("", 0)
    listed = client.get(reverse("admin:sms_phone_changelist")).content.decode()
    assert "(•••) •••-0123" in listed
    assert PHONE not in listed
