"""Reading invoice files: any bytes at all, layouts, and what SQL makes of a field's text."""

from __future__ import annotations

import datetime
import io
import re
from decimal import Decimal
from typing import Any

import phonenumbers
import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing import phone_numbers
from billing.demo import write_invoice_file
from billing.invoice_layouts import FIELDS, USUAL, BadLayout, Layout, RowKind, read_layout
from billing.models import FileState, Invoice
from billing.operations.invoice_files import values
from billing.operations.invoice_files.reading import LONGEST_LINE, BadFile, Chunk, Reader
from tests.factories import make_biller
from tests.invoice_files import FORMAT, Bill, checksums, load, write

HEADER = b"FH|11111111-2222-3333-4444-555555555555|11/22/2026|1|84.10\n"
IH = f"IH|R|{FORMAT}|7001|11/20/2026|12/10/2026|84.10|35909|001|3210|7001|35909-7001|0.00"
CR = "CR|35909-001|Alma Reyes|18 Mill Race Lane||Maple Falls|VT|05601|||N|"
COLUMNS = 2 + len(USUAL[RowKind.INVOICE]) - 1 + len(USUAL[RowKind.CUSTOMER]) - 1


def read(body: bytes, layout: Layout | None = None, rows: int = 20_000) -> tuple[Reader, list[Chunk]]:
    reader = Reader(io.BytesIO(body), layout or Layout())
    reader.header()
    return reader, list(reader.chunks(rows))


# ---- Layouts


@pytest.mark.spec("MSP-21")
def test_the_usual_layout_is_the_specifications_table() -> None:
    assert USUAL == {
        RowKind.FILE: (1, 2, 4, 5, 6),
        RowKind.INVOICE: (7, 8, 9, 10, 11, 12, 13, 39, 40, 41, 46, 47, 407),
        RowKind.CUSTOMER: (58, 59, 60, 61, 62, 63, 64, 65, 66, 67, 356, 373),
        RowKind.DETAIL: (70,),
    }
    assert read_layout({}) == Layout()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"IH": [8, 7]}, "The first column of IH is its row type, field 7."),
        ({"IH": [7, 8, 9, 10, 11, 12, 13]}, "IH must have field 47 (Custom10)."),
        ({"CR": [58, 59, 60, 59]}, "A field stands twice in CR."),
        ({"CR": [58, 59, 60, 13]}, "Field 13 (TotalAmountDue) belongs to IH, not to CR."),
        ({"CR": [58, 59, "60"]}, "The columns of CR are a list of field numbers."),
        ({"CR": "58"}, "The columns of CR are a list of field numbers."),
        ({"FH": [1, 2, 4, 5, 6, 99]}, "FH has no columns to pass over."),
        ({"XX": [1]}, "A layout has rows FH, IH, CR and ID and an encoding, not XX."),
        ({"encoding": "rot13"}, "The encoding is one of utf-8, cp1252, latin-1."),
    ],
)
def test_a_layout_that_makes_no_sense_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(BadLayout) as refused:
        read_layout(given)
    assert str(refused.value) == words


def test_every_customisation_of_the_specification_has_a_field() -> None:
    named = {field.name for field in FIELDS.values() if field.number > 9000}
    assert named == {
        "AllowPartialPayments", "AutoPayCollectionDate", "BalanceForward", "FirstNotifyRequestedDate",
        "SecondNotifyRequestedDate", "ThirdNotifyRequestedDate", "MinimumAmountDue", "PaymentExpirationDate",
        "PaymentExpirationMessage",
    }  # fmt: skip


# ---- The reader


def test_an_invoice_is_one_line_of_copy_with_the_lines_it_came_from() -> None:
    reader, [chunk] = read(HEADER + f"{IH}\n{CR}\nID\nID|more\n".encode())
    assert chunk.copy_text().decode() == f"2|{IH[3:]}|3|{CR[3:]}\n"
    assert (reader.invoices, reader.line, chunk.faults, chunk.bytes_read) == (
        1,
        5,
        [],
        len(HEADER) + len(f"{IH}\n{CR}\nID\nID|more\n"),
    )


def test_backslashes_reach_the_database_as_they_are() -> None:
    _, [chunk] = read(HEADER + f"{IH}\n{CR}\n".replace("Alma Reyes", r"Alma\N \. Reyes").encode())
    assert r"|Alma\\N \\. Reyes|" in chunk.copy_text().decode()


