"""A contract asks of no driver what its processor cannot do, and says so by having no such test."""

from __future__ import annotations

import pytest

from tests.contracts.gateways import BENCHES


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    passed_over = [item for item in items if _lacks(item)]
    if passed_over:
        config.hook.pytest_deselected(items=passed_over)
        items[:] = [item for item in items if item not in set(passed_over)]


def _lacks(item: pytest.Item) -> bool:
    """Say whether a test needs of its bench what that has not."""
    bench = (
        item.callspec.params.get("bench") if isinstance(item, pytest.Function) and hasattr(item, "callspec") else None
    )
    needed = {need for mark in item.iter_markers("needs") for need in mark.args}
    return bench in BENCHES and not needed <= BENCHES[bench].can
