"""The simulated CIS as a process of its own, for tests that speak to it over a real socket."""

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


class Cis:
    """One simulated CIS: ``start`` it, point an endpoint at ``url`` with ``username`` and ``password``, ``stop`` it.

    ``folder`` gets its book; a CIS started again on the same folder has the same book and keeps its port.
    """

    def __init__(
        self, folder: Path, *, username: str = "ratepayer", password: str = "cis-password"
    ) -> None:  # a fixture
        self.folder, self.username, self.password = folder, username, password
        self.secret = "control-secret"  # a fixture
        self.url = ""
        self._port = 0
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it and wait until it listens.

        :raises RuntimeError: it ended instead; the text says what it printed.
        """
        self._process = subprocess.Popen(
            [
                sys.executable, "-m", "datapump.connectors.cis_simulator", "--port", str(self._port),
                "--book", str(self.folder / "cis.sqlite3"), "--username", self.username, "--password", self.password,
                "--control-secret", self.secret,
            ],
            cwd=ROOT, env={"PATH": os.environ["PATH"], "DEMO": "1"}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        line = self._process.stdout.readline()  # ends when it listens or when it dies
        if "listening on " not in line:
            _, problem = self._process.communicate(timeout=10)
            raise RuntimeError(f"the simulated CIS did not start: {line}{problem}")
        self.url = line.rpartition("listening on ")[2].strip()
        self._port = int(self.url.split(":")[2].partition("/")[0])

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it, or kill it with ``signal.SIGKILL``."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.communicate(timeout=10)
            self._process = None

    @property
    def prints_url(self) -> str:
        """Where its print server gives bills."""
        return self.url.replace("/services/CB", "/eprint/")

    def reset(self) -> None:
        """Empty its book and let it behave."""
        self._call("POST", "/control/reset")

    def book(self) -> dict[str, Any]:
        """Return payments, repeats, comments and paperless changes in order of arrival, and totals."""
        return self._call("GET", "/book")

    def totals(self) -> dict[str, Any]:
        """Return the totals alone."""
        return self._call("GET", "/book/totals")

    def control(self, *rules: Mapping[str, Any], seed: int = 0) -> dict[str, Any]:
        """Replace its switches by these rules, such as ``{"action": "fault", "next": 1}``; without rules it behaves."""
        return self._call("POST", "/control", {"seed": seed, "rules": [dict(rule) for rule in rules]})

    def switches(self) -> dict[str, Any]:
        """Return the switches with how often each rule fired."""
        return self._call("GET", "/control")

    def owes(self, account: str, **answer: Any) -> None:
        """Set what GetPayableItemsList answers: ``items``, ``transaction_types``, ``extensions``."""
        self._call("POST", "/control/items", {"account": account, **answer})

    def prepaid(self, account: str, *, left: str, a_day: str) -> None:
        """Have an account be prepaid, with so much left; payments add to it."""
        self._call("POST", "/control/prepaid", {"account": account, "left": left, "a_day": a_day})

    def post(self, body: bytes, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """Send bytes to its SOAP address; return status and body.

        :raises OSError: the connection was closed without an answer.
        """
        request = urllib.request.Request(self.url, body, dict(headers or {"Content-Type": "text/xml"}), method="POST")
        try:
            with urllib.request.urlopen(request, timeout=20) as response:  # http, our own process
                return int(response.status), response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def _call(self, method: str, path: str, data: Any = None) -> dict[str, Any]:
        base = self.url.partition("/services/")[0]
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(  # http, our own process
            base + path,
            body,
            {"Authorization": f"Bearer {self.secret}", "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=20) as response:  # http, our own process
            return dict(json.loads(response.read()))
