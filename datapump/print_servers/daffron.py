"""The print server of Daffron: one address for every bill, which is named by parameters of four versions.

Source: MSP-18, MSP-19; settings 20, 119 and 131.
"""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from datapump.print_servers.base import (
    Bill,
    Misconfigured,
    Refused,
    Target,
    Unavailable,
    Unreadable,
    whole_pdf,
)

VERSIONS = ("1", "2", "3", "4")
VALUE_AFTER_DASH = "ValueAfterDash"
WITHOUT_ZERO = "MonthWithoutZero"
_FORCED = ("INV", "EBIL")


class Daffron:
    """Options: ``version`` (setting 119), ``bctr_modifier`` and ``ldmo_modifier`` (PdfConfig of setting 131)."""

    name = "daffron"

    def address(self, bill: Bill, target: Target) -> str:
        """Write the address of the bill's PDF."""
        check_url(target.url)
        written = "&".join(f"{name}={quote(value, safe='')}" for name, value in parameters(bill, target))
        return f"{target.url}?{written}"

    def read(self, status: int, body: bytes) -> bytes:
        """Give the PDF that came."""
        if 300 <= status < 400:
            raise Unreadable("The print server leads elsewhere, and redirects are not followed.")
        if status in (408, 429) or status >= 500:
            raise Unavailable(f"The print server answered with status {status}.")
        if status >= 400:
            raise Refused(f"The print server does not give this bill (status {status}).")
        if status != 200:
            raise Unreadable(f"The print server answered with status {status}.")
        return whole_pdf(body)


def parameters(bill: Bill, target: Target) -> list[tuple[str, str]]:
    """Give the parameters of a bill's address, in order, as plain texts (MSP-18, MSP-19).

    Version 1 names the account (ACCT is Custom2) and its sub account (SUB is Custom3), 2 also the bill (BCTR is
    Custom10), 3 also the month of the bill (LDMO), 4 asks for the printed form. A Custom9 with INV or EBIL in it makes
    it version 2.

    :raises Misconfigured: an option is unknown, or a column that the version needs is empty.
    """
    version = target.options.get("version", "1")
    if version not in VERSIONS:
        raise Misconfigured(f"The version of the print server (setting 119) is one of {', '.join(VERSIONS)}.")
    if any(word in bill.custom9.upper() for word in _FORCED):
        version = "2"
    found = [
        ("PROCESSING_TYPE", "HISTORY"),
        ("ACCT", _needed(bill.custom2, "Custom2", "account")),
        ("SUB", _needed(bill.custom3, "Custom3", "sub account")),
    ]
    if version >= "2":
        found.append(("BCTR", _control(bill, target.options.get("bctr_modifier"))))
    if version >= "3":
        found.append(("LDMO", _month(bill, target.options.get("ldmo_modifier"))))
    if version == "4":
        found.append(("PRINT_FORM", "TRUE"))
    return found


def check_url(url: str) -> None:
    """Check the address of a print server: what follows it is ours to write.

    :raises Misconfigured: it is no http address, or has credentials, parameters or a fragment of its own.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise Misconfigured("The address of the print server is no address.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Misconfigured("The address of the print server must begin with http:// or https://.")
    if "?" in url or "#" in url or "@" in parts.netloc:
        raise Misconfigured("Write the address of the print server without user name, ? and #.")


def _needed(value: str, column: str, meaning: str) -> str:
    if not value.strip():
        raise Misconfigured(
            f"The invoice file gave this bill no {meaning} ({column}), which its print server asks for."
        )
    return value.strip()


def _control(bill: Bill, modifier: object) -> str:
    whole = _needed(bill.custom10, "Custom10", "bill control number")
    if modifier is None:
        return whole
    if modifier == VALUE_AFTER_DASH:
        # base-controlnumber; an older bill may have the control number alone.
        return _needed(whole.rpartition("-")[2], "Custom10 after its dash", "bill control number")
    raise Misconfigured(f"PdfConfig.BCTRModifier (setting 131) is {VALUE_AFTER_DASH} or left out.")


def _month(bill: Bill, modifier: object) -> str:
    if modifier is None:
        return f"{bill.issued_on.year:04}{bill.issued_on.month:02}"
    if modifier == WITHOUT_ZERO:
        return f"{bill.issued_on.year:04}{bill.issued_on.month}"
    raise Misconfigured(f"PdfConfig.LDMOModifier (setting 131) is {WITHOUT_ZERO} or left out.")
