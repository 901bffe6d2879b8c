"""The driver of the simulated processor (PAY-23): the example that other drivers are written after.

Its wire is JSON over HTTP, described in ``simulator_service/server.py``, of which this module knows nothing else.

Source: PAY-1, PAY-4, PAY-10, PAY-13, PAY-16, PAY-17, PAY-22.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from payments.gateways.base import (
    Absent,
    Answer,
    ChargeRequest,
    Command,
    GatewayError,
    HostedFields,
    InstrumentDetails,
    Lost,
    Misconfigured,
    NotSent,
    OutcomeUnknown,
    Refused,
    ResponseFile,
    Result,
    Reversal,
    ReversalKind,
)
from payments.gateways.lines import ExchangeHook, Line, Reply
from payments.gateways.options import CA_FILE, CODES, OptionField, OptionKind, connection

LOOKUP_AT_ONCE = 1_000
HEARTBEAT_LONGEST = 120.0  # seconds (PAY-22)
SETTLE_MARGIN = 60.0  # seconds
LARGEST_BATCH = 10_000
MESSAGE_LONGEST = 200
VERIFICATION_MOST = Decimal("5.00")

# The processor's code to ours; a code that is not here is a hard decline (PAY-4).
RESULTS: dict[str, int] = {
    "100": Result.PASS,
    "101": Result.NO_ANSWER,
    "201": Result.AVS_FAIL,
    "202": Result.LOCATION_FAIL,
    "203": Result.ZIP_FAIL,
    "204": Result.CVV_BAD,
    "301": Result.BAD_CARD,
    "302": Result.SOFT_DECLINE,
    "303": Result.HARD_DECLINE,
    "304": Result.UNDER_MINIMUM,
    "401": Result.INVALID_COMMAND,
    "402": Result.FAIL_SELECT_ITEMS,
    "403": Result.NO_CREDIT_BALANCE,
    "404": Result.LOGICAL_PROBLEM,
    "405": Result.FORMAT_ERROR,
    "406": Result.INVALID_CONTENT,
    "500": Result.TECHNICAL_PROBLEM,
    "503": Result.SERVICE_UNAVAILABLE,
    # Of debits that banks return.
    "R01": Result.SOFT_DECLINE,
    "R02": Result.BAD_CARD,
    "R03": Result.BAD_CARD,
    "R07": Result.HARD_DECLINE,
    "R10": Result.HARD_DECLINE,
    "R29": Result.HARD_DECLINE,
}
# Results that an answer may never become: the engine's own marks (PAY-1, PAY-2).
RESERVED = frozenset({777, 888})
RESULT_HIGHEST = 998

_RESPONSE_LINE = ("key", "code", "message", "approval_code", "reference", "amount", "currency", "at", "voided")
_CHECKS = ("avs", "cvv")
_CURRENCY = 1 + _RESPONSE_LINE.index("currency")
# What a response file repeats of the message, after these.
_MESSAGE_KEPT = ("command", "token", "tender", "type", "account", "of", "payment")
_REVERSAL = ("reference", "key", "kind", "amount", "code", "reason", "at")
_WORD = re.compile("[!-~]{0,64}")
_LAST4 = re.compile("[0-9]{4}")


class SimulatorGateway:
    """The simulated processor, spoken to for one merchant.

    ``dedupe_window`` is in hours, ``None`` where the processor is set not to recognise repeats; ``authorization_life`` is
    in hours too. ``verification_amount`` is
    "0.00" where a method is verified without money, else what is authorized for it. Times are in seconds:
    ``timeout`` for one online request, ``batch_timeout`` for a batch, ``settle_seconds`` not less than either.
    ``public_url`` is where browsers find the processor. ``codes`` maps the processor's codes to results and goes before
    the built-in table. ``on_exchange`` is told every message sent and received, numbers masked.

    :raises Misconfigured: an option cannot be.
    """

    name = "simulator"
    options = (
        OptionField(
            "base_url",
            "Address",
            OptionKind.TEXT,
            help="Of the processor, such as http://127.0.0.1:8801.",
            required=True,
        ),
        OptionField(
            "public_url", "Address for browsers", OptionKind.TEXT, "the address", "Where payers’ browsers find it."
        ),
        *connection(timeout=60, batches=True),
        OptionField(
            "dedupe_window",
            "Recognises repeats for (hours)",
            usual="168",
            help="0: never, so that nothing is ever sent again by itself.",
            least=0,
            most=8760,
            zero_is_none=True,
        ),
        OptionField("authorization_life", "Holds authorized money for (hours)", usual="168", least=1, most=8760),
        OptionField(
            "batch_limit",
            "Requests in one batch",
            OptionKind.WHOLE,
            "5000",
            "1: none, each by itself.",
            1,
            LARGEST_BATCH,
        ),
        OptionField(
            "verification_amount",
            "Verification amount",
            OptionKind.TEXT,
            "0.00",
            "Above zero where cards are verified by holding a little that is never taken, such as 1.00.",
        ),
        CODES,
        CA_FILE,
    )

    def __init__(
        self,
        *,
        base_url: str,
        merchant: str,
        secret: str,
        dedupe_window: float | None = 168.0,
        authorization_life: float = 168.0,
        verification_amount: str = "0.00",
        settle_seconds: float | None = None,
        timeout: float = 60.0,
        batch_timeout: float = 600.0,
        connect_timeout: float = 10.0,
        connect_retries: int = 2,
        batch_limit: int = 5_000,
        heartbeat_limit: float = HEARTBEAT_LONGEST,
        concurrency: int = 8,
        public_url: str | None = None,
        codes: Mapping[str, int] | None = None,
        ca_file: str | None = None,
        on_exchange: ExchangeHook | None = None,
    ) -> None:
        longest = max(timeout, batch_timeout if batch_limit > 1 else 0.0)
        settle = longest + SETTLE_MARGIN if settle_seconds is None else settle_seconds
        if min(timeout, batch_timeout, connect_timeout) <= 0 or connect_retries < 0 or concurrency < 1:
            raise Misconfigured("time-outs and concurrency are above zero, connect_retries is not below")
        if not 0 < heartbeat_limit <= HEARTBEAT_LONGEST:
            raise Misconfigured(f"heartbeat_limit is a number of seconds up to {HEARTBEAT_LONGEST:g}")
        if not 1 <= batch_limit <= LARGEST_BATCH:
            raise Misconfigured(f"batch_limit is 1 to {LARGEST_BATCH}")
        if settle < longest:
            raise Misconfigured("settle_seconds is shorter than a time-out: absence would say nothing")
        if dedupe_window is not None and dedupe_window <= 0:
            raise Misconfigured("dedupe_window is a number of hours above zero, or none")
        if authorization_life <= 0:
            raise Misconfigured("authorization_life is a number of hours above zero")
        try:
            self.verification_amount = Decimal(verification_amount)
        except (InvalidOperation, TypeError, ValueError):
            raise Misconfigured("verification_amount is an amount in text, such as 1.00") from None
        if not 0 <= self.verification_amount <= VERIFICATION_MOST:
            raise Misconfigured(f"verification_amount is zero to {VERIFICATION_MOST}")
        if not merchant or not secret:
            raise Misconfigured("the processor needs a merchant and a secret")
        for code, result in (codes or {}).items():
            if not 0 <= result <= RESULT_HIGHEST or result in RESERVED:
                raise Misconfigured(f"code {code} cannot become result {result}")
        self.dedupe_window = None if dedupe_window is None else timedelta(hours=dedupe_window)
        self.settle_time = timedelta(seconds=settle)
        self.authorization_life = timedelta(hours=authorization_life)
        self.batch_limit = batch_limit
        self._merchant = merchant
        self._timeout = timeout
        self._batch_timeout = batch_timeout
        self._heartbeat_limit = heartbeat_limit
        self._concurrency = concurrency
        self._codes = {**RESULTS, **(codes or {})}
        self._public_url = (public_url or base_url).rstrip("/")
        self._line = Line(
            base_url,
            headers={"Authorization": f"Bearer {secret}", "X-Merchant": merchant},
            connect_timeout=connect_timeout,
            connect_retries=connect_retries,
            ca_file=ca_file,
            on_exchange=on_exchange,
        )

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._line.close()

    def send(self, requests: Sequence[ChargeRequest]) -> Iterator[Answer | Lost]:
        """Send each request once: many in batch messages, else online, at most ``concurrency`` at once."""
        if len({request.key for request in requests}) != len(requests):
            raise ValueError("a key stands twice in one send")
        if self.batch_limit == 1 or len(requests) == 1:
            yield from self._send_online(requests)
            return
        for start in range(0, len(requests), self.batch_limit):
            yield from self._post(
                "/v1/batches",
                requests[start : start + self.batch_limit],
                lambda messages: {"requests": messages},
                self._batch_timeout,
            )

    def _send_online(self, requests: Sequence[ChargeRequest]) -> Iterator[Answer | Lost]:
        if len(requests) == 1:
            yield self._send_one(requests[0])
            return
        with ThreadPoolExecutor(max_workers=self._concurrency) as pool:
            pending = [pool.submit(self._send_one, request) for request in requests]
            try:
                for done in as_completed(pending):
                    yield done.result()
            finally:
                # Whoever stops listening stops the sending of what has not begun.
                for waiting in pending:
                    waiting.cancel()

    def _send_one(self, request: ChargeRequest) -> Answer | Lost:
        (result,) = self._post("/v1/transactions", [request], lambda messages: messages[0], self._timeout)
        return result

    def _post(
        self, path: str, requests: Sequence[ChargeRequest], shape: Any, timeout: float
    ) -> Iterator[Answer | Lost]:
        body = json.dumps(shape([self._message(request) for request in requests]), separators=(",", ":")).encode()
        try:
            reply = _accepted(self._line.exchange("POST", path, body, timeout=timeout))
            answers = read_answers(reply.body, self._codes)
        except GatewayError as error:
            yield from (Lost(request.key, error) for request in requests)
            return
        for request in requests:
            yield _settle(request, answers)

    def _message(self, request: ChargeRequest) -> dict[str, str]:
        message = _message(request)
        if request.command == Command.VERIFY and request.amount and request.amount == self.verification_amount:
            # A processor that cannot verify without money authorizes a little, which nobody deposits.
            message["command"] = Command.AUTHORIZE.value
        return message

    def lookup(self, keys: Sequence[str], *, about: Mapping[str, str] | None = None) -> Iterator[Answer | Absent]:
        """Ask what became of each key, a thousand at a time."""
        for start in range(0, len(keys), LOOKUP_AT_ONCE):
            some = keys[start : start + LOOKUP_AT_ONCE]
            reply = self._ask("POST", "/v1/lookups", json.dumps({"keys": list(some)}).encode())
            answers = read_answers(reply.body, self._codes)
            absent = _read_absent(reply.body)
            for key in some:
                found = answers.get(key)
                if (found is None) == (key not in absent) or isinstance(found, OutcomeUnknown):
                    raise OutcomeUnknown(f"the processor did not say what became of {key}")
                yield Absent(key) if found is None else found

    def response_files(self, since: datetime | None = None) -> Iterator[ResponseFile]:
        """Read every response file that the processor holds, oldest first."""
        listed = _read_object(self._ask("GET", "/v1/response-files").body).get("files")
        if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
            raise OutcomeUnknown("the list of response files cannot be read")
        for name in listed:
            reply = self._ask("GET", f"/v1/response-files/{quote(name, safe='')}")
            file = read_response_file(reply.body, merchant=self._merchant, codes=self._codes)
            if file.name != name:
                raise OutcomeUnknown(f"response file {name} calls itself {file.name}")
            yield file

    def reversals(self, since: datetime) -> Iterator[Reversal]:
        """Read the returns and chargebacks that the processor has since a moment."""
        reply = self._ask("GET", f"/v1/reversals?{urlencode({'since': since.astimezone(UTC).isoformat()})}")
        for one in read_reversals(reply.body):
            yield one.judged(self._codes)

    def hosted_fields(
        self,
        *,
        return_url: str,
        parent_origin: str,
        language: str,
        kind: str = "card",
        own_page: str = "",
        cvv_required: bool = True,
    ) -> HostedFields:
        """Say where the processor's own fields are."""
        if kind not in {"card", "bank"}:
            raise ValueError(f"no fields for {kind}")
        parts = urlsplit(self._public_url)
        common = {"merchant": self._merchant, "kind": kind, "lang": language}
        if not cvv_required:
            common["cvv"] = "optional"
        return HostedFields(
            origin=f"{parts.scheme}://{parts.netloc}",
            frame_url=f"{self._public_url}/fields?{urlencode({**common, 'parent': parent_origin})}",
            redirect_url=f"{self._public_url}/fields?{urlencode({**common, 'return_url': return_url})}",
        )

    def describe_token(self, token: str, *, account: str = "") -> InstrumentDetails:
        """Ask what a token stands for; for which account it was entered, this processor does not know."""
        reply = self._ask("POST", "/v1/tokens/describe", json.dumps({"token": token}).encode())
        return read_token(reply.body, token=token)

    def ping(self) -> None:
        """Return when the processor answers the heartbeat."""
        reply = _accepted(self._line.exchange("GET", "/v1/ping", timeout=min(self._timeout, self._heartbeat_limit)))
        if _read_object(reply.body).get("merchant") != self._merchant:
            raise OutcomeUnknown("the heartbeat is not for this merchant")

    def _ask(self, method: str, path: str, body: bytes = b"") -> Reply:
        """Ask something that moves no money: that it was not sent tells no more than that there is no answer."""
        try:
            return _accepted(self._line.exchange(method, path, body, timeout=self._timeout))
        except NotSent as error:
            raise OutcomeUnknown(str(error)) from None