def test_chunks_and_blocks_end_anywhere() -> None:
    body = HEADER + b"".join(f"{IH}\r\n{CR}\r\nID\r\n".encode() for _ in range(12_000))
    assert len(body) > 2 << 20
    reader, chunks = read(body, rows=2_000)
    lines = b"".join(chunk.copy_text() for chunk in chunks).decode().splitlines()
    assert (reader.invoices, len(lines)) == (12_000, 12_000)
    assert [line.partition("|")[0] for line in lines] == [str(2 + 3 * index) for index in range(12_000)]
    assert not [chunk.faults for chunk in chunks if chunk.faults]
    assert len(chunks) == 3
    assert chunks[-1].bytes_read == len(body)


@pytest.mark.parametrize("before", [b"", HEADER, HEADER + b"IH|R\n"])
def test_a_line_that_does_not_end_is_refused_before_it_is_all_read(before: bytes) -> None:
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1) -> bytes:
            self.given += size
            if self.given > 10 << 20:
                raise AssertionError("read on and on")
            return (before + b"x" * size)[:size] if self.given == size else b"x" * size

    def read_on() -> None:
        reader = Reader(Endless(), Layout())  # type: ignore[arg-type]  # all that a reader needs of a file
        reader.header()
        list(reader.chunks())

    with pytest.raises(BadFile, match=f"longer than {LONGEST_LINE:,} characters"):
        read_on()


def test_too_many_faults_are_not_read_to_the_end() -> None:
    with pytest.raises(BadFile, match="More than 50,000 errors were found up to line"):
        read(HEADER + b"what\n" * 60_000)


rows = st.one_of(
    st.sampled_from(
        [IH, CR, "ID", "ID|x", "IH", "CR|", "FH|x", "", IH + "|", CR + "|||", IH + "|x", "\u00e9\u00fc", "a\tb"]
    ).map(str.encode),
    st.binary(max_size=60),
)
bodies = st.one_of(
    st.binary(max_size=400),
    st.lists(rows, max_size=12).map(lambda lines: HEADER + b"\n".join(lines)),
    st.lists(rows, max_size=12).map(lambda lines: HEADER + b"\r\n".join(lines) + b"\r\n"),
)


@settings(max_examples=400, deadline=None)
@given(bodies)
def test_any_bytes_are_read_or_refused_and_every_line_has_its_columns(body: bytes) -> None:
    try:
        _, chunks = read(body)
    except BadFile:
        return
    for chunk in chunks:
        text = chunk.copy_text().decode()
        for line in text.splitlines(keepends=False) if text else []:
            assert line.count("|") == COLUMNS - 1
        assert text == "" or text.endswith("\n")
        assert all(fault.reason and len(fault.value) <= 80 and fault.value.isprintable() for fault in chunk.faults)


# ---- The whole load


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
@pytest.mark.django_db
@pytest.mark.spec("MSP-23")
def test_a_damaged_file_is_loaded_whole_or_changes_nothing(data: st.DataObject) -> None:
    biller = make_biller()
    good = write(biller, [Bill(account=f"{n}-001", number=str(n), fields={60: f"Zoë {n}"}) for n in range(3)])
    body = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(len(HEADER) - 10, len(body)))
        kind = data.draw(st.sampled_from(["insert", "delete", "replace"]))
        junk = data.draw(
            st.one_of(
                st.binary(min_size=1, max_size=4),
                st.sampled_from([b"|", b"\n", b"\\", b"\\.", b"\r", b"\0", b"=", b"'"]),
            )
        )
        if kind == "insert":
            body[at:at] = junk
        elif kind == "delete":
            del body[at : at + len(junk)]
        else:
            body[at : at + len(junk)] = junk
    traces = ("billing_invoicefile", "billing_invoicefileerror", "billing_auditentry")
    before = checksums(*traces)
    file = load(biller, bytes(body))
    if file.state == FileState.LOADED:
        assert (file.loaded_count, Invoice.objects.filter(file=file).count()) == (3, 3)
        assert file.loaded_total == file.stated_total == file.found_total
    else:
        assert (file.state, bool(file.refusal)) == (FileState.REFUSED, True)
        assert checksums(*traces) == before


# ---- Values


def ask(expression: str, text: str | None) -> Any:
    with connection.cursor() as cursor:
        # A date is read month first, as a load says. A constant would be worked out before any CASE could hold it back.
        cursor.execute("SET LOCAL DateStyle = 'ISO, MDY'")
        escaped = expression.replace("%", "%%")
        cursor.execute(f"SELECT {escaped} FROM (SELECT %s::text AS c OFFSET 0) r", [text])
        return cursor.fetchone()[0]


