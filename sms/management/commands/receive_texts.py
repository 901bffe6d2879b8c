"""``manage.py receive_texts``: listens to the text providers that tell over a connection instead of by webhooks."""

from __future__ import annotations

import logging
import signal
import threading
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand
from django.db import DatabaseError, close_old_connections, connection

from billing import tenancy, wakes
from billing.actors import Actor
from sms import tasks
from sms.models import Line, Text, TextState
from sms.operations import inbound, texts
from sms.operations.lines import open_line
from sms.providers.base import Inbound, Listener, Misconfigured, StatusReport
from sms.providers.listening import keep_listening
from sms.providers.registry import LISTENING

logger = logging.getLogger(__name__)

LOOK_EVERY = 15.0
"""Seconds between two looks for lines that are new, changed or switched off."""

_PROVIDER = Actor.system("text provider")


class Command(BaseCommand):
    help = "Listens to the text providers of every line that has one on a connection (SMPP), until it is stopped."

    def handle(self, *args: Any, **options: Any) -> None:
        stopping = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
        receive(stopping=stopping)


def receive(*, stopping: threading.Event, look_every: float = LOOK_EVERY) -> None:
    """Keep a connection for each such line, in a thread of its own; one whose settings change is made anew."""
    kept: dict[str, tuple[threading.Thread, threading.Event]] = {}
    try:
        while not stopping.is_set():
            wanted = _wanted()
            for settings in set(kept) - set(wanted):
                _stop(*kept.pop(settings))
            # One that the provider does not let in has ended, and stays so until its settings are put right.
            for settings in set(wanted) - set(kept):
                ending = threading.Event()
                thread = threading.Thread(target=_listen, args=(wanted[settings], ending), name=f"line {settings}")
                kept[settings] = (thread, ending)
                thread.start()
            stopping.wait(look_every)
    finally:
        for _, ending in kept.values():
            ending.set()
        for thread, ending in kept.values():
            _stop(thread, ending)


def _wanted() -> dict[str, Line]:
    close_old_connections()
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        lines = list(Line.objects.filter(active=True, driver__in=LISTENING).select_related("biller"))
    return {f"{line.pk} {hash((line.driver, repr(sorted(line.options.items())), line.secret))}": line for line in lines}


def _stop(thread: threading.Thread, ending: threading.Event) -> None:
    ending.set()
    thread.join()


def _listen(line: Line, ending: threading.Event) -> None:
    tenancy.enter([line.biller_id])

    def lost(why: str) -> None:
        logger.warning("line %s lost its connection: %s", line.pk, why)

    while not ending.is_set():
        try:
            listener = open_line(line)
            assert isinstance(listener, Listener)
            keep_listening(listener, partial(_hear, line, listener), stopping=ending, on_loss=lost)
        except Misconfigured as error:
            logger.error("line %s cannot listen: %s", line.pk, error)
            break
        except Exception:
            # A mistake of ours about one text must not make the line deaf for good; its provider tells it again.
            logger.exception("line %s fell silent", line.pk)
            ending.wait(LOOK_EVERY)
    connection.close()


def _hear(line: Line, listener: Listener, told: Inbound | StatusReport) -> bool:
    close_old_connections()
    try:
        return _take(line, listener, told)
    except DatabaseError:
        logger.exception("line %s could not keep what it was told", line.pk)
        return False


def _take(line: Line, listener: Listener, told: Inbound | StatusReport) -> bool:
    """Take what a provider tells of one line; False where it is to be told again."""
    if isinstance(told, Inbound):
        answered = told.acted_on is not None and told.acted_on in listener.managed.answers
        if inbound.store(line=line, inbound=told, answered=answered):
            wakes.wake(tasks.hear)
        return True
    if texts.report(line=line, report=told, actor=_PROVIDER):
        return True
    # It may be about a text whose name is being put down at this moment.
    return not Text.objects.filter(line=line, state=TextState.SENDING).exists()
