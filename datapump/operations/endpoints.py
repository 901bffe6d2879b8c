"""Endpoints: where a biller's own system listens, what it wants to hear, and whether it is well.

Source: MSP-35, MSP-36
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction

from billing import audit, throttles
from billing.actors import Actor
from billing.advanced_settings import value
from billing.errors import DomainError
from billing.models import Biller
from billing.secrets import SecretUnreadable
from datapump.advanced_settings import DaffronFlags, networks, target_of
from datapump.calls import Guard, post_once
from datapump.connectors.base import MAX_ANSWER, ConnectorError, Misconfigured
from datapump.connectors.registry import connector_named
from datapump.models import Configuration, Endpoint, Purpose, Record, RecordState, RecordType
from datapump.operations.records import adopt

FIELDS = (
    "connector", "url", "username", "password", "per_envelope", "in_flight", "timeout_seconds", "attempts_allowed",
    "hold_after_failure", "reuse_seconds", "known_hours", "booked_minutes",
)  # fmt: skip
"""What a person may change of an endpoint beside its connector's options."""

BOTH_SIGN = timedelta(hours=24)
"""How long a secret that was changed goes on signing beside the new one."""

TESTS = throttles.Limit("endpoint-test", 20, timedelta(minutes=1))
EXCERPT = 600
"""Characters of an answer to a test that are shown."""

SWITCHES = {
    "payments": (RecordType.PAYMENT, RecordType.REVERSAL, RecordType.FEE, RecordType.INACTIVE),
    "paperless": (RecordType.PAPERLESS,),
    "autopay": (RecordType.AUTOPAY,),
    "scheduled_payments": (RecordType.SCHEDULED,),
    "pay_by_text_changes": (RecordType.PAY_BY_TEXT, RecordType.PENDING),
}


class Change(Protocol):
    """An operation on one endpoint that needs nothing else."""

    def __call__(self, *, actor: Actor, endpoint: Endpoint) -> None: ...


class EndpointRefused(DomainError):
    """The endpoint cannot be set up like this; ``field`` names what is wrong."""


@dataclass(frozen=True, slots=True)
class Tested:
    """What came of a test: ``words`` say it to a person. ``status`` is HTTP's, ``None`` where nothing was answered, and
    ``excerpt`` the beginning of the answer, masked.
    """

    question: str
    well: bool
    words: str
    milliseconds: int
    status: int | None = None
    excerpt: str = ""


def flags_of(biller_id: int) -> DaffronFlags:
    """Give what setting 131 says to DataPump."""
    return DaffronFlags.read(value(131, biller_id))


@transaction.atomic(durable=True)
def change(
    *, actor: Actor, biller: Biller, purpose: str, fields: Mapping[str, Any], options: Mapping[str, Any]
) -> Endpoint:
    """Change a biller's endpoint for one purpose, or make it; records that have waited for one are given to it, and those
    that another connector would not tell there are taken from it.

    ``fields`` are some of ``FIELDS``, ``options`` some of the connector's own; an option of ``None`` or an empty text is
    taken off, and all are with another connector. An empty password keeps the one there is; where the connector makes
    secrets a new endpoint gets one, which ``new_secret`` of the result shows this once. What is wrong for the connector is
    refused here, not when payments wait. A pause that delivery made by itself ends with the change.

    :raises EndpointRefused: something is missing, unknown or not possible; nothing was changed.
    """
    if unknown := set(fields) - set(FIELDS):
        raise EndpointRefused(f"There is no field {sorted(unknown)[0]} of an endpoint.")
    endpoint = Endpoint.objects.select_for_update().filter(biller=biller, purpose=purpose).first()
    made = endpoint is None
    if endpoint is None:
        endpoint = Endpoint.unsaved(biller.pk, purpose)
    endpoint.biller = biller
    spoken = "" if made else endpoint.connector
    changed = []
    for name, wanted in fields.items():
        if name == "password" and not wanted:
            continue
        if made or getattr(endpoint, name) != wanted:
            setattr(endpoint, name, wanted)
            changed.append(name)
    kept = dict(endpoint.options)
    if spoken and endpoint.connector != spoken:
        # What one connector was told of options and credentials means nothing to another.
        kept = {}
        if "password" not in changed:
            endpoint.password = ""
        if "per_envelope" not in changed:
            endpoint.per_envelope = 1
        _retire(endpoint, "", None)
    for name, wanted in options.items():
        if wanted in (None, ""):
            kept.pop(name, None)
        else:
            kept[name] = wanted
    if kept != endpoint.options:
        changed += sorted(name for name in {*kept, *endpoint.options} if kept.get(name) != endpoint.options.get(name))
        endpoint.options = kept
    if not changed:
        return endpoint
    if not endpoint.password and (secret := _make_secret(endpoint)):
        endpoint.password = endpoint.new_secret = secret
    _check(endpoint, flags_of(biller.pk))
    if endpoint.paused_for:
        endpoint.paused, endpoint.paused_for = False, ""
    endpoint.failures_in_a_row, endpoint.closed_until, endpoint.closed_since = 0, None, None
    endpoint.note, endpoint.noted_at = "", None
    endpoint.save()
    if endpoint.connector != spoken:
        adopt(endpoint)
    audit.record(
        actor=actor,
        event="endpoint.changed",
        biller_id=biller.pk,
        subject=str(endpoint.pk),
        facts={"purpose": endpoint.get_purpose_display(), "fields": ", ".join(changed)},
    )
    return endpoint