def _message(request: ChargeRequest) -> dict[str, str]:
    return {
        "key": request.key,
        "command": request.command.value,
        "amount": str(request.amount),
        "currency": request.currency,
        "token": request.token,
        "tender": request.tender,
        "type": request.transaction_type,
        "account": request.account,
        "reference": request.reference,
        "payment": request.payment,
        "descriptor": request.descriptor,
        "descriptor_phone": request.descriptor_phone,
        "debit_method": request.debit_method,
        **{f"debit_{name}": text for name, text in request.debit_facts.items()},
    }


def _accepted(reply: Reply) -> Reply:
    """Give a reply that may hold a result, or raise what its status means."""
    if reply.status == 200:
        return reply
    if reply.status in {401, 403, 404, 405} or 300 <= reply.status < 400:
        raise Misconfigured(f"the processor answers {reply.status}: address, merchant or secret is wrong")
    message = _refusal(reply.body)
    if reply.status in {400, 413, 422} and message is not None:
        raise Refused(message)
    raise OutcomeUnknown(f"the processor answers {reply.status}")


def _refusal(body: bytes) -> str | None:
    """Give the processor's own words for a refusal; None where it is somebody else's page."""
    try:
        message = _read_object(body)["error"]["message"]
    except (OutcomeUnknown, KeyError, TypeError):
        return None
    return message if isinstance(message, str) else None


