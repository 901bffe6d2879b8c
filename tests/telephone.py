"""The simulated telephone network as tests use it: a real process on a real socket, with its own book.

with Telephone(directory) as telephone:
    telephone.set_line(LINE, callback_url)
    telephone.type(PHONE, LINE, "PAY")
    assert telephone.wait_for_texts(PHONE, 1)[0]["body"] == "Paid."
"""

from __future__ import annotations

import http.client
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from config.environment import ROOT
from sms.providers.base import Provider, Webhook
from sms.providers.registry import open_provider

SECRET = "telephone-secret"
CONTROL_SECRET = "control-secret"
START_SECONDS = 20.0
WAIT_SECONDS = 10.0


class Telephone:
    """One simulated network; ``callback`` is told of texts to lines that have no callback of their own.

    The book is ``telephone.sqlite`` in ``directory``; starting again there goes on with it, on the same port.
    """

    def __init__(self, directory: Path, *, callback: str = "", port: int = 0) -> None:
        self.directory = directory
        self.callback = callback
        self.port = port
        self.control_secret = CONTROL_SECRET
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the process and wait until it listens."""
        command = [sys.executable, "-m", "sms.providers.simulator_service", "--port", str(self.port)]
        command += ["--book", str(self.directory / "telephone.sqlite"), "--callback", self.callback]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={
                "PATH": os.environ.get("PATH", ""),
                "DEMO": "1",
                "SIMULATED_TELEPHONE_SECRET": SECRET,
                "SIMULATED_TELEPHONE_CONTROL_SECRET": self.control_secret,
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()  # ends when it listens, or when the process does
        if not line:
            self.stop()
            raise RuntimeError("The simulated telephone network did not start.")
        self.port = int(line.rsplit(":", 1)[1])

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the process, by SIGKILL where asked; harmless where it has ended."""
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(START_SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def provider(self, *, callback_url: str = "", **options: Any) -> Provider:
        """Open the driver, its time-outs short unless told otherwise."""
        merged = {"timeout": 10.0, "base_url": self.url, **options}
        on_exchange = merged.pop("on_exchange", None)
        return open_provider(
            "simulator", merged, SECRET, callback_url=callback_url or self.callback, on_exchange=on_exchange
        )

    def control(self, **changes: Any) -> dict[str, Any]:
        """Change switches, give all of them as they stand."""
        return self._ask("POST", "/control", changes)

    def set_line(self, number: str, callback: str, *, name: str = "") -> None:
        """Say which address hears of texts to a line; it outlives a restart and a reset."""
        self._ask("POST", "/lines", {"number": number, "name": name, "callback": callback})

    def lines(self) -> list[dict[str, Any]]:
        """Give every line."""
        lines: list[dict[str, Any]] = self._ask("GET", "/lines")["lines"]
        return lines

    def strike(self, fault: str, *, times: int = 1, **setting: Any) -> None:
        """Let a fault strike the next occasions; ``setting`` may have ``probability``, ``seconds`` and ``on``."""
        self.control(faults={fault: {"next": times, **setting}})

    def reset(self) -> None:
        """Empty the book and put every switch back."""
        self._ask("POST", "/control/reset", {})

    def redeliver(self) -> int:
        """Tell again what was given up; gives how many webhooks that are."""
        return int(self._ask("POST", "/control/redeliver", {})["redelivered"])

    def book(self) -> dict[str, Any]:
        """Give ``texts``, ``webhooks`` and ``totals``."""
        return self._ask("GET", "/book")

    def totals(self) -> dict[str, Any]:
        """Give the totals alone."""
        totals: dict[str, Any] = self._ask("GET", "/book/totals")["totals"]
        return totals

    def phones(self) -> list[dict[str, Any]]:
        """Give every phone."""
        phones: list[dict[str, Any]] = self._ask("GET", "/phones")["phones"]
        return phones

    def set_condition(self, phone: str, condition: str) -> None:
        """Say what is wrong with a phone; empty for nothing."""
        self._ask("POST", "/phones", {"number": phone, "condition": condition})

    def type(self, phone: str, line: str, body: str, *, media: int = 0) -> str:
        """Type a text on a phone; gives the network's id of it."""
        path = f"/phones/{quote(phone, safe='')}/texts"
        return str(self._ask("POST", path, {"to": line, "body": body, "media": media})["id"])

    def conversation(self, phone: str, *, after: int = 0, wait: float = 0.0) -> list[dict[str, Any]]:
        """Give what a phone shows after a position; with ``wait`` seconds not before there is something."""
        path = f"/phones/{quote(phone, safe='')}?after={after}&wait={wait}"
        texts: list[dict[str, Any]] = self._ask("GET", path)["texts"]
        return texts

    def texts_on(self, phone: str) -> list[str]:
        """Give the bodies of the texts that arrived on a phone, in their order."""
        shown = self.conversation(phone) if any(one["number"] == phone for one in self.phones()) else []
        return [text["body"] for text in shown if text["direction"] == "out"]

    def wait_for_texts(self, phone: str, count: int, *, seconds: float = WAIT_SECONDS) -> list[dict[str, Any]]:
        """Wait until so many texts arrived on a phone, and give them.

        :raises TimeoutError: they did not.
        """
        deadline = time.monotonic() + seconds
        self._ask("POST", "/phones", {"number": phone})
        position = 0
        arrived: list[dict[str, Any]] = []
        while len(arrived) < count:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{len(arrived)} of {count} texts arrived on {phone}")
            newer = self.conversation(phone, after=position, wait=left)
            arrived += [text for text in newer if text["direction"] == "out"]
            position = max([position, *(text["position"] for text in newer)])
        return arrived

    def wait_until_quiet(self, seconds: float = WAIT_SECONDS) -> None:
        """Wait until nothing is under way: every text has come to an end, every webhook is told or given up.

        :raises TimeoutError: something still is.
        """
        deadline = time.monotonic() + seconds
        while self._ask("GET", "/control")["under_way"]:
            if time.monotonic() > deadline:
                raise TimeoutError("The simulated telephone network is still at work.")
            time.sleep(0.01)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=40)
        try:
            connection.request(
                method,
                path,
                body=None if body is None else json.dumps(body),
                headers={"Authorization": f"Bearer {self.control_secret}"},
            )
            response = connection.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise ValueError(answer["error"]["message"])
        return answer


