"""Reading an invoice file: from a stream of bytes to lines of COPY, in memory that does not grow with the file.

Only the file's grammar is looked at here: encoding, line lengths, which row follows which, how many columns. What
stands in the columns is checked in SQL, after the lines were copied to staging as they are.

Source: MSP-21.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

from billing.invoice_layouts import FIELDS, Layout, RowKind

BLOCK = 1 << 20
# The longest row of the usual layout has about 900 characters.
LONGEST_LINE = 8_192
CHUNK_ROWS = 20_000
MOST_ERRORS = 50_000
SHOWN = 80

_CONTROLS = bytes([*range(0x09), *range(0x0B, 0x20), 0x7F, 0x09])
_PADDING = re.compile(rb" *\| *")
_TRAILING = re.compile(rb" +(?=\n|$)")
_MARK = b"\xef\xbb\xbf"


class BadFile(Exception):
    """The file as a whole cannot be read; ``str()`` says where and why in one sentence."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: ``row`` is the line of the invoice header that it spoils, ``line`` where it stands."""

    row: int | None
    line: int
    field: str
    reason: str
    value: str


@dataclass(slots=True)
class Chunk:
    """Some invoices as lines of COPY text, the faults found among them, and how many bytes of the file are read so far."""

    lines: list[bytes] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    bytes_read: int = 0
    count: int = 0
    _texts: list[bytes] = field(default_factory=list)

    def pack(self) -> None:
        """Make one text of the lines so far: many small objects would leave holes in memory."""
        if self.lines:
            self.count += len(self.lines)
            self.lines.append(b"")
            self._texts.append(b"\n".join(self.lines))
            self.lines.clear()

    def copy_text(self) -> bytes:
        """Give the lines as one text for COPY, columns divided by ``|``."""
        self.pack()
        return b"".join(self._texts)


