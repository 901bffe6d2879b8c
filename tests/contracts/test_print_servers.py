"""What every print server's driver keeps to, over a real socket against the simulated system of its kind.

To add a driver, give its simulator and target in ``SYSTEMS``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from datapump.calls import get_once
from datapump.print_servers.base import (
    MAX_PDF,
    Bill,
    Misconfigured,
    PrintServer,
    PrintServerError,
    Refused,
    Target,
    Unavailable,
    Unreadable,
)
from datapump.print_servers.daffron import VERSIONS, Daffron, parameters
from datapump.print_servers.registry import PRINT_SERVERS
from tests.cis import Cis

SYSTEMS: dict[str, tuple[Callable[[Path], Cis], Callable[[Cis], Target]]] = {
    "daffron": (Cis, lambda cis: Target(cis.prints_url, {"version": "4"}))
}
BILL = Bill(date(2026, 3, 20), "35909", "001", "7001", "35909-7001")


@dataclasses.dataclass
class Line:
    driver: PrintServer
    target: Target
    system: Cis

    def fetch(self, bill: Bill = BILL, seconds: float = 5) -> bytes:
        answer = get_once(self.driver.address(bill, self.target), timeout=seconds, most=MAX_PDF, networks=None)
        if answer.error is not None:
            raise answer.error
        assert answer.status is not None
        return self.driver.read(answer.status, answer.body)


@pytest.fixture(scope="module", params=sorted(one.name for one in PRINT_SERVERS.values()))
def started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    make_system, make_target = SYSTEMS[request.param]
    system = make_system(tmp_path_factory.mktemp(request.param))
    system.start()
    driver = next(one for one in PRINT_SERVERS.values() if one.name == request.param)
    try:
        yield Line(driver, make_target(system), system)
    finally:
        system.stop()


@pytest.fixture
def line(started: Line) -> Line:
    started.system.reset()
    return started


@pytest.mark.spec("MSP-18", "MSP-20")
def test_a_bill_is_asked_for_and_read(line: Line) -> None:
    body = line.fetch()
    assert body.startswith(b"%PDF-")
    assert b"Account 35909 sub 001" in body
    assert [one["asked"] for one in line.system.book()["prints"]] == [
        "PROCESSING_TYPE=HISTORY&ACCT=35909&SUB=001&BCTR=35909-7001&LDMO=202603&PRINT_FORM=TRUE"
    ]


@pytest.mark.spec("MSP-20")
@pytest.mark.parametrize(
    ("rule", "error"),
    [
        ({"action": "http_status", "status": 503}, Unavailable),
        ({"action": "http_status", "status": 404}, Refused),
        ({"action": "http_status", "status": 302}, Unreadable),
        ({"action": "http_status", "status": 204}, Unreadable),
        ({"action": "garbage", "kind": "html"}, Unreadable),
        ({"action": "garbage", "kind": "truncated"}, Unreadable),
        ({"action": "garbage", "kind": "empty"}, Unreadable),
        ({"action": "garbage", "kind": "binary"}, Unreadable),
    ],
)
def test_what_is_no_bill_is_refused_loudly(line: Line, rule: dict[str, object], error: type[PrintServerError]) -> None:
    line.system.control({**rule, "next": 1})
    with pytest.raises(error) as caught:
        line.fetch()
    assert "127.0.0.1" not in str(caught.value)
    assert line.fetch().startswith(b"%PDF-")


def test_only_a_whole_pdf_is_taken(line: Line) -> None:
    assert line.driver.read(200, b"%PDF-1.4 %%EOF\n") == b"%PDF-1.4 %%EOF\n"
    with pytest.raises(Unreadable, match="is no PDF"):
        line.driver.read(200, b"<html>%PDF-1.4 %%EOF")
    with pytest.raises(Unreadable, match="broke off"):
        line.driver.read(200, b"%PDF-1.4 %%EOF" + b"x" * 5_000)
    with pytest.raises(Unreadable, match="more than 10 MB"):
        line.driver.read(200, b"%PDF-1.4" + bytes(MAX_PDF) + b"%%EOF")


# ---- The address of Daffron's print server: a pure function -----------------------------------------------------------


def asked(bill: Bill = BILL, **options: str) -> str:
    return Daffron().address(bill, Target("http://cis.example:8086/eprint/", options)).partition("?")[2]


@pytest.mark.spec("MSP-18")
def test_the_four_versions() -> None:
    one = "PROCESSING_TYPE=HISTORY&ACCT=35909&SUB=001"
    assert asked() == asked(version="1") == one
    assert asked(version="2") == f"{one}&BCTR=35909-7001"
    assert asked(version="3") == f"{one}&BCTR=35909-7001&LDMO=202603"
    assert asked(version="4") == f"{one}&BCTR=35909-7001&LDMO=202603&PRINT_FORM=TRUE"
    assert asked(version="3", ldmo_modifier="MonthWithoutZero") == f"{one}&BCTR=35909-7001&LDMO=20263"
    december = dataclasses.replace(BILL, issued_on=date(2026, 12, 1))
    assert asked(december, version="3", ldmo_modifier="MonthWithoutZero").endswith("LDMO=202612")


@pytest.mark.spec("MSP-19")
@pytest.mark.parametrize("custom9", ["INV", "EBIL", "inv 7001", "EBILL"])
@pytest.mark.parametrize("version", VERSIONS)
def test_inv_and_ebil_force_version_2(custom9: str, version: str) -> None:
    bill = dataclasses.replace(BILL, custom9=custom9)
    assert asked(bill, version=version) == "PROCESSING_TYPE=HISTORY&ACCT=35909&SUB=001&BCTR=35909-7001"


@pytest.mark.spec("MSP-19")
@pytest.mark.parametrize(("custom10", "bctr"), [("35909-7001", "7001"), ("35909-001-7001", "7001"), ("7001", "7001")])
def test_only_what_follows_the_dash(custom10: str, bctr: str) -> None:
    bill = dataclasses.replace(BILL, custom10=custom10)
    assert asked(bill, version="2", bctr_modifier="ValueAfterDash").endswith(f"&BCTR={bctr}")
    assert asked(bill, version="2").endswith(f"&BCTR={custom10}")


@pytest.mark.spec("MSP-18", "MSP-19")
@pytest.mark.parametrize(
    ("changes", "options", "words"),
    [
        ({"custom2": ""}, {}, "Custom2"),
        ({"custom3": "  "}, {}, "Custom3"),
        ({"custom10": ""}, {"version": "2"}, "Custom10"),
        ({"custom10": "35909-"}, {"version": "2", "bctr_modifier": "ValueAfterDash"}, "Custom10 after its dash"),
        ({"custom9": "INV", "custom10": ""}, {"version": "1"}, "Custom10"),
        ({}, {"version": "5"}, "setting 119"),
        ({}, {"version": "2", "bctr_modifier": "Reversed"}, "setting 131"),
        ({}, {"version": "3", "ldmo_modifier": "Roman"}, "setting 131"),
    ],
)
def test_what_is_missing_is_said(changes: dict[str, str], options: dict[str, str], words: str) -> None:
    with pytest.raises(Misconfigured, match=words):
        asked(dataclasses.replace(BILL, **changes), **options)  # type: ignore[arg-type]  # texts all of them


@pytest.mark.parametrize(
    "url",
    ["ftp://cis.example/", "cis.example/eprint", "http://", "http://u:p@cis.example/", "http://cis.example/?a=b",
     "http://cis.example/#x", "http://[::1/"],
)  # fmt: skip
def test_an_address_with_parameters_of_its_own_is_none(url: str) -> None:
    with pytest.raises(Misconfigured):
        Daffron().address(BILL, Target(url))


columns = st.text(st.characters(codec="utf-8"), max_size=60) | st.sampled_from(
    [
        "1&SUB=2",
        "../../etc",
        "@evil.example/",
        "#",
        "?x=y",
        "a b+c",
        "%26SUB=9",
        "\r\nHost: evil.example",
        "1;2",
        "//evil",
    ]
)


@pytest.mark.spec("MSP-18", "MSP-20")
@given(
    bill=st.builds(Bill, st.dates(), columns, columns, columns, columns),
    version=st.sampled_from(VERSIONS),
    modifier=st.sampled_from([None, "ValueAfterDash"]),
    month=st.sampled_from([None, "MonthWithoutZero"]),
)
def test_no_value_of_a_bill_changes_anything_but_itself(
    bill: Bill, version: str, modifier: str | None, month: str | None
) -> None:
    target = Target(
        "https://cis.example:8086/eprint/", {"version": version, "bctr_modifier": modifier, "ldmo_modifier": month}
    )
    try:
        wanted = parameters(bill, target)
    except Misconfigured:
        with pytest.raises(Misconfigured):
            Daffron().address(bill, target)
        return
    # As the caller reads it, which is what goes over the wire.
    read = URL(Daffron().address(bill, target))
    assert (read.scheme, read.raw_host, read.port, read.raw_path) == ("https", "cis.example", 8086, "/eprint/")
    assert (read.raw_user, read.raw_password, read.raw_fragment) == (None, None, "")
    assert list(read.query.items()) == wanted
    assert read.raw_path_qs.isascii()
    assert read.raw_path_qs.isprintable()
    assert " " not in read.raw_path_qs
