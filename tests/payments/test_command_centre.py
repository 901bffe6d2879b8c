"""The command centre and the pages about what is unresolved, the daily check, and the logs of what was transmitted."""

from __future__ import annotations

import datetime
import gzip
import io
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core import mail
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing import formats
from billing.actors import Actor
from billing.models import AuditEntry, Biller, Customer, Membership, Role, Run
from config.beat import write_table
from config.celery import BEAT
from payments import transmissions
from payments.biller_portal.cases import DecideForm
from payments.gateways.base import Answer, Result
from payments.models import Attempt, Case, Channel, Instrument, Payment, Route, UnresolvedReport
from payments.operations import charges, collections, daily_checks, recoveries, settlements
from payments.tasks import check_unresolved, wake_runs, work_run
from tests.factories import make_autopay, make_biller, make_customer, make_instrument, make_invoice, make_route
from tests.processor import Processor
from tests.staff import client_of, make_staff

pytestmark = pytest.mark.django_db
SYSTEM = Actor.system("test")
HOUR = datetime.timedelta(hours=1)


@pytest.fixture
def biller(processor: Processor) -> Biller:
    biller = make_biller(time_zone="UTC")
    make_route(biller, processor.url, options={"settle_seconds": 20.0})
    return biller


def owing(biller: Biller, processor: Processor, amount: str, outcome: str = "approve") -> None:
    route, today = Route.objects.get(biller=biller), timezone.now().date()
    customer = make_customer(biller)
    make_autopay(customer, make_instrument(customer, route, processor.token(route.merchant, outcome)))
    make_invoice(customer, amount, due_on=today, collect_on=today)


def collect(biller: Biller, repeat: str = "") -> Run:
    options = collections.Options.usual(timezone.now().date(), repeat=repeat)
    run = collections.plan(biller=biller, options=options, actor=SYSTEM, now=timezone.now())
    for _chunk in collections.work(run=run, actor=SYSTEM):
        pass
    return run


def stuck(
    biller: Biller, processor: Processor, amount: str = "84.10", *, age: datetime.timedelta = 2 * HOUR
) -> Attempt:
    """Make a charge whose answer was lost so long ago."""
    owing(biller, processor, amount)
    processor.strike("drop_after")
    collect(biller, amount)
    attempt = Attempt.objects.get(state="open", payment__amount=amount)
    then = timezone.now() - age
    Attempt.objects.filter(pk=attempt.pk).update(created_at=then, sent_at=then)
    return Attempt.objects.get(pk=attempt.pk)


def read(client: Client, url: str) -> str:
    answer = client.get(url)
    assert answer.status_code == 200
    return answer.content.decode()


def page(name: str, *args: object) -> str:
    return reverse(name, args=args)


@pytest.mark.spec("PAY-11")
def test_the_command_centre_shows_what_comes_what_was_and_what_is_unresolved(
    biller: Biller, processor: Processor
) -> None:
    write_table(BEAT)
    owing(biller, processor, "10.00")
    owing(biller, processor, "7.50", "hard_decline")
    owing(biller, processor, "6.25", "service_unavailable")
    run = collect(biller)
    stuck(biller, processor, "20.25")
    client = client_of(make_staff(biller))
    shown = read(client, page("biller-runs"))
    for words in (
        "What comes next", "Collect what is due", "Deposit what was authorized", "No run is at work.",
        "Payments by runs", "1 taken in 14 days.", "$10.00 taken in 14 days.", "Charges", "$20.25", "History",
        "Not reached 1", "Not reached $6.25",
    ):  # fmt: skip
        assert words in shown, words
    # What the biller does not want is not coming.
    assert "Release what was not deposited" in shown and "Collect every open bill" not in shown
    assert "Act on late bills" not in shown
    Biller.objects.update(rebill_weekly=True, release_days=0)
    wanted = read(client, page("biller-runs"))
    assert "Collect every open bill" in wanted and "Mondays" in wanted
    assert "Release what was not deposited" not in wanted
    # Whoever looks for something sees the list alone.
    assert "What comes next" not in read(client, page("biller-runs") + "?kind=collect")
    one = read(client, page("biller-run", run.pk))
    assert "0 Passed" in one and "8 Hard decline" in one and "6 Service not available" in one
    assert "3 of 3 bills, $10.00 taken" in one and "Not reached" in one
    Run.objects.filter(pk=run.pk).update(state="working")
    assert f"Collect {run.pk}" in read(client, page("biller-runs"))


