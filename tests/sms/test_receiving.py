"""Listening for every line whose provider tells over a connection: stored, reported on, and kept up as settings change."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, transaction

from billing.actors import Actor
from sms.management.commands.receive_texts import receive
from sms.models import Line, Text
from sms.operations import phones, texts
from sms.operations.texts import Draft, Tally
from tests.factories import NOON, make_biller
from tests.message_centre import ACCOUNT, PASSWORD, MessageCentre

pytestmark = pytest.mark.django_db(transaction=True)

LINE, PHONE = "+15055550100", "+15055550123"


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MessageCentre]:
    with MessageCentre(tmp_path_factory.mktemp("centre")) as centre:
        yield centre


def make_line(centre: MessageCentre, **changes: Any) -> Line:
    options = {"host": "127.0.0.1", "port": centre.port, "tls": False, "system_id": ACCOUNT, "timeout": 5.0}
    values = {"number": LINE, "driver": "smpp", "options": options, "secret": PASSWORD, **changes}
    return Line.objects.create(biller=make_biller(), **values)


@pytest.fixture
def receiving() -> Iterator[None]:
    """Receive as the command does, looking for changes all the time."""
    stopping = threading.Event()

    def run() -> None:
        try:
            receive(stopping=stopping, look_every=0.05)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    yield
    stopping.set()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.usefixtures("receiving")
def test_what_phones_say_and_what_became_of_texts_is_kept(centre: MessageCentre) -> None:
    line = make_line(centre)
    with transaction.atomic():
        phone = phones.hold(line.biller_id, PHONE)
        texts.write(drafts=[Draft(line, phone, "Your bill is ready.", "bill_ready", "one", NOON)])
    assert texts.send_due(actor=Actor.system("send_texts"), now=NOON) == Tally(accepted=1)
    sent = Text.objects.get(key="one")
    centre.tell(PHONE, LINE, "PAY")
    centre.receipt("of-nobody", "DELIVRD")
    centre.receipt(sent.provider_id, "DELIVRD")
    centre.wait(lambda book: [each["statuses"] for each in book["deliveries"]] == [[0], [0], [0]])
    sent.refresh_from_db()
    assert (sent.state, sent.status) == ("delivered", "delivered")
    said = Text.objects.get(direction="in")
    assert (said.line, said.phone, said.body) == (line, PHONE, "PAY")
    # While a text is being noted, a report of one that nobody knows is asked for again.
    Text.objects.filter(pk=sent.pk).update(state="sending", provider_id="", status="")
    centre.ask("reset")
    centre.receipt(sent.provider_id, "DELIVRD")
    centre.wait(lambda book: 0x64 in book["deliveries"][0]["statuses"])
    Text.objects.filter(pk=sent.pk).update(state="accepted", provider_id=sent.provider_id)
    centre.wait(lambda book: book["deliveries"][0]["statuses"][-1] == 0)
    sent.refresh_from_db()
    assert sent.state == "delivered"


@pytest.mark.usefixtures("receiving")
def test_a_line_is_listened_to_as_its_row_says(centre: MessageCentre) -> None:
    centre.ask("reset")
    line = make_line(centre, secret="wrong")
    make_line(centre, active=False)
    centre.wait(lambda book: book["binds"])
    time.sleep(0.3)
    assert len(centre.ask("book")["binds"]) == 1, "who is not let in does not try on"
    line.secret = PASSWORD
    line.save()
    centre.wait(lambda book: "bind_receiver" in book["sessions"])
    assert len(centre.ask("book")["binds"]) == 2
    Line.objects.filter(pk=line.pk).update(active=False)
    centre.wait(lambda book: not book["sessions"])
