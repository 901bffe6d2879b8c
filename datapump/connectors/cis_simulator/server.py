"""The simulated CIS as a network service: SOAP on every path, bills as PDF, and its own book and switches beside."""

from __future__ import annotations

import asyncio
import hmac
import signal
from decimal import Decimal
from json import JSONDecodeError
from pathlib import Path

from aiohttp import web

from datapump.connectors.cis_simulator import prints, soap
from datapump.connectors.cis_simulator.book import Book
from datapump.connectors.cis_simulator.soap import Call, Fault
from datapump.connectors.cis_simulator.switches import BadSwitch, Rule, Switches

PATH = "/services/CB"
PRINTS = "/eprint/"


class Cis:
    """One simulated CIS."""

    def __init__(self, *, book: Path, username: str, password: str, control_secret: str) -> None:
        self._book = Book(book)
        self._switches = Switches()
        self._reader = soap.Reader()
        self._username, self._password, self._secret = (
            username,
            password,
            control_secret,
        )

    async def serve(self, host: str, port: int) -> None:
        """Serve until SIGINT or SIGTERM."""
        app = web.Application(client_max_size=8 * 1024 * 1024)
        app.add_routes(
            [
                web.get("/health", self._health),
                web.get("/book", self._get_book),
                web.get("/book/totals", self._get_totals),
                web.get("/control", self._get_control),
                web.post("/control", self._set_control),
                web.post("/control/items", self._set_items),
                web.post("/control/prepaid", self._set_prepaid),
                web.post("/control/reset", self._reset),
                web.get(PRINTS, self._print),
                web.get("/{path:.*}", self._definitions),
                web.post("/{path:.*}", self._soap),
            ]
        )
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, host, port, shutdown_timeout=2)
        await site.start()
        stopped = asyncio.Event()
        for name in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(name, stopped.set)
        print(
            f"cis: listening on http://{host}:{runner.addresses[0][1]}{PATH}",
            flush=True,
        )
        try:
            await stopped.wait()
        finally:
            await runner.cleanup()
            self._book.close()

    # ---- SOAP

    async def _soap(self, request: web.Request) -> web.StreamResponse:
        try:
            call = self._reader.read(await request.read(), request.headers.get("SOAPAction", ""))
            rule = self._switches.decide(call.operation, soap.accounts(call))
            if not self._knows(call) or (rule is not None and rule.action == "wrong_password"):
                raise Fault("Client", "Invalid UserID or Pwd", soap=call.soap)
            answer = await self._answer(request, call, rule)
        except Fault as fault:
            return _respond(soap.fault(fault), fault.soap, fault.status)
        return answer if isinstance(answer, web.Response) else _respond(answer, call.soap, 200)

    def _knows(self, call: Call) -> bool:
        expected, given = (
            f"{self._username}\n{self._password}",
            f"{call.user}\n{call.password}",
        )
        return hmac.compare_digest(expected.encode(), given.encode())

    async def _answer(self, request: web.Request, call: Call, rule: Rule | None) -> bytes | web.Response:
        if rule is not None and rule.when == "before":
            instead = await self._happen(request, call, rule, b"")
            if instead is not None:
                return instead
        answer = self._process(call, rule)
        if rule is not None and rule.when == "after":
            instead = await self._happen(request, call, rule, answer)
            if instead is not None:
                return instead
        return answer

    async def _happen(self, request: web.Request, call: Call, rule: Rule, answer: bytes) -> bytes | web.Response | None:
        """Let the rule happen; return what is answered instead, or None where all goes its way."""
        if rule.action == "fault":
            raise Fault(rule.code, rule.text, soap=call.soap, status=rule.status)
        if rule.action == "slow":
            await asyncio.sleep(rule.seconds or 0)
        elif rule.action == "http_status":
            await asyncio.sleep(rule.seconds or 0)
            return web.Response(
                status=rule.status, headers={"Retry-After": rule.retry_after} if rule.retry_after else {}
            )
        elif rule.action in ("drop_before", "drop_after"):
            if request.transport is not None:
                request.transport.abort()
            return web.Response()  # to nobody
        elif rule.action == "error_object":
            return soap.answer(
                call.soap,
                call.operation,
                soap.error_object("", rule.text, call.operation),
            )
        elif rule.action == "garbage":
            return _garbage(call, rule, answer)
        return None

    # ---- bills

    async def _print(self, request: web.Request) -> web.StreamResponse:
        asked = list(request.query.items())
        given = dict(asked)
        rule = self._switches.decide("Print", [given.get("ACCT", "") + given.get("SUB", "")])
        if problem := prints.fault(asked):
            return web.Response(status=400, text=problem)
        self._book.print(request.query_string)
        whole = prints.bill(asked)
        if rule is not None:
            if rule.action in ("slow", "http_status"):
                await asyncio.sleep(rule.seconds or 0)
            if rule.action in ("http_status", "fault", "wrong_password"):
                return web.Response(status=rule.status, text="The print service is not available.")
            if rule.action in ("drop_before", "drop_after") and request.transport is not None:
                request.transport.abort()
            if rule.action == "garbage":
                return web.Response(status=rule.status, body=_no_bill(rule.kind, whole), content_type="application/pdf")
        return web.Response(body=whole, content_type="application/pdf")

    # ---- what the operations do

    def _process(self, call: Call, rule: Rule | None) -> bytes:
        if call.operation == "PingURL":
            result = ""
        elif call.operation == "GetMethods":
            result = "".join(f"<string>{name}</string>" for name in soap.OPERATIONS)
        elif call.operation == "GetPayableItemsList":
            result = soap.payable_items(self._book.payable("".join(soap.accounts(call))))
        else:
            with self._book.envelope():
                if call.operation == "CommitPaymentTransaction":
                    result = self._commit_payments(call, rule)
                elif call.operation == "ModifyCBDataForCustomer":
                    result = self._modify_customers(call)
                else:
                    result = self._write_comments(call)
        return soap.answer(call.soap, call.operation, result)

    def _commit_payments(self, call: Call, rule: Rule | None) -> str:
        named = soap.accounts(call)
        failing = self._switches.hit(rule, "failure", named)
        missing = self._switches.hit(rule, "missing", named)
        echoes = []
        for payment, written in soap.payments(call):
            if payment.account in missing and rule is not None and rule.when == "before":
                continue
            if rule is not None and payment.account in failing:
                echoes.append(soap.echo(payment, written, rule.code, rule.text))
                continue
            if not payment.account or not payment.transaction_id:
                error = "accountNumber and the extension transactionId must be sent"
            elif payment.amount <= 0 or payment.amount != payment.amount.quantize(Decimal("0.01")):
                error = "amount must be above zero and have whole cents"
            else:
                error = self._book.pay(payment)
            if payment.account not in missing:
                echoes.append(soap.echo(payment, written, "Failure" if error else "Success", error))
        return "".join(echoes)

    def _modify_customers(self, call: Call) -> str:
        errors = []
        for account, ebill, ext_type in soap.customers(call):
            if account and ebill in ("Y", "N"):
                self._book.change_paperless(account, ebill, ext_type)
            else:
                errors.append(
                    soap.error_object(
                        account,
                        "objectID and the extension EBILL (Y or N) must be sent",
                        "customer",
                    )
                )
        return "".join(errors)

    def _write_comments(self, call: Call) -> str:
        errors = []
        for account, location, log_time, comment in soap.comments(call):
            if account and location and log_time and comment:
                self._book.write_comment(account, location, log_time, comment)
            else:
                error = "customerID, serviceLocationID, logTime and comment must be sent"
                errors.append(soap.error_object(account, error, "historyComment"))
        return "".join(errors)

    # ---- its own book and switches

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"ok": True})

    async def _definitions(self, request: web.Request) -> web.Response:
        if request.path.endswith(".xsd") or "xsd" in request.query:
            return web.Response(body=soap.XSD.read_bytes(), content_type="text/xml", charset="utf-8")
        if "wsdl" in {name.lower() for name in request.query}:
            here = str(request.url.with_query(None))
            text = soap.WSDL.read_text("utf-8").replace("http://localhost/services/CB", here)
            return web.Response(text=text, content_type="text/xml", charset="utf-8")
        raise web.HTTPNotFound

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

    async def _set_items(self, request: web.Request) -> web.Response:
        self._admit(request)
        try:
            wanted = await request.json()
            answers = [(str(one.pop("account")), one) for one in (wanted if isinstance(wanted, list) else [wanted])]
        except (JSONDecodeError, AttributeError, KeyError, TypeError):
            return web.json_response({"error": "items are an object with an account, or a list of them"}, status=400)
        with self._book.envelope():
            for account, answer in answers:
                self._book.set_payable(account, answer)
        return web.json_response({"ok": True})

    async def _set_prepaid(self, request: web.Request) -> web.Response:
        self._admit(request)
        try:
            wanted = await request.json()
            account, left, a_day = str(wanted["account"]), Decimal(wanted["left"]), Decimal(wanted["a_day"])
        except (JSONDecodeError, KeyError, TypeError, ValueError, ArithmeticError):
            return web.json_response({"error": "a prepaid account is an object of account, left and a_day"}, status=400)
        if not account or not left.is_finite() or not a_day.is_finite() or a_day < 0:
            return web.json_response(
                {"error": "left and a_day are amounts, and a day uses up no less than zero"}, status=400
            )
        self._book.set_prepaid(account, left, a_day)
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