@pytest.mark.spec("PAY-9")
def test_a_person_resolves_each_kind_on_its_page_and_what_is_refused_changes_nothing(
    biller: Biller, processor: Processor
) -> None:
    attempt = stuck(biller, processor)
    dana, reader = make_staff(biller, name="Dana Whitfield"), make_staff(biller, Role.READ_ONLY)
    client = client_of(dana)
    listed = read(client, page("biller-unresolved"))
    assert "What to do about each kind" in listed and "Give up charges" in listed
    assert "Give up charges" not in read(client_of(reader), page("biller-unresolved"))
    shown = read(client, page("biller-attempt", attempt.pk))
    batch = f"{attempt.payment.run_id}/1"
    assert "It may not be given up yet" in shown and f"Send batch {batch} again" in shown
    assert "Resolve it" not in read(client_of(reader), page("biller-attempt", attempt.pk))

    before = list(Attempt.objects.values()), list(Payment.objects.values()), Case.objects.count()
    refused = client.post(
        page("biller-attempt-resolve", attempt.pk), {"outcome": "not_charged", "evidence": "Their page."}
    )
    assert refused.status_code == 422 and "recognises a repeat of this charge until" in refused.content.decode()
    empty = client.post(page("biller-attempt-resolve", attempt.pk), {"outcome": "charged", "evidence": ""})
    assert empty.status_code == 422
    asked = read(client, page("biller-unresolved-give-up", "charge"))
    assert "None of the charges may be given up yet" in asked and "1 may not be given up yet: answered" in asked
    assert "Give them up" not in asked
    assert "There are no refunds to give up" in read(client, page("biller-unresolved-give-up", "refund"))
    assert (list(Attempt.objects.values()), list(Payment.objects.values()), Case.objects.count()) == before

    done = client.post(
        page("biller-attempt-resolve", attempt.pk),
        {"outcome": "charged", "evidence": "Their report of Nov 22.", "approval_code": "A1"},
    )
    assert done["location"] == page("biller-attempt", attempt.pk)
    assert Payment.objects.get().state == "posted"
    after = read(client, done["location"])
    assert "Charged. Their report of Nov 22." in after and "Dana Whitfield" in after
    case = Case.objects.get()
    assert (case.state, case.closed_by) == ("done", "Dana Whitfield")


