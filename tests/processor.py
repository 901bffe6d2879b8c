"""The simulated processor as tests use it: a real process on a real socket, with its own book.

with Processor(directory) as processor:
    gateway = processor.gateway("city-water")
    processor.strike("drop_after")
    assert processor.book()["charged_twice"] == 0
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from config.environment import ROOT
from payments.gateways.base import Gateway
from payments.gateways.registry import open_gateway

SECRET = "merchant-secret"
CONTROL_SECRET = "control-secret"
START_SECONDS = 20.0


class Processor:
    """One simulated processor; ``parents`` are the origins that may frame its forms.

    The book is ``processor.sqlite`` in ``directory``; starting again there goes on with it, on the same port.
    """

    def __init__(self, directory: Path, *, parents: tuple[str, ...] = (), port: int = 0) -> None:
        self.directory = directory
        self.parents = parents
        self.port = port
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """Where it listens, and where browsers find it."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the process and wait until it listens."""
        command = [sys.executable, "-m", "payments.gateways.simulator_service"]
        command += ["--port", str(self.port), "--book", str(self.directory / "processor.sqlite")]
        command += [word for parent in self.parents for word in ("--parent", parent)]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={
                "PATH": os.environ.get("PATH", ""),
                "DEMO": "1",
                "SIMULATED_PROCESSOR_SECRETS": SECRET,
                "SIMULATED_PROCESSOR_CONTROL_SECRET": CONTROL_SECRET,
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()  # ends when it listens, or when the process does
        if not line:
            self.stop()
            raise RuntimeError("The simulated processor did not start.")
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

    def gateway(self, merchant: str, **options: Any) -> Gateway:
        """Open the driver for a merchant, its time-outs short unless told otherwise."""
        merged = {"timeout": 10.0, "batch_timeout": 30.0, **options}
        return open_gateway("simulator", {"base_url": self.url, "merchant": merchant, **merged}, SECRET)

    def control(self, **changes: Any) -> dict[str, Any]:
        """Change switches, give all of them as they stand."""
        return self._ask("POST", "/control", changes)

    def strike(self, fault: str, *, times: int = 1, **setting: Any) -> None:
        """Let a fault strike the next messages; ``setting`` may have ``probability``, ``seconds`` and ``on``."""
        self.control(faults={fault: {"next": times, **setting}})

    def reset(self, *, tokens: bool = False) -> None:
        """Empty the book and put every switch back; the tokens go too where asked."""
        self._ask("POST", "/control/reset", {"tokens": tokens})

    def book(self, merchant: str | None = None) -> dict[str, Any]:
        """Give what was truly charged: ``rows``, ``totals``, ``charged_twice`` and how many requests are ``held``."""
        return self._ask("GET", "/book" + (f"?merchant={merchant}" if merchant else ""))

    def charges(self, merchant: str | None = None) -> dict[str, int]:
        """Give how many times each key was truly charged; verifications, which charge nobody, are left out."""
        rows = self.book(merchant)["rows"]
        return {row["key"]: row["times_charged"] for row in rows if row["command"] != "verify"}

    def token(self, merchant: str, outcome: str = "approve", *, kind: str = "card", **wanted: Any) -> str:
        """Make a token by the name of what it does."""
        return self.tokens(merchant, [{"outcome": outcome, "kind": kind, **wanted}])[0]

    def tokens(self, merchant: str, wanted: list[dict[str, Any]]) -> list[str]:
        """Make many tokens at once, in the order asked."""
        made = self._ask("POST", "/v1/tokens/test", {"merchant": merchant, "tokens": wanted})["tokens"]
        return [one["token"] for one in made]

    def close_response_file(self, merchant: str) -> str:
        """Let it write a response file now, and give its name."""
        return str(self._ask("POST", "/control/response-files", {"merchant": merchant})["name"])

    def reverse(self, merchant: str, key: str, kind: str = "return", **wanted: str) -> dict[str, Any]:
        """Have a charge returned, charged back, or a chargeback decided; ``wanted`` may have ``amount`` and ``code``."""
        return self._ask("POST", "/control/reversals", {"merchant": merchant, "key": key, "kind": kind, **wanted})

    def behave(self, token: str, outcome: str) -> None:
        """Have a token behave otherwise from now on."""
        self._ask("POST", "/control/tokens", {token: outcome})

    def let_arrive(self) -> int:
        """Have what is held acted on now, and give how many requests that were."""
        return int(self._ask("POST", "/control/arrivals", {})["arrived"])

    def wait_until_nothing_is_held(self, seconds: float = 10.0) -> None:
        """Wait for late requests to be acted on.

        :raises TimeoutError: some are still held.
        """
        deadline = time.monotonic() + seconds
        while self._ask("GET", "/control")["held"]:
            if time.monotonic() > deadline:
                raise TimeoutError("The simulated processor still holds requests.")
            time.sleep(0.02)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(
                method,
                path,
                body=None if body is None else json.dumps(body),
                headers={"Authorization": f"Bearer {CONTROL_SECRET}"},
            )
            response = connection.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise ValueError(answer["error"]["message"])
        return answer
