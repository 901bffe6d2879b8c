"""Handing many values to PostgreSQL at once."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any


def array(values: Iterable[Any]) -> str:
    """Write ids or numbers as one array literal, for ``%s::uuid[]`` and the like.

    The driver's own arrays cost microseconds an element. Not for texts, which would need
    quoting: :func:`keyed` takes those.
    """
    return f"{{{','.join(map(str, values))}}}"


def keyed(records: Iterable[tuple[str, list[Any]]]) -> str:
    """Write lists of texts and numbers by id as one JSON object, for ``%s::jsonb``; an id's list is found by ``->``."""
    return json.dumps(dict(records), ensure_ascii=False, separators=(",", ":"))
