"""A message centre that speaks SMPP as tests use it: npm's ``smpp`` in a process of its own (``tests/peers``).

with MessageCentre(directory) as centre:
    provider = centre.provider()
    centre.tell(PHONE, LINE, "PAY")
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from config.environment import ROOT
from sms.providers.base import Inbound, Listener, StatusReport
from sms.providers.listening import keep_listening
from sms.providers.registry import open_provider
from tests.peers import node

ACCOUNT = "biller-7"
PASSWORD = "s3cret-8"
WAIT_SECONDS = 10.0


class MessageCentre:
    """One message centre, with the certificate that it shows under TLS in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self.ca_file = directory / "centre.pem"
        self._key_file = directory / "centre.key"
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._write_certificate()
        self._process = subprocess.Popen(
            [*node(), str(ROOT / "tests" / "peers" / "message_centre.js")],
            env={
                "PATH": os.environ.get("PATH", ""),
                "PASSWORDS": json.dumps({ACCOUNT: PASSWORD}),
                "KEY": str(self._key_file),
                "CERT": str(self.ca_file),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        ports = self._process.stdout.readline().split()
        if len(ports) != 3:
            self.__exit__(None, None, None)
            raise RuntimeError("The message centre did not start; are the packages of package.json installed?")
        self._control, self.port, self.port_tls = map(int, ports)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait(WAIT_SECONDS)
        self._process.stdin.close()
        self._process.stdout.close()

    def provider(self, *, secret: str = PASSWORD, **options: Any) -> Listener:
        """Open the driver, its time-outs short unless told otherwise."""
        merged = {
            "host": "127.0.0.1",
            "port": self.port,
            "tls": False,
            "system_id": ACCOUNT,
            "timeout": 10.0,
            **options,
        }
        on_exchange = merged.pop("on_exchange", None)
        provider = open_provider("smpp", merged, secret, callback_url="", on_exchange=on_exchange)
        assert isinstance(provider, Listener)
        return provider

    def ask(self, what: str, **given: Any) -> dict[str, Any]:
        """Tell it to do something, and give its book as it stands then."""
        body = json.dumps(given).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self._control}/{what}", body, WAIT_SECONDS) as answer:
            book: dict[str, Any] = json.load(answer)
        return book

    def tell(self, sender: str, recipient: str, text: str | bytes, **fields: Any) -> None:
        """Let a phone say something; bytes go as they are."""
        said: dict[str, Any] = {"hex": text.hex()} if isinstance(text, bytes) else {"short_message": text}
        if isinstance(text, str) and len(text) > 140:
            said = {"message_payload": text, "short_message": ""}
        addresses = {"source_addr": sender.lstrip("+"), "source_addr_ton": 1, "destination_addr": recipient.lstrip("+")}
        kind = {"dest_addr_ton": 1 if recipient.startswith("+") else 3}
        coding = {} if isinstance(text, bytes) or text.isascii() else {"data_coding": 8}
        self.ask("deliver", fields={**addresses, **kind, **coding, **said, **fields})

    def receipt(self, provider_id: str, state: str, error: str = "000", **fields: Any) -> None:
        """Let a text come to its end, told in the form that SMPP suggests."""
        words = (
            f"id:{provider_id} sub:001 dlvrd:001 submit date:2611221508 done date:2611221509 stat:{state} err:{error}"
        )
        self.ask("deliver", fields={"esm_class": 4, "short_message": f"{words} text:id:1 stat:DELIVRD", **fields})

    def wait(self, until: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Wait until its book is as wanted, and give it."""
        ends = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < ends:
            book = self.ask("book")
            if until(book):
                return book
            time.sleep(0.02)
        raise AssertionError(f"the message centre stayed at {self.ask('book')}")

    def _write_certificate(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "message centre")])
        now = datetime.now(tz=UTC)
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )  # fmt: skip
        self.ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        plain = serialization.NoEncryption()
        self._key_file.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        )


class Ear:
    """What was heard, in its order; ``refuse`` so many things before the next is taken."""

    def __init__(self) -> None:
        self.heard: list[Inbound | StatusReport] = []
        self.losses: list[str] = []
        self.refuse = 0
        self.refused: list[Inbound | StatusReport] = []

    def __call__(self, told: Inbound | StatusReport) -> bool:
        if self.refuse:
            self.refuse -= 1
            self.refused.append(told)
            return False
        self.heard.append(told)
        return True

    def wait_for(self, count: int) -> list[Inbound | StatusReport]:
        """Wait until so many things were heard, and give all of them."""
        ends = time.monotonic() + WAIT_SECONDS
        while len(self.heard) < count and time.monotonic() < ends:
            time.sleep(0.01)
        assert len(self.heard) == count, f"heard {self.heard}, lost {self.losses}"
        return list(self.heard)


@contextmanager
def listening(provider: Listener) -> Iterator[Ear]:
    """Keep a driver listening in a thread of its own; it has left when this ends."""
    ear, stopping = Ear(), threading.Event()

    def listen() -> None:
        keep_listening(provider, ear, stopping=stopping, on_loss=ear.losses.append, shortest=0.05, longest=0.4)

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield ear
    finally:
        stopping.set()
        thread.join(WAIT_SECONDS)
        assert not thread.is_alive()
