"""The biller portal's pages about DataPump: what they show, whom they let in, what their buttons do."""

from __future__ import annotations

import csv
import io
import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from billing import advanced_settings
from billing.actors import Actor, Requestor
from billing.models import AuditEntry, Biller, Role, Run, RunState, SavedView, Setting
from datapump.forms import NUMBERS
from datapump.models import ChangeLog, Configuration, Delivery, Endpoint, Purpose, Record, RecordState, RecordType
from datapump.operations import resends
from datapump.operations.endpoints import SWITCHES
from datapump.operations.records import types_of, write
from sms.models import Consent
from sms.operations import modes
from sms.operations.modes import State
from tests.cis import Cis
from tests.datapump.conftest import SYSTEM, account_of, billed, deliver, endpoint_of, enrol, pay, until
from tests.factories import make_biller, make_customer
from tests.staff import client_of, make_staff

HISTORY = "/biller/datapump/"


@pytest.fixture
def client(biller: Biller) -> Client:
    """An administrator of the biller, signed in."""
    return client_of(make_staff(biller))


def listed(client: Client, query: str = "") -> list[dict[str, str]]:
    """Give the rows of the history as its file has them."""
    answer = client.get(f"{HISTORY}?format=csv&{query}")
    assert answer.status_code == 200, answer.content[:300]
    text = b"".join(answer.streaming_content).decode().lstrip("\ufeff")  # type: ignore[attr-defined]  # a streamed answer
    return list(csv.DictReader(io.StringIO(text)))


