"""Paging by keyset: where a page begins is a row, not a number of rows to skip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.core import signing
from django.core.exceptions import (
    FieldDoesNotExist,
    ImproperlyConfigured,
    ValidationError,
)
from django.db import models
from django.db.models import BooleanField, F, Func, Q, Value

from billing.lists.columns import Words, attribute


@dataclass(frozen=True, slots=True)
class Order:
    """One order of the list: fields as ``order_by`` takes them, none of them null."""

    name: str
    label: Words
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bound:
    """Where a page begins: the values, in the order's fields, of the row just before it."""

    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the list: the row at its edge and that row's position, counted from 1."""

    bound: Bound
    position: int


class BadCursor(Exception):
    """The place in the URL was cut off, edited, or belongs to another list or order."""


def write_cursor(row: models.Model, position: int, *, order: Sequence[str], salt: str) -> str:
    """Write the place of a row, signed, for a query string."""
    values = [str(_plain(attribute(row, name.removeprefix("-")))) for name in order]
    return signing.dumps({"o": list(order), "v": values, "p": position}, salt=salt)


def read_cursor(text: str, queryset: models.QuerySet[Any], *, order: Sequence[str], salt: str) -> Cursor:
    """Read a place.

    :raises BadCursor: it is not one of this list in this order.
    """
    try:
        found = signing.loads(text, salt=salt)
    except signing.BadSignature:
        raise BadCursor from None
    if found["o"] != list(order):
        raise BadCursor
    fields = [order_field(queryset, name) for name in order]
    try:
        values = tuple(field.to_python(value) for field, value in zip(fields, found["v"], strict=True))
    except (ValidationError, ValueError):
        raise BadCursor from None
    return Cursor(Bound(values), int(found["p"]))


def complete(queryset: models.QuerySet[Any], order: tuple[str, ...]) -> tuple[str, ...]:
    """Give the order with a unique last field: without one, two pages could both show or both miss a row of a tie.

    :raises ImproperlyConfigured: a field of it does not exist or may be null, which no comparison can order.
    """
    for name in order:
        if order_field(queryset, name).null:
            raise ImproperlyConfigured(f"{queryset.model.__name__}.{name} may be null and cannot order a list.")
    last = order_field(queryset, order[-1])
    if "__" not in order[-1] and (last.primary_key or last.unique):
        return order
    return (*order, "-pk" if order[-1].startswith("-") else "pk")


def reverse_order(order: Sequence[str]) -> tuple[str, ...]:
    """Give the order that reads a list from its end."""
    return tuple(name[1:] if name.startswith("-") else f"-{name}" for name in order)


def beyond(order: Sequence[str], bound: Bound) -> Q | Func:
    """Give the condition for rows after the bound in this order.

    One row comparison where all fields run the same way: PostgreSQL walks an index for that from the exact place.
    """
    names = [name.removeprefix("-") for name in order]
    falling = [name.startswith("-") for name in order]
    if len(set(falling)) == 1:
        ours = Func(*[F(name) for name in names], template="(%(expressions)s)", output_field=BooleanField())
        theirs = Func(
            *[Value(value) for value in bound.values], template="(%(expressions)s)", output_field=BooleanField()
        )
        return Func(
            ours,
            theirs,
            template="%(expressions)s",
            arg_joiner=" < " if falling[0] else " > ",
            output_field=BooleanField(),
        )
    condition = Q()
    for index, name in enumerate(names):
        equal = {names[before]: bound.values[before] for before in range(index)}
        condition |= Q(**equal, **{f"{name}__{'lt' if falling[index] else 'gt'}": bound.values[index]})
    return condition


def order_field(queryset: models.QuerySet[Any], name: str) -> models.Field[Any, Any]:
    """Give the field that a part of an order names.

    :raises ImproperlyConfigured: there is none.
    """
    path = name.removeprefix("-")
    if path in queryset.query.annotations:
        output: models.Field[Any, Any] = queryset.query.annotations[path].output_field
        return output
    options = queryset.model._meta
    found: Any = None
    for part in path.split("__"):
        try:
            found = options.pk if part == "pk" else options.get_field(part)
        except FieldDoesNotExist:
            raise ImproperlyConfigured(f"{queryset.model.__name__} has no field {path} to order by.") from None
        if found.is_relation and found.related_model is not None:
            options = found.related_model._meta
    return found  # type: ignore[no-any-return]  # a relation's target is only known while it runs


def _plain(value: object) -> object:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, UUID | Decimal):
        return str(value)
    return value
