"""The simulated receiver of webhooks as a process of its own, for tests that speak to it over a real socket."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="  # a fixture


class Receiver:
    """One simulated receiver: ``start`` it, point an endpoint at ``url`` with ``password`` as its secret, ``stop`` it.

    ``folder`` gets its book; a receiver started again on the same folder has the same book and keeps its port.
    """

    def __init__(self, folder: Path, *, password: str = SECRET) -> None:
        self.folder, self.username, self.password = folder, "", password
        self.secret = "control-secret"  # a fixture
        self.base = ""
        self._port = 0
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """The address that events go to."""
        return f"{self.base}/events/test"

    def start(self) -> None:
        """Start it and wait until it listens.

        :raises RuntimeError: it ended instead; the text says what it printed.
        """
        self._process = subprocess.Popen(
            [
                sys.executable, "-m", "datapump.connectors.receiver_simulator", "--port", str(self._port),
                "--book", str(self.folder / "receiver.sqlite3"), "--control-secret", self.secret,
            ],
            cwd=ROOT, env={"PATH": os.environ["PATH"], "DEMO": "1"}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        line = self._process.stdout.readline()  # ends when it listens or when it dies
        if "listening on " not in line:
            _, problem = self._process.communicate(timeout=10)
            raise RuntimeError(f"the simulated receiver did not start: {line}{problem}")
        self.base = line.rpartition("listening on ")[2].strip()
        self._port = int(self.base.split(":")[2])
        self.knows(self.password)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it, or kill it with ``signal.SIGKILL``."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.communicate(timeout=10)
            self._process = None

    def knows(self, *secrets: str) -> None:
        """Give it the secrets that webhooks may be signed with."""
        self._call("POST", "/control/secrets", {"endpoint": "test", "secrets": list(secrets)})

    def reset(self) -> None:
        """Empty its book and let it behave."""
        self._call("POST", "/control/reset")
        self.knows(self.password)

    def book(self) -> dict[str, Any]:
        """Return events and repeats in order of arrival, and totals."""
        return self._call("GET", "/book")

    def totals(self) -> dict[str, Any]:
        """Return the totals alone."""
        return self._call("GET", "/book/totals")

    def control(self, *rules: Mapping[str, Any], seed: int = 0) -> dict[str, Any]:
        """Replace its switches by these rules, such as ``{"action": "status", "next": 1}``; without rules it behaves."""
        return self._call("POST", "/control", {"seed": seed, "rules": [dict(rule) for rule in rules]})

    def switches(self) -> dict[str, Any]:
        """Return the switches with how often each rule fired."""
        return self._call("GET", "/control")

    def post(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Send bytes to its address; return status and body.

        :raises OSError: the connection was closed without an answer.
        """
        return _post(self.url, body, headers)

    def _call(self, method: str, path: str, data: Any = None) -> dict[str, Any]:
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(  # http, our own process
            self.base + path,
            body,
            {"Authorization": f"Bearer {self.secret}", "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=20) as response:  # http, our own process
            return dict(json.loads(response.read()))


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any) -> None:
        """Follow nothing."""


_OPENER = urllib.request.build_opener(_Stay)


def _post(url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
    request = urllib.request.Request(url, body, dict(headers), method="POST")
    try:
        with _OPENER.open(request, timeout=20) as response:  # http, our own process
            return int(response.status), response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