def text_of(answer: Any) -> str:
    """Give an answer's words without markup."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


# ---- The list ---------------------------------------------------------------------------------------------------------


@pytest.mark.spec("PBT-10")
def test_the_list_answers_whether_they_heard_it(client: Client, biller: Biller, cis: Cis) -> None:
    jones = billed(biller, name="Mary Jones")
    paid = pay(jones, "84.10")
    enrol(jones, RecordType.PAPERLESS, True)
    deliver()
    page = client.get(HISTORY)
    assert page.status_code == 200
    words = text_of(page)
    for part in (
        jones.number, "Mary Jones", "Payment", "$84.10", "Paperless billing", "Off → On", "Delivered",
        "Accepted by the biller’s system", "1–2 of 2",
    ):  # fmt: skip
        assert part in words, part
    assert f'href="{HISTORY}{paid.pk}/"' in page.content.decode()
    assert f'href="/biller/accounts/{jones.pk}/"' in page.content.decode()
    # The biller's zone, not UTC.
    assert " ET" in words


def test_every_filter_narrows_and_the_url_says_how(client: Client, biller: Biller, cis: Cis) -> None:
    mary, paul = billed(biller, name="Mary Jones", phone="+15555550123"), billed(biller, name="Paul Smith")
    Endpoint.objects.filter(biller=biller).update(attempts_allowed=1)
    told = pay(mary)
    enrol(mary, RecordType.AUTOPAY, True)
    deliver()
    failing = pay(paul)
    cis.control({"action": "failure", "next": 1})
    deliver()
    old = enrol(paul, RecordType.PAPERLESS, False)
    Record.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=40))

    def ids(query: str) -> set[str]:
        return {row["id"] for row in listed(client, query)}

    everything = ids("")
    assert len(everything) == 4
    assert ids("type=1") == {str(told.pk), str(failing.pk)}
    assert ids("type=1&type=2") == {str(told.pk), str(failing.pk), str(old.pk)}
    assert ids("state=failed") == {str(failing.pk)}
    assert ids("state=failed&state=waiting") == {str(failing.pk), str(old.pk)}
    assert ids("q=Mary+J") == everything - {str(failing.pk), str(old.pk)}
    assert ids(f"q={mary.number}") == ids("q=%28555%29+555-0123") == ids("q=mary+jones")
    assert ids(f"q={failing.pk}") == {str(failing.pk)}
    assert ids("q=nobody") == set()
    assert ids("trouble=refused") == {str(failing.pk)}
    assert ids("trouble=refused&state=delivered") == set()
    assert ids("endpoint=autopay") == everything - {str(told.pk), str(failing.pk), str(old.pk)}
    assert ids("endpoint=autopay&type=1") == set()
    assert ids("by=4") == everything
    assert ids("by=2") == set()
    today = timezone.localdate()
    assert ids(f"end={today - timedelta(days=30)}") == {str(old.pk)}
    assert ids(f"start={today - timedelta(days=1)}&type=2") == set()
    assert listed(client, "order=oldest")[0]["id"] == str(old.pk)
    page = client.get(f"{HISTORY}?state=failed&type=1")
    assert "Failed" in text_of(page)
    assert 'href="/biller/datapump/?type=1"' in page.content.decode()  # the chip of the status, taken off


def test_an_impossible_period_is_said(client: Client) -> None:
    page = client.get(f"{HISTORY}?start=2026-11-02&end=2026-11-01")
    assert "End date must be after start date" in text_of(page)


def test_pages_follow_by_place(client: Client, biller: Biller) -> None:
    customer = billed(biller)
    made = [str(pay(customer).pk) for _ in range(61)]
    Record.objects.filter(pk=made.pop(0)).update(state="retrying")
    for state in ("waiting", "on_hold"):
        seen: list[str] = []
        url: str | None = f"{HISTORY}?size=25&type=1&state={state}"
        for expected in (25, 25, 10):
            page = client.get(url or "")
            listing = page.context["listing"]
            assert len(listing.rows) == expected
            seen += [str(row.pk) for row in listing.rows]
            url = listing.next_url
        assert url is None
        assert seen == made[::-1]
        back = client.get(listing.previous_url).context["listing"]
        assert [str(row.pk) for row in back.rows] == seen[25:50]
        assert (back.first, back.last, back.total) == (26, 50, 60)


def test_a_formula_in_a_name_stays_a_name(client: Client, biller: Biller) -> None:
    pay(billed(biller, name="=HYPERLINK(1)"))
    (row,) = listed(client)
    assert row["name"] == "'=HYPERLINK(1)"


def test_a_view_is_saved(client: Client, biller: Biller) -> None:
    pay(billed(biller))
    client.post(f"{HISTORY}?state=failed", {"save": "Failed ones"})
    assert SavedView.objects.get().query == "state=failed"
    assert "Failed ones" in text_of(client.get(HISTORY))


def test_what_is_on_hold_or_retrying_says_so(client: Client, biller: Biller, cis: Cis) -> None:
    customer = billed(biller)
    first, second = pay(customer), pay(customer)
    cis.control({"action": "failure", "next": 1, "text": "closed for lunch"})
    deliver(waits=1.0)
    words = text_of(client.get(HISTORY))
    assert "On hold – behind an earlier update" in words
    assert re.search(r"Retrying – next at \d{1,2}:\d\d (am|pm)", words)
    assert "closed for lunch" in words
    page = client.get(f"{HISTORY}{second.pk}/")
    assert f'href="{HISTORY}{first.pk}/"' in page.content.decode()
    third = pay(customer)
    held = [str(third.pk), str(second.pk)]
    assert [row["id"] for row in listed(client, "state=on_hold")] == held
    assert {row["id"] for row in listed(client, "state=on_hold&state=retrying")} == {*held, str(first.pk)}
    assert 'href="/biller/datapump/?state=on_hold"' in client.get(HISTORY).content.decode()


def test_a_type_that_is_off_is_said(client: Client, biller: Biller) -> None:
    Configuration.objects.filter(biller=biller).update(autopay=False)
    assert "Changes of AutoPay are not sent for this biller" in text_of(client.get(HISTORY))


def test_new_updates_are_offered_and_rows_stay(client: Client, biller: Biller) -> None:
    customer = billed(biller)
    pay(customer)
    page = client.get(f"{HISTORY}?type=1")
    found = re.search(r'id="newer"[^>]*hx-get="([^"]+)"', page.content.decode())
    assert found is not None
    url = found[1].replace("&amp;", "&")
    assert text_of(client.get(url)).strip() == ""
    pay(customer)
    pay(customer)
    enrol(customer, RecordType.AUTOPAY, True)  # another type: not asked for
    fragment = client.get(url)
    assert "2 new updates – show" in text_of(fragment)
    assert 'href="/biller/datapump/?type=1"' in fragment.content.decode()


def test_a_search_that_takes_too_long_asks_for_a_period(
    client: Client, biller: Biller, monkeypatch: pytest.MonkeyPatch
) -> None:
    pay(billed(biller))
    monkeypatch.setattr("datapump.biller_portal.histories.PATIENCE", "1ms")
    monkeypatch.setattr(
        "datapump.reports.history_ids", lambda **_: Record.objects.raw("SELECT pg_sleep(1), id FROM datapump_record")[0]
    )
    page = client.get(f"{HISTORY}?by=5")
    assert page.status_code == 503
    assert "This search takes too long" in text_of(page)
    assert "by=5&amp;start=" in page.content.decode()


@pytest.mark.spec("PBT-10")
def test_the_account_has_its_own_tab(client: Client, biller: Biller) -> None:
    mine, other = billed(biller), billed(biller)
    shown, hidden = pay(mine), pay(other)
    page = client.get(f"/biller/accounts/{mine.pk}/datapump/")
    assert page.status_code == 200
    assert str(shown.pk) in page.content.decode()
    assert str(hidden.pk) not in page.content.decode()
    assert 'aria-current="page">DataPump' in page.content.decode()


# ---- One update -------------------------------------------------------------------------------------------------------


@pytest.mark.spec("PBT-10")
def test_the_detail_shows_every_attempt_and_hides_numbers(client: Client, biller: Biller, cis: Cis) -> None:
    customer = billed(biller)
    before = enrol(customer, RecordType.AUTOPAY, True)
    record = pay(customer)
    after = enrol(customer, RecordType.AUTOPAY, False)
    ChangeLog.objects.create(
        biller=biller, customer=customer, record=record, field="phone", old="+15555550123", new="+15555550199",
        requestor=1, made_by="Casey Clerk",
    )  # fmt: skip
    cis.control({"action": "failure", "account": account_of(customer), "next": 1, "text": "try later"})
    deliver()
    until(lambda: Record.objects.get(pk=record.pk).state == "delivered")
    page = client.get(f"{HISTORY}{record.pk}/")
    words, html = text_of(page), page.content.decode()
    assert "(•••) •••-0123" in words
    assert "(•••) •••-0199" in words
    assert "Casey Clerk" in words
    assert "try later" in words
    assert "Refused" in words
    assert "Accepted" in words
    assert html.count("CommitPaymentTransaction") >= 2
    assert account_of(customer) not in html
    assert f"••••{account_of(customer)[-4:]}" in html
    assert "cis-password" not in html
    assert f'href="{HISTORY}{before.pk}/"' in html
    assert f'href="{HISTORY}{after.pk}/"' in html


def test_showing_the_numbers_is_audited_and_needs_the_right(client: Client, biller: Biller, cis: Cis) -> None:
    customer = billed(biller)
    record = pay(customer)
    deliver()
    clerk = client_of(make_staff(biller, Role.CSR))
    assert clerk.post(f"{HISTORY}{record.pk}/reveal/").status_code == 403
    assert "Show the numbers" not in text_of(clerk.get(f"{HISTORY}{record.pk}/"))
    assert client.get(f"{HISTORY}{record.pk}/reveal/").status_code == 405
    assert AuditEntry.objects.filter(event="datapump.revealed").count() == 0
    page = client.post(f"{HISTORY}{record.pk}/reveal/")
    assert account_of(customer) in page.content.decode()
    assert "cis-password" not in page.content.decode()
    assert page["Cache-Control"] == "no-store"
    entry = AuditEntry.objects.get(event="datapump.revealed")
    assert (entry.subject, entry.customer_id) == (str(record.pk), customer.pk)


@pytest.mark.spec("PBT-10")
def test_the_two_halves_of_a_registration_are_shown_together(client: Client, biller: Biller) -> None:
    Configuration.objects.filter(biller=biller).update(pay_by_text_changes=True)
    customer, consent = billed(biller), Consent("On the web.", "Texts.", "1")
    modes.insert_sms_mode(
        customer=customer,
        state=State(pending_number="+15055550123"),
        consent=consent,
        actor=Actor.payer(None, "Pat Payer"),
    )
    modes.update_sms_mode(
        customer=customer,
        state=State("+15055550123", registered=True),
        actor=Actor(Requestor.INBOUND_TEXT, "The phone"),
    )
    pending, enrolled = Record.objects.filter(customer=customer).order_by("created_at")
    for one, other in ((pending, enrolled), (enrolled, pending)):
        page = client.get(f"{HISTORY}{one.pk}/")
        words = text_of(page).partition("Both updates of this registration")[2]
        first, last = words.index("Pending"), words.index("Enrolled")
        assert first < last
        assert "Pat Payer (customer portal)" in words[first:last]
        assert "None: it is the first" in words[first:last]
        assert "The phone (text reply)" in words[last:]
        assert "Pending registration: Yes → No Registered: No → Yes" in words[last:]
        assert f'<a href="{HISTORY}{other.pk}/">' in page.content.decode()
    modes.update_sms_mode(customer=customer, state=modes.ended, actor=Actor(Requestor.CSR, "Clara"))
    unenrolled = Record.objects.latest("created_at")
    assert "Both updates" not in text_of(client.get(f"{HISTORY}{unenrolled.pk}/"))


@pytest.mark.spec("PBT-7")
def test_a_change_that_no_update_told_of_carries_the_number_0(client: Client, biller: Biller) -> None:
    Configuration.objects.filter(biller=biller).update(pay_by_text_changes=True)
    customer, consent = billed(biller), Consent("On the web.", "Texts.", "1")
    clara, payer = Actor(Requestor.CSR, "Clara"), Actor.payer(None, "Pat Payer")
    here = f"/biller/accounts/{customer.pk}/datapump/changes/"
    on = State("+15055550123", registered=True)
    modes.insert_sms_mode(customer=customer, state=on, consent=consent, actor=clara)
    assert "No changes yet" in text_of(client.get(here))
    modes.update_sms_mode(customer=customer, state=State("+15055550199", registered=True), consent=consent, actor=clara)
    told = Record.objects.latest("created_at")
    modes.update_sms_mode(
        customer=customer, state=State("+15055550199", "+15055550177", True), consent=consent, actor=payer
    )
    asked = Record.objects.latest("created_at")
    modes.update_sms_mode(customer=customer, state=modes.run_out, actor=Actor.system("end_run_out"), ran_out=True)
    file = b"".join(client.get(f"{here}?format=csv").streaming_content).decode("utf-8-sig")  # type: ignore[attr-defined]
    rows = [
        (row["field"], row["before"], row["after"], row["made_by"], row["datapump_id"])
        for row in csv.DictReader(io.StringIO(file))
    ]
    assert rows == [
        ("Pending registration", "Yes", "No", "end_run_out (system)", "0"),
        ("Pending registration", "No", "Yes", "Pat Payer (customer portal)", str(asked.pk)),
        ("Phone", "(•••) •••-0123", "(•••) •••-0199", "Clara (biller portal)", str(told.pk)),
    ]
    told_of = [row["update"] for row in listed(client)]
    assert told_of == [
        "Pay by text – pending registration", "Pay by text – phone number changed", "Pay by text – enrolled",
    ]  # fmt: skip
    words = text_of(client.get(here))
    assert "No update told of it" in words
    assert "5550199" not in file + words


def test_another_billers_update_is_not_found(client: Client, biller: Biller) -> None:
    other = make_biller()
    record = pay(billed(other))
    endpoint = Endpoint.objects.create(biller=other, purpose=Purpose.PAYMENTS, url="http://127.0.0.1:9/")
    for path in ("", "resend/", "skip/"):
        assert client.get(f"{HISTORY}{record.pk}/{path}").status_code == 404
    for path in ("resend/", "skip/", "reveal/"):
        assert client.post(f"{HISTORY}{record.pk}/{path}").status_code == 404
    for path in ("test", "pause", "resume"):
        assert client.post(f"{HISTORY}endpoints/{endpoint.pk}/{path}/").status_code == 404
    run = resends.plan(actor=SYSTEM, biller=other, chosen=_failed_of(other, record), key="k")
    assert client.get(f"{HISTORY}resends/{run.pk}/").status_code == 404
    assert client.post(f"{HISTORY}resends/{run.pk}/stop/").status_code == 404
    assert client.get(f"/biller/accounts/{record.customer_id}/datapump/").status_code == 404
    assert client.get(f"{HISTORY}{uuid.uuid4()}/").status_code == 404
    assert listed(client) == []
    assert listed(client, f"q={record.pk}") == []
    assert Record.objects.get(pk=record.pk).state == "failed"


def _failed_of(biller: Biller, record: Record) -> Any:
    from datapump.reports import Chosen

    Record.objects.filter(pk=record.pk).update(state=RecordState.FAILED)
    return Chosen(states=("failed",))


# ---- Sending again, skipping ------------------------------------------------------------------------------------------


def test_send_again_and_skip(client: Client, biller: Biller, cis: Cis) -> None:
    customer = billed(biller)
    record = pay(customer)
    deliver()
    question = client.get(f"{HISTORY}{record.pk}/resend/")
    assert "may already have this update" in text_of(question)
    answer = client.post(f"{HISTORY}{record.pk}/resend/", follow=True)
    assert "will be sent again" in text_of(answer)
    assert Record.objects.get(pk=record.pk).state == "waiting"
    entry = AuditEntry.objects.get(event="datapump.resent")
    assert (entry.subject, entry.facts) == (str(record.pk), {"count": 1})
    # Once it waits it cannot be sent again a second time, and nothing changes.
    again = client.post(f"{HISTORY}{record.pk}/resend/", follow=True)
    assert "on its way already" in text_of(again)
    assert AuditEntry.objects.filter(event="datapump.resent").count() == 1
    client.post(f"{HISTORY}{record.pk}/skip/")
    skipped = Record.objects.get(pk=record.pk)
    assert skipped.state == "skipped"
    assert f"Skipped by {skipped.closed_by}" in text_of(client.get(f"{HISTORY}{record.pk}/"))
    assert AuditEntry.objects.filter(event="datapump.skipped", subject=str(record.pk)).count() == 1
    deliver()
    assert cis.totals()["repeats"] == 0


def test_older_news_is_warned_of(client: Client, biller: Biller, cis: Cis) -> None:
    customer = billed(biller)
    older = enrol(customer, RecordType.AUTOPAY, True)
    enrol(customer, RecordType.AUTOPAY, False)
    deliver()
    assert "older news" in text_of(client.get(f"{HISTORY}{older.pk}/resend/"))


def test_read_only_people_read(biller: Biller, cis: Cis) -> None:
    record = pay(billed(biller))
    deliver()
    reader = client_of(make_staff(biller, Role.READ_ONLY))
    page = text_of(reader.get(f"{HISTORY}{record.pk}/"))
    assert "Send again" not in page
    assert "Send test" not in text_of(reader.get(HISTORY))
    for path in (f"{record.pk}/resend/", f"{record.pk}/skip/", "resend/"):
        assert reader.post(HISTORY + path).status_code == 403
    assert reader.post(f"{HISTORY}endpoints/{endpoint_of(biller).pk}/test/").status_code == 403
    assert reader.get("/biller/settings/datapump/").status_code == 403
    assert Record.objects.get(pk=record.pk).state == "delivered"


def test_all_that_match_are_sent_again(client: Client, biller: Biller, cis: Cis) -> None:
    Endpoint.objects.filter(biller=biller).update(attempts_allowed=1)
    customers = [billed(biller) for _ in range(8)]
    cis.control({"action": "failure", "operation": "CommitPaymentTransaction"})
    for customer in customers:
        pay(customer)
    deliver()
    delivered = enrol(customers[0], RecordType.AUTOPAY, True)
    deliver()
    cis.reset()
    assert Record.objects.filter(state="failed").count() == 8
    question = client.get(f"{HISTORY}resend/?state=failed")
    assert "8 updates match and can be sent again" in text_of(question)
    key = re.search(r'name="key" value="([^"]+)"', question.content.decode())
    assert key is not None
    answers = [client.post(f"{HISTORY}resend/?state=failed", {"key": key[1]}) for _ in range(2)]
    run = Run.objects.get()  # the same wish twice is one run
    assert {answer["Location"] for answer in answers} == {reverse("biller-datapump-resend-run", args=[run.pk])}
    page = text_of(client.get(answers[0]["Location"]))
    assert "0 of 8 updates" in page
    assert resends.work(actor=SYSTEM) == 8
    run.refresh_from_db()
    assert run.state == RunState.DONE
    assert "8 of 8 updates" in text_of(client.get(answers[0]["Location"]))
    deliver()
    assert set(Record.objects.values_list("state", flat=True)) == {"delivered"}
    assert cis.totals()["payments"] == 8
    assert Record.objects.get(pk=delivered.pk).attempts == 1
    assert resends.work(actor=SYSTEM) == 0
    entry = AuditEntry.objects.get(event="datapump.resent")
    assert entry.facts["count"] == 8


def test_nothing_that_matches_is_said(client: Client, biller: Biller) -> None:
    pay(billed(biller))
    assert "Nothing matches that could be sent again" in text_of(client.get(f"{HISTORY}resend/?state=waiting"))
    answer = client.post(f"{HISTORY}resend/?state=waiting", {"key": str(uuid.uuid4())}, follow=True)
    assert "Nothing matches" in text_of(answer)
    assert Run.objects.count() == 0


def test_a_run_that_sends_again_stops(client: Client, biller: Biller, cis: Cis) -> None:
    customer = billed(biller)
    Record.objects.filter(pk=pay(customer).pk).update(state=RecordState.FAILED)
    run = resends.plan(actor=SYSTEM, biller=biller, chosen=_failed_of(biller, Record.objects.get()), key="k")
    client.post(f"{HISTORY}resends/{run.pk}/stop/")
    resends.work(actor=SYSTEM)
    run.refresh_from_db()
    assert run.state == RunState.STOPPED
    assert Record.objects.get().state == "failed"
    assert "ended already" in text_of(client.post(f"{HISTORY}resends/{run.pk}/stop/", follow=True))


# ---- The endpoints ----------------------------------------------------------------------------------------------------


def test_the_strip_tells_how_each_endpoint_does(client: Client, biller: Biller, cis: Cis) -> None:
    Endpoint.objects.filter(biller=biller, purpose=Purpose.PAPERLESS).update(username="nobody")
    customer = billed(biller)
    pay(customer)
    enrol(customer, RecordType.PAPERLESS, True)
    deliver()
    waiting = enrol(customer, RecordType.PAPERLESS, False)
    Record.objects.filter(pk=waiting.pk).update(created_at=timezone.now() - timedelta(hours=3))
    words = text_of(client.get(f"{HISTORY}endpoints/"))
    assert "Payments Answering" in words
    assert "Paperless Switched off" in words
    assert "Invalid UserID or Pwd" in words
    assert "3 hours ago" in words
    assert "Never" in words  # AutoPay has not been told anything
    health = {one.endpoint.purpose: one for one in client.get(HISTORY).context["endpoints"]}
    assert (health["payments"].failures, health["payments"].waiting) == (0, 0)
    assert (health["paperless"].failures, health["paperless"].waiting, health["paperless"].state) == (1, 2, "off")
    assert health["payments"].endpoint.last_success_at is not None


def test_send_test_pause_and_go_on(client: Client, biller: Biller, cis: Cis) -> None:
    endpoint = endpoint_of(biller)
    url = f"{HISTORY}endpoints/{endpoint.pk}"
    assert "Payments: The biller's system answered in" in text_of(client.post(f"{url}/test/", follow=True)).replace(
        "&#x27;", "'"
    )
    Endpoint.objects.filter(pk=endpoint.pk).update(password="")
    broken = text_of(client.post(f"{url}/test/", follow=True))
    assert "no user name or no password" in broken
    assert AuditEntry.objects.filter(event="endpoint.tested").count() == 2
    endpoint.save()
    client.post(f"{url}/pause/")
    record = pay(billed(biller))
    deliver()
    assert Record.objects.get(pk=record.pk).state == "waiting"
    client.post(f"{url}/resume/")
    deliver()
    assert Record.objects.get(pk=record.pk).state == "delivered"
    assert [one.event for one in AuditEntry.objects.filter(subject=str(endpoint.pk)).order_by("pk")][-2:] == [
        "endpoint.paused",
        "endpoint.resumed",
    ]
    assert "not paused" in text_of(client.post(f"{url}/resume/", follow=True))


# ---- The settings -----------------------------------------------------------------------------------------------------

FORM = {
    "setting_11": "https://cis.example/services/CB", "setting_12": "InvoiceUser", "setting_13": "s3cret-pass",
    "setting_35": "2", "setting_64": "0(WEB)|2(CSRWEB)", "setting_65": "", "default_mode": "", "per_envelope": "1",
    "header_Version": "3.0", "header_AppName": "Ratepayer", "header_AppVersion": "", "header_Company": "",
    "in_flight": "4", "timeout_seconds": "30", "attempts_allowed": "5", "hold_after_failure": "on",
}  # fmt: skip
PAYMENTS = "/biller/settings/datapump/payments/"


def test_numbered_settings_are_the_endpoints_fields(biller: Biller, cis: Cis) -> None:
    lone = make_biller()
    waiting = pay(billed(lone))
    client = client_of(make_staff(lone))
    page = client.get(PAYMENTS)
    for number in (11, 12, 13, 35, 64, 65):
        assert f"{number} – " in text_of(page)
    assert client.post(PAYMENTS, FORM).status_code == 302
    endpoint = endpoint_of(lone)
    assert (endpoint.url, endpoint.username, endpoint.password) == (FORM["setting_11"], "InvoiceUser", "s3cret-pass")
    assert endpoint.options == {
        "service_version": "2",
        "card_modes": "0(WEB)|2(CSRWEB)",
        "header": {"Version": "3.0", "AppName": "Ratepayer"},
    }
    assert (endpoint.in_flight, endpoint.timeout_seconds, endpoint.attempts_allowed) == (4, 30, 5)
    assert endpoint.hold_after_failure
    assert Record.objects.get(pk=waiting.pk).endpoint_id == endpoint.pk
    entry = AuditEntry.objects.get(event="endpoint.changed")
    assert "password" in entry.facts["fields"]
    assert "s3cret" not in str(entry.facts)
    # Never shown again, and kept where it is left empty.
    page = client.get(PAYMENTS)
    assert "s3cret-pass" not in page.content.decode()
    assert "There is one." in text_of(page)
    client.post(PAYMENTS, FORM | {"setting_13": "", "setting_12": "Other"})
    changed = endpoint_of(lone)
    assert (changed.username, changed.password) == ("Other", "s3cret-pass")
    assert AuditEntry.objects.filter(event="endpoint.changed").last().facts["fields"] == "username"  # type: ignore[union-attr]
    # Stored once: the table of settings has none of them.
    assert Setting.objects.filter(biller=lone).count() == 0


@pytest.mark.parametrize(
    ("field", "given", "words"),
    [
        ("setting_11", "ftp://cis.example/", "Enter an address that begins with http:// or https://"),
        ("setting_11", "", "Enter the address of the biller’s web service"),
        ("setting_35", "3", "Choose one of 1, 2"),
        ("setting_64", "0(WEB)|0(CSR)", "stands there twice"),
        ("setting_65", "WEB", "Write it like 0(WEB)|2(CSRWEB)|8(POS)"),
        ("per_envelope", "5", "Several payments may share a call only where"),
        ("timeout_seconds", "500", "less than or equal to 120"),
        ("setting_12", "", "no user name or no password"),
    ],
)
def test_what_is_wrong_is_said_at_the_field(client: Client, biller: Biller, field: str, given: str, words: str) -> None:
    before = Endpoint.objects.filter(biller=biller).values().get(purpose="payments")
    page = client.post(PAYMENTS, FORM | {field: given})
    assert page.status_code == 422
    assert words in text_of(page)
    assert Endpoint.objects.filter(biller=biller).values().get(purpose="payments") == before
    assert AuditEntry.objects.filter(event="endpoint.changed").count() == 0


def test_setting_131_is_held_against_its_schema(client: Client, biller: Biller) -> None:
    page = "/biller/settings/datapump/"
    good = '{"Daffron": {"DataPumpConfigs": {"TransactionIdIsPaymentGuid": true}}, "PdfConfig": {"BCTRModifier": "ValueAfterDash"}}'
    assert "told apart by their approval codes" in text_of(client.get(page))
    for bad, words in (
        ('{"Daffron": ', "Enter valid JSON"),
        ('{"Daffron": {"DataPumpConfigs": {"SkipDonationTypes": "yes"}}}', "SkipDonationTypes"),
        ('{"Milsoft": {}}', "Milsoft"),
        ('{"PdfConfig": {"BCTRModifier": "ValueBeforeDash"}}', "BCTRModifier"),
        ("[]", "object"),
    ):
        answer = client.post(page, {"part": "json", "setting_131": bad})
        assert answer.status_code == 422
        assert words in text_of(answer)
    assert Setting.objects.count() == 0
    assert client.post(page, {"part": "json", "setting_131": good}).status_code == 302
    assert Setting.objects.get().value["Daffron"] == {"DataPumpConfigs": {"TransactionIdIsPaymentGuid": True}}
    assert AuditEntry.objects.get(event="setting.changed").facts == {"number": 131}
    assert "told apart by their approval codes" not in text_of(client.get(page))
    assert client.post(PAYMENTS, FORM | {"per_envelope": "5"}).status_code == 302


def test_switches(client: Client, biller: Biller) -> None:
    customer = billed(biller)
    waiting = enrol(customer, RecordType.AUTOPAY, True)
    other = enrol(customer, RecordType.PAPERLESS, True)
    page = "/biller/settings/datapump/"
    assert "Pay By Text Changes" in text_of(client.get(page))
    client.post(page, {"part": "switches", "payments": "on", "paperless": "on", "pay_by_text_changes": "on"})
    kept = Configuration.objects.get(biller=biller)
    assert (kept.payments, kept.paperless, kept.autopay, kept.pay_by_text_changes) == (True, True, False, True)
    withheld = Record.objects.get(pk=waiting.pk)
    assert (withheld.state, Record.objects.get(pk=other.pk).state) == ("withheld", "waiting")
    assert "Will not send – updates of this kind were switched off" in text_of(client.get(f"{HISTORY}{waiting.pk}/"))
    assert "17, 18, 19" in text_of(client.get(page))
    assert AuditEntry.objects.get(event="datapump.configured").facts["changes"] == "autopay off, pay_by_text_changes on"


def test_a_search_by_name_begins_the_name(client: Client, biller: Biller) -> None:
    pay(make_customer(biller, name="Anna Schmidt"))
    pay(make_customer(biller, name="Hanna Schmidt"))
    assert [row["name"] for row in listed(client, "q=anna")] == ["Anna Schmidt"]


# ---- Which connector, its secret, and what a test brings back ----------------------------------------------------------


@pytest.mark.spec("MSP-35")
def test_webhooks_are_chosen_and_their_secret_is_shown_once(client: Client, biller: Biller) -> None:
    page = text_of(client.get(f"{PAYMENTS}?connector=webhooks"))
    assert "payment.posted" in page
    assert "11 – " in page
    assert all(f"{number} – " not in page for number in (12, 13, 35, 64, 65))
    given = {
        "connector": "webhooks", "setting_11": "https://receiver.example/events", "in_flight": "4",
        "timeout_seconds": "20", "attempts_allowed": "10",
    }  # fmt: skip
    shown = client.post(PAYMENTS, given)
    endpoint = endpoint_of(biller)
    secret = endpoint.password
    assert (endpoint.connector, endpoint.url) == ("webhooks", "https://receiver.example/events")
    assert secret.startswith("whsec_")
    assert secret in shown.content.decode()
    assert shown["Cache-Control"] == "no-store"
    assert client.post(PAYMENTS, given | {"in_flight": "5"}).status_code == 302
    assert endpoint_of(biller).password == secret
    assert secret not in client.get(PAYMENTS).content.decode() + client.get(HISTORY).content.decode()
    changed = client.post(f"{HISTORY}endpoints/{endpoint.pk}/secret/")
    new = endpoint_of(biller).password
    assert new != secret
    assert new in changed.content.decode()
    assert secret not in changed.content.decode()
    assert endpoint_of(biller).retired_password == secret
    assert new not in client.get(PAYMENTS).content.decode()
    assert AuditEntry.objects.filter(event="endpoint.secret_changed").count() == 1
    # MultiSpeak's password is the biller's system's own, and balances are MultiSpeak's alone.
    other = endpoint_of(biller, Purpose.PAPERLESS)
    refused = client.post(f"{HISTORY}endpoints/{other.pk}/secret/", follow=True)
    assert "is the biller’s system’s own" in text_of(refused)
    assert "Signed webhooks" not in text_of(client.get("/biller/settings/datapump/balances/?connector=webhooks"))


@pytest.mark.spec("MSP-35")
def test_a_test_shows_what_came_back_and_touches_nothing(client: Client, biller: Biller, cis: Cis) -> None:
    endpoint = endpoint_of(biller)
    waiting = pay(billed(biller))
    url = f"{HISTORY}endpoints/{endpoint.pk}/ask/"
    page = text_of(client.get(PAYMENTS))
    assert "Send PingURL" in page
    assert "Send GetMethods" in page
    well = text_of(client.post(url, {"question": "GetMethods"}))
    assert "GetMethods: the endpoint is well" in well
    assert "It names: CommitPaymentTransaction" in well
    assert "HTTP status 200" in well
    assert "GetMethodsResponse" in well
    Endpoint.objects.filter(pk=endpoint.pk).update(username="nobody")
    wrong = text_of(client.post(url, {"question": "PingURL"}))
    assert "PingURL: the endpoint is not well" in wrong
    assert "Invalid UserID or Pwd" in wrong
    assert "HTTP status 500" in wrong
    Endpoint.objects.filter(pk=endpoint.pk).update(url="http://127.0.0.1:9/", username=cis.username)
    silent = text_of(client.post(url))
    assert "refuses connections" in silent
    assert "No answer" in silent
    assert "knows no DropTables" in text_of(client.post(url, {"question": "DropTables"}, follow=True))
    assert client.get(url).status_code == 405
    found = Record.objects.get(pk=waiting.pk)
    assert (found.state, found.attempts) == ("waiting", 0)
    assert Delivery.objects.count() == 0
    results = [one.facts["result"] for one in AuditEntry.objects.filter(event="endpoint.tested").order_by("pk")]
    assert len(results) == 3
    assert cis.password not in "".join(results) + well + wrong
    # Twenty in a minute of the clock, then one must wait; what was refused asked nobody.
    tries = (text_of(client.post(url, {"question": "DropTables"})) for _ in range(42))
    assert any("too many tries" in page for page in tries)
    assert AuditEntry.objects.filter(event="endpoint.tested").count() == 3


@pytest.mark.spec("MSP-35")
def test_in_production_a_test_reaches_nothing_of_our_own_network(
    client: Client, biller: Biller, cis: Cis, settings: Settings
) -> None:
    settings.PRODUCTION, settings.DATAPUMP_NETWORKS = True, []
    url = f"{HISTORY}endpoints/{endpoint_of(biller).pk}/ask/"
    page = text_of(client.post(url, secure=True))
    assert "lies in a network that may not be reached" in page
    assert "HTTP status" not in page


@pytest.mark.spec("MSP-36")
def test_what_has_no_endpoint_of_its_own_is_told_to_the_one_of_autopay(biller: Biller) -> None:
    shared = endpoint_of(biller, Purpose.AUTOPAY)
    customer = billed(biller)
    Configuration.objects.filter(biller=biller).update(**dict.fromkeys(SWITCHES, True))
    told = set(types_of(Purpose.AUTOPAY)) - {RecordType.PENDING}
    assert told == set(RecordType) - {RecordType.PAYMENT, RecordType.PAPERLESS, RecordType.PENDING}
    for type_ in told:
        with transaction.atomic():
            write(actor=SYSTEM, biller_id=biller.pk, customer_id=customer.pk, type=type_, facts={})
    assert {record.type: record.endpoint_id for record in Record.objects.all()} == dict.fromkeys(told, shared.pk)
    assert NUMBERS[Purpose.AUTOPAY] == (17, 18, 19)


def test_every_numbered_setting_is_listed_as_it_stands(client: Client, biller: Biller, cis: Cis) -> None:
    page = text_of(client.get("/biller/settings/datapump/numbers/"))
    for one in advanced_settings.registered():
        assert f"{one.number} {one.name}" in page
    assert cis.url in page
    assert cis.password not in page
    assert "Set; never shown" in page


@pytest.mark.spec("MSP-26", "MSP-35")
def test_autopay_groups_want_payments_told_apart(client: Client, biller: Biller) -> None:
    page = "/biller/settings/datapump/"
    apart = '{"Daffron": {"DataPumpConfigs": {"TransactionIdIsPaymentGuid": true}}}'
    refused = client.post(page, {"part": "json", "setting_131": "{}", "setting_128": "1"})
    assert refused.status_code == 422
    assert "share its approval code" in text_of(refused)
    assert Setting.objects.filter(number=128).count() == 0
    assert client.post(page, {"part": "json", "setting_131": apart, "setting_128": "1"}).status_code == 302
    assert Setting.objects.get(number=128).value is True
    shown = text_of(client.get(page))
    assert "128 – AutoPay groups" in shown and "on and do nothing" not in shown
    # Taken away later, they are not grouped any more, and the page says so.
    assert client.post(page, {"part": "json", "setting_131": "{}", "setting_128": "1"}).status_code == 302
    assert "AutoPay groups are on and do nothing" in text_of(client.get(page))
    assert client.post(page, {"part": "json", "setting_131": "{}", "setting_128": "0"}).status_code == 302
    assert Setting.objects.get(number=128).value is False