def test_a_batch_is_sent_again_and_old_charges_are_given_up_from_their_pages(
    biller: Biller, processor: Processor
) -> None:
    client = client_of(make_staff(biller, name="Dana Whitfield"))
    first = stuck(biller, processor, "20.00")
    url = page("biller-batch-resubmit", first.payment.run_id, 1)
    assert "1, $20.00" in read(client, url)
    batch = f"{first.payment.run_id}/1"
    sent = client.post(url, follow=True).content.decode()
    assert f"Batch {batch} is sent again. You may leave this page; it goes on." in sent
    # Nobody was asked within the request; asked twice it is one run, which beat brings forward and a worker works off.
    assert f"Batch {batch} is being sent again" in sent and "Asked for by Dana Whitfield" in sent
    client.post(url)
    asked = Run.objects.get(kind="recover")
    assert (asked.state, asked.asked_by, Attempt.objects.get().state) == ("planned", "Dana Whitfield", "open")
    assert f"Recover {asked.pk}" in read(client, page("biller-runs"))
    assert sum(processor.charges().values()) == 1
    assert f"Batch {batch} is being sent again" in read(client, page("biller-attempt", first.pk))
    work_run(asked.pk)
    asked.refresh_from_db()
    assert (asked.state, asked.failure, Attempt.objects.get().state) == ("done", "", "applied")
    assert processor.charges() == {str(first.pk): 1}
    assert "is being sent again" not in read(client, page("biller-unresolved"))
    shown = read(client, page("biller-run", asked.pk))
    assert "1 of 1 messages, $20.00 taken" in shown and batch in shown
    assert [(one.event, one.actor) for one in AuditEntry.objects.filter(event__startswith="run.resub")] == [
        ("run.resubmission_asked", "Dana Whitfield"), ("run.resubmitted", "recover"),
    ]  # fmt: skip
    old = stuck(biller, processor, "30.00", age=datetime.timedelta(days=8))
    refused = client.post(page("biller-batch-resubmit", old.payment.run_id, 1), follow=True).content.decode()
    assert "could be charged twice" in refused.replace("\n", " ")
    assert Run.objects.filter(kind="recover").count() == 1
    done = client.post(page("biller-unresolved-give-up", "charge"), {"evidence": "Their report"}, follow=True)
    assert "1 given up." in done.content.decode()
    old.refresh_from_db()
    assert (old.state, old.result, old.message) == ("abandoned", 999, "Dana Whitfield: Their report")
    assert client.get(page("biller-unresolved-give-up", "nothing")).status_code == 404


@pytest.mark.spec("PAY-10")
def test_what_goes_wrong_when_a_batch_is_sent_again_stands_on_the_page_until_it_has_its_results(
    biller: Biller, processor: Processor
) -> None:
    client = client_of(make_staff(biller, name="Dana Whitfield"))
    first = stuck(biller, processor, "20.00")
    url, unresolved = page("biller-batch-resubmit", first.payment.run_id, 1), page("biller-unresolved")
    client.post(url)
    asked = Run.objects.get(kind="recover")
    good = dict(Route.objects.get().options)
    Route.objects.update(options={**good, "base_url": "http://127.0.0.1:9"})
    # Stopped meanwhile it waits; then the line is down.
    Biller.objects.update(charging_stopped=True)
    work_run(asked.pk)
    asked.refresh_from_db()
    assert asked.state == "planned"
    Biller.objects.update(charging_stopped=False)
    wake_runs()
    work_run(asked.pk)
    asked.refresh_from_db()
    assert (asked.state, Attempt.objects.get().state) == ("failed", "open")
    assert asked.failure == "1 of 1 have no answer yet. They are looked up until they have one."
    for shown in (read(client, unresolved), read(client, page("biller-attempt", first.pk))):
        assert f"Sent again, not all of batch {first.payment.run_id}/1 has a result" in shown
        assert asked.failure in shown
    # Asked for again it is another run; recovery settles it before a worker comes, and nothing is left to say.
    Route.objects.update(options=good)
    client.post(url)
    again = Run.objects.get(kind="recover", state="planned")
    none = datetime.timedelta(0)
    recoveries.recover(biller=biller, actor=SYSTEM, least_age=none, pause=none)
    work_run(again.pk)
    again.refresh_from_db()
    assert (again.pk == asked.pk, again.state, again.failure) == (False, "done", "")
    assert "Sent again, not all" not in read(client, unresolved)
    assert processor.charges() == {str(first.pk): 1}


