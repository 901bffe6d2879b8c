"""Reading what Stripe says: intents, refunds and errors become answers to our keys.

Everything here is pure and takes plain JSON. A thing that is not for the key that was asked about, or that cannot be
read, is no answer: its outcome is unknown.

Source: PAY-1, PAY-4, PAY-10.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from payments.gateways.base import (
    Answer,
    GatewayError,
    Misconfigured,
    NotSent,
    OutcomeUnknown,
    Refused,
    Result,
)
from payments.gateways.stripe.amounts import major_units

# Where our keys stand among the metadata of Stripe's objects.
KEY = "ratepayer_key"
DEPOSIT_KEY = "ratepayer_deposit"
RELEASE_KEY = "ratepayer_release"

MESSAGE_LONGEST = 200
# Stripe says nothing of a security code that it was not given.
_CVV = {"pass": "M", "fail": "N", "unavailable": "U", "unchecked": "U"}
_ADVICE_AGAINST = "do_not_try_again"

Json = Mapping[str, Any]


def read_intent(intent: Json, key: str, codes: Mapping[str, int]) -> Answer:
    """Read the outcome of a charge or an authorization from its payment intent, the newest charge expanded in it.

    A debit of a bank account counts as carried out as soon as Stripe takes it up: what fails afterwards is a return.

    :raises OutcomeUnknown: it is another key's, it has no outcome yet, or it cannot be read.
    """
    _expect(intent, "payment_intent", key, KEY)
    charge = part(intent, "latest_charge")
    status = text(intent, "status")
    error = intent.get("last_payment_error")
    # One that was canceled although its charge was good was authorized, and its money let go since.
    released = status == "canceled" and charge.get("status") == "succeeded"
    if status in {"succeeded", "requires_capture"} or (status == "processing" and is_bank(intent)) or released:
        return Answer(
            key=key,
            result=Result.PASS,
            approval_code=_approval(charge),
            processor_reference=text(intent, "id"),
            message=_words(part(charge, "outcome").get("seller_message")),
            code=status,
            amount=major_units(whole(intent, "amount"), text(intent, "currency")),
            answered_at=moment(intent, "created"),
            confirmed=status == "succeeded" and is_bank(intent),
        )
    if status in {"requires_payment_method", "requires_action", "requires_confirmation", "canceled"}:
        # Nobody but us could take it further, and we never do.
        told = error if isinstance(error, Mapping) else {"code": status}
        return read_decline({**told, "payment_intent": intent}, key, codes)
    raise OutcomeUnknown(f"the payment intent is {status}")


def read_deposit(intent: Json, key: str) -> Answer:
    """Read the outcome of a deposit from the payment intent that was captured.

    :raises OutcomeUnknown: it was not captured under this key, or cannot be read.
    """
    _expect(intent, "payment_intent", key, DEPOSIT_KEY)
    if text(intent, "status") != "succeeded":
        raise OutcomeUnknown(f"the payment intent is {text(intent, 'status')}")
    return Answer(
        key=key,
        result=Result.PASS,
        approval_code=_approval(part(intent, "latest_charge")),
        processor_reference=text(intent, "id"),
        code="succeeded",
        amount=major_units(whole(intent, "amount_received"), text(intent, "currency")),
    )


def read_release(intent: Json, key: str) -> Answer:
    """Read that the money of an authorization was let go under this key.

    :raises OutcomeUnknown: it was not, or it cannot be read.
    """
    _expect(intent, "payment_intent", key, RELEASE_KEY)
    if text(intent, "status") != "canceled":
        raise OutcomeUnknown(f"the payment intent is {text(intent, 'status')}")
    return Answer(
        key=key,
        result=Result.PASS,
        processor_reference=text(intent, "id"),
        code="canceled",
        amount=major_units(whole(intent, "amount"), text(intent, "currency")),
        voided=True,
    )


def read_refund(refund: Json, key: str, codes: Mapping[str, int]) -> Answer:
    """Read the outcome of a refund; one that the bank has not acknowledged yet is carried out.

    :raises OutcomeUnknown: it is another key's, or cannot be read.
    """
    _expect(refund, "refund", key, KEY)
    status = text(refund, "status")
    if status not in {"succeeded", "pending", "failed", "canceled"}:
        raise OutcomeUnknown(f"the refund is {status}")
    passed = status in {"succeeded", "pending"}
    code = status if passed else text(refund, "failure_reason") or status
    return Answer(
        key=key,
        result=Result.PASS if passed else int(codes.get(code, Result.HARD_DECLINE)),
        approval_code=text(refund, "id") if passed else "",
        processor_reference=text(refund, "id"),
        code=code,
        amount=major_units(whole(refund, "amount"), text(refund, "currency")),
        answered_at=moment(refund, "created"),
        voided=passed and part(part(refund, "destination_details"), "card").get("type") == "reversal",
    )


def read_verification(intent: Json, key: str) -> Answer:
    """Read that a method was verified without money.

    :raises OutcomeUnknown: it is another key's, has no outcome, or cannot be read.
    """
    _expect(intent, "setup_intent", key, KEY)
    avs, cvv = _checks(part(part(part(intent, "payment_method"), "card"), "checks"))
    if text(intent, "status") != "succeeded":
        raise OutcomeUnknown(f"the setup intent is {text(intent, 'status')}")
    return Answer(
        key=key,
        result=Result.PASS,
        approval_code=text(intent, "id"),
        processor_reference=text(intent, "id"),
        code="succeeded",
        amount=major_units(0, "USD"),
        answered_at=moment(intent, "created"),
        avs=avs,
        cvv=cvv,
    )


def _checks(said: Json) -> tuple[str, str]:
    """Give in the networks' letters what Stripe says of address and security code; nothing where it says nothing."""
    if not said:
        return "", ""
    street, zip_code = said.get("address_line1_check"), said.get("address_postal_code_check")
    if "fail" in {street, zip_code}:
        avs = "N" if street == zip_code else "A" if zip_code == "fail" else "Z"
    elif zip_code == "pass":
        avs = "Y" if street == "pass" else "P"
    else:
        avs = "U" if "unavailable" in {street, zip_code} else ""
    return avs, _CVV.get(str(said.get("cvc_check")), "P")


