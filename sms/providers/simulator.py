"""The driver of the simulated telephone network: the example that other drivers are written after.

Its wire is JSON over HTTP, described in ``simulator_service/server.py``, of which this module knows nothing else.

Source: PBT-14, PBT-15, PBT-16, PBT-17.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from sms.providers.base import (
    Accepted,
    Acknowledgement,
    Ignored,
    Inbound,
    Lost,
    Managed,
    Misconfigured,
    NotAuthentic,
    NotSent,
    OptOut,
    OutcomeUnknown,
    Outgoing,
    Reason,
    Rejected,
    Status,
    StatusReport,
    Webhook,
    is_e164,
    is_sender,
    read_codes,
)
from sms.providers.lines import ExchangeHook, Line, Reply, in_parallel, retry_after

SIGNATURE = "X-Telephone-Signature"
SIGNATURE_OLDEST = 300.0  # seconds
LARGEST_BATCH = 1_000

# The network's code to our reason; a code that is not here is unsendable at once, unexplained afterwards.
REASONS: Mapping[str, Reason] = {
    "unsubscribed": Reason.UNSUBSCRIBED,
    "invalid_number": Reason.BAD_NUMBER,
    "landline": Reason.BAD_NUMBER,
    "unreachable": Reason.UNREACHABLE,
    "blocked": Reason.BLOCKED,
    "no_such_phone": Reason.NUMBER_UNKNOWN,
    "carrier_down": Reason.CARRIER_UNREACHABLE,
    "filtered": Reason.FILTERED,
    "unexplained": Reason.UNEXPLAINED,
    "unregistered": Reason.UNREGISTERED,
    "rate_limit": Reason.RATE_LIMITED,
    "expired": Reason.EXPIRED,
}

_ACTED_ON = {word.value: word for word in OptOut}
_SIGNED = re.compile(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})")


class SimulatorProvider:
    """The simulated telephone network, spoken to for one account.

    ``callback_url`` is our public address that hears what becomes of each text. Times are in seconds: ``timeout`` for a
    whole answer. ``batch_limit`` is how many texts go in one message, ``concurrency`` how many messages go at once.
    ``managed_opt_out`` and ``recognises_repeats`` say how the network's own switches stand. ``codes`` maps the network's
    codes to reasons and goes before the built-in table.

    :raises Misconfigured: an option cannot be.
    """

    name = "simulator"
    acknowledgement = Acknowledgement()

    def __init__(
        self,
        *,
        base_url: str,
        callback_url: str,
        secret: str,
        timeout: float = 20.0,
        connect_timeout: float = 5.0,
        batch_limit: int = 100,
        concurrency: int = 4,
        managed_opt_out: bool = False,
        recognises_repeats: bool = True,
        codes: Mapping[str, str] | None = None,
        ca_file: str | None = None,
        on_exchange: ExchangeHook | None = None,
    ) -> None:
        for address in (base_url, callback_url):
            if urlsplit(address).scheme not in {"http", "https"}:
                raise Misconfigured("an address is of the form https://host[:port][/path]")
        if not secret or not secret.isascii() or not secret.isprintable():
            raise Misconfigured("the network needs a secret of plain characters")
        if not 1 <= batch_limit <= LARGEST_BATCH:
            raise Misconfigured(f"batch_limit is 1 to {LARGEST_BATCH}")
        self.managed = Managed(opt_out=True, answers=frozenset(OptOut)) if managed_opt_out else Managed()
        self.recognises_repeats = recognises_repeats
        self._base_url = base_url.rstrip("/")
        self._callback_url = callback_url
        self._secret = secret
        self._batch_limit = batch_limit
        self._concurrency = concurrency
        self._reasons = {**REASONS, **read_codes(codes)}
        self._line = Line(
            timeout=timeout, connect_timeout=connect_timeout, most=concurrency, ca_file=ca_file, on_exchange=on_exchange
        )

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._line.close()

    def send(self, messages: Sequence[Outgoing]) -> Iterator[Accepted | Rejected | Lost]:
        """Send each text once, many in one message."""
        if len({message.key for message in messages}) != len(messages):
            raise ValueError("a key stands twice in one send")
        batches = [messages[start : start + self._batch_limit] for start in range(0, len(messages), self._batch_limit)]
        for results in in_parallel(self._send_batch, batches, at_once=self._concurrency):
            yield from results

    def _send_batch(self, messages: Sequence[Outgoing]) -> list[Accepted | Rejected | Lost]:
        try:
            reply = self._ask("POST", "/v1/texts", {"texts": [self._text(message) for message in messages]})
            found = _results_of(reply)
        except (NotSent, OutcomeUnknown, Misconfigured) as error:
            return [Lost(message.key, error) for message in messages]
        return [self._result(message, found.get(message.key)) for message in messages]

    def _text(self, message: Outgoing) -> dict[str, Any]:
        text: dict[str, Any] = {
            "key": message.key,
            "from": message.sender,
            "to": message.recipient,
            "body": message.body,
            "callback": self._callback_url,
        }
        if message.valid_for is not None:
            text["valid_seconds"] = message.valid_for.total_seconds()
        return text

    def _result(self, message: Outgoing, found: Mapping[str, Any] | None) -> Accepted | Rejected | Lost:
        match found:
            case {"id": str(name), "status": str(status)} if name:
                try:
                    return Accepted(message.key, name, Status(status))
                except ValueError:
                    return Lost(message.key, OutcomeUnknown("the network gave a status that is none"))
            case {"error": {"code": str(code)}}:
                return Rejected(message.key, self._reasons.get(code, Reason.UNSENDABLE), code)
        return Lost(message.key, OutcomeUnknown("the network did not say what became of the text"))

    def read(self, request: Webhook) -> Inbound | StatusReport | Ignored:
        """Check the signature over time, address and body, then read what the network tells."""
        self._authenticate(request)
        try:
            told = json.loads(request.body)
        except (ValueError, RecursionError):
            return Ignored("the body is not JSON")
        match told:
            case {"event": "inbound", "id": str(name), "from": str(sender), "to": str(recipient), "body": str(body)}:
                return _inbound(told, name, sender, recipient, body)
            case {"event": "status", "id": str(name), "key": str(key), "status": str(status)}:
                return self._report(told, name, key, status)
        return Ignored("the event is not known")

    def _authenticate(self, request: Webhook) -> None:
        given = _SIGNED.fullmatch(request.header(SIGNATURE))
        if given is None:
            raise NotAuthentic("the signature is missing or cannot be read")
        signed = b".".join((given[1].encode(), request.url.encode(), request.body))
        expected = hmac.new(self._secret.encode(), signed, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(given[2], expected):
            raise NotAuthentic("the signature is wrong")
        if abs(time.time() - int(given[1])) > SIGNATURE_OLDEST:
            raise NotAuthentic("the signature is too old")

    def _report(self, told: Mapping[str, Any], name: str, key: str, status: str) -> StatusReport | Ignored:
        try:
            reached = Status(status)
        except ValueError:
            return Ignored("the status is not known")
        code = str(told.get("code", ""))
        failed = reached in {Status.UNDELIVERED, Status.FAILED}
        return StatusReport(
            provider_id=name,
            status=reached,
            key=key,
            reason=self._reasons.get(code, Reason.UNEXPLAINED) if failed else None,
            code=code,
            reported_at=_moment(told.get("at")),
        )

    def ping(self) -> None:
        """Ask whether the network is well."""
        if self._ask("GET", "/v1/ping", None).status != 200:
            raise OutcomeUnknown("the network is not well")

    def _ask(self, method: str, path: str, body: object) -> Reply:
        reply = self._line.exchange(
            method,
            f"{self._base_url}{path}",
            b"" if body is None else json.dumps(body, separators=(",", ":")).encode(),
            {"Authorization": f"Bearer {self._secret}", "Content-Type": "application/json"},
        )
        match reply.status:
            case 200:
                return reply
            case 401 | 403 | 404:
                raise Misconfigured("the network does not know us: address or secret is wrong")
            case 429:
                raise NotSent("the network takes no more for now", retry_after=retry_after(reply.headers))
            case 422:
                raise Misconfigured("the network does not take such texts")
        raise OutcomeUnknown(f"the network answered with status {reply.status}")


def _results_of(reply: Reply) -> dict[str, Mapping[str, Any]]:
    try:
        results = json.loads(reply.body)["results"]
        return {result["key"]: result for result in results}
    except (ValueError, KeyError, TypeError, RecursionError):
        raise OutcomeUnknown("the network's answer cannot be read") from None


def _inbound(told: Mapping[str, Any], name: str, sender: str, recipient: str, body: str) -> Inbound | Ignored:
    if not is_e164(sender) or not is_sender(recipient):
        return Ignored("a text that is not from a phone to a number of ours")
    media, acted_on = told.get("media", 0), str(told.get("acted_on", ""))
    return Inbound(
        provider_id=name,
        sender=sender,
        recipient=recipient,
        body=body,
        media=media if isinstance(media, int) else 0,
        acted_on=_ACTED_ON.get(acted_on),
        sent_at=_moment(told.get("at")),
    )


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment if moment is None or moment.tzinfo is not None else None
