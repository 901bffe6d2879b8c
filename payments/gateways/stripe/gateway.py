"""The driver of Stripe, through its own library.

The library shapes requests and reads answers; the wire is ours (``wires.py``). An attempt's key is Stripe's idempotency
key, and stands in the metadata and the transfer group of what it makes, by which it is found again: lists of Stripe's
are read, never its search, which may be an hour behind.

Source: PAY-1, PAY-4, PAY-7, PAY-10, PAY-13, PAY-16, PAY-17, PAY-19, PAY-21, PAY-22.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from payments.gateways.base import (
    Absent,
    Answer,
    ChargeRequest,
    Command,
    FieldScript,
    GatewayError,
    HostedFields,
    InstrumentDetails,
    Lost,
    Misconfigured,
    NotSent,
    OutcomeUnknown,
    ProcessorEvent,
    Refused,
    ResponseFile,
    Result,
    Reversal,
)
from payments.gateways.descriptors import item_of
from payments.gateways.lines import ExchangeHook
from payments.gateways.options import CA_FILE, CODES, OptionField, OptionKind, connection
from payments.gateways.stripe import answers, events, files, reversals
from payments.gateways.stripe.amounts import major_units, minor_units
from payments.gateways.stripe.answers import DEPOSIT_KEY, KEY, RELEASE_KEY, Json, part, text
from payments.gateways.stripe.codes import RESULTS
from payments.gateways.stripe.entries import TOKEN, TYPES, Entries, under
from payments.gateways.stripe.lookups import INTENT, Lookups
from payments.gateways.stripe.wires import API, open_client

SETTLE_MARGIN = 60.0  # seconds
KEY_LONGEST = 255
HEARTBEAT_LONGEST = 120.0  # seconds (PAY-22)
WINDOW_LONGEST = 24.0  # hours; what Stripe promises
# Results that an answer may never become: the engine's own marks (PAY-1, PAY-2).
RESERVED = frozenset({777, 888})
RESULT_HIGHEST = 998

_ACCOUNT = re.compile(r"acct_[0-9A-Za-z_]+")
_API_KEY = re.compile(r"(?:sk|rk)_(test|live)_[0-9A-Za-z_]+")
_PUBLISHABLE = re.compile(r"pk_(test|live)_[0-9A-Za-z_]+")
_SIGNING = re.compile(r"whsec_[0-9A-Za-z+/=_-]+")
# With the longest name of an account, ten characters, and what Stripe puts between the two, 22 remain whole. A letter is a must.
_SUFFIX = re.compile(r"(?=.*[A-Za-z])[^<>\\'\"*]{1,10}")
_Item = TypeVar("_Item")
_Outcome = TypeVar("_Outcome")


class StripeGateway:
    """Stripe, spoken to for one account.

    ``merchant`` is the account's id. ``secret`` is its API key and, after a blank, the signing secrets of its webhook
    endpoint: one, or two while it is being replaced. ``publishable_key`` is what browsers name the account by.
    ``dedupe_window`` and ``authorization_life`` are in hours; times in seconds: ``timeout`` for a request,
    ``settle_seconds`` not less. ``moto`` says that Stripe has enabled mail and telephone orders for the account.
    ``codes`` maps Stripe's codes to results and goes before the built-in table. ``on_exchange`` is told every message.

    :raises Misconfigured: an option cannot be.
    """

    name = "stripe"
    # Each request goes alone, ``concurrency`` of them at once; their answers are kept together.
    batch_limit = 200
    verification_amount = Decimal(0)
    options = (
        OptionField(
            "publishable_key",
            "Publishable key",
            OptionKind.TEXT,
            help="What browsers name the account by; without it nobody can enter a method.",
        ),
        OptionField(
            "moto",
            "Mail and telephone orders are enabled",
            OptionKind.SWITCH,
            help="By Stripe, for this account: what CSRs charge is marked so.",
        ),
        *connection(timeout=80, batches=False),
        OptionField("dedupe_window", "Recognises repeats for (hours)", usual="24", least=1, most=WINDOW_LONGEST),
        OptionField("authorization_life", "Holds authorized money for (hours)", usual="114", least=1, most=8760),
        CODES,
        OptionField(
            "base_url", "Address", OptionKind.TEXT, "Stripe’s", "Only of what stands in for Stripe on this machine."
        ),
        CA_FILE,
    )

    def __init__(
        self,
        *,
        merchant: str,
        secret: str,
        publishable_key: str = "",
        base_url: str = API,
        dedupe_window: float = WINDOW_LONGEST,
        authorization_life: float = 114.0,
        settle_seconds: float | None = None,
        timeout: float = 80.0,
        connect_timeout: float = 10.0,
        connect_retries: int = 2,
        heartbeat_limit: float = HEARTBEAT_LONGEST,
        concurrency: int = 8,
        moto: bool = False,
        codes: Mapping[str, int] | None = None,
        ca_file: str | None = None,
        on_exchange: ExchangeHook | None = None,
    ) -> None:
        settle = timeout + SETTLE_MARGIN if settle_seconds is None else settle_seconds
        if min(timeout, connect_timeout) <= 0 or connect_retries < 0 or concurrency < 1:
            raise Misconfigured("time-outs and concurrency are above zero, connect_retries is not below")
        if not 0 < heartbeat_limit <= HEARTBEAT_LONGEST:
            raise Misconfigured(f"heartbeat_limit is a number of seconds up to {HEARTBEAT_LONGEST:g}")
        if settle < timeout:
            raise Misconfigured("settle_seconds is shorter than the time-out: absence would say nothing")
        if not 0 < dedupe_window <= WINDOW_LONGEST:
            raise Misconfigured(
                f"dedupe_window is a number of hours up to {WINDOW_LONGEST:g}: Stripe keeps keys no longer"
            )
        if authorization_life <= 0:
            raise Misconfigured("authorization_life is a number of hours above zero")
        if not _ACCOUNT.fullmatch(merchant):
            raise Misconfigured("the merchant is the id of a Stripe account: acct_ and letters and digits")
        key, *signing = secret.split()[:4] or [""]
        mode = _API_KEY.fullmatch(key)
        if mode is None or not all(_SIGNING.fullmatch(one) for one in signing):
            raise Misconfigured("the secret is an API key (sk_… or rk_…) and, after a blank, the webhook's whsec_…")
        if publishable_key:
            shown = _PUBLISHABLE.fullmatch(publishable_key)
            if shown is None or shown[1] != mode[1]:
                raise Misconfigured("publishable_key is the pk_… of the same account and mode as the API key")
        for code, result in (codes or {}).items():
            if not 0 <= result <= RESULT_HIGHEST or result in RESERVED:
                raise Misconfigured(f"code {code} cannot become result {result}")
        self.dedupe_window: timedelta | None = timedelta(hours=dedupe_window)
        self.settle_time = timedelta(seconds=settle)
        self.authorization_life = timedelta(hours=authorization_life)
        self._merchant = merchant
        self._signing = signing
        self._concurrency = concurrency
        self._moto = moto
        self._codes = {**RESULTS, **(codes or {})}
        client, self._line = open_client(
            base_url,
            key,
            timeout=timeout,
            connect_timeout=connect_timeout,
            connect_retries=connect_retries,
            ca_file=ca_file,
            on_exchange=on_exchange,
        )
        self._api: Any = client.v1
        self._lookups = Lookups(self._ask, self._api, self._codes)
        self._entries = Entries(self._ask, self._api, publishable_key=publishable_key)

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._line.close()

    # --- Money -------------------------------------------------------------------------------------------------------

    def send(self, requests: Sequence[ChargeRequest]) -> Iterator[Answer | Lost]:
        """Send each request once, at most ``concurrency`` at a time."""
        if len({request.key for request in requests}) != len(requests):
            raise ValueError("a key stands twice in one send")
        yield from self._in_parallel(self._send_one, requests)

    def _send_one(self, request: ChargeRequest) -> Answer | Lost:
        try:
            answer = self._perform(request)
        except GatewayError as error:
            return Lost(request.key, error)
        if answer.result == Result.PASS and answer.amount != request.amount:
            return Lost(request.key, OutcomeUnknown("Stripe answers for another amount"))
        return answer

    def _perform(self, request: ChargeRequest) -> Answer:
        if not request.key or len(request.key) > KEY_LONGEST or not request.key.isascii():
            raise Refused(f"a key is 1 to {KEY_LONGEST} plain characters")
        try:
            minor = minor_units(request.amount, request.currency)
        except ValueError as wrong:
            return Answer(request.key, Result.FORMAT_ERROR, message=str(wrong))
        token = TOKEN.fullmatch(request.token)
        if (minor == 0) != (request.command == Command.VERIFY) or minor < 0:
            return Answer(request.key, Result.INVALID_CONTENT, message="the amount does not fit the command")
        if request.command in {Command.DEPOSIT, Command.RELEASE, Command.REFUND}:
            if not INTENT.fullmatch(request.reference):
                return Answer(request.key, Result.FAIL_SELECT_ITEMS, message="there is no such charge")
            if request.command == Command.DEPOSIT:
                return self._deposit(request, minor)
            intent = self._lookups.intent(request.reference)
            if intent is None:
                return Answer(request.key, Result.FAIL_SELECT_ITEMS, message="there is no such charge")
            about = self._release if request.command == Command.RELEASE else self._refund
            return about(request, intent, minor)
        if token is None or request.tender not in TYPES:
            return Answer(request.key, Result.INVALID_CONTENT, message="the token is not known")
        if request.command == Command.VERIFY:
            return self._verify(request, token[1], token[2])
        return self._charge(request, token[1], token[2], minor)

    def _charge(self, request: ChargeRequest, customer: str, method: str, minor: int) -> Answer:
        wanted: dict[str, Any] = {
            "amount": minor,
            "currency": request.currency.lower(),
            "customer": customer,
            "payment_method": method,
            "payment_method_types": [TYPES[request.tender]],
            "confirm": True,
            "metadata": {
                KEY: request.key,
                "account": request.account,
                **({"payment": request.payment} if request.payment else {}),
            },
            "description": f"Account {request.account}",
            "transfer_group": request.key,
            "expand": ["latest_charge"],
        }
        if request.command == Command.AUTHORIZE:
            wanted["capture_method"] = "manual"
        if request.tender == "card" and _SUFFIX.fullmatch(item := item_of(request.descriptor)):
            # Stripe puts the account's own shortened name before it; bank debits carry the account's name alone.
            wanted["statement_descriptor_suffix"] = item
        if request.transaction_type == "moto" and self._moto and request.tender == "card":
            wanted["payment_method_options"] = {"card": {"moto": True}}
        elif request.transaction_type == "internet":
            # The payer is there, but no page of ours can ask for a second factor: better declined than left waiting.
            wanted["error_on_requires_action"] = True
        else:
            wanted["off_session"] = True
        return self._told(
            request,
            lambda: self._api.payment_intents.create(wanted, under(request.key)),
            lambda told: answers.read_intent(told, request.key, self._codes),
        )

    def _verify(self, request: ChargeRequest, customer: str, method: str) -> Answer:
        if request.tender == "bank":
            # Stripe verified the account when it was entered; what can be asked again is whether it still has it.
            found = self._entries.describe(request.token)
            return Answer(request.key, Result.PASS, found.token[-4:], method, amount=major_units(0, request.currency))
        return self._told(
            request,
            lambda: self._api.setup_intents.create(
                {
                    "customer": customer,
                    "payment_method": method,
                    "payment_method_types": ["card"],
                    "usage": "off_session",
                    "confirm": True,
                    "metadata": {KEY: request.key, "account": request.account},
                    "expand": ["payment_method"],
                },
                under(request.key),
            ),
            lambda told: answers.read_verification(told, request.key),
        )

    def _deposit(self, request: ChargeRequest, minor: int) -> Answer:
        answer = self._told(
            request,
            lambda: self._api.payment_intents.capture(
                request.reference,
                {"amount_to_capture": minor, "metadata": {DEPOSIT_KEY: request.key}, "expand": ["latest_charge"]},
                under(request.key),
            ),
            lambda told: answers.read_deposit(told, request.key),
        )
        if answer.code == "payment_intent_unexpected_state":
            # It may have been this very deposit that brought the intent into the state.
            done = self._lookups.about(request.key, request.reference)
            return done if isinstance(done, Answer) else answer
        return answer

    def _refund(self, request: ChargeRequest, intent: Json, minor: int) -> Answer:
        if text(intent, "status") in {"requires_capture", "canceled"}:
            return Answer(request.key, Result.LOGICAL_PROBLEM, message="an authorization is released, not refunded")
        try:
            answer = self._told(
                request,
                lambda: self._api.refunds.create(
                    {"payment_intent": request.reference, "amount": minor, "metadata": {KEY: request.key}},
                    under(request.key),
                ),
                lambda told: answers.read_refund(told, request.key, self._codes),
            )
        except Refused as refusal:
            # Stripe has no code of its own for more than is left.
            left = answers.whole(intent, "amount_received") - answers.whole(
                part(intent, "latest_charge"), "amount_refunded"
            )
            if minor <= left:
                raise
            answer = Answer(request.key, Result.NO_CREDIT_BALANCE, message=str(refusal))
        if answer.result in {Result.NO_CREDIT_BALANCE, Result.LOGICAL_PROBLEM}:
            done = self._lookups.about(request.key, request.reference)
            return done if isinstance(done, Answer) else answer
        return answer

    def _release(self, request: ChargeRequest, intent: Json, minor: int) -> Answer:
        """Let the whole money of an authorization go: marked with the key first, since a cancellation has no place for it."""
        marked = text(part(intent, "metadata"), RELEASE_KEY) == request.key
        if text(intent, "status") == "canceled":
            if marked:
                return answers.read_release(intent, request.key)
            return Answer(request.key, Result.NO_CREDIT_BALANCE, message="the authorization was released before")
        if minor != answers.whole(intent, "amount") or text(intent, "status") != "requires_capture":
            return Answer(
                request.key,
                Result.LOGICAL_PROBLEM,
                message="an authorization is released whole, and not once it is deposited",
            )
        if not marked:
            self._ask(
                lambda: self._api.payment_intents.update(request.reference, {"metadata": {RELEASE_KEY: request.key}})
            )
        return self._told(
            request,
            lambda: self._api.payment_intents.cancel(
                request.reference, {"cancellation_reason": "requested_by_customer"}, under(request.key)
            ),
            lambda told: answers.read_release(told, request.key),
        )

    # --- Looking up --------------------------------------------------------------------------------------------------

    def lookup(self, keys: Sequence[str], *, about: Mapping[str, str] | None = None) -> Iterator[Answer | Absent]:
        """Ask for the charge of each key by its transfer group; for deposits, releases and refunds by what they are about."""
        references = about or {}
        found: dict[str, Answer | Absent | OutcomeUnknown] = {}

        def find(key: str) -> tuple[str, Answer | Absent | OutcomeUnknown]:
            try:
                return key, self._lookups.about(key, references[key]) if key in references else self._lookups.charged(
                    key
                )
            except OutcomeUnknown as unknown:
                return key, unknown
            except Refused as refusal:
                return key, OutcomeUnknown(str(refusal))

        found.update(self._in_parallel(find, list(dict.fromkeys(keys))))
        unknown: OutcomeUnknown | None = None
        for key in keys:
            one = found[key]
            if isinstance(one, OutcomeUnknown):
                unknown = one
            else:
                yield one
        if unknown is not None:
            raise unknown

    def response_files(self, since: datetime | None = None) -> Iterator[ResponseFile]:
        """Give what Stripe lists of each of the last days, or of those since a moment, as files that end an hour ago."""
        yield from files.read(
            self._list, self._api, merchant=self._merchant, codes=self._codes, now=datetime.now(tz=UTC), since=since
        )

    def reversals(self, since: datetime) -> Iterator[Reversal]:
        """Give what disputes and returned debits moved since a moment."""
        yield from reversals.read(self._list, self._api, self._codes, since, datetime.now(tz=UTC))

    # --- Methods -----------------------------------------------------------------------------------------------------

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
        """Say where the page of ours is that runs Stripe's script; numbers are typed in frames of Stripe's inside it."""
        return self._entries.hosted(parent_origin=parent_origin, kind=kind, own_page=own_page)

    def open_fields(self, *, kind: str, account: str, key: str) -> FieldScript:
        """Begin the entry of a method: a customer of Stripe's to keep it with, and an intent to set it up."""
        return self._entries.open(kind=kind, account=account, key=key)

    def leave_for_fields(self, *, kind: str, account: str, key: str, return_url: str, language: str) -> str:
        """Give the address of Stripe's own page, which comes back to ``return_url`` with a token."""
        return self._entries.leave(kind=kind, account=account, key=key, return_url=return_url, language=language)

    def describe_token(self, token: str, *, account: str = "") -> InstrumentDetails:
        """Ask what was entered, or what is kept; a token that is kept names Stripe's customer and ends in four digits."""
        return self._entries.describe(token, account)

    # --- Events ------------------------------------------------------------------------------------------------------

    def read_event(self, *, body: bytes, headers: Mapping[str, str]) -> ProcessorEvent:
        """Check Stripe's signature over the bytes as they came, and read what it tells of."""
        return events.read(body, headers, self._signing)

    def ping(self) -> None:
        """Ask Stripe whose key this is."""
        try:
            found = self._ask(self._api.accounts.retrieve_current, sent=True)
        except Refused as refusal:
            raise OutcomeUnknown(str(refusal)) from None
        if text(found, "id") != self._merchant:
            raise Misconfigured("the API key is another account's than the merchant")

    # --- The wire ----------------------------------------------------------------------------------------------------

    def _told(self, request: ChargeRequest, call: Callable[[], Any], read: Callable[[Json], Answer]) -> Answer:
        """Send what moves money, and read what came of it."""
        from stripe import StripeError

        try:
            told = call().to_dict()
        except StripeError as failure:
            return answers.read_error(failure.http_status, failure.json_body, key=request.key, codes=self._codes)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise OutcomeUnknown("Stripe's answer cannot be read") from None
        return read(told)

    def _ask(self, call: Callable[[], Any], *, sent: bool = False) -> dict[str, Any]:
        """Ask something that moves no money: that it was not sent tells no more than that there is no answer.

        :raises Refused: Stripe does not know what was asked for.
        """
        from stripe import StripeError

        try:
            told: dict[str, Any] = call().to_dict()
        except NotSent as error:
            if sent:
                raise
            raise OutcomeUnknown(str(error)) from None
        except StripeError as failure:
            try:
                answer = answers.read_error(failure.http_status, failure.json_body, key="", codes=self._codes)
            except NotSent as error:
                raise OutcomeUnknown(str(error)) from None
            raise Refused(answer.message or "Stripe does not know this") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise OutcomeUnknown("Stripe's answer cannot be read") from None
        return told

    def _list(self, call: Callable[[], Any]) -> dict[str, Any]:
        """Ask for what there is: that Stripe refuses it is no answer."""
        try:
            return self._ask(call)
        except Refused as refusal:
            raise OutcomeUnknown(str(refusal)) from None

    def _in_parallel(self, work: Callable[[_Item], _Outcome], items: Sequence[_Item]) -> Iterator[_Outcome]:
        if len(items) <= 1 or self._concurrency == 1:
            yield from map(work, items)
            return
        with ThreadPoolExecutor(max_workers=self._concurrency) as pool:
            pending = [pool.submit(work, item) for item in items]
            try:
                for done in as_completed(pending):
                    yield done.result()
            finally:
                # Whoever stops listening stops the sending of what has not begun.
                for waiting in pending:
                    waiting.cancel()
