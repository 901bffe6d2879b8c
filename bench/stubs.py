"""A CIS that does nothing but answer success, fast: what measurements of delivery speak to.

``/0`` answers at once, ``/50`` after fifty milliseconds, ``/dead`` never. It keeps no book and validates nothing, so that
what is measured is who calls it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_PAYMENT = re.compile(
    rb"accountNumber>([^<]*)</(?:\w+:)?accountNumber>\s*<(?:\w+:)?(\w+Payment)>.*?amount>([^<]*)</(?:\w+:)?amount>"
    rb"\s*<(?:\w+:)?authorizationCode>([^<]*)<",
    re.S,
)
_LENGTH = re.compile(rb"content-length: *(\d+)", re.I)
_BEFORE = (
    b'<?xml version="1.0" encoding="utf-8"?>\n<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/">'
    b"<soap:Body>"
    b'<CommitPaymentTransactionResponse xmlns="http://www.multispeak.org/Version_3.0"><CommitPaymentTransactionResult>'
)
_AFTER = b"</CommitPaymentTransactionResult></CommitPaymentTransactionResponse></soap:Body></soap:Envelope>"
_ANSWER = (
    b"<paymentTransaction><accountNumber>%b</accountNumber><%b><tender><amount>%b</amount>"
    b"<authorizationCode>%b</authorizationCode><responseCode>Success</responseCode></tender></%b></paymentTransaction>"
)


class _Stub(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._held = b""

    def data_received(self, data: bytes) -> None:
        self._held += data
        while (end := self._held.find(b"\r\n\r\n")) >= 0:
            head = self._held[:end]
            length = _LENGTH.search(head)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._held) < whole:
                return
            body, self._held = self._held[end + 4 : whole], self._held[whole:]
            path = head.split(b" ", 2)[1]
            if path == b"/dead":
                continue
            told = b"".join(
                _ANSWER % (account, tender, amount, code, tender)
                for account, tender, amount, code in _PAYMENT.findall(body)
            )
            content = _BEFORE + told + _AFTER
            answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml; charset=utf-8\r\nContent-Length: %d\r\n\r\n%b" % (
                len(content),
                content,
            )
            if wait := int(path[1:]):
                asyncio.get_running_loop().call_later(wait / 1000, self._transport.write, answer)
            else:
                self._transport.write(answer)


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Stub, "127.0.0.1", 0, backlog=1_024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def stub() -> Iterator[str]:
    """Run the stub as a process of its own; gives its address without a path."""
    root = Path(__file__).resolve().parent.parent
    with subprocess.Popen(
        [sys.executable, "-m", "bench.stubs"], cwd=root, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


if __name__ == "__main__":
    asyncio.run(_serve())
