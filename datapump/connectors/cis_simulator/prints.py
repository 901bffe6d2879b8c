"""The print server of the simulated CIS: bills as PDF, by the parameters of the four versions of PDF linking."""

from __future__ import annotations

import re
from collections.abc import Iterable

_ALLOWED = {
    "PROCESSING_TYPE": re.compile(r"HISTORY"),
    "ACCT": re.compile(r".{1,60}"),
    "SUB": re.compile(r".{1,60}"),
    "BCTR": re.compile(r".{1,60}"),
    "LDMO": re.compile(r"[0-9]{4}(0[1-9]|1[0-2]|[1-9])"),
    "PRINT_FORM": re.compile(r"TRUE"),
}
_SETS = (
    ["PROCESSING_TYPE", "ACCT", "SUB"],
    ["PROCESSING_TYPE", "ACCT", "SUB", "BCTR"],
    ["PROCESSING_TYPE", "ACCT", "SUB", "BCTR", "LDMO"],
    ["PROCESSING_TYPE", "ACCT", "SUB", "BCTR", "LDMO", "PRINT_FORM"],
)


def fault(asked: list[tuple[str, str]]) -> str:
    """Say what is wrong with what was asked; an empty text where it names a bill by one of the versions."""
    if [name for name, _ in asked] not in _SETS:
        return "unknown set of parameters"
    for name, value in asked:
        if not _ALLOWED[name].fullmatch(value):
            return f"unreadable {name}"
    return ""


def bill(asked: list[tuple[str, str]]) -> bytes:
    """Print one page that says what was asked."""
    given = dict(asked)
    return pdf(
        [
            "EXAMPLE UTILITY",
            "Utility bill",
            "",
            f"Account {given['ACCT']} sub {given['SUB']}",
            *([f"Bill control number {given['BCTR']}"] if "BCTR" in given else []),
            *([f"Bill date {given['LDMO']}"] if "LDMO" in given else []),
            "",
            "Printed by the simulated CIS. Nothing here is owed.",
        ]
    )


def pdf(lines: Iterable[str]) -> bytes:
    """Write lines of text on one page."""
    shown = [
        line.encode("latin-1", "replace").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")
        for line in lines
    ]
    text = b"BT /F1 12 Tf 72 720 Td 18 TL\n" + b"".join(b"(%b) Tj T*\n" % line for line in shown) + b"ET"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(text), text),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    written, places = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, 1):
        places.append(len(written))
        written += b"%d 0 obj\n%b\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    count = len(objects) + 1
    return written + (
        b"xref\n0 %d\n0000000000 65535 f \n%btrailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
        % (count, table, count, len(written))
    )