def _settle(request: ChargeRequest, answers: Mapping[str, Answer | OutcomeUnknown]) -> Answer | Lost:
    answer = answers.get(request.key)
    if answer is None:
        return Lost(request.key, OutcomeUnknown("the processor gave no answer for this key"))
    if isinstance(answer, OutcomeUnknown):
        return Lost(request.key, answer)
    if answer.result == Result.PASS and answer.amount != request.amount:
        return Lost(request.key, OutcomeUnknown("the processor answers for another amount"))
    return answer


def read_answers(body: bytes, codes: Mapping[str, int]) -> dict[str, Answer | OutcomeUnknown]:
    """Read a message of answers, by key; two that contradict each other are no answer.

    :raises OutcomeUnknown: the message cannot be read.
    """
    listed = _read_object(body).get("answers")
    if not isinstance(listed, list):
        raise OutcomeUnknown("the answer has no list of answers")
    answers: dict[str, Answer | OutcomeUnknown] = {}
    for one in listed:
        key = one.get("key") if isinstance(one, dict) else None
        if not isinstance(key, str):
            raise OutcomeUnknown("an answer has no key")
        read: Answer | OutcomeUnknown
        try:
            read = _read_answer(one, codes)
        except OutcomeUnknown as error:
            read = error
        if key in answers and answers[key] != read:
            read = OutcomeUnknown("two answers contradict each other")
        answers[key] = read
    return answers


