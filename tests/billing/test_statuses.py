"""The map of statuses: every stored value has words, a colour and an icon."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import heroicons
import pytest
from django.utils import timezone, translation

from billing import statuses
from billing.models import ChunkState, CustomerStatus, FileState, NoticeState, RunState
from datapump.models import Delivery, RecordState
from payments.models import AttemptState, CaseState, InstrumentState, PaymentState, ScheduledState
from sms.models import Mode, TextState

STORED = {
    "record": RecordState.values,
    "delivery": [value for value, _ in Delivery._meta.get_field("outcome").choices or []],
    "payment": PaymentState.values,
    "attempt": AttemptState.values,
    "instrument": InstrumentState.values,
    "case": CaseState.values,
    "scheduled": ScheduledState.values,
    "file": FileState.values,
    "run": RunState.values,
    "chunk": ChunkState.values,
    "notice": NoticeState.values,
    "customer": CustomerStatus.values,
    "pay_by_text": [str(one) for one in Mode],
    "text": TextState.values,
}
# What pages work out and no column holds.
WORKED_OUT = {
    "record": {"on_hold"},
    "attempt": {"unresolved"},
    "instrument": {"expired"},
    "run": {"stopping"},
    "pay_by_text": {"none"},
}


@pytest.mark.parametrize("noun", STORED)
def test_the_map_has_every_stored_value_and_no_other(noun: str) -> None:
    assert set(statuses.STATUSES[noun]) == {str(value) for value in STORED[noun]} | WORKED_OUT.get(noun, set())


@pytest.mark.parametrize("noun", statuses.STATUSES)
def test_each_status_has_words_of_its_own_and_an_icon_that_exists(noun: str) -> None:
    shown = [statuses.status(noun, value) for value in statuses.STATUSES[noun]]
    assert len({one.text for one in shown}) == len(shown)
    for one in shown:
        assert "<path" in heroicons._render_icon("micro", one.icon, 14, {})


def test_a_detail_completes_the_words() -> None:
    with translation.override("en"), timezone.override(ZoneInfo("America/New_York")):
        assert (
            statuses.status("record", "retrying", datetime(2026, 11, 22, 19, 30, tzinfo=UTC)).text
            == "Retrying – next at 2:30 pm"
        )
        assert (
            statuses.status("record", "withheld", "no service location").text == "Will not send – no service location"
        )
        assert statuses.status("record", "skipped", "Dana Whitfield").text == "Skipped by Dana Whitfield"
        assert statuses.status("record", "skipped").text == "Skipped"
        assert statuses.status("record", "delivered", "ignored").text == "Delivered"


def test_an_unknown_status_is_an_error() -> None:
    with pytest.raises(KeyError):
        statuses.status("record", "lost")
