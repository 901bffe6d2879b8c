"""CB_Servers that stacks of others run: our definitions given to them, an address, and what they understood of each call."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from config.environment import ROOT
from datapump.connectors.base import Target
from datapump.connectors.multispeak import definitions
from tests.peers import node

USERNAME, PASSWORD = "rate & payer", 's3cret<"8>'
WAIT_SECONDS = 10.0
BUILD_SECONDS = 120.0
JARS = Path("/usr/share/java")
AXIS = ("axis", "jaxrpc", "saaj", "wsdl4j", "commons-logging", "commons-discovery")
AXIS_MISSING = "Axis is not installed: apt-get install -y --no-install-recommends default-jdk-headless libaxis-java"
_MADE = "made"
QUICK = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


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
def node_soap(directory: Path, shared: Path) -> Iterator[SoapServer]:
    """Run npm's ``soap``; nothing of it is made."""
    script, heard = ROOT / "tests" / "peers" / "cb_server.js", directory / "heard"
    with _running([*node(), str(script), str(definitions.WSDL), USERNAME, PASSWORD, str(heard)]) as url:
        yield SoapServer("node soap", url, heard)


@contextmanager
def axis(directory: Path, shared: Path) -> Iterator[SoapServer]:
    """Run a server made with Apache Axis 1.4; ``shared`` is where it is made, once for all workers of a session."""
    if not shutil.which("javac") or not all((JARS / f"{jar}.jar").exists() for jar in AXIS):
        pytest.fail(AXIS_MISSING)
    path = ":".join(str(JARS / f"{jar}.jar") for jar in AXIS)
    made, heard = shared / "axis", directory / "heard"
    with (shared / "axis.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (made / _MADE).exists():
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir()
            _make_axis(made, path)
            (made / _MADE).touch()
    command = ["java", *QUICK, "-cp", f"{made}:{path}", "cb.CB_ServerSoapImpl"]
    with _running([*command, str(made / "cb" / "deploy.wsdd"), USERNAME, PASSWORD, str(heard)]) as url:
        yield SoapServer("Axis", url, heard)


def _make_axis(directory: Path, path: str) -> None:
    """Make the server: Axis's tool writes the classes that our definitions ask for, in Java.

    The definitions that it gets have amounts as the published standard has them: in single precision.
    """
    classes, ours = directory / "cb", ROOT / "tests" / "peers" / "CB_ServerSoapImpl.java"
    (directory / definitions.WSDL.name).write_bytes(definitions.WSDL.read_bytes())
    standard = definitions.XSD.read_text().replace('"xs:decimal"', '"xs:float"')
    (directory / definitions.XSD.name).write_text(standard)
    tool = ["java", *QUICK, "-cp", path, "org.apache.axis.wsdl.WSDL2Java", "--server-side", "--package", "cb"]
    _build([*tool, definitions.WSDL.name], directory)
    (classes / ours.name).write_bytes(ours.read_bytes())
    sources = sorted(str(source) for source in classes.glob("*.java"))
    for source in map(Path, sources):
        # The tool mixes up the arguments where a base class has attributes; nobody calls these constructors.
        source.write_text(re.sub(r"super\(\s*objectID,[^)]*\);", "", source.read_text()))
    quickly = [f"-J{option}" for option in QUICK]
    _build(
        ["javac", *quickly, "-g:none", "-proc:none", "-encoding", "UTF-8", "-cp", path, "-d", ".", *sources], directory
    )


def _build(command: list[str], directory: Path) -> None:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


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