def test_a_case_of_a_charge_that_only_the_processor_has_is_recorded_from_its_page(
    biller: Biller, processor: Processor
) -> None:
    route, client = Route.objects.get(), client_of(make_staff(biller))
    customer = make_customer(biller)
    make_invoice(customer, "33.00")
    facts: dict[str, Any] = {"amount": "33.00", "currency": "USD", "account": "9-1", "route": str(route.pk)}
    case = Case.objects.create(
        biller=biller, kind="unbooked", key="019ab000-0000-7000-8000-000000000001", reason="Theirs.", facts=facts
    )
    assert "9-1" in read(client, page("biller-cases"))
    assert "Whose charge it is" in read(client, page("biller-case", case.pk))
    given = {"outcome": "record", "evidence": "Called.", "account": ""}
    url = page("biller-case-close", case.pk)
    assert "Enter the account whose payment it is" in client.post(url, given).content.decode()
    assert "There is no such account." in client.post(url, given | {"account": "0"}).content.decode()
    # Another one's number is what this one calls itself: nobody guesses whose money it is.
    other = make_customer(biller, display_number=customer.number)
    assert "Two accounts go by this number" in client.post(url, given | {"account": customer.number}).content.decode()
    assert Payment.objects.count() == 0
    Customer.objects.filter(pk=other.pk).update(display_number="")
    client.post(url, given | {"account": customer.number})
    payment = Payment.objects.get()
    assert (payment.state, str(payment.amount), payment.customer_id) == ("posted", "33.00", customer.pk)
    case.refresh_from_db()
    assert (case.state, case.customer_id) == ("done", customer.pk)


def test_a_payment_leads_to_its_attempts_and_waits_while_a_case_about_it_is_open(
    biller: Biller, processor: Processor
) -> None:
    owing(biller, processor, "84.10")
    card = Instrument.objects.get()
    payment = charges.pay(
        customer=card.customer, amount=Decimal("84.10"), instrument=card, channel=Channel.CSR, actor=SYSTEM,
        request_key="hold", authorize_only=True,
    )  # fmt: skip
    attempt = Attempt.objects.get()
    settlements.settle(
        biller=biller, answers=[Answer(str(attempt.pk), Result.HARD_DECLINE)], actor=SYSTEM, now=timezone.now()
    )
    case = Case.objects.get()
    assert case.reason == "The processor now says result 8; it said result 0 before."
    client = client_of(make_staff(biller))
    shown = client.get(page("biller-payment", payment.pk)).content.decode()
    assert page("biller-attempt", attempt.pk) in shown and page("biller-case", case.pk) in shown
    assert "Release it" not in shown
    assert "what the bank holds is given back by itself" in read(client, page("biller-case", case.pk))
    before = list(Attempt.objects.values()), list(Payment.objects.values())
    refused = client.post(page("biller-payment-release", payment.pk), follow=True)
    assert "A case about this payment is open. Decide it first." in refused.content.decode()
    assert (list(Attempt.objects.values()), list(Payment.objects.values())) == before
    client.post(page("biller-case-close", case.pk), {"evidence": "The bank holds it."})
    assert "Release it" in read(client, page("biller-payment", payment.pk))


def test_a_case_of_a_refund_asks_whether_the_money_went_back(biller: Biller, processor: Processor) -> None:
    shown = str(DecideForm(command="refund"))
    assert "The money went back: record the refund" in shown
    assert "It did not go back: the refund may be made again" in shown
    assert "book the payment" not in shown


@pytest.mark.spec("PAY-10")
def test_a_route_that_is_set_up_wrongly_does_not_end_recovery(biller: Biller, processor: Processor) -> None:
    first, second = stuck(biller, processor, "84.10"), stuck(biller, processor, "20.00")
    wrong = Route.objects.get()
    good = make_route(biller, processor.url, merchant=wrong.merchant)
    Attempt.objects.filter(pk=second.pk).update(route=good)
    wrong.options["concurrency"] = 0
    wrong.save()
    nothing = datetime.timedelta(0)
    recoveries.recover(biller=biller, actor=SYSTEM, least_age=nothing, pause=nothing)
    assert Attempt.objects.get(pk=first.pk).state == "open"
    assert Attempt.objects.get(pk=second.pk).state == "applied"


