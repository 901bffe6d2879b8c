"""CB_Servers that stacks of others run: our definitions given to them, an address, and what they understood of each call."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from config.environment import ROOT
from datapump.connectors.base import Target
from datapump.connectors.multispeak import definitions
from tests.peers import node

USERNAME, PASSWORD = "rate & payer", 's3cret<"8>'
WAIT_SECONDS = 10.0


class SoapServer:
    """A server that runs; ``heard`` is the file in which it keeps a line of JSON a call."""

    def __init__(self, stack: str, url: str, heard: Path) -> None:
        self.stack = stack
        self.url = url
        self._heard = heard
        self._read = 0

    def target(self, **options: Any) -> Target:
        """Give a target that leads to it."""
        return Target(self.url, USERNAME, PASSWORD, "America/Chicago", options)

    def heard(self) -> list[dict[str, Any]]:
        """Give what it understood since this was last asked; numbers as the texts they are."""
        lines = self._heard.read_text().splitlines() if self._heard.exists() else []
        fresh, self._read = lines[self._read :], len(lines)
        return [json.loads(line, parse_float=str, parse_int=str) for line in fresh]


@contextmanager
def node_soap(directory: Path) -> Iterator[SoapServer]:
    """Run npm's ``soap``."""
    script, heard = ROOT / "tests" / "peers" / "cb_server.js", directory / "heard"
    with _running([*node(), str(script), str(definitions.WSDL), USERNAME, PASSWORD, str(heard)]) as url:
        yield SoapServer("node soap", url, heard)


@contextmanager
def _running(command: list[str]) -> Iterator[str]:
    """Run a server that prints its address once it listens and ends with its input, and give the address."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            assert url.startswith("http://"), f"{command[0]} did not start; see what it wrote above"
            yield url
        finally:
            process.stdin.close()
            try:
                process.wait(WAIT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
