"""The simulated receiver as a network service: webhooks on one path for each endpoint, its book and switches beside."""

from __future__ import annotations

import asyncio
import hmac
import json
import signal
import time
from json import JSONDecodeError
from pathlib import Path
from typing import Any

import jsonschema
from aiohttp import web

from datapump.connectors.receiver_simulator.book import Book
from datapump.connectors.receiver_simulator.signatures import NotAuthentic, check
from datapump.connectors.receiver_simulator.switches import BadSwitch, Rule, Switches

SCHEMA = Path(__file__).parent.parent / "webhooks" / "events.schema.json"


class Receiver:
    """One simulated receiver."""

    def __init__(self, *, book: Path, control_secret: str) -> None:
        self._book = Book(book)
        self._switches = Switches()
        self._secret = control_secret
        self._valid = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text("utf-8")))

    async def serve(self, host: str, port: int) -> None:
        """Serve until SIGINT or SIGTERM."""
        app = web.Application(client_max_size=1024 * 1024)
        app.add_routes(
            [
                web.get("/health", self._health),
                web.get("/book", self._get_book),
                web.get("/book/totals", self._get_totals),
                web.get("/control", self._get_control),
                web.post("/control", self._set_control),
                web.post("/control/secrets", self._set_secrets),
                web.post("/control/reset", self._reset),
                web.post("/events/{endpoint}", self._event),
            ]
        )
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, host, port, shutdown_timeout=2)
        await site.start()
        stopped = asyncio.Event()
        for name in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(name, stopped.set)
        print(f"receiver: listening on http://{host}:{runner.addresses[0][1]}", flush=True)
        try:
            await stopped.wait()
        finally:
            await runner.cleanup()
            self._book.close()

    # ---- Webhooks

    async def _event(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        secrets = self._book.secrets(request.match_info["endpoint"])
        try:
            webhook_id = check(headers, body, secrets=secrets, now=time.time())
        except NotAuthentic as error:
            return web.json_response({"error": str(error)}, status=401)
        try:
            event = json.loads(body)
        except ValueError:
            return web.json_response({"error": "the body is no JSON"}, status=400)
        problem = next(iter(self._valid.iter_errors(event)), None)
        if problem is not None:
            return web.json_response(
                {"error": f"the event does not fit its schema: {problem.message[:200]}"}, status=400
            )
        rule = self._switches.decide(event["type"], event["data"].get("account", ""))
        if rule is not None and rule.when == "before":
            instead = await self._happen(request, rule)
            if instead is not None:
                return instead
        if event["type"] != "ping" and not self._book.take(webhook_id, body.decode(), event):
            return web.json_response({"error": "this webhook-id came with another body before"}, status=409)
        if rule is not None and rule.when == "after":
            instead = await self._happen(request, rule)
            if instead is not None:
                return instead
        return web.Response(status=204)

    async def _happen(self, request: web.Request, rule: Rule) -> web.Response | None:
        """Let the rule happen; return what is answered instead, or None where all goes its way."""
        match rule.action:
            case "slow":
                await asyncio.sleep(rule.seconds)
            case "status":
                rest = {"Retry-After": rule.retry_after} if rule.retry_after else {}
                return web.Response(status=rule.status, text=rule.text, headers=rest)
            case "redirect":
                return web.Response(status=rule.status, headers={"Location": "http://127.0.0.1:9/elsewhere"})
            case "wrong_secret":
                return web.json_response({"error": "no signature fits"}, status=401)
            case "drop_before" | "drop_after":
                if request.transport is not None:
                    request.transport.abort()
                return web.Response()  # to nobody
        return None

    # ---- Its own book and switches

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"ok": True})

    async def _get_book(self, request: web.Request) -> web.Response:
        self._admit(request)
        return web.json_response(self._book.contents())

    async def _get_totals(self, request: web.Request) -> web.Response:
        self._admit(request)
        return web.json_response(self._book.totals())

    async def _get_control(self, request: web.Request) -> web.Response:
        self._admit(request)
        return web.json_response(self._switches.as_json())

    async def _set_control(self, request: web.Request) -> web.Response:
        self._admit(request)
        try:
            self._switches.set(await request.json())
        except (BadSwitch, JSONDecodeError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response(self._switches.as_json())

    async def _set_secrets(self, request: web.Request) -> web.Response:
        self._admit(request)
        try:
            wanted: Any = await request.json()
            endpoint, secrets = str(wanted["endpoint"]), [str(one) for one in wanted["secrets"]]
        except (JSONDecodeError, KeyError, TypeError):
            return web.json_response({"error": "secrets are an object of endpoint and secrets"}, status=400)
        self._book.set_secrets(endpoint, secrets)
        return web.json_response({"ok": True})

    async def _reset(self, request: web.Request) -> web.Response:
        self._admit(request)
        self._switches.clear()
        self._book.clear()
        return web.json_response({"ok": True})

    def _admit(self, request: web.Request) -> None:
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self._secret}".encode()):
            raise web.HTTPForbidden(text="the control secret, as bearer, is missing or wrong")