def _read_answer(one: Mapping[str, Any], codes: Mapping[str, int]) -> Answer:
    if "error" in one:
        raise OutcomeUnknown(f"the processor says: {one['error']}")
    texts = {name: one.get(name, "") for name in (*_RESPONSE_LINE, *_CHECKS)}
    if not all(isinstance(value, str) for value in texts.values()) or not texts["code"]:
        raise OutcomeUnknown("an answer is not well formed")
    if not all(_WORD.fullmatch(texts[name]) for name in ("code", "approval_code", "reference", *_CHECKS)):
        raise OutcomeUnknown("an answer has a code or reference that cannot be one")
    return Answer(
        key=texts["key"],
        result=int(codes.get(texts["code"], Result.HARD_DECLINE)),
        approval_code=texts["approval_code"],
        processor_reference=texts["reference"],
        message="".join(c if c.isprintable() else " " for c in texts["message"][:MESSAGE_LONGEST]),
        code=texts["code"],
        amount=_read_amount(texts["amount"]),
        answered_at=_read_moment(texts["at"]),
        voided=texts["voided"] == "yes",
        avs=texts["avs"][:2],
        cvv=texts["cvv"][:2],
    )


def _read_absent(body: bytes) -> frozenset[str]:
    absent = _read_object(body).get("absent")
    if not isinstance(absent, list) or not all(isinstance(key, str) for key in absent):
        raise OutcomeUnknown("the answer has no list of absent keys")
    return frozenset(absent)