def read_decline(error: Json, key: str, codes: Mapping[str, int]) -> Answer:
    """Read a refusal by the issuer, the bank or Stripe itself: the administrator's table, ours, else a hard decline.

    Where the card networks say not to try again, a soft decline is a hard one (PAY-5).
    """
    intent = error.get("payment_intent") or error.get("setup_intent")
    intent = intent if isinstance(intent, Mapping) else {}
    code = text(error, "decline_code") or text(error, "code")
    result = int(codes.get(code, Result.HARD_DECLINE))
    if result == Result.SOFT_DECLINE and error.get("advice_code") == _ADVICE_AGAINST:
        result = Result.HARD_DECLINE
    return Answer(
        key=key,
        result=result,
        processor_reference=text(intent, "id"),
        message=_words(error.get("message")),
        code=code,
        answered_at=moment(intent, "created") if "created" in intent else None,
    )


def read_error(status: int | None, body: object, *, key: str, codes: Mapping[str, int]) -> Answer:
    """Give what an error of the API means: a result, or the error that says what may be done next.

    Only Stripe's own words make anything final: another's page may stand before a charge that happened.

    :raises GatewayError: it is no result.
    """
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping) or not isinstance(error.get("type"), str):
        raise _foreign(status)
    kind, code, param = text(error, "type"), text(error, "code"), text(error, "param")
    if status in {401, 403}:
        raise Misconfigured(f"Stripe does not let us in: {_words(error.get('message')) or code}")
    if status == 429:
        # Turned away at the door: it was not carried out, and Stripe keeps no answer for the key.
        raise NotSent(f"Stripe takes no more for now: {code or 'rate limit'}")
    if kind == "idempotency_error" or status == 409 or code in {"idempotency_key_in_use", "lock_timeout"}:
        raise OutcomeUnknown(f"Stripe knows the key from another request: {code or kind}")
    if status == 402:
        return read_decline(error, key, codes)
    if status in {400, 404}:
        if code == "resource_missing":
            about = (
                Result.FAIL_SELECT_ITEMS if param in {"intent", "payment_intent", "charge"} else Result.INVALID_CONTENT
            )
            return Answer(key, int(codes.get(code, about)), message=_words(error.get("message")), code=code)
        if code in codes:
            return read_decline(error, key, codes)
        raise Refused(_words(error.get("message")) or code or "Stripe refused the request")
    raise OutcomeUnknown(f"Stripe answers {status}")


def _foreign(status: int | None) -> GatewayError:
    if status in {401, 403, 404, 405} or (status is not None and 300 <= status < 400):
        return Misconfigured(f"something answers {status} that is not Stripe: the address or the key is wrong")
    return OutcomeUnknown(f"the answer is not Stripe's (status {status})")


def _expect(thing: Json, kind: str, key: str, named: str) -> None:
    if thing.get("object") != kind or part(thing, "metadata").get(named) != key or not text(thing, "id"):
        raise OutcomeUnknown("Stripe's answer is not about this key")


def is_bank(intent: Json) -> bool:
    """Say whether an intent of ours debits a bank account."""
    return intent.get("payment_method_types") == ["us_bank_account"]


def _approval(charge: Json) -> str:
    return text(charge, "authorization_code") or text(charge, "id")


def _words(text_of: object) -> str:
    if not isinstance(text_of, str):
        return ""
    return "".join(c if c.isprintable() else " " for c in text_of[:MESSAGE_LONGEST])


def part(thing: Json, name: str) -> Json:
    """Give an object within an object; empty where it has none, or only its name."""
    found = thing.get(name)
    return found if isinstance(found, Mapping) else {}


def text(thing: Json, name: str) -> str:
    """Give a text of an object; empty where it has none.

    :raises OutcomeUnknown: it is something else.
    """
    found = thing.get(name)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise OutcomeUnknown(f"{name} cannot be read")
    return found


def whole(thing: Json, name: str) -> int:
    """Give a whole number of an object.

    :raises OutcomeUnknown: it has none.
    """
    found = thing.get(name)
    if not isinstance(found, int) or isinstance(found, bool) or abs(found) >= 10**14:
        raise OutcomeUnknown(f"{name} cannot be read")
    return found


def moment(thing: Json, name: str) -> datetime:
    """Give a time of an object, in UTC.

    :raises OutcomeUnknown: it has none.
    """
    try:
        return datetime.fromtimestamp(whole(thing, name), tz=UTC)
    except (ValueError, OverflowError, OSError):
        raise OutcomeUnknown(f"{name} cannot be read") from None


def rows(listed: Json) -> Sequence[Json]:
    """Give the rows of a list.

    :raises OutcomeUnknown: it is none.
    """
    found = listed.get("data")
    if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
        raise OutcomeUnknown("Stripe's list cannot be read")
    return found
