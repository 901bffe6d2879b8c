"""The simulated telephone network: what it answers to those who send texts, and to whoever holds one of its phones.

Senders speak JSON over HTTP with ``Authorization: Bearer SECRET``:

    POST /v1/texts  {"texts": [{"key", "from", "to", "body", "callback"?, "valid_seconds"?}, …]}
                    answers {"results": [{"key", "id", "status"} or {"key", "error": {"code", "message"}}, …]}
    GET  /v1/ping

It speaks to the callbacks (``X-Telephone-Signature: t=UNIX,v1=HEX``: HMAC-SHA256 over ``t.address.body``, by SECRET):

    {"event": "inbound", "id", "from", "to", "body", "media", "acted_on", "at"}
    {"event": "status", "id", "key", "status", "code", "at"}

Phones, book and switches are for whoever has the control secret as bearer:

    GET  /phones                         every phone
    POST /phones                         {"number", "name"?, "condition"?}: add one, or say what is wrong with it
    GET  /phones/NUMBER                  what it shows, ?after=POSITION, ?wait=SECONDS for something newer
    POST /phones/NUMBER/texts            {"to", "body", "media"?}: type a text on it
    GET  /lines                          every line
    POST /lines                          {"number", "name"?, "callback"}: say whose it is, and who hears of texts to it
    GET, POST /control                   the switches
    POST /control/reset                  empty book, switches off; the lines stay
    POST /control/redeliver              tell again what was given up
    GET  /book, /book/totals             every text and every webhook
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import json
import math
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from sms.providers.simulator_service.book import Book
from sms.providers.simulator_service.carrier import Carrier
from sms.providers.simulator_service.switches import (
    CONDITIONS,
    REFUSED_AT_ONCE,
    BadSwitch,
    Fault,
    Switches,
    read_address,
)

AT_ONCE = 1_000
BODY_LONGEST = 1_600
REQUEST_LARGEST = 16 * 1024 * 1024
WAIT_LONGEST = 30.0

# Keywords that a network with managed opt-out acts on: the whole text, in any case.
KEYWORDS = {
    **dict.fromkeys(("STOP", "UNSUBSCRIBE", "END", "QUIT", "STOPALL", "REVOKE", "OPTOUT", "CANCEL"), "stop"),
    **dict.fromkeys(("START", "UNSTOP", "YES"), "start"),
    **dict.fromkeys(("HELP", "INFO"), "help"),
}
ANSWERS = {
    "stop": "You have been unsubscribed and will get no more texts from this number. Reply START to resubscribe.",
    "start": "You have been resubscribed and will get texts from this number. Reply STOP to unsubscribe.",
    "help": "Reply STOP to unsubscribe. Msg & data rates may apply.",
}

_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")
_LINE = re.compile(r"\+[1-9][0-9]{6,14}|[1-9][0-9]{2,7}")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Problem(Exception):
    """What makes the network refuse a whole request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Network:
    """The service: one book, one set of switches, one carrier, and the secrets that it knows."""

    def __init__(self, *, book: Book, secret: str, control_secret: str, callback: str = "") -> None:
        self.book = book
        self._callback = callback
        self.carrier = Carrier(book=book, switches=Switches(callback=callback), secret=secret)
        self._secret = secret
        self._control_secret = control_secret
        self._held: set[asyncio.Task[web.StreamResponse]] = set()

    @property
    def switches(self) -> Switches:
        """The switches as they stand."""
        return self.carrier.switches

    def application(self) -> web.Application:
        """Give the aiohttp application with every route."""
        application = web.Application(client_max_size=REQUEST_LARGEST, middlewares=[self._answer_problems])
        application.add_routes(
            [
                web.post("/v1/texts", self.send),
                web.get("/v1/ping", self.ping),
                web.get("/phones", self.list_phones),
                web.post("/phones", self.change_phone),
                web.get("/phones/{number}", self.show_phone),
                web.post("/phones/{number}/texts", self.type_text),
                web.get("/lines", self.list_lines),
                web.post("/lines", self.set_line),
                web.get("/control", self.show_control),
                web.post("/control", self.change_control),
                web.post("/control/reset", self.reset),
                web.post("/control/redeliver", self.redeliver),
                web.get("/book", self.give_book),
                web.get("/book/totals", self.give_totals),
            ]
        )
        application.on_startup.append(self._start)
        application.on_shutdown.append(self._stop)
        return application

    # Senders

    async def send(self, request: web.Request) -> web.StreamResponse:
        """Take texts, or do what the fault says that strikes."""
        self._sender(request)
        texts = (await _json(request)).get("texts")
        if not isinstance(texts, list) or not 0 < len(texts) <= AT_ONCE:
            raise Problem(422, f"texts is a list of 1 to {AT_ONCE}")
        wanted = [_read_text(text) for text in texts]
        struck = self.switches.draw("send")
        if struck is None:
            return _reply(self._take(wanted))
        return await self._misbehave(request, wanted, *struck)

    async def _misbehave(
        self, request: web.Request, wanted: Sequence[dict[str, Any]], name: str, fault: Fault
    ) -> web.StreamResponse:
        match name:
            case "drop_before":
                return _drop(request)
            case "error_before":
                return _broken()
            case "rate_limit":
                refusal = web.json_response({"error": {"code": "rate_limit", "message": "too many"}}, status=429)
                refusal.headers["Retry-After"] = str(math.ceil(fault.seconds))
                return refusal
            case "late":
                # In a task of its own: the caller may hang up, the texts are under way all the same.
                return await asyncio.shield(self._hold(fault.seconds, wanted))
        answer = self._take(wanted)
        match name:
            case "drop_after":
                return _drop(request)
            case "error_after":
                return _broken()
            case "garbage":
                return web.Response(body=b'\x00\xff<html>{"results": [', content_type="application/json")
            case "slow":
                await asyncio.sleep(fault.seconds)
                return _reply(answer)
        raise AssertionError(f"fault {name} has no behaviour")

    def _hold(self, seconds: float, wanted: Sequence[dict[str, Any]]) -> asyncio.Task[web.StreamResponse]:
        async def wait() -> web.StreamResponse:
            await asyncio.sleep(seconds)
            return _reply(self._take(wanted))

        task = asyncio.create_task(wait())
        self._held.add(task)
        task.add_done_callback(self._held.discard)
        return task

    def _take(self, wanted: Sequence[dict[str, Any]]) -> dict[str, Any]:
        taken: list[int] = []
        results: list[dict[str, Any]] = []
        with self.book.transaction():
            for text in wanted:
                if "error" in text:
                    results.append(text)
                    continue
                known = self.book.find(text["key"]) if self.switches.recognises_repeats else None
                if known is not None:
                    self.book.count_repeat(known["id"])
                    results.append({"key": known["key"], "id": known["name"], "status": "queued"})
                    continue
                code = self._refusal(text["line"], text["phone"])
                if code:
                    error = {"code": code, "message": f"the network refused the text: {code}"}
                    results.append({"key": text["key"], "error": error})
                    continue
                made = self.book.take(**text)
                taken.append(made["id"])
                results.append({"key": made["key"], "id": made["name"], "status": made["status"]})
        for number in taken:
            self.carrier.bring(number)
        return {"results": results}

    def _refusal(self, line: str, phone: str) -> str:
        if self.book.is_opted_out(line, phone):
            return "unsubscribed"
        condition = self.book.condition_of(phone)
        return condition if condition in REFUSED_AT_ONCE else ""

    async def ping(self, request: web.Request) -> web.StreamResponse:
        """Answer whoever asks whether it is well."""
        self._sender(request)
        return _reply({"ok": True})

    # Phones

    async def list_phones(self, request: web.Request) -> web.StreamResponse:
        """Give every phone."""
        self._control(request)
        return _reply({"phones": self.book.phones()})

    async def change_phone(self, request: web.Request) -> web.StreamResponse:
        """Add a phone, or say what is wrong with it."""
        self._control(request)
        body = await _json(request)
        number, name, condition = body.get("number"), body.get("name", ""), body.get("condition")
        if not isinstance(number, str) or not _PHONE.fullmatch(number):
            raise Problem(422, "number is in E.164")
        if not isinstance(name, str) or len(name) > 100:
            raise Problem(422, "name is a short text")
        if condition is not None and condition not in CONDITIONS:
            raise Problem(422, f"condition is empty or one of {', '.join(CONDITIONS[1:])}")
        self.book.add_phone(number, name)
        if condition is not None:
            self.book.set_condition(number, condition)
        return _reply(self._phone(number))

    async def show_phone(self, request: web.Request) -> web.StreamResponse:
        """Give what a phone shows; with ``wait`` not before there is something newer than ``after``, or time is up."""
        self._control(request)
        number = request.match_info["number"]
        after, wait = _number_in(request, "after"), min(_number_in(request, "wait"), WAIT_LONGEST)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        while True:
            changed = self.carrier.changed()
            texts = self.book.conversation(number, after=int(after))
            left = deadline - loop.time()
            if texts or left <= 0:
                return _reply({**self._phone(number), "texts": texts})
            try:
                await asyncio.wait_for(changed.wait(), left)
            except TimeoutError:
                continue

    def _phone(self, number: str) -> dict[str, Any]:
        for phone in self.book.phones():
            if phone["number"] == number:
                return phone
        raise Problem(404, "there is no such phone")

    async def type_text(self, request: web.Request) -> web.StreamResponse:
        """Take what a person typed, show it on the phone, and tell the line's owner."""
        self._control(request)
        number = request.match_info["number"]
        body = await _json(request)
        line, text, media = body.get("to"), body.get("body", ""), body.get("media", 0)
        if not _PHONE.fullmatch(number) or not isinstance(line, str) or not _LINE.fullmatch(line):
            raise Problem(422, "a text goes from a phone in E.164 to a number or short code")
        if not isinstance(text, str) or len(text) > BODY_LONGEST:
            raise Problem(422, f"body is text of at most {BODY_LONGEST} characters")
        if not isinstance(media, int) or isinstance(media, bool) or not 0 <= media <= 10:
            raise Problem(422, "media is a count up to 10")
        acted_on = KEYWORDS.get(text.strip().upper(), "") if self.switches.managed_opt_out else ""
        with self.book.transaction():
            typed = self.book.type(phone=number, line=line, body=text, media=media)
            if acted_on == "stop":
                self.book.opt_out(line, number)
            elif acted_on == "start":
                self.book.opt_in(line, number)
            answer = self.book.take(key="", line=line, phone=number, body=ANSWERS[acted_on]) if acted_on else None
        self.carrier.note_change()
        self.carrier.tell_typed(typed["id"], acted_on=acted_on)
        if answer is not None:
            self.carrier.bring(answer["id"])
        return _reply({"id": typed["name"], "position": typed["position"]})

    # Lines

    async def list_lines(self, request: web.Request) -> web.StreamResponse:
        """Give every line."""
        self._control(request)
        return _reply({"lines": self.book.lines()})

    async def set_line(self, request: web.Request) -> web.StreamResponse:
        """Say whose a line is, and who hears of texts to it; both outlive a restart and a reset."""
        self._control(request)
        body = await _json(request)
        number, name = body.get("number"), body.get("name", "")
        if not isinstance(number, str) or not _LINE.fullmatch(number):
            raise Problem(422, "number is in E.164, or a short code")
        if not isinstance(name, str) or len(name) > 100:
            raise Problem(422, "name is a short text")
        try:
            callback = read_address(body.get("callback", ""))
        except BadSwitch as refusal:
            raise Problem(422, str(refusal)) from None
        self.book.set_line(number, name=name, callback=callback)
        return _reply({"lines": self.book.lines()})

    # Switches and book

    async def show_control(self, request: web.Request) -> web.StreamResponse:
        """Show the switches."""
        self._control(request)
        under_way = self.carrier.under_way + len(self._held)
        return _reply({**self.switches.describe(), "under_way": under_way})

    async def change_control(self, request: web.Request) -> web.StreamResponse:
        """Change the switches that are named."""
        self._control(request)
        try:
            self.switches.change(await _json(request))
        except BadSwitch as refusal:
            raise Problem(422, str(refusal)) from None
        return await self.show_control(request)

    async def reset(self, request: web.Request) -> web.StreamResponse:
        """Empty the book, let go of what is under way, put the switches back."""
        self._control(request)
        await self._let_go()
        self.book.forget()
        self.carrier.switches = Switches(callback=self._callback)
        self.carrier.note_change()
        return await self.show_control(request)

    async def redeliver(self, request: web.Request) -> web.StreamResponse:
        """Tell again every webhook that was given up."""
        self._control(request)
        return _reply({"redelivered": self.carrier.redeliver()})

    async def give_book(self, request: web.Request) -> web.StreamResponse:
        """Give every text and every webhook, with the totals."""
        self._control(request)
        totals = self.book.totals()
        return _reply({"texts": self.book.rows(), "webhooks": self.book.events(), "totals": totals})

    async def give_totals(self, request: web.Request) -> web.StreamResponse:
        """Give the totals alone."""
        self._control(request)
        return _reply({"totals": self.book.totals()})

    # Who asks

    def _sender(self, request: web.Request) -> None:
        if not _same(_bearer(request), self._secret):
            raise Problem(401, "the secret is wrong")

    def _control(self, request: web.Request) -> None:
        if not _same(_bearer(request), self._control_secret):
            raise Problem(401, "the control secret is wrong")

    @web.middleware
    async def _answer_problems(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except Problem as problem:
            response = web.json_response({"error": {"message": problem.message}}, status=problem.status)
        if not response.prepared:
            response.headers.setdefault("Cache-Control", "no-store")
            response.headers.setdefault("X-Content-Type-Options", "nosniff")
        return response

    async def _let_go(self) -> None:
        for task in list(self._held):
            task.cancel()
        await self.carrier.clear()

    async def _start(self, _: web.Application) -> None:
        await self.carrier.start()

    async def _stop(self, _: web.Application) -> None:
        await self._let_go()
        await self.carrier.stop()
        self.book.close()


def _read_text(text: object) -> dict[str, Any]:
    """Give what the book takes, or the result of a text that cannot be taken, so that the others can."""
    if not isinstance(text, dict) or not isinstance(text.get("key"), str):
        raise Problem(422, "a text is an object with a key")
    try:
        return _checked(text)
    except Problem as problem:
        return {"key": text["key"], "error": {"code": "malformed", "message": problem.message}}


def _checked(text: dict[str, Any]) -> dict[str, Any]:
    unknown = set(text) - {"key", "from", "to", "body", "callback", "valid_seconds"}
    if unknown:
        raise Problem(422, f"a text does not have {', '.join(sorted(map(str, unknown)))}")
    key, line, phone, body = text.get("key"), text.get("from"), text.get("to"), text.get("body")
    if not 0 < len(text["key"]) <= 64:
        raise Problem(422, "key is a text of at most 64 characters")
    if (
        not isinstance(line, str)
        or not _LINE.fullmatch(line)
        or not isinstance(phone, str)
        or not _PHONE.fullmatch(phone)
    ):
        raise Problem(422, "from is a number or short code, to is in E.164")
    if not isinstance(body, str) or not 0 < len(body) <= BODY_LONGEST:
        raise Problem(422, f"body is text of 1 to {BODY_LONGEST} characters")
    valid = text.get("valid_seconds")
    if valid is not None and (isinstance(valid, bool) or not isinstance(valid, int | float) or not 0 < valid < 1e7):
        raise Problem(422, "valid_seconds is a number above zero")
    try:
        callback = read_address(text.get("callback", ""))
    except BadSwitch as refusal:
        raise Problem(422, str(refusal)) from None
    return {"key": key, "line": line, "phone": phone, "body": body, "callback": callback, "valid_seconds": valid}


async def _json(request: web.Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise Problem(422, "the body is not JSON") from None
    if not isinstance(body, dict):
        raise Problem(422, "the body is not an object")
    return body


def _number_in(request: web.Request, name: str) -> float:
    try:
        value = float(request.query.get(name, "0"))
    except ValueError:
        value = math.nan
    if not 0 <= value < 1e15:
        raise Problem(422, f"{name} is a number")
    return value


def _reply(answer: dict[str, Any]) -> web.Response:
    return web.Response(body=json.dumps(answer, separators=(",", ":")).encode(), content_type="application/json")


def _broken() -> web.Response:
    return web.json_response({"error": {"message": "something broke"}}, status=500)


def _drop(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _bearer(request: web.Request) -> str:
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    return secret if scheme.lower() == "bearer" else ""


def _same(given: str, expected: str) -> bool:
    return bool(expected) and hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


async def _serve(network: Network, host: str, port: int) -> None:
    runner = web.AppRunner(network.application(), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, reuse_address=True)
        await site.start()
        bound = runner.addresses[0][1]
        sys.stdout.write(f"simulated telephone network listening on http://{host}:{bound}\n")
        sys.stdout.flush()
        stopping = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        await stopping.wait()
    finally:
        await runner.cleanup()


def main(argv: Sequence[str]) -> int:
    """Run the service until SIGINT or SIGTERM; says where it listens on standard output.

    Secrets may come from ``SIMULATED_TELEPHONE_SECRET`` and ``SIMULATED_TELEPHONE_CONTROL_SECRET`` instead of the
    command line, where every user of the machine can read them.
    """
    parser = argparse.ArgumentParser(prog="simulated telephone network", description="Phones that nobody holds.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8803, help="0 takes a free one")
    parser.add_argument("--book", required=True, type=Path, help="SQLite file, made where there is none")
    parser.add_argument("--secret", default=os.environ.get("SIMULATED_TELEPHONE_SECRET", ""))
    parser.add_argument("--control-secret", default=os.environ.get("SIMULATED_TELEPHONE_CONTROL_SECRET", ""))
    parser.add_argument("--callback", default="", help="address that hears of texts to lines without one of their own")
    options = parser.parse_args(argv)
    if os.environ.get("DEMO") != "1":
        sys.stderr.write("The simulated telephone network reaches nobody: it starts only where DEMO=1 is set.\n")
        return 1
    try:
        callback = read_address(options.callback)
    except BadSwitch as refusal:
        parser.error(str(refusal))
    if not options.secret or not options.control_secret:
        parser.error("a secret and a control secret are needed")
    options.book.parent.mkdir(parents=True, exist_ok=True)
    network = Network(
        book=Book(options.book), secret=options.secret, control_secret=options.control_secret, callback=callback
    )
    try:
        asyncio.run(_serve(network, options.host, options.port))
    except OSError as failure:
        sys.stderr.write(
            f"The simulated telephone network cannot listen on {options.host}:{options.port}: {failure.strerror}\n"
        )
        return 1
    return 0