figures = st.text(alphabet="0123456789/-", min_size=1, max_size=10)
days = st.dates(datetime.date(1890, 1, 1), datetime.date(2110, 1, 1)).flatmap(
    lambda day: st.sampled_from(
        [f"{day:%m/%d/%Y}", f"{day:%Y-%m-%d}", f"{day:%m%d%Y}", f"{day:%Y%m%d}", f"{day.month}/{day.day}/{day.year}"]
    )
)


def oracle(text: str) -> datetime.date | None:
    for shape, form in (
        (r"\d{1,2}/\d{1,2}/\d{4}", "%m/%d/%Y"),
        (r"\d{4}-\d{2}-\d{2}", "%Y-%m-%d"),
        (r"(0[1-9]|1[0-8])\d{6}", "%m%d%Y"),
        (r"(19|2\d)\d{6}", "%Y%m%d"),
    ):
        if re.fullmatch(shape, text):
            try:
                found = datetime.datetime.strptime(text, form).date()  # noqa: DTZ007
            except ValueError:
                return None
            return found if 1900 <= found.year <= 2099 else None
    return None


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(days, figures, st.text(max_size=12).filter(lambda text: "\0" not in text)))
@pytest.mark.django_db
def test_dates_are_read_as_python_reads_them(text: str) -> None:
    wanted = oracle(text) if text.isascii() else None
    assert ask(values.not_day("r.c"), text) is (wanted is None)
    if wanted is not None:
        assert ask(values.day("r.c"), text) == wanted


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.from_regex(r"-?[0-9]{0,14}\.?[0-9]{0,3}", fullmatch=True),
        st.text(alphabet="0123456789.-+eE_xNa, ", max_size=12),
    )
)
@pytest.mark.django_db
def test_amounts_are_plain_decimals_of_two_places(text: str) -> None:
    good = re.fullmatch(r"-?(\d+\.?\d{0,2}|\.\d{1,2})", text, re.ASCII) is not None and abs(Decimal(text)) < 10**12
    if text == "":
        assert ask(values.not_amount("r.c", "USD"), None) is False
        return
    assert ask(values.not_amount("r.c", "USD"), text) is not good
    if good:
        assert ask(values.amount("r.c"), text) == Decimal(text)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.from_regex(r"1?[-. ]?\(?[2-9][0-9]{2}\)?[-. ]?[0-9]{3}[-. ]?[0-9]{4}", fullmatch=True),
        st.from_regex(r"[0-9]{7,12}", fullmatch=True),
    )
)
@pytest.mark.django_db
def test_ordinary_telephone_numbers_are_read_as_the_library_reads_them(text: str) -> None:
    plain = ask(values.plain_phone("r.c"), text)
    assert ask(values.odd_phone("r.c"), text) is (plain is None)
    if plain is not None:
        number = phonenumbers.parse(text, "US")
        assert plain == phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
        assert plain == phone_numbers.read(text)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("text", "formula"),
    [("=1", True), ("+1", True), ("-1", False), ("-1.50", False), ("-1-1", True), ("@x", True), ("＝x", True), ("\u00a0=1", True),
     ("a=b", False), ("O'Neill", False), ("#5", False), ("Zoë", False)],
)  # fmt: skip
def test_what_a_spreadsheet_takes_for_a_formula(text: str, formula: bool) -> None:
    assert ask(values.formula("r.c"), text) is formula


# ---- Made-up files


@pytest.mark.django_db
def test_made_up_files_are_the_same_for_the_same_seed_and_load() -> None:
    biller = make_biller()

    def made(**how: Any) -> bytes:
        out = io.BytesIO()
        totals = write_invoice_file(
            out, guid=biller.guid, count=50, made_on=datetime.datetime(2026, 11, 20, 6, tzinfo=datetime.UTC), **how
        )
        assert totals.count == 50
        return out.getvalue()

    assert made() == made()
    assert made() != made(seed=2)
    first = load(biller, made())
    assert (first.state, first.refusal, first.loaded_count) == (FileState.LOADED, "", 50)
    names = dict(Invoice.objects.values_list("customer__number", "customer__name"))
    second = load(biller, made(cycle=2))
    assert (second.loaded_count, second.repeated_count) == (50, 0)
    assert dict(Invoice.objects.filter(file=second).values_list("customer__number", "customer__name")) == names