def read_token(body: bytes, *, token: str) -> InstrumentDetails:
    """Read what a token stands for.

    :raises OutcomeUnknown: the message cannot be read.
    """
    read = _read_object(body)
    texts = {name: read.get(name) for name in ("token", "kind", "brand", "last4", "holder")}
    expires_on = read.get("expires_on")
    try:
        expires = date.fromisoformat(expires_on) if expires_on is not None else None
    except (TypeError, ValueError):
        raise OutcomeUnknown("a token's expiry cannot be read") from None
    last4 = texts["last4"]
    if (
        not all(isinstance(value, str) for value in texts.values())
        or texts["token"] != token
        or texts["kind"] not in {"card", "bank"}
        or not _LAST4.fullmatch(str(last4))
        or not token.endswith(str(last4))
    ):
        raise OutcomeUnknown("what the token stands for cannot be read")
    return InstrumentDetails(
        token=token,
        kind=str(texts["kind"]),
        brand=str(texts["brand"]),
        last4=str(last4),
        holder=str(texts["holder"]),
        expires_on=expires,
    )


def read_reversals(body: bytes) -> list[Reversal]:
    """Read a list of returns and chargebacks.

    :raises OutcomeUnknown: it cannot be read; then nothing of it is given.
    """
    listed = _read_object(body).get("reversals")
    if not isinstance(listed, list):
        raise OutcomeUnknown("the answer has no list of reversals")
    return [_read_reversal(one) for one in listed]


def _read_reversal(one: object) -> Reversal:
    texts = {name: one.get(name) if isinstance(one, dict) else None for name in _REVERSAL}
    if not all(isinstance(value, str) and value for value in texts.values()):
        raise OutcomeUnknown("a reversal is not well formed")
    read = {name: str(value) for name, value in texts.items()}
    amount, at = _read_amount(read["amount"]), _read_moment(read["at"])
    if not all(_WORD.fullmatch(read[name]) for name in ("reference", "key", "code")) or amount is None or at is None:
        raise OutcomeUnknown("a reversal has a reference or code that cannot be one")
    if read["kind"] not in set(ReversalKind) or amount <= 0:
        raise OutcomeUnknown("a reversal is of no known kind, or of no amount")
    return Reversal(
        reference=read["reference"],
        key=read["key"],
        kind=ReversalKind(read["kind"]),
        amount=amount,
        code=read["code"],
        reason="".join(c if c.isprintable() else " " for c in read["reason"][:MESSAGE_LONGEST]),
        happened_at=at,
    )


