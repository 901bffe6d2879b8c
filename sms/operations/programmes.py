"""Programmes: whether a biller offers one, from which line, and in which words it speaks."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext_lazy as _

from billing import audit, formats
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import Biller
from sms import quiet_hours
from sms.conversations import Language, Message, Reply, linting, wordings
from sms.models import Line, Programme, ProgrammeKind, Wording

FIELDS = (
    "name", "contact", "opens", "closes", "most_a_day", "fee", "stop_ends_everything", "campaign", "terms",
)  # fmt: skip
"""What a person may change of a programme beside its stop switch."""


class ProgrammeRefused(DomainError):
    """A value is not allowed; the sentence says what to enter."""


class WordingRefused(DomainError):
    """The words lack something that this message must say; ``flaws`` has a sentence for each."""

    def __init__(self, flaws: tuple[linting.Flaw, ...]) -> None:
        super().__init__(" ".join(flaw.words for flaw in flaws), field="body")
        self.flaws = flaws


class NoOwnWords(DomainError):
    """The biller has no words of its own for the message."""

    default = "This text goes out in the usual words already."


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


def sample_link() -> str:
    """Give such an address as stands in texts, as long as they get."""
    return f"{settings.PUBLIC_URL}/t/88888888-8888888888"


@dataclass(frozen=True, slots=True)
class Voice:
    """A programme with the words that its biller wrote, by message and language; ours stand for the others."""

    programme: Programme
    templates: Mapping[tuple[str, str], str]

    @property
    def speaker(self) -> wordings.Programme:
        """Who speaks, as texts name it."""
        biller = self.programme.biller
        contact = self.programme.contact or (formats.phone(biller.phone) if biller.phone else biller.name)
        return wordings.Programme(self.programme.name, contact, biller.currency)

    def words(self, reply: Reply, language: Language) -> str:
        """Put a reply into words."""
        template = self.templates.get((str(reply.message), str(language)))
        return wordings.word(reply, programme=self.speaker, language=language, template=template)


def voice_of(biller: Biller, kind: ProgrammeKind = ProgrammeKind.PAY_BY_TEXT) -> Voice:
    """Give the voice in which a biller's programme speaks."""
    own = Wording.objects.filter(biller=biller, programme=kind).values_list("message", "language", "body")
    return Voice(programme_of(biller, kind), {(message, language): body for message, language, body in own})


def flaws_of(voice: Voice, message: Message, language: Language, body: str) -> tuple[linting.Flaw, ...]:
    """Name what a biller's words for a message lack; none where they may be used."""
    if flaws := linting.lint(message, language, body):
        return flaws
    flaw = linting.too_long(linting.longest(message, language, body, voice.speaker, link=sample_link()))
    return (flaw,) if flaw else ()


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
def change(*, biller: Biller, fields: Mapping[str, Any], actor: Actor) -> list[str]:
    """Change a biller's programme, some of ``FIELDS``; gives the names of what changed.

    :raises ProgrammeRefused: a value is not valid.
    """
    programme = _hold(biller)
    before = {name: getattr(programme, name) for name in fields}
    for name, value in fields.items():
        setattr(programme, name, value)
    if programme.opens >= programme.closes:
        raise ProgrammeRefused("Texts end later in the day than they begin.", field="closes")
    try:
        programme.full_clean(validate_unique=False, validate_constraints=False)
    except ValidationError as wrong:
        field, messages = next(iter(wrong.message_dict.items()))
        raise ProgrammeRefused(messages[0], field=field) from None
    changes = {name: [str(old), str(getattr(programme, name))] for name, old in before.items() if old != fields[name]}
    if not changes:
        return []
    programme.save(update_fields=list(changes))
    audit.record(
        actor=actor, event="programme.changed", biller_id=biller.pk, subject=f"programme:{programme.pk}",
        facts={"fields": ", ".join(name.replace("_", " ") for name in changes), "changes": changes},
    )  # fmt: skip
    return list(changes)


@transaction.atomic(durable=True)
def put_into_words(*, biller: Biller, message: Message, language: Language, body: str, actor: Actor) -> bool:
    """Have a message go out in the biller's own words; gives whether they were others before.

    :raises WordingRefused: the words lack something, or name a field that there is not.
    """
    body = body.replace("\r\n", "\n").strip()
    programme = _hold(biller)
    if flaws := flaws_of(Voice(programme, {}), message, language, body):
        raise WordingRefused(flaws)
    kept, new = Wording.objects.get_or_create(
        biller=biller, programme=programme.kind, message=message, language=language, defaults={"body": body}
    )
    if not new and kept.body == body:
        return False
    before, kept.body = "" if new else kept.body, body
    kept.save(update_fields=["body"])
    audit.record(
        actor=actor, event="wording.changed", biller_id=biller.pk, subject=f"wording:{kept.pk}",
        facts={**_named(message, language), "before": before, "after": body},
    )  # fmt: skip
    return True


@transaction.atomic(durable=True)
def use_usual_words(*, biller: Biller, message: Message, language: Language, actor: Actor) -> None:
    """Have a message go out in the words that come with Ratepayer again.

    :raises NoOwnWords: it does already.
    """
    programme = _hold(biller)
    mine = Wording.objects.filter(biller=biller, programme=programme.kind, message=message, language=language)
    kept = mine.first()
    if kept is None:
        raise NoOwnWords
    subject, before = f"wording:{kept.pk}", kept.body
    kept.delete()
    audit.record(
        actor=actor, event="wording.removed", biller_id=biller.pk, subject=subject,
        facts={**_named(message, language), "before": before},
    )  # fmt: skip


def _named(message: Message, language: Language) -> dict[str, str]:
    return {"message": message.replace("_", " "), "language": language.name.title()}


@transaction.atomic(durable=True)
def stop(*, biller: Biller, stopped: bool, actor: Actor) -> bool:
    """Turn a programme's stop switch on or off; gives whether that changed anything."""
    programme = _hold(biller)
    if programme.stopped == stopped:
        return False
    programme.stopped = stopped
    programme.save(update_fields=["stopped"])
    audit.record(
        actor=actor,
        event="programme.stopped" if stopped else "programme.resumed",
        biller_id=biller.pk,
        subject=f"programme:{programme.pk}",
        facts={"programme": programme.name},
    )
    return True


def _hold(biller: Biller) -> Programme:
    """Give a biller's programme, made where it is new, held until the caller's transaction ends."""
    usual = programme_of(biller)
    if usual._state.adding:
        Programme.objects.bulk_create([usual], ignore_conflicts=True)
    held = Programme.objects.select_for_update(no_key=True).get(biller=biller, kind=usual.kind)
    held.biller = biller
    return held