@transaction.atomic(durable=True)
def change_secret(*, actor: Actor, endpoint: Endpoint, now: datetime) -> str:
    """Make a new secret for an endpoint whose connector makes them; gives it, to be shown this once.

    The one before signs beside it for ``BOTH_SIGN``, so that the biller's system can change over without missing anything.

    :raises EndpointRefused: its biller's system has passwords of its own.
    """
    found = Endpoint.objects.select_for_update().select_related("biller").get(pk=endpoint.pk)
    secret = _make_secret(found)
    if not secret:
        raise EndpointRefused("The password of this endpoint is the biller’s system’s own: change it there, then here.")
    _retire(found, found.password, now + BOTH_SIGN)
    found.password = secret
    found.save(update_fields=["password", "retired_password", "retired_until"])
    audit.record(
        actor=actor, event="endpoint.secret_changed", biller_id=found.biller_id, subject=str(found.pk),
        facts={"purpose": found.get_purpose_display()},
    )  # fmt: skip
    return secret


def _make_secret(endpoint: Endpoint) -> str:
    try:
        return connector_named(endpoint.connector).make_secret()
    except LookupError:
        return ""


def _retire(endpoint: Endpoint, password: str, until: datetime | None) -> None:
    endpoint.retired_password, endpoint.retired_until = password, until


def _check(endpoint: Endpoint, flags: DaffronFlags) -> None:
    try:
        endpoint.clean_fields(exclude=["id", "biller", "options"])
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        raise EndpointRefused(str(messages[0]), field=field) from None
    try:
        Guard(networks()).checked(endpoint.url)
    except Misconfigured as error:
        raise EndpointRefused(str(error), field="url") from None
    if settings.PRODUCTION and not endpoint.url.startswith("https://") and not settings.DATAPUMP_NETWORKS:
        raise EndpointRefused("The address must begin with https://.", field="url")
    try:
        connector, target = connector_named(endpoint.connector), target_of(endpoint, flags)
        connector.write_ping(target)
    except LookupError as error:
        raise EndpointRefused(str(error), field="connector") from None
    except Misconfigured as error:
        raise EndpointRefused(str(error)) from None
    if endpoint.purpose not in connector.purposes:
        raise EndpointRefused(f"{connector.label} cannot be used for this.", field="connector")
    if (
        endpoint.per_envelope > 1
        and endpoint.purpose == Purpose.PAYMENTS
        and connector.batch_limit("payment", target) == 1
    ):
        raise EndpointRefused(connector.batches or "A call tells of one update here.", field="per_envelope")


@transaction.atomic(durable=True)
def pause(*, actor: Actor, endpoint: Endpoint) -> None:
    """Stop sending to an endpoint; its records wait.

    :raises EndpointRefused: it is paused already.
    """
    found = Endpoint.objects.select_for_update().get(pk=endpoint.pk)
    if found.paused:
        raise EndpointRefused("This endpoint is paused already.")
    found.paused, found.paused_for = True, ""
    found.save(update_fields=["paused", "paused_for"])
    audit.record(
        actor=actor, event="endpoint.paused", biller_id=found.biller_id, subject=str(found.pk),
        facts={"purpose": found.get_purpose_display(), "reason": "switched off by hand"},
    )  # fmt: skip


