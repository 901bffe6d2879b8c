"""Heartbeats: what a processor that answers or does not leaves on its route, and where people see it."""

from __future__ import annotations

import datetime

import pytest
from django.urls import reverse
from django.utils import timezone

from billing import tenancy
from billing.models import Biller, Role
from config.celery import BEAT, app
from payments.models import Route
from payments.operations import heartbeats
from payments.tasks import ask_processor, ask_processors
from tests.factories import make_biller, make_route
from tests.processor import Processor
from tests.staff import client_of, make_staff

pytestmark = pytest.mark.django_db(transaction=True)
SECOND = datetime.timedelta(seconds=1)


@pytest.fixture
def biller() -> Biller:
    return make_biller(time_zone="UTC")


@pytest.mark.spec("PAY-22", "PAY-23")
def test_a_heartbeat_keeps_the_last_answer_the_last_failure_and_since_when(
    biller: Biller, processor: Processor
) -> None:
    route = make_route(biller, processor.url)
    assert (route.connection, route.connection_since) == ("unasked", None)
    began = timezone.now()
    first = heartbeats.ask(route=route)
    assert (first.connection, first.failed_at, first.failure) == ("answers", None, "")
    assert first.heard_at == first.connection_since and first.heard_at is not None and first.heard_at >= began
    again = heartbeats.ask(route=route)
    assert again.heard_at is not None and again.heard_at > first.heard_at
    assert again.connection_since == first.connection_since

    processor.strike("error_before", next=2, on=["ping"])
    silent = heartbeats.ask(route=route)
    assert (silent.connection, silent.failure) == ("silent", "the processor answers 500")
    assert (silent.heard_at, silent.connection_since) == (again.heard_at, silent.failed_at)
    still = heartbeats.ask(route=route)
    assert (still.connection_since, still.failed_at != silent.failed_at) == (silent.connection_since, True)

    processor.control(heal=True)
    well = heartbeats.ask(route=route)
    assert (well.connection, well.failed_at, well.failure) == ("answers", still.failed_at, "the processor answers 500")
    assert well.connection_since == well.heard_at


@pytest.mark.spec("PAY-22")
def test_beat_asks_each_active_route_every_two_minutes(biller: Biller, processor: Processor) -> None:
    assert BEAT["Ask processors"].every == datetime.timedelta(minutes=2)
    good, wrong = make_route(biller, processor.url), make_route(make_biller(), driver="gone")
    off = make_route(biller, processor.url, active=False)
    app.conf.task_always_eager = True
    try:
        ask_processors()
    finally:
        app.conf.task_always_eager = False
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        found = {route.pk: (route.connection, route.failure) for route in Route.objects.all()}
    assert found == {
        good.pk: ("answers", ""), wrong.pk: ("silent", "there is no gateway driver gone"), off.pk: ("off", ""),
    }  # fmt: skip
    off.refresh_from_db()
    assert off.answered is None


@pytest.mark.spec("PAY-22")
def test_a_processor_silent_for_120_seconds_shows_in_the_command_centre_and_a_click_asks_again(
    biller: Biller, processor: Processor
) -> None:
    route = make_route(biller, processor.url, name="Cards <main>")
    elsewhere = make_route(make_biller(), processor.url)
    heard = timezone.now()
    Route.objects.filter(pk=route.pk).update(
        answered=False, heard_at=heard, failed_at=heard + SECOND, connection_since=heard + SECOND, failure="line down"
    )
    assert heartbeats.silent(biller_id=biller.pk, now=heard + 119 * SECOND) == []
    assert heartbeats.silent(biller_id=biller.pk, now=heard + 120 * SECOND) == [route]
    assert heartbeats.silent(biller_id=elsewhere.biller_id, now=heard + 120 * SECOND) == []

    client, reader = client_of(make_staff(biller)), client_of(make_staff(biller, Role.READ_ONLY))
    runs, page = reverse("biller-runs"), reverse("biller-connections")
    assert "has not answered since" not in client.get(runs).content.decode()
    Route.objects.filter(pk=route.pk).update(heard_at=heard - 120 * SECOND)
    shown = reader.get(runs).content.decode()
    assert "Cards &lt;main&gt; has not answered since" in shown and "line down" in shown
    listed = client.get(page).content.decode()
    assert "Not answering" in listed and "line down" in listed and "Ask now" in listed
    assert '<td data-label="Returns read up to">–</td>' in listed
    Route.objects.filter(pk=route.pk).update(reversals_read_until=heard)
    assert (
        f'<td data-label="Returns read up to"><time datetime="{heard:%Y-%m-%dT%H:%M}'
        in client.get(page).content.decode()
    )
    assert str(elsewhere) not in listed
    assert "Ask now" not in reader.get(page).content.decode()

    before = list(Route.objects.order_by("pk").values())
    assert reader.post(reverse("biller-connection-ask", args=[route.pk])).status_code == 403
    assert client.post(reverse("biller-connection-ask", args=[elsewhere.pk])).status_code == 404
    assert list(Route.objects.order_by("pk").values()) == before
    answer = client.post(reverse("biller-connection-ask", args=[route.pk]), follow=True)
    assert "is being asked" in answer.content.decode()
    ask_processor(route.pk)
    assert "Answering" in client.get(page).content.decode()
    assert "has not answered since" not in client.get(runs).content.decode()
