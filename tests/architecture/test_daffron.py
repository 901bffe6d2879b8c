"""``docs/daffron.md`` has each requirement of the integration once, with tests that are there and carry its number."""

from __future__ import annotations

import ast
import functools
import re

import pytest

from config.environment import ROOT
from tests.specs import read_requirements

_ROW = re.compile(r"^\| (MSP-\d+) \|[^|]+\|[^|]*\|([^|]*)\|$", re.MULTILINE)
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
ROWS = dict(_ROW.findall((ROOT / "docs" / "daffron.md").read_text()))
NUMBERS = [number for number in read_requirements() if number.startswith("MSP-")]


@functools.cache
def numbers_of(file: str) -> dict[str, set[str]]:
    """Give each test of a file with the numbers that it carries."""
    tests = [node for node in ast.parse((ROOT / file).read_text()).body if isinstance(node, ast.FunctionDef)]
    return {
        test.name: {
            str(argument.value)
            for mark in test.decorator_list
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.spec"
            for argument in mark.args
            if isinstance(argument, ast.Constant)
        }
        for test in tests
    }


def test_every_number_has_its_row() -> None:
    assert list(ROWS) == NUMBERS


@pytest.mark.parametrize("number", NUMBERS)
def test_a_row_names_tests_that_are_there_and_carry_its_number(number: str) -> None:
    tests = ROWS[number]
    named = _TEST.findall(tests)
    assert ", ".join(f"`{file}::{test}`" for file, test in named) == tests.strip()
    assert named
    for file, test in named:
        assert number in numbers_of(file)[test]
