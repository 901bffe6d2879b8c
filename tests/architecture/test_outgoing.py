"""Every call that goes out: through the guard, or to an address that only the operator sets; no redirect is followed."""

from __future__ import annotations

import ast
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from payments.gateways.lines import Line as ProcessorLine
from sms.providers.lines import Line as ProviderLine

ROOT = Path(__file__).resolve().parents[2]
APPS = ("billing", "payments", "datapump", "sms", "config")
# Libraries that open connections.
REACHING = {
    "aiohttp", "asyncssh", "ftplib", "http.client", "httpx", "poplib", "imaplib", "redis", "requests", "smpplib", "smtplib",
    "socket", "socketserver", "telnetlib", "twilio.rest", "urllib.request", "urllib3", "websockets", "xmlrpc", "zeep",
}  # fmt: skip
# Who may, and why that reaches nothing that it should not. Whatever a biller's people name goes through the first line.
ALLOWED = {
    "datapump/calls.py": "the guard: updates, signed webhooks, tests of endpoints, print servers",
    "datapump/connectors/multispeak/definitions.py": "zeep over definitions from our own folder; it calls nothing",
    "payments/gateways/lines.py": "a processor: options of a route, written in the admin alone",
    "sms/providers/lines.py": "a provider of texts: options of a line, written in the admin alone",
    "sms/providers/twilio.py": "the same",
    "sms/providers/smpp/receipts.py": "the names of SMPP's numbers",
    "sms/providers/smpp/links.py": "the same",
    "sms/providers/smpp/provider.py": "the same",
    "billing/operations/notice_deliveries.py": "names the errors of SMTP; mail goes to EMAIL_URL",
    "config/celery.py": "the broker: REDIS_URL",
    "config/health.py": "the broker: REDIS_URL",
    "config/servers.py": "the servers of the demonstration, on this machine",
    "config/supervisor.py": "the processes of the demonstration, on this machine",
    "config/demo/doors.py": "the simulators: SIMULATED_…_URL, demonstration only",
}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import():
                yield from (one.name for one in node.names)
            case ast.ImportFrom(module=str(module)):
                yield module
                yield from (f"{module}.{one.name}" for one in node.names)


def reaches(path: Path) -> bool:
    return any(name == one or name.startswith(f"{one}.") for name in imported(path) for one in REACHING)


def test_nothing_else_of_ours_opens_a_connection() -> None:
    found = {
        str(path.relative_to(ROOT))
        for app in APPS
        for path in (ROOT / app).rglob("*.py")
        # The other side of the wire is somebody else's machine.
        if "simulator" not in str(path.parent.relative_to(ROOT)) and reaches(path)
    }
    assert found - set(ALLOWED) == set()
    assert set(ALLOWED) - found == set()


def test_addresses_that_are_not_guarded_are_written_in_the_admin_alone() -> None:
    """No face of a biller's own people knows the options of routes and lines, in which these addresses stand."""
    for app in ("payments", "sms"):
        for face in ("biller_portal", "customer_portal", "api"):
            for path in (ROOT / app / face).rglob("*.py"):
                written = [
                    node.attr
                    for node in ast.walk(ast.parse(path.read_text()))
                    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
                ]
                assert not {"options", "secret", "driver"} & set(written), path


@contextmanager
def moved() -> Iterator[tuple[str, Callable[[], bool]]]:
    """Answer a request with a redirect to another port; the function says whether anybody has gone there."""
    there = socket.create_server(("127.0.0.1", 0))
    there.setblocking(False)
    here = socket.create_server(("127.0.0.1", 0))
    target = f"http://127.0.0.1:{there.getsockname()[1]}/"

    def serve() -> None:
        line, _ = here.accept()
        with line:
            line.recv(65_536)
            line.sendall(f"HTTP/1.1 307 Moved\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode())

    def gone() -> bool:
        try:
            there.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with here, there:
        yield f"http://127.0.0.1:{here.getsockname()[1]}", gone
        thread.join(5)


@pytest.mark.spec("MSP-20")
def test_no_line_of_ours_follows_a_redirect() -> None:
    # The guarded caller's own is in tests/datapump/test_calls.py.
    with moved() as (url, gone):
        assert ProcessorLine(url, headers={}).exchange("POST", "/charge", b"{}", timeout=5).status == 307
        assert not gone()
    with moved() as (url, gone):
        line = ProviderLine(timeout=5, connect_timeout=5, most=1)
        assert line.exchange("POST", f"{url}/send", b"x", {}).status == 307
        assert not gone()
