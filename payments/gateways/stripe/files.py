"""What Stripe lists of a day, as the file of results that other processors send.

A charge stands in the day in which its intent was created; a refund, a deposit and a release in the day in which they
were done, which is why each is read from a list of its own. A day is given when it is an hour old, and the day that has
begun up to an hour ago: until then a list may still grow. Deposits and releases are known from events, so that no day is
given that reaches further back than those. What has no result, or cannot be read, is named and left to be looked up.

Source: PAY-10, PAY-23.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any

from payments.gateways.base import Answer, ChargeRequest, Command, OutcomeUnknown, ResponseFile
from payments.gateways.stripe import answers
from payments.gateways.stripe.answers import DEPOSIT_KEY, KEY, RELEASE_KEY, Json, part, text
from payments.gateways.stripe.events import KEPT
from payments.gateways.stripe.pages import Ask, pages

DAYS = 3
LAG = timedelta(hours=1)
_MOVED = ["charge.captured", "payment_intent.canceled"]


def read(
    ask: Ask, api: Any, *, merchant: str, codes: Mapping[str, int], now: datetime, since: datetime | None = None
) -> Iterator[ResponseFile]:
    """Give the files of the last days, or of those since a moment, oldest first."""
    ends = (now - LAG).astimezone(UTC).replace(microsecond=0)
    oldest = (now - KEPT).astimezone(UTC).date() + timedelta(days=1)
    first = max(since.astimezone(UTC).date(), oldest) if since else ends.date() - timedelta(days=DAYS - 1)
    day = datetime.combine(first, time(), tzinfo=UTC)
    while day < ends:
        until = min(day + timedelta(days=1), ends)
        rows = list(_rows(ask, api, codes, {"gte": int(day.timestamp()), "lt": int(until.timestamp())}))
        yield ResponseFile(
            name=f"{merchant} {day:%Y-%m-%dT%H:%M:%SZ} to {until:%Y-%m-%dT%H:%M:%SZ}",
            covers_from=day,
            covers_until=until,
            answers=tuple(row for row in rows if isinstance(row, Answer)),
            unresolved=tuple(row for row in rows if isinstance(row, str)),
        )
        day += timedelta(days=1)


def _rows(ask: Ask, api: Any, codes: Mapping[str, int], created: Mapping[str, int]) -> Iterator[Answer | str]:
    """Give an answer for each key of a day, and the key alone where there is none."""
    for intent in _oldest_first(ask, api.payment_intents.list, {"created": created, "expand": ["data.latest_charge"]}):
        if key := _named(intent, KEY):
            yield _row(key, _charge, intent, key, codes)
    for refund in _oldest_first(ask, api.refunds.list, {"created": created}):
        if key := _named(refund, KEY):
            yield _row(key, answers.read_refund, refund, key, codes)
    for event in _oldest_first(ask, api.events.list, {"created": created, "types": _MOVED}):
        thing = part(part(event, "data"), "object")
        captured = text(event, "type") == "charge.captured"
        name = text(thing, "payment_intent" if captured else "id")
        if not name or not _named(thing, KEY):
            continue
        intent = _intent(ask, api, name)
        if captured and (key := _named(intent, DEPOSIT_KEY)):
            yield _row(key, _deposit, intent, key)
        elif not captured and (key := _named(intent, RELEASE_KEY)):
            yield _row(key, answers.read_release, intent, key)


def _row(key: str, read: Callable[..., Answer], *given: Any) -> Answer | str:
    try:
        return read(*given)
    except OutcomeUnknown:
        return key


def _charge(intent: Json, key: str, codes: Mapping[str, int]) -> Answer:
    if text(intent, "status") == "requires_payment_method" and answers.is_bank(intent):
        # It may have been answered as carried out when it was taken up; then its return is told as one.
        raise OutcomeUnknown("a debit that failed at once or later")
    return _with_request(answers.read_intent(intent, key, codes), intent)


def _deposit(intent: Json, key: str) -> Answer:
    return _with_request(answers.read_deposit(intent, key), intent, deposited=True)


def _with_request(answer: Answer, intent: Json, *, deposited: bool = False) -> Answer:
    """Put beside an answer what its message said, as far as Stripe keeps it: by that a lost charge is known again."""
    if answer.amount is None:
        return answer
    command = Command.DEPOSIT if deposited else Command.CHARGE
    if not deposited and _only_held(intent):
        command = Command.AUTHORIZE
    request = ChargeRequest(
        key=answer.key,
        command=command,
        amount=answer.amount,
        currency=text(intent, "currency").upper(),
        token="",
        tender="bank" if answers.is_bank(intent) else "card",
        transaction_type="",
        account=_named(intent, "account"),
        reference=text(intent, "id") if deposited else "",
        payment=_named(intent, "payment"),
    )
    return replace(answer, request=request)


def _only_held(intent: Json) -> bool:
    """Say whether an intent was an authorization when it was created, whatever became of it since."""
    return (
        text(intent, "capture_method") == "manual"
        or text(intent, "status") == "requires_capture"
        or bool(_named(intent, DEPOSIT_KEY) or _named(intent, RELEASE_KEY))
    )


def _intent(ask: Ask, api: Any, name: str) -> Json:
    return ask(lambda: api.payment_intents.retrieve(name, {"expand": ["latest_charge"]}))


def _oldest_first(ask: Ask, call: Callable[[Any], Any], wanted: Mapping[str, Any]) -> list[Json]:
    return list(pages(ask, call, wanted))[::-1]


def _named(thing: Json, name: str) -> str:
    return text(part(thing, "metadata"), name)