def _no_bill(kind: str, whole: bytes) -> bytes:
    return {
        "html": b"<html><body><h1>Server Error in '/' Application.</h1></body></html>",
        "truncated": whole[: len(whole) * 2 // 3],
        "empty": b"",
    }.get(kind, b"\x00\xff\x1f\x8b" * 64)


def _respond(body: bytes, version: str, status: int) -> web.Response:
    return web.Response(
        status=status,
        body=body,
        content_type=soap.CONTENT_TYPES[version],
        charset="utf-8",
    )


def _garbage(call: Call, rule: Rule, answer: bytes) -> web.Response:
    whole = answer or soap.answer(call.soap, call.operation, "")
    other = "GetMethods" if call.operation == "PingURL" else "PingURL"
    body, content_type = {
        "html": (
            b"<html><body><h1>Server Error in '/' Application.</h1><br></body></html>",
            "text/html",
        ),
        "truncated": (whole[: len(whole) * 2 // 3], "text/xml"),
        "empty": (b"", "text/xml"),
        "binary": (b"\x00\xff\x1f\x8b" * 64, "application/octet-stream"),
        "other": (soap.answer(call.soap, other, ""), "text/xml"),
    }[rule.kind]
    return web.Response(status=rule.status, body=body, content_type=content_type)
