"""The requirement matrix: which tests prove which numbers of the specification, and whether they passed.

A test carries ``@pytest.mark.spec("MSP-7")``; ``docs/requirements.md`` lists every number with a statement. ``--spec``
(all areas) or ``--spec MSP`` (one) runs only the tests that carry a number and prints the matrix. A number counts when
it has a test and every one of its tests passed.
"""

from __future__ import annotations

import re
from collections import defaultdict

import pytest

from config.environment import ROOT

REQUIREMENTS = ROOT / "docs" / "requirements.md"
AREAS = {"PBT": 17, "MSP": 37, "PAY": 54, "CHK": 8, "TXT": 10}

_ROW = re.compile(r"\|\s*([A-Z]{3}-\d+)\s*\|\s*(.+?)\s*\|")
# Number → test → whether every phase of it passed; filled where results arrive, which is xdist's controller.
_results: dict[str, dict[str, bool]] = defaultdict(dict)


def read_requirements() -> dict[str, str]:
    """Give each number with its statement.

    :raises ValueError: a number of an area is missing or listed twice.
    """
    rows = _ROW.findall(REQUIREMENTS.read_text())
    expected = [f"{area}-{number}" for area, most in AREAS.items() for number in range(1, most + 1)]
    if [number for number, _ in rows] != expected:
        raise ValueError(f"{REQUIREMENTS.name} must list each of {', '.join(AREAS)} once and in order.")
    return dict(rows)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--spec",
        nargs="?",
        const="ALL",
        choices=["ALL", *AREAS],
        metavar="AREA",
        help="run the tests that prove requirements, of one area or of all, and print the matrix",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "spec(number, ...): the requirements that this test proves")
    config.addinivalue_line("markers", "needs(what, ...): what a driver's other side must be able to do for this test")
    config.addinivalue_line("markers", "expected_errors(pattern, ...): what the browser may report in this test")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    known = read_requirements()
    area = config.getoption("--spec")
    selected = []
    for item in items:
        numbers = sorted({number for mark in item.iter_markers("spec") for number in mark.args})
        if unknown := [number for number in numbers if number not in known]:
            raise pytest.UsageError(f"{item.nodeid} is marked with {', '.join(unknown)}, which is no requirement.")
        if numbers:
            # Travels with the test's report, from xdist's workers too.
            item.user_properties.append(("spec", " ".join(numbers)))
        if area is None or any(area in ("ALL", number.partition("-")[0]) for number in numbers):
            selected.append(item)
    if len(selected) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in set(selected)])
        items[:] = selected


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    passed = report.outcome == "passed" and not hasattr(report, "wasxfail")
    for name, numbers in report.user_properties:
        if name == "spec":
            for number in str(numbers).split():
                _results[number][report.nodeid] = _results[number].get(report.nodeid, True) and passed


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    asked = terminalreporter.config.getoption("--spec")
    if asked is None:
        return
    statements = read_requirements()
    for area, most in AREAS.items():
        if asked not in ("ALL", area):
            continue
        terminalreporter.section(area)
        proven = 0
        for number in (f"{area}-{index}" for index in range(1, most + 1)):
            tests = _results.get(number, {})
            good = bool(tests) and all(tests.values())
            proven += good
            verdict = "passed" if good else "FAILED" if tests else "-"
            terminalreporter.write_line(f"{number:7} {len(tests):3} {verdict:7} {statements[number]}")
            for test, passed in sorted(tests.items()):
                if not passed:
                    terminalreporter.write_line(f"{'':19} {test}")
        terminalreporter.write_line(f"{area} {proven}/{most}")
