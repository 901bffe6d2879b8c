"""The driver of Twilio, through its own library.

The library shapes requests, reads answers and checks signatures; the wire is ours (``lines.py``), so that what may have
been taken is told from what was not, and nothing of a text is logged. Twilio does not recognise a repeated text: after
``OutcomeUnknown`` only a status report tells whether it went, and our key comes back in its address.

Source: PBT-14, PBT-15, PBT-16, PBT-17.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote, urlencode, urlsplit

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
from sms.providers.lines import ExchangeHook, Line, in_parallel, retry_after

SIGNATURE = "X-Twilio-Signature"
VALIDITY_LONGEST = 36_000  # seconds
FIELDS_MOST = 500

# Twilio's code to our reason; another one is unsendable where it comes at once, unexplained where it comes later.
REASONS: Mapping[str, Reason] = {
    "21610": Reason.UNSUBSCRIBED,
    "21211": Reason.BAD_NUMBER,
    "21214": Reason.BAD_NUMBER,
    "21217": Reason.BAD_NUMBER,
    "21614": Reason.BAD_NUMBER,
    "21635": Reason.BAD_NUMBER,
    "21612": Reason.CARRIER_UNREACHABLE,
    "30001": Reason.RATE_LIMITED,
    "30002": Reason.UNREGISTERED,
    "30003": Reason.UNREACHABLE,
    "30004": Reason.BLOCKED,
    "30005": Reason.NUMBER_UNKNOWN,
    "30006": Reason.CARRIER_UNREACHABLE,
    "30007": Reason.FILTERED,
    "30008": Reason.UNEXPLAINED,
    "30022": Reason.RATE_LIMITED,
    "30023": Reason.RATE_LIMITED,
    "30027": Reason.RATE_LIMITED,
    "30032": Reason.UNREGISTERED,
    "30033": Reason.UNREGISTERED,
    "30034": Reason.UNREGISTERED,
    "30036": Reason.EXPIRED,
}
# Codes that a change of the account or of our settings puts right.
_OURS_TO_MEND = frozenset({"20003", "20404", "21212", "21603", "21606", "21659", "21660", "21701", "21703"})
_TOO_MANY = frozenset({"20429", "21611", "14107"})

STATUSES: Mapping[str, Status] = {
    "accepted": Status.QUEUED,
    "scheduled": Status.QUEUED,
    "queued": Status.QUEUED,
    "sending": Status.SENDING,
    "sent": Status.SENT,
    "delivered": Status.DELIVERED,
    "read": Status.READ,
    "undelivered": Status.UNDELIVERED,
    "failed": Status.FAILED,
    "canceled": Status.CANCELED,
}
_FAILURES = frozenset({Status.UNDELIVERED, Status.FAILED})
_ACTED_ON = {word.value.upper(): word for word in OptOut}
_KEY_FIELD = "message"  # in the query of the address that hears of a text

_ACCOUNT = re.compile(r"AC[0-9a-f]{32}")
_MESSAGE = re.compile(r"(?:SM|MM)[0-9a-f]{32}")
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class TwilioProvider:
    """Twilio, spoken to for one account; ``secret`` is the account's auth token, which also signs its webhooks.

    ``callback_url`` is our public address for both its webhooks: texts that come in (set it in Twilio's console, POST)
    and what becomes of each text (told to Twilio with each). With ``messaging_service_sid`` a text without a sender goes
    from a number of that service. ``opt_out`` and ``answers`` say what the account is set to do by itself (as it comes:
    all of it). Times are in seconds: ``timeout`` for a whole answer. ``concurrency`` is how many texts are sent at once.
    ``codes`` maps Twilio's codes to reasons and goes before the built-in table.

    :raises Misconfigured: an option cannot be.
    """

    name = "twilio"
    recognises_repeats = False
    # The form in which Twilio is told to answer nothing.
    acknowledgement = Acknowledgement(200, "text/xml", b'<?xml version="1.0" encoding="UTF-8"?><Response/>')

    def __init__(
        self,
        *,
        account_sid: str,
        callback_url: str,
        secret: str,
        messaging_service_sid: str = "",
        base_url: str = "https://api.twilio.com",
        timeout: float = 20.0,
        connect_timeout: float = 5.0,
        concurrency: int = 8,
        opt_out: bool = True,
        answers: Sequence[str] = ("stop", "start", "help"),
        codes: Mapping[str, str] | None = None,
        ca_file: str | None = None,
        on_exchange: ExchangeHook | None = None,
    ) -> None:
        if not _ACCOUNT.fullmatch(account_sid):
            raise Misconfigured("account_sid is AC and 32 hexadecimal digits")
        if not secret or not secret.isascii() or not secret.isprintable():
            raise Misconfigured("Twilio needs an auth token of plain characters")
        if urlsplit(callback_url).scheme not in {"http", "https"} or urlsplit(callback_url).fragment:
            raise Misconfigured("callback_url is of the form https://host[:port]/path")
        base = urlsplit(base_url)
        if not (base.scheme == "https" or (base.scheme == "http" and base.hostname in _LOOPBACK)) or base.path.strip(
            "/"
        ):
            raise Misconfigured("base_url is of the form https://host[:port]")
        try:
            self.managed = Managed(opt_out=opt_out, answers=frozenset(OptOut(word) for word in answers))
        except ValueError:
            raise Misconfigured("answers lists some of stop, start, help") from None
        self._line = Line(
            timeout=timeout, connect_timeout=connect_timeout, most=concurrency, ca_file=ca_file, on_exchange=on_exchange
        )
        # Twilio's library takes a quarter of a second and some memory, which only those pay who use it.
        from twilio.request_validator import RequestValidator
        from twilio.rest import Client

        # Its settings in the environment change nothing: they choose a host, and the door has its own.
        self._client = Client(account_sid, secret, http_client=_Door(self._line, base_url.rstrip("/")))
        self._validator = RequestValidator(secret)
        self._account_sid = account_sid
        self._callback_url = callback_url
        self._service = messaging_service_sid
        self._concurrency = concurrency
        self._reasons = {**REASONS, **read_codes(codes)}

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._line.close()

    def send(self, messages: Sequence[Outgoing]) -> Iterator[Accepted | Rejected | Lost]:
        """Send each text once, at most ``concurrency`` at a time."""
        if len({message.key for message in messages}) != len(messages):
            raise ValueError("a key stands twice in one send")
        yield from in_parallel(self._send_one, messages, at_once=self._concurrency)

    def _send_one(self, message: Outgoing) -> Accepted | Rejected | Lost:
        from twilio.base.exceptions import TwilioException

        wanted: dict[str, Any] = {
            "to": message.recipient,
            "body": message.body,
            "status_callback": self._status_url(message.key),
        }
        if message.sender:
            wanted["from_"] = message.sender
        if self._service:
            wanted["messaging_service_sid"] = self._service
        if message.valid_for is not None:
            wanted["validity_period"] = min(math.ceil(message.valid_for.total_seconds()), VALIDITY_LONGEST)
        try:
            made = self._client.messages.create(**wanted)
        except (NotSent, OutcomeUnknown, Misconfigured) as error:
            return Lost(message.key, error)
        except TwilioException as refusal:
            return self._refused(message.key, refusal)
        except (ValueError, KeyError, TypeError, AttributeError):
            return Lost(message.key, OutcomeUnknown("Twilio's answer cannot be read"))
        return self._made(message, made)

    def _made(self, message: Outgoing, made: Any) -> Accepted | Rejected | Lost:
        if not isinstance(made.sid, str) or not _MESSAGE.fullmatch(made.sid) or made.to != message.recipient:
            return Lost(message.key, OutcomeUnknown("Twilio's answer is not about this text"))
        status = STATUSES.get(str(made.status), Status.QUEUED)
        if status in _FAILURES:
            code = str(made.error_code or "")
            return Rejected(message.key, self._reasons.get(code, Reason.UNSENDABLE), code)
        counted = str(made.num_segments or "")
        # Nought means that it was not cut yet: a messaging service does so later.
        segments = int(counted) if counted.isascii() and counted.isdigit() and int(counted) else None
        return Accepted(message.key, made.sid, status, segments)

    def _refused(self, key: str, refusal: Exception) -> Rejected | Lost:
        status, code = getattr(refusal, "status", None), str(getattr(refusal, "code", "") or "")
        if not isinstance(status, int) or not 400 <= status < 500:
            return Lost(key, OutcomeUnknown(f"Twilio answered with status {status}"))
        # What it says about it may name the phone, and is for no user: the code is enough.
        if code in self._reasons:
            return Rejected(key, self._reasons[code], code)
        if code in _TOO_MANY:
            return Lost(key, NotSent("Twilio takes no more for now"))
        if code in _OURS_TO_MEND or status in {401, 403, 404}:
            return Lost(key, Misconfigured(f"Twilio does not let us send: code {code}"))
        return Rejected(key, Reason.UNSENDABLE, code)

    def _status_url(self, key: str) -> str:
        joint = "&" if urlsplit(self._callback_url).query else "?"
        return f"{self._callback_url}{joint}{urlencode({_KEY_FIELD: key}, quote_via=quote)}"

    def read(self, request: Webhook) -> Inbound | StatusReport | Ignored:
        """Check the signature over the public address and every parameter, then read what Twilio tells."""
        fields = self._authenticated(request)
        if fields is None:
            return Ignored("a body of JSON tells of no text")
        name = fields.first("MessageSid") or fields.first("SmsSid")
        if not _MESSAGE.fullmatch(name):
            return Ignored("no message is named")
        told = fields.first("MessageStatus") or fields.first("SmsStatus")
        if told in {"received", "receiving"} or (not told and "Body" in fields):
            return _inbound(fields, name)
        if told not in STATUSES:
            return Ignored("the status is not known")
        status, code = STATUSES[told], fields.first("ErrorCode")
        return StatusReport(
            provider_id=name,
            status=status,
            key=parse_qs(urlsplit(request.url).query).get(_KEY_FIELD, [""])[0],
            reason=self._reasons.get(code, Reason.UNEXPLAINED) if status in _FAILURES else None,
            code=code,
        )

    def _authenticated(self, request: Webhook) -> _Fields | None:
        """Give the parameters of a form, None for an authentic body of JSON.

        :raises NotAuthentic: the signature is missing or wrong.
        """
        signature = request.header(SIGNATURE)
        if not signature or not signature.isascii():
            raise NotAuthentic("the signature is missing or cannot be read")
        try:
            text = request.body.decode()
            is_json = request.header("Content-Type").partition(";")[0].strip().lower() == "application/json"
            if is_json and "bodySHA256" not in parse_qs(urlsplit(request.url).query):
                # Then nothing of the body would be signed.
                raise NotAuthentic("a body of JSON whose hash is not in the address")
            fields = None if is_json else _Fields.read(text)
            authentic = self._validator.validate(request.url, text if fields is None else fields, signature)
        except ValueError:
            raise NotAuthentic("the request cannot be read") from None
        if not authentic:
            raise NotAuthentic("the signature is wrong")
        return fields

    def ping(self) -> None:
        """Ask Twilio for our account."""
        from twilio.base.exceptions import TwilioException

        try:
            self._client.api.v2010.accounts(self._account_sid).fetch()
        except TwilioException as refusal:
            status = getattr(refusal, "status", None)
            if status in {401, 403, 404}:
                raise Misconfigured("Twilio does not know us: account or auth token is wrong") from None
            raise OutcomeUnknown(f"Twilio answered with status {status}") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise OutcomeUnknown("Twilio's answer cannot be read") from None


class _Door:
    """What Twilio's library takes for its HTTP client."""

    is_async = False

    def __init__(self, line: Line, base_url: str) -> None:
        self._line = line
        self._base_url = base_url

    def request(
        self,
        method: str,
        uri: str,
        params: Mapping[str, object] | None = None,
        data: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,
        allow_redirects: bool = False,
    ) -> object:
        """Send what the library shaped, to the address that we were given; its time-outs are the line's."""
        from twilio.http.response import Response
        from urllib3.util import make_headers

        parts = urlsplit(uri)
        query = urlencode(params or {}) or parts.query
        address = f"{self._base_url}{parts.path}" + (f"?{query}" if query else "")
        credentials = make_headers(basic_auth=":".join(auth)) if auth else {}
        reply = self._line.exchange(
            method, address, urlencode(data or {}).encode(), {**dict(headers or {}), **credentials}
        )
        if reply.status == 429:
            raise NotSent("Twilio takes no more for now", retry_after=retry_after(reply.headers))
        return Response(reply.status, reply.body.decode("utf-8", "replace"), reply.headers)


class _Fields(dict[str, list[str]]):
    """The parameters of a form, each with all its values, as Twilio's validator asks for them."""

    @classmethod
    def read(cls, text: str) -> _Fields:
        """Read a form.

        :raises ValueError: it is none, or has too many parameters.
        """
        fields = cls()
        for name, value in parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS_MOST, errors="strict"):
            fields.setdefault(name, []).append(value)
        return fields

    def getall(self, name: str) -> list[str]:
        """Give every value of a parameter."""
        return self[name]

    def first(self, name: str) -> str:
        """Give the first value of a parameter, empty where there is none."""
        return self.get(name, [""])[0]


def _inbound(fields: _Fields, name: str) -> Inbound | Ignored:
    sender, recipient, media = fields.first("From"), fields.first("To"), fields.first("NumMedia")
    if not is_e164(sender) or not is_sender(recipient):
        return Ignored("a text that is not from a phone to a number of ours")
    return Inbound(
        provider_id=name,
        sender=sender,
        recipient=recipient,
        body=fields.first("Body"),
        media=int(media) if media.isascii() and media.isdigit() and len(media) < 4 else 0,
        acted_on=_ACTED_ON.get(fields.first("OptOutType").upper()),
    )