class Reader:
    """Reads one file once, from its beginning: first :meth:`header`, then :meth:`chunks`.

    A line of COPY text is the header row's line number, its columns, the customer row's line number, its columns.
    ``invoices`` counts the invoice headers met so far, good or not.
    """

    def __init__(self, stream: IO[bytes], layout: Layout) -> None:
        self._layout = layout
        self._blocks = self._read(stream)
        self._first: list[bytes] = []
        self._first_faults: dict[int, tuple[str, str]] = {}
        self._read_bytes = 0
        self._errors = 0
        self.line = 0
        self.invoices = 0

    def header(self) -> dict[str, str]:
        """Give the file header's values by field name.

        :raises BadFile: the file is empty, does not begin with a header, or its first lines cannot be read.
        """
        for lines, faults in self._blocks:
            self._first, self._first_faults = lines, faults
            break
        if not self._first:
            raise BadFile("The file is empty.")
        line = self._first[0]
        if 1 in self._first_faults:
            raise BadFile(f"Line 1, the file header, {self._first_faults[1][0]}.")
        if line[:3] != b"FH|":
            raise BadFile(f"Line 1 must be the file header (FH); it begins with “{shown(line[:12])}”.")
        values = line.decode().split("|")
        columns = self._layout.columns[RowKind.FILE]
        while len(values) > len(columns) and not values[-1]:
            values.pop()
        if len(values) != len(columns):
            raise BadFile(f"Line 1, the file header, has {len(values)} columns; the layout has {len(columns)}.")
        return {FIELDS[number].name: value for number, value in zip(columns[1:], values[1:], strict=True)}

    def chunks(self, rows: int = CHUNK_ROWS) -> Iterator[Chunk]:
        """Give the invoices, ``rows`` at a time; call after :meth:`header`.

        :raises BadFile: a line does not end, or there are more faults than anybody would read.
        """
        chunk = Chunk()
        group = _Group(self._layout)
        first = True
        while True:
            if first:
                lines, faults, first = self._first[1:], self._first_faults, False
                self.line, self._first = 1, []
            else:
                block = next(self._blocks, None)
                if block is None:
                    break
                lines, faults = block
            self._take(lines, faults, group, chunk)
            chunk.pack()
            if chunk.count >= rows or len(chunk.faults) >= rows:
                yield self._closed(chunk)
                chunk = Chunk()
        group.close(chunk)
        chunk.pack()
        yield self._closed(chunk)

    def _closed(self, chunk: Chunk) -> Chunk:
        chunk.bytes_read = self._read_bytes
        self._errors += len(chunk.faults)
        if self._errors > MOST_ERRORS:
            raise BadFile(
                f"More than {MOST_ERRORS:,} errors were found up to line {self.line:,}; the rest was not read."
            )
        return chunk

    def _take(self, lines: list[bytes], faults: dict[int, tuple[str, str]], group: _Group, chunk: Chunk) -> None:
        number = self.line
        # Millions of lines pass here: what is good is recognised with as little as possible.
        for line in lines:
            number += 1
            kind = line[:3]
            if kind == b"ID|" or kind == b"ID":  # noqa: PLR1714  (a set would be slower)
                if group.customer is None:
                    group.orphan(chunk, number, line)
            elif kind == b"IH|":
                if group.invoice is not None:
                    group.close(chunk)
                group.invoice, group.line = line, number
                self.invoices += 1
            elif kind == b"CR|" and group.customer is None and group.invoice is not None:
                group.customer, group.customer_line = line, number
            elif line:
                self.invoices += group.other(chunk, number, line)
            if faults and number in faults:
                reason, value = faults[number]
                chunk.faults.append(Fault(group.line if group.invoice is not None else None, number, "", reason, value))
        self.line = number

    # ---- Blocks of whole lines

    def _read(self, stream: IO[bytes]) -> Iterator[tuple[list[bytes], dict[int, tuple[str, str]]]]:
        """Give the file's lines block by block, clean for COPY, with what is wrong with some of them, by line number."""
        rest, line, begun = b"", 0, False
        while data := stream.read(BLOCK):
            self._read_bytes += len(data)
            data = rest + data
            if not begun:
                begun, data = True, data.removeprefix(_MARK)
            cut = data.rfind(b"\n") + 1
            rest = data[cut:]
            if cut:
                found = self._clean(data[: cut - 1], line)
                line += len(found[0])
                yield found
            if len(rest) > LONGEST_LINE:
                raise BadFile(_too_long(line + 1))
        if rest:
            yield self._clean(rest, line)

    def _clean(self, block: bytes, before: int) -> tuple[list[bytes], dict[int, tuple[str, str]]]:
        if b"\r" in block:
            block = block.replace(b"\r\n", b"\n").removesuffix(b"\r")
        faults: dict[int, tuple[str, str]] = {}
        if len(block.translate(None, _CONTROLS)) != len(block):
            block = self._without_controls(block, before, faults)
        block = self._as_utf8(block, before, faults)
        if b" |" in block or b"| " in block or b" \n" in block or block.endswith(b" "):
            block = _TRAILING.sub(b"", _PADDING.sub(b"|", block))
        if b"\\" in block:
            block = block.replace(b"\\", b"\\\\")
        lines = block.split(b"\n")
        if max(map(len, lines)) > LONGEST_LINE:
            raise BadFile(_too_long(before + 1 + next(n for n, one in enumerate(lines) if len(one) > LONGEST_LINE)))
        return lines, faults

    def _without_controls(self, block: bytes, before: int, faults: dict[int, tuple[str, str]]) -> bytes:
        lines = block.split(b"\n")
        for index, line in enumerate(lines):
            clean = line.translate(None, _CONTROLS)
            if clean != line:
                faults[before + 1 + index] = ("has a control character", shown(line))
                lines[index] = clean
        return b"\n".join(lines)

    def _as_utf8(self, block: bytes, before: int, faults: dict[int, tuple[str, str]]) -> bytes:
        encoding = self._layout.encoding
        if block.isascii():
            return block
        try:
            text = block.decode(encoding)
        except UnicodeDecodeError:
            lines = block.split(b"\n")
            for index, line in enumerate(lines):
                try:
                    lines[index] = line.decode(encoding).encode()
                except UnicodeDecodeError:
                    faults[before + 1 + index] = (f"is not {encoding.upper()} text", shown(line))
                    lines[index] = line.decode(encoding, "replace").encode()
            return b"\n".join(lines)
        return block if encoding == "utf-8" else text.encode()