@transaction.atomic(durable=True)
def resume(*, actor: Actor, endpoint: Endpoint) -> None:
    """Send to a paused endpoint again, or to one that is not answering without waiting any longer.

    :raises EndpointRefused: it is neither.
    """
    found = Endpoint.objects.select_for_update().get(pk=endpoint.pk)
    if not found.paused and found.closed_until is None:
        raise EndpointRefused("This endpoint is not paused.")
    found.paused, found.paused_for = False, ""
    found.failures_in_a_row, found.closed_until, found.closed_since = 0, None, None
    found.window_calls = found.window_failures = 0
    found.save(
        update_fields=[
            "paused", "paused_for", "failures_in_a_row", "closed_until", "closed_since", "window_calls", "window_failures",
        ]
    )  # fmt: skip
    audit.record(
        actor=actor, event="endpoint.resumed", biller_id=found.biller_id, subject=str(found.pk),
        facts={"purpose": found.get_purpose_display()},
    )  # fmt: skip


def send_test(*, actor: Actor, endpoint: Endpoint, now: datetime, question: str = "") -> Tested:
    """Ask the biller's system one of its connector's ``pings``, the first by default: harmless, and sent even while the
    endpoint is paused. Nothing that is waiting is touched. The try is committed first, so that no transaction can be open
    meanwhile.

    :raises billing.throttles.TooManyTries: it was asked too often in this minute.
    :raises EndpointRefused: its connector knows no such question.

    Source: MSP-35
    """
    endpoint = Endpoint.objects.select_related("biller").get(pk=endpoint.pk)
    throttles.count(tries=[(TESTS, str(endpoint.pk))], now=now)
    milliseconds, status, excerpt = 0, None, ""
    try:
        connector = connector_named(endpoint.connector)
        question = question or connector.pings[0]
        if question not in connector.pings:
            raise EndpointRefused(f"{connector.label} knows no {question}.")
        target = target_of(endpoint, flags_of(endpoint.biller_id))
        envelope = connector.write_ping(target, question)
        envelope = replace(envelope, headers={**envelope.headers, **connector.sign(envelope, target, now)})
        answer = post_once(envelope, endpoint.timeout_seconds, networks())
        milliseconds, status = round(answer.seconds * 1000), answer.status
        if answer.error is not None:
            raise answer.error
        assert answer.status is not None
        excerpt = connector.mask(answer.body[:MAX_ANSWER])[:EXCERPT]
        said = connector.read_ping(answer.status, answer.body, question)
        words = f"The biller's system answered in {milliseconds} ms. {said}".strip()
        tested = Tested(question, True, words, milliseconds, status, excerpt)
    except (ConnectorError, SecretUnreadable, LookupError) as error:
        tested = Tested(question, False, str(error), milliseconds, status, excerpt)
    with transaction.atomic(durable=True):
        audit.record(
            actor=actor, event="endpoint.tested", biller_id=endpoint.biller_id, subject=str(endpoint.pk),
            facts={"purpose": endpoint.get_purpose_display(), "result": tested.words[:300]},
        )  # fmt: skip
    return tested


@transaction.atomic(durable=True)
def configure(*, actor: Actor, biller: Biller, switches: Mapping[str, bool]) -> Configuration:
    """Switch types of update on or off for a biller.

    Off: no record is made any more, and one that is still waiting will not be sent. On: what was withheld stays so until
    somebody sends it again.

    :raises EndpointRefused: there is no such switch.
    """
    if unknown := set(switches) - set(SWITCHES):
        raise EndpointRefused(f"There is no switch {sorted(unknown)[0]}.")
    configuration, _ = Configuration.objects.select_for_update().get_or_create(biller=biller)
    changed = [name for name, on in switches.items() if getattr(configuration, name) != on]
    if not changed:
        return configuration
    for name in changed:
        setattr(configuration, name, switches[name])
    configuration.save(update_fields=changed)
    off = [int(type_) for name in changed if not switches[name] for type_ in SWITCHES[name]]
    if off:
        Record.objects.filter(
            biller=biller, type__in=off, state__in=[RecordState.WAITING, RecordState.RETRYING]
        ).update(state=RecordState.WITHHELD, failure="updates of this kind were switched off", claimed_at=None)
    words = ", ".join(f"{name} {'on' if switches[name] else 'off'}" for name in changed)
    audit.record(actor=actor, event="datapump.configured", biller_id=biller.pk, facts={"changes": words})
    return configuration