@pytest.mark.spec("PAY-11")
def test_the_daily_check_reports_once_and_tells_who_wants_it_and_nobody_where_nothing_is(
    biller: Biller, processor: Processor, monkeypatch: pytest.MonkeyPatch
) -> None:
    dana, sam = make_staff(biller, name="Dana"), make_staff(biller, name="Sam")
    make_staff(biller, Role.CSR)
    client = client_of(sam)
    client.post(page("biller-profile"), {"name": "Sam", "search_shortcut": "on"})
    assert not Membership.objects.get(user=sam).wants_alerts
    morning = timezone.now().replace(hour=9, minute=20)
    monkeypatch.setattr(timezone, "now", lambda: morning)
    check_unresolved()
    assert (UnresolvedReport.objects.count(), mail.outbox) == (0, [])
    stuck(biller, processor, age=HOUR / 2)
    check_unresolved()
    assert UnresolvedReport.objects.count() == 0
    Attempt.objects.update(created_at=morning - 2 * HOUR)
    night = morning.replace(hour=5)
    assert not daily_checks.due(biller=biller, now=night)
    for _ in range(2):
        check_unresolved()
    report = UnresolvedReport.objects.get()
    assert (report.count, str(report.total), report.cases) == (1, "84.10", 0)
    (message,) = mail.outbox
    assert message.to == [dana.email]
    assert message.subject == f"{biller.name}: 1 charge without a result"
    assert "- Charges: 1, $84.10" in message.body and page("biller-unresolved") in message.body
    assert "had no result for more than an hour: $84.10" in read(client, page("biller-search"))
    assert AuditEntry.objects.filter(event="unresolved.reported").count() == 1
    out = io.StringIO()
    call_command("check_unresolved", "--biller", biller.slug, stdout=out)
    assert "1 without a result, 84.10 USD, 0 cases" in out.getvalue()
    with timezone.override(biller.zone):
        assert f"oldest {formats.moment(morning - 2 * HOUR)}" in out.getvalue()
    call_command("check_unresolved", "--biller", biller.slug, "--tell", stdout=out)
    assert "0 told: today's report was mailed before" in out.getvalue()


@pytest.mark.spec("PAY-13")
def test_what_is_transmitted_is_logged_before_it_goes_masked_archived_and_purged(
    biller: Biller, processor: Processor, tmp_path: Path, settings: Any
) -> None:
    settings.TRANSMISSIONS = tmp_path / "transmissions"
    attempt = stuck(biller, processor)
    # The answer was lost; what was sent is there.
    lines = list(transmissions.find(biller_id=biller.pk, text=str(attempt.pk)))
    assert ['"direction": "sent"' in line for _path, line in lines] == [True]
    path = lines[0][0]
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    transmissions.log_of(attempt.route)("sent", "kept")
    today = timezone.now()
    day = datetime.timedelta(days=1)
    assert transmissions.age_out(now=today + day) == transmissions.Aged(0, 0)
    assert transmissions.age_out(now=today + 2 * day) == transmissions.Aged(1, 0)
    (archive,) = path.parent.iterdir()
    assert archive.suffix == ".gz" and str(attempt.pk) in gzip.decompress(archive.read_bytes()).decode()
    out = io.StringIO()
    call_command("transmissions", "--biller", biller.slug, "--find", str(attempt.pk), stdout=out)
    assert "1 messages" in out.getvalue()
    assert transmissions.age_out(now=today + 30 * day) == transmissions.Aged(0, 0)
    assert transmissions.age_out(now=today + 31 * day) == transmissions.Aged(0, 1)
    assert list(path.parent.iterdir()) == []


def test_a_log_that_cannot_be_written_never_stands_in_the_way_of_a_payment(
    biller: Biller, processor: Processor, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    before = settings.TRANSMISSIONS
    settings.TRANSMISSIONS = tmp_path / "file"
    try:
        owing(biller, processor, "10.00")
        collect(biller)
    finally:
        settings.TRANSMISSIONS = before
    assert Payment.objects.get().state == "posted"