class _Group:
    """The invoice that is being put together: its header row and its customer row."""

    def __init__(self, layout: Layout) -> None:
        self.invoice: bytes | None = None
        self.customer: bytes | None = None
        self.line = self.customer_line = 0
        self._bars = len(layout.columns[RowKind.INVOICE]) - 1
        self._customer_bars = len(layout.columns[RowKind.CUSTOMER]) - 1
        self._no_customer = b"|" * (self._customer_bars - 1)

    def close(self, chunk: Chunk) -> None:
        """Add the invoice to the chunk, and begin a new one."""
        if self.invoice is None:
            return
        invoice: bytes | None = self.invoice
        customer = self.customer
        if self.invoice.count(b"|") != self._bars:
            invoice = self._fitted(chunk, self.invoice, self.line, self._bars)
        if customer is None:
            chunk.faults.append(
                Fault(self.line, self.line, "", "has no customer row (CR) after it", shown(self.invoice))
            )
        elif customer.count(b"|") != self._customer_bars:
            customer = self._fitted(chunk, customer, self.customer_line, self._customer_bars)
        if invoice is not None and customer is not None:
            chunk.lines.append(b"%d|%b|%d|%b" % (self.line, invoice[3:], self.customer_line, customer[3:]))
        elif invoice is not None:
            # Its amount still counts for the control total.
            chunk.lines.append(b"%d|%b||%b" % (self.line, invoice[3:], self._no_customer))
        self.invoice = self.customer = None

    def other(self, chunk: Chunk, number: int, line: bytes) -> int:
        """Deal with a row that is not simply the next one; gives how many invoice headers it is."""
        kind = line[:2] if line[2:3] in (b"", b"|") else b""
        if kind == b"IH":
            self.close(chunk)
            self.invoice, self.line = b"IH|", number
            return 1
        if kind == b"CR" and self.invoice is not None:
            if self.customer is None:
                self.customer, self.customer_line = line if line[2:3] else b"CR|", number
            else:
                self._fault(chunk, number, "is a second customer row (CR) of one invoice", line)
        elif kind == b"CR":
            self._fault(chunk, number, "is a customer row (CR) without an invoice header (IH) before it", line)
        elif kind == b"ID":
            if self.customer is None:
                self.orphan(chunk, number, line)
        elif kind == b"FH":
            self._fault(chunk, number, "is a second file header (FH)", line)
        else:
            self._fault(chunk, number, "begins with none of IH, CR and ID", line)
        return 0

    def orphan(self, chunk: Chunk, number: int, line: bytes) -> None:
        """Note a detail row that belongs to no customer row."""
        self._fault(chunk, number, "is a detail row (ID) without a customer row (CR) before it", line)

    def _fault(self, chunk: Chunk, number: int, reason: str, line: bytes) -> None:
        chunk.faults.append(Fault(self.line if self.invoice is not None else None, number, "", reason, shown(line)))

    def _fitted(self, chunk: Chunk, row: bytes, number: int, bars: int) -> bytes | None:
        """Give the row with as many columns as the layout has: empty ones at its end may be missing or too many."""
        have = row.count(b"|")
        if have < bars:
            return row + b"|" * (bars - have)
        kept = row
        while kept.count(b"|") > bars and kept.endswith(b"|"):
            kept = kept[:-1]
        if kept.count(b"|") == bars:
            return kept
        reason = f"has {have + 1} columns; the layout has {bars + 1}"
        chunk.faults.append(Fault(self.line, number, "", reason, shown(row)))
        return None


def shown(value: bytes | str) -> str:
    """Give a value as an error shows it: cut short, without characters that no page could show."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text[:SHOWN])


def _too_long(line: int) -> str:
    return f"Line {line:,} is longer than {LONGEST_LINE:,} characters."
