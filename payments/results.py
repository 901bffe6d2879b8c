"""Result codes in words for staff, the reserved ones included; what payers are told stands in ``operations.answers``.

Source: PAY-1, PAY-2, PAY-4
"""

from __future__ import annotations

from payments.gateways.base import Result
from payments.models import AnswerCode
from payments.models.payments import ANSWERED_OFFSET, CHECKPOINT

DEPOSIT_PENDING, AUTHORIZATION_PENDING = 777, 888
PENDING = frozenset({DEPOSIT_PENDING, AUTHORIZATION_PENDING})
# The engine's own marks, and what begins them: no processor's code may mean one of these.
MARKS = PENDING | {CHECKPOINT}
HIGHEST = 899

WORDS: dict[int, str] = {
    Result.PASS: "Passed",
    Result.NO_ANSWER: "No answer – nothing reached the processor",
    Result.AVS_FAIL: "Address does not match",
    Result.LOCATION_FAIL: "Country does not match",
    Result.ZIP_FAIL: "ZIP code does not match",
    Result.BAD_CARD: "Bad card or account",
    Result.SERVICE_UNAVAILABLE: "Service not available",
    Result.SOFT_DECLINE: "Soft decline – may be tried again",
    Result.HARD_DECLINE: "Hard decline",
    Result.UNDER_MINIMUM: "Under the minimum",
    Result.INVALID_COMMAND: "Invalid command",
    Result.FAIL_SELECT_ITEMS: "Items could not be selected",
    Result.CVV_BAD: "Security code does not match",
    Result.NO_CREDIT_BALANCE: "No credit to refund",
    Result.LOGICAL_PROBLEM: "Logical problem",
    Result.FORMAT_ERROR: "Format error",
    Result.INVALID_CONTENT: "Invalid content",
    Result.TECHNICAL_PROBLEM: "Technical problem",
    DEPOSIT_PENDING: "Deposit pending",
    AUTHORIZATION_PENDING: "Authorization pending",
    CHECKPOINT: "Checkpoint – no answer recorded",
}


def in_words(code: int | None) -> str:
    """Say a result code in words, such as "8 Hard decline" or "1008 Hard decline, not applied yet"; nothing for none."""
    if code is None:
        return ""
    if code >= ANSWERED_OFFSET:
        return f"{code} {_words(code - ANSWERED_OFFSET)}, not applied yet"
    return f"{code} {_words(code)}"


def _words(result: int) -> str:
    return WORDS.get(result) or own_words(result) or "Code of the biller"


def own_words(result: int) -> str:
    """Give the words that an administrator wrote for a result of their own; empty where there are none (PAY-4)."""
    if result in WORDS:
        return ""
    return (
        AnswerCode.objects.filter(result=result)
        .exclude(words="")
        .order_by("pk")
        .values_list("words", flat=True)
        .first()
        or ""
    )
