"""What a print server's driver is: how one kind of biller's system is asked for the PDF of a bill.

A driver writes the address to fetch and reads what came; it does no input or output of its own, so that one guarded
caller (``datapump.calls``) makes every call, and a driver can be tested with nothing but bytes. It knows no Django.
``tests/contracts/test_print_servers.py`` runs the same suite over every driver.

Source: MSP-18 to MSP-20.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Protocol

MAX_PDF = 10 * 1024 * 1024
"""Bytes of the largest bill that is taken."""

_BEGINNING = b"%PDF-"
_END = b"%%EOF"
_END_WITHIN = 2_048  # bytes; what some programs leave behind the end


class PrintServerError(Exception):
    """A bill's PDF could not be had; the subclass says what to do, the text why, in words for a CSR. It names no address."""


class Unavailable(PrintServerError):
    """The print server was not reached or did not answer in time: try again in a while."""


class Unreadable(PrintServerError):
    """It answered something that is no whole PDF: try again, and tell the operator where it stays so."""


class Refused(PrintServerError):
    """It has no such bill, or does not give it: trying again is of no use."""


class Misconfigured(PrintServerError):
    """The settings, or what the invoice file says of the bill, do not make an address: tell the operator."""


@dataclass(frozen=True, slots=True)
class Bill:
    """What a driver may know of a bill: the invoice's columns as the file wrote them."""

    issued_on: date
    custom2: str = ""
    custom3: str = ""
    custom9: str = ""
    custom10: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """One biller's print server: its address, and the driver's own options."""

    url: str
    options: Mapping[str, Any] = field(default_factory=dict)


class PrintServer(Protocol):
    """One way of asking for a bill."""

    name: str

    def address(self, bill: Bill, target: Target) -> str:
        """Write the address of the bill's PDF: that of the target, with the bill's own parameters.

        Nothing in a bill changes anything but the values of these parameters.

        :raises Misconfigured: the target's address or options are wrong, or the bill lacks what they ask for.
        """
        ...

    def read(self, status: int, body: bytes) -> bytes:
        """Give the PDF that came.

        :raises Unreadable: what came is no whole PDF.
        :raises Refused: the server has no such bill, or does not give it.
        :raises Unavailable: the server says that it cannot just now.
        """
        ...


def whole_pdf(body: bytes) -> bytes:
    """Give the bytes back where they are a PDF from its beginning to its end, as far as that can be told from outside.

    :raises Unreadable: they are not.
    """
    if len(body) > MAX_PDF:
        raise Unreadable(f"The print server answered more than {MAX_PDF // 1024 // 1024} MB.")
    if not body.startswith(_BEGINNING):
        raise Unreadable("The print server answered something that is no PDF.")
    if _END not in body[-_END_WITHIN:]:
        raise Unreadable("The print server's PDF broke off before its end.")
    return body
