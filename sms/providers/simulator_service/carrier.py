"""The simulated carrier: brings texts to phones, and tells by webhook what was typed and what became of each text.

Without a fault everything about one text, and everything typed on one phone to one line, is told in its order, and told
again until it is taken. A webhook is signed over its time, its address and its body.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Coroutine
from typing import Any
from weakref import WeakValueDictionary

import aiohttp

from sms.providers.simulator_service.book import Book, microseconds, moment
from sms.providers.simulator_service.switches import FOUND_OUT_LATER, Fault, Switches

SIGNATURE = "X-Telephone-Signature"
AT_ONCE = 16
WEBHOOK_SECONDS = 20.0
RETRY_LONGEST = 30.0
# What is found out before a text has left: the others come back from the carrier.
_NEVER_LEFT = frozenset({"unregistered"})


class Carrier:
    """Everything that is under way; ``switches`` are looked at anew at each step."""

    def __init__(self, *, book: Book, switches: Switches, secret: str) -> None:
        self.book = book
        self.switches = switches
        self._secret = secret
        self._tasks: set[asyncio.Task[None]] = set()
        self._orders: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._overtaken: dict[str, asyncio.Event] = {}
        self._changed = asyncio.Event()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Go on with what was under way when the network stopped."""
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=WEBHOOK_SECONDS), connector=aiohttp.TCPConnector(limit=AT_ONCE)
        )
        self._go_on()

    async def stop(self) -> None:
        """Leave everything as it is in the book."""
        await self.clear()
        if self._session is not None:
            await self._session.close()

    async def clear(self) -> None:
        """Let go of everything that is under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def under_way(self) -> int:
        """How many texts and webhooks are on their way."""
        return len(self._tasks)

    def bring(self, text: int) -> None:
        """Set a text on its way to its phone."""
        self._start(self._bring(text))

    def tell_typed(self, text: int, *, acted_on: str) -> None:
        """Tell the line's owner what was typed; where nobody owns it, nobody hears."""
        typed = self.book.text(text)
        url = self.book.callback_of(typed["line"]) or self.switches.callback
        if not url:
            return
        body = {
            "event": "inbound",
            "id": typed["name"],
            "from": typed["phone"],
            "to": typed["line"],
            "body": typed["body"],
            "media": typed["media"],
            "acted_on": acted_on,
            "at": moment(typed["taken_at"]),
        }
        self._tell(self.book.owe(text, kind="inbound", url=url, body=json.dumps(body)))

    def redeliver(self) -> int:
        """Tell again whatever was given up; gives how many that are."""
        failed = self.book.owed(failed=True)
        for event in failed:
            self._tell(event)
        return len(failed)

    def changed(self) -> asyncio.Event:
        """Give an event that is set when a phone next shows something new."""
        return self._changed

    def note_change(self) -> None:
        """Wake up whoever waits for a phone."""
        self._changed.set()
        self._changed = asyncio.Event()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _go_on(self) -> None:
        for event in self.book.owed():
            self._tell(event)
        for text in self.book.under_way():
            self.bring(text)

    async def _bring(self, number: int) -> None:
        await asyncio.sleep(self.switches.latency_seconds)
        text = self.book.text(number)
        condition = self.book.condition_of(text["phone"])
        if condition in _NEVER_LEFT:
            self._settle(text, "failed", condition)
            return
        if text["status"] == "queued":
            self._settle(text, "sending")
            self._settle(text, "sent")
        struck = self.switches.draw("text")
        if struck is not None and struck[0] == "lose":
            self.book.set_status(number, "lost")
            return
        await self._hold_up("text", struck)
        condition = self.book.condition_of(text["phone"])
        if condition in FOUND_OUT_LATER:
            self._settle(text, "undelivered", condition)
        elif text["expires_at"] is not None and microseconds() > text["expires_at"]:
            self._settle(text, "undelivered", "expired")
        else:
            self.book.arrive(number, times=2 if struck is not None and struck[0] == "repeat" else 1)
            self._settle(text, "delivered")
            self.note_change()
        self._let_pass("text")

    def _settle(self, text: dict[str, Any], status: str, code: str = "") -> None:
        with self.book.transaction():
            self.book.set_status(text["id"], status, code)
            if not text["callback"] or status not in self.switches.reports:
                return
            body = {
                "event": "status",
                "id": text["name"],
                "key": text["key"],
                "status": status,
                "code": code,
                "at": moment(microseconds()),
            }
            event = self.book.owe(text["id"], kind="report", url=text["callback"], body=json.dumps(body), status=status)
        self._tell(event)

    def _tell(self, event: int) -> None:
        row = self.book.event(event)
        struck = self.switches.draw(row["kind"])
        order = f"{row['phone']}>{row['line']}" if row["kind"] == "inbound" else str(row["text"])
        self._start(self._tell_in_order(row, order, struck))

    async def _tell_in_order(self, event: dict[str, Any], order: str, struck: tuple[str, Fault] | None) -> None:
        name = struck[0] if struck is not None else ""
        if name == "lose":
            self.book.told(event["id"], state="lost", answer="")
            return
        if name in {"delay", "reorder"}:
            await self._hold_up(event["kind"], struck)
            await self._post_until_taken(event)
            return
        lock = self._orders.setdefault(order, asyncio.Lock())
        async with lock:
            for _ in range(2 if name == "repeat" else 1):
                await self._post_until_taken(event)
        self._let_pass(event["kind"])

    async def _post_until_taken(self, event: dict[str, Any]) -> None:
        pause = self.switches.retry_seconds
        for attempt in range(1, self.switches.attempts + 1):
            async with self._slots:
                status = await self._post(event["url"], event["body"].encode())
            if 200 <= status < 300:
                self.book.told(event["id"], state="told", answer=str(status))
                return
            last = attempt >= self.switches.attempts or (400 <= status < 500 and status != 429)
            answer = str(status) if status else "no answer"
            self.book.told(event["id"], state="failed" if last else "pending", answer=answer)
            if last:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, RETRY_LONGEST)

    async def _post(self, url: str, body: bytes) -> int:
        assert self._session is not None
        moment_of_signing = str(int(time.time()))
        signed = b".".join((moment_of_signing.encode(), url.encode(), body))
        signature = hmac.new(self._secret.encode(), signed, hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": "application/json",
            SIGNATURE: f"t={moment_of_signing},v1={signature}",
        }
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                await response.read()
                return response.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0

    async def _hold_up(self, kind: str, struck: tuple[str, Fault] | None) -> None:
        if struck is None:
            return
        name, fault = struck
        if name == "delay":
            await asyncio.sleep(fault.seconds)
        elif name == "reorder":
            passed = self._overtaken.setdefault(kind, asyncio.Event())
            try:
                await asyncio.wait_for(passed.wait(), fault.seconds)
            except TimeoutError:
                return

    def _let_pass(self, kind: str) -> None:
        passed = self._overtaken.pop(kind, None)
        if passed is not None:
            passed.set()
