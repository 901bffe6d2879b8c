"""Programmes: whether a biller offers one, from which line, and in which words it speaks."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass

from django.db import transaction
from django.utils.translation import gettext_lazy as _

from billing import audit, formats
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import Biller
from sms import quiet_hours
from sms.conversations import Language, Reply, wordings
from sms.models import Line, Programme, ProgrammeKind, Wording


class NotOffered(DomainError):
    """The biller has no line to text from, or its programme is stopped."""

    default = _("This biller does not offer pay by text at the moment.")  # type: ignore[assignment]


def programme_of(biller: Biller, kind: ProgrammeKind = ProgrammeKind.PAY_BY_TEXT) -> Programme:
    """Give a biller's programme; one that was never set up is the usual one in the biller's name."""
    found = Programme.objects.filter(biller=biller, kind=kind).first()
    if found is None:
        found = Programme(biller=biller, kind=kind, name=biller.name[:40])
    found.biller = biller
    return found


@dataclass(frozen=True, slots=True)
class Voice:
    """A programme with the words that its biller wrote, by message and language; ours stand for the others."""

    programme: Programme
    templates: Mapping[tuple[str, str], str]

    def words(self, reply: Reply, language: Language) -> str:
        """Put a reply into words."""
        biller = self.programme.biller
        contact = self.programme.contact or (formats.phone(biller.phone) if biller.phone else biller.name)
        speaker = wordings.Programme(self.programme.name, contact, biller.currency)
        template = self.templates.get((str(reply.message), str(language)))
        return wordings.word(reply, programme=speaker, language=language, template=template)


def voice_of(biller: Biller, kind: ProgrammeKind = ProgrammeKind.PAY_BY_TEXT) -> Voice:
    """Give the voice in which a biller's programme speaks."""
    own = Wording.objects.filter(biller=biller, programme=kind).values_list("message", "language", "body")
    return Voice(programme_of(biller, kind), {(message, language): body for message, language, body in own})


def line_of(biller: Biller) -> Line | None:
    """Give the line that a biller texts from; none where it has none."""
    return Line.objects.filter(biller=biller, active=True).order_by("pk").first()


def offers(biller: Biller) -> bool:
    """Say whether payers can enrol."""
    return line_of(biller) is not None and not programme_of(biller).stopped


def offered(biller: Biller) -> tuple[Voice, Line]:
    """Give a biller's voice and line.

    :raises NotOffered: there is no line, or the programme is stopped.
    """
    voice, line = voice_of(biller), line_of(biller)
    if line is None or voice.programme.stopped:
        raise NotOffered
    return voice, line


def open_from(now: datetime.datetime, *, programme: Programme, number: str) -> datetime.datetime:
    """Give the first moment at which a text that nobody asked for may go to a number."""
    return quiet_hours.next_open(
        now, number=number, home=programme.biller.zone, opens=programme.opens, closes=programme.closes
    )


@transaction.atomic(durable=True)
def stop(*, biller: Biller, stopped: bool, actor: Actor) -> bool:
    """Turn a programme's stop switch on or off; gives whether that changed anything."""
    programme = programme_of(biller)
    if programme.stopped == stopped:
        return False
    programme.stopped = stopped
    programme.save()
    audit.record(
        actor=actor,
        event="programme.stopped" if stopped else "programme.resumed",
        biller_id=biller.pk,
        subject=f"programme:{programme.pk}",
        facts={"programme": programme.name},
    )
    return True
