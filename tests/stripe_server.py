"""A small Stripe of our own: its API as far as the driver asks for it, over real HTTP, with a book that nobody else writes.

It shows what the stand-in that others publish cannot: idempotency keys (the first answer again, a conflict while one is
under way, another request under the same key refused), declines, disputes, returned debits, and lost answers.

with StripeServer() as stripe:
    token = stripe.token("acct_water", "soft_decline")
    stripe.strike("drop_after")
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import hmac
import json
import re
import socket
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from payments.gateways.stripe.answers import KEY

# What each kind of method makes Stripe say: a decline code, or nothing.
DECLINES = {
    "approve": "",
    "verify_only": "insufficient_funds",
    "soft_decline": "insufficient_funds",
    "hard_decline": "stolen_card",
    "bad_card": "expired_card",
    "avs_fail": "incorrect_address",
    "zip_fail": "incorrect_zip",
    "location_fail": "country_unsupported",
    "cvv_fail": "incorrect_cvc",
    "service_unavailable": "issuer_not_available",
    "under_minimum": "amount_too_small",
    "technical_problem": "processing_error",
}
_ROUTES = {
    "online": r"POST /v1/(payment_intents|refunds|setup_intents)(/.*)?",
    "describe": r"GET /v1/(payment_methods|setup_intents|checkout/sessions)/.*",
    "ping": r"GET /v1/account",
    "reversals": r"GET /v1/(events|disputes)",
    "response_file": r"GET /v1/payment_intents",
    "lookup": r"GET /v1/(charges|refunds|payment_intents/.*)",
}


class Refusal(Exception):
    """An error of the API."""

    def __init__(self, status: int, kind: str = "invalid_request_error", **error: Any) -> None:
        super().__init__(status)
        self.status, self.body = status, {"error": {"type": kind, "message": "Refused.", **error}}


@dataclass
class Account:
    """What Stripe holds for one merchant."""

    id: str
    things: dict[str, dict[str, Any]] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)
    replies: dict[str, tuple[str, bytes, int, dict[str, Any]] | None] = field(default_factory=dict)
    money: dict[str, int] = field(default_factory=dict)


class StripeServer:
    """One Stripe with many accounts: the API key of ``acct_x`` is ``sk_test_x``, its webhooks are signed by ``whsec_x``."""

    def __init__(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                outer._handle(self, b"")

            def do_POST(self) -> None:
                outer._handle(self, self.rfile.read(int(self.headers.get("Content-Length", 0))))

            def log_message(self, format: str, *args: Any) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.reset()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def reset(self) -> None:
        """Forget everything and be healthy."""
        self.lock = threading.RLock()
        self.accounts: dict[str, Account] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.headers: list[dict[str, str]] = []
        self.settled = False
        self._strikes: list[dict[str, Any]] = []
        self._ids = count(1)
        self._late: list[threading.Thread] = []
        self._told_at = 0
        self._inside = 0
        self.most_at_once = 0

    # --- Hands -------------------------------------------------------------------------------------------------------

    def account(self, name: str) -> Account:
        """Give an account, made when it is first asked for."""
        with self.lock:
            return self.accounts.setdefault(name, Account(name))

    def token(self, account: str, outcome: str, kind: str = "card") -> str:
        """Make a method that is kept, whose charges end so; ``refused`` is an entry that was refused."""
        if outcome == "refused":
            return self.entered(account, outcome="hard_decline", status="requires_payment_method")
        customer, method = self._method(account, outcome, kind)
        return f"{customer}/{method}/4242"

    def entered(
        self, account: str, outcome: str = "approve", kind: str = "card", status: str = "succeeded", number: str = ""
    ) -> str:
        """Have somebody enter a method in Stripe's fields, for an account's number; gives what their browser gets."""
        customer, method = self._method(account, outcome, kind)
        intent = self._add(
            account, "seti", "setup_intent", customer=customer, status=status, payment_method=method,
            metadata={"account": number} if number else {},
        )  # fmt: skip
        return str(intent["id"])

    def checked_out(self, account: str, number: str = "") -> str:
        """Have somebody enter a card on Stripe's own page, for an account's number; gives what comes back with the browser."""
        session = self._add(
            account, "cs_test", "checkout.session", setup_intent=self.entered(account),
            metadata={"account": number} if number else {},
        )  # fmt: skip
        return str(session["id"])

    def strike(
        self, fault: str, *, times: int = 1, on: tuple[str, ...] | list[str] = ("online",), seconds: float = 1
    ) -> None:
        """Let the next requests of some kinds go wrong."""
        with self.lock:
            self._strikes.append({"fault": fault, "times": times, "on": on, "seconds": seconds})

    def charges(self, account: str) -> dict[str, int]:
        """Give how often money was taken for each key that was seen."""
        with self.lock:
            return dict(self.account(account).money)

    def settle(self) -> None:
        """Wait until nothing that was held back is still to be done."""
        for thread in self._late:
            thread.join(10)

    def intent_of(self, account: str, key: str) -> dict[str, Any]:
        """Give the payment intent of a charge."""
        return next(
            thing
            for thing in self.account(account).things.values()
            if thing["object"] == "payment_intent" and thing["metadata"].get(KEY) == key
        )

    def reverse(
        self, account: str, key: str, kind: str, amount: int | None = None, code: str = "insufficient_funds"
    ) -> str:
        """Have a bank return a debit, a payer dispute a charge, or the dispute decided for the merchant."""
        intent = self.intent_of(account, key)
        charge = self.account(account).things[intent["latest_charge"]]
        if kind == "return":
            charge |= {"status": "failed", "failure_code": code, "failure_message": "It was returned."}
            error = {
                "code": code,
                "message": "It was returned.",
                "payment_method": {"type": "us_bank_account"},
            }
            intent |= {"status": "requires_payment_method", "last_payment_error": error}
            self._tell(account, "charge.failed", charge)
            return str(charge["id"])
        dispute = next(
            (one for one in self.account(account).things.values() if one["object"] == "dispute"), None
        ) or self._add(
            account, "du", "dispute", charge=charge["id"], payment_intent=intent["id"], currency=charge["currency"],
            amount=amount or charge["amount"], reason="fraudulent", status="needs_response", balance_transactions=[],
            payment_method_details={"type": "card", "card": {"network_reason_code": "10.4"}},
        )  # fmt: skip
        won = kind == "chargeback_won"
        event = self._tell(account, f"charge.dispute.funds_{'reinstated' if won else 'withdrawn'}", dispute)
        moved = dispute["amount"] if won else -dispute["amount"]
        dispute["balance_transactions"].append(
            {"object": "balance_transaction", "amount": moved, "created": event["created"]}
        )
        return f"{dispute['id']}:{'reinstated' if won else 'withdrawn'}"

    def webhook(
        self, account: str, kind: str, thing: dict[str, Any], *, at: float | None = None, event_id: str = ""
    ) -> tuple[bytes, str]:
        """Give an event's body and the signature that Stripe would send with it."""
        event = {
            "id": event_id or f"evt_{next(self._ids)}", "object": "event", "type": kind, "created": int(time.time()),
            "data": {"object": thing},
        }  # fmt: skip
        body = json.dumps(event).encode()
        return body, signature(body, f"whsec_{account.removeprefix('acct_')}", at=at)

    # --- The API -----------------------------------------------------------------------------------------------------

    def _handle(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        parts = urlsplit(request.path)
        call = f"{request.command} {parts.path}"
        with self.lock:
            self.asked.append((request.command, request.path, dict(parse_qsl(body.decode()))))
            self.headers.append(dict(request.headers))
        strike = self._struck(call)
        with self.lock:
            self._inside += 1
            self.most_at_once = max(self.most_at_once, self._inside)
        try:
            self._strike_or_answer(request, call, parts.query, body, strike)
        finally:
            with self.lock:
                self._inside -= 1

    def _strike_or_answer(
        self, request: BaseHTTPRequestHandler, call: str, query: str, body: bytes, strike: dict[str, Any] | None
    ) -> None:
        fault, seconds = (strike["fault"], strike["seconds"]) if strike else ("", 0.0)
        if fault in {"drop_before", "drop_then_late", "late"}:
            if fault != "drop_before":
                later = threading.Thread(target=self._do_later, args=(seconds, request, call, query, body))
                later.start()
                self._late.append(later)
            if fault == "late":
                time.sleep(seconds)
            self._drop(request)
            return
        if fault == "error_before":
            self._reply(request, 500, b'{"error": {"type": "api_error", "message": "Something went wrong."}}')
            return
        if fault == "busy":
            self._reply(request, 429, b'{"error": {"type": "invalid_request_error", "code": "rate_limit"}}')
            return
        status, answer = self._answer(request, call, query, body, fault)
        text = json.dumps(answer).encode()
        if fault == "drop_after":
            self._drop(request)
        elif fault == "error_after":
            self._reply(request, 502, b"<html>Bad gateway</html>")
        elif fault == "garbage":
            self._reply(request, 200, b"{]")
        elif fault == "truncated":
            self._reply(request, status, text[: len(text) // 2], length=len(text))
        elif fault == "slow":
            time.sleep(seconds)
            self._reply(request, status, text)
        elif fault == "drip":
            with contextlib.suppress(OSError):
                for byte in b"HTTP/1.1 200 OK\r\n":
                    request.wfile.write(bytes([byte]))
                    time.sleep(seconds / 10)
            self._drop(request)
        else:
            self._reply(request, status, text)

    def _do_later(self, seconds: float, request: Any, call: str, query: str, body: bytes) -> None:
        time.sleep(seconds)
        self._answer(request, call, query, body, "")

    def _struck(self, call: str) -> dict[str, Any] | None:
        with self.lock:
            for strike in self._strikes:
                if any(re.fullmatch(_ROUTES[name], call) for name in strike["on"]):
                    strike["times"] -= 1
                    if strike["times"] <= 0:
                        self._strikes.remove(strike)
                    return strike
        return None

    def _drop(self, request: BaseHTTPRequestHandler) -> None:
        request.close_connection = True
        with contextlib.suppress(OSError):
            request.connection.shutdown(socket.SHUT_RDWR)

    def _reply(self, request: BaseHTTPRequestHandler, status: int, body: bytes, length: int | None = None) -> None:
        with contextlib.suppress(OSError):
            request.send_response(status)
            request.send_header("Content-Type", "application/json")
            request.send_header("Content-Length", str(len(body) if length is None else length))
            request.end_headers()
            request.wfile.write(body)
        if length is not None:
            self._drop(request)

    def _answer(self, request: Any, call: str, query: str, body: bytes, fault: str) -> tuple[int, dict[str, Any]]:
        """Answer as the API does, under the rules of idempotency keys."""
        secret = request.headers.get("Authorization", "").removeprefix("Bearer ")
        with self.lock:
            account = self.accounts.get(f"acct_{secret.removeprefix('sk_test_')}")
        if account is None:
            return 401, {"error": {"type": "invalid_request_error", "message": "Invalid API Key provided"}}
        key = request.headers.get("Idempotency-Key", "")
        with self.lock:
            if request.command == "POST" and key in account.replies:
                kept = account.replies[key]
                if kept is None:
                    return 409, {"error": {"type": "idempotency_error", "code": "idempotency_key_in_use"}}
                if kept[:2] != (call, body):
                    return 400, {"error": {"type": "idempotency_error", "message": "Keys are for one request."}}
                return kept[2:]
            if request.command == "POST" and ":" not in key:
                account.money.setdefault(key, 0)
            if fault == "slow_inside":
                account.replies[key] = None
        if fault == "slow_inside":
            time.sleep(0.5)
        with self.lock:
            try:
                answer = self._do(account, call, _tree(query or body.decode()), key)
                status = 200
            except Refusal as refusal:
                status, answer = refusal.status, refusal.body
            if fault == "stored_error":
                status, answer = 500, {"error": {"type": "api_error", "message": "Something went wrong."}}
            answer = copy.deepcopy(answer)
            if request.command == "POST" and status != 400:
                account.replies[key] = (call, body, status, answer)
        return status, answer

    def _do(self, account: Account, call: str, given: dict[str, Any], key: str) -> dict[str, Any]:
        method, _, path = call.partition(" /v1/")
        name, _, rest = path.partition("/")
        match method, name, rest.split("/") if rest else []:
            case "GET", "account", []:
                return {"id": account.id, "object": "account"}
            case "GET", "checkout", ["sessions", one]:
                session = self._find(account, one)
                return {**session, "setup_intent": account.things[session["setup_intent"]]}
            case "POST", "checkout", ["sessions"]:
                made = self._add(account.id, "cs_test", "checkout.session", **given)
                return made | {"url": f"https://checkout.stripe.com/c/pay/{made['id']}"}
            case "POST", "customers", []:
                return self._add(account.id, "cus", "customer", **given)
            case "POST", "setup_intents", []:
                return self._set_up(account, given)
            case "POST", "payment_intents", []:
                return self._charge(account, given, key)
            case "POST", "payment_intents", [one, "capture"]:
                return self._capture(account, self._find(account, one, "intent"), given, key)
            case "POST", "payment_intents", [one, "cancel"]:
                return self._cancel(account, self._find(account, one, "intent"))
            case "POST", "payment_intents", [one]:
                found = self._find(account, one, "intent")
                found["metadata"] |= given["metadata"]
                return found
            case "POST", "refunds", []:
                return self._refund(account, given)
            case "GET", ("payment_intents" | "payment_methods" | "setup_intents" | "charges"), [one]:
                return self._expanded(account, self._find(account, one, "intent"))
            case "GET", ("payment_intents" | "charges" | "refunds" | "events" | "disputes"), []:
                return self._list(account, name, given)
        raise Refusal(404, message=f"Unrecognized request URL ({call})")

    def _set_up(self, account: Account, given: dict[str, Any]) -> dict[str, Any]:
        intent = self._add(account.id, "seti", "setup_intent", status="requires_payment_method", **given)
        intent["client_secret"] = f"{intent['id']}_secret_x"
        if given.get("confirm") == "true":
            code = self._outcome(account, given)
            if code and account.outcomes[given["payment_method"]] not in {"verify_only", "soft_decline"}:
                raise Refusal(402, "card_error", code="card_declined", decline_code=code)
            intent["status"] = "succeeded"
            return {**intent, "payment_method": account.things[given["payment_method"]]}
        return intent

    def _charge(self, account: Account, given: dict[str, Any], key: str) -> dict[str, Any]:
        amount, bank = int(given["amount"]), given["payment_method_types"] == ["us_bank_account"]
        code = self._outcome(account, given)
        kind = account.things[given["payment_method"]]["type"]
        if kind != given["payment_method_types"][0]:
            raise Refusal(400, code="payment_intent_incompatible_payment_method")
        if code == "amount_too_small":
            raise Refusal(400, code=code, param="amount")
        manual = given.get("capture_method") == "manual"
        details: dict[str, Any] = {"type": kind}
        charge = self._add(
            account.id, "ch", "charge", amount=amount, amount_refunded=0, currency=given["currency"], captured=False,
            status="failed" if code else "pending" if bank else "succeeded", metadata=given["metadata"],
            transfer_group=given.get("transfer_group"), payment_method_details=details,
        )  # fmt: skip
        intent = self._add(
            account.id, "pi", "payment_intent", amount=amount, amount_received=0, currency=given["currency"],
            status="requires_payment_method" if code else "processing" if bank else "requires_capture" if manual else "succeeded",
            metadata=given["metadata"], latest_charge=charge["id"], payment_method_types=given["payment_method_types"],
            customer=given["customer"], cancellation_reason=None,
            statement_descriptor_suffix=given.get("statement_descriptor_suffix"),
        )  # fmt: skip
        charge["payment_intent"] = intent["id"]
        if code:
            error = {"type": "card_error", "code": "card_declined", "decline_code": code, "message": "It was declined."}
            intent["last_payment_error"] = error
            charge |= {"failure_code": code, "failure_message": "It was declined."}
            self._tell(account.id, "charge.failed", charge)
            raise Refusal(402, "card_error", **{**error, "payment_intent": self._expanded(account, intent)})
        charge["authorization_code"] = None if bank else f"{next(self._ids):06d}"
        if not manual:
            self._take(account, intent, charge, amount, key)
        return self._expanded(account, intent)

    def _capture(self, account: Account, intent: dict[str, Any], given: dict[str, Any], key: str) -> dict[str, Any]:
        if intent["status"] != "requires_capture":
            raise Refusal(400, code="payment_intent_unexpected_state", payment_intent=intent)
        if int(given["amount_to_capture"]) > intent["amount"]:
            raise Refusal(400, code="amount_too_large")
        charge = account.things[intent["latest_charge"]]
        intent["metadata"] |= given["metadata"]
        intent["status"] = "succeeded"
        self._take(account, intent, charge, int(given["amount_to_capture"]), key)
        self._tell(account.id, "charge.captured", charge)
        return self._expanded(account, intent)

    def _take(self, account: Account, intent: dict[str, Any], charge: dict[str, Any], amount: int, key: str) -> None:
        charge["captured"] = True
        intent["amount_received"] = amount
        account.money[key] = account.money.get(key, 0) + 1

    def _cancel(self, account: Account, intent: dict[str, Any]) -> dict[str, Any]:
        if intent["status"] != "requires_capture":
            raise Refusal(400, code="payment_intent_unexpected_state", payment_intent=intent)
        intent |= {"status": "canceled", "cancellation_reason": "requested_by_customer"}
        self._tell(account.id, "payment_intent.canceled", intent)
        return intent

    def _refund(self, account: Account, given: dict[str, Any]) -> dict[str, Any]:
        intent = self._find(account, given["payment_intent"], "payment_intent")
        charge, amount = account.things[intent["latest_charge"]], int(given["amount"])
        left = intent["amount_received"] - charge["amount_refunded"]
        if not left:
            raise Refusal(400, code="charge_already_refunded")
        if amount > left:
            raise Refusal(400, message="Refund amount is greater than unrefunded amount on charge")
        whole = amount == charge["amount"] and not self.settled
        charge["amount_refunded"] += amount
        return self._add(
            account.id, "re", "refund", amount=amount, currency=intent["currency"], metadata=given["metadata"],
            payment_intent=intent["id"], status="succeeded",
            destination_details={"type": "card", "card": {"type": "reversal" if whole else "refund"}},
        )  # fmt: skip

    def _list(self, account: Account, name: str, given: dict[str, Any]) -> dict[str, Any]:
        kind = {"events": "event", "disputes": "dispute", "refunds": "refund", "charges": "charge"}.get(name)
        found = [thing for thing in account.things.values() if thing["object"] == (kind or "payment_intent")]
        for names, compare in (("gte", int.__ge__), ("lt", int.__lt__)):
            if bound := given.get("created", {}).get(names):
                found = [thing for thing in found if compare(thing["created"], int(bound))]
        for same in ("transfer_group", "payment_intent"):
            if same in given:
                found = [thing for thing in found if thing[same] == given[same]]
        if "types" in given:
            found = [thing for thing in found if thing["type"] in given["types"]]
        found = found[::-1]
        names_of = [thing["id"] for thing in found]
        begin = names_of.index(given["starting_after"]) + 1 if "starting_after" in given else 0
        page = found[begin : begin + int(given["limit"])]
        return {
            "object": "list", "url": f"/v1/{name}", "has_more": begin + len(page) < len(found),
            "data": [self._expanded(account, thing) for thing in page],
        }  # fmt: skip

    def _expanded(self, account: Account, thing: dict[str, Any]) -> dict[str, Any]:
        named = {"payment_intent": "latest_charge", "charge": "payment_intent", "dispute": "charge"}.get(
            thing["object"]
        )
        return {**thing, named: account.things[thing[named]]} if named and thing.get(named) else thing

    def _outcome(self, account: Account, given: dict[str, Any]) -> str:
        method = account.things.get(given["payment_method"])
        if method is None or method["customer"] != given["customer"]:
            raise Refusal(404, code="resource_missing", param="payment_method")
        return DECLINES[account.outcomes[given["payment_method"]]]

    def _find(self, account: Account, name: str, param: str = "") -> dict[str, Any]:
        if name not in account.things:
            raise Refusal(404, code="resource_missing", param=param, message=f"No such object: {name}")
        return account.things[name]

    def _method(self, account: str, outcome: str, kind: str) -> tuple[str, str]:
        customer = self._add(account, "cus", "customer")["id"]
        year = datetime.now(tz=UTC).year + 3
        checks = {"address_line1_check": None, "address_postal_code_check": "pass", "cvc_check": "pass"}
        details: dict[str, Any] = (
            {
                "type": "card",
                "card": {"brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": year, "checks": checks},
            }
            if kind == "card"
            else {"type": "us_bank_account", "us_bank_account": {"bank_name": "First Test Bank", "last4": "4242"}}
        )
        method = self._add(account, "pm", "payment_method", customer=customer, **details)
        self.account(account).outcomes[method["id"]] = outcome
        return customer, method["id"]

    def _tell(self, account: str, kind: str, thing: dict[str, Any]) -> dict[str, Any]:
        """Keep an event; each is told a second after the last, since Stripe's times are whole seconds."""
        self._told_at = max(self._told_at + 1, int(time.time()))
        return self._add(
            account, "evt", "event", type=kind, created=self._told_at, data={"object": copy.deepcopy(thing)}
        )

    def _add(self, account: str, prefix: str, kind: str, **values: Any) -> dict[str, Any]:
        with self.lock:
            thing = {
                "id": f"{prefix}_{next(self._ids):016d}", "object": kind, "created": int(time.time()),
                **({"metadata": {}} | values),
            }  # fmt: skip
            self.account(account).things[thing["id"]] = thing
        return thing


def signature(body: bytes, secret: str, *, at: float | None = None) -> str:
    """Sign a body as Stripe does."""
    moment = int(time.time() if at is None else at)
    mac = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={mac}"


def _tree(form: str) -> dict[str, Any]:
    """Read a form whose names are nested by brackets."""
    found: dict[str, Any] = {}
    for name, value in parse_qsl(form, keep_blank_values=True):
        steps = re.findall(r"[^\[\]]+", name)
        place = found
        for step in steps[:-1]:
            place = place.setdefault(step, {})
        place[steps[-1]] = value
    return {name: _lists(value) for name, value in found.items()}


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        read = {name: _lists(one) for name, one in value.items()}
        return list(read.values()) if read and all(name.isdigit() for name in read) else read
    return value