class Callbacks:
    """A web server that hears webhooks and keeps them; ``answers`` are the next statuses, 204 when they run out."""

    def __init__(self) -> None:
        self.heard: list[Webhook] = []
        self.answers: list[int] = []
        self._came = threading.Condition()
        callbacks = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                status = callbacks._hear(Webhook(f"{callbacks.origin}{self.path}", dict(self.headers.items()), body))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Keep quiet."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def origin(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """An address for webhooks."""
        return f"{self.origin}/texts/in"

    def bodies(self) -> list[dict[str, Any]]:
        """Give what was heard, read as JSON, in the order in which it came."""
        with self._came:
            return [json.loads(webhook.body) for webhook in self.heard]

    def clear(self) -> None:
        """Forget what was heard, and answer 204 again."""
        with self._came:
            self.heard.clear()
            self.answers.clear()

    def wait_for(self, count: int, *, seconds: float = WAIT_SECONDS) -> list[Webhook]:
        """Wait until so many webhooks were heard, and give all of them.

        :raises TimeoutError: they were not.
        """
        with self._came:
            if not self._came.wait_for(lambda: len(self.heard) >= count, seconds):
                raise TimeoutError(f"{len(self.heard)} of {count} webhooks were heard")
            return list(self.heard)

    def _hear(self, webhook: Webhook) -> int:
        with self._came:
            self.heard.append(webhook)
            self._came.notify_all()
            return self.answers.pop(0) if self.answers else 204

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
