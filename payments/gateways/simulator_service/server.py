"""The simulated processor on the network: what it answers to merchants, to browsers and to whoever tests it.

Merchants speak JSON over HTTP with ``Authorization: Bearer SECRET`` and ``X-Merchant: NAME``. Whatever they ask goes
through ``_perform``, where the faults of ``switches.py`` strike.

    POST /v1/transactions         one message            {"key", "command", "amount", "currency", "token", "tender", …}
    POST /v1/batches              many messages          {"requests": [message, …]}
    POST /v1/lookups              what became of keys    {"keys": [key, …]}
    POST /v1/tokens/describe      what a token is        {"token"}
    GET  /v1/response-files       names, oldest first
    GET  /v1/response-files/NAME  one file, CSV
    GET  /v1/ping                 heartbeat

    GET, POST /fields             the card and bank forms, for browsers

    POST /v1/tokens/test          tokens by outcome, no number needed      control secret
    GET, POST /control            the switches                             control secret
    POST /control/reset           empty book, switches off                 control secret
    POST /control/tokens          make tokens behave otherwise             control secret
    POST /control/response-files  close a response file now                control secret
    POST /control/arrivals        act now on what is held                  control secret
    GET  /book, /book/totals      what was truly charged                   control secret

Source: PAY-10, PAY-16, PAY-17, PAY-22, PAY-23.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hmac
import json
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from aiohttp import web

from payments.gateways.simulator_service import pages
from payments.gateways.simulator_service.book import BadMessage, Book, Token
from payments.gateways.simulator_service.codes import OUTCOMES
from payments.gateways.simulator_service.hosted_fields import Errors, read_bank, read_card
from payments.gateways.simulator_service.switches import BadSwitch, Fault, Switches, read_origins

BATCH_LIMIT = 10_000
LOOKUP_LIMIT = 10_000
TOKENS_AT_ONCE = 10_000
BODY_LARGEST = 64 * 1024 * 1024
FORM_LARGEST = 16 * 1024

_HERE = Path(__file__).parent
_MERCHANT = re.compile(r"[A-Za-z0-9_.-]{1,40}")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Problem(Exception):
    """What makes the processor refuse a whole message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Processor:
    """The service: one book, one set of switches, and the secrets that it knows.

    ``secrets`` maps merchant name to secret; the empty name stands for every merchant that has none of its own.
    """

    def __init__(
        self, *, book: Book, secrets: Mapping[str, str], control_secret: str, parents: Sequence[str] = ()
    ) -> None:
        self.book = book
        self.switches = Switches(parents=tuple(parents))
        self._parents = tuple(parents)
        self._secrets = dict(secrets)
        self._control_secret = control_secret
        self._held: set[asyncio.Task[web.StreamResponse]] = set()
        self._arrive = asyncio.Event()
        self._previous: dict[str, Any] | None = None

    def application(self) -> web.Application:
        """Give the aiohttp application with every route."""
        application = web.Application(client_max_size=BODY_LARGEST, middlewares=[self._answer_problems])
        application.add_routes(
            [
                web.post("/v1/transactions", self.transaction),
                web.post("/v1/batches", self.batch),
                web.post("/v1/lookups", self.lookup),
                web.post("/v1/tokens/describe", self.describe_token),
                web.post("/v1/tokens/test", self.make_test_tokens),
                web.get("/v1/response-files", self.list_response_files),
                web.get("/v1/response-files/{name}", self.give_response_file),
                web.get("/v1/reversals", self.list_reversals),
                web.get("/v1/ping", self.ping),
                web.get("/fields", self.show_fields),
                web.post("/fields", self.take_fields),
                web.get("/fields.css", _asset("hosted_fields.css", "text/css")),
                web.get("/fields.js", _asset("hosted_fields.js", "text/javascript")),
                web.get("/control", self.show_control),
                web.post("/control", self.change_control),
                web.post("/control/reset", self.reset),
                web.post("/control/tokens", self.change_tokens),
                web.post("/control/response-files", self.make_response_file),
                web.post("/control/reversals", self.reverse),
                web.post("/control/arrivals", self.let_arrive),
                web.get("/book", self.give_book),
                web.get("/book/totals", self.give_totals),
            ]
        )
        application.on_shutdown.append(self._stop)
        return application

    # Merchants: money

    async def transaction(self, request: web.Request) -> web.StreamResponse:
        """Act on one message."""
        merchant = self._merchant(request)
        message = await _json(request)
        return await self._perform(request, "online", [message], lambda messages: self._take(merchant, messages))

    async def batch(self, request: web.Request) -> web.StreamResponse:
        """Act on a list of messages."""
        merchant = self._merchant(request)
        messages = (await _json(request)).get("requests")
        if not isinstance(messages, list) or not 0 < len(messages) <= BATCH_LIMIT:
            raise Problem(422, f"requests is a list of 1 to {BATCH_LIMIT} messages")
        return await self._perform(request, "batch", messages, lambda some: self._take(merchant, some))

    async def lookup(self, request: web.Request) -> web.StreamResponse:
        """Say what became of each key."""
        merchant = self._merchant(request)
        keys = (await _json(request)).get("keys")
        if not isinstance(keys, list) or len(keys) > LOOKUP_LIMIT or not all(isinstance(key, str) for key in keys):
            raise Problem(422, f"keys is a list of up to {LOOKUP_LIMIT} texts")
        return await self._perform(request, "lookup", keys, lambda some: self.book.lookup(merchant=merchant, keys=some))

    async def describe_token(self, request: web.Request) -> web.StreamResponse:
        """Say what a token stands for."""
        merchant = self._merchant(request)
        wanted = (await _json(request)).get("token")
        token = self.book.find_token(merchant=merchant, token=wanted) if isinstance(wanted, str) else None
        if token is None:
            raise Problem(422, "the token is not known")
        if token.outcome == "refused":
            raise Problem(422, "the card or account was refused by validation")
        return await self._perform(request, "describe", [token], lambda _: _described(token))

    async def list_response_files(self, request: web.Request) -> web.StreamResponse:
        """List the response files, oldest first."""
        merchant = self._merchant(request)
        if self.switches.response_file_on_list:
            self.book.make_response_file(merchant=merchant)
        names = self.book.response_files(merchant=merchant)
        return await self._perform(request, "ping", names, lambda some: {"files": list(some)})

    async def give_response_file(self, request: web.Request) -> web.StreamResponse:
        """Give one response file."""
        merchant = self._merchant(request)
        text = self.book.response_file(merchant=merchant, name=request.match_info["name"])
        if text is None:
            raise Problem(422, "there is no such response file")
        return await self._perform(request, "response_file", [text], lambda _: text)

    async def list_reversals(self, request: web.Request) -> web.StreamResponse:
        """List the returns and chargebacks since a moment, oldest first."""
        merchant = self._merchant(request)
        try:
            since = datetime.fromisoformat(request.query.get("since", ""))
        except ValueError:
            raise Problem(422, "since is a moment") from None
        if since.tzinfo is None:
            raise Problem(422, "since has no zone")
        found = self.book.reversals(merchant=merchant, since=since)
        return await self._perform(request, "reversals", found, lambda some: {"reversals": list(some)})

    async def ping(self, request: web.Request) -> web.StreamResponse:
        """Answer the heartbeat."""
        merchant = self._merchant(request)
        return await self._perform(request, "ping", [], lambda _: {"merchant": merchant, "at": _now().isoformat()})

    def _take(self, merchant: str, messages: Sequence[Any]) -> dict[str, Any]:
        answers = self.book.take(merchant=merchant, messages=messages, switches=self.switches)
        return {"answers": answers}

    async def _perform(
        self,
        request: web.Request,
        operation: str,
        items: Sequence[Any],
        act: Callable[[Sequence[Any]], Any],
    ) -> web.StreamResponse:
        """Act and answer, or do what the fault says that strikes this message."""
        struck = self.switches.draw(operation)
        if struck is None:
            answer = act(items)
            if operation == "online" and isinstance(answer, dict):
                self._previous = answer
            return _reply(answer)
        return await self._misbehave(request, operation, items, act, *struck)

    async def _misbehave(
        self,
        request: web.Request,
        operation: str,
        items: Sequence[Any],
        act: Callable[[Sequence[Any]], Any],
        name: str,
        fault: Fault,
    ) -> web.StreamResponse:
        match name:
            case "drop_before":
                return _drop(request)
            case "error_before":
                return _broken()
            case "late":
                # In a task of its own: the caller may hang up, the message is under way all the same.
                return await asyncio.shield(self._hold(fault.seconds, lambda: _reply(act(items))))
            case "drop_then_late":
                self._hold(fault.seconds, lambda: _reply(act(items)))
                return _drop(request)
            case "lose_batch_before":
                return web.json_response({"accepted": len(items)}, status=202)
            case "half_batch":
                act(items[: len(items) // 2])
                return _drop(request)
        answer = act(items)
        match name:
            case "drop_after":
                return _drop(request)
            case "error_after":
                return _broken()
            case "lose_batch_after":
                return web.json_response({"accepted": len(items)}, status=202)
            case "garbage":
                return web.Response(body=b'\x00\xff<html>{"answers": [', content_type="application/json")
            case "truncated":
                return await _truncate(request, _reply(answer))
            case "slow":
                await asyncio.sleep(fault.seconds)
                return _reply(answer)
            case "drip":
                return await _drip(request, _reply(answer), fault.seconds)
            case "twice":
                return await self._answer_twice(request, operation, answer)
            case "out_of_order":
                return _reply(self._disorder(operation, answer))
            case "omit":
                if isinstance(answer, dict) and "answers" in answer:
                    answer = {**answer, "answers": answer["answers"][: len(answer["answers"]) // 2]}
                return _reply(answer)
        raise AssertionError(f"fault {name} has no behaviour")

    def _hold(self, seconds: float, act: Callable[[], web.StreamResponse]) -> asyncio.Task[web.StreamResponse]:
        arrive = self._arrive

        async def wait() -> web.StreamResponse:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(arrive.wait(), seconds)
            return act()

        task = asyncio.create_task(wait())
        self._held.add(task)
        task.add_done_callback(self._held.discard)
        return task

    async def _answer_twice(self, request: web.Request, operation: str, answer: Any) -> web.StreamResponse:
        if operation != "online":
            if isinstance(answer, dict) and "answers" in answer:
                answer = {**answer, "answers": [*answer["answers"], *answer["answers"]]}
            return _reply(answer)
        # Two whole responses to one request: the second waits in the line for whoever asks next.
        reply = _reply(answer)
        await reply.prepare(request)
        await reply.write_eof()
        if request.transport is not None:
            body = _encode(answer)
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            request.transport.write(head.encode() + body)
        return reply

    def _disorder(self, operation: str, answer: Any) -> Any:
        if not isinstance(answer, dict) or "answers" not in answer:
            return answer
        if operation == "online":
            other, self._previous = self._previous, answer
            return other or {"answers": [{**answer["answers"][0], "key": "another-key"}]}
        answers = list(answer["answers"])
        self.switches.shuffle(answers)
        return {**answer, "answers": answers}

    # Browsers

    async def show_fields(self, request: web.Request) -> web.StreamResponse:
        """Show the card or bank form."""
        return self._form(_Frame.read(request, self.switches.parents), values={}, errors={})

    async def take_fields(self, request: web.Request) -> web.StreamResponse:
        """Check what was typed; answer with a token, or with what is wrong. Nothing of a number is kept."""
        frame = _Frame.read(request, self.switches.parents)
        wants_json = "application/json" in request.headers.get("Accept", "")
        if not frame.allowed:
            return self._form(frame, values={}, errors={})
        form = await _form_entries(request)
        read = (
            read_card(form, today=_now().date(), cvv_required=frame.cvv_required)
            if frame.kind == "card"
            else read_bank(form)
        )
        if isinstance(read, Errors):
            if wants_json:
                return _secured(
                    web.json_response({"errors": pages.messages_of(language=frame.language, errors=read.of)}), frame
                )
            return self._form(frame, values=form, errors=read.of)
        token = self.book.make_token(
            merchant=frame.merchant,
            kind=read.kind,
            brand=read.brand,
            last4=read.last4,
            holder=read.holder,
            expires_on=read.expires_on,
            outcome=read.outcome,
            avs=read.avs,
            cvv=read.cvv,
        )
        if frame.return_url:
            address = _with_token(frame.return_url, token.token)
            if wants_json:
                return _secured(web.json_response({"redirect": address}), frame)
            return _secured(web.Response(status=303, headers={"Location": address}), frame)
        page = pages.ready_page(
            kind=frame.kind,
            language=frame.language,
            theme=frame.theme,
            parent=frame.parent,
            last4=read.last4,
            token=token.token,
        )
        if wants_json:
            return _secured(web.json_response({"token": token.token, "page": page}), frame)
        return _secured(web.Response(text=page, content_type="text/html"), frame)

    def _form(self, frame: _Frame, *, values: Mapping[str, str], errors: Mapping[str, str]) -> web.StreamResponse:
        if not frame.allowed:
            page = pages.refusal_page(language=frame.language)
            return _secured(web.Response(text=page, content_type="text/html", status=403), frame)
        kept = {name: value for name, value in values.items() if name not in errors or name == "expiry"}
        page = pages.form_page(
            kind=frame.kind,
            language=frame.language,
            theme=frame.theme,
            parent=frame.parent,
            values=kept,
            errors=errors,
            optional=frozenset({"address"} if frame.cvv_required else {"address", "cvv"}),
        )
        return _secured(web.Response(text=page, content_type="text/html", status=422 if errors else 200), frame)

    # Whoever tests

    async def make_test_tokens(self, request: web.Request) -> web.StreamResponse:
        """Make tokens by the name of an outcome, for demo data in bulk."""
        self._control(request)
        body = await _json(request)
        merchant, wanted = body.get("merchant"), body.get("tokens")
        if not isinstance(merchant, str) or not _MERCHANT.fullmatch(merchant):
            raise Problem(422, "merchant is a name")
        if not isinstance(wanted, list) or not 0 < len(wanted) <= TOKENS_AT_ONCE:
            raise Problem(422, f"tokens is a list of 1 to {TOKENS_AT_ONCE}")
        made = self.book.make_tokens(merchant=merchant, wanted=[_wanted_token(one) for one in wanted])
        return _reply({"tokens": [_described(token) for token in made]})

    async def change_tokens(self, request: web.Request) -> web.StreamResponse:
        """Make tokens behave otherwise: token to outcome."""
        self._control(request)
        changes = await _json(request)
        for outcome in changes.values():
            if outcome not in OUTCOMES:
                raise Problem(422, f"an outcome is one of {', '.join(OUTCOMES)}")
        changed = [token for token, outcome in changes.items() if self.book.change_token(token=token, outcome=outcome)]
        return _reply({"changed": changed})

    async def show_control(self, request: web.Request) -> web.StreamResponse:
        """Show the switches."""
        self._control(request)
        return _reply({**self.switches.describe(), "held": len(self._held), "outcomes": list(OUTCOMES)})

    async def change_control(self, request: web.Request) -> web.StreamResponse:
        """Change the switches that are named."""
        self._control(request)
        try:
            self.switches.change(await _json(request))
        except BadSwitch as refusal:
            raise Problem(422, str(refusal)) from None
        self.book.ahead = int(self.switches.clock_ahead_seconds * 1_000_000)
        return await self.show_control(request)

    async def reset(self, request: web.Request) -> web.StreamResponse:
        """Empty the book, let go of what is held, put the switches back; tokens go too with ``{"tokens": true}``."""
        self._control(request)
        body = await _json(request) if request.can_read_body else {}
        for task in list(self._held):
            task.cancel()
        self._previous = None
        self.book.forget(tokens=body.get("tokens") is True)
        self.book.ahead = 0
        self.switches = Switches(parents=self._parents)
        return await self.show_control(request)

    async def let_arrive(self, request: web.Request) -> web.StreamResponse:
        """Act now on every request that is held, in the order in which they came."""
        self._control(request)
        held, arrive = list(self._held), self._arrive
        self._arrive = asyncio.Event()
        arrive.set()
        await asyncio.gather(*held, return_exceptions=True)
        return _reply({"arrived": len(held)})

    async def make_response_file(self, request: web.Request) -> web.StreamResponse:
        """Close a response file for a merchant."""
        self._control(request)
        merchant = (await _json(request)).get("merchant")
        if not isinstance(merchant, str) or not _MERCHANT.fullmatch(merchant):
            raise Problem(422, "merchant is a name")
        return _reply({"name": self.book.make_response_file(merchant=merchant)})

    async def reverse(self, request: web.Request) -> web.StreamResponse:
        """Return a charge, charge it back, or decide a chargeback for the merchant."""
        self._control(request)
        body = await _json(request)
        texts = {name: body.get(name, "") for name in ("merchant", "key", "kind", "code")}
        amount = body.get("amount")
        if not all(isinstance(text, str) for text in texts.values()) or not isinstance(amount, str | None):
            raise Problem(422, "merchant, key, kind, code and amount are texts")
        return _reply(self.book.reverse(**texts, amount=amount))

    async def give_book(self, request: web.Request) -> web.StreamResponse:
        """Give what was truly charged, key by key, with the totals."""
        self._control(request)
        merchant = request.query.get("merchant")
        return _reply(
            {
                "rows": self.book.rows(merchant=merchant),
                "totals": self.book.totals(merchant=merchant),
                "charged_twice": self.book.charged_twice(merchant=merchant),
                "held": len(self._held),
            }
        )

    async def give_totals(self, request: web.Request) -> web.StreamResponse:
        """Give the totals alone."""
        self._control(request)
        merchant = request.query.get("merchant")
        return _reply(
            {
                "totals": self.book.totals(merchant=merchant),
                "charged_twice": self.book.charged_twice(merchant=merchant),
                "held": len(self._held),
            }
        )

    # Who asks

    def _merchant(self, request: web.Request) -> str:
        merchant = request.headers.get("X-Merchant", "")
        if not _MERCHANT.fullmatch(merchant):
            raise Problem(401, "the merchant is not known")
        expected = self._secrets.get(merchant, self._secrets.get("", ""))
        if not expected or not _same(_bearer(request), expected):
            raise Problem(401, "the secret is wrong")
        return merchant

    def _control(self, request: web.Request) -> None:
        if not _same(_bearer(request), self._control_secret):
            raise Problem(401, "the control secret is wrong")

    @web.middleware
    async def _answer_problems(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except Problem as problem:
            response = web.json_response({"error": {"message": problem.message}}, status=problem.status)
        except BadMessage as refusal:
            response = web.json_response({"error": {"message": str(refusal)}}, status=422)
        if not response.prepared:
            response.headers.setdefault("Cache-Control", "no-store")
            response.headers.setdefault("X-Content-Type-Options", "nosniff")
        return response

    async def _stop(self, _: web.Application) -> None:
        for task in list(self._held):
            task.cancel()
        self.book.close()


class _Frame:
    """What a browser asked for: which form, in which language, inside which page or with which way back."""

    def __init__(self, *, query: Mapping[str, str], parents: Sequence[str]) -> None:
        self.merchant = query.get("merchant", "")
        self.kind = query.get("kind", "card")
        self.language = query.get("lang", "en") if query.get("lang") in pages.LANGUAGES else "en"
        self.theme = query.get("theme", "auto") if query.get("theme") in {"light", "dark"} else "auto"
        self.parent = query.get("parent", "")
        self.return_url = query.get("return_url", "")
        self.cvv_required = query.get("cvv", "required") != "optional"
        way = self.parent if self.parent else _origin_of(self.return_url)
        self.allowed = (
            bool(_MERCHANT.fullmatch(self.merchant))
            and self.kind in pages.FIELDS
            and bool(self.parent) != bool(self.return_url)
            and way in parents
        )
        self.policy = "; ".join(
            [
                "default-src 'none'",
                "style-src 'self'",
                "script-src 'self'",
                "connect-src 'self'",
                "img-src data:",
                "base-uri 'none'",
                # Browsers hold the redirect that follows a form to form-action as well.
                f"form-action 'self'{f' {way}' if self.allowed and self.return_url else ''}",
                f"frame-ancestors {self.parent if self.allowed and self.parent else chr(39) + 'none' + chr(39)}",
            ]
        )

    @classmethod
    def read(cls, request: web.Request, parents: Sequence[str]) -> _Frame:
        return cls(query=request.query, parents=parents)


def _secured(response: web.Response, frame: _Frame) -> web.Response:
    response.headers.update(
        {
            "Content-Security-Policy": frame.policy,
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
        }
    )
    return response


def _origin_of(url: str) -> str:
    try:
        parts = urlsplit(url)
        if parts.username is not None or parts.password is not None or "\\" in url or not url.isprintable():
            return ""
        return f"{parts.scheme}://{parts.netloc}"
    except ValueError:
        return ""


def _with_token(return_url: str, token: str) -> str:
    parts = urlsplit(return_url)
    query = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name != "token"]
    return urlunsplit(parts._replace(query=urlencode([*query, ("token", token)]), fragment=""))


def _wanted_token(one: object) -> dict[str, Any]:
    if not isinstance(one, dict):
        raise Problem(422, "a token is an object")
    outcome, kind = one.get("outcome", "approve"), one.get("kind", "card")
    if outcome not in OUTCOMES or kind not in pages.FIELDS:
        raise Problem(422, f"outcome is one of {', '.join(OUTCOMES)}, kind is card or bank")
    last4 = one.get("last4", "4242")
    if not (isinstance(last4, str) and re.fullmatch("[0-9]{4}", last4)):
        raise Problem(422, "last4 is four digits")
    texts = {
        "brand": one.get("brand", "visa" if kind == "card" else "First Test Bank"),
        "holder": one.get("holder", ""),
        "reference": one.get("reference"),
    }
    for name, value in texts.items():
        if not (value is None and name == "reference") and not (isinstance(value, str) and len(value) <= 200):
            raise Problem(422, f"{name} is text")
    expires_on = None
    if kind == "card":
        try:
            expires_on = date.fromisoformat(one.get("expires_on", f"{_now().year + 3}-12-31"))
        except (TypeError, ValueError):
            raise Problem(422, "expires_on is a date") from None
    return {"kind": kind, "last4": last4, "outcome": outcome, "expires_on": expires_on, **texts}


def _described(token: Token) -> dict[str, Any]:
    return {
        "token": token.token,
        "kind": token.kind,
        "brand": token.brand,
        "last4": token.last4,
        "holder": token.holder,
        "expires_on": token.expires_on.isoformat() if token.expires_on else None,
    }


def _asset(name: str, content_type: str) -> Handler:
    body = (_HERE / name).read_bytes()

    async def give(_: web.Request) -> web.StreamResponse:
        return web.Response(
            body=body, content_type=content_type, charset="utf-8", headers={"Cache-Control": "no-cache"}
        )

    return give


async def _json(request: web.Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise Problem(422, "the body is not JSON") from None
    if not isinstance(body, dict):
        raise Problem(422, "the body is not an object")
    return body


async def _form_entries(request: web.Request) -> dict[str, str]:
    body = b""
    async for part in request.content.iter_any():
        body += part
        if len(body) > FORM_LARGEST:
            raise Problem(413, "the form is too large")
    try:
        return dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=20, errors="strict"))
    except ValueError:
        return {}


def _encode(answer: Any) -> bytes:
    return answer.encode() if isinstance(answer, str) else json.dumps(answer, separators=(",", ":")).encode()


def _reply(answer: Any) -> web.Response:
    return web.Response(
        body=_encode(answer), content_type="text/csv" if isinstance(answer, str) else "application/json"
    )


def _broken() -> web.Response:
    return web.json_response({"error": {"message": "something broke"}}, status=500)


def _drop(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _truncate(request: web.Request, reply: web.Response) -> web.StreamResponse:
    body = reply.body if isinstance(reply.body, bytes) else b""
    broken = web.StreamResponse(headers={"Content-Type": reply.content_type, "Content-Length": str(len(body))})
    await broken.prepare(request)
    await broken.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return broken


async def _drip(request: web.Request, reply: web.Response, seconds: float) -> web.StreamResponse:
    body = reply.body if isinstance(reply.body, bytes) else b""
    slow = web.StreamResponse(headers={"Content-Type": reply.content_type, "Content-Length": str(len(body))})
    await slow.prepare(request)
    for position in range(len(body)):
        try:
            await slow.write(body[position : position + 1])
        except ConnectionError:
            break
        await asyncio.sleep(seconds / max(len(body), 1))
    return slow


def _bearer(request: web.Request) -> str:
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    return secret if scheme.lower() == "bearer" else ""


def _same(given: str, expected: str) -> bool:
    return bool(expected) and hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def _now() -> datetime:
    return datetime.now(tz=UTC)


def read_secrets(texts: Sequence[str]) -> dict[str, str]:
    """Read ``SECRET`` or ``MERCHANT=SECRET`` as merchant name to secret.

    :raises ValueError: one of them is empty, or its merchant is not a name.
    """
    secrets: dict[str, str] = {}
    for text in texts:
        merchant, separator, secret = text.partition("=")
        if not separator:
            merchant, secret = "", text
        if not secret or (merchant and not _MERCHANT.fullmatch(merchant)):
            raise ValueError("a secret is SECRET or MERCHANT=SECRET")
        secrets[merchant] = secret
    return secrets


async def _serve(processor: Processor, host: str, port: int) -> None:
    runner = web.AppRunner(processor.application(), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, reuse_address=True)
        await site.start()
        bound = runner.addresses[0][1]
        sys.stdout.write(f"simulated processor listening on http://{host}:{bound}\n")
        sys.stdout.flush()
        stopping = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        await stopping.wait()
    finally:
        await runner.cleanup()


def main(argv: Sequence[str]) -> int:
    """Run the service until SIGINT or SIGTERM; says where it listens on standard output.

    Secrets may come from ``SIMULATED_PROCESSOR_SECRETS`` (separated by blanks) and
    ``SIMULATED_PROCESSOR_CONTROL_SECRET`` instead of the command line, where every user of the machine can read them.
    """
    parser = argparse.ArgumentParser(prog="simulated processor", description="A payment processor that moves no money.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8801, help="0 takes a free one")
    parser.add_argument("--book", required=True, type=Path, help="SQLite file, made where there is none")
    parser.add_argument("--secret", action="append", default=[], help="SECRET for every merchant, or MERCHANT=SECRET")
    parser.add_argument("--control-secret", default=os.environ.get("SIMULATED_PROCESSOR_CONTROL_SECRET", ""))
    parser.add_argument("--parent", action="append", default=[], help="origin that may frame the forms")
    options = parser.parse_args(argv)
    if os.environ.get("DEMO") != "1":
        sys.stderr.write("The simulated processor moves no money: it starts only where DEMO=1 is set.\n")
        return 1
    try:
        secrets = read_secrets(options.secret or os.environ.get("SIMULATED_PROCESSOR_SECRETS", "").split())
        parents = read_origins(options.parent)
    except (ValueError, BadSwitch) as refusal:
        parser.error(str(refusal))
    if not secrets or not options.control_secret:
        parser.error("a secret and a control secret are needed")
    options.book.parent.mkdir(parents=True, exist_ok=True)
    processor = Processor(
        book=Book(options.book), secrets=secrets, control_secret=options.control_secret, parents=parents
    )
    try:
        asyncio.run(_serve(processor, options.host, options.port))
    except OSError as failure:
        sys.stderr.write(
            f"The simulated processor cannot listen on {options.host}:{options.port}: {failure.strerror}\n"
        )
        return 1
    return 0