def read_response_file(body: bytes, *, merchant: str, codes: Mapping[str, int]) -> ResponseFile:
    """Read a response file: header, a line for each result, a trailer with their count and control total.

    :raises OutcomeUnknown: the file is damaged, or another merchant's.
    """
    try:
        lines = list(csv.reader(body.decode("utf-8").splitlines(keepends=True), strict=True))
    except (UnicodeDecodeError, csv.Error):
        raise OutcomeUnknown("a response file cannot be read") from None
    if not body.endswith(b"\n"):
        # Even where only the last nought of its total is gone.
        raise OutcomeUnknown("a response file does not end")
    if len(lines) < 2 or lines[0][:1] != ["H"] or len(lines[0]) != 5 or lines[-1][:1] != ["T"] or len(lines[-1]) != 3:
        raise OutcomeUnknown("a response file has no header or no trailer")
    _, name, of, covers_from, covers_until = lines[0]
    if of != merchant:
        raise OutcomeUnknown(f"response file {name} belongs to another merchant")
    answers = []
    total = Decimal(0)
    for line in lines[1:-1]:
        begins, ends = 1 + len(_RESPONSE_LINE), 1 + len(_RESPONSE_LINE) + len(_MESSAGE_KEPT)
        if line[:1] != ["D"] or len(line) not in {begins, ends}:
            raise OutcomeUnknown(f"response file {name} has a line that cannot be read")
        answer = _read_answer(dict(zip(_RESPONSE_LINE, line[1:begins], strict=True)), codes)
        if len(line) == ends and answer.amount is not None:
            answer = replace(answer, request=_read_message(answer, line[_CURRENCY], line[begins:]))
        total += answer.amount or Decimal(0)
        answers.append(answer)
    if lines[-1][1] != str(len(answers)) or _read_amount(lines[-1][2]) != total:
        raise OutcomeUnknown(f"response file {name} does not add up to its trailer")
    since, until = _read_moment(covers_from), _read_moment(covers_until)
    if since is None or until is None:
        raise OutcomeUnknown(f"response file {name} does not say what it covers")
    return ResponseFile(name=name, covers_from=since, covers_until=until, answers=tuple(answers))


def _read_message(answer: Answer, currency: str, kept: Sequence[str]) -> ChargeRequest | None:
    """Read what a response file repeats of a message; nothing where it was none that we could have sent."""
    texts = dict(zip(_MESSAGE_KEPT, kept, strict=True))
    if texts["command"] not in set(Command) or answer.amount is None:
        return None
    return ChargeRequest(
        key=answer.key,
        command=Command(texts["command"]),
        amount=answer.amount,
        currency=currency,
        token=texts["token"],
        tender=texts["tender"],
        transaction_type=texts["type"],
        account=texts["account"],
        reference=texts["of"],
        payment=texts["payment"],
    )


def _read_object(body: bytes) -> dict[str, Any]:
    try:
        read = json.loads(body)
    except (ValueError, RecursionError):
        raise OutcomeUnknown("the answer is not JSON") from None
    if not isinstance(read, dict):
        raise OutcomeUnknown("the answer is not an object")
    return read


def _read_amount(text: str) -> Decimal | None:
    if not text:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or abs(amount) >= Decimal("1e14"):
        raise OutcomeUnknown("an amount cannot be read")
    return amount


def _read_moment(text: str) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise OutcomeUnknown("a time cannot be read") from None
    if moment.tzinfo is None:
        raise OutcomeUnknown("a time has no zone")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise OutcomeUnknown("a time cannot be read") from None
